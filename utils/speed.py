"""How fast everything is on this machine, in one run and one table: `python -m utils.speed`.

    python -m utils.speed                                          checkpoint.pth in torch, and the benchmark's overhead
    python -m utils.speed --engines --data DATA                    exported, in every engine that is installed
    python -m utils.speed --model a.pth --model b.onnx --precision fp32 bf16
    python -m utils.speed --folder COCO_LVIS                       and training

Machines are shared and noisy: the figures of one run may be compared with each other, as the table's ratios do, those
of two runs may not. Each figure is the median of several repeats; engines take turns.
"""
from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from utils.benchmark.arguments import whole_number
from utils.benchmark.evaluation import evaluate_object
from utils.benchmark.protocol import Protocol, model_content, parse_model, plan_jobs
from utils.benchmark.runner import peak_memory, run_jobs
from utils.benchmark.tasks import list_tasks, read_task
from utils.clicker import Clicker
from utils.files import UsageError, UserError, existing_folder, format_size, os_error_sentence, tolerant_output
from utils.interactions import ExactUser
from utils.metrics import Scorer
from utils.models import FORMATS, Model, open_model
from utils.pool import Lost, each_done

HERE = Path(__file__).resolve().parent.parent
SIZE = (854, 480)  # width and height of a DAVIS frame
SIDES = (160, 256, 384)  # of forward passes, pixels
CLICKS = 3
FRAMES = 6  # that an engine's IoU is measured on
PASSES = 3  # turns of each engine
COMPILED = "torch.compile"


class Row(NamedTuple):
    """A line of the table; `reference` is the value that its ratio is to, 0 for none."""

    name: str
    value: float
    unit: str
    reference: float = 0.0


def median_seconds(action: Callable[[], Any], repeats: int) -> float:
    """Median time of an action, after one call to warm up."""
    action()
    return statistics.median(_seconds(action) for _ in range(repeats))


