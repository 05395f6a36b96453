"""The whole course in seconds, phase by phase, with the functions that its notebooks call.

    python tests/faults/small_course.py FOLDER [--workers 2]

makes all phases in a folder and prints the hash of each file as JSON.
"""
# ruff: noqa: E402

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "python_files")]

import torch

import artifacts
from books import shards
from books.sources import open_source, read_books
from bpe_tokenizer import BPETokenizer, sample_texts
from chat.decoding import Settings
from chat.session import ChatSession
from conversations import own
from conversations.chat_format import render_all, save_tokenizer
from Dummy_Model import GPT, GPTConfig
from export.folders import open_model_folder
from export.gguf_file import to_gguf
from export.huggingface import to_huggingface
from npy_datasets import PretrainDataset, SFTDataset, write_sft_rows
from train import TrainConfig, Trainer, read_log

BOOKS, TALKS, CONTEXT, STEPS = 24, 80, 128, 24
MODEL = ["config.json", "model.safetensors"]


def make_source(made: Path) -> None:
    """Some packaged books as a folder of files, which is read in no time."""
    (made / "source").mkdir(parents=True, exist_ok=True)
    for number, book in enumerate(read_books("packaged", BOOKS)):
        (made / "source" / f"{number + 1}.txt").write_text(book.text, encoding="utf-8")


def make_tokenizer(made: Path, out: Path, workers: int) -> None:
    artifacts.begin(out)
    texts = (book.text for book in read_books(str(made / "source"), 8))
    tokenizer = BPETokenizer.train(sample_texts(texts, 60_000, seed=1), 600)
    artifacts.finish(out, save_tokenizer(tokenizer, out), vocab_size=tokenizer.vocab_size)


def make_books(made: Path, out: Path, workers: int) -> None:
    shards.BLOCK_BOOKS = 4
    tokenizer = BPETokenizer.load(made / "tokenizer")
    shards.prepare_books(open_source(str(made / "source")), tokenizer, out, workers=workers, shard_tokens=60_000)


def _finish_model(out: Path, tokenizer: BPETokenizer) -> None:
    names = [*save_tokenizer(tokenizer, out / "model"), *MODEL]
    artifacts.finish(out, [f"model/{name}" for name in names])


def pretrain(made: Path, out: Path, workers: int) -> None:
    artifacts.begin(out)
    tokenizer = BPETokenizer.load(made / "tokenizer")
    torch.manual_seed(1)
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=2, n_embd=32, n_head=2, n_kv_head=1))
    config = TrainConfig(STEPS, eval_every=8, eval_batches=2, checkpoint_every=5, sample_every=10, device="cpu")
    data = [PretrainDataset(made / "books", split, CONTEXT, 4, seed=1) for split in ("train", "validation")]
    Trainer(model, data[0], config, out, data[1], sample=lambda model: f"{model.embedding.weight.sum():.6f}").run()
    _finish_model(out, tokenizer)


def make_rows(made: Path, out: Path, workers: int) -> None:
    artifacts.begin(out)
    tokenizer = BPETokenizer.load(made / "tokenizer")
    for split, start in (("train", 0), ("validation", TALKS)):
        talks = [talk.messages for talk in own.conversations(TALKS, seed=1, start=start, common=True)]
        shape = {"pad_token": tokenizer.special["<|endoftext|>"], "vocab_size": tokenizer.vocab_size}
        write_sft_rows(render_all(talks, tokenizer), out, split, CONTEXT, **shape)
    artifacts.finish(out, [path.name for path in out.glob("*.npy")])


def finetune(made: Path, out: Path, workers: int) -> None:
    artifacts.begin(out)
    model, tokenizer = open_model_folder(made / "pretrain" / "model")
    config = TrainConfig(STEPS, eval_every=8, eval_batches=2, checkpoint_every=5, keep="best", device="cpu")
    data = [SFTDataset(made / "sft_data", split, 4, seed=1) for split in ("train", "validation")]
    Trainer(model, data[0], config, out, data[1]).run()
    _finish_model(out, tokenizer)


def export(made: Path, out: Path, workers: int) -> None:
    to_huggingface(made / "sft" / "model", out / "folder")
    to_gguf(made / "sft" / "model", out / "model.gguf")


def talk(made: Path, out: Path, workers: int) -> None:
    session = ChatSession(*open_model_folder(made / "sft" / "model"), Settings(temperature=0.8, max_new_tokens=20))
    for question in ("Hello!", "Why is the sky blue?", "And at night?"):
        list(session.ask(question))
        session.save(out / "talk.json")
    artifacts.write_json(out / "answers.json", [message["content"] for message in session.messages])


PHASES: dict[str, Callable[[Path, Path, int], None]] = {
    "tokenizer": make_tokenizer, "books": make_books, "pretrain": pretrain, "sft_data": make_rows, "sft": finetune,
    "export": export, "talk": talk,
}  # fmt: skip


def run(phase: str, made: Path, out: Path, workers: int = 1) -> None:
    """Makes a phase in ``out`` from the phases before it, which lie in ``made``."""
    out.mkdir(parents=True, exist_ok=True)
    PHASES[phase](made, out, workers)


def digest(folder: Path) -> dict[str, str]:
    """The hash of each file below a folder; of a log without its clock. Checkpoints hold a clock and are left out."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name == "log.csv":
            rows = [{key: row[key] for key in row if key != "seconds"} for row in read_log(path)]
            found[name] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        elif path.parent.name != "checkpoints":
            found[name] = artifacts.sha256(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    make_source(options.folder)
    for phase in PHASES:
        run(phase, options.folder, options.folder / phase, options.workers)
    print(json.dumps({phase: digest(options.folder / phase) for phase in PHASES}))


if __name__ == "__main__":
    main()
