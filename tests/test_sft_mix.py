"""The whole of phase 5 from a folder with copies of all ten: the ledger, exams, packages, and what is learned."""

import json
from dataclasses import replace

import numpy as np
import pytest
import sft_mirror
import torch

import artifacts
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from conversations import chat_format, drill_sets, mix, own, packages
from conversations.drill_sets import question_lines
from conversations.hub import INSTRUCTION_DATASETS
from conversations.mix import FACTBOOK, OWN, PAGES, Entry, Hub, Ledger
from conversations.overlap import GRAM, Exams, asked, grams, opening, plain
from course_kit.row_pictures import kinds_table, packed_image, prompts_in_rows
from Dummy_Model import GPT, GPTConfig
from evaluation.answers import read_questions
from npy_datasets import IGNORED, SFTDataset, write_sft_rows, write_shards
from presets import PRESETS

LENGTH = 129


def talk(*texts: str) -> list[dict]:
    return sft_mirror.talk(*texts)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    texts = [c.messages[i]["content"] for c in drill_sets.conversations(400, 5) for i in (0, 1)]
    return BPETokenizer.train(texts, 700)


@pytest.fixture(scope="module")
def whole(tokenizer, tmp_path_factory):
    """Phase 5 as the notebook does it, from a folder with copies of all ten."""
    folder = tmp_path_factory.mktemp("phase")
    books = folder / "books"
    page = tokenizer.encode("The old man walked down to the harbour and looked at the sea for a long time. " * 40)
    write_shards([page] * 60, books, end_token=0, vocab_size=tokenizer.vocab_size)
    hub, exams, ledger = Hub(sft_mirror.write(tmp_path_factory.mktemp("copies")), seed=1), Exams(), Ledger()
    for question in drill_sets.held_out_questions("known", 3, 1):
        exams.add("known", question.messages, made=True)
    hub.put_exams_aside(exams)
    leaked = chat_format.Conversation("where", drill_sets.held_out_questions("known", 3, 1)[4].messages)

    def entries():
        yield from mix.own_entries([leaked, *drill_sets.conversations(300, 1)])
        yield from hub.entries()
        yield from (Entry(FACTBOOK, "country", messages) for messages in packages.facts(300, 1))

    def lines():
        yield from mix.render_entries(entries(), tokenizer, ledger, exams, LENGTH)
        yield from mix.old_pages(books, ledger, LENGTH, seed=1)

    shape = {"pad_token": 1, "vocab_size": tokenizer.vocab_size}
    counts = write_sft_rows(lines(), folder, "train", LENGTH - 1, **shape)
    return folder, counts, ledger, exams, hub


def conversations_on_disk(folder) -> list[tuple[list[int], list[bool]]]:
    tokens, mask, documents = (np.load(folder / f"train_{part}.npy") for part in ("tokens", "mask", "documents"))
    found = []
    for row in range(len(tokens)):
        for number in range(1, documents[row].max() + 1):
            at = documents[row] == number
            found.append((tokens[row][at].tolist(), mask[row][at].tolist()))
    return found


def test_the_ledger_adds_up(whole):
    folder, counts, ledger, exams, hub = whole
    rows = ledger.rows()
    for row in rows:
        assert row["read"] == row["kept"] + row["dropped"] and row["truncated"] == 0
    total = {column: sum(row[column] for row in rows) for column in Ledger.COLUMNS}
    assert total["kept"] == counts["conversations"] and total["tokens"] == counts["tokens"]
    assert total["learned_tokens"] == counts["learned_tokens"]
    assert total["dropped"] == sum(row["conversations"] for row in ledger.reason_rows())
    assert sum(ledger.lengths.values()) == total["kept"]
    assert {row["source"] for row in rows} == {OWN, FACTBOOK, PAGES, *(source.name for source in INSTRUCTION_DATASETS)}
    assert all("conversations" in note["training"] and note["consequence"] == "" for note in hub.notes.values())
    assert set(counts) >= {"too_long"} and counts["too_long"] == 0  # dropped before, with a reason


