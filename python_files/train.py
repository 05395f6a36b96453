"""Training that can be trusted: optimizers, the learning-rate schedule, and one ``Trainer`` for every phase.

A run can be killed at any moment: started again on the same folder it goes on from its last checkpoint, with the losses
of a run that was never stopped, since datasets have no state (``batch(step)``). Under ``torchrun``, inside
``joined_processes``, each process learns its share of every batch; the first one evaluates, takes samples and writes.
"""

import argparse
import csv
import inspect
import io
import json
import math
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from Dummy_Model import GPT, GPTConfig, check_number, choose_device, choose_precision
from npy_datasets import IGNORED, PretrainDataset, joined_processes, lock, sha256, sum_over_processes, write_whole

STATE = "step tokens seconds losses val_loss best best_step since_best best_weights files".split()  # in checkpoints
CHECKPOINT = {*STATE, "facts", "model", "optimizers", "scaler"}
MOST_OVERFLOWS = 20  # steps in a row in which the gradient may be too large for float16


class TrainingStopped(RuntimeError):
    """Training can't go on: its one line says at which step, why, and what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run, beside the model and the data. Saved next to what the run makes."""

    max_steps: int  # optimizer steps in all
    optimizer: str = "muon"  # "muon": Muon for matrices, AdamW for the rest; "adamw": AdamW for all
    lr: float = 3e-3  # AdamW's peak rate
    matrix_lr: float = 0.02  # Muon's peak rate
    warmup_steps: int | None = None  # of rising rates at the start; None: 20, or all if there are fewer
    min_lr_ratio: float = 0.0  # the last step's rate as a share of the peak
    weight_decay: float = 0.1  # matrices and embeddings alone
    grad_clip: float = 1.0  # largest norm of the gradient, over all weights; 0: no limit
    micro_batch_size: int | None = None  # rows in one forward pass; the result doesn't depend on it
    eval_every: int = 100  # steps between two evaluations on held-out data
    eval_batches: int = 8  # held-out batches in each of them
    checkpoint_every: int = 100  # steps between two checkpoints
    checkpoint_minutes: float = 10.0  # most minutes between them: a kill costs these and the step it falls into
    sample_every: int = 0  # steps between two samples; 0: none
    keep: str = "last"  # which weights ``model/`` gets: those of the "last" step, or the "best" evaluation's
    patience: int | None = None  # evaluations without a better one before the run ends early; None: never
    spike_factor: float = 2.0  # a loss this many times the highest of the last 32 is a spike, and ends the run
    device: str = "auto"  # "cuda", "mps", "cpu"; auto takes the first that is there
    precision: str = "auto"  # "float32", "bfloat16", "float16"; auto chooses by device
    compile: bool = False  # torch.compile: a slow start, then faster steps
    recompute: bool = False  # activation checkpointing: a third more arithmetic for a fraction of the memory

    def __post_init__(self) -> None:
        words = {"optimizer": ("muon", "adamw"), "keep": ("last", "best"), "compile": (False, True)}
        words |= {"precision": ("auto", "float32", "bfloat16", "float16"), "recompute": (False, True)}
        limits = {"lr": (1e-9, 1), "matrix_lr": (1e-9, 1), "min_lr_ratio": (0, 1), "weight_decay": (0, 1)}
        limits |= dict.fromkeys(("sample_every", "checkpoint_minutes"), (0, math.inf))
        limits |= {"warmup_steps": (0, self.max_steps), "grad_clip": (1e-3 if self.grad_clip else 0, math.inf)}
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in words and value not in words[name]:
                raise ValueError(f"{name} is {value!r}: it must be one of {', '.join(map(str, words[name]))}.")
            if name not in (*words, "device") and not (value is field.default is None):
                check_number(name, value, field.type is not float, *limits.get(name, (1, math.inf)))
        if self.warmup_steps is None:
            object.__setattr__(self, "warmup_steps", min(20, self.max_steps))


