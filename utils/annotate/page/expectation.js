// What the annotation will be when the server has answered all that was sent. What a fast hand does next is meant for
// this, not for the state that the server answered last.

import { app, outbox } from "./state.js";

const begun = (work, { label, settings }) => work ?? { label, settings, clicks: [] };
const EXPECTATIONS = {
  click: (work, each) => {
    const object = begun(work, each);
    return { ...object, clicks: [...object.clicks, { ...each, isPending: true }] };
  },
  "delete click": (work, { index }) => work && { ...work, clicks: work.clicks.filter((_, i) => i !== index) },
  clear: (work) => work && { ...work, clicks: [] },
  brush: begun,
  region: begun,
  "take proposal": (_, each) => begun(null, each),
  edit: (_, { object }) => ({ ...app.state.objects.find(({ id }) => id === object), clicks: [] }),
  relabel: (work, { object, label }) => (work && (object === undefined || object === work.id) ? { ...work, label } : work),
  settings: (work, { settings }) => work && { ...work, settings },
  delete: (work, { object }) => (work?.id === object ? null : work),
  finish: () => null,
  "accept proposals": () => null,
  mark: (work, { done }) => (done ? null : work),
};

/** The object in work as it will be: {id, label, settings, clicks}, or null. */
export function expected() {
  const active = app.state?.active;
  const clicks = (active?.clicks ?? []).map(([y, x, positive]) => ({ y, x, positive }));
  let work = active ? { ...active, clicks } : null;
  for (const each of outbox.of(app.current)) if (each.op in EXPECTATIONS) work = EXPECTATIONS[each.op](work, each);
  return work;
}

/** What the person sees of the object in work, for changes that may meet another state; see rebase.js. */
export function seen() {
  const work = expected();
  return { work: work ? work.id ?? "new" : null, clicks: work?.clicks.length ?? 0 };
}

/** The last change of a kind that is still on its way: what it will set is shown already. */
export function pending(op, isMeant = () => true) {
  return outbox.of(app.current).findLast((each) => each.op === op && isMeant(each));
}

/** After an undo or a redo nobody knows yet; then the server is asked, and its refusal, if it comes to that, is shown. */
export function isWorking() {
  return Boolean(expected() ?? pending("undo") ?? pending("redo"));
}

/** Whether finished objects will be protected. */
export function protects() {
  return pending("protect")?.on ?? app.state?.protects ?? true;
}
