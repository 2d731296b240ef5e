"""Drop snapshots from a model: no field is read, only modes.

    S_kept = Phi Q_kept + E_kept,    Q_kept D = F diag(t) G^T,    new modes Phi F: a rotation within the span of the old ones

Where the errors of the model were measured, e_j is orthogonal to Phi, and the certificate is exact:

    ||s_j - Phi F F^T q_j||^2  =  ||(I - F F^T) q_j||^2 + ||e_j||^2

The stored factor gives the spectrum of the kept snapshots themselves (columns of R, or rows and columns of the Gram matrix), and
with it the error that the best basis of the same rank would have: how much of them lies outside of span(Phi). A centred basis
keeps the mean that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.models.basis import Spectrum
from nwidth.models.model import Model
from nwidth.stacking import FieldColumns, MeansReader, modes_of
from nwidth.stages.combining import Combination
from nwidth.stages.parents import Parent, stored_factor
from nwidth.stages.problem import Floats
from nwidth_graphs.cores import all_cores
from nwidth_graphs.kernels.svd import tail_norms
from nwidth_graphs.recombination import Recombination, Remainder
from nwidth_graphs.reduction import Reduction, reduction_named

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Drop:
    """A model, and the snapshots that are kept."""

    model: Model
    kept: Indices

    def columns(self) -> dict[str, FieldColumns]:
        """Field -> the modes."""
        return {
            field: FieldColumns(name, (modes_of(self.model.path, name, field, basis.rank),), (self.model,))
            for name, basis in self.model.bases.items()
            for field in basis.fields
        }

    def means(self) -> dict[str, MeansReader]:
        """Field -> the mean that is kept."""
        return {
            field: MeansReader((Parent(self.model, name).folder(field),), (1.0,))
            for name, basis in self.model.bases.items()
            if basis.centred
            for field in basis.fields
        }

    def combination(self, basis: str, factors: Mapping[str, Floats]) -> Combination:
        """The kept snapshots in terms of the modes."""
        parent, kept = Parent(self.model, basis), self.kept
        before, scale = parent.remainder, parent.scale[kept]
        remainder = Remainder(
            norms=before.norms[kept],
            # Less than the sum over the kept ones where all were certified jointly, and never more than it was before.
            total_square=min(float(np.sum((scale * before.norms[kept]) ** 2)), before.total_square),
            orthogonal=before.orthogonal,
        )
        norms = {field: values[kept] for field, values in parent.field_norms.items()}
        return Combination(
            Recombination(parent.coefficients[:, kept], remainder, parent.norms[kept], scale),
            dict(parent.basis.field_scaling),
            norms,
            self._field_remainders(parent, remainder, scale),
        )

    def _field_remainders(self, parent: Parent, remainder: Remainder, scale: Floats) -> dict[str, float]:
        """What was left out of one field: at most of all snapshots, and, of a single field, that of those that are kept."""
        if len(parent.basis.fields) > 1:
            return parent.field_remainders
        (field,) = parent.basis.fields
        return {field: float(np.linalg.norm(remainder.norms)) / parent.basis.field_scaling[field]}

    def kept_factors(self) -> tuple[str, dict[str, Floats]] | None:
        """(reduction, field -> factor) of the kept snapshots; None where the model keeps none."""
        found = {}
        for basis in self.model.bases.values():
            for field in basis.fields:
                stored = stored_factor(self.model, field)
                if stored is None:
                    return None
                found[field] = _columns_of(stored[1], stored[0], self.kept)
        return str(self.model.manifest["factor"]), found

    def exact_spectrum(self, basis: str) -> Spectrum | None:
        """The spectrum of the kept snapshots themselves; None where the model keeps no factor."""
        stored = self.kept_factors()
        if stored is None:
            return None
        parent, reduction = Parent(self.model, basis), reduction_named(stored[0])
        values = _spectrum({name: stored[1][name] for name in parent.basis.fields}, parent, self.kept, reduction)
        floor = reduction.floor(float(values[0]), len(values))
        return Spectrum(values, floor, reduction.name, "of the kept snapshots, from the factor that the model keeps")


def optimal_error(spectrum: Spectrum, rank: int) -> float:
    """Relative error that the best basis of this rank would have: ``sqrt(sum_{i>N} s_i^2 / sum_i s_i^2)``."""
    tails = tail_norms(spectrum.singular_values)
    return float(tails[min(rank, len(tails) - 1)] / tails[0]) if tails[0] > 0 else 0.0


def _columns_of(factor: Floats, kind: str, kept: Indices) -> Floats:
    if kind == "gram":
        return factor[np.ix_(kept, kept)]
    square = np.zeros((len(kept), len(kept)))
    reduced = np.linalg.qr(factor[:, kept], mode="r")
    square[: len(reduced)] = reduced
    return square


def _spectrum(factors: Mapping[str, Floats], parent: Parent, kept: Indices, reduction: Reduction) -> Floats:
    scaling = parent.basis.field_scaling
    joint = reduction.merge([reduction.scale(factors[field], scaling[field]) for field in factors])
    with all_cores(len(kept)):
        values = reduction.finish(reduction.column_scale(joint, parent.scale[kept])).values
    rows = sum(int(np.prod(modes.shape[1:])) for modes in parent.basis.modes_by_field.values())
    return np.asarray(values[: min(rows, len(values))])


def kept_snapshots(model: Model, simulations: Sequence[str], snapshots: Sequence[int]) -> Indices:
    """Indices of the snapshots that stay.

    Raises
    ------
    ConfigError
        An unknown simulation or index, nothing to drop, or nothing left.
    """
    coordinates, count = model.snapshots, int(next(iter(model.bases.values())).coefficients.shape[1])
    stays = np.ones(count, dtype=bool)
    names = np.asarray(coordinates["simulation"].values.astype(object)) if "simulation" in coordinates else np.empty(0, object)
    for name in simulations:
        if name not in names:
            known = ", ".join(list(dict.fromkeys(names.tolist()))[:20]) or "none by name"
            raise ConfigError(f"simulation {name!r} is not in {model.path}; it has {known}")
        stays &= names != name
    for index in snapshots:
        if not 0 <= index < count:
            raise ConfigError(f"snapshot {index} is not in {model.path}; it has 0 to {count - 1}")
        stays[index] = False
    if stays.all():
        raise ConfigError(f"nothing was named that {model.path} should drop; name simulations or snapshots of it")
    if not stays.any():
        raise ConfigError(f"all {count} snapshots of {model.path} would be dropped; keep at least one")
    return np.flatnonzero(stays)
