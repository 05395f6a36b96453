"""Decoding, streaming and the chat session, on a small random model."""

import os
import random
from dataclasses import replace

import pytest
import torch

import artifacts
import chat_format
import sampling
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from decoding import Settings, apply_min_p, apply_temperature, apply_top_k, apply_top_p, choose_tokens, probabilities
from Dummy_Model import GPT, GPTConfig

TEXT = "The miller's daughter walked to the mill, and the old miller asked her why she had come so late. " * 3
CONTEXT = 64
GREEDY = Settings(temperature=0, max_new_tokens=12)


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train([TEXT], 300)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)
    model = GPT(config).eval()
    with torch.no_grad():  # a fresh model's blocks add nothing; one that looks back is needed here
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.3)
    return model


@pytest.fixture(scope="module")
def prompts(tokenizer):
    rng = random.Random(5)
    return [[rng.randrange(8, tokenizer.vocab_size) for _ in range(n)] for n in (9, 3, 30, 1, 17, 3, 55, 62)]


def play(monkeypatch, tokenizer, *texts):
    """Makes every generation say these texts, one after the other, each followed by ``<|end|>``."""
    script = iter([token for text in texts for token in [*tokenizer.encode(text), tokenizer.special["<|end|>"]]])
    monkeypatch.setattr(sampling, "choose_tokens", lambda *_: torch.tensor([next(script)]))


def naive(model, tokenizer, prompt, max_new_tokens):
    """Greedy decoding without cache, batch or padding."""
    ids = list(prompt)
    while len(ids) - len(prompt) < max_new_tokens and len(ids) < CONTEXT:
        token = int(model(torch.tensor([ids]))[0, -1].argmax())
        if token in tokenizer.special.values():
            break
        ids.append(token)
    return ids[len(prompt) :]


# ---- filters


def test_filters_keep_what_their_papers_say():
    odds = torch.tensor([[0.05, 0.5, 0.3, 0.15], [0.4, 0.1, 0.1, 0.4]])
    logits = odds.log()
    assert apply_top_k(logits, 2).isfinite().tolist() == [[False, True, True, False], [True, False, False, True]]
    assert apply_top_p(logits, 0.7).isfinite().tolist() == [[False, True, True, False], [True, False, False, True]]
    assert apply_top_p(logits, 0.01).isfinite().sum(-1).tolist() == [1, 1]
    assert apply_min_p(logits, 0.5).isfinite().tolist() == [[False, True, True, False], [True, False, False, True]]
    assert torch.allclose(apply_temperature(logits, 1.0).softmax(-1), odds)
    assert apply_temperature(logits, 0.5).softmax(-1)[0, 1] > 0.5 > apply_temperature(logits, 2.0).softmax(-1)[0, 1]
    assert apply_top_k(logits, 99).isfinite().all()


def test_repetition_penalty_lowers_what_was_seen_on_both_sides_of_zero():
    logits, seen = torch.tensor([[2.0, -2.0, 2.0, -2.0]]), torch.tensor([[True, True, False, False]])
    changed = probabilities(logits, Settings(repetition_penalty=2.0, temperature=1, top_k=None), seen)
    assert torch.allclose(changed, torch.tensor([[1.0, -4.0, 2.0, -2.0]]).softmax(-1))


def test_draws_follow_the_odds_and_tiny_temperature_is_greedy():
    logits = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).log().repeat(20_000, 1)
    rng = random.Random(1)
    draws = [rng.random() for _ in range(20_000)]
    drawn = choose_tokens(logits, Settings(temperature=1, top_k=None), draws).bincount(minlength=4) / 20_000
    assert torch.allclose(drawn, torch.tensor([0.5, 0.3, 0.2, 0.0]), atol=0.02)
    assert drawn[3] == 0
    almost_one = [1 - 2**-53] * 20_000
    assert choose_tokens(logits, Settings(temperature=1, top_k=None), almost_one).max() <= 2
    assert choose_tokens(logits, Settings(temperature=1e-6), draws).unique().tolist() == [0]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 1}, {"max_new_tokens": 0}]
    + [{"repetition_penalty": 0}, {"stop": "text"}, {"stop": ("",)}],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(CourseError, match=next(iter(wrong))):
        Settings(**wrong)


# ---- generating


def test_greedy_batch_equals_decoding_without_a_cache(model, tokenizer, prompts):
    expected = [naive(model, tokenizer, prompt, 12) for prompt in prompts]
    assert sampling.generate_batch(model, tokenizer, prompts, GREEDY) == expected
    assert len({tuple(row) for row in expected}) > 4, "rows must differ, or this test shows nothing"
    assert any(len(row) == 12 for row in expected)
    assert len(expected[-1]) <= 2  # 62 of 64 tokens were taken


