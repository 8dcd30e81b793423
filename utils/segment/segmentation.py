"""One concept (birds, persons, leaves) learnt from photos with masks: networks, prediction and training in one file.

The file is an upload by itself: with `segmentation_model.pth` beside it, it needs torch, torchvision with Pillow, numpy
and cv2, and albumentations for training. It reads from top to bottom: settings, networks, weights, prediction, photos
with masks, losses, augmentations, training.

    model = get_model()
    model.load_state_dict(torch.load("segmentation_model.pth", map_location="cpu"))
    mask = predict(model, "photo.jpg") > 0.5
"""
# ruff: noqa: B905 (zip(strict=...) is younger than Python 3.8, on which this file runs too)
from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import json
import math
import os
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

PathLike = Union[str, "os.PathLike[str]"]
Weights = Union[None, str, PathLike]  # of an encoder: None for random ones, "download", or a file

NETWORKS = ("encoder_decoder", "unet", "pretrained_unet", "deeplabv3_mobilenet_v3_large")
NORMS = ("batch", "instance")
MODEL_FILE = "segmentation_model.pth"
IGNORED = 255  # in a mask: pixels that count neither as the object nor as background


class SegmentationError(Exception):
    """Something that the user can mend; the message is one sentence that names the file and says what to do."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a network is made of. They are stored with its weights, so that a state_dict says what it belongs to."""

    network: str = "pretrained_unet"  # one of NETWORKS
    encoder: str = "mobilenet_v2"  # of a pretrained_unet, one of ENCODERS
    norm: str = "batch"  # one of NORMS; a pretrained encoder keeps the batch normalisation that it came with
    hypercolumns: bool = True  # the outputs of all decoder blocks, not only the last one's, lead to the mask
    size: int = 256  # the network sees photos reduced or enlarged to about size**2 pixels

    def __post_init__(self) -> None:
        for value, known in ((self.network, NETWORKS), (self.encoder, tuple(ENCODERS)), (self.norm, NORMS)):
            if value not in known:
                raise SegmentationError(f"{value!r} is not known here; choose one of {', '.join(known)}")
        if not 64 <= self.size <= 2048:
            raise SegmentationError(f"a size of {self.size} pixels can't be used; choose 64 to 2048")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    minutes: float = 10  # the learning rate falls to nothing over this time
    epochs: float = 0  # passes over the photos after which training ends even if there is time left; 0: no such limit
    loss: str = "bce+lovasz"  # one of LOSSES, or a sum of some
    augmentations: Tuple[str, ...] = ("flip", "affine", "elastic", "jpeg", "brightness")  # some of AUGMENTATIONS
    zoom: float = 1.35  # how much the affine augmentation enlarges photos at most
    batch_size: int = 16
    lr: float = 2e-3  # the highest learning rate of AdamW
    encoder_lr: float = 0.25  # that of a pretrained encoder, as a part of it
    weight_decay: float = 1e-4
    ema_decay: float = 0.99  # of the moving average of the weights, which is what is kept
    seed: int = 0

    def __post_init__(self) -> None:
        for names, known in ((self.loss.split("+"), LOSSES), (self.augmentations, AUGMENTATIONS)):
            if not set(names) <= set(known):
                raise SegmentationError(f"{'+'.join(names)} is not known here; choose of {', '.join(known)}")
        if self.minutes <= 0 or self.epochs < 0 or self.batch_size < 2 or self.zoom < 1:
            raise SegmentationError("training takes some minutes, batches of 2 photos or more, and a zoom of 1 or more")


# ---------------------------------------------------------------------------------------------- networks

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's photos, RGB in [0, 1]

PLAIN_WIDTHS = (24, 48, 96, 160, 256)  # channels at strides 2, 4, 8, 16, 32
DECODER_WIDTHS = (96, 64, 48, 32)  # at strides 16, 8, 4, 2
HEAD_WIDTH = 32

