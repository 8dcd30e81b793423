// The concept model that learns from the finished pictures: its news, and what a person can tell it.

import { call } from "./api.js";
import { expected } from "./expectation.js";
import { loadProject, refetch } from "./loading.js";
import { say } from "./messages.js";
import { hand } from "./stage.js";
import { app, changed, outbox } from "./state.js";

let heard; // version of the last news that was taken in
let isHearing = false;

/** Takes in what the concept model has found since the last time: proposals, how sure it is of them, its figures. */
export async function hear() {
  const version = app.assist?.version;
  if (version === undefined || version === heard || isHearing || outbox.waiting || !app.project) return;
  isHearing = true;
  try {
    app.figures = (await call("/api/assist")).labels;
    await loadProject();
    if (isUntouched()) await refetch(isUntouched);
    heard = version;
    changed("assist");
  } catch { /* the next status brings it again */ }
  isHearing = false;
}

/** Whether nothing has been done on the open picture: nobody's proposals are changed under their hands. */
function isUntouched() {
  const { state } = app;
  const isBare = state && !expected() && !state.objects.length && !state.undo && !state.redo;
  return Boolean(isBare) && !outbox.of(app.current).length && !hand.gesture;
}

/** Begins or ends a training ({do: "train" or "stop", label}), or switches the gate ({gate: true or false}). */
export async function tell(what) {
  try {
    app.assist = await call("/api/assist", what);
  } catch (refusal) {
    say(refusal.message, { isError: true });
  }
  changed("model");
}
