"""The page on a run: made of what the run wrote, whole or half done, and of nothing else."""

import csv
import html.parser
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_training import CONFIG, make_trainer

import artifacts
import presets
from course_kit import report, report_curves

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}\x00\x1b[31m\u202e $x^2$"
KINDS = ("greetings", "reading_who")
LOG = "step,tokens,loss,val_loss,lr,grad_norm,seconds,score"
EXAM = [("greetings", 15, 20, 8), ("reading_who", 3, 20, 5), ("all", 18, 40, 13)]


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


def write_table(root: Path, name: str, head: str, *rows: tuple) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    with open(root / name, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head.split(","), *rows])


def question(kind: str, answer: str) -> str:
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": answer}]
    return json.dumps({"kind": kind, "messages": messages}) + "\n"


@pytest.fixture
def root() -> Path:
    """Where the run of ``tiny`` lies in this test."""
    return artifacts.artifacts_root() / "tiny"


@pytest.fixture(scope="session")
def pretrained(shards, tmp_path_factory) -> Path:
    """What the real trainer leaves of a small run."""
    folder = tmp_path_factory.mktemp("pretrained")
    texts = iter([HOSTILE, "the the", "Once upon", "The end."])
    config = replace(CONFIG, sample_every=8)
    assert make_trainer(shards, folder, config, sample=lambda model: next(texts)).run()["finished"]
    return folder


@pytest.fixture
def half(root, pretrained) -> Path:
    """A run whose pretraining is finished, and nothing after it."""
    write(root, "tokenizer/vocab.json", "{}")
    artifacts.finish(root / "tokenizer", ["vocab.json"], vocab_size=64, source="packaged")
    write(root, "books/train.txt", "Once")
    artifacts.finish(root / "books", ["train.txt"], books_kept=314)
    shutil.copytree(pretrained, root / "pretrain")
    files = ["log.csv", "config.json", "samples.jsonl", "model/config.json", "model/model.safetensors"]
    artifacts.finish(root / "pretrain", files, parameters=28_000, seconds=2.5)
    took = {"1_Tokenizer/1_page.ipynb": 61.0, "3_Model_Pipeline/1_a.ipynb": 5}
    artifacts.write_json(root / "notebooks" / "seconds.json", took)
    artifacts.write_json(root / "notebooks" / "peaks.json", {"1_Tokenizer/1_page.ipynb": 1.25e9})
    write(root, "notebooks/1_Tokenizer/1 page.ipynb", "{}")
    return root


@pytest.fixture
def whole(half) -> Path:
    """The same run with all that the later phases write."""
    write_table(half, "sft_data/ledger.csv", "source,part,read,kept,dropped,tokens", ("own", "a", 9000, 8000, 1000, 5),
                ("own", "b", 1, 1, 0, 2), (HOSTILE, "c", 3, 3, 0, 1))  # fmt: skip
    write(half, "sft_data/quiz.jsonl", question("who", "Anna.") * 3 + question("who", "Tom."))
    unseen = question("who", "Anna.") + question("who", "Tom.") + question("yes_no", "Yes.") * 2
    write(half, "sft_data/heldout_unseen.jsonl", unseen)
    artifacts.finish(half / "sft_data", ["ledger.csv", "quiz.jsonl", "heldout_unseen.jsonl"])
    steps = [(1, 9, 4.0, "", 1, 2.0, 1, ""), (2, 18, 3.0, 3.5, 1, 2.5, 2, 0.25)]
    write_table(half, "sft/log.csv", LOG, *steps)
    write(half, "sft/samples.jsonl", json.dumps({"step": 2, "text": "Hello!"}) + "\n")
    write(half, "sft/model/model.safetensors", "weights")
    artifacts.finish(half / "sft", ["log.csv", "samples.jsonl", "model/model.safetensors"])
    write_table(half, "sampling/everyday.csv", "kind,right,asked,share,guessing", *(
        (kind, right, asked, right / asked, guess) for kind, right, asked, guess in EXAM))  # fmt: skip
    write_table(
        half, "sampling/fresh.csv", "kind,right,asked,share", ("greetings", 9, 20, 0.45), ("all", 11, 40, 0.275)
    )
    write_table(
        half, "sampling/book_bits.csv", "title,bytes,base,chat", (HOSTILE, 10, 2.31, 2.42), ("Emma", 10, 1.87, 1.95)
    )
    write_table(half, "sampling/accuracy.csv", "kind,model,side,accuracy", ("who", "chat", "unseen", 0.31),
                ("who", "base", "unseen", 0.0), ("yes_no", "chat", "unseen", 0.62))  # fmt: skip
    weights = artifacts.sha256(half / "sft/model/model.safetensors")
    said = [{"prompt": HOSTILE, "answer": HOSTILE, "right": False}, {"prompt": "hi", "answer": "Hi!", "right": True}]
    artifacts.write_json(half / "sampling/everyday.json", {"model": weights, "examples": said})
    artifacts.write_json(
        half / "sampling/answers.json", {"answers": [{"prompt": "The sea", "base": "is", "chat": HOSTILE}]}
    )
    artifacts.finish(half / "sampling", ["everyday.csv"], everyday=0.45)
    return half


