"""Merge models of the same mesh, fields and inner product: no field is read, only modes.

    [Phi_1 Q_1 | Phi_2 Q_2]  =  X C,    X = [Phi_1 | Phi_2 (| mean_1 - mean_2)],    C = diag(Q_1, Q_2) (and the shift's weights)

The columns of X are weighted by C, hence by the singular values of both: the weighted merge, which is hierarchical POD with two
leaves (Himpe, Leibner and Rave 2018). Centred bases get one more column, the difference of the means, as incremental PCA does
(Ross et al. 2008): with n_1 + n_2 = n snapshots about the mean of all,

    s_j - mean = Phi_1 q_j + (n_2 / n) (mean_1 - mean_2) + e_j        and with -n_1 / n for those of the second
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nwidth.errors import ConfigError
from nwidth.models.model import Model
from nwidth.stacking import Columns, FieldColumns, MeansReader, modes_of
from nwidth.stages.combining import Combination
from nwidth.stages.parents import Parent, snapshot_scale
from nwidth.stages.problem import Floats
from nwidth_graphs.recombination import Recombination, Remainder, joint_factor, lower_bound_of_norms

# What modes that passed their own certificate (defect below 1e-10) can show at most in an inner product that is the same.
SAME_PRODUCT_DEFECT = 1e-8


@dataclass(frozen=True)
class Merge:
    """Two models, of which all bases are merged pairwise."""

    first: Model
    second: Model

    @property
    def counts(self) -> tuple[int, int]:
        """Snapshots of each."""
        first, second = (next(iter(model.bases.values())).coefficients.shape[1] for model in (self.first, self.second))
        return int(first), int(second)

    def parents(self, basis: str) -> tuple[Parent, Parent]:
        """Both bases of one name."""
        return Parent(self.first, basis), Parent(self.second, basis)

    def columns(self) -> dict[str, FieldColumns]:
        """Field -> the columns X."""
        found = {}
        for name, basis in self.first.bases.items():
            pair = self.parents(name)
            for field in basis.fields:
                parts = [modes_of(parent.model.path, name, field, parent.rank) for parent in pair]
                if basis.centred:
                    folders = tuple(parent.folder(field) for parent in pair)
                    parts.append(Columns(MeansReader(folders, (1.0, -1.0)), 1))
                found[field] = FieldColumns(name, tuple(parts), (self.first, self.second))
        return found

    def means(self) -> dict[str, MeansReader]:
        """Field -> the mean of all snapshots, where bases are centred."""
        first, second = self.counts
        weights = (first / (first + second), second / (first + second))
        return {
            field: MeansReader(tuple(parent.folder(field) for parent in self.parents(name)), weights)
            for name, basis in self.first.bases.items()
            if basis.centred
            for field in basis.fields
        }

    def combination(self, basis: str, factors: Mapping[str, Floats]) -> Combination:
        """The snapshots of both in terms of the columns.

        Raises
        ------
        ConfigError
            The modes of one are not orthonormal in the inner product: it is not the same as that of the other.
        """
        pair = self.parents(basis)
        own = {field: factors[field] for field in pair[0].basis.fields}
        self._check_product(basis, own)
        coordinates = self._coordinates(basis)
        norms = self._field_norms(basis, own, coordinates)
        scaling = _field_scaling(pair, norms)
        remainder_norms, stretches = [], []
        for parent in pair:
            # The norm of a joint basis weighs fields by their scaling: another scaling stretches what was left out at most so.
            stretch = max(scaling[field] / parent.basis.field_scaling[field] for field in own)
            remainder_norms.append(stretch * parent.remainder.norms)
            stretches.append(stretch)
        remainders = np.concatenate(remainder_norms)
        combined = np.sqrt(np.sum((joint_factor(own, scaling) @ coordinates) ** 2, axis=0))
        joint = np.sqrt(sum((scaling[field] * norms[field]) ** 2 for field in own))
        known = lower_bound_of_norms(combined, remainders) if pair[0].basis.centred else joint
        scale = snapshot_scale(known, pair[0].basis.snapshot_scaling)
        remainder = Remainder(
            norms=remainders,
            total_square=_total_square(pair, stretches, scale, remainders),
            uncorrelated=_uncorrelated(pair, stretches),
        )
        return Combination(
            Recombination(coordinates, remainder, known, scale),
            scaling,
            norms,
            {field: float(np.linalg.norm([parent.field_remainders[field] for parent in pair])) for field in own},
        )

    def _coordinates(self, basis: str) -> Floats:
        """C (k, m)."""
        first, second = self.parents(basis)
        rows = first.rank + second.rank
        coordinates = np.zeros((rows + first.basis.centred, first.snapshots + second.snapshots))
        coordinates[: first.rank, : first.snapshots] = first.coefficients
        coordinates[first.rank : rows, first.snapshots :] = second.coefficients
        if first.basis.centred:
            total = first.snapshots + second.snapshots
            coordinates[rows, : first.snapshots] = second.snapshots / total
            coordinates[rows, first.snapshots :] = -first.snapshots / total
        return coordinates

    def _field_norms(self, basis: str, factors: Mapping[str, Floats], coordinates: Floats) -> dict[str, Floats]:
        """Field -> norms of its snapshots about the mean of all; of centred ones, those of what is known of them."""
        pair = self.parents(basis)
        if pair[0].basis.centred:
            return {field: np.sqrt(np.sum((factor @ coordinates) ** 2, axis=0)) for field, factor in factors.items()}
        return {field: np.concatenate([parent.field_norms[field] for parent in pair]) for field in factors}

    def _check_product(self, basis: str, factors: Mapping[str, Floats]) -> None:
        start = 0
        for parent in self.parents(basis):
            columns = slice(start, start + parent.rank)
            joint = joint_factor(factors, parent.basis.field_scaling)[:, columns]
            defect = float(np.max(np.abs(joint.T @ joint - np.eye(parent.rank))))
            if defect > SAME_PRODUCT_DEFECT:
                raise ConfigError(
                    f"the modes of basis {basis!r} of {parent.model.path} are orthonormal to {defect:.1e} only in the inner "
                    f"product of {self.first.path}: weights or meshes differ; merge models of one mesh and one inner product"
                )
            start += parent.rank


def _field_scaling(pair: Sequence[Parent], norms: Mapping[str, Floats]) -> dict[str, float]:
    """The scaling of both where they agree; otherwise that which gives every field the same norm over all snapshots."""
    first, second = (dict(parent.basis.field_scaling) for parent in pair)
    if all(np.isclose(first[field], second[field], rtol=1e-12, atol=0.0) for field in first):
        return first
    totals = {field: float(np.linalg.norm(norm)) for field, norm in norms.items()}
    return {field: 1.0 / total if total > 0 else 1.0 for field, total in totals.items()}


def _total_square(pair: Sequence[Parent], stretches: Sequence[float], scale: Floats, remainders: Floats) -> float:
    if pair[0].basis.snapshot_scaling == "none":
        return sum(stretch**2 * parent.remainder.total_square for parent, stretch in zip(pair, stretches, strict=True))
    return float(np.sum((scale * remainders) ** 2))


def _uncorrelated(pair: Sequence[Parent], stretches: Sequence[float]) -> bool:
    """``E D^2 C^T = 0`` holds for every scaling of fields, and for the scaling of snapshots that the parents had."""
    same_snapshots = pair[0].basis.snapshot_scaling == "none" or (not pair[0].basis.centred and np.ptp([1.0, *stretches]) == 0.0)
    return bool(same_snapshots and all(parent.remainder.uncorrelated for parent in pair))


def check_mergeable(first: Model, second: Model) -> None:
    """Refuse two models that are not about the same thing, before anything is read.

    Raises
    ------
    ConfigError
        Says what differs: bases, fields, shapes, inner products, centring, scalings, meshes, or snapshots that are in both.
    """
    where = f"{first.path} and {second.path}"
    _same(where, "bases", *(", ".join(sorted(model.bases)) for model in (first, second)))
    for name in first.bases:
        one, other = first.bases[name], second.bases[name]
        _same(where, f"fields of basis {name!r}", ", ".join(one.fields), ", ".join(other.fields))
        _same(where, f"inner products of basis {name!r}", dict(one.inner_products), dict(other.inner_products))
        _same(where, f"centring of basis {name!r}", one.centred, other.centred)
        _same(where, f"snapshot scaling of basis {name!r}", one.snapshot_scaling, other.snapshot_scaling)
        for field in one.fields:
            shapes = [basis.modes_by_field[field].shape[1:] for basis in (one, other)]
            _same(where, f"shapes of field {field!r}", *shapes)
        _check_scaling(where, name, first, second)
    _check_meshes(where, first, second)
    _check_snapshots(where, first, second)


def _same(where: str, what: str, one: object, other: object) -> None:
    if one != other:
        raise ConfigError(
            f"the {what} differ between {where}: {one} and {other}; models are merged that differ in snapshots only"
        )


def _check_scaling(where: str, basis: str, first: Model, second: Model) -> None:
    asked = [(model.manifest.get("reduce") or {}).get("field_scaling") for model in (first, second)]
    given = [dict(model.bases[basis].field_scaling) for model in (first, second)]
    if asked != ["unit", "unit"]:
        _same(where, f"field scalings of basis {basis!r}", *given)


def _check_meshes(where: str, first: Model, second: Model) -> None:
    one, other = first.mesh, second.mesh
    if one is None or other is None:
        return
    same = one.points.shape == other.points.shape and np.array_equal(one.connectivity, other.connectivity)
    if not (same and np.allclose(one.points, other.points, rtol=0.0, atol=1e-9 * float(np.ptp(one.points)))):
        raise ConfigError(f"the meshes differ between {where}: models are merged that differ in snapshots only")


def _check_snapshots(where: str, first: Model, second: Model) -> None:
    names = [_simulations(model) for model in (first, second)]
    both = sorted(names[0] & names[1])
    if both:
        raise ConfigError(
            f"simulation {both[0]!r} is in both {where}, and would count twice; drop it from one of them first (nwidth drop)"
        )


def _simulations(model: Model) -> set[str]:
    coordinates = model.snapshots
    return {str(name) for name in coordinates["simulation"].values} if "simulation" in coordinates else set()
