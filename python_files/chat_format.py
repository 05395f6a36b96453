"""One template for every conversation, and which of its tokens the model learns to write.

    <|system|>text<|end|> <|user|>text<|end|> <|assistant|>text<|end|> …   (without the spaces)

The markers are ids that ordinary text is never encoded to, so no text can forge a turn.
"""

from collections.abc import Iterable, Iterator, Sequence

from bpe_tokenizer import BPETokenizer

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}

ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
END = "<|end|>"

# The same template in Jinja, for the tokenizer folder: transformers' apply_chat_template reads it.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def check(messages: Sequence[Message]) -> None:
    """Checks the order of turns: perhaps a system message, then user and assistant by turns.

    Raises:
        ValueError: says which message is wrong, and how.
    """
    turns = list(messages)
    if turns and turns[0]["role"] == "system":
        turns = turns[1:]
    if not turns:
        raise ValueError("A conversation needs at least one user message.")
    for i, message in enumerate(turns):
        expected = "user" if i % 2 == 0 else "assistant"
        if message["role"] != expected:
            raise ValueError(f"Message {i + 1} is by {message['role']!r}, expected {expected!r}.")
        if not message["content"].strip():
            raise ValueError(f"Message {i + 1} ({message['role']}) is empty.")


def _assemble(messages: Sequence[Message], texts: Iterator[list[int]], special: dict[str, int]):
    ids: list[int] = []
    mask: list[int] = []
    for message in messages:
        learned = message["role"] == "assistant"
        body = [*next(texts), special[END]]
        ids += [special[ROLES[message["role"]]], *body]
        mask += [0, *([int(learned)] * len(body))]
    return ids, mask


def render(messages: Sequence[Message], tokenizer: BPETokenizer) -> tuple[list[int], list[int]]:
    """A conversation as ids, and 1 for each id that is learned: the assistant's text and its end token.

    Raises:
        ValueError: the turns are out of order, or one is empty.
    """
    check(messages)
    texts = iter(tokenizer.encode_batch([message["content"] for message in messages]))
    return _assemble(messages, texts, tokenizer.special)


def render_all(
    conversations: Iterable[Sequence[Message]], tokenizer: BPETokenizer, batch: int = 2048
) -> Iterator[tuple[list[int], list[int]]]:
    """``render`` for many conversations: texts are encoded in batches, memory stays flat."""

    def flush(pending: list[Sequence[Message]]) -> Iterator[tuple[list[int], list[int]]]:
        texts = iter(tokenizer.encode_batch([m["content"] for messages in pending for m in messages]))
        for messages in pending:
            yield _assemble(messages, texts, tokenizer.special)

    pending: list[Sequence[Message]] = []
    for messages in conversations:
        check(messages)
        pending.append(messages)
        if len(pending) == batch:
            yield from flush(pending)
            pending = []
    yield from flush(pending)


def prompt_ids(messages: Sequence[Message], tokenizer: BPETokenizer) -> list[int]:
    """The ids to answer: the conversation so far, which ends with a user message, and ``<|assistant|>``.

    Raises:
        ValueError: the turns are out of order, or the last is not the user's.
    """
    if messages and messages[-1]["role"] != "user":
        raise ValueError("The last message must be the user's: there is nothing to answer.")
    return [*render(messages, tokenizer)[0], tokenizer.special[ROLES["assistant"]]]
