"""Runs a reader's own parts under the course's checks; ``python -m course_kit.part_checks 3.1 FILE``.

The checks say what went wrong on which input, and never how it is written. The verdict on each function is
a line of JSON on the output. Whatever the reader's code prints goes to the errors' output, to be seen there.
"""

import json
import os
import sys
from collections.abc import Callable

import torch

from course_kit import part_checks_tensors as tensors
from course_kit import part_checks_tokens as tokens
from course_kit.part_reader import Miss, Reader

CHECKS: dict[str, dict[str, Callable[[Reader], str]]] = {
    "1.1": {"merge": tokens.check_merge, "encode": tokens.check_encode},
    "3.1": {"attention_head": tensors.check_attention_head},
    "3.2": {"RMSNorm": tensors.check_rms_norm},
    "3.3": {"orthogonalize": tensors.check_orthogonalize, "muon_step": tensors.check_muon_step},
    "7.1": {"probabilities": tokens.check_probabilities, "sample": tokens.check_sample},
}


def main(lesson: str, file: str) -> int:
    """Runs the checks of a lesson on a file, up to the first that isn't passed. Returns the exit status."""
    verdicts = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # what the reader's code prints must not be taken for a verdict

    def say(name: str, verdict: str | Miss) -> None:
        told = {"passed": verdict} if isinstance(verdict, str) else {"missed": str(verdict), "hint": verdict.hint}
        verdicts.write(json.dumps({"name": name, **told}) + "\n")
        verdicts.flush()

    torch.set_num_threads(1)  # the matrices are small
    with Reader(file, say) as reader:
        return check_all(reader, CHECKS[lesson], say)


def check_all(
    reader: Reader, checks: dict[str, Callable[[Reader], str]], say: Callable[[str, str | Miss], None]
) -> int:
    """Runs checks in order, says the verdict of each, and stops at the first miss. Returns the exit status."""
    try:
        reader.function = next(iter(checks))
        reader.load()
        for name, check in checks.items():
            reader.function = name
            say(name, check(reader))
    except Miss as miss:
        say(reader.function, miss)
        return 1
    except Exception as error:  # such as a result that no check can make sense of
        said = (str(error).splitlines() or [""])[0]
        say(reader.function, Miss(f"{reader.doing} gives something that can't be checked: {said}", "What is its type?"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
