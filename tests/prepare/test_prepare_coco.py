"""COCO and LVIS JSON to COCO_LVIS: masks bit for bit, on the right photo, the right way up; what is lost is named."""
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import prepare_helpers as h
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prepare_helpers import SIZE, coco, convert_to, entries, equal, photo, read_back, rectangle, run_lengths, write_json

from utils.datasets import CocoLvisDataset
from utils.files import UserError
from utils.formats import stream as streaming
from utils.formats.stream import members
from utils.images import turn_back

FIRST, SECOND, THIRD, FOURTH = (f"{i:012d}.jpg" for i in (1, 2, 3, 4))
THING, SKY, GRASS = rectangle(20, 40, 20, 40), rectangle(0, 20, 0, 64), rectangle(40, 48, 0, 64)


@pytest.fixture(params=["ijson", "json"])
def stream(request, monkeypatch) -> str:
    """Every file as large ones are read, or as small ones are."""
    if request.param == "ijson":
        pytest.importorskip("ijson")
        monkeypatch.setattr(streaming, "SMALL", -1)
    return request.param


def convert(tmp_path: Path, photos: Path, content, *options, mark: bool = False) -> int:
    path = write_json(tmp_path / "instances.json", content, mark)
    return convert_to(tmp_path / "out", "coco", "--images", photos, "--instances", path, *options)


def things(*ids: int, **info) -> dict:
    return coco(ids, [(i, 1, run_lengths(THING), {}) for i in ids], **info)


# ------------------------------------------------------------------------------------------------ JSON streams

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=12)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["images", "annotations", "info"]), JSON_VALUES), st.sampled_from([-1, 10**9]))
def test_members_are_those_of_the_json_module(tmp_path_factory, content, small):
    pytest.importorskip("ijson")
    path = write_json(tmp_path_factory.mktemp("json") / "x.json", content)
    expected = [("info", content["info"])] if "info" in content else []
    expected += [(f"{key}.item", value) for key in ("images", "annotations") if isinstance(content.get(key), list)
                 for value in content[key]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "SMALL", small)
        assert list(members(path, "info", "images.item", "annotations.item")) == expected


@pytest.mark.parametrize("text", ["", "{", '{"a": [1', '{"a": [1,]}', '{"a" 1}', "[" * 100_000, '{"a": tru'])
def test_what_is_no_json_is_refused(tmp_path, stream, text):
    path = tmp_path / "x.json"
    path.write_text(text if stream == "json" else text[:900])  # ijson's time grows with the square of the depth
    with pytest.raises(UserError, match="x.json is no JSON"):
        list(members(path, "a.item"))


def test_without_ijson_a_large_file_is_refused_with_the_package_that_helps(tmp_path, monkeypatch):
    path = write_json(tmp_path / "x.json", {"images": [1]})
    monkeypatch.setitem(sys.modules, "ijson", None)
    assert list(members(path, "images.item")) == [("images.item", 1)]
    monkeypatch.setattr(streaming, "MAX_IN_MEMORY", 5)
    with pytest.raises(UserError, match="pip install ijson"):
        list(members(path, "images.item"))


# ------------------------------------------------------------------------------------------------ masks


def test_instances_bit_for_bit(tmp_path, photos, stream):
    rng = np.random.default_rng(5)
    noise = [rng.random(SIZE) < share for share in (0.5, 0.02)]
    whole, part = rectangle(5, 40, 5, 50), rectangle(10, 20, 10, 20)
    content = coco([3, 1, 2], [
        (3, 1, [[5, 5, 50, 5, 50, 40, 5, 40]], {}),
        (1, 1, run_lengths(noise[0]), {}),
        (3, 2, run_lengths(part, compressed=False), {}),
        (1, 1, run_lengths(noise[1], compressed=False), {}),
    ])
    assert convert(tmp_path, photos, content, mark=stream == "json") == 0
    back = read_back(tmp_path / "out")
    assert sorted(back) == [FIRST, THIRD], "photo 2 has no object"
    assert equal(back[FIRST][0], noise)
    assert equal(back[THIRD][0], [whole, part]) and back[THIRD][2] == {0: None, 1: 0}
    stored = (tmp_path / "out/train/images" / THIRD).read_bytes()
    assert stored == (photos / THIRD).read_bytes(), "a JPEG is not encoded anew"


