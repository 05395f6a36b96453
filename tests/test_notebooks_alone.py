"""Phase 7 and phase 6 alone, where nothing was trained: the one has the model in the box, the other says what it lacks.

In a file of its own, so that it can run beside the whole course.
"""

from test_notebooks import LIMIT_SECONDS, environment

import artifacts


def test_the_last_phase_works_where_nothing_was_trained(course, tmp_path, monkeypatch):
    folder = tmp_path / "artifacts"
    done = course("run", "--only", "7_Sampling", env=environment(folder), timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]
    monkeypatch.setenv("COURSE_ARTIFACTS", str(folder))
    facts = artifacts.read_json(artifacts.require("box", "sampling") / "manifest.json")
    assert facts["accuracy"]["chat unseen"] > 0.6 and facts["bits_per_byte"]["chat"] < 3
    assert not list((folder / "tiny").glob("sampling/*")), "the box's results lie among the preset's own"


def test_a_phase_without_its_forerunners_says_what_to_run(course, tmp_path):
    done = course("run", "--only", "6_SFT_Training", env=environment(tmp_path / "empty"), timeout=300)
    assert done.returncode == 1
    assert (
        done.stderr.count("\n") == 1
        and "run the notebooks of " in done.stderr
        and "course.py run --preset tiny --from 1_Tokenizer" in done.stderr
    )
