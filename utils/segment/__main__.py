"""python -m utils.segment train|predict|evaluate|compare|grade|speed: a concept from photos with masks."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from solution import CheckpointError
from utils.files import UsageError, UserError, os_error_sentence, tolerant_output
from utils.images import read_photo
from utils.metrics import Estimate
from utils.report import charts, figure
from utils.segment import report
from utils.segment.compare import compare, table_text
from utils.segment.data import FORMATS, PhotoWithMask, find_photos, open_data
from utils.segment.evaluation import (
    MakeMask,
    PhotoScore,
    difference,
    evaluate,
    summarise,
    write_csv,
)
from utils.segment.grade import grade, mark
from utils.segment.models import model_path, open_concept_model
from utils.segment.prediction import Inference, count_photos, predict_folder
from utils.segment.segmentation import (
    AUGMENTATIONS,
    ENCODERS,
    LOSSES,
    NETWORKS,
    NORMS,
    Recipe,
    SegmentationError,
    Settings,
    Weights,
    split_samples,
)
from utils.segment.training import train

UPLOAD_BYTES = 25 * 10**6  # what the bird assignment takes
FOLDER_HELP = "; ".join(kind.description for kind in FORMATS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives the exit status: 0, 1 if something failed, 2 for a wrong call, 130 if it was stopped."""
    tolerant_output()
    options = _parser().parse_args(arguments)
    options.command_line = ["python", "-m", "utils.segment", *(arguments if arguments is not None else sys.argv[1:])]
    try:
        return options.run(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (SegmentationError, UserError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {os_error_sentence(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 1


# ---------------------------------------------------------------------------------------------- train, compare


def _train(options: argparse.Namespace) -> int:
    samples = open_data(options.data, options.label, options.split, options.negatives)
    settings = None if options.start else _settings(options)
    result = train(samples, options.out, _recipe(options), settings, _pretrained(options), options.start,
                   crops=options.crops, device=options.device, workers=options.workers)
    if not result.is_finished:
        print(f"stopped after {result.seconds / 60:.1f} minutes of training; the same command goes on", file=sys.stderr)
        return 130
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first one speaks
        return 0
    print(f"{result.model}: IoU {result.iou:.4f} on {len(result.held_out)} held-out photos, trained on {result.photos} "
          f"for {result.seconds / 60:.1f} minutes")
    if result.model.stat().st_size > UPLOAD_BYTES:
        print(f"warning: {result.model} is larger than 25 MB, which the bird assignment doesn't take", file=sys.stderr)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(options.network, options.encoder, options.norm, options.hypercolumns, options.size)


def _recipe(options: argparse.Namespace) -> Recipe:
    kept = tuple(name for name in (*Recipe.augmentations, *options.augment) if name not in options.without)
    return Recipe(options.minutes, options.epochs, options.loss, tuple(dict.fromkeys(kept)), options.zoom,
                  options.batch_size, options.lr, seed=options.seed)


def _pretrained(options: argparse.Namespace) -> Weights:
    return None if options.pretrained == "none" else options.pretrained


def _compare(options: argparse.Namespace) -> int:
    samples = open_data(options.data, options.label, options.split)
    done = compare(samples, options.out, _recipe(options), _settings(options), _pretrained(options),
                   options.command_line, options.device)
    if len(done) < 3:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    print(f"{table_text(done)}\n{Path(options.out) / 'comparison.html'}")
    return 0


# ---------------------------------------------------------------------------------------------- predict, evaluate


def _inference(options: argparse.Namespace) -> Inference:
    return Inference(options.tta == "flip", options.clean)


def _predict(options: argparse.Namespace) -> int:
    model = open_concept_model(options.model, options.device or "cpu")
    total, remark = count_photos(options.images)
    if remark:
        print(remark, file=sys.stderr)
    problems = []
    results = predict_folder(model, options.images, options.out, _inference(options), options.probabilities)
    for problem in tqdm(results, total=total, unit="photo", disable=None):
        problems += [problem] if problem else []
    print(f"{total - len(problems)} masks in {options.out}")
    return _tell(problems)


def _tell(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _evaluate(options: argparse.Namespace) -> int:
    model = open_concept_model(options.model, options.device or "cpu")
    samples = open_data(options.data, options.label, options.split)
    samples = split_samples(samples)[1] if options.held_out else samples
    problems: list[str] = []
    chosen = _inference(options)
    ways = {_way(way): way for way in (chosen, Inference())}  # with its options, and plain to compare with
    scores = {name: evaluate(tqdm(samples, name, unit="photo", disable=None), partial(way.mask, model), said)
              for (name, way), said in zip(ways.items(), (problems, []), strict=False)}
    if scores[_way(chosen)]:
        differences = {f"{_way(chosen)} − plain": difference(*scores.values())} if len(scores) == 2 else {}
        _print_figures(scores[_way(chosen)], differences)
        if options.out:
            write_csv(scores[_way(chosen)], Path(options.out) / "photos.csv")
            _write_report(options, partial(chosen.mask, model), samples, scores, differences)
            print(Path(options.out) / "report.html")
    return _tell(problems)


def _way(inference: Inference) -> str:
    parts = ["flip"] * inference.flip + [f"clean-up {inference.clean:g}"] * (inference.clean > 0)
    return ", ".join(parts) or "plain"


def _print_figures(scores: Sequence[PhotoScore], differences: Mapping[str, Mapping[str, Estimate]]) -> None:
    rows = {name: (estimate, "") for name, estimate in summarise(scores).items()}
    rows |= {f"{name}, IoU": (measures["IoU a photo"], "+") for name, measures in differences.items()}
    for name, (estimate, sign) in rows.items():
        bounds = [f"{value:{sign}.4f}" for value in (estimate.low, estimate.high) if value is not None]
        print(f"{name:16} {estimate.mean:{sign}.4f}" + (f"  ({' to '.join(bounds)})" if bounds else ""))


def _write_report(options: argparse.Namespace, make_mask: MakeMask, samples: Sequence[PhotoWithMask],
                  scores: Mapping[str, list[PhotoScore]], differences: Mapping[str, Mapping[str, Estimate]]) -> None:
    by_name = {sample.name: sample for sample in samples}
    first = next(iter(scores.values()))
    ious = {score.name: score.iou for score in first}
    pixels = {score.name: int(np.prod(by_name[score.name].shape())) for score in first}
    pictures = "".join(report.photos(heading, names, partial(report.shown, by_name, make_mask),
                                       lambda name: f"{name} · IoU {ious[name]:.3f}")
                       for heading, names in report.choose(first).items())
    sections = [report.table(f"{len(first)} photos", {way: summarise(some) for way, some in scores.items()})]
    if differences:
        sections.append(report.table("Paired differences; bold where the interval leaves zero out", differences, True))
    sections.append(charts([figure("Object size against IoU", report.size_chart({"photos": first}, pixels))]))
    sections.append(report.picture_section(pictures))
    title = f"{options.model} on {options.data}"
    report.write_page(Path(options.out) / "report.html", title, options.command_line, sections)


# ---------------------------------------------------------------------------------------------- grade, speed


def _grade(options: argparse.Namespace) -> int:
    results = grade(options.tests, options.submission, options.train)
    for result in results:
        print(result)
        if result.message:
            print(result.message.rstrip(), file=sys.stderr)
    print(f"Mark: {mark(results)}")
    return 0 if all(result.status == "Ok" for result in results) else 1


def _speed(options: argparse.Namespace) -> int:
    import torch

    from utils.segment.speed import measure

    if options.threads:
        torch.set_num_threads(options.threads)
    width, height = options.size
    photos = _photos(options.images, height, width)
    print(f"{width}x{height}, batch 1, {torch.get_num_threads()} threads\n{'runtime':14} {'ms':>7} {'+-':>6} "
          f"{'largest difference':>18} {'mask IoU':>9}")
    for one in measure(model_path(options.model), photos, options.runs, options.device or "cpu"):
        figures = f"{1000 * one.mean:7.1f} {1000 * one.deviation:6.1f} {one.largest:18.6f} {one.mask_iou:9.5f}"
        print(f"{one.runtime:14} {figures}")
    return 0


def _photos(images: str | None, height: int, width: int) -> list[np.ndarray]:
    """Photos of one size: those of a folder, or smooth noise, on which only the time means something."""
    if images:
        return [cv2.resize(read_photo(path).pixels, (width, height), interpolation=cv2.INTER_AREA)
                for path in find_photos(images)[0][:20]]
    noise = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    return [cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC) for picture in noise]


# ---------------------------------------------------------------------------------------------- arguments


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write WIDTHxHEIGHT, as 320x240")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m utils.segment", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (("train", _train, "train a model, or go on with a training that was stopped"),
                            ("compare", _compare, "encoder-decoder, U-Net and pretrained U-Net on one split")):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        _add_data(command)
        _add_training(command)
        if name == "train":
            command.add_argument("--start", metavar="MODEL", help="begin from a concept model's weights")
            command.add_argument("--crops", action="store_true", help="train on two crops of each object as well")
            command.add_argument("--negatives", type=float, default=0.0, metavar="PART", help="photos of a COCO_LVIS "
                                 "folder without the label, as a part of those with it (default: none)")
    _add_predict(commands.add_parser("predict", help="write masks of photos"))
    _add_evaluate(commands.add_parser("evaluate", help="figures, a CSV file and a page of how good a model is"))
    command = commands.add_parser("grade", help="the bird grader's protocol and mark")
    command.set_defaults(run=_grade)
    command.add_argument("tests", help="folder of NN_name_input and NN_name_gt")
    command.add_argument("--submission", default=str(Path(__file__).parent),
                         help="folder of segmentation.py and segmentation_model.pth (default: this package's)")
    command.add_argument("--train", action="store_true", help="call train_model first")
    _add_speed(commands.add_parser("speed", help="time a photo in every runtime that is installed"))
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", help=FOLDER_HELP)
    command.add_argument("--label", nargs="+", default=[], help="classes that are the concept; all objects if left out")
    command.add_argument("--split", default="train", help="of a COCO_LVIS folder, or a folder in DATA (default: train)")


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", required=True, help="folder for weights, curves and the state to go on from")
    command.add_argument("--network", default=Settings.network, choices=NETWORKS)
    command.add_argument("--encoder", default=Settings.encoder, choices=list(ENCODERS))
    command.add_argument("--norm", default=Settings.norm, choices=NORMS)
    command.add_argument("--hypercolumns", default=Settings.hypercolumns, action=argparse.BooleanOptionalAction)
    command.add_argument("--size", type=int, default=Settings.size, help="of the network's input")
    command.add_argument("--pretrained", default="download", metavar="FILE",
                         help="the encoder's ImageNet weights; downloaded if left out; none for random ones")
    command.add_argument("--minutes", type=float, default=Recipe.minutes, help="of training (default: %(default)s)")
    command.add_argument("--epochs", type=float, default=Recipe.epochs, help="end after so many passes at the latest")
    command.add_argument("--loss", default=Recipe.loss, help=f"a sum of {', '.join(LOSSES)} (default: %(default)s)")
    command.add_argument("--augment", nargs="+", default=[], choices=list(AUGMENTATIONS), help="besides the usual ones")
    command.add_argument("--without", nargs="+", default=[], choices=list(AUGMENTATIONS), help="leave these out")
    command.add_argument("--zoom", type=float, default=Recipe.zoom, help="of the affine augmentation, at most")
    command.add_argument("--batch-size", type=int, default=Recipe.batch_size)
    command.add_argument("--lr", type=float, default=Recipe.lr)
    command.add_argument("--seed", type=int, default=Recipe.seed)
    command.add_argument("--device", help="as torch names it; a GPU if there is one")
    command.add_argument("--workers", type=int, help="processes that read photos")


def _add_inference(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="people, or a training's folder or file")
    command.add_argument("--tta", choices=("flip",), help="average with the mirrored photo")
    command.add_argument("--clean", type=float, default=0.0, metavar="PART",
                         help="drop objects and fill holes below this part of the largest object")
    command.add_argument("--device", help="as torch names it (default: cpu)")


def _add_predict(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_predict)
    _add_inference(command)
    command.add_argument("images", help="folder of photos, or one photo")
    command.add_argument("--out", required=True, metavar="MASKS", help="folder for the PNG files")
    command.add_argument("--probabilities", action="store_true", help="grey from 0 to 255, not black and white")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_evaluate)
    _add_inference(command)
    _add_data(command)
    command.add_argument("--held-out", action="store_true", help="only the photos that a training on DATA holds out")
    command.add_argument("--out", help="folder for report.html and photos.csv")


def _add_speed(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_speed)
    command.add_argument("model", help="people, or a training's folder or file")
    command.add_argument("--size", type=_size, default=(320, 240), metavar="WIDTHxHEIGHT", help="of the photos")
    command.add_argument("--images", help="folder of photos to time, so that the differences mean something")
    command.add_argument("--runs", type=int, default=100)
    command.add_argument("--threads", type=int)
    command.add_argument("--device")


if __name__ == "__main__":
    sys.exit(main())
