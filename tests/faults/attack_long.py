"""Attacks by time alone: many steps, many turns, many runs, in flat memory and with no handle or file left over."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import small_course
import torch
from ground import DONE, Ground, Trial, fork, wait

from chat.decoding import Settings
from chat.session import ChatSession
from Dummy_Model import GPT, GPTConfig
from export.folders import open_model_folder
from npy_datasets import PretrainDataset
from train import TrainConfig, Trainer

STEPS, TURNS, RERUNS = 20_000, 2_000, 200
WARM = 0.1  # of them, after which memory should be flat
MOST_GROWTH = 30_000_000  # bytes


def _usage() -> list[int]:
    """Bytes and open files of this process."""
    own = psutil.Process()
    return [own.memory_info().rss, own.num_fds()]


def _flat(ground: Ground, work: Callable[[Path, Callable[[], None]], str]) -> str:
    """Does ``work`` in a process of its own, which notes its memory now and then: what has grown, or gone wrong."""
    out, notes, said = ground.room / "long", ground.room / "notes.json", ground.room / "said.txt"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    notes.unlink(missing_ok=True)
    found: list[list[int]] = []

    def noted() -> None:
        wrong = work(out, lambda: found.append(_usage()))
        notes.write_text(json.dumps([found, wrong]), encoding="utf-8")

    if wait(fork(noted, said)) != DONE:
        return said.read_text(encoding="utf-8", errors="replace")[-1500:]
    usage, wrong = json.loads(notes.read_text(encoding="utf-8"))
    early, late = usage[max(1, int(WARM * len(usage)))], usage[-1]
    print(f"  {early[0] / 1e6:.0f} to {late[0] / 1e6:.0f} MB, {early[1]} to {late[1]} handles")
    grown = late[0] - early[0] > MOST_GROWTH or late[1] > early[1]
    return wrong or (f"{early} bytes and handles became {late}" if grown else "")


def steps(ground: Ground) -> Iterator[Trial]:
    """One run of many small steps, with evaluations, samples and checkpoints."""

    def work(out: Path, note: Callable[[], None]) -> str:
        data = [PretrainDataset(ground.made / "books", split, 16, 2, seed=1) for split in ("train", "validation")]
        torch.manual_seed(1)
        config = TrainConfig(
            STEPS, eval_every=100, eval_batches=1, checkpoint_every=500, sample_every=STEPS // 50, device="cpu"
        )
        model = GPT(GPTConfig(600, 16, n_layer=1, n_embd=16, n_head=2, n_kv_head=1))
        result = Trainer(model, data[0], config, out, data[1], sample=lambda model: note() or "").run()
        files = sorted(path.name for path in out.rglob("*.pt"))
        return "" if result["finished"] and len(files) == 2 else f"{result}, {files}"

    yield Trial(f"{STEPS:,} steps of one run", _flat(ground, work))


def turns(ground: Ground) -> Iterator[Trial]:
    """One conversation of many turns."""

    def work(out: Path, note: Callable[[], None]) -> str:
        session = ChatSession(*open_model_folder(ground.made / "sft" / "model"), Settings(max_new_tokens=12))
        for turn in range(TURNS):
            list(session.ask(f"Tell me about mill {turn}, {'and why, ' * (turn % 9)}please."))
            if turn % (TURNS // 50) == 0:
                session.save(out / "talk.json")
                note()
        return "" if session.turns == TURNS else f"{session.turns} turns"

    yield Trial(f"{TURNS:,} turns of one conversation", _flat(ground, work))


def reruns(ground: Ground) -> Iterator[Trial]:
    """Finished phases, run again and again in one process, as a notebook does."""

    def work(out: Path, note: Callable[[], None]) -> str:
        for number in range(RERUNS):
            for phase in ("pretrain", "export", "talk", *(("books",) if number % 20 == 0 else ())):
                small_course.run(phase, ground.made, out / phase)
            if number % (RERUNS // 50) == 0:
                note()
        odd = [phase for phase in ("pretrain", "export", "talk", "books")
               if small_course.digest(out / phase) != ground.right[phase]]  # fmt: skip
        return f"{odd} differ" if odd else ""

    yield Trial(f"{RERUNS} reruns in one process", _flat(ground, work))


ATTACKS = {"steps": steps, "turns": turns, "reruns": reruns}
