"""Attacks through files: each kind of artifact damaged, and what people give the course, fuzzed."""

import contextlib
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from ground import TOLD, Ground, Trial, differences, run_phase

import artifacts
from books.cleaning import clean_book, decode
from books.sources import read_books
from bpe_tokenizer import BPETokenizer
from chat import transcript
from conversations import adapters
from conversations.chat_format import render
from Dummy_Model import GPT
from export.huggingface import open_any_folder
from npy_datasets import PretrainDataset, SFTDataset
from train import read_log

ROUNDS = 12  # of each damage to each file
EXAMPLES = 4000  # of each kind of fuzzed input, at the most
SLOW = 5.0  # seconds that no fuzzed input may take
DAMAGES = ("cut", "flipped", "emptied", "swapped", "removed")
CHECKED = ("tokenizer", "books", "pretrain", "sft_data", "sft")  # phases with a manifest


def _damaged(ground: Ground, kind: str, content: bytes, others: list[Path]) -> bytes | None:
    """The content of a file after an accident; None if the file is gone."""
    if kind == "cut":
        return content[: ground.random.randrange(len(content))]
    if kind == "flipped":
        at = ground.random.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1 << ground.random.randrange(8)]) + content[at + 1 :]
    if kind == "emptied":
        return b""
    return ground.random.choice(others).read_bytes() if kind == "swapped" else None


def _refused(what: str, use: Callable[[], object], must: bool = True) -> str:
    """Whether ``use`` refuses in one line; if it need not (``must``), it may also work."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            use()
    except TOLD as error:
        return f"{what}: {error!r}" if "\n" in str(error) or not str(error) else ""
    except Exception as error:
        return f"{what}: {error!r}"
    return f"{what}: it was used" if must else ""


def _users(folder: Path, phase: str, name: str) -> list[tuple[str, Callable[[], object], bool]]:
    """What opens a file of a phase, and whether it has to notice any change."""
    place, found = folder / "tiny", [("require", lambda: artifacts.require("tiny", phase), True)]
    if phase == "books" and name.endswith(".npy"):
        found.append(("dataset", lambda: PretrainDataset(place / phase, name.split("_")[0], 128, 4), True))
    if phase == "sft_data":
        found.append(("dataset", lambda: SFTDataset(place / phase, name.split("_")[0], 4), True))
    if name in ("model/config.json", "model/model.safetensors"):
        found.append(("model", lambda: GPT.load(place / phase / "model"), True))
    if "token" in name and name.endswith(".json"):
        found.append(("tokenizer", lambda: BPETokenizer.load((place / phase / name).parent), False))
    return found


def damaged_artifacts(ground: Ground) -> Iterator[Trial]:
    """Every file that a manifest lists: cut, flipped, emptied, swapped with another, removed."""
    os.environ["COURSE_ARTIFACTS"] = str(ground.room / "shelf")
    shutil.copytree(ground.made, ground.room / "shelf" / "tiny", dirs_exist_ok=True)
    place = ground.room / "shelf" / "tiny"
    files = [(p, name) for p in CHECKED for name in json.loads((place / p / "manifest.json").read_text())["files"]]
    others = [place / phase / name for phase, name in files]
    for _ in range(ROUNDS):
        for phase, name in files:
            path = place / phase / name
            content = path.read_bytes()
            for kind in DAMAGES:
                new = _damaged(ground, kind, content, others)
                if new == content:
                    continue
                path.unlink() if new is None else path.write_bytes(new)
                wrong = [_refused(f"{phase}/{name} {kind}, {who}", use, must) for who, use, must in
                         _users(ground.room / "shelf", phase, name)]  # fmt: skip
                path.write_bytes(content)
                yield Trial(f"artifact {kind}", "; ".join(filter(None, wrong)))


def damaged_manifests(ground: Ground) -> Iterator[Trial]:
    """A manifest that was changed: refused in one line, unless all that it says of the files is as it was."""
    os.environ["COURSE_ARTIFACTS"] = str(ground.room / "shelf")
    shutil.copytree(ground.made, ground.room / "shelf" / "tiny", dirs_exist_ok=True)
    for _ in range(10 * ROUNDS):
        for phase in CHECKED:
            path = ground.room / "shelf" / "tiny" / phase / "manifest.json"
            content = path.read_bytes()
            others = [ground.made / other / "manifest.json" for other in CHECKED if other != phase]
            for kind in DAMAGES:
                new = _damaged(ground, kind, content, others)
                path.unlink() if new is None else path.write_bytes(new)
                same = _files_of(new) == _files_of(content)
                wrong = _refused(f"{phase}/manifest.json {kind}", lambda: artifacts.require("tiny", phase), not same)  # noqa: B023
                path.write_bytes(content)
                yield Trial("manifest changed", wrong)


def _files_of(manifest: bytes | None) -> Any:
    try:
        return json.loads(manifest or b"")["files"]
    except (ValueError, KeyError, TypeError):
        return None


def damaged_runs(ground: Ground) -> Iterator[Trial]:
    """A training run's own files are damaged, and it is run again: it ends as if nothing had happened."""
    for _ in range(ROUNDS):
        for phase in ("pretrain", "sft"):
            for kind in DAMAGES:
                out = ground.room / "out"
                shutil.rmtree(out, ignore_errors=True)
                shutil.copytree(ground.made / phase, out)
                newest = max((out / "checkpoints").glob("step_*.pt"))
                others = [path for path in out.rglob("*") if path.is_file() and path.stat().st_size]
                path = ground.random.choice([newest, newest, *(p for p in others if p.name != "manifest.json")])
                what = f"{phase}/{path.relative_to(out).as_posix()} {kind}"
                new = _damaged(ground, kind, path.read_bytes(), others)
                path.unlink() if new is None else path.write_bytes(new)
                code, said = run_phase(ground, phase, out)
                wrong = f"{what}: ended with {code}: {said}" if code else differences(ground, phase, out)
                yield Trial(f"file of a training run {kind}, and run again", wrong and f"{what}: {wrong}")


