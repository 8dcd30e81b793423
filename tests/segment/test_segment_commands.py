"""The command line: masks of a folder, figures and pages, the comparison, speed, and one line for what goes wrong."""
from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from segment_helpers import SCENES, SMALL, write

from utils.segment import models, speed
from utils.segment.__main__ import main
from utils.segment.data import open_data
from utils.segment.evaluation import PIXELS, difference, evaluate, score_photo, summarise
from utils.segment.segmentation import IGNORED, load_model, probabilities, save_model

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ["--network", "unet", "--size", "64", "--no-hypercolumns", "--pretrained", "none", "--epochs", "1",
            "--batch-size", "2", "--workers", "0"]
PEOPLE_FLOOR = 0.85  # of people.pth on every fifth photo of people/test: .865, and .903 on all of them


@pytest.fixture
def model(tmp_path, small_model) -> Path:
    """A model file of random weights."""
    save_model(small_model, tmp_path / "model.pth")
    return tmp_path / "model.pth"


# ---------------------------------------------------------------------------------------------- train, predict


def test_a_model_is_trained_and_predicts_a_folder(scenes, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", str(scenes), "--out", str(out), *TRAINING, "--loss", "focal", "--without", "elastic"]) == 0
    assert "held-out photos" in capsys.readouterr().out
    assert main(["predict", str(out), str(scenes / "imgs"), "--out", str(tmp_path / "masks")]) == 0
    for name in SCENES:
        mask = cv2.imread(str(tmp_path / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        photo = cv2.imread(str(scenes / "imgs" / f"{name}.jpg"))
        assert mask.shape == photo.shape[:2] and set(np.unique(mask)) <= {0, 255}


def test_probabilities_as_grey_and_names_that_collide(model, scenes, tmp_path):
    photo = cv2.imread(str(scenes / "imgs" / "mug.jpg"))
    write(scenes / "imgs" / "mug.png", photo)
    options = ["--out", str(tmp_path / "masks"), "--probabilities", "--tta", "flip"]
    assert main(["predict", str(model), str(scenes / "imgs"), *options]) == 0
    names = {path.name for path in (tmp_path / "masks").iterdir()}
    assert names == {f"{name}.png" for name in SCENES if name != "mug"} | {"mug.jpg.png", "mug.png.png"}
    grey = cv2.imread(str(tmp_path / "masks" / "mug.png.png"), cv2.IMREAD_UNCHANGED)
    expected = probabilities(load_model(model), np.ascontiguousarray(photo[..., ::-1]), True)
    assert np.abs(grey / 255 - expected).max() <= 0.5 / 255 + 1e-6


def test_a_photo_that_cant_be_read_costs_only_itself(model, scenes, tmp_path, capsys):
    (scenes / "imgs" / "mug.jpg").write_bytes(b"torn")
    assert main(["predict", str(model), str(scenes / "imgs"), "--out", str(tmp_path / "masks")]) == 1
    assert len(list((tmp_path / "masks").iterdir())) == len(SCENES) - 1
    assert "mug.jpg" in capsys.readouterr().err


def test_shipped_models_have_names(monkeypatch, model):
    monkeypatch.setitem(models.SHIPPED, "cups", model)
    assert models.open_concept_model("cups").settings == SMALL


@pytest.mark.skipif(not models.SHIPPED["people"].is_file(), reason="people.pth is not there")
def test_people_are_found_by_the_shipped_model(shared_data):
    people = models.open_concept_model("people")
    assert models.SHIPPED["people"].stat().st_size < 12e6
    samples = open_data(shared_data / "people" / "test")[::5]
    scores = evaluate(samples, lambda photo: probabilities(people, photo) > 0.5)
    assert summarise(scores)["IoU a photo"].mean > PEOPLE_FLOOR


# ---------------------------------------------------------------------------------------------- evaluate


def test_figures_of_known_masks():
    truth = np.zeros((40, 40), np.uint8)
    truth[:, :20] = 1
    truth[:10] = IGNORED
    mask = np.zeros((40, 40), bool)
    mask[:, 10:20] = True
    score = score_photo("a", truth, mask)
    assert (score.intersection, score.union, score.truth, score.predicted) == (300, 600, 600, 300)
    assert (score.iou, score.dice) == (0.5, pytest.approx(2 / 3)) and 0 < score.boundary_iou < 1
    empty = score_photo("b", np.zeros((9, 9), np.uint8), np.zeros((9, 9), bool))
    assert (empty.iou, empty.dice, empty.boundary_iou) == (1, 1, 1)
    summary = summarise([score, empty])
    assert summary["IoU a photo"].mean == 0.75 and summary[PIXELS].mean == 0.5
    assert summary["IoU a photo"].low == 0.5 and summary["IoU a photo"].high == 1
    better = score_photo("a", truth, truth == 1)
    assert difference([better], [score])["IoU a photo"].mean == 0.5


def test_evaluate_writes_a_table_and_a_page(model, scenes, tmp_path, capsys):
    options = ["--out", str(tmp_path / "report"), "--clean", "0.1", "--tta", "flip"]
    assert main(["evaluate", str(model), str(scenes), *options]) == 0
    assert "flip, clean-up 0.1 − plain, IoU" in capsys.readouterr().out
    with (tmp_path / "report" / "photos.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == sorted(SCENES) and all(0 <= float(row["iou"]) <= 1 for row in rows)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == len(SCENES) and "flip, clean-up 0.1" in page and "http" not in page
    assert all(name in page for name in SCENES)


# ---------------------------------------------------------------------------------------------- compare, speed


def test_three_networks_are_compared_on_one_split(scenes, tmp_path, capsys):
    out = tmp_path / "compare"
    assert main(["compare", str(scenes), "--out", str(out), *TRAINING[2:]]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("encoder_decoder", "unet", "pretrained_unet"))
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "unet − encoder_decoder" in page and "<svg" in page
    assert cv2.imread(str(out / "side_by_side.jpg")) is not None
    header = (out / "comparison.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "photo,encoder_decoder,unet,pretrained_unet"
    assert not load_model(out / "unet" / "segmentation_model.pth").settings.hypercolumns


def test_every_runtime_is_timed_and_gives_the_same_masks(model, scenes, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main(["speed", str(model), "--size", "64x48", "--images", str(scenes / "imgs"), "--runs", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in lines[2:]}
    assert rows["torch"][2:] == [0, 1] and len(rows) >= 2
    assert all(row[0] > 0 and row[2] < 1e-3 and row[3] > 0.99 for row in rows.values())


def test_speed_needs_no_runtime_but_torch(model, monkeypatch):
    monkeypatch.setattr(speed, "installed", lambda name: False)
    only, = speed.measure(model, [np.zeros((48, 64, 3), np.uint8)], runs=2)
    assert only.runtime == "torch" and only.mask_iou == 1


# ---------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("command,status,reason", [
    (["predict", "MODEL", "nowhere", "--out", "masks"], 1, "nowhere does not exist"),
    (["predict", "nothing.pth", "imgs", "--out", "masks"], 1, "nothing.pth can't be read as a model"),
    (["predict", "imgs/mug.jpg", "imgs", "--out", "masks"], 1, "mug.jpg can't be read as a model"),
    (["predict", "MODEL", "imgs", "--out", "imgs"], 1, "holds the photos themselves"),
    (["evaluate", "MODEL", "imgs"], 1, "imgs has no photos with masks"),
    (["train", "imgs", "--out", "out", "--network", "unet"], 1, "imgs has no photos with masks"),
    (["train", ".", "--out", "out", "--network", "unet", "--loss", "hinge"], 1, "hinge is not known here"),
    (["train", ".", "--out", "out", "--network", "unet", "--size", "5"], 1, "choose 64 to 2048"),
    (["train", ".", "--out", "out", "--pretrained", "imgs/mug.jpg"], 1, "mug.jpg can't be read as a model"),
    (["grade", "imgs"], 1, "imgs has no test"),
    (["grade", "nowhere"], 2, "nowhere is not a folder"),
])
def test_what_goes_wrong_is_said_in_one_line(command, status, reason, model, scenes, monkeypatch, capsys):
    monkeypatch.chdir(scenes)
    before = {path for path in scenes.rglob("*") if path.is_file()}
    assert main([str(model) if part == "MODEL" else part for part in command]) == status
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1
    assert {path for path in scenes.rglob("*") if path.is_file() and path.name != ".lock"} == before


def test_the_command_runs_where_output_is_not_utf_8(tmp_path, model, scenes):
    (scenes / "imgs" / "mug.jpg").rename(scenes / "imgs" / "чашка.jpg")
    (scenes / "imgs" / "чашка.jpg").write_bytes(b"torn")
    command = [sys.executable, "-m", "utils.segment", "predict", str(model), str(scenes / "imgs"), "--out", "masks"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env={
        "PATH": "", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 1 and b".jpg" in done.stderr and b"Traceback" not in done.stderr
