"""The trainer: stopped, killed, damaged or cut into pieces, it must end with the same losses."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import CONFIG, SHAPE, At, curve, make_model, make_trainer

import train
from Dummy_Model import GPT
from npy_datasets import PretrainDataset
from train import TrainConfig, TrainingStopped

CODE = Path(train.__file__).parent
pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_learns_and_leaves_a_model(shards, straight, tmp_path):
    result = make_trainer(shards, tmp_path).run()
    assert result["finished"] and result["step"] == 24
    assert math.isclose(float(straight[0]["loss"]), math.log(64), rel_tol=0.05)
    assert result["val_loss"] < float(straight[0]["loss"]) - 0.3
    assert [int(row["step"]) for row in straight] == list(range(1, 25))
    assert [int(row["step"]) for row in straight if row["val_loss"]] == [8, 16, 24]
    assert int(straight[-1]["tokens"]) == 24 * 8 * 16
    ids = torch.arange(16)[None]
    trained = make_trainer(shards, tmp_path)
    trained.run()
    assert torch.equal(GPT.load(tmp_path / "model").eval()(ids), trained.model.eval()(ids))


def test_two_runs_have_identical_logs(shards, straight, tmp_path):
    make_trainer(shards, tmp_path).run()
    assert curve(tmp_path) == straight


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("g++"), reason="compiling needs a C++ compiler")
def test_a_compiled_run_learns_the_same_and_goes_on_the_same(shards, straight, tmp_path):
    compiled = replace(CONFIG, compile=True)
    make_trainer(shards, tmp_path / "whole", compiled).run()
    whole = curve(tmp_path / "whole")
    for mine, plain in zip(whole, straight, strict=True):
        assert math.isclose(float(mine["loss"]), float(plain["loss"]), abs_tol=1e-3)
    stop = At(PretrainDataset(shards, "train", 16, 8, seed=1), 7, lambda: signal.raise_signal(signal.SIGTERM))
    assert not make_trainer(shards, tmp_path / "parts", compiled, dataset=stop).run()["finished"]
    assert make_trainer(shards, tmp_path / "parts", compiled).run()["finished"]
    assert curve(tmp_path / "parts") == whole


def test_a_finished_run_is_not_trained_again(shards, straight, tmp_path):
    make_trainer(shards, tmp_path).run()
    asked = []
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    again = make_trainer(shards, tmp_path, dataset=At(dataset, 23, lambda: asked.append(23))).run()
    assert again["finished"] and again["loss"] == float(straight[-1]["loss"]) and not asked


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_the_next_run_goes_on_exactly(shards, straight, tmp_path, sign):
    before = signal.getsignal(sign)
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    stopped = make_trainer(shards, tmp_path, dataset=At(dataset, 11, lambda: signal.raise_signal(sign))).run()
    assert not stopped["finished"] and stopped["step"] == 12 and not (tmp_path / "model").exists()
    assert signal.getsignal(sign) == before
    torch.manual_seed(999)
    assert make_trainer(shards, tmp_path, model=GPT(SHAPE)).run()["finished"]  # its own weights must not matter
    assert curve(tmp_path) == straight


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
from Dummy_Model import GPT, GPTConfig
from npy_datasets import Prefetch, PretrainDataset
from train import TrainConfig, Trainer

class Slow(PretrainDataset):
    def batch(self, step):
        time.sleep(0.05)
        return super().batch(step)

torch.set_num_threads(1)
torch.manual_seed(7)
model = GPT(GPTConfig(64, 16, 2, 32, 4, 2))
config = TrainConfig(max_steps=24, warmup_steps=4, eval_every=8, eval_batches=2, checkpoint_every=5, device="cpu",
                     precision="float32")
val = PretrainDataset(sys.argv[2], "validation", 16, 8)
Trainer(model, Slow(sys.argv[2], "train", 16, 8, seed=1), config, sys.argv[3], val).run()
"""


def test_a_killed_run_goes_on_exactly(shards, straight, tmp_path):
    command = [sys.executable, "-c", KILLED, str(CODE), str(shards), str(tmp_path)]
    log = tmp_path / "log.csv"
    for kill_after in (7, 16):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and log.read_bytes().count(b"\n") > kill_after:
                break
            time.sleep(0.005)
        process.kill()  # SIGKILL: nothing in the process can react to it
        assert process.wait() != 0, "it must have been killed while it trained"
        with open(log, "ab") as file:
            file.write(b"24,99")  # what a kill in the middle of a line leaves
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=60)
    assert curve(tmp_path) == straight
    assert not list(tmp_path.rglob("*.tmp"))


def stop_at(shards: Path, folder: Path, step: int, config: TrainConfig = CONFIG) -> None:
    """A run that was asked to stop during a step, with the checkpoints of every fifth before it."""
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    make_trainer(shards, folder, config, dataset=At(dataset, step, lambda: signal.raise_signal(signal.SIGTERM))).run()


