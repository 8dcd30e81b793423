// What is shown of it all: over the picture, in the bars above and below it, in the panel beside it.

import { chooseLabel } from "./actions.js";
import { showConcepts } from "./concept_panel.js";
import { $, dot, setText } from "./dom.js";
import { hoverPrompt, removePrompt } from "./drawing.js";
import { expected, isWorking, pending, protects } from "./expectation.js";
import { cut } from "./heat.js";
import { number, t, translation } from "./language.js";
import { showLabels, showPrompts, showProposals } from "./lists.js";
import { BUSY_MILLISECONDS } from "./loading.js";
import { showObjects } from "./object_list.js";
import {
  edit, guessesLeft, hoverObject, hoverProposal, relabel, removeObject, select, takeProposal, toggleHidden,
} from "./objects.js";
import { hand, view } from "./stage.js";
import { app, brushRadius, can, colourOf, colourOfObject, knownLabels, listed, outbox } from "./state.js";
import { CURSOR, SCENE } from "./view.js";

const CURSORS = { brush: "none", eraser: "none", pan: "grab", select: "pointer" };
const MODEL_SETTINGS = ["threshold", "zoom-in-on", "expand-ratio", "working-size", "reset-settings"];
const ALL = [showSaved, showBusy, showPicture, showTop, showWork, showObjectList, showReview, showSettings];
const PARTS = {
  all() { ALL.forEach((each) => each()); },
  picture: showPicture,
  cursor: showCursor,
  saved() { showSaved(); showBusy(); },
  progress: showProgress,
  model() { showModel(); showBusy(); showConcepts(); },
  assist: showConcepts,
};

/** Shows a part of the page anew; see `changed`. */
export function show(part) {
  PARTS[part]();
}

// ---------------------------------------------------------------------------------------------- over the picture

function showPicture() {
  const { state } = app;
  const mode = app.isPeeking ? "picture" : app.view;
  const isPlain = !state || mode === "picture";
  view.setShapes(isPlain ? [] : stillShapes(state, mode));
  view.scene = isPlain ? null : { ...scene(state, mode), clickSize: app.clickSize };
  showCursor();
  view.refresh(SCENE);
}

const filling = (mode) => (mode === "mask" ? app.opacity / 100 : 0);

/** What doesn't change while an object is in work, see View.setShapes. */
function stillShapes({ objects, proposals }, mode) {
  const fill = filling(mode) * 0.6;
  const shapes = [];
  proposals.forEach((proposal, i) => {
    const outline = app.outlines.get(`proposal ${proposal}`);
    const look = { colour: colourOfProposal(proposal), fill: 0, line: 1.8, dashed: true };
    if (outline) shapes.push({ outline, ...look, number: i + 1 });
  });
  for (const object of objects) {
    const outline = app.outlines.get(object.mask);
    if (!outline || app.hidden.has(object.id)) continue;
    shapes.push({ outline, colour: colourOfObject(object), fill, line: 1.2 });
  }
  return shapes;
}

const colourOfProposal = (proposal) => colourOf(app.state.guesses?.[proposal]?.label);

/** The object in work, and what is selected or pointed at; see View.paintScene. */
function scene({ objects, active }, mode) {
  const shapes = [];
  const add = (name, style) => {
    const outline = app.outlines.get(name);
    if (outline) shapes.push({ outline, ...style });
  };
  const { proposal } = app.hovered;
  add(`proposal ${proposal}`, { colour: colourOfProposal(proposal), fill: 0.35, line: 1.8 });
  for (const object of objects) {
    const isMarked = object.id === app.selected || object.id === app.hovered.object;
    if (isMarked) add(object.mask, { colour: colourOfObject(object), fill: filling(mode) * 0.6, line: 3 });
  }
  const layer = activeLayer(active, mode);
  if (active?.mask) {
    add(active.mask, { colour: colourOfObject(active), edge: "#ffffff", fill: layer ? 0 : filling(mode), line: 2.2 });
  }
  const label = expected()?.label ?? app.label;
  if (app.preview) shapes.push({ outline: app.preview, colour: colourOf(label), fill: 0.2, line: 0 });
  return { shapes, layer, ...promptsDrawn() };
}

