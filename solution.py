"""Click-based interactive segmentation: a person clicks on an object or beside it, and the mask gets better.

The file reads from top to bottom: what the network sees (clicks and frames), what it is (a DeepLabv3 with three more
input channels), how it is asked (Predictor), and how it is taught (train_segmentation). It is the only code that the
grading system needs; predicting imports nothing but torch, torchvision, numpy and OpenCV.

Coordinates are (y, x) in pixels; the centre of the first pixel is (0, 0).
"""
from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import dataclasses
import hashlib
import itertools
import json
import math
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import ASPP

PathLike = Union[str, "os.PathLike[str]"]

CHECKPOINT_FORMAT = 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 16  # of the features that the ASPP sees; network inputs are multiples of it


# ----------------------------------------------------------------------------------------------------------------------
# What the network sees: clicks as disks, images through frames
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
        box = _resize(box, self.out_height, self.out_width)
        return np.ascontiguousarray(box[:, ::-1]) if self.mirrored else box

    def restore(self, probability: np.ndarray, height: int, width: int) -> np.ndarray:
        """A map (out_height, out_width) of the network, back in an image of this size; 0 outside the box."""
        box = probability[:, ::-1] if self.mirrored else probability
        box = _resize(np.ascontiguousarray(box), self.height, self.width)
        if (self.height, self.width) == (height, width):
            return box
        whole = np.zeros((height, width), box.dtype)
        whole[self.top : self.top + self.height, self.left : self.left + self.width] = box
        return whole

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2) of the image in pixels of the network input; float, they may lie between pixels."""
        scale = np.array([self.out_height / self.height, self.out_width / self.width])
        moved = (np.asarray(points, np.float64).reshape(-1, 2) - (self.top, self.left) + 0.5) * scale - 0.5
        if self.mirrored:
            moved[:, 1] = self.out_width - 1 - moved[:, 1]
        return moved

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `to_input`."""
        moved = np.array(points, np.float64).reshape(-1, 2)
        if self.mirrored:
            moved[:, 1] = self.out_width - 1 - moved[:, 1]
        scale = np.array([self.height / self.out_height, self.width / self.out_width])
        return (moved + 0.5) * scale - 0.5 + (self.top, self.left)

    def mirror(self) -> Frame:
        """The same frame seen in a mirror."""
        return self._replace(mirrored=not self.mirrored)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Averages along a side that becomes shorter, interpolates linearly along one that becomes longer.

    In two steps where the sides differ in that, because OpenCV averages only if both become shorter. Large images are
    halved first, which OpenCV does at a tenth of the cost (76 and 14 ms for 12 megapixels at 256x192); the last row or
    column of an odd number is left out then, a small part of a pixel of the result.
    """
    for _ in range(_halvings(*image.shape[:2], height, width)):
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
    """How often `_resize` halves a large image before it averages."""
    return max(0, math.floor(math.log2(min(height / out_height, width / out_width) / 2)))


def input_size(height: int, width: int, working_size: int, keep_aspect: bool = True) -> Tuple[int, int]:
    """Size of the network input for a box: about working_size**2 pixels in the box's shape, multiples of 16.

    The area is what costs time and what the network was trained at, so it is held constant; sides are limited to
    twice the working size, which bounds the memory for boxes of any shape, and are never shorter than 32 pixels.
    """
    if not keep_aspect:
        height = width = 1
    scale = working_size / math.sqrt(height * width)
    longest = 2 * working_size // STRIDE
    rows, columns = (STRIDE * max(2, min(longest, round(side * scale / STRIDE))) for side in (height, width))
    return rows, columns


# ----------------------------------------------------------------------------------------------------------------------
# What the network is: DeepLabv3 with a stride-4 skip and six input channels
# ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build the network of a checkpoint and to ask it as it was trained.

    Raises:
        ValueError: an unknown backbone, or a number that no network has.
    """

    backbone: str = "mobilenet_v2"
    working_size: int = 224  # network inputs have about working_size**2 pixels
    disk_radius: float = 5.0  # of a click, in pixels of the network input
    pred_thr: float = 0.5  # probabilities above it are the object
    aspp_rates: Tuple[int, ...] = (3, 6, 9)  # a 224 px input has 14x14 features: rate 18 would see padding only
    decoder_width: int = 64

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"unknown backbone {self.backbone!r}: choose one of {', '.join(BACKBONES)}")
        for name in ("working_size", "decoder_width", "aspp_rates"):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) and value else (value,)
            if not all(isinstance(n, int) and 1 <= n <= 10_000 for n in numbers):
                raise ValueError(f"{name} must be whole and between 1 and 10000, not {value!r}")
        if not (0 < self.disk_radius <= 10_000 and 0 < self.pred_thr < 1):
            raise ValueError(f"disk_radius {self.disk_radius!r} or pred_thr {self.pred_thr!r} is out of range")


class _Backbone(NamedTuple):
    builder: str  # in torchvision.models
    body: Optional[str]  # the part with the features, if not the model itself
    low: str  # layer of stride 4
    high: str  # layer of stride 16
    channels: Tuple[int, int]  # of low and high


BACKBONES = {
    "mobilenet_v2": _Backbone("mobilenet_v2", "features", "3", "17", (24, 320)),
    "mobilenet_v3_large": _Backbone("mobilenet_v3_large", "features", "3", "15", (24, 160)),
    "resnet50": _Backbone("resnet50", None, "layer1", "layer4", (256, 2048)),
    "resnet101": _Backbone("resnet101", None, "layer1", "layer4", (256, 2048)),
}


def _build_backbone(name: str, pretrained: Union[bool, PathLike]) -> IntermediateLayerGetter:
    """A torchvision classifier without its head, at output stride 16, that gives {"low", "high"} features."""
    spec = BACKBONES[name]
    classifier = _build_classifier(spec, pretrained)
    body = getattr(classifier, spec.body) if spec.body else classifier
    if spec.body:
        _dilate_last_stage(body)
    return IntermediateLayerGetter(body, {spec.low: "low", spec.high: "high"})


def _build_classifier(spec: _Backbone, pretrained: Union[bool, PathLike]) -> nn.Module:
    build = getattr(torchvision.models, spec.builder)
    options: Dict[str, Any] = {"replace_stride_with_dilation": [False, False, True]} if spec.body is None else {}
    if pretrained is True:
        return _download_classifier(build, options)
    classifier = build(**options)
    if pretrained is not False:
        _load_strictly(classifier, read_plain(pretrained), pretrained)
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


