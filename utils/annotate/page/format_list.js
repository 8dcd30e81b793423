// The choice of a file format, in the dialogs of export and import.

import { make } from "./dom.js";
import { translation } from "./language.js";

/** Fills a list with a radio button for each format and what it is for; `use` is the end of that text's key. */
export function showFormats(list, formats, use, onchange = null) {
  const chosen = chosenFormat(list) ?? formats[0];
  list.replaceChildren(...formats.map((format) => {
    const input = make("input", { type: "radio", name: list.id, value: format, checked: format === chosen, onchange });
    return make("label", { className: "format" }, input,
      make("b", { textContent: translation(`format ${format}`) ?? format }),
      make("small", { textContent: translation(`format ${format} ${use}`) ?? "" }));
  }));
}

export function chosenFormat(list) {
  return list.querySelector(":checked")?.value;
}
