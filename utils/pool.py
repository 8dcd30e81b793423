"""One pool of processes: tasks in any order of completion, and a process that dies loses its task alone."""
from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from utils.files import UserError

SECONDS_TO_END = 5.0  # a process gets so long to end by itself


class Lost(NamedTuple):
    """What a task gives whose process died over it: crashed native code, or too little memory.

    Attributes:
        task: the task.
        death: "SIGKILL", "exit status 3", ...
    """

    task: Any
    death: str


class ProcessDied(UserError):
    """A process died before its first task."""


def each_done(
    work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int = 1, threads: int = 1, isolated: bool = False
) -> Iterator[Any]:
    """The results of `work` on every task, in the order in which they are done.

    Processes are spawned, because a forked child of a process with threads may wait for ever on a lock of one of them.
    They don't hear Ctrl-C, which a terminal sends to all: this process ends them, and its death does.

    Args:
        work: a picklable callable; its method `start`, if it has one, is called once in each process before its first
            task, and what either raises is raised here.
        tasks: picklable; no more of them are taken than there are processes.
        jobs: number of processes; one task after another is done in this process if it is 1 and not `isolated`.
        threads: of each process, for OpenMP, OpenCV and torch.
        isolated: use a process of its own even for one job, so that a crash is survived.

    Yields:
        What `work` returned, or `Lost` for a task whose process died.

    Raises:
        ProcessDied: a process died before its first task.
    """
    if jobs == 1 and not isolated:
        getattr(work, "start", lambda: None)()
        yield from map(work, tasks)
        return
    left = iter(tasks)
    workers: list[_Worker] = []
    try:
        while True:
            while len(workers) < jobs and (task := next(left, _END)) is not _END:
                workers.append(_Worker(work, task, threads))
            if not workers:
                return
            ready = wait([worker.connection for worker in workers])
            for worker in [w for w in workers if w.connection in ready]:
                result = worker.receive()
                if result is not _NOTHING:
                    yield result
                if worker.is_idle and (task := next(left, _END)) is not _END:
                    worker.give(task)
                elif worker.is_idle:
                    worker.end()
            workers = [worker for worker in workers if not worker.is_over]
    finally:
        for worker in workers:
            worker.process.kill()


_END, _NOTHING = object(), object()


class _Worker:
    """This side of a process: its task, and whether it is over."""

    def __init__(self, work: Callable[[Any], Any], task: Any, threads: int) -> None:
        context = get_context("spawn")
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, work, threads), daemon=True)
        with _environment(OMP_NUM_THREADS=str(threads)), _interrupts_ignored():
            self.process.start()
        far_end.close()
        self.is_over = self.is_idle = self._has_started = False
        self.give(task)

    def give(self, task: Any) -> None:
        """Sends a task."""
        self._task, self.is_idle = task, False
        with suppress(OSError):  # where it has died, receive() will say so
            self.connection.send(task)

    def receive(self) -> Any:
        """A result or Lost; _NOTHING when the process only says that it has started."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.is_over = True
            if not self._has_started:
                raise ProcessDied(
                    f"a process died ({self._death}) while starting; it may need more memory than there is"
                ) from None
            return Lost(self._task, self._death)
        if kind == "started":
            self._has_started = True
            return _NOTHING
        if kind == "error":
            raise value
        self.is_idle = True
        return value

    @property
    def _death(self) -> str:
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"

    def end(self) -> None:
        """Lets the process end, and ends it if it does not."""
        self.is_over = True
        self.connection.close()
        self.process.join(SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()


def _serve(connection: Connection, work: Callable[[Any], Any], threads: int) -> None:
    """A process's life: it starts, then sends a result for each task, until nobody listens any more."""

    def start() -> None:
        _end_with_parent()
        _limit_threads(threads)
        getattr(work, "start", lambda: None)()
        _limit_threads(threads)  # again, as torch may be here only now

    try:
        message = _answer("started", start)
        while True:
            connection.send(message)
            if message[0] == "error":
                return
            message = _answer("result", partial(work, connection.recv()))
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    """Ends this process when its parent is killed, in the middle of a task too."""
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _answer(kind: str, action: Callable[[], Any]) -> tuple[str, Any]:
    """The message about an action: its result, or its error as it travels between processes."""
    try:
        return kind, action()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an error of arguments that it doesn't keep
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return "error", error


def _limit_threads(threads: int) -> None:
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables that hold while a process is started; libraries read them when they are loaded."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes begun in here inherit that they ignore Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
