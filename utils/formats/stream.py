"""Reads JSON files of annotations that may be larger than memory, with ijson where it is installed."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from utils.files import UserError, format_size, read_json

MAX_IN_MEMORY = 500_000_000  # bytes of a file that is read whole, where ijson is missing
MAX_DEPTH = 10_000  # brackets open at once: ijson's time grows with the square of it


def members(path: Path, *keys: str) -> Iterator[tuple[str, Any]]:
    """The members of the lists under some keys of the outermost object, each with its key.

    Raises:
        UserError: the file is no JSON or is truncated.
    """
    for key in keys:
        yield from ((key, value) for value in _found(path, key, "item"))


def value_of(path: Path, key: str) -> Any:
    """The value of a key of the outermost object, {} if it isn't there.

    Raises:
        UserError: the file is no JSON.
    """
    return next(_found(path, key), {})


def _found(path: Path, key: str, *below: str) -> Iterator[Any]:
    try:
        import ijson
    except ImportError:
        if path.stat().st_size > MAX_IN_MEMORY:
            raise UserError(f"{path} has {format_size(path.stat().st_size)}, which takes several times that in memory: "
                            "pip install ijson reads it piece by piece") from None
        content = read_json(path)
        value = content.get(key) if isinstance(content, dict) else None
        yield from (value if isinstance(value, list) else []) if below else [value] * (value is not None)
        return
    try:
        with path.open("rb") as file:
            yield from ijson.items(_Guarded(file), ".".join([key, *below]), use_float=True)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror})") from error
    except (ijson.JSONError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON that can be read ({error}); mend or replace it") from error


class _Guarded:
    """A file without its byte-order mark, refused where it is nested too deeply."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._depth = file, 0
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)

    def read(self, count: int = -1) -> bytes:
        block = self._file.read(count)
        self._depth += block.count(b"[") + block.count(b"{") - block.count(b"]") - block.count(b"}")
        if self._depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        return block
