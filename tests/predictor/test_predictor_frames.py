"""Where the Predictor looks: frames, zoom-in, and the steps that can be switched off."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from predictor_tools import (
    CPU,
    WORKING,
    A,
    B,
    Clicks,
    Painter,
    is_probability,
    picture,
    predict,
    small,
    watch_frames,
)

import solution
from solution import Frame, Predictor, click_disks, input_size

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
