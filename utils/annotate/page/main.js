// The page: what is open, what the person does, and how the server's answers are shown.

import { Outbox, Refusal, call, isPassing } from "./api.js";
import { $, dot, make, plural, say } from "./dom.js";
import { cut, heat, readGrey } from "./heat.js";
import { listen, showHelp } from "./keys.js";
import { PictureList, showClicks, showLabels, showObjects, showProposals } from "./lists.js";
import { Outline } from "./outline.js";
import { Hand } from "./pointer.js";
import { CURSOR, SCENE, View } from "./view.js";

const VIEWS = ["mask", "contour", "probability", "picture"];
const POLL_MILLISECONDS = 1500;
const BUSY_POLL_MILLISECONDS = 300;
const BUSY_MILLISECONDS = 600; // what takes longer gets a progress bar
const NO_COLOUR = "#ffffff";
const MODEL_SETTINGS = ["threshold", "zoom-in-on", "expand-ratio", "working-size", "reset-settings"];
const STEP_NAMES = {
  click: "click", "delete click": "deletion of a click", clear: "clearing", brush: "brush stroke", region: "region",
  "take proposal": "proposal", "accept proposals": "accepted proposals", settings: "model settings",
  protect: "protection", relabel: "label", finish: "finishing", edit: "editing again", delete: "deletion",
  mark: "mark of done",
};
const HINTS = {
  click: "Left click: on the object · right click: off it · Space: finish the object · Enter: picture done",
  brush: "Drag to paint pixels · [ and ] change the size · V: back to clicks",
  eraser: "Drag to erase pixels · [ and ] change the size · V: back to clicks",
  region: "Click corners, or drag around the object · Enter adds the region, Alt+Enter cuts it out",
  select: "Click on a finished object to select it · O: edit it again · Delete: delete it",
  pan: "Drag to move the picture · wheel: zoom · V: back to clicks",
};
const TOUCH_HINTS = {
  click: "Tap: on the object · long press: off it · two fingers: zoom and move",
  brush: "Drag to paint pixels · two fingers: zoom and move",
  eraser: "Drag to erase pixels · two fingers: zoom and move",
  region: "Tap corners, then Add region or Cut out · or drag around the object",
  select: "Tap a finished object to select it",
  pan: "Drag to move the picture · two fingers: zoom",
};

const app = {
  pictures: [], labels: [], current: null, state: null, label: null, tool: "click", settings: {}, model: null,
  view: "mask", opacity: 45, clickSize: 7, brushSize: 40, isPeeking: false,
  outlines: new Map(), // of the open picture's masks, by file name; proposals as "proposal 3"
  hovered: {}, // {click, object, proposal} under the pointer
  selected: null, // id of a finished object
  map: null, // the probability map, with the revision that it belongs to
  previewThreshold: null, // while the slider is moved
};

// ---------------------------------------------------------------------------------------------- preferences

const REMEMBERED = ["view", "opacity", "clickSize", "brushSize"];

function remember() {
  try {
    localStorage.setItem("annotate", JSON.stringify(Object.fromEntries(REMEMBERED.map((name) => [name, app[name]]))));
  } catch { /* private windows may refuse; nothing important is lost */ }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem("annotate") ?? "{}");
    for (const name of REMEMBERED) if (typeof kept[name] === typeof app[name]) app[name] = kept[name];
  } catch { /* as above */ }
  if (!VIEWS.includes(app.view)) app.view = "mask";
}

// ---------------------------------------------------------------------------------------------- changes

const outbox = new Outbox({
  moved: () => { showSaved(); show(); },
  answered(pictureId, state, entry) {
    updateListed(state.listed);
    $("answered").textContent = `answered in ${Math.round(performance.now() - entry.since)} ms`;
    if (pictureId === app.current) receive(state);
  },
  refused(entry, refusal) {
    say(refusal.message, true);
    show();
    loadProject().catch(() => {}); // the list may have shown what wasn't to be
  },
  async conflict(pictureId, lost, refusal) {
    say(`${refusal.message} ${
      lost === 1 ? "The change" : `${lost} changes`} made here since then could not be applied.`, true);
    if (pictureId === app.current) await reload();
  },
});

function change(op, fields = {}) {
  if (app.state) outbox.push(app.current, { op, ...fields });
}

/** What a new object gets, for changes that may begin one. */
function newborn() {
  return { label: app.label, settings: app.settings };
}

