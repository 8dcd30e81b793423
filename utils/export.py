"""A checkpoint as a file for other engines: `python -m utils.export checkpoint.pth --out model.onnx`.

What is written is documented in docs/embed.md: inputs, metadata, and the sample that stands for the rest. Every export
is compared with torch on rendered scenes of five sizes before it gets its name; if it differs, there is no file.
TorchScript and ExecuTorch are no formats here: torch has given up the one, and the other needs a build for each device,
while phones and browsers run ONNX as it is.
"""
from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from solution import CheckpointError
from utils import runtimes
from utils.exportable import ClickModel, Source, open_source, render_scene
from utils.files import UsageError, UserError, file_digest, format_size, os_error_sentence, tolerant_output, write_json
from utils.runtimes import METADATA_ROOT, ExportedModel, ExportedNetwork, Request

MODEL_SUFFIXES = (".onnx", ".xml")
OPSET = 18  # the exporter's oldest, so that engines of 2023 and later read it
SIZES = ((160, 160), (96, 256), (192, 336), (256, 176), (384, 384))  # of the scenes for the comparison with torch
SAMPLE_SIZE = (32, 64)
LICENCE = (
    "Code: MIT. Weights: those of the checkpoint; the project's own were trained from torchvision's ImageNet "
    "classifier (BSD-3-Clause) on COCO 2017 with COCO, COCO-panoptic and LVIS annotations (CC BY 4.0)."
)
# Differences of probabilities from torch's that are no fault; what int8 costs is measured on data.
LARGEST_DIFFERENCE = {"fp32": 1e-3, "fp16": 2e-2}
MEAN_DIFFERENCE = {"int8": 0.2}
PACKAGES = "pip install onnx onnxscript onnxruntime"


class ExportError(UserError):
    """A model can't be exported; the message says why and what to do."""


# ---------------------------------------------------------------------------------------------- to ONNX


def to_onnx(source: Source) -> Any:
    """The network as an onnx.ModelProto of dynamic height, width and batch, without what the exporter notes in passing.

    Raises:
        ExportError: a package is missing, or the exporter can't do it.
    """
    try:
        import onnx  # noqa: F401 (torch's exporter would say less)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"the export needs packages that are not installed ({error}): {PACKAGES}") from error
    example = tuple(torch.zeros(2, channels, 96, 128) for channels in source.inputs.values())
    dims = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=32, max=8192),
            3: torch.export.Dim("width", min=32, max=8192)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of names that two inputs share
        try:
            program: Any = torch.onnx.export(
                source.network, example, dynamo=True, opset_version=OPSET, input_names=list(source.inputs),
                output_names=["logits"], dynamic_shapes=[dims] * len(example), verbose=False)
        except Exception as error:  # the exporter raises many kinds, of many lines
            raise ExportError(f"torch {torch.__version__} can't export this network "
                              f"({str(error).strip().splitlines()[0]}); try another version") from error
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input,
                 *model.graph.output, *model.graph.initializer):
        part.ClearField("metadata_props")  # lines of this machine's source files
        part.ClearField("doc_string")
    return model


def halve_weights(model: Any) -> None:
    """Stores an onnx.ModelProto's weights in half precision, to be widened when it is opened: half the file.

    The arithmetic stays float32, which every engine has; half precision would be slow on CPUs and absent in browsers.
    """
    from onnx import helper, numpy_helper

    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype == np.float32 and values.size > 64:
            name = weights.name
            weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
            casts.append(helper.make_node("Cast", [weights.name], [name], f"{name}_widened", to=1))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def describe(source: Source, path: Path, precision: str, licence: str) -> dict[str, Any]:
    """The metadata of an export."""
    return {
        "format": runtimes.FORMAT, "kind": source.kind, "config": source.config(), "precision": precision,
        "inputs": list(source.inputs), "preprocessing": source.preprocessing(), "licence": licence,
        "checkpoint": {"file": path.name, "sha256": file_digest(path)},
        "sample": make_sample(source),
    }


