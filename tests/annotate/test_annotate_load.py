"""A server in a process of its own, under load and killed at any moment."""
import contextlib
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import load_test
import pytest
from load_test import Client
from stub import write_pictures

from utils.annotate.assist.folder import AssistFolder
from utils.annotate.errors import AnnotationError
from utils.annotate.project import Project

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def serving(images: Path, *options: object, **variables: str):
    """A server with the stand-in model: (address, output folder, process id)."""
    out = images.with_name("out")
    command = list(map(str, [sys.executable, ROOT / "tests" / "annotate" / "stub.py", images, out, 0, *options]))
    path = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'annotate'}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": path, **variables}) as process:
        try:
            yield process.stdout.readline().strip(), out, process.pid
        finally:
            process.kill()


def test_many_clicks_all_arrive_and_leave_the_memory_flat(tmp_path):
    """Decoded the pictures are 46 MB, and their masks half of that; the caches may hold 2 MB each."""
    images = write_pictures(tmp_path / "images", "000.jpg", height=240, width=320)
    for number in range(1, 200):
        os.link(images / "000.jpg", images / f"{number:03d}.jpg")
    with serving(images, 2_000_000) as (address, out, process_id):
        client = Client(address)
        report = load_test.run(client, out, clicks=400, process_id=process_id)
        state = client.get(f"/api/pictures/{client.get('/api/project')['pictures'][0]['id']}")
        with pytest.raises(AnnotationError, match="nothing to redo"):
            client.change(state, "redo")
    assert len(report.seconds) == 400 and report.lost == 0 and load_test.saved_clicks(out) == 400
    assert "p99" in report.text() and "400 clicks, 0 lost" in report.text()
    assert len(report.memory) == 10 and report.growth() < 12
    project = Project(out)
    summaries = [project.summary(picture) for picture in project.pictures.values()]
    assert {(summary.status, summary.clicks) for summary in summaries} == {("done", 2)}


def test_growth_is_that_of_the_second_half():
    assert load_test.Report(memory=[100, 200, 300, 310, 320, 330]).growth() == 20
    assert load_test.Report().growth() == 0


def test_what_was_confirmed_outlives_kills_of_server_and_trainer_at_any_moment(tmp_path):
    """IS_KILLS kills of each while somebody annotates (5 unless it is set)."""
    images = write_pictures(tmp_path / "images", "a.png", "b.png", "c.png")
    random_places, confirmed = random.Random(0), {}
    for _ in range(int(os.environ.get("IS_KILLS", "5"))):
        with serving(images, STUB_ASSIST="stub:bright") as (address, out, process_id):
            client, assist = Client(address), AssistFolder(out)
            for picture in client.get("/api/project")["pictures"]:
                found = client.get(f"/api/pictures/{picture['id']}")
                if picture["id"] in confirmed:
                    assert_nothing_lost(confirmed[picture["id"]], found)
                confirmed[picture["id"]] = found
            while not (trainer := assist.status().get("process")) or not alive(trainer):
                time.sleep(0.01)
            timers = [threading.Timer(random_places.uniform(0.02, 0.6), kill, [pid]) for pid in (process_id, trainer)]
            for timer in timers:
                timer.start()
            with contextlib.suppress(ConnectionError, http.client.HTTPException, AnnotationError):
                annotate_until_killed(client, confirmed, random_places)
            for timer in timers:
                timer.join()
    assert sum(state["revision"] for state in confirmed.values()) > 0
    project = Project(tmp_path / "out")
    for picture in project.pictures.values():
        session = project.read_session(picture)
        for name in session.mask_files() if session else ():
            assert project.masks(picture).edits(name).any()  # whole files all of them


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # a trainer ends with its server
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def annotate_until_killed(client: Client, confirmed: dict, random_places: random.Random) -> None:
    while True:
        state = random_places.choice(list(confirmed.values()))
        if state["active"] and state["active"]["mask"] and random_places.random() < 0.3:
            change = {"op": "finish"}
        elif state["guesses"] and not state["active"]:
            change = {"op": "accept proposals", "proposals": state["proposals"], "label": "car"}
        else:
            place = {"y": random_places.randrange(60), "x": random_places.randrange(80)}
            change = {"op": "click", **place, "positive": True, "label": "car"}
        confirmed[state["id"]] = client.change(state, change.pop("op"), **change)


def assert_nothing_lost(before: dict, after: dict) -> None:
    """Only the change that was under way when the server was killed may have been added."""
    assert after["revision"] in (before["revision"], before["revision"] + 1)
    if after["revision"] == before["revision"]:
        ignored = {"milliseconds", "listed", "covered_by"}
        ignored |= {"proposals", "guesses"} if not before["revision"] else set()  # they come while nothing is done
        assert {key: value for key, value in before.items() if key not in ignored} == {
            key: value for key, value in after.items() if key not in ignored}
