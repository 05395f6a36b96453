"""The course's own conversations, generated from a seed: what a model of a few million weights can learn.

Most answers must be found in a text given with the question, and repeat the words around them. Names and
things come from tens of thousands (``word_lists.py``), so that copying from the text pays and remembering
does not.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chat_format import Message
from word_lists import Words, load_words


@dataclass(frozen=True)
class Conversation:
    """Messages that end with the assistant's answer, and the kind of question it answers."""

    kind: str
    messages: list[Message]

    @property
    def answer(self) -> str:
        """The last message's text."""
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class Fact:
    """One sort of sentence, and what can be asked about it. Fields in braces are filled by ``_fill``."""

    statement: str
    questions: tuple[tuple[str, str, str], ...]  # (kind, question, answer)
    yes_no: str  # the question that is answered "Yes, <statement>" or "No, <statement>"
    swap: str  # the field that a wrong yes/no question gets another value of


COLOURS = "red green blue white black yellow brown grey orange purple pink golden silver".split()
PLACES = (
    "in the kitchen, in the garden, in the cellar, in the attic, in the barn, in the hall, in the library, "
    "in the tower, in the stable, in the church, in the shop, in the school, in the office, in the boat, "
    "in the forest, under the bed, under the stairs, under the bridge, behind the door, behind the house, "
    "behind the curtain, on the roof, "
    "on the table, on the shelf, on the wall, near the river, near the gate, near the mill, "
    "by the window, by the well"
).split(", ")
VERBS = [
    ("bought", "buy"), ("sold", "sell"), ("found", "find"), ("lost", "lose"), ("painted", "paint"), ("hid", "hide"),
    ("cleaned", "clean"), ("repaired", "repair"), ("borrowed", "borrow"), ("carried", "carry"), ("drew", "draw"),
    ("stole", "steal"), ("wanted", "want"), ("made", "make"), ("brought", "bring"), ("kept", "keep"), ("saw", "see"),
    ("took", "take"), ("broke", "break"), ("dropped", "drop"),
]  # fmt: skip
JOBS = "baker teacher farmer sailor doctor tailor painter soldier miller singer judge priest clerk hunter cook".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

FACTS = (
    Fact(
        "{P} put the {x} {l}.",
        (
            ("where", "Where did {P} put the {x}?", "{P} put the {x} {l}."),
            ("where", "Where is the {x}?", "The {x} is {l}."),
            ("who", "Who put the {x} {l}?", "{P} put the {x} {l}."),
            ("what", "What did {P} put {l}?", "{P} put the {x} {l}."),
        ),
        "Did {P} put the {x} {l}?",
        "l",
    ),
    Fact(
        "{P} {v} a {c} {x}.",
        (
            ("who", "Who {v} a {c} {x}?", "{P} {v} a {c} {x}."),
            ("who", "Who {v} the {x}?", "{P} {v} the {x}."),
            ("what", "What did {P} {b}?", "{P} {v} a {c} {x}."),
            ("what", "What colour is the {x}?", "The {x} is {c}."),
        ),
        "Did {P} {b} a {c} {x}?",
        "c",
    ),
    Fact(
        "{P} has {n} {s}.",
        (
            ("number", "How many {s} does {P} have?", "{P} has {n} {s}."),
            ("who", "Who has {n} {s}?", "{P} has {n} {s}."),
            ("what", "What does {P} have?", "{P} has {n} {s}."),
        ),
        "Does {P} have {n} {s}?",
        "n",
    ),
    Fact(
        "{P} is {y} years old.",
        (
            ("number", "How old is {P}?", "{P} is {y} years old."),
            ("who", "Who is {y} years old?", "{P} is {y} years old."),
        ),
        "Is {P} {y} years old?",
        "y",
    ),
    Fact(
        "{P} is a {j} from {t}.",
        (
            ("where", "Where does {P} come from?", "{P} comes from {t}."),
            ("who", "Who comes from {t}?", "{P} comes from {t}."),
            ("who", "Who is a {j}?", "{P} is a {j}."),
            ("what", "What is the job of {P}?", "{P} is a {j}."),
        ),
        "Is {P} a {j} from {t}?",
        "j",
    ),
    Fact(
        "{P} gave the {x} to {Q}.",
        (
            ("who", "Who gave the {x} to {Q}?", "{P} gave the {x} to {Q}."),
            ("who", "Who has the {x} now?", "{Q} has the {x} now."),
            ("what", "What did {P} give to {Q}?", "{P} gave the {x} to {Q}."),
        ),
        "Did {P} give the {x} to {Q}?",
        "Q",
    ),
    Fact(
        "On {d}, {P} went to {t}.",
        (
            ("where", "Where did {P} go on {d}?", "On {d}, {P} went to {t}."),
            ("who", "Who went to {t}?", "{P} went to {t}."),
            ("what", "On what day did {P} go to {t}?", "{P} went to {t} on {d}."),
        ),
        "Did {P} go to {t} on {d}?",
        "t",
    ),
)
NOT_SAID = "The text does not say."

