"""The page: in a real browser where there is one, and what it does with bad input without one."""

import os
import shutil
import socket
import time
import urllib.error
import urllib.request

import pytest
from small_chat import save_model, small_model, small_tokenizer

from artifacts import CourseError
from chat import page as chat_page
from chat import terminal
from chat.decoding import Settings
from chat.session import ChatSession

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
LONG = 1900  # tokens: seconds of an answer, for what must happen while one is written
VALUES = {"system": "", "temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1}
VALUES |= {"max_new_tokens": 8, "seed": 1}


@pytest.fixture(scope="module")
def template():
    tokenizer = small_tokenizer()
    model = small_model(tokenizer, context=2048, endless=True)
    return ChatSession(model, tokenizer, Settings(temperature=0, top_k=None, max_new_tokens=12))


@pytest.fixture
def page(template):
    page = chat_page.start(template, "A small model", port=0)
    yield page
    page.close()


# ---- without a browser


def test_each_tab_has_its_own_conversation(template):
    page = chat_page.ChatPage(template, "x")
    list(page.ask("a", "the mill", VALUES))
    (*_, (shown, status)) = page.ask("b", "<|end|> 磨坊 👩🏽‍🌾", {**VALUES, "temperature": 1.5, "seed": 5})
    assert [len(page.tab(name).session.messages) for name in "ab"] == [2, 2]
    assert shown[0] == {"role": "user", "content": "<|end|> 磨坊 👩🏽‍🌾"}
    assert "8 tokens" in status
    assert page.tab("a").session.settings.temperature == 0
    assert template.messages == []


def test_bad_input_is_one_line_and_the_conversation_stays(template):
    page = chat_page.ChatPage(template, "x")
    assert list(page.ask("a", None, VALUES)) == [([], "There is no question yet to answer again.")]
    list(page.ask("a", "the mill", VALUES))
    before = page.tab("a").shown
    bad = [("  ", VALUES, "empty"), ("mill " * 3000, VALUES, "fills the model's context")]
    bad += [("mill", {**VALUES, "seed": None}, "A setting is empty"), ("mill", {**VALUES, "top_p": 0}, "top_p is 0")]
    for text, values, reason in bad:
        ((shown, status),) = page.ask("a", text, values)
        assert reason in status and "\n" not in status
        assert shown == before
    assert len(page.tab("a").session.messages) == 2
    assert not page.tab("a").busy.locked()


def test_regenerating_replaces_the_last_answer(template):
    page = chat_page.ChatPage(template, "x")
    values = {**VALUES, "temperature": 1.5}
    (*_, (first, _)) = page.ask("a", "the mill", values)
    (*_, (second, _)) = page.ask("a", None, values)
    assert [m["role"] for m in second] == ["user", "assistant"]
    assert first[0] == second[0] and first[1] != second[1]
    assert page.tab("a").session.messages == second


def test_an_answer_that_is_left_halfway_is_remembered_and_frees_the_tab(template):
    page = chat_page.ChatPage(template, "x")
    answer = page.ask("a", "the mill", {**VALUES, "max_new_tokens": LONG})
    next(answer)
    ((_, status),) = page.ask("a", "another", VALUES)
    assert "stop it first" in status
    tab = page.tab("a")
    answer.close()
    assert len(tab.session.last.tokens) < 20
    assert [m["role"] for m in tab.session.messages] == ["user", "assistant"]
    (*_, (shown, _)) = page.ask("a", "another", VALUES)
    assert len(shown) == 4


def test_the_bars_show_every_token_of_the_answer_as_text(template):
    page = chat_page.ChatPage(template, "x")
    session = page.tab("a").session
    assert "Ask something" in chat_page.token_view(session, 3)
    list(page.ask("a", "the mill", {**VALUES, "temperature": 1, "top_k": 2}))
    for position in (1, 5, 99):
        view = chat_page.token_view(session, position)
        assert view.count('class="track"') == chat_page.BARS
        assert view.count('class="chosen"') == 1
        assert view.count('style="width:0.0%"') >= chat_page.BARS - 2  # top-k left two
    session.last.tokens[:] = session.tokenizer.encode("<b>&")
    assert "<b>" not in chat_page.token_view(session, 1)


def test_a_busy_port_is_one_line(template, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CourseError, match=f"Port {port} is taken.*--port"):
            chat_page.start(template, port=port)
        save_model(template.model, template.tokenizer, "tiny")
        assert terminal.main(["--preset", "tiny", "--web", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is taken" in error


def test_the_page_is_served_to_this_computer_alone(page):
    with urllib.request.urlopen(page.url, timeout=10) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    foreign = urllib.request.Request(page.url, headers={"Host": "example.org"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(foreign, timeout=10)
    with socket.socket() as outside:  # all of 127.* is this computer, yet only one address listens
        assert outside.connect_ex(("127.0.0.2", int(page.url.rsplit(":", 1)[1]))) != 0


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)}")
    options = ["--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    options += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as client:
        try:
            browser = client.chromium.launch(executable_path=BROWSER, args=options)
        except playwright.Error as error:
            pytest.skip(f"{BROWSER} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


class Visitor:
    """A tab of the browser, and what it asked of the network."""

    def __init__(self, browser, url):
        self.tab = browser.new_page()
        self.hosts, self.errors = set(), []
        self.tab.on("request", lambda request: self.hosts.add(request.url.split("/")[2].split(":")[0]))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.goto(url)
        self.tab.wait_for_selector("#question textarea")

    def set(self, name, value):
        field = self.tab.locator(f"#{name} input[type=number]")
        field.fill(str(value))
        field.press("Tab")

    def ask(self, text):
        self.tab.fill("#question textarea", text)
        self.tab.press("#question textarea", "Enter")

    def answers(self):
        return [element.inner_text() for element in self.tab.query_selector_all(".bot.message")]

    def wait(self, script, seconds=15):
        self.tab.wait_for_function(script, timeout=1000 * seconds)

    def wait_for_end(self):
        self.wait("document.querySelector('#status').innerText.includes('a second')")
        self.wait("!document.querySelector('#send').disabled")

    def wait_for_answer_longer_than(self, n):
        self.wait(f"[...document.querySelectorAll('.bot.message')].some(e => e.innerText.length > {n})")


def until(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def test_a_question_is_answered_piece_by_piece_stopped_and_asked_again(browser, page):
    visitor = Visitor(browser, page.url)
    visitor.set("max_new_tokens", LONG)
    visitor.ask("the mill")
    visitor.wait_for_answer_longer_than(10)
    early = len(visitor.answers()[0])
    visitor.wait_for_answer_longer_than(early + 10)  # it grows while we look: it is streamed
    visitor.tab.click("#stop")
    visitor.wait_for_end()
    (tab,) = page.tabs.values()
    assert len(tab.session.last.tokens) < LONG
    assert tab.session.settings.temperature == 0
    visitor.set("max_new_tokens", 12)
    visitor.set("temperature", 0.3)
    visitor.tab.click("#again")
    until(lambda: tab.session.settings.temperature == 0.3 and not tab.busy.locked())
    visitor.wait_for_end()
    assert len(tab.session.messages) == 2 and len(tab.session.last.tokens) <= 12
    visitor.wait("document.querySelectorAll('#bars .track').length == 10")
    visitor.tab.locator("#position input[type=range]").focus()
    visitor.tab.keyboard.press("ArrowRight")
    visitor.wait("document.querySelector('#bars .tokens span:nth-child(2)').className == 'chosen'")
    visitor.ask("   ")
    visitor.wait("document.querySelector('#status').innerText.includes('empty')")
    assert visitor.hosts == {"127.0.0.1"}, "the page must not ask anything of the network"
    assert visitor.errors == []
    visitor.tab.close()


def test_two_tabs_at_once_and_one_that_is_closed_in_mid_answer(browser, page):
    first, second = Visitor(browser, page.url), Visitor(browser, page.url)
    first.set("max_new_tokens", LONG)
    first.ask("the mill, tell me all")
    first.wait_for_answer_longer_than(10)
    (writing,) = [tab for tab in page.tabs.values() if tab.busy.locked()]
    second.ask("why <b>late</b>? &lt; *a* 磨坊 <|end|>")
    second.wait_for_end()
    assert writing.busy.locked(), "the second tab had to wait for the first"
    assert len(second.answers()) == 1 and "tell me all" not in second.tab.inner_text("body")
    assert "why <b>late</b>? &lt; *a* 磨坊 <|end|>" in second.tab.inner_text("body")
    first.tab.close()
    until(lambda: not writing.busy.locked())
    assert len(writing.session.last.tokens) < LONG
    assert [m["role"] for m in writing.session.messages] == ["user", "assistant"]
    until(lambda: writing not in page.tabs.values())
    second.ask("and then?")
    second.wait("document.querySelectorAll('.bot.message').length == 2")
    second.wait_for_end()
    (left,) = page.tabs.values()
    assert len(left.session.messages) == 4
    second.tab.close()
