"""Annotations of every kind to COCO_LVIS and back: what CocoLvisDataset reads is what was annotated, bit for bit."""
import base64
import json
import os
import pickle
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as coder
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.datasets import CocoLvisDataset
from utils.prepare import jsonstream
from utils.prepare.__main__ import main
from utils.prepare.files import PrepareError
from utils.prepare.jsonstream import members, read_member
from utils.prepare.regions import Region, draw_layers, join, nest

# pycocotools 2.0.11 meets numpy 2.4 with a warning of its own
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).parents[1]
SIZE = (48, 64)  # height, width
Tree = dict[int, "int | None"]


def rectangle(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def photo(seed: int = 0, size: tuple[int, int] = SIZE, suffix: str = ".jpg") -> bytes:
    image = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


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


def box_polygon(top: int, bottom: int, left: int, right: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def write_json(path: Path, content) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def coco(images, annotations, categories=({"id": 1, "name": "cat"}, {"id": 2, "name": "hat"})) -> dict:
    height, width = SIZE
    listed = [{"id": i, "file_name": f"{i:012d}.jpg", "height": height, "width": width, "license": 4} for i in images]
    owned = [{"id": n, "image_id": i, "category_id": c, "segmentation": s, "iscrowd": 0, **rest}
             for n, (i, c, s, rest) in enumerate(annotations, 1)]
    return {"info": {"d": "é"}, "images": listed, "annotations": owned, "categories": list(categories)}


def read_back(out: Path, split: str = "train") -> dict[str, tuple[list[np.ndarray], list[np.ndarray], Tree]]:
    """Of each photo: masks of its objects, masks of its stuff, parents of the objects."""
    dataset = CocoLvisDataset(out, split, stuff_prob=1.0)
    result = {}
    for i, (image_id, annotation) in enumerate(dataset.dataset_samples):
        sample, count = dataset.get_sample(i), annotation["num_instance_masks"]
        masks = [sample.get_object_mask(k) == 1 for k in sorted(sample.objects_ids)]
        result[image_id] = masks[:count], masks[count:], {k: sample._objects[k]["parent"] for k in range(count)}
    return result


def equal(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in (1, 2, 3):
        (folder / f"{i:012d}.jpg").write_bytes(photo(i))
    return folder


# ------------------------------------------------------------------------------------------------ regions and layers


@given(st.lists(arrays(bool, (6, 7)), min_size=1, max_size=12))
def test_layers_give_back_every_region(masks):
    regions = [region for mask in masks if (region := Region.of("x", mask)) is not None]
    layers, mapping = draw_layers(regions, (6, 7))
    drawn = [mask for mask in masks if mask.any()]
    assert len(mapping) == len(drawn)
    assert all(np.array_equal(layers[k] == v, mask) for (k, v), mask in zip(mapping, drawn, strict=True))


@given(arrays(bool, (6, 7)), arrays(bool, (6, 7)))
def test_overlap_of_boxes_is_overlap_of_masks(first, second):
    a, b = Region.of("a", first), Region.of("b", second)
    if a is None or b is None:
        assert not first.any() or not second.any()
        return
    assert (a.area, b.area, a.overlap(b)) == (first.sum(), second.sum(), (first & second).sum())
    assert a.iou(b) == (first & second).sum() / (first | second).sum()


def test_a_layer_holds_255_regions():
    regions = [Region.of("x", mask) for mask in np.eye(600, dtype=bool).reshape(600, 20, 30)]
    layers, mapping = draw_layers(regions, (20, 30))
    assert len(layers) == 3 and len(set(mapping)) == 600
    assert all(np.count_nonzero(layers[k] == v) == 1 for k, v in mapping)


def regions_of(*boxes: tuple[int, int, int, int]) -> list[Region]:
    return [Region.of("x", rectangle(*box)) for box in boxes]


def test_nesting():
    person, shirt, button, other = (0, 40, 0, 40), (10, 30, 10, 30), (12, 14, 12, 14), (0, 40, 45, 60)
    tree = nest(regions_of(button, person, other, shirt))
    assert tree == {
        0: {"children": [], "parent": 3, "node_level": 2},
        1: {"children": [3], "parent": None, "node_level": 0},
        2: None,
        3: {"children": [0], "parent": 1, "node_level": 1},
    }


@pytest.mark.parametrize("columns_inside, nested", [(8, True), (7, False)])  # of ten: 0.8 of the part is enough
def test_a_part_may_stick_out_by_a_fifth(columns_inside, nested):
    tree = nest(regions_of((0, 40, 0, 40), (5, 9, 40 - columns_inside, 50 - columns_inside)))
    assert (tree[1] is not None and tree[1]["parent"] == 0) == nested


def test_equal_regions_are_no_parts_of_each_other():
    assert nest(regions_of((0, 9, 0, 9), (0, 9, 0, 9))) == {0: None, 1: None}


@pytest.mark.parametrize("columns, kept", [(8, 1), (7, 2)])  # IoU 0.8 and 0.7
def test_joining_keeps_the_better_of_two_masks_of_an_object(columns, kept):
    (lvis,), (near, far) = regions_of((0, 10, 0, 10)), regions_of((0, 10, 0, columns), (20, 30, 0, 10))
    assert join([lvis], [near, far]) == [lvis, near, far] if kept == 2 else [lvis, far]


# ------------------------------------------------------------------------------------------------ JSON streams


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5), st.sampled_from([1, 2, 7, 1 << 20]), st.booleans(),
       st.sampled_from([None, 2]))
def test_members_are_those_of_the_json_module(tmp_path_factory, content, chunk, ascii_only, indent):
    path = tmp_path_factory.mktemp("json") / "x.json"
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before, jsonstream.CHUNK = jsonstream.CHUNK, chunk
    try:
        found = list(members(path))
    finally:
        jsonstream.CHUNK = before
    expected = [(k, v) for k, values in content.items() for v in (values if isinstance(values, list) else [values])]
    assert [(member.key, member.value) for member in found] == expected
    with path.open("rb") as file:
        assert [read_member(file, member.start, member.length) for member in found] == [value for _, value in expected]


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"a": [1', '{"a": [1,]}', '{"a" 1}', '{"a": 1} x', "{1: 2}", "[" * 100_000, '{"a": tru']
)
def test_what_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(PrepareError, match="x.json is no JSON of annotations or is truncated"):
        list(members(path))


# ------------------------------------------------------------------------------------------------ COCO


def convert_coco(tmp_path: Path, photos: Path, *options: str, jobs: int = 1) -> int:
    call = ["convert", "coco", "--images", str(photos), "--out", str(tmp_path / "out"), "--jobs", str(jobs)]
    return main([*call, *options])


def test_instances_bit_for_bit(tmp_path, photos):
    rng = np.random.default_rng(5)
    noise = [rng.random(SIZE) < share for share in (0.5, 0.02)]
    whole, part = rectangle(5, 40, 5, 50), rectangle(10, 20, 10, 20)
    instances = coco([3, 1, 2], [
        (3, 1, box_polygon(5, 40, 5, 50), {}),
        (1, 1, run_lengths(noise[0]), {}),
        (3, 2, run_lengths(part, compressed=False), {}),
        (1, 1, run_lengths(noise[1], compressed=False), {}),
        (1, 1, run_lengths(rectangle(0, 9, 0, 9)), {"iscrowd": 1}),
    ])  # fmt: skip
    path = write_json(tmp_path / "instances.json", instances)
    assert convert_coco(tmp_path, photos, "--instances", str(path)) == 0
    back = read_back(tmp_path / "out")
    assert sorted(back) == ["000000000001", "000000000003"], "photo 2 has no object"
    assert equal(back["000000000001"][0], noise)
    assert equal(back["000000000003"][0], [whole, part]) and back["000000000003"][2] == {0: None, 1: 0}
    stored = (tmp_path / "out/train/images/000000000003.jpg").read_bytes()
    assert stored == (photos / "000000000003.jpg").read_bytes(), "a JPEG is not encoded anew"


def panoptic_png(folder: Path, image_id: int, segments: dict[int, np.ndarray]) -> None:
    ids = np.zeros(SIZE, np.int64)
    for number, mask in segments.items():
        ids[mask] = number
    folder.mkdir(exist_ok=True)
    blue, green, red = ids >> 16, ids >> 8 & 255, ids & 255
    cv2.imwrite(str(folder / f"{image_id:012d}.png"), np.dstack([blue, green, red]).astype(np.uint8))


THING, SKY, GRASS = rectangle(20, 40, 20, 40), rectangle(0, 20, 0, 64), rectangle(40, 48, 0, 64)
PANOPTIC_CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 187, "name": "sky", "isthing": 0}]


