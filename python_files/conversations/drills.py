"""How each kind of conversation is put together: values are drawn, put into templates, and asked about."""

import random
import re
from collections.abc import Callable, Sequence
from functools import cache

from conversations.chat_format import Conversation
from conversations.drill_facts import COLOURS, DAYS, FACTS, JOBS, NOT_SAID_QUESTIONS, PLACES, SIZES, VERBS
from conversations.drill_templates import BOOKS, LISTS, MEMORY, SIMPLE, SYSTEM
from conversations.phrasings import PLAIN_SHARE, asks, frames
from conversations.word_lists import Words

DISTRACTORS = (
    "It was a cold day.", "The sun was out.", "Nobody was in a hurry.", "The street was quiet.", "It had rained.",
    "The wind was strong.", "A dog barked.", "Dinner was late.", "The door stood open.", "It was still early.",
)  # fmt: skip
SAYINGS = (
    "I lost my {thing}", "My {thing} is {place}", "I need {number} {things}", "I live in {town}", "I am from {town}",
    "I want a {colour} {thing}", "I am {age} years old", "I work as a {job}", "Let us go to {town} on {day}",
    "The {colour} {thing} is mine", "I will be in {town} on {day}", "There is a {thing} {place}",
    "I put the {thing} {place}", "I forgot my {thing}", "My birthday is on {day}", "I cannot find the {colour} {thing}",
)  # fmt: skip
# Who has more and who has less, what ``Words`` draws for it, and how it is told.
COMPARED = (
    ("older", "younger", "age", "is {} years old"),
    ("taller", "shorter", "height", "is {} centimeters tall"),
    ("richer", "poorer", "number", "has {} dollars"),
)


class Draw:
    """What one conversation is made with.

    Args:
        held_out: word the last question as training never does.
        pages: passages from books, for the kinds that need one.
    """

    def __init__(self, words: Words, rng: random.Random, held_out: bool = False, pages: Sequence[str] = ()):
        self.words, self.rng, self.held_out, self.pages = words, rng, held_out, pages
        self.phrasings: list[tuple[str, str]] = []
        self.taken: set[str] = set()  # people, things and towns of this conversation: none of them comes twice

    def one(self, values: Sequence):
        return values[int(self.rng.random() * len(values))]

    def ask(self, table: str, values: dict, last: bool = True, plain: bool = False) -> tuple[str, str]:
        """A question from a table and its answer, worded one way of many."""
        choices = asks(table)
        new_core = new_frame = False
        if self.held_out and last:
            new_core = plain or self.rng.random() < 0.5
            new_frame = not new_core
        question, answer = core = self.one(choices.held_out if new_core else choices.train)
        if new_frame or (not plain and self.rng.random() > PLAIN_SHARE):
            frame = self.one(frames().held_out if new_frame else frames().train)
            question, answer = question.format_map(values), answer.format_map(values)
            core = (frame[0].replace("{0}", core[0]), frame[1].replace("{0}", core[1]))
            text, newline, asked = question.rpartition("\n")  # a frame stands around the question, not the text
            question, answer = text + newline + frame[0].format(asked), frame[1].format(answer)
        else:
            question, answer = question.format_map(values), answer.format_map(values)
        self.phrasings.append(core)
        return question, answer


class Values(dict):
    """The fields of a template, each drawn when it is first needed."""

    def __init__(self, draw: Draw):
        self.draw = draw

    def _new(self, draw_word: Callable[[random.Random], str]) -> str:
        """A word that the conversation doesn't have yet: whoever asks about it means one thing."""
        taken = self.draw.taken
        value = draw_word(self.draw.rng)
        while value in taken:
            value = draw_word(self.draw.rng)
        taken.add(value)
        return value

    def __missing__(self, key: str):
        draw, words = self.draw, self.draw.words
        if key in _LISTED:
            value = draw.one(_LISTED[key])
        elif key in ("did", "do"):
            self["did"], self["do"] = draw.one(VERBS)
            return self[key]
        elif key in _NUMBERS:
            value = getattr(words, key)(draw.rng)
        else:
            value = self._new(getattr(words, _NEW[key]))
            if key == "things":
                value = plural(value)
        self[key] = value
        return value


