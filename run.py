#!/usr/bin/env python3
"""Scores solution.py and checkpoint.pth by the grader's protocol: three simulated clicks an image, IoU after the third.

    python run.py tests             every tests/[0-9][0-9]_*_input with its folders imgs and masks
    python run.py tests --jobs 4    the same, the images shared among four processes
    python run.py tests --model M   another model in place of checkpoint.pth: a checkpoint, an exported .onnx or .xml

With the environment variable CHECKER set it speaks to the grading system instead: run.py MODE DATA_DIR OUTPUT_DIR,
where MODE is run_single_test, check_test or grade.
"""
from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from utils.files import UserError, is_system_file, os_error_sentence, tolerant_output, write_whole

CLICKS = 3
SEED = 42
MARKS = ((0.81, 10), (0.80, 9), (0.79, 8), (0.78, 7), (0.77, 6), (0.76, 5), (0.75, 4), (0.60, 3), (0.30, 2))
CHECKPOINT = Path(__file__).resolve().parent / "checkpoint.pth"
RENDERED_FOLDER = "00_sample_input"  # drawn by tests/render_scenes.py, not photographed
ROUNDING = 1e-4  # what interpolation may add to a probability of 0 or 1
SECONDS_BETWEEN_LINES = 10.0  # of progress, where there is no tqdm to draw a bar


@dataclass(frozen=True)
class ImageScore:
    """One image of a test: the IoU after each click, in six decimals as output.csv has it, and the predictor's time."""

    name: str
    ious: tuple[float, ...]
    seconds: float
    empty_truth: bool


@dataclass(frozen=True)
class Report:
    """One row of the table: the test's folder, how it ended, and its images' scores, none if it failed."""

    folder: str
    status: str
    scores: tuple[ImageScore, ...] = ()


# ---------------------------------------------------------------------------------------------- one image

class Grader:
    """A restored predictor and a folder of images and masks: everything needed to score an image by its index.

    Args:
        data_dir: folder with imgs/ and masks/.
        model: a model file in place of CHECKPOINT, see utils.models.

    Raises:
        Exception: whatever solution.py raises at import, construction or restore.
    """

    def __init__(self, data_dir: Path, model: str | None = None) -> None:
        from utils.datasets import TestDataset

        self.predictor, self.threshold = load_graded() if model is None else load_other(model)
        self.dataset = TestDataset(images=data_dir / "imgs", masks=data_dir / "masks")
        make_deterministic()

    def score(self, index: int, name: str, output_dir: Path) -> ImageScore:
        """Clicks CLICKS times on one image and draws every click's result as `<index>_<click>.jpg`.

        Args:
            index: of the image in the folder, sorted by file name.
            name: the image's file name.
            output_dir: existing folder that receives the pictures.

        Raises:
            SampleError: the image or its mask can't be read, or they differ in size.
            ValueError: the predictor returns anything but probabilities of the image's size.
        """
        import torch

        from utils.clicker import Clicker

        sample = self.dataset.get_sample(index)
        image, truth = sample.image, sample.gt_mask
        clicker = Clicker(gt_mask=truth)
        mask = np.zeros_like(truth)
        ious = []
        with torch.no_grad():
            seconds = -perf_counter()
            self.predictor.set_input_image(image)
            seconds += perf_counter()
            for click in range(CLICKS):
                clicker.make_next_click(mask)
                seconds -= perf_counter()
                prob = self.predictor.get_prediction(clicker)
                seconds += perf_counter()
                refuse_no_probabilities(prob, truth.shape, f"{name}, click {click + 1}")
                mask = prob > self.threshold
                ious.append(round(mask_iou(mask, truth), 6))
                draw_click(output_dir / f"{index}_{click}.jpg", image, mask, prob, clicker)
        return ImageScore(name, tuple(ious), seconds, empty_truth=not truth.any())


def load_graded() -> tuple[Any, float]:
    """The predictor of CHECKPOINT and its threshold, as the grader makes them."""
    import torch

    from solution import ISModel, Predictor

    device = torch.device("cpu")
    model = ISModel()
    model.restore_from_checkpoint(str(CHECKPOINT), device)
    model = model.eval()
    return Predictor(model, device), getattr(model, "pred_thr", 0.5)


def load_other(source: str) -> tuple[Any, float]:
    """The predictor of another model and its threshold."""
    from utils.models import open_model

    model = open_model(source)
    return model.predictor, model.threshold


def make_deterministic() -> None:
    """Fixes every seed and forbids torch the operations whose result may differ from run to run."""
    import torch

    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - the grader seeds this generator, and a solution may draw from it
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_deterministic_debug_mode(2)
    torch.backends.cudnn.enabled = False


