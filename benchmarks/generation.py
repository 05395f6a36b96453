"""Generation against ``transformers.generate`` on the same weights, side by side in one run, on a CPU.

python benchmarks/generation.py [--preset full] [--threads 2] [--rounds 2]

Everything is float32 and greedy, with random weights: time doesn't depend on what is said. The two take turns, so
that whatever else the machine does hits both; the best round of each counts. Three figures come out:

* tokens a second against ``transformers`` at batch 1 and 8;
* the share of what memory allows at batch 1: a step has to read every weight once, so it can't be faster than the
  weights' bytes divided by the rate at which the same threads read a float32 array far larger than any cache. That
  rate is measured in every round in two ways, as the sum of the array (nothing but reading) and as a matrix times a
  vector (what a step does, by the product that torch has for it); both shares are shown;
* the last tokens of a full context with a cache against computing the whole context again for each.
"""
# ruff: noqa: E402

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python_files"), str(ROOT)]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch

import presets
from benchmarks.measuring import Plan, Row, alternate, make_row, seconds_of
from chat.decoding import Settings
from chat.generation import generate_batch
from Dummy_Model import GPT, GPTConfig
from export.huggingface import weight_names

BANDWIDTH_BYTES = 512 * 2**20


class NoTokenizer:
    """Nothing but ids are generated, and no id ends an answer."""

    special: dict[str, int] = {}


def random_model(preset: presets.Preset) -> GPT:
    """A model of the preset's shape whose every weight is random, so that all of it is at work."""
    torch.manual_seed(0)
    shape = {name: getattr(preset, name) for name in ("vocab_size", "context_length", "n_layer", "n_embd")}
    model = GPT(GPTConfig(**shape, n_head=preset.n_head, n_kv_head=preset.n_kv_head)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.02)
    return model