@pytest.mark.parametrize("changes", [{}, {"repetition_penalty": 1.3}, {"top_p": 0.9, "top_k": None}, {"min_p": 0.1}])
def test_sampled_batch_equals_one_by_one(model, tokenizer, prompts, changes):
    settings = Settings(max_new_tokens=10, seed=3, **changes)
    together = sampling.generate_batch(model, tokenizer, prompts, settings)
    assert together == [sampling.generate_batch(model, tokenizer, [p], settings)[0] for p in prompts]
    assert together == sampling.generate_batch(model, tokenizer, prompts, settings, batch_size=3)
    assert together != sampling.generate_batch(model, tokenizer, prompts, replace(settings, seed=4))
    text = sampling.generate(model, tokenizer, prompts[0], settings)
    assert text == tokenizer.decode(together[0])


def test_seeds_give_several_answers_to_one_prompt(model, tokenizer, prompts):
    rows = sampling.generate_batch(model, tokenizer, [prompts[0]] * 4, Settings(max_new_tokens=8), seeds=[1, 2, 3, 1])
    assert rows[0] == rows[3]
    assert len({tuple(row) for row in rows}) == 3


def test_the_penalty_covers_the_prompt_and_the_answer_but_no_special_token(tokenizer, model, monkeypatch):
    marked, script = [], iter([40, 41, 5])

    def choose(logits, settings, draws, seen):
        marked.append(seen[0].nonzero()[:, 0].tolist())
        return torch.tensor([next(script)])

    monkeypatch.setattr(sampling, "choose_tokens", choose)
    sampling.generate_batch(model, tokenizer, [[3, 20, 21, 5, 4]], replace(GREEDY, repetition_penalty=5.0))
    assert marked == [[20, 21], [20, 21, 40], [20, 21, 40, 41]]


def test_end_tokens_end_a_row_alone(model, tokenizer, prompts, monkeypatch):
    steps = [[10, 11, 5], [12, 0], [13]]  # <|end|> ends the third row, then <|endoftext|> the second
    script = iter(steps)
    monkeypatch.setattr(sampling, "choose_tokens", lambda *_: torch.tensor(next(script)))
    longest_first = sorted(prompts[:3], key=len, reverse=True)
    settings = Settings(max_new_tokens=3)
    assert sampling.generate_batch(model, tokenizer, longest_first, settings) == [[10, 12, 13], [11], []]


def test_empty_and_overlong_prompts_are_refused_at_once(model, tokenizer):
    with pytest.raises(CourseError, match="empty"):
        sampling.stream(model, tokenizer, "")
    with pytest.raises(CourseError, match=f"64 tokens long .* context of {CONTEXT}"):
        sampling.stream(model, tokenizer, [9] * CONTEXT)
    with pytest.raises(CourseError, match="empty"):
        sampling.generate_batch(model, tokenizer, [[9], []])
    assert sampling.generate_batch(model, tokenizer, []) == []


def test_streaming_never_shows_half_a_character(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "naïve 😀 café")
    pieces = list(sampling.stream(model, tokenizer, "The"))
    assert "".join(pieces) == "naïve 😀 café"
    assert len(pieces) > 5
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("stops", [("\nUser:",), ("why", "\nUser:"), ("\n",)])
def test_stop_text_ends_the_answer_and_is_never_shown(model, tokenizer, monkeypatch, stops):
    text = "Yes.\nUser: why?"
    play(monkeypatch, tokenizer, text)
    shown = text[: min(text.index(stop) for stop in stops)]
    assert "".join(sampling.stream(model, tokenizer, "The", Settings(stop=stops))) == shown
    play(monkeypatch, tokenizer, text)
    (ids,) = sampling.generate_batch(model, tokenizer, [[9]], Settings(stop=stops))
    assert len(ids) < len(tokenizer.encode(text))


def test_text_that_only_begins_like_a_stop_is_shown():
    assert "".join(sampling.until_stop(iter(["a<", "b<", "st"]), ["<stop>"])) == "a<b<st"


def test_answers_are_cleaned():
    assert sampling.clean_answer("  Yes. \n\n\n<|end|>No.  \n") == "Yes.\n\nNo."
    assert sampling.clean_answer(" <|end|> ") == ""
    assert list(sampling.trim(iter(["  ", " a", " ", "b \n", " "]))) == ["a", " b"]


# ---- talking


def test_a_session_remembers_its_turns(model, tokenizer, monkeypatch):
    asked = []
    original = sampling.stream
    monkeypatch.setattr(sampling, "stream", lambda m, t, ids, s: (asked.append(ids), original(m, t, ids, s))[1])
    play(monkeypatch, tokenizer, " Yes.", "No.")
    session = sampling.ChatSession(model, tokenizer, system="Be kind.")
    assert "".join(session.ask("Is it?")) == "Yes."
    assert "".join(session.ask("Why?")) == "No."
    turns = [("system", "Be kind."), ("user", "Is it?"), ("assistant", "Yes."), ("user", "Why?")]
    assert asked[1] == chat_format.prompt_ids([{"role": r, "content": c} for r, c in turns], tokenizer)
    assert [m["content"] for m in session.messages] == ["Is it?", "Yes.", "Why?", "No."]
    session.reset()
    assert session.messages == []