function click([y, x], positive) {
  const point = { y: Math.floor(y), x: Math.floor(x) };
  if (!app.state || !view.contains([y, x])) return;
  change("click", { ...point, positive, ...newborn() });
}

/** The line [y, x] as the server counts: pixel centres at whole numbers. The finest brush goes from pixel to pixel. */
function centred(points, isFine = false) {
  const reach = 1.9 * Math.max(app.state.width, app.state.height);
  const moved = (value) => (isFine ? Math.floor(value) : value - 0.5);
  return points.map((point) => point.map((value) => Math.max(-reach, Math.min(reach, moved(value)))));
}

/**
 * The object in work as it will be when the outbox is empty: {id, label, settings, clicks}, or null.
 * What a fast hand does next is meant for this one, not for the one that the server answered last.
 */
function expected() {
  const active = app.state?.active;
  const clicks = (active?.clicks ?? []).map(([y, x, positive]) => ({ y, x, positive }));
  let work = active ? { ...active, clicks } : null;
  for (const each of outbox.of(app.current)) if (each.op in EXPECTATIONS) work = EXPECTATIONS[each.op](work, each);
  return work;
}

const begun = (work, { label, settings }) => work ?? { label, settings, clicks: [] };
const EXPECTATIONS = {
  click: (work, each) => {
    const object = begun(work, each);
    return { ...object, clicks: [...object.clicks, { ...each, isPending: true }] };
  },
  "delete click": (work, { index }) => work && { ...work, clicks: work.clicks.filter((_, i) => i !== index) },
  clear: (work) => work && { ...work, clicks: [] },
  brush: begun,
  region: begun,
  "take proposal": (_, each) => begun(null, each),
  edit: (_, { object }) => ({ ...app.state.objects.find(({ id }) => id === object), clicks: [] }),
  relabel: (work, { object, label }) => (work && (object === undefined || object === work.id) ? { ...work, label } : work),
  settings: (work, { settings }) => work && { ...work, settings },
  delete: (work, { object }) => (work?.id === object ? null : work),
  finish: () => null,
  "accept proposals": () => null,
  mark: (work, { done }) => (done ? null : work),
};

/** The last change of a kind that is still on its way: what it will set is shown already. */
function pending(op, isMeant = () => true) {
  return outbox.of(app.current).findLast((each) => each.op === op && isMeant(each));
}

// After an undo or a redo nobody knows yet; then the server is asked and its refusal, if it comes to that, is shown.
function isWorking() {
  return Boolean(expected() ?? pending("undo") ?? pending("redo"));
}

// ---------------------------------------------------------------------------------------------- pictures

function open(pictureId) {
  if (!pictureId || pictureId === app.current) return;
  document.body.classList.remove("show-list");
  hand.dropRegion();
  Object.assign(app, { current: pictureId, state: null, outlines: new Map(), hovered: {}, selected: null, map: null });
  history.replaceState(null, "", `#${pictureId}`);
  list.mark(pictureId);
  view.setPicture(null, 0, 0);
  return fetchPicture(pictureId);
}

async function fetchPicture(pictureId) {
  app.opening = { since: performance.now(), problem: null };
  show();
  setTimeout(showBusy, BUSY_MILLISECONDS + 50);
  try {
    const [state, image] = await Promise.all([call(`/api/pictures/${pictureId}`), loadImage(pictureId)]);
    if (app.current !== pictureId) return;
    view.setPicture(image, state.height, state.width);
    outbox.revisions.set(pictureId, state.revision);
    receive(state);
    if (state.notice) say(state.notice, true);
    prefetchNext();
  } catch (refusal) {
    if (app.current !== pictureId) return;
    app.opening.problem = refusal;
    say(refusal.message, true);
    show();
  }
}

/** What failed because the server was away is asked for again. */
async function catchUp() {
  if (!app.project) await start();
  else if (!app.state && app.opening?.problem && isPassing(app.opening.problem)) await fetchPicture(app.current);
}

async function loadImage(pictureId) {
  const image = new Image();
  image.src = `/api/pictures/${pictureId}/image`;
  try {
    await image.decode();
  } catch {
    throw await whyNot(image.src);
  }
  return image;
}

/** What the server says about a picture that the browser couldn't show. */
async function whyNot(address) {
  let response;
  try {
    response = await fetch(address);
    if (!response.ok) return new Refusal((await response.json()).error, response.status);
  } catch {
    return new Refusal("The server can't be reached.", 0);
  }
  return new Refusal("The browser can't show this picture.", response.status);
}

