// The dialog that writes what was annotated.

import { call } from "./api.js";
import { $, setText } from "./dom.js";
import { chosenFormat, showFormats } from "./format_list.js";
import { sentenceOf, t } from "./language.js";
import { app, can } from "./state.js";

const BOXES = { only_done: "only-done", only_approved: "only-approved", polygons: "polygons" };

export function showExport() {
  showFormats($("export-formats"), app.project.formats, "use", showOptions);
  $("only-approved").parentElement.hidden = !can("review");
  showOptions();
  $("export").showModal();
}

function showOptions() {
  $("polygons-row").hidden = chosenFormat($("export-formats")) !== "coco";
}

export async function startExport() {
  const isOn = (id) => $(id).checked && !$(id).closest("[hidden]");
  const options = Object.fromEntries(Object.entries(BOXES).map(([name, id]) => [name, isOn(id)]));
  try {
    app.job = (await call("/api/export", { format: chosenFormat($("export-formats")), ...options })).job;
    showJob();
  } catch (refusal) {
    setText("export-state", refusal.message);
  }
}

export function showJob() {
  const { job } = app;
  $("export-bar").hidden = job?.state !== "running";
  $("start-export").disabled = job?.state === "running";
  $("export-download").hidden = !job?.download;
  if (!job) return;
  if (job.download) $("export-download").href = job.download;
  if (job.state === "running") {
    if (job.total) Object.assign($("export-bar"), { max: job.total, value: job.done });
    else $("export-bar").removeAttribute("value");
    setText("export-state", t("exporting", { format: job.format, done: job.done, all: job.total || "…" }));
  } else setText("export-state", sentenceOf({ ...job, error: job.text }));
}
