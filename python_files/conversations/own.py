"""The course's own conversations: everyday talk written for this course and multiplied from a seed, and drills.

Conversation ``i`` depends on the seed and on ``i`` alone, so any number of processes can share the work.

    python -m conversations.own --n 100000 --seed 1 > own.jsonl

run in ``python_files/`` writes them for another experiment, one ``{"kind", "messages"}`` a line.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate

from tqdm import tqdm

from conversations import drill_sets, everyday, passages, stories
from conversations.chat_format import Conversation
from conversations.everyday import Everyday, Exchange, Question, Scene, Thread
from conversations.templates import draw_slots, fill

# How often each kind comes, in parts of the whole. The drills teach to find an answer in a text and to copy it.
SHARES = {
    "talk": 14, "knowledge": 6, "facts": 10, "sums": 11, "words": 8, "instructions": 13, "reading": 26, "threads": 11,
    "stories": 7, "drills": 13,
}  # fmt: skip
# The same for a very small model: it learns to talk long before it learns to read.
COMMON_SHARES = {
    "talk": 26, "knowledge": 4, "facts": 13, "sums": 9, "words": 9, "instructions": 11, "reading": 12, "threads": 6,
    "stories": 4, "drills": 7,
}  # fmt: skip
KINDS = tuple(SHARES)
# Of the conversations so many begin with other things: people change the subject. Some go on for long: a model that
# has only seen short talks loses its thread in a long one.
CHANGE_SHARE, CHANGES = 0.3, (1, 1, 1, 1, 2, 3, 4, 6, 8)
SHORT_KINDS = ("talk", "talk", "facts", "sums", "words", "knowledge")  # what may stand before
READING_TURNS = (1, 1, 2, 2, 3, 3)  # questions about one passage
PUT_TOGETHER = {"reading": 0.6, "threads": 0.3}  # the share of a kind that is put together from facts
LONGEST_OPENING, LONGEST_TALK = 200, 1200  # letters: in an exchange that stands before, and in all
# A greeting stands at the beginning of a talk, a farewell at its end, and "the first question" is the talk's.
_GREETS = re.compile(r"(hi|hello|hey|welcome back|good (morning|afternoon|evening))\b", re.I)
_TAKES_LEAVE = re.compile(
    r"\b(good ?bye|bye|see (you|ya|u)|good ?night|(?<!you )sleep (well|tight)|(talk|speak) to (you|u) (soon|later)|"
    r"take care(?! o[fn])|gotta go|gtg|ttyl|cya|farewell|off to bed|talk tomorrow|until (tomorrow|next time|then)|"
    r"have a (nice|good|great|lovely) (day|evening|night|weekend|one))\b",
    re.I,
)
_SENDS_FOR_HELP = re.compile(
    r"\b(emergency|crisis line|help line|call for help|(someone|adult|somebody) (you trust|near|close))\b"
)
_LOOKS_BACK = re.compile(
    r"\bfirst (question|thing|sum|number|answer|word|one|result)\b|\bat the (beginning|start)\b|"
    r"\b(ask|say|said|tell|told|start|beg[ai]n)\w*\b.*\bfirst\b",
    re.I,
)
_TELLS_NAME = re.compile(
    r"\b(my name'?s?( is)?|call me|i'?m called|name'?s|greetings from) \w|\w,? here\b|\b(?-i:I'm|I am) (?-i:[A-Z])",
    re.I,
)
_IS_NAMED = re.compile(
    r"\b(?i:hello|hi|to (meet|see) you|to know|welcome|sure|thank you|with pleasure),? (?!Folio\b)[A-Z][a-z]+\b[.!,]"
    r"|\b(?i:what's your name|what is your name|who are you)\?"  # nor is one asked for who has told it
)


def _exchanges(kind: str, rng: random.Random, common: bool) -> tuple[list[Exchange], bool]:
    """One exchange of a kind, or the turns that belong together, and whether they lean on an answer before them."""
    if rng.random() < PUT_TOGETHER.get(kind, 0):
        pool, sums = _passages(kind == "threads", common)
        return passages.put_together(rng.choices(pool, cum_weights=sums)[0], rng, rng.choice(READING_TURNS)), False
    if kind == "reading":
        return everyday.reading(_draw("scenes", rng, common), rng, rng.choice(READING_TURNS)), False
    if kind == "threads":
        return everyday.thread(_draw("threads", rng, common), rng), False
    if kind == "stories":
        return stories.tell(rng.choice(_stories(common)), rng), False
    question = _draw_question(kind, rng, common)
    if kind == "facts":
        return everyday.about_facts(question, rng), False
    return [everyday.ask(question, draw_slots(question.slots, rng), rng)], question.leans


def _data(common: bool) -> Everyday:
    return everyday.load_common() if common else everyday.load()


@cache
def _stories(common: bool) -> tuple[dict, ...]:
    """The told texts, each kind as often as people ask for it: stories and jokes more than riddles."""
    often = {"plot": 3, "joke": 4, "poem": 2, "riddle": 1, "describe": 1}
    told = _data(common).stories
    times = (often[stories.kind_of(entry)] * everyday.weight_of(entry)["often"] for entry in told)
    return tuple(entry for entry, number in zip(told, times, strict=True) for _ in range(number))


@cache
def _entries(group: str, common: bool) -> tuple[tuple, tuple[float, ...]]:
    """Scenes or threads of training, and their cumulated weights."""
    entries = getattr(_data(common), group)
    return entries, tuple(accumulate(entry.often for entry in entries))


@cache
def _passages(told: bool, common: bool) -> tuple[tuple, tuple[float, ...]]:
    """Passages of training that are put together, and their cumulated weights."""
    found = passages.choose(told, common=common)
    return found, tuple(accumulate(one.often for one in found))


def _draw(group: str, rng: random.Random, common: bool) -> Scene | Thread:
    entries, sums = _entries(group, common)
    return rng.choices(entries, cum_weights=sums)[0]


@cache
def _weighted(kind: str, common: bool) -> tuple[tuple[Question, ...], tuple[float, ...]]:
    """The questions of a kind and their cumulated weights: a large table or list counts more, but not in proportion."""
    questions = _data(common).questions[kind]
    weights = []
    for question in questions:
        values = [len(v) if isinstance(v, list) else 20 for v in question.slots.values()] or [1]
        weights.append(question.often * max(values) ** (0.5 if kind == "facts" else 0.25))
    return questions, tuple(accumulate(weights))


def _draw_question(kind: str, rng: random.Random, common: bool = False) -> Question:
    questions, sums = _weighted(kind, common)
    return rng.choices(questions, cum_weights=sums)[0]


def _letters(exchanges: Iterable[Exchange]) -> int:
    return sum(len(text) for exchange in exchanges for text in exchange)


def _long(exchanges: Iterable[Exchange]) -> set[str]:
    return {text for exchange in exchanges for text in exchange if len(text) > 20}


def _names_user(exchanges: Iterable[Exchange]) -> bool:
    return any(_TELLS_NAME.search(said) or _IS_NAMED.search(answer) for said, answer in exchanges)


def _fits_before(before: Sequence[Exchange], exchanges: Sequence[Exchange]) -> bool:
    """Whether a talk may begin with ``before`` and go on with ``exchanges``: one person, nothing out of place."""
    if any(map(_GREETS.match, exchanges[0])) or any(map(_TAKES_LEAVE.search, before[-1])):
        return False
    if _SENDS_FOR_HELP.search(before[-1][1]) or not _long(before).isdisjoint(_long(exchanges)):
        return False  # nobody goes from a cry for help to a riddle, or asks for the same twice
    if any(_LOOKS_BACK.search(said) for said, _ in exchanges) or (_names_user(before) and _names_user(exchanges)):
        return False
    return _letters(before) <= LONGEST_OPENING and _letters([*before, *exchanges]) <= LONGEST_TALK


def _conversation(kind: str, exchanges: Iterable[Exchange]) -> Conversation:
    roles = ("user", "assistant")
    messages = [{"role": roles[i], "content": text} for exchange in exchanges for i, text in enumerate(exchange)]
    return Conversation(kind, messages)


def conversations(
    n: int, seed: int, start: int = 0, pages: Sequence[str] = (), common: bool = False
) -> Iterator[Conversation]:
    """Conversations ``start`` to ``start + n`` of a seed, the same whichever others are made.

    Args:
        pages: passages of the training books (``drill_sets.book_pages``), for the drills about books; without any,
            these are left out.
        common: only what is asked often, and fewer passages and drills, for a model that has no room for more.
    """
    rng, weights = random.Random(), list((COMMON_SHARES if common else SHARES).values())
    for index in range(start, start + n):
        rng.seed((seed << 44) + index)
        kind = rng.choices(KINDS, weights)[0]
        if kind == "drills":
            yield drill_sets.drill(rng, pages)
            continue
        exchanges, leans = _exchanges(kind, rng, common)
        if rng.random() < CHANGE_SHARE:
            for _ in range(rng.choice(CHANGES)):
                before, leans_too = _exchanges(rng.choice(SHORT_KINDS), rng, common)
                if not (leans or leans_too) and _fits_before(before, exchanges):
                    exchanges = [*before, *exchanges]
        yield _conversation(kind, exchanges)


# ---- held out


def held_out_questions(per_kind: int, seed: int, common: bool = False) -> list[Conversation]:
    """Everyday questions in wordings, and about passages, that training never has; ``per_kind`` of each kind.

    Any of ``accepted`` is a right answer.

    Args:
        common: only about what is asked often, as in ``conversations``.
    """
    found: dict[str, Conversation] = {}
    for kind in ("talk", "knowledge", "facts", "sums", "words", "instructions", "reading"):
        rng, wanted = random.Random(f"everyday {kind} {seed}"), len(found) + per_kind
        while len(found) < wanted:
            one = _held_out(kind, rng, common)
            if one is not None:
                found.setdefault(one.messages[0]["content"], one)
    return list(found.values())


def _held_out(kind: str, rng: random.Random, common: bool) -> Conversation | None:
    aside = passages.choose(told=False, held_out=True)
    if kind == "reading" and aside and rng.random() < PUT_TOGETHER[kind]:
        text, question, values = passages.held_out_question(rng, aside)
    elif kind == "reading":
        scene = rng.choice(everyday.load().held_out_scenes)
        values, question = draw_slots(scene.slots, rng), rng.choice(scene.questions)
        text = f"{fill(rng.choice(scene.texts), values, rng)} {fill(rng.choice(question.wordings), values, rng)}"
    else:
        question = _draw_question(kind, rng, common)
        if not question.held_out:
            return None
        values = draw_slots(question.slots, rng)
        text = fill(rng.choice(question.held_out), values, rng)
    accepted = sorted({fill(answer, values, rng) for answer in question.answers for _ in range(4)})
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": accepted[0]}]
    return Conversation(kind, messages, "everyday", accepted=tuple(accepted))


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes conversations to the standard output, one a line in JSON. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--n", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal conversations")
    parser.add_argument("--start", type=int, default=0, help="the number of the first one")
    options = parser.parse_args(arguments)
    made = conversations(options.n, options.seed, options.start)
    for one in tqdm(made, total=options.n, desc="conversations", unit="", disable=not sys.stderr.isatty()):
        line = json.dumps({"kind": one.kind, "messages": one.messages}, ensure_ascii=False)
        sys.stdout.buffer.write(line.encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
