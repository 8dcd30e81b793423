"""The robot user against the protocol, spelled out slowly."""
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.clicker import Click, Clicker
from utils.datasets import TestDataset

SMALL = st.tuples(st.integers(1, 9), st.integers(1, 9))


def slow_squared_distances(region: np.ndarray) -> np.ndarray:
    """To the nearest pixel that is not in the region; a frame of one pixel around the image is not."""
    padded = np.pad(region, 1)
    outside = np.argwhere(~padded)
    distances = np.zeros(region.shape, int)
    for y, x in np.argwhere(region):
        distances[y, x] = ((outside - (y + 1, x + 1)) ** 2).sum(axis=1).min()
    return distances


def slow_next_click(gt: np.ndarray, pred: np.ndarray, clicked: set[tuple[int, int]]) -> tuple[bool, tuple[int, int]]:
    """The protocol as it is told: labels 1, 0 and -1 (ignored) in gt."""
    missed = slow_squared_distances((gt == 1) & ~pred)
    false = slow_squared_distances((gt == 0) & pred)
    for pixel in clicked:
        missed[pixel] = false[pixel] = 0
    is_positive = missed.max() > false.max()
    distances = missed if is_positive else false
    y, x = np.argwhere(distances == distances.max())[0]
    return bool(is_positive), (int(y), int(x))


@st.composite
def dialogues(draw) -> tuple[np.ndarray, list[np.ndarray]]:
    shape = draw(SMALL)
    gt = draw(arrays(np.int32, shape, elements=st.sampled_from([0, 1, 1, 0, -1])))
    return gt, draw(st.lists(arrays(bool, shape), min_size=1, max_size=4))


@given(dialogues())
def test_clicks_are_those_of_the_slow_reference(dialogue):
    gt, predictions = dialogue
    clicker, clicked = Clicker(gt), set()
    for pred in predictions:
        expected = slow_next_click(gt, pred, clicked)
        clicker.make_next_click(pred)
        assert (clicker.clicks_list[-1].is_positive, clicker.clicks_list[-1].coords) == expected
        clicked.add(expected[1])


def full_frame_click(gt: np.ndarray, pred: np.ndarray) -> tuple[bool, tuple[int, int]]:
    """The grader's way: one transform of the whole padded frame for each kind of error, rounded to whole squares."""
    missed, false = (
        np.rint(cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 0)[1:-1, 1:-1] ** 2)
        for region in (gt & ~pred, pred & ~gt)
    )
    distances = missed if missed.max() > false.max() else false
    y, x = np.argwhere(distances == distances.max())[0]
    return bool(missed.max() > false.max()), (int(y), int(x))


def blob(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), float(rng.uniform(2, 20)))
    return noise > np.quantile(noise, rng.uniform(0.2, 0.95))


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 200))
def test_the_error_region_s_box_gives_the_same_click_as_the_whole_frame(seed, height, width):
    rng = np.random.default_rng(seed)
    gt, pred = blob(rng, (height, width)), blob(rng, (height, width))
    clicker = Clicker(gt)
    clicker.make_next_click(pred)
    assert (clicker.clicks_list[0].is_positive, clicker.clicks_list[0].coords) == full_frame_click(gt, pred)


