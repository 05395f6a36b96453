"""The chat session, on a small random model."""

import json

import pytest
from small_chat import play, small_model

from artifacts import CourseError
from chat import generation
from chat import session as session_module
from chat.decoding import Settings
from chat.session import ChatSession
from conversations import chat_format

GREEDY = Settings(temperature=0, max_new_tokens=12)


# ---- talking


def test_a_session_remembers_its_turns(model, tokenizer, monkeypatch):
    asked = []
    original = generation.stream
    monkeypatch.setattr(
        session_module, "stream", lambda m, t, ids, *rest: (asked.append(ids), original(m, t, ids, *rest))[1]
    )
    play(monkeypatch, tokenizer, " Yes.", "No.")
    session = ChatSession(model, tokenizer, system="Be kind.")
    assert "".join(session.ask("Is it?")) == "Yes."
    assert "".join(session.ask("Why?")) == "No."
    turns = [("system", "Be kind."), ("user", "Is it?"), ("assistant", "Yes."), ("user", "Why?")]
    assert asked[1] == chat_format.prompt_ids([{"role": r, "content": c} for r, c in turns], tokenizer)
    assert [m["content"] for m in session.messages] == ["Is it?", "Yes.", "Why?", "No."]
    session.reset()
    assert session.messages == []


def test_a_long_conversation_goes_on_without_its_oldest_turns(tokenizer):
    model = small_model(tokenizer, endless=True)
    session = ChatSession(model, tokenizer, Settings(temperature=0, max_new_tokens=8))
    for turn in range(25):
        "".join(session.ask(f"the mill {turn}"))
    assert session.dropped > 0
    assert session.dropped % 2 == 0
    assert session.messages[-2]["content"] == "the mill 24"
    assert [message["role"] for message in session.messages][:2] == ["user", "assistant"][: len(session.messages)]


def test_messages_that_cannot_be_answered_leave_the_session_as_it_was(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "Yes.", "", "So.")
    session = ChatSession(model, tokenizer)
    "".join(session.ask("Is it?"))
    before = list(session.messages)
    for text, reason in ((" \n", "empty"), ("why " * 200, "context")):
        with pytest.raises(CourseError, match=reason):
            session.ask(text)
        assert (session.messages, session.dropped) == (before, 0)
    assert "".join(session.ask("Why?")) == ""  # an empty answer: not a turn, and the next one works
    assert session.messages == before
    assert "".join(session.ask("And?")) == "So."


def test_a_stream_that_is_left_keeps_what_was_said(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "One two three four.")
    session = ChatSession(model, tokenizer)
    pieces = session.ask("Count.")
    said = next(pieces) + next(pieces)
    pieces.close()
    assert session.messages[-1]["content"] == said.strip()


def test_the_same_session_can_be_replayed(model, tokenizer):
    def replay():
        session = ChatSession(model, tokenizer, Settings(max_new_tokens=6))
        return ["".join(session.ask(text)) for text in ("mill", "mill", "late")]

    assert replay() == replay()


# ---- talking, longer


def reads(monkeypatch):
    """Counts the tokens that each call of the model reads."""
    counts, original = [], generation._next_logits

    def counted(model, ids, *rest):
        counts.append(ids.shape[1])
        return original(model, ids, *rest)

    monkeypatch.setattr(generation, "_next_logits", counted)
    return counts


def test_a_turn_reads_only_what_is_new_and_answers_the_same(tokenizer, monkeypatch):
    model = small_model(tokenizer, context=512, endless=True)
    questions = ["the mill", "why late?", "the old daughter asked", "mill"]
    counts = reads(monkeypatch)
    session = ChatSession(model, tokenizer, GREEDY, system="Be kind.")
    said, first_reads = [], []
    for question in questions:
        counts.clear()
        said.append("".join(session.ask(question)))
        first_reads.append(counts[0])
        afresh = generation.generate(model, tokenizer, session.last.prompt, session.settings)
        assert afresh.strip() == said[-1]
    assert len(set(said)) > 1
    longest = len(session.last.prompt)
    assert longest > 60
    # What was cleaned out of an answer is read again, and what follows it, never what stands before.
    assert all(n < longest / 2 for n in first_reads[1:]), first_reads


