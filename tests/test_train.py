"""The trainer: stopped, killed, damaged or cut into pieces, it must end with the same losses."""

import json
import math
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from Dummy_Model import GPT, GPTConfig
from npy_datasets import Prefetch, PretrainDataset
from train import CosineDecay, Muon, TrainConfig, Trainer, TrainingStopped, WarmupStableDecay, orthogonalize, read_log

CODE = Path(train.__file__).parent
SHAPE = GPTConfig(vocab_size=64, context_length=16, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)
CONFIG = TrainConfig(
    max_steps=24, warmup_steps=4, eval_every=8, eval_batches=2, checkpoint_every=5, device="cpu", precision="float32"
)


@pytest.fixture(autouse=True)
def _one_thread():
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
    return Trainer(model, dataset, config, folder, PretrainDataset(shards, "validation", 16, 8), **options)


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
        self.dataset, self.at, self.action, self.batch_size = dataset, step, action, dataset.batch_size

    def batch(self, step: int):
        if step == self.at and self.action is not None:
            action, self.action = self.action, None
            action()
        return self.dataset.batch(step)


def test_it_learns_and_leaves_a_model(shards, straight, tmp_path):
    result = make_trainer(shards, tmp_path).run()
    assert result["finished"] and result["step"] == 24
    assert math.isclose(float(straight[0]["loss"]), math.log(64), rel_tol=0.05)
    assert result["val_loss"] < float(straight[0]["loss"]) - 0.3
    assert [int(row["step"]) for row in straight] == list(range(1, 25))
    assert [int(row["step"]) for row in straight if row["val_loss"]] == [8, 16, 24]
    assert int(straight[-1]["tokens"]) == 24 * 8 * 16
    ids = torch.arange(16)[None]
    trained = make_trainer(shards, tmp_path)
    trained.run()
    assert torch.equal(GPT.load(tmp_path / "model").eval()(ids), trained.model.eval()(ids))


def test_two_runs_have_identical_logs(shards, straight, tmp_path):
    make_trainer(shards, tmp_path).run()
    assert curve(tmp_path) == straight


def test_a_finished_run_is_not_trained_again(shards, straight, tmp_path):
    make_trainer(shards, tmp_path).run()
    asked = []
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    again = make_trainer(shards, tmp_path, dataset=At(dataset, 23, lambda: asked.append(23))).run()
    assert again["finished"] and again["loss"] == float(straight[-1]["loss"]) and not asked


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_the_next_run_goes_on_exactly(shards, straight, tmp_path, sign):
    before = signal.getsignal(sign)
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    stopped = make_trainer(shards, tmp_path, dataset=At(dataset, 11, lambda: signal.raise_signal(sign))).run()
    assert not stopped["finished"] and stopped["step"] == 12 and not (tmp_path / "model").exists()
    assert signal.getsignal(sign) == before
    torch.manual_seed(999)
    assert make_trainer(shards, tmp_path, model=GPT(SHAPE)).run()["finished"]  # its own weights must not matter
    assert curve(tmp_path) == straight


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
from Dummy_Model import GPT, GPTConfig
from npy_datasets import Prefetch, PretrainDataset
from train import TrainConfig, Trainer

class Slow(PretrainDataset):
    def batch(self, step):
        time.sleep(0.05)
        return super().batch(step)

torch.set_num_threads(1)
torch.manual_seed(7)
model = GPT(GPTConfig(64, 16, 2, 32, 4, 2))
config = TrainConfig(max_steps=24, warmup_steps=4, eval_every=8, eval_batches=2, checkpoint_every=5, device="cpu",
                     precision="float32")
