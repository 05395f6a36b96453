"""Settings that would train nothing, or harm, without a word: each is refused in one line that names it."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import CONFIG, curve, make_model, make_trainer

import train
from Dummy_Model import GPTConfig, choose_device
from npy_datasets import PretrainDataset
from train import TrainConfig, Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

REFUSED = [
    ("max_steps", -5), ("max_steps", 0), ("max_steps", 10.5), ("max_steps", "10"), ("max_steps", None),
    ("max_steps", True), ("max_steps", math.nan), ("optimizer", "sgd"), ("optimizer", None), ("optimizer", ["muon"]),
    ("lr", 0.0), ("lr", -1e-3), ("lr", math.nan), ("lr", math.inf), ("lr", 1e-50), ("lr", 5.0), ("lr", "3e-3"),
    ("lr", None), ("matrix_lr", 0), ("matrix_lr", -0.02), ("matrix_lr", math.inf), ("warmup_steps", -1),
    ("warmup_steps", 101), ("warmup_steps", 10**9), ("warmup_steps", 2.5), ("min_lr_ratio", -0.1),
    ("min_lr_ratio", 1.5), ("min_lr_ratio", math.nan), ("weight_decay", -0.1), ("weight_decay", 50.0),
    ("weight_decay", math.nan), ("grad_clip", -1.0), ("grad_clip", math.nan), ("grad_clip", 1e-50),
    ("micro_batch_size", 0), ("micro_batch_size", -4), ("micro_batch_size", 2.5), ("eval_every", 0),
    ("eval_every", None), ("eval_every", 2.5), ("eval_batches", 0), ("checkpoint_every", 0), ("checkpoint_every", -1),
    ("checkpoint_minutes", -1.0), ("checkpoint_minutes", math.nan), ("sample_every", -1), ("sample_every", 0.5),
    ("keep", "all"), ("keep", None), ("patience", 0), ("patience", -3), ("patience", 1.5), ("spike_factor", 0.0),
    ("spike_factor", -2.0), ("spike_factor", math.nan), ("precision", "int8"), ("precision", "fp16"),
    ("compile", "no"), ("compile", None), ("recompute", "false"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_setting_that_cannot_be_is_one_line(name, value):
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        TrainConfig(**{"max_steps": 100, name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("grad_clip", 0), ("grad_clip", math.inf), ("spike_factor", math.inf), ("checkpoint_minutes", math.inf),
     ("weight_decay", 0), ("min_lr_ratio", 1), ("warmup_steps", 0), ("warmup_steps", 100), ("lr", 1)],
)  # fmt: skip
def test_values_at_the_edge_are_settings_too(name, value):
    assert getattr(TrainConfig(**{"max_steps": 100, name: value}), name) == value


def test_the_warmup_of_a_short_run_ends_with_it():
    assert TrainConfig(8).warmup_steps == 8 and TrainConfig(500).warmup_steps == 20
    assert replace(TrainConfig(500), max_steps=1000).warmup_steps == 20


@pytest.mark.parametrize("change", [{"keep": "best"}, {"patience": 2}])
def test_what_goes_by_evaluations_needs_them(shards, tmp_path, change):
    data = PretrainDataset(shards, "train", 16, 8)
    with pytest.raises(ValueError, match="go by evaluations") as caught:
        Trainer(make_model(), data, replace(CONFIG, **change), tmp_path)
    assert "\n" not in str(caught.value)
    Trainer(make_model(), data, replace(CONFIG, **change), tmp_path, score=lambda model: 1.0)


def test_without_a_limit_for_the_gradient_every_weight_learns(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, replace(CONFIG, grad_clip=0, weight_decay=0))
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.run()
    assert all(not torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())
    assert float(curve(tmp_path)[-1]["loss"]) < float(curve(tmp_path)[0]["loss"])


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "meta", "", "gpu"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(ValueError, match=f"device='{name}' can't be used here") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


SIZES = {"vocab-size": 64, "context-length": 16, "n-layer": 1, "n-embd": 32, "n-head": 2, "n-kv-head": 1}


@pytest.mark.parametrize(
    ("option", "word"),
    [("--checkpoint-every=0", "checkpoint_every is 0"), ("--steps=-5", "max_steps is -5"), ("--lr=nan", "lr is nan"),
     ("--device=tpu", "device='tpu'"), ("--keep=best", "go by evaluations"), ("--n-layer=0", "n_layer is 0"),
     ("--vocab-size=1000000000000", "vocab_size is 1000000000000"), ("--context-length=0", "context length is 0"),
     ("--seed=-1", "seed is -1"), ("--vocab-size=40", "Token id 49 is outside the vocabulary of 40")],
)  # fmt: skip
def test_the_command_line_says_so_in_one_line(tmp_path, option, word):
    np.save(tmp_path / "train.npy", (np.arange(3000) % 50).astype(np.uint16))
    options = [f"--{name}={value}" for name, value in {**SIZES, "steps": 4, "device": "cpu"}.items()]
    command = [sys.executable, str(Path(train.__file__)), str(tmp_path), str(tmp_path / "run"), *options, option]
    failed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert failed.returncode == 1 and word in failed.stderr, failed.stderr
    assert len(failed.stderr.strip().split("\n")) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_layer", 10**12), ("context_length", 10**12), ("n_embd", 2.0), ("n_embd", "32"), ("n_hidden", 0),
     ("n_hidden", -64), ("head_dim", 0), ("vocab_size", None), ("n_head", True), ("norm_eps", math.nan),
     ("norm_eps", 0.0), ("norm_eps", math.inf), ("norm_eps", None), ("rope_theta", math.nan), ("rope_theta", -1.0)],
)  # fmt: skip
def test_a_shape_that_cannot_be_is_one_line_before_anything_is_built(name, value):
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        GPTConfig(**{**dict.fromkeys(("vocab_size", "context_length", "n_layer"), 32), "n_embd": 32, "n_head": 2,
                     "n_kv_head": 1, name: value})  # fmt: skip
    assert "\n" not in str(caught.value)