class CosineDecay:
    """Learning rate over a run, as a fraction of its peak: a linear climb, then half a cosine down."""

    def __init__(self, max_steps: int, warmup_steps: int, min_ratio: float = 0.0):
        self.max_steps, self.warmup_steps, self.min_ratio = max_steps, warmup_steps, min_ratio

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps))
        return self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def orthogonalize(g: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearly orthogonal matrices close to g (N, rows, cols), by Newton–Schulz steps.

    A quintic polynomial moves the singular values to about 0.7 to 1.2 in a few matrix products, without an SVD
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

    As ``torch.optim.Muon`` with its original rate, but the Newton–Schulz steps run in ``dtype`` (bfloat16 is
    over a hundred times slower on processors that only emulate it), for all matrices of one shape together.
    """

    def __init__(self, params, lr: float, weight_decay: float, momentum: float = 0.95, dtype=torch.float32):
        params = list(params)
        groups = [{"params": [p for p in params if p.shape == s]} for s in dict.fromkeys(p.shape for p in params)]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            params = group["params"]
            g = torch.stack([p.grad for p in params])  # (N, rows, cols)
            momentum = self.state[params[0]].setdefault("momentum", torch.zeros_like(g))
            momentum.lerp_(g, 1 - group["momentum"])
            updates = orthogonalize(g.lerp(momentum, group["momentum"]), dtype=self.dtype)  # Nesterov: a look ahead
            scale = math.sqrt(max(1.0, g.shape[1] / g.shape[2]))
            for p, update in zip(params, updates, strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


class Trainer:
    """Trains ``model`` on ``dataset`` and keeps all it needs to go on in ``folder``.

    Args:
        model: a ``GPT``, or a module with ``loss(*batch)``, a dataclass ``config`` and ``save(folder)``.
        dataset: its process's share; has ``batch(step)``. With a ``fingerprint``, a run won't go on with another.
        folder: gets ``log.csv``, ``config.json``, ``checkpoints/``, ``samples.jsonl`` and at the end ``model/``.
        val_dataset: held-out data for ``val_loss``, whole in every process.
        sample: called with the model every ``sample_every`` steps; its text is kept.
        score: called with the model at each evaluation. Best is the lowest ``val_loss``, or without one the top score.
    """

    def __init__(self, model, dataset, config: TrainConfig, folder, val_dataset=None, sample=None, score=None):
        self.model, self.dataset, self.config, self.folder = model, dataset, config, Path(folder)
        self.val_dataset, self.sample, self.score = val_dataset, sample, score
        if (config.keep == "best" or config.patience) and not (val_dataset or score):
            raise ValueError("keep='best' and patience go by evaluations: give the Trainer val_dataset or score.")
        self.device = choose_device(config.device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # whatever names no GPU means this one
        self.precision = choose_precision(self.device, config.precision)
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        model.to(self.device).recompute = config.recompute
        for p in model.parameters() if self.world_size > 1 else ():
            dist.broadcast(p.data, src=0)
        self.loss = torch.compile(model.loss) if config.compile else model.loss
        self.schedule = CosineDecay(config.max_steps, config.warmup_steps, config.min_lr_ratio)
        self.optimizers = self._make_optimizers(config)
        self.autocast = torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.step, self.tokens, self.seconds, self.losses, self.val_loss = 0, 0, 0.0, [], None
        self.best, self.best_step, self.since_best, self.best_weights = -math.inf, 0, 0, {}
        self.files = {"log.csv": ["step,tokens,loss,val_loss,lr,grad_norm,seconds,score"], "samples.jsonl": []}
        self._overflows, self._asked_to_stop, self._stop = 0, False, False

    def _make_optimizers(self, c: TrainConfig) -> list[torch.optim.Optimizer]:
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embedding" not in name]
        embeddings = [p for name, p in named if p.ndim == 2 and "embedding" in name]
        decayed = embeddings + (matrices if c.optimizer == "adamw" else [])
        vectors = {"params": [p for _, p in named if p.ndim != 2], "weight_decay": 0.0}
        groups, fused = [{"params": decayed}, vectors], self.device.type in ("cpu", "cuda")
        optimizers = [torch.optim.AdamW(groups, c.lr, (0.9, 0.95), weight_decay=c.weight_decay, fused=fused)]
        if c.optimizer == "muon":
            dtype = torch.bfloat16 if self.precision == torch.bfloat16 else torch.float32
            optimizers.append(Muon(matrices, c.matrix_lr, c.weight_decay, dtype=dtype))
        return optimizers

    def _checked(self, dataset, step: int) -> tuple[tuple[Tensor, ...], int]:
        """A batch whose ids are all in the vocabulary, and the number of its targets."""
        batch, size = dataset.batch(step), getattr(self.model.config, "vocab_size", math.inf)
        targets = batch[1][batch[1] != IGNORED]
        low, high = (x.item() for x in torch.cat((batch[0].flatten(), targets)).aminmax())
        if low < 0 or high >= size:
            raise TrainingStopped(f"Batch {step} has ids {low} to {high} for a vocabulary of {size}: check vocab_size.")
        return batch, len(targets)

    def _micro_batches(self, batch: tuple[Tensor, ...]) -> Iterator[tuple[list[Tensor], int]]:
        """The parts of a batch that have targets, on the device, each with their number."""
        size = self.config.micro_batch_size or len(batch[0])
        for part in zip(*(x.split(size) for x in batch), strict=True):
            if n := int((part[1] != IGNORED).sum()):
                yield [x.to(self.device) for x in part], n

    def learn(self, step: int) -> tuple[float, float, int]:
        """One optimizer step on the batch of ``step``. Returns the loss, the gradient's norm and the tokens.

        Raises:
            TrainingStopped: a bad batch, a spike, a loss or gradient that isn't finite (float16's may be, for a while).
        """
        batch, n_targets = self._checked(self.dataset, step)
        (n_targets,) = sum_over_processes(n_targets)
        if not n_targets:
            raise TrainingStopped(f"Batch {step} has no target to learn: leave out rows in which nothing is learned.")
        loss_sum = torch.zeros((), device=self.device)
        for part, n in self._micro_batches(batch):
            with self.autocast:  # weighted by its targets: the sum is the mean over the batch however it is cut
                loss = self.loss(*part) * (n / n_targets)
            self.scaler.scale(loss).backward()
            loss_sum += loss.detach()
        for p in self.model.parameters() if self.world_size > 1 else ():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad  # this process may have had no targets
            dist.all_reduce(p.grad)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip or math.inf).item()
        # One decision for all optimizers and all processes: half a step would be worse than none.
        loss, norm, stop = sum_over_processes(loss_sum.item(), norm / self.world_size, self._asked_to_stop)
        limit = self.config.spike_factor * max(self.losses) if len(self.losses) == 32 else math.inf
        good = loss < limit and norm < math.inf
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * self.schedule(step)
            if good:
                optimizer.step()
            optimizer.zero_grad()
        overflow = not good and loss < limit and self.precision == torch.float16  # the scale is halved until it fits
        self.scaler.update(self.scaler.get_scale() / 2 if overflow else None)
        self._overflows, self._stop = self._overflows + 1 if overflow else 0, stop > 0
        if not (good or overflow) or self._overflows == MOST_OVERFLOWS:
            spike = f" (a spike: more than {limit:.3f})" if loss >= limit else ""
            line = f"Bad step {step + 1} (batch {step}): loss {loss:.3f}{spike}, gradient norm {norm:.3f}"
            raise TrainingStopped(f"{line}. The last checkpoint stands: lower the learning rates and run again.")
        return loss, norm, batch[0].numel() * self.world_size

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss in nats over the first ``eval_batches`` batches of the held-out data."""
        self.model.eval()
        loss_sum, n_targets = 0.0, 0
        for step in range(min(self.config.eval_batches, self.val_dataset.steps_per_epoch)):
            for part, n in self._micro_batches(self._checked(self.val_dataset, step)[0]):
                with self.autocast:
                    loss_sum += n * self.model.loss(*part).item()
                n_targets += n
        self.model.train()
        if not n_targets:
            raise TrainingStopped("The held-out data has no target to learn: check the data.")
        return loss_sum / n_targets

    def _measure(self) -> tuple[str, str]:
        """``val_loss`` and ``score`` for the log; where several processes train, the first one measures."""
        val_loss = score = 0.0
        if self.rank == 0:
            val_loss = self.evaluate() if self.val_dataset else 0.0
            self.model.eval()
            score = float(self.score(self.model)) if self.score else 0.0
            self.model.train()
        val_loss, score = sum_over_processes(val_loss, score)
        self.val_loss = round(val_loss, 6) if self.val_dataset else None
        self.since_best += 1
        if (mark := -val_loss if self.val_dataset else score) > self.best:
            self.best, self.best_step, self.since_best = mark, self.step, 0
            if self.config.keep == "best":
                self.best_weights = {name: w.to("cpu", copy=True) for name, w in self.model.state_dict().items()}
        return f"{val_loss:.6f}" if self.val_dataset else "", f"{score:.6f}" if self.score else ""

    def _is_finished(self) -> bool:
        return self.step >= self.config.max_steps or self.since_best >= (self.config.patience or math.inf)

    def _add_line(self, file: str, line: str) -> None:
        self.files[file].append(line)
        if self.rank == 0:
            with open(self.folder / file, "a", encoding="utf-8", newline="") as stream:
                stream.write(line + "\n")

    def _take_sample(self) -> None:
        if self.sample is not None and self.rank == 0:
            self.model.eval()
            line = json.dumps({"step": self.step, "text": self.sample(self.model)}, ensure_ascii=False)
            self.model.train()
            self._add_line("samples.jsonl", line)

    def _ask_to_stop(self, *_) -> None:
        self._asked_to_stop = True

    def run(self) -> dict:
        """Trains to ``max_steps``, from the newest good checkpoint in ``folder`` if there is one.

        Returns:
            step, finished (unless a signal stopped it), loss, val_loss, seconds, and the kept_step of ``model/``.

        Raises:
            TrainingStopped: what ``learn`` raises, or the folder holds another run, or another process has it.
        """
        try:
            with ExitStack() as stack:
                (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
                if self.rank == 0:
                    if not (held := lock(self.folder / "checkpoints")):
                        raise TrainingStopped(f"{self.folder.name}/ is in use: another trainer is at work there.")
                    stack.callback(held.close)
                self._resume()
                self._asked_to_stop = self._stop = False
                with suppress(ValueError):  # signals can be caught in the main thread alone
                    for number in (signal.SIGINT, signal.SIGTERM):
                        stack.callback(signal.signal, number, signal.signal(number, self._ask_to_stop))
                name, total, quiet = self.folder.name, self.config.max_steps, self.rank > 0
                with tqdm(None, name, total, unit="step", mininterval=1.0, initial=self.step, disable=quiet) as bar:
                    self._train(bar)
                finished, kept = self._is_finished(), self.step
                if finished and self.config.keep == "best" and self.best_weights:
                    self.model.load_state_dict(self.best_weights)
                    kept = self.best_step
                if finished and self.rank == 0:
                    self.model.save(self.folder / "model")
        except OSError as error:
            raise TrainingStopped(f"Stopped after step {self.step}: {error}. Mend it and run again to go on.") from None
        losses = {"loss": self.losses[-1] if self.losses else None, "val_loss": self.val_loss}
        return {"step": self.step, "finished": finished, **losses, "seconds": self.seconds, "kept_step": kept}

    def _train(self, bar: tqdm) -> None:
        """The loop: step, evaluation, log, sample, checkpoint."""
        c = self.config
        self.model.train()
        if self.step == 0 and c.sample_every:
            self._take_sample()
        started, saved_at = time.monotonic() - self.seconds, time.monotonic()
        while not self._stop and not self._is_finished():
            loss, norm, n_tokens = self.learn(self.step)
            self.step, self.tokens, self.seconds = self.step + 1, self.tokens + n_tokens, time.monotonic() - started
            self.losses, last = [*self.losses[-31:], round(loss, 6)], self.step == c.max_steps
            due = (self.val_dataset or self.score) and (self.step % c.eval_every == 0 or last)
            val_loss, score = self._measure() if due else ("", "")
            lr = f"{self.optimizers[0].param_groups[0]['lr']:.8g}"
            row = (self.step, self.tokens, f"{loss:.6f}", val_loss, lr, f"{norm:.6f}", f"{self.seconds:.3f}", score)
            self._add_line("log.csv", ",".join(map(str, row)))
            if c.sample_every and (self.step % c.sample_every == 0 or last):
                self._take_sample()
            late = time.monotonic() - saved_at >= 60 * c.checkpoint_minutes  # by the first process's clock: it writes
            if late or self.step % c.checkpoint_every == 0 or self._stop or self._is_finished():
                self._save()
                saved_at = time.monotonic()
            bar.set_postfix_str(f"loss {loss:.3f}, {self.tokens / (self.seconds or 1):,.0f} tokens/s", refresh=False)
            bar.update()

    def _facts(self) -> dict:
        """What tells a run from others: its settings, the model's shape, the data."""
        here = {"device": self.device.type, "precision": str(self.precision).removeprefix("torch.")}
        here["data or seed"] = getattr(self.dataset, "fingerprint", "unknown")
        return asdict(self.config) | here | asdict(self.model.config)

    def _save(self) -> None:
        """Writes a checkpoint, whose name ends in its SHA-256. The last two stay."""
        if not all(p.isfinite().all() for p in self.model.parameters()):
            raise TrainingStopped(f"A weight isn't finite after step {self.step}: lower the learning rates.")
        if self.rank == 0:
            state = {name: getattr(self, name) for name in STATE} | {"facts": self._facts()}
            state |= {"model": self.model.state_dict(), "scaler": self.scaler.state_dict()}
            state["optimizers"] = [optimizer.state_dict()["state"] for optimizer in self.optimizers]
            folder = self.folder / "checkpoints"
            write_whole(folder / "new.pt", lambda file: torch.save(state, file))
            (folder / "new.pt").replace(folder / f"step_{self.step:08d}_{sha256(folder / 'new.pt')}.pt")
            for old in sorted(folder.glob("step_*.pt"))[:-2]:
                old.unlink()

    def _resume(self) -> None:
        """Goes on from the newest checkpoint that is whole; without one, from the beginning."""
        state, size = {}, 0
        for path in sorted((self.folder / "checkpoints").glob("step_*.pt"), reverse=True) if self.rank == 0 else ():
            with suppress(pickle.UnpicklingError, RuntimeError, LookupError, EOFError):  # it isn't a checkpoint at all
                state = torch.load(path, self.device, weights_only=True) if sha256(path) == path.stem[-64:] else {}
            if isinstance(state, dict) and state.keys() >= CHECKPOINT and f"step_{state['step']:08}" in path.stem:
                size = path.stat().st_size
                break
            print(f"{path.stem[:13]} is damaged: using the one before.", file=sys.stderr)
        if (size := int(sum_over_processes(size)[0])) and self.world_size > 1:  # not every machine may see the folder
            data = torch.frombuffer(bytearray(size if self.rank else path.read_bytes()), dtype=torch.uint8)
            dist.broadcast(data, src=0)
            state = torch.load(io.BytesIO(data.numpy()), self.device, weights_only=True)  # data, never code
        if size:
            self._load(state)
        files = {**self.files, "config.json": [json.dumps(asdict(self.config), indent=1)]} if self.rank == 0 else {}
        for name, lines in files.items():  # what was logged after the checkpoint will be made again
            path, data = self.folder / name, "".join(f"{line}\n" for line in lines).encode()
            if size and name in self.files and not (path.is_file() and path.read_bytes().startswith(data)):
                print(f"{name} is damaged: written anew from the checkpoint.", file=sys.stderr)
            write_whole(path, lambda file, data=data: file.write(data))

    def _load(self, state: dict) -> None:
        before, now = state["facts"], self._facts()
        changed = {name: f"{name} {old}, now {now.get(name)}" for name, old in before.items() if old != now.get(name)}
        if other := "; ".join(x for n, x in changed.items() if n == "optimizer" or not hasattr(self.config, n)):
            raise TrainingStopped(f"{self.folder.name}/ holds another run ({other}): use another folder, or delete it.")
        if changed and self.rank == 0:
            print(f"{self.folder.name}/ goes on with changed settings: {'; '.join(changed.values())}.", file=sys.stderr)
        vars(self).update({name: state[name] for name in STATE})
        if self.config.keep == "best" and not self.best_weights:  # until now it was "last": the best is yet to come
            self.best, self.since_best = -math.inf, 0
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
        self.scaler.load_state_dict(state["scaler"] or self.scaler.state_dict())  # without one: from its beginning


def read_log(path: str | Path) -> list[dict[str, str]]:
    """The rows of a ``log.csv``; a last line cut short by a kill is left out."""
    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def main(arguments: list[str] | None = None) -> None:
    """Trains a model on a folder of .npy shards. With torchrun --nproc_per_node N, on N GPUs or processes."""
    shape = {"vocab_size": 4096, "context_length": 256, "n_layer": 4, "n_embd": 256, "n_head": 4, "n_kv_head": 2}
    settings = {field.name: field.default for field in fields(TrainConfig)[1:]}
    parser = argparse.ArgumentParser(description=main.__doc__, epilog=inspect.getsource(TrainConfig))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("data", help="a folder with train*.npy and, if any, validation*.npy")
    parser.add_argument("folder", help="where the run keeps its log, checkpoints and model")
    for name, default in {"steps": 500, "batch_size": 8, "seed": 0, **shape, **settings}.items():
        kind = int if default is None else type(default)
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help="default: %(default)s", **how)
    a = parser.parse_args(arguments)
    try:
        config = TrainConfig(a.steps, **{name: getattr(a, name) for name in settings})
        with joined_processes() as (rank, world_size):
            train = PretrainDataset(a.data, "train", a.context_length, a.batch_size, a.seed, rank, world_size)
            has_val = any(Path(a.data).glob("validation*.npy"))
            val = PretrainDataset(a.data, "validation", a.context_length, a.batch_size) if has_val else None
            torch.manual_seed(a.seed)
            model = GPT(GPTConfig(**{name: getattr(a, name) for name in shape}))
            train.check_ids(a.vocab_size)  # before the first step rather than at the step that meets it
            result = Trainer(model, train, config, a.folder, val).run()
            if rank == 0:
                print(json.dumps(result))
    except (ValueError, OSError, TrainingStopped) as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
