"""The fast step says what the model says."""

from dataclasses import replace

import pytest
import torch

from chat import generation
from chat.decoding import Settings
from chat.fast_step import FastStep
from Dummy_Model import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=97, context_length=48, n_layer=3, n_embd=64, n_head=4, n_kv_head=2)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class NoTokenizer:
    special: dict[str, int] = {}


def random_model(config: GPTConfig) -> GPT:
    """Random in every weight, so that each has a part in what comes out."""
    torch.manual_seed(0)
    model = GPT(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.1 if weight.ndim == 2 else 0.2) + (weight.ndim == 1))
    return model


@pytest.fixture(scope="module")
def model() -> GPT:
    model = random_model(CONFIG)
    if not FastStep.serves(model):
        pytest.skip("torch has no oneDNN here: generation takes the model's own step")
    return model


@torch.inference_mode()
@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
@pytest.mark.parametrize("lengths", [[9], [9, 9, 9], [9, 2, 5]])
def test_logits_equal_the_models_own(model, lengths, n_kv_head):
    model = random_model(replace(CONFIG, n_kv_head=n_kv_head))
    B = len(lengths)
    ids = torch.randint(97, (B, 15), generator=torch.Generator().manual_seed(1))
    caches = [model.new_cache(B, 20) for _ in range(2)]
    for cache in caches:
        model.hidden(ids[:, :9], cache=cache)
        cache.rewind(torch.tensor(lengths))
    fast = FastStep(model, B)
    for t in range(9, 15):
        token = ids[:, t : t + 1]
        torch.testing.assert_close(fast(token, caches[0]), model(token, cache=caches[1])[:, 0], **CLOSE)
        assert torch.equal(caches[0].lengths, caches[1].lengths)
    torch.testing.assert_close(caches[0].keys, caches[1].keys, **CLOSE)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generation_takes_the_fast_step_and_says_the_same(model, monkeypatch, temperature):
    settings = Settings(temperature=temperature, max_new_tokens=30)
    lengths = torch.randint(1, 40, (24,), generator=torch.Generator().manual_seed(2)).tolist()
    prompts = [torch.randint(97, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in lengths]
    steps, step = [], FastStep.__call__
    monkeypatch.setattr(FastStep, "__call__", lambda self, *a: steps.append(1) or step(self, *a))
    fast = generation.generate_batch(model, NoTokenizer(), prompts, settings, batch_size=7)
    alone = [generation.generate_batch(model, NoTokenizer(), [prompt], settings)[0] for prompt in prompts]
    assert steps
    monkeypatch.setattr(FastStep, "serves", lambda _: False)
    steps.clear()
    plain = generation.generate_batch(model, NoTokenizer(), prompts, settings, batch_size=7)
    assert not steps
    assert fast == plain == alone


def test_an_answer_follows_the_weights_as_they_are_now():
    model = random_model(CONFIG)
    prompt, settings = [[1, 2, 3]], Settings(temperature=0, max_new_tokens=20)
    before = generation.generate_batch(model, NoTokenizer(), prompt, settings)
    with torch.no_grad():
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight) * 0.2)  # in a way that leaves no trace of a change
    after = generation.generate_batch(model, NoTokenizer(), prompt, settings)
    ids = list(prompt[0])
    for _ in range(20):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert before != after == [ids[3:]]


@torch.inference_mode()
def test_a_full_cache_is_refused(model):
    cache = model.new_cache(1, 4)
    model.hidden(torch.ones(1, 4, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match="don't fit"):
        FastStep(model, 1)(torch.ones(1, 1, dtype=torch.long), cache)


def test_other_kinds_of_numbers_keep_the_models_own_step(model):
    assert not FastStep.serves(random_model(CONFIG).to(torch.bfloat16))
