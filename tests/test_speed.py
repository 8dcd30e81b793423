"""The table of speeds: that it measures every part and refuses bad arguments first, not how long anything takes."""
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from solution import ISModel, NetworkConfig, Recipe, Run, save_model
from utils import speed
from utils.benchmark.tasks import list_tasks, read_task
from utils.models import open_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("speed") / "small.pth"
    save_model(ISModel(config=NetworkConfig(working_size=64)).eval(), path)
    return path


def test_frames_have_the_size_of_davis_and_an_object(tmp_path) -> None:
    speed.write_frames(tmp_path, 3)
    tasks = list_tasks(str(tmp_path)).tasks
    assert len(tasks) == 3 and len({task.files for task in tasks}) == 3
    for task in tasks:
        image, truth = read_task(task)
        assert image.shape == (480, 854, 3) and 0 < (truth == 1).mean() < 0.9


def test_engines_are_compared_in_one_table(checkpoint, capsys) -> None:
    engines = [speed.Engine(str(checkpoint), "torch"), speed.Engine(str(checkpoint), "openvino")]
    rows = list(speed.measure_engines(engines, speed.MeasureEngine(1, 1, (64,), 1), passes=1))
    names = [row.name.split(": ") for row in rows]
    assert {name for name, _ in names} == {"small.pth torch fp32"}
    assert len({name for _, name in names}) == 7 and all(row.value == row.reference > 0 for row in rows)
    (complaint,) = capsys.readouterr().err.strip().splitlines()
    assert complaint.startswith("small.pth openvino fp32: ") and "runs in torch" in complaint


def test_every_setting_of_inference_is_timed(checkpoint) -> None:
    rows = list(speed.measure_settings(str(checkpoint), repeats=1))
    assert len(rows) == 5 and all(row.value > 0 and row.reference == rows[0].value for row in rows)
    model = open_model(checkpoint)
    assert speed.click_seconds(model, 1, with_flip=False, zoom_in=False) > 0


def test_the_parts_of_a_step_add_up_and_leave_the_run_its_recipe() -> None:
    recipe = dataclasses.replace(Recipe(), batch_size=2, rounds=(0.5, 0.5))
    run = Run(recipe, ISModel())
    batch = {
        "images": torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        "instances": torch.zeros(2, 1, 64, 64, dtype=torch.uint8),
        "points": torch.full((2, 6, 3), -1.0),
    }
    batch["instances"][..., 16:48, 16:48] = 1
    batch["points"][:, 0] = torch.tensor([32.0, 32.0, 0.0])
    parts = speed.step_parts(run, batch, repeats=2)
    assert len(parts) == 3 and parts["clicks, forward pass and loss"] > 0 and parts["optimiser"] > 0
    assert run.recipe == recipe and run.batch == 0


def test_the_benchmark_is_timed(capsys) -> None:
    rows = {row.name: row for row in speed.measure_benchmark("grabcut", tasks=3, clicks=2)}
    parts = [rows[f"benchmark: {name}"].value for name in ("the model's part of a click", "scoring alone")]
    assert all(np.array(parts) > 0)
    assert rows["benchmark: tasks a second, 1 processes"].reference == \
        rows["benchmark: tasks a second, 1 processes"].value


@pytest.mark.parametrize("arguments", [["--repeats", "0"], ["--sides", "-4"], ["--passes", "x"], ["--threads", "0"]])
def test_a_wrong_call_measures_nothing(arguments, capsys, monkeypatch) -> None:
    monkeypatch.setattr(speed, "_measure", None)
    with pytest.raises(SystemExit) as stopped:
        speed.main(arguments)
    assert stopped.value.code == 2 and "is no whole number from" in capsys.readouterr().err


def test_a_wrong_folder_or_model_is_noticed_before_anything_is_measured(checkpoint, capsys) -> None:
    assert speed.main(["--folder", "/nowhere", "--model", "/neither/model.pth"]) == 2
    assert "/nowhere is not a folder" in capsys.readouterr().err
    assert speed.main(["--model", str(checkpoint), "--model", "/nowhere/model.pth"]) == 1
    shown = capsys.readouterr()
    assert "/nowhere/model.pth is missing" in shown.err and shown.out == ""
