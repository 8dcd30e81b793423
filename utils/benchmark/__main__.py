"""Measures click models on annotated data: a simulated user clicks, the model answers, every answer is scored.

    python -m utils.benchmark tests/00_sample_input --out report            checkpoint.pth, 20 clicks a task
    python -m utils.benchmark DATA --out DIR --model grabcut --model checkpoint.pth --jobs 4
    python -m utils.benchmark DATA --out DIR --user exact noisy             what noise costs
    python -m utils.benchmark DATA --out DIR --interactions click,stroke,contour
    python -m utils.benchmark DATA --out DIR --replay OTHER/clicks.jsonl    the same clicks on another model
    python -m utils.benchmark assisted DATA --out DIR                       what proposals of a concept model save

The output folder receives report.html, summary.json, tasks.csv (a row a task) and clicks.jsonl; a run that was stopped
goes on when the command is given again. Exit status: 0, or 1 if a task failed, or 2 for a call that can't be carried
out.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from utils.benchmark.annotations import DataError
from utils.benchmark.arguments import parse_arguments, protocol_of
from utils.benchmark.formats import split_name
from utils.benchmark.output import made_from, write_output
from utils.benchmark.protocol import REPLAY, Job, ModelSpec, model_content, parse_model
from utils.benchmark.records import Record, ResultLog, match_click_log, read_click_log
from utils.benchmark.runner import Plan, run_jobs
from utils.benchmark.tasks import DataSet, list_tasks
from utils.files import UsageError, UserError, folder_lock, os_error_sentence, read_json, shown_name, tolerant_output
from utils.models import CHECKPOINT_PATH, ModelError

SHOWN_NAMES = 5  # of what is left out


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    tolerant_output()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["assisted"]:
        from utils.benchmark import assisted

        return assisted.main(given[1:])
    options = parse_arguments(__doc__, given)
    options.command = ["python", "-m", "utils.benchmark", *map(shown_name, given)]
    try:
        with folder_lock(options.out, "benchmark"):
            return run(options)
    except UserError as error:
        print(f"utils.benchmark: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        error.filename = error.filename or str(options.out)
        print(f"utils.benchmark: {os_error_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Evaluates what has not been evaluated yet and writes the output folder; returns the exit status.

    Raises:
        UserError: the call can't be carried out.
    """
    plan = _plan(options)
    _tell(plan.sets)
    results = ResultLog(options.out)
    if options.fresh:
        results.clear()
    else:
        _refuse_other_results(options.out, plan)
    jobs = plan.jobs()
    records = _broken(plan) + list(_evaluate(jobs, results, options))
    tasks = {(task.data, task.name): i for i, task in enumerate(plan.tasks)}
    places = {(job.task.data, job.task.name, job.model.name, job.user): (tasks[job.task.data, job.task.name], i)
              for i, job in enumerate(jobs)}
    records.sort(key=lambda record: places.get((record.data, record.task, record.model, record.user), (-1, 0)))
    write_output(options, plan, records)
    return 1 if any(record.error for record in records) else 0


# ---------------------------------------------------------------------------------------------- what to evaluate


def _plan(options: argparse.Namespace) -> Plan:
    protocol = protocol_of(options)
    models = _models(options)
    contents = {spec.name: model_content(spec) for spec in models}
    sets = _data_sets(options)
    tasks = [task for data in sets for task in data.tasks]
    if options.replay is None:
        return Plan(protocol, sets, models, contents, tasks)
    log = read_click_log(options.replay, options.replay_of)
    found = match_click_log(options.replay, log, tasks, protocol)
    if len(found) < len(tasks):
        missing = len(tasks) - len(found)
        print(f"{options.replay} has no clicks on {missing} of {len(tasks)} tasks; they are left out", file=sys.stderr)
    return Plan(protocol, sets, models, contents, found, log)


def _data_sets(options: argparse.Namespace) -> list[DataSet]:
    """The data sets under their folders' names, with the folder above in front where two are called alike."""
    folders = [split_name(data)[1].resolve() for data in options.data]
    if len(set(folders)) < len(folders):
        raise UsageError(f"{max(folders, key=folders.count)} is given twice; give each data set once")
    names = [folder.name for folder in folders]
    names = [f"{f.parent.name}/{f.name}" if names.count(f.name) > 1 else f.name for f in folders]
    if len(set(names)) < len(names):
        raise UsageError(f"the data sets {', '.join(names)} are called alike; rename a folder")
    settings = options.split, options.ignore_label, options.cluster, options.min_area, options.limit
    return [list_tasks(data, shown_name(name), *settings) for data, name in zip(options.data, names, strict=True)]


