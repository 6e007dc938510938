// Takes that play in step: the longest one leads, the others follow it. All are muted but the one that is heard.

const DRIFT_SECONDS = 0.12;
const LOOK_MS = 250;

export class Player {
  #videos = new Map();
  #shown = [];
  #wants = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  #heard = null;

  /** @param {{moved: Function}} tell called with the position and the length in seconds, and whether it plays */
  constructor(tell) {
    this.tell = tell;
    setInterval(() => this.#look(), LOOK_MS);
  }

  /** The element of a take; it is made once and kept while the take is shown or comes next. */
  video(take) {
    let found = this.#videos.get(take.id);
    if (!found) {
      found = document.createElement("video");
      found.muted = true;
      found.playsInline = true;
      found.preload = "auto";
      found.tabIndex = -1;
      found.dataset.take = take.id;
      if (take.poster) found.poster = take.poster;
      found.src = take.video;
      found.addEventListener("ended", () => this.#ended(found));
      this.#videos.set(take.id, found);
    }
    return found;
  }

  /** Show these takes from their beginning, and load those that come next. */
  show(takes, next) {
    this.#shown = takes.map((take) => this.video(take));
    for (const video of this.#shown) video.currentTime = 0;
    next.forEach((take) => this.video(take));
    const kept = new Set([...takes, ...next].map((take) => take.id));
    for (const [id, video] of this.#videos) {
      if (kept.has(id)) continue;
      video.pause();
      video.removeAttribute("src");
      video.load();
      this.#videos.delete(id);
    }
    for (const video of this.#videos.values()) if (!this.#shown.includes(video)) video.pause();
    if (this.#wants) this.play();
    this.#look();
  }

  get plays() {
    return this.#wants;
  }

  get length() {
    return Math.max(0, ...this.#shown.map((video) => video.duration || 0));
  }

  get position() {
    return this.#leader()?.currentTime ?? 0;
  }

  toggle() {
    if (this.#wants) this.pause();
    else this.play();
  }

  play() {
    this.#wants = true;
    for (const video of this.#shown) video.play().catch(() => {});
    this.#look();
  }

  pause() {
    this.#wants = false;
    for (const video of this.#shown) video.pause();
    this.#look();
  }

  seek(seconds) {
    for (const video of this.#shown) {
      video.currentTime = Math.min(seconds, Math.max(0, (video.duration || seconds) - 0.05));
    }
    this.#look();
  }

  /** Let one take be heard, or none. */
  hear(id) {
    this.#heard = id;
    for (const [take, video] of this.#videos) video.muted = take !== id;
  }

  get heard() {
    return this.#heard;
  }

  #leader() {
    return this.#shown.reduce((a, b) => ((b.duration || 0) > (a?.duration || 0) ? b : a), this.#shown[0]);
  }

  #ended(video) {
    if (!this.#wants || video !== this.#leader()) return;
    for (const one of this.#shown) {
      one.currentTime = 0;
      one.play().catch(() => {});
    }
  }

  #look() {
    const leader = this.#leader();
    if (!leader) return;
    if (this.#wants) {
      for (const video of this.#shown) {
        const there = Math.min(leader.currentTime, (video.duration || Infinity) - 0.05);
        if (video !== leader && !video.seeking && Math.abs(video.currentTime - there) > DRIFT_SECONDS) {
          video.currentTime = there;
        }
      }
    }
    this.tell.moved(leader.currentTime, this.length, this.#wants);
  }
}
