"""The sentences that the passages are made of, and how one may ask about each.

Fields: P, Q people; x, s a thing and things; l a place; t a town; c a colour; n, y numbers; d a day; j a job;
v, b a verb in the past and as it is; k a made-up word.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A sentence, a table of questions for each kind, and the field that a wrong yes/no question changes."""

    statement: str
    swap: str
    tables: dict[str, str]


COLOURS = "red green blue white black yellow brown grey orange purple pink golden silver".split()
PLACES = (
    "in the kitchen, in the garden, in the cellar, in the attic, in the barn, in the hall, in the library, "
    "in the tower, in the stable, in the church, in the shop, in the school, in the office, in the boat, "
    "in the forest, under the bed, under the stairs, under the bridge, behind the door, behind the house, "
    "behind the curtain, on the roof, on the table, on the shelf, on the wall, near the river, near the gate, "
    "near the mill, by the window, by the well"
).split(", ")
VERBS = tuple(pair.split() for pair in (
    "bought buy, sold sell, found find, lost lose, painted paint, hid hide, cleaned clean, repaired repair, "
    "borrowed borrow, carried carry, drew draw, stole steal, wanted want, made make, brought bring, kept keep, "
    "saw see, took take, broke break, dropped drop").split(", "))  # fmt: skip
JOBS = "baker teacher farmer sailor doctor tailor painter soldier miller singer judge priest clerk hunter cook".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

