"""One template for every conversation, and which of its tokens the model learns to write.

    <|system|> text<|end|><|user|> text<|end|><|assistant|> text<|end|> …

The markers are ids that ordinary text is never encoded to, so no text can forge a turn. Every text begins with a
space: so a word is the same token at the start of an answer as inside the text that it is copied from.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifacts import write_json
from bpe_tokenizer import BPETokenizer

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True)
class Conversation:
    """Messages that end with the assistant's answer, and the kind of question it answers."""

    kind: str
    messages: list[Message]
    split: str = ""  # of held-out questions: "known", "unseen" or "phrasing"
    phrasings: tuple[tuple[str, str], ...] = ()  # question and answer template of each turn
    accepted: tuple[str, ...] = ()  # of questions with several right answers: all of them

    @property
    def answer(self) -> str:
        """The last message's text."""
        return self.messages[-1]["content"]

    @property
    def opening(self) -> str:
        """All texts to the first of the user: what two conversations are compared by. Orders of a system recur."""
        n = 1 if self.messages[0]["role"] == "user" else 2
        return "\n".join(message["content"] for message in self.messages[:n])


ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
END = "<|end|>"
SPACE = " "  # stands before every message's text
LONG_TEXTS = 1000  # characters in a message, on average, from which encoding is spread over threads

# The same template in Jinja, for the tokenizer folder: transformers' apply_chat_template reads it. Jinja writes
# one text, in which a typed "<|end|>" would become a mark. So "<|" in a message is written with the sign ␛, and
# the tokenizer folder's normalizer, which works after the marks are found, writes it back: see ESCAPES.
# What stands in a generation block is what is learned: with return_assistant_tokens_mask, transformers gives our mask.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% set text = ' ' + message['content'].replace('␛', '␛0').replace('<|', '␛1') + '<|end|>' %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ text }}{% endgeneration %}"
    "{% else %}{{ text }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
GENERATION = ("{% generation %}", "{% endgeneration %}")  # of transformers; plain Jinja doesn't know them
ESCAPES = (("␛1", "<|"), ("␛0", "␛"))  # what the normalizer puts back, in this order: the template's inverse


def save_tokenizer(tokenizer: BPETokenizer, folder: str | Path) -> list[str]:
    """Writes the tokenizer with the chat template into a folder, and returns the names of the files.

    ``transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(messages)`` then gives the ids of
    ``render``, whatever the messages hold.
    """
    files = tokenizer.save(folder, CHAT_TEMPLATE)
    description = json.loads(tokenizer.to_json())
    steps = [{"type": "Replace", "pattern": {"String": a}, "content": b} for a, b in ESCAPES]
    description["normalizer"] = {"type": "Sequence", "normalizers": steps}
    write_json(Path(folder) / "tokenizer.json", description)
    return files


def check(messages: Sequence[Message]) -> None:
    """Checks the order of turns: perhaps a system message, then user and assistant by turns.

    Raises:
        ValueError: says which message is wrong, and how.
    """
    turns = list(messages)
    if turns and turns[0]["role"] == "system":
        turns = turns[1:]
    if not turns:
        raise ValueError("A conversation needs at least one user message.")
    for i, message in enumerate(turns):
        expected = "user" if i % 2 == 0 else "assistant"
        if message["role"] != expected:
            raise ValueError(f"Message {i + 1} is by {message['role']!r}, expected {expected!r}.")
        if not message["content"].strip():
            raise ValueError(f"Message {i + 1} ({message['role']}) is empty.")


def _assemble(messages: Sequence[Message], texts: Iterator[list[int]], special: dict[str, int]):
    ids: list[int] = []
    mask: list[int] = []
    for message in messages:
        role = message["role"]
        text = next(texts)
        ids.append(special[ROLES[role]])
        ids += text
        ids.append(special[END])
        learned = 1 if role == "assistant" else 0
        mask.append(0)  # the token of the role is given, not learned
        mask += [learned] * (len(text) + 1)
    return ids, mask


def render(messages: Sequence[Message], tokenizer: BPETokenizer) -> tuple[list[int], list[int]]:
    """A conversation as ids, and 1 for each id that is learned: the assistant's text and its end token.

    Raises:
        ValueError: the turns are out of order, or one is empty.
    """
    check(messages)
    texts = iter(tokenizer.encode_batch([SPACE + message["content"] for message in messages]))
    return _assemble(messages, texts, tokenizer.special)


def render_all(
    conversations: Iterable[Sequence[Message]], tokenizer: BPETokenizer, batch: int = 512
) -> Iterator[tuple[list[int], list[int]]]:
    """``render`` for many conversations: texts are encoded in batches, memory stays flat."""

    def flush(pending: list[Sequence[Message]]) -> Iterator[tuple[list[int], list[int]]]:
        # Handing out a short text to another thread costs more than encoding it, so that is kept for long ones.
        contents = [SPACE + m["content"] for messages in pending for m in messages]
        long = sum(map(len, contents)) > LONG_TEXTS * len(contents)
        texts = iter(tokenizer.encode_batch(contents) if long else map(tokenizer.encode, contents))
        for messages in pending:
            yield _assemble(messages, texts, tokenizer.special)

    pending: list[Sequence[Message]] = []
    for messages in conversations:
        check(messages)
        pending.append(messages)
        if len(pending) == batch:
            yield from flush(pending)
            pending = []
    yield from flush(pending)


def prompt_ids(messages: Sequence[Message], tokenizer: BPETokenizer) -> list[int]:
    """The ids to answer: the conversation so far, which ends with a user message, and ``<|assistant|>``.

    Raises:
        ValueError: the turns are out of order, or the last is not the user's.
    """
    if messages and messages[-1]["role"] != "user":
        raise ValueError("The last message must be the user's: there is nothing to answer.")
    return [*render(messages, tokenizer)[0], tokenizer.special[ROLES["assistant"]]]


def answer_text(ids: Sequence[int], tokenizer: BPETokenizer) -> str:
    """The text of an answer's ids, without the space before it."""
    return tokenizer.decode(list(ids)).removeprefix(SPACE)