def as_transformers(model: GPT) -> torch.nn.Module:
    """The same weights as a ``Qwen3ForCausalLM``."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = model.config
    settings = transformers.Qwen3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.n_embd,
        intermediate_size=config.n_hidden,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        num_key_value_heads=config.n_kv_head,
        head_dim=config.head_width,
        max_position_embeddings=config.context_length,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=True,
        attention_bias=False,
    )
    theirs = transformers.Qwen3ForCausalLM(settings).eval()
    ours = model.state_dict()
    weights = {other: ours[name] for name, other, _ in weight_names(config.n_layer)}
    weights["lm_head.weight"] = model.embedding.weight
    theirs.load_state_dict(weights, strict=True)
    return theirs


def both_ways(model: GPT, batch: int, prompt: int, new: int) -> tuple[Callable[[], float], Callable[[], float], dict]:
    """Ours and ``transformers``: each generates once and returns tokens a second; and the tokens that they made last.

    Both are warmed up.
    """
    theirs = as_transformers(model)
    ids = torch.randint(8, model.config.vocab_size, (batch, prompt), generator=torch.Generator().manual_seed(batch))
    settings = Settings(temperature=0, max_new_tokens=new)
    options = {"do_sample": False, "use_cache": True, "min_new_tokens": new, "max_new_tokens": new}
    options |= {"attention_mask": torch.ones_like(ids), "pad_token_id": 0}
    made: dict[str, list[list[int]]] = {}

    def ours_once() -> None:
        made["ours"] = generate_batch(model, NoTokenizer(), ids.tolist(), settings)

    @torch.inference_mode()
    def theirs_once() -> None:
        made["theirs"] = theirs.generate(ids, **options)[:, prompt:].tolist()

    generate_batch(model, NoTokenizer(), ids.tolist(), Settings(temperature=0, max_new_tokens=4))
    with torch.inference_mode():
        theirs.generate(ids, **{**options, "min_new_tokens": 4, "max_new_tokens": 4})
    return (
        lambda: batch * new / seconds_of(ours_once),
        lambda: batch * new / seconds_of(theirs_once),
        made,
    )


def against_transformers(model: GPT, batch: int, rounds: int, prompt: int, new: int) -> float:
    """Prints tokens a second of both and their ratio; returns ours."""
    once, other_once, made = both_ways(model, batch, prompt, new)
    ours, other = (max(column) for column in zip(*[(once(), other_once()) for _ in range(rounds)], strict=True))
    agree = sum(a == b for a, b in zip(made["ours"], made["theirs"], strict=True))
    print(
        f"batch {batch}: the course {ours:6.1f} tokens/s, transformers {other:6.1f}, {ours / other:.2f} times as fast; "
        f"{agree} of {batch} rows with the same {new} tokens",
        flush=True,
    )
    return ours


def measure(plan: Plan) -> list[Row]:
    """Tokens a second at batch 1 and 8, with a model of the shape of ``full``, on as many threads as torch takes."""
    model = random_model(presets.PRESETS["tiny" if plan.quick else "full"])
    prompt, new = (8, 4) if plan.quick else (64, 64)
    rows = []
    for batch, aim in ((1, ">= 1.1"), (8, ">= 1.8")):
        ours, theirs, _ = both_ways(model, batch, prompt, new)
        pair = alternate(ours, theirs, plan, f"generation, batch {batch}", plan.seconds * (0.3 if batch == 1 else 0.7))
        what = f"Generating {new} tokens, batch {batch}, {model.config.n_parameters / 1e6:.0f}M weights"
        note = "float32, greedy, the same weights"
        rows.append(make_row("generation", what, "`transformers`' `generate`", "tokens/s", *pair, aim=aim, note=note))
    return rows


def read_rates(rounds: int) -> tuple[float, float]:
    """Bytes a second that all threads read from memory: as a sum, and as a matrix times a vector."""
    array = torch.randn(BANDWIDTH_BYTES // 4 // 8192, 8192)
    vector = torch.randn(8192)
    best = [
        BANDWIDTH_BYTES / min(seconds_of(work) for _ in range(3 * rounds))
        for work in (array.sum, lambda: torch.mv(array, vector))
    ]
    print(f"memory: {best[0] / 1e9:.1f} GB/s read by a sum, {best[1] / 1e9:.1f} GB/s by torch's matrix times vector")
    return best[0], best[1]


@torch.inference_mode()
def against_recomputing(model: GPT, new: int) -> None:
    """The last ``new`` tokens of the context: with a cache, and with the whole context computed for each."""
    context = model.config.context_length
    ids = torch.randint(8, model.config.vocab_size, (1, context - new), generator=torch.Generator().manual_seed(0))
    prompt = ids[0].tolist()

    def cached(count: int) -> float:
        return seconds_of(
            lambda: generate_batch(model, NoTokenizer(), [prompt], Settings(temperature=0, max_new_tokens=count))
        )

    cached(2)
    # The prompt is read once for both; what differs is each token after the first.
    with_cache = (cached(new) - cached(1)) / (new - 1)
    again = min(seconds_of(lambda: model.hidden(ids)[:, -1] @ model.embedding.weight.T) for _ in range(3))
    print(
        f"at {context - new} to {context} tokens: {1e3 * with_cache:.0f} ms a token with the cache (packing included), "
        f"{1e3 * again:.0f} ms recomputing the first {context - new}, {again / with_cache:.1f} times as fast"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="full", choices=presets.PRESETS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = random_model(presets.PRESETS[options.preset])
    weights = 4 * model.config.n_parameters
    print(f"{model.config.n_parameters / 1e6:.1f}M parameters, {options.threads} threads, torch {torch.__version__}")
    before = read_rates(options.rounds)
    alone = against_transformers(model, 1, options.rounds, options.prompt, options.new)
    after = read_rates(options.rounds)
    for name, pair in zip(("sum", "matrix times vector"), zip(before, after, strict=True), strict=True):
        limit = max(pair) / weights
        print(f"  of the {limit:.1f} tokens/s that reading the weights at the rate of the {name} allows: ", end="")
        print(f"{100 * alone / limit:.0f} %")
    against_transformers(model, 8, options.rounds, options.prompt, options.new)
    against_recomputing(model, min(128, model.config.context_length // 2))


if __name__ == "__main__":
    main()