# What ``Words`` draws for a field: the words once a conversation, the numbers as often as may be.
_NEW = {
    "person": "name", "other_person": "name", "thing": "thing", "things": "thing", "town": "town", "coined": "coined",
}  # fmt: skip
_NUMBERS = ("number", "age")
_LISTED = {"place": PLACES, "colour": COLOURS, "job": JOBS, "day": DAYS, "size": SIZES}


def plural(noun: str) -> str:
    """The regular English plural."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


_A = re.compile(r"\b([Aa]) (?=[aeiou])(?!uni|eu|us)")


def articles(text: str) -> str:
    """``a`` before a vowel becomes ``an``."""
    return _A.sub(r"\1n ", text)


def conversation(kind: str, draw: Draw, *texts: str, system: str | None = None) -> Conversation:
    """Texts of the user and the assistant by turns, with articles put right."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += [{"role": "assistant" if i % 2 else "user", "content": articles(t)} for i, t in enumerate(texts)]
    return Conversation(kind, messages, phrasings=tuple(draw.phrasings))


BY_KIND = {
    kind: [fact for fact in FACTS if kind in fact.tables]
    for kind in ("where", "who", "what", "colour", "number", "when", "job", "giving", "yes_no")
}
PASSAGE_KINDS = (*BY_KIND, "not_said")


def _ask_fact(kind: str, facts: list, draw: Draw, last: bool) -> tuple[str, str]:
    if kind == "not_said":
        return draw.ask(NOT_SAID_QUESTIONS, Values(draw), last)
    fact, values = draw.one([f for f in facts if kind in f[0].tables])
    if kind != "yes_no":
        return draw.ask(fact.tables[kind], values, last)
    true = draw.rng.random() < 0.5
    asked = values
    if not true:
        asked = Values(draw)
        asked.update(values)
        while asked[fact.swap] == values[fact.swap]:
            del asked[fact.swap]
    # What is asked may be wrong; the answer repeats what the text says.
    statement = fact.statement.format_map(values)
    statement = "on" + statement[2:] if statement.startswith("On ") else statement
    return draw.ask(
        _yes_no_table(fact.tables["yes_no"], "Yes, " if true else "No, "), {**asked, "statement": statement}, last
    )


@cache
def _yes_no_table(table: str, word: str) -> str:
    return f"{word}{{statement}} << {table.split(' << ')[1]}"


def facts_with_text(kind: str, draw: Draw) -> tuple[list, str]:
    """Two to four facts, one of which can be asked about in this way, and the paragraph they make."""
    target = draw.one(BY_KIND.get(kind, FACTS))
    others = [f for f in FACTS if f is not target]
    draw.rng.shuffle(others)
    chosen = [target, *others[: 1 + int(draw.rng.random() * 3)]]
    draw.rng.shuffle(chosen)
    facts = [(fact, Values(draw)) for fact in chosen]
    sentences = [fact.statement.format_map(values) for fact, values in facts]
    if draw.rng.random() < 0.3:
        sentences.insert(int(draw.rng.random() * (len(sentences) + 1)), draw.one(DISTRACTORS))
    return facts, " ".join(sentences)


