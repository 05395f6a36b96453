"""Stories, poems, jokes, riddles and descriptions: what somebody may ask to be told, and the telling.

The texts are in ``5_SFT_Data/everyday/stories``, the ways of asking in ``5_SFT_Data/everyday/requests.yaml``.
"""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache

import yaml

from artifacts import course_root
from conversations.everyday import FOLDER, Exchange, texts_of
from conversations.templates import draw_slots, fill, plural
from conversations.typed import as_typed

KINDS = ("plot", "joke", "poem", "riddle", "describe")
WITH_TOPIC = {"plot": 0.8, "joke": 0.3, "poem": 0.75}  # how often a request names what it should be about
CONTINUED_SHARE = 0.12  # of the stories are begun by the asker
RIDDLE_ASKED_SHARE = 0.5  # of the riddles are told by the asker; the others in two turns by the model


@cache
def requests() -> Mapping[str, Sequence[str]]:
    """The wordings of all requests, by what is asked for."""
    path = course_root() / FOLDER / "requests.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def kind_of(entry: Mapping) -> str:
    """Which of ``KINDS`` an entry of the story files is."""
    return next(kind for kind in KINDS if kind in entry)


def _forms(topic: str) -> dict[str, str]:
    """A topic as requests name it: "a dog" and "dogs"."""
    one = re.match(r"an? (.*)", topic)
    return {"topic": topic, "things": plural(one[1]) if one else topic}


def tell(entry: Mapping, rng: random.Random) -> list[Exchange]:
    """One request and its answer, or the turns of a riddle."""
    kind, values = kind_of(entry), draw_slots(entry.get("slots", {}), rng)
    if kind == "describe":
        return [_description(fill(entry["describe"], values, rng), entry["sentences"], values, rng)]
    if kind == "riddle":
        return _riddle(entry, values, rng)
    text = fill(rng.choice(texts_of(entry["text"])), values, rng)
    topic = fill(rng.choice(texts_of(entry["about"])), values, rng)
    sentences = re.findall(r"[^.!?]+[.!?][\"”’']*\s*", text)
    if kind == "plot" and len(sentences) > 3 and rng.random() < CONTINUED_SHARE:
        return [(rng.choice(requests()["continue"]).format(text=sentences[0].strip()), "".join(sentences[1:]).strip())]
    named = rng.random() < WITH_TOPIC[kind]
    request = rng.choice(requests()[f"{kind} about" if named else kind])
    return [(as_typed(request.format(**_forms(topic)), rng), text)]


def _description(topic: str, sentences: Sequence[str], values: Mapping, rng: random.Random) -> Exchange:
    number = rng.choice((1, 2, 2, 2, 3))
    chosen = sorted(rng.sample(range(len(sentences)), min(number, len(sentences))))
    request = rng.choice(requests()[f"describe {len(chosen)}"]).format(**_forms(topic))
    return as_typed(request, rng), " ".join(fill(sentences[i], values, rng) for i in chosen)


def _riddle(entry: Mapping, values: Mapping, rng: random.Random) -> list[Exchange]:
    riddle, answer = fill(entry["riddle"], values, rng), fill(entry["answer"], values, rng)
    if rng.random() < RIDDLE_ASKED_SHARE:
        return [(riddle, answer)]
    given_up = rng.choice(requests()["give up"])
    named = answer.startswith(("A ", "An ", "The "))
    solution = rng.choice(("The answer is {}", "It is {}", "{}")) if named else "{}"
    solution = solution.format(answer if solution == "{}" else answer[:1].lower() + answer[1:])
    return [(as_typed(rng.choice(requests()["riddle"]), rng), riddle), (given_up, solution)]
