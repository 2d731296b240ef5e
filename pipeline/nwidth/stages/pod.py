"""The POD stage: factor pass, truncation, lifting pass, certificate, and a repair where the certificate asks for one.

    sources ──pass 1──> factors ──truncate──> T, Q ──pass 2──> modes (in the sink) + sums ──> certificate
                 ^                    │ floor bites, route auto: once more by TSQR                │ defect > 1e-10
                 └────────────────────┘                              modes T' in the sink <──────┘

Whoever calls gives the sources (a store, an array), the sink (a folder, memory) and the executor (threads, a cluster).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nwidth.config import ReduceSection
from nwidth.errors import CertificateError, FieldError
from nwidth.models.basis import Spectrum
from nwidth.models.certificate import MAX_DEFECT, Certificate
from nwidth.models.files import FieldShape
from nwidth.stages.route import Route, choose_route, fallback_reason
from nwidth.stages.sinks import ModesSink
from nwidth.workers import Executor, Progress
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
from nwidth_graphs.leaves import BadValue, LiftPartial, Partial, Tally
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.reduction import GRAM, Reduction
from nwidth_graphs.source import FieldSource
from nwidth_graphs.truncation import Truncation, truncate, unit_field_scaling

Floats = NDArray[np.float64]
MAX_REPAIRS = 3


@dataclass(frozen=True)
class Problem:
    """Fields that are reduced together in one pass."""

    sources: Mapping[str, FieldSource]
    shapes: Mapping[str, FieldShape]
    token: str
    """Content key of the inputs; part of every task key."""
    snapshot_label: Callable[[int], str]
    """Names a snapshot for people: ``"simulation run-3, t = 0.25 s"``."""


@dataclass(frozen=True)
class PassMeasure:
    """What one pass cost, as measured."""

    name: str
    bytes_read: int
    seconds: float
    tasks: int
    peak_bytes: int
    read_seconds: float
    compute_seconds: float


@dataclass(frozen=True)
class BasisParts:
    """One basis, but for its modes, which lie in the sink."""

    name: str
    fields: tuple[str, ...]
    spectrum: Spectrum
    coefficients: Floats
    certificate: Certificate
    field_scaling: Mapping[str, float]
    truncation: str


@dataclass(frozen=True)
class PodResult:
    """All bases of a problem, the small factors, and what the passes cost."""

    bases: tuple[BasisParts, ...]
    factors: Mapping[str, Floats]
    route: str
    reason: str
    passes: tuple[PassMeasure, ...]


def reduce_problem(
    problem: Problem,
    request: ReduceSection,
    executor: Executor,
    sink: ModesSink,
    device: str = "cpu",
    progress: Progress | None = None,
) -> PodResult:
    """Reduce all fields of a problem; two reads of the data, one more where the Gram floor bites.

    Raises
    ------
    FieldError
        A field holds NaN or infinite values, or is zero.
    CertificateError
        The modes cannot be made orthonormal.
    """
    # The small problems, too: on m x m matrices a second BLAS thread spins more than it computes.
    with threadpool_limits(1):
        return _reduce(_Run(problem, request, executor, sink, device, progress, []), request)


def _reduce(run: _Run, request: ReduceSection) -> PodResult:
    route = choose_route(request)
    factors = run.factor_pass(route.reduction)
    truncations = run.truncations(factors, route.reduction)
    bitten = next((t for t in truncations.values() if t.floor_bites), None)
    if bitten is not None and route.fallback is not None:
        asked = bitten.rank_for_rtol or request.rank or bitten.rank
        route = Route(route.fallback, fallback_reason(request, bitten.floor, bitten.rank, asked))
        factors = run.factor_pass(route.reduction)
        truncations = run.truncations(factors, route.reduction)
    bases = run.lift_pass(factors, truncations, route)
    return PodResult(bases, factors, route.reduction.name, route.reason, tuple(run.passes))


def basis_groups(fields: Sequence[str], request: ReduceSection) -> dict[str, tuple[str, ...]]:
    """Basis name -> its fields: one basis each, named as the field, or one named ``joint``."""
    if request.basis == "joint" and len(fields) > 1:
        return {"joint": tuple(fields)}
    return {name: (name,) for name in fields}


@dataclass(frozen=True)
class _Run:
    problem: Problem
    request: ReduceSection
    executor: Executor
    sink: ModesSink
    device: str
    progress: Progress | None
    passes: list[PassMeasure]

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        return basis_groups(tuple(self.problem.sources), self.request)

    def factor_pass(self, reduction: Reduction) -> dict[str, Floats]:
        sources = list(self.problem.sources.values())
        graph = factor_graph(sources, reduction, f"{self.problem.token}-{reduction.name}", self.device)
        results: dict[str, Partial] = self._measured(reduction.name, graph)
        partials = {source.name: results[factor_root(source.name, reduction)] for source in sources}
        bad = [value for partial in partials.values() for value in partial.bad]
        if bad:
            raise FieldError(_describe_bad(bad[0], self.problem))
        for name, partial in partials.items():
            if not np.any(reduction.column_norms(partial.factor) > 0):
                raise FieldError(_describe_zero(name, self.problem.sources[name]))
        return {name: partial.factor for name, partial in partials.items()}

    def field_scaling(self, factors: Mapping[str, Floats], reduction: Reduction) -> dict[str, float]:
        asked = self.request.field_scaling
        if isinstance(asked, dict):
            return {name: asked.get(name, 1.0) for name in factors}
        joint = any(len(fields) > 1 for fields in self.groups.values())
        return unit_field_scaling(factors, reduction) if joint and asked == "unit" else dict.fromkeys(factors, 1.0)

    def truncations(self, factors: Mapping[str, Floats], reduction: Reduction) -> dict[str, Truncation]:
        scaling = self.field_scaling(factors, reduction)
        return {
            name: truncate(
                {field: factors[field] for field in fields},
                scaling,
                reduction,
                rows=sum(self.problem.sources[field].rows for field in fields),
                rtol=self.request.rtol,
                rank=self.request.rank,
                snapshot_scaling=self.request.snapshot_scaling,
                beyond_floor=self.request.beyond_floor,
            )
            for name, fields in self.groups.items()
        }

    def lift_pass(
        self, factors: Mapping[str, Floats], truncations: Mapping[str, Truncation], route: Route
    ) -> tuple[BasisParts, ...]:
        scaling = self.field_scaling(factors, route.reduction)
        field_norms = {field: route.reduction.column_norms(factor) for field, factor in factors.items()}
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
        results: dict[str, LiftPartial] = self._measured("lift", lift_graph(lifts, self.problem.token, self.device))
        sums = {field: results[lift_root(field)].sums for field in self.problem.sources}
        return tuple(
            self._close_basis(name, cut, sums, scaling, field_norms, norms[name], route) for name, cut in truncations.items()
        )

    def _close_basis(
        self,
        name: str,
        cut: Truncation,
        sums: Mapping[str, LiftSums],
        scaling: Mapping[str, float],
        field_norms: Mapping[str, Floats],
        norms: Floats,
        route: Route,
    ) -> BasisParts:
        fields = self.groups[name]
        total = merge_lift_sums([scale_lift_sums(sums[field], scaling[field] ** 2) for field in fields])
        squares, exact = projection_errors(total, cut.coefficients, norms)
        measured = orthogonality_defect(total.overlap)
        coefficients, defect = self._repair(name, exact, total.overlap, scaling) if measured > MAX_DEFECT else (exact, measured)
        certificate = Certificate(
            relative_errors=_ratios(np.sqrt(squares), norms),
            snapshot_norms=norms,
            frobenius_error=_frobenius(squares, norms, cut.snapshot_scale),
            expected_error=cut.expected_error,
            field_errors={
                field: _field_error(
                    field_error_square(sums[field], cut.coefficients, exact, field_norms[field]), field_norms[field]
                )
                for field in fields
            },
            orthogonality_defect=defect,
            measured_defect=measured,
        )
        return BasisParts(
            name=name,
            fields=fields,
            spectrum=Spectrum(cut.singular_values, cut.floor, route.reduction.name, route.reason),
            coefficients=coefficients,
            certificate=certificate,
            field_scaling={field: scaling[field] for field in fields},
            truncation=_describe_truncation(cut, self.request),
        )

    def _repair(self, basis: str, coefficients: Floats, overlap: Floats, scaling: Mapping[str, float]) -> tuple[Floats, float]:
        """Orthonormalise the modes by Cholesky QR with the measured overlap, and measure again: a visit of the modes only."""
        fields = self.groups[basis]
        for attempt in range(MAX_REPAIRS):
            try:
                transform = repair_transform(overlap)
            except np.linalg.LinAlgError:
                break
            sources = [self._modes_source(basis, field, transform) for field in fields]
            graph = factor_graph(sources, GRAM, f"{self.problem.token}-{basis}-repair{attempt}")
            results: dict[str, Partial] = self._measured(f"repair {basis}", graph)
            overlap = sum(scaling[field] ** 2 * results[factor_root(f"{field}-modes", GRAM)].factor for field in fields)
            coefficients = np.linalg.solve(transform, coefficients)
            for field in fields:
                self.sink.finish_repair(basis, self.problem.shapes[field])
            defect = orthogonality_defect(overlap)
            if defect <= MAX_DEFECT:
                return coefficients, defect
        raise CertificateError(
            f"the {len(coefficients)} modes of basis {basis!r} cannot be made orthonormal (they are dependent to rounding); "
            f'ask for a lower rank, for a larger rtol, or for route = "tsqr"'
        )

    def _modes_source(self, basis: str, field: str, transform: Floats) -> FieldSource:
        source = self.problem.sources[field]
        return replace(
            source,
            name=f"{field}-modes",
            snapshots=len(transform),
            itemsize=8,
            array=None,
            read=self.sink.repairing(basis, self.problem.shapes[field], transform),
            centre=False,
        )

    def _measured(self, name: str, graph: Any) -> dict[str, Any]:
        started = time.perf_counter()
        results = self.executor.run(graph, name, self.progress)
        tally = Tally.merge([result.tally for result in results.values()])
        self.passes.append(
            PassMeasure(
                name=name,
                bytes_read=tally.bytes_read,
                seconds=time.perf_counter() - started,
                tasks=graph.n_tasks,
                peak_bytes=tally.peak_process_bytes,
                read_seconds=tally.read_seconds,
                compute_seconds=tally.compute_seconds,
            )
        )
        return results


def _ratios(errors: Floats, norms: Floats) -> Floats:
    return np.divide(errors, norms, out=np.zeros_like(errors), where=norms > 0)


def _frobenius(squares: Floats, norms: Floats, scale: Floats) -> float:
    return float(np.sqrt(np.sum(scale**2 * squares) / np.sum((scale * norms) ** 2)))


def _field_error(square: float, norms: Floats) -> float:
    total = float(np.sum(norms**2))
    return float(np.sqrt(square / total)) if total > 0 else 0.0


def _describe_truncation(cut: Truncation, request: ReduceSection) -> str:
    asked = f"rtol = {request.rtol:g}" if request.rtol is not None else f"rank = {request.rank}"
    if cut.limited_by == "rtol":
        return f"{cut.rank} modes are the fewest with a relative projection error below {asked}"
    if cut.limited_by == "rank":
        more = f"; {asked} would take {cut.rank_for_rtol}" if (cut.rank_for_rtol or 0) > cut.rank else ""
        return f"rank = {request.rank} was asked for{more}"
    if cut.limited_by == "floor":
        return f"{asked} asks for more modes than the {cut.rank} that lie above the trustworthy floor of {cut.floor:.2e}"
    return f"the snapshots span no more than {cut.rank} directions"


def _describe_bad(bad: BadValue, problem: Problem) -> str:
    if bad.snapshot < 0:
        return f"field {bad.field!r} holds values whose squares overflow; rescale it (larger units)"
    shape = problem.shapes[bad.field]
    place = ", ".join(
        f"component {shape.components[index]}" if dim == "component" and shape.components else f"{dim} {index}"
        for dim, index in zip(shape.dims, bad.place, strict=True)
    )
    return (
        f"field {bad.field!r} is {bad.value} at {place}, in snapshot {bad.snapshot} ({problem.snapshot_label(bad.snapshot)}); "
        "repair or leave out that simulation (fields with missing values are not reduced)"
    )


def _describe_zero(name: str, source: FieldSource) -> str:
    if source.centre and source.snapshots == 1:
        return f"field {name!r} has one snapshot, which is zero once its mean is removed; set centre = false, or add snapshots"
    removed = " once its mean is removed" if source.centre else ""
    return (
        f"every snapshot of field {name!r} is zero{removed} (or its squares are): there is nothing to reduce; leave the field "
        "out, or rescale it (smaller units)"
    )
