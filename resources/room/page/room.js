// The room: what is shown, what is chosen, and what a key does. An answer is shown at once and sent afterwards.

import { askFetch } from "./fetch.js";
import { get, newId, Outbox, post } from "./outbox.js";
import { askFinish } from "./finish.js";
import { Player } from "./player.js";
import { drawAbout, drawClips, drawDots, drawHead, drawStage, element, isJudged, say, time } from "./view.js";
import { editWords } from "./words.js";
import { showWorth } from "./worth.js";

const LOOK_MS = 2_000;
/** Where the takes that were asked for outlive a reload of the page. */
const ASKED = "dailies-asked";
/** How long a take that was asked for is shown as such: its run needs a minute until it buys. */
const ASKED_MS = 600_000;
const $ = (id) => document.getElementById(id);
const room = { clips: [], at: 0, chosen: null, hidden: null, entry: 0, me: { name: "", right: "look" }, reasons: [], sells: false, edits: false, undo: [], ready: false, isAway: false, asked: new Map(JSON.parse(sessionStorage.getItem(ASKED) ?? "[]")) };

const player = new Player({
  moved(position, length, plays) {
    $("clock").textContent = `${time(position)} / ${time(length)}`;
    if (document.activeElement !== $("seek")) $("seek").value = length ? Math.round((position / length) * 1000) : 0;
    $("play").classList.toggle("playing", plays);
    $("play").setAttribute("aria-label", plays ? "Pause" : "Play");
  },
});

const outbox = new Outbox({
  taken(verdict, answer) {
    merge(answer.clip);
    const goesOn = verdict.word === "circled" ? null : answer.clip.on_its_way.find((one) => one.finishes === verdict.take);
    if (goesOn) say(`The finish of ${nameOf(verdict.clip)} is bought for ${goesOn.price} and goes on; it waits for your word like any take`, "warn");
    if (answer.ordered?.waits) say(`The finish of ${nameOf(verdict.clip)} is ordered and waits: ${answer.ordered.waits}`, "warn");
    const others = answer.others.filter((one) => one.word !== "noted");
    if (others.length) tellOfOthers(verdict, others);
    else if (answer.replaced && answer.replaced.who !== room.me.name) {
      say(`${answer.replaced.who} had circled another take of ${nameOf(verdict.clip)}; yours counts now. u brings theirs back.`, "warn");
    }
  },
  refused(verdict, problem) {
    say(`${nameOf(verdict.clip)}: ${problem}`, "warn");
    reload();
  },
  changedHands(problem) {
    say(problem, "warn");
    reload();
  },
  changed: drawOutbox,
});

const clip = () => room.clips[room.at];
const take = () => clip()?.takes.find((one) => one.id === room.chosen);
const nameOf = (key) => room.clips.find((one) => one.clip === key)?.name ?? key;
function drawOutbox(number) {
  $("outbox").hidden = !room.ready || (number === 0 && !room.isAway);
  $("outbox").textContent = number ? `${number} on the way` : "No connection";
  $("outbox").title = "What you say is kept in this browser until the server has it";
}

/** Whether this person may do something; what is missing is said. */
function allowed(right) {
  if (may(right)) return true;
  say(`${room.me.name} may ${room.me.right} here. Whoever keeps data/review.yaml can let you ${right}.`, "warn");
  return false;
}

const may = (right) => ["look", "judge", "buy"].indexOf(room.me.right) >= ["look", "judge", "buy"].indexOf(right);

// What is shown

function filters() {
  const wanted = new URLSearchParams();
  if ($("series").value) wanted.set("series", $("series").value);
  if ($("show").value !== "waiting") wanted.set("show", $("show").value);
  if ($("today").checked) wanted.set("day", "today");
  if ($("mine").checked) wanted.set("mine", "1");
  if ($("q").value.trim()) wanted.set("q", $("q").value.trim());
  return wanted;
}

function rememberAddress() {
  const wanted = filters();
  if (clip()) wanted.set("clip", clip().clip);
  const text = wanted.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}

