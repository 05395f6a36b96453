"""What stands around a book in a Project Gutenberg file: headers, licences, credits, notes of transcribers.

Five decades of volunteers wrote these, each in a form of their own. Each rule here answers something seen in
real files, and when in doubt the text stays: a leftover line costs less than a chapter.
"""

import re

# ---- headers and footers

_MARKERS = re.compile(
    r"""
      (?P<start> ^\ *\*{3}\ *START\ OF\ (?:THE|THIS)\ PROJECT\ GUTENBERG (?:[^*\n]|\n(?!\n))* (?:\*{3}.*)? $
                |^.{0,3}\*\ ?END\b.{0,5}THE\ SMALL\ PRINT.*$ )  # the header's end before 2003
    | (?P<end>   ^\ *\*{3}\ *END\ OF\ (?:THE|THIS)\ PROJECT\ GUTENBERG
                |^\ *\*{3}\ *START:\ FULL\ LICENSE )
    | (?P<soft>  ^\ *\**\ *End(?:\ of)?(?:\ (?:the|this))?\ Project\ Gutenberg.*$ )
    | (?P<small> ^.{0,4}\*{2,3}START\*\*\ ?THE\ SMALL\ PRINT )
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)

# More text than any licence after a line "End of Project Gutenberg's …" is the next part of the book.
_LONGEST_FOOTER = 40_000


def without_headers(text: str) -> str:
    """What stands between the start and end markers; a file of several parts has several such stretches."""
    markers = list(_MARKERS.finditer(text))
    stretches: list[str] = []
    begin: int | None = 0
    started = False
    for number, marker in enumerate(markers):
        following = markers[number + 1].start() if number + 1 < len(markers) else len(text)
        if marker["start"]:
            between = text[begin : marker.start()] if begin is not None else ""
            # A second start without an end before it: what lies between is either more header or a part of the book.
            if started and len(between) > _LONGEST_FOOTER:
                stretches.append(between)
            begin, started = marker.end(), True
        elif begin is None:
            continue
        elif marker["small"]:
            # The old "small print" opens the header, or, in some files, the footer.
            if started:
                stretches.append(text[begin : marker.start()])
                begin = None
        elif marker["end"] or following - marker.end() < _LONGEST_FOOTER:
            stretches.append(text[begin : marker.start()])
            begin = None
        else:
            stretches.append(text[begin : marker.start()])
            begin = marker.end()
    if begin is not None:
        stretches.append(text[begin:])
    text = "\n\n".join(stretches)
    return text if started else _without_unmarked_header(text)


_HEADER_WORDS = re.compile(
    r"project gutenberg|gutenberg\.(?:org|net)|^\W*(?:e-?text|release date|posting date|language|character set|title|"
    r"author|translator|illustrator|editor|edition|last updated)\b.{0,4}:|etext #?\d|\[e-?(?:text|book) ?#",
    re.IGNORECASE | re.MULTILINE,
)


def _without_unmarked_header(text: str) -> str:
    """For files without a start marker: the first paragraphs go while they speak of the file, not the book."""
    position = 0
    for match in re.finditer(r"(?s)(?:[^\n]|\n(?!\n))+", text[:20_000]):
        if _HEADER_WORDS.search(match[0]):
            position = match.end()
        elif match.end() - position > 1500:
            break
    return text[position:]


# ---- notes of those who made the file

# No book that is in the public domain speaks of these things: a paragraph that does is by those who made the file.
_FILE_TALK = re.compile(
    r"""project\s+guten?b[eu]rg|gutenberg[.’']?s?\s+(?:e-?text|archive)|guten?b[eu]rg\.(?:org|net)
      | \bpgdp\b|\bpglaf\b|distributed\s+proof|online\s+proof|proofreading\s+team
      | \be-?texts?\b|\be-?books?\b|(?i:\[\s*e-?(?:text|book)\s*\#)
      | https?://|\bwww\.\w|\bftp\.\w|[\w.\-]+@\w[\w\-]*\.\w
      | \b[a-z0-9]{3,8}\d\d[a-z]?\.(?:txt|zip|htm)\b
      | \biso[\s\-]?8859|\butf-8\b|\bascii\b|\bhtml\b|digital\s+dante
      | small\s+print!|internet\s+archive|hathi\s?trust|google\s+books|the\s+google\s+print
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Every match of _FILE_TALK has one of these in it. Looking for them first is ten times as fast.
_FILE_WORDS = (
    "gutenb", "pgdp", "pglaf", "distributed", "online proof", "proofreading", "etext", "e-text", "ebook", "e-book",
    "http", "www.", "ftp.", "@", ".txt", ".zip", ".htm", "8859", "utf-8", "ascii", "html", "digital", "small",
    "internet", "hathi", "google",
)  # fmt: skip
_NOTE = (
    r"(?:original\s+)?transcrib(?:er|ers)[’']?s?[’']?s?(?:\s+(?:and|&)\s+\w+[’']?s?)?"
    r"\s+(?:end-?\s?)?(?:note|remark|comment|correction|errat)"
)
# Paragraphs that begin like this are such notes wherever they stand.
_NOTE_BEGINS = re.compile(
    rf"^\W*(?:{_NOTE}|typographical\s+errors\s+corrected\s+by|note:?\s+images?\s+of\s+the\s+original)", re.IGNORECASE
)
# And these are, near the beginning or the end of the file.
_CREDITS = re.compile(
    r"""^\W*(?:
      (?:this\ |the\ )?(?:e-?(?:text|book)|file|text|edition|html\ version)?\s*
          (?:was\ |is\ |has\ been\ )?(?:first\ |originally\ )?
          (?:re)?(?:produced|prepared|transcribed|scanned|digiti[sz]ed|proof(?:ed|read)|typed|created|compiled|converted|
          submitted|contributed|formatted|entered|keyed)\b.{0,60}?\b(?:by|from|for|in|with|at)\b
      |(?:with\ )?(?:many\ )?(?:special\ |specific\ )?(?:thanks|images?|scans?|acknowledge?ments?)\b.{0,120}
          (?:archive|google|library|images|proofread|transcrib|typing|scanning)
      |the\ base\ text\ for\ this\ edition
      |\[?(?:editor|e-?text)[’']?s?\ (?:e-?text\ )?note\b
      |(?:an|several)\ anonymous\ volunteers?$
      |(?:e-?mail|updated?|last\ updated?|updated\ editions|release\ date|posting\ date)\b.{0,60}(?:@|\d{4})
      |note:\ (?:images|the\ original|this\ file|this\ text)
      |(?:character\ set\ encoding|language):
      |based\ on\ scans?\b
      |(?:text|words?|passages|letters)\ (?:enclosed|surrounded|set)\ (?:by|in|between|with)\b
      |(?:italic|bold|small[\ -]?cap|small\ upper|superscript|underscore)\w*\b.{0,80}
          (?:marked|denoted|indicated|represented|replaced|enclosed|surrounded|rendered|shown|retained)
      |no\ italics\ have|an?\ car[ae]t\b.{0,80}superscript|(?:page|leaf)\ numbers,?\ .{0,80}brackets|blank\ pages\b
      |(?:every|great|some)\ (?:effort|care|attempt)\ (?:has|have)\ been\ .{0,40}
          (?:replicate|reproduce|preserve|transcri)
      |(?:the\ )?following\ (?:changes|corrections|typographical\ errors)\ (?:have|has|were)
      |foot-?notes?\ (?:have|has|were|are)\b.{0,40}(?:moved|placed|numbered|gathered|collected|located)
      |(?:the\ |all\ |some\ |a\ few\ |other\ )?(?:original|archaic|inconsisten|varian|variable|obvious|minor|printer|
          punctuation|spelling|hyphenation|typograph)[\w’']*\b.{0,160}
          (?:retained|corrected|preserved|been\ (?:kept|made|left|changed)|unchanged|normali[sz]ed|moderni[sz]ed|
          standardi[sz]ed|as\ printed|as\ in\ the\ original|silently)
      |end\ of\ (?:the\ |this\ )?(?:project|e-?text|e-?book)
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_CREDIT_PARAGRAPHS = 30  # how far from either end of the file credits are looked for
_LONGEST_CREDIT = 1_500  # characters of a paragraph

# A note at the end, and the lists of corrections under it, run to the end of the file.
_CLOSING_NOTE = re.compile(
    rf"(?:\A|\n[ ]*\n)\W*(?:{_NOTE}s?\b.{{0,80}}"
    r"|(?:the\ following\ )?(?:list\ of\ )?(?:typographical\ errors|corrections|changes)"
    r"(?:\ (?:were|was|have\ been))?\ (?:corrected|made|noted)\b.{0,40}"
    r"|page\ +line\ +original\ +(?:changed\ to|correction).*)$",
    re.IGNORECASE | re.MULTILINE,
)
_LONGEST_CLOSING_NOTE = 8_000


def without_credits(text: str) -> str:
    """Drops credits and notes of those who made the file: "Produced by …", "[Transcriber's Note: …]"."""
    for heading in _CLOSING_NOTE.finditer(text, max(0, len(text) - _LONGEST_CLOSING_NOTE)):
        # Never over the most of a short file.
        if heading.start() > 0.6 * len(text):
            text = text[: heading.start()]
            break
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    lower = text.lower()
    words = [word for word in _FILE_WORDS if word in lower]
    kept = []
    for index, paragraph in enumerate(paragraphs):
        near_end = min(index, len(paragraphs) - 1 - index) < _CREDIT_PARAGRAPHS
        short = len(paragraph) < _LONGEST_CREDIT
        if short and (_NOTE_BEGINS.match(paragraph) or near_end and _CREDITS.match(paragraph.strip())):
            continue
        lower = paragraph.lower()
        if any(word in lower for word in words) and _FILE_TALK.search(paragraph):
            if short:
                continue
            # A long paragraph loses those of its lines that speak of the file.
            paragraph = "\n".join(line for line in paragraph.split("\n") if not _FILE_TALK.search(line))
        if paragraph.strip():
            kept.append(paragraph)
    return "\n\n".join(kept)