async function reload() {
  const pictureId = app.current;
  try {
    const state = await call(`/api/pictures/${pictureId}`);
    outbox.revisions.set(pictureId, state.revision);
    if (app.current === pictureId) receive(state);
    await loadProject();
  } catch (refusal) {
    say(refusal.message, true);
  }
}

let prefetch = null;
function prefetchNext() {
  clearTimeout(prefetch);
  prefetch = setTimeout(() => {
    const next = neighbour(1);
    if (next) new Image().src = `/api/pictures/${next}/image`;
  }, 800);
}

function neighbour(by, isWanted = () => true) {
  const { shown } = list;
  const here = shown.findIndex(({ id }) => id === app.current);
  for (let i = here + by; i >= 0 && i < shown.length; i += by) if (isWanted(shown[i])) return shown[i].id;
  return null;
}

function nextOpen() {
  const isOpen = ({ status }) => status !== "done";
  const next = neighbour(1, isOpen) ?? list.shown.find((picture) => isOpen(picture) && picture.id !== app.current)?.id;
  if (next) open(next);
  else say("No other picture is left to do.");
}

function toggleDone() {
  if (!app.state) return;
  const isDone = app.state.status === "done";
  change("mark", { done: !isDone });
  if (isDone) return;
  const entry = app.pictures.find(({ id }) => id === app.current);
  if (entry) entry.status = "done"; // so that "next open" doesn't come back here before the answer
  nextOpen();
}

function updateListed(listed) {
  const entry = app.pictures.find(({ id }) => id === listed.id);
  if (entry) Object.assign(entry, listed);
  list.update(listed);
  showProgress();
}

// ---------------------------------------------------------------------------------------------- the server's state

function receive(state) {
  app.state = state;
  app.previewThreshold = null;
  if (state.active?.outline) keepOutline(state.active.mask, state.active.outline);
  else if (state.active?.mask) fetchOutline(state.active.mask, `masks/${state.active.mask}`); // and hear what is wrong
  if (!state.objects.some(({ id }) => id === app.selected)) app.selected = null;
  for (const { mask } of state.objects) fetchOutline(mask, `masks/${mask}`);
  for (const number of state.proposals) fetchOutline(`proposal ${number}`, `proposals/${number}`);
  if (app.view === "probability") fetchMap();
  show();
}

function keepOutline(name, described) {
  if (!app.outlines.get(name)) app.outlines.set(name, new Outline(described));
}

async function fetchOutline(name, address) {
  if (app.outlines.has(name)) return;
  const { current, outlines } = app;
  outlines.set(name, null);
  try {
    keepOutline(name, await call(`/api/pictures/${current}/${address}`));
    if (outlines === app.outlines) show();
  } catch (refusal) {
    outlines.delete(name);
    if (current === app.current) say(refusal.message, true);
  }
}

/** The probability map of the object in work, once a revision. */
async function fetchMap() {
  const { current, state } = app;
  if (!state?.active?.hasProbability || app.map?.revision === state.revision) return;
  try {
    const response = await fetch(`/api/pictures/${current}/probability`);
    if (!response.ok || app.state !== state) return;
    const grey = await readGrey(response);
    app.map = { revision: state.revision, grey, bitmap: heat(grey) };
    show();
  } catch { /* the status line tells when the server can't be reached */ }
}

async function loadProject() {
  const project = await call("/api/project");
  outbox.project ??= project.key;
  Object.assign(app, { pictures: project.pictures, labels: project.labels, project });
  app.label ??= app.labels[0].name;
  document.title = `${project.name} – Annotate`;
  list.show(app.pictures, $("search").value, app.current);
  showProgress();
  show();
}

