"""Lift bases, measure their certificates, and repair one whose modes are not orthonormal.

transforms T ──lifting pass──> modes Phi = S T (in the sink) + sums ──> certificate
                                                                       │ defect > 1e-10
                                    modes Phi T' in the sink <─────────┘  a visit of the modes only
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nwidth.config import ReduceSection
from nwidth.errors import CertificateError
from nwidth.models.basis import Spectrum
from nwidth.models.certificate import MAX_DEFECT, Certificate
from nwidth.stages.problem import BasisParts, Floats, Passes, Problem, basis_groups
from nwidth.stages.route import Route
from nwidth.stages.sinks import ModesSink
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.kernels.lift import (
    LiftSums,
    field_error_square,
    merge_lift_sums,
    needs_residual,
    orthogonality_defect,
    projection_errors,
    repair_transform,
    scale_lift_sums,
)
from nwidth_graphs.leaves import LiftPartial, Partial
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.reduction import GRAM
from nwidth_graphs.source import FieldSource
from nwidth_graphs.truncation import Truncation

MAX_REPAIRS = 3


@dataclass(frozen=True)
class Lifting:
    """The lifting pass of a problem."""

    problem: Problem
    request: ReduceSection
    passes: Passes
    sink: ModesSink
    device: str

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Basis name -> its fields."""
        return basis_groups(tuple(self.problem.sources), self.request)

    def run(
        self,
        truncations: Mapping[str, Truncation],
        scaling: Mapping[str, float],
        field_norms: Mapping[str, Floats],
        route: Route,
    ) -> tuple[BasisParts, ...]:
        """Lift all bases in one read of the data.

        Parameters
        ----------
        truncations : basis -> what the small factor says
        scaling : field -> its scaling in its basis
        field_norms : field -> norms (m,) of its unscaled snapshots

        Raises
        ------
        CertificateError
            The modes of a basis cannot be made orthonormal.
        """
        norms = {
            name: np.sqrt(sum((scaling[field] * field_norms[field]) ** 2 for field in fields))
            for name, fields in self.groups.items()
        }
        lifts = [
            Lift(
                self.problem.sources[field],
                cut.transform,
                cut.coefficients if needs_residual(norms[name], cut.coefficients) else None,
                self.sink.begin(name, self.problem.shapes[field], cut.rank, centred=self.request.centre),
            )
            for name, cut in truncations.items()
            for field in self.groups[name]
        ]
        results: dict[str, LiftPartial] = self.passes.run("lift", lift_graph(lifts, self.problem.token, self.device))
        sums = {field: results[lift_root(field)].sums for field in self.problem.sources}
        masked = {field: results[lift_root(field)].tally.masked_rows for field in self.problem.sources}
        return tuple(
            self._close_basis(name, cut, sums, masked, scaling, field_norms, norms[name], route)
            for name, cut in truncations.items()
        )

    def _close_basis(
        self,
        name: str,
        cut: Truncation,
        sums: Mapping[str, LiftSums],
        masked: Mapping[str, int],
        scaling: Mapping[str, float],
        field_norms: Mapping[str, Floats],
        norms: Floats,
        route: Route,
    ) -> BasisParts:
        fields = self.groups[name]
        total = merge_lift_sums([scale_lift_sums(sums[field], scaling[field] ** 2) for field in fields])
        squares, exact = projection_errors(total, cut.coefficients, norms)
        measured = orthogonality_defect(total.overlap)
        coefficients, defect = self.repair(name, exact, total.overlap, scaling) if measured > MAX_DEFECT else (exact, measured)
        certificate = Certificate(
            relative_errors=ratios(np.sqrt(squares), norms),
            snapshot_norms=norms,
            frobenius_error=frobenius(squares, norms, cut.snapshot_scale),
            expected_error=cut.expected_error,
            field_errors={
                field: field_error(
                    field_error_square(sums[field], cut.coefficients, exact, field_norms[field]), field_norms[field]
                )
                for field in fields
            },
            orthogonality_defect=defect,
            measured_defect=measured,
            masked_unknowns={field: masked[field] for field in fields if masked[field]},
        )
        return BasisParts(
            name=name,
            fields=fields,
            spectrum=Spectrum(cut.singular_values, cut.floor, route.reduction.name, route.reason),
            coefficients=coefficients,
            certificate=certificate,
            field_scaling={field: scaling[field] for field in fields},
            truncation=describe_truncation(cut, self.request),
        )

    def repair(self, basis: str, coefficients: Floats, overlap: Floats, scaling: Mapping[str, float]) -> tuple[Floats, float]:
        """Orthonormalise the modes by Cholesky QR with the measured overlap, and measure again: a visit of the modes only."""
        for attempt in range(MAX_REPAIRS):
            try:
                transform = repair_transform(overlap)
            except np.linalg.LinAlgError:
                break
            overlap = self.rotate(basis, transform, scaling, f"repair{attempt}")
            coefficients = np.linalg.solve(transform, coefficients)
            defect = orthogonality_defect(overlap)
            if defect <= MAX_DEFECT:
                return coefficients, defect
        raise CertificateError(
            f"the {len(coefficients)} modes of basis {basis!r} cannot be made orthonormal (they are dependent to rounding); "
            f'ask for a lower rank, for a larger rtol, or for route = "tsqr"'
        )

    def rotate(self, basis: str, transform: Floats, scaling: Mapping[str, float], step: str) -> Floats:
        """Put ``Phi T``, with T (r, k), in the place of the modes of a basis; their overlap (k, k). A visit of the modes only."""
        fields = self.groups[basis]
        sources = [self._modes_source(basis, field, transform) for field in fields]
        graph = factor_graph(sources, GRAM, f"{self.problem.token}-{basis}-{step}")
        results: dict[str, Partial] = self.passes.run(f"{step.rstrip('0123456789')} {basis}", graph)
        for field in fields:
            self.sink.finish_repair(basis, self.problem.shapes[field])
        overlap: Floats = sum(scaling[field] ** 2 * results[factor_root(f"{field}-modes", GRAM)].factor for field in fields)
        return overlap

    def _modes_source(self, basis: str, field: str, transform: Floats) -> FieldSource:
        source = self.problem.sources[field]
        return replace(
            source,
            name=f"{field}-modes",
            snapshots=transform.shape[1],
            itemsize=8,
            array=None,
            read=self.sink.repairing(basis, self.problem.shapes[field], transform),
            centre=False,
            shelf=None,  # a visit of the modes only, and done again from the start when it is cut off
        )


