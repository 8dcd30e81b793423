"""Draws tests/00_sample_input, the pictures that let a fresh clone be scored at once.

    python tests/render_scenes.py                   writes the committed folder again, pixel for pixel
    python tests/render_scenes.py --output FOLDER   writes FOLDER/imgs and FOLDER/masks
    python tests/render_scenes.py --sheet FILE      also draws them all on one sheet, outlined

Every scene is a function that paints one Picture from its seed, back to front, and develops it. They are plausible, not
photographs: a score on them says that everything works and nothing about the model.
"""
from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rendering import (
    Colour,
    Picture,
    Point,
    Shape,
    dense_curve,
    ellipse,
    mix,
    outline,
    path,
    pebble,
    polar,
    revolved,
    ring,
    rod,
    srgb,
    step,
    union,
)

SAMPLE_FOLDER = Path(__file__).resolve().parent / "00_sample_input"
JPEG_QUALITY = 88


# ---------------------------------------------------------------------------------------------- surfaces

def wood(picture: Picture, light: str, dark: str, board: float = 0.16) -> np.ndarray:
    """Colours (H, W, 3) of boards that run from left to right."""
    row = picture.y / board
    index = np.floor(row).astype(int)
    tint = picture.rng.uniform(-0.25, 0.25, index.max() + 1)[index]
    veins = np.sin(14 * picture.noise(0.1, octaves=3, stretch=14) * 0.35 + 60 * picture.y) * 0.3
    fibres = picture.noise(0.012, octaves=2, stretch=25) * 0.16
    colour = mix(srgb(light), srgb(dark), 0.4 + veins + fibres + tint)
    seam = np.minimum(row - index, 1 - row + index) * board
    return colour * (0.25 + 0.75 * step(0, 0.006, seam))[..., None]


def cloth(picture: Picture, colour: Colour, thread: float = 0.008) -> np.ndarray:
    """Colours (H, W, 3) of a woven fabric with soft folds."""
    across, along = np.sin(2 * np.pi * picture.x / thread), np.sin(2 * np.pi * picture.y / thread)
    weave = 0.5 * across * along + 0.25 * picture.noise(0.004, octaves=1) * np.sign(across + along)
    folds = picture.relief(picture.noise(0.5, octaves=2) * 0.02, contrast=0.8)
    return np.asarray(colour) * ((1 + 0.25 * weave) * folds)[..., None]


def sand(picture: Picture, light: str, dark: str, ripples: float = 0.004) -> np.ndarray:
    """Colours (H, W, 3) of sand with ripples of this height, lit by the sun."""
    wave = picture.y * 70 + 3.2 * picture.noise(0.6, octaves=2)
    bumps = ripples * np.sin(wave) * (0.6 + 0.4 * picture.noise(0.5, octaves=1))
    grains = picture.noise(0.006, octaves=2) * 0.0011
    colour = mix(srgb(light), srgb(dark), 0.45 + 0.25 * picture.noise(0.008, octaves=2) + 0.1 * picture.noise(0.4))
    return colour * picture.relief(bumps + grains, contrast=0.9)[..., None]


def sky(picture: Picture, zenith: str, horizon: str, level: float, clouds: float = 0.0) -> np.ndarray:
    """Colours (H, W, 3) of a sky down to the horizon's level, with a share of clouds."""
    colour = mix(srgb(zenith), srgb(horizon), (picture.y / level) ** 1.3)
    billows = picture.noise(0.35, octaves=6, stretch=2.2, fade=0.55)
    cover = step(1.2 - 2 * clouds, 2.4 - 2 * clouds, billows) if clouds else np.zeros_like(billows)
    shine = mix(srgb("#9fb0c4"), srgb("#ffffff"), step(0.2, 2.4, billows + 0.3))
    return mix(colour, shine * 1.15, cover * 0.95)


def plaster(picture: Picture, colour: str) -> np.ndarray:
    """Colours (H, W, 3) of a painted wall, brighter at the upper left."""
    fall = 1.15 - 0.35 * picture.x / picture.aspect - 0.3 * picture.y
    grain = picture.relief(picture.noise(0.03, octaves=4) * 0.0012, contrast=0.7)
    return srgb(colour) * (fall * grain * (1 + 0.05 * picture.noise(0.4, octaves=3)))[..., None]


def bricks(picture: Picture, height: float = 0.075, length: float = 0.21) -> np.ndarray:
    """Colours (H, W, 3) of a brick wall with mortar joints."""
    row = np.floor(picture.y / height).astype(int)
    along = picture.x / length + 0.5 * (row % 2)
    column = np.floor(along).astype(int)
    tints = picture.rng.uniform(0, 1, (row.max() + 1, column.max() + 1))[row, column]
    to_joint = np.minimum(
        np.abs(picture.y / height - np.round(picture.y / height)) * height,
        np.abs(along - np.round(along)) * length,
    ) + 0.0016 * picture.noise(0.02, octaves=2)
    brick = mix(srgb("#a4553c"), srgb("#6e3328"), tints + 0.2 * picture.noise(0.03))
    colour = mix(srgb("#a89f92"), brick, step(0.003, 0.006, to_joint))
    bumps = 0.006 * step(0.001, 0.009, to_joint) + 0.0009 * picture.noise(0.012, octaves=3)
    return colour * picture.relief(bumps)[..., None]


def foliage(picture: Picture, greens: tuple[str, ...], count: int, size: float) -> None:
    """Covers the picture with light spots out of focus, as leaves behind a subject look."""
    for _ in range(count):
        cy, cx = picture.rng.uniform(-0.1, 1.1), picture.rng.uniform(-0.1, picture.aspect + 0.1)
        radius = size * picture.rng.uniform(0.4, 1.3)
        colour = srgb(greens[picture.rng.randint(len(greens))]) * picture.rng.uniform(0.5, 1.5)
        picture.paint(ellipse(cy, cx, radius, radius), colour, opacity=0.45, blur=0.012)


def meadow(picture: Picture, level: float, count: int, length: float, greens: tuple[str, str], front: bool) -> None:
    """Blades of grass that grow from below the level, the nearer the longer.

    Args:
        front: blades at random along the picture's lower edge only, which stand before the subject.
    """
    roots = np.sort(picture.rng.uniform(1.0, 1.06, count) if front else picture.rng.uniform(level, 1.1, count))
    for root in roots:
        x, lean = picture.rng.uniform(-0.05, picture.aspect + 0.05), picture.rng.normal(0, 0.25)
        height = length * picture.rng.uniform(0.5, 1.0) * (0.35 + 0.65 * (root - level) / (1.1 - level))
        bend = [(root - t * height, x + lean * height * t**1.8) for t in (0, 0.35, 0.7, 1.0)]
        colour = mix(srgb(greens[0]), srgb(greens[1]), picture.rng.uniform()) * picture.rng.uniform(0.5, 1.3)
        thickness = (0.004 + 0.003 * front) * picture.rng.uniform(0.6, 1.2)
        picture.model(path(bend, thickness, 0.0007), colour, roundness=thickness, gloss=0.05)


def focus(picture: Picture, far: float, near: float, size: float) -> None:
    """Blurs what is painted above y = far by this size and leaves what is below y = near sharp."""
    blurred = cv2.GaussianBlur(picture.light, (0, 0), size * picture.height)
    picture.light = mix(blurred, picture.light, step(far, near, picture.y))


# ---------------------------------------------------------------------------------------------- scenes