def panoptic(tmp_path: Path, **second) -> Path:
    """A photo with things, stuff and a crowd; a second one by what is given of its annotation."""
    ids = np.zeros(SIZE, np.int64)
    for number, mask in ((70_001, THING), (300, SKY), (5, GRASS), (9, rectangle(20, 24, 0, 9))):
        ids[mask] = number
    (tmp_path / "panoptic").mkdir(exist_ok=True)
    pixels = np.dstack([ids >> 16, ids >> 8 & 255, ids & 255]).astype(np.uint8)  # blue, green, red
    cv2.imwrite(str(tmp_path / "panoptic/000000000001.png"), pixels)
    segments = [(70_001, 1, 0), (300, 187, 0), (5, 187, 0), (9, 1, 1)]
    listed = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in segments]
    categories = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 187, "name": "sky", "isthing": 0}]
    annotation = {"image_id": 1, "file_name": "000000000001.png", "segments_info": listed}
    content = coco([1, 2] if second else [1], [], categories, description="COCO 2018 Panoptic Dataset")
    return write_json(tmp_path / "panoptic.json", content | {"annotations": [annotation, *(
        [{**annotation, "image_id": 2, **second}] if second else [])]})


def test_panoptic_things_and_stuff(tmp_path, photos, stream):
    assert convert_to(tmp_path / "out", "coco", "--images", photos, "--panoptic", panoptic(tmp_path)) == 0
    objects, stuff, _ = read_back(tmp_path / "out")[FIRST]
    assert equal(objects, [THING]) and equal(stuff, [SKY, GRASS])


def test_a_panoptic_file_that_leads_out_of_its_folder_loses_its_photo_alone(tmp_path, photos, capsys):
    path = panoptic(tmp_path, file_name="../panoptic.json")
    assert convert_to(tmp_path / "out", "coco", "--images", photos, "--panoptic", path) == 1
    assert "lies outside" in capsys.readouterr().err and list(read_back(tmp_path / "out")) == [FIRST]


def test_lvis_and_coco_are_joined(tmp_path, photos):
    better, other = rectangle(20, 40, 20, 41), rectangle(0, 9, 0, 9)
    instances = coco([1, 2], [(i, 1, run_lengths(mask), {}) for i, mask in ((1, THING), (1, other), (2, other))])
    lvis = coco([1], [(1, 2, run_lengths(better), {})])
    for image in lvis["images"]:  # LVIS names photos by COCO's address
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    assert convert(tmp_path, photos, instances, "--panoptic", panoptic(tmp_path), "--lvis",
                   write_json(tmp_path / "l.json", lvis)) == 0
    back = read_back(tmp_path / "out")
    assert list(back) == [FIRST], "the photos are LVIS's"
    objects, stuff, _ = back[FIRST]
    assert equal(objects, [better, other]) and equal(stuff, [SKY, GRASS])
    (entry,) = entries(tmp_path / "out")
    assert entry["categories"] == ["hat", "cat", "sky", "sky"] and entry["license_id"] == 4


BROKEN = {
    "two points": ([[1, 2, 3, 4]], "annotation 1 .* was left out: .*three points or more"),
    "text": ([["a"] * 6], "three points or more"),
    "no list": ("abc", "neither polygons nor run lengths"),
    "far outside": ([[0, 0, 1e9, 0, 1e9, 1e9]], "far outside"),
    "size": ({"size": [9, 9], "counts": "x"}, r"for \[height, width\] \[9, 9\], the photo is \[48, 64\]"),
    "counts too short": ({"size": [48, 64], "counts": [3, 4]}, "numbers that fill the photo"),
    "negative counts": ({"size": [48, 64], "counts": [48 * 64 + 1, -1]}, "numbers that fill the photo"),
    "damaged text": ({"size": [48, 64], "counts": "PPPPPPPP0000ooooo"}, "damaged"),
}


