"""What doctor says: the machine, a container's memory, a table of what is made, and times that people can read."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

import artifacts
from course_kit import doctor, memory

REQUIREMENTS = str(ROOT / "requirements.txt")
REPORT = f"import sys; from pathlib import Path; from course_kit import doctor; doctor.report(Path({REQUIREMENTS!r})"


def test_doctor_tells_the_machine_and_what_is_made_at_once(course):
    folder = artifacts.phase_folder("tiny", "tokenizer")
    artifacts.write_text(folder / "a.txt", "x" * 2_000_000)
    artifacts.finish(folder, ["a.txt"], vocab_size=4096)
    artifacts.write_text(artifacts.phase_folder("tiny", "books") / "half", "x")
    artifacts.write_text(artifacts.phase_folder("full-rehearsal", "books") / "half", "x")
    done = course("doctor")
    assert done.returncode == 0, done.stderr
    for words in ("Python", "torch", "CPU cores", "GB memory", "GB free", "tiny needs up to", "large needs up to"):
        assert words in done.stdout
    today = time.strftime("%Y-%m-%d")
    assert re.search(rf"^tiny +tokenizer +2\.0 MB  {today} \d\d:\d\d  1_Tokenizer$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +books +0\.0 MB  unfinished +2_Pretraining_Data$", done.stdout, re.MULTILINE)
    assert re.search(r"^full +nothing yet$", done.stdout, re.MULTILINE)
    assert re.search(r"^full-rehearsal +tokenizer +- ", done.stdout, re.MULTILINE)
    assert "Training a few steps" not in done.stdout, "only --preset may take time"


def test_status_tells_what_is_made_and_how_to_go_on(course):
    done = course("status")
    assert done.returncode == 0 and "To begin: python course.py run;" in done.stdout, done.stderr
    for phase in ("tokenizer", "books"):
        folder = artifacts.phase_folder("cpu", phase)
        (folder / "a.txt").write_text("a", encoding="utf-8")
        artifacts.finish(folder, ["a.txt"])
    (artifacts.phase_folder("cpu", "pretrain") / "log.csv").write_text("step", encoding="utf-8")
    told = course("status").stdout
    assert "unfinished" in told and "tiny              nothing yet" in told and "Disk" not in told
    assert told.rstrip().endswith("To go on with cpu: python course.py run --preset cpu --from 4_Pretraining")


def test_doctor_loads_nothing_large():
    code = REPORT + "); sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python_files")}
    assert subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.DEVNULL).returncode == 0


def test_doctor_before_anything_is_installed_says_what_to_do():
    code = REPORT + ", 'tiny')"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python_files"), "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-S", "-c", code]  # without site-packages
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "`python course.py chat` installs them" in done.stdout and "No module named" not in done.stdout
    assert "GB memory" in done.stdout or sys.platform == "win32"


def test_output_of_another_encoding_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "\u043c\u043e\u044f"))
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    command = [sys.executable, str(ROOT / "course.py"), "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="cp1252")
    assert done.returncode == 0, done.stderr


# ---- Memory


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


def limits(tmp_path: Path, groups: str) -> list[tuple[int, int]]:
    (tmp_path / "groups").write_text(groups, encoding="utf-8")
    return list(memory.limits(tmp_path / "cgroup", tmp_path / "groups"))


def test_a_containers_own_limit(tmp_path):
    group(tmp_path / "cgroup", memory__max="900000000\n", memory__current="200000000\n")
    assert limits(tmp_path, "0::/\n") == [(900_000_000, 200_000_000)]
    assert limits(tmp_path, "0::/docker/of/the/host\n") == [(900_000_000, 200_000_000)]
    group(tmp_path / "cgroup", memory__stat="anon 1\ninactive_file 150000000\n")
    assert limits(tmp_path, "0::/\n") == [(900_000_000, 50_000_000)], "cached files make room"


def test_the_limit_of_a_group_above_counts_too(tmp_path):
    group(tmp_path / "cgroup" / "job" / "step", memory__max="max\n", memory__current="100\n")
    group(tmp_path / "cgroup" / "job", memory__max="4000\n", memory__current="1000\n")
    assert limits(tmp_path, "0::/job/step\n") == [(4000, 1000)]


def test_version_1_limits(tmp_path):
    root = tmp_path / "cgroup" / "memory"
    group(root, memory__limit_in_bytes="9223372036854771712\n", memory__usage_in_bytes="5\n")
    assert limits(tmp_path, "4:memory:/box\n") == []
    files = {"memory__limit_in_bytes": "700\n", "memory__usage_in_bytes": "300\n"}
    group(root / "box", **files, memory__stat="total_inactive_file 100\n")
    assert limits(tmp_path, "4:memory:/box/inner\n3:cpu:/\n") == [(700, 200)]


def test_the_smallest_of_all_is_what_there_is(monkeypatch):
    monkeypatch.setattr(memory, "_machine", lambda: (16_000, 9_000))
    monkeypatch.setattr(memory, "limits", lambda: iter([(8_000, 1_000), (12_000, 11_000)]))
    assert (memory.total(), memory.free()) == (8_000, 1_000)
    monkeypatch.setattr(memory, "limits", lambda: iter([]))
    assert (memory.total(), memory.free()) == (16_000, 9_000)


# ---- GPUs and words


def test_a_build_for_processors_beside_a_gpu_is_told_with_the_way_out(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    said = SimpleNamespace(returncode=0, stdout="NVIDIA GeForce RTX 4070 Laptop GPU, 8188 MiB\n")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *command, **options: said)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert "RTX 4070" in doctor.accelerator() and "install torch 2.13.0 for CUDA" in doctor.accelerator()
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.13.0+cu128")
    assert "for CUDA" not in doctor.accelerator() and "RTX 4070" in doctor.accelerator()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ((0.78, 1.56), "1 to 2 seconds"),
        ((90, 90), "90 seconds"),
        ((11, 200), "11 seconds to 3 minutes"),
        ((3000,), "50 minutes"),
        ((46_800,), "13 hours"),
        ((9_000, 27_000), "2.5 to 7.5 hours"),
        ((26_014_320,), "301 days"),
    ],
)
def test_times_are_told_in_the_unit_people_would_use(seconds, words):
    assert doctor.in_words(*seconds) == words


def test_pins_are_compared_exactly_but_for_local_labels(tmp_path, monkeypatch):
    installed = {"torch": "2.13.0+cpu", "numpy": "2.4.60", "tqdm": "4.70.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    pins = "# a comment\ntorch==2.13.0\n\nnumpy==2.4.6  # arrays\ntqdm==4.70.1\nabsent==1.0\n"
    (tmp_path / "requirements.txt").write_text(pins, encoding="utf-8")
    assert doctor.unmet_pins(tmp_path / "requirements.txt") == {"numpy": "2.4.60", "absent": None}
