"""The pool of processes: nothing is lost but the task that kills its process, and nothing outlives its parent."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils.pool import Lost, ProcessDied, each_done

ROOT = Path(__file__).resolve().parents[1]


class Doubles:
    """Doubles numbers above 0; 0 raises, and a negative one ends the process, by that signal if there is one."""

    factor = 0

    def start(self) -> None:
        Doubles.factor = 2

    def __call__(self, number: int) -> int:
        if number == 0:
            raise NotKept("zero", number)
        if number < 0:
            os.kill(os.getpid(), -number)
        return number * self.factor


class NotKept(Exception):
    """Can't be unpickled."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)


class CannotStart(Doubles):
    def start(self) -> None:
        raise ValueError("no model")


class DiesAtOnce(Doubles):
    def start(self) -> None:
        os._exit(3)


class Threads:
    def __call__(self, task: int) -> tuple[int, str]:
        return os.getpid(), os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize(("jobs", "isolated"), [(1, False), (1, True), (3, False)])
def test_every_task_gives_its_result(jobs, isolated):
    assert sorted(each_done(Doubles(), range(1, 30), jobs, isolated=isolated)) == [2 * i for i in range(1, 30)]
    assert list(each_done(Doubles(), [], jobs, isolated=isolated)) == []


def test_processes_have_their_threads_and_leave_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = list(each_done(Threads(), range(6), 2, threads=3))
    assert {threads for _, threads in found} == {"3"} and os.getpid() not in {pid for pid, _ in found}
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_that_dies_loses_its_task_alone(jobs):
    results = list(each_done(Doubles(), [1, -signal.SIGKILL, 2, 3], jobs, isolated=True))
    assert [r for r in results if isinstance(r, Lost)] == [Lost(-signal.SIGKILL, "SIGKILL")]
    assert sorted(r for r in results if not isinstance(r, Lost)) == [2, 4, 6]


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_back(jobs):
    with pytest.raises((NotKept, RuntimeError), match="zero"):
        list(each_done(Doubles(), [1, 0, 2], jobs))
    with pytest.raises(ValueError, match="no model"):
        list(each_done(CannotStart(), [1], jobs))


def test_a_process_that_can_not_start_is_no_task():
    with pytest.raises(ProcessDied, match="exit status 3"):
        list(each_done(DiesAtOnce(), [1], isolated=True))


def test_no_more_tasks_are_taken_than_are_being_done():
    taken = []
    results = each_done(Doubles(), (taken.append(i) or i for i in range(1, 1000)), 2)
    next(results)
    assert len(taken) <= 4
    results.close()


class Busy:
    """Tells its process, then goes on with a task for longer than a test lasts."""

    def __call__(self, task):
        if task >= 50:
            time.sleep(600)
        return os.getpid(), task


@pytest.mark.parametrize("work", ["Threads", "Busy"])
def test_processes_end_with_a_killed_parent(work):
    script = (f"import os, time\nfrom test_pool import {work}\nfrom utils.pool import each_done\n"
              "if __name__ == '__main__':\n"
              f"    for pid, _ in each_done({work}(), range(10**9), 2):\n        print(pid, flush=True)\n")
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT / "tests",
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
    children = {int(parent.stdout.readline()) for _ in range(50)}
    parent.kill()
    parent.communicate()
    limit = time.monotonic() + 20
    while any(_is_running(pid) for pid in children):
        assert time.monotonic() < limit
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
