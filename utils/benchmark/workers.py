"""Plays jobs in fresh processes, so that neither a broken image nor a crash of native code loses the others."""
from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

from utils.benchmark.annotations import DataError
from utils.benchmark.models import ModelError, ModelSpec, load_model
from utils.benchmark.runner import Job, Record, play, record_of

SECONDS_TO_END = 5.0  # a process gets so long to end by itself

Group = deque[Job]


def play_all(jobs: Sequence[Job], out: Path, processes: int = 1, threads: int = 1) -> Iterator[Record]:
    """Plays the jobs of one model and yields their records as they come.

    Args:
        jobs: those of an image stand together: one process gets them all and decodes the image once.
        out: folder with masks/.
        processes: how many; each loads the model.
        threads: of each process.

    Raises:
        ModelError: the model can't be loaded.
    """
    groups = deque(deque(group) for _, group in groupby(jobs, key=lambda job: (job.task.data, job.task.photo)))
    workers: list[_Worker] = []
    try:
        while groups or workers:
            while groups and len(workers) < processes:
                workers.append(_Worker(groups.popleft(), out, threads))
            ready = wait([worker.connection for worker in workers])
            for worker in [w for w in workers if w.connection in ready]:
                yield from worker.receive()
                if worker.is_dead and worker.group:
                    groups.appendleft(worker.group)
                elif not worker.is_dead and not worker.group and groups:
                    worker.give(groups.popleft())
                elif not worker.is_dead and not worker.group:
                    worker.end()
                if worker.is_dead:
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.process.kill()


class _Worker:
    """The parent's side of a process: what it is playing, and what it sends back."""

    def __init__(self, group: Group, out: Path, threads: int) -> None:
        context = get_context("spawn")
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, group[0].model, out, threads), daemon=True)
        with _environment(OMP_NUM_THREADS=str(threads)):  # libraries read it when they are loaded
            self.process.start()
        far_end.close()
        self.is_dead = self._is_loaded = False
        self.give(group)

    def give(self, group: Group) -> None:
        """Sends the jobs of an image."""
        self.group = group
        try:
            self.connection.send(list(group))
        except OSError:  # it has died; receive() will say so
            pass

    def receive(self) -> Iterator[Record]:
        """A record of the group's first job, or of its failure if the process died over it."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.is_dead = True
            if not self._is_loaded:
                name = self.group[0].model.name
                raise ModelError(f"{name}: its process died ({self._death}) while loading") from None
            yield record_of(self.group.popleft(), f"the process died ({self._death}) over this task")
            return
        if isinstance(message, str):
            raise ModelError(message)
        self._is_loaded = True
        if isinstance(message, Record):
            self.group.popleft()
            yield message

    @property
    def _death(self) -> str:
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"

    def end(self) -> None:
        """Lets the process end, and ends it if it does not."""
        self.is_dead = True
        self.connection.close()
        self.process.join(SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()


def _serve(connection: Connection, spec: ModelSpec, out: Path, threads: int) -> None:
    """A process's work: loads the model, sends None, then a record for each job; a text if the model is no use."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and the closed connection ends this
    try:
        _limit_threads(threads)
        model = load_model(spec)
        _limit_threads(threads)
        connection.send(None)
        while True:
            for job in connection.recv():
                try:
                    record = play(job, model, out)
                except ModelError as error:
                    connection.send(f"{spec.source}: {error}")
                    return
                except DataError as error:
                    record = record_of(job, str(error))
                except Exception as error:  # foreign code: whatever it raises is this task's failure, not the run's
                    record = record_of(job, f"{type(error).__name__}: {error}")
                connection.send(record)
    except ModelError as error:
        connection.send(str(error))
    except (EOFError, OSError):
        return


def _limit_threads(threads: int) -> None:
    import cv2

    cv2.setNumThreads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
        sys.modules["torch"].set_grad_enabled(False)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables that hold while a process is started."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
