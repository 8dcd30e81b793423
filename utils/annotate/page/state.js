// What the page knows: the project, the open picture, the person's choices. Whoever changes it calls `changed`.

import { Outbox } from "./outbox.js";
import { store, stored } from "./storage.js";

export const VIEWS = ["mask", "contour", "probability", "picture"];
const FINISHED = ["done", "approved", "unreadable"];
const NO_COLOUR = "#ffffff";

export const app = {
  pictures: [], labels: [], current: null, state: null, label: null, tool: "click", settings: {}, model: null,
  view: "mask", opacity: 45, clickSize: 7, brushSize: 40, colours: "label", previews: true,
  brightness: 100, contrast: 100,
  order: "folder", // of the picture list
  assist: null, figures: null, // how the concept model fares, and how good it has been; null without one
  isPeeking: false, isPositive: true, // what a left click or a tap means
  hidden: new Set(), // ids of the open picture's finished objects that aren't drawn
  outlines: new Map(), // of the open picture's masks, by file name; proposals as "proposal 3"
  hovered: {}, // {click, object, proposal} under the pointer
  selected: null, // id of a finished object
  preview: null, // outline of the mask that a click under the pointer would give
  map: null, // the probability map, with the revision that it belongs to
  previewThreshold: null, // while the slider is moved
};

/** The changes on their way to the server. */
export const outbox = new Outbox();

// ---------------------------------------------------------------------------------------------- telling of changes

const listeners = [];

/** Calls listener(part) after each change of `app`; see `changed`. */
export function watch(listener) {
  listeners.push(listener);
}

/** What has to be shown anew: "all", "picture" (what is drawn over it), "cursor", "saved", "progress", "model", "assist". */
export function changed(part = "all") {
  for (const listener of listeners) listener(part);
}

export function setTool(tool) {
  app.tool = tool;
  changed();
}

// ---------------------------------------------------------------------------------------------- preferences

const REMEMBERED = ["view", "opacity", "clickSize", "brushSize", "colours", "previews", "order"];

export function remember() {
  store("annotate", JSON.stringify(Object.fromEntries(REMEMBERED.map((name) => [name, app[name]]))));
}

export function recall() {
  try {
    const kept = JSON.parse(stored("annotate") ?? "{}");
    for (const name of REMEMBERED) if (typeof kept[name] === typeof app[name]) app[name] = kept[name];
  } catch { /* somebody else's content; the choices are made anew */ }
  if (!VIEWS.includes(app.view)) app.view = "mask";
  if (!["folder", "uncertain", "empty"].includes(app.order)) app.order = "folder";
}

// ---------------------------------------------------------------------------------------------- questions

/** Whether something is left to do on a picture. */
export const isOpen = ({ status }) => !FINISHED.includes(status);

export function listed(pictureId) {
  return app.pictures.find(({ id }) => id === pictureId);
}

export function colourOf(label) {
  return app.labels.find(({ name }) => name === label)?.colour ?? NO_COLOUR;
}

/** The colour of an object: its label's, or one of its own. */
export function colourOfObject({ id, label }) {
  return app.colours === "object" ? ownColour(id) : colourOf(label);
}

/** Bright colours of which neighbours in number are far apart in hue, #rrggbb. */
function ownColour(id) {
  const hue = (id * 137.508) % 360;
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.64 - 0.32 * Math.max(-1, Math.min(k - 3, 9 - k, 1)))).toString(16).padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}

/** Whether the server knows an operation. */
export function can(operation) {
  return Boolean(app.project?.operations?.[operation]);
}

/** The project's labels, and others that the open picture's objects have. */
export function knownLabels() {
  const known = new Set(app.labels.map(({ name }) => name));
  const others = new Set((app.state?.objects ?? []).map(({ label }) => label).filter((name) => !known.has(name)));
  return [...app.labels, ...[...others].map((name) => ({ name, colour: NO_COLOUR }))];
}

/** Brush sizes grow by the same factor from one mark of the slider to the next: 1 to 400 pixels across. */
export function brushRadius() {
  return 0.5 * 400 ** (app.brushSize / 100);
}
