"use strict";
// The page's whole script: it shows what the server holds, and asks it. The conversation itself lives there, so that
// a reload, even in the middle of an answer, finds it again by the name that this tab keeps.

const $ = (id) => document.getElementById(id);
const tab = (sessionStorage.tab ||= crypto.randomUUID());
const visit = crypto.randomUUID(); // this load of the page
const fields = [...document.querySelectorAll("#settings [name]")];
const NOTHING = "(the model had nothing to say)";
let state = { messages: [] };
let writing = false;
let editing = false;
let place = 0; // of the token whose bars are shown
let atEnd = true; // whether the reader looks at the newest, and so wants to see what comes

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---- The server

async function call(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ tab, visit, ...body }) };
  let answer;
  try {
    answer = await fetch(path, body ? options : {});
  } catch {
    throw new Error("The page's server does not answer. Does it still run in the terminal?");
  }
  const said = await answer.json().catch(() => ({ error: `The server said ${answer.status}.` }));
  if (!answer.ok) throw new Error(said.error);
  return said;
}

async function refresh() {
  try {
    show(await call(`api/talk?tab=${tab}&visit=${visit}`));
    if (state.writing && !writing) follow();
  } catch (error) {
    tell(error.message, true);
  }
}

async function ask(text, instead = false) {
  if (writing) return false;
  setWriting(true);
  try {
    show(await call("api/ask", { text, instead, settings: values() }));
  } catch (error) {
    setWriting(false);
    tell(error.message, true);
    return false;
  }
  follow();
  return true;
}

