"""artifacts.py and presets.py: what is written whole, what is trusted, and what is said when it can't be."""

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import artifacts
import presets


def made_phase(name: str = "tokenizer") -> Path:
    folder = artifacts.phase_folder("tiny", name)
    artifacts.write_text(folder / "a.txt", "hello")
    artifacts.write_bytes(folder / "deep" / "b.bin", bytes(range(256)))
    artifacts.finish(folder, ["deep/b.bin", "a.txt"], vocab_size=4096)
    return folder


def test_a_finished_phase_is_found_with_its_facts():
    folder = made_phase()
    assert artifacts.require("tiny", "tokenizer") == folder
    manifest = artifacts.read_manifest("tiny", "tokenizer")
    assert manifest["vocab_size"] == 4096
    assert list(manifest["files"]) == ["a.txt", "deep/b.bin"]
    # The SHA-256 of "hello", from outside this code
    known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert manifest["files"]["a.txt"] == {"bytes": 5, "sha256": known}


def test_finishing_twice_gives_identical_bytes():
    first = (made_phase() / "manifest.json").read_bytes()
    assert (made_phase() / "manifest.json").read_bytes() == first


def test_notebooks_that_share_a_phase_keep_what_the_others_listed():
    folder = made_phase("sampling")
    artifacts.write_text(folder / "c.txt", "of another notebook")
    artifacts.extend(folder, ["c.txt"], bits=1.5)
    manifest = artifacts.read_manifest("tiny", "sampling")
    assert list(manifest["files"]) == ["a.txt", "c.txt", "deep/b.bin"]
    assert (manifest["vocab_size"], manifest["bits"]) == (4096, 1.5)
    # The first notebook runs again: its own file is new, one of the other's was changed meanwhile.
    artifacts.write_text(folder / "a.txt", "hello again")
    artifacts.write_text(folder / "c.txt", "by nobody knows whom")
    artifacts.extend(folder, ["a.txt"], bits=1.4)
    manifest = artifacts.read_manifest("tiny", "sampling")
    assert (list(manifest["files"]), manifest["bits"]) == (["a.txt", "deep/b.bin"], 1.4)
    assert artifacts.require("tiny", "sampling") == folder


@pytest.mark.parametrize("damage", [None, "", "[]", '{"no": "files"}', '{"files": {"a.txt": 1}}'])
def test_a_shared_phase_begins_anew_where_nothing_can_be_kept(damage):
    folder = made_phase("sampling")
    (folder / "manifest.json").write_text(damage, encoding="utf-8") if damage is not None else artifacts.begin(folder)
    artifacts.extend(folder, ["deep/b.bin"], preset="tiny")
    manifest = artifacts.read_manifest("tiny", "sampling")
    assert (list(manifest), list(manifest["files"])) == (["preset", "files"], ["deep/b.bin"])


@pytest.mark.parametrize("phase, notebook", artifacts.MADE_BY.items())
def test_a_missing_phase_names_the_notebooks_to_run(phase, notebook):
    for before in list(artifacts.MADE_BY)[: list(artifacts.MADE_BY).index(phase)]:
        made_phase(before)
    command = rf"\(python course.py run --preset tiny --only {notebook}\)"
    with pytest.raises(artifacts.MissingArtifact, match=command) as caught:
        artifacts.require("tiny", phase)
    assert "\n" not in str(caught.value)
    with pytest.raises(artifacts.MissingArtifact, match=command):
        artifacts.read_manifest("tiny", phase)


def test_where_several_phases_are_missing_the_earliest_is_named_and_nothing_is_made():
    for preset, options in (("cpu", "--preset cpu"), ("cpu-rehearsal", "--preset cpu --rehearse")):
        command = rf"1_Tokenizer first \(python course.py run {options} --from 1_Tokenizer\)"
        with pytest.raises(artifacts.MissingArtifact, match=command):
            artifacts.require(preset, "sft")
        assert not (artifacts.artifacts_root() / preset).exists()


def test_begin_withdraws_trust():
    folder = made_phase()
    artifacts.begin(folder)
    artifacts.begin(folder)  # nothing to withdraw is no error
    with pytest.raises(artifacts.MissingArtifact, match="Missing"):
        artifacts.require("tiny", "tokenizer")


def test_a_lost_file_is_named():
    (made_phase() / "a.txt").unlink()
    with pytest.raises(artifacts.MissingArtifact, match=r"Missing .*a\.txt"):
        artifacts.require("tiny", "tokenizer")


def test_a_truncated_file_is_named_with_both_sizes():
    (made_phase() / "a.txt").write_text("hell", encoding="utf-8")
    with pytest.raises(artifacts.MissingArtifact, match=r"a\.txt: 4 bytes, expected 5"):
        artifacts.require("tiny", "tokenizer", check=False)


def test_a_changed_file_is_seen_by_its_hash_alone():
    (made_phase() / "a.txt").write_text("hellO", encoding="utf-8")
    artifacts.require("tiny", "tokenizer", check=False)
    with pytest.raises(artifacts.MissingArtifact, match="SHA-256"):
        artifacts.require("tiny", "tokenizer")


DAMAGED = [
    "", "{", "[]", "null", '{"no": "files"}', '{"files": null}', '{"files": ["a.txt"]}', '{"files": {"a.txt": 1}}',
    '{"files": {"a.txt": {"bytes": 5}}}', '{"files": {"a.txt": {"bytes": "five", "sha256": ""}}}',
    '{"files": {"a.txt": {"bytes": 5, "sha256": null}}}', "[" * 100_000, "\x00", '{"files": {"a.txt": null}}',
    '{"files": {"a.txt": {"bytes": 1e999, "sha256": ""}}}', '{"files": {"a\\u0000": {"bytes": 5, "sha256": ""}}}',
    '{"files": {"%s": {"bytes": 5, "sha256": ""}}}' % ("a" * 5000),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: damage[:40] or "empty")
