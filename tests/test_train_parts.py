"""The trainer's parts: optimizers, schedule, the best weights, patience, refused settings, the trio alone."""

import json
import math
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import CONFIG, At, curve, make_trainer

import train
from Dummy_Model import GPT
from npy_datasets import PretrainDataset
from train import CosineDecay, Muon, TrainConfig, Trainer, TrainingStopped, orthogonalize, read_log

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


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


class Scores:
    """Marks that a run gets at its evaluations, by the step of its trainer."""

    def __init__(self, marks: dict[int, float]):
        self.marks, self.trainer = marks, None

    def __call__(self, model):
        assert not model.training
        return self.marks[self.trainer.step]


def scored(shards, folder, marks, **settings) -> Trainer:
    scores = Scores(marks)
    config = replace(CONFIG, eval_every=4, **settings)
    scores.trainer = make_trainer(shards, folder, config, val_dataset=None, score=scores)  # else the loss decides
    return scores.trainer


MARKS = {4: 0.1, 8: 0.3, 12: 0.2, 16: 0.3, 20: 0.1, 24: 0.2}


def test_the_best_weights_are_kept(shards, tmp_path):
    trainer = scored(shards, tmp_path, MARKS, keep="best")
    result = trainer.run()
    assert (result["step"], result["kept_step"], result["finished"]) == (24, 8, True)
    assert {row["step"]: float(row["score"]) for row in curve(tmp_path) if row["score"]} == {
        str(step): mark for step, mark in MARKS.items()
    }
    until_8 = make_trainer(shards, tmp_path / "until_8", dataset=At(trainer.dataset, 7, stop))
    assert until_8.run()["step"] == 8
    kept = GPT.load(tmp_path / "model")
    for a, b, c in zip(kept.parameters(), trainer.model.parameters(), until_8.model.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    # Asked again, it neither trains nor forgets which were the best.
    again = scored(shards, tmp_path, MARKS, keep="best")
    assert again.run()["kept_step"] == 8
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), again.model.parameters(), strict=True))


def test_the_best_weights_outlive_a_stop(shards, tmp_path):
    first = scored(shards, tmp_path, MARKS, keep="best", checkpoint_every=100)
    first.dataset = At(first.dataset, 17, stop)
    assert not first.run()["finished"]
    then = scored(shards, tmp_path, MARKS, keep="best", checkpoint_every=100)
    assert then.run()["kept_step"] == 8
    whole = scored(shards, tmp_path / "whole", MARKS, keep="best")
    whole.run()
    assert curve(tmp_path) == curve(tmp_path / "whole")
    for a, b in zip(then.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


class Confusing:
    """A dataset that tells nonsense from some step on."""

    def __init__(self, dataset, since: int):
        self.dataset, self.since, self.batch_size = dataset, since, dataset.batch_size

    def batch(self, step: int):
        ids, targets = self.dataset.batch(step)
        return ids, targets if step < self.since else targets.flip(1)


@pytest.mark.parametrize("marks", [{}, {"score": lambda model: random.random()}])
def test_where_there_is_held_out_data_the_lowest_loss_is_best(shards, tmp_path, marks):
    dataset = Confusing(PretrainDataset(shards, "train", 16, 8, seed=1), 24)
    config = replace(CONFIG, keep="best", max_steps=48)
    result = make_trainer(shards, tmp_path, config, dataset=dataset, **marks).run()
    losses = {int(row["step"]): float(row["val_loss"]) for row in curve(tmp_path) if row["val_loss"]}
    assert result["kept_step"] == min(losses, key=losses.get) == 24
    assert losses[48] > losses[24]


def test_patience_ends_a_run_and_is_remembered(shards, tmp_path):
    result = scored(shards, tmp_path, MARKS, patience=2).run()
    assert (result["step"], result["finished"], result["kept_step"]) == (16, True, 16)
    asked = []
    again = scored(shards, tmp_path, MARKS, patience=2)
    again.dataset = At(again.dataset, 16, lambda: asked.append(16))
    assert again.run()["step"] == 16 and not asked
    assert scored(shards, tmp_path / "3", MARKS, patience=4, keep="best").run()["kept_step"] == 8


def test_recomputing_changes_nothing(shards, straight, tmp_path):
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, recompute=True))
    calls = []
    trainer.model.blocks[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    trainer.learn(0)
    assert len(calls) == 2, "once forward, and once more in the backward pass"
    make_trainer(shards, tmp_path, replace(CONFIG, recompute=True)).run()
    assert curve(tmp_path) == straight


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
    with pytest.raises(ValueError, match="device='cuda' can't be used here") as caught:
        train.choose_device("cuda")
    assert "\n" not in str(caught.value)
    assert train.choose_device("auto").type in ("cpu", "mps")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"max_steps": -5}, "max_steps is -5: .* at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"eval_every": 0}, "eval_every is 0"),
        ({"micro_batch_size": 0}, "micro_batch_size is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"grad_clip": -1.0}, "grad_clip is -1.0: .* at least 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"spike_factor": 0.5}, "spike_factor is 0.5: .* at least 1"),
        ({"precision": "int8"}, "precision is 'int8': it must be one of auto, float32"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd': it must be one of muon, adamw"),
        ({"keep": "all"}, "keep is 'all'"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, line):
    with pytest.raises(ValueError, match=line) as caught:
        TrainConfig(**{"max_steps": 10, **change})
    assert "\n" not in str(caught.value)


def test_without_clipping_the_gradient_stays(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, grad_clip=0))
    grads = []
    trainer.optimizers[0].step = lambda: grads.extend(p.grad.clone() for p in trainer.model.parameters())
    _, norm, _ = trainer.learn(0)
    assert math.isclose(torch.cat([g.flatten() for g in grads]).norm(), norm, rel_tol=1e-5)


