"""The benchmark's figures: cases worked out by hand, and a second implementation that is slow and plain."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.metrics import (
    Scorer,
    area_under_curve,
    boundary,
    boundary_width,
    caps,
    is_failure,
    losses,
    mean_interval,
    number_of_clicks,
)

# ------------------------------------------------------------------------------- the same again, slowly


def slow_iou(a, b):
    both = either = 0
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            both += a[y, x] and b[y, x]
            either += a[y, x] or b[y, x]
    return both / either if either else 1.0


def slow_boundary(mask, width):
    """A pixel of the mask is in the band if a pixel at most `width` steps of a king away is off it or the image."""
    height, columns = mask.shape
    band = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for v in range(y - width, y + width + 1):
            for u in range(x - width, x + width + 1):
                if not (0 <= v < height and 0 <= u < columns and mask[v, u]):
                    band[y, x] = True
    return band


def slow_noc(ious, target, cap):
    for clicks, iou in enumerate(ious, 1):
        if clicks > cap:
            break
        if iou >= target:
            return clicks, False
    return cap, True


def slow_scores(mask, truth, width):
    mask, truth = mask & (truth != -1), truth == 1
    return slow_iou(mask, truth), slow_iou(slow_boundary(mask, width), slow_boundary(truth, width))


masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(np.int8, shape, elements=st.sampled_from([0, 1, -1])))
)


@given(masks)
def test_scores_equal_those_of_the_slow_implementation(pair):
    mask, truth = pair
    assert Scorer(truth).score(mask) == slow_scores(mask, truth, boundary_width(*truth.shape))


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 4))
def test_boundaries_equal_those_of_the_slow_implementation(mask, width):
    assert np.array_equal(boundary(mask, width), slow_boundary(mask, width))


@given(st.lists(st.sampled_from([0.5, 0.79999, 0.8, 0.85, 0.9, 1.0]), min_size=1, max_size=120), st.integers(1, 120))
def test_noc_equals_that_of_the_slow_implementation(ious, cap):
    for target in (0.8, 0.85, 0.9, 0.95):
        assert (number_of_clicks(ious, target, cap), is_failure(ious, target, cap)) == slow_noc(ious, target, cap)


# ------------------------------------------------------------------------------- worked out by hand


def square(size, top, left, side):
    mask = np.zeros((size, size), np.int8)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_iou_of_two_squares():
    truth, mask = square(100, 10, 10, 20), square(100, 20, 20, 20) == 1
    # 10 x 10 in both, 400 + 400 - 100 in either
    assert Scorer(truth).score(mask)[0] == 100 / 700


def test_boundary_iou_of_two_squares():
    # the diagonal is 141.4 pixels, 2 % of it are 2.8: a band of 3
    assert boundary_width(100, 100) == 3
    truth, mask = square(100, 10, 10, 20), square(100, 10, 10, 21) == 1
    # a frame of 20 x 20 less 14 x 14 is 204 pixels, one of 21 x 21 less 15 x 15 is 216. Both begin at (10, 10): the top
    # three rows share 3 x 20 and the left columns 17 x 3 below them. The right frames, columns 27 to 29 and 28 to 30,
    # share two columns, 28 and 29, in rows 13 to 29; the lower ones rows 28 and 29, in columns 13 to 27.
    shared = 3 * 20 + 17 * 3 + 17 * 2 + 15 * 2
    assert Scorer(truth).score(mask)[1] == shared / (204 + 216 - shared)


def test_boundary_iou_sees_an_edge_that_iou_hardly_sees():
    truth, mask = square(400, 50, 50, 300), square(400, 53, 53, 294) == 1
    iou, boundary_iou = Scorer(truth).score(mask)
    assert iou == 294**2 / 300**2
    # bands of 11 pixels: from 0 to 11 and from 3 to 14 inwards of the truth's edge
    assert boundary_width(400, 400) == 11
    shared = 294**2 - 278**2
    assert boundary_iou == shared / (300**2 - 278**2 + 294**2 - 272**2 - shared)


def test_the_images_edge_is_outside():
    assert np.array_equal(boundary(np.ones((5, 5), bool), 1), np.pad(np.zeros((3, 3), bool), 1, constant_values=True))


@pytest.mark.parametrize(("truth", "mask", "iou"), [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.0)])
def test_empty_masks(truth, mask, iou):
    assert Scorer(np.full((8, 8), truth, np.int8)).score(np.full((8, 8), bool(mask))) == (iou, iou)


def test_ignored_pixels_are_in_neither_mask():
    truth = square(50, 10, 10, 20)
    truth[10:30, 25:40] = -1  # the object's right quarter is unsure, and so is what lies beside it
    perfect = truth == 1
    spilling = perfect | (truth == -1)
    assert Scorer(truth).score(perfect) == Scorer(truth).score(spilling) == (1.0, 1.0)
    assert Scorer(truth).area == 20 * 15


def test_noc_and_failures():
    ious = [0.5, 0.84, 0.91, 0.7, 0.96]
    assert [number_of_clicks(ious, t, 20) for t in (0.80, 0.85, 0.90, 0.95)] == [2, 3, 3, 5]
    assert number_of_clicks(ious, 0.97, 20) == 20 and is_failure(ious, 0.97, 20)
    assert number_of_clicks(ious, 0.95, 4) == 4 and is_failure(ious, 0.95, 4)
    assert number_of_clicks([0.85], 0.85, 20) == 1  # at least, not above
    assert not is_failure([0.0] * 19 + [0.9], 0.9, 20)
    assert is_failure([0.0] * 20 + [0.9], 0.9, 20) and not is_failure([0.0] * 20 + [0.9], 0.9, 100)


def test_caps():
    assert caps(100) == caps(150) == (20, 100)
    assert caps(20) == caps(99) == (20,)
    assert caps(5) == (5,)


def test_area_under_curve():
    assert area_under_curve([0.5, 1.0]) == 0.75
    assert area_under_curve([0.2, 0.6, 1.0]) == pytest.approx((0.4 + 0.8) / 2)
    assert area_under_curve([0.7]) == 0.7


def test_losses_are_what_each_interaction_took():
    assert losses([0.5, 0.4, 0.9, 0.84]) == pytest.approx([0, 0.1, 0, 0.06])
    assert losses([0.5, 0.6], 0.8) == pytest.approx([0.3, 0])


# ------------------------------------------------------------------------------- intervals


def test_an_interval_by_hand():
    # two clusters, 0 and 1: a draw gives 0, 1/2 (half of the draws) or 1, so that the percentiles are 0 and 1
    mean, low, high = mean_interval(np.array([[0.0], [1.0]]), ["a", "b"])
    assert (mean[0], low[0], high[0]) == (0.5, 0.0, 1.0)


def test_a_cluster_is_drawn_as_a_whole():
    random = np.random.default_rng(0)
    of_cluster = np.repeat(random.normal(size=40), 25)[:, None]
    clusters = [str(i // 25) for i in range(1000)]
    _, low, high = mean_interval(of_cluster, clusters)
    _, low_alone, high_alone = mean_interval(of_cluster, [str(i) for i in range(1000)])
    # 25 equal tasks a cluster: the standard error is sqrt(25) times as large as that of independent tasks
    assert 4 < (high - low)[0] / (high_alone - low_alone)[0] < 6


def test_intervals_have_the_width_of_theory_and_cover():
    random, covered = np.random.default_rng(1), 0
    for i in range(60):
        mean, low, high = mean_interval(random.normal(size=(100, 1)), [str(k) for k in range(100)], draws=300, seed=i)
        covered += bool(low[0] <= 0 <= high[0])
        assert low[0] < mean[0] < high[0]
        assert (high - low)[0] == pytest.approx(2 * 1.96 / 10, rel=0.4)
    assert 51 <= covered <= 59


def test_clusters_of_different_sizes_weigh_by_their_tasks():
    values, clusters = np.array([[0.0]] * 9 + [[1.0]]), ["a"] * 9 + ["b"]
    assert mean_interval(values, clusters)[0][0] == pytest.approx(0.1)


def test_one_cluster_has_no_interval():
    mean, low, high = mean_interval(np.array([[0.2, 1.0], [0.4, 3.0]]), ["a", "a"])
    assert mean.tolist() == [pytest.approx(0.3), 2.0]
    assert all(math.isnan(x) for x in (*low, *high))


def test_intervals_are_the_same_again():
    values, clusters = np.random.default_rng(2).random((30, 3)), [str(i // 2) for i in range(30)]
    first, second = mean_interval(values, clusters), mean_interval(values, clusters)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
