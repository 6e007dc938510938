"use strict";
(() => {
  const form = document.getElementById("filters");
  const cards = [...document.querySelectorAll("article")].map((element) => ({
    element, ...element.dataset, text: element.textContent.toLowerCase(),
  }));
  const count = document.getElementById("count"), nothing = document.getElementById("nothing");
  const whole = count.textContent;

  function filter() {
    const wanted = Object.fromEntries(new FormData(form));
    const words = (wanted.text || "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const fits = (!wanted.series || card.series === wanted.series) && (!wanted.state || card.state === wanted.state) &&
        (!wanted.word || card.word === wanted.word) && (!wanted.model || card.model === wanted.model) && (!wanted.from || card.day >= wanted.from) &&
        (!wanted.to || card.day <= wanted.to) && words.every((word) => card.text.includes(word));
      if (!fits) stop(card.element);
      card.element.hidden = !fits;
      shown += fits;
    }
    for (const heading of document.querySelectorAll("h2.day")) {
      let next = heading.nextElementSibling;
      while (next && next.matches("article") && next.hidden) next = next.nextElementSibling;
      heading.hidden = !(next && next.matches("article"));
    }
    const chosen = Object.entries(wanted).filter(([, value]) => value);
    count.textContent = chosen.length ? `${shown} of ${cards.length} clips fit` : whole;
    nothing.hidden = shown > 0 || cards.length === 0;
    const fragment = new URLSearchParams(chosen).toString();
    if (fragment || location.hash.includes("=")) history.replaceState(null, "", "#" + fragment);
  }

  function play(link) {
    for (const other of document.querySelectorAll("article video")) other.pause();
    const video = document.createElement("video");
    video.controls = video.autoplay = video.playsInline = true;
    video.src = link.href;
    const picture = link.querySelector("img");
    if (picture) video.poster = picture.src;
    video.setAttribute("aria-label", link.getAttribute("aria-label").replace("Play ", ""));
    link.hidden = true;
    link.style.display = "none";
    link.after(video);
    video.focus();
  }

  function stop(card) {
    const video = card.querySelector("video");
    if (!video) return null;
    const link = card.querySelector(".play");
    video.pause();
    video.removeAttribute("src");
    video.load();
    video.remove();
    link.hidden = false;
    link.style.display = "";
    return link;
  }

  function step(from, key) {
    const seen = cards.filter((card) => !card.element.hidden && card.element.querySelector(".play"));
    const at = seen.findIndex((card) => card.element.contains(from));
    const columns = getComputedStyle(document.getElementById("clips")).gridTemplateColumns.split(" ").length;
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key];
    // on a fresh page the first key goes to the first clip
    const next = seen[at < 0 ? 0 : Math.min(seen.length - 1, Math.max(0, at + by))];
    if (next) (next.element.querySelector("video") || next.element.querySelector(".play")).focus();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest(".play");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    play(link);
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing) {
      event.preventDefault();
      form.elements.text.focus();
    } else if (event.key === "Escape") {
      const card = event.target.closest("article");
      if (card) stop(card)?.focus();
      else if (typing) event.target.blur();
    } else if (event.target.closest(".play") ? event.key.startsWith("Arrow")
      : event.target === document.body && /^Arrow(Left|Right)$/.test(event.key)) {
      event.preventDefault();
      step(event.target, event.key);
    }
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  function restore() {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      const field = form.elements.namedItem(name);
      if (field) field.value = value;
    }
    filter();
  }
  addEventListener("hashchange", restore);
  // on a small screen the clips come first
  if (matchMedia("(max-width: 40rem)").matches) document.querySelector("details.figures").open = false;
  restore();
})();
