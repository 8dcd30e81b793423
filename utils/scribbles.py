"""How people draw on a region of a picture: lines through it, along its middle or inside its edge, and around it.

The generators behind the simulated users of utils/interactions.py. Each takes a region bool (H, W) and gives polylines,
float arrays (N, 2) of (y, x) in pixels of the region's own frame; a random one draws from `rng` alone.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

Line = np.ndarray  # (N, 2) of (y, x)
WORKING_SIDE = 128  # of the box in which lines are sought; a line needs no more precision


# ---------------------------------------------------------------------------------------------- regions


def edge_distance(region: np.ndarray) -> np.ndarray:
    """Exact Euclidean distance (H, W) of each pixel of a region to the nearest one off it or off the picture."""
    padded = np.pad(region.astype(np.uint8), 1)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


def largest_component(region: np.ndarray) -> np.ndarray:
    """The 8-connected component bool (H, W) with the most pixels; nothing if the region is empty."""
    count, labels, numbers, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    return region & (labels == 1 + numbers[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else np.zeros_like(region)


def deepest_component(region: np.ndarray, part: float = 0.2) -> np.ndarray:
    """The component about the pixel farthest from the edge, of pixels farther from it than `part` of that distance."""
    distance = edge_distance(region)
    _, labels = cv2.connectedComponents((distance > part * distance.max()).astype(np.uint8), connectivity=8)
    return region & (labels == labels.flat[distance.argmax()]) & (labels > 0)


class _CloseUp(NamedTuple):
    """The box of a region with a margin of a pixel, reduced to WORKING_SIDE at most."""

    mask: np.ndarray
    top: int
    left: int
    scale: float

    @classmethod
    def of(cls, region: np.ndarray) -> _CloseUp:
        left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
        box: np.ndarray = region[top : top + height, left : left + width].astype(np.float32)
        scale = min(1.0, WORKING_SIDE / max(height, width))
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            box = cv2.resize(box, size, interpolation=cv2.INTER_AREA)
        return cls(np.pad(box > min(0.5, box.max() / 2), 1), top, left, scale)

    def restore(self, line: Line) -> Line:
        return (np.asarray(line, float) - 0.5) / self.scale - 0.5 + (self.top, self.left)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Noise (height, width) of mean 0 and deviation of about 1 that changes over `cell` pixels."""
    coarse = rng.normal(size=(round(height / cell) + 2, round(width / cell) + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 1.4


# ---------------------------------------------------------------------------------------------- skeletons and paths


def _thinning_tables() -> tuple[np.ndarray, np.ndarray]:
    """Which of the 256 neighbourhoods lose their middle in the two halves of Zhang and Suen's step.

    Bit k of a neighbourhood is the neighbour k eighths of a turn clockwise from north.
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    neighbours = bits.sum(1)
    rises = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(1)
    removable = (neighbours >= 2) & (neighbours <= 6) & (rises == 1)
    north, east, south, west = (bits[:, k] for k in (0, 2, 4, 6))
    first = (north * east * south == 0) & (east * south * west == 0)
    second = (north * east * west == 0) & (north * south * west == 0)
    return removable & first, removable & second


THINNING = _thinning_tables()
AROUND = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)  # weights of the neighbours, north is 1


def skeleton(region: np.ndarray) -> np.ndarray:
    """The region's middle lines, a pixel wide and as connected as the region (Zhang and Suen 1984)."""
    left = np.pad(region, 1)
    while True:
        before = np.count_nonzero(left)
        for table in THINNING:
            code = cv2.filter2D(left.astype(np.float32), -1, AROUND, borderType=cv2.BORDER_CONSTANT)
            left &= ~table[code.astype(np.uint8)]
        if np.count_nonzero(left) == before:
            return left[1:-1, 1:-1]


def longest_path(lines: np.ndarray) -> Line:
    """The longest of the shortest paths through the pixels of a skeleton, found by two breadth-first searches.

    Exact for a skeleton without a loop; begins in its largest component.
    """
    pixels = set(map(tuple, np.argwhere(largest_component(lines))))
    if not pixels:
        return np.zeros((0, 2))
    far = _farthest(pixels, min(pixels))
    return np.array(_farthest(pixels, far[-1]), float)


def _farthest(pixels: set[tuple[int, int]], start: tuple[int, int]) -> list[tuple[int, int]]:
    """The path from `start` to the pixel that is most steps away."""
    came_from: dict[tuple[int, int], tuple[int, int] | None] = {start: None}
    front = [start]
    while front:
        last, following = front[0], []
        for y, x in front:
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if near in pixels and near not in came_from:
                    came_from[near] = (y, x)
                    following.append(near)
        front = following
    path: list[tuple[int, int]] = []
    step: tuple[int, int] | None = last
    while step is not None:
        path.append(step)
        step = came_from[step]
    return path[::-1]


# ---------------------------------------------------------------------------------------------- ScribblePrompt


def straight_strokes(rng: np.random.Generator, region: np.ndarray, count: int = 1) -> list[Line]:
    """Lines between two random pixels, bent a little and cut off at the edge (ScribblePrompt's line scribbles).

    Source: Wong, Rakic, Guttag and Dalca, ScribblePrompt, ECCV 2024.
    """
    places = np.argwhere(region)
    ends = places[rng.integers(len(places), size=(count, 2))].astype(float)
    lines = [first + np.linspace(0, 1, 30)[:, None] * (last - first) for first, last in ends]
    return _finish(rng, lines, region)


def centreline_strokes(rng: np.random.Generator, region: np.ndarray) -> list[Line]:
    """Pieces of the skeleton, broken by thresholded smooth noise and bent (ScribblePrompt's centreline scribbles)."""
    close = _CloseUp.of(region)
    lines = skeleton(close.mask)
    broken = lines & _kept_by_noise(rng, lines.shape)
    path = longest_path(broken if broken.any() else lines)
    return _finish(rng, [close.restore(path)], region)


def outline_strokes(rng: np.random.Generator, region: np.ndarray) -> list[Line]:
    """Pieces of a line parallel to the edge inside the region (ScribblePrompt's contour scribbles).

    A level of the blurred region, broken by thresholded smooth noise, bent and cut off at the edge.
    """
    close = _CloseUp.of(region)
    mask = np.pad(close.mask, 1)
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.02, 0.1) * max(mask.shape))
    level = rng.uniform(*np.quantile(blurred[mask], (0.2, 0.8)))
    around = _outline((blurred >= level) & mask)
    if around is None:
        return []
    places = around.astype(int)
    kept = _kept_by_noise(rng, mask.shape)[places[:, 0], places[:, 1]]
    if not kept.all() and kept.any():
        start = int(np.flatnonzero(~kept)[0])  # a piece goes on over the outline's first point
        around, kept = np.roll(around, -start, axis=0), np.roll(kept, -start)
    return _finish(rng, [close.restore(piece - 1) for piece in _runs(around, kept)], region)


