"""`python -m utils.prepare`: fetch data sets, convert annotated pictures to COCO_LVIS, inspect them, select of them."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.files import UsageError, UserError, existing_file, existing_folder, os_error_sentence, tolerant_output
from utils.labels import parse_value
from utils.prepare.coco import plan_coco
from utils.prepare.convert import convert, hold_out
from utils.prepare.download import download
from utils.prepare.folder import FolderReader, plan_folder
from utils.prepare.inspect import inspect_split, splits_of, write_report
from utils.prepare.labelme import LabelmeReader, plan_labelme
from utils.prepare.picture import Plan
from utils.prepare.sources import DATA_SETS
from utils.prepare.subset import Filters, select, write_list
from utils.prepare.via import plan_via
from utils.prepare.voc import plan_voc
from utils.prepare.yolo import plan_yolo

FAILURES_SHOWN = 20
HELD_OUT = 0.1


def fetch_data_set(arguments: argparse.Namespace) -> int:
    """A published data set to a folder."""
    if arguments.mirror and not arguments.mirror.startswith(("http://", "https://")):
        raise UsageError(f"--mirror takes an address that begins with http:// or https://, not {arguments.mirror}")
    download(DATA_SETS[arguments.name], arguments.out, arguments.mirror, arguments.keep_archives)
    return 0


def convert_coco(arguments: argparse.Namespace) -> int:
    """COCO and LVIS JSON to a split."""
    kinds = {"instances": arguments.instances, "panoptic": arguments.panoptic, "lvis": arguments.lvis}
    paths = {kind: existing_file(path) for kind, path in kinds.items() if path is not None}
    folders = [existing_folder(path) for path in arguments.images]
    return _write(arguments, plan_coco(folders, paths, arguments.panoptic_masks, arguments.skip_missing,
                                       arguments.crowd, arguments.frame))


def convert_folder(arguments: argparse.Namespace) -> int:
    """Pictures and masks to train and val."""
    ignore = None if arguments.ignore is None else tuple(arguments.ignore)
    reader = FolderReader(arguments.binary, ignore, tuple(arguments.stuff), arguments.frame or "upright")
    return _write(arguments, plan_folder(existing_folder(arguments.images), existing_folder(arguments.masks), reader,
                                         arguments.skip_missing))


def convert_labelme(arguments: argparse.Namespace) -> int:
    """Files of labelme to train and val."""
    images = existing_folder(arguments.images) if arguments.images else None
    return _write(arguments, plan_labelme(existing_folder(arguments.labels), images,
                                          LabelmeReader(tuple(arguments.stuff))))


def convert_via(arguments: argparse.Namespace) -> int:
    """VIA's files to train and val."""
    paths, folders = map(existing_file, arguments.annotations), map(existing_folder, arguments.images)
    return _write(arguments, plan_via(list(paths), list(folders), arguments.attribute, arguments.stuff,
                                      arguments.skip_missing))


def convert_yolo(arguments: argparse.Namespace) -> int:
    """YOLO's label files to train and val."""
    names = existing_file(arguments.names) if arguments.names else None
    return _write(arguments, plan_yolo(existing_folder(arguments.labels), existing_folder(arguments.images), names,
                                       arguments.stuff))


def convert_voc(arguments: argparse.Namespace) -> int:
    """A VOC folder to train and val."""
    return _write(arguments, plan_voc(existing_folder(arguments.folder), arguments.stuff))


def inspect_folder(arguments: argparse.Namespace) -> int:
    """A COCO_LVIS folder's facts to stdout and, as JSON and contact sheets, to a folder."""
    broken = []
    for split in splits_of(existing_folder(arguments.folder)):
        report = inspect_split(split, arguments.jobs, arguments.limit)
        print(report)
        broken += report.problems
        if arguments.out:
            write_report(report, arguments.out)
    _tell(broken)
    return 1 if broken else 0


def choose_subset(arguments: argparse.Namespace) -> int:
    """The ids of chosen photos to a list in their split."""
    (split,) = splits_of(existing_folder(arguments.folder / _split_name(arguments.split)))
    filters = Filters(arguments.licenses, arguments.categories, arguments.without, arguments.min_side,
                      arguments.min_area, arguments.max_area, arguments.min_objects)
    info = [existing_file(path) for path in arguments.info]
    chosen = select(split, filters, arguments.photos, arguments.seed, info, arguments.jobs)
    if not chosen:
        raise UserError(f"no photo of {split} meets all of that; ask for less")
    path = write_list(split, arguments.list, chosen)
    print(f"{path}: {len(chosen)} photos; CocoLvisDataset(..., allow_list_name={path.name!r}) reads it")
    return 0


