// The lists in the panel but for the finished objects: labels, the clicks of the object in work, proposals.

import { $, arrange, dot, make, setTitle } from "./dom.js";
import { language, number, t } from "./language.js";

// ---------------------------------------------------------------------------------------------- labels

let shownLabels = "";

export function showLabels(labels, chosen, choose) {
  const now = JSON.stringify([labels, chosen]);
  if (now === shownLabels) return;
  shownLabels = now;
  const isFocused = $("labels").contains(document.activeElement);
  $("labels").replaceChildren(...labels.map(({ name, colour }, i) => {
    const chip = make("button", { className: "label-chip", role: "radio", "aria-checked": String(name === chosen) },
      dot(colour), make("span", { textContent: name }));
    if (i < 9) chip.append(make("kbd", { textContent: i + 1, "aria-hidden": "true" }));
    chip.title = name;
    chip.onclick = () => choose(name);
    return chip;
  }));
  if (isFocused) $("labels").querySelector("[aria-checked=true]")?.focus();
}

// ---------------------------------------------------------------------------------------------- the object in work

const PROMPT_MARKS = { click: "", box: "▭", stroke: "~", lasso: "◌" };

/** The clicks, boxes and lines of the object in work. A chip stands for a place in the order, whatever is there. */
export function showPrompts(prompts, { remove, hover }) {
  const list = $("click-list");
  const isMore = prompts.length > list.children.length;
  arrange(list, prompts.map((prompt, i) => showPrompt(list.children[i] ?? promptChip(i, remove, hover), prompt, i)));
  if (isMore) list.scrollLeft = list.scrollWidth;
}

function promptChip(i, remove, hover) {
  const chip = make("button");
  chip.onclick = () => remove(i);
  chip.onpointerenter = () => hover(i);
  chip.onpointerleave = () => hover(null);
  return chip;
}

function showPrompt(chip, { kind, positive, isPending }, i) {
  const sign = positive ? "positive" : "negative";
  const text = `${positive ? "+" : "−"}${PROMPT_MARKS[kind]}${i + 1}`;
  if (chip.textContent !== text) chip.textContent = text;
  Object.assign(chip, { className: `click-chip ${sign}`, disabled: Boolean(isPending) });
  const values = { i: i + 1, kind: t(`step ${kind}`) };
  setTitle(chip, t("delete this prompt", values), t(`delete ${sign} prompt`, values));
  return chip;
}

// ---------------------------------------------------------------------------------------------- proposals

const SHOWN_PROPOSALS = 100;
let shownProposals = "";

/**
 * proposals: numbers; guesses: {number: {label, sure}} for those that the concept model made; gated: how many more of
 * them are hidden.
 */
export function showProposals(proposals, guesses, gated, { take, hover }) {
  const now = JSON.stringify([language(), proposals.length < 1000 ? proposals : proposals.join(), guesses, gated]);
  if (now === shownProposals) return;
  shownProposals = now;
  $("proposal-section").hidden = proposals.length + gated === 0;
  $("proposal-count").textContent = number(proposals.length);
  $("accept-all").hidden = proposals.length === 0;
  $("gated").hidden = gated === 0;
  $("gated").textContent = t("gated", { n: gated });
  const buttons = proposals.slice(0, SHOWN_PROPOSALS).map((proposal, i) => {
    const button = make("button", {
      textContent: [i + 1, guesses[proposal]?.label].filter(Boolean).join(" · "),
      title: t("take this proposal"), "aria-label": t("take proposal", { i: i + 1 }),
    });
    button.onclick = () => take(proposal);
    button.onpointerenter = () => hover(proposal);
    button.onpointerleave = () => hover(null);
    return button;
  });
  const left = proposals.length - buttons.length;
  $("proposals").replaceChildren(...buttons, ...(left ? [t("more proposals", { n: left })] : []));
}
