"""Click logs: JSON lines, one a dialogue, that another model can be asked with."""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from utils.benchmark.annotations import DataError
from utils.benchmark.runner import DAMAGED, Protocol, Record, parse_record, start_digest, write_whole
from utils.benchmark.tasks import Task


def write_log(path: Path, records: Sequence[Record]) -> None:
    """Writes the dialogues that did not fail, a line each with all fields of Record."""
    lines = [json.dumps(asdict(record)) for record in records if not record.error]
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())


def read_log(path: Path, wanted: str | None = None) -> list[Record]:
    """The dialogues of one model with one robot.

    Args:
        path: a clicks.jsonl.
        wanted: MODEL/ROBOT, needed where the log has several.

    Raises:
        DataError: the file can't be read or is no log, or the choice is open or not there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [parse_record(line) for line in lines]
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give the clicks.jsonl of another run") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is no click log ({error}); give the clicks.jsonl of another run") from error
    names = sorted({f"{record.model}/{record.robot}" for record in records})
    if wanted is None and len(names) == 1:
        wanted = names[0]
    if wanted not in names:
        raise DataError(f"{path} has the dialogues of {', '.join(names) or 'nobody'}; choose one by --replay-of")
    return [record for record in records if f"{record.model}/{record.robot}" == wanted]


def match_log(path: Path, log: Sequence[Record], tasks: Sequence[Task], protocol: Protocol) -> list[Task]:
    """The tasks that the log has clicks of.

    Raises:
        DataError: there are none, or the log was made from other pixels, another start or with fewer clicks.
    """
    logged = {(record.data, record.task): record for record in log}
    found = [task for task in tasks if (task.data, task.name) in logged]
    if not found:
        names = ", ".join(sorted({record.data for record in log}))
        raise DataError(f"{path} has no clicks on these tasks, only on those of {names}; give the same data set")
    for task in found:
        record, start = logged[task.data, task.name], logged[task.data, task.name].start
        if record.files != task.files:
            raise DataError(f"{path} was made with another image or mask of {task.name} than {task.photo.image}")
        if start != protocol.start:
            raise DataError(f"{path} starts from {start}, this run from {protocol.start}; use --start {start}")
        if record.start_digest != start_digest(task, protocol):
            remedy = "the same --seed" if start == DAMAGED else f"the masks that {start} held then"
            raise DataError(f"{path} starts from another mask of {task.name} than this run; use {remedy}")
        if len(record.clicks) < protocol.clicks:
            raise DataError(f"{path} has {len(record.clicks)} clicks on {task.name}; use --clicks {len(record.clicks)}")
    return found
