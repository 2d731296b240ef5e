"""Matrices with known singular values and vectors, one snapshot at a time, at any size.

    X (n, m) = Q diag(s) V^T      Q: m columns of the orthonormal DCT,  V: a Haar-distributed orthogonal matrix

One inverse cosine transform makes one snapshot, and the transform of a computed mode gives its products with Q: neither X nor Q
is ever held. The constant cosine is left out, so that every snapshot has mean zero and methods that centre agree with those
that do not. The cosines are spread up to waves of `SHORTEST_WAVE` points: fields as smooth as a mesh resolves, which compress
about as simulations do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SEED = 20
SHORTEST_WAVE = 32


@dataclass(frozen=True)
class Matrix:
    """An (unknowns, snapshots) matrix with a geometric spectrum from 1 down to `smallest`, or a harmonic one: 1, 1/2, 1/3, ..."""

    unknowns: int
    snapshots: int
    dtype: str
    smallest: float = 1e-12
    decay: Literal["geometric", "harmonic"] = "geometric"

    @property
    def nbytes(self) -> int:
        return self.unknowns * self.snapshots * np.dtype(self.dtype).itemsize

    @cached_property
    def singular_values(self) -> Floats:
        # A scale at which the entries are of order one, as in fields of any sensible unit.
        shape = (
            np.geomspace(1.0, self.smallest, self.snapshots)
            if self.decay == "geometric"
            else 1.0 / np.arange(1, self.snapshots + 1)
        )
        return math.sqrt(self.unknowns) * shape

    @cached_property
    def right_vectors(self) -> Floats:
        """V (m, m); columns belong to singular values."""
        square = np.random.default_rng(SEED).standard_normal((self.snapshots, self.snapshots))
        factor, triangle = np.linalg.qr(square)
        return np.asarray(factor * np.sign(np.diag(triangle)))

    @cached_property
    def _cosines(self) -> NDArray[np.int64]:
        # Drawn, not evenly spaced: multiples of one frequency would repeat themselves, and compress like nothing real.
        highest = max(self.snapshots, 2 * self.unknowns // SHORTEST_WAVE)
        return 1 + np.random.default_rng(SEED).permutation(highest)[: self.snapshots]

    def columns(self) -> Iterator[NDArray[Any]]:
        """The snapshots, (unknowns,) each."""
        from scipy.fft import idct

        coefficients = np.zeros(self.unknowns)
        for row in self.right_vectors:
            coefficients[self._cosines] = self.singular_values * row
            yield idct(coefficients, norm="ortho").astype(self.dtype)

    def snapshot_rows(self) -> NDArray[Any]:
        """X^T (snapshots, unknowns) in memory, C-ordered: how snapshots are stored."""
        rows = np.empty((self.snapshots, self.unknowns), self.dtype)
        for row, column in zip(rows, self.columns(), strict=True):
            row[:] = column
        return rows

    def overlaps(self, mode: NDArray[Any]) -> Floats:
        """``Q^T mode``, (m,)."""
        from scipy.fft import dct

        return np.asarray(dct(np.asarray(mode, np.float64), norm="ortho")[self._cosines])


def write_store(matrix: Matrix, url: str, codec: str) -> None:
    """Write the matrix as the field ``u`` of a snapshot store, through our own ingestion path."""
    from nwidth.readers.protocol import FieldSpec, Run
    from nwidth.stores import create_store

    spec = FieldSpec("grid", ("x",), (matrix.unknowns,), np.dtype(matrix.dtype))
    run = Run({"u": spec}, np.arange(matrix.snapshots, dtype=float), lambda: ({"u": column} for column in matrix.columns()))
    store = create_store(url, options={"codec": codec})
    with store.append(run, simulation="benchmark", source_key="benchmark") as writer:
        for first, column in enumerate(matrix.columns()):
            writer.write(first, {"u": column[None]})
