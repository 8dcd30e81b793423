"""Training: the stream of samples, rehearsed clicks, losses, and runs that stop, go on, fail and end as they should."""
from __future__ import annotations

import csv
import dataclasses
import errno
import json
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import albumentations
import cv2
import numpy as np
import pytest
import torch
import torchvision
from conftest import ANNOTATION, COCO_IDS, write_photo
from hypothesis import given, settings
from hypothesis import strategies as st

import solution
from solution import ClickSamples, Group, ISModel, NetworkConfig, Predictor, Recipe, Run, TrainingError, find_photos
from utils import training
from utils.clicker import Clicker
from utils.files import folder_lock
from utils.training import recipe_from, training_record

CPU = torch.device("cpu")
PROJECT = Path(solution.__file__).resolve().parent
CHECKPOINT = PROJECT / "checkpoint.pth"
SCENES = Path(__file__).with_name("00_sample_input")
VAL_IDS = ("000000000101", "000000000102")
TINY = Recipe(samples=24, batch_size=4, resolutions=((0, 32),), min_area=500, working_size=32, rounds=(0.6, 0.4))


@pytest.fixture
def folder(coco_lvis: Path) -> Path:
    """The small COCO_LVIS folder, with a split to validate on."""
    split = coco_lvis / "val"
    for part in ("images", "masks"):
        (split / part).mkdir(parents=True)
    for image_id in VAL_IDS:
        write_photo(split, image_id)
    (split / "hannotation.pickle").write_bytes(pickle.dumps(dict.fromkeys(VAL_IDS, ANNOTATION)))
    return coco_lvis


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, so that runs can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(folder: Path, out: Path, recipe: Any = TINY, **changes: Any) -> Path:
    """A short training from random weights, in this process alone."""
    options = {"data": "all", "pretrained": False, "device": "cpu", "workers": 0, "validation_objects": 1,
               "epoch_samples": 10_000, "patience": 0, **changes}
    return solution.train_segmentation(folder, out, recipe, **options)


def same(one: Any, other: Any) -> bool:
    """Whether two nested containers hold the same, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def learnt(out: Path) -> dict[str, Any]:
    """What a run has learnt, of its state on disk."""
    state = torch.load(out / "state.pth", weights_only=True)
    return {name: state[name] for name in ("model", "ema_model", "optimizer", "batch")}


@pytest.fixture(scope="module")
def memory() -> dict[str, Any]:
    """What tests of this file need not work out twice."""
    return {}


@pytest.fixture
def uninterrupted(folder: Path, tmp_path: Path, memory: dict[str, Any], one_thread: None) -> dict[str, Any]:
    """What the tiny recipe learns from the small folder when nothing interrupts it."""
    if not memory:
        train(folder, tmp_path / "whole")
        memory.update(learnt(tmp_path / "whole"))
    return memory


# ------------------------------------------------------------------------------------------------ samples


def test_a_sample_depends_on_its_seed_and_number_only(folder):
    recipe = dataclasses.replace(TINY, p_paste=0.5)
    photos = find_photos(folder)
    forwards = [ClickSamples(photos, recipe)[i] for i in range(12)]
    again = ClickSamples(photos, recipe)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 (a library might draw from it)
    for i in (7, 3, 11, 3, 0):
        assert same(again[i], forwards[i])
    other = ClickSamples(photos, dataclasses.replace(recipe, seed=1))
    assert sum(same(other[i], forwards[i]) for i in range(12)) == 0
    assert len({sample["images"].numpy().tobytes() for sample in forwards}) == 12


def test_loader_workers_make_the_same_samples(folder):
    data = ClickSamples(find_photos(folder), TINY)
    batches = solution.sample_batches(TINY, 0, Group())
    loader = torch.utils.data.DataLoader(data, batch_sampler=batches, num_workers=2,
                                         worker_init_fn=solution._quiet_worker)
    for batch, numbers in zip(loader, batches, strict=True):
        assert torch.equal(batch["images"], torch.stack([data[i]["images"] for i in numbers]))


def test_samples_are_what_their_docstring_says(folder):
    recipe = dataclasses.replace(TINY, p_more_points=1.0, p_paste=0.5)
    for sample in (ClickSamples(find_photos(folder), recipe)[i] for i in range(40)):
        height, width = solution.batch_shape(recipe, 0)
        truth, points = sample["instances"], sample["points"]
        assert sample["images"].shape[0] == 3 and sample["images"].shape[1:] == truth.shape[1:]
        assert sample["images"].dtype == truth.dtype == torch.uint8 and set(truth.unique().tolist()) <= {0, 1}
        assert sample["id"] in COCO_IDS and sample["problems"] == "" and height > 0 < width
        for kind, rows in ((1, points[: len(points) // 2]), (0, points[len(points) // 2 :])):
            for y, x, index in rows.int().tolist():
                assert index in (-1, 0, 100) and (index == -1 or truth[0, y, x] == kind)
        assert points[0, 2] >= 0  # there is always a first click


def test_processes_share_every_batch():
    recipe = dataclasses.replace(TINY, samples=26)
    alone = solution.sample_batches(recipe, 1, Group())
    shares = [solution.sample_batches(recipe, 1, Group(rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*shares, strict=True)] == alone
    assert alone[0] == [4, 5, 6, 7] and alone[-1] == [20, 21, 22, 23]  # no batch is begun that can't be filled


@pytest.mark.parametrize("size", [3, 4])
def test_processes_that_cannot_share_are_refused(size):
    with pytest.raises(TrainingError, match="can't share batches of 4"):
        Run(TINY, ISModel(), Group(0, size))


def test_stuff_and_parts_are_asked_for_as_often_as_said(folder):
    photo = find_photos(folder)[0]
    sample = photo.dataset.get_sample(0)
    areas = {"root": (2500, 2000), "part": (400,), "stuff": (26 * 128,)}

    def kinds(**changes: float) -> set[str]:
        recipe = dataclasses.replace(TINY, **{"p_stuff": 0.0, "p_part": 0.0, "p_merge": 0.0, **changes})
        rng = np.random.default_rng(0)
        found = {int(solution.choose_object(rng, sample, photo.instances, 100, recipe).sum()) for _ in range(30)}
        return {kind for kind, sizes in areas.items() if found & set(sizes)}

    assert kinds() == {"root"} and kinds(p_stuff=1.0) == {"stuff"} and kinds(p_part=1.0) == {"root", "part"}
    recipe = dataclasses.replace(TINY, p_stuff=0.0, p_part=0.0)
    assert solution.choose_object(np.random.default_rng(0), sample, photo.instances, 10**6, recipe) is None


def test_a_pasted_object_hides_what_lies_below():
    image, other = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8)
    mask, over = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    mask[2:18, 2:18], over[10:14, 10:14] = True, True
    answers = set()
    for seed in range(20):
        scene = solution._paste(np.random.default_rng(seed), solution.Scene(image, mask), solution.Scene(other, over))
        assert np.array_equal(scene.image[..., 0] == 200, over)
        answers.add(scene.mask.tobytes())
    assert answers == {over.tobytes(), (mask & ~over).tobytes()}


def test_brightness_keeps_the_order_of_dark_pixels():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    recipe = dataclasses.replace(TINY, p_brightness=1.0, p_color_shift=0.0, p_gray=0.0, p_blur=0.0, p_jpeg=0.0)
    for seed in range(20):
        changed = solution.change_colours(np.random.default_rng(seed), ramp, recipe)
        assert (np.diff(changed[0, :, 0].astype(int)) >= 0).all()


# ------------------------------------------------------------------------------------------------ augmentators


def test_albumentations_compose_is_taken(folder):
    photos = find_photos(folder)
    compose = albumentations.Compose([albumentations.HorizontalFlip(p=0.5), albumentations.RandomCrop(24, 24),
                                      albumentations.CoarseDropout(p=0.5)])
    data = ClickSamples(photos, TINY, compose)
    first = [data[i] for i in range(6)]
    assert all(s["images"].shape[1:] == ClickSamples(photos, TINY)[i]["images"].shape[1:] for i, s in enumerate(first))
    assert all(same(data[i], first[i]) for i in (4, 1, 3))  # its draws too depend on the sample's number only


def test_own_augmentators_may_draw_from_any_global_generator(folder):
    def noisy(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        change = np.random.randint(-60, 60) + random.randint(0, 9) + int(torch.randint(9, (1,)))  # noqa: NPY002
        return {"image": np.clip(image.astype(int) + change, 0, 255).astype(np.uint8), "mask": mask}

    data = ClickSamples(find_photos(folder), TINY, noisy)
    first = [data[i] for i in range(4)]
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    assert all(same(data[i], first[i]) for i in (3, 1, 1, 0))
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_an_augmentator_are_sentences(folder, tmp_path, workers):
    def broken(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        raise KeyError("colour")

    run = Run(TINY, ISModel())
    with pytest.raises(TrainingError, match=r"^the augmentator failed: KeyError: 'colour'$"):
        next(solution.load_batches(run, ClickSamples(find_photos(folder), TINY, broken), workers))


def test_an_augmentator_that_loses_the_object_is_not_applied(folder):
    def lose(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": 255 - image, "mask": np.zeros_like(mask)}

    photos = find_photos(folder)
    assert all(same(ClickSamples(photos, TINY, lose)[i], ClickSamples(photos, TINY)[i]) for i in range(4))


def test_an_augmentator_that_gives_no_picture_is_refused(folder):
    data = ClickSamples(find_photos(folder), TINY, albumentations.Compose([albumentations.Normalize()]))
    with pytest.raises(TrainingError, match="no Normalize"):
        data[0]


# ------------------------------------------------------------------------------------------------ clicks


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A ragged region (height, width) bool; sometimes empty or full."""
    noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), rng.uniform(0.4, 4))
    return noise > rng.choice([0.0, 0.45, 0.5, 0.55, 1.0])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=60)
