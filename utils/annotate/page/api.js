// Talking to the server: requests that fail with a sentence.

import { t } from "./language.js";

export class Refusal extends Error {
  /** @param {string} sentence for the person  @param {number} status of HTTP, 0 if the server can't be reached */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/** The JSON answer to a request; a body makes it a POST. Throws a Refusal. */
export async function call(path, body) {
  const options = body === undefined ? {} :
    { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal(t("no server"), 0);
  }
  let content = null;
  try {
    content = await response.json();
  } catch {
    if (response.ok) throw new Refusal(t("broken off"), 0);
  }
  if (!response.ok) throw new Refusal(content?.error ?? t("answered with", { status: String(response.status) }), response.status);
  return content;
}

/** Whether the same request may succeed later: no server is there, or a new one that hasn't seen its token yet. */
export function isPassing(refusal) {
  return refusal.status === 0 || refusal.status === 401;
}
