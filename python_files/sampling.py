"""From a trained model to text: generating, streaming it as it comes, and talking in turns.

Shapes in the comments: B rows that are generated together, T tokens, V vocabulary.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import conversation
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer, StreamDecoder
from chat_format import Message
from cleanup import clean_answer, trim, until_stop
from decoding import Settings, choose_tokens, probabilities
from Dummy_Model import GPT, KVCache
from fast_step import FastStep
from model_folders import load_chat, load_model

# What a borrower finds here, wherever it is written.
__all__ = ["ChatSession", "Settings", "TextStream", "clean_answer", "generate", "generate_batch", "load_chat"]
__all__ += ["load_model", "next_token_odds", "stream"]

# Rows are generated together while their tokens stay below this, so that the cache of a large model fits.
TOKENS_TOGETHER = 16_384


@torch.inference_mode()
def _next_logits(model: GPT, ids: Tensor, cache: KVCache, last: Tensor | None = None) -> Tensor:
    """Feeds ids (B, T); returns float32 logits (B, V) after each row's token ``last`` (B,), or after the final one.

    The output head is applied at that one place: for a long prompt, logits everywhere would be most of the memory.
    """
    x = model.hidden(ids, cache=cache)  # (B, T, C)
    x = x[:, -1] if last is None else x[torch.arange(len(x), device=x.device), last]
    return F.linear(x, model.embedding.weight).float()


def _check_prompts(model: GPT, prompts: Sequence[Sequence[int]]) -> None:
    context = model.config.context_length
    for prompt in prompts:
        if not len(prompt):
            raise CourseError("The prompt is empty: give the model at least one token to go on from.")
        if len(prompt) >= context:
            raise CourseError(
                f"The prompt is {len(prompt)} tokens long and fills the model's context of {context}: shorten it."
            )


def _decode(
    model: GPT,
    tokenizer: BPETokenizer,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    seeds: Sequence[int],
    cache: KVCache | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Generates for all prompts together; yields, step by step, the new (row, token) pairs.

    A row ends, and leaves the batch, at any special token (none has a place inside an answer), at a stop
    token or text, after ``max_new_tokens``, or when the context is full.

    Args:
        cache: for a single prompt whose beginning was read before; it is read on from there.
    """
    device, context = model.embedding.weight.device, model.config.context_length
    ends = {*tokenizer.special.values(), *settings.stop_tokens}
    stop_tokens = max((len(text.encode()) for text in settings.stop), default=0) + 1  # a token is at least a byte
    room = [min(settings.max_new_tokens, context - len(prompt)) for prompt in prompts]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    longest = int(lengths.max())
    # Right-padded: the padding comes after all that matters, and rewinding the cache forgets it.
    padded = [[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts]
    cache = cache or model.new_cache(len(prompts), min(context, longest + max(room)))
    held = cache.longest  # tokens of the prompt that were read before
    logits = _next_logits(model, torch.tensor(padded, device=device)[:, held:], cache, lengths - 1 - held)
    cache.rewind(lengths)
    seen = None
    if settings.repetition_penalty != 1:
        seen = torch.zeros_like(logits, dtype=torch.bool)  # (B, V)
        for row, prompt in enumerate(prompts):
            # Special tokens are spared: a penalty on <|end|> would keep a chat from ending.
            seen[row, [token for token in prompt if token not in ends]] = True
    randoms = [random.Random(seed) for seed in seeds]
    rows, made = list(range(len(prompts))), [[] for _ in prompts]
    fast_step = None
    while True:
        tokens = choose_tokens(logits, settings, [randoms[row].random() for row in rows], seen).tolist()
        new, going = [], []
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if token in ends:
                continue
            new.append((row, token))
            made[row].append(token)
            end = tokenizer.decode(made[row][-stop_tokens:]) if settings.stop else ""
            stopped = any(stop in end for stop in settings.stop)
            if len(made[row]) < room[row] and not stopped:
                going.append(place)
        yield new
        if not going:
            return
        if len(going) < len(rows):
            kept = torch.tensor(going, device=device)
            cache.keep(kept)
            seen = seen[kept] if seen is not None else None
            rows, tokens = [rows[place] for place in going], [tokens[place] for place in going]
        fed = torch.tensor(tokens, device=device)[:, None]  # (B, 1)
        if seen is not None:
            seen.scatter_(-1, fed, True)
        if fast_step is None and FastStep.serves(model):
            # Packed here, after the first token went out, and for this answer alone: the model may be trained on.
            fast_step = FastStep(model, len(rows))
        logits = fast_step(fed, cache) if fast_step else _next_logits(model, fed, cache)


class Memory:
    """A KV cache that outlives an answer, so that the next turn reads only what is new to the conversation."""

    def __init__(self) -> None:
        self.cache: KVCache | None = None
        self.ids: list[int] = []  # at least the tokens that the cache holds, in order

    def recall(self, model: GPT, ids: Sequence[int]) -> KVCache:
        """A cache with as much of the beginning of ``ids`` as was read before, short of its last token."""
        if self.cache is None:
            self.cache = model.new_cache(1)
        same, most = 0, min(self.cache.longest, len(self.ids), len(ids) - 1)
        while same < most and self.ids[same] == ids[same]:
            same += 1
        self.cache.rewind(torch.tensor([same]))
        self.ids = list(ids)
        return self.cache


class TextStream(Iterator[str]):
    """A text as it is being written: iterate over its pieces.

    Attributes:
        prompt: the ids that it continues.
        tokens: the new ids so far.
        settings: those that it is written with.
        finished: once it is over, whether the text came to an end of its own (an end token, a stop token or a
            stop text); false while it runs, and if length or context cut it off.
    """

    def __init__(
        self, model: GPT, tokenizer: BPETokenizer, prompt: list[int], settings: Settings, memory: Memory | None = None
    ):
        self.prompt, self.tokens, self.finished = prompt, [], False
        self._model, self._tokenizer, self.settings, self._memory = model, tokenizer, settings, memory
        self._pieces = until_stop(self._all_pieces(), settings.stop)

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Ends it here: nothing more is computed."""
        self._pieces.close()

    def _all_pieces(self) -> Iterator[str]:
        decoder = StreamDecoder(self._tokenizer)
        cache = self._memory.recall(self._model, self.prompt) if self._memory else None
        step: list[tuple[int, int]] = []
        arguments = (self._model, self._tokenizer, [self.prompt], self.settings, [self.settings.seed], cache)
        for step in _decode(*arguments):
            for _, token in step:
                self.tokens.append(token)
                if self._memory:
                    self._memory.ids.append(token)
                # Settled before the piece is out: after a stop text nobody asks for another.
                said = self._tokenizer.decode(self.tokens) if self.settings.stop else ""
                self.finished = any(stop in said for stop in self.settings.stop)
                if piece := decoder.add(token):
                    yield piece
        self.finished = self.finished or not step  # at an end token, the last step adds nothing
        if piece := decoder.finish():
            yield piece


def stream(
    model: GPT,
    tokenizer: BPETokenizer,
    prompt: str | Sequence[int],
    settings: Settings | None = None,
    memory: Memory | None = None,
) -> TextStream:
    """Continues a prompt, piece by piece as text, never with half a character.

    Args:
        prompt: text to continue, or token ids such as ``chat_format.prompt_ids`` makes.
        memory: what was read for an earlier prompt of the same conversation, to save time.

    Raises:
        CourseError: the prompt is empty or fills the context (at the call, not at the first piece).
    """
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    _check_prompts(model, [ids])
    return TextStream(model, tokenizer, ids, settings or Settings(), memory)


def generate(
    model: GPT,
    tokenizer: BPETokenizer,
    prompt: str | Sequence[int],
    settings: Settings | None = None,
    clean: bool = False,
) -> str:
    """All of ``stream`` at once; with ``clean``, made fit to show by ``cleanup.clean_answer``."""
    pieces = stream(model, tokenizer, prompt, settings)
    text = "".join(pieces)
    return clean_answer(text, pieces.finished) if clean else text


class TokenOdds(NamedTuple):
    """One candidate for the next token: its chance as the model gives it, and after the filters."""

    token: int
    text: str
    before: float
    after: float


@torch.inference_mode()
def next_token_odds(
    model: GPT,
    tokenizer: BPETokenizer,
    ids: Sequence[int],
    settings: Settings,
    n: int = 10,
    also: int | None = None,
) -> list[TokenOdds]:
    """The n likeliest tokens after ``ids``, and token ``also`` if it isn't one of them.

    Raises:
        CourseError: the ids are none, or fill the context.
    """
    _check_prompts(model, [ids])
    logits = _next_logits(model, torch.tensor([list(ids)], device=model.embedding.weight.device), model.new_cache(1))
    seen = torch.zeros_like(logits, dtype=torch.bool)
    seen[0, [token for token in ids if token not in tokenizer.special.values()]] = True
    before, after = logits.softmax(dim=-1)[0], probabilities(logits, settings, seen)[0]
    shown = before.topk(min(n, len(before))).indices.tolist()
    shown += [also] if also is not None and also not in shown else []
    return [TokenOdds(token, tokenizer.decode([token]), float(before[token]), float(after[token])) for token in shown]


def generate_batch(
    model: GPT,
    tokenizer: BPETokenizer,
    prompts: Sequence[Sequence[int]],
    settings: Settings | None = None,
    *,
    seeds: Sequence[int] | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> list[list[int]]:
    """Continues many prompts of different lengths together; returns the new tokens of each, in order.

    Each row gets the tokens that it would get alone: it has its own random numbers.

    Args:
        prompts: token ids; rows of similar length are put together.
        seeds: one per prompt, for several answers to the same; None takes ``settings.seed`` for all.
        batch_size: rows generated together at most; fewer when they are long.
        progress: show a bar.

    Raises:
        CourseError: a prompt is empty or fills the context; nothing is generated then.
    """
    settings = settings or Settings()
    seeds = [settings.seed] * len(prompts) if seeds is None else list(seeds)
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts: one each is needed.")
    _check_prompts(model, prompts)
    made: list[list[int]] = [[] for _ in prompts]
    # Longest first: if memory is short, it shows at once.
    waiting = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    with tqdm(total=len(prompts), desc="answers", unit="", disable=not progress) as bar:
        while waiting:
            longest = min(len(prompts[waiting[0]]) + settings.max_new_tokens, model.config.context_length)
            size = max(1, min(batch_size, TOKENS_TOGETHER // longest))
            rows, waiting = waiting[:size], waiting[size:]
            for step in _decode(model, tokenizer, [prompts[r] for r in rows], settings, [seeds[r] for r in rows]):
                for place, token in step:
                    made[rows[place]].append(token)
            bar.update(len(rows))
    return made


class ChatSession:
    """A conversation that remembers its turns for as long as they fit the model's context.

    Attributes:
        system: a text that stands before all turns and is never let go; "" for none.
        settings: may be changed between turns.
        messages: what the model will be shown, oldest first, without the system text.
        dropped: messages that were let go so far because the context was full.
        last: the stream of the last answer: its prompt, its tokens, whether it was finished.
    """

    def __init__(
        self, model: GPT, tokenizer: BPETokenizer, settings: Settings | None = None, system: str | None = None
    ):
        # Answers stand in the text and want copying: chance would mostly spoil them.
        self.settings = settings or Settings(temperature=0.2)
        self.model, self.tokenizer, self.system = model, tokenizer, system or ""
        self.reset()

    def reset(self) -> None:
        """Forgets all turns."""
        self.messages: list[Message] = []
        self.dropped = self.turns = 0
        self.last: TextStream | None = None
        self._question: str | None = None
        self._memory, self._stopped = Memory(), False

    def stop(self) -> None:
        """Ends the answer under way at its next piece. May be called from another thread."""
        self._stopped = True

    def ask(self, text: str) -> Iterator[str]:
        """Streams the answer to ``text``. Once the stream ends, or is left, the turn is remembered, cleaned.

        If the conversation has outgrown the context, its oldest turns are let go first: see ``dropped``.

        Raises:
            CourseError: the text is empty, or fills the context on its own. The conversation stays as it was.
        """
        # A terminal or a browser may hand over halves of characters, which nothing could save or encode.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
        if not text:
            raise CourseError("The message is empty: write something to answer.")
        question = {"role": "user", "content": text}
        context = self.model.config.context_length
        reserve = min(self.settings.max_new_tokens, context // 4)
        system = [{"role": "system", "content": self.system}] if self.system.strip() else []
        ids, kept = conversation.fit_window(system, self.messages, question, self.tokenizer, context, reserve)
        # Another seed each turn: the same question may get another answer, yet the session can be replayed.
        settings = replace(self.settings, seed=self.settings.seed + self.turns)
        pieces = stream(self.model, self.tokenizer, ids, settings, self._memory)
        self.dropped += len(self.messages) - len(kept)
        self.messages, self.last, self._question, self._stopped = kept, pieces, text, False

        def answer() -> Iterator[str]:
            said, left = "", True
            try:
                for piece in trim(pieces):
                    if self._stopped:
                        break
                    said += piece
                    yield piece
                else:
                    left = False
            finally:
                pieces.close()
                if self.last is pieces:  # unless the session was reset or asked something else meanwhile
                    self.turns += 1
                    # What the reader stopped is kept as far as it went; only the model's own end is mended.
                    if said := clean_answer(said, finished=left or pieces.finished):
                        self.messages = [*self.messages, question, {"role": "assistant", "content": said}]

        return answer()

    def again(self) -> Iterator[str]:
        """Answers the last question anew, with other draws.

        Raises:
            CourseError: there is no last question.
        """
        if self._question is None:
            raise CourseError("There is no question yet to answer again.")
        before = self.messages
        if before and before[-2]["content"] == self._question:  # else its answer was empty, and no turn
            self.messages = before[:-2]
        try:
            return self.ask(self._question)
        except CourseError:  # the system text may have grown since
            self.messages = before
            raise

    def save(self, path: str | Path) -> None:
        """Writes the conversation and its settings as JSON.

        Raises:
            CourseError: the file can't be written.
        """
        conversation.save(path, self.system, self.messages, self.settings)

    def load(self, path: str | Path) -> None:
        """Takes up a conversation that ``save`` wrote; one too long for this model's context loses its oldest turns.

        Raises:
            CourseError: the file can't be read or holds no conversation. The session stays as it was.
        """
        saved = conversation.load(path)
        self.reset()
        self.system, self.settings, self.messages = saved["system"], saved["settings"], saved["messages"]
        self.turns = len(self.messages) // 2
        self._question = self.messages[-2]["content"] if self.messages else None
