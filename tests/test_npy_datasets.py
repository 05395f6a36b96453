"""Shards and datasets: what is written is read, each window once an epoch, and nothing depends on the past."""

import tracemalloc

import numpy as np
import pytest
import torch

from npy_datasets import PretrainDataset, SFTDataset, pack, save_array, token_dtype, write_sft_rows, write_shards

END, VOCAB = 0, 500


def documents(n: int = 40, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, VOCAB, rng.integers(1, 60)).tolist() for _ in range(n)]


def shards(folder, shard_tokens=100, **options) -> np.ndarray:
    """Writes documents in small shards; returns them as the one long text that they are."""
    write_shards(documents(**options), folder, end_token=END, vocab_size=VOCAB, shard_tokens=shard_tokens)
    return np.concatenate([[*document, END] for document in documents(**options)])


def test_shards_hold_the_documents_in_order(tmp_path):
    text = shards(tmp_path)
    files = sorted(tmp_path.glob("*.npy"))
    arrays = [np.load(file, allow_pickle=False) for file in files]
    assert [file.name for file in files[:2]] == ["train_00000.npy", "train_00001.npy"] and len(files) > 5
    assert all(array.dtype == np.uint16 and array.ndim == 1 for array in arrays)
    assert {len(array) for array in arrays[:-1]} == {100}
    np.testing.assert_array_equal(np.concatenate(arrays), text)


def test_the_same_documents_give_the_same_bytes_and_stale_shards_go(tmp_path):
    shards(tmp_path / "a")
    shards(tmp_path / "b", n=80)  # longer: its last files must not survive
    listed = write_shards(documents(), tmp_path / "b", end_token=END, vocab_size=VOCAB, shard_tokens=100)
    files = [{p.name: p.read_bytes() for p in (tmp_path / x).iterdir()} for x in "ab"]
    assert files[0] == files[1]
    assert [shard["file"] for shard in listed] == sorted(files[0])
    assert sum(shard["tokens"] for shard in listed) == sum(len(d) + 1 for d in documents())


@pytest.mark.parametrize("bad", [[VOCAB], [-1]])
def test_an_id_outside_the_vocabulary_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="outside the vocabulary of 500"):
        write_shards([[1, 2], bad], tmp_path, end_token=END, vocab_size=VOCAB)


def test_ids_above_65536_take_four_bytes(tmp_path):
    assert token_dtype(65_536) == np.uint16
    write_shards([[65_536, 69_999, 3]] * 5, tmp_path, end_token=END, vocab_size=70_000)
    assert np.load(tmp_path / "train_00000.npy").dtype == np.uint32
    ids, targets = PretrainDataset(tmp_path, "train", 4, 4).batch(0)
    assert ids.dtype == torch.int64 and int(ids.max()) == 69_999


def test_every_window_once_an_epoch_across_shards(tmp_path):
    text = shards(tmp_path)
    T = 16
    dataset = PretrainDataset(tmp_path, "train", T, batch_size=1, seed=3)
    assert dataset.n_tokens == len(text) and dataset.steps_per_epoch == (len(text) - 1) // T
    expected = {tuple(text[i * T : (i + 1) * T + 1].tolist()) for i in range(dataset.steps_per_epoch)}
    for epoch in range(2):
        seen = []
        for step in range(epoch * dataset.steps_per_epoch, (epoch + 1) * dataset.steps_per_epoch):
            ids, targets = dataset.batch(step)
            assert torch.equal(ids[:, 1:], targets[:, :-1])
            seen.append((*ids[0].tolist(), int(targets[0, -1])))
        assert len(set(seen)) == len(seen) and set(seen) == expected


