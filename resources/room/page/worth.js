// What it was worth: dollars a chosen take, and why others were rejected.

import { get } from "./outbox.js";
import { element } from "./view.js";

const $ = (id) => document.getElementById(id);

export async function showWorth() {
  $("worth-rows").replaceChildren();
  $("worth-nothing").textContent = "One moment";
  $("worth-nothing").hidden = false;
  $("worth-dialog").showModal();
  const { status, answer } = await get(`api/worth?series=${encodeURIComponent($("series").value)}`);
  const lines = status === 200 ? answer.lines : [];
  $("worth-nothing").hidden = lines.length > 0;
  $("worth-nothing").textContent = status === 200 ? "Nothing was bought yet" : (answer?.problem ?? "No answer came");
  $("worth-rows").replaceChildren(...lines.map(row));
}

function row(line) {
  const bar = element("meter", { min: "0", max: "1", value: String(line.share), "aria-label": "Share of takes that are circled" });
  return element(
    "tr", {},
    element("th", { scope: "row" }, line.name, line.why ? element("small", { text: line.why }) : null),
    element("td", {}, `${line.circled} of ${line.takes}`, bar),
    element("td", { text: line.each }),
  );
}
