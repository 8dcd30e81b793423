"""run.py against the contract with the grading system, mostly with a stand-in solution whose answers are known."""
from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import run

PROJECT = Path(run.__file__).resolve().parent

# A solution that finds, of an object of several squares, those that were clicked. The blue channel of an image's
# first pixel says how it behaves on it.
STAND_IN = '''
import json, os, sys
from pathlib import Path
import cv2
import numpy as np
import torch

LOG = Path(os.environ["STAND_IN_LOG"]) if "STAND_IN_LOG" in os.environ else None


def note(**facts):
    if LOG:
        with open(LOG, "a") as file:
            file.write(json.dumps(facts) + "\\n")


class ISModel:
    def restore_from_checkpoint(self, path, device):
        note(what="restore", path=path, device=str(device), grad=torch.is_grad_enabled())

    def eval(self):
        self.pred_thr = 0.4
        return self


class Predictor:
    def __init__(self, model, device):
        note(what="construct", grad=torch.is_grad_enabled(), device=str(device))

    def set_input_image(self, image):
        self.image, self.behaviour = image, int(image[0, 0, 2])
        note(what="image", grad=torch.is_grad_enabled(), dtype=str(image.dtype), shape=image.shape,
             deterministic=torch.are_deterministic_algorithms_enabled(), mode=torch.get_deterministic_debug_mode(),
             cudnn=torch.backends.cudnn.enabled, seed=torch.initial_seed())

    def get_prediction(self, clicker):
        clicks = [(c.is_positive, *c.coords) for c in clicker.get_clicks()]
        note(what="clicks", grad=torch.is_grad_enabled(), clicks=clicks)
        squares = cv2.connectedComponents((self.image[..., 0] > 128).astype(np.uint8))[1]
        found = [squares[y, x] for positive, y, x in clicks if positive]
        prob = np.where(np.isin(squares, found), 0.45, 0.1).astype(np.float32)
        if self.behaviour == 1:
            raise ArithmeticError("the stand-in gives up")
        if self.behaviour == 7:
            sys.exit(3)
        if self.behaviour == 8:
            os._exit(9)
        odd = {2: prob * np.nan, 3: prob[:-1], 4: prob > 0.4, 5: prob * 3, 6: 1 - prob, 9: torch.from_numpy(prob)}
        return odd.get(self.behaviour, prob)
'''
SQUARES = {"four": (20, 16, 12, 8), "one": (20,), "none": ()}
GOOD = {"a.four.png": (SQUARES["four"], 0), "b.png": (SQUARES["one"], 0)}
GOOD_CSV = b"filename,ious\na.four.png,0.925926\nb.png,1.000000\n"  # 800 of 864 pixels; all of 400


def write_test(folder: Path, images: dict[str, tuple[tuple[int, ...], int]]) -> Path:
    """A test folder of images 40 x 100 with bright squares as objects; values are their sides and the behaviour."""
    for part in ("imgs", "masks"):
        (folder / part).mkdir(parents=True)
    for name, (sides, behaviour) in images.items():
        image, mask = np.zeros((40, 100, 3), np.uint8), np.zeros((40, 100), np.uint8)
        left = 4
        for side in sides:
            image[4 : 4 + side, left : left + side, 0] = 255
            mask[4 : 4 + side, left : left + side] = 1
            left += side + 4
        image[0, 0, 2] = behaviour
        cv2.imwrite(str(folder / "imgs" / name), image[..., ::-1])
        cv2.imwrite(str(folder / "masks" / (name.split(".")[0] + ".png")), mask)
    return folder


def write_room(folder: Path) -> Path:
    """A folder with run.py and utils/ beside the stand-in and an empty checkpoint."""
    shutil.copy(run.__file__, folder)
    shutil.copytree(PROJECT / "utils", folder / "utils", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "solution.py").write_text(STAND_IN)
    (folder / "checkpoint.pth").touch()
    return folder


