"""The reduced integration domain: the elements about selected nodes and points, and some layers of their neighbours.

    elements attached to a selected node, and those that hold a selected integration point     stencil
    + every element that shares a node with one of them, `layers` times                        grown
    free nodes: all of their elements are inside, so that their equilibrium is integrated whole

      . . . . . .        . = element outside    o = layer    x = stencil
      . o o o . .
      . o x o . .        The equilibrium is asked for at free nodes only; there are no weights, and nothing keeps the energy,
      . o o o . .        but the domain is contiguous, which laws with neighbours need.
      . . . . . .

Source     D. Ryckelynck, Int. J. Numer. Meth. Engng 77 (2009), hyper-reduction of mechanical models
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from nwidth_graphs.kernels.partition import Indices


@dataclass(frozen=True)
class IntegrationDomain:
    """Elements and nodes of a reduced integration domain."""

    elements: Indices
    """Ascending."""
    nodes: Indices
    """All nodes of these elements, ascending."""
    free_nodes: Indices
    """Those of them that no element outside shares: test functions live here."""


def incidence(cells: Indices | list[Indices], nodes: int) -> sp.csr_array:
    """(elements, nodes) with a one where a node belongs to an element; cells (E, k), or a list of arrays of any lengths.

    Raises
    ------
    ValueError
        A cell names a node that does not exist.
    """
    lengths = np.array([len(cell) for cell in cells])
    columns = np.concatenate([np.asarray(cell, np.int64) for cell in cells]) if len(cells) else np.zeros(0, np.int64)
    if len(columns) and not 0 <= columns.min() <= columns.max() < nodes:
        raise ValueError(f"a cell names node {columns.max()} and there are {nodes} nodes; give nodes from 0 to {nodes - 1}")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return sp.csr_array((np.ones(len(columns)), columns, starts), shape=(len(lengths), nodes))


def integration_domain(
    belongs: sp.csr_array, nodes: Indices, *, elements: Indices | None = None, layers: int = 1
) -> IntegrationDomain:
    """The reduced integration domain about nodes and elements that an interpolation selected.

    Parameters
    ----------
    belongs : (E, nodes) sparse array
        `incidence`.
    nodes : selected nodes
    elements : selected elements, those of selected integration points
    layers : layers of neighbours to add

    Raises
    ------
    ValueError
        Nothing is selected, `layers` is negative, or a number does not exist.
    """
    chosen = np.zeros(0, np.int64) if elements is None else np.asarray(elements, np.int64)
    if layers < 0 or not len(nodes) + len(chosen):
        found = f"{len(nodes)} nodes, {len(chosen)} elements and {layers} layers were given"
        raise ValueError(f"{found}; select at least one node or element, and 0 layers or more")
    inside = np.zeros(belongs.shape[0], bool)
    for name, numbers, count in (("element", chosen, belongs.shape[0]), ("node", np.asarray(nodes), belongs.shape[1])):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
            raise ValueError(f"{name} {numbers.max()} was selected and there are {count}; give numbers from 0 to {count - 1}")
    inside[chosen] = True
    touched = np.zeros(belongs.shape[1], bool)
    touched[nodes] = True
    inside |= belongs @ touched > 0
    for _ in range(layers):
        inside = belongs @ (belongs.T @ inside > 0) > 0
    covered, missing = belongs.T @ inside > 0, belongs.T @ ~inside > 0
    return IntegrationDomain(np.flatnonzero(inside), np.flatnonzero(covered), np.flatnonzero(covered & ~missing))
