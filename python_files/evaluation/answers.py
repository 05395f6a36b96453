"""How many questions that it was not shown does a model answer right, kind by kind?"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import artifacts
from artifacts import CourseError, MissingArtifact
from bpe_tokenizer import BPETokenizer
from chat.decoding import Settings
from chat.generation import generate_batch
from conversations import chat_format
from conversations.chat_format import Conversation
from Dummy_Model import GPT

# An answer may come in a few more tokens than the expected one and still be the same text.
SPARE_TOKENS = 8
SMALL_WORDS = frozenset("a an and at by for from has in is of on the to under was with".split())  # they carry no answer


class Answer(NamedTuple):
    """One line of the table of answers."""

    kind: str
    question: str
    expected: str
    answer: str
    correct: bool
    split: str = ""


def read_questions(path: str | Path, limit: int | None = None) -> list[Conversation]:
    """Reads a file of ``{"kind", "messages", "split", "accepted"}`` lines, the last two of which may be missing.

    Args:
        limit: take that many, spread evenly over the file.

    Raises:
        MissingArtifact: there is no such file.
        CourseError: a line isn't such a question.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingArtifact(f"Missing {artifacts.relative(path)}: run the notebooks of 5_SFT_Data first.")
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    if limit is not None and limit < len(lines):
        lines = [lines[i * len(lines) // limit] for i in range(limit)]
    try:
        return [
            Conversation(row["kind"], row["messages"], row.get("split", ""), accepted=tuple(row.get("accepted", ())))
            for row in map(json.loads, lines)
        ]
    except (ValueError, KeyError, TypeError):
        raise CourseError(
            f"Damaged {artifacts.relative(path)}: a line of it is no question; run the notebooks of 5_SFT_Data again."
        ) from None


def answers(
    model: GPT,
    tokenizer: BPETokenizer,
    questions: Sequence[Conversation],
    max_new_tokens: int | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> list[Answer]:
    """Asks each question and compares: the likeliest answer must equal the expected one, letter by letter.

    White space at the ends alone is forgiven. In a drill the wording of a question decides the wording of its
    answer, so there is exactly one; an everyday question may have several, all ``accepted``.

    Args:
        questions: conversations whose last message is the expected answer; those before it are shown to the model.
        max_new_tokens: None allows a little more than the longest expected answer has, so that a model that
            never stops costs no more time than one that does.
        progress: show a bar.

    Raises:
        CourseError: a question fills the model's context.
    """
    if not questions:
        return []
    expected = [question.messages[-1]["content"].strip() for question in questions]
    right = [{*question.accepted, wanted} for question, wanted in zip(questions, expected, strict=True)]
    prompts = [chat_format.prompt_ids(question.messages[:-1], tokenizer) for question in questions]
    if max_new_tokens is None:
        longest = tokenizer.encode_batch([text for texts in right for text in texts])
        max_new_tokens = max(map(len, longest)) + SPARE_TOKENS
    settings = Settings(temperature=0, max_new_tokens=max_new_tokens)
    made = generate_batch(model, tokenizer, prompts, settings, batch_size=batch_size, progress=progress)
    rows = []
    for question, wanted, accepted, ids in zip(questions, expected, right, made, strict=True):
        answer = tokenizer.decode(ids).strip()
        asked = question.messages[-2]["content"]
        rows.append(Answer(question.kind, asked, wanted, answer, answer in accepted, question.split))
    return rows


def accuracy_by_kind(rows: Iterable[Answer]) -> dict[str, float]:
    """The share of correct answers of each kind, kinds in alphabetical order."""
    marks: dict[str, list[bool]] = {}
    for row in rows:
        marks.setdefault(row.kind, []).append(row.correct)
    return {kind: sum(marks[kind]) / len(marks[kind]) for kind in sorted(marks)}


def accuracy_by_split(rows: Iterable[Answer]) -> dict[str, dict[str, float]]:
    """``accuracy_by_kind`` for each of the splits ``"known"``, ``"unseen"`` and ``"phrasing"`` that occurs."""
    splits: dict[str, list[Answer]] = {}
    for row in rows:
        splits.setdefault(row.split, []).append(row)
    return {split: accuracy_by_kind(some) for split, some in splits.items()}


def key_words(row: Answer) -> set[str]:
    """The words that carry an answer: from the text, in the expected answer, and not in the question itself.

    The question is the last line, and the text all lines before it: *Toronto* for *Where did Ann go?*, if the text says
    so. Without a text there are none.
    """
    text, _, question = row.question.rpartition("\n")
    return (_words(row.expected) & _words(text)) - _words(question) - SMALL_WORDS


def holds_key(row: Answer) -> bool:
    """A kinder marking: whether the answer picks the right words from the text, whatever its wording.

    It has all of ``key_words``, and of the text's other words only those of the question or the expected answer: who
    repeats the whole text doesn't pass.
    """
    return _picks(row, row.answer)


def sentence_chance(row: Answer) -> float:
    """The chance line of ``holds_key``: the share of the text's sentences that would pass as an answer.

    So often would somebody pass who repeats a sentence drawn at random.
    """
    sentences = [one for one in re.split(r"(?<=[.!?])\s+", row.question.rpartition("\n")[0]) if _words(one)]
    return sum(_picks(row, one) for one in sentences) / max(1, len(sentences))


def _picks(row: Answer, said: str) -> bool:
    text, _, question = row.question.rpartition("\n")
    others = _words(text) - _words(row.expected) - _words(question) - SMALL_WORDS
    return key_words(row) <= _words(said) and not others & _words(said)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def interval(right: int, asked: int) -> tuple[float, float]:
    """The shares between which the true one lies in 19 cases of 20, when ``right`` of ``asked`` were right.

    Wilson's score interval (1927): unlike "plus or minus two standard errors" it is honest near 0 and 1 too.

    Raises:
        CourseError: nothing was asked.
    """
    if not asked:
        raise CourseError("Nothing was asked, so there is no share to be uncertain about.")
    share, z = right / asked, 1.96
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked)
    return max(0.0, middle - half), min(1.0, middle + half)


def accuracy(
    model: GPT,
    tokenizer: BPETokenizer,
    questions: Sequence[Conversation],
    max_new_tokens: int | None = None,
    progress: bool = False,
) -> dict[str, float]:
    """The share of each kind of question that is answered exactly right. Arguments as for ``answers``."""
    return accuracy_by_kind(answers(model, tokenizer, questions, max_new_tokens, progress=progress))
