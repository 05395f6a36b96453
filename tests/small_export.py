"""Small models on disk, for the tests of what leaves the course and of what comes back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from small_chat import CONTEXT, small_model

from bpe_tokenizer import BPETokenizer
from conversations import chat_format
from Dummy_Model import GPT

QUESTIONS = [
    f"{who} put the {thing} {where}. Where is the {thing}?"
    for who in ("Mary", "The miller's daughter", "Zoë")
    for thing in ("lamp", "loaf 1789", "🙂")
    for where in ("in the mill", "by\n the well", "under <|end|>")
]
CHATS = [[{"role": "user", "content": question}] for question in QUESTIONS]
ANSWER = {"role": "assistant", "content": "By the mill."}


def learn(model: GPT, tokenizer: BPETokenizer, steps: int = 60) -> GPT:
    """A few seconds of training on answers, so that there are likely tokens and an end to come to."""
    rows = [chat_format.render([*chat, ANSWER], tokenizer)[0][-CONTEXT:] for chat in CHATS]
    pad = tokenizer.special["<|pad|>"]
    ids = torch.tensor([row + [pad] * (CONTEXT - len(row)) for row in rows])  # (B, T)
    targets = torch.where(ids == pad, -100, ids)[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = model.loss(ids[:, :-1], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def wide_model(tokenizer: BPETokenizer) -> GPT:
    """Nothing as usual: heads wider together than the model, as many for keys as for queries, other constants."""
    torch.manual_seed(1)
    model = GPT(replace(small_model(tokenizer).config, head_dim=12, n_kv_head=4, rope_theta=5e4, norm_eps=1e-3)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3) if weight.dim() == 2 else weight.uniform_(0.5, 1.5)
    return model


def write_model(model: GPT, tokenizer: BPETokenizer, folder: Path, chat: bool = True) -> Path:
    model.save(folder)
    chat_format.save_tokenizer(tokenizer, folder) if chat else tokenizer.save(folder)
    return folder


def fail_with(error: Exception) -> Callable:
    """A function that does nothing but raise ``error``."""

    def fail(*_, **__):
        raise error

    return fail


def no_leftovers(folder: Path) -> bool:
    """Whether no half-made file lies anywhere below ``folder``."""
    return not [path for path in folder.rglob(".*") if path.name.endswith((".tmp", ".old"))]
