"""Reading a Qwen3 of the Hugging Face format: ours, one that transformers wrote, and all that must be refused."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from small_chat import CONTEXT, small_tokenizer
from small_export import wide_model, write_model

from artifacts import CourseError
from export import huggingface
from export.huggingface import WEIGHT_NAMES, from_huggingface


@pytest.fixture(scope="module")
def model():
    return wide_model(small_tokenizer())


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("exported")
    return huggingface.to_huggingface(write_model(model, small_tokenizer(), root / "model"), root / "hf")


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of the export to spoil."""
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def published(folder: Path):
    """A Qwen3 as it is published: many files, bfloat16, heads that are wider together than the model."""
    torch.manual_seed(2)
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    settings = transformers.Qwen3Config(**sizes, **rope, tie_word_embeddings=True)
    theirs = transformers.Qwen3ForCausalLM(settings).to(torch.bfloat16)
    theirs.save_pretrained(folder, max_shard_size="20KB")
    return transformers.Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_a_model_comes_back_bit_for_bit(model, exported):
    back = from_huggingface(exported)
    assert back.config == model.config and not back.training
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, back.state_dict()[name]), name
    ids = torch.randint(300, (2, CONTEXT))
    assert torch.equal(back(ids), model(ids))
    back.loss(ids, ids).backward()  # and it can be trained on
    assert all(parameter.grad is not None for parameter in back.parameters())


@torch.no_grad()
def test_a_published_model_in_many_files_is_read(tmp_path):
    theirs = published(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    ours = from_huggingface(tmp_path)
    assert ours.config.head_dim == 16 and ours.config.rope_theta == 1e6 and ours.embedding.weight.dtype == torch.float32
    ids = torch.randint(300, (2, 128))
    assert (theirs(ids).logits - ours(ids)).abs().max() < 1e-4


@torch.no_grad()
def test_a_context_can_be_shortened_but_not_stretched(exported, model):
    short = from_huggingface(exported, context_length=16)
    ids = torch.randint(300, (1, 16))
    assert short.config.context_length == 16 and torch.equal(short(ids), model(ids))
    assert from_huggingface(exported, context_length=10**6).config.context_length == CONTEXT


def test_a_config_written_for_an_older_transformers_is_read(folder, model):
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del told["rope_parameters"], told["architectures"]
    (folder / "config.json").write_text(json.dumps({**told, "rope_scaling": None}), encoding="utf-8")
    assert from_huggingface(folder).config == model.config


def told_otherwise(folder: Path, change: dict, absent: tuple[str, ...] = ()) -> None:
    told = {**json.loads((folder / "config.json").read_text(encoding="utf-8")), **change}
    told = {name: value for name, value in told.items() if name not in absent}
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")


PLAIN = {"rope_type": "default", "rope_theta": 5e5}
FORMS = [
    {"num_key_value_heads": None}, {"rope_parameters": None}, {"rope_parameters": None, "rope_theta": 5e5},
    {"rope_parameters": {}, "rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4},
    {"rope_parameters": {"rope_type": "default"}, "rope_theta": 5e5}, {"rope_parameters": None, "rope_scaling": PLAIN},
    {"rope_scaling": PLAIN, "rope_theta": 1e4}, {"rope_scaling": {"type": "default"}, "rope_theta": 5e5},
    {"rope_parameters": {**PLAIN, "partial_rotary_factor": None}}, {"layer_types": None}, {"sliding_window": None},
    {"quantization_config": None}, {"architectures": None}, {"architectures": []}, {"hidden_act": "swish"},
]  # fmt: skip
ABSENT = ["head_dim", "rms_norm_eps", "max_position_embeddings", "num_key_value_heads", "rope_parameters",
          "layer_types", "num_attention_heads", "hidden_act", "attention_bias", "use_sliding_window"]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("change", [*FORMS, *ABSENT], ids=str)
def test_what_is_null_or_absent_is_read_as_transformers_reads_it(tmp_path, change):
    """In a folder whose sizes are those that an absent key stands for."""
    torch.manual_seed(3)
    sizes = {"vocab_size": 90, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 128}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32_768}
    settings = transformers.Qwen3Config(**sizes, **heads, rope_parameters=PLAIN, tie_word_embeddings=True)
    model = transformers.Qwen3ForCausalLM(settings)
    for weight in model.parameters():
        weight.normal_(0, 0.2)
    model.save_pretrained(tmp_path)
    told_otherwise(tmp_path, change if isinstance(change, dict) else {}, () if isinstance(change, dict) else (change,))
    ids = torch.randint(90, (1, 12))
    theirs = transformers.Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()(ids).logits
    assert (from_huggingface(tmp_path, context_length=64)(ids) - theirs).abs().max() < 1e-3


def test_a_giant_width_of_a_head_is_refused_before_anything_is_built(tmp_path):
    published(tmp_path)
    told_otherwise(tmp_path, {"head_dim": 4_194_304, "max_position_embeddings": 4_194_304})
    refused(tmp_path, r"by its config\.json it should be")


def test_a_null_head_dim_is_the_models_width_shared_by_its_heads(tmp_path):
    published(tmp_path)
    told_otherwise(tmp_path, {"head_dim": None})
    refused(tmp_path, r"q_proj.weight is .64, 32., and by its config.json it should be .32, 32.")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = value
    save_file(weights, folder / "model.safetensors")
    refused(folder, "norm.weight has a number that is infinite or none at all")


def test_an_output_head_that_is_the_embedding_does_no_harm(folder, model):
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors")
    assert torch.equal(from_huggingface(folder).embedding.weight, model.embedding.weight)


def refused(folder: Path, line: str) -> None:
    with pytest.raises(CourseError, match=line) as caught:
        from_huggingface(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model_type": "llama"}, "the layout 'llama'"),
        ({"model_type": "qwen3_moe"}, "the layout 'qwen3_moe'"),
        ({"model_type": None}, "not in the Hugging Face format"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "the head of a Qwen3ForSequenceClassification"),
        ({"tie_word_embeddings": False}, "untied embeddings"),
        ({"tie_word_embeddings": None}, "untied embeddings"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope scaling .'yarn'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope scaling .'linear'"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "a part of each head"),
        ({"use_sliding_window": True}, "a sliding window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "a sliding window"),
        ({"attention_bias": True}, "attention biases"),
        ({"hidden_act": "gelu"}, "the activation 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantized weights"),
        ({"hidden_size": 48}, "embedding.weight is .300, 32., and by its config.json it should be .300, 48."),
        ({"num_hidden_layers": 3}, r"lacks the weight model.layers.2.input_layernorm.weight \(and 10 more\)"),
        ({"num_hidden_layers": 1}, r"has a weight that Dummy_Model doesn't know, model.layers.1.*\(and 10 more\)"),
        ({"num_key_value_heads": 3}, "Damaged .*config.json .*multiple of n_kv_head"),
        ({"vocab_size": "many"}, "Damaged .*config.json .vocab_size is 'many', it must be a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_hidden_layers": None}, "num_hidden_layers is None, it must be a whole number"),
        ({"num_hidden_layers": 4_000_000}, "weights, too few for 4,000,000 layers"),
        ({"num_hidden_layers": 10**12}, "n_layer is 1000000000000: it must be a whole number"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
        ({"max_position_embeddings": 10**12}, "context_length is 1000000000000"),
        ({"rms_norm_eps": float("nan")}, "Damaged .*config.json .norm_eps is nan: it must be a number"),
        ({"rms_norm_eps": None}, "Damaged .*config.json"),
        ({"rms_norm_eps": 1e300}, "norm_eps is 1e.300: it must be a number, at least 1e-12 and at most 1"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}}, "rope_theta is nan"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": -1}}, "rope_theta is -1.0"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e308}}, "rope_theta is 1e.308"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "positions by kind of layer"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope scaling .'linear'"),
        ({"rms_norm_eps": "small"}, "Damaged .*config.json .could not convert string to float"),
    ],
)
def test_what_dummy_model_has_no_part_for_is_refused(folder, change, line):
    told = {**json.loads((folder / "config.json").read_text(encoding="utf-8")), **change}
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    refused(folder, line)


