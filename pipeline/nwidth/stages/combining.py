"""Reduce snapshots that are combinations of columns: the stage behind merging, appending and dropping.

columns X ──pass 1──> R ──truncate C──> T ──pass 2──> modes Phi = X T (in the sink) ──> basis of the snapshots X C + E
                                                                                        with bounds of their errors

The passes are those of any reduction, over k columns instead of m snapshots, always by TSQR: k is small, and the errors of
the snapshots follow from R, where a Gram matrix would put a floor under them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nwidth.config import ReduceSection
from nwidth.errors import FieldError
from nwidth.models.basis import Spectrum
from nwidth.stages.lifting import Lifting
from nwidth.stages.problem import BasisParts, Floats, Passes, Problem, basis_groups
from nwidth.stages.refusals import describe_bad
from nwidth.stages.route import Route
from nwidth.stages.sinks import ModesSink
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.leaves import Partial
from nwidth_graphs.recombination import (
    CertifiedErrors,
    Recombination,
    certified,
    joint_factor,
    missed,
    truncate_combination,
)
from nwidth_graphs.reduction import TSQR
from nwidth_graphs.truncation import Truncation


@dataclass(frozen=True)
class Combination:
    """One basis to be made: its snapshots as combinations of the columns of its fields."""

    recombination: Recombination
    field_scaling: Mapping[str, float]
    field_norms: Mapping[str, Floats]
    """Field -> norms (m,) of its unscaled snapshots."""
    field_remainders: Mapping[str, float]
    """Field -> Frobenius norm of what was left out of it before, or a bound."""


@dataclass(frozen=True)
class CombinedBasis:
    """One basis as made, with what this step alone left out."""

    parts: BasisParts
    errors: CertifiedErrors
    column_errors: Floats
    """(k,): measured relative errors of the columns X."""


@dataclass(frozen=True)
class Combined:
    """All bases, and what the passes made of the columns."""

    bases: tuple[CombinedBasis, ...]
    factors: Mapping[str, Floats]
    """Field -> R (k, k) of its columns."""
    passes: Passes


def factor_columns(problem: Problem, passes: Passes, device: str = "cpu") -> dict[str, Floats]:
    """R (k, k) of the columns of every field, in one pass.

    Raises
    ------
    FieldError
        A column holds NaN or infinite values; the text names the place.
    """
    sources = list(problem.sources.values())
    results: dict[str, Partial] = passes.run("tsqr", factor_graph(sources, TSQR, f"{problem.token}-columns", device))
    partials = {source.name: results[factor_root(source.name, TSQR)] for source in sources}
    bad = [value for partial in partials.values() for value in partial.bad]
    if bad:
        raise FieldError(describe_bad(bad[0], problem))
    return {name: np.asarray(partial.factor) for name, partial in partials.items()}


def combine(
    problem: Problem,
    combinations: Mapping[str, Combination],
    factors: Mapping[str, Floats],
    request: ReduceSection,
    passes: Passes,
    sink: ModesSink,
    reason: str,
    device: str = "cpu",
) -> Combined:
    """Reduce the snapshots of all bases: one pass over the columns, whose factors are known already.

    Parameters
    ----------
    problem : the columns X of every field, as sources
    combinations : basis -> its snapshots in terms of the columns of its fields
    factors : field -> R (k, k), from `factor_columns`
    request : ``rtol`` (relative to ``||X C D||_F``), ``rank``, ``basis``, ``centre``
    reason : why this way, for the spectrum

    Raises
    ------
    CertificateError
        The modes of a basis cannot be made orthonormal.
    """
    groups = basis_groups(tuple(problem.sources), request)
    with threadpool_limits(1):
        cuts = {name: _truncate(combinations[name], factors, fields, problem, request) for name, fields in groups.items()}
        scaling = {field: combinations[name].field_scaling[field] for name, fields in groups.items() for field in fields}
        norms = {field: np.asarray(TSQR.column_norms(factor)) for field, factor in factors.items()}
        lifted = Lifting(problem, request, passes, sink, device).run(cuts, scaling, norms, Route(TSQR, reason))
        bases = tuple(
            _describe(parts, cuts[parts.name], combinations[parts.name], {field: factors[field] for field in parts.fields})
            for parts in lifted
        )
    return Combined(bases, factors, passes)


def notes_of(basis: CombinedBasis, combination: Combination) -> dict[str, Any]:
    """What the manifest says of a combined basis: what this step left out, relative, and what holds of all that was left out."""
    known = combination.recombination
    total = float(np.sum((known.snapshot_scale * known.snapshot_norms) ** 2))
    return {
        "remainder": {"orthogonal": known.remainder.orthogonal, "uncorrelated": known.remainder.uncorrelated},
        "truncation_error": float(np.sqrt(basis.errors.truncated_square / total)) if total > 0 else 0.0,
    }


def _truncate(
    combination: Combination, factors: Mapping[str, Floats], fields: tuple[str, ...], problem: Problem, request: ReduceSection
) -> Truncation:
    return truncate_combination(
        {field: factors[field] for field in fields},
        combination.field_scaling,
        combination.recombination,
        rows=sum(problem.sources[field].rows for field in fields),
        rtol=request.rtol,
        rank=request.rank,
        beyond_floor=request.beyond_floor,
    )


def _describe(parts: BasisParts, cut: Truncation, combination: Combination, factors: Mapping[str, Floats]) -> CombinedBasis:
    """The basis of the snapshots, from the basis of the columns."""
    known = combination.recombination
    joint = joint_factor(factors, combination.field_scaling)
    errors = certified(missed(joint, cut.transform, joint, known.coordinates), known)
    total = float(np.sum((known.snapshot_scale * known.snapshot_norms) ** 2))
    certificate = replace(
        parts.certificate,
        relative_errors=_ratios(np.sqrt(errors.squares), known.snapshot_norms),
        snapshot_norms=known.snapshot_norms,
        frobenius_error=float(np.sqrt(errors.total_square / total)) if total > 0 else 0.0,
        expected_error=_expected(cut, combination, total),
        field_errors=_field_errors(cut, combination, factors, joint),
        bound=not known.remainder.orthogonal,
    )
    described = replace(
        parts,
        spectrum=Spectrum(cut.singular_values, cut.floor, parts.spectrum.route, parts.spectrum.reason),
        coefficients=parts.coefficients @ known.coordinates,
        certificate=certificate,
    )
    return CombinedBasis(described, errors, parts.certificate.relative_errors)


def _expected(cut: Truncation, combination: Combination, total: float) -> float:
    """What the spectrum promised, with what was left out before."""
    tail = float(np.sum(cut.singular_values[cut.rank :] ** 2))
    return float(np.sqrt((tail + combination.recombination.remainder.total_square) / total)) if total > 0 else 0.0


def _field_errors(cut: Truncation, combination: Combination, factors: Mapping[str, Floats], joint: Floats) -> dict[str, float]:
    """Relative Frobenius error of each field by itself, or a bound of it."""
    known, found = combination.recombination, {}
    for field, factor in factors.items():
        truncated = float(np.sum(missed(factor, cut.transform, joint, known.coordinates)))
        before = combination.field_remainders[field]
        add = truncated + before**2
        alone = known.remainder.orthogonal and len(factors) == 1
        if not (alone or (known.remainder.uncorrelated and np.ptp(known.snapshot_scale) == 0.0)):
            add += 2.0 * before * float(np.sqrt(truncated))
        total = float(np.sum(combination.field_norms[field] ** 2))
        found[field] = float(np.sqrt(add / total)) if total > 0 else 0.0
    return found


def _ratios(errors: Floats, norms: Floats) -> Floats:
    return np.divide(errors, norms, out=np.zeros_like(errors), where=norms > 0)
