"""Links, pictures and anchors of all pages and of the notebooks' prose: all lead somewhere in a fresh clone."""

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT

from course_kit.outputs import joined

README = ROOT / "README.md"
MADE_HERE = {"artifacts", ".venv", ".git"}  # what a fresh clone doesn't have
MARKDOWN = [
    path
    for depth in ("*.md", "*/*.md", "*/*/*.md")
    for path in sorted(ROOT.glob(depth))
    if path.relative_to(ROOT).parts[0] not in MADE_HERE
]
# README, and the pages of their own that it leads to.
FRONT = [README, *sorted((ROOT / "readme_materials").glob("*.md"))]
LONG = 6  # sections: from so many on, a page that isn't README names them at its top
PAGES = [*MARKDOWN, *sorted(ROOT.glob("[0-9]_*/*.ipynb"))]
PICTURES = (".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp")

FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# A line of text may be broken inside of code, but a paragraph's end ends it.
CODE = re.compile(r"(?<![`\\])(?P<ticks>`+)(?!`)(?P<code>(?:(?!\n\s*\n).)+?)(?<!`)(?P=ticks)(?!`)", re.DOTALL)
MATH = re.compile(r"\$\$.+?\$\$|(?<![\\\w$])\$(?=\S)[^$\n]+?(?<=\S)\$(?![\w$])", re.DOTALL)
# [text](target "title"), where the text may hold a picture, and the target a pair of parentheses.
TEXT = r"\[(?P<text>(?:!\[[^\]]*\]\([^)]*\)|\\.|[^\[\]\\]|\[[^\[\]]*\])*)\]"
INLINE = re.compile(
    rf"(?P<mark>!?){TEXT}\(\s*(?:<(?P<angle>[^>\n]*)>|(?P<target>(?:[^\s()]|\([^\s()]*\))*))"
    r"""(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)"""
)
REFERENCE = re.compile(rf"(?P<mark>!?){TEXT}\[(?P<label>[^\[\]]*)\]")
DEFINITION = re.compile(r"^ {0,3}\[(?P<label>[^\[\]^]+)\]:[ \t]*<?(?P<target>[^\s>]+)>?.*$", re.MULTILINE)
TAG = re.compile(r"<(?P<name>img|a)\b(?P<rest>[^>]*)>", re.IGNORECASE)
ATTRIBUTE = re.compile(r"""\b(?P<name>src|href|alt|id|name)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
AUTOLINK = re.compile(r"<(?P<target>[a-z][a-z0-9+.-]*:[^\s<>]*)>", re.IGNORECASE)
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(?P<text>.*?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)


class Link(NamedTuple):
    """One link or picture: where it leads, and what is read in its place."""

    target: str
    is_picture: bool
    text: str


def cells(path: Path) -> list[str]:
    """The Markdown of a page: a file's whole text, or each cell of prose of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return [text]
    return [joined(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]


def without_blocks(markdown: str) -> str:
    """Markdown without what isn't read as such: blocks of code, and comments."""
    return COMMENT.sub("", FENCE.sub("", markdown.replace("\r\n", "\n")))


def prose(markdown: str) -> str:
    """What is left to hold links: no code in lines and no formulas either."""
    return MATH.sub("", CODE.sub("``", without_blocks(markdown)))


def attributes(tag: re.Match) -> dict[str, str]:
    """The attributes of an HTML tag that matter here."""
    return {m["name"].lower(): m[2] or m[3] or m[4] or "" for m in ATTRIBUTE.finditer(tag["rest"])}


def links(markdown: str) -> tuple[list[Link], list[str]]:
    """All links and pictures of a piece of Markdown, and the references to labels that nothing defines."""
    text = prose(markdown)
    defined = {" ".join(m["label"].lower().split()): m["target"] for m in DEFINITION.finditer(text)}
    found = [Link(target, False, label) for label, target in defined.items()]
    undefined = []
    text = DEFINITION.sub("", text)
    for m in INLINE.finditer(text):
        found.append(Link(m["angle"] if m["angle"] is not None else m["target"], m["mark"] == "!", m["text"]))
        found += links(m["text"])[0]  # a picture that is a link, such as a badge
    for m in REFERENCE.finditer(INLINE.sub("", text)):
        label = " ".join((m["label"] or m["text"]).lower().split())
        if label not in defined:
            undefined.append(m.group())
        elif m["mark"]:
            found.append(Link(defined[label], True, m["text"]))
    for tag in TAG.finditer(text):
        values = attributes(tag)
        is_picture = tag["name"].lower() == "img"
        if (target := values.get("src" if is_picture else "href")) is not None:
            found.append(Link(target, is_picture, values.get("alt", "")))
        elif is_picture:
            undefined.append(tag.group())
    found += [Link(m["target"], False, m["target"]) for m in AUTOLINK.finditer(text)]
    return found, undefined


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading: small letters, no signs, hyphens for spaces."""
    text = re.sub(r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", heading)
    text = re.sub(r"<[^>]*>", "", text)
    text = re.sub(r"(?<!\w)(_{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", text)  # emphasis: stars are signs, _ is not
    kept = [c for c in text.strip().lower() if c in "_- " or unicodedata.category(c)[0] in "LM" or c.isnumeric()]
    return "".join(kept).replace(" ", "-")


def anchors(parts: list[str]) -> set[str]:
    """All anchors of a page: those of its headings, numbered where a heading comes again, and those written by hand."""
    seen: set[str] = set()
    for part in map(without_blocks, parts):
        for heading in HEADING.finditer(part):
            name = first = slug(heading["text"])
            number = 0
            while name in seen:
                number += 1
                name = f"{first}-{number}"
            seen.add(name)
        for tag in TAG.finditer(prose(part)):
            values = attributes(tag)
            seen |= {values[key] for key in ("id", "name") if key in values}
    return seen


def exists(path: Path, root: Path) -> bool:
    """Whether a file or folder is there under this very name: some systems don't mind capitals, GitHub does."""
    at = root
    for part in path.relative_to(root).parts:
        if not at.is_dir() or part not in {inner.name for inner in at.iterdir()}:
            return False
        at = at / part
    return True


def external_problem(target: str) -> str | None:
    """What is wrong with the form of an address elsewhere. It isn't visited."""
    parts = urlsplit(target)
    if parts.scheme != "https":
        return f"{target}: only https leads out of the course"
    if not re.fullmatch(r"(?:[\w-]+\.)+[a-z]{2,}", parts.netloc, re.IGNORECASE) or re.search(r"[\s<>{}]", target):
        return f"{target}: no whole address"
    return None


def problem(link: Link, page: Path, root: Path, anchors_of: Callable[[Path], set[str]]) -> str | None:
    """What is wrong with a link on ``page``, or None."""
    target = link.target.strip()
    if not target or target == "#":
        return f"[{link.text}]() leads nowhere"
    if re.match(r"[a-z][a-z0-9+.-]+:", target, re.IGNORECASE):
        return external_problem(target)
    if target.startswith(("/", "\\")):
        return f"{target}: an absolute path"
    name, _, anchor = target.partition("#")
    path = Path(*page.parent.parts, *unquote(name).split("/")).resolve() if name else page
    if not path.is_relative_to(root):
        return f"{target}: outside of the course"
    if MADE_HERE & set(path.relative_to(root).parts[:1]):
        return f"{target}: not in a fresh clone"
    if not exists(path, root):
        return f"{target}: no such file"
    if link.is_picture and path.suffix.lower() not in PICTURES:
        return f"{target}: not a picture"
    if anchor and (path.suffix not in (".md", ".ipynb") or unquote(anchor) not in anchors_of(path)):
        return f"{target}: no such heading"
    return None


def problems(page: Path, root: Path = ROOT) -> list[str]:
    """All that is wrong with the links of a page."""
    wrong = []
    for cell in cells(page):
        found, undefined = links(cell)
        wrong += [f"{reference}: not defined" for reference in undefined]
        wrong += [text for link in found if (text := problem(link, page, root, lambda path: anchors(cells(path))))]
    return wrong


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- The pages of the course ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_somewhere(page):
    assert problems(page) == []


def test_the_pictures_of_the_front_pages_lie_in_readme_materials_and_are_described():
    pictures = [
        (page, link) for page in FRONT for link in links(page.read_text(encoding="utf-8"))[0] if link.is_picture
    ]
    assert {page for page, _ in pictures} >= {README}
    for page, picture in pictures:
        path = page.parent / picture.target
        assert path.is_file() and path.parent == ROOT / "readme_materials", picture.target
        assert picture.text.strip(), f"{picture.target} has no description for those who can't see it"
    shown = {(page.parent / picture.target).name for page, picture in pictures}
    there = {path.name for path in (ROOT / "readme_materials").iterdir() if path.suffix in PICTURES}
    assert there - shown == {"open_in_colab.svg"}, "a picture that no page shows"


@pytest.mark.parametrize("page", FRONT[1:], ids=lambda page: page.stem)
def test_a_long_page_has_a_table_of_contents_that_names_all_its_sections(page):
    text = page.read_text(encoding="utf-8")
    sections = [slug(title) for title in re.findall(r"^## (.+)$", without_blocks(text), re.MULTILINE)]
    named = [link.target[1:] for link in links(text.split("\n## ")[0])[0] if link.target.startswith("#")]
    assert sections
    assert named == (sections if len(sections) > LONG else [])


@pytest.mark.parametrize("page", FRONT, ids=lambda page: page.stem)
def test_no_figure_is_still_to_be_filled_in(page):
    assert re.findall(r"\{\{[A-Z_]+\}\}", page.read_text(encoding="utf-8")) == []


# ---- The checker itself --------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A small course with a page, a picture, a notebook, and something that only a run makes."""
    root = tmp_path.resolve()
    for folder in ("pictures", "1_Part", "artifacts"):
        (root / folder).mkdir()
    (root / "pictures/a b.png").touch()
    (root / "pictures/way.svg").touch()
    (root / "artifacts/log.csv").touch()
    (root / "LICENSE").touch()
    prose_cells = ["# 1.1 A *part*\n\n## Next", "text", "## Next\n\n```\n## Hidden\n```"]
    notebook = {"cells": [{"cell_type": "markdown", "source": [source]} for source in prose_cells]}
    notebook["cells"].append({"cell_type": "code", "source": "# ## Code\n[a](nowhere.md)"})
    (root / "1_Part/1_part.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return root


def judged(root: Path, text: str, name: str = "README.md") -> list[str]:
    page = root / name
    page.write_text(text, encoding="utf-8")
    return problems(page, root)


@pytest.mark.parametrize(
    "text",
    [
        "[a](LICENSE) [b](1_Part) [b](1_Part/) [c](1_Part/1_part.ipynb 'a title') [d](./LICENSE)",
        "[a](1_Part/1_part.ipynb#next) [b](1_Part/1_part.ipynb#next-1) [c](1_Part/1_part.ipynb#11-a-part)",
        "# Two `words`, & more\n\n[a](#two-words--more)",
        '<a id="here"></a> [a](#here)',
        "![way](pictures/way.svg) ![space](pictures/a%20b.png) ![angle](<pictures/a b.png>)",
        '<img alt="way" src="pictures/way.svg" width="300"> <a href="LICENSE">licence</a>',
        "[![badge](pictures/way.svg)](https://example.org/a_(b)?c=d#e)",
        "[a][the licence] and [the licence][]\n\n[The  Licence]: LICENSE",
        "<https://example.org>",
        "Code `[a](nowhere.md)` and ``x[1](`y`)`` and\n\n```\n[a](nowhere.md)\n# Title\n```\n\n~~~~\n[b](no.md)\n~~~~",
        "A formula $x[i](t)$ and $$a[1](b)$$ and a price of $5 [a](LICENSE) and $6. <!-- [a](nowhere.md) -->",
        "An [ordinary] bracket, a list [1, 2], \\[not a link\\] and [ ] a box",
    ],
)
def test_what_is_right_is_accepted(course, text):
    assert judged(course, text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[a](nowhere.md)", "nowhere.md: no such file"),
        ("text\n\n* item [a\nb](nowhere.md)", "no such file"),
        ("[a](license)", "license: no such file"),
        ("[a](1_Part/LICENSE)", "no such file"),
        ("[a](LICENSE/more)", "no such file"),
        ("![a](pictures/none.png)", "no such file"),
        ("[![badge](pictures/none.svg)](https://example.org)", "pictures/none.svg: no such file"),
        ("[![badge](pictures/way.svg)](nowhere.md)", "nowhere.md: no such file"),
        ('<img src="pictures/none.png">', "no such file"),
        ("<img src=pictures/none.png>", "no such file"),
        ("<a href='nowhere.md'>a</a>", "no such file"),
        ('<img alt="without a source">', "not defined"),
        ("![a](LICENSE)", "not a picture"),
        ("[a][b]", "[a][b]: not defined"),
        ("[a][b]\n\n[b]: nowhere.md", "nowhere.md: no such file"),
        ("[a][]", "not defined"),
        ("# Title\n\n[a](#titel)", "#titel: no such heading"),
        ("# Title\n\n[a](#Title)", "no such heading"),
        ("# Title\n\n[a](#title-1)", "no such heading"),
        ("```\n# Title\n```\n\n[a](#title)", "no such heading"),
        ("[a](1_Part/1_part.ipynb#hidden)", "no such heading"),
        ("[a](1_Part/1_part.ipynb#next-2)", "no such heading"),
        ("[a](1_Part/1_part.ipynb#code)", "no such heading"),
        ("[a](LICENSE#mit)", "no such heading"),
        ("[a]()", "leads nowhere"),
        ("[a](#)", "leads nowhere"),
        ("[a](../secret.md)", "outside of the course"),
        ("[a](/etc/hosts)", "an absolute path"),
        ("[a](artifacts/log.csv)", "not in a fresh clone"),
        ("[a](http://example.org)", "only https"),
        ("<http://example.org>", "only https"),
        ("[a](mailto:ada@example.org)", "only https"),
        ("![a](attachment:picture.png)", "only https"),
        ("[a](https://)", "no whole address"),
        ("[a](https://example)", "no whole address"),
        ("[a](https://example.org/{name})", "no whole address"),
        ("A price of $5 [a](nowhere.md) and $6.", "no such file"),
        ("A tick ` alone, [a](nowhere.md)\n\nand ` another", "no such file"),
        ("    ```\n[a](nowhere.md)", "no such file"),
        ("```\ncode\n```\n[a](nowhere.md)\n```\ncode\n```", "no such file"),
    ],
)
def test_what_is_wrong_is_found(course, text, reason):
    (course.parent / "secret.md").touch()
    (found,) = judged(course, text)
    assert reason in found


def test_links_of_a_notebook_start_from_its_folder(course):
    cell = {"cell_type": "markdown", "source": ["[a](../LICENSE) [b](1_part.ipynb#next)\n", "[c](#mine) [d](LICENSE)"]}
    notebook = {"cells": [cell, {"cell_type": "markdown", "source": "# Mine"}]}
    assert judged(course, json.dumps(notebook), "1_Part/2_next.ipynb") == ["LICENSE: no such file"]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Three commands", "three-commands"),
        ("What was run, and what was not", "what-was-run-and-what-was-not"),
        ("8 GB & one `H100`: a *prediction*", "8-gb--one-h100-a-prediction"),
        ("`train.py`, snake_case and _this_", "trainpy-snake_case-and-this"),
        ("See [the page](https://example.org)", "see-the-page"),
        ("Größe – naïve?", "größe--naïve"),
        ("What's in a shard?", "whats-in-a-shard"),
        ("  Spaces  ", "spaces"),
    ],
)
def test_slugs_are_githubs(heading, expected):
    assert slug(heading) == expected


def test_headings_that_come_again_are_numbered():
    assert anchors(["# A\n## A\n## A-1\n## A ##", "#no heading\n\n####### nor this"]) == {"a", "a-1", "a-1-1", "a-2"}
