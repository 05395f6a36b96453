"""One adapter for each data set of the hub: a row of its columns in, messages or a reason out.

An adapter is a pure function, so that it can be tried on a row typed by hand. A row that can't be used is no
error: its adapter returns the reason as a text, and the ledger counts it. ``vet`` is the last check for all.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from conversations.chat_format import Message

Row = Mapping[str, Any]
Adapted = list[Message] | str  # messages, or why there are none

LONGEST_TEXT = 20_000  # characters in all messages: more can't fit a row of any preset
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")  # no text of a person holds these
OTHER_SCRIPT = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\u2000-\u2bff\ufe0f\U0001f000-\U0001faff]")


def _words(value: Any) -> str | None:
    """A text without white space around it, or None if it is none or empty."""
    return value.strip() or None if isinstance(value, str) else None


def _texts(row: Row, *names: str) -> list[str] | str:
    """The named columns as texts, or the reason why one of them is not there."""
    found = []
    for name in names:
        if name not in row:
            return f"no column {name}"
        if (text := _words(row[name])) is None:
            return f"{name} is empty or no text"
        found.append(text)
    return found


def _pair(user: str, assistant: str) -> list[Message]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _sentence(text: str) -> str:
    """``text`` with a capital first letter and a full stop at its end."""
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ".!?\"'" else ".")


def _question(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else "?")


def _one_in(n: int, text: str) -> bool:
    """True for one text in ``n``, and always for the same ones."""
    return zlib.crc32(text.encode("utf-8", "replace")) % n == 0


def vet(messages: Any) -> Adapted:
    """The messages with white space around them removed, or why they can't be trained on."""
    if not isinstance(messages, list | tuple) or not messages:
        return "no messages"
    clean: list[Message] = []
    for message in messages:
        if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
            return "a message without role or content"
        role, content = message["role"], message["content"]
        if role not in ("system", "user", "assistant"):
            return "unknown role"
        if not isinstance(content, str):
            return "null text"
        if not content.strip():
            if role == "system":
                continue  # an empty scene is no scene
            return f"empty {role} turn"
        clean.append({"role": role, "content": content.strip()})
    turns = clean[1:] if clean and clean[0]["role"] == "system" else clean
    for number, message in enumerate(turns):
        if message["role"] == "system":
            return "system message in the middle"
        if message["role"] != ("user", "assistant")[number % 2]:
            return "turns out of order" if number == 0 else f"two {message['role']} turns in a row"
    if len(turns) < 2:
        return "no assistant turn"
    if turns[-1]["role"] == "user":
        clean.pop()  # a question that nobody answered teaches nothing
    if sum(len(message["content"]) for message in clean) > LONGEST_TEXT:
        return f"over {LONGEST_TEXT:,} characters"
    text = " ".join(message["content"] for message in clean)
    if CONTROL.search(text):
        return "control characters"
    if len(OTHER_SCRIPT.findall(text)) > 0.2 * len(text):
        return "another script than Latin"
    return clean


# ---- the ten, and sets of one's own


def smoltalk(row: Row) -> Adapted:
    """HuggingFaceTB/smol-smoltalk: messages as they are, but for those that come from the next data set."""
    if "messages" not in row:
        return "no column messages"
    if "everyday" in str(row.get("source", "")).lower():
        return "also in everyday-conversations"
    return vet(row["messages"])


def messages(row: Row) -> Adapted:
    """HuggingFaceTB/everyday-conversations-llama3.1-2k, or a set of one's own: messages as they are."""
    return vet(row["messages"]) if "messages" in row else "no column messages"


def dolly(row: Row) -> Adapted:
    """databricks/databricks-dolly-15k: context, if there is one, and instruction; then the response."""
    texts = _texts(row, "instruction", "response")
    if isinstance(texts, str):
        return texts
    context = re.sub(r"\[\d+\]", "", _words(row.get("context")) or "")  # Wikipedia's footnotes
    instruction, response = texts
    return vet(_pair(f"{context}\n{instruction}".strip(), re.sub(r"\[\d+\]", "", response)))