def call(room: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the room's run.py from another folder."""
    variables = {k: v for k, v in os.environ.items() if k != "CHECKER"} | {"OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, str(room / "run.py"), *arguments]
    return subprocess.run(command, env=variables, cwd=room.parent, capture_output=True, text=True, timeout=300)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The stand-in as `solution` of this process; torch gets its own ways back afterwards."""
    module = types.ModuleType("solution")
    exec(compile(STAND_IN, "solution.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "solution", module)
    monkeypatch.delenv("CHECKER", raising=False)
    yield module
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.enabled = True


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Runs run.py's command line in this process."""
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    run.main()


# ---------------------------------------------------------------------------------------------- the local mode

@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> types.SimpleNamespace:
    """One local run over folders good and bad, as a person would start it, and all that it left."""
    room = write_room(tmp_path_factory.mktemp("room"))
    tests = room / "tests"
    write_test(tests / "00_sample_input", GOOD)
    for number, behaviour in enumerate((1, 2, 3, 4, 5, 9), 1):
        write_test(tests / f"{number:02d}_behaviour{behaviour}_input", {"a.png": (SQUARES["one"], behaviour)})
    write_test(tests / "10_empty_input", {"full.png": (SQUARES["none"], 6), "void.png": (SQUARES["none"], 0)})
    truncated = write_test(tests / "11_truncated_input", {"a.png": (SQUARES["one"], 0)}) / "imgs" / "a.png"
    truncated.write_bytes(truncated.read_bytes()[:60])
    other_size = write_test(tests / "12_sizes_input", {"a.png": (SQUARES["one"], 0)}) / "masks" / "a.png"
    cv2.imwrite(str(other_size), np.ones((30, 100), np.uint8))
    (write_test(tests / "13_missing_input", GOOD) / "masks" / "b.png").unlink()
    write_test(tests / "99_good_input", GOOD)
    (tests / "README_input").mkdir()  # no test: its name has no number
    done = call(room, str(tests), STAND_IN_LOG=str(room / "log"))
    log = [json.loads(line) for line in (room / "log").read_text().splitlines()]
    return types.SimpleNamespace(room=room, tests=tests, done=done, log=log, out=done.stdout.splitlines())


def test_local_run_goes_on_after_failures_and_ends_with_the_mark(local):
    assert local.done.returncode == 0, local.done.stderr
    statuses = [line for line in local.out if re.match(r"\d\d \d+\.\d\ds Ok|\d\d \w+ error$", line)]
    assert [re.sub(r"\d+\.\d\ds", "TIME", line) for line in statuses] == [
        "00 TIME Ok, IoU 0.9630",
        *[f"{number:02d} Runtime error" for number in range(1, 7)],
        "10 TIME Ok, IoU 0.5000",
        *[f"{number} Runtime error" for number in (11, 12, 13)],
        "99 TIME Ok, IoU 0.9630",
    ]
    assert local.done.stdout.endswith("\nMark: 10  0.9630\n")


def test_results_file_has_times_of_what_succeeded_only(local):
    results = json.loads((local.tests / "results.json").read_text())
    assert len(results) == 12
    for result in results:
        if result["status"].startswith("Ok"):
            assert set(result) == {"time", "status"} and result["time"] > 0
        else:
            assert result == {"status": "Runtime error"}


def test_output_file_byte_for_byte(local):
    for name in ("00_sample", "99_good"):
        assert (local.tests / f"{name}_check" / "output" / "output.csv").read_bytes() == GOOD_CSV
    assert not (local.tests / "01_behaviour1_check" / "output" / "output.csv").exists()


def test_a_picture_of_every_click_shows_image_and_probabilities(local):
    output = local.tests / "99_good_check" / "output"
    expected = {f"{index}_{click}.jpg" for index in range(2) for click in range(3)} | {"output.csv"}
    assert {path.name for path in output.iterdir()} == expected
    picture = cv2.imread(str(output / "0_0.jpg"))
    assert picture.shape == (40, 200, 3)
    blue, green, red = picture[10, 53].astype(int)
    assert red > 200 and max(blue, green) < 90  # a square not found yet: the image's own red
    found, not_found = picture[10, 110].astype(int).sum(), picture[10, 153].astype(int).sum()
    assert found > not_found + 100  # the hot map is brighter where the stand-in is surer


def test_the_solution_is_used_as_the_grader_uses_it(local):
    device_and_grad = [(e["what"], e["device"], e["grad"]) for e in local.log if e["what"] in ("restore", "construct")]
    assert set(device_and_grad) == {("restore", "cpu", True), ("construct", "cpu", True)}
    assert {e["path"] for e in local.log if e["what"] == "restore"} == {str(local.room / "checkpoint.pth")}
    images = [e for e in local.log if e["what"] == "image"]
    for e in images:
        assert (e["dtype"], e["shape"], e["grad"]) == ("uint8", [40, 100, 3], False)
        assert (e["deterministic"], e["mode"], e["cudnn"], e["seed"]) == (True, 2, False, 42)
    clicks = [e["clicks"] for e in local.log if e["what"] == "clicks"]
    assert not any(e["grad"] for e in local.log if e["what"] == "clicks")
    assert clicks[2] == [[True, 13, 13], [True, 11, 35], [True, 9, 53]]  # the squares' middles, largest first
    assert clicks[5] == [[True, 13, 13], [False, 0, 0], [False, 0, 0]]  # no error is left


@pytest.mark.parametrize(
    "sentence",
    [
        "ArithmeticError: the stand-in gives up",
        "get_prediction must return values in [0, 1], but gave nan to nan",
        "get_prediction must return the image's shape (40, 100), but gave (39, 100)",
        "get_prediction must return a numpy float array, but gave an array of bool",
        "get_prediction must return values in [0, 1], but gave 0.30",
        "get_prediction must return a numpy float array, but gave a Tensor",
        "11_truncated_input/imgs/a.png is truncated",
        "12_sizes_input/masks/a.png is 100x30; they must be equal",
        "13_missing_input/imgs/b.png has no mask: put b.png into",
    ],
)
def test_tracebacks_say_what_is_wrong(local, sentence):
    assert sentence in local.done.stdout


def test_an_empty_ground_truth_is_named_and_scored(local):
    table = (local.tests / "10_empty_check" / "output" / "output.csv").read_text()
    assert table == "filename,ious\nfull.png,0.000000\nvoid.png,1.000000\n"
    for name in ("full.png", "void.png"):
        assert re.search(rf"Warning: .*10_empty_input/masks/{name} marks no object", local.done.stderr)


def test_the_table_names_folders_and_warns_of_rendered_scenes(local):
    first = next(i for i, line in enumerate(local.out) if line.startswith("test "))
    table = local.out[first:-2]
    assert table[0].split() == ["test", "images", "IoU@1", "IoU@2", "IoU@3", "s/click", "mark"]
    rows = {line.split()[0]: line.split()[1:] for line in table[1:-1]}
    assert len(rows) == 12
    assert rows["99_good_input"][:4] == ["2", "0.7315", "0.8796", "0.9630"] and rows["99_good_input"][5] == "10"
    assert rows["00_sample_input"][5] == "10*"
    assert rows["01_behaviour1_input"] == ["Runtime", "error", "0"]
    assert table[-1] == "* 00_sample_input holds rendered scenes: a mark from it means nothing."
    assert len({len(line.rstrip("*")) for line in table[:-1]}) <= 2  # columns are aligned, the star hangs over


def test_progress_goes_to_stderr(local):
    assert "99_good_input" in local.done.stderr and "2/2" in local.done.stderr
    assert "2/2" not in local.done.stdout


def test_parallel_jobs_write_the_same_bytes_and_survive_failures(local, tmp_path):
    tests = tmp_path / "tests"
    for name in ("00_sample", "01_behaviour1"):
        shutil.copytree(local.tests / f"{name}_input", tests / f"{name}_input")
    write_test(tests / "02_dies_input", {"a.png": (SQUARES["one"], 8)})
    done = call(local.room, "--jobs", "2", str(tests))
    assert done.returncode == 0, done.stderr
    for name in ("output.csv", "0_2.jpg", "1_0.jpg"):
        alone = local.tests / "00_sample_check" / "output" / name
        assert (tests / "00_sample_check" / "output" / name).read_bytes() == alone.read_bytes()
    assert "01 Runtime error" in done.stdout and "ArithmeticError: the stand-in gives up" in done.stdout
    assert "02 Runtime error" in done.stdout and done.stdout.endswith("\nMark: 0 \n")


def test_sys_exit_in_the_solution_is_not_caught(stand_in, monkeypatch, tmp_path):
    write_test(tmp_path / "00_exits_input", {"a.png": (SQUARES["one"], 7)})
    with pytest.raises(SystemExit) as exit_:
        main(monkeypatch, str(tmp_path))
    assert exit_.value.code == 3 and not (tmp_path / "results.json").exists()


def test_a_failing_check_is_a_checker_error(stand_in, monkeypatch, capsys, tmp_path):
    def fail(_: Path) -> str:
        raise ValueError("no figures today")

    write_test(tmp_path / "00_good_input", GOOD)
    monkeypatch.setattr(run, "check_test", fail)
    main(monkeypatch, str(tmp_path))
    out = capsys.readouterr().out
    assert out.startswith("00 Checker error\n") and "no figures today" in out and out.endswith("\nMark: 0 \n")
    assert json.loads((tmp_path / "results.json").read_text()) == [{"status": "Checker error"}]


def test_a_failed_run_leaves_no_older_scores(stand_in, monkeypatch, tmp_path):
    write_test(tmp_path / "00_good_input", GOOD)
    main(monkeypatch, str(tmp_path))
    output = tmp_path / "00_good_check" / "output" / "output.csv"
    assert output.exists()
    monkeypatch.delattr(stand_in, "Predictor")
    main(monkeypatch, str(tmp_path))
    assert not output.exists()


def test_no_tests_and_no_images_are_said(stand_in, monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit, match="has no test: a test is a folder NN_name_input"):
        main(monkeypatch, str(tmp_path))
    (tmp_path / "00_empty_input").mkdir()
    main(monkeypatch, str(tmp_path))
    assert "00_empty_input/imgs has no images" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["tests", "more"], ["--jobs", "2"]])
