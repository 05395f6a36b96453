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


COLOURS = "red green blue white black yellow brown gray orange purple pink silver".split()
SIZES = "small large tiny big heavy round old new".split()
PLACES = (
    "in the kitchen, in the garden, in the attic, in the garage, in the hallway, in the bathroom, in the bedroom, "
    "in the closet, in the basement, in the office, in the car, in the shed, in the cellar, in the laundry room, "
    "in the dining room, under the bed, under the stairs, under the table, under the bench, under the tree, "
    "behind the door, behind the sofa, behind the curtain, behind the house, on the table, on the shelf, on the porch, "
    "on the balcony, on the counter, on the desk, near the door, near the stove, near the gate, by the window, "
    "by the fireplace"
).split(", ")
VERBS = tuple(pair.split() for pair in (
    "bought buy, sold sell, found find, lost lose, hid hide, drew draw, wanted want, brought bring, kept keep, "
    "saw see, took take, dropped drop, chose choose, ordered order, carried carry, packed pack, noticed notice, "
    "needed need, painted paint, stole steal, received receive").split(", "))  # fmt: skip
JOBS = (
    "baker teacher farmer sailor doctor tailor painter nurse singer judge plumber lawyer cook pilot gardener dentist "
    "carpenter waiter librarian butcher mechanic driver writer dancer"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

FACTS = (
    Fact("{person} put the {thing} {place}.", "place", {
        "where": r"""
{person} put the {thing} {place}. << Where did {person} put the {thing}? / where did {person} put the {thing}
  / Where exactly did {person} put the {thing}? / Tell me where {person} put the {thing}.
  / Do you know where {person} put the {thing}? / ~ Any idea where {person} put the {thing}?
The {thing} is {place}. << Where is the {thing}? / where is the {thing} / Where is the {thing} now?
  / Where can I find the {thing}? / Tell me where the {thing} is. / ~ Any idea where the {thing} is?
You will find the {thing} {place}. << Where will I find the {thing}? / Where do I look for the {thing}?
  / where do I look for the {thing} / ~ Where should I look for the {thing}?
""",
        "who": r"""
{person} put the {thing} {place}. << Who put the {thing} {place}? / who put the {thing} {place}
  / Tell me who put the {thing} {place}. / ~ Can you tell me who put the {thing} {place}?
It was {person}. << Who was it that put the {thing} {place}? / ~ Who was the one who put the {thing} {place}?
""",
        "what": r"""
{person} put the {thing} {place}. << What did {person} put {place}? / what did {person} put {place}
  / Tell me what {person} put {place}. / ~ Can you tell me what {person} put {place}?
The {thing} is {place}. << What is {place}? / what is {place} / What can I find {place}? / ~ What's {place}?
""",
        "yes_no": r"""
{person} put the {thing} {place}. << Did {person} put the {thing} {place}? / did {person} put the {thing} {place}
  / [Is|is] it true that {person} put the {thing} {place}? / ~ Is it correct that {person} put the {thing} {place}?
""",
    }),
    Fact("{person} {did} a {colour} {thing}.", "colour", {
        "who": r"""
{person} {did} a {colour} {thing}. << Who {did} a {colour} {thing}? / who {did} a {colour} {thing}
  / Tell me who {did} a {colour} {thing}. / ~ Can you tell me who {did} a {colour} {thing}?
{person} {did} the {thing}. << Who {did} the {thing}? / who {did} the {thing} / Tell me who {did} the {thing}.
  / ~ Do you happen to know who {did} the {thing}?
""",
        "what": r"""
{person} {did} a {colour} {thing}. << What did {person} {do}? / what did {person} {do} / Tell me what {person} {did}.
  / Do you know what {person} {did}? / ~ Can you tell me what {person} {did}?
""",
        "colour": r"""
The {thing} is {colour}. << What color is the {thing}? / what color is the {thing} / What is the color of the {thing}?
  / Tell me what color the {thing} is. / ~ Which color is the {thing}?
{person} {did} a {colour} {thing}. << What color {thing} did {person} {do}? / what color {thing} did {person} {do}
  / Tell me what color {thing} {person} {did}. / ~ Which color {thing} did {person} {do}?
The {thing} that {person} {did} is {colour}. << What color is the {thing} that {person} {did}?
  / what color is the {thing} that {person} {did} / What is the color of the {thing} that {person} {did}?
  / ~ Which color is the {thing} that {person} {did}?
""",
        "yes_no": r"""
{person} {did} a {colour} {thing}. << Did {person} {do} a {colour} {thing}? / did {person} {do} a {colour} {thing}
  / [Is|is] it true that {person} {did} a {colour} {thing}? / ~ Is it correct that {person} {did} a {colour} {thing}?
""",
    }),
    Fact("{person} has {number} {things}.", "number", {
        "number": r"""
{person} has {number} {things}. << How many {things} does {person} have? / how many {things} does {person} have
  / Tell me how many {things} {person} has. / Do you know how many {things} {person} has?
  / ~ Can you tell me how many {things} {person} has?
There are {number} {things}. << How many {things} are there? / how many {things} are there
  / ~ How many {things} are there altogether?
""",
        "who": r"""
{person} has {number} {things}. << Who has {number} {things}? / who has {number} {things}
  / Tell me who has {number} {things}. / ~ Can you tell me who has {number} {things}?
""",
        "what": r"""
{person} has {number} {things}. << What does {person} have? / what does {person} have / Tell me what {person} has.
  / ~ Can you tell me what {person} has?
""",
        "yes_no": r"""
{person} has {number} {things}. << Does {person} have {number} {things}? / does {person} have {number} {things}
  / [Is|is] it true that {person} has {number} {things}? / ~ Is it correct that {person} has {number} {things}?
""",
    }),
    Fact("{person} is {age} years old.", "age", {
        "number": r"""
{person} is {age} years old. << How old is {person}? / how old is {person} / Tell me how old {person} is.
  / ~ Can you tell me how old {person} is?
{person}'s age is {age}. << What is {person}'s age? / what is {person}'s age / ~ Can you tell me {person}'s age?
""",
        "who": r"""
{person} is {age} years old. << Who is {age} years old? / who is {age} years old / ~ Which person is {age} years old?
""",
        "yes_no": r"""
{person} is {age} years old. << Is {person} {age} years old? / is {person} {age} years old
  / [Is|is] it true that {person} is {age} years old? / ~ Is it correct that {person} is {age} years old?
""",
    }),
    Fact("{person} is a {job} from {town}.", "job", {
        "where": r"""
{person} comes from {town}. << Where does {person} come from? / where does {person} come from
  / Tell me where {person} comes from. / ~ Any idea where {person} comes from?
{person} is from {town}. << Where is {person} from? / where is {person} from / ~ Do you know where {person} is from?
""",
        "who": r"""
{person} comes from {town}. << Who comes from {town}? / who comes from {town} / ~ Which person comes from {town}?
""",
        "job": r"""
{person} is a {job}. << What is {person}'s job? / what is {person}'s job / What does {person} do for a living?
  / Tell me what {person} does for a living. / What kind of work does {person} do?
  / ~ What does {person} do for work?
{person} is a {job} from {town}. << Who is {person}? / who is {person} / Tell me who {person} is.
  / What do you know about {person}? / ~ What can you tell me about {person}?
{person} works as a {job}. << What does {person} work as? / what does {person} work as
  / Tell me what {person} works as. / ~ Do you know what {person} works as?
""",
        "yes_no": r"""
{person} is a {job} from {town}. << Is {person} a {job} from {town}? / is {person} a {job} from {town}
  / [Is|is] it true that {person} is a {job} from {town}? / ~ Is it correct that {person} is a {job} from {town}?
""",
    }),
    Fact("{person} gave the {thing} to {other_person}.", "other_person", {
        "giving": r"""
{person} gave the {thing} to {other_person}. << Who gave the {thing} to {other_person}?
  / who gave the {thing} to {other_person} / Who did {person} give the {thing} to?
  / What did {person} give to {other_person}? / Tell me who {person} gave the {thing} to.
  / ~ Can you tell me what {person} gave to {other_person}? / ~ Do you know who {person} gave the {thing} to?
{other_person} has the {thing} now. << Who has the {thing} now? / who has the {thing} now
  / Tell me who has the {thing} now. / ~ Do you know who has the {thing} now?
{other_person} got the {thing} from {person}. << Who did {other_person} get the {thing} from?
  / What did {other_person} get from {person}? / Who got the {thing} from {person}?
  / ~ Can you tell me what {other_person} got from {person}?
""",
        "yes_no": r"""
{person} gave the {thing} to {other_person}. << Did {person} give the {thing} to {other_person}?
  / did {person} give the {thing} to {other_person}
  / [Is|is] it true that {person} gave the {thing} to {other_person}?
  / ~ Is it correct that {person} gave the {thing} to {other_person}?
""",
    }),
    Fact("On {day}, {person} went to {town}.", "town", {
        "where": r"""
{person} went to {town} on {day}. << Where did {person} go on {day}? / where did {person} go on {day}
  / Tell me where {person} went on {day}. / ~ Any idea where {person} went on {day}?
""",
        "who": r"""
{person} went to {town}. << Who went to {town}? / who went to {town} / ~ Which person went to {town}?
""",
        "when": r"""
{person} went to {town} on {day}. << When did {person} go to {town}? / when did {person} go to {town}
  / What day did {person} go to {town}? / Tell me when {person} went to {town}.
  / ~ Can you tell me when {person} went to {town}?
It was a {day}. << What day was it when {person} went to {town}? / what day was it when {person} went to {town}
  / What day of the week was it when {person} went to {town}? / ~ Which day was it when {person} went to {town}?
{person} was in {town} on {day}. << When was {person} in {town}? / when was {person} in {town}
  / ~ What day was {person} in {town}?
""",
        "yes_no": r"""
{person} went to {town} on {day}. << Did {person} go to {town} on {day}? / did {person} go to {town} on {day}
  / [Is|is] it true that {person} went to {town} on {day}? / ~ Is it correct that {person} went to {town} on {day}?
""",
    }),
)  # fmt: skip

# Asked about a person and a thing that the passage doesn't have.
NOT_SAID_QUESTIONS = """
The text does not say where. << Where did {person} put the {thing}? / Where is the {thing}?
  / Where does {person} come from? / Where did {person} go on {day}? / ~ Any idea where the {thing} is?
The text does not say who. << Who {did} the {thing}? / Who put the {thing} {place}? / Who has {number} {things}?
  / Who went to {town}? / ~ Which person went to {town}?
The text does not say what. << What did {person} {do}? / What does {person} have?
  / What does {person} do for a living? / What did {person} give to {other_person}?
  / ~ Can you tell me what {person} {did}?
The text does not say how many {things}. << How many {things} does {person} have? / how many {things} does {person} have
  / ~ Can you tell me how many {things} {person} has?
The text does not say how old {person} is. << How old is {person}? / how old is {person}
  / ~ Can you tell me how old {person} is?
The text does not say when. << When did {person} go to {town}? / What day did {person} go to {town}?
  / ~ Can you tell me when {person} went to {town}?
"""
