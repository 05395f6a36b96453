"""The model: what it may see, what the cache may change (nothing), and the layout it shares with Qwen3."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from Dummy_Model import GPT, GPTConfig, MultiHeadAttention, RMSNorm, RotaryEmbedding
from presets import PRESETS

CONFIG = GPTConfig(vocab_size=97, context_length=32, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)
WIDE = replace(CONFIG, head_dim=12)  # heads wider together than the model, as in the published Qwen3-0.6B
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def random_model(config: GPTConfig = CONFIG, seed: int = 0) -> GPT:
    """Random in every weight: a fresh model's blocks add nothing, so it could hide any mistake in them."""
    torch.manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.1 if weight.ndim == 2 else 0.2) + (weight.ndim == 1))
    return model


def random_ids(batch: int, length: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(CONFIG.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> GPT:
    return random_model()


@pytest.mark.parametrize("pieces", [[1] * 12, [12], [5, 1, 1, 4, 1]])
def test_a_cache_changes_no_logits(model, pieces):
    ids = random_ids(3, 12)
    cache = model.new_cache(3, 12)
    with torch.no_grad():
        parts = [model(part, cache=cache) for part in ids.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), **CLOSE)
    assert cache.lengths.tolist() == [12, 12, 12]


@torch.no_grad()
@pytest.mark.parametrize("then", [[1, 1, 1], [3]])
def test_ragged_prompts_continue_as_if_alone(model, then):
    lengths = [7, 2, 5]
    prompts, more = random_ids(3, 7), random_ids(3, 3, seed=2)
    cache = model.new_cache(3, 12)
    first = model(prompts, cache=cache)  # right-padded: what stands behind a row's length is no part of it
    cache.rewind(torch.tensor(lengths))
    parts = torch.cat([model(part, cache=cache) for part in more.split(then, dim=1)], dim=1)
    for row, length in enumerate(lengths):
        alone = model(torch.cat((prompts[row, :length], more[row]))[None])[0]
        torch.testing.assert_close(first[row, :length], alone[:length], **CLOSE)
        torch.testing.assert_close(parts[row], alone[length:], **CLOSE)


@torch.no_grad()
def test_rows_can_leave_the_cache(model):
    ids, more = random_ids(3, 6), random_ids(2, 1, seed=3)
    cache = model.new_cache(3, 8)
    model(ids, cache=cache)
    cache.rewind(torch.tensor([6, 3, 4]))
    cache.keep(torch.tensor([2, 0]))
    after = model(more, cache=cache)
    for place, (row, length) in enumerate([(2, 4), (0, 6)]):
        alone = model(torch.cat((ids[row, :length], more[place]))[None])[0, -1]
        torch.testing.assert_close(after[place, 0], alone, **CLOSE)


def test_a_rewind_can_only_shorten(model):
    cache = model.new_cache(2, 8)
    model(random_ids(2, 4), cache=cache)
    with pytest.raises(ValueError, match="only shorten"):
        cache.rewind(torch.tensor([5, 4]))


@torch.no_grad()
def test_packed_documents_do_not_see_each_other(model):
    ids = random_ids(1, 15)
    documents = torch.tensor([[1] * 6 + [2] * 5 + [3] * 4])
    packed = model(ids, documents)
    for part in (slice(0, 6), slice(6, 11), slice(11, 15)):
        torch.testing.assert_close(packed[:, part], model(ids[:, part]), **CLOSE)
    assert not torch.allclose(packed, model(ids), atol=1e-2), "without document ids they must see each other"


@torch.no_grad()
def test_the_future_does_not_alter_the_past(model):
    ids = random_ids(2, 10)
    changed = ids.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % CONFIG.vocab_size
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6], **CLOSE)
    assert not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-2)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, n_kv_head=4),
        replace(CONFIG, n_layer=5, n_hidden=40),
        GPTConfig(50, 8, 1, 24, 3, 1),
        WIDE,
    ],
)
def test_the_parameters_are_counted_right(config):
    assert config.n_parameters == sum(weight.numel() for weight in GPT(config).parameters())


