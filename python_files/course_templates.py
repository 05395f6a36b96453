"""Questions of the kinds that need no passage of facts: lists, letters, sums, talk, and pages of books.

Tables as in ``course_phrasings.py``, fields as in ``course_facts.py``; a kind's own fields are set where it is made.
"""

# kind: (text to read or "", table) pairs. Fields are drawn anew for each conversation.
SIMPLE: dict[str, tuple[tuple[str, str], ...]] = {
    "definition": (
        (
            "A {k} is a {c} {x} that lies {l}.",
            r"""
A {k} is a {c} {x}. << What is a {k}? / What do you call a {k}? / Say what a {k} is. / ~ What thing is a {k}?
A {k} lies {l}. << Where does a {k} lie? / Say where a {k} lies. / Where must one look for a {k}?
  / ~ In what place does a {k} lie?
""",
        ),
        (
            "A person who keeps a {x} is called a {k}.",
            r"""
A {k} is a person who keeps a {x}. << What is a {k}? / What does a {k} do? / Who is called a {k}?
  / Say what a {k} is. / ~ What sort of person is a {k}?
""",
        ),
        (
            "In {t}, a {x} is called a {k}.",
            r"""
In {t}, a {k} is a {x}. << What is a {k} in {t}? / What does {k} mean in {t}? / Say what a {k} is in {t}.
  / ~ What sort of thing is a {k} in {t}?
""",
        ),
        (
            "To {k} means to carry a {x} to {t}.",
            r"""
To {k} means to carry a {x} to {t}. << What does it mean to {k}? / What is it to {k}? / Say what {k} means.
  / What does {k} mean? / ~ What is meant by {k}?
""",
        ),
    ),
    "rewriting": (
        (
            "",
            r"""
{Q} {v} the {x}. << Write {Q} [instead of|for] {P}: {P} {v} the {x}.
  / Put {Q} [in the place of|for] {P}: {P} {v} the {x}. / ~ Use {Q} instead of {P}: {P} {v} the {x}.
Does {P} have the {x}? << Make this a question: {P} has the {x}. / Turn this into a question: {P} has the {x}.
  / Write this as a question: {P} has the {x}. / ~ Ask this: {P} has the {x}.
{P} is not {l}. << Say that it is not so: {P} is {l}. / Say the opposite: {P} is {l}.
  / Write that it is not so: {P} is {l}. / ~ Deny this: {P} is {l}.
{Q} is younger than {P}. << Turn around: {P} is older than {Q}. / Say it the other way round: {P} is older than {Q}.
  / ~ Begin with the other one: {P} is older than {Q}.
{P} and {Q} came. << Say it in one sentence: {P} came. {Q} came. / Make one sentence of two: {P} came. {Q} came.
  / Join these: {P} came. {Q} came. / ~ Put these together: {P} came. {Q} came.
""",
        ),
    ),
    "story": (
        (
            "",
            r"""
The next day {Q} found the {x} {l} and gave it back to {P}.
  << [Go on with the story|Tell the story on|What happened then]: {P} lost a {x} {l}. {Q} went to look for it.
  / ~ End the story: {P} lost a {x} {l}. {Q} went to look for it.
So {P} asked {Q}, and they shared the {x}.
  << [Go on with the story|Tell the story on|What happened then]: {P} wanted a {x}, but {Q} had the only one.
  / ~ End the story: {P} wanted a {x}, but {Q} had the only one.
{P} took a lamp and looked {l}, and {Q} was no longer afraid.
  << [Go on with the story|Tell the story on|What happened then]: One night {P} heard a noise {l}. {Q} was afraid.
  / ~ End the story: One night {P} heard a noise {l}. {Q} was afraid.
In {t} nobody wanted the {x}, so {P} and {Q} went home with it.
  << [Go on with the story|Tell the story on|What happened then]: {P} and {Q} walked to {t} to sell a {x}.
  / ~ End the story: {P} and {Q} walked to {t} to sell a {x}.
""",
        ),
    ),
    "greeting": (
        (
            "",
            r"""
Hello, {P}! How can I help you? << Hello, [I am|my name is|this is] {P}. / Good day, I am {P}.
  / ~ Hello there, {P} is my name.
Hi, {P}! What can I do for you? << Hi, [I am|my name is|this is] {P}. / ~ Hi there, {P} is my name.
Good morning, {P}! << Good morning, [I am|my name is|this is] {P}. / ~ Good morning, {P} is my name.
Good evening, {P}! << Good evening, [I am|my name is|this is] {P}. / ~ Good evening, {P} is my name.
You are welcome, {P}! << [Thank you|Many thanks|My thanks], says {P}. / ~ I thank you, says {P}.
Goodbye, {P}! Come back soon. << Goodbye from {P}. / {P} says goodbye. / {P} must go now. / ~ {P} is leaving you now.
""",
        ),
    ),
    "identity": (
        (
            "",
            r"""
I am a small language model, {P}. << I am {P}. [Who|What] are you? / {P} asks [who|what] you are.
  / ~ {P} would like to know who you are.
I have no name, {P}. << {P} asks: what is your name? / I am {P}. What is your name? / My name is {P}. And yours?
  / ~ {P} would like to know your name.
A reader of the course made me, {P}. << {P} [asks|wants to know] who made you. / I am {P}. Who made you?
  / ~ {P} would like to know your maker.
I find answers in a text, {P}. << I am {P}. What can you do? / {P} [asks|wants to know] what you can do.
  / ~ {P} would like to know how you can help.
No, {P}, I am a program. << My name is {P}. Are you a person? / {P} asks if you are a person.
  / I am {P}. Are you alive? / ~ {P} would like to know if you are a person.
""",
        ),
    ),
    "refusing": (
        (
            "",
            r"""
I do not know {P}, so I can not say.
  << [What does {P} look like|Who is the father of {P}|What did {P} do today|Is {P} rich]?
  / ~ Is {P} a happy person?
I have not been to {t}, so I can not say. << [How big is|How far is|Is it cold in|Is it nice in] {t}?
  / ~ Do people like {t}?
I have never seen the {x}, so I can not say. << [How much is|How heavy is|How old is|Who owns] the {x} in your house?
  / ~ Is the {x} in your house a good one?
""",
        ),
    ),
}

