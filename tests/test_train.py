"""The trainer: stopped, killed, damaged or cut into pieces, it must end with the same losses."""

import hashlib
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
from small_training import CONFIG, SHAPE, At, checkpoints, curve, make_model, make_trainer

import train
from Dummy_Model import GPT
from npy_datasets import PretrainDataset
from train import TrainConfig, TrainingStopped

CODE = Path(train.__file__).parent
pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_learns_and_leaves_a_model(shards, straight, tmp_path):
    result = make_trainer(shards, tmp_path).run()
    assert result["finished"] and result["step"] == 24
    assert result["val_loss"] == float(straight[-1]["val_loss"])
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
    for compiled_row, row in zip(whole, straight, strict=True):
        assert math.isclose(float(compiled_row["loss"]), float(row["loss"]), abs_tol=1e-3)
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
from npy_datasets import PretrainDataset
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


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "renamed"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(shards, straight, tmp_path, capsys, damage):
    stop_at(shards, tmp_path, 11)
    newest = checkpoints(tmp_path)[-1]
    data = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(data[:-100])
    elif damage == "flipped":
        newest.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        newest.rename(newest.with_name("step_00000012.pt"))
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    asked = []
    assert make_trainer(shards, tmp_path, dataset=At(dataset, 10, lambda: asked.append(10))).run()["finished"]
    assert asked == [10] and "step_00000012 is damaged" in capsys.readouterr().err
    assert curve(tmp_path) == straight


@pytest.mark.parametrize("bad", [b"12,99\n", b"\xff\xfe,\x00\n", b"6,96,4.1\x85\n"])
def test_a_damaged_log_is_written_again(shards, straight, tmp_path, capsys, bad):
    config = replace(CONFIG, sample_every=6)
    dataset = At(PretrainDataset(shards, "train", 16, 8, seed=1), 11, lambda: signal.raise_signal(signal.SIGTERM))
    make_trainer(shards, tmp_path, config, dataset=dataset, sample=lambda model: "words\u2028words").run()
    for name in ("log.csv", "samples.jsonl"):
        path = tmp_path / name
        lines = path.read_bytes().split(b"\n")
        path.write_bytes(b"\n".join([*lines[:2], bad, *lines[3:]]))
    capsys.readouterr()
    assert make_trainer(shards, tmp_path, config, sample=lambda model: "words\u2028words").run()["finished"]
    said = capsys.readouterr().err
    assert all(f"{name} is damaged: written anew from the checkpoint." in said for name in ("log.csv", "samples.jsonl"))
    assert curve(tmp_path) == straight
    samples = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["step"] for line in samples] == [0, 6, 12, 18, 24]


def test_two_checkpoints_are_kept_and_name_their_hash(shards, tmp_path):
    make_trainer(shards, tmp_path).run()
    kept = checkpoints(tmp_path)
    assert [path.name[:13] for path in kept] == ["step_00000020", "step_00000024"]
    assert all(path.stem[14:] == hashlib.sha256(path.read_bytes()).hexdigest() for path in kept)


def test_a_checkpoint_runs_no_code(shards, straight, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    stop_at(shards, tmp_path, 11)
    for path in checkpoints(tmp_path):
        path.unlink()
    torch.save(Evil(), tmp_path / "evil.pt")
    sha256 = hashlib.sha256((tmp_path / "evil.pt").read_bytes()).hexdigest()
    (tmp_path / "evil.pt").rename(tmp_path / "checkpoints" / f"step_00000012_{sha256}.pt")
    assert make_trainer(shards, tmp_path).run()["finished"]
    assert not (tmp_path / "ran").exists()
    assert "step_00000012 is damaged" in capsys.readouterr().err and curve(tmp_path) == straight


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX limits the size of files")
def test_a_full_disk_is_one_line_and_loses_nothing(shards, straight, tmp_path):
    import resource

    def fill_the_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as long as the log and shorter than a checkpoint

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        dataset = At(PretrainDataset(shards, "train", 16, 8, seed=1), 12, fill_the_disk)
        with pytest.raises(TrainingStopped, match="Stopped after step 15: .*checkpoints") as caught:
            make_trainer(shards, tmp_path, dataset=dataset).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(caught.value)
    assert [path.name[:13] for path in checkpoints(tmp_path)] == ["step_00000005", "step_00000010"]
    assert make_trainer(shards, tmp_path).run()["finished"]
    assert curve(tmp_path) == straight


def test_two_trainers_cannot_share_a_folder(shards, straight, tmp_path):
    refused = []

    def second():
        with pytest.raises(TrainingStopped, match="in use") as caught:
            make_trainer(shards, tmp_path).run()
        refused.append(str(caught.value))

    make_trainer(shards, tmp_path, dataset=At(PretrainDataset(shards, "train", 16, 8, seed=1), 9, second)).run()
    assert len(refused) == 1 and "\n" not in refused[0]
    assert curve(tmp_path) == straight
    assert make_trainer(shards, tmp_path).run()["finished"], "the lock is gone with the run"


def test_work_of_many_minutes_is_never_lost(shards, straight, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])

    class FourMinutes(PretrainDataset):
        def batch(self, step: int):
            now[0] += 240
            return super().batch(step)

    config = replace(CONFIG, checkpoint_every=10**6)
    dataset = FourMinutes(shards, "train", 16, 8, seed=1)
    stop = At(dataset, 13, lambda: 1 / 0)  # as sudden as a power cut
    with pytest.raises(ZeroDivisionError):
        make_trainer(shards, tmp_path, config, dataset=stop).run()
    assert [path.name[:13] for path in checkpoints(tmp_path)] == ["step_00000009", "step_00000012"]
    assert make_trainer(shards, tmp_path, config, dataset=dataset).run()["finished"]
    assert curve(tmp_path) == straight


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


