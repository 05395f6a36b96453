"""A long chat: how soon the first token comes, and whether memory stays flat, turn after turn.

    python benchmarks/chat.py                        200 turns with a model of the cpu preset's shape
    python benchmarks/chat.py --preset full --turns 30

The weights are random: speed and memory don't depend on what is said. Each question is answered twice, with the
conversation's own cache and from nothing, so that both times come from one run.
"""
# ruff: noqa: E402

import argparse
import statistics
import sys
import time
from pathlib import Path

import psutil
import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
from books.sources import read_books
from bpe_tokenizer import BPETokenizer
from chat import generation
from chat.decoding import Settings
from chat.session import ChatSession
from Dummy_Model import GPT, GPTConfig
from presets import PRESETS

QUESTIONS = (
    "Anna put the lamp under the stairs. Peter has 14 apples. Where is the lamp?",
    "Who has the kettle now, and who had it before?",
    "Thomas is a baker from Norwich. Tell me more about him, and about what he does in the evening.",
)


def first_token(model: GPT, tokenizer: BPETokenizer, prompt: list[int], settings: Settings) -> float:
    """Seconds to the first token of an answer when nothing was read before."""
    begin = time.perf_counter()
    next(generation.stream(model, tokenizer, prompt, settings), "")
    return time.perf_counter() - begin


def talk(session: ChatSession, turns: int) -> list[dict]:
    """One row per turn: seconds to the first piece with the session's cache and without, tokens, memory."""
    rows, process = [], psutil.Process()
    for turn in tqdm(range(turns), desc="turns"):
        dropped = session.dropped
        begin = time.perf_counter()
        pieces = session.ask(QUESTIONS[turn % len(QUESTIONS)])
        next(pieces, "")
        first = time.perf_counter() - begin
        for _ in pieces:
            pass
        last = session.last
        seconds = time.perf_counter() - begin
        alone = first_token(session.model, session.tokenizer, last.prompt, session.settings)
        row = {"first": first, "alone": alone, "prompt": len(last.prompt), "tokens": len(last.tokens)}
        rows.append(row | {"seconds": seconds, "full": session.dropped > dropped, "rss": process.memory_info().rss})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--turns", type=int, default=200)
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    texts = [book.text for book in read_books("packaged", limit=40)]
    tokenizer = BPETokenizer.train(texts, preset.vocab_size)
    torch.manual_seed(preset.seed)
    shape = (preset.n_layer, preset.n_embd, preset.n_head, preset.n_kv_head)
    model = GPT(GPTConfig(tokenizer.vocab_size, preset.context_length, *shape)).eval()
    with torch.no_grad():
        for block in model.blocks:  # fresh blocks add nothing; these take part, as trained ones do
            block.attention.o_proj.weight.normal_(std=0.02)
            block.mlp.down_proj.weight.normal_(std=0.02)
    # Everyday settings, and answers of a fixed length: no end token comes by chance among thousands.
    session = ChatSession(model, tokenizer, Settings(max_new_tokens=40), system="Answer from the text.")
    n = f"{model.config.n_parameters / 1e6:.1f}M weights, context {preset.context_length}"
    print(f"{options.preset}: {n}, {torch.get_num_threads()} threads, {options.turns} turns")
    rows = talk(session, options.turns)
    for name, key in (("with the conversation's cache", "first"), ("read from nothing", "alone")):
        times = sorted(1000 * row[key] for row in rows[1:])
        print(
            f"first token, {name:29}: median {statistics.median(times):.0f} ms, "
            f"95% below {times[int(0.95 * (len(times) - 1))]:.0f} ms, slowest {times[-1]:.0f} ms"
        )
    print(
        f"very first turn: {1000 * rows[0]['first']:.0f} ms; "
        f"longest prompt: {max(row['prompt'] for row in rows)} tokens"
    )
    print(f"the window was full in {sum(row['full'] for row in rows)} turns; {session.dropped} messages dropped")
    print(f"speed: {sum(row['tokens'] for row in rows) / sum(row['seconds'] for row in rows):.0f} tokens per second")
    marks = sorted({min(options.turns, mark) for mark in (1, 10, 25, 50, 100, 150, 200)} | {options.turns})
    print("memory (MB) after turn", ", ".join(f"{mark}: {rows[mark - 1]['rss'] / 1e6:.0f}" for mark in marks))


if __name__ == "__main__":
    main()