/** Clicks as disks, boxes and strokes as lines. */
function promptsDrawn() {
  const prompts = (expected()?.prompts ?? []).map((each, i) => ({ ...each, isHovered: i === app.hovered.prompt }));
  const isClick = ({ kind }) => kind === "click";
  const clicks = prompts.filter(isClick).map(({ points: [[y, x]], ...each }) => ({ ...each, y, x }));
  const lines = prompts.filter((each) => !isClick(each)).map(({ kind, points, positive, ...each }) => ({
    ...each, points: kind === "box" ? corners(points) : points.map(([y, x]) => [y + 0.5, x + 0.5]),
    isClosed: kind !== "stroke", colour: positive ? "#35d07f" : "#ff6b76",
  }));
  return { clicks, lines };
}

function corners([[top, left], [bottom, right]]) {
  return [[top, left], [top, right], [bottom, right], [bottom, left]];
}

/** The probability map in place of the object's filling: in colours, or cut while the threshold is moved. */
function activeLayer(active, mode) {
  if (!active?.hasProbability || !app.map) return null;
  if (app.previewThreshold !== null) {
    const bitmap = cut(app.map.grey, app.previewThreshold, colourOfObject(active));
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
  const { gesture } = hand;
  const current = gesture?.kind === "stroke" ? [{ points: gesture.points, radius, colour }] : [];
  const drawn = gesture?.kind === "region" ? gesture.points : [];
  view.cursor = {
    strokes: [...waiting, ...current],
    lines: promptBeingDrawn(gesture),
    region: [...hand.region, ...drawn],
    pointer: app.tool === "region" && hand.pointer,
    circle: isBrush && hand.pointer, radius,
    aim: hand.isAiming && hand.pointer,
  };
  $("overlay").style.cursor = CURSORS[app.tool] ?? "crosshair";
  $("region-bar").hidden = app.tool !== "region" || hand.region.length < 3;
  view.refresh(CURSOR);
}

function promptBeingDrawn(gesture) {
  if (!["draw", "box", "lasso"].includes(gesture?.kind) || !hand.pointer) return [];
  const { kind, points, isPositive } = gesture;
  const colour = isPositive || kind === "box" ? "#35d07f" : "#ff6b76";
  return [{ points: kind === "box" ? corners([points[0], hand.pointer]) : points, isClosed: kind !== "draw", colour }];
}

// ---------------------------------------------------------------------------------------------- the bars

function showTop() {
  const { state } = app;
  const name = listed(app.current)?.name ?? t("annotate");
  setText("picture-name", name);
  $("picture-name").title = name;
  setText("picture-facts", state ? facts(state) : openingText());
  showUndo();
  const problem = !state && app.opening?.problem;
  $("done").disabled = !state && !problem;
  setText("done-text", t(problem ? "skip" : state?.status === "done" ? "reopen" : "done"));
  showBroken(problem);
  showEmpty();
  $("done").classList.toggle("primary", state?.status !== "done");
  for (const button of $("views").children) {
    button.setAttribute("aria-checked", String(button.dataset.view === app.view));
  }
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === app.tool));
  }
  for (const tool of ["box", "lasso"]) document.querySelector(`[data-tool=${tool}]`).hidden = !can(tool);
  const sign = app.isPositive ? "positive" : "negative";
  $("sign").dataset.sign = sign;
  setText("sign-mark", app.isPositive ? "+" : "−");
  setText("sign-text", t(`sign ${sign}`));
  const isProposed = app.tool === "click" && !expected() && guessesLeft().length > 0;
  const hint = matchMedia("(pointer: coarse)").matches ? "touch hint" : "hint";
  setText("hint", t(`${hint} ${isProposed ? "proposal" : app.tool}`));
}

function facts({ width, height, status, objects, spent }) {
  const counts = [t("objects", { n: objects.length }), t("clicks spent", { n: spent })];
  return [`${width} × ${height}`, t(`status ${status}`), ...counts].join(" · ");
}

function openingText() {
  if (app.opening?.problem) return t("not opened");
  return app.current ? t("opening") : "";
}

/** A picture that can't be read is passed over, or its last good session put back. */
function showBroken(problem) {
  $("broken").hidden = !problem || app.isAway;
  if (!problem) return;
  setText("broken-text", problem.message);
  $("restore").hidden = !problem.values.backup;
}

