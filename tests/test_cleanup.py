"""chat/cleanup.py: raw answers and what is shown of them."""

import pytest

from chat.cleanup import (
    clean_answer,
    cut_loop,
    cut_unfinished_sentence,
    remove_special_tokens,
    tidy_spaces,
    trim,
)


def test_spelled_special_tokens_go():
    assert remove_special_tokens("<|end|>Yes.<|reserved_0|>") == "Yes."
    assert remove_special_tokens("a <| b |> c <|NO|>") == "a <| b |> c <|NO|>"


@pytest.mark.parametrize(
    "raw, shown",
    [
        ("He came , saw , and left .", "He came, saw, and left."),
        ("Who  is   there ?\nI am !", "Who is there?\nI am!"),
        ("  Yes. \n\n\nNo.  \n", "Yes.\n\nNo."),
        ("It is .5 or 3.7, file .txt", "It is .5 or 3.7, file .txt"),
        ("Wait ... what?", "Wait ... what?"),
        ("One line,\n    indented", "One line,\n    indented"),
        ("", ""),
    ],
)
def test_stray_spaces_go_and_meant_ones_stay(raw, shown):
    assert tidy_spaces(raw) == shown
    assert tidy_spaces(shown) == shown


@pytest.mark.parametrize(
    "raw, shown",
    [
        ("He went to the mill and to the mill and to the mill and to", "He went to the mill and"),
        ("the people of it, and the people of it, and the people of it, an", "the people of it, and"),
        ("and the mill, and the mill, and the mi", "and the mill,"),
        ("the the the the", "the"),
        ("Go on. Go on. Go on.", "Go on."),
        ("very very good", "very very good"),
        ("no no no", "no no no"),  # still English
        ("to be or not to be", "to be or not to be"),
        ("a b a b c", "a b a b c"),
        ("one two one two", "one two one two"),
        ("", ""),
    ],
)
def test_of_a_loop_the_first_round_stays(raw, shown):
    assert cut_loop(raw) == shown


@pytest.mark.parametrize(
    "raw, shown",
    [
        ("He came. She wen", "He came."),
        ('"Come!" he said. "Why?" And', '"Come!" he said. "Why?"'),
        ("under the stairs and,", "under the stairs and…"),
        ("It cost 3.50 at the", "It cost 3.50 at the…"),
        ("Done.", "Done."),
        (" ", ""),
    ],
)
def test_an_unfinished_sentence_is_cut_off_or_marked(raw, shown):
    assert cut_unfinished_sentence(raw) == shown


def test_all_steps_together():
    raw = " He came , and left .<|end|>  She sang and sang and sang and"
    assert clean_answer(raw, finished=False) == "He came, and left."
    assert clean_answer("under the stairs") == "under the stairs"
    assert clean_answer(" <|end|> ", finished=False) == ""
    for text in (raw, "x", "Одна мельница , да", "磨坊在河邊。然後"):
        assert clean_answer(clean_answer(text)) == clean_answer(text)


def test_a_stream_loses_the_white_space_at_its_ends():
    assert list(trim(iter(["  ", " a", " ", "b \n", " "]))) == ["a", " b"]
