"""YOLO's segmentation labels: a line an object, a class and one polygon, divided by width and height.

ultralytics cuts the corners down to whole pixels and draws the polygon with cv2.fillPoly, which fills its edges too. So
the corners are the outermost pixels of the object, each half a pixel in from its upper left corner, where cutting down
can't miss. The one polygon visits every part and hole along seams; a seam is drawn as a line, so an object whose seams
would change it by more than a hundredth is written as one line a part. A seam may run outside the picture, where
nothing is drawn.
"""
from __future__ import annotations

import json

import cv2
import numpy as np

from .base import Annotated, Writer
from .polygons import detour

MAX_CHANGE = 0.01  # of an object's pixels, by seams
MAX_PAIRS = 4_000_000  # of corners that are compared each with each
MAX_BOX_GROWTH = 8  # pixels on each side, by seams outside the picture: ultralytics trains on the polygon's box

Corners = np.ndarray  # int (N, 2) (y, x), pixels


class YoloWriter(Writer):
    """labels/*.txt with a line an object, images/ beside it, data.yaml."""

    title = "YOLO segmentation"
    description = "labels and copies of the pictures, for ultralytics"

    _split = 0  # objects of several lines

    def add(self, picture: Annotated) -> None:
        """The picture's labels and a copy of it."""
        lines = []
        for target in picture.objects:
            polygons = as_polygons(picture.mask(target))
            self._split += len(polygons) > 1
            lines += [f"{self.labels[picture.label(target)] - 1} {divided(polygon, picture.shape)}\n"
                      for polygon in polygons]
        self.write(f"labels/{picture.stem}.txt", "".join(lines).encode())
        self.copy(picture.picture.path, f"images/{picture.stem}{picture.picture.path.suffix}")

    def close(self) -> None:
        """The list of classes."""
        names = [f"  {number - 1}: {json.dumps(name, ensure_ascii=False)}" for name, number in self.labels.items()]
        text = "\n".join(["train: images", "val: images", "names:", *names, ""])
        self.write("data.yaml", text.encode("utf-8", "replace"))
        if self._split:
            self.notes.append(f"{self._split} objects of several parts are several lines, since YOLO knows no parts.")


def divided(corners: Corners, shape: tuple[int, int]) -> str:
    """Corners as text: x and y of each, divided by width and height."""
    height, width = shape
    texts = []
    corners = np.concatenate([corners, np.repeat(corners[-1:], max(0, 3 - len(corners)), axis=0)])  # of a pixel or line
    for y, x in corners.tolist():
        texts += [_fraction(x, width), _fraction(y, height)]
    return " ".join(texts)


def _fraction(value: int, side: int) -> str:
    if value >= side:
        return "1"
    return f"{(value + (0.5 if value >= 0 else -0.25)) / side:.7g}"


def as_polygons(mask: np.ndarray) -> list[Corners]:
    """A mask bool (H, W) as one polygon through its outermost pixels; as several if the seams would show."""
    whole = _as_one(mask)
    if np.count_nonzero(_drawn_by_reader(whole, mask.shape) != mask) <= MAX_CHANGE * np.count_nonzero(mask):
        return [whole]
    return [_as_one(part) for part in _split(mask)]


def _as_one(part: np.ndarray) -> Corners:
    """Parts with their holes as one polygon."""
    whole, *further = _rings(part)
    for ring in further:
        whole = _joined(whole, ring, part)
    return whole


def _split(mask: np.ndarray) -> list[np.ndarray]:
    count, numbers = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return [numbers == number for number in range(1, count)]


def _rings(mask: np.ndarray) -> list[Corners]:
    """The outlines through pixel centres, outer ones before the holes that lie in them, parts from left to right."""
    found, levels = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [contour[:, 0, ::-1] for contour in found]
    outer = sorted((number for number in range(len(rings)) if levels[0, number, 3] < 0),
                   key=lambda number: tuple(rings[number].min(axis=0)[::-1].tolist()))
    holes = [number for number in range(len(rings)) if levels[0, number, 3] >= 0]
    return [rings[number] for part in outer
            for number in (part, *(hole for hole in holes if levels[0, hole, 3] == part))]


