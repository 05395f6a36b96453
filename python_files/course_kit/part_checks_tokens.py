"""Checks of a reader's ``merge`` and ``encode`` (1.1), and of the sampler (7.1): from text to ids, from scores to ids.

Each ends with a sentence on what has been shown, or with a ``Miss``.
"""

import json

import torch

from bpe_tokenizer import BPETokenizer, byte_stand_ins
from chat import decoding
from course_kit.part_reader import Reader, expect, expect_tensor, numbers

# ---- 1.1


def check_merge(reader: Reader) -> str:
    """The pairs of a list become one id, from left to right."""
    cases = [
        ([5, 1, 2, 7], (1, 2), [5, 9, 7], "1 and 2 stand side by side once"),
        ([1, 2, 5, 1, 2], (1, 2), [9, 5, 9], "the pair occurs twice, at both ends"),
        ([2, 1, 2, 1], (1, 2), [2, 9, 1], "2, 1 is another pair than 1, 2"),
        ([1, 1, 1], (1, 1), [9, 1], "the one in the middle can be used once only"),
        ([1, 1, 1, 1], (1, 1), [9, 9], "that makes two pairs"),
        ([1, 3, 2], (1, 2), [1, 3, 2], "1 and 2 aren't neighbors"),
        ([9, 2, 9], (9, 2), [9, 9], "a new id may equal one that is there"),
        ([4], (1, 2), [4], "one id has no neighbor"),
        ([], (1, 2), [], "in an empty list there is nothing to merge"),
    ]
    hint = "Keep a place in the list. What is the next place after a pair was merged, and what after an id was kept?"
    for ids, pair, right, why in cases:
        given, call = list(ids), f"merge({ids}, {pair}, 9)"
        found = reader.call("merge", given, pair, 9, show=call)
        expect(isinstance(found, list), f"{call} should give back a list, not {found!r:.60}.", "Start from `[]`.")
        expect(given == ids, f"{call} changes the list that it was given to {given}.", "Fill a list of your own.")
        expect(found == right, f"{call} should give {right}, yours gives {found}: {why}.", hint)
    return f"{len(cases)} lists come out right"


def _learned_merges() -> tuple[BPETokenizer, dict[tuple[int, int], int], list[bytes]]:
    """A small tokenizer of the course, its merges as ``encode`` takes them, and the bytes of each of their ids."""
    line = "Four score and seven years ago, our fathers' café sold 1789 cakes; they'll bake another 500 tomorrow.\n"
    tokenizer = BPETokenizer.train([line * 3, "another score of other fathers  sold the years away " * 4], 264 + 60)
    byte_of = {char: byte for byte, char in byte_stand_ins().items()}
    spelled, id_of, merges = [bytes([b]) for b in range(256)], {bytes([b]): b for b in range(256)}, {}
    for pair in json.loads(tokenizer.to_json())["model"]["merges"]:
        left, right = (bytes(byte_of[c] for c in part) for part in (pair.split() if isinstance(pair, str) else pair))
        if left + right not in id_of:
            id_of[left + right] = len(spelled)
            spelled.append(left + right)
        merges[id_of[left], id_of[right]] = id_of[left + right]
    return tokenizer, merges, spelled


