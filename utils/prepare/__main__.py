"""`python -m utils.prepare`: fetch data sets, convert annotated pictures to COCO_LVIS, inspect them, select of them."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.prepare.coco import plan_coco
from utils.prepare.files import PrepareError, WrongCall, existing_file, existing_folder
from utils.prepare.folder import FolderReader, plan_folder
from utils.prepare.labelme import LabelmeReader, plan_labelme
from utils.prepare.writer import Outcome, write_split

FAILURES_SHOWN = 20


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
    _add_convert(commands)
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.set_defaults(run=run)
    return parser


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
    except PrepareError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