def panoptic(tmp_path: Path) -> Path:
    panoptic_png(tmp_path / "panoptic", 1, {70_001: THING, 300: SKY, 5: GRASS, 9: rectangle(20, 24, 0, 9)})
    segments = [(70_001, 1, 0), (300, 187, 0), (5, 187, 0), (9, 1, 1)]
    listed = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in segments]
    annotation = {"image_id": 1, "file_name": "000000000001.png", "segments_info": listed}
    content = coco([1], [], PANOPTIC_CATEGORIES) | {"annotations": [annotation]}
    return write_json(tmp_path / "panoptic.json", content)


def test_panoptic_things_and_stuff(tmp_path, photos):
    assert convert_coco(tmp_path, photos, "--panoptic", str(panoptic(tmp_path))) == 0
    objects, stuff, _ = read_back(tmp_path / "out")["000000000001"]
    assert equal(objects, [THING]) and equal(stuff, [SKY, GRASS])


def test_lvis_and_coco_are_joined(tmp_path, photos):
    better, same, other = rectangle(20, 40, 20, 41), THING, rectangle(0, 9, 0, 9)
    instances = coco([1, 2], [(1, 1, run_lengths(same), {}), (1, 1, run_lengths(other), {}),
                              (2, 1, run_lengths(other), {})])
    lvis = coco([1], [(1, 2, run_lengths(better), {})])
    for image in lvis["images"]:  # LVIS names photos by COCO's address
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    options = ["--instances", str(write_json(tmp_path / "i.json", instances)), "--panoptic", str(panoptic(tmp_path))]
    assert convert_coco(tmp_path, photos, *options, "--lvis", str(write_json(tmp_path / "l.json", lvis))) == 0
    back = read_back(tmp_path / "out")
    assert list(back) == ["000000000001"], "the photos are LVIS's"
    objects, stuff, _ = back["000000000001"]
    assert equal(objects, [better, other]) and equal(stuff, [SKY, GRASS])
    entry = json.loads((tmp_path / "out/train/objects.jsonl").read_text().splitlines()[1])
    assert entry["categories"] == ["hat", "cat", "sky", "sky"] and entry["license_id"] == 4