def test_a_damaged_manifest_is_one_line(damage):
    (made_phase() / "manifest.json").write_text(damage, encoding="utf-8")
    for call in (artifacts.require, artifacts.read_manifest):
        with pytest.raises(artifacts.MissingArtifact, match="Damaged .*manifest.json: .*1_Tokenizer") as caught:
            call("tiny", "tokenizer")
        assert "\n" not in str(caught.value)


def test_an_unknown_phase_is_a_programming_error():
    with pytest.raises(ValueError, match="unknown phase 'nope'"):
        artifacts.phase_folder("tiny", "nope")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "kept.txt"
    artifacts.write_text(path, "old")

    def no_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_disk)
    with pytest.raises(artifacts.CourseError, match="Can't write .*kept.txt .No space left on device") as caught:
        artifacts.write_text(path, "new")
    assert isinstance(caught.value, OSError) and caught.value.errno == 28 and "\n" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # it may come from another process
    assert (str(again), again.errno) == (str(caught.value), 28)
    assert path.read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["kept.txt"]


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_write(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".vocab.json.{ended.pid}.tmp"
    others = [tmp_path / name for name in (f".vocab.json.{os.getppid()}.tmp", f".x.{ended.pid}.tmp", ".vocab.json.tmp")]
    for path in (dead, *others):
        path.write_bytes(b"half of it")
    artifacts.write_text(tmp_path / "vocab.json", "{}")
    assert not dead.exists() and (tmp_path / "vocab.json").read_text(encoding="utf-8") == "{}"
    if os.name != "nt":  # where a process that still writes keeps its file by itself
        assert all(path.exists() for path in others), "of a process that runs, or of another file"


def test_json_may_have_a_byte_order_mark(tmp_path):
    (tmp_path / "j").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert artifacts.read_json(tmp_path / "j") == {"a": 1}


def test_the_folder_for_artifacts_is_the_same_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_ARTIFACTS", "elsewhere")
    here = artifacts.artifacts_root()
    monkeypatch.chdir(tmp_path)
    assert artifacts.artifacts_root() == here == artifacts.course_root() / "elsewhere"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("COURSE_ARTIFACTS", "~/mine")
    assert artifacts.artifacts_root() == (tmp_path / "mine").resolve()


def test_text_has_the_same_bytes_on_every_system(tmp_path):
    artifacts.write_text(tmp_path / "t", "é\n")
    assert (tmp_path / "t").read_bytes() == b"\xc3\xa9\n"
    artifacts.write_json(tmp_path / "j", {"é": 1})
    assert artifacts.read_json(tmp_path / "j") == {"é": 1}
    assert "é" in (tmp_path / "j").read_text(encoding="utf-8")


def test_a_full_disk_is_said_before_work_starts(tmp_path):
    artifacts.check_disk(tmp_path, 1)
    with pytest.raises(artifacts.CourseError, match="Not enough disk"):
        artifacts.check_disk(tmp_path, 10**18)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "file"))
    with pytest.raises(artifacts.CourseError, match="COURSE_ARTIFACTS") as caught:
        artifacts.phase_folder("tiny", "books")
    assert "\n" not in str(caught.value)


def test_paths_are_shown_below_the_course(tmp_path):
    assert artifacts.relative(artifacts.course_root() / "python_files" / "x.py") == "python_files/x.py"
    assert artifacts.relative(artifacts.phase_folder("tiny", "sft")) == "artifacts/tiny/sft"


def test_presets_are_frozen_and_sound():
    for name, preset in presets.PRESETS.items():
        assert preset.name == name
        assert preset.n_embd % preset.n_head == 0 and preset.n_head % preset.n_kv_head == 0
        assert preset.sft_context_length <= preset.context_length
        with pytest.raises(dataclasses.FrozenInstanceError):
            preset.seed = 1
    tiny = presets.PRESETS["tiny"]
    assert tiny.pretrain_tokens == tiny.pretrain_batch * tiny.context_length * tiny.pretrain_steps


def test_the_environment_overrides_the_notebooks_choice(monkeypatch):
    assert presets.choose("tiny").name == "tiny"
    monkeypatch.setenv("COURSE_PRESET", "cpu")
    monkeypatch.setenv("COURSE_BOOKS", "packaged")
    monkeypatch.setenv("COURSE_LIMIT", "7")
    chosen = presets.choose("tiny")
    assert (chosen.name, chosen.books, chosen.book_limit) == ("cpu", "packaged", 7)
    assert presets.PRESETS["cpu"].book_limit != 7
    monkeypatch.setenv("COURSE_SHORT", "1")
    assert presets.choose("tiny").sft_steps == chosen.sft_steps // 5 and presets.choose("tiny").book_limit == 7
    assert (chosen.few(40), chosen.few(3)) == (8, 2)
    monkeypatch.delenv("COURSE_SHORT")
    assert chosen.few(40) == 40


@pytest.mark.parametrize("variable, value", [("PRESET", "huge"), ("LIMIT", "0"), ("LIMIT", "-3"), ("LIMIT", "many")])
def test_a_wrong_override_is_one_line(monkeypatch, variable, value):
    monkeypatch.setenv(f"COURSE_{variable}", value)
    with pytest.raises(artifacts.CourseError, match=value) as caught:
        presets.choose("tiny")
    assert "\n" not in str(caught.value)


def test_describe_shows_every_field():
    shown = presets.describe(presets.PRESETS["tiny"])
    assert all(f"{field.name}: " in shown for field in dataclasses.fields(presets.Preset))
    json.dumps(dataclasses.asdict(presets.PRESETS["full"]))  # a preset is plain data
