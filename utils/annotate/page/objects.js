// Finished objects and proposals: selecting, editing, hiding, deleting, taking.

import { expected, proposalsLeft } from "./expectation.js";
import { t } from "./language.js";
import { change, newObject } from "./loading.js";
import { say } from "./messages.js";
import { showSelected } from "./object_list.js";
import { view } from "./stage.js";
import { app, can, changed, setTool } from "./state.js";

export function select(id) {
  app.selected = id;
  changed();
  showSelected(); // in the list
}

export function selectBy(by) {
  const ids = (app.state?.objects ?? []).map(({ id }) => id);
  const from = app.selected === null && by < 0 ? 0 : ids.indexOf(app.selected);
  if (ids.length) select(ids.at((from + by) % ids.length));
}

function isHit(name, [y, x]) {
  const outline = app.outlines.get(name);
  const [top, left, bottom, right] = outline?.box ?? [0, 0, 0, 0];
  if (y < top || x < left || y >= bottom || x >= right) return false;
  const context = view.overlay;
  context.setTransform(1, 0, 0, 1, 0, 0);
  return context.isPointInPath(outline.shape, x, y, "evenodd");
}

/** The smallest finished object at a point. */
export function objectAt(point) {
  const area = ({ mask }) => app.outlines.get(mask).area;
  return (app.state?.objects ?? []).filter(({ mask }) => isHit(mask, point)).sort((a, b) => area(a) - area(b))[0];
}

/** A click of the selecting kind: the object there, or the proposal there. The second of two edits the object. */
export function selectAt(point, isDouble) {
  const hit = objectAt(point);
  const proposal = proposalAt(point);
  if (hit && isDouble) edit(hit.id);
  else if (hit) select(hit.id === app.selected ? null : hit.id);
  else if (isDouble) return;
  else if (proposal !== undefined) takeProposal(proposal);
  else select(null);
}

export function toggleHidden(id) {
  if (!app.hidden.delete(id)) app.hidden.add(id);
  changed();
}

/** Hides all finished objects, or shows all. */
export function hideAll() {
  const ids = (app.state?.objects ?? []).map(({ id }) => id);
  app.hidden = new Set(ids.every((id) => app.hidden.has(id)) ? [] : ids);
  changed();
}

export function edit(id) {
  if (id === null) { say(t("select first")); return; }
  app.selected = null;
  setTool("click");
  change("edit", { object: id });
}

export function removeObject(id) {
  change("delete", { object: id });
  say(t("object deleted", { id }));
}

export function relabel(id, label) {
  change("relabel", { object: id, label });
}

export function hoverObject(id) {
  app.hovered = { ...app.hovered, object: id };
  changed("picture");
}

// ---------------------------------------------------------------------------------------------- proposals

function proposalAt(point) {
  return proposalsLeft().find((each) => isHit(`proposal ${each}`, point));
}

/** Whether a point lies in the box of a proposal, which is made larger by a quarter of its sides. */
function isNear(name, [y, x]) {
  const outline = app.outlines.get(name);
  if (!outline?.box) return false;
  const [top, left, bottom, right] = outline.box;
  const [tall, wide] = [(bottom - top) / 4, (right - left) / 4];
  return y >= top - tall && x >= left - wide && y < bottom + tall && x < right + wide;
}

/** The concept model's proposals that are left on the open picture. */
export function guessesLeft() {
  return proposalsLeft().filter((each) => app.state.guesses?.[each]);
}

/** The concept model's proposal that a click would correct: the one there, or near there; none beside an object in work. */
export function guessFor(point) {
  const guesses = expected() ? [] : guessesLeft();
  const name = (each) => `proposal ${each}`;
  return guesses.find((each) => isHit(name(each), point)) ?? guesses.find((each) => isNear(name(each), point));
}

/** What an object that begins with a proposal gets: the concept model says which label it has. */
export function beginning(proposal) {
  const { label } = app.state.guesses?.[proposal] ?? {};
  return { proposal, ...newObject(), ...(label && { label }) };
}

export function takeProposal(proposal) {
  app.hovered = {};
  change("take proposal", beginning(proposal));
}

export function hoverProposal(proposal) {
  app.hovered = { ...app.hovered, proposal };
  changed("picture");
}

export function acceptAll() {
  const proposals = proposalsLeft();
  if (proposals.length) change("accept proposals", { proposals, label: app.label });
}

/** Takes proposals away; undo brings them back. */
export function reject(proposals) {
  if (!proposals.length) return;
  app.hovered = {};
  change("reject proposals", { proposals });
  say(t("rejected", { n: proposals.length }));
}

export function rejectAll() {
  reject(proposalsLeft());
}

/** What Delete rejects: the proposal under the pointer, or all that the concept model made if nothing is in work. */
export function rejectable(point) {
  if (!can("reject proposals")) return [];
  const there = point ? proposalAt(point) : undefined;
  if (there !== undefined) return [there];
  return expected() ? [] : guessesLeft();
}
