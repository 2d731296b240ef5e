"""Take new snapshots B into a basis of old ones, S = Phi Q + E.

fast     columns X = [Phi | B], C = diag(Q, I)         new snapshots are read twice, old ones never; their errors are bounds
exact    G = [[G_old, S^T W B], [B^T W S, B^T W B]]    all are read twice, as in a full run, which it equals to rounding

Fast is the weighted form of the block update of Brand (2006) and Zha and Simon (1999): ``Phi`` carries its singular values
through Q, and what its truncation left out is a remainder whose square adds up from update to update.

Exact extends the Gram matrix that the model keeps. Its border comes from an ordinary lifting pass: lifting with the transform
that selects the new columns, ``Phi = X [0; I] = B``, measures ``Phi^T W X``, in every inner product. Of centred snapshots the
mean moves by delta with ``m_old delta = B_c 1`` (both sides centred about the new mean), so that with ``v = S_c^T W delta`` and
``w = ||delta||^2``, both from the border,

    S_c^T W S_c = G_old - v 1^T - 1 v^T - w 1 1^T

A factor R cannot be extended so: its border needs Q of the old snapshots, which was never kept, or a solve with R that loses
every digit below ``eps s_1 / s_m``. There a full pass is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError
from nwidth.models.model import Model
from nwidth.stacking import Columns, FieldColumns, MeansReader, Reader, modes_of
from nwidth.stages.combining import Combination, CombinedBasis, combine, factor_columns, notes_of
from nwidth.stages.lifting import Lifting
from nwidth.stages.merging import SAME_PRODUCT_DEFECT
from nwidth.stages.parents import Parent, snapshot_scale
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import Floats, Passes, PodResult, Problem, basis_groups
from nwidth.stages.route import Route
from nwidth.stages.sinks import ModesSink
from nwidth.workers import Executor, Progress
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import LiftPartial
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.recombination import Recombination, Remainder, joint_factor
from nwidth_graphs.reduction import GRAM, TSQR
from nwidth_graphs.truncation import truncate, unit_field_scaling


@dataclass(frozen=True)
class FastAppend:
    """A model, and the readers of the snapshots that are new."""

    model: Model
    readers: Mapping[str, Reader]
    """Field -> reader of its new snapshots."""
    count: int
    """New snapshots."""
    field_scaling: str | Mapping[str, float] = "unit"
    """As asked for: ``unit`` scales the fields of a joint basis anew, by the norms of all snapshots."""

    def columns(self) -> dict[str, FieldColumns]:
        """Field -> modes and new snapshots."""
        return {
            field: FieldColumns(
                name,
                (modes_of(self.model.path, name, field, basis.rank), Columns(self.readers[field], self.count)),
                (self.model,),
            )
            for name, basis in self.model.bases.items()
            for field in basis.fields
        }

    def means(self) -> dict[str, MeansReader]:
        """None: centred bases are updated exactly."""
        return {}

    def combination(self, basis: str, factors: Mapping[str, Floats]) -> Combination:
        """Old and new snapshots in terms of the columns."""
        parent = Parent(self.model, basis)
        own = {field: factors[field] for field in parent.basis.fields}
        coordinates = np.zeros((parent.rank + self.count, parent.snapshots + self.count))
        coordinates[: parent.rank, : parent.snapshots] = parent.coefficients
        coordinates[parent.rank :, parent.snapshots :] = np.eye(self.count)
        before = parent.field_norms
        norms = {
            field: np.concatenate([before[field], np.linalg.norm(factor[:, parent.rank :], axis=0)])
            for field, factor in own.items()
        }
        scaling = self._scaling(parent, norms)
        stretch = max(scaling[field] / parent.basis.field_scaling[field] for field in own)
        joint = np.sqrt(sum((scaling[field] * norms[field]) ** 2 for field in own))
        scale = snapshot_scale(joint, parent.basis.snapshot_scaling)
        remainders = np.concatenate([stretch * parent.remainder.norms, np.zeros(self.count)])
        unscaled = parent.basis.snapshot_scaling == "none"
        total = stretch**2 * parent.remainder.total_square if unscaled else float(np.sum((scale * remainders) ** 2))
        return Combination(
            Recombination(
                coordinates,
                Remainder(remainders, total, uncorrelated=parent.remainder.uncorrelated and (unscaled or stretch == 1.0)),
                joint,
                scale,
            ),
            scaling,
            norms,
            parent.field_remainders,
        )

    def reduce(
        self,
        problem: Problem,
        request: ReduceSection,
        executor: Executor,
        sink: ModesSink,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> PodResult:
        """As `reduce_problem`, of a problem whose columns are the old modes and the new snapshots.

        Raises
        ------
        ConfigError
            The old modes are not orthonormal in the problem's inner product: it changed since they were made.
        """
        passes = Passes(executor, progress)
        factors = factor_columns(problem, passes, device)
        defect = check_modes(self.model, factors)
        if defect > SAME_PRODUCT_DEFECT:
            raise ConfigError(
                f"the modes of {self.model.path} are orthonormal to {defect:.1e} only in the store's inner product: its weights "
                'or mesh changed since; run with reduce.update = "full"'
            )
        combinations = {name: self.combination(name, factors) for name in self.model.bases}
        reason = "old modes with their singular values, and the new snapshots, reduced together"
        made = combine(problem, combinations, factors, request, passes, sink, reason, device)
        return PodResult(
            bases=tuple(basis.parts for basis in made.bases),
            factors={},
            route=TSQR.name,
            reason=reason,
            passes=tuple(passes.measures),
            field_norms={field: norms for one in combinations.values() for field, norms in one.field_norms.items()},
            notes={basis.parts.name: self._notes(basis, combinations[basis.parts.name]) for basis in made.bases},
        )

    def _notes(self, basis: CombinedBasis, combination: Combination) -> dict[str, Any]:
        """With the chain of updates: what each left out, and what that came to, squares added."""
        notes, name = notes_of(basis, combination), basis.parts.name
        step = {
            "snapshots": self.count,
            "truncation_error": notes["truncation_error"],
            "accumulated_error": basis.parts.certificate.frobenius_error,
        }
        return {**notes, "updates": [*self.model.manifest["bases"][name].get("updates", []), step]}

    def _scaling(self, parent: Parent, norms: Mapping[str, Floats]) -> dict[str, float]:
        if len(parent.basis.fields) == 1 or self.field_scaling != "unit":
            return dict(parent.basis.field_scaling)
        totals = {field: float(np.linalg.norm(values)) for field, values in norms.items()}
        return {field: 1.0 / total if total > 0 else 1.0 for field, total in totals.items()}


def check_modes(model: Model, factors: Mapping[str, Floats]) -> float:
    """Largest defect of the old modes in the new problem's inner product: that it is still the one that they were made in."""
    defects = []
    for basis in model.bases.values():
        joint = joint_factor({field: factors[field] for field in basis.fields}, basis.field_scaling)[:, : basis.rank]
        defects.append(float(np.max(np.abs(joint.T @ joint - np.eye(basis.rank)))))
    return max(defects)


