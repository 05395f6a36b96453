"""The ten data sets of the Hugging Face hub that phase 5 can use, and sets of one's own: one way to open them.

Each is read through ``datasets.load_dataset``, from the hub or from a folder in which copies lie as
``hf download <org>/<name> --repo-type dataset --local-dir DIR/<org>/<name>`` puts them. One that can't be had is
named and left out, with what that means for the mix. What else lies in the folder is taken too, if its rows have
``messages``.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from artifacts import CourseError
from conversations import adapters
from conversations.adapters import Adapted


@dataclass(frozen=True)
class InstructionDataset:
    """One configuration of a data set of the hub."""

    id: str
    licence: str
    adapter: Callable
    teaches: str
    train: str  # the split to train on
    held_out: str | None  # the split to examine with: never trained on
    take: int | None = None  # conversations to take; None takes all
    config: str | None = None
    weight: int = 1  # how often each conversation is repeated
    max_tokens: int | None = None  # longer ones are left out
    by_tree: bool = False  # the adapter takes all rows at once
    shuffled: bool = False  # the first rows of the file are not like the others
    revision: str | None = None  # a commit of the hub; None takes the newest
    about: int = 0  # conversations that it gives, for shares and bars; told by its page

    @property
    def name(self) -> str:
        """Unique, and short enough for a table: ``ai2_arc/ARC-Easy``."""
        return self.id.split("/")[-1] + (f"/{self.config}" if self.config else "")


_ARC = {"licence": "CC BY-SA 4.0", "adapter": adapters.multiple_choice, "train": "train", "held_out": "test"}
INSTRUCTION_DATASETS = (
    InstructionDataset("HuggingFaceTB/smol-smoltalk", "Apache-2.0", adapters.smoltalk, "talk, rewriting and summaries",
           "train", "test", take=60_000, max_tokens=512, shuffled=True, about=60_000),
    InstructionDataset("HuggingFaceTB/everyday-conversations-llama3.1-2k", "Apache-2.0", adapters.messages,
           "small talk", "train_sft", "test_sft", weight=3, about=2_260),
    InstructionDataset("databricks/databricks-dolly-15k", "CC BY-SA 3.0", adapters.dolly, "instructions by people",
           "train", None, about=15_011),
    InstructionDataset("rajpurkar/squad", "CC BY-SA 4.0", adapters.squad, "answers found in a passage",
           "train", "validation", take=30_000, shuffled=True, about=30_000),
    InstructionDataset("google/boolq", "CC BY-SA 3.0", adapters.boolq, "yes or no, from a passage",
           "train", "validation", about=9_427),
    InstructionDataset("allenai/qasc", "CC BY 4.0", adapters.qasc, "facts of science, with the reason",
           "train", "validation", about=8_134),
    InstructionDataset("allenai/ai2_arc", teaches="school questions with choices", config="ARC-Easy",
           about=2_251, **_ARC),
    InstructionDataset("allenai/ai2_arc", teaches="harder school questions", config="ARC-Challenge",
           about=1_119, **_ARC),
    InstructionDataset("OpenAssistant/oasst2", "Apache-2.0", adapters.oasst2,
           "long answers by people, in several turns", "train", "validation", by_tree=True, about=5_500),
    InstructionDataset("allenai/soda", "CC BY 4.0", adapters.soda, "everyday dialogues",
           "train", "validation", take=20_000, shuffled=True, about=20_000),
    InstructionDataset("tau/commonsense_qa", "MIT", adapters.multiple_choice, "common sense with choices",
           "train", "validation", about=9_741),
)  # fmt: skip


DATA_FILES = (".jsonl", ".json", ".parquet", ".csv", ".arrow")
HELD_OUT_SPLITS = ("validation", "test")
# Sets of the hub that come from a folder alone, with the columns of one in the table.
_OTHERS = {"OpenAssistant/oasst1": {"licence": "Apache-2.0", "adapter": adapters.oasst2, "by_tree": True,
                                    "teaches": "long answers by people, in several turns"}}  # fmt: skip


def others_in(folder: str | Path) -> list[InstructionDataset]:
    """The data sets of a folder that are not in the table: every folder of data files in it, at most two deep.

    A file called ``validation`` or ``test`` is an exam, and never trained on.
    """
    found, known = [], {source.id for source in INSTRUCTION_DATASETS}
    for path in sorted([*Path(folder).glob("*/"), *Path(folder).glob("*/*/")]):
        name = path.relative_to(folder).as_posix()
        files = [file for file in path.iterdir() if file.suffix in DATA_FILES]
        if not files or any(name == id or name.startswith(f"{id}/") for id in known):
            continue
        held_out = next((split for split in HELD_OUT_SPLITS for file in files if file.name.startswith(split)), None)
        own = {"licence": "see its page", "adapter": adapters.messages, "teaches": "a set of your own"}
        found.append(InstructionDataset(name, train="train", held_out=held_out, **_OTHERS.get(name, own)))
    return found


class Unavailable(CourseError):
    """A data set can't be had: missing, gated, moved, or there is no network."""