async function follow() {
  setWriting(true);
  try {
    const answer = await fetch(`api/follow?tab=${tab}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      for (const line of lines) show(JSON.parse(line));
    }
    setWriting(false);
    if (!$("tokens").hidden) showTokens(0);
  } catch {
    setWriting(false);
    tell("The connection to the server was lost.", true);
  }
}

// ---- The conversation

function show(news) {
  if (news.messages) {
    atEnd ||= news.messages.length > state.messages.length;
    state = news;
    drawMessages();
  } else {
    const texts = document.querySelectorAll(".message.assistant .text");
    texts[texts.length - 1].textContent = news.answer;
    state.messages[state.messages.length - 1].content = news.answer;
  }
  tell(news.line);
  settle();
}

function drawMessages() {
  document.title = $("title").textContent = state.title;
  $("welcome").hidden = state.messages.length > 0;
  $("examples").replaceChildren(...state.examples.map((text) => button(text, () => ask(text))));
  $("messages").replaceChildren(...state.messages.map(drawMessage));
  drawActions();
}

function drawMessage({ role, content }) {
  const message = element("article", `message ${role}`);
  message.append(element("div", content === NOTHING && role === "assistant" ? "text nothing" : "text", content));
  return message;
}

function drawActions() {
  for (const old of document.querySelectorAll(".actions")) old.remove();
  const drawn = [...$("messages").children];
  for (const message of drawn) message.classList.toggle("writing", writing && message === drawn.at(-1) && message.matches(".assistant"));
  const question = drawn.filter((message) => message.matches(".user")).at(-1);
  if (writing || !question || state.messages.at(-1).role !== "assistant") return;
  const mine = element("div", "actions");
  mine.append(button("Edit", startEditing, "edit"));
  question.append(mine);
  const its = element("div", "actions");
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(state.messages.at(-1).content);
    copy.textContent = "Copied";
  });
  its.append(button("Regenerate", () => ask(null), "again"), copy, button("Next tokens", () => toggle("tokens")));
  drawn.at(-1).append(its);
}

function button(text, action, id) {
  const made = element("button", "", text);
  made.type = "button";
  if (id) made.id = id;
  made.addEventListener("click", action);
  return made;
}

function setWriting(now) {
  writing = now;
  $("stop").hidden = !now;
  $("send").hidden = now;
  drawActions();
  settle();
}

function tell(line, wrong = false) {
  $("status").textContent = line || "";
  $("status").classList.toggle("wrong", wrong);
}

function settle() {
  if (atEnd) $("talk").scrollTop = $("talk").scrollHeight;
}

// ---- Writing a message

function fit() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
  $("send").disabled = !box.value.trim();
  if (!editing) sessionStorage.draft = box.value;
}

async function send() {
  const text = $("question").value;
  if (!text.trim() || !(await ask(text, editing))) return; // refused: what was typed stays
  if ($("question").value === text) $("question").value = "";
  stopEditing();
}

function startEditing() {
  editing = true;
  $("editing").hidden = false;
  $("question").value = state.messages.filter((message) => message.role === "user").at(-1).content;
  fit();
  $("question").focus();
}

function stopEditing() {
  if (editing) $("question").value = sessionStorage.draft || "";
  editing = false;
  $("editing").hidden = true;
  fit();
}

// ---- Settings

function values() {
  return Object.fromEntries(fields.map((field) => [field.name, field.name === "system" ? field.value : field.value === "" ? null : Number(field.value)]));
}

function setValues(settings) {
  for (const field of fields) {
    if (field.name === "max_new_tokens") field.max = state.context;
    field.value = settings[field.name] ?? 0;
    drawValue(field);
  }
}

function drawValue(field) {
  const output = field.parentElement.querySelector("output");
  if (output) output.textContent = field.value;
}

// ---- The drawers

function toggle(name) {
  for (const drawer of ["settings", "tokens"]) {
    const shown = drawer === name && $(drawer).hidden;
    $(drawer).hidden = !shown;
    $(`open-${drawer}`).setAttribute("aria-expanded", shown);
  }
  if (name === "tokens" && !$("tokens").hidden) showTokens(0);
}

async function showTokens(at) {
  let view;
  try {
    view = await call(`api/odds?tab=${tab}&at=${at}`);
  } catch (error) {
    return tell(error.message, true);
  }
  place = view.at;
  const hadFocus = $("said").contains(document.activeElement);
  const spans = view.tokens.map((text, i) => {
    const token = button(text, () => showTokens(i));
    token.setAttribute("aria-pressed", i === place);
    token.tabIndex = i === place ? 0 : -1;
    return token;
  });
  $("said").replaceChildren(...(spans.length ? spans : [element("p", "note", "Ask something first.")]));
  if (hadFocus) spans[place].focus();
  $("bars").replaceChildren(...view.odds.flatMap(drawBar));
}

function drawBar({ text, before, after, said }) {
  const name = element("div", said ? "name said" : "name", text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅");
  const track = element("div", "track");
  for (const [className, share] of [["before", before], ["after", after]]) {
    const bar = element("div", className);
    bar.style.width = `${100 * share}%`;
    track.append(bar);
  }
  return [name, track, element("div", "share", `${(100 * after).toFixed(1)}%`)];
}

// ---- What the reader does

$("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("question").addEventListener("input", fit);
$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
$("stop").addEventListener("click", () => call("api/stop", {}).catch((error) => tell(error.message, true)));
$("keep").addEventListener("click", stopEditing);
$("reset").addEventListener("click", async () => {
  stopEditing();
  try {
    show(await call("api/reset", {}));
    if (!$("tokens").hidden) showTokens(0);
    $("question").focus();
  } catch (error) {
    tell(error.message, true);
  }
});
for (const name of ["settings", "tokens"]) {
  $(`open-${name}`).addEventListener("click", () => toggle(name));
  $(name).querySelector(".close").addEventListener("click", () => { toggle(name); $(`open-${name}`).focus(); });
}
$("said").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) { event.preventDefault(); showTokens(Math.max(0, place + step)); }
});
for (const field of fields) {
  field.addEventListener("input", () => { drawValue(field); sessionStorage.settings = JSON.stringify(values()); });
}
$("defaults").addEventListener("click", () => { setValues(state.first_settings); delete sessionStorage.settings; });
$("talk").addEventListener("scroll", () => { atEnd = $("talk").scrollHeight - $("talk").scrollTop - $("talk").clientHeight < 60; });
const sizes = new ResizeObserver(settle); // of what is said, and of the room for it
sizes.observe($("messages"));
sizes.observe($("talk"));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (writing) $("stop").click();
  else if (editing) stopEditing();
  else toggle("");
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && !writing && !editing) refresh(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) refresh(); });
window.addEventListener("pagehide", () => {
  fetch("api/leave", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ tab, visit }) }).catch(() => {});
});

refresh().then(() => {
  if (!state.settings) return;
  setValues({ ...state.settings, ...JSON.parse(sessionStorage.settings || "{}") });
  $("question").value = sessionStorage.draft || "";
  fit();
});
