"""The sentences that the passages are made of, and how one may ask about each.

Fields are the names in braces: ``{did}`` and ``{do}`` are a verb in the past and as it is, ``{coined}`` is a made-up
word, ``{things}`` the plural of a thing.
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
    Fact("{person} put the {thing} {place}.", "place", {
        "where": r"""
{person} put the {thing} {place}. << Where did {person} put the {thing}?
  / Where [was it that|exactly] {person} put the {thing}? / Say where {person} put the {thing}.
  / Where has {person} put the {thing}? / ~ In what place did {person} put the {thing}?
The {thing} is {place}. << Where is the {thing}? / Where [can I find|must I look for] the {thing}?
  / Where is the {thing} now? / ~ In what place is the {thing}?
You will find the {thing} {place}. << Where will I find the {thing}? / Where do I find the {thing}?
  / ~ Where shall I find the {thing}?
""",
        "who": r"""
{person} put the {thing} {place}. << Who put the {thing} {place}? / Who was it that put the {thing} {place}?
  / Say who put the {thing} {place}. / ~ Which person put the {thing} {place}?
It was {person}. << Who was it, with the {thing}? / ~ Who was that, with the {thing}?
""",
        "what": r"""
{person} put the {thing} {place}. << What did {person} put {place}? / What was it that {person} put {place}?
  / Say what {person} put {place}. / ~ Which thing did {person} put {place}?
The {thing} is {place}. << What is {place}? / What can I find {place}? / What thing is {place}?
  / ~ What is there {place}?
""",
        "yes_no": r"""
{person} put the {thing} {place}. << Did {person} put the {thing} {place}?
  / Is it [true|right] that {person} put the {thing} {place}? / ~ Is it so that {person} put the {thing} {place}?
""",
    }),
    Fact("{person} {did} a {colour} {thing}.", "colour", {
        "who": r"""
{person} {did} a {colour} {thing}. << Who {did} a {colour} {thing}? / Who was it that {did} a {colour} {thing}?
  / Say who {did} a {colour} {thing}. / ~ Which person {did} a {colour} {thing}?
{person} {did} the {thing}. << Who {did} the {thing}? / Who was it that {did} the {thing}?
  / ~ Which person {did} the {thing}?
""",
        "what": r"""
{person} {did} a {colour} {thing}. << What did {person} {do}? / What was it that {person} {did}?
  / Say what {person} {did}. / What thing did {person} {do}? / ~ Which thing did {person} {do}?
""",
        "colour": r"""
The {thing} is {colour}. << What colour is the {thing}? / What is the colour of the {thing}?
  / Say what colour the {thing} is. / What colour does the {thing} have? / ~ Which colour is the {thing}?
{person} {did} a {colour} {thing}. << What colour of {thing} was it that {person} {did}?
  / A {thing} of what colour did {person} {do}? / ~ Of which colour was the {thing} that {person} {did}?
The {thing} that {person} {did} is {colour}. << What colour is the {thing} that {person} {did}?
  / Say what colour the {thing} is that {person} {did}. / ~ Which colour is the {thing} that {person} {did}?
""",
        "yes_no": r"""
{person} {did} a {colour} {thing}. << Did {person} {do} a {colour} {thing}?
  / Is it [true|right] that {person} {did} a {colour} {thing}? / ~ Is it so that {person} {did} a {colour} {thing}?
""",
    }),
    Fact("{person} has {number} {things}.", "number", {
        "number": r"""
{person} has {number} {things}. << How many {things} does {person} have? / How many {things} has {person}?
  / Say how many {things} {person} has. / How many {things} are there with {person}?
  / ~ What number of {things} does {person} have?
The number is {number}. << What is the number of {things}? / Give me the number of {things}.
  / ~ What is the exact number of {things}?
""",
        "who": r"""
{person} has {number} {things}. << Who has {number} {things}? / Who is it that has {number} {things}?
  / Say who has {number} {things}. / ~ Which person has {number} {things}?
""",
        "what": r"""
{person} has {number} {things}. << What does {person} have? / What is it that {person} has? / Say what {person} has.
  / ~ Which things does {person} have?
""",
        "yes_no": r"""
{person} has {number} {things}. << Does {person} have {number} {things}?
  / Is it [true|right] that {person} has {number} {things}? / ~ Is it so that {person} has {number} {things}?
""",
    }),
    Fact("{person} is {age} years old.", "age", {
        "number": r"""
{person} is {age} years old. << How old is {person}? / Say how old {person} is. / How many years old is {person}?
  / ~ What is the age of {person}?
The age of {person} is {age}. << What age is {person}? / What age has {person}? / ~ Which age is {person}?
""",
        "who": r"""
{person} is {age} years old. << Who is {age} years old? / Who is it that is {age} years old?
  / ~ Which person is {age} years old?
