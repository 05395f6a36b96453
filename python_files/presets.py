"""The sizes of the course: one frozen dataclass, so that a whole run is data one can print."""

import os
from dataclasses import asdict, dataclass, replace

from artifacts import CourseError

REHEARSAL = "-rehearsal"  # ends the name of a preset that is rehearsed, and of its folder below artifacts/
SHORTER = 5  # times, with COURSE_SHORT
REHEARSED_BOOKS = 100  # of the hub or a folder: text enough for the largest vocabulary. Packaged books are all read


@dataclass(frozen=True)
class Preset:
    """All that differs between a run of minutes and one of days. Token counts are in tokens."""

    name: str
    # Model
    n_layer: int
    n_embd: int
    n_head: int
    n_kv_head: int
    context_length: int
    vocab_size: int
    # Books: "packaged", "hf", or a folder or zip; None takes all books
    books: str
    book_limit: int | None
    # Rows in one forward pass, in both trainings: decides memory, never the result
    micro_batch: int
    # Pretraining: a step sees pretrain_batch rows of context_length tokens
    pretrain_batch: int
    pretrain_steps: int
    pretrain_lr: float
    pretrain_matrix_lr: float
    # Fine-tuning
    sft_conversations: int
    sft_batch: int
    sft_steps: int
    sft_lr: float
    sft_matrix_lr: float
    sft_context_length: int
    common_talk: bool = False  # of the course's own conversations only those about what is asked often
    compile: bool = False  # torch.compile, where it can work: pays when a run takes longer than minutes
    seed: int = 1337

    @property
    def pretrain_tokens(self) -> int:
        """Tokens seen in pretraining."""
        return self.pretrain_batch * self.context_length * self.pretrain_steps

    @property
    def size(self) -> str:
        """The name that the preset has in ``PRESETS``, when it is rehearsed as well."""
        return self.name.removesuffix(REHEARSAL)

    @property
    def is_rehearsal(self) -> bool:
        """Whether this is a rehearsal of the preset ``size``."""
        return self.name.endswith(REHEARSAL)

    def few(self, number: int) -> int:
        """``number`` of questions of an exam, batches or characters; in a rehearsal a twentieth of it, at least 2."""
        part = 20 if self.is_rehearsal else SHORTER if os.environ.get("COURSE_SHORT") else 1
        return number if part == 1 else max(2, number // part)


PRESETS = {
    "tiny": Preset(
        name="tiny", n_layer=4, n_embd=256, n_head=4, n_kv_head=2, context_length=256, vocab_size=4096,
        books="packaged", book_limit=None, micro_batch=8,
        pretrain_batch=8, pretrain_steps=300, pretrain_lr=3e-3, pretrain_matrix_lr=0.02,
        sft_conversations=60_000, sft_batch=8, sft_steps=1200, sft_lr=2e-3, sft_matrix_lr=0.02, sft_context_length=256,
        common_talk=True,
    ),
    "cpu": Preset(
        name="cpu", n_layer=6, n_embd=384, n_head=6, n_kv_head=2, context_length=512, vocab_size=8192,
        books="hf", book_limit=300, micro_batch=4,
        pretrain_batch=16, pretrain_steps=1000, pretrain_lr=3e-3, pretrain_matrix_lr=0.02,
        sft_conversations=215_000, sft_batch=16, sft_steps=1800, sft_lr=2e-3, sft_matrix_lr=0.02,
        sft_context_length=512, compile=True,
    ),
    "night": Preset(
        name="night", n_layer=10, n_embd=384, n_head=6, n_kv_head=2, context_length=512, vocab_size=8192,
        books="hf", book_limit=300, micro_batch=4,
        pretrain_batch=32, pretrain_steps=1600, pretrain_lr=3e-3, pretrain_matrix_lr=0.02,
        sft_conversations=900_000, sft_batch=32, sft_steps=3800, sft_lr=2e-3, sft_matrix_lr=0.02,
        sft_context_length=512, compile=True,
    ),
    "laptop": Preset(
        name="laptop", n_layer=12, n_embd=512, n_head=8, n_kv_head=4, context_length=1024, vocab_size=16384,
        books="hf", book_limit=8000, micro_batch=8,
        pretrain_batch=128, pretrain_steps=5000, pretrain_lr=2e-3, pretrain_matrix_lr=0.02,
        sft_conversations=1_250_000, sft_batch=32, sft_steps=2000, sft_lr=1e-3, sft_matrix_lr=0.01,
        sft_context_length=1024, compile=True,
    ),
    "full": Preset(
        name="full", n_layer=15, n_embd=768, n_head=12, n_kv_head=12, context_length=1024, vocab_size=32768,
        books="hf", book_limit=None, micro_batch=4,
        pretrain_batch=256, pretrain_steps=6000, pretrain_lr=1e-3, pretrain_matrix_lr=0.02,
        sft_conversations=500_000, sft_batch=64, sft_steps=1000, sft_lr=5e-4, sft_matrix_lr=0.005,
        sft_context_length=1024,
    ),
    "large": Preset(
        name="large", n_layer=24, n_embd=1024, n_head=16, n_kv_head=8, context_length=1024, vocab_size=32768,
        books="hf", book_limit=None, micro_batch=2,
        pretrain_batch=512, pretrain_steps=11_000, pretrain_lr=8e-4, pretrain_matrix_lr=0.02,
        sft_conversations=1_000_000, sft_batch=64, sft_steps=2000, sft_lr=3e-4, sft_matrix_lr=0.003,
        sft_context_length=1024, compile=True,
    ),
}  # fmt: skip


def rehearse(preset: Preset) -> Preset:
    """The preset's true shapes on a thimble of data: to find out in minutes what would stop a run of days.

    Model, context, vocabulary and micro-batch stay. A step takes two micro-batches, so that gradients are added up, and
    there are so few steps that two of four are followed by nothing else: their time is that of a step alone.
    """
    return replace(
        preset,
        name=preset.size + REHEARSAL,
        book_limit=preset.book_limit if preset.books == "packaged" else REHEARSED_BOOKS,
        pretrain_batch=2 * preset.micro_batch,
        pretrain_steps=4,
        sft_conversations=2000,
        sft_batch=2 * preset.micro_batch,
        sft_steps=4,
    )


def choose(name: str) -> Preset:
    """The preset to use: ``name``, unless ``course.py run`` set another one in the environment.

    ``COURSE_PRESET``, ``COURSE_BOOKS`` and ``COURSE_LIMIT`` override the name, the source of books and the number of
    books. A name that ends in ``-rehearsal`` (``run --rehearse``) rehearses the preset before it. ``COURSE_SHORT`` cuts
    both trainings and the exams to a fifth: the tests run every cell with it, in a few minutes.

    Raises:
        CourseError: there is no preset of that name, or the limit is no positive number.
    """
    name = os.environ.get("COURSE_PRESET") or name
    if name.removesuffix(REHEARSAL) not in PRESETS:
        raise CourseError(f"Unknown preset {name!r}: choose one of {', '.join(PRESETS)}.")
    preset = PRESETS[name.removesuffix(REHEARSAL)]
    if books := os.environ.get("COURSE_BOOKS"):
        preset = replace(preset, books=books)
    if name.endswith(REHEARSAL):
        preset = rehearse(preset)
    if limit := os.environ.get("COURSE_LIMIT"):
        if not limit.isdigit() or int(limit) == 0:
            raise CourseError(f"COURSE_LIMIT (--limit) is {limit!r}: it must be a positive whole number of books.")
        preset = replace(preset, book_limit=int(limit))
    if os.environ.get("COURSE_SHORT") and not preset.is_rehearsal:
        cut = ("pretrain_steps", "sft_steps", "sft_conversations")
        preset = replace(preset, **{name: getattr(preset, name) // SHORTER for name in cut})
    return preset


def describe(preset: Preset) -> str:
    """The preset as lines of ``name: value``, for the top of a notebook or a log."""
    return "\n".join(f"{name}: {value}" for name, value in asdict(preset).items())
