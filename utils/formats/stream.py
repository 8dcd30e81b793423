"""Reads JSON files of annotations that may be larger than memory: large ones with ijson, where it is installed."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.files import UserError, format_size, read_json

SMALL = 50_000_000  # bytes of a file that is always read whole
MAX_IN_MEMORY = 500_000_000  # of one that is read whole where ijson is missing


def members(path: Path, *prefixes: str) -> Iterator[tuple[str, Any]]:
    """Values in the outermost object of a file, each with its prefix, prefix by prefix.

    Args:
        path: of the file.
        prefixes: as ijson writes them: "info" for the value of a key, "images.item" for each value of its list.

    Raises:
        UserError: the file is no JSON or is truncated, or is too large to be read without ijson.
    """
    ijson = _ijson_for(path)
    if ijson is None:
        content = read_json(path)
        for prefix in prefixes:
            key, _, item = prefix.partition(".")
            values = [content[key]] if isinstance(content, dict) and key in content else []
            found = values[0] if item and values and isinstance(values[0], list) else [] if item else values
            yield from ((prefix, each) for each in found)
        return
    try:
        for prefix in prefixes:
            with path.open("rb") as file:
                yield from ((prefix, each) for each in ijson.items(file, prefix, use_float=True))
    except (ijson.JSONError, ValueError) as error:
        raise UserError(f"{path} is no JSON that can be read ({error}); mend or replace it") from error


def _ijson_for(path: Path) -> ModuleType | None:
    """The package, if a file needs it."""
    size = path.stat().st_size
    try:
        import ijson
    except ImportError:
        if size > MAX_IN_MEMORY:
            raise UserError(f"{path} has {format_size(size)}, which takes several times that in memory: pip install "
                            "ijson reads it piece by piece") from None
        return None
    return ijson if size > SMALL else None
