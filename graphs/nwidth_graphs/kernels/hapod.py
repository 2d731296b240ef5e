"""Hierarchical approximate POD: the tree, the error policy and the step, which are three things.

    distributed (arity 2 or 4)                 incremental

        root                                   S0 ─ node0 ─ node1 ─ node2 ─ root
       ┌──┴──┐                                        │       │       │
     node4  node5                                     S1      S2      S3
     ┌─┴─┐  ┌─┴─┐
     S0  S1 S2  S3     every S a node, too

A node takes the *scaled modes* ``Phi_c diag(s_c)`` of its children, and groups of snapshots; it hands up its own:

    X_a = [ Phi_c1 diag(s_c1) | Phi_c2 diag(s_c2) | ... | S_g ]          (n, columns)
    X_a = U diag(s) V^T,    B_a = X_a V_N = U_N diag(s_N)                (n, N): never divided by a small singular value

The bound. What a node discards is orthogonal to all that is kept of it and discarded later, and what nodes of one level discard
belongs to different snapshots. So the squares add up: with ``|S_a|`` the Frobenius norm of the snapshots below node a, L levels
of nodes, and the tolerances

    e_a    = rtol |S_a| sqrt((1 - omega^2) / (L - 1))      below the root
    e_root = rtol |S| omega                                at the root

    sum_j ||s_j - P s_j||^2  <=  sum_levels sum_{a in level} e_a^2 + e_root^2
                             <=  rtol^2 |S|^2 (1 - omega^2)  +  rtol^2 |S|^2 omega^2  =  rtol^2 |S|^2,

because the ``|S_a|^2`` of one level add up to no more than ``|S|^2``. In the paper ``e* sqrt(number of snapshots)`` stands for
``rtol |S_a|``; with the norms, which every node knows of its own snapshots, none needs a number that is known only after all of
them were read. The root keeps no more modes than the POD of all snapshots with the tolerance ``omega rtol``:
its input is a contraction of S, so no tail of it is larger.

Cost   one read where a node's snapshots fit one task; no factor larger than a node's columns
Source C. Himpe, T. Leibner, S. Rave, Hierarchical approximate proper orthogonal decomposition, SIAM J. Sci. Comput. 40 (2018)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nwidth_graphs.kernels.namespace import array_namespace
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.kernels.svd import SmallSvd, tail_norms

# Up to this many nodes hand their modes to one root; with more, levels are put in between so that no node has too many columns.
STAR_NODES = 64


@dataclass(frozen=True)
class Node:
    """One POD of a tree; nodes are listed children first, the root last."""

    index: int
    level: int
    """1 for the nodes that are computed first."""
    children: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    """Groups of snapshots that enter here, after the children's columns."""


def distributed(groups: int, arity: int | None = None) -> tuple[Node, ...]:
    """A tree over `groups` groups: a node for each, and at most `arity` children for every node above.

    By default a star, or two levels above the leaves where a root would have more than `STAR_NODES` children.
    """
    if groups == 1:
        return (Node(0, 1, groups=(0,)),)
    arity = arity or (groups if groups <= STAR_NODES else math.ceil(math.sqrt(groups)))
    nodes = [Node(index, 1, groups=(index,)) for index in range(groups)]
    level, depth = list(range(groups)), 1
    while len(level) > 1:
        depth += 1
        parents = []
        for part in (level[start : start + arity] for start in range(0, len(level), arity)):
            if len(part) == 1:
                parents.append(part[0])
                continue
            nodes.append(Node(len(nodes), depth, children=tuple(part)))
            parents.append(nodes[-1].index)
        level = parents
    return tuple(nodes)


def incremental(groups: int) -> tuple[Node, ...]:
    """A chain: every node takes the modes so far and one more group; nothing else is ever held."""
    return tuple(Node(g, g + 1, children=(g - 1,) if g else (), groups=(g,)) for g in range(groups))


def levels(nodes: Sequence[Node]) -> int:
    """L: nodes on the longest way from a group to the root."""
    return nodes[-1].level


def node_tolerance(nodes: Sequence[Node], node: Node, rtol: float, omega: float) -> float:
    """``e_a / |S_a|``: what a node may discard, relative to the norm of the snapshots below it."""
    depth = levels(nodes)
    if depth == 1:
        return rtol
    return rtol * omega if node.index == nodes[-1].index else rtol * math.sqrt((1.0 - omega**2) / (depth - 1))


def kept(singular_values: Array, tolerance: float) -> int:
    """Smallest N with ``sqrt(sum_{i>N} s_i^2) <= tolerance`` (absolute); at least 1 where anything is there."""
    xp = array_namespace(singular_values)
    tails = tail_norms(singular_values)
    return max(1, int(xp.argmax(xp.astype(tails <= tolerance, xp.int8))))


@dataclass(frozen=True)
class Spectral:
    """A node's result without its modes."""

    singular_values: Array
    """(N,) kept."""
    right: Array
    """V_N (columns, N)."""
    energy: float
    """``|S_a|^2``: of the snapshots, not of the columns."""
    discarded: float
    """Sum of the discarded ``s_i^2``."""


def cut_node(found: SmallSvd, energy: float, relative_tolerance: float) -> Spectral:
    """Truncate one node: ``X_a V_N`` is what it hands up.

    Parameters
    ----------
    found : SmallSvd
        of the node's columns
    energy : float
        ``|S_a|^2`` of the snapshots below it
    """
    count = kept(found.values, relative_tolerance * math.sqrt(energy))
    tail = float(tail_norms(found.values)[count])
    return Spectral(found.values[:count], found.right(count), energy, tail**2)


@dataclass(frozen=True)
class DenseResult:
    """`hapod` of blocks in memory."""

    modes: Array
    """(n, N), orthonormal."""
    singular_values: Array
    largest_rank: int
    """Of a node below the root."""
    bound: float
    """``sqrt(sum of all that was discarded)``."""


def hapod(blocks: Sequence[Array], nodes: Sequence[Node], rtol: float, omega: float) -> DenseResult:
    """The whole tree on blocks (n, b_g) in memory, by singular value decompositions: the reference of the distributed passes.

    The relative projection error over all snapshots, Frobenius, is at most `rtol`.
    """
    xp = array_namespace(blocks[0])
    scaled: dict[int, Array] = {}
    results: list[Spectral] = []
    for node in nodes:
        columns = xp.concat([*(scaled.pop(c) for c in node.children), *(blocks[g] for g in node.groups)], axis=1)
        energy = sum(results[c].energy for c in node.children) + sum(float(xp.sum(blocks[g] ** 2)) for g in node.groups)
        left, values, right = xp.linalg.svd(columns, full_matrices=False)
        found = SmallSvd.of(values, xp.matrix_transpose(right))
        cut = cut_node(found, energy, node_tolerance(nodes, node, rtol, omega))
        count = cut.singular_values.shape[0]
        scaled[node.index] = left[:, :count] * cut.singular_values[None, :]
        results.append(cut)
    root = results[-1].singular_values
    return DenseResult(
        modes=scaled[nodes[-1].index] / root[None, :],
        singular_values=root,
        largest_rank=max((r.singular_values.shape[0] for r in results[:-1]), default=0),
        bound=math.sqrt(sum(result.discarded for result in results)),
    )
