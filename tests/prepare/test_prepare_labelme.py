"""Files of labelme to COCO_LVIS: every shape, pictures wherever the files say they are, what is lost alone."""
import base64
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from prepare_helpers import (
    SIZE,
    convert_to,
    equal,
    iou,
    photo,
    picture_of,
    read_back,
    rectangle,
    redness,
    turned_photo,
    write_json,
    write_photos,
)

# pycocotools 2.0.11 meets numpy 2.4 with a warning of its own
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def shape(label: str, points, kind: str = "polygon", **more) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def labelme(folder: Path, name: str, shapes: list[dict], **more) -> Path:
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None,
               "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}
    return write_json(folder / f"{name}.json", content)


def convert(tmp_path: Path, labels: Path, *options) -> int:
    return convert_to(tmp_path / "out", "labelme", "--labels", labels, *options)


def corners(top: int, bottom: int, left: int, right: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def test_labelme_shapes(tmp_path, photos, capsys):
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
        shape("turned", corners(2, 6, 2, 9), "rotation", direction=0.3),
        shape("__ignore__", corners(0, 9, 0, 9)),
    ])  # fmt: skip
    assert convert(tmp_path, photos, "--stuff", "sky") == 0
    objects, stuff, _ = read_back(tmp_path / "out")["000000000001.json"]
    together = rectangle(5, 20, 5, 20) | rectangle(30, 40, 5, 20)
    assert equal(objects, [together, rectangle(30, 40, 30, 40), rectangle(20, 45, 50, 60), hat, rectangle(2, 6, 2, 9)])
    assert equal(stuff, [rectangle(40, 48, 0, 64)])
    assert "1 points and lines, which have no area, were left out" in capsys.readouterr().out


def test_labelme_circle(tmp_path, photos):
    labelme(photos, "000000000001", [shape("ball", [[30, 20], [40, 20]], "circle")])
    assert convert(tmp_path, photos) == 0
    ((ball,), _, _), = read_back(tmp_path / "out").values()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    disk = (y - 20) ** 2 + (x - 30) ** 2 <= 100
    assert (ball ^ disk).sum() <= 0.06 * disk.sum() and ball[20, 30]


def test_labelme_photo_in_another_folder_or_in_the_file(tmp_path, photos, capsys):
    labels = tmp_path / "labels"
    (labels / "in").mkdir(parents=True)
    cat = [shape("cat", corners(5, 20, 5, 20))]
    labelme(labels, "1", cat, imagePath="..\\elsewhere\\000000000001.jpg")
    labelme(labels / "in", "2", cat, imagePath="gone.png", imageData=base64.b64encode(photo(2, suffix=".png")).decode())
    assert convert(tmp_path, labels) == 1
    assert "its picture '../elsewhere/000000000001.jpg' is not there; name its folder" in capsys.readouterr().err
    assert convert(tmp_path, labels, "--images", photos) == 0
    back = read_back(tmp_path / "out")
    assert set(back) == {"1.json", "in/2.json"}
    assert all(equal(objects, [rectangle(5, 20, 5, 20)]) for objects, _, _ in back.values())


@pytest.mark.parametrize("image_path", ["../photos/000000000001.jpg", "..\\photos\\000000000001.jpg", "absolute",
                                        "C:\\somewhere\\beside.jpg"])
def test_the_picture_is_found_by_the_path_that_the_file_holds_or_beside_it(tmp_path, photos, image_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/beside.jpg").write_bytes(photo(1))
    path = str(photos / "000000000001.jpg") if image_path == "absolute" else image_path
    labelme(tmp_path / "labels", "x", [shape("cat", corners(5, 20, 5, 20))], imagePath=path)
    assert convert(tmp_path, tmp_path / "labels") == 0
    assert np.array_equal(picture_of(tmp_path / "out", "x.json"), cv2.imdecode(np.frombuffer(photo(1), np.uint8), 1)
                          [:, :, ::-1])


def test_two_files_that_annotate_one_picture(tmp_path, photos, capsys):
    for name in ("one", "two"):
        labelme(photos, name, [shape("cat", corners(5, 20, 5, 20))], imagePath="000000000001.jpg")
    assert convert(tmp_path, photos) == 1
    assert "two.json annotates" in capsys.readouterr().err and set(read_back(tmp_path / "out")) == {"one.json"}


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_shapes_lie_on_the_picture_as_viewers_show_it(tmp_path, orientation, capsys):
    upright = np.full((*SIZE, 3), 220, np.uint8)
    upright[5:30, 3:20] = (255, 0, 0)
    (tmp_path / "l").mkdir()
    turned_photo(tmp_path / "l/p.jpg", upright, orientation)
    labelme(tmp_path / "l", "p", [shape("red", corners(5, 30, 3, 20))])
    assert convert(tmp_path, tmp_path / "l") == 0
    assert iou(redness(picture_of(tmp_path / "out", "p.json")), rectangle(5, 30, 3, 20)) > 0.9
    assert "--frame" not in capsys.readouterr().out, "labelme leaves nothing open"


@pytest.mark.parametrize("wrong, reason", [
    ({"label": "x"}, "KeyError: 'points'"), ("x", "TypeError"), (shape("x", [[1, 2]], "polygon"), "three points"),
    (shape("x", [[1, 2]], "heart"), "'heart' is no shape"), (shape("x", [[1, 2], ["a", 3]]), "shape 1 was left out"),
    (shape("x", [[1, 1], [2, 2]], "mask", mask="!"), "not base64"),
    (shape("x", [[60, 1], [70, 2]], "mask", mask=base64.b64encode(photo(1, (5, 9), ".png")).decode()), "leaves")])
def test_a_shape_that_can_not_be_drawn_is_named_and_lost_alone(tmp_path, photos, capsys, wrong, reason):
    path = labelme(photos, "000000000001", [wrong, shape("cat", corners(5, 20, 5, 20))])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert convert(tmp_path, photos) == 1
    error = capsys.readouterr().err
    assert reason in error and "000000000001.json" in error
    assert equal(read_back(tmp_path / "out")["000000000001.json"][0], [rectangle(5, 20, 5, 20)])


def test_broken_files_and_none(tmp_path, photos, capsys):
    assert convert(tmp_path, photos) == 2
    assert "holds no JSON files" in capsys.readouterr().err
    labelme(photos, "000000000001", "x")
    labelme(photos, "000000000002", [shape("cat", corners(5, 20, 5, 20))])
    (photos / "torn.json").write_text('{"shapes": [')
    assert convert(tmp_path, photos) == 1
    error = capsys.readouterr().err
    assert "no list of shapes" in error and "torn.json" in error
    assert set(read_back(tmp_path / "out")) == {"000000000002.json"}


def test_the_path_in_a_file_opens_pictures_alone(tmp_path, photos, capsys):
    os.mkfifo(photos / "pipe.jpg")
    labelme(photos, "x", [shape("cat", corners(5, 20, 5, 20))], imagePath="/etc/passwd")
    labelme(photos, "y", [shape("cat", corners(5, 20, 5, 20))], imagePath="pipe.jpg")
    assert convert(tmp_path, photos) == 1
    assert capsys.readouterr().err.count("is not there") == 2
