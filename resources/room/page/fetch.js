// The circled takes of what the filter shows, as one archive.

import { get } from "./outbox.js";

const $ = (id) => document.getElementById(id);

/** Ask how much it is, and show the link to it. */
export async function askFetch(filters) {
  // whatever was judged: the circled takes of these clips are meant
  filters.delete("show");
  const words = [$("series").selectedOptions[0]?.text, filters.has("day") ? "today" : "", filters.has("mine") ? "judged by you" : "", filters.get("q")];
  const where = words.filter(Boolean).join(", ");
  $("fetch-what").textContent = `${where}: one moment`;
  $("fetch-link").hidden = true;
  $("fetch-dialog").showModal();
  const { status, answer } = await get(`api/selects?${filters}`);
  if (status !== 200) {
    $("fetch-what").textContent = answer?.problem ?? "The server does not answer.";
    return;
  }
  const takes = answer.takes === 1 ? "1 circled take" : `${answer.takes.toLocaleString()} circled takes`;
  const more = answer.takes + answer.left_out >= answer.most ? ` Only the newest ${answer.most.toLocaleString()} clips: choose a series or a day.` : "";
  $("fetch-what").textContent = `${where}: ${takes}, ${answer.megabytes.toLocaleString()} MB.${more}`;
  $("fetch-link").href = `selects.zip?${filters}`;
  $("fetch-link").hidden = answer.takes === 0;
}

$("fetch-link").addEventListener("click", () => $("fetch-dialog").close());
