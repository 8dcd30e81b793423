"""The study of proposals: how many clicks a concept model saves that learns from what is already annotated.

    python -m utils.benchmark assisted PHOTOS --out DIR                          a model trained while annotating
    python -m utils.benchmark assisted PHOTOS --out DIR --label bicycle          one class of a data set
    python -m utils.benchmark assisted PHOTOS --out DIR --concept people         a given model, or a folder of masks

Every picture is annotated twice by the same simulated user and click model, from nothing and from the proposal; for a
picture the concept model has seen the accepted masks of earlier pictures only. It is trained after 5 pictures and again
at each 1.5-fold growth. A stopped study goes on when the command is given again. Exit status: 0, or 2 for a call that
can't be carried out.
"""
from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.benchmark.arguments import whole_number
from utils.benchmark.assisted_report import TARGETS, write_study
from utils.benchmark.assisted_study import Plan, study
from utils.benchmark.concepts import given_concept
from utils.benchmark.protocol import harness
from utils.files import (
    UsageError,
    UserError,
    digest,
    file_digest,
    folder_lock,
    os_error_sentence,
    read_json,
    tolerant_output,
    write_json,
)
from utils.models import model_digests, open_model, takes_prev_mask
from utils.segment import Recipe, SegmentationError, open_data, train


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit status."""
    tolerant_output()
    given = _parser().parse_args(arguments)
    fields = {f.name for f in dataclasses.fields(Plan)}
    plan = Plan(**{name: value for name, value in vars(given).items() if name in fields})
    try:
        with folder_lock(plan.out, "study"):
            return _run(plan, given)
    except (UserError, SegmentationError) as error:
        print(f"utils.benchmark assisted: {error}", file=sys.stderr)
    except OSError as error:
        print(f"utils.benchmark assisted: {os_error_sentence(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 2


def _run(plan: Plan, given: argparse.Namespace) -> int:
    if not takes_prev_mask(open_model(plan.model).predictor):
        raise UsageError(f"{plan.model} has no argument prev_mask, so it can't correct a proposal")
    if plan.concept != "trained":
        given_concept(plan.concept)
    _check_same(plan)
    outcomes = study(plan, given.jobs)
    print(write_study(plan, outcomes, given.check_costs))
    print(f"\n{plan.out / 'report.html'}")
    return 0


def _check_same(plan: Plan) -> None:
    """Refuses a folder that another study was begun in."""
    settings = {name: value for name, value in dataclasses.asdict(plan).items() if name != "out"}
    about = {**settings, "labels": list(plan.labels), "models": list(model_digests(plan.model).values()),
             "concept content": _digest_of(plan.concept), "pictures": _digest_of_pictures(plan),
             "code": harness(), "learner": _digest_of_learner()}
    path = plan.out / "study.json"
    if path.exists():
        before = read_json(path)
        changed = sorted(name for name in {*about, *before} if about.get(name) != before.get(name))
        if changed:
            raise UsageError(f"{plan.out} holds a study with other {', '.join(changed)}; choose another --out")
    write_json(path, about, indent=1)


def _digest_of(concept: str) -> str:
    path = Path(concept)
    files = sorted(path.glob("*.png")) if path.is_dir() else [path] if path.is_file() else []
    return digest("\n".join(map(file_digest, files)).encode())


def _digest_of_learner() -> str:
    """Of the code that trains."""
    return digest("\n".join(file_digest(inspect.getfile(part)) for part in (train, Recipe, open_data)).encode())


def _digest_of_pictures(plan: Plan) -> str:
    """Of all photos and masks as they are read."""
    parts = []
    for sample in plan.samples():
        photo, mask = sample.read()
        parts.append(f"{sample.name} {digest(photo.tobytes())} {digest(mask.tobytes())}")
    return digest("\n".join(parts).encode("utf-8", "surrogateescape"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m utils.benchmark assisted", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="photos with masks, as utils.segment takes them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument("--label", dest="labels", nargs="+", default=(), help="classes that are the concept")
    parser.add_argument("--split", default="train", help="of a COCO_LVIS folder (default: train)")
    parser.add_argument("--limit", type=whole_number(0), default=0, help="pictures, spread evenly (default: all)")
    parser.add_argument("--model", default=Plan.model, help="what clicks (default: checkpoint.pth)")
    parser.add_argument("--concept", default="trained", metavar="SOURCE",
                        help="a concept model, module:attribute or a folder of masks instead of training one")
    parser.add_argument("--clicks", type=whole_number(1, 100), default=20, help="at most on a picture (default: 20)")
    parser.add_argument("--target", type=float, default=Plan.target, choices=TARGETS, metavar="IOU",
                        help="IoU up to which clicks go on: .85, .90 or .95 (default: %(default)s)")
    parser.add_argument("--orders", type=whole_number(1, 100), default=5, help="random orders (default: 5)")
    parser.add_argument("--block", type=whole_number(1), default=1, metavar="N",
                        help="neighbouring pictures that stay together in an order, for sequences (default: 1)")
    parser.add_argument("--merge", action="store_true", help="apply only the connected change under a click")
    parser.add_argument("--minutes", type=float, default=Plan.minutes,
                        help="of each training at most (default: 0.5)")
    parser.add_argument("--photos", type=whole_number(0), default=0, metavar="N", help="that each training sees, the "
                        "same one many times: figures that don't depend on the machine's speed (default: no limit)")
    parser.add_argument("--network", default=Plan.network, help="of the concept model (default: %(default)s)")
    parser.add_argument("--size", type=whole_number(64, 2048), default=Plan.size,
                        help="of the concept model's input (default: %(default)s)")
    parser.add_argument("--pretrained", default="", metavar="FILE", help="ImageNet weights of its encoder")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the orders (default: 0)")
    parser.add_argument("--check-costs", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0], metavar="CLICKS",
                        help="what looking at a proposal costs, in clicks (default: 0 .5 1 2)")
    parser.add_argument("--jobs", type=whole_number(1, 256), default=1, metavar="N", help="processes (default: 1)")
    return parser