class Page(html.parser.HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data):
        self.text += data


def made(preset: str = "tiny") -> Page:
    return Page(report.make(preset).read_text(encoding="utf-8"))


def test_a_whole_run_is_shown_with_its_own_figures(whole):
    page = made()
    assert "All phases are finished." in page.text and "isn't there" not in page.text and "damaged" not in page.text
    for words in (
        "45% of the everyday exam", "28% of the fresh exam", "greetings 15 of 20 9 of 20", "all 18 of 40 11 of 40",
        "reading who 3 of 20 –", "Emma 1.87 1.95", "who 31% – – 0%", "own 9,001 8,001 1,000 7", "Step 24 of 24",
        "Step 2, 18 tokens", "hi Hi! right", "after step 8 the the after step 16 Once", "The end.",
        "0.0M weights", "1:01", "1.25 GB", "mean of all kinds 46%",
    ):  # fmt: skip
        assert words in page.text, words
    assert page.text.index("Emma 1.87") < page.text.index("2.31")  # the easiest book first
    bars = [attributes["style"] for tag, attributes in page.elements if tag in "ib" and "style" in attributes]
    # Everyday: 15 and 8 of 20, and so on. Drills: who was answered by Anna half of the time, yes_no always by Yes.
    # The mean of all kinds comes before them.
    expected = [
        "width: 75.0%",
        "left: 40.0%",
        "width: 15.0%",
        "left: 25.0%",
        "width: 45.0%",
        "left: 32.5%",
        "width: 46.5%",
        "left: 75.0%",
    ]
    assert bars == [*expected, "width: 62.0%", "left: 100.0%", "width: 31.0%", "left: 50.0%"]


def test_the_curves_are_drawn_of_the_logs(whole):
    page = made()
    labels = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert labels == [
        "Pretraining: loss", "Pretraining: gradient norm",
        "Fine-tuning: loss", "Fine-tuning: small test", "Fine-tuning: gradient norm",
    ]  # fmt: skip
    assert "guessing evenly" in page.text and "one answer for all" in page.text
    text = (whole / report.PAGE).read_text(encoding="utf-8")
    assert "var(--accent)" in text and "currentColor" in text
    assert not re.findall(r"#0102\d\d", text) and not re.findall(r"(?:stroke|fill): #(?!fff)[0-9a-f]{6}", text)


def test_a_half_done_run_says_what_is_missing_and_how_to_go_on(half):
    page = made()
    assert "Missing: 5_SFT_Data, 6_SFT_Training, 7_Sampling." in page.text
    assert "python course.py run --preset tiny --from 5_SFT_Data" in page.text
    for name in ("sft/log.csv", "sft/samples.jsonl", "sft_data/ledger.csv", "sampling/everyday.csv",
                 "sampling/book_bits.csv", "sampling/accuracy.csv", "sampling/everyday.json"):  # fmt: skip
        assert f"{name} isn't there" in page.text
    assert "Step 24 of 24" in page.text and "everyday exam, which" not in page.text


def test_a_training_under_way_is_shown_as_far_as_it_is(half):
    (half / "pretrain" / "manifest.json").unlink()
    log = (half / "pretrain" / "log.csv").read_text(encoding="utf-8").splitlines()
    write(half, "pretrain/log.csv", "\n".join(log[:10]) + "\n10,1280,3.")  # killed in the middle of a line
    page = made()
    assert "4_Pretraining (unfinished)" in page.text and "Step 9 of 24" in page.text
    write(half, "pretrain/log.csv", log[0] + "\n")
    assert "pretrain/log.csv holds no step yet." in made().text


