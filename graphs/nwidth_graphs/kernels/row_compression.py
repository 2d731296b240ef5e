"""Few rows in place of very many: rows come in blocks, and what is kept measures every combination of columns as they do.

    blocks G_1, G_2, ... (rows, E)    C <- diag(s) V^T of [C; G_b], its small singular values dropped    C (r, E),  r <= E

Rotating rows changes no norm, and what is dropped is orthogonal to what is kept, so that for every x

    ||C x||^2  <=  sum_b ||G_b x||^2  <=  ||C x||^2 + dropped^2 ||x||^2

which is all that least squares ask for. Two compressions merge like two blocks, in any tree.

Memory     (r + rows of a block) E numbers; never all rows
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix


@dataclass(frozen=True)
class CompressedRows:
    """Rows that stand for all that were seen."""

    rows: Floats
    """C (r, E), orthogonal to one another, largest first."""
    dropped: float = 0.0
    """Frobenius norm of all that was dropped."""
    squares: float = 0.0
    """Sum of the squares of all entries that were seen."""
    seen: int = 0
    """Rows that came in."""


def compress_rows(blocks: Iterable[Matrix], *, rtol: float = 0.0) -> CompressedRows:
    """Compress blocks of rows (rows, E), one after another.

    Parameters
    ----------
    rtol : float
        At most this share of the Frobenius norm of what was seen is dropped at each block; 0 drops rounding alone.

    Raises
    ------
    ValueError
        There is no block, blocks have different columns, or a value is not finite.
    """
    kept: CompressedRows | None = None
    for block in blocks:
        own = _compressed([block], np.array([0.0]), rtol, float(np.sum(np.square(block, dtype=np.float64))), block.shape[0])
        kept = own if kept is None else merge_compressed([kept, own], rtol=rtol)
    if kept is None:
        raise ValueError("no block of rows was given; give at least one")
    return kept


def merge_compressed(parts: Sequence[CompressedRows], *, rtol: float = 0.0) -> CompressedRows:
    """One compression for several; associative up to what is dropped, because ``C^T C`` adds up.

    Raises
    ------
    ValueError
        The parts have different columns.
    """
    dropped = np.array([part.dropped for part in parts])
    squares, seen = sum(part.squares for part in parts), sum(part.seen for part in parts)
    return _compressed([part.rows for part in parts], dropped, rtol, squares, seen)


def _compressed(blocks: Sequence[Matrix], dropped: Floats, rtol: float, squares: float, seen: int) -> CompressedRows:
    widths = {block.shape[1] for block in blocks}
    if len(widths) != 1:
        raise ValueError(f"blocks of rows with {sorted(widths)} columns were given; give rows of the same columns")
    M = np.concatenate([np.asarray(block, np.float64) for block in blocks])
    if not np.isfinite(squares):
        raise ValueError("a value is not finite; look for NaN or overflow in the rows")
    s, V = _right_factors(M)
    tails = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0))
    rounding = max(M.shape) * np.finfo(np.float64).eps * (s[0] if len(s) else 0.0)
    rank = int(np.sum((tails[:-1] > rtol * np.sqrt(squares)) & (s > rounding)))
    return CompressedRows(s[:rank, None] * V[:rank], float(np.hypot(tails[rank], np.linalg.norm(dropped))), squares, seen)


def _right_factors(M: Floats) -> tuple[Floats, Floats]:
    """Singular values and right vectors as rows; the long side goes through Q R first."""
    if M.shape[0] >= M.shape[1]:
        _, s, V = np.linalg.svd(np.linalg.qr(M, mode="r"), full_matrices=False)
        return s, V
    Q, R = np.linalg.qr(M.T)
    _, s, V = np.linalg.svd(R.T, full_matrices=False)
    return s, V @ Q.T
