"""What the tests of the Predictor share: a runtime that paints, a lively model, clicks and pictures."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

import solution
from solution import Frame, ISModel, Predictor, click_disks

CPU = torch.device("cpu")
WORKING = 64  # a small network input, for speed
SCENES = Path(__file__).with_name("00_sample_input")
A, B, C, D = (10, 10, True), (30, 35, False), (20, 15, True), (5, 40, True)


def lively_model() -> ISModel:
    """Random weights whose predictions nevertheless depend on all that the network sees.

    Normalization with the statistics of some pictures keeps their differences alive through all layers.
    """
    torch.manual_seed(0)
    model = ISModel().train()
    images = torch.stack([torch.from_numpy(picture(64, 64, seed)).permute(2, 0, 1) / 255 for seed in range(6)])
    points = torch.randint(0, 64, (6, 4, 3)).float()
    with torch.no_grad():
        for _ in range(12):
            model(torch.cat([images, torch.rand(6, 1, 64, 64)], 1), points)
        model.decoder[-1].weight.mul_(4)
    return model.eval()


class Painter:
    """A Runtime without a network: the object is where clicks' disks are, or the last mask was; notes its inputs."""

    def __init__(self) -> None:
        self.config = solution.NetworkConfig(working_size=WORKING)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def logits(self, inputs: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        self.seen.append((inputs, points))
        disks = click_disks(points, *inputs.shape[-2:], radius=6.0)
        return 12 * torch.maximum(disks[:, :1], inputs[:, 3:] * (1 - disks[:, 1:])) - 6


class CourseClick(NamedTuple):
    """A click with numpy's numbers, as the course's Clicker makes it."""

    is_positive: np.bool_
    coords: tuple[np.int64, np.int64]


class Clicks:
    """A list of clicks (y, x, is_positive), and nothing more than the Predictor may ask for."""

    def __init__(self, *clicks: tuple[int, int, bool]) -> None:
        self.clicks = [CourseClick(np.bool_(p), (np.int64(y), np.int64(x))) for y, x, p in clicks]

    def get_clicks(self) -> list[CourseClick]:
        return self.clicks


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth seeded picture (H, W, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def small(model: torch.nn.Module | Painter, **options) -> Predictor:
    return Predictor(model, CPU, working_size=WORKING, **options)


def predict(predictor: Predictor, image: np.ndarray, *clicks: tuple[int, int, bool]) -> np.ndarray:
    predictor.set_input_image(image)
    return predictor.get_prediction(Clicks(*clicks))


def is_probability(prob: np.ndarray, height: int, width: int) -> bool:
    return prob.dtype == np.float32 and prob.shape == (height, width) and prob.min() >= 0 and prob.max() <= 1


def watch_frames(predictor: Predictor) -> list[Frame]:
    """Gets the frame of each forward pass that the predictor makes from now on."""
    frames, take = [], solution.ImagePyramid.take
    predictor._image.take = lambda frame: frames.append(frame) or take(predictor._image, frame)
    return frames


def scene(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A rendered scene's image (H, W, 3) RGB and mask (H, W) of 0 and 1."""
    image = cv2.imread(str(SCENES / "imgs" / f"{name}.jpg"))[..., ::-1]
    return image, (cv2.imread(str(SCENES / "masks" / f"{name}.png")).max(2) > 0).astype(np.int32)