def test_several_processes_give_the_same_files(tmp_path, photos):
    instances = coco([1, 2, 3], [(i, 1, run_lengths(rectangle(i, 20, i, 30)), {}) for i in (1, 2, 3)])
    path = write_json(tmp_path / "instances.json", instances)
    for jobs in (1, 2):
        assert convert_coco(tmp_path / f"{jobs}", photos, "--instances", str(path), jobs=jobs) == 0
    files = [
        {path.relative_to(out): path.read_bytes() for suffix in ("jpg", "pickle") for path in out.rglob(f"*.{suffix}")}
        for out in (tmp_path / "1", tmp_path / "2")
    ]
    assert files[0] == files[1] and len(files[0]) == 7


BROKEN = {
    "no segmentation": ("", "annotation 1 of 000000000001.jpg can't be drawn: it has no segmentation"),
    "only a box": (None, "it has no segmentation"),
    "two points": ([[1, 2, 3, 4]], "three points or more"),
    "text": ([["a"] * 6], "three points or more"),
    "far outside": ([[0, 0, 1e9, 0, 1e9, 1e9]], "far outside"),
    "not a number": ([[0, 0, float("nan"), 0, 9, 9]], "far outside"),
    "size": ({"size": [9, 9], "counts": "x"}, r"for \[height, width\] \[9, 9\], the photo is \[48, 64\]"),
    "counts too short": ({"size": [48, 64], "counts": [3, 4]}, "numbers that fill the photo"),
    "negative counts": ({"size": [48, 64], "counts": [48 * 64 + 1, -1]}, "numbers that fill the photo"),
    "damaged text": ({"size": [48, 64], "counts": "PPPPPPPP0000ooooo"}, "damaged"),
}