@pytest.mark.parametrize("segmentation, reason", BROKEN.values(), ids=BROKEN)
def test_a_broken_annotation_is_named_and_lost_alone(tmp_path, photos, capsys, segmentation, reason):
    content = coco([1], [(1, 1, segmentation, {}), (1, 1, run_lengths(THING), {})])
    for _ in range(2):  # it is told again by a run that finds everything as it was
        assert convert(tmp_path, photos, content) == 1
        error = capsys.readouterr().err
        assert re.search(reason, error) and FIRST in error
        assert equal(read_back(tmp_path / "out")[FIRST][0], [THING])


@pytest.mark.parametrize("segmentation", ["", None, []])
def test_annotations_with_only_a_box_or_no_photo_are_counted(tmp_path, photos, capsys, segmentation):
    content = coco([1], [(i, 1, mask, {}) for i, mask in ((1, segmentation), (1, run_lengths(THING)), (7, []))])
    assert convert(tmp_path, photos, content) == 0
    said = capsys.readouterr()
    assert "1 annotations have a box and no outline" in said.out and "1 annotations belong to no photo" in said.err
    assert equal(read_back(tmp_path / "out")[FIRST][0], [THING])


@pytest.mark.parametrize("options, info, taken", [
    ([], {}, True), (["--crowd", "skip"], {}, False), ([], {"description": "COCO 2017 Dataset"}, False),
    (["--crowd", "object"], {"description": "COCO 2017 Dataset"}, True)])
def test_crowds_are_objects_but_in_coco_s_own_files_and_are_counted(tmp_path, photos, capsys, options, info, taken):
    """Other tools mark every painted mask as a crowd."""
    content = coco([1], [(1, 1, run_lengths(THING), {"iscrowd": 1}), (1, 1, run_lengths(SKY), {})], **info)
    assert convert(tmp_path, photos, content, *options) == 0
    assert f"1 crowd regions (iscrowd) were {'taken as objects' if taken else 'left out'}" in capsys.readouterr().out
    assert equal(read_back(tmp_path / "out")[FIRST][0], [THING, SKY] if taken else [SKY])


# ------------------------------------------------------------------------------------------------ photos


def test_photos_that_are_missing_damaged_or_of_another_size(tmp_path, photos, capsys):
    (photos / FIRST).unlink()
    (photos / SECOND).write_bytes(photo(2)[:300])
    (photos / FOURTH).write_bytes(photo(4, (64, 48)))
    content = things(1, 2, 3, 4)
    content["images"][0]["file_name"] = "../secret.jpg"
    (tmp_path / "secret.jpg").write_bytes(photo(7))
    assert convert(tmp_path, photos, content) == 1
    error = capsys.readouterr().err
    assert "../secret.jpg is in none of the photo folders" in error and f"{SECOND} is " in error
    assert f"{FOURTH} is 48x64 pixels, but its annotation 64x48" in error
    assert list(read_back(tmp_path / "out")) == [THIRD]
    for i in (2, 4):  # the same command goes on from there
        (photos / f"{i:012d}.jpg").write_bytes(photo(i))
    assert convert(tmp_path, photos, content, "--skip-missing") == 0
    assert "1 pictures are not in" in capsys.readouterr().err and len(read_back(tmp_path / "out")) == 3


