"""Training: it learns, goes on where it was stopped, keeps what it held out, and refuses what can't be used."""
from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from segment_helpers import QUICK, SCENES, SMALL, write

from utils.files import UsageError, UserError
from utils.segment import training as training_module
from utils.segment.data import open_data
from utils.segment.segmentation import (
    AUGMENTATIONS,
    ConceptModel,
    Recipe,
    SegmentationError,
    Settings,
    Training,
    TrainingPhotos,
    load_model,
    sample_iou,
    train_model,
)
from utils.segment.training import train

ROOT = Path(__file__).resolve().parents[2]


def weights(path: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(path).parameters()])


def test_it_learns_six_rendered_scenes_by_heart(scenes):
    samples = open_data(scenes)
    torch.manual_seed(0)
    # with so few photos batch statistics are noise
    model = ConceptModel(Settings(network="unet", norm="instance", size=64))
    recipe = Recipe(minutes=600, epochs=60, batch_size=3, lr=3e-3, augmentations=(), ema_decay=0.9)
    training = Training(model, samples, recipe)
    losses = list(training.run())
    assert np.mean([sample_iou(training.average, sample) for sample in samples]) > 0.89
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5]) and training.progress == 1


def test_train_model_works_alone(scenes, tmp_path):
    model = train_model(scenes, None, SMALL, QUICK, tmp_path / "model.pth")
    assert not model.training and torch.equal(weights(tmp_path / "model.pth"), weights(tmp_path / "model.pth"))
    assert model.settings == SMALL


# ---------------------------------------------------------------------------------------------- going on


