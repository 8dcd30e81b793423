// The lists beside the picture: pictures, labels, clicks, proposals, finished objects.

import { $, dot, make } from "./dom.js";
import { language, number, t } from "./language.js";

const STATUS_MARKS = { untouched: "○", "in work": "◐", done: "●", approved: "✔", "sent back": "↩", unreadable: "⚠" };

// ---------------------------------------------------------------------------------------------- pictures

/** The entries of the picture list that match the search. */
export function found(pictures, search) {
  const words = search.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const text = ({ name, status }) => `${name} ${t(`status ${status}`)}`.toLocaleLowerCase();
  return pictures.filter((picture) => words.every((word) => text(picture).includes(word)));
}

export class PictureList {
  constructor() {
    this.open = null; // what opens a picture, given its id
    this.shown = [];
    this.rows = new Map();
    this.marked = null; // id of the open picture
    const list = $("picture-list");
    list.addEventListener("click", (event) => {
      const row = event.target.closest("li[data-id]");
      if (row) this.open(row.dataset.id);
    });
    list.addEventListener("keydown", (event) => this.key(event));
  }

  /** Shows the pictures that match what is searched. There may be thousands: rows that were built are used again. */
  show(pictures, current) {
    this.shown = found(pictures, $("search").value);
    for (const picture of this.shown) {
      if (this.rows.has(picture.id)) this.update(picture);
      else this.rows.set(picture.id, this.row(picture));
    }
    $("picture-list").replaceChildren(...this.shown.map(({ id }) => this.rows.get(id)));
    $("no-pictures").hidden = this.shown.length > 0;
    $("no-pictures").textContent = t(pictures.length ? "no match" : "no pictures");
    this.mark(current);
  }

  row(picture) {
    const thumbnail = make("img", { alt: "", loading: "lazy", decoding: "async" });
    thumbnail.onerror = () => { thumbnail.style.visibility = "hidden"; };
    thumbnail.src = `/api/pictures/${picture.id}/thumbnail`;
    const state = make("span", { className: "state" });
    const text = make("span", { className: "text" },
      make("span", { className: "name", textContent: picture.name, title: picture.name }), state);
    const { id } = picture;
    const properties = { role: "option", "aria-selected": "false", id: `picture-${id}`, dataset: { id } };
    const row = make("li", properties, thumbnail, text);
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
    for (let i = here + by; i in this.shown; i += by) if (isWanted(this.shown[i])) return this.shown[i].id;
    return null;
  }

  mark(current) {
    this.rows.get(this.marked)?.setAttribute("aria-selected", "false");
    this.marked = current;
    const row = this.rows.get(current);
    if (row) {
      row.setAttribute("aria-selected", "true");
      $("picture-list").setAttribute("aria-activedescendant", row.id);
      row.scrollIntoView({ block: "nearest" });
    } else $("picture-list").removeAttribute("aria-activedescendant");
  }

  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const selected = this.shown.findIndex(({ id }) => id === this.marked);
    const next = this.shown[Math.min(this.shown.length - 1, Math.max(0, selected + by))];
    if (next) this.open(next.id);
  }
}

function fillState(element, { status, objects, clicks }) {
  const now = [language(), status, objects, clicks].join();
  if (element.dataset.shown === now) return;
  element.dataset.shown = now;
  element.dataset.status = status;
  const counts = objects || clicks ? `${t("objects", { n: objects })} · ${t("clicks", { n: clicks })}` : "";
  element.replaceChildren(make("b", { textContent: `${STATUS_MARKS[status]} ${t(`status ${status}`)}` }),
    make("span", { textContent: counts }));
}

// ---------------------------------------------------------------------------------------------- labels

let shownLabels = "";

export function showLabels(labels, chosen, choose) {
  const now = JSON.stringify([labels, chosen]);
  if (now === shownLabels) return;
  shownLabels = now;
  const isFocused = $("labels").contains(document.activeElement);
  $("labels").replaceChildren(...labels.map(({ name, colour }, i) => {
    const chip = make("button", { className: "label-chip", role: "radio", "aria-checked": String(name === chosen) },
      dot(colour), make("span", { textContent: name }));
    if (i < 9) chip.append(make("kbd", { textContent: i + 1, "aria-hidden": "true" }));
    chip.title = name;
    chip.onclick = () => choose(name);
    return chip;
  }));
  if (isFocused) $("labels").querySelector("[aria-checked=true]")?.focus();
}

// ---------------------------------------------------------------------------------------------- the object in work

const PROMPT_MARKS = { click: "", box: "▭", stroke: "~", lasso: "◌" };

/** The clicks, boxes and lines of the object in work. */
export function showPrompts(prompts, { remove, hover }) {
  const chips = prompts.map(({ kind, positive, isPending }, i) => {
    const sign = positive ? "positive" : "negative";
    const chip = make("button", {
      className: `click-chip ${sign}`, textContent: `${positive ? "+" : "−"}${PROMPT_MARKS[kind]}${i + 1}`,
      disabled: Boolean(isPending), title: t("delete this prompt", { kind: t(`step ${kind}`) }),
      "aria-label": t(`delete ${sign} prompt`, { i: i + 1, kind: t(`step ${kind}`) }),
    });
    chip.onclick = () => remove(i);
    chip.onpointerenter = () => hover(i);
    chip.onpointerleave = () => hover(null);
    return chip;
  });
  const list = $("click-list");
  const isMore = chips.length > list.children.length;
  list.replaceChildren(...chips);
  if (isMore) list.scrollLeft = list.scrollWidth;
}