def check_encode(reader: Reader) -> str:
    """Words, bytes, the first-learned pair first, again and again; and then the course's own tokenizer."""
    in_order = "Which of the pairs that a word has was learned first? Merge it, and look at the word again."
    apart = "Cut the text with PATTERN first, and treat each word alone; nothing of the text is lost that way."
    cases = [
        ("hi", {}, [104, 105], "without merges, each letter is its byte", "An empty `merges` merges nothing."),
        ("é", {}, [195, 169], "é is two bytes in UTF-8", "`ord` counts characters; `text.encode` makes bytes."),
        ("", {}, [], "an empty text has no tokens", "What does your loop do if there are no words?"),
        (" a  b\n", {}, [32, 97, 32, 32, 98, 10], "white space is text too", apart),
        ("abc", {(98, 99): 256, (97, 98): 257}, [97, 256], "the pair 98, 99 was learned first", in_order),
        ("abcab", {(97, 98): 256, (256, 99): 257}, [257, 256], "a merge makes new pairs", in_order),
        ("aaab", {(97, 97): 256, (97, 98): 257}, [256, 257], "both pairs are there, one after the other", in_order),
        ("a a", {(97, 32): 256, (32, 97): 257}, [97, 257], "97 and 32 belong to two words", apart),
    ]
    for text, merges, right, why, hint in cases:
        given, call = dict(merges), f"encode({text!r}, {merges})"
        found = reader.call("encode", text, given, show=call)
        expect(isinstance(found, list), f"{call} should give back a list, not {found!r:.60}.", "Start from `[]`.")
        expect(given == merges, f"{call} changes the merges that it was given.", "Only read them.")
        expect(found == right, f"{call} should give {right}, yours gives {found}: {why}.", hint)
    tokenizer, merges, spelled = _learned_merges()
    texts = ["our fathers and others", " another score", "years  away, 1789 cafés", "they'll bake", "zebras 🙂\n\nago"]
    for text in texts:
        call = f"encode({text!r}, <{len(merges)} merges>)"
        found = reader.call("encode", text, dict(merges), show=call)
        pieces = [spelled[id] for id in found] if all(id in range(len(spelled)) for id in found) else found
        right = [tokenizer.token_bytes(id) for id in tokenizer.encode(text)]
        wrong = (
            f"{call} makes {len(pieces)} tokens, and not the {len(right)} of the course's tokenizer: {pieces!s:.200}."
        )
        expect(pieces == right, wrong, in_order)
    return f"the same tokens as the course's own tokenizer for {len(texts)} texts with {len(merges)} merges"


# ---- 7.1

CHANCES = [0.15, 0.5, 0.05, 0.3]  # of the four tokens that most checks of the sampler look at


def check_probabilities(reader: Reader) -> str:
    """Each setting alone, their order, and numbers that overflow; and then the course's own filters."""
    logits = torch.tensor(CHANCES).log()
    alone = "Cut what isn't kept, then let the rest add up to 1 again."
    nucleus = "Look at a token and at all likelier ones: what did *those* have together?"
    cases = [
        ({}, CHANCES, "without settings, nothing is cut off", "Logits become probabilities by softmax."),
        ({"temperature": 0.5}, [0.062, 0.685, 0.007, 0.247], "below 1, differences grow", "Before or after softmax?"),
        ({"temperature": 0}, [0.0, 1.0, 0.0, 0.0], "0 stands for always the likeliest", "Nothing can be divided by 0."),
        ({"top_k": 2}, [0.0, 0.625, 0.0, 0.375], "two tokens stay", alone),
        ({"top_k": 1}, [0.0, 1.0, 0.0, 0.0], "one token stays", alone),
        ({"top_k": 10}, CHANCES, "only four tokens are there", "k may be larger than the vocabulary."),
        ({"top_p": 0.6}, [0.0, 0.625, 0.0, 0.375], "0.5 alone is too little", nucleus),
        ({"top_p": 0.4}, [0.0, 1.0, 0.0, 0.0], "the likeliest is enough, and always stays", nucleus),
        ({"top_p": 0.97}, CHANCES, "the first three have 0.95 together", nucleus),
        (
            {"top_k": 2, "top_p": 0.6},
            [0.0, 1.0, 0.0, 0.0],
            "of two tokens the first has 0.625",
            "top_p comes after top_k.",
        ),
        (
            {"temperature": 0.5, "top_p": 0.6},
            [0.0, 1.0, 0.0, 0.0],
            "the first has 0.685 by then",
            "Temperature is first.",
        ),
    ]
    for options, right, why, hint in cases:
        call = f"probabilities for the chances {CHANCES}" + "".join(f", {k}={v}" for k, v in options.items())
        given = logits.clone()
        found = reader.call("probabilities", given, show=call, **options)
        expect_tensor(found, (4,), call)
        expect(torch.equal(given, logits), f"{call}: the logits that were given are changed.", "Work on new tensors.")
        line = f"{call} should be {right}, yours are {numbers(found)}: {why}."
        expect(torch.allclose(found, torch.tensor(right), atol=2e-3), line, hint)
    found = reader.call("probabilities", torch.tensor([1000.0, 999.0]), show="probabilities of the logits 1000 and 999")
    expect_tensor(found, (2,), "probabilities of the logits 1000 and 999")
    line = f"the logits 1000 and 999 should become 0.731 and 0.269, yours {numbers(found)}."
    expect(torch.allclose(found, torch.tensor([0.731, 0.269]), atol=2e-3), line, "torch's softmax never overflows.")
    logits = torch.randn(300, generator=torch.Generator().manual_seed(0)) * 3
    for t, k, p in ((0.7, 40, 0.9), (1.3, None, 0.8), (1.0, 5, 1.0)):
        settings = decoding.Settings(temperature=t, top_k=k, top_p=p)
        right = decoding.probabilities(logits[None], settings)[0]
        call = f"probabilities of 300 logits, temperature={t}, top_k={k}, top_p={p}"
        found = reader.call("probabilities", logits.clone(), t, k, p, show=call)
        expect_tensor(found, (300,), call)
        line = f"{call}: {int((found > 0).sum())} tokens are left, and the course keeps {int((right > 0).sum())}."
        expect(torch.allclose(found, right, atol=1e-4), line, nucleus)
    return "the same probabilities as the course's own filters"


