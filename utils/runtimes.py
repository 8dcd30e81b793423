"""Exported models (.onnx, .xml) in ONNX Runtime or OpenVINO, as solution.Predictor runs them in place of torch.

Use it through utils.models: `open_model("model.onnx")`. Both engines are optional packages. A file of utils.export says
in its metadata what it is, and holds a sample: a small input with the logits that belong to it, which every opening
computes anew, so that damaged weights, another model's weights or an engine that reckons otherwise are noticed.

Traps, measured on two cores (docs/embed.md has the table): OpenVINO takes bf16 by itself where the CPU has it, so the
precision is always set; it compiles anew for each size of input that it hasn't met; and torch's threads go on spinning
after the small work that is left for them, which halves an engine's speed on a busy machine.
"""
from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from solution import NetworkConfig, click_disks
from utils.files import UserError, read_bytes

FORMAT = 1  # of the metadata
METADATA_ROOT = "click_segmentation"  # where the metadata stand in an .xml file
METADATA_KEYS = ("format", "kind", "config", "precision", "inputs", "preprocessing", "licence", "checkpoint", "sample")
PRECISIONS = ("fp32", "bf16")
TOLERANCE = {"fp32": 0.01, "bf16": 0.2, "int8": 0.5}  # mean difference of the sample's logits, in their deviations
LEAST_DEVIATION = 0.01  # of a sample's logits; those of random weights are all but equal

INT8_SIZES = 8  # for which OpenVINO keeps a compiled int8 model

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], np.ndarray]


class RuntimeFileError(UserError):
    """An exported model can't be used; the message names the file or the package and says what to do."""


@dataclass(frozen=True)
class Request:
    """What is asked of an engine.

    Attributes:
        path: of the model.
        device: as torch names it; "cpu", or "cuda" with ONNX Runtime.
        precision: one of PRECISIONS.
        threads: of the engine.
        provider: of ONNX Runtime on a GPU.
    """

    path: Path
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    provider: str = "CUDAExecutionProvider"


class Engine(NamedTuple):
    """A package that runs exported models.

    Attributes:
        package: what pip installs.
        suffixes: of the files that it reads.
        open: gives what computes, and the file's metadata.
    """

    package: str
    suffixes: tuple[str, ...]
    open: Callable[[Request], tuple[Run, dict[str, str]]]


# ---------------------------------------------------------------------------------------------- engines


