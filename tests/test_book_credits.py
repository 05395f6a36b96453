"""What goes from a book is certainly not the book's: prose that sounds like a credit or a header stays."""

import random
from collections import Counter

import pytest

from books import credits
from books.cleaning import clean_book
from books.filters import is_copyrighted
from books.sources import Record

START, END = "*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK X ***"
PARAGRAPHS = [
    f"Paragraph {number} of the story, in which there was a mill by the river, and nobody\nknew who had built it."
    for number in ["the first", *range(2, 50), "the last"]
]
STORY = "\n\n".join(PARAGRAPHS)

STAYS = """Prepared by long experience for such scenes, the captain said nothing and went below.
Produced by Messrs. Smith and Brown at the Savoy Theatre in 1881.
Transcribed by the monks in the ninth century, the book lay in the abbey.
Scanned by every eye in the room, he sat down.
Created by God for happiness, man has made himself wretched.
Thanks to the kindness of the old rector I was given a key to the library.
Original sin had not yet been corrected in the house of my aunt.
The original spelling has been retained by the editor wherever the sense allowed it.
Images of saints stood in the library, and the archive was full of dust.
Bold as he was, surrounded by foes, he never thought of it.
Note: the original of this letter is in the British Museum.
Editor's note: the following pages were found in a chest.
Language: the dress of thought, as the Doctor said.
Great care has been taken to preserve the old songs of the valley.
The following changes were made in the cabinet: Lord Grey went out.
Entered according to act of Congress, in the year 1857, by the author.
End of the project, said the engineer, and shut the book.
He printed it in small print! and nobody has read it since.
Ten yards of cloth@2.50 a yard were bought by the miller.
Hathi trusts no man, said the old wolf.
Corrections made, he sent the sheets to the printer.
Author: I have no more to say to you, sir.
Title: none; fortune: none; so the herald wrote of him.""".split("\n")
GOES = """Produced by Jane Roe and the Online Distributed Proofreading Team
E-text prepared by Jane Roe
Produced by Jane Roe, and L. van Doe
Produced by An Anonymous Volunteer
Produced by Jane Roe.  HTML version by Al Haines.
Transcribed from the 1890 Macmillan & Co. edition by Jane Roe
Transcribed from the 1890 edition by Jane Roe, email jane@example.org
Scanned and proofed by Jane Roe
Bold text is denoted by =equal signs=.
Note: Project Gutenberg also has an HTML version of this file.""".split("\n")


def around(line: str) -> list[str]:
    """Files with a line at the beginning, a little later, and at the end; with markers and without."""
    first, *rest = PARAGRAPHS
    bodies = [f"{line}\n\n{STORY}", "\n\n".join([first, line, *rest]), f"{STORY}\n\n{line}"]
    return [*bodies, *(f"{START}\n\n{body}\n\n{END}" for body in bodies)]


@pytest.mark.parametrize("line", STAYS)
def test_prose_that_sounds_like_a_credit_stays(line):
    for raw in around(line):
        clean = clean_book(raw)
        assert line in clean and all(" ".join(p.split()) in clean for p in PARAGRAPHS)


@pytest.mark.parametrize("line", GOES)
def test_credits_go(line):
    for raw in around(line):
        assert clean_book(raw) == clean_book(STORY)


@pytest.mark.parametrize("names", [("Author", "Editor"), ("Title", "Author"), ("Translator", "Author"), ("From", "To")])
def test_a_dialogue_without_markers_stays(names):
    talk = "\n\n".join(f"{names[n % 2]}: {text}" for n, text in enumerate(PARAGRAPHS))
    clean = clean_book(talk)
    assert clean.count(f"{names[0]}: ") == clean.count(f"{names[1]}: ") == 25
    book = Record("7", "", "", "", 1, "", bytes).book(talk.replace("Title:", "Language:"))
    assert (book.title, book.authors, book.language) == ("7", "", "")


