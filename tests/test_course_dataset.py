"""The course's own conversations: the same for a seed, all different, honest about what was never trained on."""

import random
import re
import time
from collections import Counter, defaultdict

import pytest

from conversations import chat_format, drill_facts, drill_sets, drill_templates, drills, phrasings
from conversations.drills import Draw
from conversations.word_lists import load_words, side_of

N = 40_000
SEED = 1337
PER_KIND = 25
WORD = re.compile(r"[A-Za-z]+|\d+")
NUMBER = {"known": 3, "unseen": 5, "phrasing": 7}


def book_of(number: int) -> str:
    """A made-up book whose sentences are all different; books of different numbers share none."""
    rng, made = random.Random(number), []
    nouns = "harbour window candle meadow captain village morning journey garden lantern chimney orchard".split()
    for i in range(400):
        a, b, c, d = rng.sample(nouns, 4)
        name = "".join(rng.choices("aeioulmnrst", k=6)).capitalize()
        made.append(f"Once the {a} stood beside the {b} and old {name} walked to the {c} with {number}0{i} of us. "
                    f"Later the {d} was seen again by nobody in {'that ' * (i % 3)}valley.")  # fmt: skip
    return "\n\n".join(made)


@pytest.fixture(scope="module")
def pages() -> list[str]:
    return drill_sets.book_pages([book_of(1)])


@pytest.fixture(scope="module")
def training(pages) -> list[chat_format.Conversation]:
    list(drill_sets.conversations(10, SEED, pages=pages))  # reading the lists is not what the next line times
    started = time.process_time()
    made = list(drill_sets.conversations(N, SEED, pages=pages))
    assert time.process_time() - started < 15, "too slow"
    return made


@pytest.fixture(scope="module")
def exams() -> dict[str, list[chat_format.Conversation]]:
    pages = {split: drill_sets.book_pages([book_of(NUMBER[split])]) for split in drill_sets.SPLITS}
    return {split: drill_sets.held_out_questions(split, PER_KIND, SEED, pages) for split in drill_sets.SPLITS}


def words_of(side: str):
    return load_words(side, drill_sets.reserved_words())


def spelled(conversation: chat_format.Conversation) -> set[str]:
    """The words and numbers of a conversation, as they are written."""
    return {word for message in conversation.messages for word in WORD.findall(message["content"])}


def from_the_lists(side: str) -> set[str]:
    """Every name, thing and made-up word of one side."""
    words = words_of(side)
    return {*words.names, *words.things, *words.made_up_names, *words.towns, *words.coined_words}


def ours(conversations) -> list[chat_format.Conversation]:
    """Those with no page of a book in them, which brings its own words. A subject may have changed before."""
    pages = {"valley", "Once"}
    return [c for c in conversations if c.kind not in drills.BOOK_KINDS and not pages & spelled(c)]


def test_a_seed_gives_the_same_conversations(training, pages):
    assert list(drill_sets.conversations(300, SEED, pages=pages)) == training[:300]
    assert list(drill_sets.conversations(20, SEED + 1, pages=pages)) != training[:20]


def test_ranges_of_indices_make_up_the_whole(training, pages):
    parts = [list(drill_sets.conversations(n, SEED, start, pages)) for start, n in ((700, 300), (0, 650), (650, 50))]
    assert parts[1] + parts[2] + parts[0] == training[:1000]


def test_at_least_thirty_kinds_all_occur_in_their_share(training, exams):
    kinds = drills.KINDS
    assert len(kinds) == len(set(kinds)) >= 30
    weights = {kind: drill_sets.OFTEN.get(kind, 1) for kind in kinds}
    counts = Counter(conversation.kind for conversation in training)
    for kind in kinds:
        expected = N * weights[kind] / sum(weights.values())
        assert abs(counts[kind] - expected) < 5 * expected**0.5, kind
    for questions in exams.values():
        assert Counter(q.kind for q in questions) == dict.fromkeys(kinds, PER_KIND)


