"""A trained model for other programs: as a Hugging Face folder, and as a GGUF file for llama.cpp and Ollama.

    python python_files/export.py artifacts/tiny/sft/model my_model [--dtype bfloat16] [--gguf my_model.gguf]

The way back, ``from_huggingface``, is in ``qwen3_folder.py`` with the names that weights have elsewhere.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

import artifacts
from artifacts import CourseError, MissingArtifact, relative
from bpe_tokenizer import PATTERN, SPECIAL_TOKENS, BPETokenizer, byte_stand_ins
from chat_format import CHAT_TEMPLATE, END, save_tokenizer
from decoding import Settings
from Dummy_Model import GPT, GPTConfig
from model_card import card, recorded_facts
from qwen3_folder import SIZE_NAMES, WEIGHT_NAMES, from_huggingface, weight_names

# What a borrower finds here, wherever it is written.
__all__ = ["DTYPES", "WEIGHT_NAMES", "from_huggingface", "open_model_folder", "to_gguf", "to_huggingface"]
__all__ += ["weight_names"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SPARE_BYTES = 20_000_000  # room on the disk for all that isn't weights

# What llama.cpp calls the way of cutting text into words that ``bpe_tokenizer.PATTERN`` is.
GGUF_PRE_TOKENIZER = "qwen2"
GGUF_MAGIC = b"GGUF"


# ---- writing


def to_huggingface(model_folder: str | Path, out_folder: str | Path, dtype: str = "float32") -> Path:
    """Writes a finished model as the folder that ``transformers`` opens: ``AutoModelForCausalLM``, ``AutoTokenizer``.

    The folder appears whole or not at all. An earlier export in its place is replaced once the new one is on disk.

    Args:
        model_folder: what ``GPT.save`` and the tokenizer's ``save`` left, such as ``artifacts/tiny/sft/model``.
        dtype: of the stored weights. "float16" and "bfloat16" halve the file and round the weights.

    Returns:
        ``out_folder``, with ``manifest.json``: the size and SHA-256 of each file.

    Raises:
        CourseError: no model of ours is in ``model_folder``, ``out_folder`` holds something else, the weights don't
            fit the dtype, or the disk is full. Nothing that was there has changed then.
    """
    model_folder, out_folder = Path(model_folder), Path(out_folder)
    model, tokenizer = open_model_folder(model_folder)
    chat = _is_chat(model_folder)
    weights = _cast(model, dtype)
    _check_replaceable(out_folder)
    named = {theirs: weights[ours] for ours, theirs, _ in weight_names(model.config.n_layer)}
    with _new_folder(out_folder, needed=_nbytes(weights)) as folder:
        artifacts.write_bytes(folder / "model.safetensors", save(named, metadata={"format": "pt"}))
        artifacts.write_json(folder / "config.json", huggingface_config(model.config, tokenizer, dtype, chat))
        artifacts.write_json(folder / "generation_config.json", _generation_config(model.config, tokenizer))
        files = save_tokenizer(tokenizer, folder) if chat else tokenizer.save(folder)
        told = artifacts.read_json(folder / "tokenizer_config.json")
        artifacts.write_json(
            folder / "tokenizer_config.json", {**told, "model_max_length": model.config.context_length}
        )
        facts = recorded_facts(model_folder)
        artifacts.write_text(folder / "README.md", card(model, tokenizer, facts, dtype, chat))
        files += ["model.safetensors", "config.json", "generation_config.json", "README.md"]
        made_from = artifacts.sha256(model_folder / "model.safetensors")
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
        **{theirs: sizes[ours] for ours, theirs in SIZE_NAMES.items()},
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
    """Greedy, and an answer ends where ``sampling.py`` ends it: at any special token."""
    return {
        "do_sample": False,
        "max_new_tokens": min(Settings().max_new_tokens, config.context_length // 2),
        "bos_token_id": tokenizer.special["<|endoftext|>"],
        "eos_token_id": sorted(tokenizer.special.values()),
        "pad_token_id": tokenizer.special["<|pad|>"],
    }


def to_gguf(model_folder: str | Path, out_file: str | Path, dtype: str = "float32") -> Path:
    """Writes a finished model as one GGUF file: weights, tokenizer and chat template, for llama.cpp and Ollama.

    llama.cpp has no counterpart to the normalizer that keeps a typed ``<|end|>`` apart from the mark (see
    ``chat_format.py``), so this file's template puts a space into such a spelling. Every other text gets our ids.

    Args:
        dtype: of the matrices. The few weights of the norms stay float32, since llama.cpp wants them so.

    Raises:
        CourseError: as ``to_huggingface``; or the tokenizer cuts words in a way of its own.
    """
    import gguf

    model_folder, out_file = Path(model_folder), Path(out_file)
    model, tokenizer = open_model_folder(model_folder)
    config, description = model.config, json.loads(tokenizer.to_json())
    if description["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] != PATTERN:
        raise CourseError(
            f"{relative(model_folder)}: its tokenizer cuts words in a way that llama.cpp has no name for."
        )
    weights = _cast(model, dtype)
    with _new_file(out_file, needed=_nbytes(weights)) as file:
        writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN3])
        try:
            writer.add_name(out_file.stem)
            _add_shape(writer, config, dtype)
            _add_tokenizer(writer, tokenizer, description["model"], _is_chat(model_folder))
            for ours, _, theirs in weight_names(config.n_layer):
                weight = weights[ours] if weights[ours].ndim > 1 else model.state_dict()[ours]
                if weight.dtype == torch.bfloat16:  # numpy has no such type: the two bytes of each number as they are
                    raw = gguf.GGMLQuantizationType.BF16
                    writer.add_tensor(theirs, weight.view(torch.uint8).numpy(), raw_dtype=raw)
                else:
                    writer.add_tensor(theirs, weight.numpy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
    return out_file


def _add_shape(writer: Any, config: GPTConfig, dtype: str) -> None:
    """The sizes of the model into a ``gguf.GGUFWriter``."""
    import gguf

    kinds = gguf.LlamaFileType
    kind = {"float32": kinds.ALL_F32, "float16": kinds.MOSTLY_F16, "bfloat16": kinds.MOSTLY_BF16}[dtype]
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(kind)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.context_length)
    writer.add_block_count(config.n_layer)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_hidden)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_kv_head)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)


def _add_tokenizer(writer: Any, tokenizer: BPETokenizer, bpe: dict[str, Any], chat: bool) -> None:
    """Vocabulary, merges, special tokens and chat template into a ``gguf.GGUFWriter``."""
    import gguf

    special, stand_ins = tokenizer.special, byte_stand_ins()
    tokens = list(SPECIAL_TOKENS)
    ordinary = range(len(special), tokenizer.vocab_size)
    tokens += ["".join(stand_ins[byte] for byte in tokenizer.token_bytes(id)) for id in ordinary]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(GGUF_PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(special) + [gguf.TokenType.NORMAL] * len(ordinary))
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in bpe["merges"]])
    writer.add_bos_token_id(special["<|endoftext|>"])
    writer.add_eos_token_id(special[END if chat else "<|endoftext|>"])
    writer.add_eot_token_id(special[END])
    writer.add_pad_token_id(special["<|pad|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if chat:
        writer.add_chat_template(plain_chat_template())


def plain_chat_template() -> str:
    """The chat template for programs without our normalizer: a spelled special token gets a space, ``< |end|>``.

    So no message can forge a turn there either, and the price is that space.
    """
    escaped = "message['content'].replace('␛', '␛0').replace('<|', '␛1')"
    if escaped not in CHAT_TEMPLATE:
        raise ValueError("chat_format.CHAT_TEMPLATE has changed, and this function must follow it.")
    plain = "message['content']" + "".join(f".replace('{name}', '< {name[1:]}')" for name in SPECIAL_TOKENS)
    return CHAT_TEMPLATE.replace(escaped, plain)


# ---- reading


def open_model_folder(folder: str | Path) -> tuple[GPT, BPETokenizer]:
    """The model and the tokenizer of a finished model folder of the course, on the CPU in float32.

    Raises:
        CourseError: it isn't one, or it is damaged, or its two parts don't belong together.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise MissingArtifact(
            f"Missing {relative(folder / 'config.json')}: name the folder of a finished model, "
            "such as artifacts/tiny/sft/model."
        )
    try:
        foreign = artifacts.read_json(folder / "config.json").get("model_type")
        if foreign is not None:
            raise CourseError(f"{relative(folder)} is in the Hugging Face format ({foreign}) already.")
        model = GPT.load(folder).eval()
    except (ValueError, AttributeError, OSError):
        raise CourseError(
            f"{relative(folder)} holds no readable model of the course: name another folder, or make it again with "
            "the notebooks of 4_Pretraining or 6_SFT_Training."
        ) from None
    tokenizer = BPETokenizer.load(folder)
    if model.config.vocab_size != tokenizer.vocab_size:
        raise CourseError(
            f"{relative(folder)}: the model knows {model.config.vocab_size} tokens and the tokenizer "
            f"{tokenizer.vocab_size}; they don't belong together."
        )
    return model, tokenizer


