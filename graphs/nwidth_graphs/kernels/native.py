"""Routines of BLAS and LAPACK by address, with the interpreter's lock released.

They are those of the library that NumPy has loaded for its own products, or, where they are not to be found there, those that
`scipy.linalg.cython_blas` and `cython_lapack` publish for compiled code. (SciPy's linear algebra takes 28 MB and a quarter of a
second to import, and brings a BLAS of its own, with work space of its own.) `ctypes` releases the lock while a routine runs.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Argument = bytes | int | float | NDArray[Any]
Routine = Callable[..., None]

# How libraries that NumPy is built with name a Fortran routine: OpenBLAS of the wheels, with 64-bit integers, and plain ones.
_SPELLINGS = ("scipy_{}_64_", "{}_64_", "scipy_{}_", "{}_")
_PUBLISHED = ("scipy.linalg.cython_blas", "scipy.linalg.cython_lapack")


def call(name: str, *arguments: Argument) -> None:
    """Call with every argument by address, as Fortran wants them; they are kept alive until it is done.

    Of a letter Fortran compilers want the length, too, after all other arguments and by value.
    """
    held = [_held(argument) for argument in arguments]
    addresses = (argument.ctypes.data if isinstance(argument, np.ndarray) else ctypes.addressof(argument) for argument in held)
    lengths = [len(argument) for argument in arguments if isinstance(argument, bytes)]
    _routine(name, len(held), len(lengths))(*addresses, *lengths)


def integers(count: int) -> NDArray[np.int64]:
    """Zeroed memory for that many integers of a routine, whatever their size; see `first_integer`."""
    return np.zeros(count, np.int64)


def first_integer(memory: NDArray[np.int64]) -> int:
    """The first integer that a routine wrote, of 32 bits or of 64: the low half is all of it, for any size that occurs."""
    return int(memory.view(np.int32)[0])


@cache
def _routine(name: str, arguments: int, lengths: int) -> Routine:
    """A subroutine as a function of that many addresses and lengths."""
    address = _address_in_numpy(name) or _address_in_scipy(name)
    return ctypes.CFUNCTYPE(None, *([ctypes.c_void_p] * arguments), *([ctypes.c_size_t] * lengths))(address)


def _address_in_numpy(name: str) -> int | None:
    """Where the routine lies in the library that NumPy's linear algebra is linked to; None where that cannot be told."""
    module = getattr(np.linalg, "_umath_linalg", None)
    if module is None or sys.platform == "win32":  # where a library's symbols do not include those that it uses
        return None
    library = ctypes.CDLL(module.__file__)
    for spelling in _SPELLINGS:
        symbol = getattr(library, spelling.format(name), None)
        if symbol is not None:
            return ctypes.cast(symbol, ctypes.c_void_p).value
    return None


def _address_in_scipy(name: str) -> int:
    capsules = next(found for found in (import_module(module).__pyx_capi__ for module in _PUBLISHED) if name in found)
    capsule, api = capsules[name], ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address: int = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return address


def _held(argument: Argument) -> Any:
    if isinstance(argument, np.ndarray):
        return argument
    if isinstance(argument, bytes):
        return ctypes.c_char(argument)
    # Eight bytes, of which a library with 32-bit integers reads the first four: the low ones, wherever Python runs today.
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_double(argument)
