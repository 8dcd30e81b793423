// The panel of the concept model: what it has learnt from, how good it is, what it saves.

import { tell } from "./assistant.js";
import { $, arrange, make, setText } from "./dom.js";
import { language, number, sentenceOf, t } from "./language.js";
import { app } from "./state.js";

const cards = new Map(); // by label

export function showConcepts() {
  const { assist } = app;
  $("assist").hidden = $("order-row").hidden = !assist;
  if (!assist) return;
  const { problem } = assist;
  $("assist-problem").hidden = !problem;
  if (problem) setText("assist-problem", sentenceOf(problem));
  $("gate").checked = assist.gate;
  arrange($("concepts"), assist.labels.map((status) => {
    if (!cards.has(status.label)) cards.set(status.label, new Card(status.label));
    return cards.get(status.label).show(status, app.figures?.find(({ label }) => label === status.label));
  }));
}

/** What is known of the model of one label. Its buttons stay where they are: only what they say changes. */
class Card {
  constructor(label) {
    this.title = make("h3", { textContent: label });
    this.lines = make("p", { className: "lines" });
    this.bar = make("progress", { max: 1 });
    this.curve = make("div");
    this.train = make("button");
    this.train.onclick = () => tell({ do: "train", label });
    this.stop = make("button");
    this.stop.onclick = () => tell({ do: "stop", label });
    this.model = make("a", { className: "button", download: "" });
    this.masks = make("a", { className: "button", download: "" });
    this.element = make("div", { className: "concept" }, this.title, this.lines, this.bar, this.curve,
      make("div", { className: "row wraps" }, this.train, this.stop, this.model, this.masks));
  }

  /** status and figures as the server gives them, see /api/status and /api/assist; gives the element. */
  show(status, figures) {
    const now = JSON.stringify([language(), status, figures]);
    if (now === this.shown) return this.element;
    this.shown = now;
    const isTraining = status.state === "training";
    this.lines.textContent = [stateOf(status), ...(figures ? factsOf(figures) : [])].join("\n");
    this.showBar(isTraining, status.fraction);
    this.curve.replaceChildren(...(figures?.curve.length > 1 ? [curveOf(figures.curve)] : []));
    this.train.textContent = t("train now");
    this.stop.textContent = t("stop training");
    this.train.hidden = this.stop.hidden = isGiven(status);
    this.train.disabled = isTraining || !status.done;
    this.stop.disabled = status.state === "stopped";
    for (const name of ["model", "masks"]) {
      this[name].textContent = t(`download ${name}`);
      this[name].hidden = !figures?.[name];
      if (figures?.[name]) this[name].href = figures[name];
    }
    return this.element;
  }

  showBar(isTraining, fraction) {
    this.bar.hidden = !isTraining;
    this.bar.setAttribute("aria-label", t("progress bar"));
    if (Number.isFinite(fraction)) this.bar.value = fraction;
    else this.bar.removeAttribute("value");
  }
}

/** Whether the model came ready with --assist-from. */
const isGiven = ({ state, trained_on: n }) => state === "ready" && n === 0;

function stateOf(status) {
  const { state, done, needed, trained_on: n, reason } = status;
  const trained = n ? [t("trained on", { n })] : [];
  const now = t(`concept ${isGiven(status) ? "given" : state}`, { done, needed });
  return [...trained, reason ? `${now}: ${reason}` : now].join(" · ");
}

const round = (value, digits) =>
  value.toLocaleString(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** How good its proposals were before anybody corrected them, and the clicks of a picture with and without them. */
function factsOf({ iou, ious, with: assisted, without }) {
  const lines = [];
  if (iou !== null) lines.push(t("iou of proposals", { iou: round(iou, 2), n: ious.length }));
  for (const [key, { clicks, pictures }] of [["clicks with", assisted], ["clicks without", without]]) {
    if (clicks !== null) lines.push(t(key, { clicks: round(clicks, 1), n: pictures }));
  }
  return lines;
}

// ---------------------------------------------------------------------------------------------- the curve

const [WIDTH, HEIGHT, MARGIN] = [260, 84, 16];
const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** IoU against the pictures that it was trained on: of its proposals as a line, on the held-out ones dashed. */
function curveOf(curve) {
  const last = curve.at(-1).trained_on;
  const x = (n) => MARGIN + ((WIDTH - 2 * MARGIN) * n) / last;
  const y = (iou) => HEIGHT - MARGIN - (HEIGHT - 1.5 * MARGIN) * iou;
  const known = (name) => curve.filter((each) => Number.isFinite(each[name]));
  const line = (name) => drawn("polyline", {
    class: name, points: known(name).map((each) => `${x(each.trained_on)},${y(each[name])}`).join(" "),
  });
  const values = known("iou").map((each) => `${number(each.trained_on)}: ${round(each.iou, 2)}`).join("; ");
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": t("curve", { values }) });
  svg.append(
    drawn("path", { class: "axes", d: `M${MARGIN} ${y(1)}V${y(0)}H${WIDTH - MARGIN}M${MARGIN} ${y(1)}H${WIDTH - MARGIN}` }),
    drawn("text", { x: 2, y: y(1) + 4 }, "1"), drawn("text", { x: 2, y: y(0) + 4 }, "0"),
    drawn("text", { x: WIDTH - MARGIN, y: HEIGHT - 2, "text-anchor": "end" }, number(last)),
    drawn("text", { x: MARGIN, y: HEIGHT - 2 }, t("curve axes")), line("held_out"), line("iou"));
  return svg;
}
