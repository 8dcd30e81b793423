"""YOLO's labels and VOC's maps: classes in every spelling, what is left out, what is lost alone."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from prepare_helpers import SIZE, convert_to, entries, equal, photo, read_back, rectangle

from utils.formats.yolo import yaml_names

BOX = rectangle(6, 17, 5, 26)  # both corner pixels are drawn
LINE = "{} 0.0859375 0.1354166 0.3984375 0.1354166 0.3984375 0.3437500 0.0859375 0.3437500"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    for name in ("labels/train", "images/train"):
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
    (yolo / "images/val").mkdir()
    (yolo / "labels/val").mkdir()
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
    assert convert_to(voc / "out", "voc", "--folder", voc) == 1
    assert "differ in size" in capsys.readouterr().err
    cv2.imwrite(str(voc / "SegmentationObject/boxes only.png"), np.ones(SIZE, np.uint8))
    assert convert_to(voc / "out", "voc", "--folder", voc) == 1
    assert "has only one of its two maps" in capsys.readouterr().err
    (voc / "SegmentationClass").rename(voc / "gone")
    assert convert_to(voc / "out", "voc", "--folder", voc) == 2
    assert "no SegmentationClass" in capsys.readouterr().err
