"""What a preset will cost on this machine, told before it starts: weights, memory, disk, hours.

The hours come from a few timed training steps here; the rest is arithmetic on the preset.
"""

import argparse
import sys
import time
from dataclasses import dataclass

import torch

from artifacts import CourseError
from Dummy_Model import GPT, GPTConfig
from presets import PRESETS, Preset, choose
from train import TrainConfig, Trainer

# Mean bytes of a cleaned Gutenberg book, and bytes of held-out books that one token stands for at each vocabulary,
# measured on 70 books taken from the archive at random. A reader's own books will differ a little.
BYTES_PER_BOOK = 402_000
BYTES_PER_TOKEN = {4096: 3.48, 8192: 3.83, 32768: 4.31}
HUB_BOOKS = 61_340
PACKAGED_TOKENS = 4_020_000


@dataclass(frozen=True)
class Cost:
    """What a preset takes. Bytes, seconds and counts, not rounded."""

    parameters: int
    state_bytes: int  # weights, gradients and what the optimizers remember
    activation_bytes: int  # kept between forward and backward for one micro-batch: an estimate
    shard_bytes: int
    checkpoint_bytes: int  # three checkpoints and two finished models
    pretrain_seconds: float | None  # None where nothing was timed
    sft_seconds: float | None


def model_config(preset: Preset) -> GPTConfig:
    """The model of a preset."""
    return GPTConfig(
        preset.vocab_size, preset.context_length, preset.n_layer, preset.n_embd, preset.n_head, preset.n_kv_head
    )


def step_seconds(preset: Preset, rows: int, steps: int = 2) -> float:
    """Seconds of one training step on ``rows`` rows of random tokens, after one step to warm up."""
    config = model_config(preset)
    torch.manual_seed(preset.seed)

    class RandomRows:
        batch_size = rows

        def batch(self, step: int):
            ids = torch.randint(config.vocab_size, (rows, config.context_length))
            return ids, ids

    trainer = Trainer(GPT(config), RandomRows(), TrainConfig(max_steps=steps + 1), folder=".")
    trainer.learn(0)
    started = time.perf_counter()
    for step in range(steps):
        trainer.learn(step + 1)
    return (time.perf_counter() - started) / steps


def cost(preset: Preset, timed: bool = True) -> Cost:
    """The cost of a preset on this machine.

    Args:
        timed: train a few steps to tell the hours: seconds for the small presets, half a minute for ``full``.
    """
    config = model_config(preset)
    embedding = config.vocab_size * config.n_embd
    # AdamW remembers two numbers for each weight, Muon one for each weight of a matrix.
    state = 4 * (2 * config.n_parameters + 2 * embedding + (config.n_parameters - embedding))
    # Per token and layer: what norms, projections, attention and SwiGLU keep for the backward pass.
    kept = config.n_layer * (14 * config.n_embd + 4 * config.n_hidden) + 2 * config.vocab_size
    checkpoint = 4 * (3 * embedding + 2 * (config.n_parameters - embedding))
    if preset.books == "packaged":
        tokens = PACKAGED_TOKENS
    else:
        books = preset.book_limit or HUB_BOOKS
        tokens = books * BYTES_PER_BOOK / BYTES_PER_TOKEN[preset.vocab_size]
    pretrain_seconds = sft_seconds = None
    if timed:
        # Two sizes tell what a row costs from what a step costs whatever its rows: the optimizers' share.
        few = max(1, 1024 // preset.context_length)
        one, two = step_seconds(preset, few), step_seconds(preset, 2 * few)
        per_row = max(two - one, 0.1 * one) / few
        per_step = max(one - few * per_row, 0.0)
        pretrain_seconds = preset.pretrain_steps * (per_step + preset.pretrain_batch * per_row)
        sft_seconds = preset.sft_steps * (per_step + preset.sft_batch * per_row)
    return Cost(
        parameters=config.n_parameters,
        state_bytes=state,
        activation_bytes=4 * kept * preset.micro_batch * preset.context_length,
        shard_bytes=int(2 * tokens),
        checkpoint_bytes=3 * checkpoint + 2 * 4 * config.n_parameters,
        pretrain_seconds=pretrain_seconds,
        sft_seconds=sft_seconds,
    )


def report(preset: Preset, timed: bool = True) -> str:
    """``cost`` as lines for people."""
    c = cost(preset, timed)
    lines = [
        f"preset {preset.name}: {c.parameters / 1e6:.1f}M parameters",
        f"  data    {preset.pretrain_tokens / 1e6:.1f}M tokens of pretraining",
        f"  memory  about {(c.state_bytes + c.activation_bytes) / 1e9:.1f} GB in training, beside Python's own",
        f"  disk    about {(c.shard_bytes + c.checkpoint_bytes) / 1e9:.1f} GB in artifacts/",
    ]
    if c.pretrain_seconds is not None:
        hours = [f"{s / 60:.0f} minutes" if s < 2 * 3600 else f"{s / 3600:.1f} hours"
                 for s in (c.pretrain_seconds, c.sft_seconds)]  # fmt: skip
        lines.append(f"  time    about {hours[0]} of pretraining and {hours[1]} of fine-tuning on this machine")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Prints what a preset would cost on this machine."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--no-timing", action="store_true", help="skip the timed steps")
    a = parser.parse_args(arguments)
    try:
        print(report(choose(a.preset), timed=not a.no_timing))
    except CourseError as error:
        sys.exit(f"preflight.py: {error}")


if __name__ == "__main__":
    main()
