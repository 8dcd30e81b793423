"""One door from a name to something that predicts: `open_model("checkpoint.pth")`, `open_model("grabcut")`.

A model is named by a file, by a word of NAMED, or as "module:attribute", an object (or what makes one) with
set_input_image(image) and get_prediction(clicker). A further kind of file is a row of FORMATS.
"""
from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from utils.files import UserError, file_digest

OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
CHECKPOINT_PATH = Path(__file__).resolve().parent.parent / "checkpoint.pth"  # the one that is shipped
DEFAULT_THRESHOLD = 0.5  # of a predictor that doesn't say


class ModelError(UserError):
    """A model can't be had; the message says which, why and what to do."""


@dataclass(frozen=True)
class Model:
    """A model that is ready.

    Attributes:
        predictor: has set_input_image(image uint8 (H, W, 3) RGB) and get_prediction(clicker) -> float (H, W) in [0, 1].
        threshold: probabilities above it are the object.
        network: what solution.Predictor runs (an ISModel or a Runtime); None for any other predictor.
        device: where it computes.
    """

    predictor: Any
    threshold: float = DEFAULT_THRESHOLD
    network: Any = None
    device: str = "cpu"

    @property
    def understands(self) -> tuple[str, ...]:
        """The kinds of interactions (interactions.KINDS) that get_prediction takes; clicks if it does not say."""
        config = getattr(self.network, "config", None)
        return tuple(getattr(self.predictor, "understands", getattr(config, "understands", ("click",))))

    def new_predictor(self, **settings: Any) -> Any:
        """Another predictor of the same network, with settings of solution.Predictor.

        Raises:
            ModelError: the model is no network of solution.py.
        """
        if self.network is None:
            raise ModelError(f"{type(self.predictor).__name__} has no settings; give a checkpoint or an exported model")
        from solution import Predictor

        return Predictor(self.network, self.device, **settings)


class Format(NamedTuple):
    """A kind of model file.

    Attributes:
        loader: "module:function", imported when it is needed; called with (path, device, runtime, precision), it
            returns what solution.Predictor runs and raises an error whose message names the file.
        belonging: suffixes of files beside the model that are parts of it.
        code: modules on which the answers depend, for `digests`.
    """

    loader: str
    belonging: tuple[str, ...] = ()
    code: tuple[str, ...] = ("solution",)


CHECKPOINT = Format("utils.models:load_checkpoint")
FORMATS: dict[str, Format] = {  # by suffix; a file of any other is taken for a checkpoint
    ".pth": CHECKPOINT,
    ".onnx": Format("utils.runtimes:load_onnx", (".onnx.data",), ("solution", "utils.runtimes")),
    ".xml": Format("utils.runtimes:load_openvino", (".bin",), ("solution", "utils.runtimes")),
}
NAMED: dict[str, str] = {"grabcut": "utils.grabcut:GrabCut"}  # models without a file


def open_model(source: str | Path, device: str = "cpu", runtime: str = "auto", precision: str = "fp32") -> Model:
    """Makes a model, ready to predict.

    Args:
        source: a file, a name of NAMED, or "module:attribute".
        device: where a network computes, as torch names it.
        runtime: what runs a network: "auto", "torch", "onnxruntime" or "openvino", as far as the file's format has it.
        precision: of a network's numbers: "fp32", or what its runtime offers.

    Raises:
        ModelError: the model can't be had; one sentence.
    """
    source = str(source)
    try:
        if _is_object(source):
            predictor = _make_object(NAMED.get(source, source))
            return Model(predictor, float(getattr(predictor, "pred_thr", DEFAULT_THRESHOLD)), device=device)
        return _open_file(Path(source), device, runtime, precision)
    except ModelError:
        raise
    except UserError as error:
        raise ModelError(str(error)) from error
    except Exception as error:  # foreign code and foreign files may raise anything
        reason = str(error) or type(error).__name__
        raise ModelError(reason if source in reason else f"{source} can't be loaded: {_one_line(reason)}") from error