def _joined(whole: Corners, ring: Corners, mask: np.ndarray) -> Corners:
    """A polygon that visits a ring by the seam that is drawn over the fewest pixels off the object."""
    leave, enter = _nearest_pair(whole, ring)
    straight = detour(whole, leave, ring, enter)
    cost = _visible(whole[leave], ring[enter], mask)
    around = _around(whole, ring, mask, cost) if cost else None
    return straight if around is None else around


def _nearest_pair(a: Corners, b: Corners) -> tuple[int, int]:
    if len(a) * len(b) <= MAX_PAIRS:
        distances = ((a[:, None, :].astype(np.int64) - b[None, :, :]) ** 2).sum(axis=2)
        first, second = np.unravel_index(int(distances.argmin()), distances.shape)
        return int(first), int(second)
    leave = int(((a - b[0]) ** 2).sum(axis=1).argmin())
    return leave, int(((b - a[leave]) ** 2).sum(axis=1).argmin())


def _visible(begin: np.ndarray, end: np.ndarray, mask: np.ndarray) -> int:
    """Pixels of a line that are drawn off the object."""
    canvas = np.zeros(mask.shape, np.uint8)
    cv2.line(canvas, begin[::-1].tolist(), end[::-1].tolist(), 1)
    return int(np.count_nonzero(canvas.view(bool) & ~mask))


def _around(whole: Corners, ring: Corners, mask: np.ndarray, cost: int) -> Corners | None:
    """The polygon that visits a ring by a way outside the picture, if that costs less and leaves the box as it was."""
    height, width = mask.shape
    box = cv2.boundingRect(mask.view(np.uint8))
    room = {"left": box[0], "top": box[1], "right": width - box[0] - box[2], "bottom": height - box[1] - box[3]}
    sides = [side for side in room if room[side] < MAX_BOX_GROWTH]
    found = [(out[2] + back[2], out, back) for out in (_out(whole, side, mask) for side in sides)
             for back in (_out(ring, side, mask) for side in sides)]
    for total, (leave, exit_at, _), (enter, entry_at, _) in sorted(found, key=lambda way: way[0]):
        way = np.array([exit_at, *_corners_between(exit_at, entry_at, height, width, room), entry_at])
        reach = np.concatenate([way, whole, ring])
        if total < cost and (np.ptp(reach, axis=0) < mask.shape).all():  # readers refuse boxes larger than the picture
            return detour(whole, leave, ring, enter, way)
    return None


def _out(ring: Corners, side: str, mask: np.ndarray) -> tuple[int, tuple[int, int], int]:
    """How a ring is left towards a side of the picture: its corner, the place outside, pixels drawn off the object."""
    axis, is_low = (0 if side in ("top", "bottom") else 1), side in ("top", "left")
    number = int(ring[:, axis].argmin() if is_low else ring[:, axis].argmax())
    outside = ring[number].copy()
    outside[axis] = -1 if is_low else mask.shape[axis]
    return number, tuple(outside.tolist()), _visible(ring[number], outside, mask)


def _corners_between(a: tuple[int, int], b: tuple[int, int], height: int, width: int,
                     room: dict[str, int]) -> list[tuple[int, int]]:
    """Corners of the frame one pixel outside the picture on the way from one place on it to another."""
    def place(point: tuple[int, int]) -> int:  # sides clockwise from the top
        y, x = point
        return 0 if y < 0 else 1 if x >= width else 2 if y >= height else 3

    corners = [(-1, width), (height, width), (height, -1), (-1, -1)]  # at the end of each side, clockwise
    start, end = place(a), place(b)
    clockwise = [corners[side % 4] for side in range(start, start + (end - start) % 4)]
    other = [corners[side % 4] for side in range(start - 1, start - 1 - (start - end) % 4, -1)]
    return min((clockwise, other), key=lambda way: (sum(_is_far(corner, room, height, width) for corner in way),
                                                     len(way)))


def _is_far(corner: tuple[int, int], room: dict[str, int], height: int, width: int) -> bool:
    near = room["top" if corner[0] < 0 else "bottom"], room["left" if corner[1] < 0 else "right"]
    return max(near) >= MAX_BOX_GROWTH


def _drawn_by_reader(polygon: Corners, shape: tuple[int, int]) -> np.ndarray:
    """Bool (H, W): a polygon as ultralytics draws it."""
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.ascontiguousarray(polygon[:, ::-1], np.int32)], 1)
    return canvas.view(bool)