// ---------------------------------------------------------------------------------------------- finished objects

/** The rows of a long list that are in sight: thousands of objects are scrolled through, but few are built. */
class Rows {
  constructor(list) {
    Object.assign(this, { list, rows: [], make: null });
    list.addEventListener("scroll", () => this.build());
    new ResizeObserver(() => this.build()).observe(list);
  }

  show(rows, make) {
    Object.assign(this, { rows, make });
    this.build();
  }

  get height() {
    return matchMedia("(pointer: coarse)").matches ? 66 : 54;
  }

  build() {
    const { list, rows, height } = this;
    if (!rows.length) return;
    const first = Math.max(0, Math.floor(list.scrollTop / height) - 2);
    const shown = rows.slice(first, first + Math.ceil((list.clientHeight || 240) / height) + 4);
    list.style.setProperty("--end", `${rows.length * height - 1}px`); // as far as can be scrolled
    const focus = document.activeElement?.getAttribute("aria-label"); // a row that is built anew keeps it
    list.replaceChildren(...shown.map((row, i) => {
      const element = this.make(row);
      element.style.top = `${(first + i) * height}px`;
      element.setAttribute("aria-setsize", rows.length);
      element.setAttribute("aria-posinset", first + i + 1);
      return element;
    }));
    list.style.height = `${Math.min(rows.length, 4) * height}px`;
    const hasFocus = (each) => focus && each.getAttribute("aria-label") === focus;
    [...list.querySelectorAll("[aria-label]")].find(hasFocus)?.focus();
  }

  reveal(place) {
    const { list, height } = this;
    const [top, bottom] = [place * height, (place + 1) * height];
    list.scrollTop = Math.min(top, Math.max(list.scrollTop, bottom - list.clientHeight));
  }
}

const objectRows = new Rows($("objects"));
let shownObjects = "", selectedObject = null;

/** rows: [{id, label, count, area, colour, isHidden}] */
export function showObjects(rows, labels, selected, actions) {
  const now = JSON.stringify([rows, labels, selected]);
  if (now === shownObjects) return; // asking where the list is scrolled to makes the browser lay out the page
  shownObjects = now;
  selectedObject = selected;
  objectRows.show(rows, (row) => objectRow(row, labels, row.id === selected, actions));
  if (!rows.length) {
    $("objects").style.height = "";
    $("objects").replaceChildren(make("li", { className: "empty", textContent: t("none yet") }));
  }
  $("object-count").textContent = rows.length ? number(rows.length) : "";
}

/** Scrolls the list to the selected object. */
export function showSelected() {
  const place = objectRows.rows.findIndex(({ id }) => id === selectedObject);
  if (place >= 0) objectRows.reveal(place);
}

function objectRow({ id, label, count, area, colour, isHidden }, labels, isSelected, actions) {
  const choice = make("select", { "aria-label": t("label of object", { id }), title: label },
    ...labels.map(({ name }) => make("option", { value: name, textContent: name, selected: name === label })));
  choice.onchange = () => actions.relabel(id, choice.value);
  const button = (text, what, run) => {
    const made = make("button", {
      textContent: text, title: t(`${what} this object`), "aria-label": t(`${what} object`, { id }),
    });
    made.onclick = run;
    return made;
  };
  const hide = button(isHidden ? "◌" : "◉", "hide", () => actions.hide(id));
  hide.setAttribute("aria-pressed", String(Boolean(isHidden)));
  const facts = `#${id} · ${t("clicks", { n: count })}${area === undefined ? "" : ` · ${t("pixels", { n: area })}`}`;
  const row = make("li", { className: isSelected ? "selected" : "", dataset: { object: id } },
    dot(colour), choice, hide,
    button("✎", "edit", () => actions.edit(id)), button("✕", "delete", () => actions.remove(id)),
    make("span", { className: "what", textContent: facts, title: facts }));
  const isRow = (event) => !event.target.closest("button, select");
  row.onpointerenter = () => actions.hover(id);
  row.onpointerleave = () => actions.hover(null);
  row.onclick = (event) => { if (isRow(event)) actions.select(isSelected ? null : id); };
  row.ondblclick = (event) => { if (isRow(event)) actions.edit(id); };
  return row;
}

// ---------------------------------------------------------------------------------------------- proposals

const SHOWN_PROPOSALS = 100;
let shownProposals = "";

export function showProposals(proposals, { take, hover }) {
  const now = proposals.join();
  if (now === shownProposals) return;
  shownProposals = now;
  $("proposal-section").hidden = proposals.length === 0;
  $("proposal-count").textContent = number(proposals.length);
  const buttons = proposals.slice(0, SHOWN_PROPOSALS).map((proposal, i) => {
    const button = make("button", {
      textContent: i + 1, title: t("take this proposal"), "aria-label": t("take proposal", { i: i + 1 }),
    });
    button.onclick = () => take(proposal);
    button.onpointerenter = () => hover(proposal);
    button.onpointerleave = () => hover(null);
    return button;
  });
  const left = proposals.length - buttons.length;
  $("proposals").replaceChildren(...buttons, ...(left ? [t("more proposals", { n: left })] : []));
}

/** Shows all lists anew, in another language. */
export function forgetShown() {
  shownObjects = shownLabels = shownProposals = "";
}
