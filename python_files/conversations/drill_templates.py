"""Questions of the kinds that need no passage of facts: lists, letters, sums, talk, and pages of books.

Tables as in ``phrasings.py``, fields as in ``drill_facts.py``; a kind's own fields are set where it is made.
"""

# kind: (text to read or "", table) pairs. Fields are drawn anew for each conversation.
SIMPLE: dict[str, tuple[tuple[str, str], ...]] = {
    "definition": (
        (
            "A {coined} is a {colour} {thing} that lies {place}.",
            r"""
A {coined} is a {colour} {thing}. << What is a {coined}? / What do you call a {coined}? / Say what a {coined} is.
  / ~ What thing is a {coined}?
A {coined} lies {place}. << Where does a {coined} lie? / Say where a {coined} lies.
  / Where must one look for a {coined}? / ~ In what place does a {coined} lie?
""",
        ),
        (
            "A person who keeps a {thing} is called a {coined}.",
            r"""
A {coined} is a person who keeps a {thing}. << What is a {coined}? / What does a {coined} do?
  / Who is called a {coined}? / Say what a {coined} is. / ~ What sort of person is a {coined}?
""",
        ),
        (
            "In {town}, a {thing} is called a {coined}.",
            r"""
In {town}, a {coined} is a {thing}. << What is a {coined} in {town}? / What does {coined} mean in {town}?
  / Say what a {coined} is in {town}. / ~ What sort of thing is a {coined} in {town}?
""",
        ),
        (
            "To {coined} means to carry a {thing} to {town}.",
            r"""
To {coined} means to carry a {thing} to {town}. << What does it mean to {coined}? / What is it to {coined}?
  / Say what {coined} means. / What does {coined} mean? / ~ What is meant by {coined}?
""",
        ),
    ),
    "rewriting": (
        (
            "",
            r"""
{other_person} {did} the {thing}. << Write {other_person} [instead of|for] {person}: {person} {did} the {thing}.
  / Put {other_person} [in the place of|for] {person}: {person} {did} the {thing}.
  / ~ Use {other_person} instead of {person}: {person} {did} the {thing}.
Does {person} have the {thing}? << Make this a question: {person} has the {thing}.
  / Turn this into a question: {person} has the {thing}. / Write this as a question: {person} has the {thing}.
  / ~ Ask this: {person} has the {thing}.
{person} is not {place}. << Say that it is not so: {person} is {place}. / Say the opposite: {person} is {place}.
  / Write that it is not so: {person} is {place}. / ~ Deny this: {person} is {place}.
{other_person} is younger than {person}. << Turn around: {person} is older than {other_person}.
  / Say it the other way round: {person} is older than {other_person}.
  / ~ Begin with the other one: {person} is older than {other_person}.
{person} and {other_person} came. << Say it in one sentence: {person} came. {other_person} came.
  / Make one sentence of two: {person} came. {other_person} came. / Join these: {person} came. {other_person} came.
  / ~ Put these together: {person} came. {other_person} came.
""",
        ),
    ),
    "story": (
        (
            "",
            r"""
The next day {other_person} found the {thing} {place} and gave it back to {person}.
  << Go on with the story: {person} lost a {thing} {place}. {other_person} went to look for it.
  / Tell the story on: {person} lost a {thing} {place}. {other_person} went to look for it.
  / What happened then: {person} lost a {thing} {place}. {other_person} went to look for it.
  / ~ End the story: {person} lost a {thing} {place}. {other_person} went to look for it.
So {person} asked {other_person}, and they shared the {thing}.
  << Go on with the story: {person} wanted a {thing}, but {other_person} had the only one.
  / Tell the story on: {person} wanted a {thing}, but {other_person} had the only one.
  / What happened then: {person} wanted a {thing}, but {other_person} had the only one.
  / ~ End the story: {person} wanted a {thing}, but {other_person} had the only one.
{person} took a lamp and looked {place}, and {other_person} was no longer afraid.
  << Go on with the story: One night {person} heard a noise {place}. {other_person} was afraid.
  / Tell the story on: One night {person} heard a noise {place}. {other_person} was afraid.
  / What happened then: One night {person} heard a noise {place}. {other_person} was afraid.
  / ~ End the story: One night {person} heard a noise {place}. {other_person} was afraid.
In {town} nobody wanted the {thing}, so {person} and {other_person} went home with it.
  << Go on with the story: {person} and {other_person} walked to {town} to sell a {thing}.
  / Tell the story on: {person} and {other_person} walked to {town} to sell a {thing}.
  / What happened then: {person} and {other_person} walked to {town} to sell a {thing}.
  / ~ End the story: {person} and {other_person} walked to {town} to sell a {thing}.
""",
        ),
    ),
    "greeting": (
        (
            "",
            r"""
Hello, {person}! How can I help you? << Hello, [I am|my name is|this is] {person}. / Good day, I am {person}.
  / ~ Hello there, {person} is my name.
Hi, {person}! What can I do for you? << Hi, [I am|my name is|this is] {person}. / ~ Hi there, {person} is my name.
Good morning, {person}! << Good morning, [I am|my name is|this is] {person}. / ~ Good morning, {person} is my name.
Good evening, {person}! << Good evening, [I am|my name is|this is] {person}. / ~ Good evening, {person} is my name.
You are welcome, {person}! << [Thank you|Many thanks|My thanks], says {person}. / ~ I thank you, says {person}.
Goodbye, {person}! Come back soon. << Goodbye from {person}. / {person} says goodbye. / {person} must go now.
  / ~ {person} is leaving you now.
""",
        ),
    ),
    "identity": (
        (
            "",
            r"""
I am a small language model, {person}. << I am {person}. [Who|What] are you? / {person} asks [who|what] you are.
  / ~ {person} would like to know who you are.
I have no name, {person}. << {person} asks: what is your name? / I am {person}. What is your name?
  / My name is {person}. And yours? / ~ {person} would like to know your name.
A reader of the course made me, {person}. << {person} [asks|wants to know] who made you.
  / I am {person}. Who made you? / ~ {person} would like to know your maker.
I find answers in a text, {person}. << I am {person}. What can you do?
  / {person} [asks|wants to know] what you can do. / ~ {person} would like to know how you can help.
No, {person}, I am a program. << My name is {person}. Are you a person? / {person} asks if you are a person.
  / I am {person}. Are you alive? / ~ {person} would like to know if you are a person.
""",
        ),
    ),
    "refusing": (
        (
            "",
            r"""
I do not know {person}, so I can not say.
  << [What does {person} look like|Who is the father of {person}|What did {person} do today|Is {person} rich]?
  / ~ Is {person} a happy person?
I have not been to {town}, so I can not say. << [How big is|How far is|Is it cold in|Is it nice in] {town}?
  / ~ Do people like {town}?
I have never seen the {thing}, so I can not say.
  << [How much is|How heavy is|How old is|Who owns] the {thing} in your house?
  / ~ Is the {thing} in your house a good one?
""",
        ),
    ),
}