def apple(picture: Picture) -> np.ndarray:
    """A red apple on a table."""
    cy, cx, size = 0.575, 0.6, 0.245
    picture.fill(plaster(picture, "#8d9a86"))
    picture.paint(ellipse(0.12, 1.1, 0.22, 0.3), srgb("#e8e4c8"), opacity=0.5, blur=0.06)
    picture.blur(0.02)
    table = outline([(0.5, -1), (0.5, 3), (2, 3), (2, -1)], sharp=True)
    picture.paint(table, wood(picture, "#b98a56", "#6d4526", 0.17) * 0.8)
    focus(picture, 0.45, 0.75, 0.012)
    body = polar(cy, cx, lambda a: size * (1 - 0.15 * bump(a, -1.57, 0.38) - 0.05 * bump(a, 1.57, 0.5)), size)
    picture.shade(ellipse(0.8, cx + 0.12, 0.045, 0.3), 0.55, 0.03)
    picture.shade(ellipse(0.805, cx + 0.02, 0.02, 0.19), 0.85, 0.014)
    across = np.clip((picture.x - cx) / (size + 0.01), -1, 1)
    longitude = np.arcsin(across * (1 - 0.25 * np.abs((picture.y - cy) / size)))
    streaks = sum(np.sin(k * longitude + p) for k, p in zip((17, 29, 43), (0.3, 1.9, 4.0), strict=True)) / 3
    ripe = 0.55 + 0.5 * longitude + 0.13 * streaks + 0.15 * picture.noise(0.15)
    skin = mix(srgb("#d9a441"), srgb("#a3141c"), step(-0.6, 0.75, ripe))
    specks = step(2.1, 2.6, picture.noise(0.012, octaves=1))
    picture.model(body, mix(skin, srgb("#e6c58b"), 0.5 * specks), roundness=size, target=True, gloss=0.55, polish=70)
    picture.shade(ellipse(cy - 0.83 * size, cx, 0.022, 0.075), 0.75, 0.012)
    stem = path([(cy - 0.8 * size, cx), (cy - 1.05 * size, cx + 0.015), (cy - 1.3 * size, cx + 0.05)], 0.008, 0.012)
    picture.model(stem, srgb("#5a3d22"), roundness=0.01, target=True)
    return picture.develop(exposure=1.15, warmth=0.05)


def mug(picture: Picture) -> np.ndarray:
    """A glazed mug whose handle leaves a hole, on a wooden table before a wall."""
    cx, top, foot = 0.62, 0.27, 0.8
    picture.fill(plaster(picture, "#c9c2b4"))
    picture.blur(0.008)
    table = outline([(0.56, -1), (0.56, 3), (2, 3), (2, -1)], sharp=True)
    picture.paint(table, wood(picture, "#8a5a3a", "#3f2416", 0.2))
    focus(picture, 0.5, 0.8, 0.01)
    wall = [(0.4, 0.2), (0.6, 0.197), (0.74, 0.185)]
    body, pipe = revolved(cx, [(top, 0.2), *wall, (foot, 0.15)]), revolved(cx, [(-1, 0.2), *wall, (2, 0.18)])
    handle = ring(0.52, cx + 0.2, 0.155, 0.125, 0.052)
    rim, mouth = ellipse(top, cx, 0.045, 0.2), ellipse(top, cx, 0.036, 0.185)
    picture.shade((body | handle).lying(foot, 0.25, 0.75), 0.55, 0.022)
    picture.shade(ellipse(foot, cx + 0.02, 0.025, 0.17), 0.8, 0.015)
    glaze = mix(srgb("#2f6690"), srgb("#16425b"), 0.5 + 0.12 * picture.noise(0.06))
    clay = mix(srgb("#d9c3a0"), srgb("#b8976c"), 0.5 + 0.12 * picture.noise(0.01, octaves=2))
    edge = 0.66 + 0.012 * np.sin(30 * picture.x) + 0.007 * np.sin(53 * picture.x + 1)
    colour = mix(glaze, clay, step(-0.002, 0.002, picture.y - edge + 0.3 * (picture.x - cx) ** 2))
    picture.model(handle, glaze, roundness=0.026, target=True, gloss=0.5, polish=50)
    base = ellipse(foot - 0.002, cx, 0.022, 0.15)
    picture.model(body | base | rim, colour, roundness=0.2, target=True, form=pipe, gloss=0.5, polish=40)
    picture.model(rim, glaze * 1.5, roundness=0.012, target=True, gloss=0.4)
    picture.paint(mouth, mix(srgb("#0d2635"), srgb("#2b6a93"), step(cx - 0.1, cx + 0.2, picture.x)), target=True)
    picture.paint(mouth & ellipse(top + 0.03, cx, 0.036, 0.17), srgb("#2a1409"), target=True)
    return picture.develop(exposure=1.2, grain=0.014)


def leaf(picture: Picture) -> np.ndarray:
    """A maple leaf on a forest floor of other leaves."""
    picture.fill(mix(srgb("#3c2b1e"), srgb("#1d140e"), 0.5 + 0.4 * picture.noise(0.05)))
    browns = ("#7a4f2b", "#94612f", "#5d3a22", "#a57b45", "#6b3f1f", "#82602f")
    curl = picture.noise(0.2, octaves=2) * 0.004 + picture.noise(0.01, octaves=2) * 0.0003
    mottled = np.exp(0.2 * picture.noise(0.05, octaves=4))[..., None]
    for _ in range(150):
        cy, cx = picture.rng.uniform(0, 1), picture.rng.uniform(0, picture.aspect)
        litter, rib = spear_leaf(cy, cx, picture.rng.uniform(0.08, 0.15), picture.rng.uniform(0, 2 * np.pi))
        colour = srgb(browns[picture.rng.randint(len(browns))]) * picture.rng.uniform(0.4, 0.9)
        picture.shade(litter.moved(0.01, 0.008), 0.7, 0.008)
        picture.model(litter, colour * mottled, roundness=0.012, bumps=curl, gloss=0.08)
        picture.paint(rib, 1.5 * colour, opacity=0.7)
    blade, tips, heart = maple(0.5, 0.66, 0.36, turn=0.25)
    stalk = path([heart, (heart[0] + 0.18, heart[1] - 0.1), (heart[0] + 0.34, heart[1] - 0.12)], 0.007, 0.009)
    whole = blade | stalk
    picture.shade(whole.moved(0.022, 0.018), 0.75, 0.012)
    blush = mix(srgb("#d98a1e"), srgb("#b3260f"), 0.5 + 0.4 * picture.noise(0.2) + 0.1 * picture.noise(0.02, octaves=2))
    veins = union([path([heart, tip], 0.0042, 0.001) for tip in tips])
    picture.model(blade, blush, roundness=0.02, target=True, bumps=curl, gloss=0.12)
    picture.paint(veins & blade, srgb("#e9b65a"), target=True, opacity=0.75)
    picture.model(stalk, srgb("#a3452a"), roundness=0.008, target=True)
    return picture.develop(exposure=1.5, grain=0.012, warmth=0.04)


