"""From a trained model to text: generating, streaming it as it comes, and talking in turns.

Shapes in the comments: B rows that are generated together, T tokens, V vocabulary.

``python sampling.py chat`` talks to the newest trained model in the terminal.
"""

import argparse
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import artifacts
import chat_format
import presets
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer, StreamDecoder
from decoding import Settings, choose_tokens
from Dummy_Model import GPT, KVCache

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
    model: GPT, tokenizer: BPETokenizer, prompts: Sequence[Sequence[int]], settings: Settings, seeds: Sequence[int]
) -> Iterator[list[tuple[int, int]]]:
    """Generates for all prompts together; yields, step by step, the new (row, token) pairs.

    A row ends, and leaves the batch, at any special token (none has a place inside an answer), at a stop
    text, after ``max_new_tokens``, or when the context is full.
    """
    device, context = model.embedding.weight.device, model.config.context_length
    ends = set(tokenizer.special.values())
    stop_tokens = max((len(text.encode()) for text in settings.stop), default=0) + 1  # a token is at least a byte
    room = [min(settings.max_new_tokens, context - len(prompt)) for prompt in prompts]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    longest = int(lengths.max())
    # Right-padded: the padding comes after all that matters, and rewinding the cache forgets it.
    padded = [[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts]
    cache = model.new_cache(len(prompts), min(context, longest + max(room)))
    logits = _next_logits(model, torch.tensor(padded, device=device), cache, lengths - 1)
    cache.rewind(lengths)
    seen = None
    if settings.repetition_penalty != 1:
        seen = torch.zeros_like(logits, dtype=torch.bool)  # (B, V)
        for row, prompt in enumerate(prompts):
            # Special tokens are spared: a penalty on <|end|> would keep a chat from ending.
            seen[row, [token for token in prompt if token not in ends]] = True
    randoms = [random.Random(seed) for seed in seeds]
    rows, made = list(range(len(prompts))), [[] for _ in prompts]
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
        logits = _next_logits(model, fed, cache)


def until_stop(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """Passes text on up to the first stop text, which isn't shown, not even its beginning."""
    held = ""
    for piece in pieces:
        held += piece
        if found := [held.index(stop) for stop in stops if stop in held]:
            yield held[: min(found)]
            return
        # The end of what we hold may be the beginning of a stop text: wait for what follows.
        possible = [n for stop in stops for n in range(1, len(stop)) if held.endswith(stop[:n])]
        cut = len(held) - max(possible, default=0)
        if cut:
            yield held[:cut]
        held = held[cut:]
    if held:
        yield held


def stream(
    model: GPT, tokenizer: BPETokenizer, prompt: str | Sequence[int], settings: Settings | None = None
) -> Iterator[str]:
    """Continues a prompt, piece by piece as text, never with half a character.

    Args:
        prompt: text to continue, or token ids such as ``chat_format.prompt_ids`` makes.

    Raises:
        CourseError: the prompt is empty or fills the context (at the call, not at the first piece).
    """
    settings = settings or Settings()
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    _check_prompts(model, [ids])

    def pieces() -> Iterator[str]:
        decoder = StreamDecoder(tokenizer)
        for step in _decode(model, tokenizer, [ids], settings, [settings.seed]):
            for _, token in step:
                if piece := decoder.add(token):
                    yield piece
        if piece := decoder.finish():
            yield piece

    return until_stop(pieces(), settings.stop)


def generate(model: GPT, tokenizer: BPETokenizer, prompt: str | Sequence[int], settings: Settings | None = None) -> str:
    """All of ``stream`` at once."""
    return "".join(stream(model, tokenizer, prompt, settings))


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


def clean_answer(text: str) -> str:
    """Model text made fit to show: no spelled special tokens, no stray spaces or runs of blank lines."""
    text = re.sub(r"<\|[a-z0-9_]+\|>", "", text)
    lines = [line.rstrip() for line in text.strip().split("\n")]
    return "\n".join(line for i, line in enumerate(lines) if line or lines[i - 1])


def trim(pieces: Iterator[str]) -> Iterator[str]:
    """A stream without white space at its two ends: it is held back until something follows it."""
    held, begun = "", False
    for piece in pieces:
        held += piece if begun else piece.lstrip()
        shown = held.rstrip()
        if shown:
            yield shown
            held, begun = held[len(shown) :], True


class ChatSession:
    """A conversation that remembers its turns for as long as they fit the model's context.

    Attributes:
        messages: what the model will be shown, oldest first, without the system text.
        dropped: messages that were let go so far because the context was full.
    """

    def __init__(
        self, model: GPT, tokenizer: BPETokenizer, settings: Settings | None = None, system: str | None = None
    ):
        # Answers stand in the text and want copying: chance would mostly spoil them.
        self.settings = settings or Settings(temperature=0.2)
        self.model, self.tokenizer = model, tokenizer
        self.system = [{"role": "system", "content": system}] if system else []
        self.reset()

    def reset(self) -> None:
        """Forgets all turns."""
        self.messages: list[dict[str, str]] = []
        self.dropped = 0
        self.turns = 0

    def ask(self, text: str) -> Iterator[str]:
        """Streams the answer to ``text``. Once the stream ends, or is left, the turn is remembered.

        If the conversation has outgrown the context, its oldest turns are let go first: see ``dropped``.

        Raises:
            CourseError: the text is empty, or fills the context on its own. The conversation stays as it was.
        """
        if not text.strip():
            raise CourseError("The message is empty: write something to answer.")
        question = {"role": "user", "content": text.strip()}
        context = self.model.config.context_length
        reserve = min(self.settings.max_new_tokens, context // 4)  # room that an answer should find
        kept = self.messages
        while True:
            ids = chat_format.prompt_ids([*self.system, *kept, question], self.tokenizer)
            if len(ids) + reserve <= context or not kept:
                break
            kept = kept[2:]  # a question and its answer go together
        # Another seed each turn: the same question may get another answer, yet the session can be replayed.
        pieces = stream(self.model, self.tokenizer, ids, replace(self.settings, seed=self.settings.seed + self.turns))
        self.dropped += len(self.messages) - len(kept)
        self.messages = kept

        def answer() -> Iterator[str]:
            said = ""
            try:
                for piece in trim(pieces):
                    said += piece
                    yield piece
            finally:
                self.turns += 1
                if said := clean_answer(said):  # a turn without an answer has no place in the template
                    self.messages = [*self.messages, question, {"role": "assistant", "content": said}]

        return answer()


def load_model(preset_name: str, phase: str) -> tuple[GPT, BPETokenizer]:
    """The finished model of a phase ("pretrain" or "sft") and its tokenizer, ready to generate.

    Raises:
        CourseError: it is missing or damaged, or its tokenizer is another one's.
    """
    folder = artifacts.require(preset_name, phase) / "model"
    tokenizer = BPETokenizer.load(folder)
    try:
        model = GPT.load(folder)
    except ValueError:
        where = f"{artifacts.relative(folder)} holds no readable model"
        raise CourseError(f"{where}: run the notebooks of {artifacts.MADE_BY[phase]} again.") from None
    if model.config.vocab_size != tokenizer.vocab_size:
        raise CourseError(
            f"{artifacts.relative(folder)}: the model knows {model.config.vocab_size} tokens, the tokenizer "
            f"{tokenizer.vocab_size}: run the notebooks of {artifacts.MADE_BY[phase]} again."
        )
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def load_chat(preset_name: str | None = None) -> tuple[GPT, BPETokenizer, str]:
    """The chat model of a preset, or the newest of all; returns model, tokenizer and the preset's name.

    Raises:
        CourseError: there is none yet, or it is damaged.
    """
    if preset_name is None:
        root = artifacts.artifacts_root()
        made = {name: root / name / "sft" / "manifest.json" for name in presets.PRESETS}
        made = {name: file.stat().st_mtime for name, file in made.items() if file.is_file()}
        if not made:
            raise CourseError("There is no trained chat model yet: run the course first (python course.py run).")
        preset_name = max(made, key=made.get)
    return *load_model(preset_name, "sft"), preset_name


HELP = "/reset starts afresh, /settings shows or sets (/settings temperature=0.5), /quit leaves, Ctrl-C ends an answer."


def change_setting(settings: Settings, text: str) -> Settings:
    """``settings`` with one of them changed as ``name=value`` says.

    Raises:
        CourseError: there is no such setting, or it can't have that value.
    """
    name, _, value = (part.strip() for part in text.partition("="))
    if name not in asdict(settings):
        raise CourseError(f"No setting {name!r}: there are {', '.join(asdict(settings))}.")
    try:
        if name == "stop":
            return replace(settings, stop=(value,) if value else ())
        if name == "top_k" and value.lower() == "none":
            return replace(settings, top_k=None)
        whole = name in ("top_k", "max_new_tokens", "seed")
        return replace(settings, **{name: int(value) if whole else float(value)})
    except ValueError:
        raise CourseError(f"Can't set {name} to {value!r}: write a number, such as /settings {name}=1.") from None


def _turn(session: ChatSession, line: str) -> bool:
    """One line of the terminal chat; false when the reader wants to leave."""
    command, _, rest = line.partition(" ")
    if command == "/quit":
        return False
    if command == "/reset":
        session.reset()
        print("(a new conversation)")
    elif command == "/settings":
        session.settings = change_setting(session.settings, rest) if rest.strip() else session.settings
        print("  ".join(f"{name}={value}" for name, value in asdict(session.settings).items()))
    elif command.startswith("/"):
        print(HELP)
    elif line:
        dropped = session.dropped
        pieces = session.ask(line)
        if session.dropped > dropped:
            print("(the context is full: the oldest turns are forgotten)")
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            print(" (stopped)", end="")
        print()
    return True


def chat(session: ChatSession) -> None:
    """A conversation in the terminal, until /quit or the end of the input."""
    print(HELP)
    going = True
    while going:
        try:
            going = _turn(session, input("> ").strip())
        except CourseError as error:
            print(error)
        except KeyboardInterrupt:
            print("\n(/quit leaves)")
        except EOFError:
            print()
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(description="Talk to the model that you trained.")
    chat_parser = parser.add_subparsers(dest="command", required=True).add_parser("chat", help="talk in the terminal")
    chat_parser.add_argument("--preset", choices=presets.PRESETS, help="the newest trained model if left out")
    chat_parser.add_argument("--system", help="a text that the model is shown before the conversation")
    options = parser.parse_args(arguments)
    for output in (sys.stdout, sys.stderr):
        if hasattr(output, "reconfigure"):  # a terminal of another encoding shows ? instead of failing
            output.reconfigure(errors="replace")
    try:
        model, tokenizer, name = load_chat(options.preset)
        print(f"Talking to the {name} model: {model.config.n_parameters / 1e6:.1f}M parameters.")
        chat(ChatSession(model, tokenizer, system=options.system))
    except CourseError as error:
        print(f"sampling.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