def test_distances_on_a_gpu_are_opencvs(height, width, seed):
    rng = np.random.default_rng(seed)
    regions = np.stack([blob(rng, height, width) for _ in range(3)])
    brute = solution.brute_edge_distances(torch.from_numpy(regions))
    opencv = solution.batch_edge_distances(torch.from_numpy(regions))
    assert brute.dtype == opencv.dtype == torch.float32
    assert torch.equal(torch.round(brute**2), torch.round(opencv**2))
    assert torch.allclose(brute, opencv, rtol=1e-6, atol=0)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 10**6))
@settings(max_examples=60)
def test_exact_clicks_are_the_graders(height, width, seed):
    rng = np.random.default_rng(seed)
    truths, masks = (np.stack([blob(rng, height, width) for _ in range(4)]) for _ in range(2))
    clicks, wanted = solution.next_clicks(*map(torch.from_numpy, (truths, masks)), torch.ones(4, dtype=torch.bool),
                                          torch.rand(4, height, width))
    for truth, mask, click, is_wanted in zip(truths, masks, clicks.tolist(), wanted.tolist(), strict=True):
        clicker = Clicker(gt_mask=truth.astype(np.int32))
        clicker.make_next_click(mask)
        assert is_wanted == bool((truth != mask).any())
        assert click == [*clicker.get_clicks()[0].coords, clicker.get_clicks()[0].is_positive]


def test_other_clicks_lie_deep_in_the_same_error():
    truth, mask = torch.zeros(1, 40, 40, dtype=torch.bool), torch.zeros(1, 40, 40, dtype=torch.bool)
    truth[0, 5:30, 5:30] = True
    places = set()
    for _ in range(30):
        (click,), _ = solution.next_clicks(truth, mask, torch.zeros(1, dtype=torch.bool), torch.rand(1, 40, 40))
        y, x, positive = click.int().tolist()
        assert positive and min(y - 4, 30 - y, x - 4, 30 - x) > 13 / 2
        places.add((y, x))
    assert len(places) > 10


