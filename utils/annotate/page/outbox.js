// The outbox: changes on their way to the server, in order.

import { Refusal, call, isPassing } from "./api.js";

const RETRY_MILLISECONDS = 1000;

/**
 * Changes on their way to the server: sent one by one in the order they were made, kept until they are answered.
 * A change that the server may or may not have seen is sent again with the same id, which the server recognises.
 */
export class Outbox {
  constructor() {
    this.handlers = null; // answered(pictureId, state, entry), refused(entry, refusal), conflict(pictureId, lost, refusal), moved()
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
