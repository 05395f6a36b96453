"""What a preset will cost on this machine, told before it starts: weights, memory, disk, hours.

Hours and memory come from a small training steps made here, on one and on two handfuls of rows: two points tell
what a row costs and what a step costs whatever its rows. The rest is arithmetic on the preset.
"""

import argparse
import gc
import importlib.util
import json
import os
import re
import shutil
import sys
import sysconfig
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
import torch

from artifacts import CourseError
from course_kit import doctor, memory
from Dummy_Model import GPT, LOGITS_AT_ONCE_CUDA, GPTConfig
from presets import PRESETS, Preset, choose
from train import TrainConfig, Trainer, choose_device

# Mean bytes of a cleaned Gutenberg book, and bytes of held-out books that one token stands for at each vocabulary,
# measured on 70 books taken from the archive at random (16,384: between its neighbors). A reader's own books will
# differ a little.
BYTES_PER_BOOK = 402_000
BYTES_PER_TOKEN = {4096: 3.48, 8192: 3.83, 16384: 4.1, 32768: 4.31}
HUB_BOOKS = 61_340
PACKAGED_TOKENS = 4_020_000


# Of the memory that is free, so much is used: the rest is for what else runs, and for what no estimate foresees.
USABLE = 0.9
TIMED_SECONDS = 4.0  # of steps, in each measurement; one step where that takes longer
MOST_TIMED_STEPS = 20


@dataclass(frozen=True)
class Measured:
    """What training steps took: seconds each, and the most memory in bytes (GPU: of its own; CPU: the process)."""

    rows: int  # in one forward pass
    passes: int  # forward passes in a step
    seconds: float  # the fastest: what else runs on the machine only makes steps slower
    peak_bytes: int


@dataclass(frozen=True)
class Cost:
    """What a preset takes on this machine. Bytes, seconds and counts, not rounded."""

    parameters: int
    state_bytes: int  # weights, gradients and what the optimizers remember: the least there is
    shard_bytes: int
    checkpoint_bytes: int  # three checkpoints and two finished models
    micro_batch: int  # rows in one forward pass: the preset's, or what the memory allows
    peak_bytes: int | None = None  # in training; None where nothing was measured
    free_bytes: int | None = None
    pretrain_seconds: float | None = None
    sft_seconds: float | None = None
    step_seconds: float | None = None  # of a step, whatever its rows: the optimizers
    row_seconds: float | None = None  # of each row in it


def model_config(preset: Preset) -> GPTConfig:
    """The model of a preset."""
    return GPTConfig(
        preset.vocab_size, preset.context_length, preset.n_layer, preset.n_embd, preset.n_head, preset.n_kv_head
    )


def flops_per_token(config: GPTConfig, context: int | None = None) -> int:
    """Floating-point operations to train on one token: forward, and backward at twice its cost.

    Each weight of a matrix costs 2 operations a token going forward; attention over ``context`` keys, the model's
    own context if None (half of them on average, under the causal mask), comes on top (Kaplan et al., 2020, §2.1).
    """
    context = context or config.context_length
    norms = config.n_layer * (2 * config.n_embd + 2 * config.head_width) + config.n_embd
    attention = config.n_layer * 4 * config.n_head * config.head_width * context // 2
    return 3 * (2 * (config.n_parameters - norms) + attention)


