// The dialog in which labels get other names and colours, become one, or go.

import { call } from "./api.js";
import { $, make, setText } from "./dom.js";
import { t } from "./language.js";
import { reload } from "./loading.js";
import { app, changed } from "./state.js";

export function showLabelling() {
  setText("label-state", "");
  showRows();
  $("label-dialog").showModal();
}

function showRows() {
  $("label-rows").replaceChildren(...app.labels.map(row));
}

function row(label) {
  const { name, colour } = label;
  const shade = make("input", { type: "color", value: colour, "aria-label": t("colour of label", { name }) });
  shade.onchange = () => ask("/api/labels/change", { name, colour: shade.value });
  const { maxLength } = $("new-label-name");
  const field = make("input", { value: name, maxLength, "aria-label": t("name of label", { name }) });
  field.onchange = () => rename(name, field.value.trim());
  const others = app.labels.filter((other) => other.name !== name);
  const merge = make("select", { "aria-label": t("merge label", { name }) },
    make("option", { value: "", textContent: t("merge into") }),
    ...others.map((other) => make("option", { value: other.name, textContent: other.name })));
  merge.onchange = () => rename(name, merge.value);
  const remove = make("button", {
    textContent: "✕", title: t("delete this label"), "aria-label": t("delete label", { name }),
  });
  remove.onclick = () => ask("/api/labels/delete", { name });
  return make("li", {}, shade, field, merge, remove, ...(app.assist ? [separateChoice(label)] : []));
}

/** Whether each part of the concept model's mask becomes an object of its own. */
function separateChoice({ name, separate }) {
  const box = make("input", { type: "checkbox", checked: Boolean(separate) });
  box.onchange = () => ask("/api/labels/change", { name, separate: box.checked });
  return make("label", { className: "check" }, box, t("separate"));
}

/** Two labels that become one can't be told apart again; so that is asked first. */
function rename(name, to) {
  const isMerge = to !== name && app.labels.some((other) => other.name === to);
  if (isMerge && !confirm(t("really merge", { name, to }))) showRows();
  else ask("/api/labels/change", { name, to });
}

/** Changes labels on the server, in all pictures; the open one is shown with them. */
async function ask(path, body) {
  try {
    app.labels = (await call(path, body)).labels;
    if (!app.labels.some(({ name }) => name === app.label)) app.label = body.to ?? app.labels[0].name;
    setText("label-state", "");
    await reload();
  } catch (refusal) {
    setText("label-state", refusal.message);
  }
  showRows();
  changed();
}