async function poll() {
  const { current } = app;
  const { activity } = outbox;
  let isLoading = true;
  try {
    const status = await call(`/api/status?picture=${current ?? ""}`);
    isLoading = status.model.state === "loading";
    app.work = status.work;
    showModel(status.model);
    showJob(status.job);
    const isOther = outbox.project !== undefined && outbox.project !== status.project;
    if (isOther && !outbox.entries.length) location.reload(); // its changes have been refused by then
    await catchUp();
    const isQuiet = activity === outbox.activity && !outbox.entries.length && current === app.current;
    if (isQuiet && status.revision !== null && status.revision > outbox.revisions.get(current)) {
      say("This picture was changed in another tab; it has been loaded again.");
      await reload();
    }
    if (outbox.trouble === null && app.isAway) say("The server is back.");
    app.isAway = false;
  } catch (refusal) {
    if (isPassing(refusal)) app.isAway = true;
    if (refusal.status !== 0) say(refusal.message, true);
  }
  showSaved();
  showBusy();
  const isBusy = (isLoading || outbox.entries.length) && !app.isAway;
  setTimeout(poll, isBusy ? BUSY_POLL_MILLISECONDS : POLL_MILLISECONDS);
}

// ---------------------------------------------------------------------------------------------- showing

function colourOf(label) {
  return app.labels.find(({ name }) => name === label)?.colour ?? NO_COLOUR;
}

function show() {
  showBusy();
  showPicture();
  showTop();
  showWork();
  showObjectList();
  showSettings();
}

function showPicture() {
  const { state } = app;
  const mode = app.isPeeking ? "picture" : app.view;
  view.scene = state && mode !== "picture" ? { ...scene(state, mode), clickSize: app.clickSize } : null;
  showCursor();
  view.refresh(SCENE);
}

/** What is drawn over the picture, see View.paintScene. */
function scene({ objects, active, proposals }, mode) {
  const fill = mode === "mask" ? app.opacity / 100 : 0;
  const shapes = [];
  const add = (name, style) => { const outline = app.outlines.get(name); if (outline) shapes.push({ outline, ...style }); };
  for (const number of proposals) {
    const isHovered = app.hovered.proposal === number;
    add(`proposal ${number}`, { colour: "#ffffff", fill: isHovered ? 0.35 : 0, line: 1.6, dashed: true });
  }
  for (const { id, mask, label } of objects) {
    const isMarked = id === app.selected || id === app.hovered.object;
    add(mask, { colour: colourOf(label), fill: fill * (isMarked ? 1 : 0.6), line: isMarked ? 3 : 1.2 });
  }
  const layer = activeLayer(active, mode);
  if (active?.mask) {
    add(active.mask, { colour: colourOf(active.label), edge: "#ffffff", fill: layer ? 0 : fill, line: 2.2 });
  }
  const clicks = (expected()?.clicks ?? []).map((each, i) => ({ ...each, isHovered: i === app.hovered.click }));
  return { shapes, layer, clicks };
}

/** The probability map in place of the object's filling: in colours, or cut while the threshold is moved. */
function activeLayer(active, mode) {
  if (!active?.hasProbability || !app.map) return null;
  if (app.previewThreshold !== null) {
    const bitmap = cut(app.map.grey, app.previewThreshold, colourOf(active.label));
    return { bitmap, alpha: Math.max(0.3, app.opacity / 100) };
  }
  return mode === "probability" ? { bitmap: app.map.bitmap, alpha: Math.max(0.3, app.opacity / 100 + 0.25) } : null;
}

/** What moves with the hand, see View.paintOverlay. */
function showCursor() {
  const isBrush = app.tool === "brush" || app.tool === "eraser";
  const colour = app.tool === "eraser" ? "#000000" : colourOf(expected()?.label ?? app.label);
  const radius = brushRadius();
  const waiting = outbox.of(app.current).filter(({ op }) => op === "brush").map(({ points, adds, radius: r }) =>
    ({ points: points.map(([y, x]) => [y + 0.5, x + 0.5]), radius: r, colour: adds ? colour : "#000000" }));
  const gesture = hand.gesture;
  const current = gesture?.kind === "stroke" ? [{ points: gesture.points, radius, colour }] : [];
  const drawn = gesture?.kind === "region" ? gesture.points : [];
  view.cursor = {
    strokes: [...waiting, ...current],
    region: [...hand.region, ...drawn],
    pointer: hand.pointer,
    circle: isBrush && hand.pointer, radius,
  };
  $("overlay").style.cursor = { brush: "none", eraser: "none", pan: "grab", select: "pointer" }[app.tool] ?? "crosshair";
  $("region-bar").hidden = hand.region.length < 3;
  view.refresh(CURSOR);
}

