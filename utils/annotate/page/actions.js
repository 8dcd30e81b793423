// What the person can do: each key, button and gesture ends in one of these functions.

import { call } from "./api.js";
import { $ } from "./dom.js";
import { expected, isWorking, protects } from "./expectation.js";
import { showHelp } from "./keys.js";
import { t } from "./language.js";
import { showSelected } from "./lists.js";
import { askPreview, change, dropPreview, fetchMap, newObject, open } from "./loading.js";
import { say } from "./messages.js";
import { hand, list, view } from "./stage.js";
import { VIEWS, app, brushRadius, can, changed, listed, outbox, remember } from "./state.js";

const AIM = 8; // CSS pixels that a key moves the cross
const FINISHED = ["done", "approved", "unreadable"]; // pictures that "next open" passes over

// ---------------------------------------------------------------------------------------------- clicks and drawing

/** A click; a positive one inside a finished protected object could only leave crumbs: offers to edit that object. */
export function click(point, positive) {
  if (!app.state || !view.contains(point)) return;
  const covering = positive && protects() && objectAt(point);
  if (covering) offerToEdit(covering, point);
  else sendClick(point, positive);
}

function sendClick([y, x], positive) {
  dropPreview();
  change("click", { y: Math.floor(y), x: Math.floor(x), positive, ...newObject() });
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

export function brushStroke(points) {
  if (!app.state) return;
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
  if (can("stroke")) change("stroke", { points: centred(points), positive, ...newObject() });
  else click(points[0], positive);
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
function clickThere(positive) {
  if (!hand.pointer || !app.state) hand.aim(0, 0);
  else if (app.tool === "region") hand.addCorner();
  else if (app.tool === "box") hand.corner();
  else click(hand.pointer, positive);
}

/** A press on the picture: with a pointer, so that keys don't aim any more. */
export function touched() {
  hand.isAiming = false;
}

function setSign(isPositive) {
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
  const isNear = ([py, px]) => { const [left, top] = view.toStage([py + 0.5, px + 0.5]); return Math.hypot(left - x, top - y) < reach; };
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

/** Delete: a region's last corner, the click under the pointer, or the selected object. */
function remove() {
  if (app.tool === "region" && hand.region.length) hand.dropCorner();
  else if (Number.isInteger(app.hovered.prompt)) removePrompt(app.hovered.prompt);
  else if (app.selected !== null) removeObject(app.selected);
  else say(t("nothing to delete"));
}

function removeLast() {
  const count = expected()?.prompts.length;
  if (count) removePrompt(count - 1);
  else say(t("no click to delete"));
}

// ---------------------------------------------------------------------------------------------- objects

export function select(id) {
  app.selected = id;
  changed();
  showSelected(); // in the list
}

function selectBy(by) {
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
function objectAt(point) {
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
function hideAll() {
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

function acceptAll() {
  if (app.state?.proposals.length) change("accept proposals", { proposals: app.state.proposals, label: app.label });
}

// ---------------------------------------------------------------------------------------------- labels and settings

export function chooseLabel(name) {
  if (app.selected !== null) relabel(app.selected, name);
  else {
    app.label = name;
    if (expected()) change("relabel", { label: name });
  }
  changed();
}

export async function addLabel(name) {
  try {
    app.labels = (await call("/api/labels", { name })).labels;
    chooseLabel(name);
    return true;
  } catch (refusal) {
    say(refusal.message, { isError: true });
    return false;
  }
}

export function applySettings(changes) {
  const work = expected();
  app.settings = { ...(work?.settings ?? app.settings), ...changes };
  if (work) change("settings", { settings: app.settings });
  changed();
}

export function resetSettings() {
  app.settings = {};
  if (expected()) change("settings", { settings: {} });
  changed();
}

export function protect(on) {
  change("protect", { on });
}

/** The verdict on the open picture: approved or sent back, with a note; the same once more takes it back. */
export function review(state) {
  const isSame = app.state?.status === state;
  change("review", { state: isSame ? "open" : state, note: $("review-note").value.trim() });
}

// ---------------------------------------------------------------------------------------------- pictures

function nextOpen() {
  const isOpen = ({ status }) => !FINISHED.includes(status);
  const next = list.neighbour(app.current, 1, isOpen) ??
    list.shown.find((picture) => isOpen(picture) && picture.id !== app.current)?.id;
  if (next) open(next);
  else say(t("none left"));
}

export function toggleDone() {
  if (!app.state) {
    if (app.opening?.problem) nextOpen(); // there is nothing to do on a picture that can't be read
    return;
  }
  const isDone = app.state.status === "done";
  const mark = change("mark", { done: !isDone });
  if (isDone) return;
  const entry = listed(app.current);
  if (entry) entry.status = "done"; // so that "next open" doesn't come back here before the answer
  offerToTakeBack(mark, entry?.name);
  nextOpen();
}

// ---------------------------------------------------------------------------------------------- taking back

let lastDone = null; // {mark, takeBack} of the last picture that was marked as done

/** One stray Enter finishes, marks and moves on: all of it can be taken back at once. */
function offerToTakeBack(mark, name) {
  const { pictureId } = mark;
  const takeBack = () => {
    dismiss();
    lastDone = null;
    if (outbox.last.get(pictureId) === mark) outbox.push(pictureId, { op: "undo" }, null);
    open(pictureId);
  };
  const dismiss = say(t("picture done", { name }), { choices: [{ text: t("undo"), run: takeBack }], outlives: true });
  lastDone = { mark, takeBack };
}

/** Ctrl+Z means the last thing that was done: on a picture where nothing was done yet, that was to move on to it. */
function undo() {
  if (lastDone && outbox.last.get(null) === lastDone.mark && app.current !== lastDone.mark.pictureId) lastDone.takeBack();
  else change("undo");
}

// ---------------------------------------------------------------------------------------------- tools and views

export function setTool(tool) {
  app.tool = tool;
  changed();
}

export function setView(mode) {
  app.view = mode;
  remember();
  if (mode === "probability") {
    if (app.state && !app.state.active?.hasProbability) say(t("map comes"));
    fetchMap();
  }
  changed();
}

export function setPreference(name, value) {
  app[name] = value;
  remember();
  changed();
}

function setBrush(size) {
  setPreference("brushSize", Math.max(0, Math.min(100, size)));
}

function peek(isPeeking) {
  if (app.isPeeking === isPeeking) return;
  app.isPeeking = isPeeking;
  changed("picture");
}

function escape() {
  if (hand.gesture) hand.drop();
  else if (app.tool === "region" && hand.region.length) hand.dropRegion();
  else {
    app.selected = null;
    document.activeElement?.blur();
    closeDrawers();
    changed();
  }
}

export function closeDrawers() {
  document.body.classList.remove("show-list", "show-panel");
}

/** Opens a drawer, or closes the one that is open. */
function toggleDrawer(name, other) {
  document.body.classList.remove(other);
  document.body.classList.toggle(name);
}

function finish() {
  if (!isWorking()) { say(t("nothing to finish")); return; }
  change("finish");
  setSign(true); // a new object begins with a click on it
}

function closeRegion(adds) {
  if (hand.region.length > 2) hand.closeRegion(adds);
  else say(t("three corners"));
}

/** What keys and buttons call, by name; see keys.js. */
export const ACTIONS = {
  finish,
  clear() { isWorking() ? change("clear") : say(t("nothing to clear")); },
  remove,
  removeLast,
  undo,
  redo: () => change("redo"),
  toolClick: () => setTool("click"),
  toolBrush: () => setTool("brush"),
  toolEraser: () => setTool("eraser"),
  toolRegion: () => setTool("region"),
  toolBox: () => can("box") && setTool("box"),
  toolLasso: () => can("lasso") && setTool("lasso"),
  toolSelect: () => setTool("select"),
  toolPan: () => setTool("pan"),
  smallerBrush: () => setBrush(app.brushSize - 5),
  largerBrush: () => setBrush(app.brushSize + 5),
  switchSign: () => setSign(!app.isPositive),
  aimLeft: () => hand.aim(-AIM, 0),
  aimRight: () => hand.aim(AIM, 0),
  aimUp: () => hand.aim(0, -AIM),
  aimDown: () => hand.aim(0, AIM),
  clickThere: () => clickThere(true),
  clickOffThere: () => clickThere(false),
  label: (key) => { if (app.labels[key - 1]) chooseLabel(app.labels[key - 1].name); },
  peek: () => peek(true),
  endPeek: () => peek(false),
  enter() { app.tool === "region" && hand.region.length ? closeRegion(true) : toggleDone(); },
  addRegion: () => closeRegion(true),
  cutRegion: () => closeRegion(false),
  toggleList: () => toggleDrawer("show-list", "show-panel"),
  togglePanel: () => toggleDrawer("show-panel", "show-list"),
  closeDrawers,
  done: toggleDone,
  resetSettings,
  hideAll,
  dropRegion: () => hand.dropRegion(),
  escape,
  previous: () => open(list.neighbour(app.current, -1)),
  next: () => open(list.neighbour(app.current, 1)),
  nextOpen,
  search() { document.body.classList.add("show-list"); $("search").focus(); },
  nextView: () => setView(VIEWS[(VIEWS.indexOf(app.view) + 1) % VIEWS.length]),
  fit: () => view.fit(),
  zoomIn: () => view.zoom(1.3),
  zoomOut: () => view.zoom(1 / 1.3),
  zoomOne: () => view.zoom(1 / view.scale / view.ratio),
  panLeft: () => view.pan(80, 0),
  panRight: () => view.pan(-80, 0),
  panUp: () => view.pan(0, 80),
  panDown: () => view.pan(0, -80),
  protect() {
    protect(!protects());
    say(t(protects() ? "now protected" : "now unprotected"));
  },
  selectNext: () => selectBy(1),
  selectPrevious: () => selectBy(-1),
  edit: () => edit(app.selected),
  acceptAll,
  help: showHelp,
};
