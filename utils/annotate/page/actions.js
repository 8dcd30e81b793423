// What the person can do: each key, button and gesture ends in one of these functions.

import { call } from "./api.js";
import { $ } from "./dom.js";
import { expected, isWorking, protects } from "./expectation.js";
import { showHelp } from "./keys.js";
import { t } from "./language.js";
import { change, fetchMap, newObject, open } from "./loading.js";
import { say } from "./messages.js";
import { hand, list, view } from "./stage.js";
import { VIEWS, app, brushRadius, changed, listed, outbox, remember } from "./state.js";

// ---------------------------------------------------------------------------------------------- clicks and drawing

export function click([y, x], positive) {
  if (!app.state || !view.contains([y, x])) return;
  change("click", { y: Math.floor(y), x: Math.floor(x), positive, ...newObject() });
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

/** The click under the pointer, for Delete and to see what would be deleted. */
export function hover(point) {
  const before = app.hovered.click;
  let now = null;
  if (point && app.state) {
    const [x, y] = view.toStage(point);
    const reach = Math.max(9, app.clickSize + 3);
    const near = ({ y: cy, x: cx }) => { const [px, py] = view.toStage([cy + 0.5, cx + 0.5]); return Math.hypot(px - x, py - y) < reach; };
    now = (expected()?.clicks ?? []).findLastIndex((each) => !each.isPending && near(each));
    if (now < 0) now = null;
  }
  if (now !== before) hoverClick(now);
  changed("cursor");
}

export function hoverClick(index) {
  app.hovered = { ...app.hovered, click: index };
  changed("picture");
}

export function removeClick(index) {
  app.hovered = { ...app.hovered, click: null };
  change("delete click", { index });
}

/** Delete: a region's last corner, the click under the pointer, or the selected object. */
function remove() {
  if (hand.region.length) hand.dropCorner();
  else if (app.hovered.click !== null && app.hovered.click !== undefined) removeClick(app.hovered.click);
  else if (app.selected !== null) removeObject(app.selected);
  else say(t("nothing to delete"));
}

function removeLastClick() {
  const count = expected()?.clicks.length;
  if (count) removeClick(count - 1);
  else say(t("no click to delete"));
}

// ---------------------------------------------------------------------------------------------- objects

export function select(id) {
  app.selected = app.selected === id ? null : id;
  changed();
  document.querySelector("#objects li.selected")?.scrollIntoView({ block: "nearest" });
}

function selectBy(by) {
  const ids = (app.state?.objects ?? []).map(({ id }) => id);
  if (ids.length) select(ids[(ids.indexOf(app.selected) + by + ids.length + (app.selected === null && by < 0 ? 1 : 0)) % ids.length]);
}

function isHit(name, [y, x]) {
  const context = view.overlay;
  context.setTransform(1, 0, 0, 1, 0, 0);
  const outline = app.outlines.get(name);
  return outline && context.isPointInPath(outline.shape, x, y, "evenodd");
}

/** The smallest finished object at a point. */
function objectAt(point) {
  const area = ({ mask }) => app.outlines.get(mask).area;
  return (app.state?.objects ?? []).filter(({ mask }) => isHit(mask, point)).sort((a, b) => area(a) - area(b))[0];
}

/** A click of the selecting kind: the object there, or the proposal there. */
export function selectAt(point) {
  const hit = objectAt(point);
  const proposal = app.state?.proposals.find((each) => isHit(`proposal ${each}`, point));
  if (hit) select(hit.id);
  else if (proposal !== undefined) takeProposal(proposal);
  else { app.selected = null; changed(); }
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

// ---------------------------------------------------------------------------------------------- pictures

function nextOpen() {
  const isOpen = ({ status }) => status !== "done";
  const next = list.neighbour(app.current, 1, isOpen) ??
    list.shown.find((picture) => isOpen(picture) && picture.id !== app.current)?.id;
  if (next) open(next);
  else say(t("none left"));
}

export function toggleDone() {
  if (!app.state) return;
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
  if (tool !== "region") hand.dropRegion();
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

export function peek(isPeeking) {
  if (app.isPeeking === isPeeking) return;
  app.isPeeking = isPeeking;
  changed("picture");
}

function escape() {
  if (hand.region.length) hand.dropRegion();
  else {
    app.selected = null;
    document.activeElement?.blur();
    document.body.classList.remove("show-list", "show-panel");
    changed();
  }
}

/** What keys and buttons call, by name; see keys.js. */
export const ACTIONS = {
  finish() { isWorking() ? change("finish") : say(t("nothing to finish")); },
  clear() { isWorking() ? change("clear") : say(t("nothing to clear")); },
  remove,
  removeLastClick,
  undo,
  redo: () => change("redo"),
  toolClick: () => setTool("click"),
  toolBrush: () => setTool("brush"),
  toolEraser: () => setTool("eraser"),
  toolRegion: () => setTool("region"),
  toolSelect: () => setTool("select"),
  toolPan: () => setTool("pan"),
  smallerBrush: () => setBrush(app.brushSize - 5),
  largerBrush: () => setBrush(app.brushSize + 5),
  enter() { hand.region.length ? hand.closeRegion(true) : toggleDone(); },
  addRegion: () => hand.closeRegion(true),
  cutRegion: () => hand.closeRegion(false),
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