def can_compile(preset: Preset) -> bool:
    """Whether to use ``torch.compile``: the preset wants it, and there is what it needs to make code with.

    That is Triton for a GPU and a C++ compiler for a processor. On Windows and on Apple's GPU it isn't tried.
    """
    kind = choose_device().type
    if sys.platform == "win32" or not preset.compile or kind == "mps":
        return False
    if kind == "cuda":
        return importlib.util.find_spec("triton") is not None
    compiler = shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))
    # Some systems keep Python's headers in a package of their own, and what is compiled includes them.
    return compiler is not None and (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def _train_steps(preset: Preset, rows: int, passes: int) -> float:
    """Seconds of the fastest training step on random tokens, after one to warm up."""
    config = model_config(preset)
    torch.manual_seed(preset.seed)

    class RandomRows:
        batch_size = rows * passes

        def batch(self, step: int):
            ids = torch.randint(config.vocab_size, (rows * passes, config.context_length))
            return ids, ids

    settings = TrainConfig(MOST_TIMED_STEPS + 1, micro_batch_size=rows, compile=can_compile(preset))
    trainer = Trainer(GPT(config), RandomRows(), settings, folder=".")
    trainer.learn(0)
    seconds: list[float] = []
    while not seconds or (sum(seconds) < TIMED_SECONDS and len(seconds) < MOST_TIMED_STEPS):
        started = time.perf_counter()
        trainer.learn(len(seconds) + 1)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _peak_of_this_process() -> int:
    """The most memory this process has held so far, in bytes."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: ru_maxrss would hold what the process that started this one had
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    # Apple's GPU shares the memory, but what it holds isn't counted with the process.
    return peak + (torch.mps.driver_allocated_memory() if torch.backends.mps.is_available() else 0)


def measure(preset: Preset, rows: int) -> Measured:
    """Trains some steps of two passes with ``rows`` rows each, and sees what they take.

    Without a CUDA GPU this happens in a process of its own, since a process's peak never comes down again.

    Raises:
        CourseError: the steps failed, most likely for want of memory.
    """
    passes = 2  # with a second pass there are gradients to be kept
    if choose_device().type == "cuda":
        gc.collect()  # what an earlier model left would count as this one's
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        seconds = _train_steps(preset, rows, passes)
        peak = torch.cuda.max_memory_reserved()
        torch.cuda.empty_cache()
        return Measured(rows, passes, seconds, peak)
    order = json.dumps({"preset": asdict(preset), "rows": rows, "passes": passes})
    done = doctor.run_module("course_kit.preflight", "--measure", order)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        # torch says what is wrong and goes on with advice.
        reason = next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception)\b", line)), lines[-1])
        raise CourseError(f"Training {rows} rows at once of preset {preset.name} failed ({reason}): is memory short?")
    return Measured(rows, passes, **json.loads(done.stdout.splitlines()[-1]))


def peak_at(small: Measured, large: Measured, rows: int) -> float:
    """Bytes at another number of rows, on the straight line through two measurements."""
    per_row = max(0, large.peak_bytes - small.peak_bytes) / (large.rows - small.rows)
    return small.peak_bytes + (rows - small.rows) * per_row


def largest_micro_batch(small: Measured, large: Measured, batch: int, available: float) -> int:
    """The most rows at once whose peak fits; it divides the batch, so that the steps stay the same.

    Raises:
        CourseError: not even one row fits.
    """
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and peak_at(small, large, n) <= USABLE * available]
    if not fitting:
        raise CourseError(
            f"Even one row at once needs {peak_at(small, large, 1) / 1e9:.1f} GB, and {available / 1e9:.1f} GB are "
            "free: close other programs, or choose a smaller preset."
        )
    return max(fitting)


def cost(preset: Preset, timed: bool = True, fit: float | None = None) -> Cost:
    """The cost of a preset on this machine.

    Args:
        timed: train a few steps to tell hours and memory: seconds for the small presets, minutes for ``full`` on a
            CPU.
        fit: bytes of memory to fit into, instead of what is free here.

    Raises:
        CourseError: the memory is too small.
    """
    config = model_config(preset)
    embedding = config.vocab_size * config.n_embd
    matrices = config.n_parameters - embedding
    # AdamW remembers two numbers for each weight of the embedding, Muon one for each weight of a matrix.
    checkpoint = 4 * (3 * embedding + 2 * matrices)
    if preset.books == "packaged":
        tokens = PACKAGED_TOKENS
    else:
        books = preset.book_limit or HUB_BOOKS
        tokens = books * BYTES_PER_BOOK / BYTES_PER_TOKEN[preset.vocab_size]
    facts = {
        "parameters": config.n_parameters,
        "state_bytes": checkpoint + 4 * config.n_parameters,
        "shard_bytes": int(2 * tokens),
        "checkpoint_bytes": 3 * checkpoint + 2 * 4 * config.n_parameters,
    }
    if not timed:
        return Cost(**facts, micro_batch=preset.micro_batch)
    rows = max(1, min(1024 // preset.context_length, preset.pretrain_batch // 2))
    small, large = measure(preset, rows), measure(preset, 2 * rows)
    on_gpu = choose_device().type == "cuda"
    free = torch.cuda.mem_get_info()[0] if on_gpu else memory.free()
    largest = largest_micro_batch(small, large, preset.pretrain_batch, fit or free)
    # A GPU is fastest with all the rows it can hold; a processor isn't, so there the preset's number stands.
    rows = largest if on_gpu or fit else min(preset.micro_batch, largest)
    # What doesn't grow with the rows is the optimizers' share.
    difference = (large.seconds - small.seconds) / (large.rows * large.passes - small.rows * small.passes)
    per_row = max(difference, 0.1 * small.seconds / (small.rows * small.passes))
    per_step = max(small.seconds - small.rows * small.passes * per_row, 0.0)
    return Cost(
        **facts,
        micro_batch=rows,
        peak_bytes=int(peak_at(small, large, rows)),
        free_bytes=int(fit or free),
        pretrain_seconds=preset.pretrain_steps * (per_step + preset.pretrain_batch * per_row),
        sft_seconds=preset.sft_steps * (per_step + preset.sft_batch * per_row),
        step_seconds=per_step,
        row_seconds=per_row,
    )


# ---- A GPU that isn't here


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU to predict for. Its memory in bytes, operations a second that training may reach, and bytes a
    second between two of them."""

    name: str
    memory: float
    slowest: float
    fastest: float
    link: float


# An eighth to a half of what the makers give for half precision. On an H200, which calculates as an H100, 180 million
# million were measured (full).
GPUS = {
    "laptop": Gpu("a laptop's GPU with 8 GB", 8e9, 10e12, 20e12, 5e9),
    "t4": Gpu("one T4 with 16 GB, as on Colab", 15e9, 8e12, 20e12, 5e9),
    "4090": Gpu("one RTX 4090 with 24 GB", 24e9, 40e12, 80e12, 10e9),
    "h100": Gpu("one H100 with 80 GB", 80e9, 150e12, 250e12, 150e9),
}
# Seconds that a layer takes in a pass, however few its rows: the time to start its work. A small model on a large GPU
# waits for that most of the time. On an H200 2.9 ms were measured (cpu, 4 and 16 rows), compiled 1.4 (night).
LAYER_SECONDS = (0.0014, 0.0035)
# What a training does besides its steps: compiling, evaluations, samples, checkpoints. On an H200 55 s were measured.
BESIDES_SECONDS = (30.0, 90.0)
# What a training step takes beyond what is counted: 9.0 GB were measured where the count says 7.0 (full, float32).
MARGIN = 1.3


def kept_bytes(preset: Preset, rows: int) -> int:
    """Bytes that ``rows`` rows leave for the backward pass in bfloat16, counted without any memory: on fake tensors."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    kept: dict[int, tuple[torch.UntypedStorage, int]] = {}  # the storage too, so that no other gets its id

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[id(storage)] = (storage, storage.nbytes())
        return tensor

    with FakeTensorMode():
        model = GPT(model_config(preset))
        weights = {id(weight.untyped_storage()) for weight in model.parameters()}
        ids = torch.zeros(rows, preset.context_length, dtype=torch.long)
        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", dtype=torch.bfloat16):
            model.hidden(ids)
    logits = 3 * 4 * min(LOGITS_AT_ONCE_CUDA, rows * preset.context_length * preset.vocab_size)
    return logits + sum(size for number, (_, size) in kept.items() if number not in weights)


def exchange_seconds(preset: Preset, gpu: Gpu, gpus: int) -> float:
    """Seconds of a step in which each GPU adds the others' gradients to its own: nearly twice their bytes."""
    return 2 * (gpus - 1) / gpus * 4 * model_config(preset).n_parameters / gpu.link


def predicted_seconds(preset: Preset, gpu: Gpu, rows: int, gpus: int = 1) -> list[tuple[float, float]]:
    """The least and the most seconds of pretraining and of fine-tuning, with ``rows`` rows at once on each GPU."""
    config = model_config(preset)
    exchange = exchange_seconds(preset, gpu, gpus)
    spans = []
    for steps, batch, length in (
        (preset.pretrain_steps, preset.pretrain_batch, preset.context_length),
        (preset.sft_steps, preset.sft_batch, preset.sft_context_length),
    ):
        share = max(1, batch // gpus)  # rows of a step for each GPU
        work = share * length * flops_per_token(config)
        passes = max(1, share // rows)
        ends = zip((gpu.fastest, gpu.slowest), LAYER_SECONDS, BESIDES_SECONDS, strict=True)
        spans.append(tuple(steps * (work / speed + passes * config.n_layer * wait + exchange) + besides
                           for speed, wait, besides in ends))  # fmt: skip
    return spans


def predict(preset: Preset, gpu: Gpu, gpus: int = 1) -> str:
    """What a preset should cost on a GPU that isn't here, as lines for people. Nothing of it is measured.

    Raises:
        CourseError: not even one row fits, or the GPUs can't share a step evenly.
    """
    if gpus < 1 or preset.pretrain_batch % gpus:
        raise CourseError(
            f"{gpus} GPUs can't share the {preset.pretrain_batch} rows of a step evenly: name another number."
        )
    bare = cost(preset, timed=False)
    peaks = {rows: int(MARGIN * (bare.state_bytes + kept_bytes(preset, rows))) for rows in (1, 2)}
    small, large = (Measured(rows, 1, 0.0, peak) for rows, peak in peaks.items())
    most = largest_micro_batch(small, large, preset.pretrain_batch // gpus, gpu.memory)
    spans = predicted_seconds(preset, gpu, most, gpus)
    rows = min(preset.micro_batch, most)
    several = f"{gpus} GPUs, each like " if gpus > 1 else ""
    of_it = f" ({exchange_seconds(preset, gpu, gpus):.2g} s of each step for the exchange)" if gpus > 1 else ""
    return "\n".join([
        f"preset {preset.name} on {several}{gpu.name}: a prediction, nothing of it measured",
        f"  memory  about {peak_at(small, large, rows) / 1e9:.1f} GB with {rows} rows at once; {most} should fit",
        f"  disk    about {(bare.shard_bytes + bare.checkpoint_bytes) / 1e9:.1f} GB in artifacts/",
        f"  time    {doctor.in_words(*spans[0])} of pretraining and {doctor.in_words(*spans[1])} of fine-tuning{of_it}",
    ])  # fmt: skip


def report(preset: Preset, timed: bool = True, fit: float | None = None) -> str:
    """``cost`` as lines for people."""
    return describe(preset, cost(preset, timed, fit))


def describe(preset: Preset, c: Cost) -> str:
    """A cost as lines for people."""
    lines = [
        f"preset {preset.name}: {c.parameters / 1e6:.1f}M parameters",
        f"  data    {preset.pretrain_tokens / 1e6:.1f}M tokens of pretraining",
        f"  memory  at least {c.state_bytes / 1e9:.1f} GB in training: weights, gradients, optimizers",
        f"  disk    about {(c.shard_bytes + c.checkpoint_bytes) / 1e9:.1f} GB in artifacts/",
    ]
    if c.pretrain_seconds is not None:
        lines[2] = (
            f"  memory  about {c.peak_bytes / 1e9:.1f} GB at the most, with {c.micro_batch} rows at once "
            f"({c.free_bytes / 1e9:.1f} GB are free)"
        )
        times = [doctor.in_words(seconds) for seconds in (c.pretrain_seconds, c.sft_seconds)]
        lines.append(f"  time    about {times[0]} of pretraining and {times[1]} of fine-tuning on this machine")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Prints what a preset would cost on this machine."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--memory", type=float, help="gigabytes to fit into, such as 8 for a laptop's GPU")
    parser.add_argument("--gpu", choices=GPUS, help="predict for a GPU that isn't here")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="so many of them, with torchrun")
    parser.add_argument("--network", type=float, metavar="GBIT", help="gigabits a second between their machines")
    parser.add_argument("--no-timing", action="store_true", help="skip the training steps")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # how `measure` calls itself
    a = parser.parse_args(arguments)
    if a.gpus != 1 and not a.gpu:
        parser.error("--gpus needs --gpu: which kind of GPU?")
    if hasattr(sys.stdout, "reconfigure"):  # output that is redirected may have another encoding
        sys.stdout.reconfigure(errors="replace")
    if a.measure:
        order = json.loads(a.measure)
        seconds = _train_steps(Preset(**order["preset"]), order["rows"], order["passes"])
        print(json.dumps({"seconds": seconds, "peak_bytes": _peak_of_this_process()}))
        return
    try:
        if a.gpu:
            gpu = replace(GPUS[a.gpu], link=a.network * 1e9 / 8) if a.network else GPUS[a.gpu]
            print(predict(choose(a.preset), gpu, a.gpus))
            return
        print(report(choose(a.preset), not a.no_timing, a.memory and a.memory * 1e9))
    except CourseError as error:
        sys.exit(f"course_kit/preflight.py: {error}")


if __name__ == "__main__":
    main()
