"""What a user can draw on a picture (clicks, strokes, contours), and the simulated users who draw it.

    Click(True, (120, 80))                                  a point on the object; False for one off it
    Stroke(True, [(100, 60), (140, 95)], width=8)           a line along it
    Contour(True, [(90, 40), (90, 120), (160, 80)])         a closed line around it; what lies inside is meant
    Contour.box(90, 40, 160, 120)                           a box: a contour that is trusted less

Coordinates are (y, x) in pixels of the picture; the centre of the first pixel is (0, 0). `rasterize` draws them as the
maps that a network sees, in the pixels of any frame. The pictures of docs/interactions.jpg show one of each.
"""
from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Union

import cv2
import numpy as np

from utils.clicker import Click, Clicker
from utils.files import UserError
from utils.scribbles import STROKES, deepest_component, edge_distance, largest_component, loose_contour

Point = tuple[float, float]
KINDS = ("click", "stroke", "contour")
STROKE_WIDTH = 10 / 448  # SAIC-IS's, relative to the picture's longer side
BOX_TRUST = 0.5


class InteractionError(UserError, ValueError):
    """What was drawn can't be meant; the message says what is wrong with it and what to do."""


def _points(points: Iterable[Any], what: str, fewest: int) -> tuple[Point, ...]:
    try:
        plain = tuple((float(y), float(x)) for y, x in points)
    except (TypeError, ValueError):
        raise InteractionError(f"a {what} is a list of points (y, x), each of two numbers") from None
    if not np.isfinite(plain).all():
        raise InteractionError(f"a {what} has a point whose coordinates are no finite numbers")
    different = len(set(plain))
    if different < fewest:
        raise InteractionError(f"a {what} needs at least {fewest} different points, not {different}: draw it again")
    return plain


@dataclass(frozen=True)
class Stroke:
    """A line along the object (positive) or beside it.

    Args:
        is_positive: whether it lies on the object.
        points: (y, x) of its corners, two or more.
        width: of the line in pixels of the picture.

    Raises:
        InteractionError: fewer than two different points, a width of 0 or less, or numbers that are not finite.
    """

    is_positive: bool
    points: tuple[Point, ...]
    width: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_positive", bool(self.is_positive))
        object.__setattr__(self, "points", _points(self.points, "stroke", 2))
        object.__setattr__(self, "width", float(self.width))
        if not 0 < self.width < math.inf:
            raise InteractionError(f"a stroke of width {self.width:g} can't be seen: choose one above 0")


@dataclass(frozen=True)
class Contour:
    """A closed line; what lies inside is the object (positive) or is not.

    Args:
        is_positive: whether the inside is the object.
        points: (y, x) of its corners, three or more; the last one is joined to the first.
        trust: how much of the inside is meant, in (0, 1]: 1 for a contour, less for a box.

    Raises:
        InteractionError: fewer than three different points, no area, a line that crosses itself, or numbers that are
            not finite or out of range.
    """

    is_positive: bool
    points: tuple[Point, ...]
    trust: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_positive", bool(self.is_positive))
        object.__setattr__(self, "points", _points(self.points, "contour", 3))
        object.__setattr__(self, "trust", float(self.trust))
        if not 0 < self.trust <= 1:
            raise InteractionError(f"a contour's trust lies above 0 and is at most 1, not {self.trust:g}")
        corners = np.array(self.points)
        if _crosses_itself(corners):
            raise InteractionError("the contour crosses itself, so that its inside is not clear: draw it again")
        if abs(_area(corners)) < 0.5:
            raise InteractionError("the contour encloses nothing: draw it around an area, or use a stroke")

    @classmethod
    def box(cls, top: float, left: float, bottom: float, right: float, is_positive: bool = True) -> Contour:
        """A box, its corners' pixels included."""
        corners = ((top, left), (top, right), (bottom, right), (bottom, left))
        return cls(is_positive, corners, BOX_TRUST)


Interaction = Union[Click, Stroke, Contour]