@pytest.mark.parametrize(("cls", "bad", "line"), [
    (Fragile, 13, r"step 14 \(batch 13\): loss nan, gradient norm nan"),
    (Spiky, 40, r"step 41 \(batch 40\): loss \d+\.\d+ \(a spike: more than \d"),
])  # fmt: skip
def test_a_nan_or_a_spike_stops_with_one_line(shards, tmp_path, cls, bad, line):
    dataset = Poisoned(PretrainDataset(shards, "train", 16, 8, seed=1), bad)
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, max_steps=48), model=make_model(cls), dataset=dataset)
    with pytest.raises(TrainingStopped, match=line) as caught:
        trainer.run()
    assert "\n" not in str(caught.value)
    assert all(torch.isfinite(weight).all() for weight in trainer.model.parameters())
    assert int(curve(tmp_path)[-1]["step"]) == bad
    assert not (tmp_path / "model").exists()
    dataset.bad = None  # and on from the last checkpoint, once the batch is mended
    assert make_trainer(shards, tmp_path, replace(CONFIG, max_steps=48), model=make_model(cls), dataset=dataset).run()
    assert len(curve(tmp_path)) == 48


def test_weights_that_are_not_finite_are_not_saved(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, max_steps=1, warmup_steps=1))
    trainer.optimizers[1].step = lambda: trainer.model.blocks[0].mlp.up_proj.weight.data.fill_(math.inf)
    with pytest.raises(TrainingStopped, match="isn't finite"):
        trainer.run()
    assert not (tmp_path / "model").exists() and not checkpoints(tmp_path)


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


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"lr": 1e-3}, "lr 0.003, now 0.001"),
        ({"weight_decay": 0.2}, "weight_decay 0.1, now 0.2"),
        ({"precision": "bfloat16"}, "precision float32, now bfloat16"),
        ({"max_steps": 8}, "max_steps 5, now 8"),
    ],
)
def test_changed_settings_are_said_once(shards, tmp_path, capsys, change, line):
    make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5)).run()
    assert "goes on with" not in capsys.readouterr().err
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, **{"max_steps": 5, **change}))
    trainer.run()
    assert f"goes on with changed settings: {line}.\n" in capsys.readouterr().err
    assert trainer.optimizers[0].param_groups[0]["weight_decay"] == trainer.config.weight_decay
    assert trainer.optimizers[0].defaults["lr"] == trainer.config.lr


def test_another_optimizer_is_refused(shards, tmp_path):
    make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5)).run()
    with pytest.raises(TrainingStopped, match="another run .optimizer muon, now adamw") as caught:
        make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5, optimizer="adamw")).run()
    assert "\n" not in str(caught.value)


def test_other_datas_folder_is_refused(shards, tmp_path):
    make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5)).run()
    other = PretrainDataset(shards, "train", 16, 8, seed=2)
    with pytest.raises(TrainingStopped, match="another run .data or seed") as caught:
        make_trainer(shards, tmp_path, dataset=other).run()
    assert "\n" not in str(caught.value)


def test_samples_are_taken_and_kept_once(shards, tmp_path):
    config = replace(CONFIG, sample_every=6)
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    sample = lambda model: f"said by {model.config.n_layer} layers"  # noqa: E731
    at = At(dataset, 13, lambda: signal.raise_signal(signal.SIGTERM))
    make_trainer(shards, tmp_path, config, dataset=at, sample=sample).run()
    make_trainer(shards, tmp_path, config, sample=sample).run()
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [line["step"] for line in lines] == [0, 6, 12, 18, 24]
    assert lines[0]["text"] == "said by 2 layers"


def test_samples_do_not_change_the_run(shards, straight, tmp_path):
    def sample(model):
        return str(model(torch.zeros(1, 4, dtype=torch.long)).argmax().item() + torch.rand(1).item())

    make_trainer(shards, tmp_path, replace(CONFIG, sample_every=3), sample=sample).run()
    assert curve(tmp_path) == straight
