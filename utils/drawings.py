"""Strokes and contours in the training of solution.py: of its samples, and of its rounds of simulated interaction.

Where this file is missing, as in the course's own utils, solution.py trains with clicks alone.
"""
from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from solution import Recipe
from utils.interactions import KINDS, Contour, Stroke, WholePicture, next_drawing, rasterize

STYLES = ("straight", "centreline", "outline", "polynomial")  # of strokes, of utils.scribbles.STROKES
WIDTHS = (3, 14)  # of strokes in pixels of the network input, as zoom-ins show them


def first_drawing(seed: tuple[int, ...], mask: np.ndarray, points: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Maps float32 (4, H, W) of a stroke or contour to begin with, now and then, in place of the first click.

    Args:
        seed: of the draws.
        mask: bool (H, W), the object.
        points: (2N, 3) of `solution.first_points`; the first one is taken away if something is drawn.
        recipe: its kinds, p_box and p_replace decide what is drawn.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((4, *mask.shape), np.float32)
    kind = rng.choice(len(KINDS), p=np.array(recipe.kinds) / sum(recipe.kinds))
    if kind and draw_next(rng, KINDS[kind], mask, np.zeros_like(mask), drawn, recipe):
        points[0] = -1
    return drawn


def draw_round(
    truth: Tensor, mask: Tensor, drawn: Tensor, recipe: Recipe, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A round's strokes and contours for objects and predicted masks bool (B, 1, H, W).

    Returns:
        The maps (B, 4, H, W) with them, and bool (B,): in which samples something was drawn.
    """
    kinds = torch.multinomial(torch.tensor(recipe.kinds), len(truth), replacement=True, generator=rng).tolist()
    seed = int(torch.randint(2**31, (1,), generator=rng))
    maps, drew = drawn.cpu().numpy().copy(), np.zeros(len(truth), bool)
    for n in np.flatnonzero(kinds):
        region, predicted = (one[n, 0].cpu().numpy() for one in (truth, mask))
        draws = np.random.default_rng((seed, int(n)))
        drew[n] = draw_next(draws, KINDS[kinds[n]], region, predicted, maps[n], recipe)
    return torch.from_numpy(maps).to(drawn.device), torch.from_numpy(drew).to(drawn.device)


def draw_next(
    rng: np.random.Generator, kind: str, truth: np.ndarray, mask: np.ndarray, drawn: np.ndarray, recipe: Recipe
) -> bool:
    """Adds the next stroke or contour for a mask to the maps (4, H, W), unless the error is too small for one.

    Returns:
        Whether something was drawn.
    """
    item = next_drawing(rng, kind, truth, mask, STYLES[rng.integers(len(STYLES))])
    width, is_box, replaces = rng.uniform(*WIDTHS), rng.random() < recipe.p_box, rng.random() < recipe.p_replace
    if item is None:
        return False
    if isinstance(item, Stroke):
        item = dataclasses.replace(item, width=width)
    elif is_box and not mask.any():
        (top, left), (bottom, right) = np.min(item.points, axis=0), np.max(item.points, axis=0)
        item = Contour.box(top, left, bottom, right)
    maps = rasterize([item], WholePicture(*truth.shape))[2:]
    own = slice(0, 2) if kind == "stroke" else slice(2, 4)
    if replaces:
        drawn[own] = 0
    elif kind == "contour":
        drawn[own, maps[own].any(0)] = 0
    np.maximum(drawn, maps, out=drawn)
    return True
