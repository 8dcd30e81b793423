"""labelme, VIA, YOLO and VOC to COCO_LVIS: every shape and spelling, names and classes, what is lost alone; fuzzing."""
import base64
import copy
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import prepare_helpers as h
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from prepare_helpers import SIZE, coco, convert_to, entries, equal, iou, photo, read_back, rectangle, write_json

from utils.formats.yolo import yaml_names

SOURCE = "000000000001.json"
Y, X = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5


def png_text(mask: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()).decode()


# ------------------------------------------------------------------------------------------------ labelme


def corners(top: int, bottom: int, left: int, right: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def shape(label: str, points, kind: str = "polygon", **more) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


CAT, CAT_MASK = shape("cat", corners(5, 20, 5, 20)), rectangle(5, 20, 5, 20)


def labelme(folder: Path, name: str, shapes, **more) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None,
               "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}
    return write_json(folder / f"{name}.json", content)


def convert_labelme(tmp_path: Path, labels: Path, *options) -> int:
    return convert_to(tmp_path / "out", "labelme", "--labels", labels, *options)


def test_labelme_shapes(tmp_path, photos, capsys):
    hat = rectangle(2, 8, 30, 41)
    hat[4, 35] = False
    labelme(photos, "000000000001", [
        {**CAT, "group_id": 3},
        shape("point", [[3, 3]], "point"),
        shape("cat", corners(30, 40, 5, 20), group_id=3),
        shape("cat", corners(30, 40, 30, 40)),
        shape("box", [[60, 45], [50, 20]], "rectangle"),
        shape("hat", [[30, 2], [40, 7]], "mask", mask=png_text(hat[2:8, 30:41])),
        shape("sky", corners(40, 48, 0, 64)),
        shape("turned", corners(2, 6, 2, 9), "rotation", direction=0.3),
        shape("__ignore__", corners(0, 9, 0, 9)),
        shape("ball", [[30, 20], [40, 20]], "circle"),
    ])  # fmt: skip
    assert convert_labelme(tmp_path, photos, "--stuff", "sky") == 0
    (*objects, ball), stuff, _ = read_back(tmp_path / "out")[SOURCE]
    assert equal(objects, [CAT_MASK | rectangle(30, 40, 5, 20), rectangle(30, 40, 30, 40), rectangle(20, 45, 50, 60),
                           hat, rectangle(2, 6, 2, 9)])
    assert equal(stuff, [rectangle(40, 48, 0, 64)])
    assert iou(ball, (Y - 20) ** 2 + (X - 30) ** 2 <= 100) > 0.94
    assert "1 points and lines, which have no area, were left out" in capsys.readouterr().out


def test_a_labelme_picture_in_another_folder_or_in_the_file(tmp_path, photos, capsys):
    labels = tmp_path / "labels"
    labelme(labels, "1", [CAT], imagePath="..\\elsewhere\\000000000001.jpg")
    labelme(labels / "in", "2", [CAT], imagePath="gone.png",
            imageData=base64.b64encode(photo(2, suffix=".png")).decode())
    assert convert_labelme(tmp_path, labels) == 1
    assert "its picture '../elsewhere/000000000001.jpg' is not there; name its folder" in capsys.readouterr().err
    assert convert_labelme(tmp_path, labels, "--images", photos) == 0
    back = read_back(tmp_path / "out")
    assert set(back) == {"1.json", "in/2.json"} and all(equal(found, [CAT_MASK]) for found, _, _ in back.values())


@pytest.mark.parametrize("image_path", ["../photos/000000000001.jpg", "..\\photos\\000000000001.jpg", "absolute",
                                        "C:\\somewhere\\beside.jpg"])
def test_the_picture_is_found_by_the_path_that_the_file_holds_or_beside_it(tmp_path, photos, image_path):
    path = str(photos / "000000000001.jpg") if image_path == "absolute" else image_path
    labelme(tmp_path / "labels", "x", [CAT], imagePath=path)
    (tmp_path / "labels/beside.jpg").write_bytes(photo(1))
    assert convert_labelme(tmp_path, tmp_path / "labels") == 0
    assert np.array_equal(h.picture_of(tmp_path / "out", "x.json"), h.pixels_of(photo(1)))


@pytest.mark.parametrize("wrong, reason", [
    ({"label": "x"}, "KeyError: 'points'"), ("x", "TypeError"), (shape("x", [[1, 2]], "polygon"), "three points"),
    (shape("x", [[1, 2]], "heart"), "'heart' is no shape"), (shape("x", [[1, 2], ["a", 3]]), "shape 1 was left out"),
    (shape("x", [[1, 1], [2, 2]], "mask", mask="!"), "not base64"),
    (shape("x", [[60, 1], [70, 2]], "mask", mask=png_text(np.ones((5, 9)))), "leaves"),
    (shape("x", [[1, -1], [9, 2]], "mask", mask=png_text(np.ones((5, 9)))), "leaves")])
def test_a_shape_that_can_not_be_drawn_is_named_and_lost_alone(tmp_path, photos, capsys, wrong, reason):
    path = labelme(photos, "000000000001", [wrong, CAT])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert convert_labelme(tmp_path, photos) == 1
    error = capsys.readouterr().err
    assert reason in error and SOURCE in error and equal(read_back(tmp_path / "out")[SOURCE][0], [CAT_MASK])


def test_labelme_files_that_are_broken_or_lead_to_no_picture_of_theirs(tmp_path, photos, capsys):
    assert convert_labelme(tmp_path, photos) == 2
    assert "holds no JSON files" in capsys.readouterr().err
    os.mkfifo(photos / "pipe.jpg")
    for name, shapes, path in (("one", [CAT], "000000000001"), ("two", [CAT], "000000000001"), ("x", "x", "x"),
                               ("y", [CAT], "/etc/passwd"), ("z", [CAT], "pipe")):
        labelme(photos, name, shapes, imagePath=path if path[0] == "/" else f"{path}.jpg")
    (photos / "torn.json").write_text('{"shapes": [')
    assert convert_labelme(tmp_path, photos) == 1
    error = capsys.readouterr().err
    assert "no list of shapes" in error and "torn.json" in error and error.count("is not there") == 2
    assert "two.json annotates" in error and set(read_back(tmp_path / "out")) == {"one.json"}


# ------------------------------------------------------------------------------------------------ VIA

TURN = 0.5  # radians, clockwise
ALONG, ACROSS = (X - 30) * np.cos(TURN) + (Y - 24) * np.sin(TURN), (Y - 24) * np.cos(TURN) - (X - 30) * np.sin(TURN)
RECT, RECT_MASK = {"x": 5, "y": 6, "width": 20, "height": 10}, rectangle(6, 16, 5, 25)
SHAPES = {
    "rect": (RECT, RECT_MASK),
    "polygon": ({"all_points_x": [5, 25, 25, 5, 5], "all_points_y": [6, 6, 16, 16, 6]}, RECT_MASK),
    "circle": ({"cx": 30, "cy": 20, "r": 10}, (X - 30) ** 2 + (Y - 20) ** 2 <= 100),
    "ellipse": ({"cx": 30, "cy": 24, "rx": 20, "ry": 8}, ((X - 30) / 20) ** 2 + ((Y - 24) / 8) ** 2 <= 1),
    "turned ellipse": ({"cx": 30, "cy": 24, "rx": 20, "ry": 8, "theta": TURN},
                       (ALONG / 20) ** 2 + (ACROSS / 8) ** 2 <= 1),
    "point": ({"cx": 3, "cy": 4}, None),
    "polyline": ({"all_points_x": [1, 9], "all_points_y": [1, 9]}, None),
}


def region(kind: str, attributes: dict, **label) -> dict:
    return {"shape_attributes": {"name": kind.split()[-1], **attributes}, "region_attributes": label}


def document(version: str, pictures: dict[str, list[dict]]) -> str:
    """The file that VIA of a version saves, or its annotations as CSV."""
    if version.startswith("csv"):
        head = ["filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
                "region_attributes"]
        rows = [[name, 99, "{}", len(regions), number, *(json.dumps(each[key]) for key in each)]
                for name, regions in pictures.items() for number, each in enumerate(regions)]
        rows += [[name, 99, "{}", 0, 0, "{}", "{}"] for name, regions in pictures.items() if not regions]
        text = io.StringIO()
        csv.writer(text).writerows([head, *rows])
        return ("#" if version == "csv 1" else "") + text.getvalue()
    entry = {f"{name}99": {"filename": name, "size": 99, "file_attributes": {}, "regions":
             dict(enumerate(regions)) if version == "1" else regions} for name, regions in pictures.items()}
    whole = {"_via_settings": {}, "_via_img_metadata": entry, "_via_attributes": {}}
    return json.dumps(whole if version == "2 project" else entry)


@pytest.fixture
def via(tmp_path: Path):
    """Converts a file of VIA about a.jpg and b.png."""
    (tmp_path / "imgs").mkdir()
    for number, name in enumerate(("a.jpg", "b.png")):
        (tmp_path / "imgs" / name).write_bytes(photo(number, suffix=name[1:]))

    def convert(text: str, *options, mark: bool = False) -> int:
        (tmp_path / "via").write_text(text, encoding="utf-8-sig" if mark else "utf-8")
        return convert_to(tmp_path / "out", "via", "--annotations", tmp_path / "via", "--images", tmp_path / "imgs",
                          *options)

    return convert


@pytest.mark.parametrize("version, mark", [("1", False), ("2", True), ("2 project", False), ("csv 1", True),
                                           ("csv 2", False)])
def test_every_shape_of_every_version(tmp_path, via, capsys, version, mark):
    regions = [region(kind, attributes, name=kind) for kind, (attributes, _) in SHAPES.items()]
    assert via(document(version, {"a.jpg": regions, "b.png": []}), mark=mark) == 0
    ((objects, _, _),) = read_back(tmp_path / "out").values()
    expected = {kind: mask for kind, (_, mask) in SHAPES.items() if mask is not None}
    assert list(expected) in [entry["categories"] for entry in entries(tmp_path / "out")]
    for found, (kind, mask) in zip(objects, expected.items(), strict=True):
        assert np.array_equal(found, mask) if kind in ("rect", "polygon") else iou(found, mask) > 0.95, kind
    said = capsys.readouterr().out
    assert "2 points and lines" in said and "1 photos without any were left out" in said


@pytest.mark.parametrize("value, name", [
    ("dolphin", "dolphin"), ({"fin": True, "tail": True, "eye": False}, "fin+tail"), ("", "object")])
def test_classes(tmp_path, via, value, name):
    assert via(document("2", {"a.jpg": [region("rect", RECT, thing=value)]})) == 0
    assert [entry["categories"] for entry in entries(tmp_path / "out")] == [[name]]


def test_of_several_attributes_one_must_be_named(tmp_path, via, capsys):
    text = document("2", {"a.jpg": [region("rect", RECT, species="x", blurred="no")]})
    assert via(text) == 2
    assert "--attribute: species, blurred" in capsys.readouterr().err
    assert via(text, "--attribute", "kind") == 2
    assert via(text, "--attribute", "species", "--stuff", "x") == 0
    assert equal(read_back(tmp_path / "out")["a.jpg"][1], [RECT_MASK])


def test_what_can_not_be_drawn_or_found_is_named_and_lost_alone(tmp_path, via, capsys):
    regions = [region("heart", {}), region("rect", {"x": 1}), region("rect", RECT)]
    text = document("2", {"a.jpg": regions, "gone.jpg": regions, "../via": regions})
    assert via(text) == 1
    error = capsys.readouterr().err
    assert "'heart' is no shape" in error and "region 2 was left out: KeyError" in error
    assert "gone.jpg is in none" in error and "../via is in none" in error
    assert equal(read_back(tmp_path / "out")["a.jpg"][0], [RECT_MASK])
    assert via(document("2", {"a.jpg": regions[2:], "gone.jpg": regions}), "--skip-missing") == 0
    assert "1 pictures are not in" in capsys.readouterr().err
    (tmp_path / "more").write_text(document("2", {"a.jpg": [region("rect", {**RECT, "x": 9})]}))
    for more, rc in (("via", 0), ("more", 1)):
        assert via(document("1", {"a.jpg": regions[2:]}), "--annotations", tmp_path / "via", tmp_path / more) == rc
    assert "more lists a.jpg again with other regions" in capsys.readouterr().err
    assert equal(read_back(tmp_path / "out")["a.jpg"][0], [RECT_MASK])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": 3}', '{"a": {"filename": "a.jpg"}}', "a,b\n1,2\n", "\x00",
                                  '{"project": {}, "config": {}}'])
