"""The representatives of the clusters as fields, drawn as modes are: on their mesh, on their grid, along a line.

A model keeps no snapshots. What is drawn is ``mean + Phi_k q`` of the representative on the basis of its own cluster, whose
measured error stands in the title.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.models.atlas import GLOBAL
from nwidth.report import words
from nwidth.report.modes import FieldModes
from nwidth.report.record import FieldPlace

if TYPE_CHECKING:
    from nwidth.mesh import Mesh
    from nwidth.models.atlas import Atlas
    from nwidth.report.styling import Plot

# A field of one sign leans at most this far to the other side.
ONE_SIGN = 0.2
MOST_MEDOIDS = 12


@dataclass(frozen=True)
class FieldMedoids(FieldModes):
    """The representatives of an atlas in one field; the first `n_modes` clusters."""

    atlas: Atlas | None = None

    @property
    def what(self) -> str:
        """For the words beside a picture."""
        return f"Representatives of the clusters in {self.name}"

    @property
    def note(self) -> str:
        """How the pictures are scaled."""
        left = 0 if self.atlas is None else self.atlas.count - self.n_modes
        more = f" {left} more are not drawn." if left > 0 else ""
        return f"Each representative as its own local basis reproduces it, with colours of its own.{more}"

    def items(self) -> Iterator[tuple[str, NDArray[np.float64], bool]]:
        """(title, values (*space[, component]), signed?) of the representatives."""
        if self.atlas is None:
            return
        for cluster in range(min(self.n_modes, self.atlas.count)):
            values = reproduced(self.atlas, cluster, self.name)
            snapshot = int(self.atlas.medoid_snapshots[cluster])
            missed = words.error(self.atlas.errors[cluster, snapshot])
            name = self.atlas.items[int(self.atlas.medoids[cluster])]
            yield f"{cluster}: {name}, error {missed}", values, not self.has_components and _two_signs(values)


def reproduced(atlas: Atlas, cluster: int, field: str) -> NDArray[np.float64]:
    """``mean + Phi q`` of the representative of a cluster on its own basis: (*space[, component])."""
    basis = atlas.local_bases[cluster]
    place = int(np.searchsorted(atlas.members(cluster), atlas.medoid_snapshots[cluster]))
    q = np.asarray(basis.coefficients[:, place], np.float64)
    modes = basis.modes_by_field[field]
    values: NDArray[np.float64] = np.tensordot(q, np.asarray(modes.values, np.float64), axes=1)
    return values + np.asarray(basis.mean_by_field[field].values, np.float64) if field in basis.mean_by_field else values


def _two_signs(values: NDArray[np.float64]) -> bool:
    low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=0.0))
    return min(-low, high) > ONE_SIGN * max(-low, high)


def medoids_of(atlas: Atlas, field: str, place: FieldPlace) -> FieldMedoids:
    """The representatives in one field, at most `MOST_MEDOIDS` of them."""
    return FieldMedoids(atlas.bases[GLOBAL], field, place, min(atlas.count, MOST_MEDOIDS), atlas=atlas)


def medoids(atlas: Atlas, field: str | None = None, mesh: Mesh | None = None) -> Plot:
    """The representative of every cluster, as its local basis reproduces it.

    Parameters
    ----------
    field : of several, which; the first by default
    mesh : that the field lives on, as ``model.mesh``; without one, fields that are not on a grid are lines over their index

    Raises
    ------
    ConfigError
        There is no such field, or it does not fit the mesh.
    """
    from nwidth.report import plots
    from nwidth.report.mesh_plots import mesh_modes

    basis = atlas.bases[GLOBAL]
    name = basis.fields[0] if field is None else field
    if name not in basis.fields:
        raise ConfigError(f"the atlas has no field {name!r}; it has {words.listing(basis.fields)}")
    attributes: Any = basis.modes_by_field[name].attrs
    place = FieldPlace(
        location=str(attributes.get("location", "node")),
        components=tuple(str(item) for item in attributes.get("components", ()) or ()),
        units=str(attributes.get("units", "")),
    )
    found = medoids_of(atlas, name, place)
    if len(found.dims) > 1:
        return plots.grid_modes(found)
    if mesh is not None:
        return mesh_modes(found, mesh)
    dim = found.dims[0]
    coordinates = basis.modes_by_field[name].coords
    unit = str(coordinates[dim].attrs.get("units", "")) if dim in coordinates else ""
    return plots.line_modes(found, found.axis(dim), dim if dim in coordinates else f"index of {dim}", unit)
