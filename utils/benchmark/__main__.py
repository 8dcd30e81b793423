"""Measures click models on annotated data: a robot user clicks, the model answers, every answer is scored.

    python -m utils.benchmark tests/00_sample_input --out report            checkpoint.pth, 20 clicks a task
    python -m utils.benchmark DATA --out DIR --model grabcut --model checkpoint.pth --jobs 4
    python -m utils.benchmark DATA --out DIR --robot exact noisy            what noise costs
    python -m utils.benchmark DATA --out DIR --replay OTHER/clicks.jsonl    the same clicks on another model

The output folder receives report.html, summary.json, tasks.csv (a row a task) and clicks.jsonl; a run that was stopped
goes on when the command is given again. Exit status: 0, or 1 if a task failed, or 2 for a call that can't be carried
out.
"""
from __future__ import annotations

import argparse
import errno
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from utils.benchmark.annotations import DataError
from utils.benchmark.layouts import LAYOUTS, split_name
from utils.benchmark.logs import match_log, read_log, write_log
from utils.benchmark.metrics import caps
from utils.benchmark.models import ModelError, ModelSpec, digests, parse_model
from utils.benchmark.report import Run, write_report
from utils.benchmark.robots import Noise
from utils.benchmark.runner import (
    DAMAGED,
    EXACT,
    NOISY,
    NOTHING,
    REPLAY,
    Job,
    Journal,
    Protocol,
    Record,
    plan_jobs,
    write_whole,
)
from utils.benchmark.summary import Result, summarise_run, tasks_csv
from utils.benchmark.tasks import DataSet, Task, list_tasks
from utils.benchmark.workers import play_all

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoint.pth"
ROBOTS = (EXACT, NOISY, "spread", "outside", "wrong-sign")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PACKAGES = ("torch", "numpy", "opencv-python-headless")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    options = _parser().parse_args(arguments)
    options.command = ["python", "-m", "utils.benchmark", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        return run(options)
    except (DataError, ModelError) as error:
        print(f"utils.benchmark: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        remedy = "make room or choose another --out" if error.errno in DISK_FULL else "see that it can be used"
        print(f"utils.benchmark: {error.filename or options.out}: {error.strerror}; {remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Plays what has not been played yet and writes the output folder.

    Raises:
        DataError, ModelError: the call can't be carried out.
    """
    protocol = _protocol(options)
    sets = _data_sets(options)
    models = _models(options)
    log = read_log(options.replay, options.replay_of) if options.replay else None
    tasks = [task for data in sets for task in data.tasks]
    if log is not None:
        tasks = _replayed(options.replay, log, tasks, protocol)
    jobs = [job for spec in models for job in _jobs(spec, tasks, protocol, log)]
    journal = _journal(options)
    records = _broken(sets, models, protocol, log) + list(_play(jobs, journal, options))
    order = {task: i for i, task in enumerate((task.data, task.name) for task in tasks)}
    records.sort(key=lambda record: order.get((record.data, record.task), -1))
    _write(options, protocol, sets, models, tasks, records, log)
    return 1 if any(record.error for record in records) else 0


# ---------------------------------------------------------------------------------------------- what to play


def _protocol(options: argparse.Namespace) -> Protocol:
    noise = Noise(options.spread, options.outside_rate, options.wrong_sign_rate)
    known = {
        EXACT: None,
        NOISY: noise,
        "spread": Noise(spread=noise.spread),
        "outside": Noise(outside=noise.outside),
        "wrong-sign": Noise(wrong_sign=noise.wrong_sign),
    }
    robots = tuple((name, known[name]) for name in dict.fromkeys(options.robot))
    if options.start not in (NOTHING, DAMAGED) and not Path(options.start).is_dir():
        raise DataError(f"{options.start} is no folder; --start is nothing, damaged or a folder of masks")
    return Protocol(options.clicks, robots, options.start, options.seed)


def _data_sets(options: argparse.Namespace) -> list[DataSet]:
    """The data sets under their folders' names, with the folder above in front where two are called alike."""
    folders = [split_name(data)[1].resolve() for data in options.data]
    if len(set(folders)) < len(folders):
        raise DataError(f"{max(folders, key=folders.count)} is given twice; give each data set once")
    names = [folder.name for folder in folders]
    names = [f"{f.parent.name}/{f.name}" if names.count(f.name) > 1 else f.name for f in folders]
    if len(set(names)) < len(names):
        raise DataError(f"the data sets {', '.join(names)} are called alike; rename a folder")
    settings = options.split, options.ignore_label, options.cluster, options.min_area, options.limit
    return [list_tasks(data, name, *settings) for data, name in zip(options.data, names, strict=True)]


def _models(options: argparse.Namespace) -> list[ModelSpec]:
    models = [parse_model(text, options.device) for text in options.model or [str(CHECKPOINT)]]
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ModelError(f"the models {', '.join(names)} share a name; give one as NAME=SOURCE")
    return models


def _replayed(path: Path, log: Sequence[Record], tasks: Sequence[Task], protocol: Protocol) -> list[Task]:
    found = match_log(path, log, tasks, protocol)
    if len(found) < len(tasks):
        missing = len(tasks) - len(found)
        print(f"{path} has no clicks on {missing} of {len(tasks)} tasks; they are left out", file=sys.stderr)
    return found


def _jobs(spec: ModelSpec, tasks: Sequence[Task], protocol: Protocol, log: Sequence[Record] | None) -> list[Job]:
    clicks = None if log is None else {(record.data, record.task): record.clicks for record in log}
    return plan_jobs(tasks, spec, digests(spec), protocol, clicks)


def _broken(
    sets: Sequence[DataSet], models: Sequence[ModelSpec], protocol: Protocol, log: Sequence[Record] | None
) -> list[Record]:
    """Failures, for every model and robot, of the photos whose annotation can't be read."""
    robots = [name for name, _ in protocol.robots] if log is None else [REPLAY]
    return [
        Record(key="", data=data.name, task=name, cluster=name, image="", files="", model=model.name, robot=robot,
               start=protocol.start, error=reason)
        for data in sets
        for name, reason in data.broken
        for model in models
        for robot in robots
    ]


# ---------------------------------------------------------------------------------------------- playing it


def _journal(options: argparse.Namespace) -> Journal:
    try:
        journal = Journal(options.out)
        if options.fresh:
            journal.clear()
    except OSError as error:
        raise DataError(f"{options.out} can't be written to ({error.strerror}); choose another --out") from error
    return journal


def _play(jobs: Sequence[Job], journal: Journal, options: argparse.Namespace) -> Iterator[Record]:
    """The jobs' records, those of an earlier run from its journal; shows progress and complains of failures."""
    known = journal.read()
    done = [known[job.key] for job in jobs if job.key in known]
    for job in jobs:
        if job.key in known:  # a model may have been called otherwise then
            known[job.key].model, known[job.key].robot = job.model.name, job.robot
    yield from done
    pause = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file needs few lines
    look = {"unit": "task", "dynamic_ncols": True, "mininterval": pause, "maxinterval": 10 * pause}
    with tqdm(total=len(jobs), initial=len(done), file=sys.stderr, **look) as bar:
        for model in dict.fromkeys(job.model for job in jobs):
            left = [job for job in jobs if job.model == model and job.key not in known]
            bar.set_description(model.name)
            for record in play_all(left, options.out, options.jobs, options.threads):
                journal.append(record)
                if record.error:
                    bar.write(f"{record.data} {record.task}: {record.error}", file=sys.stderr)
                bar.update()
                yield record


# ---------------------------------------------------------------------------------------------- what came of it


def _write(
    options: argparse.Namespace,
    protocol: Protocol,
    sets: Sequence[DataSet],
    models: Sequence[ModelSpec],
    tasks: Sequence[Task],
    records: Sequence[Record],
    log: Sequence[Record] | None,
) -> None:
    """Writes the output folder and prints the main figures."""
    logged = _of_the_log(log, tasks, protocol)
    summary = summarise_run([*logged, *records], [*(r.model for r in logged[:1]), *(model.name for model in models)])
    about = _about(options, protocol, sets, models)
    by_name = {(task.data, task.name): task for task in tasks}
    run = Run(protocol, options.command, about, by_name, [*records, *logged], summary)
    content = {"command": options.command, **about, **summary.as_json()}
    content["failed"] = [{"data": r.data, "task": r.task, "model": r.model, "robot": r.robot, "error": r.error}
                         for r in records if r.error]
    write_whole(options.out / "tasks.csv", tasks_csv(records, protocol.clicks).encode())
    write_whole(options.out / "summary.json", json.dumps(content, indent=1, allow_nan=False).encode())
    write_log(options.out / "clicks.jsonl", records)
    write_whole(options.out / "report.html", write_report(run, options.out).encode())
    print(_main_figures(summary.results, protocol))
    print(f"\n{options.out / 'report.html'}")


def _of_the_log(log: Sequence[Record] | None, tasks: Sequence[Task], protocol: Protocol) -> list[Record]:
    """The log's own dialogues, under a name that says so, cut to the clicks of this run."""
    wanted = {(task.data, task.name) for task in tasks}
    records = [record for record in log or () if (record.data, record.task) in wanted]
    for record in records:
        record.model, record.robot = f"{record.model} (log)", REPLAY
        for values in (record.ious, record.boundary_ious, record.clicks, record.click_seconds):
            del values[protocol.clicks :]
    return records


def _about(
    options: argparse.Namespace, protocol: Protocol, sets: Sequence[DataSet], models: Sequence[ModelSpec]
) -> dict[str, dict[str, str]]:
    """What was run, by heading: models, data, settings and versions."""
    return {
        "Models": {m.name: "; ".join([m.source, *(f"{f} sha256 {d}" for f, d in digests(m).items())]) for m in models},
        "Data": {
            data.name: f"{data.folder}; layout {data.layout}; {len(data.tasks)} tasks; sha256 {data.digest}"
            for data in sets
        },
        "Settings": {
            "clicks": str(protocol.clicks),
            "caps of NoC": ", ".join(map(str, caps(protocol.clicks))),
            "robots": ", ".join(name for name, _ in protocol.robots) if not options.replay else f"log {options.replay}",
            "start": protocol.start,
            "seed": str(protocol.seed),
            "processes": str(options.jobs),
            "threads of each": str(options.threads),
        },
        "Versions": {
            "Python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        },
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _main_figures(results: Sequence[Result], protocol: Protocol) -> str:
    """A line a data set, model and robot."""
    cap = caps(protocol.clicks)[0]
    names = [*(f"IoU@{k}" for k in (1, 2, 3, 5) if k <= protocol.clicks), f"NoC{cap}@85", f"NoC{cap}@90"]
    about = [f"{r.data}  {r.model}, {r.robot}" for r in results]
    width = max(map(len, about), default=0)
    lines = [f"{'':<{width}}  tasks" + "".join(f"{name:>10}" for name in names) + "   s/click"]
    for text, result in zip(about, results, strict=True):
        figures = [(result.figures[name].mean, 4 if "IoU" in name else 2) for name in names]
        row = "".join(f"{value:10.{decimals}f}" for value, decimals in figures)
        lines.append(f"{text:<{width}}  {result.tasks:5d}{row}{result.click_seconds:10.3f}")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------- the command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m utils.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_data_arguments(parser.add_argument_group("data"))
    _add_protocol_arguments(parser.add_argument_group("protocol"))
    models = parser.add_argument_group("models")
    models.add_argument(
        "--model", action="append", metavar="[NAME=]SOURCE",
        help="a checkpoint, grabcut (OpenCV's, without a network) or module:attribute, an object (or what makes one) "
        "with set_input_image and get_prediction; several are compared task by task (default: checkpoint.pth)",
    )
    models.add_argument("--device", default="cpu", help="where checkpoints compute (default: cpu)")
    running = parser.add_argument_group("running")
    running.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    running.add_argument("--jobs", type=_count, default=1, metavar="N", help="number of processes (default: 1)")
    running.add_argument("--threads", type=_count, default=1, metavar="N", help="threads of each process (default: 1)")
    running.add_argument("--fresh", action="store_true", help="forget what an earlier run left in the output folder")
    return parser


def _add_data_arguments(group: argparse._ArgumentGroup) -> None:
    layouts = "; ".join(f"{name}: {layout.looks}" for name, layout in LAYOUTS.items())
    group.add_argument(
        "data", nargs="+", metavar="DATA",
        help=f"a folder, whose layout is recognised, or LAYOUT:FOLDER. The layouts are {layouts}".replace("%", "%%"),
    )
    group.add_argument("--limit", type=_count, metavar="N", help="only N tasks of each data set, spread evenly")
    group.add_argument("--split", help="of sbd, voc and cocolvis (default: val), and of davis-tree (default: all)")
    group.add_argument("--min-area", type=_count, metavar="PIXELS",
                       help="leave out smaller objects of label maps (default: 1000 for cocolvis, else 1)")
    group.add_argument("--ignore-label", type=_labels, metavar="LABELS",
                       help="labels of label maps to ignore, such as 255,220 or none (default: 255; voc, sbd: 255,220)")
    group.add_argument("--cluster", choices=("auto", "image", "sequence"), default="auto",
                       help="what the intervals take for independent (default: sequences of DAVIS, else images)")


def _add_protocol_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--clicks", type=_count, default=20, metavar="N",
                       help="clicks a task; 100 for NoC100 (default: 20)")
    group.add_argument("--start", default=NOTHING, metavar="MASKS",
                       help="nothing, damaged (the ground truth with defects) or a folder of masks named as the tasks")
    group.add_argument("--robot", nargs="+", choices=ROBOTS, default=[EXACT],
                       help="exact is the grader's; noisy has the three defects below, the others one of them each")
    group.add_argument("--spread", type=_rate, default=0.3, metavar="S",
                       help="standard deviation of clicks, in distances to the error's edge (default: 0.3)")
    group.add_argument("--outside-rate", type=_rate, default=0.1, metavar="R",
                       help="rate of clicks outside the error region (default: 0.1)")
    group.add_argument("--wrong-sign-rate", type=_rate, default=0.05, metavar="R",
                       help="rate of clicks with the wrong sign (default: 0.05)")
    group.add_argument("--seed", type=int, default=0, help="of noise and damage (default: 0)")
    group.add_argument("--replay", type=Path, metavar="LOG", help="repeat the clicks of another run's clicks.jsonl")
    group.add_argument("--replay-of", metavar="MODEL/ROBOT", help="whose clicks, if the log has several")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 1 or more")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _labels(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not none or a list of labels such as 255,220")
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
