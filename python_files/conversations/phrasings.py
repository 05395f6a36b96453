"""How the questions of the course's own set are worded, and which wordings are kept out of training.

A question decides its answer to the letter: every line of a table is ``answer << question / question / ~ question``,
so that there are many wordings of both and still one right answer. What stands behind ``~`` is never trained on.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from itertools import product

# What may stand around a question, and around its answer then. "~": never in training.
FRAMES = """
{0} | {0}
Please answer this. {0} | {0}
I have a question. {0} | {0}
Please read this carefully. {0} | {0}
Here is the next one. {0} | {0}
Can you help me? {0} | Of course. {0}
Please help me with this. {0} | Sure. {0}
I need an answer. {0} | Here it is. {0}
You are good at this. {0} | Thank you. {0}
~ One more thing. {0} | {0}
~ I would like to know something. {0} | {0}
"""
PLAIN_SHARE = 0.7  # of the questions stand alone
HELD_OUT_SHARE = 0.05  # of the wordings of each question, and of the scenes: never trained on


def is_held_out(text: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a wording or the name of a scene is kept out of training: by its hash, so always the same."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") < share * 2**32


@dataclass(frozen=True)
class Asks:
    """Question and answer templates: those to train on, and those that only the exam has."""

    train: tuple[tuple[str, str], ...]
    held_out: tuple[tuple[str, str], ...]


def expand(text: str) -> list[str]:
    """Every reading of ``[this|that]``, in order."""
    parts = re.split(r"\[([^\[\]]*)\]", text)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


@cache
def asks(table: str) -> Asks:
    """Reads a table of lines ``answer << question / question / ~ held-out question``; ``/`` or ``<<`` go on."""
    sides: tuple[list, list] = [], []
    for line in filter(str.strip, re.sub(r"\n\s+(/|<<) ", r" \1 ", table).splitlines()):
        answer, questions = line.split(" << ")
        for question in questions.split(" / "):
            held_out = question.startswith("~")
            wordings = expand(question.lstrip("~ ").strip().replace("\\n", "\n"))
            sides[held_out].extend((one, answer.strip()) for one in wordings)
    return Asks(*map(tuple, sides))


@cache
def frames() -> Asks:
    """The frames, sorted into those for training and those for the exam."""
    sides: tuple[list, list] = [], []
    for line in filter(str.strip, FRAMES.splitlines()):
        question, answer = line.lstrip("~ ").split(" | ")
        sides[line.startswith("~")].append((question, answer))
    return Asks(*map(tuple, sides))
