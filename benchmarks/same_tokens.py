"""Does every way to generate give the same tokens?

    python benchmarks/same_tokens.py artifacts/tiny/sft/model [--prompts 200] [--new 40] [--threads 1]

Half of the prompts are beginnings of books, cut anywhere, half are questions in the chat template. Each is continued
without a cache, the whole context computed again for every token, one prompt at a time: that is the yardstick. Then
with the cache, alone (as a chat streams it) and together with others of other lengths; and by ``transformers`` on the
exported folder. Greedy, and with chance, each prompt with a seed of its own.

The ways add up the same numbers in different orders, so logits differ by about a millionth. Where two tokens are
closer together than that, the ways may part. Each parting is listed with its gap: for greedy decoding the difference
of the two logits, for sampling the distance of the draw from the edge between the two tokens' shares of the line
from 0 to 1.
"""
# ruff: noqa: E402

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from torch import Tensor
from tqdm import tqdm

from artifacts import CourseError
from books.sources import read_books
from bpe_tokenizer import BPETokenizer
from chat import generation
from chat.decoding import Settings, choose_tokens, probabilities
from conversations import chat_format, drill_sets
from Dummy_Model import GPT
from export import folders, huggingface

Tokens = list[list[int]]


def prompts_for(model: GPT, tokenizer: BPETokenizer, n: int, new: int, seed: int) -> Tokens:
    """Half beginnings of books of 1 to all but ``new`` tokens of the context, half questions that fit."""
    rng, room = random.Random(seed), model.config.context_length - new
    books = list(read_books("packaged"))
    texts = [tokenizer.encode(book.text[: 8 * room]) for book in rng.sample(books, min(n // 2, len(books)))]
    prompts = [ids[: rng.randint(1, room)] for ids in texts]
    questions = drill_sets.held_out_questions("unseen", per_kind=1 + n // 20, seed=seed)
    rng.shuffle(questions)
    asked = (chat_format.prompt_ids(question.messages[:-1], tokenizer) for question in questions)
    return prompts + [ids for ids in asked if len(ids) <= room][: n - len(prompts)]


@torch.inference_mode()
def uncached(model: GPT, tokenizer: BPETokenizer, prompt: Sequence[int], settings: Settings, seed: int) -> list[int]:
    """The yardstick: every token from a pass over all that stands there."""
    ids, draws = list(prompt), random.Random(seed)
    while len(ids) - len(prompt) < settings.max_new_tokens and len(ids) < model.config.context_length:
        logits = model(torch.tensor([ids]))[:, -1].float()
        token = int(choose_tokens(logits, settings, [draws.random()]))
        if token in tokenizer.special.values():
            break
        ids.append(token)
    return ids[len(prompt) :]


def alone(model: GPT, tokenizer: BPETokenizer, prompt: Sequence[int], settings: Settings, seed: int) -> list[int]:
    """With the cache, as a chat streams it."""
    stream = generation.stream(model, tokenizer, prompt, replace(settings, seed=seed))
    for _ in stream:
        pass
    return stream.tokens


@torch.inference_mode()
def by_transformers(theirs: torch.nn.Module, tokenizer: BPETokenizer, prompt: Sequence[int], new: int) -> list[int]:
    """Greedy ``generate`` of transformers, up to a special token."""
    ids = torch.tensor([prompt])
    made = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new)[0, len(prompt) :].tolist()
    return made[: next((i for i, token in enumerate(made) if token in tokenizer.special.values()), len(made))]


@torch.inference_mode()
def gap_where_they_part(
    model: GPT, prompt: Sequence[int], ours: list[int], other: list[int], settings: Settings, seed: int
) -> float:
    """How near the yardstick was to choosing otherwise, at the first token where the two differ."""
    place = next((i for i, (a, b) in enumerate(zip(ours, other, strict=False)) if a != b), min(len(ours), len(other)))
    logits: Tensor = model(torch.tensor([[*prompt, *ours[:place]]]))[0, -1].float()
    if settings.temperature == 0:
        best = logits.topk(2).values
        return float(best[0] - best[1])
    draws = random.Random(seed)
    draw = [draws.random() for _ in range(place + 1)][-1]
    edges = probabilities(logits[None], settings)[0].sort(descending=True, stable=True).values.double().cumsum(0)
    return float((edges / edges[-1] - draw).abs().min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model_folder", type=Path)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--new", type=int, default=40, help="tokens to generate for each prompt, at most")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        model, tokenizer = folders.open_model_folder(options.model_folder)
        with tempfile.TemporaryDirectory() as scratch:
            folder = huggingface.to_huggingface(options.model_folder, Path(scratch) / "exported")
            import transformers

            transformers.logging.set_verbosity_error()
            transformers.logging.disable_progress_bar()
            theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    except CourseError as error:
        sys.exit(str(error))
    prompts = prompts_for(model, tokenizer, options.prompts, options.new, options.seed)
    seeds = list(range(1, len(prompts) + 1))
    lengths = sorted(map(len, prompts))
    print(
        f"{model.config.n_parameters:,} weights, float32, {options.threads} threads, torch {torch.__version__}, ",
        end="",
    )
    print(f"transformers {transformers.__version__}")
    print(f"{len(prompts)} prompts of {lengths[0]} to {lengths[-1]} tokens, up to {options.new} new ones each\n")
    print(f"{'chosen':20} {'way':32} {'the same':>12} {'seconds':>8}  gaps where they part")

    def each(way: Callable, *rest: object) -> Tokens:
        pairs = tqdm(list(zip(prompts, seeds, strict=True)), desc=way.__name__, leave=False)
        return [way(model, tokenizer, prompt, *rest, seed) for prompt, seed in pairs]

    greedy = Settings(temperature=0, max_new_tokens=options.new)
    for name, settings in (("greedy", greedy), ("temperature 0.8", replace(greedy, temperature=0.8, top_k=50))):
        ways: dict[str, Callable[[], Tokens]] = {
            "whole context again, alone": lambda settings=settings: each(uncached, settings),
            "cache, alone": lambda settings=settings: each(alone, settings),
            "cache, batches of 64": lambda settings=settings: generation.generate_batch(
                model, tokenizer, prompts, settings, seeds=seeds
            ),
        }
        if settings is greedy:
            ways["transformers.generate"] = lambda: [
                by_transformers(theirs, tokenizer, prompt, options.new) for prompt in tqdm(prompts, leave=False)
            ]
        yardstick: Tokens | None = None
        for way, work in ways.items():
            started = time.perf_counter()
            made = work()
            took = time.perf_counter() - started
            yardstick = yardstick or made
            parted = [i for i, (a, b) in enumerate(zip(yardstick, made, strict=True)) if a != b]
            gaps = [gap_where_they_part(model, prompts[i], yardstick[i], made[i], settings, seeds[i]) for i in parted]
            same = "yardstick" if made is yardstick else f"{len(prompts) - len(parted)} of {len(prompts)}"
            print(f"{name:20} {way:32} {same:>12} {took:8.1f}  {', '.join(f'{gap:.1e}' for gap in gaps)}", flush=True)
        print(f"{'':20} {sum(map(len, yardstick)):,} tokens, {len({tuple(m) for m in yardstick})} different answers\n")


if __name__ == "__main__":
    main()
