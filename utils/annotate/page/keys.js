// The keyboard: which key does what, and the help sheet that says so.

import { $, make } from "./dom.js";

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

const HELP = [
  ["Clicks", [
    ["left click", "on the object"], ["right click, Alt+click", "off the object"],
    ["tap, long press", "on, off the object, with a finger"], ["Delete", "delete the click under the pointer"],
    ["X", "delete the last click"], ["Ctrl+Z, Ctrl+Shift+Z", "undo, redo any step"], ["C", "clear the object in work"],
  ]],
  ["Objects", [
    ["Space", "finish the object; the next click begins another"], ["1 to 9", "label of the object and of the next ones"],
    ["Ctrl+click, S", "select a finished object"], ["J, K", "select the next, the previous one"],
    ["O, double click", "edit the selected object again"], ["Delete", "delete the selected object"],
    ["P", "protect finished objects, or not"], ["T", "accept all proposals that are left"],
  ]],
  ["Drawing", [
    ["B, E", "brush, eraser"], ["[, ]", "smaller, larger brush"],
    ["R", "region: click corners or drag around the object"], ["Enter, Alt+Enter", "add the region, cut it out"],
    ["Backspace, Esc", "take back a corner, cancel"], ["V", "back to clicks"],
  ]],
  ["View", [
    ["wheel, +, -", "zoom"], ["middle button, Shift+drag", "move the picture (H: with the left button)"],
    ["arrow keys", "move the picture"], ["F, 0", "fit, one to one"], ["W", "mask, contour, probability, picture"],
    ["hold Q", "peek at the plain picture"],
  ]],
  ["Pictures", [
    ["Enter", "done, on to the next open picture"], ["A, D", "previous, next picture"],
    ["N", "next picture that isn't done"], ["/", "search"], ["?", "this sheet"],
  ]],
];

export function showHelp() {
  $("help-columns").replaceChildren(...HELP.map(([title, lines]) => make("section", {},
    make("h3", { textContent: title }),
    make("dl", {}, ...lines.flatMap(([keys, text]) => [
      make("dt", {}, ...keys.split(", ").flatMap((key) => [make("kbd", { textContent: key }), " "])),
      make("dd", { textContent: text }),
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
