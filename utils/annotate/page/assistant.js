// The concept model that learns from the finished pictures: its news, and what a person can tell it.

import { call } from "./api.js";
import { expected } from "./expectation.js";
import { loadProject, refetch } from "./loading.js";
import { say } from "./messages.js";
import { hand } from "./stage.js";
import { app, changed, outbox } from "./state.js";

const SHARE = 20; // the list is asked for so seldom that this takes a 20th of the time

const heard = {}; // the versions of the news that were taken in, of the open picture and of the list
let isHearing = false, pauseEnds = 0;

/** Takes in what the concept model has found since the last time: proposals, how sure it is of them, its figures. */
export async function hear() {
  const version = app.assist?.version;
  if (version === undefined || isHearing || outbox.waiting || !app.project) return;
  isHearing = true;
  try {
    if (heard.picture !== version && isUntouched()) await refetch(isUntouched);
    heard.picture = version;
    if (heard.list !== version && performance.now() > pauseEnds) await hearList();
  } catch { /* the next status brings it again */ }
  isHearing = false;
}

/** There may be thousands of pictures, and the model goes through them all after each training. */
async function hearList() {
  const { version } = app.assist;
  const begun = performance.now();
  app.figures = (await call("/api/assist")).labels;
  await loadProject();
  heard.list = version;
  pauseEnds = performance.now() + SHARE * (performance.now() - begun);
  changed("assist");
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