def test_targets_decode_to_the_assistants_words_and_their_ends(whole, tokenizer):
    checked = 0
    for ids, mask in conversations_on_disk(whole[0]):
        assert any(mask), "a conversation without a learned token"
        if ids[0] >= len(tokenizer.special):
            continue  # an old page: all but its first token is learned
        turns, role, spoken = [], None, []
        for id in ids:
            if id in (tokenizer.special[mark] for mark in chat_format.ROLES.values()):
                role, spoken = id, []
            else:
                spoken.append(id)
                if id == tokenizer.special["<|end|>"] and role == tokenizer.special["<|assistant|>"]:
                    turns += spoken
        learned = [id for id, learn in zip(ids, mask, strict=True) if learn]
        assert learned == turns and tokenizer.decode(learned).endswith("<|end|>")
        checked += 1
    assert checked > 500


def test_no_row_is_without_a_learned_token_and_targets_are_the_next_tokens(whole):
    dataset = SFTDataset(whole[0], "train", batch_size=1)
    for step in range(dataset.steps_per_epoch):
        inputs, targets, _ = dataset.batch(step)
        learned = targets[0] != IGNORED
        assert learned.any()
        assert torch.equal(inputs[0, 1:][learned[:-1]], targets[0, :-1][learned[:-1]])


def test_one_row_in_sixteen_is_a_page_of_the_books(whole):
    folder, counts, ledger, *_ = whole
    pages = ledger.entries[PAGES, PAGES]["kept"]
    assert 0.04 < pages / counts["rows"] < 0.08


def test_packed_rows_give_the_logits_of_each_conversation_alone(whole, tokenizer):
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, LENGTH, n_layer=2, n_embd=32, n_head=2, n_kv_head=1)).eval()
    dataset, alone = SFTDataset(whole[0], "train", batch_size=1), 0
    with torch.no_grad():
        for step in range(20):
            inputs, _, documents = dataset.batch(step)
            packed = model(inputs, documents)
            for number in documents.unique().tolist():
                at = documents[0] == number
                if number:
                    torch.testing.assert_close(packed[:, at], model(inputs[:, at]), atol=1e-5, rtol=1e-4)
                    alone += 1
    assert alone > 20


# ---- exams


def test_what_an_exam_holds_is_not_trained_on(whole):
    _, _, ledger, exams, _ = whole
    assert ledger.reasons[OWN, "in the exam: known"] >= 1
    # A question of smol-smoltalk's test split is asked in training, and so is one about a passage of squad's.
    assert ledger.reasons["smol-smoltalk", "in the exam: smol-smoltalk test"] == 1
    assert ledger.reasons["squad", "in the exam: squad validation"] == 1
    table = {row["exam"]: row for row in exams.table()}
    assert table["smol-smoltalk test"]["question"] == 1 and table["squad validation"][f"{GRAM} words"] == 1
    assert len(table) == 1 + sum(source.held_out is not None for source in INSTRUCTION_DATASETS)
    assert sum(n for (_, reason), n in ledger.reasons.items() if reason.startswith("in the exam")) == sum(
        exams.found.values()
    )


def test_thirteen_words_in_the_same_order_are_found_and_twelve_are_not():
    words = [f"word{i}" for i in range(40)]
    exams = Exams()
    exams.add("exam", talk("Read: " + " ".join(words), "Yes."))
    exams.add("other", talk("Nothing like it at all", "No."))
    assert exams.overlap(talk("x " + " ".join(words[5:18]).upper() + "! y", "A."), "s") == "exam"
    assert exams.overlap(talk("Say.", "Well, " + ", ".join(words[20:33])), "s") == "exam"
    assert exams.overlap(talk("x " + " ".join(words[5:17]) + " y", "A."), "s") is None
    assert exams.overlap(talk(" ".join(reversed(words)), "A."), "s") is None
    assert exams.found == {("exam", "s", f"{GRAM} words"): 2}


