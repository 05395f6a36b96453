"""The page: in a real browser where there is one, and what it does with bad input without one."""

import json
import os
import shutil
import socket
import time

import pytest
from small_chat import play, save_model, small_model, small_tokenizer

from artifacts import CourseError
from chat import generation, terminal
from chat import page as chat_page
from chat.decoding import Settings
from chat.session import ChatSession

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
LONG = 1900  # tokens of an answer: for what must happen while one is written, on fast machines too with ``slow``
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
    before, settings = page.tab("a").shown, page.tab("a").session.settings
    bad = [("  ", VALUES, "empty"), ("mill " * 3000, VALUES, "fills the model's context"), (7, VALUES, "must be text")]
    bad += [("mill", {**VALUES, "system": 7}, "must be text"), ("mill", {**VALUES, "heat": 1}, "no setting 'heat'")]
    nan, inf = float("nan"), float("inf")
    for name, wrong in {
        "temperature": [-1, nan, inf, "1", [1], {}, True, 10**400], "top_k": [-1, 1.5, nan, "a", [3]],
        "top_p": [0, -1, 1.1, nan, "", [1]], "min_p": [1, -0.1, nan], "repetition_penalty": [0, 1e-50, 1e300, nan, inf],
        "max_new_tokens": [0, -5, 2.5, nan, inf, "9"], "seed": [1.5, nan, inf, "x", [1], False],
    }.items():  # fmt: skip
        bad += [("mill", {**VALUES, name: value}, name) for value in wrong]
        bad += [("mill", {**VALUES, name: None}, "A setting is empty")]
    for text, values, reason in bad:
        ((shown, status),) = page.ask("a", text, values)
        assert reason in status and "\n" not in status
        assert shown == before and page.tab("a").session.settings == settings
    assert len(page.tab("a").session.messages) == 2
    assert not page.tab("a").busy.locked()


def test_values_at_the_edge_of_their_range_are_answered(template):
    page = chat_page.ChatPage(template, "x")
    edges = {
        "temperature": [1e-50, 1e-8, 1e300, 10**30], "top_k": [0, 1, 10**30, 3.0], "top_p": [1e-50, 1],
        "repetition_penalty": [0.01, 100], "max_new_tokens": [1, 8.0], "seed": [-5, 2**80, 0], "min_p": [0.999],
    }  # fmt: skip
    for name, values in edges.items():
        for value in values:
            (*_, (_, status)) = page.ask("a", "the mill", {**VALUES, "temperature": 1, name: value})
            assert "a second" in status, (name, value, status)


def test_half_characters_and_control_characters_never_reach_the_browser(template):
    page = chat_page.ChatPage(template, "x")
    for text in ("broken \ud83d emoji", "low \ude00\ud83d", "\ud83d", "nul \0 esc \x1b[2J \ufeff", "whole"):
        for shown, status in page.ask("a", text, {**VALUES, "system": "be \udc00 kind"}):
            json.dumps([shown, status], ensure_ascii=False).encode()
    said = [message["content"] for message in page.tab("a").shown if message["role"] == "user"]
    assert said[0] == "broken \ufffd emoji" and "nul  esc [2J" in said
    assert chat_page.as_text([{"role": "assistant", "content": "a\x1b[2J\ud83d"}])[0]["content"] == "a[2J\ufffd"


def test_the_last_message_can_be_changed(template):
    page = chat_page.ChatPage(template, "x")
    list(page.ask("a", "the mill", VALUES))
    list(page.ask("a", "why late?", VALUES))
    (*_, (shown, _)) = page.ask("a", "why so?", VALUES, instead=True)
    assert [m["content"] for m in shown if m["role"] == "user"] == ["the mill", "why so?"]
    assert page.tab("a").session.messages == shown
    ((again, status),) = page.ask("a", "mill " * 3000, VALUES, instead=True)
    assert again == shown == page.tab("a").session.messages and "fills the model's context" in status


def test_an_answer_that_comes_out_the_same_again_is_shown(template):
    page = chat_page.ChatPage(template, "x")
    (*_, (first, _)) = page.ask("a", "the mill", VALUES)
    (*_, (second, _)) = page.ask("a", None, VALUES)
    assert first == second and first[1]["content"] != chat_page.NOTHING_SAID


def test_an_empty_answer_says_so(template, monkeypatch):
    page = chat_page.ChatPage(template, "x")
    play(monkeypatch, template.tokenizer, "")
    (*_, (shown, _)) = page.ask("a", "the mill", VALUES)
    assert shown[1]["content"] == chat_page.NOTHING_SAID and page.tab("a").session.messages == []


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
    assert [next(answer)[0][-1]["content"] != "" for _ in range(2)] == [False, True]
    ((_, status),) = page.ask("a", "another", VALUES)
    assert "stop it first" in status
    tab = page.tab("a")
    answer.close()
    assert len(tab.session.last.tokens) < 20
    assert [m["role"] for m in tab.session.messages] == ["user", "assistant"]
    (*_, (shown, _)) = page.ask("a", "another", VALUES)
    assert len(shown) == 4


