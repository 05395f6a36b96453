"""One row for each data set of the hub, in the set's own columns, so that its form can be seen without a network.

The texts were written for the course. No row is copied from a set.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

BRIDGE = (
    "The bridge at Halden Ferry was opened in 1894. Until then, people crossed the river by boat, and in hard winters "
    "on the ice. It was built of iron by the engineer Clara Mossberg, and it has carried trains since 1911."
)


def _choices(*texts: str) -> dict[str, list[str]]:
    return {"text": list(texts), "label": list("ABCDEFGH"[: len(texts)])}


def _talk(*texts: str) -> list[dict[str, str]]:
    return [{"content": text, "role": ("user", "assistant")[i % 2]} for i, text in enumerate(texts)]


def _message(id: str, parent: str | None, role: str, text: str, rank: int | None = None) -> dict[str, Any]:
    tree = {"message_tree_id": "4f1c-0", "tree_state": "ready_for_export", "synthetic": False, "model_name": None}
    review = {"review_count": 3, "review_result": True, "deleted": False, "rank": rank}
    about = {"detoxify": {"toxicity": 0.0004}, "emojis": {"name": ["+1"], "count": [2]}}
    labels = {"labels": {"name": ["spam", "quality"], "value": [0.0, 0.75], "count": [3, 3]}}
    who = {"message_id": id, "parent_id": parent, "user_id": "b27e-9", "created_date": "2023-02-07T17:29:24+00:00"}
    return {**who, "text": text, "role": role, "lang": "en", **review, **tree, **about, **labels}


EVERYDAY = _talk(
    "Hey!",
    "Hello! How can I help you today?",
    "I want to grow tomatoes on my balcony.",
    "Good choice! Do you get at least six hours of sun there?",
    "Yes, all afternoon.",
    "Then use a large pot and water them every day, best in the morning.",
)
ROWS: dict[str, dict[str, Any]] = {
    "smol-smoltalk": {
        "messages": _talk(
            "Rewrite this message so that it sounds friendlier: Send me the report by Friday.",
            "Hi! Could you please send me the report by Friday? Thanks a lot, and let me know if you need more time.",
        ),
        "source": "smol-rewrite-80k",
    },
    "everyday-conversations-llama3.1-2k": {
        "topic": "Hobbies",
        "subtopic": "Gardening",
        "subsubtopic": "Growing tomatoes",
        "full_topic": "Hobbies/Gardening/Growing tomatoes",
        "prompt": "Generate a simple, short, and coherent multi-turn conversation about growing tomatoes.",
        "completion": "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in EVERYDAY),
        "token_count": 118,
        "messages": EVERYDAY,
    },
    "databricks-dolly-15k": {
        "instruction": "When was the bridge opened, and by whom was it built?",
        "context": BRIDGE,
        "response": "It was opened in 1894[1] and built by the engineer Clara Mossberg.",
        "category": "closed_qa",
    },
    "squad": {
        "id": "5f0c1d7e2a",
        "title": "Halden_Ferry_Bridge",
        "context": BRIDGE,
        "question": "Who built the bridge at Halden Ferry?",
        "answers": {"text": ["Clara Mossberg"], "answer_start": [BRIDGE.index("Clara Mossberg")]},
    },
    "boolq": {
        "question": "do trains run over the bridge at halden ferry",
        "answer": True,
        "passage": BRIDGE,
    },
    "qasc": {
        "id": "3KJ0-1",
        "question": "What does an iron bridge need so that it does not rust?",
        "choices": _choices("a river", "cold", "trains", "paint", "salt", "an engineer", "rain", "a name"),
        "answerKey": "D",
        "fact1": "paint keeps water away from a surface",
        "fact2": "iron rusts when water reaches it",
        "combinedfact": "paint keeps an iron bridge from rusting",
        "formatted_question": "What does an iron bridge need so that it does not rust? (A) a river (B) cold (C) trains "
        "(D) paint (E) salt (F) an engineer (G) rain (H) a name",
    },
    "ai2_arc": {
        "id": "Sample_2014_5_12",
        "question": "A puddle is gone after a sunny afternoon. What happened to the water?",
        "choices": _choices("It froze", "It evaporated", "It melted", "It condensed"),
        "answerKey": "B",
    },
    "commonsense_qa": {
        "id": "b8d2a61c",
        "question": "He wanted to cross the river but the bridge was closed, so where did he look for help?",
        "question_concept": "river",
        "choices": {"label": list("ABCDE"), "text": ["ferry", "kitchen", "ceiling", "desert", "library"]},
        "answerKey": "A",
    },
    "soda": {
        "head": "PersonX misses the train",
        "relation": "xReact",
        "tail": "annoyed",
        "literal": "Mina missed the train. Mina feels annoyed.",
        "narrative": "Mina missed the train by a minute. She is annoyed, and her friend tries to cheer her up.",
        "dialogue": [
            "I can't believe it, the train left right before my eyes.",
            "Oh no. When does the next one go?",
            "In forty minutes. I'll be late for dinner.",
            "Then let's have a coffee, and I'll call them for you.",
            "Thanks, that's kind of you.",
        ],
        "speakers": ["Mina", "Jonas", "Mina", "Jonas", "Mina"],
        "PersonX": "Mina",
        "PersonY": "friend",
        "PersonZ": "",
        "original_index": 41_207,
        "split": "train",
        "head_answer": "Yes",
        "pmi_head_answer": "Yes",
        "relation_tail_answer": "Yes",
        "pmi_relation_tail_answer": "Yes",
    },
}
# The odd one: a row is a single message, so it takes several to see the form.
OASST2 = [
    _message("4f1c-0", None, "prompter", "Name a fruit."),
    _message("4f1c-1", "4f1c-0", "assistant", "Fruit is healthy.", 1),
    _message("4f1c-2", "4f1c-0", "assistant", "An apple.", 0),
    _message("4f1c-3", "4f1c-2", "prompter", "Another?"),
    _message("4f1c-4", "4f1c-3", "assistant", "A pear."),
]


def as_text(row: Mapping[str, Any], width: int = 105) -> str:
    """A row as lines of ``column: value``; a long value is cut to one line of ``width`` letters."""
    longest = max(map(len, row))
    lines = []
    for column, value in row.items():
        shown = " ".join((value if isinstance(value, str) else repr(value)).split())
        lines.append(f"{column + ':':{longest + 1}} {textwrap.shorten(shown, width - longest, placeholder=' …')}")
    return "\n".join(lines)