def test_questions_are_compared_whole_without_capitals_and_signs():
    exams = Exams()
    exams.add("exam", talk("Who is it?", "Me."))
    exams.add("exam", talk("Hi!", "Hello.", "How are you today?", "Well."))
    assert exams.overlap(talk("who is IT", "You."), "s") == "exam"
    assert exams.overlap(talk("Who is it not?", "You."), "s") is None
    assert exams.overlap(talk("Hi!", "Hello.", "What is a pan?", "A pot."), "s") is None  # begins alike, that's all
    assert exams.overlap(talk("Hi!", "Hey.", "How are you today?", "Fine."), "s") == "exam"


def test_made_conversations_are_compared_by_their_opening_alone():
    frame = "Read the text that follows here below and then answer the question about it in one sentence: "
    exams = Exams()
    exams.add("exam", talk(frame + "Ann has a cat.", "A cat."), made=True)
    assert exams.overlap(talk(frame + "Bob has a dog.", "A dog."), OWN, made=True) is None
    assert exams.overlap(talk(frame + "Ann has a cat.", "Yes.", "More?", "No."), OWN, made=True) == "exam"


def test_grams_are_those_of_the_words():
    assert len(grams("a b c")) == 0 and len(grams(" ".join("abcdefghijklm"))) == 1
    assert grams(" ".join("abcdefghijklmn"))[1] == grams("b, c d E f g h i j k l m n")[0]
    assert len(set(grams(" ".join(f"w{i}" for i in range(5000))).tolist())) == 5000 - GRAM + 1
    assert plain("A  b—C!") == "a b c"
    system = [{"role": "system", "content": "Be brief."}, *talk("Hi", "Ho", "Why?", "So.")]
    assert opening(system) == "be brief hi" and asked(system) == "hi why"


# ---- packages


def test_facts_are_in_the_passage_they_come_with():
    known = dict(packages.countries())
    assert len(known) > 180 and known["Chad"][0] == "N'Djamena" and known["the United Kingdom"][0] == "London"
    made = list(packages.facts(3000, 7))
    assert made == list(packages.facts(3000, 7)) and made[:100] != list(packages.facts(100, 8))
    direct = {}
    for messages in made:
        assert isinstance(messages, list), messages
        question, answer = messages[0]["content"], messages[1]["content"]
        if "\n" in question:
            value = next(v for values in known.values() for v in values.values() if v in answer and v in question)
            assert value
        else:
            direct.setdefault(question, set()).add(answer)
        assert "{" not in question + answer and "<" not in answer and "est.)" not in answer
    capitals = {f"What is the capital of {name}?": f"The capital of {name} is {v[0]}." for name, v in known.items()}
    asked_about = set(capitals) & set(direct)
    assert len(asked_about) > 20 and all(direct[question] == {capitals[question]} for question in asked_about)
    assert all(len(answers) == 1 for answers in direct.values())  # a question has one answer
    assert len(direct) > 500


def test_every_preset_has_its_share_of_packages():
    for preset in PRESETS.values():
        assert preset.name in mix.COUNTRIES and preset.name in mix.USES_HUB
    entries = list(mix.package_entries(PRESETS["tiny"]))
    assert {entry.source for entry in entries} == {FACTBOOK} and len(entries) == mix.COUNTRIES["tiny"]
    with pytest.raises(CourseError, match="is missing: install the requirements"):
        artifacts.package_folder("no_such_package_at_all")


# ---- rows on disk


def test_a_run_that_fails_leaves_what_was_there(tmp_path):
    def broken():
        yield from [([5, 6, 7], [0, 1, 1])] * 2000
        raise RuntimeError("the network went away")

    shape = {"pad_token": 1, "vocab_size": 50}
    write_sft_rows([([2, 3], [0, 1])], tmp_path, "train", 8, **shape)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for bad, error in ((broken(), RuntimeError), ([([99], [1])], ValueError), ([([2, 3], [0, 0])], ValueError)):
        with pytest.raises(error):
            write_sft_rows(bad, tmp_path, "train", 8, **shape)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_teaches_nothing_is_counted_and_left_out(tmp_path):
    given = [([2, 3], [0, 1]), ([2, 3], [0, 0]), ([4] * 30, [1] * 30)]
    counts = write_sft_rows(given, tmp_path, "train", 8, pad_token=1, vocab_size=50)
    assert (counts["conversations"], counts["nothing_learned"], counts["too_long"]) == (1, 1, 1)