def test_clicks_are_added_in_rows_of_their_kind():
    points = torch.tensor([[[1.0, 2, 0], [3, 4, 100]], [[5, 6, 0], [-1, -1, -1]], [[7, 8, 0], [-1, -1, -1]]])
    before = points.clone()
    clicks = torch.tensor([[10.0, 11, 1], [12, 13, 0], [14, 15, 0]])
    added = solution.add_clicks(points, clicks, torch.tensor([True, True, False]), 2)
    none = [-1, -1, -1]
    assert added.tolist() == [
        [[1, 2, 0], [10, 11, 2], [3, 4, 100], none],
        [[5, 6, 0], none, none, [12, 13, 2]],
        [[7, 8, 0], none, none, none],
    ]
    assert torch.equal(points, before)
    for _ in range(20):  # never is there no room
        added = solution.add_clicks(added, clicks, torch.tensor([True, True, True]), 3)
    assert (added[0, : added.shape[1] // 2, 2] >= 0).sum() == 22


def test_rounds_are_played_in_evaluation_mode():
    torch.manual_seed(0)
    model = ISModel().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, truth = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    truth[:, :, 8:20, 8:20] = 1
    points = torch.full((2, 6, 3), -1.0)
    points[:, 0] = torch.tensor([14.0, 14, 0])
    previous, played = solution.click_rounds(model, images, truth, points, 2, TINY, torch.Generator().manual_seed(0))
    assert model.training and not previous.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # BatchNorm above all
    assert played.shape == (2, 10, 3) and previous.min() > 0 and previous.max() < 1
    assert set(played[..., 2].unique().tolist()) == {-1, 0, 1, 2}
    assert torch.equal(solution.click_rounds(model, images, truth, points, 0, TINY, torch.Generator())[0],
                       torch.zeros_like(truth))


# ------------------------------------------------------------------------------------------------ losses, schedule


def test_normalized_focal_loss_by_hand():
    # two pixels of one sample: the object with p = 1/4, the background with p = 1/2; misses 3/4 and 1/2
    logits = torch.tensor([[[[-np.log(3.0), 0.0]]]], dtype=torch.float64)
    truth = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    weights = np.array([9 / 16, 4 / 16]) / ((9 / 16 + 4 / 16) / 2)
    expected = (0.5 * weights * np.array([np.log(4), np.log(2)])).mean()
    assert solution.normalized_focal_loss(logits, truth).item() == pytest.approx(expected, rel=1e-6)
    # gamma 0 and alpha 1/2 is half of the cross-entropy, alpha weighs the object
    plain = solution.normalized_focal_loss(logits, truth, alpha=0.5, gamma=0.0).item()
    assert plain == pytest.approx(0.5 * (np.log(4) + np.log(2)) / 2, rel=1e-6)
    tilted = solution.normalized_focal_loss(logits, truth, alpha=0.9, gamma=0.0).item()
    assert tilted == pytest.approx((0.9 * np.log(4) + 0.1 * np.log(2)) / 2, rel=1e-6)


def test_soft_iou_loss_by_hand():
    logits = torch.tensor([[[[-np.log(3.0), 0.0]]]])
    truth = torch.tensor([[[[1.0, 0.0]]]])
    assert solution.soft_iou_loss(logits, truth).item() == pytest.approx(1 - 0.25 / (1.0 + 0.5), rel=1e-5)


@pytest.mark.parametrize("loss", [solution.normalized_focal_loss, solution.soft_iou_loss])
def test_losses_are_per_sample_and_finite(loss):
    rng = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(3, 1, 9, 9, generator=rng), (torch.rand(3, 1, 9, 9, generator=rng) > 0.5).float()
    values = loss(logits, truth)
    assert values.shape == (3,)
    assert torch.allclose(values[1:2], loss(logits[1:2], truth[1:2]))
    for extreme in (60.0, -60.0):
        sure = torch.full((1, 1, 4, 4), extreme, requires_grad=True)
        for answer in (0.0, 1.0):
            value = loss(sure, torch.full((1, 1, 4, 4), answer))
            value.sum().backward()
            assert value.isfinite().all() and sure.grad.isfinite().all()


@given(st.integers(100, 10**6), st.floats(0.0, 0.1), st.floats(0.0, 0.9), st.floats(0.0, 0.3))
def test_the_schedule_rises_stays_falls_and_ends_at_its_minimum(samples, warm_up, hold, lr_min):
    warm_up, hold = int(samples * warm_up), int(samples * hold)
    recipe = dataclasses.replace(Recipe(), samples=samples, warm_up=warm_up, lr_hold=hold, lr_min=lr_min)
    factors = [solution.lr_factor(recipe, round(samples * k / 50)) for k in range(51)]
    assert factors[-1] == pytest.approx(lr_min) and solution.lr_factor(recipe, 2 * samples) == pytest.approx(lr_min)
    assert all(lr_min - 1e-9 <= f <= 1 + 1e-9 for f in factors)
    peak = int(np.argmax(factors))
    assert all(np.diff(factors[: peak + 1]) >= 0) and all(np.diff(factors[peak:]) <= 1e-12)
    for steady in (warm_up, max(warm_up, hold)):
        assert solution.lr_factor(recipe, steady) == pytest.approx(1)
    middle = solution.lr_factor(recipe, (samples + max(warm_up, hold)) / 2)
    assert middle == pytest.approx((1 + lr_min) / 2)


def test_runs_of_different_seeds_are_validated_on_the_same_objects(folder):
    model = solution.ISModel(config=solution.NetworkConfig(working_size=32)).eval()
    photos = solution.find_photos(folder)
    recipes = [dataclasses.replace(TINY, seed=seed) for seed in range(3)]
    games = [solution.validate(model, photos, recipe, len(photos))[1] for recipe in recipes]
    assert len(games[0]) > 1 and all(len(played) == len(games[0]) for played in games)
    for played in games[1:]:
        assert all(np.array_equal(mask, first) for (_, mask, _), (_, first, _) in zip(played, games[0], strict=True))


def test_inputs_grow_as_the_recipe_says():
    recipe = Recipe(samples=1000, batch_size=10, resolutions=((0, 128), (400, 160), (750, 224)))
    areas = [np.prod(solution.batch_shape(recipe, batch)) for batch in range(100)]
    for begin, end, side in ((0, 40, 128), (40, 75, 160), (75, 100, 224)):
        assert all(0.8 < area / side**2 < 1.25 for area in areas[begin:end])


def test_pretrained_layers_learn_slowly_and_norms_do_not_decay():
    model = ISModel()
    groups = solution._parameter_groups(model, Recipe())
    placed = {id(p): group for group in groups for p in group["params"]}
    assert len(placed) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        group = placed[id(parameter)]
        slow = name.startswith("backbone.") and name != "backbone.0.0.weight"
        assert group["factor"] == (Recipe().backbone_lr if slow else 1.0), name
        assert (group["weight_decay"] > 0) == (parameter.ndim > 1), name


# ------------------------------------------------------------------------------------------------ runs


def test_a_run_leaves_what_it_promises(folder, tmp_path):
    compose = albumentations.Compose([albumentations.VerticalFlip()])
    last = train(folder, tmp_path, epoch_samples=12, augmentator=compose)
    assert last == tmp_path / "checkpoints" / "last_checkpoint.pth"
    with open(tmp_path / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["samples"]) for row in rows] == [0, 12, 24]
    assert all(0 <= float(row[f"iou@{k}"]) <= 1 for row in rows for k in (1, 2, 3))
    for name in ("loss.svg", "iou.svg"):
        assert "<polyline" in (tmp_path / "vis" / name).read_text(encoding="utf-8")
    for name in ("samples_00000012.jpg", "samples_00000024.jpg"):
        assert cv2.imread(str(tmp_path / "vis" / name)).shape[0] > 50, name
    for name in ("last_checkpoint.pth", "best.pth"):
        model = ISModel()
        model.restore_from_checkpoint(tmp_path / "checkpoints" / name, CPU)
        assert model.config.working_size == 32
    training = torch.load(last, weights_only=True)["training"]
    assert training["ids"] == list(COCO_IDS) and training["held_out"] == list(VAL_IDS)
    (phase,) = training["phases"]
    assert phase["samples"] == 24 and phase["metrics"]["iou@3"] == float(rows[2]["iou@3"])
    assert [seen for seen, _ in phase["losses"]] == [4, 8, 12, 16, 20, 24]
    assert not list(tmp_path.rglob("*.tmp"))
    assert torch.load(tmp_path / "state.pth", weights_only=True)["batch"] == 6
    assert train(folder, tmp_path) == last  # a run that is finished stays so


def test_epochs_count_photos_and_scale_the_schedule(folder, tmp_path):
    recipe = dataclasses.replace(TINY, lr_hold=12, resolutions=((0, 32), (12, 48)))
    last = train(folder, tmp_path, recipe, epochs=4)  # of three photos each
    kept = recipe_from(torch.load(last, weights_only=True)["training"]["phases"][0]["recipe"])
    assert kept == dataclasses.replace(recipe, samples=12, lr_hold=6, warm_up=960, resolutions=((0, 32), (6, 48)))
    with pytest.raises(TrainingError, match="3 samples are not even one batch of 4"):
        train(folder, tmp_path / "other", dataclasses.replace(TINY, samples=3))


def test_a_run_goes_on_after_its_time_limit(folder, tmp_path, uninterrupted, capsys):
    train(folder, tmp_path / "parts", minutes=0)
    assert learnt(tmp_path / "parts")["batch"] == 1
    assert "stopped after 4 samples; the same command goes on" in capsys.readouterr().out
    stopped = torch.load(tmp_path / "parts" / "checkpoints" / "last_checkpoint.pth", weights_only=True)
    assert stopped["training"]["phases"][0]["samples"] == 4
    train(folder, tmp_path / "parts", minutes=0)
    train(folder, tmp_path / "parts")
    assert same(learnt(tmp_path / "parts"), uninterrupted)


def test_a_run_is_not_resumed_with_another_recipe_or_other_photos(folder, tmp_path):
    train(folder, tmp_path, minutes=0)
    with pytest.raises(TrainingError, match=r"lr 0.0005 there, 0.001 here.*another output folder"):
        train(folder, tmp_path, dataclasses.replace(TINY, lr=1e-3))
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    unnamed = {name: value for name, value in state.items() if name != "photos"}  # as before photos were noted
    for other in ({**state, "photos": "of another list"}, unnamed):
        torch.save(other, tmp_path / "state.pth")
        with pytest.raises(TrainingError, match="other photos.*another output folder"):
            train(folder, tmp_path)
    (tmp_path / "state.pth").write_bytes(b"damaged")
    with pytest.raises(solution.CheckpointError, match="state.pth: damaged"):
        train(folder, tmp_path)


# A training in a process of its own: looks and saves after every batch, and says so.
TWO_PHASES = (TINY, dataclasses.replace(TINY, samples=8, seed=7))


def test_a_phase_begins_from_the_weights_of_the_one_before(folder, tmp_path, one_thread):
    still = tuple(dataclasses.replace(TINY, samples=8, lr=lr) for lr in (5e-4, 0.0))
    last = train(folder, tmp_path, still)
    first = tmp_path / "phase1" / "checkpoints" / "last_checkpoint.pth"
    assert last == tmp_path / "checkpoints" / "last_checkpoint.pth" and first.is_file()
    earlier, later = (torch.load(path, weights_only=True) for path in (first, last))
    for name, weight in earlier["state_dict"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(weight, later["state_dict"][name]), name
    assert later["training"]["phases"][0] == earlier["training"]["phases"][0]
    assert tuple(recipe_from(phase["recipe"]) for phase in later["training"]["phases"]) == still


def test_a_run_of_two_phases_goes_on_in_the_one_it_was_in(folder, tmp_path, one_thread):
    train(folder, tmp_path / "whole", TWO_PHASES)
    out = tmp_path / "parts"
    stopped = train(folder, out, TWO_PHASES, minutes=0)
    assert stopped == out / "phase1" / "checkpoints" / "last_checkpoint.pth" and not (out / "state.pth").exists()
    train(folder, out / "phase1", TINY)  # the first phase alone, to its end
    assert train(folder, out, TWO_PHASES, minutes=0) == out / "checkpoints" / "last_checkpoint.pth"
    assert learnt(out)["batch"] == 1
    train(folder, out, TWO_PHASES)
    assert same(learnt(out), learnt(tmp_path / "whole"))


def test_a_state_of_another_run_is_noticed_before_the_first_phase(folder, tmp_path):
    train(folder, tmp_path, dataclasses.replace(TINY, samples=4))  # leaves the state of a last phase
    with pytest.raises(TrainingError, match=rf"{tmp_path}/state.pth: the run has another recipe: samples 4 there"):
        train(folder, tmp_path, TWO_PHASES)
    assert not (tmp_path / "phase1").exists()


CHILD = """
import json, sys
import solution, torch
from utils.training import recipe_from
torch.set_num_threads(1)
solution.FLUSH_EVERY = 1
save = solution.Session.save_state
def say(session, every=0.0):
    save(session, every)
    print("saved", session.run.batch, flush=True)
solution.Session.save_state = say
recipe = recipe_from(json.loads(sys.argv[3]))
solution.train_segmentation(sys.argv[1], sys.argv[2], recipe, data="all", pretrained=False, device="cpu", workers=1,
                            validation_objects=1, save_seconds=0.0, epoch_samples=10_000)
"""


def start_child(folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), str(out), json.dumps(solution.plain_recipe(TINY))]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_goes_on_after_a_signal(folder, tmp_path, uninterrupted, number):
    """Among the slowest tests: a process is started, interrupted, and its run ended here."""
    with start_child(folder, tmp_path / "parts") as child:
        said = [line for line in iter(child.stdout.readline, "saved 2\n") if line]
        child.send_signal(number)
        said += child.stdout.readlines()
    stopped = any("stopped after" in line for line in said)
    assert child.returncode == (0 if number == signal.SIGINT else -signal.SIGKILL)
    assert stopped == (number == signal.SIGINT)
    assert 2 <= learnt(tmp_path / "parts")["batch"] < 6
    train(folder, tmp_path / "parts")
    assert same(learnt(tmp_path / "parts"), uninterrupted)


def poison(monkeypatch: pytest.MonkeyPatch, change: Callable[[Run], None], at_batch: int) -> None:
    """Lets a run meet something bad in its given batch."""
    step = Run.step

    def poisoned(run: Run, batch: dict[str, Any]) -> torch.Tensor:
        if run.batch == at_batch:
            change(run)
        return step(run, batch)

    monkeypatch.setattr(Run, "step", poisoned)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(folder, tmp_path, monkeypatch, what):
    monkeypatch.setattr(solution, "FLUSH_EVERY", 2)

    def spoil(run: Run) -> None:
        parameter = run.model.decoder[-1].weight
        if what == "loss":
            with torch.no_grad():
                parameter.fill_(float("nan"))
        else:
            parameter.register_hook(lambda gradient: gradient * float("inf"))

    poison(monkeypatch, spoil, at_batch=4)
    with pytest.raises(TrainingError, match=r"loss nan .* after 20 samples, photos 0{9}\d{3}, .*"):
        train(folder, tmp_path, save_seconds=0.0)
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    assert state["batch"] == 4
    assert all(v.isfinite().all() for name in ("model", "ema_model") for v in state[name].values())


# ------------------------------------------------------------------------------------------------ unreadable photos


def test_unreadable_photos_are_skipped_counted_and_named(folder, tmp_path, capsys, monkeypatch):
    (folder / "train" / "images" / f"{COCO_IDS[0]}.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "train" / "images" / f"{COCO_IDS[1]}.jpg"), np.zeros((9, 9, 3), np.uint8))
    (folder / "val" / "masks" / f"{VAL_IDS[0]}.pickle").unlink()
    monkeypatch.setattr(solution, "MAX_UNREADABLE", 10.0)  # each sample meets several of them
    train(folder, tmp_path, dataclasses.replace(TINY, samples=12), validation_objects=2)
    said = capsys.readouterr()
    text = said.out + said.err
    for image_id in COCO_IDS[:2]:
        assert any(f"{image_id}: " in line and "times" in line for line in text.splitlines()), text
    assert f"is not validated on: {VAL_IDS[0]}" in text
    assert torch.load(tmp_path / "state.pth", weights_only=True)["batch"] == 3


def test_too_many_unreadable_photos_are_an_error(folder, tmp_path):
    for image_id in COCO_IDS[:2]:
        (folder / "train" / "masks" / f"{image_id}.pickle").unlink()
    with pytest.raises(TrainingError, match=rf"samples could not be read.*{COCO_IDS[0]}"):
        train(folder, tmp_path)


def test_if_no_photo_can_be_read_the_first_ones_are_named(folder):
    shutil.rmtree(folder / "train" / "images")
    with pytest.raises(TrainingError, match=rf"100 photos in a row.*{COCO_IDS[0]}"):
        ClickSamples(find_photos(folder), TINY)[0]


def test_a_hundredth_is_the_bound_and_chance_does_not_cross_it():
    def fails(samples: float, unreadable: int) -> bool:
        return solution.reading_failure({"a": unreadable}, samples) is not None

    assert not fails(16, 1) and not fails(16, 3)  # a small run with a bad photo
    assert fails(16, 10) and fails(100_000, 1_300) and not fails(100_000, 900)
    rng = np.random.default_rng(0)
    for _ in range(200):  # runs with half a percent unreadable, looked at every 320 samples
        met = np.cumsum(rng.poisson(0.005 * 320, size=200))
        assert not any(fails(320 * (k + 1), int(n)) for k, n in enumerate(met))


# ------------------------------------------------------------------------------------------------ other trees, errors


def test_errors_of_the_data_are_sentences(folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        find_photos(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="hannotation.pickle"):
        find_photos(tmp_path)
    with pytest.raises(TrainingError, match="nowhere.pth.*--data all"):
        solution.find_training_photos(folder, str(tmp_path / "nowhere.pth"))
    torch.save({"state_dict": ISModel().state_dict()}, tmp_path / "bare.pth")
    with pytest.raises(TrainingError, match="does not name the photos"):
        solution.find_training_photos(folder, str(tmp_path / "bare.pth"))
    monkeypatch.setitem(sys.modules, "utils.datasets", None)
    with pytest.raises(TrainingError, match="put utils beside it"):
        find_photos(folder)


def test_datasets_that_cannot_list_their_photos_are_named(folder, monkeypatch):
    import utils.datasets

    monkeypatch.setattr(utils.datasets, "CocoLvisDataset", lambda *_, **__: object())
    with pytest.raises(TrainingError, match="dataset_samples"):
        find_photos(folder)


@pytest.fixture
def names_photos(tmp_path, monkeypatch) -> Callable[[Sequence[str]], Path]:
    """Puts a checkpoint that names photos beside the (seeming) place of solution.py."""
    monkeypatch.setattr(solution, "__file__", str(tmp_path / "solution.py"))

    def name(ids: Sequence[str]) -> Path:
        torch.save({"state_dict": {"a": torch.zeros(1)}, "training": {"ids": list(ids)}}, tmp_path / "checkpoint.pth")
        return tmp_path / "checkpoint.pth"

    return name


def test_photos_named_by_a_checkpoint_are_found_in_both_splits(folder, names_photos):
    path = names_photos([COCO_IDS[1], VAL_IDS[0]])
    for data, own in (("auto", False), ("checkpoint", False), (str(path), True)):
        photos, held_out, is_own = solution.find_training_photos(folder, data)
        assert [p.id for p in photos] == [COCO_IDS[1], VAL_IDS[0]] and [p.id for p in held_out] == [VAL_IDS[1]]
        assert is_own == own


def test_a_folder_of_own_photos_is_trained_on_as_a_whole(folder, names_photos):
    names_photos([COCO_IDS[1], *(f"{i:012d}" for i in range(1000, 1011))])  # one of twelve is there, by chance
    photos, held_out, own = solution.find_training_photos(folder, "auto")
    assert [p.id for p in photos] == list(COCO_IDS) and [p.id for p in held_out] == list(VAL_IDS) and own
    with pytest.raises(TrainingError, match=r"1 of the 12 photos .*all 3 photos .*--data all"):
        solution.find_training_photos(folder, "checkpoint")
    names_photos([*COCO_IDS, "000000001000"])  # three of four are neither these nor those
    with pytest.raises(TrainingError, match="3 of the 4 photos"):
        solution.find_training_photos(folder, "auto")


def test_it_trains_beside_a_bare_utils(folder, tmp_path):
    """A tree that offers the template's names and no others: no curves, no contact sheets, but a checkpoint."""
    room = tmp_path / "room"
    shutil.copytree(Path(__file__).with_name("bare"), room)
    shutil.copy(solution.__file__, room)
    program = (
        "import solution; recipe = solution.Recipe(samples=8, batch_size=4, resolutions=((0, 32),), min_area=500); "
        "print(solution.train_segmentation('data', 'out', recipe, 'all', False, device='cpu', workers=0))"
    )
    (room / "data").symlink_to(folder)
    done = subprocess.run([sys.executable, "-c", program], cwd=room, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert (room / "out" / "checkpoints" / "last_checkpoint.pth").exists() and (room / "out" / "state.pth").exists()
    assert "samples 8, " in done.stdout and "iou@3" in done.stdout


# ------------------------------------------------------------------------------------------------ own photos


def test_it_trains_without_photos_to_validate_on(folder, tmp_path, capsys):
    shutil.rmtree(folder / "val")
    train(folder, tmp_path, dataclasses.replace(TINY, samples=8))
    assert "none held out, so there is no validation" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints" / "best.pth").exists()


def test_validation_photos_may_vanish(folder, tmp_path):
    train(folder, tmp_path, epoch_samples=4, minutes=0)
    shutil.rmtree(folder / "val" / "images")
    train(folder, tmp_path, epoch_samples=4)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0]["iou@3"] and not rows[-1]["iou@3"] and rows[-1]["samples"] == "24"


def test_objects_that_are_too_small_are_told_with_what_fits(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"min_area = 9000 .*the largest has 3328 .*--min-area (400|[5-9]\d\d)\b"):
        train(folder, tmp_path, dataclasses.replace(TINY, min_area=9000))


def test_a_run_that_no_longer_gets_better_ends_with_its_best_weights(folder, tmp_path, monkeypatch, capsys):
    figures = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(solution, "validate", lambda *_: ({f"iou@{k}": next(figures) if k == 3 else 0.1
                                                           for k in (1, 2, 3)}, []))
    last = train(folder, tmp_path, epoch_samples=4, patience=2)
    assert "ends with its best weights" in capsys.readouterr().out
    assert learnt(tmp_path)["batch"] == 3
    assert torch.load(last, weights_only=True)["training"]["phases"][0]["samples"] == 4
    assert train(folder, tmp_path, epoch_samples=4, patience=2) == last and next(figures) == 0.9  # it stays ended


def test_two_trainings_do_not_share_a_folder(folder, tmp_path):
    with folder_lock(tmp_path, "training"), pytest.raises(TrainingError, match="another training is writing to"):
        train(folder, tmp_path)


def test_the_schedule_is_fitted_to_the_time_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "estimate_seconds", lambda plan: 240.0)
    recipe = dataclasses.replace(TINY, samples=48, resolutions=((0, 32), (24, 48)))
    train(folder, tmp_path, recipe, fit_minutes=2, minutes=0)
    monkeypatch.setattr(training, "estimate_seconds", lambda plan: 24.0)  # the machine is faster now
    last = train(folder, tmp_path, recipe, fit_minutes=2, minutes=0)
    kept = recipe_from(torch.load(last, weights_only=True)["training"]["phases"][0]["recipe"])
    assert kept.samples == 24 and kept.resolutions == ((0, 32), (12, 48))


def test_what_will_be_trained_is_said_first(folder, tmp_path, capsys):
    train(folder, tmp_path, TWO_PHASES, minutes=0)
    said = capsys.readouterr().out.splitlines()[:4]
    assert said[0] == f"photos: 3 of {folder}, 2 held out"
    assert said[1] == "phases: 2, from random weights: 24, 8 samples in batches of 4"
    assert said[2].startswith("time:   about ") and said[3] == f"result: {tmp_path}/checkpoints/last_checkpoint.pth"


# ------------------------------------------------------------------------------------------------ command line


def test_help_offers_every_setting_in_groups(capsys):
    with pytest.raises(SystemExit) as end:
        solution.main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for setting in dataclasses.fields(Recipe):
        assert f"--{setting.name.replace('_', '-')} " in text
        assert text.count(f"\nrecipe, of every phase: {setting.metadata['group']}:\n") == 1


def test_settings_apply_to_every_phase_of_the_shipped_recipe():
    phases = training.override(solution.SHIPPED, {"batch_size": 64, "seed": 7})
    assert [(p.batch_size, p.seed, p.samples) for p in phases] == [(64, 7, 64_000), (64, 8, 48_000), (64, 9, 44_800)]
    halved = training.override(solution.SHIPPED, {"samples": 78_400})
    assert [(p.samples, p.lr_hold) for p in halved] == [(32_000, 0), (24_000, 15_192), (22_400, 4800)]
    assert halved[2].resolutions == ((0, 224), (11_200, 256))
    with pytest.raises(TrainingError, match="resolutions .* does not fit phase 2 of 48000 samples"):
        training.override(solution.SHIPPED, {"resolutions": [[0, 128], [50_000, 224]]})


def test_the_command_line_trains_all_phases(folder, tmp_path, capsys):
    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "weights.pth")
    arguments = ["--folder", str(folder), "--out", str(tmp_path / "out"), "--pretrained", str(tmp_path / "weights.pth"),
                 "--samples", "12", "--batch-size", "4", "--stages", "[[0, 32]]", "--min-area", "500", "--workers", "1"]
    assert solution.main([*arguments, "--device", "cpu"]) == 0
    assert "wrote" in capsys.readouterr().out
    last = tmp_path / "out" / "checkpoints" / "last_checkpoint.pth"
    phases = torch.load(last, weights_only=True)["training"]["phases"]
    assert [(p["recipe"]["resolutions"], p["samples"]) for p in phases] == [([[0, 32]], 4)] * 3


@pytest.mark.parametrize("arguments, words", [
    ("--folder nowhere", "nowhere: there is no such folder"),
    ("--rounds []", "rounds must be a list like"),
    ("--rounds [0,0]", "at least one weight"),
    ("--stages 5", "resolutions must be a list like"),
    ("--stages []", "resolutions must be a list like"),
    ("--stages [[0.5,128]]", "resolutions must be a whole number"),
    ("--stages [[100,128]]", "begin at sample 0"),
    ("--stages [[0,16]]", "sides from 32"),
    ("--aspects [0]", "aspects must be a number from 0.1 to 10"),
    ("--zoom-range [0,0]", "zoom_range must be a number from 0.1"),
    ("--zoom-range [2,1]", "the smaller one first"),
    ("--seed -1", "seed must be a whole number from 0"),
    ("--long-side 0", "long_side must be a whole number from 32"),
    ("--ema-decay 5", "ema_decay must be a number from 0 to 1"),
    ("--lr nan", "lr must be a number from 0 to 1"),
    ("--backbone vgg16", "unknown backbone 'vgg16'"),
    ("--minutes -1", "minutes must be at least 0"),
    ("--epochs 0", "epochs must be above 0"),
    ("--workers -1", "workers must be at least 0"),
    ("--device foo", "device 'foo'"),
    pytest.param("--device cuda", "device 'cuda'", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU")),
    ("--start nowhere.pth", "nowhere.pth: there is no such file"),
    ("--recipe-check --seed 3", "the recipe check takes no seed"),
])
def test_the_command_line_explains_failures(folder, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    data = [] if "--folder" in arguments else ["--folder", str(folder)]
    assert solution.main([*data, *arguments.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith("solution.py: ") and words in error and error.count("\n") == 1


def test_a_disk_that_takes_nothing_is_a_sentence(folder, tmp_path, capsys, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "state.pth"))

    monkeypatch.setattr(solution.os, "replace", refuse)
    arguments = ["--folder", str(folder), "--data", "all", "--out", str(tmp_path), "--start", str(CHECKPOINT),
                 "--samples", "4", "--batch-size", "4", "--resolutions", "[[0, 32]]", "--min-area", "500"]
    assert solution.main([*arguments, "--workers", "0", "--device", "cpu"]) == 1
    assert "state.pth: No space left on device; mend it or name another --out" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pth.tmp"))


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Recipe)]),
                       st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                                    lambda inner: st.lists(inner, max_size=3), max_leaves=5), max_size=3))
