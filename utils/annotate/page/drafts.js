// Regions that are half drawn wait until their picture is open again, over a reload too.

import { app, outbox } from "./state.js";
import { store, stored } from "./storage.js";

const drafts = new Map(); // by name, for browsers that keep nothing

const nameOf = (pictureId) => `annotate draft ${outbox.project} ${pictureId}`;

const isPoint = (point) => Array.isArray(point) && point.length === 2 && point.every(Number.isFinite);

/** Keeps the corners [y, x] of the open picture's region; none of them end the draft. */
export function keepDraft(points) {
  const rounded = points.map((point) => point.map((value) => Math.round(100 * value) / 100));
  drafts.set(nameOf(app.current), rounded);
  store(nameOf(app.current), rounded.length ? JSON.stringify(rounded) : null);
}

/** The corners that a picture's region has so far. */
export function draftOf(pictureId) {
  const known = drafts.get(nameOf(pictureId));
  if (known) return known;
  try {
    const kept = JSON.parse(stored(nameOf(pictureId)));
    return Array.isArray(kept) && kept.every(isPoint) ? kept : [];
  } catch {
    return []; // somebody else's content
  }
}
