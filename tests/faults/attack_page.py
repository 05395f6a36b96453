"""Attacks on the chat page: foreign websites, nonsense, and more than it can carry, while a reader wants an answer."""

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import psutil
from ground import Ground, Trial, fork, wait

from chat import page as chat_page
from chat.decoding import Settings
from chat.session import ChatSession
from export.folders import open_model_folder

FOREIGN, CROWDS, NONSENSE = 2000, 200, 1500
CROWD = 60  # connections at once
MOST_MEMORY = 150_000_000  # bytes that the page may have grown by in the end
REFUSALS = {400, 403, 404, 405, 411, 413, 415, 422, 431}


@contextlib.contextmanager
def _page(ground: Ground) -> Iterator[tuple[str, psutil.Process]]:
    """The page in a process of its own: its address and the process."""
    told = ground.room / "url.txt"
    told.unlink(missing_ok=True)

    def serve() -> None:
        session = ChatSession(*open_model_folder(ground.made / "sft" / "model"), Settings(max_new_tokens=8))
        told.with_suffix(".tmp").write_text(chat_page.start(session, port=0).url, encoding="utf-8")
        told.with_suffix(".tmp").rename(told)
        time.sleep(3600)

    pid = fork(serve, ground.room / "page.txt")
    try:
        while not told.exists():
            time.sleep(0.05)
        yield told.read_text(encoding="utf-8").removeprefix("http://"), psutil.Process(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        wait(pid)


def _status(host: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(method, path, body, {"Host": host, **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _well(host: str, process: psutil.Process, number: int) -> str:
    """Whether a reader gets the page and an answer."""
    try:
        begin = time.monotonic()
        body = json.dumps({"tab": f"reader-{number % 7:08d}", "text": "Hello!"}).encode()
        for method, path, sent in (("GET", "/", None), ("POST", "/api/ask", body)):
            status = _status(host, method, path, sent, {"Content-Type": "application/json"})
            if status not in (200, 422):  # the last answer may still be written
                return f"{method} {path}: {status}"
        took = time.monotonic() - begin
        return f"a reader waited {took:.0f} s" if took > 10 else ""
    except OSError as error:
        return f"a reader got {error!r}" + ("" if process.is_running() else ", and the page is gone")


def foreign(ground: Ground) -> Iterator[Trial]:
    """What a page of a stranger, open in the same browser, can send: all is refused, and its answer can be read."""
    r = ground.random
    hosts = ["evil.example", "127.0.0.1.evil.example", "127.0.0.2", "0.0.0.0", "[::1]", "", "localhost.", "a@localhost"]
    origins = ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "file://", "", "http://[::1]"]
    with _page(ground) as (host, process):
        before = process.memory_info().rss
        for number in range(FOREIGN):
            headers = {"Content-Type": r.choice(["application/json", "text/plain", "multipart/form-data; boundary=X"])}
            mark = r.choice(["Host", "Origin", "Sec-Fetch-Site"])
            headers[mark] = r.choice({"Host": hosts, "Origin": origins}.get(mark, ["cross-site", "same-site", "x"]))
            method, path = r.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS"]), r.choice(
                ["/", "/page.js", "/api/ask", "/api/talk?tab=reader-00000001", "/api/stop", "/upload", "/../x", "/%00"]
            )  # fmt: skip
            body = None if method == "GET" else r.randbytes(r.choice([0, 2, 2000, 300_000]))
            if number % 100 == 0:
                body = bytes(20_000_000)
            what = f"{method} {path} {headers}"
            try:
                status = _status(host, method, path, body, headers)
                wrong = "" if status in REFUSALS else f"{what}: {status}"
            except OSError as error:
                wrong = f"{what}: {error!r}"
            yield Trial("page: foreign origins and hosts", wrong)
        grown = process.memory_info().rss - before
        yield Trial("page: memory after them", f"{grown / 1e6:.0f} MB more" if grown > MOST_MEMORY else "")


def nonsense(ground: Ground) -> Iterator[Trial]:
    """Bytes that are no request, and requests that break off or go wrong in the middle."""
    r = ground.random
    with _page(ground) as (host, process):
        whole = (
            f"POST /api/ask HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n"
            '{"tab": "reader-00000001", "text": "Hi"}\n'
        ).encode()
        for number in range(NONSENSE):
            data = bytearray(whole)
            for _ in range(r.randint(0, 6)):
                at = r.randrange(len(data))
                data[at : at + r.randint(0, 3)] = r.randbytes(r.randint(0, 4))
            data = data[: r.randint(1, len(data))] if r.random() < 0.5 else data
            wrong = ""
            with (
                contextlib.suppress(OSError),
                socket.create_connection(tuple(host.split(":")), timeout=5) as connection,
            ):
                connection.sendall(r.randbytes(300) if number % 5 == 0 else data)
                if r.random() < 0.5:
                    connection.settimeout(0.02)
                    connection.recv(1000)
            if number % 25 == 24:
                wrong = _well(host, process, number)
            yield Trial("page: broken requests", wrong)
        said = (ground.room / "page.txt").read_text(encoding="utf-8", errors="replace")
        yield Trial("page: nothing of them in the terminal", said[:600])


def crowds(ground: Ground) -> Iterator[Trial]:
    """Many connections at once that send nothing, too much, or leave, and a reader among them."""
    r = ground.random
    with _page(ground) as (host, process):
        _well(host, process, 0)
        before, handles = process.memory_info().rss, process.num_fds()
        for number in range(CROWDS):
            crowd = []
            for _ in range(CROWD):
                with contextlib.suppress(OSError):
                    crowd.append(socket.create_connection(tuple(host.split(":")), timeout=5))
                    size = r.choice([0, 10, 3_000_000])
                    start = f"POST /api/ask HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                    crowd[-1].settimeout(0.05)
                    crowd[-1].sendall(f"{start}Content-Length: {size}\r\n\r\n".encode()[: r.choice([5, 80, 999])])
                    crowd[-1].sendall(bytes(r.choice([0, size // 2, size])))
            wrong = _well(host, process, number)
            for connection in crowd:
                connection.close()
            yield Trial(f"page: {CROWD} connections at once", wrong)
        time.sleep(8)
        grown, more = process.memory_info().rss - before, process.num_fds() - handles
        wrong = f"{grown / 1e6:.0f} MB and {more} handles more" if grown > MOST_MEMORY or more > 10 else ""
        yield Trial("page: memory and handles after them", wrong)


ATTACKS = {"foreign": foreign, "nonsense": nonsense, "crowds": crowds}
