"""A page of your own browser to talk to the model: streaming, settings, and the bars of every next token.

Made with Gradio. It listens on this computer alone (127.0.0.1), loads nothing from elsewhere, and reports nothing.
Each open tab has a conversation of its own; the model is shared.
"""

import copy
import html
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from artifacts import CourseError
from chat.generation import next_token_odds
from chat.session import ChatSession

HOST = "127.0.0.1"
BARS = 10
SECONDS_BETWEEN_UPDATES = 0.05  # the eye sees no more, and each update costs time that the model could use
ANSWERS_AT_ONCE = 4  # in different tabs; more wait for their turn
# The browser itself refuses whatever a page might want from elsewhere.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws://127.0.0.1:* data: blob:"
STYLE = """
.tokens {line-height: 1.9; margin-bottom: .6em}
.tokens span {border-radius: 4px; padding: 1px 0; white-space: pre-wrap}
.tokens .chosen {outline: 2px solid var(--color-accent)}
.bars {display: grid; grid-template-columns: max-content 1fr max-content; gap: 3px 10px; align-items: center}
.bars .name {font-family: monospace; text-align: right; white-space: pre}
.bars .name.said {font-weight: bold; color: var(--color-accent)}
.bars .track {position: relative; height: 16px}
.bars .track div {position: absolute; left: 0; border-radius: 2px}
.bars .model {top: 0; height: 16px; background: var(--neutral-300)}
.bars .drawn {top: 4px; height: 8px; background: var(--color-accent)}
.bars .share {font-variant-numeric: tabular-nums; font-size: 85%; min-width: 3em; text-align: right}
footer {display: none !important}
"""
HOW_TO_READ = (
    "Gray: what the model thought likely. Colored: the chances after the settings, from which one was drawn. "
    "The bold one was said."
)


class OwnComputerOnly:
    """Tells the browser, with every page and file, to load nothing from elsewhere."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy if scope["type"] == "http" else send)


@dataclass
class Tab:
    """What one open page holds: its conversation, and all that it shows of it."""

    session: ChatSession
    shown: list[dict[str, str]]  # also the turns that the model can no longer see
    busy: threading.Lock = field(default_factory=threading.Lock)  # held while an answer is written


def token_view(session: ChatSession, position: int) -> str:
    """The last answer's tokens with the one at ``position`` (from 1) marked, and the bars it was drawn from."""
    last = session.last
    if last is None or not last.tokens:
        return "<p>Ask something, and see here what else the model might have said.</p>"
    place = min(max(position, 1), len(last.tokens)) - 1
    decode = session.tokenizer.decode
    ids = [*last.prompt, *last.tokens[:place]]
    chosen = last.tokens[place]
    odds = next_token_odds(session.model, session.tokenizer, ids, last.settings, BARS, also=chosen)
    words = "".join(
        f'<span class="{"chosen" if i == place else ""}">{html.escape(decode([token]))}</span>'
        for i, token in enumerate(last.tokens)
    )
    rows = "".join(
        f'<div class="name{" said" if one.token == chosen else ""}">{html.escape(visible(one.text))}</div>'
        f'<div class="track"><div class="model" style="width:{one.before:.1%}"></div>'
        f'<div class="drawn" style="width:{one.after:.1%}"></div></div><div class="share">{one.after:.1%}</div>'
        for one in odds
    )
    return f'<div class="tokens">{words}</div><div class="bars">{rows}</div><p><small>{HOW_TO_READ}</small></p>'


def visible(token: str) -> str:
    """A token's text with its spaces and line ends as signs."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅"


def as_text(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Messages for a component that would take ``<b>`` in them for HTML."""
    return [{**message, "content": html.escape(message["content"], quote=False)} for message in messages]