def _is_object(source: str) -> bool:
    return source in NAMED or OBJECT.fullmatch(source) is not None


def _open_file(path: Path, device: str, runtime: str, precision: str) -> Model:
    _require(path)
    network = open_attribute(_format_of(path).loader)(path, device, runtime, precision)
    from solution import Predictor

    return Model(Predictor(network, device), float(network.config.pred_thr), network, device)


def _format_of(path: Path) -> Format:
    return FORMATS.get(path.suffix.lower(), CHECKPOINT)


def _require(path: Path) -> None:
    if not path.is_file():
        known = ", ".join([*FORMATS, *NAMED])
        raise ModelError(f"{path} is missing; name a model file or another model ({known} or module:attribute)")


def load_checkpoint(path: Path, device: str, runtime: str = "auto", precision: str = "fp32") -> Any:
    """The network of a checkpoint of solution.py, for predictions.

    Raises:
        ModelError: another runtime or precision is asked for.
        solution.CheckpointError: the file can't be restored, or a weight is not finite.
        ValueError: there is no such device.
    """
    if runtime not in ("auto", "torch") or precision != "fp32":
        raise ModelError(f"{path} runs in torch with fp32 alone; export it (python -m utils.export) for another engine")
    from solution import ISModel, usable_device

    model = ISModel()
    model.restore_from_checkpoint(str(path), usable_device(device))
    return model.eval()


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].rstrip(".") if lines else ""


# ---------------------------------------------------------------------------------------------- foreign objects


def _make_object(source: str) -> Any:
    """The attribute itself if it predicts, else what it returns: a class or a function without arguments."""
    _find_file(source.partition(":")[0], source)
    found = open_attribute(source)
    predictor = found() if inspect.isclass(found) or not hasattr(found, "get_prediction") else found
    for verb in ("set_input_image", "get_prediction"):
        if not callable(getattr(predictor, verb, None)):
            raise ModelError(f"{source} has no {verb}(); give an object, or what makes one, that has it")
    return predictor


def open_attribute(source: str) -> Any:
    """What "module:attribute" names."""
    module, _, attribute = source.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _find_file(module: str, source: str) -> str:
    try:
        found = importlib.util.find_spec(module)
    except ImportError as error:
        raise ModelError(f"{source}: {error}; run from the folder that the module is in") from error
    if found is None or not found.origin:
        raise ModelError(f"{source}: there is no module {module}; run from the folder that it is in")
    return found.origin


def takes_prev_mask(predictor: Any) -> bool:
    """Whether get_prediction has an argument prev_mask, so that work can begin from a mask."""
    get_prediction: Callable[..., Any] = predictor.get_prediction
    parameters = inspect.signature(get_prediction).parameters.values()
    return any(p.name == "prev_mask" or p.kind is p.VAR_KEYWORD for p in parameters)


# ---------------------------------------------------------------------------------------------- what it is made of


def model_digests(source: str | Path) -> dict[str, str]:
    """SHA-256, by file name, of the files that a model's answers depend on: its own and those of the code that runs it.

    Raises:
        ModelError: a file is missing.
    """
    source = str(source)
    if _is_object(source):
        paths = [Path(_find_file(NAMED.get(source, source).partition(":")[0], source))]
    else:
        path = Path(source)
        _require(path)
        beside = [path.with_name(path.stem + suffix) for suffix in _format_of(path).belonging]
        code = [Path(_find_file(module, source)) for module in _format_of(path).code]
        paths = [path, *(part for part in beside if part.is_file()), *code]
    try:
        return {path.name: file_digest(path) for path in paths}
    except UserError as error:
        raise ModelError(str(error)) from error


def short_name(source: str | Path) -> str:
    """What a report calls a model: the file's or the attribute's name."""
    source = str(source)
    return NAMED.get(source, source).rpartition(":")[2] if _is_object(source) else Path(source).stem