@settings(max_examples=150)
def test_nonsense_in_a_recipe_is_a_training_error(plain):
    try:
        recipe = recipe_from(plain)
    except TrainingError as error:
        assert "\n" not in str(error).replace(repr("\n"), "")
    else:
        assert recipe_from(json.loads(json.dumps(solution.plain_recipe(recipe)))) == recipe


def test_unknown_settings_are_named():
    with pytest.raises(TrainingError, match="unknown to this solution.py: momentum"):
        recipe_from({"momentum": 1})


def test_a_record_of_nested_phases_is_flattened():
    recipe = {"samples": 1000, "stages": [[0.0, 128], [0.6, 224]], "steady": 0.6, "warm_up": 0.02, "rate": 1e-3}
    first = {"ids": ["1", "2"], "held_out": ["3"], "samples": 5, "losses": [[16, 0.5]]}
    content = {"training": {"after": first, "ids": ["1", "2"], "held_out": ["3"], "samples": 7, "recipe": recipe}}
    record = training_record(content)
    assert record["ids"] == ["1", "2"] and record["held_out"] == ["3"]
    assert [phase["samples"] for phase in record["phases"]] == [5, 7] and record["phases"][0]["losses"] == [[16, 0.5]]
    kept = recipe_from(record["phases"][1]["recipe"])
    assert kept == Recipe(samples=1000, resolutions=((0, 128), (600, 224)), lr_hold=600, warm_up=20, lr=1e-3)
    assert training_record({"training": record}) == record and training_record({}) == {}


