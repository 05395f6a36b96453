"""Drills from a seed: training conversations of every kind of drill, and an exam of held-out ones.

Most answers must be found in a text given with the question, and repeat the words around them. Names and
things come from tens of thousands (``conversations/word_lists.py``), so that copying from the text pays and remembering
does not. Conversation ``i`` depends on the seed and on ``i`` alone, so any number of processes can share the work.
"""

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from conversations import drill_facts, drill_templates, drills, phrasings
from conversations.chat_format import Conversation
from conversations.drills import BOOK_KINDS, KINDS, PASSAGE_KINDS, Draw, make
from conversations.word_lists import Words, load_words

NOT_SAID = "The text does not say"  # how every answer begins that isn't in the text
SPLITS = ("known", "unseen", "phrasing")
HELD_OUT_PAGES = 0.02  # of the training books' passages: for the exam alone
# How often each kind comes. Finding an answer in a text is what the model is for, and copying is how it does it.
OFTEN = {
    **dict.fromkeys(PASSAGE_KINDS, 2), "where": 3, "who": 3, "what": 3, "repeating": 9, "follow_up": 4, "yes_no": 5,
    "not_said": 5, "pairing": 3, "after": 2, "first": 2, "last": 2, "swapping": 2, "spelling": 2, "saying": 3,
    "comparing": 4, "arithmetic": 2, "rewriting": 2, "system_short": 2, "containing": 3, "counting": 2,
    "definition": 2, "book_next": 3, "book_first": 2,
}  # fmt: skip


@cache
def reserved_words() -> frozenset[str]:
    """Every lower-case word that the templates use themselves: none of them may stand for a name or thing."""
    modules = (drill_facts, drills, phrasings, drill_templates)
    texts = [
        getattr(module, name)
        for module in modules
        for name in vars(module)
        if name.isupper() and name not in ("KINDS", "BY_KIND", "OTHER_KINDS")
    ]
    others = "first second last bought had got more yes no not does contain contains said has have and"
    # Without the names of fields and kinds, and without the "n" that a line break is written with here.
    plain = re.sub(r"\{\w+\}|[a-z]+_\w+|\\+n", " ", f"{texts!r} {others}")
    return frozenset(re.findall(r"[a-z]+", plain.lower()))


def book_pages(texts: Sequence[str] | Iterator[str], held_out: bool | None = None, limit: int = 40_000) -> list[str]:
    """Passages of one to three whole sentences, 60 to 220 characters, from the text of books.

    Args:
        held_out: True or False takes the passages that are, or aren't, put aside by their hash; None takes all.
        limit: passages at most.
    """
    found: dict[str, None] = {}
    for text in texts:
        for paragraph in re.split(r"\n\s*\n", text):
            sentences = re.findall(r"[A-Z][^.!?\"“”]{15,}?[.!?](?=\s|$)", " ".join(paragraph.split()))
            for i in range(0, len(sentences), 2):
                page = " ".join(sentences[i : i + 2])
                if not (60 <= len(page) <= 220 and len(page.split()) > 9) or not page.isascii() or "  " in page:
                    continue
                aside = random.Random(page).random() < HELD_OUT_PAGES
                if held_out is None or aside == held_out:
                    found[page] = None
            if len(found) >= limit:
                return list(found)[:limit]
    return list(found)


def conversations(n: int, seed: int, start: int = 0, pages: Sequence[str] = ()) -> Iterator[Conversation]:
    """Conversations ``start`` to ``start + n`` of a seed, the same whichever others are made.

    Args:
        pages: passages of the training books (``book_pages``); without any, the kinds about books are left out.
    """
    rng = random.Random()
    for index in range(start, start + n):
        rng.seed((seed << 44) + index)
        yield drill(rng, pages)


@cache
def _deck(with_pages: bool) -> tuple[str, ...]:
    kinds = [kind for kind in KINDS if with_pages or kind not in BOOK_KINDS]
    return tuple(kind for kind in kinds for _ in range(OFTEN.get(kind, 1)))


def drill(rng: random.Random, pages: Sequence[str] = ()) -> Conversation:
    """One drill, drawn with ``rng``. Arguments as for ``conversations``."""
    words, deck = load_words("train", reserved_words()), _deck(bool(pages))
    draw = Draw(words, rng, pages=pages)
    kind = draw.one(deck)
    one = make(kind, draw, max_turns=4)
    if kind in PASSAGE_KINDS and rng.random() < 0.2:
        # People change the subject: the question that counts is the last one, the text too.
        first = make(draw.one(deck), Draw(words, rng, pages=pages))
        if first.messages[0]["role"] != "system":
            one = Conversation(kind, first.messages + one.messages, "", first.phrasings + one.phrasings)
    return one


def _words(split: str) -> Words:
    return load_words({"known": "train", "unseen": "unseen", "phrasing": "train"}[split], reserved_words())


def held_out_questions(
    split: str, per_kind: int, seed: int, pages: Mapping[str, Sequence[str]] | None = None
) -> list[Conversation]:
    """Questions to examine with, ``per_kind`` of each kind, all different.

    Short questions about known words can come up in training too by chance: leave those out of the training.

    Args:
        split: ``"known"``: words of the training side in new combinations; ``"unseen"``: names, things and
            numbers that training never has; ``"phrasing"``: known words, but questions worded as never in training.
        pages: for each split the passages of the kinds about books; without it, these kinds are left out.
    """
    words, own = _words(split), (pages or {}).get(split, ())
    found: dict[str, Conversation] = {}
    for kind in KINDS:
        if kind in BOOK_KINDS and not own:
            continue
        rng, wanted = random.Random(f"held out {split} {kind} {seed}"), len(found) + per_kind
        while len(found) < wanted:
            one = make(kind, Draw(words, rng, split == "phrasing", own), 1)
            found.setdefault(str(one.messages[:-1]), Conversation(one.kind, one.messages, split, one.phrasings))
    return list(found.values())


def question_lines(questions: Iterable[Conversation]) -> str:
    """One line of JSON a question, as ``evaluation.answers.read_questions`` reads them."""
    rows = ({"kind": q.kind, "messages": q.messages, "split": q.split, "accepted": q.accepted} for q in questions)
    lines = ({name: value for name, value in row.items() if name != "accepted" or value} for row in rows)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