FACTS = (
    Fact("{P} put the {x} {l}.", "l", {
        "where": r"""
{P} put the {x} {l}. << Where did {P} put the {x}? / Where [was it that|exactly] {P} put the {x}?
  / Say where {P} put the {x}. / Where has {P} put the {x}? / ~ In what place did {P} put the {x}?
The {x} is {l}. << Where is the {x}? / Where [can I find|must I look for] the {x}? / Where is the {x} now?
  / ~ In what place is the {x}?
You will find the {x} {l}. << Where will I find the {x}? / Where do I find the {x}? / ~ Where shall I find the {x}?
""",
        "who": r"""
{P} put the {x} {l}. << Who put the {x} {l}? / Who was it that put the {x} {l}? / Say who put the {x} {l}.
  / ~ Which person put the {x} {l}?
It was {P}. << Who was it, with the {x}? / ~ Who was that, with the {x}?
""",
        "what": r"""
{P} put the {x} {l}. << What did {P} put {l}? / What was it that {P} put {l}? / Say what {P} put {l}.
  / ~ Which thing did {P} put {l}?
The {x} is {l}. << What is {l}? / What can I find {l}? / What thing is {l}? / ~ What is there {l}?
""",
        "yes_no": r"""
{P} put the {x} {l}. << Did {P} put the {x} {l}? / Is it [true|right] that {P} put the {x} {l}?
  / ~ Is it so that {P} put the {x} {l}?
""",
    }),
    Fact("{P} {v} a {c} {x}.", "c", {
        "who": r"""
{P} {v} a {c} {x}. << Who {v} a {c} {x}? / Who was it that {v} a {c} {x}? / Say who {v} a {c} {x}.
  / ~ Which person {v} a {c} {x}?
{P} {v} the {x}. << Who {v} the {x}? / Who was it that {v} the {x}? / ~ Which person {v} the {x}?
""",
        "what": r"""
{P} {v} a {c} {x}. << What did {P} {b}? / What was it that {P} {v}? / Say what {P} {v}. / What thing did {P} {b}?
  / ~ Which thing did {P} {b}?
""",
        "colour": r"""
The {x} is {c}. << What colour is the {x}? / What is the colour of the {x}? / Say what colour the {x} is.
  / What colour does the {x} have? / ~ Which colour is the {x}?
{P} {v} a {c} {x}. << What colour of {x} was it that {P} {v}? / A {x} of what colour did {P} {b}?
  / ~ Of which colour was the {x} that {P} {v}?
The {x} that {P} {v} is {c}. << What colour is the {x} that {P} {v}? / Say what colour the {x} is that {P} {v}.
  / ~ Which colour is the {x} that {P} {v}?
""",
        "yes_no": r"""
{P} {v} a {c} {x}. << Did {P} {b} a {c} {x}? / Is it [true|right] that {P} {v} a {c} {x}?
  / ~ Is it so that {P} {v} a {c} {x}?
""",
    }),
    Fact("{P} has {n} {s}.", "n", {
        "number": r"""
{P} has {n} {s}. << How many {s} does {P} have? / How many {s} has {P}? / Say how many {s} {P} has.
  / How many {s} are there with {P}? / ~ What number of {s} does {P} have?
The number is {n}. << What is the number of {s}? / Give me the number of {s}. / ~ What is the exact number of {s}?
""",
        "who": r"""
{P} has {n} {s}. << Who has {n} {s}? / Who is it that has {n} {s}? / Say who has {n} {s}.
  / ~ Which person has {n} {s}?
""",
        "what": r"""
{P} has {n} {s}. << What does {P} have? / What is it that {P} has? / Say what {P} has. / ~ Which things does {P} have?
""",
        "yes_no": r"""
{P} has {n} {s}. << Does {P} have {n} {s}? / Is it [true|right] that {P} has {n} {s}?
  / ~ Is it so that {P} has {n} {s}?
""",
    }),
    Fact("{P} is {y} years old.", "y", {
        "number": r"""
{P} is {y} years old. << How old is {P}? / Say how old {P} is. / How many years old is {P}?
  / ~ What is the age of {P}?
The age of {P} is {y}. << What age is {P}? / What age has {P}? / ~ Which age is {P}?
""",
        "who": r"""
{P} is {y} years old. << Who is {y} years old? / Who is it that is {y} years old? / ~ Which person is {y} years old?
""",
        "yes_no": r"""
{P} is {y} years old. << Is {P} {y} years old? / Is it [true|right] that {P} is {y} years old?
  / ~ Is it so that {P} is {y} years old?
""",
    }),
    Fact("{P} is a {j} from {t}.", "j", {
        "where": r"""
{P} comes from {t}. << Where does {P} come from? / Say where {P} comes from. / From where does {P} come?
  / ~ From what place does {P} come?
""",
        "who": r"""
{P} comes from {t}. << Who comes from {t}? / Who is it that comes from {t}? / ~ Which person comes from {t}?
""",
        "job": r"""
{P} is a {j}. << What is the job of {P}? / What job does {P} have? / Say what job {P} has. / What is {P}?
  / What work does {P} do? / ~ Which job does {P} have?
{P} is a {j} from {t}. << What is {P}, and from where? / What job does {P} have, and from where is {P}?
  / Say what {P} is, and from where. / ~ Which job does {P} have, and from where is {P}?
{P} works as a {j}. << As what does {P} work? / Say as what {P} works. / As what does {P} work, do you know?
  / ~ As what is {P} working?
""",
        "yes_no": r"""
{P} is a {j} from {t}. << Is {P} a {j} from {t}? / Is it [true|right] that {P} is a {j} from {t}?
  / ~ Is it so that {P} is a {j} from {t}?
""",
    }),
    Fact("{P} gave the {x} to {Q}.", "Q", {
        "giving": r"""
{P} gave the {x} to {Q}. << Who gave the {x} to {Q}? / To whom did {P} give the {x}? / What did {P} give to {Q}?
  / Say to whom {P} gave the {x}. / Who was it that gave the {x} to {Q}? / ~ Which thing did {P} give to {Q}?
  / ~ Which person gave the {x} to {Q}?
{Q} has the {x} now. << Who has the {x} now? / Who is it that has the {x} now? / With whom is the {x} now?
  / ~ Which person has the {x} now?
{Q} got the {x} from {P}. << From whom did {Q} get the {x}? / What did {Q} get from {P}? / Who got the {x} from {P}?
  / ~ Which thing did {Q} get from {P}?
""",
        "yes_no": r"""
{P} gave the {x} to {Q}. << Did {P} give the {x} to {Q}? / Is it [true|right] that {P} gave the {x} to {Q}?
  / ~ Is it so that {P} gave the {x} to {Q}?
""",
    }),
    Fact("On {d}, {P} went to {t}.", "t", {
        "where": r"""
{P} went to {t} on {d}. << Where did {P} go on {d}? / Where was it that {P} went on {d}?
  / Say where {P} went on {d}. / ~ To what place did {P} go on {d}?
""",
        "who": r"""
{P} went to {t}. << Who went to {t}? / Who was it that went to {t}? / ~ Which person went to {t}?
""",
        "when": r"""
{P} went to {t} on {d}. << On what day did {P} go to {t}? / When did {P} go to {t}?
  / What day was it when {P} went to {t}? / Say when {P} went to {t}. / ~ On which day did {P} go to {t}?
It was on {d}. << When was it that {P} went to {t}? / When was {P} in {t}? / On what day was {P} in {t}?
  / ~ On which day was {P} in {t}?
{P} was in {t} on {d}. << Say when {P} was in {t}. / Say on what day {P} was in {t}.
  / ~ Say on which day {P} was in {t}.
""",
        "yes_no": r"""
{P} went to {t} on {d}. << Did {P} go to {t} on {d}? / Is it [true|right] that {P} went to {t} on {d}?
  / ~ Is it so that {P} went to {t} on {d}?
""",
    }),
)  # fmt: skip

# Asked about a person and a thing that the passage doesn't have.
NOT_SAID = """
The text does not say where. << Where did {P} put the {x}? / Where is the {x}? / Where does {P} come from?
  / Where did {P} go on {d}? / ~ In what place is the {x}?
The text does not say who. << Who {v} the {x}? / Who put the {x} {l}? / Who has {n} {s}? / Who went to {t}?
  / ~ Which person went to {t}?
The text does not say what. << What did {P} {b}? / What does {P} have? / What is the job of {P}?
  / What did {P} give to {Q}? / ~ Which thing did {P} {b}?
The text does not say how many. << How many {s} does {P} have? / How many {s} has {P}?
  / ~ What number of {s} does {P} have?
The text does not say how old. << How old is {P}? / Say how old {P} is. / ~ What is the age of {P}?
The text does not say when. << When did {P} go to {t}? / On what day did {P} go to {t}?
  / ~ On which day did {P} go to {t}?
"""
