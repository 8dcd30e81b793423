"""The Predictor: what images and clicks it takes, its frames, its memory of clicks, and the protocol it plays."""
from __future__ import annotations

import copy
import doctest
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import solution
from solution import Frame, ISModel, Predictor, click_disks, input_size
from utils.clicker import Click, Clicker

CPU = torch.device("cpu")
WORKING = 64  # a small network input, for speed
SCENES = Path(__file__).with_name("00_sample_input")


@pytest.fixture(scope="module")
def model() -> ISModel:
    """Random weights whose predictions nevertheless depend on all that the network sees.

    Normalization with the statistics of some pictures keeps their differences alive through all layers.
    """
    torch.manual_seed(0)
    model = ISModel().train()
    images = torch.stack([torch.from_numpy(picture(64, 64, seed)).permute(2, 0, 1) / 255 for seed in range(6)])
    points = torch.randint(0, 64, (6, 4, 3)).float()
    with torch.no_grad():
        for _ in range(12):
            model(torch.cat([images, torch.rand(6, 1, 64, 64)], 1), points)
        model.decoder[-1].weight.mul_(4)
    return model.eval()


class Painter:
    """A Runtime without a network: the object is where clicks' disks are, or the last mask was; notes its inputs."""

    def __init__(self) -> None:
        self.config = solution.NetworkConfig(working_size=WORKING)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def logits(self, inputs: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        self.seen.append((inputs, points))
        disks = click_disks(points, *inputs.shape[-2:], radius=6.0)
        return 12 * torch.maximum(disks[:, :1], inputs[:, 3:] * (1 - disks[:, 1:])) - 6


@pytest.fixture
def painter() -> Painter:
    return Painter()


class CourseClick(NamedTuple):
    """A click with numpy's numbers, as the course's Clicker makes it."""

    is_positive: np.bool_
    coords: tuple[np.int64, np.int64]


class Clicks:
    """A list of clicks (y, x, is_positive), and nothing more than the Predictor may ask for."""

    def __init__(self, *clicks: tuple[int, int, bool]) -> None:
        self.clicks = [CourseClick(np.bool_(p), (np.int64(y), np.int64(x))) for y, x, p in clicks]

    def get_clicks(self) -> list[CourseClick]:
        return self.clicks


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth seeded picture (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def small(model: torch.nn.Module | Painter, **options) -> Predictor:
    return Predictor(model, CPU, working_size=WORKING, **options)


def predict(predictor: Predictor, image: np.ndarray, *clicks: tuple[int, int, bool]) -> np.ndarray:
    predictor.set_input_image(image)
    return predictor.get_prediction(Clicks(*clicks))


def is_probability(prob: np.ndarray, height: int, width: int) -> bool:
    return prob.dtype == np.float32 and prob.shape == (height, width) and prob.min() >= 0 and prob.max() <= 1


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


A, B, C, D = (10, 10, True), (30, 35, False), (20, 15, True), (5, 40, True)


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


# ------------------------------------------------------------------------------------------------ frames


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Any frame: a box somewhere, an input size, mirrored or not."""
    top, left = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    return Frame(top, left, height, width, draw(st.integers(1, 80)), draw(st.integers(1, 80)), draw(st.booleans()))


@given(frames(), st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=5))
def test_coordinates_return(frame, points):
    points = np.array(points)
    assert np.allclose(frame.to_image(frame.to_input(points)), points, atol=1e-8)
    assert np.allclose(frame.to_input(frame.to_image(points)), points, atol=1e-8)
    assert frame.mirror().mirror() == frame


@given(frames(), st.floats(0, 1))
def test_masks_return(frame, level):
    """A map that is constant in the box comes back whole; a linear one too where no pixel is lost or invented."""
    image = np.zeros((110, 110), np.float32)
    box = slice(frame.top, frame.top + frame.height), slice(frame.left, frame.left + frame.width)
    image[box] = level
    assert np.allclose(frame.restore(frame.take(image), 110, 110), image, atol=1e-6)
    exact = frame._replace(out_height=frame.height, out_width=frame.width)
    image[box] = np.random.default_rng(0).random((frame.height, frame.width))
    assert np.array_equal(exact.restore(exact.take(image), 110, 110), image)


@given(frames())
def test_enlarged_masks_return_within_rounding(frame):
    """Whole enlargements keep every pixel's value in the middle of its block."""
    odd = frame._replace(out_height=3 * frame.height, out_width=3 * frame.width)
    image = (np.random.default_rng(0).random((110, 110)) < 0.5).astype(np.float32)
    seen = odd.take(image)
    centres = odd.to_input([(odd.top, odd.left), (odd.top + odd.height - 1, odd.left + odd.width - 1)])
    for (y, x), (row, column) in zip(np.rint(centres).astype(int), ((0, 0), (-1, -1)), strict=True):
        box = image[odd.top : odd.top + odd.height, odd.left : odd.left + odd.width]
        assert seen[y, x] == box[row, column]


@given(frames(), st.integers(0, 59), st.integers(0, 59))
def test_image_and_points_move_together(frame, dy, dx):
    """A bright pixel is seen where its coordinates say."""
    dy, dx = dy % frame.height, dx % frame.width
    frame = frame._replace(out_height=5 * frame.height, out_width=3 * frame.width)
    image = np.zeros((110, 110), np.float32)
    image[frame.top + dy, frame.left + dx] = 1
    seen = frame.take(image)
    y, x = frame.to_input([(frame.top + dy, frame.left + dx)])[0]
    peak = np.argwhere(seen == seen.max()).mean(0)
    inner = 0 < dy < frame.height - 1 and 0 < dx < frame.width - 1  # else the border repeats it
    assert seen[round(y), round(x)] == seen.max()
    if inner:
        assert np.allclose(peak, (y, x), atol=0.51)


@given(frames())
def test_a_mirrored_frame_shows_the_mirrored_picture(frame):
    image = np.random.default_rng(0).random((110, 110), dtype=np.float32)
    assert np.array_equal(frame.mirror().take(image), frame.take(image)[:, ::-1])
    low = np.random.default_rng(1).random((frame.out_height, frame.out_width), dtype=np.float32)
    assert np.array_equal(frame.mirror().restore(low[:, ::-1], 110, 110), frame.restore(low, 110, 110))


@given(frames(), frames())
def test_a_map_seen_in_another_frame_is_the_detour_over_the_image(one, other):
    """A smooth map, compared where both frames look and no border is near."""
    ramp = np.add.outer(np.arange(110, dtype=np.float32), 2 * np.arange(110, dtype=np.float32)) / 330
    size = 4 + one.height, 4 + one.width
    one = one._replace(mirrored=False, out_height=size[0], out_width=size[1])
    seen = solution._Estimate(one.take(ramp), one).seen_in(other)
    assert seen.shape == (other.out_height, other.out_width)
    rows, columns = np.indices(seen.shape)
    places = other.to_image(np.stack([rows.ravel(), columns.ravel()], 1))
    # two pixels of the coarser frame away from the box's border, which repeats its last value
    margin = 1 + np.maximum(1, (other.height / other.out_height, other.width / other.out_width))
    inner = ((places >= (one.top, one.left) + margin) &
             (places <= np.array((one.top + one.height, one.left + one.width)) - 1 - margin)).all(1)
    expected = (places @ (1, 2)) / 330
    assert np.allclose(seen.ravel()[inner], expected[inner], atol=0.02)
    far = ((places < np.array((one.top, one.left)) - margin) |
           (places > np.array((one.top + one.height, one.left + one.width)) + margin)).any(1)
    assert (seen.ravel()[far] == 0).all()


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(16, 600), st.booleans())
def test_the_network_input_is_bounded(height, width, working, keep_aspect):
    rows, columns = input_size(height, width, working, keep_aspect)
    assert rows % 16 == 0 and columns % 16 == 0 and min(rows, columns) >= 32
    assert max(rows, columns) <= max(32, 2 * working)
    # rounding a side to 16 adds 8 pixels at most; sides below 32 are raised to it
    assert rows * columns <= max((working + 8 + 64 * 8 / working) ** 2 * 1.25, 32 * max(32, 2 * working))
    if not keep_aspect:
        assert rows == columns


@pytest.mark.parametrize("height, width", [(1, 1), (1, 5000), (5000, 1), (480, 854), (2000, 30)])
def test_the_network_never_sees_more_than_its_working_size(painter, height, width):
    predictor = Predictor(painter, CPU, working_size=128)
    predict(predictor, picture(height, width), (0, 0, True), (height - 1, width - 1, True), (height // 2, 0, False))
    for image, _ in painter.seen:
        assert max(image.shape[-2:]) <= 256 and image.shape[-1] * image.shape[-2] <= 1.3 * 128**2


@pytest.mark.parametrize("shape, size", [
    ((10, 1000), (40, 20)), ((1000, 10), (20, 40)), ((10, 10), (40, 40)), ((100, 90), (7, 9)), ((1, 1), (3, 5)),
])
def test_resizing_averages_a_side_that_shrinks(shape, size):
    """Every second pixel is bright: an average is grey, a choice of pixels is not."""
    stripes = (np.indices(shape).sum(0) % 2).astype(np.float32)
    small_ = solution.resize(stripes, *size)
    assert small_.shape == size
    if max(shape) > 90:
        assert abs(small_ - 0.5).max() < 0.2


@given(st.integers(1, 700), st.integers(1, 700), st.tuples(*[st.floats(0, 1)] * 4), st.integers(32, 128))
@settings(max_examples=60, deadline=None)
def test_a_view_of_halved_copies_is_a_view_of_the_image(height, width, corners, side):
    image = picture(height, width)
    pyramid = solution.ImagePyramid(image, 32, 32)
    (top, bottom), (left, right) = sorted(corners[:2]), sorted(corners[2:])
    top, left = int(top * (height - 1)), int(left * (width - 1))
    box = top, left, max(top + 1, round(bottom * height)), max(left + 1, round(right * width))
    frame = pyramid.frame(box, input_size(box[2] - top, box[3] - left, side))
    assert 0 <= frame.top <= top and box[2] <= frame.top + frame.height <= height
    assert 0 <= frame.left <= left and box[3] <= frame.left + frame.width <= width
    for view in (frame, frame.mirror()):
        assert np.array_equal(pyramid.take(view), view.take(image))


@pytest.mark.parametrize("height, width", [(1023, 1535), (640, 2001), (300, 4000)])
def test_large_images_are_resized_as_by_averages(height, width):
    """Up to rounding and a shift of less than half a pixel."""
    image = picture(height, width)
    fast, slow = solution.resize(image, 48, 64), cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
    slopes = [abs(np.diff(slow.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert fast.shape == slow.shape and abs(fast.astype(int) - slow).max() <= sum(slopes) / 2 + 2
    assert abs(fast.mean() - slow.mean()) < 1


# ------------------------------------------------------------------------------------------------ zoom-in


@given(st.tuples(st.integers(20, 300), st.integers(20, 300)),
       st.lists(st.tuples(st.integers(0, 299), st.integers(0, 299), st.booleans()), min_size=1, max_size=2),
       st.tuples(st.integers(0, 299), st.integers(0, 299)))
@settings(max_examples=60)
def test_the_zoom_in_box_contains_mask_and_clicks(shape, clicks, pixel):
    height, width = shape
    clicks = [(y % height, x % width, positive) for y, x, positive in clicks]
    mask = np.zeros(shape, np.float32)
    y, x = pixel[0] % height, pixel[1] % width
    mask[y : y + 9, x : x + 5] = 1
    painter = Painter()
    predictor = small(painter, with_flip=False)
    predictor.set_input_image(np.zeros((*shape, 3), np.uint8))
    frames = watch_frames(predictor)
    predictor.get_prediction(clicks, prev_mask=mask)
    (frame,) = frames
    points = np.array([click[:2] for click in clicks] + list(zip(*np.nonzero(mask), strict=True)))
    assert (points >= (frame.top, frame.left)).all()
    assert (points < (frame.top + frame.height, frame.left + frame.width)).all()
    assert frame.top >= 0 and frame.left >= 0
    assert frame.top + frame.height <= height and frame.left + frame.width <= width
    smallest = 0.2 * max(shape)  # on each side of the centre half of it, unless the image ends
    assert frame.height >= min(height, smallest) / 2 and frame.width >= min(width, smallest) / 2


def watch_frames(predictor: Predictor) -> list[Frame]:
    """Gets the frame of each forward pass that the predictor makes from now on."""
    frames, take = [], solution.ImagePyramid.take
    predictor._image.take = lambda frame: frames.append(frame) or take(predictor._image, frame)
    return frames


def test_the_box_follows_a_click_outside_it(painter):
    predictor = small(painter, with_flip=False)
    predictor.set_input_image(picture(300, 300))
    frames = watch_frames(predictor)
    near = [(150, 150, True), (155, 160, True), (150, 145, False)]
    predictor.get_prediction(Clicks(*near))
    close = frames[-1]
    assert close.height < 300 and close.width < 300
    predictor.get_prediction(Clicks(*near, (290, 10, True)))
    wide = frames[-1]
    assert wide.top + wide.height > 290 and wide.left <= 10
    y, x = painter.seen[-1][1][0, painter.seen[-1][1][0, :, 2] == 3][0, :2].tolist()
    assert np.allclose(wide.to_image([(y, x)])[0], (290, 10), atol=1e-3)


def test_an_empty_mask_shows_the_whole_image(painter):
    for options, clicks in (({"coarse_pass": False}, [A]), ({}, [(10, 10, False), (20, 20, False)])):
        predictor = small(painter, **options)
        predictor.set_input_image(picture(100, 150))
        frames = watch_frames(predictor)
        predictor.get_prediction(clicks)
        assert frames[-1][:4] == (0, 0, 100, 150)


def test_the_first_click_takes_a_coarse_pass_and_a_close_one(painter):
    predictor = small(painter, with_flip=False)
    predictor.set_input_image(picture(300, 300))
    frames = watch_frames(predictor)
    predictor.get_prediction([(150, 150, True)])
    (_, coarse), (close, points) = painter.seen
    frame = frames[-1]
    assert coarse.shape == points.shape and frame.height < 300 and frame.width < 300
    assert (close[0, 3] == 0).all()  # the close pass is one for the first click too: without a previous mask
    assert np.allclose(frame.to_image([points[0, 0, :2].tolist()])[0], (150, 150), atol=1e-3)
    predictor.get_prediction(Clicks((150, 150, True), (155, 150, True)))
    assert len(painter.seen) == 3  # and only the first click takes two passes


def test_a_given_mask_is_zoomed_in_on_at_the_first_click(painter):
    predictor = small(painter, with_flip=False)
    predictor.set_input_image(picture(300, 300))
    frames = watch_frames(predictor)
    mask = np.zeros((300, 300), np.float32)
    mask[140:160, 140:170] = 1
    predictor.get_prediction(Clicks((150, 150, True)), prev_mask=mask)
    assert len(painter.seen) == 1 and frames[-1].height < 100 and painter.seen[0][0][0, 3].max() > 0.9


# ------------------------------------------------------------------------------------------------ steps and switches


def test_predictions_flip_with_the_input(model):
    """Up to rounding, because there is always a pass for both mirror images; without flip they differ."""
    image = picture(48, 80)
    there = predict(small(model), image, A, B)
    back = predict(small(model), image[:, ::-1], *((y, 79 - x, p) for y, x, p in (A, B)))
    assert np.allclose(there, back[:, ::-1], atol=2e-3)
    assert there.max() - there.min() > 0.05
    alone = predict(small(model, with_flip=False), image, A, B)
    assert not np.allclose(there, alone, atol=5e-3)


def test_each_step_can_be_switched_off(painter, model):
    image = picture(100, 200)
    clicks = [(50, 60, True), (55, 70, True), (40, 66, False)]

    def shapes(**options) -> list[tuple[int, ...]]:
        painter.seen.clear()
        predict(small(painter, **options), image, *clicks)
        return [tuple(seen.shape) for seen, _ in painter.seen]

    assert all(shape[0] == 2 for shape in shapes()) and all(shape[0] == 1 for shape in shapes(with_flip=False))
    assert [shape[2:] for shape in shapes(keep_aspect=False)] == [(32, 32), (64, 64), (64, 64), (64, 64)]
    assert [shape[2:] for shape in shapes(keep_aspect=False, coarse_size=64)] == 4 * [(64, 64)]
    assert len(set(shapes(zoom_in=False))) == 1 and shapes(zoom_in=False)[0][3] > 64
    assert len(shapes(coarse_pass=False)) == 3 and len(shapes()) == 4
    for switch in ("with_flip", "zoom_in", "coarse_pass", "keep_aspect"):
        assert is_probability(predict(small(model, **{switch: False}), image, *clicks), 100, 200)


def test_the_working_size_is_the_checkpoints_own(painter):
    assert Predictor(painter, CPU).working_size == WORKING
    assert Predictor(painter, CPU, working_size=96).working_size == 96


def test_the_network_sees_image_mask_and_clicks(painter):
    image = picture(64, 64)
    predict(small(painter, zoom_in=False, with_flip=False), image, A, B)
    (first, _), (second, points) = painter.seen
    assert np.allclose(first[0, :3].permute(1, 2, 0).numpy() * 255, image, atol=1e-3)
    assert (first[0, 3] == 0).all()
    expected = torch.sigmoid(12 * click_disks(torch.tensor([[[10.0, 10, 0], [-1, -1, -1]]]), 64, 64, 6.0)[0, 0] - 6)
    assert torch.allclose(second[0, 3], expected, atol=1e-6)
    assert points[0].tolist() == [[10, 10, 0], [-1, -1, -1], [30, 35, 1], [-1, -1, -1]]


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


# ------------------------------------------------------------------------------------------------ late clicks

E = (35, 40, True)


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


# ------------------------------------------------------------------------------------------------ the shipped model

REFERENCE = Path(__file__).with_name("reference_masks.npz")


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


def scene(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A rendered scene's image (H, W, 3) RGB and mask (H, W) of 0 and 1."""
    image = cv2.imread(str(SCENES / "imgs" / f"{name}.jpg"))[..., ::-1]
    return image, (cv2.imread(str(SCENES / "masks" / f"{name}.png")).max(2) > 0).astype(np.int32)


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
