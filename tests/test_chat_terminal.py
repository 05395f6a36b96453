"""Finding the model, and talking to it in a terminal."""

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT
from small_chat import TEXT, play, save_model, small_model

import artifacts
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from chat import generation, models, terminal
from chat.decoding import Settings
from chat.models import load_model
from chat.session import ChatSession, load_chat

GREEDY = Settings(temperature=0, max_new_tokens=12)


# ---- loading and the terminal


@pytest.fixture
def no_box(tmp_path, monkeypatch):
    """A copy of the course without the model in the box."""
    monkeypatch.setattr(models, "box_folder", lambda: tmp_path / "no box")


def test_the_newest_chat_model_is_loaded(model, tokenizer, shelf, prompts, no_box):
    with pytest.raises(CourseError, match="no trained chat model"):
        load_chat()
    for preset, age in (("tiny", 100), ("cpu", 200)):
        manifest = save_model(model, tokenizer, preset) / "manifest.json"
        os.utime(manifest, (manifest.stat().st_atime, manifest.stat().st_mtime - age))
    loaded, its_tokenizer, name = load_chat()
    assert name == "tiny"
    cpu_model = loaded.to("cpu")
    expected = generation.generate_batch(model, tokenizer, prompts, GREEDY)
    assert generation.generate_batch(cpu_model, its_tokenizer, prompts, GREEDY) == expected
    assert load_chat(shelf / "cpu" / "sft" / "model")[2] == "model"


def test_a_model_with_another_tokenizer_is_refused(model, shelf):
    save_model(model, BPETokenizer.train([TEXT], 290), "tiny")
    with pytest.raises(CourseError, match="300 tokens, the tokenizer 290"):
        load_model("tiny", "sft")


def test_a_model_that_cannot_be_read_is_one_line_without_private_paths(model, tokenizer, shelf):
    folder = save_model(model, tokenizer, "tiny")
    (folder / "model" / "model.safetensors").write_bytes(b"nothing")
    artifacts.finish(folder, ["model/model.safetensors"])
    with pytest.raises(
        CourseError, match=r"^artifacts/tiny/sft/model holds no readable model: .*6_SFT_Training again\.$"
    ):
        load_model("tiny", "sft")


def test_a_preset_without_a_model_is_told_how_to_get_one(shelf, capsys):
    assert terminal.main(["--preset", "cpu"]) == 1
    assert capsys.readouterr().err == (
        "chat: No chat model of the preset cpu is finished here: python course.py run --preset cpu makes one. "
        "The one that comes with the course is called box: --preset box\n"
    )


def test_the_terminal_chat(model, tokenizer, shelf, monkeypatch, capsys):
    save_model(model, tokenizer, "tiny")
    lines = iter(["hello", "", "/settings temperature=0", "/settings heat=3", "/settings top_k=x", "/reset", "/what"])

    def typed(_):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    play(monkeypatch, tokenizer, "Good day.")
    assert terminal.main(["--preset", "tiny"]) == 0
    output = capsys.readouterr().out
    for part in ("Good day.", "temperature=0.0", "No setting 'heat'", "Can't set top_k to 'x'", "new conversation"):
        assert part in output
    assert "Traceback" not in output