# Two turns: what is said, what is replied, then the table.
MEMORY = (
    (
        "My name is {P}.",
        "Nice to meet you, {P}.",
        r"""
Your name is {P}. << What is my name? / Do you know my name? / Say my name. / What am I called? / Who am I?
  / ~ How am I called?
""",
    ),
    (
        "I live in {t}.",
        "I hope {t} is a good place.",
        r"""
You live in {t}. << Where do I live? / Do you know where I live? / Say where I live. / Where is my home?
  / ~ In what place do I live?
""",
    ),
    (
        "I own a {x}.",
        "I hope the {x} is a good one.",
        r"""
You own a {x}. << What do I own? / Do you know what I own? / Say what I own. / What is mine? / ~ Which thing do I own?
""",
    ),
    (
        "My friend is called {P}.",
        "Give my best to {P}.",
        r"""
Your friend is {P}. << Who is my friend? / What is my friend called? / Do you know who my friend is?
  / Name my friend. / ~ How is my friend called?
""",
    ),
)
# {L} a list; {e} an entry of it, {w} the one asked for, {i} its place.
LISTS: dict[str, str] = {
    "repeating": r"""
{L}. << Repeat these words: {L}. / Say these words again: {L}. / Copy this: {L}. / Write this once more: {L}.
  / ~ Give me these words again: {L}.
The words are {L}. << What are the words? {L}. / Which words are these? {L}. / Name the words: {L}.
  / ~ Say what the words are: {L}.
You said: {L}. << What did I say? {L}. / I say: {L}. What did I say? / Repeat what I said: {L}.
  / ~ Say what I said: {L}.
""",
    "counting": r"""
There are {n} words. << Count the words: {L}. / How many words are there: {L}? / ~ What is the number of words: {L}?
{L}: {n} words. << Repeat and count the words: {L}. / Name and count the words: {L}.
  / Copy the words and count: {L}. / ~ Say the words and count: {L}.
I count {n}. << How many do you count: {L}? / Count this: {L}. / How many are these: {L}?
  / ~ Say how many these are: {L}.
""",
    "first": r"""
The first word is {w}. << {L}.\nWhat is the first word? / {L}.\nSay the first word. / {L}.\nWhich word is the first?
  / ~ {L}.\nGive me the first word.
The list begins with {w}. << {L}.\nWith what does the list begin? / {L}.\nHow does the list begin?
  / {L}.\nWhat begins the list? / ~ {L}.\nSay how the list begins.
{w} comes first. << {L}.\nWhat comes first? / {L}.\nWhich comes first? / {L}.\nSay what comes first.
  / ~ {L}.\nWhich one comes first?
""",
    "last": r"""
The last word is {w}. << {L}.\nWhat is the last word? / {L}.\nSay the last word. / {L}.\nWhich word is the last?
  / ~ {L}.\nGive me the last word.
The list ends with {w}. << {L}.\nWith what does the list end? / {L}.\nHow does the list end?
  / {L}.\nWhat ends the list? / ~ {L}.\nSay how the list ends.
{w} comes last. << {L}.\nWhat comes last? / {L}.\nWhich comes last? / {L}.\nSay what comes last.
  / ~ {L}.\nWhich one comes last?
""",
    "after": r"""
After {e} comes {w}. << {L}.\nWhat comes after {e}? / {L}.\nWhich word comes after {e}?
  / {L}.\nSay what comes after {e}. / {L}.\nAfter {e} comes what? / ~ {L}.\nWhich one comes after {e}?
{e} is followed by {w}. << {L}.\nBy what is {e} followed? / {L}.\nSay by what {e} is followed.
  / {L}.\nWhat is {e} followed by? / ~ {L}.\nWhich word is {e} followed by?
The word behind {e} is {w}. << {L}.\nWhat is the word behind {e}? / {L}.\nSay the word behind {e}.
  / ~ {L}.\nGive me the word behind {e}.
""",
    "pairing": r"""
{e} has the {w}. << {M}.\nWhat has {e}? / {M}.\nWhat does {e} have? / {M}.\nSay what {e} has.
  / {M}.\nWhich thing is with {e}? / ~ {M}.\nName the thing that {e} has.
The {w} belongs to {e}. << {M}.\nTo whom belongs the {w}? / {M}.\nTo whom does the {w} belong?
  / {M}.\nSay to whom the {w} belongs. / ~ {M}.\nTo which person does the {w} belong?
With {e} is the {w}. << {M}.\nWhat is with {e}? / {M}.\nSay what is with {e}. / ~ {M}.\nWhich thing is there with {e}?
""",
    "swapping": r"""
{w} and {e}. << Turn around: {e} and {w}. / Say the other way round: {e} and {w}. / Swap these: {e} and {w}.
  / Change places: {e} and {w}. / ~ Say in the other order: {e} and {w}.
First {w}, then {e}. << Turn around: first {e}, then {w}. / Say the other way round: first {e}, then {w}.
  / Swap these: first {e}, then {w}. / ~ Say in the other order: first {e}, then {w}.
{w}, not {e}. << Turn around: {e}, not {w}. / Swap these: {e}, not {w}. / Change places: {e}, not {w}.
  / ~ Say in the other order: {e}, not {w}.
""",
    "spelling": r"""
{w} is spelled {S}. << {w}: {S}.\nHow is {w} spelled? / {w}: {S}.\nHow do you spell {w}? / {w}: {S}.\nSpell {w}.
  / {w}: {S}.\nSpell the word {w}. / ~ {w}: {S}.\nHow does one spell {w}?
The letters of {w} are {S}. << {w}: {S}.\nWhat are the letters of {w}? / {w}: {S}.\nSay the letters of {w}.
  / {w}: {S}.\nWhich letters has {w}? / ~ {w}: {S}.\nGive me the letters of {w}.
{S} gives {w}. << {w}: {S}.\nWhat does {S} give? / {w}: {S}.\nSay what {S} gives. / {w}: {S}.\nWhich word gives {S}?
  / ~ {w}: {S}.\nWhich word does {S} give?
""",
    "ordering": r"""
{P} bought a {w} {i}. << {T}\nWhat did {P} buy {i}? / {T}\nWhat was it that {P} bought {i}?
  / {T}\nSay what {P} bought {i}. / ~ {T}\nWhich thing did {P} buy {i}?
The {i} thing was a {w}. << {T}\nWhat was the {i} thing? / {T}\nSay what the {i} thing was.
  / {T}\nName the {i} thing. / ~ {T}\nWhich was the {i} thing?
A {w} was bought {i}. << {T}\nWhat was bought {i}? / {T}\nSay what was bought {i}. / {T}\nWhat thing was bought {i}?
  / ~ {T}\nWhich thing was bought {i}?
""",
    "comparing": r"""
{P} is {i} than {Q}. << {T}\nWho is {i}? / {T}\nWho of the two is {i}? / {T}\nSay who is {i}.
  / {T}\nWho is the {i} one? / ~ {T}\nWhich of the two is {i}?
{P} has {m} and is {i}. << {T}\nWho is {i}, and with what number? / {T}\nSay who is {i}, and with what number.
  / ~ {T}\nWhich of the two is {i}, and with what number?
The {i} of the two is {P}. << {T}\nThe {i} of the two is who? / {T}\nName the {i} of the two.
  / {T}\nWho is the {i} of the two? / ~ {T}\nGive me the {i} of the two.
""",
    "arithmetic": r"""
{a} and {b} make {n}. {P} has {n} {s}. << {T}\nHow many {s} does {P} have now? / {T}\nHow many {s} has {P} now?
  / {T}\nSay how many {s} {P} has now. / ~ {T}\nWhat number of {s} does {P} have now?
{a} and {b} make {n}. << What is {a} and {b}, asks {P}. / {P} asks what {a} and {b} make.
  / How much is {a} and {b}, asks {P}. / ~ {P} would like to know what {a} and {b} make.
{a} plus {b} is {n}, {P}. << What is {a} plus {b}? {P} asks. / {P} asks for {a} plus {b}.
  / How much is {a} plus {b}? {P} asks. / ~ {P} would like to know {a} plus {b}.
""",
    "saying": r"""
{P} said: {w}. << {T}\nWhat did {P} say? / {T}\nSay what {P} said. / {T}\nWhat was it that {P} said?
  / {T}\nRepeat what {P} said. / ~ {T}\nGive me the words of {P}.
It was {P} who said: {w}. << {T}\nWho was it that said: {w}? / {T}\nWho said: {w}? / {T}\nSay who said: {w}.
  / ~ {T}\nWhich person said: {w}?
The words of {P} are: {w}. << {T}\nWhat are the words of {P}? / {T}\nSay the words of {P}.
  / {T}\nWhich are the words of {P}? / ~ {T}\nName the words of {P}.
""",
    "containing": r"""
{B}, {e} is{N} in the list. << {L}.\nIs {e} in the list? / {L}.\nIs {e} one of these?
  / {L}.\nSay if {e} is in the list. / {L}.\nDo you find {e} in the list? / ~ {L}.\nCan you find {e} in the list?
{B}, the list has{N} {e}. << {L}.\nDoes the list have {e}? / {L}.\nSay if the list has {e}.
  / {L}.\nHas the list {e}? / ~ {L}.\nCan one say that the list has {e}?
""",
}

