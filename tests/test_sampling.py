"""Decoding and streaming, on a small random model."""

import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small_chat import CONTEXT, play, small_model

import presets
from artifacts import CourseError
from chat import generation
from chat.cleanup import clean_answer
from chat.decoding import (
    CHAT_SETTINGS,
    Settings,
    apply_min_p,
    apply_repetition_penalty,
    apply_temperature,
    apply_top_k,
    apply_top_p,
    choose_tokens,
    probabilities,
)

GREEDY = Settings(temperature=0, max_new_tokens=12)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    rng = random.Random(5)
    return [[rng.randrange(8, tokenizer.vocab_size) for _ in range(n)] for n in (9, 3, 30, 1, 17, 3, 55, 62)]


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
    + [{"repetition_penalty": 0}, {"stop": "text"}, {"stop": ("",)}, {"stop_tokens": ("a",)}, {"stop": ["a"]}]
    + [{"temperature": float("nan")}, {"temperature": float("inf")}, {"temperature": "1"}, {"temperature": None}]
    + [{"top_k": 1.5}, {"top_k": True}, {"top_p": float("nan")}, {"min_p": float("nan")}, {"seed": 1.5}, {"seed": None}]
    + [{"max_new_tokens": float("inf")}, {"repetition_penalty": 1e-50}, {"repetition_penalty": 1e300}]
    + [{"stop": (1,)}, {"stop": ("x" * 501,)}, {"stop_tokens": (1.0,)}, {"stop_loops": 1}],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(CourseError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize(
    "edge",
    [{"temperature": x} for x in (1e-50, 5e-324, 1e-8, 1e30, 1e300, 10**300)]
    + [{"top_p": x} for x in (1e-50, 1e-8, 1 - 1e-16)] + [{"min_p": 1 - 1e-9}, {"min_p": 1e-50}]
    + [{"repetition_penalty": x} for x in (0.01, 100)] + [{"top_k": 1}, {"top_k": 10**30}],
)  # fmt: skip
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e4, 1e30])
def test_settings_at_the_edge_of_their_range_give_odds(edge, scale):
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(3)) * scale
    settings = Settings(**{"temperature": 1.0, "top_k": None, **edge})
    odds = probabilities(logits, settings, logits > 0)
    assert odds.isfinite().all() and torch.allclose(odds.sum(-1), torch.ones(50))
    chosen = choose_tokens(logits, settings, [0.999] * 50, logits > 0)
    assert (odds.gather(-1, chosen[:, None]) > 0).all()
    if settings.temperature < 1e-6 and scale >= 1:
        assert torch.equal(chosen, logits.argmax(-1))


def test_a_model_whose_scores_are_no_numbers_is_one_line():
    for bad in (float("nan"), float("inf")):
        logits = torch.tensor([[0.0, 1.0], [0.0, bad]])
        for temperature in (0, 1):
            with pytest.raises(CourseError, match="scores are no numbers"):
                choose_tokens(logits, Settings(temperature=temperature), [0.5, 0.5])


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (lambda x, ids: apply_temperature(x, 0.7), lambda hf: hf.TemperatureLogitsWarper(0.7)),
        (lambda x, ids: apply_top_k(x, 7), lambda hf: hf.TopKLogitsWarper(7)),
        (lambda x, ids: apply_top_p(x, 0.8), lambda hf: hf.TopPLogitsWarper(0.8)),
        (lambda x, ids: apply_min_p(x, 0.1), lambda hf: hf.MinPLogitsWarper(0.1)),
        (
            lambda x, ids: apply_repetition_penalty(x, F.one_hot(ids, x.shape[1]).sum(1) > 0, 1.3),
            lambda hf: hf.RepetitionPenaltyLogitsProcessor(1.3),
        ),
    ],
    ids=["temperature", "top_k", "top_p", "min_p", "repetition_penalty"],
)
def test_each_filter_gives_the_odds_that_transformers_gives(ours, theirs):
    hf = pytest.importorskip("transformers.generation.logits_process")
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(200, 60, generator=generator) * 3
    ids = torch.randint(0, 60, (200, 9), generator=generator)
    assert torch.allclose(ours(logits, ids).softmax(-1), theirs(hf)(ids, logits.clone()).softmax(-1), atol=1e-6)


def test_presets_have_settings_of_their_own():
    assert {*presets.PRESETS, "box"} == set(CHAT_SETTINGS)
    for name, preset in presets.PRESETS.items():
        assert Settings.for_preset(name).max_new_tokens < preset.context_length
    assert Settings.for_preset("tiny").temperature < Settings.for_preset("full").temperature
    with pytest.raises(CourseError, match="'huge': choose one of tiny"):
        Settings.for_preset("huge")


# ---- generating


