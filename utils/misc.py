"""Small tools: checkpoints, pictures, boxes, labels. Boxes are inclusive (rmin, rmax, cmin, cmax) in pixels."""
from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from utils.files import write_whole

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

# ---------------------------------------------------------------------------------------------- files


def save_checkpoint(net: torch.nn.Module, checkpoints_path: Path, epoch: int | None = None) -> None:
    """Writes {"state_dict": ...} to `last_checkpoint.pth`, or to `007.pth` for epoch 7, and prints where.

    The file is written beside and renamed, so that there is never half a checkpoint under the name.
    """
    path = Path(checkpoints_path) / ("last_checkpoint.pth" if epoch is None else f"{epoch:03d}.pth")
    content = io.BytesIO()
    torch.save({"state_dict": net.state_dict()}, content)
    write_whole(path, content.getvalue())
    print(f"Checkpoint written to {path}")


# ---------------------------------------------------------------------------------------------- pictures


def draw_probmap(x: np.ndarray) -> np.ndarray:
    """Probabilities (H, W), clipped to [0, 1], in OpenCV's hot colours: uint8 (H, W, 3) BGR, black to white."""
    levels = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_HOT)


def draw_points(image: np.ndarray, points: Iterable[Sequence[float]], color: Colour, radius: int = 3) -> np.ndarray:
    """Disks on a copy of an image.

    Args:
        image: uint8 (H, W, 3).
        points: (y, x) or (y, x, index); those with y below 0 are padding and are skipped.
        color: in the image's order of channels.
        radius: pixels, for points without an index; indices 0, 1 and 2 give 8, 6 and 4, larger ones 2.
    """
    image = image.copy()
    for y, x, *index in points:
        if y >= 0:
            size = {0: 8, 1: 6, 2: 4}.get(int(index[0]), 2) if index else radius
            cv2.circle(image, (int(x), int(y)), size, color, -1, cv2.LINE_AA)
    return image


def draw_with_blend_and_clicks(
    img: np.ndarray,
    mask: np.ndarray | None = None,
    alpha: float = 0.6,
    clicks_list: Iterable[Any] | None = None,
    pos_color: Colour = (0, 255, 0),
    neg_color: Colour = (255, 0, 0),
    radius: int = 4,
) -> np.ndarray:
    """A copy of an RGB image uint8 (H, W, 3) with labels in colour and clicks as disks.

    Args:
        img: the image.
        mask: (H, W) labels, 0 to 255; pixels above 0 are tinted by `get_palette`'s colour of their label.
        alpha: opacity of the tint, 0 to 1.
        clicks_list: clicks with `is_positive` and `coords` (y, x).
        pos_color: colour of positive clicks.
        neg_color: colour of negative clicks.
        radius: of the disks, pixels.
    """
    result = img.copy()
    if mask is not None:
        tinted = mask > 0
        colours = get_palette(256)[mask[tinted].astype(np.uint8)]
        result[tinted] = (1 - alpha) * result[tinted] + alpha * colours
    clicks = list(clicks_list or ())
    for positive, colour in ((True, pos_color), (False, neg_color)):
        result = draw_points(result, [c.coords for c in clicks if bool(c.is_positive) == positive], colour, radius)
    return result


