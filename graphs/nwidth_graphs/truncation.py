"""From small factors to a truncated basis: all of it on m x m matrices, at no read of the data.

    factors of fields ──scaling──> one factor ──spectrum──> s, V ──rtol, rank, floor──> T (m, N), Q (N, m)

With d the snapshot scaling (``S diag(d)`` is what is decomposed):  ``Phi = S T``, ``T = diag(d) V_N / s_N``, and the
coefficients of the *unscaled* snapshots are ``Q = diag(s_N) V_N^T / d``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce as fold
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.cores import all_cores
from nwidth_graphs.kernels.svd import rank_above_floor, rank_for_tolerance, tail_norms
from nwidth_graphs.reduction import Reduction

Floats = NDArray[np.float64]
SnapshotScaling = Literal["none", "unit"]


@dataclass(frozen=True)
class Truncation:
    """A spectrum, cut; see the module for the formulas."""

    singular_values: Floats
    """(min(n, m),), all of them, descending."""
    floor: float
    rank: int
    rank_for_rtol: int | None
    """Modes that the tolerance asks for, whether the floor grants them or not; None without a tolerance."""
    limited_by: Literal["rtol", "rank", "floor", "spectrum"]
    expected_error: float
    """``sqrt(sum_{i>N} s_i^2 / sum_i s_i^2)``."""
    transform: Floats
    """T (m, N)."""
    coefficients: Floats
    """Q (N, m)."""
    snapshot_scale: Floats
    """d (m,)."""
    resolved: bool = True
    """Whether the rank that reaches `rtol` is the same for every spectrum within the rounding of this one."""

    @property
    def floor_bites(self) -> bool:
        """Whether this route cannot give the modes asked for, or cannot tell how many they are."""
        return self.limited_by == "floor" or (self.limited_by == "rtol" and not self.resolved)


def truncate(
    factors: Mapping[str, Floats],
    field_scaling: Mapping[str, float],
    reduction: Reduction,
    *,
    rows: int,
    rtol: float | None,
    rank: int | None,
    snapshot_scaling: SnapshotScaling = "none",
    beyond_floor: bool = False,
) -> Truncation:
    """Truncate the joint spectrum of some fields.

    Parameters
    ----------
    factors : field -> (m, m) factor of its unscaled snapshots
    field_scaling : field -> a_f, with which its rows enter the stack ``[a_1 S_1; a_2 S_2; ...]``
    rows : number of unknowns n; singular values beyond min(n, m) do not exist
    rtol, rank : the smallest N with ``sqrt(sum_{i>N} s_i^2) <= rtol sqrt(sum_i s_i^2)``, at most `rank`; either may be None
    beyond_floor : return modes below the trustworthy floor, too
    """
    factor = reduction.merge([reduction.scale(factors[name], field_scaling[name]) for name in factors])
    scale = _snapshot_scale(reduction.column_norms(factor), snapshot_scaling)
    with all_cores(len(scale)):
        found = reduction.finish(reduction.column_scale(factor, scale))
        values = found.values[: min(rows, len(found.values))]
        floor = reduction.floor(float(values[0]), len(scale))
        wanted = None if rtol is None else max(1, rank_for_tolerance(values, rtol))
        chosen, limited_by = _rank(values, wanted, rank, len(values) if beyond_floor else rank_above_floor(values, floor))
        kept = found.right(chosen)
    tails = tail_norms(values)
    return Truncation(
        singular_values=values,
        floor=floor,
        rank=chosen,
        rank_for_rtol=wanted,
        limited_by=limited_by,
        expected_error=float(tails[chosen] / tails[0]) if tails[0] > 0 else 0.0,
        transform=scale[:, None] * kept / values[:chosen],
        coefficients=values[:chosen, None] * kept.T / scale,
        snapshot_scale=scale,
        resolved=rtol is None or _resolved(values, floor, rtol),
    )


def unit_field_scaling(factors: Mapping[str, Floats], reduction: Reduction) -> dict[str, float]:
    """``a_f = 1 / ||S_f||_F``: every field weighs the same in a joint basis; 1 for a field that is zero."""
    norms = {name: float(np.sqrt(np.sum(reduction.column_norms(factor) ** 2))) for name, factor in factors.items()}
    return {name: 1.0 / norm if norm > 0 else 1.0 for name, norm in norms.items()}


def joint_norms(factors: Mapping[str, Floats], field_scaling: Mapping[str, float], reduction: Reduction) -> Floats:
    """Norms of the snapshots, all fields together, (m,)."""
    squares = [(field_scaling[name] * reduction.column_norms(factor)) ** 2 for name, factor in factors.items()]
    norms: Floats = np.sqrt(fold(np.add, squares))
    return norms


def _rank(
    values: Floats, wanted: int | None, rank: int | None, trusted: int
) -> tuple[int, Literal["rtol", "rank", "floor", "spectrum"]]:
    asked = min(limit for limit in (wanted, rank, len(values)) if limit is not None)
    # Exact zeros have no direction, whatever the floor says.
    nonzero = int(np.count_nonzero(values > 0.0))
    chosen = max(1, min(asked, trusted, nonzero))
    if chosen < asked:
        # A matrix of lower rank than asked for is not a failure of the route: nothing is left above rounding.
        return chosen, "spectrum" if wanted is None and trusted == nonzero else "floor"
    if wanted is not None and chosen == wanted:
        return chosen, "rtol"
    return chosen, "rank" if rank is not None and chosen == rank else "spectrum"


def _resolved(values: Floats, floor: float, rtol: float) -> bool:
    """The trace of a factor is accurate, so a tail is as uncertain as the fewer of its own and its complement's values."""
    squares = tail_norms(values) ** 2
    count = np.arange(len(squares))
    noise = np.minimum(count, count[::-1]) * floor**2
    limit = rtol**2 * squares[0]
    return bool(np.argmax(squares - noise <= limit) == np.argmax(squares + noise <= limit))


def _snapshot_scale(norms: Floats, scaling: SnapshotScaling) -> Floats:
    if scaling == "none":
        return np.ones_like(norms)
    return np.where(norms > 0.0, 1.0 / np.where(norms > 0.0, norms, 1.0), 1.0)
