"""Training runs: they stop, go on, fail and end as they should, alone and in several processes."""
from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations
import cv2
import numpy as np
import pytest
import torch
from small_coco_lvis import COCO_IDS
from training_tools import (
    CPU,
    PROJECT,
    TINY,
    TWO_PHASES,
    VAL_IDS,
    learnt,
    same,
    train,
)

import solution
from solution import ClickSamples, Group, ISModel, NetworkConfig, Run, TrainingError, find_photos
from utils.click_training import recipe_from


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
    unnamed = {name: value for name, value in state.items() if name != "data"}
    for other in ({**state, "data": "another"}, unnamed):
        torch.save(other, tmp_path / "state.pth")
        with pytest.raises(TrainingError, match="other photos, masks or another start: use another output folder"):
            train(folder, tmp_path)
    torch.save(state, tmp_path / "state.pth")
    masks = folder / "train" / "masks"
    (masks / f"{COCO_IDS[0]}.pickle").write_bytes((masks / f"{COCO_IDS[1]}.pickle").read_bytes() + b" ")
    with pytest.raises(TrainingError, match="other photos, masks"):
        train(folder, tmp_path)
    (tmp_path / "state.pth").write_bytes(b"damaged")
    with pytest.raises(solution.CheckpointError, match="state.pth: damaged"):
        train(folder, tmp_path)


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


# A training in a process of its own: flushes and saves after every batch, and says so.
CHILD = """
import json, sys
import solution, torch, training_tools
from utils.click_training import recipe_from
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
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'tests'}", "OMP_NUM_THREADS": "1"}
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
