"""The one door to models: what opens, with which settings, and what is refused in one sentence."""
from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from solution import ISModel, NetworkConfig, save_model
from utils import models
from utils.clicker import Click, Clicker
from utils.grabcut import GrabCut
from utils.models import Format, ModelError, model_digests, open_model, short_name

SHAPE = (60, 80)


@pytest.fixture(scope="module")
def network() -> ISModel:
    return ISModel(config=NetworkConfig(working_size=64)).eval()


@pytest.fixture
def checkpoint(network: ISModel, tmp_path: Path) -> Path:
    save_model(network, tmp_path / "small.pth")
    return tmp_path / "small.pth"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with predictors, and what is none."""
    (tmp_path / "own_models.py").write_text(
        "from utils.grabcut import GrabCut as Floor\n"
        "class Strict(Floor):\n    pred_thr = 0.4\n"
        "one = Strict()\n"
        "class Deaf:\n    def set_input_image(self, image): pass\n"
        "text = 'text'\n"
        "def fails(): raise KeyError('weights')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_models"
    sys.modules.pop("own_models", None)


def one_click(y: int = 30, x: int = 40, is_positive: bool = True) -> Clicker:
    return Clicker(init_clicks=[Click(is_positive, (y, x))])


def test_a_checkpoint_opens_with_its_threshold_and_further_predictors(checkpoint):
    model = open_model(checkpoint)
    assert model.threshold == 0.5 and short_name(checkpoint) == "small"
    image = np.full((*SHAPE, 3), 90, np.uint8)
    answers = []
    for predictor in (model.predictor, model.new_predictor(with_flip=False), open_model(str(checkpoint)).predictor):
        predictor.set_input_image(image)
        answers.append(predictor.get_prediction(one_click()))
    assert answers[0].shape == SHAPE
    assert np.array_equal(answers[0], answers[2]) and not np.array_equal(answers[0], answers[1])


def test_objects_classes_and_functions_open(module):
    assert isinstance(open_model("grabcut").predictor, GrabCut) and short_name("grabcut") == "GrabCut"
    model, again = open_model(f"{module}:one"), open_model(f"{module}:Strict")
    assert model.threshold == again.threshold == 0.4 and model.predictor is open_model(f"{module}:one").predictor
    with pytest.raises(ModelError, match="Strict has no settings"):
        model.new_predictor(with_flip=False)


def test_a_format_is_one_row(network, tmp_path, monkeypatch, module):
    """A file of a new kind reaches its loader with what was asked for, and its parts are in the digests."""
    (tmp_path / "engine.py").write_text("calls = []\ndef load(*given):\n    calls.append(given)\n    return network\n")
    import engine

    engine.network = network
    monkeypatch.setitem(models.FORMATS, ".net", Format("engine:load", (".bin",), ("engine",)))
    path = tmp_path / "a.net"
    path.write_bytes(b"1")
    (tmp_path / "a.bin").write_bytes(b"2")
    assert open_model(path, "cpu", "onnxruntime", "bf16").network is network
    assert engine.calls == [(path, "cpu", "onnxruntime", "bf16")]
    assert list(model_digests(path)) == ["a.net", "a.bin", "engine.py"]
    sys.modules.pop("engine")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("missing.pth", "^missing.pth is missing; name a model file"),
        ("missing.onnx", "^missing.onnx is missing; name a model file"),
        ("no_module:Model", "there is no module no_module"),
        ("MODULE:Missing", "can't be loaded: .*Missing"),
        ("MODULE:Deaf", "has no get_prediction"),
        ("MODULE:text", "can't be loaded"),
        ("MODULE:fails", "can't be loaded: 'weights'"),
    ],
)
def test_what_does_not_open(source, complaint, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=complaint) as raised:
        open_model(source.replace("MODULE", module))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x04]\x94."])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ModelError, match="bad.pth"):
        open_model(tmp_path / "bad.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(checkpoint, value):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["project.0.weight"][0] = value
    torch.save(content, checkpoint)
    with pytest.raises(ModelError, match=r"small.pth: project.0.weight holds NaN or infinity"):
        open_model(checkpoint)


def test_devices_and_engines_that_are_not_there(checkpoint):
    with pytest.raises(ModelError, match="small.pth can't be loaded: can't compute on the device 'foo'"):
        open_model(checkpoint, device="foo")
    with pytest.raises(ModelError, match="runs in torch with fp32 alone"):
        open_model(checkpoint, runtime="openvino")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="can't compute on the device 'cuda'"):
            open_model(checkpoint, device="cuda")


# ------------------------------------------------------------------------------- GrabCut


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A light ball and box on grey, and their mask."""
    mask = np.zeros(SHAPE, np.uint8)
    cv2.circle(mask, (25, 30), 14, 255, -1)
    cv2.rectangle(mask, (50, 5), (70, 25), 255, -1)
    return np.where(mask[:, :, None] > 0, np.uint8(210), np.uint8(90)) * np.ones(3, np.uint8), mask > 0


def iou(prob: np.ndarray, truth: np.ndarray) -> float:
    return float(((prob > 0.5) & truth).sum() / ((prob > 0.5) | truth).sum())


def test_grabcut_finds_a_light_object_and_takes_clicks_back(scene):
    image, truth = scene
    predictor, clicker = GrabCut(), Clicker(gt_mask=truth)
    with pytest.raises(RuntimeError, match="call set_input_image"):
        predictor.get_prediction(clicker)
    predictor.set_input_image(image)
    answers, mask = [], np.zeros(SHAPE, bool)
    for _ in range(4):
        clicker.make_next_click(mask)
        answers.append(predictor.get_prediction(clicker))
        mask = answers[-1] > 0.5
    assert answers[0].shape == SHAPE and answers[0].dtype == np.float32
    assert iou(answers[-1], truth) > 0.9
    for count in (2, 4, 1):  # an undo, its opposite, another image's worth of it
        clicks = clicker.get_clicks()[:count]
        assert np.array_equal(predictor.get_prediction(Clicker(init_clicks=clicks)), answers[count - 1])


def test_grabcut_with_nothing_but_negative_clicks_finds_nothing(scene):
    predictor = GrabCut()
    predictor.set_input_image(scene[0])
    assert not predictor.get_prediction(one_click(3, 3, False)).any()


def test_grabcut_starts_from_a_mask_that_belongs_to_its_click_list(scene):
    image, truth = scene
    predictor = GrabCut()
    predictor.set_input_image(image)
    first = predictor.get_prediction(one_click(30, 25))
    given = one_click(3, 3, False)
    corrected = predictor.get_prediction(given, prev_mask=truth.astype(np.float32))
    assert iou(corrected, truth) > 0.9
    given.add_click(Click(True, (15, 60)))
    predictor.get_prediction(given)
    assert np.array_equal(predictor.get_prediction(one_click(3, 3, False)), corrected)  # an undo
    assert np.array_equal(predictor.get_prediction(one_click(30, 25)), first)  # another object of the picture
