"""The model in the box: a chat model that comes with the course, for where nothing has been trained yet.

``7_Sampling/trained_model/`` is an exported model folder (the chat model of a run at ``cpu``), which ``transformers``
opens as it is. For the course it is unpacked into ``artifacts/box/``, laid out like the artifacts of a preset, so that
phase 7 and the chat work on a fresh clone:

- ``sft``: the chat model,
- ``pretrain``: the same model again, in place of the one that had only read books (it isn't in the box),
- ``books``: the books of the course's packages, of which this model has read none,
- ``sft_data``: the exam of phase 5, its questions about books drawn from those.
"""

from pathlib import Path

import artifacts
import gutenberg
import sft_mix
from artifacts import course_root, phase_folder, read_json
from book_shards import prepare_books
from bpe_tokenizer import BPETokenizer
from chat_format import save_tokenizer
from presets import PRESETS
from qwen3_folder import from_huggingface
from sft_pictures import question_lines

BOX = "box"  # takes the place of a preset's name
TRAINED_AT = "cpu"
PER_KIND = 40  # questions of each kind and side in the exam, as in phase 5


def box_folder() -> Path:
    """Where the model lies in the course's folder."""
    return course_root() / "7_Sampling" / "trained_model"


def settings_of(name: str) -> str:
    """The preset whose settings suit a model: its own, or for the model in the box that at which it was trained."""
    return TRAINED_AT if name == BOX else name


def choose(preset: str) -> str:
    """Whose artifacts phase 7 shall use: the preset's own, or "box" where none of its models has been begun.

    In the second case everything that the box stands for is made, which takes some seconds the first time.

    Raises:
        CourseError: the box is damaged, or there is no room for it.
    """
    places = [artifacts.artifacts_root() / preset / phase for phase in ("pretrain", "sft")]
    begun = any(any(place.glob("*")) for place in places)  # an empty folder is left by looking into it too early
    if begun or not (box_folder() / "model.safetensors").is_file():
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
    made_from, told = artifacts.sha256(box_folder() / "model.safetensors"), read_json(box_folder() / "manifest.json")
    for phase in ("sft", "pretrain"):
        folder = phase_folder(BOX, phase)
        if not _is_from(folder, made_from):
            artifacts.begin(folder)
            from_huggingface(box_folder()).save(folder / "model")
            names = save_tokenizer(BPETokenizer.load(box_folder()), folder / "model")
            files = [f"model/{name}" for name in [*names, "config.json", "model.safetensors"]]
            facts = told.get("facts", {}) if phase == "sft" else {"stands_in": True}
            artifacts.finish(folder, files, made_from=made_from, **facts)
    return phase_folder(BOX, "sft") / "model"


def make_exam() -> Path:
    """Prepares the packages' books and the exam's questions for the model in the box, unless they are there.

    Returns:
        the folder with ``heldout_known.jsonl``, ``heldout_unseen.jsonl`` and ``heldout_phrasing.jsonl``.
    """
    tokenizer, seed = BPETokenizer.load(box_folder()), PRESETS["tiny"].seed
    books, exam = phase_folder(BOX, "books"), phase_folder(BOX, "sft_data")
    if not _is_from(books, tokenizer.fingerprint):
        prepare_books(gutenberg.open_source("packaged"), tokenizer, books, seed=seed)
    if not _is_from(exam, tokenizer.fingerprint):
        artifacts.begin(exam)
        held_out = sft_mix.held_out_exam(books, tokenizer, PER_KIND, seed)
        for split, questions in held_out.items():
            artifacts.write_text(exam / f"heldout_{split}.jsonl", question_lines(questions))
        files = [f"heldout_{split}.jsonl" for split in held_out]
        artifacts.finish(exam, files, tokenizer=tokenizer.fingerprint, seed=seed)
    return exam


def _is_from(folder: Path, origin: str) -> bool:
    """Whether a folder of ``artifacts/box/`` is finished and was made from these weights or this tokenizer."""
    try:
        told = read_json(folder / "manifest.json")
    except (OSError, ValueError):
        return False
    return origin in (told.get("made_from"), told.get("tokenizer")) and not [
        name for name in told["files"] if not (folder / name).is_file()
    ]
