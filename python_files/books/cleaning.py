"""From a raw Project Gutenberg file to the book's own text: encoding, headers, debris, line wrapping.

Volunteers typed these files over five decades, so that there is no one format. Each rule here answers
something seen in real files, and when in doubt the text stays: a leftover line costs less than a chapter.
"""

import codecs
import re
import unicodedata

import ftfy

from books.credits import is_from_gutenberg, without_credits, without_headers

# ---- bytes to text

_DECLARED_ENCODING = re.compile(rb"^Character set encoding:\s*([\w.\- ]+)", re.IGNORECASE | re.MULTILINE)
# UTF-32 before UTF-16, whose mark it begins with.
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OF_BYTES = re.compile(r"iso8859|cp\d|koi8|mac|big5|gb|euc|shift_jis|hp_roman|tis")  # ASCII is a part of each
_OLD_ENCODINGS = ("cp1252", "mac_roman", "cp437")
# A capital or a sign inside a word, a low quotation mark behind one: the letters of another computer.
_MISPLACED = re.compile(r"[a-z](?:[À-ÖØ-ÞŠŽŒŸ‚„]|[…†‡ˆ‰‹•˜¢-»¿×÷¦Ωπ∂∫√∞≈∆◊\u2500-\u25ff][a-z])|[ \n][ÒÔ][A-Z]|\ufffd")


def decode(data: bytes) -> str:
    """The text of a file of unknown encoding.

    UTF-32, UTF-16 and UTF-8 by their byte order marks, then UTF-8 if it is valid, then what the header declares,
    then Windows-1252, of which ISO-8859-1 text is a part, unless an old Macintosh's or DOS's letters make more sense.
    A file that is UTF-8 but for a few stray bytes is read as UTF-8 and the strays as Windows-1252.
    """
    for mark, encoding in _WIDE_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace").removeprefix("\ufeff")
    if wide := _without_mark(data):
        return data.decode(wide, errors="replace")
    marked = data.startswith(codecs.BOM_UTF8)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    mixed = data.decode("utf-8", errors="surrogateescape")
    strays = sum("\udc80" <= char <= "\udcff" for char in mixed)
    if marked or sum(char > "\x7f" for char in mixed) > 2 * strays:
        return re.sub("[\udc80-\udcff]+", lambda run: _windows_1252(run[0].encode("utf-8", "surrogateescape")), mixed)
    declared = _DECLARED_ENCODING.search(data[:20_000])
    if declared:
        try:
            name = codecs.lookup(declared[1].decode("ascii").strip().lower()).name
            # "ASCII" and "ISO-8859-1" are declared by habit for what is Windows-1252.
            if _OF_BYTES.match(name) and name not in ("iso8859-1", "cp1252"):
                return data.decode(name)
        except (LookupError, UnicodeDecodeError):
            pass
    return _of_an_old_computer(data)


def _without_mark(data: bytes) -> str:
    """``utf-16-le`` or ``utf-16-be`` for text of two bytes a character without a byte order mark, else ``""``."""
    start = data[:4000]
    for encoding, high, low in (("utf-16-le", start[1::2], start[::2]), ("utf-16-be", start[::2], start[1::2])):
        if len(low) > 8 and high.count(0) > 0.7 * len(high) and low.count(0) < 0.1 * len(low):
            return encoding
    return ""


def _of_an_old_computer(data: bytes) -> str:
    """Windows-1252, unless the letters and quotation marks make sense as a Macintosh's or as those of DOS alone."""
    found = re.findall(rb"(?<=[ -~\n])[\x80-\xff]+(?=[ -~\r\n])", data[:2_000_000])[:2_000]
    if len(found) > 0:
        around = b"|".join(re.findall(rb"[ -~\n][\x80-\xff]+[ -~\r\n]", data[:2_000_000])[:2_000])
        wrong = {name: len(_MISPLACED.findall(around.decode(name, errors="replace"))) for name in _OLD_ENCODINGS}
        best = min(_OLD_ENCODINGS, key=wrong.get)
        if wrong["cp1252"] > 0.3 * len(found) and wrong[best] < 0.3 * wrong["cp1252"]:
            return data.decode(best)
    return _windows_1252(data)