class Changed:
    """A dataset whose first batch is changed."""

    def __init__(self, dataset, change):
        self.dataset, self.change, self.batch_size = dataset, change, dataset.batch_size

    def batch(self, step: int):
        return self.change(*self.dataset.batch(step))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda ids, targets: (ids, torch.full_like(targets, -100)), "Batch 0 has no target to learn"),
        (lambda ids, targets: (ids + 1, targets), r"Batch \d has ids \d+ to 64 for a vocabulary of 64"),
        (lambda ids, targets: (ids, targets * 2), r"ids \d+ to 1\d\d for a vocabulary of 64"),
    ],
)
def test_a_batch_that_cannot_be_learned_is_one_line(shards, tmp_path, change, line):
    dataset = Changed(PretrainDataset(shards, "train", 16, 8, seed=1), change)
    with pytest.raises(TrainingStopped, match=line) as caught:
        make_trainer(shards, tmp_path, dataset=dataset).run()
    assert "\n" not in str(caught.value)


TRIO = ("Dummy_Model.py", "npy_datasets.py", "train.py")
SIZES = {"vocab-size": 50, "context-length": 16, "n-layer": 1, "n-embd": 32, "n-head": 2, "n-kv-head": 1}
# Calls that torch got after version 2.5 are taken away before train.py is run.
OLDER_TORCH = """
import runpy, sys
import torch
for owner, name in ((torch.nn.functional, "linear_cross_entropy"), (torch.cpu, "get_capabilities"),
                    (torch.optim, "Muon"), (torch.nn, "LinearCrossEntropyLoss")):
    if hasattr(owner, name):
        delattr(owner, name)
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.fixture
def trio(tmp_path) -> Path:
    """A folder with nothing but the three files and a shard."""
    for name in TRIO:
        shutil.copy(CODE / name, tmp_path)
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "train.npy", (np.arange(3000) % 50).astype(np.uint16))
    return tmp_path


def start(folder: Path, *command: str) -> subprocess.CompletedProcess:
    options = [f"--{name}={value}" for name, value in {**SIZES, "steps": 8, "device": "cpu"}.items()]
    return subprocess.run(
        [sys.executable, *command, *options], cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=120
    )


@pytest.mark.parametrize("torch_version", ["this", "an older"])
def test_the_three_files_train_on_their_own(trio, torch_version):
    run = ("train.py",) if torch_version == "this" else ("-c", OLDER_TORCH, "train.py")
    done = start(trio, *run, "data", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["finished"]
    assert len(read_log(trio / "run" / "log.csv")) == 8
    assert GPT.load(trio / "run" / "model").config.n_layer == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("nowhere", "run"), "nowhere"), (("data", "run", "--precision=int8"), "int8"),
     (("data", "run", "--batch-size=0"), "batch size is 0")],
)  # fmt: skip
def test_what_the_command_line_cannot_do_is_one_line(trio, arguments, word):
    failed = start(trio, "train.py", *arguments)
    assert failed.returncode == 1 and len(failed.stderr.strip().splitlines()) == 1 and word in failed.stderr


def test_help_explains_every_setting(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    text = capsys.readouterr().out
    for field in fields(TrainConfig)[1:]:
        assert f"--{field.name.replace('_', '-')}" in text and f"    {field.name}: " in text
