"""Training: the stream of samples, simulated clicks, losses, the schedule, and that it learns."""
from __future__ import annotations

import dataclasses
import pickle
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_coco_lvis import COCO_IDS
from training_tools import (
    CHECKPOINT,
    CPU,
    SCENES,
    TINY,
    same,
    train,
)

import solution
from solution import ClickSamples, Group, ISModel, NetworkConfig, Predictor, Recipe, Run, TrainingError, find_photos
from utils.clicker import Clicker

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
    nothing, rng = images[:, :0], torch.Generator().manual_seed(0)
    previous, played, _ = solution.click_rounds(model, images, truth, points, nothing, 2, TINY, rng)
    assert model.training and not previous.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # BatchNorm above all
    assert played.shape == (2, 10, 3) and previous.min() > 0 and previous.max() < 1
    assert set(played[..., 2].unique().tolist()) == {-1, 0, 1, 2}
    unplayed, _, _ = solution.click_rounds(model, images, truth, points, nothing, 0, TINY, rng)
    assert torch.equal(unplayed, torch.zeros_like(truth))


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
