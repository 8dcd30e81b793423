"""Files of the VGG Image Annotator: every shape of versions 1 and 2, JSON and CSV, names and classes."""
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from prepare_helpers import (
    SIZE,
    convert_to,
    entries,
    equal,
    iou,
    photo,
    picture_of,
    read_back,
    rectangle,
    redness,
    turned_photo,
)

# pycocotools 2.0.11 meets numpy 2.4 with a warning of its own
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Y, X = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
TURN = 0.5  # radians, clockwise
ALONG, ACROSS = (X - 30) * np.cos(TURN) + (Y - 24) * np.sin(TURN), (Y - 24) * np.cos(TURN) - (X - 30) * np.sin(TURN)
SHAPES = {
    "rect": ({"x": 5, "y": 6, "width": 20, "height": 10}, rectangle(6, 16, 5, 25)),
    "polygon": ({"all_points_x": [5, 25, 25, 5, 5], "all_points_y": [6, 6, 16, 16, 6]}, rectangle(6, 16, 5, 25)),
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


def convert(home: Path, text: str, *options, mark: bool = False) -> int:
    (home / "imgs").mkdir(exist_ok=True)
    (home / "via").write_text(text, encoding="utf-8-sig" if mark else "utf-8")
    return convert_to(home / "out", "via", "--annotations", home / "via", "--images", home / "imgs", *options)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "imgs").mkdir()
    for number, name in enumerate(("a.jpg", "b.png")):
        (tmp_path / "imgs" / name).write_bytes(photo(number, suffix=name[1:]))
    return tmp_path


@pytest.mark.parametrize("version", ["1", "2", "2 project", "csv 1", "csv 2"])
@pytest.mark.parametrize("mark", [False, True])
def test_every_shape_of_every_version(home, capsys, version, mark):
    regions = [region(kind, attributes, name=kind) for kind, (attributes, _) in SHAPES.items()]
    assert convert(home, document(version, {"a.jpg": regions, "b.png": []}), mark=mark) == 0
    ((objects, _, _),) = read_back(home / "out").values()
    expected = {kind: mask for kind, (_, mask) in SHAPES.items() if mask is not None}
    assert entries(home / "out")[-1]["categories"] == list(expected) or entries(home / "out")[0]["categories"]
    for found, (kind, mask) in zip(objects, expected.items(), strict=True):
        assert np.array_equal(found, mask) if kind in ("rect", "polygon") else iou(found, mask) > 0.95, kind
    said = capsys.readouterr().out
    assert "2 points and lines" in said and "1 photos without any were left out" in said


@pytest.mark.parametrize("value, name", [
    ("dolphin", "dolphin"), ({"fin": True, "tail": True, "eye": False}, "fin+tail"), ("", "object")])
def test_classes(home, value, name):
    assert convert(home, document("2", {"a.jpg": [region("rect", SHAPES["rect"][0], thing=value)]})) == 0
    assert [entry["categories"] for entry in entries(home / "out")] == [[name]]


def test_of_several_attributes_one_must_be_named(home, capsys):
    text = document("2", {"a.jpg": [region("rect", SHAPES["rect"][0], species="x", blurred="no")]})
    assert convert(home, text) == 2
    assert "--attribute: species, blurred" in capsys.readouterr().err
    assert convert(home, text, "--attribute", "kind") == 2
    assert convert(home, text, "--attribute", "species", "--stuff", "x") == 0
    assert equal(read_back(home / "out")["a.jpg"][1], [SHAPES["rect"][1]])


def test_what_can_not_be_drawn_or_found_is_named_and_lost_alone(home, capsys):
    regions = [region("heart", {}), region("rect", {"x": 1}), region("rect", SHAPES["rect"][0])]
    pictures = {"a.jpg": regions, "gone.jpg": regions, "../via": regions}
    assert convert(home, document("2", pictures)) == 1
    error = capsys.readouterr().err
    assert "'heart' is no shape" in error and "region 2 was left out: KeyError" in error
    assert "gone.jpg is in none" in error and "../via is in none" in error
    assert equal(read_back(home / "out")["a.jpg"][0], [SHAPES["rect"][1]])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": 3}', '{"a": {"filename": "a.jpg"}}', "a,b\n1,2\n", "\x00",
                                  '{"project": {}, "config": {}}'])
def test_files_of_others(home, capsys, text):
    assert convert(home, text) in (1, 2)
    error = capsys.readouterr().err
    assert str(home / "via") in error and error.count("\n") == 1


def test_regions_lie_on_the_picture_as_browsers_show_it(tmp_path):
    upright = np.full((*SIZE, 3), 220, np.uint8)
    upright[6:16, 5:25] = (255, 0, 0)
    (tmp_path / "imgs").mkdir()
    turned_photo(tmp_path / "imgs/a.jpg", upright, 6)
    assert convert(tmp_path, document("2", {"a.jpg": [region("rect", SHAPES["rect"][0])]})) == 0
    assert iou(redness(picture_of(tmp_path / "out", "a.jpg")), rectangle(6, 16, 5, 25)) > 0.9
