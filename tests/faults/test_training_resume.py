"""Going on: with other settings, with a checkpoint that isn't whole, and where another trainer is at work."""

import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_training import CONFIG, SHAPE, At, checkpoints, curve, make_model, make_trainer

import train
from npy_datasets import PretrainDataset, lock, sha256
from train import TrainingStopped, read_log

CODE = Path(train.__file__).parent
pytestmark = pytest.mark.usefixtures("one_thread")


def stopped(shards: Path, folder: Path, step: int = 11, config=CONFIG, **options) -> None:
    """A run that was asked to stop during a step, with the checkpoints of every fifth before it."""
    data = At(PretrainDataset(shards, "train", 16, 8, seed=1), step, lambda: signal.raise_signal(signal.SIGTERM))
    make_trainer(shards, folder, config, dataset=data, **options).run()


@pytest.mark.parametrize(
    "change",
    [{"precision": "float16"}, {"precision": "bfloat16"}, {"micro_batch_size": 3}, {"lr": 1e-3}, {"keep": "best"},
     {"grad_clip": 0}, {"recompute": True}, {"patience": 5}, {"max_steps": 12}, {"warmup_steps": 0}],
)  # fmt: skip
def test_a_run_goes_on_with_other_settings_and_says_so(shards, tmp_path, capsys, change):
    stopped(shards, tmp_path)
    assert make_trainer(shards, tmp_path, replace(CONFIG, **change)).run()["finished"]
    assert "goes on with changed settings" in capsys.readouterr().err
    assert [int(row["step"]) for row in curve(tmp_path)] == list(range(1, change.get("max_steps", 24) + 1))


@pytest.mark.parametrize("change", [{"vocab_size": 80}, {"context_length": 32}, {"n_head": 2}, {"norm_eps": 1e-5}])
def test_another_model_is_refused_in_one_line(shards, tmp_path, change):
    stopped(shards, tmp_path)
    kept = {path: path.read_bytes() for path in checkpoints(tmp_path)}
    with pytest.raises(TrainingStopped, match="holds another run .*now") as caught:
        make_trainer(shards, tmp_path, model=make_model(shape=replace(SHAPE, **change))).run()
    assert "\n" not in str(caught.value) and {path: path.read_bytes() for path in checkpoints(tmp_path)} == kept


@pytest.mark.parametrize("sizes", [(16, 4, 1), (8, 8, 1), (16, 8, 3)], ids=["batch", "context", "seed"])
def test_other_batches_are_refused_in_one_line(shards, tmp_path, sizes):
    stopped(shards, tmp_path)
    with pytest.raises(TrainingStopped, match="holds another run .data or seed"):
        make_trainer(shards, tmp_path, dataset=PretrainDataset(shards, "train", *sizes)).run()


@pytest.mark.parametrize(("first", "then"), [("muon", "adamw"), ("adamw", "muon")])
def test_another_optimizer_is_refused_either_way(shards, tmp_path, first, then):
    stopped(shards, tmp_path, config=replace(CONFIG, optimizer=first))
    with pytest.raises(TrainingStopped, match=f"optimizer {first}, now {then}") as caught:
        make_trainer(shards, tmp_path, replace(CONFIG, optimizer=then)).run()
    assert "\n" not in str(caught.value)


def test_the_last_weights_are_kept_where_best_was_given_up(shards, tmp_path):
    marks = iter((0.9, 0.1, 0.2, 0.3, 0.1))
    best = {"score": lambda model: next(marks), "val_dataset": None}
    stopped(shards, tmp_path, config=replace(CONFIG, keep="best", eval_every=5), **best)
    last = make_trainer(shards, tmp_path, replace(CONFIG, eval_every=5), **best)
    assert last.run()["kept_step"] == 24


def test_the_best_weights_are_those_since_best_was_asked_for(shards, tmp_path):
    marks = iter((0.9, 0.1, 0.2, 0.3, 0.1))
    marked = {"score": lambda model: next(marks), "val_dataset": None}
    stopped(shards, tmp_path, config=replace(CONFIG, eval_every=5), **marked)
    then = make_trainer(shards, tmp_path, replace(CONFIG, keep="best", eval_every=5), **marked).run()
    assert then["kept_step"] == 20, "the weights of step 5 were never kept"


def rewritten(path: Path, change) -> None:
    """Replaces a checkpoint by what ``change`` makes of its content, under the name of its own hash."""
    state = change(torch.load(path, weights_only=True))
    torch.save(state, path.parent / "changed")
    path.unlink()
    (path.parent / "changed").rename(path.parent / f"{path.stem[:13]}_{sha256(path.parent / 'changed')}.pt")


CHANGES = {
    "another step": lambda state: {**state, "step": 4},
    "no scaler": lambda state: {name: state[name] for name in state if name != "scaler"},
    "no model": lambda state: {name: state[name] for name in state if name != "model"},
    "no facts": lambda state: {name: state[name] for name in state if name != "facts"},
    "a list": lambda state: [1],
    "nothing": lambda state: {},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_checkpoint_that_is_not_one_is_passed_over(shards, straight, tmp_path, capsys, change):
    stopped(shards, tmp_path)
    rewritten(checkpoints(tmp_path)[-1], change)
    assert make_trainer(shards, tmp_path).run()["finished"]
    assert "step_00000012 is damaged: using the one before" in capsys.readouterr().err
    assert curve(tmp_path) == straight


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\r", "\r\n"])
def test_what_ends_a_line_elsewhere_stays_in_a_sample(shards, tmp_path, end):
    config, text = replace(CONFIG, sample_every=6), f"first{end}second"
    stopped(shards, tmp_path, config=config, sample=lambda model: text)
    make_trainer(shards, tmp_path, config, sample=lambda model: text).run()
    lines = (tmp_path / "samples.jsonl").read_bytes().decode().split("\n")[:-1]
    assert [json.loads(line) for line in lines] == [{"step": step, "text": text} for step in (0, 6, 12, 18, 24)]


RUN = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import torch
from small_training import make_trainer
from train import Trainer
learn = Trainer.learn
Trainer.learn = lambda self, step: (time.sleep(0.1), learn(self, step))[1]
make_trainer(sys.argv[3], sys.argv[4]).run()
"""


def test_of_two_processes_on_one_folder_one_is_refused(shards, straight, tmp_path):
    command = [sys.executable, "-c", RUN, CODE, Path(__file__).parent.parent, shards, tmp_path]
    both = [subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1].strip().split("\n")[-1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert any("is in use: another trainer is at work there" in line for line in said)
    assert curve(tmp_path) == straight


def test_the_lock_of_a_killed_process_is_gone_with_it(tmp_path):
    held = "import sys, time; sys.path.insert(0, sys.argv[1]); from npy_datasets import lock; a = lock(sys.argv[2])"
    command = [sys.executable, "-c", f"{held}; print(a is not None, flush=True); time.sleep(60)", CODE, tmp_path]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    assert lock(tmp_path) is None
    process.kill()
    process.wait()
    mine = lock(tmp_path)
    assert isinstance(mine, sqlite3.Connection) and lock(tmp_path) is None
    mine.close()


def test_a_lock_file_that_is_damaged_is_one_line(shards, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".lock").write_bytes(b"not a database" * 100)
    with pytest.raises(TrainingStopped, match=r"Stopped after step 0: .*\.lock") as caught:
        make_trainer(shards, tmp_path).run()
    assert "\n" not in str(caught.value) and not read_log_if_any(tmp_path)


def read_log_if_any(folder: Path) -> list:
    return read_log(folder / "log.csv") if (folder / "log.csv").exists() else []
