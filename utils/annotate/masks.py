"""Masks as PNG files, as outlines and as what is drawn by hand.

A mask is bool (H, W). An outline runs along the edges of pixels: its corners are whole numbers (y, x), where (0, 0) is
the upper left corner of the first pixel, so that filling it gives back exactly the mask.
"""
from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from utils.files import digest

Points = Sequence[Sequence[float]]  # (y, x), pixel centres at whole numbers

FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def encode_mask(mask: np.ndarray) -> bytes:
    """A mask bool (H, W) as PNG of one bit a pixel, white on the object."""
    return _plain_png(np.packbits(mask, axis=1), mask.shape, bits=1)


def encode_edits(edits: np.ndarray) -> bytes:
    """A map of manual edits uint8 (H, W), see `with_edits`, as grey PNG."""
    return _plain_png(edits, edits.shape, bits=8)


def encode_map(values: np.ndarray) -> bytes:
    """A smooth map uint8 (H, W) as grey PNG."""
    return cv2.imencode(".png", values, FAST)[1].tobytes()


def _plain_png(rows: np.ndarray, shape: tuple[int, int], bits: int) -> bytes:
    """A grey PNG without filters, which on maps of few values cost OpenCV more time than everything else."""
    lines = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)  # the first byte names the filter: 0, none
    lines[:, 1:] = rows
    header = struct.pack(">IIBBBBB", shape[1], shape[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks)


def decode_map(png: bytes) -> np.ndarray | None:
    """The map uint8 (H, W) of a grey PNG, or None if the bytes are no picture."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None


def file_name(png: bytes) -> str:
    """The name under which a mask is stored: equal masks have equal names, so that files never change."""
    return digest(png)[:20] + ".png"


# ---------------------------------------------------------------------------------------------- outlines


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right), the last two beyond the mask; None for an empty one."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (y, x, y + height, x + width) if width else None


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """`bounding_box` of a mask that isn't empty; (0, 0, 0, 0) of one that is."""
    return bounding_box(mask) or (0, 0, 0, 0)


def outline(mask: np.ndarray, box: tuple[int, int, int, int] | None = None) -> list[np.ndarray]:
    """The closed polygons around a mask and its holes.

    Args:
        mask: bool (H, W).
        box: its `bounding_box`, if that is known already.

    Returns:
        int (N, 2) corners (y, x) each, N even; the first edge is horizontal and the directions alternate. Together
        they hold the mask by the even-odd rule. Pixels that touch at a corner only may share a polygon or not.
    """
    box = box or bounding_box(mask)
    if box is None:
        return []
    top, left, bottom, right = box
    y, x = _corners(mask[top:bottom, left:right])
    beside, below = _partners(y, x), _partners(x, y)
    return [np.stack([y[loop] + top, x[loop] + left], axis=1) for loop in _loops(beside.tolist(), below.tolist())]


def _corners(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the outline turns: (y, x) of lattice points with 1 or 3 of 4 pixels, and twice those with two diagonal."""
    padded = np.pad(mask.view(np.uint8), 1)
    upright = padded[:, :-1] ^ padded[:, 1:]  # an edge between a pixel and its right neighbour
    level = padded[:-1] ^ padded[1:]  # an edge between a pixel and the one below
    edges_meet = (upright[:-1] | upright[1:]) & (level[:, :-1] | level[:, 1:])
    y, x = np.divmod(np.flatnonzero(edges_meet), edges_meet.shape[1])
    crossings = (upright[y, x] & upright[y + 1, x] & level[y, x] & level[y, x + 1]).astype(bool)
    return np.repeat(y, 1 + crossings), np.repeat(x, 1 + crossings)


def _partners(line: np.ndarray, along: np.ndarray) -> np.ndarray:
    """For each corner the one at the other end of its edge: on every line the sorted corners pair up."""
    order = np.lexsort((along, line))
    partners = np.empty(len(order), np.int64)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    return partners


def _loops(beside: list[int], below: list[int]) -> list[list[int]]:
    """Walks along the edges, horizontal and vertical in turn, until all corners are used."""
    used = bytearray(len(beside))
    loops = []
    for first in range(len(beside)):
        loop: list[int] = []
        corner = first
        while not used[corner]:
            other = beside[corner]
            used[corner] = used[other] = 1
            loop += (corner, other)
            corner = below[other]
        if loop:
            loops.append(loop)
    return loops


def svg_path(polygons: Sequence[np.ndarray]) -> str:
    """Outlines as the data of an SVG path, to be filled by the even-odd rule."""
    parts = []
    for polygon in polygons:
        steps = np.diff(polygon, axis=0)
        moves = steps.sum(axis=1).tolist()  # one of the two is zero
        parts.append(f"M{polygon[0, 1]} {polygon[0, 0]}")
        parts += [f"{'hv'[i % 2]}{move}" for i, move in enumerate(moves)]
        parts.append("z")
    return "".join(parts)


def describe(mask: np.ndarray, at: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """What the page draws: {"path": SVG path data, "box": [top, left, bottom, right] or None, "area": pixels}.

    Args:
        mask: bool (H, W), a part of the picture.
        at: where its upper left pixel lies in the picture.
    """
    box = bounding_box(mask)
    if box is None:
        return {"path": "", "box": None, "area": 0}
    area = np.count_nonzero(mask[box[0] : box[2], box[1] : box[3]])
    path = svg_path([polygon + at for polygon in outline(mask, box)])
    return {"path": path, "box": tuple(side + at[axis % 2] for axis, side in enumerate(box)), "area": int(area)}


# ---------------------------------------------------------------------------------------------- drawn by hand

SUBPIXEL_BITS = 4  # of OpenCV's fixed-point coordinates
SHORT_STEP = 64  # pixels
MANY_EDGES = 200  # of a polygon that a row of pixels crosses, on average
CROSSINGS_AT_ONCE = 2_000_000
EXACT_RADIUS = 16  # brushes up to this radius count pixels exactly, larger ones are drawn by OpenCV, which is faster


def _fixed_point(points: Points) -> np.ndarray:
    """OpenCV's (x, y) in fixed point."""
    return np.round(np.array(points, np.float64)[:, ::-1] * 2**SUBPIXEL_BITS).astype(np.int32)


def stroke(shape: tuple[int, int], points: Points, radius: float) -> np.ndarray:
    """The pixels under a brush: bool (H, W).

    Args:
        shape: (H, W).
        points: (y, x) that the brush's centre went through, at least one.
        radius: of the brush in pixels; 0.71 (half a pixel's diagonal) always reaches the nearest pixel.
    """
    canvas = np.zeros(shape, np.uint8)
    if radius > EXACT_RADIUS:
        line = _fixed_point(points if len(points) > 1 else [points[0]] * 2)  # OpenCV draws no line of one point
        cv2.polylines(canvas, [line], False, 1, round(2 * radius), shift=SUBPIXEL_BITS)
        return canvas.view(bool)
    path = _in_short_steps(np.array(points, np.float64))
    for begin, end in zip(path[:-1], path[1:], strict=True) if len(path) > 1 else [(path[0], path[0])]:
        _stamp(canvas, begin, end, radius)
    return canvas.view(bool)


def _in_short_steps(path: np.ndarray) -> np.ndarray:
    """A line with points in between where its steps are long: what is stamped is a square about each step."""
    pieces = [path[:1]]
    for begin, end in zip(path[:-1], path[1:], strict=True):
        count = int(np.hypot(*(end - begin)) // SHORT_STEP) + 1
        pieces.append(begin + (end - begin) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(pieces)


def _stamp(canvas: np.ndarray, begin: np.ndarray, end: np.ndarray, radius: float) -> None:
    """Marks the pixels whose centres are no farther than the radius from a straight line."""
    low = np.maximum(np.floor(np.minimum(begin, end) - radius), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(begin, end) + radius) + 1, canvas.shape).astype(int)
    if (low >= high).any():
        return
    y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
    way = end - begin
    along = ((y - begin[0]) * way[0] + (x - begin[1]) * way[1]) / max(way @ way, 1e-9)
    along = np.clip(along, 0, 1)
    distance2 = (y - begin[0] - along * way[0]) ** 2 + (x - begin[1] - along * way[1]) ** 2
    canvas[low[0] : high[0], low[1] : high[1]] |= distance2 <= radius**2


def polygon(shape: tuple[int, int], points: Points) -> np.ndarray:
    """The pixels inside a polygon (y, x) of at least three points, and on its edge: bool (H, W)."""
    canvas = np.zeros(shape, np.uint8)
    line = _fixed_point(points)
    if _edges_in_a_row(points, shape) <= MANY_EDGES:
        cv2.fillPoly(canvas, [line], 1, shift=SUBPIXEL_BITS)
        return canvas.view(bool)
    cv2.polylines(canvas, [line], True, 1, shift=SUBPIXEL_BITS)  # OpenCV would sort crossing edges for minutes
    return canvas.view(bool) | even_odd(shape, np.array(points, np.float64))


def _edges_in_a_row(points: Points, shape: tuple[int, int]) -> float:
    y = np.array(points, np.float64)[:, 0]
    return float(np.abs(np.diff(y, append=y[0])).sum() / max(1.0, min(float(np.ptp(y)), shape[0])))


def even_odd(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """The pixels whose centres lie inside a polygon float (N, 2) (y, x) by the even-odd rule: bool (H, W).

    Row by row: where the row's centre line crosses the polygon, in steps that bound the memory.
    """
    begin, end = points, np.roll(points, -1, axis=0)
    first = np.clip(np.ceil(np.minimum(begin[:, 0], end[:, 0])), 0, shape[0]).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(begin[:, 0], end[:, 0])), 0, shape[0]).astype(np.int64)
    counts = last - first
    odd = np.zeros((shape[0], shape[1] + 1), np.uint8)
    groups = np.cumsum(counts) // CROSSINGS_AT_ONCE
    for group in np.unique(groups[counts > 0]):
        chosen = np.flatnonzero((groups == group) & (counts > 0))
        edge = np.repeat(chosen, counts[chosen])
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts[chosen]) - counts[chosen], counts[chosen])
        along = np.clip((row - begin[edge, 0]) / (end[edge, 0] - begin[edge, 0]), 0, 1)
        crossing = begin[edge, 1] + along * (end[edge, 1] - begin[edge, 1])
        column = np.clip(np.ceil(crossing), 0, shape[1]).astype(np.int64)
        crossings = np.bincount(row * odd.shape[1] + column, minlength=odd.size)
        odd ^= (crossings & 1).astype(np.uint8).reshape(odd.shape)
    return np.bitwise_xor.accumulate(odd[:, :-1], axis=1).view(bool)


def without(mask: np.ndarray, cover: np.ndarray | None) -> np.ndarray:
    """A mask without the pixels that a map (H, W) covers, that is, where it isn't 0."""
    if cover is None:
        return mask
    top, left, bottom, right = box_of(mask)
    box, kept = np.s_[top:bottom, left:right], np.zeros_like(mask)
    kept[box] = mask[box] & (cover[box] == 0)
    return kept


# What manual edits decided about a pixel, as values of a map uint8 (H, W)
UNTOUCHED, ERASED, PAINTED = 0, 127, 255


def with_edits(mask: np.ndarray, edits: np.ndarray | None) -> np.ndarray:
    """A mask with what was painted and without what was erased."""
    return mask if edits is None else (mask & (edits != ERASED)) | (edits == PAINTED)


def without_edit_at(edits: np.ndarray, y: int, x: int, is_positive: bool) -> np.ndarray:
    """The map of edits without the patch that a click of the other kind contradicts."""
    if edits[y, x] != (ERASED if is_positive else PAINTED):
        return edits
    freed = edits.copy()
    cv2.floodFill(freed, None, (x, y), UNTOUCHED, flags=8)
    return freed