async function reload({ keep = true } = {}) {
  const shown = keep ? clip()?.clip : null;
  const linked = keep ? null : new URLSearchParams(location.search).get("clip");
  const wanted = filters();
  if (linked) wanted.set("clip", linked);
  const { status, answer } = await get(`api/clips?${wanted}`);
  if (status !== 200) {
    say(answer?.problem ?? "The server does not answer. What you say is kept here until it does.", "warn");
    if (!room.ready) setTimeout(() => reload({ keep }), 2_000);
    return;
  }
  // what was judged a moment ago stays where it is until the filters change
  for (const one of [...answer.hidden, ...answer.clips]) withAsked(one);
  const fresh = new Map(answer.clips.map((one) => [one.clip, one]));
  const kept = keep ? room.clips.map((one) => fresh.get(one.clip) ?? one) : [];
  const known = new Set(kept.map((one) => one.clip));
  if (!keep) room.hidden = answer.hidden[0]?.clip ?? null;
  Object.assign(room, {
    clips: [...answer.hidden, ...kept, ...answer.clips.filter((one) => !known.has(one.clip))],
    entry: answer.entry, me: answer.me, reasons: answer.reasons, sells: answer.sells, edits: answer.edits,
  });
  $("me").textContent = room.me.name;
  outbox.usedBy(room.me.name);
  for (const verdict of outbox.items) apply(verdict);
  if (!room.ready) start(answer);
  const named = shown ?? linked;
  const at = room.clips.findIndex((one) => one.clip === named);
  if (linked && at < 0) say(`${linked} has no take to show, so another clip may be open. All clips has every clip with a take, Not made yet those without.`, "warn");
  open(at >= 0 ? at : 0, { again: at >= 0 && shown === named });
}

function start(answer) {
  room.ready = true;
  // the name of the address's series stands in until its title is known
  const standIn = $("series").querySelector("option[hidden]");
  if (answer.series.some(([name]) => name === standIn?.value)) standIn.remove();
  $("series").append(...answer.series.map(([name, title]) => element("option", { value: name, text: title })));
  $("series").value = new URLSearchParams(location.search).get("series") ?? "";
  if (outbox.others.length) say(`Verdicts of ${outbox.others.join(", ")} wait in this browser, until they sign in here.`, "warn");
  for (const id of ["circle", "reject", "note"]) $(id).hidden = !may("judge");
  $("undo").hidden = !may("judge");
  $("retake").hidden = !may("buy") || !room.sells;
  $("words").hidden = !may("buy") || !room.edits;
  outbox.tell.changed(outbox.items.length);
}

function open(at, { again = false } = {}) {
  room.at = Math.max(0, Math.min(at, room.clips.length - 1));
  const one = clip();
  $("clip").hidden = $("actions").hidden = !one;
  $("nothing").hidden = !!one;
  if (!one) {
    player.show([], []);
    $("nothing").replaceChildren(element("div", {}, element("strong", { text: "Nothing to judge here" }),
      "Clips appear here when their takes are delivered. Choose All clips to see those that were judged, and Not made yet to make one."));
    drawClips([], 0, open);
    drawProgress();
    return;
  }
  if (!again || !one.takes.some((each) => each.id === room.chosen)) {
    room.chosen = (one.takes.find((each) => each.verdict?.word === "circled") ?? one.takes.find((each) => !each.verdict) ?? one.takes[0])?.id;
  }
  drawClips(room.clips, room.at, open);
  if (!again) drawDots(room.clips, room.at);
  draw();
  if (!again) {
    player.show(one.takes, room.clips[room.at + 1]?.takes ?? []);
    $("stage").querySelector(".chosen")?.scrollIntoView({ block: "nearest", inline: "center" });
    // a take that is taller than a phone's screen has moved the clip's title away
    $("main").scrollTop = 0;
  }
  rememberAddress();
}

function draw() {
  drawHead(clip(), clip().clip === room.hidden);
  drawStage(clip(), room.chosen, room.reasons, player, does);
  if (player.plays) player.play();
  const made = clip().takes.length > 0;
  if (take()) drawAbout(take(), room.reasons, does);
  else $("about").replaceChildren();
  $("transport").hidden = !made;
  $("note").disabled = !take();
  $("retake").querySelector("span").textContent = made ? "Retake" : "Make";
  $("previous").disabled = room.at === 0;
  $("next").disabled = room.at >= room.clips.length - 1;
  $("undo").disabled = room.undo.length === 0;
  $("circle").disabled = !take() || take().is_spare;
  $("reject").disabled = !take();
  drawProgress();
}

