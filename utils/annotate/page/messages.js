// Sentences for the person that come and go, some with something to do about them.

import { $, make } from "./dom.js";
import { t } from "./language.js";

const SECONDS = 5, ERROR_SECONDS = 15, CHOICE_SECONDS = 20;

/**
 * Shows a sentence; errors and choices stay longer. The same sentence isn't shown twice at a time.
 * choices: [{text, run}] become buttons; what `outlives` isn't taken away with the picture that it was said about.
 * Gives a function that takes the message away.
 */
export function say(sentence, { isError = false, choices = [], outlives = false } = {}) {
  const messages = $("messages");
  for (const old of [...messages.children]) if (old.dataset.text === sentence) old.remove();
  const message = make("div", { className: isError ? "message error" : "message", dataset: { text: sentence } },
    make("p", { textContent: sentence }));
  if (outlives) message.dataset.outlives = "";
  for (const { text, run } of choices) {
    const button = make("button", { textContent: text });
    button.onclick = () => { message.remove(); run(); };
    message.append(button);
  }
  const close = make("button", { className: "icon", textContent: "×", "aria-label": t("dismiss") });
  close.onclick = () => message.remove();
  message.append(close);
  messages.append(message);
  while (messages.children.length > 3) messages.firstChild.remove();
  setTimeout(() => message.remove(), 1000 * (choices.length ? CHOICE_SECONDS : isError ? ERROR_SECONDS : SECONDS));
  return () => message.remove();
}

/** Takes away what was said about the picture before. */
export function clearMessages() {
  for (const message of document.querySelectorAll("#messages > :not([data-outlives])")) message.remove();
}
