"""How fast phase 5 turns short conversations into rows of tokens, and how much memory that takes.

    python benchmarks/sft_shards.py [--tokenizer artifacts/tiny/tokenizer] [--conversations 100000]
    python benchmarks/all.py --only rows        against `datasets.map` with `apply_chat_template`

One run of N conversations and one of 4 N, each in a process of its own, through the same functions as the notebook:
comparing with the exams, rendering, encoding, packing, writing. The conversations are questions and answers of a
line each, made beforehand and repeated with other numbers in them, so that making them isn't timed.
"""

# ruff: noqa: E402

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python_files"), str(ROOT)]

from benchmarks.measuring import Plan, Row, alternate, make_row
from bpe_tokenizer import BPETokenizer
from conversations import chat_format, drill_sets, mix
from conversations.overlap import Exams
from npy_datasets import pack, write_sft_rows
from processes import cores

CONTEXT_LENGTH = 256


def short_conversations(n: int):
    """``n`` entries of one question and one answer, each with a number of its own."""
    made = (c for c in drill_sets.conversations(10_000, 1) if len(c.messages) == 2)
    some = [c for c in made if sum(len(m["content"]) for m in c.messages) < 200][:2000]
    for number in range(n):
        one = some[number % len(some)]
        question, answer = (m["content"] for m in one.messages)
        messages = [
            {"role": "user", "content": f"{question} {number}"},
            {"role": "assistant", "content": answer},
        ]
        yield mix.Entry(mix.OWN, one.kind, messages, made=True)


def write_rows(n: int, tokenizer_folder: str) -> dict:
    """Writes ``n`` conversations. Returns conversations per second, and bytes of memory before and at the peak."""
    tokenizer, exams = BPETokenizer.load(tokenizer_folder), Exams()
    entries = short_conversations(n)
    first = next(entries)
    exams.add("exam", first.messages, made=True)
    process = psutil.Process()
    before = peak = process.memory_info().rss

    def watched():
        nonlocal peak
        for number, entry in enumerate(entries):
            if number % 1000 == 0:
                peak = max(peak, process.memory_info().rss)
            yield entry

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rendered = mix.render_entries(watched(), tokenizer, mix.Ledger(), exams, CONTEXT_LENGTH + 1)
        counts = write_sft_rows(rendered, folder, "train", CONTEXT_LENGTH, pad_token=1, vocab_size=tokenizer.vocab_size)
        seconds = time.perf_counter() - started
    return {"n": n, "rate": n / seconds, "tokens": counts["tokens"] / n, "before": before, "peak": peak}


def write_rows_with_datasets(conversations: list[list[dict]], tokenizer_folder: Path, out: Path) -> float:
    """The same rows by ``datasets`` and ``transformers``: rendered, encoded, masked, packed and saved. Seconds.

    ``apply_chat_template`` gives the mask as well, in as many processes as there are cores; rows are packed best fit
    first by our function, since neither library has one. Nothing is compared with an exam.
    """
    import datasets
    import transformers

    datasets.disable_progress_bars()
    datasets.disable_caching()
    transformers.logging.set_verbosity_error()
    theirs = transformers.AutoTokenizer.from_pretrained(tokenizer_folder)

    def render(batch: dict) -> dict:
        made = theirs.apply_chat_template(
            batch["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return {"ids": made["input_ids"], "mask": made["assistant_masks"]}

    def rows(batch: dict) -> dict:
        packed = list(pack(zip(batch["ids"], batch["mask"], strict=True), CONTEXT_LENGTH + 1))
        columns = {"ids": [[i for ids, _ in row for i in ids] for row in packed]}
        columns["mask"] = [[i for _, mask in row for i in mask] for row in packed]
        columns["documents"] = [[n for n, (ids, _) in enumerate(row, 1) for _ in ids] for row in packed]
        return columns

    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    table = datasets.Dataset.from_dict({"messages": conversations})
    table = table.map(render, batched=True, num_proc=cores(), remove_columns="messages")
    table.map(rows, batched=True, batch_size=10_000, num_proc=cores(), remove_columns="ids").save_to_disk(out)
    return time.perf_counter() - started


def measure(plan: Plan) -> list[Row]:
    """Conversations a second from messages to packed rows on disk, against ``datasets`` and ``transformers``."""
    n = 300 if plan.quick else 20_000
    conversations = [entry.messages for entry in short_conversations(n)]
    texts = [message["content"] for messages in conversations[:2000] for message in messages]
    folder = plan.scratch / "tokenizer_of_rows"
    tokenizer = BPETokenizer.train(texts, 400 if plan.quick else 2048)
    chat_format.save_tokenizer(tokenizer, folder)
    pair = alternate(
        lambda: write_rows(n, str(folder))["rate"],
        lambda: n / write_rows_with_datasets(conversations, folder, plan.scratch / "rows"),
        plan, "rows",
    )  # fmt: skip
    what, against = f"{n:,} short conversations to packed rows", "`datasets.map` with `apply_chat_template`"
    note = f"ours in one process and compared with an exam, theirs in {cores()} without"
    return [make_row("rows", what, against, "per second", *pair, aim=">= 4", note=note)]


def main() -> None:
    """Runs both sizes and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tokenizer", default="artifacts/tiny/tokenizer", help="a folder with a tokenizer")
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(write_rows(options.child, options.tokenizer)))
        return
    results = []
    for n in (options.conversations, 4 * options.conversations):
        command = [sys.executable, __file__, "--tokenizer", options.tokenizer, "--child", str(n)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            sys.exit(done.stderr)
        results.append(json.loads(done.stdout))
        r = results[-1]
        print(f"{n:9,} conversations of {r['tokens']:.0f} tokens: {r['rate']:8,.0f} per second, peak memory "
              f"{r['peak'] / 1e6:.0f} MB ({(r['peak'] - r['before']) / 1e6:.0f} MB above the start)")  # fmt: skip
    print(f"peak memory at 4 N over that at N: {results[1]['peak'] / results[0]['peak']:.3f}")


if __name__ == "__main__":
    main()