def ratios(errors: Floats, norms: Floats) -> Floats:
    """Relative errors; 0 for a snapshot that is zero."""
    return np.divide(errors, norms, out=np.zeros_like(errors), where=norms > 0)


def frobenius(squares: Floats, norms: Floats, scale: Floats) -> float:
    """Relative error over all snapshots, each scaled by d: ``sqrt(sum d^2 e^2 / sum d^2 |s|^2)``."""
    return float(np.sqrt(np.sum(scale**2 * squares) / np.sum((scale * norms) ** 2)))


def field_error(square: float, norms: Floats) -> float:
    """Relative Frobenius error of one field, from its square."""
    total = float(np.sum(norms**2))
    return float(np.sqrt(square / total)) if total > 0 else 0.0


def describe_truncation(cut: Truncation, request: ReduceSection) -> str:
    """Why a basis has as many modes as it has, in one clause."""
    asked = f"rtol = {request.rtol:g}" if request.rtol is not None else f"rank = {request.rank}"
    if cut.limited_by == "rtol":
        return f"{cut.rank} modes are the fewest with a relative projection error below {asked}"
    if cut.limited_by == "rank":
        more = f"; {asked} would take {cut.rank_for_rtol}" if (cut.rank_for_rtol or 0) > cut.rank else ""
        return f"rank = {request.rank} was asked for{more}"
    if cut.limited_by == "floor":
        return f"{asked} asks for more modes than the {cut.rank} that lie above the trustworthy floor of {cut.floor:.2e}"
    return f"the snapshots span no more than {cut.rank} directions"