@pytest.mark.parametrize("damage", ["cut", "flipped", "note", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(shards, straight, tmp_path, capsys, damage):
    stop_at(shards, tmp_path, 11)
    newest = tmp_path / "checkpoints" / "step_00000012.safetensors"
    data = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(data[:-100])
    elif damage == "flipped":
        newest.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    elif damage == "note":
        newest.with_suffix(".json").write_text('{"step": 12', encoding="utf-8")
    else:
        newest.unlink()
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    asked = []
    assert make_trainer(shards, tmp_path, dataset=At(dataset, 10, lambda: asked.append(10))).run()["finished"]
    assert asked == [10] and "step_00000012 is damaged" in capsys.readouterr().err
    assert curve(tmp_path) == straight


def test_two_checkpoints_are_kept(shards, tmp_path):
    make_trainer(shards, tmp_path).run()
    names = {path.stem for path in (tmp_path / "checkpoints").iterdir() if path.stem.startswith("step_")}
    assert {"step_00000020", "step_00000024"} <= names and len(names) <= 3


class Fragile(GPT):
    """A model whose loss is NaN, or far too large, on rows of nothing but token 63."""

    factor = math.nan

    def loss(self, ids, targets, document_ids=None):
        loss = super().loss(ids, targets, document_ids)
        return loss * self.factor if bool((ids == 63).all()) else loss


class Spiky(Fragile):
    factor = 50.0


class Poisoned:
    """A dataset with one bad batch."""

    def __init__(self, dataset, bad: int):
        self.dataset, self.bad, self.batch_size = dataset, bad, dataset.batch_size

    def batch(self, step: int):
        ids, targets = self.dataset.batch(step)
        return (torch.full_like(ids, 63), targets) if step == self.bad else (ids, targets)


def test_a_nan_stops_with_one_line(shards, tmp_path):
    dataset = Poisoned(PretrainDataset(shards, "train", 16, 8, seed=1), 13)
    trainer = make_trainer(shards, tmp_path, model=make_model(Fragile), dataset=dataset)
    with pytest.raises(TrainingStopped, match=r"step 14 \(batch 13\).*nan") as caught:
        trainer.run()
    assert "\n" not in str(caught.value)
    assert all(torch.isfinite(weight).all() for weight in trainer.model.parameters())
    assert int(curve(tmp_path)[-1]["step"]) == 13


@pytest.mark.parametrize(("cls", "bad", "steps"), [(Fragile, 13, 24), (Spiky, 40, 48)])
def test_with_skip_it_goes_on_without_the_batch(shards, tmp_path, capsys, cls, bad, steps):
    config = replace(CONFIG, max_steps=steps, on_bad_step="skip")
    dataset = Poisoned(PretrainDataset(shards, "train", 16, 8, seed=1), bad)
    result = make_trainer(shards, tmp_path, config, model=make_model(cls), dataset=dataset).run()
    assert result["finished"] and f"batch {bad}" in capsys.readouterr().err
    rows = curve(tmp_path)
    assert [int(row["step"]) for row in rows] == [step for step in range(1, steps + 1) if step != bad + 1]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    untouched = make_trainer(shards, tmp_path / "other", config)
    untouched.run()
    assert rows[:bad] == curve(tmp_path / "other")[:bad], "up to the bad batch nothing may differ"


class HalfIgnored:
    """A dataset whose rows learn very different numbers of tokens, one of them none."""

    def __init__(self, dataset):
        self.dataset, self.batch_size = dataset, dataset.batch_size

    def batch(self, step: int):
        ids, targets = self.dataset.batch(step)
        for row in range(len(targets)):
            targets[row, : 2 * row + 2] = -100
        return ids, targets


@pytest.mark.parametrize("micro", [1, 3, 4])
def test_the_micro_batch_changes_nothing(shards, tmp_path, micro):
    config = replace(CONFIG, max_steps=10)
    logs = []
    for size in (None, micro):
        folder = tmp_path / str(size)
        dataset = HalfIgnored(PretrainDataset(shards, "train", 16, 8, seed=1))
        make_trainer(shards, folder, replace(config, micro_batch_size=size), dataset=dataset).run()
        logs.append([[float(row["loss"]), float(row["grad_norm"])] for row in curve(folder)])
    np.testing.assert_allclose(logs[1], logs[0], rtol=1e-3)
    np.testing.assert_allclose(logs[1][0], logs[0][0], rtol=1e-5)


def test_another_models_folder_is_refused(shards, tmp_path):
    make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5)).run()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    wider = make_model(shape=replace(SHAPE, n_embd=64))
    with pytest.raises(TrainingStopped, match="another run .n_embd 32, now 64") as caught:
        make_trainer(shards, tmp_path, model=wider).run()
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == kept


def test_other_datas_folder_is_refused(shards, tmp_path):
    make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5)).run()
    other = PretrainDataset(shards, "train", 16, 8, seed=2)
    with pytest.raises(TrainingStopped, match="other data") as caught:
        make_trainer(shards, tmp_path, dataset=other).run()
    assert "\n" not in str(caught.value)


def test_samples_are_taken_and_kept_once(shards, tmp_path):
    config = replace(CONFIG, sample_every=6)
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    sample = lambda model: f"said by {model.config.n_layer} layers"  # noqa: E731
    at = At(dataset, 13, lambda: signal.raise_signal(signal.SIGTERM))
    make_trainer(shards, tmp_path, config, dataset=at, sample=sample).run()
    make_trainer(shards, tmp_path, config, sample=sample).run()
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [0, 6, 12, 18, 24]
    assert lines[0]["text"] == "said by 2 layers"


def test_samples_do_not_change_the_run(shards, straight, tmp_path):
    def sample(model):
        return str(model(torch.zeros(1, 4, dtype=torch.long)).argmax().item() + torch.rand(1).item())

    make_trainer(shards, tmp_path, replace(CONFIG, sample_every=3), sample=sample).run()
    assert curve(tmp_path) == straight
