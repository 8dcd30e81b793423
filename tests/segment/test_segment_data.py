"""Folders of every kind as samples: what is the object, what is ignored, what is refused, what is held out."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from segment_helpers import SCENES, write

from utils.files import UserError
from utils.segment import data as formats
from utils.segment.data import Crop, mask_of, open_data
from utils.segment.segmentation import IGNORED, Sample, SegmentationError, find_samples, split_samples

Error = (UserError, SegmentationError)
COCO_IDS = ("000000000009", "000000000025", "000000000030")  # of the fixture coco_lvis
BOXES = ((10, 60, 10, 60), (20, 40, 20, 40), (10, 50, 70, 120))  # top, bottom, left, right of its objects


def test_imgs_and_masks(scenes):
    samples = open_data(scenes)
    assert [sample.name for sample in samples] == sorted(SCENES)
    for sample in (*samples, *find_samples(scenes)):
        photo, mask = sample.read()
        truth = cv2.imread(str(scenes / "masks" / f"{sample.name}.png"), cv2.IMREAD_GRAYSCALE)
        assert photo.shape[:2] == mask.shape == sample.shape() and photo.dtype == mask.dtype == np.uint8
        assert np.array_equal(mask, truth > 127)


def test_masks_may_carry_the_photo_s_whole_name_and_hidden_files_are_none(scenes):
    (scenes / "masks" / "mug.png").rename(scenes / "masks" / "mug.jpg.png")
    (scenes / "imgs" / "._mug.jpg").write_bytes(b"of another system")
    assert {sample.name: sample.mask.name for sample in open_data(scenes)}["mug"] == "mug.jpg.png"
    assert len(open_data(scenes)) == len(SCENES)


def test_birds_lie_in_classes_and_their_masks_are_votes(tmp_path):
    for kind, name in (("001.A", "x"), ("001.A", "y"), ("002.B", "x")):
        write(tmp_path / "train" / "images" / kind / f"{name}.jpg", np.zeros((4, 6, 3), np.uint8))
        row = np.array([[0, 51, 102, 153, 204, 255]] * 4, np.uint8)
        write(tmp_path / "train" / "gt" / kind / f"{name}.png", row)
    samples = open_data(tmp_path)
    assert [sample.name for sample in samples] == ["001.A/x", "001.A/y", "002.B/x"]
    assert samples[0].read()[1][0].tolist() == [0, 0, 0, 1, 1, 1]
    assert [sample.name for sample in open_data(tmp_path / "train")] == [sample.name for sample in samples]


@pytest.mark.parametrize("values,expected", [
    ([0, 255, 255, 0], [0, 1, 1, 0]), ([0, 1, 1, 0], [0, 1, 1, 0]), ([0, 3, 7, 255], [0, 1, 1, IGNORED]),
    ([0, 0, 0, 0], [0, 0, 0, 0]),
])
def test_label_maps_are_objects_and_void(values, expected):
    assert mask_of(np.array([values] * 9, np.int32).repeat(8, axis=1))[0, ::8].tolist() == expected


def test_soft_masks_count_from_the_middle_on():
    disk = cv2.circle(np.zeros((60, 60), np.uint8), (30, 30), 18, 255, -1)
    soft = cv2.GaussianBlur(disk, (0, 0), 2)
    assert np.array_equal(mask_of(soft.astype(np.int32)), soft > 127)


def test_a_turned_photo_lies_under_its_mask(tmp_path):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:5, :10] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("imgs", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.rot90(upright)).save(tmp_path / "imgs" / "a.png", exif=exif)
    write(tmp_path / "masks" / "a.png", upright[..., 0])
    photo, mask = open_data(tmp_path)[0].read()
    assert open_data(tmp_path)[0].shape() == (20, 30) and np.array_equal(photo[..., 0] > 127, mask == 1)
    assert Sample("a", tmp_path / "imgs" / "a.png", tmp_path / "masks" / "a.png").shape() == (20, 30)


# ---------------------------------------------------------------------------------------------- COCO_LVIS


def write_journal(split: Path, categories: list[str]) -> None:
    lines = [{"format": 1}, *({"id": image_id, "categories": categories} for image_id in COCO_IDS)]
    (split / "objects.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def drawn(*numbers: int) -> np.ndarray:
    mask = np.zeros((96, 128), np.uint8)
    for top, bottom, left, right in (BOXES[number] for number in numbers):
        mask[top:bottom, left:right] = 1
    return mask


def test_coco_lvis_by_label(coco_lvis):
    everything = open_data(coco_lvis)
    assert len(everything) == 3 and np.array_equal(everything[0].read()[1], drawn(0, 1, 2))  # 3 is stuff
    with pytest.raises(UserError, match="objects.jsonl"):
        open_data(coco_lvis, ["cat"])
    write_journal(coco_lvis / "train", ["dog", "ear", "cat", "cat"])
    cats = open_data(coco_lvis, ["cat"])
    assert [sample.name for sample in cats] == sorted(COCO_IDS) and np.array_equal(cats[0].read()[1], drawn(2))
    assert cats[0].shape() == (96, 128)
    assert np.array_equal(open_data(coco_lvis / "train", ["cat", "ear"])[0].read()[1], drawn(1, 2))
    with pytest.raises(UserError, match="no objects of the label bird; it has cat, dog, ear"):
        open_data(coco_lvis, ["bird"])
    with pytest.raises(UserError, match="no split val; choose one of train"):
        open_data(coco_lvis, split="val")


def test_photos_with_further_objects_count_around_the_known_ones_only(coco_lvis):
    photo = {"split": "train", "categories": ["dog", "ear", "cat", "grass"]}
    subset = {image_id: {**photo, "complete": image_id == COCO_IDS[0]} for image_id in COCO_IDS}
    (coco_lvis / "subset.json").write_text(json.dumps(subset), encoding="utf-8")
    whole, part = (sample.read()[1] for sample in open_data(coco_lvis, ["cat"])[:2])
    assert np.array_equal(whole, drawn(2))
    known = np.zeros((96, 128), bool)
    known[:60, 58:] = True  # a quarter of the box's sides around it
    assert np.array_equal(part == IGNORED, ~known) and np.array_equal(part == 1, drawn(2) == 1)


def test_photos_without_the_label_come_as_a_part_of_the_others_if_all_on_them_is_known(coco_lvis):
    kinds = (("cat", True), ("dog", True), ("dog", False))
    subset = {image_id: {"split": "train", "categories": [name] * 4, "complete": is_complete}
              for image_id, (name, is_complete) in zip(COCO_IDS, kinds, strict=True)}
    (coco_lvis / "subset.json").write_text(json.dumps(subset), encoding="utf-8")
    assert [sample.name for sample in open_data(coco_lvis, ["cat"])] == list(COCO_IDS[:1])
    samples = open_data(coco_lvis, ["cat"], negatives=3)
    assert [sample.name for sample in samples] == list(COCO_IDS[:2]) and not samples[1].read()[1].any()
    assert len(open_data(coco_lvis, ["cat"], negatives=0.9)) == 1


@pytest.mark.parametrize("scale,top,inside", [(formats.WHOLE, 2, 50), (formats.CLOSE_UP, 6, 30)])
def test_crops_are_about_the_largest_object_in_the_photo_s_proportions(coco_lvis, monkeypatch, scale, top, inside):
    """A close-up begins above the object, here at row 10, and leaves out its lower end."""
    monkeypatch.setattr(formats, "SMALLEST_CROP", 16)
    sample = open_data(coco_lvis)[0]
    crop = Crop(sample, scale)
    photo, mask = crop.read()
    assert mask.shape[0] / mask.shape[1] == pytest.approx(96 / 128, rel=0.03)
    assert mask[0, 0] == 0 and (mask == 1).sum() >= inside * inside
    rows = sample.read()[0][top : top + mask.shape[0]]
    assert any(np.array_equal(photo, rows[:, x : x + mask.shape[1]]) for x in range(128 - mask.shape[1] + 1))
    assert (scale > 1) == (top + mask.shape[0] > 60)
    assert crop.name == sample.name and crop.shape() == sample.shape()


# ---------------------------------------------------------------------------------------------- utils.annotate


def test_an_annotation_project_by_label(tmp_path, annotate_stub):
    annotate_stub.write_pictures(tmp_path / "images", "a.png", "b.png", "c.png")
    editor = annotate_stub.editor_of(tmp_path)
    masks = {}
    for number, label in enumerate(("car", "person", "car")):
        person = annotate_stub.Annotator(editor, number)
        person.click(20, 30, label=label)
        masks[person.picture.name] = person.mask()
        person.do("finish")
        if number < 2:
            person.do("mark", done=True)  # c is still in work
    everything = open_data(tmp_path / "out")
    assert [sample.name for sample in everything] == ["a.png", "b.png"]
    assert all(np.array_equal(sample.read()[1] == 1, masks[sample.name]) for sample in everything)
    cars = open_data(tmp_path / "out", ["car"])
    assert [int(sample.read()[1].any()) for sample in cars] == [1, 0]  # no car on b: that is data
    editor.project.change_label("car", to="vehicle")
    assert [int(sample.read()[1].any()) for sample in open_data(tmp_path / "out", ["vehicle"])] == [1, 0]
    with pytest.raises(UserError, match="no objects of the label car"):
        open_data(tmp_path / "out", ["car"])


# ---------------------------------------------------------------------------------------------- what is refused


def lose_mask(folder: Path) -> str:
    (folder / "masks" / "mug.png").unlink()
    return "mug.jpg has no mask"


def shrink_mask(folder: Path) -> str:
    write(folder / "masks" / "mug.png", np.zeros((7, 9), np.uint8))
    return "mug.png is 9x7, but .*mug.jpg is "


def tear_photo(folder: Path) -> str:
    (folder / "imgs" / "mug.jpg").write_bytes(b"torn")
    return "mug.jpg"


def tear_mask(folder: Path) -> str:
    (folder / "masks" / "mug.png").write_bytes(b"torn")
    return "mug.png"


def double_photo(folder: Path) -> str:
    write(folder / "imgs" / "mug.png", np.zeros((9, 9, 3), np.uint8))
    return "mug.png is called like .*mug.jpg"


def lose_all(folder: Path) -> str:
    shutil.rmtree(folder / "imgs")
    (folder / "imgs").mkdir()
    return "imgs has no photos"


def lose_folder(folder: Path) -> str:
    shutil.rmtree(folder / "imgs")
    return "has no photos with masks"


@pytest.mark.parametrize("spoil", [lose_mask, shrink_mask, tear_photo, tear_mask, double_photo, lose_all, lose_folder])
def test_what_cant_be_used_is_named(spoil, scenes):
    reason = spoil(scenes)
    for find in (open_data, find_samples):
        with pytest.raises(Error, match=reason) as caught:
            for sample in find(scenes):
                sample.read()
        assert "\n" not in str(caught.value)


def test_masks_without_classes_have_no_labels(scenes):
    with pytest.raises(UserError, match="without classes"):
        open_data(scenes, ["cup"])


# ---------------------------------------------------------------------------------------------- what is held out


def named(count: int) -> list[Sample]:
    return [Sample(f"photo_{number}", Path(), Path()) for number in range(count)]


def test_photos_stay_held_out_while_others_are_added():
    photos, held_out = split_samples(named(400))
    assert 20 < len(held_out) < 60 and len(photos) + len(held_out) == 400
    _, more = split_samples(named(800))
    assert set(held_out) < set(more) and not set(photos) & set(more)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_few_photos_still_have_one_held_out_that_stays_so(count):
    photos, held_out = split_samples(named(count))
    assert photos and held_out
    _, more = split_samples(named(count + 40), [sample.name for sample in held_out])
    assert set(held_out) <= set(more)


def test_one_photo_is_too_few():
    with pytest.raises(SegmentationError, match="one photo is too few"):
        split_samples(named(1))