def mask_iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two (H, W) masks, any number above 0 being the object; 1 if both are empty."""
    mask, truth = mask > 0, truth > 0
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def refuse_no_probabilities(prob: Any, shape: tuple[int, ...], where: str) -> None:
    """Raises ValueError, beginning with `where`, unless prob is a float array of this shape in [0, 1]."""
    if not isinstance(prob, np.ndarray) or prob.dtype.kind != "f":
        kind = f"an array of {prob.dtype}" if isinstance(prob, np.ndarray) else f"a {type(prob).__name__}"
        raise ValueError(f"{where}: get_prediction must return a numpy float array, but gave {kind}")
    if prob.shape != shape:
        raise ValueError(f"{where}: get_prediction must return the image's shape {shape}, but gave {prob.shape}")
    if not (prob.min() >= -ROUNDING and prob.max() <= 1 + ROUNDING):  # false for NaN too
        raise ValueError(f"{where}: get_prediction must return values in [0, 1], but gave {prob.min()} to {prob.max()}")


def draw_click(path: Path, image: np.ndarray, mask: np.ndarray, prob: np.ndarray, clicker: Any) -> None:
    """Writes the image with mask and clicks, and the probability map beside it, as a JPEG file."""
    import cv2

    from utils.misc import draw_probmap, draw_with_blend_and_clicks

    picture = draw_with_blend_and_clicks(image, mask=mask, clicks_list=clicker.clicks_list)
    # the image is RGB and the map is BGR already, as OpenCV's colour maps are
    both = np.hstack([cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), draw_probmap(prob)])
    write_whole(path, cv2.imencode(".jpg", both)[1].tobytes())


# ---------------------------------------------------------------------------------------------- one test

def run_single_test(
    data_dir: str | Path, output_dir: str | Path, jobs: int | None = None, model: str | None = None
) -> tuple[ImageScore, ...]:
    """Scores a folder: writes output.csv (header `filename,ious`, the last click's IoU) and a picture of every click.

    Args:
        data_dir: folder with imgs/ and masks/.
        output_dir: existing folder that is written to.
        jobs: number of processes, of OMP_NUM_THREADS threads each (one if that is not set); None scores in this one.
        model: a model file in place of checkpoint.pth.

    Returns:
        The images' scores in the order of their file names.

    Raises:
        FileNotFoundError, ValueError: the folder lacks an image or a mask; the message names it.
        Exception: whatever the solution raises.
    """
    data_dir, output_dir = Path(data_dir), Path(output_dir)
    masks_by_name = pair_files(data_dir)
    (output_dir / "output.csv").unlink(missing_ok=True)  # a run that fails must not leave an older run's scores
    folder = (data_dir, list(masks_by_name), output_dir, model)
    results = score_here(*folder) if jobs is None else score_in_processes(*folder, jobs)
    scores = tuple(with_progress(results, len(masks_by_name), data_dir.name))
    for score in scores:
        if score.empty_truth:
            complain(f"{masks_by_name[score.name]} {why_empty(masks_by_name[score.name])}")
    write_scores(output_dir / "output.csv", scores)
    return scores


def why_empty(mask: Path) -> str:
    """What to say of a mask in which the grader's reading, 8-bit colours, finds no object."""
    from utils.images import ImageError, read_labels

    try:
        has_labels = bool(read_labels(mask).values.any())
    except ImageError:
        has_labels = False
    if has_labels:
        return ("marks its object by labels that the grader reads as black (16 bits, or a palette's black): store 0 "
                "and 255 in 8 bits")
    return "marks no object: IoU is 1 for an empty prediction, else 0"


def pair_files(data_dir: Path) -> dict[str, Path]:
    """Image file names in imgs/, sorted, each with the mask of the same name up to the first dot.

    Raises:
        FileNotFoundError, ValueError: there are no images, or one has no mask or several.
    """
    names = sorted(path.name for path in (data_dir / "imgs").glob("*.*"))
    images = [name for name in names if not is_system_file(name)]
    if len(images) < len(names):
        complain(f"left out of {data_dir / 'imgs'}: {', '.join(sorted(set(names) - set(images)))}")
    if not images:
        raise FileNotFoundError(f"{data_dir / 'imgs'} has no images: put them there, and their masks into masks")
    masks: dict[str, list[Path]] = {}
    for path in sorted((data_dir / "masks").glob("*.*")):
        masks.setdefault(path.stem, []).append(path)
    return {name: only_mask(data_dir, name, masks.get(name.split(".")[0], [])) for name in images}


def only_mask(data_dir: Path, name: str, found: list[Path]) -> Path:
    """The one mask found for an image; an error that says what to do if there is none or a choice."""
    stem = name.split(".")[0]
    if not found:
        raise FileNotFoundError(f"{data_dir / 'imgs' / name} has no mask: put {stem}.png into {data_dir / 'masks'}")
    if len(found) > 1:
        several = ", ".join(map(str, found))
        raise ValueError(f"{data_dir / 'imgs' / name} has several masks, {several}: delete all but one")
    return found[0]


def score_here(data_dir: Path, names: list[str], output_dir: Path, model: str | None) -> Iterator[ImageScore]:
    """Scores the images one after another in this process, as the grader does."""
    grader = Grader(data_dir, model)
    for index, name in enumerate(names):
        yield grader.score(index, name, output_dir)


def score_in_processes(
    data_dir: Path, names: list[str], output_dir: Path, model: str | None, jobs: int
) -> Iterator[ImageScore]:
    """Scores the images in so many fresh processes and yields the scores in the order of the names.

    The scores do not depend on the number of processes if the predictor draws no random numbers and carries nothing
    over from image to image. One thread a process is the best use of a machine that all its processes share.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes inherit it before they import torch
    ignore_interrupt = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends this process, which then ends the others
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=signal.signal, initargs=ignore_interrupt)
    try:
        tasks = [pool.submit(score_there, data_dir, i, name, output_dir, model) for i, name in enumerate(names)]
        for task in tasks:
            yield task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def score_there(data_dir: Path, index: int, name: str, output_dir: Path, model: str | None) -> ImageScore:
    """Scores an image in a worker process, which keeps its model from image to image."""
    return grader_of_process(data_dir, model).score(index, name, output_dir)


@lru_cache(maxsize=1)
def grader_of_process(data_dir: Path, model: str | None) -> Grader:
    """This process's Grader, made at its first image: a failure then travels back as any other error does."""
    return Grader(data_dir, model)


def write_scores(path: Path, scores: Iterable[ImageScore]) -> None:
    """Writes output.csv: file name and the last click's IoU in six decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["filename", "ious"])
    writer.writerows((score.name, f"{score.ious[-1]:.6f}") for score in scores)
    write_whole(path, text.getvalue().encode("utf-8", "surrogateescape"))


# ---------------------------------------------------------------------------------------------- the verdict

def check_test(data_dir: str | Path) -> str:
    """The status of a scored test, `Ok, IoU 0.8123`: the mean of DATA_DIR/output/output.csv in four decimals.

    Raises:
        FileNotFoundError, KeyError, ValueError: the file is missing, has no column `ious`, no rows or no figures.
    """
    path = Path(data_dir) / "output" / "output.csv"
    with open(path, newline="", encoding="utf-8") as file:
        ious = [float(row["ious"]) for row in csv.DictReader(file)]
    if not ious:
        raise ValueError(f"{path} has no rows")
    return f"Ok, IoU {np.mean(ious):.4f}"


def grade(data_dir: str | Path) -> dict[str, Any]:
    """The mark that DATA_DIR/results.json deserves: its last test decides.

    Returns:
        {"description": the text after "IoU", empty if the test failed; "mark": 0 to 10}.
    """
    path = Path(data_dir) / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    if not results:
        raise ValueError(f"{path} has no tests")
    status = results[-1]["status"]
    if not status.startswith("Ok"):
        return {"description": "", "mark": 0}
    description = status.split("IoU")[1]
    return {"description": description, "mark": mark_of(float(description))}


def mark_of(iou: float) -> int:
    """The course's mark for a mean IoU after the third click; 0 for NaN."""
    return next((mark for bound, mark in MARKS if iou >= bound), int(iou > 0))


def format_table(reports: Iterable[Report]) -> str:
    """The scores of several tests as lines of text, each named by its whole folder."""
    reports = list(reports)
    width = max(len(report.folder) for report in reports)
    columns = [f"IoU@{click + 1}" for click in range(CLICKS)] + ["s/click", "mark"]
    lines = [f"{'test':<{width}}  images" + "".join(f"{column:>9}" for column in columns)]
    lines += [f"{report.folder:<{width}}  {format_figures(report)}" for report in reports]
    if any(report.folder == RENDERED_FOLDER for report in reports):
        lines.append(f"* {RENDERED_FOLDER} holds rendered scenes: a mark from it means nothing.")
    return "\n".join(lines)


def format_figures(report: Report) -> str:
    """The figures of a table's row; the star stands for the footnote on rendered scenes."""
    star = "*" if report.folder == RENDERED_FOLDER else ""
    if not report.scores:
        return f"{report.status:<{6 + 9 * (CLICKS + 1)}}{'0' + star:>9}"
    ious = np.mean([score.ious for score in report.scores], axis=0)
    pace = sum(score.seconds for score in report.scores) / (CLICKS * len(report.scores))
    mark = mark_of(float(report.status.split("IoU")[1]))
    return f"{len(report.scores):>6}" + "".join(f"{iou:9.4f}" for iou in ious) + f"{pace:9.3f}{f'{mark}{star}':>9}"


# ---------------------------------------------------------------------------------------------- progress

def with_progress(scores: Iterable[ImageScore], total: int, title: str) -> Iterator[ImageScore]:
    """Passes scores on and shows on stderr how many there are, their mean IoU and the time left."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield from with_progress_lines(scores, total, title)
        return
    done: list[float] = []
    with tqdm(total=total, desc=title, unit="image", file=sys.stderr, dynamic_ncols=True) as bar:
        for score in scores:
            done.append(score.ious[-1])
            bar.set_postfix({f"IoU@{CLICKS}": f"{np.mean(done):.4f}"}, refresh=False)
            bar.update()
            yield score


def with_progress_lines(scores: Iterable[ImageScore], total: int, title: str) -> Iterator[ImageScore]:
    """What with_progress shows without tqdm: a line now and then."""
    start = last = monotonic()
    for number, score in enumerate(scores, 1):
        now = monotonic()
        if number == total or now - last > SECONDS_BETWEEN_LINES:
            left = (now - start) / number * (total - number)
            print(f"{title}: {number} of {total} images, {left:.0f} s left", file=sys.stderr, flush=True)
            last = now
        yield score


def say(*words: Any) -> None:
    """Prints on stdout; when nobody reads it any more (`| head -1`), the work goes on without."""
    try:
        print(*words, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends


def complain(sentence: str) -> None:
    """Prints a warning on stderr."""
    print(f"Warning: {sentence}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------- command lines

def run_local(tests_dir: Path, jobs: int | None, model: str | None) -> None:
    """Runs every test of a folder, writes results.json and prints each test's line, the table and the mark."""
    inputs = sorted(tests_dir.glob("[0-9][0-9]_*_input"))
    if not inputs:
        sys.exit(f"{tests_dir} has no test: a test is a folder NN_name_input (NN two digits) with imgs and masks in it")
    reports, results = [], []
    for input_dir in inputs:
        report, seconds = run_and_check(input_dir, jobs, model)
        reports.append(report)
        results.append({"time": seconds, "status": report.status} if report.scores else {"status": report.status})
    write_whole(tests_dir / "results.json", json.dumps(results).encode())
    say(f"\n{format_table(reports)}\n")
    verdict = grade(tests_dir)
    say("Mark:", verdict["mark"], verdict["description"])


def run_and_check(input_dir: Path, jobs: int | None, model: str | None) -> tuple[Report, float]:
    """Runs one test, prints its line, with the traceback if it failed, and gives its report and its seconds."""
    check_dir = input_dir.with_name(re.sub("input$", "check", input_dir.name))
    number = input_dir.name[:2]
    stage = "Runtime error"
    start = perf_counter()
    try:
        (check_dir / "output").mkdir(parents=True, exist_ok=True)
        scores = run_single_test(input_dir, check_dir / "output", jobs, model)
        seconds = perf_counter() - start
        stage = "Checker error"
        status = check_test(check_dir)
    except Exception:
        say(number, f"{stage}\n{traceback.format_exc()}")
        return Report(input_dir.name, stage), perf_counter() - start
    say(number, f"{seconds:.2f}s", status)
    return Report(input_dir.name, status, scores), seconds


def run_checker(mode: str, data_dir: str, output_dir: str) -> None:
    """What the grading system asks for; stdout carries the answer and nothing else."""
    if mode == "run_single_test":
        run_single_test(data_dir, output_dir)
    elif mode == "check_test":
        print(check_test(data_dir))
    elif mode == "grade":
        print(json.dumps(grade(data_dir)))
    else:
        sys.exit(f"mode {mode} is unknown: it is run_single_test, check_test or grade")


def process_count(text: str) -> int:
    """The value of --jobs."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes, 1 or more")
    return int(text)


def main() -> None:
    """Reads the command line; a wrong number of arguments prints the usage and is no failure, as the course has it."""
    tolerant_output()
    if os.environ.get("CHECKER"):
        if len(sys.argv) != 4:
            print(f"Usage: {sys.argv[0]} mode data_dir output_dir")
            return
        run_checker(*sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests_dir", nargs="*", help="folder that holds the tests")
    parser.add_argument(
        "--jobs", type=process_count, metavar="N", help="score in N processes, each of OMP_NUM_THREADS threads (one)"
    )
    parser.add_argument("--model", metavar="FILE", help="score this model in place of checkpoint.pth")
    arguments = parser.parse_args()
    if len(arguments.tests_dir) != 1:
        print(f"Usage: {sys.argv[0]} tests_dir")
        return
    try:
        run_local(Path(arguments.tests_dir[0]), arguments.jobs, arguments.model)
    except UserError as error:
        sys.exit(f"run.py: {error}")
    except OSError as error:
        sys.exit(f"run.py: {os_error_sentence(error)}")


if __name__ == "__main__":
    main()
