"""Who clicks, and what from: exact, noisy and repeating users, and initial masks."""
import cv2
import numpy as np
import pytest

from utils.benchmark.annotations import DataError
from utils.benchmark.formats import Photo
from utils.benchmark.initial_masks import PERTURBED_IOU, perturb, read_initial_mask
from utils.benchmark.tasks import Task
from utils.clicker import Clicker
from utils.interactions import ExactUser, Noise, NoisyUser, ReplayUser

SHAPE = (80, 120)


def blob() -> np.ndarray:
    truth = np.zeros(SHAPE, np.int8)
    cv2.ellipse(truth, (60, 40), (40, 25), 20, 0, 360, 1, -1)
    return truth


def clicks_of(user, rounds: int, mask=None) -> list:
    for _ in range(rounds):
        user.click(np.zeros(SHAPE, bool) if mask is None else mask)
    return [(*click.coords, click.is_positive) for click in user.clicker.get_clicks()]


def test_the_exact_user_is_the_graders():
    mask = np.zeros(SHAPE, bool)
    mask[:50, :50] = True
    clicker = Clicker(gt_mask=blob())
    for _ in range(4):
        clicker.make_next_click(mask)
    assert clicks_of(ExactUser(blob()), 4, mask) == [(*c.coords, c.is_positive) for c in clicker.get_clicks()]


def test_without_noise_the_noisy_user_is_exact():
    assert clicks_of(NoisyUser(blob(), Noise(), 0, "a"), 5) == clicks_of(ExactUser(blob()), 5)


def test_noise_depends_on_seed_and_task_alone():
    noise = Noise(0.5, 0.3, 0.2)
    first = clicks_of(NoisyUser(blob(), noise, 0, "a"), 8)
    assert clicks_of(NoisyUser(blob(), noise, 0, "a"), 8) == first
    assert clicks_of(NoisyUser(blob(), noise, 1, "a"), 8) != first
    assert clicks_of(NoisyUser(blob(), noise, 0, "b"), 8) != first


def first_clicks(noise: Noise, count: int = 400) -> list:
    return [clicks_of(NoisyUser(blob(), noise, 0, str(i)), 1)[0] for i in range(count)]


def test_spread_clicks_lie_about_the_centre_within_the_error():
    truth = blob()
    ((y, x, _),) = clicks_of(ExactUser(truth), 1)
    drawn = first_clicks(Noise(spread=0.3))
    assert all(truth[row, column] == 1 and is_positive for row, column, is_positive in drawn)
    offsets = np.array([(row - y, column - x) for row, column, _ in drawn])
    radius = cv2.distanceTransform(np.pad(truth.view(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()
    assert offsets.mean(axis=0) == pytest.approx([0, 0], abs=1.5)
    assert offsets.std(axis=0) == pytest.approx(0.3 * radius, rel=0.15)


def test_rates_of_misses_and_wrong_signs():
    truth = blob()
    missed = np.mean([truth[row, column] != 1 for row, column, _ in first_clicks(Noise(outside=0.25))])
    wrong = np.mean([not is_positive for _, _, is_positive in first_clicks(Noise(wrong_sign=0.25))])
    assert missed == pytest.approx(0.25, abs=0.06) and wrong == pytest.approx(0.25, abs=0.06)
    assert all(truth[row, column] != 1 and p for row, column, p in first_clicks(Noise(outside=1.0), 50))


def test_a_miss_without_space_stays_inside():
    user = NoisyUser(np.ones(SHAPE, np.int8), Noise(outside=1.0), 0, "a")
    assert clicks_of(user, 1) == clicks_of(ExactUser(np.ones(SHAPE, np.int8)), 1)


def test_noisy_clicks_spare_ignored_pixels():
    truth = blob()
    truth[truth == 0] = -1
    truth[:, :40] = 0
    for i in range(100):
        ((row, column, _),) = clicks_of(NoisyUser(truth, Noise(0.5, 0.5), 0, str(i)), 1)
        assert truth[row, column] != -1


def test_without_an_error_the_noisy_user_does_as_the_exact_one():
    assert clicks_of(NoisyUser(blob(), Noise(0.5, 1.0), 0, "a"), 2, blob() == 1) == [(0, 0, False)] * 2


def test_a_replay_repeats_the_log():
    log = [(3, 4, True), (10, 90, False)]
    assert clicks_of(ReplayUser(log), 2) == log


# ------------------------------------------------------------------------------- initial masks


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_perturbation_has_the_ious_of_davis_585():
    truth, kinds = blob(), set()
    for i in range(40):
        mask = perturb(truth, 0, f"task {i}")
        assert PERTURBED_IOU[0] - 0.001 <= iou(mask, truth == 1) <= PERTURBED_IOU[1] + 0.001
        grown, inner = (mask & (truth != 1)).any(), np.zeros(SHAPE, bool)
        inner[40, 60] = True
        edge = (truth == 1) & ~cv2.erode(truth.view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        kinds.add("grown" if grown else "eroded" if not (mask & edge).any() else "part lost")
    assert kinds == {"grown", "eroded", "part lost"}


def test_perturbation_counts_without_the_ignored_band():
    truth = blob()
    band = cv2.dilate(truth.view(np.uint8), np.ones((9, 9), np.uint8)) > 0
    truth[band & (truth == 0)] = -1  # as around the objects of GrabCut
    grown = 0
    for i in range(20):
        mask = perturb(truth, 0, f"task {i}")
        assert PERTURBED_IOU[0] - 0.001 <= iou(mask & (truth != -1), truth == 1) <= PERTURBED_IOU[1] + 0.001
        grown += (mask & (truth == 0)).any()
        if (mask & (truth == 0)).any():
            assert mask[truth == -1].all()  # no ring apart from the object
    assert grown


def test_perturbation_is_the_same_again_and_differs_between_tasks():
    assert np.array_equal(perturb(blob(), 0, "a"), perturb(blob(), 0, "a"))
    assert any(not np.array_equal(perturb(blob(), 0, "a"), perturb(blob(), seed, "a")) for seed in (1, 2, 3))


def test_perturbation_of_objects_without_space_and_of_nothing():
    full = np.ones(SHAPE, np.int8)
    for i in range(12):
        assert 0.74 < iou(perturb(full, 0, str(i)), full == 1) < 0.86
    assert not perturb(np.zeros(SHAPE, np.int8), 0, "a").any()


def test_initial_masks_in_a_folder(tmp_path):
    photo = Photo("cat", tmp_path / "cat.jpg", (), "label map", "cat")
    task = Task("data", "cat#2", photo, 2, "")
    with pytest.raises(DataError, match="has no initial mask of cat#2: put cat_2.png there"):
        read_initial_mask(tmp_path, task, SHAPE)
    cv2.imwrite(str(tmp_path / "cat_2.png"), blob().view(np.uint8) * 255)
    assert np.array_equal(read_initial_mask(tmp_path, task, SHAPE), blob() == 1)
    with pytest.raises(DataError, match=r"cat_2.png is 120x80 pixels, its image 60x40"):
        read_initial_mask(tmp_path, task, (40, 60))
