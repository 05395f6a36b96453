"""Talking in turns: a conversation that fits the model's context, and the newest model to have it with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from chat import models, transcript
from chat.cleanup import clean_answer, trim
from chat.decoding import Settings
from chat.generation import Memory, TextStream, stream
from conversations.chat_format import Message
from Dummy_Model import GPT

# What the terminal and the page suggest to begin with: a passage to read, something to write, something to know.
EXAMPLES = (
    "The ferry was late on Monday because of fog, so Nora missed her train. Why did Nora miss her train?",
    "Write a short poem about rain.",
    "Why is the sky blue?",
)


def load_chat(folder: str | Path | None = None) -> tuple[GPT, BPETokenizer, str]:
    """A chat model, its tokenizer and its name, ready to talk.

    Args:
        folder: of a model, in the course's own format or exported; None takes the course's newest chat model, or
            the model in the box where none has been trained yet.

    Returns:
        the model, its tokenizer, and a preset's name, "box", or the folder's name.

    Raises:
        CourseError: there is none, or it is damaged.
    """
    if folder is not None:
        return *models.open_model(folder), Path(folder).name
    name = models.newest_chat()
    loaded = models.open_model(models.box_folder()) if name == models.BOX else models.load_model(name, "sft")
    return *loaded, name


class ChatSession:
    """A conversation that remembers its turns for as long as they fit the model's context.

    Attributes:
        system: a text that stands before all turns and is never let go; "" for none.
        settings: may be changed between turns.
        messages: what the model will be shown, oldest first, without the system text.
        dropped: messages that were let go so far because the context was full.
        last: the stream of the last answer: its prompt, its tokens, whether it was finished.
        stopped: whether ``stop`` was called since the last question.
    """

    def __init__(
        self, model: GPT, tokenizer: BPETokenizer, settings: Settings | None = None, system: str | None = None
    ):
        # Answers stand in the text and want copying: chance would mostly spoil them.
        self.settings = settings or Settings(temperature=0.2, stop_loops=True)
        self.model, self.tokenizer, self.system = model, tokenizer, system or ""
        self.reset()

    def reset(self) -> None:
        """Forgets all turns."""
        self.messages: list[Message] = []
        self.dropped = self.turns = 0
        self.last: TextStream | None = None
        self._question: str | None = None
        self._memory, self.stopped = Memory(), False

    def rest(self) -> None:
        """Frees what was read of the conversation; the next turn reads it again. For talks that may be over."""
        self._memory = Memory()

    def stop(self) -> None:
        """Ends the answer under way at its next piece. May be called from another thread."""
        self.stopped = True

    def ask(self, text: str) -> Iterator[str]:
        """Streams the answer to ``text``. Once the stream ends, or is left, the turn is remembered, cleaned.

        If the conversation has outgrown the context, its oldest turns are let go first: see ``dropped``.

        Raises:
            CourseError: the text is empty, or fills the context on its own. The conversation stays as it was.
        """
        text = transcript.question(text)
        if not text:
            raise CourseError("The message is empty: write something to answer.")
        question = {"role": "user", "content": text}
        context = self.model.config.context_length
        reserve = min(self.settings.max_new_tokens, context // 4)
        system = transcript.plain(self.system)
        system = [{"role": "system", "content": system}] if system.strip() else []
        ids, kept = transcript.fit_window(system, self.messages, question, self.tokenizer, context, reserve)
        # Another seed each turn: the same question may get another answer, yet the session can be replayed.
        settings = replace(self.settings, seed=self.settings.seed + self.turns)
        pieces = stream(self.model, self.tokenizer, ids, settings, self._memory)
        self.dropped += len(self.messages) - len(kept)
        self.messages, self.last, self._question, self.stopped = kept, pieces, text, False

        def answer() -> Iterator[str]:
            shown, left = "", True
            try:
                for piece in trim(pieces):
                    if self.stopped:
                        break
                    shown += piece
                    yield piece
                else:
                    left = False
            finally:
                pieces.close()
                if self.last is pieces:  # unless the session was reset or asked something else meanwhile
                    self.turns += 1
                    # What the reader stopped is kept as far as it went; only the model's own end is mended.
                    if shown := clean_answer(shown, finished=left or pieces.finished):
                        self.messages = [*self.messages, question, {"role": "assistant", "content": shown}]

        return answer()

    def again(self, text: str | None = None) -> Iterator[str]:
        """Answers the last question anew, with other draws; or ``text``, which takes its place.

        Raises:
            CourseError: there is no last question, or ``text`` can't be asked. The conversation stays as it was.
        """
        if self._question is None:
            raise CourseError("There is no question yet to answer again.")
        before = self.messages
        if before and before[-2]["content"] == self._question:  # else its answer was empty, and no turn
            self.messages = before[:-2]
        try:
            return self.ask(self._question if text is None else text)
        except CourseError:  # the system text may have grown since
            self.messages = before
            raise

    def save(self, path: str | Path) -> Path:
        """Writes the conversation and its settings as JSON; returns where, with ``~`` written out.

        Raises:
            CourseError: the file can't be written, or is there and is no saved conversation.
        """
        return transcript.save(path, transcript.plain(self.system), self.messages, self.settings)

    def load(self, path: str | Path) -> None:
        """Takes up a conversation that ``save`` wrote; one too long for this model's context loses its oldest turns.

        Raises:
            CourseError: the file can't be read or holds no conversation. The session stays as it was.
        """
        saved = transcript.load(path)
        self.settings = saved["settings"]
        self.take_up(saved["system"], saved["messages"])

    def take_up(self, system: str, messages: list[Message]) -> None:
        """Goes on with another conversation: ``messages`` are questions and answers by turns."""
        self.reset()
        self.system, self.messages, self.turns = system, messages, len(messages) // 2
        self._question = messages[-2]["content"] if messages else None
