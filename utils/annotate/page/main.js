// Joins the page's parts: buttons, sliders, keys and the hand to actions, changes of what is known to what is shown.

import * as act from "./actions.js";
import { hear, tell } from "./assistant.js";
import { $, make } from "./dom.js";
import { keepDraft } from "./drafts.js";
import * as drawing from "./drawing.js";
import { showExport, showJob, startExport } from "./exporting.js";
import { showImport, startImport } from "./importing.js";
import { listen } from "./keys.js";
import { showLabelling } from "./labelling.js";
import { language, languages, readLayout, setLanguage, t, translatePage } from "./language.js";
import { fetchMap, open, poll, restore, takeSample } from "./loading.js";
import { say } from "./messages.js";
import { selectAt } from "./objects.js";
import { show } from "./panels.js";
import { hand, list, view } from "./stage.js";
import { app, changed, outbox, recall, setTool, watch } from "./state.js";
import { showStatistics } from "./statistics.js";
import { store, stored } from "./storage.js";

const BUTTONS = {
  previous: "previous", next: "next", undo: "undo", redo: "redo", "help-button": "help", finish: "finish",
  "finish-here": "finishOrAccept", clear: "clear", "zoom-in": "zoomIn", "zoom-out": "zoomOut", "zoom-fit": "fit",
  "accept-all": "acceptAll", "reject-all": "rejectAll",
  "region-add": "addRegion", "region-cut": "cutRegion", "region-cancel": "dropRegion", done: "done",
  skip: "done", sign: "switchSign",
  "toggle-list": "toggleList", "toggle-panel": "togglePanel", scrim: "closeDrawers", "hide-all": "hideAll",
  "reset-settings": "resetSettings",
};
const OTHERS = {
  "open-export": showExport, "start-export": startExport, "open-labels": showLabelling,
  "open-statistics": showStatistics, "open-import": showImport, "start-import": startImport,
  "take-sample": () => attempt(takeSample), restore: () => attempt(restore),
  approve: () => act.review("approved"), "send-back": () => act.review("sent back"),
  "apply-held": () => outbox.release(app.current), "discard-held": () => outbox.discard(app.current),
};

function wireButtons() {
  for (const [id, action] of Object.entries(BUTTONS)) $(id).onclick = act.ACTIONS[action];
  for (const [id, run] of Object.entries(OTHERS)) $(id).onclick = run;
  for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => setTool(button.dataset.tool);
  for (const button of $("views").children) button.onclick = () => act.setView(button.dataset.view);
}

async function attempt(what) {
  try {
    await what();
  } catch (refusal) {
    say(refusal.message, { isError: true });
  }
}

function wireSearch() {
  $("search").oninput = () => list.show(app.pictures, app.current);
  $("search").onkeydown = (event) => {
    if (event.key === "Enter" && list.shown[0]) { open(list.shown[0].id); $("search").blur(); }
    if (event.key === "Escape" && $("search").value) { $("search").value = ""; $("search").oninput(); }
  };
}

function wireSettings() {
  const number = (id) => Number($(id).value);
  const preference = (id, name) => { $(id).oninput = () => act.setPreference(name, number(id)); };
  preference("opacity", "opacity");
  preference("brightness", "brightness");
  preference("contrast", "contrast");
  preference("click-size", "clickSize");
  preference("brush-size", "brushSize");
  $("threshold").onpointerdown = fetchMap;
  $("threshold").oninput = () => { app.previewThreshold = number("threshold"); fetchMap(); changed(); };
  $("threshold").onchange = () => act.applySettings({ threshold: number("threshold") });
  $("zoom-in-on").onchange = () => act.applySettings({ zoom_in: $("zoom-in-on").checked });
  $("expand-ratio").onchange = () => act.applySettings({ expand_ratio: number("expand-ratio") });
  $("working-size").onchange = () => act.applySettings({ working_size: number("working-size") });
  for (const id of ["expand-ratio", "working-size"]) {
    $(id).oninput = () => { $(id).nextElementSibling.textContent = $(id).value; };
  }
  $("previews").onchange = () => act.setPreference("previews", $("previews").checked);
  $("colours").onchange = () => act.setPreference("colours", $("colours").value);
  $("gate").onchange = () => tell({ gate: $("gate").checked });
  $("order").onchange = () => act.setOrder($("order").value);
  $("protects").onchange = () => act.protect($("protects").checked);
  $("new-label").onsubmit = async (event) => {
    event.preventDefault();
    const field = $("new-label-name");
    if (await act.addLabel(field.value.trim())) { field.value = ""; field.blur(); }
  };
}

function wireHand() {
  hand.actions = {
    ...drawing, tool: () => app.tool, isPositive: () => app.isPositive, select: selectAt, stroke: drawing.brushStroke,
    drafted: keepDraft,
  };
  Object.assign(list, { open, order: app.order });
  $("order").value = app.order;
  view.changed = () => { $("zoom-value").textContent = app.state ? `${Math.round(view.scale * 100)} %` : ""; };
}

/** The language and the colours of the page, as the person has chosen them or the browser says. */
function wireLooks() {
  const option = ({ code, name }) => make("option", { value: code, textContent: name, lang: code });
  $("language").replaceChildren(...languages().map(option));
  $("language").value = language();
  $("language").onchange = () => { setLanguage($("language").value); showAnew(); };
  $("theme").value = stored("annotate theme") ?? "";
  $("theme").onchange = () => { store("annotate theme", $("theme").value); applyTheme(); };
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", applyTheme);
  applyTheme();
  translatePage();
  readLayout().then(showAnew);
}

function applyTheme() {
  const ofSystem = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  document.documentElement.dataset.theme = $("theme").value || ofSystem;
  view.ground = getComputedStyle($("stage")).backgroundColor;
  view.refresh();
}

function showAnew() {
  translatePage();
  if (!app.project) return;
  list.show(app.pictures, app.current);
  for (const part of ["all", "progress", ...(app.model ? ["model"] : [])]) changed(part);
}

function begin() {
  recall();
  watch(show);
  watch((part) => { if (part === "model") { showJob(); hear(); } });
  wireButtons();
  wireSearch();
  wireSettings();
  wireHand();
  wireLooks();
  listen((action, key) => act.ACTIONS[action](key));
  window.addEventListener("beforeunload", (event) => { if (!outbox.isKept) event.preventDefault(); });
  const admit = (text) => say(t("page mistake", { text }), { isError: true });
  window.addEventListener("error", (event) => admit(event.message));
  window.addEventListener("unhandledrejection", (event) => admit(event.reason?.message));
  poll(); // which starts, again and again until there is a server
}

begin();
