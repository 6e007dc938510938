// Draws what the room shows. Everything that strangers wrote goes in as text, never as markup.

const $ = (id) => document.getElementById(id);

export function element(name, options = {}, ...children) {
  const { cls, text, on, ...attributes } = options;
  const made = document.createElement(name);
  if (cls) made.className = cls;
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  for (const [event, work] of Object.entries(on ?? {})) made.addEventListener(event, work);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function time(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function age(at) {
  const seconds = Math.max(0, Date.now() / 1000 - at);
  for (const [size, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit} ago`;
  }
  return "just now";
}

export function isJudged(clip) {
  return clip.takes.some((take) => take.verdict?.word === "circled") || (clip.takes.length > 0 && clip.takes.every((take) => take.verdict));
}

function inWords(take, reasons) {
  if (take.verdict?.word === "circled") return "Circled";
  if (take.verdict?.word !== "rejected") return "";
  const titles = take.verdict.reasons.map((name) => reasons.find((one) => one.name === name)?.title ?? name);
  return titles.join(", ") || "Rejected";
}

/** The list of clips. */
export function drawClips(clips, at, open) {
  const list = $("clips");
  const keys = clips.map((clip) => clip.clip).join();
  if (list.dataset.keys === keys) {
    // hundreds of clips take longer to draw than a person should wait for an answer
    list.querySelector("[aria-current]")?.removeAttribute("aria-current");
    list.children[at]?.setAttribute("aria-current", "true");
    list.children[at]?.scrollIntoView({ block: "nearest", inline: "nearest" });
    return;
  }
  list.dataset.keys = keys;
  const drawn = clips.map((clip, place) => {
    const poster = clip.takes.find((take) => take.is_current)?.poster ?? clip.takes[0]?.poster;
    const dots = clip.takes.map((take) => element("span", { cls: `dot ${take.verdict?.word ?? ""}` }));
    if (clip.on_its_way.length) dots.push(element("span", { cls: "dot way" }));
    return element(
      "button",
      {
        type: "button",
        title: clip.clip,
        "aria-current": place === at ? "true" : null,
        "aria-label": labelOf(clip),
        on: { click: () => open(place) },
      },
      poster ? element("img", { src: poster, alt: "", loading: "lazy" }) : element("span", { cls: "blank" }),
      element("span", { cls: "text" }, element("span", { cls: "name", text: clip.name }), element("span", { cls: "dots" }, ...dots)),
    );
  });
  list.replaceChildren(...drawn);
  list.children[at]?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function labelOf(clip) {
  return `${clip.name}, ${clip.takes.length === 1 ? "1 take" : `${clip.takes.length} takes`}${isJudged(clip) ? ", judged" : ""}`;
}

/** Only what a verdict changes in the list. */
export function drawDots(clips, at) {
  const poster = clips[at]?.takes.find((take) => take.poster)?.poster;
  if (poster) $("clips").children[at]?.querySelector(".blank")?.replaceWith(element("img", { src: poster, alt: "", loading: "lazy" }));
  $("clips").children[at]?.setAttribute("aria-label", labelOf(clips[at]));
  const dots = $("clips").children[at]?.querySelector(".dots");
  dots?.replaceChildren(
    ...clips[at].takes.map((take) => element("span", { cls: `dot ${take.verdict?.word ?? ""}` })),
    ...(clips[at].on_its_way.length ? [element("span", { cls: "dot way" })] : []),
  );
}

export function drawHead(clip, isHidden) {
  $("clip-title").textContent = clip.name;
  const takes = ["no take yet", "1 take"][clip.takes.length] ?? `${clip.takes.length} takes`;
  $("clip-line").textContent = [
    isHidden ? "The filter hides this clip; its link shows it" : "", clip.title, clip.day, takes, `${clip.cost} so far`, waits(clip.review), finishLine(clip.finish),
  ].filter(Boolean).join("  ·  ");
}

/** What is with the finish of a circled draft, in a sentence; nothing where none is lacking. */
function finishLine(finish) {
  if (!finish) return "";
  const kept = finish.ends_at ? `, kept until ${new Date(finish.ends_at * 1000).toLocaleDateString(undefined, { dateStyle: "medium" })}` : "";
  if (finish.ordered_by) return `finish ordered by ${finish.ordered_by}${finish.why ? `, waits: ${finish.why}` : ""}${kept}`;
  return `${finish.why ? `no finish (${finish.why})` : "its finish waits for somebody who may buy"}${kept}`;
}

/** What becomes of a clip that nobody judges; nothing where its series has no policy. */
function waits(review) {
  if (review?.held_at) return "held: nobody had come in time";
  if (!review?.decide_at) return "";
  const at = new Date(review.decide_at * 1000);
  const soon = review.decide_at * 1000 - Date.now() < 6 * 86_400_000;
  return `${review.otherwise === "hold" ? "waits for you until" : "decided without you"} ${at.toLocaleString(undefined, soon ? { weekday: "long", hour: "2-digit", minute: "2-digit" } : { dateStyle: "medium" })}`;
}

/** What is not there yet, a line each; empty where all takes are there. */
function waysOf(clip) {
  if (clip.on_its_way.length) return clip.on_its_way.map((one) => one.text).join("\n");
  return clip.takes.length ? "" : "Not made yet. Words shows and changes its prompt; Make names the price first.";
}

/** The takes side by side. */
export function drawStage(clip, chosen, reasons, player, does) {
  const drawn = [...$("stage").querySelectorAll(".take")];
  const ways = waysOf(clip);
  const shown = $("stage").querySelector(".on-its-way")?.textContent ?? "";
  if (drawn.length && drawn.map((one) => one.dataset.take).join() === clip.takes.map((one) => one.id).join() && shown === ways) {
    // a video that is moved in the page stops, so only what is said of it changes
    clip.takes.forEach((take, place) => mark(drawn[place], take, chosen, reasons));
    return;
  }
  const takes = clip.takes.map((take) => {
    const video = player.video(take);
    const broken = element("span", { cls: "broken", text: "This video does not load. Reload the page; if that does not help, its file is not in the bucket any more.", hidden: !video.error });
    video.onerror = () => { broken.hidden = !video.error; };
    const figure = element(
      "figure",
      { cls: "take", "data-take": take.id },
      element(
        "button",
        {
          type: "button", cls: "picture",
          "aria-keyshortcuts": take.number < 10 ? String(take.number) : null,
          on: {
            click: () => does.choose(take.id),
            mouseenter: () => does.hear(take.id),
            mouseleave: () => does.hear(null),
          },
        },
        // the spaces keep the words apart for those who have them read
        element("span", { cls: "number", text: take.number }), " ",
        element("span", { cls: "word" }), " ",
        take.in_quarantine ? element("span", { cls: "plain", text: "failed a check" }) : null, " ",
        take.is_spare ? element("span", { cls: "plain", text: "spare take" }) : null, " ",
        partOf(take) ? element("span", { cls: "part", text: partOf(take) }) : null,
        video, broken,
      ),
      under(take),
    );
    mark(figure, take, chosen, reasons);
    figure.style.margin = "0";
    // as wide as its share, and never higher than half of the window
    const share = clip.takes.length + (ways ? 0.5 : 0);
    figure.querySelector(".picture").style.aspectRatio = String(take.shape);
    figure.style.width = `min(${(100 / share).toFixed(2)}%, calc(54vh * ${take.shape}))`;
    return figure;
  });
  if (ways) takes.push(element("div", { cls: "on-its-way", text: ways }));
  $("stage").replaceChildren(...takes);
}

function mark(figure, take, chosen, reasons) {
  const word = inWords(take, reasons);
  figure.className = ["take", take.verdict?.word, take.id === chosen ? "chosen" : ""].filter(Boolean).join(" ");
  figure.querySelector(".word").textContent = word;
  figure.querySelector(".word").hidden = !word;
  const picture = figure.querySelector(".picture");
  picture.setAttribute("aria-pressed", String(take.id === chosen));
  const words = [
    word, take.in_quarantine ? "failed a check" : "", take.is_spare ? "spare take" : "", partOf(take), take.is_current ? "current" : "",
  ];
  picture.setAttribute("aria-label", [`Take ${take.number}`, ...words].filter(Boolean).join(", "));
  figure.querySelector(".current").hidden = !take.is_current;
}

function partOf(take) {
  return take.is_draft ? "draft" : take.finishes ? "finish" : "";
}

function under(take) {
  const line = [
    element("b", { text: take.cost }),
    element("span", { text: age(take.at) }),
    take.facts ? element("span", { text: take.facts }) : null,
    element("span", { cls: "current", text: "current" }),
  ];
  const bad = take.checks.filter((check) => check.outcome !== "passed");
  const shown = bad.map((check) => element("span", { cls: `check ${check.outcome}`, text: check.name, title: check.detail }));
  const passed = take.checks.length - bad.length;
  if (passed && !bad.length) shown.push(element("span", { cls: "check", text: `${passed} checks passed` }));
  return element("div", { cls: "under" }, ...line, element("span", { cls: "checks" }, ...shown));
}

/** Prompt, facts and notes of one take. */
export function drawAbout(take, reasons, does) {
  const changed = take.prompt.some(([kind]) => kind !== "same");
  const prompt = take.prompt.map(([kind, text]) =>
    kind === "same" ? document.createTextNode(text) : element(kind === "new" ? "ins" : "del", { text }));
  const model = take.served ?? take.bought;
  const differs = model.toLowerCase() !== take.asked.toLowerCase();
  const facts = [
    ["Model", differs ? `${model}, asked for ${take.asked}` : model, differs],
    ...take.parameters.map((one) => [one.name, one.before ? `${one.value}, before: ${one.before}` : one.value, !!one.before]),
    ["Other words", take.edited || null, true],
    ["Made in", take.waited ? `${Math.round(take.waited)} s` : null, false],
    ...take.checks.filter((check) => check.outcome !== "passed").map((check) => [check.name, check.detail || check.outcome, true]),
    ["Accepted", take.accepted || null, false],
  ].filter(([, value]) => value);
  const said = [take.verdict, ...take.notes].filter(Boolean);
  $("about").replaceChildren(
    element(
      "div", {},
      element("div", { cls: "card" },
        element("h3", { text: `Prompt of take ${take.number}${changed ? ", with what changed since the take before" : ""}` }),
        element("p", { cls: "prompt" }, ...prompt)),
      said.length
        ? element("div", { cls: "card" }, element("h3", { text: "What was said" }), element("div", { cls: "notes" }, ...said.map((one) => note(one, reasons, does))))
        : null,
    ),
    element("div", { cls: "card" },
      element("h3", { text: "Facts" }),
      element("dl", { cls: "facts" }, ...facts.flatMap(([name, value, marked]) =>
        [element("dt", { text: name }), element("dd", { text: value, cls: marked ? "differs" : "" })]))),
  );
}

function note(one, reasons, does) {
  const titles = one.reasons.map((name) => reasons.find((reason) => reason.name === name)?.title ?? name).join(", ");
  const words = { circled: "circled it", rejected: `rejected it${titles ? `: ${titles}` : ""}`, noted: "noted" }[one.word] ?? one.word;
  const moment = one.second === null || one.second === undefined
    ? null
    : element("button", { type: "button", cls: "moment", text: time(one.second), "aria-label": `Go to ${time(one.second)}`, on: { click: () => does.seek(one.second) } });
  return element("p", {}, moment, one.note ? `${one.note} ` : "", element("span", { cls: "by", text: `${one.who} ${words}, ${age(one.at)}` }));
}

let hiding = 0;
export function say(text, kind = "") {
  const said = $("said");
  said.textContent = text;
  said.className = `shown ${kind}`;
  clearTimeout(hiding);
  hiding = setTimeout(() => said.classList.remove("shown"), kind === "warn" ? 9_000 : 3_500);
}