def _models(options: argparse.Namespace) -> list[ModelSpec]:
    models = [parse_model(text, options.device, options.precision) for text in options.model or [str(CHECKPOINT_PATH)]]
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ModelError(f"the models {', '.join(names)} share a name; give one as NAME=SOURCE")
    return models


def _tell(sets: Sequence[DataSet]) -> None:
    """Says what was left out of the data sets."""
    for data in sets:
        notes = list(data.notes)
        if data.empty:
            more = f" and {len(data.empty) - SHOWN_NAMES} more" if len(data.empty) > SHOWN_NAMES else ""
            notes.append(f"left out, as there is no object: {', '.join(data.empty[:SHOWN_NAMES])}{more}")
        for note in notes:
            print(f"{data.name}: {note}", file=sys.stderr)


def _refuse_other_results(out: Path, plan: Plan) -> None:
    """A folder with results of a model or data set that is not in this run would lose them."""
    if not (out / "summary.json").exists():
        return
    remedy = f"choose another --out, or --fresh to replace what is in {out}"
    earlier = read_json(out / "summary.json")
    before = earlier.get("made_from") if isinstance(earlier, dict) else None
    if before is None:
        raise DataError(f"{out} holds results that were not made by this version; {remedy}")
    now = made_from(plan.models, plan.contents, plan.sets)
    for name, model in before["models"].items():
        if model not in now["models"].values():
            state = ""
            if any(model["source"] == other["source"] for other in now["models"].values()):
                state = " as it was before a change"
            raise DataError(f"{out} holds the results of the model {name}{state}; give all models in one run (--model "
                            f"once for each), {remedy}")
    for folder in before["folders"]:
        if folder not in now["folders"]:
            raise DataError(f"{out} holds the results on {folder}; give all data sets in one run, {remedy}")


def _broken(plan: Plan) -> list[Record]:
    """Failures, for every model and user, of the photos whose annotation can't be read."""
    users = [name for name, _ in plan.protocol.users] if plan.log is None else [REPLAY]
    return [
        Record(key="", data=data.name, task=name, cluster=name, image="", files="", model=model.name, user=user,
               initial=plan.protocol.initial, error=reason)
        for data in plan.sets
        for name, reason in data.broken
        for model in plan.models
        for user in users
    ]


# ---------------------------------------------------------------------------------------------- evaluating it


def _evaluate(jobs: Sequence[Job], results: ResultLog, options: argparse.Namespace) -> Iterator[Record]:
    """The jobs' records, those of an earlier run from its log; shows progress and complains of failures."""
    known = results.read()
    done = [job for job in jobs if job.key in known and job.is_known]
    _tell_reused(jobs, done, known)
    for job in done:
        yield replace(known[job.key], model=job.model.name, user=job.user)  # they may have been called otherwise
    pause = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file needs few lines
    display = {"unit": "task", "dynamic_ncols": True, "mininterval": pause, "maxinterval": 10 * pause}
    left = [job for job in jobs if not (job.key in known and job.is_known)]
    with tqdm(total=len(jobs), initial=len(done), file=sys.stderr, **display) as bar:
        for model in dict.fromkeys(job.model for job in jobs):
            bar.set_description(model.name)
            alike: dict[str, list[Job]] = {}  # users may be called differently and do the same
            for job in left:
                if job.model == model:
                    alike.setdefault(job.key, []).append(job)
            first = [same[0] for same in alike.values()]
            for record in _say_once(run_jobs(first, options.out, options.jobs, options.threads), bar):
                results.append(record)
                if record.error:
                    bar.write(f"{record.data} {record.task}: {record.error}", file=sys.stderr)
                bar.update(len(alike[record.key]))
                yield from (replace(record, user=job.user) for job in alike[record.key])


def _say_once(records: Iterable[Record], bar: tqdm) -> Iterator[Record]:
    """Passes records on, and says with the first one that it concerns that drawings became clicks."""
    has_said = False
    for record in records:
        if record.as_clicks and not has_said:
            has_said = True
            bar.write(f"{record.model} understands clicks alone: a stroke becomes clicks along it, a contour one "
                      "inside it", file=sys.stderr)
        yield record


def _tell_reused(jobs: Sequence[Job], done: Sequence[Job], known: Mapping[str, Record]) -> None:
    """Says what is taken over from an earlier run and what is not."""
    others = len(set(known) - {job.key for job in jobs})
    unknown = {job.model.name for job in jobs if not job.is_known}
    if done:
        print(f"{len(done)} of {len(jobs)} results are taken from an earlier run of the same inputs and settings",
              file=sys.stderr)
    if others:
        print(f"{others} results of an earlier run are of other inputs or settings; they are not used", file=sys.stderr)
    for name in sorted(unknown):
        print(f"{name} can't be pickled, so that its state is unknown: its results are never taken over",
              file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