function showTop() {
  const { state } = app;
  const listed = app.pictures.find(({ id }) => id === app.current);
  const name = listed?.name ?? "Annotate";
  const facts = state ? `${state.width} × ${state.height} · ${state.status} · ${plural(state.objects.length, "object")} · ${
    plural(state.spent, "click")} spent` : app.opening?.problem ? "couldn't be opened" : app.current ? "opening…" : "";
  setText("picture-name", name);
  $("picture-name").title = name;
  setText("picture-facts", facts);
  const isBusy = outbox.of(app.current).length > 0;
  for (const [id, step] of [["undo", state?.undo], ["redo", state?.redo]]) {
    $(id).disabled = !state || (!step && !isBusy);
    const keys = id === "undo" ? "Ctrl+Z" : "Ctrl+Shift+Z";
    $(id).title = step ? `${id === "undo" ? "Undo" : "Redo"}: ${STEP_NAMES[step]} (${keys})` : `Nothing to ${id} (${keys})`;
  }
  $("done").disabled = !state;
  $("done").firstChild.textContent = state?.status === "done" ? "Reopen " : "Done ";
  $("done").classList.toggle("primary", state?.status !== "done");
  for (const button of $("views").children) button.setAttribute("aria-checked", String(button.dataset.view === app.view));
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === app.tool));
  }
  setText("hint", (matchMedia("(pointer: coarse)").matches ? TOUCH_HINTS : HINTS)[app.tool]);
}

function showWork() {
  const work = expected();
  const title = work?.id ? `Object ${work.id}` : "New object";
  const label = work?.label ?? app.label;
  $("work-title").replaceChildren(dot(colourOf(label)), `${title} · ${label ?? ""}`);
  const clicks = work?.clicks ?? [];
  const area = work?.outline?.area;
  setText("work-facts", clicks.length || area ? `${plural(clicks.length, "click")} · ${
    area ? `${area.toLocaleString("en")} px` : "no pixels yet"}` : "Click on an object to begin.");
  showClicks(clicks, { remove: removeClick, hover: (i) => { app.hovered = { ...app.hovered, click: i }; showPicture(); } });
  $("finish").disabled = $("finish-here").disabled = !isWorking();
  $("clear").disabled = !isWorking();
  showLabels(app.labels, label, chooseLabel);
  showProposals(app.state?.proposals ?? [], { take: takeProposal, hover: hoverProposal });
}

function showObjectList() {
  const { state } = app;
  const rows = (state?.objects ?? []).map((each) => {
    const label = pending("relabel", ({ object }) => object === each.id)?.label ?? each.label;
    return { ...each, label, colour: colourOf(label), area: app.outlines.get(each.mask)?.area };
  });
  const hover = (id) => { app.hovered = { ...app.hovered, object: id }; showPicture(); };
  showObjects(rows, labelsWith(rows), app.selected, { hover, select, edit, remove: removeObject,
    relabel: (id, label) => change("relabel", { object: id, label }) });
  $("protects").checked = protects();
}

function protects() {
  return pending("protect")?.on ?? app.state?.protects ?? true;
}

/** The project's labels, and others that objects may have. */
function labelsWith(rows) {
  const known = new Set(app.labels.map(({ name }) => name));
  const others = [...new Set(rows.map(({ label }) => label))].filter((name) => !known.has(name));
  return [...app.labels, ...others.map((name) => ({ name, colour: NO_COLOUR }))];
}

function showSettings() {
  setSlider("opacity", app.opacity, `${app.opacity} %`);
  setSlider("click-size", app.clickSize, `${app.clickSize} px`);
  setSlider("brush-size", app.brushSize, `${+(2 * brushRadius()).toFixed(0)} px`);
  showModelSettings(app.model?.defaults && { ...app.model.defaults, ...(expected()?.settings ?? app.settings) });
}

/** The settings that hold for the object in work; none as long as the model hasn't told its own. */
function showModelSettings(settings) {
  for (const id of MODEL_SETTINGS) $(id).disabled = !settings;
  if (!settings) {
    for (const id of ["threshold", "expand-ratio", "working-size"]) $(id).nextElementSibling.textContent = "–";
    return;
  }
  const threshold = app.previewThreshold ?? settings.threshold;
  setSlider("threshold", threshold, threshold.toFixed(2));
  setSlider("expand-ratio", settings.expand_ratio, `× ${settings.expand_ratio.toFixed(1)}`);
  setSlider("working-size", settings.working_size, `${settings.working_size} px`);
  $("zoom-in-on").checked = settings.zoom_in;
  $("expand-ratio").disabled = !settings.zoom_in;
}

