"""Masks of the annotation page: outlines, PNG, what a hand draws."""
import io

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from utils.annotate import masks

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def filled(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels inside polygons by the even-odd rule: how many upright edges lie left of each."""
    crossings = np.zeros(shape, int)
    for polygon in polygons:
        for (y0, x0), (y1, x1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0:] += 1
    return crossings % 2 == 1


@given(MASKS)
def test_an_outline_filled_is_the_mask(mask):
    assert np.array_equal(filled(masks.outline(mask), mask.shape), mask)


@given(MASKS)
def test_an_outline_has_no_needless_corner(mask):
    for polygon in masks.outline(mask):
        steps = np.diff(np.concatenate([polygon, polygon[:1]]), axis=0)
        assert (steps[0::2, 0] == 0).all() and (steps[0::2, 1] != 0).all()  # along a row...
        assert (steps[1::2, 1] == 0).all() and (steps[1::2, 0] != 0).all()  # ...then along a column


@given(MASKS)
def test_the_svg_path_holds_the_outline(mask):
    path = masks.svg_path(masks.outline(mask))
    corners = []
    for part in path.split("M")[1:]:
        words = part[:-1].replace("h", " h").replace("v", " v").split()
        points = [(int(words[1]), int(words[0]))]
        for word in words[2:]:
            y, x = points[-1]
            points.append((y + int(word[1:]), x) if word[0] == "v" else (y, x + int(word[1:])))
        corners.append(points)
    assert corners == [[tuple(corner) for corner in polygon.tolist()] for polygon in masks.outline(mask)]


@given(MASKS)
def test_a_mask_survives_its_png(mask):
    assert np.array_equal(masks.decode_map(masks.encode_mask(mask)) > 0, mask)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_a_map_of_edits_survives_its_png(hand):
    png = masks.encode_edits(hand)
    assert np.array_equal(masks.decode_map(png), hand)
    with Image.open(io.BytesIO(png)) as image:  # a strict reader: checksums, sizes
        image.verify()


def test_equal_masks_have_equal_names_and_others_have_others():
    mask = np.eye(5, dtype=bool)
    names = {masks.file_name(masks.encode_mask(each)) for each in (mask, mask.copy(), ~mask)}
    assert len(names) == 2


def test_description():
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:7] = True
    assert masks.describe(mask) == {"path": "M2 1h5v2h-5z", "box": (1, 2, 3, 7), "area": 10}
    assert masks.describe(np.zeros((6, 8), bool)) == {"path": "", "box": None, "area": 0}


def test_the_smallest_brush_is_one_pixel():
    assert np.argwhere(masks.stroke((5, 6), [[2.3, 2.8]], 0.5)).tolist() == [[2, 3]]


@settings(max_examples=40)
@given(st.floats(0.5, 30), st.floats(5, 35), st.floats(5, 45))
def test_a_dab_of_the_brush_is_a_disk(radius, y, x):
    drawn = masks.stroke((40, 50), [[y, x]], radius)
    rows, columns = np.ogrid[:40, :50]
    distance = np.hypot(rows - y, columns - x)
    slack = 1e-6 if radius <= masks.EXACT_RADIUS else 1.5
    assert drawn[distance < radius - slack].all() and not drawn[distance > radius + slack].any()


def test_a_stroke_covers_its_line_and_leaves_the_picture_quietly():
    drawn = masks.stroke((20, 30), [[10, -8], [10, 100]], 2)
    assert drawn[9:12].all() and not drawn[:7].any() and not drawn[14:].any()


def test_a_polygon_is_filled():
    drawn = masks.polygon((20, 20), [[2, 2], [2, 10], [12, 10], [12, 2]])
    assert drawn[2:13, 2:11].all() and drawn.sum() == 11 * 9


@given(st.lists(st.tuples(st.floats(0, 19), st.floats(0, 29)), min_size=3, max_size=30))
def test_a_line_that_crosses_itself_often_is_filled_like_any_other(points):
    """Up to pixels on the line, which one of the two ways counts."""
    few, many = masks.polygon((20, 30), points), masks.even_odd((20, 30), np.array(points))
    on_line = np.zeros((20, 30), np.uint8)
    cv2.polylines(on_line, [np.round(np.array(points)[:, ::-1]).astype(np.int32)], True, 1, thickness=3)
    assert np.array_equal(few & (on_line == 0), many & (on_line == 0))


def test_twenty_thousand_points_at_random_are_filled():
    """OpenCV's fillPoly takes more than a minute for these."""
    points = np.random.default_rng(0).uniform((0, 0), (480, 854), (20_000, 2))
    drawn = masks.polygon((480, 854), points.tolist())
    assert 0.4 < drawn.mean() <= 1


def test_manual_edits_overrule_the_model():
    mask = np.array([[True, True, False, False]])
    hand = np.array([[masks.UNTOUCHED, masks.ERASED, masks.PAINTED, masks.UNTOUCHED]], np.uint8)
    assert masks.with_edits(mask, hand).tolist() == [[True, False, True, False]]


def test_a_click_against_an_edit_frees_that_patch_only():
    hand = np.zeros((5, 9), np.uint8)
    hand[1:3, 1:3] = hand[1:3, 5:7] = masks.PAINTED
    freed = masks.without_edit_at(hand, 1, 5, is_positive=False)
    assert hand[1, 5] == masks.PAINTED  # the map that was given is left alone
    assert not freed[:, 4:].any() and np.array_equal(freed[:, :4], hand[:, :4])
    assert masks.without_edit_at(hand, 1, 5, is_positive=True) is hand  # it agrees with the hand
    assert masks.without_edit_at(hand, 4, 8, is_positive=False) is hand  # nothing of the hand's there
