"""Writes splits of a COCO_LVIS folder in several processes, so that a killed run goes on and results follow inputs.

Beside the files that training reads (images/, masks/, hannotation.pickle) a split that was written here has
objects.jsonl: a first line with the settings, then a line a photo with what the format has no place for (names, areas,
licence, source) and the digest of everything that it was made from. A photo whose digest is the same is not made again;
one that is no longer among the inputs is taken out. `subset` selects by this record.
"""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils import files
from utils.coco_lvis import ANNOTATIONS, write_annotations, write_layers
from utils.files import UsageError, UserError, digest, shown_name
from utils.formats.picture import Picture, Plan, Reader, Task, name_digest
from utils.formats.regions import draw_layers, nest
from utils.pool import Lost, each_done

RECORD = "objects.jsonl"
NAMED = 5  # names that a sentence spells out
RULES = 1  # raised when the same inputs give other masks or photos, so that they are made again
Record = dict[str, dict[str, Any]]


@dataclass
class Outcome:
    """What the conversion of a split came to."""

    photos: int = 0
    objects: int = 0
    stuff: int = 0
    without_objects: int = 0
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.photos} photos with {self.objects} objects and {self.stuff} stuff regions"
        if self.without_objects:
            text += f"; {self.without_objects} photos without any were left out"
        if self.unchanged:
            text += f"; {self.unchanged} were as before"
        if self.removed:
            more = f" and {len(self.removed) - NAMED} more" if len(self.removed) > NAMED else ""
            text += f"; no longer among the inputs and taken out: {', '.join(self.removed[:NAMED])}{more}"
        return text


def hold_out(tasks: Sequence[Task], out: Path, share: float) -> dict[str, list[Task]]:
    """Divides own photos into train and val: by their names alone, and a photo stays where it once was.

    Args:
        tasks: all photos.
        out: the COCO_LVIS folder, which may have been begun.
        share: of the photos that are held out, rounded to whole photos.
    """
    earlier = {name: {entry["source"] for entry in _recorded(out / name)[1].values()} for name in ("train", "val")}
    held = {task.source for task in tasks if task.source in earlier["val"]}
    free = sorted({task.source for task in tasks} - earlier["train"] - held, key=name_digest)
    held.update(free[: max(0, int(share * len(tasks) + 0.5) - len(held))])
    return {"train": [task for task in tasks if task.source not in held],
            "val": [task for task in tasks if task.source in held]}


# ---------------------------------------------------------------------------------------------- writing


def convert(plan: Plan, out: Path, splits: dict[str, list[Task]], jobs: int = 1) -> dict[str, Outcome]:
    """Writes splits; of those without photos only what an earlier run has left.

    A photo that fails is named in its split's outcome and tried again by the next run; it never loses the others.

    Args:
        plan: where the tasks come from.
        out: the COCO_LVIS folder, made if need be.
        splits: {name: tasks}.
        jobs: processes.

    Raises:
        UsageError: a split has been made from something else, or holds annotations that were not written here.
        UserError: the disk is full, the folder can't be written to, or another conversion is at work in it.
    """
    chosen = {name: tasks for name, tasks in splits.items() if tasks or (out / name / RECORD).exists()}
    with ExitStack() as locks:
        for name in chosen:
            locks.enter_context(files.folder_lock(out / name, "conversion"))
        _refuse_others(out, chosen, plan.reader.settings)
        return {name: _write_split(out / name, tasks, plan, jobs) for name, tasks in chosen.items()}


def _refuse_others(out: Path, splits: dict[str, list[Task]], settings: dict[str, Any]) -> None:
    """Raises UsageError if the splits hold what nothing of these inputs can have made."""
    known: set[str] = set()
    for name in splits:
        earlier, record = _recorded(out / name)
        if not earlier and (out / name / ANNOTATIONS).exists():
            raise UsageError(f"{out / name} holds annotations that were not converted here; choose another --out or "
                             "--split")
        if earlier and earlier.get("command") != settings["command"]:
            raise UsageError(f"{out / name} was made by {earlier.get('command')}; choose another --out or remove it")
        known |= {entry["source"] for entry in record.values()}
    if known and not known & {task.source for tasks in splits.values() for task in tasks}:
        raise UsageError(f"{out} holds other pictures ({shown_name(min(known))}, ...), none of which is among these; "
                         "choose another --out or remove it")


def _write_split(split: Path, tasks: Sequence[Task], plan: Plan, jobs: int) -> Outcome:
    settings = json.loads(json.dumps(plan.reader.settings))
    record = _recorded(split)[1]
    # annotations go until they fit their masks again
    (split / ANNOTATIONS).unlink(missing_ok=True)
    _write_record(split, settings, record)
    outcome = Outcome()
    given = ((plan.load(task), record.get(task.image_id)) for task in tasks)
    done: Record = {}
    results = each_done(_Convert(split, plan.reader), given, jobs)
    with (split / RECORD).open("a", encoding="utf-8", errors="surrogateescape") as journal:
        for result in tqdm(results, total=len(tasks), unit="photo", desc=split.name, disable=None):
            if isinstance(result, (str, Lost)):
                outcome.failures.append(result if isinstance(result, str) else _death(result))
                continue
            image_id, entry = result
            outcome.unchanged += entry is None
            done[image_id] = record[image_id] if entry is None else entry
            if entry is not None:
                journal.write(json.dumps(entry) + "\n")
                journal.flush()
    _finish(split, settings, record, done, {task.source for task in tasks}, outcome)
    return outcome


