"""The campaign itself, for a moment: each of its quick attacks can be made, and the course holds."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")
QUICK = ["kill", "strike", "pairs", "manifests", "runs", "exports", "nonsense"]
DISKS = ["disk", "readonly"]
FUZZED = ["books", "conversations", "arrays"]


def can_mount(place: Path) -> bool:
    """Small disks can be mounted by root alone, and not in every container."""
    command = ["mount", "-t", "tmpfs", "small", place]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        return False
    subprocess.run(["umount", place], check=True)
    return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it forks, and mounts small disks")
def test_the_quick_attacks_hold(tmp_path):
    kinds = QUICK + (DISKS if can_mount(tmp_path) else []) + (FUZZED if importlib.util.find_spec("hypothesis") else [])
    command = [sys.executable, str(CAMPAIGN), "--only", ",".join(kinds), "--minutes", "0.15"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    failures = tmp_path / "campaign_failures.txt"
    assert done.returncode == 0, (failures.read_text(encoding="utf-8") if failures.exists() else "") + done.stderr[
        -900:
    ]
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) >= len(kinds) and all(int(row[1].replace(",", "")) > 0 for row in rows)
