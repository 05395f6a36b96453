"""Models in the Hugging Face format: writing ours as the Qwen3 that ``transformers`` opens, and reading a Qwen3.

The model has Qwen3's layout, so nothing is converted but names: the numbers of the weights stay what
they are. ``WEIGHT_NAMES`` is the whole dictionary between our names and those of two other formats.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import artifacts
from artifacts import CourseError, MissingArtifact, read_json, relative
from bpe_tokenizer import SPECIAL_TOKENS, BPETokenizer
from conversations.chat_format import END, ROLES, save_tokenizer
from Dummy_Model import GPT, GPTConfig, RotaryEmbedding
from export.folders import (
    cast,
    check_manifest,
    check_replaceable,
    is_chat,
    nbytes,
    open_model_folder,
    replacing,
    tokenizer_of,
)
from export.model_card import card, recorded_facts

MAX_NEW_TOKENS = 200  # what other programs generate at most, unless they are told otherwise

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

# What Qwen3Config takes where config.json says nothing.
SIZES_UNSAID = {
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 22_016,
    "head_dim": 128,
}

# How ``transformers serve`` finds the answer in what is generated. Without this it would look for Qwen3's own marks.
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": ROLES["assistant"],
    "fields": {"content": {"close": list(SPECIAL_TOKENS), "content": "text"}},
}

DAMAGED = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError)


def weight_names(n_layer: int) -> list[tuple[str, str, str]]:
    """``WEIGHT_NAMES`` written out for every layer: our name, Hugging Face's, GGUF's."""
    names = []
    for row in WEIGHT_NAMES:
        layers = range(n_layer) if "#" in row[0] else [0]
        names += [tuple(name.replace("#", str(layer)) for name in row) for layer in layers]
    return names


# ---- writing


def to_huggingface(model_folder: str | Path, out_folder: str | Path, dtype: str = "float32") -> Path:
    """Writes a finished model as the folder that ``transformers`` opens: ``AutoModelForCausalLM``, ``AutoTokenizer``.

    The folder appears whole or not at all. An earlier export in its place is replaced once the new one is on disk.

    Args:
        model_folder: what ``GPT.save`` and the tokenizer's ``save`` left, such as ``artifacts/tiny/sft/model``; or an
            earlier export, to store it in another dtype.
        dtype: of the stored weights. "float16" and "bfloat16" halve the file and round the weights.

    Returns:
        ``out_folder``, with ``manifest.json``: the size and SHA-256 of each file.

    Raises:
        CourseError: no model of ours is in ``model_folder``, ``out_folder`` holds something else, the weights don't
            fit the dtype, or the disk is full. Nothing that was there has changed then.
    """
    model_folder, out_folder = Path(model_folder), Path(out_folder)
    model, tokenizer = open_any_folder(model_folder)
    chat = is_chat(model_folder)
    weights = cast(model, dtype)
    check_replaceable(out_folder)
    named = {exported: weights[ours] for ours, exported, _ in weight_names(model.config.n_layer)}
    with replacing(out_folder, needed=nbytes(weights)) as folder:
        folder.mkdir()
        artifacts.write_bytes(folder / "model.safetensors", save(named, metadata={"format": "pt"}))
        artifacts.write_json(folder / "config.json", huggingface_config(model.config, tokenizer, dtype, chat))
        artifacts.write_json(folder / "generation_config.json", _generation_config(model.config, tokenizer))
        files = save_tokenizer(tokenizer, folder) if chat else tokenizer.save(folder)
        tokenizer_config = artifacts.read_json(folder / "tokenizer_config.json")
        tokenizer_config["model_max_length"] = model.config.context_length
        if chat:
            tokenizer_config["response_template"] = RESPONSE_TEMPLATE
        artifacts.write_json(folder / "tokenizer_config.json", tokenizer_config)
        facts = recorded_facts(model_folder)
        artifacts.write_text(folder / "README.md", card(model, tokenizer, facts, dtype, chat))
        files += ["model.safetensors", "config.json", "generation_config.json", "README.md"]
        source = model_folder / "model.safetensors"
        made_from = artifacts.sha256(source) if source.is_file() else None  # other exports may have several files
        artifacts.finish(folder, files, exported="huggingface", dtype=dtype, made_from=made_from, facts=facts)
    return out_folder


def huggingface_config(config: GPTConfig, tokenizer: BPETokenizer, dtype: str, chat: bool) -> dict[str, Any]:
    """The content of ``config.json`` for ``Qwen3ForCausalLM``.

    The rotary base stands there twice, and so does the dtype: ``transformers`` 5 reads the one, what was written for
    version 4 (and llama.cpp's converter) the other.
    """
    special = tokenizer.special
    sizes = {**asdict(config), "head_dim": config.head_width}
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **{exported: sizes[ours] for ours, exported in SIZE_NAMES.items()},
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": config.n_layer,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": special["<|endoftext|>"],  # as in Qwen's own; none is put before a text
        "eos_token_id": special[END if chat else "<|endoftext|>"],
        "pad_token_id": special["<|pad|>"],
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def _generation_config(config: GPTConfig, tokenizer: BPETokenizer) -> dict[str, Any]:
    """Greedy, and an answer ends where ``chat/generation.py`` ends it: at any special token."""
    return {
        "do_sample": False,
        "max_new_tokens": min(MAX_NEW_TOKENS, config.context_length // 2),
        "bos_token_id": tokenizer.special["<|endoftext|>"],
        "eos_token_id": sorted(tokenizer.special.values()),
        "pad_token_id": tokenizer.special["<|pad|>"],
    }


# ---- reading


def open_any_folder(folder: str | Path) -> tuple[GPT, BPETokenizer]:
    """The model and the tokenizer of a folder of the course's own format or of the Hugging Face format, in float32.

    Raises:
        CourseError: it is neither, or it is damaged, or its two parts don't belong together.
    """
    folder = Path(folder)
    try:
        exported = "model_type" in read_json(folder / "config.json")
    except (OSError, ValueError, TypeError):
        exported = False  # to be told by open_model_folder
    if not exported:
        return open_model_folder(folder)
    check_manifest(folder)
    model = from_huggingface(folder)
    return model, tokenizer_of(folder, model)


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
    loaded = _read_weights(folder)
    head, embedding = loaded.pop("lm_head.weight", None), loaded.get("model.embed_tokens.weight")
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        raise CourseError(_lacks(folder, "an output head of its own", "one matrix for embedding and output"))
    if config.n_layer > len(loaded):
        raise CourseError(f"{relative(folder)} holds {len(loaded)} weights, too few for {config.n_layer:,} layers.")
    names = {other: ours for ours, other, _ in weight_names(config.n_layer)}
    if odd := sorted(names.keys() ^ loaded.keys()):
        what = "lacks the weight" if odd[0] in names else "has a weight that Dummy_Model doesn't know,"
        raise CourseError(f"{relative(folder)} {what} {odd[0]}{f' (and {len(odd) - 1} more)' * (len(odd) > 1)}.")
    with torch.device("meta"):  # shapes without memory: random weights would be replaced at once
        model = GPT(config)
    weights = {names[other]: weight.float() for other, weight in loaded.items()}
    for name, expected in model.state_dict().items():
        if weights[name].shape != expected.shape:
            found, expected_shape = tuple(weights[name].shape), tuple(expected.shape)
            raise CourseError(
                f"{relative(folder)}: {name} is {found}, and by its config.json it should be {expected_shape}."
            )
        if not bool(weights[name].isfinite().all()):
            raise CourseError(f"{relative(folder)}: {name} has a number that is infinite or none at all.")
    model.rotary = RotaryEmbedding(config.head_width, config.context_length, config.rope_theta)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _lacks(folder: Path, found: str, known: str) -> str:
    return f"{relative(folder)} has {found}, and Dummy_Model knows only {known}: it can't be read."


def _read_config(folder: Path, context_length: int | None) -> GPTConfig:
    """``config.json`` as our configuration, once it asks for nothing that ``Dummy_Model`` can't do."""
    path = folder / "config.json"
    if not path.is_file():
        raise MissingArtifact(f"Missing {relative(path)}: name a folder in the Hugging Face format.")
    try:
        config = read_json(path)
        _refuse_what_we_lack(folder, config)
        config = {**SIZES_UNSAID, **config}
        if config["num_key_value_heads"] is None:
            config["num_key_value_heads"] = config["num_attention_heads"]
        if config["head_dim"] is None:
            config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
        sizes = {ours: config[exported] for ours, exported in SIZE_NAMES.items()}
        for ours, size in sizes.items():
            if type(size) is not int or size < 1:
                raise ValueError(f"{SIZE_NAMES[ours]} is {size!r}, it must be a whole number")
        sizes["context_length"] = min(context_length or sizes["context_length"], sizes["context_length"])
        if sizes["head_dim"] * sizes["n_head"] == sizes["n_embd"]:
            sizes["head_dim"] = None  # what GPTConfig takes by itself
        theta = next(
            (t for t in (_rope(config).get("rope_theta"), config.get("rope_theta")) if t is not None), 10_000.0
        )
        return GPTConfig(**sizes, rope_theta=float(theta), norm_eps=float(config.get("rms_norm_eps", 1e-6)))
    except CourseError:
        raise
    except DAMAGED as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0].rstrip(".")
        raise CourseError(f"Damaged {relative(path)} ({reason}).") from None


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """What a configuration says of rotary positions: under their old name, which goes first, or their new one."""
    return config.get("rope_scaling") or config.get("rope_parameters") or {}