# Two turns: what is said, what is replied, then the table.
MEMORY = (
    (
        "My name is {person}.",
        "Nice to meet you, {person}.",
        r"""
Your name is {person}. << What is my name? / Do you know my name? / Say my name. / What am I called? / Who am I?
  / ~ How am I called?
""",
    ),
    (
        "I live in {town}.",
        "I hope {town} is a good place.",
        r"""
You live in {town}. << Where do I live? / Do you know where I live? / Say where I live. / Where is my home?
  / ~ In what place do I live?
""",
    ),
    (
        "I own a {thing}.",
        "I hope the {thing} is a good one.",
        r"""
You own a {thing}. << What do I own? / Do you know what I own? / Say what I own. / What is mine?
  / ~ Which thing do I own?
""",
    ),
    (
        "My friend is called {person}.",
        "Give my best to {person}.",
        r"""
Your friend is {person}. << Who is my friend? / What is my friend called? / Do you know who my friend is?
  / Name my friend. / ~ How is my friend called?
""",
    ),
)
# {list} a list; {entry} an entry of it, {wanted} the one asked for, {which} its place.
LISTS: dict[str, str] = {
    "repeating": r"""
{list}. << Repeat these words: {list}. / Say these words again: {list}. / Copy this: {list}.
  / Write this once more: {list}. / ~ Give me these words again: {list}.
The words are {list}. << What are the words? {list}. / Which words are these? {list}. / Name the words: {list}.
  / ~ Say what the words are: {list}.
You said: {list}. << What did I say? {list}. / I say: {list}. What did I say? / Repeat what I said: {list}.
  / ~ Say what I said: {list}.
""",
    "counting": r"""
There are {number} words. << Count the words: {list}. / How many words are there: {list}?
  / ~ What is the number of words: {list}?
{list}: {number} words. << Repeat and count the words: {list}. / Name and count the words: {list}.
  / Copy the words and count: {list}. / ~ Say the words and count: {list}.
I count {number}. << How many do you count: {list}? / Count this: {list}. / How many are these: {list}?
  / ~ Say how many these are: {list}.
""",
    "first": r"""
The first word is {wanted}. << {list}.\nWhat is the first word? / {list}.\nSay the first word.
  / {list}.\nWhich word is the first? / ~ {list}.\nGive me the first word.
The list begins with {wanted}. << {list}.\nWith what does the list begin? / {list}.\nHow does the list begin?
  / {list}.\nWhat begins the list? / ~ {list}.\nSay how the list begins.
{wanted} comes first. << {list}.\nWhat comes first? / {list}.\nWhich comes first? / {list}.\nSay what comes first.
  / ~ {list}.\nWhich one comes first?
""",
    "last": r"""
The last word is {wanted}. << {list}.\nWhat is the last word? / {list}.\nSay the last word.
  / {list}.\nWhich word is the last? / ~ {list}.\nGive me the last word.
The list ends with {wanted}. << {list}.\nWith what does the list end? / {list}.\nHow does the list end?
  / {list}.\nWhat ends the list? / ~ {list}.\nSay how the list ends.
{wanted} comes last. << {list}.\nWhat comes last? / {list}.\nWhich comes last? / {list}.\nSay what comes last.
  / ~ {list}.\nWhich one comes last?
""",
    "after": r"""
After {entry} comes {wanted}. << {list}.\nWhat comes after {entry}? / {list}.\nWhich word comes after {entry}?
  / {list}.\nSay what comes after {entry}. / {list}.\nAfter {entry} comes what?
  / ~ {list}.\nWhich one comes after {entry}?
{entry} is followed by {wanted}. << {list}.\nBy what is {entry} followed? / {list}.\nSay by what {entry} is followed.
  / {list}.\nWhat is {entry} followed by? / ~ {list}.\nWhich word is {entry} followed by?
The word behind {entry} is {wanted}. << {list}.\nWhat is the word behind {entry}?
  / {list}.\nSay the word behind {entry}. / ~ {list}.\nGive me the word behind {entry}.
""",
    "pairing": r"""
{entry} has the {wanted}. << {pairs}.\nWhat has {entry}? / {pairs}.\nWhat does {entry} have?
  / {pairs}.\nSay what {entry} has. / {pairs}.\nWhich thing is with {entry}?
  / ~ {pairs}.\nName the thing that {entry} has.
The {wanted} belongs to {entry}. << {pairs}.\nTo whom belongs the {wanted}?
  / {pairs}.\nTo whom does the {wanted} belong? / {pairs}.\nSay to whom the {wanted} belongs.
  / ~ {pairs}.\nTo which person does the {wanted} belong?
With {entry} is the {wanted}. << {pairs}.\nWhat is with {entry}? / {pairs}.\nSay what is with {entry}.
  / ~ {pairs}.\nWhich thing is there with {entry}?
""",
    "swapping": r"""
{wanted} and {entry}. << Turn around: {entry} and {wanted}. / Say the other way round: {entry} and {wanted}.
  / Swap these: {entry} and {wanted}. / Change places: {entry} and {wanted}.
  / ~ Say in the other order: {entry} and {wanted}.
First {wanted}, then {entry}. << Turn around: first {entry}, then {wanted}.
  / Say the other way round: first {entry}, then {wanted}. / Swap these: first {entry}, then {wanted}.
  / ~ Say in the other order: first {entry}, then {wanted}.
{wanted}, not {entry}. << Turn around: {entry}, not {wanted}. / Swap these: {entry}, not {wanted}.
  / Change places: {entry}, not {wanted}. / ~ Say in the other order: {entry}, not {wanted}.
""",
    "spelling": r"""
{wanted} is spelled {letters}. << {wanted}: {letters}.\nHow is {wanted} spelled?
  / {wanted}: {letters}.\nHow do you spell {wanted}? / {wanted}: {letters}.\nSpell {wanted}.
  / {wanted}: {letters}.\nSpell the word {wanted}. / ~ {wanted}: {letters}.\nHow does one spell {wanted}?
The letters of {wanted} are {letters}. << {wanted}: {letters}.\nWhat are the letters of {wanted}?
  / {wanted}: {letters}.\nSay the letters of {wanted}. / {wanted}: {letters}.\nWhich letters has {wanted}?
  / ~ {wanted}: {letters}.\nGive me the letters of {wanted}.
{letters} gives {wanted}. << {wanted}: {letters}.\nWhat does {letters} give?
  / {wanted}: {letters}.\nSay what {letters} gives. / {wanted}: {letters}.\nWhich word gives {letters}?
  / ~ {wanted}: {letters}.\nWhich word does {letters} give?
""",
    "ordering": r"""
{person} bought a {wanted} {which}. << {text}\nWhat did {person} buy {which}?
  / {text}\nWhat was it that {person} bought {which}? / {text}\nSay what {person} bought {which}.
  / ~ {text}\nWhich thing did {person} buy {which}?
The {which} thing was a {wanted}. << {text}\nWhat was the {which} thing? / {text}\nSay what the {which} thing was.
  / {text}\nName the {which} thing. / ~ {text}\nWhich was the {which} thing?
A {wanted} was bought {which}. << {text}\nWhat was bought {which}? / {text}\nSay what was bought {which}.
  / {text}\nWhat thing was bought {which}? / ~ {text}\nWhich thing was bought {which}?
""",
    "comparing": r"""
{person} is {which} than {other_person}. << {text}\nWho is {which}? / {text}\nWho of the two is {which}?
  / {text}\nSay who is {which}. / {text}\nWho is the {which} one? / ~ {text}\nWhich of the two is {which}?
{person} has {amount} and is {which}. << {text}\nWho is {which}, and with what number?
  / {text}\nSay who is {which}, and with what number. / ~ {text}\nWhich of the two is {which}, and with what number?
The {which} of the two is {person}. << {text}\nThe {which} of the two is who? / {text}\nName the {which} of the two.
  / {text}\nWho is the {which} of the two? / ~ {text}\nGive me the {which} of the two.
""",
    "arithmetic": r"""
{first} and {second} make {number}. {person} has {number} {things}. << {text}\nHow many {things} does {person} have now?
  / {text}\nHow many {things} has {person} now? / {text}\nSay how many {things} {person} has now.
  / ~ {text}\nWhat number of {things} does {person} have now?
{first} and {second} make {number}. << What is {first} and {second}, asks {person}.
  / {person} asks what {first} and {second} make. / How much is {first} and {second}, asks {person}.
  / ~ {person} would like to know what {first} and {second} make.
{first} plus {second} is {number}, {person}. << What is {first} plus {second}? {person} asks.
  / {person} asks for {first} plus {second}. / How much is {first} plus {second}? {person} asks.
  / ~ {person} would like to know {first} plus {second}.
""",
    "saying": r"""
{person} said: {wanted}. << {text}\nWhat did {person} say? / {text}\nSay what {person} said.
  / {text}\nWhat was it that {person} said? / {text}\nRepeat what {person} said.
  / ~ {text}\nGive me the words of {person}.
It was {person} who said: {wanted}. << {text}\nWho was it that said: {wanted}? / {text}\nWho said: {wanted}?
  / {text}\nSay who said: {wanted}. / ~ {text}\nWhich person said: {wanted}?
The words of {person} are: {wanted}. << {text}\nWhat are the words of {person}? / {text}\nSay the words of {person}.
  / {text}\nWhich are the words of {person}? / ~ {text}\nName the words of {person}.
""",
    "containing": r"""
{yes}, {entry} is{not} in the list. << {list}.\nIs {entry} in the list? / {list}.\nIs {entry} one of these?
  / {list}.\nSay if {entry} is in the list. / {list}.\nDo you find {entry} in the list?
  / ~ {list}.\nCan you find {entry} in the list?
{yes}, the list has{not} {entry}. << {list}.\nDoes the list have {entry}? / {list}.\nSay if the list has {entry}.
  / {list}.\nHas the list {entry}? / ~ {list}.\nCan one say that the list has {entry}?
""",
}

