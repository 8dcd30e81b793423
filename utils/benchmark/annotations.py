"""The mask files of the field's data sets, each read into label layers.

An object is the set of pixels where a layer has a label; a pixel that its file marks as unsure is ignored.
"""
from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.safe_pickle import load_pickle

Region = tuple[int, int]  # layer, label

UNSURE = 255  # label of the ignored pixels in the layers that `read_trimaps` makes
VOC_VOID_COLOUR = 224 << 16 | 224 << 8 | 192  # what a viewer shows for PASCAL's label 255


class DataError(Exception):
    """A file or folder of a data set is missing, damaged or does not fit; the message names it and says what to do."""


@dataclass(frozen=True)
class Annotation:
    """Label layers (H, W, L) of one image, its objects' regions by id, and the regions that are ignored."""

    layers: np.ndarray
    objects: dict[int, Region]
    ignored: tuple[Region, ...] = ()


def read_masks(paths: Sequence[Path], ignore: Sequence[int] = ()) -> Annotation:
    """One object a file: the pixels where any channel is above 0, as the grader reads them."""
    layers = [(_decode(path, cv2.IMREAD_COLOR).max(axis=2) > 0).astype(np.uint8) for path in paths]
    return Annotation(_stack(layers, paths), {i + 1: (i, 1) for i in range(len(layers))})


def read_trimaps(paths: Sequence[Path], ignore: Sequence[int] = ()) -> Annotation:
    """One object a file, as GrabCut's boundary_GT (Rother et al. 2004) marks it: above 128, and 128 is unsure."""
    layers = []
    for path in paths:
        grey = _decode(path, cv2.IMREAD_GRAYSCALE)
        layers.append(np.where(grey == 128, UNSURE, grey > 128).astype(np.uint8))
    objects = {i + 1: (i, 1) for i in range(len(layers))}
    return Annotation(_stack(layers, paths), objects, tuple((i, UNSURE) for i in range(len(layers))))


def read_label_map(paths: Sequence[Path], ignore: Sequence[int] = ()) -> Annotation:
    """One object a label above 0 that is not in `ignore`: palette indices, grey values of 8 or 16 bits, or colours."""
    return _one_layer(_labels_of_picture(paths[0]), ignore)


def read_foreground(paths: Sequence[Path], ignore: Sequence[int] = ()) -> Annotation:
    """One object: all labels above 0 that are not in `ignore`, merged."""
    labels = _labels_of_picture(paths[0])
    ignored = np.isin(labels, ignore)
    layer = np.where(ignored, UNSURE, labels > 0).astype(np.uint8)
    return Annotation(layer[:, :, None], {1: (0, 1)}, ((0, UNSURE),))


def read_sbd(paths: Sequence[Path], ignore: Sequence[int] = ()) -> Annotation:
    """One object an instance of SBD's inst/*.mat (Hariharan et al. 2011).

    Raises:
        DataError: scipy is missing, or the file has no GTinst.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(f"{paths[0]} is a MATLAB file: reading it needs scipy (pip install scipy)") from None
    try:
        labels = loadmat(paths[0])["GTinst"][0, 0]["Segmentation"]
    except FileNotFoundError:
        raise DataError(f"{paths[0]} is missing") from None
    except Exception as error:  # a damaged file raises nearly anything
        raise DataError(f"{paths[0]} is damaged or has no GTinst.Segmentation ({error}); fetch it again") from error
    return _one_layer(labels.astype(np.int32), ignore)


def read_coco_lvis(paths: Sequence[Path], ignore: Sequence[int] = ()) -> Annotation:
    """The objects of masks/<id>.pickle of a COCO_LVIS split, by their position in its mapping."""
    try:
        encoded, mapping = load_pickle(paths[0])
        layers = [cv2.imdecode(layer, cv2.IMREAD_UNCHANGED) for layer in encoded]
        objects = {i: (int(layer), int(label)) for i, (layer, label) in enumerate(mapping)}
        return Annotation(np.stack(layers, axis=2), objects)
    except FileNotFoundError:
        raise DataError(f"{paths[0]} is missing") from None
    except pickle.UnpicklingError as error:
        raise DataError(f"{error}; fetch it again") from error
    except (TypeError, ValueError, cv2.error) as error:
        raise DataError(f"{paths[0]} does not hold label layers and a mapping ({error}); fetch it again") from error


Reader = Callable[[Sequence[Path], Sequence[int]], Annotation]
READERS: dict[str, Reader] = {
    "masks": read_masks,
    "trimaps": read_trimaps,
    "foreground": read_foreground,
    "label map": read_label_map,
    "sbd": read_sbd,
    "coco_lvis": read_coco_lvis,
}
ONE_OBJECT_A_FILE = ("masks", "trimaps", "foreground")


def read_image(path: Path, as_stored: bool = False) -> np.ndarray:
    """RGB uint8 (H, W, 3); with `as_stored` whatever way up the EXIF data want it shown."""
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if as_stored else 0)
    return cv2.cvtColor(_decode(path, flags), cv2.COLOR_BGR2RGB)


def _decode(path: Path, flags: int) -> np.ndarray:
    """The pixels of a file; unlike cv2.imread, it never takes the torn half of a JPEG for an image."""
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
        pixels = cv2.imdecode(encoded, flags) if encoded.size else None
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from error
    except cv2.error as error:
        raise DataError(f"{path} can't be decoded ({error})") from error
    if pixels is None:
        raise DataError(f"{path} is truncated or no image that OpenCV reads; fetch it again or remove it")
    return pixels


def _labels_of_picture(path: Path) -> np.ndarray:
    """Labels int32 (H, W). Pillow reads them, because OpenCV gives a palette's colours and not its indices."""
    from PIL import Image

    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise DataError(f"{path} is a JPEG, which blurs labels; store PNG files")
    try:
        with Image.open(path) as picture:
            if picture.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
                red, green, blue = np.array(picture.convert("RGB"), dtype=np.int32).transpose(2, 0, 1)
                colours = red << 16 | green << 8 | blue
                return np.where(colours == VOC_VOID_COLOUR, 255, colours)
            return np.array(picture.getchannel(0) if picture.mode == "LA" else picture).astype(np.int32)
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or no picture of labels ({error}); fetch it again") from error


def _one_layer(labels: np.ndarray, ignore: Sequence[int]) -> Annotation:
    found = [int(label) for label in np.unique(labels) if label > 0 and label not in ignore]
    return Annotation(labels[:, :, None], {label: (0, label) for label in found}, tuple((0, i) for i in ignore))


def _stack(layers: list[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
    if len({layer.shape for layer in layers}) != 1:
        raise DataError(f"the masks {', '.join(map(str, paths))} are of different sizes; they must be equal")
    return np.stack(layers, axis=2)
