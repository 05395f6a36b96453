"""One seed, one machine: two runs of the whole course make the same tokenizer, shards, losses, weights and answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small_course


def made(folder: Path, workers: int, **environment: str) -> dict[str, dict[str, str]]:
    command = [sys.executable, small_course.__file__, str(folder), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[dict[str, dict[str, str]]]:
    """Two runs in two places, with other hashes of Python's, clocks and numbers of processes."""
    first = made(tmp_path_factory.mktemp("first"), 1, PYTHONHASHSEED="1", TZ="UTC")
    second = made(tmp_path_factory.mktemp("über zwei"), 2, PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C")
    return [first, second]


@pytest.mark.parametrize(
    ("phase", "needed"),
    [("tokenizer", "tokenizer.json"), ("books", "train_00000.npy"), ("pretrain", "log.csv"),
     ("sft_data", "train_mask.npy"), ("sft", "model/model.safetensors"), ("export", "model.gguf"),
     ("talk", "answers.json")],
)  # fmt: skip
def test_every_file_is_the_same(runs, phase, needed):
    first, second = (run[phase] for run in runs)
    assert needed in first and first == second


def test_other_weights_have_another_hash(runs):
    """So that the equality above says something."""
    weights = [run[phase]["model/model.safetensors"] for run in runs for phase in ("pretrain", "sft")]
    assert len(set(weights)) == 2