@pytest.fixture
def recorded(folder, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A checkpoint with its record beside the (seeming) place of solution.py; gives the data and an output folder."""
    train(folder, tmp_path / "first")
    (tmp_path / "home").mkdir()
    shutil.copy(tmp_path / "first" / "checkpoints" / "last_checkpoint.pth", tmp_path / "home" / "checkpoint.pth")
    monkeypatch.setattr(solution, "__file__", str(tmp_path / "home" / "solution.py"))
    shutil.copy(PROJECT / "solution.py", tmp_path / "home")
    return folder, tmp_path / "again"


def test_the_recipe_check_follows_its_own_record(recorded, capsys):
    assert training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)
    text = capsys.readouterr().out
    assert text.count("recorded") == 6 and "+0.0000" in text and ": follows the record" in text


def test_the_recipe_check_of_two_phases_is_about_the_first(folder, tmp_path, recorded, capsys):
    train(folder, tmp_path / "second", (TINY, dataclasses.replace(TINY, samples=4)))
    shutil.copy(tmp_path / "second" / "checkpoints" / "last_checkpoint.pth", tmp_path / "home" / "checkpoint.pth")
    assert training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)
    text = capsys.readouterr().out
    assert text.count("recorded") == 6 and ": follows the record" in text


def test_the_recipe_check_notices_another_record(recorded, tmp_path, capsys):
    path = tmp_path / "home" / "checkpoint.pth"
    content = torch.load(path, weights_only=True)
    first = content["training"]["phases"][0]
    first["losses"] = [[seen, loss + 0.05] for seen, loss in first["losses"]]
    torch.save(content, path)
    assert not training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)
    assert "DOES NOT follow" in capsys.readouterr().out
    (recorded[0] / "train" / "hannotation.pickle").write_bytes(pickle.dumps({COCO_IDS[0]: ANNOTATION}))
    with pytest.raises(TrainingError, match="1 of the 3 photos"):
        training.check_recipe(*recorded, pretrained=False, device="cpu", workers=0)


# ------------------------------------------------------------------------------------------------ several processes


def frozen(run: Run) -> Run:
    """The run without what depends on how a batch is divided: statistics of batches, dropout."""
    run.model.eval()
    return run


def joint_batch() -> dict[str, torch.Tensor]:
    """Four samples with objects of different sizes."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.zeros(4, 1, 32, 32, dtype=torch.uint8)
    points = torch.full((4, 6, 3), -1.0)
    for i in range(4):
        truth[i, 0, 4 + i : 20 + 2 * i, 6 : 12 + 4 * i] = 1
        points[i, 0] = torch.tensor([10.0 + i, 9.0, 0.0])
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=rng).to(torch.uint8)
    return {"images": images, "instances": truth, "points": points}