def test_a_long_conversation_goes_on_without_its_oldest_turns(model, tokenizer):
    session = sampling.ChatSession(model, tokenizer, Settings(max_new_tokens=8, top_k=None))
    for turn in range(25):
        "".join(session.ask(f"the mill {turn}"))
    assert session.dropped > 0
    assert session.dropped % 2 == 0
    assert session.messages[-2]["content"] == "the mill 24" or session.messages == []
    assert [message["role"] for message in session.messages][:2] == ["user", "assistant"][: len(session.messages)]


def test_messages_that_cannot_be_answered_leave_the_session_as_it_was(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "Yes.", "", "So.")
    session = sampling.ChatSession(model, tokenizer)
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
    session = sampling.ChatSession(model, tokenizer)
    pieces = session.ask("Count.")
    said = next(pieces) + next(pieces)
    pieces.close()
    assert session.messages[-1]["content"] == said.strip()


def test_the_same_session_can_be_replayed(model, tokenizer):
    def replay():
        session = sampling.ChatSession(model, tokenizer, Settings(max_new_tokens=6))
        return ["".join(session.ask(text)) for text in ("mill", "mill", "late")]

    assert replay() == replay()


# ---- loading and the terminal


def save_model(model, tokenizer, preset):
    folder = artifacts.phase_folder(preset, "sft")
    model.save(folder / "model")
    files = [f"model/{name}" for name in (*tokenizer.save(folder / "model"), "config.json", "model.safetensors")]
    artifacts.finish(folder, files)
    return folder


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def test_the_newest_chat_model_is_loaded(model, tokenizer, shelf, prompts):
    with pytest.raises(CourseError, match="no trained chat model"):
        sampling.load_chat()
    for preset, age in (("tiny", 100), ("cpu", 200)):
        manifest = save_model(model, tokenizer, preset) / "manifest.json"
        os.utime(manifest, (manifest.stat().st_atime, manifest.stat().st_mtime - age))
    loaded, its_tokenizer, name = sampling.load_chat()
    assert name == "tiny"
    cpu_model = loaded.to("cpu")
    expected = sampling.generate_batch(model, tokenizer, prompts, GREEDY)
    assert sampling.generate_batch(cpu_model, its_tokenizer, prompts, GREEDY) == expected
    assert sampling.load_chat("cpu")[2] == "cpu"


def test_a_model_with_another_tokenizer_is_refused(model, shelf):
    save_model(model, BPETokenizer.train([TEXT], 290), "tiny")
    with pytest.raises(CourseError, match="300 tokens, the tokenizer 290"):
        sampling.load_chat("tiny")


def test_a_model_that_cannot_be_read_is_one_line_without_private_paths(model, tokenizer, shelf):
    folder = save_model(model, tokenizer, "tiny")
    (folder / "model" / "model.safetensors").write_bytes(b"nothing")
    artifacts.finish(folder, ["model/model.safetensors"])
    with pytest.raises(
        CourseError, match=r"^artifacts/tiny/sft/model holds no readable model: .*6_SFT_Training again\.$"
    ):
        sampling.load_chat("tiny")


def test_the_terminal_chat(model, tokenizer, shelf, monkeypatch, capsys):
    save_model(model, tokenizer, "tiny")
    lines = iter(["hello", "", "/settings temperature=0", "/settings heat=3", "/settings top_k=x", "/reset", "/what"])

    def typed(_):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    play(monkeypatch, tokenizer, "Good day.")
    assert sampling.main(["chat", "--preset", "tiny"]) == 0
    output = capsys.readouterr().out
    for part in ("Good day.", "temperature=0.0", "No setting 'heat'", "Can't set top_k to 'x'", "new conversation"):
        assert part in output
    assert "Traceback" not in output


def test_ctrl_c_ends_the_answer_and_not_the_chat(model, tokenizer, monkeypatch, capsys):
    lines = iter(["hello", "again", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    tokens = iter([*tokenizer.encode("One"), KeyboardInterrupt, *tokenizer.encode("Two"), 5])

    def next_token(*_):
        token = next(tokens)
        if token is KeyboardInterrupt:
            raise KeyboardInterrupt
        return torch.tensor([token])

    monkeypatch.setattr(sampling, "choose_tokens", next_token)
    session = sampling.ChatSession(model, tokenizer)
    sampling.chat(session)
    assert [m["content"] for m in session.messages] == ["hello", "One", "again", "Two"]
    assert "(stopped)" in capsys.readouterr().out


def test_without_a_model_the_chat_says_so_in_one_line(shelf, capsys):
    assert sampling.main(["chat"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "run the course first" in error