def shape_of(name: str) -> GPTConfig:
    """The model of a preset."""
    p = PRESETS[name]
    return GPTConfig(p.vocab_size, p.context_length, p.n_layer, p.n_embd, p.n_head, p.n_kv_head)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("tiny", 3.5e6, 4.5e6), ("cpu", 12e6, 14e6), ("night", 18e6, 20e6), ("full", 125e6, 135e6)],
)
def test_the_presets_have_the_sizes_they_are_named_for(name, least, most):
    assert least < shape_of(name).n_parameters < most


@torch.no_grad()
@pytest.mark.parametrize("name", PRESETS)
def test_a_fresh_model_guesses_evenly(name):
    """With the true width and vocabulary, on ids that follow each other: the loss of knowing nothing is ln V."""
    config = shape_of(name)
    torch.manual_seed(1337)
    ids = torch.randint(config.vocab_size, (4, 33))
    ids[:, 8:16] = ids[:, :8]
    loss = GPT(config).loss(ids[:, :-1], ids[:, 1:]).item()
    assert loss == pytest.approx(math.log(config.vocab_size), abs=0.3)


def test_ignored_targets_count_for_nothing(model):
    ids, targets = random_ids(2, 9), random_ids(2, 9, seed=2)
    targets[0, :5] = -100
    expected = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(model.loss(ids, targets), expected)


def test_grouped_queries_share_keys_and_values():
    torch.manual_seed(0)
    grouped = MultiHeadAttention(CONFIG)
    full = MultiHeadAttention(replace(CONFIG, n_kv_head=4))
    D = CONFIG.head_width
    weights = dict(grouped.state_dict())
    for name in ("k_proj.weight", "v_proj.weight"):  # written out: each shared head twice, side by side
        weights[name] = weights[name].view(2, D, -1).repeat_interleave(2, dim=0).flatten(0, 1)
    full.load_state_dict(weights)
    x, rotation = torch.randn(2, 7, 32), RotaryEmbedding(D, 32, 1e4).at(torch.arange(7))
    torch.testing.assert_close(grouped(x, rotation, None, None, 0), full(x, rotation, None, None, 0))


def test_rotated_scores_depend_on_distance_alone():
    rotary = RotaryEmbedding(8, 64, 1e4)
    q, k = torch.randn(2, 8)
    at = [rotary.at(torch.tensor([p])) for p in range(64)]
    score = lambda m, n: (rotary.rotate(q[None], *at[m]) * rotary.rotate(k[None], *at[n])).sum()  # noqa: E731
    torch.testing.assert_close(score(5, 2), score(50, 47), **CLOSE)
    assert abs(score(5, 2) - score(5, 4)) > 1e-3


def test_rms_norm_by_hand():
    norm = RMSNorm(2, 0.0)
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) / 12.5**0.5)


def test_a_saved_model_comes_back_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = GPT.load(tmp_path / "model")
    assert loaded.config == model.config
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "missing", "config", "other shape"])
def test_a_damaged_model_is_one_line(model, tmp_path, damage):
    model.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "missing":
        weights.unlink()
    elif damage == "config":
        (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    else:
        config = (tmp_path / "config.json").read_text(encoding="utf-8")
        (tmp_path / "config.json").write_text(config.replace('"n_layer": 2', '"n_layer": 3'), encoding="utf-8")
    with pytest.raises(ValueError, match="no readable model") as caught:
        GPT.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_too_many_tokens_are_refused(model):
    with pytest.raises(ValueError, match="33 tokens are more than the model's context of 32"):
        model(random_ids(1, 33))
    cache = model.new_cache(1, 8)
    model(random_ids(1, 8), cache=cache)
    with pytest.raises(ValueError, match="9 tokens don't fit the cache's 8"):
        model(random_ids(1, 1), cache=cache)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"n_head": 5}, "multiple of n_head"),
        ({"n_kv_head": 3}, "multiple of n_kv_head"),
        ({"n_embd": 36}, "9 channels wide: .* even"),
        ({"head_dim": 9}, "9 channels wide: .* even"),
        ({"n_layer": 0}, "n_layer is 0: .* at least 1"),
        ({"n_head": 0}, "n_head is 0"),
        ({"vocab_size": -1}, "vocab_size is -1"),
    ],
)
def test_shapes_that_cannot_be_are_refused(change, line):
    with pytest.raises(ValueError, match=line):
        replace(CONFIG, **change)


