"""Sine dissimilarity: the sine of the angle between the lines that two snapshots span.

    c = <u, v> / (|u| |v|),    delta(u, v) = sqrt(1 - c^2) = min_a |u - a v| / |u|

It *is* the relative projection error of one snapshot on the other: symmetric, blind to amplitude and sign, and the spectral
distance of the projectors ``uu'/|u|^2`` and ``vv'/|v|^2``, hence a metric on lines.

Everything acts on coordinates X (N, m): m snapshots as columns in one orthonormal frame (the factor R, or coefficients in a
basis).

    unit columns  ->  product of a panel of rows  ->  1 - c^2, clipped, root, in place  ->  close pairs anew  ->  mirrored

Floor   ``1 - c^2`` cancels: angles below ``sqrt(2u)`` (1.5e-8 in float64, 3.5e-4 in float32) would be noise. Pairs below
        `CLOSE` times that are formed anew from differences in float64, and are right down to 1e-15.
Zeros   a zero snapshot spans no line: by convention it is at 1 from every other and at 0 from other zero snapshots.
Cost    N m^2 flops (one triangle), m^2 numbers and nothing else of that size
Source  T. Daniel, F. Casenave, N. Akkari, D. Ryckelynck, Physics-informed cluster analysis and a priori efficiency criterion for
        the construction of local reduced-order bases (2021), arXiv:2103.13683, for the name
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float64]
Matrix = NDArray[Any]
"""A real matrix of float64 or float32."""

# At this many times sqrt(2u) the clipped formula still has two digits: its relative error is about 2u / delta^2 = 1 / 256.
CLOSE = 16.0
# Rows of the matrix at a time: with 10 000 columns in float32, 10 MB that are squared, subtracted and rooted in cache.
PANEL = 256
# Numbers in the differences that are held at once where single pairs are formed anew.
PAIR_ENTRIES = 2**21


def unit_columns(X: Matrix) -> tuple[Floats, Floats]:
    """Columns divided by their norms, and the norms: ``(N, m), (m,)`` float64; a zero column stays zero.

    Norms are formed of columns scaled by their largest entry, so neither 1e-200 nor 1e200 is lost in a square.

    Raises
    ------
    ValueError
        A coordinate is not finite.
    """
    X = np.asarray(X, np.float64)
    largest = np.max(np.abs(X), axis=0, initial=0.0)
    if not np.isfinite(largest).all():
        column = int(np.flatnonzero(~np.isfinite(largest))[0])
        raise ValueError(f"column {column} of the coordinates holds a value that is not finite; leave that snapshot out")
    scaled = X / np.where(largest > 0.0, largest, 1.0)
    lengths = np.sqrt(np.einsum("ij,ij->j", scaled, scaled))
    return scaled / np.where(lengths > 0.0, lengths, 1.0), largest * lengths


def sine(X: Matrix, *, dtype: DTypeLike = np.float64) -> Matrix:
    """All dissimilarities ``D (m, m)`` of the columns of X (N, m), symmetric to the bit, with a zero diagonal.

    In float32 the matrix takes half the memory and half the time; entries that are not close are off by at most
    ``(N + 2) 2^-24 / delta``, 2e-6 in practice.

    Raises
    ------
    ValueError
        A coordinate is not finite.
    """
    unit, _ = unit_columns(X)
    columns = unit.shape[1]
    rounded = unit.astype(dtype, copy=False)
    D = np.empty((columns, columns), dtype)
    for start in range(0, columns, PANEL):
        stop = min(start + PANEL, columns)
        _fill(D[start:stop, start:], unit, rounded, start, first_column=start)
        _mirror(D, start, stop)
    return D


def sine_rows(X: Matrix, start: int, stop: int, *, dtype: DTypeLike = np.float64) -> Matrix:
    """Rows start to stop of `sine`, ``(stop - start, m)``: what one task of a distributed assembly makes.

    Equal to those of `sine` up to the rounding of the product, which depends on how rows are grouped.
    """
    unit, _ = unit_columns(X)
    rounded = unit.astype(dtype, copy=False)
    rows = np.empty((stop - start, unit.shape[1]), dtype)
    for first in range(start, stop, PANEL):
        _fill(rows[first - start : min(first + PANEL, stop) - start], unit, rounded, first, first_column=0)
    return rows


def sine_between(X: Matrix, Y: Matrix) -> Floats:
    """Dissimilarities (m, k) of the columns of X (N, m) to those of Y (N, k), close pairs formed anew."""
    x, x_norms = unit_columns(X)
    y, y_norms = unit_columns(Y)
    cosines = x.T @ y
    D = _sine_of_cosine(cosines)
    i, j = np.nonzero(close_limit(np.float64) > D)
    for part in _parts(len(i), x.shape[0]):
        signs = np.sign(cosines[i[part], j[part]])
        D[i[part], j[part]] = _sine_of_gap(np.sum((x[:, i[part]] - signs * y[:, j[part]]) ** 2, axis=0))
    D[np.ix_(x_norms == 0.0, y_norms == 0.0)] = 0.0
    return D


def sine_of_gram(G: Matrix) -> Floats:
    """D (m, m) from a Gram matrix ``G = X'X``, clipped: what a Gram matrix cannot resolve, angles below 3e-8, is noise.

    Raises
    ------
    ValueError
        The diagonal holds a number that is negative or not finite.
    """
    squares = np.asarray(np.diagonal(G), np.float64)
    if not (np.isfinite(squares).all() and (squares >= 0.0).all()):
        raise ValueError("the diagonal of the Gram matrix holds a number that is negative or not finite; leave that snapshot out")
    norms = np.sqrt(squares)
    scale = np.where(norms > 0.0, norms, 1.0)
    D = _sine_of_cosine(G / scale[:, None] / scale)
    D[np.ix_(norms == 0.0, norms == 0.0)] = 0.0
    np.fill_diagonal(D, 0.0)
    return D


def close_limit(dtype: DTypeLike) -> float:
    """Angles below ``16 sqrt(2u)`` are formed anew: 2.4e-7 in float64, 5.5e-3 in float32."""
    return CLOSE * math.sqrt(float(np.finfo(np.dtype(dtype)).eps))


def _fill(panel: Matrix, unit: Floats, rounded: Matrix, first_row: int, first_column: int) -> None:
    """Write the dissimilarities of the columns from `first_row` on, as many as `panel` has rows, to those from `first_column`."""
    rows = np.arange(panel.shape[0])
    own = first_row - first_column + rows  # where the diagonal lies in the panel
    np.matmul(rounded[:, first_row : first_row + len(rows)].T, rounded[:, first_column:], out=panel)
    _sine_in_place(panel)
    panel[rows, own] = 0.0
    zero = ~unit.any(axis=0)
    if zero.any():
        panel[np.ix_(zero[first_row : first_row + len(rows)], zero[first_column:])] = 0.0
    _resolve(panel, unit[:, first_column:], own)


def _sine_in_place(cosines: Matrix) -> None:
    np.multiply(cosines, cosines, out=cosines)
    np.subtract(1.0, cosines, out=cosines)
    np.maximum(cosines, 0.0, out=cosines)
    np.sqrt(cosines, out=cosines)


def _sine_of_cosine(cosines: Matrix) -> Floats:
    return np.asarray(np.sqrt(np.maximum(1.0 - np.square(np.asarray(cosines, np.float64)), 0.0)))


def _sine_of_gap(squares: Floats) -> Floats:
    """``sin`` from ``q = |u - sign v|^2 = 2 (1 - |c|)`` of unit vectors: ``sin^2 = (1 - |c|) (1 + |c|) = q (1 - q/4)``."""
    return np.asarray(np.sqrt(np.maximum(squares * (1.0 - squares / 4.0), 0.0)))


def _resolve(panel: Matrix, unit: Floats, own: NDArray[np.int64]) -> None:
    """Form close pairs of a panel anew, group by group.

    Around a row a, all columns J within twice the limit are given as differences ``d_j = +-u_j - u_a``, which subtraction gives
    without loss. Then ``|u_i -+ u_j|^2 = |d_i - d_j|^2`` for all pairs from one product, with an error of ``u |d|^2``: the
    floor falls from ``sqrt(2u)`` to its square. Rows within the limit of a are done with it: what is close to them lies in J.
    """
    limit = close_limit(panel.dtype)
    waiting = np.count_nonzero(panel < limit, axis=1) > 1  # one is the row itself
    zero = ~unit.any(axis=0)
    waiting &= ~zero[own]
    while waiting.any():
        anchor = int(np.argmax(waiting))
        near = np.flatnonzero(panel[anchor] < 2.0 * limit)
        rows = np.flatnonzero((panel[:, own[anchor]] < limit) & waiting)
        line = unit[:, own[anchor]]
        to_columns, to_rows = _differences(unit[:, near], line), _differences(unit[:, own[rows]], line)
        squares = np.sum(to_rows**2, axis=0)[:, None] + np.sum(to_columns**2, axis=0) - 2.0 * (to_rows.T @ to_columns)
        panel[np.ix_(rows, near)] = _sine_of_gap(np.maximum(squares, 0.0))
        panel[rows, own[rows]] = 0.0
        waiting[rows] = False


def _differences(unit: Floats, line: Floats) -> Floats:
    """``sign(<u, line>) u - line`` of every column."""
    return np.asarray(np.where(line @ unit < 0.0, -1.0, 1.0) * unit - line[:, None])


def _mirror(D: Matrix, start: int, stop: int) -> None:
    """Copy rows start to stop of the upper triangle below the diagonal, square by square: a long transpose misses the cache."""
    square = D[start:stop, start:stop]
    square[:] = np.triu(square) + np.triu(square, 1).T
    for first in range(stop, D.shape[0], PANEL):
        D[first : first + PANEL, start:stop] = D[start:stop, first : first + PANEL].T


def _parts(length: int, numbers: int) -> list[slice]:
    step = max(1, PAIR_ENTRIES // max(numbers, 1))
    return [slice(start, start + step) for start in range(0, length, step)]
