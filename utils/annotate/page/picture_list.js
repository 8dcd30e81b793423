// The list of pictures.

import { $, arrange, make } from "./dom.js";
import { language, t } from "./language.js";
import { isOpen } from "./state.js";

const STATUS_MARKS = { untouched: "○", "in work": "◐", done: "●", approved: "✔", "sent back": "↩", unreadable: "⚠" };

/** The entries of the picture list that match the search. */
export function found(pictures, search) {
  const words = search.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const text = ({ name, status }) => `${name} ${t(`status ${status}`)}`.toLocaleLowerCase();
  return pictures.filter((picture) => words.every((word) => text(picture).includes(word)));
}

/**
 * Orders of the list, each by a number that grows from top to bottom. What the concept model says stands in a picture's
 * `sure` (0 to 1, null where it hasn't looked yet) and `empty` (it expects no object there).
 */
export const ORDERS = {
  folder: null,
  uncertain: (picture) => (isOpen(picture) ? picture.sure ?? 1.5 : 2),
  empty: (picture) => (isOpen(picture) ? Number(Boolean(picture.empty)) : 2),
};

function ordered(pictures, rank) {
  return rank ? [...pictures].sort((a, b) => rank(a) - rank(b)) : pictures;
}

export class PictureList {
  constructor() {
    this.order = "folder";
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
    this.shown = ordered(found(pictures, $("search").value), ORDERS[this.order]);
    for (const picture of this.shown) {
      if (this.rows.has(picture.id)) this.update(picture);
      else this.rows.set(picture.id, this.row(picture));
    }
    arrange($("picture-list"), this.shown.map(({ id }) => this.rows.get(id)));
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

  /** The next pictures after one, from the top again at the end: ids of those on which something is left to do. */
  following(pictureId, count) {
    const here = this.shown.findIndex(({ id }) => id === pictureId);
    return [...this.shown.slice(here + 1), ...this.shown.slice(0, Math.max(0, here))].filter(isOpen).slice(0, count)
      .map(({ id }) => id);
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

function fillState(element, { status, objects, clicks, sure, empty }) {
  const now = [language(), status, objects, clicks, sure, empty].join();
  if (element.dataset.shown === now) return;
  element.dataset.shown = now;
  element.dataset.status = status;
  const counts = objects || clicks ? `${t("objects", { n: objects })} · ${t("clicks", { n: clicks })}` : "";
  const lines = [make("b", { textContent: `${STATUS_MARKS[status]} ${t(`status ${status}`)}` }),
    make("span", { textContent: counts })];
  if (Number.isFinite(sure) && isOpen({ status })) lines.push(sureness(sure, empty));
  element.replaceChildren(...lines);
}

/** How sure the concept model is of its proposals for a picture. */
function sureness(sure, empty) {
  const bar = make("meter", { min: 0, max: 1, value: sure, "aria-hidden": "true" });
  const words = t(empty ? "sure, empty" : "sure", { percent: Math.round(100 * sure) });
  return make("span", { className: "sure", title: t("sure title") }, ...(empty ? [] : [bar]), words);
}