class HubUnreachable(Unavailable):
    """There is no way to the hub, so that trying the next data set would only cost time."""


def mirror_folder() -> str | None:
    """The folder of local copies that ``--sft-folder`` or ``COURSE_SFT_FOLDER`` names.

    Raises:
        CourseError: there is no such folder.
    """
    folder = os.path.expanduser(os.environ.get("COURSE_SFT_FOLDER") or "")
    if folder and not Path(folder).is_dir():
        raise CourseError(f"COURSE_SFT_FOLDER (--sft-folder) is {folder}: there is no such folder.")
    return folder or None


def open_split(source: InstructionDataset, split: str, folder: str | Path | None, seed: int = 0) -> Iterator[dict]:
    """The rows of one split, streamed.

    Args:
        folder: holds ``<org>/<name>/``; None reads from the hub.
        seed: of the order, where a source is shuffled.

    Raises:
        Unavailable: at the first row or on the way; its text says why in one line.
    """
    import datasets  # takes seconds, so only where it is used

    path, options = source.id, {"name": source.config, "revision": source.revision}
    if folder is not None:
        local = Path(folder) / source.id
        if not local.is_dir():
            raise Unavailable(f"no folder {source.id} in the folder of copies")
        path, options = str(local), {"name": source.config}
        # Without the page's README no configurations are known, but their folders can be named.
        if not (local / "README.md").is_file():
            if source.config and (local / source.config).is_dir():
                local, options = local / source.config, {"data_dir": source.config}
            # The files of this split alone: those of another may have columns of other types.
            names = [file.name for file in sorted(local.iterdir()) if file.name.startswith(split)]
            if names := [name for name in names if name.endswith(DATA_FILES)]:
                options["data_files"] = {split: names}
    try:
        rows = datasets.load_dataset(path, split=split, streaming=True, **options)
        if source.shuffled and split == source.train:
            # From one file at a time: the reader of several ends with a pause of five seconds for its threads.
            rows = rows.shuffle(seed=seed, buffer_size=10_000, max_buffer_input_shards=1)
        yield from rows
    except ConnectionError:
        raise HubUnreachable("the hub can't be reached") from None
    except Exception as error:  # the libraries below raise many kinds: not found, gated, damaged file, no split
        reason = " ".join(str(error).split())[:120]
        if folder is not None:
            reason = reason.replace(str(Path(folder).resolve()), "DIR").replace(str(folder), "DIR")
        raise Unavailable(f"{type(error).__name__}: {reason}") from None


def adapted(source: InstructionDataset, rows: Iterator[dict]) -> Iterator[Adapted]:
    """The rows as messages or reasons."""
    if source.by_tree:
        yield from source.adapter(rows)
        return
    for row in rows:
        try:
            yield source.adapter(row)
        except Exception as error:  # a row of a shape that nobody thought of must not stop the other thousands
            yield f"not as documented ({type(error).__name__})"


def read(
    source: InstructionDataset, split: str, folder: str | Path | None, take: int | None, seed: int = 0
) -> Iterator[Adapted]:
    """Messages and reasons of a split, with a progress bar, until ``take`` conversations have come.

    Raises:
        Unavailable: as ``open_split``.
    """
    bar = tqdm(total=take or source.about or None, desc=f"{source.name} {split}"[:44], unit="", mininterval=1.0)
    taken = 0
    with bar:
        for messages in adapted(source, open_split(source, split, folder, seed)):
            yield messages
            if isinstance(messages, list):
                taken += 1
                bar.update()
                if take is not None and taken >= take:
                    return


def consequence(source: InstructionDataset, total: int) -> str:
    """What leaving a source out means, in words, for a mix of ``total`` conversations of the hub."""
    share = source.about * source.weight / max(1, total)
    return f"about {source.about * source.weight:,} conversations ({share:.0%} of the hub's) fewer: {source.teaches}"


def hub_total() -> int:
    """Conversations that the ten data sets give together."""
    return sum(source.about * source.weight for source in INSTRUCTION_DATASETS)