def kind_of(interaction: Interaction) -> str:
    """One of KINDS."""
    return KINDS[(Click, Stroke, Contour).index(type(interaction))]


def _area(corners: np.ndarray) -> float:
    """Signed, by the shoelace formula; what a pixel covers beyond its centre is left out."""
    y, x = corners.T
    return float(np.dot(y, np.roll(x, -1)) - np.dot(x, np.roll(y, -1))) / 2


def _crosses_itself(corners: np.ndarray) -> bool:
    """Whether two sides of the closed line cross; touching is no crossing.

    Each side is compared with all others at once, so that a line of n corners costs n operations on arrays of n.
    """
    begins, ends = corners, np.roll(corners, -1, axis=0)

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        """On which side of the lines from p to q the points r lie: -1, 0 or 1."""
        (py, px), (qy, qx), (ry, rx) = p.T, q.T, r.T
        return np.sign((qy - py) * (rx - px) - (qx - px) * (ry - py))

    for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        others, theirs = begins[i + 1 :], ends[i + 1 :]
        apart = side(begin, end, others) * side(begin, end, theirs) < 0
        if (apart & (side(others, theirs, begin) * side(others, theirs, end) < 0)).any():
            return True
    return False


def check_inside(interactions: Iterable[Interaction], height: int, width: int) -> None:
    """Whether interactions can be meant for a picture of this size.

    Raises:
        InteractionError: a point lies outside the picture, or a stroke is wider than it.
    """
    for number, one in enumerate(interactions, 1):
        where = f"interaction {number}, a {kind_of(one)},"
        points = [one.coords] if isinstance(one, Click) else one.points
        for y, x in points:
            if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
                place = f"(y={y:g}, x={x:g})"
                raise InteractionError(f"{where} lies outside the picture of {height}x{width} pixels at {place}")
        if isinstance(one, Stroke) and one.width > max(height, width):
            raise InteractionError(f"{where} is {one.width:g} pixels wide, more than the picture of {height}x{width}")


def to_plain(interaction: Interaction) -> dict[str, Any]:
    """An interaction as JSON holds it, for logs: {"kind", "positive", "points", ...}."""
    points = [interaction.coords] if isinstance(interaction, Click) else interaction.points
    plain = {"kind": kind_of(interaction), "positive": interaction.is_positive, "points": [list(p) for p in points]}
    more = {name: getattr(interaction, name) for name in ("width", "trust") if hasattr(interaction, name)}
    return {**plain, **more}


def from_plain(plain: dict[str, Any]) -> Interaction:
    """The inverse of `to_plain`.

    Raises:
        InteractionError: a kind that is not known, or values that no such interaction has.
    """
    try:
        kind, is_positive, points = plain["kind"], plain["positive"], plain["points"]
    except (KeyError, TypeError):
        raise InteractionError("an interaction of a log has a kind, positive and points") from None
    if not isinstance(is_positive, bool):
        raise InteractionError(f"an interaction of a log is positive or not, true or false, and not {is_positive!r}")
    if kind == "stroke":
        return Stroke(is_positive, points, plain.get("width", Stroke.width))
    if kind == "contour":
        return Contour(is_positive, points, plain.get("trust", Contour.trust))
    if kind != "click":
        raise InteractionError(f"an interaction of kind {kind!r} is not known, only {', '.join(KINDS)}")
    y, x = _points(points, "click", 1)[0]
    return Click(is_positive, (round(y), round(x)))


# ---------------------------------------------------------------------------------------------- maps


