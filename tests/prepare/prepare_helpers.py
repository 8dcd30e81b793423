"""What the tests of conversion share: small photos, masks in every spelling, and reading back what was converted."""
import json
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as coder
from PIL import Image

from utils.datasets import CocoLvisDataset
from utils.images import turn_back
from utils.prepare.__main__ import main

SIZE = (48, 64)  # height, width
Tree = dict[int, "int | None"]


def rectangle(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def photo(seed: int = 0, size: tuple[int, int] = SIZE, suffix: str = ".jpg") -> bytes:
    image = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


def pixels_of(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def write_photos(folder: Path) -> Path:
    """Three photos, named as COCO's."""
    folder.mkdir()
    for i in (1, 2, 3):
        (folder / f"{i:012d}.jpg").write_bytes(photo(i))
    return folder


SUFFIXES = {".jpg": {"quality": 95}, ".png": {}, ".webp": {"quality": 95}, ".tif": {}}


def turned_photo(path: Path, upright: np.ndarray, orientation: int) -> None:
    """A file that viewers show as `upright`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(turn_back(upright, orientation)).save(path, exif=exif, **SUFFIXES[path.suffix])


def turned_names(orientations=range(1, 9)) -> list[tuple[str, int]]:
    """Every format in every orientation."""
    return [(f"p{orientation}{suffix[1:]}{suffix}", orientation) for suffix in SUFFIXES for orientation in orientations]


def red_photo(path: Path, orientation: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A turned file with a red rectangle; gives what viewers show."""
    path.parent.mkdir(exist_ok=True)
    upright = np.full((*size, 3), 220, np.uint8)
    upright[5:30, 3:20] = (255, 0, 0)
    turned_photo(path, upright, orientation)
    return upright


def run_lengths(mask: np.ndarray, compressed: bool = True) -> dict:
    """COCO's two spellings; the numbers are counted here, in the plainest way."""
    if compressed:
        encoded = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": list(mask.shape), "counts": encoded["counts"].decode()}
    counts, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def write_json(path: Path, content, mark: bool = False) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8-sig" if mark else "utf-8")
    return path


CATEGORIES = {"id": 1, "name": "cat"}, {"id": 2, "name": "hat"}


def coco(images, annotations, categories=CATEGORIES, **info) -> dict:
    height, width = SIZE
    listed = [{"id": i, "file_name": f"{i:012d}.jpg", "height": height, "width": width, "license": 4} for i in images]
    owned = [{"id": n, "image_id": i, "category_id": c, "segmentation": s, "iscrowd": 0, **rest}
             for n, (i, c, s, rest) in enumerate(annotations, 1)]
    return {"info": {"d": "é", **info}, "images": listed, "annotations": owned, "categories": list(categories)}


def run(*arguments) -> int:
    """The command's exit status, also where argparse ends it."""
    try:
        return main([*map(str, arguments)])
    except SystemExit as ended:
        return ended.code


def convert_to(out: Path, kind: str, *options, jobs: int = 1) -> int:
    return run("convert", kind, "--out", out, "--jobs", jobs, *options)


def read_back(out: Path, split: str = "train") -> dict[str, tuple[list[np.ndarray], list[np.ndarray], Tree]]:
    """Of each photo by its source: masks of its objects, masks of its stuff, parents of the objects."""
    dataset = CocoLvisDataset(out, split, stuff_prob=1.0)
    sources = {entry["id"]: entry["source"] for entry in entries(out, split)}
    result = {}
    for i, (image_id, annotation) in enumerate(dataset.dataset_samples):
        sample, count = dataset.get_sample(i), annotation["num_instance_masks"]
        masks = [sample.get_object_mask(k) == 1 for k in sorted(sample.objects_ids)]
        parents = {k: sample._objects[k]["parent"] for k in range(count)}
        result[sources[image_id]] = masks[:count], masks[count:], parents
    return result


def entries(out: Path, split: str = "train") -> list[dict]:
    return [json.loads(line) for line in (out / split / "objects.jsonl").read_text(encoding="utf-8").splitlines()[1:]]


def picture_of(out: Path, source: str, split: str = "train") -> np.ndarray:
    """The converted photo, RGB, as training reads it."""
    (image_id,) = [entry["id"] for entry in entries(out, split) if entry["source"] == source]
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imread(str(out / split / "images" / f"{image_id}.jpg"), flags)[:, :, ::-1]


def equal(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


def redness(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 150) & (picture[..., 1] < 110) & (picture[..., 2] < 110)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)