@pytest.mark.parametrize("segmentation, reason", BROKEN.values(), ids=BROKEN)
def test_a_broken_annotation_is_named_and_loses_nothing_else(tmp_path, photos, capsys, segmentation, reason):
    instances = coco([1, 2], [(1, 1, segmentation, {}), (2, 1, run_lengths(THING), {})])
    path = write_json(tmp_path / "instances.json", instances)
    assert convert_coco(tmp_path, photos, "--instances", str(path)) == 1
    error = capsys.readouterr().err
    assert re.search(reason, error) and "instances.json" in error
    assert list(read_back(tmp_path / "out")) == ["000000000002"]


def test_photos_that_are_missing_damaged_or_of_another_size(tmp_path, photos, capsys):
    (photos / "000000000001.jpg").unlink()
    (photos / "000000000002.jpg").write_bytes(photo(2)[:300])
    (photos / "000000000004.jpg").write_bytes(photo(4, (64, 48)))
    instances = coco([1, 2, 3, 4], [(i, 1, run_lengths(THING), {}) for i in (1, 2, 3, 4)])
    options = ["--instances", str(write_json(tmp_path / "i.json", instances))]
    assert convert_coco(tmp_path, photos, *options) == 1
    error = capsys.readouterr().err
    assert "000000000001.jpg is in none of the photo folders" in error
    assert "000000000002.jpg is truncated or no image" in error
    assert "000000000004.jpg is 48x64 pixels, but its annotation 64x48" in error
    assert list(read_back(tmp_path / "out")) == ["000000000003"]
    for i in (1, 2, 4):  # the same command goes on from there
        (photos / f"{i:012d}.jpg").write_bytes(photo(i))
    assert convert_coco(tmp_path, photos, *options) == 0
    assert len(read_back(tmp_path / "out")) == 4


def test_names_in_annotations_do_not_lead_out_of_the_folder(tmp_path, photos, capsys):
    (tmp_path / "secret.jpg").write_bytes(photo(7))
    instances = coco([1, 2], [(i, 1, run_lengths(THING), {}) for i in (1, 2)])
    instances["images"][0]["file_name"] = "../secret.jpg"
    assert convert_coco(tmp_path, photos, "--instances", str(write_json(tmp_path / "i.json", instances))) == 1
    assert "../secret.jpg is in none" in capsys.readouterr().err


def exif_turned(jpeg: bytes) -> bytes:
    """The JPEG with an EXIF block that wants it shown turned by a quarter."""
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]


@pytest.mark.parametrize("annotated", ["stored", "upright"])
def test_photos_that_exif_turns(tmp_path, photos, annotated):
    """The masks' size tells in which frame they were drawn; any reader then sees the photo in that frame."""
    path = photos / "000000000001.jpg"
    path.write_bytes(exif_turned(path.read_bytes()))
    upright = cv2.imread(str(path))
    assert upright.shape[:2] == SIZE[::-1]
    size = SIZE if annotated == "stored" else SIZE[::-1]
    instances = coco([1], [(1, 1, run_lengths(rectangle(1, 30, 2, 9, size)), {})])
    instances["images"][0].update(height=size[0], width=size[1])
    assert convert_coco(tmp_path, photos, "--instances", str(write_json(tmp_path / "i.json", instances))) == 0
    (objects, _, _), = read_back(tmp_path / "out").values()
    assert equal(objects, [rectangle(1, 30, 2, 9, size)])
    written = tmp_path / "out/train/images/000000000001.jpg"
    views = [cv2.imread(str(written), flags) for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | 128)]
    assert views[0].shape[:2] == size and np.array_equal(*views)
    expected = upright if annotated == "upright" else np.rot90(upright)
    assert np.abs(views[0].astype(int) - expected).mean() < 12


@pytest.mark.parametrize(
    "content, reason",
    [
        ("[]", "no JSON of annotations"),
        ("{}", "lists no photos"),
        ('{"images": [{"id": 1}]}', "'images' at byte 12"),
        ('{"images": [{"id": "x", "height": 1, "width": 1}]}', "whole number of at most 12 digits"),
        ('{"images": [{"id": 1, "height": 1, "width": 1, "file_name": "nowhere.jpg"}]}', "none of the 1 photos"),
    ],
)
def test_files_that_are_not_coco_s(tmp_path, photos, capsys, content, reason):
    path = tmp_path / "instances.json"
    path.write_text(content)
    assert convert_coco(tmp_path, photos, "--instances", str(path)) in (1, 2)
    error = capsys.readouterr().err
    assert reason in error and "instances.json" in error and error.count("\n") == 1


