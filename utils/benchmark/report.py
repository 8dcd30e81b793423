"""report.html: one file with everything in it, for a screen, a phone and paper."""
from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.benchmark.combinations import ALONE, Mixture, describe
from utils.benchmark.measures import MEASURES
from utils.benchmark.protocol import NOTHING, Protocol
from utils.benchmark.records import Record
from utils.benchmark.summary import Pair, Result, Summary, percent
from utils.benchmark.tasks import Task, read_task
from utils.files import UserError
from utils.images import read_labels
from utils.interactions import Noise
from utils.metrics import TARGETS, Estimate, caps
from utils.pictures import draw_task
from utils.plots import Curve, area_axis, count_axis, curves_chart, percent_axis, scatter_chart
from utils.report import (
    Figures,
    Row,
    as_percent,
    charts,
    click_word,
    figure,
    figures_table,
    html_table,
    page,
    picture,
    pictures,
    signed,
    signed_percent,
    two_decimals,
)

SHOWN_TASKS = 24
SCATTER_CLICK = 3  # the assignment's measure is the IoU after it
TABLE_CLICKS = (0, 1, 2, 3, 5, 10, 20, 50, 100)
CHART_TARGETS = (0.85, 0.90)


@dataclass(frozen=True)
class Run:
    """What a report is about. `about` is what was run, by heading; `tasks` are by (data, task)."""

    protocol: Protocol
    command: Sequence[str]
    about: Mapping[str, Mapping[str, str]]
    tasks: Mapping[tuple[str, str], Task]
    records: Sequence[Record]
    summary: Summary
    mixtures: Sequence[Mixture] = ()


def write_report(run: Run, out: Path) -> str:
    """The report's HTML; reads images and `out`/masks for its pictures."""
    failures = [record for record in run.records if record.error]
    parts = [_head(run, failures)]
    for data in dict.fromkeys(result.data for result in run.summary.results):
        parts.append(_data_section(run, data))
    parts += [_mixtures_section(run), _pairs_section(run), _robustness_section(run), _pictures_section(run, out)]
    parts += [_failures_section(failures), _measures_section(), _about_section(run)]
    return page(_title(run), parts)


# ---------------------------------------------------------------------------------------------- sections


def _title(run: Run) -> str:
    models = dict.fromkeys(result.model for result in run.summary.results)
    return f"Click benchmark: {', '.join(models) or 'nothing was measured'}"


def _head(run: Run, failures: Sequence[Record]) -> str:
    protocol = run.protocol
    start = "from nothing" if protocol.initial == NOTHING else f"from a mask ({html.escape(protocol.initial)})"
    objects = sum(not record.error for record in run.records)
    warning = ""
    if failures:
        count = len({(record.data, record.task) for record in failures})
        warning = f' <a class="warning" href="#failed">{count} task{"" if count == 1 else "s"} failed.</a>'
    return (
        f"<header><h1>{html.escape(_title(run))}</h1>\n"
        f"<p>{objects} results of {protocol.clicks} {click_word(protocol.clicks)} each, starting {start}. "
        f"Small figures are 95&nbsp;% intervals.{warning}</p></header>"
    )


def _data_section(run: Run, data: str) -> str:
    results = [result for result in run.summary.results if result.data == data]
    user = results[0].user
    shown = {result.model: result for result in results if result.user == user}
    first = next(iter(shown.values()))
    sharing = "" if first.clusters == first.tasks else f", intervals over {first.clusters} sequences or images"
    one = " No intervals: all tasks share one sequence or image." if first.clusters == 1 else ""
    columns = {name: result.figures for name, result in shown.items()}
    tasks = html.escape(_count_tasks({name: result.tasks for name, result in shown.items()}))
    heading = f"<h2>{html.escape(data)}</h2>\n<p>{tasks}{sharing}, simulated user {user}.{one}</p>"
    tables = _result_tables(run.protocol, columns, shown)
    return f"<section>{heading}\n{tables}\n{_charts(run, data, shown)}\n{_all_clicks(run.protocol, columns)}</section>"


def _count_tasks(counts: Mapping[str, int]) -> str:
    """The number of tasks; each model's own where some failed on some of them, as their means are of other tasks."""
    if len(set(counts.values())) == 1:
        count = next(iter(counts.values()))
        return f"{count} task{'' if count == 1 else 's'}"
    return "Tasks that did not fail: " + ", ".join(f"{name} {count}" for name, count in counts.items())


