"""How fast everything is on this machine, in one run: `python -m utils.bench`.

Machines are shared and noisy: the figures of one run may be compared with each other, as the table's ratios do, those
of two runs may not. Each figure is the median of several repeats.
"""
from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import solution
from solution import ClickSamples, ISModel, Predictor, Recipe, Run, click_rounds, find_photos
from utils.benchmark import speed
from utils.clicker import Clicker

HERE = Path(__file__).resolve().parent.parent
PICTURE = HERE / "tests" / "00_sample_input"
SIZE = (854, 480)  # width and height of a DAVIS frame


def median_seconds(action: Callable[[], Any], repeats: int) -> float:
    """Median time of an action, after one call to warm up."""
    action()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def print_table(title: str, rows: Sequence[tuple[str, float, str]], reference: float) -> None:
    """Prints rows (name, value, unit) with each value's ratio to a reference."""
    print(f"\n{title}")
    for name, value, unit in rows:
        print(f"  {name:<34}{value:>10.3f} {unit:<12}{value / reference:>7.2f} x")


def load_frame(index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A rendered scene at the size of a DAVIS frame: RGB uint8 (480, 854, 3), and its mask as int32."""
    path = sorted((PICTURE / "imgs").iterdir())[index]
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    mask = cv2.imread(str(next((PICTURE / "masks").glob(f"{path.name.split('.')[0]}.*"))), cv2.IMREAD_GRAYSCALE)
    mask = cv2.resize(mask, SIZE, interpolation=cv2.INTER_NEAREST) > 0
    return cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA), mask.astype(np.int32)


def click_seconds(model: ISModel, repeats: int, clicks: int = 3, **options: Any) -> float:
    """Median time of one of the grader's clicks on a frame of 854x480, the clicker's work included."""
    predictor = Predictor(model, torch.device("cpu"), **options)
    image, truth = load_frame()

    def play() -> None:
        predictor.set_input_image(image)
        clicker, mask = Clicker(gt_mask=truth), np.zeros(truth.shape, bool)
        for _ in range(clicks):
            clicker.make_next_click(mask)
            mask = predictor.get_prediction(clicker) > model.pred_thr

    return median_seconds(play, repeats) / clicks


def bench_clicks(model: ISModel, repeats: int) -> None:
    """Seconds per click with the defaults, and with each step of inference switched off."""
    variants: dict[str, dict[str, Any]] = {
        "defaults": {},
        "without flip": {"with_flip": False},
        "without zoom-in": {"zoom_in": False},
        "without the coarse look": {"coarse_look": False},
        "square input": {"keep_aspect": False},
    }
    seconds = {name: click_seconds(model, repeats, **options) for name, options in variants.items()}
    rows = [(name, value, "s a click") for name, value in seconds.items()]
    print_table(f"Clicks at {SIZE[0]}x{SIZE[1]}, {torch.get_num_threads()} threads", rows, seconds["defaults"])


def bench_training(folder: Path, side: int, repeats: int) -> None:
    """Samples a second, and what a training step at side**2 pixels spends its time on."""
    recipe = dataclasses.replace(Recipe(), stages=((0.0, side),), aspects=(1.0,))
    samples = ClickSamples(find_photos(folder), recipe)
    run = Run(recipe, ISModel(recipe.backbone).to(memory_format=torch.channels_last))
    numbers = iter(range(10**6))
    loading = median_seconds(lambda: samples[next(numbers)], 4 * recipe.batch_size) * recipe.batch_size
    batch = torch.utils.data.default_collate([samples[i] for i in range(recipe.batch_size)])
    parts = step_parts(run, batch, repeats)
    step = sum(parts.values())
    parts = {"loading (in other processes)": loading, **parts}
    rows = [(name, 1000 * seconds / recipe.batch_size, "ms a sample") for name, seconds in parts.items()]
    print_table(f"Training at {side}x{side}, batches of {recipe.batch_size}", rows, 1000 * step / recipe.batch_size)
    clicks = loading + parts["clicks of the rounds"]
    print(f"  {recipe.batch_size / step:.1f} samples a second; loading and clicks are {clicks / (step + loading):.0%}")


def step_parts(run: Run, batch: dict[str, Any], repeats: int) -> dict[str, float]:
    """Seconds that one step takes for each of its parts; the click rounds weighted as the recipe draws them."""
    recipe = run.recipe
    images, truth = batch["images"].float() / 255, batch["instances"].float()
    weights = np.array(recipe.rounds) / sum(recipe.rounds)
    rng = torch.Generator().manual_seed(0)

    def rounds(count: int) -> None:
        click_rounds(run.model, images, truth, batch["points"], count, recipe, rng)

    def clicks() -> None:
        mask, exact = torch.zeros_like(truth[:, 0], dtype=torch.bool), torch.ones(len(truth), dtype=torch.bool)
        solution.next_clicks(truth[:, 0] > 0.5, mask, exact, torch.rand(mask.shape, generator=rng))

    played = sum(w * median_seconds(lambda k=k: rounds(k), repeats) for k, w in enumerate(weights) if k > 0)
    clicked = median_seconds(clicks, repeats) * float(weights @ np.arange(len(weights)))
    run.recipe = dataclasses.replace(recipe, rounds=(1.0,))
    forward = median_seconds(lambda: run.loss(batch), repeats)
    both = median_seconds(lambda: run.loss(batch).backward(), repeats)
    update = median_seconds(run.update, repeats)
    run.recipe = recipe
    return {
        "looks of the rounds": played - clicked,
        "clicks of the rounds": clicked,
        "forward and loss": forward,
        "backward": both - forward,
        "clipping, optimiser, average": update,
    }


def write_frames(folder: Path, count: int) -> None:
    """Writes the first rendered scenes at the size of a DAVIS frame into a folder, as run.py reads them."""
    for room in ("imgs", "masks"):
        (folder / room).mkdir()
    for i in range(count):
        image, mask = load_frame(i)
        cv2.imwrite(str(folder / "imgs" / f"{i}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / "masks" / f"{i}.png"), mask.astype(np.uint8) * 255)


def bench_harness(checkpoint: str, tasks: int = 16) -> None:
    """What utils.benchmark adds to a click at DAVIS's size, and how it scales with processes."""
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), tasks)
        measured = speed.measure(folder, checkpoint, tasks)
    added = speed.harness_milliseconds(SIZE[1], SIZE[0])
    print(f"\nBenchmark room\n  {'harness a click, decoding left out':<34}{added:>10.1f} ms")
    for name, value in measured.items():
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        print(f"  {name.replace('_', ' '):<34}{shown:>10}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints all tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m utils.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=str(HERE / "checkpoint.pth"), help="model to time")
    parser.add_argument("--folder", type=Path, help="COCO_LVIS, for the training part; left out without it")
    parser.add_argument("--sides", type=int, nargs="+", default=[160, 256], help="input sides to time training at")
    parser.add_argument("--repeats", type=int, default=7, help="of each measurement; the median counts")
    parser.add_argument("--quick", action="store_true", help="clicks and training only, not the benchmark room")
    given = parser.parse_args(arguments)
    model = ISModel()
    try:
        model.restore_from_checkpoint(given.checkpoint, torch.device("cpu"))
        print(f"torch {torch.__version__}, {given.checkpoint}, working size {model.config.working_size}")
        bench_clicks(model.eval(), given.repeats)
        for side in given.sides if given.folder else ():
            bench_training(given.folder, side, given.repeats)
        if not given.quick:
            bench_harness(given.checkpoint)
    except (solution.CheckpointError, OSError, ValueError) as error:
        print(f"utils.bench: {error}", file=sys.stderr)
        return 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nPeak memory of this process: {peak:.2f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