/** Brush sizes grow by the same factor from one mark of the slider to the next: 1 to 400 pixels across. */
function brushRadius() {
  return 0.5 * 400 ** (app.brushSize / 100);
}

function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function setSlider(id, value, text) {
  if (document.activeElement !== $(id) || !$(id).matches(":active")) $(id).value = value;
  $(id).nextElementSibling.textContent = text;
}

function showSaved() {
  const waiting = outbox.entries.length;
  const isTrouble = outbox.trouble !== null || app.isAway;
  $("saved").dataset.state = isTrouble ? "trouble" : waiting ? "waiting" : "saved";
  setText("saved", isTrouble ? `No connection; trying again${waiting ? `, ${plural(waiting, "step")} kept` : ""}` :
    waiting ? `Saving, ${plural(waiting, "step")} waiting` : "✓ All steps saved");
}

function showProgress() {
  const done = app.pictures.filter(({ status }) => status === "done").length;
  const objects = app.pictures.reduce((sum, picture) => sum + picture.objects, 0);
  const clicks = app.pictures.reduce((sum, picture) => sum + picture.clicks, 0);
  setText("progress-text", `${done} of ${app.pictures.length} done\n${plural(objects, "object")} · ${plural(clicks, "click")}`);
}

function showModel(model) {
  const wasReady = app.model?.state === "ready";
  if (model.state === "failed" && app.model?.state !== "failed") say(`${model.text} Brush and region still work.`, true);
  app.model = model;
  const names = { ready: `${model.name} · ${model.digest?.slice(0, 12)}`, failed: "No model", loading: "Loading…" };
  setText("model-name", names[model.state]);
  if (model.state === "ready" && !wasReady) showSettings();
}

/** What a person waits for just now: {text, fraction}, without a fraction if nobody knows; or null. */
function busyWith() {
  const { model, work, opening, state } = app;
  if (model?.state === "loading") {
    return { text: `Loading the model: ${model.text}. Clicks are kept until it is ready.`, fraction: model.fraction };
  }
  if (work) return { text: `${work.text}: ${work.done} of ${work.total}`, fraction: work.done / work.total };
  const isSlow = opening && !state && !opening.problem && performance.now() - opening.since > BUSY_MILLISECONDS;
  return isSlow ? { text: "Opening the picture…" } : null;
}

function showBusy() {
  const busy = busyWith();
  $("loading").hidden = !busy;
  if (!busy) return;
  setText("loading-text", busy.text);
  if (busy.fraction === undefined) $("loading-bar").removeAttribute("value");
  else $("loading-bar").value = busy.fraction;
}

// ---------------------------------------------------------------------------------------------- actions

function setTool(tool) {
  app.tool = tool;
  if (tool !== "region") hand.dropRegion();
  show();
}

function setView(mode) {
  app.view = mode;
  remember();
  if (mode === "probability") {
    if (app.state && !app.state.active?.hasProbability) say("The probability map appears with the first click on an object.");
    fetchMap();
  }
  show();
}

function chooseLabel(name) {
  if (app.selected !== null) change("relabel", { object: app.selected, label: name });
  else {
    app.label = name;
    if (expected()) change("relabel", { label: name });
  }
  show();
}

function select(id) {
  app.selected = app.selected === id ? null : id;
  show();
  document.querySelector("#objects li.selected")?.scrollIntoView({ block: "nearest" });
}

function edit(id) {
  if (id === null) { say("Select a finished object first: Ctrl+click on it, or J and K."); return; }
  app.selected = null;
  setTool("click");
  change("edit", { object: id });
}

function removeObject(id) {
  change("delete", { object: id });
  say(`Object ${id} was deleted; Ctrl+Z brings it back.`);
}

function removeClick(index) {
  app.hovered = { ...app.hovered, click: null };
  change("delete click", { index });
}

/** Delete: a region's last corner, the click under the pointer, or the selected object. */
function remove() {
  if (hand.region.length) hand.dropCorner();
  else if (app.hovered.click !== null && app.hovered.click !== undefined) removeClick(app.hovered.click);
  else if (app.selected !== null) removeObject(app.selected);
  else say("Point at a click, or select an object, to delete it.");
}

function selectBy(by) {
  const ids = (app.state?.objects ?? []).map(({ id }) => id);
  if (ids.length) select(ids[(ids.indexOf(app.selected) + by + ids.length + (app.selected === null && by < 0 ? 1 : 0)) % ids.length]);
}

