"""Folders of models on disk: opening one for export, and replacing one whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

import artifacts
from artifacts import CourseError, MissingArtifact, relative
from bpe_tokenizer import BPETokenizer
from Dummy_Model import GPT

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SPARE_BYTES = 20_000_000  # room on the disk for all that isn't weights


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
            raise CourseError(
                f"{relative(folder)} is in the Hugging Face format ({foreign}): open it with from_huggingface."
            )
        model = GPT.load(folder).eval()
    except (ValueError, AttributeError, OSError):
        raise CourseError(
            f"{relative(folder)} holds no readable model of the course: name another folder, or make it again with "
            "the notebooks of 4_Pretraining or 6_SFT_Training."
        ) from None
    return model, tokenizer_of(folder, model)


def tokenizer_of(folder: Path, model: GPT) -> BPETokenizer:
    """The tokenizer of a model's folder.

    Raises:
        CourseError: there is none, it is damaged, or it belongs to another model.
    """
    tokenizer = BPETokenizer.load(folder)
    if model.config.vocab_size != tokenizer.vocab_size:
        raise CourseError(
            f"{relative(folder)}: the model knows {model.config.vocab_size} tokens and the tokenizer "
            f"{tokenizer.vocab_size}; they don't belong together."
        )
    return tokenizer


def check_manifest(folder: Path) -> None:
    """Compares the files of an exported folder with the hashes in its manifest, if it has one.

    Raises:
        CourseError: a file is missing or changed, or the manifest is damaged.
    """
    if not (folder / "manifest.json").is_file():
        return
    try:
        files = dict(artifacts.read_json(folder / "manifest.json")["files"])
        changed = [
            name
            for name, entry in files.items()
            if not (folder / name).is_file() or artifacts.sha256(folder / name) != entry["sha256"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CourseError(f"Damaged {relative(folder / 'manifest.json')}: get the folder's files again.") from None
    if changed:
        raise CourseError(f"{relative(folder / changed[0])} is missing or damaged: get the folder's files again.")


def is_chat(model_folder: Path) -> bool:
    """Whether a model folder holds a chat model: one with a chat template."""
    return (model_folder / "chat_template.jinja").is_file()


def cast(model: GPT, dtype: str) -> dict[str, Tensor]:
    """The weights by our names, in another number format.

    Raises:
        CourseError: there is no such format, or a weight isn't finite in it.
    """
    if dtype not in DTYPES:
        raise CourseError(f"Unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}.")
    weights = {name: value.detach().to(DTYPES[dtype]).contiguous() for name, value in model.state_dict().items()}
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise CourseError(
                f"{name} has a number that is infinite or none at all in {dtype}: choose another --dtype."
            )
    return weights


def nbytes(weights: dict[str, Tensor]) -> int:
    """The bytes that the weights take."""
    return sum(weight.nbytes for weight in weights.values())


def check_replaceable(folder: Path) -> None:
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


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def replacing(out: Path, needed: int) -> Iterator[Path]:
    """A path beside ``out`` to write to, a file or a folder. It takes its place at the end, or vanishes if that fails.

    Raises:
        CourseError: the disk has no room for ``needed`` bytes, or the system refuses to write.
    """
    out = out.resolve()
    temporary, old = out.with_name(f".{out.name}.tmp"), out.with_name(f".{out.name}.old")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < needed + SPARE_BYTES:
            raise CourseError(
                f"Not enough disk for {relative(out)}: {(needed + SPARE_BYTES) / 1e6:,.0f} MB needed, "
                f"{free / 1e6:,.0f} MB free. Free some, or take a shorter --dtype."
            )
        _remove(temporary)  # of a run that was killed
        yield temporary
        if out.is_dir():  # which os.replace can't replace: it steps aside, and comes back if that fails
            _remove(old)
            os.rename(out, old)
        try:
            os.rename(temporary, out) if old.exists() else os.replace(temporary, out)
        except OSError:
            if old.exists():
                os.rename(old, out)
            raise
        _remove(old)
    except OSError as error:
        raise CourseError(f"Can't write {relative(out)} ({error.strerror or error}): nothing was changed.") from None
    finally:
        _remove(temporary)
