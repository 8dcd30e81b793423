"""Comforts of a training run: a log with curves and contact sheets, a state to go on from, a stop on request.

solution.py uses them where they lie beside it, and trains without them too; utils/segment builds on them:

    state = load_state(out / "state.pth") or {...}
    with StopRequest(minutes) as stop, TrainingLog(out, total, seen, history=history, losses=losses) as log:
        for batch in loader:
            log.record(seen, loss)                                   # a number; moves the progress bar
            if validates:
                log.flush({"samples": seen, "loss": loss, "iou@1": iou}, examples)
            if saves:
                save_state(out / "state.pth", state)
            if stop.due:
                break

`log.history` and `log.losses` are lists of plain numbers: keep them in the state, and give them back on the next start.
"""
from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from solution import StopRequest, read_plain, save_plain
from utils.files import write_whole
from utils.misc import contact_sheet, draw_curves, draw_probmap, draw_with_blend_and_clicks

__all__ = ["StopRequest", "TrainingLog", "fit_tile", "interaction_tiles", "load_state", "save_state", "write_metrics"]

SHOWN_LOSSES = 5000  # the last ones, in the chart
INTERACTION_HEADINGS = ("image", "ground truth", "mask and clicks", "probability")

Tiles = Callable[..., Sequence[np.ndarray]]


class TrainingLog:
    """metrics.csv, charts and contact sheets in a run's folder, and its line on the screen.

    Args:
        folder: gets metrics.csv, and vis/ with loss.png, a chart for each entry of `charts`, and contact sheets.
        total: length of the run, in `unit`.
        seen: how much of it is done.
        history: rows of earlier flushes; the list of the run itself, to which new rows are added.
        losses: (seen, loss) of earlier steps; likewise.
        unit: what is counted, for the screen and the charts.
        charts: {start of some columns' names: title}; {"iou": ...} draws the columns iou@1, iou@2, ... to iou.png.
        tiles: makes the row of a contact sheet, RGB pictures uint8 (H, W, 3), of an example; without it an example is
            such a row.
        headings: above the columns of the contact sheet.
    """

    def __init__(
        self,
        folder: Path,
        total: int,
        seen: int = 0,
        history: list[dict[str, float]] | None = None,
        losses: list[tuple[int, float]] | None = None,
        unit: str = "samples",
        charts: Mapping[str, str] | None = None,
        tiles: Tiles = lambda *row: row,
        headings: Sequence[str] = (),
    ) -> None:
        from tqdm import tqdm

        self.folder, self.unit = Path(folder), unit
        self.history = [] if history is None else history
        self.losses = [] if losses is None else losses
        self._charts, self._tiles, self._headings = dict(charts or {}), tiles, headings
        self._bar = tqdm(total=total, initial=seen, unit=f" {unit}", dynamic_ncols=True, smoothing=0.05)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def record(self, seen: int, loss: float, **shown: float) -> None:
        """Notes the loss of the steps up to `seen`, and moves the progress bar; `shown` stands beside it."""
        self.losses.append((seen, loss))
        self.progress(seen, loss=loss, **shown)

    def progress(self, seen: int, **shown: float) -> None:
        """Moves the progress bar."""
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
        self._bar.update(seen - self._bar.n)

    def flush(self, row: Mapping[str, float], examples: Sequence[Any] = ()) -> None:
        """Adds a row of figures to metrics.csv, draws the charts anew and a contact sheet of the examples.

        Args:
            row: figures by name; its first one counts what `unit` says. Columns may differ from row to row.
            examples: each is given to `tiles` as its arguments.
        """
        self.history.append(dict(row))
        write_metrics(self.history, self.folder / "metrics.csv")
        counter = next(iter(row))
        self._draw("loss", {"loss": self.losses[-SHOWN_LOSSES:]}, "Training loss")
        for start, title in self._charts.items():
            names = dict.fromkeys(name for past in self.history for name in past if name.startswith(start))
            curves = {name: [(past[counter], past[name]) for past in self.history if name in past] for name in names}
            self._draw(start, curves, title)
        if examples:
            rows = [[fit_tile(tile) for tile in self._tiles(*example)] for example in examples]
            path = self.folder / "vis" / f"{self.unit}_{int(row[counter]):08d}.jpg"
            sheet = contact_sheet(rows, self._headings or None)
            write_whole(path, cv2.imencode(".jpg", sheet[..., ::-1])[1].tobytes())

    def _draw(self, name: str, curves: Mapping[str, Sequence[tuple[float, float]]], title: str) -> None:
        path = self.folder / "vis" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if any(np.isfinite(point).all() for curve in curves.values() for point in curve):
            draw_curves(curves, path, title)

    def say(self, text: str) -> None:
        """Prints a line without tearing the progress bar."""
        self._bar.write(text)

    def close(self) -> None:
        """Leaves the progress bar as it is."""
        self._bar.close()


def write_metrics(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Writes rows of figures as CSV; the columns are those of all rows, in the order in which they came up."""
    columns = dict.fromkeys(name for row in history for name in row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(columns))
    writer.writeheader()
    writer.writerows(history)
    write_whole(path, text.getvalue().encode("utf-8"))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain containers to go on from; beside and renamed.

    Raises:
        OSError: the file can't be written; the last one is untouched.
    """
    save_plain(dict(state), path)


def load_state(path: Path, device: str = "cpu") -> dict[str, Any] | None:
    """What `save_state` wrote, its tensors on this device; None if there is no such file.

    Raises:
        CheckpointError: the file is damaged.
    """
    return read_plain(path, device) if Path(path).is_file() else None


def fit_tile(image: np.ndarray, side: int = 256) -> np.ndarray:
    """A picture uint8 (H, W, 3), fitted into the corner of a grey square of this side."""
    scale = side / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    tile = np.full((side, side, 3), 128, np.uint8)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile[: size[1], : size[0]] = cv2.resize(image, size, interpolation=kind)
    return tile


def interaction_tiles(image: np.ndarray, truth: np.ndarray, played: Any) -> list[np.ndarray]:
    """The pictures under INTERACTION_HEADINGS, of an image (H, W, 3), its object (H, W) and what `simulate` gave."""
    from utils.clicker import Click

    clicks = [Click(positive, (y, x)) for y, x, positive in played.clicks]
    last = draw_with_blend_and_clicks(image, mask=played.masks[-1].astype(np.uint8), clicks_list=clicks)
    object_ = draw_with_blend_and_clicks(image, mask=truth.astype(np.uint8))
    probability = cv2.cvtColor(draw_probmap(played.probabilities[-1]), cv2.COLOR_BGR2RGB)
    return [image, object_, last, probability]