# A system message and how it changes the answer: {not} who is spoken to.
SYSTEM: dict[str, tuple[tuple[str, str], ...]] = {
    "system_name": (
        ("Call the user {person}.", "{person}, {0}"),
        ("The user is called {person}. Begin with the name.", "{person}, {0}"),
        ("Say the name {person} at the end.", "{0} Yes, {person}."),
        ("You talk to {person}. End with the name.", "{0} Yes, {person}."),
    ),
    "system_place": (
        ("You are in {town}. Say so first.", "Here in {town}: {0}"),
        ("Say first that you are in {town}.", "Here in {town}: {0}"),
        ("Greet from {town} at the end.", "{0} Greetings from {town}."),
        ("End with a greeting from {town}.", "{0} Greetings from {town}."),
    ),
    "system_short": (
        ("Answer in one word.", "{wanted}"),
        ("Answer in one word and a full stop.", "{wanted}."),
        ("Answer in one word, in quotes.", '"{wanted}"'),
        ("Answer in one word, in brackets.", "({wanted})"),
        ("Answer in one word behind a dash.", "- {wanted}"),
        ("Answer in one word, said twice.", "{wanted}, {wanted}"),
        ("Answer in one word with an exclamation mark.", "{wanted}!"),
        ("Answer in one word behind a star.", "* {wanted}"),
        ("Answer in one word behind the word answer.", "Answer: {wanted}"),
    ),
}