# Where torchvision's classifiers are cut into stages of strides 2, 4, 8, 16, 32, and how many channels each stage gives
RESNET = (("conv1", "bn1", "relu"), ("maxpool", "layer1"), ("layer2",), ("layer3",), ("layer4",))
ENCODERS: Dict[str, Tuple[Any, Tuple[int, ...]]] = {
    "mobilenet_v2": ((2, 4, 7, 14, 18), (16, 24, 32, 96, 320)),
    "mobilenet_v3_large": ((2, 4, 7, 13, 16), (16, 24, 40, 112, 160)),
    "resnet18": (RESNET, (64, 64, 128, 256, 512)),
    "resnet34": (RESNET, (64, 64, 128, 256, 512)),
    "resnet50": (RESNET, (64, 256, 512, 1024, 2048)),
}


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels, affine=True)


def conv_block(inputs: int, outputs: int, norm: str, stride: int = 1) -> nn.Sequential:
    """Two convolutions 3x3, each with normalisation and ReLU; the first one may halve the picture."""
    layers: List[nn.Module] = []
    for channels, step in ((inputs, stride), (outputs, 1)):
        convolution = nn.Conv2d(channels, outputs, 3, stride=step, padding=1, bias=False)
        layers += [convolution, _norm(norm, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def plain_encoder(norm: str) -> List[nn.Module]:
    """Five stages, each of which halves the picture."""
    return [conv_block(i, o, norm, stride=2) for i, o in zip((3, *PLAIN_WIDTHS), PLAIN_WIDTHS)]


def pretrained_encoder(name: str, weights: Weights) -> List[nn.Module]:
    """The stages of a torchvision classifier without its head; `weights` may be a state_dict file of the classifier.

    Raises:
        SegmentationError: the weights can't be downloaded, or the file is of another network.
    """
    build = getattr(torchvision.models, name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where torchvision's progress belongs
            classifier = build(weights="DEFAULT" if weights == "download" else None)
        if weights not in (None, "download"):
            classifier.load_state_dict(read_state(weights))
    except OSError as error:  # urllib's errors are among them
        reason = f"the ImageNet weights of {name} can't be downloaded ({error})"
        raise SegmentationError(f"{reason}; bring the file here and name it") from error
    except RuntimeError as error:
        raise SegmentationError(f"{weights} does not fit torchvision's {name}; name its state_dict file") from error
    cuts = ENCODERS[name][0]
    if cuts is RESNET:
        return [nn.Sequential(*(getattr(classifier, part) for part in parts)) for parts in cuts]
    return [classifier.features[begin:end] for begin, end in zip((0, *cuts), cuts)]


class UNet(nn.Module):
    """Encoder, decoder and head (Ronneberger et al. 2015), with hypercolumns (Hariharan et al. 2015) if set so.

    Args:
        stages: of the encoder, each halves the picture.
        channels: that the stages give.
        skips: whether decoder blocks see the encoder's features of their size; all else is the same without.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int], settings: Settings, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        self.stages = nn.ModuleList(stages)
        self.decoder = nn.ModuleList()
        below = channels[-1]
        for skip, width in zip(channels[-2::-1], DECODER_WIDTHS):
            self.decoder.append(conv_block(below + skip if skips else below, width, settings.norm))
            below = width
        seen = DECODER_WIDTHS if settings.hypercolumns else DECODER_WIDTHS[-1:]
        self.columns = nn.ModuleList([nn.Conv2d(width, HEAD_WIDTH, 1, bias=False) for width in seen])
        self.head = nn.Sequential(_norm(settings.norm, HEAD_WIDTH), nn.ReLU(), nn.Conv2d(HEAD_WIDTH, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 1, H / 2, W / 2) of normalised pictures (B, 3, H, W)."""
        features, outputs, columns = [], [], []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        for block, feature in zip(self.decoder, features[-2::-1]):
            x = _enlarged(x, feature)
            x = block(torch.cat([x, feature], dim=1) if self.skips else x)
            outputs.append(x)
        # A 1x1 convolution of all outputs together is the sum of each one's own, made while it is still small
        for squeeze, output in zip(self.columns, outputs[-len(self.columns) :]):
            columns.append(_enlarged(squeeze(output), x))
        return self.head(sum(columns[1:], columns[0]))


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class ConceptModel(nn.Module):
    """A network with its settings.

    The settings travel in the state_dict, as JSON in a tensor of bytes, and `load_state_dict` builds the network that
    they describe: whatever was trained, `get_model().load_state_dict(...)` becomes it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: Settings, pretrained: Weights = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self._build(settings, pretrained)

    def _build(self, settings: Settings, pretrained: Weights = None) -> None:
        self.settings = settings
        if settings.network == "deeplabv3_mobilenet_v3_large":
            build = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large
            network = build(weights=None, weights_backbone=None, num_classes=1)
        elif settings.network == "pretrained_unet":
            stages = pretrained_encoder(settings.encoder, pretrained)
            network = UNet(stages, ENCODERS[settings.encoder][1], settings, skips=True)
        else:
            network = UNet(plain_encoder(settings.norm), PLAIN_WIDTHS, settings, skips=settings.network == "unet")
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # faster on CPUs and new GPUs

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 (B, 1, H, W) of RGB pictures float32 (B, 3, H, W) in [0, 1]; H and W multiples of 32."""
        x = ((images - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        logits = self.network(x)
        return _enlarged((logits["out"] if isinstance(logits, dict) else logits).float(), images)

    def get_extra_state(self) -> Tensor:
        """The settings, for the state_dict."""
        text = json.dumps(dataclasses.asdict(self.settings)).encode("utf-8")
        return torch.tensor(list(text), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        """Nothing is left to do with the settings of a state_dict, see `load_state_dict`."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Becomes the network that a state_dict describes, with its weights."""
        settings = settings_of(state_dict)
        if settings != self.settings:
            self._build(settings)
            self.to(self.mean.device).train(self.training)
        return super().load_state_dict(state_dict, strict, **options)


def get_model(settings: Settings = Settings()) -> ConceptModel:
    """A network with random weights; downloads nothing."""
    return ConceptModel(settings)


# ---------------------------------------------------------------------------------------------- weights


def settings_of(state: Dict[str, Tensor]) -> Settings:
    """The settings in a state_dict; SegmentationError if it holds none that are known here."""
    try:
        return Settings(**json.loads(bytes(state["_extra_state"].tolist()).decode("utf-8")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SegmentationError("the weights were not written by this training; load a model that it wrote") from error


def read_state(path: PathLike) -> Dict[str, Tensor]:
    """A state_dict file, read without running what it may hold; SegmentationError if it is something else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # files of other kinds raise nearly anything
        reason = (error.strerror if isinstance(error, OSError) else None) or "it holds no torch weights"
        raise SegmentationError(f"{path} can't be read as a model ({reason}); name a state_dict file (.pth)") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SegmentationError(f"{path} holds no state_dict; name a model that this training wrote")
    return state


def load_model(path: PathLike, device: Union[str, torch.device] = "cpu") -> ConceptModel:
    """A model of `save_model`, for prediction; SegmentationError if the file is none."""
    state = read_state(path)
    try:
        model = ConceptModel(settings_of(state))
        model.load_state_dict(state)
    except (SegmentationError, RuntimeError) as error:
        raise SegmentationError(f"{path} is no model of this training; name a file that it wrote") from error
    return model.to(device).eval()


def fold_norms(model: nn.Module) -> None:
    """Makes batch normalisation part of the convolutions before it, for prediction only: a sixth of the time less."""
    for block in [module.eval() for module in model.modules() if isinstance(module, nn.Sequential)]:
        layers = list(block)
        for i, (layer, norm) in enumerate(zip(layers, layers[1:])):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[i], block[i + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()


def model_bytes(model: nn.Module) -> bytes:
    """A file with the bare state_dict: convolutions in half precision, and no numbers that slow a CPU down."""
    state = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value = torch.where(value.abs() < 1e-20, torch.zeros_like(value), value)
        state[name] = (value.half() if value.dim() == 4 else value).cpu().contiguous().clone()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def save_model(model: nn.Module, path: PathLike) -> None:
    """Writes `model_bytes` beside the file and renames it."""
    part = f"{os.fspath(path)}.tmp"
    Path(part).write_bytes(model_bytes(model))
    os.replace(part, path)


# ---------------------------------------------------------------------------------------------- prediction

RATIOS = (1 / 3, 9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9, 3.0)  # height to width; a photo takes the nearest one


def nearest_ratio(height: int, width: int) -> int:
    """Index in RATIOS."""
    return min(range(len(RATIOS)), key=lambda i: abs(math.log(RATIOS[i] * width / height)))


def canvas(ratio: int, size: int) -> Tuple[int, int]:
    """Height and width of the network's input for photos of a ratio: about size**2 pixels, multiples of 32."""
    sides = size * math.sqrt(RATIOS[ratio]), size / math.sqrt(RATIOS[ratio])
    return 32 * max(2, round(sides[0] / 32)), 32 * max(2, round(sides[1] / 32))


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (H, W[, C]) in another size; averages where it gets smaller."""
    smaller = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def read_photo(path: PathLike) -> np.ndarray:
    """A photo of any kind as uint8 (H, W, 3) RGB, turned as its EXIF data say, on white where it is transparent."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits
                values = np.asarray(image).astype(np.int64)
                image = Image.fromarray((values >> (8 if values.max() > 255 else 0)).clip(0, 255).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                white = Image.new("RGBA", image.size, (255, 255, 255, 255))
                image = Image.alpha_composite(white, image.convert("RGBA"))
            return np.array(image.convert("RGB"))
    except Exception as error:  # damaged files raise many kinds
        raise SegmentationError(f"{path} can't be read as a photo ({error}); replace it or leave it out") from error


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Numbers next to nothing slow a CPU down many times; here they are 0, and afterwards as everybody expects them."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def probabilities(model: ConceptModel, image: np.ndarray, flip: bool = False) -> np.ndarray:
    """How likely each pixel is the object's.

    Args:
        image: uint8 (H, W, 3) RGB.
        flip: average with the prediction for the mirrored photo, which takes twice as long.

    Returns:
        float32 (H, W) in [0, 1].
    """
    model.eval()
    height, width = image.shape[:2]
    small = resize(image, *canvas(nearest_ratio(height, width), model.settings.size))
    pictures = np.stack([small, small[:, ::-1]] if flip else [small])
    with torch.no_grad(), denormals_flushed():
        batch = torch.from_numpy(pictures).to(model.mean.device).permute(0, 3, 1, 2).float() / 255
        result = torch.sigmoid(model(batch))[:, 0].cpu().numpy()
    mean = (result[0] + result[1, :, ::-1]) / 2 if flip else result[0]
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)


def predict(model: ConceptModel, img_path: PathLike) -> np.ndarray:
    """Probabilities float32 (H, W) in [0, 1] for a photo file, in the photo's own size."""
    return probabilities(model, read_photo(img_path))


def clean_up(mask: np.ndarray, fraction: float) -> np.ndarray:
    """A mask bool (H, W) without objects, and without holes, that are smaller than a fraction of the largest object."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    limit = fraction * stats[1:, cv2.CC_STAT_AREA].max(initial=0)
    kept = stats[:, cv2.CC_STAT_AREA] >= limit
    kept[0] = False  # the background
    mask = kept[labels]
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    hole = stats[:, cv2.CC_STAT_AREA] < limit
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    hole[np.unique(edge)] = False  # background that reaches the edge of the photo is no hole
    hole[0] = False  # the object itself
    return mask | hole[labels]


# ---------------------------------------------------------------------------------------------- photos with masks

LAYOUTS = (("images", "gt"), ("imgs", "masks"), ("images", "masks"))  # folders of photos and of masks
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
HELD_OUT = 0.1  # of the photos are not trained on: they choose the best weights


class Sample(NamedTuple):
    """A photo and its mask, not yet read. Training takes any objects that have `name`, `shape` and `read`."""

    name: str
    photo: Path
    mask: Path

    def shape(self) -> Tuple[int, int]:
        """(H, W), from the photo's header."""
        try:
            with Image.open(self.photo) as image:
                is_turned = image.getexif().get(0x0112, 1) > 4
                return (image.width, image.height) if is_turned else (image.height, image.width)
        except Exception as error:
            raise SegmentationError(f"{self.photo} can't be read as a photo ({error}); replace it") from error

    def read(self) -> Tuple[np.ndarray, np.ndarray]:
        """The photo uint8 (H, W, 3) RGB and its mask uint8 (H, W) of 0, 1 and IGNORED."""
        photo, mask = read_photo(self.photo), read_mask(self.mask)
        check_sizes(self.photo, photo, self.mask, mask)
        return photo, mask


def check_sizes(photo_path: PathLike, photo: np.ndarray, mask_path: PathLike, mask: np.ndarray) -> None:
    """Raises SegmentationError if a photo and its mask differ in size."""
    if photo.shape[:2] != mask.shape:
        first, second = (f"{array.shape[1]}x{array.shape[0]}" for array in (mask, photo))
        raise SegmentationError(f"{mask_path} is {first}, but {photo_path} is {second}; bring them to one size")


def read_mask(path: PathLike) -> np.ndarray:
    """A mask file as uint8 (H, W) of 0 and 1: above 127 of 255 is the object, as the grader has it.

    Colours count by their brightness. A file that holds only 0 and 1 counts by its ones.
    """
    try:
        with Image.open(path) as image:
            is_grey = image.mode in ("1", "L") or image.mode.startswith("I")
            grey = np.asarray(image if is_grey else image.convert("RGB").convert("L")).astype(np.int64)
    except Exception as error:
        raise SegmentationError(f"{path} can't be read as a mask ({error}); replace it") from error
    highest = int(grey.max())
    return (grey > (0 if highest <= 1 else 127 if highest <= 255 else 32767)).astype(np.uint8)


def find_samples(folder: PathLike) -> List[Sample]:
    """The photos of a folder with their masks: LAYOUTS, directly in the two folders or in folders of the same names.

    Raises:
        SegmentationError: there is nothing, or a photo has no mask.
    """
    for photos, masks in ((Path(folder, photos), Path(folder, masks)) for photos, masks in LAYOUTS):
        if photos.is_dir() and masks.is_dir():
            break
    else:
        raise SegmentationError(f"{folder} has no photos with masks: it needs folders images and gt, or imgs and masks")
    by_name = {_name(path, masks): path for path in _pictures(masks)}
    samples: Dict[str, Sample] = {}
    for photo in _pictures(photos):
        name = _name(photo, photos)
        mask = by_name.get(name + photo.suffix, by_name.get(name))  # cat.jpg.png, or cat.png, for cat.jpg
        if mask is None:
            raise SegmentationError(f"{photo} has no mask {masks / name}.png; add it or leave the photo out")
        if name in samples:
            raise SegmentationError(f"{photo} is called like {samples[name].photo}; rename one, and its mask")
        samples[name] = Sample(name, photo, mask)
    if not samples:
        raise SegmentationError(f"{photos} has no photos; put some there")
    return list(samples.values())


def _pictures(folder: Path) -> List[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def split_samples(samples: Sequence[Any], held_before: Sequence[str] = ()) -> Tuple[List[Any], List[Any]]:
    """Photos to train on, and photos held out: chosen by a hash of their names, so that it stays when photos are added.

    Args:
        held_before: names that an earlier training held out; they stay held out.
    """
    if len(samples) < 2:
        raise SegmentationError("one photo is too few: some are trained on, others are held out; add photos with masks")
    order = sorted(samples, key=lambda s: zlib.crc32(s.name.encode("utf-8", "surrogateescape")))
    held = {s.name for s in order if zlib.crc32(s.name.encode("utf-8", "surrogateescape")) < HELD_OUT * 2**32}
    known = {s.name for s in samples}
    held = (held | (set(held_before) & known) or {order[0].name}) - ({order[-1].name} if held == known else set())
    return [s for s in samples if s.name not in held], [s for s in samples if s.name in held]


# ---------------------------------------------------------------------------------------------- losses
# All take logits and truth, float32 (B, 1, H, W) with truth of 0 and 1, and give a number.


def binary_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean over pixels."""
    return functional.binary_cross_entropy_with_logits(logits, truth)


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Lin et al. 2017, gamma 2. torchvision's alpha of .25 would weigh the object less; -1 weighs all pixels alike."""
    return torchvision.ops.sigmoid_focal_loss(logits, truth, alpha=-1, gamma=2, reduction="mean")


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice of each photo's probabilities (Milletari et al. 2016), smoothed by a pixel."""
    probability, truth = logits.sigmoid().flatten(1), truth.flatten(1)
    both = (probability * truth).sum(1)
    return (1 - (2 * both + 1) / (probability.sum(1) + truth.sum(1) + 1)).mean()


def lovasz_hinge(logits: Tensor, truth: Tensor) -> Tensor:
    """A convex bound of 1 - IoU of each photo (Berman et al. 2018).

    Pixels are taken by falling hinge error; each counts as much as 1 - IoU grows when that pixel becomes wrong too.
    """
    errors, truth = 1 - (2 * truth - 1).flatten(1) * logits.flatten(1), truth.flatten(1)
    errors, order = errors.sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    objects = truth.sum(1, keepdim=True)
    lost = 1 - (objects - truth.cumsum(1)) / (objects + (1 - truth).cumsum(1))
    growth = torch.cat([lost[:, :1], lost[:, 1:] - lost[:, :-1]], dim=1)
    return (errors.relu() * growth).sum(1).mean()


LOSSES = {"bce": binary_cross_entropy, "focal": focal_loss, "dice": dice_loss, "lovasz": lovasz_hinge}


def loss_of(kind: str, logits: Tensor, masks: Tensor) -> Tensor:
    """The sum of the named losses; masks (B, 1, H, W) of 0, 1 and IGNORED."""
    ignored = masks == IGNORED
    logits = logits.masked_fill(ignored, -30.0)  # surely background, and called background: no error, no gradient
    truth = masks.masked_fill(ignored, 0).float()
    return torch.stack([LOSSES[name](logits, truth) for name in kind.split("+")]).sum()


# ---------------------------------------------------------------------------------------------- augmentation

# How each is made of `a`, the module albumentations, which is imported only when training begins
AUGMENTATIONS: Dict[str, Any] = {
    "flip": lambda a, zoom: a.HorizontalFlip(p=0.5),
    "vertical_flip": lambda a, zoom: a.VerticalFlip(p=0.5),
    "affine": lambda a, zoom: a.Affine(scale=(0.75, zoom), translate_percent=(-0.1, 0.1), rotate=(-15, 15),
                                       border_mode=cv2.BORDER_REFLECT_101, p=0.8),
    "elastic": lambda a, zoom: a.ElasticTransform(alpha=60, sigma=8, approximate=True, p=0.2),
    "jpeg": lambda a, zoom: a.ImageCompression(quality_range=(35, 95), p=0.3),
    "brightness": lambda a, zoom: a.RandomBrightnessContrast(0.25, 0.25, p=0.6),
}


class TrainingPhotos(torch.utils.data.Dataset):
    """Photos in the network's size, augmented; what comes out depends on the seed and the number of the draw alone."""

    def __init__(self, samples: Sequence[Any], recipe: Recipe) -> None:
        self.samples, self.recipe = samples, recipe
        self.augment: Any = None

    def __getitem__(self, key: Tuple[int, int, int, int]) -> Union[str, Tuple[Tensor, Tensor]]:
        """A photo uint8 (3, H, W) and its mask uint8 (1, H, W), for a key (number of the draw, index, H, W).

        What goes wrong comes back as text: an exception in a worker would reach the user as its traceback.
        """
        number, index, height, width = key
        try:
            image, mask = self.samples[index].read()
        except Exception as error:
            return str(error)
        augment = self._augmentation()
        augment.set_random_seed(zlib.crc32(f"{self.recipe.seed} {number}".encode()))
        result = augment(image=resize(image, height, width), mask=resize_mask(mask, height, width))
        image = torch.from_numpy(np.ascontiguousarray(result["image"].transpose(2, 0, 1)))
        return image, torch.from_numpy(np.ascontiguousarray(result["mask"]))[None]

    def _augmentation(self) -> Any:
        if self.augment is None:  # once a process
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
            import albumentations

            chosen = [AUGMENTATIONS[name](albumentations, self.recipe.zoom) for name in self.recipe.augmentations]
            self.augment = albumentations.Compose(chosen)
        return self.augment


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask of 0, 1 and IGNORED, each new pixel being what most of it was."""
    object_, ignored = (resize((mask == value).astype(np.float32), height, width) > 0.5 for value in (1, IGNORED))
    return np.where(ignored, IGNORED, object_).astype(np.uint8)


def _collate(items: List[Any]) -> Any:
    return next((item for item in items if isinstance(item, str)), None) or torch.utils.data.default_collate(items)


def _quiet_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main one ends the others
    cv2.setNumThreads(1)


# ---------------------------------------------------------------------------------------------- training

WARM_UP = 0.05  # of the training, over which the learning rate rises
GROWTH = ((0.0, 0.5), (0.45, 0.75), (0.75, 1.0))  # from this part of the training on, at this part of the size
MAX_GRAD_NORM = 5.0


class Training:
    """A model in training, and all that a stopped training goes on from.

    Args:
        samples: `Sample`s or objects like them.
        rank, world: which of how many processes this is, where several share every batch.

    Attributes:
        average: the moving average of the model's weights; this is what is evaluated and kept.
        wrapped: the model, or what shares its gradients between processes.
        step: steps made.
        seconds: of training so far, without what the caller does between the steps.
    """

    def __init__(self, model: ConceptModel, samples: Sequence[Any], recipe: Recipe,
                 device: Union[str, torch.device] = "cpu", rank: int = 0, world: int = 1) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.wrapped: nn.Module = self.model
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.samples, self.recipe, self.rank, self.world = list(samples), recipe, rank, world
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.step, self.seconds = 0, 0.0

    def _parameter_groups(self) -> List[Dict[str, Any]]:
        is_pretrained = self.model.settings.network == "pretrained_unet"
        groups: Dict[float, List[Tensor]] = {1.0: [], self.recipe.encoder_lr: []}
        for name, parameter in self.model.named_parameters():
            is_encoder = is_pretrained and name.startswith("network.stages.")
            groups[self.recipe.encoder_lr if is_encoder else 1.0].append(parameter)
        return [{"params": parameters, "part": part} for part, parameters in groups.items() if parameters]

    @property
    def progress(self) -> float:
        """0 at the beginning, 1 at the end."""
        seen = self.step * self.recipe.batch_size
        part = seen / (self.recipe.epochs * len(self.samples)) if self.recipe.epochs else 0.0
        return min(1.0, max(part, self.seconds / (60 * self.recipe.minutes)))

    def state(self) -> Dict[str, Any]:
        """Tensors and plain containers, for `load_state`."""
        return {"model": self.model.state_dict(), "average": self.average.state_dict(), "step": self.step,
                "optimizer": self.optimizer.state_dict(), "seconds": self.seconds}

    def load_state(self, state: Dict[str, Any]) -> None:
        """Goes on where `state` was taken."""
        for name in ("model", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, workers: int = 0) -> Iterator[float]:
        """Trains to the end and yields the loss of every step; the caller may look, save or stop in between.

        Args:
            workers: processes that read photos; 0 reads them in this one.

        Raises:
            SegmentationError: a photo or mask can't be used, or the loss is not a number.
        """
        if self.progress >= 1:
            return
        photos = TrainingPhotos(self.samples, self.recipe)
        started = time.monotonic()
        # spawned: a forked child of a process with threads may wait for ever on a lock of one of them
        for batch in torch.utils.data.DataLoader(photos, batch_sampler=self._keys(), num_workers=workers,
                                                 collate_fn=_collate, worker_init_fn=_quiet_worker,
                                                 multiprocessing_context="spawn" if workers else None):
            if isinstance(batch, str):
                raise SegmentationError(batch)
            with denormals_flushed():
                loss = self._update(*batch)
            if not math.isfinite(loss):
                raise SegmentationError(f"the loss is not a number after {self.step} steps; take a smaller lr")
            self.step += 1
            self.seconds += time.monotonic() - started
            yield loss
            if self.progress >= 1:
                return
            started = time.monotonic()

    def _keys(self) -> Iterator[List[Tuple[int, int, int, int]]]:
        """Keys of TrainingPhotos, batches of photos of nearly one shape, for ever; goes on after `step` batches."""
        ratios = [nearest_ratio(*sample.shape()) for sample in self.samples]
        waiting: Dict[int, List[Tuple[int, int]]] = {ratio: [] for ratio in ratios}
        number = batches = 0
        for epoch in range(2**31):
            for index in np.random.default_rng([self.recipe.seed, epoch]).permutation(len(ratios)).tolist():
                group = waiting[ratios[index]]
                group.append((number, index))
                number += 1
                if len(group) == self.recipe.batch_size:
                    batches += 1
                    if batches > self.step:
                        shape = canvas(ratios[index], self._size())
                        yield [(draw, i, *shape) for draw, i in group[self.rank :: self.world]]
                    group.clear()

    def _size(self) -> int:
        """Small pictures first: most is learnt from them, in a fraction of the time."""
        return round(max(part for begin, part in GROWTH if self.progress >= begin) * self.model.settings.size)

    def _update(self, images: Tensor, masks: Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = group["part"] * self._learning_rate()
        self.wrapped.train()
        with _autocast(self.device):
            logits = self.wrapped(images.to(self.device).float() / 255)
        loss = loss_of(self.recipe.loss, logits.float(), masks.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self._average_weights()
        return float(loss.detach())

    def _learning_rate(self) -> float:
        """Rises over the warm-up, then falls along half a cosine."""
        warm = min(1.0, (self.progress + 1e-3) / WARM_UP, (self.step + 1) / 10)
        return self.recipe.lr * warm * max(0.01, (1 + math.cos(math.pi * self.progress)) / 2)

    def _average_weights(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))  # quick to forget the random beginning
        values = self.model.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, mean in self.average.state_dict(keep_vars=True).items():
                if mean.is_floating_point():
                    mean.lerp_(values[name], 1 - decay)


def _autocast(device: torch.device) -> Any:
    """bf16 where the device is fast at it."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.get_device_capability(device)[0] >= 8)
    return torch.autocast("cpu", torch.bfloat16, enabled=_cpu_has_bf16())


def _cpu_has_bf16() -> bool:
    try:
        features = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in features or "amx_bf16" in features


def iou(truth: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union of masks bool (H, W); 1 if both are empty."""
    union = np.count_nonzero(truth | mask)
    return np.count_nonzero(truth & mask) / union if union else 1.0


def sample_iou(model: ConceptModel, sample: Any) -> float:
    """IoU of the prediction for one photo; ignored pixels belong to neither mask."""
    image, mask = sample.read()
    return iou(mask == 1, (probabilities(model, image) > 0.5) & (mask != IGNORED))


def train_model(train_data_path: PathLike, pretrained: Weights = "download", settings: Settings = Settings(),
                recipe: Recipe = Recipe(), model_path: Optional[PathLike] = None) -> ConceptModel:
    """Trains on a folder of photos with masks and writes the weights that are best on the held-out ones.

    Args:
        train_data_path: see `find_samples`.
        pretrained: weights of the encoder; where they can't be downloaded, training begins from random ones.
        model_path: for the weights; `segmentation_model.pth` beside this file if left out.
    """
    photos, held_out = split_samples(find_samples(train_data_path))
    path = model_path or Path(__file__).with_name(MODEL_FILE)
    torch.manual_seed(recipe.seed)
    try:
        model = ConceptModel(settings, pretrained)
    except SegmentationError as error:
        if pretrained != "download":
            raise
        print(f"{error}; training begins from random weights", file=sys.stderr)
        model = ConceptModel(settings)
    training = Training(model, photos, recipe)
    best, evaluated = -1.0, 0.0
    for loss in training.run():
        if training.progress < 1 and training.progress - evaluated < 0.1:
            continue
        evaluated = training.progress
        score = float(np.mean([sample_iou(training.average, sample) for sample in held_out]))
        print(f"{evaluated:4.0%}, step {training.step}: loss {loss:.3f}, held-out IoU {score:.4f}", file=sys.stderr)
        if score > best:
            best = score
            save_model(training.average, path)
    return load_model(path)
