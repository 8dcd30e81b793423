"""What a concept model proposes on one picture. It is kept as it was shown, so that a number never changes its mask."""
from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.files import UserError, read_json, write_json

from .. import masks

FIRST_NUMBER = 100_000  # those below are values of label maps, see proposals.py
MOST_OBJECTS = 200  # of a label on a picture
SMALLEST_PART = 0.02  # of the largest component; smaller ones are specks


@dataclass(frozen=True)
class Guess:
    """One proposed object.

    Attributes:
        number: of the proposal, for this picture never used for another one.
        label: the key of its class.
        sure: see folder.Mark.
        box: (top, left, bottom, right), the last two beyond it.
        png: its mask inside the box.
    """

    number: int
    label: str
    sure: float
    box: tuple[int, int, int, int]
    png: str

    def part(self) -> np.ndarray:
        """The mask inside the box, bool (bottom - top, right - left)."""
        content = masks.decode_map(base64.b64decode(self.png))
        assert content is not None
        return content > 0


@dataclass(frozen=True)
class Opinion:
    """What a label's model says of the whole picture: its digest, how sure it is, and whether the gate hides it."""

    model: str
    sure: float
    is_hidden: bool = False
    is_separate: bool = False


@dataclass(frozen=True)
class Guesses:
    """All proposals of a picture, by number, and the opinions that they come from, by label.

    Attributes:
        next_number: for proposals that replace these.
    """

    objects: Mapping[int, Guess] = field(default_factory=dict)
    opinions: Mapping[str, Opinion] = field(default_factory=dict)
    next_number: int = FIRST_NUMBER

    @cached_property
    def visible(self) -> tuple[int, ...]:
        """The numbers of the proposals that the gate lets through."""
        return tuple(number for number, guess in self.objects.items() if not self.opinions[guess.label].is_hidden)

    @property
    def hidden(self) -> int:
        """How many it doesn't."""
        return len(self.objects) - len(self.visible)

    def union(self, label: str, shape: tuple[int, int]) -> np.ndarray:
        """The pixels of all proposals of a label, bool (H, W)."""
        found = np.zeros(shape, bool)
        for guess in self.objects.values():
            if guess.label == label:
                top, left, bottom, right = guess.box
                found[top:bottom, left:right] |= guess.part()
        return found


def guesses_from(found: Mapping[str, tuple[np.ndarray, Opinion]], first: int) -> Guesses:
    """Proposals numbered from `first`, of the masks bool (H, W) that models make of a picture, by label."""
    objects: dict[int, Guess] = {}
    for label, (mask, opinion) in found.items():
        for box, part in _components(mask) if opinion.is_separate else _whole(mask):
            png = base64.b64encode(masks.encode_mask(part)).decode()
            number = first + len(objects)
            objects[number] = Guess(number, label, opinion.sure, box, png)
    return Guesses(objects, {label: opinion for label, (_, opinion) in found.items()}, first + len(objects))


def _whole(mask: np.ndarray) -> Iterable[tuple[tuple[int, int, int, int], np.ndarray]]:
    box = masks.bounding_box(mask)
    return [] if box is None else [(box, mask[box[0] : box[2], box[1] : box[3]])]


def _components(mask: np.ndarray) -> Iterable[tuple[tuple[int, int, int, int], np.ndarray]]:
    """The connected components, the largest first, without specks."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    for number in 1 + np.argsort(-areas, kind="stable")[:MOST_OBJECTS] if count > 1 else ():
        left, top, width, height, area = stats[number].tolist()
        if area >= SMALLEST_PART * areas.max():
            box = top, left, top + height, left + width
            yield box, labels[box[0] : box[2], box[1] : box[3]] == number


# ---------------------------------------------------------------------------------------------- the file


def write_guesses(path: Path, guesses: Guesses) -> None:
    """Keeps what is shown on a picture."""
    opinions = {label: asdict(opinion) for label, opinion in guesses.opinions.items()}
    write_json(path, {"next_number": guesses.next_number, "opinions": opinions,
                      "objects": [asdict(guess) for guess in guesses.objects.values()]})


def read_guesses(path: Path) -> Guesses | None:
    """What was shown on a picture; None if nothing was, or the file is damaged."""
    try:
        content: dict[str, Any] = read_json(path)
        objects = [Guess(**{**guess, "box": tuple(guess["box"])}) for guess in content["objects"]]
        opinions = {label: Opinion(**opinion) for label, opinion in content["opinions"].items()}
        return Guesses({guess.number: guess for guess in objects}, opinions, content["next_number"])
    except (UserError, KeyError, TypeError, AttributeError):
        return None
