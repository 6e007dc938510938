// The finish of a draft: its price and its caps, one question, and the circle that orders it.

import { get, post } from "./outbox.js";
import { element, say } from "./view.js";

const dialog = element("dialog", { id: "finish-dialog", "aria-labelledby": "finish-title", tabindex: "-1" },
  element("h2", { id: "finish-title" }),
  element("p", { id: "finish-price", cls: "quiet" }),
  element("table", { id: "finish-caps", hidden: true },
    element("thead", {}, element("tr", {}, ...["Cap", "Spent", "With it", "At most"].map((text) => element("th", { text })))), element("tbody")),
  element("menu", {},
    element("button", { type: "button", id: "finish-cancel", text: "Cancel", autofocus: true, on: { click: () => dialog.close() } }),
    element("button", { type: "button", id: "finish-circle", "aria-keyshortcuts": "c", on: { click: () => answer(null) } },
      element("span", { text: "Circle only" }), " ", element("kbd", { text: "c" })),
    element("button", { type: "button", id: "finish-buy", cls: "good", "aria-keyshortcuts": "b", disabled: true, on: { click: buy } },
      element("span", { text: "Buy" }), " ", element("kbd", { text: "b" }))));
document.body.append(dialog);

const $ = (id) => document.getElementById(id);
let questions = 0;
let asked = null;

dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const button = { b: "finish-buy", c: "finish-circle" }[event.key];
  if (button && !$(button).hidden && !$(button).disabled) {
    event.preventDefault();
    $(button).click();
  }
});

/**
 * Ask whether to buy the finish of a draft.
 * @param {object} clip the draft's clip
 * @param {object} take the draft
 * @param {(micros: number | null) => void} decided told the price that was agreed to, or null for the circle alone
 */
export async function askFinish(clip, take, decided) {
  const mine = ++questions;
  const isCircled = take.verdict?.word === "circled";
  asked = { clip: clip.clip, micros: null, decision: null, decided, isCircled };
  $("finish-title").textContent = isCircled ? `Finish take ${take.number} of ${clip.name}` : `Circle and finish take ${take.number} of ${clip.name}`;
  $("finish-price").textContent = "Looking up the price …";
  $("finish-caps").hidden = $("finish-buy").disabled = true;
  $("finish-circle").hidden = isCircled;
  dialog.showModal();
  const { status, answer: offer } = await get(`api/finish-offer?take=${encodeURIComponent(take.id)}`);
  // the price of another draft may come after that of this one
  if (mine !== questions) return;
  if (status !== 200 || !offer || offer.refusal) {
    $("finish-price").textContent = offer?.refusal ?? offer?.problem ?? "The server does not answer; nothing was bought.";
    return;
  }
  asked.micros = offer.at_most_micros;
  asked.decision = offer.decision;
  $("finish-price").textContent = `${offer.endpoint} for ${offer.price}, ${offer.way}.${offer.waits ? ` It would wait now: ${offer.waits}` : ""}`;
  $("finish-buy").querySelector("span").textContent = `Buy for ${offer.price.split(",")[0]}`;
  $("finish-caps").hidden = offer.caps.length === 0;
  $("finish-caps").tBodies[0].replaceChildren(...offer.caps.map((cap) =>
    element("tr", {}, ...[cap.name, cap.spent, cap.with_it, cap.cap].map((text) => element("td", { text })))));
  $("finish-buy").disabled = false;
}

function answer(micros) {
  dialog.close();
  asked?.decided(micros);
  asked = null;
}

async function buy() {
  if (!asked || asked.micros === null) return;
  if (!asked.isCircled) return answer(asked.micros);
  // the circle is there already; the decision buys once, however often it is sent
  $("finish-buy").disabled = true;
  const { status, answer: done } = await post("api/finishes", { clip: asked.clip, decision: asked.decision, at_most_micros: asked.micros });
  if (status === 0 || status >= 500 || !done) {
    $("finish-price").textContent = `${done?.problem ?? "No answer came."} A draft is finished once, also if you ask again.`;
    $("finish-buy").disabled = false;
    return;
  }
  dialog.close();
  asked = null;
  if (status !== 200) say(done.problem, "warn");
  else say(done.waits ? `The finish is ordered and waits: ${done.waits}` : "The finish is on its way", done.waits ? "warn" : "");
}
