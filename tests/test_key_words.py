"""evaluation/answers.py: the kinder marking, by the words that an answer takes from the text."""

import pytest

from evaluation.answers import Answer, holds_key, key_words, sentence_chance

TEXT = "Norris put the broom by the fireplace. The wind was strong. On Friday, Elliott went to Toronto."
ASKED = f"{TEXT}\nTell me where Elliott went on Friday."


def answer(said: str, asked: str = ASKED, expected: str = "Elliott went to Toronto on Friday.") -> Answer:
    return Answer("where", asked, expected, said, said == expected)


def test_the_key_is_what_the_question_does_not_give_away():
    assert key_words(answer("")) == {"toronto"}
    assert key_words(answer("", "What is 2 plus 3?", "2 plus 3 is 5.")) == set()  # no text, so no key


@pytest.mark.parametrize(
    "said, passes",
    [
        ("Elliott went to Toronto on Friday.", True),
        ("He went to Toronto.", True),
        ("TORONTO!", True),
        ("Elliott went to the fireplace.", False),
        ("Norris went to Toronto.", False),  # another word of the text
        ("The text does not say where.", False),
        ("", False),
        (TEXT, False),  # everything
    ],
)
def test_the_right_words_pass_in_any_wording(said, passes):
    assert holds_key(answer(said)) == passes


def test_chance_is_a_sentence_drawn_at_random():
    assert sentence_chance(answer("")) == pytest.approx(1 / 3)
    assert sentence_chance(answer("", "Phoenix, Nassau.\nWhat comes first?", "First comes Phoenix.")) == 0  # too much
