// What comes from the server: the project, pictures with their masks, the answers to changes, how the server fares.

import { Refusal, call, isPassing, refusalOf } from "./api.js";
import { draftOf } from "./drafts.js";
import { seen } from "./expectation.js";
import { heat, readGrey } from "./heat.js";
import { t } from "./language.js";
import { clearMessages, say } from "./messages.js";
import { Outline } from "./outline.js";
import { dropPreview } from "./preview.js";
import { hand, list, view } from "./stage.js";
import { app, changed, isOpen, listed, outbox, setTool } from "./state.js";

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
  if (entry) list.update(entry);
  changed("progress");
}

// ---------------------------------------------------------------------------------------------- pictures

export function open(pictureId) {
  if (!pictureId || pictureId === app.current) return;
  document.body.classList.remove("show-list");
  hand.region = draftOf(pictureId);
  dropPreview();
  Object.assign(app, {
    current: pictureId, state: null, outlines: new Map(), hovered: {}, hidden: new Set(), selected: null, map: null,
  });
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
    const [state, image] = await Promise.all([call(addressOf(pictureId)), loadImage(pictureId)]);
    if (app.current !== pictureId) return;
    view.setPicture(image, state.height, state.width);
    outbox.revisions.set(pictureId, state.revision);
    updateListed({ id: pictureId, status: state.status });
    receive(state);
    if (state.notice) say(state.notice, { isError: true });
    prefetchNext();
  } catch (refusal) {
    if (!isPassing(refusal)) updateListed({ id: pictureId, status: "unreadable" });
    if (app.current !== pictureId) return;
    app.opening.problem = refusal; // which is shown in the picture's place
    if (isPassing(refusal)) say(refusal.message, { isError: true });
    changed();
  }
}

const LOOKED_AHEAD = 8; // pictures that the concept model is told of before they are opened

/** Of a picture that is being opened; the concept model hears which ones come next. */
function addressOf(pictureId) {
  const next = app.assist ? [pictureId, ...list.following(pictureId, LOOKED_AHEAD - 1)] : [];
  return `/api/pictures/${pictureId}${next.length ? `?next=${next.join()}` : ""}`;
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

/** Asks for the open picture's state again, and shows it if it is still wanted. */
export async function refetch(isWanted = () => true) {
  const pictureId = app.current;
  const state = await call(`/api/pictures/${pictureId}`);
  if (app.current !== pictureId || !isWanted()) return;
  outbox.revisions.set(pictureId, state.revision);
  receive(state);
}

export async function reload() {
  try {
    if (app.state) await refetch();
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
  if (!state.proposals.includes(app.hovered.proposal)) app.hovered = { ...app.hovered, proposal: undefined };
  fetchOutlines(state);
  if (app.view === "probability") fetchMap();
  changed();
}

const BATCH = 500; // outlines that are asked for together

/** The outlines of finished objects and proposals that aren't known yet; there may be thousands. */
async function fetchOutlines({ objects, proposals }) {
  const { current, outlines } = app;
  const wanted = [
    ...objects.map(({ mask }) => ({ name: mask, mask })),
    ...proposals.map((proposal) => ({ name: `proposal ${proposal}`, proposal })),
  ].filter(({ name }) => !outlines.has(name));
  for (const { name } of wanted) outlines.set(name, null);
  for (let i = 0; i < wanted.length && outlines === app.outlines; i += BATCH) {
    await fetchBatch(current, outlines, wanted.slice(i, i + BATCH));
  }
}

async function fetchBatch(pictureId, outlines, wanted) {
  const names = (kind) => wanted.map((each) => each[kind]).filter((value) => value !== undefined);
  try {
    const { masks, proposals } = await call(`/api/pictures/${pictureId}/outlines`,
      { masks: names("mask"), proposals: names("proposal") });
    for (const [name, described] of Object.entries(masks)) outlines.set(name, new Outline(described));
    for (const [proposal, described] of Object.entries(proposals)) {
      outlines.set(`proposal ${proposal}`, new Outline(described));
    }
    if (outlines !== app.outlines) return;
    for (const { name, mask } of wanted) {
      if (!outlines.get(name)) outlines.delete(name);
      if (mask && !outlines.has(name)) fetchOutline(name, `masks/${mask}`); // to hear what is wrong with it
    }
    changed();
  } catch (refusal) {
    for (const { name } of wanted) outlines.delete(name);
    if (pictureId === app.current && !isPassing(refusal)) say(refusal.message, { isError: true });
  }
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

export async function loadProject() {
  const project = await call("/api/project");
  outbox.project ??= project.key;
  Object.assign(app, { pictures: project.pictures, labels: project.labels, project });
  app.label ??= app.labels[0].name;
  document.title = `${project.name} – ${t("annotate")}`;
  list.show(app.pictures, app.current);
  changed("progress");
  changed();
}

/** Adds the sample picture to a project without pictures, and opens it. */
export async function takeSample() {
  await call("/api/sample", {});
  await start();
}

/** Puts the last good session of the open picture in the place of a damaged one. */
export async function restore() {
  await call(`/api/pictures/${app.current}/restore`, {});
  await fetchPicture(app.current);
}

export async function start() {
  await loadProject();
  const unsent = await outbox.adopt();
  if (unsent) say(t("unsent found", { n: unsent }));
  const first = listed(location.hash.slice(1)) ?? app.pictures.find(isOpen) ?? app.pictures[0];
  if (first) open(first.id);
  if (hand.region.length) setTool("region"); // which was half drawn when the page was left
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

function showStatus({ model, work, job, assist = null }) {
  if (model.state === "failed" && app.model?.state !== "failed") {
    say(`${model.text} ${t("drawing still works")}`, { isError: true });
  }
  Object.assign(app, { model, work, job, assist });
  changed("model");
}
