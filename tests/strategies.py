"""Hypothesis strategies: matrices of known spectrum, ways to cut them into chunks, dtypes, components.

`snapshot_cases` draws all together: every chunking of one matrix must give the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.oracles.pod import matrix_with_spectrum

Spectrum = Literal["flat", "algebraic", "exponential", "cliff"]
Chunks = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class SnapshotCase:
    """One drawn matrix with the truth about it."""

    matrix: NDArray[Any]  # (n, m) of `dtype`
    singular_values: NDArray[np.float64]  # (min(n, m),) exact before rounding to `dtype`, zeros included
    chunks: Chunks  # Dask's form: row cuts, column cuts
    components: int  # n is a multiple of it: rows are node by node
    seed: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    @property
    def fields(self) -> NDArray[Any]:
        """The same numbers as a store keeps them: ``(snapshot, node, component)``, or ``(snapshot, node)`` for one component."""
        n, m = self.matrix.shape
        shape = (m, n) if self.components == 1 else (m, n // self.components, self.components)
        return np.ascontiguousarray(self.matrix.T).reshape(shape)

    def __repr__(self) -> str:
        return (
            f"SnapshotCase(shape={self.matrix.shape}, dtype={self.dtype}, chunks={self.chunks}, components={self.components}, "
            f"singular_values={self.singular_values}, seed={self.seed})"
        )


def splits(length: int, max_parts: int = 6) -> st.SearchStrategy[tuple[int, ...]]:
    """Ways to cut ``range(length)`` into at most `max_parts` non-empty pieces, given as Dask's chunk tuple."""
    if length == 0:
        return st.just((0,))
    cuts = st.sets(st.integers(1, length - 1), max_size=max_parts - 1) if length > 1 else st.just(set())
    return cuts.map(lambda places: tuple(int(part) for part in np.diff([0, *sorted(places), length])))


def chunkings(shape: tuple[int, int], max_parts: int = 6) -> st.SearchStrategy[Chunks]:
    """Ways to cut a matrix both ways; single-row and single-column chunks included."""
    return st.tuples(splits(shape[0], max_parts), splits(shape[1], max_parts))


def dtypes() -> st.SearchStrategy[np.dtype[Any]]:
    return st.sampled_from([np.dtype("float64"), np.dtype("float32")])


@st.composite
def spectra(draw: st.DrawFn, length: int, decades: float = 12.0) -> NDArray[np.float64]:
    """Descending singular values of one of four shapes, over at most `decades` decades, the first between 1e-3 and 1e3."""
    kind: Spectrum = draw(st.sampled_from(("flat", "algebraic", "exponential", "cliff")))
    scale = 10.0 ** draw(st.integers(-3, 3))
    index = np.arange(length)
    if kind == "flat":
        return np.full(length, scale)
    if kind == "algebraic":
        return np.asarray(scale * (1.0 + index) ** -float(draw(st.integers(1, 3))))
    span = draw(st.floats(1.0, decades))
    if kind == "exponential":
        return np.asarray(scale * 10.0 ** (-span * index / max(length - 1, 1)))
    rank = draw(st.integers(1, length))  # a cliff: beyond it the matrix is exactly deficient
    return np.where(index < rank, scale / (1.0 + index), 0.0)


@st.composite
def snapshot_cases(
    draw: st.DrawFn,
    *,
    max_rows: int = 120,
    max_columns: int = 24,
    max_components: int = 3,
    decades: float = 12.0,
    dtype: Any = None,
    tall: bool = False,
) -> SnapshotCase:
    """Draw matrix, dtype, components and chunking; more columns than rows happens unless `tall`."""
    components = draw(st.integers(1, max_components))
    columns = draw(st.integers(1, max_columns))
    fewest = -(-columns // components) if tall else 1
    rows = components * draw(st.integers(fewest, max(fewest, max_rows // components)))
    values = draw(spectra(min(rows, columns), decades))
    seed = draw(st.integers(0, 2**32 - 1))
    kind = draw(dtypes()) if dtype is None else np.dtype(dtype)
    matrix = matrix_with_spectrum(rows, columns, values, seed).astype(kind)
    return SnapshotCase(matrix, values, draw(chunkings((rows, columns))), components, seed)
