"""What images, clicks and masks the Predictor takes, and its memory of clicks."""
from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from predictor_tools import (
    A,
    B,
    C,
    Clicks,
    D,
    Painter,
    is_probability,
    picture,
    predict,
    small,
)

from solution import Predictor
from utils.clicker import Click, Clicker

# ------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("height, width", [
    (1, 1), (1, 2), (2, 1), (3, 5), (16, 16), (1, 5000), (5000, 1), (7, 3000), (200, 300),
])
def test_any_size(model, height, width):
    predictor = small(model)
    image = picture(height, width)
    corners = ((0, 0, True), (height - 1, width - 1, False), (height // 2, width // 2, True))
    for count in (1, 2, 3):
        assert is_probability(predict(predictor, image, *corners[:count]), height, width)


def test_twelve_megapixels_in_bounded_memory(model):
    height, width = 3000, 4000
    predictor = small(model)
    image = picture(height, width)
    predictor.set_input_image(image)
    tracemalloc.start()  # sees numpy's arrays
    for count in (1, 2, 3):
        clicks = ((1500, 2000, True), (100, 100, False), (2900, 3900, True))[:count]
        prob = predictor.get_prediction(Clicks(*clicks))
        assert is_probability(prob, height, width)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3.5 * prob.nbytes  # the map given away, the one before it, and what it is put together from
    assert kept < 1.2 * prob.nbytes


KINDS = {
    "grey": lambda rgb: rgb[..., 0],
    "grey with an axis": lambda rgb: rgb[..., :1],
    "RGB": lambda rgb: rgb,
    "RGBA": lambda rgb: np.dstack([rgb, np.arange(rgb[..., 0].size, dtype=rgb.dtype).reshape(rgb.shape[:2])]),
}
TYPES = {
    "uint8": lambda image: image,
    "uint16": lambda image: image.astype(np.uint16) * 257,
    "big-endian uint16": lambda image: (image.astype(np.uint16) * 257).astype(">u2"),
    "big-endian float32": lambda image: (image / 255.0).astype(">f4"),
    "float32": lambda image: image.astype(np.float32) / 255,
    "float64": lambda image: image / 255.0,
    "float16": lambda image: (image / 255.0).astype(np.float16),
}


def seen(painter: Painter, image: Any, **options: Any) -> np.ndarray:
    """The picture uint8 (H, W, 3) that the network is shown of an image, at its own size; the array is overwritten."""
    height, width = (image.height, image.width) if hasattr(image, "height") else image.shape[:2]
    if isinstance(image, torch.Tensor):
        height, width = image.shape[1:]
    predictor = Predictor(painter, working_size=round((height * width) ** 0.5), with_flip=False, zoom_in=False)
    predictor.set_input_image(image, **options)
    if isinstance(image, np.ndarray) and image.flags.owndata:
        image[:] = 0  # the caller may use the array again
    predictor.get_prediction([(3, 3, True)])
    return (painter.seen[-1][0][0, :3].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", TYPES)
def test_every_kind_of_image_is_the_same_picture(painter, kind, number):
    rgb = picture(32, 48)
    if kind.startswith("grey"):
        rgb = np.repeat(rgb[..., :1], 3, axis=2)
    image = TYPES[number](KINDS[kind](rgb)).copy()
    before = image.copy()
    assert np.array_equal(seen(painter, image.copy()), rgb)
    assert np.array_equal(image, before)


def test_views_of_other_memory_layouts(painter):
    rgb = picture(32, 48)
    for view in (rgb[..., ::-1][..., ::-1], np.asfortranarray(rgb), np.ascontiguousarray(rgb[::-1])[::-1],
                 np.ascontiguousarray(rgb.transpose(2, 0, 1)).transpose(1, 2, 0)):
        assert np.array_equal(seen(painter, view), rgb)


def nan_image() -> np.ndarray:
    image = np.zeros((4, 4, 3), np.float32)
    image[1, 2, 0] = np.nan
    return image


@pytest.mark.parametrize("image, words", [
    (np.zeros((0, 5, 3), np.uint8), "shape"),
    (np.zeros((0, 0), np.uint8), "shape"),
    (np.zeros(7, np.uint8), "shape"),
    (np.zeros((5, 5, 2), np.uint8), "shape"),
    (np.zeros((1, 5, 5, 3), np.uint8), "shape"),
    (np.zeros((5, 5, 3), np.int64), "type int64"),
    (np.zeros((5, 5, 3), bool), "type bool"),
    (nan_image(), "NaN"),
    (np.full((5, 5, 3), 255.0), "divide"),
    (np.full((5, 5), -0.1), "divide"),
    (np.full((5, 5), np.inf), "divide"),
])
def test_other_images_are_refused(painter, image, words):
    with pytest.raises(ValueError, match=words):
        small(painter).set_input_image(image)


def pil_palette(rgb: np.ndarray) -> Image.Image:
    """A picture of few colours, stored by a palette whose indices say nothing of brightness."""
    return Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=200)


def test_pictures_of_pil_and_torch(painter):
    rgb = picture(32, 48)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    sixteen = Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
    palette = pil_palette(rgb)
    tensor = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
    for image, expected in (
        (Image.fromarray(rgb), rgb), (Image.fromarray(rgb[..., 0]), grey), (sixteen, grey),
        (Image.fromarray(rgb).convert("RGBA"), rgb), (palette, np.asarray(palette.convert("RGB"))),
        (tensor, rgb), (tensor / 255, rgb), (tensor[:1], grey), ((tensor / 255).double(), rgb),
    ):
        assert np.array_equal(seen(painter, image), expected), image
    assert abs(seen(painter, (tensor / 255).bfloat16()).astype(int) - rgb).max() <= 1


def test_16_bit_pictures_of_fewer_bits_are_refused_or_told(painter):
    rgb = picture(32, 48)
    eight = rgb.astype(np.uint16)
    for dark in (eight, Image.fromarray(eight[..., 0])):
        with pytest.raises(ValueError, match=r"values up to \d+ is nearly black.*value_range=\(0, 255\)"):
            Predictor(painter).set_input_image(dark)
    assert np.array_equal(seen(painter, eight.copy(), value_range=(0, 255)), rgb)
    with pytest.warns(UserWarning, match="of 12 bits"):
        Predictor(painter).set_input_image(eight * 16)
    assert (seen(painter, np.zeros((32, 48), np.uint16)) == 0).all()  # black is black
    with pytest.raises(ValueError, match="value_range"):
        Predictor(painter).set_input_image(eight, value_range=(5, 5))


def test_after_a_refused_image_there_is_none(model):
    for refused in (nan_image(), None):
        predictor = small(model)
        predict(predictor, picture(40, 40), (5, 5, True))
        with pytest.raises(ValueError):
            predictor.set_input_image(refused)
        with pytest.raises(RuntimeError, match="set_input_image"):
            predictor.get_prediction(Clicks((5, 5, True)))


# ------------------------------------------------------------------------------------------------ clicks


def test_predicting_before_an_image_is_set_is_refused(model):
    with pytest.raises(RuntimeError, match="set_input_image"):
        small(model).get_prediction(Clicks((1, 1, True)))


def test_clicks_must_be_there_and_in_the_image(model):
    predictor = small(model)
    predictor.set_input_image(picture(30, 40))
    with pytest.raises(ValueError, match="no clicks"):
        predictor.get_prediction(Clicks())
    for y, x in ((30, 0), (0, 40), (-1, 5), (5, -1)):
        with pytest.raises(ValueError, match=rf"y={y}, x={x}.*30x40"):
            predictor.get_prediction(Clicks((3, 3, True), (y, x, True)))


def test_the_clicker_is_not_changed(model):
    truth = np.zeros((50, 60), np.int32)
    truth[10:30, 20:40] = 1
    clicker = Clicker(gt_mask=truth)
    clicker.make_next_click(np.zeros_like(truth))
    before, free = clicker.get_state(), clicker.not_clicked_map.copy()
    predictor = small(model)
    predictor.set_input_image(picture(50, 60))
    predictor.get_prediction(clicker)
    assert clicker.get_clicks() == before and np.array_equal(clicker.not_clicked_map, free)


def test_numpy_clicks_are_plain_clicks(model):
    image, predictor = picture(40, 40), small(model)
    numpy_clicks = predict(predictor, image, (5, 6, True), (30, 20, False))
    predictor.set_input_image(image)
    plain = Clicker(init_clicks=[Click(True, (5, 6)), Click(False, (30, 20))])
    assert np.array_equal(predictor.get_prediction(plain), numpy_clicks)


@pytest.mark.parametrize("clicks", [
    [(5, 6, True), (30, 20, False)],
    [Click(True, (5, 6)), Click(False, (30, 20))],
    np.array([(5, 6, 1), (30, 20, 0)]),
    [(4.6, 6.4, True), (29.5, 19.5, False)],  # to the nearest pixel
])
def test_clicks_in_other_forms(model, clicks):
    predictor = small(model)
    expected = predict(predictor, picture(40, 40), (5, 6, True), (30, 20, False))
    predictor.set_input_image(picture(40, 40))
    assert np.array_equal(predictor.get_prediction(clicks), expected)


NO_CLICKS = [(1, 2), (1, 2, True, 4), 7, (float("nan"), 1, True), ("a", 1, True), (1, None, True)]


@pytest.mark.parametrize("click", NO_CLICKS)
def test_what_is_no_click_is_refused(painter, click):
    predictor = small(painter)
    predictor.set_input_image(picture(40, 40))
    with pytest.raises(ValueError, match="is no click"):
        predictor.get_prediction([(1, 1, True), click])
    for outside in ((-0.6, 3, True), (39.5, 3, True)):
        with pytest.raises(ValueError, match="outside"):
            predictor.get_prediction([outside])


def test_duplicates_and_the_corner(model):
    image, predictor = picture(40, 50), small(model)
    clicks = [(10, 10, True), (10, 10, True), (0, 0, False), (0, 0, False), (0, 0, True), (10, 10, False)]
    for count in range(1, len(clicks) + 1):
        assert is_probability(predict(predictor, image, *clicks[:count]), 40, 50)


def test_twenty_clicks(model):
    rng = np.random.default_rng(0)
    clicks = [(int(rng.integers(60)), int(rng.integers(90)), bool(rng.random() < 0.6)) for _ in range(20)]
    predictor = small(model)
    predictor.set_input_image(picture(60, 90))
    for count in range(1, 21):
        last = predictor.get_prediction(Clicks(*clicks[:count]))
        assert is_probability(last, 60, 90)
    # and all at once is the same as one after another
    assert np.array_equal(predict(predictor, picture(60, 90), *clicks), last)


def test_only_new_clicks_take_forward_passes(painter):
    predictor = small(painter)
    predictor.set_input_image(picture(40, 40))
    counts = []
    for clicks in ([(5, 5, True)], [(5, 5, True)], [(5, 5, True), (9, 9, True)], [(5, 5, True)],
                   [(5, 5, True), (8, 8, False), (7, 7, True)]):
        before = len(painter.seen)
        predictor.get_prediction(Clicks(*clicks))
        counts.append(len(painter.seen) - before)
    assert counts == [2, 0, 1, 0, 2]  # the first click takes two passes


@pytest.mark.parametrize("history", [
    [[A], [A, B], [A]],  # undo
    [[A, B, C], [A, C]],  # deletion
    [[A, B, C], [A, D, C]],  # change
    [[A, B], [B]],  # a new beginning
    [[A, B], [A, B]],  # repeated
    [[A, B, C], [A], [A, B, C]],  # undo and redo
    [[A], [A, (10, 10, False)], [A, A]],
])
def test_a_click_list_always_gives_the_same(model, history):
    image, predictor = picture(45, 50), small(model)
    predictor.set_input_image(image)
    for clicks in history:
        last = predictor.get_prediction(Clicks(*clicks))
    assert np.array_equal(predict(small(model), image, *history[-1]), last)


def test_the_result_is_the_callers_own(model):
    for size in ((64, 64), (45, 50)):  # also where the image has the size of the network's input
        predictor = small(model)
        first = predict(predictor, picture(*size), A)
        kept = first.copy()
        first[:] = 0.5
        assert np.array_equal(predictor.get_prediction(Clicks(A)), kept)


def test_an_image_leaves_nothing_behind_for_the_next(model):
    one, two = picture(45, 50, seed=1), picture(60, 40, seed=2)
    predictor = small(model)
    predict(predictor, one, A, B)
    assert np.array_equal(predict(predictor, two, A, C), predict(small(model), two, A, C))


# ------------------------------------------------------------------------------------------------ previous masks


def test_prev_mask_as_array_and_tensor(model):
    image = picture(45, 50)
    mask = np.zeros((45, 50), np.float32)
    mask[10:30, 5:25] = 0.8
    results = []
    for given_mask in (mask, mask.astype(np.float64), mask[None, None], torch.from_numpy(mask),
                       torch.from_numpy(mask)[None, None], torch.from_numpy(mask.astype(np.float64))):
        predictor = small(model)
        predictor.set_input_image(image)
        results.append(predictor.get_prediction(Clicks(A), prev_mask=given_mask))
    assert all(np.array_equal(results[0], other) for other in results[1:])
    assert not np.array_equal(results[0], predict(small(model), image, A))


def test_prev_mask_stands_for_the_prediction_before_the_last_click(painter):
    mask = np.zeros((64, 64), np.float32)
    mask[8:24, 30:50] = 1
    predictor = small(painter, with_flip=False, zoom_in=False)
    predictor.set_input_image(picture(64, 64))
    predictor.get_prediction(Clicks(A, B))
    first = predictor.get_prediction(Clicks(A, B), prev_mask=mask)
    assert len(painter.seen) == 3  # only the last click's pass
    assert np.array_equal(painter.seen[-1][0][0, 3].numpy(), mask)
    mask[:] = 0  # the caller may use the array again
    predictor.get_prediction(Clicks(A, B, D))
    assert len(painter.seen) == 4  # a longer list goes on from it
    assert np.array_equal(predictor.get_prediction(Clicks(A, B)), first)  # undo leads back to it


def test_a_prev_mask_belongs_to_its_click_list(model):
    image, mask = picture(45, 50), np.zeros((45, 50), np.float32)
    mask[10:30, 5:25] = 1
    for other in ([B], [B, A], [A, D]):
        predictor = small(model)
        predictor.set_input_image(image)
        predictor.get_prediction(Clicks(A, C), prev_mask=mask)
        assert np.array_equal(predictor.get_prediction(Clicks(*other)), predict(small(model), image, *other))
    predictor.get_prediction(Clicks(A), prev_mask=mask)
    predictor.reset()
    assert np.array_equal(predictor.get_prediction(Clicks(A)), predict(small(model), image, A))


def test_prev_masks_of_zeros_and_ones(model):
    image, region = picture(45, 50), np.zeros((45, 50), bool)
    region[10:30, 5:25] = True
    predictor = small(model)
    predictor.set_input_image(image)
    expected = predictor.get_prediction(Clicks(A), prev_mask=region.astype(np.float32))
    byte = region.astype(np.uint8)
    for mask in (region, byte, 255 * byte, region[None], region.astype(np.int64), torch.from_numpy(region),
                 torch.from_numpy(255 * byte), torch.from_numpy(region).half()[None, None]):
        assert np.array_equal(predictor.get_prediction(Clicks(A), prev_mask=mask), expected)


@pytest.mark.parametrize("threshold", [None, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("options", [{}, {"zoom_in": False}])
def test_a_mask_is_the_map_above_the_threshold(model, options, threshold):
    image = picture(150, 190)
    for clicks in ((A,), (A, B), (A, B, C)):
        predictor = small(model, **options)
        map_ = predict(predictor, image, *clicks)
        mask = predictor.get_mask(Clicks(*clicks), threshold=threshold)
        assert mask.dtype == bool
        assert np.array_equal(mask, map_ > (model.pred_thr if threshold is None else threshold))


def test_work_can_start_from_a_mask(model):
    image, mask = picture(45, 50), np.zeros((45, 50), np.float32)
    mask[10:30, 5:25] = 1
    predictor = small(model)
    predictor.set_input_image(image)
    first = predictor.get_prediction(Clicks(A), prev_mask=mask)
    predictor.get_prediction(Clicks(A, B))
    assert np.array_equal(predictor.get_prediction(Clicks(A)), first)  # undo leads back to it


@pytest.mark.parametrize("mask, words", [
    (np.zeros((45, 51)), "shape"),
    (np.zeros((2, 45, 50)), "shape"),
    (torch.zeros(2, 1, 45, 50), "shape"),
    (np.full((45, 50), 2.0), "probabilities"),
    (np.full((45, 50), 7, np.uint8), "0 and 255"),
    (np.full((45, 50), -1.0), "probabilities"),
    (np.full((45, 50), np.nan), "NaN"),
])
def test_other_masks_are_refused(model, mask, words):
    predictor = small(model)
    predictor.set_input_image(picture(45, 50))
    with pytest.raises(ValueError, match=words):
        predictor.get_prediction(Clicks(A), prev_mask=mask)