def fish(picture: Picture) -> np.ndarray:
    """A striped fish among seaweed, some of it in front."""
    depth = mix(srgb("#5fc3c9"), srgb("#0b3a55"), picture.y * 1.1 + 0.08 * picture.noise(0.4))
    shafts = step(0.2, 1.6, picture.noise(0.12, octaves=2, stretch=0.12)) * (1 - picture.y)
    picture.fill(mix(depth, srgb("#bff0e6"), 0.35 * shafts))
    for x in (0.1, 0.22, 1.05, 1.18, 1.28):
        seaweed(picture, x, 0.45, "#0f4a3f", wobble=0.03)
    picture.blur(0.012)
    body = outline([(0.47, 0.3), (0.36, 0.46), (0.315, 0.63), (0.36, 0.82), (0.43, 0.94), (0.47, 0.97), (0.51, 0.94),
                    (0.58, 0.82), (0.62, 0.63), (0.57, 0.45)])
    tail = outline([(0.47, 0.93), (0.4, 1.0), (0.3, 1.09), (0.39, 1.08), (0.47, 1.05), (0.55, 1.08), (0.65, 1.1),
                    (0.54, 1.0)])
    back = outline([(0.36, 0.5), (0.26, 0.56), (0.22, 0.66), (0.27, 0.78), (0.33, 0.86), (0.4, 0.8), (0.36, 0.6)])
    belly = outline([(0.57, 0.62), (0.66, 0.68), (0.7, 0.77), (0.63, 0.79), (0.56, 0.78)])
    rays = np.sin(170 * (picture.y * 0.6 + picture.x * 0.35)) * 0.0014
    for fin in (tail, back, belly):
        picture.model(fin, srgb("#e08a2c"), roundness=0.03, target=True, bumps=rays, gloss=0.1)
    arc = picture.x + 0.35 * (picture.y - 0.47) ** 2 * np.sign(picture.x - 0.6)
    bands = step(0.0, 0.35, np.cos((arc - 0.45) * 2 * np.pi / 0.205) - 0.25)
    colour = mix(mix(srgb("#e8892b"), srgb("#f4d9a0"), (picture.y - 0.42) * 4), srgb("#f2efe6"), bands)
    scales = np.sin(190 * picture.x + np.pi * np.round(picture.y * 60)) * np.sin(60 * np.pi * picture.y) * 0.0006
    picture.model(body, colour, roundness=0.16, target=True, bumps=scales, gloss=0.35, polish=20)
    picture.model(outline([(0.49, 0.56), (0.5, 0.63), (0.55, 0.68), (0.57, 0.62), (0.53, 0.57)]),
                  srgb("#f0a545"), roundness=0.02, target=True, bumps=rays)
    picture.paint(ellipse(0.445, 0.385, 0.02, 0.02), srgb("#f4f1dc"), target=True)
    picture.paint(ellipse(0.446, 0.382, 0.0125, 0.0125), srgb("#0a0a0d"), target=True)
    picture.paint(ellipse(0.441, 0.378, 0.004, 0.004), srgb("#ffffff"), target=True)
    picture.paint(path([(0.505, 0.31), (0.512, 0.34)], 0.003), srgb("#6a3512"), target=True)
    picture.paint(path([(0.39, 0.47), (0.47, 0.495), (0.55, 0.47)], 0.0025), srgb("#9a5516"), target=True, opacity=0.7)
    for x, top in ((0.5, 0.55), (0.73, 0.24), (0.79, 0.42), (1.0, 0.36)):
        seaweed(picture, x, top, "#2f6b2a", wobble=0.02)
    for _ in range(25):
        cy, cx, size = picture.rng.uniform(0, 0.9), 0.2 + picture.rng.normal(0, 0.05), picture.rng.uniform(0.003, 0.011)
        picture.paint(ring(cy, cx, size, size, 0.003), srgb("#d8fbff"), opacity=0.45)
    haze = mix(srgb("#4fb3bd"), srgb("#0b3a55"), picture.y)
    picture.light = mix(picture.light, haze, 0.16)
    return picture.develop(exposure=1.2, grain=0.012, softness=0.8)


def doughnut(picture: Picture) -> np.ndarray:
    """An iced doughnut on a plate, seen from above: a ring."""
    cy, cx = 0.5, 0.66
    picture.fill(cloth(picture, srgb("#8fb0a9")))
    plate = ellipse(cy, cx, 0.42, 0.42)
    picture.shade(plate.moved(0.03, 0.03), 0.6, 0.025)
    picture.model(plate, srgb("#e9e6df"), roundness=0.05, gloss=0.3)
    picture.model(ellipse(cy, cx, 0.3, 0.3), srgb("#dedad2"), roundness=0.008, gloss=0.2)
    dough = polar(cy, cx, lambda a: 0.265 + 0.006 * np.sin(3 * a + 1) + 0.004 * np.sin(5 * a), 0.29)
    dough -= polar(cy, cx, lambda a: 0.083 + 0.005 * np.sin(2 * a) + 0.003 * np.sin(5 * a + 2), 0.1)
    icing = polar(cy, cx, lambda a: 0.236 + 0.012 * np.sin(7 * a) + 0.008 * np.sin(11 * a + 1), 0.27)
    icing -= polar(cy, cx, lambda a: 0.1 + 0.006 * np.sin(5 * a + 2) + 0.004 * np.sin(8 * a), 0.12)
    picture.shade(dough.moved(0.022, 0.022), 0.6, 0.016)
    crust = mix(srgb("#c98d4b"), srgb("#9a5f2b"), 0.5 + 0.25 * picture.noise(0.04))
    pores = picture.noise(0.012, octaves=3) * 0.0007
    picture.model(dough, crust, roundness=0.092, target=True, bumps=pores, gloss=0.06)
    soft = picture.noise(0.06, octaves=2) * 0.0012
    picture.model(icing, srgb("#d8628f"), roundness=0.068, target=True, bumps=soft, gloss=0.5, polish=60)
    for _ in range(75):
        angle, distance = picture.rng.uniform(0, 2 * np.pi), picture.rng.uniform(0.118, 0.212)
        sprinkle(picture, cy + distance * np.sin(angle), cx + distance * np.cos(angle))
    return picture.develop(exposure=1.0, grain=0.01)


def tree(picture: Picture) -> np.ndarray:
    """A bare tree on a hill at dusk: thin branches and much sky between them."""
    picture.fill(sky(picture, "#3d4f7c", "#f3b27a", 0.82, clouds=0.35) * 0.85)
    picture.paint(ellipse(1.02, 0.25, 0.24, 0.6), srgb("#4b4a66"), blur=0.003)
    picture.paint(ellipse(1.08, 1.15, 0.26, 0.7), srgb("#3b3c50"), blur=0.002)
    grow(picture, root=(0.85, 0.6), angle=-np.pi / 2 + 0.06, length=0.22, radius=0.024, depth=7)
    turf = mix(srgb("#4a4230"), srgb("#14120e"), (picture.y - 0.8) * 4 + 0.25 * picture.noise(0.02))
    picture.paint(ellipse(1.36, 0.62, 0.55, 1.3), turf)
    meadow(picture, 0.8, 700, 0.05, ("#2e2b1a", "#5c5330"), front=False)
    return picture.develop(exposure=1.3, grain=0.016, warmth=0.05)


def pebbles(picture: Picture) -> np.ndarray:
    """A banded stone among others, two of which lie on it."""
    picture.fill(sand(picture, "#9d8f7c", "#5f5548", ripples=0.001) * 0.7)
    grain = (1 + 0.12 * picture.noise(0.012, octaves=2))[..., None]
    bumps = picture.noise(0.05, octaves=4) * 0.0009
    greys = ("#8d8a86", "#6f6c6c", "#a79c8d", "#57585c", "#b8b2a7", "#7d6a5d", "#8f7f77")
    for size in np.sort(picture.rng.uniform(0.03, 0.1, 150)):
        cy, cx = picture.rng.uniform(-0.05, 1.05), picture.rng.uniform(-0.05, picture.aspect + 0.05)
        grey = srgb(greys[picture.rng.randint(len(greys))]) * picture.rng.uniform(0.7, 1.2)
        stone(picture, pebble(picture.rng, cy, cx, size), size, grey * grain, bumps)
    body = pebble(picture.rng, 0.52, 0.66, 0.25, roughness=0.16)
    bands = np.sin(55 * (picture.y * 0.8 + picture.x * 0.6) + 1.5 * picture.noise(0.3, octaves=3))
    colour = mix(srgb("#8a4b3c"), srgb("#c9a58c"), step(0.2, 0.8, bands) + 0.1 * picture.noise(0.01))
    stone(picture, body, 0.25, colour, bumps, target=True)
    above = ((0.74, 0.84, 0.12, "#55585c"), (0.34, 0.44, 0.09, "#a9a49b"), (0.84, 0.62, 0.07, "#7c6d60"))
    for cy, cx, size, code in above:
        stone(picture, pebble(picture.rng, cy, cx, size), size, srgb(code) * grain, bumps)
    return picture.develop(exposure=1.35, grain=0.01)