def test_usage_of_the_local_mode(stand_in, monkeypatch, capsys, arguments):
    main(monkeypatch, *arguments)
    assert capsys.readouterr().out == "Usage: run.py tests_dir\n"


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_bad_numbers_of_processes_are_refused(stand_in, monkeypatch, capsys, jobs):
    with pytest.raises(SystemExit):
        main(monkeypatch, "tests", f"--jobs={jobs}")
    assert "is not a number of processes" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- the grading system

def test_checker_modes_print_their_answer_and_nothing_else(local, tmp_path):
    data, output = write_test(tmp_path / "data", GOOD), tmp_path / "data" / "output"
    output.mkdir()
    scored = call(local.room, "run_single_test", str(data), str(output), CHECKER="1")
    assert (scored.returncode, scored.stdout) == (0, ""), scored.stderr
    assert (output / "output.csv").read_bytes() == GOOD_CSV
    assert (output / "1_2.jpg").exists()
    checked = call(local.room, "check_test", str(data), "unused", CHECKER="1")
    assert (checked.returncode, checked.stdout) == (0, "Ok, IoU 0.9630\n"), checked.stderr
    (data / "results.json").write_text('[{"status": "Runtime error"}, {"time": 1.5, "status": "Ok, IoU 0.8123"}]')
    graded = call(local.room, "grade", str(data), "unused", CHECKER="1")
    assert (graded.returncode, graded.stdout) == (0, '{"description": " 0.8123", "mark": 10}\n'), graded.stderr