def _result_tables(protocol: Protocol, columns: Mapping[str, Figures], results: Mapping[str, Result]) -> str:
    tables = [figures_table("IoU after k clicks, %", columns, _iou_rows(protocol))]
    for cap in caps(protocol.clicks):
        rows = [Row(f"NoC@{percent(t)}", f"NoC{cap}@{percent(t)}", two_decimals) for t in TARGETS]
        tables.append(figures_table(f"Clicks needed, {cap} at most", columns, rows))
        tables.append(_failure_table(cap, results))
    rows = [Row(f"BIoU@{k}", f"BIoU@{k}", as_percent) for k in _table_clicks(protocol) if k]
    tables.append(figures_table("Boundary IoU after k clicks, %", columns, rows))
    for cap in caps(protocol.clicks):
        rows = [Row(f"NoI@{percent(t)}", f"NoI{cap}@{percent(t)}", two_decimals) for t in TARGETS]
        tables.append(figures_table(f"Clicks needed on Boundary IoU, {cap} at most", columns, rows))
    tables += [_harm_table(results), _time_table(results)]
    return f'<div class="tables">{"".join(tables)}</div>'


def _iou_rows(protocol: Protocol) -> list[Row]:
    rows = [Row(f"IoU@{k}", f"IoU@{k}", as_percent) for k in _table_clicks(protocol)]
    return [*rows, Row("area under curve", "AuC", as_percent)]


def _failure_table(cap: int, results: Mapping[str, Result]) -> str:
    rows = []
    for target in TARGETS:
        name = f"NoF{cap}@{percent(target)}"
        cells = [f"{r.failures[name]}<small>{as_percent(r.figures[name].mean)} %</small>{_interval(r.figures[name])}"
                 for r in results.values()]
        rows.append((f"NoF@{percent(target)}", cells))
    return html_table(f"Failures after {cap} {click_word(cap)}", list(results), rows)


def _harm_table(results: Mapping[str, Result]) -> str:
    values = results.values()
    rows = [
        ("hurtful clicks", [f"{as_percent(r.figures['Hurt'].mean)} %{_interval(r.figures['Hurt'])}" for r in values]),
        ("largest drop of IoU", [as_percent(r.largest_drop) for r in values]),
    ]
    return html_table("Clicks that do harm", list(results), rows)


def _interval(estimate: Estimate) -> str:
    """Its bounds in per cent in small letters, where it has some."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"<small>{as_percent(estimate.low)} to {as_percent(estimate.high)}</small>"


def _time_table(results: Mapping[str, Result]) -> str:
    values = results.values()
    paces = [f"{r.click_seconds:.3f}<small>95 % within {r.click_seconds_95:.3f}</small>" for r in values]
    rows = [
        ("s/click", paces),
        ("s/image, preparing", [f"{r.prepare_seconds:.4f}" for r in values]),
        ("harness, part of all", [f"{100 * r.harness_part:.1f} %" for r in values]),
        ("peak memory, MiB", [f"{r.peak_bytes / 2**20:.0f}" for r in values]),
    ]
    return html_table("Time and memory", list(results), rows)


def _charts(run: Run, data: str, results: Mapping[str, Result]) -> str:
    clicks = range(1, run.protocol.clicks + 1)
    curves = [_curve(name, [r.figures[f"IoU@{k}"] for k in clicks]) for name, r in results.items()]
    lowest = min(value for curve in curves for _, value in curve.points)
    x = count_axis("clicks", run.protocol.clicks)
    figures = [figure("IoU over clicks", curves_chart("IoU", curves, percent_axis("mean IoU, %", lowest), x))]
    for target in CHART_TARGETS:
        curves = [_curve(n, [r.figures[f"Miss{percent(target)}@{k}"] for k in clicks]) for n, r in results.items()]
        chart = curves_chart("Failures", curves, percent_axis("tasks, %"), x)
        figures.append(figure(f"Tasks still below {percent(target)} % IoU", chart))
    shown = min(SCATTER_CLICK, run.protocol.clicks)
    groups = {name: _sizes_and_ious(run, data, name, r.user, shown) for name, r in results.items()}
    areas = [area for points in groups.values() for area, _ in points]
    if areas:
        chart = scatter_chart(f"IoU@{shown}", groups, area_axis(areas), percent_axis(f"IoU@{shown}, %"))
        figures.append(figure(f"Object size against IoU@{shown}", chart))
    return charts(figures)


def _sizes_and_ious(run: Run, data: str, model: str, user: str, click: int) -> list[tuple[float, float]]:
    records = [r for r in run.records if (r.data, r.model, r.user, r.error) == (data, model, user, "") and r.area]
    return [(r.area / (r.height * r.width), r.ious[click - 1]) for r in records]


def _all_clicks(protocol: Protocol, columns: Mapping[str, Figures]) -> str:
    clicks = range(1, protocol.clicks + 1)
    ious = figures_table("IoU, %", columns, [Row(f"@{k}", f"IoU@{k}", as_percent) for k in clicks])
    edges = figures_table("Boundary IoU, %", columns, [Row(f"@{k}", f"BIoU@{k}", as_percent) for k in clicks])
    return f'<details><summary>Every click</summary><div class="tables">{ious}{edges}</div></details>'


def _mixtures_section(run: Run) -> str:
    """SAIC-IS's measure: a table a data set of all combinations, and curves of each kind alone."""
    if not run.mixtures:
        return ""
    parts = []
    for mixture in run.mixtures:
        columns = [name for name in next(iter(mixture.by_user.values())) if name != "tasks"]
        shown = [name for name in columns if not name.startswith("IoU@") or name in ("IoU@1", "IoU@2", "IoU@3")]
        rows = [(user, [f"{row[n]:.2f}" if n.startswith("NoI") else as_percent(row[n]) for n in shown])
                for user, row in mixture.by_user.items()]
        labels = [f"{name}, %" if "IoU" in name else name for name in shown]
        note = " The model understands clicks alone: strokes were given as clicks along them." * mixture.as_clicks
        parts.append(f"<p>{html.escape(describe([mixture]))}.{note}</p>")
        parts.append(charts([_mixture_chart(mixture)]))
        caption = f"{mixture.data}: {mixture.model}, means over {mixture.steps} steps"
        parts.append(f'<div class="tables">{html_table(caption, labels, rows)}</div>')
    return f"<section><h2>Combinations of interactions</h2>\n{''.join(parts)}</section>"


