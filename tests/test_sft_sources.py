"""The ten data sets of the hub: each adapter on rows of its documented columns, and the call that reads them."""

import copy
import json

import pytest
import sft_mirror

from artifacts import CourseError
from conversations import adapters, hub
from conversations.hub import INSTRUCTION_DATASETS
from conversations.mix import Hub, hub_for
from conversations.overlap import Exams


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return sft_mirror.write(tmp_path_factory.mktemp("copies"))


def read(mirror, name: str, split: str | None = None) -> tuple[list, list[str]]:
    """Conversations and reasons of one source, through ``load_dataset``."""
    source = next(s for s in INSTRUCTION_DATASETS if s.name == name)
    found = list(hub.read(source, split or source.train, mirror, source.take))
    return [x for x in found if isinstance(x, list)], [x for x in found if isinstance(x, str)]


def said(messages: list[dict]) -> list[str]:
    return [message["content"] for message in messages]


EXPECTED = {
    "smol-smoltalk": (
        ["Give me tip 0.", "Tip 0: drink water."],
        ["also in everyday-conversations", "empty assistant turn", "over 20,000 characters",
         "another script than Latin", "two user turns in a row", "null text"],
    ),
    "everyday-conversations-llama3.1-2k": (["Hi!", "Hello!", "How do I cook dish 0?", "With salt."], []),
    "databricks-dolly-15k": (["Name thing 0.", "Thing 0."], ["response is empty or no text"]),
    "squad": ([f"{sft_mirror.passage(0, 'mor')}\nWho lit lamp number 0?", None],
              ["no answer", "the answer is not in the passage"]),
    "boolq": (["Stone 0 is known for much.\nIs stone 0 hard?", "Yes."], ["the answer is neither true nor false"]),
    "qasc": (["What does plant 0 need?", "Light. Plant 0 needs light."], ["no answer"]),
    "ai2_arc/ARC-Easy": (["ARC-Easy question 0?\nChoices: iron; wood.", "Iron."], []),
    "ai2_arc/ARC-Challenge": (["ARC-Challenge question 0?\nChoices: iron; wood.", "Iron."], []),
    "oasst2": (["Open question 0?", "Best answer 0.", "And then?", "Then nothing."],
               [*["deleted"] * sft_mirror.GOOD, "not in English", "null text", "no assistant turn"]),
    "soda": (["Have you seen dog 0?", "It ran home."],
             ["not two speakers", "the speakers don't alternate", "lines and speakers disagree"]),
    "commonsense_qa": (["Where is cup 0 kept?\nChoices: sea; sky; cupboard; shoe; hat.", "Cupboard."],
                       ["the answer is none of the choices"]),
}  # fmt: skip


@pytest.mark.parametrize("name", [source.name for source in INSTRUCTION_DATASETS])
def test_each_set_is_read_from_a_copy_and_odd_rows_have_a_reason(mirror, name):
    conversations, reasons = read(mirror, name)
    texts, odd = EXPECTED[name]
    whole = {tuple(said(messages)) for messages in conversations}
    if texts[-1] is None:
        whole = {texts[:-1] == list(w[:-1]) and (*w[:-1], None) or w for w in whole}
    assert tuple(texts) in whole
    assert sorted(reasons) == sorted(odd)
    assert len(conversations) >= sft_mirror.GOOD
    for messages in conversations:
        assert adapters.vet(messages) == messages  # an adapter's messages need no further mending


def test_the_table_holds_the_ten():
    assert {source.id for source in INSTRUCTION_DATASETS} == {*sft_mirror.SETS, "allenai/ai2_arc"}
    assert len({source.name for source in INSTRUCTION_DATASETS}) == len(INSTRUCTION_DATASETS) == 11
    assert all(source.train != source.held_out and source.licence and source.about for source in INSTRUCTION_DATASETS)


def test_some_answers_of_squad_are_whole_sentences(mirror):
    answers = [messages[1]["content"] for messages in read(mirror, "squad")[0]]
    whole = sum(answer.startswith("Its keeper was called Mor") for answer in answers)
    short = sum(answer.startswith("Mor") and len(answer) < 7 for answer in answers)
    assert whole > 0 and short > 0 and whole + short == sft_mirror.GOOD