def test_hostile_text_stays_text(whole):
    page = made()
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "link"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") == 6  # a sample, a book, a prompt, two answers, a source
    assert "{{ 7*7 }}" in page.text and "\x00" not in page.text and "\x1b" not in page.text


def test_a_lone_surrogate_and_a_long_text_do_not_stop_it(whole):
    text = '{"step": 1, "text": "\\ud800 ' + "word " * 2000 + '"}\n'
    write(whole, "sft/samples.jsonl", text)
    page = made()
    assert "? word word" in page.text and len(page.text) < 12_000


def test_nothing_is_asked_of_the_network(whole):
    page = made()
    links = [
        a[name] for _, a in page.elements for name in ("src", "href", "xlink:href", "srcset", "action") if name in a
    ]
    assert links and all(link.startswith("#") or link == "notebooks/1_Tokenizer/1%20page.ipynb" for link in links)
    text = (whole / report.PAGE).read_text(encoding="utf-8")
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize("name, text", [
    ("sampling/everyday.csv", "kind,right\ngreetings,many\n"),
    ("sampling/everyday.csv", "kind,right,asked,guessing\ngreetings,nan,20,1\n"),
    ("sampling/everyday.json", "[]"),
    ("sampling/answers.json", "{"),
    ("sampling/accuracy.csv", "kind,model,side\nwho,chat,unseen\n"),
    ("sampling/book_bits.csv", "title,base,chat\nEmma,inf,1\n"),
    ("sampling/accuracy.csv", "kind,model,side,accuracy\nwho,chat,unseen,much\n"),
    ("sft/log.csv", "step,loss\n1,2\n"),
    ("sft/log.csv", f"{LOG}\n1,1,nan,,1,1,1,\n"),
    ("sft/samples.jsonl", '{"step": "x", "text": "y"}\n'),
    ("sft_data/ledger.csv", "source,read\nown,1\n"),
])  # fmt: skip
def test_a_damaged_file_is_named_and_the_rest_is_shown(whole, name, text):
    write(whole, name, text)
    page = made()
    assert f"{name} is damaged and can't be read." in page.text
    assert "Step 24 of 24" in page.text


def test_settings_of_another_kind_than_expected_do_not_stop_it(whole):
    for name in ("pretrain/config.json", "pretrain/model/config.json", "sft/config.json", "notebooks/seconds.json"):
        write(whole, name, '{"max_steps": "many", "vocab_size": [1], "items": 3}')
    page = made()
    assert "Step 24, " in page.text and "guessing evenly" not in page.text and "max_steps many" in page.text


def test_answers_of_an_older_model_are_told_to_be_so(whole):
    assert "another model" not in made().text
    write(whole, "sft/model/model.safetensors", "other weights")
    artifacts.finish(whole / "sft", ["log.csv", "samples.jsonl", "model/model.safetensors"])
    assert "answers of another model than the one that is in sft/model now" in made().text


def test_a_rehearsal_says_that_it_is_one(half):
    half.rename(half.parent / "tiny-rehearsal")
    page = made("tiny-rehearsal")
    assert "This is a rehearsal" in page.text
    assert "python course.py run --preset tiny --rehearse --from 5_SFT_Data" in page.text


def test_the_command_makes_it_again_and_refuses_in_one_line(course, half):
    done = course("report", "--preset", "tiny")
    assert done.returncode == 0 and done.stdout == "artifacts/tiny/report.html\n", done.stderr
    assert (half / report.PAGE).is_file()
    for more, words in (
        (["--preset", "cpu"], "python course.py run --preset cpu"),
        (["--preset", "tiny", "--rehearse"], "python course.py run --preset tiny --rehearse"),
        (["--preset", "huge"], "'huge'"),
    ):
        done = course("report", *more)
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and words in done.stderr, done.stderr
    assert not any(half.parent.joinpath(name).exists() for name in ("cpu", "tiny" + presets.REHEARSAL))


def test_a_long_curve_is_thinned_out_to_means_of_neighbors():
    x, y = report_curves.thinned(range(1201), [2.0] * 1200 + [5.0])
    assert len(x) == len(y) == 401 and list(x[:2]) == [1.0, 4.0] and set(y) == {2.0, 5.0}
    x, y = report_curves.thinned([1, 2, 3], [3, 7, 5])
    assert list(x) == [1, 2, 3] and list(report_curves.smoothed(x, y)[1]) == [5, 5, 5]
