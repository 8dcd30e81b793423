"""Writes a split of a COCO_LVIS folder, in several processes, so that a killed run goes on where it stopped.

Beside the files that CONTRACT-shaped readers know (images/, masks/, hannotation.pickle) a split that was written here
has objects.jsonl: a first line with the settings, then a line a photo with what the format has no place for (names,
areas, licence, source). It is the journal from which a run goes on, and what `subset` selects by.
"""
from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import cv2
from tqdm import tqdm

from utils.prepare.files import PrepareError, WrongCall, write_whole
from utils.prepare.photos import Photo
from utils.prepare.regions import Region, draw_layers, encode_layers, nest

ANNOTATIONS = "hannotation.pickle"
JOURNAL = "objects.jsonl"
QUEUED_PER_PROCESS = 8  # photos handed to the processes ahead of the work


@dataclass(frozen=True)
class Picture:
    """A photo with its objects and its stuff (sky, grass: regions that are nobody's parts)."""

    photo: Photo
    objects: Sequence[Region]
    stuff: Sequence[Region] = ()
    source: str = ""
    license_id: int | None = None


class Task(Protocol):
    """What a reader makes a Picture of; light, because it travels between processes."""

    @property
    def image_id(self) -> str:
        """12 digits, the name of the photo in the split."""


Reader = Callable[[Any], Picture]


@dataclass
class Outcome:
    """What a conversion came to."""

    photos: int = 0
    objects: int = 0
    stuff: int = 0
    without_objects: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.photos} photos with {self.objects} objects and {self.stuff} stuff regions"
        if self.without_objects:
            text += f"; {self.without_objects} photos without any were left out"
        return text


def write_split(
    split: Path, tasks: Sequence[Task], read: Reader, settings: dict[str, Any], jobs: int = 1
) -> Outcome:
    """Converts every task's photo that the split does not have yet, then writes the annotation file.

    A photo that fails is named in the outcome and tried again by the next run; it never loses the others.

    Args:
        split: folder of the split, made if need be.
        tasks: one for each photo.
        read: makes a task's Picture, raises PrepareError; a picklable callable.
        settings: what the result depends on, as JSON knows it; a folder begun with others is refused.
        jobs: processes.

    Raises:
        WrongCall: the folder was begun by another call, or holds annotations that were not written here.
        PrepareError: the disk is full, or a process died.
    """
    settings = json.loads(json.dumps(settings))
    done = begin_journal(split, settings)
    left = [task for task in tasks if task.image_id not in done]
    outcome = Outcome()
    bar = tqdm(total=len(tasks), initial=len(tasks) - len(left), unit="photo", desc=split.name, disable=None)
    with bar, (split / JOURNAL).open("a", encoding="utf-8") as journal:
        for entry in each_done(_Convert(split, read), left, jobs):
            bar.update()
            if isinstance(entry, str):
                outcome.failures.append(entry)
                continue
            journal.write(json.dumps(entry) + "\n")
            journal.flush()
            done[entry["id"]] = entry
    _write_annotations(split, done, outcome)
    return outcome


def begin_journal(split: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The photos that are done, {id: line}, in a journal that these settings began; it begins one where none is."""
    path = split / JOURNAL
    if not path.exists():
        if (split / ANNOTATIONS).exists():
            raise WrongCall(f"{split} holds annotations that were not converted here; choose another --out or --split")
        write_whole(path, (json.dumps(settings) + "\n").encode())
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):  # the last line of a killed run
        with path.open("r+b") as journal:
            journal.truncate(len(whole))
    first, *entries = read_journal(path)
    if first != settings:
        changed = sorted(k for k in {*first, *settings} if first.get(k) != settings.get(k))
        raise WrongCall(
            f"{split} was begun with other settings ({', '.join(changed)}); choose another --out or remove {split}"
        )
    return {entry["id"]: entry for entry in entries}


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The settings, then a line for each photo.

    Raises:
        PrepareError: a line is damaged.
    """
    with path.open(encoding="utf-8") as lines:
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise PrepareError(f"{path} is damaged ({error}); remove its folder and convert again") from error


@dataclass(frozen=True)
class _Convert:
    """Writes the files of one photo; gives its line of the journal, or the sentence of its failure."""

    split: Path
    read: Reader

    def __call__(self, task: Task) -> dict[str, Any] | str:
        cv2.setNumThreads(1)  # the processes share the cores
        try:
            picture = self.read(task)
            if picture.objects or picture.stuff:
                self._write(task.image_id, picture)
        except PrepareError as error:
            return str(error)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PrepareError(f"the disk of {self.split} is full; free some and give the same command") from error
            return f"{task.image_id}: {error}"
        return _journal_entry(task.image_id, picture)

    def _write(self, image_id: str, picture: Picture) -> None:
        layers, mapping = draw_layers([*picture.objects, *picture.stuff], picture.photo.size)
        pickled = pickle.dumps((encode_layers(layers), mapping), protocol=4)
        write_whole(self.split / "masks" / f"{image_id}.pickle", pickled)
        write_whole(self.split / "images" / f"{image_id}.jpg", picture.photo.jpeg)


def _journal_entry(image_id: str, picture: Picture) -> dict[str, Any]:
    regions = [*picture.objects, *picture.stuff]
    return {
        "id": image_id,
        "source": picture.source,
        "license_id": picture.license_id,
        "size": list(picture.photo.size),
        "num_instance_masks": len(picture.objects),
        "categories": [region.name for region in regions],
        "areas": [region.area for region in regions],
        "hierarchy": list(nest(picture.objects).values()),
    }


def _write_annotations(split: Path, done: dict[str, dict[str, Any]], outcome: Outcome) -> None:
    annotations = {}
    for image_id, entry in sorted(done.items()):
        count = entry["num_instance_masks"]
        if not entry["categories"]:
            outcome.without_objects += 1
            continue
        annotations[image_id] = {"num_instance_masks": count, "hierarchy": dict(enumerate(entry["hierarchy"]))}
        outcome.objects += count
        outcome.stuff += len(entry["categories"]) - count
    outcome.photos = len(annotations)
    write_whole(split / ANNOTATIONS, pickle.dumps(annotations, protocol=4))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes begun in here ignore Ctrl-C, which a terminal sends to all: their parent stops them in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """Ends this process when its parent is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def each_done(work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """Results of `work` on every task, in the order in which they are done; memory holds a few tasks at a time.

    Raises:
        PrepareError: a process died.
    """
    if jobs == 1:
        yield from map(work, tasks)
        return
    tasks = iter(tasks)
    # spawned, because a forked child of a process with threads may wait for ever on a lock of one of them
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
        try:
            with _interrupts_ignored():
                running = {pool.submit(work, task) for task in islice(tasks, QUEUED_PER_PROCESS * jobs)}
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(work, task) for task in islice(tasks, len(finished))}
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise PrepareError(
                "a process died, of too little memory most likely; give the same command with fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
