"""`python -m utils.prepare`: fetch data sets, convert annotated pictures to COCO_LVIS, inspect them, select of them."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.files import UsageError, UserError, existing_file, existing_folder, os_error_sentence, tolerant_output
from utils.formats.coco import plan_coco
from utils.formats.folder import FolderReader, plan_folder
from utils.formats.labelme import LabelmeReader, plan_labelme
from utils.formats.picture import Plan
from utils.formats.via import plan_via
from utils.formats.voc import plan_voc
from utils.formats.yolo import class_names, plan_yolo
from utils.labels import parse_value
from utils.prepare.convert import convert, hold_out
from utils.prepare.download import download
from utils.prepare.inspect import inspect_split, splits_of, write_report
from utils.prepare.sources import DATA_SETS
from utils.prepare.subset import Filters, select, write_list

FAILURES_SHOWN = 20
HELD_OUT = 0.1
Parser = argparse.ArgumentParser
Arguments = argparse.Namespace

# ---------------------------------------------------------------------------------------------- kinds of annotations
# Each declares its arguments and gives what makes a plan of them; a further kind is a function here, a row of KINDS
# and a file with its reader.


def _folder(parser: Parser) -> Callable[[Arguments], Plan]:
    add = parser.add_argument
    add("--images", type=_dir, required=True, metavar="DIR", help="folder of the pictures")
    add("--masks", type=_dir, required=True, metavar="DIR", help="a mask file for each, or a folder of masks; every "
        "value but 0, or every colour but black, is an object")
    add("--binary", type=_number(0, 65534), metavar="LEVEL", help="all pixels above LEVEL are one object instead")
    add("--ignore", type=_value, nargs="*", metavar="VALUE", help="values of no object, as 255 or #e0e0c0; nothing "
        "behind it for none (255 beside other values, VOC's void)")
    add("--stuff", type=_value, nargs="+", default=[], metavar="VALUE", help="values that are stuff")
    _skip_missing(parser, "pictures without a mask")
    _frame(parser, "upright")
    return lambda given: plan_folder(given.images, given.masks, FolderReader(
        given.binary, None if given.ignore is None else tuple(given.ignore), tuple(given.stuff),
        given.frame or "upright"), given.skip_missing)


def _coco(parser: Parser) -> Callable[[Arguments], Plan]:
    add = parser.add_argument
    add("--images", type=_dir, nargs="+", required=True, metavar="DIR", help="folders of the photos")
    add("--instances", type=_file, metavar="JSON", help="COCO instances: objects")
    add("--lvis", type=_file, metavar="JSON", help="LVIS: objects, preferred to COCO's where both agree")
    add("--panoptic", type=_file, metavar="JSON", help="COCO panoptic: stuff (and objects without COCO)")
    add("--panoptic-masks", type=_dir, metavar="DIR", help="its PNG files, if not beside it")
    add("--crowd", choices=("object", "skip"), help="what crowd regions (iscrowd) are: objects, or left out (objects, "
        "but in COCO's own files, where a crowd is many objects in one)")
    _skip_missing(parser, "photos that are in none of the folders")
    _frame(parser, "what the file states, else upright")
    kinds = ("instances", "panoptic", "lvis")
    return lambda given: plan_coco(given.images, {kind: getattr(given, kind) for kind in kinds if getattr(given, kind)},
                                   given.panoptic_masks, given.skip_missing, given.crowd, given.frame)


def _labelme(parser: Parser) -> Callable[[Arguments], Plan]:
    parser.add_argument("--labels", type=_dir, required=True, metavar="DIR", help="folder of the JSON files")
    parser.add_argument("--images", type=_dir, metavar="DIR", help="folder of the pictures, if they are not where the "
                        "files say")
    _stuff(parser)
    return lambda given: plan_labelme(given.labels, given.images, LabelmeReader(tuple(given.stuff)))


def _via(parser: Parser) -> Callable[[Arguments], Plan]:
    add = parser.add_argument
    add("--annotations", type=_file, nargs="+", required=True, metavar="FILE", help="VIA's files")
    add("--images", type=_dir, nargs="+", required=True, metavar="DIR", help="folders of the pictures")
    add("--attribute", metavar="NAME", help="region attribute that holds the class, if there are several")
    _stuff(parser)
    _skip_missing(parser, "pictures that are in none of the folders")
    return lambda given: plan_via(given.annotations, given.images, given.attribute, given.stuff, given.skip_missing)


def _yolo(parser: Parser) -> Callable[[Arguments], Plan]:
    add = parser.add_argument
    add("--labels", type=_dir, required=True, metavar="DIR", help="folder of the label files")
    add("--images", type=_dir, required=True, metavar="DIR", help="folder of the pictures")
    add("--names", type=_file, metavar="FILE", help="data.yaml or classes.txt, if not in or above --labels")
    _stuff(parser)
    return lambda given: plan_yolo(given.labels, given.images, class_names(given.labels, given.names), given.stuff)


def _voc(parser: Parser) -> Callable[[Arguments], Plan]:
    parser.add_argument("--folder", type=_dir, required=True, metavar="DIR", help="holds JPEGImages, "
                        "SegmentationObject, SegmentationClass and perhaps labelmap.txt")
    _stuff(parser)
    return lambda given: plan_voc(given.folder, given.stuff)


KINDS: dict[str, tuple[Callable[[Parser], Callable[[Arguments], Plan]], str, float | None]] = {
    "folder": (_folder, "a folder of pictures and a folder of masks of the same names", HELD_OUT),
    "coco": (_coco, "COCO instances, COCO panoptic and LVIS JSON, alone or joined", None),
    "labelme": (_labelme, "a folder of labelme's JSON files", HELD_OUT),
    "via": (_via, "projects or annotations (JSON, CSV) of the VGG Image Annotator 1 and 2", HELD_OUT),
    "yolo": (_yolo, "YOLO's segmentation labels, a text file a picture", HELD_OUT),
    "voc": (_voc, "a folder as PASCAL VOC's, with maps of objects and classes", HELD_OUT),
}


def _add_kind(kinds: Any, name: str) -> None:
    declare, text, held_out = KINDS[name]
    parser = kinds.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    make_plan = declare(parser)
    target = parser.add_argument_group("where to and how")
    target.add_argument("--out", type=Path, required=True, metavar="DIR", help="the COCO_LVIS folder")
    target.add_argument("--split", metavar="NAME", help="write all photos to this split "
                        f"({'train and val' if held_out else 'train'})")
    target.add_argument("--val", type=_share, default=held_out, metavar="SHARE", help="of the photos that are held out "
                        f"in val, chosen by their names ({held_out or 'none'})")
    _jobs(target)
    parser.set_defaults(run=lambda given: _convert(given, make_plan))


def _convert(given: Arguments, make_plan: Callable[[Arguments], Plan]) -> int:
    """Plans, converts, and says what came of it."""
    split = _split_name(given.split or "train")
    plan = make_plan(given)
    by_name = given.split is None and given.val is not None
    splits = hold_out(plan.tasks, given.out, given.val) if by_name else {split: list(plan.tasks)}
    _show(plan.notes, "", sys.stderr)
    outcomes = convert(plan, given.out, splits, given.jobs)
    failures = [*plan.problems, *(failure for outcome in outcomes.values() for failure in outcome.failures)]
    _show(failures, "failed: ", sys.stderr)
    for name, outcome in outcomes.items():
        print(f"{given.out / name}: {outcome}")
        _show([*(f"{count} {text}" for text, count in outcome.counts.items()), *outcome.notes], "  ", sys.stdout)
    return 1 if failures or not any(outcome.photos for outcome in outcomes.values()) else 0


# ---------------------------------------------------------------------------------------------- other commands


def _add_download(commands: Any) -> None:
    text = "fetch a published data set and lay it out"
    parser = commands.add_parser("download", help=text, description=(
        "Archives are checked and unpacked into --out: in the authors' own layout and, for test sets, as a folder that "
        "run.py reads too. An archive that you have already is taken from OUT/archives. A stopped download goes on."))
    parser.add_argument("name", choices=sorted(DATA_SETS), help="the data set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for it")
    parser.add_argument("--mirror", default="", metavar="URL", help="a folder on the web that has the same archives")
    parser.add_argument("--keep-archives", action="store_true", help="leave the archives in OUT/archives")

    def run(given: Arguments) -> int:
        if given.mirror and not given.mirror.startswith(("http://", "https://")):
            raise UsageError(f"--mirror takes an address that begins with http:// or https://, not {given.mirror}")
        download(DATA_SETS[given.name], given.out, given.mirror, given.keep_archives)
        return 0

    parser.set_defaults(run=run)


def _add_inspect(commands: Any) -> None:
    text = "count, measure and look at a COCO_LVIS folder"
    parser = commands.add_parser("inspect", help=text, description=text)
    parser.add_argument("folder", type=_dir, help="the folder, or one split of it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for SPLIT.json and the contact sheet SPLIT.jpg")
    parser.add_argument("--limit", type=_number(1), metavar="N", help="look at N photos only, a fixed random choice")
    _jobs(parser)

    def run(given: Arguments) -> int:
        broken: list[str] = []
        for split in splits_of(given.folder):
            report = inspect_split(split, given.jobs, given.limit)
            print(report)
            broken += report.problems
            if given.out:
                write_report(report, given.out)
        _show(broken, "failed: ", sys.stderr)
        return 1 if broken else 0

    parser.set_defaults(run=run)


def _add_subset(commands: Any) -> None:
    text = "choose photos of a split and write their list for training"
    parser = commands.add_parser("subset", help=text, description=text)
    parser.add_argument("folder", type=Path, help="the COCO_LVIS folder")
    parser.add_argument("--split", default="train", help="its split (train)")
    parser.add_argument("--list", default="allow_list.json", metavar="NAME", help="file in the split (allow_list.json)")
    add = parser.add_argument_group("how many").add_argument
    add("--photos", type=_number(1), metavar="N", help="at most N, a fixed random choice")
    add("--seed", type=int, default=0, help="of the choice (0)")
    add = parser.add_argument_group("licence and category").add_argument
    add("--info", type=_file, nargs="+", default=[], metavar="JSON", help="files that state them (COCO's, LVIS's), "
        "unless the split was converted here")
    add("--licenses", type=int, nargs="+", default=[], metavar="ID", help="one of these, COCO's numbers")
    add("--categories", nargs="+", default=[], metavar="NAME", help="has one of these")
    add("--without", nargs="+", default=[], metavar="NAME", help="has none of these")
    add = parser.add_argument_group("size").add_argument
    add("--min-side", type=int, default=0, metavar="PIXELS", help="of the photo's shorter side")
    add("--min-area", type=int, default=0, metavar="PIXELS", help="an object counts from this area on")
    add("--max-area", type=int, metavar="PIXELS", help="an object counts up to this area")
    add("--min-objects", type=int, default=0, metavar="N", help="has N objects that count (1)")
    _jobs(parser)
    parser.set_defaults(run=_subset)


def _subset(given: Arguments) -> int:
    (split,) = splits_of(existing_folder(given.folder / _split_name(given.split)))
    filters = Filters(given.licenses, given.categories, given.without, given.min_side, given.min_area, given.max_area,
                      given.min_objects)
    chosen = select(split, filters, given.photos, given.seed, given.info, given.jobs)
    if not chosen:
        raise UserError(f"no photo of {split} meets all of that; ask for less")
    path = write_list(split, given.list, chosen)
    print(f"{path}: {len(chosen)} photos; CocoLvisDataset(..., allow_list_name={path.name!r}) reads it")
    return 0


# ---------------------------------------------------------------------------------------------- arguments


def _skip_missing(parser: Parser, what: str) -> None:
    parser.add_argument("--skip-missing", action="store_true", help=f"leave out {what}, instead of counting failures")


def _frame(parser: Parser, default: str) -> None:
    parser.add_argument("--frame", choices=("upright", "stored"), help="how photos that EXIF data turn lay when they "
                        f"were annotated, where their size doesn't say ({default})")


def _stuff(parser: Parser) -> None:
    parser.add_argument("--stuff", nargs="+", default=[], metavar="LABEL", help="labels that are stuff: sky, grass")


def _jobs(group: Any) -> None:
    group.add_argument("--jobs", type=_number(1), default=os.cpu_count(), metavar="N", help="processes (one a core)")


def _checked(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argument's type whose errors argparse shows as they are."""
    def parse(text: str) -> Any:
        try:
            return check(text)
        except (UsageError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


_dir, _file, _value = _checked(existing_folder), _checked(existing_file), _checked(parse_value)


def _number(least: int, most: int | None = None) -> Callable[[str], int]:
    def check(text: str) -> int:
        if int(text) < least or (most is not None and int(text) > most):
            raise ValueError(f"{text} is not {least} or more" + ("" if most is None else f" and at most {most}"))
        return int(text)

    return _checked(check)


@_checked
def _share(text: str) -> float:
    if not 0 <= float(text) <= 0.9:
        raise ValueError(f"{text} is not from 0 to 0.9")
    return float(text)


def _split_name(name: str) -> str:
    if Path(name).name != name:
        raise UsageError(f"--split takes the name of a folder, not the path {name!r}")
    return name


def _show(sentences: Sequence[str], before: str, file: Any) -> None:
    """Prints the first sentences, and how many there are more."""
    more = [f"{len(sentences) - FAILURES_SHOWN} more"] if len(sentences) > FAILURES_SHOWN else []
    for sentence in [*sentences[:FAILURES_SHOWN], *more]:
        print(f"{before}{sentence}", file=file)


def _parser() -> Parser:
    parser = Parser(prog="python -m utils.prepare", description=__doc__.split(": ", 1)[1])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_download(commands)
    text = "convert annotated pictures to a COCO_LVIS folder"
    kinds = commands.add_parser("convert", help=text, description=text).add_subparsers(required=True, metavar="KIND")
    for name in KINDS:
        _add_kind(kinds, name)
    _add_inspect(commands)
    _add_subset(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command: 0 if all went well, 1 if a task failed, 2 if the call was wrong."""
    tolerant_output()
    given = _parser().parse_args(arguments)
    try:
        return given.run(given)
    except (UserError, OSError) as error:
        print(f"error: {os_error_sentence(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
