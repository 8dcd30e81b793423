// The keyboard: which key does what, and the help sheet that says so.

import { $, make } from "./dom.js";
import { t } from "./language.js";

// key as in KeyboardEvent.key (letters in lower case), with Ctrl+, Shift+, Alt+ in front: action, see main.js
const BINDINGS = {
  " ": "finish", c: "clear", Delete: "remove", Backspace: "remove", x: "removeLastClick",
  "Ctrl+z": "undo", "Ctrl+Shift+z": "redo", "Ctrl+y": "redo",
  v: "toolClick", b: "toolBrush", e: "toolEraser", r: "toolRegion", s: "toolSelect", h: "toolPan",
  "[": "smallerBrush", "]": "largerBrush",
  Enter: "enter", "Alt+Enter": "cutRegion", Escape: "escape",
  a: "previous", PageUp: "previous", d: "next", PageDown: "next", n: "nextOpen", "/": "search",
  w: "nextView", f: "fit", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", 0: "zoomOne",
  ArrowLeft: "panLeft", ArrowRight: "panRight", ArrowUp: "panUp", ArrowDown: "panDown",
  p: "protect", j: "selectNext", k: "selectPrevious", o: "edit", t: "acceptAll", "?": "help",
};

// sections of the help sheet: key of the title, then lines of keys and the key of what they do
const HELP = [
  ["help clicks", [
    ["left click", "help positive"], ["right click, Alt+click", "help negative"], ["tap, long press", "help touch"],
    ["Delete", "help delete click"], ["X", "help delete last"], ["Ctrl+Z, Ctrl+Shift+Z", "help undo"], ["C", "help clear"],
  ]],
  ["help objects", [
    ["Space", "help finish"], ["1 to 9", "help labels"], ["Ctrl+click, S", "help select"], ["J, K", "help select next"],
    ["O, double click", "help edit"], ["Delete", "help delete object"], ["P", "help protect"], ["T", "help accept"],
  ]],
  ["help drawing", [
    ["B, E", "help brush"], ["[, ]", "help brush size"], ["R", "help region"], ["Enter, Alt+Enter", "help add region"],
    ["Backspace, Esc", "help corner"], ["V", "help back"],
  ]],
  ["help view", [
    ["wheel, +, -", "help zoom"], ["middle button, Shift+drag", "help pan"], ["arrow keys", "help arrows"],
    ["F, 0", "help fit"], ["W", "help views"], ["hold Q", "help peek"],
  ]],
  ["help pictures", [
    ["Enter", "help done"], ["A, D", "help neighbours"], ["N", "help next open"], ["/", "help search"], ["?", "help help"],
  ]],
];

export function showHelp() {
  $("help-columns").replaceChildren(...HELP.map(([title, lines]) => make("section", {},
    make("h3", { textContent: t(title) }),
    make("dl", {}, ...lines.flatMap(([keys, text]) => [
      make("dt", {}, ...keys.split(", ").flatMap((key) => [make("kbd", { textContent: key }), " "])),
      make("dd", { textContent: t(text) }),
    ])))));
  $("help").showModal();
}

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && /^[a-z]$/.test(key) ? "Shift+" : "";
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${shift}${key}`;
}

/** Whether the key belongs to the element that has the focus: typing, choosing, sliding. */
function isTaken(event) {
  const { target, key } = event;
  if (target.matches("input[type=search], input:not([type]), textarea, select")) return key !== "Escape";
  if (target.matches("input[type=range]")) return key.startsWith("Arrow") || key.startsWith("Page");
  if (target.matches("input[type=checkbox]")) return key === " ";
  if (target.matches("[role=listbox]")) return key.startsWith("Arrow");
  return target.matches("button") && (key === " " || key === "Enter");
}

/** Calls run(action) for keys; digits give label(number), Q gives peek(true) and peek(false). */
export function listen({ run, label, peek }) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.isComposing || isTaken(event)) return;
    const name = nameOf(event);
    if (/^[1-9]$/.test(name)) label(Number(name));
    else if (name === "q") peek(true);
    else if (name in BINDINGS) run(BINDINGS[name]);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "q") peek(false); });
  // A button that was clicked with the mouse gives the focus back, so that Space finishes the object again. It does so
  // before it acts: a dialog would return the focus to it, and the next Enter would open the dialog once more.
  document.addEventListener("click", (event) => {
    if (event.detail > 0 && document.activeElement?.matches("button, input[type=checkbox], input[type=range]")) {
      document.activeElement.blur();
    }
  }, true);
}
