"""Which object is asked for, and where its first clicks fall."""
from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.points_sampler import CENTRED_INDEX, NO_POINT, SAMPLED_INDEX, MultiPointSampler
from utils.sample import DSample

N = 6  # points of each kind in these tests


def split(points: list) -> tuple[list, list]:
    """The positive and the negative points, without padding, which must come last."""
    assert len(points) == 2 * N
    kinds = []
    for half in (points[:N], points[N:]):
        drawn = [p for p in half if tuple(p) != NO_POINT]
        assert all(tuple(p) == NO_POINT for p in half[len(drawn):])
        kinds.append(drawn)
    return kinds[0], kinds[1]


def draw(sampler: MultiPointSampler, sample: DSample) -> tuple[np.ndarray, list, list]:
    sampler.sample_object(sample)
    return sampler.selected_mask[0], *split(sampler.sample_points())


def make_sample(layers: np.ndarray, tree: dict, **kwargs) -> DSample:
    return DSample(np.zeros((*layers.shape[:2], 3), np.uint8), layers, objects=tree, **kwargs)


def two_objects() -> DSample:
    layers = np.zeros((60, 80, 1), np.uint8)
    layers[10:40, 5:35], layers[10:50, 45:75] = 1, 2
    return make_sample(layers, {1: {"mapping": (0, 1)}, 2: {"mapping": (0, 2)}})


def object_with_parts() -> DSample:
    """Object 0 of 40 x 40 pixels with the parts 1 (20 x 20) and 2 (10 x 10), which is a small one."""
    layers = np.zeros((60, 60, 2), np.uint8)
    layers[10:50, 10:50, 0] = 1
    layers[15:35, 15:35, 1], layers[37:47, 37:47, 1] = 1, 2
    return make_sample(layers, {
        0: {"mapping": (0, 1), "children": [1, 2]},
        1: {"mapping": (1, 1), "parent": 0},
        2: {"mapping": (1, 2), "parent": 0},
    })


