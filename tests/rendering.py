"""A small renderer for the sample scenes: shapes by signed distance, relief shading, shadows, and a camera's faults.

Coordinates are (y, x) with the picture's height as the unit of length; y grows downwards. Colours are linear RGB light.
A shape is the function of its signed distance (negative inside), so that edges are smooth at every picture size and
masks come from arithmetic alone, the same with every version of OpenCV.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Union

import cv2
import numpy as np

Point = tuple[float, float]
Colour = Union[np.ndarray, Sequence[float]]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def srgb(code: str) -> np.ndarray:
    """Linear RGB of a colour written as on the web, `#c0392b`."""
    return (np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255) ** 2.2


def mix(first: Colour, second: Colour, share: np.ndarray | float) -> np.ndarray:
    """Blend of two colours; share 0 gives the first, 1 the second, an array (H, W) blends pixel by pixel."""
    share = np.clip(np.asarray(share, np.float32), 0, 1)[..., None]
    return np.asarray(first, np.float32) * (1 - share) + np.asarray(second, np.float32) * share


def step(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at `low` to 1 at `high`, which may be the smaller of the two."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


# ---------------------------------------------------------------------------------------------- shapes

@dataclass(frozen=True)
class Shape:
    """An outline: signed distance at (y, x), and the box (top, left, bottom, right) outside which it is not painted."""

    distance: Distance
    box: tuple[float, float, float, float]

    def __or__(self, other: Shape) -> Shape:
        """Union."""
        return Shape(lambda y, x: np.minimum(self.distance(y, x), other.distance(y, x)), joint_box(self.box, other.box))

    def __and__(self, other: Shape) -> Shape:
        """Intersection."""
        return Shape(lambda y, x: np.maximum(self.distance(y, x), other.distance(y, x)), self.box)

    def __sub__(self, other: Shape) -> Shape:
        """What is left when the other shape is cut out."""
        return Shape(lambda y, x: np.maximum(self.distance(y, x), -other.distance(y, x)), self.box)

    def grown(self, margin: float) -> Shape:
        """The shape with a rim of this width around it (inside it, if negative)."""
        top, left, bottom, right = self.box
        box = (top - margin, left - margin, bottom + margin, right + margin)
        return Shape(lambda y, x: self.distance(y, x) - margin, box)

    def moved(self, dy: float, dx: float) -> Shape:
        """The shape elsewhere."""
        top, left, bottom, right = self.box
        return Shape(lambda y, x: self.distance(y - dy, x - dx), (top + dy, left + dx, bottom + dy, right + dx))

    def lying(self, base: float, length: float, slant: float) -> Shape:
        """The shadow of an upright shape on level ground seen from above: laid down at its base line.

        Args:
            base: y where the shape touches the ground.
            length: the shadow's extent for a unit of height; positive falls away from the viewer, negative towards.
            slant: how far the shadow runs to the right for a unit of height.
        """
        def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
            height = (base - y) / length
            return self.distance(base - height, x - slant * height) * min(1.0, abs(length))

        tip, run = base - length * (base - self.box[0]), slant * (base - self.box[0])
        left, right = self.box[1] + min(run, 0), self.box[3] + max(run, 0)
        return Shape(distance, (min(base, tip) - 0.02, left, max(base, tip) + 0.02, right))


def joint_box(*boxes: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The smallest box around boxes."""
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def union(shapes: Sequence[Shape]) -> Shape:
    """All of the shapes as one."""
    return reduce(Shape.__or__, shapes)


def ellipse(cy: float, cx: float, ry: float, rx: float, turn: float = 0.0) -> Shape:
    """Ellipse with half axes ry and rx, turned clockwise by radians; its distance is of first order."""
    reach = max(ry, rx)

    def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        v, u = turned(y - cy, x - cx, turn)
        radius = np.hypot(v / ry, u / rx)
        return radius * (radius - 1) / (np.hypot(v / ry**2, u / rx**2) + 1e-9)

    return Shape(distance, (cy - reach, cx - reach, cy + reach, cx + reach))


def ring(cy: float, cx: float, ry: float, rx: float, width: float) -> Shape:
    """Band of this width along an ellipse."""
    middle, half = ellipse(cy, cx, ry, rx), width / 2
    return Shape(lambda y, x: np.abs(middle.distance(y, x)) - half, middle.grown(half).box)


