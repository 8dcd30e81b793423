// Whether a change that was made on one state of a picture means the same on another one.

const onSameObject = ({ seen }, { active }) => (active?.id ?? null) === seen.work;
const onWork = (entry, state) => entry.seen.work !== null && onSameObject(entry, state);
const onExisting = ({ change }, { objects, active }) => [...objects, active].some((each) => each?.id === change.object);
const always = () => true;
const never = () => false;

const hasProposal = ({ change: { proposal } }, { proposals }) => proposal === undefined || proposals.includes(proposal);

const RULES = {
  click: (entry, state) => onSameObject(entry, state) && hasProposal(entry, state),
  box: onSameObject, stroke: onSameObject, lasso: onSameObject, brush: onSameObject, region: onSameObject,
  "delete prompt": (entry, state) => onWork(entry, state) && state.active.prompts.length === entry.seen.prompts,
  clear: onWork, finish: onWork, settings: onWork,
  relabel: (entry, state) => ("object" in entry.change ? onExisting : onWork)(entry, state),
  edit: onExisting, delete: onExisting,
  "take proposal": hasProposal,
  "accept proposals": always, "reject proposals": always, protect: always, mark: always, review: always,
  undo: never, redo: never, // the last step is another one now
};

/**
 * entry.seen: {work: id of the object in work that the person saw, "new" if it was just begun, null without one;
 * prompts: how many clicks, boxes and so on it had}.
 */
export function fits(entry, state) {
  return Boolean(entry.seen) && (RULES[entry.change.op] ?? never)(entry, state);
}
