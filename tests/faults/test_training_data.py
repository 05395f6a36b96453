"""Data that can't be learned: no targets, ids outside the vocabulary, files that are no shards, changed files."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import CONFIG, SHAPE, make_model, make_trainer

import artifacts
from Dummy_Model import GPT
from npy_datasets import IGNORED, PretrainDataset, SFTDataset, open_array, write_sft_rows
from train import Trainer, TrainingStopped

pytestmark = pytest.mark.usefixtures("one_thread")


class Edited:
    """A dataset whose batches from one step on are changed."""

    steps_per_epoch = 40

    def __init__(self, dataset, change, since: int = 0):
        self.dataset, self.change, self.since = dataset, change, since

    def batch(self, step: int):
        batch = self.dataset.batch(step)
        return self.change(*batch) if step >= self.since else batch


def masked(ids, targets):
    return ids, torch.full_like(targets, IGNORED)


def data(shards: Path, split: str = "train") -> PretrainDataset:
    return PretrainDataset(shards, split, 16, 8, seed=1)


def test_a_batch_without_targets_is_one_line(shards, tmp_path):
    with pytest.raises(TrainingStopped, match="Batch 3 has no target to learn") as caught:
        make_trainer(shards, tmp_path, dataset=Edited(data(shards), masked, since=3)).run()
    assert "\n" not in str(caught.value)


def test_a_micro_batch_without_targets_is_passed_over(shards, tmp_path):
    def half(ids, targets):
        return ids, torch.cat((targets[:4], torch.full_like(targets[4:], IGNORED)))

    losses = []
    for size in (None, 4, 1):
        config = replace(CONFIG, max_steps=6, micro_batch_size=size)
        trainer = make_trainer(shards, tmp_path / str(size), config, dataset=Edited(data(shards), half))
        losses.append(trainer.run()["loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (masked, "The held-out data has no target"),
        (lambda ids, targets: (ids + 9, targets), r"Batch \d has ids \d+ to 7\d for"),
    ],
)
def test_held_out_data_that_cannot_be_measured_is_one_line(shards, tmp_path, change, line):
    trainer = Trainer(make_model(), data(shards), CONFIG, tmp_path, Edited(data(shards, "validation"), change))
    with pytest.raises(TrainingStopped, match=line) as caught:
        trainer.run()
    assert "\n" not in str(caught.value)


def test_some_held_out_batches_may_have_no_targets(shards, tmp_path):
    val = Edited(data(shards, "validation"), masked, since=1)
    trainer = Trainer(make_model(), data(shards), CONFIG, tmp_path, val)
    alone = trainer.model.loss(*val.batch(0)).item()
    assert trainer.evaluate() == pytest.approx(alone)


@pytest.mark.parametrize(
    "change",
    [lambda ids, targets: (ids + 1, targets), lambda ids, targets: (ids - 1, targets),
     lambda ids, targets: (ids, targets + 64), lambda ids, targets: (ids, torch.full_like(targets, -1))],
)  # fmt: skip
def test_ids_outside_the_vocabulary_are_one_line_at_any_step(shards, tmp_path, change):
    with pytest.raises(TrainingStopped, match=r"Batch \d has ids .* for a vocabulary of 64") as caught:
        make_trainer(shards, tmp_path, dataset=Edited(data(shards), change, since=5)).run()
    assert "\n" not in str(caught.value)


def test_a_loss_of_nothing_is_one_line():
    ids = torch.zeros(2, 16, dtype=torch.long)
    with pytest.raises(ValueError, match="All targets are -100") as caught:
        make_model().loss(ids, torch.full_like(ids, IGNORED))
    assert "\n" not in str(caught.value)


def header(path: Path, text: bytes) -> None:
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(400))


HEADERS = {
    "no header": b"", "no dictionary": b"[1, 2]\n", "a bomb": b"(" * 300 + b"\n", "no shape": b"{'descr': '<u2'}\n",
    "an odd type": b"{'descr': 'spam', 'fortran_order': False, 'shape': (9,)}\n",
    "a giant": b"{'descr': '<u2', 'fortran_order': False, 'shape': (10000000000000000000000,)}\n",
    "negative": b"{'descr': '<u2', 'fortran_order': False, 'shape': (-9,)}\n",
    "a word": b"{'descr': '<u2', 'fortran_order': False, 'shape': 'many'}\n",
}  # fmt: skip


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_odd_is_one_line(tmp_path, text):
    header(tmp_path / "train.npy", text)
    with pytest.raises(ValueError, match=r"train\.npy can't be read") as caught:
        PretrainDataset(tmp_path, "train", 16, 2)
    assert "\n" not in str(caught.value)


def test_an_archive_under_the_name_of_an_array_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "train.npy", "w") as archive:
        archive.writestr("train.npy", "x")
    with pytest.raises(ValueError, match=r"train\.npy can't be read"):
        open_array(tmp_path / "train.npy", 1)


def rows(folder: Path) -> None:
    write_sft_rows([([5] * 9, [0] + [1] * 8)] * 30, folder, "train", 15, pad_token=0, vocab_size=64)


@pytest.mark.parametrize(
    ("part", "array", "line"),
    [("mask", np.zeros((30, 16), np.uint16), "train_mask.npy is uint16 of 2 dimensions, not True and False"),
     ("mask", np.zeros((30, 16)), "train_mask.npy is float64"),
     ("tokens", np.zeros((30, 16), np.bool_), "train_tokens.npy is bool of 2 dimensions, not whole numbers"),
     ("documents", np.zeros((30, 16), np.float32), "train_documents.npy is float32")],
)  # fmt: skip
def test_rows_of_the_wrong_kind_are_one_line(tmp_path, part, array, line):
    rows(tmp_path)
    np.save(tmp_path / f"train_{part}.npy", array)
    with pytest.raises(ValueError, match=line) as caught:
        SFTDataset(tmp_path, "train", 4)
    assert "\n" not in str(caught.value)


def test_rows_of_one_token_have_nothing_to_predict(tmp_path):
    for part, dtype in (("tokens", np.uint16), ("mask", np.bool_), ("documents", np.uint16)):
        np.save(tmp_path / f"train_{part}.npy", np.ones((30, 1), dtype))
    with pytest.raises(ValueError, match="disagree"):
        SFTDataset(tmp_path, "train", 4)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["train_tokens.npy", "train_mask.npy", "train_documents.npy"])
def test_a_changed_file_beside_its_manifest_is_not_used(tmp_path, name):
    rows(tmp_path)
    artifacts.finish(tmp_path, [path.name for path in tmp_path.iterdir()])
    SFTDataset(tmp_path, "train", 4)
    flip(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} has changed since its manifest.json was written"):
        SFTDataset(tmp_path, "train", 4)


def test_a_changed_shard_beside_its_manifest_is_not_used(shards, tmp_path):
    name = "train_00000.npy"
    (tmp_path / name).write_bytes((shards / name).read_bytes())
    artifacts.finish(tmp_path, [name])
    data(tmp_path)
    flip(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} has changed"):
        data(tmp_path)


def test_a_shard_that_its_manifest_lists_and_that_is_gone_is_missed(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"train_{number:05d}.npy", np.zeros(600, np.uint16))
    artifacts.finish(tmp_path, [path.name for path in tmp_path.iterdir()])
    assert data(tmp_path).n_tokens == 1800
    (tmp_path / "train_00001.npy").unlink()
    with pytest.raises(ValueError, match=r"train_00001\.npy is missing, which the manifest\.json beside it lists"):
        data(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": {"train_00000.npy": 1}}', '{"files": {}}'])
def test_a_manifest_of_another_kind_says_nothing(shards, tmp_path, text):
    (tmp_path / "train_00000.npy").write_bytes((shards / "train_00000.npy").read_bytes())
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    data(tmp_path)
    make_model().save(tmp_path)
    assert GPT.load(tmp_path).config == make_model().config


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_changed_model_beside_its_manifest_is_not_used(tmp_path, above, name):
    folder = tmp_path / "model"
    make_model().save(folder)
    files = ("config.json", "model.safetensors")
    artifacts.finish(tmp_path if above else folder, [f"model/{file}" if above else file for file in files])
    assert GPT.load(folder).config == SHAPE
    flip(folder / name)
    with pytest.raises(ValueError, match="no readable model: .*has changed since"):
        GPT.load(folder)


def test_a_model_with_a_weight_that_is_no_number_is_not_used(tmp_path):
    model = make_model()
    model.blocks[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    model.save(tmp_path)
    with pytest.raises(ValueError, match="no readable model: a weight isn't a finite number"):
        GPT.load(tmp_path)


@pytest.mark.parametrize(
    "change", [('"n_layer": 2', '"n_layer": 4000000'), ('"vocab_size": 64', '"vocab_size": 4000000')]
)
def test_a_model_of_other_sizes_is_refused_before_it_is_built(tmp_path, monkeypatch, change):
    make_model().save(tmp_path)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config.replace(*change), encoding="utf-8")
    monkeypatch.setattr(GPT, "__init__", lambda *_: pytest.fail("it was built"))
    with pytest.raises(ValueError, match="no readable model: .* weights, and by config.json there should be"):
        GPT.load(tmp_path)
