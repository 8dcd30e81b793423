"""What a run leaves: tasks.csv, summary.json, clicks.jsonl, report.html, and the main figures on the terminal."""
from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from utils.benchmark.combinations import describe, summarise_mixtures
from utils.benchmark.protocol import PACKAGES, REPLAY, ModelSpec, Protocol, version
from utils.benchmark.records import Record, write_click_log
from utils.benchmark.report import Run, write_report
from utils.benchmark.runner import Plan
from utils.benchmark.summary import Result, summarise_run, tasks_csv
from utils.benchmark.tasks import DataSet
from utils.files import shown_name, write_json, write_text
from utils.metrics import caps


def write_output(options: argparse.Namespace, plan: Plan, records: Sequence[Record]) -> None:
    """Writes the output folder and prints the main figures."""
    logged = _of_the_log(plan)
    summary = summarise_run([*logged, *records], [*(r.model for r in logged[:1]), *(m.name for m in plan.models)])
    about = _about(options, plan)
    by_name = {(task.data, task.name): task for task in plan.tasks}
    mixtures = summarise_mixtures([*records, *logged])
    run = Run(plan.protocol, options.command, about, by_name, [*records, *logged], summary, mixtures)
    content = {"command": options.command, **about, **summary.as_json(),
               "made_from": made_from(plan.models, plan.contents, plan.sets)}
    content["failed"] = [{"data": r.data, "task": r.task, "model": r.model, "user": r.user, "error": r.error}
                         for r in records if r.error]
    content["combinations"] = [asdict(mixture) for mixture in mixtures]
    content["without_object"] = {data.name: list(data.empty) for data in plan.sets}
    write_text(options.out / "tasks.csv", tasks_csv(records, plan.protocol.clicks))
    write_json(options.out / "summary.json", content, indent=1)
    write_click_log(options.out / "clicks.jsonl", records)
    write_text(options.out / "report.html", write_report(run, options.out))
    print(_main_figures(summary.results, plan.protocol))
    if mixtures:
        print(f"\n{describe(mixtures)}")
    print(f"\n{shown_name(options.out / 'report.html')}")


def made_from(
    models: Sequence[ModelSpec], contents: Mapping[str, Mapping[str, str]], sets: Sequence[DataSet]
) -> dict[str, Any]:
    """The models with their digests and the folders, by which a later run knows whose results a folder holds."""
    return {
        "models": {m.name: {"source": m.source, "device": m.device, "precision": m.precision, **contents[m.name]}
                   for m in models},
        "folders": [data.folder for data in sets],
    }


def _of_the_log(plan: Plan) -> list[Record]:
    """The log's own results, under a name that says so, cut to the clicks of this run."""
    wanted = {(task.data, task.name) for task in plan.tasks}
    records = [record for record in plan.log or () if (record.data, record.task) in wanted]
    for record in records:
        record.model, record.user = f"{record.model} (log)", REPLAY
        for values in (record.ious, record.boundary_ious, record.clicks, record.interactions,
                       record.click_seconds):
            del values[plan.protocol.clicks :]
    return records


def _about(options: argparse.Namespace, plan: Plan) -> dict[str, dict[str, str]]:
    """What was run, by heading: models, data, settings and versions."""
    protocol = plan.protocol
    return {
        "Models": {
            m.name: "; ".join([m.source, *(f"{f} sha256 {d}" for f, d in plan.contents[m.name].items())])
            for m in plan.models
        },
        "Data": {
            data.name: f"{data.folder}; format {data.format}; {len(data.tasks)} tasks; sha256 {data.digest}"
            + (f"; without an object: {len(data.empty)}" if data.empty else "")
            for data in plan.sets
        },
        "Settings": {
            "clicks": str(protocol.clicks),
            "caps of NoC": ", ".join(map(str, caps(protocol.clicks))),
            "users": ", ".join(name for name, _ in protocol.users) if not options.replay else f"log {options.replay}",
            "initial masks": protocol.initial,
            "seed": str(protocol.seed),
            "processes": str(options.jobs),
            "threads of each": str(options.threads),
        },
        "Versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        },
    }


def _main_figures(results: Sequence[Result], protocol: Protocol) -> str:
    """A line a data set, model and user."""
    cap = caps(protocol.clicks)[0]
    names = [*(f"IoU@{k}" for k in (1, 2, 3, 5) if k <= protocol.clicks), f"NoC{cap}@85", f"NoC{cap}@90"]
    about = [f"{r.data}  {r.model}, {r.user}" for r in results]
    width = max(map(len, about), default=0)
    lines = [f"{'':<{width}}  tasks" + "".join(f"{name:>10}" for name in names) + "   s/click"]
    for text, result in zip(about, results, strict=True):
        figures = [(result.figures[name].mean, 4 if "IoU" in name else 2) for name in names]
        row = "".join(f"{value:10.{decimals}f}" for value, decimals in figures)
        lines.append(f"{text:<{width}}  {result.tasks:5d}{row}{result.click_seconds:10.3f}")
    return "\n".join(lines)
