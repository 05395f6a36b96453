"""A Qwen3 in the Hugging Face format: what its weights are called there, and reading one into ``Dummy_Model``.

The model has Qwen3's layout, so nothing is converted but names: the numbers of the weights stay what they are.
``WEIGHT_NAMES`` is the whole dictionary between our names and those of two other worlds.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from artifacts import CourseError, MissingArtifact, read_json, relative
from Dummy_Model import GPT, GPTConfig, RotaryEmbedding

# Each weight's name in Dummy_Model.py, in transformers' Qwen3ForCausalLM, and in a GGUF file; # is the layer.
WEIGHT_NAMES = (
    ("embedding.weight", "model.embed_tokens.weight", "token_embd.weight"),
    ("blocks.#.attention_norm.weight", "model.layers.#.input_layernorm.weight", "blk.#.attn_norm.weight"),
    ("blocks.#.attention.q_proj.weight", "model.layers.#.self_attn.q_proj.weight", "blk.#.attn_q.weight"),
    ("blocks.#.attention.k_proj.weight", "model.layers.#.self_attn.k_proj.weight", "blk.#.attn_k.weight"),
    ("blocks.#.attention.v_proj.weight", "model.layers.#.self_attn.v_proj.weight", "blk.#.attn_v.weight"),
    ("blocks.#.attention.o_proj.weight", "model.layers.#.self_attn.o_proj.weight", "blk.#.attn_output.weight"),
    ("blocks.#.attention.q_norm.weight", "model.layers.#.self_attn.q_norm.weight", "blk.#.attn_q_norm.weight"),
    ("blocks.#.attention.k_norm.weight", "model.layers.#.self_attn.k_norm.weight", "blk.#.attn_k_norm.weight"),
    ("blocks.#.mlp_norm.weight", "model.layers.#.post_attention_layernorm.weight", "blk.#.ffn_norm.weight"),
    ("blocks.#.mlp.gate_proj.weight", "model.layers.#.mlp.gate_proj.weight", "blk.#.ffn_gate.weight"),
    ("blocks.#.mlp.up_proj.weight", "model.layers.#.mlp.up_proj.weight", "blk.#.ffn_up.weight"),
    ("blocks.#.mlp.down_proj.weight", "model.layers.#.mlp.down_proj.weight", "blk.#.ffn_down.weight"),
    ("norm.weight", "model.norm.weight", "output_norm.weight"),
)

# The same for the sizes in config.json: GPTConfig's field, and Qwen3Config's.
SIZE_NAMES = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "n_layer": "num_hidden_layers",
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_kv_head": "num_key_value_heads",
    "n_hidden": "intermediate_size",
    "head_dim": "head_dim",
}

DAMAGED = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError)


def weight_names(n_layer: int) -> list[tuple[str, str, str]]:
    """``WEIGHT_NAMES`` written out for every layer: our name, Hugging Face's, GGUF's."""
    names = []
    for row in WEIGHT_NAMES:
        layers = range(n_layer) if "#" in row[0] else [0]
        names += [tuple(name.replace("#", str(layer)) for name in row) for layer in layers]
    return names


def from_huggingface(folder: str | Path, context_length: int | None = None) -> GPT:
    """Reads a Qwen3 in the Hugging Face format, ours or a published one, into ``Dummy_Model.GPT`` in float32.

    Nothing is unpickled: safetensors alone are read, in one file or in several with an index.

    Args:
        context_length: shortens the model's context, and with it the memory that its cache takes; None keeps it.

    Raises:
        CourseError: it is no Qwen3, has a part that ``Dummy_Model`` lacks, or is damaged.
    """
    folder = Path(folder)
    config = _read_config(folder, context_length)
    theirs = _read_weights(folder)
    head, embedding = theirs.pop("lm_head.weight", None), theirs.get("model.embed_tokens.weight")
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        raise CourseError(_lacks(folder, "an output head of its own", "one matrix for embedding and output"))
    names = {other: ours for ours, other, _ in weight_names(config.n_layer)}
    if odd := sorted(names.keys() ^ theirs.keys()):
        what = "lacks the weight" if odd[0] in names else "has a weight that Dummy_Model doesn't know,"
        raise CourseError(f"{relative(folder)} {what} {odd[0]}{f' (and {len(odd) - 1} more)' * (len(odd) > 1)}.")
    with torch.device("meta"):  # shapes without memory: random weights would be replaced at once
        model = GPT(config)
    model.rotary = RotaryEmbedding(config.head_width, config.context_length, config.rope_theta)
    weights = {names[other]: weight.float() for other, weight in theirs.items()}
    for name, expected in model.state_dict().items():
        if weights[name].shape != expected.shape:
            found, told = tuple(weights[name].shape), tuple(expected.shape)
            raise CourseError(f"{relative(folder)}: {name} is {found}, and by its config.json it should be {told}.")
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _lacks(folder: Path, theirs: str, ours: str) -> str:
    return f"{relative(folder)} has {theirs}, and Dummy_Model knows only {ours}: it can't be read."


def _read_config(folder: Path, context_length: int | None) -> GPTConfig:
    """``config.json`` as our configuration, once it asks for nothing that ``Dummy_Model`` can't do."""
    path = folder / "config.json"
    if not path.is_file():
        raise MissingArtifact(f"Missing {relative(path)}: name a folder in the Hugging Face format.")
    try:
        told = read_json(path)
        _refuse_what_we_lack(folder, told)
        told = {"head_dim": 128, "num_key_value_heads": told["num_attention_heads"], **told}  # Qwen3Config's defaults
        sizes = {ours: told[theirs] for ours, theirs in SIZE_NAMES.items()}
        for ours, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{SIZE_NAMES[ours]} is {size!r}, it must be a whole number")
        sizes["context_length"] = min(context_length or sizes["context_length"], sizes["context_length"])
        if sizes["head_dim"] * sizes["n_head"] == sizes["n_embd"]:
            sizes["head_dim"] = None  # what GPTConfig takes by itself
        rope = {"rope_theta": told.get("rope_theta"), **(told.get("rope_parameters") or {})}
        theta = float(rope["rope_theta"] or 10_000.0)
        return GPTConfig(**sizes, rope_theta=theta, norm_eps=float(told.get("rms_norm_eps", 1e-6)))
    except CourseError:
        raise
    except DAMAGED as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise CourseError(f"Damaged {relative(path)} ({reason}).") from None