def to_qwen3_name(name: str) -> str:
    """What transformers calls the same weight."""
    name = name.replace("blocks.", "layers.").replace(".attention_norm", ".input_layernorm")
    name = name.replace(".mlp_norm", ".post_attention_layernorm").replace(".attention.", ".self_attn.")
    return "model." + name.replace("embedding.", "embed_tokens.")


@torch.no_grad()
@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=["as wide as the model", "wider heads"])
def test_logits_equal_those_of_qwen3_on_the_same_weights(config):
    transformers = pytest.importorskip("transformers")
    model = random_model(config)
    settings = transformers.Qwen3Config(
        vocab_size=CONFIG.vocab_size,
        hidden_size=CONFIG.n_embd,
        intermediate_size=CONFIG.n_hidden,
        num_hidden_layers=CONFIG.n_layer,
        num_attention_heads=CONFIG.n_head,
        num_key_value_heads=CONFIG.n_kv_head,
        head_dim=config.head_width,
        max_position_embeddings=CONFIG.context_length,
        rms_norm_eps=CONFIG.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": CONFIG.rope_theta},
        tie_word_embeddings=True,
        attention_bias=False,
    )
    reference = transformers.Qwen3ForCausalLM(settings).eval()
    weights = {to_qwen3_name(name): value for name, value in model.state_dict().items()}
    missing = reference.load_state_dict({**weights, "lm_head.weight": model.embedding.weight}, strict=True)
    assert not missing.missing_keys and not missing.unexpected_keys
    ids = random_ids(2, 32)
    assert (reference(ids).logits - model(ids)).abs().max() < 1e-4
    assert model(ids).abs().max() > 0.1, "logits of nothing but zeros would agree too"


@torch.no_grad()
def test_a_cache_serves_heads_of_their_own_width():
    model, ids = random_model(WIDE), random_ids(2, 9)
    cache = model.new_cache(2, 9)
    parts = [model(part, cache=cache) for part in ids.split([4, 1, 4], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), **CLOSE)
    assert cache.keys.shape[-1] == 12


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_loss_in_chunks_is_the_loss(monkeypatch, precision):
    torch.manual_seed(0)
    model, ids, targets = random_model(CONFIG), random_ids(60, 32), random_ids(60, 32)
    targets[:, ::3] = -100
    results = []
    for at_once in (2**40, 97 * 160):  # whole, and 160 of the 1,280 rows at a time
        monkeypatch.setattr("Dummy_Model.LOGITS_AT_ONCE", at_once)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model.loss(ids, targets)
        loss.backward()
        assert loss.dtype == torch.float32  # in bfloat16 a loss has two digits: too few for a log
        results.append((loss.detach(), model.embedding.weight.grad.clone(), model.blocks[0].mlp.up_proj.weight.grad))
    torch.testing.assert_close(results[1][0], results[0][0], **CLOSE)
    for whole, chunked in zip(results[0][1:], results[1][1:], strict=True):
        assert (chunked - whole).norm() < (1e-5 if precision == "float32" else 0.03) * whole.norm()


def test_recomputing_gives_the_same_gradients():
    grads = []
    for recompute in (False, True):
        model = random_model(CONFIG)
        model.recompute = recompute
        model.loss(random_ids(3, 32), random_ids(3, 32)).backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
