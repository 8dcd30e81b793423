"""What came of each object: records, the log from which a stopped run goes on, and click logs that can be repeated."""
from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from utils.benchmark.annotations import DataError
from utils.benchmark.protocol import PERTURBED, Job, Protocol, initial_digest
from utils.benchmark.tasks import Task
from utils.files import UserError, read_text, shown_name, write_text
from utils.interactions import LoggedClick

FORMER_NAMES = {"robot": "user", "start": "initial", "start_digest": "initial_digest", "start_iou": "initial_iou"}
FORMER_PERTURBED = "damaged"


@dataclass
class Record:
    """What came of a job: an error, or an object's figures (see ObjectResult) and the process's peak memory in bytes.

    `harness_seconds` is all that was not the model's, from decoding the image to writing the mask.
    """

    key: str
    data: str
    task: str
    cluster: str
    image: str
    files: str
    model: str
    user: str
    initial: str
    initial_digest: str = ""
    error: str = ""
    height: int = 0
    width: int = 0
    area: int = 0
    initial_iou: float = 0.0
    ious: list[float] = field(default_factory=list)
    boundary_ious: list[float] = field(default_factory=list)
    clicks: list[LoggedClick] = field(default_factory=list)
    interactions: list[dict[str, Any]] = field(default_factory=list)
    as_clicks: bool = False
    prepare_seconds: float = 0.0
    click_seconds: list[float] = field(default_factory=list)
    harness_seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def steps(self) -> list[Any]:
        """The clicks of a clicking user, else what a drawing one drew."""
        return self.clicks or self.interactions

    def mask_file(self, out: Path) -> Path:
        """Where the last mask is kept."""
        return out / "masks" / f"{self.key}.png"


def record_of(job: Job, error: str = "") -> Record:
    """An empty record of a job, or that of its failure."""
    task = job.task
    about = task.data, task.name, task.photo.cluster, shown_name(task.photo.image), task.files
    initial = job.protocol.initial, initial_digest(task, job.protocol)
    return Record(job.key, *about, job.model.name, job.user, *initial, error)


def parse_record(line: str | bytes) -> Record:
    """A record from a line of JSON.

    Raises:
        ValueError, TypeError: the line is torn, or no record.
    """
    values = {FORMER_NAMES.get(name, name): value for name, value in json.loads(line).items()}
    record = Record(**values)
    if record.initial == FORMER_PERTURBED:
        record.initial = PERTURBED
        record.initial_digest = record.initial_digest.replace(FORMER_PERTURBED, PERTURBED)
    record.clicks = [(y, x, is_positive) for y, x, is_positive in record.clicks]
    return record


class ResultLog:
    """Records in a file, a line each, appended as they come, so that a killed run goes on where it stopped.

    A record counts if its key is asked for and its mask is there; failures are tried again.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / "journal.jsonl"
        (out / "masks").mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Record]:
        """The usable records by key; a last line that a killed run left unfinished is dropped."""
        records: dict[str, Record] = {}
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        for line in lines:
            try:
                record = parse_record(line)
            except (ValueError, TypeError, AttributeError):
                continue
            if not record.error and record.mask_file(self._out).is_file():
                records[record.key] = record
        return records

    def append(self, record: Record) -> None:
        """Adds a line, after the unfinished one of a killed run if there is such."""
        with self._path.open("ab+") as file:
            if file.tell() and not _ends_with_newline(file):
                file.write(b"\n")
            file.write(json.dumps(asdict(record)).encode() + b"\n")

    def clear(self) -> None:
        """Forgets all records."""
        self._path.unlink(missing_ok=True)
        for mask in (self._out / "masks").glob("*.png"):
            mask.unlink()


def _ends_with_newline(file: io.BufferedIOBase | Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


# ---------------------------------------------------------------------------------------------- click logs


def write_click_log(path: Path, records: Sequence[Record]) -> None:
    """Writes the objects that did not fail, a line each with all fields of Record."""
    lines = [json.dumps(asdict(record)) for record in records if not record.error]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_click_log(path: Path, wanted: str | None = None) -> list[Record]:
    """The interactions of one user with one model.

    Args:
        path: a clicks.jsonl.
        wanted: MODEL/USER, needed where the log has several.

    Raises:
        DataError: the file can't be read or is no log, or the choice is open or not there.
    """
    try:
        records = [parse_record(line) for line in read_text(path).splitlines()]
    except UserError as error:
        raise DataError(f"{error}; --replay takes the clicks.jsonl of another run") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no click log ({error}); give the clicks.jsonl of another run") from error
    names = sorted({f"{record.model}/{record.user}" for record in records})
    if wanted is None and len(names) == 1:
        wanted = names[0]
    if wanted not in names:
        raise DataError(f"{path} has the clicks of {', '.join(names) or 'nobody'}; choose one by --replay-of")
    return [record for record in records if f"{record.model}/{record.user}" == wanted]


def match_click_log(path: Path, log: Sequence[Record], tasks: Sequence[Task], protocol: Protocol) -> list[Task]:
    """The tasks that the log has clicks of.

    Raises:
        DataError: there are none, or the log was made from other pixels, another initial mask or with fewer clicks.
    """
    logged = {(record.data, record.task): record for record in log}
    found = [task for task in tasks if (task.data, task.name) in logged]
    if not found:
        names = ", ".join(sorted({record.data for record in log}))
        raise DataError(f"{path} has no clicks on these tasks, only on those of {names}; give the same data set")
    for task in found:
        record = logged[task.data, task.name]
        if record.files != task.files:
            raise DataError(f"{path} was made with another image or mask of {task.name} than {task.photo.image}")
        if record.initial != protocol.initial:
            raise DataError(f"{path} starts from {record.initial}, this run from {protocol.initial}; use "
                            f"--initial-masks {record.initial}")
        if record.initial_digest != initial_digest(task, protocol):
            remedy = "the same --seed" if record.initial == PERTURBED else f"the masks that {record.initial} held then"
            raise DataError(f"{path} starts from another mask of {task.name} than this run; use {remedy}")
        if len(record.steps) < protocol.clicks:
            raise DataError(f"{path} has {len(record.steps)} clicks on {task.name}; use --clicks {len(record.steps)}")
    return found
