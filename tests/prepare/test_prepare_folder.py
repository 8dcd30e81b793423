"""Folders of pictures and masks to COCO_LVIS: every storage of a mask, what is no label map, names that clash."""
from pathlib import Path

import cv2
import numpy as np
import prepare_helpers as h
import pytest
from PIL import Image
from prepare_helpers import SIZE, convert_to, entries, equal, iou, photo, read_back, rectangle

from utils.images import turn_back

LEFT, RIGHT = rectangle(3, 20, 3, 20), rectangle(3, 20, 30, 60)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("imgs", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "imgs", tmp_path / "masks"


def convert(tmp_path: Path, *options, out: str = "out") -> int:
    return convert_to(tmp_path / out, "folder", "--images", tmp_path / "imgs", "--masks", tmp_path / "masks", *options)


def labels_of(*masks: np.ndarray, dtype=np.uint8, values=(1, 2, 3)) -> np.ndarray:
    labels = np.zeros(SIZE, dtype)
    for mask, value in zip(masks, values):  # noqa: B905 (fewer masks than values)
        labels[mask] = value
    return labels


def add(folders: tuple[Path, Path], name: str, mask: np.ndarray | None, suffix: str = ".png") -> None:
    imgs, masks = folders
    (imgs / name).write_bytes(photo(1, suffix=Path(name).suffix))
    if mask is not None:
        cv2.imwrite(str(masks / f"{Path(name).stem}{suffix}"), mask)


def palette_png(path: Path, labels: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> None:
    image = Image.fromarray(labels)
    palette = np.zeros((256, 3), np.uint8)
    for value, colour in colours.items():
        palette[value] = colour
    image.putpalette(palette.ravel().tolist())
    image.save(path)


def test_masks_of_every_spelling(tmp_path, folders):
    colour = np.zeros((*SIZE, 3), np.uint8)
    colour[LEFT], colour[RIGHT] = (0, 0, 128), (0, 128, 0)
    transparent = np.dstack([colour, np.where(RIGHT, 0, 255).astype(np.uint8)])
    written = {
        "a binary": (labels_of(LEFT, values=(255,)), [LEFT]),
        "b label map": (labels_of(RIGHT, LEFT), [RIGHT, LEFT]),
        "c 16 bit": (labels_of(RIGHT, LEFT, dtype=np.uint16, values=(300, 70)), [LEFT, RIGHT]),
        "d colours": (colour, [RIGHT, LEFT]),
        "e grey as colour": (np.dstack([labels_of(RIGHT, LEFT)] * 3), [RIGHT, LEFT]),
        "f alpha": (transparent, [LEFT]),
    }
    for name, (mask, _) in written.items():
        add(folders, f"{name}.png", mask)
    add(folders, "g palette.png", None)
    # an object that is shown black, and ignored pixels: the numbers that are stored count
    palette_png(folders[1] / "g palette.png", labels_of(LEFT, RIGHT, rectangle(40, 48, 0, 64), values=(1, 2, 255)),
                {2: (0, 0, 0), 1: (7, 7, 7), 255: (224, 224, 192)})
    assert convert(tmp_path, "--split", "train") == 0
    back = read_back(tmp_path / "out")
    expected = {f"{name}.png": masks for name, (_, masks) in written.items()} | {"g palette.png": [LEFT, RIGHT]}
    assert back.keys() == expected.keys()
    for name, (objects, stuff, _) in back.items():
        assert equal(objects, expected[name]) and not stuff, name
    names = {entry["source"]: entry["categories"] for entry in entries(tmp_path / "out")}
    assert names["d colours.png"] == ["#008000", "#800000"]


def test_a_folder_of_masks_for_a_picture_keeps_what_overlaps(tmp_path, folders):
    imgs, masks = folders
    add(folders, "42.jpg", None)
    (masks / "42").mkdir()
    parts = [rectangle(0, 40, 0, 40), rectangle(5, 10, 5, 10), rectangle(30, 48, 30, 60)]
    for i, mask in enumerate(parts):
        cv2.imwrite(str(masks / "42" / f"{i}.png"), mask.astype(np.uint8) * 255)
    assert convert(tmp_path) == 0
    objects, _, parents = read_back(tmp_path / "out")["42.jpg"]
    assert equal(objects, parts) and parents == {0: None, 1: 0, 2: None}


BAND = rectangle(40, 48, 0, 64)


@pytest.mark.parametrize("options, objects, stuff", [
    ([], [BAND, LEFT], []), (["--ignore", "7"], [BAND, RIGHT], []), (["--ignore"], [BAND, LEFT, RIGHT], []),
    (["--stuff", "3"], [LEFT], [BAND]), (["--binary", "5"], [LEFT | RIGHT], [])])
def test_ignored_stuff_and_binary(tmp_path, folders, options, objects, stuff):
    add(folders, "a.jpg", labels_of(LEFT, RIGHT, BAND, values=(7, 255, 3)))
    assert convert(tmp_path, *options) == 0
    found, found_stuff, _ = read_back(tmp_path / "out")["a.jpg"]
    assert equal(found, objects) and equal(found_stuff, stuff)


@pytest.mark.parametrize("options", [["--binary", "-1"], ["--binary", "70000"], ["--ignore", "foo"],
                                     ["--stuff", "#12"], ["--val", "1"]])
def test_arguments_that_can_not_be_right(tmp_path, folders, options, capsys):
    add(folders, "a.jpg", labels_of(LEFT))
    assert convert(tmp_path, *options) == 2 and options[1] in capsys.readouterr().err


def soft(scale: int = 255) -> np.ndarray:
    small = cv2.resize((LEFT * scale).astype(np.float32), (32, 24), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint16 if scale > 255 else np.uint8)


def test_soft_masks_are_refused_with_the_option_that_helps(tmp_path, folders, capsys):
    add(folders, "a.jpg", soft())
    add(folders, "b.jpg", cv2.GaussianBlur(labels_of(LEFT, values=(255,)), (7, 7), 2))
    add(folders, "c.jpg", soft(65535))
    add(folders, "d.jpg", labels_of(LEFT, values=(255,)), suffix=".jpg")
    add(folders, "fine.jpg", labels_of(LEFT, RIGHT))
    assert convert(tmp_path) == 1
    error = capsys.readouterr().err
    assert error.count("soft edges") == 3 and "d.jpg is a JPEG" in error
    assert error.count("--binary 127") == 3 and error.count("--binary 32767") == 1
    assert list(read_back(tmp_path / "out")) == ["fine.jpg"]
    for path in folders[0].glob("[cf]*"):
        path.unlink()
    assert convert(tmp_path, "--binary", "127", out="binary") == 0
    for objects, _, _ in read_back(tmp_path / "binary").values():
        assert len(objects) == 1 and iou(objects[0], LEFT) > 0.85


def test_true_labels_of_two_pixels_stay(tmp_path, folders):
    labels = np.zeros(SIZE, np.uint8)
    for i in range(24):
        row, column = divmod(i, 6)
        labels[4 + row * 10, 4 + column * 10 : 6 + column * 10] = 10 * i + 1
    add(folders, "a.jpg", labels)
    assert convert(tmp_path) == 0
    ((objects, _, _),) = read_back(tmp_path / "out").values()
    assert equal(objects, [labels == 10 * i + 1 for i in range(24)])


def test_blur_of_a_jpeg_mask_is_told_when_it_is_more_than_a_band(tmp_path, folders, capsys):
    add(folders, "sharp.jpg", labels_of(LEFT, values=(255,)), suffix=".jpg")
    assert convert(tmp_path, "--binary", "127") == 0
    assert "blurred" not in capsys.readouterr().out
    add(folders, "blurred.jpg", cv2.GaussianBlur(labels_of(LEFT, values=(255,)), (15, 15), 5), suffix=".jpg")
    assert convert(tmp_path, "--binary", "127") == 0
    assert "blurred.jpg are uncertain, since JPEG has blurred it" in capsys.readouterr().out


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_masks_lie_on_photos_as_viewers_show_them(tmp_path, folders, frame):
    masks = {}
    for name, orientation in h.turned_names():
        upright = h.red_photo(folders[0] / name, orientation, (56, 56))
        masks[name] = h.redness(upright if frame == "upright" else turn_back(upright, orientation))
        cv2.imwrite(str(folders[1] / f"{name}.png"), masks[name].astype(np.uint8) * 255)
    assert convert(tmp_path, "--val", "0", *([] if frame == "upright" else ["--frame", "stored"])) == 0
    back = read_back(tmp_path / "out")
    for name, mask in masks.items():
        assert equal(back[name][0], [mask]) and iou(h.redness(h.picture_of(tmp_path / "out", name)), mask) > 0.9, name


# ------------------------------------------------------------------------------------------------ names


def test_pictures_without_masks_and_other_files(tmp_path, folders, capsys):
    for name in ("b.txt", "c.txt", "Thumbs.db"):
        (folders[0] / name).write_bytes(b"x")
    assert convert(tmp_path) == 2
    assert "holds no pictures" in capsys.readouterr().err
    add(folders, "a.jpg", None)
    add(folders, "b.jpg", None)
    assert convert(tmp_path) == 2
    assert "no picture of" in capsys.readouterr().err
    add(folders, "a.jpg", labels_of(LEFT))
    (folders[1] / "b").mkdir()
    assert convert(tmp_path) == 1
    assert "b holds no masks for b.jpg" in capsys.readouterr().err
    (folders[1] / "b").rmdir()
    assert convert(tmp_path) == 1
    assert "b.jpg has no mask; put b.png there" in capsys.readouterr().err
    assert convert(tmp_path, "--skip-missing") == 0
    assert capsys.readouterr().err.count("left out: 2 .txt files") == 1
    add(folders, "b.jpg", np.ones((9, 9), np.uint8))
    assert convert(tmp_path) == 1
    assert "b.jpg is 64x48 pixels, but its annotation 9x9" in capsys.readouterr().err


@pytest.mark.parametrize("pictures, masks, paired, clash", [
    (["cat.jpg", "cat.png", "dog.jpg"], ["cat.png", "dog.png"], {"dog.jpg"}, True),
    (["scan.jpg", "scan.copy.jpg"], ["scan.png"], {"scan.jpg"}, False),
    (["cat.jpg", "cat.png"], ["cat.jpg.png", "cat.png.png"], {"cat.jpg", "cat.png"}, False),
    (["cat.jpg", "dog.jpg"], ["cat.png", "cat.tif", "dog.png"], {"dog.jpg"}, True)])
def test_a_mask_goes_to_one_picture_or_to_none(tmp_path, folders, pictures, masks, paired, clash, capsys):
    for name in pictures:
        add(folders, name, None)
    for name in masks:
        cv2.imwrite(str(folders[1] / name), labels_of(LEFT))
    assert convert(tmp_path, "--skip-missing") == clash
    assert set(read_back(tmp_path / "out")) == paired and ("can't be told" in capsys.readouterr().err) == clash