def test_wrong_calls(tmp_path, photos, capsys):
    assert convert_coco(tmp_path, photos) == 2
    assert convert_coco(tmp_path, photos, "--instances", "nowhere.json") == 2
    assert convert_coco(tmp_path, tmp_path / "nowhere", "--instances", str(panoptic(tmp_path))) == 2
    (tmp_path / "panoptic").rename(tmp_path / "elsewhere")
    assert convert_coco(tmp_path, photos, "--panoptic", str(tmp_path / "panoptic.json")) == 2
    assert "--panoptic-masks" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(SystemExit) as stopped:
        convert_coco(tmp_path, photos, "--jobs", "0")
    assert stopped.value.code == 2


def test_pycocotools_is_named_when_missing(tmp_path, photos, monkeypatch, capsys):
    path = write_json(tmp_path / "i.json", coco([1], [(1, 1, run_lengths(THING), {})]))
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert convert_coco(tmp_path, photos, "--instances", str(path)) == 2
    assert "pip install pycocotools" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ going on


def many(tmp_path: Path, count: int) -> list[str]:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(1, count + 1):
        (folder / f"{i:012d}.jpg").write_bytes(photo(i))
    ids = range(1, count + 1)
    instances = coco(ids, [(i, 1, run_lengths(rectangle(0, 9 + i % 9, 0, 9)), {}) for i in ids])
    path = write_json(tmp_path / "instances.json", instances)
    return ["convert", "coco", "--images", str(folder), "--instances", str(path), "--jobs", "1"]


