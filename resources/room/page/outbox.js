// Verdicts on their way to the server. They are kept in the browser until the server has them, in their order; each has an id
// made here, so that one that is sent twice is one verdict.

const KEPT = "dailies-room-verdict:";
const LONGEST_PAUSE_MS = 15_000;

export class Outbox {
  #items;
  #sending = false;
  #person = null;
  #pause = 500;
  #timer = 0;

  /** @param {{taken: Function, refused: Function, changed: Function, changedHands: Function}} tell what becomes of the verdicts */
  constructor(tell) {
    this.tell = tell;
    // each under a key of its own, so that two tabs do not overwrite each other's
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(KEPT)).sort();
    this.#items = keys.map((key) => ({ ...JSON.parse(localStorage.getItem(key)), kept: key }));
    addEventListener("online", () => this.send());
  }

  /** The verdicts of whoever uses this browser now that the server does not have yet. */
  get items() {
    return this.#items.filter((item) => this.#isTheirs(item));
  }

  /** Who else's verdicts wait in this browser. */
  get others() {
    return [...new Set(this.#items.filter((item) => !this.#isTheirs(item)).map((item) => item.by))];
  }

  /** Say who uses this browser; only their verdicts are sent. */
  usedBy(name) {
    this.#person = name;
    this.tell.changed(this.items.length);
    this.send();
  }

  // before verdicts had a name, a browser belonged to one person
  #isTheirs(item) {
    return item.by === undefined || item.by === this.#person;
  }

  add(verdict) {
    const kept = `${KEPT}${String(Date.now()).padStart(15, "0")}:${verdict.id}`;
    localStorage.setItem(kept, JSON.stringify(verdict));
    this.#items.push({ ...verdict, kept });
    this.tell.changed(this.items.length);
    this.send();
  }

  async send() {
    if (this.#sending) return;
    clearTimeout(this.#timer);
    this.#sending = true;
    while (this.items.length) {
      const first = this.items[0];
      const { kept, ...verdict } = first;
      const { status, answer } = await post("api/verdicts", verdict);
      const answered = status === 200 ? answer?.verdict : answer?.problem;
      // a proxy's page (its login, its own errors) is no word of the room on the verdict
      if (status === 0 || status >= 500 || status === 408 || !answered) {
        this.#timer = setTimeout(() => this.send(), this.#pause);
        this.#pause = Math.min(LONGEST_PAUSE_MS, this.#pause * 2);
        break;
      }
      this.#pause = 500;
      if (status === 409) {
        // somebody else has signed in since the page was loaded: the verdict stays theirs who gave it
        this.tell.changedHands(answer.problem);
        break;
      }
      this.#items = this.#items.filter((item) => item !== first);
      localStorage.removeItem(kept);
      if (status === 200) this.tell.taken(verdict, answer);
      else this.tell.refused(verdict, answer.problem);
    }
    this.#sending = false;
    this.tell.changed(this.items.length);
  }
}

/** The status and the JSON of an answer; status 0 where the network gave none. */
export async function post(path, body) {
  return read(fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  }));
}

export async function get(path) {
  return read(fetch(path, { signal: AbortSignal.timeout(30_000) }));
}

async function read(asked) {
  try {
    const found = await asked;
    const isJson = found.headers.get("content-type")?.startsWith("application/json");
    return { status: found.status, answer: isJson ? await found.json() : null };
  } catch {
    return { status: 0, answer: null };
  }
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
