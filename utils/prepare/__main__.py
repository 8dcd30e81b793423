"""`python -m utils.prepare`: fetch data sets, convert annotated pictures to COCO_LVIS, inspect them, select of them."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.prepare.coco import plan_coco
from utils.prepare.download import download
from utils.prepare.files import PrepareError, WrongCall, existing_file, existing_folder
from utils.prepare.folder import FolderReader, plan_folder
from utils.prepare.inspect import find_splits, inspect_split, write_report
from utils.prepare.labelme import LabelmeReader, plan_labelme
from utils.prepare.sources import DATA_SETS
from utils.prepare.subset import Wishes, select, write_list
from utils.prepare.writer import Outcome, write_split

FAILURES_SHOWN = 20


def fetch_data_set(arguments: argparse.Namespace) -> int:
    """A published data set to a folder."""
    if arguments.mirror and not arguments.mirror.startswith(("http://", "https://")):
        raise WrongCall(f"--mirror takes an address that begins with http:// or https://, not {arguments.mirror}")
    download(DATA_SETS[arguments.name], arguments.out, arguments.mirror, arguments.keep_archives)
    return 0


def convert_coco(arguments: argparse.Namespace) -> int:
    """COCO and LVIS JSON to a split."""
    kinds = {"instances": arguments.instances, "panoptic": arguments.panoptic, "lvis": arguments.lvis}
    files = {kind: existing_file(path) for kind, path in kinds.items() if path is not None}
    folders = [existing_folder(path) for path in arguments.images]
    tasks, reader = plan_coco(folders, files, arguments.panoptic_masks, arguments.skip_missing)
    settings = {"command": "convert coco"} | {kind: [path.name, path.stat().st_size] for kind, path in files.items()}
    return _write(arguments, tasks, reader, settings)


def convert_folder(arguments: argparse.Namespace) -> int:
    """Pictures and masks to a split."""
    images, masks = existing_folder(arguments.images), existing_folder(arguments.masks)
    tasks = plan_folder(images, masks, arguments.skip_missing)
    reader = FolderReader(arguments.binary, tuple(arguments.ignore), tuple(arguments.stuff))
    names = {task.image_id: task.photo.name for task in tasks}
    settings = {"command": "convert folder", "pictures": names, "binary": arguments.binary}
    return _write(arguments, tasks, reader, settings | {"ignore": arguments.ignore, "stuff": arguments.stuff})


def convert_labelme(arguments: argparse.Namespace) -> int:
    """labelme's files to a split."""
    labels = existing_folder(arguments.labels)
    images = existing_folder(arguments.images) if arguments.images else None
    tasks = plan_labelme(labels)
    names = {task.image_id: task.path.relative_to(labels).as_posix() for task in tasks}
    settings = {"command": "convert labelme", "files": names, "stuff": arguments.stuff}
    return _write(arguments, tasks, LabelmeReader(labels, images, tuple(arguments.stuff)), settings)


def inspect_folder(arguments: argparse.Namespace) -> int:
    """A COCO_LVIS folder's facts to stdout and, as JSON and contact sheets, to a folder."""
    broken = []
    for split in find_splits(existing_folder(arguments.folder)):
        report = inspect_split(split, arguments.jobs, arguments.limit)
        print(report)
        broken += report.problems
        if arguments.out:
            write_report(report, arguments.out)
    _tell(broken)
    return 1 if broken else 0


def choose_subset(arguments: argparse.Namespace) -> int:
    """The ids of chosen photos to a list in their split."""
    (split,) = find_splits(existing_folder(arguments.folder / arguments.split))
    wishes = Wishes(
        arguments.licenses, arguments.categories, arguments.without, arguments.min_side, arguments.min_area,
        arguments.max_area, arguments.min_objects,
    )
    info = [existing_file(path) for path in arguments.info]
    chosen = select(split, wishes, arguments.photos, arguments.seed, info, arguments.jobs)
    if not chosen:
        raise PrepareError(f"no photo of {split} meets all of that; ask for less")
    path = write_list(split, arguments.list, chosen)
    print(f"{path}: {len(chosen)} photos; CocoLvisDataset(..., allow_list_name={path.name!r}) reads it")
    return 0


def _write(arguments: argparse.Namespace, tasks: Sequence[Any], reader: Any, settings: dict[str, Any]) -> int:
    split = arguments.out / arguments.split
    outcome = write_split(split, tasks, reader, settings, arguments.jobs)
    _tell(outcome.failures)
    print(f"{split}: {outcome}")
    return _status(outcome)


