"""What utils.export can export: the click network, and the networks of utils.segment, each with its own questions.

A further kind of model is a class here, and a line in `open_source`.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import cv2
import numpy as np
import torch
from torch import Tensor, nn

import solution
from solution import ISModel, Predictor
from utils.runtimes import ExportedModel, ExportedNetwork, network_inputs


class Scene(NamedTuple):
    """A rendered picture float32 (1, 3, H, W) in [0, 1], and pixels (y, x) on its object and on another one."""

    picture: Tensor
    on: tuple[float, float]
    beside: tuple[float, float]


def render_scene(height: int, width: int, seed: int = 0) -> Scene:
    """A blurred ground with a disk and a rectangle of other colours."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(60, 200, (height, width, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), max(2, height / 40))
    on, beside = (int(0.4 * height), int(0.35 * width)), (int(0.65 * height), int(0.8 * width))
    colours = rng.integers(0, 256, (2, 3)).tolist()
    cv2.circle(image, on[::-1], int(0.25 * min(height, width)), colours[0], -1, cv2.LINE_AA)
    half = min(height, width) // 8
    cv2.rectangle(image, (beside[1] - half, beside[0] - half), (beside[1] + half, beside[0] + half), colours[1], -1)
    return Scene(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, on, beside)


class ClickModel:
    """The click network of solution.py: inputs are the image with the previous mask, and maps of what was drawn."""

    kind, side_multiple, runtime = "click", 16, ExportedNetwork

    def __init__(self, path: Path) -> None:
        model = ISModel()
        model.restore_from_checkpoint(str(path), "cpu")
        self.model = model.eval()
        self.inputs = {"image": 4, "clicks": 6 if model.config.drawings else 2}
        self.network = _ClickMaps(model.folded().float())
        self.threshold = model.config.pred_thr

    def config(self) -> dict[str, Any]:
        """The NetworkConfig."""
        return dataclasses.asdict(self.model.config)

    def preprocessing(self) -> dict[str, Any]:
        """What comes before and after the network, in numbers; docs/embed.md has them in words."""
        usual = Predictor(self.model)
        drawings = "; then positive and negative strokes, positive and negative contours, 0 where there is none"
        return {
            "image": "channels red, green, blue in [0, 1], previous mask's probabilities in [0, 1] (0 without one)",
            "clicks": "channels positive, negative: 1 within disk_radius pixels of a click, else 0"
                      + drawings * bool(self.model.config.drawings),
            "click_maps": self.inputs["clicks"],
            "logits": "sigmoid gives the probability of the object; average it with the mirrored input's",
            "side_multiple": self.side_multiple, "disk_radius": self.model.config.disk_radius,
            "threshold": self.threshold, "working_size": usual.working_size, "coarse_size": usual.coarse_size,
            "expand_ratio": usual.expand_ratio, "min_box": usual.min_box,
        }

    def calls(self, scene: Scene) -> Iterator[tuple[Tensor, Tensor]]:
        """Arguments of ISModel: a first click, then a negative one with the first mask; both with their mirror.

        A network that knows strokes and contours sees the mask's left half as one of each, too.
        """
        previous = torch.zeros_like(scene.picture[:, :1])
        drawn = scene.picture.new_zeros((1, self.inputs["clicks"] - 2, *scene.picture.shape[-2:]))
        for clicks in ((scene.on, None), (scene.on, scene.beside)):
            points = torch.tensor([(*click, 0) if click else (-1, -1, -1) for click in clicks]).float()[None]
            mirrored = torch.where(points < 0, points, torch.stack(
                [points[..., 0], previous.shape[-1] - 1 - points[..., 1], points[..., 2]], -1))
            image = torch.cat([scene.picture, previous, drawn], 1)
            both = torch.cat([image, image.flip(-1)]), torch.cat([points, mirrored])
            previous = torch.sigmoid(self.torch_logits(*both)[:1])
            drawn[:, ::3, :, : drawn.shape[-1] // 2] = (previous > self.threshold)[..., : drawn.shape[-1] // 2].float()
            yield both

    def torch_logits(self, image: Tensor, points: Tensor) -> Tensor:
        """Float32 (B, 1, H, W)."""
        return self.model(image, points)["instances"]

    def exported_logits(self, exported: Any, image: Tensor, points: Tensor) -> Tensor:
        """The same by the exported file."""
        return exported.logits(image, points)

    def sample_inputs(self, scene: Scene) -> list[Tensor]:
        """Inputs of the exported network for the sample: the second call, without its mirror image."""
        image, points = list(self.calls(scene))[1]
        return list(network_inputs(self.model.config, image[:1], points[:1]))


class _ClickMaps(nn.Module):
    """The click network with its clicks already drawn."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, clicks: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of image (B, 4, H, W) and maps (B, 2, H, W) of clicks or (B, 6, H, W) of all kinds."""
        if clicks.shape[1] > 2:
            image = torch.cat([image, clicks[:, 2:]], 1)
        with mock.patch.object(solution, "click_disks", lambda maps, *_: maps[:, :2]):
            return self.network(image, clicks)["instances"]


class SegmentModel:
    """A network of utils.segment: its input is the image alone."""

    kind, inputs, side_multiple, runtime = "segment", {"image": 3}, 32, ExportedModel
    threshold = 0.5

    def __init__(self, path: Path) -> None:
        from utils.segment import segmentation

        self.model = self.network = segmentation.load_model(path)

    def config(self) -> dict[str, Any]:
        """The Settings."""
        return dataclasses.asdict(self.model.settings)

    def preprocessing(self) -> dict[str, Any]:
        """What comes before and after the network, in numbers."""
        return {
            "image": "channels red, green, blue in [0, 1]; about working_size**2 pixels in the photo's proportions",
            "logits": "sigmoid gives the probability of the object",
            "side_multiple": self.side_multiple, "threshold": self.threshold, "working_size": self.model.settings.size,
        }

    def calls(self, scene: Scene) -> Iterator[tuple[Tensor]]:
        """Arguments of the model."""
        yield (torch.cat([scene.picture, scene.picture.flip(-1)]),)

    def torch_logits(self, image: Tensor) -> Tensor:
        """Float32 (B, 1, H, W)."""
        return self.model(image)

    def exported_logits(self, exported: Any, image: Tensor) -> Tensor:
        """The same by the exported file."""
        return torch.from_numpy(exported.run(image.numpy()))

    def sample_inputs(self, scene: Scene) -> list[Tensor]:
        """Inputs of the exported network for the sample."""
        return [scene.picture]


Source = ClickModel | SegmentModel


def open_source(path: Path) -> Source:
    """The model of a checkpoint.

    Raises:
        CheckpointError, UserError: it is damaged, or of neither package.
    """
    content = solution.read_plain(path)
    kind = SegmentModel if isinstance(content, dict) and "_extra_state" in content else ClickModel
    return kind(path)
