"""All eigenvalues of a large symmetric matrix, and as many of its leading eigenvectors as are wanted once those are known.

    A = Q T Q^T      T tridiagonal, Q as reflectors in the place of A      4/3 m^3 flops
    T = Z diag(w) Z^T                                                      values O(m^2); k leading columns of Z O(k m)
    V = Q Z                                                                2 m^2 k flops

`numpy.linalg.eigh` makes all m vectors, and holds five matrices for them: at 5000 snapshots twice the time of what a basis of 50
modes needs, and 1 GB. Which routines: dsytrd, dsterf (values, by QR without roots), dstemr (few vectors, by relatively robust
representations, Dhillon and Parlett 2004), dstedc (many, by divide and conquer), dormtr.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.native import call, first_integer, integers

Floats = NDArray[np.float64]

# Columns of the panels in which reflectors are found and applied; any number is right, and this one is LAPACK's largest.
_PANEL = 64
_PANEL_FACTOR = 65 * 64
# Of more vectors than this share divide and conquer makes all of them sooner, and more nearly orthogonal.
_FEW = 0.25


class Tridiagonal:
    """The tridiagonal form of a symmetric matrix.

    Parameters
    ----------
    matrix : (m, m) float64 array
        Finite; one triangle of it is read, and none of it changed.

    Raises
    ------
    numpy.linalg.LinAlgError
        The eigenvalues do not converge (nobody has seen it happen).
    """

    def __init__(self, matrix: Floats) -> None:
        self._size = size = len(matrix)
        # A copy in rows is the transpose of one in columns: as good, of a symmetric matrix.
        self._reflectors = matrix.copy(order="K" if matrix.flags.forc else "F")
        self._diagonal, self._beside, self._scalars = np.empty(size), np.zeros(size), np.empty(size)
        work, info = np.empty(_PANEL * size), integers(1)
        call(
            "dsytrd", b"L", size, self._reflectors, size, self._diagonal, self._beside, self._scalars, work, len(work), info
        )  # fmt: skip
        self.values = self._diagonal.copy()
        """(m,), ascending."""
        call("dsterf", size, self.values, self._beside.copy(), info)
        if first_integer(info) != 0:
            raise np.linalg.LinAlgError("the eigenvalues of a tridiagonal matrix did not converge")

    def leading(self, count: int) -> Floats:
        """Orthonormal eigenvectors (m, count) of the largest eigenvalues, in the order of `values`."""
        if count == 0:
            return np.empty((self._size, 0))
        vectors = self._few(count) if count <= _FEW * self._size else None
        vectors = self._of_all(count) if vectors is None else vectors
        work, info = np.empty(_PANEL * count + _PANEL_FACTOR), integers(1)
        call(
            "dormtr", b"L", b"L", b"N", self._size, count, self._reflectors, self._size, self._scalars,
            vectors, self._size, work, len(work), info,
        )  # fmt: skip
        return vectors

    def _few(self, count: int) -> Floats | None:
        """Leading vectors of T, or None where the representations fail."""
        size = self._size
        vectors, values = np.zeros((size, count), order="F"), np.empty(size)
        work, places = np.empty(18 * size), integers(10 * size)
        found, info = integers(1), integers(1)
        call(
            "dstemr", b"V", b"I", size, self._diagonal.copy(), self._beside.copy(), 0.0, 0.0, size - count + 1, size,
            found, values, vectors, size, count, integers(2 * count), integers(1), work, len(work),
            places, len(places), info,
        )  # fmt: skip
        return vectors if first_integer(info) == 0 and first_integer(found) == count else None

    def _of_all(self, count: int) -> Floats:
        """The same from all vectors of T."""
        size = self._size
        vectors = np.zeros((size, size), order="F")
        work, places, info = np.empty(1 + 4 * size + size**2), integers(3 + 5 * size), integers(1)
        call(
            "dstedc", b"I", size, self._diagonal.copy(), self._beside.copy(), vectors, size, work, len(work),
            places, len(places), info,
        )  # fmt: skip
        if first_integer(info) != 0:
            raise np.linalg.LinAlgError("the eigenvectors of a tridiagonal matrix did not converge")
        return vectors[:, size - count :]