def test_memory_stays_right_after_answers_that_were_left_or_asked_again(tokenizer):
    model = small_model(tokenizer, context=512, endless=True)
    session = ChatSession(model, tokenizer, Settings(temperature=0.9, max_new_tokens=12))
    "".join(session.ask("the mill"))
    pieces = session.ask("why?")
    next(pieces)
    pieces.close()
    first = "".join(session.again())
    assert first == generation.generate(model, tokenizer, session.last.prompt, session.last.settings).strip()
    assert "".join(session.again()) != first
    assert [m["content"] for m in session.messages if m["role"] == "user"] == ["the mill", "why?"]


def test_stop_ends_an_answer_from_outside(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "One two three four.")
    session = ChatSession(model, tokenizer)
    said = []
    for piece in session.ask("Count."):
        said.append(piece)
        if len(said) == 3:
            session.stop()
    assert len(said) == 3
    assert session.messages[-1]["content"] == "".join(said).strip()
    assert not session.last.finished


def test_a_reset_in_mid_answer_leaves_nothing_of_it(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "One two three four.")
    session = ChatSession(model, tokenizer)
    pieces = session.ask("Count.")
    next(pieces)
    session.reset()
    pieces.close()
    assert session.messages == []
    with pytest.raises(CourseError, match="no question yet"):
        session.again()


def test_an_answer_that_was_cut_off_is_remembered_as_whole_sentences(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "He came . She asked why")
    session = ChatSession(model, tokenizer, Settings(max_new_tokens=14))
    raw = "".join(session.ask("And?"))
    assert raw.startswith("He came . She")
    assert session.messages[-1]["content"] == "He came."


def test_a_full_window_says_so_and_frees_a_quarter(tokenizer):
    model = small_model(tokenizer, context=256, endless=True)
    session = ChatSession(model, tokenizer, GREEDY, system="Be kind.")
    lengths, drops = [], []
    for turn in range(40):
        dropped = session.dropped
        "".join(session.ask(f"the mill {turn}"))
        lengths.append(len(session.last.prompt))
        drops.append(session.dropped - dropped)
        assert session.last.prompt[: len(tokenizer.encode("Be kind.")) + 1][0] == tokenizer.special["<|system|>"]
    assert max(lengths) <= 256 - GREEDY.max_new_tokens
    full = [turn for turn, drop in enumerate(drops) if drop]
    assert len(full) >= 2
    assert min(b - a for a, b in zip(full, full[1:], strict=False)) > 1, "the window must not slide with every turn"
    assert all(lengths[turn] <= 192 for turn in full)


def test_a_conversation_is_saved_and_taken_up_again(model, tokenizer, monkeypatch, tmp_path):
    play(monkeypatch, tokenizer, "Да , 😀.", "No.")
    session = ChatSession(model, tokenizer, Settings(temperature=0.3, stop=("x",)), system="Be kind.")
    "".join(session.ask("<|end|> 磨坊 \ud83d?"))
    assert session.save(tmp_path / "talk.json") == tmp_path / "talk.json"
    other = ChatSession(model, tokenizer)
    other.load(tmp_path / "talk.json")
    assert other.messages == session.messages
    assert [m["content"] for m in other.messages] == ["<|end|> 磨坊 \ufffd?", "Да, 😀."]
    assert (other.system, other.settings) == (session.system, session.settings)
    "".join(other.again())
    assert other.messages[-1]["content"] == "No."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00",
        '{"format": "course conversation 1", "system": "", "settings": {"heat": 1}, "messages": []}',
    ]
    + [
        json.dumps({"format": "course conversation 1", "system": "", "settings": {"stop": []}, "messages": messages})
        for messages in ([{"role": "user", "content": "a"}], [{"role": "assistant", "content": "a"}], [3], 3)
    ],
)
def test_files_that_hold_no_conversation_are_refused_and_change_nothing(model, tokenizer, monkeypatch, tmp_path, text):
    play(monkeypatch, tokenizer, "Yes.")
    session = ChatSession(model, tokenizer)
    "".join(session.ask("Is it?"))
    before = list(session.messages)
    (tmp_path / "talk.json").write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match="no saved conversation"):
        session.load(tmp_path / "talk.json")
    with pytest.raises(CourseError, match="Can't read"):
        session.load(tmp_path / "nothing.json")
    with pytest.raises(CourseError, match="There is no folder"):
        session.save(tmp_path / "talk.json" / "below.json")
    assert session.messages == before