class Frame(Protocol):
    """A box of the picture as a network sees it; solution.Frame is one."""

    @property
    def height(self) -> int:
        """Of the box, in pixels of the picture."""

    @property
    def width(self) -> int:
        """Likewise."""

    @property
    def out_height(self) -> int:
        """Of the network's input, in pixels."""

    @property
    def out_width(self) -> int:
        """Likewise."""

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2) of the picture in pixels of the input."""


class WholePicture(NamedTuple):
    """The frame of a picture's own pixels."""

    height: int
    width: int

    @property
    def out_height(self) -> int:  # noqa: D102
        return self.height

    @property
    def out_width(self) -> int:  # noqa: D102
        return self.width

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2), as they are."""
        return np.asarray(points, float).reshape(-1, 2)


THINNEST, WIDEST = 3.0, 15.0  # strokes on a map, in pixels of the input
SUBPIXEL = 4  # bits of OpenCV's coordinates behind the point


def rasterize(interactions: Iterable[Interaction], frame: Frame, disk_radius: float = 5.0) -> np.ndarray:
    """Draws interactions as a network sees them, in the pixels of a frame.

    Clicks are disks and strokes lines of the width that they have in the frame, but of 3 to 15 pixels; contours are
    filled with their trust.

    Args:
        interactions: in pixels of the picture.
        frame: WholePicture(height, width), or a box with a size of its own.
        disk_radius: of a click in pixels of the frame.

    Returns:
        float32 (6, out_height, out_width) in [0, 1]: positive and negative clicks, strokes, contours. Of contours that
        overlap, the later one counts.
    """
    maps = np.zeros((6, frame.out_height, frame.out_width), np.float32)
    scale = math.sqrt(frame.out_height * frame.out_width / (frame.height * frame.width))
    for one in interactions:
        place = 2 * KINDS.index(kind_of(one)) + (not one.is_positive)
        if isinstance(one, Click):
            _draw_disk(maps[place], frame.to_input(np.array([one.coords]))[0], disk_radius)
        elif isinstance(one, Stroke):
            _draw_line(maps[place], frame.to_input(np.array(one.points)), one.width * scale)
        else:
            inside = _inside(frame.to_input(np.array(one.points)), maps.shape[1:])
            maps[4:6, inside] = 0
            maps[place, inside] = one.trust
    return maps


def _draw_disk(target: np.ndarray, middle: np.ndarray, radius: float) -> None:
    dy2, dx2 = ((np.arange(length) - at) ** 2 for length, at in zip(target.shape, middle, strict=True))
    target[dy2[:, None] + dx2 <= radius**2] = 1


def _draw_line(target: np.ndarray, points: np.ndarray, width: float) -> None:
    """By the distance to a line a pixel wide: OpenCV's own thick lines are up to two pixels wider than asked for."""
    off = np.ones(target.shape, np.uint8)
    cv2.polylines(off, [np.rint(points[:, ::-1] * 2**SUBPIXEL).astype(np.int32)], False, 0, 1, cv2.LINE_8, SUBPIXEL)
    distance = cv2.distanceTransform(off, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    target[distance < min(max(width, THINNEST), WIDEST) / 2] = 1


def _inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.rint(points[:, ::-1] * 2**SUBPIXEL).astype(np.int32)], 1, cv2.LINE_8, SUBPIXEL)
    return canvas > 0


def as_clicks(interaction: Interaction, spacing: float) -> list[Click]:
    """Clicks that say nearly the same, for a model that knows nothing else.

    Args:
        interaction: a stroke becomes clicks along it, a contour one in the middle of its inside.
        spacing: between clicks along a stroke, in pixels of the picture; both ends are clicked.
    """
    if isinstance(interaction, Click):
        return [interaction]
    corners = np.array(interaction.points)
    if isinstance(interaction, Contour):
        corner = np.floor(corners.min(0)).astype(int)
        size = np.ceil(corners.max(0)).astype(int) - corner + 1
        distance = edge_distance(_inside(corners - corner, tuple(size)))
        y, x = np.unravel_index(int(distance.argmax()), distance.shape) + corner
        return [Click(interaction.is_positive, (int(y), int(x)))]
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1)))
    steps = np.linspace(0, along[-1], max(2, round(along[-1] / spacing) + 1))
    places = np.stack([np.rint(np.interp(steps, along, corners[:, axis])) for axis in (0, 1)], 1).astype(int)
    return [Click(interaction.is_positive, place) for place in dict.fromkeys(map(tuple, places.tolist()))]


