"""Click-based interactive segmentation: a person clicks on an object or beside it, and the mask gets better.

The file reads from top to bottom. First all that predicting needs: clicks and frames (what the network sees), the
network, its checkpoints, and the Predictor. Then training: the recipe, train_segmentation, and below it its parts in
the order in which they are called.

Predicting imports torch, torchvision, numpy and OpenCV only. Training takes its photos from utils/datasets.py, and its
comforts (curves, contact sheets, settings on the command line, ...) from utils/click_training.py if that is there.

Coordinates are (y, x) in pixels; the centre of the first pixel is (0, 0).
"""
from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import importlib
import io
import json
import math
import os
import random
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Protocol, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import ASPP

PathLike = Union[str, "os.PathLike[str]"]

CHECKPOINT_FORMAT = 2  # 1: a phase's record nested in the next one's, its recipe in parts of the run
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 16  # of the features that the ASPP sees; network inputs are multiples of it


class CheckpointError(RuntimeError):
    """A checkpoint, or the classifier's weights, can't be used; the message names the file and the reason."""


class TrainingError(RuntimeError):
    """Training can't begin or go on; the message says why, and what to do."""


def _module(name: str) -> Any:
    """A module of utils that the course's own has not; None where it is missing."""
    try:
        return importlib.import_module(f"utils.{name}")
    except ImportError:
        return None


# ----------------------------------------------------------------------------------------------------------------------
# Clicks and frames: what the network sees
# ----------------------------------------------------------------------------------------------------------------------