def test_choice_keys_may_be_numbers_or_letters_whatever_the_labels(mirror):
    found = {said(m)[0]: said(m)[1] for m in read(mirror, "ai2_arc/ARC-Easy")[0]}
    assert found["ARC-Easy question 1?\nChoices: iron; wood."] == "Wood."
    assert found["ARC-Easy odd key?\nChoices: iron; wood."] == "Wood."


def test_a_system_message_stays_and_a_last_question_without_answer_goes(mirror):
    assert ["Be brief.", "Sum it up.", "Done."] in [said(m) for m in read(mirror, "smol-smoltalk")[0]]
    assert all(messages[-1]["role"] == "assistant" for messages in read(mirror, "soda")[0])


@pytest.mark.parametrize(
    "adapter", [s.adapter for s in INSTRUCTION_DATASETS if not s.by_tree], ids=lambda a: a.__name__
)
def test_rows_of_any_shape_have_a_reason_or_are_left_to_it(adapter):
    values = (None, "", " ", 3, True, [], {}, [None], {"text": None}, "x" * 1_000_000, "\0", [{"role": "user"}])
    columns = ("messages", "instruction", "response", "context", "question", "answers", "passage", "answer", "choices")
    rows = [{}, {"a": 1}, *(dict.fromkeys(columns, value) for value in values)]
    source = next(s for s in INSTRUCTION_DATASETS if s.adapter is adapter)
    given = copy.deepcopy(rows)
    for found in hub.adapted(source, iter(rows)):
        assert isinstance(found, str) and found and "\n" not in found
    assert rows == given, "an adapter changed its row"


def test_trees_that_are_damaged_end():
    circle = [{"message_id": a, "parent_id": b, "text": "t", "role": "prompter", "lang": "en", "rank": None}
              for a, b in (("1", None), ("2", "1"), ("1", "2"))]  # fmt: skip
    assert list(adapters.oasst2(circle)) == ["two user turns in a row"]
    assert list(adapters.oasst2([{"text": "t"}, None, 7])) == 3 * ["columns are missing"]
    odd = [{**circle[0], name: [1]} for name in ("message_id", "parent_id", "role")]
    assert list(adapters.oasst2(odd)) == 3 * ["columns of another type"]


def test_configurations_are_found_without_the_page_too(tmp_path):
    folder = sft_mirror.write(tmp_path)
    (folder / "allenai/ai2_arc/README.md").unlink()
    for config in ("ARC-Easy", "ARC-Challenge"):
        assert all(said(m)[0].startswith(config) for m in read(folder, f"ai2_arc/{config}")[0])


def test_a_set_that_is_not_there_or_damaged_is_named_with_what_it_means(tmp_path):
    folder = sft_mirror.write(tmp_path)
    (folder / "google/boolq").rename(folder / "google/elsewhere")
    (folder / "allenai/soda/data/train-00000-of-00001.parquet").write_bytes(b"PAR1 but not really")
    hub = Hub(folder, seed=0)
    exams = Exams()
    hub.put_exams_aside(exams)
    names = {entry.source for entry in hub.entries()}
    assert names == {source.name for source in INSTRUCTION_DATASETS} - {"boolq", "soda"}
    assert "no folder google/boolq" in hub.notes["boolq"]["training"] and "left out" in hub.notes["soda"]["training"]
    assert (
        "9,427 conversations" in hub.notes["boolq"]["consequence"] and "yes or no" in hub.notes["boolq"]["consequence"]
    )
    assert "soda validation" not in exams.sizes or exams.sizes["soda validation"] == 1
    assert not any(str(tmp_path) in text for note in hub.notes.values() for text in note.values())


def test_without_a_network_the_hub_is_asked_once(monkeypatch):
    calls = []

    def unreachable(*arguments, **options):
        calls.append(arguments)
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    hub = Hub(None, seed=0)
    hub.put_exams_aside(Exams())
    assert list(hub.entries()) == [] and len(calls) == 1
    assert len(hub.notes) == len(INSTRUCTION_DATASETS)
    assert all("can't be reached" in note["training"] and note["consequence"] for note in hub.notes.values())


