"""A rehearsal: what it runs with, what it measures, and what follows from that for the real run."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from test_course import command, one_line, toy  # noqa: F401 (fixtures)

import artifacts
import presets
from artifacts import CourseError
from course_kit import doctor, rehearsal
from presets import PRESETS, rehearse

SHOW = "print(preset.name, preset.size, preset.books, preset.n_layer, preset.vocab_size, preset.pretrain_batch)"


def test_a_rehearsal_runs_into_a_folder_of_its_own_and_leaves_the_presets_alone(course, toy, tmp_path):  # noqa: F811
    toy("1_Tokenizer", "1_page.ipynb", SHOW, "held = bytearray(300_000_000)\nimport time; time.sleep(2)")
    root = tmp_path / "artifacts"
    (root / "cpu-rehearsal" / "pretrain").mkdir(parents=True)
    (root / "cpu-rehearsal" / "pretrain" / "of_the_last_rehearsal").touch()
    (root / "cpu").mkdir()
    (root / "cpu" / "kept").touch()
    done = course("run", "--preset", "cpu", "--rehearse", root=toy.root, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    assert "The hub can't be reached: the books of the packages serve for the rehearsal." in done.stdout
    executed = nbformat.read(root / "cpu-rehearsal/notebooks/1_Tokenizer/1_page.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].text == "cpu-rehearsal cpu packaged 6 8192 8\n"
    assert [path.name for path in (root / "cpu").iterdir()] == ["kept"]
    assert not (root / "cpu-rehearsal" / "pretrain").exists(), "a rehearsal begins afresh"
    (peak,) = json.loads((root / "cpu-rehearsal/notebooks/peaks.json").read_text(encoding="utf-8")).values()
    assert 340e6 < peak < 1e9, "the memory of the notebook's process, at its most"
    again = course("run", "--preset", "cpu", "--rehearse", "--only", "2", root=toy.root)
    one_line(again, 2, "unknown phase '2'")
    assert (root / "cpu-rehearsal/notebooks/peaks.json").exists(), "nothing goes where nothing will run"


def test_without_the_hub_packaged_books_serve_and_with_it_its_own(monkeypatch, capsys):
    for name, answers, found in (("cpu", False, "packaged"), ("cpu", True, None), ("tiny", False, None)):
        monkeypatch.delenv("COURSE_BOOKS", raising=False)
        monkeypatch.setattr(rehearsal, "hub_answers", lambda answers=answers: answers)
        rehearsal.prepare(name)
        assert os.environ.get("COURSE_BOOKS") == found, (name, answers)
        assert ("hub can't be reached" in capsys.readouterr().out) == (found is not None)
    monkeypatch.setenv("COURSE_BOOKS", "/my/books")
    monkeypatch.setattr(rehearsal, "hub_answers", lambda: pytest.fail("the reader's own books need no hub"))
    rehearsal.prepare("full")


def test_whether_the_hub_answers(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not rehearsal.hub_answers()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    assert not rehearsal.hub_answers()
    refusal = rehearsal.urllib.error.HTTPError("http://hub", 404, "no such page", None, None)

    def refuse(*arguments, **options):
        raise refusal

    monkeypatch.setattr(rehearsal.urllib.request, "urlopen", refuse)
    assert rehearsal.hub_answers()


LOG = """step,tokens,loss,val_loss,lr,grad_norm,seconds,score
1,100,9.0,,0.1,1.0,30.0,
2,200,8.9,8.8,0.1,1.0,35.0,
3,300,8.8,,0.1,1.0,55.0,
4,400,8.7,8.7,0.1,1.0,59.0,
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def finished(monkeypatch):
    """The files of a finished rehearsal of ``night``, of sizes and times that one can reckon with."""
    preset = rehearse(PRESETS["night"])
    root = artifacts.artifacts_root() / preset.name
    pages = {f"{n}_{name}/1_page.ipynb": 60.0 for n, name in enumerate(("Tokenizer", "Pretraining_Data"), 1)}
    pages |= {"4_Pretraining/1_pretrain.ipynb": 90.0, "5_SFT_Data/3_exams_and_rows.ipynb": 50.0}
    pages |= {"6_SFT_Training/1_finetune.ipynb": 80.0, "7_Sampling/4_exams.ipynb": 10.0}
    pages |= {"7_Sampling/2_talk_to_your_model.ipynb": 6.0, "6_SFT_Training/2_what_if.ipynb": 20.0}
    write(root / "notebooks" / "seconds.json", json.dumps(pages))
    write(root / "notebooks" / "peaks.json", json.dumps(dict.fromkeys(pages, 2 * 10**9)))
    write(root / "pretrain" / "log.csv", LOG)
    write(root / "sft" / "log.csv", LOG)
    (root / "books").mkdir()
    (root / "books" / "train.npy").write_bytes(bytes(1_000_000))
    artifacts.finish(root / "books", ["train.npy"], bytes_in=40_200_000)
    (root / "pretrain" / "model").write_bytes(bytes(3_000_000))
    # Of a step of 8 rows a half is the optimizers'.
    artifacts.finish(root / "pretrain", ["model"], step_seconds=2.0, row_seconds=0.25)
    monkeypatch.setattr(rehearsal, "conversation_seconds", lambda preset: 0.001)
    return preset


