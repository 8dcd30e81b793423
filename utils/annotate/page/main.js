// Joins the page's parts: buttons, sliders, keys and the hand to actions, changes of what is known to what is shown.

import * as act from "./actions.js";
import { $ } from "./dom.js";
import { showExport, showJob } from "./exporting.js";
import { listen } from "./keys.js";
import { t, translatePage } from "./language.js";
import { fetchMap, open, poll } from "./loading.js";
import { say } from "./messages.js";
import { show } from "./panels.js";
import { hand, list, view } from "./stage.js";
import { app, changed, outbox, recall, watch } from "./state.js";

const BUTTONS = {
  previous: "previous", next: "next", undo: "undo", redo: "redo", "help-button": "help", finish: "finish", "finish-here": "finish",
  clear: "clear", "zoom-in": "zoomIn", "zoom-out": "zoomOut", "zoom-fit": "fit", "accept-all": "acceptAll",
  "region-add": "addRegion", "region-cut": "cutRegion", "region-cancel": "dropRegion",
};

function wireButtons() {
  for (const [id, action] of Object.entries(BUTTONS)) $(id).onclick = act.ACTIONS[action];
  $("done").onclick = act.toggleDone;
  $("open-export").onclick = showExport;
  $("apply-held").onclick = () => outbox.release(app.current);
  $("discard-held").onclick = () => outbox.discard(app.current);
  $("toggle-list").onclick = () => document.body.classList.toggle("show-list");
  $("toggle-panel").onclick = () => document.body.classList.toggle("show-panel");
  for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => act.setTool(button.dataset.tool);
  for (const button of $("views").children) button.onclick = () => act.setView(button.dataset.view);
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
  $("reset-settings").onclick = act.resetSettings;
  $("protects").onchange = () => act.protect($("protects").checked);
  $("new-label").onsubmit = async (event) => {
    event.preventDefault();
    const field = $("new-label-name");
    if (await act.addLabel(field.value.trim())) { field.value = ""; field.blur(); }
  };
}

function wireHand() {
  hand.actions = {
    tool: () => app.tool, click: act.click, hover: act.hover, select: act.selectAt, stroke: act.brushStroke, region: act.region,
  };
  list.open = open;
  view.changed = () => { $("zoom-value").textContent = app.state ? `${Math.round(view.scale * 100)} %` : ""; };
}

function begin() {
  recall();
  translatePage();
  watch(show);
  watch((part) => { if (part === "model") showJob(); });
  wireButtons();
  wireSearch();
  wireSettings();
  wireHand();
  listen({
    run: (action) => act.ACTIONS[action](),
    label: (place) => { if (app.labels[place - 1]) act.chooseLabel(app.labels[place - 1].name); },
    peek: act.peek,
  });
  window.addEventListener("beforeunload", (event) => { if (outbox.entries.length && !outbox.isKept) event.preventDefault(); });
  window.addEventListener("error", (event) => say(t("page mistake", { text: event.message }), { isError: true }));
  window.addEventListener("unhandledrejection", (event) => say(t("page mistake", { text: event.reason?.message }), { isError: true }));
  poll(); // which starts, again and again until there is a server
}

begin();
