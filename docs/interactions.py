"""Draws docs/interactions.jpg: one tile for each way in which a simulated user can answer a wrong mask.

    PYTHONPATH=. python docs/interactions.py

The mask that is answered (bluish) misses a part of the object (outlined) and covers a part of what lies beside it.
Positive interactions are green, negative ones red; the last tile shows what a network sees of a mixed list.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from utils.images import read_labels, read_photo
from utils.interactions import (
    Contour,
    ExactUser,
    Interaction,
    Noise,
    NoisyUser,
    Stroke,
    WholePicture,
    as_clicks,
    draw_contour,
    draw_stroke,
    rasterize,
)
from utils.misc import contact_sheet
from utils.scribbles import STROKES, deepest_component, largest_component

HERE = Path(__file__).resolve().parent
SCENES = ("starfish", "fish", "mushroom", "bird", "leaf", "key", "mug", "doughnut", "apple", "lantern", "fruit_bowl")
SCENE_FOLDER = HERE.parent / "tests/00_sample_input"  # rendered by tests/render_scenes.py
SIZE = (300, 225)  # of a tile: width, height
GREEN, RED, WHITE = (40, 235, 70), (255, 60, 60), (255, 255, 255)
Draw = Callable[[np.random.Generator, np.ndarray, np.ndarray], list[Interaction]]


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 (H, W, 3) RGB and its object bool (H, W), both at a height of 480 pixels."""
    name = SCENES[number % len(SCENES)]
    image = read_photo(SCENE_FOLDER / "imgs" / f"{name}.jpg").pixels
    truth = read_labels(SCENE_FOLDER / "masks" / f"{name}.png").values.astype(np.uint8)
    size = round(480 / image.shape[0] * image.shape[1]), 480
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST) > 0


def wrong_mask(truth: np.ndarray) -> np.ndarray:
    """The object moved by a third of its box: bool (H, W)."""
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    shift = np.array([[1, 0, 0.35 * np.ptp(columns)], [0, 1, -0.1 * np.ptp(rows)]], np.float32)
    return cv2.warpAffine(truth.astype(np.uint8), shift, truth.shape[::-1]) > 0


