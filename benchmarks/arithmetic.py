"""How much of what the processor can do does training at a preset do?

python benchmarks/arithmetic.py [--preset cpu] [--rounds 5] [--precision auto]

Side by side, by turns: a matrix product of 4096 x 768 x 3072 in the training's own precision, and whole training steps
of the preset, optimizers included. The arithmetic of a step is counted as ``preflight.flops_per_token`` does.
"""
# ruff: noqa: E402

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
import torch

from course_kit.preflight import can_compile, flops_per_token, model_config
from Dummy_Model import GPT
from presets import PRESETS
from train import TrainConfig, Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    config = model_config(preset)
    rows = preset.pretrain_batch
    torch.manual_seed(0)

    class RandomRows:
        def batch(self, step: int):
            ids = torch.randint(config.vocab_size, (rows, config.context_length))
            return ids, ids

    compiled = can_compile(preset)
    settings = TrainConfig(1000, micro_batch_size=preset.micro_batch, precision=options.precision, compile=compiled)
    trainer = Trainer(GPT(config), RandomRows(), settings, ".")
    trainer.learn(0)
    trainer.learn(0)  # compiling ends with the second
    a, b = torch.randn(4096, 768).to(trainer.precision), torch.randn(3072, 768).to(trainer.precision)
    step_flops = flops_per_token(config) * rows * config.context_length
    print(f"{preset.name}: {config.n_parameters / 1e6:.1f}M parameters, {trainer.precision}, compiled: {compiled}, "
          f"{step_flops / 1e9:,.0f} billion operations a step")  # fmt: skip
    shares = []
    for step in range(1, options.rounds + 1):
        times = []
        for _ in range(20):
            started = time.perf_counter()
            torch.nn.functional.linear(a, b)
            times.append(time.perf_counter() - started)
        product = 2 * 4096 * 768 * 3072 / statistics.median(times)
        started = time.perf_counter()
        trainer.learn(step)
        training = step_flops / (time.perf_counter() - started)
        shares.append(training / product)
        print(
            f"product {product / 1e9:.0f}, training {training / 1e9:.0f} billion a second: {shares[-1]:.0%}", flush=True
        )
    print(f"median share: {statistics.median(shares):.0%}")


if __name__ == "__main__":
    main()
