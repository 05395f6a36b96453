"""Byte-level byte pair encoding: trained with ``tokenizers``, encoded with ``tiktoken``.

Text becomes UTF-8 bytes, a regular expression cuts it into words, and inside each word the most frequent
neighbors were merged, one pair after another, while training. All 256 bytes are in the vocabulary, so no
text is ever unknown. The special tokens come first, ids 0 to 7, and are never made from text: a reader
who types ``<|end|>`` gets the ordinary characters of it.

Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909); on bytes: GPT-2 (Radford et al. 2019). The
regular expression is Qwen2's, in which every digit is a word of its own.
"""

import codecs
import hashlib
import heapq
import json
import os
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tiktoken
import tokenizers

from artifacts import CourseError, MissingArtifact, relative, write_json, write_text

SPECIAL_TOKENS = (
    "<|endoftext|>",  # between documents
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",  # the end of one message
    "<|reserved_0|>",
    "<|reserved_1|>",
)

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # English contractions
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word, with the one space or sign before it
    r"|\p{N}"  # one digit at a time, so that 1789 is spelled like 1790
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # punctuation
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"  # line ends, then other white space
)

SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256

# tiktoken panics on a run of about a million spaces, so that longer runs than this are encoded in parts.
LONGEST_RUN = 10_000


def byte_stand_ins() -> dict[int, str]:
    """Each byte's printable stand-in in ``tokenizer.json``: GPT-2's table, in which a space is Ġ."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


class BPETokenizer:
    """Text to token ids and back. Made by ``train`` or ``load``.

    Attributes:
        vocab_size: the number of ids, special tokens included.
        special: spelling of each special token -> id, such as ``{"<|user|>": 3}``.
    """

    def __init__(self, tokenizer_json: str) -> None:
        """
        Args:
            tokenizer_json: the text of a ``tokenizer.json`` of the Hugging Face format.

        Raises:
            CourseError: it is not one, or not a byte-level BPE with this course's special tokens.
        """
        try:
            data = json.loads(tokenizer_json)
            vocab, added = data["model"]["vocab"], data["added_tokens"]
            self._pattern = data["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
            to_byte = {char: byte for byte, char in byte_stand_ins().items()}
            self.special: dict[str, int] = {token["content"]: token["id"] for token in added}
            ranks = {
                bytes(to_byte[char] for char in token): id for token, id in vocab.items() if token not in self.special
            }
            self._json = tokenizer_json
            self.vocab_size = len(ranks) + len(self.special)
            ids_complete = sorted([*ranks.values(), *self.special.values()]) == list(range(self.vocab_size))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise CourseError(
                f"This tokenizer.json is not a byte-level BPE ({type(error).__name__}: {error})."
            ) from None
        if tuple(sorted(self.special, key=self.special.get)) != SPECIAL_TOKENS or not ids_complete:
            raise CourseError(
                f"This tokenizer.json has not the special tokens {', '.join(SPECIAL_TOKENS)} at ids 0 to 7, "
                "or gaps in its ids: train one with the notebooks of 1_Tokenizer."
            )
        if any(bytes([byte]) not in ranks for byte in range(256)):
            raise CourseError("This tokenizer.json lacks some of the 256 single bytes, so it can't spell every text.")
        self._token_bytes = [b""] * self.vocab_size
        for token, id in [*ranks.items(), *((name.encode(), id) for name, id in self.special.items())]:
            self._token_bytes[id] = token
        # encode() never makes a special token, so tiktoken is not told of them.
        self._tiktoken = tiktoken.Encoding("course", pat_str=self._pattern, mergeable_ranks=ranks, special_tokens={})

    # ---- training, saving, loading

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "BPETokenizer":
        """Learns the merges of ``vocab_size - 264`` pairs from ``texts``. The same texts give the same tokenizer.

        Raises:
            CourseError: ``vocab_size`` is under 264, or the texts are too few to learn that many merges.
        """
        if vocab_size < SMALLEST_VOCABULARY:
            raise CourseError(
                f"A vocabulary of {vocab_size} is too small: 8 special tokens and 256 bytes need {SMALLEST_VOCABULARY}."
            )
        # ignore_merges: a word that is a token is that token at once, which is what tiktoken does.
        trained = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=True))
        trained.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
            [
                tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior="isolated"),
                tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trained.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            # Without this, bytes that the sample lacks would be missing, and vanish silently from later text.
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        trained.train_from_iterator((_without_surrogates(text) for text in texts), trainer)
        if trained.get_vocab_size() < vocab_size:
            raise CourseError(
                f"The texts hold only enough for {trained.get_vocab_size()} tokens, and {vocab_size} were asked for: "
                "give more text or a smaller vocabulary."
            )
        return cls(trained.to_str(pretty=True))

    def save(self, folder: str | Path, chat_template: str | None = None) -> list[str]:
        """Writes the files that ``transformers.AutoTokenizer`` reads, and returns their names.

        Args:
            chat_template: a Jinja template, for ``apply_chat_template`` of ``transformers``.
        """
        folder = Path(folder)
        model = json.loads(self._json)["model"]
        endoftext, pad = SPECIAL_TOKENS[0], SPECIAL_TOKENS[1]
        roles = {"eos_token": endoftext, "pad_token": pad, "additional_special_tokens": list(SPECIAL_TOKENS[2:])}
        merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
        write_text(folder / "tokenizer.json", self._json)
        write_json(folder / "vocab.json", model["vocab"])
        write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{pair}\n" for pair in merges))
        write_json(folder / "special_tokens_map.json", roles)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **roles}
        config["padding_side"] = "left"  # prompts that are padded together end together: each is answered as alone
        write_json(folder / "tokenizer_config.json", config)
        files = ["tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"]
        if chat_template is not None:
            write_text(folder / "chat_template.jinja", chat_template)
            files.append("chat_template.jinja")
        return files

    @classmethod
    def load(cls, folder: str | Path) -> "BPETokenizer":
        """Reads the tokenizer that ``save`` wrote to ``folder``.

        Raises:
            MissingArtifact: there is none.
            CourseError: it is damaged or not one of this course.
        """
        path = Path(folder) / "tokenizer.json"
        try:
            return cls(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise MissingArtifact(
                f"Missing {relative(path)}: run the notebooks of 1_Tokenizer first "
                "(python course.py run --only 1_Tokenizer)."
            ) from None
        except (CourseError, UnicodeDecodeError) as error:
            raise CourseError(f"Damaged {relative(path)}: {error}") from None

    def to_json(self) -> str:
        """The text of ``tokenizer.json``, which the ``tokenizers`` library reads."""
        return self._json

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the vocabulary, its order or the word pattern."""
        digest = hashlib.sha256(self._pattern.encode())
        for token in self._token_bytes:
            digest.update(len(token).to_bytes(4, "little") + token)
        return digest.hexdigest()[:16]

    # ---- text to ids

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``. Spellings of special tokens in it are ordinary characters.

        Half a surrogate pair, which no UTF-8 can hold, becomes U+FFFD.
        """
        text = _without_surrogates(text)
        if len(text) < LONGEST_RUN:
            return self._tiktoken.encode_ordinary(text)
        return [id for part in _split_long_runs(text) for id in self._tiktoken.encode_ordinary(part)]

    def encode_array(self, text: str) -> np.ndarray:
        """``encode`` into an array of uint32, without a Python number for each id on the way."""
        parts = _split_long_runs(_without_surrogates(text))
        arrays = [self._tiktoken.encode_to_numpy(part, disallowed_special=()) for part in parts]
        return arrays[0] if len(arrays) == 1 else np.concatenate([*arrays, np.empty(0, np.uint32)])

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` of many texts, on all cores."""
        parts = [_split_long_runs(_without_surrogates(text)) for text in texts]
        flat = self._tiktoken.encode_ordinary_batch(
            [p for part in parts for p in part], num_threads=os.cpu_count() or 1
        )
        encoded = iter(flat)
        return [next(encoded) if len(part) == 1 else [id for _ in part for id in next(encoded)] for part in parts]

    # ---- ids to text

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token: at times only a part of a character.

        Raises:
            CourseError: there is no such id.
        """
        if not 0 <= id < self.vocab_size:
            raise CourseError(f"There is no token {id}: this tokenizer has ids 0 to {self.vocab_size - 1}.")
        return self._token_bytes[id]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of ``ids``. Special tokens appear as they are spelled, or not at all with ``skip_special``.

        Bytes that are no whole UTF-8 character appear as U+FFFD; ``encode`` never makes such ids.

        Raises:
            CourseError: an id is outside the vocabulary.
        """
        first_ordinary = len(self.special) if skip_special else 0
        data = b"".join(self.token_bytes(int(id)) for id in ids if not 0 <= int(id) < first_ordinary)
        return data.decode("utf-8", errors="replace")


