"""Exported models in ONNX Runtime and OpenVINO: the same answers as torch, and one sentence for what can't be used."""
from __future__ import annotations

import builtins
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from solution import ISModel
from utils import runtimes
from utils.export import render_scene
from utils.files import UserError
from utils.models import open_model
from utils.runtimes import installed, load_onnx, load_openvino

onnx = pytest.importorskip("onnx")
CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoint.pth"
needs_openvino = pytest.mark.skipif(not installed("openvino"), reason="openvino is not installed")
ENGINES = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]


@pytest.fixture(scope="module")
def network() -> ISModel:
    model = ISModel()
    model.restore_from_checkpoint(CHECKPOINT, "cpu")
    return model.eval()


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Gives a copy of an exported file, with what belongs to it, that a test may damage."""
    def copy(suffix: str) -> Path:
        for part in ((".onnx",) if suffix == ".onnx" else (".xml", ".bin")):
            shutil.copy(exported.with_suffix(part), tmp_path)
        return tmp_path / f"model{suffix}"

    return copy


def case(batch: int, height: int, width: int, clicks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and points of a rendered scene, half of the clicks negative."""
    scene = render_scene(height, width)
    previous = torch.linspace(0, 1, width).expand(batch, 1, height, width)
    positive = [(10 + 5 * i, 12 + 7 * i, i) for i in range(clicks)]
    points = torch.tensor([positive + [(-1, -1, -1)] * (clicks - 1) + [(*scene.beside, 0)]] * batch)
    return torch.cat([scene.picture.expand(batch, -1, -1, -1), previous], 1), points.float()


@pytest.mark.parametrize("engine", ENGINES)
def test_logits_are_those_of_torch_at_any_size_and_batch(engine: str, exported: Path, network: ISModel) -> None:
    runtime = load_onnx(exported, runtime=engine)
    assert runtime.config == network.config
    for arguments in ((1, 64, 96, 1), (3, 160, 112, 2), (2, 64, 96, 5)):
        inputs, points = case(*arguments)
        with torch.no_grad():
            expected = network(inputs, points)["instances"]
        found = runtime.logits(inputs, points)
        assert found.dtype == torch.float32 and found.shape == expected.shape
        assert torch.allclose(found, expected, atol=2e-3)  # fp32 indeed: bf16 is off by a tenth and more


@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".xml", marks=needs_openvino)])
def test_a_predictor_clicks_alike(suffix: str, exported: Path) -> None:
    image = (render_scene(120, 200).picture[0].permute(1, 2, 0) * 255).byte().numpy()
    masks = []
    for source in (CHECKPOINT, exported.with_suffix(suffix)):
        predictor = open_model(source).predictor
        predictor.set_input_image(image)
        masks.append(predictor.get_mask([(48, 70, True), (78, 160, False)]))
    assert masks[0].any() and np.mean(masks[0] != masks[1]) < 1e-3


@needs_openvino
def test_bf16_is_near_and_only_on_request(exported: Path, network: ISModel) -> None:
    inputs, points = case(2, 160, 160, 1)
    try:
        bf16 = load_onnx(exported, precision="bf16").logits(inputs, points)
    except UserError as error:
        assert "this CPU has no bf16" in str(error)
        pytest.skip(str(error))
    with torch.no_grad():
        fp32 = network(inputs, points)["instances"]
    assert 1e-3 < (fp32 - bf16).abs().mean() / fp32.std() < 0.1


def test_two_threads_may_ask_at_once(exported: Path) -> None:
    runtime = load_openvino(exported.with_suffix(".xml")) if installed("openvino") else load_onnx(exported)
    inputs, points = case(1, 64, 96, 1)
    answers: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: answers.append(runtime.logits(inputs, points))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and all(torch.equal(answer, answers[0]) for answer in answers)