def _refuse_what_we_lack(folder: Path, told: dict[str, Any]) -> None:
    """Raises a CourseError for the first thing in a Qwen3 configuration that ``Dummy_Model`` has no part for."""
    kind, classes = told.get("model_type"), told.get("architectures") or ["Qwen3ForCausalLM"]
    if kind is None:
        raise CourseError(
            f"{relative(folder)} is not in the Hugging Face format (config.json names no model_type); "
            "a model folder of the course is opened with GPT.load."
        )
    if kind != "qwen3":
        raise CourseError(_lacks(folder, f"the layout {kind!r}", "'qwen3'"))
    if "Qwen3ForCausalLM" not in classes:
        raise CourseError(_lacks(folder, f"the head of a {classes[0]}", "Qwen3ForCausalLM"))
    rope = {**(told.get("rope_scaling") or {}), **(told.get("rope_parameters") or {})}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    sliding = told.get("use_sliding_window") or "sliding_attention" in (told.get("layer_types") or [])
    checks = [
        (rope_type != "default", f"rope scaling ({rope_type!r})", "plain rotary positions"),
        (rope.get("partial_rotary_factor", 1) != 1, "rotary positions on a part of each head", "whole heads"),
        (bool(sliding), "a sliding window", "full attention"),
        (told.get("attention_bias", False), "attention biases", "attention without them"),
        (told.get("hidden_act", "silu") != "silu", f"the activation {told.get('hidden_act')!r}", "'silu'"),
        ("quantization_config" in told, "quantized weights", "float32, float16 and bfloat16"),
        # Qwen3Config takes untied for granted where nothing is said.
        (not told.get("tie_word_embeddings", False), "untied embeddings", "one matrix for embedding and output"),
    ]
    for wrong, theirs, ours in checks:
        if wrong:
            raise CourseError(_lacks(folder, theirs, ours))


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder, from ``model.safetensors`` or from the files that its index names."""
    weights: dict[str, Tensor] = {}
    for name in _weight_files(folder):
        if Path(name).name != name:
            raise CourseError(f"{relative(folder)}: its index names a file outside the folder, {name!r}.")
        if not (folder / name).is_file():
            raise MissingArtifact(f"Missing {relative(folder / name)}: the download or the copy isn't complete.")
        try:
            with safe_open(folder / name, framework="pt") as file:
                weights |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except DAMAGED as error:
            raise CourseError(f"Damaged {relative(folder / name)} ({str(error).splitlines()[0]}).") from None
    for name, weight in weights.items():
        if weight.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise CourseError(_lacks(folder, f"weights in {weight.dtype} ({name})", "float32, float16 and bfloat16"))
    return weights


def _weight_files(folder: Path) -> Iterable[str]:
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            return sorted(set(map(str, json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())))
        except DAMAGED:
            raise CourseError(f"Damaged {relative(index)}: it maps no weights to files.") from None
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise CourseError(
            f"{relative(folder)} has its weights only as a pickle, which can run any code when it is opened, so it "
            "isn't: look for a version with model.safetensors."
        )
    raise MissingArtifact(f"Missing {relative(folder / 'model.safetensors')}: there are no weights in that folder.")