def _windows_1252(data: bytes) -> str:
    """Windows-1252, with its five undefined bytes read as ISO-8859-1."""
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(bytes([b]).decode("cp1252" if b not in b"\x81\x8d\x8f\x90\x9d" else "latin-1") for b in data)


# UTF-8 read as Windows-1252 has a letter from Â to ô before a sign that was the second byte; \x80 to \x9f are no
# characters at all.
_MAYBE_MOJIBAKE = re.compile("[\xc2-\xf4][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|[\x80-\x9f]")


def _without_mojibake(text: str) -> str:
    """Mends lines that were encoded in UTF-8 and read as something else: "cafÃ©" becomes "café". By ``ftfy``.

    Line by line, since some files hold both kinds, and for lines alone that look wrong, since ftfy takes its time.
    """
    if text.isascii():
        return text
    parts, end = [], 0
    while match := _MAYBE_MOJIBAKE.search(text, end):
        start = max(end, text.rfind("\n", 0, match.start()) + 1)
        following = text.find("\n", match.start())
        following = len(text) if following < 0 else following
        line = text[start:following]
        parts += [text[end:start], ftfy.fix_encoding(line) if ftfy.badness.is_bad(line) else line]
        end = following
    return "".join([*parts, text[end:]])


def _normalise(raw: str) -> str:
    """Unicode NFC, ``\\n`` line ends, plain spaces, no invisible characters, no white space at line ends."""
    text = re.sub(r"(?<!\r)\r+\n|\r", "\n", raw) if "\r" in raw else raw
    text = unicodedata.normalize("NFC", _without_mojibake(text))
    text = re.sub(r"[\f\v\x85\u2028\u2029]", "\n", text)
    text = text.expandtabs(8)
    text = re.sub(r"[\u00a0\u2000-\u200a\u202f\u3000]", " ", text)
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b-\u200f\u2060\ufeff]", "", text)
    return "\n".join([line.rstrip(" ") for line in text.split("\n")])


# ---- debris inside the text

_ILLUSTRATION = re.compile(
    r"\[_?(?:Illustrations?|Picture|Frontispiece|Decoration)\b(?:[^\[\]]|\[[^\[\]]*\]){0,1500}\]", re.IGNORECASE
)
_NOTE_IN_BRACKETS = re.compile(r"\[Transcriber[’']?s?[’']? Notes?\b(?:[^\[\]]|\[[^\[\]]*\]){0,1500}\]", re.IGNORECASE)
# "[12]" behind a word points to a note, "[Footnote 12: …]" is one: its words stay, as a paragraph.
_BEFORE, _MARK, _BEHIND = r"[\w.,;:!?\"'”’)_]", r"(?:\d{1,3}|[A-Z]|[*†‡§])\]", r"[\s.,;:!?\"'”’)_—-]|$"
# What stands before is looked at second, here and below: a pattern whose first sign is known is found far sooner.
_FOOTNOTE_MARK = re.compile(rf"(?: \[(?<={_BEFORE} \[)|\[(?<={_BEFORE}\[)){_MARK}(?:[ ]?\[{_MARK})*(?={_BEHIND})")
_FOOTNOTE = re.compile(
    r"^[ ]*\[_?(?:Foot)?note_?\b[ ]*_?[\dA-Z*†‡]{0,4}_?[:.][ ]*+((?:[^\[\]]|\[[^\[\]]*\]){1,20000})\]",
    re.IGNORECASE | re.MULTILINE,
)
_PAGE_MARK = re.compile(r"[\[{](?:[Pp][Gg]|[Pp]age|PAGE|[Pp])\.? ?[\divxlcIVXLC]+[\]}]|\{\d{1,4}[a-z]?\}")
_MARK_AND_SPACE = re.compile(r" ?\x00(?=\s|$)|\x00 ?")  # \x00 stands for a page mark: no text has one here
_ITALICS = re.compile(r"_(?<![A-Za-z0-9_]_)(?=[^\s_])((?:[^_\n]|\n(?!\n)){1,1500}?)(?<=[^\s_])_(?!_)")
_BOLD = re.compile(r"=(?<![\w=]=)(?=[^\s=])([^=\n]{1,200}?)(?<=[^\s=])=(?![\w=])")
_STARRED = re.compile(r"\*(?<![\w*]\*)(?=[^\s*])([^*\n]{1,200}?)(?<=[^\s*])\*(?![\w*])")
_RULE = re.compile(r"(?=[ \-=_~.+|#]*[\-=_~+#]{3})[ \-=_~.+|#]+")
_STARS = re.compile(r"^\s*\*(?:\s*\*){2,}\s*$|^\s*(?:[*·•]\s+){2,}[*·•]\s*$")
_NUMBER_ALONE = re.compile(r"^\W{0,3}(\d{1,4})\W{0,3}$")