def _is_chat(model_folder: Path) -> bool:
    return (model_folder / "chat_template.jinja").is_file()


def _cast(model: GPT, dtype: str) -> dict[str, Tensor]:
    """The weights by our names, in another number format."""
    if dtype not in DTYPES:
        raise CourseError(f"Unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}.")
    weights = {name: value.detach().to(DTYPES[dtype]).contiguous() for name, value in model.state_dict().items()}
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise CourseError(
                f"{name} has a number that is infinite or none at all in {dtype}: choose another --dtype."
            )
    return weights


def _nbytes(weights: dict[str, Tensor]) -> int:
    return sum(weight.nbytes for weight in weights.values())


# ---- appearing whole or not at all


def _check_replaceable(folder: Path) -> None:
    """Raises a CourseError unless ``folder`` is absent, empty, or an earlier export that nobody has touched since."""
    if not folder.exists():
        return
    where, advice = relative(folder), "choose another folder for the export, or delete it first"
    if not folder.is_dir():
        raise CourseError(f"{where} is a file: {advice}.")
    found = sorted(path.name for path in folder.iterdir())
    if not found:
        return
    try:
        manifest = artifacts.read_json(folder / "manifest.json")
        ours = dict(manifest["files"]) if manifest["exported"] == "huggingface" else {}
    except (OSError, ValueError, KeyError, TypeError):
        ours = {}
    for name in found:
        if name != "manifest.json" and (name not in ours or artifacts.sha256(folder / name) != ours[name]["sha256"]):
            raise CourseError(f"{where} holds {name}, which no export wrote or somebody changed since: {advice}.")


