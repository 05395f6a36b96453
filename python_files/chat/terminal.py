"""Talking to the model that you trained: in the terminal, or with ``--web`` on a page of your own browser.

    python chat/terminal.py [--preset tiny] [--system TEXT] [--load FILE] [--web [--port 7860]]

``python course.py chat`` starts this with the course's own Python.
"""

import argparse
import contextlib
import re
import select
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace

import presets
from artifacts import CourseError, artifacts_root
from chat import transcript
from chat.decoding import Settings
from chat.models import BOX, box_folder, load_model, open_model
from chat.session import EXAMPLES, ChatSession, load_chat

COMMANDS = {
    "/reset": "starts a new conversation",
    "/again": "answers the last question anew",
    "/settings": "shows how tokens are chosen; /settings temperature=0.5 changes it",
    "/system": "TEXT puts a text before the conversation; without TEXT, takes it away",
    "/save": "FILE writes the conversation as JSON",
    "/load": "FILE takes up a saved conversation",
    "/help": "shows this list",
    "/quit": "leaves, as exit and Ctrl-D do",
}
LEAVE = {"/quit", "/exit", "quit", "exit"}
HINT = "Ctrl-C ends an answer, a \\ at a line's end goes on with the next line, /help lists the commands."
SOON = 0.03  # seconds in which the next line of a pasted text has come
# What moves a terminal's cursor or clears it, and what turns the direction of writing around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def change_setting(settings: Settings, text: str) -> Settings:
    """``settings`` with one of them changed as ``name=value`` says.

    Raises:
        CourseError: there is no such setting, or it can't have that value.
    """
    name, _, value = (part.strip() for part in text.partition("="))
    if name not in [field.name for field in fields(settings)]:
        raise CourseError(f"No setting {name!r}: there are {', '.join(asdict(settings))}.")
    try:
        if name == "stop":
            return replace(settings, stop=(value,) if value else ())
        if name == "stop_loops":
            return replace(settings, stop_loops={"true": True, "false": False}[value.lower()])
        if name == "stop_tokens":
            return replace(settings, stop_tokens=tuple(int(token) for token in value.split()))
        if name == "top_k" and value.lower() == "none":
            return replace(settings, top_k=None)
        whole = name in ("top_k", "max_new_tokens", "seed")
        return replace(settings, **{name: int(value) if whole else float(value)})
    except KeyError:
        raise CourseError(f"Can't set {name} to {value!r}: write True or False.") from None
    except ValueError:
        raise CourseError(f"Can't set {name} to {value[:60]!r}: write a number, such as /settings {name}=1.") from None


def printable(text: str) -> str:
    """Text without control characters: a model may write those that move a terminal's cursor or clear it."""
    return _CONTROL.sub("\ufffd", text)


def _show(session: ChatSession, pieces: Iterator[str], dropped: int) -> None:
    """Prints an answer as it comes. Ctrl-C ends it."""
    if session.dropped > dropped:
        room, gone = session.model.config.context_length, session.dropped - dropped
        print(
            f"(the model sees {room} tokens at once, and this talk is longer: the oldest {gone} messages are forgotten)"
        )
    answered, stopped = False, False
    try:
        for piece in pieces:
            answered = True
            print(printable(piece), end="", flush=True)
    except KeyboardInterrupt:
        stopped = True
    if stopped:
        print(" (stopped)")
    elif not answered:
        print("(the model had nothing to say)")
    else:
        last = session.last
        if last is None or last.finished:
            print()
        else:
            reason = "it repeated itself" if last.looped else "max_new_tokens or the context is reached"
            print(f" … (cut off: {reason})")


