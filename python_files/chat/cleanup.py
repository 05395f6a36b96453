"""A model's raw text made fit to show: each step is one small function from text to text.

The stream on the screen is nearly raw: stop texts and white space at its ends are held back, no more. The rest
needs the whole answer (is this sentence finished? is that a loop?), so it is done once the answer ends, on what
is kept of it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

REPEATS = 3  # a phrase of two or more words that stands this often in a row at the end is a loop
LONG_PHRASE = 4  # words; a shorter phrase may be said three times on purpose
WORD_REPEATS = 4  # for a single word: "no, no, no" is still English

_SPECIAL = re.compile(r"<\|[a-z0-9_]+\|>")
_SPACE_BEFORE_MARK = re.compile(r"(?<=[^\s.,;:!?]) +([,;:!?]|\.(?!\w))(?![.,;:!?])")
_SPACES = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s|$)")


def remove_special_tokens(text: str) -> str:
    """Takes out spelled markers such as ``<|end|>``; from real ones the tokenizer never makes text."""
    return _SPECIAL.sub("", text)


def tidy_spaces(text: str) -> str:
    """No space before a comma or full stop, no runs of spaces or empty lines, nothing at the two ends.

    Spaces that begin a line stay: they are the indentation of a poem or a list.
    """
    text = _SPACES.sub(" ", _SPACE_BEFORE_MARK.sub(r"\1", text))
    lines = [line.rstrip() for line in text.strip().split("\n")]
    return "\n".join(line for i, line in enumerate(lines) if line or lines[i - 1])


def _words(text: str) -> tuple[list[re.Match], list[str]]:
    """The words of a text, and the same without commas, full stops and capitals."""
    words = list(re.finditer(r"\S+", text))
    return words, [word.group().strip(",.;:!?\"'").lower() for word in words]


def _phrases(bare: Sequence[str]) -> Counter:
    """How often each run of four words comes."""
    return Counter(zip(*(bare[i:] for i in range(LONG_PHRASE)), strict=False))


def loop_start(text: str) -> int | None:
    """Where a text ends that should not have gone on: behind the first round of a phrase said three times running.

    Phrases of fewer than four words may be meant ("ha ha ha"): they are cut behind the third, or fourth, round. Four
    words that come for the third time, whatever stands between, are a loop as well; it is cut before them. None if the
    text, without its last word, which may be half a one, doesn't end so.
    """
    words, bare = _words(text)
    words, bare = words[:-1], bare[:-1]
    if len(bare) > LONG_PHRASE and _phrases(bare)[tuple(bare[-LONG_PHRASE:])] >= REPEATS:
        return min(words[-LONG_PHRASE - 1].end(), repetition_start(text))
    for period in range(1, len(bare) // REPEATS + 1):
        rounds = WORD_REPEATS if period == 1 else REPEATS
        if len(bare) >= rounds * period and all(
            bare[-1 - i] == bare[-1 - i - period] for i in range((rounds - 1) * period)
        ):
            last = len(words) - ((rounds - 1) * period if period >= LONG_PHRASE else 0)
            return words[last - 1].end()
    return None


def repetition_start(text: str) -> int:
    """Where a text ends as far as it is certain: before the second round of a phrase, which may become a loop.

    Or before the third coming of four words of which the first are there.
    """
    words, bare = _words(text)
    earliest = len(text)
    twice = [phrase for phrase, count in _phrases(bare[:-1]).items() if count == REPEATS - 1]
    for known in range(min(LONG_PHRASE, len(bare) - 1), 0, -1) if twice else ():
        *whole, last = bare[-known:]
        if any(phrase[: known - 1] == tuple(whole) and phrase[known - 1].startswith(last) for phrase in twice):
            earliest = words[-known - 1].end()
            break
    for period in range(LONG_PHRASE, len(bare)):
        run = 1 if bare[-1 - period].startswith(bare[-1]) else 0
        while 0 < run < len(bare) - period and bare[-1 - run] == bare[-1 - run - period]:
            run += 1
        if run:
            earliest = min(earliest, words[len(words) - run - 1].end())
    return earliest


def cut_loop(text: str) -> str:
    """Of a phrase that the text repeats until its end, the first one stays.

    Models fall into loops, greedy ones above all (Holtzman et al., 2020). The last repetition may be half a one,
    its last word half a word; commas and full stops don't count.
    """
    words = list(re.finditer(r"\S+", text))
    bare = [word.group().strip(",.;:!?\"'") for word in words]
    for period in range(1, len(words) // REPEATS + 1):
        # How many words, counted from the end, equal the ones a period before.
        run = 1 if bare[-1 - period].startswith(bare[-1]) else 0
        while 0 < run < len(words) - period and bare[-1 - run] == bare[-1 - run - period]:
            run += 1
        if run + period >= period * (WORD_REPEATS if period == 1 else REPEATS):
            return text[: words[len(words) - run - 1].end()]
    return text


def cut_unfinished_sentence(text: str) -> str:
    """The text up to the end of its last whole sentence. Where there is none, it stays and ends in ``…``."""
    if ends := list(_SENTENCE_END.finditer(text)):
        return text[: ends[-1].end()]
    return f"{text.rstrip(' ,;:–—-')}…" if text.strip() else ""


def clean_answer(text: str, finished: bool = True) -> str:
    """All steps, one after the other.

    Args:
        finished: the model ended the answer itself. If not, its last sentence may be half a one.
    """
    text = cut_loop(tidy_spaces(remove_special_tokens(text)))
    return text if finished else cut_unfinished_sentence(text)


def trim(pieces: Iterator[str]) -> Iterator[str]:
    """A stream without white space at its two ends: it is held back until something follows it."""
    held, begun = "", False
    for piece in pieces:
        held += piece if begun else piece.lstrip()
        shown = held.rstrip()
        if shown:
            yield shown
            held, begun = held[len(shown) :], True
