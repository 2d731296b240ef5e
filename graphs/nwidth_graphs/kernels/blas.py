"""Two routines of BLAS, in place and with the interpreter's lock released.

    C <- C + X^T X      dsyrk, the lower triangle alone
    X <- X R^-1         dtrsm

`scipy.linalg.blas` holds the interpreter's lock for as long as a product takes, so that the threads of one worker would wait for
each other; NumPy releases it, and makes a new matrix of every product. So the same routines are called by address, which
`scipy.linalg.cython_blas` publishes for compiled code; a call through `ctypes` releases the lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, cython_blas

Floats = NDArray[np.float64]

_WORD = np.dtype(np.float64).itemsize


def _routine(name: str) -> Callable[..., None] | None:
    """A subroutine of SciPy's BLAS as a function of addresses; None where its integers are not C's (64-bit ones)."""
    capsule = cython_blas.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = api.PyCapsule_GetName(capsule)
    kinds = [argument.strip() for argument in signature.decode().partition("(")[2].rstrip(")").split(",")]
    if not all(kind in ("char *", "int *") or kind.endswith("_d *") for kind in kinds):
        return None
    address = api.PyCapsule_GetPointer(capsule, signature)
    return ctypes.CFUNCTYPE(None, *([ctypes.c_void_p] * len(kinds)))(address)


_dsyrk, _dtrsm = _routine("dsyrk"), _routine("dtrsm")


def add_gram(panel: Floats, total: Floats) -> Floats:
    """Add ``X^T X`` of a panel (n, m) to the lower triangle of `total` (m, m), column-ordered, and return it.

    The panel may lie in either order, and be a part of a larger array, without a copy. (OpenBLAS takes 3 % less for the lower
    triangle than for the upper one.)
    """
    order, leading = _order(panel)
    if order is None:
        return add_gram(np.asfortranarray(panel), total)
    if _dsyrk is None:
        turned = panel.T if order == "C" else panel
        filled: Floats = blas.dsyrk(1.0, turned, 1.0, total, trans=order == "F", lower=True, overwrite_c=True)
        return filled
    rows, columns = panel.shape
    trans = b"T" if order == "F" else b"N"
    _call(_dsyrk, b"L", trans, columns, rows, 1.0, panel, leading, 1.0, total, max(1, columns))
    return total


def solve_right(panel: Floats, factor: Floats) -> Floats:
    """``X R^-1`` for upper triangular R (m, m), in new memory, in the order of the panel (n, m)."""
    upper = np.asfortranarray(factor)
    rows, columns = panel.shape
    if panel.flags.c_contiguous:  # R^T Y = X^T
        solved = np.array(panel, order="C")
        if _dtrsm is None:
            turned: Floats = blas.dtrsm(1.0, upper, solved.T, side=0, trans_a=1, overwrite_b=1).T
            return turned
        _call(_dtrsm, b"L", b"U", b"T", b"N", columns, rows, 1.0, upper, max(1, columns), solved, max(1, columns))
        return solved
    solved = np.array(panel, order="F")
    if _dtrsm is None:
        found: Floats = blas.dtrsm(1.0, upper, solved, side=1, overwrite_b=1)
        return found
    _call(_dtrsm, b"R", b"U", b"N", b"N", rows, columns, 1.0, upper, max(1, columns), solved, max(1, rows))
    return solved


def _order(panel: Floats) -> tuple[str | None, int]:
    """How a matrix lies in memory, and its leading dimension: ``"F"`` column by column, ``"C"`` row by row, None neither."""
    (rows, columns), (down, across) = panel.shape, panel.strides
    if down == _WORD and ((across >= max(1, rows) * _WORD and across % _WORD == 0) or columns <= 1):
        return "F", max(1, rows, across // _WORD)
    if across == _WORD and ((down >= max(1, columns) * _WORD and down % _WORD == 0) or rows <= 1):
        return "C", max(1, columns, down // _WORD)
    return None, 0


def _call(routine: Callable[..., None], *arguments: bytes | int | float | Floats) -> None:
    """Call with every argument by address, as Fortran wants them; they are kept alive until it is done."""
    held = [_held(argument) for argument in arguments]
    routine(*(argument.ctypes.data if isinstance(argument, np.ndarray) else ctypes.addressof(argument) for argument in held))


def _held(argument: bytes | int | float | Floats) -> Any:
    if isinstance(argument, np.ndarray):
        return argument
    if isinstance(argument, bytes):
        return ctypes.c_char(argument)
    return ctypes.c_int(argument) if isinstance(argument, int) else ctypes.c_double(argument)