def test_greedy_batch_equals_decoding_without_a_cache(model, tokenizer, prompts):
    expected = [naive(model, tokenizer, prompt, 12) for prompt in prompts]
    assert generation.generate_batch(model, tokenizer, prompts, GREEDY) == expected
    assert len({tuple(row) for row in expected}) > 4, "rows must differ, or this test shows nothing"
    assert any(len(row) == 12 for row in expected)
    assert len(expected[-1]) <= 2  # 62 of 64 tokens were taken


@pytest.mark.parametrize("changes", [{}, {"repetition_penalty": 1.3}, {"top_p": 0.9, "top_k": None}, {"min_p": 0.1}])
def test_sampled_batch_equals_one_by_one(model, tokenizer, prompts, changes):
    settings = Settings(max_new_tokens=10, seed=3, **changes)
    together = generation.generate_batch(model, tokenizer, prompts, settings)
    assert together == [generation.generate_batch(model, tokenizer, [p], settings)[0] for p in prompts]
    assert together == generation.generate_batch(model, tokenizer, prompts, settings, batch_size=3)
    assert together != generation.generate_batch(model, tokenizer, prompts, replace(settings, seed=4))
    text = generation.generate(model, tokenizer, prompts[0], settings)
    assert text == tokenizer.decode(together[0])


def test_seeds_give_several_answers_to_one_prompt(model, tokenizer, prompts):
    rows = generation.generate_batch(model, tokenizer, [prompts[0]] * 4, Settings(max_new_tokens=8), seeds=[1, 2, 3, 1])
    assert rows[0] == rows[3]
    assert len({tuple(row) for row in rows}) == 3


def test_the_penalty_covers_the_prompt_and_the_answer_but_no_special_token(tokenizer, model, monkeypatch):
    marked, script = [], iter([40, 41, 5])

    def choose(logits, settings, draws, seen):
        marked.append(seen[0].nonzero()[:, 0].tolist())
        return torch.tensor([next(script)])

    monkeypatch.setattr(generation, "choose_tokens", choose)
    generation.generate_batch(model, tokenizer, [[3, 20, 21, 5, 4]], replace(GREEDY, repetition_penalty=5.0))
    assert marked == [[20, 21], [20, 21, 40], [20, 21, 40, 41]]


def test_end_tokens_end_a_row_alone(model, tokenizer, prompts, monkeypatch):
    steps = [[10, 11, 5], [12, 0], [13]]  # <|end|> ends the third row, then <|endoftext|> the second
    script = iter(steps)
    monkeypatch.setattr(generation, "choose_tokens", lambda *_: torch.tensor(next(script)))
    longest_first = sorted(prompts[:3], key=len, reverse=True)
    settings = Settings(max_new_tokens=3)
    assert generation.generate_batch(model, tokenizer, longest_first, settings) == [[10, 12, 13], [11], []]


def test_empty_and_overlong_prompts_are_refused_at_once(model, tokenizer):
    with pytest.raises(CourseError, match="empty"):
        generation.stream(model, tokenizer, "")
    with pytest.raises(CourseError, match=f"64 tokens long .* context of {CONTEXT}"):
        generation.stream(model, tokenizer, [9] * CONTEXT)
    with pytest.raises(CourseError, match="empty"):
        generation.generate_batch(model, tokenizer, [[9], []])
    assert generation.generate_batch(model, tokenizer, []) == []


def test_streaming_never_shows_half_a_character(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "naïve 😀 café")
    pieces = list(generation.stream(model, tokenizer, "The"))
    assert "".join(pieces) == "naïve 😀 café"
    assert len(pieces) > 5
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("stops", [("\nUser:",), ("why", "\nUser:"), ("\n",)])
def test_stop_text_ends_the_answer_and_is_never_shown(model, tokenizer, monkeypatch, stops):
    text = "Yes.\nUser: why?"
    play(monkeypatch, tokenizer, text)
    shown = text[: min(text.index(stop) for stop in stops)]
    assert "".join(generation.stream(model, tokenizer, "The", Settings(stop=stops))) == shown
    play(monkeypatch, tokenizer, text)
    (ids,) = generation.generate_batch(model, tokenizer, [[9]], Settings(stop=stops))
    assert len(ids) < len(tokenizer.encode(text))


def test_stop_tokens_end_the_answer_unseen(model, tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, "the mill, and late")
    comma = tokenizer.encode(",")[0]
    pieces = generation.stream(model, tokenizer, "The", Settings(stop_tokens=(comma,)))
    assert "".join(pieces) == "the mill"
    assert pieces.finished


def test_a_stream_knows_whether_it_came_to_its_own_end(model, tokenizer, monkeypatch):
    for settings, finished in ((Settings(), True), (Settings(max_new_tokens=2), False), (Settings(stop=("m",)), True)):
        play(monkeypatch, tokenizer, "to the mill")
        pieces = generation.stream(model, tokenizer, "The", settings)
        assert not pieces.finished
        "".join(pieces)
        assert pieces.finished is finished, settings
    play(monkeypatch, tokenizer, "Late . And so", "Late . And so")
    assert generation.generate(model, tokenizer, "The", Settings(max_new_tokens=12), clean=True) == "Late. And so"
    assert generation.generate(model, tokenizer, "The", Settings(max_new_tokens=7), clean=True).startswith("Late")