/** Where there are no pictures: how to begin. */
function showEmpty() {
  $("empty").hidden = !app.project || app.pictures.length > 0;
  setText("empty-reason", app.project?.left_out ?? t("no pictures"));
}

function showUndo() {
  const isBusy = outbox.of(app.current).length > 0;
  for (const id of ["undo", "redo"]) {
    const step = app.state?.[id];
    $(id).disabled = !app.state || (!step && !isBusy);
    const name = translation(`step ${step}`) ?? app.project?.operations?.[step]?.label ?? step;
    $(id).title = step ? t(`${id} step`, { step: name }) : t(`nothing to ${id}`);
  }
}

function showSaved() {
  const n = outbox.waiting;
  const isTrouble = outbox.trouble !== null || app.isAway;
  $("saved").dataset.state = isTrouble ? "trouble" : n ? "waiting" : "saved";
  setText("saved", isTrouble ? troubleText(n) : n ? t("saving", { n }) : t("saved"));
  if (app.answeredIn !== undefined) setText("answered", t("answered", { n: app.answeredIn }));
  showBanner(n, isTrouble);
}

function troubleText(n) {
  const isRefused = outbox.trouble?.status > 401; // there is a server, but it can't save
  return t(`${isRefused ? "not saved" : "no connection"}${n && outbox.isKept ? ", kept" : ""}`, { n });
}

/** What nobody must overlook: no server, no room on its disk, changes that wait for a decision. */
function showBanner(n, isTrouble) {
  const held = app.current ? outbox.held(app.current).length : 0;
  $("banner").hidden = !isTrouble && !held;
  $("held").hidden = isTrouble || !held;
  const reason = outbox.trouble?.message ?? t("no server");
  const advice = n ? t(outbox.isKept ? "steps are kept" : "keep the tab", { n }) : t("can go on");
  if (isTrouble) setText("banner-text", `${reason} ${advice}`);
  else if (held) setText("banner-text", t("held", { n: held }));
}

function showProgress() {
  const sum = (what) => app.pictures.reduce((total, picture) => total + (picture[what] ?? 0), 0);
  const count = (...statuses) => app.pictures.filter(({ status }) => statuses.includes(status)).length;
  const unreadable = count("unreadable");
  const lines = [t("progress", { done: count("done", "approved"), all: app.pictures.length - unreadable })];
  if (unreadable) lines.push(t("unreadable pictures", { n: unreadable }));
  lines.push(`${t("objects", { n: sum("objects") })} · ${t("clicks", { n: sum("clicks") })}`);
  setText("progress-text", lines.join("\n"));
  $("open-import").hidden = !app.project?.import_formats;
}

/** What a person waits for just now: {text, fraction}, without a fraction if nobody knows; or null. */
function busyWith() {
  const { model, work, opening, state } = app;
  const named = (text) => translation(`work ${text}`) ?? text;
  if (model?.state === "loading") {
    return { text: t("loading model", { text: named(model.text) }), fraction: model.fraction };
  }
  if (work) return { text: t("work", { ...work, text: named(work.text) }), fraction: work.done / work.total };
  const isSlow = opening && !state && !opening.problem && performance.now() - opening.since > BUSY_MILLISECONDS;
  return isSlow ? { text: t("opening picture") } : null;
}

function showBusy() {
  const busy = busyWith();
  $("loading").hidden = !busy;
  if (!busy) return;
  setText("loading-text", busy.text);
  if (busy.fraction === undefined) $("loading-bar").removeAttribute("value");
  else $("loading-bar").value = busy.fraction;
}

// ---------------------------------------------------------------------------------------------- the panel

function showWork() {
  const work = expected();
  const label = work?.label ?? app.label;
  const title = work?.id ? t("object title", { id: work.id }) : t("new object");
  const colour = work?.id ? colourOfObject({ ...work, label }) : colourOf(label);
  $("work-title").replaceChildren(dot(colour), `${title} · ${label ?? ""}`);
  const prompts = work?.prompts ?? [];
  const area = work?.outline?.area;
  setText("work-facts", prompts.length || area ? `${t("clicks", { n: prompts.length })} · ${
    area ? t("pixels", { n: area }) : t("no pixels")}` : t("click to begin"));
  showPrompts(prompts, { remove: removePrompt, hover: hoverPrompt });
  $("finish").disabled = $("clear").disabled = !isWorking();
  const isProposed = !isWorking() && guessesLeft().length > 0;
  $("finish-here").disabled = !isWorking() && !isProposed;
  setText("finish-here-text", t(isProposed ? "accept" : "finish"));
  showLabels(app.labels, label, chooseLabel);
  const { proposals = [], guesses = {}, gated = 0 } = app.state ?? {};
  showProposals(proposals, guesses, gated, { take: takeProposal, hover: hoverProposal });
  $("reject-all").hidden = !can("reject proposals") || proposals.length === 0;
  $("reject-key").hidden = isWorking() || guessesLeft().length < proposals.length; // Delete means no others
}