def key(picture: Picture) -> np.ndarray:
    """An old iron key on dark felt: thin, with holes."""
    picture.fill(cloth(picture, srgb("#3d2a4a"), thread=0.011))
    shaft = rod((0.5, 0.5), (0.5, 1.08), 0.017)
    bow = ring(0.5, 0.36, 0.115, 0.105, 0.034) | ring(0.5, 0.475, 0.03, 0.03, 0.02)
    cross = rod((0.5, 0.26), (0.5, 0.46), 0.011) | rod((0.4, 0.36), (0.6, 0.36), 0.011)
    collars = rod((0.474, 0.53), (0.526, 0.53), 0.011) | rod((0.476, 0.92), (0.524, 0.92), 0.009)
    bit = outline([(0.5, 0.96), (0.65, 0.96), (0.65, 0.995), (0.6, 0.995), (0.6, 1.012), (0.65, 1.012), (0.65, 1.05),
                   (0.57, 1.05), (0.57, 1.06), (0.5, 1.06)], sharp=True)
    whole = tilted(shaft | bow | cross | collars | bit, 0.5, 0.7, -0.42)
    rust = picture.noise(0.05, octaves=4)
    colour = mix(srgb("#77746f"), srgb("#5f3d28"), step(-0.4, 1.2, rust))
    picture.shade(whole.moved(0.016, 0.014), 0.8, 0.009)
    pits = picture.noise(0.012, octaves=3) * 0.0003
    picture.model(whole, colour, roundness=0.016, target=True, bumps=pits, gloss=0.4, polish=16)
    return picture.develop(exposure=1.5, grain=0.013)


def starfish(picture: Picture) -> np.ndarray:
    """A starfish on rippled sand, with shells."""
    picture.fill(sand(picture, "#e3cda2", "#b3946a"))
    for _ in range(14):
        cy, cx = picture.rng.uniform(0, 1), picture.rng.uniform(0, picture.aspect)
        size = picture.rng.uniform(0.008, 0.022)
        shell = srgb(("#efe6d8", "#9a8774", "#6d6259")[picture.rng.randint(3)])
        stone(picture, pebble(picture.rng, cy, cx, size), size, shell)
    cy, cx = 0.5, 0.63
    body = polar(cy, cx, lambda a: star_radius(a + 0.35), 0.42)
    picture.shade(body.moved(0.02, 0.016), 0.6, 0.014)
    angle = np.arctan2(picture.y - cy, picture.x - cx) + 0.35
    radius = np.hypot(picture.y - cy, picture.x - cx)
    off_ridge = radius * np.abs(np.sin(2.5 * angle)) / 2.5
    colour = mix(srgb("#e0672e"), srgb("#a8341d"), off_ridge * 12 + 0.15 * picture.noise(0.03))
    warts = step(0.5, 1.1, picture.noise(0.017, octaves=1))
    colour = mix(colour, srgb("#f3c08a"), 0.6 * warts)
    picture.model(body, colour, roundness=0.075, target=True, bumps=0.0035 * warts, gloss=0.1)
    return picture.develop(exposure=1.0, grain=0.01, warmth=0.03)


def balloon(picture: Picture) -> np.ndarray:
    """A hot-air balloon over hills, a little out of focus; sky shows between its ropes."""
    picture.fill(sky(picture, "#2f6fb3", "#cfe3ee", 0.85, clouds=0.5))
    for level, colour in ((0.8, "#7f97a8"), (0.86, "#5f7d78"), (0.93, "#456350")):
        woods = 0.5 + 0.4 * picture.noise(0.02, stretch=2)
        picture.paint(ridge(picture, level), mix(srgb(colour), srgb(colour) * 0.6, woods))
    cx = 0.5
    envelope = revolved(cx, [(0.1, 0.0), (0.112, 0.07), (0.16, 0.16), (0.25, 0.225), (0.35, 0.235), (0.45, 0.185),
                             (0.55, 0.1), (0.6, 0.055)])
    half = np.interp(picture.y, [0.1, 0.112, 0.16, 0.25, 0.35, 0.45, 0.55, 0.6],
                     [0.01, 0.07, 0.16, 0.225, 0.235, 0.185, 0.1, 0.055])
    longitude = np.arcsin(np.clip((picture.x - cx) / (half + 0.004), -1, 1))
    gore = (longitude + 0.2) * 12 / np.pi
    colour = mix(srgb("#f0c419"), srgb("#c7362b"), step(-0.15, 0.15, np.sin(np.pi * gore)))
    belt = step(0.006, 0.0, np.abs(picture.y - 0.345 - 0.25 * (picture.x - cx) ** 2) - 0.028)
    colour = mix(colour, srgb("#23416b"), belt)
    seams = 0.0016 * np.abs(np.cos(np.pi * gore))
    picture.model(envelope, colour, roundness=0.235, target=True, bumps=seams, gloss=0.08)
    picture.paint(ellipse(0.6, cx, 0.009, 0.054), srgb("#5e1c16"), target=True)
    for side in (-0.048, -0.022, 0.022, 0.048):
        picture.paint(rod((0.6, cx + side), (0.7, cx + side * 0.62), 0.0019), srgb("#2b2320"), target=True)
    basket = outline([(0.695, cx - 0.034), (0.695, cx + 0.034), (0.755, cx + 0.028), (0.755, cx - 0.028)], sharp=True)
    wicker = np.sin(420 * picture.x) * np.sin(300 * picture.y) * 0.0012
    picture.model(basket, srgb("#8a5a2e"), roundness=0.02, target=True, bumps=wicker)
    picture.model(rod((0.695, cx - 0.035), (0.695, cx + 0.035), 0.0055), srgb("#5c3a1c"), 0.006, target=True)
    return picture.develop(exposure=1.0, grain=0.008, softness=2.0)


def bird(picture: Picture) -> np.ndarray:
    """A robin on a twig before leaves out of focus."""
    picture.fill(mix(srgb("#5f7f3f"), srgb("#2b4426"), 0.5 + 0.4 * picture.noise(0.5)))
    foliage(picture, ("#8fae4f", "#4d7a35", "#d9d98a", "#2f5a2c", "#a9bf6a"), 70, 0.09)
    picture.blur(0.012)
    twig = path([(0.8, -0.05), (0.775, 0.3), (0.79, 0.62), (0.75, 0.95), (0.77, 1.4)], 0.02, 0.013)
    bark = picture.noise(0.02, octaves=3, stretch=4) * 0.002
    picture.model(path([(0.785, 0.55), (0.68, 0.36), (0.56, 0.3)], 0.009, 0.004), srgb("#54402e"), 0.008, bumps=bark)
    picture.model(twig, mix(srgb("#6b523b"), srgb("#3a2c20"), 0.5 + 0.4 * picture.noise(0.03)), 0.016, bumps=bark)
    tail = outline([(0.6, 0.84), (0.66, 0.98), (0.74, 1.12), (0.76, 1.1), (0.71, 0.96), (0.66, 0.83)])
    body = outline([(0.3, 0.62), (0.235, 0.54), (0.225, 0.47), (0.26, 0.405), (0.33, 0.385), (0.42, 0.37), (0.54, 0.4),
                    (0.64, 0.5), (0.69, 0.64), (0.675, 0.78), (0.62, 0.88), (0.55, 0.85), (0.45, 0.76), (0.37, 0.68)])
    feathers = picture.noise(0.02, octaves=3, stretch=1.8) * 0.0011
    brown = mix(srgb("#7a6247"), srgb("#54422f"), 0.5 + 0.4 * picture.noise(0.04))
    breast = step(0.18, 0.15, np.hypot((picture.y - 0.42) * 0.8, picture.x - 0.41) + 0.008 * picture.noise(0.05))
    pale = step(0.02, 0.1, picture.y - 0.52 - 0.5 * (picture.x - 0.62))
    colour = mix(mix(brown, srgb("#d8cfbd"), pale), srgb("#d2601a"), breast)
    for x in (0.56, 0.65):
        leg = path([(0.66, x), (0.725, x + 0.015), (0.77, x - 0.005)], 0.0055)
        toes = union([rod((0.768, x - 0.005), (0.772, x - 0.005 + toe), 0.0045) for toe in (-0.035, -0.02, 0.025)])
        picture.model(leg | toes, srgb("#5d4436"), roundness=0.005, target=True)
    barbs = np.sin(380 * (picture.y - 0.55 * picture.x)) * 0.0007
    picture.model(tail, srgb("#5e4c38"), roundness=0.02, target=True, bumps=barbs)
    picture.model(body, colour, roundness=0.17, target=True, bumps=feathers, gloss=0.04)
    wing = outline([(0.4, 0.66), (0.47, 0.6), (0.57, 0.64), (0.63, 0.76), (0.67, 0.93), (0.6, 0.87), (0.48, 0.77)])
    picture.shade(wing.moved(0.008, -0.004), 0.4, 0.008)
    picture.model(wing, srgb("#5b4935"), roundness=0.04, target=True, bumps=feathers + barbs, gloss=0.05)
    beak = outline([(0.29, 0.4), (0.315, 0.33), (0.325, 0.395)], sharp=True)
    picture.model(beak, srgb("#3a332d"), roundness=0.012, target=True, gloss=0.3)
    picture.paint(ellipse(0.295, 0.452, 0.018, 0.018), srgb("#0b0908"), target=True)
    picture.paint(ellipse(0.289, 0.447, 0.005, 0.005), srgb("#f2f2f2"), target=True)
    return picture.develop(exposure=1.35, grain=0.012, softness=0.7)


