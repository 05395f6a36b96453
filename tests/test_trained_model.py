"""The model in the box: what a fresh clone talks to, and what phase 7 runs on where nothing has been trained."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from small_chat import CONTEXT, save_model, small_model, small_tokenizer
from small_export import write_model

import artifacts
from artifacts import CourseError
from chat import models
from chat.models import load_model
from chat.session import load_chat
from conversations import chat_format, drill_sets, drills
from course_kit import trained_model
from Dummy_Model import GPT
from evaluation import answers
from export import huggingface

LARGEST = 40_000_000


@pytest.fixture
def box(tmp_path, monkeypatch) -> Path:
    """A small model in the box's place."""
    tokenizer = small_tokenizer()
    source = write_model(small_model(tokenizer), tokenizer, tmp_path / "source")
    folder = huggingface.to_huggingface(source, tmp_path / "box", "bfloat16")
    monkeypatch.setattr(models, "box_folder", lambda: folder)
    return folder


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# ---- unpacking


def test_the_box_is_unpacked_once_and_holds_the_exported_weights(box, shelf):
    folder = trained_model.unpack()
    made = times(shelf / "box")
    assert trained_model.unpack() == folder and times(shelf / "box") == made
    model, tokenizer = load_model("box", "sft")
    exported = huggingface.from_huggingface(box)
    assert all(torch.equal(a, b) for a, b in zip(model.cpu().parameters(), exported.parameters(), strict=True))
    base, base_tokenizer = load_model("box", "pretrain")
    assert base_tokenizer.fingerprint == tokenizer.fingerprint
    assert artifacts.read_manifest("box", "pretrain")["stands_in"]
    assert "stands_in" not in artifacts.read_manifest("box", "sft")
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), model.parameters(), strict=True))


def test_another_model_in_the_box_replaces_what_was_unpacked(box, shelf, tmp_path):
    trained_model.unpack()
    tokenizer = small_tokenizer()
    other = small_model(tokenizer, endless=True)
    huggingface.to_huggingface(write_model(other, tokenizer, tmp_path / "other"), box, "bfloat16")
    trained_model.unpack()
    weight = load_model("box", "sft")[0].embedding.weight.cpu()
    assert torch.equal(weight, other.embedding.weight.bfloat16().float())


@pytest.mark.parametrize("told", [None, "[]", "{}", '{"files": {}, "facts": {}}', '{"files": {}, "facts": []}'])
def test_a_box_whose_manifest_is_damaged_is_one_line(box, shelf, told):
    (box / "manifest.json").unlink()
    if told is not None:
        (box / "manifest.json").write_text(told, encoding="utf-8")
    with pytest.raises(CourseError, match=r"Damaged .*manifest\.json: get the folder's files again") as caught:
        trained_model.unpack()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", ["[]", "null", "{}", '{"files": 3}'])
def test_an_unpacked_model_whose_manifest_is_damaged_is_unpacked_again(box, shelf, told):
    manifest = trained_model.unpack().parent / "manifest.json"
    manifest.write_text(told, encoding="utf-8")
    trained_model.unpack()
    assert json.loads(manifest.read_text(encoding="utf-8"))["made_from"]


