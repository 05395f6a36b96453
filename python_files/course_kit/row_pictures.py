"""What the notebooks of phase 5 show of conversations and rows, and the last look into the finished files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bpe_tokenizer import BPETokenizer
from conversations import own
from conversations.chat_format import Conversation, prompt_ids
from conversations.drills import KINDS

# How far the colour moves from row to row and from conversation to conversation: neighbours differ.
_STEPS = (5, 3)


def kinds_table(conversations: Iterable[Conversation]) -> str:
    """A table in Markdown: for each kind, the shortest of its conversations."""
    examples: dict[str, Conversation] = {}
    for c in conversations:
        if c.kind not in examples or len(str(c.messages)) < len(str(examples[c.kind].messages)):
            examples[c.kind] = c
    lines = ["| kind | the user | the model |", "| --- | --- | --- |"]
    for kind in sorted(examples, key=[*own.KINDS, *KINDS].index):
        turns = [m["content"] for m in examples[kind].messages if m["role"] != "system"]
        texts = [text.replace("\n", "<br>").replace("|", "/") for text in turns]
        lines.append(f"| `{kind}` | {'<br>…<br>'.join(texts[::2])} | {'<br>…<br>'.join(texts[1::2])} |")
    return "\n".join(lines)


def packed_image(documents: np.ndarray, colours: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """A picture of packed rows, (N, T, 3): each conversation in a colour of its own, padding white.

    Args:
        documents: which conversation of its row each token belongs to, 0 for padding: (N, T).
    """
    image = np.ones((*documents.shape, 3))
    for line, row in enumerate(documents):
        for number in np.unique(row[row > 0]):
            image[line, row == number] = colours[(_STEPS[0] * line + _STEPS[1] * int(number)) % len(colours)]
    return image


def prompts_in_rows(folder: Path, questions: Iterable[Conversation], tokenizer: BPETokenizer, rows: int = 500) -> int:
    """How many conversations in a sample of the training rows begin with one of these questions, token by token.

    Args:
        folder: holds ``train_tokens.npy`` and ``train_documents.npy``.
        rows: read from the file, spread evenly over it.
    """
    prompts = {tuple(prompt_ids(q.messages[:-1], tokenizer)) for q in questions}
    lengths = sorted({len(prompt) for prompt in prompts})
    parts = ("tokens", "documents")
    tokens, documents = (np.load(folder / f"train_{p}.npy", mmap_mode="r", allow_pickle=False) for p in parts)
    found = 0
    for row in np.unique(np.linspace(0, len(tokens) - 1, rows).astype(int)):
        for number in np.unique(documents[row][documents[row] > 0]):
            ids = tuple(tokens[row][documents[row] == number].tolist())
            found += any(ids[:n] in prompts for n in lengths if n <= len(ids))
    return found
