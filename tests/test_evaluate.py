"""Bits per byte, held-out answers, last words and variety, against slow and obvious computations."""

import json
import math
import random

import pytest
import torch

from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from chat import decoding, generation
from conversations.chat_format import Conversation
from conversations.drill_sets import question_lines
from Dummy_Model import GPT, GPTConfig
from evaluation import answers, book_loss, last_words, variety
from evaluation.book_loss import ValidationBook
from evaluation.last_words import Passage

TEXT = "The miller's daughter walked to the mill, and the old miller asked her why she had come so late. " * 3
CONTEXT = 32


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train([TEXT], 300)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.2)
    return model


@torch.inference_mode()
def bits_of(model, tokenizer, text, width):
    """The bits of one text, one token at a time."""
    ids = [0, *tokenizer.encode(text)]
    total = 0.0
    for i in range(1, len(ids)):
        start = (i - 1) // width * width
        logits = model(torch.tensor([ids[start:i]]))[0, -1].double()
        total -= float(logits.log_softmax(-1)[ids[i]])
    return total / math.log(2)


@pytest.mark.parametrize("width", [None, 7])
def test_bits_per_byte_counts_every_token_once(model, tokenizer, width, monkeypatch):
    texts = [TEXT, "late", "A señor, 3 miles off.", TEXT[:150]]
    expected = sum(bits_of(model, tokenizer, text, width or CONTEXT) for text in texts)
    expected /= sum(len(text.encode("utf-8")) for text in texts)
    assert book_loss.bits_per_byte(model, tokenizer, texts, width) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(book_loss, "LOGITS_TOGETHER", {"cpu": 1})  # a row at a time
    assert book_loss.bits_per_byte(model, tokenizer, iter(texts), width) == pytest.approx(expected, rel=1e-5)


def test_a_model_that_knows_nothing_pays_the_whole_vocabulary(tokenizer):
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=1, n_embd=16, n_head=2, n_kv_head=2))
    torch.nn.init.zeros_(model.embedding.weight)
    expected = len(tokenizer.encode(TEXT)) * math.log2(tokenizer.vocab_size) / len(TEXT)
    assert book_loss.bits_per_byte(model, tokenizer, [TEXT]) == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_refuses_nothing_and_too_much(model, tokenizer):
    with pytest.raises(CourseError, match="no text"):
        book_loss.bits_per_byte(model, tokenizer, [])
    with pytest.raises(CourseError, match=f"64 tokens .* {CONTEXT}"):
        book_loss.bits_per_byte(model, tokenizer, [TEXT], context_length=64)


def questions_about(model, tokenizer):
    """Four questions whose expected answers are what the model says, and one other."""
    made = []
    for text in ("the mill", "why late", "daughter", "old miller", "her"):
        prompt = [3, *tokenizer.encode(" " + text), 5, 4]
        answer = generation.generate(model, tokenizer, prompt, decoding.Settings(temperature=0, max_new_tokens=12))
        kind = "loud" if "mill" in text else "quiet"
        expected = f" {answer}\n" if text != "her" else answer + "!"
        made.append(Conversation(kind, [{"role": "user", "content": text}, {"role": "assistant", "content": expected}]))
    return made


def test_answers_must_match_but_for_white_space_at_the_ends(model, tokenizer):
    questions = questions_about(model, tokenizer)
    accuracy = answers.accuracy(model, tokenizer, questions, max_new_tokens=12)
    assert accuracy == {"loud": 1.0, "quiet": pytest.approx(2 / 3)}
    rows = answers.answers(model, tokenizer, questions, max_new_tokens=12, batch_size=2)
    assert [row.question for row in rows] == ["the mill", "why late", "daughter", "old miller", "her"]
    assert [row.correct for row in rows] == [True, True, True, True, False]
    assert rows[4].expected == rows[4].answer + "!"


def test_any_of_the_accepted_answers_is_right(model, tokenizer, tmp_path):
    asked = questions_about(model, tokenizer)[0].messages
    said = asked[1]["content"].strip()
    made = [Conversation("a", [asked[0], {"role": "assistant", "content": "no"}], accepted=("maybe", said))]
    made.append(Conversation("b", made[0].messages, accepted=("maybe",)))
    (tmp_path / "quiz.jsonl").write_text(question_lines(made), encoding="utf-8")
    read = answers.read_questions(tmp_path / "quiz.jsonl")
    assert read == made
    assert answers.accuracy(model, tokenizer, read, max_new_tokens=12) == {"a": 1.0, "b": 0.0}


