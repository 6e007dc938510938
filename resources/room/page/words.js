// Other words for one clip: what it says, what would be sent, what a take costs. Keeping words buys nothing.

import { get, post } from "./outbox.js";
import { element } from "./view.js";

const WAIT_MS = 400;
const TITLES = {
  text: "Prompt", subject: "Subject", scene: "Scene", camera: "Camera", lighting: "Lighting", action: "Action", audio: "Sound",
  dialogue: "Dialogue, a line each", avoid: "Avoid",
};
const $ = (id) => document.getElementById(id);
/** What somebody typed and did not keep yet, by clip. */
const drafts = new Map();
let found = null;
/** Counts openings and closings of the dialog: an answer for an earlier one is ignored. */
let opened = 0;
/** Counts changes of the words: a preview of earlier ones is ignored. */
let number = 0;
let timer = 0;
let then = { kept() {}, retake() {} };
let more = "Retake";

/**
 * Open the dialog for a clip.
 * @param {object} after what follows when words were kept, and when a take is asked for
 * @param {string} buys what that take is called: the first one is made, others are retakes
 */
export async function editWords(clip, name, after, buys) {
  then = after;
  more = buys;
  found = null;
  clearTimeout(timer);
  number += 1;
  const mine = ++opened;
  $("words-title").textContent = `The words of ${name}`;
  $("words-parts").replaceChildren();
  $("words-price").textContent = "";
  for (const id of ["words-edited", "words-overtaken", "words-preview", "words-back"]) $(id).hidden = true;
  complain("");
  lock(true);
  $("words-dialog").showModal();
  const { status, answer } = await get(`api/words?clip=${encodeURIComponent(clip)}`);
  if (mine !== opened) return;
  if (status !== 200) complain(answer?.problem ?? "The server does not answer.");
  else show(answer, drafts.get(clip));
}

function show(answer, draft) {
  found = answer;
  $("words-edited").hidden = !answer.edited;
  $("words-edited").textContent = answer.edited ? `Other words than its series: ${answer.edited}` : "";
  $("words-back").hidden = !answer.edited;
  $("words-overtaken").hidden = answer.overtaken.length === 0;
  $("words-overtaken").replaceChildren(
    element("h3", { text: "The series has changed what these words replaced" }),
    ...answer.overtaken.map((one) => element("p", { cls: "prompt" }, `${TITLES[one.name]}: `, ...changes(one.changes))),
  );
  complain(answer.problem ?? "");
  lock(true);
  $("words-back").disabled = false;
  if (answer.problem) return;
  $("words-parts").replaceChildren(...answer.parts.map((part) => field(part, draft?.[part.name] ?? part.text)));
  for (const area of areas()) fit(area);
  // on a phone the keyboard would hide the words
  if (matchMedia("(hover: hover)").matches) areas()[0]?.focus();
  preview();
}

function field(part, text) {
  const area = element("textarea", { rows: "1", maxlength: "20000", "data-part": part.name, spellcheck: "true", on: { input: typed } });
  area.value = text;
  const own = part.text === part.own
    ? null
    : element("small", { text: part.own ? `Its series says: ${part.own}` : "Its series says nothing here" });
  return element("label", {}, TITLES[part.name], area, own);
}

const areas = () => [...$("words-parts").querySelectorAll("textarea")];
const isChanged = () => areas().some((area) => area.value.trim() !== found.parts.find((part) => part.name === area.dataset.part).text);

function words() {
  const typedIn = Object.fromEntries(areas().map((area) => [area.dataset.part, area.value]));
  return found.in_fields ? typedIn : typedIn.text;
}

function fit(area) {
  area.style.height = "auto";
  area.style.height = `${Math.min(area.scrollHeight + 2, 260)}px`;
}

function typed(event) {
  fit(event.target);
  // a preview that is awaited is of older words
  number += 1;
  drafts.set(found.clip, Object.fromEntries(areas().map((area) => [area.dataset.part, area.value])));
  lock(true);
  clearTimeout(timer);
  timer = setTimeout(preview, WAIT_MS);
}

async function preview() {
  const mine = ++number;
  const { status, answer } = await post("api/words/preview", { clip: found.clip, words: words() });
  // what was typed since then is asked about anew
  if (mine !== number) return;
  $("words-preview").hidden = status !== 200;
  $("words-price").textContent = "";
  if (status !== 200) return complain(answer?.problem ?? "The server does not answer.");
  complain("");
  $("words-sent").textContent = answer.against ? `What would be sent, beside ${answer.against}` : "What would be sent";
  $("words-prompt").replaceChildren(...changes(answer.prompt));
  $("words-price").textContent = `One take from ${answer.endpoint}: ${answer.price}. ${answer.length.toLocaleString()} characters, every check of the prompt passed.`;
  lock(false);
}

function changes(parts) {
  return parts.map(([kind, text]) =>
    kind === "same" ? document.createTextNode(text) : element(kind === "new" ? "ins" : "del", { text }));
}

function complain(text) {
  $("words-problem").hidden = !text;
  $("words-problem").textContent = text;
}

function lock(closed) {
  $("words-keep").disabled = closed || !isChanged();
  $("words-retake").disabled = closed;
  $("words-retake").textContent = closed || isChanged() ? `Keep and ${more.toLowerCase()}` : more;
}

/** Keep what was typed, or with `back` the series' own words. */
async function keep({ back = false, retake = false } = {}) {
  if (!found) return;
  const { clip } = found;
  if (back || isChanged()) {
    const mine = opened;
    clearTimeout(timer);
    number += 1;
    lock(true);
    for (const area of areas()) area.readOnly = true;
    const { status, answer } = await post("api/words", { clip, words: back ? null : words(), seen: found.seen });
    if (mine !== opened) return;
    for (const area of areas()) area.readOnly = false;
    if (status === 409) return afterAnother(clip, answer.problem);
    if (status !== 200) {
      complain(answer?.problem ?? "The server does not answer. Keeping them again is safe.");
      return lock(false);
    }
    then.kept(answer);
  }
  drafts.delete(clip);
  $("words-dialog").close();
  if (retake) then.retake();
}

/** Somebody else was first: theirs are shown beside what was typed here, and a second click replaces them. */
async function afterAnother(clip, problem) {
  const mine = opened;
  const { status, answer } = await get(`api/words?clip=${encodeURIComponent(clip)}`);
  if (mine !== opened) return;
  if (status === 200) show(answer, drafts.get(clip));
  const theirs = status === 200 ? answer.parts.filter((part) => part.text !== part.own).map((part) => `${TITLES[part.name]}: ${part.text}`) : [];
  $("words-edited").hidden = false;
  $("words-edited").textContent = [problem, ...theirs].join("\n");
}

$("words-keep").addEventListener("click", () => keep());
$("words-retake").addEventListener("click", () => keep({ retake: true }));
$("words-back").addEventListener("click", () => keep({ back: true }));
$("words-dialog").addEventListener("close", () => {
  // the event comes after the key that closed it, perhaps when the dialog is open again
  if ($("words-dialog").open) return;
  opened += 1;
  number += 1;
  clearTimeout(timer);
});