def test_the_bars_show_every_token_of_the_answer(template):
    page = chat_page.ChatPage(template, "x")
    session = page.tab("a").session
    assert chat_page.token_view(session, 3)["tokens"] == []
    list(page.ask("a", "the mill", {**VALUES, "temperature": 1, "top_k": 2}))
    for position, at in ((0, 0), (5, 5), (99, 7)):
        view = chat_page.token_view(session, position)
        assert len(view["tokens"]) == 8 and view["at"] == at
        assert [one["text"] for one in view["odds"] if one["said"]] == [view["tokens"][at]]
        assert sum(one["after"] > 0 for one in view["odds"]) <= 2 < sum(one["before"] > 0 for one in view["odds"])


def test_memory_is_bounded_whoever_asks(template, monkeypatch):
    monkeypatch.setattr(chat_page, "TABS", 6)
    monkeypatch.setattr(chat_page, "CACHES", 2)
    page = chat_page.ChatPage(template, "x")
    for i in range(20):
        list(page.ask(f"tab {i}", "the mill", VALUES))
        held = [tab for tab in page.tabs.values() if tab.session._memory.cache is not None]
        assert len(page.tabs) <= 6 and len(held) <= 2
    assert "tab 19" in page.tabs and "tab 0" not in page.tabs
    (*_, (shown, _)) = page.ask("tab 15", "and then?", VALUES)
    assert len(shown) == 4, "a talk whose cache was freed goes on"
    oldest = min(page.tabs, key=lambda name: page.tabs[name].seen)
    assert len(page.tab(oldest).shown) == 2, "the one whose reader comes back is not the one to go"


def test_a_closed_tab_is_freed_and_forgotten_after_a_while(template, monkeypatch):
    page = chat_page.ChatPage(template, "x")
    list(page.ask("a", "the mill", VALUES))
    tab = page.tab("a")
    tab.visit = "second"
    page.leave("a", "first")
    assert tab.left is None, "the page was loaded again before that word came"
    page.leave("a", "second")
    assert tab.session._memory.cache is None and len(page.tab("a").shown) == 2  # its reader is back
    page.leave("a", "second")
    monkeypatch.setattr(chat_page, "SECONDS_LEFT", -1)
    page.tab("b")
    assert list(page.tabs) == ["b"]


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

    def __init__(self, browser, url, **options):
        self.tab = browser.new_page(**options)
        self.hosts, self.errors = set(), []
        self.tab.on("request", lambda request: self.hosts.add(request.url.split("/")[2].split(":")[0]))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.goto(url)
        self.tab.wait_for_selector("#examples button", state="attached")

    def set(self, name, value):
        field = self.tab.locator(f"#settings [name={name}]")
        if not field.is_visible():
            self.tab.click("#open-settings")
        field.fill(str(value))

    def ask(self, text):
        self.tab.fill("#question", text)
        self.tab.press("#question", "Enter")

    def answers(self):
        return self.tab.locator(".message.assistant .text").all_inner_texts()

    def status(self):
        return self.tab.inner_text("#status")

    def wait_for_end(self):
        until(lambda: self.tab.is_visible("#send") and "a second" in self.status())

    def wait_for_answer_longer_than(self, n):
        until(lambda: max(map(len, self.answers()), default=0) > n)


@pytest.fixture
def slow(monkeypatch):
    """Some milliseconds more for each token."""
    choose = generation.choose_tokens

    def wait_and_choose(*args, **options):
        time.sleep(0.004)
        return choose(*args, **options)

    monkeypatch.setattr(generation, "choose_tokens", wait_and_choose)


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def test_a_question_is_answered_piece_by_piece_stopped_and_asked_again(browser, page, slow):
    visitor = Visitor(browser, page.url)
    visitor.set("max_new_tokens", LONG)
    visitor.ask("the mill")
    visitor.wait_for_answer_longer_than(10)
    early = len(visitor.answers()[0])
    visitor.wait_for_answer_longer_than(early + 10)  # it grows while we look: it is streamed
    visitor.tab.click("#stop")
    visitor.wait_for_end()
    (tab,) = page.tabs.values()
    assert len(tab.session.last.tokens) < LONG and "Stopped" in visitor.status()
    assert tab.session.settings.temperature == 0
    visitor.set("max_new_tokens", 12)
    visitor.set("temperature", 0.3)
    visitor.tab.click("#again")
    until(lambda: tab.session.settings.temperature == 0.3 and not tab.busy.locked())
    visitor.wait_for_end()
    assert len(tab.session.messages) == 2 and len(tab.session.last.tokens) <= 12
    visitor.tab.click("#open-tokens")
    until(lambda: visitor.tab.locator("#bars .track").count() >= chat_page.BARS)
    visitor.tab.focus("#said [aria-pressed=true]")
    visitor.tab.keyboard.press("ArrowRight")
    visitor.tab.wait_for_selector("#said button:nth-child(2)[aria-pressed=true]")
    assert visitor.hosts == {"127.0.0.1"}, "the page must not ask anything of the network"
    assert visitor.errors == []
    visitor.tab.close()


