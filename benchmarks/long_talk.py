"""Does a model keep its thread in a long talk? The everyday exam, each prompt after some other exchanges.

    python benchmarks/long_talk.py [--preset night] [--before 0 3 7]

The exchanges before it are the course's own, drawn by a seed, with their right answers; they have nothing to do with
the prompt. Without --preset it asks the model in the box.
"""
# ruff: noqa: E402

import argparse
import random
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
from artifacts import CourseError
from chat import models
from chat.decoding import Settings
from chat.models import load_model
from conversations import own
from conversations.chat_format import Message
from course_kit import trained_model
from evaluation import everyday_exam
from presets import PRESETS


def other_exchanges(number: int, rng: random.Random) -> list[Message]:
    """So many short exchanges of everyday talk, one after another."""
    found: list[Message] = []
    while len(found) < 2 * number:
        (talk,) = own.conversations(1, rng.randrange(2**20))
        if talk.kind in own.SHORT_KINDS and len(talk.messages) == 2:
            found += talk.messages
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--preset", choices=PRESETS, help="a model of your own instead of the one in the box")
    parser.add_argument("--before", type=int, nargs="+", default=[0, 3, 7], help="exchanges before each prompt")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    try:
        if options.preset is None:
            trained_model.unpack()
        model, tokenizer = load_model(options.preset or models.BOX, "sft")
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    settings = replace(Settings.for_preset(options.preset or models.BOX), seed=options.seed)
    items = everyday_exam.read_exam()
    for number in options.before:
        rng = random.Random(options.seed)
        before = [other_exchanges(number, rng) for _ in items]
        replies = everyday_exam.ask(model, tokenizer, items, settings, progress=True, before=before)
        right = sum(not everyday_exam.check(item, *reply) for item, reply in zip(items, replies, strict=True))
        print(f"after {number} other exchanges: {right} of {len(items)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
