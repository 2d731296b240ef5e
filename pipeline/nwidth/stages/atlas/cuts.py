"""Local bases from coordinates: how many modes, and the combination of snapshots that each mode is.

    members (own and borrowed), normalised   Y = X_k D      =  T diag(s) W'       all of it on coordinates
    modes of full size                       Phi_k = S_k D W / s                  m_k snapshots enter, at 1 / s_r

The rank is the smallest N with ``sqrt(sum_own d^2 e_N^2 |u|^2 / sum_own d^2 |u|^2) <= rtol`` over the cluster's *own* members:
borrowed ones shape a basis, and do not count in what it promises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.stages.atlas.coordinates import Coordinates
from nwidth_graphs.kernels.local_bases import local_basis, relative_errors

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class LocalCut:
    """One local basis before it is lifted."""

    own: Indices
    """Snapshots of the cluster, ascending."""
    modes: Floats
    """T (N, r): in the frame of the coordinates."""
    members: Indices
    """(m_k,): snapshots that shape the basis, the own ones and those that are borrowed."""
    combination: Floats
    """(m_k, r): how each mode is made of the members."""
    own_coefficients: Floats
    """(r, m_own)."""
    snapshots: int
    """m, of all."""
    singular_values: Floats
    """Of all members, borrowed ones too, as they enter."""
    floor: float
    """Below, they are rounding of the route."""
    expected_error: float
    """Over the own members."""
    scale: Floats
    """(m_own,): d."""
    truncation: str
    floor_bites: bool
    """Whether more modes were asked for than the route can tell from rounding."""

    @property
    def rank(self) -> int:
        """r."""
        return int(self.modes.shape[1])

    @property
    def transform(self) -> Floats:
        """(m, r): ``Phi = S T``; zero in the rows of snapshots that are no members."""
        whole = np.zeros((self.snapshots, self.rank))
        whole[self.members] = self.combination
        return whole

    @property
    def predicted(self) -> Floats:
        """(r, m): coefficients of the own snapshots, zero for the others."""
        whole = np.zeros((self.rank, self.snapshots))
        whole[:, self.own] = self.own_coefficients
        return whole


def local_cut(
    coordinates: Coordinates,
    own: Indices,
    members: Indices,
    *,
    rank: int | None,
    rtol: float | None,
    normalise: bool,
) -> LocalCut:
    """The basis of the snapshots `members`, `own` among them, truncated by `rtol` over the own ones, at most `rank` modes."""
    unit, norms = coordinates.unit[:, members], coordinates.norms[members]
    whole = local_basis(unit if normalise else unit * norms, normalise=normalise)
    floor = coordinates.floor * float(whole.singular_values[0])
    trusted = max(1, int(np.count_nonzero(whole.singular_values[: whole.rank] > floor)))
    errors = _frobenius(coordinates, own, whole.modes[:, :trusted], normalise=normalise)
    needed = None if rtol is None else next((place for place, error in enumerate(errors) if place and error <= rtol), None)
    wanted = min(limit for limit in (needed if rtol is not None and needed else trusted, rank, trusted) if limit is not None)
    modes, s = whole.modes[:, :wanted], whole.singular_values
    # Columns of W / s from those of T: Y'T / s^2.
    inverse = coordinates.inverse_norms[members] if normalise else np.ones(len(members))
    Y = unit if normalise else unit * norms
    return LocalCut(
        own=own,
        modes=modes,
        members=members,
        combination=inverse[:, None] * (Y.T @ modes) / s[:wanted] ** 2,
        own_coefficients=(modes.T @ coordinates.unit[:, own]) * coordinates.norms[own],
        snapshots=coordinates.unit.shape[1],
        singular_values=s,
        floor=floor,
        expected_error=float(errors[wanted]),
        scale=_scale(coordinates, own, normalise=normalise),
        truncation=_words(wanted, needed, rank, rtol, floor),
        floor_bites=rtol is not None and needed is None and (rank is None or rank > trusted),
    )


def _frobenius(coordinates: Coordinates, own: Indices, modes: Floats, *, normalise: bool) -> Floats:
    """Relative error over the own snapshots for 0, 1, ..., r modes."""
    columns = coordinates.unit[:, own]
    errors = relative_errors(columns, [modes], range(modes.shape[1] + 1))[0]
    weights = (_scale(coordinates, own, normalise=normalise) * coordinates.norms[own]) ** 2
    return np.asarray(np.sqrt(errors**2 @ weights / max(float(weights.sum()), np.finfo(np.float64).tiny)))


def _scale(coordinates: Coordinates, own: Indices, *, normalise: bool) -> Floats:
    """d: 1 / norm where members are normalised (1 for a zero snapshot, which counts for nothing)."""
    norms = coordinates.norms[own]
    return np.where(norms > 0.0, 1.0 / np.where(norms > 0.0, norms, 1.0), 1.0) if normalise else np.ones(len(own))


def _words(used: int, needed: int | None, rank: int | None, rtol: float | None, floor: float) -> str:
    if rtol is not None and needed == used:
        return f"{used} modes are the fewest with a relative projection error below rtol = {rtol:g} over the cluster"
    if rank is not None and used == rank:
        more = f"; rtol = {rtol:g} would take {needed}" if needed is not None and needed > used else ""
        return f"rank = {rank} was asked for{more}"
    if rtol is not None and needed is None:
        return f"rtol = {rtol:g} asks for more modes than the {used} that lie above the trustworthy floor of {floor:.2e}"
    return f"the members span no more than {used} directions"
