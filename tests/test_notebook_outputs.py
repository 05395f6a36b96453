"""course_kit/outputs.py: what is kept of a notebook's outputs."""

from pathlib import Path, PureWindowsPath

import pytest

from course_kit import outputs
from course_kit.outputs import cell_with_path, settle, shown_in_terminal, sources_sha256


@pytest.mark.parametrize(
    "written, shown",
    [
        ("plain\ntext \n", "plain\ntext \n"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("long bar 10%\rdone        \n", "done\n"),
        ("abcdef\rxy", "xycdef"),
        ("a bar\r     \rnext\n", "next\n"),  # a bar with leave=False wipes itself
        ("line\r\nline\r\n", "line\nline\n"),
        ("outer 0\ninner 0\x1b[A\router 1\ninner 1", "outer 1\ninner 1"),  # nested bars
        ("\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m\n"),
    ],
)
def test_text_is_kept_as_a_terminal_ends_up_showing_it(written, shown):
    assert shown_in_terminal(written) == shown


def stream(name: str, text: str) -> dict:
    return {"output_type": "stream", "name": name, "text": text}


def picture() -> dict:
    return {"output_type": "display_data", "data": {"image/png": "", "text/plain": ["<Figure>"]}, "metadata": {}}


def test_a_bar_is_one_line_whatever_is_printed_or_drawn_meanwhile():
    outputs = [stream("stderr", "\r 0%"), stream("stdout", "a\n"), stream("stderr", "\r50%"), picture()]
    outputs += [stream("stderr", "\r99%\n"), stream("stdout", "b\n")]
    kept = settle(outputs)
    assert [output.get("text", "picture") for output in kept] == ["99%\n", "a\n", "picture", "b\n"]


def test_text_after_a_picture_stays_after_it():
    outputs = [stream("stderr", "done\n"), picture(), stream("stderr", "\rnext\n"), stream("stdout", "x")]
    assert [output.get("text", "picture") for output in settle(outputs)] == ["done\n", "picture", "next\n", "x"]


def test_a_bar_that_wiped_itself_leaves_nothing():
    assert settle([stream("stderr", "\r 0%\r   \r")]) == []


def notebook(*outputs: dict, source: str | list[str] = "print(1)", prose: str = "# A") -> dict:
    cells = [{"cell_type": "markdown", "source": prose}]
    return {"cells": [*cells, {"cell_type": "code", "source": source, "outputs": list(outputs)}], "metadata": {}}


def test_the_hash_is_of_the_code_alone():
    same = sources_sha256(notebook())
    assert sources_sha256(notebook(source=["print", "(1)"], prose="# B")) == same
    assert sources_sha256(notebook(source="print(2)")) != same


def test_private_paths_are_found_in_every_kind_of_output():
    home = Path("/home/ada")
    for output in (
        stream("stdout", "saved to /home/ada/x\n"),
        {"output_type": "execute_result", "data": {"text/plain": "PosixPath('/home/ada')"}},
        {"output_type": "display_data", "data": {"text/html": ["<a href='/home/ada/b'>"]}},
        {"output_type": "error", "evalue": "no /home/ada", "traceback": []},
    ):
        assert cell_with_path(notebook(output), [home]) == 1
    for text in ("/home/adam", "my/home/ada2", "https://x.org/home/ada", "artifacts/tiny"):
        assert cell_with_path(notebook(stream("stdout", text)), [home]) is None
    embedded = {"output_type": "display_data", "data": {"text/html": "data:image/png;base64,AA/home/ada/AA=="}}
    assert cell_with_path(notebook(embedded), [home]) is None
    assert cell_with_path(notebook(stream("stdout", "a / b")), [Path("/")]) is None


def test_windows_paths_are_found_as_python_shows_them():
    home = PureWindowsPath(r"C:\Users\ada")
    for text in (r"C:\Users\ada\x", r"'C:\\Users\\ada'", "C:/Users/ada/x"):
        assert cell_with_path(notebook(stream("stdout", text)), [home]) == 1


def test_tidying_leaves_no_timings_and_only_known_metadata():
    page = notebook(stream("stdout", "1\n"))
    page["metadata"] = {"widgets": {}, "kernelspec": {"name": "mine"}}
    for cell in page["cells"]:
        cell["metadata"] = {"tags": ["keep"], "execution": {"iopub.status.busy": "2026"}}
    outputs.tidy(page, "tiny")
    assert all(cell["metadata"] == {"tags": ["keep"]} for cell in page["cells"])
    assert set(page["metadata"]) == {"kernelspec", "language_info", "course"}
    assert page["metadata"]["course"] == {"preset": "tiny", "sources_sha256": sources_sha256(page)}
