"""A stand-in for the click model, and a server with it in a process of its own that tests may kill.

Its objects are cones around positive clicks, cut away around negative ones: clear to reason about, and sensitive to the
order of clicks, to the threshold and to the mask before.
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

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

    def step(self, before: np.ndarray, y: int, x: int, is_positive: bool) -> np.ndarray:
        rows, columns = np.ogrid[: self.shape[0], : self.shape[1]]
        cone = 1 - np.hypot(rows - y, columns - x) / (0.4 * min(self.shape))
        cone = np.clip(cone, 0, 1).astype(np.float32)
        return np.maximum(before, cone) if is_positive else np.minimum(before, 1 - cone)


class StubModel:
    name, digest = "stub.pth", "0" * 64
    defaults = Settings(threshold=0.5, zoom_in=True, expand_ratio=1.4, working_size=256)

    def __init__(self, progress=None) -> None:
        self.asked: list[Settings] = []

    def predictor(self, settings: Settings) -> StubPredictor:
        self.asked.append(settings)
        return StubPredictor()


def stub_editor(images: Path, out: Path, masks: Path | None = None) -> Editor:
    project = Project(out, images, ["car", "person"])
    project.lock()
    project.save()
    engine = Engine(StubModel)
    engine.start()
    return Editor(project, engine, Proposals(masks))


if __name__ == "__main__":
    import uvicorn

    from utils.annotate.__main__ import _listen
    from utils.annotate.server import create_app

    images, out, port, *masks = sys.argv[1:]
    listener = _listen("127.0.0.1", int(port))
    app = create_app(stub_editor(Path(images), Path(out), Path(masks[0]) if masks else None))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
