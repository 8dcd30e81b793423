// The keyboard: which key does what on every layout, and the help sheet that says so.

import { $, make } from "./dom.js";
import { keyShown, t } from "./language.js";

// key as in KeyboardEvent.key (letters in lower case), with Ctrl+, Shift+, Alt+ in front: action, see actions.js
const BINDINGS = {
  " ": "finish", c: "clear", Delete: "remove", Backspace: "remove", x: "removeLast",
  "Ctrl+z": "undo", "Ctrl+Shift+z": "redo", "Ctrl+y": "redo",
  v: "toolClick", b: "toolBrush", e: "toolEraser", r: "toolRegion", s: "toolSelect", h: "toolPan",
  m: "toolBox", l: "toolLasso", i: "switchSign", u: "hideAll",
  "[": "smallerBrush", "]": "largerBrush",
  Enter: "enter", "Alt+Enter": "cutRegion", Escape: "escape",
  a: "previous", PageUp: "previous", d: "next", PageDown: "next", n: "nextOpen", "/": "search",
  w: "nextView", f: "fit", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", 0: "zoomOne", q: "peek",
  ArrowLeft: "panLeft", ArrowRight: "panRight", ArrowUp: "panUp", ArrowDown: "panDown",
  "Shift+ArrowLeft": "aimLeft", "Shift+ArrowRight": "aimRight", "Shift+ArrowUp": "aimUp", "Shift+ArrowDown": "aimDown",
  g: "clickThere", "Shift+g": "clickOffThere",
  p: "protect", j: "selectNext", k: "selectPrevious", o: "edit", t: "acceptAll", "?": "help",
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => [digit, "label"])),
};

// sections of the help sheet: key of the title, then lines of keys and the key of what they do
const HELP = [
  ["help clicks", [
    ["key left click", "help positive"], ["key right click, Alt+key click", "help negative"],
    ["key tap, key long press", "help touch"], ["M", "help box"], ["key drag", "help stroke"], ["L", "help lasso"],
    ["I", "help sign"], ["Delete", "help delete click"], ["X", "help delete last"],
    ["Ctrl+Z, Ctrl+Shift+Z", "help undo"], ["C", "help clear"], ["Shift+key arrows", "help aim"], ["G, Shift+G", "help click there"],
  ]],
  ["help objects", [
    ["key space", "help finish"], ["1 … 9", "help labels"], ["Ctrl+key click, S", "help select"],
    ["J, K", "help select next"], ["O, key double click", "help edit"], ["Delete", "help delete object"],
    ["P", "help protect"], ["U", "help hide"], ["T", "help accept"],
    ["Delete", "help reject"],
  ]],
  ["help drawing", [
    ["B, E", "help brush"], ["[, ]", "help brush size"], ["R", "help region"], ["Enter, Alt+Enter", "help add region"],
    ["Backspace, Esc", "help corner"], ["V", "help back"],
  ]],
  ["help view", [
    ["key wheel, +, -", "help zoom"], ["key middle button, Shift+key drag", "help pan"], ["key arrows", "help arrows"],
    ["F, 0", "help fit"], ["W", "help views"], ["Q", "help peek"],
  ]],
  ["help pictures", [
    ["Enter", "help done"], ["A, D", "help neighbours"], ["N", "help next open"], ["/", "help search"],
    ["?", "help help"],
  ]],
];

export function showHelp() {
  $("help-columns").replaceChildren(...HELP.map(([title, lines]) => make("section", {},
    make("h3", { textContent: t(title) }),
    make("dl", {}, ...lines.flatMap(([keys, text]) => [
      make("dt", {}, ...keys.split(", ").flatMap((key) => [make("kbd", { textContent: inWords(key) }), " "])),
      make("dd", { textContent: t(text) }),
    ])))));
  $("help").showModal();
  $("help").scrollTop = 0; // its button at the end gets the focus
}

/** "Ctrl+Z" or "Alt+key click" as the person's keyboard and language have it. */
function inWords(keys) {
  return keys.split(/(?<=.)\+/).map((key) => (key.startsWith("key ") ? t(key) : keyShown(key))).join("+");
}

// ---------------------------------------------------------------------------------------------- layouts

const PUNCTUATION = { BracketLeft: "[", BracketRight: "]", Slash: "/", Minus: "-", Equal: "=", Space: " " };

/** What a key is on an American keyboard, by its place. */
function byPlace(code) {
  return /^(Key|Digit|Numpad)[A-Z0-9]$/.test(code) ? code.at(-1).toLowerCase() : PUNCTUATION[code];
}

/**
 * The name of what was pressed, as in BINDINGS; undefined for what means nothing. A key that writes no Latin letter
 * counts by its place on the keyboard, and so do digits: Russian, Greek or French keyboards work as an American one.
 */
function nameOf(event) {
  const own = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isByPlace = !/^[\x20-\x7e]/.test(own) || (event.code.startsWith("Digit") && !event.shiftKey);
  const isAltGr = event.getModifierState("AltGraph"); // part of what is written; some systems report it as Ctrl+Alt
  const prefix = isAltGr ? "" : `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}`;
  const whole = (key) => `${prefix}${event.shiftKey && /^([a-z]|Arrow.*)$/.test(key) ? "Shift+" : ""}${key}`;
  return [own, isByPlace && byPlace(event.code)].filter(Boolean).map(whole).find((name) => name in BINDINGS);
}

/** Whether the key belongs to the element that has the focus: typing, choosing, sliding. */
function isTaken(event) {
  const { target, key } = event;
  if (target.matches("input[type=search], input[type=color], input:not([type]), select")) return key !== "Escape";
  if (target.matches("input[type=range]")) return key.startsWith("Arrow") || key.startsWith("Page");
  if (target.matches("input[type=checkbox], input[type=radio]")) return key === " " || key.startsWith("Arrow");
  if (target.matches("[role=listbox]")) return key.startsWith("Arrow");
  return target.matches("button, summary, a") && (key === " " || key === "Enter");
}

/** Calls run(action, name of the key) for keys; holding Q gives run("peek") and letting go run("endPeek"). */
export function listen(run) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.isComposing || isTaken(event)) return;
    const name = nameOf(event);
    if (!name) return;
    run(BINDINGS[name], name);
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => { if (BINDINGS[nameOf(event)] === "peek") run("endPeek"); });
  // A button that was clicked with the mouse gives the focus back, so that Space finishes the object again. It does so
  // before it acts: a dialog would return the focus to it, and the next Enter would open the dialog once more.
  document.addEventListener("click", (event) => {
    if (event.detail > 0 && document.activeElement?.matches("button, input[type=checkbox], input[type=range]")) {
      document.activeElement.blur();
    }
  }, true);
}
