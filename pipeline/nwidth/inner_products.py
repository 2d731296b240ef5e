"""A mesh's own inner product, cut along the panels of a field: patches on disk, one per panel, and the interface between them.

    mesh ──cells within one panel──> patch files (local points and cells)      read by the task that reduces the panel
         └─cells that straddle──> Interface (few: a surface)                   closed at the root of the tree

`M` itself is never assembled for the whole mesh and never factorized (`docs/decisions/0005-element-form-mass.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import MeshError
from nwidth.mesh import Mesh
from nwidth_graphs.inner import BlockProduct, Interface, MassProduct
from nwidth_graphs.kernels.elements import quadrature_weights, reference_element, supported_cell_types
from nwidth_graphs.kernels.mass import ElementPatch
from nwidth_graphs.layout import Panel

Cells = dict[int, NDArray[np.int64]]


@dataclass(frozen=True)
class PatchFiles:
    """``product(panel)``: the mass of the elements within a panel, from its patch file."""

    folder: str
    components: int

    def __call__(self, panel: Panel) -> BlockProduct:
        with np.load(Path(self.folder) / f"{panel.index}.npz", allow_pickle=False) as patch:
            cells = {int(name.removeprefix("cells_")): patch[name] for name in patch.files if name.startswith("cells_")}
            return MassProduct(ElementPatch(patch["points"], cells, self.components))


def mass_cells(mesh: Mesh) -> Cells:
    """The cells that carry the mass, by VTK type: those of the highest dimension in the mesh.

    Raises
    ------
    MeshError
        The mesh has no cells, a cell type without a mass matrix, or an inverted or degenerate cell (named).
    """
    if not (mesh.cell_types != 1).any():  # a vertex (type 1) has no extent
        raise MeshError('the mesh has no cells, so inner_product = "mass" is not defined; use "identity" or stored weights')
    known = supported_cell_types()
    kinds = {int(kind) for kind in np.unique(mesh.cell_types)}
    unknown = sorted(kinds - set(known) - {1})
    if unknown:
        raise MeshError(
            f"cells of VTK type {', '.join(map(str, unknown))} have no mass matrix here (known: {', '.join(known.values())}); "
            'use "identity", or store weights of your own'
        )
    dimension = max(reference_element(kind).gradient.shape[2] for kind in kinds - {1})
    cells: Cells = {}
    for kind in sorted(kinds - {1}):
        if reference_element(kind).gradient.shape[2] < dimension:
            continue
        numbers = np.flatnonzero(mesh.cell_types == kind)
        width = reference_element(kind).shape.shape[1]
        cells[kind] = mesh.connectivity[mesh.offsets[numbers][:, None] + np.arange(width)]
        _refuse_degenerate(mesh, cells[kind], kind, numbers)
    return cells


def _refuse_degenerate(mesh: Mesh, cells: NDArray[np.int64], kind: int, numbers: NDArray[np.int64]) -> None:
    step = 65536
    for start in range(0, len(cells), step):
        weights = quadrature_weights(mesh.points, cells[start : start + step], kind)
        bad = np.flatnonzero(~(weights > 0).all(axis=1))
        if bad.size:
            raise MeshError(
                f"cell {int(numbers[start + bad[0]])} is inverted or has no volume, so its mass is not positive; mend the mesh, "
                'or use inner_product = "identity"'
            )


@dataclass(frozen=True)
class CutMass:
    """A mass matrix, cut along the panels of a field."""

    product: PatchFiles
    interface: Interface | None
    mass_entries: int
    """Entries of the element masses of the fullest panel, which is what a worker holds."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a `FieldSource` that stand for this inner product."""
        return {"product": self.product, "interface": self.interface, "mass_entries": self.mass_entries}


def cut_mass(mesh: Mesh, panels: Sequence[Panel], components: int, folder: Path) -> CutMass:
    """Write one patch per panel under `folder`, and return what reads them and the interface between panels."""
    cells = mass_cells(mesh)
    starts = np.array([panel.selection[0].start for panel in panels])
    panel_of_node = np.searchsorted(starts, np.arange(mesh.n_points), side="right") - 1
    straddling: Cells = {}
    inside: dict[int, Cells] = {panel.index: {} for panel in panels}
    for kind, block in cells.items():
        owner = panel_of_node[block]
        first, last = owner.min(axis=1), owner.max(axis=1)
        if (first != last).any():
            straddling[kind] = block[first != last]
        within, panel_of_cell = block[first == last], first[first == last]
        within = within[np.argsort(panel_of_cell, kind="stable")]
        indices, counts = np.unique(panel_of_cell, return_counts=True)
        for index, count, stop in zip(indices, counts, np.cumsum(counts), strict=True):
            inside[int(index)][kind] = within[stop - count : stop]
    folder.mkdir(parents=True, exist_ok=True)
    for panel in panels:
        nodes = panel.selection[0]
        local = {f"cells_{kind}": block - nodes.start for kind, block in inside[panel.index].items()}
        np.savez(folder / f"{panel.index}.npz", points=mesh.points[nodes], **local)
    entries = max(sum(block.size * block.shape[1] for block in cells.values()) for cells in inside.values())
    interface = _interface(mesh, straddling, panel_of_node, starts, components)
    return CutMass(PatchFiles(str(folder), components), interface, max(entries * components, 1))


def _interface(
    mesh: Mesh, straddling: Cells, panel_of_node: NDArray[np.int64], starts: NDArray[np.int64], components: int
) -> Interface | None:
    if not straddling:
        return None
    nodes = np.unique(np.concatenate([block.ravel() for block in straddling.values()]))
    local = {kind: np.searchsorted(nodes, block) for kind, block in straddling.items()}
    owner = panel_of_node[nodes]
    rows = {
        int(panel): ((nodes[owner == panel] - starts[panel])[:, None] * components + np.arange(components)).ravel()
        for panel in np.unique(owner)
    }
    return Interface(ElementPatch(mesh.points[nodes], local, components), rows)
