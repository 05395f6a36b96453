"""What a chat remembers: which turns still fit the model's context, and a conversation as a file."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import artifacts
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from chat.decoding import Settings
from conversations import chat_format
from conversations.chat_format import Message

FORMAT = "course conversation 1"
_LINE_END = re.compile(r"\r\n?|[\x0b\x0c\x85]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")  # all but tab and line end; byte order marks


def plain(text: str) -> str:
    """Text that can be encoded, saved and shown, whatever a terminal, a browser or a file handed over.

    Halves of characters become U+FFFD, every line end ``\\n``; control characters and byte order marks go.
    """
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _CONTROL.sub("", _LINE_END.sub("\n", text))


def question(text: str) -> str:
    """A message as it is asked: ``plain``, without white space around it. Several lines keep their indentation."""
    lines = plain(text).rstrip().split("\n")
    while len(lines) > 1 and not lines[0].strip():
        lines.pop(0)
    return "\n".join(lines) if len(lines) > 1 else lines[0].strip()


def fit_window(
    system: Sequence[Message],
    messages: Sequence[Message],
    question: Message,
    tokenizer: BPETokenizer,
    context_length: int,
    reserve: int,
) -> tuple[list[int], list[Message]]:
    """The prompt for a question, without the oldest turns if they don't fit; returns its ids and the turns kept.

    A question and its answer go together. When the window is full, a quarter of it is freed at once: if each new
    turn pushed out one old turn, no prompt would begin like the one before, and the whole window would have to be
    read again every time. The system text and the question stay in any case, whether they fit or not.

    Args:
        messages: the earlier turns, oldest first.
        reserve: tokens that an answer should find room for.
    """

    def prompt(kept: Sequence[Message]) -> list[int]:
        return chat_format.prompt_ids([*system, *kept, question], tokenizer)

    kept = list(messages)
    ids = prompt(kept)
    if len(ids) + reserve > context_length:
        while kept and len(ids) + reserve > context_length * 3 // 4:
            kept = kept[2:]
            ids = prompt(kept)
    return ids, kept


def file_at(path: str | Path) -> Path:
    """The file that a reader named: with ``~`` for the home folder, and without quotes around it."""
    text = str(path).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody of that name has a home
        return Path(text)


def save(path: str | Path, system: str, messages: Sequence[Message], settings: Settings) -> Path:
    """Writes a conversation as JSON, whole or not at all, and returns where.

    Raises:
        CourseError: the file can't be written, or is there and holds something else.
    """
    path = file_at(path)
    saved = {"format": FORMAT, "system": system, "settings": asdict(settings), "messages": list(messages)}
    text = json.dumps(saved, indent=1, ensure_ascii=False, default=lambda number: number.item())
    try:
        if not path.parent.is_dir():
            raise CourseError(f"There is no folder {path.parent}: make it first, or give another file.")
        if path.is_dir():
            raise CourseError(f"{path} is a folder: add the name of a file.")
        if path.exists():
            load(path)  # nothing but an earlier conversation is replaced
        artifacts.write_bytes(path, text.encode("utf-8", "replace") + b"\n")
    except NotAConversation:
        raise CourseError(f"{path} is there and holds no saved conversation: give another file.") from None
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise CourseError(f"Can't save the conversation to {path} ({reason}): give another file.") from None
    return path


class NotAConversation(CourseError):
    """A file that ``save`` didn't write."""


def load(path: str | Path) -> dict[str, Any]:
    """Reads what ``save`` wrote: ``system`` (text), ``messages`` and ``settings``.

    Raises:
        CourseError: there is no such file, or it holds no conversation.
    """
    path = file_at(path)
    try:
        if path.exists() and not path.is_file():  # a folder; or a device, which may never end
            raise NotAConversation(f"{path} is no file: give a file that /save made.")
        saved = json.loads(path.read_bytes())  # of bytes, json finds out the encoding and the byte order mark
        if saved["format"] != FORMAT:
            raise ValueError
        messages = [{"role": m["role"], "content": plain(m["content"])} for m in saved["messages"]]
        if messages:
            chat_format.check(messages)
            if len(messages) % 2 or messages[0]["role"] != "user":
                raise ValueError  # it would end in a question without an answer
        # JSON has no tuples.
        values = saved["settings"].items()
        settings = Settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values})
        return {"system": plain(saved["system"]), "messages": messages, "settings": settings}
    except NotAConversation:
        raise
    except OSError as error:
        raise CourseError(f"Can't read {path} ({error.strerror}): give a file that /save made.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, CourseError):
        raise NotAConversation(f"{path} holds no saved conversation: give a file that /save made.") from None