@st.composite
def samples(draw) -> DSample:
    """Up to six rectangles in three layers, related at random, overlapping as they like, some pixels ignored."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    layers = np.zeros((height, width, 3), np.uint8)
    tree = {}
    for i in range(draw(st.integers(0, 6))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
        layer, parent = draw(st.integers(0, 2)), draw(st.sampled_from([None, *tree]))
        layers[top:bottom, left:right, layer] = i + 1
        tree[i] = {"mapping": (layer, i + 1), "parent": parent, "children": []}
        if parent is not None:
            tree[parent]["children"].append(i)
    if draw(st.booleans()):
        layers[: draw(st.integers(1, height)), : draw(st.integers(1, width)), 0] = 99
    sample = make_sample(layers, tree, ignore_ids=draw(st.sampled_from([None, [99]])))
    sample.remove_small_objects(1)
    return sample


samplers = st.builds(
    MultiPointSampler,
    max_num_points=st.just(N),
    prob_gamma=st.floats(0.1, 1.5),
    expand_ratio=st.floats(0, 0.5),
    positive_erode_prob=st.floats(0, 1),
    positive_erode_iters=st.integers(1, 5),
    merge_objects_prob=st.floats(0, 1),
    max_num_merged_objects=st.integers(2, 8),
    use_hierarchy=st.booleans(),
    soft_targets=st.booleans(),
    first_click_center=st.booleans(),
    only_one_first_click=st.booleans(),
    sfc_inner_k=st.floats(1, 5),
    sfc_full_inner_prob=st.floats(0, 1),
)


@given(samples(), samplers)
def test_positive_points_lie_on_the_object_and_negative_ones_outside(sample, sampler):
    for _ in range(3):
        mask, positive, negative = draw(sampler, sample)
        assert mask.shape == sample.image.shape[:2] and mask.dtype == np.float32
        assert set(np.unique(mask)) <= {-1, 0, 1}
        assert all(mask[y, x] == 1 for y, x, _ in positive)
        assert all(mask[y, x] == 0 for y, x, _ in negative)
        assert all(y >= 0 and x >= 0 for y, x, _ in positive + negative)
        assert {index for *_, index in negative} <= {SAMPLED_INDEX}
        assert {index for *_, index in positive} <= {SAMPLED_INDEX, CENTRED_INDEX}
        assert bool(positive) == bool((mask == 1).any())


@given(samples())
def test_without_ignored_pixels_every_sample_with_objects_gets_a_click(sample):
    sample._ignored_regions = []
    sample.remove_small_objects(1)
    for hierarchy in (False, True):
        _, positive, _ = draw(MultiPointSampler(N, use_hierarchy=hierarchy), sample)
        assert bool(positive) == (len(sample) > 0)


def test_a_sample_without_objects_gives_an_empty_mask_and_no_positive_point():
    layers = np.zeros((10, 12), np.uint8)
    layers[:, 6:] = 1
    sampler, negatives = MultiPointSampler(N), []
    for _ in range(20):
        mask, positive, negative = draw(sampler, DSample(np.zeros((10, 12, 3), np.uint8), layers, objects={}))
        assert sampler.selected_mask.shape == (1, 10, 12) and not mask.any() and positive == []
        negatives += negative
    assert len(negatives) > 20 and all(y < 10 and x < 12 for y, x, _ in negatives)


def test_asking_before_choosing_is_an_error():
    with pytest.raises(RuntimeError, match="sample_object"):
        _ = MultiPointSampler(N).selected_mask
    with pytest.raises(RuntimeError, match="sample_object"):
        MultiPointSampler(N).sample_points()


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_num_points": 0},
        {"prob_gamma": 0},
        {"sfc_inner_k": 0.9},
        {"negative_bg_prob": 0.5},
        {"merge_objects_prob": 0.1, "max_num_merged_objects": 1},
    ],
)
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(ValueError):
        MultiPointSampler(**{"max_num_points": N, **parameters})


def test_each_further_point_is_less_probable_by_gamma():
    sample, sampler = two_objects(), MultiPointSampler(N, prob_gamma=0.5)
    draws = [draw(sampler, sample)[1:] for _ in range(3000)]
    positive, negative = (Counter(len(points) for points in kind) for kind in zip(*draws, strict=True))
    expected = 0.5 ** np.arange(N)
    np.testing.assert_allclose([positive[k + 1] / 3000 for k in range(N)], expected / expected.sum(), atol=0.03)
    expected = 0.5 ** np.arange(N + 1)
    np.testing.assert_allclose([negative[k] / 3000 for k in range(N + 1)], expected / expected.sum(), atol=0.03)


def test_every_object_is_asked_for():
    sampler = MultiPointSampler(N)
    areas = Counter(int(draw(sampler, two_objects())[0].sum()) for _ in range(200))
    assert set(areas) == {900, 1200} and min(areas.values()) > 60


@pytest.mark.parametrize("prob, margin", [(1.0, 4), (0.0, 0)])
def test_eroded_regions_keep_points_off_the_edge(prob, margin):
    sampler = MultiPointSampler(N, positive_erode_prob=prob, positive_erode_iters=4)
    nearest = []
    for _ in range(300):
        mask, positive, _ = draw(sampler, two_objects())
        padded = np.pad(mask.astype(np.uint8), 1)
        inside = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
        nearest += [inside[y, x] for y, x, _ in positive]
    assert min(nearest) == margin + 1


def test_objects_too_thin_to_erode_are_clicked_all_the_same():
    layers = np.zeros((30, 30, 1), np.uint8)
    layers[10:13, 5:25] = 1
    sample = make_sample(layers, {1: {"mapping": (0, 1)}})
    assert draw(MultiPointSampler(N, positive_erode_prob=1, positive_erode_iters=3), sample)[1]


def only(where: str, **kwargs) -> MultiPointSampler:
    shares = {f"negative_{name}_prob": float(name == where) for name in ("bg", "other", "border")}
    return MultiPointSampler(N, prob_gamma=1.0, **shares, **kwargs)


def test_negative_points_fall_where_their_share_says():
    for _ in range(50):
        mask, _, negative = draw(only("other"), two_objects())
        other = two_objects()._encoded_masks[:, :, 0] == (2 if mask[20, 20] else 1)
        assert all(other[y, x] for y, x, _ in negative)

        mask, _, negative = draw(only("border", expand_ratio=0.1), two_objects())
        width = int(np.ceil(0.1 * np.sqrt(mask.sum())))
        band = cv2.dilate(mask, np.ones((2 * width + 1, 2 * width + 1))) > mask
        assert all(band[y, x] for y, x, _ in negative)
    everywhere = {(y, x) for _ in range(300) for y, x, _ in draw(only("bg"), two_objects())[2]}
    assert len(everywhere) > 500


def test_the_only_object_has_the_background_for_others():
    layers = np.zeros((20, 20, 1), np.uint8)
    layers[5:15, 5:15] = 1
    sample = make_sample(layers, {1: {"mapping": (0, 1)}})
    assert sum(len(draw(only("other"), sample)[2]) for _ in range(20)) > 0


def test_merged_objects_are_one_target_with_a_click_on_each():
    sampler = MultiPointSampler(N, merge_objects_prob=1.0)
    for _ in range(20):
        mask, positive, _ = draw(sampler, two_objects())
        assert mask.sum() == 900 + 1200
        assert {x < 40 for _, x, _ in positive[:2]} == {True, False}


def test_one_first_click_is_enough_for_merged_objects_if_asked():
    sampler = MultiPointSampler(N, merge_objects_prob=1.0, only_one_first_click=True, first_click_center=True)
    draws = [draw(sampler, two_objects())[1] for _ in range(60)]
    assert all(sum(index == CENTRED_INDEX for *_, index in positive) == 1 for positive in draws)
    assert 1 in {len(positive) for positive in draws}


def test_a_centred_first_click_is_near_the_middle_and_has_index_0():
    sampler = MultiPointSampler(N, first_click_center=True, sfc_inner_k=1.5, positive_erode_prob=0)
    for _ in range(50):
        mask, positive, _ = draw(sampler, two_objects())
        distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        y, x, index = positive[0]
        assert index == CENTRED_INDEX and distance[y, x] >= distance.max() / 1.5
        assert all(index == SAMPLED_INDEX for *_, index in positive[1:])


def test_a_centred_click_may_fall_anywhere_with_the_given_probability():
    sampler = MultiPointSampler(N, first_click_center=True, sfc_inner_k=1, sfc_full_inner_prob=1, positive_erode_prob=0)
    first = {draw(sampler, two_objects())[1][0] for _ in range(100)}
    assert len(first) > 80 and {index for *_, index in first} == {CENTRED_INDEX}


def test_hierarchy_asks_for_parts_and_for_objects_with_parts_left_out():
    sampler = MultiPointSampler(N, use_hierarchy=True)
    seen = Counter(int(draw(sampler, object_with_parts())[0].sum()) for _ in range(400))
    # the object, less part 1, less part 2, less both; each part
    assert set(seen) == {1600, 1600 - 400, 1600 - 100, 1600 - 500, 400, 100}
    assert Counter(int(draw(MultiPointSampler(N), object_with_parts())[0].sum()) for _ in range(50)) == {1600: 50}


def test_what_is_left_out_gets_a_negative_click_and_small_parts_no_positive_one():
    sampler = MultiPointSampler(N, use_hierarchy=True, positive_erode_prob=0)
    layers = object_with_parts()._encoded_masks
    for _ in range(200):
        mask, positive, negative = draw(sampler, object_with_parts())
        if mask.sum() == 100 or mask.sum() == 400:  # a part: its object is not meant
            assert any(layers[y, x, 0] for y, x, _ in negative)
        else:
            assert not any(layers[y, x, 1] == 2 for y, x, _ in positive)
            for part in (1, 2):
                if not mask[layers[:, :, 1] == part].any():
                    assert any(layers[y, x, 1] == part for y, x, _ in negative)


def test_an_object_wholly_made_of_its_part_is_not_left_without_it():
    layers = np.ones((20, 20, 2), np.uint8)
    sample = make_sample(layers, {0: {"mapping": (0, 1), "children": [1]}, 1: {"mapping": (1, 1), "parent": 0}})
    sampler = MultiPointSampler(N, use_hierarchy=True)
    assert all(draw(sampler, sample)[0].sum() == 400 for _ in range(50))


def test_soft_targets_are_the_replayed_masks():
    sample = object_with_parts()
    sample.augment(A.ReplayCompose([A.Affine(rotate=(20, 20), scale=1.3, p=1)]))
    sampler = MultiPointSampler(N, use_hierarchy=True, soft_targets=True)
    between = 0
    for _ in range(20):
        mask, positive, negative = draw(sampler, sample)
        between += ((mask > 0) & (mask < 1)).sum()
        assert mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1
        assert positive and all(mask[y, x] > 0.5 for y, x, _ in positive)
        assert all(mask[y, x] <= 0.5 for y, x, _ in negative)
    assert between > 100
