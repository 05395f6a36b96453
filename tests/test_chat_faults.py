"""What strangers and broken programs send to the chat page: each is refused in one line, and nothing of it stays."""

import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from small_chat import save_model, small_model, small_tokenizer

from chat import page as chat_page
from chat.decoding import Settings
from chat.session import ChatSession

TAB = "tab-12345678"


@pytest.fixture(scope="module")
def page():
    tokenizer = small_tokenizer()
    model = small_model(tokenizer, context=2048, endless=True)
    template = ChatSession(model, tokenizer, Settings(temperature=0, top_k=None, max_new_tokens=12))
    page = chat_page.start(template, "A small model", port=0)
    yield page
    page.close()


def request(page, method="GET", path="/", body=None, **headers):
    """(status, headers, body) of one request, whose headers are exactly those given."""
    host = page.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": host, **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def post(page, path, body, **headers):
    return request(page, "POST", path, json.dumps(body), **{"Content_Type": "application/json", **headers})


def test_our_own_page_is_answered_and_loads_nothing_from_elsewhere(page):
    for path in ("/", "/page.js", "/page.css"):
        status, headers, body = request(page, path=path, Sec_Fetch_Site="same-origin", Origin=page.url)
        assert status == 200 and b"//" not in body.replace(b"http://www.w3.org/2000/svg", b"").replace(b"// ", b"")
        assert "default-src 'self'" in headers["Content-Security-Policy"] and headers["Server"] is None
    status, _, body = post(page, "/api/ask", {"tab": TAB, "text": "the mill"}, Origin=page.url)
    assert status == 200 and json.loads(body)["messages"][0]["content"] == "the mill"
    status, _, body = request(page, path=f"/api/follow?tab={TAB}")
    assert status == 200 and "a second" in json.loads(body.splitlines()[-1])["line"]
    assert request(page, path="/", Host="localhost:9000")[0] == 200  # as `ssh -L 9000:…` calls it
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert request(page, path="/", **link)[0] == 200  # a link, such as in a notebook


FOREIGN = [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "https://127.0.0.1"}, {"Origin": ""},
    {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://127.0.0.1.evil.example"}, {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "CROSS-SITE"}, {"Sec_Fetch_Site": ""},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", f"/api/talk?tab={TAB}"), ("POST", "/api/ask"), ("POST", "/gradio_api/upload"), ("PUT", "/")],
)
def test_other_websites_are_refused(page, method, path, headers):
    status, _, body = request(page, method, path, "{}" if method == "POST" else None, **headers)
    assert status == 403 and set(json.loads(body)) == {"error"}


def test_a_foreign_page_cannot_frame_ours_or_follow_a_link_further_in(page):
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert request(page, path="/", **link, Sec_Fetch_Dest="iframe")[0] == 403
    assert request(page, path=f"/api/talk?tab={TAB}", **link, Sec_Fetch_Dest="document")[0] == 403
    assert "frame-ancestors 'none'" in request(page)[1]["Content-Security-Policy"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.2", "0.0.0.0", "[::1]", "", "a@localhost"],
)
def test_other_hosts_are_refused(page, host):
    assert request(page, Host=host)[0] == 400
    assert request(page, "POST", "/api/ask", "{}", Host=host, Content_Type="application/json")[0] == 400


def test_only_this_computers_own_address_listens(page):
    with socket.socket() as outside:  # all of 127.* is this computer, yet only one address listens
        assert outside.connect_ex(("127.0.0.2", int(page.url.rsplit(":", 1)[1]))) != 0


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/upload", "/api/ask", "/"])
def test_files_are_refused_however_large_and_nothing_of_them_stays(page, path, tmp_path):
    head = b'--XX\r\nContent-Disposition: form-data; name="files"; filename="x.bin"\r\n\r\n'
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in (10, 30_000_000):
        body = head + b"\0" * size + b"\r\n--XX--\r\n"
        for kind in ("multipart/form-data; boundary=XX", "application/x-www-form-urlencoded", "text/plain"):
            assert request(page, "POST", path, body, Content_Type=kind, Connection="close")[0] in (413, 415)
            assert request(page, "POST", path, body, Content_Type=kind, Origin="http://evil.example")[0] == 403
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000, "kilobytes"
    assert request(page, "POST", path, b"{}")[0] == 415