@pytest.mark.parametrize("arguments", [[], ["grade"], ["grade", "data"], ["grade", "data", "output", "more"]])
def test_usage_of_the_checker_modes(monkeypatch, capsys, arguments):
    monkeypatch.setenv("CHECKER", "1")
    main(monkeypatch, *arguments)
    assert capsys.readouterr().out == "Usage: run.py mode data_dir output_dir\n"


def test_checker_modes_let_exceptions_through(stand_in, monkeypatch, tmp_path):
    monkeypatch.setenv("CHECKER", "1")
    write_test(tmp_path / "data", {"a.png": (SQUARES["one"], 1)})
    (tmp_path / "output").mkdir()
    with pytest.raises(ArithmeticError):
        main(monkeypatch, "run_single_test", str(tmp_path / "data"), str(tmp_path / "output"))
    for mode in ("check_test", "grade"):
        with pytest.raises(FileNotFoundError):
            main(monkeypatch, mode, str(tmp_path / "data"), "unused")
    with pytest.raises(SystemExit, match="mode score is unknown"):
        main(monkeypatch, "score", str(tmp_path / "data"), "unused")


def test_an_empty_checker_variable_is_the_local_mode(stand_in, monkeypatch, capsys):
    monkeypatch.setenv("CHECKER", "")
    main(monkeypatch)
    assert capsys.readouterr().out == "Usage: run.py tests_dir\n"


