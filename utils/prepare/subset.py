"""Selects photos of a split: by number, size, licence and category, and writes their list for training."""
from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils.prepare.files import PrepareError, WrongCall, write_whole
from utils.prepare.inspect import PhotoFacts, fixed_order, look_at, read_annotations
from utils.prepare.jsonstream import members
from utils.prepare.writer import JOURNAL, each_done, read_journal


@dataclass(frozen=True)
class Wishes:
    """What a photo must be like.

    Args:
        licenses: one of these ids, as COCO's JSON files number them; () for any.
        categories: has one of these at least; () for any.
        without: has none of these.
        min_side: its shorter side, pixels.
        min_area, max_area: bounds of the pixels of an object that counts.
        min_objects: has so many objects that count.
    """

    licenses: Sequence[int] = ()
    categories: Sequence[str] = ()
    without: Sequence[str] = ()
    min_side: int = 0
    min_area: int = 0
    max_area: int | None = None
    min_objects: int = 0

    @property
    def about_names(self) -> bool:
        """Whether licences or categories must be known."""
        return bool(self.licenses or self.categories or self.without)

    @property
    def about_pixels(self) -> bool:
        """Whether photos and masks must be read."""
        return bool(self.min_side or self.min_area or self.max_area is not None or self.min_objects)


@dataclass
class Names:
    """A photo's licence and categories."""

    license_id: int | None = None
    categories: set[str] = field(default_factory=set)


def select(
    split: Path, wishes: Wishes, count: int | None = None, seed: int = 0, info: Iterable[Path] = (), jobs: int = 1
) -> list[str]:
    """Ids of the photos that meet the wishes, sorted.

    The choice of `count` among them depends only on the seed and the ids: a larger one holds the smaller.

    Args:
        split: folder of the split.
        wishes: what the photos must be like.
        count: how many at most; all if left out.
        seed: of the choice.
        info: JSON files that state licences and categories: COCO's, LVIS's, or {id: {"license_id": n, "categories":
            [names]}}. A split that was converted here has them by itself.
        jobs: processes that read the masks, if sizes are wished for.

    Raises:
        WrongCall: licences or categories are wished for and not known, or a category does not exist.
        PrepareError: a file can't be read.
    """
    annotations = read_annotations(split)
    chosen = fixed_order(annotations, seed)
    if wishes.about_names:
        names = read_names(split, info)
        _refuse_unknown(wishes, names, split)
        chosen = [image_id for image_id in chosen if image_id in names and _named_well(names[image_id], wishes)]
    if wishes.about_pixels:
        work = [(split, image_id, annotations[image_id]) for image_id in chosen]
        found = tqdm(each_done(look_at, work, jobs), total=len(work), unit="photo", disable=None, leave=False)
        fitting = {facts.image_id for facts in found if _measures_well(facts, wishes)}
        chosen = [image_id for image_id in chosen if image_id in fitting]
    return sorted(chosen[:count])


def write_list(split: Path, name: str, image_ids: Sequence[str]) -> Path:
    """Writes the ids into the split's folder, where CocoLvisDataset's allow_list_name looks.

    Raises:
        WrongCall: the name is a path.
    """
    if Path(name).name != name:
        raise WrongCall(f"--list takes a file name, not the path {name}: the list must lie in {split}")
    write_whole(split / name, json.dumps(image_ids, indent=0).encode())
    return split / name


def read_names(split: Path, info: Iterable[Path]) -> dict[str, Names]:
    """Licence and categories of every photo that the files and the split's own journal know."""
    names: dict[str, Names] = {}
    if (split / JOURNAL).is_file():
        for entry in read_journal(split / JOURNAL)[1:]:
            names[entry["id"]] = Names(entry["license_id"], set(entry["categories"]))
    for path in info:
        _add_names(path, names)
    return names


def _add_names(path: Path, names: dict[str, Names]) -> None:
    categories: dict[Any, str] = {}
    numbers: dict[str, set[Any]] = {}
    try:
        for member in members(path):
            value = member.value
            if member.key == "images":
                names.setdefault(_full_id(value["id"]), Names()).license_id = value.get("license")
            elif member.key == "annotations":
                segments = value.get("segments_info", (value,))
                found = numbers.setdefault(_full_id(value["image_id"]), set())
                found.update(segment.get("category_id") for segment in segments)
            elif member.key == "categories":
                categories[value["id"]] = value["name"]
            elif isinstance(value, dict) and "categories" in value:
                known = names.setdefault(_full_id(member.key), Names())
                known.license_id = value.get("license_id", known.license_id)
                known.categories.update(value["categories"])
    except (AttributeError, KeyError, TypeError) as error:
        raise PrepareError(f"{path} is neither of COCO's format nor of {{id: {{license_id, categories}}}}") from error
    for image_id, found in numbers.items():
        names.setdefault(image_id, Names()).categories.update(categories.get(n, str(n)) for n in found)


def _full_id(image_id: int | str) -> str:
    return str(image_id).zfill(12)


def _refuse_unknown(wishes: Wishes, names: dict[str, Names], split: Path) -> None:
    if not names:
        raise WrongCall(f"nothing states the licences and categories of {split}; name COCO's JSON files with --info")
    known = {category for photo in names.values() for category in photo.categories}
    for wish in (*wishes.categories, *wishes.without):
        if wish not in known:
            near = difflib.get_close_matches(wish, known, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise WrongCall(f"no photo has the category {wish!r}{hint}")


def _named_well(names: Names, wishes: Wishes) -> bool:
    return (
        (not wishes.licenses or names.license_id in wishes.licenses)
        and (not wishes.categories or not names.categories.isdisjoint(wishes.categories))
        and names.categories.isdisjoint(wishes.without)
    )


def _measures_well(facts: PhotoFacts, wishes: Wishes) -> bool:
    if facts.problem or min(facts.size) < wishes.min_side:
        return False
    most = float("inf") if wishes.max_area is None else wishes.max_area
    return sum(wishes.min_area <= area <= most for area in facts.areas) >= max(1, wishes.min_objects)
