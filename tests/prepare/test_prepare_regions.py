"""Regions: layers that hold them, overlap, nesting, joining."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from prepare_helpers import rectangle

from utils.formats.regions import Region, draw_layers, join, nest


@given(st.lists(arrays(bool, (6, 7)), min_size=1, max_size=12))
def test_layers_give_back_every_region(masks):
    regions = [region for mask in masks if (region := Region.of("x", mask)) is not None]
    layers, mapping = draw_layers(regions, (6, 7))
    drawn = [mask for mask in masks if mask.any()]
    assert len(mapping) == len(drawn)
    assert all(np.array_equal(layers[k] == v, mask) for (k, v), mask in zip(mapping, drawn, strict=True))


@given(arrays(bool, (6, 7)), arrays(bool, (6, 7)))
def test_overlap_of_boxes_is_overlap_of_masks(first, second):
    a, b = Region.of("a", first), Region.of("b", second)
    if a is None or b is None:
        assert not first.any() or not second.any()
        return
    assert (a.area, b.area, a.overlap(b)) == (first.sum(), second.sum(), (first & second).sum())
    assert a.iou(b) == (first & second).sum() / (first | second).sum()


def test_a_layer_holds_255_regions():
    regions = [Region.of("x", mask) for mask in np.eye(600, dtype=bool).reshape(600, 20, 30)]
    layers, mapping = draw_layers(regions, (20, 30))
    assert len(layers) == 3 and len(set(mapping)) == 600
    assert all(np.count_nonzero(layers[k] == v) == 1 for k, v in mapping)


def regions_of(*boxes: tuple[int, int, int, int]) -> list[Region]:
    return [Region.of("x", rectangle(*box)) for box in boxes]


def test_nesting():
    person, shirt, button, other = (0, 40, 0, 40), (10, 30, 10, 30), (12, 14, 12, 14), (0, 40, 45, 60)
    tree = nest(regions_of(button, person, other, shirt))
    assert tree == {
        0: {"children": [], "parent": 3, "node_level": 2},
        1: {"children": [3], "parent": None, "node_level": 0},
        2: None,
        3: {"children": [0], "parent": 1, "node_level": 1},
    }


@pytest.mark.parametrize("columns_inside, nested", [(8, True), (7, False)])  # of ten: 0.8 of the part is enough
def test_a_part_may_stick_out_by_a_fifth(columns_inside, nested):
    tree = nest(regions_of((0, 40, 0, 40), (5, 9, 40 - columns_inside, 50 - columns_inside)))
    assert (tree[1] is not None and tree[1]["parent"] == 0) == nested


def test_equal_regions_are_no_parts_of_each_other():
    assert nest(regions_of((0, 9, 0, 9), (0, 9, 0, 9))) == {0: None, 1: None}


@pytest.mark.parametrize("columns, kept", [(8, 1), (7, 2)])  # IoU 0.8 and 0.7
def test_joining_keeps_the_better_of_two_masks_of_an_object(columns, kept):
    (lvis,), (near, far) = regions_of((0, 10, 0, 10)), regions_of((0, 10, 0, columns), (20, 30, 0, 10))
    assert join([lvis], [near, far]) == [lvis, near, far] if kept == 2 else [lvis, far]