def _death(lost: Lost) -> str:
    return (f"{shown_name(lost.task[0].source)}: its process died ({lost.death}), of too little memory most likely; "
            "give the same command with fewer --jobs")


def _recorded(split: Path) -> tuple[dict[str, Any], Record]:
    """The settings and lines of a record; empty where there is none. Of two lines for a photo the later counts.

    Raises:
        UserError: it is damaged.
    """
    path = split / RECORD
    if not path.exists():
        return {}, {}
    content = path.read_text(encoding="utf-8", errors="surrogateescape")
    lines = content[: content.rfind("\n") + 1].splitlines()  # without the torn last line of a killed run
    try:
        settings, *entries = map(json.loads, lines)
        return settings, {entry["id"]: entry for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove its folder and convert again") from error


def read_record(split: Path) -> Record:
    """What a conversion wrote down of each photo, by id; empty if the split was not converted here.

    Raises:
        UserError: the record is damaged.
    """
    return _recorded(split)[1]


def _write_record(split: Path, settings: dict[str, Any], record: Record) -> None:
    lines = [json.dumps(settings), *(json.dumps(entry) for _, entry in sorted(record.items()))]
    files.write_text(split / RECORD, "".join(line + "\n" for line in lines))


def _finish(split: Path, settings: dict[str, Any], before: Record, done: Record, sources: set[str],
            outcome: Outcome) -> None:
    """Takes out what is no longer there, then writes the annotation file."""
    for image_id in before.keys() - done.keys():
        _remove_files(split, image_id)
    gone = {entry["source"] for entry in before.values()} - sources
    outcome.removed = sorted(shown_name(source) for source in gone)
    _write_record(split, settings, done)
    annotations = {}
    for image_id, entry in sorted(done.items()):
        outcome.counts.update(entry["counts"])
        outcome.failures += entry["problems"]
        outcome.notes += entry["notes"]
        if not entry["categories"]:
            outcome.without_objects += 1
            continue
        count = entry["num_instance_masks"]
        annotations[image_id] = {"num_instance_masks": count, "hierarchy": dict(enumerate(entry["hierarchy"]))}
        outcome.objects += count
        outcome.stuff += len(entry["categories"]) - count
    outcome.photos = len(annotations)
    write_annotations(split / ANNOTATIONS, annotations)


def _files_of(split: Path, image_id: str) -> tuple[Path, Path]:
    return split / "images" / f"{image_id}.jpg", split / "masks" / f"{image_id}.pickle"


def _remove_files(split: Path, image_id: str) -> None:
    for path in _files_of(split, image_id):
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Convert:
    """Writes a photo's files: gives its id and line of the record, None for one that is as before; or a failure."""

    split: Path
    read: Reader

    def __call__(self, work: tuple[Task, dict[str, Any] | None]) -> tuple[str, dict[str, Any] | None] | str:
        task, known = work
        try:
            inputs = self._digest(task)
            if known is not None and inputs == known.get("inputs") and self._is_there(known):
                return task.image_id, None
            picture = self.read(task)
            self._write(task.image_id, picture)
        except UserError as error:
            return str(error)
        return task.image_id, _entry(task, picture, inputs)

    def _digest(self, task: Task) -> str:
        content = (*([] if task.photo is None else [task.photo]), *task.content)
        parts = [files.file_digest(each) if isinstance(each, Path) else digest(each) for each in content]
        return digest(json.dumps([RULES, self.read.settings, task.source, parts], sort_keys=True).encode())[:32]

    def _is_there(self, entry: dict[str, Any]) -> bool:
        return not entry["categories"] or all(path.exists() for path in _files_of(self.split, entry["id"]))

    def _write(self, image_id: str, picture: Picture) -> None:
        photo, masks = _files_of(self.split, image_id)
        try:
            if not (picture.objects or picture.stuff):
                _remove_files(self.split, image_id)
                return
            layers, mapping = draw_layers([*picture.objects, *picture.stuff], picture.photo.size)
            write_layers(masks, layers, mapping)
            files.write_whole(photo, picture.photo.jpeg)
        except OSError as error:
            raise UserError(files.os_error_sentence(error)) from error


def _entry(task: Task, picture: Picture, inputs: str) -> dict[str, Any]:
    regions = [*picture.objects, *picture.stuff]
    counts = picture.counts + Counter([picture.photo.remark] if picture.photo.remark else ())
    return {
        "id": task.image_id,
        "source": task.source,
        "license_id": picture.license_id,
        "size": list(picture.photo.size),
        "num_instance_masks": len(picture.objects),
        "categories": [region.name for region in regions],
        "areas": [region.area for region in regions],
        "hierarchy": list(nest(picture.objects).values()),
        "problems": picture.problems,
        "notes": list(picture.photo.notes),
        "counts": counts,
        "inputs": inputs,
    }