def cactus(picture: Picture) -> np.ndarray:
    """A cactus with two arms in a clay pot, on a window sill."""
    picture.fill(sky(picture, "#9fc4e6", "#eef3ee", 0.9, clouds=0.4))
    foliage(picture, ("#7f9a5f", "#5f7f4f", "#a8b888"), 16, 0.12)
    picture.blur(0.03)
    picture.model(outline([(-1, 0.02), (-1, 0.09), (2, 0.09), (2, 0.02)], sharp=True), srgb("#efece6"), 0.02)
    picture.model(outline([(0.83, -1), (0.83, 3), (2, 3), (2, -1)], sharp=True),
                  mix(srgb("#e6e0d4"), srgb("#c9c1b2"), 0.5 + 0.2 * picture.noise(0.1, stretch=6)), roundness=0.02)
    cx = 0.45
    pot = revolved(cx, [(0.62, 0.15), (0.75, 0.135), (0.9, 0.105)]) | ellipse(0.9, cx, 0.016, 0.105)
    collar = revolved(cx, [(0.6, 0.168), (0.655, 0.166)]) | ellipse(0.655, cx, 0.018, 0.166)
    trunk = path([(0.53, cx), (0.4, cx), (0.2, cx)], 0.085, 0.078)
    left = path([(0.42, cx - 0.03), (0.43, cx - 0.14), (0.38, cx - 0.19), (0.28, cx - 0.19)], 0.042, 0.04)
    right = path([(0.5, cx + 0.03), (0.5, cx + 0.15), (0.44, cx + 0.2), (0.24, cx + 0.2)], 0.045, 0.04)
    picture.shade((pot | trunk).lying(0.9, 0.12, 0.9), 0.45, 0.02)
    picture.shade(ellipse(0.905, cx + 0.02, 0.02, 0.13), 0.75, 0.012)
    clay = mix(srgb("#b5623c"), srgb("#8c452a"), 0.5 + 0.3 * picture.noise(0.05))
    grit = picture.noise(0.01, octaves=3) * 0.0004
    picture.model(pot, clay, roundness=0.14, target=True, bumps=grit)
    picture.shade(collar.moved(0.014, 0), 0.4, 0.01)
    picture.model(ellipse(0.6, cx, 0.028, 0.168), srgb("#3a2a20"), roundness=0.01, target=True, bumps=8 * grit)
    green = mix(srgb("#4d7d4f"), srgb("#2f5a3a"), 0.5 + 0.25 * picture.noise(0.06))
    for part, middle, width in ((left, cx - 0.19, 0.042), (right, cx + 0.2, 0.045), (trunk, cx, 0.085)):
        angle = np.arcsin(np.clip((picture.x - middle) / width, -1, 1))
        ribs = 0.007 * np.abs(np.cos(angle * (4 if width > 0.06 else 3)))
        picture.model(part, green, roundness=width, target=True, bumps=ribs, gloss=0.06)
        spines(picture, part, middle, width)
    picture.model(collar - ellipse(0.6, cx, 0.022, 0.155), clay, roundness=0.15, target=True, bumps=grit)
    return picture.develop(exposure=0.95, grain=0.01)


def mushroom(picture: Picture) -> np.ndarray:
    """A fly agaric in the grass, blades of which stand before its stalk."""
    picture.fill(mix(srgb("#6f8a5a"), srgb("#22331f"), picture.y * 1.2 + 0.2 * picture.noise(0.3)))
    foliage(picture, ("#7d9a52", "#39582f", "#c4cf94"), 45, 0.1)
    picture.blur(0.02)
    meadow(picture, 0.62, 420, 0.2, ("#47702c", "#8aa84a"), front=False)
    focus(picture, 0.5, 0.85, 0.006)
    cx = 0.5
    stalk = revolved(cx, [(0.38, 0.052), (0.5, 0.05), (0.7, 0.058), (0.85, 0.075), (0.93, 0.06)])
    skirt = outline([(0.5, cx - 0.06), (0.5, cx + 0.06), (0.57, cx + 0.092), (0.555, cx + 0.03), (0.575, cx - 0.02),
                     (0.56, cx - 0.088)])
    cap = outline([(0.43, cx - 0.31), (0.3, cx - 0.285), (0.19, cx - 0.17), (0.145, cx), (0.19, cx + 0.17),
                   (0.3, cx + 0.285), (0.43, cx + 0.31), (0.45, cx + 0.18), (0.455, cx), (0.45, cx - 0.18)])
    gills = ellipse(0.435, cx, 0.035, 0.3)
    picture.shade(ellipse(0.93, cx + 0.06, 0.03, 0.16), 0.6, 0.02)
    fibre = picture.noise(0.03, octaves=3, stretch=0.15) * 0.001
    picture.model(stalk, srgb("#e9e2d0"), roundness=0.06, target=True, bumps=fibre)
    picture.shade(ellipse(0.47, cx, 0.07, 0.07), 0.55, 0.02)
    picture.model(skirt, srgb("#efe9da"), roundness=0.02, target=True, bumps=2 * fibre)
    picture.paint(gills, mix(srgb("#cfc2a4"), srgb("#7d7058"), 0.5 + 0.5 * np.sin(220 * picture.x)), target=True)
    red = mix(srgb("#c0231a"), srgb("#8f1410"), 0.5 + 0.3 * picture.noise(0.15))
    dome = ellipse(0.46, cx, 0.33, 0.33)
    picture.model(cap, red, roundness=0.33, target=True, form=dome, gloss=0.4, polish=40)
    for _ in range(34):
        dy, dx = picture.rng.uniform(0.17, 0.42), picture.rng.uniform(-0.27, 0.27)
        flat = 1 - 2.2 * abs(dx)
        wart = pebble(picture.rng, dy, cx + dx, picture.rng.uniform(0.008, 0.021) * (0.5 + 0.5 * flat), 0.25)
        picture.model(wart & cap.grown(-0.012), srgb("#f1ead9"), roundness=0.01, target=True, gloss=0.05)
    meadow(picture, 0.75, 150, 0.36, ("#4f7a30", "#a3bb58"), front=True)
    return picture.develop(exposure=1.3, grain=0.012, softness=0.7)


