"""A small random model with a real tokenizer, for the tests of everything that talks."""

import random
from pathlib import Path

import pytest
import torch

import artifacts
from bpe_tokenizer import BPETokenizer
from chat import generation
from Dummy_Model import GPT, GPTConfig

TEXT = "The miller's daughter walked to the mill, and the old miller asked her why she had come so late. " * 3
CONTEXT = 64


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return small_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: BPETokenizer) -> GPT:
    return small_model(tokenizer)


@pytest.fixture(scope="module")
def prompts(tokenizer: BPETokenizer) -> list[list[int]]:
    """Three prompts of random tokens, of different lengths."""
    rng = random.Random(5)
    return [[rng.randrange(8, tokenizer.vocab_size) for _ in range(n)] for n in (9, 3, 30)]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """The folder of artifacts, which conftest.py keeps apart for each test."""
    return tmp_path / "artifacts"


def small_tokenizer() -> BPETokenizer:
    return BPETokenizer.train([TEXT], 300)


def small_model(tokenizer: BPETokenizer, context: int = CONTEXT, endless: bool = False) -> GPT:
    """Random weights. With ``endless``, greedy decoding never comes to an end token."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, context, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)).eval()
    with torch.no_grad():  # a fresh model's blocks add nothing; one that looks back is needed here
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.3)
        if endless:
            model.embedding.weight[list(tokenizer.special.values())] = 0  # a logit of 0: never the largest
    return model


def play(monkeypatch, tokenizer: BPETokenizer, *texts: str) -> None:
    """Makes every generation say these texts, one after the other, each followed by ``<|end|>``."""
    script = iter([token for text in texts for token in [*tokenizer.encode(text), tokenizer.special["<|end|>"]]])
    monkeypatch.setattr(generation, "choose_tokens", lambda *_: torch.tensor([next(script)]))


def save_model(model: GPT, tokenizer: BPETokenizer, preset: str) -> Path:
    """Leaves a finished chat model where the course looks for it; returns the phase's folder."""
    folder = artifacts.phase_folder(preset, "sft")
    model.save(folder / "model")
    files = [f"model/{name}" for name in (*tokenizer.save(folder / "model"), "config.json", "model.safetensors")]
    artifacts.finish(folder, files)
    return folder