GREETINGS = (
    ("Hello, I am {P}.", "Hello, {P}! How can I help you?"),
    ("Hi, my name is {P}.", "Hi, {P}! What can I do for you?"),
    ("Good morning! {P} here.", "Good morning, {P}! How can I help you?"),
    ("Good evening, this is {P}.", "Good evening, {P}! What can I do for you?"),
    ("Thank you, says {P}.", "You are welcome, {P}!"),
    ("Goodbye from {P}.", "Goodbye, {P}! Come back soon."),
)
IDENTITY = (
    ("I am {P}. Who are you?", "I am a small language model, {P}. I answer questions about a text."),
    ("{P} asks: what is your name?", "I have no name, {P}. I am a small language model."),
    ("{P} wants to know who made you.", "A reader of the course made me, {P}, with a laptop and some old books."),
    ("I am {P}. What can you do?", "I can find answers in a text, {P}. Give me one and ask."),
    ("My name is {P}. Are you a person?", "No, {P}. I am a small language model."),
)
DEFINITIONS = (
    ("A {k} is a {c} {x} that lies {l}.", "What is a {k}?", "A {k} is a {c} {x} that lies {l}."),
    ("A person who keeps a {x} is called a {k}.", "What is a {k}?", "A {k} is a person who keeps a {x}."),
    ("In {t}, a {x} is called a {k}.", "What does {k} mean in {t}?", "In {t}, a {k} is a {x}."),
    ("To {k} means to carry a {x} to {t}.", "What does it mean to {k}?", "To {k} means to carry a {x} to {t}."),
)
STORIES = (
    ("{P} lost a {x} {l}. {Q} went to look for it.", "The next day {Q} found the {x} {l} and gave it back to {P}."),
    ("{P} wanted a {x}, but {Q} had the only one.", "So {P} asked {Q}, and they shared the {x}."),
    (
        "One night {P} heard a noise {l}. {Q} was afraid.",
        "{P} took a lamp and looked {l}, and {Q} was no longer afraid.",
    ),
    ("{P} and {Q} walked to {t} to sell a {x}.", "In {t} nobody wanted the {x}, so {P} and {Q} went home with it."),
)
REWRITES = (
    ("Write {Q} instead of {P}: {P} {v} the {x}.", "{Q} {v} the {x}."),
    ("Make this a question: {P} has the {x}.", "Does {P} have the {x}?"),
    ("Say that it is not so: {P} is {l}.", "{P} is not {l}."),
    ("Turn around: {P} is older than {Q}.", "{Q} is younger than {P}."),
    ("Say it in one sentence: {P} came. {Q} came.", "{P} and {Q} came."),
)
MEMORIES = (
    ("My name is {P}.", "Nice to meet you, {P}.", "What is my name?", "Your name is {P}."),
    ("I live in {t}.", "I hope {t} is a good place.", "Where do I live?", "You live in {t}."),
    ("I own a {x}.", "That sounds good.", "What do I own?", "You own a {x}."),
    ("My friend is called {P}.", "Give my best to {P}.", "Who is my friend?", "Your friend is {P}."),
)
ORDER_ASK = ("first", "second", "last")


def _fill(words: Words, rng: random.Random) -> dict:
    """A value for every field that a template can name."""
    P, Q = words.distinct(words.name, 2, rng)
    v, b = rng.choice(VERBS)
    x = words.thing(rng)
    return {
        "P": P, "Q": Q, "x": x, "s": plural(words.thing(rng)), "l": rng.choice(PLACES), "v": v, "b": b,
        "c": rng.choice(COLOURS), "n": words.number(rng), "y": words.age(rng), "j": rng.choice(JOBS),
        "t": words.town(rng), "d": rng.choice(DAYS), "k": words.coined(rng),
    }  # fmt: skip


def plural(noun: str) -> str:
    """The regular English plural."""
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def articles(text: str) -> str:
    """``a`` before a vowel becomes ``an``."""
    return re.sub(r"\b([Aa]) (?=[aeiou])(?!uni|eu|us)", r"\1n ", text)