# {page} the page; {opening} the opening of the part asked for, {rest} the rest of it.
BOOKS: dict[str, str] = {
    "book_next": r"""
"{opening} {rest}" << {page}\nWhat follows "{opening}"? / {page}\nWhich words follow "{opening}"?
  / {page}\nSay what follows "{opening}".
  / {page}\nGo on after "{opening}". / ~ {page}\nWhat stands behind "{opening}"?
The words are "{opening} {rest}". << {page}\nWhat are the words from "{opening}" on?
  / {page}\nSay the words from "{opening}" on. / {page}\nWhich are the words from "{opening}" on?
  / ~ {page}\nGive me the words from "{opening}" on.
The text says "{opening} {rest}". << {page}\nWhat does the text say from "{opening}" on?
  / {page}\nHow does the text say "{opening}"? / {page}\nSay how the text has "{opening}".
  / ~ {page}\nHow does it read from "{opening}" on?
""",
    "book_first": r"""
It begins with "{opening}". << {page}\nHow does the text begin? / {page}\nWith what words does the text begin?
  / {page}\nSay how the text begins. / {page}\nWhat are the first words? / ~ {page}\nWhich words begin the text?
The first words are "{opening}". << {page}\nSay the first words. / {page}\nWhich are the first words?
  / {page}\nName the first words. / ~ {page}\nGive me the first words.
"{opening}" stands first. << {page}\nWhat stands first? / {page}\nSay what stands first.
  / {page}\nWhich words stand first?
  / ~ {page}\nWhat is it that stands first?
""",
    "book_name": r"""
The name is {opening}. << {page}\nWhat name is in the text? / {page}\nWhich name is in the text?
  / {page}\nSay the name in the text. / {page}\nWhat is the name? / ~ {page}\nGive me the name in the text.
The text names {opening}. << {page}\nWhom does the text name? / {page}\nSay whom the text names.
  / {page}\nWhom or what does the text name? / ~ {page}\nWho is it that the text names?
I read of {opening}. << {page}\nOf whom do you read? / {page}\nOf what name do you read?
  / {page}\nSay of whom you read. / ~ {page}\nOf which name do you read?
""",
    "book_last": r"""
It ends with "{opening}". << {page}\nHow does the text end? / {page}\nWith what words does the text end?
  / {page}\nSay how the text ends. / {page}\nWhat are the last words? / ~ {page}\nWhich words end the text?
The last words are "{opening}". << {page}\nSay the last words. / {page}\nWhich are the last words?
  / {page}\nName the last words. / ~ {page}\nGive me the last words.
"{opening}" stands last. << {page}\nWhat stands last? / {page}\nSay what stands last. / {page}\nWhich words stand last?
  / ~ {page}\nWhat is it that stands last?
""",
}
