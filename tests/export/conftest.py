"""One export of the shipped checkpoint for all tests here: it takes longer than the rest together."""
from __future__ import annotations

from pathlib import Path

import pytest

CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoint.pth"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx of the shipped checkpoint with its .json and, where OpenVINO is installed, its .xml and .bin."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from utils.export import Options, export
    from utils.runtimes import installed

    out = tmp_path_factory.mktemp("exported") / "model.onnx"
    export(Options(CHECKPOINT, out, openvino=installed("openvino")), lambda text: None)
    return out
