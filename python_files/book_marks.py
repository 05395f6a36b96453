"""How well does a model know books? Bits per byte of each, last words of passages, and the variety of what it writes.

All of it is measured on books that training never saw, and counted in bytes and words, which are the same for any
two models whatever their tokenizers.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

import artifacts
from artifacts import CourseError, MissingArtifact
from bpe_tokenizer import BPETokenizer
from cleanup import cut_loop, tidy_spaces
from Dummy_Model import GPT
from evaluate import bits_per_byte
from sampling import Settings, generate_batch

# What a passage for the last-word test looks like: long enough to guess from, short enough for the smallest context.
LEAST_SENTENCES, LEAST_WORDS, MOST_WORDS = 3, 40, 110
LEAST_WORDS_OF_LAST_SENTENCE = 6
TOKENS_PER_WORD = 2  # room that a continuation gets for each word asked for; plain English takes 1.2 to 1.6

_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)")
# Four letters or more, so that "it" and "him", which can't be missed, are no questions.
_LAST_WORD = re.compile(r"(?<=\s)([A-Za-z]{4,})[.!?][\"'”’)\]]*$")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SAID = re.compile(r"\s+([^\W_]+(?:['’-][^\W_]+)*)")


class ValidationBook(NamedTuple):
    """A book, or its beginning, that training never saw."""

    id: str
    title: str
    authors: str  # as the source writes them; "" if unknown
    text: str


class BookBits(NamedTuple):
    """What one book costs a model."""

    id: str
    title: str
    authors: str
    n_bytes: int  # of the text in UTF-8
    bits_per_byte: float


class Passage(NamedTuple):
    """Some sentences without their last word."""

    title: str
    context: str
    word: str

    @property
    def seen(self) -> bool:
        """Whether the word stands in the context already, capitals aside."""
        return self.word.lower() in words_of(self.context)


class Opening(NamedTuple):
    """A place in a book: some words of it, and how it goes on there."""

    title: str
    prompt: str
    rest: str


def validation_books(folder: str | Path, most_bytes: int | None = None) -> list[ValidationBook]:
    """Reads ``validation_texts.jsonl`` of the finished phase ``books``.

    Args:
        most_bytes: in UTF-8, of all books together; each gives its beginning, up to an even share. None takes all.

    Raises:
        MissingArtifact: there is no such file.
        CourseError: it holds no books, or a line isn't one.
    """
    path = Path(folder) / "validation_texts.jsonl"
    made_by = f"the notebooks of {artifacts.MADE_BY['books']}"
    if not path.is_file():
        raise MissingArtifact(f"Missing {artifacts.relative(path)}: run {made_by} first.")
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    try:
        rows = [json.loads(line) for line in lines]
        books = [ValidationBook(row["id"], row["title"], row.get("authors", ""), row["text"]) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CourseError(f"Damaged {artifacts.relative(path)}: a line is no book; run {made_by} again.") from None
    if not books:
        raise CourseError(f"{artifacts.relative(path)} holds no books: run {made_by} again, with more books.")
    if most_bytes is None:
        return books
    share = most_bytes // len(books)
    return [book._replace(text=book.text.encode("utf-8")[:share].decode("utf-8", errors="ignore")) for book in books]


# ---- bits per byte


def bits_by_book(
    model: GPT, tokenizer: BPETokenizer, books: Sequence[ValidationBook], progress: bool = False
) -> list[BookBits]:
    """``evaluate.bits_per_byte`` of each book by itself; ``progress`` shows a bar.

    Raises:
        CourseError: a book is empty.
    """
    rows = []
    for book in tqdm(books, desc="books", unit="", disable=not progress):
        if not book.text:
            raise CourseError(f"{book.title or book.id}: there is no text to measure bits per byte on.")
        n_bytes = len(book.text.encode("utf-8", errors="replace"))
        rows.append(BookBits(*book[:3], n_bytes, bits_per_byte(model, tokenizer, [book.text])))
    return rows


def mean_bits(rows: Iterable[BookBits]) -> float:
    """Bits per byte of all these books together: every byte counts the same, so a long book counts more.

    Raises:
        CourseError: there are none.
    """
    rows = list(rows)
    if not (n_bytes := sum(row.n_bytes for row in rows)):
        raise CourseError("There are no books to take the mean of.")
    return sum(row.bits_per_byte * row.n_bytes for row in rows) / n_bytes


def bits_by_author(rows: Iterable[BookBits]) -> dict[str, float]:
    """``mean_bits`` of each author's books, authors in alphabetical order."""
    books: dict[str, list[BookBits]] = {}
    for row in rows:
        books.setdefault(row.authors or "unknown", []).append(row)
    return {author: mean_bits(books[author]) for author in sorted(books)}


# ---- the last word of a passage


def _passages(book: ValidationBook) -> Iterator[Passage]:
    """All passages of a book, in order. No two overlap."""
    begin = last = sentences = 0
    for end in _SENTENCE_END.finditer(book.text):
        text, last_sentence = book.text[begin : end.end()].strip(), book.text[last : end.end()]
        last, sentences, words = end.end(), sentences + 1, len(text.split())
        if words > MOST_WORDS:
            begin, sentences = last, 0
        elif sentences >= LEAST_SENTENCES and words >= LEAST_WORDS:
            word = _LAST_WORD.search(text)
            if word and len(last_sentence.split()) >= LEAST_WORDS_OF_LAST_SENTENCE:
                yield Passage(book.title, text[: word.start()].rstrip(), word[1])
                begin, sentences = last, 0