def test_messages_longer_than_any_context_are_refused_with_and_without_a_length(page):
    body = {"tab": TAB, "text": "a" * 1_100_000}
    assert post(page, "/api/ask", body)[0] == 413
    chunks = iter([json.dumps(body).encode()] * 9)
    headers = {"Content_Type": "application/json", "Connection": "close"}
    status, _, told = request(page, "POST", "/api/ask", chunks, **headers)
    assert status == 413 and "too long" in json.loads(told)["error"]
    for length in ("-1", "99999999999", "a"):
        assert (
            request(page, "POST", "/api/ask", b"{}", Content_Type="application/json", Content_Length=length)[0] >= 400
        )
    status, _, told = post(page, "/api/ask", {"tab": TAB, "text": "why " * 200_000})
    assert status == 422 and "shorten it" in json.loads(told)["error"]


def send_slowly(page, method, lines, pieces):
    """The status of a request whose body is still on its way when the server has decided about it."""
    host = page.url.removeprefix("http://")
    with socket.create_connection(tuple(host.split(":")), timeout=60) as connection:
        connection.sendall("\r\n".join([f"{method} /api/ask HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode())
        for piece in pieces:
            time.sleep(0.02)
            connection.sendall(piece)
        time.sleep(0.02)
        return int(connection.recv(65536).split()[1])


JSON_TYPE, CLOSE = "Content-Type: application/json", "Connection: close"
STILL_SENDING = {
    "a length that is none": (400, "POST", [JSON_TYPE, "Content-Length: -1"], [b"{", b"}", b" "]),
    "a header that is none": (400, "POST", [JSON_TYPE, "a b: c"], [b"{", b"}", b" "]),
    "a chunk that is none": (400, "POST", [JSON_TYPE, "Transfer-Encoding: chunked"], [b"zz\r\n", b"}", b" "]),
    "more than announced": (400, "POST", [JSON_TYPE, "Content-Length: 2", CLOSE], [b"{} ", b" " * 99_999]),
    "too long": (413, "POST", [JSON_TYPE, "Content-Length: 1100000", CLOSE], [b" " * 100_000] * 11),
    "no JSON": (415, "POST", ["Content-Length: 300000", CLOSE], [b" " * 100_000] * 3),
    "a foreign page": (403, "GET", ["Origin: null", "Content-Length: 300000", CLOSE], [b" " * 100_000] * 3),
}  # fmt: skip


@pytest.mark.parametrize("case", STILL_SENDING)
def test_a_refusal_reaches_who_is_still_sending(page, case):
    status, *request_of = STILL_SENDING[case]
    for _ in range(4):
        assert send_slowly(page, *request_of) == status


def test_who_leaves_in_the_middle_of_a_message_is_no_failure(page, capfd):
    port = int(page.url.rsplit(":", 1)[1])
    for lines in ([JSON_TYPE, "Content-Length: 1000"], [JSON_TYPE, "Transfer-Encoding: chunked"], ["Origin: null"]):
        head = "\r\n".join(["POST /api/ask HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines, "", ""]).encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + b"5\r\n{")
    end = time.monotonic() + 60
    while page._server.server_state.connections:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_message_is_refused_in_one_line_and_the_terminal_stays_quiet(page, capfd):
    bodies = [
        b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"tab": 1}', b'{"tab": "a"}',
        b'{"tab": "../../etc/passwd"}',
        b'{"tab": "%s", "text": 1}', b'{"tab": "%s", "text": {}}', b'{"tab": "%s", "text": "x", "settings": []}',
        b'{"tab": "%s", "text": "x", "settings": {"temperature": NaN}}', b'{"tab": "%s", "text": ""}',
        b'{"tab": "%s", "text": "x", "settings": {"temperature": 1e999}}', b'{"tab": "%s", "text": "\\u0000 \\u001b"}',
        b'{"tab": "%s", "text": "x", "settings": {"seed": ' + b"9" * 5000 + b"}}",
        b'{"tab": "%s", "text": "x", "settings": {"top_p": [0]}}', b'{"tab": "%s", "text": "x", "settings": {"x": 1}}',
    ]  # fmt: skip
    for body in bodies:
        body = body.replace(b"%s", b"tab-of-nonsense")
        status, _, told = request(page, "POST", "/api/ask", body, Content_Type="application/json")
        assert status in (400, 422), body[:80]
        assert "\n" not in json.loads(told)["error"]
    for path in (
        "/api/talk",
        "/api/talk?tab=a",
        f"/api/odds?tab={TAB}&at=-1",
        f"/api/odds?tab={TAB}&at=x",
        "/api/follow",
    ):
        assert request(page, path=path)[0] == 400
    for path in ("/docs", "/openapi.json", "/config", "/../artifacts.py", "/%2e%2e/artifacts.py", "/page.py", "/api"):
        status, _, told = request(page, path=path)
        assert status == 404 and set(json.loads(told)) == {"error"}
    assert request(page, "DELETE", "/api/ask")[0] == 405
    assert request(page, path=f"/api/odds?tab={TAB}&at=999999999")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_half_an_emoji_does_not_break_the_page(page):
    for text in ("broken \ud83d emoji", "whole"):
        status, _, told = post(
            page, "/api/ask", {"tab": "tab-surrogate", "text": text, "settings": {"system": "\udfff"}}
        )
        assert status == 200, told
        lines = request(page, path="/api/follow?tab=tab-surrogate")[2].splitlines()
        messages = json.loads(lines[-1])["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"] == ["broken \ufffd emoji", "whole"]


def test_an_answer_that_nobody_follows_ends(page, monkeypatch):
    monkeypatch.setattr(chat_page, "SECONDS_UNWATCHED", 0.2)
    body = {"tab": "tab-unwatched", "text": "the mill", "settings": {"max_new_tokens": 1900}}
    assert post(page, "/api/ask", body)[0] == 200
    tab = page.tabs["tab-unwatched"]
    assert post(page, "/api/ask", body)[0] == 422  # one at a time
    end = time.monotonic() + 60
    while tab.busy.locked():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(tab.session.last.tokens) < 1900


def test_a_failure_while_writing_is_told_on_the_page(page, monkeypatch):
    name = "tab-of-failure"
    assert post(page, "/api/ask", {"tab": name, "text": "the mill"})[0] == 200
    request(page, path=f"/api/follow?tab={name}")
    monkeypatch.setattr("chat.generation.choose_tokens", lambda *_: 1 / 0)
    assert post(page, "/api/ask", {"tab": name, "text": "why?"})[0] == 200
    last = json.loads(request(page, path=f"/api/follow?tab={name}")[2].splitlines()[-1])
    assert "failed" in last["line"] and not last["writing"]


PROXIES = [
    {"ALL_PROXY": "socks5://127.0.0.1:7890"}, {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "nonsense://["},
    {"HTTPS_PROXY": "socks4://x", "NO_PROXY": "*", "all_proxy": "127.0.0.1:9"},
    {"NO_PROXY": "[::1", "FORWARDED_ALLOW_IPS": "*", "WEB_CONCURRENCY": "4"},
]  # fmt: skip


@pytest.mark.parametrize("variables", PROXIES, ids=lambda variables: next(iter(variables)))
def test_the_page_needs_no_proxy(variables, tmp_path):
    tokenizer = small_tokenizer()
    save_model(small_model(tokenizer), tokenizer, "tiny")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python_files"), **variables}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "chat.terminal", "--preset", "tiny", "--web", "--port", str(port)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said = (line for line in iter(process.stdout.readline, "") if not line.startswith("The tiny model"))
            assert next(said).startswith("Open http")
        finally:
            process.kill()
