// The page's texts in the person's language; each language has a dictionary of its own with the same keys.

import { en } from "./en.js";
import { enHelp } from "./en_help.js";
import { enRefusals } from "./en_refusals.js";
import { ru } from "./ru.js";
import { ruHelp } from "./ru_help.js";
import { ruRefusals } from "./ru_refusals.js";
import { store, stored } from "./storage.js";

const DICTIONARIES = { en: { ...en, ...enHelp, ...enRefusals }, ru: { ...ru, ...ruHelp, ...ruRefusals } };
const NAMES = { en: "English", ru: "Русский" };
const CHOICE = "annotate language"; // in the browser's storage

let chosen = firstLanguage();

/** The one that was chosen here, else the first of the browser's that the page speaks. */
function firstLanguage() {
  const wishes = [stored(CHOICE), ...navigator.languages.map((tag) => tag.split("-")[0])];
  return wishes.find((code) => code in DICTIONARIES) ?? "en";
}

export const language = () => chosen;

export function languages() {
  return Object.keys(DICTIONARIES).map((code) => ({ code, name: NAMES[code] }));
}

export function setLanguage(code) {
  store(CHOICE, code);
  chosen = code;
}

/**
 * The text of a key. "{name}" in it becomes values.name, numbers in the language's way; a text of several forms
 * ({one, few, many, other}) is chosen by values.n.
 */
export function t(key, values = {}) {
  return translation(key, values) ?? key;
}

/** What the server has to say, in the person's language if the page knows the code: {error, code, values}. */
export function sentenceOf({ error, code, values }) {
  return translation(`code ${code}`, { ...values, sentence: error }) ?? error;
}

/** As t, but undefined for a key that the dictionary doesn't have. */
export function translation(key, values = {}) {
  const entry = DICTIONARIES[chosen][key];
  const text = typeof entry === "object" ? entry[new Intl.PluralRules(chosen).select(values.n)] ?? entry.other : entry;
  return text?.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? shown(values[name]) : whole))
    .replace(/\{key (.)\}/g, (_, key) => keyShown(key));
}

// ---------------------------------------------------------------------------------------------- keys

let layout = null; // what the person's keyboard writes, by the place of the key

/** Asks the browser for the keyboard's layout; only some tell it, and only to pages from this machine. */
export async function readLayout() {
  try {
    layout = await navigator.keyboard?.getLayoutMap();
  } catch { /* then keys are called as on an American keyboard */ }
}

/** A letter of an American keyboard as it is written on this one. */
export function keyShown(key) {
  const own = /^[A-Z]$/.test(key) && layout?.get(`Key${key}`);
  return own && !/^[a-z]$/i.test(own) ? own.toUpperCase() : key;
}

export function number(value) {
  return value.toLocaleString(chosen);
}

function shown(value) {
  return typeof value === "number" ? number(value) : String(value);
}

/** Puts the texts into the elements of the page: data-t is the key of the text, data-t-title of a title, and so on. */
export function translatePage() {
  document.documentElement.lang = chosen;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const name of ["title", "aria-label", "placeholder"]) {
    for (const element of document.querySelectorAll(`[data-t-${name}]`)) {
      element.setAttribute(name, t(element.getAttribute(`data-t-${name}`)));
    }
  }
}