def _kept_by_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    noise = smooth_noise(rng, shape[0], shape[1], max(4.0, max(shape) / rng.uniform(2, 6)))
    return noise > np.quantile(noise, rng.uniform(0, 0.6))


def _runs(line: Line, kept: np.ndarray) -> list[Line]:
    """The stretches of a line of two points or more that are kept."""
    changes = np.flatnonzero(np.diff(kept.astype(int))) + 1
    pieces = np.split(np.arange(len(line)), changes)
    return [line[piece] for piece in pieces if len(piece) > 1 and kept[piece[0]]]


def _finish(rng: np.random.Generator, lines: Sequence[Line], region: np.ndarray) -> list[Line]:
    """Bends lines by a smooth field and cuts them off at the region's edge; the longest piece comes first."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    field = np.stack([smooth_noise(rng, 32, 32, 10), smooth_noise(rng, 32, 32, 10)], -1)
    field *= rng.uniform(0, 0.04) * extent
    pieces: list[Line] = []
    for line in lines:
        place = np.clip((line - (rows[0], columns[0])) / extent * 31, 0, 31).astype(int)
        bent = np.clip(line + field[place[:, 0], place[:, 1]], 0, np.array(region.shape) - 1)
        y, x = np.rint(bent).astype(int).T
        pieces += _runs(bent, region[y, x])
    return [simplify(piece) for piece in sorted(pieces, key=_length, reverse=True)]


def _length(line: Line) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def simplify(line: Line, tolerance: float = 0.75, closed: bool = False) -> Line:
    """The line with fewer points, nowhere farther from it than `tolerance` pixels (Douglas and Peucker 1973)."""
    short = cv2.approxPolyDP(np.asarray(line, np.float32)[:, None], tolerance, closed)[:, 0]
    return short.astype(float) if len(short) > 1 + closed else np.asarray(line, float)


# ---------------------------------------------------------------------------------------------- other strokes


def polynomial_stroke(rng: np.random.Generator, region: np.ndarray) -> list[Line]:
    """From a pixel near the edge to one of the farthest 30 %, by a polynomial through pixels between (SAIC-IS)."""
    distance = edge_distance(region)
    near_edge = np.argwhere((distance > 0) & (distance <= max(2.0, 0.3 * distance.max())))
    places = np.argwhere(region).astype(float)
    start = near_edge[rng.integers(len(near_edge))].astype(float)
    away = np.linalg.norm(places - start, axis=1)
    far = places[away >= np.quantile(away, 0.7)]
    line = np.clip(_swing(rng, start, far[rng.integers(len(far))], places), 0, np.array(region.shape) - 1)
    y, x = np.rint(line).astype(int).T
    return [simplify(piece) for piece in sorted(_runs(line, region[y, x]), key=_length, reverse=True)]


def _swing(rng: np.random.Generator, start: np.ndarray, end: np.ndarray, places: np.ndarray) -> Line:
    """A line from start to end by a polynomial through up to two places (N, 2) that lie between."""
    length = max(float(np.linalg.norm(end - start)), 1e-6)
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    part, side = (places - start) @ along / length, (places - start) @ across
    between = np.flatnonzero((part > 0.2) & (part < 0.8) & (abs(side) < 0.35 * length))
    chosen = rng.choice(between, size=min(len(between), int(rng.integers(0, 3))), replace=False)
    if len(chosen) == 2 and abs(part[chosen[0]] - part[chosen[1]]) < 0.15:  # the curve would swing out far
        chosen = chosen[:1]
    t, offset = np.append(part[chosen], [0, 1]), np.append(side[chosen], [0, 0])
    curve = np.polynomial.Polynomial.fit(t, offset, len(t) - 1)
    steps = np.linspace(0, 1, 40)[:, None]
    return start + steps * length * along + curve(steps) * across


def davis_stroke(region: np.ndarray) -> list[Line]:
    """The deterministic user of the DAVIS interactive challenge: a Bezier curve along the region's longest middle line.

    The region is opened by a kernel of .15 sqrt(area) / 2, at most 16 pixels; of its skeleton the longest path is
    approximated by a curve of degree 3. Source: Caelles et al., The 2018 DAVIS Challenge, 2018.
    """
    radius = int(min(16, 0.15 * np.sqrt(np.count_nonzero(region)) / 2))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    opened = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
    close = _CloseUp.of(largest_component(opened if opened.any() else region))
    path = close.restore(longest_path(skeleton(close.mask)))
    if len(path) < 2:
        return []
    t = np.linspace(0, 1, len(path))
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    line = np.clip(basis @ np.linalg.lstsq(basis, path, rcond=None)[0], 0, np.array(region.shape) - 1)
    return [simplify(line)] if _length(line) >= 1 else []


STROKES: dict[str, Callable[[np.random.Generator, np.ndarray], list[Line]]] = {
    "straight": straight_strokes,
    "centreline": centreline_strokes,
    "outline": outline_strokes,
    "polynomial": polynomial_stroke,
    "davis": lambda _, region: davis_stroke(region),
}


# ---------------------------------------------------------------------------------------------- contours


def loose_contour(rng: np.random.Generator, region: np.ndarray) -> Line | None:
    """A line drawn around a region without much care; None if the region is too small for one.

    Holes are filled, the region grows or shrinks, half of the time becomes its convex hull, is smoothed, stretched by
    .75 to 1.2 and shifted by up to a sixteenth of its box. Source: SAIC-IS; Galeev et al., Contour-based Interactive
    Segmentation, IJCAI 2023.
    """
    outline = _outline(largest_component(region))
    if outline is None:
        return None
    close, margin = _CloseUp.of(_filled(outline, region.shape)), WORKING_SIDE // 4
    around = _outline(_loosened(rng, np.pad(close.mask, margin), max(close.mask.shape)))
    if around is None:
        return None
    middle, extent = (around.max(0) + around.min(0)) / 2, np.ptp(around, axis=0)
    moved = (around - middle) * rng.uniform(0.75, 1.2, 2) + middle + rng.uniform(-1, 1, 2) / 16 * extent
    last = np.array(region.shape) - 1
    return _outline(_filled(np.clip(close.restore(moved - margin), 0, last), region.shape))


def _loosened(rng: np.random.Generator, mask: np.ndarray, side: int) -> np.ndarray:
    """A mask grown or shrunk, perhaps made convex, and smoothed, by random parts of `side` pixels."""
    size = 1 + 2 * int(rng.uniform(0, 0.06) * side)
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    changed = change(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    mask = changed if changed.any() else mask
    if rng.random() < 0.5:
        mask = _filled(cv2.convexHull(np.argwhere(mask).astype(np.int32))[:, 0], mask.shape)
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.5, rng.uniform(0.005, 0.05) * side))
    return blurred >= min(0.5, blurred.max() * 0.9)


def _filled(corners: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    canvas = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(canvas, [np.rint(corners[:, ::-1]).astype(np.int32)], 1)
    return canvas > 0


def _outline(region: np.ndarray) -> Line | None:
    """The outer edge of the largest component, (N, 2); None if it has no area."""
    found, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    best = max(found, key=cv2.contourArea, default=None)
    if best is None or cv2.contourArea(best) < 1:
        return None
    return best[:, 0, ::-1].astype(float)
