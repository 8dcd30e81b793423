// The outbox: changes on their way to the server, in order.

import { Refusal, call, isPassing } from "./api.js";
import { fits } from "./rebase.js";
import { adopt, forget, keep, owner } from "./store.js";

const RETRY_MILLISECONDS = [500, 1000, 2000, 4000];

/**
 * Changes on their way to the server: sent one by one in the order they were made, kept until they are answered, in
 * the browser's database too. A change that the server may or may not have seen is sent again with the same id, which
 * the server recognises. A change that was made on another revision than the server's is sent on top of that one where
 * it still means the same; else it is held, with those after it, until the person decides.
 */
export class Outbox {
  constructor() {
    // answered(pictureId, state, entry), refused(entry, refusal), rebased(pictureId, state, isHeld), moved()
    this.handlers = null;
    // {id, pictureId, change, seen, revision, project, owner, number, since, isKept, isHeld, isForced}
    this.entries = [];
    this.last = new Map(); // the last entry of each picture, and under null of all
    this.revisions = new Map();
    this.isRunning = false;
    this.trouble = null; // the refusal that makes it try again
    this.tries = 0;
    this.activity = 0;
    this.project = undefined; // key of the project that the changes are made in
  }

  /** seen: what the person saw when making the change, see rebase.js. */
  push(pictureId, change, seen) {
    const ahead = this.entries.filter((entry) => entry.pictureId === pictureId).length;
    const entry = {
      id: crypto.randomUUID?.() ?? randomId(), pictureId, change, seen, project: this.project, owner,
      since: performance.now(),
      revision: this.revisions.get(pictureId) + ahead, number: performance.timeOrigin + performance.now(),
      isHeld: this.held(pictureId).length > 0,
    };
    this.entries.push(entry);
    this.last.set(pictureId, entry).set(null, entry);
    this.keep(entry);
    this.activity += 1;
    this.handlers.moved();
    this.run();
    return entry;
  }

  async keep(entry) {
    try {
      entry.isKept = await keep(entry);
      if (!this.entries.includes(entry)) await forget(entry.id); // answered meanwhile
    } catch { /* no room in the browser: it stays in memory, and the page says so */ }
    this.handlers.moved();
  }

  /** Whether all that is unsent is in the browser's database, so that the tab may be closed. */
  get isKept() {
    return this.entries.every((entry) => entry.isKept);
  }

  /** Takes over what tabs that are gone have left unsent. */
  async adopt() {
    const known = new Set(this.entries.map(({ id }) => id));
    const orphans = (await adopt(this.project)).filter(({ id }) => !known.has(id));
    this.entries.unshift(...orphans.map((entry) => ({ ...entry, isKept: true, since: performance.now() })));
    if (orphans.length) this.handlers.moved();
    this.run();
    return orphans.length;
  }

  of(pictureId) {
    return this.entries.filter((entry) => entry.pictureId === pictureId).map((entry) => entry.change);
  }

  held(pictureId) {
    return this.entries.filter((entry) => entry.pictureId === pictureId && entry.isHeld);
  }

  /** How many are on their way; those that are held wait for the person. */
  get waiting() {
    return this.entries.filter(({ isHeld }) => !isHeld).length;
  }

  // ------------------------------------------------------------------------------------------ sending

  async run() {
    if (this.isRunning) return;
    this.isRunning = true;
    for (let entry = this.next(); entry; entry = this.next()) await this.send(entry);
    this.isRunning = false;
  }

  next() {
    return this.entries.find(({ isHeld }) => !isHeld);
  }

  async send(entry) {
    const { pictureId, change, id } = entry;
    try {
      const revision = this.revisions.get(pictureId) ?? entry.revision;
      const state = await call(`/api/pictures/${pictureId}/change`, { ...change, id, revision, project: this.project });
      this.revisions.set(pictureId, state.revision);
      this.remove([entry]);
      this.begun(pictureId, state);
      this.handlers.answered(pictureId, state, entry);
    } catch (refusal) {
      await this.fail(entry, refusal);
    }
  }

  /** The changes behind one that began an object were made on that object. */
  begun(pictureId, state) {
    for (const { pictureId: other, seen } of this.entries) {
      if (other === pictureId && seen?.work === "new" && state.active) seen.work = state.active.id;
    }
  }

  async fail(entry, refusal) {
    if (!(refusal instanceof Refusal)) console.error(refusal);
    if (isPassing(refusal)) await this.waitFor(refusal);
    else if (refusal.status === 409) await this.rebase(entry, refusal);
    else {
      this.remove([entry]);
      this.handlers.refused(entry, refusal);
    }
  }

  async waitFor(refusal) {
    this.trouble = refusal;
    this.handlers.moved();
    const pause = RETRY_MILLISECONDS[Math.min(this.tries, RETRY_MILLISECONDS.length - 1)];
    this.tries += 1;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }

  /** The picture was changed by somebody else: puts the change on top of that, or holds it. */
  async rebase(entry, refusal) {
    try {
      const { project } = await call("/api/status");
      if (project !== this.project) { // kept for its own project; this page soon shows the other one
        await this.waitFor(refusal);
        return;
      }
      const state = await call(`/api/pictures/${entry.pictureId}`);
      this.revisions.set(entry.pictureId, state.revision);
      if (!entry.isForced && !fits(entry, state)) this.hold(entry.pictureId);
      this.handlers.rebased(entry.pictureId, state, entry.isHeld);
    } catch (other) {
      await this.fail(entry, other);
    }
  }

  hold(pictureId) {
    const mine = this.entries.filter((entry) => entry.pictureId === pictureId);
    for (const entry of mine) this.keep(Object.assign(entry, { isHeld: true }));
    this.handlers.moved();
  }

  // ------------------------------------------------------------------------------------------ held changes

  /** Sends held changes all the same. */
  release(pictureId) {
    for (const entry of this.held(pictureId)) this.keep(Object.assign(entry, { isHeld: false, isForced: true }));
    this.handlers.moved();
    this.run();
  }

  discard(pictureId) {
    this.remove(this.held(pictureId));
  }

  remove(gone) {
    this.trouble = null;
    this.tries = 0;
    this.activity += 1;
    this.entries = this.entries.filter((entry) => !gone.includes(entry));
    for (const { id } of gone) forget(id).catch(() => {});
    this.handlers.moved();
  }
}

/** For pages that aren't served from this machine, where browsers withhold randomUUID. */
function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
