"""Reads what the page asks for, and refuses in a sentence what it can't mean. The limits stand here, once."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .document import Document, Settings, Step
from .errors import AnnotationError

Change = dict[str, Any]
Shape = tuple[int, int]  # (H, W)


@dataclass(frozen=True)
class Limit:
    """A number from low to high, both included."""

    low: float
    high: float
    is_whole: bool = False


POINTS = Limit(1, 20_000, is_whole=True)  # of a line
MAX_LENGTH = 500_000  # pixels of a line; a hand draws less, and one that crosses itself all over takes minutes to fill
RADIUS = Limit(0.5, 500)  # of the brush, in pixels
LABEL_LENGTH = Limit(1, 60, is_whole=True)
NOTE_LENGTH = Limit(0, 1000, is_whole=True)
PROPOSALS = Limit(1, 65_535, is_whole=True)  # accepted at once
SETTINGS = {  # of the model, see document.Settings; zoom_in is a flag
    "threshold": Limit(0.01, 0.99),
    "expand_ratio": Limit(1.0, 4.0),
    "working_size": Limit(64, 1024, is_whole=True),
}
REVIEWS = ("approved", "sent back", "open")


# ---------------------------------------------------------------------------------------------- values


def number(change: Change, name: str, limit: Limit) -> float:
    """A number within its limit, an int where it must be whole."""
    value = change.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not limit.low <= value <= limit.high:
        raise AnnotationError(f"{name} must be a number from {limit.low:g} to {limit.high:g}.")
    if limit.is_whole and value != int(value):
        raise AnnotationError(f"{name} must be a whole number.")
    return int(value) if limit.is_whole else value


def whole(change: Change, name: str, low: int, high: int) -> int:
    """A whole number."""
    return int(number(change, name, Limit(low, high, is_whole=True)))


def flag(change: Change, name: str) -> bool:
    """True or false."""
    if not isinstance(change.get(name), bool):
        raise AnnotationError(f"{name} must be true or false.")
    return change[name]


def label_name(name: Any) -> str:
    """The name of a class, in the spelling that people of its script use."""
    is_text = isinstance(name, str) and bool(name.strip())
    if not is_text or len(name.strip()) > LABEL_LENGTH.high or any(is_control(letter) for letter in name):
        raise AnnotationError(f"A label must be 1 to {LABEL_LENGTH.high} characters without control characters.",
                              "bad_label")
    return name.strip()


def is_control(letter: str) -> bool:
    """Whether a character breaks lines or can't be sent; joiners, which Persian and Hindi need, don't."""
    return letter < " " or "\x7f" <= letter <= "\x9f" or letter in "\u2028\u2029" or "\ud800" <= letter <= "\udfff"


def points(change: Change, shape: Shape, least: int) -> list[list[float]]:
    """A line of (y, x) near the picture."""
    given = change.get("points")
    if not isinstance(given, list) or not least <= len(given) <= POINTS.high:
        raise AnnotationError(f"A line needs {least} to {POINTS.high} points.", "needs_points", least=least)
    reach = 2.0 * max(shape)
    for point in given:
        is_pair = isinstance(point, list) and len(point) == 2
        if not is_pair or not all(type(value) in (int, float) and abs(value) <= reach for value in point):
            raise AnnotationError("A point of the line is not a pair of numbers near the picture.")
    if sum(map(math.dist, given[:-1], given[1:])) > MAX_LENGTH:
        raise AnnotationError(f"The line is longer than {MAX_LENGTH} pixels; draw it in several parts.", "long_line")
    return [[round(value, 2) for value in point] for point in given]


def settings(change: Change) -> dict[str, Any]:
    """Settings of the model, those that were given."""
    given = change.get("settings", {})
    if not isinstance(given, dict) or not set(given) <= set(Settings().__dict__):
        raise AnnotationError("The settings have names that this server doesn't know; reload the page.")
    read = {name: number(given, name, limit) for name, limit in SETTINGS.items() if name in given}
    return {**read, "zoom_in": flag(given, "zoom_in")} if "zoom_in" in given else read


def new_object(change: Change, document: Document) -> dict[str, Any]:
    """What a new object needs, if the step begins one."""
    return {} if document.active else {"label": label_name(change.get("label")), "settings": settings(change)}


def _existing(change: Change, document: Document) -> int:
    object_id = whole(change, "object", 1, document.next_id)
    if document.find(object_id) is None:
        raise AnnotationError("This object doesn't exist any more.", "no_object")
    return object_id


def _need_active(document: Document, purpose: str) -> None:
    if document.active is None:
        raise AnnotationError(f"There is no object in work to {purpose}; click on one first.", "no_work")


# ---------------------------------------------------------------------------------------------- operations
# Each gives the fields of a step, still without the masks that it leads to.


def read_click(change: Change, document: Document, shape: Shape) -> Step:
    """A click on a pixel of the picture."""
    y, x = (whole(change, name, 0, side - 1) for name, side in zip("yx", shape, strict=True))
    is_on_proposal = document.active is None and change.get("proposal") is not None
    proposal = {"proposal": _proposal(change, document.settled)} if is_on_proposal else {}
    return {"y": y, "x": x, "positive": flag(change, "positive"), **new_object(change, document), **proposal}


def _need_inside(line: list[list[float]], shape: Shape) -> None:
    if not any(-0.5 <= y <= shape[0] - 0.5 and -0.5 <= x <= shape[1] - 0.5 for y, x in line):
        raise AnnotationError("All of it lies outside the picture.", "outside")


def read_stroke(change: Change, document: Document, shape: Shape) -> Step:
    """A line on the object or off it."""
    line = points(change, shape, least=1)
    _need_inside(line, shape)
    return {"points": line, "positive": flag(change, "positive"), **new_object(change, document)}


def read_lasso(change: Change, document: Document, shape: Shape) -> Step:
    """A loose contour round the object, or round what is none of it."""
    line = points(change, shape, least=3)
    _need_area(line, shape, "A lasso")
    is_positive = flag(change, "positive") if "positive" in change else True
    return {"points": line, "positive": is_positive, **new_object(change, document)}


def read_box(change: Change, document: Document, shape: Shape) -> Step:
    """A box with the object inside; corners in any order."""
    given = change.get("box")
    if not isinstance(given, list) or len(given) != 4:
        raise AnnotationError("A box has four numbers: top, left, bottom and right.")
    corners = points({"points": [given[:2], given[2:]]}, shape, least=2)
    _need_area(corners, shape, "A box")
    low, high = ([pick(along) for along in zip(*corners, strict=True)] for pick in (min, max))
    return {"box": [*low, *high], **new_object(change, document)}


def _need_area(line: list[list[float]], shape: Shape, name: str) -> None:
    for along, side in zip(zip(*line, strict=True), shape, strict=True):
        if min(max(along), side - 0.5) - max(min(along), -0.5) < 1:
            raise AnnotationError(f"{name} needs at least a pixel of the picture on each side.")


def read_delete_prompt(change: Change, document: Document, shape: Shape) -> Step:
    """The number of a prompt of the object in work."""
    _need_active(document, "delete a click of")
    count = len(document.work.prompts)
    if count == 0:
        raise AnnotationError("The object has no clicks to delete.")
    return {"index": whole(change, "index", 0, count - 1)}


def read_clear(change: Change, document: Document, shape: Shape) -> Step:
    """Nothing but an object in work is needed."""
    _need_active(document, "clear")
    return {}


def read_brush(change: Change, document: Document, shape: Shape) -> Step:
    """The way of the brush."""
    return {
        "adds": flag(change, "adds"),
        "radius": number(change, "radius", RADIUS),
        "points": points(change, shape, least=1),
        **new_object(change, document),
    }


def read_region(change: Change, document: Document, shape: Shape) -> Step:
    """A polygon."""
    adds, line = flag(change, "adds"), points(change, shape, least=3)
    return {"adds": adds, "points": line, **new_object(change, document)}


def _proposal(change: Change, settled: set[int]) -> int:
    chosen = whole(change, "proposal", 0, 2**31)
    if chosen in settled:
        raise AnnotationError("This proposal has been taken already, or rejected.", "taken_proposal")
    return chosen


def read_take_proposal(change: Change, document: Document, shape: Shape) -> Step:
    """A proposal that hasn't been taken."""
    chosen = _proposal(change, document.settled)
    return {"proposal": chosen, "label": label_name(change.get("label")), "settings": settings(change)}


