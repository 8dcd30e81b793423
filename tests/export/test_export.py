"""python -m utils.export: what it writes, what it says in the file, and that a wrong export never gets its name."""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from solution import ISModel, NetworkConfig, save_model
from utils import export as exporting
from utils.exportable import render_scene
from utils.files import UserError, file_digest
from utils.images import encode_png
from utils.runtimes import ExportedModel, installed, load_onnx, load_segmenter

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoint.pth"


@pytest.fixture(autouse=True)
def one_size(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All five sizes are compared for `exported` alone."""
    monkeypatch.setattr(exporting, "SIZES", ((96, 128),))


@pytest.fixture
def quick(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network as it has been exported before, so that a test doesn't wait for it."""
    monkeypatch.setattr(exporting, "to_onnx", lambda source: onnx.load(exported))


def run(*arguments: object) -> int:
    return exporting.main([str(argument) for argument in arguments])


def test_the_file_says_what_it_is(exported: Path) -> None:
    metadata = load_onnx(exported).metadata
    assert metadata == json.loads(exported.with_suffix(".json").read_text("utf-8"))
    assert metadata["checkpoint"] == {"file": "checkpoint.pth", "sha256": file_digest(CHECKPOINT)}
    assert metadata["config"]["backbone"] == "mobilenet_v2" and "MIT" in metadata["licence"]
    assert {"disk_radius", "working_size", "threshold", "expand_ratio"} <= set(metadata["preprocessing"])
    model = onnx.load(exported)
    assert model.opset_import[0].version == exporting.OPSET
    assert [i.name for i in model.graph.input] == ["image", "clicks"] and model.graph.output[0].name == "logits"
    content = exported.read_bytes()
    assert b"site-packages" not in content and str(CHECKPOINT.parent).encode() not in content


def test_the_sample_is_enough_to_check_another_client(exported: Path) -> None:
    sample = json.loads(exported.with_suffix(".json").read_text("utf-8"))["sample"]
    feeds = {name: np.array([values], np.float32) / np.float32(sample["divisor"])
             for name, values in zip(("image", "clicks"), sample["inputs"], strict=True)}
    (logits,) = onnxruntime.InferenceSession(exported).run(None, feeds)
    expected = np.array([sample["logits"]])
    assert np.abs(logits - expected).max() < 1e-3 and expected.min() < 0 < expected.max()
    assert set(np.unique(feeds["clicks"])) == {0, 1} and 0 < feeds["image"][:, 3].max() <= 1


@pytest.mark.usefixtures("quick")
def test_half_precision_halves_the_file(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    both = ["--openvino"] if installed("openvino") else []
    assert run(CHECKPOINT, "--out", tmp_path / "new" / "half.onnx", "--fp16", *both) == 0
    for suffix in (".onnx", ".bin") if both else (".onnx",):
        half = (tmp_path / "new" / "half").with_suffix(suffix)
        assert half.stat().st_size < 0.55 * exported.with_suffix(suffix).stat().st_size
        assert str(half) in capsys.readouterr().out or suffix == ".bin"
    assert load_onnx(tmp_path / "new" / "half.onnx").metadata["precision"] == "fp16"
    assert [path.suffix for path in sorted((tmp_path / "new").iterdir())] == [".bin", ".json", ".onnx", ".xml"][
        0 if both else 1: 4 if both else 3]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", [0.05, float("nan")])
def test_an_export_that_differs_from_torch_leaves_no_file(
    fault: float, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    compute = ExportedModel.run
    monkeypatch.setattr(ExportedModel, "run", lambda self, *inputs: compute(self, *inputs) + np.float32(
        fault if inputs[0].shape[-1] > exporting.SAMPLE_SIZE[1] else 0))  # at sizes other than the sample's
    old = tmp_path / "model.onnx"
    old.write_bytes(b"old")
    assert run(CHECKPOINT, "--out", old) == 1
    assert "other masks" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [old] and old.read_bytes() == b"old"


@pytest.mark.usefixtures("quick")
def test_int8_says_what_it_costs(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("nncf")
    for room in ("imgs", "masks"):
        (tmp_path / room).mkdir()
    for i in range(4):
        scene = render_scene(96, 128, i)
        pixels = (scene.picture[0].permute(1, 2, 0) * 255).byte().numpy()
        y, x = np.mgrid[:96, :128]
        mask = (y - scene.on[0]) ** 2 + (x - scene.on[1]) ** 2 < 24**2
        (tmp_path / "imgs" / f"{i}.png").write_bytes(encode_png(pixels))
        (tmp_path / "masks" / f"{i}.png").write_bytes(encode_png(mask.astype(np.uint8)))
    out = tmp_path / "model8.onnx"
    assert run(CHECKPOINT, "--out", out, "--int8", "--calibrate", tmp_path) == 0
    assert "IoU on 2 other objects" in capsys.readouterr().out
    assert out.stat().st_size < 0.4 * exported.stat().st_size
    assert load_onnx(out).precision == "int8"
    quantised = {node.input[0] for node in onnx.load(out).graph.node if node.op_type == "QuantizeLinear"}
    assert "clicks" not in quantised


@pytest.mark.parametrize("cost", [0.002, 0.004])
def test_more_than_three_thousandths_of_iou_give_a_warning(cost: float) -> None:
    from utils.quantize import Cost

    said = Cost((cost, cost, cost), cost, 0.001, 60).sentences()
    assert any("warning" in sentence for sentence in said) == (cost > 0.003)


@pytest.mark.parametrize(("arguments", "status", "reason"), [
    (["--out", "model.pb"], 2, "must end in"), (["--out", "m.onnx", "--int8"], 2, "go together"),
    (["--out", "m.onnx", "--calibrate", "."], 2, "go together"), (["--out", f"{CHECKPOINT}/m.onnx"], 1, "File exists"),
])
def test_wrong_arguments_are_refused(arguments: list[str], status: int, reason: str, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(CHECKPOINT, *arguments) == status
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_refused(content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "model.pth"
    if content is not None:
        path.write_bytes(content)
    assert run(path, "--out", tmp_path / "model.onnx") == 1
    said = capsys.readouterr().err
    assert str(path) in said and said.count("\n") == 1
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(("module", "package"), [("onnxscript", "onnxscript"), ("openvino", "pip install openvino")])
@pytest.mark.usefixtures("exported")
def test_a_missing_package_is_named(module: str, package: str, exported: Path, tmp_path: Path, capsys,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    if module == "openvino":
        monkeypatch.setattr(exporting, "to_onnx", lambda source: onnx.load(exported))
    monkeypatch.setitem(sys.modules, module, None)
    assert run(CHECKPOINT, "--out", tmp_path / "model.xml") == 1
    assert package in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_empty_data_can_not_calibrate(tmp_path: Path) -> None:
    from utils.quantize import find_objects

    with pytest.raises(UserError, match="neither imgs/ and masks/"):
        find_objects(tmp_path)
    for room in ("imgs", "masks"):
        (tmp_path / room).mkdir()
    with pytest.raises(UserError, match="fewer than two"):
        find_objects(tmp_path)


def test_calibration_reads_the_training_format(coco_lvis: Path) -> None:
    from utils.quantize import find_objects

    found = find_objects(coco_lvis)
    image, mask = found[0]()
    assert len(found) == 3 and image.shape == (96, 128, 3)
    assert mask.sum() == (96 - 70) * 128  # the largest of its objects


@pytest.mark.parametrize("drawings", ["merged", "separate"])
def test_another_backbone_and_size(drawings: str, tmp_path: Path) -> None:
    config = NetworkConfig("mobilenet_v3_large", working_size=96, disk_radius=3.5, drawings=drawings)
    save_model(ISModel(config.backbone, config=config), tmp_path / "other.pth")
    assert run(tmp_path / "other.pth", "--out", tmp_path / "other.onnx") == 0
    other = load_onnx(tmp_path / "other.onnx")
    assert other.config.working_size == 96 and "stroke" in other.config.understands
    clicks_alone = other.logits(torch.rand(1, 4, 96, 96), torch.full((1, 2, 3), -1.0))
    assert clicks_alone.shape == (1, 1, 96, 96)


def test_a_model_of_segment_is_exported_too(tmp_path: Path) -> None:
    segmentation = pytest.importorskip("utils.segment.segmentation")
    model = segmentation.get_model(segmentation.Settings("unet", norm="instance", size=64)).eval()
    segmentation.save_model(model, tmp_path / "birds.pth")
    assert run(tmp_path / "birds.pth", "--out", tmp_path / "birds.onnx") == 0
    exported = load_segmenter(tmp_path / "birds.onnx")
    assert exported.metadata["kind"] == "segment" and exported.metadata["config"]["network"] == "unet"
    image = render_scene(64, 96).picture
    with torch.no_grad():
        expected = segmentation.load_model(tmp_path / "birds.pth")(image)
    assert np.abs(exported.run(image.numpy()) - expected.numpy()).max() < 1e-3
