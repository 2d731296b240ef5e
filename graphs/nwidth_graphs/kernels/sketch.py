"""Random sketches of the snapshots: what one visit of a block adds to the image of a test matrix, and what the image tells.

    X (n, m) block,  Om (m, r) test matrix
    Y = X Om              (n, r)   samples of the range
    Z = X^T W Y           (m, r)   summed over blocks: the image of Om under the Gram matrix C = S^T W S, half a power step
    d = diag(X^T W X)     (m,)     summed over blocks: squared norms of the snapshots, and with them the trace of C

One visit does all three, where ``S Om`` and ``S^T Q`` would be two reads of the data. The Nystrom approximation
``C ~ Z (Om^T Z)^+ Z^T`` then gives singular values and right vectors of the snapshots projected on the range of Y, and

    trace C - trace(Z (Om^T Z)^+ Z^T)  =  || S - Pi_Y S ||^2      exactly: a sample's error is measured as it is drawn

Cost    4 n m r flops, one read
Floor   Z holds squares: directions below ``3 sqrt(eps) s_1`` are not found (as in a Gram matrix)
Sources range finder and power steps, Halko, Martinsson and Tropp 2011; Nystrom with a shift, Tropp, Yurtsever, Udell and Cevher
        2017; the trace identity, Gittens and Mahoney 2013
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.gram import EPS
from nwidth_graphs.kernels.mass import COLUMNS, Patch
from nwidth_graphs.kernels.namespace import array_namespace, is_numpy_array
from nwidth_graphs.kernels.panels import PANEL_ROWS, Array, memory_for, widened

Floats = NDArray[np.float64]

# Columns that a panel is widened to float64, or centred, at once: 2048 x 512 are 8 MiB. Fewer snapshots are widened once, more of
# them twice (for Y, and again for Z, which needs the whole of Y), so that scratch does not grow with their number.
WINDOW_COLUMNS = 512
# Rows of the test matrix that are drawn from one counter: a prefix of a longer matrix is the same numbers.
DRAWN_ROWS = 4096
_STREAM = 0x5EED


def gaussian(seed: int, rows: int, columns: int, first_column: int = 0) -> Floats:
    """Independent standard normal numbers (rows, columns), each a function of the seed and of its own row and column alone.

    Philox is counted from (column, block of `DRAWN_ROWS` rows), so that neither the chunking of the data, nor the number of
    workers, nor how many columns were drawn before changes a number. Salmon, Moraes, Dror and Shaw 2011.
    """
    drawn = np.empty((rows, columns))
    for column in range(columns):
        for block, start in enumerate(range(0, rows, DRAWN_ROWS)):
            counter = np.array([0, 0, block, first_column + column], np.uint64)
            generator = np.random.Generator(np.random.Philox(key=np.array([seed, _STREAM], np.uint64), counter=counter))
            drawn[start : start + DRAWN_ROWS, column] = generator.standard_normal(DRAWN_ROWS)[: rows - start]
    return drawn


def orthonormal_test(seed: int, rows: int, columns: int) -> Floats:
    """An orthonormal basis (rows, columns) of the span of Gaussian vectors: uniformly distributed, and perfectly conditioned."""
    return np.asarray(np.linalg.qr(gaussian(seed, rows, columns))[0])


def enlarged(vectors: Floats, seed: int, columns: int, first_column: int) -> Floats:
    """``[V, orth((I - V V^T) G)]`` with fresh Gaussian columns G: the sample grows, and what was found is kept.

    `vectors` (m, k) are orthonormal; the result (m, k + columns), too.
    """
    fresh = gaussian(seed, len(vectors), columns, first_column)
    for _ in range(2):  # once leaves eps |G| / |(I - V V^T) G| of V behind; twice is enough (Kahan, Parlett)
        fresh = np.linalg.qr(fresh - vectors @ (vectors.T @ fresh))[0]
    return np.concatenate([vectors, fresh], axis=1)


@dataclass(frozen=True)
class SketchSums:
    """What one block adds; sums of blocks are sums of fields."""

    image: Array
    """``Z^T`` (r, m): rows, because the products run twice as fast that way."""
    squares: Array
    """d (m,)."""


def merge_sketch_sums(parts: Sequence[SketchSums]) -> SketchSums:
    """Add the sums of disjoint blocks (``[X1; X2]^T W [X1; X2] Om`` is a sum), in the order given."""
    first, *others = parts
    for part in others:
        first = SketchSums(first.image + part.image, first.squares + part.squares)
    return first


def power_step(
    block: Array, test: Array, *, centre: bool = False, row_scale: Array | None = None, keep: bool = False
) -> tuple[Array | None, SketchSums]:
    """Return ``Y^T`` (r, n), where it is to be kept, and the `SketchSums` of one block, with W diagonal.

    Parameters
    ----------
    block : (n, m) array of any real dtype
    test : (m, r) float64 array
        Om.
    centre : bool
        Subtract the row means first.
    row_scale : (n,) array, optional
        ``sqrt(diag W)``; Y itself is not weighted.
    """
    xp = array_namespace(block)
    (rows, columns), rank = block.shape, test.shape[1]
    transposed = xp.asarray(xp.matrix_transpose(test), copy=True)
    samples = xp.empty((rank, rows), dtype=xp.float64) if keep else None
    image, squares = xp.zeros((rank, columns), dtype=xp.float64), xp.zeros(columns, dtype=xp.float64)
    memory = None if block.dtype == xp.float64 else memory_for(block, PANEL_ROWS, WINDOW_COLUMNS)
    copied = memory is not None or centre or row_scale is not None or block.dtype != xp.float64
    for start in range(0, rows, PANEL_ROWS):
        part = slice(start, min(start + PANEL_ROWS, rows))
        # Where nothing is copied, there is nothing to bound.
        panel = _Panel(block[part, :], centre, WINDOW_COLUMNS if copied else columns, memory)
        weights = None if row_scale is None else xp.asarray(row_scale[part], dtype=xp.float64) ** 2
        sampled = None
        for window, values in panel.windows():
            columns_of = xp.matrix_transpose(values)
            product = xp.matmul(transposed[:, window], columns_of)
            sampled = product if sampled is None else sampled + product
            weighed = columns_of if weights is None else columns_of * weights[None, :]
            squares[window] = squares[window] + xp.vecdot(weighed, columns_of)  # here, where the product has just read them
        if samples is not None:
            samples[:, part] = sampled
        weighted = sampled if weights is None else sampled * weights[None, :]
        for window, values in panel.windows():
            _add_product(image[:, window], weighted, values, first=start == 0)
    return samples, SketchSums(image, squares)


def _add_product(total: Array, left: Array, right: Array, *, first: bool) -> None:
    """``total <- total + left right``; the `first` product is made where it stays, which a wide image of few rows is glad of."""
    if first and is_numpy_array(total):
        np.matmul(left, right, out=total)
    else:
        total[...] = total + array_namespace(left).matmul(left, right)


class _Panel:
    """Some rows, centred and widened to float64 by windows of columns; a single window is widened once.

    Where there is `memory`, it holds one window at a time.
    """

    def __init__(self, rows: Array, centre: bool, columns: int = WINDOW_COLUMNS, memory: Array | None = None) -> None:
        xp = array_namespace(rows)
        self._rows, self._mean, self._memory = rows, None, memory
        snapshots = rows.shape[1]
        self._windows = [slice(start, min(start + columns, snapshots)) for start in range(0, snapshots, columns)]
        if centre:
            self._mean = sum(xp.sum(self._widened(window), axis=1, keepdims=True) for window in self._windows) / snapshots
        self._whole = self._widened(self._windows[0]) if len(self._windows) == 1 else None

    def windows(self) -> Iterator[tuple[slice, Array]]:
        """(columns, values (rows, columns)), in order; each is valid until the next."""
        for window in self._windows:
            yield window, self._widened(window) if self._whole is None else self._whole

    def _widened(self, window: slice) -> Array:
        values = widened(self._rows[:, window], self._memory)
        return values if self._mean is None else values - self._mean


def mass_power_step(
    block: Array, test: Array, patch: Patch, *, centre: bool = False, keep: bool = False
) -> tuple[Array | None, SketchSums]:
    """The same in the inner product of the elements within the block: ``Z = X^T M_b X Om``."""
    (rows, columns), rank = block.shape, test.shape[1]
    panel = _Panel(block, centre, COLUMNS)
    samples = np.zeros((rank, rows))
    for window, values in panel.windows():
        samples += test[window].T @ values.T
    weighted = (patch.matrix @ samples.T).T
    image, squares = np.zeros((rank, columns)), np.zeros(columns)
    for window, values in panel.windows():
        image[:, window] = weighted @ values
        squares[window] = np.einsum("ij,ij->j", values, patch.matrix @ values)
    return samples if keep else None, SketchSums(image, squares)


def nystrom_spectrum(test: Floats, image: Floats) -> tuple[Floats, Floats]:
    """Singular values (k,) and right vectors (m, k) of the snapshots projected on ``range(S Om)``, k <= r.

    ``C ~ Z (Om^T Z)^+ Z^T = V diag(s^2) V^T`` depends on the range of Om alone, so Om is made orthonormal first; then it is
    ``(Z + nu Om)(Om^T (Z + nu Om))^-1/2`` with the shift ``nu = sqrt(m) eps |Z|`` taken off again: without it the core is
    singular where the snapshots are.

    Parameters
    ----------
    test : (m, r) float64 array
        Om, of full rank.
    image : (m, r) float64 array
        ``Z = C Om``.
    """
    test, factor = np.linalg.qr(test)
    image = np.linalg.solve(factor.T, image.T).T
    norm = float(np.linalg.norm(image))
    shift = math.sqrt(len(test)) * EPS * norm
    if shift == 0.0:
        return np.zeros(0), np.zeros((len(test), 0))
    shifted = image + shift * test
    core = test.T @ shifted
    values, rotation = np.linalg.eigh((core + core.T) / 2.0)
    kept = values > shift / 2.0  # all of them, but for rounding
    left, root, _ = np.linalg.svd(shifted @ (rotation[:, kept] / np.sqrt(values[kept])), full_matrices=False)
    squares = root**2 - shift
    found = squares > 0.0
    return np.sqrt(squares[found]), left[:, found]


@dataclass(frozen=True)
class SampledSvd:
    """The snapshots projected on the span of their samples, ``Pi_Y S = (Y T) diag(s) V^T`` with ``(Y T)^T W (Y T) = I``."""

    singular_values: Floats
    """s (k,), descending."""
    rotation: Floats
    """T (r, k)."""
    right: Floats
    """V (m, k)."""


def sampled_svd(overlap: Floats, coefficients: Floats) -> SampledSvd:
    """SVD of ``Pi_Y S`` from what was summed of Y, of which nothing else is needed.

    With ``G = D (U L U^T) D``, D the norms of the samples: ``Y D^-1 U L^-1/2`` is orthonormal, and its products with S are known
    from B. Samples of very different norms (Ritz vectors) thus cost no digits; directions that rounding made are left out.

    Parameters
    ----------
    overlap : (r, r) float64 array
        ``G = Y^T W Y``.
    coefficients : (r, m) float64 array
        ``B = Y^T W S``.
    """
    norms = np.sqrt(np.maximum(np.diagonal(overlap), 0.0))
    used = norms > EPS * norms.max(initial=0.0)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=used)
    values, vectors = np.linalg.eigh(scale[:, None] * (overlap + overlap.T) * (scale / 2.0))
    sound = values > len(values) * EPS * values.max(initial=0.0)
    whitening = scale[:, None] * vectors[:, sound] / np.sqrt(values[sound])
    rotation, singular_values, right = np.linalg.svd(whitening.T @ coefficients, full_matrices=False)
    return SampledSvd(singular_values, whitening @ rotation, right.T)


def next_sample(tails: Floats, rtol: float, most: int, oversampling: int = 0) -> int:
    """How many columns the next sample takes: where a straight line through log(tail) against rank meets the tolerance.

    Parameters
    ----------
    tails : (r + 1,) array
        Relative errors of the first k directions found, k = 0..r; the last one is the error of the whole sample.
    rtol : the error that is wanted, below ``tails[-1]``
    most : ``min(n, m)``, or the largest rank allowed
    oversampling : columns beyond the line, because fresh columns find less than as many of the best directions

    A step is at least 5 % of `most` (a read costs more than columns) and at most 25 % of it, or as many again: a line is a guess.
    """
    found = len(tails) - 1
    half = found // 2
    slope = (math.log(tails[half]) - math.log(tails[found])) / (found - half) if tails[found] < tails[half] else 0.0
    # A tenth more than the line says, because a read that falls short by little costs as much as any.
    guess = 1.1 * (math.log(tails[found]) - math.log(rtol)) / slope if slope > 0.0 else math.inf
    step = min(max(guess, 0.05 * most, 1.0), max(0.25 * most, float(found)))
    return min(most, found + math.ceil(step) + oversampling)
