"""Refusals that reach the person as one sentence on the page or in the terminal."""
from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from utils.files import UserError


class AnnotationError(UserError):
    """Something that was asked for can't be done; the message is a sentence for the person who asked.

    Args:
        sentence: for the person.
        code: of the sentence, by which the page finds it in other languages.
        values: what the sentence names, as text or numbers that can be sent.
    """

    status = 400  # of the HTTP answer
    retry = False  # whether the same request may succeed later

    def __init__(self, sentence: str, code: str = "", **values: Any) -> None:
        super().__init__(sentence)
        self.code = code
        self.values = values

    def body(self) -> dict[str, Any]:
        """For the page."""
        return {"error": str(self), "code": self.code, "values": self.values, "retry": self.retry}


class NotFoundError(AnnotationError):
    """There is no such picture, mask or file."""

    status = 404


class ConflictError(AnnotationError):
    """The change was made on an outdated view of the picture."""

    status = 409


class UnreadableError(AnnotationError):
    """A picture or its session can't be read; the others can."""

    status = 422


class NoModelError(AnnotationError):
    """It would take the model, and there is none."""

    status = 424


class UnavailableError(AnnotationError):
    """It would be possible, but not now: no room on the disk. The same request may be sent again."""

    status = 503
    retry = True


@contextlib.contextmanager
def saving(what: str) -> Iterator[None]:
    """Turns an error of the disk into a sentence: nothing was changed, and it may be tried again."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        sentence = f"{what} could not be saved: {error.strerror or error}. Nothing was changed."
        code = "disk_full" if is_full else "cannot_save"
        raise UnavailableError(sentence, code, reason=str(error.strerror)) from error
