"""The races of changes to the recipe of pretraining: each change trains, and changes something."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import recipe
from npy_datasets import write_shards
from presets import PRESETS

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 20
SMALL = replace(PRESETS["tiny"], n_layer=1, context_length=32, vocab_size=256, micro_batch=16)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    ids = np.random.default_rng(0).zipf(1.5, 60_000) % 255
    write_shards([ids], folder, end_token=255, vocab_size=256)
    return folder


def trained(name: str, shards) -> recipe.Racer:
    trainer = recipe.racer(SMALL, recipe.CHANGES[name], 0, STEPS, shards)
    for step in range(STEPS):
        trainer.take(step)
    trainer.end()
    return trainer


@pytest.fixture(scope="module")
def base(shards):
    return trained("base", shards)


@pytest.mark.parametrize("name", [name for name in recipe.CHANGES if name != "base"])
def test_a_change_trains_another_model(name, base, shards):
    trainer = trained(name, shards)
    weights = dict(trainer.model.named_parameters())
    assert all(weight.isfinite().all() for weight in weights.values())
    if name != "no-clip":  # here no gradient is large enough for the limit
        same = [weights[n].shape == w.shape and torch.equal(weights[n], w) for n, w in base.model.named_parameters()]
        assert not all(same)


def test_equal_text_is_read_whatever_the_batches(shards):
    for name, steps in (("base", 300), ("batch-half", 600), ("batch-double", 150), ("small-first", 450)):
        change = recipe.CHANGES[name]
        assert recipe.nominal_steps(SMALL, change) == steps
        rows = recipe.Rows(shards, SMALL, change, 0, steps)
        read = sum(rows.batch(step)[0].numel() for step in range(0, steps, steps // 30)) * (steps // 30)
        assert read == pytest.approx(300 * 8 * 32, rel=0.05)


def test_differences_are_to_the_same_seed():
    rows = [
        {"change": "base", "seed": "0", "steps": "9", "val_loss": "5.0"},
        {"change": "base", "seed": "1", "steps": "9", "val_loss": "6.0"},
        {"change": "linear", "seed": "0", "steps": "9", "val_loss": "4.9"},
        {"change": "linear", "seed": "1", "steps": "9", "val_loss": "5.7"},
    ]
    ((name, mean, error, seeds, _),) = recipe.compared(rows)
    assert (name, seeds) == ("linear", 2) and mean == pytest.approx(-0.2) and error == pytest.approx(0.1)