# ---------------------------------------------------------------------------------------------- users who click

LoggedClick = tuple[int, int, bool]  # y, x, is_positive
SLIP = 5  # pixels that a click outside the error region may be away from it, at least


@dataclass(frozen=True)
class Noise:
    """How a noisy user differs from the exact one.

    Args:
        spread: standard deviation of a click about the exact one, as a part of the exact one's distance to the
            edge of the error region.
        outside: rate of clicks that miss the error region.
        wrong_sign: rate of clicks of the other sign.
    """

    spread: float = 0.0
    outside: float = 0.0
    wrong_sign: float = 0.0


class User(Protocol):
    """Clicks on one task; `clicker` is what the model is asked with."""

    clicker: Clicker

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""


class ExactUser:
    """The grader's: into the middle of the largest error (Sofiiuk et al., Reviving Iterative Training, 2022)."""

    def __init__(self, truth: np.ndarray) -> None:
        self.clicker = Clicker(gt_mask=truth)

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""
        self.clicker.make_next_click(mask)


class NoisyUser:
    """Clicks where the exact user would, but not quite; with no error left it clicks as the exact one does.

    Args:
        truth: (H, W) of 1, 0 and -1.
        noise: what goes wrong, and how often.
        seed: of the draws; the task's name makes them different from task to task and alike from model to model.
        task: name of the task.
    """

    def __init__(self, truth: np.ndarray, noise: Noise, seed: int, task: str) -> None:
        self.clicker = Clicker(gt_mask=truth)
        self._truth = truth
        self._noise = noise
        self._random = np.random.default_rng((seed, zlib.crc32(task.encode())))

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""
        exact = self._exact_click(mask)
        slips, flips = self._random.random(2) < (self._noise.outside, self._noise.wrong_sign)
        region = mask != (self._truth == 1)
        region &= self._truth == (1 if exact.is_positive else 0)
        y, x = (int(value) for value in exact.coords)
        if region[y, x]:
            y, x = self._miss(region, y, x) if slips else self._near(region, y, x)
        self.clicker.add_click(Click(exact.is_positive != flips, (y, x)))

    def _exact_click(self, mask: np.ndarray) -> Click:
        self.clicker.make_next_click(mask)
        click = self.clicker.get_clicks()[-1]
        self.clicker._remove_last_click()
        return click

    def _near(self, region: np.ndarray, y: int, x: int) -> tuple[int, int]:
        """A pixel of the region about (y, x), which has its largest distance to the edge."""
        sigma = self._noise.spread * edge_distance(region)[y, x]
        offsets = np.rint(self._random.normal(0, 1, size=(20, 2)) * sigma).astype(int)
        for row, column in offsets + (y, x):
            if 0 <= row < region.shape[0] and 0 <= column < region.shape[1] and region[row, column]:
                return int(row), int(column)
        return y, x

    def _miss(self, region: np.ndarray, y: int, x: int) -> tuple[int, int]:
        """A pixel outside the region, and as near to it as its middle is; (y, x) if there is none."""
        reach = max(SLIP, edge_distance(region)[y, x])
        distance = cv2.distanceTransform((~region).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        rows, columns = np.nonzero((distance > 0) & (distance <= reach) & (self._truth != -1))
        draw = self._random.random()
        if len(rows) == 0:
            return y, x
        chosen = int(draw * len(rows))
        return int(rows[chosen]), int(columns[chosen])


class ReplayUser:
    """Repeats the clicks of a log, whatever the model answers."""

    def __init__(self, clicks: Sequence[LoggedClick]) -> None:
        self.clicker = Clicker()
        self._left = iter(clicks)

    def click(self, mask: np.ndarray) -> None:
        """Adds the next click for a mask bool (H, W)."""
        y, x, is_positive = next(self._left)
        self.clicker.add_click(Click(is_positive, (y, x)))


# ---------------------------------------------------------------------------------------------- users who draw


def draw_stroke(
    rng: np.random.Generator, region: np.ndarray, is_positive: bool, style: str = "davis", width: float | None = None
) -> Stroke | None:
    """A stroke along a region bool (H, W), as one of STROKES draws it; None if the region is too small for one.

    Args:
        width: in pixels of the picture; SAIC-IS's (10 of 448) if left out.
    """
    lines = STROKES[style](rng, region) if region.any() else []
    if not lines or np.ptp(lines[0], axis=0).max() < 1:
        return None
    return Stroke(is_positive, tuple(map(tuple, lines[0])), width or STROKE_WIDTH * max(region.shape))


def draw_contour(rng: np.random.Generator, region: np.ndarray, is_positive: bool) -> Contour | None:
    """A contour about a region bool (H, W), as SAIC-IS draws them; None if the region is too small for one."""
    line = loose_contour(rng, region)
    if line is None or len(line) < 3:
        return None
    short = cv2.approxPolyDP(line.astype(np.float32)[:, None], 1.0, True)[:, 0].astype(float)
    for points in (short, line):
        try:
            return Contour(is_positive, tuple(map(tuple, points)))
        except InteractionError:  # an outline a pixel wide, or one that crosses itself once it is simplified
            continue
    return None


def next_drawing(
    rng: np.random.Generator, kind: str, truth: np.ndarray, mask: np.ndarray, style: str = "davis"
) -> Stroke | Contour | None:
    """The user's next stroke or contour for a mask; None where the error is too small for one.

    A stroke goes along the largest component of the larger error. A contour is drawn about the whole object if the
    mask is empty, else about the component of the deepest error.

    Args:
        kind: "stroke" or "contour".
        truth, mask: bool (H, W); truth may be of 1, 0 and -1, which is no error either way.
        style: of a stroke, one of STROKES.
    """
    missed, extra = (truth == 1) & ~mask, (truth == 0) & mask
    if kind == "contour":
        if not mask.any():
            return draw_contour(rng, missed, True)
        deepest = [edge_distance(region).max() for region in (missed, extra)]
        is_positive = bool(deepest[0] > deepest[1])
        region = missed if is_positive else extra
        return draw_contour(rng, deepest_component(region), is_positive) if region.any() else None
    is_positive = bool(np.count_nonzero(missed) > np.count_nonzero(extra))
    return draw_stroke(rng, largest_component(missed if is_positive else extra), is_positive, style)


class DrawingUser:
    """Draws a given kind of interaction at each step, and clicks exactly where an error is too small for it.

    Args:
        truth: (H, W) of 1, 0 and -1.
        kinds: of KINDS, one for each step; the last one repeats. SAIC-IS's protocol is three of them and then "click".
        style: of the strokes, one of STROKES.
        seed, task: of the draws, as for NoisyUser.

    Attributes:
        interactions: so far, in their order.
    """

    def __init__(
        self, truth: np.ndarray, kinds: Sequence[str], style: str = "davis", seed: int = 0, task: str = ""
    ) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds or style not in STROKES:
            known = f"{', '.join(KINDS)}; strokes of {', '.join(STROKES)}"
            raise InteractionError(f"no user draws {unknown or style or 'nothing'}: choose of {known}")
        self._truth, self._kinds, self._style = truth, tuple(kinds), style
        self._random = np.random.default_rng((seed, zlib.crc32(task.encode())))
        self._clicker = Clicker(gt_mask=truth)
        self.interactions: list[Interaction] = []

    def interact(self, mask: np.ndarray) -> Interaction:
        """Adds the next interaction for a mask bool (H, W), and returns it."""
        kind = self._kinds[min(len(self.interactions), len(self._kinds) - 1)]
        drawn = None if kind == "click" else next_drawing(self._random, kind, self._truth, mask, self._style)
        if drawn is None:
            self._clicker.make_next_click(mask)
        self.interactions.append(drawn or self._clicker.get_clicks()[-1])
        return self.interactions[-1]
