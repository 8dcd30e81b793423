"""Checkpoints, pictures, boxes and labels."""
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.clicker import Click
from utils.misc import (
    PAPER,
    clamp_bbox,
    contact_sheet,
    draw_points,
    draw_probmap,
    draw_with_blend_and_clicks,
    expand_bbox,
    get_bbox_from_mask,
    get_bbox_iou,
    get_dims_with_exclusion,
    get_labels_with_sizes,
    get_palette,
    get_segments_iou,
    save_checkpoint,
)

# ---------------------------------------------------------------------------------------------- checkpoints


def test_checkpoints_hold_the_state_dict_under_the_epoch_s_name(tmp_path, capsys):
    net = torch.nn.Linear(2, 3)
    for epoch, name in ((None, "last_checkpoint.pth"), (7, "007.pth")):
        save_checkpoint(net, tmp_path / "new" / "folder", epoch)
        path = tmp_path / "new" / "folder" / name
        assert str(path) in capsys.readouterr().out
        saved = torch.load(path, weights_only=True)
        assert list(saved) == ["state_dict"]
        torch.testing.assert_close(saved["state_dict"], net.state_dict())
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 2


def test_a_failed_save_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    net = torch.nn.Linear(2, 3)
    save_checkpoint(net, tmp_path)
    before = (tmp_path / "last_checkpoint.pth").read_bytes()

    def full(source, target) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        save_checkpoint(net, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last_checkpoint.pth"]
    assert (tmp_path / "last_checkpoint.pth").read_bytes() == before


# ---------------------------------------------------------------------------------------------- pictures


def test_probabilities_become_hot_colours():
    levels = draw_probmap(np.array([[0.0, 0.5, 1.0]]))
    assert levels.dtype == np.uint8 and levels.shape == (1, 3, 3)
    assert levels[0, 0].tolist() == [0, 0, 0] and levels[0, 2].tolist() == [255, 255, 255]
    assert levels[0, 1, 2] == 255 > levels[0, 1, 0]  # BGR: red before blue
    np.testing.assert_array_equal(draw_probmap(np.array([[-0.5, 1.5]])), draw_probmap(np.array([[0.0, 1.0]])))


def radius_of(points: list, **kwargs) -> int:
    """How far the colour reaches to the right of (20, 20) in a picture of 41 x 41 pixels."""
    picture = draw_points(np.zeros((41, 41, 3), np.uint8), points, (255, 0, 0), **kwargs)
    return int(np.flatnonzero(picture[20, :, 0] == 255).max()) - 20


def test_points_have_the_size_of_their_index():
    assert radius_of([(20, 20)]) == 3 and radius_of([(20, 20)], radius=5) == 5
    assert [radius_of([(20, 20, index)]) for index in (0, 1, 2, 3, 100.0)] == [8, 6, 4, 2, 2]
    image = np.zeros((9, 9, 3), np.uint8)
    assert not draw_points(image, [(-1, -1, -1), (-1, 4)], (255, 0, 0)).any()
    assert draw_points(image, np.array([[4.0, 4.0]]), (0, 7, 0))[4, 4].tolist() == [0, 7, 0]
    assert not image.any()


def test_blend_tints_the_mask_and_draws_clicks():
    image = np.full((20, 30, 3), 100, np.uint8)
    mask = np.zeros((20, 30), np.int32)
    mask[:, 10:20], mask[:, 20:] = 1, 2
    clicks = [Click(True, (5, 5)), Click(np.False_, (15, 15))]
    picture = draw_with_blend_and_clicks(image, mask, alpha=0.5, clicks_list=clicks, radius=2)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [100] * 3
    assert picture[0, 12].tolist() == [114, 50, 50] and picture[0, 25].tolist() == [50, 114, 50]
    assert picture[5, 5].tolist() == [0, 255, 0] and picture[15, 15].tolist() == [255, 0, 0]
    assert (image == 100).all()
    np.testing.assert_array_equal(draw_with_blend_and_clicks(image), image)
    boolean = draw_with_blend_and_clicks(image, mask > 0, alpha=1.0, clicks_list=[], pos_color=(1, 2, 3))
    assert boolean[0, 15].tolist() == [128, 0, 0]


def test_the_palette_is_pascal_voc_s():
    palette = get_palette(256)
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert palette[20].tolist() == [0, 64, 128] and palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(palette, axis=0)) == 256