def test_torch_leaves_its_threads_to_the_engine(exported: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load_onnx(exported)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------------------------------------- bad files


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap_checkpoint(path: Path) -> None:
    shutil.copy(CHECKPOINT, path)


def strip_metadata(path: Path) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


def raise_opset(path: Path) -> None:
    model = onnx.load(path)
    model.opset_import[0].version = 999
    onnx.save(model, path)


def change_weights(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 3 // 4 * 4
    content[middle : middle + 400_000] = np.random.default_rng(0).normal(0, 1, 100_000).astype(np.float32).tobytes()
    path.write_bytes(content)


def edit_metadata(**changes: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        model = onnx.load(path)
        found = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
        for key, value in changes.items():
            found[key] = {**found[key], **value} if isinstance(value, dict) else value
        onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in found.items()})
        onnx.save(model, path)

    return edit


XML = [pytest.param(".xml", marks=needs_openvino)]


@pytest.mark.parametrize(("damage", "reason"), [
    (truncate, "damaged"), (swap_checkpoint, "PyTorch checkpoint"), (strip_metadata, "another program"),
    (raise_opset, "opset"), (change_weights, "sample"), (edit_metadata(format=99), "format 99"),
    (edit_metadata(kind="segment"), "utils.segment"), (edit_metadata(config={"backbone": "vit"}), "vit"),
    (lambda path: path.write_bytes(b""), "damaged"), (lambda path: path.write_text("<xml/>", "utf-8"), "damaged"),
], ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_onnx_file_is_refused_in_one_line(damage: Callable, reason: str, copied: Callable[[str], Path]) -> None:
    path = copied(".onnx")
    damage(path)
    others = ["auto", "openvino"] if installed("openvino") else ["auto"]
    # OpenVINO goes by the operators, whatever the opset's number, and the sample shows that it is right
    for engine in ["onnxruntime"] + (others if damage is not raise_opset else []):
        with pytest.raises(UserError) as refusal:
            load_onnx(path, runtime=engine)
        message = str(refusal.value)
        assert str(path) in message and "\n" not in message and len(message) < 400
        assert reason in message or engine == "openvino"  # whose own reason is another


@needs_openvino
@pytest.mark.parametrize(("part", "damage", "reason"), [
    (".xml", truncate, "damaged"), (".xml", swap_checkpoint, "PyTorch checkpoint"), (".bin", Path.unlink, "missing"),
    (".xml", lambda path: path.write_bytes(b"\x08\x09"), "not XML"), (".bin", change_weights, "sample"),
    (".bin", truncate, "damaged"),
], ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_openvino_file_is_refused_in_one_line(
    part: str, damage: Callable, reason: str, copied: Callable[[str], Path]
) -> None:
    path = copied(".xml")
    damage(path.with_suffix(part))
    with pytest.raises(UserError, match=reason) as refusal:
        load_openvino(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(("options", "reason"), [
    ({"runtime": "torch"}, "does not run in torch"), ({"precision": "fp8"}, "fp8"),
    ({"runtime": "onnxruntime", "precision": "bf16"}, "bf16 is OpenVINO's"),
    ({"device": "cuda", "runtime": "onnxruntime"}, "CUDAExecutionProvider"),
    ({"runtime": "tensorrt"}, "TensorrtExecutionProvider"),
])
def test_what_this_machine_has_not_is_said(options: dict[str, str], reason: str, exported: Path) -> None:
    if torch.cuda.is_available() and "bf16" not in reason and "fp8" not in reason and "torch" not in reason:
        pytest.skip("this machine has it")
    with pytest.raises(UserError, match=reason):
        load_onnx(exported, **options)


def test_auto_computes_on_the_cpu_where_the_engine_has_no_gpu(exported: Path, network: ISModel) -> None:
    inputs, points = case(1, 64, 96, 1)
    found = load_onnx(exported, device="cuda").logits(inputs, points)
    assert torch.allclose(found, network(inputs, points)["instances"], atol=2e-3)


def test_a_missing_package_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.partition(".")[0] in ("onnxruntime", "openvino"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(runtimes.importlib, "import_module", without)
    with pytest.raises(UserError, match="pip install onnxruntime or openvino"):
        load_onnx(exported)
    with pytest.raises(UserError, match="pip install openvino"):
        load_onnx(exported, runtime="openvino")


@needs_openvino
def test_auto_goes_on_to_the_engine_that_reckons_right(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = runtimes.ENGINES["onnxruntime"]

    def wrong(request: runtimes.Request) -> tuple[runtimes.Run, dict[str, str]]:
        run, metadata = engine.open(request)
        return lambda feeds: run(feeds) + 1, metadata

    monkeypatch.setitem(runtimes.ENGINES, "onnxruntime", engine._replace(open=wrong))
    assert load_onnx(exported).engine == "openvino"
    with pytest.raises(UserError, match="deviations off in onnxruntime"):
        load_onnx(exported, runtime="onnxruntime")
