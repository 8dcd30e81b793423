"""The click model behind the page: loading it, and asking it about one object."""
from __future__ import annotations

import ctypes
import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.clicker import Click as ModelClick
from utils.clicker import Clicker

from .document import Settings, Target
from .errors import UnavailableError

KEPT_PREDICTORS = 2  # each holds one decoded picture

Progress = Callable[[float, str], None]


class ClickPredictor(Protocol):
    """What the page needs of a Predictor."""

    def set_input_image(self, image: np.ndarray) -> None:
        """Begins with an image, uint8 (H, W, 3) RGB."""

    def get_prediction(self, clicker: Clicker, prev_mask: np.ndarray | None = None) -> np.ndarray:
        """Probabilities float32 (H, W) for the clicks; prev_mask is the one before the last click."""

    def get_mask(self, clicker: Clicker, *, threshold: float) -> np.ndarray:
        """Where the probabilities are above the threshold, bool (H, W)."""


class Model(Protocol):
    """A click model: its file's name and SHA-256, its own settings, and predictors that follow the given ones."""

    name: str
    digest: str
    defaults: Settings

    def predictor(self, settings: Settings) -> ClickPredictor:
        """A predictor with the given settings; those that are None are the model's own."""


class CheckpointModel:
    """The model of solution.py with a checkpoint.

    Args:
        checkpoint: the file.
        progress: told (fraction, what happens now) while it loads.

    Raises:
        UnavailableError: the checkpoint can't be used; the message says why.
    """

    def __init__(self, checkpoint: Path, progress: Progress = lambda fraction, text: None) -> None:
        progress(0.05, "starting PyTorch")
        import torch  # slow, and not needed to look at pictures

        from solution import CheckpointError, ISModel, Predictor

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        progress(0.5, f"reading {checkpoint.name}")
        self.name = checkpoint.name
        model = ISModel()
        try:
            self.digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
            model.restore_from_checkpoint(str(checkpoint), self._device)
        except (OSError, CheckpointError) as error:
            raise UnavailableError(f"The model can't be loaded: {error}") from error
        self._model, self._predictor = model.eval(), Predictor
        plain = Predictor(self._model, self._device)
        self.defaults = Settings(model.pred_thr, plain.zoom_in, plain.expand_ratio, plain.working_size)
        progress(0.8, "first prediction")
        self._warm_up(plain)

    def predictor(self, settings: Settings) -> ClickPredictor:
        """A Predictor with these settings."""
        options = {name: value for name, value in settings.given().items() if name != "threshold"}
        return self._predictor(self._model, self._device, **options)

    @staticmethod
    def _warm_up(predictor: ClickPredictor) -> None:
        """The first prediction of a process is slow; a person's click shouldn't be it."""
        predictor.set_input_image(np.zeros((256, 256, 3), np.uint8))
        predictor.get_prediction(Clicker(init_clicks=[ModelClick(True, (128, 128))]))


