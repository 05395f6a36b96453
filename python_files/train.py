"""Training that can be trusted: optimizers, the learning-rate schedule, and one ``Trainer`` for every phase.

A run can be killed at any moment. Started again on the same folder it goes on from its last checkpoint, and
since datasets have no state (``batch(step)``), the later losses are those of a run that was never stopped.
Under ``torchrun`` each process learns its share of every batch, and the steps are those of one process alone.
"""

import argparse
import csv
import hashlib
import importlib.util
import inspect
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from npy_datasets import IGNORED, Prefetch, PretrainDataset, write_whole

LOG_COLUMNS = ("step", "tokens", "loss", "val_loss", "lr", "grad_norm", "seconds", "score")


class TrainingStopped(RuntimeError):
    """Training can't go on: its one line says at which step, why, and what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run, beside the model and the data. Saved next to what the run makes."""

    max_steps: int  # optimizer steps in all
    optimizer: str = "muon"  # "muon": Muon for matrices, AdamW for the rest; "adamw": AdamW for all
    lr: float = 3e-3  # AdamW's peak rate
    matrix_lr: float = 0.02  # Muon's peak rate
    schedule: str = "cosine"  # "cosine", or "wsd": warm-up, stable, decay
    warmup_steps: int = 20  # of rising rates at the start
    decay_steps: int | None = None  # of "wsd": the last steps; None takes a fifth of the run
    min_lr_ratio: float = 0.0  # the last step's rate as a share of the peak
    weight_decay: float = 0.1  # matrices and embeddings alone
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW: how slowly it forgets gradients and their squares
    grad_clip: float = 1.0  # largest norm of the gradient, over all weights
    micro_batch_size: int | None = None  # rows in one forward pass; the result doesn't depend on it
    eval_every: int = 100  # steps between two evaluations on held-out data
    eval_batches: int = 8  # held-out batches in each of them
    checkpoint_every: int = 100  # steps between two checkpoints
    sample_every: int = 0  # 0: no samples on the way
    sample_steps: tuple[int, ...] = ()  # further steps after which a sample is taken
    keep: str = "last"  # which weights ``model/`` gets: those of the "last" step, or the "best" evaluation's
    patience: int | None = None  # evaluations without a better one before the run ends early; None: never
    on_bad_step: str = "stop"  # NaN or spike: "stop", or go back to the last checkpoint and "skip" that batch
    spike_factor: float = 2.0  # a loss this many times the highest of the last 32 is a spike
    device: str = "auto"  # "cuda", "mps", "cpu"; auto takes the first that is there
    precision: str = "auto"  # "float32", "bfloat16", "float16"; auto chooses by device
    compile: bool = False  # torch.compile: a slow start, then faster steps
    recompute: bool = False  # activation checkpointing: a third more arithmetic for a fraction of the memory
    tensorboard: bool = True  # also log to folder/tensorboard, where TensorBoard is installed


class CosineDecay:
    """Learning rate over a run, as a share of its peak: a linear climb, then half a cosine down."""

    def __init__(self, max_steps: int, warmup_steps: int, min_ratio: float = 0.0):
        self.max_steps, self.warmup_steps, self.min_ratio = max_steps, warmup_steps, min_ratio

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps))
        return self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


