"""The tokenizer: exact both ways for any text, equal to two other implementations, safe against its own spellings."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers

from artifacts import CourseError, MissingArtifact
from books.sources import read_books
from bpe_tokenizer import LONGEST_RUN, SPECIAL_TOKENS, BPETokenizer, StreamDecoder, sample_texts

PYTHON_FILES = Path(__file__).parent.parent / "python_files"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    books = [book.text for book in read_books("packaged", 12)]
    return books + ["Ünïcode: 中文 and 🙂, again 中文 and 🙂.\r\n\r\n\tIt's 1789; they'll know."]


@pytest.fixture(scope="module")
def tokenizer(texts) -> BPETokenizer:
    return BPETokenizer.train(texts, 1024)


def random_texts(count: int, length: int = 40) -> list[str]:
    """Texts over all of Unicode, and over the characters that regular expression engines disagree on."""
    generator = random.Random(0)
    hard = "aZ s'tTlLvVeE019\n\r\t .,-_<|>'ſK\u0085\u00a0\u2028\u3000\u200d\u0301é中🙂"
    plain = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    return ["".join(generator.choice(hard if i % 2 else plain) for _ in range(length)) for i in range(count)]


def test_any_text_comes_back(tokenizer, texts):
    for text in [*texts, *random_texts(400), "", " ", "\x00", "<|end|>"]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(8 <= id < tokenizer.vocab_size for id in ids)


def test_ids_equal_those_of_the_tokenizers_library(tokenizer, texts, tmp_path):
    tokenizer.save(tmp_path)
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*texts, *random_texts(400)]:
        if "<|" not in text:
            assert tokenizer.encode(text) == reference.encode(text).ids


def test_ids_equal_byte_pair_encoding_by_hand(tokenizer, tmp_path):
    """Merges applied in order to one word, straight from the definition."""
    tokenizer.save(tmp_path)
    model = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    for word in ("Congress", "constitutional", "zzyzx", "inaugurated"):
        pieces = list("Ġ" + word)
        for left, right in model["merges"]:
            position = 0
            while position < len(pieces) - 1:
                if (pieces[position], pieces[position + 1]) == (left, right):
                    pieces[position : position + 2] = [left + right]
                else:
                    position += 1
        assert tokenizer.encode(" " + word) == [model["vocab"][piece] for piece in pieces]


def test_special_tokens_have_fixed_ids_and_are_never_made_from_text(tokenizer):
    assert tokenizer.special == {name: id for id, name in enumerate(SPECIAL_TOKENS)}
    for name in SPECIAL_TOKENS:
        assert not set(tokenizer.encode(f"before{name}after")) & set(range(8))
    assert tokenizer.decode([3, *tokenizer.encode("hi"), 5]) == "<|user|>hi<|end|>"
    assert tokenizer.decode([3, *tokenizer.encode("hi"), 5], skip_special=True) == "hi"


def test_digits_stand_alone(tokenizer):
    assert all(len(tokenizer.decode([id])) == 1 for id in tokenizer.encode("1234567890" * 3))


def test_a_batch_is_the_same_as_one_by_one(tokenizer, texts):
    batch = [*texts, "", " " * (3 * LONGEST_RUN)]
    assert tokenizer.encode_batch(batch) == [tokenizer.encode(text) for text in batch]


def test_an_array_is_the_same_as_a_list(tokenizer, texts):
    for text in [*texts, *random_texts(100), "", "a\ud800b", "<|end|>", " " * (3 * LONGEST_RUN)]:
        assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text)


@pytest.mark.parametrize("character", [" ", "\n", "\u3000", "a", "^", "7"])
def test_a_million_of_one_character(tokenizer, character):
    text = character * 1_000_000  # plain tiktoken panics on the first of these
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_surrogates(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude42")) == "🙂"


def test_streaming_never_shows_half_a_character(tokenizer):
    text = "naïve 中文 🙂 end"
    stream = StreamDecoder(tokenizer)
    parts = [stream.add(id) for id in tokenizer.encode(text)]
    assert "".join(parts) + stream.finish() == text
    assert not any("\ufffd" in part for part in parts)
    stream.add(tokenizer.encode("🙂")[0])
    assert stream.finish() == "\ufffd"


def test_save_and_load(tokenizer, tmp_path):
    files = tokenizer.save(tmp_path)
    assert sorted(files) == sorted(path.name for path in tmp_path.iterdir())
    again = BPETokenizer.load(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint and again.vocab_size == 1024
    assert again.encode("The same.") == tokenizer.encode("The same.")


def test_transformers_opens_the_folder(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "It's 1789;  they'll know.\n\n中文 🙂"
    assert theirs.encode(text) == tokenizer.encode(text)
    assert theirs.eos_token_id == 0 and theirs.pad_token_id == 1
    assert theirs.encode("<|user|>hi<|end|>") == [3, *tokenizer.encode("hi"), 5]


def test_a_chat_template_goes_along(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    assert tokenizer.save(tmp_path, template)[-1] == "chat_template.jinja"
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    said = theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "<|user|>hi<|end|>"


def test_training_again_in_another_process_gives_the_same(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from bpe_tokenizer import BPETokenizer; from books.sources import read_books\n"
        "print(BPETokenizer.train((b.text for b in read_books('packaged', 5)), 600).fingerprint)"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code, PYTHON_FILES], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


def test_errors_are_one_line_and_name_the_remedy(tokenizer, tmp_path):
    with pytest.raises(MissingArtifact, match="1_Tokenizer"):
        BPETokenizer.load(tmp_path)
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_text(encoding="utf-8")
    for damaged in (whole[:5000], "{}", "[]", whole.replace('"<|user|>"', '"<|human|>"')):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(CourseError, match="tokenizer.json") as caught:
            BPETokenizer.load(tmp_path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CourseError, match="too small"):
        BPETokenizer.train(["text"], 100)
    with pytest.raises(CourseError, match="more text"):
        BPETokenizer.train(["a short text"], 1000)
    with pytest.raises(CourseError, match="1023"):
        tokenizer.decode([1024])


def test_sample_is_seeded_even_and_whole(texts):
    sample = sample_texts(texts, 50_000, seed=1, piece_bytes=2000)
    assert sample == sample_texts(iter(texts), 50_000, seed=1, piece_bytes=2000)
    assert sample != sample_texts(texts, 50_000, seed=2, piece_bytes=2000)
    assert 50_000 <= sum(len(piece.encode()) for piece in sample) < 65_000
    assert all(any(piece in text for text in texts) for piece in sample)
    assert sum(any(piece in text for piece in sample) for text in texts) > 6  # from many texts, not the first few
    assert "".join(sample_texts(texts, 10**9, seed=1)) == "".join(texts)