@torch.no_grad()
def make_sample(source: Source) -> dict[str, Any]:
    """A small input, in whole numbers of 255, and torch's logits for it."""
    inputs = [torch.round(255 * part) for part in source.sample_inputs(render_scene(*SAMPLE_SIZE))]
    logits = source.network(*(part / 255 for part in inputs))
    return {"divisor": 255, "inputs": [part[0].int().tolist() for part in inputs],
            "logits": np.round(logits[0].double().numpy(), 5).tolist()}


def save_onnx(model: Any, metadata: dict[str, Any], path: Path) -> None:
    """Writes an onnx.ModelProto with its metadata, each value as JSON."""
    from onnx import helper

    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    path.write_bytes(model.SerializeToString())


def save_openvino(onnx_path: Path, metadata: dict[str, Any], path: Path, half: bool) -> None:
    """Writes an .xml file and its .bin from an .onnx file.

    Raises:
        ExportError: openvino is missing.
    """
    try:
        import openvino
    except ImportError as error:
        raise ExportError("--openvino needs a package that is not installed: pip install openvino") from error
    model = openvino.Core().read_model(str(onnx_path))
    for key, value in metadata.items():
        model.set_rt_info(json.dumps(value), [METADATA_ROOT, key])
    openvino.save_model(model, str(path), compress_to_fp16=half)


# ---------------------------------------------------------------------------------------------- the comparison


class Difference(NamedTuple):
    """How far an exported model is from torch over all scenes: probabilities, and the least IoU of the masks."""

    largest: float
    mean: float
    least_iou: float


