// What comes from the server: the project, pictures with their masks, the answers to changes, how the server fares.

import { Refusal, call, isPassing, refusalOf } from "./api.js";
import { seen } from "./expectation.js";
import { heat, readGrey } from "./heat.js";
import { t } from "./language.js";
import { clearMessages, say } from "./messages.js";
import { Outline } from "./outline.js";
import { hand, list, view } from "./stage.js";
import { app, changed, listed, outbox } from "./state.js";

const POLL_MILLISECONDS = 1500;
const BUSY_POLL_MILLISECONDS = 300;
export const BUSY_MILLISECONDS = 600; // what takes longer gets a progress bar

// ---------------------------------------------------------------------------------------------- changes

outbox.handlers = {
  moved: () => changed(),
  answered(pictureId, state, entry) {
    updateListed(state.listed);
    app.answeredIn = Math.round(performance.now() - entry.since);
    changed("saved");
    if (pictureId === app.current) receive(state);
  },
  refused(entry, refusal) {
    say(refusal.message, { isError: true });
    changed();
    loadProject().catch(() => {}); // the list may have shown what wasn't to be
  },
  rebased(pictureId, state, isHeld) {
    if (isHeld) say(t("steps held"), { isError: true });
    if (pictureId === app.current) receive(state);
  },
};

export function change(op, fields = {}) {
  return app.state && outbox.push(app.current, { op, ...fields }, seen());
}

/** What a new object gets, for changes that may begin one. */
export function newObject() {
  return { label: app.label, settings: app.settings };
}

function updateListed(summary) {
  const entry = listed(summary.id);
  if (entry) Object.assign(entry, summary);
  list.update(summary);
  changed("progress");
}

// ---------------------------------------------------------------------------------------------- pictures

export function open(pictureId) {
  if (!pictureId || pictureId === app.current) return;
  document.body.classList.remove("show-list");
  hand.dropRegion();
  Object.assign(app, { current: pictureId, state: null, outlines: new Map(), hovered: {}, selected: null, map: null });
  history.replaceState(null, "", `#${pictureId}`);
  list.mark(pictureId);
  view.setPicture(null, 0, 0);
  clearMessages();
  return fetchPicture(pictureId);
}

async function fetchPicture(pictureId) {
  app.opening = { since: performance.now(), problem: null };
  changed();
  setTimeout(() => changed("saved"), BUSY_MILLISECONDS + 50);
  try {
    const [state, image] = await Promise.all([call(`/api/pictures/${pictureId}`), loadImage(pictureId)]);
    if (app.current !== pictureId) return;
    view.setPicture(image, state.height, state.width);
    outbox.revisions.set(pictureId, state.revision);
    receive(state);
    if (state.notice) say(state.notice, { isError: true });
    prefetchNext();
  } catch (refusal) {
    if (app.current !== pictureId) return;
    app.opening.problem = refusal;
    say(refusal.message, { isError: true });
    changed();
  }
}

async function loadImage(pictureId) {
  const image = new Image();
  image.src = `/api/pictures/${pictureId}/image`;
  try {
    await image.decode();
  } catch {
    throw await whyNot(image.src);
  }
  return image;
}

/** What the server says about a picture that the browser couldn't show. */
async function whyNot(address) {
  let response;
  try {
    response = await fetch(address);
    if (!response.ok) return refusalOf(response, await response.json());
  } catch {
    return new Refusal(t("no server"), 0);
  }
  return new Refusal(t("picture not shown"), response.status);
}

async function reload() {
  const pictureId = app.current;
  try {
    const state = await call(`/api/pictures/${pictureId}`);
    outbox.revisions.set(pictureId, state.revision);
    if (app.current === pictureId) receive(state);
    await loadProject();
  } catch (refusal) {
    say(refusal.message, { isError: true });
  }
}

let prefetch = null;
function prefetchNext() {
  clearTimeout(prefetch);
  prefetch = setTimeout(() => {
    const next = list.neighbour(app.current, 1);
    if (next) new Image().src = `/api/pictures/${next}/image`;
  }, 800);
}

// ---------------------------------------------------------------------------------------------- a picture's state

