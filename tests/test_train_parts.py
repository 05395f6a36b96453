"""The trainer's parts: optimizers, schedules, the best weights, patience, samples, prefetching, the trio alone."""

import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import CONFIG, At, curve, make_trainer

import train
from Dummy_Model import GPT
from npy_datasets import Prefetch, PretrainDataset
from train import CosineDecay, Muon, Trainer, TrainingStopped, WarmupStableDecay, orthogonalize, read_log

CODE = Path(train.__file__).parent
pytestmark = pytest.mark.usefixtures("one_thread")


def test_adamw_alone_learns_too(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, optimizer="adamw", max_steps=40))
    assert len(trainer.optimizers) == 1
    assert trainer.run()["val_loss"] < math.log(64) - 0.3


def test_every_weight_belongs_to_one_optimizer(shards, tmp_path):
    for optimizer in ("muon", "adamw"):
        trainer = make_trainer(shards, tmp_path, replace(CONFIG, optimizer=optimizer))
        owned = [id(p) for o in trainer.optimizers for group in o.param_groups for p in group["params"]]
        assert sorted(owned) == sorted(id(p) for p in trainer.model.parameters())


def test_cosine_decay():
    schedule = CosineDecay(max_steps=110, warmup_steps=10, min_ratio=0.1)
    assert [schedule(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [schedule(step) for step in (10, 60, 110, 500)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    rates = [schedule(step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)
    assert CosineDecay(10, 0)(0) == 1.0


def test_warmup_stable_decay():
    schedule = WarmupStableDecay(max_steps=100, warmup_steps=10, min_ratio=0.1, decay_steps=20)
    assert [schedule(step) for step in (0, 9, 10, 79, 80)] == pytest.approx([0.1, 1.0, 1.0, 1.0, 1.0])
    assert [schedule(step) for step in (90, 100, 500)] == pytest.approx([0.55, 0.1, 0.1])
    assert WarmupStableDecay(100, 0)(81) == pytest.approx(0.95)  # the last fifth, where nothing else is said


def test_a_stable_run_can_be_prolonged(shards, tmp_path):
    plain = replace(CONFIG, schedule="wsd", max_steps=20)
    make_trainer(shards, tmp_path / "short", plain).run()
    make_trainer(shards, tmp_path / "long", replace(plain, max_steps=40)).run()
    short, long = curve(tmp_path / "short"), curve(tmp_path / "long")
    assert short[:16] == long[:16] and short[17:] != long[17:20]
    with pytest.raises(ValueError, match="schedule is 'linear'"):
        make_trainer(shards, tmp_path, replace(plain, schedule="linear"))


class Scores:
    """Marks that a run gets at its evaluations, by the step of its trainer."""

    def __init__(self, marks: dict[int, float]):
        self.marks, self.trainer = marks, None

    def __call__(self, model):
        assert not model.training
        return self.marks[self.trainer.step]


def scored(shards, folder, marks, **settings) -> Trainer:
    scores = Scores(marks)
    scores.trainer = make_trainer(shards, folder, replace(CONFIG, eval_every=4, **settings), score=scores)
    return scores.trainer


MARKS = {4: 0.1, 8: 0.3, 12: 0.2, 16: 0.3, 20: 0.1, 24: 0.2}


def test_the_best_weights_are_kept(shards, tmp_path):
    for checkpoint_every in (3, 100):  # the best evaluation has a checkpoint of its own, whatever the rhythm
        folder = tmp_path / str(checkpoint_every)
        trainer = scored(shards, folder, MARKS, keep="best", checkpoint_every=checkpoint_every)
        result = trainer.run()
        assert (result["step"], result["kept_step"], result["finished"]) == (24, 8, True)
        assert {row["step"]: float(row["score"]) for row in curve(folder) if row["score"]} == {
            str(step): mark for step, mark in MARKS.items()
        }
        until_8 = make_trainer(shards, tmp_path / f"8_{checkpoint_every}", replace(CONFIG, max_steps=24))
        until_8.dataset = At(until_8.dataset, 7, lambda: signal.raise_signal(signal.SIGTERM))
        until_8.batches = until_8.dataset
        assert until_8.run()["step"] == 8
        kept = GPT.load(folder / "model")
        for a, b, c in zip(kept.parameters(), trainer.model.parameters(), until_8.model.parameters(), strict=True):
            assert torch.equal(a, b) and torch.equal(a, c)
        # Asked again, it neither trains nor forgets which were the best.
        again = scored(shards, folder, MARKS, keep="best", checkpoint_every=checkpoint_every)
        assert again.run()["kept_step"] == 8
        assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), again.model.parameters(), strict=True))


class Confusing:
    """A dataset that tells nonsense from some step on."""

    def __init__(self, dataset, since: int):
        self.dataset, self.since, self.batch_size = dataset, since, dataset.batch_size

    def batch(self, step: int):
        ids, targets = self.dataset.batch(step)
        return ids, targets if step < self.since else targets.flip(1)


def test_without_a_score_the_lowest_loss_is_best(shards, tmp_path):
    dataset = Confusing(PretrainDataset(shards, "train", 16, 8, seed=1), 24)
    config = replace(CONFIG, keep="best", max_steps=48, schedule="wsd")
    result = make_trainer(shards, tmp_path, config, dataset=dataset).run()
    losses = {int(row["step"]): float(row["val_loss"]) for row in curve(tmp_path) if row["val_loss"]}
    assert result["kept_step"] == min(losses, key=losses.get) == 24
    assert losses[48] > losses[24]


def test_patience_ends_a_run_and_is_remembered(shards, tmp_path):
    result = scored(shards, tmp_path, MARKS, patience=2).run()
    assert (result["step"], result["finished"], result["kept_step"]) == (16, True, 16)
    asked = []
    again = scored(shards, tmp_path, MARKS, patience=2)
    again.batches = At(again.dataset, 16, lambda: asked.append(16))
    assert again.run()["step"] == 16 and not asked
    assert scored(shards, tmp_path / "3", MARKS, patience=4, keep="best").run()["kept_step"] == 8


def test_samples_at_chosen_steps(shards, tmp_path):
    make_trainer(shards, tmp_path, replace(CONFIG, sample_steps=(2, 12, 24)), sample=lambda model: "said").run()
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 12, 24]