def last_word_passages(books: Iterable[ValidationBook], limit: int | None = 200) -> list[Passage]:
    """Passages of several sentences, for a test in the manner of LAMBADA (Paperno et al., 2016).

    Theirs were chosen by people: a word that can be guessed from the whole passage and not from its last sentence.
    These are chosen by rule, so some of them nobody could guess.

    Args:
        limit: that many, spread evenly over all that there are; the same ones each time. None takes all.

    Raises:
        CourseError: the books hold no such passage.
    """
    found = [passage for book in books for passage in _passages(book)]
    if not found:
        raise CourseError(f"There is no passage of {LEAST_SENTENCES} sentences and {LEAST_WORDS} words in these books.")
    if limit is None or limit >= len(found):
        return found
    return [found[i * len(found) // limit] for i in range(limit)]


def last_words(model: GPT, tokenizer: BPETokenizer, passages: Sequence[Passage], progress: bool = False) -> list[str]:
    """The word that the model puts behind each context, always taking the likeliest token; "" if it says no word.

    A context that doesn't fit the model loses its beginning.
    """
    if not passages:
        return []
    # The tokens after the word tell where it ends: "care" isn't "careful".
    room = max(map(len, tokenizer.encode_batch([f" {passage.word}" for passage in passages]))) + 2
    longest = max(1, model.config.context_length - room)
    prompts = [ids[-longest:] for ids in tokenizer.encode_batch([passage.context for passage in passages])]
    settings = Settings(temperature=0, max_new_tokens=room)
    made = generate_batch(model, tokenizer, prompts, settings, progress=progress)
    said = [_SAID.match(tokenizer.decode(ids)) for ids in made]
    return [match[1] if match else "" for match in said]


def share_right(passages: Sequence[Passage], said: Sequence[str]) -> float:
    """The share of words that are exactly right, capitals included.

    Raises:
        CourseError: there are no passages.
        ValueError: not one word for each passage.
    """
    if not passages:
        raise CourseError("There are no passages to mark.")
    return sum(word == passage.word for passage, word in zip(passages, said, strict=True)) / len(passages)


def last_word_accuracy(
    model: GPT, tokenizer: BPETokenizer, passages: Sequence[Passage], progress: bool = False
) -> float:
    """The share of passages whose last word the model produces. See ``last_words`` and ``share_right``."""
    return share_right(passages, last_words(model, tokenizer, passages, progress))


def constant_guess(passages: Sequence[Passage]) -> list[str]:
    """A baseline: always the word that is right most often in these passages. No constant answer does better."""
    counts = Counter(passage.word for passage in passages)
    return [counts.most_common(1)[0][0]] * len(passages) if counts else []


def copying_guess(passages: Iterable[Passage]) -> list[str]:
    """A baseline that can't read: of each context's words of four letters or more the most frequent, or the latest."""
    guesses = []
    for passage in passages:
        words = [word for word in _WORD.findall(passage.context) if len(word) >= 4]
        counts = Counter(reversed(words))  # on a tie, Counter keeps what it met first
        guesses.append(counts.most_common(1)[0][0] if counts else "")
    return guesses


# ---- variety


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return _WORD.findall(text.lower())


def first_words(text: str, n: int) -> str:
    """The text up to the end of its n-th word; all of it if it has fewer."""
    ends = [match.end() for match in _WORD.finditer(text)]
    return text[: ends[n - 1]] if len(ends) >= n else text


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words: ``len(words) - n + 1`` of them."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Distinct-n (Li et al., 2016): of all runs of n words in all texts together, the share that are different ones.

    The longer the texts, the lower it gets, even in a good book: compare texts of equal length alone. 0 if none has
    n words.
    """
    runs = [run for text in texts for run in ngrams(words_of(text), n)]
    return len(set(runs)) / len(runs) if runs else 0.0


def repetition(text: str, n: int = 4) -> float:
    """The share of a text's runs of n words that stood in it before (seq-rep-n, Welleck et al., 2019): 0 is none."""
    return 1 - distinct_n([text], n) if len(words_of(text)) >= n else 0.0


def ends_in_loop(text: str) -> bool:
    """Whether the text ends in a phrase that it says over and over, as ``cleanup.cut_loop`` finds it."""
    text = tidy_spaces(text)
    return cut_loop(text) != text


def openings(
    books: Sequence[ValidationBook], count: int = 24, prompt_words: int = 20, rest_words: int = 60
) -> list[Opening]:
    """Places to continue from, spread evenly over the books, each at the beginning of a sentence.

    Returns:
        ``count`` of them, or fewer where a book is too short for its share.
    """
    found = []
    for number, book in enumerate(books):
        share = count // len(books) + (number < count % len(books))
        starts = [0, *(match.end() for match in _SENTENCE_END.finditer(book.text))]
        tails = (book.text[start:].lstrip() for start in (starts[i * len(starts) // share] for i in range(share)))
        for tail in tails:
            prompt = first_words(tail, prompt_words)
            rest = first_words(tail[len(prompt) :], rest_words)
            if len(words_of(rest)) == rest_words:
                found.append(Opening(book.title, prompt, rest))
    return found


def continuations(
    model: GPT,
    tokenizer: BPETokenizer,
    prompts: Sequence[str],
    settings: Settings,
    words: int = 60,
    progress: bool = False,
) -> list[str]:
    """How a model goes on, cut to ``words`` words; fewer if it ended, or its context was full.

    Args:
        settings: its ``max_new_tokens`` is set here; prompt ``i`` is drawn with ``settings.seed + i``.

    Raises:
        CourseError: a prompt is empty or fills the context.
    """
    settings = replace(settings, max_new_tokens=TOKENS_PER_WORD * words)
    seeds = [settings.seed + i for i in range(len(prompts))]
    ids = tokenizer.encode_batch(list(prompts))
    made = generate_batch(model, tokenizer, ids, settings, seeds=seeds, progress=progress)
    return [first_words(tokenizer.decode(row), words) for row in made]
