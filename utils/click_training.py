"""Comforts of solution.py's training: its log, what it says at the start and end, recipe files, the command line.

solution.py uses them where they lie beside it, and trains without them too.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import solution
from solution import Plan, Recipe, Run, TrainingError, plain_recipe
from utils.clicker import Click
from utils.files import PathLike, UserError, folder_lock, read_json, write_json
from utils.misc import draw_probmap, draw_with_blend_and_clicks
from utils.training import StopRequest, TrainingLog

# ---------------------------------------------------------------------------------------------- the log

HEADINGS = ("image", "ground truth", "mask and clicks", "probability")


def click_log(plan: Plan, number: int, run: Run) -> TrainingLog:
    """The log of a phase of solution.py, with its run's lists of losses and figures."""
    charts = {"iou": "IoU on held-out photos after k clicks of the grader's protocol"}
    return TrainingLog(plan.place(number), run.recipe.samples, run.seen, run.history, run.losses, "samples", charts,
                       _click_tiles, HEADINGS, plan.tensorboard)


def _click_tiles(image: np.ndarray, truth: np.ndarray, played: solution.SimulatedClicks) -> list[np.ndarray]:
    clicks = [Click(positive, (y, x)) for y, x, positive in played.clicks]
    last = draw_with_blend_and_clicks(image, mask=played.masks[-1].astype(np.uint8), clicks_list=clicks)
    annotated = draw_with_blend_and_clicks(image, mask=truth.astype(np.uint8))
    probability = cv2.cvtColor(draw_probmap(played.probabilities[-1]), cv2.COLOR_BGR2RGB)
    return [image, annotated, last, probability]


# ---------------------------------------------------------------------------------------------- before and after


@contextlib.contextmanager
def guard(plan: Plan, minutes: float | None) -> Iterator[StopRequest]:
    """Keeps other runs out of the output folder, and hears requests to stop.

    Raises:
        TrainingError: another run writes there.
    """
    lock = folder_lock(plan.out, "training") if plan.says else contextlib.nullcontext()
    try:
        with lock, StopRequest(minutes, may_insist=plan.group.size == 1) as stop:
            yield stop
    except UserError as error:
        raise TrainingError(str(error)) from None


def scale_and_describe(plan: Plan, epochs: float | None = None, fit_minutes: float | None = None) -> Plan:
    """Says what will be trained; returns the plan, its schedule scaled to a length if one is given.

    Args:
        plan: what is to be trained.
        epochs: passes over the photos, of all phases together.
        fit_minutes: about how long it shall take here. The scaled recipe is kept in the output folder, so that a later
            start with the same arguments goes on with it.

    Raises:
        TrainingError: all objects are too small.
    """
    if epochs is not None:
        plan = plan._replace(phases=scaled(plan.phases, round(epochs * len(plan.photos))))
    _check_sizes(plan)
    seconds = estimate_seconds(plan)
    if fit_minutes is not None:
        plan, seconds = _fit(plan, 60 * fit_minutes / seconds), 60 * fit_minutes
    if plan.says:
        print(_description(plan, seconds), flush=True)
    return plan


