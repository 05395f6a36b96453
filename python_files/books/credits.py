"""What stands around a book in a Project Gutenberg file: headers, licences, credits, notes of transcribers.

Five decades of volunteers wrote these, each in a form of their own. Each rule here answers something seen in
real files, and when in doubt the text stays: a leftover line costs less than a chapter.
"""

import re
from collections import Counter
from collections.abc import Iterator

# ---- headers and footers

_MARKERS = re.compile(
    r"""
      (?P<start> ^\ *+\*{3}\ *START\ OF\ (?:THE|THIS)\ PROJECT\ GUTENBERG (?:[^*\n]|\n(?!\n))* (?:\*{3}.*)? $
                |^.{0,3}\*\ ?END\b.{0,5}THE\ SMALL\ PRINT.*$ )  # the header's end before 2003
    | (?P<end>   ^\ *+\*{3}\ *END\ OF\ (?:THE|THIS)\ PROJECT\ GUTENBERG
                |^\ *+\*{3}\ *START:\ FULL\ LICENSE )
    | (?P<soft>  ^\ *+\**+\ *+End(?:\ of)?(?:\ (?:the|this))?\ Project\ Gutenberg.*$ )
    | (?P<small> ^.{0,4}\*{2,3}START\*\*\ ?THE\ SMALL\ PRINT )
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
# Every marker's first line has one of these. They are found many times faster, since few places can begin them.
_IN_MARKERS = re.compile(
    "[Gg][Uu][Tt][Ee][Nn][Bb][Ee][Rr][Gg]|[Ss][Mm][Aa][Ll][Ll] [Pp][Rr][Ii][Nn][Tt]"
    "|[Ff][Uu][Ll][Ll] [Ll][Ii][Cc][Ee][Nn][Ss][Ee]"
)

# More text than any licence after a line "End of Project Gutenberg's …" is the next part of the book.
_LONGEST_FOOTER = 40_000
_LONGEST_HEADER = 40_000


def _markers(text: str) -> Iterator[re.Match]:
    """``_MARKERS.finditer(text)``, sooner."""
    end = 0
    for words in _IN_MARKERS.finditer(text):
        line = text.rfind("\n", 0, words.start()) + 1
        if line >= end and (marker := _MARKERS.match(text, line)):
            end = marker.end()
            yield marker


def without_headers(text: str) -> str:
    """What stands between the start and end markers; a file of several parts has several such stretches."""
    markers = list(_markers(text))
    stretches: list[str] = []
    begin: int | None = 0
    started = False
    for number, marker in enumerate(markers):
        following = markers[number + 1].start() if number + 1 < len(markers) else len(text)
        if marker["start"]:
            # A second start without an end before it: an old header inside a newer one, or the next part of the book.
            if begin is not None and (started or _is_footer(text, marker)):
                stretches.append(text[begin : marker.start()])
            begin, started = marker.end(), True
        elif begin is None:
            continue
        elif marker["small"]:
            # The old "small print" opens the header, or, in some files, the footer.
            if started or marker.start() > _LONGEST_HEADER:
                stretches.append(text[begin : marker.start()])
                begin, started = None, True
        elif marker["end"] or following - marker.end() < _LONGEST_FOOTER:
            stretches.append(text[begin : marker.start()])
            begin = None
        else:
            stretches.append(text[begin : marker.start()])
            begin = marker.end()
    if begin is not None:
        stretches.append(text[begin:])
    return "\n\n".join(stretch[_header_end(stretch, started) :] for stretch in stretches)


def _is_footer(text: str, marker: re.Match) -> bool:
    """Whether a file's first start marker ends the old "small print" behind the book, and no header before it."""
    return marker.start() > _LONGEST_HEADER or len(text[marker.end() :].strip()) < 500 < marker.start() // 4


def header_of(text: str) -> str:
    """What stands before the book in a raw file, ``""`` if it begins with the book."""
    opening = text[: 2 * _LONGEST_HEADER].replace("\r\n", "\n").replace("\r", "\n")
    for marker in _markers(opening):
        if marker["start"] and not _is_footer(opening, marker):
            return opening[: marker.start()]
    return opening[: _header_end(opening, marked=False)]


def is_from_gutenberg(text: str) -> bool:
    """Whether a file, with its header, is one of Project Gutenberg's, and not a text of the reader's own."""
    return any(any(_markers(part)) for part in (text[:_LONGEST_HEADER], text[-2 * _LONGEST_FOOTER :])) or bool(
        _HEADER_BEGINS.search(text[:5_000])
    )


# How a header of Gutenberg's begins. Any book may begin with "Author:" or speak of Project Gutenberg.
_HEADER_BEGINS = re.compile(
    r"project\s+gutenberg\S{0,3}\s+(?:e-?text|e-?book|edition)|\[e-?(?:text|book)\s*\#?\s*\d|\be-?text\ \#?\d"
    r"|copyright\s+laws\s+are\s+changing|free\s+plain\s+vanilla",
    re.IGNORECASE,
)
_OLD_HEADER = re.compile(
    r"""copyright\s+laws\s+(?:are\s+changing|for\s+your\s+country)|electronic\s+path\s+open|plain\s+vanilla\s+electronic
      | keep\s+(?:this|these)\s+files?\b.{0,30}\bon\s+your\s+own\s+disk|important\s+information\s+in\s+this\s+header
      | do\s+not\s+(?:remove|change\s+or\s+edit)\s+(?:this|it)\b|readable\s+by\s+both\s+humans
      | hundreds\s+of\s+volunteers|first\s+thing\s+seen\s+when|we\s+(?:need\s+your|are\s+now\s+trying\s+to\s+release)
      | two\s+million\s+dollars
      | official\s+release\s+date|midnight,\s+central\s+time|this\s+file\s+should\s+be\s+named|mail\s+order
      | tax[\s-]deductible|donations?\b.{0,30}\bto\b|legal\s+advisor
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_FIELD = re.compile(
    r"""^\W{0,3}(title|author|translator|illustrator|editor|contributor|language|character\ set(?:\ encoding)?
      |release\ date|posting\ date|last\ updated|edition|e-?text|e-?book)\b.{0,4}:""",
    re.IGNORECASE | re.VERBOSE,
)
_LONGEST_GAP = 700  # characters of titles and names between two paragraphs that speak of the file


def _header_end(text: str, marked: bool) -> int:
    """Where a header ends that no start marker ends: the last of the first paragraphs that speak of the file.

    Args:
        marked: the text stands behind a start marker, so that only an old header inside a newer one is looked for.
    """
    opening = text[:20_000]
    official = bool(_HEADER_BEGINS.search(opening[:2_000]) and _OLD_HEADER.search(opening))
    if marked and not official:
        return 0
    fields = Counter(match[1].lower() for line in opening.split("\n") if (match := _FIELD.match(line)))
    position = last = 0
    for number, paragraph in enumerate(re.finditer(r"(?:[^\n]|\n(?!\n))+", opening)):
        lines = paragraph[0].strip("\n").split("\n")
        field = _FIELD.match(lines[0])
        # The name of a speaker, in a dialogue of an author and an editor, comes again and again.
        listed = bool(field) and all(line[:1] == " " or _FIELD.match(line) for line in lines)
        listed = listed and fields[field[1].lower()] == 1
        official = official or number < 3 and bool(_HEADER_BEGINS.search(paragraph[0]))
        if official:
            of_file = listed or _FILE_TALK.search(paragraph[0]) or _OLD_HEADER.search(paragraph[0])
        else:  # fields at the very beginning, the title first, and what follows without a gap
            of_file = listed and (position == last if number else field[1].lower() == "title" and len(fields) > 1)
        if of_file:
            position = paragraph.end()
        elif paragraph.end() - position > _LONGEST_GAP:
            break
        last = paragraph.end()
    return position


# ---- notes of those who made the file

# In a file of Gutenberg's, a paragraph that speaks of these things is by those who made the file: the books are older.
_FILE_TALK = re.compile(
    r"""project\s+guten?b[eu]rg|gutenberg[.’']?s?\s+(?:e-?text|archive)|guten?b[eu]rg\.(?:org|net)
      | \bpgdp\b|\bpglaf\b|distributed\s+proofread|online\s+(?:distributed\s+)?proofread|proofreading\s+team
      | \be-?texts?\b|\be-?books?\b|(?i:\[\s*e-?(?:text|book)\s*\#)
      | https?://|\bwww\.\w|\bftp\.\w|(?<![\w.\-])[\w.\-]++@[a-z][\w\-]*+\.[a-z\d]
      | \b[a-z0-9]{3,8}\d\d[a-z]?\.(?:txt|zip|htm)\b
      | \biso[\s\-]?8859|\butf-8\b|(?-i:\bASCII\b)|\bhtml\b|digital\s+dante|\bomnipage\b
      | (?-i:SMALL\s+PRINT!|Small\s+Print!)|internet\s+archive|(?-i:Hathi\s?Trust)\s+digital|hathitrust|google\s+books
      | the\s+google\s+print|copyright\s+laws\s+are\s+changing|plain\s+vanilla\s+electronic
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Every match of _FILE_TALK has one of these in it. Looking for them first is ten times as fast.
_FILE_WORDS = (
    "gutenb", "pgdp", "pglaf", "proofread", "etext", "e-text", "ebook", "e-book", "http", "www.", "ftp.", "@", ".txt",
    ".zip", ".htm", "8859", "utf-8", "ascii", "html", "digital", "omnipage", "small", "internet", "hathi",
    "google", "copyright", "vanilla",
)  # fmt: skip
_NOTE = (
    r"(?:original\s+)?transcrib(?:er|ers)[’']?s?[’']?s?(?:\s+(?:and|&)\s+\w+[’']?s?)?"
    r"\s+(?:end-?\s?)?(?:note|remark|comment|correction|errat)"
)
# Paragraphs that begin like this are such notes wherever they stand.
_NOTE_BEGINS = re.compile(
    rf"^\W*+(?:{_NOTE}|typographical\s+errors\s+corrected\s+by|note:?\s+images?\s+of\s+the\s+original)", re.IGNORECASE
)
# And these are, near the beginning or the end of the file: each says something that no book says of itself.
_SIGNS = r"(?:_?underscores?|_italics?_|=?equals?\ signs?|=bold\w*=|plus\ signs?|tildes?|curly\ brac\w+)"
_CREDITS = re.compile(
    rf"""^\W*+(?:
      (?:this\ |the\ )?(?:e-?(?:text|book)|html\ (?:version|file))s?\b.{{0,30}}?\b
          (?:produced|prepared|transcribed|scanned|digiti[sz]ed|proofed|proofread|typed|created|compiled|converted|
          submitted|contributed|formatted|entered|keyed)\b
      |this\ file\ was\ (?:produced|prepared|made)\ from\ (?:images|scans|page)
      |(?:re)?(?:produced|prepared|transcribed|scanned|digiti[sz]ed|proofed|proofread|typed|created|converted|formatted)\b
          .{{0,300}}(?:distributed\s+proofread|https?:|\bwww\.|\w@\w|\bhtml\s+(?:version|file)\s+by|\be-?(?:text|book)|
          \bomnipage\b|\bOCR|page\ (?:images|scans)|images\ (?:generously|made\ available|provided))
      |(?:many\ |special\ |specific\ |with\ )*thanks\b.{{0,200}}(?:proofread|page\ (?:images|scans)|internet\ archive|
          google\ books|hathitrust|https?:|distributed\ proof)
      |(?:page\ )?(?:images?|scans)\ (?:(?:were|are)\ )?(?:generously\ |courtesy\ of|of\ the\ original\ pages|
          (?:made\ available|provided)\ .{{0,60}}(?:archive|librar|universit|google|museum|digital|https?:))
      |e-?text\ editor|editor[’']s\ e-?text\ note|please\ (?:send|report|e-?mail)\b.{{0,80}}\w@\w
      |(?:last\ updated?|release\ date|posting\ date):.{{0,60}}\d{{4}}
      |note:\ (?:project\ gutenberg|this\ (?:e-?text|e-?book))
      |character\ set\ encoding:|based\ on\ scans\b|.{{0,120}}\[e-?(?:text|book)\ ?\#\d
      |(?:text|words?|passages|letters)\ (?:enclosed|surrounded|set)\ (?:by|in|between|with)\ {_SIGNS}
      |(?:italic|bold|small[\ -]?cap|superscript)\w*\b.{{0,80}}{_SIGNS}
      |small[\ -]?(?:cap|upper)\w*\b.{{0,80}}(?:upper\ ?case|all\ cap|full\ cap)
      |no\ italics\ have\ been\ retained|an?\ car[ae]t\b.{{0,80}}superscript
      |every\ effort\ has\ been\ made\ to\ replicate\ this\ text
      |end\ of\ (?:the\ |this\ )?(?:project\ guten|e-?text|e-?book)
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
# At the very ends of a file, where credits stand, a line of names alone is one: "Produced by Jane Doe and John Roe".
_NAME = r"(?!(?:The|Mr|Mrs|Miss|Messrs|Madame|Sir|Rev|Dr)\b)[^\W\d_a-z][\w’'\-]*\.?"
_BYLINE = re.compile(
    rf"""\W{{0,3}}(?:(?P<technical>(?:Re)?(?:[Ss]canned|[Pp]roofed|[Dd]igiti[sz]ed|[Ff]ormatted|formatted))
          |(?:[Pp]roduced|[Pp]repared|[Tt]ranscribed|[Tt]yped))(?:\ and\ [a-z]+)?\s+
          (?:from\ the\ (?:\d{{4}}\ )?[^;]{{3,90}}?\ edition\s+)?by\s+
          (?:{_NAME}[,;]?\s+(?:(?:and|of|de|van|von|der|du|la|le)\s+|&\s+)?){{1,40}}{_NAME}[\s.,_]*
       |(?:[Pp]roduced\ by\s+)?(?:An?|Several)?\s?[Aa]nonymous\ [Vv]olunteers?(?:\s+and\s+{_NAME}\s+{_NAME})?\.?""",
    re.VERBOSE,
)
_STAGE = re.compile(r"\b(?:theat|stage|opera|compan|author|bureau|committee|department|society|press)", re.I)
# These may be said by an editor of the book too. They go with a note of the transcriber that they follow.
_REMARKS = re.compile(
    r"""^\W*+(?:
      (?:[\w’']+,?\s+){0,5}?(?:spelling|punctuation|hyphenat|typograph|printer|misprint|capitali[sz]|inconsisten|
          variant|apostroph|archaic|obvious)[\w’']*\b.{0,200}\b
          (?:retained|corrected|preserved|been\ (?:kept|made|left|changed)|unchanged|amended|normali[sz]ed|remain|
          moderni[sz]ed|standardi[sz]ed|as\ printed|as\ in\ the\ original|silently)
      |(?:the\ )?following\ (?:changes|corrections|typographical\ errors|alternate\ spellings)\ (?:have|has|were)
      |foot-?notes?\ (?:have|has|were|are)\b.{0,40}(?:moved|placed|numbered|gathered|collected|located)
      |(?:page|leaf)\ numbers,?\ .{0,80}brackets|blank\ pages\b
      |(?:italic|bold|small[\ -]?cap|small\ upper|superscript)\w*\b.{0,80}
          (?:marked|denoted|indicated|represented|replaced|enclosed|surrounded|rendered|shown)
      |(?:every|great|some)\ (?:effort|care|attempt)\ (?:has|have)\ been\b
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_REMARKS_AFTER_NOTE = 10  # paragraphs
_CREDIT_PARAGRAPHS = 30  # how far from either end of the file credits are looked for
_BYLINE_PARAGRAPHS = 3  # and lines of names
_LONGEST_CREDIT = 1_500  # characters of a paragraph
_LONGEST_REMARK = 400
_LONGEST_ASIDE = 200  # a line, or what is left of a paragraph without its brackets

# A note at the end, and the lists of corrections under it, run to the end of the file.
_CLOSING_NOTE = re.compile(
    rf"\W*+(?:{_NOTE}s?\b.{{0,80}}"
    r"|(?:the\ following\ )?(?:list\ of\ )?(?:typographical\ errors|corrections|changes)"
    r"(?:\ (?:were|was|have\ been))?\ (?:corrected|made|noted)(?:\ by\ .{0,20}transcriber)?\W{0,40}"
    r"|page\ +line\ +original\ +(?:changed\ to|correction).*)$",
    re.IGNORECASE | re.MULTILINE,
)
_WHOLE_NOTE = re.compile(r"(?s)\A\s*+(?:\[.*\]|[^|+]{100,}[.!?)\]\"”’])\s*\Z")
_NEXT_PART = re.compile(
    r"\W*+(?:chapter|book|part|appendix|index|foot-?notes?|notes|glossary|epilogue)\b.{0,40}$", re.I
)
_LONGEST_CLOSING_NOTE = 8_000


def without_credits(text: str, gutenberg: bool = True) -> str:
    """Drops credits and notes of those who made the file: "Produced by …", "[Transcriber's Note: …]".

    Args:
        gutenberg: whether the file is one of Project Gutenberg's, whose books are older than e-mail. A text of the
            reader's own may speak of e-books and addresses as it likes.
    """
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    paragraphs = _without_closing_note(paragraphs, len(text))
    lower = text.lower()
    words = [word for word in _FILE_WORDS if word in lower] if gutenberg else []
    kept: list[str] = []
    noted = -1_000  # where the last heading of a transcriber's note stands
    for index, paragraph in enumerate(paragraphs):
        end = min(index, len(paragraphs) - 1 - index)
        short = len(paragraph) < _LONGEST_CREDIT
        if short and _NOTE_BEGINS.match(paragraph):
            noted = noted if _WHOLE_NOTE.match(paragraph) else index
            continue
        if short and end < _CREDIT_PARAGRAPHS:
            stripped = paragraph.strip()
            if _CREDITS.match(stripped) or _is_byline(stripped, end):
                continue
            if index - noted <= _REMARKS_AFTER_NOTE and len(stripped) < _LONGEST_REMARK and _REMARKS.match(stripped):
                continue
        lower = paragraph.lower()
        if any(word in lower for word in words) and _FILE_TALK.search(paragraph):
            paragraph = _without_file_talk(paragraph)
        if paragraph.strip():
            kept.append(paragraph)
    return "\n\n".join(kept)


def _is_byline(paragraph: str, end: int) -> bool:
    """Whether a paragraph, ``end`` paragraphs away from an end of the file, names those who made the file, and no more.

    A play is produced too, and its title page says so.
    """
    match = _BYLINE.fullmatch(paragraph) if len(paragraph) < _LONGEST_REMARK else None
    return bool(match) and (end < _BYLINE_PARAGRAPHS or bool(match["technical"])) and not _STAGE.search(paragraph)


def _without_file_talk(paragraph: str) -> str:
    """What a paragraph that speaks of the file says of the book: a long one loses lines or brackets alone."""
    rest = re.sub(r"\[[^\[\]]{0,600}\]", lambda aside: "" if _FILE_TALK.search(aside[0]) else aside[0], paragraph)
    if len(rest) >= _LONGEST_ASIDE and not _FILE_TALK.search(rest):
        return rest
    if len(paragraph) < _LONGEST_CREDIT:
        return ""
    lines = paragraph.split("\n")
    return "\n".join(line for line in lines if len(line) > _LONGEST_ASIDE or not _FILE_TALK.search(line))


def _without_closing_note(paragraphs: list[str], length: int) -> list[str]:
    """The paragraphs without a note that runs to the end of the file. ``length``: of the text, in characters."""
    room = min(_LONGEST_CLOSING_NOTE, int(0.4 * length))  # never the most of a short file
    start, index = len(paragraphs), len(paragraphs)
    while index > 0 and room > 0:
        index -= 1
        paragraph = paragraphs[index]
        room -= len(paragraph) + 2
        if room <= 0 or _NEXT_PART.match(paragraph):
            break
        # A note that is whole in its paragraph has said its say: what follows may be the book's.
        if _CLOSING_NOTE.match(paragraph) and not _WHOLE_NOTE.search(paragraph):
            start = index
    if start < len(paragraphs) and paragraphs[start].lstrip()[:1] == "[":  # opened here, and closed further down
        ends = [n for n in range(start, len(paragraphs)) if paragraphs[n].rstrip()[-1:] == "]"]
        alone = [n for n in ends if paragraphs[n].strip() == "]"]
        return paragraphs[:start] + paragraphs[[*ends, len(paragraphs)][-1] + 1 if not alone else alone[0] + 1 :]
    while 0 < start < len(paragraphs) and not any(map(str.isalnum, paragraphs[start - 1])):
        start -= 1  # the ruler above it
    return paragraphs[:start]
