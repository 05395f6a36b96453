"""A page of your own browser to talk to the model: what each of its tabs holds, and its server.

``page.html``, ``page.css`` and ``page.js`` are all that the browser gets; ``page_routes.py`` says what they may ask.
The server listens on this computer alone (127.0.0.1), loads nothing from elsewhere, and reports nothing. Each open tab
has a conversation of its own, which outlives a reload; the model is shared.
"""

import copy
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from artifacts import CourseError
from chat import transcript
from chat.decoding import Settings
from chat.generation import next_token_odds
from chat.session import EXAMPLES, ChatSession

HOST = "127.0.0.1"
BARS = 10
ANSWERS_AT_ONCE = 4  # in different tabs; more wait for their turn
CACHES = 4  # conversations whose KV cache is kept; the others are read again when they go on
TABS = 100  # conversations that are remembered; the one that was silent longest goes first
SECONDS_UNWATCHED = 5  # an answer that nobody watches ends after that: a reload takes less
SECONDS_LEFT = 600  # a tab that was closed is remembered for that long, in case its reader comes back
SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens", "seed")
NOTHING_SAID = "(the model had nothing to say)"


@dataclass
class Tab:
    """What one open page holds: its conversation, and all that it shows of it."""

    session: ChatSession
    shown: list[dict[str, str]]  # also the turns that the model can no longer see
    line: str = ""  # of status
    busy: threading.Lock = field(default_factory=threading.Lock)  # held while an answer is written
    watchers: int = 0  # browsers that follow the answer
    seen: float = field(default_factory=time.monotonic)  # when it was last asked or watched
    left: float | None = None  # when the browser said that it was closed
    visit: str = ""  # the browser's name for this load of the page


def read_settings(old: Settings, values: dict[str, Any]) -> Settings:
    """The settings as a page sends them, in which a top-k of 0 is none.

    Raises:
        CourseError: one is missing, unknown or out of its range.
    """
    values = dict(values)
    if odd := sorted(set(values) - set(SETTINGS)):
        raise CourseError(f"There is no setting {odd[0][:40]!r}: there are {', '.join(SETTINGS)}.")
    if None in values.values():
        raise CourseError("A setting is empty: give each a number.")
    for name in ("top_k", "max_new_tokens", "seed"):
        if isinstance(values.get(name), float) and values[name].is_integer():
            values[name] = int(values[name])
    if "top_k" in values and values["top_k"] == 0:
        values["top_k"] = None
    return replace(old, **values)