def _command(session: ChatSession, command: str, rest: str) -> None:
    if command == "/reset":
        session.reset()
        print("(a new conversation)")
    elif command == "/again":
        dropped = session.dropped
        _show(session, session.again(), dropped)
    elif command == "/settings":
        session.settings = change_setting(session.settings, rest) if rest else session.settings
        print("  ".join(f"{name}={value}" for name, value in asdict(session.settings).items()))
    elif command == "/system":
        session.system = rest
        print("(from the next question on)" if rest else "(no system text)")
    elif command in ("/save", "/load"):
        if not rest:
            raise CourseError(f"{command} needs the name of a file, such as {command} talk.json.")
        where = session.save(rest) if command == "/save" else session.load(rest) or rest
        told = f"({len(session.messages)} messages {'saved to' if command == '/save' else 'read from'} {where})"
        print(printable(told))
    else:
        if command != "/help":
            print(f"There is no {command}.")
        print("\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items()))


def _turn(session: ChatSession, message: str) -> bool:
    """One message of the terminal chat; false when the reader wants to leave."""
    if message.lower() in LEAVE:
        return False
    message = "/help" if message.lower() == "help" else message
    if message.startswith("/") and "\n" not in message:
        command, _, rest = message.partition(" ")
        _command(session, command, rest.strip())
    elif message:
        dropped = session.dropped
        _show(session, session.ask(message), dropped)
    return True


def _more_waits() -> bool:
    """Whether another line has come already: of a text that was pasted, for nobody types so fast."""
    if not sys.stdin.isatty():  # from a pipe or a file, each line is a message
        return False
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.kbhit()
    return bool(select.select([sys.stdin], [], [], SOON)[0])


def _read() -> str:
    """A message. It goes on over lines that end in a backslash, and over all lines of a text that is pasted."""
    lines = [input("> ")]
    with contextlib.suppress(EOFError):  # Ctrl-D ends the message, and the next one the chat
        while True:
            if _more_waits():
                lines.append(input())
            elif lines[-1].endswith("\\"):
                lines[-1] = lines[-1][:-1]
                lines.append(input(". "))
            else:
                break
    return transcript.question("\n".join(lines))


def _edit_lines() -> None:
    """Arrow keys fetch earlier lines; a pasted text is one message. On Windows the console does the former itself."""
    with contextlib.suppress(ImportError):
        import readline

        if "libedit" not in (readline.__doc__ or ""):
            readline.parse_and_bind("set enable-bracketed-paste on")


def chat(session: ChatSession) -> None:
    """A conversation in the terminal, until /quit or the end of the input."""
    if sys.stdin.isatty():
        _edit_lines()
    print(HINT)
    print(f"Try this, or type anything: {EXAMPLES[0]}")
    going = True
    while going:
        try:
            going = _turn(session, _read())
        except CourseError as error:
            print(printable(str(error)))
        except KeyboardInterrupt:
            print("\n(/quit leaves)")
        except EOFError:
            print()
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(description="Talk to the model that you trained.")
    parser.add_argument("--preset", choices=[*presets.PRESETS, BOX], help="the newest trained model if left out")
    parser.add_argument("--system", help="a text that the model is shown before the conversation")
    parser.add_argument("--load", metavar="FILE", help="take up a conversation that /save wrote")
    parser.add_argument("--web", action="store_true", help="a page in the browser instead of the terminal")
    parser.add_argument("--port", type=int, default=7860, help="of the page")
    options = parser.parse_args(arguments)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another encoding shows ? instead of failing
            stream.reconfigure(errors="replace")
    try:
        if options.preset == BOX:
            (model, tokenizer), name = open_model(box_folder()), BOX
        elif options.preset:
            if not (artifacts_root() / options.preset / "sft" / "manifest.json").is_file():
                raise CourseError(
                    f"No chat model of the preset {options.preset} is finished here: python course.py run --preset "
                    f"{options.preset} makes one. The one that comes with the course is called box: --preset box"
                )
            (model, tokenizer), name = load_model(options.preset, "sft"), options.preset
        else:
            model, tokenizer, name = load_chat()
        session = ChatSession(model, tokenizer, Settings.for_preset(name), options.system)
        if options.load:
            session.load(options.load)
        box = name == BOX
        if box and not options.preset:
            print("No chat model has been trained here yet, so you talk to the one that comes with the course.")
        title = "The model in the box" if box else f"The {name} model"
        print(f"{title}: {model.config.n_parameters / 1e6:.1f}M parameters.")
        if options.web:
            from chat import page

            page.serve(session, title=title, port=options.port)
        else:
            chat(session)
    except CourseError as error:
        print(f"chat: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
