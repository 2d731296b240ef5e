"""Numerical trouble that a pass met, in words: where it is, and what to do."""

from __future__ import annotations

import numpy as np

from nwidth.errors import ConfigError
from nwidth.stages.problem import Floats, Problem
from nwidth_graphs.leaves import BadValue
from nwidth_graphs.source import FieldSource


def describe_bad(bad: BadValue, problem: Problem) -> str:
    """A NaN, an infinity or an overflow: field, place and snapshot."""
    if bad.snapshot < 0:
        return f"field {bad.field!r} holds values whose squares overflow; rescale it (larger units)"
    shape = problem.shapes[bad.field]
    place = ", ".join(
        f"component {shape.components[index]}" if dim == "component" and shape.components else f"{dim} {index}"
        for dim, index in zip(shape.dims, bad.place, strict=True)
    )
    fill = ', or fill what is missing with missing = "gappy"' if np.isnan(bad.value) else ""
    return (
        f"field {bad.field!r} is {bad.value} at {place}, in snapshot {bad.snapshot} ({problem.snapshot_label(bad.snapshot)}); "
        f"repair or leave out that simulation{fill}"
    )


def describe_zero(name: str, source: FieldSource, masked: int = 0) -> str:
    """A field without a direction, or without a valid unknown."""
    if masked and masked == source.rows:
        return (
            f"field {name!r} is NaN everywhere, in every snapshot: nothing is left outside of its mask; leave the field out, or "
            "ingest the simulations again"
        )
    if source.centre and source.snapshots == 1:
        return f"field {name!r} has one snapshot, which is zero once its mean is removed; set centre = false, or add snapshots"
    removed = " once its mean is removed" if source.centre else ""
    return (
        f"every snapshot of field {name!r} is zero{removed} (or its squares are): there is nothing to reduce; leave the field "
        "out, or rescale it (smaller units)"
    )


# Far above the rounding of a Gram matrix (1e-16 of its largest eigenvalue, times what M magnifies), far below what an indefinite
# matrix shows on snapshots that reach its negative directions.
INDEFINITE = 1e-8


def refuse_indefinite(name: str, gram: Floats) -> None:
    """Refuse a sparse inner product that gives some combination of the snapshots a negative square.

    ``c^T S^T M S c < 0`` for some c proves that M is not positive definite. The converse does not hold: negative directions of M
    that no snapshot reaches do no harm, and are not seen.

    Raises
    ------
    ConfigError
        An eigenvalue of the Gram matrix (m, m) is below ``-1e-8`` of the largest.
    """
    values = np.linalg.eigvalsh(gram)
    if values[0] < -INDEFINITE * np.abs(values).max():
        raise ConfigError(
            f"the inner product of field {name!r} is not positive definite: a combination of the snapshots has the square "
            f"{values[0]:.2e}, beside {values[-1]:.2e} of the largest; check how the matrix was assembled"
        )
