"""The changes to the recipe of pretraining that ``recipe.py`` races, and a trainer that can make them."""
# ruff: noqa: E402

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
import torch
import torch.nn.functional as F
from torch import Tensor

from Dummy_Model import GPT
from npy_datasets import PretrainDataset
from presets import Preset
from train import Muon, TrainConfig, Trainer, orthogonalize

# Polar Express: the best quintic for each step, by Amsel et al., 2025 (arXiv 2505.16932).
POLAR = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)
SAFETY = 1.01  # of its authors, against rounding


def polar(g: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """``orthogonalize`` with the coefficients of Polar Express."""
    x = g.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (SAFETY * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for a, b, c in POLAR[:steps]:
        a, b, c = a / SAFETY, b / SAFETY**3, c / SAFETY**5
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(g.dtype)


@dataclass(frozen=True)
class Change:
    """One change to the recipe."""

    what: str
    settings: dict = field(default_factory=dict)  # of TrainConfig
    shape: dict = field(default_factory=dict)  # of GPTConfig
    muon: dict = field(default_factory=dict)  # of OtherMuon
    hook: Callable[["Racer", int, int], None] | None = None  # before each step: the trainer, the step, the steps in all
    start: Callable[[GPT], None] | None = None  # once, with the fresh model
    batch: int | None = None  # rows in a batch
    small_first: float = 0.0  # the share of the text that is read in batches of half the size, first
    short_first: float = 0.0  # the share of the steps whose rows are half as long and twice as many, first
    ahead: float = 0.0  # the weight of guessing the token after the next as well, at first
    average: float = 0.0  # the share of the steps, at the end, whose weights are averaged


class OtherMuon(Muon):
    """Muon with one thing changed.

    Args:
        polar: so many steps of Polar Express instead of Newton–Schulz.
        newton_schulz: so many steps of that.
        normalize: each row of an update is divided by the root of its running mean square (NorMuon, Li et al., 2025).
        cautious: weights decay only where the update makes them smaller, too (Chen et al., 2025).
    """

    def __init__(self, params, lr, weight_decay, dtype, polar=0, newton_schulz=5, normalize=False, cautious=False):
        super().__init__(params, lr, weight_decay, dtype=dtype)
        self.polar, self.newton_schulz, self.normalize, self.cautious = polar, newton_schulz, normalize, cautious

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            params = group["params"]
            g = torch.stack([p.grad for p in params])
            state = self.state[params[0]]
            momentum = state.setdefault("momentum", torch.zeros_like(g))
            momentum.lerp_(g, 1 - group["momentum"])
            ahead = g.lerp(momentum, group["momentum"])
            if self.polar:
                updates = polar(ahead, self.polar, self.dtype)
            else:
                updates = orthogonalize(ahead, self.newton_schulz, self.dtype)
            if self.normalize:
                size = updates.norm(dim=(-2, -1), keepdim=True)
                squares = updates.square().mean(dim=-1, keepdim=True)
                mean = state.setdefault("squares", squares.clone())
                mean.lerp_(squares, 0.05)
                updates = updates / (mean.sqrt() + 1e-8)
                updates = updates * (size / (updates.norm(dim=(-2, -1), keepdim=True) + 1e-8))
            scale = math.sqrt(max(1.0, g.shape[1] / g.shape[2]))
            for p, update in zip(params, updates, strict=True):
                decay = group["lr"] * group["weight_decay"]
                p.sub_(p * ((update * p) > 0), alpha=decay) if self.cautious else p.mul_(1 - decay)
                p.add_(update, alpha=-group["lr"] * scale)


class Rows:
    """Batches of the training books as a change wants them."""

    def __init__(self, folder: Path, preset: Preset, change: Change, seed: int, steps: int):
        self.change, self.steps, self.size = change, steps, change.batch or preset.pretrain_batch
        self.unit = self.size // 2 if change.small_first else self.size
        self.data = PretrainDataset(folder, "train", preset.context_length, self.unit, seed)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        if self.change.small_first:  # f of the text in half batches: 2f steps of them to each 1 - f of whole ones
            f = self.change.small_first
            small = round(self.steps * 2 * f / (1 + f))
            units = [step] if step < small else [small + 2 * (step - small), small + 2 * (step - small) + 1]
            parts = [self.data.batch(unit) for unit in units]
            return tuple(torch.cat(some) for some in zip(*parts, strict=True))
        ids, targets = self.data.batch(step)
        if step < self.change.short_first * self.steps:
            ids, targets = (x.view(2 * len(x), -1) for x in (ids, targets))
        return ids, targets


class Racer(Trainer):
    """The course's trainer with one change."""

    def __init__(self, model: GPT, data: Rows, config: TrainConfig, change: Change):
        self.change, self.weight_ahead, self.summed, self.n_summed = change, 0.0, None, 0
        super().__init__(model, data, config, ".")
        if change.ahead:
            self.loss = self._loss_ahead

    def _make_optimizers(self, c: TrainConfig) -> list[torch.optim.Optimizer]:
        adamw, muon = super()._make_optimizers(c)
        if self.change.muon:
            params = [p for group in muon.param_groups for p in group["params"]]
            muon = OtherMuon(params, c.matrix_lr, c.weight_decay, muon.dtype, **self.change.muon)
        return [adamw, muon]

    def _loss_ahead(self, ids: Tensor, targets: Tensor) -> Tensor:
        logits = F.linear(self.model.hidden(ids), self.model.embedding.weight)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        if not self.weight_ahead:
            return loss
        after_next = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
        return (loss + self.weight_ahead * after_next) / (1 + self.weight_ahead)

    def take(self, step: int) -> None:
        """A step with its change."""
        steps, change = self.config.max_steps, self.change
        self.weight_ahead = change.ahead * max(0.0, 1 - 1.5 * step / steps)
        if change.hook:
            change.hook(self, step, steps)
        self.learn(step)
        if change.average and step >= (1 - change.average) * steps:
            weights = [p.detach().double() for p in self.model.parameters()]
            self.summed = weights if self.summed is None else [a + b for a, b in zip(self.summed, weights, strict=True)]
            self.n_summed += 1

    @torch.no_grad()
    def end(self) -> None:
        """Puts the averaged weights in place, if they are to be averaged."""
        for p, total in zip(self.model.parameters(), self.summed or (), strict=bool(self.summed)):
            p.copy_(total / self.n_summed)


def decay_falls(trainer: Racer, step: int, steps: int) -> None:
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            if group["weight_decay"]:
                group["weight_decay"] = 1e-12 + trainer.config.weight_decay * (1 - step / steps)


def momentum_rises(trainer: Racer, step: int, steps: int) -> None:
    for group in trainer.optimizers[1].param_groups:
        group["momentum"] = 0.85 + 0.1 * min(1.0, 3 * step / steps)


def momentum_of(value: float) -> Callable[[Racer, int, int], None]:
    def hook(trainer: Racer, step: int, steps: int) -> None:
        for group in trainer.optimizers[1].param_groups:
            group["momentum"] = value

    return hook


def rate_of(group: int, times: float) -> Callable[[Racer, int, int], None]:
    """AdamW's rate for the embedding (0) or the vectors (1) alone, as a schedule that ``learn`` can't undo."""

    class Times(torch.optim.AdamW):
        def step(self, closure=None):
            self.param_groups[group]["lr"] *= times
            return super().step(closure)

    def hook(trainer: Racer, step: int, steps: int) -> None:
        trainer.optimizers[0].__class__ = Times

    return hook


def falls_by(shape: Callable[[float], float]) -> Callable[[Racer, int, int], None]:
    """Another schedule after the warm-up: ``shape`` of the share of the run that is over."""

    def hook(trainer: Racer, step: int, steps: int) -> None:
        warmup = trainer.config.warmup_steps
        trainer.schedule = lambda at: (at + 1) / warmup if at < warmup else shape((at - warmup) / (steps - warmup))

    return hook


def both(*hooks: Callable[[Racer, int, int], None]) -> Callable[[Racer, int, int], None]:
    def hook(trainer: Racer, step: int, steps: int) -> None:
        for one in hooks:
            one(trainer, step, steps)

    return hook


def start_heads(value: float) -> Callable[[GPT], None]:
    def start(model: GPT) -> None:
        for block in model.blocks:
            for norm in (block.attention.q_norm, block.attention.k_norm):
                norm.weight.data.fill_(value)

    return start


CHANGES = {
    "base": Change("the recipe as it is"),
    "matrix-rate-half": Change("Muon's rate 0.01 instead of 0.02", {"matrix_lr": 0.01}),
    "matrix-rate-double": Change("Muon's rate 0.04", {"matrix_lr": 0.04}),
    "rate-half": Change("AdamW's rate 0.0015 instead of 0.003", {"lr": 0.0015}),
    "rate-double": Change("AdamW's rate 0.006", {"lr": 0.006}),
    "embedding-rate": Change("the embedding's rate twice as high, the vectors' as it is", hook=rate_of(0, 2)),
    "vector-rate": Change("the vectors' rate three times as high, the embedding's as it is", hook=rate_of(1, 3)),
    "polar-5": Change("Polar Express, 5 steps, instead of 5 Newton–Schulz steps", muon={"polar": 5}),
    "polar-3": Change("Polar Express, 3 steps", muon={"polar": 3}),
    "newton-schulz-3": Change("3 Newton–Schulz steps", muon={"newton_schulz": 3}),
    "normuon": Change("NorMuon", muon={"normalize": True}),
    "cautious": Change("cautious weight decay", muon={"cautious": True}),
    "no-decay": Change("no weight decay", {"weight_decay": 0.0}),
    "decay-falls": Change("weight decay that falls to 0", hook=decay_falls),
    "heads-1.5": Change("norms of queries and keys that start at 1.5", start=start_heads(1.5)),
    "rope-1000": Change("rotary base 1,000 instead of 10,000", shape={"rope_theta": 1e3}),
    "rope-100000": Change("rotary base 100,000", shape={"rope_theta": 1e5}),
    "short-first": Change("half the steps on rows half as long", short_first=0.5),
    "small-first": Change("half the text in batches half as large", small_first=0.5),
    "batch-half": Change("batches half as large", batch=4),
    "batch-double": Change("batches twice as large", batch=16),
    "linear": Change("a rate that falls in a straight line", hook=falls_by(lambda x: 1 - x)),
    "late-fall": Change("a rate that falls in the last half alone", hook=falls_by(lambda x: min(1.0, 2 - 2 * x))),
    "power": Change("a rate that falls as the square of what is left", hook=falls_by(lambda x: (1 - x) ** 2)),
    "average": Change("the mean of the last tenth's weights", average=0.1),
    "ahead": Change("the token after the next guessed as well, at first", ahead=0.3),
    "momentum-0.9": Change("momentum 0.9 instead of 0.95", hook=momentum_of(0.9)),
    "momentum-rises": Change("momentum that rises from 0.85 to 0.95", hook=momentum_rises),
    "rates": Change("AdamW's rate 0.006 and Muon's 0.01", {"lr": 0.006, "matrix_lr": 0.01}),
    "rates-more": Change("AdamW's rate 0.012 and Muon's 0.01", {"lr": 0.012, "matrix_lr": 0.01}),
    "rates-momentum": Change("the same, and momentum 0.9", {"lr": 0.006, "matrix_lr": 0.01}, hook=momentum_of(0.9)),
    "rates-steps": Change(
        "the same rates, and 3 Newton–Schulz steps", {"lr": 0.006, "matrix_lr": 0.01}, muon={"newton_schulz": 3}
    ),
    "all": Change(
        "all of these, rows half as long first, a straight fall",
        {"lr": 0.006, "matrix_lr": 0.01},
        muon={"newton_schulz": 3},
        hook=both(momentum_of(0.9), falls_by(lambda x: 1 - x)),
        short_first=0.5,
    ),
    "no-clip": Change("no limit to the gradient's norm", {"grad_clip": 0.0}),
    "narrow": Change("width 192 instead of 256", shape={"n_embd": 192, "n_head": 3, "n_kv_head": 1}),
    "wide": Change("width 320", shape={"n_embd": 320, "n_head": 5, "n_kv_head": 1}),
}