function takeProposal(number) {
  app.hovered = {};
  change("take proposal", { proposal: number, ...newborn() });
}

function hoverProposal(number) {
  app.hovered = { ...app.hovered, proposal: number };
  showPicture();
}

function acceptAll() {
  if (app.state?.proposals.length) change("accept proposals", { proposals: app.state.proposals, label: app.label });
}

/** A click of the selecting kind: the smallest object there, or the proposal there. */
function selectAt([y, x]) {
  const context = view.overlay;
  context.setTransform(1, 0, 0, 1, 0, 0);
  const isHit = (name) => { const outline = app.outlines.get(name); return outline && context.isPointInPath(outline.shape, x, y, "evenodd"); };
  const area = ({ mask }) => app.outlines.get(mask).area;
  const [hit] = (app.state?.objects ?? []).filter(({ mask }) => isHit(mask)).sort((a, b) => area(a) - area(b));
  const proposal = app.state?.proposals.find((number) => isHit(`proposal ${number}`));
  if (hit) select(hit.id);
  else if (proposal !== undefined) takeProposal(proposal);
  else { app.selected = null; show(); }
}

/** The click under the pointer, for Delete and to see what would be deleted. */
function hover(point) {
  const before = app.hovered.click;
  let now = null;
  if (point && app.state) {
    const [x, y] = view.toStage(point);
    const reach = Math.max(9, app.clickSize + 3);
    const near = ({ y: cy, x: cx }) => { const [px, py] = view.toStage([cy + 0.5, cx + 0.5]); return Math.hypot(px - x, py - y) < reach; };
    now = (expected()?.clicks ?? []).findLastIndex((each) => !each.isPending && near(each));
    if (now < 0) now = null;
  }
  if (now !== before) {
    app.hovered = { ...app.hovered, click: now };
    showPicture();
  }
  showCursor();
}

function applySettings(changes) {
  const work = expected();
  app.settings = { ...(work?.settings ?? app.settings), ...changes };
  if (work) change("settings", { settings: app.settings });
  show();
}

function setBrush(size) {
  app.brushSize = Math.max(0, Math.min(100, size));
  remember();
  show();
}

const ACTIONS = {
  finish() { isWorking() ? change("finish") : say("There is no object in work; click on one first."); },
  clear() { isWorking() ? change("clear") : say("There is no object in work to clear."); },
  remove,
  removeLastClick() { const count = expected()?.clicks.length; count ? removeClick(count - 1) : say("There is no click to delete."); },
  undo: () => change("undo"),
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
  cutRegion: () => hand.closeRegion(false),
  escape() {
    if (hand.region.length) hand.dropRegion();
    else { app.selected = null; document.activeElement?.blur(); document.body.classList.remove("show-list", "show-panel"); show(); }
  },
  previous: () => open(neighbour(-1)),
  next: () => open(neighbour(1)),
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
    change("protect", { on: !protects() });
    say(protects() ? "Finished objects are protected." : "New objects may cover finished ones.");
  },
  selectNext: () => selectBy(1),
  selectPrevious: () => selectBy(-1),
  edit: () => edit(app.selected),
  acceptAll,
  help: showHelp,
};

// ---------------------------------------------------------------------------------------------- export

function showExport() {
  $("export-formats").replaceChildren(...app.project.formats.map((format) => {
    const names = { coco: "COCO JSON", png: "PNG masks", labelme: "labelme JSON", yolo: "YOLO" };
    const button = make("button", { className: "grow", textContent: names[format] ?? format });
    button.onclick = () => startExport(format);
    return button;
  }));
  $("export").showModal();
}

async function startExport(format) {
  try {
    showJob((await call("/api/export", { format })).job);
  } catch (refusal) {
    setText("export-state", refusal.message);
  }
}

function showJob(job) {
  $("export-bar").hidden = job?.state !== "running";
  if (!job) return;
  if (job.state === "running") {
    if (job.total) Object.assign($("export-bar"), { max: job.total, value: job.done });
    else $("export-bar").removeAttribute("value");
    setText("export-state", `Writing ${job.format}: ${job.done} of ${job.total || "…"} pictures`);
  } else setText("export-state", job.text);
}

// ---------------------------------------------------------------------------------------------- wiring