function drawProgress() {
  const made = room.clips.filter((one) => one.takes.length);
  const judged = made.filter(isJudged).length;
  $("count").textContent = made.length ? `${judged} of ${made.length} judged` : "";
  $("bar").value = made.length ? judged / made.length : 0;
}

/** Remember that a take was asked for, or with null that it is seen. */
function keepAsked(clip, asked) {
  if (asked) room.asked.set(clip, asked);
  else room.asked.delete(clip);
  sessionStorage.setItem(ASKED, JSON.stringify([...room.asked]));
}

/** A clip as the server has it, with the take that was asked for here and whose purchase the server does not see yet. */
function withAsked(fresh) {
  const asked = room.asked.get(fresh.clip);
  if (!asked) return;
  if (fresh.on_its_way.length || fresh.takes.length > asked.takes || Date.now() - asked.at > ASKED_MS) keepAsked(fresh.clip, null);
  else fresh.on_its_way = [{ text: "A take is asked for: its run begins, which takes up to a minute or two", finishes: null }];
}

/** Take in a clip as the server has it, with what is still on its way from here. */
function merge(fresh) {
  withAsked(fresh);
  const place = room.clips.findIndex((one) => one.clip === fresh.clip);
  if (place < 0) {
    const fits = !$("series").value || $("series").value === fresh.series;
    if (fits && fresh.takes.length && !isJudged(fresh) && !$("q").value && !$("mine").checked && !$("today").checked) {
      room.clips.push(fresh);
      open(room.at, { again: room.clips.length > 1 });
    }
    return;
  }
  const before = room.clips[place];
  // a clip without a take does not say whose it is
  if (!fresh.takes.length) Object.assign(fresh, { name: before.name, series: before.series, title: before.title });
  room.clips[place] = fresh;
  for (const verdict of outbox.items) if (verdict.clip === fresh.clip) apply(verdict);
  if (JSON.stringify(before) === JSON.stringify(room.clips[place])) return;
  drawDots(room.clips, place);
  drawProgress();
  if (place !== room.at) return;
  const same = before.takes.map((one) => one.id).join() === fresh.takes.map((one) => one.id).join();
  if (same) draw();
  else open(place);
}

// What people say

function apply(verdict) {
  const one = room.clips.find((each) => each.clip === verdict.clip);
  const judged = one?.takes.find((each) => each.id === verdict.take);
  if (!judged) return;
  const stands = { ...verdict, who: room.me.name, at: Date.now() / 1000 };
  if (verdict.word === "noted") {
    if (!judged.notes.some((note) => note.id === verdict.id)) judged.notes.push(stands);
    return;
  }
  if (verdict.word === "circled") {
    for (const each of one.takes) if (each.verdict?.word === "circled") each.verdict = null;
  }
  judged.verdict = verdict.word === "taken_back" ? null : stands;
}

function give(word, more = {}, { of = take(), undoes = false } = {}) {
  if (!of || !may("judge")) return;
  performance.mark("asked");
  const one = clip();
  const circled = one.takes.find((each) => each.verdict?.word === "circled");
  const before = { clip: one.clip, take: of.id, verdict: of.verdict, circled: circled && circled.id !== of.id ? circled.id : null, word };
  const verdict = { id: newId(), clip: one.clip, take: of.id, word, reasons: [], note: "", second: null, seen: one.seen, by: room.me.name, ...more };
  apply(verdict);
  if (!undoes && word !== "noted") room.undo.push(before);
  drawDots(room.clips, room.at);
  draw();
  outbox.add(verdict);
  requestAnimationFrame(() => performance.measure("answer", "asked"));
}

function circle() {
  const one = take();
  if (!one || !allowed("judge")) return;
  if (one.is_spare) return say("This take is spare: nobody ordered it, so it cannot be circled. Note what you like of it.", "warn");
  if (one.is_draft && may("buy") && room.sells) return askFinish(clip(), one, (micros) => circled(one, micros));
  circled(one, null);
}

function circled(one, micros) {
  give("circled", micros === null ? {} : { finish_micros: micros }, { of: one });
  const finish = micros !== null ? ", and its finish is ordered" : one.is_draft ? "; its finish waits for somebody who may buy" : "";
  say(`Take ${one.number} of ${clip().name} is circled${finish}`);
  const next = room.clips.findIndex((each, place) => place > room.at && !isJudged(each));
  if (next >= 0) open(next);
}

