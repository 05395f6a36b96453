"""Training that can be trusted: optimizers, the learning-rate schedule, and one ``Trainer`` for every phase.

A run can be killed at any moment. Started again on the same folder it goes on from its last checkpoint, and
since datasets have no state (``batch(step)``), the later losses are those of a run that was never stopped.
"""

import argparse
import csv
import hashlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from npy_datasets import IGNORED, PretrainDataset, write_whole

LOG_COLUMNS = ("step", "tokens", "loss", "val_loss", "lr", "grad_norm", "seconds")


class TrainingStopped(RuntimeError):
    """Training can't go on: its one line says at which step, why, and what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run, beside the model and the data. Saved next to what the run makes."""

    max_steps: int
    optimizer: str = "muon"  # "muon": Muon for matrices, AdamW for the rest; "adamw": AdamW for all
    lr: float = 3e-3  # AdamW's peak rate
    matrix_lr: float = 0.02  # Muon's peak rate
    warmup_steps: int = 20
    min_lr_ratio: float = 0.0  # the last step's rate as a share of the peak
    weight_decay: float = 0.1  # matrices and embeddings alone
    betas: tuple[float, float] = (0.9, 0.95)
    grad_clip: float = 1.0  # largest norm of the gradient, over all weights
    micro_batch_size: int | None = None  # rows in one forward pass; the result doesn't depend on it
    eval_every: int = 100
    eval_batches: int = 8
    checkpoint_every: int = 100
    sample_every: int = 0  # 0: no samples on the way
    on_bad_step: str = "stop"  # NaN or spike: "stop", or go back to the last checkpoint and "skip" that batch
    spike_factor: float = 2.0  # a loss this many times the highest of the last 32 is a spike
    device: str = "auto"
    precision: str = "auto"  # "float32", "bfloat16", "float16"; auto chooses by device
    compile: bool = False


class CosineDecay:
    """Learning rate over a run, as a share of its peak: a linear climb, then half a cosine down."""

    def __init__(self, max_steps: int, warmup_steps: int, min_ratio: float = 0.0):
        self.max_steps, self.warmup_steps, self.min_ratio = max_steps, warmup_steps, min_ratio

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps))
        return self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


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


