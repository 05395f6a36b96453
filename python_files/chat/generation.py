"""From a trained model to text: generating all of it at once, or streaming it as it comes.

Shapes in the comments: B rows that are generated together, T tokens, V vocabulary.
"""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from artifacts import CourseError
from bpe_tokenizer import BPETokenizer, StreamDecoder
from chat.cleanup import clean_answer, loop_start, repetition_start
from chat.decoding import Settings, choose_tokens, probabilities
from chat.fast_step import FastStep
from Dummy_Model import GPT, KVCache

# Rows are generated together while their tokens stay below this, so that the cache of a large model fits.
TOKENS_TOGETHER = 16_384
TAIL = 600  # letters of a text that are looked through for loops


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


class TextSoFar:
    """The text of tokens as they come: whole characters, nothing of a stop text, and no loop.

    What may turn out to be the beginning of a stop text, or the second round of a loop, is held back. Each token
    costs a look at the last words alone, so a long answer costs no more a token than a short one.

    Attributes:
        stopped: whether a stop text has come or the text has begun to repeat itself; no more is taken then.
        looped: whether it was a loop.
    """

    def __init__(self, tokenizer: BPETokenizer, settings: Settings):
        self.stopped = self.looped = False
        self._stops, self._watch_loops, self._decoder = settings.stop, settings.stop_loops, StreamDecoder(tokenizer)
        self._tail, self._tail_shown = "", 0  # the last words, and how many of their letters were given out

    def add(self, token: int) -> None:
        """Takes the next token."""
        self._take(self._decoder.add(token))

    def _take(self, piece: str) -> None:
        if self.stopped or not piece:
            return
        self._tail += piece
        if found := [self._tail.index(stop) for stop in self._stops if stop in self._tail]:
            self.stopped, self._tail = True, self._tail[: min(found)]
        elif self._watch_loops and (cut := loop_start(self._tail)) is not None:
            self.stopped = self.looped = True
            self._tail = self._tail[: max(cut, self._tail_shown)]

    def _safe(self) -> int:
        """How many letters of the tail can be given out, whatever follows."""
        if self.stopped:
            return len(self._tail)
        possible = (n for stop in self._stops for n in range(1, len(stop)) if self._tail.endswith(stop[:n]))
        safe = len(self._tail) - max(possible, default=0)
        return min(safe, repetition_start(self._tail)) if self._watch_loops else safe

    def read(self) -> str:
        """The text that is new since the last call."""
        return self._give(self._safe())

    def _give(self, end: int) -> str:
        text = self._tail[self._tail_shown : end]
        self._tail_shown = max(self._tail_shown, end)
        if self._tail_shown > 2 * TAIL:  # what is far behind matters for nothing
            self._tail, self._tail_shown = self._tail[-TAIL:], self._tail_shown - len(self._tail) + TAIL
        return text

    def finish(self) -> str:
        """The rest, once no token follows."""
        self._take(self._decoder.finish())
        return self._give(len(self._tail))


def _decode(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    seeds: Sequence[int],
    texts: Sequence[TextSoFar] | None,
    special: dict[str, int],
    cache: KVCache | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Generates for all prompts together; yields, step by step, the new (row, token) pairs.

    A row ends, and leaves the batch, at any special token (none has a place inside an answer), at a stop
    token or text, after ``max_new_tokens``, or when the context is full.

    Args:
        texts: one for each prompt, which takes its tokens and says when a stop text has come. None: nobody asks.
        special: the tokenizer's, by name.
        cache: for a single prompt whose beginning was read before; it is read on from there.
    """
    device, context = model.embedding.weight.device, model.config.context_length
    ends = {*special.values(), *settings.stop_tokens}
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
    randoms = [random.Random(int(seed)) for seed in seeds]
    rows, made = list(range(len(prompts))), [0] * len(prompts)
    fast_step = None
    while True:
        tokens = choose_tokens(logits, settings, [randoms[row].random() for row in rows], seen).tolist()
        new, going = [], []
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if token in ends:
                continue
            new.append((row, token))
            made[row] += 1
            if texts is not None:
                texts[row].add(token)
            if made[row] < room[row] and not (texts and texts[row].stopped):
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
        looped: whether it was ended because it repeated itself.
    """

    def __init__(
        self, model: GPT, tokenizer: BPETokenizer, prompt: list[int], settings: Settings, memory: Memory | None = None
    ):
        self.prompt, self.settings, self.tokens = prompt, settings, []
        self.finished = self.looped = False
        self._pieces = self._write(model, tokenizer, memory)

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Ends it here: nothing more is computed."""
        self._pieces.close()

    def _write(self, model: GPT, tokenizer: BPETokenizer, memory: Memory | None) -> Iterator[str]:
        text = TextSoFar(tokenizer, self.settings)
        cache = memory.recall(model, self.prompt) if memory else None
        step: list[tuple[int, int]] = []
        arguments = ([self.prompt], self.settings, [self.settings.seed], [text], tokenizer.special, cache)
        for step in _decode(model, *arguments):
            self.tokens += [token for _, token in step]
            if memory:
                memory.ids += [token for _, token in step]
            if piece := text.read():
                yield piece
        self.looped = text.looped
        self.finished = (text.stopped and not text.looped) or not step  # at an end token, the last step adds nothing
        if piece := text.finish():
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
            watched = settings.stop or settings.stop_loops
            texts = [TextSoFar(tokenizer, settings) for _ in rows] if watched else None
            arguments = ([prompts[row] for row in rows], settings, [seeds[row] for row in rows], texts)
            for step in _decode(model, *arguments, tokenizer.special):
                for place, token in step:
                    made[rows[place]].append(token)
            bar.update(len(rows))
    return made
