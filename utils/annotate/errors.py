"""Refusals that reach the person as one sentence on the page or in the terminal."""
from __future__ import annotations


class AnnotationError(ValueError):
    """Something that was asked for can't be done; the message is a sentence for the person who asked."""

    status = 400  # of the HTTP answer


class NotFoundError(AnnotationError):
    """There is no such picture, mask or file."""

    status = 404


class ConflictError(AnnotationError):
    """The change was made on an outdated view of the picture."""

    status = 409


class UnavailableError(AnnotationError):
    """It would be possible, but not now: no model, no room on the disk."""

    status = 503
