// Clicks, boxes, lines, brush strokes and regions: what the hand does on the picture.

import { expected, protects } from "./expectation.js";
import { t } from "./language.js";
import { change, newObject } from "./loading.js";
import { say } from "./messages.js";
import {
  beginning, edit, guessFor, hoverObject, objectAt, reject, rejectable, removeObject, takeProposal,
} from "./objects.js";
import { askPreview, dropPreview } from "./preview.js";
import { hand, view } from "./stage.js";
import { app, brushRadius, can, changed } from "./state.js";

/** A click; a positive one inside a finished protected object could only leave crumbs: offers to edit that object. */
export function click(point, positive) {
  if (!app.state || !view.contains(point)) return;
  const covering = positive && protects() && objectAt(point);
  if (covering) offerToEdit(covering, point);
  else sendClick(point, positive);
}

/** Beside no object in work, a click on or near a proposal of the concept model takes and corrects that one. */
function sendClick(point, positive) {
  dropPreview();
  const [y, x] = point.map(Math.floor);
  const guess = guessFor(point);
  change("click", { y, x, positive, ...(guess === undefined ? newObject() : beginning(guess)) });
}

function offerToEdit({ id, label }, point) {
  hoverObject(id);
  say(t("click on finished", { id, label }), { choices: [
    { text: t("edit object", { id }), run: () => edit(id) },
    { text: t("click all the same"), run: () => sendClick(point, true) },
  ] });
}

/** The line [y, x] as the server counts: pixel centres at whole numbers. The finest brush goes from pixel to pixel. */
function centred(points, isFine = false) {
  const reach = 1.9 * Math.max(app.state.width, app.state.height);
  const moved = (value) => (isFine ? Math.floor(value) : value - 0.5);
  return points.map((point) => point.map((value) => Math.max(-reach, Math.min(reach, moved(value)))));
}

/** A line that begins on or near a proposal of the concept model, beside no object in work, corrects that one. */
function takeGuess(point) {
  const guess = guessFor(point);
  if (guess !== undefined) takeProposal(guess);
}

export function brushStroke(points) {
  if (!app.state) return;
  takeGuess(points[0]);
  const radius = brushRadius();
  change("brush", { points: centred(points, radius < 1), radius, adds: app.tool === "brush", ...newObject() });
}

export function region(points, adds) {
  if (app.state) change("region", { points: centred(points), adds, ...newObject() });
}

/** A stroke with the click tool; a server that doesn't know strokes gets a click where it began. */
export function draw(points, positive) {
  if (!app.state) return;
  dropPreview();
  if (!can("stroke")) { click(points[0], positive); return; }
  takeGuess(points[0]);
  change("stroke", { points: centred(points), positive, ...newObject() });
}

/** A box around the object, between two corners. */
export function box([y0, x0], [y1, x1]) {
  const { height, width } = app.state ?? {};
  const [top, bottom] = [y0, y1].map((y) => Math.max(0, Math.min(height, Math.round(y)))).sort((a, b) => a - b);
  const [left, right] = [x0, x1].map((x) => Math.max(0, Math.min(width, Math.round(x)))).sort((a, b) => a - b);
  if (app.state && bottom > top && right > left) change("box", { box: [top, left, bottom, right], ...newObject() });
}

/** A loose line around the object. */
export function lasso(points, positive) {
  if (app.state && points.length > 2) change("lasso", { points: centred(points), positive, ...newObject() });
}

/** What a key does where the cross is: a click, a corner of the region, one of the two corners of a box. */
export function clickThere(positive) {
  if (!hand.pointer || !app.state) hand.aim(0, 0);
  else if (app.tool === "region") hand.addCorner();
  else if (app.tool === "box") hand.corner();
  else click(hand.pointer, positive);
}

/** A press on the picture: with a pointer, so that keys don't aim any more. */
export function touched() {
  hand.isAiming = false;
  if (app.hovered.object) hoverObject(null); // which a click may have pointed out
}

export function setSign(isPositive) {
  app.isPositive = isPositive;
  changed();
}

/** The click, box or line under the pointer, for Delete and to see what would be deleted. */
export function hover(point) {
  const before = app.hovered.prompt ?? null;
  const now = point && app.state ? promptAt(point) : null;
  if (now !== before) hoverPrompt(now);
  askPreview(now === null ? point : null);
  changed("cursor");
}

function promptAt(point) {
  const [x, y] = view.toStage(point);
  const reach = Math.max(9, app.clickSize + 3);
  const isNear = ([py, px]) => {
    const [left, top] = view.toStage([py + 0.5, px + 0.5]);
    return Math.hypot(left - x, top - y) < reach;
  };
  const now = (expected()?.prompts ?? []).findLastIndex(({ points, isPending }) => !isPending && points.some(isNear));
  return now < 0 ? null : now;
}

export function hoverPrompt(index) {
  app.hovered = { ...app.hovered, prompt: index };
  changed("picture");
}

export function removePrompt(index) {
  app.hovered = { ...app.hovered, prompt: null };
  change("delete prompt", { index });
}

/** Delete: a region's last corner, the click under the pointer, the selected object, or proposals. */
export function remove() {
  if (app.tool === "region" && hand.region.length) hand.dropCorner();
  else if (Number.isInteger(app.hovered.prompt)) removePrompt(app.hovered.prompt);
  else if (app.selected !== null) removeObject(app.selected);
  else if (rejectable(hand.pointer).length) reject(rejectable(hand.pointer));
  else say(t("nothing to delete"));
}

export function removeLast() {
  const count = expected()?.prompts.length;
  if (count) removePrompt(count - 1);
  else say(t("no click to delete"));
}