def test_a_step_alone_is_told_from_one_with_an_evaluation(tmp_path):
    write(tmp_path / "log.csv", LOG)
    assert rehearsal.step_times(tmp_path / "log.csv") == (4.0, 16.0)
    write(tmp_path / "log.csv", "".join(LOG.splitlines(keepends=True)[:2]))
    with pytest.raises(CourseError, match="no two steps"):
        rehearsal.step_times(tmp_path / "log.csv")


def test_a_rehearsal_tells_the_real_run(finished):
    phases, steps = rehearsal.measured(finished)
    # 4 seconds with 8 rows: 2 of the optimizers, and 2 of the rows, which become four times as many.
    assert [(step.rows, step.real_rows, step.real_seconds) for step in steps] == [(8, 32, 10.0)] * 2
    by_name = {phase.name: phase for phase in phases}
    # 300 books of 402,000 bytes are three times the text.
    assert by_name["2_Pretraining_Data"].real_seconds == pytest.approx(180)
    assert by_name["2_Pretraining_Data"].real_disk_bytes == pytest.approx(3 * by_name["2_Pretraining_Data"].disk_bytes)
    assert by_name["4_Pretraining"].real_disk_bytes == by_name["4_Pretraining"].disk_bytes > 3_000_000
    # 1,600 steps, and 8 evaluations of 8 batches instead of 2, each of four times the rows.
    assert by_name["4_Pretraining"].real_seconds == pytest.approx(90 + 1600 * 10 + 8 * 16 * 16)
    # 3,800 steps and 10 evaluations; and 15 short runs of 72 more steps, of 16 rows: 2 + 4 seconds.
    assert by_name["6_SFT_Training"].real_seconds == pytest.approx(100 + 3800 * 10 + 10 * 16 * 16 + 15 * 72 * 6)
    assert by_name["5_SFT_Data"].real_seconds == pytest.approx(50 + 898_000 * 0.001)
    # 6 of the 10 seconds are the page's start, as the other page shows: the exam takes 4, and then 20 times as long.
    assert by_name["7_Sampling"].real_seconds == pytest.approx(6 + 6 + 20 * 4)


def test_the_table_is_for_people(finished):
    lines = rehearsal.table(finished).splitlines()
    assert lines[0].split()[:2] == ["rehearsed:", "night"]
    row = next(line for line in lines if line.startswith("4_Pretraining"))
    assert "90 seconds" in row and "2.00 GB" in row and "5 hours" in row
    assert any(
        line.startswith("pretraining: a step of 8 rows took 4 s; with 32 rows it should take 10 s") for line in lines
    )
    assert any("1,600 of them 4.4 hours" in line for line in lines) and max(map(len, lines)) <= 130


def test_a_rehearsal_asks_for_the_disk_of_its_models(monkeypatch):
    for name in PRESETS:
        (asked, _), (real, _) = doctor.disk_missing(name + presets.REHEARSAL), doctor.disk_missing(name)
        assert 0 < asked <= real