val = PretrainDataset(sys.argv[2], "validation", 16, 8)
Trainer(model, Slow(sys.argv[2], "train", 16, 8, seed=1), config, sys.argv[3], val).run()
"""


def test_a_killed_run_goes_on_exactly(shards, straight, tmp_path):
    command = [sys.executable, "-c", KILLED, str(CODE), str(shards), str(tmp_path)]
    log = tmp_path / "log.csv"
    for kill_after in (7, 16):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and log.read_bytes().count(b"\n") > kill_after:
                break
            time.sleep(0.005)
        process.kill()  # SIGKILL: nothing in the process can react to it
        assert process.wait() != 0, "it must have been killed while it trained"
        with open(log, "ab") as file:
            file.write(b"24,99")  # what a kill in the middle of a line leaves
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=60)
    assert curve(tmp_path) == straight
    assert not list(tmp_path.rglob("*.tmp"))


def stop_at(shards: Path, folder: Path, step: int, config: TrainConfig = CONFIG) -> None:
    """A run that was asked to stop during a step, with the checkpoints of every fifth before it."""
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    make_trainer(shards, folder, config, dataset=At(dataset, step, lambda: signal.raise_signal(signal.SIGTERM))).run()


@pytest.mark.parametrize("damage", ["cut", "flipped", "note", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(shards, straight, tmp_path, capsys, damage):
    stop_at(shards, tmp_path, 11)
    newest = tmp_path / "checkpoints" / "step_00000012.safetensors"
    data = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(data[:-100])
    elif damage == "flipped":
        newest.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    elif damage == "note":
        newest.with_suffix(".json").write_text('{"step": 12', encoding="utf-8")
    else:
        newest.unlink()
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    asked = []
    assert make_trainer(shards, tmp_path, dataset=At(dataset, 10, lambda: asked.append(10))).run()["finished"]
    assert asked == [10] and "step_00000012 is damaged" in capsys.readouterr().err
    assert curve(tmp_path) == straight


def test_two_checkpoints_are_kept(shards, tmp_path):
    make_trainer(shards, tmp_path).run()
    names = {path.stem for path in (tmp_path / "checkpoints").iterdir() if path.stem.startswith("step_")}
    assert {"step_00000020", "step_00000024"} <= names and len(names) <= 3


class Fragile(GPT):
    """A model whose loss is NaN, or far too large, on rows of nothing but token 63."""

    factor = math.nan

    def loss(self, ids, targets, document_ids=None):
        loss = super().loss(ids, targets, document_ids)
        return loss * self.factor if bool((ids == 63).all()) else loss


class Spiky(Fragile):
    factor = 50.0


class Poisoned:
    """A dataset with one bad batch."""

    def __init__(self, dataset, bad: int):
        self.dataset, self.bad, self.batch_size = dataset, bad, dataset.batch_size

    def batch(self, step: int):
        ids, targets = self.dataset.batch(step)
        return (torch.full_like(ids, 63), targets) if step == self.bad else (ids, targets)


def test_a_nan_stops_with_one_line(shards, tmp_path):
    dataset = Poisoned(PretrainDataset(shards, "train", 16, 8, seed=1), 13)
    trainer = make_trainer(shards, tmp_path, model=make_model(Fragile), dataset=dataset)
    with pytest.raises(TrainingStopped, match=r"step 14 \(batch 13\).*nan") as caught:
        trainer.run()
    assert "\n" not in str(caught.value)
    assert all(torch.isfinite(weight).all() for weight in trainer.model.parameters())
    assert int(curve(tmp_path)[-1]["step"]) == 13


@pytest.mark.parametrize(("cls", "bad", "steps"), [(Fragile, 13, 24), (Spiky, 40, 48)])
def test_with_skip_it_goes_on_without_the_batch(shards, tmp_path, capsys, cls, bad, steps):
    config = replace(CONFIG, max_steps=steps, on_bad_step="skip")
    dataset = Poisoned(PretrainDataset(shards, "train", 16, 8, seed=1), bad)
    result = make_trainer(shards, tmp_path, config, model=make_model(cls), dataset=dataset).run()
    assert result["finished"] and f"batch {bad}" in capsys.readouterr().err
    rows = curve(tmp_path)
    assert [int(row["step"]) for row in rows] == [step for step in range(1, steps + 1) if step != bad + 1]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    untouched = make_trainer(shards, tmp_path / "other", config)
    untouched.run()
    assert rows[:bad] == curve(tmp_path / "other")[:bad], "up to the bad batch nothing may differ"


class HalfIgnored:
    """A dataset whose rows learn very different numbers of tokens, one of them none."""

    def __init__(self, dataset):
        self.dataset, self.batch_size = dataset, dataset.batch_size

    def batch(self, step: int):
        ids, targets = self.dataset.batch(step)
        for row in range(len(targets)):
            targets[row, : 2 * row + 2] = -100
        return ids, targets


@pytest.mark.parametrize("micro", [1, 3, 4])
def test_the_micro_batch_changes_nothing(shards, tmp_path, micro):
    config = replace(CONFIG, max_steps=10)
    logs = []
    for size in (None, micro):
        folder = tmp_path / str(size)
        dataset = HalfIgnored(PretrainDataset(shards, "train", 16, 8, seed=1))
        make_trainer(shards, folder, replace(config, micro_batch_size=size), dataset=dataset).run()
        logs.append([[float(row["loss"]), float(row["grad_norm"])] for row in curve(folder)])
    np.testing.assert_allclose(logs[1], logs[0], rtol=1e-3)
    np.testing.assert_allclose(logs[1][0], logs[0][0], rtol=1e-5)


def test_another_models_folder_is_refused(shards, tmp_path):
    make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5)).run()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    wider = make_model(shape=replace(SHAPE, n_embd=64))
    with pytest.raises(TrainingStopped, match="another run .n_embd 32, now 64") as caught:
        make_trainer(shards, tmp_path, model=wider).run()
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == kept


def test_other_datas_folder_is_refused(shards, tmp_path):
    make_trainer(shards, tmp_path, replace(CONFIG, max_steps=5)).run()
    other = PretrainDataset(shards, "train", 16, 8, seed=2)
    with pytest.raises(TrainingStopped, match="other data") as caught:
        make_trainer(shards, tmp_path, dataset=other).run()
    assert "\n" not in str(caught.value)


def test_samples_are_taken_and_kept_once(shards, tmp_path):
    config = replace(CONFIG, sample_every=6)
    dataset = PretrainDataset(shards, "train", 16, 8, seed=1)
    sample = lambda model: f"said by {model.config.n_layer} layers"  # noqa: E731
    at = At(dataset, 13, lambda: signal.raise_signal(signal.SIGTERM))
    make_trainer(shards, tmp_path, config, dataset=at, sample=sample).run()
    make_trainer(shards, tmp_path, config, sample=sample).run()
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [0, 6, 12, 18, 24]
    assert lines[0]["text"] == "said by 2 layers"


def test_samples_do_not_change_the_run(shards, straight, tmp_path):
    def sample(model):
        return str(model(torch.zeros(1, 4, dtype=torch.long)).argmax().item() + torch.rand(1).item())

    make_trainer(shards, tmp_path, replace(CONFIG, sample_every=3), sample=sample).run()
    assert curve(tmp_path) == straight


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
