"""Bits per byte and held-out answers, against slow and obvious computations."""

import json
import math

import pytest
import torch

import evaluate
import sampling
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from course_dataset import Conversation
from Dummy_Model import GPT, GPTConfig

TEXT = "The miller's daughter walked to the mill, and the old miller asked her why she had come so late. " * 3
CONTEXT = 32


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train([TEXT], 300)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.2)
    return model


@torch.inference_mode()
def bits_of(model, tokenizer, text, width):
    """The bits of one text, one token at a time."""
    ids = [0, *tokenizer.encode(text)]
    total = 0.0
    for i in range(1, len(ids)):
        start = (i - 1) // width * width
        logits = model(torch.tensor([ids[start:i]]))[0, -1].double()
        total -= float(logits.log_softmax(-1)[ids[i]])
    return total / math.log(2)


@pytest.mark.parametrize("width", [None, 7])
def test_bits_per_byte_counts_every_token_once(model, tokenizer, width, monkeypatch):
    texts = [TEXT, "late", "A señor, 3 miles off.", TEXT[:150]]
    expected = sum(bits_of(model, tokenizer, text, width or CONTEXT) for text in texts)
    expected /= sum(len(text.encode("utf-8")) for text in texts)
    assert evaluate.bits_per_byte(model, tokenizer, texts, width) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(evaluate, "LOGITS_TOGETHER", {"cpu": 1})  # a row at a time
    assert evaluate.bits_per_byte(model, tokenizer, iter(texts), width) == pytest.approx(expected, rel=1e-5)


def test_a_model_that_knows_nothing_pays_the_whole_vocabulary(tokenizer):
    model = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=1, n_embd=16, n_head=2, n_kv_head=2))
    torch.nn.init.zeros_(model.embedding.weight)
    expected = len(tokenizer.encode(TEXT)) * math.log2(tokenizer.vocab_size) / len(TEXT)
    assert evaluate.bits_per_byte(model, tokenizer, [TEXT]) == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_refuses_nothing_and_too_much(model, tokenizer):
    with pytest.raises(CourseError, match="no text"):
        evaluate.bits_per_byte(model, tokenizer, [])
    with pytest.raises(CourseError, match=f"64 tokens .* {CONTEXT}"):
        evaluate.bits_per_byte(model, tokenizer, [TEXT], context_length=64)


def questions_about(model, tokenizer):
    """Four questions whose expected answers are what the model says, and one other."""
    made = []
    for text in ("the mill", "why late", "daughter", "old miller", "her"):
        prompt = [3, *tokenizer.encode(text), 5, 4]
        answer = sampling.generate(model, tokenizer, prompt, sampling.Settings(temperature=0, max_new_tokens=12))
        kind = "loud" if "mill" in text else "quiet"
        expected = f" {answer}\n" if text != "her" else answer + "!"
        made.append(Conversation(kind, [{"role": "user", "content": text}, {"role": "assistant", "content": expected}]))
    return made


def test_answers_must_match_but_for_white_space_at_the_ends(model, tokenizer):
    questions = questions_about(model, tokenizer)
    accuracy = evaluate.answer_accuracy(model, tokenizer, questions, max_new_tokens=12)
    assert accuracy == {"loud": 1.0, "quiet": pytest.approx(2 / 3)}
    rows = evaluate.answers(model, tokenizer, questions, max_new_tokens=12, batch_size=2)
    assert [row.question for row in rows] == ["the mill", "why late", "daughter", "old miller", "her"]
    assert [row.correct for row in rows] == [True, True, True, True, False]
    assert rows[4].expected == rows[4].answer + "!"


def test_without_a_limit_answers_get_the_room_that_the_longest_needs(model, tokenizer, monkeypatch):
    asked = []
    original = evaluate.generate_batch
    monkeypatch.setattr(evaluate, "generate_batch", lambda *a, **k: (asked.append(a[3]), original(*a, **k))[1])
    pair = [{"role": "user", "content": "mill"}, {"role": "assistant", "content": "the old mill"}]
    evaluate.answers(model, tokenizer, [Conversation("a", pair)])
    assert asked[0].max_new_tokens == len(tokenizer.encode("the old mill")) + evaluate.SPARE_TOKENS
    assert asked[0].temperature == 0
    assert evaluate.answers(model, tokenizer, []) == []


def test_questions_are_read_and_thinned_evenly(tmp_path):
    path = tmp_path / "heldout.jsonl"
    messages = [{"role": "user", "content": "ä\u2028ö"}]  # U+2028 ends a line for str.splitlines, not in JSON lines
    lines = [json.dumps({"kind": f"k{i // 10}", "messages": messages}, ensure_ascii=False) for i in range(40)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(evaluate.read_questions(path)) == 40
    assert [q.kind for q in evaluate.read_questions(path, limit=8)] == ["k0", "k0", "k1", "k1", "k2", "k2", "k3", "k3"]
    path.write_text('{"kind": "k"}\n', encoding="utf-8")
    with pytest.raises(CourseError, match="no question"):
        evaluate.read_questions(path)
    with pytest.raises(CourseError, match="5_SFT_Data"):
        evaluate.read_questions(tmp_path / "none.jsonl")