def vase(picture: Picture) -> np.ndarray:
    """A vase with dry twigs before a wall, in black and white with film grain."""
    picture.fill(plaster(picture, "#9a9a9a"))
    shelf = outline([(0.84, -1), (0.84, 3), (2, 3), (2, -1)], sharp=True)
    picture.model(shelf, mix(srgb("#6f6f6f"), srgb("#4d4d4d"), 0.5 + 0.3 * picture.noise(0.05, stretch=10)), 0.01)
    cx = 0.4
    profile = [(0.44, 0.062), (0.455, 0.05), (0.5, 0.042), (0.56, 0.075), (0.64, 0.13), (0.72, 0.14), (0.82, 0.1),
               (0.9, 0.07)]
    body, form = revolved(cx, profile), revolved(cx, [(0, 0.07), *profile, (1.4, 0.07)])
    body |= ellipse(0.9, cx, 0.012, 0.07)
    twigs = []
    for lean, height in ((-0.2, 0.36), (-0.08, 0.42), (0.03, 0.34), (0.12, 0.4), (0.26, 0.3)):
        bend = [(0.46, cx + 0.1 * lean), (0.46 - 0.5 * height, cx + 0.45 * lean), (0.46 - height, cx + lean)]
        twigs.append(path([tuple(p) for p in dense_curve(np.array(bend), closed=False, parts=5)], 0.0048, 0.0024))
        for share in picture.rng.uniform(0.3, 1.0, 9):
            root = 0.46 - share * height, cx + lean * (0.1 + 0.9 * share)
            side = picture.rng.choice([-1, 1]) * picture.rng.uniform(0.02, 0.05)
            twigs.append(path([root, (root[0] - 0.02, root[1] + side * 0.6), (root[0] - 0.05, root[1] + side)], 0.0026))
            twigs.append(ellipse(root[0] - 0.052, root[1] + side, 0.011, 0.007, side * 8))
    for part in (body, *twigs):
        picture.shade(part.moved(0.03, 0.1), 0.38, 0.015)
    picture.shade(body.lying(0.9, 0.1, 0.8), 0.5, 0.02)
    picture.shade(ellipse(0.905, cx + 0.01, 0.014, 0.085), 0.8, 0.01)
    for twig in twigs:
        picture.model(twig, srgb("#575757"), roundness=0.004, target=True)
    level = picture.y - 0.6 * (picture.x - cx) ** 2
    bands = step(-0.2, 0.2, np.sin(150 * level)) * step(0.61, 0.62, level) * step(0.74, 0.73, level)
    glaze = mix(mix(srgb("#d6d6d6"), srgb("#a8a8a8"), 0.5 + 0.2 * picture.noise(0.05)), srgb("#3b3b3b"), bands)
    picture.model(body, glaze, roundness=0.13, target=True, form=form, gloss=0.35, polish=30)
    picture.paint(ellipse(0.443, cx, 0.007, 0.056), srgb("#1d1d1d"), target=True)
    photograph = picture.develop(exposure=1.25, grain=0.035, vignette=0.5, softness=0.8)
    return cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)


def fruit_bowl(picture: Picture) -> np.ndarray:
    """A pear in a bowl, behind its rim and an orange; the large picture."""
    picture.fill(plaster(picture, "#7d6a58") * 0.9)
    picture.paint(ellipse(0.2, 0.25, 0.35, 0.3), srgb("#d8c8a0"), opacity=0.4, blur=0.08)
    picture.blur(0.012)
    table = outline([(0.62, -1), (0.62, 3), (2, 3), (2, -1)], sharp=True)
    picture.paint(table, wood(picture, "#a3744a", "#5b3a22", 0.15) * 0.8)
    focus(picture, 0.58, 0.85, 0.008)
    cx = 0.67
    opening = ellipse(0.61, cx, 0.075, 0.42)
    below = outline([(0.61, 0), (0.61, 2), (0.862, 2), (0.862, 0)], sharp=True)
    bowl = (ellipse(0.61, cx, 0.275, 0.42) & below) - opening
    picture.shade(bowl.lying(0.87, 0.3, 0.6), 0.5, 0.03)
    picture.shade(ellipse(0.865, cx + 0.03, 0.025, 0.22), 0.8, 0.015)
    picture.paint(opening, mix(srgb("#4a4f55"), srgb("#8f979c"), (picture.x - 0.3) * 1.1))
    apple_body = polar(0.51, 0.42, lambda a: 0.155 * (1 - 0.12 * bump(a, -1.57, 0.4)), 0.16)
    skin = mix(srgb("#7fa03a"), srgb("#b9452a"), 0.4 + 0.35 * picture.noise(0.12, octaves=5))
    picture.model(apple_body, skin, roundness=0.155, gloss=0.35, polish=50)
    pear_body = polar(0.5, 0.68, pear_radius, 0.34)
    freckles = step(1.6, 2.4, picture.noise(0.008, octaves=2))
    blush = mix(srgb("#c3b23e"), srgb("#b5742a"), 0.35 + 0.25 * picture.noise(0.2) + 1.6 * (picture.x - 0.72))
    picture.shade(pear_body.moved(0.01, 0.03) & apple_body.grown(0.3), 0.35, 0.02)
    picture.model(pear_body, mix(blush, srgb("#6e4f1f"), 0.6 * freckles), roundness=0.17, target=True, gloss=0.25)
    stem = path([(0.235, 0.73), (0.19, 0.745), (0.15, 0.775)], 0.009, 0.011)
    picture.model(stem, srgb("#4a3320"), roundness=0.01, target=True)
    orange = ellipse(0.555, 0.89, 0.145, 0.15)
    picture.shade(orange.moved(-0.01, -0.015), 0.5, 0.02)
    peel = -np.clip(picture.noise(0.013, octaves=1), 0.4, 2) * 0.0012
    picture.model(orange, srgb("#e07b16"), roundness=0.148, bumps=peel, gloss=0.35, polish=25)
    glaze = mix(srgb("#dcd8cd"), srgb("#b9b3a4"), 0.5 + 0.15 * picture.noise(0.1))
    pattern = step(0.0035, 0.001, np.abs(picture.y - 0.745 + 0.42 * (picture.x - cx) ** 2) - 0.008)
    porcelain = mix(glaze, srgb("#2f4f7f"), 0.85 * pattern)
    picture.model(bowl, porcelain, roundness=0.27, form=ellipse(0.61, cx, 0.275, 0.42), gloss=0.35, polish=40)
    picture.model(ring(0.61, cx, 0.075, 0.42, 0.014) & below, glaze, roundness=0.007, gloss=0.4)
    return picture.develop(exposure=1.3, grain=0.006, softness=1.0, warmth=0.04)


def cone(picture: Picture) -> np.ndarray:
    """A traffic cone on a road; the small picture."""
    picture.fill(mix(srgb("#8fa3ad"), srgb("#6f7f78"), picture.y + 0.2 * picture.noise(0.3)))
    foliage(picture, ("#5f7a4a", "#8a9a7a", "#46603a"), 25, 0.12)
    road = outline([(0.42, -1), (0.42, 3), (2, 3), (2, -1)], sharp=True)
    picture.paint(road, mix(srgb("#6d6d6f"), srgb("#4a4a4d"), 0.5 + 0.4 * picture.noise(0.03, octaves=2)))
    picture.paint(path([(0.45, -0.1), (0.45, 1.5)], 0.02), srgb("#b5b1a8"))
    cx = 0.62
    body = outline([(0.14, cx - 0.04), (0.14, cx + 0.04), (0.78, cx + 0.19), (0.78, cx - 0.19)], sharp=True)
    foot = outline([(0.76, cx - 0.25), (0.76, cx + 0.25), (0.85, cx + 0.3), (0.85, cx - 0.3)], sharp=True)
    picture.shade((body | foot).lying(0.84, 0.2, 0.7), 0.6, 0.02)
    picture.shade(ellipse(0.86, cx, 0.02, 0.3), 0.7, 0.02)
    picture.model(foot, srgb("#b8431a"), roundness=0.03, target=True)
    arc = picture.y - 0.5 * (picture.x - cx) ** 2
    white = step(0.01, 0, np.abs(arc - 0.33) - 0.055) + step(0.01, 0, np.abs(arc - 0.56) - 0.06)
    picture.model(body, mix(srgb("#e2571d"), srgb("#f0f0ec"), white), roundness=0.16, target=True, gloss=0.2)
    return picture.develop(exposure=1.2, grain=0.02, softness=0.5)