@dataclass(frozen=True)
class ExactAppend:
    """The Gram matrices of the old snapshots, which come first in the problem."""

    gram: Mapping[str, Floats]
    """Field -> G (m_old, m_old), about the mean of the old ones where the problem is centred."""

    @property
    def old(self) -> int:
        """m_old."""
        return len(next(iter(self.gram.values())))

    def reduce(
        self,
        problem: Problem,
        request: ReduceSection,
        executor: Executor,
        sink: ModesSink,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> PodResult:
        """As `reduce_problem`, with the border of the Gram matrix instead of all of it."""
        passes = Passes(executor, progress)
        with threadpool_limits(1):
            factors = self.factors(problem, passes, device)
            if all(np.isfinite(factor).all() for factor in factors.values()):
                result = _from_gram(problem, request, factors, passes, sink, device)
                if result is not None:
                    return result
        # Bad values are named, and what the Gram floor hides is found, by the passes of a full run.
        return reduce_problem(problem, request, executor, sink, device, progress)

    def factors(self, problem: Problem, passes: Passes, device: str = "cpu") -> dict[str, Floats]:
        """Field -> G (m, m) of all snapshots, from one read of them."""
        count = next(iter(problem.sources.values())).snapshots
        select = np.eye(count)[:, self.old :]
        lifts = [Lift(source, select, None, discard) for source in problem.sources.values()]
        results: dict[str, LiftPartial] = passes.run("border", lift_graph(lifts, f"{problem.token}-border", device))
        return {
            name: bordered_gram(self.gram[name], np.asarray(results[lift_root(name)].sums.coefficients), centred=source.centre)
            for name, source in problem.sources.items()
        }


def discard(panel: Panel, modes: Array, mean: Array | None) -> None:
    """``write(panel, modes, mean)`` of a lifting pass whose modes nobody wants."""


def bordered_gram(old: Floats, border: Floats, *, centred: bool) -> Floats:
    """G (m, m) from G_old (m_old, m_old) and the border ``B^T W [S | B]`` (m - m_old, m); see the module."""
    count = len(old)
    gram = np.empty((border.shape[1], border.shape[1]))
    gram[:count, :count] = old
    gram[count:] = border
    gram[:count, count:] = border[:, :count].T
    if centred:
        shift = border[:, :count].sum(axis=0) / count
        square = float(border[:, count:].sum()) / count**2
        gram[:count, :count] -= shift[:, None] + shift[None, :] + square
    return gram


def _from_gram(
    problem: Problem, request: ReduceSection, factors: Mapping[str, Floats], passes: Passes, sink: ModesSink, device: str
) -> PodResult | None:
    """Truncate and lift; None where the Gram floor cuts off modes that were asked for."""
    groups = basis_groups(tuple(problem.sources), request)
    scaling = _field_scaling(request, factors, joint=any(len(fields) > 1 for fields in groups.values()))
    cuts = {
        name: truncate(
            {field: factors[field] for field in fields},
            scaling,
            GRAM,
            rows=sum(problem.sources[field].rows for field in fields),
            rtol=request.rtol,
            rank=request.rank,
            snapshot_scaling=request.snapshot_scaling,
            beyond_floor=request.beyond_floor,
        )
        for name, fields in groups.items()
    }
    if request.route == "auto" and any(cut.floor_bites for cut in cuts.values()):
        return None
    norms = {field: np.asarray(GRAM.column_norms(factor)) for field, factor in factors.items()}
    route = Route(GRAM, "the Gram matrix of the last run was extended by the products with the new snapshots")
    bases = Lifting(problem, request, passes, sink, device).run(cuts, scaling, norms, route)
    return PodResult(bases, factors, GRAM.name, route.reason, tuple(passes.measures))


def _field_scaling(request: ReduceSection, factors: Mapping[str, Floats], *, joint: bool) -> dict[str, float]:
    asked = request.field_scaling
    if isinstance(asked, dict):
        return {name: asked.get(name, 1.0) for name in factors}
    return unit_field_scaling(factors, GRAM) if joint and asked == "unit" else dict.fromkeys(factors, 1.0)
