"""What the chat page's browser may ask of its server, and what nobody else may: a small Starlette application.

A page of a stranger that is open in the same browser can send requests to this computer too. So every request has to
name this computer as its host, and come from our own page; and none brings a file, or more than a long message.
"""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from artifacts import CourseError

SECONDS_BETWEEN_UPDATES = 0.05  # the eye sees no more
SECONDS_TO_SEND = 2  # the next piece of a body that is refused anyway
SECONDS_TO_DRAIN = 60  # such a body in all
SECONDS_TO_LEAVE = 2  # for the browser to close its side, once the server has closed its own
LONGEST_BODY = 1_000_000  # bytes: many times what any context of the course holds
OUR_HOSTS = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
TAB_NAME = re.compile(r"[\w-]{8,64}", re.ASCII)
FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",  # the browser itself refuses whatever a page might want from elsewhere
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def refusal(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
    """Why a request is refused, as status and line; None if it isn't."""
    of: dict[str, list[str]] = {}
    for name, value in headers:
        of.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    hosts = of.get("host", [])
    if len(hosts) != 1 or not OUR_HOSTS.fullmatch(hosts[0]):
        return 400, "This page answers to 127.0.0.1 and localhost alone."
    if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in of.get("origin", [])):
        return 403, "This page answers to itself alone."
    # A link to the page may stand anywhere, such as in a notebook; what a link can't do is see or ask.
    is_link = method == "GET" and path == "/" and of.get("sec-fetch-mode") == ["navigate"]
    is_link = is_link and of.get("sec-fetch-dest") == ["document"]
    if not is_link and any(site not in ("same-origin", "none") for site in of.get("sec-fetch-site", [])):
        return 403, "This page answers to itself alone."
    if method == "POST" and [kind.split(";")[0].strip() for kind in of.get("content-type", [])] != ["application/json"]:
        return 415, "This page takes messages as JSON: no files and no forms."
    if any(not size.isdecimal() or len(size) > 9 or int(size) > LONGEST_BODY for size in of.get("content-length", [])):
        return 413, "That is too long for any model of the course: shorten it."
    return None


class OwnComputerOnly:
    """Lets through what ``refusal`` has nothing against, and tells the browser to load nothing from elsewhere."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        came = 0

        async def receive_so_much() -> Any:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > LONGEST_BODY:  # sent in chunks, without a length
                await drained(message, receive)
                raise HTTPException(413, "That is too long for any model of the course: shorten it.")
            return message

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        refused = refusal(scope["method"], scope["path"], scope["headers"])
        app = one_line(*refused) if refused else self.app
        if refused and scope["method"] not in ("GET", "HEAD"):
            await drained({"more_body": True}, receive)
        await app(scope, receive_so_much, send_with_headers)


async def drained(message: Any, receive: Any) -> None:
    """Lets the rest of a body pass by, unkept: who is still sending could not read why it is refused."""
    with contextlib.suppress(TimeoutError):  # who announced more than is sent isn't waited for
        async with asyncio.timeout(SECONDS_TO_DRAIN):
            while message.get("more_body"):
                message = await asyncio.wait_for(receive(), SECONDS_TO_SEND)


class ClosedInStages:
    """A connection whose end the browser survives: RFC 9112, 9.6 describes it.

    A socket that is closed while bytes come in answers them with a reset, and what the browser hasn't read by then is
    lost, such as why it was refused. So ``close`` ends only what is sent; the rest is read, and thrown away, until the
    browser has closed its side or a moment has passed.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._transport, self._loop = transport, loop
        self.leaving = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.leaving or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self.leaving = True
        self._transport.write_eof()  # once all is sent
        self._transport.resume_reading()
        self._loop.call_later(SECONDS_TO_LEAVE, self._transport.close)