# ---------------------------------------------------------------------------------------------- the verdict

@pytest.mark.parametrize(
    ("iou", "mark"),
    [(1, 10), (0.81, 10), (0.8099, 9), (0.80, 9), (0.79, 8), (0.78, 7), (0.77, 6), (0.76, 5), (0.75, 4), (0.7499, 3),
     (0.60, 3), (0.5999, 2), (0.30, 2), (0.2999, 1), (0.0001, 1), (0.0, 0), (math.nan, 0)],
)
def test_marks(iou, mark):
    assert run.mark_of(iou) == mark


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("Ok, IoU 0.8100", {"description": " 0.8100", "mark": 10}),
        ("Ok, IoU nan", {"description": " nan", "mark": 0}),
        ("Runtime error", {"description": "", "mark": 0}),
        ("Checker error", {"description": "", "mark": 0}),
    ],
)
def test_the_last_test_decides_the_mark(tmp_path, status, verdict):
    (tmp_path / "results.json").write_text(json.dumps([{"time": 1.0, "status": "Ok, IoU 0.9999"}, {"status": status}]))
    assert run.grade(tmp_path) == verdict


def test_no_results_are_refused(tmp_path):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match="results.json has no tests"):
        run.grade(tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "output.csv").write_text("filename,ious\n")
    with pytest.raises(ValueError, match="output.csv has no rows"):
        run.check_test(tmp_path)


def test_file_names_with_commas_survive_the_output_file(tmp_path):
    (tmp_path / "output").mkdir()
    scores = [run.ImageScore(name, (0.1, iou), 0.1, False) for name, iou in (('a,"b".png', 0.5), ("c.png", 0.25))]
    run.write_scores(tmp_path / "output" / "output.csv", scores)
    assert run.check_test(tmp_path) == "Ok, IoU 0.3750"


# ---------------------------------------------------------------------------------------------- folders and progress

def test_masks_are_found_by_the_name_up_to_the_first_dot(tmp_path):
    write_test(tmp_path, {"b.png": ((), 0), "a.x.y.png": ((), 0), "B.jpg": ((), 0)})
    assert {name: mask.name for name, mask in run.pair_files(tmp_path).items()} == {
        "B.jpg": "B.png", "a.x.y.png": "a.png", "b.png": "b.png"
    }
    assert list(run.pair_files(tmp_path)) == ["B.jpg", "a.x.y.png", "b.png"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["imgs/a.b.jpg", "masks/a.b.png"], r"a\.b\.jpg has no mask: put a\.png into .*masks"),
        (["imgs/a.jpg", "masks/a.png", "masks/a.bmp"], r"a\.jpg has several masks, .*a\.bmp, .*a\.png: delete"),
        (["imgs/.DS_Store", "masks/a.png"], "imgs has no images"),
        (["imgs/a", "masks/a.png"], "imgs has no images"),
        (["imgs/a.jpg"], r"a\.jpg has no mask"),
    ],
)
def test_folders_that_do_not_fit_are_refused(tmp_path, files, sentence):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises((FileNotFoundError, ValueError), match=sentence):
        run.pair_files(tmp_path)


