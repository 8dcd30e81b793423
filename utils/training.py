"""Comforts of a training run: a log with curves and contact sheets, a state to go on from, a stop on request.

utils/segment and, by way of utils/click_training.py, solution.py build on them:

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

import contextlib
import csv
import io
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from solution import TrainingError, read_plain, save_plain
from utils.files import write_whole
from utils.misc import contact_sheet
from utils.plots import Curve, curves_chart, write_svg

__all__ = ["StopRequest", "TrainingLog", "fit_tile", "load_state", "save_state", "write_metrics"]

SECONDS_BETWEEN_LINES = 60.0  # of progress, where there is no terminal to draw a bar on
SHOWN_LOSSES = 5000  # the last ones, in the chart
Tiles = Callable[..., Sequence[np.ndarray]]


class TrainingLog:
    """metrics.csv, charts and contact sheets in a run's folder, and its line on the screen.

    Args:
        folder: gets metrics.csv, and vis/ with loss.svg, a chart for each entry of `charts`, and contact sheets.
        total: length of the run, in `unit`.
        seen: how much of it is done.
        history: rows of earlier flushes; the list of the run itself, to which new rows are added.
        losses: (seen, loss) of earlier steps; likewise.
        unit: what is counted, for the screen and the charts.
        charts: {start of some columns' names: title}; {"iou": ...} draws the columns iou@1, iou@2, ... to iou.svg.
        tiles: makes the row of a contact sheet, RGB pictures uint8 (H, W, 3), of an example; without it an example is
            such a row.
        headings: above the columns of the contact sheet.
        tensorboard: also write the figures and contact sheets to tensorboard/ in the folder.

    Raises:
        TrainingError: tensorboard is not installed.
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
        tensorboard: bool = False,
    ) -> None:
        self.folder, self.unit = Path(folder), unit
        self.history = [] if history is None else history
        self.losses = [] if losses is None else losses
        self._charts, self._tiles, self._headings = dict(charts or {}), tiles, headings
        self._board = _summary_writer(self.folder / "tensorboard", seen) if tensorboard else None
        # no bar in a file or pipe, but a line now and then
        self._bar = tqdm(total=total, initial=seen, unit=f" {unit}", dynamic_ncols=True, smoothing=0.05, disable=None)
        self._last_line = time.monotonic()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def record(self, seen: int, loss: float, **shown: float) -> None:
        """Notes the loss of the steps up to `seen`, and moves the progress bar; `shown` stands beside it."""
        self.losses.append((seen, loss))
        self._show_scalars("training", {"loss": loss, **shown}, seen)
        texts = {name: f"{value:.3g}" for name, value in {"loss": loss, **shown}.items()}
        self._bar.set_postfix(texts, refresh=False)
        self._bar.update(seen - self._bar.n)
        if self._bar.disable and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self.say(f"{seen} of {self._bar.total} {self.unit}: loss {loss:.3g}")
            self._last_line = time.monotonic()

    def flush(self, row: Mapping[str, float], examples: Sequence[Any] = ()) -> None:
        """Adds a row of figures to metrics.csv, draws the charts anew and a contact sheet of the examples.

        Args:
            row: figures by name; its first one counts what `unit` says. Columns may differ from row to row.
            examples: each is given to `tiles` as its arguments.
        """
        self.history.append(dict(row))
        write_metrics(self.history, self.folder / "metrics.csv")
        counter = next(iter(row))
        self._show_scalars("validation", row, int(row[counter]))
        self._draw("loss", {"loss": self.losses[-SHOWN_LOSSES:]}, "Training loss")
        for start, title in self._charts.items():
            names = dict.fromkeys(name for past in self.history for name in past if name.startswith(start))
            curves = {name: [(past[counter], past[name]) for past in self.history if name in past] for name in names}
            self._draw(start, curves, title)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in list(row.items())[1:])
        self.say(f"{row[counter]:.0f} {self.unit}: {figures}")
        if examples:
            self._write_sheet(examples, int(row[counter]))

    def _show_scalars(self, group: str, figures: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def _draw(self, name: str, curves: Mapping[str, Sequence[tuple[float, float]]], title: str) -> None:
        if any(curves.values()):
            chart = curves_chart(title, [Curve(key, points) for key, points in curves.items()], x_label=self.unit)
            write_svg(self.folder / "vis" / f"{name}.svg", chart)

    def _write_sheet(self, examples: Sequence[Any], step: int) -> None:
        rows = [[fit_tile(tile) for tile in self._tiles(*example)] for example in examples]
        sheet = contact_sheet(rows, self._headings or None)
        path = self.folder / "vis" / f"{self.unit}_{step:08d}.jpg"
        write_whole(path, cv2.imencode(".jpg", sheet[..., ::-1])[1].tobytes())
        if self._board is not None:
            self._board.add_image("examples", sheet, step, dataformats="HWC")

    def say(self, text: str) -> None:
        """Prints a line without tearing the progress bar."""
        self._bar.write(text)

    def close(self) -> None:
        """Leaves the progress bar as it is."""
        self._bar.close()
        if self._board is not None:
            self._board.close()


def _summary_writer(folder: Path, seen: int) -> Any:
    """TensorBoard's writer; what an earlier start of the run wrote beyond its saved state is taken back."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError("--tensorboard needs a package that is not installed: pip install tensorboard") from None
    return SummaryWriter(str(folder), purge_step=seen + 1)


class StopRequest:
    """Ctrl-C, a polite kill or the end of the time asks for a stop after the present step; a second Ctrl-C insists.

    Args:
        minutes: until the end of the time; without one, there is none.
        may_insist: False under torchrun, which passes on to its processes the Ctrl-C that they have seen themselves.
    """

    def __init__(self, minutes: float | None = None, may_insist: bool = True) -> None:
        self.asked = False
        self._may_insist = may_insist
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        with contextlib.suppress(ValueError):  # signals reach the main thread only
            self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: Any) -> None:
        if self.asked and self._may_insist and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    @property
    def due(self) -> bool:
        """Whether to stop."""
        return self.asked or time.monotonic() > self._end


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