def test_texts_of_ones_own_may_speak_of_e_books_and_addresses():
    own = "I read it as an ebook.\n\nSee https://example.org, or write to me@example.org.\n\nThe page is HTML in UTF-8."
    assert clean_book(own) == own + "\n"
    marked = clean_book(f"{START}\n\n{own}\n\n{STORY}\n\n{END}")
    assert marked == clean_book(STORY)


OLD_HEADER = """The Project Gutenberg Etext of X, by A. Writer

Copyright laws are changing all over the world, be sure to check
the copyright laws for your country before posting these files!!

Please take a look at the important information in this header.

**Welcome To The World of Free Plain Vanilla Electronic Texts**

Information on contacting Project Gutenberg to get Etexts, and
further information is included below.  We need your donations."""


@pytest.mark.parametrize(
    "small",
    [
        "",
        "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nWhy is this here?\n"
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    ],
)
def test_an_old_header_inside_a_newer_one_goes(small):
    assert clean_book(f"{START}\n\n{OLD_HEADER}\n\n{small}\n\n{STORY}\n\n{END}") == clean_book(STORY)


def test_short_parts_and_small_print_behind_the_book_lose_nothing():
    assert clean_book(f"{START}\n\n{STORY}\n\n{START}\n\n{STORY}\n\n{END}") == clean_book(f"{STORY}\n\n{STORY}")
    footer = "***START**THE SMALL PRINT!**START***\nWhy?\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*END*\n"
    assert "Paragraph the last" in clean_book(f"{STORY}\n\n{footer}")


def test_a_note_in_brackets_near_the_end_takes_nothing_with_it():
    note = "[Transcriber's Note: the line below is faint.]"
    inside = "\n\n".join([*PARAGRAPHS[:-3], note, *PARAGRAPHS[-3:]])
    assert clean_book(inside) == clean_book(STORY)
    prose = "\n\n".join([*PARAGRAPHS[:-3], "Changes were made in the plan of the\ncampaign.", *PARAGRAPHS[-3:]])
    assert "Paragraph the last" in clean_book(prose)
    aside = f"{START}\n\n{STORY}\n\n{'He came to the mill. ' * 20}[See the etext of 1990.]\n\n{STORY}\n\n{END}"
    assert clean_book(aside).count("He came to the mill.") == 20


@pytest.mark.parametrize(
    ("said", "copyrighted"),
    [
        (f"{START}\n\nThis play is fully copyrighted by the author in America, 1902.", False),
        (f"{START}\n\nCopyright, 1902, by A. Writer. All rights reserved. This is a COPYRIGHTED play.", False),
        (f"This is a COPYRIGHTED Project Gutenberg eBook, Details Below\n\n{START}", True),
        (f"Copyrighted by nobody.\n\n{START}\n\nThis eBook is copyrighted by the author.", True),
        (f"{START}\n\nIf it is posted with the permission of the copyright holder, see below.", False),
        (f"{START}\n\nPosted here: posted with permission of the copyright holder.", True),
    ],
)
def test_an_old_copyright_is_none(said, copyrighted):
    assert is_copyrighted(f"The Project Gutenberg eBook of X\n\n{said}\n\n{STORY}\n\n{END}") is copyrighted


def test_markers_are_found_where_a_plain_search_finds_them():
    pieces = [
        "*** START OF THIS PROJECT GUTENBERG EBOOK X ***", "*END*THE SMALL PRINT", "***START**THE SMALL PRINT", "*",
        "*** END OF THE PROJECT GUTENBERG", "*** Start: Full License ***", "End of Project Gutenberg's x", " ", "\n",
        "\n\n", "text", "the Small Print",
    ]  # fmt: skip
    rng, found = random.Random(1), Counter()
    for _ in range(3000):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 12)))
        plainly, ours = ([(m.span(), m.lastgroup) for m in some] for some in (
            credits._MARKERS.finditer(text), credits._markers(text)
        ))  # fmt: skip
        assert ours == plainly, text
        found.update(kind for _, kind in ours)
    assert set(found) == {"start", "end", "soft", "small"}, found