EXACT = dataclasses.replace(TINY, rounds=(0.0, 1.0), p_exact_click=1.0)


def gradients(group: Group) -> list[torch.Tensor]:
    """Gradients of a process's share of the joint batch."""
    torch.manual_seed(0)
    run = frozen(Run(EXACT, ISModel(config=NetworkConfig(working_size=32)), group))
    share = 4 // group.size
    run.loss({k: v[group.rank * share : (group.rank + 1) * share] for k, v in joint_batch().items()}).backward()
    return [p.grad for p in run.model.parameters()]


def gradients_of_one_of_two(rank: int, rendezvous: str, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    found = gradients(Group(rank, 2))
    if rank == 0:
        torch.save(found, out)
    torch.distributed.destroy_process_group()


def test_two_processes_average_to_the_gradient_of_the_joint_batch(tmp_path):
    """The forward and the click rounds are the training's own; autocast may round, so CPUs with AMX differ a little."""
    arguments = (str(tmp_path / "rendezvous"), str(tmp_path / "gradients.pth"))
    torch.multiprocessing.spawn(gradients_of_one_of_two, arguments, nprocs=2)
    both = torch.load(tmp_path / "gradients.pth", weights_only=True)
    alone = gradients(Group())
    assert len(both) == len(alone) and any(g.abs().max() > 1e-3 for g in alone)
    flat = [torch.cat([g.flatten() for g in some]) for some in (both, alone)]
    tolerance = 0.05 if solution._has_amx() else 1e-4
    assert (flat[0] - flat[1]).norm() < tolerance * flat[1].norm()


def join_two(rank: int, port: int) -> None:
    """Makes this process one of two, as torchrun would."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)


def train_one_of_two(rank: int, folder: str, out: str, port: int) -> None:
    """A run of two processes of which the second one's time is up at once; looks after every second batch."""
    join_two(rank, port)
    solution.FLUSH_EVERY = 2
    train(Path(folder), Path(out), minutes=0 if rank == 1 else None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_stop_in_one_process_stops_all_at_the_same_batch(folder, tmp_path):
    torch.multiprocessing.spawn(train_one_of_two, (str(folder), str(tmp_path), free_port()), nprocs=2)
    assert learnt(tmp_path)["batch"] == 2
    train(folder, tmp_path)  # and one process can go on alone
    assert learnt(tmp_path)["batch"] == 6


def train_phases_of_two(rank: int, folder: str, out: str, port: int) -> None:
    """A run of two processes and two phases."""
    join_two(rank, port)
    train(Path(folder), Path(out), [dataclasses.replace(TINY, samples=8)] * 2)


def test_two_processes_go_through_the_phases_together(folder, tmp_path):
    torch.multiprocessing.spawn(train_phases_of_two, (str(folder), str(tmp_path), free_port()), nprocs=2)
    assert learnt(tmp_path / "phase1")["batch"] == learnt(tmp_path)["batch"] == 2


# ------------------------------------------------------------------------------------------------ learning


def small_scene(name: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A rendered scene squeezed into a square: image (side, side, 3) RGB, mask bool."""
    image = cv2.cvtColor(cv2.imread(str(SCENES / "imgs" / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
    mask = cv2.imread(str(SCENES / "masks" / f"{name}.png")).max(2)
    whole = solution.Frame(0, 0, *mask.shape, side, side)
    return whole.take(image), whole.take(mask) > 127


def write_split(split: Path, names: Sequence[str]) -> None:
    """Rendered scenes as a split of the training folder's format."""
    for part in ("images", "masks"):
        (split / part).mkdir(parents=True)
    annotations = {}
    for number, name in enumerate(names):
        image_id = f"{9_000_000 + number:012d}"
        shutil.copy(SCENES / "imgs" / f"{name}.jpg", split / "images" / f"{image_id}.jpg")
        mask = (cv2.imread(str(SCENES / "masks" / f"{name}.png")).max(2) > 0).astype(np.uint8)
        (split / "masks" / f"{image_id}.pickle").write_bytes(pickle.dumps(([cv2.imencode(".png", mask)[1]], [(0, 1)])))
        annotations[image_id] = {"num_instance_masks": 1, "hierarchy": {0: None}}
    (split / "hannotation.pickle").write_bytes(pickle.dumps(annotations))


def test_fine_tuning_on_a_dozen_rendered_scenes_beats_the_start(tmp_path, one_thread, capsys):
    """On six other scenes; a small input and sixteen steps, so that it does not take long."""
    names = sorted(path.stem for path in (SCENES / "imgs").iterdir())
    held_out = names[1::3]
    write_split(tmp_path / "own" / "train", [name for name in names if name not in held_out])
    write_split(tmp_path / "own" / "val", held_out)
    recipe = dataclasses.replace(
        solution.FINE_TUNING[0], samples=128, batch_size=8, resolutions=((0, 128),), working_size=128, warm_up=16,
        lr=3e-4, min_area=500, rounds=(0.5, 0.3, 0.2), p_paste=0.0, p_merge=0.0, ema_decay=0.9,
    )
    last = train(tmp_path / "own", tmp_path / "out", recipe, start=CHECKPOINT, data="auto", validation_objects=6)
    content = torch.load(last, weights_only=True)
    assert len(content["training"]["ids"]) == 12 and content["config"]["freeze_norm"]
    assert content["training"]["start"]["file"] == "checkpoint.pth"
    start = torch.load(CHECKPOINT, weights_only=True)["state_dict"]
    assert all(torch.equal(value, start[name]) for name, value in content["state_dict"].items()
               if name.startswith("backbone.") and "running" in name)
    table = capsys.readouterr().out.splitlines()[-3:]
    before, after = (np.array([float(value) for value in line.split()[1:]]) for line in table[1:])
    assert table[0].split() == ["held-out", "photos", "IoU@1", "IoU@2", "IoU@3"]
    assert after.mean() > before.mean() + 0.02, table


def test_it_overfits_eight_rendered_images(one_thread):
    """From random weights, in a fixed number of steps; the slowest test of this file."""
    side, steps = 64, 110
    names = ("apple", "balloon", "doughnut", "lantern", "mug", "mushroom", "cone", "starfish")
    scenes = [small_scene(name, side) for name in names]
    recipe = dataclasses.replace(
        Recipe(), samples=8 * steps, batch_size=8, lr=3e-3, backbone_lr=1.0, warm_up=44, ema_decay=0.8, iou_weight=1.0,
        p_center_click=1.0, p_more_points=0.0, rounds=(0.6, 0.2, 0.2), p_exact_click=1.0,
    )
    rng = np.random.default_rng(0)
    batch = {
        "images": torch.stack([torch.from_numpy(image.transpose(2, 0, 1)) for image, _ in scenes]),
        "instances": torch.stack([torch.from_numpy(mask.astype(np.uint8))[None] for _, mask in scenes]),
        "points": torch.stack([torch.from_numpy(solution.first_points(rng, mask, recipe)) for _, mask in scenes]),
    }
    torch.manual_seed(0)
    run = Run(recipe, ISModel(config=NetworkConfig(working_size=side)))
    for _ in range(steps):
        run.step(batch)
    predictor = Predictor(run.ema_model, CPU, with_flip=False, zoom_in=False)
    ious = [predictor.simulate(image, mask).ious[2] for image, mask in scenes]
    assert np.mean(ious) > 0.9, ious
