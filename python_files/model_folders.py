"""Finished models on disk: which there are, and loading one together with its tokenizer."""

import torch

import artifacts
import presets
import trained_model
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from Dummy_Model import GPT


def load_model(preset_name: str, phase: str) -> tuple[GPT, BPETokenizer]:
    """The finished model of a phase ("pretrain" or "sft") and its tokenizer, ready to generate.

    Raises:
        CourseError: it is missing or damaged, or its tokenizer is another one's.
    """
    folder = artifacts.require(preset_name, phase) / "model"
    tokenizer = BPETokenizer.load(folder)
    try:
        model = GPT.load(folder)
    except ValueError:
        where = f"{artifacts.relative(folder)} holds no readable model"
        raise CourseError(f"{where}: run the notebooks of {artifacts.MADE_BY[phase]} again.") from None
    if model.config.vocab_size != tokenizer.vocab_size:
        raise CourseError(
            f"{artifacts.relative(folder)}: the model knows {model.config.vocab_size} tokens, the tokenizer "
            f"{tokenizer.vocab_size}: run the notebooks of {artifacts.MADE_BY[phase]} again."
        )
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def load_chat(preset_name: str | None = None) -> tuple[GPT, BPETokenizer, str]:
    """The chat model of a preset, or the newest of all; returns model, tokenizer and the preset's name.

    Where none has been trained yet it is the model in the box, and the name is "box".

    Raises:
        CourseError: there is none, or it is damaged.
    """
    if preset_name is None:
        root = artifacts.artifacts_root()
        made = {name: root / name / "sft" / "manifest.json" for name in presets.PRESETS}
        made = {name: file.stat().st_mtime for name, file in made.items() if file.is_file()}
        if not made and not (trained_model.box_folder() / "model.safetensors").is_file():
            raise CourseError("There is no trained chat model yet: run the course first (python course.py run).")
        preset_name = max(made, key=made.get, default=trained_model.BOX)
    if preset_name == trained_model.BOX:
        trained_model.unpack()
    return *load_model(preset_name, "sft"), preset_name