def test_without_a_limit_answers_get_the_room_that_the_longest_needs(model, tokenizer, monkeypatch):
    asked = []
    original = generation.generate_batch
    monkeypatch.setattr(answers, "generate_batch", lambda *a, **k: (asked.append(a[3]), original(*a, **k))[1])
    pair = [{"role": "user", "content": "mill"}, {"role": "assistant", "content": "the old mill"}]
    answers.answers(model, tokenizer, [Conversation("a", pair)])
    assert asked[0].max_new_tokens == len(tokenizer.encode("the old mill")) + answers.SPARE_TOKENS
    assert asked[0].temperature == 0
    assert answers.answers(model, tokenizer, []) == []


def test_questions_are_read_and_thinned_evenly(tmp_path):
    path = tmp_path / "heldout.jsonl"
    messages = [{"role": "user", "content": "ä\u2028ö"}]  # U+2028 ends a line for str.splitlines, not in JSON lines
    lines = [json.dumps({"kind": f"k{i // 10}", "messages": messages}, ensure_ascii=False) for i in range(40)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(answers.read_questions(path)) == 40
    assert [q.kind for q in answers.read_questions(path, limit=8)] == ["k0", "k0", "k1", "k1", "k2", "k2", "k3", "k3"]
    path.write_text('{"kind": "k"}\n', encoding="utf-8")
    with pytest.raises(CourseError, match="no question"):
        answers.read_questions(path)
    with pytest.raises(CourseError, match="5_SFT_Data"):
        answers.read_questions(tmp_path / "none.jsonl")


@pytest.mark.parametrize("right, asked", [(0, 10), (10, 10), (3, 40), (200, 400)])
def test_the_interval_ends_where_chance_would_explain_the_count(right, asked):
    low, high = answers.interval(right, asked)
    assert 0 <= low <= right / asked <= high <= 1 and low < high
    for edge in (low, high):
        if 0 < edge < 1:  # there the count lies 1.96 standard errors of that share away: how Wilson defines it
            assert abs(right / asked - edge) == pytest.approx(1.96 * math.sqrt(edge * (1 - edge) / asked), rel=1e-6)


def test_no_questions_no_interval():
    with pytest.raises(CourseError, match="Nothing was asked"):
        answers.interval(0, 0)


# ---- books


def save_books(folder, *rows):
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "validation_texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_validation_books_share_the_bytes_and_never_half_a_character(tmp_path):
    row = {"id": "1", "title": "A", "authors": "Ann", "text": "é\u2028" * 10}
    save_books(tmp_path, row, {**row, "id": "2", "text": "short"})
    assert book_loss.validation_books(tmp_path)[0] == ValidationBook("1", "A", "Ann", "é\u2028" * 10)
    first, second = book_loss.validation_books(tmp_path, most_bytes=28)  # 14 each; the pair has 5 bytes
    assert (first.text, second.text) == ("é\u2028é\u2028é", "short")


def test_missing_damaged_and_empty_files_of_books_are_one_clear_line(tmp_path):
    with pytest.raises(CourseError, match="Missing .*validation_texts.jsonl: run .*2_Pretraining_Data"):
        book_loss.validation_books(tmp_path)
    for content, problem in (("{", "Damaged"), ("[1]", "Damaged"), ('{"id": "1"}', "Damaged"), ("", "no books")):
        (tmp_path / "validation_texts.jsonl").write_text(content, encoding="utf-8")
        with pytest.raises(CourseError, match=problem):
            book_loss.validation_books(tmp_path)


def test_bits_by_book_and_author_add_up_to_the_bits_of_all(model, tokenizer):
    books = [
        ValidationBook("1", "A", "Ann", TEXT),
        ValidationBook("2", "B", "", "late"),
        ValidationBook("3", "C", "Ann", "A señor, 3 miles off."),
    ]
    rows = book_loss.bits_by_book(model, tokenizer, books)
    for row, book in zip(rows, books, strict=True):
        assert row[:3] == book[:3] and row.n_bytes == len(book.text.encode())
        assert row.bits_per_byte == pytest.approx(bits_of(model, tokenizer, book.text, CONTEXT) / row.n_bytes, rel=1e-5)
    together = book_loss.bits_per_byte(model, tokenizer, [book.text for book in books])
    assert book_loss.mean_bits(rows) == pytest.approx(together, rel=1e-6)
    by_author = book_loss.bits_by_author(rows)
    assert list(by_author) == ["Ann", "unknown"] and by_author["unknown"] == rows[1].bits_per_byte
    assert by_author["Ann"] == pytest.approx(book_loss.mean_bits([rows[0], rows[2]]))


def test_empty_books_are_refused(model, tokenizer):
    with pytest.raises(CourseError, match="Blank: there is no text"):
        book_loss.bits_by_book(model, tokenizer, [ValidationBook("1", "Blank", "", "")])
    with pytest.raises(CourseError, match="no books"):
        book_loss.mean_bits([])


# ---- last words

SENTENCE = "The old miller walked with {} down to the river and then back to the distant mill number {}. "


def story(name, sentences):
    return ValidationBook(name, name, "", "".join(SENTENCE.format(name, i) for i in range(sentences)))


def test_a_passage_is_several_whole_sentences_without_the_last_word():
    text = "Anna went out early in the morning to look for her brother Peter. " * 3
    text += 'It was cold. He asked: "Where in all the wide world have you been my dear sister?"\n\nAnd so it was.'
    (passage,) = last_words.last_word_passages([ValidationBook("1", "A", "", text)])
    # The third sentence reaches 39 words, "It was cold." is too short an ending: so it goes on to the question.
    assert passage.word == "sister" and passage.title == "A" and not passage.seen
    assert text.startswith(passage.context + " sister?") and passage.context.endswith("my dear")


def test_passages_end_in_a_word_of_four_letters_and_keep_within_their_lengths():
    with pytest.raises(CourseError, match="no passage"):
        last_words.last_word_passages([story("Ann", 30)])  # every sentence ends in a number
    with pytest.raises(CourseError, match="no passage"):
        last_words.last_word_passages([ValidationBook("1", "A", "", "Word " * 500 + "went to the mill alone.")])
    ends = ["mill.", "it.", "meadow!", "12.", "sea-side.", "(far away).", 'home."']
    rng = random.Random(0)
    sentences = ["She went on " * rng.randint(1, 9) + "to the " + rng.choice(ends) for _ in range(400)]
    text = " ".join(sentences)
    found = last_words.last_word_passages([ValidationBook("1", "A", "", text)], None)
    assert {p.word for p in found} == {"mill", "meadow", "home"}
    lengths = [len(p.context.split()) + 1 for p in found]
    assert min(lengths) >= last_words.LEAST_WORDS and max(lengths) <= last_words.MOST_WORDS
    assert all(sum(p.context.count(end) for end in ends) >= last_words.LEAST_SENTENCES - 1 for p in found)
    assert all(len(p.context.replace("!", ".").split(".")[-1].split()) + 1 >= 6 for p in found)


def test_passages_do_not_overlap_and_are_thinned_evenly():
    text = "".join(f"On day {i} she went from her house in the town to the wide green meadow. " for i in range(100))
    books = [ValidationBook("1", "A", "", text), ValidationBook("2", "B", "", text)]
    everything = last_words.last_word_passages(books, None)
    for title in "AB":
        own = [p for p in everything if p.title == title]
        assert len(own) == 33 and all(p.word == "meadow" for p in own)
        days = [day for p in own for day in p.context.split() if day.isdigit()]
        assert len(set(days)) == len(days) == 99
    some = last_words.last_word_passages(books, 10)
    assert (
        some
        == last_words.last_word_passages(books, 10)
        == [everything[i] for i in (0, 6, 13, 19, 26, 33, 39, 46, 52, 59)]
    )
    assert [p.title for p in some] == ["A"] * 5 + ["B"] * 5 and all(p.seen for p in some)


def test_last_words_are_what_a_token_by_token_search_says(model, tokenizer):
    contexts = ["The old miller", "walked to the mill, and the", TEXT.strip(), "her"]
    passages = [Passage("A", context, "daughter") for context in contexts]
    said = last_words.last_words(model, tokenizer, passages)
    room = len(tokenizer.encode(" daughter")) + 2
    for context, word in zip(contexts, said, strict=True):
        ids = tokenizer.encode(context)[-(CONTEXT - room) :]
        prompt = len(ids)
        for _ in range(room):
            with torch.inference_mode():
                ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
            if ids[-1] in tokenizer.special.values():
                ids.pop()
                break
        text = tokenizer.decode(ids[prompt:])
        expected = text.split()[0].strip(",.") if text[:1].isspace() and text.split() else ""
        assert word == expected
    assert last_words.last_words(model, tokenizer, []) == []


@pytest.mark.parametrize(
    "text, said",
    [
        (" mill.", "mill"), ("\n\nmill and", "mill"), (" millers", "millers"), (" mill's", "mill's"), ("mill", ""),
        (" (mill", ""), ("", ""), (" Mill", "Mill"), ("s mill", ""),
    ],
)  # fmt: skip
def test_a_last_word_begins_after_white_space_and_is_whole(model, tokenizer, monkeypatch, text, said):
    monkeypatch.setattr(last_words, "generate_batch", lambda *a, **k: [tokenizer.encode(text)])
    passages = [Passage("A", "He went to the", "mill")]
    assert last_words.last_words(model, tokenizer, passages) == [said]
    assert last_words.last_word_accuracy(model, tokenizer, passages) == (said == "mill")


def test_the_baselines_answer_what_they_say():
    contexts = [
        "The king saw the house and the other house",
        "the queen of the land, the land",
        "a to it",
        "Then came John",
    ]
    words = ["king", "queen", "land", "queen"]
    passages = [Passage("A", context, word) for context, word in zip(contexts, words, strict=True)]
    assert last_words.constant_guess(passages) == ["queen"] * 4
    assert last_words.share_right(passages, last_words.constant_guess(passages)) == 0.5
    assert last_words.copying_guess(passages) == ["house", "land", "", "John"]
    assert [p.seen for p in passages] == [True, True, False, False]
    assert last_words.constant_guess([]) == []
    with pytest.raises(CourseError, match="no passages"):
        last_words.share_right([], [])


# ---- variety


def test_distinct_n_counts_different_runs_over_all_texts():
    texts = ["The cat saw the cat.", "The cat, the dog!"]  # the cat saw the cat | the cat the dog
    assert variety.distinct_n(texts, 1) == pytest.approx(4 / 9)
    assert variety.distinct_n(texts, 2) == pytest.approx(5 / 7)  # the-cat, cat-saw, saw-the, cat-the, the-dog
    assert variety.distinct_n(["one two"], 3) == variety.distinct_n([], 1) == 0


def test_repetition_is_within_one_text():
    assert variety.repetition("to the river and to the river and to the river") == pytest.approx(1 - 4 / 8)
    assert variety.repetition("one two three four five six") == variety.repetition("no no no") == 0
    assert variety.ends_in_loop("He went to the river and to the river and to the river and to the")
    assert not variety.ends_in_loop("He went to the river and came back to the mill.")


def test_first_words_keep_the_text_as_it_is():
    text = "  “It's half-past\ntwo,” said he – and went. "
    assert last_words.words_of(text) == ["it's", "half-past", "two", "said", "he", "and", "went"]
    assert variety.first_words(text, 3) == "  “It's half-past\ntwo"
    assert variety.first_words(text, 7) == text.rstrip(". ") and variety.first_words(text, 8) == text


def test_openings_begin_sentences_and_know_how_the_book_goes_on():
    books = [story("Ann", 40), story("Ben", 40), ValidationBook("3", "Short", "", "Too short.")]
    found = variety.openings(books, count=5, prompt_words=6, rest_words=30)
    assert [opening.title for opening in found] == ["Ann", "Ann", "Ben", "Ben"]
    for opening in found:
        assert opening.prompt == f"The old miller walked with {opening.title}"
        assert len(last_words.words_of(opening.rest)) == 30
        assert opening.prompt + opening.rest in books[opening.title == "Ben"].text
    assert found == variety.openings(books, count=5, prompt_words=6, rest_words=30)


def test_continuations_are_cut_to_words_and_drawn_with_a_seed_each(model, tokenizer):
    settings = decoding.Settings(temperature=1, top_k=None, seed=5)
    said = variety.continuations(model, tokenizer, ["The mill", "The mill", "her"], settings, words=4)
    alone = []
    for i, prompt in enumerate(["The mill", "The mill", "her"]):
        own = decoding.Settings(temperature=1, top_k=None, seed=5 + i, max_new_tokens=8)
        alone.append(variety.first_words(generation.generate(model, tokenizer, prompt, own), 4))
    assert said == alone and said[0] != said[1]
    assert all(len(last_words.words_of(text)) <= 4 for text in said)
