"""A disk that is full or refuses: one line, nothing that was there is lost, and nothing half-made stays."""

import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from small_training import SHAPE, At, checkpoints, curve, make_model, make_trainer

import npy_datasets
from Dummy_Model import GPT
from npy_datasets import PretrainDataset, save_array, write_sft_rows, write_shards
from train import TrainingStopped

pytestmark = pytest.mark.usefixtures("one_thread")


def no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(io.FileIO):
    def write(self, data):
        no_room()


@pytest.fixture
def full(monkeypatch):
    """Calls with which the disk fills up under the temporary files of ``npy_datasets``, and is emptied again."""
    real = open

    def fill():
        monkeypatch.setattr(
            npy_datasets,
            "open",
            lambda path, mode: io.BufferedWriter(FullDisk(path, "wb")) if ".tmp" in str(path) else real(path, mode),
            raising=False,
        )

    return fill, monkeypatch.undo


@pytest.mark.parametrize("at", [0, 3, 7, 23])
def test_a_full_disk_stops_a_run_in_one_line_and_loses_nothing(shards, straight, tmp_path, full, at):
    fill, empty = full
    with pytest.raises(TrainingStopped, match="Stopped after step .*No space left") as caught:
        make_trainer(shards, tmp_path, dataset=At(PretrainDataset(shards, "train", 16, 8, seed=1), at, fill)).run()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "model").exists()
    empty()
    assert make_trainer(shards, tmp_path).run()["finished"]
    assert curve(tmp_path) == straight


def test_a_log_that_cannot_be_written_is_one_line(shards, straight, tmp_path):
    def spoil():
        (tmp_path / "log.csv").unlink()
        (tmp_path / "log.csv").mkdir()

    with pytest.raises(TrainingStopped, match="Stopped after step 8: .*log.csv") as caught:
        make_trainer(shards, tmp_path, dataset=At(PretrainDataset(shards, "train", 16, 8, seed=1), 7, spoil)).run()
    assert "\n" not in str(caught.value) and checkpoints(tmp_path)
    (tmp_path / "log.csv").rmdir()
    make_trainer(shards, tmp_path).run()
    assert curve(tmp_path) == straight


def test_a_file_in_the_place_of_the_folder_is_one_line(shards, tmp_path):
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(TrainingStopped, match="Stopped after step 0: ") as caught:
        make_trainer(shards, tmp_path / "run").run()
    assert "\n" not in str(caught.value)


def test_a_model_that_finds_no_room_at_the_end_is_saved_by_the_next_run(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("Dummy_Model.save_file", no_room)
    with pytest.raises(TrainingStopped, match="Stopped after step 24: .*No space left"):
        make_trainer(shards, tmp_path).run()
    monkeypatch.undo()
    result = make_trainer(shards, tmp_path).run()
    assert result["finished"] and GPT.load(tmp_path / "model").config == SHAPE


@pytest.mark.parametrize("failing", [1, 2])
def test_a_model_is_saved_whole_or_not_at_all(tmp_path, monkeypatch, failing):
    before = make_model()
    before.save(tmp_path)
    fsync, calls = os.fsync, []

    def full_at_last(descriptor):
        calls.append(descriptor)
        no_room() if len(calls) == failing else fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_last)
    with pytest.raises(OSError, match="No space"):
        make_model(shape=replace(SHAPE, n_embd=64)).save(tmp_path)
    assert torch.equal(GPT.load(tmp_path).embedding.weight, before.embedding.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_save_that_ends_between_its_two_files_is_noticed(tmp_path, monkeypatch):
    make_model().save(tmp_path)
    other, move, moved = make_model(shape=replace(SHAPE, rope_theta=100.0)), os.replace, []

    def interrupted(*places):
        if moved:
            raise KeyboardInterrupt
        moved.append(move(*places))

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other.save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"no readable model: config\.json isn't the one") as caught:
        GPT.load(tmp_path)
    assert "\n" not in str(caught.value)
    other.save(tmp_path)
    assert GPT.load(tmp_path).config.rope_theta == 100 and not list(tmp_path.glob(".*"))


def test_weights_that_do_not_fit_are_one_line(tmp_path, monkeypatch):
    def half_of_them(weights, path, metadata):
        Path(path).write_bytes(b"half of them")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("Dummy_Model.save_file", half_of_them)
    with pytest.raises(OSError, match="can't take the weights; is the disk full") as caught:
        make_model().save(tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_shards_and_rows_on_a_full_disk_leave_nothing(tmp_path, full):
    np.save(tmp_path / "train_00000.npy", np.arange(9))
    before = (tmp_path / "train_00000.npy").read_bytes()
    fill, _ = full
    fill()
    for write in (
        lambda: write_shards([[1] * 50] * 9, tmp_path, end_token=0, vocab_size=64),
        lambda: write_sft_rows([([9] * 200, [1] * 200)] * 50, tmp_path, "rows", 255, pad_token=1, vocab_size=64),
        lambda: save_array(tmp_path / "train_00000.npy", np.arange(99)),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            write()
        assert caught.value.errno == errno.ENOSPC and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["train_00000.npy"]
    assert (tmp_path / "train_00000.npy").read_bytes() == before


def test_what_numpy_says_of_a_full_disk_has_its_number(tmp_path):
    """It counts what was written, and gives no number of the error."""

    def short(file):
        raise OSError("9 requested and 3 written")

    with pytest.raises(OSError, match="9 requested and 3 written") as caught:
        npy_datasets.write_whole(tmp_path / "a.npy", short)
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())
