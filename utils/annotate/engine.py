"""The click model behind the page: loading it, and asking it about one object."""
from __future__ import annotations

import ctypes
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.clicker import Click as ModelClick
from utils.clicker import Clicker
from utils.files import UserError
from utils.interactions import Interaction

from .document import Prompt, Settings, Target
from .errors import NoModelError
from .prompts import as_clicks, enclosed, interactions, last_enclosing, zoom_box

KEPT_PREDICTORS = 2  # each holds one decoded picture
PREVIEW_SIZE = 128  # of the inputs for what is shown under a resting pointer

Progress = Callable[[float, str], None]
Image = Callable[[], np.ndarray]  # gives a picture, uint8 (H, W, 3) RGB


class ClickPredictor(Protocol):
    """What the page needs of a Predictor."""

    def set_input_image(self, image: np.ndarray) -> None:
        """Begins with an image, uint8 (H, W, 3) RGB."""

    def get_prediction(self, clicker: Any, prev_mask: np.ndarray | None = None) -> np.ndarray:
        """Probabilities float32 (H, W) for a Clicker or a list of interactions; prev_mask is before the last one."""

    def get_mask(self, clicker: Any, *, threshold: float) -> np.ndarray:
        """Where the probabilities are above the threshold, bool (H, W)."""


class Model(Protocol):
    """A click model: its file's name and SHA-256, its own settings, and predictors that follow the given ones.

    `understands` names the kinds of interactions that it takes, see utils.interactions.KINDS.
    """

    name: str
    digest: str
    defaults: Settings
    understands: tuple[str, ...]

    def predictor(self, settings: Settings) -> ClickPredictor:
        """A predictor with the given settings; those that are None are the model's own."""


class CheckpointModel:
    """A model that `utils.models` can open: a checkpoint, an exported network.

    Args:
        source: the file.
        progress: told (fraction, what happens now) while it loads.
        runtime, precision: of an exported network, see `utils.models.open_model`.

    Raises:
        NoModelError: it can't be used; the message says why.
    """

    def __init__(
        self,
        source: Path,
        progress: Progress = lambda fraction, text: None,
        runtime: str = "auto",
        precision: str = "fp32",
    ) -> None:
        progress(0.05, "starting PyTorch")
        import torch  # slow, and not needed to look at pictures

        from utils.models import model_digests, open_model

        progress(0.5, f"reading {source.name}")
        self.name = source.name
        try:
            self.digest = model_digests(source)[source.name]
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._model = open_model(source, device, runtime, precision)
            plain = self._model.new_predictor()
        except UserError as error:
            raise NoModelError(f"The model can't be loaded: {error}", "no_model", reason=str(error)) from error
        self.understands = self._model.understands
        self.defaults = Settings(self._model.threshold, plain.zoom_in, plain.expand_ratio, plain.working_size)
        progress(0.8, "first prediction")
        self._warm_up(plain)

    def predictor(self, settings: Settings) -> ClickPredictor:
        """A Predictor with these settings."""
        options = {name: value for name, value in settings.given().items() if name != "threshold"}
        return self._model.new_predictor(**options)

    @staticmethod
    def _warm_up(predictor: ClickPredictor) -> None:
        """The first prediction of a process is slow; a person's click shouldn't be it."""
        predictor.set_input_image(np.zeros((256, 256, 3), np.uint8))
        predictor.get_prediction(Clicker(init_clicks=[ModelClick(True, (128, 128))]))


def no_model(progress: Progress) -> Model:
    """In the place of a model, for those who want none."""
    raise NoModelError("There is no model (--without-model).", "no_model", reason="--without-model")