def test_every_kind_is_worded_in_many_ways(training):
    questions, answers = defaultdict(set), defaultdict(set)
    for conversation in training:
        question, answer = conversation.phrasings[-1]
        questions[conversation.kind].add(question)
        answers[conversation.kind].add(answer)
    for kind in drills.KINDS:
        assert len(questions[kind]) >= 20 and len(answers[kind]) >= 8, kind


def test_conversations_hardly_ever_repeat(training):
    assert len({str(conversation.messages) for conversation in training}) > 0.995 * N


def test_refusals_are_few_but_there(training):
    refused = ("so I cannot say.", drill_sets.NOT_SAID)
    answers = [m["content"] for c in training for m in c.messages if m["role"] == "assistant"]
    assert 0.02 < sum(any(text in answer for text in refused) for answer in answers) / len(answers) < 0.1
    assert 0.02 < sum(any(text in c.answer for text in refused) for c in training) / N < 0.1


def test_every_conversation_is_well_formed(training, exams):
    for conversation in [*training, *(q for questions in exams.values() for q in questions)]:
        chat_format.check(conversation.messages)
        assert conversation.messages[-1] == {"role": "assistant", "content": conversation.answer}
        for message in conversation.messages:
            assert not re.search(r"[{}]|\s$|^\s|  ", message["content"]), message


def test_no_unseen_word_occurs_in_training(training):
    trained = set().union(*map(spelled, ours(training)))
    assert not (from_the_lists("unseen") - from_the_lists("train")) & trained
    assert len(from_the_lists("train") & trained) > 20_000  # the check above looks at the right words
    unseen_numbers = {str(n) for n in words_of("unseen").numbers if n > 12}
    assert not unseen_numbers & trained


def test_each_exam_uses_the_words_it_says(exams):
    for split, side, other in (("known", "train", "unseen"), ("phrasing", "train", "unseen"),
                               ("unseen", "unseen", "train")):  # fmt: skip
        asked = set().union(*map(spelled, ours(exams[split])))
        assert not (from_the_lists(other) - from_the_lists(side)) & asked, split
        assert len(from_the_lists(side) & asked) > 500
        assert {q.split for q in exams[split]} == {split}


def test_each_word_is_on_the_side_of_its_hash():
    for side in ("train", "unseen"):
        assert all(side_of(word) == side for word in from_the_lists(side))
    assert side_of("Mary") == side_of("mary")
    train, unseen = from_the_lists("train"), from_the_lists("unseen")
    assert not {w.lower() for w in train} & {w.lower() for w in unseen}
    assert 0.05 < len(unseen) / (len(train) + len(unseen)) < 0.2
    reserved = drill_sets.reserved_words()
    assert not {word.lower() for word in train | unseen} & reserved
    for side, least in (("train", {"names": 1000, "towns": 1000, "coined_words": 1000, "things": 600,
                                   "everyday_things": 400, "real_towns": 240}),
                        ("unseen", {"everyday_things": 40, "real_towns": 25})):  # fmt: skip
        assert all(len(getattr(words_of(side), key)) >= n for key, n in least.items()), side


def test_no_question_of_the_exam_is_in_training(training, exams):
    first = {conversation.opening for conversation in training}
    for split in ("unseen", "phrasing"):
        # A memory begins with a plain sentence of training: what is held out is the question.
        assert not [q for q in exams[split] if q.opening in first and q.kind != "memory"]
    # Known words can meet by chance where there is one word to a question; 5_SFT_Data leaves those out of training.
    same = [q for q in exams["known"] if q.opening in first and q.kind != "memory"]
    assert len(same) <= len(exams["known"]) / 25
    assert not [q for q in same if q.kind in (*drills.PASSAGE_KINDS, "follow_up")]