function reject(reasons, note) {
  const one = take();
  give("rejected", { reasons, note });
  say(`Take ${one.number} of ${clip().name} is rejected${reasons.length || note ? "" : " without a reason"}`);
  const left = clip().takes.find((each) => !each.verdict);
  if (left && !clip().takes.some((each) => each.verdict?.word === "circled")) choose(left.id);
}

function undo() {
  const last = room.undo.pop();
  if (!last) return;
  const place = room.clips.findIndex((one) => one.clip === last.clip);
  if (place < 0) return;
  if (place !== room.at) open(place);
  const of = (id) => clip().takes.find((each) => each.id === id);
  give("taken_back", {}, { of: of(last.take), undoes: true });
  if (last.verdict) {
    const { word, reasons, note, second } = last.verdict;
    give(word, { reasons, note, second }, { of: of(last.take), undoes: true });
  }
  if (last.circled) give("circled", {}, { of: of(last.circled), undoes: true });
  choose(last.take);
  say("Taken back");
}

function tellOfOthers(verdict, others) {
  const last = others.at(-1);
  const one = room.clips.find((each) => each.clip === verdict.clip);
  const number = one?.takes.find((each) => each.id === last.take)?.number ?? "?";
  const theirs = { circled: `circled take ${number}`, rejected: `rejected take ${number}`, taken_back: `took back a verdict on take ${number}` }[last.word];
  say(`${last.who} ${theirs} of ${nameOf(verdict.clip)} before you; your verdict came later and counts.`, "warn");
}

function choose(id) {
  room.chosen = id;
  for (const figure of $("stage").querySelectorAll(".take")) {
    const mine = figure.dataset.take === id;
    figure.classList.toggle("chosen", mine);
    figure.querySelector(".picture").setAttribute("aria-pressed", String(mine));
    if (mine) figure.scrollIntoView({ block: "nearest", inline: "center" });
  }
  if (take()) drawAbout(take(), room.reasons, does);
  $("circle").disabled = !take() || take().is_spare;
  if (player.heard) player.hear(id);
}

const does = {
  choose,
  hear: (id) => player.hear(id),
  seek: (seconds) => player.seek(seconds),
};

// Dialogs

function askReason() {
  if (!take() || !allowed("judge")) return;
  $("reject-title").textContent = `Reject take ${take().number} of ${clip().name}`;
  $("reject-note").value = "";
  $("reasons").replaceChildren(...room.reasons.map((reason) =>
    element("button", { type: "button", "aria-pressed": "false", "data-reason": reason.name, "aria-keyshortcuts": reason.letter,
      on: { click: (event) => pickReason(reason.name, event.shiftKey) } },
    element("kbd", { text: reason.letter }), element("span", { text: reason.title }))));
  $("reject-dialog").showModal();
  $("reject-dialog").focus();
}

const picked = () => [...$("reasons").querySelectorAll("[aria-pressed=true]")].map((one) => one.dataset.reason);

function pickReason(name, collects) {
  const button = $("reasons").querySelector(`[data-reason="${CSS.escape(name)}"]`);
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  if (!collects && !$("reject-note").value) sendRejection(name);
}

function sendRejection(name) {
  const reasons = [...new Set([...picked(), ...(name ? [name] : [])])];
  $("reject-dialog").close();
  reject(reasons, $("reject-note").value.trim());
}

function askNote() {
  if (!take() || !allowed("judge")) return;
  player.pause();
  $("note-title").textContent = `A note on take ${take().number} of ${clip().name}`;
  $("note-text").value = `${time(player.position)} `;
  $("note-dialog").showModal();
  $("note-text").focus();
}

function sendNote() {
  const found = /^\s*(?:(\d{1,3}):([0-5]\d)\s+)?(.*)$/s.exec($("note-text").value);
  $("note-dialog").close();
  if (!found[3].trim()) return say("Nothing was written, so no note is kept");
  const second = found[1] === undefined ? null : Number(found[1]) * 60 + Number(found[2]);
  give("noted", { note: found[3].trim(), second });
  say("The note is kept");
}

