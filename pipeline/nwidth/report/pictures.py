"""What the modes of a basis look like: on their mesh, on their grid, along a line, or by index.

    mesh field    point, cell, integration-point values     a tile per mode and part, drawn by `Scene`
    grid field    2-D as an image, 3-D as three slices      one figure
    1-D field     a line per component                      one figure
    no place      values by index                           one figure

A mode has no size of its own. It is drawn times the root mean square of its coefficient, so that a picture shows, in the
field's unit, what the mode typically contributes to a snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh
from nwidth.report import words
from nwidth.report.modes import FieldModes, Part
from nwidth.report.scene import Painting, Scene
from nwidth.report.surface import FLAT, dimension

if TYPE_CHECKING:
    from nwidth.report.styling import Plot

# A picture has fewer pixels than this, and loading a mode takes eight bytes a value.
LARGEST_FIELD = 20_000_000


@dataclass(frozen=True)
class Tile:
    """A picture that the scene draws, and its words."""

    title: str
    alt: str
    part: Part
    number: int
    """Place among the scene's pictures."""


@dataclass(frozen=True)
class FieldPictures:
    """Pictures of one field's modes: tiles of a scene, or one figure; and a remark where something is not as expected."""

    tiles: tuple[Tile, ...] = ()
    figure: Plot | None = None
    alt: str = ""
    remark: str = ""
    units: str = ""
    note: str = ""
    """How the pictures are scaled."""


def draw_field(modes: FieldModes, mesh: Mesh | None, point_cell: NDArray[np.int64] | None, scene: Scene | None) -> FieldPictures:
    """Pictures of one field, in the way that its place asks for."""
    from nwidth.report import plots

    array, place = modes.basis.modes_by_field[modes.name], modes.place
    units, what = place.units, modes.what
    if int(np.prod(array.shape[1:])) > LARGEST_FIELD:
        return FieldPictures(remark=f"{words.number(int(np.prod(array.shape[1:])))} values are too many to draw here.")
    if len(modes.dims) > 1:
        return FieldPictures(figure=plots.grid_modes(modes), alt=f"{what} on the grid {' × '.join(modes.dims)}.", units=units)
    if mesh is not None and scene is not None and place.location in ("node", "cell", "point"):
        if dimension(mesh) == 1 and place.location == "node" and (along := straight_line(mesh)) is not None:
            axis, unit = along
            return FieldPictures(
                figure=plots.line_modes(modes, mesh.points[:, axis], "xyz"[axis], unit), alt=f"{what} along the line."
            )
        return _draw_on_mesh(modes, mesh, point_cell, scene)
    dim = modes.dims[0] if modes.dims else "index"
    label = dim if modes.dims and dim in array.coords else f"index of {dim}"
    unit = str(array.coords[dim].attrs.get("units", "")) if dim in array.coords else ""
    places = modes.axis(dim) if modes.dims else np.zeros(1)
    return FieldPictures(figure=plots.line_modes(modes, places, label, unit), alt=f"{what} against {label}.", units=units)


def straight_line(mesh: Mesh) -> tuple[int, str] | None:
    """(axis, unit) of a mesh whose points lie along one coordinate axis, else None."""
    sides = np.ptp(mesh.points, axis=0)
    long = np.flatnonzero(sides > FLAT * sides.max())
    return (int(long[0]), mesh.length_unit) if len(long) == 1 else None


def _draw_on_mesh(modes: FieldModes, mesh: Mesh, point_cell: NDArray[np.int64] | None, scene: Scene) -> FieldPictures:
    owner, remark = (None, "") if modes.place.location != "point" else owning_cells(modes, mesh, point_cell)
    expected = {"node": mesh.n_points, "cell": mesh.n_cells}.get(modes.place.location, 0 if owner is None else len(owner))
    n_values = modes.basis.modes_by_field[modes.name].sizes[modes.dims[0]]
    if expected != n_values:
        return FieldPictures(remark=remark or f"The field has {n_values} values and the mesh {expected}: not drawn.")
    tiles = []
    for title, values, signed in modes.items():
        for part in modes.parts(values, signed=signed):
            # Colours reach as far as what is drawn does, which the mean over a cell may not.
            part = replace(part, values=shown_values(part.values, owner, mesh))
            low, high = part.limits
            number = scene.add(Painting(part.values, painted_on(modes), low, high, part.colours))
            name = f"{title}: {part.name}" if part.name else title
            span = words.with_unit(f"{words.number(low)} to {words.number(high)}", modes.place.units)
            alt = f"{modes.name}, {name}, drawn on the mesh; values from {span}"
            # The picture is on disk already; only its limits are still needed.
            tiles.append(Tile(name, alt, Part(part.name, np.array([low, high]), part.signed), number))
    averaged = "" if owner is None else "Integration-point values are averaged over each cell. "
    return FieldPictures(tuple(tiles), remark=(averaged + remark).strip(), units=modes.place.units)


def painted_on(modes: FieldModes) -> Literal["point", "cell"]:
    """Whether values colour points or cells of the mesh."""
    return "point" if modes.place.location == "node" else "cell"


def shown_values(values: NDArray[np.float64], owner: NDArray[np.int64] | None, mesh: Mesh) -> NDArray[np.float64]:
    """Values as a mesh shows them: those of integration points averaged over the cells that `owner` names."""
    return values if owner is None else cell_means(values, owner, mesh.n_cells)


def owning_cells(modes: FieldModes, mesh: Mesh, point_cell: NDArray[np.int64] | None) -> tuple[NDArray[np.int64] | None, str]:
    """Owning cell of each integration point, as the model says it, or by order where all cells have equally many."""
    n_values = int(modes.basis.modes_by_field[modes.name].sizes[modes.dims[0]])
    if point_cell is not None and len(point_cell) == n_values:
        return point_cell, ""
    if mesh.n_cells and n_values % mesh.n_cells == 0:
        each = n_values // mesh.n_cells
        return np.repeat(
            np.arange(mesh.n_cells), each
        ), f"The model does not say which cell a point lies in: {each} per cell, in order, are assumed."
    return None, f"The model does not say in which of {mesh.n_cells} cells the {n_values} integration points lie: not drawn."


def cell_means(values: NDArray[np.float64], owner: NDArray[np.int64], n_cells: int) -> NDArray[np.float64]:
    """Mean over the integration points of each cell; NaN for a cell without any."""
    amount = np.bincount(owner, minlength=n_cells)
    total = np.bincount(owner, values, n_cells)
    means: NDArray[np.float64] = np.divide(total, amount, out=np.full(n_cells, np.nan), where=amount > 0)
    return means
