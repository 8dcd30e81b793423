// The lists beside the picture: pictures, labels, clicks, proposals, finished objects.

import { $, dot, make } from "./dom.js";
import { number, t } from "./language.js";

const STATUS_MARKS = { untouched: "○", "in work": "◐", done: "●", unreadable: "⚠" };

// ---------------------------------------------------------------------------------------------- pictures

/** The entries of the picture list that match the search. */
export function found(pictures, search) {
  const words = search.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const matches = ({ name, status }) => words.every((word) => `${name} ${t(`status ${status}`)}`.toLocaleLowerCase().includes(word));
  return pictures.filter(matches);
}

export class PictureList {
  constructor() {
    this.open = null; // what opens a picture, given its id
    this.shown = [];
    this.rows = new Map();
    const list = $("picture-list");
    list.addEventListener("click", (event) => {
      const row = event.target.closest("li[data-id]");
      if (row) this.open(row.dataset.id);
    });
    list.addEventListener("keydown", (event) => this.key(event));
  }

  /** Builds the rows anew, of the pictures that match what is searched. */
  show(pictures, current) {
    this.shown = found(pictures, $("search").value);
    this.rows = new Map(this.shown.map((picture) => [picture.id, this.row(picture)]));
    $("picture-list").replaceChildren(...this.rows.values());
    if (!this.shown.length) {
      const text = t(pictures.length ? "no match" : "no pictures");
      $("picture-list").append(make("li", { className: "empty", textContent: text }));
    }
    this.mark(current);
  }

  row(picture) {
    const thumbnail = make("img", { alt: "", loading: "lazy", decoding: "async" });
    thumbnail.src = `/api/pictures/${picture.id}/thumbnail`;
    const state = make("span", { className: "state" });
    const text = make("span", { className: "text" },
      make("span", { className: "name", textContent: picture.name, title: picture.name }), state);
    const row = make("li", { role: "option", id: `picture-${picture.id}`, dataset: { id: picture.id } }, thumbnail, text);
    fillState(state, picture);
    return row;
  }

  /** One picture's counts have changed. */
  update(picture) {
    const row = this.rows.get(picture.id);
    if (row) fillState(row.querySelector(".state"), picture);
  }

  /** The nearest wanted picture before (by = -1) or after (1) another one: its id, or null. */
  neighbour(pictureId, by, isWanted = () => true) {
    const here = this.shown.findIndex(({ id }) => id === pictureId);
    for (let i = here + by; i >= 0 && i < this.shown.length; i += by) if (isWanted(this.shown[i])) return this.shown[i].id;
    return null;
  }

  mark(current) {
    for (const [id, row] of this.rows) row.setAttribute("aria-selected", String(id === current));
    const row = this.rows.get(current);
    if (row) {
      $("picture-list").setAttribute("aria-activedescendant", row.id);
      row.scrollIntoView({ block: "nearest" });
    }
  }

  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const selected = this.shown.findIndex(({ id }) => this.rows.get(id).getAttribute("aria-selected") === "true");
    const next = this.shown[Math.min(this.shown.length - 1, Math.max(0, selected + by))];
    if (next) this.open(next.id);
  }
}

function fillState(element, { status, objects, clicks }) {
  element.dataset.status = status;
  const counts = objects || clicks ? `${t("objects", { n: objects })} · ${t("clicks", { n: clicks })}` : "";
  element.replaceChildren(make("b", { textContent: `${STATUS_MARKS[status]} ${t(`status ${status}`)}` }),
    make("span", { textContent: counts }));
}

// ---------------------------------------------------------------------------------------------- labels

export function showLabels(labels, chosen, choose) {
  $("labels").replaceChildren(...labels.map(({ name, colour }, i) => {
    const chip = make("button", { className: "label-chip", role: "radio", "aria-checked": String(name === chosen) },
      dot(colour), make("span", { textContent: name }));
    if (i < 9) chip.append(make("kbd", { textContent: i + 1 }));
    chip.title = name;
    chip.onclick = () => choose(name);
    return chip;
  }));
}

// ---------------------------------------------------------------------------------------------- the object in work

export function showClicks(clicks, { remove, hover }) {
  const chips = clicks.map(({ positive, isPending }, i) => {
    const kind = positive ? "positive" : "negative";
    const chip = make("button", {
      className: `click-chip ${kind}`, textContent: `${positive ? "+" : "−"}${i + 1}`, disabled: Boolean(isPending),
      title: t("delete this click"), "aria-label": t(`delete ${kind} click`, { i: i + 1 }),
    });
    chip.onclick = () => remove(i);
    chip.onpointerenter = () => hover(i);
    chip.onpointerleave = () => hover(null);
    return chip;
  });
  $("click-list").replaceChildren(...chips);
}

// ---------------------------------------------------------------------------------------------- finished objects

let shownObjects = "";

/** rows: [{id, label, count, area, colour}] */
export function showObjects(rows, labels, selected, actions) {
  const now = JSON.stringify([rows, labels, selected]);
  if (now === shownObjects) return; // asking where the list is scrolled to makes the browser lay out the page
  shownObjects = now;
  const list = $("objects");
  const scroll = list.scrollTop;
  list.replaceChildren(...rows.map((row) => objectRow(row, labels, row.id === selected, actions)));
  if (!rows.length) list.append(make("li", { className: "empty", textContent: t("none yet") }));
  list.scrollTop = scroll;
  $("object-count").textContent = rows.length || "";
}

function objectRow({ id, label, count, area, colour }, labels, isSelected, actions) {
  const choice = make("select", { "aria-label": t("label of object", { id }) },
    ...labels.map(({ name }) => make("option", { value: name, textContent: name, selected: name === label })));
  choice.onchange = () => actions.relabel(id, choice.value);
  const facts = `#${id} · ${t("clicks", { n: count })}\n${area === undefined ? "" : t("pixels", { n: area })}`;
  const edit = make("button", { textContent: "✎", title: t("edit this object"), "aria-label": t("edit object", { id }) });
  edit.onclick = () => actions.edit(id);
  const remove = make("button", { textContent: "✕", title: t("delete this object"), "aria-label": t("delete object", { id }) });
  remove.onclick = () => actions.remove(id);
  const row = make("li", { className: isSelected ? "selected" : "", dataset: { object: id } },
    dot(colour), choice, make("span", { className: "what", textContent: facts, title: facts }), edit, remove);
  row.onpointerenter = () => actions.hover(id);
  row.onpointerleave = () => actions.hover(null);
  row.onclick = (event) => { if (!event.target.closest("button, select")) actions.select(id); };
  row.ondblclick = (event) => { if (!event.target.closest("button, select")) actions.edit(id); };
  return row;
}

// ---------------------------------------------------------------------------------------------- proposals

export function showProposals(proposals, { take, hover }) {
  $("proposal-section").hidden = proposals.length === 0;
  $("proposal-count").textContent = number(proposals.length);
  $("proposals").replaceChildren(...proposals.map((proposal, i) => {
    const button = make("button", { textContent: i + 1, title: t("take this proposal"),
      "aria-label": t("take proposal", { i: i + 1 }) });
    button.onclick = () => take(proposal);
    button.onpointerenter = () => hover(proposal);
    button.onpointerleave = () => hover(null);
    return button;
  }));
}