class HTTPProtocol(H11Protocol):
    """HTTP as uvicorn serves it, on connections that are closed in stages."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(ClosedInStages(transport, self.loop))

    def data_received(self, data: bytes) -> None:
        if not self.transport.leaving:
            super().data_received(data)


def one_line(status: int, line: str) -> JSONResponse:
    """An error as the page shows it."""
    return JSONResponse({"error": line}, status)


def application(page: Any) -> Any:
    """The ASGI application of a ``ChatPage``."""

    def tab_name(value: Any) -> str:
        if not isinstance(value, str) or not TAB_NAME.fullmatch(value):
            raise HTTPException(400, "A tab needs a name of 8 to 64 letters, digits and hyphens.")
        return value

    async def read(request: Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.body())
            if isinstance(body, dict):
                return body
        except (ValueError, RecursionError):
            pass
        raise HTTPException(400, "That is no JSON object.")

    async def talk(request: Request) -> JSONResponse:
        name = tab_name(request.query_params.get("tab"))
        if tab := page.tabs.get(name):
            tab.visit, tab.left = request.query_params.get("visit", "")[:64], None
        return JSONResponse(page.state(name))

    async def ask(request: Request) -> JSONResponse:
        body = await read(request)
        name, values = tab_name(body.get("tab")), body.get("settings", {})
        if not isinstance(values, dict):
            raise HTTPException(400, "The settings must be an object.")
        await run_in_threadpool(page.begin, name, body.get("text"), values, body.get("instead") is True)
        if tab := page.tabs.get(name):
            tab.visit = str(body.get("visit", ""))[:64]
        return JSONResponse(page.state(name))

    async def follow(request: Request) -> StreamingResponse:
        name = tab_name(request.query_params.get("tab"))
        tab = page.tabs.get(name)

        async def lines() -> AsyncIterator[str]:
            sent = None
            if tab:
                tab.watchers += 1
                try:
                    while tab.busy.locked() and page.tabs.get(name) is tab:
                        if tab.shown is not sent:
                            sent = tab.shown
                            yield json.dumps(page.news(tab)) + "\n"
                        await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
                finally:
                    tab.watchers -= 1
            yield json.dumps(page.state(name)) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def stop(request: Request) -> JSONResponse:
        if tab := page.tabs.get(tab_name((await read(request)).get("tab"))):
            tab.session.stop()
        return JSONResponse({})

    async def reset(request: Request) -> JSONResponse:
        name = tab_name((await read(request)).get("tab"))
        page.reset(name)
        return JSONResponse(page.state(name))

    async def leave(request: Request) -> JSONResponse:
        body = await read(request)
        page.leave(tab_name(body.get("tab")), str(body.get("visit", ""))[:64])
        return JSONResponse({})

    async def odds(request: Request) -> JSONResponse:
        name, at = tab_name(request.query_params.get("tab")), request.query_params.get("at", "0")
        if not at.isdecimal() or len(at) > 9:
            raise HTTPException(400, "The token's place must be a whole number.")
        return JSONResponse(await run_in_threadpool(page.odds, name, int(at)))

    async def file(request: Request) -> FileResponse:
        return FileResponse(Path(__file__).with_name(FILES[request.url.path]))

    async def course_error(request: Request, error: Exception) -> JSONResponse:
        return one_line(422, str(error))

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        return one_line(error.status_code, error.detail)

    async def left(request: Request, error: Exception) -> JSONResponse:
        return one_line(400, "The message was not sent to its end.")  # most likely nobody reads that either

    async def failure(request: Request, error: Exception) -> JSONResponse:
        print(f"chat: {request.url.path}: {error!r}", file=sys.stderr)
        return one_line(500, "That failed: see the terminal.")

    routes = [Route(path, file) for path in FILES]
    routes += [Route(f"/api/{get.__name__}", get) for get in (talk, follow, odds)]
    routes += [Route(f"/api/{post.__name__}", post, methods=["POST"]) for post in (ask, stop, reset, leave)]
    handlers = {CourseError: course_error, HTTPException: http_error, ClientDisconnect: left, Exception: failure}
    return OwnComputerOnly(Starlette(routes=routes, exception_handlers=handlers))
