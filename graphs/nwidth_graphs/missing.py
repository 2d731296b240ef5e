"""Unknowns outside of the domain: rows that are NaN in every snapshot (land, solid, an inactive cell), found by the leaf.

    block (rows, m) ──first snapshot NaN?──> candidates ──NaN in all snapshots?──> masked rows: they weigh nothing
                                                     └──NaN in some only───────> left as they are: a bad value, named later

The masked rows of a block are set to zero, so that every reduction, inner product and sum of the certificate sees the valid
unknowns alone: with ``P`` the rows that are kept, ``W`` acts as ``P^T W P``. Modes and means are written as NaN there.

NaN also marks what a store was never given. That is told apart by the word *every*: a simulation that was not written is NaN in
its own snapshots only.
"""

from __future__ import annotations

from dataclasses import replace

from nwidth_graphs.kernels.namespace import array_namespace
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.source import Reading

# Snapshots that are looked at together where a row may be masked: the temporary is (candidates, 64).
COLUMNS = 64


def masked_rows(values: Array) -> Array | None:
    """Indices of the rows of a block (rows, m) that are NaN in every snapshot, ascending; None where there are none.

    Costs a look at the first snapshot, and one at the rows that are NaN there. An infinity is never masked.
    """
    xp = array_namespace(values)
    rows = xp.nonzero(xp.isnan(values[:, 0]))[0]
    for start in range(1, values.shape[1], COLUMNS):
        if rows.shape[0] == 0:
            return None
        part = xp.take(values[:, start : start + COLUMNS], rows, axis=0)
        rows = rows[xp.all(xp.isnan(part), axis=1)]
    return rows if rows.shape[0] else None


def without_masked_rows(reading: Reading) -> Reading:
    """The block with zeros in its masked rows, and which these are; a buffer that the reader lends is changed in place."""
    rows = masked_rows(reading.values)
    if rows is None:
        return reading
    values = reading.values if reading.lent else array_namespace(reading.values).asarray(reading.values, copy=True)
    values[rows, :] = 0.0
    return replace(reading, values=values, masked=rows)


def with_mask(rows: Array | None, modes: Array, mean: Array | None) -> tuple[Array, Array | None]:
    """Modes (r, rows) and mean (rows,) as they are written: NaN in the masked rows."""
    if rows is not None:
        modes[:, rows] = float("nan")
        if mean is not None:
            mean[rows] = float("nan")
    return modes, mean
