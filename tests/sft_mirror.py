"""A made-up folder of copies of the ten data sets, in the schema of their pages, good and odd rows mixed."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet


def talk(*texts: str) -> list[dict]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def choices(*texts: str, labels: str = "ABCDE") -> dict:
    return {"text": list(texts), "label": list(labels[: len(texts)])}


def tree(number: int) -> list[dict]:
    """A question with three answers, of which the best has a further question and an answer without a rank."""
    root, base = f"r{number}", {"message_tree_id": f"r{number}", "lang": "en", "deleted": False}

    def message(id, parent, text, role, rank, **other):
        return {"message_id": f"{root}{id}", "parent_id": parent and f"{root}{parent}", "text": text, "role": role,
                "rank": rank, **base, **other}  # fmt: skip

    rows = [
        message("c", "_", "Second best.", "assistant", 1),
        message("b", "_", f"Best answer {number}.", "assistant", 0),
        message("x", "_", "Deleted, though it has the best rank.", "assistant", -1, deleted=True),
        message("y", "x", "Below a deleted one.", "prompter", 0),
        message("n", "_", "No rank.", "assistant", None),
        message("d", "b", "And then?", "prompter", None),
        message("e", "d", "Then nothing.", "assistant", None),
    ]
    return [*rows, {**message("", None, f"Open question {number}?", "prompter", None), "message_id": f"{root}_"}]


def passage(number: int, word: str) -> str:
    return (
        f"The lighthouse of {word}{number} was built in stone by the people of the island. "
        f"Its keeper was called {word.capitalize()}{number} and he lit the lamp every night for thirty long years."
    )


PUT_ASIDE = (
    "Far in the north a small red house stands at the edge of a frozen lake, where Zul sold fish to travellers "
    "until the ice grew thin."
)
GOOD = 12
SETS: dict[str, dict[str, list[dict]]] = {
    "HuggingFaceTB/smol-smoltalk": {
        "train": [
            *({"messages": talk(f"Give me tip {i}.", f"Tip {i}: drink water."), "source": "smol-magpie"}
              for i in range(GOOD)),
            {"messages": [{"role": "system", "content": "Be brief."}, *talk("Sum it up.", "Done.")], "source": "x"},
            {"messages": talk("Hi", "Hello!"), "source": "everyday-conversations"},
            {"messages": talk("What is 2?", ""), "source": "x"},
            {"messages": talk("Long?", "word " * 200_000), "source": "x"},
            {"messages": talk("Что это такое?", "Это очень старая книга о море."), "source": "x"},
            {"messages": [*talk("One?"), *talk("Two?", "Three.")], "source": "x"},
            {"messages": [{"role": "user", "content": None}, *talk("a", "b")[1:]], "source": "x"},
        ],
        "test": [{"messages": talk("Give me tip 3.", "Another."), "source": "smol-magpie"}],
    },
    "HuggingFaceTB/everyday-conversations-llama3.1-2k": {
        "train_sft": [{"messages": talk("Hi!", "Hello!", f"How do I cook dish {i}?", "With salt."), "topic": "food"}
                      for i in range(GOOD)],
        "test_sft": [{"messages": talk("Hi!", "Hello!", "How do I cook rice?", "With water."), "topic": "food"}],
    },
    "databricks/databricks-dolly-15k": {
        "train": [
            *({"instruction": f"Name thing {i}.", "context": "A list[12] of things." if i % 2 else "",
               "response": f"Thing {i}.", "category": "open_qa"} for i in range(GOOD)),
            {"instruction": "Nothing?", "context": "", "response": "  ", "category": "open_qa"},
        ],
    },
    "rajpurkar/squad": {
        "train": [
            *({"id": str(i), "title": "t", "context": passage(i, "mor"), "question": f"Who lit lamp number {i}?",
               "answers": {"text": [f"Mor{i}"], "answer_start": [0]}} for i in range(GOOD)),
            {"id": "p", "title": "t", "context": PUT_ASIDE, "question": "In which other words?",
             "answers": {"text": ["house"], "answer_start": [0]}},
            {"id": "q", "title": "t", "context": "Short.", "question": "What?", "answers": {"text": [],
             "answer_start": []}},
            {"id": "r", "title": "t", "context": "Short.", "question": "Why?", "answers": {"text": ["long"],
             "answer_start": [3]}},
        ],
        "validation": [{"id": "v", "title": "t", "context": PUT_ASIDE, "question": "Who sold fish?",
                        "answers": {"text": ["Zul"], "answer_start": [0]}}],
    },
    "google/boolq": {
        "train": [
            *({"question": f"is stone {i} hard", "answer": i % 2 == 0, "passage": f"Stone {i} is known for much."}
              for i in range(GOOD)),
            {"question": "is it", "answer": None, "passage": "It is."},
        ],
        "validation": [{"question": "is water wet", "answer": True, "passage": "Water is wet."}],
    },
    "allenai/qasc": {
        "train": [
            *({"id": str(i), "question": f"What does plant {i} need?", "answerKey": "B", "fact1": "a", "fact2": "b",
               "choices": choices("stone", "light", "noise"), "combinedfact": f"plant {i} needs light"}
              for i in range(GOOD)),
            {"id": "x", "question": "What?", "answerKey": "", "fact1": "", "fact2": "", "choices": choices("a", "b"),
             "combinedfact": ""},
        ],
        "validation": [{"id": "v", "question": "What glows?", "answerKey": "A", "fact1": "", "fact2": "",
                        "choices": choices("fire", "ice"), "combinedfact": "fire glows"}],
    },
    "OpenAssistant/oasst2": {
        "train": [
            *(row for i in range(GOOD) for row in tree(i)),
            {**tree(90)[-1], "message_id": "es", "lang": "es", "text": "¿Qué?"},
            {**tree(91)[-1], "message_id": "lonely", "text": "A question without an answer?"},
            {**tree(92)[-1], "message_id": "null", "text": None},
        ],
        "validation": tree(99),
    },
    "allenai/soda": {
        "train": [
            *({"dialogue": [f"Have you seen dog {i}?", "It ran home.", "Thanks."], "speakers": ["Ann", "Bo", "Ann"],
               "narrative": "n"} for i in range(GOOD)),
            {"dialogue": ["a", "b"], "speakers": ["Ann", "Ann"], "narrative": "n"},
            {"dialogue": ["a", "b", "c"], "speakers": ["Ann", "Ann", "Bo"], "narrative": "n"},
            {"dialogue": ["a"], "speakers": ["Ann", "Bo"], "narrative": "n"},
        ],
        "validation": [{"dialogue": ["Have you seen my cat?", "No."], "speakers": ["A", "B"], "narrative": "n"}],
    },
    "tau/commonsense_qa": {
        "train": [
            *({"id": str(i), "question": f"Where is cup {i} kept?", "question_concept": "c", "answerKey": "C",
               "choices": choices("sea", "sky", "cupboard", "shoe", "hat")} for i in range(GOOD)),
            {"id": "x", "question": "Where?", "question_concept": "c", "answerKey": "E", "choices": choices("a", "b")},
        ],
        "validation": [{"id": "v", "question": "Where do fish live?", "question_concept": "c", "answerKey": "A",
                        "choices": choices("water", "sand")}],
    },
}  # fmt: skip
ARC = {
    config: {
        "train": [
            *({"id": f"{config}{i}", "question": f"{config} question {i}?", "answerKey": "12"[i % 2],
               "choices": choices("iron", "wood", labels="12")} for i in range(GOOD)),
            {"id": "mixed", "question": f"{config} odd key?", "choices": choices("iron", "wood"), "answerKey": "2"},
        ],
        "test": [{"id": "t", "question": f"{config} exam?", "choices": choices("a", "b"), "answerKey": "A"}],
    }
    for config in ("ARC-Easy", "ARC-Challenge")
}  # fmt: skip


def write(folder: Path) -> Path:
    """Writes all ten as ``hf download`` would lay them out, with the README where there are configurations."""
    for id, splits in SETS.items():
        data = folder / id / "data"
        data.mkdir(parents=True)
        for split, rows in splits.items():
            if id.startswith("databricks"):  # this one is lines of JSON
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (folder / id / "databricks-dolly-15k.jsonl").write_text(text, encoding="utf-8")
            else:
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), data / f"{split}-00000-of-00001.parquet")
        lines = [f"  - split: {split}\n    path: data/{split}-*\n" for split in splits]
        page = f"---\nconfigs:\n- config_name: default\n  data_files:\n{''.join(lines)}---\n# A page\n"
        if not id.startswith("databricks"):
            (folder / id / "README.md").write_text(page, encoding="utf-8")
    # This one holds a second form of its rows beside them, which must not be read as well.
    with gzip.open(
        folder / "OpenAssistant/oasst2/2023-11-05_oasst2_all.trees.jsonl.gz", "wt", encoding="utf-8"
    ) as file:
        file.write(json.dumps({"message_tree_id": "r0", "prompt": {"text": "?"}}) + "\n")
    page = "---\nconfigs:\n"
    for config, splits in ARC.items():
        place = folder / "allenai/ai2_arc" / config
        place.mkdir(parents=True)
        page += f"- config_name: {config}\n  data_files:\n"
        for split, rows in splits.items():
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), place / f"{split}-00000-of-00001.parquet")
            page += f"  - split: {split}\n    path: {config}/{split}-*\n"
    (folder / "allenai/ai2_arc/README.md").write_text(page + "---\n", encoding="utf-8")
    return folder
