"""Controls: a short fine-tuning with one thing changed, and the numbers by which the models are compared.

A control is the same training but for one thing. What the two models differ in is then due to that thing, or to
chance.
"""

import random
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bpe_tokenizer import BPETokenizer
from conversations.chat_format import Conversation, render_all
from conversations.templates import common_names
from Dummy_Model import GPT
from npy_datasets import IGNORED, SFTDataset, write_sft_rows
from train import TrainConfig, Trainer


class ChangedRows(SFTDataset):
    """The packed rows of phase 5 in their usual order, with one thing changed.

    Args:
        masked: False makes every token a target, the user's words too.
        as_many: with ``masked`` False, as many targets as the mask would leave, drawn from all tokens of the batch.
        pages: False puts a row of conversations in the place of each row that is a page of a book.
    """

    def __init__(
        self,
        folder,
        batch_size: int,
        seed: int = 0,
        *,
        masked: bool = True,
        as_many: bool = False,
        pages: bool = True,
    ):
        super().__init__(folder, "train", batch_size, seed)
        self.masked, self.as_many, self.pages = masked, as_many, pages
        self.is_page = np.array([bool(row[1:].all()) for row in self.mask])  # in a conversation a role is never learned
        self.talk = np.flatnonzero(~self.is_page)

    def rows(self, step: int) -> np.ndarray:
        """The rows of a step."""
        rows = super().rows(step)
        return rows if self.pages else np.where(self.is_page[rows], self.talk[rows % len(self.talk)], rows)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and document ids of a step, each (B, T) int64."""
        inputs, targets, documents = super().batch(step)
        if not self.masked:
            rows = self.rows(step)
            following = torch.from_numpy(self.tokens[rows, 1:].astype(np.int64))  # (B, T)
            after = torch.from_numpy(self.documents[rows, 1:].astype(np.int64))
            n_masked = int((targets != IGNORED).sum())
            targets = torch.where((after == documents) & (after > 0), following, IGNORED)
            if self.as_many:
                draws = torch.rand(targets.shape, generator=torch.Generator().manual_seed(step))
                draws = draws.masked_fill(targets == IGNORED, 2.0)  # never among the smallest
                drawn = draws.flatten().argsort()[:n_masked]
                kept = torch.full_like(targets.flatten(), IGNORED)
                kept[drawn] = targets.flatten()[drawn]
                targets = kept.view_as(targets)
        return inputs, targets, documents


def fine_tune(model: GPT, data, steps: int, lr: float, matrix_lr: float, name: str = "") -> list[float]:
    """Trains ``model`` where it stands, with the course's ``Trainer`` and without a file. Returns each step's loss.

    Args:
        data: has ``batch(step)``.
        lr, matrix_lr: the peak rates, as in ``TrainConfig``.
        name: stands before the progress bar.
    """
    config = TrainConfig(steps, lr=lr, matrix_lr=matrix_lr, warmup_steps=min(20, steps // 4))
    trainer = Trainer(model.train(), data, config, folder="nothing is written")
    losses = [trainer.learn(step)[0] for step in tqdm(range(steps), desc=name, mininterval=1.0)]
    model.eval()
    return losses


def fine_tune_on(
    model: GPT, conversations: Sequence[Conversation], tokenizer: BPETokenizer, steps: int, lr: float, matrix_lr: float
) -> list[float]:
    """``fine_tune`` on a few conversations in short packed rows, sixteen to a step."""
    length = max(len(ids) for ids, _ in render_all((c.messages for c in conversations), tokenizer))
    shape = {"pad_token": tokenizer.special["<|pad|>"], "vocab_size": tokenizer.vocab_size}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps files that are open
        rendered = render_all((c.messages for c in conversations), tokenizer)
        write_sft_rows(rendered, folder, "train", max(64, length), **shape)
        return fine_tune(model, SFTDataset(folder, "train", 16), steps, lr, matrix_lr)


@torch.inference_mode()
def losses_by_speaker(model: GPT, data: SFTDataset, batches: int = 8) -> tuple[float, float]:
    """The mean loss over the assistant's tokens, and over all others of the conversations, in nats per token."""
    sums, counts = [0.0, 0.0], [0, 0]
    device = model.embedding.weight.device
    for step in range(min(batches, data.steps_per_epoch)):
        inputs, targets, documents = data.batch(step)
        following = torch.cat([inputs[:, 1:], torch.zeros_like(inputs[:, :1])], 1)  # the last has none: left out
        inside = torch.cat([documents[:, 1:] == documents[:, :-1], torch.zeros_like(documents[:, :1]) > 0], 1)
        inside &= documents > 0
        for place, member in enumerate((inside & (targets != IGNORED), inside & (targets == IGNORED))):
            wanted = torch.where(member, following, IGNORED)
            parts = (part.to(device) for part in (inputs, wanted, documents))
            n = int(member.sum())
            sums[place] += model.loss(*parts).item() * n if n else 0.0
            counts[place] += n
    return sums[0] / max(1, counts[0]), sums[1] / max(1, counts[1])


def best_constant(questions: Sequence[Conversation]) -> tuple[str, float]:
    """The one answer that is right most often if it is given to every question, and the share that it gets right."""
    counts = Counter(text for question in questions for text in {*question.accepted, question.answer})
    answer, right = counts.most_common(1)[0]
    return answer, right / len(questions)


# ---- the sums of the course's first edition

ALL_SUMS = frozenset((a, b) for a in range(1, 10) for b in range(1, 10))
NEW_SUMS = frozenset({(2, 7), (7, 2), (3, 5), (5, 3), (4, 8), (8, 4), (6, 9), (9, 6), (5, 5)})  # in both orders


def sums(
    n: int, seed: int, named: float = 1.0, first: bool = False, repeated: bool = True, without: Collection = ()
) -> list[Conversation]:
    """``n`` made conversations, each of one sum of two numbers from 1 to 9.

    Args:
        named: the share in which the user gives a name.
        first: the user gives it before the question and not after it.
        repeated: the answer to a user who gives a name ends with that name.
        without: pairs of numbers that don't occur.
    """
    rng = random.Random(seed)
    names = [name for kind in ("woman", "man") for name in common_names()[kind][0][:50]]
    made = []
    while len(made) < n:
        a, b, name = rng.randint(1, 9), rng.randint(1, 9), rng.choice(names)
        said, answer, is_named = f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}", rng.random() < named
        if is_named:
            said = f"I am {name}. {said}" if first else f"{said} I am {name}."
            answer = f"{answer}, {name}" if repeated else answer
        if (a, b) not in without:
            made.append(one_sum(said, answer + "."))
    return made


def one_sum(said: str, answer: str) -> Conversation:
    """A question and its answer as a conversation of the kind ``sums``."""
    return Conversation("sums", [{"role": "user", "content": said}, {"role": "assistant", "content": answer}])


def plain_sums(pairs: Iterable[tuple[int, int]] = ALL_SUMS) -> list[Conversation]:
    """The sums of all these pairs, asked without a name; unless told otherwise all 81 of numbers from 1 to 9."""
    return [one_sum(f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.") for a, b in sorted(pairs)]


def names_in(texts: Iterable[str]) -> int:
    """In how many of the texts one of the common first names of the course's data stands."""
    names = {name for kind in ("woman", "man") for name in common_names()[kind][0]}
    return sum(bool(names.intersection(re.findall(r"\w+", text))) for text in texts)