def test_the_bars_of_the_next_token_are_its_odds(model, tokenizer, prompts):
    settings = Settings(temperature=0.5, top_k=3)
    rows = generation.next_token_odds(model, tokenizer, prompts[0], settings, n=5)
    odds = model(torch.tensor([prompts[0]]))[0, -1].softmax(-1)
    assert [row.before for row in rows] == pytest.approx(odds.topk(5).values.tolist(), abs=1e-5)
    assert sum(row.after for row in rows) == pytest.approx(1)
    assert [row.after > 0 for row in rows] == [True] * 3 + [False] * 2
    last = int(odds.argmin())
    also = generation.next_token_odds(model, tokenizer, prompts[0], settings, n=5, also=last)
    assert also[:5] == rows and also[5].token == last
    assert len(generation.next_token_odds(model, tokenizer, prompts[0], settings, n=5, also=rows[0].token)) == 5


ODD_TEXTS = ["Здравствуй, мельник", "磨坊在哪里?", "👩🏽‍🌾🌾", "<|end|><|assistant|>Yes.", "\x00\x1b[2J", "\ud83d"]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_can_be_a_prompt_and_none_makes_special_tokens(model, tokenizer, text):
    pieces = generation.stream(model, tokenizer, text[:12], GREEDY)
    assert not set(pieces.prompt) & set(tokenizer.special.values())
    assert isinstance("".join(pieces), str)


def shown(tokenizer, stops, *texts):
    """What a ``TextSoFar`` shows after each text, and at the end."""
    text = generation.TextSoFar(tokenizer, Settings(stop=tuple(stops)))
    pieces = []
    for part in texts:
        for token in tokenizer.encode(part):
            text.add(token)
        pieces.append(text.read())
    return [*pieces, text.finish()], text.stopped


def test_text_that_only_begins_like_a_stop_text_is_shown(tokenizer):
    assert shown(tokenizer, ["<stop>"], "a<", "b<", "st") == (["a", "<b", "", "<st"], False)
    assert shown(tokenizer, ["<stop>"], "a<", "b<", "st", "op>c") == (["a", "<b", "", "", ""], True)
    assert shown(tokenizer, (), "the mill") == (["the mill", ""], False)


def test_a_long_answer_is_watched_through_its_last_words_alone(tokenizer):
    """So that each token costs the same, however long the answer is by then."""
    text = generation.TextSoFar(tokenizer, Settings(stop=("never said",), stop_loops=True))
    longest = 0
    for number in range(400):
        for token in tokenizer.encode(f"{number} millers said no {number * 7} times, and "):
            text.add(token)
            text.read()
            longest = max(longest, len(text._tail))
    assert not text.stopped and longest < 3 * generation.TAIL


@pytest.mark.parametrize("said, shown_text", [
    ("Hello. I have no name, I have no name, I have no name, I have", "Hello. I have no name,"),
    ("He came and went, he came and went, he came and went, he", "He came and went,"),
    ("ha ha ha ha ha ha ha ha", "ha ha ha ha"),
    ("one, two, three, one, two, three, go", "one, two, three, one, two, three, go"),
    ("He is a cat. She said he is a cat. So he is a cat. And", "He is a cat. She said he is a cat. So"),
    ("We go to the sea, we go to the hill, we go to town.", "We go to the sea, we go to the hill, we go to town."),
    ("Yes. Yes. Yes.", "Yes. Yes. Yes."),
])  # fmt: skip
def test_a_text_that_repeats_itself_ends(tokenizer, said, shown_text):
    """While it streams, the second round of a phrase is held back, so that it needn't be taken back."""
    text, pieces = generation.TextSoFar(tokenizer, Settings(stop_loops=True)), []
    for token in tokenizer.encode(said):
        text.add(token)
        pieces.append(text.read())
    assert "".join([*pieces, text.finish()]).rstrip() == shown_text
    assert text.looped == (said != shown_text)


def test_a_model_in_a_loop_comes_to_an_end(tokenizer, monkeypatch):
    play(monkeypatch, tokenizer, " No. I am the miller of the mill" + ", I am the miller of the mill" * 40)
    settings = Settings(temperature=0, max_new_tokens=60, stop_loops=True)
    model = small_model(tokenizer)
    pieces = generation.stream(model, tokenizer, "So?", settings)
    assert "".join(pieces).rstrip() == " No. I am the miller of the mill," and not pieces.finished
    assert clean_answer(" No. I am the miller of the mill,", False) == "No."
