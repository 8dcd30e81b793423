"""Reads JSON files larger than memory: member by member, each with its place in the file.

LVIS's training annotations are a JSON file of more than a gigabyte, several times that as Python objects. Here one pass
notes where each member lies, and what a photo needs is read again from there.
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from utils.prepare.files import PrepareError

CHUNK = 1 << 20  # bytes read at a time
DECODER = json.JSONDecoder()
BLANKS = " \t\r\n"
ENDS = frozenset(BLANKS + ",:]}")  # what may follow a value
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Member(NamedTuple):
    """A value of the outermost object, or a member of an array there, and where it lies in the file (bytes)."""

    key: str
    value: Any
    start: int
    length: int


def members(path: Path) -> Iterator[Member]:
    """The members of a JSON object, in the file's order; those of an array in it come one by one under its key.

    Raises:
        PrepareError: the file is no JSON, is truncated, or its outermost value is no object.
    """
    try:
        with path.open("rb") as file:
            yield from _Scanner(file).members()
    except OSError as error:
        raise PrepareError(f"{path} can't be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise PrepareError(f"{path} is no JSON of annotations or is truncated ({error}); fetch it again") from error


def read_member(file: BinaryIO, start: int, length: int) -> Any:
    """The value that lies at this place of an open file."""
    file.seek(start)
    return _loads(file.read(length))


def _loads(content: bytes) -> Any:
    return json.loads(content.decode("utf-8", "surrogateescape"))  # file names may be of any bytes


class _Scanner:
    """A window that moves over the file; its text is decoded as Latin-1, where each character is one byte."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.text = ""
        self.at = 0  # position in the text
        self.base = 0  # position of the text in the file
        self.ended = False
        if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK:
            self.base = len(BYTE_ORDER_MARK)
        file.seek(self.base)

    def members(self) -> Iterator[Member]:
        self._take("{")
        for _ in self._until("}"):
            key = self._value("").value
            if not isinstance(key, str):
                raise ValueError(f"expected a name at byte {self.base + self.at}")
            self._take(":")
            if self._next() == "[":
                self._take("[")
                yield from (self._value(key) for _ in self._until("]"))
            else:
                yield self._value(key)
        if self._next():
            raise ValueError(f"something follows the end at byte {self.base + self.at}")

    def _until(self, end: str) -> Iterator[None]:
        """Steps to each member in turn: takes the commas between them and the closing bracket."""
        if self._next() != end:
            yield
            while self._next() == ",":
                self._take(",")
                yield
        self._take(end)

    def _next(self) -> str:
        """The next character that is not blank; "" at the file's end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in BLANKS:
                self.at += 1
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._read_on()

    def _take(self, expected: str) -> None:
        if self._next() != expected:
            raise ValueError(f"expected {expected!r} at byte {self.base + self.at}")
        self.at += 1

    def _value(self, key: str) -> Member:
        self._next()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except ValueError:
                if self.ended:
                    raise
            else:
                # a number at the window's edge may go on behind it: "0." is read as 0, then a point
                if self.ended or self.text[end : end + 1] in ENDS:
                    break
            self._read_on()
        raw, start = self.text[self.at : end], self.base + self.at
        self.at = end
        return Member(key, value if raw.isascii() else _loads(raw.encode("latin-1")), start, len(raw))

    def _read_on(self) -> None:
        """Forgets what was read and reads on, as much again as there is, so that long values cost linear time."""
        rest = self.text[self.at :]
        more = self.file.read(max(CHUNK, len(rest)))
        self.base += self.at
        self.text, self.at, self.ended = rest + more.decode("latin-1"), 0, not more
