"""The mask files of the field's data sets, each read into label layers by the numbers that are stored in it.

An object is the set of pixels where a layer has a label; a pixel that its file marks as unsure is ignored.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.coco_lvis import read_layers
from utils.files import UserError
from utils.images import COLOUR, Frame, LabelImage, read_labels, read_photo
from utils.labels import ignored_values, object_values, refuse_soft_mask

Region = tuple[int, int]  # layer, label
Labels = Sequence[int] | None  # to ignore; None for the format's own

UNSURE = 255  # label of the ignored pixels in the layers of masks and trimaps
LOSSY_THRESHOLD = 127  # a JPEG's mask is above it; below lies what the compression spills


class DataError(UserError):
    """A file or folder of a data set is missing, damaged or does not fit; the message names it and says what to do."""


@dataclass(frozen=True)
class Annotation:
    """Label layers (H, W, L) of one image, its objects' regions by id, and the regions that are ignored."""

    layers: np.ndarray
    objects: dict[int, Region]
    ignored: tuple[Region, ...] = ()

    def truth(self, object_id: int) -> np.ndarray:
        """int8 (H, W): 1 on the object, 0 off it, -1 ignored."""
        layer, label = self.objects[object_id]
        truth = (self.layers[:, :, layer] == label).astype(np.int8)
        for layer, label in self.ignored:
            truth[self.layers[:, :, layer] == label] = -1
        return truth

    def areas(self) -> dict[int, int]:
        """Pixels of each object; each layer is counted once for all its objects."""
        counts = {}
        for layer in {layer for layer, _ in self.objects.values()}:
            labels, sizes = np.unique(self.layers[:, :, layer], return_counts=True)
            counts[layer] = dict(zip(labels.tolist(), sizes.tolist(), strict=True))
        return {i: counts[layer].get(label, 0) for i, (layer, label) in self.objects.items()}


def read_masks(paths: Sequence[Path], ignore: Labels = None, frame: Frame = "upright") -> Annotation:
    """One object a file: its pixels that are not 0."""
    images = [read_labels(path, frame=frame) for path in paths]
    layers = [(_grey(i) > LOSSY_THRESHOLD if i.is_lossy else i.values != 0).astype(np.uint8) for i in images]
    return Annotation(_stack(layers, paths), {i + 1: (i, 1) for i in range(len(layers))})


def read_trimaps(paths: Sequence[Path], ignore: Labels = None, frame: Frame = "upright") -> Annotation:
    """One object a file, as GrabCut's boundary_GT (Rother et al. 2004) marks it: above 128, and 128 is unsure."""
    greys = [_grey(read_labels(path, frame=frame)) for path in paths]
    layers = [np.where(grey == 128, UNSURE, grey > 128).astype(np.uint8) for grey in greys]
    objects = {i + 1: (i, 1) for i in range(len(layers))}
    return Annotation(_stack(layers, paths), objects, tuple((i, UNSURE) for i in range(len(layers))))


def read_foreground(paths: Sequence[Path], ignore: Labels = None, frame: Frame = "upright") -> Annotation:
    """One object: all labels above 0 that are not in `ignore`, merged."""
    values = _label_map(paths[0], frame).values
    ignored = np.isin(values, ignored_values(values, ignore or ()))
    layer = np.where(ignored, UNSURE, values != 0).astype(np.uint8)
    return Annotation(layer[:, :, None], {1: (0, 1)}, ((0, UNSURE),))


def read_label_map(paths: Sequence[Path], ignore: Labels = None, frame: Frame = "upright") -> Annotation:
    """One object a label above 0 that is not in `ignore`: palette indices, grey values of 8 or 16 bits, or colours."""
    values = _label_map(paths[0], frame).values
    refuse_soft_mask(values, str(paths[0]), "folders imgs and masks, where a mask is one object")
    return _one_layer(values, ignore)


def read_sbd(paths: Sequence[Path], ignore: Labels = None, frame: Frame = "upright") -> Annotation:
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


def read_coco_lvis(paths: Sequence[Path], ignore: Labels = None, frame: Frame = "upright") -> Annotation:
    """The objects of masks/<id>.pickle of a COCO_LVIS split, by their position in its mapping."""
    layers, mapping = read_layers(paths[0])
    return Annotation(layers.transpose(1, 2, 0), dict(enumerate(mapping)))


Reader = Callable[[Sequence[Path], Labels, Frame], Annotation]
READERS: dict[str, Reader] = {
    "masks": read_masks,
    "trimaps": read_trimaps,
    "foreground": read_foreground,
    "label map": read_label_map,
    "sbd": read_sbd,
    "coco_lvis": read_coco_lvis,
}
ONE_OBJECT_A_FILE = ("masks", "trimaps", "foreground")


def read_image(path: Path, frame: Frame = "upright") -> np.ndarray:
    """RGB uint8 (H, W, 3).

    Raises:
        ImageError: it can't be read.
    """
    return read_photo(path, frame=frame).pixels


def _label_map(path: Path, frame: Frame) -> LabelImage:
    image = read_labels(path, frame=frame)
    if image.is_lossy:
        raise DataError(f"{path} is a JPEG, which blurs labels; store PNG files")
    return image


def _grey(image: LabelImage) -> np.ndarray:
    """The values, and the brightest channel of colours."""
    values = image.values
    if values.max(initial=0) < COLOUR:
        return values
    channels = [(values >> shift) & 0xFF for shift in (16, 8, 0)]
    return np.where(values < COLOUR, values, np.maximum.reduce(channels))


def _one_layer(labels: np.ndarray, ignore: Labels) -> Annotation:
    objects = {label: (0, label) for label in object_values(labels, ignore)}
    return Annotation(labels[:, :, None], objects, tuple((0, i) for i in ignored_values(labels, ignore)))


def _stack(layers: list[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
    if len({layer.shape for layer in layers}) != 1:
        raise DataError(f"the masks {', '.join(map(str, paths))} are of different sizes; they must be equal")
    return np.stack(layers, axis=2)