def wheel(picture: Picture) -> np.ndarray:
    """A cart wheel leaning on a brick wall, which shows between the spokes."""
    picture.fill(bricks(picture))
    ground = outline([(0.88, -1), (0.88, 3), (2, 3), (2, -1)], sharp=True)
    picture.paint(ground, sand(picture, "#8f8470", "#5f5646", ripples=0.001) * 0.8)
    picture.shade(rod((0.885, -0.1), (0.885, 2), 0.012), 0.5, 0.012)
    cy, cx, ry, rx = 0.52, 0.68, 0.36, 0.335
    spokes = [rod((cy, cx), (cy + ry * np.sin(a), cx + rx * np.cos(a)), 0.017, 0.013)
              for a in np.arange(12) * np.pi / 6 + 0.13]
    felloe, tyre = ring(cy, cx, ry, rx, 0.062), ring(cy, cx, ry + 0.036, rx + 0.036, 0.014)
    hub = ellipse(cy, cx, 0.078, 0.073)
    whole = union([felloe, tyre, hub, *spokes])
    picture.shade(whole.moved(0.035, 0.055), 0.62, 0.012)
    picture.shade(ellipse(0.925, cx + 0.04, 0.014, 0.2), 0.7, 0.014)
    timber = mix(srgb("#8a7358"), srgb("#4f3c2a"), 0.5 + 0.35 * picture.noise(0.03, octaves=4))
    cracks = picture.noise(0.01, octaves=3) * 0.0003
    for spoke in spokes:
        picture.model(spoke, timber, roundness=0.016, target=True, bumps=cracks)
    picture.model(felloe, timber * 0.9, roundness=0.02, target=True, bumps=cracks)
    rust = mix(srgb("#5f5650"), srgb("#6f3f24"), 0.5 + 0.5 * picture.noise(0.04))
    picture.model(tyre, rust, roundness=0.007, target=True, gloss=0.3)
    picture.shade(hub.moved(0.012, 0.014), 0.5, 0.01)
    picture.model(hub, timber * 1.1, roundness=0.05, target=True, bumps=cracks)
    picture.model(ring(cy, cx, 0.05, 0.047, 0.014), rust, roundness=0.007, target=True, gloss=0.3)
    picture.paint(ellipse(cy, cx, 0.02, 0.019), srgb("#17110d"), target=True)
    return picture.develop(exposure=1.35, grain=0.012)


def lantern(picture: Picture) -> np.ndarray:
    """A burning lantern on a step at night, with the noise of a long exposure."""
    cx = 0.5
    glow = np.exp(-((np.hypot(picture.y - 0.5, picture.x - cx) / 0.45) ** 2))
    picture.fill(bricks(picture, 0.1, 0.27) * (0.06 + 0.75 * glow)[..., None] * srgb("#ffcf8a"))
    step_stone = outline([(0.8, -1), (0.8, 3), (2, 3), (2, -1)], sharp=True)
    stone_colour = mix(srgb("#8c867c"), srgb("#5c574f"), 0.5 + 0.3 * picture.noise(0.04))
    picture.paint(step_stone, stone_colour * (0.05 + 0.9 * glow)[..., None] * srgb("#ffcf8a"))
    frame = srgb("#2f2f33") * 0.8
    glass = outline([(0.36, cx - 0.105), (0.36, cx + 0.105), (0.76, cx + 0.12), (0.76, cx - 0.12)], sharp=True)
    picture.shade(ellipse(0.83, cx, 0.02, 0.17), 0.8, 0.012)
    warm = np.exp(-((np.hypot((picture.y - 0.62) * 0.75, picture.x - cx) / 0.11) ** 2))
    picture.paint(glass, mix(srgb("#7a4a16"), srgb("#ffdf9a") * 1.7, warm * 1.1), target=True)
    picture.model(rod((0.66, cx), (0.76, cx), 0.036), srgb("#f3e3c0"), roundness=0.036, target=True)
    flame = outline([(0.53, cx), (0.58, cx + 0.013), (0.615, cx + 0.017), (0.64, cx), (0.615, cx - 0.017),
                     (0.58, cx - 0.013)])
    picture.paint(flame, srgb("#fff6d8") * 2.4, target=True, blur=0.004)
    for side, spread in ((-1, 0.015), (1, 0.015), (0, 0)):
        post = rod((0.36, cx + side * 0.108), (0.77, cx + side * (0.108 + spread)), 0.0095 if side else 0.005)
        picture.model(post, frame, roundness=0.009, target=True, gloss=0.4)
    roof = outline([(0.25, cx - 0.04), (0.25, cx + 0.04), (0.345, cx + 0.15), (0.37, cx + 0.15), (0.37, cx - 0.15),
                    (0.345, cx - 0.15)], sharp=True)
    floor = outline([(0.755, cx - 0.15), (0.755, cx + 0.15), (0.81, cx + 0.16), (0.81, cx - 0.16)], sharp=True)
    picture.model(roof | rod((0.235, cx - 0.025), (0.235, cx + 0.025), 0.02), frame, 0.03, target=True, gloss=0.3)
    picture.model(floor, frame, roundness=0.02, target=True, gloss=0.3)
    picture.model(ring(0.17, cx, 0.06, 0.065, 0.011), frame * 1.3, roundness=0.006, target=True, gloss=0.4)
    haze = cv2.GaussianBlur(picture.light, (0, 0), 0.07 * picture.height)
    picture.light += 0.25 * haze
    return picture.develop(exposure=0.95, grain=0.045, vignette=0.5, softness=0.8, warmth=0.05)


# ---------------------------------------------------------------------------------------------- parts of scenes

def bump(angle: np.ndarray, middle: float, width: float) -> np.ndarray:
    """A hump of height 1 over the angles around a middle."""
    off = np.angle(np.exp(1j * (angle - middle)))
    return np.exp(-((off / width) ** 2))


def pear_radius(angle: np.ndarray) -> np.ndarray:
    """Outline of a pear whose neck points up and a little to the right."""
    return 0.19 + 0.13 * bump(angle, -1.38, 0.33) - 0.02 * bump(angle, -0.6, 0.4) - 0.02 * bump(angle, -2.2, 0.4)


def star_radius(angle: np.ndarray) -> np.ndarray:
    """Outline of a starfish: five slender arms of unequal length."""
    arm = np.abs(np.cos(2.5 * angle)) ** 3.2
    return 0.1 + 0.27 * arm + 0.025 * np.sin(angle + 1) * arm


def spear_leaf(cy: float, cx: float, size: float, turn: float) -> tuple[Shape, Shape]:
    """A plain leaf, pointed at both ends, and its midrib."""
    dy, dx = np.cos(turn), np.sin(turn)
    bulge = 1.15 * size  # two circles of radius hypot(size, bulge) cross at the tips
    sides = [ellipse(cy + k * dx * bulge, cx - k * dy * bulge, *[np.hypot(size, bulge)] * 2) for k in (-1, 1)]
    blade = Shape((sides[0] & sides[1]).distance, (cy - size, cx - size, cy + size, cx + size))
    return blade, rod((cy - size * dy, cx - size * dx), (cy + 1.2 * size * dy, cx + 1.2 * size * dx), 0.0015, 0.0035)


def maple(cy: float, cx: float, size: float, turn: float) -> tuple[Shape, list[Point], Point]:
    """A maple leaf's blade, the tips of its lobes and the point where its stalk begins."""
    half = [(0.62, 0.0), (0.5, 0.12), (0.62, 0.38), (0.4, 0.4), (0.36, 0.62), (0.18, 0.62), (0.05, 0.95), (-0.04, 0.8),
            (-0.2, 0.9), (-0.22, 0.66), (-0.42, 0.72), (-0.22, 0.38), (-0.18, 0.24), (-0.5, 0.4), (-0.56, 0.26),
            (-0.78, 0.22), (-1.0, 0.0)]
    points = half + [(y, -x) for y, x in reversed(half[1:-1])]
    cos, sin = np.cos(turn), np.sin(turn)
    place = [(cy + size * (y * cos - x * sin), cx + size * (y * sin + x * cos)) for y, x in points]
    tips = [place[i] for i in (2, 6, 10, 16, 22, 26, 30)]
    return outline(place, sharp=True), tips, place[0]


