"""Passages that are put together: what is asked stands in them, and what was left out does not."""

import random
import re
from collections import Counter

import pytest

from conversations import check_data, own, passages
from conversations.passages import NOT_IN_TEXT, choose, held_out_question, passage_of, put_together
from conversations.templates import TemplateError

COLORS = ["red", "blue", "green", "gray"]
ENTRY = {
    "passage": "toy", "slots": {"kim": "person", **{f"c{i}": COLORS for i in range(8)}}, "open": ["This is {kim}."],
    "facts": [
        {"say": [f"Box {i} is {{c{i}}}."],
         "ask": [{"q": [f"What color is box {i}?", f"color of box {i}"], "a": [f"{{c{i}|cap}}."]}],
         "unsaid": [f"The text does not say what color box {i} is."]}
        for i in range(7)
    ] + [
        {"either": [{"say": ["Box 7 is open."], "ask": [{"q": ["Is box 7 open?", "box 7 open"], "a": ["Yes."]}]},
                    {"say": ["Box 7 is shut."], "ask": [{"q": ["Is box 7 open?", "box 7 open"], "a": ["No."]}]}],
         "unsaid": ["The text does not say if box 7 is open."]}
    ],
}  # fmt: skip


def test_answers_are_those_of_the_text_and_what_is_left_out_is_said_to_be():
    passage, said, left_out, kinds = passage_of(ENTRY), 0, 0, Counter()
    for seed in range(400):
        exchanges = put_together(passage, random.Random(seed), 3)
        first, text = exchanges[0][0], exchanges[0][0].lower()
        for question, answer in [(first, exchanges[0][1]), *exchanges[1:]]:
            (number,) = re.findall(r"box (\d)(?! is)", question.lower())  # what is asked, wherever it stands
            told = f"box {number} is " in text
            if answer in NOT_IN_TEXT or answer.startswith("The text does not say"):
                left_out += 1
                assert not told, (first, question, answer)
            else:
                said += 1
                assert told, (first, question, answer)
                meant = {"Yes.": "open", "No.": "shut"}.get(answer, answer.lower().rstrip("."))
                kinds[meant] += 1
                assert f"box {number} is {meant}" in text, (first, question, answer)
    assert 0.15 < left_out / (said + left_out) < 0.5
    assert abs(kinds["open"] - kinds["shut"]) < 0.5 * kinds["open"]


def test_what_a_user_tells_is_answered_first_and_asked_for_later():
    passage = passage_of({**ENTRY, "reply": ["I see."]})
    exchanges = put_together(passage, random.Random(1), 2)
    assert len(exchanges) == 3 and exchanges[0][1] == "I see." and exchanges[0][0].startswith("This is ")


def test_a_held_out_question_ends_its_passage():
    text, question, values = held_out_question(random.Random(3), [passage_of(ENTRY)])
    assert text.count(". ") == 4 and any(text.endswith(wording[-6:]) for wording in question.wordings)
    assert values["c0"] in COLORS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"facts": ENTRY["facts"][:5]}, "only 5 facts"),
        ({"facts": [{**fact, "unsaid": []} for fact in ENTRY["facts"]], "color": 1}, "unknown keys"),
        ({"facts": [{"say": ["A."], "ask": [{"q": ["One?"], "a": ["A."]}], "unsaid": ["No."]}] * 8}, "two wordings"),
        ({"open": ["{nobody}"]}, "nobody"),
    ],
)
def test_what_is_wrong_is_said(change, reason):
    with pytest.raises(TemplateError, match=reason):
        check_data.passage({**ENTRY, **change}, random.Random(0))


def test_the_sets_of_the_course_are_disjoint_and_used():
    kinds = [choose(told, held_out) for told in (False, True) for held_out in (False, True)]
    names = [one.name for some in kinds for one in some]
    assert len(names) == len(set(names)) == len(passages.load()) and len(kinds[0]) > 40 and len(kinds[2]) > 12
    openings = Counter()
    for one in own.conversations(3000, 3):
        if one.kind == "reading":
            openings[one.messages[0]["content"]] += 1
    assert openings.most_common(1)[0][1] <= 3, "hardly two passages are alike"