def test_files_of_others(tmp_path, via, capsys, text):
    assert via(text) in (1, 2)
    error = capsys.readouterr().err
    assert str(tmp_path / "via") in error and error.count("\n") == 1


# ------------------------------------------------------------------------------------------------ YOLO

BOX = rectangle(6, 17, 5, 26)  # both corner pixels are drawn
LINE = "{} 0.0859375 0.1354166 0.3984375 0.1354166 0.3984375 0.3437500 0.0859375 0.3437500"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    for name in ("labels/train", "labels/val", "images/train", "images/val"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "images/train/a.jpg").write_bytes(photo(1))
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, 'кот']\nnc: 2\n", encoding="utf-8-sig")
    return tmp_path


def convert_yolo(home: Path, *options) -> int:
    return convert_to(home / "out", "yolo", "--labels", home / "labels", "--images", home / "images", *options)


def test_yolo_is_drawn_as_ultralytics_draws_and_lines_are_lost_alone(yolo, capsys):
    lines = [LINE.format(1), "0 0.5 0.5 0.2 0.2", "x 1 2", LINE.format(0) + " 0.5", "0 nan 0 1 0 1 1", "",
             LINE.format(7)]
    (yolo / "labels/train/a.txt").write_text("\n".join(lines))
    (yolo / "labels/train/other.txt").write_text("")
    assert convert_yolo(yolo) == 1
    said = capsys.readouterr()
    assert "1 annotations have a box and no outline" in said.out and said.err.count("failed: train/a.jpg: line") == 3
    assert "1 files belong to no picture" in said.err
    assert equal(read_back(yolo / "out")["train/a.jpg"][0], [BOX, BOX])
    assert entries(yolo / "out")[0]["categories"] == ["кот", "7"]