@pytest.mark.parametrize("slash", ["/", "\\"])
@pytest.mark.parametrize("folders, kept", [
    (["root/cam1", "root/cam2"], [1, 2]),
    (["root"], [1, 2]),
    (["root/cam2"], [2]),  # cam1's entry must not get cam2's photo
    (["a", "b"], []),  # 001.jpg is in both, and nothing says which is which
])
def test_one_file_name_in_two_folders(tmp_path, capsys, slash, folders, kept):
    for number, names in ((1, ("root/cam1", "a")), (2, ("root/cam2", "b"))):
        for name in names:
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "001.jpg").write_bytes(photo(number))
    content = things(1, 2)
    for number, image in enumerate(content["images"], start=1):
        image["file_name"] = f"cam{number}{slash}001.jpg"
    path = write_json(tmp_path / "i.json", content)
    rc = convert_to(tmp_path / "out", "coco", "--images", *(tmp_path / name for name in folders), "--instances", path)
    assert rc == {2: 0, 1: 1, 0: 2}[len(kept)]
    assert len(kept) == 2 or "001.jpg" in capsys.readouterr().err
    for number in kept:
        assert np.array_equal(h.picture_of(tmp_path / "out", f"cam{number}{slash}001.jpg"), h.pixels_of(photo(number)))


def test_ids_and_names_that_repeat_are_named_and_lose_no_other_photo(tmp_path, photos, capsys):
    content = things(1, 2, 3)
    content["images"] += [{**content["images"][0], "file_name": "other.jpg"}, {**content["images"][1], "id": 9}]
    content["categories"].append({"id": 2, "name": "scarf"})
    content["annotations"].append({"id": 4, "image_id": 3, "category_id": 2, "segmentation": run_lengths(SKY)})
    assert convert(tmp_path, photos, content) == 1
    error = capsys.readouterr().err
    assert f"the id 1 is given to {FIRST} and to other.jpg" in error
    assert f"{SECOND} is listed under several ids" in error and "category's id has several names" in error
    assert {name: len(objects) for name, (objects, _, _) in read_back(tmp_path / "out").items()} == {THIRD: 1}


def test_only_photos_called_as_coco_s_get_coco_s_ids(tmp_path, photos):
    (photos / "000000000002.jpg").rename(photos / "mine.jpg")
    content = things(1, 2)
    content["images"][1]["file_name"] = "mine.jpg"
    assert convert(tmp_path, photos, content) == 0
    ids = {entry["source"]: entry["id"] for entry in entries(tmp_path / "out")}
    assert ids[FIRST] == "000000000001" and ids["mine.jpg"] > "9" and len(ids["mine.jpg"]) == 12


# ------------------------------------------------------------------------------------------------ frames

@pytest.mark.parametrize("size", [(48, 64), (56, 56)])
@pytest.mark.parametrize("drawn_on, orientations, options", [
    ("upright", range(1, 9), []), ("stored", range(1, 5), ["--frame", "stored"]), ("stored", range(5, 9), None)])
def test_photo_and_mask_agree_in_every_format_and_orientation(tmp_path, size, drawn_on, orientations, options):
    """Width and height tell the frame, or else the option does."""
    content, masks = coco([], []), {}
    for name, orientation in h.turned_names(orientations):
        upright = h.red_photo(tmp_path / "photos" / name, orientation, size)
        mask = masks[name] = h.redness(upright if drawn_on == "upright" else turn_back(upright, orientation))
        number, (height, width) = len(masks), mask.shape
        content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        content["annotations"].append({"id": number, "image_id": number, "segmentation": run_lengths(mask)})
    if options is None:  # the size says it, unless it is square
        options = ["--frame", "stored"] if size[0] == size[1] else []
    assert convert(tmp_path, tmp_path / "photos", content, *options) == 0
    back = read_back(tmp_path / "out")
    for name, mask in masks.items():
        assert equal(back[name][0], [mask]) and h.iou(h.redness(h.picture_of(tmp_path / "out", name)), mask) > 0.9, name
    assert all(Image.open(path).getexif().get(0x0112, 1) == 1 for path in (tmp_path / "out/train/images").iterdir())


