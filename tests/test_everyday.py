"""Everyday conversations: the data files are right, and what is made of them is, too."""

import json
import random
import re
from collections import Counter

import pytest

from conversations import check_data, everyday, own, stories, typed
from conversations.chat_format import check
from conversations.templates import (
    COMMON_VALUES,
    TemplateError,
    by_rank,
    common_names,
    draw_person,
    draw_slots,
    fill,
    listing,
    plural,
    with_article,
)
from conversations.word_lists import side_of

N = 12_000
# What the set promises at the least.
QUANTITIES = {"intents": 700, "facts": 3_000, "scenes": 300, "threads": 150}


@pytest.fixture(scope="module")
def made():
    return list(own.conversations(N, 5))


# ---- the language of the files


def test_slots_filters_sums_and_alternatives():
    values = {"_words": False, "fruit": "apple", "n": 7, "m": 3, "list": "pear, apple, melon"}
    rng = random.Random(1)
    for text, filled in {
        "Take {fruit|a}.": "Take an apple.",
        "{fruit|A} is here.": "An apple is here.",
        "{fruit|plural|upper}": "APPLES",
        "{n-m} and {n+m} and {n*m} and {n+1}": "4 and 10 and 21 and 8",
        "{list|sorted}, {list|count}, {list|last}": "apple, melon, pear, 3, melon",
        "{list|and}": "pear, apple and melon",
        "{fruit|spell}": "A-P-P-L-E",
        "{fruit} fell.": "Apple fell.",
        "[the|the] {fruit|cap}": "the Apple",
    }.items():
        assert fill(text, values, rng) == filled
    assert {fill("[a|{fruit|a}|c]", values, rng) for _ in range(50)} == {"a", "an apple", "c"}
    for wrong in ("{nothing}", "{fruit|nothing}", "{fruit-n}"):
        with pytest.raises(TemplateError, match="nothing|fruit"):
            fill(wrong, values, rng)


def test_small_numbers_are_words_or_digits_in_the_whole_talk():
    assert fill("{n}, {n+9}, {n|digits}", {"_words": True, "n": 3}, random.Random(0)) == "three, twelve, 3"
    assert fill("{n|cap} and {n+9}", {"_words": True, "n": 3}, random.Random(0)) == "Three and twelve"
    assert fill("{n}, {n+9}", {"_words": False, "n": 3}, random.Random(0)) == "3, 12"


def test_articles_and_plurals():
    nouns = ("apple", "unicorn", "hour", "European car", "umbrella", "one-way street", "horse", "x-ray", "N", "u")
    assert " ".join(with_article(noun).split()[0] for noun in nouns) == "an a an a an a a an an a"
    nouns = ("box", "city", "day", "tomato", "wife", "cup of tea", "swimming pool")
    plurals = ["boxes", "cities", "days", "tomatoes", "wives", "cups of tea", "swimming pools"]
    assert [plural(noun) for noun in nouns] == plurals
    assert listing(["a"]) == "a" and listing(["a", "b", "c"]) == "a, b and c"


def test_people_have_pronouns_and_names_of_the_training_side():
    rng = random.Random(3)
    people = [draw_person("person", rng) for _ in range(2000)]
    women = common_names()["woman"][0]
    assert all((person.pronouns["he"] == "she") == (person.name in women) for person in people
               if (person.name in women) != (person.name in common_names()["man"][0]))  # fmt: skip
    assert all(side_of(person.name) == "train" for person in people)
    counts = Counter(str(person) for person in people)
    assert len(counts) > 150 and counts.most_common(1)[0][1] < 100  # common names come often, none all the time
    values = {"_words": False, "kim": draw_person("woman", rng)}
    assert fill("{kim.He} lost {kim.his} key.", values, rng) == "She lost her key."


def test_slots_of_one_entry_differ_and_linked_ones_go_together():
    rng = random.Random(4)
    slots = {"a": "person", "b": "person", "x": ["red", "blue"], "y": ["red", "blue"], "k, v": [["cow", 1], ["owl", 2]]}
    for _ in range(200):
        values = draw_slots(slots, rng)
        assert str(values["a"]) != str(values["b"]) and values["x"] != values["y"]
        assert (values["k"], values["v"]) in {("cow", 1), ("owl", 2)}
    with pytest.raises(TemplateError, match="slot 'n' is 'many'"):
        draw_slots({"n": "many"}, rng)


# ---- the files