function askWords() {
  if (!clip() || !allowed("buy")) return;
  if (!room.edits) return say("No words can be changed from this room", "warn");
  player.pause();
  const { clip: key, name } = clip();
  editWords(key, name, {
    kept: (answer) => say(answer.edited ? `Kept for ${name}: the next take has these words. Nothing was bought.` : `${name} has its series' words again`),
    retake: () => { if (clip()?.clip === key) askRetake(); },
  }, clip().takes.length ? "Retake" : "Make");
}

let offered = null;
let questions = 0;
async function askRetake() {
  if (!clip() || !allowed("buy")) return;
  if (!room.sells) return say("Nothing can be bought from this room: it runs without Dagster", "warn");
  const key = clip().clip;
  const mine = ++questions;
  offered = null;
  $("retake-title").textContent = `${clip().takes.length ? "One more" : "A"} take of ${clip().name}`;
  $("retake-price").textContent = "Looking up the price …";
  $("retake-caps").hidden = $("retake-buy").disabled = true;
  $("retake-dialog").showModal();
  const { status, answer } = await get(`api/offer?clip=${encodeURIComponent(key)}`);
  // the price of a clip that was asked about before may come after that of this one
  if (mine !== questions) return;
  if (status !== 200 || !answer || answer.refusal) {
    $("retake-price").textContent = answer?.refusal ?? answer?.problem ?? "The server does not answer; nothing was bought.";
    return;
  }
  // made once for this question, so that a second click is the same retake
  const { order_fingerprint, at_most_micros } = answer;
  offered = { id: newId(), clip: key, order_fingerprint, at_most_micros };
  $("retake-price").textContent = `${answer.is_draft ? "A draft by " : ""}${answer.endpoint} for ${answer.price}${answer.caps.length ? "" : ". No cap limits it."}`;
  $("retake-buy").querySelector("span").textContent = `Buy for ${answer.price.split(",")[0]}`;
  $("retake-caps").hidden = answer.caps.length === 0;
  $("retake-caps").tBodies[0].replaceChildren(...answer.caps.map((cap) =>
    element("tr", {}, ...[cap.name, cap.spent, cap.with_it, cap.cap].map((text) => element("td", { text })))));
  $("retake-buy").disabled = false;
}

async function buyRetake() {
  if (!offered || $("retake-buy").disabled) return;
  $("retake-buy").disabled = true;
  $("retake-price").textContent = "Buying …";
  const { status, answer } = await post("api/retakes", offered);
  const answered = status === 200 ? answer?.decision : status < 500 && answer?.problem;
  // whether it was bought is not known: a proxy may have given up before the room
  if (!answered) {
    $("retake-price").textContent = `${answer?.problem ?? "No answer came."} Buying again asks for the same take, which is bought once.`;
    $("retake-buy").disabled = false;
    return;
  }
  $("retake-dialog").close();
  const bought = room.clips.find((one) => one.clip === offered.clip);
  if (status === 200 && bought) {
    keepAsked(bought.clip, { takes: bought.takes.length, at: Date.now() });
    merge(structuredClone(bought));
  }
  say(status === 200 ? "A take is on its way" : answer.problem, status === 200 ? "" : "warn");
}

// Keys

const KEYS = {
  Enter: circle, x: askReason, n: askNote, e: askWords, r: askRetake, u: undo, d: () => askFetch(filters()), w: showWorth, f: fullScreen,
  ArrowLeft: () => open(room.at - 1), ArrowRight: () => open(room.at + 1),
  ArrowUp: () => step(-1), ArrowDown: () => step(1), " ": () => player.toggle(),
  m: () => player.hear(player.heard ? null : room.chosen), "?": () => $("help-dialog").showModal(), "/": () => $("q").focus(),
};

function step(by) {
  const takes = clip()?.takes ?? [];
  const at = takes.findIndex((each) => each.id === room.chosen);
  if (takes[at + by]) choose(takes[at + by].id);
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("clip").requestFullscreen?.().catch(() => {});
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const dialog = document.querySelector("dialog[open]");
  // until the next frame, keys still go to a field of the dialog that was closed
  const isGone = event.target.closest("dialog:not([open])") !== null;
  const types = !isGone && event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
  if (dialog) {
    if (dialog.id === "reject-dialog") keyOfReason(event, types);
    else if (dialog.id === "note-dialog" && event.key === "Enter" && types) act(event, sendNote);
    else if (dialog.id === "retake-dialog" && event.key === "b") act(event, buyRetake);
    return;
  }
  if (types) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const presses = !isGone && event.target.matches("button, a, input") && ["Enter", " "].includes(event.key);
  const work = presses ? null : /^[1-9]$/.test(event.key) ? () => pick(Number(event.key)) : KEYS[event.key];
  if (work && !event.repeat) act(event, work);
  else if (work && event.key.startsWith("Arrow")) act(event, work);
});