def stop_after(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """A stop is asked for after these steps, counted over all trainings."""
    counted = iter(range(1, 1000))
    due = property(lambda self: next(counted) in steps)
    monkeypatch.setattr(training_module, "StopRequest", type("Stop", (training_module.StopRequest,), {"due": due}))


def test_a_stopped_training_goes_on_as_if_it_had_not_been(scenes, tmp_path, monkeypatch):
    samples = open_data(scenes)
    through = train(samples, tmp_path / "through", QUICK, SMALL, None, workers=0, quiet=True)
    assert through.is_finished and through.model == tmp_path / "through" / "segmentation_model.pth"

    stop_after(monkeypatch, 2, 4)
    parts = [train(samples, tmp_path / "parts", QUICK, SMALL, None, workers=0, quiet=True) for _ in range(3)]
    assert [part.is_finished for part in parts] == [False, False, True]
    assert parts[-1].held_out == through.held_out and parts[-1].iou == through.iou
    assert torch.equal(weights(parts[-1].model), weights(through.model))
    again = train(samples, tmp_path / "parts", QUICK, SMALL, None, quiet=True)
    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(parts[-1], seconds=0)


SLOW = """
import sys
import torch
from utils.segment import Recipe, Settings, train, training
torch.set_num_threads(1)
training.SECONDS_BETWEEN_STATES = 0.0
settings = Settings(network="unet", size=64)
train(sys.argv[1], sys.argv[2], Recipe(epochs=60, batch_size=2, seed=1), settings, None)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_killed_training_goes_on(how, scenes, tmp_path, monkeypatch):
    command = [sys.executable, "-c", SLOW, str(scenes), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    state = tmp_path / "out" / "state.pth"
    deadline = time.monotonic() + 120
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, how)
    errors = process.communicate(timeout=120)[1].decode()
    assert state.is_file() and "Traceback" not in errors
    step = torch.load(state, weights_only=True)["training"]["step"]
    assert 1 <= step < 180
    recipe = Recipe(epochs=60, batch_size=2, seed=1)
    stop_after(monkeypatch, 1)
    train(scenes, tmp_path / "out", recipe, Settings(network="unet", size=64), None, workers=0, quiet=True)
    assert torch.load(state, weights_only=True)["training"]["step"] == step + 1


def test_another_training_in_the_same_folder_is_refused(scenes, tmp_path):
    train(scenes, tmp_path / "out", QUICK, SMALL, None, quiet=True)
    with pytest.raises(UsageError, match="other loss"):
        train(scenes, tmp_path / "out", dataclasses.replace(QUICK, loss="focal"), SMALL, None, quiet=True)
    with pytest.raises(UsageError, match="other photos"):
        train(open_data(scenes)[1:], tmp_path / "out", QUICK, SMALL, None, quiet=True)


def test_it_begins_from_another_model_s_weights_and_keeps_what_was_held_out(scenes, tmp_path):
    first = train(open_data(scenes)[:3], tmp_path / "first", QUICK, SMALL, None, quiet=True)
    slow = dataclasses.replace(QUICK, lr=1e-9, epochs=1)
    second = train(scenes, tmp_path / "second", slow, start=tmp_path / "first", quiet=True)
    assert set(first.held_out) <= set(second.held_out)
    assert torch.allclose(weights(second.model), weights(first.model), atol=2e-3)
    with pytest.raises(UsageError, match="settings of its own"):
        train(scenes, tmp_path / "third", QUICK, Settings(), start=tmp_path / "first", quiet=True)
    given = train(scenes, tmp_path / "fourth", slow, SMALL, None, held_out=["mug"], quiet=True)
    assert "mug" in given.held_out


def test_curves_and_contact_sheets_are_drawn(scenes, tmp_path):
    train(scenes, tmp_path / "out", QUICK, SMALL, None)
    header, *rows = (tmp_path / "out" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert header == "samples,loss,iou" and len(rows) >= 3
    sheets = sorted((tmp_path / "out" / "vis").glob("samples_*.jpg"))
    assert len(sheets) == len(rows) and cv2.imread(str(sheets[-1])) is not None
    assert {path.stem for path in (tmp_path / "out" / "vis").iterdir()} >= {"loss", "iou"}


TOGETHER = """
import os, sys
import torch
from utils.segment import Recipe, Settings, train, training
torch.set_num_threads(1)
whole = training._Run.result
def result(run):
    values = torch.cat([p.detach().flatten() for p in run.training.model.parameters()])
    torch.save((values, run.training.step), f"{sys.argv[2]}/{os.environ['RANK']}.pt")
    return whole(run)
training._Run.result = result
train(sys.argv[1], sys.argv[2], Recipe(epochs=3, batch_size=4, seed=1), Settings(network="unet", size=64), None,
      device="cpu", workers=0)
"""


def test_two_processes_train_one_model(scenes, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TOGETHER, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run([*command, str(scenes), str(tmp_path / "out")], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    (first, steps), (second, others) = (torch.load(tmp_path / "out" / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second) and steps == others > 1
    assert (tmp_path / "out" / "segmentation_model.pth").is_file()


# ---------------------------------------------------------------------------------------------- samples


def test_a_photo_s_augmentation_depends_on_its_number_alone(scenes):
    samples = open_data(scenes)
    recipe = Recipe(augmentations=tuple(AUGMENTATIONS))
    photos, others = TrainingPhotos(samples, recipe), TrainingPhotos(samples, recipe)
    first = [photos[number, 0, 64, 96] for number in range(4)]
    second = [others[number, 0, 64, 96] for number in (3, 2, 1, 0)][::-1]
    for (image, mask), (again, mask_again) in zip(first, second, strict=True):
        assert image.shape == (3, 64, 96) and mask.shape == (1, 64, 96) and image.dtype == mask.dtype == torch.uint8
        assert torch.equal(image, again) and torch.equal(mask, mask_again) and set(mask.unique().tolist()) <= {0, 1}
    assert not torch.equal(first[0][0], first[1][0])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_photos_and_may_be_left_out(name, scenes):
    samples = open_data(scenes)
    plain, changed = (TrainingPhotos(samples, Recipe(augmentations=names)) for names in ((), (name,)))
    keys = [(number, 0, 96, 96) for number in range(24)]
    assert all(torch.equal(plain[key][0], plain[keys[0]][0]) for key in keys)
    assert any(not torch.equal(changed[key][0], plain[key][0]) for key in keys)


def test_batches_hold_photos_of_one_shape(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        height, width = ((60, 80), (80, 60), (60, 60))[number % 3]
        write(tmp_path / "imgs" / f"{number}.jpg", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        write(tmp_path / "masks" / f"{number}.png", 255 * np.ones((height, width), np.uint8))
    result = train(tmp_path, tmp_path / "out", QUICK, SMALL, None, quiet=True)
    assert result.is_finished and result.photos + len(result.held_out) == 12


# ---------------------------------------------------------------------------------------------- what is refused


def spoil_mask(folder: Path) -> str:
    write(folder / "masks" / "mug.png", np.zeros((7, 9), np.uint8))
    return "mug.png is 9x7"


def spoil_photo(folder: Path) -> str:
    (folder / "imgs" / "mug.jpg").write_bytes(b"torn")
    return "mug.jpg"


def leave_one(folder: Path) -> str:
    for name in SCENES[1:]:
        (folder / "imgs" / f"{name}.jpg").unlink()
    return "one photo is too few"


def empty_masks(folder: Path) -> str:
    for path in (folder / "masks").iterdir():
        write(path, np.zeros_like(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))
    return "no mask shows an object"


@pytest.mark.parametrize("spoil", [spoil_mask, spoil_photo, leave_one, empty_masks])
def test_bad_photos_stop_it_before_it_begins(spoil, scenes, tmp_path):
    reason = spoil(scenes)
    with pytest.raises((UserError, SegmentationError), match=reason) as caught:
        train(scenes, tmp_path / "out", QUICK, SMALL, None, quiet=True)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*.pth"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_turns_bad_later_is_named(workers, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(training_module, "MOST_KEPT", 0)  # too many photos to be read beforehand
    monkeypatch.setattr(training_module, "sample_iou", lambda *_: 0.5)
    for path in (scenes / "masks").iterdir():
        write(path, np.zeros((7, 9), np.uint8))
    with pytest.raises((UserError, SegmentationError), match="is 9x7, but") as caught:
        train(scenes, tmp_path / "out", QUICK, SMALL, None, workers=workers, quiet=True)
    assert "Traceback" not in str(caught.value)


def test_an_empty_mask_among_others_is_data(scenes, tmp_path):
    path = scenes / "masks" / "mug.png"
    write(path, np.zeros_like(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))
    assert train(scenes, tmp_path / "out", QUICK, SMALL, None, quiet=True).is_finished


def test_a_loss_that_is_no_number_stops_it(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_update", lambda *_: float("nan"))
    with pytest.raises(SegmentationError, match="loss is not a number"):
        train(scenes, tmp_path / "out", QUICK, SMALL, None, workers=0, quiet=True)