def tilted(shape: Shape, cy: float, cx: float, angle: float) -> Shape:
    """The shape turned about a point, clockwise by radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    top, left, bottom, right = shape.box
    corners = [(y - cy, x - cx) for y in (top, bottom) for x in (left, right)]
    ys, xs = [y * cos + x * sin for y, x in corners], [x * cos - y * sin for y, x in corners]

    def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        dy, dx = y - cy, x - cx
        return shape.distance(cy + dy * cos - dx * sin, cx + dy * sin + dx * cos)

    return Shape(distance, (cy + min(ys), cx + min(xs), cy + max(ys), cx + max(xs)))


def seaweed(picture: Picture, x: float, top: float, colour: str, wobble: float) -> None:
    """A ribbon of weed from the bottom up to y = top."""
    heights = np.linspace(1.05, top, 9)
    phase = picture.rng.uniform(0, 6)
    bend = [(y, x + wobble * np.sin(14 * y + phase)) for y in heights]
    picture.model(path(bend, 0.019, 0.006), srgb(colour), roundness=0.02)


def sprinkle(picture: Picture, cy: float, cx: float) -> None:
    """A crumb of coloured sugar on the target."""
    turn, colours = picture.rng.uniform(0, np.pi), ("#f6f1e4", "#f2c230", "#3f8fc4", "#6fb04a", "#e8542f")
    dy, dx = 0.011 * np.sin(turn), 0.011 * np.cos(turn)
    crumb = rod((cy - dy, cx - dx), (cy + dy, cx + dx), 0.0048)
    picture.shade(crumb.moved(0.005, 0.005), 0.4, 0.003)
    picture.model(crumb, srgb(colours[picture.rng.randint(len(colours))]), roundness=0.005, target=True, gloss=0.3)


def stone(
    picture: Picture, shape: Shape, size: float, colour: Colour, bumps: np.ndarray | None = None, target: bool = False
) -> None:
    """A stone of about this radius with its shadow."""
    picture.shade(shape.moved(0.16 * size, 0.13 * size), 0.7, 0.09 * size)
    picture.model(shape, colour, roundness=0.8 * size, target=target, bumps=bumps, gloss=0.08)


def grow(picture: Picture, root: Point, angle: float, length: float, radius: float, depth: int) -> None:
    """A branch of the target tree and, from it, ever thinner ones."""
    tip = root[0] + length * np.sin(angle), root[1] + length * np.cos(angle)
    bark = mix(srgb("#3a2d26"), srgb("#1c1613"), picture.rng.uniform())
    picture.model(rod(root, tip, radius, 0.72 * radius), bark, roundness=radius, target=True, gloss=0.03)
    if depth == 0:
        return
    for side in (-1, 1):
        turn = side * picture.rng.uniform(0.2, 0.62) + picture.rng.normal(0, 0.06)
        shorter = length * picture.rng.uniform(0.66, 0.86)
        thinner = max(0.7 * radius * picture.rng.uniform(0.85, 1.05), 0.0016)
        grow(picture, tip, angle + turn, shorter, thinner, depth - 1)


def ridge(picture: Picture, level: float) -> Shape:
    """Hills along the whole picture from about this level down."""
    across = np.linspace(-0.1, picture.aspect + 0.1, 12)
    crest = [(level + picture.rng.uniform(-0.05, 0.05), x) for x in across]
    line = [tuple(p) for p in dense_curve(np.array(crest), closed=False, parts=6)]
    return outline([*line, (1.2, across[-1]), (1.2, across[0])], sharp=True)


def spines(picture: Picture, part: Shape, middle: float, width: float) -> None:
    """Pale spines in rows on an upright limb of the cactus."""
    top, _, bottom, _ = part.box
    for y in np.arange(top + 0.02, min(bottom, 0.6), 0.028):
        for angle in np.arange(-3, 4) * 0.4:
            x = middle + 0.98 * width * np.sin(angle)
            for lean in (-0.009, 0, 0.009):
                tuft = rod((y, x), (y - 0.007, x + lean), 0.0011)
                picture.paint(tuft & part, srgb("#f0e6c4"), target=True, opacity=0.8)


# ---------------------------------------------------------------------------------------------- the folder

@dataclass(frozen=True)
class Scene:
    """How one picture is made: its painter, its size in pixels and its seed."""

    paint: Callable[[Picture], np.ndarray]
    height: int
    width: int
    seed: int


SCENES = {
    "apple": Scene(apple, 400, 520, 1),
    "balloon": Scene(balloon, 480, 480, 2),
    "bird": Scene(bird, 420, 560, 3),
    "cactus": Scene(cactus, 520, 440, 4),
    "cone": Scene(cone, 72, 96, 5),
    "doughnut": Scene(doughnut, 400, 528, 6),
    "fish": Scene(fish, 400, 560, 7),
    "fruit_bowl": Scene(fruit_bowl, 1200, 1600, 8),
    "key": Scene(key, 360, 500, 9),
    "lantern": Scene(lantern, 480, 480, 10),
    "leaf": Scene(leaf, 400, 540, 11),
    "mug": Scene(mug, 400, 560, 12),
    "mushroom": Scene(mushroom, 480, 480, 13),
    "pebbles": Scene(pebbles, 400, 540, 14),
    "starfish": Scene(starfish, 400, 520, 15),
    "tree": Scene(tree, 480, 600, 16),
    "vase": Scene(vase, 520, 420, 17),
    "wheel": Scene(wheel, 440, 600, 18),
}


def render(name: str) -> tuple[np.ndarray, np.ndarray]:
    """One of SCENES.

    Returns:
        The image, uint8 RGB (H, W, 3) or grey (H, W), and the target's mask, uint8 (H, W) of 0 and 255.
    """
    scene = SCENES[name]
    picture = Picture(scene.height, scene.width, scene.seed)
    image = scene.paint(picture)
    return image, picture.mask()


def write_scene(name: str, folder: Path) -> None:
    """Renders a scene into folder/imgs/NAME.jpg and folder/masks/NAME.png."""
    image, mask = render(name)
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    write_image(folder / "imgs" / f"{name}.jpg", cv2.imencode(".jpg", pixels, quality)[1])
    write_image(folder / "masks" / f"{name}.png", cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def write_image(path: Path, encoded: np.ndarray) -> None:
    """Writes an encoded image beside its place and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    beside.write_bytes(encoded.tobytes())
    os.replace(beside, path)


def contact_sheet(folder: Path, columns: int = 5, tile: int = 320) -> np.ndarray:
    """All scenes of a folder side by side with their masks outlined, uint8 BGR."""
    tiles = [outlined_tile(folder, name, tile) for name in sorted(SCENES)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def outlined_tile(folder: Path, name: str, tile: int) -> np.ndarray:
    """One scene of a folder, uint8 BGR (tile, tile, 3), its mask's border in cyan."""
    image = cv2.imread(str(folder / "imgs" / f"{name}.jpg"))
    mask = cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    scale = tile / max(mask.shape)
    size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    borders = cv2.findContours(cv2.resize(mask, size), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(small, borders, -1, (255, 255, 0), 1)
    return cv2.copyMakeBorder(small, 0, tile - size[1], 0, tile - size[0], cv2.BORDER_CONSTANT)


def main() -> None:
    """Reads the command line and writes the folder."""
    parser = argparse.ArgumentParser(description="Renders the sample scenes of tests/00_sample_input.")
    parser.add_argument("names", nargs="*", metavar="SCENE", help=f"scenes to render (all): {', '.join(SCENES)}")
    parser.add_argument("--output", type=Path, default=SAMPLE_FOLDER, help="folder for imgs and masks")
    parser.add_argument("--sheet", type=Path, help="image file that receives a contact sheet of the folder")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(SCENES))
    if unknown:
        parser.error(f"no scene is called {', '.join(unknown)}")
    for name in arguments.names or SCENES:
        write_scene(name, arguments.output)
    if arguments.sheet:
        write_image(arguments.sheet, cv2.imencode(arguments.sheet.suffix or ".png", contact_sheet(arguments.output))[1])


if __name__ == "__main__":
    main()