def rod(start: Point, end: Point, start_radius: float, end_radius: float | None = None) -> Shape:
    """Straight line with round ends whose radius changes evenly."""
    end_radius = start_radius if end_radius is None else end_radius
    (ay, ax), (by, bx) = start, end
    length2 = (by - ay) ** 2 + (bx - ax) ** 2 + 1e-12

    def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        t = np.clip(((y - ay) * (by - ay) + (x - ax) * (bx - ax)) / length2, 0, 1)
        return np.hypot(y - ay - t * (by - ay), x - ax - t * (bx - ax)) - start_radius - t * (end_radius - start_radius)

    reach = max(start_radius, end_radius)
    return Shape(distance, (min(ay, by) - reach, min(ax, bx) - reach, max(ay, by) + reach, max(ax, bx) + reach))


def path(points: Sequence[Point], start_radius: float, end_radius: float | None = None) -> Shape:
    """A bent rod through points."""
    end_radius = start_radius if end_radius is None else end_radius
    radii = np.linspace(start_radius, end_radius, len(points))
    return union([rod(points[i], points[i + 1], radii[i], radii[i + 1]) for i in range(len(points) - 1)])


def polar(cy: float, cx: float, radius: Callable[[np.ndarray], np.ndarray], reach: float) -> Shape:
    """Star-shaped outline: radius as a function of the angle (0 to the right, growing clockwise), at most `reach`."""
    return Shape(
        lambda y, x: np.hypot(y - cy, x - cx) - radius(np.arctan2(y - cy, x - cx)),
        (cy - reach, cx - reach, cy + reach, cx + reach),
    )


def pebble(rng: np.random.RandomState, cy: float, cx: float, size: float, roughness: float = 0.1) -> Shape:
    """Smooth random blob, somewhat longer than wide."""
    phases, weights = rng.uniform(0, 2 * np.pi, 5), rng.uniform(0.2, 1, 5) * roughness / np.array([1.2, 2, 3, 4, 6])

    def radius(angle: np.ndarray) -> np.ndarray:
        waves = sum(w * np.cos((k + 2) * angle + p) for k, (p, w) in enumerate(zip(phases, weights, strict=True)))
        return size * (1 + waves)

    return polar(cy, cx, radius, size * (1 + 2 * roughness))


def revolved(cx: float, profile: Sequence[Point]) -> Shape:
    """What a potter makes: an upright body, whose smooth profile through (y, half width) is the same left and right."""
    heights, widths = dense_curve(np.array(profile), closed=False, parts=24).T
    slopes = np.gradient(widths, heights)

    def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        slope = np.clip(np.interp(y, heights, slopes), -3, 3)
        side = (np.abs(x - cx) - np.interp(y, heights, widths)) / np.sqrt(1 + slope**2)
        return np.maximum(side, np.maximum(heights[0] - y, y - heights[-1]))

    reach = widths.max()
    return Shape(distance, (heights[0], cx - reach, heights[-1], cx + reach))


def outline(points: Sequence[Point], sharp: bool = False) -> Shape:
    """Closed curve through points (straight lines between them if sharp)."""
    corners = np.array(points) if sharp else dense_curve(np.array(points), closed=True, parts=6)

    def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        nearest, inside = np.full(y.shape, np.inf), np.zeros(y.shape, bool)
        for (ay, ax), (by, bx) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            dy, dx = by - ay, bx - ax
            t = np.clip(((y - ay) * dy + (x - ax) * dx) / (dy * dy + dx * dx + 1e-12), 0, 1)
            nearest = np.minimum(nearest, (y - ay - t * dy) ** 2 + (x - ax - t * dx) ** 2)
            if ay != by:
                inside ^= ((ay <= y) != (by <= y)) & (x < ax + (y - ay) / dy * dx)
        return np.sqrt(nearest) * np.where(inside, -1, 1)

    return Shape(distance, (*corners.min(axis=0), *corners.max(axis=0)))


def dense_curve(points: np.ndarray, closed: bool, parts: int) -> np.ndarray:
    """Catmull-Rom spline through points (N, 2), so many vertices for each of them."""
    if closed:
        before, after, beyond = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    else:
        padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
        before, after, beyond, points = padded[:-3], padded[2:-1], padded[3:], padded[1:-2]
    t = (np.arange(parts) / parts)[:, None]
    spans = [
        b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        for a, b, c, d in zip(before, points, after, beyond, strict=True)
    ]
    return np.vstack(spans if closed else [*spans, after[-1]])


