"""Fetches a published data set and lays it out: as its authors do and, for test sets, as run.py reads them."""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from utils.coco_lvis import ANNOTATIONS, read_annotations
from utils.files import UsageError, UserError, file_digest, folder_lock, format_size, read_json, write_json, write_whole
from utils.folders import list_pictures
from utils.images import encode_png, read_labels
from utils.prepare.fetch import ArchiveRefusedError, NotThereError, fetch, unpack
from utils.prepare.sources import Archive, DataSet

NOTES = ".downloads.json"
SURE = 200  # GrabCut's masks are 0, 128 (unsure band) and 255; run.py counts what is above 0, so the band is taken out


def download(data_set: DataSet, out: Path, mirror: str = "", keep_archives: bool = False) -> None:
    """Fetches every archive of a set that is not in place yet, unpacks it and moves it where it belongs.

    A finished archive is noted in OUT/NOTES; a killed run goes on where it stopped.

    Args:
        data_set: of sources.DATA_SETS.
        out: folder for it, made if need be.
        mirror: address of a folder that has the archives under their names, instead of the published addresses.
        keep_archives: leaves them in OUT/archives.

    Raises:
        UsageError: a folder of the set's name is in the way.
        UserError: an archive can't be fetched, is refused or does not hold the set.
    """
    (out / "archives").mkdir(parents=True, exist_ok=True)
    with folder_lock(out / "archives", "download"):
        for archive in data_set.archives:
            room = out / f".{archive.name}.unpacking"
            if archive.name in _notes(out) and not room.exists():
                print(f"{archive.name} is in place (remove its entry of {out / NOTES} to fetch it again)")
                continue
            for name in (data_set.title, data_set.run_folder):
                if name and len(data_set.archives) == 1 and (out / name).exists() and not room.exists():
                    raise UsageError(f"{out / name} is in the way; move it elsewhere or choose another --out")
            path = out / "archives" / archive.name
            _fetch(archive, path, mirror)
            _unpack(data_set, archive, path, room, out)
            if not keep_archives:
                path.unlink()
    if data_set.title == "COCO_LVIS":
        _gather_photos(out / data_set.title)
    print(f"{out / data_set.title} is ready; terms: {data_set.terms}")


def _notes(out: Path) -> dict[str, Any]:
    return read_json(out / NOTES) if (out / NOTES).exists() else {}


def _fetch(archive: Archive, path: Path, mirror: str) -> None:
    """Fetches from the first address that has the archive; one that lies in OUT/archives already is taken as it is."""
    refused = []
    for url in (f"{mirror.rstrip('/')}/{archive.name}",) if mirror else archive.addresses:
        if path.exists():
            return
        try:
            fetch(url, path, archive.max_size, archive.md5)
        except NotThereError as error:
            refused.append(str(error))
    if not path.exists():
        raise UserError("; ".join(refused))


def _unpack(data_set: DataSet, archive: Archive, path: Path, room: Path, out: Path) -> None:
    """Unpacks an archive, puts its content in place, and notes what came."""
    try:
        unpack(path, room / "content", archive.max_unpacked)
        _place(data_set, room, out)
    except ArchiveRefusedError as error:
        shutil.rmtree(room)
        refused = path.rename(path.with_name(path.name + ".refused"))
        raise UserError(f"{error}; it is kept as {refused}: look at it, then fetch it again") from error
    size, sha256 = path.stat().st_size, file_digest(path)
    write_json(out / NOTES, _notes(out) | {archive.name: {"bytes": size, "sha256": sha256}}, indent=1)
    print(f"{archive.name}: {format_size(size)} (published size: {archive.published_size or 'not known'}), "
          f"SHA-256 {sha256}")
    shutil.rmtree(room)