def _check_sizes(plan: Plan, most: int = 50) -> None:
    """Refuses photos without any object of `min_area`, with the number that fits nine tenths of the objects."""
    recipe, areas = plan.phases[0], []
    for photo in plan.photos[:: max(1, len(plan.photos) // most)]:
        with contextlib.suppress(Exception):  # unreadable photos are told by the sampler
            sample = photo.dataset.get_sample(photo.place)
            scale = min(1.0, recipe.long_side / max(sample.image.shape[:2]))
            areas += [np.count_nonzero(sample.get_object_mask(i) > 0) * scale**2 for i in sample._objects]
    areas = [area for area in areas if area > 0]
    if areas and max(areas) < recipe.min_area and len(plan.photos) <= most:
        raise TrainingError(
            f"no object has min_area = {recipe.min_area} pixels, the largest has {max(areas):.0f} at a long side of "
            f"{recipe.long_side}: use --min-area {max(1, int(np.quantile(areas, 0.1)))}"
        )


def estimate_seconds(plan: Plan) -> float:
    """About how long all phases take here, by the time of one step at the first one's resolution and of one sample."""
    recipe = dataclasses.replace(plan.phases[0], rounds=(0.0, 1.0), samples=10**9)
    samples = solution.ClickSamples(plan.photos, recipe, plan.augmentator)
    begin = time.perf_counter()
    some = [samples[i] for i in range(2)]
    loading = (time.perf_counter() - begin) / len(some) / max(1, solution.worker_count(plan.workers))
    size = max(2, recipe.batch_size // plan.group.size)
    batch = torch.utils.data.default_collate([some[i % 2] for i in range(size)])
    run = Run(dataclasses.replace(recipe, batch_size=size), solution.ISModel(recipe.backbone).to(plan.device))
    for _ in range(2):  # the first one warms up
        begin = time.perf_counter()
        float(run.step(batch))
    pixel = (time.perf_counter() - begin) / batch["images"][:, 0].numel() / plan.group.size
    return sum(n * max(pixel * side**2, loading) for phase in plan.phases for n, side in _stretches(phase))


def _stretches(phase: Recipe) -> list[tuple[int, int]]:
    """How many samples of a phase are taken at which side."""
    begins = [min(begin, phase.samples) for begin, _ in phase.resolutions] + [phase.samples]
    sides = [side for _, side in phase.resolutions]
    return [(end - begin, side) for begin, end, side in zip(begins[:-1], begins[1:], sides, strict=True)]


def _fit(plan: Plan, factor: float) -> Plan:
    """The plan with its samples multiplied, or as an earlier start with the same output folder fitted it."""
    kept = plan.out / "recipe.json"
    if kept.is_file():
        phases = tuple(map(recipe_from, read_json(kept)))
        if list(map(_without_lengths, phases)) == list(map(_without_lengths, plan.phases)):
            return plan._replace(phases=phases)
    phases = scaled(plan.phases, max(1, round(sum(phase.samples for phase in plan.phases) * factor)))
    if plan.says:
        write_json(kept, list(map(plain_recipe, phases)))
    return plan._replace(phases=phases)


def _without_lengths(phase: Recipe) -> Recipe:
    sides = tuple((number, side) for number, (_, side) in enumerate(phase.resolutions))
    return dataclasses.replace(phase, samples=1, warm_up=0, lr_hold=0, resolutions=sides)


def _description(plan: Plan, seconds: float) -> str:
    """What will be trained, in four lines."""
    source = plan.start or ("random weights" if plan.pretrained is False else "ImageNet weights")
    lengths = ", ".join(f"{phase.samples:,}" for phase in plan.phases)
    batches = ", ".join(dict.fromkeys(str(phase.batch_size) for phase in plan.phases))
    held_out = f"{len(plan.held_out):,} held out" if plan.held_out else "none held out, so there is no validation"
    duration = f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{math.ceil(seconds / 60)} min"
    return (
        f"photos: {len(plan.photos):,} of {plan.folder}, {held_out}\n"
        f"phases: {len(plan.phases)}, from {source}: {lengths} samples in batches of {batches}\n"
        f"time:   about {duration} on {plan.device}, all phases from their beginning\n"
        f"result: {plan.checkpoint(len(plan.phases) - 1)}{_needs(plan)}"
    )


def _needs(plan: Plan) -> str:
    needs = dict.fromkeys(solution.find_backbone(phase.backbone).needs for phase in plan.phases)
    return "".join(f"\nneeds:  {need} where this checkpoint is used and graded" for need in needs if need)


def print_comparison(path: Path) -> None:
    """IoU@1/2/3 on held-out photos before the first phase of a checkpoint and with it."""
    phases = training_record(solution.read_checkpoint(path))["phases"]
    rows = {"before": phases[0]["history"][:1], "after": [phases[-1]["metrics"]]}
    rows = {name: row for name, found in rows.items() for row in found if "iou@3" in row}
    if rows:
        print(f"{'held-out photos':16}" + "".join(f"{f'IoU@{k}':>8}" for k in (1, 2, 3)))
    for name, row in rows.items():
        print(f"{name:16}" + "".join(f"{row[f'iou@{k}']:8.3f}" for k in (1, 2, 3)))


# ---------------------------------------------------------------------------------------------- command line


ARGUMENTS = {  # of train_segmentation: type and explanation
    "folder": (str, "the data (default ./COCO_LVIS)"),
    "out": (str, "for everything written (default ./experiments)"),
    "data": (str, "photos: checkpoint for those that checkpoint.pth names, all, or the path of a checkpoint "
                  "(default: those that checkpoint.pth names, or all if hardly any of them are there)"),
    "start": (str, "fine-tune this checkpoint, by a recipe of its own"),
    "pretrained": (str, "file of ImageNet weights; downloaded if left out"),
    "epochs": (float, "so many passes over the photos, in place of --samples"),
    "minutes": (float, "save and stop after this time; start again to go on"),
    "fit_minutes": (float, "scale the recipe's schedule to about this time"),
    "patience": (int, "validations without a better IoU@3 after which a phase ends; 0: never"),
    "device": (str, "cpu, cuda, ...; a GPU where there is one"),
    "workers": (int, "processes that load samples"),
}  # fmt: skip


def run_command(arguments: Sequence[str]) -> int:
    """`python solution.py`; returns the exit status.

    Raises:
        TrainingError, CheckpointError, FileNotFoundError, ValueError, OSError: for solution.main to tell.
    """
    parser = argparse.ArgumentParser(
        prog="solution.py", description="Train the model; without settings of the recipe, as the shipped one."
    )
    for name, (kind, text) in ARGUMENTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    add_recipe_arguments(parser)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    if given.pop("recipe_check", False):
        return 0 if check_recipe(**given) else 1
    given = with_recipe(given)
    if given.pop("print_recipe", False):
        print(recipe_text(given["recipe"]))
    else:
        print("wrote", solution.train_segmentation(**given))
    return 0


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the settings of the recipe, in groups, and what else is done with recipes and logs."""
    switches = {
        "recipe-check": "train the first 1 %% and compare", "tensorboard": "write scalars and contact sheets for it",
        "print-recipe": "only show what would be trained, in the form of a --recipe file",
    }  # fmt: skip
    for name, text in switches.items():
        parser.add_argument(f"--{name}", action="store_const", const=True, help=text)
    parser.add_argument("--recipe", metavar="FILE", help="of --print-recipe, or a checkpoint, in place of the shipped "
                                                         "one's; the settings below change it")  # fmt: skip
    groups: dict[str, Any] = {}
    for setting in dataclasses.fields(Recipe):
        name = setting.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(f"recipe, of every phase: {name}")
        kind = json.loads if isinstance(setting.default, tuple) else type(setting.default)
        former = ["--stages"] if setting.name == "resolutions" else []
        text = f"{setting.metadata['help']} (first phase: {json.dumps(setting.default)})".replace("%", "%%")
        flag = f"--{setting.name.replace('_', '-')}"
        groups[name].add_argument(flag, *former, dest=setting.name, type=kind, metavar="VALUE", help=text)


def with_recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `train_segmentation` from those of the command line: the recipe is a file's or the shipped one.

    Raises:
        TrainingError: the file holds no recipe, a setting does not fit, or what is to be printed depends on photos.
    """
    names = {setting.name for setting in dataclasses.fields(Recipe)}
    settings = {name: value for name, value in given.items() if name in names}
    others = {name: value for name, value in given.items() if name not in names}
    if others.get("print_recipe") and others.keys() & {"epochs", "fit_minutes"}:
        raise TrainingError("--print-recipe reads no photos: leave out --epochs and --fit-minutes, or give --samples")
    recipe = read_recipe(others["recipe"]) if "recipe" in others else None
    return {**others, "recipe": override(solution.choose_phases(recipe, others.get("start")), settings)}


def recipe_text(phases: Sequence[Recipe]) -> str:
    """Phases as JSON that `read_recipe` reads, a setting a line."""
    texts = (",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in plain_recipe(phase).items())
             for phase in phases)  # fmt: skip
    return "[\n" + ",\n".join(f" {{\n{text}\n }}" for text in texts) + "\n]"


def read_recipe(path: PathLike) -> tuple[Recipe, ...]:
    """The phases of a recipe file, or those that made a checkpoint (.pth).

    Raises:
        TrainingError: the file can't be read or holds no recipe, or one with a setting that is unknown or out of range.
        CheckpointError: the checkpoint is damaged.
    """
    try:
        if Path(path).suffix == ".pth":
            phases = training_record(solution.read_checkpoint(path)).get("phases", [])
            plain = [phase.get("recipe") for phase in phases]
        else:
            plain = read_json(path)
        plain = plain if isinstance(plain, list) else [plain]
        if not plain or not all(isinstance(phase, dict) for phase in plain):
            raise TrainingError("no recipe; --print-recipe shows what one looks like")
        return tuple(map(recipe_from, plain))
    except (TrainingError, UserError) as error:
        raise TrainingError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def scaled(phases: Sequence[Recipe], samples: int) -> tuple[Recipe, ...]:
    """The phases with so many samples together: each has its share, at least a batch, and its schedule shrinks too."""
    share = samples / sum(phase.samples for phase in phases)

    def scale(phase: Recipe) -> Recipe:
        resolutions = {round(begin * share): side for begin, side in phase.resolutions}
        return dataclasses.replace(
            phase,
            samples=max(phase.batch_size, round(phase.samples * share)),
            resolutions=tuple(sorted(resolutions.items())),
            warm_up=round(phase.warm_up * share),
            lr_hold=round(phase.lr_hold * share),
        )

    return tuple(scale(phase) for phase in phases)


def override(phases: Sequence[Recipe], settings: dict[str, Any]) -> tuple[Recipe, ...]:
    """Every phase with these settings; `samples` are those of all phases together, and seeds count up from `seed`.

    Raises:
        TrainingError: a setting does not fit one of the phases.
    """
    settings = dict(settings)
    samples, seed = settings.pop("samples", None), settings.pop("seed", None)
    phases = tuple(dataclasses.replace(phase, **settings) for phase in phases)
    if samples is not None:  # what is given in samples stays as given
        phases = tuple(dataclasses.replace(phase, **settings) for phase in scaled(phases, samples))
    if seed is not None:
        phases = tuple(dataclasses.replace(phase, seed=seed + number) for number, phase in enumerate(phases))
    for number, phase in enumerate(phases, 1):
        latest = {"resolutions": phase.resolutions[-1][0], "warm_up": phase.warm_up, "lr_hold": phase.lr_hold}
        for name in latest.keys() & settings.keys():
            if latest[name] >= phase.samples:
                raise TrainingError(f"{name} {settings[name]} does not fit phase {number} of {phase.samples} samples")
    return phases


# ---------------------------------------------------------------------------------------------- records, recipe check

_FORMER_NAMES = {
    "stages": "resolutions", "rate": "lr", "backbone_factor": "backbone_lr", "steady": "lr_hold", "floor": "lr_min",
    "clip": "max_grad_norm", "ema": "ema_decay", "stuff": "p_stuff", "part": "p_part", "merge": "p_merge",
    "paste": "p_paste", "zoom": "p_zoom", "light": "p_brightness", "tint": "p_color_shift", "grey": "p_gray",
    "blur": "p_blur", "jpeg": "p_jpeg", "first_centre": "p_center_click", "more_points": "p_more_points",
    "exact": "p_exact_click", "overlap": "iou_weight",
}  # fmt: skip


def recipe_from(plain: Mapping[str, Any]) -> Recipe:
    """A recipe from the plain containers of a file, those of checkpoint format 1 too; what it lacks has its default.

    Raises:
        TrainingError: a setting is unknown or out of its range.
    """
    plain = dict(plain)
    if "stages" in plain:  # format 1 counted in parts of the phase
        total = plain["samples"]
        plain["stages"] = [[round(begin * total), side] for begin, side in plain["stages"]]
        plain.update({name: round(plain[name] * total) for name in ("warm_up", "steady") if name in plain})
        plain = {_FORMER_NAMES.get(name, name): value for name, value in plain.items() if name != "after"}
    unknown = set(plain) - {setting.name for setting in dataclasses.fields(Recipe)}
    if unknown:
        raise TrainingError(f"the recipe has settings unknown to this solution.py: {', '.join(sorted(unknown))}")
    return Recipe(**plain)


def training_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """How a checkpoint was trained: {"ids", "held_out", "phases"}, a flat list of records; {} if it does not say.

    Format 1 kept the record of the phase before, with all ids again, inside each record.
    """
    training = content.get("training") or {}
    if "phases" in training or not training:
        return training
    phases: list[dict[str, Any]] = []
    record = training
    while record:
        own = {name: value for name, value in record.items() if name not in ("after", "ids", "held_out")}
        if "recipe" in own:
            own["recipe"] = plain_recipe(recipe_from(own["recipe"]))
        phases.insert(0, own)
        record = record.get("after") or {}
    return {"ids": training.get("ids", []), "held_out": training.get("held_out", []), "phases": phases}


def check_recipe(folder: Path = Path("COCO_LVIS"), out: Path = Path("experiments"), **options: Any) -> bool:
    """Trains the first hundredth of the shipped recipe again and compares its losses with the recorded ones.

    The samples are the same, so the losses are compared in pairs. Rounding differs between machines, and small
    differences grow; what must hold is that the mean difference is no more than the noise lets expect.

    Args:
        folder: COCO_LVIS.
        out: for nothing but a state of an earlier check, which there is not.
        options: pretrained, device and workers, as those of `train_segmentation`.

    Returns:
        Whether the losses follow the record: the mean difference is within three standard errors, or 0.01.
    """
    unknown = set(options) - {"pretrained", "device", "workers"}
    if unknown:
        raise TrainingError(f"the recipe check takes no {', '.join(sorted(unknown))}: it trains the recorded recipe")
    path = Path(solution.__file__).with_name("checkpoint.pth")
    record = training_record(solution.read_checkpoint(path))
    first = record.get("phases", [{}])[0]
    if not first.get("losses"):
        raise TrainingError(f"{path} carries no record of its losses to compare with")
    recorded = dict(map(tuple, first["losses"]))
    photos, held_out, _ = solution.find_training_photos(folder, "checkpoint")
    if len(photos) < len(record["ids"]):
        raise TrainingError(f"{folder} lacks photos of {path}: without them its samples can't be made again")
    phases = tuple(recipe_from(phase["recipe"]) for phase in record["phases"])
    stretch = min(max(sum(phase.samples for phase in phases) // 100, 40 * phases[0].batch_size), max(recorded))
    device = solution.choose_device(options.get("device"))
    plan = Plan(phases[:1], folder, photos, held_out, Path(out) / "recipe-check", device, solution.Group(),
                pretrained=options.get("pretrained", True), workers=options.get("workers"))
    return _follows(plan, recorded, stretch // phases[0].batch_size)


def _follows(plan: Plan, recorded: Mapping[int, float], count: int) -> bool:
    """Trains so many batches and prints how their losses differ from the recorded ones."""
    run, differences = solution.open_run(plan, 0), []
    samples = solution.ClickSamples(plan.photos, run.recipe)
    for batch in itertools.islice(solution.load_batches(run, samples, plan.workers), count):
        loss = float(run.step(batch))
        differences.append(loss - recorded[run.seen])
        print(f"{run.seen:6d} samples: loss {loss:.4f}, recorded {recorded[run.seen]:.4f}", flush=True)
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    follows = bool(abs(np.mean(differences)) <= max(3 * error, 0.01))
    verdict = "follows" if follows else "DOES NOT follow"
    print(f"mean difference {np.mean(differences):+.4f} +- {error:.4f}: {verdict} the record")
    return follows
