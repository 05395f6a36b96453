"""How people type a question, and how they put it together with a passage: at random, from a seed.

The data files hold well-written wordings and some clumsy ones. Here the former lose their capitals or their mark, get
a word before them or a typo, and a passage is announced, labeled or quoted.
"""

import random
import re
from collections.abc import Collection, Sequence

from conversations.phrasings import is_held_out

# As people type: of the well-written questions so many lose their capitals or their mark, begin with a word more, end
# in other marks or a please, or have a typo.
TYPED_SHARE, ADDED_SHARE, MARKS_SHARE, TYPO_SHARE = 0.3, 0.12, 0.12, 0.1
MISTAKABLE = frozenset(
    "there three where their quiet quite lose loose chose choose trial angel minutes coolest".split()
)
BEGINNINGS = (
    "Ok, ", "ok ", "So ", "so, ", "Well, ", "um, ", "hmm, ", "Now, ", "just wondering, ",
    "Hi, ", "Hello, ", "hey, ", "hi folio, ", "Folio, ", "hey folio ", "quick question: ", "One question: ",
)  # fmt: skip
INSIDE_TALK = 9  # so many of them, the first, do when the talk is under way
QUESTION_WORDS = frozenset(
    "what who where when why which how whats whos wheres hows whose is are was were do does did can could will would "
    "should has had am may".split()
)
REQUESTS = frozenset("can could please tell give name say list show write spell describe explain finish".split())
_ASKS_WHETHER_KNOWN = re.compile(r"(do|can|could|would) you\b", re.I)  # "Do you know why …", "Can you tell me …"
_EXCLAIMS = re.compile(r"(what an?|may you)\b|how \w+[.!]*$", re.I)
# How people announce a passage, or label it. {asked} is the question within a sentence, without its capital letter.
FRAMED_SHARE = 0.25
FRAMES = (
    "Read this and answer: {text} {question}", "Read this and answer my question. {text} {question}",
    "Read this text:\n\n{text}\n\n{question}", "Please read this: {text}\n\n{question}",
    "Here is a text. {text} {question}", "Here is a text:\n{text}\n\n{question}", "Here's a text. {text}\n{question}",
    "I have this note: {text} {question}", "I have this text: {text}\n\n{question}",
    "I got this:\n\n{text}\n\n{question}", "Look at this: {text} {question}",
    "This is the text: {text} And this is my question: {question}",
    "I have a question about this text. {text} {question}", "Passage: {text}\n\nQuestion: {question}",
    "Text: {text} Question: {question}", "Text: {text}\nQuestion: {question}",
    "Text: {text}\n\nQuestion: {question}\nAnswer:", "Question: {question}\nText: {text}",
    "Question: {question}\n\n{text}", "My question is: {question} {text}", "{question} Here is the text: {text}",
    "{question}\n\nText: {text}", '{question}\n\n"{text}"', "Answer this from the text below: {question}\n\n{text}",
    "I want to know this: {question} The text is: {text}", '"{text}" {question}', '"{text}"\n{question}',
    '"{text}"\n\n{question}', 'Text: "{text}"\n\n{question}', 'Here is a text: "{text}" {question}',
    "{text}\n\nQuestion: {question}", "{text} Question: {question}", "{text} Now my question: {question}",
    "{text}\n\nAnswer this: {question}", "{text}\n\n\n{question}", "{text} According to the text, {asked}",
    "{text}\n\nAccording to the text, {asked}", "{text} In this text, {asked}",
    "According to this text, {asked}\n\n{text}", "{text}\n\nFrom this, tell me: {question}",
    "From this, tell me: {question} {text}", "From the text, {asked} {text}", "{text} From this text, {asked}",
    "{text} What does the text say: {question}", "Tell me from this text: {question}\n\n{text}",
)  # fmt: skip
FRAMES_BEHIND = tuple(frame for frame in FRAMES if re.search(r"\{text.*\{(question|asked)", frame, re.S))
JOINS = (" ", " ", "\n", "\n\n")  # between sentences and a question; behind lines of a chat only a new line
_HANGS = re.compile(r"\b(it|its|he|she|him|her|his|they|them|their|there|this|that|these|those)\b", re.I)
_WHOLE_SENTENCE = re.compile(r"[.!?][\"')”’]*$")
QUESTION_MARKS = ("??", "?!", " ?")
STATEMENT_MARKS = ("!", "!!", "...")
PLEASES = (" please", " pls", ", please")