def _dilate_last_stage(features: nn.Sequential) -> None:
    """Keeps a mobile network at stride 16: its fifth and last stride of 2 becomes a dilation of 2 behind it."""
    depthwise = [m for m in features.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    last_stride = [i for i, conv in enumerate(depthwise) if conv.stride == (2, 2)][-1]
    for i, conv in enumerate(depthwise[last_stride:]):
        rate = 1 if i == 0 else 2
        conv.stride, conv.dilation = (1, 1), (rate, rate)
        conv.padding = tuple(rate * (k - 1) // 2 for k in conv.kernel_size)


class _Convolution(nn.Conv2d):
    """A convolution that does the work of the BatchNorm behind it while that is frozen, and learns faster on a CPU.

    Attributes:
        norms: the BatchNorm behind it, if any; in a tuple, so that it is not taken for a part of this module.
    """

    norms: Tuple[nn.BatchNorm2d, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.effective()
        depthwise = self.groups == self.in_channels == self.out_channels
        if depthwise and self.dilation != (1, 1) and x.requires_grad and x.device.type == "cpu":
            return _DilatedDepthwise.apply(x, weight, bias, self.dilation[0])
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def effective(self) -> Tuple[Tensor, Optional[Tensor]]:
        """Weight and bias, those of a frozen BatchNorm multiplied in."""
        weight, bias = self.weight, self.bias
        for norm in self.norms:
            if not norm.training:
                scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
                offset = -norm.running_mean if bias is None else bias - norm.running_mean
                weight, bias = weight * scale.view(-1, 1, 1, 1), norm.bias + offset * scale
        return weight, bias

    def fold(self) -> None:
        """Keeps `effective`, for good; the BatchNorm must stay frozen from now on."""
        weight, bias = self.effective()
        self.weight = nn.Parameter(weight.detach())
        self.bias = None if bias is None else nn.Parameter(bias.detach())
        self.norms = ()


class _Norm(nn.BatchNorm2d):
    """The BatchNorm behind a `_Convolution`, which does its work while it is frozen."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else x


class _DilatedDepthwise(torch.autograd.Function):
    """A dilated depthwise convolution of unchanged size, whose gradient costs a CPU a fifth of what PyTorch's costs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Optional[Tensor], rate: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rate, ctx.has_bias = rate, bias is not None
        return F.conv2d(x, weight, bias, 1, rate * (weight.shape[-1] // 2), rate, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Optional[Tensor], ...]:
        (x, weight), rate = ctx.saved_tensors, ctx.rate
        (height, width), size = x.shape[-2:], weight.shape[-1]
        margin = rate * (size // 2)
        to_x = F.conv2d(gradient, weight.flip(-1, -2), None, 1, margin, rate, len(weight))
        padded = F.pad(x, (margin,) * 4)
        corners = [(dy * rate, dx * rate) for dy in range(size) for dx in range(size)]
        seen = (padded[..., top : top + height, left : left + width] for top, left in corners)
        to_weight = torch.stack([(part * gradient).sum((0, 2, 3)) for part in seen], 1).view_as(weight)
        return to_x, to_weight, gradient.sum((0, 2, 3)) if ctx.has_bias else None, None


def _join_norms(network: nn.Module) -> None:
    """Tells each convolution of the BatchNorm behind it; the names of the weights stay."""
    for module in network.modules():
        children = list(module.children())
        for conv, norm in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                conv.__class__, norm.__class__ = _Convolution, _Norm
                conv.norms = (norm,)


def _widen_first_convolution(backbone: nn.Module) -> None:
    """Gives the first convolution three more input channels: previous mask, positive and negative clicks.

    The RGB filters stay. The new ones start as noise as strong as those: disks and masks are mostly zero, so that the
    features stay those of ImageNet nearly everywhere, and clicks are noticed sooner than with filters of zeros (mean
    loss .718 against .726 over the second thousand of samples, which were the same for both).
    """
    name, old = next((n, m) for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(6, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
    with torch.no_grad():
        new.weight.normal_().mul_(old.weight.std())
        new.weight[:, :3] = old.weight
    parent = backbone.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], new)


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class CheckpointError(RuntimeError):
    """A checkpoint, or the classifier's weights, can't be used; the message names the file and the reason."""


class ISModel(nn.Module):
    """DeepLabv3 (Chen et al. 2017) for clicks: an ASPP at stride 16, a stride-4 skip (DeepLabv3+, 2018), one logit.

    Args:
        backbone: one of BACKBONES.
        pretrained: False for random weights, True for torchvision's IMAGENET1K_V1 (a download), or the path of a
            state_dict file of the torchvision classifier.
        config: everything else about the network; its backbone is replaced by `backbone`.

    Attributes:
        pred_thr: probabilities above it belong to the object.
        freeze_norm: the backbone's BatchNorm keeps its statistics while training. They were measured on ImageNet;
            batches of click crops are too small and too alike to measure better ones.
    """

    def __init__(
        self,
        backbone: str = "mobilenet_v2",
        pretrained: Union[bool, PathLike] = False,
        config: NetworkConfig = NetworkConfig(),
    ) -> None:
        super().__init__()
        self.freeze_norm = pretrained is not False
        self._build(dataclasses.replace(config, backbone=backbone), pretrained)

    def _build(self, config: NetworkConfig, pretrained: Union[bool, PathLike] = False) -> None:
        self.config = config
        self.pred_thr = config.pred_thr
        self.backbone = _build_backbone(config.backbone, pretrained)
        _widen_first_convolution(self.backbone)
        low, high = BACKBONES[config.backbone].channels
        width = config.decoder_width
        self.aspp = ASPP(high, list(config.aspp_rates))
        self.project = _convolution(256, width, 1)
        self.skip = _convolution(low, width // 2, 1)
        self.decoder = nn.Sequential(
            _convolution(width + width // 2, width, 3), _convolution(width, width, 3), nn.Conv2d(width, 1, 1)
        )
        _join_norms(self)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> ISModel:
        """Sets the training mode; see `freeze_norm`."""
        super().train(mode)
        if mode and self.freeze_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, image: Tensor, points: Tensor) -> Dict[str, Tensor]:
        """One look at an image with clicks.

        Args:
            image: float (B, 4, H, W), RGB in [0, 1] and the previous mask's probabilities (0 without one).
            points: float (B, 2N, 3), see `click_disks`.

        Returns:
            {"instances": logits (B, 1, H, W)}.
        """
        size = image.shape[-2:]
        disks = click_disks(points, size[0], size[1], self.config.disk_radius)
        rgb = (image[:, :3] - self.mean) / self.std
        inputs = torch.cat([rgb, image[:, 3:], disks.to(image.dtype)], dim=1)
        features = self.backbone(inputs.contiguous(memory_format=torch.channels_last))
        low = self.skip(features["low"])
        high = _upsample(self.project(self.aspp(features["high"])), low.shape[-2:])
        return {"instances": _upsample(self.decoder(torch.cat([high, low], dim=1)), size)}

    def folded(self) -> ISModel:
        """A copy for predictions only: the same function without any BatchNorm, in less time."""
        network = copy.deepcopy(self).eval()
        for module in network.modules():
            if isinstance(module, _Convolution):
                module.fold()
        return network.to(memory_format=torch.channels_last)

    def restore_from_checkpoint(self, path: PathLike, device: torch.device) -> None:
        """Becomes the network of a checkpoint file, on this device.

        Args:
            path: a file of `save_model`, or a bare {"state_dict": ...} of this model.
            device: where the network shall compute.

        Raises:
            CheckpointError: the file is missing, damaged, of another model or of a newer version of this code.
        """
        content = _read_checkpoint(path)
        state = content["state_dict"]
        config = _config_of(content, path)
        self._build(config)
        _load_strictly(self, state, path)
        self.to(device).train(self.training)


def _upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def read_plain(path: PathLike, device: Union[str, torch.device] = "cpu") -> Any:
    """The content of a file of torch.save, read without running any code in it."""
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: there is no such file")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file may raise nearly anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        telling = [line for line in lines if "unsupported" in line.lower()]  # torch wraps it in advice
        reason = (telling or lines)[0].partition(". ")[0]
        raise CheckpointError(f"{path}: damaged, or not a plain checkpoint of tensors ({reason})") from None


def _read_checkpoint(path: PathLike) -> Dict[str, Any]:
    """The content of a checkpoint file, with a state_dict in it."""
    content = read_plain(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'{path}: not a checkpoint of this model: it holds no "state_dict" of tensors')
    return content


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
    width = NetworkConfig.decoder_width if project is None else len(project)

    def resemblance(config: NetworkConfig) -> int:
        with torch.device("meta"):  # shapes without weights
            return len(shapes & {(k, v.shape) for k, v in ISModel(config.backbone, config=config).state_dict().items()})

    return max((NetworkConfig(backbone=name, decoder_width=width) for name in BACKBONES), key=resemblance)


def _load_strictly(model: nn.Module, state: Dict[str, Tensor], path: PathLike) -> None:
    """Loads weights of any float type; names the first keys that differ if it is another network's."""
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
    model.load_state_dict(state)


def save_model(model: ISModel, path: PathLike, training: Optional[Dict[str, Any]] = None) -> None:
    """Writes a checkpoint: fp16 weights, config and, as plain containers, how it was trained.

    Written beside and renamed, so that a reader never meets half a file.
    """
    half = {k: v.detach().cpu().half() if v.is_floating_point() else v.cpu() for k, v in model.state_dict().items()}
    config = {**dataclasses.asdict(model.config), "aspp_rates": list(model.config.aspp_rates)}
    content = {"format": CHECKPOINT_FORMAT, "config": config, "state_dict": half, "training": training or {}}
    save_plain(content, path)


def save_plain(content: Dict[str, Any], path: PathLike) -> None:
    beside = f"{path}.tmp"
    torch.save(content, beside)
    os.replace(beside, path)


# ----------------------------------------------------------------------------------------------------------------------
# How it is asked: Predictor
# ----------------------------------------------------------------------------------------------------------------------


class _Click(NamedTuple):
    """A click as the Predictor remembers it: plain numbers, comparable and hashable."""

    y: int
    x: int
    is_positive: bool


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
        small = _resize(self.probability, rows, columns)
        own = self.frame._replace(out_height=rows, out_width=columns)
        first, last = own.to_input(frame.to_image([(0, 0), (frame.out_height - 1, frame.out_width - 1)]))
        y = np.linspace(first[0], last[0], frame.out_height, dtype=np.float32)
        x = np.linspace(first[1], last[1], frame.out_width, dtype=np.float32)
        moved = cv2.remap(small, *np.meshgrid(x, y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return moved * ((y >= -0.5) & (y <= rows - 0.5))[:, None] * ((x >= -0.5) & (x <= columns - 0.5))

    def box(self, threshold: float) -> Optional[Tuple[int, int, int, int]]:
        """The box (top, left, bottom, right) in the image of what is above the threshold; None if nothing is."""
        mask = self.probability > threshold
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            return None
        edges = np.array([(rows[0], columns[0]), (rows[-1] + 1, columns[-1] + 1)])
        (top, left), (bottom, right) = self.frame.to_image(edges - 0.5) + 0.5
        return math.floor(top), math.floor(left), math.ceil(bottom), math.ceil(right)


class Simulation(NamedTuple):
    """The grader's protocol played on one image; each list has one entry for each click."""

    masks: List[np.ndarray]  # bool (H, W)
    probabilities: List[np.ndarray]  # float32 (H, W)
    clicks: List[Tuple[int, int, bool]]  # (y, x, is_positive)
    ious: List[float]


class Predictor:
    """Asks the model about one image after another, click by click: `set_input_image`, then `get_prediction`.

    A prediction depends on the image, the click list and the mask that the list started from, and on nothing else:
    each click is a step from the prediction of the clicks before it, and these are remembered. A list that does not
    extend the last one (an undo, a deletion, a change) goes on from the longest prefix that both have in common.

    Args:
        model: an ISModel; a faster copy of it is asked, so that later changes of its weights are not seen.
        device: where it computes.
        with_flip: average with the prediction for the mirrored input.
        zoom_in: look at the object only: the box of the last mask and all clicks, found anew at each click.
        coarse_look: where there is no last mask, a look at the whole image finds the object to zoom in on, so that
            the first click costs two looks, this one at about coarse_size**2 pixels.
        keep_aspect: keep the image's proportions; else the network input is a square.
        expand_ratio: of the zoom-in box about its centre.
        min_box: sides of the zoom-in box are at least this fraction of the image's longer side.
        working_size: network inputs have about working_size**2 pixels; the checkpoint's own if left out.
        coarse_size: of the coarse look; five eighths of the working size if left out.
    """

    def __init__(
        self,
        model: ISModel,
        device: torch.device,
        with_flip: bool = True,
        zoom_in: bool = True,
        coarse_look: bool = True,
        keep_aspect: bool = True,
        expand_ratio: float = 2.0,
        min_box: float = 0.2,
        working_size: Optional[int] = None,
        coarse_size: Optional[int] = None,
    ) -> None:
        self.model = model
        self._network = model.folded() if isinstance(model, ISModel) else model
        self.device = torch.device(device)
        self.with_flip = with_flip
        self.zoom_in = zoom_in
        self.coarse_look = coarse_look
        self.keep_aspect = keep_aspect
        self.expand_ratio = expand_ratio
        self.min_box = min_box
        self.working_size = working_size or model.config.working_size
        self.coarse_size = coarse_size or self.working_size * 5 // 8
        self._image: Optional[np.ndarray] = None
        self._halved: List[np.ndarray] = []  # the image, half of it, a quarter of it, ... for looks at large boxes
        self._known: Dict[Tuple[_Click, ...], _Estimate] = {}  # of the last click list and its prefixes

    def set_input_image(self, image: np.ndarray) -> None:
        """Begins with an image; what was known of the last one is forgotten.

        Args:
            image: (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4); uint8, uint16 or float in [0, 1]. Alpha is
                ignored.

        Raises:
            ValueError: any other shape or type, an empty image, or values that are not in [0, 1] (NaN among them).
        """
        self._image = _as_rgb8(image)
        height, width = self._image.shape[:2]
        self._halved = [self._image]
        smallest = min(self.working_size, self.coarse_size)
        for _ in range(_halvings(height, width, *input_size(height, width, smallest, self.keep_aspect))):
            self._halved.append(_halve(self._halved[-1]))
        nothing = Frame(0, 0, height, width, 1, 1)
        self._known = {(): _Estimate(np.zeros((1, 1), np.float32), nothing)}

    def get_prediction(self, clicker: Any, prev_mask: Union[np.ndarray, Tensor, None] = None) -> np.ndarray:
        """The object's probability map for these clicks.

        Args:
            clicker: gives the list of clicks by `get_clicks()`; each has `is_positive` and `coords` (y, x) in pixels
                of the image. It is not changed.
            prev_mask: probabilities in [0, 1], numpy (H, W) or tensor (1, 1, H, W), to take for the prediction before
                the last click, so that work can start from any mask.

        Returns:
            float32 (H, W) in [0, 1], the caller's own.

        Raises:
            RuntimeError: no image is set.
            ValueError: there are no clicks, one lies outside the image, or prev_mask does not fit.
        """
        return self._estimate(clicker, prev_mask).whole(*self._image.shape[:2])

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
        threshold = self.model.pred_thr if threshold is None else threshold
        return self._estimate(clicker, prev_mask).mask(*self._image.shape[:2], threshold)

    def _estimate(self, clicker: Any, prev_mask: Union[np.ndarray, Tensor, None]) -> _Estimate:
        """The estimate after all clicks; those after fewer clicks are remembered."""
        if self._image is None:
            raise RuntimeError("no image to predict for: call set_input_image(image) first")
        height, width = self._image.shape[:2]
        clicks = _read_clicks(clicker, height, width)
        self._known = {known: value for known, value in self._known.items() if clicks[: len(known)] == known}
        if prev_mask is not None:
            everything = Frame(0, 0, height, width, height, width)
            self._known[clicks[:-1]] = _Estimate(_as_probability(prev_mask, height, width), everything)
            self._known.pop(clicks, None)
        with torch.no_grad():
            for count in range(len(max(self._known, key=len)) + 1, len(clicks) + 1):
                self._known[clicks[:count]] = self._step(self._known[clicks[: count - 1]], clicks[:count])
        return self._known[clicks]

    def simulate(self, image: np.ndarray, gt_mask: np.ndarray, clicks: int = 3) -> Simulation:
        """Plays the grader's protocol on one image with a known object.

        Args:
            image: as for `set_input_image`.
            gt_mask: (H, W), not 0 on the object.
            clicks: how many.

        Returns:
            Masks, clicks and IoUs after each click; two empty masks have an IoU of 1.
        """
        truth = np.asarray(gt_mask) != 0
        self.set_input_image(image)
        if truth.shape != self._image.shape[:2]:
            raise ValueError(f"the mask is {truth.shape}, its image {self._image.shape[:2]}: give a mask per pixel")
        robot = _RobotUser(truth)
        mask = np.zeros_like(truth)
        result = Simulation([], [], [], [])
        for _ in range(clicks):
            robot.click(mask)
            probability = self.get_prediction(robot)
            mask = probability > self.model.pred_thr
            result.masks.append(mask)
            result.probabilities.append(probability)
            result.ious.append(_iou(truth, mask))
        result.clicks.extend((*click.coords, click.is_positive) for click in robot.clicks)
        return result

    def _step(self, last: _Estimate, clicks: Tuple[_Click, ...]) -> _Estimate:
        """The estimate after the last click: a look at the object, or at the whole image where none is found."""
        frame = self._object_frame(last, clicks) if self.zoom_in else None
        if frame is None and self.zoom_in and self.coarse_look:
            coarse = self._look(self._frame(0, 0, *self._image.shape[:2], self.coarse_size), last, clicks)
            frame = self._object_frame(coarse, clicks)
        return self._look(frame or self._frame(0, 0, *self._image.shape[:2]), last, clicks)

    def _look(self, frame: Frame, last: _Estimate, clicks: Tuple[_Click, ...]) -> _Estimate:
        """What the network sees of the object in a frame, given all clicks and the last estimate."""
        image = torch.from_numpy(self._take(frame)).permute(2, 0, 1).float() / 255
        inputs = torch.cat([image, torch.from_numpy(last.seen_in(frame))[None]])[None]
        points = _points_tensor(frame, clicks)[None]
        if self.with_flip:
            inputs = torch.cat([inputs, inputs.flip(-1)])
            points = torch.cat([points, _points_tensor(frame.mirror(), clicks)[None]])
        logits = self._network(inputs.to(self.device), points.to(self.device))["instances"][:, 0]
        probability = torch.sigmoid(logits.float())
        if self.with_flip:
            probability = (probability[:1] + probability[1:].flip(-1)) / 2
        return _Estimate(probability[0].cpu().numpy(), frame)

    def _take(self, frame: Frame) -> np.ndarray:
        """What a frame shows of the image, from the smallest of its halved copies that `_resize` would come to."""
        level = min(_halvings(*frame[2:6]), len(self._halved) - 1)
        while (frame.top | frame.left) % 2**level:  # the copy's pixels don't begin where the box does
            level -= 1
        box = [value >> level for value in frame[:4]]
        return Frame(*box, frame.out_height, frame.out_width, frame.mirrored).take(self._halved[level])

    def _frame(self, top: int, left: int, bottom: int, right: int, working_size: Optional[int] = None) -> Frame:
        """The frame of a box of the image; a large box grows a little to begin and end with pixels of a halved copy."""
        size = input_size(bottom - top, right - left, working_size or self.working_size, self.keep_aspect)
        step = 2 ** min(_halvings(bottom - top, right - left, *size), len(self._halved) - 1)
        top, left = top // step * step, left // step * step
        bottom, right = (min(-(-end // step) * step, side) for end, side in zip((bottom, right), self._image.shape))
        return Frame(top, left, bottom - top, right - left, *size)

    def _object_frame(self, estimate: _Estimate, clicks: Tuple[_Click, ...]) -> Optional[Frame]:
        """The box of an estimate's mask and all clicks, expanded, within the image; None if the mask is empty."""
        mask_box = estimate.box(self.model.pred_thr)
        if mask_box is None:
            return None
        sides = self._image.shape[:2]
        begins, ends = [], []
        for axis, length in enumerate(sides):
            low = min(mask_box[axis], min(click[axis] for click in clicks))
            high = max(mask_box[axis + 2], max(click[axis] for click in clicks) + 1)
            side = max((high - low) * self.expand_ratio, self.min_box * max(sides))
            begins.append(max(0, min(low, math.floor((low + high - side) / 2))))
            ends.append(min(length, max(high, math.ceil((low + high + side) / 2))))
        return self._frame(*begins, *ends)


def _points_tensor(frame: Frame, clicks: Sequence[_Click]) -> Tensor:
    """Clicks as the network takes them: (2N, 3) rows (y, x, index) in a frame, positive ones first, -1 for padding."""
    count = max(1, len(clicks))
    points = np.full((2, count, 3), -1, np.float32)
    placed = [0, 0]
    moved = frame.to_input(np.array([(click.y, click.x) for click in clicks]))
    for index, (click, place) in enumerate(zip(clicks, moved)):
        kind = 0 if click.is_positive else 1
        points[kind, placed[kind]] = (*place, index)
        placed[kind] += 1
    return torch.from_numpy(points.reshape(2 * count, 3))


def _as_rgb8(image: np.ndarray) -> np.ndarray:
    """Any image that `set_input_image` takes, as uint8 (H, W, 3)."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ValueError(f"image of shape {image.shape}: give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not empty")
    image = image[..., :3]
    if image.dtype == np.uint16:
        image = np.round(image / np.float32(257)).astype(np.uint8)
    elif np.issubdtype(image.dtype, np.floating):
        if not (image.min() >= 0 and image.max() <= 1):  # NaN fails every comparison
            raise ValueError("a float image must hold values in [0, 1] and no NaN; divide 8-bit values by 255")
        image = np.round(image.astype(np.float32) * 255).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise ValueError(f"image of type {image.dtype}: give uint8, uint16 or float in [0, 1]")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.array(image, order="C")


def _as_probability(mask: Union[np.ndarray, Tensor], height: int, width: int) -> np.ndarray:
    """A previous mask, checked, as float32 (H, W)."""
    if isinstance(mask, Tensor):
        mask = mask.detach().float().cpu().numpy()
    mask = np.asarray(mask, np.float32)
    if mask.shape not in ((height, width), (1, 1, height, width)):
        raise ValueError(f"prev_mask of shape {mask.shape}: give {(height, width)} or {(1, 1, height, width)}")
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError("prev_mask must hold probabilities in [0, 1] and no NaN")
    return mask.reshape(height, width).copy()


def _read_clicks(clicker: Any, height: int, width: int) -> Tuple[_Click, ...]:
    """The clicks of a clicker as plain numbers, checked against the image's size."""
    clicks = tuple(_Click(int(c.coords[0]), int(c.coords[1]), bool(c.is_positive)) for c in clicker.get_clicks())
    if not clicks:
        raise ValueError("no clicks to predict from: add one to the clicker first")
    for click in clicks:
        if not (0 <= click.y < height and 0 <= click.x < width):
            raise ValueError(f"click (y={click.y}, x={click.x}) lies outside the image of {height}x{width} pixels")
    return clicks


class _RobotClick(NamedTuple):
    is_positive: bool
    coords: Tuple[int, int]


class _RobotUser:
    """The grader's user: clicks into the middle of the largest error, where the distance to its edge is greatest."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth
        self.clicks: List[_RobotClick] = []
        self._free = np.ones_like(truth)

    def get_clicks(self) -> List[_RobotClick]:
        return self.clicks

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for this mask (H, W) bool; ties between misses and extras are extras."""
        missed = self._squared_distance(self.truth & ~mask)
        extra = self._squared_distance(~self.truth & mask)
        is_positive = bool(missed.max() > extra.max())
        distance = missed if is_positive else extra
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        self._free[y, x] = False
        self.clicks.append(_RobotClick(is_positive, (int(y), int(x))))

    def _squared_distance(self, region: np.ndarray) -> np.ndarray:
        """Whole numbers: ties are then exact, however OpenCV rounds on this machine. 0 where clicks have been."""
        return np.rint(edge_distance(region) ** 2) * self._free


def edge_distance(region: np.ndarray) -> np.ndarray:
    """Exact Euclidean distance of each pixel of a region (H, W) to the nearest pixel that is not in it.

    What lies outside the image is not in it.
    """
    padded = np.pad(region.astype(np.uint8), 1)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


def _iou(truth: np.ndarray, mask: np.ndarray) -> float:
    union = np.count_nonzero(truth | mask)
    return np.count_nonzero(truth & mask) / union if union else 1.0


# ----------------------------------------------------------------------------------------------------------------------
# How it is taught, 1: the recipe
# ----------------------------------------------------------------------------------------------------------------------


def _setting(default: Any, group: str, text: str) -> Any:
    """A field of the recipe, with the group and the line of explanation that `--help` shows."""
    return field(default=default, metadata={"group": group, "help": text})


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what training does.

    Counted in samples, never in minutes, and drawn from counters: sample i of the run is a function of (seed, i).
    """

    after: Optional[Recipe] = None  # the phase whose weights this one begins from; None: the classifier's

    samples: int = _setting(64_000, "length", "samples to train on, repeats counted")
    stages: Tuple[Tuple[float, int], ...] = _setting(
        ((0.0, 128), (0.4, 160), (0.75, 224)), "length", "from this part of the run on, inputs of side**2 pixels"
    )
    batch_size: int = _setting(16, "length", "samples a step, of all processes together")
    seed: int = _setting(0, "length", "of every random stream")

    backbone: str = _setting("mobilenet_v2", "network", "one of " + ", ".join(BACKBONES))
    disk_radius: float = _setting(5.0, "network", "of a click in pixels of the network input")
    working_size: int = _setting(224, "network", "predict at about working_size**2 pixels")

    rate: float = _setting(5e-4, "optimiser", "AdamW's rate at the end of the warm-up")
    backbone_factor: float = _setting(0.3, "optimiser", "the pretrained layers' rate, relative to `rate`")
    weight_decay: float = _setting(0.01, "optimiser", "AdamW's, for convolutions only")
    warm_up: float = _setting(0.03, "optimiser", "part of the run over which the rate rises")
    steady: float = _setting(0.0, "optimiser", "up to this part of the run the rate stays, then a cosine begins")
    floor: float = _setting(0.01, "optimiser", "the cosine ends at this part of `rate`")
    clip: float = _setting(3.0, "optimiser", "largest norm of a gradient")
    ema: float = _setting(0.998, "optimiser", "decay a step of the averaged weights, which are the result")

    min_area: int = _setting(1000, "objects", "in pixels of a photo with a long side of 512")
    long_side: int = _setting(512, "objects", "photos are brought to this long side before anything else")
    stuff: float = _setting(0.1, "objects", "probability of a stuff region (sky, grass) as the object")
    part: float = _setting(0.2, "objects", "probability of any object of the hierarchy, not only a root")
    merge: float = _setting(0.2, "objects", "probability of two objects as one, touching ones first")
    paste: float = _setting(0.15, "objects", "probability of another photo's object pasted over the picture")

    zoom: float = _setting(0.6, "crops", "probability of a crop about the object; else most of the photo")
    zoom_range: Tuple[float, ...] = _setting((1.1, 2.5), "crops", "sides of such a crop, relative to the object's box")
    photo_range: Tuple[float, ...] = _setting((0.65, 1.0), "crops", "sides of other crops, relative to the photo's")
    stretch: float = _setting(1.4, "crops", "largest change of proportions")
    aspects: Tuple[float, ...] = _setting((1.0, 1.33, 1.78, 0.75), "crops", "width to height of inputs, one a batch")

    light: float = _setting(0.75, "colours", "probability of another brightness and contrast")
    tint: float = _setting(0.5, "colours", "probability of a colour shift")
    grey: float = _setting(0.05, "colours", "probability of a grey picture")
    blur: float = _setting(0.15, "colours", "probability of motion blur, as in video frames")
    jpeg: float = _setting(0.2, "colours", "probability of strong JPEG compression")

    first_centre: float = _setting(0.7, "clicks", "probability of the first click at the object's centre, not nearby")
    more_points: float = _setting(0.2, "clicks", "probability of further random first points")
    rounds: Tuple[float, ...] = _setting((0.3, 0.3, 0.25, 0.15), "clicks", "weights of 0, 1, 2, ... further clicks")
    exact: float = _setting(0.7, "clicks", "probability of a further click as the grader makes it, not nearby")

    focal_alpha: float = _setting(0.5, "loss", "weight of the object's pixels in the focal loss")
    focal_gamma: float = _setting(2.0, "loss", "exponent of the focal loss")
    overlap: float = _setting(0.5, "loss", "weight of the soft IoU loss")


_SECOND_PHASE = Recipe(  # after one of the defaults
    samples=48_000,
    stages=((0.0, 160), (0.633, 224)),
    seed=1,
    rate=3e-4,
    warm_up=1280 / 48_000,
    steady=0.633,
    stuff=0.05,
    part=0.1,
    merge=0.3,
    first_centre=0.8,
    more_points=0.1,
    rounds=(0.3, 0.3, 0.3, 0.1),
    exact=0.8,
    after=Recipe(),
)
SHIPPED = dataclasses.replace(  # made the checkpoint that lies beside this file
    _SECOND_PHASE,
    samples=44_800,
    stages=((0.0, 224), (0.5, 256)),
    seed=2,
    warm_up=1280 / 44_800,
    steady=9600 / 44_800,
    working_size=256,
    after=_SECOND_PHASE,
)


def phases(recipe: Recipe) -> List[Recipe]:
    """The recipe's phases, the first to train first; the last one is the recipe itself."""
    return (phases(recipe.after) if recipe.after else []) + [recipe]


def learning_rate(recipe: Recipe, seen: int) -> float:
    """Factor of the rate after `seen` samples: a linear warm-up, a steady stretch, a cosine that ends at the floor."""
    progress = min(seen / recipe.samples, 1.0)
    if progress < recipe.warm_up:
        return max(progress / recipe.warm_up, recipe.floor)
    begin = max(recipe.warm_up, recipe.steady)
    cosine = (1 + math.cos(math.pi * max(progress - begin, 0.0) / (1 - begin))) / 2
    return recipe.floor + (1 - recipe.floor) * cosine


def batch_shape(recipe: Recipe, batch: int) -> Tuple[int, int]:
    """Height and width of the inputs of a batch: the stage's area in one of the recipe's proportions."""
    progress = batch * recipe.batch_size / recipe.samples
    side = [side for begin, side in recipe.stages if progress >= begin][-1]
    aspect = np.random.default_rng((recipe.seed, 1, batch)).choice(recipe.aspects)
    return input_size(1000, round(1000 * aspect), side)


# ----------------------------------------------------------------------------------------------------------------------
# How it is taught, 2: samples
# ----------------------------------------------------------------------------------------------------------------------


class Photo(NamedTuple):
    """A photo of the training data: its place in a dataset, and how many of its objects are no stuff."""

    dataset: Any
    index: int
    instances: int
    id: str


def find_photos(data: PathLike, split: str = "train") -> List[Photo]:
    """The photos of a split of a COCO_LVIS folder, in the order of its annotations.

    Raises:
        FileNotFoundError: the folder or the split is missing.
        ValueError: the split is empty.
        TrainingError: utils is missing, or can't list photos as the course's own does.
    """
    try:
        from utils.datasets import CocoLvisDataset
    except ImportError as error:
        raise TrainingError(f"training reads its photos by utils/datasets.py: put utils beside it ({error})") from error
    if not Path(data).is_dir():
        raise FileNotFoundError(f"{data}: there is no such folder; fetch COCO_LVIS, or name where it is")
    dataset = CocoLvisDataset(data, split=split, stuff_prob=1.0)
    if not hasattr(dataset, "dataset_samples"):
        raise TrainingError("CocoLvisDataset of utils has no dataset_samples, a list of (image id, annotation)")
    photos = [
        Photo(dataset, index, info["num_instance_masks"], str(image_id).zfill(12))
        for index, (image_id, info) in enumerate(dataset.dataset_samples)
    ]
    if not photos:
        raise ValueError(f"{data}: there are no photos in its split {split}")
    return photos


class Scene(NamedTuple):
    """A photo (H, W, 3) uint8 and the mask (H, W) bool of the object that is asked for."""

    image: np.ndarray
    mask: np.ndarray


MIN_VISIBLE = 0.004  # part of a crop that an object must fill
MAX_DRAWS = 100  # in a row without an object, after which the data are called broken


class ClickSamples(torch.utils.data.Dataset):
    """The endless stream of training samples; item i depends on the recipe's seed and i alone.

    Args:
        photos: of `find_photos`.
        recipe: how samples are made.
        augmentator: called as `augmentator(image=, mask=) -> {"image", "mask"}` for every crop, as an albumentations
            Compose is.

    Items are dicts: "images" uint8 (3, H, W) RGB, "instances" uint8 (1, H, W), "points" float32 (2N, 3) with the first
    clicks, "problems": one line for each photo that could not be read, and "id" of the photo.
    """

    def __init__(self, photos: Sequence[Photo], recipe: Recipe, augmentator: Any = None) -> None:
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
        if rng.random() < self.recipe.paste:
            scene = _paste(rng, scene, self._crop(rng, shape, problems)[1])
        if self.augmentator is not None:
            scene = self._augment(scene, shape, i)
        image = change_colours(rng, scene.image, self.recipe)
        return {
            "images": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "instances": torch.from_numpy(scene.mask.astype(np.uint8))[None],
            "points": torch.from_numpy(first_points(rng, scene.mask, self.recipe)),
            "problems": "\n".join(problems),
            "id": photo.id,
        }

    def _crop(self, rng: np.random.Generator, shape: Tuple[int, int], problems: List[str]) -> Tuple[Photo, Scene]:
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
        met = "; ".join(problems[:5]) or f"no object of {self.recipe.min_area} pixels"
        raise TrainingError(f"{MAX_DRAWS} photos in a row gave no object; the problems met: {met}")

    def _scene(self, rng: np.random.Generator, photo: Photo) -> Optional[Scene]:
        """A photo and one of its objects, both at the recipe's long side; None if no object is large enough."""
        sample = photo.dataset.get_sample(photo.index)
        height, width = sample.image.shape[:2]
        scale = min(1.0, self.recipe.long_side / max(height, width))
        mask = choose_object(rng, sample, photo.instances, self.recipe.min_area / scale**2, self.recipe)
        if mask is None:
            return None
        height, width = round(height * scale), round(width * scale)
        small = _resize(mask.astype(np.uint8) * 255, height, width) > 127
        return Scene(_resize(sample.image, height, width), small) if small.any() else None

    def _augment(self, scene: Scene, shape: Tuple[int, int], i: int) -> Scene:
        """The scene as the augmentator leaves it, in the batch's shape; unchanged if that loses the object."""
        seed = int(np.random.default_rng((self.recipe.seed, 4, i)).integers(2**31))
        if hasattr(self.augmentator, "set_random_seed"):
            self.augmentator.set_random_seed(seed)
        else:
            random.seed(seed)  # albumentations 1 draws from it
        changed = self.augmentator(image=scene.image, mask=scene.mask.astype(np.uint8) * 255)
        image, mask = changed["image"], changed["mask"]
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != (*mask.shape, 3):
            raise TrainingError("the augmentator must give an image uint8 (H, W, 3) and its mask (H, W): no Normalize")
        changed = Scene(_resize(image, *shape), _resize(mask, *shape) > 127)
        return changed if changed.mask.mean() > MIN_VISIBLE else scene


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
    pool = stuff if kind < recipe.stuff else things if kind < recipe.stuff + recipe.part else roots
    pool = pool or things or stuff
    for chosen in rng.permutation(pool)[:8]:
        mask = sample.get_object_mask(chosen) > 0
        if np.count_nonzero(mask) >= min_area:
            if chosen in roots and rng.random() < recipe.merge:
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
    if rng.random() < recipe.zoom:
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
    return Frame(*map(int, (*corner, *sides, *shape)), mirrored=bool(rng.random() < 0.5))


def _paste(rng: np.random.Generator, scene: Scene, other: Scene) -> Scene:
    """Puts the other scene's object over this one; asks for it or for what is left visible of this one's object."""
    image = np.where(other.mask[..., None], other.image, scene.image)
    rest = scene.mask & ~other.mask
    if rng.random() < 0.5 or rest.sum() < 0.5 * scene.mask.sum() or rest.mean() < MIN_VISIBLE:
        return Scene(image, other.mask)
    return Scene(image, rest)


def change_colours(rng: np.random.Generator, image: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Another light, tint, sharpness or compression for a picture (H, W, 3) uint8."""
    if rng.random() < recipe.light:
        image = np.clip(image * np.float32(rng.uniform(0.7, 1.3)) + rng.uniform(-35, 35), 0, 255).astype(np.uint8)
    if rng.random() < recipe.tint:
        image = np.clip(image.astype(np.int16) + rng.integers(-20, 21, 3), 0, 255).astype(np.uint8)
    if rng.random() < recipe.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < recipe.blur:
        image = cv2.filter2D(image, -1, _motion_kernel(rng))
    if rng.random() < recipe.jpeg:
        quality = int(rng.integers(25, 80))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image


def _motion_kernel(rng: np.random.Generator) -> np.ndarray:
    """A line through the middle of a small square, in any direction, of sum 1."""
    size = int(rng.choice([3, 5, 7]))
    kernel = np.zeros((size, size), np.float32)
    angle, middle = rng.uniform(0, math.pi), size // 2
    dy, dx = round(middle * math.sin(angle)), round(middle * math.cos(angle))
    cv2.line(kernel, (middle - dx, middle - dy), (middle + dx, middle + dy), 1.0)
    return kernel / kernel.sum()


MAX_POINTS = 3  # of each kind to begin with; each round of clicks adds a row


def first_points(rng: np.random.Generator, mask: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Points (2 * MAX_POINTS, 3) to begin with: one click in the object and, now and then, a few more anywhere."""
    points = np.full((2, MAX_POINTS, 3), -1, np.float32)
    depth = edge_distance(mask)
    if rng.random() < recipe.first_centre:
        points[0, 0] = (*np.unravel_index(depth.argmax(), depth.shape), 0)
    else:
        points[0, 0] = (*_random_pixel(rng, depth > 0.3 * depth.max()), 100)
    if rng.random() < recipe.more_points:
        for n in range(rng.integers(0, MAX_POINTS)):
            points[0, 1 + n] = (*_random_pixel(rng, mask), 100)
        if not mask.all():
            for n in range(rng.integers(0, MAX_POINTS)):
                points[1, n] = (*_random_pixel(rng, ~mask), 100)
    return points.reshape(-1, 3)


def _random_pixel(rng: np.random.Generator, region: np.ndarray) -> Tuple[int, int]:
    places = np.flatnonzero(region)
    return divmod(int(places[rng.integers(len(places))]), region.shape[1])


# ----------------------------------------------------------------------------------------------------------------------
# How it is taught, 3: rounds of clicks and the loss
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


def next_clicks(truth: Tensor, mask: Tensor, exact: Tensor, noise: Tensor) -> Tuple[Tensor, Tensor]:
    """The user's next click for each sample: in the largest error, at its middle or near it.

    Args:
        truth, mask: bool (B, H, W).
        exact: bool (B,), the grader's click: where the distance to the error's edge is greatest.
        noise: float (B, H, W) in [0, 1) that decides where a click that is not exact falls.

    Returns:
        (B, 3) rows (y, x, is_positive), and bool (B,): whether there was an error to click on.
    """
    batch, height, width = truth.shape
    distances = batch_edge_distances(torch.cat([truth & ~mask, ~truth & mask])).view(2, batch, height * width)
    squared = torch.round(distances**2)  # whole numbers: ties are exact, as in _RobotUser
    deepest = squared.amax(-1)
    positive = deepest[0] > deepest[1]
    depth = torch.where(positive[:, None], squared[0], squared[1])
    near = (depth > depth.amax(1, keepdim=True) / 4) * (1 + noise.view(batch, -1))  # half of the distance
    place = torch.where(exact, depth.argmax(1), near.argmax(1))
    rows = [torch.div(place, width, rounding_mode="floor"), place % width, positive]
    return torch.stack([row.float() for row in rows], 1), deepest.amax(0) > 0


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
    model: ISModel, images: Tensor, truth: Tensor, points: Tensor, count: int, recipe: Recipe, rng: torch.Generator
) -> Tuple[Tensor, Tensor]:
    """Plays rounds of clicks against the model's own predictions, in evaluation mode and without gradient.

    Args:
        images: float (B, 3, H, W) in [0, 1]; truth: float (B, 1, H, W); points: (B, 2N, 3) to begin with.
        count: rounds.

    Returns:
        The previous mask (B, 1, H, W) and the points for the look that is learnt from.
    """
    previous = torch.zeros_like(truth)
    stride = 1 if truth.device.type == "cpu" else max(1, round(math.sqrt(truth[0].numel()) / 64))
    coarse = truth[:, 0, ::stride, ::stride] > 0.5
    training = model.training
    model.eval()
    for k in range(count):
        with torch.no_grad(), autocast(truth.device):
            logits = model(torch.cat([images, previous], 1), points)["instances"]
        previous = torch.sigmoid(logits.float())
        mask = previous[:, 0, ::stride, ::stride] > model.pred_thr
        exact = (torch.rand(len(mask), generator=rng) < recipe.exact).to(mask.device)
        noise = torch.rand(mask.shape, generator=rng).to(mask.device)
        clicks, wanted = next_clicks(coarse, mask, exact, noise)
        clicks[:, :2] *= stride
        points = add_clicks(points, clicks, wanted, k + 1)
    model.train(training)
    return previous, points


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


def soft_iou_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - intersection / union of probabilities (Rahman and Wang 2016), (B,) for (B, 1, H, W)."""
    probability = torch.sigmoid(logits)
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    return 1 - overlap / (probability + truth - probability * truth).sum(dim=(1, 2, 3)).clamp(min=1e-6)


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Half precision where the device is made for it: a GPU, or a CPU with AMX."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16 if _gpu_has_bf16() else torch.float16)
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=_has_amx())


@lru_cache(maxsize=None)
def _gpu_has_bf16() -> bool:
    """Whether the GPU computes in bf16 itself; torch's own question is answered yes by a T4, which emulates it."""
    return torch.cuda.get_device_capability()[0] >= 8


@lru_cache(maxsize=None)
def _has_amx() -> bool:
    """Without AMX a CPU emulates bf16: twice as slow as fp32."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


# ----------------------------------------------------------------------------------------------------------------------
# How it is taught, 4: the run
# ----------------------------------------------------------------------------------------------------------------------

LOOK_EVERY = 20  # batches between two looks at the losses: a look waits for the device
CHECK_SAMPLES = 3000  # of the start of a run, whose losses are kept one by one for `--recipe-check`
MAX_UNREADABLE = 0.01  # part of the samples; more are an error


class TrainingError(RuntimeError):
    """Training can't go on; the message says why, and what to do."""


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
        if self.size > 1:
            torch.distributed.destroy_process_group()


class Run:
    """A training run: everything that changes while it goes on, and that a resumed run needs to have again.

    Random streams are not part of it: they are drawn from counters.
    """

    def __init__(
        self, recipe: Recipe, model: ISModel, group: Group = Group(), ids: Sequence[str] = ()  # noqa: B008
    ) -> None:
        if recipe.batch_size % group.size or recipe.batch_size < 2 * group.size:
            raise TrainingError(
                f"{group.size} processes can't share batches of {recipe.batch_size}: choose a multiple of their number "
                "and at least two samples for each, which batch normalization needs"
            )
        self.recipe = recipe
        self.group = group
        self.photos = hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]  # sample i is drawn from their list
        self.device = next(model.parameters()).device
        self.model = model.train()
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        self.parallel: nn.Module = nn.parallel.DistributedDataParallel(model) if group.size > 1 else model
        self.optimizer = torch.optim.AdamW(_parameter_groups(model, recipe), lr=recipe.rate)
        self.scaler = _grad_scaler(enabled=self.device.type == "cuda" and not _gpu_has_bf16())
        self.batch = 0
        self.seconds = 0.0
        self.losses: List[Tuple[int, float]] = []  # (samples seen, loss): each batch at first, then means
        self.history: List[Dict[str, float]] = []  # a row of metrics.csv an epoch

    @property
    def seen(self) -> int:
        """Samples seen, of all processes together."""
        return self.batch * self.recipe.batch_size

    def state(self) -> Dict[str, Any]:
        """All of it as tensors and plain containers."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "averaged", "optimizer", "scaler")}
        numbers = {name: getattr(self, name) for name in ("batch", "seconds", "losses", "history")}
        return {**parts, **numbers, "recipe": plain_recipe(self.recipe), "photos": self.photos}

    def load_state(self, state: Dict[str, Any]) -> None:
        """Goes on where `state` was taken.

        Raises:
            TrainingError: it belongs to another recipe or other photos; names what differs.
        """
        other = state["recipe"]
        own = plain_recipe(self.recipe)
        changed = [f"{name} {other.get(name)} there, {own[name]} here" for name in own if other.get(name) != own[name]]
        if changed:
            differences = "; ".join(changed)
            raise TrainingError(f"the run to resume has another recipe: {differences}; use another output folder")
        if state.get("photos") != self.photos:
            raise TrainingError("the run to resume has other photos: give it those again, or use another output folder")
        for name in ("model", "averaged", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        for name in ("batch", "seconds", "losses", "history"):
            setattr(self, name, state[name])

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
        factor = learning_rate(self.recipe, self.seen)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * group["factor"] * factor
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
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
        previous, points = click_rounds(self.model, images, truth, points, count, recipe, rng)
        with autocast(self.device):
            logits = self.parallel(torch.cat([images, previous], 1), points)["instances"].float()
        focal = normalized_focal_loss(logits, truth, recipe.focal_alpha, recipe.focal_gamma)
        return (focal + recipe.overlap * soft_iou_loss(logits, truth)).mean()

    def _average(self) -> None:
        """Moves the averaged weights towards the present ones, faster at the start of the run."""
        decay = min(self.recipe.ema, (1 + self.batch) / (10 + self.batch))
        with torch.no_grad():
            for mean, now in zip(self.averaged.state_dict().values(), self.model.state_dict().values()):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - decay)
                else:
                    mean.copy_(now)


def plain_recipe(recipe: Recipe) -> Dict[str, Any]:
    """The recipe in plain containers, lists for tuples, as files hold it."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def _grad_scaler(enabled: bool) -> Any:
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cuda", enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)  # before torch 2.3


def _parameter_groups(model: ISModel, recipe: Recipe) -> List[Dict[str, Any]]:
    """Pretrained layers at a smaller rate; the widened first convolution, half of it new, at the full one."""
    stem = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)).weight
    groups: Dict[Tuple[float, float], List[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        pretrained = name.startswith("backbone.") and parameter is not stem
        factor = recipe.backbone_factor if pretrained else 1.0
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [{"params": p, "factor": factor, "weight_decay": decay} for (factor, decay), p in groups.items()]


def sample_batches(recipe: Recipe, first: int, group: Group) -> List[List[int]]:
    """Sample numbers of this process in each batch from number `first` to the end of the run."""
    share = recipe.batch_size // group.size
    begins = range(first * recipe.batch_size, recipe.samples - recipe.batch_size + 1, recipe.batch_size)
    return [list(range(b + group.rank * share, b + (group.rank + 1) * share)) for b in begins]


def _loader(run: Run, samples: ClickSamples, workers: Optional[int] = None) -> torch.utils.data.DataLoader:
    """The batches of a run that are still to come."""
    return torch.utils.data.DataLoader(
        samples,
        batch_sampler=sample_batches(run.recipe, run.batch, run.group),
        num_workers=_worker_count() if workers is None else workers,
        worker_init_fn=_quiet_worker,
        pin_memory=run.device.type == "cuda",
    )


def _quiet_worker(_: int) -> None:
    """Loader workers leave Ctrl-C to the process that saves, and their cores to each other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


class StopRequest:
    """Ctrl-C, a polite kill or the end of the time asks for a stop after the present step; a second Ctrl-C insists.

    Args:
        minutes: until the end of the time; without one, there is none.
        may_insist: False under torchrun, which passes on to its processes the Ctrl-C that they have seen themselves.

    Attributes:
        due: whether to stop.
    """

    def __init__(self, minutes: Optional[float] = None, may_insist: bool = True) -> None:
        self.asked = False
        self._may_insist = may_insist
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._handlers: Dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        with contextlib.suppress(ValueError):  # signals reach the main thread only
            self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: Any) -> None:
        if self.asked and self._may_insist and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    @property
    def due(self) -> bool:
        return self.asked or time.monotonic() > self._end


class _Journal:
    """What a run leaves in its folder: state, checkpoints, figures and pictures; and its line on the screen.

    Only the first of several processes writes.
    """

    def __init__(
        self, run: Run, out: Path, photos: Sequence[Photo], held_out: Sequence[Photo], before: Optional[Path] = None
    ) -> None:
        self.run = run
        self.earlier = {"after": _read_checkpoint(before)["training"]} if before else {}  # the phase before
        self.out = out
        self.writes = run.group.rank == 0
        self.ids = sorted({photo.id for photo in photos})
        self.held_out = held_out
        self.problems: Dict[str, int] = {}  # met since this start
        self._first = run.seen
        self._pending: List[Tuple[int, Tensor, Any]] = []
        self._looked = self._saved = time.monotonic()
        self._bar = _progress_bar(run) if self.writes else None
        for folder in ("checkpoints", "vis"):
            (out / folder).mkdir(parents=True, exist_ok=True)

    def note(self, loss: Tensor, batch: Dict[str, Any]) -> None:
        """Remembers a step; the loss is looked at later, so that the device need not be waited for."""
        self._pending.append((self.run.seen, loss, batch["id"]))
        for problem in filter(None, "\n".join(batch["problems"]).split("\n")):
            self.problems[problem] = self.problems.get(problem, 0) + 1

    def look(self) -> None:
        """Reads the losses of the last steps; all processes do it after the same batch.

        Raises:
            TrainingError: in all processes, if in one a loss is not finite (the state on disk is older and good), or
                too many photos are unreadable.
        """
        values = torch.stack([loss for _, loss, _ in self._pending]).tolist()
        failure = self._loss_failure(values) or self._reading_failure()
        if self.run.group.any(failure is not None, self.run.device):
            raise TrainingError(failure or "another process of the run has stopped; its message says why")
        early = [(seen, value) for (seen, _, _), value in zip(self._pending, values) if seen <= CHECK_SAMPLES]
        self.run.losses += early or [(self._pending[-1][0], float(np.mean(values)))]
        self._pending.clear()
        self._tick(float(np.mean(values)))

    def _loss_failure(self, values: Sequence[float]) -> Optional[str]:
        for (seen, _, ids), value in zip(self._pending, values):
            if not math.isfinite(value):
                return (
                    f"loss {value} or a gradient like it after {seen} samples, photos {', '.join(ids)}; what was saved "
                    f"before is still in {self.out}"
                )
        return None

    def _reading_failure(self) -> Optional[str]:
        """More unreadable samples than chance explains if a hundredth is unreadable: by four standard deviations."""
        unreadable = sum(self.problems.values())
        expected = MAX_UNREADABLE * (self.run.seen - self._first) / self.run.group.size
        if unreadable <= expected + 4 * math.sqrt(expected) + 3:
            return None
        return f"{unreadable} samples could not be read: {'; '.join(list(self.problems)[:5])}"

    def _tick(self, loss: float) -> None:
        now = time.monotonic()
        self.run.seconds += now - self._looked
        self._looked = now
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{loss:.3f}", rate=f"{learning_rate(self.run.recipe, self.run.seen):.2f}")
            self._bar.update(self.run.seen - self._bar.n)

    def save_state(self, every: float = 0.0) -> None:
        """Writes the state to resume from, if the last one is older than `every` seconds."""
        if self.writes and time.monotonic() - self._saved >= every:
            save_plain(self.run.state(), self.out / "state.pth")
            self._saved = time.monotonic()

    def end_epoch(self, objects: int) -> None:
        """Validates the averaged weights; writes checkpoints, metrics.csv, curves and a contact sheet."""
        for problem, count in self.problems.items():
            self._say(f"could not be read, {count} times: {problem}")
        if not self.writes:
            return
        run = self.run
        figures, shown = validate(run.averaged, self.held_out, run.recipe, objects)
        loss = float(np.mean([value for _, value in run.losses[-50:]]))
        rate = run.recipe.rate * learning_rate(run.recipe, run.seen)
        row = {"samples": run.seen, "seconds": round(run.seconds, 1), "loss": loss, "rate": rate}
        run.history.append({**row, **figures})
        self.save_last(figures)
        best = max(row.get("iou@3", 0.0) for row in run.history)
        if figures.get("iou@3", 0.0) >= best:
            save_model(run.averaged, self.out / "checkpoints" / "best.pth", self._record(figures))
        _write_metrics(run.history, self.out / "metrics.csv")
        _draw_progress(run, shown, self.out / "vis")
        self._say(f"{run.seen} samples: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
        self._looked = time.monotonic()  # validation is no training time

    def save_last(self, figures: Dict[str, float]) -> None:
        """Writes the averaged weights of this moment, with the figures measured with them, if any."""
        if self.writes:
            save_model(self.run.averaged, self.out / "checkpoints" / "last_checkpoint.pth", self._record(figures))

    def _record(self, figures: Dict[str, float]) -> Dict[str, Any]:
        """How the weights were trained, for their checkpoint."""
        run = self.run
        return {
            **self.earlier,
            "ids": self.ids,
            "held_out": [photo.id for photo in self.held_out],
            "samples": run.seen,
            "hours": round(run.seconds / 3600, 3),
            "recipe": plain_recipe(run.recipe),
            "metrics": figures,
            "losses": [list(entry) for entry in run.losses if entry[0] <= CHECK_SAMPLES],
            "history": run.history,
            "code": code_digest(),
            "torch": str(torch.__version__),
        }

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text)
        else:
            print(text, flush=True)

    def stopped(self) -> None:
        """Saves what a stop in the middle of an epoch would lose, and says how to go on."""
        self.save_state()
        self.save_last({})
        if self.writes:
            self._say(f"stopped after {self.run.seen} samples; the same command goes on from {self.out / 'state.pth'}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _progress_bar(run: Run) -> Any:
    from tqdm import tqdm

    return tqdm(total=run.recipe.samples, initial=run.seen, unit=" samples", dynamic_ncols=True, smoothing=0.05)


def code_digest() -> str:
    """Which version of this file trained a checkpoint: the start of its SHA-256."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _write_metrics(history: Sequence[Dict[str, float]], path: Path) -> None:
    beside = path.with_suffix(".tmp")
    with open(beside, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[-1]))
        writer.writeheader()
        writer.writerows(history)
    os.replace(beside, path)


def _draw_progress(run: Run, shown: Sequence[Tuple[np.ndarray, np.ndarray, Simulation]], folder: Path) -> None:
    """Curves and a contact sheet, if utils can draw them (the course's own can't)."""
    try:
        from utils.clicker import Click
        from utils.misc import contact_sheet, draw_curves, draw_probmap, draw_with_blend_and_clicks
    except ImportError:
        return
    if not shown:  # nothing to validate on
        return
    draw_curves({"loss": run.losses[-5000:]}, folder / "loss.png", "Training loss")
    names = [name for name in run.history[-1] if name.startswith("iou@")]
    curves = {name: [(row["samples"], row[name]) for row in run.history] for name in names}
    draw_curves(curves, folder / "iou.png", "IoU on held-out photos after k clicks of the grader's protocol")
    rows = []
    for image, truth, played in shown:
        clicks = [Click(positive, (y, x)) for y, x, positive in played.clicks]
        last = draw_with_blend_and_clicks(image, mask=played.masks[-1].astype(np.uint8), clicks_list=clicks)
        truth_tile = draw_with_blend_and_clicks(image, mask=truth.astype(np.uint8))
        probability = cv2.cvtColor(draw_probmap(played.probabilities[-1]), cv2.COLOR_BGR2RGB)
        rows.append([_tile(tile) for tile in (image, truth_tile, last, probability)])
    sheet = contact_sheet(rows, ["image", "ground truth", "mask and clicks", "probability"])
    beside = folder / "sheet.tmp"
    beside.write_bytes(cv2.imencode(".jpg", sheet[..., ::-1])[1].tobytes())
    os.replace(beside, folder / f"samples_{run.seen:08d}.jpg")


def _tile(image: np.ndarray, side: int = 256) -> np.ndarray:
    """A picture fitted into a grey square."""
    scale = side / max(image.shape[:2])
    small = _resize(image, max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    tile = np.full((side, side, 3), 128, np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    return tile


def validate(
    model: ISModel, photos: Sequence[Photo], recipe: Recipe, count: int, shown: int = 8
) -> Tuple[Dict[str, float], List[Tuple[np.ndarray, np.ndarray, Simulation]]]:
    """Plays the grader's protocol on one object of each of `count` photos, always the same ones.

    Args:
        model: in evaluation mode.
        photos: none of them trained on.
        count: how many photos, evenly taken from the list.
        shown: how many of the games to give back.

    Returns:
        {"iou@1": mean IoU after one click, ... "iou@3"}, and some games as (image, mask, simulation).
    """
    predictor = Predictor(model, next(model.parameters()).device)
    no_stuff = dataclasses.replace(recipe, stuff=0.0)
    games = []
    for number, photo in enumerate(photos[:: max(1, len(photos) // count)][:count]):
        try:
            sample = photo.dataset.get_sample(photo.index)
        except Exception as error:  # as in ClickSamples: named, and no reason to lose the run
            print(f"could not be read, and is not validated on: {photo.id}: {error}", file=sys.stderr)
            continue
        rng = np.random.default_rng((0, 3, number))  # not the recipe's seed: phases and seeds are compared
        truth = choose_object(rng, sample, photo.instances, recipe.min_area, no_stuff)
        if truth is not None:
            games.append((sample.image, truth, predictor.simulate(sample.image, truth)))
    means = np.mean([played.ious for _, _, played in games], axis=0) if games else []
    return {f"iou@{k + 1}": float(value) for k, value in enumerate(means)}, games[:shown]


def find_training_photos(folder: PathLike, data: str) -> Tuple[List[Photo], List[Photo]]:
    """The photos to train on and, of the validation split, those to validate on.

    Args:
        folder: COCO_LVIS, with its splits train and val.
        data: "checkpoint" for the photos named in checkpoint.pth beside this file, wherever they are in the folder;
            "all" for the whole train split; or the path of a checkpoint.
    """
    if data == "all":
        return find_photos(folder), find_photos(folder, "val")
    path = Path(__file__).with_name("checkpoint.pth") if data == "checkpoint" else data
    if not os.path.isfile(path):
        raise TrainingError(f"{path}, whose photos are to be trained on, is missing: use data='all' (--data all)")
    ids = _read_checkpoint(path).get("training", {}).get("ids")
    if not ids:
        raise TrainingError(f"{path} does not name the photos it was trained on: use data='all' (--data all)")
    trained, of_val = set(ids), find_photos(folder, "val")
    photos = [photo for photo in find_photos(folder) + of_val if photo.id in trained]
    if not photos:
        raise ValueError(f"{folder}: none of the photos of {path} is there; use data='all' (--data all)")
    if len(photos) < len(ids):
        print(f"{len(ids) - len(photos)} of the {len(ids)} photos of {path} are not in {folder}", file=sys.stderr)
    return photos, [photo for photo in of_val if photo.id not in trained]


def train_segmentation(
    folder: PathLike = "./COCO_LVIS",
    out: PathLike = "./experiments",
    recipe: Recipe = SHIPPED,
    data: str = "checkpoint",
    pretrained: Union[bool, PathLike] = True,
    epochs: Optional[int] = None,
    minutes: Optional[float] = None,
    device: Optional[str] = None,
    workers: Optional[int] = None,
    epoch_samples: int = 10_000,
    validation_objects: int = 60,
    save_seconds: float = 180.0,
    augmentator: Any = None,
) -> Path:
    """Trains a model as RITM does (Sofiiuk et al. 2022); without arguments, the shipped one again.

    A run that was stopped (Ctrl-C, time limit, kill) goes on where it was when it is started again with the same
    output folder and recipe. Started by torchrun, its processes share every batch.

    Args:
        folder: COCO_LVIS with its splits train and val.
        out: for checkpoints/ (last_checkpoint.pth, best.pth), vis/ (curves, contact sheets), metrics.csv and state.pth.
        recipe: what decides the result. The phases before its last one are trained in out/phase1, out/phase2, ...
        data: "checkpoint" for the photos that checkpoint.pth names, "all" for the whole train split.
        pretrained: ImageNet weights: True to download torchvision's, or the path of a state_dict file.
        epochs: train the recipe's first phase alone, for so many passes over the photos.
        minutes: save and stop after this time; the schedule goes on at the next start.
        device: "cpu", "cuda", ...; a GPU where there is one.
        workers: processes that load samples; one less than there are cores if left out, 8 at most.
        epoch_samples: samples from one validation to the next.
        validation_objects: how many held-out objects are played with.
        save_seconds: between two savings of the state.
        augmentator: an albumentations Compose (or alike) to apply to every crop too.

    Returns:
        Path of the last checkpoint.

    Raises:
        TrainingError: a loss is not finite, too many photos are unreadable, or the settings don't fit each other.
        CheckpointError: the ImageNet weights can't be downloaded, or their file can't be used.
    """
    device = _choose_device(device)
    group = Group.join(device)
    try:
        photos, held_out = find_training_photos(folder, data)
        if epochs is not None:
            recipe = dataclasses.replace(phases(recipe)[0], samples=epochs * len(photos))
        with StopRequest(minutes, may_insist=group.size == 1) as stop:
            before = None
            for number, phase in enumerate(phases(recipe), 1):
                place = Path(out) / ("" if phase is recipe else f"phase{number}")
                run = _start_run(phase, pretrained, device, group, photos, place, before)
                loader = _loader(run, ClickSamples(photos, phase, augmentator), workers)
                with contextlib.closing(_Journal(run, place, photos, held_out, before)) as journal:
                    finished = _train(run, loader, journal, stop, epoch_samples, validation_objects, save_seconds)
                before = place / "checkpoints" / "last_checkpoint.pth"
                if group.any(not finished, device):  # all wait here until the first process has written it
                    break
    finally:
        group.leave()
    return before


def _train(
    run: Run,
    loader: Any,
    journal: _Journal,
    stop: StopRequest,
    epoch_samples: int,
    validation_objects: int,
    save_seconds: float,
) -> bool:
    """The loop: step, look, save, validate; returns whether the phase was finished.

    What all processes do together (look, stop) happens after batches that all count alike.
    """
    total = run.recipe.samples // run.recipe.batch_size
    for batch in loader:
        journal.note(run.step(batch), batch)
        epoch_ends = run.seen // epoch_samples > (run.seen - run.recipe.batch_size) // epoch_samples
        validates = epoch_ends or run.batch == total
        alone_and_due = run.group.size == 1 and stop.due
        if not (run.batch % LOOK_EVERY == 0 or validates or alone_and_due):
            continue
        journal.look()
        if validates:
            journal.end_epoch(validation_objects)
        journal.save_state(every=0.0 if run.batch == total else save_seconds)
        if run.batch < total and run.group.any(stop.due, run.device):
            journal.stopped()
            return False
    return True


def _start_run(
    recipe: Recipe,
    pretrained: Union[bool, PathLike],
    device: torch.device,
    group: Group,
    photos: Sequence[Photo],
    out: Path,
    before: Optional[Path] = None,
) -> Run:
    """A new run, from the weights of the checkpoint `before` if there is one; or the run whose state lies in `out`."""
    if recipe.samples < recipe.batch_size:
        raise TrainingError(f"{recipe.samples} samples are not even one batch of {recipe.batch_size}: train longer")
    torch.manual_seed(recipe.seed)
    config = NetworkConfig(recipe.backbone, recipe.working_size, recipe.disk_radius)
    state_path = out / "state.pth"
    resumes = state_path.exists()
    model = ISModel(recipe.backbone, False if resumes or before else pretrained, config)
    if before and not resumes:
        _load_strictly(model, _read_checkpoint(before)["state_dict"], before)
    model.freeze_norm = pretrained is not False
    run = Run(recipe, model.to(device, memory_format=torch.channels_last), group, [photo.id for photo in photos])
    if resumes:
        run.load_state(read_plain(state_path, device))
    if group.any(resumes, device) and group.any(not resumes, device):
        raise TrainingError(f"not all processes see {state_path}: put the output on a disk that all machines share")
    return run


def _choose_device(name: Optional[str]) -> torch.device:
    if name is None and torch.cuda.is_available():
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = torch.device(name or "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    return device


def _worker_count() -> int:
    return max(1, min(8, (os.cpu_count() or 2) - 1))


def check_recipe(folder: PathLike, out: PathLike, **options: Any) -> bool:
    """Trains the first hundredth of the shipped recipe again and compares its losses with the recorded ones.

    The samples are the same, so the losses are compared in pairs. Rounding differs between machines, and small
    differences grow; what must hold is that the mean difference is no more than the noise lets expect.

    Returns:
        Whether the losses follow the record: the mean difference is within three standard errors, or 0.01.
    """
    path = Path(__file__).with_name("checkpoint.pth")
    training = _read_checkpoint(path).get("training", {})
    first = _first_phase(training)
    if not first.get("losses"):
        raise TrainingError(f"{path} carries no record of its losses to compare with")
    recorded = dict(map(tuple, first["losses"]))
    recipe = recipe_from(first["recipe"])
    hundredth = sum(phase.samples for phase in phases(recipe_from(training["recipe"]))) // 100
    stretch = min(CHECK_SAMPLES, max(hundredth, 40 * recipe.batch_size), max(recorded))
    photos, _ = find_training_photos(folder, "checkpoint")
    if len(photos) < len(training["ids"]):
        raise TrainingError(f"{folder} lacks photos of {path}: without them its samples can't be made again")
    device = _choose_device(options.pop("device", None))
    run = _start_run(recipe, options.pop("pretrained", True), device, Group(), photos, Path(out) / "recipe-check")
    differences = []
    for batch in itertools.islice(_loader(run, ClickSamples(photos, recipe)), stretch // recipe.batch_size):
        loss = float(run.step(batch))
        differences.append(loss - recorded[run.seen])
        print(f"{run.seen:6d} samples: loss {loss:.4f}, recorded {recorded[run.seen]:.4f}", flush=True)
    error = np.std(differences, ddof=1) / math.sqrt(len(differences))
    follows = bool(abs(np.mean(differences)) <= max(3 * error, 0.01))
    verdict = "follows" if follows else "DOES NOT follow"
    print(f"mean difference {np.mean(differences):+.4f} +- {error:.4f}: {verdict} the record")
    return follows


def _first_phase(training: Dict[str, Any]) -> Dict[str, Any]:
    """What a checkpoint records of the phase that began from the classifier."""
    return _first_phase(training["after"]) if "after" in training else training


def recipe_from(plain: Dict[str, Any]) -> Recipe:
    """A recipe from the plain containers of a file; lists become tuples, and settings it lacks their defaults."""

    def frozen(value: Any) -> Any:
        if isinstance(value, dict):
            return recipe_from(value)
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    unknown = set(plain) - {f.name for f in dataclasses.fields(Recipe)}
    if unknown:
        raise TrainingError(f"the recipe has settings unknown to this solution.py: {', '.join(sorted(unknown))}")
    return Recipe(**{name: frozen(value) for name, value in plain.items()})


# ----------------------------------------------------------------------------------------------------------------------
# Command line
# ----------------------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    """The arguments of train_segmentation and, grouped, the settings of the recipe."""
    parser = argparse.ArgumentParser(description="Train the model; without settings of the recipe, as the shipped one.")
    parser.add_argument("--folder", default="./COCO_LVIS", help="the data (default %(default)s)")
    parser.add_argument("--out", default="./experiments", help="for everything written (default %(default)s)")
    parser.add_argument("--data", default="checkpoint", help='"checkpoint" for the photos it names, or "all"')
    parser.add_argument("--pretrained", default=True, help="file of ImageNet weights; downloaded if left out")
    parser.add_argument("--epochs", type=int, help="one phase of so many passes over the photos, in place of --samples")
    parser.add_argument("--minutes", type=float, help="save and stop after this time; start again to go on")
    parser.add_argument("--device", help="cpu, cuda, ...; a GPU where there is one")
    parser.add_argument("--workers", type=int, help="processes that load samples")
    parser.add_argument("--recipe-check", action="store_true", help="train the first 1 %% and compare with the record")
    groups: Dict[str, Any] = {}
    for setting in filter(lambda one: one.metadata, dataclasses.fields(Recipe)):
        name = setting.metadata["group"]
        group = groups.get(name) or groups.setdefault(name, parser.add_argument_group(f"recipe: {name}"))
        kind = json.loads if isinstance(setting.default, tuple) else type(setting.default)
        shown = json.dumps(setting.default)
        group.add_argument(
            f"--{setting.name.replace('_', '-')}", type=kind, help=f"{setting.metadata['help']} (default {shown})"
        )
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line; returns the exit status."""
    given = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    settings = {f.name: given.pop(f.name) for f in dataclasses.fields(Recipe) if f.name in given}
    try:
        if given.pop("recipe_check"):
            chosen = {name: given[name] for name in ("pretrained", "device") if name in given}
            return 0 if check_recipe(given["folder"], given["out"], **chosen) else 1
        recipe = recipe_from(settings) if settings else SHIPPED
        print("wrote", train_segmentation(recipe=recipe, **given))
    except (TrainingError, CheckpointError, FileNotFoundError, ValueError) as error:
        print(f"solution.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
