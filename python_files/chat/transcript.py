"""What a chat remembers: which turns still fit the model's context, and a conversation as a file."""

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


def save(path: str | Path, system: str, messages: Sequence[Message], settings: Settings) -> None:
    """Writes a conversation as JSON, whole or not at all.

    Raises:
        CourseError: the file can't be written.
    """
    try:
        artifacts.write_json(
            Path(path),
            {"format": FORMAT, "system": system, "settings": asdict(settings), "messages": list(messages)},
        )
    except OSError as error:
        raise CourseError(f"Can't save the conversation to {path} ({error.strerror}): give another file.") from None


def load(path: str | Path) -> dict[str, Any]:
    """Reads what ``save`` wrote: ``system`` (text), ``messages`` and ``settings``.

    Raises:
        CourseError: there is no such file, or it holds no conversation.
    """
    try:
        saved = artifacts.read_json(Path(path))
        if saved["format"] != FORMAT or not isinstance(saved["system"], str):
            raise ValueError
        messages = [{"role": m["role"], "content": m["content"]} for m in saved["messages"]]
        if messages:
            chat_format.check(messages)
            if len(messages) % 2 or messages[0]["role"] != "user":
                raise ValueError  # it would end in a question without an answer
        # JSON has no tuples.
        values = saved["settings"].items()
        settings = Settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values})
    except OSError as error:
        raise CourseError(f"Can't read {path} ({error.strerror}): give a file that /save made.") from None
    except (ValueError, KeyError, TypeError, AttributeError, CourseError):
        raise CourseError(f"{path} holds no saved conversation: give a file that /save made.") from None
    return {"system": saved["system"], "messages": messages, "settings": settings}