def squad(row: Row) -> Adapted:
    """rajpurkar/squad: passage and question; the answer's words, or for one in three the sentence around them."""
    texts = _texts(row, "context", "question")
    if isinstance(texts, str):
        return texts
    context, question = texts
    answers = row.get("answers")
    if not isinstance(answers, Mapping) or not answers.get("text"):
        return "no answer"
    answer = _words(answers["text"][0])
    if answer is None:
        return "no answer"
    if answer not in context:
        return "the answer is not in the passage"
    reply = answer
    if _one_in(3, question):
        around = [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", context) if answer in part]
        reply = around[0] if around and len(around[0]) < 250 else answer
    return vet(_pair(f"{context}\n{_question(question)}", _sentence(reply)))


def boolq(row: Row) -> Adapted:
    """google/boolq: passage and question; "Yes." or "No."."""
    texts = _texts(row, "passage", "question")
    if isinstance(texts, str):
        return texts
    if not isinstance(row.get("answer"), bool):
        return "the answer is neither true nor false"
    return vet(_pair(f"{texts[0]}\n{_question(texts[1])}", "Yes." if row["answer"] else "No."))


def _chosen(row: Row) -> tuple[str, list[str]] | str:
    """The right choice and all choices of a multiple-choice row. Keys may be letters or numbers."""
    choices = row.get("choices")
    if not isinstance(choices, Mapping) or not choices.get("text") or not choices.get("label"):
        return "no choices"
    labels, texts = [str(label) for label in choices["label"]], [_words(text) for text in choices["text"]]
    if len(labels) != len(texts) or None in texts:
        return "choices and labels disagree"
    key = str(row.get("answerKey") or "").strip()
    if not key:
        return "no answer"
    if key not in labels:  # some rows say 1 where their labels say A, or the other way round
        other = {**dict(zip("12345", "ABCDE", strict=True)), **dict(zip("ABCDE", "12345", strict=True))}
        key = other.get(key, key)
    if key not in labels:
        return "the answer is none of the choices"
    return texts[labels.index(key)], texts


def qasc(row: Row) -> Adapted:
    """allenai/qasc: the question; the right choice, and the fact that follows from the two given ones."""
    texts, chosen = _texts(row, "question"), _chosen(row)
    if isinstance(texts, str) or isinstance(chosen, str):
        return texts if isinstance(texts, str) else chosen
    fact = _words(row.get("combinedfact"))
    return vet(_pair(_question(texts[0]), _sentence(chosen[0]) + (f" {_sentence(fact)}" if fact else "")))


def multiple_choice(row: Row) -> Adapted:
    """allenai/ai2_arc and tau/commonsense_qa: question and choices; the text of the right one."""
    texts, chosen = _texts(row, "question"), _chosen(row)
    if isinstance(texts, str) or isinstance(chosen, str):
        return texts if isinstance(texts, str) else chosen
    answer, choices = chosen
    return vet(_pair(f"{texts[0]}\nChoices: {'; '.join(choices).removesuffix('.')}.", _sentence(answer)))


def soda(row: Row) -> Adapted:
    """allenai/soda: a talk of two speakers who alternate; the first is the user."""
    lines, speakers = row.get("dialogue"), row.get("speakers")
    if not isinstance(lines, list | tuple) or not isinstance(speakers, list | tuple) or not lines:
        return "no dialogue"
    if len(lines) != len(speakers):
        return "lines and speakers disagree"
    if len(set(speakers)) != 2:
        return "not two speakers"
    if any(one == two for one, two in zip(speakers, speakers[1:], strict=False)):
        return "the speakers don't alternate"
    roles = ("user", "assistant") * ((len(lines) + 1) // 2)
    return vet([{"role": role, "content": line} for role, line in zip(roles, lines, strict=False)])


def oasst2(rows: Iterable[Row]) -> Iterator[Adapted]:
    """OpenAssistant/oasst2: messages hang in trees by ``parent_id``; one conversation a tree.

    From the first message down, the reply with the lowest rank is followed; one without a rank comes after those
    with one. Deleted messages, and all below them, are left out, and so is everything not in English.
    """
    children: dict[str | None, list[Row]] = {}
    for row in rows:
        if not isinstance(row, Mapping) or not {"message_id", "parent_id", "text", "role", "lang"} <= set(row):
            yield "columns are missing"
        elif any(isinstance(row[name], list | dict) for name in ("message_id", "parent_id", "role")):
            yield "columns of another type"
        elif row["lang"] != "en":
            yield "not in English"
        elif row.get("deleted"):
            yield "deleted"
        elif not _words(row["text"]):
            yield "null text"
        else:
            kept = {name: row.get(name) for name in ("message_id", "text", "role", "rank")}
            children.setdefault(row["parent_id"], []).append(kept)
    roles = {"prompter": "user", "assistant": "assistant"}
    roots = children.pop(None, [])
    used = 0
    for root in roots:
        path, message = [], root
        while message is not None:
            path.append({"role": roles.get(message["role"], str(message["role"])), "content": message["text"]})
            # Popping also ends a circle, which a damaged file could hold.
            replies = children.pop(message["message_id"], [])
            used += len(replies)
            ranked = sorted(replies, key=lambda m: m["rank"] if isinstance(m["rank"], int | float) else float("inf"))
            message = ranked[0] if ranked else None
        yield vet(path)
