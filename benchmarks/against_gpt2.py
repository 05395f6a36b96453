"""How much sooner does this trainer reach the bits per byte that a GPT-2-shaped model under tuned AdamW ends with?

python benchmarks/against_gpt2.py [--minutes 6] [--tune-minutes 1.5] [--data artifacts/tiny]

Same shards, same tokenizer, same batches (8 x 256 tokens), same number of weights (about 4 million) and the same loop
for both. The baseline is as GPT-2 was: learned positions, LayerNorm with biases, GELU, full heads, its
initialisation, no dropout (there is no second epoch). Its rate is the best of several, each tried in a run of its
own; its schedule is warm-up and cosine over exactly the minutes it has. Both evaluate on the same held-out tokens;
the clock stands still meanwhile.
"""
# ruff: noqa: E402

import argparse
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python_files")]
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpe_tokenizer import BPETokenizer
from Dummy_Model import GPT, GPTConfig
from npy_datasets import PretrainDataset
from train import CosineDecay, TrainConfig, Trainer

CONTEXT, BATCH, VOCABULARY = 256, 8, 4096


@dataclass(frozen=True)
class GPT2Config:
    n_layer: int = 4
    n_embd: int = 256
    n_head: int = 4


class GPT2Block(nn.Module):
    def __init__(self, c: GPT2Config):
        super().__init__()
        self.n_head = c.n_head
        self.norm_1, self.norm_2 = nn.LayerNorm(c.n_embd), nn.LayerNorm(c.n_embd)
        self.qkv, self.out = nn.Linear(c.n_embd, 3 * c.n_embd), nn.Linear(c.n_embd, c.n_embd)
        self.up, self.down = nn.Linear(c.n_embd, 4 * c.n_embd), nn.Linear(4 * c.n_embd, c.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for y in self.qkv(self.norm_1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    """GPT-2's layout (Radford et al., 2019), initialised as it was."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(VOCABULARY, config.n_embd)
        self.position_embedding = nn.Embedding(CONTEXT, config.n_embd)
        self.blocks = nn.ModuleList(GPT2Block(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / ((2 * config.n_layer) ** 0.5 if residual else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.embedding(ids) + self.position_embedding.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(F.linear(self.norm(x).flatten(0, 1), self.embedding.weight), targets.flatten())


def learn(model: nn.Module, config: dict, data: Path, minutes: float, every: float) -> list[tuple[float, float]]:
    """Trains for ``minutes``; returns (seconds, held-out loss) each ``every`` seconds and at the end."""
    train = PretrainDataset(data, "train", CONTEXT, BATCH, seed=1337)
    val = PretrainDataset(data, "validation", CONTEXT, BATCH, seed=1337)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainConfig(max_steps=10**6, eval_batches=24, device="cpu", micro_batch_size=BATCH, **config)
        trainer = Trainer(model, train, settings, folder, val)
        model.train()
        # The share of the time that is gone sets the rate: slow or quick, the schedule fits its minutes exactly.
        spent, step, curve = 0.0, 0, []
        budget, warm = 60 * minutes, 0.03
        # Built for a "run of one step", it takes the share that is gone.
        decay = CosineDecay(1, 0)

        def rate(_step: int) -> float:
            share = min(1.0, spent / budget)
            return min(1.0, (share + 1e-3) / warm) * decay(share)

        trainer.schedule = rate
        due = every
        while spent < budget:
            started = time.perf_counter()
            trainer.learn(step)
            spent, step = spent + time.perf_counter() - started, step + 1
            if spent >= due or spent >= budget:
                curve.append((spent, trainer.evaluate()))
                due += every
        print(f"    {step} steps, {step * BATCH * CONTEXT / spent:,.0f} tokens/s", file=sys.stderr)
    return curve


def ours() -> GPT:
    torch.manual_seed(1337)
    return GPT(GPTConfig(VOCABULARY, CONTEXT, 4, 256, 4, 2))


def gpt2() -> GPT2:
    torch.manual_seed(1337)
    return GPT2(GPT2Config())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--tune-minutes", type=float, default=1.5)
    parser.add_argument("--rates", type=float, nargs="*", default=[5e-4, 1e-3, 2e-3, 4e-3])
    parser.add_argument("--baseline", type=float, help="bits per byte of an earlier baseline: runs ours alone")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--matrix-lr", type=float, default=0.02)
    parser.add_argument("--data", type=Path, default=ROOT / "artifacts" / "tiny")
    options = parser.parse_args()
    data = options.data / "books"
    tokenizer = BPETokenizer.load(options.data / "tokenizer")
    val = PretrainDataset(data, "validation", CONTEXT, BATCH, seed=1337)
    targets = [i for step in range(24) for row in val.batch(step)[1] for i in row.tolist()]
    n_bytes = len(tokenizer.decode(targets).encode("utf-8"))
    bits = len(targets) / (math.log(2) * n_bytes)  # bits per byte for a nat per token
    for model in (ours(), gpt2()):
        print(f"{type(model).__name__}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M weights", flush=True)

    target = options.baseline
    if target is None:
        ends = {}
        for rate in options.rates if len(options.rates) > 1 else []:
            adamw = {"optimizer": "adamw", "lr": rate}
            ends[rate] = learn(gpt2(), adamw, data, options.tune_minutes, 1e9)[-1][1] * bits
            print(f"baseline, {options.tune_minutes} minutes at a rate of {rate}: {ends[rate]:.3f}", flush=True)
        rate = min(ends, key=ends.get) if ends else options.rates[0]
        curve = learn(gpt2(), {"optimizer": "adamw", "lr": rate}, data, options.minutes, 30)
        target = curve[-1][1] * bits
        print(f"baseline, {options.minutes} minutes at {rate}: {target:.4f} bits per byte", flush=True)
        print("   ", " ".join(f"{s:.0f}s {loss * bits:.3f}" for s, loss in curve), flush=True)
    muon = {"optimizer": "muon", "lr": options.lr, "matrix_lr": options.matrix_lr}
    for minutes in (options.minutes / 3, options.minutes):
        curve = learn(ours(), muon, data, minutes, 10)
        there = [seconds for seconds, loss in curve if loss * bits <= target]
        when = f"reached {target:.4f} after {there[0]:.0f} s" if there else f"never reached {target:.4f}"
        share = f", {there[0] / (60 * options.minutes):.2f} of the baseline's time" if there else ""
        print(f"ours, a run of {minutes:g} minutes: ends with {curve[-1][1] * bits:.4f}; {when}{share}", flush=True)
        print("   ", " ".join(f"{s:.0f}s {loss * bits:.3f}" for s, loss in curve), flush=True)


if __name__ == "__main__":
    main()