class Trainer:
    """Trains ``model`` on ``dataset`` and keeps all it needs to go on in ``folder``.

    Args:
        model: a ``GPT``, or a module with ``loss(*batch)``, a dataclass ``config`` and ``save(folder)``.
        dataset: has ``batch(step)``; if it has a ``fingerprint``, a run won't go on with another.
        folder: gets ``log.csv``, ``config.json``, ``checkpoints/``, ``samples.jsonl`` and at the end ``model/``.
        val_dataset: held-out data for ``val_loss``.
        sample: called with the model every ``sample_every`` steps; its text is kept.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset,
        config: TrainConfig,
        folder: str | Path,
        val_dataset=None,
        sample: Callable[[nn.Module], str] | None = None,
    ):
        self.device = choose_device(config.device)
        self.precision = choose_precision(self.device, config.precision)
        self.model = model.to(self.device)
        self.dataset, self.val_dataset, self.config, self.sample = dataset, val_dataset, config, sample
        self.folder = Path(folder)
        self.schedule = CosineDecay(config.max_steps, config.warmup_steps, config.min_lr_ratio)
        self.optimizers = self._make_optimizers()
        self.loss = torch.compile(model.loss) if config.compile else model.loss
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.step, self.rows, self.skipped, self.seconds, self._stop = 0, [], [], 0.0, False

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

    def learn(self, step: int) -> tuple[float, float, int]:
        """One optimizer step on the batch of ``step``. Returns the loss, the gradient's norm and the tokens."""
        batch = self.dataset.batch(step)
        rows = batch[0].shape[0]
        micro = self.config.micro_batch_size or rows
        n_learned = int((batch[1] != IGNORED).sum())
        total = 0.0
        for start in range(0, rows, micro):
            part = [x[start : start + micro].to(self.device, non_blocking=True) for x in batch]
            # Weighted by what it learns, so that the sum is the mean over the whole batch however it is cut.
            share = int((batch[1][start : start + micro] != IGNORED).sum()) / n_learned
            if share == 0:
                continue
            with self._autocast():
                loss = self.loss(*part) * share
            self.scaler.scale(loss).backward()
            total += loss.item()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip).item()
        if not (math.isfinite(total) and math.isfinite(norm)) and self.precision != torch.float16:
            return total, norm, batch[0].numel()  # weights stay as they were
        factor = self.schedule(step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            self.scaler.step(optimizer)
        self.scaler.update()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        return total, norm, batch[0].numel()

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss in nats over the first ``eval_batches`` batches of the held-out data."""
        self.model.eval()
        losses = []
        for step in range(min(self.config.eval_batches, self.val_dataset.steps_per_epoch)):
            with self._autocast():
                losses.append(self.loss(*(x.to(self.device) for x in self.val_dataset.batch(step))).item())
        self.model.train()
        return sum(losses) / len(losses)

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
            ``{"step", "finished", "loss", "val_loss", "seconds"}``; not finished if a signal stopped it.

        Raises:
            TrainingStopped: a NaN or a spike (with ``on_bad_step="stop"``); the last checkpoint stands.
        """
        c = self.config
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        _write(self.folder / "config.json", json.dumps(asdict(c), indent=1).encode())
        self.model.train()
        started, before = time.monotonic(), self.seconds
        bar = tqdm(total=c.max_steps, initial=self.step, desc=self.folder.name, unit="step", mininterval=1.0)
        tokens = int(self.rows[-1]["tokens"]) if self.rows else 0
        with _signals(self._ask_to_stop), bar:
            if self.step == 0:
                self._take_sample()
            while self.step < c.max_steps and not self._stop:
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
                due = self.val_dataset is not None and (self.step % c.eval_every == 0 or last)
                val_loss = f"{self.evaluate():.6f}" if due else ""
                lr = self.optimizers[0].param_groups[0]["lr"]
                if not skip:
                    self._log(step=self.step, tokens=tokens, loss=f"{loss:.6f}", val_loss=val_loss,
                              lr=f"{lr:.8g}", grad_norm=f"{norm:.6f}", seconds=f"{self.seconds:.3f}")  # fmt: skip
                if c.sample_every and (self.step % c.sample_every == 0 or last):
                    self._take_sample()
                if self.step % c.checkpoint_every == 0 or last:
                    self._save_checkpoint()
                bar.set_postfix_str(f"loss {loss:.3f}, {tokens / max(self.seconds, 1e-9):,.0f} tokens/s", refresh=False)
                bar.update()
            if self._stop:
                self._save_checkpoint()
        finished = self.step == c.max_steps
        if finished:
            self.model.save(self.folder / "model")
        val_losses = [row["val_loss"] for row in self.rows if row["val_loss"]]
        return {
            "step": self.step,
            "finished": finished,
            "loss": float(self.rows[-1]["loss"]) if self.rows else None,
            "val_loss": float(val_losses[-1]) if val_losses else None,
            "seconds": self.seconds,
        }

    def _ask_to_stop(self, *_) -> None:
        self._stop = True

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
        print(f"{line}: back to the last checkpoint, without that batch.", file=sys.stderr)
        if not self._resume():
            raise TrainingStopped(f"{line}, before the first checkpoint: lower the learning rates.")
        self.skipped = skipped

    def _take_sample(self) -> None:
        if self.sample is None or not self.config.sample_every:
            return
        self.model.eval()
        line = json.dumps({"step": self.step, "text": self.sample(self.model)}, ensure_ascii=False)
        self.model.train()
        with open(self.folder / "samples.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _log(self, **row) -> None:
        self.rows.append({name: str(value) for name, value in row.items()})
        path = self.folder / "log.csv"
        new = not path.exists()
        with open(path, "a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)

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
        folder = self.folder / "checkpoints"
        folder.mkdir(exist_ok=True)
        name = f"step_{self.step:08d}"
        data = save({key: value.detach().cpu().contiguous() for key, value in self._tensors().items()})
        val_losses = [float(row["val_loss"]) for row in self.rows if row["val_loss"]]
        note = {
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "val_loss": val_losses[-1] if val_losses else None,
            "scaler": self.scaler.state_dict(),
            "model": asdict(self.model.config),
            "data": getattr(self.dataset, "fingerprint", None),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        _write(folder / f"{name}.safetensors", data)
        _write(folder / f"{name}.json", json.dumps(note, indent=1).encode())
        # The last two and the best stay. The weights go first: a note without weights is passed over.
        notes = {path: _read_note(path) for path in sorted(folder.glob("step_*.json"))}
        best = min(notes, key=lambda path: notes[path].get("val_loss") or math.inf)
        for old in set(list(notes)[:-2]) - {best}:
            old.with_suffix(".safetensors").unlink(missing_ok=True)
            old.unlink()

    def _resume(self) -> bool:
        """Loads the newest checkpoint that is whole. False if there is none: the run starts afresh."""
        for path in sorted((self.folder / "checkpoints").glob("step_*.json"), reverse=True):
            try:
                note = _read_note(path)
                weights = path.with_suffix(".safetensors")
                with open(weights, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != note["sha256"]:
                        raise ValueError("its SHA-256 differs")
            except (OSError, ValueError, KeyError) as error:
                print(f"{path.stem} is damaged ({error}): using the one before.", file=sys.stderr)
                continue
            self._load(weights, note)
            return True
        self._forget_after(0)
        return False

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


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # cut short by a kill
        return math.inf


def read_log(path: str | Path) -> list[dict[str, str]]:
    """The rows of a ``log.csv``; a last line cut short by a kill is left out."""
    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["step"] and row["seconds"]]


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


def main(arguments: list[str] | None = None) -> None:
    """Trains a model on a folder of ``.npy`` shards from the command line."""
    from Dummy_Model import GPT, GPTConfig

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", help="a folder with train*.npy and, if any, validation*.npy")
    parser.add_argument("folder", help="where the run keeps its log, checkpoints and model")
    for name, default in (("vocab-size", 4096), ("context-length", 256), ("n-layer", 4), ("n-embd", 256),
                          ("n-head", 4), ("n-kv-head", 2), ("batch-size", 8), ("seed", 0)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--matrix-lr", type=float, default=TrainConfig.matrix_lr)
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    parser.add_argument("--device", default="auto")
    a = parser.parse_args(arguments)
    try:
        train = PretrainDataset(a.data, "train", a.context_length, a.batch_size, a.seed)
        has_val = any(Path(a.data).glob("validation*.npy"))
        val = PretrainDataset(a.data, "validation", a.context_length, a.batch_size) if has_val else None
        torch.manual_seed(a.seed)
        model = GPT(GPTConfig(a.vocab_size, a.context_length, a.n_layer, a.n_embd, a.n_head, a.n_kv_head))
        config = TrainConfig(a.steps, a.optimizer, a.lr, a.matrix_lr, device=a.device)
        print(json.dumps(Trainer(model, train, config, a.folder, val).run()))
    except (ValueError, TrainingStopped) as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