""",
        "yes_no": r"""
{person} is {age} years old. << Is {person} {age} years old? / Is it [true|right] that {person} is {age} years old?
  / ~ Is it so that {person} is {age} years old?
""",
    }),
    Fact("{person} is a {job} from {town}.", "job", {
        "where": r"""
{person} comes from {town}. << Where does {person} come from? / Say where {person} comes from.
  / From where does {person} come? / ~ From what place does {person} come?
""",
        "who": r"""
{person} comes from {town}. << Who comes from {town}? / Who is it that comes from {town}?
  / ~ Which person comes from {town}?
""",
        "job": r"""
{person} is a {job}. << What is the job of {person}? / What job does {person} have? / Say what job {person} has.
  / What is {person}? / What work does {person} do? / ~ Which job does {person} have?
{person} is a {job} from {town}. << What is {person}, and from where?
  / What job does {person} have, and from where is {person}? / Say what {person} is, and from where.
  / ~ Which job does {person} have, and from where is {person}?
{person} works as a {job}. << As what does {person} work? / Say as what {person} works.
  / As what does {person} work, do you know? / ~ As what is {person} working?
""",
        "yes_no": r"""
{person} is a {job} from {town}. << Is {person} a {job} from {town}?
  / Is it [true|right] that {person} is a {job} from {town}? / ~ Is it so that {person} is a {job} from {town}?
""",
    }),
    Fact("{person} gave the {thing} to {other_person}.", "other_person", {
        "giving": r"""
{person} gave the {thing} to {other_person}. << Who gave the {thing} to {other_person}?
  / To whom did {person} give the {thing}? / What did {person} give to {other_person}?
  / Say to whom {person} gave the {thing}. / Who was it that gave the {thing} to {other_person}?
  / ~ Which thing did {person} give to {other_person}? / ~ Which person gave the {thing} to {other_person}?
{other_person} has the {thing} now. << Who has the {thing} now? / Who is it that has the {thing} now?
  / With whom is the {thing} now? / ~ Which person has the {thing} now?
{other_person} got the {thing} from {person}. << From whom did {other_person} get the {thing}?
  / What did {other_person} get from {person}? / Who got the {thing} from {person}?
  / ~ Which thing did {other_person} get from {person}?
""",
        "yes_no": r"""
{person} gave the {thing} to {other_person}. << Did {person} give the {thing} to {other_person}?
  / Is it [true|right] that {person} gave the {thing} to {other_person}?
  / ~ Is it so that {person} gave the {thing} to {other_person}?
""",
    }),
    Fact("On {day}, {person} went to {town}.", "town", {
        "where": r"""
{person} went to {town} on {day}. << Where did {person} go on {day}? / Where was it that {person} went on {day}?
  / Say where {person} went on {day}. / ~ To what place did {person} go on {day}?
""",
        "who": r"""
{person} went to {town}. << Who went to {town}? / Who was it that went to {town}? / ~ Which person went to {town}?
""",
        "when": r"""
{person} went to {town} on {day}. << On what day did {person} go to {town}? / When did {person} go to {town}?
  / What day was it when {person} went to {town}? / Say when {person} went to {town}.
  / ~ On which day did {person} go to {town}?
It was on {day}. << When was it that {person} went to {town}? / When was {person} in {town}?
  / On what day was {person} in {town}? / ~ On which day was {person} in {town}?
{person} was in {town} on {day}. << Say when {person} was in {town}. / Say on what day {person} was in {town}.
  / ~ Say on which day {person} was in {town}.
""",
        "yes_no": r"""
{person} went to {town} on {day}. << Did {person} go to {town} on {day}?
  / Is it [true|right] that {person} went to {town} on {day}? / ~ Is it so that {person} went to {town} on {day}?
""",
    }),
)  # fmt: skip

# Asked about a person and a thing that the passage doesn't have.
NOT_SAID_QUESTIONS = """
The text does not say where. << Where did {person} put the {thing}? / Where is the {thing}?
  / Where does {person} come from? / Where did {person} go on {day}? / ~ In what place is the {thing}?
The text does not say who. << Who {did} the {thing}? / Who put the {thing} {place}? / Who has {number} {things}?
  / Who went to {town}? / ~ Which person went to {town}?
The text does not say what. << What did {person} {do}? / What does {person} have? / What is the job of {person}?
  / What did {person} give to {other_person}? / ~ Which thing did {person} {do}?
The text does not say how many. << How many {things} does {person} have? / How many {things} has {person}?
  / ~ What number of {things} does {person} have?
The text does not say how old. << How old is {person}? / Say how old {person} is. / ~ What is the age of {person}?
The text does not say when. << When did {person} go to {town}? / On what day did {person} go to {town}?
  / ~ On which day did {person} go to {town}?
"""
