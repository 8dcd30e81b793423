"""What every kind of annotation becomes: tasks, a reader that makes a picture of each, and a plan of them all."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.files import UserError, digest, shown_name
from utils.formats.photos import Photo, framed_photo
from utils.formats.regions import Region
from utils.formats.shapes import NoOutlineError, Size
from utils.images import Frame

OWN_IDS = 9 * 10**11  # photos that are not COCO's are numbered from here on, far above COCO's ids
BOXES = "annotations have a box and no outline and were left out"
EMPTY = "annotations have no pixel in their photo and were left out"
NO_AREA = "points and lines, which have no area, were left out"


@dataclass(frozen=True)
class Task:
    """A picture to convert; light, because it travels between processes.

    Attributes:
        image_id: 12 digits, its name in the split.
        source: its name among the inputs, which stays when others come or go.
        photo: its file; None if the content holds it.
        content: everything else that the result depends on, files or bytes.
    """

    image_id: str
    source: str
    photo: Path | None
    content: tuple[Any, ...] = ()

    def read_photo(self, size: Size | None = None, frame: Frame | None = None, content: bytes = b"") -> Photo:
        """The photo in the frame of masks of a size (H, W), see framed_photo; from `content` if it has no file."""
        return framed_photo(self.photo or content, str(self.photo or shown_name(self.source)), size, frame)


@dataclass
class Picture:
    """A photo, and what is found in it.

    Attributes:
        photo: as training reads it.
        source: its name among the inputs.
        stuff_names: labels of regions that are stuff (sky, grass: nobody's parts).
        problems: a sentence for each annotation that was lost.
        counts: {what was done, in words: how often}, as {"crowd regions were left out": 3}.
    """

    photo: Photo
    source: str
    stuff_names: Collection[str] = ()
    license_id: int | None = None
    objects: list[Region] = field(default_factory=list)
    stuff: list[Region] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def region(self, name: str, mask: np.ndarray) -> list[Region]:
        """The region of a mask bool (H, W); none if it is empty, which is counted."""
        region = Region.of(name, mask)
        self.counts.update([] if region else [EMPTY])
        return [region] if region else []

    def add(self, name: str, mask: np.ndarray) -> None:
        """Adds an object, or stuff by its name."""
        (self.stuff if name in self.stuff_names else self.objects).extend(self.region(name, mask))

    @contextmanager
    def lost_alone(self, what: str) -> Iterator[None]:
        """An annotation that can't be read in here is lost, and named as `what`, but not its photo."""
        try:
            yield
        except NoOutlineError:
            self.counts[BOXES] += 1
        except (UserError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            is_sentence = isinstance(error, (UserError, ValueError))
            reason = error if is_sentence else f"{type(error).__name__}: {error}"
            self.problems.append(f"{shown_name(self.source)}: {what} was left out: {reason}")


@dataclass(frozen=True)
class Reader:
    """Makes Pictures of tasks; picklable. Its fields are the settings that results depend on.

    Attributes:
        kind: of annotations.
    """

    kind: ClassVar[str] = ""

    @property
    def settings(self) -> dict[str, Any]:
        """What results depend on beside the tasks."""
        return {"command": f"convert {self.kind}", **asdict(self)}

    def __call__(self, task: Any) -> Picture:
        """The picture of a task.

        Raises:
            UserError: it can't be read.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Plan:
    """What to convert.

    Attributes:
        tasks: one for each photo.
        reader: makes their Pictures.
        problems: a sentence for each input that no task stands for.
        notes: what else to say.
        load: fetches what a task needs from this process, right before it is sent to another one.
    """

    tasks: Sequence[Task]
    reader: Reader
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    load: Callable[[Any], Task] = lambda task: task


def tasks_of(root: Path, pictures: Sequence[Path], contents: Mapping[Path, Sequence[Path]]) -> list[Task]:
    """A task for each picture below a folder that has content (its annotation's files), named by its path there."""
    names = {path: path.relative_to(root).as_posix() for path in pictures}
    ids = own_ids(names.values())
    return [Task(ids[names[path]], names[path], path, tuple(content)) for path, content in sorted(contents.items())]


def own_ids(names: Iterable[str]) -> dict[str, str]:
    """Twelve digits for each name, which no photo of COCO has, and which stay when other names come or go."""
    ids: dict[str, str] = {}
    used: set[int] = set()
    for name in sorted(names):
        number = OWN_IDS + int(name_digest(name), 16) % 10**11
        while number in used:
            number += 1
        used.add(number)
        ids[name] = str(number)
    return ids


def name_digest(name: str) -> str:
    """Hexadecimal digits by which a name alone decides."""
    return digest(name.encode("utf-8", "surrogateescape"))