def test_a_killed_conversion_goes_on(tmp_path):
    """kill -9 in the middle: what was journalled is not done again, and the whole is as if it had never been killed."""
    call, out = many(tmp_path, 12), tmp_path / "out"
    pipes = [tmp_path / "many" / f"{i:012d}.jpg" for i in (6, 7)]
    for path in pipes:  # reading a pipe that nobody writes to never ends: both processes are killed at work
        path.unlink()
        os.mkfifo(path)
    command = [sys.executable, "-m", "utils.prepare", *call, "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    journal = out / "train/objects.jsonl"
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 6):
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)  # returns when nobody holds the pipe any more: its processes end with it
    assert not (out / "train/hannotation.pickle").exists()
    written = {path: path.stat().st_mtime_ns for path in (out / "train/images").iterdir()}
    assert len(written) == 5
    for i, path in enumerate(pipes, 6):
        path.unlink()
        path.write_bytes(photo(i))
    assert main([*call, "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert main([*call, "--out", str(tmp_path / "whole")]) == 0
    both = (folder / "train/objects.jsonl" for folder in (out, tmp_path / "whole"))
    journals = [sorted(path.read_text().splitlines()) for path in both]
    assert journals[0] == journals[1] and len(read_back(out)) == 12


def test_a_torn_line_of_the_journal_is_done_again(tmp_path):
    call, out = [*many(tmp_path, 3), "--out", str(tmp_path / "out")], tmp_path / "out/train"
    assert main(call) == 0
    whole = (out / "objects.jsonl").read_bytes()
    (out / "objects.jsonl").write_bytes(whole[:-20])
    (out / "hannotation.pickle").unlink()
    assert main(call) == 0
    assert (out / "objects.jsonl").read_bytes() == whole and len(read_back(out.parent)) == 3


def test_a_folder_begun_otherwise_is_refused(tmp_path, capsys, coco_lvis):
    call = many(tmp_path, 3)
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    path = tmp_path / "instances.json"
    path.write_text(path.read_text() + " ")
    assert main([*call, "--out", str(tmp_path / "out")]) == 2
    assert "was begun with other settings (instances)" in capsys.readouterr().err
    before = (coco_lvis / "train/hannotation.pickle").read_bytes()
    assert main([*call, "--out", str(coco_lvis)]) == 2
    assert "not converted here" in capsys.readouterr().err
    assert (coco_lvis / "train/hannotation.pickle").read_bytes() == before


def test_a_full_disk_stops_with_a_sentence(tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, os.strerror(28))

    call = many(tmp_path, 2)
    monkeypatch.setattr("utils.prepare.writer.pickle.dumps", full)
    assert main([*call, "--out", str(tmp_path / "out")]) == 1
    assert "the disk of" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ folders of masks


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("imgs", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "imgs", tmp_path / "masks"


def convert_folder(tmp_path: Path, *options: str) -> int:
    images, masks, out = (str(tmp_path / name) for name in ("imgs", "masks", "out"))
    return main(["convert", "folder", "--images", images, "--masks", masks, "--out", out, "--jobs", "1", *options])


def labels_of(*masks: np.ndarray, dtype=np.uint8, values=(1, 2, 3)) -> np.ndarray:
    labels = np.zeros(SIZE, dtype)
    for mask, value in zip(masks, values):  # noqa: B905 (fewer masks than values)
        labels[mask] = value
    return labels


LEFT, RIGHT = rectangle(3, 20, 3, 20), rectangle(3, 20, 30, 60)


def test_masks_of_every_spelling(tmp_path, folders):
    imgs, masks = folders
    colour = np.zeros((*SIZE, 3), np.uint8)
    colour[LEFT], colour[RIGHT] = (0, 0, 128), (0, 128, 0)
    transparent = np.dstack([colour, np.where(RIGHT, 0, 255).astype(np.uint8)])
    written = {
        "a binary": labels_of(LEFT, values=(255,)),
        "b label map": labels_of(RIGHT, LEFT),
        "c 16 bit": labels_of(RIGHT, LEFT, dtype=np.uint16, values=(300, 70)),
        "d colours": colour,
        "e grey as colour": np.dstack([labels_of(RIGHT, LEFT)] * 3),
        "f alpha": transparent,
    }
    expected = [[LEFT], [RIGHT, LEFT], [LEFT, RIGHT], [RIGHT, LEFT], [RIGHT, LEFT], [LEFT]]
    for name, mask in written.items():
        (imgs / f"{name}.png").write_bytes(photo(1, suffix=".png"))
        cv2.imwrite(str(masks / f"{name}.png"), mask)
    assert convert_folder(tmp_path) == 0
    back = read_back(tmp_path / "out")
    assert list(back) == [f"{i:012d}" for i in range(1, 7)]
    for (objects, stuff, _), masks_expected in zip(back.values(), expected, strict=True):
        assert equal(objects, masks_expected) and not stuff
    lines = (tmp_path / "out/train/objects.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines[1:]] == [f"{name}.png" for name in written]
    assert json.loads(lines[4])["categories"] == ["#008000", "#800000"]


def test_a_folder_of_masks_for_a_picture_keeps_what_overlaps(tmp_path, folders):
    imgs, masks = folders
    (imgs / "000000000042.jpg").write_bytes(photo(1))
    (masks / "000000000042").mkdir()
    parts = [rectangle(0, 40, 0, 40), rectangle(5, 10, 5, 10), rectangle(30, 48, 30, 60)]
    for i, mask in enumerate(parts):
        cv2.imwrite(str(masks / "000000000042" / f"{i}.png"), mask.astype(np.uint8) * 255)
    assert convert_folder(tmp_path) == 0
    objects, _, parents = read_back(tmp_path / "out")["000000000042"]
    assert equal(objects, parts) and parents == {0: None, 1: 0, 2: None}


def test_ignored_and_stuff_values(tmp_path, folders):
    imgs, masks = folders
    (imgs / "a.jpg").write_bytes(photo(1))
    cv2.imwrite(str(masks / "a.png"), labels_of(LEFT, RIGHT, rectangle(40, 48, 0, 64), values=(7, 255, 3)))
    assert convert_folder(tmp_path, "--ignore", "255", "--stuff", "3") == 0
    (objects, stuff, _), = read_back(tmp_path / "out").values()
    assert equal(objects, [LEFT]) and equal(stuff, [rectangle(40, 48, 0, 64)])


def test_soft_masks_are_not_taken_for_label_maps(tmp_path, folders, capsys):
    imgs, masks = folders
    soft = cv2.GaussianBlur(labels_of(LEFT, values=(255,)), (7, 7), 2)
    for name in ("a", "b"):
        (imgs / f"{name}.jpg").write_bytes(photo(1))
    cv2.imwrite(str(masks / "a.png"), soft)
    cv2.imwrite(str(masks / "b.jpg"), soft)
    assert convert_folder(tmp_path) == 1
    error = capsys.readouterr().err
    assert "soft edges" in error and "b.jpg is a JPEG" in error and error.count("--binary 127") == 2
    assert main(["convert", "folder", "--images", str(imgs), "--masks", str(masks), "--binary", "127", "--jobs", "1",
                 "--out", str(tmp_path / "binary")]) == 0
    objects = [objects for objects, _, _ in read_back(tmp_path / "binary").values()]
    assert equal(objects[0], [soft > 127]) and len(objects[1]) == 1


def test_pictures_without_masks(tmp_path, folders, capsys):
    imgs, masks = folders
    assert convert_folder(tmp_path) == 2
    assert "holds no pictures" in capsys.readouterr().err
    for name in ("a", "b"):
        (imgs / f"{name}.jpg").write_bytes(photo(1))
    assert convert_folder(tmp_path) == 2
    assert "no picture of" in capsys.readouterr().err
    cv2.imwrite(str(masks / "a.png"), labels_of(LEFT))
    assert convert_folder(tmp_path) == 1
    assert "b.jpg has no mask; put b.png there" in capsys.readouterr().err
    assert main(["convert", "folder", "--images", str(imgs), "--masks", str(masks), "--skip-missing", "--jobs", "1",
                 "--out", str(tmp_path / "skipped")]) == 0


def test_a_mask_of_another_size(tmp_path, folders, capsys):
    imgs, masks = folders
    (imgs / "a.jpg").write_bytes(photo(1))
    cv2.imwrite(str(masks / "a.png"), np.ones((9, 9), np.uint8))
    assert convert_folder(tmp_path) == 1
    assert "a.jpg is 64x48 pixels, but its annotation 9x9" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ labelme


def shape(label: str, points, kind: str = "polygon", **more) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def labelme(folder: Path, name: str, shapes: list[dict], **more) -> Path:
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None,
               "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}
    return write_json(folder / f"{name}.json", content)


def convert_labelme(tmp_path: Path, labels: Path, *options: str) -> int:
    out = str(tmp_path / "out")
    return main(["convert", "labelme", "--labels", str(labels), "--out", out, "--jobs", "1", *options])


def corners(top: int, bottom: int, left: int, right: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def test_labelme_shapes(tmp_path, photos):
    hat = rectangle(2, 8, 30, 41)
    hat[4, 35] = False
    png = base64.b64encode(cv2.imencode(".png", hat[2:8, 30:41].astype(np.uint8) * 255)[1].tobytes()).decode()
    labelme(photos, "000000000001", [
        shape("cat", corners(5, 20, 5, 20), group_id=3),
        shape("point", [[3, 3]], "point"),
        shape("cat", corners(30, 40, 5, 20), group_id=3),
        shape("cat", corners(30, 40, 30, 40)),
        shape("box", [[60, 45], [50, 20]], "rectangle"),
        shape("hat", [[30, 2], [40, 7]], "mask", mask=png),
        shape("sky", corners(40, 48, 0, 64)),
        shape("__ignore__", corners(0, 9, 0, 9)),
    ])  # fmt: skip
    assert convert_labelme(tmp_path, photos, "--stuff", "sky") == 0
    objects, stuff, _ = read_back(tmp_path / "out")["000000000001"]
    together = rectangle(5, 20, 5, 20) | rectangle(30, 40, 5, 20)
    assert equal(objects, [together, rectangle(30, 40, 30, 40), rectangle(20, 45, 50, 60), hat])
    assert equal(stuff, [rectangle(40, 48, 0, 64)])


def test_labelme_circle(tmp_path, photos):
    labelme(photos, "000000000001", [shape("ball", [[30, 20], [40, 20]], "circle")])
    assert convert_labelme(tmp_path, photos) == 0
    ((ball,), _, _), = read_back(tmp_path / "out").values()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    disk = (y - 20) ** 2 + (x - 30) ** 2 <= 100
    assert (ball ^ disk).sum() <= 0.06 * disk.sum() and ball[20, 30]


def test_labelme_photo_in_another_folder_or_in_the_file(tmp_path, photos, capsys):
    labels = tmp_path / "labels"
    (labels / "in").mkdir(parents=True)
    cat = [shape("cat", corners(5, 20, 5, 20))]
    labelme(labels, "1", cat, imagePath="..\\photos\\000000000001.jpg")
    labelme(labels / "in", "2", cat, imagePath="gone.png", imageData=base64.b64encode(photo(2, suffix=".png")).decode())
    assert convert_labelme(tmp_path, labels) == 1
    assert "its picture '../photos/000000000001.jpg' is not there; name its folder" in capsys.readouterr().err
    assert convert_labelme(tmp_path, labels, "--images", str(photos)) == 0
    back = read_back(tmp_path / "out")
    assert list(back) == ["000000000001", "000000000002"]
    assert all(equal(objects, [rectangle(5, 20, 5, 20)]) for objects, _, _ in back.values())


@pytest.mark.parametrize(
    "shapes, reason",
    [
        ([{"label": "x"}], "shape 1 has no label or no points"),
        (["x"], "shape 1 has no label or no points"),
        ([shape("x", [[1, 2]], "polygon")], "three points"),
        ([shape("x", [[1, 2]], "heart")], "'heart' is no shape"),
        ([shape("x", [[1, 2], ["a", 3]])], "can't be drawn"),
        ([shape("x", [[1, 1], [2, 2]], "mask", mask="!")], "not base64"),
        ([shape("x", [[60, 1], [70, 2]], "mask", mask=base64.b64encode(photo(1, (5, 9), ".png")).decode())], "leaves"),
        ("x", "no list of shapes"),
    ],
)
def test_broken_labelme_files(tmp_path, photos, capsys, shapes, reason):
    labelme(photos, "000000000001", shapes)
    assert convert_labelme(tmp_path, photos) == 1
    error = capsys.readouterr().err
    assert reason in error and "000000000001.json" in error


def test_no_labelme_files(tmp_path, photos, capsys):
    assert convert_labelme(tmp_path, photos) == 2
    assert "holds no JSON files" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ real masks


def test_real_masks_come_back_with_their_tree(tmp_path, shared_data):
    """Real objects written as COCO's JSON and panoptic PNG: masks bit for bit, and the tree that was published."""
    source = CocoLvisDataset(shared_data / "COCO_LVIS", "val", stuff_prob=1.0)
    images, annotations = [], []
    for i, (image_id, _) in enumerate(source.dataset_samples[:12]):
        sample = source.get_sample(i)
        images.append({"id": int(image_id), "file_name": f"{image_id}.jpg", "height": sample.image.shape[0],
                       "width": sample.image.shape[1]})
        for k in sorted(sample.objects_ids):
            if k < source.dataset_samples[i][1]["num_instance_masks"]:
                mask = run_lengths(sample.get_object_mask(k) == 1)
                annotations.append({"id": k, "image_id": int(image_id), "category_id": 1, "segmentation": mask})
    random.shuffle(annotations)
    order = sorted(annotations, key=lambda a: (a["image_id"], a["id"]))
    content = {"images": images, "annotations": order, "categories": []}
    path = write_json(tmp_path / "instances.json", content)
    assert convert_coco(tmp_path, shared_data / "COCO_LVIS/val/images", "--instances", str(path)) == 0
    back = read_back(tmp_path / "out")
    for i, (image_id, annotation) in enumerate(source.dataset_samples[:12]):
        sample, count = source.get_sample(i), annotation["num_instance_masks"]
        if not count:
            continue
        objects, _, parents = back[image_id]
        assert equal(objects, [sample.get_object_mask(k) == 1 for k in range(count)])
        assert parents == {k: sample._objects[k]["parent"] for k in range(count)}


def test_the_annotation_pickle_holds_plain_data(tmp_path, photos):
    path = write_json(tmp_path / "i.json", coco([1], [(1, 1, run_lengths(THING), {})]))
    assert convert_coco(tmp_path, photos, "--instances", str(path)) == 0
    with (tmp_path / "out/train/hannotation.pickle").open("rb") as file:
        assert pickle.load(file) == {"000000000001": {"num_instance_masks": 1, "hierarchy": {0: None}}}
