"""Annotation files of which any value is replaced by another: sentences and an exit status, never a traceback."""
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prepare_helpers import SIZE, coco, convert_to, photo, rectangle, run_lengths

# pycocotools 2.0.11 meets numpy 2.4 with a warning of its own
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SQUARE = [[5, 5], [20, 5], [20, 20], [5, 20]]
SHAPE = {"label": "a", "points": SQUARE, "shape_type": "polygon", "group_id": 1, "mask": "AAAA"}
REGION = {"shape_attributes": {"name": "rect", "x": 5, "y": 6, "width": 20, "height": 10},
          "region_attributes": {"name": "a"}}
VALID: dict[str, Any] = {
    "coco": coco([1], [(1, 1, run_lengths(rectangle(3, 9, 3, 9)), {}), (1, 1, [sum(SQUARE, [])], {})]),
    "labelme": {"shapes": [SHAPE, {**SHAPE, "shape_type": "circle", "points": SQUARE[:2]}], "imagePath": "a.jpg",
                "imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]},
    "via": {"_via_img_metadata": {"a": {"filename": "a.jpg", "size": 1, "regions": [REGION], "file_attributes": {}}}},
}
CALLS = {"coco": ["--instances", "{}/x.json", "--images", "{}"], "labelme": ["--labels", "{}"],
         "via": ["--annotations", "{}/x.json", "--images", "{}"]}
VALUES = st.sampled_from([None, True, -1, 0, 1.5, 2**70, float("nan"), float("inf"), "", "a", "../a.jpg", "\ud800", [],
                          {}, [[]], [None], [1, 2, 3], {"a": 1}, {"counts": [1], "size": [1, 1]}, "x" * 300])
NAMES = {"coco": ("images", 0, "file_name"), "labelme": ("imagePath",), "via": ("_via_img_metadata", "a", "filename")}


def places(value: Any, at: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


def replaced(content: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    if value == "a" and isinstance(inner, dict):
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


@pytest.mark.parametrize("kind", VALID)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_may_be_anything(tmp_path_factory, capsys, kind, data):
    home = tmp_path_factory.mktemp("fuzz")
    for name in ("a.jpg", "000000000001.jpg"):
        (home / name).write_bytes(photo(1))
    place = data.draw(st.just(NAMES[kind]) | st.sampled_from(places(VALID[kind])))
    content = replaced(VALID[kind], place, data.draw(VALUES))
    (home / "x.json").write_text(json.dumps(content), encoding="utf-8")
    assert convert_to(home / "out", kind, *(part.format(home) for part in CALLS[kind])) in (0, 1, 2)
    assert capsys.readouterr().err.count("Traceback") == 0


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.sampled_from("0123456789.e- \n\tnaif,"), max_size=60))
def test_any_label_file(tmp_path_factory, text):
    home = tmp_path_factory.mktemp("fuzz")
    for name in ("labels", "images"):
        (home / name).mkdir()
    (home / "images/a.jpg").write_bytes(photo(1))
    (home / "labels/a.txt").write_text(text)
    (home / "labels/data.yaml").write_text("names: [a]")
    call = ["--labels", home / "labels", "--images", home / "images"]
    assert convert_to(home / "out", "yolo", *call) in (0, 1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200), st.sampled_from(["masks", "images"]))
def test_any_bytes_as_mask_or_photo(tmp_path_factory, content, where):
    home: Path = tmp_path_factory.mktemp("fuzz")
    png = photo(1, suffix=".png")
    for name in ("masks", "images"):
        (home / name).mkdir()
        (home / name / "a.png").write_bytes(png if name != where else png[: len(content)] + content)
    call = ["--images", home / "images", "--masks", home / "masks", "--binary", "127"]
    assert convert_to(home / "out", "folder", *call) in (0, 1)