def test_yolo_pairs_within_subfolders_and_never_one_file_for_two_pictures(yolo, capsys):
    for name in ("images/val/a.jpg", "images/val/b.jpg", "images/val/b.png"):
        (yolo / name).write_bytes(photo(2, suffix=name[-4:]))
    (yolo / "labels/val/b.txt").write_text(LINE.format(0))
    (yolo / "labels/train/a.txt").write_text(LINE.format(0))
    assert convert_yolo(yolo) == 1
    assert "b.txt fits b.jpg, b.png" in capsys.readouterr().err and set(read_back(yolo / "out")) == {"train/a.jpg"}
    (yolo / "data.yaml").unlink()
    assert convert_yolo(yolo) == 2
    assert "--names" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["names: [a, 'b c', \"d\"]\n", "nc: 3\nnames:\n- a\n- b c\n- d\nkpt: 1\n",
                                  "names:\n  0: a\n  2: d\n  1: 'b c'\n", "names: [a,\n  'b c', d]\n"])
def test_classes_of_a_data_yaml(text):
    assert yaml_names(text) == ("a", "b c", "d")


# ------------------------------------------------------------------------------------------------ VOC


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    for name in ("JPEGImages", "SegmentationObject", "SegmentationClass"):
        (tmp_path / name).mkdir()
    for name in ("a", "boxes only"):
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(photo(1))
    return tmp_path


