"""utils.images: every storage of one picture, or of one label map, gives the same pixels."""
import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from utils.images import (
    COLOUR,
    ImageError,
    encode_jpeg,
    encode_png,
    read_labels,
    read_photo,
    size_of,
    thumbnail,
    to_8_bits,
    turn,
    turn_back,
)

SCENE = np.zeros((24, 40, 3), np.uint8)  # every corner of its own colour
SCENE[:12, :20], SCENE[:12, 20:], SCENE[12:, :20] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
LABELS = np.zeros((24, 40), np.uint8)
LABELS[2:10, 3:20], LABELS[12:20, 8:30], LABELS[0, 0] = 1, 2, 255


def stored(image: Image.Image, kind: str, orientation: int = 1, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, kind, **({"exif": exif} if orientation > 1 else {}), **options)
    return file.getvalue()


@pytest.mark.parametrize("kind, options", [
    ("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_and_labels_agree_for_every_orientation_and_format(kind, options, orientation):
    lying = turn_back(SCENE, orientation)
    content = stored(Image.fromarray(lying), kind, orientation, **options)
    photo = read_photo(content)
    assert photo.pixels.shape == SCENE.shape and size_of(content) == SCENE.shape[:2]
    np.testing.assert_allclose(photo.pixels.astype(int)[4:20:4, 4:36:8], SCENE[4:20:4, 4:36:8], atol=12)
    if kind == "AVIF":  # states its turns in a way of its own, which decoding always applies
        return
    assert photo.orientation == orientation
    assert read_photo(content, frame="stored").pixels.shape == lying.shape == (*size_of(content, frame="stored"), 3)
    if kind != "JPEG":
        lying_labels = Image.fromarray(turn_back(LABELS, orientation))
        if kind == "WEBP":  # knows no grey
            lying_labels = lying_labels.convert("RGB")
        labels = stored(lying_labels, kind, orientation, **options)
        np.testing.assert_array_equal(read_labels(labels).values, LABELS)
        np.testing.assert_array_equal(read_labels(labels, frame="stored").values, turn_back(LABELS, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_is_the_inverse(orientation):
    np.testing.assert_array_equal(turn(turn_back(SCENE, orientation), orientation), SCENE)


def test_orientation_behind_long_headers_is_found():
    content = stored(Image.fromarray(turn_back(SCENE, 6)), "JPEG", 6)
    padding = b"".join(b"\xff\xed\xff\xff" + bytes(65533) for _ in range(3))
    assert read_photo(content[:2] + padding + content[2:]).pixels.shape == SCENE.shape


def test_what_xmp_says_turns_nothing():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    assert read_photo(stored(Image.fromarray(SCENE), "JPEG", xmp=xmp)).pixels.shape == SCENE.shape


def palette_of(labels, colours):
    image = Image.fromarray(labels, "P")
    image.putpalette(np.asarray(colours, np.uint8).ravel().tolist())
    return image


ONE_BLACK = np.zeros((256, 3), np.uint8)
ONE_BLACK[2] = 255, 0, 0  # label 1 is shown in black


@pytest.mark.parametrize("content", [
    stored(Image.fromarray(LABELS), "PNG"),
    stored(palette_of(LABELS, ONE_BLACK), "PNG"),
    stored(palette_of(LABELS, ONE_BLACK), "GIF", optimize=False),
    stored(Image.fromarray(LABELS.astype(np.uint16)), "PNG"),
    stored(Image.fromarray(LABELS.astype(np.uint16)), "TIFF"),
    stored(Image.fromarray(np.repeat(LABELS[..., None], 3, 2)), "PNG"),
    stored(Image.fromarray(np.dstack([LABELS, np.full_like(LABELS, 255)])), "PNG"),
    stored(Image.fromarray(LABELS.astype(np.float32)), "TIFF"),
    encode_png(np.repeat(LABELS.astype(np.uint16)[..., None], 3, 2)),
    encode_png(LABELS),
], ids=["grey", "palette", "gif", "16 bits", "16-bit tiff", "rgb", "grey and alpha", "float tiff", "deep rgb", "cv2"])
def test_labels_are_the_numbers_stored(content):
    np.testing.assert_array_equal(read_labels(content).values, LABELS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_of_few_bits_are_not_stretched(bits, tmp_path):
    labels = (LABELS % (1 << bits)).astype(np.uint8)
    raw = np.packbits(np.unpackbits(labels[..., None], axis=2)[..., 8 - bits:].reshape(24, -1), axis=1)
    header = struct.pack(">IIBBBBB", 40, 24, bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in raw))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c))
        for k, c in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")))
    np.testing.assert_array_equal(read_labels(png).values, labels)


def test_colours_are_labels_of_their_own_and_transparent_is_none():
    rgba = np.dstack([SCENE, np.full(SCENE.shape[:2], 255, np.uint8)])
    rgba[:, :4, 3] = 0
    values = read_labels(stored(Image.fromarray(rgba), "PNG")).values
    assert values[0, 10] == COLOUR + 0xC81E1E and values[20, 30] == 0 and not values[:, :4].any()


@pytest.mark.parametrize("array, error", [
    (np.full((4, 4), 0.5, np.float32), "fractions"), (np.full((4, 4), -1, np.int32), "negative"),
])
def test_fractions_and_negative_numbers_are_no_labels(array, error):
    with pytest.raises(ImageError, match=error):
        read_labels(stored(Image.fromarray(array), "TIFF"), "mask.tif")


@pytest.mark.parametrize("depth, scale", [(np.uint16, 16), (np.uint16, 257), (np.float32, 0.01)])
def test_deep_pictures_are_shown_by_the_range_in_use(depth, scale):
    ramp = np.tile(np.arange(0, 256, dtype=np.uint8), (4, 1))
    pixels = read_photo(stored(Image.fromarray((ramp * depth(scale)).astype(depth)), "TIFF")).pixels
    assert np.abs(pixels[..., 0].astype(int) - ramp).max() <= 1


def test_a_deep_colour_picture_of_12_bits_is_not_black():
    deep = np.repeat((np.arange(256, dtype=np.uint16) * 16)[None, :, None], 3, axis=2)
    deep = np.repeat(deep, 4, axis=0)
    photo = read_photo(encode_png(deep))
    assert photo.pixels.max() > 250 and photo.notes


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32, ">u2"])
def test_any_numbers_become_8_bits(kind):
    values, _ = to_8_bits(np.array([[0, 100, 255]], kind))
    assert values.dtype == np.uint8 and values.max() == 255 and values.min() == 0


@pytest.mark.parametrize("ink", [0, 255])
def test_a_drawing_on_a_transparent_ground_can_be_seen(ink):
    rgba = np.zeros((30, 30, 4), np.uint8)
    rgba[10:20, 10:20] = ink, ink, ink, 255
    pixels = read_photo(stored(Image.fromarray(rgba), "PNG")).pixels
    assert np.ptp(pixels[..., 0].astype(int)) > 100


def noise_jpeg(**options) -> bytes:
    noise = np.random.default_rng(0).integers(30, 226, (320, 160, 3), np.uint8)
    return stored(Image.fromarray(noise), "JPEG", **options)


def test_a_jpeg_without_its_end_is_shown_with_a_word_and_with_half_of_it_refused():
    content = noise_jpeg()
    whole, photo = read_photo(content), read_photo(content[: -len(content) // 100], "p.jpg")
    assert whole.is_plain_jpeg and not photo.is_plain_jpeg and "missing" in photo.notes[0]
    np.testing.assert_array_equal(photo.pixels[:280], whole.pixels[:280])
    for part in (content[: len(content) // 2], noise_jpeg(progressive=True)[:-9000]):
        with pytest.raises(ImageError, match=r"p\.jpg is truncated"):
            read_photo(part, "p.jpg")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(ImageError, match="truncated"):
        read_labels(content[: -len(content) // 100], "p.jpg")


@pytest.mark.parametrize("content", [b"", b"no picture", encode_png(SCENE)[:60], b"\xff\xd8\xff\xe0" + bytes(20)])
@pytest.mark.parametrize("read", [read_photo, read_labels, thumbnail])
def test_what_is_no_picture_is_named(read, content):
    with pytest.raises(ImageError, match=r"^p\.png "):
        read(content, "p.png")


def test_files_that_are_missing_no_files_or_too_large_are_named(tmp_path):
    (tmp_path / "p.png").write_bytes(encode_png(SCENE))
    for path, limit in ((tmp_path / "absent.png", 100), (tmp_path, 100), (tmp_path / "p.png", 100)):
        with pytest.raises(ImageError, match=path.name):
            read_photo(path, max_pixels=limit)


def test_the_suffix_does_not_decide(tmp_path):
    (tmp_path / "photo.png").write_bytes(encode_jpeg(SCENE))
    assert read_photo(tmp_path / "photo.png").is_plain_jpeg


def test_of_several_pages_the_first_is_read_with_a_word():
    file = io.BytesIO()
    Image.fromarray(SCENE).save(file, "TIFF", save_all=True, append_images=[Image.fromarray(SCENE[::-1])] * 2)
    photo = read_photo(file.getvalue())
    np.testing.assert_array_equal(photo.pixels, SCENE)
    assert "page 1 of 3" in photo.notes[0]


def test_cmyk_and_palettes_are_read_in_colour():
    for image in (Image.fromarray(SCENE).convert("CMYK"), Image.fromarray(SCENE).convert("P")):
        content = stored(image, "TIFF" if image.mode == "CMYK" else "PNG")
        np.testing.assert_allclose(read_photo(content).pixels.astype(int), SCENE, atol=60)


def test_pixels_are_those_that_opencv_decodes(shared_data):
    for path in sorted((shared_data / "COCO_LVIS" / "val" / "images").iterdir())[::20]:
        np.testing.assert_array_equal(read_photo(path).pixels[..., ::-1], cv2.imread(str(path)))


def test_a_thumbnail_is_small_and_upright():
    lying = turn_back(np.kron(SCENE, np.ones((9, 9, 1), np.uint8)), 6)
    small = read_photo(thumbnail(stored(Image.fromarray(lying), "PNG", 6)))
    assert small.pixels.shape == (86, 144, 3)


@given(st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"]),
       st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6), st.floats(0, 1))
def test_any_bytes_are_a_picture_or_an_image_error(kind, changes, kept):
    content = bytearray(stored(Image.fromarray(SCENE), kind, 6))
    for place, value in changes:
        content[int(place * len(content))] = value
    for part in (bytes(content), bytes(content[: int(kept * len(content))])):
        for read in (read_photo, read_labels, size_of):
            with contextlib.suppress(ImageError):
                read(part, "p", max_pixels=10**6) if read is not size_of else read(part, "p")