def as_typed(text: str, rng: random.Random, under_way: bool = False, spelled: Collection[str] = ()) -> str:
    """A question as people type it: at times in lower case, without its mark, with a word before it, or a typo.

    Never in a way that is kept out of training.

    Args:
        under_way: the talk has begun, so that it doesn't begin with a greeting.
        spelled: lower-case words without typos: names, and what the question is about.
    """
    typed = _as_typed(text, rng, BEGINNINGS[:INSIDE_TALK] if under_way else BEGINNINGS, spelled)
    return text if is_held_out(typed) or not typed.strip() else typed  # "?" alone keeps its mark


def _as_typed(text: str, rng: random.Random, beginnings: Sequence[str], spelled: Collection[str]) -> str:
    first = re.split(r"\W", text, maxsplit=1)[0].lower()
    begins_as_question = first in QUESTION_WORDS and text[-1:] != "." and not _EXCLAIMS.match(text)  # "Do it again."
    asks = text[-1:] == "?" or (begins_as_question and "? " not in text)  # what ends it decides its marks
    if text[-1:] in ".?!" and rng.random() < TYPED_SHARE:
        text = text[:-1] if rng.random() < 0.8 else text
        text = text.lower() if rng.random() < 0.7 else text
    chance = rng.random()
    if chance < ADDED_SHARE and asks and first in QUESTION_WORDS:
        return rng.choice(beginnings) + text[:1].lower() + text[1:]
    if chance > 1 - MARKS_SHARE:
        polite = first in REQUESTS and not re.search(r"\b(please|pls|plz)\b", text, re.I)
        marks = PLEASES if polite and rng.random() < 0.5 else QUESTION_MARKS if asks else STATEMENT_MARKS
        return text.rstrip(".?!") + rng.choice(marks)
    if chance > 1 - MARKS_SHARE - TYPO_SHARE:
        return with_typo(text, rng, spelled)
    return text


def with_typo(text: str, rng: random.Random, spelled: Collection[str] = ()) -> str:
    """The text with one slip in one of its longer lower-case words: two letters swapped, one lost or one doubled."""
    words = text.split(" ")
    # A slip in "there" or "quiet" would make another word.
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.islower()]
    long = [i for i in long if words[i] not in MISTAKABLE and words[i] not in spelled]
    if not long:
        return text
    at = rng.choice(long)
    word, i = words[at], rng.randrange(1, len(words[at]) - 1)
    slips = (word[:i] + word[i + 1] + word[i] + word[i + 2 :], word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:])
    words[at] = rng.choice(slips)
    return " ".join(words)


def with_question(passage: str, question: str, rng: random.Random) -> str:
    """A passage and a question about it, as people put them together.

    Mostly the passage with the question behind it, at times before it. Every fourth message announces the passage,
    labels the two, puts the passage in quotation marks, or says that the answer is to come from it (``FRAMES``).
    """
    begins = question.lower().startswith(tuple(map(str.lower, BEGINNINGS)))
    # "Who picked it?" can't stand before the text that says what.
    hangs = _HANGS.search(question) and not re.search(r"\w \W?[A-Z]", question)
    if rng.random() < FRAMED_SHARE and not begins:
        return _framed(passage, question, rng, FRAMES_BEHIND if hangs else FRAMES)
    joins = ("\n\n",) if not _WHOLE_SENTENCE.search(passage) else ("\n", "\n\n") if "\n" in passage else JOINS
    join = rng.choice(joins)
    first = rng.random() < 0.08 and question[-1] == "?" and not hangs
    return f"{question}{join}{passage}" if first else f"{passage}{join}{question}"


def _framed(passage: str, question: str, rng: random.Random, frames: Sequence[str]) -> str:
    frame = rng.choice(frames)
    word = question.split(" ")[0]
    if "{asked}" in frame and (word.lower() not in QUESTION_WORDS or _ASKS_WHETHER_KNOWN.match(question)):
        frame = frame.replace(", {asked}", ": {asked}")  # not "According to the text, so, where …"
        asked = question
    else:
        asked = question if word == "I" else question[:1].lower() + question[1:]
    if "Answer this" in frame and question[-1] != "?":  # not "Answer this: tell me where …"
        frame = "{text}\n\n{question}"
    if '"{text}"' in frame and '"' in passage:
        frame = frame.replace('"{text}"', "{text}")
    if not _WHOLE_SENTENCE.search(passage) or passage.count("\n") > 1:  # a list, a chat: lines of its own
        frame = re.sub(r"(?<=[^\n\"]) (?=\{text\})", "\n", frame)
        frame = re.sub(r"(?<=\{text\}) ", "\n\n", frame)
    if question[-1] not in ".?!…":  # nothing stands behind a question without its mark but a new line
        frame = re.sub(r"(\{question\}|\{asked\}) ", r"\1\n", frame)
    text = frame.format(text=passage, question=question, asked=asked)
    return text[:1].lower() + text[1:] if rng.random() < 0.2 and frame[0] not in '{"' else text
