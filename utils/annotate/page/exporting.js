// The dialog that writes what was annotated.

import { call } from "./api.js";
import { $, make, setText } from "./dom.js";
import { t } from "./language.js";
import { app } from "./state.js";

export function showExport() {
  $("export-formats").replaceChildren(...app.project.formats.map((format) => {
    const button = make("button", { className: "grow", textContent: t(`format ${format}`) });
    button.onclick = () => startExport(format);
    return button;
  }));
  $("export").showModal();
}

async function startExport(format) {
  try {
    app.job = (await call("/api/export", { format })).job;
    showJob();
  } catch (refusal) {
    setText("export-state", refusal.message);
  }
}

export function showJob() {
  const { job } = app;
  $("export-bar").hidden = job?.state !== "running";
  if (!job) return;
  if (job.state === "running") {
    if (job.total) Object.assign($("export-bar"), { max: job.total, value: job.done });
    else $("export-bar").removeAttribute("value");
    setText("export-state", t("exporting", { format: job.format, done: job.done, all: job.total || "…" }));
  } else setText("export-state", job.text);
}