def test_held_out_wordings_are_never_trained_on(training, exams):
    trained = {question for c in training for question, _ in c.phrasings}
    held_out = [q.phrasings[-1][0] for q in exams["phrasing"]]
    assert not trained & set(held_out)
    frames = [frame[0].replace("{0}", "") for frame in phrasings.frames().held_out]
    texts = "\n".join(m["content"] for c in training for m in c.messages)
    assert frames and not [frame for frame in frames if frame.strip() in texts]
    assert "Any idea where" not in texts and "Is it correct that" not in texts
    # Half of the exam has a question of its own, half a known one in a frame of its own; answers are worded as ever.
    framed = sum(any(frame.strip() in q for frame in frames) for q in held_out)
    assert 0.3 < framed / len(held_out) < 0.6


def test_held_out_questions_have_answers_worded_as_in_training():
    tables = [table for fact in drill_facts.FACTS for table in fact.tables.values()]
    tables += [*drill_templates.LISTS.values(), *drill_templates.BOOKS.values(), drill_facts.NOT_SAID_QUESTIONS]
    tables += [table for pairs in drill_templates.SIMPLE.values() for _, table in pairs]
    tables += [table for _, _, table in drill_templates.MEMORY]
    for table in tables:
        asks = phrasings.asks(table)
        assert asks.held_out and {a for _, a in asks.held_out} <= {a for _, a in asks.train}, table
        assert not {q for q, _ in asks.held_out} & {q for q, _ in asks.train}, table


def values_in_templates() -> set[str]:
    """Template words that answer questions: colours, places, jobs and days must come from the text."""
    lists = (drill_facts.COLOURS, drill_facts.PLACES, drill_facts.JOBS, drill_facts.DAYS)
    small = {"in", "on", "under", "near", "by", "behind", "the"}
    return {word.lower() for values in lists for value in values for word in WORD.findall(value)} - small


def on_the_last_text(conversation):
    """The messages from the last text on: the subject may have changed before."""
    texts = [i for i, m in enumerate(conversation.messages) if m["role"] == "user" and "\n" in m["content"]]
    return conversation.messages[texts[-1] :]


@pytest.mark.parametrize("kind", [*drills.PASSAGE_KINDS, "follow_up"])
def test_answers_about_a_text_are_found_in_the_text(kind, training, exams):
    glue = drill_sets.reserved_words() - values_in_templates()
    conversations = [c for c in [*training, *exams["unseen"], *exams["phrasing"]] if c.kind == kind]
    assert conversations
    for conversation in conversations:
        messages = on_the_last_text(conversation)
        passage = messages[0]["content"].rpartition("\n")[0]
        told = {word.lower() for word in WORD.findall(passage)}
        for answer in messages[1::2]:
            if drill_sets.NOT_SAID in answer["content"]:
                continue
            facts = [w.lower() for w in WORD.findall(answer["content"]) if w.lower() not in glue]
            # A name, thing, number, colour, place, job or day is in the text itself: only it can be the answer.
            assert facts and set(facts) <= told, (passage, answer)


def test_yes_and_no_follow_from_the_text(exams):
    said = Counter()
    for q in (q for questions in exams.values() for q in questions if q.kind == "yes_no"):
        passage, _, question = q.messages[0]["content"].rpartition("\n")
        word, _, told = re.search(r"(Yes|No)(, )(.*)$", q.answer).groups()
        assert told.lower() in passage.lower() or told.startswith(tuple(words_of("train").names)) or "went" in told
        missing = [w for w in WORD.findall(told) if w not in WORD.findall(question)]
        changed = [w for w in missing if w.lower() in values_in_templates() or w[0].isupper() or w.isdigit()]
        assert bool(changed) == (word == "No"), q
        said[word] += 1
    assert min(said.values()) > 15


def test_what_the_text_does_not_say_is_not_in_the_text(training):
    checked = 0
    for conversation in training:
        if conversation.kind != "not_said" or len(conversation.messages) > 2:
            continue
        passage, _, question = conversation.messages[0]["content"].rpartition("\n")
        names = set(WORD.findall(question)) & set(words_of("train").names)
        assert drill_sets.NOT_SAID in conversation.answer
        assert not names & set(WORD.findall(passage)), conversation
        checked += 1
    assert checked > 50