def read_accept_proposals(change: Change, document: Document, shape: Shape) -> Step:
    """Several of them, each once."""
    proposals = [{"proposal": chosen} for chosen in _several(change, document)]
    return {"label": label_name(change.get("label")), "proposals": proposals}


def read_reject_proposals(change: Change, document: Document, shape: Shape) -> Step:
    """Several of them, each once."""
    return {"rejected": _several(change, document)}


def _several(change: Change, document: Document) -> list[int]:
    numbers, settled = change.get("proposals"), document.settled
    if not isinstance(numbers, list) or not PROPOSALS.low <= len(numbers) <= PROPOSALS.high:
        raise AnnotationError("There are no proposals to accept or reject.")
    chosen = [_proposal({"proposal": each}, settled) for each in numbers]
    if len(set(chosen)) < len(chosen):
        raise AnnotationError("A proposal can be accepted or rejected once only.")
    return chosen


def read_nothing(change: Change, document: Document, shape: Shape) -> Step:
    """For steps that are in session files only."""
    raise AnnotationError("Objects are imported by the command `python -m utils.annotate import`.")


def read_settings(change: Change, document: Document, shape: Shape) -> Step:
    """Settings for the object in work."""
    _need_active(document, "change the settings of")
    return {"settings": settings(change)}


def read_protect(change: Change, document: Document, shape: Shape) -> Step:
    """On or off."""
    return {"on": flag(change, "on")}


def read_relabel(change: Change, document: Document, shape: Shape) -> Step:
    """A class for an object; the one in work if none is named."""
    if "object" in change:
        return {"object": _existing(change, document), "label": label_name(change.get("label"))}
    _need_active(document, "label")
    return {"object": document.work.id, "label": label_name(change.get("label"))}


def read_finish(change: Change, document: Document, shape: Shape) -> Step:
    """Nothing but an object in work with pixels is needed."""
    _need_active(document, "finish")
    if document.work.mask is None:
        raise AnnotationError("The object in work has no pixels yet; click on it, or clear it.", "no_pixels")
    return {}


def read_object(change: Change, document: Document, shape: Shape) -> Step:
    """An object that exists."""
    return {"object": _existing(change, document)}


def read_mark(change: Change, document: Document, shape: Shape) -> Step:
    """Done or not."""
    return {"done": flag(change, "done")}


def read_review(change: Change, document: Document, shape: Shape) -> Step:
    """What the reviewer says."""
    state, note = change.get("state"), change.get("note", "")
    if state not in REVIEWS:
        raise AnnotationError(f"The review must be one of {', '.join(REVIEWS)}.")
    if not isinstance(note, str) or len(note) > NOTE_LENGTH.high or any(is_control(c) and c != "\n" for c in note):
        raise AnnotationError(f"A note must be text of at most {NOTE_LENGTH.high} characters.")
    return {"state": state, "note": note}
