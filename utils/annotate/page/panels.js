// What is shown of it all: over the picture, in the bars above and below it, in the panel beside it.

import * as act from "./actions.js";
import { $, dot, setText } from "./dom.js";
import { expected, isWorking, pending, protects } from "./expectation.js";
import { cut } from "./heat.js";
import { number, t } from "./language.js";
import { showClicks, showLabels, showObjects, showProposals } from "./lists.js";
import { BUSY_MILLISECONDS } from "./loading.js";
import { hand, view } from "./stage.js";
import { app, brushRadius, colourOf, knownLabels, listed, outbox } from "./state.js";
import { CURSOR, SCENE } from "./view.js";

const MODEL_SETTINGS = ["threshold", "zoom-in-on", "expand-ratio", "working-size", "reset-settings"];
const PARTS = {
  all() { showSaved(); showBusy(); showPicture(); showTop(); showWork(); showObjectList(); showSettings(); },
  picture: showPicture,
  cursor: showCursor,
  saved() { showSaved(); showBusy(); },
  progress: showProgress,
  model() { showModel(); showBusy(); },
};

/** Shows a part of the page anew; see `changed`. */
export function show(part) {
  PARTS[part]();
}

// ---------------------------------------------------------------------------------------------- over the picture

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
  for (const proposal of proposals) {
    const isHovered = app.hovered.proposal === proposal;
    add(`proposal ${proposal}`, { colour: "#ffffff", fill: isHovered ? 0.35 : 0, line: 1.6, dashed: true });
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

// ---------------------------------------------------------------------------------------------- the bars

function showTop() {
  const { state } = app;
  const name = listed(app.current)?.name ?? t("annotate");
  setText("picture-name", name);
  $("picture-name").title = name;
  setText("picture-facts", state ? facts(state) : openingText());
  showUndo();
  $("done").disabled = !state;
  setText("done-text", t(state?.status === "done" ? "reopen" : "done"));
  $("done").classList.toggle("primary", state?.status !== "done");
  for (const button of $("views").children) button.setAttribute("aria-checked", String(button.dataset.view === app.view));
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === app.tool));
  }
  setText("hint", t(`${matchMedia("(pointer: coarse)").matches ? "touch hint" : "hint"} ${app.tool}`));
}

function facts({ width, height, status, objects, spent }) {
  return [`${width} × ${height}`, t(`status ${status}`), t("objects", { n: objects.length }), t("clicks spent", { n: spent })].join(" · ");
}

function openingText() {
  if (app.opening?.problem) return t("not opened");
  return app.current ? t("opening") : "";
}

function showUndo() {
  const isBusy = outbox.of(app.current).length > 0;
  for (const id of ["undo", "redo"]) {
    const step = app.state?.[id];
    $(id).disabled = !app.state || (!step && !isBusy);
    $(id).title = step ? t(`${id} step`, { step: t(`step ${step}`) }) : t(`nothing to ${id}`);
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
  if (isTrouble) setText("banner-text", `${reason} ${n ? t(outbox.isKept ? "steps are kept" : "keep the tab", { n }) : t("can go on")}`);
  else if (held) setText("banner-text", t("held", { n: held }));
}

function showProgress() {
  const sum = (what) => app.pictures.reduce((total, picture) => total + picture[what], 0);
  const done = app.pictures.filter(({ status }) => status === "done").length;
  setText("progress-text", `${t("progress", { done, all: app.pictures.length })}\n${
    t("objects", { n: sum("objects") })} · ${t("clicks", { n: sum("clicks") })}`);
}

/** What a person waits for just now: {text, fraction}, without a fraction if nobody knows; or null. */
function busyWith() {
  const { model, work, opening, state } = app;
  if (model?.state === "loading") return { text: t("loading model", { text: model.text }), fraction: model.fraction };
  if (work) return { text: t("work", work), fraction: work.done / work.total };
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
  $("work-title").replaceChildren(dot(colourOf(label)), `${title} · ${label ?? ""}`);
  const clicks = work?.clicks ?? [];
  const area = work?.outline?.area;
  setText("work-facts", clicks.length || area ? `${t("clicks", { n: clicks.length })} · ${
    area ? t("pixels", { n: area }) : t("no pixels")}` : t("click to begin"));
  showClicks(clicks, { remove: act.removeClick, hover: act.hoverClick });
  $("finish").disabled = $("finish-here").disabled = $("clear").disabled = !isWorking();
  showLabels(app.labels, label, act.chooseLabel);
  showProposals(app.state?.proposals ?? [], { take: act.takeProposal, hover: act.hoverProposal });
}

function showObjectList() {
  const rows = (app.state?.objects ?? []).map((each) => {
    const label = pending("relabel", ({ object }) => object === each.id)?.label ?? each.label;
    return { ...each, label, colour: colourOf(label), area: app.outlines.get(each.mask)?.area };
  });
  showObjects(rows, knownLabels(), app.selected, {
    hover: act.hoverObject, select: act.select, edit: act.edit, remove: act.removeObject, relabel: act.relabel,
  });
  $("protects").checked = protects();
}

function showSettings() {
  setSlider("opacity", app.opacity, `${app.opacity} %`);
  setSlider("click-size", app.clickSize, t("pixels", { n: app.clickSize }));
  setSlider("brush-size", app.brushSize, t("pixels", { n: +(2 * brushRadius()).toFixed(0) }));
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
  setText("model-name", model.state === "ready" ? `${model.name} · ${model.digest?.slice(0, 12)}` : t(`model ${model.state}`));
  showSettings();
}