def _refuse_what_we_lack(folder: Path, config: dict[str, Any]) -> None:
    """Raises a CourseError for the first thing in a Qwen3 configuration that ``Dummy_Model`` has no part for."""
    kind, classes = config.get("model_type"), config.get("architectures") or ["Qwen3ForCausalLM"]
    if kind is None:
        raise CourseError(
            f"{relative(folder)} is not in the Hugging Face format (config.json names no model_type); "
            "a model folder of the course is opened with GPT.load."
        )
    if kind != "qwen3":
        raise CourseError(_lacks(folder, f"the layout {kind!r}", "'qwen3'"))
    if "Qwen3ForCausalLM" not in classes:
        raise CourseError(_lacks(folder, f"the head of a {classes[0]}", "Qwen3ForCausalLM"))
    rope = _rope(config)
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    sliding = config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or [])
    checks = [
        (rope_type != "default", f"rope scaling ({rope_type!r})", "plain rotary positions"),
        (any(isinstance(value, dict) for value in rope.values()), "positions by kind of layer", "one kind of layer"),
        (rope.get("partial_rotary_factor") not in (None, 1), "rotary positions on a part of each head", "whole heads"),
        (bool(sliding), "a sliding window", "full attention"),
        (config.get("attention_bias", False), "attention biases", "attention without them"),
        (
            config.get("hidden_act", "silu") not in ("silu", "swish"),
            f"the activation {config.get('hidden_act')!r}",
            "'silu'",
        ),
        (config.get("quantization_config") is not None, "quantized weights", "float32, float16 and bfloat16"),
        # Qwen3Config takes untied for granted where nothing is said.
        (not config.get("tie_word_embeddings", False), "untied embeddings", "one matrix for embedding and output"),
    ]
    for lacking, found, known in checks:
        if lacking:
            raise CourseError(_lacks(folder, found, known))


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
            return sorted(set(map(str, read_json(index)["weight_map"].values())))
        except DAMAGED:
            raise CourseError(f"Damaged {relative(index)}: it maps no weights to files.") from None
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise CourseError(
            f"{relative(folder)} has its weights only as a pickle, which can run any code when it is opened, so it "
            "isn't: look for a version with model.safetensors."
        )
    raise MissingArtifact(f"Missing {relative(folder / 'model.safetensors')}: there are no weights in that folder.")
