"""The course's own conversations: the same for a seed, all different, honest about what was never trained on."""

import random
import re
import time
from collections import Counter
from itertools import islice

import pytest

import chat_format
import course_dataset
from word_lists import load_words, side_of

N = 20_000
SEED = 1337
PER_KIND = 25
WORD = re.compile(r"[A-Za-z]+|\d+")


@pytest.fixture(scope="module")
def training() -> list[course_dataset.Conversation]:
    load_words("train", course_dataset.reserved_words())  # reading the lists is not what the next line times
    started = time.process_time()
    conversations = list(course_dataset.training_conversations(N, SEED))
    assert time.process_time() - started < 10, "too slow"
    return conversations


@pytest.fixture(scope="module")
def known() -> list[course_dataset.Conversation]:
    return course_dataset.held_out_questions("known", PER_KIND, SEED)


@pytest.fixture(scope="module")
def unseen() -> list[course_dataset.Conversation]:
    return course_dataset.held_out_questions("unseen", PER_KIND, SEED)


def words_of(side: str):
    return load_words(side, course_dataset.reserved_words())


def spelled(conversation: course_dataset.Conversation) -> set[str]:
    """The words and numbers of a conversation, as they are written."""
    return {word for message in conversation.messages for word in WORD.findall(message["content"])}


def from_the_lists(side: str) -> set[str]:
    """Every name, thing and number from 10 of one side."""
    words = words_of(side)
    return {*words.names, *words.things, *(str(n) for n in words.numbers if n >= 10)}


def test_a_seed_gives_the_same_conversations(training):
    again = course_dataset.training_conversations(N, SEED)
    assert list(islice(again, 300)) == training[:300]
    assert list(islice(course_dataset.training_conversations(N, SEED + 1), 20)) != training[:20]


def test_the_exam_is_the_same_for_a_seed(known):
    assert course_dataset.held_out_questions("known", PER_KIND, SEED) == known
    assert course_dataset.held_out_questions("known", PER_KIND, SEED + 1) != known


def test_there_are_at_least_twelve_kinds_and_all_of_them_occur(training, known, unseen):
    assert len(course_dataset.KINDS) == len(set(course_dataset.KINDS)) >= 12
    counts = Counter(conversation.kind for conversation in training)
    assert set(counts) == set(course_dataset.KINDS)
    assert min(counts.values()) >= N / 100
    for questions in (known, unseen):
        assert Counter(q.kind for q in questions) == dict.fromkeys(course_dataset.KINDS, PER_KIND)