def clicks(user_of: Callable[[np.ndarray], ExactUser | NoisyUser], count: int) -> Draw:
    """The clicks of a user, each answered by what lies within a quarter of the picture about it."""

    def draw(rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray) -> list[Interaction]:
        user, mask = user_of(truth.astype(int)), mask.copy()
        for _ in range(count):
            user.click(mask)
            y, x = (int(value) for value in user.clicker.get_clicks()[-1].coords)
            near = np.zeros(truth.shape, np.uint8)
            cv2.circle(near, (x, y), truth.shape[0] // 4, 1, -1)
            mask = np.where(near > 0, truth, mask)
        return list(user.clicker.get_clicks())

    return draw


def strokes(style: str) -> Draw:
    """A stroke in each of the two errors; three in each, if they are random."""

    def draw(rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray) -> list[Interaction]:
        regions = [(largest_component(truth & ~mask), True), (largest_component(mask & ~truth), False)]
        count = 1 if style == "davis" else 2
        drawn = [draw_stroke(rng, region, sign, style) for region, sign in regions for _ in range(count)]
        return [one for one in drawn if one is not None]

    return draw


def contours(rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray) -> list[Interaction]:
    """The first contour, about the whole object, drawn three times."""
    return [one for _ in range(3) if (one := draw_contour(rng, truth, True)) is not None]


def later_contours(rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray) -> list[Interaction]:
    """One about the deepest part of each error."""
    regions = [(truth & ~mask, True), (mask & ~truth, False)]
    drawn = [draw_contour(rng, deepest_component(region), sign) for region, sign in regions]
    return [one for one in drawn if one is not None]


def box(rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray) -> list[Interaction]:
    """The box about the object, a little too large."""
    x, y, width, height = cv2.boundingRect(truth.astype(np.uint8))
    return [Contour.box(y - 4, x - 4, y + height + 3, x + width + 3)]


def stroke_as_clicks(rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray) -> list[Interaction]:
    """What a model that knows clicks alone is given for a stroke."""
    drawn = strokes("davis")(rng, truth, mask)
    return [click for one in drawn for click in as_clicks(one, spacing=50)]


def mixed(rng: np.random.Generator, truth: np.ndarray, mask: np.ndarray) -> list[Interaction]:
    """A contour, a stroke and two clicks."""
    return [
        *contours(rng, truth, mask)[:1],
        *[one for one in strokes("davis")(rng, truth, mask) if not one.is_positive],
        *clicks(ExactUser, 2)(rng, truth, mask),
    ]


TILES: dict[str, Draw] = {
    "clicks: exact": clicks(ExactUser, 3),
    "clicks: noisy": clicks(lambda truth: NoisyUser(truth, Noise(0.4, 0.3, 0), 5, ""), 5),
    **{f"strokes: {style}": strokes(style) for style in STROKES},
    "contours: the first": contours,
    "contours: later ones": later_contours,
    "a box": box,
    "a stroke as clicks": stroke_as_clicks,
}


def tile(number: int, heading: str, draw: Draw) -> np.ndarray:
    """A picture with its wrong mask, the object's outline and the answer: uint8 RGB."""
    image, truth = scene(number)
    mask = np.zeros_like(truth) if heading in {"contours: the first", "a box"} else wrong_mask(truth)
    drawn = draw(np.random.default_rng(number), truth, mask)
    shown = np.where(mask[..., None], image * 0.45 + np.array((60, 110, 255)) * 0.55, image * 0.8).astype(np.uint8)
    outlines, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.polylines(shown, outlines, True, WHITE, 2, cv2.LINE_AA)
    for one in drawn:
        paint(shown, one)
    return fitted(shown)


def paint(shown: np.ndarray, one: Interaction) -> None:
    """Draws one interaction over a picture."""
    colour = GREEN if one.is_positive else RED
    if isinstance(one, Stroke | Contour):
        corners = [np.rint(np.array(one.points)[:, ::-1]).astype(np.int32)]
        thickness = round(one.width) if isinstance(one, Stroke) else 4
        cv2.polylines(shown, corners, isinstance(one, Contour), colour, thickness, cv2.LINE_AA)
    else:
        y, x = one.coords
        cv2.circle(shown, (int(x), int(y)), 11, WHITE, -1, cv2.LINE_AA)
        cv2.circle(shown, (int(x), int(y)), 9, colour, -1, cv2.LINE_AA)


def fitted(shown: np.ndarray) -> np.ndarray:
    """The picture in the middle of a tile."""
    width, height = SIZE
    small = cv2.resize(shown, (round(height / shown.shape[0] * shown.shape[1]), height), interpolation=cv2.INTER_AREA)
    left = (width - small.shape[1]) // 2
    if left < 0:
        return np.ascontiguousarray(small[:, -left : width - left])
    return np.pad(small, ((0, 0), (left, width - small.shape[1] - left), (0, 0)), constant_values=235)


def maps_tile(number: int) -> np.ndarray:
    """A mixed list as maps: uint8 RGB."""
    _, truth = scene(number)
    drawn = mixed(np.random.default_rng(number), truth, wrong_mask(truth))
    maps = rasterize(drawn, WholePicture(*truth.shape), disk_radius=9)
    shown = np.zeros((*truth.shape, 3), np.float32)
    for place, strength in ((4, 0.35), (2, 0.75), (0, 1.0)):
        for sign, colour in enumerate((GREEN, RED)):
            inside = maps[place + sign][..., None]
            shown = shown * (1 - (inside > 0)) + inside * strength * np.array(colour)
    return fitted(shown.astype(np.uint8))


def sheet(columns: int = 4) -> np.ndarray:
    """All tiles, uint8 (H, W, 3) RGB."""
    tiles = [(heading, tile(number, heading, draw)) for number, (heading, draw) in enumerate(TILES.items())]
    tiles.append(("what a network sees", maps_tile(len(TILES))))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    sheets = [contact_sheet([[one for _, one in row]], [heading for heading, _ in row]) for row in rows]
    widest = max(one.shape[1] for one in sheets)
    padded = [np.pad(one, ((0, 0), (0, widest - one.shape[1]), (0, 0)), constant_values=250) for one in sheets]
    return np.concatenate(padded)


if __name__ == "__main__":
    cv2.imwrite(str(HERE / "interactions.jpg"), sheet()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