class ChatPage:
    """The page and its server.

    Attributes:
        tabs: what each open tab holds, by the browser's name for it.
        url: where it is, once it has been started.
    """

    def __init__(self, template: ChatSession, title: str):
        self.template, self.title = template, title
        self.tabs: dict[str, Tab] = {}
        self.url = ""
        self._server: Any = None
        self._thread: threading.Thread | None = None

    # ---- What the page does. Each answer of these goes to the components that _outputs lists.

    def tab(self, name: str) -> Tab:
        """The conversation of a browser tab, which begins as the template's."""
        if name not in self.tabs:
            session = ChatSession(self.template.model, self.template.tokenizer, self.template.settings)
            session.system, session.messages = self.template.system, copy.deepcopy(self.template.messages)
            self.tabs[name] = Tab(session, copy.deepcopy(self.template.messages))
        return self.tabs[name]

    def close_tab(self, name: str) -> None:
        """Ends a tab's answer, if one is being written, and forgets the tab."""
        if tab := self.tabs.pop(name, None):
            tab.session.stop()

    def ask(self, name: str, text: str | None, values: dict[str, Any]) -> Iterator[tuple[list[dict[str, str]], str]]:
        """Streams an answer; yields all messages to show and a line of status.

        Args:
            text: the question; None asks the last one again.
            values: the settings of the page, and ``system``.
        """
        tab = self.tab(name)
        if not tab.busy.acquire(blocking=False):
            yield tab.shown, "An answer is still being written: stop it first."
            return
        try:
            yield from self._answer(tab, text, dict(values))
        except CourseError as error:
            yield tab.shown, str(error)
        finally:
            tab.busy.release()

    def _answer(self, tab: Tab, text: str | None, values: dict[str, Any]) -> Iterator[tuple[list, str]]:
        session, dropped, before = tab.session, tab.session.dropped, list(tab.session.messages)
        session.system = values.pop("system") or ""
        if None in values.values():
            raise CourseError("A setting is empty: give each a number.")
        values |= {name: int(values[name]) for name in ("top_k", "max_new_tokens", "seed")}
        values["top_k"] = values["top_k"] or None  # the slider's 0 is "off"
        session.settings = replace(session.settings, **values)
        pieces = session.again() if text is None else session.ask(text)
        if text is None:  # the old answer goes, the question stays
            shown = tab.shown[: max(i for i, m in enumerate(tab.shown) if m["role"] == "user") + 1]
        else:
            shown = [*tab.shown, {"role": "user", "content": text.strip()}]
        forgotten = session.dropped - dropped
        note = f"The context is full: the oldest {forgotten} messages are forgotten. " if forgotten else ""
        answer, begin, sent, n_pieces = "", time.perf_counter(), 0.0, 0
        try:
            for piece in pieces:
                answer, n_pieces = answer + piece, n_pieces + 1
                if time.perf_counter() - sent >= SECONDS_BETWEEN_UPDATES:
                    tab.shown = [*shown, {"role": "assistant", "content": answer}]
                    yield tab.shown, note
                    sent = time.perf_counter()
        finally:
            pieces.close()  # also if the tab was closed: what was said is remembered, nothing more is computed
            new = session.messages[-1]["content"] if session.messages and session.messages != before else ""
            answer = new if answer and new else "(the model had nothing to say)"
            tab.shown = [*shown, {"role": "assistant", "content": answer}]
        tokens, seconds = len(session.last.tokens) if session.last else 0, time.perf_counter() - begin
        yield tab.shown, f"{note}{tokens} tokens, {tokens / max(seconds, 1e-6):.0f} a second."

    # ---- How it looks

    def build(self) -> Any:
        """The page as Gradio's Blocks."""
        import gradio as gr

        first = self.template.settings
        with gr.Blocks(title=self.title, analytics_enabled=False) as blocks:
            gr.Markdown(f"## {html.escape(self.title)}")
            with gr.Row():
                with gr.Column(scale=3):
                    chatbot = gr.Chatbot(
                        as_text(self.template.messages), height=380, show_label=False, render_markdown=False,
                        buttons=["copy"], feedback_options=None,
                        placeholder="It knows what you tell it: give it a short text and ask.",
                    )  # fmt: skip
                    question = gr.Textbox(
                        show_label=False, lines=1, max_lines=8, autofocus=True, elem_id="question",
                        placeholder="Your message: Enter sends it, Shift+Enter begins a new line",
                    )  # fmt: skip
                    with gr.Row():
                        send = gr.Button("Send", variant="primary", elem_id="send", size="md", min_width=90)
                        stop = gr.Button("Stop", elem_id="stop", interactive=False, size="md", min_width=90)
                        again = gr.Button("Regenerate", elem_id="again", size="md", min_width=90)
                        reset = gr.Button("New chat", elem_id="reset", size="md", min_width=90)
                    status = gr.HTML("", elem_id="status", min_height=24)
                    with gr.Column():
                        position = gr.Slider(
                            1, 2, 1, step=1, elem_id="position", label="What else might it have said? At token"
                        )
                        view = gr.HTML(token_view(self.template, 1), elem_id="bars", padding=True)
                with gr.Column(scale=1, min_width=280):
                    gr.Markdown("Settings, from the next answer on")
                    system = gr.Textbox(self.template.system, label="System text", elem_id="system")
                    longest = self.template.model.config.context_length
                    values = {
                        "temperature": (0, 2, first.temperature, 0.05, "Temperature (0: greedy)"),
                        "top_k": (0, 200, first.top_k or 0, 1, "Top-k (0: off)"),
                        "top_p": (0.05, 1, first.top_p, 0.05, "Top-p (1: off)"),
                        "min_p": (0, 0.95, first.min_p, 0.05, "Min-p (0: off)"),
                        "repetition_penalty": (1, 2, first.repetition_penalty, 0.05, "Repetition penalty (1: off)"),
                        "max_new_tokens": (1, longest, min(first.max_new_tokens, longest), 1, "Tokens at most"),
                    }
                    values = {
                        name: gr.Slider(low, high, value, step=step, label=label, elem_id=name)
                        for name, (low, high, value, step, label) in values.items()
                    }
                    values["seed"] = gr.Number(first.seed, precision=0, minimum=0, label="Seed", elem_id="seed")
            controls = [system, *values.values()]
            outputs = [chatbot, status, question, send, stop, again, position, view]

            def show(name: str, text: str | None, chosen: tuple) -> Iterator[tuple]:
                settings = dict(zip(["system", *values], chosen, strict=True))
                kept = gr.skip()
                rest = "" if text is not None else kept
                line = ""
                for shown, line in self.ask(name, text, settings):
                    writing = [gr.update(interactive=on) for on in (False, True, False)]
                    yield as_text(shown), html.escape(line), rest, *writing, kept, kept
                    rest = kept  # emptied once: the reader may be typing the next question
                tab = self.tabs.get(name)
                if tab is None:  # closed meanwhile
                    return
                n = len(tab.session.last.tokens) if tab.session.last else 1
                slider = gr.update(maximum=max(n, 2), value=1)
                ready = [gr.update(interactive=on) for on in (True, False, True)]
                yield as_text(tab.shown), html.escape(line), kept, *ready, slider, token_view(tab.session, 1)

            def on_send(request: gr.Request, text: str, *chosen: Any) -> Iterator[tuple]:
                yield from show(request.session_hash, text, chosen)

            def on_again(request: gr.Request, *chosen: Any) -> Iterator[tuple]:
                yield from show(request.session_hash, None, chosen)

            def on_stop(request: gr.Request) -> None:
                self.tab(request.session_hash).session.stop()

            def on_reset(request: gr.Request) -> tuple:
                self.close_tab(request.session_hash)
                tab = self.tab(request.session_hash)
                tab.session.reset()
                tab.shown = []
                return [], "", token_view(tab.session, 1)

            def on_position(request: gr.Request, at: float) -> str:
                return token_view(self.tab(request.session_hash).session, int(at))

            def on_close(request: gr.Request) -> None:
                self.close_tab(request.session_hash)

            shared = {"outputs": outputs, "show_progress": "hidden", "concurrency_limit": ANSWERS_AT_ONCE}
            shared |= {"concurrency_id": "answers", "api_visibility": "private"}
            gr.on([question.submit, send.click], on_send, [question, *controls], **shared)
            again.click(on_again, controls, **shared)
            quick = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
            stop.click(on_stop, None, None, **quick)
            gr.on([reset.click, chatbot.clear], on_reset, None, [chatbot, status, view], **quick)
            position.input(on_position, position, view, trigger_mode="always_last", **quick)
            blocks.unload(on_close)
        return blocks

    # ---- The server

    def start(self, port: int = 7860) -> str:
        """Starts serving in the background; returns the page's address. Port 0 takes any free one.

        Raises:
            CourseError: the port is taken, or is none.
        """
        import gradio as gr
        import uvicorn
        from fastapi import FastAPI
        from starlette.middleware.trustedhost import TrustedHostMiddleware

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
        app = FastAPI(docs_url=None, redoc_url=None)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # no foreign name leads here

        app.add_middleware(OwnComputerOnly)
        app = gr.mount_gradio_app(
            app, self.build(), "/", server_name=HOST, server_port=listener.getsockname()[1], ssr_mode=False,
            run_history=False, footer_links=[], css=STYLE, theme=gr.themes.Default(primary_hue="blue"), pwa=False,
        )  # fmt: skip
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, ws="none")
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
