"""A small training run: shards with something to learn, a model and a trainer for them, and an undisturbed log."""

from pathlib import Path

import numpy as np
import pytest
import torch

from Dummy_Model import GPT, GPTConfig
from npy_datasets import PretrainDataset
from train import TrainConfig, Trainer, read_log

SHAPE = GPTConfig(vocab_size=64, context_length=16, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)
CONFIG = TrainConfig(
    max_steps=24, warmup_steps=4, eval_every=8, eval_batches=2, checkpoint_every=5, device="cpu", precision="float32"
)


@pytest.fixture
def one_thread():
    """Small tensors are quickest on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    """Text with something to learn: a walk through 64 tokens that mostly goes on to the next one."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("shards")
    for split, n in (("train", 6000), ("validation", 1000)):
        walk = np.cumsum(np.where(rng.random(n) < 0.8, 1, rng.integers(0, 64, n))) % 64
        np.save(folder / f"{split}_00000.npy", walk.astype(np.uint16))
    return folder


def make_model(cls=GPT, shape: GPTConfig = SHAPE):
    torch.manual_seed(7)
    return cls(shape)


def make_trainer(shards: Path, folder: Path, config: TrainConfig = CONFIG, **options) -> Trainer:
    dataset = options.pop("dataset", None) or PretrainDataset(shards, "train", 16, 8, seed=1)
    model = options.pop("model", None) or make_model()
    held_out = options.pop("val_dataset", PretrainDataset(shards, "validation", 16, 8))
    return Trainer(model, dataset, config, folder, held_out, **options)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((folder / "checkpoints").glob("step_*.pt"))


def curve(folder: Path) -> list[dict[str, str]]:
    """The log without its clock."""
    return [{name: row[name] for name in row if name != "seconds"} for row in read_log(folder / "log.csv")]


@pytest.fixture(scope="session")
def straight(shards, tmp_path_factory) -> list[dict[str, str]]:
    """The log of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    torch.set_num_threads(1)
    assert make_trainer(shards, folder).run()["finished"]
    return curve(folder)


class At:
    """A dataset that does something before it gives the batch of one step, once."""

    def __init__(self, dataset, step: int, action):
        self.dataset, self.at, self.action = dataset, step, action
        self.batch_size, self.fingerprint = dataset.batch_size, dataset.fingerprint

    def batch(self, step: int):
        if step == self.at and self.action is not None:
            action, self.action = self.action, None
            action()
        return self.dataset.batch(step)
