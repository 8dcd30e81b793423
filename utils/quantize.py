"""A click network in 8-bit whole numbers, for `python -m utils.export --int8`, and what that costs in IoU.

nncf finds the range of every layer's numbers on forward passes as a simulated user causes them (static
quantisation, Jacob et al. 2018). The click maps and the first and last convolution stay float: a disk's two values have
no range to find, and errors at the ends are not averaged away.
"""
from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from solution import ISModel, Predictor, Runtime, TorchRuntime
from utils import coco_lvis
from utils.files import UsageError, UserError
from utils.folders import list_pictures, pair_by_name
from utils.images import read_labels, read_photo
from utils.runtimes import ExportedNetwork, network_inputs

CLICKS = 3
OBJECTS = 120  # at most; every second one measures the cost
PASSES = 150  # forward passes whose numbers are looked at
MIN_AREA = 1000  # pixels of an object of COCO_LVIS
COSTLY = 0.003  # IoU

Read = Callable[[], tuple[np.ndarray, np.ndarray]]  # gives an image uint8 (H, W, 3) RGB and a mask bool (H, W)


def quantize(model: Any, network: ISModel, data: Path, say: Callable[[str], None]) -> Any:
    """An onnx.ModelProto of utils.export in 8 bits.

    Args:
        model: the same network in float.
        network: asked for the forward passes.
        data: a folder with imgs/ and masks/, or COCO_LVIS or a split of it.
        say: told what is going on.

    Raises:
        UserError: nncf is missing, or the folder holds too few objects.
    """
    try:
        import nncf
    except ImportError as error:
        raise UserError("--int8 needs a package that is not installed: pip install nncf") from error
    chosen = find_objects(data)[::2]
    say(f"ranges of 8-bit numbers from {len(chosen)} objects of {data}, {CLICKS} clicks each")
    recorder = _Recorder(network)
    for read in chosen:
        Predictor(recorder).simulate(*read(), CLICKS)
    feeds = _spread(recorder.feeds, PASSES)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars
        return nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds),
                             ignored_scope=nncf.IgnoredScope(names=[convolutions[0], convolutions[-1]]))


class Cost(NamedTuple):
    """IoU that is lost, a click; and the mean over clicks with its standard error over objects."""

    clicks: tuple[float, ...]
    mean: float
    error: float
    objects: int

    def sentences(self) -> list[str]:
        """For the user, with a warning if it is too much."""
        each = " / ".join(f"{value:+.4f}" for value in self.clicks)
        said = [f"8 bits cost {self.mean:+.4f} +- {self.error:.4f} IoU on {self.objects} other objects, a minus being "
                f"a gain ({each} after 1 to {CLICKS} clicks)"]
        if self.mean > COSTLY:
            said.append(f"warning: that is more than {COSTLY}; calibrate on data nearer to your own, or use --fp16")
        return said


def measure_cost(exported: ExportedNetwork, network: ISModel, data: Path) -> Cost:
    """What the objects that `quantize` didn't see lose, with a simulated user's clicks."""
    runtimes: tuple[Runtime, Runtime] = TorchRuntime(network, "cpu"), exported
    held_out = [read() for read in find_objects(data)[1::2]]
    ious = np.array([[Predictor(runtime).simulate(*pair, CLICKS).ious for pair in held_out] for runtime in runtimes])
    lost = ious[0] - ious[1]
    means = lost.mean(1)
    return Cost(tuple(lost.mean(0).tolist()), float(means.mean()), float(means.std() / len(means) ** 0.5), len(means))


class _Recorder(TorchRuntime):
    """A network that remembers what an exported one would be given."""

    def __init__(self, network: ISModel) -> None:
        super().__init__(network, "cpu")
        self.feeds: list[dict[str, np.ndarray]] = []

    def logits(self, inputs: Tensor, points: Tensor) -> Tensor:
        image, maps = network_inputs(self.config, inputs, points)
        self.feeds.append({"image": image.numpy(), "clicks": maps.numpy()})
        return super().logits(inputs, points)


def find_objects(data: Path) -> list[Read]:
    """Objects of a folder, spread evenly over it, at most OBJECTS.

    Raises:
        UserError: fewer than two, or a folder of another kind.
    """
    splits = coco_lvis.find_splits(data)
    found = list(_of_coco_lvis(splits)) if splits else list(_of_pairs(data))
    if len(found) < 2:
        raise UserError(f"{data} holds fewer than two photos with masks, too few to calibrate; name another folder")
    return _spread(found, OBJECTS)


def _of_pairs(data: Path) -> Iterator[Read]:
    """A photo and its mask each, above 0 the object."""
    if not all((data / room).is_dir() for room in ("imgs", "masks")):
        raise UsageError(f"--calibrate {data} holds neither imgs/ and masks/ nor COCO_LVIS; name a folder that does")
    photos, masks = (list_pictures(data / room).pictures for room in ("imgs", "masks"))
    for photo, mask in pair_by_name(photos, masks).masks.items():
        yield partial(_read_pair, photo, mask)


def _read_pair(photo: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    return read_photo(photo).pixels, read_labels(mask).values > 0


def _of_coco_lvis(splits: Sequence[Path]) -> Iterator[Read]:
    """The largest object of each of OBJECTS photos, where it is large enough."""
    photos = [(split, coco_lvis.full_id(image_id)) for split in splits
              for image_id in sorted(coco_lvis.read_annotations(split / coco_lvis.ANNOTATIONS), key=str)]
    for split, photo in _spread(photos, OBJECTS):
        layers, mapping = coco_lvis.read_layers(split / "masks" / f"{photo}.pickle")
        mask = max((layers[layer] == label for layer, label in mapping), key=np.count_nonzero, default=None)
        if mask is not None and np.count_nonzero(mask) >= MIN_AREA:
            yield partial(_with_photo, split / "images" / f"{photo}.jpg", mask)


def _with_photo(photo: Path, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return coco_lvis.read_photo(photo), mask


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spaced."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else list(items)