class StreamDecoder:
    """Turns ids into text one at a time and never shows half a character.

    A character of several bytes may be spread over several tokens: its bytes wait here until it is whole.
    """

    def __init__(self, tokenizer: BPETokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, id: int) -> str:
        """The text completed by token ``id``, or ``""`` if a character is still incomplete."""
        return self._decoder.decode(self._tokenizer.token_bytes(int(id)))

    def finish(self) -> str:
        """What is left at the end: ``""``, or U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)


def sample_texts(texts: Iterable[str], n_bytes: int, seed: int, piece_bytes: int = 4096) -> list[str]:
    """A random sample of about ``n_bytes`` of UTF-8, in pieces of whole lines, drawn evenly from all ``texts``.

    One pass, with no more than the sample in memory: each piece draws a random key, and those with the
    smallest keys stay (reservoir sampling by keys, Efraimidis and Spirakis 2006).

    Args:
        seed: the same texts and seed give the same sample.
        piece_bytes: a piece ends at the first line end after this many bytes.
    """
    generator = random.Random(seed)
    kept: list[tuple[float, int, bytes]] = []  # a heap with the largest key on top: keys are negated
    size = 0
    for number, piece in enumerate(piece for text in texts for piece in _pieces(text, piece_bytes)):
        heapq.heappush(kept, (-generator.random(), number, piece))
        size += len(piece)
        while size - len(kept[0][2]) >= n_bytes:
            size -= len(heapq.heappop(kept)[2])
    return [piece.decode("utf-8") for _, _, piece in sorted(kept, key=lambda entry: entry[1])]


def _pieces(text: str, piece_bytes: int) -> Iterator[bytes]:
    """``text`` in UTF-8, cut after a line end at least every ``piece_bytes`` where lines are short."""
    data = _without_surrogates(text).encode("utf-8")
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + piece_bytes)
        end = len(data) if end < 0 else end + 1
        yield data[start:end]
        start = end


def _without_surrogates(text: str) -> str:
    """``text`` with surrogate pairs joined and lone halves replaced by U+FFFD, so that it has a UTF-8 form."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_LONG_RUN = re.compile(rf"\s{{{LONGEST_RUN}}}")


def _split_long_runs(text: str) -> list[str]:
    """``[text]``, or its parts where a run of white space is longer than LONGEST_RUN."""
    if not _LONG_RUN.search(text):
        return [text]
    parts, start = [], 0
    for match in _LONG_RUN.finditer(text):
        parts.append(text[start : match.end()])
        start = match.end()
    return [part for part in [*parts, text[start:]] if part]
