"""The one further read: global and local bases lifted together, each with its certificate, and all errors measured.

    T_global, [T_0 T_1 ...] ──dictionary pass──> modes, each in its own arrays
                                                 overlap of all local modes: defects on the diagonal blocks, transitions off them
                                                 coefficients of all snapshots on all bases: errors (K, m)

The error of a snapshot on its own basis and on the global one is formed from the residual wherever Pythagoras would cancel; on
the other bases Pythagoras does, whose floor is 1e-8 of the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from nwidth.models.atlas import GLOBAL, cluster_name
from nwidth.models.basis import Spectrum
from nwidth.models.certificate import MAX_DEFECT, Certificate
from nwidth.stages.atlas.cuts import LocalCut
from nwidth.stages.lifting import Lifting, field_error, frobenius, ratios
from nwidth.stages.problem import BasisParts
from nwidth.stages.route import Route
from nwidth_graphs.dictionary import DictionaryLift, DictionaryPartial, ModeSet, dictionary_graph, dictionary_root
from nwidth_graphs.kernels.lift import (
    LiftSums,
    field_error_square,
    merge_lift_sums,
    needs_residual,
    orthogonality_defect,
    projection_errors,
    scale_lift_sums,
)
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Panel
from nwidth_graphs.truncation import Truncation

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class SplitWrite:
    """Gives every basis its columns: ``write(panel, modes of the sets, mean)``; travels to the workers."""

    targets: tuple[tuple[int, int, int, Any], ...]
    """(set, first column, end, what writes one basis)."""

    def __call__(self, panel: Panel, modes: Sequence[Array], mean: Array | None) -> None:
        for number, start, stop, write in self.targets:
            write(panel, modes[number][start:stop], mean)


@dataclass(frozen=True)
class ProvenSplitWrite(SplitWrite):
    """The same into files, which tell later whether they are still there."""

    def proof(self, panel: Panel) -> str:
        """What lies on disk of all bases."""
        return "-".join(write.proof(panel) for _, _, _, write in self.targets)


@dataclass(frozen=True)
class Lifted:
    """All bases of a dictionary, and what was measured beside them."""

    bases: tuple[BasisParts, ...]
    errors: Floats
    """(K, m)."""
    transitions: Floats
    """(sum r, sum r), of the modes as written."""
    members: Mapping[str, Indices]
    """Basis of a cluster -> its own snapshots."""


@dataclass(frozen=True)
class DictionaryLifting(Lifting):
    """The lifting pass of a dictionary."""

    scaling: Mapping[str, float]
    field_norms: Mapping[str, Floats]
    route: Route
    normalised: bool

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Every basis spans all fields."""
        return _Everywhere(tuple(self.problem.sources))

    @property
    def norms(self) -> Floats:
        """(m,): of the snapshots, all fields together."""
        return np.asarray(np.sqrt(sum((self.scaling[field] * norms) ** 2 for field, norms in self.field_norms.items())))

    def lift(self, cut: Truncation, cuts: Sequence[LocalCut]) -> Lifted:
        """Lift the global basis and all local ones in one read.

        Raises
        ------
        CertificateError
            The modes of a basis cannot be made orthonormal.
        """
        norms = self.norms
        beside = np.concatenate([one.predicted for one in cuts])
        local = ModeSet(np.hstack([one.transform for one in cuts]), beside if needs_residual(norms, beside) else None)
        whole = ModeSet(cut.transform, cut.coefficients if needs_residual(norms, cut.coefficients) else None)
        lifts = [
            DictionaryLift(source, (whole, local), self._write(name, cut.rank, cuts))
            for name, source in self.problem.sources.items()
        ]
        results: dict[str, DictionaryPartial] = self.passes.run("lift", dictionary_graph(lifts, self.problem.token, self.device))
        partials = {name: results[dictionary_root(name)] for name in self.problem.sources}
        masked = {name: partial.tally.masked_rows for name, partial in partials.items()}
        first = self._close_basis(
            GLOBAL,
            cut,
            {name: partial.sums[0] for name, partial in partials.items()},
            masked,
            self.scaling,
            self.field_norms,
            norms,
            self.route,
        )
        return self._local(first, cuts, {name: partial.sums[1] for name, partial in partials.items()}, beside, masked)

    def _write(self, field: str, rank: int, cuts: Sequence[LocalCut]) -> SplitWrite:
        shape, centred = self.problem.shapes[field], self.request.centre
        targets = [(0, 0, rank, self.sink.begin(GLOBAL, shape, rank, centred=centred))]
        start = 0
        for cluster, cut in enumerate(cuts):
            write = self.sink.begin(cluster_name(cluster), shape, cut.rank, centred=centred)
            targets.append((1, start, start + cut.rank, write))
            start += cut.rank
        proven = all(hasattr(write, "proof") for *_, write in targets)
        return (ProvenSplitWrite if proven else SplitWrite)(tuple(targets))

    def _local(
        self,
        first: BasisParts,
        cuts: Sequence[LocalCut],
        sums: Mapping[str, LiftSums],
        predicted: Floats,
        masked: Mapping[str, int],
    ) -> Lifted:
        total = merge_lift_sums([scale_lift_sums(sums[field], self.scaling[field] ** 2) for field in sums])
        bases, errors, rotations, start = [first], [], [], 0
        for cluster, cut in enumerate(cuts):
            rows = slice(start, start + cut.rank)
            parts, error, rotation = self._close_local(cluster, cut, rows, total, sums, predicted[rows], masked)
            bases.append(parts)
            errors.append(error)
            rotations.append(rotation)
            start += cut.rank
        rotation = scipy.linalg.block_diag(*rotations)
        return Lifted(
            bases=tuple(bases),
            errors=np.stack(errors),
            transitions=np.asarray(rotation.T @ total.overlap @ rotation),
            members={cluster_name(cluster): cut.own for cluster, cut in enumerate(cuts)},
        )

    def _close_local(
        self,
        cluster: int,
        cut: LocalCut,
        rows: slice,
        total: LiftSums,
        sums: Mapping[str, LiftSums],
        predicted: Floats,
        masked: Mapping[str, int],
    ) -> tuple[BasisParts, Floats, Floats]:
        """The basis of one cluster, errors (m,) of all snapshots on it, and what its modes were repaired by, (r, r)."""
        norms, own = self.norms, cut.own
        everybody, _ = projection_errors(_part(total, rows), predicted, norms)
        squares, exact = projection_errors(_part(total, rows, own), predicted[:, own], norms[own])
        everybody[own] = squares
        defect = measured = orthogonality_defect(total.overlap[rows, rows])
        coefficients, rotation = exact, np.eye(cut.rank)
        if measured > MAX_DEFECT:
            # What repairs the modes is read off the identity that travels beside the coefficients.
            beside = np.hstack([exact, np.eye(cut.rank)])
            repaired, defect = self.repair(cluster_name(cluster), beside, total.overlap[rows, rows], self.scaling)
            coefficients, rotation = repaired[:, : len(own)], np.linalg.inv(repaired[:, len(own) :])
        certificate = Certificate(
            relative_errors=ratios(np.sqrt(squares), norms[own]),
            snapshot_norms=norms[own],
            frobenius_error=frobenius(squares, norms[own], cut.scale) if np.any(norms[own] > 0.0) else 0.0,
            expected_error=cut.expected_error,
            field_errors={field: self._field_error(field, sums[field], rows, predicted, exact, own) for field in sums},
            orthogonality_defect=defect,
            measured_defect=measured,
            masked_unknowns={field: count for field, count in masked.items() if count},
        )
        parts = BasisParts(
            name=cluster_name(cluster),
            fields=tuple(sums),
            spectrum=Spectrum(cut.singular_values, cut.floor, self.route.reduction.name, self.route.reason),
            coefficients=coefficients,
            certificate=certificate,
            field_scaling=dict(self.scaling),
            truncation=cut.truncation,
        )
        return parts, ratios(np.sqrt(everybody), norms), rotation

    def _field_error(self, field: str, sums: LiftSums, rows: slice, predicted: Floats, exact: Floats, own: Indices) -> float:
        norms = self.field_norms[field][own]
        return field_error(field_error_square(_part(sums, rows, own), predicted[:, own], exact, norms), norms)


def _part(sums: LiftSums, rows: slice, own: Indices | None = None) -> LiftSums:
    """The sums of one basis: over its own snapshots with their residuals, or over all, whose residuals are of other bases."""
    coefficients = sums.coefficients[rows]
    if own is None:
        return LiftSums(sums.overlap[rows, rows], coefficients, None)
    squares = None if sums.residual_squares is None else sums.residual_squares[own]
    return LiftSums(sums.overlap[rows, rows], coefficients[:, own], squares)


class _Everywhere(dict[str, tuple[str, ...]]):
    """Basis -> fields, the same for whatever basis."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__()
        self._fields = fields

    def __missing__(self, basis: str) -> tuple[str, ...]:
        return self._fields
