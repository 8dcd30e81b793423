"""What a study of proposals came to: costs by policy with intervals, curves, and pictures, as one page."""
from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.benchmark.assisted_study import GIVEN, Outcome, Plan, read_picture
from utils.files import shown_name, write_json, write_text
from utils.images import read_labels
from utils.metrics import mean_interval
from utils.pictures import draw_task
from utils.plots import Curve, count_axis, curves_chart, percent_axis, value_axis, write_svg
from utils.report import charts, figure, html_table, page, picture, pictures

TARGETS = (0.85, 0.90, 0.95)
MAIN_TARGET, MAIN_CHECK = 0.90, 1.0
REJECTED = 0.5  # a proposal of a smaller IoU is rejected at sight, for one click
FEWEST = 3  # proposals that a gate is learnt from
BLOCK = 20  # pictures of an order that a point of the cost chart averages
SHOWN_CLICKS = 5
SHOWN = 6  # pictures that were helped, and as many that were hurt
SPANS = ((0, 40), (40, 100), (100, 200), (200, 10**9))
EXPLANATION = (
    "Costs are in clicks. A proposal costs a check, whether it helps or not; one with an IoU below 50 % is rejected "
    "for one click more, and the picture is annotated from nothing; else it is corrected by clicks. 'always' shows "
    "every proposal, 'gated' those whose confidence was worth it on earlier pictures of the same order, 'oracle' is "
    "the smaller cost of each picture, a bound. Intervals are 95 %, bootstrapped over pictures. The simulated user "
    "knows the truth: it can't show that people tend to accept wrong proposals."
)
POLICIES = ("nothing", "always", "gated", "oracle")


@dataclass(frozen=True)
class Costs:
    """Clicks a picture by policy; arrays over all outcomes of a study, in their order."""

    nothing: np.ndarray
    always: np.ndarray
    gated: np.ndarray
    oracle: np.ndarray


def clicks_to(ious: Sequence[float], target: float, most: int) -> int:
    """How many clicks an IoU took, 0 if the initial mask has it; `most` if it was never reached."""
    return next((k for k, iou in enumerate(ious) if iou >= target), most)


def cost_with_proposal(outcome: Outcome, check: float, target: float, most: int) -> float:
    """Clicks that a picture took with its proposal: check, rejection and corrections; from nothing without one."""
    nothing = clicks_to(outcome.ious, target, most)
    if not outcome.proposal_ious:
        return nothing
    if outcome.proposal_ious[0] < REJECTED:
        return check + 1 + nothing
    return check + clicks_to(outcome.proposal_ious, target, most)


def costs(outcomes: Sequence[Outcome], check: float, target: float, most: int) -> Costs:
    """The costs of every policy."""
    nothing = np.array([clicks_to(o.ious, target, most) for o in outcomes], float)
    always = np.array([cost_with_proposal(o, check, target, most) for o in outcomes], float)
    shown = np.concatenate([_gate([o for o in outcomes if o.order == order], check, target, most)
                            for order in sorted({o.order for o in outcomes})])
    return Costs(nothing, always, np.where(shown, always, nothing), np.minimum(nothing, always))


def _gate(outcomes: Sequence[Outcome], check: float, target: float, most: int) -> np.ndarray:
    """Which proposals of an order are shown, bool, each decided by what an annotator knows then.

    That is the cost of each proposal that was shown, and the mean cost of the pictures that were done from nothing.
    """
    shown: list[bool] = []
    known: list[tuple[float, float]] = []  # confidence and cost of the proposals that were shown
    alone: list[float] = []  # costs from nothing
    for outcome in outcomes:
        least = _least_confidence(known, float(np.mean(alone)) if alone else np.inf)
        is_shown = bool(outcome.proposal_ious) and outcome.confidence >= least
        shown.append(is_shown)
        if is_shown:
            known.append((outcome.confidence, cost_with_proposal(outcome, check, target, most)))
        if not is_shown or outcome.proposal_ious[0] < REJECTED:
            alone.append(clicks_to(outcome.ious, target, most))
    return np.array(shown)