class Engine:
    """Loads a model in the background and asks it. `probability` and `mask` are for one thread at a time.

    Args:
        load: gives the model; called once, in a thread of its own.
    """

    def __init__(self, load: Callable[[Progress], Model]) -> None:
        self._load = load
        self._model: Model | None = None
        self._settled = threading.Event()
        self._error: str | None = None
        self._progress = (0.0, "waiting")
        self._interactions: OrderedDict[tuple, _Interaction] = OrderedDict()
        self._preview: tuple[str, ClickPredictor] | None = None

    def start(self, failed: Callable[[str], None] = lambda sentence: None) -> None:
        """Begins to load the model; `failed` is told if that can't be done, in the loading thread."""
        threading.Thread(target=self._run_load, args=(failed,), name="model loader", daemon=True).start()

    def _run_load(self, failed: Callable[[str], None]) -> None:
        try:
            self._model = self._load(self._report)
        except NoModelError as error:
            self._error = str(error)
        except Exception as error:  # whatever goes wrong, the page must be able to say so
            self._error = f"The model can't be loaded: {type(error).__name__}: {error}"
        self._settled.set()
        if self._error:
            failed(self._error)

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

    @property
    def is_ready(self) -> bool:
        """Whether the model can be asked now."""
        return self._model is not None

    @property
    def understands(self) -> tuple[str, ...]:
        """The kinds of interactions that the model takes; clicks alone while there is none."""
        return self._model.understands if self._model is not None else ("click",)

    def wait(self) -> None:
        """Returns when the model is loaded or has failed to."""
        self._settled.wait()

    def model(self) -> Model:
        """The model; waits until it is loaded.

        Raises:
            NoModelError: it could not be loaded.
        """
        self.wait()
        if self._model is None:
            raise NoModelError(f"{self._error} Brush and region still work.", "no_model", reason=self._error)
        return self._model

    def checkpoint(self) -> dict[str, str]:
        """{"file", "sha256"} of the model."""
        return {"file": self.model().name, "sha256": self.model().digest}

    def prepare(self, picture_id: str, image: Image) -> None:
        """Gets ready for prompts on a picture, if the model is there."""
        if self._model is not None:
            self._interaction(picture_id, Settings(), image)

    def probability(self, picture_id: str, image: Image, target: Target, initial: np.ndarray | None) -> np.ndarray:
        """The model's answer for an object in work, as a map.

        Args:
            picture_id: of the picture.
            image: gives the picture; called only if it isn't known.
            target: the object; it has prompts after its initial mask.
            initial: the mask bool (H, W) of target.initial, if it has one.

        Returns:
            float32 (H, W) in [0, 1].

        Raises:
            NoModelError: there is no model.
        """
        return self._interaction(picture_id, target.settings, image).probability(target, initial)

    def mask(self, picture_id: str, image: Image, target: Target, initial: np.ndarray | None) -> np.ndarray:
        """`probability` above the object's threshold, or else the model's: bool (H, W)."""
        return self._interaction(picture_id, target.settings, image).mask(target, initial, self._threshold(target))

    def _threshold(self, target: Target) -> float:
        own, default = target.settings.threshold, self.model().defaults.threshold
        return own if own is not None else default if default is not None else 0.5

    def preview(self, picture_id: str, image: Image, shape: tuple[int, int], target: Target,
                before: np.ndarray | None) -> np.ndarray:
        """The mask bool (H, W) that the last prompt gives, with one small forward pass. For a thread of its own.

        Args:
            picture_id: of the picture.
            image: gives the picture; called only if it isn't known.
            shape: its (H, W).
            target: the object with the prompt.
            before: its mask bool (H, W) without it, if it has one.
        """
        if self._preview is None or self._preview[0] != picture_id:
            fresh = self.model().predictor(Settings(working_size=PREVIEW_SIZE))
            fresh.set_input_image(image())
            self._preview = picture_id, fresh
        predictor = self._preview[1]
        given = [each for prompt in target.prompts for each in interactions(prompt, shape, self.understands)]
        start = (np.zeros(shape, bool) if before is None else before).astype(np.float32)
        return predictor.get_prediction(_clicker_of(given), start) > self._threshold(target)

    def _interaction(self, picture_id: str, settings: Settings, image: Image) -> _Interaction:
        options = Settings(**{**settings.given(), "threshold": None})
        key = (picture_id, options)
        if key not in self._interactions:
            _give_back_memory()
            self._interactions[key] = _Interaction(self.model(), options, image())
        self._interactions.move_to_end(key)
        while len(self._interactions) > KEPT_PREDICTORS:
            self._interactions.popitem(last=False)
        return self._interactions[key]