def get_palette(num_cls: int) -> np.ndarray:
    """PASCAL VOC's colours of labels 0 to num_cls - 1: uint8 (num_cls, 3) RGB; label 0 is black."""
    labels = np.arange(num_cls)
    palette = np.zeros((num_cls, 3), dtype=np.uint8)
    for bit in range(8):  # bits 0, 3, 6 ... of a label are the high bits of red, 1, 4, 7 ... of green, 2, 5 ... of blue
        for channel in range(3):
            palette[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette


SHEET_GAP = 6  # pixels between tiles
SHEET_HEADING = 26  # pixels for the columns' headings
PAPER = (250, 250, 250)
INK = (50, 50, 50)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], labels: Sequence[str] | None = None) -> np.ndarray:
    """Tiles in a grid on white paper, headings above the columns.

    Args:
        rows: rows of tiles, all uint8 (h, w, 3) RGB of one size; shorter rows end in blank paper.
        labels: headings of the columns.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        ValueError: there are no tiles, or they differ in size.
    """
    shapes = {tile.shape for row in rows for tile in row}
    if len(shapes) != 1:
        raise ValueError(f"a contact sheet needs tiles of one size, got {sorted(shapes) or 'none'}")
    (height, width, _), columns = shapes.pop(), max(len(row) for row in rows)
    top = SHEET_GAP + (SHEET_HEADING if labels else 0)
    sheet = np.full((top + len(rows) * (height + SHEET_GAP), SHEET_GAP + columns * (width + SHEET_GAP), 3), PAPER, "u1")
    for column, label in enumerate(labels or ()):
        centre = SHEET_GAP + column * (width + SHEET_GAP) + width // 2
        size = 0.5 * min(1, width / max(1, _text_width(label, 0.5, 1)))
        _write(sheet, label, (centre, top // 2 + 5), anchor=0.5, size=size)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            y, x = top + i * (height + SHEET_GAP), SHEET_GAP + j * (width + SHEET_GAP)
            sheet[y : y + height, x : x + width] = tile
    return sheet


def _write(
    image: np.ndarray,
    text: str,
    at: tuple[float, float],
    anchor: float = 0.0,
    size: float = 0.5,
    colour: Colour = INK,
    thickness: int = 1,
) -> None:
    """Text whose baseline is at (x, y), x being its left end (anchor 0), middle (0.5) or right end (1)."""
    left = int(at[0] - anchor * _text_width(text, size, thickness))
    cv2.putText(image, text, (left, int(at[1])), cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)


def _text_width(text: str, size: float, thickness: int) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)[0][0]


# ---------------------------------------------------------------------------------------------- boxes


def get_bbox_from_mask(mask: np.ndarray) -> Box:
    """The smallest box around the non-zero pixels of a mask (H, W).

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("an empty mask has no box")
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def expand_bbox(bbox: Box, ratio: float, min_crop_size: float | None = None) -> Box:
    """A box with the same centre and sides `ratio` times as long, at least min_crop_size pixels."""
    rmin, rmax, cmin, cmax = bbox
    return *_expand_side(rmin, rmax, ratio, min_crop_size), *_expand_side(cmin, cmax, ratio, min_crop_size)


def _expand_side(low: int, high: int, ratio: float, min_size: float | None) -> tuple[int, int]:
    size = max(ratio * (high - low + 1), min_size or 0)
    centre, half = (low + high) / 2, (size - 1) / 2
    return round(centre - half), round(centre + half)


def clamp_bbox(bbox: Box, rmin: int, rmax: int, cmin: int, cmax: int) -> Box:
    """The part of a box inside the given rows and columns."""
    return max(rmin, bbox[0]), min(rmax, bbox[1]), max(cmin, bbox[2]), min(cmax, bbox[3])


def get_bbox_iou(b1: Box, b2: Box) -> float:
    """How alike two boxes are: the IoU of their rows times the IoU of their columns, as RITM's zoom-in asks (2021)."""
    return get_segments_iou(b1[:2], b2[:2]) * get_segments_iou(b1[2:], b2[2:])


def get_segments_iou(s1: Sequence[int], s2: Sequence[int]) -> float:
    """Intersection over union of two inclusive ranges of pixels (low, high)."""
    (low1, high1), (low2, high2) = s1, s2
    intersection = max(0, min(high1, high2) - max(low1, low2) + 1)
    return intersection / (high1 - low1 + 1 + high2 - low2 + 1 - intersection)


# ---------------------------------------------------------------------------------------------- labels


def get_labels_with_sizes(x: np.ndarray) -> tuple[list[int], list[int]]:
    """The labels above 0 in a map of non-negative integers, ascending, and how many pixels each has."""
    counts = np.bincount(x.ravel())
    labels = np.flatnonzero(counts[1:]) + 1
    return labels.tolist(), counts[labels].tolist()


def get_dims_with_exclusion(dim: int, exclude: int | None = None) -> list[int]:
    """The axes 0 to dim - 1, without one."""
    return [axis for axis in range(dim) if axis != exclude]