def with_passage(kind: str, draw: Draw, turns: int) -> Conversation:
    """A passage with a question, then more questions about the same passage in later turns."""
    facts, text = facts_with_text(kind, draw)
    offered = [k for fact, _ in facts for k in fact.tables]
    texts: list[str] = []
    for turn in range(turns):
        last = turn == turns - 1
        for _ in range(5):  # people don't ask the same twice
            del draw.phrasings[len(texts) // 2 :]
            asked = kind if last and kind != "follow_up" else draw.one(offered)
            question, answer = _ask_fact(asked, facts, draw, last)
            if {question.lower(), answer.lower()}.isdisjoint(map(str.lower, texts)):
                break
        texts += [question, answer]
    texts[0] = f"{text}\n{texts[0]}"
    return conversation(kind, draw, *texts)


def _simple(kind: str, draw: Draw) -> Conversation:
    values = Values(draw)
    text, table = draw.one(SIMPLE[kind])
    question, answer = draw.ask(table, values, plain=kind == "greeting")  # nobody says "I have a question. Hello!"
    if text:
        other = draw.one(SIMPLE[kind])[0].format_map(Values(draw))  # a second definition stands beside it
        both = [text.format_map(values), other]
        draw.rng.shuffle(both)
        question = f"{' '.join(both)}\n{question}"
    return conversation(kind, draw, question, answer)


def _memory(kind: str, draw: Draw) -> Conversation:
    values = Values(draw)
    opening, reply, table = draw.one(MEMORY)
    question, answer = draw.ask(table, values)
    return conversation(kind, draw, opening.format_map(values), reply.format_map(values), question, answer)


def _entries(draw: Draw, n: int) -> list[str]:
    """``n`` different names, or things, or towns, and a made-up word now and then."""
    words, rng = draw.words, draw.rng
    draw_word = draw.one((words.name, words.thing, words.thing, words.town))
    found: dict[str, None] = {}
    while len(found) < n:
        found[words.coined(rng) if rng.random() < 0.07 else draw_word(rng)] = None
    return list(found)


def _list_values(kind: str, draw: Draw) -> Values:
    """The fields of the tables in ``LISTS``."""
    v, rng, words = Values(draw), draw.rng, draw.words
    if kind in ("repeating", "counting", "first", "last", "after", "containing"):
        longest = {"repeating": 12, "counting": 5}.get(kind, 7)
        *entries, other = _entries(draw, 3 + int(rng.random() * (longest - 1)))
        i = int(rng.random() * (len(entries) - 1))
        v.update(list=", ".join(entries), number=len(entries), entry=entries[i], wanted=entries[i + 1])
        if kind in ("first", "last"):
            v["wanted"] = entries[0 if kind == "first" else -1]
        if kind == "containing":
            v.update(yes="Yes", contains="contains", **{"not": ""})
            if rng.random() < 0.5:
                v.update(yes="No", contains="does not contain", entry=other, **{"not": " not"})
    elif kind == "pairing":
        names, things = words.distinct(words.name, 3, rng), words.distinct(words.thing, 3, rng)
        i = int(rng.random() * 3)
        pairs = [f"{a}: {b}" for a, b in zip(names, things, strict=True)]
        v.update(pairs=", ".join(pairs), entry=names[i], wanted=things[i])
    elif kind == "swapping":
        v["wanted"], v["entry"] = _entries(draw, 2)
    elif kind == "spelling":
        v["wanted"] = words.thing(rng)
        while len(v["wanted"]) > 7:
            v["wanted"] = words.thing(rng)
        v["letters"] = " ".join(v["wanted"])
    elif kind == "ordering":
        things, i = words.distinct(words.thing, 3, rng), int(rng.random() * 3)
        text = "{0} bought a {1} first, a {2} second, and a {3} last."
        v.update(text=text.format(v["person"], *things), wanted=things[i], which=("first", "second", "last")[i])
    elif kind == "comparing":
        more, less, field, form = draw.one(COMPARED)
        high, low = sorted(words.distinct(getattr(words, field), 2, rng), reverse=True)
        v["which"] = more if rng.random() < 0.5 else less
        amounts = (high, low) if v["which"] == more else (low, high)
        v.update(has=form.format(amounts[0]), other_has=form.format(amounts[1]))
        both = [f"{v['person']} {v['has']}.", f"{v['other_person']} {v['other_has']}."]
        v["text"] = " ".join(both if rng.random() < 0.5 else both[::-1])
    elif kind == "arithmetic":
        a, b = 2 + int(rng.random() * 9), 2 + int(rng.random() * 9)
        while a + b == 18 and words.side == "train":  # a number of the unseen side
            a, b = 2 + int(rng.random() * 9), 2 + int(rng.random() * 9)
        v.update(first=a, second=b, number=a + b)
        v["text"] = f"{v['person']} had {a} {v['things']} and got {b} more."
    elif kind == "saying":
        told = [(Values(draw)["person"], draw.one(SAYINGS).format_map(Values(draw)))
                for _ in range(2 + int(rng.random() * 2))]  # fmt: skip
        v["text"] = " ".join(f'{person} said, "{words_said}."' for person, words_said in told)
        v["person"], v["wanted"] = draw.one(told)
    return v


def _list(kind: str, draw: Draw) -> Conversation:
    return conversation(kind, draw, *draw.ask(LISTS[kind], _list_values(kind, draw)))


# For answers in one word: the kind of question, its statement, and the field that is the word.
_ONE_WORD = (("colour", "colour"), ("number", "number"), ("job", "job"), ("who", "person"), ("when", "day"))


def _system(kind: str, draw: Draw) -> Conversation:
    values, (instruction, form) = Values(draw), draw.one(SYSTEM[kind])
    asked, field = draw.one(_ONE_WORD)
    facts, text = facts_with_text(asked, draw)
    fact, its_values = draw.one([f for f in facts if asked in f[0].tables])
    question, answer = draw.ask(fact.tables[asked], its_values, plain=kind == "system_short")
    is_age = field == "number" and "number" not in its_values
    values["wanted"] = its_values["age" if is_age else field]
    core = draw.phrasings.pop()
    draw.phrasings.append((f"{instruction}\n{core[0]}", form.replace("{0}", core[1])))
    filled = form.replace("{0}", "\0").format_map(values).replace("\0", answer)
    return conversation(kind, draw, f"{text}\n{question}", filled, system=instruction.format_map(values))


def _book(kind: str, draw: Draw) -> Conversation:
    """A question about a page, whose answer is computed from the page."""
    while True:
        page = draw.one(draw.pages)
        words = page.split()
        v = {"page": page, "rest": ""}
        if kind == "book_next":
            i = int(draw.rng.random() * (len(words) - 5))
            v["opening"], v["rest"] = " ".join(words[i : i + 2]), " ".join(words[i + 2 : i + 5])
            if page.count(v["opening"]) > 1:
                continue
        elif kind == "book_name":
            names = set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}", page))
            if len(names) != 1:
                continue
            v["opening"] = names.pop()
        else:
            v["opening"] = " ".join(words[:4] if kind == "book_first" else words[-4:]).rstrip(".,;:")
        return conversation(kind, draw, *draw.ask(BOOKS[kind], v))


OTHER_KINDS: dict[str, Callable[[str, Draw], Conversation]] = {
    **dict.fromkeys(LISTS, _list),
    **dict.fromkeys(SIMPLE, _simple),
    "memory": _memory,
    **dict.fromkeys(SYSTEM, _system),
    **dict.fromkeys(BOOKS, _book),
}
BOOK_KINDS = tuple(BOOKS)
KINDS = (*PASSAGE_KINDS, "follow_up", *OTHER_KINDS)


def make(kind: str, draw: Draw, max_turns: int = 1) -> Conversation:
    """One conversation of a kind.

    Args:
        max_turns: questions about one passage; later ones teach as much as the first for a fraction of the tokens.

    Raises:
        KeyError: there is no such kind.
    """
    if kind == "follow_up":
        return with_passage(kind, draw, 2 + int(draw.rng.random() * max(1, max_turns - 1)))
    if kind in PASSAGE_KINDS:
        return with_passage(kind, draw, 1 + int(draw.rng.random() * max_turns))
    return OTHER_KINDS[kind](kind, draw)