def write_maps(home: Path, classes: np.ndarray) -> None:
    objects = np.zeros(SIZE, np.uint8)
    objects[BOX], objects[40:], objects[30:32] = 1, 2, 255
    for folder, values in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        image = Image.fromarray(values)
        if values.ndim == 2:
            image.putpalette(np.random.default_rng(0).integers(0, 9, 768).tolist())
        image.save(home / folder / "a.png")


@pytest.mark.parametrize("stored", ["numbers", "numbers and labelmap", "colours and labelmap"])
def test_voc_maps(voc, capsys, stored):
    classes = np.zeros(SIZE, np.uint8)
    classes[BOX], classes[40:], classes[30:32] = 8, 15, 255
    names = ["cat", "person"]
    if stored != "numbers":
        names = ["кот", "x:y"]
        classes[BOX], classes[40:] = 1, 2
        (voc / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nкот:128,0,0::\n"
                                          "x:y:0,128,0::\n", encoding="utf-8")
    if stored.startswith("colours"):
        palette = np.zeros((256, 3), np.uint8)
        palette[1], palette[2], palette[255] = (128, 0, 0), (0, 128, 0), (224, 224, 192)
        classes = palette[classes]
    write_maps(voc, classes)
    assert convert_to(voc / "out", "voc", "--folder", voc) == 0
    assert "1 pictures have no segmentation and were left out" in capsys.readouterr().err
    assert equal(read_back(voc / "out")["a.jpg"][0], [BOX, rectangle(40, 48, 0, 64)])
    assert entries(voc / "out")[0]["categories"] == names


def test_voc_folders_and_maps_that_are_missing(voc, capsys):
    assert convert_to(voc / "out", "voc", "--folder", voc) == 2
    write_maps(voc, np.ones((9, 9), np.uint8))
    cv2.imwrite(str(voc / "SegmentationObject/boxes only.png"), np.ones(SIZE, np.uint8))
    assert convert_to(voc / "out", "voc", "--folder", voc) == 1
    said = capsys.readouterr().err
    assert "differ in size" in said and "has only one of its two maps" in said
    (voc / "SegmentationClass").rename(voc / "gone")
    assert convert_to(voc / "out", "voc", "--folder", voc) == 2
    assert "no SegmentationClass" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("kind", ["labelme", "via"])