def _open_onnxruntime(request: Request) -> tuple[Run, dict[str, str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = request.threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would slow all others
    options.log_severity_level = 4  # what goes wrong is raised as well
    providers = ["CPUExecutionProvider"]
    if request.device != "cpu":
        providers.insert(0, _gpu_provider(request, onnxruntime.get_available_providers()))
    session = onnxruntime.InferenceSession(str(request.path), options, providers=providers)
    return lambda feeds: session.run(None, dict(feeds))[0], dict(session.get_modelmeta().custom_metadata_map)


def _gpu_provider(request: Request, available: list[str]) -> str:
    if request.provider not in available:
        raise RuntimeFileError(f"onnxruntime has no {request.provider} here (it has {', '.join(available)}); use the "
                               "device cpu, or pip install onnxruntime-gpu on a machine with an NVIDIA GPU")
    return request.provider


def _has_cuda() -> bool:
    if not installed("onnxruntime"):
        return False
    import onnxruntime

    return Request.provider in onnxruntime.get_available_providers()


def _open_tensorrt(request: Request) -> tuple[Run, dict[str, str]]:
    return _open_onnxruntime(Request(request.path, "cuda", request.precision, request.threads,
                                     "TensorrtExecutionProvider"))


def _open_openvino(request: Request) -> tuple[Run, dict[str, str]]:
    import openvino

    core = openvino.Core()
    if request.device != "cpu":
        raise RuntimeFileError(f"openvino computes on the CPU here, not on {request.device}; use the device cpu")
    if request.precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeFileError("this CPU has no bf16 arithmetic (avx512_bf16 or AMX); use --precision fp32")
    model = core.read_model(str(request.path))
    metadata = _openvino_metadata(model)
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[request.precision],
        "INFERENCE_NUM_THREADS": request.threads, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False,
    }

    def compiled(network: Any) -> Any:
        return core.compile_model(network, "CPU", settings).create_infer_request()

    is_int8 = metadata.get("precision") == json.dumps("int8")
    call_for = _one_for_each_size(model, compiled) if is_int8 else _one_for_all(compiled(model))
    return lambda feeds: call_for(feeds).infer(dict(feeds), share_inputs=True)[0].copy(), metadata


def _one_for_all(call: Any) -> Callable[[Feeds], Any]:
    return lambda feeds: call


def _one_for_each_size(model: Any, compiled: Callable[[Any], Any]) -> Callable[[Feeds], Any]:
    """Compiles the model for each size of input by itself, and keeps the last ones.

    8 bits with open sizes come out wrong in OpenVINO 2026.4: logits are .24 to .81 deviations off, against .03 to .13
    with fixed sizes.
    """
    @lru_cache(maxsize=INT8_SIZES)
    def fixed(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Any:
        network = model.clone()
        network.reshape({name: list(shape) for name, shape in shapes})
        return compiled(network)

    return lambda feeds: fixed(tuple((name, values.shape) for name, values in feeds.items()))


def _openvino_metadata(model: Any) -> dict[str, str]:
    """Of an .xml file, or of an .onnx file, whose metadata OpenVINO keeps under "framework"."""
    return {key: str(model.get_rt_info([root, key]).value)
            for root in (METADATA_ROOT, "framework") for key in METADATA_KEYS if model.has_rt_info([root, key])}


# In the order in which "auto" tries them. ONNX Runtime comes first: OpenVINO's fp32 is as fast for a size that it has
# met, but zoom-in changes the size at most clicks, and then it takes longer.
ENGINES = {
    "onnxruntime": Engine("onnxruntime", (".onnx",), _open_onnxruntime),
    "openvino": Engine("openvino", (".onnx", ".xml"), _open_openvino),
    "tensorrt": Engine("onnxruntime-gpu", (".onnx",), _open_tensorrt),
}
AUTOMATIC = {"fp32": ("onnxruntime", "openvino"), "bf16": ("openvino",)}  # by precision
MODULES = {"onnxruntime-gpu": "onnxruntime"}  # what a package is imported as, where the names differ


def installed(engine: str) -> bool:
    """Whether an engine's package is there."""
    package = ENGINES[engine].package
    try:
        importlib.import_module(MODULES.get(package, package))
    except ImportError:
        return False
    return True


# ---------------------------------------------------------------------------------------------- opening


class ExportedModel:
    """A model file in an engine.

    Attributes:
        metadata: of the file, see utils.export.
        engine: its name in ENGINES.
        precision: "fp32" or "bf16" as asked for, or "int8" if the file is.
    """

    def __init__(self, request: Request, engine: str) -> None:
        self._run, found = ENGINES[engine].open(request)
        self._lock = threading.Lock()  # OpenVINO refuses a second call while one is going on
        self.metadata = _read_metadata(found, request.path)
        self.engine = engine
        self.precision = "int8" if self.metadata["precision"] == "int8" else request.precision
        self._check_sample(request.path)

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """The output float32 for the inputs float32, in the order of metadata["inputs"]."""
        with self._lock:
            return self._run(dict(zip(self.metadata["inputs"], inputs, strict=True)))

    def _check_sample(self, path: Path) -> None:
        """Compares the file's sample with what comes out here; it is the first forward pass, which is slow."""
        inputs, expected = read_sample(self.metadata["sample"])
        found = self.run(*inputs)
        if found.shape != expected.shape:
            raise RuntimeFileError(f"{path}: gives {found.shape} for its sample, not {expected.shape}; export it again")
        difference = float(np.abs(found - expected).mean() / max(expected.std(), LEAST_DEVIATION))
        if not difference <= TOLERANCE[self.precision]:
            raise RuntimeFileError(f"{path}: its sample comes out {difference:.2f} deviations off in {self.engine}, so "
                                   "that its weights are damaged or another file's; export it again")


class ExportedNetwork(ExportedModel):
    """A click network in an engine: the Runtime that solution.Predictor runs.

    Attributes:
        config: of the network.
        pred_thr: probabilities above it are the object.
    """

    def __init__(self, request: Request, engine: str) -> None:
        super().__init__(request, engine)
        if self.metadata["kind"] != "click":
            raise RuntimeFileError(f"{request.path}: a model of utils.segment, which takes no clicks; name another")
        self.config = _read_config(self.metadata["config"], request.path)
        self.pred_thr = self.config.pred_thr

    def logits(self, inputs: Tensor, points: Tensor) -> Tensor:
        """One forward pass.

        Args:
            inputs: float32 (B, 4, H, W), RGB in [0, 1] and the previous mask's probabilities, or (B, 8, H, W) with maps
                of strokes and contours; H and W multiples of 16.
            points: float32 (B, 2N, 3), see `solution.click_disks`.

        Returns:
            float32 (B, 1, H, W), where the inputs are.
        """
        image, maps = network_inputs(self.config, inputs.detach().float().cpu(), points.cpu())
        return torch.from_numpy(self.run(image.numpy(), maps.numpy())).to(inputs.device)


def network_inputs(config: NetworkConfig, inputs: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """What an exported click network is given for the arguments of `solution.Runtime.logits`.

    Returns:
        image float32 (B, 4, H, W), and maps (B, 2, H, W) of clicks; (B, 6, H, W) with strokes and contours, if it knows
        them.
    """
    height, width = inputs.shape[-2:]
    maps = [click_disks(points, height, width, config.disk_radius)]
    if config.drawings:
        maps.append(inputs[:, 4:] if inputs.shape[1] > 4 else torch.zeros_like(inputs))
    return inputs[:, :4].contiguous(), torch.cat(maps, 1)


def load_onnx(path: Path, device: str = "cpu", runtime: str = "auto", precision: str = "fp32") -> ExportedNetwork:
    """The click network of an .onnx file, for utils.models.

    Torch is left with one thread afterwards, see `_engine_threads`.

    Args:
        path: of a file of utils.export.
        device: "cpu", or "cuda" with onnxruntime-gpu; where that isn't installed, "auto" computes on the CPU.
        runtime: "auto" or a name of ENGINES.
        precision: "fp32", or "bf16" with OpenVINO on a CPU that has it.

    Raises:
        RuntimeFileError: the file, the package or the CPU won't do.
    """
    return _open(Path(path), device, runtime, precision, ExportedNetwork)


def load_openvino(path: Path, device: str = "cpu", runtime: str = "auto", precision: str = "fp32") -> ExportedNetwork:
    """The click network of an .xml file with its .bin; otherwise as `load_onnx`."""
    return load_onnx(path, device, runtime, precision)


def load_segmenter(path: Path, runtime: str = "auto", precision: str = "fp32") -> ExportedModel:
    """A model of utils.segment from an .onnx or .xml file; `run` takes its input and gives its logits."""
    return _open(Path(path), "cpu", runtime, precision, ExportedModel)


def _open(path: Path, device: str, runtime: str, precision: str, kind: type[ExportedModel]) -> Any:
    names = _candidates(path, runtime, precision)
    _check_file(path)
    if runtime == "auto" and not _has_cuda():
        device = "cpu"  # what torch has is no promise that the engine has it
    request = Request(path, device, precision, _engine_threads())
    errors = []
    for name in names:
        try:
            return kind(request, name)
        except RuntimeFileError as error:
            errors.append(str(error))
        except Exception as error:  # an engine may raise anything for a file that it doesn't like
            errors.append(f"{path}: damaged, or not for this {name} ({_one_line(error)}); export it again")
    raise RuntimeFileError(errors[0])


def _candidates(path: Path, runtime: str, precision: str) -> list[str]:
    """Names of installed engines that can open the file, in the order in which to try them."""
    suffix = path.suffix.lower()
    able = [name for name, engine in ENGINES.items() if suffix in engine.suffixes]
    if precision not in PRECISIONS:
        raise RuntimeFileError(f"{path}: precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if runtime == "auto":
        wanted = [name for name in able if name in AUTOMATIC[precision]]
        there = [name for name in wanted if installed(name)]
    elif runtime in able:
        wanted, there = [runtime], [runtime] if installed(runtime) else []
    else:
        raise RuntimeFileError(f"{path} does not run in {runtime}; choose one of auto, {', '.join(able)}")
    if precision == "bf16" and "openvino" not in wanted:
        raise RuntimeFileError(f"{path}: bf16 is OpenVINO's on a CPU; use --runtime openvino, or --precision fp32")
    if not there:
        packages = " or ".join(ENGINES[name].package for name in wanted)
        raise RuntimeFileError(f"{path} needs a package that is not installed: pip install {packages}")
    return there


_threads: int | None = None  # torch's, before the first engine was opened


def _engine_threads() -> int:
    """How many threads an engine takes: those that torch had; torch keeps one.

    What is left for torch beside an engine is small, but its threads spin for a while after it and take the cores from
    the engine: with other work on two cores, clicks took twice as long. Whoever runs a network in torch in the same
    process sets its threads anew (torch.set_num_threads).
    """
    global _threads
    if _threads is None or torch.get_num_threads() != 1:
        _threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return _threads


# ---------------------------------------------------------------------------------------------- what a file says


def _check_file(path: Path) -> None:
    """Refuses early what the engines' own messages would explain badly."""
    head = read_bytes(path)[:64]
    if head[:2] in (b"PK", b"\x80\x02"):
        raise RuntimeFileError(f"{path}: a PyTorch checkpoint under another name; call it .pth, or export it "
                               "(python -m utils.export)")
    if path.suffix.lower() != ".xml":
        return
    if not head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<"):
        raise RuntimeFileError(f"{path}: no OpenVINO model (it is not XML); export it again")
    if not path.with_suffix(".bin").is_file():
        weights = path.with_suffix(".bin").name
        raise RuntimeFileError(f"{path}: its weights {weights} are missing; keep both files together")


def _read_metadata(found: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The metadata that utils.export wrote, with JSON decoded."""
    try:
        metadata = {key: json.loads(value) for key, value in found.items() if key in METADATA_KEYS}
    except ValueError:
        metadata = {}
    if set(metadata) != set(METADATA_KEYS):
        raise RuntimeFileError(f"{path}: another program's model (it says nothing of {METADATA_ROOT}); export a "
                               "checkpoint with python -m utils.export")
    if metadata["format"] > FORMAT:
        raise RuntimeFileError(f"{path}: written in format {metadata['format']}, this code reads up to {FORMAT}; get a "
                               "newer one")
    return metadata


def _read_config(config: dict[str, Any], path: Path) -> NetworkConfig:
    """The network's configuration; a tuple is a list in JSON."""
    known = {field.name for field in fields(NetworkConfig)}
    try:
        settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value
                                    for key, value in config.items() if key in known}
        return NetworkConfig(**settings)
    except (TypeError, ValueError, AttributeError) as error:
        raise RuntimeFileError(f"{path}: its config is not one of this model ({error}); export it again") from None


def read_sample(sample: dict[str, Any]) -> tuple[list[np.ndarray], np.ndarray]:
    """A sample's inputs and logits, float32 (1, C, H, W); inputs are stored as whole numbers and their divisor."""
    inputs = [np.array(values, np.float32)[None] / np.float32(sample["divisor"]) for values in sample["inputs"]]
    return inputs, np.array(sample["logits"], np.float32)[None]


def _one_line(error: Exception, longest: int = 200) -> str:
    """The end of an engine's message, which is where it gives the reason, after its own source lines."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= longest else "... " + text[-longest:].partition(" ")[2]
