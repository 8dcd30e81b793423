"""A cache that holds a bounded number of bytes."""
from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Keeps what was used last, as long as it all fits; the newest entry is kept in any case.

    Args:
        capacity: bytes.
        size: of a value in bytes.
    """

    def __init__(self, capacity: int, size: Callable[[Value], int]) -> None:
        self.capacity = capacity
        self.size = size
        self.held = 0
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of this key, made now if it isn't there."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        value = make()
        self.put(key, value)
        return value

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._entries

    def put(self, key: Hashable, value: Value) -> None:
        """Remembers a value, and forgets the ones that were not used for longest."""
        with self._lock:
            if key in self._entries:
                self.held -= self.size(self._entries.pop(key))
            self._entries[key] = value
            self.held += self.size(value)
            while self.held > self.capacity and len(self._entries) > 1:
                self.held -= self.size(self._entries.popitem(last=False)[1])

    def __len__(self) -> int:
        return len(self._entries)
