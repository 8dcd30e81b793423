"""Folders of pictures: what is one, what is left out, and which mask belongs to which picture."""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.files import is_system_file, natural_key, shown_name
from utils.images import PICTURE_SUFFIXES, ImageError, register_heif


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder, sorted by name, and what else is there: {why: how many}."""

    pictures: tuple[Path, ...]
    left_out: dict[str, int]

    def remark(self) -> str:
        """What was left out in one sentence, or nothing."""
        parts = [f"{count} {why}" for why, count in sorted(self.left_out.items())]
        return f"left out: {', '.join(parts)}" if parts else ""


def list_pictures(folder: Path, recursive: bool = False, follow_links: bool = True) -> Listing:
    """The pictures in a folder; hidden files are none, nor are links that lead out of it unless they are followed.

    Raises:
        ImageError: the folder can't be read.
    """
    pictures, left_out = [], Counter[str]()
    try:
        home = folder.resolve(strict=True)
        for entry in _entries(folder, recursive):
            why = _reason_to_leave(entry, None if follow_links else home)
            if why is None:
                pictures.append(entry)
            elif why:
                left_out[why] += 1
    except OSError as error:
        raise ImageError(f"the folder {shown_name(folder)} can't be read ({error.strerror}); name another") from error
    ordered = sorted(pictures, key=lambda path: natural_key(path.relative_to(folder).as_posix()))
    return Listing(tuple(ordered), dict(left_out))


def _entries(folder: Path, recursive: bool) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if recursive and entry.is_dir() and not entry.is_symlink() and not is_system_file(entry.name):
            yield from _entries(entry, recursive)
        else:
            yield entry


def _reason_to_leave(entry: Path, home: Path | None) -> str | None:
    """Why an entry is no picture, or none inside `home`; empty for what nobody takes for one, None for a picture."""
    if is_system_file(entry.name):
        return ""
    if not entry.exists() or home is not None and home not in entry.resolve().parents:
        return "links that lead out of the folder or nowhere"
    if entry.is_dir():
        return "subfolders"
    if not entry.is_file():
        return "special files"
    suffix = entry.suffix.lower()
    if suffix in (".heic", ".heif") and not register_heif():
        return f"{suffix} files (pip install pillow-heif reads them)"
    return None if suffix in PICTURE_SUFFIXES else f"{suffix or 'other'} files"


@dataclass(frozen=True)
class Pairing:
    """Which mask belongs to which picture.

    Attributes:
        masks: {picture: its mask file, or its folder of masks}, without those that have none.
        unpaired: pictures without a mask.
        problems: a sentence for each clash: a mask that fits several pictures, or several masks for one picture.
    """

    masks: dict[Path, Path]
    unpaired: tuple[Path, ...]
    problems: tuple[str, ...]


KEYS: tuple[Callable[[Path], str], ...] = (
    lambda path: path.name, lambda path: path.stem, lambda path: path.name.split(".")[0])


def pair_by_name(pictures: Sequence[Path], masks: Sequence[Path]) -> Pairing:
    """Pairs pictures with mask files, or with folders of masks, never one mask with two pictures.

    A mask is called like its picture: `cat.jpg.png` after the whole name of `cat.jpg`, else `cat.png` after its name
    without the suffix, else after its name up to the first dot, which is how the grader pairs. The first that fits.
    """
    free: dict[str, list[Path]] = {}
    for mask in masks:
        free.setdefault(mask.name if mask.is_dir() else mask.stem, []).append(mask)
    chosen: dict[Path, Path] = {}
    problems: list[str] = []
    left = list(pictures)
    for key_of in KEYS:
        claims: dict[str, list[Path]] = {}
        taken: set[Path] = set()
        for picture in left:
            claims.setdefault(key_of(picture), []).append(picture)
        for key, claimants in claims.items():
            found = free.pop(key, [])
            if len(found) == 1 and len(claimants) == 1:
                chosen[claimants[0]] = found[0]
            elif found:
                problems.append(_clash(claimants, found))
            taken.update(claimants if found else ())
        left = [picture for picture in left if picture not in taken]
    return Pairing(chosen, tuple(left), tuple(problems))


def pair_trees(images: Path, pictures: Sequence[Path], folder: Path, masks: Sequence[Path]) -> Pairing:
    """Pairs by name within each subfolder, for trees that are alike; a tree of masks may belong to flat pictures.

    Args:
        images: folder of the pictures.
        pictures: below it.
        folder: of the masks.
        masks: below it.
    """
    by_group: dict[Path, list[Path]] = defaultdict(list)
    for mask in masks:
        by_group[mask.parent.relative_to(folder)].append(mask)
    groups: dict[Path, list[Path]] = defaultdict(list)
    for picture in pictures:
        groups[picture.parent.relative_to(images)].append(picture)
    if groups.keys() == {Path()} and Path() not in by_group:
        return pair_by_name(pictures, masks)
    pairs = [pair_by_name(members, by_group[group]) for group, members in sorted(groups.items())]
    return Pairing({picture: mask for pair in pairs for picture, mask in pair.masks.items()},
                   tuple(picture for pair in pairs for picture in pair.unpaired),
                   tuple(problem for pair in pairs for problem in pair.problems))


def _clash(pictures: Sequence[Path], masks: Sequence[Path]) -> str:
    names, found = (", ".join(shown_name(path.name) for path in paths) for paths in (pictures, masks))
    return f"{found} fits {names}: it can't be told which belongs to which; name each mask PICTURE.SUFFIX.png"
