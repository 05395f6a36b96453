"""The everyday exam: marked as its authors mark it, asked as a chat asks, and never trained on."""

import json
from collections import Counter

import pytest
from small_chat import small_model

from artifacts import CourseError
from chat.decoding import Settings
from conversations import own
from conversations.overlap import EXEMPT_WORDS, Exams
from evaluation import everyday_exam
from evaluation.everyday_exam import Item, check, examples, has_loop, mark, read_exam, table

ITEM = Item("x", "sums", ["What is 2 + 2?"], [r"\b4\b", "four"], ["five"])


def test_the_exam_has_twelve_kinds_of_twenty():
    items = read_exam()
    assert set(Counter(item.kind for item in items).values()) == {20} and len(items) == 240
    assert len({item.id for item in items}) == 240 and all(item.turns and item.accept for item in items)


@pytest.mark.parametrize("answer, finished, wrong", [
    ("It is 4.", True, []), ("FOUR", True, []), ("4 or five", True, ["reject"]), ("I don't know.", True, ["no accept"]),
    ("It is 4.", False, ["not finished"]), (" ?! ", True, ["empty"]),
    ("4 is 4 is 4 is 4 is 4 is 4 is 4 is 4", True, ["loop"]), ("", False, ["not finished", "empty"]),
])  # fmt: skip
def test_what_is_right_and_what_is_wrong(answer, finished, wrong):
    assert check(ITEM, answer, finished) == wrong


def test_four_words_three_times_are_a_loop():
    assert has_loop("I have no name, I have no name, I have no name.")
    assert not has_loop("no, no, no, no") or has_loop("no no no no no no")
    assert not has_loop("I have no name, I have no name.")


def test_each_item_is_a_conversation_of_its_own(monkeypatch, tokenizer, tmp_path):
    items = [ITEM._replace(id="a", turns=["Hi", "What is 2 + 2?"]), ITEM._replace(id="b", kind="other")]
    path = tmp_path / "exam.jsonl"
    path.write_text("\n".join(json.dumps(item._asdict()) for item in items), encoding="utf-8")
    asked = []

    def answers(model, tokenizer, prompts, settings, **_):
        asked.append([tokenizer.decode(prompt) for prompt in prompts])
        texts = [[" Hello.", " It is 5."], [" It is 4."]][len(asked) - 1]
        return [tokenizer.encode(text) for text in texts]

    monkeypatch.setattr(everyday_exam, "generate_batch", answers)
    marked = mark(small_model(tokenizer, context=128), tokenizer, path, Settings(temperature=0))
    assert asked[1] == ["<|user|> Hi<|end|><|assistant|> Hello.<|end|><|user|> What is 2 + 2?<|end|><|assistant|>"]
    assert [(one.answer, one.wrong) for one in marked] == [("It is 4.", []), ("It is 5.", ["no accept"])]
    rows = table(marked)
    assert [(row["kind"], row["right"]) for row in rows] == [("sums", 1), ("other", 0), ("all", 1)]
    assert rows[-1]["asked"] == 2 and rows[-1]["no accept"] == 1
    assert examples(marked, 1, seed=1) == examples(marked, 1, seed=1)


@pytest.mark.parametrize("context, kept", [(256, 2), (100, 0)])
def test_what_was_said_before_is_in_the_prompt_as_far_as_it_fits(monkeypatch, tokenizer, context, kept):
    said = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    asked = []

    def answers(model, tokenizer, prompts, settings, **_):
        asked.extend(tokenizer.decode(prompt) for prompt in prompts)
        return [tokenizer.encode(" 4.") for _ in prompts]

    monkeypatch.setattr(everyday_exam, "generate_batch", answers)
    replies = everyday_exam.ask(
        small_model(tokenizer, context=context), tokenizer, [ITEM], Settings(temperature=0), before=[said]
    )
    assert replies == [("4.", True)] and len(said) == 4
    assert asked[0].count("<|user|>") == 1 + kept and asked[0].endswith("What is 2 + 2?<|end|><|assistant|>")


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "exam.jsonl"
    with pytest.raises(CourseError, match="Can't read"):
        read_exam(path)
    for text in ("{", '{"id": 1}', "[]"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CourseError, match="Damaged"):
            read_exam(path)


def test_guessing_is_the_one_answer_that_would_be_right_most_often():
    items = [Item(str(i), "fruit", ["Name one."], [word], []) for i, word in enumerate(("apple", "apple|pear", "plum"))]
    said = [("An apple.", True), ("A pear.", True), ("apple plum pear", False)]
    marked = [everyday_exam.Marked(item, *one, []) for item, one in zip(items, said, strict=True)]
    assert everyday_exam.constant_answers(marked) == {"fruit": ("An apple.", 2)}
    told = everyday_exam.record([marked[0], marked[1]._replace(wrong=["no accept"]), marked[2]], per_kind=3)
    assert told["kinds"][0] == {"kind": "fruit", "right": 2, "asked": 3, "guessing": 2}
    assert told["kinds"][1]["kind"] == "all" and told["kinds"][1]["guessing"] == 2
    assert sorted(row["right"] for row in told["examples"]) == [False, True, True]


def test_no_training_conversation_has_an_item_of_the_exam():
    exams = Exams()
    for item in everyday_exam.read_exam():
        exams.add_prompts("everyday exam", item.turns)
    assert exams.exempt and all(len(turn.split()) <= EXEMPT_WORDS for turn in exams.exempt)
    kept = [one for one in own.conversations(6000, 1) if exams.overlap(one.messages, "own", True) is None]
    assert len(kept) > 0.97 * 6000  # few are as like as that
    prompts = {
        turn.lower().strip(" .?!") for item in read_exam() for turn in item.turns if len(turn.split()) > EXEMPT_WORDS
    }
    assert not prompts & {
        m["content"].lower().strip(" .?!") for one in kept for m in one.messages if m["role"] == "user"
    }
    planted = [{"role": "user", "content": read_exam()[75].turns[-1]}, {"role": "assistant", "content": "So."}]
    assert exams.overlap(planted, "own", True) == "everyday exam"