def test_epochs_and_seeds_shuffle_differently(tmp_path):
    shards(tmp_path)
    first, other = (PretrainDataset(tmp_path, "train", 16, 4, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.batch(0)[0], other.batch(0)[0])
    assert not torch.equal(first.batch(0)[0], first.batch(first.steps_per_epoch)[0])


def test_a_batch_depends_on_nothing_but_its_step(tmp_path):
    shards(tmp_path)
    used, fresh = (PretrainDataset(tmp_path, "train", 16, 4, seed=5) for _ in range(2))
    for step in (0, 3, 200, 1, 57):
        used.batch(step)
    for step in (57, 0, 4):
        for one, other in zip(used.batch(step), fresh.batch(step), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_global_batch(tmp_path, world_size):
    shards(tmp_path)
    whole = PretrainDataset(tmp_path, "train", 16, 8, seed=5)
    ranks = [PretrainDataset(tmp_path, "train", 16, 8, 5, rank, world_size) for rank in range(world_size)]
    for step in (0, 6, 11, 13):
        for i in range(2):
            assert torch.equal(torch.cat([rank.batch(step)[i] for rank in ranks]), whole.batch(step)[i])


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    shards(tmp_path)
    with pytest.raises(ValueError, match="global batch of 8 rows can't be shared by 3"):
        PretrainDataset(tmp_path, "train", 16, 8, rank=0, world_size=3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_a_plain_numpy_file_will_do(tmp_path, dtype):
    np.save(tmp_path / "train.npy", np.arange(100, dtype=dtype))
    ids, targets = PretrainDataset(tmp_path, "train", 9, 1).batch(0)
    assert ids.shape == (1, 9) and torch.equal(targets, ids + 1)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle", "floats", "table"])
def test_a_foreign_or_truncated_file_is_one_line(tmp_path, damage):
    path = tmp_path / "train_00000.npy"
    save_array(path, np.arange(1000, dtype=np.uint16))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("Call me Ishmael.\n" * 50, encoding="utf-8")
    else:
        array = {"pickle": np.array([{}] * 9), "floats": np.zeros(1000), "table": np.zeros((10, 100), np.uint16)}
        np.save(path, array[damage], allow_pickle=True)
    with pytest.raises(ValueError, match=r"train_00000\.npy") as caught:
        PretrainDataset(tmp_path, "train", 16, 4)
    assert "\n" not in str(caught.value)


def test_missing_or_too_little_text_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="make the shards first"):
        PretrainDataset(tmp_path, "train", 16, 4)
    np.save(tmp_path / "train.npy", np.arange(40, dtype=np.uint16))
    with pytest.raises(ValueError, match="hold 2 rows, and a batch takes 4"):
        PretrainDataset(tmp_path, "train", 16, 4)


def conversations(n: int = 300, seed: int = 0, longest: int = 30) -> list[tuple[list[int], list[int]]]:
    """(ids, mask) of random lengths; no two are alike."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(n):
        length = int(rng.integers(3, longest))
        ids = [number + 1, *rng.integers(1, VOCAB, length - 1).tolist()]
        made.append((ids, [0, *rng.integers(0, 2, length - 2).tolist(), 1]))
    return made


def test_packing_loses_no_conversation_and_wastes_little():
    rows = list(pack(conversations(), 64))
    assert all(sum(len(ids) for ids, _ in row) <= 64 for row in rows)
    packed = sorted(ids for row in rows for ids, _ in row)
    assert packed == sorted(ids for ids, _ in conversations())
    used = sum(map(len, packed))
    assert used / (64 * len(rows)) > 0.9


def test_rows_hold_each_conversation_whole_with_its_mask(tmp_path):
    too_long = ([7] * 66, [1] * 66)
    given = conversations()
    counts = write_sft_rows([*given, too_long], tmp_path, "train", 64, pad_token=1, vocab_size=VOCAB)
    assert counts["too_long"] == 1 and counts["conversations"] == len(given)
    assert counts["tokens"] == sum(len(ids) for ids, _ in given)
    assert counts["learned_tokens"] == sum(sum(mask) for _, mask in given)
    tokens, mask, owners = (np.load(tmp_path / f"train_{x}.npy") for x in ("tokens", "mask", "documents"))
    assert tokens.shape == mask.shape == owners.shape == (counts["rows"], 65)
    found = []
    for row in range(len(tokens)):
        assert (tokens[row][owners[row] == 0] == 1).all() and not mask[row][owners[row] == 0].any()
        for owner in range(1, owners[row].max() + 1):
            at = owners[row] == owner
            found.append((tokens[row][at].tolist(), mask[row][at].astype(int).tolist()))
    assert sorted(found) == sorted(given)


def test_targets_are_the_assistants_words_alone(tmp_path):
    given = conversations()
    write_sft_rows(given, tmp_path, "train", 64, pad_token=0, vocab_size=VOCAB)
    dataset = SFTDataset(tmp_path, "train", batch_size=4)
    learned = {(ids[0], place): ids[place] for ids, mask in given for place in range(len(ids)) if mask[place]}
    by_first = {tuple(ids[:3]): ids[0] for ids, _ in given}
    found = {}
    for step in range(dataset.steps_per_epoch):
        ids, targets, owners = dataset.batch(step)
        assert ids.shape == targets.shape == owners.shape == (4, 64)
        for row in range(4):
            for owner in owners[row].unique().tolist():
                at = (owners[row] == owner).nonzero()[:, 0]
                if owner and len(at) >= 3:
                    first = by_first[tuple(ids[row, at[:3]].tolist())]
                    for place, position in enumerate(at.tolist(), 1):
                        if targets[row, position] != -100:
                            found[first, place] = int(targets[row, position])
    assert found and found.items() <= learned.items()
    assert len(found) > 0.9 * len(learned)  # the rows of an unfinished last batch are left for the next epoch


def test_no_target_crosses_into_another_conversation(tmp_path):
    given = [([number, 50, 60], [0, 1, 1]) for number in range(1, 41)]
    write_sft_rows(given, tmp_path, "train", 9, pad_token=0, vocab_size=VOCAB)
    ids, targets, owners = SFTDataset(tmp_path, "train", batch_size=2).batch(0)
    assert ids[0, :3].tolist()[1:] == [50, 60] and owners[0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert targets[0].tolist() == [50, 60, -100] * 3


def test_a_conversation_of_just_the_row_fits(tmp_path):
    counts = write_sft_rows([([5] * 10, [1] * 10)], tmp_path, "train", 9, pad_token=0, vocab_size=VOCAB)
    assert counts["too_long"] == 0 and counts["rows"] == 1


def test_sft_files_that_disagree_are_one_line(tmp_path):
    write_sft_rows(conversations(), tmp_path, "train", 64, pad_token=0, vocab_size=VOCAB)
    save_array(tmp_path / "train_mask.npy", np.zeros((3, 65), np.bool_))
    with pytest.raises(ValueError, match="disagree") as caught:
        SFTDataset(tmp_path, "train", batch_size=4)
    assert "\n" not in str(caught.value)


def test_nothing_that_fits_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="No conversation of the train split fits rows of 9 tokens"):
        write_sft_rows([([5] * 20, [1] * 20)], tmp_path, "train", 8, pad_token=0, vocab_size=VOCAB)


def test_sizes_of_nothing_are_refused(tmp_path):
    shards(tmp_path)
    with pytest.raises(ValueError, match="batch size is 0: it must be at least 1"):
        PretrainDataset(tmp_path, "train", 16, 0)
    with pytest.raises(ValueError, match="context length is 0: it must be at least 1"):
        PretrainDataset(tmp_path, "train", 0, 4)


def test_what_a_killed_writer_left_is_gone_after_the_next(tmp_path):
    (tmp_path / ".train_tokens.npy.tmp").write_bytes(b"half of it")
    (tmp_path / ".train_00000.npy.tmp").write_bytes(b"half of it")
    write_sft_rows(conversations(), tmp_path, "train", 64, pad_token=0, vocab_size=VOCAB)
    shards(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_rows_take_no_memory(tmp_path):
    """Twenty times the rows, the same memory: they wait on disk."""
    peaks = []
    for n in (500, 10_000):
        given = ((list(range(1, 200)), [1] * 199) for _ in range(n))
        tracemalloc.start()
        write_sft_rows(given, tmp_path, "train", 255, pad_token=0, vocab_size=VOCAB)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert np.load(tmp_path / "train_tokens.npy", mmap_mode="r").shape == (10_000, 256)
    assert peaks[1] < peaks[0] + 200_000 < 2_500_000, "the three files hold 12 MB"
