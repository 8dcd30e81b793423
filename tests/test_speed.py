"""The table of speeds: that it measures every part, not how long anything takes."""
from __future__ import annotations

import dataclasses

import numpy as np
import torch

from solution import ISModel, NetworkConfig, Recipe, Run
from utils import bench
from utils.benchmark.tasks import list_tasks, read_task


def test_the_frame_has_the_size_of_davis_and_its_object() -> None:
    image, truth = bench.load_frame()
    assert image.shape == (480, 854, 3) and image.dtype == np.uint8
    assert truth.shape == (480, 854) and set(np.unique(truth)) == {0, 1}


def test_the_benchmark_room_is_timed_at_the_size_of_davis(tmp_path, capsys) -> None:
    bench.write_frames(tmp_path, 3)
    tasks = list_tasks(str(tmp_path)).tasks
    assert len(tasks) == 3 and len({task.files for task in tasks}) == 3
    for task in tasks:
        image, truth = read_task(task)
        assert image.shape == (480, 854, 3) and 0 < (truth == 1).mean() < 0.9
    bench.bench_harness("grabcut", tasks=3)
    shown = capsys.readouterr().out
    assert "['854x480']" in shown and "harness part" in shown and "scaling" in shown


def test_clicks_are_timed_with_every_option() -> None:
    model = ISModel(config=NetworkConfig(working_size=64)).eval()
    assert bench.click_seconds(model, repeats=1) > 0
    assert bench.click_seconds(model, repeats=1, with_flip=False, zoom_in=False) > 0


def test_the_parts_of_a_step_leave_the_run_its_recipe() -> None:
    recipe = dataclasses.replace(Recipe(), batch_size=2, rounds=(0.5, 0.5))
    run = Run(recipe, ISModel())
    batch = {
        "images": torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        "instances": torch.zeros(2, 1, 64, 64, dtype=torch.uint8),
        "points": torch.full((2, 6, 3), -1.0),
    }
    batch["instances"][..., 16:48, 16:48] = 1
    batch["points"][:, 0] = torch.tensor([32.0, 32.0, 0.0])
    parts = bench.step_parts(run, batch, repeats=1)
    assert set(parts) == {
        "looks of the rounds",
        "clicks of the rounds",
        "forward and loss",
        "backward",
        "clipping, optimiser, average",
    }
    assert parts["forward and loss"] > 0 and parts["clicks of the rounds"] > 0
    assert run.recipe == recipe


def test_a_missing_checkpoint_is_named(capsys) -> None:
    assert bench.main(["--checkpoint", "/nowhere/model.pth"]) == 1
    assert "/nowhere/model.pth" in capsys.readouterr().err