function act(event, work) {
  event.preventDefault();
  work();
}

function pick(number) {
  const found = clip()?.takes.find((each) => each.number === number);
  if (found) choose(found.id);
}

function keyOfReason(event, types) {
  if (event.key === "Enter" && (types || event.target === $("reject-dialog"))) return act(event, () => sendRejection());
  const reason = types ? null : room.reasons.find((one) => one.letter === event.key.toLowerCase());
  if (reason) act(event, () => pickReason(reason.name, event.shiftKey));
}

// Start

for (const [id, work] of Object.entries({
  circle, reject: askReason, note: askNote, words: askWords, retake: askRetake, undo, full: fullScreen, play: () => player.toggle(),
  previous: () => open(room.at - 1), next: () => open(room.at + 1), "help-button": () => $("help-dialog").showModal(), "worth-button": showWorth, "fetch-button": () => askFetch(filters()),
  "reject-send": () => sendRejection(), "note-send": sendNote, "retake-buy": buyRetake,
})) {
  $(id).addEventListener("click", (event) => {
    work();
    // after a click the keys belong to the room again, not to the button
    if (event.detail === 0) return;
    $(id).blur();
    // a dialog gives the focus back when it is closed
    document.querySelector("dialog[open]")?.addEventListener("close", () => $(id).blur(), { once: true });
  });
}
for (const button of document.querySelectorAll("dialog .cancel")) button.addEventListener("click", () => button.closest("dialog").close());
for (const dialog of document.querySelectorAll("dialog")) dialog.tabIndex = -1;
$("seek").addEventListener("input", () => player.seek(($("seek").value / 1000) * player.length));
let scrolling = 0;
$("stage").addEventListener("scroll", () => {
  // on a narrow screen one take is seen at a time, and that is the one that a verdict is about
  clearTimeout(scrolling);
  scrolling = setTimeout(() => {
    if (!matchMedia("(max-width: 600px)").matches) return;
    const middle = innerWidth / 2;
    const distance = (figure) => { const box = figure.getBoundingClientRect(); return Math.abs((box.left + box.right) / 2 - middle); };
    const nearest = [...$("stage").querySelectorAll(".take")].sort((a, b) => distance(a) - distance(b))[0];
    if (nearest && nearest.dataset.take !== room.chosen) choose(nearest.dataset.take);
  }, 120);
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", () => {
  document.activeElement?.blur();
  history.replaceState(null, "", `?${filters()}`);
  reload({ keep: false });
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

let looking = 0;
async function look() {
  clearTimeout(looking);
  if (!document.hidden && room.ready) {
    const { status, answer } = await get(`api/changes?after=${room.entry}`);
    room.isAway = status === 0 || status >= 500;
    drawOutbox(outbox.items.length);
    if (status === 200) {
      room.entry = answer.entry;
      for (const fresh of answer.clips) tellAndMerge(fresh);
      if (outbox.items.length) outbox.send();
    }
  }
  looking = setTimeout(look, LOOK_MS);
}

function tellAndMerge(fresh) {
  const known = clip()?.clip === fresh.clip ? clip() : null;
  const news = known && fresh.takes.map((one) => one.verdict).find((verdict) => verdict && verdict.who !== room.me.name
    && !known.takes.some((one) => one.verdict?.id === verdict.id));
  merge(fresh);
  if (news) say(`${news.who} ${news.word} take ${fresh.takes.find((one) => one.id === news.take)?.number} of this clip`);
}

const asked = new URLSearchParams(location.search);
$("show").value = asked.get("show") ?? "waiting";
$("today").checked = asked.has("day");
$("mine").checked = asked.has("mine");
$("q").value = asked.get("q") ?? "";
if (asked.get("series")) $("series").append(element("option", { value: asked.get("series"), text: asked.get("series"), selected: true, hidden: true }));
outbox.send();
reload({ keep: false }).then(look);
