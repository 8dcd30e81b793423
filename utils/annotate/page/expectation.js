// What the annotation will be when the server has answered all that was sent. What a fast hand does next is meant for
// this, not for the state that the server answered last.

import { app, outbox } from "./state.js";

const begun = (work, { label, settings }) => work ?? { label, settings, prompts: [] };
const prompted = (work, each) => {
  const object = begun(work, each);
  return { ...object, prompts: [...object.prompts, { ...promptOf(each), isPending: true }] };
};

/** A prompt as the server describes those that it knows: {kind, points, positive}. */
function promptOf({ op, y, x, box, points, positive = true }) {
  const corners = box && [[box[0], box[1]], [box[2], box[3]]];
  return { kind: op, points: points ?? corners ?? [[y, x]], positive };
}

const EXPECTATIONS = {
  click: (work, each) => prompted("proposal" in each ? null : work, each),
  box: prompted,
  stroke: prompted,
  lasso: prompted,
  "delete prompt": (work, { index }) => work && { ...work, prompts: work.prompts.filter((_, i) => i !== index) },
  clear: (work) => work && { ...work, prompts: [] },
  brush: begun,
  region: begun,
  "take proposal": (_, each) => begun(null, each),
  edit: (_, { object }) => ({ ...app.state.objects.find(({ id }) => id === object), prompts: [] }),
  relabel: (work, { object, label }) => (work && (object ?? work.id) === work.id ? { ...work, label } : work),
  settings: (work, { settings }) => work && { ...work, settings },
  delete: (work, { object }) => (work?.id === object ? null : work),
  finish: () => null,
  "accept proposals": () => null,
  mark: (work, { done }) => (done ? null : work),
};

/** The object in work as it will be: {id, label, settings, prompts: [{kind, points, positive, isPending}]}, or null. */
export function expected() {
  let work = app.state?.active ?? null;
  for (const each of outbox.of(app.current)) if (each.op in EXPECTATIONS) work = EXPECTATIONS[each.op](work, each);
  return work;
}

/** The open picture's proposals but for those that are being taken or rejected. */
export function proposalsLeft() {
  const gone = new Set(outbox.of(app.current).flatMap(({ proposal, proposals = [] }) => [proposal, ...proposals]));
  return (app.state?.proposals ?? []).filter((each) => !gone.has(each));
}

/** What the person sees of the object in work, for changes that may meet another state; see rebase.js. */
export function seen() {
  const work = expected();
  return { work: work ? work.id ?? "new" : null, prompts: work?.prompts.length ?? 0 };
}

/** The last change of a kind that is still on its way: what it will set is shown already. */
export function pending(op, isMeant = () => true) {
  return outbox.of(app.current).findLast((each) => each.op === op && isMeant(each));
}

/** After an undo or a redo nobody knows yet; then the server is asked, and its refusal is shown. */
export function isWorking() {
  return Boolean(expected() ?? pending("undo") ?? pending("redo"));
}

/** Whether finished objects will be protected. */
export function protects() {
  return pending("protect")?.on ?? app.state?.protects ?? true;
}
