// Small helpers for building the page. Text is always set as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, e.g. make("button", {className: "icon", textContent: "x"}, child, child). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A round patch of a label's colour. */
export function dot(colour) {
  const element = make("span", { className: "dot" });
  element.style.background = colour;
  return element;
}

/** Sets a text only where it differs: each change makes the browser lay out the page. */
export function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

/**
 * Makes elements the children of a list, in order. Those that are there stay where they are: an element that was put in
 * anew between the press and the release of a button would lose the click.
 */
export function arrange(list, elements) {
  const wanted = new Set(elements);
  for (const child of [...list.childNodes]) if (!wanted.has(child)) child.remove();
  let next = list.firstChild;
  for (const element of elements) {
    if (element === next) next = next.nextSibling;
    else list.insertBefore(element, next);
  }
}

/** What an element without words of its own is called: the hint that is shown, and its name for screen readers. */
export function setTitle(element, title, name = title) {
  if (element.title !== title) element.title = title;
  if (element.getAttribute("aria-label") !== name) element.setAttribute("aria-label", name);
}
