// Talking to the server: requests that fail with a sentence.

import { sentenceOf, t } from "./language.js";

export class Refusal extends Error {
  /**
   * @param {string} sentence for the person
   * @param {number} status of HTTP, 0 if the server can't be reached
   * @param {{code?: string, values?: object, retry?: boolean}} more what the server says about it
   */
  constructor(sentence, status, { code, values, retry } = {}) {
    super(sentence);
    Object.assign(this, { status, code, values: values ?? {}, retry });
  }
}

/** The JSON answer to a request; a body, JSON or a file, makes it a POST. Throws a Refusal. */
export async function call(path, body) {
  const isFile = body instanceof Blob;
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": isFile ? "application/octet-stream" : "application/json" },
    body: isFile ? body : JSON.stringify(body),
  };
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
  if (!response.ok) throw refusalOf(response, content);
  return content;
}

/** What the server refuses, in the person's language if the page knows the code. */
export function refusalOf({ status }, content) {
  const sentence = content?.error ? sentenceOf(content) : t("answered with", { status: String(status) });
  return new Refusal(sentence, status, content ?? {});
}

const PASSING = [0, 401, 502, 503, 504];

/** Whether the same request may succeed later: no server, a new one that hasn't seen its token yet, a full disk. */
export function isPassing(refusal) {
  return PASSING.includes(refusal.status) && refusal.retry !== false;
}