def test_all_data_files_are_right_and_as_many_as_promised(capsys):
    assert check_data.main([]) == 0, capsys.readouterr().out
    counts = check_data.count_all()
    assert all(counts[folder] >= least for folder, least in QUANTITIES.items()), counts
    kinds = Counter(stories.kind_of(entry) for entry in everyday.load().stories)
    assert kinds["plot"] >= 120 and kinds["joke"] + kinds["riddle"] + kinds["poem"] >= 100


def test_a_wrong_file_is_one_line(tmp_path, capsys):
    for folder, text, line in (
        ("intents", "- intent: x\n  ask: [a]\n  answer: [b]\n", "12 different wordings"),
        ("intents", "- intent: x\n  ask: [[", "x.yaml"),
        ("scenes", "- scene: s\n  text: 'One. Two.'\n  ask: []\n", "questions"),
        ("threads", "just a text", "a list of entries"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "x.yaml").write_text(text, encoding="utf-8")
        assert check_data.main([str(tmp_path / folder / "x.yaml")]) == 1
        shown = capsys.readouterr().out
        assert line in shown and "Traceback" not in shown


# ---- conversations


def test_a_seed_gives_the_same_conversations_in_whatever_pieces(made):
    assert list(own.conversations(200, 5)) == made[:200] != list(own.conversations(200, 6))
    assert list(own.conversations(50, 5, start=100)) == made[100:150]


def test_conversations_are_well_formed_and_nothing_is_left_unfilled(made):
    for one in made:
        check(one.messages)
        assert one.messages[-1]["role"] == "assistant"
        for message in one.messages:
            assert not re.search(r"[{}]", message["content"]), message


def test_every_kind_comes_in_its_share(made):
    counts = Counter(one.kind if one.kind in own.SHARES else "drills" for one in made)
    for kind, share in own.SHARES.items():
        expected = N * share / sum(own.SHARES.values())
        assert abs(counts[kind] - expected) < 5 * expected**0.5, kind


@pytest.mark.parametrize("text", ["?", "...", "!"])
def test_a_message_of_marks_alone_stays_a_message(text):
    assert all(typed.as_typed(text, random.Random(seed)).strip() for seed in range(300))


def test_what_is_asked_often_comes_more_often_and_the_small_set_holds_nothing_else(made):
    entry = {"intent": "a", "ask": ["a?"], "answer": ["A."]}
    read = [everyday.intent_of({**entry, **more}, "talk") for more in ({}, {"often": 10}, {"practice": 3})]
    assert [(one.often, one.common) for one in read] == [(1, False), (10, True), (3, False)]
    every, common = everyday.load(), everyday.load_common()
    for kind, questions in common.questions.items():
        assert 0.1 < len(questions) / len(every.questions[kind]) < 0.6, kind
        assert all(len(v) <= COMMON_VALUES for q in questions for v in q.slots.values() if isinstance(v, list))
    assert 0.05 < len(common.scenes) / len(every.scenes) < 0.4 and common.held_out_scenes == every.held_out_scenes
    few = list(own.conversations(3000, 5, common=True))
    first = Counter(one.messages[0]["content"] for one in few if one.kind == "talk")
    assert first.most_common(1)[0][1] > Counter(
        one.messages[0]["content"] for one in made if one.kind == "talk"
    ).most_common(1)[0][1] / (N / 3000)


def test_long_lists_are_drawn_from_the_front_and_short_ones_evenly():
    rng, long, short = random.Random(3), list(range(200)), list(range(5))
    drawn = Counter(by_rank(long, rng) < 20 for _ in range(4000))
    assert 0.25 < drawn[True] / 4000 < 0.4 and {by_rank(long, rng) for _ in range(20_000)} == set(long)
    assert min(Counter(by_rank(short, rng) for _ in range(4000)).values()) > 700


def test_what_is_held_out_is_not_trained_on(made):
    questions = own.held_out_questions(15, 3)
    assert Counter(q.kind for q in questions) == dict.fromkeys(
        ("talk", "knowledge", "facts", "sums", "words", "instructions", "reading"), 15
    )
    for question in questions:
        check(question.messages)
        assert question.answer in question.accepted
    wordings = {text for some in everyday.load().questions.values() for q in some for text in q.held_out}
    trained = {text for some in everyday.load().questions.values() for q in some for text in q.wordings}
    assert wordings
    assert sorted(wordings & trained) == []
    plain = {text for text in wordings if "{" not in text and "[" not in text}
    asked = {m["content"] for one in made for m in one.messages if m["role"] == "user"}
    assert sorted(plain & asked) == []
    names = {scene.name for scene in everyday.load().scenes}
    assert not names & {scene.name for scene in everyday.load().held_out_scenes}


def test_questions_are_typed_as_people_type_and_stay_the_question():
    rng = random.Random(2)
    forms = {typed.as_typed("What is the color of the sky?", rng) for _ in range(400)}
    assert {"What is the color of the sky?", "what is the color of the sky"} <= forms and len(forms) > 40
    assert all(len(form) > 20 for form in forms)
    assert typed.with_typo("a to I", rng) == "a to I"  # nothing long enough to slip in


def _frame_of(message, text, question):
    """What stands around a passage and its question."""
    left = message.lower().replace(text.lower(), "<text>")
    return left.replace(question.lower(), "<question>")


def test_a_quarter_of_the_passages_are_announced_labeled_or_quoted():
    text, question, rng = "Kim has a dog. It is old.", "Who has a dog?", random.Random(8)
    frames = Counter(_frame_of(typed.with_question(text, question, rng), text, question) for _ in range(6000))
    plain = {"<text> <question>", "<text>\n<question>", "<text>\n\n<question>",
             "<question> <text>", "<question>\n<text>", "<question>\n\n<text>"}  # fmt: skip
    framed = {frame: n for frame, n in frames.items() if frame not in plain}
    assert 0.2 < sum(framed.values()) / 6000 < 0.3 and len(framed) >= 40 and max(framed.values()) < 150
    assert all(frame.count("<text>") == frame.count("<question>") == 1 for frame in frames), frames
    for part in ("read this", "according to the text, <question>", '"<text>"', "text: <text>", "i have this note"):
        assert any(part in frame for frame in framed), part


def test_a_frame_fits_the_passage_and_the_question():
    rng = random.Random(9)
    chat, said = "A talk:\nKim: Hi.\nTom: Bye.", 'Kim said "no" to Tom.'
    for _ in range(2000):
        for text in (chat, said, "Milk\nEggs"):
            message = typed.with_question(text, "so, who is Kim", rng)
            at = message.lower().index("so, who is kim")
            assert text in message or text.lower() in message.lower()
            assert message[at + 14 :].strip(" ") == "" or message[at + 14] == "\n", (
                message
            )  # no mark: a line of its own
            assert "text, so" not in message and "wrote, so" not in message and f'"{said}"' not in message
            assert text is said or not re.search(r"Bye\. \S|Eggs \S", message), message  # the last line stays one
    asked = {typed.with_question("Kim is old.", "Who is old?", rng) for _ in range(2000)}
    assert any("According to the text, who is old?" in message for message in asked)


def test_what_is_added_fits_what_is_said():
    rng = random.Random(6)
    for text, never in (
        ("ur stupid", r"pl(ea)?s|\?|^\w+[, ] ?ur"),  # a statement
        ("Have a great day!", r"pl(ea)?s|\?|, have"),
        ("What is a bee? I'm Ann.", r"\?$|\?!"),
        ("What a surprise!", r"\?|, what"),
        ("please tell me a joke", r"please.*pl(ea)?s"),
        ("Is it bad?", r"pl(ea)?s|!$(?<!\?!)"),
    ):
        forms = {typed.as_typed(text, rng) for _ in range(300)}
        assert len(forms) > 4 and not [form for form in forms if re.search(never, form)], text
    inside = {typed.as_typed("Where is the key?", rng, under_way=True) for _ in range(500)}
    assert not [form for form in inside if re.match(r"(hi|hello|hey|folio)\b", form, re.I)]


def test_names_and_what_a_question_is_about_are_spelled_right():
    rng = random.Random(3)
    for _ in range(300):
        assert re.findall("derek|stories", typed.with_typo("derek reads some stories", rng, {"derek", "stories"})) == [
            "derek", "stories",
        ]  # fmt: skip
    table = {"table": "t", "columns": ["one", "many"], "ask": ["so what is more than one {one} called"],
             "answer": ["{many|cap}."], "rows": [["kitchen", "kitchens"]]}  # fmt: skip
    (question,) = everyday.table_of(table)
    assert all("kitchen" in everyday.about_facts(question, rng)[0][0].lower() for _ in range(300))


def test_a_question_that_says_it_does_not_stand_before_its_text():
    rng, text = random.Random(4), "Kim found a coin in the park."
    for question, may in (("Who found it?", False), ("where was she", False), ("Who found a coin?", True)):
        messages = [typed.with_question(text, question, rng).lower() for _ in range(600)]
        first = [one for one in messages if one.index(question.lower()) < one.index(text.lower())]
        assert bool(first) == may, first[:1]


def test_later_questions_say_what_they_are_about():
    scene = everyday.scene_of({"scene": "s", "text": ["A bus and a boat left."], "ask": [
        {"kind": "when", "q": ["When did the bus leave?", "when did it leave"], "a": ["At six."]},
        {"kind": "when", "q": ["When did the boat leave?", "when did it leave"], "a": ["At ten."]},
    ]})  # fmt: skip
    rng = random.Random(5)
    said = [turn for _ in range(200) for turn, _ in everyday.reading(scene, rng, 2)[1:]]
    assert said and not [turn for turn in said if re.search(r"\bit\b", turn)]


def test_nothing_stands_before_what_it_does_not_fit():
    def fits(before: tuple[str, str], *exchanges: tuple[str, str]) -> bool:
        return own._fits_before([before], list(exchanges))

    plain = ("Is a cat a pet?", "Yes.")
    assert fits(plain, ("Is a dog a pet?", "Yes."))
    assert not fits(("bye", "Goodbye! Take care."), plain)
    assert not fits(plain, ("hi", "Hello! How are you?"))
    assert not fits(plain, ("Is a dog a pet?", "Yes."), ("What was my first question?", "If a cat is a pet."))
    assert not fits(("i'm off", "Take care."), plain) and not fits(("see ya", "I was glad to talk."), plain)
    assert not fits(plain, ("Hey, why is the sky blue?", "The air scatters blue light the most."))
    assert not fits(("thanks", "You're welcome, any time."), ("thank you", "You're welcome, any time."))
    assert not fits(("I can't go on.", "I'm so sorry. Please talk to someone you trust."), plain)
    assert not fits(("My name is Ann.", "Hello, Ann!"), ("who r u", "I'm Folio. What's your name?"))
    assert not fits(("I'm Ann.", "Hello, Ann!"), ("Call me Bob.", "Sure, Bob."))


def test_a_reply_never_follows_an_answer_about_something_else(made):
    leaning = {question.wordings for some in everyday.load().questions.values() for question in some if question.leans}
    texts = {text for wordings in leaning for text in wordings if "{" not in text and "[" not in text}
    others = {text for kind in everyday.load().questions.values() for q in kind if not q.leans for text in q.wordings}
    others |= {text for one in everyday.load().threads for wordings, _ in one.turns for text in wordings}
    said = [m["content"] for one in made for m in one.messages[2:] if m["role"] == "user"]
    assert len(texts - others) > 300 and not (texts - others) & set(said)


def test_a_second_question_about_a_table_names_a_thing():
    table = {"table": "t", "columns": ["day", "place"], "ask": ["Which day is {place}?", "Where does {day} come?"],
             "answer": ["{day}, {place}."], "rows": [["Monday", "first"], ["Tuesday", "second"]]}  # fmt: skip
    (question,) = everyday.table_of(table)
    assert question.follow and all("{day}" in text for text in question.follow)
    talks = [everyday.about_facts(question, random.Random(seed)) for seed in range(200)]
    pairs = [(first[0], second[0]) for first, *rest in talks for second in rest]
    assert pairs and not [
        pair for pair in pairs for day in ("monday", "tuesday") if "\n".join(pair).lower().count(day) > 1
    ]
    clauses = {**table, "columns": ["do"], "ask": ["How do I {do}?"], "answer": ["So."],
               "rows": [["catch a train"], ["boil an egg"]]}  # fmt: skip
    assert next(everyday.table_of(clauses)).follow == ()


def test_topics_and_solutions_are_worded_as_people_do():
    assert stories._forms("a dog") == {"topic": "a dog", "things": "dogs"}
    assert stories._forms("the sea") == {"topic": "the sea", "things": "the sea"}
    entry = {"riddle": "What is orange and sounds like a parrot?", "answer": "A carrot."}
    told = {turns[-1][1] for turns in (stories.tell(entry, random.Random(seed)) for seed in range(40))}
    assert told == {"A carrot.", "It is a carrot.", "The answer is a carrot."}


def test_the_command_writes_lines_of_json(capfdbinary):
    assert own.main(["--n", "5", "--seed", "5"]) == 0
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.decode().splitlines()]
    assert [line["messages"] for line in lines] == [one.messages for one in own.conversations(5, 5)]
