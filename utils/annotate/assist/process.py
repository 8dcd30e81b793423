"""The trainer's process as the server sees it: started, seen to die, started again."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .folder import AssistFolder
from .trainer import HOPELESS

ROOT = Path(__file__).resolve().parents[3]
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0  # seconds before a dead trainer is started again
LONG_LIFE = 60.0  # seconds after which a death is taken for the first one


class TrainerProcess:
    """Keeps a trainer running until it is closed. Its death never is an error of the server.

    Args:
        folder: that it works on.
        arguments: of utils.annotate.assist.trainer, after the folder.

    Attributes:
        problem: {"error", "code", "values"} for the page while there is no trainer, or None.
    """

    def __init__(self, folder: AssistFolder, arguments: Sequence[str] = ()) -> None:
        self._folder, self._arguments = folder, arguments
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = self._is_expected = False
        self.problem: dict[str, Any] | None = None

    def start(self) -> None:
        """Begins, in a thread of its own."""
        threading.Thread(target=self._keep, name="trainer's keeper", daemon=True).start()

    def renew(self) -> None:
        """Ends the present process, so that what it does is given up, or starts one at once that had to wait."""
        self._is_expected = True
        self._wake.set()
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Ends it for good."""
        self._is_closed = True
        self.renew()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _keep(self) -> None:
        delay = FIRST_DELAY
        while not self._is_closed:
            began = time.monotonic()
            status = self._live()
            if self._is_closed:
                return
            if self._is_expected:
                delay = 0.0
            elif time.monotonic() - began > LONG_LIFE:
                delay = FIRST_DELAY
            self.problem = None if delay == 0 else self._reason(status)
            self._wake.clear()
            self._wake.wait(None if status == HOPELESS and delay else delay)
            self._is_expected = False
            delay = min(LONGEST_DELAY, 2 * delay or FIRST_DELAY)

    def _live(self) -> int:
        """A process from its birth to its death; gives the exit status."""
        try:
            self._folder.root.mkdir(parents=True, exist_ok=True)
            self._folder.status_file.unlink(missing_ok=True)
            with self._folder.log.open("wb") as log, self._lock:
                self._process = subprocess.Popen(self._command(), stdin=subprocess.PIPE, stdout=log, stderr=log,
                                                 env=_environment(), **_priority())
        except OSError as error:
            self.problem = {"error": f"The trainer can't be started: {error}.", "code": "trainer_died",
                            "values": {"reason": str(error)}}
            return 1
        self.problem = None
        return self._process.wait()

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "utils.annotate.assist.trainer", str(self._folder.out.resolve()),
                *self._arguments]

    def _reason(self, status: int) -> dict[str, Any]:
        told = self._folder.status().get("problem")
        if isinstance(told, dict):
            return told
        reason = signal.Signals(-status).name if status < 0 else self._last_line() or f"exit status {status}"
        sentence = (f"The trainer ended ({reason}), perhaps for want of memory; it starts again by itself. "
                    "Annotation goes on as before.")
        return {"error": sentence, "code": "trainer_died", "values": {"reason": reason}}

    def _last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._folder.log.read_bytes()[-2000:].decode("utf-8", "replace").split("\n")
            return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
        return ""


def _environment() -> dict[str, str]:
    """Half of the cores at most, so that there is always one for the page."""
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH"), os.getcwd()]))
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)}


def _priority() -> dict[str, Any]:
    """Windows has priorities at birth; elsewhere the trainer gives up its own. Ctrl-C is the server's affair."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.IDLE_PRIORITY_CLASS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