def turned(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in a frame that is turned clockwise by radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return y * cos - x * sin, y * sin + x * cos


# ---------------------------------------------------------------------------------------------- the picture

class Picture:
    """A picture in the making: light is painted back to front, and the target's mask is kept along with it.

    Args:
        height, width: size in pixels.
        seed: of everything random in it.
        sun: where the light comes from: (up, left, towards the viewer).

    Attributes:
        y, x: float64 (H, W), every pixel's coordinates in picture heights (masks must not hang on rounding).
        light: float32 (H, W, 3), linear RGB.
        truth: float32 (H, W), the share of a pixel that shows the target.
    """

    def __init__(self, height: int, width: int, seed: int, sun: tuple[float, float, float] = (0.6, 0.5, 0.7)) -> None:
        # RandomState, because numpy promises that its numbers never change
        self.rng = np.random.RandomState(seed)  # noqa: NPY002
        self.height, self.width, self.aspect = height, width, width / height
        rows, columns = np.mgrid[:height, :width]
        self.y, self.x = (rows + 0.5) / height, (columns + 0.5) / height
        self.light = np.zeros((height, width, 3), np.float32)
        self.truth = np.zeros((height, width), np.float32)
        self.sun = np.array(sun, np.float32) / np.linalg.norm(sun)

    def noise(self, grain: float, octaves: int = 4, stretch: float = 1.0, fade: float = 0.5) -> np.ndarray:
        """Cloudy random values (H, W) of mean 0 and deviation 1.

        Args:
            grain: size of the largest lumps in picture heights.
            octaves: number of layers, each of half the grain of the one before and `fade` of its weight.
            stretch: how many times longer than high the lumps are.
        """
        total = np.zeros((self.height, self.width), np.float32)
        for octave in range(octaves):
            rows = int(np.clip(2**octave / grain, 1, self.height)) + 2
            columns = int(np.clip(2**octave / grain / stretch * self.aspect, 1, self.width)) + 2
            lumps = self.rng.standard_normal((rows, columns)).astype(np.float32)
            total += fade**octave * cv2.resize(lumps, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return (total - total.mean()) / (total.std() + 1e-6)

    def fill(self, colour: Colour) -> None:
        """Covers the whole picture."""
        self.light[:] = colour

    def relief(self, bumps: np.ndarray, contrast: float = 1.0) -> np.ndarray:
        """Light (H, W) around 1 on a surface seen from above with these bumps (H, W), heights in picture heights."""
        lit = surface_normal(bumps, self.height) @ self.sun / self.sun[2]
        return np.clip(1 + contrast * (lit - 1), 0.05, 3)

    def paint(
        self, shape: Shape, colour: Colour, target: bool = False, opacity: float = 1.0, blur: float = 0.0
    ) -> None:
        """Lays a flat colour, a triple or an array (H, W, 3), on a shape.

        Args:
            target: the shape is part of what is to be segmented; else it hides it where it covers it.
            opacity: 0 to 1; a veil of less than a half hides nothing.
            blur: width of its soft edge in picture heights.
        """
        window = self.window(shape, 3 * blur)
        cover = self.cover(shape, window)
        if blur:
            cover = cv2.GaussianBlur(cover, (0, 0), blur * self.height)
        self._lay(window, cover * opacity, self._part(colour, window), target)

    def model(
        self,
        shape: Shape,
        colour: Colour,
        roundness: float,
        target: bool = False,
        form: Shape | None = None,
        bumps: np.ndarray | None = None,
        gloss: float = 0.15,
        polish: float = 30.0,
    ) -> None:
        """Lays a solid body on a shape, lit by the sun, as if its edge were rounded off.

        Args:
            colour: of the material, a triple or an array (H, W, 3).
            roundness: radius of the rounding in picture heights; half of the shape's width makes a ball or a pipe.
            target: as in paint.
            form: the shape whose edge is rounded off, where that is not the visible one: a pipe that goes on.
            bumps: (H, W), heights of the surface's unevenness in picture heights.
            gloss: strength of the sun's reflection, and polish, the larger the smaller it is.
        """
        window = self.window(shape, 2 / self.height)
        height = rounded((form or shape).distance(self.y[window], self.x[window]), roundness, self.height)
        if bumps is not None:
            height = height + bumps[window]
        normal = surface_normal(height, self.height)
        diffuse = np.clip(normal @ self.sun, 0, 1)[..., None]
        sky = 0.30 + 0.14 * normal[..., :1]  # more of it from above
        half = (self.sun + np.array([0, 0, 1], np.float32)) / np.linalg.norm(self.sun + [0, 0, 1])
        shine = gloss * np.clip(normal @ half, 0, 1)[..., None] ** polish
        colour = self._part(colour, window) * (sky * [0.95, 1.0, 1.1] + 0.85 * diffuse) + shine
        self._lay(window, self.cover(shape, window), colour.astype(np.float32), target)

    def shade(self, shape: Shape, strength: float, blur: float) -> None:
        """Darkens a shape with soft edges: a shadow."""
        window = self.window(shape, 3 * blur)
        cover = cv2.GaussianBlur(self.cover(shape, window), (0, 0), max(blur * self.height, 0.3))
        self.light[window] *= 1 - strength * cover[..., None] * np.array([1.0, 0.97, 0.92], np.float32)

    def blur(self, size: float) -> None:
        """Puts all that is painted so far out of focus."""
        self.light = cv2.GaussianBlur(self.light, (0, 0), size * self.height)

    def develop(
        self,
        exposure: float = 1.0,
        grain: float = 0.01,
        vignette: float = 0.25,
        softness: float = 0.6,
        warmth: float = 0.0,
    ) -> np.ndarray:
        """The photograph: uint8 RGB (H, W, 3).

        Args:
            exposure: factor of the light.
            grain: deviation of the noise in mid tones, of the whole range.
            vignette: loss of light in the corners.
            softness: deviation of the lens's blur in pixels.
            warmth: shift of the white balance, positive to yellow.
        """
        light = cv2.GaussianBlur(self.light, (0, 0), softness) * exposure
        distance2 = ((self.y - 0.5) ** 2 + (self.x - self.aspect / 2) ** 2) / (0.25 + self.aspect**2 / 4)
        light *= (1 - vignette * distance2)[..., None] * np.array([1 + warmth, 1, 1 - warmth], np.float32)
        light = np.clip(light, 0, None)
        light = light * (1 + light / 4) / (1 + light)  # bright tones are compressed as film does, white is at 2
        tones = np.clip(light * 1.3, 0, 1) ** (1 / 2.2)
        colour_noise, grey_noise = self.rng.standard_normal(tones.shape), self.rng.standard_normal(tones.shape[:2])
        tones += grain * (0.6 * colour_noise + 0.8 * grey_noise[..., None]) * (0.6 + 0.8 * np.sqrt(tones))
        return np.clip(tones * 255 + 0.5, 0, 255).astype(np.uint8)

    def mask(self) -> np.ndarray:
        """The target's mask, uint8 (H, W), 255 where it fills at least half of a pixel, else 0."""
        return np.where(self.truth >= 0.5, 255, 0).astype(np.uint8)

    def window(self, shape: Shape, margin: float) -> tuple[slice, slice]:
        """The rows and columns of a shape's box and a margin around it."""
        top, left, bottom, right = shape.box
        return (
            span((top - margin) * self.height, (bottom + margin) * self.height, self.height),
            span((left - margin) * self.height, (right + margin) * self.height, self.width),
        )

    def cover(self, shape: Shape, window: tuple[slice, slice] = np.s_[:, :]) -> np.ndarray:
        """The share of each pixel of a window that a shape covers."""
        distance = shape.distance(self.y[window], self.x[window])
        return np.clip(0.5 - distance * self.height, 0, 1).astype(np.float32)

    def _part(self, colour: Colour, window: tuple[slice, slice]) -> np.ndarray:
        colour = np.asarray(colour, np.float32)
        return colour[window] if colour.ndim == 3 else colour

    def _lay(self, window: tuple[slice, slice], cover: np.ndarray, colour: np.ndarray, target: bool) -> None:
        self.light[window] += cover[..., None] * (colour - self.light[window])
        hidden = np.where(cover >= 0.5, cover, 0)  # veils and reflections hide nothing
        seen = self.truth[window] * (1 - hidden)
        self.truth[window] = np.minimum(seen + cover, 1) if target else seen


def span(first: float, last: float, size: int) -> slice:
    """The pixels between two places and two more on either side; at least two at the picture's edge, for gradients."""
    start = min(max(int(first) - 2, 0), size - 2)
    return slice(start, min(max(int(last) + 3, start + 2), size))


def rounded(distance: np.ndarray, radius: float, height: int) -> np.ndarray:
    """Height above the ground of a body with this outline whose edge is a quarter circle of this radius."""
    depth = np.clip(-distance / radius, 0, 1)
    profile = radius * np.sqrt(1 - (1 - depth) ** 2)
    return cv2.GaussianBlur(profile.astype(np.float32), (0, 0), max(0.06 * radius * height, 0.4))


def surface_normal(surface: np.ndarray, height: int) -> np.ndarray:
    """Unit normals (H, W, 3) of a surface over the picture plane: (up, left, towards the viewer)."""
    down, right = np.gradient(surface.astype(np.float32) * height)
    normal = np.dstack([down, right, np.ones_like(down)])  # a surface that rises downwards faces up
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)
