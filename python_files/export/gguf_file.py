"""A trained model as one GGUF file, for llama.cpp and Ollama."""

import json
from pathlib import Path
from typing import Any

import torch

from artifacts import CourseError, relative
from bpe_tokenizer import PATTERN, SPECIAL_TOKENS, BPETokenizer, byte_stand_ins
from conversations.chat_format import CHAT_TEMPLATE, END, GENERATION
from Dummy_Model import GPTConfig
from export.folders import cast, is_chat, nbytes, replacing
from export.huggingface import open_any_folder, weight_names

# What llama.cpp calls the way of cutting text into words that ``bpe_tokenizer.PATTERN`` is.
GGUF_PRE_TOKENIZER = "qwen2"
GGUF_MAGIC = b"GGUF"


def to_gguf(model_folder: str | Path, out_file: str | Path, dtype: str = "float32") -> Path:
    """Writes a finished model as one GGUF file: weights, tokenizer and chat template, for llama.cpp and Ollama.

    llama.cpp has no counterpart to the normalizer that keeps a typed ``<|end|>`` apart from the mark (see
    ``chat_format.py``), so this file's template puts a space into such a spelling. Every other text gets our ids.

    Args:
        model_folder: of the course's own format or of the Hugging Face format.
        dtype: of the matrices. The few weights of the norms stay float32, since llama.cpp wants them so.

    Raises:
        CourseError: as ``to_huggingface``; or the tokenizer cuts words in a way of its own.
    """
    import gguf

    model_folder, out_file = Path(model_folder), Path(out_file)
    model, tokenizer = open_any_folder(model_folder)
    config, description = model.config, json.loads(tokenizer.to_json())
    if description["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] != PATTERN:
        raise CourseError(
            f"{relative(model_folder)}: its tokenizer cuts words in a way that llama.cpp has no name for."
        )
    weights = cast(model, dtype)
    if out_file.is_file():
        with open(out_file, "rb") as file:
            if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
                raise CourseError(f"{relative(out_file)} is there and is no GGUF file: choose another name.")
    elif out_file.exists():
        raise CourseError(f"{relative(out_file)} is a folder: choose another name.")
    with replacing(out_file, needed=nbytes(weights)) as file:
        writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN3])
        try:
            writer.add_name(out_file.stem)
            _add_shape(writer, config, dtype)
            _add_tokenizer(writer, tokenizer, description["model"], is_chat(model_folder))
            for ours, _, exported in weight_names(config.n_layer):
                weight = weights[ours] if weights[ours].ndim > 1 else model.state_dict()[ours]
                if weight.dtype == torch.bfloat16:  # numpy has no such type: the two bytes of each number as they are
                    raw = gguf.GGMLQuantizationType.BF16
                    writer.add_tensor(exported, weight.view(torch.uint8).numpy(), raw_dtype=raw)
                else:
                    writer.add_tensor(exported, weight.numpy())
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

    So no message can forge a turn there either, and the price is that space. The marks of what is learned go: Jinja
    doesn't know them without transformers, and llama-cpp-python would refuse the whole template.
    """
    escaped = "message['content'].replace('␛', '␛0').replace('<|', '␛1')"
    if escaped not in CHAT_TEMPLATE:
        raise ValueError("chat_format.CHAT_TEMPLATE has changed, and this function must follow it.")
    plain = "message['content']" + "".join(f".replace('{name}', '< {name[1:]}')" for name in SPECIAL_TOKENS)
    template = CHAT_TEMPLATE.replace(escaped, plain)
    for mark in GENERATION:
        template = template.replace(mark, "")
    return template
