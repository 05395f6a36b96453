"""The model in the box: a chat model that comes with the course, for where nothing has been trained yet.

``7_Sampling/trained_model/`` is an exported model folder (the chat model of a run at ``night``), which ``transformers``
opens as it is. For the course it is unpacked into ``artifacts/box/``, laid out like the artifacts of a preset, so that
phase 7 and the chat work on a fresh clone:

- ``sft``: the chat model,
- ``pretrain``: the same model again, in place of the one that had only read books (it isn't in the box),
- ``books``: the books of the course's packages, of which this model has read none,
- ``sft_data``: the exam of phase 5, its questions about books drawn from those.
"""

from pathlib import Path

import artifacts
from artifacts import CourseError, phase_folder, read_json, relative
from books import sources
from books.shards import prepare_books
from bpe_tokenizer import BPETokenizer
from chat import models
from chat.models import BOX
from conversations import mix
from conversations.chat_format import save_tokenizer
from conversations.drill_sets import question_lines
from export.huggingface import from_huggingface
from presets import PRESETS

SPARE_BYTES = 5_000_000  # room on the disk for all that isn't weights
PER_KIND = 40  # questions of each kind and side in the exam, as in phase 5


def choose(preset: str) -> str:
    """Whose artifacts phase 7 should use: the preset's own, or "box" where none of its models has been begun.

    In the second case everything that the box stands for is made, which takes some seconds the first time.

    Raises:
        CourseError: the box is damaged, or there is no room for it.
    """
    places = [artifacts.artifacts_root() / preset / phase for phase in ("pretrain", "sft")]
    begun = any(any(place.glob("*")) for place in places)  # an empty folder is left by looking into it too early
    if begun or not (models.box_folder() / "model.safetensors").is_file():
        return preset
    print(f"No model of the preset {preset} has been trained here yet: this is the model in the box.")
    unpack()
    make_exam()
    return BOX


def unpack() -> Path:
    """Unpacks the model into ``artifacts/box/``, unless it is there; returns the folder of the chat model.

    Raises:
        CourseError: the box is damaged, or can't be unpacked.
    """
    box = models.box_folder()
    stored = [box / name for name in ("model.safetensors", "tokenizer.json")]
    made_from = " ".join(artifacts.sha256(path) for path in stored if path.is_file())
    places = {phase: phase_folder(BOX, phase) for phase in ("sft", "pretrain")}
    if all(_is_from(folder, made_from) for folder in places.values()):
        return places["sft"] / "model"
    models.check_manifest(box)
    try:
        manifest = read_json(box / "manifest.json")
        facts, known = dict(manifest["facts"]), "model.safetensors" in manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise CourseError(f"Damaged {relative(box / 'manifest.json')}: get the folder's files again.")
    model, tokenizer = from_huggingface(box), BPETokenizer.load(box)
    for phase, folder in places.items():
        artifacts.check_disk(folder, 4 * model.config.n_parameters + SPARE_BYTES)
        artifacts.begin(folder)
        model.save(folder / "model")
        names = [*save_tokenizer(tokenizer, folder / "model"), "config.json", "model.safetensors"]
        recorded = facts if phase == "sft" else {"stands_in": True}
        artifacts.finish(folder, [f"model/{name}" for name in names], made_from=made_from, **recorded)
    return places["sft"] / "model"


def make_exam() -> Path:
    """Prepares the packages' books and the exam's questions for the model in the box, unless they are there.

    Returns:
        the folder with ``heldout_known.jsonl``, ``heldout_unseen.jsonl`` and ``heldout_phrasing.jsonl``.
    """
    tokenizer, seed = BPETokenizer.load(models.box_folder()), PRESETS["tiny"].seed
    books, exam = phase_folder(BOX, "books"), phase_folder(BOX, "sft_data")
    if not _is_from(books, tokenizer.fingerprint):
        prepare_books(sources.open_source("packaged"), tokenizer, books, seed=seed)
    if not _is_from(exam, tokenizer.fingerprint):
        artifacts.begin(exam)
        held_out = mix.held_out_exam(books, tokenizer, PRESETS["tiny"].few(PER_KIND), seed)
        for split, questions in held_out.items():
            artifacts.write_text(exam / f"heldout_{split}.jsonl", question_lines(questions))
        files = [f"heldout_{split}.jsonl" for split in held_out]
        artifacts.finish(exam, files, tokenizer=tokenizer.fingerprint, seed=seed)
    return exam


def _is_from(folder: Path, origin: str) -> bool:
    """Whether a folder of ``artifacts/box/`` is finished and was made from these weights or this tokenizer."""
    try:
        manifest = read_json(folder / "manifest.json")
        there = all((folder / name).is_file() for name in manifest["files"])
        return there and origin in (manifest.get("made_from"), manifest.get("tokenizer"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
