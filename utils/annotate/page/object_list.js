// The list of finished objects: thousands are scrolled through, but only those in sight have rows.

import { $, arrange, dot, make, setTitle } from "./dom.js";
import { language, number, t } from "./language.js";

const PARTS = ["label", "hide", "edit", "delete"]; // of a row, in the order of its columns

/** A finished object's row. It lives as long as it is in sight: what it says is changed in place. */
class Row {
  constructor(id, actions) {
    Object.assign(this, { id, actions, shown: "" });
    this.dot = dot("");
    this.label = make("select");
    this.label.onchange = () => actions.relabel(id, this.label.value);
    this.hide = make("button");
    this.hide.onclick = () => actions.hide(id);
    this.edit = make("button", { textContent: "✎" });
    this.edit.onclick = () => actions.edit(id);
    this.delete = make("button", { textContent: "✕" });
    this.delete.onclick = () => actions.remove(id);
    this.facts = make("span", { className: "what" });
    this.element = make("li", { dataset: { object: id } }, this.dot, ...PARTS.map((part) => this[part]), this.facts);
    this.listen();
  }

  listen() {
    const { id, actions, element } = this;
    const isRow = (event) => !event.target.closest("button, select");
    element.onpointerenter = () => actions.hover(id);
    element.onpointerleave = () => actions.hover(null);
    element.onclick = (event) => { if (isRow(event)) actions.select(this.isSelected ? null : id); };
    element.ondblclick = (event) => { if (isRow(event)) actions.edit(id); };
  }

  /** object: {id, label, count, area, colour, isHidden}; labels: those to choose from. */
  show(object, labels, isSelected, place, height, count) {
    const { element, id } = this;
    element.style.top = `${place * height}px`;
    element.setAttribute("aria-setsize", count);
    element.setAttribute("aria-posinset", place + 1);
    const now = JSON.stringify([language(), object, labels, isSelected]);
    if (now === this.shown) return;
    this.shown = now;
    this.isSelected = isSelected;
    const { label, count: clicks, area, colour, isHidden } = object;
    element.className = isSelected ? "selected" : "";
    this.dot.style.background = colour;
    this.showLabels(labels, label);
    this.hide.textContent = isHidden ? "◌" : "◉";
    this.hide.setAttribute("aria-pressed", String(Boolean(isHidden)));
    setTitle(this.label, label, t("label of object", { id }));
    for (const part of PARTS.slice(1)) setTitle(this[part], t(`${part} this object`), t(`${part} object`, { id }));
    this.facts.textContent = this.facts.title =
      `#${id} · ${t("clicks", { n: clicks })}${area === undefined ? "" : ` · ${t("pixels", { n: area })}`}`;
  }

  showLabels(labels, label) {
    const names = labels.map(({ name }) => name);
    const options = [...this.label.options];
    if (options.map(({ value }) => value).join("\n") !== names.join("\n")) {
      this.label.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
    }
    this.label.value = label;
  }
}

class ObjectList {
  constructor(list) {
    Object.assign(this, { list, objects: [], labels: [], selected: null, actions: null, rows: new Map(), shown: "" });
    this.none = make("li", { className: "empty" });
    list.addEventListener("scroll", () => this.build());
    new ResizeObserver(() => this.build()).observe(list);
  }

  get height() {
    return matchMedia("(pointer: coarse)").matches ? 66 : 54;
  }

  /** Shows objects as Row.show takes them. */
  show(objects, labels, selected, actions) {
    const now = JSON.stringify([language(), objects, labels, selected]);
    if (now === this.shown) return; // asking where the list is scrolled to makes the browser lay out the page
    Object.assign(this, { objects, labels, selected, actions, shown: now });
    this.build();
  }

  build() {
    const { list, objects, height } = this;
    const first = Math.max(0, Math.floor(list.scrollTop / height) - 2);
    const inSight = objects.slice(first, first + Math.ceil((list.clientHeight || 240) / height) + 4);
    list.style.setProperty("--end", `${objects.length * height - 1}px`); // as far as can be scrolled
    const rows = new Map(inSight.map(({ id }) => [id, this.rows.get(id) ?? new Row(id, this.actions)]));
    inSight.forEach((object, i) =>
      rows.get(object.id).show(object, this.labels, object.id === this.selected, first + i, height, objects.length));
    this.rows = rows;
    this.none.textContent = t("none yet");
    arrange(list, objects.length ? [...rows.values()].map(({ element }) => element) : [this.none]);
    list.style.height = objects.length ? `${Math.min(objects.length, 4) * height}px` : "";
  }

  /** Scrolls to an object. */
  reveal(id) {
    const { list, height } = this;
    const place = this.objects.findIndex((object) => object.id === id);
    const [top, bottom] = [place * height, (place + 1) * height];
    if (place >= 0) list.scrollTop = Math.min(top, Math.max(list.scrollTop, bottom - list.clientHeight));
  }
}

const objectList = new ObjectList($("objects"));

export function showObjects(objects, labels, selected, actions) {
  objectList.show(objects, labels, selected, actions);
  $("object-count").textContent = objects.length ? number(objects.length) : "";
}

/** Scrolls the list to the selected object. */
export function showSelected() {
  objectList.reveal(objectList.selected);
}