def click_disks(points: Tensor, height: int, width: int, radius: float) -> Tensor:
    """Draws clicks as disks, one map for the positive and one for the negative ones.

    Args:
        points: (B, 2N, 3) rows (y, x, index), N positive ones and then N negative ones, in pixels of the network
            input; a negative index marks padding.
        height, width: size of the maps in pixels.
        radius: of the disks in pixels; a pixel at exactly this distance still belongs to the disk.

    Returns:
        float32 (B, 2, height, width) of zeros and ones.
    """
    y, x, index = points.float().unbind(-1)
    y = y.masked_fill(index < 0, -1e6)  # padding: far away from every pixel
    dy2 = (torch.arange(height, device=points.device) - y[..., None]) ** 2
    dx2 = (torch.arange(width, device=points.device) - x[..., None]) ** 2
    distance2 = dy2[..., :, None] + dx2[..., None, :]
    batch, rows = points.shape[:2]
    return (distance2.view(batch, 2, rows // 2, height, width).amin(2) <= radius**2).float()


class Frame(NamedTuple):
    """An invertible change of frame: a box of the image, resized to the network's input and perhaps mirrored.

    It moves images, masks and clicks together, so that no coordinate arithmetic is needed elsewhere.

    Attributes:
        top, left, height, width: the box in pixels of the image.
        out_height, out_width: size of the network input in pixels.
        mirrored: left and right are exchanged.
    """

    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int
    mirrored: bool = False

    def take(self, image: np.ndarray) -> np.ndarray:
        """The box of an image or map (H, W) or (H, W, C), as the network sees it: (out_height, out_width[, C])."""
        box = image[self.top : self.top + self.height, self.left : self.left + self.width]
        box = resize(box, self.out_height, self.out_width)
        return np.ascontiguousarray(box[:, ::-1]) if self.mirrored else box

    def restore(self, probability: np.ndarray, height: int, width: int) -> np.ndarray:
        """A map (out_height, out_width) of the network, back in an image of this size; 0 outside the box."""
        box = probability[:, ::-1] if self.mirrored else probability
        box = resize(np.ascontiguousarray(box), self.height, self.width)
        if (self.height, self.width) == (height, width):
            return box
        whole = np.zeros((height, width), box.dtype)
        whole[self.top : self.top + self.height, self.left : self.left + self.width] = box
        return whole

    def to_input(self, points: Any) -> np.ndarray:
        """Points (N, 2) of the image in pixels of the network input; float, they may lie between pixels."""
        scale = np.array([self.out_height / self.height, self.out_width / self.width])
        moved = (np.asarray(points, np.float64).reshape(-1, 2) - (self.top, self.left) + 0.5) * scale - 0.5
        if self.mirrored:
            moved[:, 1] = self.out_width - 1 - moved[:, 1]
        return moved

    def to_image(self, points: Any) -> np.ndarray:
        """The inverse of `to_input`."""
        moved = np.array(points, np.float64).reshape(-1, 2)
        if self.mirrored:
            moved[:, 1] = self.out_width - 1 - moved[:, 1]
        scale = np.array([self.height / self.out_height, self.width / self.out_width])
        return (moved + 0.5) * scale - 0.5 + (self.top, self.left)

    def mirror(self) -> Frame:
        """The same frame seen in a mirror."""
        return self._replace(mirrored=not self.mirrored)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Averages along a side that becomes shorter, interpolates linearly along one that becomes longer.

    In two steps where the sides differ in that, because OpenCV averages only if both become shorter. Large images are
    halved first, which OpenCV does at a tenth of the cost (76 and 14 ms for 12 megapixels at 256x192); the last row or
    column of an odd number is left out then, a small part of a pixel of the result.
    """
    for _ in range(_halvings(image.shape[0], image.shape[1], height, width)):
        image = _halve(image)
    fewer = min(height, image.shape[0]), min(width, image.shape[1])
    if fewer != image.shape[:2]:
        image = cv2.resize(image, fewer[::-1], interpolation=cv2.INTER_AREA)
    if fewer != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _halve(image: np.ndarray) -> np.ndarray:
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    return cv2.resize(image[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)


def _halvings(height: int, width: int, out_height: int, out_width: int) -> int:
    """How often `resize` halves a large image before it averages."""
    return max(0, math.floor(math.log2(min(height / out_height, width / out_width) / 2)))


class ImagePyramid:
    """An image and its halved copies, so that a small view of a large box is taken from few pixels.

    Args:
        image: (H, W, C).
        height, width: of the smallest view of the whole image that will be asked for.
    """

    def __init__(self, image: np.ndarray, height: int, width: int) -> None:
        self.levels = [image]
        for _ in range(_halvings(image.shape[0], image.shape[1], height, width)):
            self.levels.append(_halve(self.levels[-1]))

    def frame(self, box: Sequence[int], size: Tuple[int, int]) -> Frame:
        """The frame of a box (top, left, bottom, right) at a size, grown a little to whole pixels of the copy it needs.

        With that `take` gives exactly what `Frame.take` gives.
        """
        top, left, bottom, right = box
        step = 2 ** self._level(bottom - top, right - left, *size)
        top, left = top // step * step, left // step * step
        sides = self.levels[0].shape
        bottom, right = (min(-(-end // step) * step, side) for end, side in zip((bottom, right), sides))
        return Frame(top, left, bottom - top, right - left, *size)

    def take(self, frame: Frame) -> np.ndarray:
        """The frame's view of the image, from the smallest copy that `resize` would come to."""
        level = self._level(*frame[2:6])
        while (frame.top | frame.left) % 2**level:  # the copy's pixels don't begin where the box does
            level -= 1
        top, left, height, width = (value >> level for value in frame[:4])
        return frame._replace(top=top, left=left, height=height, width=width).take(self.levels[level])

    def _level(self, height: int, width: int, out_height: int, out_width: int) -> int:
        return min(_halvings(height, width, out_height, out_width), len(self.levels) - 1)


def input_size(height: int, width: int, working_size: float, keep_aspect: bool = True) -> Tuple[int, int]:
    """Size of the network input for a box: about working_size**2 pixels in the box's shape, multiples of 16.

    The area is what costs time and what the network was trained at, so it is held constant; sides are limited to
    twice the working size, which bounds the memory for boxes of any shape, and are never shorter than 32 pixels.
    """
    if not keep_aspect:
        height = width = 1
    scale = working_size / math.sqrt(height * width)
    longest = int(2 * working_size // STRIDE)
    rows, columns = (STRIDE * max(2, min(longest, round(side * scale / STRIDE))) for side in (height, width))
    return rows, columns


# ----------------------------------------------------------------------------------------------------------------------
# Network: DeepLabv3 with a stride-4 skip and six input channels
# ----------------------------------------------------------------------------------------------------------------------


KINDS = ("click", "stroke", "contour")  # of interactions
DRAWINGS = ("", "merged", "separate")
CONTOUR_VALUE = 0.5  # of a contour's inside on maps that it shares with clicks and strokes


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build the network of a checkpoint, and to run it as it was trained.

    Raises:
        ValueError: an unknown backbone, or a number that no network has.
    """

    backbone: str = "mobilenet_v2"
    working_size: int = 224  # network inputs have about working_size**2 pixels
    disk_radius: float = 5.0  # of a click, in pixels of the network input
    pred_thr: float = 0.5  # probabilities above it are the object
    aspp_rates: Tuple[int, ...] = (3, 6, 9)  # a 224 px input has 14x14 features: rate 18 would see padding only
    decoder_width: int = 64
    freeze_norm: bool = True  # the backbone's BatchNorm keeps its statistics in training: those of ImageNet are better
    # than those of small batches of click crops (loss .726 against .735 after 2,000 samples)
    drawings: str = ""  # strokes and contours: unknown, "merged" with the maps of clicks, or in "separate" maps

    def __post_init__(self) -> None:
        find_backbone(self.backbone)
        if self.drawings not in DRAWINGS:
            raise ValueError(f"drawings must be one of {', '.join(map(repr, DRAWINGS))}, not {self.drawings!r}")
        for name in ("working_size", "decoder_width", "aspp_rates"):  # a file must not make this machine build too much
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) and 0 < len(value) < 9 else (value,)
            if not all(isinstance(n, int) and 1 <= n <= 2048 for n in numbers):
                raise ValueError(f"{name} must be whole and between 1 and 2048, not {value!r}")
        if not (0 < self.disk_radius <= 10_000 and 0 < self.pred_thr < 1):
            raise ValueError(f"disk_radius {self.disk_radius!r} or pred_thr {self.pred_thr!r} is out of range")
        if not isinstance(self.freeze_norm, bool):
            raise ValueError(f"freeze_norm must be True or False, not {self.freeze_norm!r}")

    @property
    def understands(self) -> Tuple[str, ...]:
        """The kinds of interactions that the network sees as they are; the Predictor turns others into clicks."""
        return KINDS if self.drawings else KINDS[:1]


class _Classifier(NamedTuple):
    builder: str  # in torchvision.models
    body: Optional[str]  # the part with the features, if not the model itself
    low: str  # layer of stride 4
    high: str  # layer of stride 16
    channels: Tuple[int, int]  # of low and high


BACKBONES = {  # utils/encoders.py has more
    "mobilenet_v2": _Classifier("mobilenet_v2", "features", "3", "17", (24, 320)),
    "mobilenet_v3_large": _Classifier("mobilenet_v3_large", "features", "3", "15", (24, 160)),
    "resnet50": _Classifier("resnet50", None, "layer1", "layer4", (256, 2048)),
    "resnet101": _Classifier("resnet101", None, "layer1", "layer4", (256, 2048)),
}


class Backbone(NamedTuple):
    """An encoder.

    Attributes:
        build: called with `pretrained`, see ISModel; gives a module that makes {"low", "high"}, features of strides 4
            and 16, of images (B, 3, H, W), and the numbers of their channels.
        mean, std: of RGB in [0, 1], by which its inputs are normalized.
        even_noise: the filters of new input channels begin as strong as each filter of the stem, not as all of them
            together, for stems whose filters are of very unequal size.
        folds: its norms stand right behind the convolutions that they belong to.
        needs: what a checkpoint needs beside this file.
    """

    build: Callable[[Union[bool, PathLike]], Tuple[nn.Module, Tuple[int, int]]]
    mean: Tuple[float, ...] = IMAGENET_MEAN
    std: Tuple[float, ...] = IMAGENET_STD
    even_noise: bool = False
    folds: bool = True
    needs: str = ""


def find_backbone(name: str) -> Backbone:
    """The encoder of this name.

    Raises:
        ValueError: there is none, or a package that it needs is missing.
    """
    if name in BACKBONES:
        return Backbone(functools.partial(_build_backbone, name))
    encoders = _module("encoders")
    if encoders is None:
        known = ", ".join(BACKBONES)
        raise ValueError(f"unknown backbone {name!r}: choose one of {known}; others need utils/encoders.py")
    return encoders.find(name)


class ISModel(nn.Module):
    """DeepLabv3 (Chen et al. 2017) for clicks: an ASPP at stride 16, a stride-4 skip (DeepLabv3+, 2018), one logit.

    Args:
        backbone: one of BACKBONES, or of utils/encoders.py.
        pretrained: False for random weights, True for torchvision's IMAGENET1K_V1 (a download), or the path of a
            state_dict file of the torchvision classifier.
        config: everything else about the network; its backbone is replaced by `backbone`. Without one, `freeze_norm`
            is set if there are pretrained weights.

    Attributes:
        config: the network's NetworkConfig.
        pred_thr: probabilities above it belong to the object.
    """

    def __init__(
        self,
        backbone: str = "mobilenet_v2",
        pretrained: Union[bool, PathLike] = False,
        config: Optional[NetworkConfig] = None,
    ) -> None:
        super().__init__()
        config = config or NetworkConfig(freeze_norm=pretrained is not False)
        self._build(dataclasses.replace(config, backbone=backbone), pretrained)

    def _build(self, config: NetworkConfig, pretrained: Union[bool, PathLike] = False) -> None:
        self.config = config
        self.pred_thr = config.pred_thr
        encoder = find_backbone(config.backbone)
        self.backbone, (low, high) = encoder.build(pretrained)
        _widen_first_convolution(self.backbone, 10 if config.drawings == "separate" else 6, encoder.even_noise)
        width = config.decoder_width
        self.aspp = ASPP(high, list(config.aspp_rates))
        self.project = _convolution(256, width, 1)
        self.skip = _convolution(low, width // 2, 1)
        self.decoder = nn.Sequential(
            _convolution(width + width // 2, width, 3), _convolution(width, width, 3), nn.Conv2d(width, 1, 1)
        )
        self.register_buffer("mean", torch.tensor(encoder.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(encoder.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> ISModel:
        """Sets the training mode; see `NetworkConfig.freeze_norm`."""
        super().train(mode)
        if mode and self.config.freeze_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, image: Tensor, points: Tensor) -> Dict[str, Tensor]:
        """One forward pass.

        Args:
            image: float (B, 4, H, W), RGB in [0, 1] and the previous mask's probabilities (0 without one); or
                (B, 8, H, W) with maps in [0, 1] of positive and negative strokes, positive and negative contours.
            points: float (B, 2N, 3), see `click_disks`.

        Returns:
            {"instances": logits (B, 1, H, W)}.
        """
        size = image.shape[-2:]
        disks = click_disks(points, size[0], size[1], self.config.disk_radius)
        rgb = (image[:, :3] - self.mean) / self.std  # type: ignore[operator]
        maps = self._with_drawings(disks.to(image.dtype), image[:, 4:])
        inputs = torch.cat([rgb, image[:, 3:4], maps], dim=1)
        features = self.backbone(inputs.contiguous(memory_format=torch.channels_last))
        low = self.skip(features["low"])
        high = _upsample(self.project(self.aspp(features["high"])), low.shape[-2:])
        return {"instances": _upsample(self.decoder(torch.cat([high, low], dim=1)), size)}

    def _with_drawings(self, disks: Tensor, drawn: Tensor) -> Tensor:
        """The maps of clicks (B, 2, H, W) and of drawings, (B, 4, H, W) or (B, 0, H, W) where nothing is drawn."""
        if self.config.drawings == "separate":
            return torch.cat([disks, drawn if drawn.shape[1] else torch.zeros_like(disks).repeat(1, 2, 1, 1)], 1)
        if self.config.drawings == "merged" and drawn.shape[1]:
            return torch.maximum(disks, torch.maximum(drawn[:, :2], CONTOUR_VALUE * drawn[:, 2:]))
        return disks

    def folded(self) -> ISModel:
        """A copy for predictions only: convolutions do the work of the BatchNorm behind them, in 3/4 of the time."""
        network = copy.deepcopy(self).eval().requires_grad_(False)
        kept = set() if find_backbone(self.config.backbone).folds else set(network.backbone.modules())
        for parent in set(network.modules()) - kept:
            children = list(parent.named_children())
            for (name, conv), (norm_name, norm) in zip(children, children[1:]):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                    setattr(parent, norm_name, nn.Identity())
        return network.to(memory_format=torch.channels_last)

    def restore_from_checkpoint(self, path: PathLike, device: Union[str, torch.device]) -> None:
        """Becomes the network of a checkpoint file, on this device.

        Args:
            path: a file of `save_model`, or a bare {"state_dict": ...} of this model.
            device: where the network shall compute.

        Raises:
            CheckpointError: the file is missing, damaged, of another model or of a newer version of this code.
        """
        content = read_checkpoint(path)
        self._build(_config_of(content, path))
        load_strictly(self, content["state_dict"], path)
        self.to(device).train(self.training)


def _build_backbone(name: str, pretrained: Union[bool, PathLike]) -> Tuple[nn.Module, Tuple[int, int]]:
    """A torchvision classifier without its head, at output stride 16, as `Backbone.build` makes it."""
    spec = BACKBONES[name]
    classifier = _build_classifier(spec, pretrained)
    body: Any = getattr(classifier, spec.body) if spec.body else classifier
    if spec.body:
        dilate_last_stage(body)
    return IntermediateLayerGetter(body, {spec.low: "low", spec.high: "high"}), spec.channels


def _build_classifier(spec: _Classifier, pretrained: Union[bool, PathLike]) -> nn.Module:
    build = getattr(torchvision.models, spec.builder)
    options: Dict[str, Any] = {"replace_stride_with_dilation": [False, False, True]} if spec.body is None else {}
    if pretrained is True:
        return _download_classifier(build, options)
    classifier = build(**options)
    if pretrained is not False:
        load_strictly(classifier, read_plain(pretrained), pretrained)
    return classifier


def _download_classifier(build: Callable[..., nn.Module], options: Dict[str, Any]) -> nn.Module:
    weights = torchvision.models.get_model_weights(build).IMAGENET1K_V1
    try:
        return build(weights=weights, **options)
    except (OSError, RuntimeError) as error:  # no network, or half a file
        raise CheckpointError(
            f"the ImageNet weights can't be downloaded ({error}): bring {weights.url} here by other means and give its "
            "path as `pretrained` (--pretrained FILE)"
        ) from error


def dilate_last_stage(features: nn.Sequential) -> None:
    """Keeps a mobile network at stride 16: its fifth and last stride of 2 becomes a dilation of 2 behind it."""
    depthwise = [m for m in features.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    last_stride = [i for i, conv in enumerate(depthwise) if conv.stride == (2, 2)][-1]
    for i, conv in enumerate(depthwise[last_stride:]):
        rate = 1 if i == 0 else 2
        conv.stride, conv.dilation = (1, 1), (rate, rate)
        conv.padding = tuple(rate * (k - 1) // 2 for k in conv.kernel_size)


def _widen_first_convolution(backbone: nn.Module, inputs: int, even_noise: bool) -> None:
    """Gives the first convolution more input channels: previous mask, then positive and negative clicks.

    With 10 channels strokes and contours follow, whose filters begin as those of clicks.

    The RGB filters stay. The new ones start as noise as strong as those: disks and masks are mostly zero, so that the
    features stay those of ImageNet nearly everywhere, and clicks are noticed sooner than with filters of zeros (mean
    loss .718 against .726 over the second thousand of samples, which were the same for both).
    """
    name, old = next((n, m) for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d))
    geometry: Any = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    new: Any = type(old)(inputs, old.out_channels, **geometry, bias=old.bias is not None)
    with torch.no_grad():
        new.weight.normal_().mul_(old.weight.std((1, 2, 3), keepdim=True) if even_noise else old.weight.std())
        new.weight[:, :3] = old.weight
        if old.bias is not None:
            new.bias.copy_(old.bias)
        new.weight[:, 6:] = new.weight[:, 4:6].repeat(1, (inputs - 6) // 2, 1, 1)
    parent = backbone.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], new)


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


# ----------------------------------------------------------------------------------------------------------------------
# Checkpoint
# ----------------------------------------------------------------------------------------------------------------------


def save_model(model: ISModel, path: PathLike, training: Optional[Dict[str, Any]] = None) -> None:
    """Writes a checkpoint: fp16 weights, config and, as plain containers, how it was trained.

    Raises:
        OSError: the file can't be written; an earlier one is untouched.
    """
    half = {k: v.detach().cpu().half() if v.is_floating_point() else v.cpu() for k, v in model.state_dict().items()}
    config = {**dataclasses.asdict(model.config), "aspp_rates": list(model.config.aspp_rates)}
    content = {"format": CHECKPOINT_FORMAT, "config": config, "state_dict": half, "training": training or {}}
    save_plain(content, path)


def save_plain(content: Dict[str, Any], path: PathLike) -> None:
    """Writes tensors and plain containers beside and renames them, so that a reader never meets half a file.

    Raises:
        OSError: the file can't be written; an earlier one is untouched.
    """
    buffer = io.BytesIO()  # torch's own writer tells of a full disk without errno and file name
    torch.save(content, buffer)
    beside = f"{path}.tmp"
    try:
        with open(beside, "wb") as file:
            file.write(buffer.getbuffer())
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def read_plain(path: PathLike, device: Union[str, torch.device] = "cpu") -> Any:
    """The content of a file of torch.save, read without running any code in it.

    Raises:
        CheckpointError: the file is missing, damaged, or holds more than tensors and plain containers.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: there is no such file")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file may raise nearly anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        telling = [line for line in lines if "unsupported" in line.lower()]  # torch wraps it in advice
        reason = (telling or lines)[0].partition(". ")[0]
        raise CheckpointError(f"{path}: damaged, or not a plain checkpoint of tensors ({reason})") from None


def read_checkpoint(path: PathLike) -> Dict[str, Any]:
    """The content of a checkpoint file: "state_dict" and perhaps "format", "config" and "training".

    Raises:
        CheckpointError: the file can't be read or is no checkpoint.
    """
    content = read_plain(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'{path}: not a checkpoint of this model: it holds no "state_dict" of tensors')
    return {**content, "state_dict": _without_wrappers(state)}


def _without_wrappers(state: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """A state_dict without the prefixes that DataParallel and torch.compile put before every name."""
    for prefix in ("module.", "_orig_mod.", "module."):
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return state


def _config_of(content: Dict[str, Any], path: PathLike) -> NetworkConfig:
    """The configuration that a checkpoint carries or, for a bare state_dict, the one its shapes betray."""
    version = content.get("format", 0)
    if not isinstance(version, int) or version > CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: written in format {version}, this solution.py reads up to {CHECKPOINT_FORMAT}; update it"
        )
    if "config" not in content:
        return _guess_config(content["state_dict"])
    config = content["config"]
    try:
        return NetworkConfig(**{**config, "aspp_rates": tuple(config.get("aspp_rates", NetworkConfig.aspp_rates))})
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its config is not one of this model ({error})") from None


def _guess_config(state: Dict[str, Tensor]) -> NetworkConfig:
    """Recognises the network of a bare state_dict by the names and shapes of its tensors.

    It is the nearest one: if it does not fit, loading will name what differs.
    """
    shapes = {(key, value.shape) for key, value in state.items()}
    project = state.get("project.0.weight")
    width = NetworkConfig.decoder_width
    if project is not None and project.ndim > 0:
        width = max(1, min(2048, len(project)))

    def resemblance(config: NetworkConfig) -> int:
        with torch.device("meta"):  # shapes without weights
            return len(shapes & {(k, v.shape) for k, v in ISModel(config.backbone, config=config).state_dict().items()})

    return max((NetworkConfig(backbone=name, decoder_width=width) for name in BACKBONES), key=resemblance)


def _widened(state: Dict[str, Tensor], config: NetworkConfig) -> Dict[str, Tensor]:
    """The weights of a network that knows clicks alone, for one with maps of strokes and contours too.

    Their filters begin as those of clicks; where nothing is drawn, the answers stay the same.
    """
    key = next(key for key, value in state.items() if value.ndim == 4)
    if config.drawings == "separate" and state[key].shape[1] == 6:
        clicks = state[key][:, 4:6]
        state = {**state, key: torch.cat([state[key], clicks, clicks], 1)}
    return state


def load_strictly(model: nn.Module, state: Dict[str, Tensor], path: PathLike) -> None:
    """Loads finite weights of any float type; names the first keys that differ if it is another network's."""
    own = model.state_dict()
    missing = [f"{key} is missing" for key in own if key not in state]
    foreign = [f"{key} is not of this model" for key in state if key not in own]
    reshaped = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    differences = missing + foreign + reshaped
    if differences:
        shown = "; ".join(differences[:5])
        raise CheckpointError(f"{path}: weights of another network, {len(differences)} keys differ: {shown}")
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: {broken[0]} holds NaN or infinity, and {len(broken) - 1} more; train it again")
    model.load_state_dict(state)


# ----------------------------------------------------------------------------------------------------------------------
# Predictor
# ----------------------------------------------------------------------------------------------------------------------


class Runtime(Protocol):
    """What a Predictor computes with: a network in some engine.

    One that can't take all that its network understands, such as an export without maps of strokes, has a further
    attribute `understands` of its own.

    Attributes:
        config: the network's NetworkConfig.
    """

    config: NetworkConfig

    def logits(self, inputs: Tensor, points: Tensor) -> Tensor:
        """A forward pass.

        Args:
            inputs: float32 (B, 4, H, W), RGB in [0, 1] and the previous mask's probabilities; H and W multiples of 16.
                (B, 8, H, W), see `ISModel.forward`, if config.drawings is set and something is drawn.
            points: float32 (B, 2N, 3), see `click_disks`.

        Returns:
            float32 (B, 1, H, W) on any device.
        """


class TorchRuntime:
    """A folded float32 copy of an ISModel on a device; later changes of the model's weights are not seen.

    Args:
        model: an ISModel of any float type, itself or in DataParallel or torch.compile.
        device: where the copy computes.

    Raises:
        TypeError: the model is something else.
        ValueError: nothing can be computed on the device.
    """

    def __init__(self, model: nn.Module, device: Union[str, torch.device]) -> None:
        inner: Any = model
        while isinstance(inner, nn.Module) and not isinstance(inner, ISModel):
            inner = getattr(inner, "module", None) or getattr(inner, "_orig_mod", None)
        if inner is None or not isinstance(inner, ISModel):
            raise TypeError("a Predictor needs an ISModel, or a Runtime: an object with `config` and `logits(...)`")
        self.config = inner.config
        self.device = usable_device(device)
        self._network = inner.folded().float().to(self.device)

    def logits(self, inputs: Tensor, points: Tensor) -> Tensor:
        """See `Runtime`."""
        return self._network(inputs.to(self.device), points.to(self.device))["instances"].float()


def usable_device(name: Union[str, torch.device]) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: there is none, or nothing can be computed on it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"can't compute on the device {str(name)!r} ({reason}): give 'cpu', or a GPU's name") from None
    return device


class _Click(NamedTuple):
    """A click as the Predictor remembers it: plain numbers, comparable and hashable."""

    y: int
    x: int
    is_positive: bool

    @property
    def places(self) -> np.ndarray:
        """Its point, (1, 2)."""
        return np.array([self[:2]])


class _Drawing(NamedTuple):
    """A stroke or, without a width, a contour as the Predictor remembers it."""

    points: Tuple[Tuple[float, float], ...]
    is_positive: bool
    width: Optional[float]
    trust: float

    @property
    def places(self) -> np.ndarray:
        """Its points, (N, 2)."""
        return np.array(self.points)

    def draw(self, maps: np.ndarray, frame: Frame) -> None:
        """Adds it to the maps float32 (4, out_height, out_width) of a frame; as utils.interactions.rasterize does."""
        fixed = [np.rint(frame.to_input(self.places)[:, ::-1] * 16).astype(np.int32)]
        if self.width is None:
            inside = np.zeros(maps.shape[1:], np.uint8)
            cv2.fillPoly(inside, fixed, 1, cv2.LINE_8, 4)
            maps[2:, inside > 0] = 0
            maps[2 if self.is_positive else 3, inside > 0] = self.trust
        else:
            scale = math.sqrt(frame.out_height * frame.out_width / (frame.height * frame.width))
            off = np.ones(maps.shape[1:], np.uint8)  # OpenCV's own thick lines are wider than asked for
            cv2.polylines(off, fixed, False, 0, 1, cv2.LINE_8, 4)
            distance = cv2.distanceTransform(off, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            maps[0 if self.is_positive else 1, distance < min(max(self.width * scale, 3), 15) / 2] = 1

    def as_clicks(self, spacing: float) -> Tuple[_Interaction, ...]:
        """Clicks that say nearly the same: along a stroke, in the middle of a contour's inside."""
        corners = self.places
        if self.width is None:
            first = np.floor(corners.min(0)).astype(int)
            inside = np.zeros(np.ceil(corners.max(0)).astype(int) - first + 1, np.uint8)
            cv2.fillPoly(inside, [np.rint(corners - first)[:, ::-1].astype(np.int32)], 1)
            places = np.array([np.unravel_index(edge_distance(inside > 0).argmax(), inside.shape)]) + first
        else:
            along = np.append(0, np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1)))
            steps = np.linspace(0, along[-1], max(2, round(along[-1] / spacing) + 1))
            places = np.rint(np.stack([np.interp(steps, along, corners[:, axis]) for axis in (0, 1)], 1))
        return tuple(_Click(int(y), int(x), self.is_positive) for y, x in places)


_Interaction = Union[_Click, _Drawing]
TOLD = 0.6  # weight of a contour's inside in the previous mask of a network that does not know contours; a box's is .45


class _Estimate(NamedTuple):
    """A probability map (out_height, out_width) of a frame; nothing is known outside the frame's box."""

    probability: np.ndarray
    frame: Frame

    def whole(self, height: int, width: int) -> np.ndarray:
        """The map of an image of this size, 0 outside the box; the caller's own."""
        whole = self.frame.restore(self.probability, height, width)
        return whole.copy() if np.may_share_memory(whole, self.probability) else whole

    def mask(self, height: int, width: int, threshold: float) -> np.ndarray:
        """Where `whole` is above a threshold of 0 or more: bool (height, width), the caller's own."""
        top, left, rows, columns = self.frame[:4]
        whole = np.zeros((height, width), bool)
        box = self.frame._replace(top=0, left=0).restore(self.probability, rows, columns)
        np.greater(box, threshold, out=whole[top : top + rows, left : left + columns])
        return whole

    def seen_in(self, frame: Frame) -> np.ndarray:
        """The map as another frame shows it, without the detour over an image that may be large."""
        # no finer than what is asked for: pixels are averaged, not left out
        rows = min(self.frame.out_height, max(1, round(self.frame.height * frame.out_height / frame.height)))
        columns = min(self.frame.out_width, max(1, round(self.frame.width * frame.out_width / frame.width)))
        small = resize(self.probability, rows, columns)
        own = self.frame._replace(out_height=rows, out_width=columns)
        first, last = own.to_input(frame.to_image([(0, 0), (frame.out_height - 1, frame.out_width - 1)]))
        y = np.linspace(first[0], last[0], frame.out_height, dtype=np.float32)
        x = np.linspace(first[1], last[1], frame.out_width, dtype=np.float32)
        moved = cv2.remap(small, *np.meshgrid(x, y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return moved * ((y >= -0.5) & (y <= rows - 0.5))[:, None] * ((x >= -0.5) & (x <= columns - 0.5))

    def holding(self, places: np.ndarray, radius: float, threshold: float) -> _Estimate:
        """The estimate with disks about places (N, 2) of its map that are above the threshold."""
        rows, columns = np.indices(self.probability.shape)
        near = [(rows - y) ** 2 + (columns - x) ** 2 <= radius**2 for y, x in places]
        least = np.where(np.any(near, axis=0), threshold + 0.01 * (1 - threshold), 0)
        return self._replace(probability=np.maximum(self.probability, least).astype(np.float32))

    def remember(self, last: _Estimate, click: _Interaction, weight: float, threshold: float) -> _Estimate:
        """The estimate with its logits averaged with another one's away from a click, where that knew something.

        At distance d of the click the other one counts weight * (1 - exp(-d**2 / r**2)) times as much as this one; r
        is .3 of the square root of its mask's area.
        """
        y, x = self.frame.to_input(click.places).T[..., None]
        rows = (np.arange(self.frame.out_height) - y) * (self.frame.height / self.frame.out_height)
        columns = (np.arange(self.frame.out_width) - x) * (self.frame.width / self.frame.out_width)
        area = (last.probability > threshold).mean() * last.frame.height * last.frame.width
        distance2 = np.min(rows[:, :, None] ** 2 + columns[:, None] ** 2, axis=0)
        near = np.exp(-distance2 / max(0.09 * area, 1.0))
        known = last._replace(probability=np.ones_like(last.probability)).seen_in(self.frame)
        weights = (weight * (1 - near) * known).astype(np.float32)
        now, before = (np.clip(p, 1e-4, 1 - 1e-4) for p in (self.probability, last.seen_in(self.frame)))
        logits = (np.log(now / (1 - now)) + weights * np.log(before / (1 - before))) / (1 + weights)
        return self._replace(probability=1 / (1 + np.exp(-logits)))

    def box(self, threshold: float) -> Optional[Tuple[int, int, int, int]]:
        """The box (top, left, bottom, right) in the image of what is above the threshold; None if nothing is."""
        mask = self.probability > threshold
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            return None
        edges = np.array([(rows[0], columns[0]), (rows[-1] + 1, columns[-1] + 1)])
        (top, left), (bottom, right) = self.frame.to_image(edges - 0.5) + 0.5
        return math.floor(top), math.floor(left), math.ceil(bottom), math.ceil(right)


class SimulatedClicks(NamedTuple):
    """The grader's protocol played on one object; each list has one entry for each click."""

    masks: List[np.ndarray]  # bool (H, W)
    probabilities: List[np.ndarray]  # float32 (H, W)
    clicks: List[Tuple[int, int, bool]]  # (y, x, is_positive)
    ious: List[float]


class Predictor:
    """Predicts for one image after another, click by click: `set_input_image`, then `get_prediction`.

    A prediction depends on the image, the click list and the mask that the list started from, and on nothing else:
    each click is a step from the prediction of the clicks before it, and these are remembered. A list that does not
    extend the last one (an undo, a deletion, a change) goes on from the longest prefix that both have in common.

    >>> predictor = Predictor(ISModel().eval())  # better: Predictor.from_checkpoint("checkpoint.pth")
    >>> image = np.zeros((40, 60, 3), np.uint8)
    >>> predictor.set_input_image(image)
    >>> predictor.get_prediction([(20, 30, True)]).shape  # (y, x, is_positive); probabilities
    (40, 60)
    >>> predictor.get_mask([(20, 30, True), (5, 5, False)]).dtype  # one more click, beside the object
    dtype('bool')
    >>> predictor.get_prediction([])
    Traceback (most recent call last):
    ValueError: no clicks to predict from: add one first

    Calls from several threads wait for each other, but image and clicks are shared: use a Predictor for each thread.

    Args:
        model: an ISModel, of which a faster copy is used, or a Runtime.
        device: where an ISModel's copy computes.
        with_flip: average with the prediction for the mirrored input.
        zoom_in: predict in the box of the last mask and all clicks, found anew at each click.
        coarse_pass: where there is no last mask, a forward pass on the whole image finds the object to zoom in on, so
            that the first click costs two passes, this one at about coarse_size**2 pixels.
        keep_aspect: keep the image's proportions; else the network input is a square.
        expand_ratio: of the zoom-in box about its centre.
        min_box: sides of the zoom-in box are at least this fraction of the image's longer side.
        working_size: network inputs have about working_size**2 pixels; the checkpoint's own if left out.
        coarse_size: of the coarse pass; five eighths of the working size if left out.
        late_click: from this click on the mask is good and its details count: the input has the resolution that the
            box has in the image, and the estimate keeps what it knew away from the click; 0 for never.
        late_size: inputs of late clicks have at most about late_size**2 pixels, which bounds their time.
        late_expand_ratio: of the zoom-in box of late clicks.
        late_memory: weight of the last estimate far away from a late click, relative to the new one.

    Attributes:
        understands: the kinds of interactions that are predicted from as they are; others become clicks.

    Raises:
        TypeError, ValueError: as `TorchRuntime` does.
    """

    def __init__(
        self,
        model: Any,
        device: Union[str, torch.device] = "cpu",
        with_flip: bool = True,
        zoom_in: bool = True,
        coarse_pass: bool = True,
        keep_aspect: bool = True,
        expand_ratio: float = 2.0,
        min_box: float = 0.2,
        working_size: Optional[int] = None,
        coarse_size: Optional[int] = None,
        late_click: int = 4,
        late_size: int = 512,
        late_expand_ratio: float = 1.4,
        late_memory: float = 1.0,
    ) -> None:
        self.model = model
        self._runtime: Runtime = model if hasattr(model, "logits") else TorchRuntime(model, device)
        self.pred_thr = self._runtime.config.pred_thr
        self.understands = tuple(getattr(self._runtime, "understands", self._runtime.config.understands))
        self._knows_drawings = set(KINDS) <= set(self.understands)
        self._radius = self._runtime.config.disk_radius
        self.with_flip = with_flip
        self.zoom_in = zoom_in
        self.coarse_pass = coarse_pass
        self.keep_aspect = keep_aspect
        self.expand_ratio = expand_ratio
        self.min_box = min_box
        self.working_size = working_size or self._runtime.config.working_size
        self.coarse_size = coarse_size or self.working_size * 5 // 8
        self.late_click = late_click
        self.late_size = max(late_size, self.working_size)
        self.late_expand_ratio = min(late_expand_ratio, expand_ratio)
        self.late_memory = late_memory
        self._lock = threading.RLock()
        self._has_warned = False
        self._image: Optional[ImagePyramid] = None
        self._sides = (0, 0)  # height and width of the image
        self.reset()

    @classmethod
    def from_checkpoint(cls, path: PathLike, device: Union[str, torch.device] = "cpu", **options: Any) -> Predictor:
        """A Predictor of a checkpoint file; `options` are those of the class.

        Raises:
            CheckpointError: the file can't be used.
        """
        model = ISModel()
        model.restore_from_checkpoint(path, "cpu")
        return cls(model.eval(), device, **options)

    def set_input_image(self, image: Any, value_range: Optional[Tuple[float, float]] = None) -> None:
        """Begins with an image; what was known of the last one is forgotten, also if this one is refused.

        Args:
            image: a numpy array (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4) of uint8, uint16 or float in
                [0, 1]; a torch tensor (C, H, W) of such values; or a PIL image, as it is stored. Alpha is ignored.
            value_range: the values that mean black and white where the type does not say it, such as (0, 4095) for
                12 bits in a uint16; then any numbers are taken.

        Raises:
            ValueError: any other shape or type, an empty image, floats outside [0, 1] (NaN among them), or a uint16
                image whose values fit into 8 bits: it is nearly black, or no 16-bit image.
        """
        with self._lock:
            self._image = None
            self.reset()
            pixels = _as_rgb8(image, value_range)
            self._sides = pixels.shape[:2]
            smallest = min(self.working_size, self.coarse_size)
            self._image = ImagePyramid(pixels, *input_size(*self._sides, smallest, self.keep_aspect))

    def reset(self) -> None:
        """Forgets all clicks and masks; the image stays."""
        with self._lock:
            self._start: Tuple[_Interaction, ...] = ()  # the click list with which a previous mask came
            self._known: Dict[Tuple[_Interaction, ...], _Estimate] = {}  # of the last click list and its prefixes

    def get_prediction(self, clicker: Any, prev_mask: Union[np.ndarray, Tensor, None] = None) -> np.ndarray:
        """The object's probability map for these clicks.

        Args:
            clicker: a list of (y, x, is_positive), or of clicks with `is_positive` and `coords` (y, x), or an object
                whose `get_clicks()` gives one. Coordinates are in pixels of the image; those between pixels are
                rounded to the nearest. It is not changed. The list may also hold strokes (`points`, `width`) and
                contours (`points`, `trust`), as utils.interactions makes them; each item is a step.
            prev_mask: to take for the prediction before the last click, so that work can start from any mask: bool,
                0 and 1, uint8 0 and 255, or probabilities, numpy or torch, (H, W), (1, H, W) or (1, 1, H, W). It
                belongs to this click list and to lists that extend it; others start from nothing.

        Returns:
            float32 (H, W) in [0, 1], the caller's own.

        Raises:
            RuntimeError: no image is set.
            ValueError: there are no clicks, one lies outside the image, or prev_mask does not fit.
        """
        with self._lock:
            return self._estimate(clicker, prev_mask).whole(*self._sides)

    def get_mask(
        self, clicker: Any, prev_mask: Union[np.ndarray, Tensor, None] = None, threshold: Optional[float] = None
    ) -> np.ndarray:
        """Where `get_prediction` is above a threshold, which is quicker to find for a small object in a large image.

        Args:
            clicker, prev_mask: as for `get_prediction`.
            threshold: 0 or more; the model's own if left out.

        Returns:
            bool (H, W), the caller's own.

        Raises:
            RuntimeError, ValueError: as `get_prediction` does.
        """
        with self._lock:
            threshold = self.pred_thr if threshold is None else threshold
            return self._estimate(clicker, prev_mask).mask(*self._sides, threshold)

    def simulate(self, image: np.ndarray, gt_mask: np.ndarray, clicks: int = 3) -> SimulatedClicks:
        """Plays the grader's protocol on one image with a known object; needs utils/clicker.py.

        Args:
            image: as for `set_input_image`.
            gt_mask: (H, W), not 0 on the object.
            clicks: how many.

        Returns:
            Masks, clicks and IoUs after each click; two empty masks have an IoU of 1.
        """
        from utils.clicker import Clicker

        truth = np.asarray(gt_mask) != 0
        self.set_input_image(image)
        if truth.shape != self._sides:
            raise ValueError(f"the mask is {truth.shape}, its image {self._sides}: give a mask per pixel")
        clicker = Clicker(gt_mask=truth.astype(np.int32))
        mask = np.zeros_like(truth)
        result = SimulatedClicks([], [], [], [])
        for _ in range(clicks):
            clicker.make_next_click(mask)
            probability = self.get_prediction(clicker)
            mask = probability > self.pred_thr
            result.masks.append(mask)
            result.probabilities.append(probability)
            result.ious.append(_iou(truth, mask))
        made = (_read_click(click) for click in clicker.get_clicks())
        result.clicks.extend((click.y, click.x, click.is_positive) for click in made if isinstance(click, _Click))
        return result

    def _estimate(self, clicker: Any, prev_mask: Union[np.ndarray, Tensor, None]) -> _Estimate:
        """The estimate after all clicks; those after fewer clicks are remembered."""
        if self._image is None:
            raise RuntimeError("no image to predict for: call set_input_image(image) first")
        clicks = _read_clicks(clicker, *self._sides)
        if prev_mask is not None or clicks[: len(self._start)] != self._start:
            self.reset()
        known = {some: value for some, value in self._known.items() if clicks[: len(some)] == some}
        known[()] = _Estimate(np.zeros((1, 1), np.float32), Frame(0, 0, *self._sides, 1, 1))
        if prev_mask is not None:
            before = _Estimate(_as_probability(prev_mask, *self._sides), Frame(0, 0, *self._sides, *self._sides))
            known[clicks] = self._step(before, clicks)
            self._start = clicks
        for count in range(len(max(known, key=len)) + 1, len(clicks) + 1):
            known[clicks[:count]] = self._step(known[clicks[: count - 1]], clicks[:count])
        self._known = known
        return known[clicks]

    def _step(self, last: _Estimate, clicks: Tuple[_Interaction, ...]) -> _Estimate:
        """The estimate after the last click: in the box of the object, or on the whole image where none is found."""
        everything = (0, 0, *self._sides)
        is_late = 0 < self.late_click <= len(clicks)
        if isinstance(clicks[-1], _Drawing) and clicks[-1].width is None and not self._knows_drawings:
            last = self._told(last, clicks)
        frame = self._object_frame(last, clicks, is_late) if self.zoom_in else None
        if frame is None and self.zoom_in and self.coarse_pass:
            coarse = self._forward_pass(self._frame(everything, self.coarse_size), last, clicks)
            frame = self._object_frame(coarse, clicks, is_late)
        estimate = self._forward_pass(frame or self._frame(everything, self.working_size), last, clicks)
        return estimate.remember(last, clicks[-1], self.late_memory, self.pred_thr) if is_late else estimate

    @torch.no_grad()
    def _forward_pass(self, frame: Frame, last: _Estimate, clicks: Tuple[_Interaction, ...]) -> _Estimate:
        """The network's estimate in a frame, given all clicks and the last estimate."""
        assert self._image is not None
        image = torch.from_numpy(self._image.take(frame)).permute(2, 0, 1).float() / 255
        drawn, clicks = self._drawn(frame, clicks), self._only_clicks(clicks)
        inputs = torch.cat([image, torch.from_numpy(last.seen_in(frame))[None], torch.from_numpy(drawn)])[None]
        places = frame.to_input(np.array([click[:2] for click in clicks]))
        shown, corners = self._out_of_corners(frame, places, clicks)
        points = _points_tensor(shown, clicks)[None]
        if self.with_flip:
            inputs = torch.cat([inputs, inputs.flip(-1)])
            shown[:, 1] = frame.out_width - 1 - shown[:, 1]
            points = torch.cat([points, _points_tensor(shown, clicks)[None]])
        probability = torch.sigmoid(self._runtime.logits(inputs, points)[:, 0])
        if self.with_flip:
            probability = (probability[:1] + probability[1:].flip(-1)) / 2
        estimate = _Estimate(probability[0].cpu().numpy(), frame)
        return estimate.holding(places[corners], self._radius, self.pred_thr) if corners.any() else estimate

    def _told(self, last: _Estimate, clicks: Tuple[_Interaction, ...]) -> _Estimate:
        """The last estimate with what a contour says about its inside, for a network that does not know contours."""
        contour = clicks[-1]
        assert isinstance(contour, _Drawing)
        around = last.box(self.pred_thr)
        low, high = np.floor(contour.places.min(0)).astype(int), np.ceil(contour.places.max(0)).astype(int) + 1
        box = (*low, *high) if around is None else (*np.minimum(low, around[:2]), *np.maximum(high, around[2:]))
        frame = self._frame([int(np.clip(side, 0, end)) for side, end in zip(box, self._sides * 2)], self.working_size)
        inside = np.zeros((4, frame.out_height, frame.out_width), np.float32)
        contour.draw(inside, frame)
        weight = TOLD * (1 + contour.trust) / 2 * (inside[2:].max(0) > 0)
        told = (1 - weight) * last.seen_in(frame) + weight * contour.is_positive
        return _Estimate(told.astype(np.float32), frame)

    def _drawn(self, frame: Frame, interactions: Sequence[_Interaction]) -> np.ndarray:
        """Maps float32 (4, H, W) of strokes and contours in a frame; (0, H, W) without any."""
        drawings = [one for one in interactions if isinstance(one, _Drawing)] if self._knows_drawings else []
        maps = np.zeros((4 if drawings else 0, frame.out_height, frame.out_width), np.float32)
        for drawing in drawings:
            drawing.draw(maps, frame)
        return maps

    def _only_clicks(self, interactions: Sequence[_Interaction]) -> Tuple[_Interaction, ...]:
        """The clicks; for a network that knows nothing else, those that stand for strokes and contours too."""
        if self._knows_drawings:
            return tuple(one for one in interactions if isinstance(one, _Click))
        if not self._has_warned and not all(isinstance(one, _Click) for one in interactions):
            warnings.warn("this checkpoint knows clicks alone: strokes become clicks along them, contours and boxes a "
                          "click in their middle and a previous mask", stacklevel=2)  # fmt: skip
            self._has_warned = True
        spacing = max(self._sides) / 12
        said = [(one,) if isinstance(one, _Click) else one.as_clicks(spacing) for one in interactions]
        return tuple(click for clicks in said for click in clicks)

    def _out_of_corners(
        self, frame: Frame, places: np.ndarray, clicks: Tuple[_Interaction, ...]
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Where a frame shows clicks (N, 2), and which of them (N,) are positive ones in a corner of the image.

        These are moved away from it by a disk's radius: the network takes no notice of a quarter of a disk.
        """
        ends = np.array([frame.out_height - 1, frame.out_width - 1])
        reaches = np.array([frame.top + frame.height, frame.left + frame.width]) == self._sides
        low = (places < self._radius) & (np.array([frame.top, frame.left]) == 0)
        high = (places > ends - self._radius) & reaches
        corners = (low | high).all(1) & np.array([click.is_positive for click in clicks], bool)
        inner = np.where(low, self._radius, ends - self._radius)
        return np.where(corners[:, None], inner, places), corners

    def _frame(self, box: Sequence[int], working_size: float) -> Frame:
        """The frame of a box (top, left, bottom, right) of the image, whose input has about working_size**2 pixels."""
        assert self._image is not None
        size = input_size(box[2] - box[0], box[3] - box[1], working_size, self.keep_aspect)
        return self._image.frame(box, size)

    def _object_frame(self, estimate: _Estimate, clicks: Tuple[_Interaction, ...], is_late: bool) -> Optional[Frame]:
        """The box of an estimate's mask and all clicks, expanded, within the image; None if the mask is empty."""
        mask_box = estimate.box(self.pred_thr)
        if mask_box is None:
            return None
        ratio = self.late_expand_ratio if is_late else self.expand_ratio
        begins, ends = [], []
        places = np.concatenate([one.places for one in clicks])
        for axis, length in enumerate(self._sides):
            low = min(mask_box[axis], max(0, math.floor(places[:, axis].min())))
            high = max(mask_box[axis + 2], min(length, math.ceil(places[:, axis].max()) + 1))
            side = max((high - low) * ratio, self.min_box * max(self._sides))
            begins.append(max(0, min(low, math.floor((low + high - side) / 2))))
            ends.append(min(length, max(high, math.ceil((low + high + side) / 2))))
        own_size = math.sqrt(math.prod(end - begin for begin, end in zip(begins, ends)))
        size = min(max(own_size, self.working_size), self.late_size) if is_late else self.working_size
        return self._frame((*begins, *ends), size)


def _points_tensor(places: np.ndarray, clicks: Sequence[_Interaction]) -> Tensor:
    """Clicks at places (N, 2) as the network takes them: (2N, 3) rows (y, x, index), positive first, -1 for padding."""
    count = max(1, len(clicks))
    points = np.full((2, count, 3), -1, np.float32)
    placed = [0, 0]
    for index, (click, place) in enumerate(zip(clicks, places)):
        kind = 0 if click.is_positive else 1
        points[kind, placed[kind]] = (*place, index)
        placed[kind] += 1
    return torch.from_numpy(points.reshape(2 * count, 3))


def _as_rgb8(image: Any, value_range: Optional[Tuple[float, float]]) -> np.ndarray:
    """Any image that `set_input_image` takes, as uint8 (H, W, 3) of its own memory."""
    image = _as_array(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ValueError(f"image of shape {image.shape}: give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not empty")
    image = _as_uint8(image[..., :3], value_range)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.array(image, order="C")


def _as_array(image: Any) -> np.ndarray:
    """A numpy, PIL or torch image as a numpy array with its channels last, in this machine's byte order."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.dtype == torch.bfloat16 else image
        return np.moveaxis(image.numpy(), 0, -1) if image.ndim == 3 else image.numpy()
    if hasattr(image, "convert") and hasattr(image, "mode"):  # PIL's; palettes and others become colours
        exact = image.mode in ("L", "RGB", "RGBA", "F", "I") or image.mode.startswith("I;16")
        image = image if exact else image.convert("RGB")
    image = np.asarray(image)
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _as_uint8(image: np.ndarray, value_range: Optional[Tuple[float, float]]) -> np.ndarray:
    """An array of values of any accepted type as 8-bit ones."""
    if value_range is not None:
        low, high = value_range
        if not high > low:
            raise ValueError(f"value_range {value_range}: give the value that means black and the one that means white")
        image = np.clip((image.astype(np.float32) - low) / (high - low), 0, 1)
    if image.dtype == np.uint16:
        _check_16_bits(int(image.max()))
        return np.round(image / np.float32(257)).astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        if not (image.min() >= 0 and image.max() <= 1):  # NaN fails every comparison
            raise ValueError("a float image must hold values in [0, 1] and no NaN; divide 8-bit values by 255")
        return np.round(image.astype(np.float32) * 255).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"image of type {image.dtype}: give uint8, uint16 or float in [0, 1], or its value_range")
    return image


def _check_16_bits(brightest: int) -> None:
    """Refuses 8-bit values in a uint16 image, and warns of 12-bit ones: both would be taken for a dark picture."""
    if 0 < brightest < 256:
        raise ValueError(
            f"a uint16 image with values up to {brightest} is nearly black: give uint8, or the values that mean "
            "black and white as value_range=(0, 255)"
        )
    if 0 < brightest < 4096:
        text = f"a uint16 image with values up to {brightest} is dark; of 12 bits? value_range=(0, 4095)"
        warnings.warn(text, stacklevel=5)


def _as_probability(mask: Any, height: int, width: int) -> np.ndarray:
    """A previous mask, checked, as float32 (H, W) of its own memory."""
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu()
        mask = mask.numpy() if mask.dtype in (torch.uint8, torch.bool) else mask.float().numpy()
    mask = np.asarray(mask)
    if mask.shape not in ((height, width), (1, height, width), (1, 1, height, width)):
        raise ValueError(f"prev_mask of shape {mask.shape}: give {(height, width)} or {(1, 1, height, width)}")
    if mask.dtype == np.uint8 and ((mask == 0) | (mask == 255)).all():
        mask = mask == 255
    mask = mask.astype(np.float32).reshape(height, width)
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError("prev_mask must hold 0 and 1, uint8 0 and 255, or probabilities in [0, 1] and no NaN")
    return mask


def _read_clicks(clicker: Any, height: int, width: int) -> Tuple[_Interaction, ...]:
    """The clicks of a clicker or list as plain numbers, rounded to pixels and checked against the image's size."""
    clicks = tuple(map(_read_click, clicker.get_clicks() if hasattr(clicker, "get_clicks") else clicker))
    if not clicks:
        raise ValueError("no clicks to predict from: add one first")
    for click in clicks:
        for y, x in click.places:
            if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
                what = "click" if isinstance(click, _Click) else "stroke or contour with a point"
                raise ValueError(f"{what} (y={y:g}, x={x:g}) lies outside the image of {height}x{width} pixels")
    return clicks


def _read_drawing(drawing: Any) -> _Drawing:
    """A stroke (points, is_positive, width) or contour (points, is_positive, trust) of utils.interactions or alike."""
    points = tuple((float(y), float(x)) for y, x in drawing.points)
    width = getattr(drawing, "width", None)
    trust = float(getattr(drawing, "trust", 1.0))
    return _Drawing(points, bool(drawing.is_positive), None if width is None else float(width), trust)


def _read_click(click: Any) -> _Interaction:
    if hasattr(click, "points"):
        return _read_drawing(click)
    try:
        y, x, is_positive = (*click.coords, click.is_positive) if hasattr(click, "coords") else click
        return _Click(math.floor(float(y) + 0.5), math.floor(float(x) + 0.5), bool(is_positive))
    except (TypeError, ValueError, OverflowError):  # not three parts, no numbers, or NaN
        raise ValueError(f"{click!r} is no click: give (y, x, is_positive), or coords (y, x) and is_positive") from None


def _iou(truth: np.ndarray, mask: np.ndarray) -> float:
    union = np.count_nonzero(truth | mask)
    return np.count_nonzero(truth & mask) / union if union else 1.0


# ----------------------------------------------------------------------------------------------------------------------
# Training: the recipe
# ----------------------------------------------------------------------------------------------------------------------


def _setting(default: Any, group: str, text: str, low: float = 0.0, high: float = 1.0) -> Any:
    """A field of the recipe: the group and line of explanation that `--help` shows, and the range of its numbers."""
    return field(default=default, metadata={"group": group, "help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a phase of training does; a training is one phase or several, one after another.

    Counted in samples, never in minutes, and drawn from counters: sample i of the phase is a function of (seed, i).

    Raises:
        TrainingError: a value is of another type or out of its range; the message names it.
    """

    samples: int = _setting(64_000, "length", "samples to train on, repeats counted", 1, 1e9)
    resolutions: Tuple[Tuple[int, int], ...] = _setting(
        ((0, 128), (25_600, 160), (48_000, 224)), "length", "from this sample on, inputs of side**2 pixels", 0, 1e9
    )
    batch_size: int = _setting(16, "length", "samples a step, of all processes together", 2, 4096)
    seed: int = _setting(0, "length", "of every random stream", 0, 2**31 - 1)

    backbone: str = _setting("mobilenet_v2", "network", ", ".join(BACKBONES) + ", or one of utils/encoders.py")
    disk_radius: float = _setting(5.0, "network", "of a click in pixels of the network input", 0.5, 100)
    working_size: int = _setting(224, "network", "predict at about working_size**2 pixels", 32, 2048)

    lr: float = _setting(5e-4, "optimiser", "AdamW's learning rate at the end of the warm-up")
    backbone_lr: float = _setting(0.3, "optimiser", "the pretrained layers' learning rate, relative to `lr`", 0, 100)
    weight_decay: float = _setting(0.01, "optimiser", "AdamW's, for convolutions only")
    warm_up: int = _setting(1920, "optimiser", "samples over which the rate rises, a tenth of all at most", 0, 1e9)
    lr_hold: int = _setting(0, "optimiser", "up to this sample the rate stays, then a cosine begins", 0, 1e9)
    lr_min: float = _setting(0.01, "optimiser", "the cosine ends at this part of `lr`")
    max_grad_norm: float = _setting(3.0, "optimiser", "gradients of a larger norm are clipped", 1e-6, 1e6)
    ema_decay: float = _setting(0.998, "optimiser", "a step, of the averaged weights, which are the result")

    min_area: int = _setting(1000, "objects", "in pixels of a photo with a long side of `long_side`", 1, 1e8)
    long_side: int = _setting(512, "objects", "photos are brought to this long side before anything else", 32, 8192)
    p_stuff: float = _setting(0.1, "objects", "probability of a stuff region (sky, grass) as the object")
    p_part: float = _setting(0.2, "objects", "probability of any object of the hierarchy, not only a root")
    p_merge: float = _setting(0.2, "objects", "probability of two objects as one, touching ones first")
    p_paste: float = _setting(0.15, "objects", "probability of another photo's object pasted over the picture")

    p_zoom: float = _setting(0.6, "crops", "probability of a crop about the object; else most of the photo")
    zoom_range: Tuple[float, ...] = _setting(
        (1.1, 2.5), "crops", "least and largest sides of such a crop, relative to the object's box", 0.1, 100
    )
    photo_range: Tuple[float, ...] = _setting(
        (0.65, 1.0), "crops", "least and largest sides of other crops, relative to the photo's", 0.01, 1
    )
    stretch: float = _setting(1.4, "crops", "largest change of proportions", 1, 10)
    aspects: Tuple[float, ...] = _setting(
        (1.0, 1.33, 1.78, 0.75), "crops", "width to height of inputs, one a batch", 0.1, 10
    )

    p_brightness: float = _setting(0.75, "colours", "probability of another brightness and contrast")
    p_color_shift: float = _setting(0.5, "colours", "probability of a colour shift")
    p_gray: float = _setting(0.05, "colours", "probability of a grey picture")
    p_blur: float = _setting(0.15, "colours", "probability of motion blur, as in video frames")
    p_jpeg: float = _setting(0.2, "colours", "probability of strong JPEG compression")

    p_center_click: float = _setting(0.7, "clicks", "probability of the first click at the object's centre, not nearby")
    p_more_points: float = _setting(0.2, "clicks", "probability of further random first points")
    rounds: Tuple[float, ...] = _setting(
        (0.3, 0.3, 0.25, 0.15), "clicks", "weights of 0, 1, 2, ... further clicks", 0, 1e6
    )
    p_exact_click: float = _setting(0.7, "clicks", "probability of a further click as the grader makes it, not nearby")

    p_slip: float = _setting(0.0, "clicks", "probability of a click beside the error, twice that of a wrong sign")

    drawings: str = _setting("", "drawings", "strokes and contours in merged or separate maps; empty: unknown")
    kinds: Tuple[float, ...] = _setting(
        (0.7, 0.17, 0.13), "drawings", "weights of clicks, strokes and contours at each step", 0, 1e6
    )
    p_box: float = _setting(0.25, "drawings", "probability of a box as the first contour")
    p_replace: float = _setting(0.0, "drawings", "probability that a stroke or contour replaces the earlier ones")

    keep_weight: float = _setting(0.0, "loss", "weight of a BCE on pixels that the previous mask had right", 0, 100)
    interaction_weight: float = _setting(0.0, "loss", "weight of a BCE on the pixels of clicks and strokes", 0, 100)
    focal_alpha: float = _setting(0.5, "loss", "weight of the object's pixels in the focal loss")
    focal_gamma: float = _setting(2.0, "loss", "exponent of the focal loss", 0, 10)
    iou_weight: float = _setting(0.5, "loss", "weight of the soft IoU loss", 0, 100)

    stages: dataclasses.InitVar[Any] = None  # the former name of `resolutions`

    def __post_init__(self, stages: Any) -> None:
        if stages is not None:
            object.__setattr__(self, "resolutions", stages)
        for setting in dataclasses.fields(self):
            object.__setattr__(self, setting.name, _checked(setting, getattr(self, setting.name)))
        begins = [begin for begin, _ in self.resolutions]
        if begins[0] != 0 or begins != sorted(set(begins)) or min(side for _, side in self.resolutions) < 32:
            raise TrainingError(f"resolutions {self.resolutions}: begin at sample 0, then rise; sides from 32 on")
        for name in ("zoom_range", "photo_range"):
            if len(getattr(self, name)) != 2 or getattr(self, name)[0] > getattr(self, name)[1]:
                raise TrainingError(f"{name} must be two numbers, the smaller one first, not {getattr(self, name)}")
        if self.drawings not in DRAWINGS or len(self.kinds) != 3 or not sum(self.kinds) > 0:
            raise TrainingError(f"drawings are one of {DRAWINGS} and kinds three weights, not {self.kinds}")
        if not sum(self.rounds) > 0:
            raise TrainingError(f"rounds {self.rounds}: at least one weight must be above 0")
        try:
            find_backbone(self.backbone)
        except ValueError as error:
            raise TrainingError(str(error)) from None


def _checked(setting: Any, value: Any) -> Any:
    """A setting's value, with tuples for lists, if it has the type of the default and lies in its range."""
    low, high = setting.metadata["low"], setting.metadata["high"]

    def number(item: Any, like: Any) -> Any:
        ok = isinstance(item, (int, float)) and not isinstance(item, bool) and low <= item <= high
        if not ok or (isinstance(like, int) and item != int(item)):
            kind = "a whole number" if isinstance(like, int) else "a number"
            raise TrainingError(f"{setting.name} must be {kind} from {low:g} to {high:g}, not {item!r}")
        return type(like)(item)

    def alike(item: Any, like: Any) -> Any:
        if isinstance(like, str) and isinstance(item, str):
            return item
        if isinstance(like, str):
            raise TrainingError(f"{setting.name} must be a word like {like!r}, not {item!r}")
        if not isinstance(like, tuple):
            return number(item, like)
        if not isinstance(item, (list, tuple)) or not item or (isinstance(like[0], int) and len(item) != len(like)):
            raise TrainingError(f"{setting.name} must be a list like {json.dumps(setting.default)}, not {item!r}")
        return tuple(alike(part, like[0]) for part in item)

    return alike(value, setting.default)


_SECOND_PHASE = Recipe(
    samples=48_000, resolutions=((0, 160), (30_384, 224)), seed=1, lr=3e-4, warm_up=1280, lr_hold=30_384,
    p_stuff=0.05, p_part=0.1, p_merge=0.3, p_center_click=0.8, p_more_points=0.1, rounds=(0.3, 0.3, 0.3, 0.1),
    p_exact_click=0.8,
)  # fmt: skip
SHIPPED: Tuple[Recipe, ...] = (  # the phases that made the checkpoint beside this file
    Recipe(),
    _SECOND_PHASE,
    dataclasses.replace(
        _SECOND_PHASE, samples=44_800, resolutions=((0, 224), (22_400, 256)), seed=2, lr_hold=9600, working_size=256
    ),
)
FINE_TUNING: Tuple[Recipe, ...] = (  # for `start`
    dataclasses.replace(
        SHIPPED[-1], samples=4800, resolutions=((0, 256),), seed=3, lr=1e-4, warm_up=160, lr_hold=0, ema_decay=0.99
    ),
)


def plain_recipe(recipe: Recipe) -> Dict[str, Any]:
    """The recipe in plain containers, lists for tuples, as files hold it."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


# ----------------------------------------------------------------------------------------------------------------------
# Training: the run
# ----------------------------------------------------------------------------------------------------------------------

FLUSH_EVERY = 20  # batches between two readings of the losses: reading waits for the device
CHECK_SAMPLES = 3000  # of the start of a phase, whose losses are kept one by one for `--recipe-check`
MAX_UNREADABLE = 0.01  # part of the samples; more are an error
ENOUGH = 0.9  # of the photos that a checkpoint names must be there to call it a training on them
PATIENCE = 5  # validations without a better IoU after which a training on own photos stops


def train_segmentation(
    folder: PathLike = "./COCO_LVIS",
    out: PathLike = "./experiments",
    recipe: Union[Recipe, Sequence[Recipe], None] = None,
    data: str = "auto",
    pretrained: Union[bool, PathLike] = True,
    epochs: Optional[float] = None,
    minutes: Optional[float] = None,
    device: Optional[str] = None,
    workers: Optional[int] = None,
    epoch_samples: Optional[int] = None,
    validation_objects: int = 60,
    save_seconds: float = 180.0,
    augmentator: Any = None,
    start: Optional[PathLike] = None,
    fit_minutes: Optional[float] = None,
    patience: Optional[int] = None,
    tensorboard: bool = False,
) -> Path:
    """Trains a model as RITM does (Sofiiuk et al. 2022); without arguments, the shipped one again.

    A run that was stopped (Ctrl-C, time limit, kill) goes on where it was when it is started again with the same
    output folder and recipe. Started by torchrun, its processes share every batch.

    Args:
        folder: COCO_LVIS, or own photos in its format, with the split train and, if there are photos held out, val.
        out: for checkpoints/ (last_checkpoint.pth and, with photos held out, best.pth) and state.pth; with
            utils/click_training.py also for vis/ (curves, contact sheets) and metrics.csv.
        recipe: what decides the result: a Recipe, or several, trained one after another; those before the last one in
            out/phase1, out/phase2, ... SHIPPED if left out, or FINE_TUNING with a `start`.
        data: "auto" for the photos that checkpoint.pth names, or all of the train split if hardly any of those are
            there; "checkpoint" or "all" for one of the two; or the path of a checkpoint that names photos.
        pretrained: ImageNet weights: True to download torchvision's, or the path of a state_dict file.
        epochs: train for so many passes over the photos; the recipe's schedule is scaled.
        minutes: save and stop after this time; the schedule goes on at the next start.
        device: "cpu", "cuda", ...; a GPU where there is one.
        workers: processes that load samples; one less than there are cores if left out, 8 at most.
        epoch_samples: samples from one validation to the next; a tenth of the phase if left out, 10,000 at most.
        validation_objects: how many held-out objects are predicted at each.
        save_seconds: between two savings of the state.
        augmentator: an albumentations Compose (or alike) to apply to every crop too.
        start: a checkpoint to begin from, for fine-tuning; it decides the network, whatever the recipe says.
        fit_minutes: scale the recipe's schedule to about this time.
        patience: stop a phase after so many validations without a better IoU@3, and take the best weights; 0 never
            does. 5 on own photos, and 0 on those of checkpoint.pth, if left out.
        tensorboard: write scalars and contact sheets to out/tensorboard too.

    Returns:
        Path of the last checkpoint.

    Raises:
        TrainingError: an argument is out of range, a loss is not finite, too many photos are unreadable, another run
            uses the output folder, or the settings don't fit each other.
        CheckpointError: the start, the ImageNet weights or a saved state can't be used.
        FileNotFoundError: the folder or its split train is missing.
        OSError: `out` can't be written; what was saved before is still there.
    """
    _check_arguments(epochs=epochs, minutes=minutes, workers=workers, epoch_samples=epoch_samples,
                     validation_objects=validation_objects, fit_minutes=fit_minutes, patience=patience)  # fmt: skip
    chosen = choose_device(device)
    group = Group.join(chosen)
    try:
        photos, held_out, own = find_training_photos(folder, data)
        phases = choose_phases(recipe, start)
        plan = Plan(phases, folder, photos, held_out, Path(out), chosen, group, start, pretrained, workers, augmentator,
                    epoch_samples, validation_objects, save_seconds,
                    (PATIENCE if own or start else 0) if patience is None else patience, tensorboard)  # fmt: skip
        with _comforts().guard(plan, minutes) as stop:
            plan = _prepare(plan, epochs=epochs, fit_minutes=fit_minutes)
            return _train_phases(plan, stop, compares=own or start is not None)
    finally:
        group.leave()


class Plan(NamedTuple):
    """What is trained, on what, where to: the arguments of `train_segmentation`, looked up."""

    phases: Tuple[Recipe, ...]
    folder: PathLike
    photos: List[TrainPhoto]
    held_out: List[TrainPhoto]
    out: Path
    device: torch.device
    group: Group
    start: Optional[PathLike] = None
    pretrained: Union[bool, PathLike] = True
    workers: Optional[int] = None
    augmentator: Any = None
    epoch_samples: Optional[int] = None
    validation_objects: int = 60
    save_seconds: float = 180.0
    patience: int = 0
    tensorboard: bool = False

    def place(self, number: int) -> Path:
        """The folder of a phase, counted from 0."""
        return self.out if number == len(self.phases) - 1 else self.out / f"phase{number + 1}"

    def checkpoint(self, number: int) -> Path:
        """The result of a phase."""
        return self.place(number) / "checkpoints" / "last_checkpoint.pth"

    @property
    def says(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.group.rank == 0


def _train_phases(plan: Plan, stop: Any, compares: bool) -> Path:
    """Trains phase after phase; returns the checkpoint of the last one that was begun."""
    for number in range(len(plan.phases)):
        run = open_run(plan, number)
        comforts = _comforts() if plan.says else _Plain
        with contextlib.closing(comforts.click_log(plan, number, run)) as log:
            session = Session(run, plan, number, log)
            if compares and number == 0 and run.seen == 0:
                session.validate()
            finished = session.train(stop)
        if plan.group.any(not finished, plan.device):  # all wait here until the first process has written it
            return plan.checkpoint(number)
    if compares:
        comforts.print_comparison(plan.checkpoint(number))
    return plan.checkpoint(number)


class Session:
    """A phase in training: its run, what it reads, and what it leaves in its folder.

    Args:
        run: to go on with.
        plan, number: what is trained, and which phase of it.
        log: a TrainingLog of utils/training.py or a PlainLog.
    """

    def __init__(self, run: Run, plan: Plan, number: int, log: Any) -> None:
        self.run, self.plan, self.number, self.log = run, plan, number, log
        self.out = plan.place(number)
        recipe = run.recipe
        self.epoch_samples = plan.epoch_samples or min(10_000, max(recipe.batch_size, recipe.samples // 10))
        self.problems: Dict[str, int] = {}  # met since this start
        self._first = run.seen
        self._pending: List[Tuple[int, Tensor, Any]] = []  # samples seen, loss and ids of steps
        self._saved = self._timed = time.monotonic()
        if plan.says:
            (self.out / "checkpoints").mkdir(parents=True, exist_ok=True)

    def train(self, stop: Any) -> bool:
        """The loop: step, flush, save, validate; returns whether the phase was finished.

        What all processes do together (flush, stop) happens after batches that all count alike.
        """
        run, plan = self.run, self.plan
        total = run.recipe.samples // run.recipe.batch_size
        samples = ClickSamples(plan.photos, run.recipe, plan.augmentator)
        for batch in load_batches(run, samples, plan.workers) if not run.ended_early else ():
            self.record(run.step(batch), batch)
            validates = run.seen % self.epoch_samples < run.recipe.batch_size or run.batch == total
            alone_and_due = plan.group.size == 1 and stop.due
            if not (run.batch % FLUSH_EVERY == 0 or validates or alone_and_due):
                continue
            self.flush()
            if validates:
                self.validate()
            self.save_state(every=0.0 if run.batch == total or run.ended_early else plan.save_seconds)
            if plan.group.any(run.ended_early, plan.device):
                return True
            if run.batch < total and plan.group.any(stop.due, plan.device):
                self.stop()
                return False
        return True

    def record(self, loss: Tensor, batch: Dict[str, Any]) -> None:
        """Remembers a step; its loss is read later, so that the device need not be waited for."""
        self._pending.append((self.run.seen, loss, batch["id"]))
        for problem in filter(None, "\n".join(batch["problems"]).split("\n")):
            self.problems[problem] = self.problems.get(problem, 0) + 1

    def flush(self) -> None:
        """Reads the losses of the last steps, and counts their time; all processes do it after the same batch.

        Raises:
            TrainingError: in all processes, if in one a loss is not finite (the state on disk is older and good), or
                too many photos are unreadable.
        """
        run = self.run
        values = torch.stack([loss for _, loss, _ in self._pending]).tolist()
        failure = reading_failure(self.problems, (run.seen - self._first) / run.group.size)
        for (seen, _, ids), value in zip(self._pending, values):
            if not math.isfinite(value):
                failure = f"loss {value} or a gradient like it after {seen} samples, photos {', '.join(ids)}"
                failure += "; the last saved state is still good: try a smaller lr"
                break
        if run.group.any(failure is not None, run.device):
            raise TrainingError(failure or "another process of the run has stopped; its message says why")
        early = [(seen, value) for (seen, _, _), value in zip(self._pending, values) if seen <= CHECK_SAMPLES]
        for seen, value in early or [(run.seen, float(np.mean(values)))]:
            self.log.record(seen, value, lr=run.learning_rate)  # adds it to run.losses
        self._pending.clear()
        now = time.monotonic()
        run.seconds += now - self._timed
        self._timed = now

    def validate(self) -> None:
        """Predicts held-out objects with the averaged weights; writes figures, checkpoints, curves, a contact sheet."""
        for problem, count in self.problems.items():
            self.log.say(f"could not be read, {count} times: {problem}")
        if not self.plan.says:
            return
        run = self.run
        figures, examples = validate(run.ema_model, self.plan.held_out, run.recipe, self.plan.validation_objects)
        row = {"samples": run.seen, "seconds": round(run.seconds, 1), "lr": run.learning_rate}
        if run.losses:
            row["loss"] = float(np.mean([value for _, value in run.losses[-50:]]))
        best = max((past["iou@3"] for past in run.history if "iou@3" in past), default=-1.0)
        self.log.flush({**row, **figures}, examples)  # adds the row to run.history
        self.save_model(self.plan.checkpoint(self.number), figures)
        if figures and figures["iou@3"] > best:
            self.save_model(self.out / "checkpoints" / "best.pth", figures)
        self._end_early()
        self._timed = time.monotonic()  # validation is no training time

    def _end_early(self) -> None:
        """Ends the phase with its best weights if the last validations were no better than an earlier one."""
        ious = [row["iou@3"] for row in self.run.history if "iou@3" in row]
        recent = self.plan.patience
        if recent and len(ious) > recent and max(ious[-recent:]) <= max(ious[:-recent]):
            self.run.ended_early = True
            best = self.out / "checkpoints" / "best.pth"
            self.plan.checkpoint(self.number).write_bytes(best.read_bytes())
            self.log.say(f"no better IoU@3 in {recent} validations: the phase ends with its best weights, {best}")

    def save_model(self, path: Path, figures: Dict[str, float]) -> None:
        """Writes the averaged weights of this moment, with the figures measured with them, if any."""
        plan = self.plan
        before = read_checkpoint(plan.checkpoint(self.number - 1))["training"] if self.number else {"phases": []}
        record: Dict[str, Any] = {
            "ids": sorted({photo.id for photo in plan.photos}),
            "held_out": [photo.id for photo in plan.held_out],
            "phases": [*before["phases"], self.run.record(figures)],
        }
        if plan.start is not None:
            start = {"file": Path(plan.start).name, "sha256": _digest(Path(plan.start).read_bytes())}
            record = {**record, "start": start}
        save_model(self.run.ema_model, path, record)

    def save_state(self, every: float = 0.0) -> None:
        """Writes the state to resume from, if the last one is older than `every` seconds."""
        if self.plan.says and time.monotonic() - self._saved >= every:
            save_plain(self.run.state(), self.out / "state.pth")
            self._saved = time.monotonic()

    def stop(self) -> None:
        """Saves what a stop in the middle of an epoch would lose, and says how to go on."""
        self.save_state()
        if self.plan.says:
            self.save_model(self.plan.checkpoint(self.number), {})
            state = self.out / "state.pth"
            self.log.say(f"stopped after {self.run.seen} samples; the same command goes on from {state}")


def reading_failure(problems: Dict[str, int], samples: float) -> Optional[str]:
    """More unreadable samples than chance explains if a hundredth is unreadable: by four standard deviations."""
    unreadable, expected = sum(problems.values()), MAX_UNREADABLE * samples
    if unreadable <= expected + 4 * math.sqrt(expected) + 3:
        return None
    return f"{unreadable} samples could not be read: {'; '.join(list(problems)[:5])}"


class PlainLog:
    """What TrainingLog of utils/training.py is, without its curves, contact sheets and progress bar."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.history, self.losses, self._says = run.history, run.losses, plan.says

    def record(self, seen: int, loss: float, **_: float) -> None:
        """Notes a loss."""
        self.losses.append((seen, loss))

    def flush(self, row: Dict[str, float], _: Sequence[Any] = ()) -> None:
        """Notes and prints a row of figures."""
        self.history.append(row)
        self.say(", ".join(f"{name} {value:.4g}" for name, value in row.items()))

    def say(self, text: str) -> None:
        """Prints a line."""
        if self._says:
            print(text, flush=True)

    def close(self) -> None:
        """Nothing is left to do."""


class _Plain:
    """Stands for utils/click_training.py where that is missing: Ctrl-C ends a run, whose last saved state remains."""

    due = False  # no stop is ever asked for

    @classmethod
    def guard(cls, plan: Plan, minutes: Optional[float]) -> contextlib.AbstractContextManager:
        if minutes is not None:
            raise TrainingError("a time limit (minutes) needs utils/click_training.py beside solution.py")
        return contextlib.nullcontext(cls)

    @staticmethod
    def scale_and_describe(plan: Plan, **lengths: Optional[float]) -> Plan:
        if plan.tensorboard or any(length is not None for length in lengths.values()):
            raise TrainingError("epochs, fit_minutes and tensorboard need utils/click_training.py beside solution.py")
        return plan

    @staticmethod
    def click_log(plan: Plan, number: int, run: Run) -> PlainLog:
        return PlainLog(plan, run)

    @staticmethod
    def print_comparison(path: Path) -> None:
        pass

    @staticmethod
    def run_command(arguments: Sequence[str]) -> int:
        if arguments:
            raise TrainingError("arguments need utils/click_training.py beside solution.py; without any, it trains")
        print("wrote", train_segmentation())
        return 0


def _comforts() -> Any:
    """The module utils.click_training, or what stands for it: curves, time limits, recipe files, ..."""
    return _module("click_training") or _Plain


# ----------------------------------------------------------------------------------------------------------------------
# Training: arguments, photos, time
# ----------------------------------------------------------------------------------------------------------------------


def _check_arguments(**given: Optional[float]) -> None:
    least = {"epochs": 1e-6, "epoch_samples": 1, "validation_objects": 1, "fit_minutes": 1e-6}
    for name, value in given.items():
        if value is not None and not least.get(name, 0) <= value < 1e9:
            raise TrainingError(f"{name} must be {'above' if name in least else 'at least'} 0, not {value!r}")


def choose_device(name: Optional[str]) -> torch.device:
    """The device of this name or, without one, a GPU if there is one, else the CPU.

    Raises:
        ValueError: nothing can be computed on it.
    """
    if name is None and torch.cuda.is_available():
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = usable_device(name or "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    return device


class Group(NamedTuple):
    """The processes that train together (torchrun), or the only one."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Group:
        """Meets the processes that torchrun started, if it did."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size > 1:
            torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(int(os.environ.get("RANK", "0")), size)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=device)
        torch.distributed.all_reduce(value)
        return bool(value > 0)

    def leave(self) -> None:
        """Ends the meeting."""
        if self.size > 1:
            torch.distributed.destroy_process_group()


class TrainPhoto(NamedTuple):
    """A photo of the training data: its place in a dataset, how many of its objects are no stuff, and its mask file."""

    dataset: Any
    place: int
    instances: int
    id: str
    masks: Path


def find_training_photos(folder: PathLike, data: str) -> Tuple[List[TrainPhoto], List[TrainPhoto], bool]:
    """The photos to train on, those of the validation split to validate on, and whether they are not checkpoint.pth's.

    Args:
        folder: COCO_LVIS, with its split train and perhaps val.
        data: see `train_segmentation`. Photos that a checkpoint names are taken from both splits.
    """
    of_val = find_photos(folder, "val") if (Path(folder) / "val" / "hannotation.pickle").exists() else []
    path = Path(__file__).with_name("checkpoint.pth") if data in ("auto", "checkpoint") else Path(data)
    if data == "all" or (data == "auto" and not path.is_file()):
        return find_photos(folder), of_val, True
    if not path.is_file():
        raise TrainingError(f"{path}, whose photos are to be trained on, is missing: use data='all' (--data all)")
    ids = set((read_checkpoint(path).get("training") or {}).get("ids", ()))
    if not ids:
        raise TrainingError(f"{path} does not name the photos it was trained on: use data='all' (--data all)")
    of_train = find_photos(folder)
    photos = [photo for photo in of_train + of_val if photo.id in ids]
    if len(photos) >= ENOUGH * len(ids):
        return photos, [photo for photo in of_val if photo.id not in ids], data not in ("auto", "checkpoint")
    if data == "auto" and len(photos) <= (1 - ENOUGH) * len(ids):
        return of_train, of_val, True
    raise TrainingError(
        f"{len(photos)} of the {len(ids)} photos that {path} names are in {folder}: bring the others, or train on all "
        f"{len(of_train)} photos of its split train by data='all' (--data all)"
    )


def find_photos(folder: PathLike, split: str = "train") -> List[TrainPhoto]:
    """The photos of a split of a COCO_LVIS folder, in the order of its annotations.

    Raises:
        FileNotFoundError: the folder or the split is missing.
        TrainingError: the split is empty, or utils is missing or can't list photos as the course's own does.
    """
    try:
        from utils.datasets import CocoLvisDataset
    except ImportError as error:
        raise TrainingError(f"training reads its photos by utils/datasets.py: put utils beside it ({error})") from error
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder; fetch COCO_LVIS, or name where it is")
    dataset, masks = CocoLvisDataset(folder, split=split, stuff_prob=1.0), Path(folder) / split / "masks"
    if not hasattr(dataset, "dataset_samples"):
        raise TrainingError("CocoLvisDataset of utils has no dataset_samples, a list of (image id, annotation)")
    photos = [
        TrainPhoto(dataset, index, info["num_instance_masks"], str(name).zfill(12), masks / f"{name}.pickle")
        for index, (name, info) in enumerate(dataset.dataset_samples)
    ]
    if not photos:
        raise TrainingError(f"{folder}: there are no photos in its split {split}")
    return photos


def choose_phases(recipe: Union[Recipe, Sequence[Recipe], None], start: Optional[PathLike]) -> Tuple[Recipe, ...]:
    """The phases to train; a start decides their network and, without a recipe, the resolution."""
    phases = (recipe,) if isinstance(recipe, Recipe) else SHIPPED if recipe is None else tuple(recipe)
    if not phases:
        raise TrainingError("a training needs at least one phase")
    if start is None:
        return phases
    config = _config_of(read_checkpoint(start), start)
    if recipe is None:
        size = config.working_size
        phases = tuple(dataclasses.replace(p, working_size=size, resolutions=((0, size),)) for p in FINE_TUNING)
    return tuple(dataclasses.replace(p, backbone=config.backbone, disk_radius=config.disk_radius) for p in phases)


def _prepare(plan: Plan, **lengths: Optional[float]) -> Plan:
    """The plan, its schedule scaled to a length, after checks of all that would else fail after hours."""
    if any(phase.drawings for phase in plan.phases) and _module("drawings") is None:
        if plan.says:
            print("utils/drawings.py can't be imported, so that strokes and contours are not trained: the result "
                  "understands clicks only", flush=True)  # fmt: skip
        plan = plan._replace(phases=tuple(dataclasses.replace(phase, drawings="") for phase in plan.phases))
    plan = _comforts().scale_and_describe(plan, **lengths)
    ClickSamples(plan.photos, plan.phases[0])[0]  # photos are there, and objects large enough
    digest = data_digest(plan)
    for number, phase in enumerate(plan.phases):
        if phase.samples < phase.batch_size:
            raise TrainingError(f"{phase.samples} samples are not even one batch of {phase.batch_size}: train longer")
        path = plan.place(number) / "state.pth"
        if path.is_file():  # that of another run is refused before anything is trained
            refuse_other_run(read_plain(path), phase, digest, path)
    return plan


def refuse_other_run(state: Any, recipe: Recipe, data: str, path: PathLike) -> None:
    """Raises TrainingError if a saved state belongs to another recipe or other data; names what differs."""
    other = state.get("recipe") if isinstance(state, dict) else None
    if not isinstance(other, dict):
        raise TrainingError(f"{path} is no state of a training; use another output folder")
    own = plain_recipe(recipe)
    changed = [f"{name} {other.get(name)} there, {own[name]} here" for name in own if other.get(name) != own[name]]
    if changed:
        raise TrainingError(f"{path}: the run has another recipe: {'; '.join(changed)}; use another output folder")
    if state.get("data") != data:
        raise TrainingError(f"{path}: the run has other photos, masks or another start: use another output folder")


# ----------------------------------------------------------------------------------------------------------------------
# Training: weights and optimiser
# ----------------------------------------------------------------------------------------------------------------------


def open_run(plan: Plan, number: int) -> Run:
    """A phase's run: a new one from the weights before it, or the one whose state lies in its folder."""
    recipe, before, pretrained = plan.phases[number], plan.start, plan.pretrained
    if number > 0:
        before = plan.checkpoint(number - 1)
    state_path = plan.place(number) / "state.pth"
    resumes = state_path.exists()
    torch.manual_seed(recipe.seed)
    config = _network_config(recipe, freeze_norm=pretrained is not False)
    if before is not None:
        earlier = _config_of(read_checkpoint(before), before)
        drawings = recipe.drawings or earlier.drawings
        config = dataclasses.replace(earlier, working_size=recipe.working_size, drawings=drawings)
    model = ISModel(config.backbone, False if resumes or before is not None else pretrained, config)
    if before is not None and not resumes:
        load_strictly(model, _widened(read_checkpoint(before)["state_dict"], config), before)
    run = Run(recipe, model.to(plan.device, memory_format=torch.channels_last), plan.group, data_digest(plan))
    if resumes:
        run.load_state(read_plain(state_path, plan.device), state_path)
    if plan.group.any(resumes, plan.device) and plan.group.any(not resumes, plan.device):
        raise TrainingError(f"not all processes see {state_path}: put the output on a disk that all machines share")
    return run


def _network_config(recipe: Recipe, freeze_norm: bool = True) -> NetworkConfig:
    return NetworkConfig(
        recipe.backbone, recipe.working_size, recipe.disk_radius, drawings=recipe.drawings, freeze_norm=freeze_norm
    )


def data_digest(plan: Plan) -> str:
    """What a run is made from: its photos in their order, since sample i is drawn from their list, masks and start."""
    parts = [b"" if plan.start is None else Path(plan.start).read_bytes()]
    for photo in plan.photos:
        parts += [photo.id.encode(), _digest(photo.masks.read_bytes() if photo.masks.is_file() else b"").encode()]
    return _digest(b" ".join(parts))[:16]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Run:
    """A phase's training: everything that changes while it goes on, and that a resumed run needs to have again.

    Random streams are not part of it: they are drawn from counters.

    Args:
        recipe: of the phase.
        model: on its device, with the weights to begin from.
        group: the processes that train together.
        data: digest of what it is trained on.
    """

    def __init__(self, recipe: Recipe, model: ISModel, group: Group = Group(), data: str = "") -> None:  # noqa: B008
        if recipe.batch_size % group.size or recipe.batch_size < 2 * group.size:
            raise TrainingError(
                f"{group.size} processes can't share batches of {recipe.batch_size}: choose a multiple of their number "
                "and at least two samples for each, which batch normalization needs"
            )
        self.recipe = recipe
        self.group = group
        self.data = data
        self.device = next(model.parameters()).device
        self.model = model.train()
        self.ema_model = copy.deepcopy(model).eval().requires_grad_(False)
        self.parallel: nn.Module = model
        if group.size > 1:
            unused = recipe.backbone not in BACKBONES  # some encoders have layers behind the features that are taken
            self.parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=unused)
        self.optimizer = torch.optim.AdamW(_parameter_groups(model, recipe), lr=recipe.lr)
        self.scaler = _grad_scaler(enabled=self.device.type == "cuda" and not _gpu_has_bf16())
        self.batch = 0
        self.seconds = 0.0
        self.ended_early = False
        self.losses: List[Tuple[int, float]] = []  # (samples seen, loss): each batch at first, then means
        self.history: List[Dict[str, float]] = []  # a row of figures for each validation

    @property
    def seen(self) -> int:
        """Samples seen, of all processes together."""
        return self.batch * self.recipe.batch_size

    @property
    def learning_rate(self) -> float:
        """The rate at which new layers learn now."""
        return self.recipe.lr * lr_factor(self.recipe, self.seen)

    def state(self) -> Dict[str, Any]:
        """All of it as tensors and plain containers."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "ema_model", "optimizer", "scaler")}
        numbers = {name: getattr(self, name) for name in ("batch", "seconds", "ended_early", "losses", "history")}
        return {**parts, **numbers, "recipe": plain_recipe(self.recipe), "data": self.data}

    def load_state(self, state: Dict[str, Any], path: PathLike) -> None:
        """Goes on where `state` was taken; `path` names it in errors.

        Raises:
            TrainingError: it belongs to another recipe or other data; names what differs.
        """
        refuse_other_run(state, self.recipe, self.data, path)
        for name in ("model", "ema_model", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        for name in ("batch", "seconds", "ended_early", "losses", "history"):
            setattr(self, name, state[name])

    def record(self, figures: Dict[str, float]) -> Dict[str, Any]:
        """How the averaged weights were trained, for their checkpoint; `figures` were measured with them."""
        return {
            "recipe": plain_recipe(self.recipe),
            "samples": self.seen,
            "hours": round(self.seconds / 3600, 3),
            "metrics": figures,
            "losses": [list(entry) for entry in self.losses if entry[0] <= CHECK_SAMPLES],
            "history": self.history,
            "code": _digest(Path(__file__).read_bytes())[:16],
            "torch": str(torch.__version__),
        }

    def step(self, batch: Dict[str, Any]) -> Tensor:
        """One step of the optimiser on this process's share of a batch.

        Returns:
            The loss, without waiting for the device; NaN if the gradient is not finite, which spoils the weights.
        """
        loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        norm = self.update()
        return loss.detach() if self.scaler.is_enabled() else loss.detach() + 0 * norm  # a scaler skips such steps

    def update(self) -> Tensor:
        """Moves the weights along their gradients, and the averaged ones after them; returns the gradients' norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group["factor"]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.batch += 1
        self._average()
        return norm

    def loss(self, batch: Dict[str, Any]) -> Tensor:
        """The loss of a batch of ClickSamples, after a random number of click rounds."""
        recipe = self.recipe
        seed = recipe.seed * 1_000_003 + self.batch
        rng = torch.Generator().manual_seed(seed)  # the number of rounds is the same in all processes ...
        count = int(torch.multinomial(torch.tensor(recipe.rounds), 1, generator=rng))
        rng.manual_seed(seed * self.group.size + self.group.rank)  # ... clicks and dropout are not
        torch.manual_seed(seed * self.group.size + self.group.rank)
        images, truth, points = (
            batch[name].to(self.device, non_blocking=True) for name in ("images", "instances", "points")
        )
        images, truth = images.float() / 255, truth.float()
        drawn = batch["drawn"].to(self.device) if "drawn" in batch else images[:, :0]
        previous, points, drawn = click_rounds(self.model, images, truth, points, drawn, count, recipe, rng)
        with autocast(self.device):
            logits = self.parallel(torch.cat([images, previous, drawn], 1), points)["instances"].float()
        focal = normalized_focal_loss(logits, truth, recipe.focal_alpha, recipe.focal_gamma)
        loss = focal + recipe.iou_weight * soft_iou_loss(logits, truth)
        if recipe.keep_weight and count:
            right = (previous > self.model.pred_thr) == (truth > 0.5)
            loss = loss + recipe.keep_weight * bce_on(logits, truth, right)
        if recipe.interaction_weight:
            height, width = truth.shape[2:]
            disks = click_disks(points, height, width, recipe.disk_radius)
            touched = torch.cat([disks, drawn[:, :2]], 1).amax(1, keepdim=True) > 0
            loss = loss + recipe.interaction_weight * bce_on(logits, truth, touched)
        return loss.mean()

    def _average(self) -> None:
        """Moves the averaged weights towards the present ones, faster at the start of the run."""
        decay = min(self.recipe.ema_decay, (1 + self.batch) / (10 + self.batch))
        with torch.no_grad():
            for mean, now in zip(self.ema_model.state_dict().values(), self.model.state_dict().values()):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)


def lr_factor(recipe: Recipe, seen: int) -> float:
    """Factor of the rate after `seen` samples: a linear warm-up, a steady stretch, a cosine that ends at `lr_min`."""
    warm_up = min(recipe.warm_up, recipe.samples // 10)
    if seen < warm_up:
        return max(seen / warm_up, recipe.lr_min)
    begin = max(warm_up, recipe.lr_hold)
    progress = min(1.0, max(0, seen - begin) / max(1, recipe.samples - begin))
    return recipe.lr_min + (1 - recipe.lr_min) * (1 + math.cos(math.pi * progress)) / 2


def _parameter_groups(model: ISModel, recipe: Recipe) -> List[Dict[str, Any]]:
    """Pretrained layers at a smaller rate; the widened first convolution, half of it new, at the full one."""
    stem = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)).weight
    groups: Dict[Tuple[float, float], List[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        pretrained = name.startswith("backbone.") and parameter is not stem
        factor = recipe.backbone_lr if pretrained else 1.0
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [{"params": p, "factor": factor, "weight_decay": decay} for (factor, decay), p in groups.items()]


def _grad_scaler(enabled: bool) -> Any:
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cuda", enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)  # before torch 2.3


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Half precision where the device is made for it: a GPU, or a CPU with AMX."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16 if _gpu_has_bf16() else torch.float16)
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=_has_amx())


@functools.lru_cache(maxsize=None)
def _gpu_has_bf16() -> bool:
    """Whether the GPU computes in bf16 itself; torch's own question is answered yes by a T4, which emulates it."""
    return torch.cuda.get_device_capability()[0] >= 8


@functools.lru_cache(maxsize=None)
def _has_amx() -> bool:
    """Without AMX a CPU emulates bf16: twice as slow as fp32."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


# ----------------------------------------------------------------------------------------------------------------------
# Training: samples
# ----------------------------------------------------------------------------------------------------------------------

MIN_VISIBLE = 0.004  # part of a crop that an object must fill
MAX_DRAWS = 100  # in a row without an object, after which the data are called broken
MAX_POINTS = 3  # of each kind to begin with; each round of clicks adds a row


def load_batches(run: Run, samples: ClickSamples, workers: Optional[int]) -> Iterator[Dict[str, Any]]:
    """The batches of a run that are still to come; an error of a worker process is told without its traceback."""
    loader = torch.utils.data.DataLoader(
        samples,
        batch_sampler=sample_batches(run.recipe, run.batch, run.group),
        num_workers=worker_count(workers),
        worker_init_fn=_quiet_worker,
        pin_memory=run.device.type == "cuda",
    )
    try:
        yield from loader
    except TrainingError as error:
        raise TrainingError(str(error).strip().splitlines()[-1].rpartition("TrainingError: ")[2]) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(f"a process that loads samples died: {reason}; is memory short? try --workers 0") from None


def sample_batches(recipe: Recipe, first: int, group: Group) -> List[List[int]]:
    """Sample numbers of this process in each batch from number `first` to the end of the run."""
    share = recipe.batch_size // group.size
    begins = range(first * recipe.batch_size, recipe.samples - recipe.batch_size + 1, recipe.batch_size)
    return [list(range(b + group.rank * share, b + (group.rank + 1) * share)) for b in begins]


def worker_count(workers: Optional[int] = None) -> int:
    """Processes that load samples: as many as asked for, or one less than there are cores, 8 at most."""
    return max(1, min(8, (os.cpu_count() or 2) - 1)) if workers is None else workers


def _quiet_worker(_: int) -> None:
    """Loader workers leave Ctrl-C to the process that saves, and their cores to each other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


class Scene(NamedTuple):
    """A picture (H, W, 3) uint8 and the mask (H, W) bool of the object that is asked for."""

    image: np.ndarray
    mask: np.ndarray


class ClickSamples(torch.utils.data.Dataset):
    """The endless stream of training samples; item i depends on the recipe's seed and i alone.

    Args:
        photos: of `find_photos`.
        recipe: how samples are made.
        augmentator: called as `augmentator(image=, mask=) -> {"image", "mask"}` for every crop, as an albumentations
            Compose is. It may draw from the generators of random, numpy and torch, which are seeded for each sample.

    Items are dicts: "images" uint8 (3, H, W) RGB, "instances" uint8 (1, H, W), "points" float32 (2N, 3) with the first
    clicks, "problems": one line for each photo that could not be read, and "id" of the photo.
    """

    def __init__(self, photos: Sequence[TrainPhoto], recipe: Recipe, augmentator: Any = None) -> None:
        self.photos = photos
        self.recipe = recipe
        self.augmentator = augmentator

    def __len__(self) -> int:
        return self.recipe.samples

    def __getitem__(self, i: int) -> Dict[str, Any]:
        rng = np.random.default_rng((self.recipe.seed, 2, i))
        shape = batch_shape(self.recipe, i // self.recipe.batch_size)
        problems: List[str] = []
        photo, scene = self._crop(rng, shape, problems)
        if rng.random() < self.recipe.p_paste:
            scene = _paste(rng, scene, self._crop(rng, shape, problems)[1])
        if self.augmentator is not None:
            scene = self._augment(scene, shape, i)
        image = change_colours(rng, scene.image, self.recipe)
        points, drawn = first_points(rng, scene.mask, self.recipe), {}
        if self.recipe.drawings:
            seed = self.recipe.seed, 5, i
            drawn["drawn"] = _module("drawings").first_drawing(seed, scene.mask, points, self.recipe)
        return {
            **drawn,
            "images": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "instances": torch.from_numpy(scene.mask.astype(np.uint8))[None],
            "points": torch.from_numpy(points),
            "problems": "\n".join(problems),
            "id": photo.id,
        }

    def _crop(
        self, rng: np.random.Generator, shape: Tuple[int, int], problems: List[str]
    ) -> Tuple[TrainPhoto, Scene]:
        """A crop in which an object is visible; photos that can't be read are noted and others drawn."""
        for _ in range(MAX_DRAWS):
            photo = self.photos[rng.integers(len(self.photos))]
            try:
                scene = self._scene(rng, photo)
            except Exception as error:  # whatever a reader of files throws: the run goes on, and names the file
                problems.append(f"{photo.id}: {error}".replace("\n", " "))
                continue
            if scene is not None:
                frame = choose_crop(rng, scene.mask, shape, self.recipe)
                mask = frame.take(scene.mask.astype(np.uint8) * 255) > 127
                if mask.mean() > MIN_VISIBLE:
                    return photo, Scene(frame.take(scene.image), mask)
        met = "; ".join(problems[:5]) or f"no object of min_area {self.recipe.min_area} pixels (--min-area)"
        raise TrainingError(f"{MAX_DRAWS} photos in a row gave no object; the problems met: {met}")

    def _scene(self, rng: np.random.Generator, photo: TrainPhoto) -> Optional[Scene]:
        """A photo and one of its objects, both at the recipe's long side; None if no object is large enough."""
        sample = photo.dataset.get_sample(photo.place)
        scale = min(1.0, self.recipe.long_side / max(sample.image.shape[:2]))
        mask = choose_object(rng, sample, photo.instances, self.recipe.min_area / scale**2, self.recipe)
        if mask is None:
            return None
        height, width = (round(side * scale) for side in mask.shape)
        small = resize(mask.astype(np.uint8) * 255, height, width) > 127
        return Scene(resize(sample.image, height, width), small) if small.any() else None

    def _augment(self, scene: Scene, shape: Tuple[int, int], i: int) -> Scene:
        """The scene as the augmentator leaves it, in the batch's shape; unchanged if that loses the object."""
        seed = int(np.random.default_rng((self.recipe.seed, 4, i)).integers(2**31))
        if hasattr(self.augmentator, "set_random_seed"):
            self.augmentator.set_random_seed(seed)
        try:
            with _seeded(seed):
                changed = self.augmentator(image=scene.image, mask=scene.mask.astype(np.uint8) * 255)
            image, mask = changed["image"], changed["mask"]
        except Exception as error:  # foreign code may raise anything
            text = f"the augmentator failed: {type(error).__name__}: {error}"
            raise TrainingError(text.replace("\n", " ")) from error
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != (*mask.shape, 3):
            raise TrainingError("the augmentator must give an image uint8 (H, W, 3) and its mask (H, W): no Normalize")
        changed = Scene(resize(image, *shape), resize(mask, *shape) > 127)
        return changed if changed.mask.mean() > MIN_VISIBLE else scene


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators of random, numpy and torch seeded for a moment; then they go on where they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def batch_shape(recipe: Recipe, batch: int) -> Tuple[int, int]:
    """Height and width of the inputs of a batch: the resolution's area in one of the recipe's proportions."""
    side = [side for begin, side in recipe.resolutions if batch * recipe.batch_size >= begin][-1]
    aspect = np.random.default_rng((recipe.seed, 1, batch)).choice(recipe.aspects)
    return input_size(1000, round(1000 * aspect), side)


def choose_object(
    rng: np.random.Generator, sample: Any, instances: int, min_area: float, recipe: Recipe
) -> Optional[np.ndarray]:
    """The mask (H, W) bool of what is asked for: an object, a part of one, two objects, or a stuff region.

    Args:
        sample: a DSample with its stuff regions.
        instances: ids from this number on are stuff.
        min_area: in pixels of the sample; None is returned if a few draws find nothing of that size.
    """
    tree = sample._objects
    roots = [i for i, node in tree.items() if i < instances and node.get("parent") is None]
    things = [i for i in tree if i < instances]
    stuff = [i for i in tree if i >= instances]
    kind = rng.random()
    pool = stuff if kind < recipe.p_stuff else things if kind < recipe.p_stuff + recipe.p_part else roots
    pool = pool or things or stuff
    for chosen in rng.permutation(pool)[:8]:
        mask = sample.get_object_mask(chosen) > 0
        if np.count_nonzero(mask) >= min_area:
            if chosen in roots and rng.random() < recipe.p_merge:
                mask = _merge(rng, sample, mask, [i for i in roots if i != chosen], min_area)
            return mask
    return None


def _merge(rng: np.random.Generator, sample: Any, mask: np.ndarray, others: List[int], min_area: float) -> np.ndarray:
    """The mask with another object added, if one is found that touches it: a rider with a horse."""
    near = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    for other in rng.permutation(others)[:6]:
        candidate = sample.get_object_mask(other) > 0
        if (candidate & near).any() and np.count_nonzero(candidate) >= min_area / 4:
            return mask | candidate
    return mask


def choose_crop(rng: np.random.Generator, mask: np.ndarray, shape: Tuple[int, int], recipe: Recipe) -> Frame:
    """Where to look: about the object, as after a zoom-in, or at most of the photo, as at the first click."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    middle = np.array([rows[0] + rows[-1] + 1, columns[0] + columns[-1] + 1]) / 2
    extent = np.array([rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]], float)
    stretch = recipe.stretch ** rng.uniform(-1, 1)
    proportions = np.array([1.0, shape[1] / shape[0] * stretch])
    if rng.random() < recipe.p_zoom:
        factor = math.exp(rng.uniform(*np.log(recipe.zoom_range)))
        sides = proportions * (extent / proportions).max() * factor
        middle += rng.uniform(-0.2, 0.2, 2) * extent
    else:
        ratio = np.clip(width / height / (shape[1] / shape[0]), 1 / recipe.stretch, recipe.stretch)
        proportions = np.array([1.0, shape[1] / shape[0] * ratio])
        sides = proportions * (np.array([height, width]) / proportions).min() * rng.uniform(*recipe.photo_range)
        middle += rng.uniform(-0.5, 0.5, 2) * sides
    sides = sides * min(1.0, (np.array([height, width]) / sides).min())
    sides = np.clip(np.round(sides), 2, (height, width)).astype(int)
    corner = np.clip(np.round(middle - sides / 2), 0, np.array([height, width]) - sides).astype(int)
    (top, left), (rows, columns) = corner.tolist(), sides.tolist()
    return Frame(top, left, rows, columns, *shape, mirrored=bool(rng.random() < 0.5))


def _paste(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """Puts the other scene's object over this one; asks for it or for what is left visible of this one's object."""
    image = np.where(other.mask[..., None], other.image, scene.image)
    rest = scene.mask & ~other.mask
    if rng.random() < 0.5 or rest.sum() < 0.5 * scene.mask.sum() or rest.mean() < MIN_VISIBLE:
        return Scene(image, other.mask)
    return Scene(image, rest)


def change_colours(rng: np.random.Generator, image: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Another light, tint, sharpness or compression for a picture (H, W, 3) uint8."""
    if rng.random() < recipe.p_brightness:
        image = np.clip(image * np.float32(rng.uniform(0.7, 1.3)) + rng.uniform(-35, 35), 0, 255).astype(np.uint8)
    if rng.random() < recipe.p_color_shift:
        image = np.clip(image.astype(np.int16) + rng.integers(-20, 21, 3), 0, 255).astype(np.uint8)
    if rng.random() < recipe.p_gray:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < recipe.p_blur:
        image = cv2.filter2D(image, -1, _motion_kernel(rng))
    if rng.random() < recipe.p_jpeg:
        quality = int(rng.integers(25, 80))
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return image


def _motion_kernel(rng: np.random.Generator) -> np.ndarray:
    """A line through the middle of a small square, in any direction, of sum 1."""
    size = int(rng.choice([3, 5, 7]))
    kernel = np.zeros((size, size), np.float32)
    angle, middle = rng.uniform(0, math.pi), size // 2
    dy, dx = round(middle * math.sin(angle)), round(middle * math.cos(angle))
    cv2.line(kernel, (middle - dx, middle - dy), (middle + dx, middle + dy), 1.0)
    return kernel / kernel.sum()


def first_points(rng: np.random.Generator, mask: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Points (2 * MAX_POINTS, 3) to begin with: one click in the object and, now and then, a few more anywhere."""
    points = np.full((2, MAX_POINTS, 3), -1, np.float32)
    depth = edge_distance(mask)
    if rng.random() < recipe.p_center_click:
        points[0, 0] = (*divmod(int(depth.argmax()), depth.shape[1]), 0)
    else:
        points[0, 0] = (*_random_pixel(rng, depth > 0.3 * depth.max()), 100)
    if rng.random() < recipe.p_more_points:
        for n in range(rng.integers(0, MAX_POINTS)):
            points[0, 1 + n] = (*_random_pixel(rng, mask), 100)
        if not mask.all():
            for n in range(rng.integers(0, MAX_POINTS)):
                points[1, n] = (*_random_pixel(rng, ~mask), 100)
    return points.reshape(-1, 3)


def _random_pixel(rng: np.random.Generator, region: np.ndarray) -> Tuple[int, int]:
    places = np.flatnonzero(region)
    return divmod(int(places[rng.integers(len(places))]), region.shape[1])


def edge_distance(region: np.ndarray) -> np.ndarray:
    """Exact Euclidean distance of each pixel of a region (H, W) to the nearest pixel that is not in it.

    What lies outside the image is not in it.
    """
    padded = np.pad(region.astype(np.uint8), 1)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


# ----------------------------------------------------------------------------------------------------------------------
# Training: rounds of clicks and the loss
# ----------------------------------------------------------------------------------------------------------------------


def batch_edge_distances(regions: Tensor) -> Tensor:
    """`edge_distance` of many regions (N, H, W) bool at once, as float32 on the same device."""
    if regions.device.type == "cpu":
        return torch.from_numpy(np.stack([edge_distance(region) for region in regions.numpy()]))
    return brute_edge_distances(regions)


def brute_edge_distances(regions: Tensor) -> Tensor:
    """`batch_edge_distances` for a GPU: the smallest of all squared distances, first along columns, then along rows.

    Felzenszwalb and Huttenlocher 2012 without their envelope: its brute force is what a GPU is good at.
    """
    distance2 = F.pad(regions.float(), (1, 1, 1, 1)) * 1e6
    for _ in range(2):
        steps = torch.arange(distance2.shape[1], device=regions.device, dtype=torch.float32)
        offsets2 = (steps[:, None] - steps) ** 2
        distance2 = (distance2[:, None] + offsets2[..., None]).amin(2).transpose(1, 2)
    return distance2[:, 1:-1, 1:-1].sqrt()


def next_clicks(
    truth: Tensor, mask: Tensor, exact: Tensor, noise: Tensor, slips: Optional[Tensor] = None
) -> Tuple[Tensor, Tensor]:
    """The user's next click for each sample: in the largest error, at its middle or near it.

    Args:
        truth, mask: bool (B, H, W).
        exact: bool (B,), the grader's click: where the distance to the error's edge is greatest.
        noise: float (B, H, W) in [0, 1) that decides where a click that is not exact falls.
        slips: bool (2, B): whose click falls beside the error, and whose has the wrong sign.

    Returns:
        (B, 3) rows (y, x, is_positive), and bool (B,): whether there was an error to click on.
    """
    batch, height, width = truth.shape
    distances = batch_edge_distances(torch.cat([truth & ~mask, ~truth & mask])).view(2, batch, height * width)
    squared = torch.round(distances**2)  # whole numbers: ties are exact, as in utils.clicker
    deepest = squared.amax(-1)
    positive = deepest[0] > deepest[1]
    depth = torch.where(positive[:, None], squared[0], squared[1])
    near = (depth > depth.amax(1, keepdim=True) / 4) * (1 + noise.view(batch, -1))  # half of the distance
    place = torch.where(exact, depth.argmax(1), near.argmax(1))
    if slips is not None:
        place = torch.where(slips[0], _beside(depth.view(batch, height, width), noise), place)
        positive = positive ^ slips[1]
    rows = [torch.div(place, width, rounding_mode="floor"), place % width, positive]
    return torch.stack([row.float() for row in rows], 1), deepest.amax(0) > 0


SLIP = 5  # pixels of the input that a click outside the error may be away from it, at least


def _beside(depth: Tensor, noise: Tensor) -> Tensor:
    """A random pixel (B,) outside each region, about as near to its edge as its middle is.

    Args:
        depth: (B, H, W), squared distance to the region's edge, 0 outside; noise: (B, H, W) in [0, 1).
    """
    deepest, middle = depth.flatten(1).max(1)
    y = torch.div(middle, depth.shape[2], rounding_mode="floor").view(-1, 1, 1)
    x = (middle % depth.shape[2]).view(-1, 1, 1)
    rows, columns = (torch.arange(side, device=depth.device) for side in depth.shape[1:])
    distance2 = (rows.view(1, -1, 1) - y) ** 2 + (columns.view(1, 1, -1) - x) ** 2
    reach = deepest.sqrt() + deepest.sqrt().clamp(min=SLIP)
    near = (depth == 0) & (distance2 <= (reach**2).view(-1, 1, 1))
    return (near * (1 + noise)).flatten(1).argmax(1)


def add_clicks(points: Tensor, clicks: Tensor, wanted: Tensor, index: int) -> Tensor:
    """Points (B, 2N + 2, 3): those of (B, 2N, 3) and each sample's click, where it is wanted, in a new row of its kind.

    Args:
        clicks: (B, 3) rows (y, x, is_positive); wanted: bool (B,).
        index: of the click in the points' third column.
    """
    batch, rows = points.shape[:2]
    points = F.pad(points.view(batch, 2, rows // 2, 3), (0, 0, 0, 1), value=-1.0)
    kind = 1 - clicks[:, 2].long()
    here = torch.arange(batch, device=points.device)
    row = torch.cat([clicks[:, :2], torch.full_like(clicks[:, :1], index)], 1)
    points[here, kind, -1] = torch.where(wanted[:, None], row, points[here, kind, -1])
    return points.view(batch, rows + 2, 3)


def click_rounds(
    model: ISModel,
    images: Tensor,
    truth: Tensor,
    points: Tensor,
    drawn: Tensor,
    count: int,
    recipe: Recipe,
    rng: torch.Generator,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Plays rounds of interactions against the model's own predictions, in evaluation mode and without gradient.

    Args:
        images: float (B, 3, H, W) in [0, 1]; truth: float (B, 1, H, W); points: (B, 2N, 3) to begin with.
        drawn: float (B, 4, H, W), maps of strokes and contours to begin with; (B, 0, H, W) if only clicks are known.
        count: rounds.

    Returns:
        The previous mask (B, 1, H, W), the points and the maps for the forward pass that is learnt from.
    """
    previous = torch.zeros_like(truth)
    stride = 1 if truth.device.type == "cpu" else max(1, round(math.sqrt(truth[0].numel()) / 64))
    coarse = truth[:, 0, ::stride, ::stride] > 0.5
    training = model.training
    model.eval()
    for k in range(count):
        with torch.no_grad(), autocast(truth.device):
            logits = model(torch.cat([images, previous, drawn], 1), points)["instances"]
        previous = torch.sigmoid(logits.float())
        mask = previous[:, 0, ::stride, ::stride] > model.pred_thr
        exact = (torch.rand(len(mask), generator=rng) < recipe.p_exact_click).to(mask.device)
        noise = torch.rand(mask.shape, generator=rng).to(mask.device)
        slips = None
        if recipe.p_slip:
            rates = torch.tensor([[recipe.p_slip], [recipe.p_slip / 2]])
            slips = (torch.rand((2, len(mask)), generator=rng) < rates).to(mask.device)
        clicks, wanted = next_clicks(coarse, mask, exact, noise, slips)
        clicks[:, :2] *= stride
        if drawn.shape[1]:
            masks = truth > 0.5, previous > model.pred_thr
            drawn, by_drawing = _module("drawings").draw_round(*masks, drawn, recipe, rng)
            wanted &= ~by_drawing
        points = add_clicks(points, clicks, wanted, k + 1)
    model.train(training)
    return previous, points, drawn


def normalized_focal_loss(logits: Tensor, truth: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss whose weights are scaled to a mean of 1 in each sample (Sofiiuk et al., AdaptIS, 2019).

    Args:
        logits, truth: (B, 1, H, W), truth in [0, 1].

    Returns:
        The loss (B,) of each sample.
    """
    probability = torch.sigmoid(logits)
    miss = (truth - probability).abs()
    weight = miss.detach() ** gamma
    weight = weight / weight.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    balance = alpha * truth + (1 - alpha) * (1 - truth)
    return (balance * weight * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")).mean(dim=(1, 2, 3))


def bce_on(logits: Tensor, truth: Tensor, pixels: Tensor) -> Tensor:
    """Mean binary cross entropy over some pixels, bool (B, 1, H, W), of each sample: (B,); 0 where there are none."""
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * pixels
    return loss.sum(dim=(1, 2, 3)) / pixels.sum(dim=(1, 2, 3)).clamp(min=1)


def soft_iou_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - intersection / union of probabilities (Rahman and Wang 2016), (B,) for (B, 1, H, W)."""
    probability = torch.sigmoid(logits)
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    return 1 - overlap / (probability + truth - probability * truth).sum(dim=(1, 2, 3)).clamp(min=1e-6)


# ----------------------------------------------------------------------------------------------------------------------
# Training: validation
# ----------------------------------------------------------------------------------------------------------------------

Example = Tuple[np.ndarray, np.ndarray, SimulatedClicks]  # image, mask of its object, what was predicted


def validate(
    model: ISModel, photos: Sequence[TrainPhoto], recipe: Recipe, count: int, shown: int = 8
) -> Tuple[Dict[str, float], List[Example]]:
    """Plays the grader's protocol on one object of each of `count` photos, always the same ones.

    Args:
        model: in evaluation mode.
        photos: none of them trained on.
        count: how many photos, evenly taken from the list.
        shown: how many examples to give back.

    Returns:
        {"iou@1": mean IoU after one click, ... "iou@3"}, {} without an object to validate on; and some examples.
    """
    predictor = Predictor(model, next(model.parameters()).device)
    no_stuff = dataclasses.replace(recipe, p_stuff=0.0)
    examples: List[Example] = []
    for number, photo in enumerate(photos[:: max(1, len(photos) // count)][:count]):
        try:
            sample = photo.dataset.get_sample(photo.place)
        except Exception as error:  # as in ClickSamples: named, and no reason to lose the run
            print(f"could not be read, and is not validated on: {photo.id}: {error}", file=sys.stderr)
            continue
        rng = np.random.default_rng((0, 3, number))  # not the recipe's seed: phases and seeds are compared
        truth = choose_object(rng, sample, photo.instances, recipe.min_area, no_stuff)
        if truth is not None:
            examples.append((sample.image, truth, predictor.simulate(sample.image, truth)))
    means = np.mean([played.ious for _, _, played in examples], axis=0) if examples else []
    return {f"iou@{k + 1}": float(value) for k, value in enumerate(means)}, examples[:shown]


# ----------------------------------------------------------------------------------------------------------------------
# Command line
# ----------------------------------------------------------------------------------------------------------------------

def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line; returns the exit status."""
    try:
        return _comforts().run_command(sys.argv[1:] if arguments is None else arguments)
    except (TrainingError, CheckpointError, FileNotFoundError, ValueError) as error:
        print(f"solution.py: {error}", file=sys.stderr)
    except OSError as error:  # a full or read-only disk
        place = error.filename or "the output folder"
        print(f"solution.py: {place}: {error.strerror}; mend it or name another --out, and start again",
              file=sys.stderr)  # fmt: skip
    return 1


if __name__ == "__main__":
    sys.modules["solution"] = sys.modules["__main__"]  # utils/click_training.py imports this very module
    sys.exit(main())