def _write(arguments: argparse.Namespace, plan: Plan) -> int:
    """Converts what was planned, and says what came of it."""
    splits = {_split_name(arguments.split or "train"): list(plan.tasks)}
    if arguments.split is None and arguments.val is not None:
        splits = hold_out(plan.tasks, arguments.out, arguments.val)
    for note in plan.notes:
        print(note, file=sys.stderr)
    outcomes = convert(plan, arguments.out, splits, arguments.jobs)
    failures = [*plan.problems, *(failure for outcome in outcomes.values() for failure in outcome.failures)]
    _tell(failures)
    for name, outcome in outcomes.items():
        print(f"{arguments.out / name}: {outcome}")
        for text, count in outcome.counts.items():
            print(f"  {count} {text}")
        _show(outcome.notes, "  ", sys.stdout)
    return 1 if failures or not any(outcome.photos for outcome in outcomes.values()) else 0


def _split_name(name: str) -> str:
    if Path(name).name != name:
        raise UsageError(f"--split takes the name of a folder in --out, not the path {name!r}")
    return name


def _tell(failures: Sequence[str]) -> None:
    """Names what failed on stderr, the first ones in full."""
    _show(failures, "failed: ", sys.stderr)


def _show(sentences: Sequence[str], before: str, file: Any) -> None:
    for sentence in sentences[:FAILURES_SHOWN]:
        print(f"{before}{sentence}", file=file)
    if len(sentences) > FAILURES_SHOWN:
        print(f"{before}{len(sentences) - FAILURES_SHOWN} more", file=file)


# ---------------------------------------------------------------------------------------------- arguments


def _number(least: int, most: float = float("inf")) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not {least} or more" if most > 65535 else
                                             f"{text} is not from {least} to {most}")
        return int(text)

    parse.__name__ = "number"
    return parse


def _share(text: str) -> float:
    if not 0 <= float(text) <= 0.9:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 0.9")
    return float(text)


def _value(text: str) -> int:
    try:
        return parse_value(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m utils.prepare", description=__doc__.split(": ", 1)[1])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_download(commands)
    text = "convert annotated pictures to a COCO_LVIS folder"
    kinds = commands.add_parser("convert", help=text, description=text).add_subparsers(required=True, metavar="KIND")
    for add in (_add_folder, _add_coco, _add_labelme, _add_via, _add_yolo, _add_voc):
        add(kinds)
    _add_inspect(commands)
    _add_subset(commands)
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _add_download(commands: Any) -> None:
    fetcher = _command(commands, "download", fetch_data_set, "fetch a published data set and lay it out")
    fetcher.epilog = (
        "Archives are checked and unpacked into --out: in the authors' own layout and, for test sets, as a folder that "
        "run.py reads too. An archive that you have already is taken from OUT/archives. A stopped download goes on."
    )
    fetcher.add_argument("name", choices=sorted(DATA_SETS), help="the data set")
    fetcher.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for it")
    fetcher.add_argument("--mirror", default="", metavar="URL", help="a folder on the web that has the same archives")
    fetcher.add_argument("--keep-archives", action="store_true", help="leave the archives in OUT/archives")


def _add_coco(kinds: Any) -> None:
    coco = _command(kinds, "coco", convert_coco, "COCO instances, COCO panoptic and LVIS JSON, alone or joined")
    coco.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of the photos")
    coco.add_argument("--instances", type=Path, metavar="JSON", help="COCO instances: objects")
    coco.add_argument("--lvis", type=Path, metavar="JSON", help="LVIS: objects, preferred to COCO's where both agree")
    coco.add_argument("--panoptic", type=Path, metavar="JSON", help="COCO panoptic: stuff (and objects without COCO)")
    coco.add_argument("--panoptic-masks", type=Path, metavar="DIR", help="its PNG files, if not beside it")
    coco.add_argument("--crowd", choices=("object", "skip"), help="what crowd regions (iscrowd) are: objects, or left "
                      "out (objects, but in COCO's own files, where a crowd is many objects in one)")
    _add_skip_missing(coco, "photos that are in none of the folders")
    _add_frame(coco, "what the file states, else upright")
    _add_target(coco, None)


def _add_folder(kinds: Any) -> None:
    folder = _command(kinds, "folder", convert_folder, "a folder of pictures and a folder of masks of the same names")
    folder.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    folder.add_argument("--masks", type=Path, required=True, metavar="DIR", help="a mask file for each, or a folder of "
                        "masks; every value but 0, or every colour but black, is an object")
    folder.add_argument("--binary", type=_number(0, 65534), metavar="LEVEL",
                        help="all pixels above LEVEL are one object instead")
    folder.add_argument("--ignore", type=_value, nargs="*", metavar="VALUE", help="values of no object, as 255 or "
                        "#e0e0c0; nothing behind it for none (255 beside other values, VOC's void)")
    folder.add_argument("--stuff", type=_value, nargs="+", default=[], metavar="VALUE", help="values that are stuff")
    _add_skip_missing(folder, "pictures without a mask")
    _add_frame(folder, "upright")
    _add_target(folder, HELD_OUT)


def _add_labelme(kinds: Any) -> None:
    labelme = _command(kinds, "labelme", convert_labelme, "a folder of labelme's JSON files")
    labelme.add_argument("--labels", type=Path, required=True, metavar="DIR", help="folder of the JSON files")
    labelme.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures, if they are not where the "
                         "files say")
    _add_stuff(labelme)
    _add_target(labelme, HELD_OUT)


