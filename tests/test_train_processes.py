"""Training by several processes under torchrun: the same steps as one process makes, and one checkpoint for all."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import checkpoints

import train
from Dummy_Model import GPT, GPTConfig
from train import read_log

CODE = Path(train.__file__).parent
# Rows learn very different numbers of tokens, and of each batch one process's second half learns none.
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from Dummy_Model import GPT, GPTConfig
from npy_datasets import PretrainDataset
from train import TrainConfig, Trainer, joined_processes

class HalfIgnored(PretrainDataset):
    def batch(self, step):
        ids, targets = super().batch(step)
        first = self.rank * len(ids)
        for row in range(len(ids)):
            targets[row, : 2 * (first + row) + 2] = -100
            if first + row in (6, 7):
                targets[row] = -100
        return ids, targets

torch.set_num_threads(1)
with joined_processes() as (rank, world_size):
    torch.manual_seed(7 + rank)  # the processes must agree on the first one's weights
    model = GPT(GPTConfig(64, 16, 2, 32, 4, 2))
    config = TrainConfig(max_steps=12, optimizer=sys.argv[5], warmup_steps=4, eval_every=4, eval_batches=2,
                         checkpoint_every=int(sys.argv[6]), micro_batch_size=2, device="cpu", precision="float32",
                         sample_every=4, compile=sys.argv[7] == "True")
    data = HalfIgnored(sys.argv[2], "train", 16, 8, 1, rank, world_size)
    if int(sys.argv[4]) < 12:  # asked to stop, one process alone, in the middle of a step
        batch = data.batch
        def stopping(step):
            if step + 1 == int(sys.argv[4]) and rank == world_size - 1:
                trainer._ask_to_stop()
            return batch(step)
        data.batch = stopping
    val = PretrainDataset(sys.argv[2], "validation", 16, 8)
    trainer = Trainer(model, data, config, sys.argv[3], val, sample=lambda model: f"rank {rank}",
                      score=lambda model: float(rank))
    trainer.run()
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("shards")
    for split, n in (("train", 3000), ("validation", 1000)):
        walk = np.cumsum(np.where(rng.random(n) < 0.8, 1, rng.integers(0, 64, n))) % 64
        np.save(folder / f"{split}_00000.npy", walk.astype(np.uint16))
    return folder


def run(processes: int, shards: Path, folder: Path, stop: int = 12, optimizer: str = "muon", every: int = 100,
        compile: bool = False) -> None:  # fmt: skip
    script = folder.parent / "run.py"
    script.write_text(RUN, encoding="utf-8")
    launcher = (
        [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    )
    command = [sys.executable, *launcher, script, CODE, shards, folder, stop, optimizer, every, compile]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


def numbers(folder: Path) -> np.ndarray:
    names = ("step", "tokens", "loss", "val_loss", "lr", "grad_norm", "score")
    return np.array([[float(row[name] or 0) for name in names] for row in read_log(folder / "log.csv")])


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(1, shards, folder, every=1)
    return folder


def test_two_processes_make_the_steps_of_one(shards, alone, tmp_path):
    run(2, shards, tmp_path / "run", every=1)
    assert len(numbers(alone)) == 12
    np.testing.assert_allclose(numbers(tmp_path / "run"), numbers(alone), rtol=2e-4)
    samples = [
        json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    ]
    assert [(s["step"], s["text"]) for s in samples] == [(step, "rank 0") for step in (0, 4, 8, 12)]
    one, two = (GPT.load(folder / "model").state_dict() for folder in (alone, tmp_path / "run"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("g++"), reason="compiling needs a C++ compiler")
def test_two_compiled_processes_make_the_steps_of_one(shards, alone, tmp_path):
    run(2, shards, tmp_path / "run", stop=3, compile=True)
    np.testing.assert_allclose(numbers(tmp_path / "run"), numbers(alone)[:3], rtol=1e-3)


def test_two_processes_have_the_gradients_of_one(shards, tmp_path):
    states = []
    for processes in (1, 2):
        folder = tmp_path / str(processes) / "run"
        folder.parent.mkdir()
        run(processes, shards, folder, stop=1, optimizer="adamw")
        states.append(torch.load(checkpoints(folder)[-1], weights_only=True)["optimizers"][0])
    # After one step AdamW's first moment is a tenth of the clipped gradient.
    moments = [[state["exp_avg"] for state in one.values()] for one in states]
    assert len(moments[0]) == len(list(GPT(GPTConfig(64, 16, 2, 32, 4, 2)).parameters()))
    assert any(moment.abs().max() > 1e-4 for moment in moments[0])
    for one, two in zip(*moments, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_checkpoint_of_some_resumes_in_others(shards, alone, tmp_path, first, then):
    folder = tmp_path / "run"
    run(first, shards, folder, stop=5)
    assert not (folder / "model").exists() and len(numbers(folder)) == 5, "all stopped after the same step"
    run(then, shards, folder)
    np.testing.assert_allclose(numbers(folder), numbers(alone), rtol=2e-4)
