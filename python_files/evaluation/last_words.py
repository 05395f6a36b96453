"""Can a model guess the last word of a passage? The test that LAMBADA made known, with passages from unread books."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from chat.decoding import Settings
from chat.generation import generate_batch
from Dummy_Model import GPT
from evaluation.book_loss import ValidationBook
from evaluation.variety import SENTENCE_END, WORD, words_of

# What a passage for the last-word test looks like: long enough to guess from, short enough for the smallest context.
LEAST_SENTENCES, LEAST_WORDS, MOST_WORDS = 3, 40, 110
LEAST_WORDS_OF_LAST_SENTENCE = 6

# Four letters or more, so that "it" and "him", which can't be missed, are no questions.
_LAST_WORD = re.compile(r"(?<=\s)([A-Za-z]{4,})[.!?][\"'”’)\]]*$")
_SAID = re.compile(r"\s+([^\W_]+(?:['’-][^\W_]+)*)")


class Passage(NamedTuple):
    """Some sentences without their last word."""

    title: str
    context: str
    word: str

    @property
    def seen(self) -> bool:
        """Whether the word stands in the context already, capitals aside."""
        return self.word.lower() in words_of(self.context)


def _passages(book: ValidationBook) -> Iterator[Passage]:
    """All passages of a book, in order. No two overlap."""
    begin = last = sentences = 0
    for end in SENTENCE_END.finditer(book.text):
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
    guesses = [_SAID.match(tokenizer.decode(ids)) for ids in made]
    return [match[1] if match else "" for match in guesses]


def share_right(passages: Sequence[Passage], guesses: Sequence[str]) -> float:
    """The share of words that are exactly right, capitals included.

    Raises:
        CourseError: there are no passages.
        ValueError: not one word for each passage.
    """
    if not passages:
        raise CourseError("There are no passages to mark.")
    return sum(word == passage.word for passage, word in zip(passages, guesses, strict=True)) / len(passages)


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
        words = [word for word in WORD.findall(passage.context) if len(word) >= 4]
        counts = Counter(reversed(words))  # on a tie, Counter keeps what it met first
        guesses.append(counts.most_common(1)[0][0] if counts else "")
    return guesses
