"""The cleaning takes time in proportion to its text, whatever the text is."""

import time

import pytest

from books.cleaning import clean_book

REPEATED = ["\n", " \n", "-\n", "- ", "_a", "[", "[Illustration [", "* ", "a\n", "Ã©", "Title: a\n", "Aa ", "{1", "a@"]
RUNS = ["{}x", "x\n{}End of Projet", "[note: {}", "Produced by {}"]


def seconds(text: str) -> float:
    started = time.process_time()
    clean_book(text)
    return time.process_time() - started


@pytest.mark.parametrize("unit", REPEATED)
def test_repeated_signs_are_cleaned_in_time(unit):
    assert seconds(unit * (20_000 // len(unit))) < 1.0


@pytest.mark.parametrize("form", RUNS)
@pytest.mark.parametrize("sign", [" ", "-", "\r", "*", "_", "a"])
def test_long_runs_are_cleaned_in_time(form, sign):
    assert seconds(form.format(sign * 20_000)) < 1.0