def test_recomputing_changes_nothing(shards, straight, tmp_path):
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, recompute=True))
    calls = []
    trainer.model.blocks[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    trainer.learn(0)
    assert len(calls) == 2, "once forward, and once more in the backward pass"
    make_trainer(shards, tmp_path, replace(CONFIG, recompute=True)).run()
    assert curve(tmp_path) == straight


def test_tensorboard_gets_the_log(shards, tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, folder, purge_step):
            told.append((Path(folder).name, purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", type("module", (), {"SummaryWriter": Writer}))
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda name: object())
    make_trainer(shards, tmp_path).run()
    rows = curve(tmp_path)
    assert told[0] == ("tensorboard", 1)
    assert [(n, v) for n, v, _ in told[1:] if n == "loss"] == [("loss", float(row["loss"])) for row in rows]
    assert [step for name, _, step in told[1:] if name == "val_loss"] == [8, 16, 24]
    told.clear()
    make_trainer(shards, tmp_path / "off", replace(CONFIG, tensorboard=False, max_steps=2)).run()
    assert not told


class Counted:
    """A dataset that notes which steps it was asked for, and by which thread."""

    def __init__(self, dataset):
        self.dataset, self.asked, self.threads = dataset, [], set()

    def batch(self, step: int):
        self.asked.append(step)
        self.threads.add(threading.current_thread().name)
        if step > 700:
            raise ValueError(f"no step {step}")
        return self.dataset.batch(step)


def test_prefetching_gives_the_same_batches_one_ahead(shards):
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    counted = Counted(dataset)
    prefetch = Prefetch(counted)
    for step in (0, 1, 2, 7, 3, 3, 4):  # on, and back after a rollback
        for a, b in zip(prefetch.batch(step), dataset.batch(step), strict=True):
            assert torch.equal(a, b)
    prefetch.batch(5)
    assert counted.asked[:10] == [0, 1, 2, 3, 7, 8, 3, 4, 3, 4]
    assert threading.current_thread().name not in counted.threads and len(counted.threads) == 1
    with pytest.raises(ValueError, match="no step 701"):
        prefetch.batch(701)


def test_orthogonalize_makes_singular_values_about_one():
    for shape in ((2, 12, 30), (1, 30, 12), (3, 16, 16)):
        g = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
        u, _, vt = torch.linalg.svd(g, full_matrices=False)
        done = orthogonalize(g)
        # In the directions of g, nothing turned: U^T X V is diagonal, with about ones.
        core = u.mT @ done @ vt.mT
        values = core.diagonal(dim1=-2, dim2=-1)
        assert values.min() > 0.6 and values.max() < 1.3
        assert (core - torch.diag_embed(values)).abs().max() < 1e-2


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (32, 32)])
def test_muon_steps_as_torchs_muon_does(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    optimizers = [Muon([ours], **settings), torch.optim.Muon([theirs], **settings)]
    for _ in range(5):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (theirs - start).norm()
    assert moved > 0.1 and (ours - theirs).norm() / moved < 0.03  # theirs rounds to bfloat16 on the way


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingStopped, match="no CUDA GPU") as caught:
        train.choose_device("cuda")
    assert "\n" not in str(caught.value)
    assert train.choose_device("auto").type in ("cpu", "mps")


def test_the_three_files_train_on_their_own(tmp_path):
    for name in ("Dummy_Model.py", "npy_datasets.py", "train.py"):
        shutil.copy(CODE / name, tmp_path)
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "train.npy", (np.arange(3000) % 50).astype(np.uint16))
    sizes = {"vocab-size": 50, "context-length": 16, "n-layer": 1, "n-embd": 32, "n-head": 2, "n-kv-head": 1}
    options = [f"--{name}={value}" for name, value in {**sizes, "steps": 8, "device": "cpu"}.items()]
    command = [sys.executable, "train.py", "data", "run", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["finished"]
    assert len(read_log(tmp_path / "run" / "log.csv")) == 8
    assert GPT.load(tmp_path / "run" / "model").config.n_layer == 1
    failed = subprocess.run([*command[:2], "nowhere", *command[3:]], cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode != 0 and len(failed.stderr.strip().splitlines()) == 1 and "nowhere" in failed.stderr