def test_a_refused_message_and_a_draft_stay_and_the_last_message_can_be_changed(browser, page):
    visitor = Visitor(browser, page.url)
    too_long = "mill " * 3000
    visitor.ask(too_long)
    until(lambda: "shorten it" in visitor.status())
    assert visitor.tab.input_value("#question") == too_long
    visitor.ask("the mill")
    visitor.wait_for_end()
    assert visitor.tab.input_value("#question") == ""
    visitor.tab.fill("#question", "a draft")
    visitor.tab.click("#edit")
    assert visitor.tab.input_value("#question") == "the mill"
    visitor.ask("why late?")
    until(lambda: visitor.tab.locator(".message.user .text").all_inner_texts() == ["why late?"])
    visitor.wait_for_end()
    assert visitor.tab.input_value("#question") == "a draft"
    visitor.tab.reload()
    until(lambda: visitor.tab.input_value("#question") == "a draft")
    visitor.tab.close()


def test_a_reload_finds_the_conversation_again_even_in_mid_answer(browser, page):
    visitor = Visitor(browser, page.url)
    visitor.tab.click("#examples button:nth-child(2)")
    visitor.wait_for_end()
    visitor.set("max_new_tokens", LONG)
    visitor.ask("the mill")
    visitor.wait_for_answer_longer_than(100)
    (tab,) = page.tabs.values()
    visitor.tab.reload()
    visitor.wait_for_answer_longer_than(100)
    assert tab.busy.locked() and len(visitor.answers()) == 2
    early = len(visitor.answers()[1])
    visitor.wait_for_answer_longer_than(early + 10)
    visitor.tab.click("#stop")
    visitor.wait_for_end()
    visitor.tab.reload()
    until(lambda: len(visitor.answers()) == 2)
    said = chat_page.as_text(tab.shown)[-1]["content"]
    assert visitor.answers()[1].split() == said.split() and list(page.tabs.values()) == [tab]
    visitor.tab.click("#reset")
    visitor.tab.wait_for_selector("#examples button")
    assert visitor.answers() == [] and visitor.errors == []
    visitor.tab.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fills_the_window_and_no_more(browser, page, width):
    visitor = Visitor(browser, page.url, viewport={"width": width, "height": 800})
    for _ in range(4):
        visitor.ask("the mill " * 20)
        visitor.wait_for_end()
        visitor.tab.wait_for_selector("#again")

    def bottom(selector):
        box = visitor.tab.locator(selector).last.bounding_box()
        return box["x"] + box["width"], box["y"] + box["height"]

    for drawer in ("#settings", "#tokens"):
        visitor.tab.click(f"#open-{drawer[1:]}")
        for selector in ("body", "header", drawer, "#composer" if width > 1000 else "body"):
            right, low = bottom(selector)
            assert right <= width and low <= 800, selector
        visitor.tab.click(f"{drawer} .close")
    assert 760 <= bottom("#composer")[1] <= 800, "the message box stands at the lower end"
    assert bottom("#again")[1] <= bottom("#composer")[1] - 80, "the newest is in view"
    visitor.tab.close()


def test_two_tabs_at_once_and_one_that_is_closed_in_mid_answer(browser, page, monkeypatch, slow):
    monkeypatch.setattr(chat_page, "SECONDS_UNWATCHED", 1)
    first, second = Visitor(browser, page.url), Visitor(browser, page.url)
    first.set("max_new_tokens", LONG)
    first.ask("the mill, tell me all")
    first.wait_for_answer_longer_than(10)
    (writing,) = page.tabs.values()
    second.ask("why <b>late</b>? &lt; *a* 磨坊 <|end|>")
    second.wait_for_end()
    assert writing.busy.locked(), "the second tab had to wait for the first"
    assert len(second.answers()) == 1 and "tell me all" not in second.tab.inner_text("body")
    assert "why <b>late</b>? &lt; *a* 磨坊 <|end|>" in second.tab.inner_text("body")
    first.tab.close()
    until(lambda: not writing.busy.locked())
    assert len(writing.session.last.tokens) < LONG
    assert [m["role"] for m in writing.session.messages] == ["user", "assistant"]
    until(lambda: writing.left and writing.session._memory.cache is None)
    second.ask("and then?")
    until(lambda: len(second.answers()) == 2)
    second.wait_for_end()
    assert len(page.tabs) == 2 and sum(len(tab.session.messages) for tab in page.tabs.values()) == 6
    second.tab.close()