def _mixture_chart(mixture: Mixture) -> str:
    curves = [Curve(f"{mixture.combinations} combinations", [(float(k), v) for k, v in enumerate(mixture.ious, 1)])]
    for user, row in mixture.by_user.items():
        if user.endswith(ALONE):
            points = [(float(k), row[f"IoU@{k}"]) for k in range(1, mixture.steps + 1)]
            curves.append(Curve(user, points))
    lowest = min(value for curve in curves for _, value in curve.points)
    axes = percent_axis("mean IoU, %", lowest), count_axis("interactions", mixture.steps)
    return figure(f"{mixture.model}: IoU over interactions", curves_chart("IoU", curves, *axes))


def _pairs_section(run: Run) -> str:
    if not run.summary.pairs:
        return ""
    explanation = "The same tasks, one model minus another. Bold where the interval leaves zero out."
    return _differences("Paired differences", explanation, run.summary.pairs, run.protocol)


def _robustness_section(run: Run) -> str:
    if not run.summary.robustness:
        return ""
    noises = [(name, noise) for name, noise in run.protocol.users if isinstance(noise, Noise)]
    kinds = "; ".join(
        f"{name}: spread {noise.spread:g}, outside {100 * noise.outside:g} %, wrong sign {100 * noise.wrong_sign:g} %"
        for name, noise in noises
    )
    explanation = f"Noisy users minus the exact one ({kinds}). Bold where the interval leaves zero out."
    noisy = dict.fromkeys((pair.data, pair.minuend.rsplit(", ", 1)[0]) for pair in run.summary.robustness)
    absolute = "".join(_users_table(run, data, model) for data, model in noisy)
    return _differences("Robustness", explanation, run.summary.robustness, run.protocol, absolute)


def _users_table(run: Run, data: str, model: str) -> str:
    """A model's own figures with every user, to stand above the differences."""
    columns = {r.user: r.figures for r in run.summary.results if (r.data, r.model) == (data, model)}
    rows = _iou_rows(run.protocol)
    for cap in caps(run.protocol.clicks):
        rows += [Row(f"NoC{cap}@{percent(t)}", f"NoC{cap}@{percent(t)}", two_decimals) for t in TARGETS]
    return figures_table(f"{data}: {model} with every user", columns, rows)