def test_one_gated_set_does_not_stop_the_others(monkeypatch, mirror):
    import datasets

    true = datasets.load_dataset

    def gated(path, *arguments, **options):
        if path.endswith("squad"):
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'rajpurkar/squad' is a gated dataset on the Hub.")
        return true(path, *arguments, **options)

    monkeypatch.setattr("datasets.load_dataset", gated)
    hub = Hub(mirror, seed=0)
    assert len({entry.source for entry in hub.entries()}) == len(INSTRUCTION_DATASETS) - 1
    assert "gated" in hub.notes["squad"]["training"]


def test_a_set_that_breaks_off_keeps_what_came(monkeypatch):
    class Rows:
        def __iter__(self):
            yield {"messages": sft_mirror.talk("Hi", "Hello."), "source": "x"}
            raise ConnectionError("cut off")

        def shuffle(self, **options):
            return self

    monkeypatch.setattr("datasets.load_dataset", lambda *a, **o: Rows())
    hub = Hub(None, seed=0, sources=INSTRUCTION_DATASETS[:1])
    assert len(list(hub.entries())) == 1
    assert hub.notes["smol-smoltalk"]["training"].startswith("broke off after 1 conversations")


def test_the_hub_is_used_only_where_a_preset_or_a_folder_says_so(monkeypatch, mirror):
    from presets import PRESETS

    assert [hub_for(PRESETS[name]) is None for name in ("tiny", "cpu", "full")] == [True, True, False]
    monkeypatch.setenv("COURSE_SFT_FOLDER", str(mirror))
    assert hub_for(PRESETS["tiny"]).folder == str(mirror)
    monkeypatch.setenv("HOME", str(mirror.parent))
    monkeypatch.setenv("COURSE_SFT_FOLDER", f"~/{mirror.name}")
    assert hub_for(PRESETS["tiny"]).folder == str(mirror)
    monkeypatch.delenv("COURSE_SFT_FOLDER")
    monkeypatch.setenv("COURSE_SFT", "hub")
    assert hub_for(PRESETS["cpu"]).folder is None
    monkeypatch.setenv("COURSE_SFT", "own")
    assert hub_for(PRESETS["full"]) is None
    monkeypatch.setenv("COURSE_SFT", "theirs")
    with pytest.raises(CourseError, match="hub or own"):
        hub_for(PRESETS["tiny"])
    monkeypatch.delenv("COURSE_SFT")
    monkeypatch.setenv("COURSE_SFT_FOLDER", str(mirror / "nowhere"))
    with pytest.raises(CourseError, match="no such folder"):
        hub_for(PRESETS["tiny"])


def test_sets_of_ones_own_are_taken_from_the_folder_and_all_are_named(tmp_path):
    def write(name: str, rows: list[dict]) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    # A column may be empty in one file and hold texts in the other.
    write("mine/train.jsonl", [{"messages": sft_mirror.talk("What is a lamp?", "A light."), "by": None}])
    quiz = {"messages": sft_mirror.talk("What is a quiz?", "A game of questions."), "by": "me"}
    write("mine/validation.jsonl", [quiz])
    write("me/notes.v2/part.jsonl", [{"text": "no conversation"}])
    write("allenai/ai2_arc/ARC-Easy/train.jsonl", [{"question": "?"}])
    message = {"parent_id": None, "lang": "en", "rank": None, "deleted": False}
    write("OpenAssistant/oasst1/train.jsonl", [
        {**message, "message_id": "1", "text": "What is tea?", "role": "prompter"},
        {**message, "message_id": "2", "parent_id": "1", "text": "A drink.", "role": "assistant"},
    ])  # fmt: skip
    hub = Hub(tmp_path, seed=0, sources=())
    assert [source.name for source in hub.sources] == ["oasst1", "notes.v2", "mine"]
    exams = Exams()
    hub.put_exams_aside(exams)
    assert dict(exams.sizes) == {"mine validation": 1}
    texts = [said(entry.messages) for entry in hub.entries() if isinstance(entry.messages, list)]
    assert texts == [["What is tea?", "A drink."], ["What is a lamp?", "A light."]]
    assert hub.notes["mine"]["exam"] == "put aside"
    assert "0 conversations: no row could be used" in hub.notes["notes.v2"]["training"]