class WarmupStableDecay:
    """Learning rate as a share of its peak: a linear climb, a plain, and at the end a straight way down.

    All but the last part is the same however long the run, so a run can be prolonged from a checkpoint of the
    plain (Hu et al., 2024, https://arxiv.org/abs/2404.06395).
    """

    def __init__(self, max_steps: int, warmup_steps: int, min_ratio: float = 0.0, decay_steps: int | None = None):
        self.max_steps, self.warmup_steps, self.min_ratio = max_steps, warmup_steps, min_ratio
        self.decay_steps = max(1, max_steps // 5 if decay_steps is None else decay_steps)

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = min(1.0, max(0, self.max_steps - step) / self.decay_steps)
        return self.min_ratio + (1 - self.min_ratio) * left


def orthogonalize(g: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest orthogonal matrices to g (N, rows, cols), by Newton–Schulz steps.

    A quintic polynomial drives every singular value to about 1 in a few matrix products, without an SVD
    (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, for the matrices of hidden layers (Jordan et al., 2024).

    As ``torch.optim.Muon`` with its original rate, but the Newton–Schulz steps run in ``dtype``: bfloat16 is
    over a hundred times slower than float32 on processors that only emulate it. Matrices of one shape go
    through them together.
    """

    def __init__(self, params, lr: float, weight_decay: float, momentum: float = 0.95, dtype=torch.float32):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                updates = []
                for p in params:
                    momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    momentum.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(momentum, group["momentum"]))  # Nesterov: a look ahead
                updates = orthogonalize(torch.stack(updates), dtype=self.dtype)
                scale = math.sqrt(max(1.0, shape[0] / shape[1]))
                for p, update in zip(params, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def choose_device(name: str = "auto") -> torch.device:
    """CUDA if there is a GPU, else Apple's MPS, else the CPU; or the device of that name.

    Raises:
        TrainingStopped: a device was asked for that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"  # torchrun gives each process a GPU of its own
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingStopped("There is no CUDA GPU here: use device='cpu', or install a CUDA build of torch.")
    return torch.device(name)


def choose_precision(device: torch.device, name: str = "auto") -> torch.dtype:
    """The type that matrix products run in.

    CUDA of capability 8 or more: bfloat16; older: float16 (``is_bf16_supported`` says yes to those too, by
    emulation). CPU: bfloat16 only where the processor has it. MPS: float32.
    """
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    if device.type == "cpu":
        abilities = torch.cpu.get_capabilities()
        return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32
    return torch.float32


class _Loss(nn.Module):
    """The model's loss as a forward pass: what ``DistributedDataParallel`` and ``torch.compile`` act on."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *batch: Tensor) -> Tensor:
        return self.model.loss(*batch)


class Trainer:
    """Trains ``model`` on ``dataset`` and keeps all it needs to go on in ``folder``.

    With several processes (``torchrun``; the process group joined before) each gives a dataset of its own
    rank, and the first one alone evaluates, takes samples and writes; all read the folder.

    Args:
        model: a ``GPT``, or a module with ``loss(*batch)``, a dataclass ``config`` and ``save(folder)``.
        dataset: has ``batch(step)``; if it has a ``fingerprint``, a run won't go on with another.
        folder: gets ``log.csv``, ``config.json``, ``checkpoints/``, ``samples.jsonl`` and at the end ``model/``.
        val_dataset: held-out data for ``val_loss``, whole in every process.
        sample: called with the model every ``sample_every`` steps and after ``sample_steps``; its text is kept.
        score: called with the model at each evaluation; what it returns is logged, and the highest is the best.
            Without it the lowest ``val_loss`` is.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset,
        config: TrainConfig,
        folder: str | Path,
        val_dataset=None,
        sample: Callable[[nn.Module], str] | None = None,
        score: Callable[[nn.Module], float] | None = None,
    ):
        self.device = choose_device(config.device)
        self.precision = choose_precision(self.device, config.precision)
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.model = model.to(self.device)
        self.model.recompute = config.recompute
        self.dataset, self.val_dataset, self.config = dataset, val_dataset, config
        self.sample, self.score, self.folder = sample, score, Path(folder)
        if config.schedule not in ("cosine", "wsd") or config.keep not in ("last", "best"):
            raise ValueError(
                f"schedule is {config.schedule!r} and keep {config.keep!r}: 'cosine' or 'wsd', and 'last' or 'best'."
            )
        parts = (config.max_steps, config.warmup_steps, config.min_lr_ratio)
        self.schedule = (
            CosineDecay(*parts) if config.schedule == "cosine" else WarmupStableDecay(*parts, config.decay_steps)
        )
        self.optimizers = self._make_optimizers()
        self.loss = torch.compile(_Loss(model)) if config.compile else _Loss(model)
        if self.world_size > 1:
            self.loss = nn.parallel.DistributedDataParallel(
                self.loss, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        # A GPU waits for nothing: its next batch is fetched and pinned meanwhile. A CPU has no hands free for it.
        self.batches = Prefetch(dataset, pin=True) if self.device.type == "cuda" else dataset
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.step, self.rows, self.skipped, self.seconds = 0, [], [], 0.0
        self._asked_to_stop = self._stop = False
        self._board = None

    def _make_optimizers(self) -> list[torch.optim.Optimizer]:
        c = self.config
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embedding" not in name]
        embeddings = [p for name, p in named if p.ndim == 2 and "embedding" in name]
        vectors = [p for _, p in named if p.ndim != 2]
        decayed = embeddings + (matrices if c.optimizer == "adamw" else [])
        groups = [
            {"params": decayed, "weight_decay": c.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=c.lr, betas=c.betas, fused=self.device.type in ("cpu", "cuda"))
        ]
        if c.optimizer == "muon":
            dtype = torch.bfloat16 if self.precision == torch.bfloat16 else torch.float32
            optimizers.append(Muon(matrices, c.matrix_lr, c.weight_decay, dtype=dtype))
        elif c.optimizer != "adamw":
            raise ValueError(f"optimizer is {c.optimizer!r}: it is 'muon' or 'adamw'.")
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["peak_lr"] = group["lr"]
        return optimizers

    # -- one step ------------------------------------------------------------------------------------------

    def _autocast(self):
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def _over_processes(self, *numbers: float) -> list[float]:
        """The sums of numbers over all processes, the same in each."""
        if self.world_size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float32 if self.device.type == "mps" else torch.float64)
        sums = sums.to(self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def learn(self, step: int) -> tuple[float, float, int]:
        """One optimizer step on the batch of ``step``. Returns the loss, the gradient's norm and the tokens."""
        batch = self.batches.batch(step)
        rows = batch[0].shape[0]
        micro = self.config.micro_batch_size or rows
        (n_learned,) = self._over_processes(int((batch[1] != IGNORED).sum()))
        total = torch.zeros((), device=self.device)
        for start in range(0, rows, micro):
            part = [x[start : start + micro] for x in batch]
            # Weighted by what it learns, so that the sum is the mean over the whole batch however it is cut.
            share = int((part[1] != IGNORED).sum()) / n_learned
            if share == 0 and self.world_size == 1:
                continue
            if share == 0:
                part[1] = part[0]  # counts for nothing, but the other processes wait for these gradients
            part = [x.to(self.device, non_blocking=True) for x in part]
            exchange = self.world_size == 1 or start + micro >= rows  # once a step, with the last gradients
            with nullcontext() if exchange else self.loss.no_sync():
                with self._autocast():
                    loss = self.loss(*part) * share
                # DistributedDataParallel takes the mean over the processes; what we want is their sum.
                self.scaler.scale(loss * self.world_size).backward()
            total += loss.detach()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip).item()
        total, stop = self._over_processes(total.item(), self._asked_to_stop)
        self._stop = stop > 0  # in all processes after the same step
        tokens = batch[0].numel() * self.world_size
        if not (math.isfinite(total) and math.isfinite(norm)) and self.precision != torch.float16:
            return total, norm, tokens  # weights stay as they were
        factor = self.schedule(step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        return total, norm, tokens

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss in nats over the first ``eval_batches`` batches of the held-out data."""
        self.model.eval()
        micro = self.config.micro_batch_size or self.val_dataset.batch_size
        total, learned = 0.0, 0
        for step in range(min(self.config.eval_batches, self.val_dataset.steps_per_epoch)):
            batch = self.val_dataset.batch(step)
            for start in range(0, len(batch[0]), micro):
                part = [x[start : start + micro] for x in batch]
                if n := int((part[1] != IGNORED).sum()):
                    with self._autocast():
                        total += n * self.model.loss(*(x.to(self.device) for x in part)).item()
                    learned += n
        self.model.train()
        return total / learned

    def _marks(self) -> tuple[str, str]:
        """``val_loss`` and ``score`` for the log; where several processes train, the first one measures."""
        val_loss = score = math.nan
        if self.rank == 0:
            val_loss = self.evaluate() if self.val_dataset is not None else math.nan
            if self.score is not None:
                self.model.eval()
                score = float(self.score(self.model))
                self.model.train()
        if self.world_size > 1:
            val_loss, score = self._over_processes(*((val_loss, score) if self.rank == 0 else (0.0, 0.0)))
        return tuple("" if math.isnan(mark) else f"{mark:.6f}" for mark in (val_loss, score))

    def _is_bad(self, loss: float, norm: float) -> str | None:
        if self.precision == torch.float16 and not math.isfinite(norm):
            return None  # the scaler skips such steps by itself and lowers its scale
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"loss {loss}, gradient norm {norm}"
        recent = [float(row["loss"]) for row in self.rows[-32:]]
        if len(recent) == 32 and loss > self.config.spike_factor * max(recent):
            return f"loss {loss:.3f}, highest of the last 32 steps {max(recent):.3f}"
        return None

    # -- the run -------------------------------------------------------------------------------------------

    def run(self) -> dict:
        """Trains to ``max_steps``, from the newest good checkpoint in ``folder`` if there is one.

        Returns:
            ``{"step", "finished", "loss", "val_loss", "seconds", "kept_step"}``; not finished if a signal stopped
            it; ``kept_step`` is the step whose weights ``model`` and ``model/`` have.

        Raises:
            TrainingStopped: a NaN or a spike (with ``on_bad_step="stop"``); the last checkpoint stands.
        """
        c, main = self.config, self.rank == 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._asked_to_stop = self._stop = False
        self._resume()
        if main:
            _write(self.folder / "config.json", json.dumps(asdict(c), indent=1).encode())
            self._open_board()
        self.model.train()
        started, before = time.monotonic(), self.seconds
        bar = tqdm(total=c.max_steps, initial=self.step, desc=self.folder.name, unit="step", mininterval=1.0,
                   disable=not main)  # fmt: skip
        tokens = int(self.rows[-1]["tokens"]) if self.rows else 0
        with _signals(self._ask_to_stop), bar:
            if self.step == 0:
                self._take_sample()
            while self.step < c.max_steps and not self._stop and not self._out_of_patience():
                step = self.step
                skip = step in self.skipped
                loss, norm, n = (math.nan, math.nan, 0) if skip else self.learn(step)
                if not skip and (reason := self._is_bad(loss, norm)):
                    self._recover(step, reason)
                    tokens = int(self.rows[-1]["tokens"]) if self.rows else 0
                    bar.n = self.step
                    continue
                self.step, tokens = step + 1, tokens + n
                self.seconds = before + time.monotonic() - started
                last = self.step == c.max_steps
                due = (self.val_dataset is not None or self.score is not None) and not skip
                val_loss, score = self._marks() if due and (self.step % c.eval_every == 0 or last) else ("", "")
                lr = self.optimizers[0].param_groups[0]["lr"]
                if not skip:
                    self._log(step=self.step, tokens=tokens, loss=f"{loss:.6f}", val_loss=val_loss, lr=f"{lr:.8g}",
                              grad_norm=f"{norm:.6f}", seconds=f"{self.seconds:.3f}", score=score)  # fmt: skip
                if c.sample_every and (self.step % c.sample_every == 0 or last) or self.step in c.sample_steps:
                    self._take_sample()
                best = c.keep == "best" and self._best_row() == self.rows[-1:]
                if self.step % c.checkpoint_every == 0 or last or best or self._out_of_patience():
                    self._save_checkpoint()
                bar.set_postfix_str(f"loss {loss:.3f}, {tokens / max(self.seconds, 1e-9):,.0f} tokens/s", refresh=False)
                bar.update()
            if self._stop:
                self._save_checkpoint()
        finished = self.step == c.max_steps or self._out_of_patience()
        kept = self.step
        if finished:
            if c.keep == "best" and (best := self._best_row()):
                kept = self._load_weights_of(int(best[0]["step"]))
            if main:
                self.model.save(self.folder / "model")
        val_losses = [row["val_loss"] for row in self.rows if row["val_loss"]]
        return {
            "step": self.step,
            "finished": finished,
            "loss": float(self.rows[-1]["loss"]) if self.rows else None,
            "val_loss": float(val_losses[-1]) if val_losses else None,
            "seconds": self.seconds,
            "kept_step": kept,
        }

    def _ask_to_stop(self, *_) -> None:
        self._asked_to_stop = True

    def _evaluated(self) -> list[dict[str, str]]:
        return [row for row in self.rows if row["val_loss"] or row["score"]]

    def _best_row(self) -> list[dict[str, str]]:
        """The log's row of the best evaluation so far, the first of equals; empty if there was none."""
        return [max(rows, key=_quality)] if (rows := self._evaluated()) else []

    def _out_of_patience(self) -> bool:
        rows = self._evaluated()
        return (
            self.config.patience is not None
            and bool(rows)
            and (len(rows) - 1 - rows.index(self._best_row()[0]) >= self.config.patience)
        )

    def _recover(self, step: int, reason: str) -> None:
        """Back to the last checkpoint after a bad step; its batch is skipped from then on, or the run stops."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        line = f"Bad step {step + 1} (batch {step}): {reason}"
        if self.config.on_bad_step != "skip":
            raise TrainingStopped(
                f"{line}. The last checkpoint stands: lower the learning rates, or run again with "
                "on_bad_step='skip' to leave that batch out."
            )
        skipped = [*self.skipped, step]
        if self.rank == 0:
            print(f"{line}: back to the last checkpoint, without that batch.", file=sys.stderr)
        if not self._resume():
            raise TrainingStopped(f"{line}, before the first checkpoint: lower the learning rates.")
        self.skipped = skipped

    def _take_sample(self) -> None:
        if self.sample is None or self.rank or not (self.config.sample_every or self.config.sample_steps):
            return
        self.model.eval()
        line = json.dumps({"step": self.step, "text": self.sample(self.model)}, ensure_ascii=False)
        self.model.train()
        with open(self.folder / "samples.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _log(self, **row) -> None:
        self.rows.append({name: str(value) for name, value in row.items()})
        if self.rank:
            return
        path = self.folder / "log.csv"
        new = not path.exists()
        with open(path, "a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        if self._board is not None:
            for name in ("loss", "val_loss", "lr", "grad_norm", "score"):
                if row[name]:
                    self._board.add_scalar(name, float(row[name]), row["step"])

    def _open_board(self) -> None:
        if self.config.tensorboard and importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            # What an interrupted run logged after its last checkpoint is hidden: it will be logged again.
            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)

    # -- checkpoints ---------------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, by name; views, not copies."""
        names = {p: name for name, p in self.model.named_parameters()}
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for p, state in optimizer.state.items():
                tensors |= {f"optimizer{i}.{names[p]}.{key}": value for key, value in state.items()}
        return tensors

    def _save_checkpoint(self) -> None:
        """Writes the weights and optimizer states, then a note with their SHA-256 that makes them count."""
        if self.rank:
            return
        folder = self.folder / "checkpoints"
        folder.mkdir(exist_ok=True)
        name = f"step_{self.step:08d}"
        for stale in folder.glob(".step_*.tmp"):  # of a run that was killed here
            stale.unlink()
        # Straight to the disk: as bytes in memory a checkpoint would be the largest thing there is.
        temporary = folder / f".{name}.tmp"
        save_file({key: value.detach().cpu().contiguous() for key, value in self._tensors().items()}, temporary)
        with open(temporary, "rb+") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{name}.safetensors")
        here = [row for row in self._evaluated()[-1:] if int(row["step"]) == self.step]
        note = {
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "quality": _quality(here[0]) if here else None,
            "scaler": self.scaler.state_dict(),
            "model": asdict(self.model.config),
            "data": getattr(self.dataset, "fingerprint", None),
            "sha256": sha256,
        }
        _write(folder / f"{name}.json", json.dumps(note, indent=1).encode())
        # The last two and the best stay. The weights go first: a note without weights is passed over.
        notes = {path: _read_note(path) for path in sorted(folder.glob("step_*.json"))}
        marks = {path: mark for path, note in notes.items() if (mark := note.get("quality")) is not None}
        best = {max(marks, key=marks.get)} if marks else set()
        for old in set(list(notes)[:-2]) - best:
            old.with_suffix(".safetensors").unlink(missing_ok=True)
            old.unlink()

    def _resume(self) -> bool:
        """Loads the newest checkpoint that is whole. False if there is none: the run starts afresh."""
        found = False
        for path in sorted((self.folder / "checkpoints").glob("step_*.json"), reverse=True):
            if note := self._whole(path):
                self._load(path.with_suffix(".safetensors"), note)
                found = True
                break
        else:
            self._forget_after(0)
        if self._over_processes(self.step)[0] != self.step * self.world_size:
            raise TrainingStopped("The processes found different checkpoints: use a folder on a disk that all share.")
        return found

    def _whole(self, path: Path) -> dict:
        """The note of a checkpoint whose weights are as they were written; else empty, after a line about it."""
        try:
            note = _read_note(path)
            with open(path.with_suffix(".safetensors"), "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != note["sha256"]:
                    raise ValueError("its SHA-256 differs")
            return note
        except (OSError, ValueError, KeyError) as error:
            if self.rank == 0:
                print(f"{path.stem} is damaged ({error}): using the one before.", file=sys.stderr)
            return {}

    def _load_weights_of(self, step: int) -> int:
        """Puts a checkpoint's weights into the model, if it is whole. Returns the step whose weights it has now."""
        path = self.folder / "checkpoints" / f"step_{step:08d}.json"
        if step == self.step or not self._whole(path):
            return self.step
        with safe_open(path.with_suffix(".safetensors"), "pt", device=str(self.device)) as file:
            names = [key for key in file.keys() if key.startswith("model.")]  # noqa: SIM118 (safe_open is no mapping)
            self.model.load_state_dict({key.removeprefix("model."): file.get_tensor(key) for key in names})
        return step

    def _load(self, path: Path, note: dict) -> None:
        mine, theirs = asdict(self.model.config), note["model"]
        other = [f"{key} {theirs.get(key)}, now {value}" for key, value in mine.items() if theirs.get(key) != value]
        if None not in (note["data"], data := getattr(self.dataset, "fingerprint", None)) and note["data"] != data:
            other.append("other data or another seed")
        if note["step"] > self.config.max_steps:
            other.append(f"{note['step']} steps done, max_steps now {self.config.max_steps}")
        if other:
            raise TrainingStopped(
                f"{self.folder.name}/ holds another run ({'; '.join(other)}): train into another folder, or delete it."
            )
        named = dict(self.model.named_parameters())
        state = {}
        with safe_open(path, "pt", device=str(self.device)) as file:
            for optimizer in self.optimizers:
                optimizer.state.clear()
            for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                owner, name = key.split(".", 1)
                if owner == "model":
                    state[name] = file.get_tensor(key)
                    continue
                name, slot = name.rsplit(".", 1)
                self.optimizers[int(owner.removeprefix("optimizer"))].state[named[name]][slot] = file.get_tensor(key)
        self.model.load_state_dict(state)
        self.scaler.load_state_dict(note["scaler"])
        self.step, self.seconds, self.skipped = note["step"], note["seconds"], note["skipped"]
        self._forget_after(self.step)

    def _forget_after(self, step: int) -> None:
        """Drops log rows and samples of steps that the checkpoint doesn't hold: they will be made again."""
        self.rows = []
        log, samples = self.folder / "log.csv", self.folder / "samples.jsonl"
        if log.exists():
            self.rows = [row for row in read_log(log) if int(row["step"]) <= step]
        if self.rank:
            return
        if log.exists():
            lines = [",".join(LOG_COLUMNS), *(",".join(row[name] for name in LOG_COLUMNS) for row in self.rows)]
            _write(log, ("\r\n".join(lines) + "\r\n").encode())
        if samples.exists():
            kept = [s for s in samples.read_text(encoding="utf-8").splitlines() if _step_of(s) <= step and step]
            _write(samples, "".join(f"{line}\n" for line in kept).encode())


def _write(path: Path, data: bytes) -> None:
    write_whole(path, lambda file: file.write(data))


def _read_note(path: Path) -> dict:
    """A checkpoint's note, empty if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}


def _quality(row: dict[str, str]) -> float:
    """What the best evaluation has most of: the score, or where none is taken, how low the loss is."""
    return float(row["score"]) if row["score"] else -float(row["val_loss"])


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # cut short by a kill
        return math.inf


def read_log(path: str | Path) -> list[dict[str, str]]:
    """The rows of a ``log.csv``; a last line cut short by a kill is left out."""
    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


@contextmanager
def _signals(handler: Callable):
    """SIGINT and SIGTERM call ``handler`` meanwhile (in the main thread; elsewhere signals can't be caught)."""
    try:
        before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before = {}
    try:
        yield
    finally:
        for s, old in before.items():
            signal.signal(s, old)


@contextmanager
def joined_processes():
    """Joins the processes that ``torchrun`` started. Gives this one's rank and their number, (0, 1) without it."""
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size == 1:
        yield 0, 1
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), world_size
    finally:
        dist.destroy_process_group()


def main(arguments: list[str] | None = None) -> None:
    """Trains a model on a folder of .npy shards. With torchrun --nproc_per_node N, on N GPUs or processes."""
    from Dummy_Model import GPT, GPTConfig

    parser = argparse.ArgumentParser(description=main.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", help="a folder with train*.npy and, if any, validation*.npy")
    parser.add_argument("folder", help="where the run keeps its log, checkpoints and model")
    for name, default, text in (
        ("vocab-size", 4096, "of the tokenizer that made the shards"), ("context-length", 256, "tokens in a row"),
        ("n-layer", 4, "blocks"), ("n-embd", 256, "width"), ("n-head", 4, "query heads"),
        ("n-kv-head", 2, "key and value heads"), ("batch-size", 8, "rows in a step, over all processes"),
        ("seed", 0, "of weights and of the order of rows"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps in all")
    # Every setting of TrainConfig that is one number, word or switch, explained by its comment there.
    texts = dict(re.findall(r"^    (\w+): .*?# (.+)$", inspect.getsource(TrainConfig), re.MULTILINE))
    kinds = {"int": int, "int | None": int, "float": float, "str": str}
    for setting in fields(TrainConfig):
        flag, text = f"--{setting.name.replace('_', '-')}", texts[setting.name].replace("%", "%%")
        kind = setting.type.__name__ if isinstance(setting.type, type) else str(setting.type)
        if kind == "bool":
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=setting.default, help=text)
        elif setting.name != "max_steps" and kind in kinds:
            parser.add_argument(flag, type=kinds[kind], default=setting.default, help=text)
    a = vars(parser.parse_args(arguments))
    settings = {setting.name: a[setting.name] for setting in fields(TrainConfig) if setting.name in a}
    try:
        with joined_processes() as (rank, world_size):
            length, rows, seed = a["context_length"], a["batch_size"], a["seed"]
            train = PretrainDataset(a["data"], "train", length, rows, seed, rank, world_size)
            has_val = any(Path(a["data"]).glob("validation*.npy"))
            val = PretrainDataset(a["data"], "validation", length, rows) if has_val else None
            torch.manual_seed(seed)
            shape = ("vocab_size", "context_length", "n_layer", "n_embd", "n_head", "n_kv_head")
            model = GPT(GPTConfig(*(a[name] for name in shape)))
            result = Trainer(model, train, TrainConfig(a["steps"], **settings), a["folder"], val).run()
            if rank == 0:
                print(json.dumps(result))
    except (ValueError, TrainingStopped) as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
