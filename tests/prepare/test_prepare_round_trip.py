"""Random annotation projects, exported by the page's formats and taken in again: the same pixels, names and frames."""
import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from prepare_helpers import SUFFIXES, convert_to, entries, iou, picture_of, read_back, turned_photo

from utils.annotate.__main__ import main as annotate

# pycocotools 2.0.11 meets numpy 2.4 with a warning of its own
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ["a", "фото 1", "x.y", "写真", "it's", "a#b", "7"]
LABELS = ["cat", "кот", "a b", "x:y"]
KINDS = {  # format: how it is taken in again, and whether labels come along
    "coco": (["coco", "--instances", "{to}/instances.json", "--images", "{images}"], True),
    "labelme": (["labelme", "--labels", "{to}"], True),
    "png": (["folder", "--images", "{images}", "--masks", "{to}/instances"], False),
    "voc": (["voc", "--folder", "{to}"], True),
}


@st.composite
def pictures(draw) -> list[dict]:
    """Pictures of one to three objects that don't overlap, of any shape: holes, parts, lines of one pixel, borders."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    result = []
    for name in names:
        size = draw(st.tuples(st.integers(8, 14), st.integers(8, 14)))
        owners = draw(arrays(np.uint8, size, elements=st.integers(0, 3), fill=st.just(0)))
        if draw(st.booleans()):  # blocks in place of noise
            owners = cv2.resize(owners[::3, ::3], size[::-1], interpolation=cv2.INTER_NEAREST)
        owners[draw(st.integers(0, size[0] - 1))] = 1
        masks = [owners == value for value in (1, 2, 3) if (owners == value).any()]
        result.append({"name": name + draw(st.sampled_from(sorted(SUFFIXES))), "size": size, "masks": masks,
                       "orientation": draw(st.integers(1, 8)),
                       "labels": [draw(st.sampled_from(LABELS)) for _ in masks]})
    return result


def upright_photo(size: tuple[int, int]) -> np.ndarray:
    """Of four colours, so that every turn is seen."""
    image = np.full((*size, 3), (230, 30, 30), np.uint8)
    middle_y, middle_x = size[0] // 2, size[1] // 2
    image[:middle_y, middle_x:], image[middle_y:, :middle_x], image[middle_y:, middle_x:] = 250, (30, 200, 30), 10
    return image


def write_project(home: Path, wanted: list[dict]) -> None:
    """A project as the page leaves it on the disk."""
    (home / "images").mkdir(parents=True)
    (home / "project/sessions").mkdir(parents=True)
    labels = [{"name": name, "colour": "#56b4e9"} for name in LABELS]
    settings = {"format": "click annotation project 1", "images": str(home / "images"), "labels": labels}
    (home / "project/project.json").write_text(json.dumps(settings))
    for each in wanted:
        name, (height, width) = each["name"], each["size"]
        turned_photo(home / "images" / name, upright_photo(each["size"]), each["orientation"])
        (home / "project/masks" / name).mkdir(parents=True)
        steps = []
        for mask, label in zip(each["masks"], each["labels"], strict=True):
            png = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
            file = f"{hashlib.sha256(png).hexdigest()[:20]}.png"
            (home / "project/masks" / name / file).write_bytes(png)
            steps += [{"op": "region", "adds": True, "points": [[0, 0], [0, 1], [1, 1]], "label": label, "settings": {},
                       "mask": file, "edits": None}, {"op": "finish"}]
        session = {"format": "click annotations 1", "picture": name, "width": width, "height": height,
                   "checkpoint": None, "revision": len(steps), "position": len(steps), "steps": steps}
        (home / "project/sessions" / f"{name}.json").write_text(json.dumps(session))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(wanted=pictures())
def test_what_was_annotated_comes_back(tmp_path_factory, kind, wanted):
    home = tmp_path_factory.mktemp("project")
    write_project(home, wanted)
    to = home / "to"
    assert annotate(["export", str(home / "project"), "--format", kind, "--to", str(to)]) == 0
    call, has_labels = KINDS[kind]
    paths = [part.format(to=to, images=home / "images") for part in call]
    assert convert_to(home / "out", *paths, "--split", "train") == 0
    back = read_back(home / "out")
    labels = {entry["source"]: entry["categories"] for entry in entries(home / "out")}
    assert len(back) == len(wanted)
    for each in wanted:
        source = each["name"] if each["name"] in back else f"{Path(each['name']).stem}.json"
        found = Counter(zip(labels[source] if has_labels else each["labels"], map(np.ndarray.tobytes, back[source][0]),
                            strict=True))
        expected = Counter(zip(each["labels"], (mask.tobytes() for mask in each["masks"]), strict=True))
        assert found == expected
        written = picture_of(home / "out", source)
        assert np.abs(written.astype(int) - upright_photo(each["size"])).mean() < 40, "it is the right way up"


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_yolo_comes_back_but_for_its_seams(tmp_path, orientation):
    """YOLO has one polygon a line: parts of an object may come back as several."""
    y, x = np.mgrid[:60, :80]
    disc, squares = (y - 25) ** 2 + (x - 25) ** 2 < 400, np.zeros((60, 80), bool)
    squares[5:20, 55:75] = squares[30:50, 50:70] = True
    masks = {"cat": disc & ((y - 25) ** 2 + (x - 25) ** 2 > 60), "кот": squares}
    write_project(tmp_path, [{"name": "фото.png", "size": (60, 80), "orientation": orientation,
                              "masks": list(masks.values()), "labels": list(masks)}])
    assert annotate(["export", str(tmp_path / "project"), "--format", "yolo", "--to", str(tmp_path / "to")]) == 0
    call = ["yolo", "--labels", tmp_path / "to/labels", "--images", tmp_path / "to/images"]
    assert convert_to(tmp_path / "out", *call) == 0
    ((found, _, _),) = read_back(tmp_path / "out").values()
    names = entries(tmp_path / "out")[0]["categories"]
    for label, mask in masks.items():
        whole = np.logical_or.reduce([part for part, name in zip(found, names, strict=True) if name == label])
        assert iou(whole, mask) >= 0.99
    assert np.abs(picture_of(tmp_path / "out", "фото.png").astype(int) - upright_photo((60, 80))).mean() < 20