@contextmanager
def _told_plainly(out: Path, needed: int) -> Iterator[None]:
    """Checks that the disk has room beside ``out``, and says in one line what the system says in a traceback."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < needed + SPARE_BYTES:
            raise CourseError(
                f"Not enough disk for {relative(out)}: {(needed + SPARE_BYTES) / 1e6:,.0f} MB needed, "
                f"{free / 1e6:,.0f} MB free. Free some, or take a shorter --dtype."
            )
        yield
    except OSError as error:
        raise CourseError(f"Can't write {relative(out)} ({error.strerror or error}): nothing was changed.") from None


@contextmanager
def _new_folder(out: Path, needed: int) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``out`` at the end, and vanishes if anything fails."""
    out = out.resolve()
    temporary, old = out.with_name(f".{out.name}.tmp"), out.with_name(f".{out.name}.old")
    with _told_plainly(out, needed):
        if old.exists() and not out.exists():  # somebody pulled the plug between the two renames below
            os.rename(old, out)
        shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        temporary.mkdir()
        try:
            yield temporary
            shutil.rmtree(old, ignore_errors=True)
            if out.exists():
                os.rename(out, old)
            try:
                os.rename(temporary, out)
            except OSError:
                if old.exists():
                    os.rename(old, out)
                raise
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _new_file(out: Path, needed: int) -> Iterator[Path]:
    """A file to write, which takes the place of ``out`` at the end, and vanishes if anything fails."""
    temporary = out.with_name(f".{out.name}.tmp")
    with _told_plainly(out, needed):
        if out.exists():
            with open(out, "rb") as file:  # a folder is an OSError, which is told plainly
                if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
                    raise CourseError(f"{relative(out)} is there and is no GGUF file: choose another name.")
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, out)
        finally:
            temporary.unlink(missing_ok=True)


# ---- the command line


def main(arguments: list[str] | None = None) -> int:
    """Exports one model. Returns the exit status: 0, or 1 with one line that says what was wrong."""
    parser = argparse.ArgumentParser(description="Write a trained model in the formats that other programs read.")
    parser.add_argument("model_folder", type=Path, help="a finished model, such as artifacts/tiny/sft/model")
    parser.add_argument("out_folder", type=Path, help="the Hugging Face folder to write")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="the number format of the weights")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="also write a GGUF file, for llama.cpp and Ollama")
    options = parser.parse_args(arguments)
    try:
        made = [*to_huggingface(options.model_folder, options.out_folder, options.dtype).iterdir()]
        if options.gguf:
            made.append(to_gguf(options.model_folder, options.gguf, options.dtype))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    for path in sorted(made):
        print(f"{path.stat().st_size:>13,} bytes  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