@pytest.mark.parametrize("folder", ["00_test_davis_input", "01_test_grabcut_input"])
def test_first_clicks_on_real_masks_are_the_grader_s(shared_data, folder):
    dataset = TestDataset(shared_data / "tests" / folder / "imgs", shared_data / "tests" / folder / "masks")
    for index in range(0, len(dataset), len(dataset) // 10):
        gt = dataset.get_sample(index).gt_mask
        clicker = Clicker(gt)
        clicker.make_next_click(np.zeros_like(gt))
        expected = full_frame_click(gt == 1, np.zeros(gt.shape, bool))
        assert (clicker.clicks_list[0].is_positive, clicker.clicks_list[0].coords) == expected


def test_the_number_of_threads_does_not_move_clicks():
    rng, clicks = np.random.default_rng(5), []
    pairs = [(blob(rng, (150, 170)), blob(rng, (150, 170))) for _ in range(20)]
    threads = cv2.getNumThreads()
    try:
        for number in (1, 2):
            cv2.setNumThreads(number)
            for gt, pred in pairs:
                clicker = Clicker(gt)
                for _ in range(3):
                    clicker.make_next_click(pred)
                clicks.append([click.coords_and_indx for click in clicker.get_clicks()])
    finally:
        cv2.setNumThreads(threads)
    assert clicks[:20] == clicks[20:]


def test_of_equal_distances_the_click_is_negative_and_the_first_in_row_major_order():
    gt, pred = np.zeros((7, 9), int), np.zeros((7, 9), bool)
    gt[1:4, 0:3] = 1  # missed: distance 2 at (2, 1)
    pred[3:6, 4:8] = True  # false: distance 2 at (4, 5) and (4, 6)
    clicker = Clicker(gt)
    clicker.make_next_click(pred)
    assert clicker.clicks_list == [Click(False, (4, 5), 0)]


def test_without_an_error_clicks_are_negative_in_the_corner_even_on_the_object():
    gt = np.ones((5, 6), np.int32)
    clicker = Clicker(gt)
    for _ in range(3):
        clicker.make_next_click(gt)
    assert [(c.is_positive, c.coords) for c in clicker.clicks_list] == [(False, (0, 0))] * 3


def test_ignored_pixels_are_no_error():
    gt = np.full((6, 6), 255)
    gt[0, 0] = 0
    clicker = Clicker(gt, ignore_label=255)
    clicker.make_next_click(np.ones((6, 6)))
    assert clicker.clicks_list == [Click(False, (0, 0), 0)]
    clicker.make_next_click(np.zeros((6, 6)))
    assert clicker.clicks_list[-1].is_positive is False


def test_clicks_are_plain_numbers_even_if_given_as_numpy_s():
    click = Click(np.True_, (np.int64(3), np.float32(1.5)), np.int64(2))
    assert [type(v) for v in (click.is_positive, *click.coords)] == [bool, int, float]
    clicker = Clicker(np.eye(4))
    clicker.make_next_click(np.zeros((4, 4), np.int32))
    made = clicker.clicks_list[0]
    assert [type(v) for v in (made.is_positive, *made.coords_and_indx)] == [bool, int, int, int]


def test_click_copy_changes_only_what_is_named():
    click = Click(True, (1, 2), 3)
    assert click.copy(coords=(4.5, 6.0)) == Click(True, (4.5, 6.0), 3)
    assert click.copy(is_positive=False).coords_and_indx == (1, 2, 3)
    assert click.coords == (1, 2)


def test_indices_counts_limits_and_length():
    clicker = Clicker(init_clicks=[Click(True, (1, 2)), Click(False, (3, 4))], click_indx_offset=5)
    clicker.add_click(Click(True, (0, 0), indx=77))
    assert [click.indx for click in clicker.get_clicks()] == [5, 6, 7]
    assert (len(clicker), clicker.num_pos_clicks, clicker.num_neg_clicks) == (3, 2, 1)
    assert clicker.get_clicks(clicks_limit=2) == clicker.clicks_list[:2]
    assert clicker.not_clicked_map is None
    clicker.reset_clicks()
    assert (len(clicker), clicker.num_pos_clicks, clicker.num_neg_clicks) == (0, 0, 0)


def test_state_can_be_kept_and_brought_back():
    clicker = Clicker(np.ones((4, 4)))
    for _ in range(2):
        clicker.make_next_click(np.zeros((4, 4)))
    state, unclicked = clicker.get_state(), clicker.not_clicked_map.copy()
    clicker.make_next_click(np.zeros((4, 4)))
    assert len(state) == 2
    clicker.set_state(state)
    assert clicker.clicks_list == state
    np.testing.assert_array_equal(clicker.not_clicked_map, unclicked)


def test_removing_the_last_click_frees_its_pixel_unless_an_earlier_click_holds_it():
    clicker = Clicker(np.ones((4, 4)), init_clicks=[Click(True, (1, 1)), Click(False, (2, 2)), Click(True, (1, 1))])
    clicker._remove_last_click()
    assert not clicker.not_clicked_map[1, 1] and clicker.num_pos_clicks == 1
    clicker._remove_last_click()
    assert clicker.not_clicked_map[2, 2] and clicker.num_neg_clicks == 0
    clicker._remove_last_click()
    assert clicker.not_clicked_map.all()
    with pytest.raises(ValueError, match="no click"):
        clicker._remove_last_click()


@pytest.mark.parametrize("coords", [(-1, 0), (0, -0.5), (4, 0), (0, 5)])
def test_a_click_outside_the_ground_truth_is_refused(coords):
    clicker = Clicker(np.ones((4, 5)))
    with pytest.raises(ValueError, match="outside"):
        clicker.add_click(Click(True, coords))
    assert len(clicker) == 0 and clicker.not_clicked_map.all()


def test_bad_masks_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(5, 4\)|\(5, 4\).*\(4, 5\)"):
        Clicker(np.ones((4, 5))).make_next_click(np.ones((5, 4)))
    with pytest.raises(ValueError, match="needs a ground truth"):
        Clicker().make_next_click(np.ones((5, 4)))
    with pytest.raises(ValueError, match="label 255"):
        Clicker(np.full((3, 3), 255, np.uint8))
    with pytest.raises(ValueError, match=r"must be \(H, W\)"):
        Clicker(np.ones((3, 3, 3)))