def _place(data_set: DataSet, room: Path, out: Path) -> None:
    """Moves what an archive held; may be called again when a run was killed in the middle."""
    if data_set.title == "COCO_LVIS":
        _place_coco_lvis(room / "content", out / data_set.title)
        return
    target, run_target, run_part = out / data_set.title, out / data_set.run_folder, room / "run_folder"
    if not target.exists():
        source = _folder_with(room / "content", data_set)
        if data_set.run_folder and not run_target.exists():
            shutil.rmtree(run_part, ignore_errors=True)
            write_run_folder(source / data_set.images, source / data_set.masks, run_part)
            os.replace(run_part, run_target)
        os.replace(source, target)


def _folder_with(unpacked: Path, data_set: DataSet) -> Path:
    for folder in (unpacked, *sorted(path for path in unpacked.rglob("*") if path.is_dir())):
        if "__MACOSX" in folder.parts:  # Finder's copies of the folders, with metadata in place of pictures
            continue
        if (folder / data_set.images).is_dir() and (folder / data_set.masks).is_dir():
            return folder
    raise ArchiveRefusedError(
        f"the archive of {data_set.title} holds no folder with {data_set.images}/ and {data_set.masks}/, as it should"
    )


def write_run_folder(images: Path, masks: Path, target: Path) -> None:
    """Writes imgs/ and masks/ as run.py reads them: a photo and a mask of 0 and 255 for every object.

    A photo with several objects (mask names that go on behind the photo's, as 12003#002) is there once for each.

    Raises:
        ArchiveRefusedError: a mask has no photo.
        ImageError: a mask can't be read.
    """
    photos = {path.stem: path for path in list_pictures(images).pictures}
    (target / "imgs").mkdir(parents=True)
    for mask in list_pictures(masks).pictures:
        stem = mask.stem
        photo = photos.get(stem) or photos.get(stem.split("#")[0]) or photos.get(stem.rsplit("_", 1)[0])
        if photo is None:
            raise ArchiveRefusedError(f"the archive's mask {mask.name} has no photo")
        shutil.copyfile(photo, target / "imgs" / f"{stem}{photo.suffix}")
        values = read_labels(mask).values
        sure = values > (SURE if values.max() > SURE else 0)
        write_whole(target / "masks" / f"{stem}.png", encode_png(sure.astype(np.uint8) * 255))


def _place_coco_lvis(unpacked: Path, target: Path) -> None:
    """Annotations go to their splits; the photos of train2017 and val2017 to the splits' images."""
    places = {unpacked / f"{split}2017": target / split / "images" for split in ("train", "val")}
    places |= {masks.parent: target / masks.parent.name for masks in unpacked.rglob("masks")}
    found = {source: place for source, place in places.items() if source.is_dir()}
    if not found:
        raise ArchiveRefusedError("the archive holds neither train2017/ nor val2017/ nor splits with masks/")
    for source, place in found.items():
        _move_into(source, place)


def _move_into(source: Path, target: Path) -> None:
    """Moves a folder's content file by file into a folder that may have some of it; annotations come last."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == ANNOTATIONS):
        if path.is_dir():
            _move_into(path, target / path.name)
        else:
            os.replace(path, target / path.name)


def _gather_photos(coco_lvis: Path) -> None:
    """Puts photos that a split annotates but the other split's archive held (LVIS divides COCO otherwise) into it."""
    splits = sorted(path.parent for path in coco_lvis.glob(f"*/{ANNOTATIONS}"))
    for split in splits:
        (split / "images").mkdir(exist_ok=True)
        there = {path.stem for path in (split / "images").iterdir()}
        for image_id in sorted(map(str, read_annotations(split / ANNOTATIONS).keys() - there)):
            others = (other / "images" / f"{image_id}.jpg" for other in splits if other != split)
            source = next((path for path in others if path.exists()), None)
            if source is not None:
                try:
                    os.link(source, split / "images" / source.name)
                except OSError:  # a disk without links
                    write_whole(split / "images" / source.name, source.read_bytes())