def check_sample(reader: Reader) -> str:
    """One id, by the probabilities, from the generator alone, with all settings passed on."""
    logits = torch.tensor(CHANCES).log()

    def draw(n: int, seed: int, **options: float) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        call = f"sample for the chances {CHANCES}" + "".join(f", {k}={v}" for k, v in options.items())
        found = [reader.call("sample", logits.clone(), generator, show=call, **options) for _ in range(n)]
        odd = next((id for id in found if type(id) is not int or not 0 <= id < 4), None)
        expect(
            odd is None, f"{call} should give back a whole number from 0 to 3, not {odd!r:.60}.", "Which id was drawn?"
        )
        return found

    torch.manual_seed(1)
    first = draw(30, seed=5)
    torch.manual_seed(2)
    line = "with the same seed in the generator, the second time gives other tokens than the first."
    expect(draw(30, seed=5) == first, line, "Is the generator handed on to what draws?")
    counts = torch.tensor(draw(2000, seed=7)).bincount(minlength=4) / 2000
    line = f"of 2000 draws the shares should be about {CHANCES}, yours are {numbers(counts)}."
    expect(torch.allclose(counts, torch.tensor(CHANCES), atol=0.06), line, "How often should a token with 0.5 come up?")
    for options, allowed in (({"top_k": 2}, {1, 3}), ({"top_p": 0.6}, {1, 3}), ({"temperature": 0}, {1})):
        (name, value), found = *options.items(), set(draw(200, seed=3, **options))
        line = f"with {name}={value} only the tokens {sorted(allowed)} can be drawn; yours draws {sorted(found)}."
        expect(found <= allowed, line, "Are all settings handed on to `probabilities`?")
    sharp = draw(500, seed=4, temperature=0.5).count(1) / 500
    line = f"at a temperature of 0.5 the likeliest token has 0.685; yours comes up in {sharp:.2f} of the draws."
    expect(abs(sharp - 0.685) < 0.09, line, "Are all settings handed on to `probabilities`?")
    return "tokens come up as often as they should, and the same seed draws the same"
