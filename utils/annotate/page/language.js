// The page's texts in the person's language; each language has a dictionary of its own with the same keys.

import { en } from "./en.js";

const DICTIONARIES = { en };
let language = "en";

/**
 * The text of a key. "{name}" in it becomes values.name, numbers in the language's way; a text of several forms
 * ({one, few, many, other}) is chosen by values.n.
 */
export function t(key, values = {}) {
  return translation(key, values) ?? key;
}

/** As t, but undefined for a key that the dictionary doesn't have. */
export function translation(key, values = {}) {
  const entry = DICTIONARIES[language][key];
  const text = typeof entry === "object" ? entry[new Intl.PluralRules(language).select(values.n)] ?? entry.other : entry;
  return text?.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? shown(values[name]) : whole));
}

export function number(value) {
  return value.toLocaleString(language);
}

function shown(value) {
  return typeof value === "number" ? number(value) : String(value);
}

/** Puts the texts into the elements of the page: data-t is the key of the text, data-t-title of a title, and so on. */
export function translatePage() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const name of ["title", "aria-label", "placeholder"]) {
    for (const element of document.querySelectorAll(`[data-t-${name}]`)) {
      element.setAttribute(name, t(element.getAttribute(`data-t-${name}`)));
    }
  }
}
