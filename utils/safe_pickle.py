"""Reads the annotation pickles without trusting them: plain containers, numbers, strings and numpy arrays only.

A pickle is a small program, and `pickle.load` runs whatever function it names. Here every name is looked up in a short
table; numpy's own names lead to small stand-ins, because the real ones accept states that a file should not choose.
"""
from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

PLAIN_DTYPE = re.compile(r"[biufcSU]\d+")


class UnsafePickleError(pickle.UnpicklingError):
    """The pickle names something that annotations have no use for."""


def load_pickle(path: str | os.PathLike[str]) -> Any:
    """Reads an annotation pickle of any protocol, written by numpy 1 or 2.

    Raises:
        UnsafePickleError: the file wants something beyond containers, numbers, strings and numpy arrays; says what.
        pickle.UnpicklingError: the file is truncated or no pickle.
        OSError: the file can't be read.
    """
    with Path(path).open("rb") as file:
        try:
            return _AnnotationUnpickler(file).load()
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{path}: {error}") from None
        except OSError:
            raise
        except Exception as error:  # pickle documents that a damaged file may raise nearly anything
            raise pickle.UnpicklingError(f"{path} is truncated or no pickle of annotations ({error})") from error


class _DType:
    """What a pickled numpy.dtype becomes: its name and byte order, nothing a file could set beyond them."""

    def __init__(self, name: str, align: bool = False, copy: bool = True) -> None:
        if not PLAIN_DTYPE.fullmatch(name):
            raise UnsafePickleError(f"refused a numpy array of dtype {name!r}; only numbers and strings are read")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """What a pickled numpy.ndarray becomes: the array, with its dtype checked."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, dtype, is_fortran, raw = state
        super().__setstate__((version, shape, dtype.dtype, is_fortran, raw))


def _reconstruct(subtype: Any, shape: Any, dtype: Any) -> np.ndarray:
    return _Array((0,), np.int8)  # numpy too makes an empty array first, then gives it its state


def _frombuffer(raw: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: _DType, raw: bytes | str) -> np.generic:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype.dtype, count=1)[0]


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":
        raise UnsafePickleError(f"refused the text codec {codec!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset, complex)},
    ("__builtin__", "bytes"): _empty_bytes,  # protocols 0 to 2 spell bytes by these two
    ("_codecs", "encode"): _encode,
}


class _AnnotationUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise UnsafePickleError(
                f"refused {module}.{name}: annotations hold only plain containers, numbers, strings and numpy arrays"
            )
        return ADMITTED[module, name]