const view = new View($("stage"), $("base"), $("masks"), $("overlay"));
view.changed = () => setText("zoom-value", app.state ? `${Math.round(view.scale * 100)} %` : "");
const hand = new Hand($("overlay"), view, {
  tool: () => app.tool,
  click,
  hover,
  select: selectAt,
  stroke(points) {
    if (!app.state) return;
    const radius = brushRadius();
    change("brush", { points: centred(points, radius < 1), radius, adds: app.tool === "brush", ...newborn() });
  },
  region(points, adds) {
    if (app.state) change("region", { points: centred(points), adds, ...newborn() });
  },
});
const list = new PictureList(open);

function wireButtons() {
  const actions = {
    previous: "previous", next: "next", undo: "undo", redo: "redo", "help-button": "help", finish: "finish", "finish-here": "finish",
    clear: "clear", "zoom-in": "zoomIn", "zoom-out": "zoomOut", "zoom-fit": "fit", "accept-all": "acceptAll",
    "region-cut": "cutRegion",
  };
  for (const [id, action] of Object.entries(actions)) $(id).onclick = ACTIONS[action];
  $("done").onclick = toggleDone;
  $("region-add").onclick = () => hand.closeRegion(true);
  $("region-cancel").onclick = () => hand.dropRegion();
  $("open-export").onclick = showExport;
  $("toggle-list").onclick = () => document.body.classList.toggle("show-list");
  $("toggle-panel").onclick = () => document.body.classList.toggle("show-panel");
  for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => setTool(button.dataset.tool);
  for (const button of $("views").children) button.onclick = () => setView(button.dataset.view);
  $("search").oninput = () => list.show(app.pictures, $("search").value, app.current);
  $("search").onkeydown = (event) => {
    if (event.key === "Enter" && list.shown[0]) { open(list.shown[0].id); $("search").blur(); }
    if (event.key === "Escape" && $("search").value) { $("search").value = ""; $("search").oninput(); }
  };
}

function wireSettings() {
  const preference = (id, name) => { $(id).oninput = () => { app[name] = Number($(id).value); remember(); show(); }; };
  preference("opacity", "opacity");
  preference("click-size", "clickSize");
  preference("brush-size", "brushSize");
  $("threshold").onpointerdown = fetchMap;
  $("threshold").oninput = () => { app.previewThreshold = Number($("threshold").value); fetchMap(); show(); };
  $("threshold").onchange = () => applySettings({ threshold: Number($("threshold").value) });
  $("zoom-in-on").onchange = () => applySettings({ zoom_in: $("zoom-in-on").checked });
  $("expand-ratio").onchange = () => applySettings({ expand_ratio: Number($("expand-ratio").value) });
  $("working-size").onchange = () => applySettings({ working_size: Number($("working-size").value) });
  for (const id of ["expand-ratio", "working-size"]) {
    $(id).oninput = () => { $(id).nextElementSibling.textContent = $(id).value; };
  }
  $("reset-settings").onclick = () => {
    app.settings = {};
    if (expected()) change("settings", { settings: {} });
    show();
  };
  $("protects").onchange = () => change("protect", { on: $("protects").checked });
  $("new-label").onsubmit = addLabel;
}

async function addLabel(event) {
  event.preventDefault();
  const name = $("new-label-name").value.trim();
  try {
    app.labels = (await call("/api/labels", { name })).labels;
    $("new-label-name").value = "";
    $("new-label-name").blur();
    chooseLabel(name);
  } catch (refusal) {
    say(refusal.message, true);
  }
}

function begin() {
  recall();
  wireButtons();
  wireSettings();
  listen({
    run: (action) => ACTIONS[action](),
    label: (number) => { if (app.labels[number - 1]) chooseLabel(app.labels[number - 1].name); },
    peek: (isPeeking) => { if (app.isPeeking !== isPeeking) { app.isPeeking = isPeeking; showPicture(); } },
  });
  window.addEventListener("beforeunload", (event) => { if (outbox.entries.length) event.preventDefault(); });
  window.addEventListener("error", (event) => say(`The page made a mistake: ${event.message}`, true));
  window.addEventListener("unhandledrejection", (event) => say(`The page made a mistake: ${event.reason?.message}`, true));
  poll(); // which starts, again and again until there is a server
}

async function start() {
  await loadProject();
  const wanted = location.hash.slice(1);
  const first = app.pictures.find(({ id }) => id === wanted) ?? app.pictures.find(({ status }) => status !== "done") ??
    app.pictures[0];
  if (first) open(first.id);
}

begin();