def _without_debris(text: str) -> str:
    """Drops illustrations, page marks, rulers and the signs for italics and bold."""
    text = _ILLUSTRATION.sub("", text)
    text = _NOTE_IN_BRACKETS.sub("", text)
    text = _FOOTNOTE_MARK.sub("", text)
    text = _FOOTNOTE.sub(r"\1", text)
    text = _MARK_AND_SPACE.sub("", text) if "\x00" in (text := _PAGE_MARK.sub("\x00", text)) else text
    text = _ITALICS.sub(r"\1", text)
    text = _BOLD.sub(r"\1", text)
    text = _STARRED.sub(r"\1", text)
    return _without_page_numbers(text)


def _without_page_numbers(text: str) -> str:
    """Drops lines that hold a number alone, if they count up as pages do. Chapter numbers stay."""
    lines = text.split("\n")
    short = ((index, _NUMBER_ALONE.match(line)) for index, line in enumerate(lines) if len(line) <= 10)
    alone = [(index, int(match[1])) for index, match in short if match]
    numbers = [number for _, number in alone]
    rising = sum(0 < later - earlier < 10 for earlier, later in zip(numbers, numbers[1:], strict=False))
    if len(numbers) < 30 or rising < 0.8 * (len(numbers) - 1) or max(numbers) < 60:
        return text
    for index, _ in alone:
        lines[index] = ""
    return "\n".join(lines)


# ---- unwrapping

_VERSE_START = re.compile(r"^\W*[A-ZÀ-Þ]")
_COLUMNS = re.compile(r"\S {3,}\S|\.{6,}|(?:\. ){5,}|\|")  # shorter runs of dots are ellipses
_TWO_SPACES = re.compile(r"([.!?:;,][\"'”’)]?) {2}(?=\S)")  # a typist's habit after a full stop
_LIST_ITEM = re.compile(r"^\s*(?:\(?(?:\d{1,3}|[ivxlc]{1,6}|[a-z])[.)]|[-•*—]) ", re.IGNORECASE)
_NARROWEST_PROSE = 60  # characters; hand-wrapped Gutenberg prose is 65 to 75 wide, picture books are narrower


def _unwrapped(text: str) -> str:
    """One line per paragraph of prose. Verse, tables, lists and title pages keep their lines."""
    written = [line for line in text.split("\n") if line.strip()]
    if not written:
        return ""
    # The width the book was wrapped to: all but its longest lines are within it.
    width = sorted(map(len, written))[int(0.95 * (len(written) - 1))]
    if sum(bool(_VERSE_START.match(line)) for line in written) > 0.35 * len(written):
        width = max(width, _NARROWEST_PROSE)  # a book of verse does not set the width of its prose
    paragraphs: list[str] = []
    for block in re.split(r"\n(?:[ ]*\n)+", text.strip("\n")):
        lines = [line for line in block.split("\n") if line.strip()]
        if len(lines) == 1 and _STARS.match(lines[0]):
            if paragraphs and paragraphs[-1] != "* * *":
                paragraphs.append("* * *")
        elif len(lines) == 1 and _RULE.fullmatch(lines[0]):
            continue
        elif lines:
            paragraphs.extend(_paragraphs_of(lines, width))
    return "\n\n".join(paragraphs)