@pytest.mark.parametrize(("text", "line"), [("{", "Damaged .*config.json"), ("[]", "Damaged"), ("{}", "no model_type")])
def test_a_damaged_configuration_is_one_line(folder, text, line):
    (folder / "config.json").write_text(text, encoding="utf-8")
    refused(folder, line)


def test_missing_and_damaged_weights_are_one_line(folder):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    for damaged in (data[:-100], data[:5], b"", b"\x80\x02}q\x00."):
        weights.write_bytes(damaged)
        refused(folder, "Damaged .*model.safetensors")
    weights.unlink()
    refused(folder, "Missing .*model.safetensors: there are no weights")
    (folder / "config.json").unlink()
    refused(folder, "Missing .*config.json: name a folder in the Hugging Face format")
    refused(folder / "nowhere", "Missing .*config.json")


class Attack:
    """A pickle that leaves a trace if anyone opens it."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_a_pickle_is_never_opened(folder, tmp_path):
    trace = tmp_path / "opened"
    torch.save(Attack(trace), folder / "pytorch_model.bin")
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert trace.exists(), "the attack works on whoever opens it"
    trace.unlink()
    (folder / "model.safetensors").unlink()
    refused(folder, "only as a pickle, which can run any code")
    assert not trace.exists()


def test_a_lost_part_and_a_crooked_index_are_one_line(tmp_path):
    published(tmp_path)
    first = sorted(tmp_path.glob("model-*.safetensors"))[0]
    data = first.read_bytes()
    first.unlink()
    refused(tmp_path, f"Missing .*{first.name}: the download or the copy isn't complete")
    first.write_bytes(data)
    index = tmp_path / "model.safetensors.index.json"
    for name, line in (("../model.safetensors", "names a file outside the folder"), ("/etc/x", "outside the folder")):
        index.write_text(json.dumps({"weight_map": {"model.norm.weight": name}}), encoding="utf-8")
        refused(tmp_path, line)
    for text in ("{", "[]", '{"weight_map": 3}'):
        index.write_text(text, encoding="utf-8")
        refused(tmp_path, "Damaged .*index.json")


def test_weights_of_an_odd_kind_or_an_own_head_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "lm_head.weight": torch.randn(300, 32)}, folder / "model.safetensors")
    refused(folder, "an output head of its own")
    save_file({**weights, "model.norm.weight": torch.ones(32, dtype=torch.int8)}, folder / "model.safetensors")
    refused(folder, r"weights in torch.int8 \(model.norm.weight\)")


def test_the_dictionary_is_one_to_one(model):
    for column in zip(*WEIGHT_NAMES, strict=True):
        assert len(set(column)) == len(column)
    assert {ours for ours, _, _ in huggingface.weight_names(model.config.n_layer)} == set(model.state_dict())
