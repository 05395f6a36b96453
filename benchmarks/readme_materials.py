"""Collects what README shows from a finished run: pictures that its notebooks drew, each with its figures as CSV.

    python benchmarks/readme_materials.py cpu

Nothing is drawn anew but the map of the way, which has no figures. A file that the run didn't make is named.
"""
# ruff: noqa: E402

import argparse
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import artifacts
from artifacts import CourseError
from course_kit import pictures

# What README calls it: the phase, the picture and its figures there.
PICTURES = {
    "bpe_tokenizer": ("tokenizer", "tokens.png", "tokens.csv"),
    "size": ("books", "size.png", "size.csv"),
    "pretrain_graph": ("pretrain", "pretrain_graph.png", "log.csv"),
    "finetuning_graph": ("sft", "finetuning_graph.png", "log.csv"),
    "ai_answer_1": ("sampling", "ai_answer_1.png", "ai_answer_1.csv"),
    "ai_answer_2": ("sampling", "ai_answer_2.png", "ai_answer_2.csv"),
    "everyday": ("sampling", "everyday.png", "everyday.csv"),
}


def collect(preset: str, folder: Path) -> None:
    """Copies all pictures and figures of a run into ``folder``.

    Raises:
        CourseError: a phase isn't finished, or a file is missing.
    """
    for name, (phase, picture, figures) in PICTURES.items():
        made = artifacts.require(preset, phase)
        for source, end in ((picture, "png"), (figures, "csv")):
            if not (made / source).is_file():
                raise CourseError(f"Missing {artifacts.relative(made / source)}: run {artifacts.MADE_BY[phase]} again.")
            shutil.copyfile(made / source, folder / f"{name}.{end}")
            print(f"{name}.{end}  from {artifacts.relative(made / source)}")
    pictures.way_picture()
    plt.savefig(folder / "the_way.png", dpi=150)
    print("the_way.png")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("preset", nargs="?", default="cpu")
    try:
        collect(parser.parse_args().preset, artifacts.course_root() / "readme_materials")
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
