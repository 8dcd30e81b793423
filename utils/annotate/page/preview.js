// What a click under the pointer would give, drawn faintly; never in the way of a real click.

import { guessFor } from "./objects.js";
import { Outline } from "./outline.js";
import { hand, view } from "./stage.js";
import { app, changed, outbox } from "./state.js";

const REST_MILLISECONDS = 120; // how long the pointer rests before a preview is asked for

let previewing = null; // {timer, abort} of the preview that is wanted

/** What a click here would give, drawn faintly once the pointer rests; null asks for none. */
export function askPreview(point) {
  dropPreview();
  const isIdle = app.previews && app.tool === "click" && !hand.gesture && !outbox.entries.length;
  if (!isIdle || app.model?.state !== "ready" || !point || !app.state || !view.contains(point)) return;
  const abort = new AbortController();
  previewing = { abort, timer: setTimeout(() => fetchPreview(point.map(Math.floor), abort.signal), REST_MILLISECONDS) };
}

async function fetchPreview([y, x], signal) {
  try {
    const guess = guessFor([y + 0.5, x + 0.5]);
    const query = new URLSearchParams({ y, x, positive: app.isPositive ? 1 : 0, ...(guess && { proposal: guess }) });
    const response = await fetch(`/api/pictures/${app.current}/preview?${query}`, { signal });
    if (response.status !== 200 || signal.aborted) return;
    app.preview = new Outline(await response.json());
    changed("picture");
  } catch { /* it was dropped, or there is no server */ }
}

export function dropPreview() {
  clearTimeout(previewing?.timer);
  previewing?.abort.abort();
  previewing = null;
  if (!app.preview) return;
  app.preview = null;
  changed("picture");
}