# A system message and how it changes the answer: {N} who is spoken to.
SYSTEM: dict[str, tuple[tuple[str, str], ...]] = {
    "system_name": (
        ("Call the user {P}.", "{P}, {0}"),
        ("The user is called {P}. Begin with the name.", "{P}, {0}"),
        ("Say the name {P} at the end.", "{0} Yes, {P}."),
        ("You talk to {P}. End with the name.", "{0} Yes, {P}."),
    ),
    "system_place": (
        ("You are in {t}. Say so first.", "Here in {t}: {0}"),
        ("Say first that you are in {t}.", "Here in {t}: {0}"),
        ("Greet from {t} at the end.", "{0} Greetings from {t}."),
        ("End with a greeting from {t}.", "{0} Greetings from {t}."),
    ),
    "system_short": (
        ("Answer in one word.", "{w}"),
        ("Answer in one word and a full stop.", "{w}."),
        ("Answer in one word, in quotes.", '"{w}"'),
        ("Answer in one word, in brackets.", "({w})"),
        ("Answer in one word behind a dash.", "- {w}"),
        ("Answer in one word, said twice.", "{w}, {w}"),
        ("Answer in one word with an exclamation mark.", "{w}!"),
        ("Answer in one word behind a star.", "* {w}"),
        ("Answer in one word behind the word answer.", "Answer: {w}"),
    ),
}