def test_shapes_lie_on_the_picture_as_viewers_show_it(tmp_path, kind, orientation, capsys):
    mask = h.redness(h.red_photo(tmp_path / "l/p.jpg", orientation))
    labelme(tmp_path / "l", "p", [shape("red", corners(5, 30, 3, 20))])
    red = region("rect", {"x": 3, "y": 5, "width": 17, "height": 25})
    (tmp_path / "via").write_text(document("2", {"p.jpg": [red]}))
    call = ["--labels", tmp_path / "l"] if kind == "labelme" else [
        "--annotations", tmp_path / "via", "--images", tmp_path / "l"]
    assert convert_to(tmp_path / "out", kind, *call) == 0
    ((source, (objects, _, _)),) = read_back(tmp_path / "out").items()
    assert equal(objects, [mask]) and iou(h.redness(h.picture_of(tmp_path / "out", source)), mask) > 0.9
    assert "--frame" not in capsys.readouterr().out, "the format leaves nothing open"


SQUARE = corners(5, 20, 5, 20)
VALID: dict[str, Any] = {
    "coco": coco([1], [(1, 1, h.run_lengths(rectangle(3, 9, 3, 9)), {}), (1, 1, [sum(SQUARE, [])], {})]),
    "labelme": {"shapes": [{**CAT, "mask": "AAAA"}, shape("a", SQUARE[:2], "circle")], "imagePath": "a.jpg",
                "imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]},
    "via": json.loads(document("2 project", {"a.jpg": [region("rect", RECT, name="a")]})),
}
CALLS = {"coco": ["--instances", "{}/x.json", "--images", "{}"], "labelme": ["--labels", "{}"],
         "via": ["--annotations", "{}/x.json", "--images", "{}"]}
VALUES = st.sampled_from([None, True, -1, 0, 1.5, 2**70, float("nan"), float("inf"), "", "a", "../a.jpg", "\ud800", [],
                          {}, [[]], [None], [1, 2, 3], {"a": 1}, {"counts": [1], "size": [1, 1]}, "x" * 300])
NAMES = {"coco": ("images", 0, "file_name"), "labelme": ("imagePath",),
         "via": ("_via_img_metadata", "a.jpg99", "filename")}


def places(value: Any, at: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


def replaced(content: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    content = inner = copy.deepcopy(content)
    for key in place[:-1]:
        inner = inner[key]
    if value == "a" and isinstance(inner, dict):
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


@pytest.mark.parametrize("kind", VALID)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_may_be_anything(tmp_path_factory, capsys, kind, data):
    """Sentences and an exit status, never a traceback."""
    home = tmp_path_factory.mktemp("fuzz")
    for name in ("a.jpg", "000000000001.jpg"):
        (home / name).write_bytes(photo(1))
    place = data.draw(st.just(NAMES[kind]) | st.sampled_from(places(VALID[kind])))
    content = replaced(VALID[kind], place, data.draw(VALUES))
    (home / "x.json").write_text(json.dumps(content), encoding="utf-8")
    assert convert_to(home / "out", kind, *(part.format(home) for part in CALLS[kind])) in (0, 1, 2)
    assert capsys.readouterr().err.count("Traceback") == 0


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(st.sampled_from("0123456789.e- \n\tnaif,"), max_size=60), content=st.binary(max_size=200),
       where=st.sampled_from(["masks", "images"]))
def test_any_label_file_mask_or_photo(tmp_path_factory, text, content, where):
    home, png = tmp_path_factory.mktemp("fuzz"), photo(1, suffix=".png")
    for name in ("masks", "images", "labels"):
        (home / name).mkdir()
    for name in ("masks", "images"):
        (home / name / "a.png").write_bytes(png if name != where else png[: len(content)] + content)
    (home / "images/b.jpg").write_bytes(photo(1))
    (home / "labels/b.txt").write_text(text)
    (home / "labels/data.yaml").write_text("names: [a]")
    for call in (["folder", "--masks", home / "masks", "--binary", "127", "--skip-missing"],
                 ["yolo", "--labels", home / "labels"]):
        assert convert_to(home / call[0], *call, "--images", home / "images") in (0, 1, 2)