class Engine:
    """Loads a model in the background and asks it. `probability` is for one thread at a time.

    Args:
        load: gives the model; called once, in a thread of its own.
    """

    def __init__(self, load: Callable[[Progress], Model]) -> None:
        self._load = load
        self._model: Model | None = None
        self._settled = threading.Event()
        self._error: str | None = None
        self._progress = (0.0, "waiting")
        self._predictors: OrderedDict[tuple, _Dialogue] = OrderedDict()

    def start(self) -> None:
        """Begins to load the model."""
        threading.Thread(target=self._run_load, name="model loader", daemon=True).start()

    def _run_load(self) -> None:
        try:
            self._model = self._load(self._report)
        except UnavailableError as error:
            self._error = str(error)
        except Exception as error:  # whatever goes wrong, the page must be able to say so
            self._error = f"The model can't be loaded: {type(error).__name__}: {error}"
        self._settled.set()

    def _report(self, fraction: float, text: str) -> None:
        self._progress = (fraction, text)

    def status(self) -> dict[str, Any]:
        """For the page: {"state": "loading" | "ready" | "failed", ...}."""
        if not self._settled.is_set():
            return {"state": "loading", "fraction": self._progress[0], "text": self._progress[1]}
        if self._model is None:
            return {"state": "failed", "text": self._error}
        return {"state": "ready", "name": self._model.name, "digest": self._model.digest,
                "defaults": self._model.defaults.given()}

    def wait(self) -> None:
        """Returns when the model is loaded or has failed to."""
        self._settled.wait()

    def model(self) -> Model:
        """The model; waits until it is loaded.

        Raises:
            UnavailableError: it could not be loaded.
        """
        self.wait()
        if self._model is None:
            raise UnavailableError(f"{self._error} Brush and region still work.")
        return self._model

    def checkpoint(self) -> dict[str, str]:
        """{"file", "sha256"} of the model."""
        return {"file": self.model().name, "sha256": self.model().digest}

    def prepare(self, picture_id: str, image: Callable[[], np.ndarray]) -> None:
        """Gets ready for clicks on a picture, if the model is there."""
        if self._model is not None:
            self._dialogue(picture_id, Settings(), image)

    def probability(
        self, picture_id: str, image: Callable[[], np.ndarray], target: Target, start: np.ndarray | None
    ) -> np.ndarray:
        """The model's answer for an object in work, as a map.

        Args:
            picture_id: of the picture.
            image: gives the picture, uint8 (H, W, 3) RGB; asked for only if it isn't known.
            target: the object; it has clicks after its start.
            start: the mask bool (H, W) of target.start, if it has one.

        Returns:
            float32 (H, W) in [0, 1].

        Raises:
            UnavailableError: there is no model.
        """
        dialogue = self._dialogue(picture_id, target.settings, image)
        return dialogue.predictor.get_prediction(dialogue.clicker(target, start))

    def mask(
        self, picture_id: str, image: Callable[[], np.ndarray], target: Target, start: np.ndarray | None
    ) -> np.ndarray:
        """`probability` above the object's threshold, or else the model's: bool (H, W)."""
        defaults = self.model().defaults
        threshold = defaults.threshold if target.settings.threshold is None else target.settings.threshold
        dialogue = self._dialogue(picture_id, target.settings, image)
        return dialogue.predictor.get_mask(dialogue.clicker(target, start), threshold=threshold)

    def _dialogue(self, picture_id: str, settings: Settings, image: Callable[[], np.ndarray]) -> _Dialogue:
        options = Settings(**{**settings.given(), "threshold": None})
        key = (picture_id, options)
        if key not in self._predictors:
            _give_back_memory()
            self._predictors[key] = _Dialogue(self.model().predictor(options), image())
        self._predictors.move_to_end(key)
        while len(self._predictors) > KEPT_PREDICTORS:
            self._predictors.popitem(last=False)
        return self._predictors[key]


def _give_back_memory() -> None:
    """glibc keeps what was freed in pieces; over a thousand pictures that came to 150 MiB."""
    if sys.platform != "linux":  # elsewhere there is no glibc, and Windows can't even look itself up
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Dialogue:
    """A predictor on one picture, and where its present line of clicks started."""

    def __init__(self, predictor: ClickPredictor, image: np.ndarray) -> None:
        self.predictor = predictor
        self._image = image
        self._begin(None)

    def _begin(self, line: tuple | None) -> None:
        self.predictor.set_input_image(self._image)
        self._line = line

    def clicker(self, target: Target, start: np.ndarray | None) -> Clicker:
        """The object's clicks for the predictor, which knows now where they started."""
        clicks = [ModelClick(click.is_positive, (click.y, click.x)) for click in target.clicks]
        before = target.clicks_before_start
        line = target.start and (target.start.mask, target.clicks[:before])
        if line != self._line:
            self._begin(line)
            if start is not None:
                self.predictor.get_prediction(Clicker(init_clicks=clicks[: before + 1]), start.astype(np.float32))
        return Clicker(init_clicks=clicks)

