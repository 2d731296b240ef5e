"""Strain, gradient and value of nodal modes at integration points: any subset of the points, any mixture of cells.

    modes (nodes, components, N)  ->  eps (points, 6, N)            small strains, Voigt 11, 22, 33, 12, 23, 13, engineering shear
    modes (nodes, N)              ->  grad (points, 3, N)           for heat conduction

    point_groups(mesh, cell, local)     where the points are: one group per cell type, with shape functions and their gradients
    strain_operator(groups, modes)      formed for these points only; all points of a large mesh are walked in chunks

With reference gradients ``G = dN/dxi (a, d)`` and nodes ``X (a, 3)`` of a cell: ``J = X^T G``, ``dN/dx = G J^-1``, and for each
mode ``grad u = (dN/dx)^T u``, ``eps = sym(grad u)`` with doubled shear, so that ``stress . eps`` over the six components is the
double contraction ``stress : eps``. Weights are ``w_q det J``. Strains have the unit of displacement per length, which is none.

Only displacement is asked of the solver, not its strains: the nonintrusive assumption. Surface cells are taken as plane strain in
the plane z = const.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.shape_functions import Quadrature, quadrature, shape_table

Integers = NDArray[np.int64]

# A visit gathers the modes at the nodes of its points: 32 MB of them, whatever the number of points asked.
VISIT_BYTES = 32 * 2**20
# A cell whose volume is this share of its size cubed is flat: gradients of it would be rounding.
FLAT = 1e-14

_PLACES = {"11": 0, "22": 1, "33": 2, "12": 3, "23": 4, "13": 5, "21": 3, "32": 4, "31": 5}


class MeshArrays(Protocol):
    """A mesh as VTK-style arrays, for example `nwidth.mesh.Mesh`."""

    @property
    def points(self) -> Floats:
        """(n, 3) coordinates."""
        ...

    @property
    def connectivity(self) -> Integers:
        """Point indices of all cells, one cell after the other."""
        ...

    @property
    def offsets(self) -> Integers:
        """(cells + 1,)."""
        ...

    @property
    def cell_types(self) -> NDArray[np.uint8]:
        """(cells,) VTK ids."""
        ...


@dataclass(frozen=True)
class PointGroup:
    """Integration points in cells of one type: k points, a nodes per cell."""

    rows: Integers
    """(k,): which of the points asked for."""
    nodes: Integers
    """(k, a)."""
    shape: Floats
    """(k, a): N_a."""
    gradient: Floats
    """(k, a, 3): dN_a / dx, in 1 / length."""
    weights: Floats
    """(k,): quadrature weights, in length^d."""


def voigt_order(names: Sequence[str]) -> Integers:
    """Positions (6,) that bring components in a solver's order to 11, 22, 33, 12, 23, 13: ``values[..., voigt_order(names)]``.

    Names end in their two directions, as letters or digits: ``SXX ... SZX``, ``eps11 ...``, in any case. Shear that the solver
    gives as a tensor component still has to be doubled where a strain is meant.

    Raises
    ------
    ValueError
        The names are not six, or do not say six different components.
    """
    ends = [name[-2:].lower().translate(str.maketrans("xyz", "123")) for name in names]
    places = [_PLACES.get(end, -1) for end in ends]
    if sorted(places) != list(range(6)):
        raise ValueError(f"components {', '.join(names)} are not a symmetric tensor's; name six ending in xx, yy, zz, xy, yz, xz")
    return np.argsort(places)


def all_points(mesh: MeshArrays, rules: Mapping[int, Quadrature] | None = None) -> tuple[Integers, Integers]:
    """Owning cell and local number of every integration point, cell by cell: two arrays (Q,).

    Cells of a type that has no rule raise ValueError; `rules` says which rule a VTK type has where it is not the default one.
    """
    given = {} if rules is None else rules
    counts = np.zeros(256, np.int64)
    for kind in np.unique(mesh.cell_types).tolist():
        counts[kind] = len((given[kind] if kind in given else quadrature(kind)).weights)
    per_cell = counts[mesh.cell_types]
    cell = np.repeat(np.arange(len(per_cell)), per_cell)
    return cell, np.arange(len(cell)) - np.repeat(np.cumsum(per_cell) - per_cell, per_cell)


def rules_by_count(cell_types: NDArray[np.uint8], cell: Integers) -> dict[int, Quadrature]:
    """The rule of every VTK type, known by the number of points that its cells have; `cell` (Q,) owns *all* points of the mesh.

    Raises
    ------
    ValueError
        Cells of one type have different numbers of points, or a number for which there is no rule.
    """
    per_cell = np.bincount(cell, minlength=len(cell_types))
    found: dict[int, Quadrature] = {}
    for kind in np.unique(cell_types[per_cell > 0]).tolist():
        counts = np.unique(per_cell[(cell_types == kind) & (per_cell > 0)])
        if len(counts) > 1:
            raise ValueError(
                f"cells of VTK type {kind} have {' or '.join(map(str, counts))} integration points; expected one rule: "
                "reduce the element sets one at a time"
            )
        found[kind] = quadrature(kind, int(counts[0]))
    return found


def point_groups(
    mesh: MeshArrays, cell: Integers, local: Integers, rules: Mapping[int, Quadrature] | None = None
) -> tuple[PointGroup, ...]:
    """Shape functions, gradients and weights of points (`cell`, `local`): all of a mesh, a chunk of them, or the reduced ones.

    Memory: about ``(4 a + 2) * 8`` bytes per point, 400 to 900.

    Parameters
    ----------
    mesh : MeshArrays
    cell, local : (Q,) arrays of int
        Owning cell and number within the cell (from 0) of every point, in any order.
    rules : mapping, optional
        VTK type to rule, where it is not the default one; see `rules_by_count`.

    Raises
    ------
    ValueError
        A cell type has no rule, a number lies outside, or a cell is inverted or flat; the message names the cell.
    """
    cell, local = np.asarray(cell, np.int64), np.asarray(local, np.int64)
    if cell.size and not 0 <= cell.min() <= cell.max() < len(mesh.cell_types):
        raise ValueError(f"points lie in cells {cell.min()} to {cell.max()}, the mesh has cells 0 to {len(mesh.cell_types) - 1}")
    kinds = mesh.cell_types[cell]
    given = {} if rules is None else rules
    return tuple(
        _group(mesh, np.flatnonzero(kinds == kind), cell, local, kind, given[kind] if kind in given else quadrature(kind))
        for kind in np.unique(kinds).tolist()
    )


def _group(mesh: MeshArrays, rows: Integers, cell: Integers, local: Integers, kind: int, rule: Quadrature) -> PointGroup:
    table = shape_table(kind, rule)
    cells, numbers = cell[rows], local[rows]
    wrong = (numbers < 0) | (numbers >= len(rule.weights))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"cell {cells[first]} (VTK type {kind}) has no integration point {numbers[first]}; its rule has {len(rule.weights)}, "
            "numbered from 0: give the solver's rule"
        )
    nodes = mesh.connectivity[mesh.offsets[cells][:, None] + np.arange(table.shape.shape[1])]
    gradient, measure = _physical_gradients(table.gradient[numbers], mesh.points[nodes], cells, numbers)
    return PointGroup(rows, nodes, table.shape[numbers], gradient, measure * table.weights[numbers])


def _physical_gradients(reference: Floats, nodes: Floats, cells: Integers, numbers: Integers) -> tuple[Floats, Floats]:
    """``dN/dx = G J^-1`` (k, a, 3) and ``det J`` (k,), of G (k, a, d) and node coordinates (k, a, 3)."""
    dim = reference.shape[2]
    jacobian = np.matmul(nodes.transpose(0, 2, 1), reference)
    size = np.linalg.norm(jacobian, axis=(1, 2))
    if dim == 2:
        _refuse(np.abs(jacobian[:, 2]).max(axis=1, initial=0.0) > 1e-12 * size, cells, numbers, "is not in a plane z = const")
        jacobian = jacobian[:, :2]
    measure = np.linalg.det(jacobian)
    inverted = ~(measure > FLAT * size**dim)
    _refuse(inverted, cells, numbers, "is flat or folded, or its nodes run against VTK's order: its Jacobian is not positive")
    gradient = np.zeros((*reference.shape[:2], 3))
    gradient[..., :dim] = np.matmul(reference, np.linalg.inv(jacobian))
    return gradient, measure


def _refuse(wrong: NDArray[np.bool_], cells: Integers, numbers: Integers, what: str) -> None:
    if wrong.any():
        first, count = int(np.argmax(wrong)), len(np.unique(cells[wrong]))
        more = f" (and {count - 1} more cells)" if count > 1 else ""
        raise ValueError(f"cell {cells[first]} {what} (integration point {numbers[first]}){more}; mend the mesh")


def used_nodes(groups: Sequence[PointGroup]) -> tuple[Integers, tuple[PointGroup, ...]]:
    """Nodes (u,) of the cells that hold the points, and the groups numbered by them: only these rows of modes are to be read."""
    nodes = np.unique(np.concatenate([group.nodes.ravel() for group in groups])) if groups else np.empty(0, np.int64)
    return nodes, tuple(replace(group, nodes=np.searchsorted(nodes, group.nodes)) for group in groups)


def point_weights(groups: Sequence[PointGroup]) -> Floats:
    """Quadrature weights (Q,), in length^d: over all points of a mesh, their sum is its measure."""
    weights = np.zeros(_count(groups))
    for group in groups:
        weights[group.rows] = group.weights
    return weights


def values_at(groups: Sequence[PointGroup], nodal: Floats) -> Floats:
    """``sum_a N_a v_a``: nodal values (nodes, ...) at the points (Q, ...): temperature, coordinates, modes."""
    flat = np.ascontiguousarray(nodal, np.float64).reshape(len(nodal), -1)
    values = np.zeros((_count(groups), flat.shape[1]))
    for group, part in _visits(groups, flat.shape[1]):
        values[group.rows[part]] = np.matmul(group.shape[part, None, :], flat[group.nodes[part]])[:, 0]
    return values.reshape(-1, *nodal.shape[1:])


def gradient_operator(groups: Sequence[PointGroup], modes: Floats) -> Floats:
    """Gradients (Q, 3, N) of scalar modes (nodes, N)."""
    return _gradients(groups, modes[:, None, :])[:, :, 0]


def conduction_operator(groups: Sequence[PointGroup], modes: Floats) -> Floats:
    """``(grad T, T)`` (Q, 4, N) of temperature modes (nodes, N): what a law of heat conduction is given at a point."""
    return np.concatenate([gradient_operator(groups, modes), values_at(groups, modes)[:, None, :]], axis=1)


def strain_operator(groups: Sequence[PointGroup], modes: Floats) -> Floats:
    """Strains (Q, 6, N) of displacement modes (nodes, 3, N), or (nodes, 2, N) in the plane.

    Order 11, 22, 33, 12, 23, 13 with engineering shear ``gamma_12 = du_1/dx_2 + du_2/dx_1``.

    Raises
    ------
    ValueError
        The modes do not have two or three components.
    """
    if modes.ndim != 3 or modes.shape[1] not in (2, 3):
        raise ValueError(f"displacement modes have the shape {modes.shape}; give (nodes, 3, N), or (nodes, 2, N) in the plane")
    padded = modes if modes.shape[1] == 3 else np.concatenate([modes, np.zeros((len(modes), 1, modes.shape[2]))], axis=1)
    strains = np.empty((_count(groups), 6, modes.shape[2]))
    for group, part in _visits(groups, 3 * modes.shape[2]):
        strains[group.rows[part]] = _symmetric(_gradient_of(group, part, padded))
    return strains


def _symmetric(grad: Floats) -> Floats:
    """Displacement gradients (k, 3 directions, 3 components, N) to strains (k, 6, N)."""
    strain = np.empty((len(grad), 6, grad.shape[3]))
    for place in range(3):
        strain[:, place] = grad[:, place, place]
    for place, (i, j) in enumerate([(0, 1), (1, 2), (0, 2)], start=3):
        np.add(grad[:, i, j], grad[:, j, i], out=strain[:, place])
    return strain


def _gradients(groups: Sequence[PointGroup], modes: Floats) -> Floats:
    """(nodes, c, N) -> (Q, 3, c, N)."""
    gradients = np.empty((_count(groups), 3, *modes.shape[1:]))
    for group, part in _visits(groups, modes.shape[1] * modes.shape[2]):
        gradients[group.rows[part]] = _gradient_of(group, part, modes)
    return gradients


def _gradient_of(group: PointGroup, part: slice, modes: Floats) -> Floats:
    """(nodes, c, N) -> (k, 3, c, N): one small product per point."""
    nodes, gradient = group.nodes[part], group.gradient[part]
    gathered = np.asarray(modes[nodes], np.float64).reshape(*nodes.shape, -1)
    return np.asarray(np.matmul(gradient.transpose(0, 2, 1), gathered).reshape(len(nodes), 3, *modes.shape[1:]))


def _visits(groups: Sequence[PointGroup], columns: int) -> Iterator[tuple[PointGroup, slice]]:
    """Slices of the groups whose gathered nodal values stay below `VISIT_BYTES`."""
    for group in groups:
        step = max(1, VISIT_BYTES // max(1, 8 * group.nodes.shape[1] * columns))
        for start in range(0, len(group.rows), step):
            yield group, slice(start, start + step)


def _count(groups: Sequence[PointGroup]) -> int:
    return sum(len(group.rows) for group in groups)