def _least_confidence(known: Sequence[tuple[float, float]], alone: float) -> float:
    """The confidence from which on showing proposals would have saved most."""
    if len(known) < FEWEST or not np.isfinite(alone):
        return 0.0
    savings = {least: sum(alone - cost for confidence, cost in known if confidence >= least)
               for least in (0.0, *(confidence for confidence, _ in known), 1.01)}
    return max(savings, key=lambda least: (savings[least], -least))


# ---------------------------------------------------------------------------------------------- figures


def interval(values: np.ndarray, outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """Mean, lower and upper bound over pictures; the bounds are NaN for one picture."""
    mean, low, high = mean_interval(values[:, None], [o.name for o in outcomes])
    return float(mean[0]), float(low[0]), float(high[0])


def figures_of(plan: Plan, outcomes: Sequence[Outcome], checks: Sequence[float]) -> dict[str, Any]:
    """All figures as plain containers."""
    most = plan.clicks
    result: dict[str, Any] = {"pictures": len({o.name for o in outcomes}), "orders": plan.orders, "checks": {}}
    for check in checks:
        found = costs(outcomes, check, MAIN_TARGET, most)
        row: dict[str, Any] = {name: float(getattr(found, name).mean()) for name in POLICIES}
        for policy in ("always", "gated"):
            row[f"saved by {policy}"] = interval(found.nothing - getattr(found, policy), outcomes)
        row["proposal cost more"] = float((found.always > found.nothing).mean())
        result["checks"][f"{check:g}"] = row
    main = costs(outcomes, MAIN_CHECK, MAIN_TARGET, most)
    result["spans"] = _spans(outcomes, main, costs(outcomes, 0, MAIN_TARGET, most))
    result["stages"], result["useful after"] = _stages(outcomes, main)
    proposed = [o for o in outcomes if o.proposal_ious]
    if proposed:
        free = costs(proposed, 0, MAIN_TARGET, most)
        result["break-even check"] = float((free.nothing - free.always).mean())
    targets = [target for target in TARGETS if target <= plan.target]
    result["clicks"] = {f"{round(100 * t)}": _clicks_and_failures(proposed, t, most) for t in targets}
    result["ious"] = {name: _mean_ious([values(o) for o in proposed]) for name, values in STARTS.items() if proposed}
    result["seconds of training an order"] = float(sum(o.seconds for o in outcomes)) / plan.orders
    return result


STARTS: dict[str, Callable[[Outcome], list[float]]] = {
    "from nothing": lambda outcome: outcome.ious, "from the proposal": lambda outcome: outcome.proposal_ious}


def _mean_ious(ious: Sequence[Sequence[float]]) -> list[float]:
    """Means after 0, 1, ... clicks, or of the last ones where fewer were needed."""
    return [float(np.mean([one[min(k, len(one) - 1)] for one in ious])) for k in range(SHOWN_CLICKS + 1)]


def _spans(outcomes: Sequence[Outcome], main: Costs, free: Costs) -> dict[str, Any]:
    """What is saved over stretches of an order; `free` is without a cost for checks."""
    found = {}
    for begin, end in SPANS:
        chosen = np.array([begin <= o.place < end for o in outcomes])
        if chosen.any():
            there = [o for o, is_there in zip(outcomes, chosen, strict=True) if is_there]
            last = max(o.place for o in there) + 1
            saved = {p: interval((main.nothing - getattr(main, p))[chosen], there) for p in ("always", "gated")}
            saved["clicks"] = interval((free.nothing - free.always)[chosen], there)
            found[f"{begin + 1} to {last}"] = {"nothing": float(main.nothing[chosen].mean()), **saved}
    return found


def _stages(outcomes: Sequence[Outcome], main: Costs) -> tuple[dict[str, Any], int | None]:
    """What proposals save by how many pictures the model learnt from, and from which number on significantly."""
    stages, useful = {}, None
    saving = main.nothing - main.always
    for learnt in sorted({o.learnt for o in outcomes if o.proposal_ious}):
        chosen = np.array([o.learnt == learnt and bool(o.proposal_ious) for o in outcomes])
        there = [o for o, is_there in zip(outcomes, chosen, strict=True) if is_there]
        iou = interval(np.array([o.proposal_ious[0] for o in there]), there)
        saved = interval(saving[chosen], there)
        stages[str(learnt)] = {"proposals": len(there), "iou": iou, "saved": saved}
        useful = (useful or learnt) if saved[1] > 0 else None
    return stages, useful


def _clicks_and_failures(proposed: Sequence[Outcome], target: float, most: int) -> dict[str, Any]:
    found = {}
    for name, values in STARTS.items():
        counts = np.array([clicks_to(values(o), target, most) for o in proposed], float)
        missed = sum(max(values(o)) < target for o in proposed)
        found[name] = {"NoC": float(counts.mean()) if len(counts) else None, "NoF": missed}
    return found


# ---------------------------------------------------------------------------------------------- the page


def write_study(plan: Plan, outcomes: Sequence[Outcome], checks: Sequence[float]) -> str:
    """Writes summary.json, report.html and cost.svg, and gives the main figures as text."""
    figures = figures_of(plan, outcomes, checks)
    write_json(plan.out / "summary.json", figures, indent=1)
    tables = _tables(figures)
    parts = [f"<header><h1>What proposals save: {html.escape(shown_name(plan.data))}</h1>\n"
             f"<p>{figures['pictures']} pictures, orders: {plan.orders}. {html.escape(EXPLANATION)}</p></header>"]
    parts.append(f'<section><h2>Costs</h2><div class="tables">{"".join(map(_as_html, tables))}</div>'
                 f"{charts(_charts(plan, outcomes, figures))}</section>")
    parts.append(_pictures(plan, outcomes))
    write_text(plan.out / "report.html", page("What proposals save", parts))
    write_svg(plan.out / "cost.svg", cost_chart(outcomes, plan.clicks))
    return "\n\n".join(_as_text(*table) for table in tables)


Table = tuple[str, list[str], list[tuple[str, list[str]]]]


def _tables(figures: dict[str, Any]) -> list[Table]:
    rows = [(f"check {check}", [*(f"{row[name]:.2f}" for name in POLICIES), _show(row["saved by always"]),
                                _show(row["saved by gated"]), f"{100 * row['proposal cost more']:.0f} %"])
            for check, row in figures["checks"].items()]
    tables: list[Table] = [("Clicks a picture to IoU 90 %",
                            [*POLICIES, "saved by always", "saved by gated", "proposal cost more"], rows)]
    rows = [(span, [f"{row['nothing']:.2f}", *(text for kind in ("clicks", "always", "gated") for text in
                                               (_show(row[kind]), _percent(row[kind][0], row["nothing"])))])
            for span, row in figures["spans"].items()]
    tables.append(("By place in the order: clicks alone, then with check 1",
                   ["nothing", "clicks saved", "of nothing", "saved by always", "of nothing", "saved by gated",
                    "of nothing"], rows))
    rows = [("given model" if learnt == str(GIVEN) else learnt,
             [str(row["proposals"]), _show(row["iou"], 100), _show(row["saved"])])
            for learnt, row in figures["stages"].items()]
    tables.append(("By pictures learnt from, check 1", ["proposals", "their IoU, %", "saved"], rows))
    rows = [(f"{name}, {target} %", [_number(found["NoC"]), str(found["NoF"])])
            for target, found_by_start in figures["clicks"].items()
            for name, found in found_by_start.items()]
    tables.append(("Pictures with a proposal", ["NoC", "NoF"], rows))
    rows = [("break-even check, clicks", [_number(figures.get("break-even check"))]),
            ("useful after, pictures", [str(figures["useful after"] or "never")]),
            ("training, minutes an order", [_number(figures["seconds of training an order"] / 60)])]
    tables.append(("Altogether", [""], rows))
    return tables


def _show(estimate: Sequence[float], factor: float = 1.0) -> str:
    mean, low, high = (factor * value for value in estimate)
    return f"{mean:.2f}" + (f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else "")


def _number(value: object) -> str:
    return "none" if value is None else f"{value:.2f}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _as_html(table: Table) -> str:
    """A table with its intervals in small letters."""
    caption, columns, rows = table
    return html_table(caption, columns, [(label, [re.sub(r" \((.*?)\)", r"<small>\1</small>", cell) for cell in cells])
                                         for label, cells in rows])


def _as_text(caption: str, columns: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> str:
    lines = [["", *columns], *([label, *cells] for label, cells in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    shown = ("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([caption, *shown])


def _charts(plan: Plan, outcomes: Sequence[Outcome], figures: dict[str, Any]) -> list[str]:
    found = [(f"Cost of a picture, means of {BLOCK} places", cost_chart(outcomes, plan.clicks))]
    stages = [(int(n), row["iou"]) for n, row in figures["stages"].items() if n != str(GIVEN)]
    if stages:
        bounds = ([None if np.isnan(iou[i]) else iou[i] for _, iou in stages] for i in (1, 2))
        curve = Curve("mean IoU", [(float(n), iou[0]) for n, iou in stages], *bounds)
        found.append(("IoU of the proposals", curves_chart("IoU", [curve], percent_axis("IoU, %"),
                                                           x_label="pictures learnt from")))
    if figures["ious"]:
        curves = [Curve(name, [(float(k), v) for k, v in enumerate(values)])
                  for name, values in figures["ious"].items()]
        found.append(("IoU after clicks", curves_chart("IoU", curves, percent_axis("mean IoU, %"),
                                                       count_axis("clicks", SHOWN_CLICKS, first=0))))
    return [figure(name, chart) for name, chart in found]


def cost_chart(outcomes: Sequence[Outcome], most: int) -> str:
    """The cost of a picture over the order, as SVG: from nothing, and from proposals with and without a check each."""
    free, main = (costs(outcomes, check, MAIN_TARGET, most) for check in (0.0, MAIN_CHECK))
    kinds = {"from nothing": free.nothing, "from proposals, clicks alone": free.always,
             "from proposals, a check counted as a click": main.always, "as before, if the gate shows it": main.gated}
    curves = [_block_curve(name, outcomes, values) for name, values in kinds.items()]
    highest = max(bound or point[1] for curve in curves for point, bound in zip(curve.points, curve.high, strict=True))
    return curves_chart("Cost", curves, value_axis("clicks to IoU 90 %", [0, highest]), x_label="pictures annotated")


def _block_curve(name: str, outcomes: Sequence[Outcome], values: np.ndarray) -> Curve:
    blocks = np.array([o.place // BLOCK for o in outcomes])
    rows = []
    for block in range(int(blocks.max()) + 1):
        there = [o for o, at in zip(outcomes, blocks, strict=True) if at == block]
        middle = (min(o.place for o in there) + max(o.place for o in there)) / 2 + 1
        rows.append((middle, *interval(values[blocks == block], there)))
    low, high = ([None if np.isnan(row[i]) else row[i] for row in rows] for i in (2, 3))
    return Curve(name, [row[:2] for row in rows], low, high)


def _pictures(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """Proposals of the last order that helped and that hurt most."""
    samples = {sample.name: (number, sample) for number, sample in enumerate(plan.samples())}
    proposed = [o for o in outcomes if o.proposal_ious and o.order == plan.orders - 1]
    saved = {o.name: clicks_to(o.ious, MAIN_TARGET, plan.clicks)
             - cost_with_proposal(o, MAIN_CHECK, MAIN_TARGET, plan.clicks) for o in proposed}
    ranked = sorted(proposed, key=lambda o: -saved[o.name])
    groups = {"Proposals that helped most": [o for o in ranked if saved[o.name] > 0][:SHOWN],
              "Proposals that hurt most": [o for o in ranked[::-1] if saved[o.name] < 0][:SHOWN]}
    parts = []
    for heading, chosen in groups.items():
        figures = []
        for outcome in chosen:
            number, sample = samples[outcome.name]
            image, truth = read_picture(sample)
            mask = read_labels(plan.out / f"order_{outcome.order + 1}" / "proposals" / f"{number}.png").values > 0
            label = f"{shown_name(outcome.name)} · IoU {100 * outcome.proposal_ious[0]:.1f}, saved "
            figures.append(picture(draw_task(image, truth, mask, []), f"{label}{saved[outcome.name]:g}"))
        if figures:
            parts.append(pictures(heading, figures))
    legend = "<p>Contours: white is the truth, orange the proposal.</p>"
    return f"<section><h2>Pictures</h2>{legend}{''.join(parts)}</section>" if parts else ""