def as_text(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Messages as they can be sent and shown: a model may write control characters too."""
    return [{**message, "content": transcript.plain(message["content"])} for message in messages]


def token_view(session: ChatSession, position: int) -> dict[str, Any]:
    """The last answer's tokens, and what the one at ``position`` (from 0) was drawn from.

    Returns:
        ``tokens`` (their texts, none before the first answer), ``at``, and ``odds``: for each candidate its ``text``,
        its chance ``before`` and ``after`` the settings, and whether it was ``said``.
    """
    last = session.last
    if last is None or not last.tokens:
        return {"tokens": [], "at": 0, "odds": []}
    tokens = list(last.tokens)
    at = min(max(position, 0), len(tokens) - 1)
    ids = [*last.prompt, *tokens[:at]]
    odds = next_token_odds(session.model, session.tokenizer, ids, last.settings, BARS, also=tokens[at])
    rows = [
        {"text": one.text, "before": one.before, "after": one.after, "said": one.token == tokens[at]} for one in odds
    ]
    return {"tokens": [session.tokenizer.decode([token]) for token in tokens], "at": at, "odds": rows}


class ChatPage:
    """The page and its server.

    Attributes:
        template: the session that each new tab begins as.
        tabs: what each open tab holds, by the browser's name for it.
        url: where it is, once it has been started.
    """

    def __init__(self, template: ChatSession, title: str):
        self.template, self.title = template, title
        self.tabs: dict[str, Tab] = {}
        self.url = ""
        self._lock = threading.Lock()
        self._writers = ThreadPoolExecutor(ANSWERS_AT_ONCE, thread_name_prefix="answer")
        self._server: Any = None
        self._thread: threading.Thread | None = None

    # ---- The tabs

    def tab(self, name: str) -> Tab:
        """The conversation of a browser tab, which begins as the template's.

        Raises:
            CourseError: it is a new one, and answers are being written in all that may be open.
        """
        with self._lock:
            self._forget(name)
            if name not in self.tabs:
                if len(self.tabs) >= TABS:
                    raise CourseError(f"{TABS} answers are being written: wait for one of them.")
                session = ChatSession(self.template.model, self.template.tokenizer, self.template.settings)
                session.take_up(self.template.system, copy.deepcopy(self.template.messages))
                self.tabs[name] = Tab(session, copy.deepcopy(self.template.messages))
            tab = self.tabs[name]
            tab.seen, tab.left = time.monotonic(), None
            return tab

    def _forget(self, name: str) -> None:
        """Before ``name`` is asked: lets others go that were closed a while ago or are too many, and most caches."""
        others = sorted((tab.seen, n) for n, tab in self.tabs.items() if n != name and not tab.busy.locked())
        others = [n for _, n in others]  # the longest silent first
        gone = [n for n in others if (left := self.tabs[n].left) and time.monotonic() - left > SECONDS_LEFT]
        others = [n for n in others if n not in gone]
        too_many = max(0, len(self.tabs.keys() | {name}) - len(gone) - TABS)
        for n in gone + others[:too_many]:
            del self.tabs[n]
        for n in others[too_many : len(others) - CACHES + 1]:
            self.tabs[n].session.rest()

    def leave(self, name: str, visit: str) -> None:
        """The browser closed or reloaded a tab: what it takes most memory for is freed, its talk after a while."""
        tab = self.tabs.get(name)
        if tab and tab.visit == visit:  # else the next load of the page was faster
            tab.left = time.monotonic()
            if not tab.busy.locked():
                tab.session.rest()

    def close_tab(self, name: str) -> None:
        """Ends a tab's answer, if one is being written, and forgets the tab."""
        with self._lock:
            tab = self.tabs.pop(name, None)
        if tab:
            tab.session.stop()

    def reset(self, name: str) -> None:
        """Begins a new conversation in a tab; an answer under way ends."""
        self.close_tab(name)
        tab = self.tab(name)
        tab.session.reset()
        tab.shown = []

    # ---- What the browser shows

    def state(self, name: str) -> dict[str, Any]:
        """All that a page shows: of a tab that has asked nothing yet, it is what the template holds."""
        tab, template = self.tabs.get(name), self.template
        session = tab.session if tab else template
        return {
            "title": self.title,
            "messages": as_text(tab.shown if tab else template.messages),
            "writing": bool(tab and tab.busy.locked()),
            "line": tab.line if tab else "",
            "settings": {**{key: getattr(session.settings, key) for key in SETTINGS}, "system": session.system},
            "first_settings": {**{key: getattr(template.settings, key) for key in SETTINGS}, "system": template.system},
            "context": template.model.config.context_length,
            "examples": list(EXAMPLES),
        }

    def news(self, tab: Tab) -> dict[str, str]:
        """What has changed while an answer is written."""
        return {"answer": as_text(tab.shown[-1:])[0]["content"], "line": tab.line}

    def odds(self, name: str, position: int) -> dict[str, Any]:
        """``token_view`` of a tab's last answer."""
        tab = self.tabs.get(name)
        return token_view(tab.session if tab else self.template, position)

    # ---- Questions and answers

    def ask(
        self, name: str, text: str | None, values: dict[str, Any], instead: bool = False
    ) -> Iterator[tuple[list[dict[str, str]], str]]:
        """``answer``, with a refusal as a line of status."""
        try:
            yield from self.answer(name, text, values, instead)
        except CourseError as error:
            yield self.tab(name).shown, str(error)

    def answer(
        self, name: str, text: str | None, values: dict[str, Any], instead: bool = False
    ) -> Iterator[tuple[list[dict[str, str]], str]]:
        """Streams an answer; yields all messages to show and a line of status, for the first time once it is accepted.

        Args:
            text: the question; None asks the last one again.
            values: the settings of the page, and ``system``.
            instead: whether the question takes the place of the last one.

        Raises:
            CourseError: it can't be answered. The conversation stays as it was.
        """
        tab = self.tab(name)
        if not tab.busy.acquire(blocking=False):
            raise CourseError("An answer is still being written: stop it first.")
        try:
            for shown, line in self._answer(tab, text, dict(values), instead):
                tab.shown, tab.line = shown, line
                yield shown, line
        finally:
            tab.seen = time.monotonic()
            tab.busy.release()

    def _answer(self, tab: Tab, text: str | None, values: dict[str, Any], instead: bool) -> Iterator[tuple[list, str]]:
        session, dropped = tab.session, tab.session.dropped
        system = values.pop("system", session.system)
        if not isinstance(system, str) or not isinstance(text, str | None):
            raise CourseError("A message and the system text must be text.")
        before = session.settings, session.system
        session.settings, session.system = read_settings(session.settings, values), transcript.plain(system)
        try:
            pieces = session.ask(text) if text is not None and not instead else session.again(text)
        except CourseError:
            session.settings, session.system = before
            raise
        kept, stream = session.messages, session.last
        shown = tab.shown
        if text is None or instead:  # the old answer goes, and with ``instead`` its question too
            last = max(i for i, message in enumerate(shown) if message["role"] == "user")
            shown = shown[: last + (text is None)]
        if text is not None:
            shown = [*shown, {"role": "user", "content": transcript.question(text)}]
        forgotten = session.dropped - dropped
        note = f"The context is full: the oldest {forgotten} messages are forgotten. " if forgotten else ""
        answer, begin = "", time.perf_counter()
        stopped = True
        try:
            yield [*shown, {"role": "assistant", "content": ""}], note
            for piece in pieces:
                answer += piece
                yield [*shown, {"role": "assistant", "content": answer}], note
            stopped = session.stopped
        finally:
            pieces.close()  # also if the tab was closed: what was said is remembered, nothing more is computed
            # A turn was added unless the answer was empty, however alike it is to the one before.
            said = session.messages[-1]["content"] if session.messages and session.messages is not kept else ""
            tab.shown = [*shown, {"role": "assistant", "content": said or NOTHING_SAID}]
        seconds = max(time.perf_counter() - begin, 1e-6)
        line = f"{note}{len(stream.tokens)} tokens, {len(stream.tokens) / seconds:.0f} a second."
        if stopped:
            line += " Stopped."
        elif not stream.finished:
            line += " Cut off: " + ("it repeated itself." if stream.looped else "the most tokens, or the context.")
        yield tab.shown, line

    def begin(self, name: str, text: str | None, values: dict[str, Any], instead: bool = False) -> None:
        """``answer`` in the background: it is written once this returns, until nobody watches it any more.

        Raises:
            CourseError: it can't be answered.
        """
        tab, answer = self.tab(name), self.answer(name, text, values, instead)
        next(answer)
        self._writers.submit(self._write, tab, answer)

    def _write(self, tab: Tab, answer: Iterator) -> None:
        try:
            for _ in answer:
                if tab.watchers:
                    tab.seen = time.monotonic()
                elif time.monotonic() - tab.seen > SECONDS_UNWATCHED:
                    tab.session.stop()
        except Exception as error:
            tab.line = str(error) if isinstance(error, CourseError) else "The answer failed: see the terminal."
            print(f"chat: {error!r}", file=sys.stderr)
        if tab.left:
            tab.session.rest()

    # ---- The server

    def start(self, port: int = 7860) -> str:
        """Starts serving in the background; returns the page's address. Port 0 takes any free one.

        Raises:
            CourseError: the port is taken, or is none.
        """
        import uvicorn

        from chat.page_routes import HTTPProtocol, application

        listener = socket.socket()
        try:
            if hasattr(socket, "SO_REUSEADDR") and socket.SO_REUSEADDR and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Windows would share a busy port
            listener.bind((HOST, port))
        except (OSError, OverflowError):
            listener.close()
            raise CourseError(
                f"Port {port} is taken, perhaps by a page that still runs: close that, or choose another port "
                f"(--port {port + 1 if 1023 < port < 65535 else 7861})."
            ) from None
        config = uvicorn.Config(
            application(self), http=HTTPProtocol, ws="none", lifespan="off", log_config=None, log_level="critical",
            proxy_headers=False, server_header=False, timeout_graceful_shutdown=1, limit_concurrency=200,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.02)
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        return self.url

    def close(self) -> None:
        """Ends all answers and the server."""
        for name in list(self.tabs):
            self.close_tab(name)
        self._writers.shutdown(wait=False, cancel_futures=True)
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join(timeout=5)


def start(session: ChatSession, title: str = "Your model", port: int = 7860) -> ChatPage:
    """Opens the page in the background, for a notebook: it serves until ``close()``.

    Args:
        session: what each new tab begins as.

    Raises:
        CourseError: the port is taken.
    """
    page = ChatPage(session, title)
    page.start(port)
    return page


def serve(session: ChatSession, title: str = "Your model", port: int = 7860) -> None:
    """Opens the page, says where, and serves until Ctrl-C.

    Raises:
        CourseError: the port is taken.
    """
    page = start(session, title, port)
    print(f"Open {page.url} in your browser. Ctrl-C ends it.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("\nThe page is closed.")
    finally:
        page.close()
