"""First pass: the small factor of every field, in one graph.

    S_f (n_f, m)  ──blocks──>  factor_f (m, m): Gram matrix or R          one read of the data

Fields keep separate factors: a scaling per field, a joint basis, or one basis each, all act on the factors afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from nwidth_graphs.leaves import MergePartials, close_factor, factor_leaf, ship_block
from nwidth_graphs.placement import leaf_annotations
from nwidth_graphs.reduction import Reduction
from nwidth_graphs.source import FieldSource, without_array
from nwidth_graphs.strips import blocks_of_factor
from nwidth_graphs.trees import TaskGraph, Tree, build


def factor_graph(sources: Sequence[FieldSource], reduction: Reduction, token: str, device: str = "cpu") -> TaskGraph:
    """The graph of one pass over all fields; its roots, named by `factor_root`, are `leaves.Partial` values.

    Builds only: nothing is read here.
    """
    return build([_tree(source, reduction, device) for source in sources], token, leaf_annotations(device))


def factor_root(field: str, reduction: Reduction) -> str:
    """Name of a field's root."""
    return f"{reduction.name}-{field}"


def _tree(source: FieldSource, reduction: Reduction, device: str) -> Tree:
    blocks = blocks_of_factor(source, reduction, device)
    return Tree(
        method=reduction.name,
        field=source.name,
        leaf=factor_leaf,
        blocks=blocks,
        merge=MergePartials(reduction),
        close=close_factor,
        shared={"source": without_array(source), "reduction": reduction},
        array=source.array,
        read=ship_block if blocks is source.panels else None,
        in_turn=reduction.merges_in_turn(source.snapshots),
    )
