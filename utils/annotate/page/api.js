// Talking to the server: requests that fail with a sentence, and the outbox that keeps changes in order.

export class Refusal extends Error {
  /** @param {string} sentence for the person  @param {number} status of HTTP, 0 if the server can't be reached */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/** The JSON answer to a request; a body makes it a POST. Throws a Refusal. */
export async function call(path, body) {
  const options = body === undefined ? {} :
    { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal("The server can't be reached.", 0);
  }
  let content = null;
  try {
    content = await response.json();
  } catch {
    if (response.ok) throw new Refusal("The connection broke off.", 0);
  }
  if (!response.ok) throw new Refusal(content?.error ?? `The server answered ${response.status}.`, response.status);
  return content;
}

/** Whether the same request may succeed later: no server is there, or a new one that hasn't seen its token yet. */
export function isPassing(refusal) {
  return refusal.status === 0 || refusal.status === 401;
}

const RETRY_MILLISECONDS = 1000;

/**
 * Changes on their way to the server: sent one by one in the order they were made, kept until they are answered.
 * A change that the server may or may not have seen is sent again with the same id, which the server recognises.
 */
export class Outbox {
  /** @param handlers answered(pictureId, state, entry), refused(entry, refusal), conflict(pictureId, lost, refusal), moved() */
  constructor(handlers) {
    this.handlers = handlers;
    this.entries = [];
    this.revisions = new Map();
    this.isRunning = false;
    this.trouble = null;
    this.activity = 0;
    this.project = undefined; // key of the project that the changes are made in
  }

  push(pictureId, change) {
    this.entries.push({ pictureId, change, id: crypto.randomUUID?.() ?? randomId(), since: performance.now() });
    this.activity += 1;
    this.handlers.moved();
    this.run();
  }

  of(pictureId) {
    return this.entries.filter((entry) => entry.pictureId === pictureId).map((entry) => entry.change);
  }

  async run() {
    if (this.isRunning) return;
    this.isRunning = true;
    while (this.entries.length) await this.sendFirst();
    this.isRunning = false;
  }

  async sendFirst() {
    const entry = this.entries[0];
    const { pictureId, change, id } = entry;
    try {
      const body = { ...change, id, revision: this.revisions.get(pictureId), project: this.project };
      const state = await call(`/api/pictures/${pictureId}/change`, body);
      this.revisions.set(pictureId, state.revision);
      this.take(() => this.entries.shift());
      this.handlers.answered(pictureId, state, entry);
    } catch (refusal) {
      await this.fail(entry, refusal);
    }
  }

  async fail(entry, refusal) {
    if (!(refusal instanceof Refusal)) console.error(refusal);
    if (isPassing(refusal)) {
      this.trouble = refusal.message;
      this.handlers.moved();
      await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
    } else if (refusal.status === 409) {
      const lost = this.of(entry.pictureId).length;
      this.take(() => { this.entries = this.entries.filter((other) => other.pictureId !== entry.pictureId); });
      this.handlers.conflict(entry.pictureId, lost, refusal);
    } else {
      this.take(() => { this.entries = this.entries.filter((other) => other !== entry); });
      this.handlers.refused(entry, refusal);
    }
  }

  take(change) {
    this.trouble = null;
    this.activity += 1;
    change();
    this.handlers.moved();
  }
}

/** For pages that aren't served from this machine, where browsers withhold randomUUID. */
function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
