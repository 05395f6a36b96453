"""Does a model repeat itself? How its continuations of books vary, counted in words."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from bpe_tokenizer import BPETokenizer
from chat.cleanup import cut_loop, tidy_spaces
from chat.decoding import Settings
from chat.generation import generate_batch
from Dummy_Model import GPT
from evaluation.book_loss import ValidationBook

TOKENS_PER_WORD = 2  # room that a continuation gets for each word asked for; plain English takes 1.2 to 1.6

SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s|$)")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class Opening(NamedTuple):
    """A place in a book: some words of it, and how it goes on there."""

    title: str
    prompt: str
    rest: str


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return WORD.findall(text.lower())


def first_words(text: str, n: int) -> str:
    """The text up to the end of its n-th word; all of it if it has fewer."""
    ends = [match.end() for match in WORD.finditer(text)]
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
        starts = [0, *(match.end() for match in SENTENCE_END.finditer(book.text))]
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
