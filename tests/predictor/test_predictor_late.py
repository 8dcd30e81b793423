"""Late clicks, models and devices, the shipped model, and the protocol that the Predictor plays."""
from __future__ import annotations

import copy
import doctest
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from predictor_tools import (
    SCENES,
    WORKING,
    A,
    B,
    C,
    D,
    Painter,
    picture,
    predict,
    scene,
    small,
    watch_frames,
)

import solution
from solution import ISModel, Predictor
from utils.clicker import Clicker

# ------------------------------------------------------------------------------------------------ late clicks


def test_the_first_clicks_know_nothing_of_late_ones(model):
    image = picture(100, 140)
    early, late = small(model, late_click=0), small(model)
    for count, equal in ((1, True), (2, True), (3, True), (4, False)):
        clicks = (A, B, C, D)[:count]
        assert np.array_equal(predict(early, image, *clicks), predict(late, image, *clicks)) == equal


def test_late_inputs_have_the_resolution_of_the_image_up_to_a_limit(painter):
    """A box of about 100 pixels in an image where earlier clicks see it at 64, a limit of 80, and one of 160."""
    mask = np.zeros((400, 400), np.float32)
    mask[100:170, 100:170] = 1
    areas = {}
    for limit in (64, 80, 160):
        predictor = small(painter, with_flip=False, late_size=limit)
        predictor.set_input_image(picture(400, 400))
        frames = watch_frames(predictor)
        predictor.get_prediction([(130 + k, 130, True) for k in range(4)], prev_mask=mask)
        areas[limit] = frames[-1].out_height * frames[-1].out_width
        assert frames[-1].height <= 1.4 * 72
    assert areas == {64: 64**2, 80: 80**2, 160: 96**2}


def test_a_late_estimate_keeps_what_it_knew_far_from_the_click():
    """The network changes its mind everywhere; the mask follows about the new click, and half of the way far away."""

    class Changing(Painter):
        def logits(self, inputs, points):
            return torch.full((len(inputs), 1, *inputs.shape[-2:]), 3.0 if points[0, :, 2].max() < 3 else -1.0)

    clicks = [(32, 20, True), (32, 100, True), (40, 60, True), (32, 21, False)]
    for memory, far in ((0.0, -1.0), (1.0, 1.0), (3.0, 2.0)):
        predictor = small(Changing(), zoom_in=False, late_memory=memory)
        probability = predict(predictor, picture(64, 128), *clicks)
        logits = np.log(probability / (1 - probability))
        assert logits[32, 21] == pytest.approx(-1, abs=0.02) and logits[32, 120] == pytest.approx(far, abs=0.02)
        assert (np.diff(logits[32, 21:]) >= -1e-4).all()


# ------------------------------------------------------------------------------------------------ models, devices


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(solution).failed == 0 and doctest.testmod(solution).attempted >= 5


@pytest.mark.parametrize("change", [
    lambda model: copy.deepcopy(model).half(), lambda model: copy.deepcopy(model).bfloat16(), torch.nn.DataParallel,
    lambda model: torch.compile(model, backend="eager"),
], ids=["half", "bfloat16", "DataParallel", "compile"])
def test_models_of_other_types_and_in_wrappers(model, change):
    other = predict(small(change(model)), picture(48, 64), A, B)
    assert abs(other - predict(small(model), picture(48, 64), A, B)).max() < 0.05


def test_later_changes_of_the_weights_are_not_seen(model):
    changed = copy.deepcopy(model)
    predictor = small(changed)
    first = predict(predictor, picture(48, 64), A)
    with torch.no_grad():
        changed.decoder[-1].weight.zero_()
    assert np.array_equal(predict(predictor, picture(48, 64), A), first)


@pytest.mark.parametrize("device", ["meta", "nonsense"])
def test_devices_that_cannot_compute_are_refused(model, device):
    with pytest.raises(ValueError, match=f"device '{device}'.*give 'cpu'"):
        Predictor(model, device)
    with pytest.raises(TypeError, match="needs an ISModel, or a Runtime"):
        Predictor(torch.nn.Linear(2, 2))


def test_a_checkpoint_becomes_a_predictor(model, tmp_path):
    solution.save_model(model, tmp_path / "some.pth")
    restored = ISModel()
    restored.restore_from_checkpoint(tmp_path / "some.pth", "cpu")
    predictor = Predictor.from_checkpoint(tmp_path / "some.pth", working_size=WORKING)
    assert np.array_equal(predict(predictor, picture(48, 64), A), predict(small(restored), picture(48, 64), A))


