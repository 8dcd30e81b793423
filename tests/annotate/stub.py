"""A stand-in for the click model, and a server with it in a process of its own that tests may kill.

Its objects are cones around positive clicks, cut away around negative ones: clear to reason about, and sensitive to the
order of clicks, to the threshold and to the mask before.
"""
from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import cv2
import numpy as np
from starlette.testclient import TestClient

from utils.annotate.assist.assistant import Assistant
from utils.annotate.document import Settings
from utils.annotate.editor import Editor
from utils.annotate.engine import Engine
from utils.annotate.project import Project
from utils.annotate.proposals import Proposals


class StubPredictor:
    """As solution.Predictor: each click is a step from the map before it."""

    def set_input_image(self, image: np.ndarray) -> None:
        self.shape = image.shape[:2]
        self.known = {(): np.zeros(self.shape, np.float32)}

    def get_prediction(self, clicker, prev_mask=None) -> np.ndarray:
        clicks = tuple((*click.coords, click.is_positive) for click in clicker.get_clicks())
        self.known = {known: value for known, value in self.known.items() if clicks[: len(known)] == known}
        if prev_mask is not None:
            self.known[clicks[:-1]] = np.asarray(prev_mask, np.float32)
            self.known.pop(clicks, None)
        for count in range(len(max(self.known, key=len)), len(clicks)):
            self.known[clicks[: count + 1]] = self.step(self.known[clicks[:count]], *clicks[count])
        return self.known[clicks].copy()

    def get_mask(self, clicker, *, threshold) -> np.ndarray:
        return self.get_prediction(clicker) > threshold

    def step(self, before: np.ndarray, y: int, x: int, is_positive: bool) -> np.ndarray:
        rows, columns = (np.arange(side, dtype=np.float32) for side in self.shape)
        cone = 1 - np.hypot(rows[:, None] - y, columns - x) / np.float32(0.4 * min(self.shape))
        cone = np.clip(cone, 0, 1)
        return np.maximum(before, cone) if is_positive else np.minimum(before, 1 - cone)


class StubModel:
    name, digest = "stub.pth", "0" * 64
    defaults = Settings(threshold=0.5, zoom_in=True, expand_ratio=1.4, working_size=256)
    understands: tuple[str, ...] = ("click",)

    def __init__(self, progress=None) -> None:
        self.asked: list[Settings] = []

    def predictor(self, settings: Settings) -> StubPredictor:
        self.asked.append(settings)
        return StubPredictor()


def bright(photo: np.ndarray) -> np.ndarray:
    """A stand-in for a concept model: bright things, as `--assist-from stub:bright`."""
    return np.clip(cv2.GaussianBlur(photo, (0, 0), 2).mean(axis=2, dtype=np.float32) / 255, 0, 1)


def stub_editor(images: Path, out: Path, masks: Path | None = None, assist: str | None = None) -> Editor:
    """With the stand-in for the click model; `assist` names a concept model, or is empty for one that is trained."""
    project = Project(out, images, ["car", "person"])
    project.lock()
    project.save()
    engine = Engine(StubModel)
    engine.start()
    assistant = None if assist is None else Assistant(project, ["car"], minutes=0.02, given=assist)
    return Editor(project, engine, Proposals(masks), assistant)


def editor_of(folder: Path) -> Editor:
    """An editor for folder/images that saves to folder/out, with folder/masks as proposals if they are there."""
    return stub_editor(folder / "images", folder / "out", folder / "masks" if (folder / "masks").is_dir() else None)


def write_pictures(folder: Path, *names: str, height: int = 60, width: int = 80) -> Path:
    """Pictures of noise; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        (folder / name).write_bytes(cv2.imencode(Path(name).suffix, image)[1].tobytes())
    return folder


class Annotator:
    """A person at an editor: remembers the state, sends changes that fit it."""

    def __init__(self, editor: Editor, picture: int = 0) -> None:
        self.editor = editor
        self.picture = list(editor.project.pictures.values())[picture]
        self.state = editor.open(self.picture.id)

    def do(self, op: str, **fields) -> dict:
        """A change; gives the new state."""
        change = {"op": op, "id": uuid.uuid4().hex, "revision": self.state["revision"], **fields}
        self.state = self.editor.change(self.picture.id, change)
        return self.state

    def click(self, y: int, x: int, positive: bool = True, **fields) -> dict:
        return self.do("click", y=y, x=x, positive=positive, **{"label": "car", **fields})

    def mask(self, number: int | None = None) -> np.ndarray:
        """The mask bool (H, W) of the object in work, or of a finished one by its place in the list."""
        target = self.state["active"] if number is None else self.state["objects"][number]
        if target["mask"] is None:
            return np.zeros((self.state["height"], self.state["width"]), bool)
        return self.editor.project.masks(self.picture).mask(target["mask"])


HOME = "http://127.0.0.1:8000"  # of the clients of a server in this process


def first_id(client: TestClient) -> str:
    return client.get("/api/project").json()["pictures"][0]["id"]


def post(client: TestClient, picture_id: str, revision: int, **change):
    body = {"id": uuid.uuid4().hex, "revision": revision, "label": "car", **change}
    return client.post(f"/api/pictures/{picture_id}/change", json=body)


CLICK = {"op": "click", "y": 20, "x": 30, "positive": True}


if __name__ == "__main__":
    import uvicorn

    from utils.annotate import editor, project, server
    from utils.annotate.__main__ import listen

    images, out, port, *caches = sys.argv[1:]
    os.fsync, os.sync = lambda descriptor: None, lambda: None  # tests kill the process, not the machine
    for module, name in ((editor, "IMAGE_CACHE_BYTES"), (editor, "OUTLINE_CACHE_BYTES"), (project, "MASK_CACHE_BYTES"),
                         (server, "THUMBNAIL_CACHE_BYTES")):
        if caches:  # small ones are full early
            setattr(module, name, int(caches[0]))
    listener = listen("127.0.0.1", int(port))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    served = stub_editor(Path(images), Path(out), assist=os.environ.get("STUB_ASSIST"))
    if served.assistant is not None:
        served.assistant.start()
    uvicorn.Server(uvicorn.Config(server.create_app(served), log_level="warning")).run(sockets=[listener])
