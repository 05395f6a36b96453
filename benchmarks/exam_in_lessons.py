"""How many prompts of the everyday exam do the lessons make word for word, and how good is the model on the others?

    python benchmarks/exam_in_lessons.py [--conversations 250000]

It makes conversations, compares what the user says in them with the last turn of each prompt (words alone, in small
letters), and marks the model in the box on three groups: short prompts, which stay in training; longer ones, which
phase 5 drops; and those that are never made. What is only worded a little differently counts as never made.
"""
# ruff: noqa: E402

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
from artifacts import CourseError
from chat import models
from chat.decoding import Settings
from chat.models import load_model
from conversations import own
from conversations.overlap import EXEMPT_WORDS, plain
from course_kit import trained_model
from evaluation import everyday_exam


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--conversations", type=int, default=250_000)
    number = parser.parse_args().conversations
    try:
        trained_model.unpack()
        model, tokenizer = load_model(models.BOX, "sft")
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    marked = everyday_exam.mark(model, tokenizer, settings=Settings.for_preset(models.BOX), progress=True)
    asked = {plain(one.item.turns[-1]) for one in marked}
    made = set()
    for talk in tqdm(own.conversations(number, 1337), total=number, desc="conversations", unit=""):
        made.update(asked.intersection(plain(m["content"]) for m in talk.messages if m["role"] == "user"))
    groups: dict[str, list[bool]] = {"short, in training": [], "made, and dropped": [], "never made": []}
    for one in marked:
        last = one.item.turns[-1]
        short = len(last.split()) <= EXEMPT_WORDS
        group = "never made" if plain(last) not in made else "short, in training" if short else "made, and dropped"
        groups[group].append(not one.wrong)
    for group, right in groups.items():
        print(f"{group:20} {sum(right):4} of {len(right):4} right = {sum(right) / max(1, len(right)):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