def test_threads_wait_for_each_other(model):
    predictor, image = small(model), picture(48, 64)
    predictor.set_input_image(image)
    lists = [[A], [A, B], [C], [C, A], [B, A, C], [D]]
    expected = [predict(small(model), image, *clicks) for clicks in lists]
    found: list[Any] = [None] * len(lists)

    def ask(number: int) -> None:
        found[number] = predictor.get_prediction(lists[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(lists))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


# ------------------------------------------------------------------------------------------------ the shipped model


REFERENCE = Path(__file__).parents[1] / "reference_masks.npz"


@pytest.fixture(scope="module")
def shipped() -> Predictor:
    return Predictor.from_checkpoint(Path(solution.__file__).with_name("checkpoint.pth"))


def reference_pictures() -> Iterator[tuple[str, np.ndarray]]:
    """The rendered scenes, one of them mirrored too and one enlarged."""
    for path in sorted((SCENES / "imgs").iterdir()):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        yield path.stem, image
        if path.stem == "fish":
            yield "fish mirrored", image[:, ::-1].copy()
        if path.stem == "key":
            yield "key large", cv2.resize(image, None, fx=4, fy=4)


def test_the_shipped_model_predicts_as_it_always_did(shipped):
    """Maps of the rendered scenes as they were when they were recorded, with a plainer code: a change must be meant.

    Recorded are three clicks a picture, the mask's area after each and its probabilities, averaged in 8x8 parts.
    """
    recorded = np.load(REFERENCE)
    for name, image in reference_pictures():
        shipped.set_input_image(image)
        clicks = [(y, x, bool(positive)) for y, x, positive in recorded[f"{name}/clicks"].tolist()]
        for count, (parts, area) in enumerate(zip(recorded[f"{name}/maps"], recorded[f"{name}/areas"], strict=True), 1):
            probability = shipped.get_prediction(clicks[:count])
            found = cv2.resize(probability, (8, 8), interpolation=cv2.INTER_AREA)
            assert np.allclose(found, parts, atol=1e-3), (name, count)
            assert abs(np.count_nonzero(probability > shipped.pred_thr) - area) <= 2, (name, count)


@pytest.mark.parametrize("name", ["cactus", "fish"])
def test_a_click_in_a_corner_is_in_its_mask(shipped, name):
    image, _ = scene(name)
    height, width = image.shape[:2]
    shipped.set_input_image(image.copy())
    for y, x in ((0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)):
        assert shipped.get_mask([(y, x, True)])[y, x]
        assert not shipped.get_mask([(y, x, False)]).any()


# ------------------------------------------------------------------------------------------------ the protocol


def test_simulate_is_the_protocol_of_run(model):
    from run import mask_iou

    image, truth = scene("cone")
    played = small(model).simulate(image, truth, clicks=4)
    predictor = small(model)
    predictor.set_input_image(image)
    clicker, mask = Clicker(gt_mask=truth), np.zeros_like(truth)
    for k in range(4):
        clicker.make_next_click(mask)
        probability = predictor.get_prediction(clicker)
        mask = probability > model.pred_thr
        assert np.array_equal(played.masks[k], mask) and np.array_equal(played.probabilities[k], probability)
        assert played.ious[k] == mask_iou(mask, truth)
    assert played.clicks == [(*c.coords, c.is_positive) for c in clicker.get_clicks()]


def test_simulate_with_no_error_left():
    """A network that is right at once: then come negative clicks at (0, 0), even on the object."""

    class Right(Painter):
        def logits(self, inputs, points):
            return torch.full((len(inputs), 1, *inputs.shape[-2:]), 9.0)

    played = small(Right()).simulate(picture(30, 40), np.ones((30, 40), bool), clicks=3)
    assert played.clicks[1:] == [(0, 0, False), (0, 0, False)] and played.ious == [1.0, 1.0, 1.0]


def test_simulate_of_an_empty_truth(painter):
    played = small(painter).simulate(picture(30, 40), np.zeros((30, 40), np.uint8), clicks=2)
    assert played.clicks == [(0, 0, False)] * 2 and played.ious == [1.0, 1.0]


def test_simulate_refuses_a_mask_of_another_size(painter):
    with pytest.raises(ValueError, match=r"\(30, 41\).*\(30, 40\)"):
        small(painter).simulate(picture(30, 40), np.zeros((30, 41)))
