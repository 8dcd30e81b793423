// The dialog that takes in what was annotated elsewhere.

import { call } from "./api.js";
import { $, make, setText } from "./dom.js";
import { chosenFormat, showFormats } from "./format_list.js";
import { t } from "./language.js";
import { reload } from "./loading.js";
import { app } from "./state.js";

export function showImport() {
  showFormats($("import-formats"), app.project.import_formats, "source");
  report("");
  $("import").showModal();
}

/** Says what came of it: a sentence, and what was left out. */
function report(sentence, notes = []) {
  setText("import-state", sentence);
  $("import-notes").replaceChildren(...notes.map((note) => make("li", { textContent: note, lang: "en" })));
  $("import-notes").hidden = notes.length === 0;
}

/** Sends a file of this machine, or names one in the folder that is served. */
function send() {
  const [file] = $("import-file").files;
  const options = {
    format: chosenFormat($("import-formats")),
    kind: document.querySelector("[name=import-kind]:checked").value,
  };
  if (!file) return call("/api/import", { ...options, path: $("import-path").value.trim() });
  return call(`/api/import?${new URLSearchParams({ ...options, name: file.name })}`, file);
}

export async function startImport() {
  if (!$("import-file").files.length && !$("import-path").value.trim()) {
    report(t("import needs a file"));
    return;
  }
  $("start-import").disabled = true;
  report(t("importing"));
  try {
    const { objects, pictures, notes } = await send();
    report(`${t("imported", { n: objects })} ${t("imported on", { n: pictures })}`, notes);
    $("import-file").value = "";
    await reload();
  } catch (refusal) {
    report(refusal.message, refusal.values?.notes);
  }
  $("start-import").disabled = false;
}
