"""Finished models on disk: those that the course trained, and the one that comes with it, the model in the box."""

from pathlib import Path

import torch

import artifacts
import presets
from artifacts import CourseError, course_root, relative
from bpe_tokenizer import BPETokenizer
from Dummy_Model import GPT
from export.folders import check_manifest
from export.huggingface import from_huggingface

BOX = "box"  # the name of the model in the box, where others have their preset's


def box_folder() -> Path:
    """Where the model in the box lies: a folder in the Hugging Face format."""
    return course_root() / "7_Sampling" / "trained_model"


def on_best_device(model: GPT) -> GPT:
    """The model on a CUDA GPU if there is one, else on the CPU, ready to generate."""
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def open_model(folder: str | Path) -> tuple[GPT, BPETokenizer]:
    """The model and the tokenizer of a folder of the course's own format, or of the Hugging Face format.

    Where a ``manifest.json`` with hashes lies in the folder, its files are compared with it first.

    Raises:
        CourseError: there is no model, it is damaged, or its tokenizer belongs to another one.
    """
    folder = Path(folder)
    check_manifest(folder)
    tokenizer = BPETokenizer.load(folder)
    try:
        exported = "model_type" in artifacts.read_json(folder / "config.json")
        model = from_huggingface(folder) if exported else GPT.load(folder)
    except (OSError, ValueError, TypeError):
        raise CourseError(f"{relative(folder)} holds no readable model.") from None
    if model.config.vocab_size != tokenizer.vocab_size:
        raise CourseError(
            f"{relative(folder)}: the model knows {model.config.vocab_size} tokens, the tokenizer "
            f"{tokenizer.vocab_size}: they don't belong together."
        )
    return on_best_device(model), tokenizer


def load_model(preset_name: str, phase: str) -> tuple[GPT, BPETokenizer]:
    """The finished model of a phase ("pretrain" or "sft") and its tokenizer, ready to generate.

    Raises:
        CourseError: it is missing or damaged, or its tokenizer belongs to another one.
    """
    folder = artifacts.require(preset_name, phase) / "model"
    try:
        return open_model(folder)
    except CourseError as error:
        again = f"run the notebooks of {artifacts.MADE_BY[phase]} again"
        raise CourseError(f"{str(error).rstrip('.')}: {again}.") from None


def newest_chat() -> str:
    """The preset whose chat model was finished last, or "box" where none has been.

    Raises:
        CourseError: there is none, not even in the box.
    """
    root = artifacts.artifacts_root()
    manifests = {name: root / name / "sft" / "manifest.json" for name in presets.PRESETS}
    finished = {name: file.stat().st_mtime for name, file in manifests.items() if file.is_file()}
    if not finished and not (box_folder() / "model.safetensors").is_file():
        raise CourseError("There is no trained chat model yet: run the course first (python course.py run).")
    return max(finished, key=finished.get, default=BOX)