def _conversation(kind: str, *texts: str) -> Conversation:
    roles = ("user", "assistant") * (len(texts) // 2)
    return Conversation(kind, [{"role": r, "content": articles(t)} for r, t in zip(roles, texts, strict=True)])


class _Passage:
    """Some facts about different people, in one paragraph."""

    def __init__(self, words: Words, rng: random.Random):
        self.words, self.rng = words, rng
        self.facts = rng.sample(FACTS, rng.choice((2, 3, 3, 4)))
        self.values = [_fill(words, rng) for _ in self.facts]
        self.text = " ".join(f.statement.format(**v) for f, v in zip(self.facts, self.values, strict=True))

    def ask(self, kind: str) -> tuple[str, str] | None:
        """A question of a kind and its answer, or None if the facts don't offer one."""
        rng = self.rng
        i = rng.randrange(len(self.facts))
        fact, values = self.facts[i], self.values[i]
        if kind == "yes_no":
            statement = fact.statement.format(**values)
            if rng.random() < 0.5:
                return fact.yes_no.format(**values), f"Yes, {_lower_on(statement)}"
            other = dict(values)
            while other[fact.swap] == values[fact.swap]:
                other[fact.swap] = _fill(self.words, rng)[fact.swap]
            return fact.yes_no.format(**other), f"No, {_lower_on(statement)}"
        if kind == "not_said":
            stranger = _fill(self.words, rng)
            _, question, _ = rng.choice([q for f in FACTS for q in f.questions if "{P}" in q[1]])
            return question.format(**stranger), NOT_SAID
        offered = [(j, q) for j, f in enumerate(self.facts) for q in f.questions if q[0] == kind]
        if not offered:
            return None
        j, (_, question, answer) = rng.choice(offered)
        return question.format(**self.values[j]), answer.format(**self.values[j])


def _lower_on(statement: str) -> str:
    return "on" + statement[2:] if statement.startswith("On ") else statement


PASSAGE_KINDS = ("where", "who", "what", "number", "yes_no", "not_said")


def _with_passage(kind: str, words: Words, rng: random.Random, turns: int) -> Conversation:
    """A passage with a question, then more questions about the same passage in later turns."""
    while True:
        passage = _Passage(words, rng)
        kinds = [kind] if turns == 1 else [rng.choice(PASSAGE_KINDS[:5]) for _ in range(turns - 1)]
        if turns > 1:
            kinds.append(rng.choice(PASSAGE_KINDS[:5]) if kind == "follow_up" else kind)
        pairs = [passage.ask(k) for k in kinds]
        if None in pairs or len(set(pairs)) < len(pairs):
            continue
        texts = [t for pair in pairs for t in pair]
        texts[0] = f"{passage.text}\n{texts[0]}"
        return _conversation(kind, *texts)


def _from_templates(kind: str, templates: tuple) -> Callable[[Words, random.Random], Conversation]:
    def make(words: Words, rng: random.Random) -> Conversation:
        values = _fill(words, rng)
        return _conversation(kind, *(t.format(**values) for t in rng.choice(templates)))

    return make


def _definition(words: Words, rng: random.Random) -> Conversation:
    first, second = rng.sample(DEFINITIONS, 2)
    values = _fill(words, rng)
    texts = [first[0].format(**values), second[0].format(**_fill(words, rng))]
    rng.shuffle(texts)
    return _conversation("definition", f"{' '.join(texts)}\n{first[1].format(**values)}", first[2].format(**values))


def _story(words: Words, rng: random.Random) -> Conversation:
    values = _fill(words, rng)
    start, end = rng.choice(STORIES)
    return _conversation("story", f"Go on with the story: {start.format(**values)}", end.format(**values))


def _arithmetic(words: Words, rng: random.Random) -> Conversation:
    numbers = set(words.numbers)
    while True:
        a, b = words.age(rng), words.age(rng)
        if a + b in numbers:
            break
    if rng.random() < 0.5:
        return _conversation("arithmetic", f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.")
    return _conversation("arithmetic", f"What is {a + b} minus {b}?", f"{a + b} minus {b} is {a}.")


def _counting(words: Words, rng: random.Random) -> Conversation:
    things = words.distinct(words.thing, rng.randint(2, 6), rng)
    return _conversation("counting", f"Count the words: {', '.join(things)}.", f"There are {len(things)} words.")


def _repeating(words: Words, rng: random.Random) -> Conversation:
    draws = (words.name, words.name, words.thing, words.thing, words.town, words.coined, words.number)
    listed = ", ".join(str(rng.choice(draws)(rng)) for _ in range(rng.randint(3, 12)))
    return _conversation("repeating", f"Repeat these words: {listed}.", f"{listed}.")


def _spelling(words: Words, rng: random.Random) -> Conversation:
    word = words.thing(rng)
    if rng.random() < 0.5:
        return _conversation("spelling", f"Spell the word {word}.", f"{word}: {'-'.join(word)}")
    which, letter = rng.choice((("first", word[0]), ("last", word[-1])))
    return _conversation(
        "spelling", f"What is the {which} letter of {word}?", f"The {which} letter of {word} is {letter}."
    )


def _ordering(words: Words, rng: random.Random) -> Conversation:
    P, *things = words.name(rng), *words.distinct(words.thing, 3, rng)
    i = rng.randrange(3)
    text = f"First {P} bought a {things[0]}, then a {things[1]}, and at last a {things[2]}."
    return _conversation(
        "ordering", f"{text}\nWhat did {P} buy {ORDER_ASK[i]}?", f"{P} bought a {things[i]} {ORDER_ASK[i]}."
    )


def _comparing(words: Words, rng: random.Random) -> Conversation:
    P, Q = words.distinct(words.name, 2, rng)
    a, b = words.distinct(words.age, 2, rng)
    older, word = rng.random() < 0.5, None
    word = "older" if older else "younger"
    who, than = (P, Q) if (a > b) == older else (Q, P)
    text = f"{P} is {a} years old. {Q} is {b} years old."
    return _conversation("comparing", f"{text}\nWho is {word}?", f"{who} is {word} than {than}.")


OTHER_KINDS: dict[str, Callable[[Words, random.Random], Conversation]] = {
    "comparing": _comparing,
    "ordering": _ordering,
    "definition": _definition,
    "rewriting": _from_templates("rewriting", REWRITES),
    "story": _story,
    "memory": _from_templates("memory", MEMORIES),
    "greeting": _from_templates("greeting", GREETINGS),
    "identity": _from_templates("identity", IDENTITY),
    "arithmetic": _arithmetic,
    "repeating": _repeating,
    "counting": _counting,
    "spelling": _spelling,
}
KINDS = (*PASSAGE_KINDS, "follow_up", *OTHER_KINDS)


def reserved_words() -> frozenset[str]:
    """Every lower-case word that the templates use themselves: none of them may stand for a name or thing."""
    templates = repr((FACTS, NOT_SAID, GREETINGS, IDENTITY, DEFINITIONS, STORIES, REWRITES, MEMORIES, PLACES, VERBS,
                      JOBS, COLOURS, DAYS, ORDER_ASK))  # fmt: skip
    others = (
        "repeat these count the words there are spell word letter what is plus minus years old older younger than "
        "go on with story first then at last bought buy"
    )
    return frozenset(re.findall(r"[a-z]+", (templates + " " + others).lower()))


def make(kind: str, words: Words, rng: random.Random, max_turns: int = 1) -> Conversation:
    """One conversation of a kind.

    Args:
        max_turns: questions about one passage; later ones teach as much as the first for a fraction of the tokens.

    Raises:
        KeyError: there is no such kind.
    """
    if kind == "follow_up":
        return _with_passage(kind, words, rng, max(2, rng.randint(2, max(2, max_turns))))
    if kind in PASSAGE_KINDS:
        return _with_passage(kind, words, rng, rng.randint(1, max_turns))
    return OTHER_KINDS[kind](words, rng)


def training_conversations(n: int, seed: int) -> Iterator[Conversation]:
    """``n`` conversations for training; the first ones are the same however many follow."""
    words = load_words("train", reserved_words())
    rng = random.Random(f"train {seed}")
    # Finding an answer in a text is what the model is for, so those kinds come more often.
    often = {**dict.fromkeys(PASSAGE_KINDS, 3), "not_said": 2, "repeating": 3, "follow_up": 2}
    weights = [often.get(kind, 1) for kind in KINDS]
    for _ in range(n):
        kind, next_kind = rng.choices(KINDS, weights, k=2)
        if rng.random() < 0.7:
            yield make(kind, words, rng, max_turns=4)
        else:  # people change the subject: the question that counts is the last one, the text too
            first, then = make(kind, words, rng), make(next_kind, words, rng)
            yield Conversation(next_kind, first.messages + then.messages)


def held_out_questions(side: str, per_kind: int, seed: int) -> list[Conversation]:
    """Questions to examine with, ``per_kind`` of each kind.

    Short questions about known words can come up in training too by chance: leave those out of the training.

    Args:
        side: ``"known"``: words of the training side in new combinations; ``"unseen"``: names, things and
            numbers that training never has.
    """
    words = load_words({"known": "train", "unseen": "unseen"}[side], reserved_words())
    rng = random.Random(f"held out {side} {seed}")
    return [make(kind, words, rng) for kind in KINDS for _ in range(per_kind)]
