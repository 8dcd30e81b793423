"""The training data's folder format: photos, label layers and the hierarchy of objects (see CONTRACT in README).

A split is a folder with images/<id>.jpg, masks/<id>.pickle and hannotation.pickle:
{id: {"num_instance_masks": n, "hierarchy": {i: None or {"children", "parent", "node_level"}}}}. A masks file is
(layers, mapping): PNG-encoded uint8 label maps, and the (layer, label) of each object; objects from number n on are
stuff (sky, grass). Masks lie on the photo as it is stored, whatever its EXIF data say.
"""
from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.files import PathLike, UserError, write_whole
from utils.safe_pickle import load_pickle

ANNOTATIONS = "hannotation.pickle"
Mapping = Sequence[tuple[int, int]]


class SampleError(UserError):
    """A photo or its annotation can't be read; the message names the file and the reason."""


def full_id(image_id: int | str) -> str:
    """COCO's image id with all its 12 digits, which names the files."""
    return str(image_id).zfill(12)


def find_splits(folder: PathLike) -> list[Path]:
    """The splits in a folder: the folder itself, or those right in it, by name; perhaps none."""
    folder = Path(folder)
    if (folder / ANNOTATIONS).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{ANNOTATIONS}"))


def load(path: PathLike, advice: str = "fetch it again") -> Any:
    """What a file of a split holds, which may be anything that is plain data.

    Raises:
        SampleError: it is missing (with the advice), damaged, or wants more than plain data.
    """
    try:
        return load_pickle(path)
    except OSError as error:
        raise SampleError(f"{path} can't be read ({error.strerror}); {advice}") from error
    except pickle.UnpicklingError as error:
        raise SampleError(f"{error}; fetch it again") from error


def read_annotations(path: PathLike) -> dict[int | str, dict[str, Any]]:
    """The annotations of all photos, {id: annotation}, of an annotation file.

    Raises:
        SampleError: the file is missing, damaged, wants more than plain data, or holds something else.
    """
    annotations = load(path, "is its folder a split of COCO_LVIS?")
    counts = [a.get("num_instance_masks") if isinstance(a, dict) else None for a in annotations.values()] \
        if isinstance(annotations, dict) else [None]
    if not all(isinstance(count, (int, np.integer)) for count in counts):
        raise SampleError(f"{path} does not tell num_instance_masks of each photo; fetch it again")
    return annotations


def write_annotations(path: PathLike, annotations: dict[Any, dict[str, Any]]) -> None:
    """Writes an annotation file, whole."""
    write_whole(path, pickle.dumps(annotations, protocol=4))


def read_layers(path: PathLike) -> tuple[np.ndarray, Mapping]:
    """A masks file: label layers uint8 (L, H, W), and the (layer, label) of each object.

    Raises:
        SampleError: it is missing, damaged, or holds something else.
    """
    content = load(path)
    try:
        encoded, mapping = content
        layers = np.stack([np.asarray(cv2.imdecode(layer, cv2.IMREAD_UNCHANGED)) for layer in encoded])
        mapping = [(int(layer), int(label)) for layer, label in mapping]
    except (TypeError, ValueError, cv2.error) as error:
        raise SampleError(f"{path} does not hold label layers and a mapping ({error}); fetch it again") from error
    if layers.dtype != np.uint8 or layers.ndim != 3:
        raise SampleError(f"{path} holds a layer that is no 8-bit label map; fetch it again")
    if not all(0 <= layer < len(layers) and 0 < label < 256 for layer, label in mapping):
        raise SampleError(f"{path} maps an object to a layer or label that it does not have; fetch it again")
    return layers, mapping


def write_layers(path: PathLike, layers: Sequence[np.ndarray], mapping: Mapping) -> None:
    """Writes a masks file, whole: label layers uint8 (H, W) and the (layer, label) of each object."""
    encoded = [cv2.imencode(".png", layer)[1].ravel() for layer in layers]
    write_whole(path, pickle.dumps((encoded, list(mapping)), protocol=4))


def read_photo(path: PathLike) -> np.ndarray:
    """The photo uint8 (H, W, 3) RGB as it is stored; a torn JPEG is an error.

    Raises:
        SampleError: it is missing, damaged, or no image.
    """
    return read_rgb(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def read_rgb(path: PathLike, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """uint8 (H, W, 3) RGB as OpenCV reads it, which is how the grader does; a torn JPEG is an error.

    Raises:
        SampleError: it is missing, damaged, or no image.
    """
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
        image = cv2.imdecode(encoded, flags) if encoded.size else None
    except OSError as error:
        raise SampleError(f"{path} can't be read ({error.strerror})") from error
    except cv2.error as error:  # larger than OpenCV allows, for example
        raise SampleError(f"{path} can't be decoded ({error})") from error
    if image is None:
        raise SampleError(f"{path} is truncated or no image that OpenCV reads; fetch it again or remove it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_sample(split: Path, image_id: int | str) -> tuple[np.ndarray, np.ndarray, Mapping]:
    """The photo uint8 (H, W, 3) RGB, its label layers uint8 (L, H, W) and each object's (layer, label).

    Raises:
        SampleError: a file is missing or damaged, or they differ in size.
    """
    photo, masks = split / "images" / f"{image_id}.jpg", split / "masks" / f"{image_id}.pickle"
    layers, mapping = read_layers(masks)
    image = read_photo(photo)
    check_sizes(photo, image, masks, layers[0])
    return image, layers, mapping


def check_sizes(image_path: PathLike, image: np.ndarray, mask_path: PathLike, mask: np.ndarray) -> None:
    """Raises SampleError if a photo and its mask differ in size."""
    if image.shape[:2] != mask.shape[:2]:
        first, second = (f"{array.shape[1]}x{array.shape[0]}" for array in (image, mask))
        raise SampleError(f"{image_path} is {first} pixels, but its mask {mask_path} is {second}; they must be equal")