def test_progress_without_tqdm(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)  # makes its import fail
    monkeypatch.setattr(run, "SECONDS_BETWEEN_LINES", -1.0)
    scores = [run.ImageScore(f"{i}.png", (0.0, 0.0, 1.0), 0.0, False) for i in range(3)]
    assert list(run.with_progress(scores, 3, "here")) == scores
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.split(",")[0] for line in printed.err.splitlines()] == [f"here: {i} of 3 images" for i in (1, 2, 3)]


def test_iou_of_empty_masks_is_one():
    empty, full = np.zeros((2, 3), bool), np.ones((2, 3), np.int32)
    assert run.mask_iou(empty, empty) == 1 and run.mask_iou(empty, full) == 0 and run.mask_iou(full, full) == 1


def test_what_systems_leave_beside_images_is_left_out_with_a_note(tmp_path, stand_in, capsys):
    write_test(tmp_path, GOOD)
    for part, name in (("imgs", ".DS_Store"), ("imgs", "Thumbs.db"), ("masks", ".DS_Store")):
        (tmp_path / part / name).write_bytes(b"no image")
    scores = run.run_single_test(tmp_path, tmp_path)
    assert [score.name for score in scores] == list(GOOD) and scores[1].ious[-1] == 1
    assert "left out of" in (noted := capsys.readouterr().err) and ".DS_Store, Thumbs.db" in noted


def test_labels_that_the_grader_reads_as_black_are_told(tmp_path, stand_in, capsys):
    write_test(tmp_path, {"b.png": GOOD["b.png"]})
    mask = cv2.imread(str(tmp_path / "masks" / "b.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "masks" / "b.png"), mask.astype(np.uint16))
    (score,) = run.run_single_test(tmp_path, tmp_path)
    assert score.empty_truth and "reads as black" in capsys.readouterr().err


def test_names_of_any_alphabet_score_in_any_locale(tmp_path):
    room = write_room(tmp_path)
    write_test(room / "tests" / "00_sample_input", {"Иволга.png": GOOD["b.png"]})
    locale = {"PYTHONIOENCODING": "cp1251", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = call(room, str(room / "tests"), **locale)
    assert "Ok, IoU 1.0000" in done.stdout, done.stdout + done.stderr


def test_a_reader_that_goes_away_does_not_end_the_work(tmp_path):
    room = write_room(tmp_path)
    for number in (0, 1):
        write_test(room / "tests" / f"0{number}_sample_input", {"b.png": GOOD["b.png"]})
    command = f"{sys.executable} run.py tests | head -n 1"
    done = subprocess.run(command, shell=True, cwd=room, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    assert len(json.loads((room / "tests" / "results.json").read_text())) == 2


def test_another_model_is_scored_in_place_of_the_checkpoint(tmp_path, monkeypatch, capsys):
    write_test(tmp_path / "00_sample_input", {"b.png": GOOD["b.png"]})
    main(monkeypatch, str(tmp_path), "--model", "grabcut")
    assert "Ok, IoU" in capsys.readouterr().out
    main(monkeypatch, str(tmp_path), "--model", str(tmp_path / "absent.onnx"))
    assert "absent.onnx is missing" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- the shipped solution

def score_two(folder: Path, data: Path, images: list[str]) -> tuple[run.ImageScore, ...]:
    """Scores two images of a test with the project's own solution and checkpoint."""
    for part in ("imgs", "masks"):
        (folder / part).mkdir()
    for image in images:
        shutil.copy(data / "imgs" / image, folder / "imgs")
        shutil.copy(run.pair_files(data)[image], folder / "masks")
    try:
        return run.run_single_test(folder, folder)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.enabled = True


def test_shipped_solution_on_rendered_images(tmp_path):
    scores = score_two(tmp_path, PROJECT / "tests" / "00_sample_input", ["apple.jpg", "cone.jpg"])
    assert all(score.ious[-1] > 0.5 for score in scores)


def test_shipped_solution_on_real_images(tmp_path, shared_data):
    data = shared_data / "tests" / "01_test_grabcut_input"
    images = sorted(path.name for path in (data / "imgs").iterdir())
    scores = score_two(tmp_path, data, [images[0], images[-1]])
    assert all(score.ious[-1] > 0.3 for score in scores)
