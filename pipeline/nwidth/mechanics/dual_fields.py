"""The offline half of dual fields: where each is evaluated, and what reconstructs it from there.

dual basis Psi ──tournament──> interpolation points ──┬── body's points: the rule's, then those that are new, of weight 0
cubature rule ─────────────────> its points ──────────┘        └── rows of Psi at them ──> B, || B^+ ||
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import CertificateError, InputError
from nwidth.mechanics.body import DualField
from nwidth.stages.scratch import ReadScratch
from nwidth_graphs.interpolation import tournament_graph, tournament_root
from nwidth_graphs.kernels.gappy_reconstruction import mask_of, masked_basis
from nwidth_graphs.layout import panels
from nwidth_graphs.source import FieldSource

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class DualBasis:
    """The modes of one dual field on disk."""

    name: str
    variable: str
    folder: Path
    """Absolute."""
    relative: str
    """Inside of the model."""
    order: Indices
    """(c,): place of each stored component among those of the law's variable; (1,) zero for a scalar."""

    @property
    def components(self) -> int:
        """c."""
        return len(self.order)

    def array(self) -> Any:
        """(N, points[, c])."""
        import zarr

        return zarr.open_array(str(self.folder / "modes"), mode="r")

    def source(self) -> FieldSource:
        """The modes as columns, block by block."""
        stored = self.array()
        return FieldSource(
            name=self.name,
            panels=panels(stored.shape[1:], stored.chunks[1:]),
            snapshots=stored.shape[0],
            itemsize=8,
            read=ReadScratch(str(self.folder / "modes")),
        )

    def rows(self, numbers: Indices) -> Floats:
        """Rows of Psi, (k, N), counted through points and components."""
        stored = self.array()
        points, back = np.unique(numbers // self.components, return_inverse=True)
        read = np.asarray(stored.oindex[:, points]).reshape(stored.shape[0], -1)
        return np.asarray(read[:, back * self.components + numbers % self.components].T)


def interpolation_points(bases: Sequence[DualBasis], token: str, run: Callable[[Any], Mapping[str, Any]]) -> dict[str, Indices]:
    """Dual field -> rows that determine it: one tournament over all of them, one pass over their modes.

    Raises
    ------
    CertificateError
        Modes on disk hold values that are not finite.
    """
    found = run(tournament_graph([basis.source() for basis in bases], token))
    rows = {}
    for basis in bases:
        proposed = found[tournament_root(basis.name)]
        if proposed.bad:
            raise CertificateError(f"the modes of {basis.name!r} hold values that are not finite; run the study again")
        rows[basis.name] = proposed.proposal.numbers
    return rows


def with_interpolation_points(rule: Indices, bases: Sequence[DualBasis], rows: Mapping[str, Indices]) -> Indices:
    """The body's points: the rule's, and then those of the dual fields that are new, each once."""
    new = np.concatenate([np.empty(0, np.int64), *(rows[basis.name] // basis.components for basis in bases)])
    return mask_of(rule, new)


def places_of(some: Indices, points: Indices) -> Indices:
    """Where some of the points stand among all of them, which are in no order."""
    sorter = np.argsort(points)
    return np.asarray(sorter[np.searchsorted(points, some, sorter=sorter)])


def dual_field(basis: DualBasis, rule: Indices, rows: Indices, points: Indices, smallest_norm: float) -> DualField:
    """One dual field with its mask: all components at the rule's points, and the interpolation rows.

    Parameters
    ----------
    rule : (r,) points of the rule, or of the rules of all bodies; points : (n,) those of the body
    rows : interpolation rows of this field

    Raises
    ------
    InputError
        The mask does not determine the modes.
    """
    c = basis.components
    of_rule = (rule[:, None] * c + np.arange(c)).ravel()
    numbers = mask_of(of_rule, rows)
    place = places_of(numbers // c, points)
    try:
        masked = masked_basis(basis.rows(numbers), numbers)
    except ValueError as error:
        raise InputError(f"dual field {basis.name!r}: {error}") from None
    size = 6 if c > 1 else 1
    return DualField(
        name=basis.name,
        modes=basis.relative,
        variable=basis.variable,
        places=place * size + basis.order[numbers % c],
        masked=masked,
        smallest_norm=smallest_norm,
    )