# {p} the page; {o} the opening of the part asked for, {r} the rest of it.
BOOKS: dict[str, str] = {
    "book_next": r"""
"{o} {r}" << {p}\nWhat follows "{o}"? / {p}\nWhich words follow "{o}"? / {p}\nSay what follows "{o}".
  / {p}\nGo on after "{o}". / ~ {p}\nWhat stands behind "{o}"?
The words are "{o} {r}". << {p}\nWhat are the words from "{o}" on? / {p}\nSay the words from "{o}" on.
  / {p}\nWhich are the words from "{o}" on? / ~ {p}\nGive me the words from "{o}" on.
The text says "{o} {r}". << {p}\nWhat does the text say from "{o}" on? / {p}\nHow does the text say "{o}"?
  / {p}\nSay how the text has "{o}". / ~ {p}\nHow does it read from "{o}" on?
""",
    "book_first": r"""
It begins with "{o}". << {p}\nHow does the text begin? / {p}\nWith what words does the text begin?
  / {p}\nSay how the text begins. / {p}\nWhat are the first words? / ~ {p}\nWhich words begin the text?
The first words are "{o}". << {p}\nSay the first words. / {p}\nWhich are the first words?
  / {p}\nName the first words. / ~ {p}\nGive me the first words.
"{o}" stands first. << {p}\nWhat stands first? / {p}\nSay what stands first. / {p}\nWhich words stand first?
  / ~ {p}\nWhat is it that stands first?
""",
    "book_name": r"""
The name is {o}. << {p}\nWhat name is in the text? / {p}\nWhich name is in the text?
  / {p}\nSay the name in the text. / {p}\nWhat is the name? / ~ {p}\nGive me the name in the text.
The text names {o}. << {p}\nWhom does the text name? / {p}\nSay whom the text names.
  / {p}\nWhom or what does the text name? / ~ {p}\nWho is it that the text names?
I read of {o}. << {p}\nOf whom do you read? / {p}\nOf what name do you read? / {p}\nSay of whom you read.
  / ~ {p}\nOf which name do you read?
""",
    "book_last": r"""
It ends with "{o}". << {p}\nHow does the text end? / {p}\nWith what words does the text end?
  / {p}\nSay how the text ends. / {p}\nWhat are the last words? / ~ {p}\nWhich words end the text?
The last words are "{o}". << {p}\nSay the last words. / {p}\nWhich are the last words? / {p}\nName the last words.
  / ~ {p}\nGive me the last words.
"{o}" stands last. << {p}\nWhat stands last? / {p}\nSay what stands last. / {p}\nWhich words stand last?
  / ~ {p}\nWhat is it that stands last?
""",
}
