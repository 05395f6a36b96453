"""The everyday exam: 240 prompts as people type them, written by others and marked by patterns.

``conversations.overlap`` keeps prompts of more than four words out of training; shorter ones are anybody's. Twelve
kinds of twenty. An answer is right if one of the item's ``accept`` patterns is found in it, none of its ``reject``
patterns is, it came to an end by itself within 80 tokens, has a word, and no four words in a row stand in it three
times.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from artifacts import CourseError, course_root, relative
from bpe_tokenizer import BPETokenizer
from chat.cleanup import clean_answer
from chat.decoding import Settings
from chat.generation import TextSoFar, generate_batch
from conversations import chat_format
from Dummy_Model import GPT

MAX_NEW_TOKENS = 80
REASONS = ("not finished", "empty", "loop", "no accept", "reject")
_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Item(NamedTuple):
    """A prompt of the exam; of several turns the answer to the last one is marked."""

    id: str
    kind: str
    turns: list[str]
    accept: list[str]
    reject: list[str]


class Marked(NamedTuple):
    """An answer and all that is wrong with it; right if that is nothing."""

    item: Item
    answer: str
    finished: bool
    wrong: list[str]


def exam_file() -> Path:
    """Where the course keeps the exam."""
    return course_root() / "7_Sampling" / "everyday_exam.jsonl"


def exam_files() -> dict[str, Path]:
    """All exams of this form, by name; nothing that stands in one of them may be trained on.

    The "fresh exam" is by other authors than the "everyday exam", and nobody has read an answer to it one by one. Of
    the "development exam" the answers were read, and lessons were written for what went wrong.
    """
    folder = course_root() / "7_Sampling"
    return {
        name: folder / f"{name.replace(' ', '_')}.jsonl" for name in ("everyday exam", "development exam", "fresh exam")
    }


def read_exam(path: str | Path | None = None) -> list[Item]:
    """The items of a file, the course's own exam if None.

    Raises:
        CourseError: there is no such file, or a line of it is no item.
    """
    path = Path(path or exam_file())
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        items = [Item(*(row[name] for name in Item._fields)) for row in map(json.loads, lines)]
    except OSError as error:
        raise CourseError(f"Can't read {relative(path)} ({error.strerror}): name a file of exam items.") from None
    except (ValueError, KeyError, TypeError):
        raise CourseError(f"Damaged {relative(path)}: a line of it is no exam item.") from None
    return items


def has_loop(text: str, n: int = 4, times: int = 3) -> bool:
    """Whether some n words in a row stand in the text that often."""
    words = _WORD.findall(text.lower())
    counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return any(count >= times for count in counts.values())


def check(item: Item, answer: str, finished: bool = True) -> list[str]:
    """All that is wrong with an answer, of ``REASONS``; [] if it is right."""
    wrong = [] if finished else ["not finished"]
    if not _WORD.search(answer):
        return [*wrong, "empty"]
    if has_loop(answer):
        wrong.append("loop")
    if not any(re.search(pattern, answer, re.IGNORECASE) for pattern in item.accept):
        wrong.append("no accept")
    if any(re.search(pattern, answer, re.IGNORECASE) for pattern in item.reject):
        wrong.append("reject")
    return wrong


def ask(
    model: GPT,
    tokenizer: BPETokenizer,
    items: Sequence[Item],
    settings: Settings,
    progress: bool = False,
    before: Sequence[Sequence[chat_format.Message]] | None = None,
) -> list[tuple[str, bool]]:
    """The last answer of each conversation, as a user sees it, and whether it came to its end by itself.

    Each item is a conversation of its own, with the model's own answers in between, as ``ChatSession`` would have it.

    Args:
        settings: as for a chat; an answer may have 80 tokens here.
        before: for each item what was said before it, to see whether a model keeps its thread in a long talk.
    """
    settings = replace(settings, max_new_tokens=MAX_NEW_TOKENS)
    talks: list[list[chat_format.Message]] = [list(before[i]) if before else [] for i in range(len(items))]
    ended = [True] * len(items)
    for turn in range(max(len(item.turns) for item in items)):
        going = [i for i, item in enumerate(items) if turn < len(item.turns)]
        for i in going:
            talks[i].append({"role": "user", "content": items[i].turns[turn].strip()})
        prompts = [_fitting(talks[i], tokenizer, model.config.context_length - MAX_NEW_TOKENS) for i in going]
        seeds = [settings.seed + turn] * len(going)
        made = generate_batch(model, tokenizer, prompts, settings, seeds=seeds, progress=progress)
        for i, prompt, ids in zip(going, prompts, made, strict=True):
            room = min(MAX_NEW_TOKENS, model.config.context_length - len(prompt))
            ended[i] = len(ids) < room
            text = TextSoFar(tokenizer, settings)
            said = "".join([text.add(token) or text.read() for token in ids]) + text.finish()
            answer = clean_answer(said.removeprefix(chat_format.SPACE), ended[i] and not text.looped)
            talks[i].append({"role": "assistant", "content": answer or "…"})
    return [(talk[-1]["content"], end) for talk, end in zip(talks, ended, strict=True)]


def _fitting(talk: list[chat_format.Message], tokenizer: BPETokenizer, room: int) -> list[int]:
    """The prompt of a talk; its oldest exchanges are forgotten until it fits, as in a chat."""
    ids = chat_format.prompt_ids(talk, tokenizer)
    while len(ids) > room and len(talk) > 2:
        del talk[:2]
        ids = chat_format.prompt_ids(talk, tokenizer)
    return ids


def mark(
    model: GPT,
    tokenizer: BPETokenizer,
    path: str | Path | None = None,
    settings: Settings | None = None,
    progress: bool = False,
    per_kind: int | None = None,
) -> list[Marked]:
    """Asks the model all items and marks its answers.

    Args:
        path: a file of items; None takes the course's own exam.
        settings: of the chat; None takes those of the small presets.
        per_kind: the first so many items of each kind alone; None asks all.
    """
    items = read_exam(path)
    if per_kind is not None:
        kinds = [item.kind for item in items]
        items = [item for place, item in enumerate(items) if kinds[:place].count(item.kind) < per_kind]
    replies = ask(model, tokenizer, items, settings or Settings.for_preset("cpu"), progress)
    return [
        Marked(item, answer, finished, check(item, answer, finished))
        for item, (answer, finished) in zip(items, replies, strict=True)
    ]


def constant_answers(marked: Sequence[Marked]) -> dict[str, tuple[str, int]]:
    """What guessing gets: for each kind that one of the answers which, given to every item, is right most often.

    No model that doesn't read the prompt does better with these answers. Returns kind -> (answer, how many right).
    """
    found = {}
    for kind in dict.fromkeys(one.item.kind for one in marked):
        items = [one.item for one in marked if one.item.kind == kind]
        said = dict.fromkeys(one.answer for one in marked if one.finished)
        rights = {answer: sum(not check(item, answer) for item in items) for answer in said}
        best = max(rights, key=rights.get, default="")
        found[kind] = (best, rights.get(best, 0))
    return found


def table(marked: Sequence[Marked]) -> list[dict]:
    """One row for each kind and one for all: how many were asked, how many right, and what was wrong how often."""
    kinds = list(dict.fromkeys(one.item.kind for one in marked))
    rows = []
    for kind in [*kinds, "all"]:
        those = [one for one in marked if kind in ("all", one.item.kind)]
        right = sum(not one.wrong for one in those)
        counts = Counter(reason for one in those for reason in one.wrong)
        reasons = {reason: counts[reason] for reason in REASONS}
        rows.append({"kind": kind, "right": right, "asked": len(those), "share": right / len(those), **reasons})
    return rows


def record(marked: Sequence[Marked], per_kind: int = 2, seed: int = 0) -> dict[str, list[dict]]:
    """The marks of each kind beside what guessing gets, and answers drawn by the seed, as a model card shows them."""
    guessing = {kind: count for kind, (_, count) in constant_answers(marked).items()}
    kinds = [
        {**{name: row[name] for name in ("kind", "right", "asked")}, "guessing": guessing.get(row["kind"])}
        for row in table(marked)
    ]
    kinds[-1]["guessing"] = sum(guessing.values())
    shown = examples(marked, per_kind, seed)
    said = [{"prompt": " / ".join(one.item.turns), "answer": one.answer, "right": not one.wrong} for one in shown]
    return {"kinds": kinds, "examples": said}


def examples(marked: Sequence[Marked], per_kind: int = 2, seed: int = 0) -> list[Marked]:
    """Answers to show, drawn by the seed and not chosen, ``per_kind`` of each kind."""
    rng, kinds = random.Random(seed), list(dict.fromkeys(one.item.kind for one in marked))
    return [one for kind in kinds for one in rng.sample([m for m in marked if m.item.kind == kind], per_kind)]