def _differences(
    heading: str, explanation: str, pairs: Sequence[Pair], protocol: Protocol, tables_above: str = ""
) -> str:
    """Tables for each data set and pair of models, or each model where users are compared; a column a user."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.data, _name_pair(pair)[0]), []).append(pair)
    tables = [tables_above]
    for (data, name), there in groups.items():
        columns = {_name_pair(pair)[1]: pair.figures for pair in there}
        tasks = _count_tasks({_name_pair(pair)[1]: pair.tasks for pair in there})
        for kind, rows in _difference_rows(protocol).items():
            tables.append(figures_table(f"{data}: {name}, {kind}. {tasks}", columns, rows, is_difference=True))
    body = f'<div class="tables">{"".join(tables)}</div>'
    return f"<section><h2>{heading}</h2>\n<p>{html.escape(explanation)}</p>\n{body}</section>"


def _difference_rows(protocol: Protocol) -> dict[str, list[Row]]:
    """The lines of each table by what it is about."""
    clicks = [k for k in _table_clicks(protocol) if k]
    names = [f"{count}{cap}@{percent(t)}" for count in ("NoC", "NoI") for cap in caps(protocol.clicks) for t in TARGETS]
    ious = [Row(f"IoU@{k}", f"IoU@{k}", signed_percent) for k in clicks]
    return {
        "points of IoU": [*ious, Row("area under curve", "AuC", signed_percent)],
        "points of Boundary IoU": [Row(f"BIoU@{k}", f"BIoU@{k}", signed_percent) for k in clicks],
        "clicks needed": [Row(name, name, signed) for name in names],
    }


def _name_pair(pair: Pair) -> tuple[str, str]:
    """What is subtracted from what: the models and the user that both have, or the model and the users."""
    (model, user), (other, other_user) = (name.rsplit(", ", 1) for name in (pair.minuend, pair.subtrahend))
    if user == other_user:
        return f"{model} − {other}", user
    return model, f"{user} − {other_user}"


def _pictures_section(run: Run, out: Path) -> str:
    shown = run.protocol.clicks
    parts = []
    for model in dict.fromkeys(result.model for result in run.summary.results):
        records = [record for record in run.records if record.model == model and not record.error]
        user = _pictured_user(run, [record.user for record in records])
        records = [record for record in records if record.user == user and record.mask_file(out).is_file()]
        if not records:  # known from a log only
            continue
        for heading, chosen in choose_pictures(records, run.protocol.seed).items():
            shown_tasks = (_picture(run, record, out) for record in chosen)
            parts.append(pictures(f"{model}, {user}: {heading}", shown_tasks))
    if not parts:
        return ""
    legend = (
        f"<p>After {shown} {click_word(shown)}. Contours: white is the truth, orange the prediction; "
        "blue plus signs are positive clicks, red minus signs negative ones; darkened pixels are ignored.</p>"
    )
    return f"<section><h2>Pictures</h2>\n{legend}\n{''.join(parts)}</section>"


def _pictured_user(run: Run, users: Sequence[str]) -> str:
    """The first one, or of drawing users one who draws every kind of interaction."""
    return max(users, key=lambda user: len(set(user.split("-"))) if run.mixtures else 0, default="")


def choose_pictures(records: Sequence[Record], seed: int) -> dict[str, list[Record]]:
    """The worst and random ones by heading, 24 of each; all where there are no more, because both would show them."""
    worst = sorted(records, key=lambda record: (record.ious[-1], record.data, record.task))
    if len(records) <= SHOWN_TASKS:
        return {f"all {len(records)} tasks, the worst first": worst}
    order = np.random.default_rng(seed).permutation(len(records))[:SHOWN_TASKS]
    chosen = [records[i] for i in sorted(order)]
    return {f"the {SHOWN_TASKS} worst tasks": worst[:SHOWN_TASKS], f"{SHOWN_TASKS} random tasks": chosen}


def _picture(run: Run, record: Record, out: Path) -> str:
    steps = sorted({min(SCATTER_CLICK, len(record.ious)), len(record.ious)})
    ious = ", ".join(f"IoU@{k} {as_percent(record.ious[k - 1])}" for k in steps)
    label = f"{record.task} · {ious}"
    try:
        image, truth = read_task(run.tasks[record.data, record.task])
    except UserError as error:  # it was there when it was clicked on
        return figure(label, f"<p>{html.escape(str(error))}</p>")
    mask = read_labels(record.mask_file(out)).values > 0
    return picture(draw_task(image, truth, mask, record.steps), label)


def _failures_section(failures: Sequence[Record]) -> str:
    if not failures:
        return ""
    rows = [(f"{r.data} {r.task}", [html.escape(f"{r.model}, {r.user}: {r.error}")]) for r in failures]
    table = html_table("Left out of all figures above", ["what went wrong"], rows, kind="texts")
    return f'<section id="failed"><h2>Failed tasks</h2>\n{table}</section>'


def _measures_section() -> str:
    items = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in MEASURES.items())
    return f"<section><h2>Measures</h2>\n<dl>{items}</dl></section>"


def _about_section(run: Run) -> str:
    parts = [f"<h2>What was run</h2>\n<pre>{html.escape(shlex.join(run.command))}</pre>"]
    for heading, facts in run.about.items():
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
        parts.append(f'<h3>{html.escape(heading)}</h3>\n<table class="texts"><tbody>{rows}</tbody></table>')
    return f'<section class="about">{"".join(parts)}</section>'


def _curve(name: str, estimates: Sequence[Estimate]) -> Curve:
    means = [(float(k), estimate.mean) for k, estimate in enumerate(estimates, 1)]
    return Curve(name, means, [e.low for e in estimates], [e.high for e in estimates])


def _table_clicks(protocol: Protocol) -> list[int]:
    first = 1 if protocol.initial == NOTHING else 0
    return [k for k in TABLE_CLICKS if first <= k <= protocol.clicks]
