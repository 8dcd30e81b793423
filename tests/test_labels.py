"""utils.labels and utils.folders: what is an object, what is soft, which mask belongs to which picture."""
import cv2
import numpy as np
import pytest

from utils.folders import list_pictures, pair_by_name
from utils.images import COLOUR, ImageError
from utils.labels import (
    VOID_COLOUR,
    blurred_pixels,
    ignored_values,
    object_values,
    parse_value,
    refuse_soft_mask,
    value_name,
)


def disc(radius=60, value=255, line=cv2.LINE_8):
    return cv2.circle(np.zeros((300, 300), np.uint8), (150, 150), radius, value, -1, line)


def grid(cell, gap, count=24):
    labels = np.zeros((200, 200), np.uint8)
    for i in range(count):
        y, x = 10 + i // 6 * (cell + gap), 10 + i % 6 * (cell + gap)
        labels[y : y + cell, x : x + cell] = i + 1
    return labels


rectangle = np.zeros((480, 640), np.uint8)
rectangle[100:300, 100:420] = 255
SOFT = {
    "enlarged": cv2.resize(rectangle, (1280, 960)),
    "reduced": cv2.resize(disc(), (200, 200), interpolation=cv2.INTER_AREA),
    "smoothed line": cv2.line(np.zeros((200, 200), np.uint8), (10, 20), (180, 140), 255, 1, cv2.LINE_AA),
    "smoothed disc": disc(line=cv2.LINE_AA),
    **{f"blurred by {sigma}": cv2.GaussianBlur(disc(), (0, 0), sigma) for sigma in (1, 4, 15)},
}
void_ring = cv2.rectangle(cv2.circle(disc(value=20), (150, 150), 60, 255, 1), (0, 0), (40, 40), 30, -1)
HARD = {
    "empty": np.zeros((9, 9), np.uint8),
    "one object": disc(),
    "two pixels": grid(1, 0, 2),
    "tiny apart": grid(2, 10),
    "tiny side by side": grid(2, 0),
    "small side by side": grid(4, 0),
    "trimap": cv2.circle(disc(), (150, 150), 60, 128, 5),
    "void ring": void_ring,
    "core and skin": cv2.circle(disc(value=2), (150, 150), 60, 1, 1),
}


@pytest.mark.parametrize("name", SOFT)
def test_soft_edges_are_no_labels(name):
    with pytest.raises(ImageError, match=r"mask\.png has .* soft edges .* --binary 127"):
        refuse_soft_mask(SOFT[name].astype(np.int32), "mask.png")


@pytest.mark.parametrize("name", HARD)
def test_labels_are_believed(name):
    refuse_soft_mask(HARD[name].astype(np.int32), "mask.png")


def test_void_is_ignored_beside_labels_and_an_object_alone():
    ring = void_ring.astype(np.int32)
    colour = np.where(ring == 255, VOID_COLOUR, ring)
    for values, void in ((ring, 255), (colour, VOID_COLOUR)):
        assert ignored_values(values) == [void] and object_values(values) == [20, 30]
        assert object_values(values, [255]) == [20, 30] and object_values(values, ()) == [20, 30, void]
    assert object_values(disc().astype(np.int32)) == [255]
    assert object_values(np.array([[1, 255, 300]])) == [1, 255, 300]  # 16-bit labels count on


@pytest.mark.parametrize("text", ["0", "255", "65535", "#e0e0c0"])
def test_values_are_written_as_they_are_read(text):
    assert value_name(parse_value(text)) == text


@pytest.mark.parametrize("text", ["foo", "-1", "65536", "#12", "", "1.5", "²"])
def test_what_is_no_value_is_refused(text):
    with pytest.raises(ValueError, match="no value of a label image"):
        parse_value(text)


def test_a_jpeg_mask_is_uncertain_beyond_a_pixel_only_when_it_is_blurred():
    _, jpeg = cv2.imencode(".jpg", disc(), [cv2.IMWRITE_JPEG_QUALITY, 90])
    _, poor = cv2.imencode(".jpg", cv2.GaussianBlur(disc(), (0, 0), 4), [cv2.IMWRITE_JPEG_QUALITY, 20])
    sharp, blurred = (blurred_pixels(cv2.imdecode(m, cv2.IMREAD_GRAYSCALE), 127) for m in (jpeg, poor))
    assert sharp == 0 and blurred > 500


def test_a_colour_is_no_number():
    assert parse_value("#000001") == COLOUR + 1 != parse_value("1")


# ---------------------------------------------------------------------------------------------- folders


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_pictures_are_listed_and_what_is_left_out_is_counted(tmp_path):
    make(tmp_path / "f", "p10.JPG", "p2.jfif", "x.avif", "sub/deep.png")
    make(tmp_path / "f", "notes.txt", "a.pdf", ".hidden.jpg", "Thumbs.db")
    make(tmp_path, "outside.jpg")
    (tmp_path / "f" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (tmp_path / "f" / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    listing = list_pictures(tmp_path / "f", follow_links=False)
    assert [path.name for path in listing.pictures] == ["p2.jfif", "p10.JPG", "x.avif"]
    assert listing.left_out == {".txt files": 1, ".pdf files": 1, "subfolders": 1,
                                "links that lead out of the folder or nowhere": 2}
    assert "1 .txt files" in listing.remark()
    assert [len(list_pictures(tmp_path / "f", recursive).pictures) for recursive in (False, True)] == [4, 5]
    with pytest.raises(ImageError, match="absent"):
        list_pictures(tmp_path / "absent")


@pytest.mark.parametrize("pictures, masks, pairs, unpaired, problems", [
    ("scan.jpg scan.copy.jpg", "scan.png", "scan.jpg=scan.png", "scan.copy.jpg", 0),
    ("a.jpg a.png", "a.png", "", "", 1),
    ("a.jpg a.png", "a.jpg.png a.png.png", "a.jpg=a.jpg.png a.png=a.png.png", "", 0),
    ("a.jpg", "a.png a.tif", "", "", 1),
    ("a.b.jpg", "a.png", "a.b.jpg=a.png", "", 0),
    ("a.b.jpg a.c.jpg", "a.png", "", "", 1),
    ("a.jpg b.jpg", "b.png", "b.jpg=b.png", "a.jpg", 0),
])
def test_a_mask_goes_to_one_picture_or_to_none(tmp_path, pictures, masks, pairs, unpaired, problems):
    images, drawn = make(tmp_path / "i", *pictures.split()), make(tmp_path / "m", *masks.split())
    found = pair_by_name(sorted(images.iterdir()), sorted(drawn.iterdir()))
    assert {f"{p.name}={m.name}" for p, m in found.masks.items()} == set(pairs.split())
    assert [path.name for path in found.unpaired] == unpaired.split() and len(found.problems) == problems


def test_a_folder_of_masks_belongs_to_the_picture_of_its_name(tmp_path):
    images, drawn = make(tmp_path / "i", "a.jpg"), make(tmp_path / "m", "a/1.png", "a/2.png")
    assert pair_by_name(list(images.iterdir()), list(drawn.iterdir())).masks == {images / "a.jpg": drawn / "a"}