def test_another_tokenizer_in_the_box_is_unpacked_too(box, shelf):
    unpacked = trained_model.unpack() / "tokenizer.json"
    before = unpacked.stat().st_mtime_ns
    told = json.loads((box / "manifest.json").read_text(encoding="utf-8"))
    (box / "tokenizer.json").write_text((box / "tokenizer.json").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    told["files"]["tokenizer.json"]["sha256"] = artifacts.sha256(box / "tokenizer.json")
    (box / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    trained_model.unpack()
    assert unpacked.stat().st_mtime_ns > before


def test_an_unpacking_that_was_cut_short_is_done_again(box, shelf):
    folder = trained_model.unpack()
    (folder / "model.safetensors").unlink()
    trained_model.unpack()
    assert GPT.load(folder).config.context_length == CONTEXT


def test_a_damaged_box_is_one_line(box, shelf):
    (box / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CourseError, match=r"model\.safetensors is missing or damaged: get the folder's files again\.$"):
        trained_model.unpack()
    for text in ("{", ""):
        (box / "manifest.json").write_text(text)
        with pytest.raises(CourseError, match=r"^Damaged .*manifest\.json: get the folder's files again\.$"):
            trained_model.unpack()


# ---- whose model


def test_the_box_serves_where_nothing_was_begun_and_nowhere_else(box, shelf, capsys, monkeypatch):
    monkeypatch.setattr(trained_model, "make_exam", lambda: None)
    (shelf / "tiny" / "tokenizer").mkdir(parents=True)
    assert trained_model.choose("tiny") == "box"
    assert capsys.readouterr().out.count("\n") == 1
    (shelf / "tiny" / "pretrain").mkdir()  # no more than looked into
    assert trained_model.choose("tiny") == "box"
    (shelf / "tiny" / "pretrain" / "log.csv").write_text("step")  # begun: what is missing shall be said, not covered up
    assert trained_model.choose("tiny") == "tiny" and trained_model.choose("cpu") == "box"


def test_without_a_box_the_preset_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "box_folder", lambda: tmp_path / "none")
    assert trained_model.choose("tiny") == "tiny"


def test_chat_takes_ones_own_model_before_the_box(box, shelf):
    assert load_chat()[2] == "box"
    own = small_model(small_tokenizer())
    save_model(own, small_tokenizer(), "tiny")
    assert load_chat()[2] == "tiny"


# ---- what lies in the box


def test_the_committed_box_is_whole_and_light():
    folder = models.box_folder()
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert set(told["files"]) | {"manifest.json"} == {path.name for path in folder.iterdir()}
    for name, entry in told["files"].items():
        assert artifacts.sha256(folder / name) == entry["sha256"], name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST
    assert told["dtype"] in ("bfloat16", "float16")


def test_transformers_opens_the_committed_box_and_agrees():
    transformers = pytest.importorskip("transformers")
    folder = models.box_folder()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    trained_model.unpack()
    model, tokenizer = load_model("box", "sft")
    messages = [{"role": "user", "content": "Anna put the lamp under the stairs. Where is the lamp?"}]
    ids = chat_format.prompt_ids(messages, tokenizer)
    assert their_tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] == ids
    with torch.inference_mode():
        ours = model.cpu()(torch.tensor([ids]))
        assert torch.allclose(ours, theirs(torch.tensor([ids])).logits, atol=1e-3)


def test_the_committed_model_answers_questions_about_words_it_never_saw():
    trained_model.unpack()
    model, tokenizer = load_model("box", "sft")
    asked = [q for q in drill_sets.held_out_questions("unseen", 8, 7) if q.kind in drills.PASSAGE_KINDS]
    rows = answers.answers(model, tokenizer, asked)
    assert sum(row.correct for row in rows) / len(rows) > 0.6


def test_its_exam_has_all_kinds_from_books_that_it_never_read():
    exam = trained_model.make_exam()
    made = times(exam)
    for split in drill_sets.SPLITS:
        kinds = {q.kind for q in answers.read_questions(exam / f"heldout_{split}.jsonl")}
        assert kinds == set(drills.KINDS)
    assert times(trained_model.make_exam()) == made
    assert artifacts.require("box", "sft_data") == exam and artifacts.require("box", "books").is_dir()


def test_chat_answers_in_a_clone_where_nothing_was_trained(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "course.py"), "chat"],
        input="Anna put the lamp under the stairs. Where is the lamp?\n/quit\n",
        env={**kept, "COURSE_ARTIFACTS": str(tmp_path / "none"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "comes with the course" in done.stdout and "under the stairs" in done.stdout.split("> ")[1].lower()
    assert time.monotonic() - started < 60