def damaged_exports(ground: Ground) -> Iterator[Trial]:
    """A file of an exported folder is damaged: opening it says so."""
    folder = ground.room / "exported"
    shutil.copytree(ground.made / "export" / "folder", folder, dirs_exist_ok=True)
    files = [path for path in folder.iterdir() if path.name != "manifest.json"]
    for _ in range(ROUNDS):
        for path in files:
            content = path.read_bytes()
            for kind in DAMAGES:
                if (new := _damaged(ground, kind, content, files)) == content:
                    continue
                path.unlink() if new is None else path.write_bytes(new)
                yield Trial("exported file damaged", _refused(f"{path.name} {kind}", lambda: open_any_folder(folder)))
                path.write_bytes(content)


# ---- fuzzed


def _fuzz(attack: str, strategy: Any, use: Callable[[Any], object], ground: Ground) -> Iterator[Trial]:
    """Gives ``use`` what Hypothesis makes up; it may refuse in one line, and in no more than ``SLOW`` seconds."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    trials: list[Trial] = []

    @seed(ground.random.randrange(2**32))
    @settings(
        max_examples=EXAMPLES // 20, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def attempt(value: Any) -> None:
        begin = time.process_time()
        wrong = _refused(repr(value)[:600], lambda: use(value), must=False)
        if (took := time.process_time() - begin) > SLOW:
            wrong = wrong or f"{took:.0f} s for {value!r:.600}"
        trials.append(Trial(f"fuzzed {attack}", wrong))

    for _ in range(20):
        attempt()
        yield from trials
        trials.clear()


def _in_turns(kinds: list[Iterator[Trial]]) -> Iterator[Trial]:
    """A trial of each kind, and again, until all have come to their end."""
    return (trial for turn in zip_longest(*kinds) for trial in turn if trial)


def _mutated(strategies: Any, whole: bytes) -> Any:
    """Strategy: ``whole`` with some bytes changed, put in or taken out."""
    change = strategies.tuples(
        strategies.integers(0, len(whole)), strategies.integers(0, 8), strategies.binary(max_size=8)
    )

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        content = whole
        for at, gone, new in changes:
            content = content[:at] + new + content[at + gone :]
        return content

    return strategies.lists(change, min_size=1, max_size=6).map(apply)


def _book_texts(strategies: Any) -> Any:
    lines = strategies.sampled_from(
        ["*** START OF THIS PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK X ***", "Title: X",
         "Produced by A. Person", "CHAPTER I.", "[Illustration: a mill]", "_italic_ words", "", "   ", "* * *", "{12}",
         "Transcriber's Note: none.", "CONTENTS", "End of Project Gutenberg's X", "Ã©tÃ©", "-" * 60, "1. One. 2. Two."]
    ) | strategies.text(max_size=80)  # fmt: skip
    return strategies.lists(lines, max_size=60).flatmap(
        lambda found: strategies.sampled_from(["\n", "\r\n", "\r", "\n\n"]).map(lambda end: end.join(found))
    )


def fuzzed_books(ground: Ground) -> Iterator[Trial]:
    """Texts, bytes, and zips of books."""
    from hypothesis import strategies as st

    texts = _fuzz("book texts", _book_texts(st), clean_book, ground)
    pages = _fuzz("book bytes", st.binary(max_size=400), lambda data: clean_book(decode(data)), ground)
    place, packed = ground.room / "fuzzed.zip", io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("12.txt", "Title: The Mill\n\nIt stood on the river, and turned. " * 20)
        archive.writestr("gutenberg_metadata.csv", "Etext Number,Title,Authors,Language\n12,The Mill,A. Miller,en\n")
        archive.writestr("13-8.txt", "Another book.", zipfile.ZIP_BZIP2)

    def read(data: bytes) -> None:
        place.write_bytes(data)
        for book in read_books(str(place)):
            clean_book(book.text)

    yield from _in_turns([texts, pages, _fuzz("zips of books", _mutated(st, packed.getvalue()), read, ground)])


def _json(strategies: Any) -> Any:
    leaves = strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats()
    leaves |= strategies.text(max_size=20) | strategies.sampled_from(["user", "assistant", "system", "talk", "0.2"])
    names = strategies.sampled_from(["format", "system", "messages", "settings", "role", "content", "files", "sha256",
                                     "bytes", "seed", "stop", "top_k"]) | strategies.text(max_size=6)  # fmt: skip
    return strategies.recursive(
        leaves, lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(names, inner, max_size=4)
    )


def fuzzed_conversations(ground: Ground) -> Iterator[Trial]:
    """Rows of data sets, conversations, saved talks, JSON of all kinds, logs."""
    from hypothesis import strategies as st

    tokenizer, any_json = BPETokenizer.load(ground.made / "tokenizer"), _json(st)
    message = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "tool", ""]),
                                     "content": st.text(max_size=60) | st.just("<|end|> <|user|>")})  # fmt: skip

    def vetted(messages: Any) -> None:
        if isinstance(found := adapters.vet(messages), list):
            ids, mask = render(found, tokenizer)
            assert len(ids) == len(mask) and sum(mask) > 0

    kinds = [_fuzz("conversations", st.lists(message, max_size=8) | any_json, vetted, ground)]
    columns = ("messages instruction response context question answers answer passage choices answerKey correct_answer "
               "distractor1 dialogue narrative speakers title text label").split()  # fmt: skip
    rows = st.dictionaries(st.sampled_from(columns), any_json, max_size=10)
    names = ("smoltalk", "messages", "dolly", "squad", "boolq", "qasc", "multiple_choice", "soda")

    def adapted(row: Any) -> None:
        for name in names:
            assert isinstance(getattr(adapters, name)(row), list | str)

    kinds.append(_fuzz("rows of data sets", rows, adapted, ground))
    place = ground.room / "fuzzed.json"

    def loaded(value: Any) -> None:
        place.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        transcript.load(place)

    talk = (ground.made / "talk" / "talk.json").read_bytes()
    kinds.append(_fuzz("saved talks", _mutated(st, talk) | any_json | st.binary(max_size=200), loaded, ground))
    os.environ["COURSE_ARTIFACTS"] = str(ground.room / "fuzzed")
    manifest = artifacts.phase_folder("tiny", "books") / "manifest.json"

    def required(value: Any) -> None:
        manifest.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        artifacts.require("tiny", "books")

    whole = (ground.made / "tokenizer" / "manifest.json").read_bytes()
    kinds.append(_fuzz("manifests", _mutated(st, whole) | any_json, required, ground))
    log = (ground.made / "pretrain" / "log.csv").read_bytes()
    kinds.append(_fuzz("logs", _mutated(st, log), lambda data: place.write_bytes(data) and read_log(place), ground))
    yield from _in_turns(kinds)


def fuzzed_arrays(ground: Ground) -> Iterator[Trial]:
    """``.npy`` files, tokenizers and models whose bytes were changed, with no manifest beside them."""
    from hypothesis import strategies as st

    folder, head = ground.room / "arrays", io.BytesIO()
    folder.mkdir(exist_ok=True)
    np.save(head, np.arange(40, dtype=np.uint16))

    def opened(data: bytes) -> None:
        (folder / "train_00000.npy").write_bytes(data)
        PretrainDataset(folder, "train", 8, 2).batch(0)

    kinds = [_fuzz(".npy files", _mutated(st, head.getvalue()) | st.binary(max_size=200), opened, ground)]
    model = ground.room / "model"
    shutil.copytree(ground.made / "sft" / "model", model, dirs_exist_ok=True)
    for name, load in (
        ("config.json", GPT.load),
        ("model.safetensors", GPT.load),
        ("tokenizer.json", BPETokenizer.load),
    ):
        content = (model / name).read_bytes()
        edge = 3000 if name == "model.safetensors" else len(content)  # of what its header says

        def changed(data: bytes, name=name, load=load, content=content, edge=edge) -> None:
            try:
                (model / name).write_bytes(data + content[edge:])
                load(model)
            finally:
                (model / name).write_bytes(content)

        kinds.append(_fuzz(f"{name} of a model", _mutated(st, content[:edge]), changed, ground))
    yield from _in_turns(kinds)


ATTACKS = {
    "damage": damaged_artifacts, "manifests": damaged_manifests, "runs": damaged_runs, "exports": damaged_exports,
    "books": fuzzed_books, "conversations": fuzzed_conversations, "arrays": fuzzed_arrays,
}  # fmt: skip
