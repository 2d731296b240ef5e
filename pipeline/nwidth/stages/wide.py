"""The route ``wide``, for n << m: the factor of the transpose, modes in the driver, and one read that measures them.

    groups ──pass 1──> factor (n, n) ──W, scaling, truncate──> modes (n, N) ──pass 2──> coefficients + certificate
                            ^                    │ floor bites, route auto: once more by TSQR
                            └────────────────────┘

Any inner product serves: its matrix is ``product.gram(I)`` over the whole space, because n is small here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, cholesky, solve_triangular

from nwidth.config import ReduceSection
from nwidth.errors import FieldError
from nwidth.models.basis import Spectrum
from nwidth.models.certificate import MAX_DEFECT, Certificate
from nwidth.stages.lifting import describe_truncation, frobenius, ratios
from nwidth.stages.problem import BasisParts, Floats, Passes, PodResult, Problem, basis_groups
from nwidth.stages.refusals import describe_bad, describe_zero
from nwidth.stages.route import Route, choose_route, fallback_reason
from nwidth.stages.sinks import ModesSink
from nwidth_graphs.inner import DiagonalProduct
from nwidth_graphs.kernels.lift import orthogonality_defect, repair_transform
from nwidth_graphs.leaves import Partial
from nwidth_graphs.missing import with_mask
from nwidth_graphs.reduction import TSQR, Reduction
from nwidth_graphs.source import FieldSource
from nwidth_graphs.truncation import Truncation, truncate
from nwidth_graphs.wide import (
    Basis,
    Measured,
    WideField,
    centred_factor,
    wide_factor_graph,
    wide_factor_root,
    wide_measure_graph,
    wide_measure_root,
)


def reduce_wide(problem: Problem, request: ReduceSection, passes: Passes, sink: ModesSink) -> PodResult:
    """Reduce all fields of a problem whose sources are one panel each; two reads, one more where the Gram floor bites.

    Raises
    ------
    FieldError
        A field holds NaN or infinite values, or is zero.
    """
    run = _Wide(problem, request, passes)
    # A Gram matrix of snapshots that are not centred yet would cancel: the QR route centres, see `nwidth_graphs.wide`.
    asked = choose_route(request)
    route = Route(TSQR, asked.reason) if request.centre else asked
    spaces = run.factor_pass(route.reduction)
    bitten = next((space.cut for space in spaces if space.cut.floor_bites), None)
    if bitten is not None and route.fallback is not None:
        wanted = bitten.rank_for_rtol or request.rank or bitten.rank
        route = Route(route.fallback, fallback_reason(request, bitten.floor, bitten.rank, wanted))
        spaces = run.factor_pass(route.reduction)
    reason = f"{problem.reason}; {route.reason}" if problem.reason else route.reason
    measured = run.measure_pass(spaces)
    bases = tuple(_close(problem, request, space, found, sink, reason) for space, found in zip(spaces, measured, strict=True))
    # The factor is one of unknowns and not of snapshots: what a model keeps for later is (m, m).
    return PodResult(bases, {}, f"wide-{route.reduction.name}", reason, tuple(passes.measures))


@dataclass(frozen=True)
class _Space:
    """One basis between the passes."""

    field: WideField
    cut: Truncation
    basis: Basis
    scaling: tuple[float, ...]
    """a_f."""
    mask: Floats
    """Masked rows of the stack."""
    measured_defect: float


@dataclass(frozen=True)
class _Wide:
    problem: Problem
    request: ReduceSection
    passes: Passes

    @property
    def fields(self) -> list[WideField]:
        if self.problem.grouping is None:
            raise ValueError("the problem's snapshots are not cut into groups")
        groups = self.problem.grouping.groups
        return [
            WideField(name, tuple(self.problem.sources[field] for field in fields), groups, self.request.centre)
            for name, fields in basis_groups(tuple(self.problem.sources), self.request).items()
        ]

    def factor_pass(self, reduction: Reduction) -> list[_Space]:
        graph = wide_factor_graph(self.fields, reduction, f"{self.problem.token}-wide-{reduction.name}")
        results: dict[str, Partial] = self.passes.run("factor", graph)
        partials = [results[wide_factor_root(field.name)] for field in self.fields]
        bad = [value for partial in partials for value in partial.bad]
        if bad:
            raise FieldError(describe_bad(bad[0], self.problem))
        return [_space(field, partial, reduction, self.request) for field, partial in zip(self.fields, partials, strict=True)]

    def measure_pass(self, spaces: Sequence[_Space]) -> list[Measured]:
        graph = wide_measure_graph([s.field for s in spaces], [s.basis for s in spaces], f"{self.problem.token}-measure")
        results: dict[str, Measured] = self.passes.run("measure", graph)
        return [results[wide_measure_root(space.field.name)] for space in spaces]


def _space(field: WideField, partial: Partial, reduction: Reduction, request: ReduceSection) -> _Space:
    """From the factor of the transpose to the modes of one basis."""
    factor, mean = centred_factor(partial.factor) if field.centre else (partial.factor, None)
    mask = partial.interface[0]
    valid = np.setdiff1d(np.arange(field.rows), mask)
    roots = _roots(field, valid)
    weighted = _weigh(factor[:, valid] if reduction.name == "tsqr" else factor[np.ix_(valid, valid)], roots, reduction)
    scaling = _scaling(field, weighted, valid, reduction, request)
    column_scale = _by_row(field, scaling)[valid]
    cut = truncate(
        {field.name: reduction.column_scale(weighted, column_scale)},
        {field.name: 1.0},
        reduction,
        rows=field.groups[-1].stop,
        rtol=request.rtol,
        rank=request.rank,
        beyond_floor=request.beyond_floor,
    )
    left = cut.transform * cut.singular_values[: cut.rank]
    kernel = factor.T @ factor if reduction.name == "tsqr" else factor
    modes = np.zeros((field.rows, cut.rank))
    modes[valid] = _unweigh(left, roots, column_scale, kernel[np.ix_(valid, valid)], cut)
    weights = _weights(field)
    dual = _apply(field, weights, modes) * _by_row(field, scaling)[:, None] ** 2
    overlap = modes.T @ dual
    defect = orthogonality_defect(overlap)
    if defect > MAX_DEFECT:
        transform = repair_transform(overlap)
        modes, dual = modes @ transform, dual @ transform
    return _Space(field, cut, Basis(modes, dual, weights, mean), scaling, mask, defect)


def _scaling(
    field: WideField, weighted: Floats, valid: Floats, reduction: Reduction, request: ReduceSection
) -> tuple[float, ...]:
    names = [source.name for source in field.sources]
    squares = np.zeros(field.rows)
    squares[valid] = reduction.column_norms(weighted) ** 2
    norms = [float(np.sqrt(np.sum(squares[rows]))) for rows in _rows(field)]
    for source, norm in zip(field.sources, norms, strict=True):
        if not norm > 0:
            raise FieldError(describe_zero(source.name, source))
    asked = request.field_scaling
    if isinstance(asked, dict):
        return tuple(asked.get(name, 1.0) for name in names)
    return tuple(1.0 / norm for norm in norms) if asked == "unit" and len(names) > 1 else tuple(1.0 for _ in names)


def _close(problem: Problem, request: ReduceSection, space: _Space, found: Measured, sink: ModesSink, reason: str) -> BasisParts:
    field, cut, scaling = space.field, space.cut, np.asarray(space.scaling)
    names = tuple(source.name for source in field.sources)
    squares, norms = scaling**2 @ found.field_errors, np.sqrt(scaling**2 @ found.field_norms)
    masked = {}
    for source, rows in zip(field.sources, _rows(field), strict=True):
        write = sink.begin(field.name, problem.shapes[source.name], cut.rank, centred=request.centre)
        hidden = np.flatnonzero(np.isin(np.arange(field.rows)[rows], space.mask))
        mean = None if space.basis.mean is None else space.basis.mean[rows].copy()
        write(source.panels[0], *with_mask(hidden, np.ascontiguousarray(space.basis.modes[rows].T), mean))
        masked[source.name] = len(hidden)
    certificate = Certificate(
        relative_errors=ratios(np.sqrt(squares), norms),
        snapshot_norms=norms,
        frobenius_error=frobenius(squares, norms, np.ones_like(norms)),
        expected_error=cut.expected_error,
        field_errors={
            name: float(np.sqrt(np.sum(errors) / np.sum(total))) if np.sum(total) > 0 else 0.0
            for name, errors, total in zip(names, found.field_errors, found.field_norms, strict=True)
        },
        orthogonality_defect=orthogonality_defect(space.basis.modes.T @ space.basis.dual),
        measured_defect=space.measured_defect,
        masked_unknowns={name: count for name, count in masked.items() if count},
    )
    return BasisParts(
        name=field.name,
        fields=names,
        spectrum=Spectrum(cut.singular_values, cut.floor, "wide", reason),
        coefficients=found.coefficients,
        certificate=certificate,
        field_scaling=dict(zip(names, space.scaling, strict=True)),
        truncation=describe_truncation(cut, request),
    )


# --- inner products of whole fields: matrices, because n is small ---------------------------------------------------------------


def _rows(field: WideField) -> list[slice]:
    stops = np.cumsum([source.rows for source in field.sources])
    return [slice(int(stop) - source.rows, int(stop)) for stop, source in zip(stops, field.sources, strict=True)]


def _by_row(field: WideField, values: Sequence[float]) -> Floats:
    return np.repeat(np.asarray(values, np.float64), [source.rows for source in field.sources])


def _weights(field: WideField) -> tuple[Floats, ...]:
    """W of every field: its diagonal, or the matrix itself."""
    return tuple(_weights_of(source) for source in field.sources)


def _weights_of(source: FieldSource) -> Floats:
    product = source.product(source.panels[0])
    if isinstance(product, DiagonalProduct):
        return np.ones(source.rows) if product.row_scale is None else np.asarray(product.row_scale) ** 2
    return np.asarray(product.gram(np.eye(source.rows), centre=False))


def _apply(field: WideField, weights: Sequence[Floats], modes: Floats) -> Floats:
    parts = [w @ modes[rows] if w.ndim == 2 else w[:, None] * modes[rows] for w, rows in zip(weights, _rows(field), strict=True)]
    return np.concatenate(parts)


def _roots(field: WideField, valid: Floats) -> Floats:
    """L with ``L L^T = W`` over the valid rows of all fields: sqrt of a diagonal (n,), or a triangular matrix."""
    weights, parts = _weights(field), []
    if all(w.ndim == 1 for w in weights):
        return np.asarray(np.sqrt(np.concatenate(weights)[valid]))
    for w, rows in zip(weights, _rows(field), strict=True):
        keep = valid[(valid >= rows.start) & (valid < rows.stop)] - rows.start
        parts.append(np.diag(np.sqrt(w[keep])) if w.ndim == 1 else cholesky(w[np.ix_(keep, keep)], lower=True))
    return np.asarray(block_diag(*parts))


def _weigh(factor: Floats, roots: Floats, reduction: Reduction) -> Floats:
    """The factor of ``(L^T S)^T`` from that of ``S^T``."""
    if roots.ndim == 1:
        return np.asarray(reduction.column_scale(factor, roots))
    return np.asarray(roots.T @ factor @ roots if reduction.name == "gram" else factor @ roots)


def _unweigh(left: Floats, roots: Floats, scale: Floats, kernel: Floats, cut: Truncation) -> Floats:
    """Modes ``Phi = L^-T U / a``; rows of weight zero by ``Phi = S V / s = S S^T (L a U) / s^2``."""
    if roots.ndim == 2:
        return np.asarray(solve_triangular(roots, left, lower=True, trans="T") / scale[:, None])
    weight = roots * scale
    seen = weight > 0
    modes = np.divide(left, weight[:, None], out=np.zeros_like(left), where=seen[:, None])
    if not seen.all():
        modes[~seen] = kernel[~seen] @ (weight[:, None] * left) / cut.singular_values[: cut.rank] ** 2
    return modes
