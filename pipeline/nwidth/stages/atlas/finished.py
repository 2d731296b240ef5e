"""An atlas of a finished basis: from its coefficients alone, for as many snapshots as there are coefficients of.

    q_j (N,) of snapshot j, |q_j|^2 = |s_j|^2 (1 - e_j^2)      e_j: what the basis misses of it, from its certificate
    local basis k      Phi_k = Phi T_k                         T_k (N, r) orthonormal: no snapshot is needed to make it
    |s_j - P_k s_j|^2  =  |s_j|^2 e_j^2  +  |q_j - T_k T_k' q_j|^2

What the basis missed is orthogonal to all of its span, so that the squares add up: errors on local bases are as exact as the
certificate. Where that is a bound, they are bounds. No field is read; modes of local bases are formed when they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nwidth.errors import ConfigError, PlanError
from nwidth.models.atlas import GLOBAL, Atlas, cluster_name
from nwidth.models.basis import Basis, Spectrum
from nwidth.models.certificate import Certificate
from nwidth.stages.atlas.chart import Chart, Wanted, chart
from nwidth.stages.atlas.coordinates import Coordinates
from nwidth.stages.atlas.cuts import LocalCut
from nwidth.stages.atlas.lifting import Lifted
from nwidth.stages.atlas.reduction import atlas_of
from nwidth.stages.atlas.trials import MOST_CLUSTERS
from nwidth.stages.lifting import frobenius, ratios
from nwidth.stages.problem import BasisParts
from nwidth_graphs.kernels.angles import unit_columns

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

# Snapshots whose residuals are formed at once: with 200 modes, 13 MB.
COLUMNS = 8192
# Copies of the coefficients that are alive at once: as given, normalised, as vectors of items, and two on the way to unit length.
COPIES = 5


@dataclass(frozen=True)
class Finished:
    """A basis whose snapshots are to be parted."""

    basis: Basis

    @property
    def coefficients(self) -> Floats:
        """(N, m)."""
        return np.asarray(self.basis.coefficients.values, np.float64)

    def atlas(self, wanted: Wanted, memory: int) -> Atlas:
        """Partition, local bases and errors; `wanted` holds rank or rtol of the local bases.

        Raises
        ------
        PlanError
            The coefficients with what is made of them do not fit `memory` bytes.
        ConfigError
            As `nwidth.stages.atlas.chart.chart`.
        """
        q = self.coefficients
        refuse_memory(q.shape, memory)
        unit, norms = unit_columns(q)
        with threadpool_limits(1):
            coordinates = Coordinates(unit, norms, np.finfo(np.float64).eps * max(q.shape))
            found = chart(coordinates, wanted)
            errors = np.stack([self._errors(coordinates, cut) for cut in found.cuts])
        normalised = wanted.section.normalise
        bases = [self._basis(cluster, cut, errors[cluster], normalise=normalised) for cluster, cut in enumerate(found.cuts)]
        atlas = atlas_of(found, self._lifted(found, errors, bases), wanted.section)
        whole = replace(self.basis, name=GLOBAL)
        return replace(
            atlas,
            bases={GLOBAL: whole, **{basis.name: basis for basis in bases}},
            notes=(*atlas.notes, *self._notes()),
        )

    def _errors(self, coordinates: Coordinates, cut: LocalCut) -> Floats:
        """(m,): relative errors of all snapshots on one local basis."""
        own = self.basis.certificate.relative_errors
        missed = np.empty(len(own))
        for start in range(0, len(own), COLUMNS):
            columns = coordinates.unit[:, start : start + COLUMNS]
            missed[start : start + COLUMNS] = np.linalg.norm(columns - cut.modes @ (cut.modes.T @ columns), axis=0)
        kept = np.maximum(1.0 - own**2, 0.0)
        return np.asarray(np.where(coordinates.norms > 0.0, np.sqrt(own**2 + kept * missed**2), own))

    def _basis(self, cluster: int, cut: LocalCut, errors: Floats, *, normalise: bool) -> Basis:
        whole, proof = self.basis, self.basis.certificate
        norms = proof.snapshot_norms[cut.own]
        squares = (errors[cut.own] * norms) ** 2
        field = {whole.fields[0]: frobenius(squares, norms, np.ones(len(norms)))} if len(whole.fields) == 1 else {}
        # |T'ET| <= |E| <= N max |E_ij|, with E what the whole basis lacks of orthonormal.
        defect = whole.rank * proof.orthogonality_defect
        certificate = Certificate(
            relative_errors=ratios(np.sqrt(squares), norms),
            snapshot_norms=norms,
            frobenius_error=frobenius(squares, norms, _scale(norms, normalise=normalise)) if np.any(norms > 0.0) else 0.0,
            expected_error=cut.expected_error,
            field_errors=field if np.any(norms > 0.0) else {},
            orthogonality_defect=defect,
            measured_defect=defect,
            masked_unknowns=proof.masked_unknowns,
            bound=proof.bound,
        )
        return replace(
            whole,
            name=cluster_name(cluster),
            spectrum=Spectrum(cut.singular_values, cut.floor, "coefficients", "a rotation within the span of a finished basis"),
            certificate=certificate,
            modes_by_field={name: _rotated(modes, cut.modes) for name, modes in whole.modes_by_field.items()},
            coefficients=whole.coefficients.isel({whole.coefficients.dims[1]: cut.own})
            .isel(mode=slice(0, cut.rank))
            .copy(data=cut.own_coefficients),
            snapshot_scaling="unit" if normalise else "none",
            truncation=cut.truncation,
        )

    def _lifted(self, found: Chart, errors: Floats, bases: Sequence[Basis]) -> Lifted:
        modes = np.hstack([cut.modes for cut in found.cuts])
        parts = [
            BasisParts(
                name=basis.name,
                fields=basis.fields,
                spectrum=basis.spectrum,
                coefficients=np.asarray(basis.coefficients.values),
                certificate=basis.certificate,
                field_scaling=basis.field_scaling,
                truncation=basis.truncation,
            )
            for basis in (self.basis, *bases)
        ]
        return Lifted(tuple(parts), errors, modes.T @ modes, {})

    def _notes(self) -> list[str]:
        proof = self.basis.certificate
        note = (
            f"made of the coefficients of a finished basis, which misses {proof.frobenius_error:.1e} of the snapshots "
            f"({proof.worst_error:.1e} at worst): errors of all bases contain that, the gains of the trials do not"
        )
        bound = ["the errors of that basis are upper bounds, and so are all that contain them"] if proof.bound else []
        return [note, *bound]


def refuse_memory(shape: tuple[int, ...], memory: int) -> None:
    """Refuse coefficients (N, m) that do not fit beside what is made of them.

    Raises
    ------
    PlanError
        With what is needed.
    """
    modes, snapshots = shape
    needed = 8 * snapshots * (COPIES * modes + 4 * MOST_CLUSTERS)
    if needed > memory:
        raise PlanError(
            f"parting {snapshots} snapshots by {modes} coefficients takes {needed / 2**20:.0f} MiB, and memory is "
            f"{memory / 2**20:.0f} MiB; raise it, or keep fewer modes"
        )


def finished_basis(given: object) -> Basis | None:
    """The basis that is meant by a basis, a model or the path of one; None for anything else.

    Raises
    ------
    ConfigError
        The model has several bases, none of which spans all.
    """
    import os

    from nwidth.models.model import Model, open_model

    if isinstance(given, Basis):
        return given
    if isinstance(given, str | os.PathLike):
        given = open_model(os.fspath(given))
    if not isinstance(given, Model):
        return None
    if GLOBAL in given.bases:
        return given.bases[GLOBAL]
    if len(given.bases) > 1:
        raise ConfigError(f"{given.path} has several bases; give one of model.bases: {', '.join(given.bases)}")
    return given.basis


def _scale(norms: Floats, *, normalise: bool) -> Floats:
    inverse = np.where(norms > 0.0, 1.0 / np.where(norms > 0.0, norms, 1.0), 1.0)
    return inverse if normalise else np.ones(len(norms))


def _rotated(modes: xr.DataArray, T: Floats) -> xr.DataArray:
    """``Phi T``, lazy where the modes are."""
    import xarray as xr

    turn = xr.DataArray(T, dims=("whole", "mode"))
    made: xr.DataArray = xr.dot(turn, modes.rename(mode="whole"), dim="whole").transpose("mode", *modes.dims[1:])
    return made.rename(modes.name).assign_attrs(modes.attrs)