def test_conversations_hardly_ever_repeat():
    # 20,000 different ones are asked of the set: a few repetitions among somewhat more are chance.
    conversations = course_dataset.training_conversations(N + N // 10, SEED)
    assert len({str(conversation.messages) for conversation in conversations}) >= N


def test_at_least_a_third_need_the_text_that_is_given(training):
    with_text = {*course_dataset.PASSAGE_KINDS, "follow_up"}
    assert with_text <= set(course_dataset.KINDS)
    assert sum(conversation.kind in with_text for conversation in training) >= N / 3


def test_every_conversation_is_well_formed(training, known, unseen):
    for conversation in [*training, *known, *unseen]:
        chat_format.check(conversation.messages)
        assert conversation.messages[-1] == {"role": "assistant", "content": conversation.answer}
        for message in conversation.messages:
            assert not re.search(r"[{}]|\s$|^\s|  ", message["content"]), message


def test_no_unseen_word_occurs_in_training(training):
    trained = set().union(*map(spelled, training))
    assert not from_the_lists("unseen") & trained
    assert len(from_the_lists("train") & trained) > 10_000  # the check above looks at the right words


def test_unseen_questions_use_unseen_words_alone(unseen):
    asked = set().union(*map(spelled, unseen))
    assert not (from_the_lists("train") - from_the_lists("unseen")) & asked
    assert len(from_the_lists("unseen") & asked) > 500


def test_known_questions_use_words_of_the_training_side(known):
    asked = set().union(*map(spelled, known))
    assert not from_the_lists("unseen") & asked
    assert len(from_the_lists("train") & asked) > 500


def test_each_word_is_on_the_side_of_its_hash():
    for side in ("train", "unseen"):
        words = words_of(side)
        assert all(side_of(word) == side for word in [*words.names, *words.things])
        rng = random.Random(0)
        made_up = [draw(rng) for draw in (words.town, words.coined) for _ in range(200)]
        assert all(side_of(word) == side for word in made_up)
    assert side_of("Mary") == side_of("mary")
    train, unseen = from_the_lists("train"), from_the_lists("unseen")
    assert not train & unseen
    assert 0.05 < len(unseen) / (len(train) + len(unseen)) < 0.2


def test_no_list_word_is_a_word_of_the_templates():
    reserved = course_dataset.reserved_words()
    for side in ("train", "unseen"):
        assert not {word.lower() for word in from_the_lists(side)} & reserved


def test_questions_of_the_exam_are_not_in_training(training, known, unseen):
    first = {conversation.messages[0]["content"] for conversation in training}
    whole = {str(conversation.messages) for conversation in training}
    assert not [q for q in unseen if q.messages[0]["content"] in first or str(q.messages) in whole]
    # Known words can meet by chance where there is one word to a question; 5_SFT_Data leaves such ones out
    # of training. With a text to read it can't happen.
    same = [q for q in known if q.messages[0]["content"] in first]
    assert len(same) <= len(known) / 50
    assert not [q for q in same if q.kind in (*course_dataset.PASSAGE_KINDS, "follow_up")]


def values_in_templates() -> set[str]:
    """Template words that answer questions: colours, places, jobs and days must come from the text."""
    lists = (course_dataset.COLOURS, course_dataset.PLACES, course_dataset.JOBS, course_dataset.DAYS)
    small = {"in", "on", "under", "near", "by", "behind", "the"}
    return {word.lower() for values in lists for value in values for word in WORD.findall(value)} - small


def on_the_last_text(conversation):
    """The messages from the last text on: the subject may have changed before."""
    texts = [i for i, m in enumerate(conversation.messages) if m["role"] == "user" and "\n" in m["content"]]
    return conversation.messages[texts[-1] :]


def test_the_subject_changes_now_and_then(training):
    changed = sum(on_the_last_text(c) != c.messages for c in training if c.kind in course_dataset.PASSAGE_KINDS)
    assert 0.1 < changed / sum(c.kind in course_dataset.PASSAGE_KINDS for c in training) < 0.5


@pytest.mark.parametrize("kind", [*course_dataset.PASSAGE_KINDS, "follow_up"])
def test_answers_about_a_text_are_found_in_the_text(kind, training, unseen):
    glue = course_dataset.reserved_words() - values_in_templates()
    conversations = [c for c in [*training, *unseen] if c.kind == kind]
    assert conversations
    copied = words = 0
    for conversation in conversations:
        messages = on_the_last_text(conversation)
        passage = messages[0]["content"]
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            if answer["content"] == course_dataset.NOT_SAID:
                continue
            offered = {word.lower() for word in WORD.findall(passage + " " + question["content"])}
            answered = [word.lower() for word in WORD.findall(answer["content"])]
            # Every word is in the text or question, or one of the few that hold sentences together.
            assert set(answered) <= offered | glue, (passage, question, answer)
            # A name, thing, number, colour, place, job or day is in the text itself: only it can be the answer.
            told = {word.lower() for word in WORD.findall(passage)}
            facts = [word for word in answered if word not in glue]
            assert facts and set(facts) <= told, (passage, question, answer)
            copied, words = copied + sum(word in offered for word in answered), words + len(answered)
    assert words == 0 or copied / words > 0.75


def test_what_the_text_does_not_say_is_not_in_the_text(training):
    checked = 0
    for conversation in training:
        if conversation.kind != "not_said" or len(conversation.messages) > 2:
            continue
        *passage, question = conversation.messages[0]["content"].splitlines()
        names = set(WORD.findall(question)) & set(words_of("train").names)
        assert conversation.answer == course_dataset.NOT_SAID
        assert not names & set(WORD.findall(" ".join(passage))), conversation
        checked += 1
    assert checked > 50


def test_sums_are_right(training):
    checked = 0
    for conversation in training:
        if found := re.search(r"\b(\d+) (plus|minus) (\d+) is (\d+)", conversation.answer):
            a, sign, b, c = found.groups()
            assert int(a) + int(b) * (1 if sign == "plus" else -1) == int(c), conversation
            checked += 1
    assert checked > 50


def test_an_unknown_kind_or_side_is_refused():
    with pytest.raises(KeyError):
        course_dataset.make("poetry", words_of("train"), random.Random(0))
    with pytest.raises(KeyError):
        course_dataset.held_out_questions("both", 1, SEED)