def test_ctrl_c_ends_the_answer_and_not_the_chat(model, tokenizer, monkeypatch, capsys):
    lines = iter(["hello", "again", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    tokens = iter([*tokenizer.encode("One"), KeyboardInterrupt, *tokenizer.encode("Two"), 5])

    def next_token(*_):
        token = next(tokens)
        if token is KeyboardInterrupt:
            raise KeyboardInterrupt
        return torch.tensor([token])

    monkeypatch.setattr(generation, "choose_tokens", next_token)
    session = ChatSession(model, tokenizer)
    terminal.chat(session)
    assert [m["content"] for m in session.messages] == ["hello", "One", "again", "Two"]
    assert "(stopped)" in capsys.readouterr().out


def test_the_box_is_a_preset_of_its_own_whatever_was_trained(model, tokenizer, shelf, tmp_path, monkeypatch, capsys):
    save_model(model, tokenizer, "tiny")
    other = save_model(small_model(tokenizer, context=128), tokenizer, "cpu")
    monkeypatch.setattr(models, "box_folder", lambda: other / "model")
    monkeypatch.setattr(terminal, "box_folder", lambda: other / "model")
    monkeypatch.setattr("sys.stdin", io.StringIO("/quit\n"))
    assert terminal.main(["--preset", "box"]) == 0
    told = capsys.readouterr().out
    assert "The model in the box" in told and "No chat model has been trained" not in told


def test_without_a_model_the_chat_says_so_in_one_line(shelf, capsys, no_box):
    assert terminal.main([]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "run the course first" in error


@pytest.mark.parametrize("config", ['{"model_type": "llama", "hidden_size": 64}', "not JSON", "[]"])
def test_a_foreign_model_folder_is_one_line(model, tokenizer, shelf, capsys, config):
    folder = save_model(model, tokenizer, "tiny")
    (folder / "model" / "config.json").write_text(config, encoding="utf-8")
    artifacts.finish(folder, ["model/model.safetensors", "model/config.json"])
    assert terminal.main(["--preset", "tiny"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "holds no readable model" in error or "has the layout 'llama'" in error


class Terminal:
    """``chat/terminal.py`` as a person sees it: in a terminal of its own."""

    def __init__(self, *arguments: str):
        import fcntl
        import pty
        import termios

        self.end, other = pty.openpty()
        command = [sys.executable, "-m", "chat.terminal", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "python_files"), "TERM": "xterm", "OMP_NUM_THREADS": "1"}

        def sit_down() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where a shell runs the tests in the background

        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True,
            preexec_fn=sit_down,
        )  # fmt: skip
        os.close(other)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """What came up to and with ``text``."""
        until = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < until, f"waited for {text!r}, saw {self.seen[-800:]!r}"
            if select.select([self.end], [], [], 0.1)[0]:
                self.seen += os.read(self.end, 65536).decode("utf-8", "replace")
        came, self.seen = self.seen.split(text, 1)
        return came + text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_a_real_terminal_ctrl_c_history_and_commands(tokenizer, shelf, tmp_path):
    save_model(small_model(tokenizer, context=2048, endless=True), tokenizer, "tiny")
    screen = Terminal("--preset", "tiny")
    try:
        screen.wait_for("> ")
        screen.type("/settings temperature=0\n")
        screen.wait_for("temperature=0.0")
        screen.wait_for("> ")
        screen.type("/settings max_new_tokens=1900\n")
        screen.wait_for("max_new_tokens=1900")
        screen.wait_for("> ")
        screen.type("the mill\n")
        screen.wait_for("the mill\r\n")
        while len(screen.seen) < 40:  # an answer is under way
            screen.seen += os.read(screen.end, 4096).decode("utf-8", "replace")
        screen.type("\x03")
        screen.wait_for("(stopped)")
        screen.wait_for("> ")
        assert screen.process.poll() is None
        # Python's prompt misses a signal that comes between its last look and its waiting: a person presses again.
        for _ in range(20):
            screen.type("\x03")
            with contextlib.suppress(AssertionError):
                screen.wait_for("(/quit leaves)", seconds=3)
                break
        else:
            pytest.fail("Ctrl-C at the prompt says nothing")
        time.sleep(0.5)
        screen.wait_for("> ")
        screen.type(f"/save {tmp_path / 'talk.json'}\n")
        screen.wait_for("(2 messages saved")
        screen.wait_for("> ")
        screen.type("/reset\n")
        screen.wait_for("(a new conversation)")
        screen.wait_for("> ")
        screen.type(f"/load {tmp_path / 'talk.json'}\n")
        screen.wait_for("(2 messages read")
        screen.wait_for("> ")
        screen.type("/dance\n")
        screen.wait_for("There is no /dance.")
        screen.wait_for("> ")
        screen.type("\x1b[A\n")  # arrow up: the line before
        screen.wait_for("There is no /dance.")
        screen.wait_for("> ")
        screen.type("/quit\n")
        assert screen.process.wait(timeout=20) == 0
    finally:
        screen.process.kill()
        screen.process.wait()
        os.close(screen.end)
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert [m["role"] for m in saved["messages"]] == ["user", "assistant"]
    assert saved["settings"]["max_new_tokens"] == 1900


def test_a_backslash_goes_on_with_the_next_line_and_again_asks_anew(model, tokenizer, monkeypatch, capsys):
    lines = iter(["one\\", "two", "/again", "/system Be kind.", "/system", "/save", "/help", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    play(monkeypatch, tokenizer, "First.", "Second\x1b[2J.")
    session = ChatSession(model, tokenizer)
    terminal.chat(session)
    assert session.messages[0]["content"] == "one\ntwo"
    assert len(session.messages) == 2
    output = capsys.readouterr().out
    for part in ("First.", "Second\ufffd[2J.", "(from the next question on)", "/save needs the name", "starts a new"):
        assert part in output
    assert "\x1b" not in output


@pytest.mark.parametrize("leaving", ["exit", "quit", " QUIT ", "/exit", "/quit", "exit\\"])
def test_exit_and_quit_typed_alone_leave(model, tokenizer, monkeypatch, leaving):
    lines = iter(["how do I quit smoking?", leaving, "", "never asked"])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    play(monkeypatch, tokenizer, "First.", "Second.")
    session = ChatSession(model, tokenizer)
    terminal.chat(session)
    assert [m["content"] for m in session.messages] == ["how do I quit smoking?", "First."]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("bracketed", [True, False])
def test_a_pasted_text_is_one_message_with_its_indentation(tokenizer, shelf, tmp_path, bracketed):
    save_model(small_model(tokenizer, context=2048), tokenizer, "tiny")
    screen = Terminal("--preset", "tiny")
    text = "def mill():\n    return 'late \\\\'\n\n\tif so:\n  /quit"
    try:
        screen.wait_for("> ")
        screen.type("/settings max_new_tokens=3\n")
        screen.wait_for("max_new_tokens=3")
        screen.wait_for("> ")
        screen.type(f"\x1b[200~{text}\x1b[201~\n" if bracketed else f"{text}\n")
        screen.wait_for("/quit")
        screen.wait_for("> ")
        screen.type(f"/save {tmp_path / 'talk.json'}\n")
        screen.wait_for("messages saved")
        screen.wait_for("> ")
        screen.type("exit\n")
        assert screen.process.wait(timeout=20) == 0
    finally:
        screen.process.kill()
        screen.process.wait()
        os.close(screen.end)
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["messages"]
    assert [m["content"] for m in saved if m["role"] == "user"] == [text]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_piped_input_of_any_kind_is_answered(tokenizer, shelf, tmp_path, encoding):
    """A byte order mark, halves of characters, null bytes, escapes, another encoding: nothing ends the chat."""
    save_model(small_model(tokenizer, context=512), tokenizer, "tiny")
    lines = [
        b"\xef\xbb\xbf/settings max_new_tokens=2", b"\xff\xfe", "磨坊 🙂".encode(), b"a\0b\x1b[2J",
        b"\0", b"\xed\xa0\xbd",
        b"/settings temperature=1e-50", b"the mill", b"/settings temperature=nan", b"/settings seed=1.5",
        b"/settings stop_loops=maybe", b"/settings temperature=inf", b"/settings top_k=0", "/system 🙂\0".encode(),
        b"/save a\0b/c", b"/load /dev/zero", b"/save", b"\x1b[A", f"/save {tmp_path}/talk.json".encode(), b"exit",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python_files"), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "chat.terminal", "--preset", "tiny"]
    done = subprocess.run(command, input=b"\n".join(lines), env=environment, capture_output=True, timeout=200)
    assert done.returncode == 0 and b"Traceback" not in done.stdout + done.stderr, done.stderr
    assert b"\x1b" not in done.stdout and b"messages saved to" in done.stdout
    assert done.stdout.count(b"it must be a number") == 2
    if encoding == "utf-8":  # the byte order mark before the first command went
        assert b"max_new_tokens=2" in done.stdout
