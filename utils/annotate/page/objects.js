// Finished objects and proposals: selecting, editing, hiding, deleting, taking.

import { t } from "./language.js";
import { showSelected } from "./lists.js";
import { change, newObject } from "./loading.js";
import { say } from "./messages.js";
import { view } from "./stage.js";
import { app, changed, setTool } from "./state.js";

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
  const proposal = app.state?.proposals.find((each) => isHit(`proposal ${each}`, point));
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

export function takeProposal(proposal) {
  app.hovered = {};
  change("take proposal", { proposal, ...newObject() });
}

export function hoverProposal(proposal) {
  app.hovered = { ...app.hovered, proposal };
  changed("picture");
}

export function acceptAll() {
  if (app.state?.proposals.length) change("accept proposals", { proposals: app.state.proposals, label: app.label });
}