def _add_via(kinds: Any) -> None:
    via = _command(kinds, "via", convert_via, "projects or annotations (JSON, CSV) of the VGG Image Annotator 1 and 2")
    via.add_argument("--annotations", type=Path, nargs="+", required=True, metavar="FILE", help="VIA's files")
    via.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of the pictures")
    via.add_argument("--attribute", metavar="NAME", help="region attribute that holds the class, if there are several")
    _add_stuff(via)
    _add_skip_missing(via, "pictures that are in none of the folders")
    _add_target(via, HELD_OUT)


def _add_yolo(kinds: Any) -> None:
    yolo = _command(kinds, "yolo", convert_yolo, "YOLO's segmentation labels, a text file a picture")
    yolo.add_argument("--labels", type=Path, required=True, metavar="DIR", help="folder of the label files")
    yolo.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    yolo.add_argument("--names", type=Path, metavar="FILE", help="data.yaml or classes.txt, if not above --labels")
    _add_stuff(yolo)
    _add_target(yolo, HELD_OUT)


def _add_voc(kinds: Any) -> None:
    voc = _command(kinds, "voc", convert_voc, "a folder as PASCAL VOC's, with maps of objects and classes")
    voc.add_argument("--folder", type=Path, required=True, metavar="DIR", help="holds JPEGImages, SegmentationObject, "
                     "SegmentationClass and perhaps labelmap.txt")
    _add_stuff(voc)
    _add_target(voc, HELD_OUT)


def _add_stuff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stuff", nargs="+", default=[], metavar="LABEL", help="labels that are stuff: sky, grass")


def _add_skip_missing(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--skip-missing", action="store_true", help=f"leave out {what}, instead of counting failures")


def _add_frame(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--frame", choices=("upright", "stored"), help="how photos that EXIF data turn lay when they "
                        f"were annotated, where their size doesn't say ({default})")


def _add_target(parser: argparse.ArgumentParser, held_out: float | None) -> None:
    target = parser.add_argument_group("where to and how")
    target.add_argument("--out", type=Path, required=True, metavar="DIR", help="the COCO_LVIS folder")
    split = "train and val" if held_out else "train"
    target.add_argument("--split", metavar="NAME", help=f"write all photos to this split ({split})")
    target.add_argument("--val", type=_share, default=held_out, metavar="SHARE", help="of the photos that are held out "
                        f"in val, chosen by their names ({held_out or 'none'})")
    _add_jobs(target)


def _add_inspect(commands: Any) -> None:
    parser = _command(commands, "inspect", inspect_folder, "count, measure and look at a COCO_LVIS folder")
    parser.add_argument("folder", type=Path, help="the folder, or one split of it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for SPLIT.json and the contact sheet SPLIT.jpg")
    parser.add_argument("--limit", type=_number(1), metavar="N", help="look at N photos only, a fixed random choice")
    _add_jobs(parser)


def _add_subset(commands: Any) -> None:
    parser = _command(commands, "subset", choose_subset, "choose photos of a split and write their list for training")
    parser.add_argument("folder", type=Path, help="the COCO_LVIS folder")
    parser.add_argument("--split", default="train", help="its split (train)")
    parser.add_argument("--list", default="allow_list.json", metavar="NAME", help="file in the split (allow_list.json)")
    choice = parser.add_argument_group("how many")
    choice.add_argument("--photos", type=_number(1), metavar="N", help="at most N, a fixed random choice")
    choice.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    names = parser.add_argument_group("licence and category")
    names.add_argument("--info", type=Path, nargs="+", default=[], metavar="JSON",
                       help="files that state them (COCO's, LVIS's), unless the split was converted here")
    names.add_argument("--licenses", type=int, nargs="+", default=[], metavar="ID", help="one of these, COCO's numbers")
    names.add_argument("--categories", nargs="+", default=[], metavar="NAME", help="has one of these")
    names.add_argument("--without", nargs="+", default=[], metavar="NAME", help="has none of these")
    sizes = parser.add_argument_group("size")
    sizes.add_argument("--min-side", type=int, default=0, metavar="PIXELS", help="of the photo's shorter side")
    sizes.add_argument("--min-area", type=int, default=0, metavar="PIXELS", help="an object counts from this area on")
    sizes.add_argument("--max-area", type=int, metavar="PIXELS", help="an object counts up to this area")
    sizes.add_argument("--min-objects", type=int, default=0, metavar="N", help="has N objects that count (1)")
    _add_jobs(parser)


def _add_jobs(group: Any) -> None:
    group.add_argument("--jobs", type=_number(1), default=os.cpu_count(), metavar="N", help="processes (one a core)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command: 0 if all went well, 1 if a task failed, 2 if the call was wrong."""
    tolerant_output()
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (UserError, OSError) as error:
        print(f"error: {os_error_sentence(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