def _status(outcome: Outcome) -> int:
    return 1 if outcome.failures or not outcome.photos else 0


def _tell(failures: Sequence[str]) -> None:
    """Names what failed on stderr, the first ones in full."""
    for failure in failures[:FAILURES_SHOWN]:
        print(f"failed: {failure}", file=sys.stderr)
    if len(failures) > FAILURES_SHOWN:
        print(f"failed: {len(failures) - FAILURES_SHOWN} more", file=sys.stderr)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m utils.prepare", description=__doc__.split(": ", 1)[1])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_download(commands)
    _add_convert(commands)
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


def _add_convert(commands: Any) -> None:
    text = "convert annotated pictures to a split of a COCO_LVIS folder"
    kinds = commands.add_parser("convert", help=text, description=text).add_subparsers(required=True, metavar="KIND")

    coco = _command(kinds, "coco", convert_coco, "COCO instances, COCO panoptic and LVIS JSON, alone or joined")
    source = coco.add_argument_group("what to convert")
    source.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of the photos")
    source.add_argument("--instances", type=Path, metavar="JSON", help="COCO instances: objects")
    source.add_argument("--lvis", type=Path, metavar="JSON", help="LVIS: objects, preferred to COCO's where both agree")
    source.add_argument("--panoptic", type=Path, metavar="JSON", help="COCO panoptic: stuff (and objects without COCO)")
    source.add_argument("--panoptic-masks", type=Path, metavar="DIR", help="its PNG files, if not beside it")
    _add_skip_missing(source, "photos that are in none of the folders")

    folder = _command(kinds, "folder", convert_folder, "a folder of pictures and a folder of masks of the same names")
    source = folder.add_argument_group("what to convert")
    source.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    source.add_argument("--masks", type=Path, required=True, metavar="DIR",
                        help="a mask file for each, or a folder of masks; every value but 0, or every colour but "
                        "black, is an object")
    source.add_argument("--binary", type=int, metavar="LEVEL", help="all pixels above LEVEL are one object instead")
    source.add_argument("--ignore", nargs="+", default=[], metavar="VALUE", help="values of no object: 255, #e0e0c0")
    source.add_argument("--stuff", nargs="+", default=[], metavar="VALUE", help="values that are stuff: sky, grass")
    _add_skip_missing(source, "pictures without a mask")

    labelme = _command(kinds, "labelme", convert_labelme, "a folder of labelme's JSON files")
    source = labelme.add_argument_group("what to convert")
    source.add_argument("--labels", type=Path, required=True, metavar="DIR", help="folder of the JSON files")
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures, if it is another one")
    source.add_argument("--stuff", nargs="+", default=[], metavar="LABEL", help="labels that are stuff: sky, grass")

    for kind in (coco, folder, labelme):
        target = kind.add_argument_group("where to and how")
        target.add_argument("--out", type=Path, required=True, metavar="DIR", help="the COCO_LVIS folder")
        target.add_argument("--split", default="train", help="its split (train)")
        _add_jobs(target)


def _add_inspect(commands: Any) -> None:
    parser = _command(commands, "inspect", inspect_folder, "count, measure and look at a COCO_LVIS folder")
    parser.add_argument("folder", type=Path, help="the folder, or one split of it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for SPLIT.json and the contact sheet SPLIT.jpg")
    parser.add_argument("--limit", type=_positive, metavar="N", help="look at N photos only, a fixed random choice")
    _add_jobs(parser)


def _add_subset(commands: Any) -> None:
    parser = _command(commands, "subset", choose_subset, "choose photos of a split and write their list for training")
    parser.add_argument("folder", type=Path, help="the COCO_LVIS folder")
    parser.add_argument("--split", default="train", help="its split (train)")
    parser.add_argument("--list", default="allow_list.json", metavar="NAME", help="file in the split (allow_list.json)")
    choice = parser.add_argument_group("how many")
    choice.add_argument("--photos", type=_positive, metavar="N", help="at most N, a fixed random choice")
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


def _add_skip_missing(group: Any, what: str) -> None:
    group.add_argument("--skip-missing", action="store_true", help=f"leave out {what}, instead of counting failures")


def _add_jobs(group: Any) -> None:
    group.add_argument("--jobs", type=_positive, default=os.cpu_count(), metavar="N", help="processes (one a core)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command: 0 if all went well, 1 if a task failed, 2 if the call was wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except WrongCall as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (PrepareError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
