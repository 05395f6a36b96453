"""Two models that race: who trains more tokens a second, and who needs less time to the same held-out loss?

Each contestant's trainer is made once, so that compiling happens once and off the clock; every run begins from fresh
weights of its own seed. The clock stands still while held-out data is evaluated.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import Plan
from books.cleaning import clean_book
from books.shards import prepare_books
from books.sources import open_source, read_books
from bpe_tokenizer import BPETokenizer, sample_texts
from course_kit.preflight import can_compile, model_config
from Dummy_Model import GPT
from npy_datasets import PretrainDataset
from presets import PRESETS, Preset
from train import CosineDecay, TrainConfig, Trainer

HELD_OUT_TOKENS = 32_768  # that an evaluation reads
WARM_UP = 0.03  # of a run, in which the rate climbs
LOOKS = tuple(share / 20 for share in range(10, 20))  # when ours is evaluated: in the second half of a run
RATES = (5e-4, 1e-3, 2e-3, 4e-3)  # that are tried for AdamW


@dataclass(frozen=True)
class Shape:
    """What the trainer asks of a model's configuration."""

    vocab_size: int


class GPT2(nn.Module):
    """GPT-2 as ``transformers`` has it, initialised as there, with about as many weights as the preset's model.

    Without dropout, since hardly any text is read twice.
    """

    def __init__(self, preset: Preset):
        import transformers  # which takes seconds, and only a baseline needs it

        super().__init__()
        width = preset.n_embd
        outside = (preset.vocab_size + preset.context_length) * width
        n_layer = round((model_config(preset).n_parameters - outside) / (12 * width**2))
        config = transformers.GPT2Config(
            vocab_size=preset.vocab_size, n_positions=preset.context_length, n_embd=width, n_head=preset.n_head,
            n_layer=max(1, n_layer), resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        self.config, self.model = Shape(preset.vocab_size), transformers.GPT2LMHeadModel(config)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats; ids and targets are (B, T)."""
        return F.cross_entropy(self.model(ids).logits.flatten(0, 1), targets.flatten())


def make_ours(preset: Preset) -> GPT:
    """The course's model of a preset."""
    return GPT(model_config(preset))


def our_settings(preset: Preset) -> dict:
    """What the course trains a preset with."""
    return {"lr": preset.pretrain_lr, "matrix_lr": preset.pretrain_matrix_lr}


class RandomRows:
    """Batches of random ids, for speed alone."""

    def __init__(self, preset: Preset, rows: int):
        ids = torch.randint(preset.vocab_size, (rows, preset.context_length + 1))
        self._batch = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The same inputs and targets at every step."""
        return self._batch


class Contestant:
    """A model with its trainer, to be run from the beginning as often as is wanted.

    Args:
        make: builds the model with fresh weights.
        settings: of ``TrainConfig``, the optimizer and its rates.
        data: a folder of shards; None trains on random ids and can't be evaluated.
        rows: in a step; by default the preset's.
        eval_batches: held-out batches in an evaluation; by default about ``HELD_OUT_TOKENS``.
    """

    def __init__(
        self,
        make: Callable[[Preset], nn.Module],
        preset: Preset,
        settings: dict,
        scratch: Path,
        data: Path | None = None,
        rows: int | None = None,
        eval_batches: int | None = None,
    ):
        self.make, self.preset, self.data, self.rows = make, preset, data, rows or preset.pretrain_batch
        batches = eval_batches or max(1, HELD_OUT_TOKENS // (self.rows * preset.context_length))
        config = TrainConfig(
            10**6, micro_batch_size=preset.micro_batch, eval_batches=batches, compile=can_compile(preset),
            spike_factor=1e9, **settings,
        )  # fmt: skip
        val = self._dataset("validation", 1) if data else None
        train = self._dataset("train", 1) if data else RandomRows(preset, self.rows)
        self.trainer = Trainer(self._fresh(1), train, config, scratch, val)
        self.trainer.schedule = lambda step: 1e-3
        self.trainer.model.train()
        self._optimizing = 0.0  # seconds so far
        for optimizer in self.trainer.optimizers:
            optimizer.register_step_pre_hook(lambda *_: self._add_seconds(-time.perf_counter()))
            optimizer.register_step_post_hook(lambda *_: self._add_seconds(time.perf_counter()))
        for step in range(2):  # compiling ends with the second
            self.trainer.learn(step)
        self._steps = 2

    def _add_seconds(self, seconds: float) -> None:
        self._optimizing += seconds

    def _dataset(self, split: str, seed: int) -> PretrainDataset:
        return PretrainDataset(self.data, split, self.preset.context_length, self.rows, seed)

    def _fresh(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return self.make(self.preset)

    @property
    def n_parameters(self) -> int:
        """Weights of the model."""
        return sum(p.numel() for p in self.trainer.model.parameters())

    def speed(self, steps: int, rows: int | None = None) -> float:
        """Tokens a second over ``steps`` steps.

        Args:
            rows: as if a step had so many: the model's time grows with them, that of the optimizers doesn't.
        """
        started, self._optimizing = time.perf_counter(), 0.0
        for step in range(self._steps, self._steps + steps):
            self.trainer.learn(step)
        self._steps += steps
        seconds, times = time.perf_counter() - started, (rows or self.rows) / self.rows
        seconds = (seconds - self._optimizing) * times + self._optimizing
        return steps * self.rows * times * self.preset.context_length / seconds

    def run(
        self, seconds: float, seed: int, at: Iterable[float] = (), target: float = -1.0, **rates: float
    ) -> list[tuple[float, float]]:
        """A run from fresh weights whose cosine ends after exactly ``seconds``, however quick the steps are.

        Args:
            at: shares of the run after which to evaluate; at its end always.
            target: ends the run as soon as an evaluation is as low.
            rates: other peak rates than those of the settings: ``lr``.

        Returns:
            (seconds, held-out loss) of each evaluation.
        """
        trainer = self.trainer
        trainer.model.load_state_dict(self._fresh(seed).state_dict())
        trainer.losses = []
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
            for name, rate in rates.items():
                optimizer.defaults[name] = rate
        trainer.dataset = self._dataset("train", seed)
        spent, step, curve, waiting = 0.0, 0, [], sorted(at)
        decay = CosineDecay(1, 0)  # built for a run of one step, it takes the share that is gone
        trainer.schedule = lambda _: min(1.0, (spent / seconds + 1e-3) / WARM_UP) * decay(min(1.0, spent / seconds))
        while spent < seconds:
            started = time.perf_counter()
            trainer.learn(step)
            spent, step = spent + time.perf_counter() - started, step + 1
            if spent >= seconds or (waiting and spent >= waiting[0] * seconds):
                waiting = [share for share in waiting if share * seconds > spent]
                curve.append((spent, trainer.evaluate()))
                if curve[-1][1] <= target:
                    break
        return curve


def best_rate(contestant: Contestant, seconds: float, rates: Iterable[float] = RATES) -> tuple[float, dict]:
    """The rate with which a run of ``seconds`` ends lowest, and where each of them ended."""
    ends = {rate: contestant.run(seconds, 1, lr=rate)[-1][1] for rate in rates}
    return min(ends, key=ends.get), ends


class Chase:
    """Finds in how much time ours reaches a loss: in the shortest run, each with a cosine of its own, that does.

    The length of the run that reached the last target is where the next search begins.

    Args:
        most: the longest run that is tried, as a share of the baseline's.
    """

    def __init__(self, ours: Contestant, most: float = 4.0):
        self.ours, self.share, self.most = ours, 1 / 8, most

    def seconds_to(self, target: float, seconds: float, seed: int) -> float:
        """Seconds until an evaluation of ours is at or below ``target``; infinite if it never is.

        Args:
            seconds: what the baseline took to reach it.
        """
        while self.share <= self.most:
            curve = self.ours.run(self.share * seconds, seed, LOOKS, target)
            if curve[-1][1] <= target:
                return curve[-1][0]
            self.share *= 1.25
        return float("inf")


def race(
    baseline: Callable[[int], tuple[float, float]], ours: Contestant, plan: Plan, seconds: float
) -> tuple[list[float], list[float]]:
    """Seconds to the same loss, ours and the baseline's, in one pair for each repetition and seed.

    Args:
        baseline: takes a seed, and returns the seconds of a run and the held-out loss at its end.
        seconds: that all of it may take: as ``alternate`` does.
    """
    chase, times = Chase(ours, 1.0 if plan.quick else 4.0), ([], [])
    started = time.perf_counter()
    while (done := len(times[0])) < plan.most_repetitions:
        after_next = (time.perf_counter() - started) * (done + 1) / max(done, 1)
        if done and after_next > seconds and (done >= plan.repetitions or after_next > 1.5 * seconds):
            break
        took, loss = baseline(1 + done)
        times[1].append(took)
        times[0].append(chase.seconds_to(loss, took, 1 + done))
        print(f"    loss {loss:.3f}: baseline {took:.1f} s, ours {times[0][-1]:.1f} s", file=sys.stderr, flush=True)
    return times


def baseline_seconds(seconds: float, rates: int) -> float:
    """How long a baseline's run may be, so that five races, the search for its rate and for our length fit."""
    return seconds / (5 * 1.4 + rates / 3 + 0.6)


def preset_for(name: str, plan: Plan) -> Preset:
    """The preset, or in the quick mode the smallest model that is still one."""
    preset = replace(PRESETS[name], books="packaged")
    if not plan.quick:
        return preset
    small = {"n_layer": 1, "n_embd": 32, "n_head": 2, "n_kv_head": 1, "context_length": 32, "vocab_size": 512}
    return replace(preset, **small, micro_batch=4, pretrain_batch=8, compile=False)


def book_shards(preset: Preset, plan: Plan) -> Path:
    """Shards of the packaged books in the preset's vocabulary: made once in a run of the benchmarks."""
    folder = plan.scratch / f"books_{preset.vocab_size}"
    if not (folder / "manifest.json").is_file():
        limit = 40 if plan.quick else None
        texts = (clean_book(book.text) for book in read_books("packaged", limit))
        tokenizer = BPETokenizer.train(sample_texts(texts, 8_000_000, seed=1), preset.vocab_size)
        tokenizer.save(tokenizer_folder(folder))
        prepare_books(open_source("packaged", limit), tokenizer, folder, workers=1 if plan.quick else None)
    return folder


def tokenizer_folder(shards: Path) -> Path:
    """Where ``book_shards`` keeps the tokenizer of its shards."""
    return shards.with_name(f"tokenizer_of_{shards.name}")


def held_out_targets(folder: Path, context_length: int, rows: int, batches: int) -> np.ndarray:
    """The ids that an evaluation predicts, one after another."""
    val = PretrainDataset(folder, "validation", context_length, rows, 1)
    return np.concatenate([val.batch(step)[1].flatten().numpy() for step in range(min(batches, val.steps_per_epoch))])


def median_step_seconds(contestant: Contestant) -> float:
    """Seconds of a step, the median of three."""
    tokens = contestant.rows * contestant.preset.context_length
    return statistics.median(tokens / contestant.speed(1) for _ in range(3))