@pytest.mark.parametrize("stated, options, frame", [
    (None, [], "upright"), ("stored", [], "stored"), ("upright", ["--frame", "stored"], "stored")])
def test_info_states_the_frame_and_what_is_left_open_is_counted(tmp_path, capsys, stated, options, frame):
    upright = h.red_photo(tmp_path / "photos/p.jpg", 3, (40, 40))
    mask = h.redness(upright if frame == "upright" else turn_back(upright, 3))
    content = coco([1], [(1, 1, run_lengths(mask), {})], **({"frame": stated} if stated else {}))
    content["images"][0].update(file_name="p.jpg", height=40, width=40)
    assert convert(tmp_path, tmp_path / "photos", content, *options) == 0
    assert h.iou(h.redness(h.picture_of(tmp_path / "out", "p.jpg")), mask) > 0.9
    assert "1 photos that EXIF data turn were read as" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ wrong calls


@pytest.mark.parametrize("text, reason", [
    ("[]", "lists no photos"), ("{}", "lists no photos"), ('{"images": [{"id": 1}]}', "'images'"),
    ('{"images": [{"id": "x", "height": 1, "width": 1}]}', "whole number of at most 12 digits"),
    ('{"images": [{"id": 1, "height": 1, "width": 1, "file_name": "nowhere.jpg"}]}', "none of the 1 photos")])
def test_files_that_are_not_coco_s(tmp_path, photos, capsys, stream, text, reason):
    path = tmp_path / "instances.json"
    path.write_text(text)
    assert convert_to(tmp_path / "out", "coco", "--images", photos, "--instances", path) in (1, 2)
    error = capsys.readouterr().err
    assert reason in error and "instances.json" in error and error.count("\n") == 1


def test_wrong_calls(tmp_path, photos, monkeypatch, capsys):
    path = panoptic(tmp_path)
    for wrong in ([], ["--instances", "nowhere.json"], ["--panoptic", path, "--split", "../escape"],
                  ["--panoptic", path, "--jobs", "0"], ["--panoptic", path, "--crowd", "maybe"],
                  ["--panoptic", path, "--val", "2"], ["--panoptic", path, "--images", tmp_path / "nowhere"]):
        assert convert_to(tmp_path / "out", "coco", "--images", photos, *wrong) == 2, wrong
    (tmp_path / "panoptic").rename(tmp_path / "elsewhere")
    assert convert_to(tmp_path / "out", "coco", "--images", photos, "--panoptic", path) == 2
    assert "--panoptic-masks" in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert convert(tmp_path, photos, things(1)) == 2
    assert "pip install pycocotools" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ real masks


def test_real_masks_come_back_with_their_tree(tmp_path, shared_data):
    """Real objects written as COCO's JSON: masks bit for bit, and the tree that was published."""
    source = CocoLvisDataset(shared_data / "COCO_LVIS", "val", stuff_prob=1.0)
    images, annotations, expected = [], [], {}
    for i, (image_id, annotation) in enumerate(source.dataset_samples[:12]):
        sample, count = source.get_sample(i), annotation["num_instance_masks"]
        height, width = sample.image.shape[:2]
        images.append({"id": int(image_id), "file_name": f"{image_id}.jpg", "height": height, "width": width})
        masks = [sample.get_object_mask(k) == 1 for k in range(count)]
        annotations += [{"id": k, "image_id": int(image_id), "category_id": 1, "segmentation": run_lengths(mask)}
                        for k, mask in enumerate(masks)]
        if masks:
            expected[f"{image_id}.jpg"] = masks, {k: sample._objects[k]["parent"] for k in range(count)}
    content = json.loads(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    assert convert(tmp_path, shared_data / "COCO_LVIS/val/images", content) == 0
    back = read_back(tmp_path / "out")
    assert back.keys() == expected.keys()
    for name, (masks, parents) in expected.items():
        assert equal(back[name][0], masks) and back[name][2] == parents
