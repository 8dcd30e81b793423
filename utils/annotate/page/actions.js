// What the person can do: each key, button and gesture ends in one of these functions.

import { call } from "./api.js";
import { $ } from "./dom.js";
import { clickThere, remove, removeLast, setSign } from "./drawing.js";
import { expected, isWorking, protects } from "./expectation.js";
import { showHelp } from "./keys.js";
import { t } from "./language.js";
import { change, fetchMap, open } from "./loading.js";
import { say } from "./messages.js";
import { acceptAll, edit, guessesLeft, hideAll, rejectAll, relabel, selectBy } from "./objects.js";
import { hand, list, view } from "./stage.js";
import { VIEWS, app, can, changed, isOpen, listed, outbox, remember, setTool } from "./state.js";

const AIM = 8; // CSS pixels that a key moves the cross

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
  const first = () => list.shown.find((picture) => isOpen(picture) && picture.id !== app.current)?.id;
  const next = app.order === "folder" ? list.neighbour(app.current, 1, isOpen) ?? first() : first();
  if (next) open(next);
  else say(t("none left"));
}

export function toggleDone() {
  if (!app.state) {
    if (app.opening?.problem) nextOpen(); // there is nothing to do on a picture that can't be read
    return;
  }
  const isDone = app.state.status === "done";
  const left = guessesLeft().length;
  const mark = change("mark", { done: !isDone });
  if (isDone) return;
  const entry = listed(app.current);
  if (entry) entry.status = "done"; // so that "next open" doesn't come back here before the answer
  offerToTakeBack(mark, entry?.name, left);
  nextOpen();
}

// ---------------------------------------------------------------------------------------------- taking back

let lastDone = null; // {mark, takeBack} of the last picture that was marked as done

/** One stray Enter finishes, marks and moves on: all of it can be taken back at once. */
function offerToTakeBack(mark, name, proposals) {
  const { pictureId } = mark;
  const takeBack = () => {
    dismiss();
    lastDone = null;
    if (outbox.last.get(pictureId) === mark) outbox.push(pictureId, { op: "undo" }, null);
    open(pictureId);
  };
  const sentence = [t("picture done", { name }), ...(proposals ? [t("proposals left", { n: proposals })] : [])].join(" ");
  const dismiss = say(sentence, { choices: [{ text: t("undo"), run: takeBack }], outlives: true });
  lastDone = { mark, takeBack };
}

/** Ctrl+Z means the last thing that was done: on a picture where nothing was done yet, that was to move on to it. */
function undo() {
  const isLast = lastDone && outbox.last.get(null) === lastDone.mark;
  if (isLast && app.current !== lastDone.mark.pictureId) lastDone.takeBack();
  else change("undo");
}

// ---------------------------------------------------------------------------------------------- tools and views

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

/** Sorts the picture list. */
export function setOrder(order) {
  setPreference("order", order);
  list.order = order;
  list.show(app.pictures, app.current);
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

/** For hands without a keyboard: finishes the object in work, else accepts what the concept model proposes. */
function finishOrAccept() {
  if (isWorking() || !guessesLeft().length) finish();
  else acceptAll();
}

function closeRegion(adds) {
  if (hand.region.length > 2) hand.closeRegion(adds);
  else say(t("three corners"));
}

/** What keys and buttons call, by name; see keys.js. */
export const ACTIONS = {
  finish,
  finishOrAccept,
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
  rejectAll,
  help: showHelp,
};
