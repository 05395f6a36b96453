"""The presets: their sizes, how a fresh model of each begins, and what a rehearsal of each changes."""

import math
from dataclasses import asdict, replace

import pytest
import torch

import presets
from artifacts import CourseError
from chat import terminal
from chat.decoding import Settings
from conversations import mix
from course_kit import doctor, preflight
from Dummy_Model import GPT
from presets import PRESETS

SHAPE = "n_layer n_embd n_head n_kv_head context_length vocab_size micro_batch sft_context_length compile seed".split()
LAYERS = {"large": 6}  # of 24: all of them would take 1.2 GB and a minute here


@pytest.mark.parametrize(
    ("name", "layers", "width", "context", "vocabulary", "least", "most"),
    [
        ("tiny", 4, 256, 256, 4096, 3.5e6, 4.5e6),
        ("cpu", 6, 384, 512, 8192, 12e6, 14e6),
        ("night", 10, 384, 512, 8192, 10e6, 20e6),
        ("laptop", 12, 512, 1024, 16384, 40e6, 50e6),
        ("full", 15, 768, 1024, 32768, 130e6, 132e6),
        ("large", 24, 1024, 1024, 32768, 280e6, 320e6),
    ],
)
def test_each_has_the_size_it_is_meant_for(name, layers, width, context, vocabulary, least, most):
    preset = PRESETS[name]
    shape = (preset.n_layer, preset.n_embd, preset.context_length, preset.vocab_size)
    assert shape == (layers, width, context, vocabulary) and preset.sft_context_length == context
    assert least < preflight.model_config(preset).n_parameters < most


@pytest.mark.parametrize(("name", "least", "most"), [("laptop", 10, 20), ("full", 10, 13), ("large", 15, 20)])
def test_the_large_ones_read_tokens_enough_for_their_weights(name, least, most):
    tokens = PRESETS[name].pretrain_tokens
    assert least < tokens / preflight.model_config(PRESETS[name]).n_parameters < most
    books = PRESETS[name].book_limit or preflight.HUB_BOOKS
    held = books * preflight.BYTES_PER_BOOK / preflight.BYTES_PER_TOKEN[PRESETS[name].vocab_size]
    assert tokens < 1.1 * held, "it would read its books more than once"


@pytest.mark.parametrize("name", PRESETS)
def test_whatever_lists_presets_lists_this_one(name):
    assert name in doctor.DISK_NEEDED and name in doctor.DISK_REHEARSAL
    assert name in mix.COUNTRIES and name in mix.USES_HUB
    assert PRESETS[name].vocab_size in preflight.BYTES_PER_TOKEN
    assert Settings.for_preset(name) == Settings.for_preset(name + presets.REHEARSAL)
    preset, needed = PRESETS[name], preflight.cost(PRESETS[name], timed=False)
    assert (
        preset.name == name and preset.pretrain_batch % preset.micro_batch == preset.sft_batch % preset.micro_batch == 0
    )
    assert needed.shard_bytes + needed.checkpoint_bytes < doctor.DISK_NEEDED[name]


@torch.no_grad()
@pytest.mark.parametrize("name", PRESETS)
def test_a_fresh_model_of_each_knows_nothing(name):
    """With the true width, vocabulary and context, and all layers but at ``large``: a loss of ln V."""
    preset = PRESETS[name]
    config = replace(preflight.model_config(preset), n_layer=LAYERS.get(name, preset.n_layer))
    torch.manual_seed(preset.seed)
    ids = torch.randint(config.vocab_size, (1, config.context_length + 1))
    assert abs(GPT(config).loss(ids[:, :-1], ids[:, 1:]).item() - math.log(config.vocab_size)) < 0.3


@pytest.mark.parametrize("name", PRESETS)
def test_a_rehearsal_has_the_true_shapes_and_little_to_do(name, monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", name + "-rehearsal")
    real, preset = PRESETS[name], presets.choose("tiny")
    assert (preset.name, preset.size, preset.is_rehearsal) == (name + "-rehearsal", name, True)
    assert {key: value for key, value in asdict(preset).items() if key in SHAPE} == {
        key: value for key, value in asdict(real).items() if key in SHAPE
    }
    assert preset.pretrain_batch == preset.sft_batch == 2 * real.micro_batch
    assert preset.pretrain_steps <= 6 and preset.sft_steps <= 6 and preset.sft_conversations <= 2000
    assert preset.few(40) == 2 and preset.few(8) == 2 and real.few(40) == 40
    monkeypatch.setenv("COURSE_BOOKS", "packaged")
    assert presets.choose("tiny").book_limit == real.book_limit, "all packaged books are needed for the vocabulary"


def test_a_rehearsal_of_nothing_is_refused():
    with pytest.raises(CourseError, match="'huge-rehearsal': choose one of tiny, cpu, night, laptop, full, large"):
        presets.choose("huge-rehearsal")


def test_the_model_in_the_box_can_be_asked_for(monkeypatch, capsys):
    def end_of_input(_):
        raise EOFError

    monkeypatch.setattr("builtins.input", end_of_input)
    assert terminal.main(["--preset", "box"]) == 0
    said = capsys.readouterr().out
    assert "The model in the box: " in said and "No chat model" not in said
