"""Two routines of BLAS, in place and with the interpreter's lock released.

    C <- C + X^T X      dsyrk, the lower triangle alone
    X <- X R^-1         dtrsm

`scipy.linalg.blas` holds the interpreter's lock for as long as a product takes, so that the threads of one worker would wait for
each other; NumPy releases it, and makes a new matrix of every product. So routines are called by address, through `ctypes`, which
releases the lock: those of the library that NumPy has loaded for its own products, or, where they are not to be found, those that
`scipy.linalg.cython_blas` publishes for compiled code. (SciPy's linear algebra takes 28 MB and a quarter of a second to import,
and brings a BLAS of its own, with work space of its own.)
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Routine = Callable[..., None]

_WORD = np.dtype(np.float64).itemsize

# How libraries that NumPy is built with name a Fortran routine: OpenBLAS of the wheels, with 64-bit integers, and plain ones.
_SPELLINGS = ("scipy_{}_64_", "{}_64_", "scipy_{}_", "{}_")


@cache
def _routine(name: str, arguments: int) -> Routine:
    """A subroutine of BLAS as a function of that many addresses."""
    address = _address_in_numpy(name) or _address_in_scipy(name)
    return ctypes.CFUNCTYPE(None, *([ctypes.c_void_p] * arguments))(address)


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
    from scipy.linalg import cython_blas

    capsule, api = cython_blas.__pyx_capi__[name], ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address: int = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return address


def add_gram(panel: Floats, total: Floats) -> Floats:
    """Add ``X^T X`` of a panel (n, m) to the lower triangle of `total` (m, m), column-ordered, and return it.

    The panel may lie in either order, and be a part of a larger array, without a copy. (OpenBLAS takes 3 % less for the lower
    triangle than for the upper one.)
    """
    order, leading = _order(panel)
    if order is None:
        return add_gram(np.asfortranarray(panel), total)
    rows, columns = panel.shape
    trans = b"T" if order == "F" else b"N"
    _call("dsyrk", b"L", trans, columns, rows, 1.0, panel, leading, 1.0, total, max(1, columns))
    return total


def solve_right(panel: Floats, factor: Floats) -> Floats:
    """``X R^-1`` for upper triangular R (m, m), in new memory, in the order of the panel (n, m)."""
    upper = np.asfortranarray(factor)
    rows, columns = panel.shape
    if panel.flags.c_contiguous:  # R^T Y = X^T
        solved = np.array(panel, order="C")
        _call("dtrsm", b"L", b"U", b"T", b"N", columns, rows, 1.0, upper, max(1, columns), solved, max(1, columns))
        return solved
    solved = np.array(panel, order="F")
    _call("dtrsm", b"R", b"U", b"N", b"N", rows, columns, 1.0, upper, max(1, columns), solved, max(1, rows))
    return solved


def _order(panel: Floats) -> tuple[str | None, int]:
    """How a matrix lies in memory, and its leading dimension: ``"F"`` column by column, ``"C"`` row by row, None neither."""
    (rows, columns), (down, across) = panel.shape, panel.strides
    if down == _WORD and ((across >= max(1, rows) * _WORD and across % _WORD == 0) or columns <= 1):
        return "F", max(1, rows, across // _WORD)
    if across == _WORD and ((down >= max(1, columns) * _WORD and down % _WORD == 0) or rows <= 1):
        return "C", max(1, columns, down // _WORD)
    return None, 0


def _call(name: str, *arguments: bytes | int | float | Floats) -> None:
    """Call with every argument by address, as Fortran wants them; they are kept alive until it is done."""
    held = [_held(argument) for argument in arguments]
    addresses = (argument.ctypes.data if isinstance(argument, np.ndarray) else ctypes.addressof(argument) for argument in held)
    _routine(name, len(held))(*addresses)


def _held(argument: bytes | int | float | Floats) -> Any:
    if isinstance(argument, np.ndarray):
        return argument
    if isinstance(argument, bytes):
        return ctypes.c_char(argument)
    # Eight bytes, of which a library with 32-bit integers reads the first four: the low ones, wherever Python runs today.
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_double(argument)
