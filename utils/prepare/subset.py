"""Selects photos of a split: by number, size, licence and category, and writes their list for training."""
from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.coco_lvis import full_id
from utils.files import UsageError, UserError, read_json, write_json
from utils.formats.stream import members
from utils.prepare.convert import read_record
from utils.prepare.inspect import PhotoFacts, annotations_of, fixed_order, measure


@dataclass(frozen=True)
class Filters:
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
    split: Path, filters: Filters, count: int | None = None, seed: int = 0, info: Iterable[Path] = (), jobs: int = 1
) -> list[str]:
    """Ids of the photos that meet the filters, sorted.

    The choice of `count` among them depends only on the seed and the ids: a larger one holds the smaller.

    Args:
        split: folder of the split.
        filters: what the photos must be like.
        count: how many at most; all if left out.
        seed: of the choice.
        info: JSON files that state licences and categories: COCO's, LVIS's, or {id: {"license_id": n, "categories":
            [names]}}. A split that was converted here has them by itself.
        jobs: processes that read the masks, if sizes matter.

    Raises:
        UsageError: licences or categories matter and are not known, or a category does not exist.
        UserError: a file can't be read.
    """
    annotations = annotations_of(split)
    chosen = fixed_order(annotations, seed)
    if filters.about_names:
        names = read_names(split, info)
        _refuse_unknown(filters, names, split)
        chosen = [image_id for image_id in chosen if image_id in names and _named_well(names[image_id], filters)]
    if filters.about_pixels:
        work = [(split, image_id, annotations[image_id]) for image_id in chosen]
        fitting = {facts.image_id for facts in measure(work, jobs, split.name) if _measures_well(facts, filters)}
        chosen = [image_id for image_id in chosen if image_id in fitting]
    return sorted(chosen[:count])


def write_list(split: Path, name: str, image_ids: Sequence[str]) -> Path:
    """Writes the ids into the split's folder, where CocoLvisDataset's allow_list_name looks.

    Raises:
        UsageError: the name is a path, or another file's than a list's.
    """
    if Path(name).name != name or not name.endswith(".json"):
        raise UsageError(f"--list takes the name of a .json file, not {name}: the list lies in {split}, beside its "
                         "annotations")
    write_json(split / name, image_ids, indent=0)
    return split / name


def read_names(split: Path, info: Iterable[Path]) -> dict[str, Names]:
    """Licence and categories of every photo that the files and the split's own record know."""
    names: dict[str, Names] = {}
    for image_id, entry in read_record(split).items():
        names[image_id] = Names(entry["license_id"], set(entry["categories"]))
    for path in info:
        _add_names(path, names)
    return names


def _add_names(path: Path, names: dict[str, Names]) -> None:
    try:
        found = _names_of_coco(path) or {
            full_id(key): Names(value.get("license_id"), set(value["categories"]))
            for key, value in read_json(path).items() if isinstance(value, dict) and "categories" in value
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is neither of COCO's format nor of {{id: {{license_id, categories}}}}") from error
    for image_id, photo in found.items():
        known = names.setdefault(image_id, Names())
        known.categories |= photo.categories
        known.license_id = known.license_id if photo.license_id is None else photo.license_id


def _names_of_coco(path: Path) -> dict[str, Names]:
    """Of a file of COCO's format; empty for another one."""
    categories: dict[Any, str] = {}
    names: dict[str, Names] = {}
    for prefix, value in members(path, "categories.item", "images.item", "annotations.item"):
        if prefix == "categories.item":
            categories[value["id"]] = value["name"]
        elif prefix == "images.item":
            names.setdefault(full_id(value["id"]), Names()).license_id = value.get("license")
        else:
            numbers = [segment.get("category_id") for segment in value.get("segments_info", (value,))]
            photo = names.setdefault(full_id(value["image_id"]), Names())
            photo.categories.update(categories.get(number, str(number)) for number in numbers)
    return names


def _refuse_unknown(filters: Filters, names: dict[str, Names], split: Path) -> None:
    if not names:
        raise UsageError(f"nothing states the licences and categories of {split}; name COCO's JSON files with --info")
    known = {category for photo in names.values() for category in photo.categories}
    for name in (*filters.categories, *filters.without):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"no photo has the category {name!r}{hint}")


def _named_well(names: Names, filters: Filters) -> bool:
    return (
        (not filters.licenses or names.license_id in filters.licenses)
        and (not filters.categories or not names.categories.isdisjoint(filters.categories))
        and names.categories.isdisjoint(filters.without)
    )


def _measures_well(facts: PhotoFacts, filters: Filters) -> bool:
    if facts.problem or min(facts.size) < filters.min_side:
        return False
    most = float("inf") if filters.max_area is None else filters.max_area
    return sum(filters.min_area <= area <= most for area in facts.areas) >= max(1, filters.min_objects)