@torch.no_grad()
def compare(source: Source, exported: ExportedModel) -> Difference:
    """Runs both on the scenes."""
    largest, means, ious = 0.0, list[float](), list[float]()
    for seed, (height, width) in enumerate(SIZES):
        step = source.side_multiple
        for call in source.calls(render_scene(height // step * step, width // step * step, seed)):
            first = torch.sigmoid(source.torch_logits(*call))
            second = torch.sigmoid(source.exported_logits(exported, *call))
            gap = (first - second).abs()
            largest = max(largest, float(gap.max()))
            means.append(float(gap.mean()))
            ious.append(_iou(first > source.threshold, second > source.threshold))
    return Difference(largest, float(np.mean(means)), min(ious))


def _iou(first: Tensor, second: Tensor) -> float:
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def check_export(source: Source, path: Path, precision: str) -> dict[str, Difference]:
    """Compares a file with torch in every installed engine that reads it.

    Raises:
        ExportError: it gives other masks, or there is no engine to try it in.
    """
    engines = [name for name in runtimes.AUTOMATIC["fp32"]
               if path.suffix in runtimes.ENGINES[name].suffixes and runtimes.installed(name)]
    if not engines:
        raise ExportError(f"nothing here can run the file to check it: {PACKAGES}")
    differences = {}
    for engine in engines:
        exported = source.runtime(Request(path, threads=torch.get_num_threads()), engine)
        found = differences[engine] = compare(source, exported)
        # written so that NaN is a fault
        if not (found.largest <= LARGEST_DIFFERENCE.get(precision, math.inf)
                and found.mean <= MEAN_DIFFERENCE.get(precision, math.inf)):
            raise ExportError(f"the export gives other masks in {engine} than torch: probabilities differ by "
                              f"{found.largest:.4f}, IoU {found.least_iou:.4f}; nothing is written")
    return differences


# ---------------------------------------------------------------------------------------------- the command


@dataclasses.dataclass(frozen=True)
class Options:
    """What to write.

    Attributes:
        model: the checkpoint.
        out: FILE.onnx or FILE.xml.
        openvino: also FILE.xml and FILE.bin beside an .onnx file.
        precision: "fp32", "fp16" (the weights) or "int8".
        calibrate: data for int8, see utils.quantize.
        licence: for the metadata.
    """

    model: Path
    out: Path
    openvino: bool = False
    precision: str = "fp32"
    calibrate: Path | None = None
    licence: str = LICENCE

    def __post_init__(self) -> None:
        if self.out.suffix not in MODEL_SUFFIXES:
            raise UsageError(f"--out {self.out} must end in .onnx or .xml")
        if (self.precision == "int8") != (self.calibrate is not None):
            raise UsageError("--int8 and --calibrate DATA go together: the ranges of its numbers come from data")


def export(options: Options, say: Callable[[str], None] = print) -> list[Path]:
    """Writes the files, after the comparison with torch, and a .json of the metadata beside them.

    Returns:
        Their paths.

    Raises:
        UserError, CheckpointError: nothing is written.
    """
    source = open_source(options.model)
    if options.precision == "int8" and not isinstance(source, ClickModel):
        raise UsageError("--int8 is for click models alone; --fp16 halves a model of utils.segment")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(options.out.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(options.out))
    with tempfile.TemporaryDirectory(prefix=".part-", dir=options.out.parent) as folder:
        path = Path(folder) / options.out.with_suffix(".onnx").name
        _write(source, options, path, say)
        for made in sorted(part for part in Path(folder).iterdir() if part.suffix in MODEL_SUFFIXES):
            for engine, found in check_export(source, made, options.precision).items():
                say(f"{made.name} in {engine}: probabilities differ from torch's by {found.largest:.6f} at most, "
                    f"{found.mean:.6f} on average; least IoU of the masks {found.least_iou:.4f}")
        if isinstance(source, ClickModel) and options.calibrate:
            from utils.quantize import measure_cost

            exported = ExportedNetwork(Request(path, threads=torch.get_num_threads()), "onnxruntime")
            for sentence in measure_cost(exported, source.model, options.calibrate).sentences():
                say(sentence)
        if options.out.suffix == ".xml":
            path.unlink()
        return [made.replace(options.out.parent / made.name) for made in sorted(Path(folder).iterdir())]


def _write(source: Source, options: Options, path: Path, say: Callable[[str], None]) -> None:
    """The .onnx file, the .json of its metadata and, if wanted, the .xml and .bin files."""
    metadata = describe(source, options.model, options.precision, options.licence)
    model = to_onnx(source)
    if options.precision == "fp16":
        halve_weights(model)
    elif isinstance(source, ClickModel) and options.calibrate:
        from utils.quantize import quantize

        model = quantize(model, source.model, options.calibrate, say)
    save_onnx(model, metadata, path)
    write_json(path.with_suffix(".json"), metadata)
    if options.openvino or options.out.suffix == ".xml":
        save_openvino(path, metadata, path.with_suffix(".xml"), half=options.precision == "fp16")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.export", description="Writes a checkpoint as a file for ONNX Runtime or OpenVINO.",
        epilog="`python -m utils.speed --engines` measures the engines against torch.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a checkpoint of solution.py or of utils.segment")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="FILE.onnx, or FILE.xml for OpenVINO")
    parser.add_argument("--openvino", action="store_true", help="also write FILE.xml and FILE.bin")
    smaller = parser.add_mutually_exclusive_group()
    smaller.add_argument("--fp16", action="store_true", help="weights in half precision: half the file, the same speed")
    smaller.add_argument("--int8", action="store_true", help="whole numbers of 8 bits; prints the IoU that it costs")
    parser.add_argument("--calibrate", type=Path, metavar="DATA",
                        help="for --int8: a folder with imgs/ and masks/, or COCO_LVIS; half of it measures the cost")
    parser.add_argument("--licence", default=LICENCE, help="text for the metadata (default: %(default)s)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Runs the command; gives the exit status."""
    tolerant_output()
    try:
        given = _parser().parse_args(arguments)
        precision = "int8" if given.int8 else "fp16" if given.fp16 else "fp32"
        for path in export(Options(given.model, given.out, given.openvino, precision, given.calibrate, given.licence)):
            print(f"{path}  {format_size(path.stat().st_size)}")
    except (UserError, CheckpointError) as error:
        print(f"utils.export: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        print(f"utils.export: {os_error_sentence(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
