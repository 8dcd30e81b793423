// Small helpers for building the page. Text is always set as text, never as markup.

import { t } from "./language.js";

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

/** A sentence for the person; errors stay longer. The same sentence isn't shown twice at a time. */
export function say(sentence, isError = false) {
  const messages = $("messages");
  for (const old of [...messages.children]) if (old.dataset.text === sentence) old.remove();
  const close = make("button", { className: "icon", textContent: "×", "aria-label": t("dismiss") });
  const message = make("div", { className: isError ? "message error" : "message", dataset: { text: sentence } },
    make("p", { textContent: sentence }), close);
  close.onclick = () => message.remove();
  messages.append(message);
  while (messages.children.length > 4) messages.firstChild.remove();
  setTimeout(() => message.remove(), isError ? 15000 : 5000);
}