function receive(state) {
  app.state = state;
  app.previewThreshold = null;
  if (state.active?.outline) keepOutline(state.active.mask, state.active.outline);
  else if (state.active?.mask) fetchOutline(state.active.mask, `masks/${state.active.mask}`); // and hear what is wrong
  if (!state.objects.some(({ id }) => id === app.selected)) app.selected = null;
  for (const { mask } of state.objects) fetchOutline(mask, `masks/${mask}`);
  for (const proposal of state.proposals) fetchOutline(`proposal ${proposal}`, `proposals/${proposal}`);
  if (app.view === "probability") fetchMap();
  changed();
}

function keepOutline(name, described) {
  if (!app.outlines.get(name)) app.outlines.set(name, new Outline(described));
}

async function fetchOutline(name, address) {
  if (app.outlines.has(name)) return;
  const { current, outlines } = app;
  outlines.set(name, null);
  try {
    keepOutline(name, await call(`/api/pictures/${current}/${address}`));
    if (outlines === app.outlines) changed();
  } catch (refusal) {
    outlines.delete(name);
    if (current === app.current) say(refusal.message, { isError: true });
  }
}

/** The probability map of the object in work, once a revision. */
export async function fetchMap() {
  const { current, state } = app;
  if (!state?.active?.hasProbability || app.map?.revision === state.revision) return;
  try {
    const response = await fetch(`/api/pictures/${current}/probability`);
    if (!response.ok || app.state !== state) return;
    const grey = await readGrey(response);
    app.map = { revision: state.revision, grey, bitmap: heat(grey) };
    changed();
  } catch { /* the status line tells when the server can't be reached */ }
}

// ---------------------------------------------------------------------------------------------- the project

async function loadProject() {
  const project = await call("/api/project");
  outbox.project ??= project.key;
  Object.assign(app, { pictures: project.pictures, labels: project.labels, project });
  app.label ??= app.labels[0].name;
  document.title = `${project.name} – ${t("annotate")}`;
  list.show(app.pictures, app.current);
  changed("progress");
  changed();
}

export async function start() {
  await loadProject();
  const unsent = await outbox.adopt();
  if (unsent) say(t("unsent found", { n: unsent }));
  const first = listed(location.hash.slice(1)) ?? app.pictures.find(({ status }) => status !== "done") ?? app.pictures[0];
  if (first) open(first.id);
}

/** What failed because the server was away is asked for again. */
async function catchUp() {
  if (!app.project) await start();
  else if (await outbox.adopt()) changed("saved");
  else if (!app.state && app.opening?.problem && isPassing(app.opening.problem)) await fetchPicture(app.current);
}

/** Asks how the server fares, again and again; begins when there is one. */
export async function poll() {
  const { current } = app;
  const { activity } = outbox;
  let isLoading = true;
  try {
    const status = await call(`/api/status?picture=${current ?? ""}`);
    isLoading = status.model.state === "loading";
    showStatus(status);
    const isOther = outbox.project !== undefined && outbox.project !== status.project;
    if (isOther && outbox.isKept) location.reload(); // what is unsent waits in the browser for its own project
    if (isOther) throw new Refusal(t("other project"), 0);
    await catchUp();
    const isQuiet = activity === outbox.activity && !outbox.waiting && current === app.current;
    if (isQuiet && status.revision !== null && status.revision > outbox.revisions.get(current)) {
      say(t("changed elsewhere"));
      await reload();
    }
    if (outbox.trouble === null && app.isAway) say(t("server back"));
    app.isAway = false;
  } catch (refusal) {
    if (isPassing(refusal)) app.isAway = true;
    if (refusal.status !== 0) say(refusal.message, { isError: true });
  }
  changed("saved");
  const isBusy = (isLoading || outbox.waiting) && !app.isAway;
  setTimeout(poll, isBusy ? BUSY_POLL_MILLISECONDS : POLL_MILLISECONDS);
}

function showStatus({ model, work, job }) {
  if (model.state === "failed" && app.model?.state !== "failed") say(`${model.text} ${t("drawing still works")}`, { isError: true });
  Object.assign(app, { model, work, job });
  changed("model");
}