def _seconds(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def load_frame(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A drawn scene at the size of a DAVIS frame: RGB uint8 (480, 854, 3), and its object as int32 (480, 854)."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    image = cv2.GaussianBlur(rng.integers(40, 216, (height, width, 3)).astype(np.uint8), (0, 0), 6)
    truth = np.zeros((height, width), np.uint8)
    middle = int(rng.integers(250, 600)), int(rng.integers(180, 300))
    cv2.ellipse(truth, middle, (int(rng.integers(80, 200)), int(rng.integers(60, 150))), 30, 0, 360, 1, -1)
    colour = rng.integers(0, 256, 3)
    image[truth > 0] = (0.3 * image[truth > 0] + 0.7 * colour).astype(np.uint8)
    return image, truth.astype(np.int32)


def frames(data: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and truths: of a data set's tasks, or drawn ones."""
    yield from map(read_task, list_tasks(data, limit=count).tasks) if data else map(load_frame, range(count))


# ---------------------------------------------------------------------------------------------- engines


class Engine(NamedTuple):
    """A model file and what runs it; `runtime` may also be COMPILED."""

    path: str
    runtime: str = "auto"
    precision: str = "fp32"

    def __str__(self) -> str:
        parts = [Path(self.path).name, *(part for part in (self.runtime, self.precision) if part != "auto")]
        return " ".join(parts)


class Figures(NamedTuple):
    """What one turn of an engine measured: seconds, bytes, and mean IoU after CLICKS clicks."""

    load: float
    forward: dict[int, float]  # by side: image and mirror image together
    click: float
    new_size: float  # the first click on a picture of another size
    peak: int
    iou: float


@dataclasses.dataclass(frozen=True)
class MeasureEngine:
    """Measures an engine in a process of its own, so that threads and memory are its own.

    Attributes:
        repeats: of each figure.
        threads: of the engine.
        sides: of forward passes, pixels.
        count: of the frames that the IoU is measured on, of the data set `data` or drawn ones.
    """

    repeats: int
    threads: int
    sides: tuple[int, ...] = SIDES
    count: int = FRAMES
    data: str = ""

    def __call__(self, engine: Engine) -> Figures | str:
        """The engine's figures, or the sentence that says why it can't be measured."""
        import torch

        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)
        begin = time.perf_counter()
        try:
            model = _open(engine)
            load = time.perf_counter() - begin
            with torch.no_grad():
                return self._measure(model, load)
        except UserError as error:
            return str(error)
        except Exception as error:  # an engine may raise anything for what it can't do
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"

    def _measure(self, model: Model, load: float) -> Figures:
        network = as_predicted(model.network)
        forward = {side: median_seconds(partial(forward_pass, network, side), self.repeats)
                   for side in self.sides}
        click = click_seconds(model, self.repeats)
        image, truth = load_frame()
        half = truth[: SIZE[1] // 2]
        model.predictor.set_input_image(image[: SIZE[1] // 2])
        clicker = Clicker(gt_mask=half)
        clicker.make_next_click(np.zeros(half.shape, bool))
        new_size = _seconds(lambda: model.predictor.get_prediction(clicker))
        results = [evaluate_object(model, image, truth, ExactUser(truth), CLICKS)
                   for image, truth in frames(self.data, self.count)]
        iou = float(np.mean([result.ious[-1] for result in results]))
        return Figures(load, forward, click, new_size, peak_memory("cpu"), iou)


def _open(engine: Engine) -> Model:
    if engine.runtime != COMPILED:
        return open_model(engine.path, runtime=engine.runtime, precision=engine.precision)
    from solution import Predictor

    network = _Compiled(open_model(engine.path).network)
    return Model(Predictor(network, "cpu"), network.config.pred_thr, network)


class _Compiled:
    """A checkpoint's network as torch.compile makes it, as a Runtime."""

    def __init__(self, network: Any) -> None:
        import torch

        self.config = network.config
        self._network = torch.compile(network.folded(), dynamic=True)

    def logits(self, inputs: Any, points: Any) -> Any:
        """float32 (B, 1, H, W)."""
        return self._network(inputs, points)["instances"]


def as_predicted(network: Any) -> Any:
    """A Runtime of the network: torch's with its normalisation folded, as Predictor runs it."""
    from solution import TorchRuntime

    return network if hasattr(network, "logits") else TorchRuntime(network, "cpu")


def forward_pass(network: Any, side: int) -> Any:
    """Logits of an image and its mirror image of side**2 pixels with a click."""
    import torch

    inputs = torch.full((2, 4, side, side), 0.5)
    points = torch.full((2, 2, 3), -1.0)
    points[:, 0] = torch.tensor([side / 2, side / 2, 0.0])
    return network.logits(inputs, points)


def click_seconds(model: Model, repeats: int, clicks: int = CLICKS, **settings: Any) -> float:
    """Median time of one of the grader's clicks on a frame of 854x480, the clicker's work included."""
    predictor = model.new_predictor(**settings) if settings else model.predictor
    image, truth = load_frame()

    def interact() -> None:
        predictor.set_input_image(image)
        clicker, mask = Clicker(gt_mask=truth), np.zeros(truth.shape, bool)
        for _ in range(clicks):
            clicker.make_next_click(mask)
            mask = predictor.get_prediction(clicker) > model.threshold

    return median_seconds(interact, repeats) / clicks


def measure_engines(engines: Sequence[Engine], measure: MeasureEngine, passes: int = PASSES) -> Iterator[Row]:
    """Rows of every engine, ratios to the first; they take turns, so that the machine's moods hit all alike."""
    found: dict[Engine, list[Figures]] = {engine: [] for engine in engines}
    for engine in itertools.chain.from_iterable(itertools.repeat(engines, passes)):
        if engine not in found:
            continue
        (result,) = each_done(measure, [engine], threads=measure.threads, isolated=True)
        figures = f"its process died ({result.death})" if isinstance(result, Lost) else result
        if isinstance(figures, str):
            del found[engine]
            print(f"{engine}: {figures}", file=sys.stderr)
        else:
            found[engine].append(figures)
    first: dict[str, float] = {}
    for engine, all_figures in found.items():
        for row in _engine_rows(engine, all_figures):
            yield row._replace(name=f"{engine}: {row.name}", reference=first.setdefault(row.name, row.value))


def _engine_rows(engine: Engine, turns: Sequence[Figures]) -> Iterator[Row]:
    def middle(value: Callable[[Figures], float]) -> float:
        return statistics.median(map(value, turns))

    for side in turns[0].forward:
        seconds = statistics.median(figures.forward[side] for figures in turns)
        yield Row(f"two forward passes at {side}x{side}", 1000 * seconds, "ms")
    yield Row(f"click at {SIZE[0]}x{SIZE[1]}", 1000 * middle(lambda f: f.click), "ms")
    yield Row("first click after a change of size", 1000 * middle(lambda f: f.new_size), "ms")
    yield Row("loading", middle(lambda f: f.load), "s")
    yield Row("peak memory", middle(lambda f: f.peak) / 2**20, "MiB")
    yield Row("file", _file_bytes(Path(engine.path)) / 1e6, "MB")
    yield Row(f"mean IoU@{CLICKS}", middle(lambda f: f.iou), "")


def _file_bytes(path: Path) -> int:
    """The file's size with the parts that belong to it."""
    belonging = FORMATS[path.suffix].belonging if path.suffix in FORMATS else ()
    parts = [path, *(path.with_name(path.stem + suffix) for suffix in belonging)]
    return sum(part.stat().st_size for part in parts if part.is_file())


def exported_engines(checkpoint: str, folder: Path) -> list[Engine]:
    """The checkpoint in torch, compiled, and exported for every engine that is installed."""
    from utils.export import Options, export

    engines = [Engine(checkpoint, "torch"), Engine(checkpoint, COMPILED)]
    paths = export(Options(Path(checkpoint), folder / "exported.onnx", openvino=True), lambda text: None)
    for path in map(str, paths):
        if path.endswith(".onnx"):
            engines.append(Engine(path, "onnxruntime"))
        elif path.endswith(".xml"):
            engines += [Engine(path, "openvino"), Engine(path, "openvino", "bf16")]
    return engines


# ---------------------------------------------------------------------------------------------- other parts


def measure_settings(source: str, repeats: int) -> Iterator[Row]:
    """Milliseconds a click with the defaults, and with each step of inference switched off."""
    variants: dict[str, dict[str, Any]] = {
        "defaults": {},
        "without flip": {"with_flip": False},
        "without zoom-in": {"zoom_in": False},
        "without the coarse pass": {"coarse_pass": False},
        "square input": {"keep_aspect": False},
    }
    model = open_model(source)
    first = 0.0
    for name, settings in variants.items():
        value = 1000 * click_seconds(model, repeats, **settings)
        first = first or value
        yield Row(f"click, {name}", value, "ms", first)


def measure_training(folder: Path, side: int, repeats: int) -> Iterator[Row]:
    """Milliseconds a sample that loading and a training step at side**2 pixels take, and samples a second."""
    import torch

    from solution import ClickSamples, ISModel, Recipe, Run, find_photos

    recipe = dataclasses.replace(Recipe(), resolutions=((0, side),), aspects=(1.0,))
    samples = ClickSamples(find_photos(folder), recipe)
    run = Run(recipe, ISModel(recipe.backbone).to(memory_format=torch.channels_last))
    numbers = iter(range(10**6))
    loading = median_seconds(lambda: samples[next(numbers)], 4 * recipe.batch_size)
    batch = torch.utils.data.default_collate([samples[i] for i in range(recipe.batch_size)])
    parts = {"loading (in other processes)": loading, **step_parts(run, batch, repeats)}
    step = sum(parts.values()) - loading
    for name, seconds in parts.items():
        yield Row(f"training at {side}x{side}: {name}", 1000 * seconds, "ms a sample", 1000 * step)
    yield Row(f"training at {side}x{side}", 1 / step, "samples a second")


def step_parts(run: Any, batch: dict[str, Any], repeats: int) -> dict[str, float]:
    """Seconds a sample that one step takes for each of its parts, on average over what the recipe draws."""
    forward, both, update = [], [], []
    for run.batch in range(repeats + 1):  # another number of click rounds for each
        forward.append(_seconds(lambda: run.loss(batch)))
        both.append(_seconds(lambda: run.loss(batch).backward()))
        update.append(_seconds(run.update))
    run.batch = 0
    size = len(batch["images"])
    whole, looking, updating = (statistics.mean(times[1:]) / size for times in (both, forward, update))
    return {"clicks, forward pass and loss": looking, "backward pass": whole - looking, "optimiser": updating}


def measure_benchmark(source: str, tasks: int = 16, clicks: int = 5) -> Iterator[Row]:
    """What utils.benchmark adds to a click at DAVIS's size, and how it scales with processes."""
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), tasks)
        found = list_tasks(folder).tasks
        spec = parse_model(source)
        plan = plan_jobs(found, spec, model_content(spec), Protocol(clicks))
        (Path(folder) / "out" / "masks").mkdir(parents=True)
        rates = {}
        for processes in (2, 1):
            begin = time.perf_counter()
            records = list(run_jobs(plan, Path(folder) / "out", processes))
            rates[processes] = len(plan) / (time.perf_counter() - begin)
            failed = [record.error for record in records if record.error]
            if failed:
                raise UserError(f"{source}: {failed[0]}")
    added = 1000 * sum(record.harness_seconds for record in records) / clicks / len(records)
    of_model = 1000 * sum(sum(record.click_seconds) for record in records) / clicks / len(records)
    yield Row("benchmark: the model's part of a click", of_model, "ms", of_model)
    yield Row("benchmark: decoding, clicking, scoring, writing", added, "ms", of_model)
    yield Row("benchmark: scoring alone", scoring_milliseconds(), "ms", of_model)
    for processes, rate in sorted(rates.items()):
        yield Row(f"benchmark: tasks a second, {processes} processes", rate, "", rates[1])


def scoring_milliseconds(repeats: int = 20) -> float:
    """Milliseconds that IoU and Boundary IoU of a mask at DAVIS's size take."""
    _, truth = load_frame()
    scorer, mask = Scorer(truth), np.roll(truth == 1, 9, axis=1)
    return 1000 * median_seconds(lambda: scorer.score(mask), repeats)


def write_frames(folder: Path, count: int) -> None:
    """Writes drawn scenes at the size of a DAVIS frame into a folder, as run.py reads them."""
    for part in ("imgs", "masks"):
        (folder / part).mkdir()
    for i in range(count):
        image, mask = load_frame(i)
        cv2.imwrite(str(folder / "imgs" / f"{i}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / "masks" / f"{i}.png"), mask.astype(np.uint8) * 255)


# ---------------------------------------------------------------------------------------------- the command


def print_rows(rows: Iterator[Row]) -> None:
    """Prints each row as it comes."""
    for row in rows:
        ratio = f"{row.value / row.reference:8.2f} x" if row.reference else ""
        print(f"{row.name:<58}{row.value:>10.3f} {row.unit:<17}{ratio}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    tolerant_output()
    given = _parser().parse_args(arguments)
    try:
        _measure(given, given.model or [str(HERE / "checkpoint.pth")])
    except UserError as error:
        print(f"utils.speed: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        print(f"utils.speed: {os_error_sentence(error)}", file=sys.stderr)
        return 1
    return 0


def _measure(given: argparse.Namespace, models: Sequence[str]) -> None:
    if given.folder is not None:
        existing_folder(given.folder)
    if given.data:
        list_tasks(given.data, limit=given.count)
    for source in models:  # before anything takes minutes
        open_model(source)
    import torch

    threads = given.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    print(f"torch {torch.__version__}, {threads} threads; ratios are to the first row of their kind\n")
    with tempfile.TemporaryDirectory() as folder:
        engines = [Engine(source, precision=precision) for source in models for precision in given.precision]
        if given.engines:
            engines = [engine for source in models for engine in exported_engines(source, Path(folder))]
        measure = MeasureEngine(given.repeats, threads, count=given.count, data=given.data)
        print_rows(measure_engines(engines, measure, given.passes))
    torch.set_num_threads(threads)
    if given.quick:
        return
    with torch.no_grad():
        print_rows(measure_settings(models[0], given.repeats))
    for side in given.sides if given.folder else ():
        print_rows(measure_training(given.folder, side, given.repeats))
    print_rows(measure_benchmark(models[0]))
    print(f"peak memory of this process: {format_size(peak_memory('cpu'))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", "--checkpoint", action="append", metavar="FILE",
                        help="model file to time; may be given several times (default: checkpoint.pth)")
    parser.add_argument("--precision", nargs="+", default=["fp32"], help="of each model file (default: fp32)")
    parser.add_argument("--engines", action="store_true", help="export the models and time every engine there is")
    parser.add_argument("--data", default="", help="data set (as utils.benchmark takes it) for the engines' IoU; drawn "
                        "scenes without it")
    parser.add_argument("--count", type=whole_number(1), default=FRAMES, help="objects for the engines' IoU")
    parser.add_argument("--folder", type=Path, help="COCO_LVIS, for the training part; left out without it")
    parser.add_argument("--sides", type=whole_number(32, 4096), nargs="+", default=[160, 256],
                        help="input sides to time training at")
    parser.add_argument("--repeats", type=whole_number(1, 1000), default=7,
                        help="of each measurement; the median counts")
    parser.add_argument("--passes", type=whole_number(1, 100), default=PASSES, help="turns of each engine")
    parser.add_argument("--threads", type=whole_number(1, 256), help="of each engine (default: torch's)")
    parser.add_argument("--quick", action="store_true", help="the models alone, not training and benchmark")
    return parser


if __name__ == "__main__":
    sys.exit(main())