def test_a_contact_sheet_shows_every_tile_once():
    rows = [[np.full((40, 60, 3), 10 * (3 * i + j + 1), np.uint8) for j in range(3)] for i in range(2)]
    rows[1].pop()
    sheet = contact_sheet(rows)
    counts = {value: (sheet == value).all(axis=2).sum() for value in range(10, 61, 10)}
    assert counts == {10: 2400, 20: 2400, 30: 2400, 40: 2400, 50: 2400, 60: 0}
    assert sheet.dtype == np.uint8 and (sheet[-1] == PAPER).all() and (sheet[:, 0] == PAPER).all()
    first, last = (np.argwhere((sheet == value).all(axis=2)).min(axis=0) for value in (10, 50))
    assert first[0] < last[0] and first[1] < last[1]


def test_headings_of_a_contact_sheet_stay_off_the_tiles_and_each_other():
    tiles = [np.full((40, 60, 3), 128, np.uint8)] * 2
    sheet = contact_sheet([tiles], ["a very long heading indeed", "b"])
    assert (sheet == 128).all(axis=2).sum() >= 2 * 2400
    heading = (sheet < 200).all(axis=2)[: np.flatnonzero((sheet == 128).all(axis=2).sum(axis=1) >= 120)[0]]
    middle = sheet.shape[1] // 2
    assert heading[:, : middle - 1].any() and heading[:, middle + 1 :].any()
    assert not heading[:, middle - 1 : middle + 1].any()


@pytest.mark.parametrize("rows", [[], [[]], [[np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]]])
def test_a_contact_sheet_needs_tiles_of_one_size(rows):
    with pytest.raises(ValueError, match="tiles of one size"):
        contact_sheet(rows)


# ---------------------------------------------------------------------------------------------- boxes

SIDES = st.tuples(st.integers(-50, 50), st.integers(0, 40)).map(lambda side: (side[0], side[0] + side[1]))
BOXES = st.tuples(SIDES, SIDES).map(lambda sides: (*sides[0], *sides[1]))


def pixels_of(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    rmin, rmax, cmin, cmax = box
    return {(r, c) for r in range(rmin, rmax + 1) for c in range(cmin, cmax + 1)}


@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_the_box_of_a_mask_is_the_smallest_around_it(mask):
    if not mask.any():
        with pytest.raises(ValueError, match="empty"):
            get_bbox_from_mask(mask)
        return
    box = get_bbox_from_mask(mask)
    rows, columns = np.nonzero(mask)
    assert box == (rows.min(), rows.max(), columns.min(), columns.max())
    assert all(type(side) is int for side in box)


@given(BOXES, st.floats(1, 3), st.none() | st.integers(1, 200))
def test_an_expanded_box_contains_the_box_and_has_the_size_asked_for(box, ratio, min_size):
    larger = expand_bbox(box, ratio, min_size)
    for (low, high), (new_low, new_high) in ((box[:2], larger[:2]), (box[2:], larger[2:])):
        assert new_low <= low and high <= new_high
        asked = max(ratio * (high - low + 1), min_size or 0)
        assert abs((new_high - new_low + 1) - asked) <= 1
        assert abs((new_low + new_high) - (low + high)) <= 1  # twice the distance of the centres
    assert expand_bbox(box, 1) == box


@given(BOXES)
def test_a_clamped_box_is_the_part_inside(box):
    inside = pixels_of(box) & pixels_of((0, 29, 0, 39))
    assert pixels_of(clamp_bbox(box, 0, 29, 0, 39)) == inside


@given(SIDES, SIDES)
def test_the_iou_of_segments_counts_pixels(first, second):
    a, b = (set(range(low, high + 1)) for low, high in (first, second))
    assert get_segments_iou(first, second) == pytest.approx(len(a & b) / len(a | b))


@given(BOXES, BOXES)
def test_the_iou_of_boxes_is_1_for_equal_and_0_for_disjoint_ones(first, second):
    iou = get_bbox_iou(first, second)
    assert iou == get_bbox_iou(second, first) == get_segments_iou(first[:2], second[:2]) * get_segments_iou(
        first[2:], second[2:]
    )
    assert (iou == 1) == (first == second)
    assert (iou == 0) == (not pixels_of(first) & pixels_of(second))


# ---------------------------------------------------------------------------------------------- labels


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 9)))
def test_labels_and_their_sizes(labels):
    found, sizes = get_labels_with_sizes(labels)
    assert found == sorted(set(labels.ravel().tolist()) - {0})
    assert sizes == [int((labels == label).sum()) for label in found]


def test_axes_without_one():
    assert get_dims_with_exclusion(4, 1) == [0, 2, 3]
    assert get_dims_with_exclusion(3) == [0, 1, 2]
