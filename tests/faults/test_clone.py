"""A clone on Windows, where git may turn every line end into two characters: every file stays as it is here."""

import shutil
import subprocess

import pytest
from conftest import ROOT


@pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None,
    reason="the course is no clone of git, or there is no git",
)
def test_a_clone_that_changes_line_ends_has_the_same_bytes(tmp_path):
    git = ["git", "-c", "core.autocrlf=true", "-c", "safe.directory=*"]
    clone = [*git, "clone", "-q", "--depth", "1", ROOT.as_uri(), tmp_path / "clone"]
    subprocess.run(clone, check=True, capture_output=True, timeout=120)
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "-z", "HEAD"], cwd=tmp_path / "clone", check=True, capture_output=True
    )
    entries = [entry.split(b"\t") for entry in listed.stdout.split(b"\0") if entry]
    assert len(entries) > 200
    for about, name in entries:
        path = tmp_path / "clone" / name.decode()
        hashed = subprocess.run([*git, "hash-object", "--no-filters", path], check=True, capture_output=True)
        assert hashed.stdout.strip() == about.split()[2], f"{name.decode()} has other bytes"
