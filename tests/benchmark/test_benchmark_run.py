"""`python -m utils.benchmark` from end to end, with small stand-ins for models."""
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from benchmark_models import Disks, SmallDisks

from utils.benchmark import runner
from utils.benchmark.__main__ import main
from utils.benchmark.combinations import combinations
from utils.benchmark.protocol import parse_model
from utils.clicker import Click, Clicker
from utils.files import folder_lock
from utils.pool import each_done

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (60, 80)
NAMES = ("ball_00001", "ball_00002", "box_00001", "pair_00001")


@pytest.fixture
def isolated() -> None:
    """For tests of what a process of its own is needed for."""


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    """Stand-ins for models are evaluated without a process of their own, whose start takes longer than all else."""
    if "isolated" in request.fixturenames:
        yield
        return
    monkeypatch.setattr(runner, "each_done", lambda *arguments, isolated: each_done(*arguments))
    yield
    torch.set_grad_enabled(True)  # the work sets them for its process
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def data(tmp_path) -> Path:
    """Four pictures of light objects on grey, in run.py's format; two are frames of one sequence."""
    folder = tmp_path / "data"
    for part in ("imgs", "masks"):
        (folder / part).mkdir(parents=True)
    for i, name in enumerate(NAMES):
        mask = np.zeros(SHAPE, np.uint8)
        cv2.circle(mask, (25 + 5 * i, 30), 14, 255, -1)
        cv2.rectangle(mask, (50, 5 + 5 * i), (70, 25), 255, -1)
        image = np.where(mask[:, :, None] > 0, np.uint8(210), np.uint8(90)) * np.ones(3, np.uint8)
        cv2.imwrite(str(folder / "imgs" / f"{name}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
    return folder


def darken(data: Path, name: str) -> None:
    """Makes an image black, which some of the models can't bear."""
    cv2.imwrite(str(data / "imgs" / f"{name}.png"), np.zeros((*SHAPE, 3), np.uint8))


def read(out: Path) -> tuple[list[dict], dict]:
    """tasks.csv and summary.json."""
    with (out / "tasks.csv").open(newline="") as file:
        return list(csv.DictReader(file)), json.loads((out / "summary.json").read_text())


def figures(rows: list[dict]) -> list[dict]:
    """Rows without the times."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


def run(data, out, *arguments, model="benchmark_models:Disks", clicks=5) -> int:
    model_arguments = ["--model", model] if model else []
    return main([str(data), "--out", str(out), "--clicks", str(clicks), *model_arguments, *arguments])


def slow_ious(data: Path, name: str, predictor, clicks: int) -> list[float]:
    """The protocol once more, in few words."""
    image = cv2.imread(str(data / "imgs" / f"{name}.png"))[:, :, ::-1]
    truth = cv2.imread(str(data / "masks" / f"{name}.png")).max(axis=2) > 0
    predictor.set_input_image(image)
    clicker, mask, ious = Clicker(gt_mask=truth), np.zeros(SHAPE, bool), []
    for _ in range(clicks):
        clicker.make_next_click(mask)
        mask = predictor.get_prediction(clicker) > predictor.pred_thr
        ious.append((mask & truth).sum() / (mask | truth).sum())
    return ious


@pytest.mark.usefixtures("isolated")
def test_figures_are_those_of_the_protocol(data, tmp_path):
    assert run(data, tmp_path / "out", clicks=20) == 0
    rows, summary = read(tmp_path / "out")
    assert [row["task"] for row in rows] == list(NAMES)
    assert [row["cluster"] for row in rows] == ["ball", "ball", "box", "pair"]
    expected = {name: slow_ious(data, name, Disks(), 20) for name in NAMES}
    for row in rows:
        assert [float(row[f"IoU@{k}"]) for k in range(1, 21)] == pytest.approx(expected[row["task"]], abs=1e-6)
    (result,) = summary["results"]
    assert (result["tasks"], result["clusters"]) == (4, 3)
    for k in (1, 3, 20):
        estimate = result["figures"][f"IoU@{k}"]
        assert estimate["mean"] == pytest.approx(np.mean([ious[k - 1] for ious in expected.values()]))
        assert estimate["low"] <= estimate["mean"] <= estimate["high"]
    for target in (80, 85, 90, 95):
        reached = [[k for k, iou in enumerate(ious, 1) if iou >= target / 100] for ious in expected.values()]
        noc = np.mean([clicks[0] if clicks else 20 for clicks in reached])
        assert result["figures"][f"NoC20@{target}"]["mean"] == pytest.approx(noc)
        assert result["failures"][f"NoF20@{target}"] == sum(not clicks for clicks in reached)
        miss = np.mean([not any(k <= 3 for k in clicks) for clicks in reached])
        assert result["figures"][f"Miss{target}@3"]["mean"] == pytest.approx(miss)


def test_the_variant_with_a_hundred_clicks(data, tmp_path):
    assert run(data, tmp_path / "out", "--limit", "2", clicks=100) == 0
    rows, summary = read(tmp_path / "out")
    names = summary["results"][0]["figures"]
    assert {"NoC20@90", "NoC100@90", "NoF100@95", "NoI20@80", "NoI100@80", "IoU@100", "BIoU@100"} <= set(names)
    assert all(int(row["NoC100@90"]) >= int(row["NoC20@90"]) for row in rows)


def test_several_processes_give_the_same(data, tmp_path):
    assert run(data, tmp_path / "one", "--user", "exact", "noisy") == 0
    assert run(data, tmp_path / "two", "--user", "exact", "noisy", "--jobs", "2") == 0
    (rows, summary), (others, other_summary) = read(tmp_path / "one"), read(tmp_path / "two")
    assert figures(rows) == figures(others)
    assert [result["figures"] for result in summary["results"]] == [r["figures"] for r in other_summary["results"]]
    assert summary["robustness"] == other_summary["robustness"]


def command(data: Path, out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "utils.benchmark", str(data), "--out", str(out), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "benchmark")}


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on(data, tmp_path, stop):
    arguments = ("--model", "benchmark_models:SlowDisks", "--clicks", "12", "--user", "exact", "noisy")
    assert main([*command(data, tmp_path / "whole", *arguments)[3:]]) == 0
    out = tmp_path / "stopped"
    process = subprocess.Popen(command(data, out, *arguments), cwd=ROOT, env=environment(), stderr=subprocess.PIPE)
    journal = out / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        time.sleep(0.005)
    process.send_signal(stop)
    assert process.wait() == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    process.stderr.close()
    played = journal.read_bytes().count(b"\n")
    assert 2 <= played < 8 and not (out / "report.html").exists()
    with journal.open("ab") as file:  # as if the last line had been torn
        file.write(b'{"key": "abc", "da')
    assert main([*command(data, out, *arguments)[3:]]) == 0
    assert len(journal.read_bytes().splitlines()) == 8 + 1  # nothing twice, and the torn line
    assert figures(read(out)[0]) == figures(read(tmp_path / "whole")[0])


def test_what_has_been_played_is_not_played_again(data, tmp_path, capsys):
    assert run(data, tmp_path / "out") == 0
    lines = (tmp_path / "out" / "journal.jsonl").read_bytes()
    assert run(data, tmp_path / "out") == 0
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == lines
    cv2.imwrite(str(data / "masks" / f"{NAMES[0]}.png"), np.full(SHAPE, 255, np.uint8))
    assert run(data, tmp_path / "out") == 0  # one task has another mask now
    assert len((tmp_path / "out" / "journal.jsonl").read_bytes().splitlines()) == 5
    assert read(tmp_path / "out")[0][0]["area"] == str(SHAPE[0] * SHAPE[1])
    assert run(data, tmp_path / "out", "--fresh") == 0
    assert len((tmp_path / "out" / "journal.jsonl").read_bytes().splitlines()) == 4


def test_models_of_one_file_are_told_apart_when_a_run_goes_on(data, tmp_path):
    both = ("--model", "small=benchmark_models:SmallDisks")
    assert run(data, tmp_path / "out", *both) == 0
    rows, _ = read(tmp_path / "out")
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 2 * len(NAMES)
    assert run(data, tmp_path / "out", *both) == 0
    assert figures(read(tmp_path / "out")[0]) == figures(rows)


def test_labels_ignored_before_count_now(tmp_path):
    """A run into the folder of one with other ignored labels gives what a run into a new one gives."""
    labels = np.zeros(SHAPE, np.uint8)
    cv2.circle(labels, (40, 30), 20, 255, -1)
    cv2.circle(labels, (40, 30), 14, 1, -1)
    for part, picture in (("images", np.where(labels, 210, 90).astype(np.uint8)), ("labels", labels)):
        (tmp_path / "data" / part).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / part / "a.png"), picture)
    assert run(tmp_path / "data", tmp_path / "out") == 0
    for out in ("out", "fresh"):
        assert run(tmp_path / "data", tmp_path / out, "--ignore-label", "254") == 0
    assert figures(read(tmp_path / "out")[0]) == figures(read(tmp_path / "fresh")[0])
    assert [row["task"] for row in read(tmp_path / "out")[0]] == ["a#1", "a#255"]


def test_results_of_another_model_are_not_replaced(data, tmp_path, capsys):
    out, small = tmp_path / "out", "small=benchmark_models:SmallDisks"
    assert run(data, out) == 0
    before = (out / "summary.json").read_text()
    assert run(data, out, model=small) == 2
    assert "holds the results of the model Disks; give all models in one run" in capsys.readouterr().err
    assert (out / "summary.json").read_text() == before
    assert run(data, out, "--model", small) == 0  # both: the first one's are taken over
    assert "4 of 8 results are taken from an earlier run" in capsys.readouterr().err
    assert {row["model"] for row in read(out)[0]} == {"Disks", "small"}
    assert run(data, out, "--fresh", model=small) == 0
    assert {row["model"] for row in read(out)[0]} == {"small"}


def test_results_on_other_data_are_not_replaced(data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "others")
    assert run(data, tmp_path / "out") == 0
    assert run(tmp_path / "others", tmp_path / "out") == 2
    assert f"holds the results on {data}; give all data sets in one run" in capsys.readouterr().err
    both = [str(data), str(tmp_path / "others"), "--out", str(tmp_path / "out"), "--clicks", "5"]
    assert main([*both, "--model", "benchmark_models:Disks"]) == 0
    assert len(read(tmp_path / "out")[0]) == 8


def test_an_object_is_known_by_its_state(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "radius.txt").write_text("0.1")
    assert run(data, tmp_path / "out", model="benchmark_models:FromFile") == 0
    (tmp_path / "radius.txt").write_text("0.2")
    assert run(data, tmp_path / "out", model="benchmark_models:FromFile") == 2
    assert "the model FromFile as it was before a change" in capsys.readouterr().err


def test_what_can_not_be_known_is_not_taken_over(data, tmp_path, capsys):
    for _ in range(2):
        assert run(data, tmp_path / "out", model="benchmark_models:NotPickled") == 0
    assert "NotPickled can't be pickled, so that its state is unknown" in capsys.readouterr().err
    assert len((tmp_path / "out" / "journal.jsonl").read_bytes().splitlines()) == 2 * len(NAMES)


def test_one_run_a_folder(data, tmp_path, capsys):
    with folder_lock(tmp_path / "out", "benchmark"):
        assert run(data, tmp_path / "out") == 2
    assert "another benchmark is writing to" in capsys.readouterr().err


def test_what_has_no_object_is_named(data, tmp_path, capsys):
    cv2.imwrite(str(data / "masks" / f"{NAMES[1]}.png"), np.zeros(SHAPE, np.uint8))
    assert run(data, tmp_path / "out") == 0
    assert f"data: left out, as there is no object: {NAMES[1]}" in capsys.readouterr().err
    rows, summary = read(tmp_path / "out")
    assert len(rows) == 3 and summary["without_object"] == {"data": [NAMES[1]]}


@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "cp1252"}])
def test_names_of_every_language(data, tmp_path, variables):
    names = [os.fsencode("мяч"), b"caf\xe9"]  # the second is no UTF-8
    for part in ("imgs", "masks"):
        for old, new in zip(NAMES, names, strict=False):
            os.rename(os.fsencode(data / part / f"{old}.png"), os.fsencode(data / part) + b"/" + new + b".png")
    (data / "imgs" / f"{NAMES[2]}.png").write_bytes(b"no picture")
    out = tmp_path / "имя"
    arguments = ("--model", "benchmark_models:Disks", "--clicks", "2")
    done = subprocess.run(command(data, out, *arguments), cwd=ROOT, env={**environment(), **variables},
                          capture_output=True, timeout=120)
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    rows, _ = read(out)
    assert len(rows) == 4 and "IoU@2" in rows[0]
    (out / "report.html").read_text(encoding="utf-8")
    if "LC_ALL" not in variables:
        assert {"мяч", "caf\ufffd"} <= {row["task"] for row in rows}


def test_harm_is_told(data, tmp_path):
    assert run(data, tmp_path / "out", clicks=8) == 0
    rows, summary = read(tmp_path / "out")
    ious = np.array([[float(row[f"IoU@{k}"]) for k in range(9)] for row in rows])
    lost = -np.diff(ious, axis=1)
    (result,) = summary["results"]
    assert result["figures"]["Hurt"]["mean"] == pytest.approx((lost > 0.05).mean())
    assert result["largest_drop"] == pytest.approx(max(0, lost.max()), abs=2e-6)


def test_a_model_under_two_names_is_taken_over_for_both(data, tmp_path):
    both = ("--model", "again=benchmark_models:Disks")
    for _ in range(2):
        assert run(data, tmp_path / "out", *both) == 0
        rows, _ = read(tmp_path / "out")
        assert [row["model"] for row in rows] == ["Disks", "again"] * len(NAMES)


def test_progress_tells_the_time_left(data, tmp_path, capsys):
    assert run(data, tmp_path / "out") == 0
    assert re.search(r"Disks: 100%.* 4/4 \[\d\d:\d\d<\d\d:\d\d", capsys.readouterr().err)


# ------------------------------------------------------------------------------- what goes wrong


def test_broken_images_do_not_lose_the_others(data, tmp_path, capsys):
    (data / "imgs" / f"{NAMES[0]}.png").write_bytes(b"no picture")
    (data / "masks" / f"{NAMES[2]}.png").unlink()
    assert run(data, tmp_path / "out") == 1
    rows, summary = read(tmp_path / "out")
    assert {row["task"] for row in rows if row["error"]} == {NAMES[0], NAMES[2]} and len(rows) == 4
    assert [failure["task"] for failure in summary["failed"]] == [NAMES[2], NAMES[0]]
    assert "ball_00001.png is damaged or no picture that can be read" in rows[1]["error"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "2 tasks failed" in report and "has no mask: put box_00001.png into" in report
    cv2.imwrite(str(data / "imgs" / f"{NAMES[0]}.png"), np.full((*SHAPE, 3), 90, np.uint8))
    cv2.imwrite(str(data / "masks" / f"{NAMES[2]}.png"), np.full(SHAPE, 255, np.uint8))
    assert run(data, tmp_path / "out") == 0  # mended, and tried again


@pytest.mark.parametrize(
    ("model", "error"),
    [("DislikesDark", "RuntimeError: too dark"), ("DiesInTheDark", "the process died (SIGABRT) over this task")],
)
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.usefixtures("isolated")
def test_a_model_that_fails_on_one_image(data, tmp_path, model, error, jobs):
    darken(data, NAMES[1])
    assert run(data, tmp_path / "out", "--jobs", jobs, model=f"benchmark_models:{model}") == 1
    rows, _ = read(tmp_path / "out")
    assert {row["task"]: row["error"] for row in rows} == {name: error if name == NAMES[1] else "" for name in NAMES}
    assert all(row["IoU@5"] for row in rows if not row["error"])


def test_the_report_tells_whose_means_are_of_fewer_tasks(data, tmp_path):
    darken(data, NAMES[1])
    arguments = ("--model", "benchmark_models:DislikesDark", "--user", "exact", "outside")
    assert run(data, tmp_path / "out", *arguments, clicks=3) == 1
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Tasks that did not fail: Disks 4, DislikesDark 3" in report
    assert "1 task failed." in report  # with two users
    for kind in ("points of IoU", "points of Boundary IoU", "clicks needed"):
        assert f"data: DislikesDark − Disks, {kind}. 3 tasks" in report
        assert f"data: DislikesDark, {kind}. 3 tasks" in report and f"data: Disks, {kind}. 4 tasks" in report


def test_every_task_may_fail(data, tmp_path):
    assert run(data, tmp_path / "out", model="benchmark_models:Logits") == 1
    rows, summary = read(tmp_path / "out")
    assert all("must return values in [0, 1], but gave" in row["error"] for row in rows)
    assert summary["results"] == []
    assert "nothing was measured" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["."], "is of no known format"),
        (["DATA", "--model", "missing.pth"], "missing.pth is missing; name a model file"),
        (["DATA", "--model", "no_module:Model"], "there is no module no_module"),
        (["DATA", "--model", "benchmark_models:Missing"], "can't be loaded: .* no attribute 'Missing'"),
        (["DATA", "--model", "benchmark_models:no_model"], "benchmark_models:no_model can't be loaded"),
        (["DATA", "--model", "benchmark_models:CannotStart", "--initial-masks", "perturbed"],
         "can't start from a mask"),
        (["DATA", "--model", "grabcut", "--model", "grabcut"], "share a name; give one as NAME=SOURCE"),
        (["DATA", "--initial-masks", "nowhere", "--model", "grabcut"],
         "nowhere is no folder; --initial-masks is nothing, perturbed or"),
        (["DATA", "--replay", "nowhere.jsonl", "--model", "grabcut"], "nowhere.jsonl can't be read"),
        (["DATA", "--replay", "setup.jsonl", "--model", "grabcut"], "setup.jsonl is no click log"),
        (["DATA", "DATA", "--model", "grabcut"], "is given twice"),
        (["DATA", "--interactions", "click", "--user", "noisy"], "--interactions has users of its own"),
    ],
)
def test_a_call_that_can_not_be_carried_out(data, tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.jsonl").write_text('{"clicks": 3}\n')
    arguments = [str(data) if argument == "DATA" else argument for argument in arguments]
    assert main([*arguments, "--out", "out", "--clicks", "2"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]

    assert re.search(complaint, last)
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("arguments", [[], ["DATA"], ["DATA", "--out", "o", "--clicks", "0"],
                                       ["DATA", "--out", "o", "--outside-rate", "1.5"],
                                       ["DATA", "--out", "o", "--ignore-label", "x"],
                                       ["DATA", "--out", "o", "--clicks", "100000000000"],
                                       ["DATA", "--out", "o", "--seed", "-1"],
                                       ["DATA", "--out", "o", "--interactions", "click,stork"],
                                       ["DATA", "--out", "o", "--jobs", "1000000"]])
def test_a_wrong_call(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_help_groups_the_arguments(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n{group}:\n" in text for group in ("data", "protocol", "models", "running"))


# ------------------------------------------------------------------------------- comparing


def test_two_models_are_paired(data, tmp_path):
    assert run(data, tmp_path / "out", "--model", "small=benchmark_models:SmallDisks") == 0
    rows, summary = read(tmp_path / "out")
    (pair,) = summary["pairs"]
    assert (pair["minuend"], pair["subtrahend"], pair["tasks"]) == ("small, exact", "Disks, exact", 4)
    for k in (1, 5):
        ious = {m: np.array([float(r[f"IoU@{k}"]) for r in rows if r["model"] == m]) for m in ("Disks", "small")}
        assert pair["figures"][f"IoU@{k}"]["mean"] == pytest.approx((ious["small"] - ious["Disks"]).mean(), abs=1e-6)
        assert pair["figures"][f"IoU@{k}"]["low"] is not None
    assert "Paired differences" in (tmp_path / "out" / "report.html").read_text()


def test_clicks_are_replayed_on_another_model(data, tmp_path):
    assert run(data, tmp_path / "first") == 0
    log = tmp_path / "first" / "clicks.jsonl"
    small = ("--replay", str(log))
    assert run(data, tmp_path / "second", *small, model="small=benchmark_models:SmallDisks", clicks=4) == 0
    logged = {line["task"]: line for line in map(json.loads, log.read_text().splitlines())}
    for line in map(json.loads, (tmp_path / "second" / "clicks.jsonl").read_text().splitlines()):
        assert line["clicks"] == logged[line["task"]]["clicks"][:4]
        predictor, clicker = SmallDisks(), Clicker()
        predictor.set_input_image(np.zeros((*SHAPE, 3), np.uint8))
        for y, x, is_positive in line["clicks"]:
            clicker.add_click(Click(is_positive, (y, x)))
        truth = cv2.imread(str(data / "masks" / f"{line['task']}.png"), 0) > 0
        mask = predictor.get_prediction(clicker) > 0.4
        assert line["ious"][3] == pytest.approx((mask & truth).sum() / (mask | truth).sum())
    (pair,) = read(tmp_path / "second")[1]["pairs"]
    assert (pair["minuend"], pair["subtrahend"], pair["tasks"]) == ("small, replay", "Disks (log), replay", 4)


def test_a_model_replayed_on_its_own_clicks_differs_by_nothing(data, tmp_path):
    assert run(data, tmp_path / "first", "--user", "noisy") == 0
    assert run(data, tmp_path / "second", "--replay", str(tmp_path / "first" / "clicks.jsonl")) == 0
    (pair,) = read(tmp_path / "second")[1]["pairs"]
    assert {tuple(estimate.values()) for estimate in pair["figures"].values()} == {(0.0, 0.0, 0.0)}


def test_a_log_that_does_not_fit(data, tmp_path, capsys):
    assert run(data, tmp_path / "first", "--user", "exact", "noisy") == 0
    replay = ("--replay", str(tmp_path / "first" / "clicks.jsonl"))
    calls = [
        ((), 5, "has the clicks of Disks/exact, Disks/noisy; choose one by --replay-of"),
        (("--replay-of", "Disks/exact"), 9, "has 5 clicks on ball_00001; use --clicks 5"),
        (("--replay-of", "Disks/exact", "--initial-masks", "perturbed"), 5,
         "starts from nothing, this run from perturbed"),
    ]
    for arguments, clicks, complaint in calls:
        assert run(data, tmp_path / "second", *replay, *arguments, clicks=clicks) == 2
        assert complaint in capsys.readouterr().err.strip().splitlines()[-1]
    darken(data, NAMES[0])
    assert run(data, tmp_path / "second", *replay, "--replay-of", "Disks/exact") == 2
    assert "was made with another image or mask of ball_00001" in capsys.readouterr().err


def test_a_log_from_other_starting_masks(data, tmp_path, capsys):
    shutil.copytree(data / "masks", tmp_path / "starts")
    for start, change in (("perturbed", ()), (str(tmp_path / "starts"), ("redraw",))):
        call = ("--initial-masks", start)
        assert run(data, tmp_path / "first", *call) == 0
        call += ("--replay", str(tmp_path / "first" / "clicks.jsonl"))
        assert run(data, tmp_path / "second", *call) == 0
        if change:
            cv2.imwrite(str(tmp_path / "starts" / f"{NAMES[0]}.png"), np.full(SHAPE, 255, np.uint8))
        assert run(data, tmp_path / "second", *call, "--seed", "1") == 2
        assert "starts from another mask of ball_00001 than this run; use the" in capsys.readouterr().err


def test_noise_is_tabled_against_the_exact_user(data, tmp_path):
    users = ("--user", "exact", "noisy", "spread", "outside", "wrong-sign", "--wrong-sign-rate", "1")
    assert run(data, tmp_path / "out", *users) == 0
    rows, summary = read(tmp_path / "out")
    assert len(rows) == 4 * 5
    names = [pair["minuend"] for pair in summary["robustness"]]
    assert names == ["Disks, noisy", "Disks, spread", "Disks, outside", "Disks, wrong-sign"]
    wrong = summary["robustness"][3]
    assert wrong["subtrahend"] == "Disks, exact" and wrong["figures"]["IoU@1"]["mean"] < 0
    assert all(float(row["IoU@1"]) == 0 for row in rows if row["user"] == "wrong-sign")  # never a positive click
    assert "<h2>Robustness</h2>" in (tmp_path / "out" / "report.html").read_text()


def test_correcting_a_damaged_mask(data, tmp_path):
    assert run(data, tmp_path / "out", "--initial-masks", "perturbed") == 0
    rows, _ = read(tmp_path / "out")
    assert all(0.74 < float(row["IoU@0"]) < 0.86 for row in rows)
    assert run(data, tmp_path / "nothing") == 0
    from_nothing, _ = read(tmp_path / "nothing")
    assert all(float(a["IoU@1"]) > float(b["IoU@1"]) for a, b in zip(rows, from_nothing, strict=True))


def test_correcting_the_masks_of_a_folder(data, tmp_path):
    assert run(data, tmp_path / "out", "--initial-masks", str(data / "masks")) == 0
    assert all(float(row["IoU@0"]) == 1 for row in read(tmp_path / "out")[0])
    (tmp_path / "few").mkdir()
    assert run(data, tmp_path / "out", "--initial-masks", str(tmp_path / "few")) == 1
    assert "has no initial mask of ball_00001: put ball_00001.png there" in read(tmp_path / "out")[0][0]["error"]


# ------------------------------------------------------------------------------- strokes and contours


def test_combinations_are_those_of_saic_is():
    found = combinations(("click", "stroke", "contour"))
    mixed = {name: kinds for name, kinds in found.items() if "alone" not in name}
    assert len(mixed) == 27 and len(set(mixed.values())) == 27
    assert mixed["stroke-click-contour"] == ("stroke", "click", "contour", "click")
    assert {name: found[name] for name in set(found) - set(mixed)} == {
        f"{kind} alone": (kind,) for kind in ("click", "stroke", "contour")}


@pytest.mark.parametrize("model", ["Disks", "Understands"])
def test_mixed_interactions(data, tmp_path, capsys, model):
    kinds = ("--interactions", "click,stroke")
    assert run(data, tmp_path / "out", *kinds, "--limit", "2", model=f"benchmark_models:{model}") == 0
    assert capsys.readouterr().err.count("understands clicks alone") == (model == "Disks")
    rows, summary = read(tmp_path / "out")
    (mixture,) = summary["combinations"]
    assert mixture["combinations"] == 8 and mixture["as_clicks"] == (model == "Disks")
    by_user = {user: np.array([[float(row[f"IoU@{k}"]) for k in range(1, 6)] for row in rows if row["user"] == user])
               for user in {row["user"] for row in rows}}
    assert len(by_user) == 10 and all(ious.shape == (2, 5) for ious in by_user.values())
    means = [ious.mean() for user, ious in by_user.items() if "alone" not in user]
    assert mixture["iou"] == pytest.approx(np.mean(means), abs=1e-6)
    assert mixture["iou_deviation"] == pytest.approx(np.std(means), abs=1e-6)
    reached = [[next((k for k, v in enumerate(task, 1) if v >= 0.85), 5) for task in ious]
               for user, ious in by_user.items() if "alone" not in user]
    assert mixture["noi"]["NoI@85"] == pytest.approx(np.mean(reached))
    assert "Combinations of interactions" in (tmp_path / "out" / "report.html").read_text()


def test_clicks_alone_are_the_exact_users(data, tmp_path):
    assert run(data, tmp_path / "mixed", "--interactions", "click") == 0
    assert run(data, tmp_path / "exact") == 0
    ious = [[row["IoU@5"] for row in read(tmp_path / out)[0] if row["user"] == user]
            for out, user in (("mixed", "click-click-click"), ("mixed", "click alone"), ("exact", "exact"))]
    assert ious[0] == ious[1] == ious[2]


def test_drawings_are_replayed_from_a_log(data, tmp_path):
    understands = {"model": "benchmark_models:Understands"}
    assert run(data, tmp_path / "first", "--interactions", "stroke,contour", **understands) == 0
    log = str(tmp_path / "first" / "clicks.jsonl")
    replay = ("--interactions", log, "--replay-of", "Understands/stroke-contour-stroke")
    assert run(data, tmp_path / "second", *replay, **understands) == 0
    (pair,) = read(tmp_path / "second")[1]["pairs"]
    assert {tuple(estimate.values()) for estimate in pair["figures"].values()} == {(0.0, 0.0, 0.0)}


# ------------------------------------------------------------------------------- models


def test_names_of_models():
    assert parse_model("a/b/last.pth").name == "last"
    assert parse_model("mine=a/b/last.pth").source == "a/b/last.pth"
    assert parse_model("a=b/last.pth").name == "a"
    assert parse_model("grabcut").name == "GrabCut"
    assert parse_model("package.module:make.it").name == "make.it"
