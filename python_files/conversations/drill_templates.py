"""Questions of the kinds that need no passage of facts: lists, letters, sums, talk, and pages of books.

Tables as in ``phrasings.py``, fields as in ``drill_facts.py``; a kind's own fields are set where it is made.
"""

# kind: (text to read or "", table) pairs. Fields are drawn anew for each conversation.
SIMPLE: dict[str, tuple[tuple[str, str], ...]] = {
    "definition": (
        (
            "A {coined} is a {size} {colour} {thing} that people keep {place}.",
            r"""
A {coined} is a {size} {colour} {thing}. << What is a {coined}? / what is a {coined} / Tell me what a {coined} is.
  / ~ Can you tell me what a {coined} is?
People keep a {coined} {place}. << Where do people keep a {coined}? / where do people keep a {coined}
  / Tell me where people keep a {coined}. / ~ Do you know where people keep a {coined}?
""",
        ),
        (
            "A {coined} is a person who sells {things} in {town}.",
            r"""
A {coined} is a person who sells {things}. << What is a {coined}? / what is a {coined} / Tell me what a {coined} is.
  / ~ Can you tell me what a {coined} is?
A {coined} sells {things}. << What does a {coined} sell? / what does a {coined} sell
  / ~ Do you know what a {coined} sells?
""",
        ),
        (
            "In {town}, people call a {thing} a {coined}.",
            r"""
In {town}, a {coined} is a {thing}. << What is a {coined} in {town}? / what is a {coined} in {town}
  / Tell me what a {coined} is in {town}. / ~ Can you tell me what a {coined} is in {town}?
In {town}, people call it a {coined}. << What do people call a {thing} in {town}?
  / what do people call a {thing} in {town} / ~ Do you know what people call a {thing} in {town}?
""",
        ),
        (
            "To {coined} means to look for a {thing} {place}.",
            r"""
To {coined} means to look for a {thing} {place}. << What does it mean to {coined}? / what does it mean to {coined}
  / Tell me what it means to {coined}. / What does {coined} mean? / ~ What is meant by {coined}?
""",
        ),
    ),
    "rewriting": (
        (
            "",
            r"""
{other_person} {did} the {thing}. << [Write|Use] {other_person} instead of {person}: {person} {did} the {thing}.
  / Swap {person} for {other_person}: {person} {did} the {thing}.
  / Change {person} to {other_person}: {person} {did} the {thing}.
  / ~ Replace {person} with {other_person}: {person} {did} the {thing}.
Does {person} have the {thing}? << Make this a question: {person} has the {thing}.
  / Turn this into a question: {person} has the {thing}. / Rewrite this as a question: {person} has the {thing}.
  / ~ Change this into a question: {person} has the {thing}.
{person} is not {place}. << Make this negative: {person} is {place}. / Say the opposite: {person} is {place}.
  / Rewrite this with the word not: {person} is {place}. / ~ Turn this into a negative sentence: {person} is {place}.
{other_person} is younger than {person}. << Say this with the word younger: {person} is older than {other_person}.
  / Rewrite this with the word younger: {person} is older than {other_person}.
  / ~ Use younger instead of older: {person} is older than {other_person}.
{person} and {other_person} came home. << Make this one sentence: {person} came home. {other_person} came home.
  / Combine these sentences: {person} came home. {other_person} came home.
  / Join these sentences: {person} came home. {other_person} came home.
  / ~ Put this in one sentence: {person} came home. {other_person} came home.
""",
        ),
    ),
    "story": (
        (
            "",
            r"""
The next day {other_person} found the {thing} {place} and gave it back to {person}.
  << Continue the story: {person} left a {thing} {place} and forgot it. {other_person} helped to look for it.
  / Go on with the story: {person} left a {thing} {place} and forgot it. {other_person} helped to look for it.
  / What happened next? {person} left a {thing} {place} and forgot it. {other_person} helped to look for it.
  / ~ Finish the story: {person} left a {thing} {place} and forgot it. {other_person} helped to look for it.
So {person} asked {other_person}, and they shared the {thing}.
  << Continue the story: {person} wanted a {thing}, but {other_person} had the only one.
  / Go on with the story: {person} wanted a {thing}, but {other_person} had the only one.
  / What happened next? {person} wanted a {thing}, but {other_person} had the only one.
  / ~ Finish the story: {person} wanted a {thing}, but {other_person} had the only one.
{person} went to look {place}. It was only the cat, and {other_person} was no longer afraid.
  << Continue the story: One night {person} heard a noise {place}. {other_person} was afraid.
  / Go on with the story: One night {person} heard a noise {place}. {other_person} was afraid.
  / What happened next? One night {person} heard a noise {place}. {other_person} was afraid.
  / ~ Finish the story: One night {person} heard a noise {place}. {other_person} was afraid.
In {town} nobody wanted the {thing}, so {person} and {other_person} took it home again.
  << Continue the story: {person} and {other_person} went to {town} to sell a {thing}.
  / Go on with the story: {person} and {other_person} went to {town} to sell a {thing}.
  / What happened next? {person} and {other_person} went to {town} to sell a {thing}.
  / ~ Finish the story: {person} and {other_person} went to {town} to sell a {thing}.
""",
        ),
    ),
    "greeting": (
        (
            "",
            r"""
Hello, {person}! How can I help you? << Hello, [I am|I'm|my name is|this is] {person}.
  / ~ Hello there, my name is {person}.
Hi, {person}! What can I do for you? << Hi, [I am|I'm|my name is|this is] {person}. / ~ Hi there, my name is {person}.
Good morning, {person}! << Good morning, [I am|my name is|this is] {person}. / ~ Good morning to you, I am {person}.
Good evening, {person}! << Good evening, [I am|my name is|this is] {person}. / ~ Good evening to you, I am {person}.
Good afternoon, {person}! << Good afternoon, [I am|my name is|this is] {person}.
  / ~ Good afternoon to you, I am {person}.
Good night, {person}! Sleep well. << Good night from {person}! / {person} says good night. / {person} is going to bed.
  / ~ {person} wishes you a good night.
You are welcome, {person}! << [Thank you|Thanks|Many thanks] for your help! Best wishes, {person}
  / ~ Thank you very much! Best wishes, {person}
Goodbye, {person}! Come back soon. << Goodbye from {person}! / {person} says goodbye. / {person} has to go now.
  / ~ {person} is leaving now.
""",
        ),
    ),
    "identity": (
        (
            "",
            r"""
I am a small language model, {person}. << I am {person}. [Who|What] are you? / My name is {person}. [Who|What] are you?
  / ~ Hi, {person} here. Who are you?
My name is Folio, {person}. << I am {person}. What is your name? / I am {person}. Do you have a name?
  / My name is {person}. What is yours? / ~ Hi, {person} here. What is your name?
A reader of the course made me, {person}. << I am {person}. Who made you? / My name is {person}. Who made you?
  / This is {person}. Who made you? / ~ Hi, {person} here. Who made you?
I can find answers in a text, {person}. << I am {person}. What can you do? / My name is {person}. What can you do?
  / This is {person}. What can you do? / ~ Hi, {person} here. What can you do?
No, {person}, I am a program. << My name is {person}. Are you a person? / I am {person}. Are you a real person?
  / I am {person}. Are you alive? / ~ Hi, {person} here. Are you a person?
""",
        ),
    ),
    "refusing": (
        (
            "",
            r"""
I do not know {person}, so I cannot say.
  << [What does {person} look like|Who is {person}'s father|What did {person} do today|Is {person} rich]?
  / ~ Is {person} a happy person?
I am not in {town}, so I cannot say. << [How is the weather|Is it raining|Is it cold|Is it crowded] in {town} today?
  / ~ Is the sun shining in {town} today?
I have never seen your {thing}, so I cannot say.
  << [How much did my {thing} cost|How heavy is my {thing}|How old is my {thing}|Who gave me my {thing}]?
  / ~ Is my {thing} a good one?
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
Your name is {person}. << What is my name? / what is my name / Do you know my name? / Tell me my name. / What's my name?
  / ~ Do you remember my name?
""",
    ),
    (
        "I live in {town}.",
        "I hope you like it in {town}.",
        r"""
You live in {town}. << Where do I live? / where do I live / Do you know where I live? / Tell me where I live.
  / ~ Do you remember where I live?
""",
    ),
    (
        "I bought a {thing} today.",
        "I hope you like the {thing}.",
        r"""
You bought a {thing}. << What did I buy? / what did I buy today / Do you know what I bought? / Tell me what I bought.
  / ~ Do you remember what I bought?
""",
    ),
    (
        "My best friend is called {person}.",
        "Say hello to {person} from me.",
        r"""
Your best friend is {person}. << Who is my best friend? / who is my best friend / What is my best friend called?
  / Do you know who my best friend is? / ~ Do you remember who my best friend is?
""",
    ),
)
# {list} a list; {entry} an entry of it, {wanted} the one asked for, {which} its place.
LISTS: dict[str, str] = {
    "repeating": r"""
{list}. << Repeat this list: {list}. / repeat this list: {list} / Copy this list: {list}.
  / Write this list again: {list}.
  / ~ Write this list once more: {list}.
The words are {list}. << Which words do you see? {list}. / What are the words in this list? {list}.
  / Name the words in this list: {list}. / ~ Tell me the words in this list: {list}.
You said: {list}. << What did I say? {list}. / I said: {list}. What did I say? / Repeat what I said: {list}.
  / ~ I just said: {list}. What did I say?
""",
    "counting": r"""
There are {number} words. << How many words are there: {list}? / how many words are there: {list}
  / Count the words: {list}. / ~ How many words are in this list: {list}?
{list}: {number} words. << Repeat the words and count them: {list}. / Copy the words and count them: {list}.
  / List the words and count them: {list}. / ~ Write the words and count them: {list}.
I count {number}. << How many do you count: {list}? / how many do you count: {list}
  / How many words do you count: {list}? / ~ How many words can you count: {list}?
""",
    "first": r"""
The first word is {wanted}. << {list}.\nWhat is the first word? / {list}.\nwhat is the first word
  / {list}.\nTell me the first word. / ~ {list}.\nWhich word is the first?
The list begins with {wanted}. << {list}.\nWhat does the list begin with? / {list}.\nwhat does the list begin with
  / {list}.\nTell me what the list begins with. / ~ {list}.\nWhich word does the list begin with?
First comes {wanted}. << {list}.\nWhat comes first? / {list}.\nWhich word comes first?
  / {list}.\nTell me what comes first.
  / ~ {list}.\nCan you tell me what comes first?
""",
    "last": r"""
The last word is {wanted}. << {list}.\nWhat is the last word? / {list}.\nwhat is the last word
  / {list}.\nTell me the last word. / ~ {list}.\nWhich word is the last?
The list ends with {wanted}. << {list}.\nWhat does the list end with? / {list}.\nwhat does the list end with
  / {list}.\nTell me what the list ends with. / ~ {list}.\nWhich word does the list end with?
Last comes {wanted}. << {list}.\nWhat comes last? / {list}.\nWhich word comes last? / {list}.\nTell me what comes last.
  / ~ {list}.\nCan you tell me what comes last?
""",
    "after": r"""
After {entry} comes {wanted}. << {list}.\nWhat comes after {entry}? / {list}.\nwhat comes after {entry}
  / {list}.\nWhich word comes after {entry}? / {list}.\nTell me what comes after {entry}.
  / ~ {list}.\nCan you tell me what comes after {entry}?
The word {entry} is followed by {wanted}. << {list}.\nWhat is {entry} followed by?
  / {list}.\nwhat is {entry} followed by
  / {list}.\nTell me what {entry} is followed by. / ~ {list}.\nWhich word is {entry} followed by?
The word after {entry} is {wanted}. << {list}.\nWhat is the word after {entry}?
  / {list}.\nTell me the word after {entry}.
  / ~ {list}.\nCan you give me the word after {entry}?
""",
    "pairing": r"""
{entry} has the {wanted}. << {pairs}.\nWhat does {entry} have? / {pairs}.\nwhat does {entry} have
  / {pairs}.\nTell me what {entry} has. / {pairs}.\nWho has the {wanted}?
  / ~ {pairs}.\nCan you tell me what {entry} has?
The {wanted} belongs to {entry}. << {pairs}.\nWho does the {wanted} belong to?
  / {pairs}.\nwho does the {wanted} belong to / {pairs}.\nTell me who the {wanted} belongs to.
  / ~ {pairs}.\nDo you know who the {wanted} belongs to?
The {wanted} is {entry}'s. << {pairs}.\nWhose is the {wanted}? / {pairs}.\nwhose is the {wanted}
  / ~ {pairs}.\nTell me whose the {wanted} is.
""",
    "swapping": r"""
{wanted} and {entry}. << Swap these: {entry} and {wanted}. / swap these: {entry} and {wanted}
  / Swap the order: {entry} and {wanted}. / Reverse the order: {entry} and {wanted}.
  / ~ Switch these around: {entry} and {wanted}.
First {wanted}, then {entry}. << Swap these: first {entry}, then {wanted}.
  / Swap the order: first {entry}, then {wanted}.
  / Reverse the order: first {entry}, then {wanted}. / ~ Switch these around: first {entry}, then {wanted}.
{wanted}, not {entry}. << Swap these: {entry}, not {wanted}. / swap these: {entry}, not {wanted}
  / Reverse the order: {entry}, not {wanted}. / ~ Switch these around: {entry}, not {wanted}.
""",
    "spelling": r"""
{wanted} is spelled {letters}. << {wanted}: {letters}.\nHow is {wanted} spelled?
  / {wanted}: {letters}.\nHow do you spell {wanted}? / {wanted}: {letters}.\nhow do you spell {wanted}
  / {wanted}: {letters}.\nSpell the word {wanted}. / ~ {wanted}: {letters}.\nCan you spell {wanted}?
The letters of {wanted} are {letters}. << {wanted}: {letters}.\nWhat are the letters of {wanted}?
  / {wanted}: {letters}.\nTell me the letters of {wanted}. / {wanted}: {letters}.\nList the letters of {wanted}.
  / ~ {wanted}: {letters}.\nCan you give me the letters of {wanted}?
{letters} spells {wanted}. << {wanted}: {letters}.\nWhat does {letters} spell?
  / {wanted}: {letters}.\nwhat does {letters} spell / {wanted}: {letters}.\nTell me what {letters} spells.
  / ~ {wanted}: {letters}.\nWhat word does {letters} spell?
""",
    "ordering": r"""
{person} bought a {wanted} {which}. << {text}\nWhat did {person} buy {which}? / {text}\nwhat did {person} buy {which}
  / {text}\nTell me what {person} bought {which}. / ~ {text}\nCan you tell me what {person} bought {which}?
The {which} thing {person} bought was a {wanted}. << {text}\nWhat was the {which} thing {person} bought?
  / {text}\nwhat was the {which} thing {person} bought / {text}\nName the {which} thing {person} bought.
  / ~ {text}\nWhich thing was the {which} one {person} bought?
The {which} purchase was a {wanted}. << {text}\nWhat was the {which} purchase? / {text}\nwhat was the {which} purchase
  / {text}\nTell me what the {which} purchase was. / ~ {text}\nCan you name the {which} purchase?
""",
    "comparing": r"""
{person} is {which} than {other_person}. << {text}\nWho is {which}? / {text}\nwho is {which}
  / {text}\nTell me who is {which}. / {text}\nWhich of them is {which}? / ~ {text}\nWhich of the two is {which}?
{person} is {which}, because {person} {has} and {other_person} {other_has}. << {text}\nWho is {which}, and why?
  / {text}\nwho is {which} and why / {text}\nTell me who is {which}, and why.
  / ~ {text}\nWho is {which}, and how do you know?
The {which} of the two is {person}. << {text}\nWho is the {which} of the two? / {text}\nwho is the {which} of the two
  / {text}\nName the {which} of the two. / ~ {text}\nCan you name the {which} of the two?
""",
    "arithmetic": r"""
{first} and {second} make {number}. {person} has {number} {things} now.
  << {text}\nHow many {things} does {person} have now? / {text}\nhow many {things} does {person} have now
  / {text}\nTell me how many {things} {person} has now. / ~ {text}\nCan you tell me how many {things} {person} has now?
{first} and {second} make {number}. << {person} finds {first} {things} and then {second} more. How many is that?
  / {person} buys {first} {things} and then {second} more. How many is that?
  / {person} sees {first} {things} here and {second} there. How many is that?
  / ~ {person} packs {first} {things} and then {second} more. How many is that?
{first} plus {second} is {number}, {person}. << I am {person}. What is {first} plus {second}?
  / My name is {person}. How much is {first} plus {second}? / This is {person}. What is {first} plus {second}?
  / ~ Hi, {person} here. What is {first} plus {second}?
""",
    "saying": r"""
{person} said, "{wanted}." << {text}\nWhat did {person} say? / {text}\nwhat did {person} say
  / {text}\nTell me what {person} said. / {text}\nRepeat what {person} said.
  / ~ {text}\nCan you tell me what {person} said?
It was {person} who said, "{wanted}." << {text}\nWho said, "{wanted}"? / {text}\nwho said, "{wanted}"
  / {text}\nTell me who said, "{wanted}." / ~ {text}\nWho was it that said, "{wanted}"?
{person}'s words were, "{wanted}." << {text}\nWhat were {person}'s words? / {text}\nwhat were {person}'s words
  / {text}\nTell me {person}'s words. / ~ {text}\nCan you repeat {person}'s words?
""",
    "containing": r"""
{yes}, {entry} is{not} in the list. << {list}.\nIs {entry} in the list? / {list}.\nis {entry} in the list
  / {list}.\nTell me if {entry} is in the list. / {list}.\nDo you see {entry} in the list?
  / ~ {list}.\nCan you find {entry} in the list?
{yes}, the list {contains} {entry}. << {list}.\nDoes the list contain {entry}? / {list}.\ndoes the list contain {entry}
  / {list}.\nTell me if the list contains {entry}. / ~ {list}.\nDo you know if the list contains {entry}?
""",
}

# A system message and how it changes the answer: {0} is the answer.
SYSTEM: dict[str, tuple[tuple[str, str], ...]] = {
    "system_name": (
        ("The user is called {person}. Greet the user by name.", "Hello, {person}. {0}"),
        ("Say hello to {person} before you answer.", "Hello, {person}. {0}"),
        ("Wish {person} a nice day at the end.", "{0} Have a nice day, {person}."),
        ("The user is called {person}. End by wishing the user a nice day.", "{0} Have a nice day, {person}."),
    ),
    "system_place": (
        ("You are in {town}. Say so before you answer.", "I am in {town}. {0}"),
        ("Say first that you are in {town}.", "I am in {town}. {0}"),
        ("Send greetings from {town} at the end.", "{0} Greetings from {town}."),
        ("End with greetings from {town}.", "{0} Greetings from {town}."),
    ),
    "system_short": (
        ("Answer in one word.", "{wanted}"),
        ("Answer in one word and a period.", "{wanted}."),
        ("Answer in one word, in quotes.", '"{wanted}"'),
        ("Answer in one word, in parentheses.", "({wanted})"),
        ("Answer in one word after a dash.", "- {wanted}"),
        ("Answer in one word, and say it twice.", "{wanted}, {wanted}"),
        ("Answer in one word with an exclamation mark.", "{wanted}!"),
        ("Answer in one word after an asterisk.", "* {wanted}"),
        ('Answer in one word, with "Answer:" before it.', "Answer: {wanted}"),
    ),
}

# {page} the page; {opening} the opening of the part asked for, {rest} the rest of it.
BOOKS: dict[str, str] = {
    "book_next": r"""
After "{opening}" comes "{rest}". << {page}\nWhat comes after "{opening}"? / {page}\nWhich words come after "{opening}"?
  / {page}\nTell me what comes after "{opening}". / ~ {page}\nWhat follows "{opening}"?
The text goes on: "{opening} {rest}" << {page}\nHow does the text go on from "{opening}"?
  / {page}\nhow does the text go on from "{opening}" / {page}\nTell me how the text goes on from "{opening}".
  / ~ {page}\nCan you tell me how the text goes on from "{opening}"?
The text says "{opening} {rest}". << {page}\nWhat does the text say, starting with "{opening}"?
  / {page}\nQuote the text, starting with "{opening}". / {page}\nTell me what the text says, starting with "{opening}".
  / ~ {page}\nCan you quote the text, starting with "{opening}"?
""",
    "book_first": r"""
It begins with "{opening}". << {page}\nHow does the text begin? / {page}\nhow does the text begin
  / {page}\nWhat does the text begin with? / {page}\nTell me how the text begins.
  / ~ {page}\nWhich words does the text begin with?
The first words are "{opening}". << {page}\nWhat are the first words? / {page}\nwhat are the first words
  / {page}\nTell me the first words. / ~ {page}\nCan you tell me the first words?
"{opening}" comes first. << {page}\nWhich words come first? / {page}\nwhich words come first
  / {page}\nTell me which words come first. / ~ {page}\nWhich words come first in the text?
""",
    "book_name": r"""
The name is {opening}. << {page}\nWhat is the name in the text? / {page}\nwhat is the name in the text
  / {page}\nTell me the name in the text. / {page}\nWhich name is in the text?
  / ~ {page}\nCan you tell me the name in the text?
The text mentions {opening}. << {page}\nWhich name does the text mention? / {page}\nWhat name does the text mention?
  / {page}\nTell me which name the text mentions. / ~ {page}\nCan you tell me which name the text mentions?
I see the name {opening}. << {page}\nWhich name do you see? / {page}\nwhich name do you see
  / {page}\nTell me which name you see. / ~ {page}\nWhat name do you see?
""",
    "book_last": r"""
It ends with "{opening}". << {page}\nHow does the text end? / {page}\nhow does the text end
  / {page}\nWhat does the text end with? / {page}\nTell me how the text ends.
  / ~ {page}\nWhich words does the text end with?
The last words are "{opening}". << {page}\nWhat are the last words? / {page}\nwhat are the last words
  / {page}\nTell me the last words. / ~ {page}\nCan you tell me the last words?
"{opening}" comes last. << {page}\nWhich words come last? / {page}\nwhich words come last
  / {page}\nTell me which words come last. / ~ {page}\nWhich words come last in the text?
""",
}
