"""A load test of the annotation server: many clicks over many pictures, nothing lost, memory flat, latencies.

    python -m tests.annotate.load_test --megapixels 12 --pictures 5 --clicks 200
    python -m tests.annotate.load_test --megapixels 0.4 --pictures 8 --clicks 200 --assist
"""
from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from utils.annotate.errors import AnnotationError
from utils.annotate.project import Project
from utils.folders import list_pictures

CLICKS_PER_OBJECT = 5
START_SECONDS = 120
LEARNT, ROUNDS, THINKING_SECONDS = 5, 5, 0.3  # pictures; of clicks with and without training; between two clicks


@dataclass
class Report:
    """What a load test measured.

    Attributes:
        seconds: of each click, from sending the request to having the saved answer.
        memory: MiB that the server held after each tenth of the clicks; empty where the system doesn't tell.
        lost: clicks that were confirmed but aren't in the session files.
    """

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    lost: int = 0

    def growth(self) -> float:
        """MiB by which the server grew in the second half, when its caches should be full; 0 if nobody knows."""
        return self.memory[-1] - self.memory[len(self.memory) // 2] if self.memory else 0.0

    def text(self) -> str:
        """For a person."""
        low, high = 1000 * min(self.seconds), 1000 * max(self.seconds)
        quantiles = np.percentile(np.array(self.seconds) * 1000, (50, 90, 95, 99))
        parts = [f"{len(self.seconds)} clicks, {self.lost} lost"]
        parts.append("latency ms: p50 {:.0f}, p90 {:.0f}, p95 {:.0f}, p99 {:.0f}".format(*quantiles)
                     + f", least {low:.0f}, most {high:.0f}")
        if self.memory:
            parts.append("memory MiB after each tenth: " + " ".join(f"{value:.0f}" for value in self.memory)
                         + f", {self.growth():+.0f} in the second half")
        return "\n".join(parts)


class Client:
    """Annotates over HTTP as the page does, one change after the other."""

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        self._connection = http.client.HTTPConnection(place.hostname, place.port, timeout=START_SECONDS)
        self._cookie = self._enter(place.query) if place.query else ""

    def _enter(self, query: str) -> str:
        """Shows the token once; gives the cookie."""
        answer = self._answer("GET", f"/?{query}", None, {})
        answer.read()
        return answer.getheader("set-cookie", "").partition(";")[0]

    def fetch(self, path: str) -> bytes:
        """What is under a path."""
        return self._ask("GET", path)

    def get(self, path: str) -> Any:
        """The JSON under a path."""
        return json.loads(self.fetch(path))

    def change(self, state: dict[str, Any], op: str, **fields: Any) -> dict[str, Any]:
        """A change to a picture in this state; gives the new state."""
        body = {"op": op, "id": uuid.uuid4().hex, "revision": state["revision"], **fields}
        return self.post(f"/api/pictures/{state['id']}/change", body)

    def post(self, path: str, content: Any) -> Any:
        """The JSON that answers another one."""
        return json.loads(self._ask("POST", path, json.dumps(content)))

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        headers = {"content-type": "application/json"} if body else {}
        headers |= {"cookie": self._cookie} if self._cookie else {}
        try:
            answer = self._answer(method, path, body, headers)
        except ConnectionError:  # the server ends idle connections; the id keeps a change from counting twice
            self._connection.close()
            answer = self._answer(method, path, body, headers)
        content = answer.read()
        if answer.status >= 400:
            raise AnnotationError(f"{path}: {content.decode('utf-8', 'replace')}")
        return content

    def _answer(self, *request: Any) -> http.client.HTTPResponse:
        self._connection.request(*request)
        return self._connection.getresponse()


def run(client: Client, out: Path, clicks: int, process_id: int | None = None, seed: int = 0) -> Report:
    """Clicks through all pictures of a running server, the same number on each, and counts what arrived on the disk.

    Args:
        client: of the server.
        out: its output folder.
        clicks: in all.
        process_id: of the server, to measure its memory.
        seed: of the places that are clicked.
    """
    random_places, report = random.Random(seed), Report()
    pictures = client.get("/api/project")["pictures"]
    for number, picture in enumerate(pictures):
        share = clicks * (number + 1) // len(pictures) - clicks * number // len(pictures)
        _annotate(client, picture["id"], share, random_places, report)
        if process_id and (number + 1) * 10 // len(pictures) > number * 10 // len(pictures):
            report.memory += [value for value in [memory_of(process_id)] if value is not None]
    report.lost = len(report.seconds) - saved_clicks(out)
    return report


def _annotate(client: Client, picture_id: str, clicks: int, random_places: random.Random, report: Report) -> None:
    """A picture as the page works: open it, click, finish an object every few clicks, mark it as done."""
    address = f"/api/pictures/{picture_id}"
    state = client.get(address)
    for part in ("thumbnail", "image"):
        client.fetch(f"{address}/{part}")
    for number in range(clicks):
        place = {"y": random_places.randrange(state["height"]), "x": random_places.randrange(state["width"])}
        begun = time.perf_counter()
        state = client.change(state, "click", **place, positive=number % CLICKS_PER_OBJECT != 2, label="object")
        report.seconds.append(time.perf_counter() - begun)
        is_last_of_object = number % CLICKS_PER_OBJECT == CLICKS_PER_OBJECT - 1
        if is_last_of_object and state["active"]["mask"]:
            state = client.change(state, "finish")
            client.fetch(f"{address}/masks/{state['objects'][-1]['mask']}")
    client.change(state, "mark", done=True)


def compare(client: Client, clicks: int) -> str:
    """Clicks at a person's pace while a concept model is trained and while none is, in turns: both reports and a ratio.

    The last picture is clicked on; the first LEARNT are marked as done, each with a painted object.
    """
    *learnt, clicked = client.get("/api/project")["pictures"]
    for picture in learnt[:LEARNT]:
        state = client.get(f"/api/pictures/{picture['id']}")
        middle = [[state["height"] / 2, state["width"] / 2]]
        state = client.change(state, "brush", points=middle, radius=state["height"] / 5, adds=True, label="object")
        client.change(client.change(state, "finish"), "mark", done=True)
    state, random_places, reports = client.get(f"/api/pictures/{clicked['id']}"), random.Random(0), (Report(), Report())
    for part in range(2 * ROUNDS):
        command = ("train", "stop")[part % 2]
        client.post("/api/assist", {"do": command, "label": "object"})
        _wait_for(lambda: (client.get("/api/status")["assist"]["labels"][0]["state"] == "training") == (part % 2 == 0))  # noqa: B023
        for number in range(clicks // (2 * ROUNDS)):
            time.sleep(THINKING_SECONDS)
            place = {"y": random_places.randrange(state["height"]), "x": random_places.randrange(state["width"])}
            begun = time.perf_counter()
            state = client.change(state, "click", **place, positive=number % CLICKS_PER_OBJECT != 2, label="object")
            reports[part % 2].seconds.append(time.perf_counter() - begun)
            if number % CLICKS_PER_OBJECT == CLICKS_PER_OBJECT - 1:
                state = client.change(state, "clear")
    texts = [f"{name}: {report.text()}" for name, report in zip(("training", "alone"), reports, strict=True)]
    ratios = [np.percentile(reports[0].seconds, q) / np.percentile(reports[1].seconds, q) for q in (50, 95)]
    return "\n".join([*texts, "ratio: p50 {:.2f}, p95 {:.2f}".format(*ratios)])


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise AnnotationError(f"The server didn't get there in {START_SECONDS} seconds.")
        time.sleep(0.2)


def saved_clicks(out: Path) -> int:
    """Clicks that are in the session files of an output folder."""
    project = Project(out)
    sessions = filter(None, (project.read_session(picture) for picture in project.pictures.values()))
    return sum(step["op"] == "click" for session in sessions for step in session.steps)


def memory_of(process_id: int) -> float | None:
    """MiB that a process holds in memory, where the system tells (Linux)."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


# ---------------------------------------------------------------------------------------------- the command


def parse() -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.annotate.load_test", description=main.__doc__)
    parser.add_argument("--clicks", type=int, default=2000, help="in all (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=50, help="made for the test (default: %(default)s)")
    parser.add_argument("--megapixels", type=float, default=1.0, help="of each (default: %(default)s)")
    parser.add_argument("--images", type=Path, help="a folder of pictures to take instead; saved beside the system's "
                        "temporary files, the folder is only read")
    parser.add_argument("--checkpoint", type=Path, help="of the model (default: checkpoint.pth)")
    parser.add_argument("--assist", action="store_true", help="compare clicks while a concept model is trained with "
                        "clicks while none is")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Starts a server of its own in a temporary folder, clicks through its pictures, prints latencies and memory."""
    with tempfile.TemporaryDirectory() as folder:
        images, out = options.images or Path(folder) / "images", Path(folder) / "out"
        if options.images is None:
            make_pictures(images, options.pictures, options.megapixels)
        count = len(list_pictures(images).pictures)
        with _server(images, out, options.checkpoint, options.assist) as (address, process_id):
            client = Client(address)
            _wait_for_model(client)
            print(f"{options.clicks} clicks over {count} pictures", flush=True)
            if options.assist:
                print(compare(client, options.clicks))
                return
            report = run(client, out, options.clicks, process_id)
        print(report.text())
        if report.lost:
            raise AnnotationError(f"{report.lost} confirmed clicks are not on the disk.")


def make_pictures(folder: Path, count: int, megapixels: float) -> None:
    """Coloured clouds as JPEG, each different."""
    folder.mkdir(parents=True)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    rng = np.random.default_rng(0)
    for number in range(count):
        clouds = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = cv2.resize(clouds, (height * 4 // 3, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), image)


@contextmanager
def _server(images: Path, out: Path, checkpoint: Path | None, assist: bool) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "utils.annotate", str(images), "--out", str(out), "--port", "0"]
    command += ["--checkpoint", str(checkpoint)] if checkpoint else []
    command += ["--assist", "object", "--assist-minutes", "30"] if assist else []
    home = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home, env=environment) as process:
        try:
            lines = iter(process.stdout.readline, "")
            address = next((found[0] for line in lines if (found := re.search(r"http://\S+", line))), None)
            if address is None:
                raise AnnotationError("The server didn't start.")
            yield address, process.pid
        finally:
            process.terminate()


def _wait_for_model(client: Client) -> None:
    _wait_for(lambda: client.get("/api/status")["model"]["state"] != "loading")
    model = client.get("/api/status")["model"]
    if model["state"] != "ready":
        raise AnnotationError(model["text"])


if __name__ == "__main__":
    main(parse())