function showReview() {
  const { state } = app;
  $("review-section").hidden = !can("review");
  const isReviewed = ["approved", "sent back"].includes(state?.status);
  setText("review-state", isReviewed ? t(`status ${state.status}`) : "");
  for (const [id, status] of [["approve", "approved"], ["send-back", "sent back"]]) {
    $(id).disabled = !state;
    $(id).setAttribute("aria-pressed", String(state?.status === status));
  }
  if (document.activeElement !== $("review-note")) $("review-note").value = state?.note ?? "";
}

function showObjectList() {
  const rows = (app.state?.objects ?? []).map((each) => {
    const label = pending("relabel", ({ object }) => object === each.id)?.label ?? each.label;
    const object = { ...each, label };
    const area = app.outlines.get(each.mask)?.area;
    return { ...object, colour: colourOfObject(object), area, isHidden: app.hidden.has(each.id) };
  });
  showObjects(rows, knownLabels(), app.selected, {
    hover: hoverObject, select, edit, remove: removeObject, relabel, hide: toggleHidden,
  });
  $("protects").checked = protects();
}

function showSettings() {
  setSlider("opacity", app.opacity, `${app.opacity} %`);
  setSlider("brightness", app.brightness, `${app.brightness} %`);
  setSlider("contrast", app.contrast, `${app.contrast} %`);
  const isPlain = app.brightness === 100 && app.contrast === 100;
  $("base").style.filter = isPlain ? "" : `brightness(${app.brightness}%) contrast(${app.contrast}%)`;
  $("previews").checked = app.previews;
  $("colours").value = app.colours;
  setSlider("click-size", app.clickSize, t("pixels", { n: app.clickSize }));
  setSlider("brush-size", app.brushSize, t("pixels", { n: +(2 * brushRadius()).toFixed(0) }));
  showModelSettings(app.model?.defaults && { ...app.model.defaults, ...(expected()?.settings ?? app.settings) });
}

const LIMITS = { threshold: "threshold", "expand-ratio": "expand_ratio", "working-size": "working_size" };

/** How far the sliders go is the server's to say. */
function showLimits() {
  for (const [id, name] of Object.entries(LIMITS)) {
    const [low, high] = app.project?.limits?.[name] ?? [];
    if (low !== undefined) Object.assign($(id), { min: low, max: high });
  }
  const [, longest] = app.project?.limits?.label_length ?? [];
  if (longest) $("new-label-name").maxLength = longest;
}

/** The settings that hold for the object in work; none as long as the model hasn't told its own. */
function showModelSettings(settings) {
  for (const id of MODEL_SETTINGS) $(id).disabled = !settings;
  showLimits();
  if (!settings) {
    for (const id of ["threshold", "expand-ratio", "working-size"]) $(id).nextElementSibling.textContent = "–";
    return;
  }
  const threshold = app.previewThreshold ?? settings.threshold;
  setSlider("threshold", threshold, threshold.toFixed(2));
  setSlider("expand-ratio", settings.expand_ratio, `× ${settings.expand_ratio.toFixed(1)}`);
  setSlider("working-size", settings.working_size, `${number(settings.working_size)} px`);
  $("zoom-in-on").checked = settings.zoom_in;
  $("expand-ratio").disabled = !settings.zoom_in;
}

function setSlider(id, value, text) {
  if (document.activeElement !== $(id) || !$(id).matches(":active")) $(id).value = value;
  $(id).nextElementSibling.textContent = text;
}

function showModel() {
  const { model } = app;
  const isReady = model.state === "ready";
  setText("model-name", isReady ? `${model.name} · ${model.digest?.slice(0, 12)}` : t(`model ${model.state}`));
  showSettings();
}