def test_passages_of_books_are_put_aside_for_the_exam(tmp_path, tokenizer):
    text = "\n\n".join(
        f"The {a} keeper walked slowly down to the harbour number {i} and looked at the sea. It was a {a} morning."
        for i in range(4000) for a in ("old", "young")
    )  # fmt: skip
    write_shards([tokenizer.encode(text)], tmp_path, end_token=0, vocab_size=tokenizer.vocab_size)
    train, exam = (mix.book_passages(tmp_path, tokenizer, held_out, 150_000) for held_out in (False, True))
    assert len(train) > 20 * len(exam) > 0 and not set(train) & set(exam)
    assert mix.check_passages(exam, 10**6) == () and mix.check_passages(exam, 1) == exam


def test_a_ledger_of_nothing_says_so():
    ledger = Ledger()
    ledger.drop(Entry("x", "y", "no answer"), "no answer")
    with pytest.raises(CourseError, match="No conversation could be used"):
        mix.require_conversations(ledger)
    assert json.dumps(ledger.rows() + ledger.reason_rows())


# ---- what the notebooks show


def test_exam_questions_in_the_rows_would_be_seen(tmp_path, tokenizer):
    questions = drill_sets.held_out_questions("known", 2, 3)
    training = [c.messages for c in drill_sets.conversations(200, 3)]
    shape = {"pad_token": 1, "vocab_size": tokenizer.vocab_size}
    for given, expected in ((training, 0), ([*training, questions[0].messages, questions[-1].messages], 2)):
        write_sft_rows(chat_format.render_all(given, tokenizer), tmp_path, "train", 600, **shape)
        assert prompts_in_rows(tmp_path, questions, tokenizer, rows=10_000) == expected


def test_questions_survive_their_file(tmp_path):
    questions = drill_sets.held_out_questions("phrasing", 1, 3)
    (tmp_path / "exam.jsonl").write_text(question_lines(questions), encoding="utf-8")
    again = read_questions(tmp_path / "exam.jsonl")
    assert [(q.kind, q.messages, q.split) for q in again] == [(q.kind, q.messages, q.split) for q in questions]


def test_pictures_show_every_kind_and_every_conversation():
    conversations = list(drill_sets.conversations(3000, 1))
    table = kinds_table(conversations).splitlines()
    assert {line.split("`")[1] for line in table[2:]} == {c.kind for c in conversations}
    assert all(line.count("|") == 4 for line in table)
    colours = [(i / 20, 0.0, 0.0) for i in range(20)]
    image = packed_image(np.array([[1, 1, 2, 0], [1, 2, 2, 2]]), colours)
    assert image.shape == (2, 4, 3) and (image[0, 3] == 1).all()
    assert (image[0, 0] == image[0, 1]).all() and (image[0, 1] != image[0, 2]).any()


def test_own_conversations_are_the_same_for_any_number_of_processes(tokenizer, monkeypatch):
    monkeypatch.setattr(mix, "BLOCK", 64)
    preset = replace(PRESETS["tiny"], sft_conversations=200)
    found = []
    for workers in (1, 2):
        exams, ledger = Exams(), Ledger()
        leaked = next(c for c in own.conversations(200, preset.seed, common=True) if len(opening(c.messages)) > 40)
        exams.add("exam", leaked.messages, made=True)
        lines = list(mix.render_own(preset, (), tokenizer, ledger, exams, 400, workers))
        found.append((lines, ledger.rows(), ledger.reason_rows(), exams.found))
    assert found[0] == found[1]
    assert sum(row["read"] for row in found[0][1]) == 200
    assert found[0][3]["exam", OWN, "question"] > 0
    entries = mix.own_entries(own.conversations(200, preset.seed, common=True))
    exams = Exams()
    exams.add("exam", leaked.messages, made=True)
    assert found[0][0] == list(mix.render_entries(entries, tokenizer, Ledger(), exams, 400))