def _paragraphs_of(lines: list[str], width: int) -> list[str]:
    """The paragraphs of one block of lines without a blank line between."""
    if _is_prose(lines, width):
        return [_joined(lines)]
    # Paragraphs may be told apart by their indented first lines alone.
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    starts = [n for n, line in enumerate(lines) if n == 0 or len(line) - len(line.lstrip()) - margin >= 2]
    if 1 < len(starts) <= 0.6 * len(lines):
        parts = [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
        if all(_is_prose(part, width) for part in parts if len(part) > 1):
            return [_joined(part) for part in parts]
    centres = [len(line) - len(line.strip()) / 2 for line in lines]
    widest, narrowest = max(len(line.strip()) for line in lines), min(len(line.strip()) for line in lines)
    if max(centres) - min(centres) <= 3 and widest - narrowest >= 12:
        margin = 80  # centred, as on a title page: the indents say nothing
    lines = [line[min(margin, len(line) - len(line.lstrip())) :] for line in lines]
    return ["\n".join(_TWO_SPACES.sub(r"\1 ", line) for line in lines)]


def _is_prose(lines: list[str], width: int) -> bool:
    """Whether lines were broken because they were full, as in prose, and not by a poet or a table's maker.

    A line is full if the first word of the next line would not have fitted on it.
    """
    if len(lines) == 1:
        return True
    breaks = len(lines) - 1
    bodies = [line.strip() for line in lines]
    if _COLUMNS.search("\n".join(bodies)) and sum(bool(_COLUMNS.search(body)) for body in bodies) > 0.3 * len(bodies):
        return False
    if sum(bool(_LIST_ITEM.match(body)) for body in bodies) > max(1, 0.3 * len(bodies)):
        return False
    longest = max(len(line) for line in lines)
    if longest > 1.5 * width + 40:
        return False  # not hard-wrapped: each line is a paragraph of its own
    # A few lines say little of their own width, and then the book's width decides.
    limit = longest if breaks >= 4 else max(longest, 0.85 * width)
    full = [
        len(line) + 1 + len(following.split(maxsplit=1)[0]) >= limit - 1
        for line, following in zip(lines, bodies[1:], strict=False)
    ]
    share_full = sum(full) / breaks
    share_capital = sum(bool(_VERSE_START.match(body)) for body in bodies[1:]) / breaks
    if longest < 0.6 * width and breaks < 4:
        return False
    if share_capital > 0.8 and breaks >= 2:
        return breaks == 2 and longest > 0.9 * width and all(full)
    if share_full >= 0.75:
        return True
    # Wrapped by hand, unevenly: lines are long and rarely begin with a capital.
    mean = sum(len(line) for line in lines[:-1]) / breaks
    return mean > 0.75 * width and share_capital < 0.4 and share_full >= 0.25


def _joined(lines: list[str]) -> str:
    """Lines of prose as one line. A dash at a line's end is joined without a space, as it was in print."""
    text = lines[0].strip()
    for line in lines[1:]:
        line = line.strip()
        hyphen = text.endswith(("-", "—")) and not text.endswith((" -", " --", " —"))
        text += line if hyphen or line.startswith(("--", "—")) and not text.endswith((".", "!", "?")) else f" {line}"
    return re.sub(r" {2,}", " ", text)


def clean_book(raw: str) -> str:
    """One raw Gutenberg file's text in, the book's own text out; ``""`` if nothing is left.

    The result is Unicode NFC with ``\\n`` line ends: paragraphs are one line each, with a blank line between;
    verse, tables and lists keep their lines. Text that is not from Gutenberg passes with the same tidying.
    """
    text = _normalise(raw)
    gutenberg = is_from_gutenberg(text)
    text = without_headers(text)
    text = without_credits(text, gutenberg)
    text = _without_debris(text)
    text = _unwrapped(text)
    return text + "\n" if any(char.isalpha() for char in text) else ""