SAVED = {"format": "course conversation 1", "system": "", "settings": {}}
MESSAGES = [{"role": "user", "content": "a \ud83d"}, {"role": "assistant", "content": "b\0\x1b[2J"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_conversation_that_another_program_saved_is_read(model, tokenizer, tmp_path, encoding):
    text = json.dumps({**SAVED, "messages": MESSAGES}) + "\r\n"
    (tmp_path / "talk.json").write_bytes(text.encode(encoding))
    session = ChatSession(model, tokenizer)
    session.load(tmp_path / "talk.json")
    assert [m["content"] for m in session.messages] == ["a \ufffd", "b[2J"]


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 1.5}, {"stop": [1]}, {"seed": [1]}, {"seed": 1.5}, {"stop_loops": "yes"}, {"stop": "x"}, {"top_k": True}]
    + [{"temperature": float("nan")}, {"temperature": float("inf")}, {"max_new_tokens": 1e3}, {"stop_tokens": ["a"]}],
)  # fmt: skip
def test_a_saved_conversation_with_settings_that_cannot_be_is_refused(model, tokenizer, tmp_path, settings):
    (tmp_path / "talk.json").write_text(json.dumps({**SAVED, "settings": settings, "messages": []}), encoding="utf-8")
    with pytest.raises(CourseError, match="no saved conversation"):
        ChatSession(model, tokenizer).load(tmp_path / "talk.json")


def test_nesting_without_end_a_device_and_a_null_byte_are_refused(model, tokenizer, tmp_path):
    session = ChatSession(model, tokenizer)
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    for path in (tmp_path / "deep.json", tmp_path, "/dev/zero", "a\0b", "~nobody-of-this-name/x.json", ""):
        with pytest.raises(CourseError) as error:
            session.load(path)
        assert "\n" not in str(error.value)


def test_saving_makes_no_folder_replaces_nothing_else_and_knows_the_home_folder(
    model, tokenizer, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    play(monkeypatch, tokenizer, "Yes.")
    session = ChatSession(model, tokenizer, system="half \ud83d")
    "".join(session.ask("Is it?"))
    (tmp_path / "notes.json").write_text('{"mine": 1}', encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    for path, reason in (
        (tmp_path / "new" / "talk.json", "There is no folder"), ("~/new/talk.json", "There is no folder"),
        (tmp_path, "is a folder"), (tmp_path / "notes.json", "holds no saved conversation"), ("a\0b", "Can't save"),
        ("~nobody-of-this-name/x.json", "There is no folder"), (tmp_path / ("n" * 300), "Can't save"),
    ):  # fmt: skip
        with pytest.raises(CourseError, match=reason):
            session.save(path)
    assert sorted(tmp_path.iterdir()) == before
    assert session.save('"~/my talk.json"') == tmp_path / "my talk.json"
    session.save("~/my talk.json")  # again
    session.load("~/my talk.json")
    assert session.system == "half \ufffd" and len(session.messages) == 2