def test_answers_from_books_stand_on_their_page(training, exams):
    checked = Counter()
    for c in [*training, *(q for questions in exams.values() for q in questions)]:
        if c.kind not in drills.BOOK_KINDS:
            continue
        page, _, question = c.messages[0]["content"].rpartition("\n")
        if c.kind == "book_name":
            name = re.search(r"(\w+)\.$", c.answer)[1]
            assert set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}", page)) == {name}
        else:
            part = re.search(r'"(.*)"', c.answer.replace('" comes "', " "))[1]
            assert page.count(part) == 1 or c.kind in ("book_first", "book_last")
            if c.kind == "book_next":
                asked = re.search(r'"(.*)"', question)[1]
                assert part.startswith(asked) and page.count(asked) == 1 and len(part.split()) == 5
            else:
                assert page.startswith(part) if c.kind == "book_first" else page.rstrip(".,;:").endswith(part)
        checked[c.kind] += 1
    assert len(checked) == 4 and min(checked.values()) > 100


def test_pages_put_aside_are_no_pages_of_training():
    aside, rest = (drill_sets.book_pages([book_of(1)], held_out) for held_out in (True, False))
    assert aside and not set(aside) & set(rest)
    assert sorted(aside + rest) == sorted(drill_sets.book_pages([book_of(1)]))
    assert len(drill_sets.book_pages([book_of(1)], limit=10)) == 10


def test_sums_counts_and_places_in_lists_are_right(training):
    checked = Counter()
    for c in training:
        question = c.messages[0]["content"]
        if c.kind == "arithmetic":
            a, b, total = map(int, re.search(r"(\d+) (?:and|plus) (\d+) (?:make|is) (\d+)", c.answer).groups())
            assert a + b == total
        elif c.kind == "counting":
            listed = re.search(r"(?:\w+, )+\w+", question.replace("if you can.", "").rpartition(": ")[2])[0]
            assert len(listed.split(", ")) == int(re.search(r"\d+", c.answer)[0])
        elif c.kind == "after":
            asked, found = re.search(r"(?:After |The word after )?(\S+) (?:comes|is followed by|is) (\S+)\.$",
                                     c.answer).groups()  # fmt: skip
            assert f"{asked}, {found}" in question.partition("\n")[0], c
        elif c.kind == "comparing":
            told = question.rpartition("\n")[0]
            numbers = {name: int(n) for name, n in re.findall(r"(\w+) (?:is|has) (\d+)", told)}
            told_first = re.split(r" than |, because ", c.answer)[0]
            (who,) = (name for name in numbers if re.search(rf"\b{name}\b", told_first))
            more = re.search(r"\b(older|taller|richer)\b", told_first) is not None
            assert more or re.search(r"\b(younger|shorter|poorer)\b", told_first)
            assert (numbers[who] == max(numbers.values())) == more, c
        else:
            continue
        checked[c.kind] += 1
    assert len(checked) == 4 and min(checked.values()) > 300


def test_system_messages_are_obeyed(training):
    seen = Counter()
    for c in training:
        if c.messages[0]["role"] == "system":
            order = c.messages[0]["content"]
            if c.kind == "system_short":
                assert len(set(WORD.findall(c.answer)) - {"Answer"}) == 1, c
            else:
                named = re.findall(r"\b[A-Z][a-z]+\b", order)
                assert any(word in c.answer for word in named if word.lower() not in drill_sets.reserved_words())
            seen[c.kind] += 1
    assert len(seen) == 3 and min(seen.values()) > 300


def test_an_unknown_kind_or_split_is_refused():
    with pytest.raises(KeyError):
        drills.make("poetry", Draw(words_of("train"), random.Random(0)))
    with pytest.raises(KeyError):
        drill_sets.held_out_questions("both", 1, SEED)