def _give_back_memory() -> None:
    """Glibc keeps what was freed in pieces; over a thousand pictures that came to 150 MiB."""
    if sys.platform != "linux":  # elsewhere there is no glibc, and Windows can't even look itself up
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _clicker_of(given: list[Interaction]) -> Any:
    """As predictors take it: clicks in a Clicker, and with others among them a list."""
    clicks = [each for each in given if isinstance(each, ModelClick)]
    return Clicker(init_clicks=clicks) if len(clicks) == len(given) else given


class _Interaction:
    """A predictor on one picture, and where its present line of clicks began.

    Prompts reach it as `prompts.interactions`. A box or lasso that the model doesn't understand begins a new line: the
    object is looked for in that part of the picture alone, and later clicks start from what was found there.
    """

    def __init__(self, model: Model, settings: Settings, image: np.ndarray) -> None:
        self._model, self._settings, self._image = model, settings, image
        self._predictor = model.predictor(settings)
        self._begin(None)

    def _begin(self, line: tuple | None, start: np.ndarray | None = None) -> None:
        self._predictor.set_input_image(self._image)
        self._line, self._start = line, start
        self._given: tuple | None = None  # the prompts that the predictor was told to go on from the start with

    def probability(self, target: Target, initial: np.ndarray | None) -> np.ndarray:
        clicker = self._clicker(target, initial)
        if clicker is None and self._start is not None:
            return self._start
        return self._predictor.get_prediction(clicker or Clicker())

    def mask(self, target: Target, initial: np.ndarray | None, threshold: float) -> np.ndarray:
        clicker = self._clicker(target, initial)
        if clicker is None and self._start is not None:
            return self._start > threshold
        return self._predictor.get_mask(clicker or Clicker(), threshold=threshold)

    def _clicker(self, target: Target, initial: np.ndarray | None) -> Any:
        """The object's clicks for the predictor, which knows now what they start from; None if a box was the last."""
        first = target.prompts_before_initial
        box = last_enclosing(target.prompts[first:], self._image.shape[:2], self._model.understands)
        begin = first if box is None else first + box + 1
        line = (target.initial and target.initial.mask, target.prompts[:begin]) if begin or target.initial else None
        if line != self._line:
            start = None if initial is None else initial.astype(np.float32)
            self._begin(line, start if box is None else self._within(target.prompts[first:begin], start))
        clicks, before = self._clicks(target.prompts), len(self._clicks(target.prompts[:begin]))
        if len(clicks) == before:
            return None
        given = target.prompts[: begin + 1]
        if self._start is not None and given != self._given:
            self._predictor.get_prediction(_clicker_of(clicks[: before + 1]), self._start)
            self._given = given
        return _clicker_of(clicks)

    def _clicks(self, prompts: tuple[Prompt, ...]) -> list[Interaction]:
        return [each for prompt in prompts
                for each in interactions(prompt, self._image.shape[:2], self._model.understands)]

    def _within(self, prompts: tuple[Prompt, ...], start: np.ndarray | None) -> np.ndarray:
        """Probabilities float32 (H, W) of the object that the last prompt encloses; earlier ones count in there."""
        shape, box = self._image.shape[:2], prompts[-1]
        top, left, bottom, right = zoom_box(box, shape)
        margin = round(0.2 * max(bottom - top, right - left))
        top, left = max(0, top - margin), max(0, left - margin)
        part = np.s_[top : bottom + margin, left : right + margin]
        height, width = self._image[part].shape[:2]
        clicks = [ModelClick(is_positive, (y - top, x - left)) for prompt in prompts
                  for y, x, is_positive in as_clicks(prompt, shape)]
        clicks = [click for click in clicks if 0 <= click.coords[0] < height and 0 <= click.coords[1] < width]
        predictor = self._model.predictor(Settings(zoom_in=False, working_size=self._settings.working_size))
        predictor.set_input_image(np.ascontiguousarray(self._image[part]))
        found = np.zeros(shape, np.float32)
        if start is not None:
            predictor.get_prediction(Clicker(init_clicks=clicks[:1]), np.ascontiguousarray(start[part]))
        found[part] = predictor.get_prediction(Clicker(init_clicks=clicks))
        return found * enclosed(box, shape)
