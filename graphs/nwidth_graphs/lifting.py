"""Second pass: lift the bases of all fields, write their modes, and measure the certificate, in one graph.

    S_f (n_f, m) ──blocks──> Phi_f = S_f T  written where it is made ──> sums for the certificate      one read of the data

The modes never travel: a leaf writes its own rows and returns `LiftSums` of size r x (r + m).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import close_lift, lift_leaf, merge_lift_partials, ship_block
from nwidth_graphs.placement import leaf_annotations
from nwidth_graphs.reduction import sums_in_turn
from nwidth_graphs.source import FieldSource, without_array
from nwidth_graphs.trees import TaskGraph, Tree, build

Write = Callable[[Panel, Array, Array | None], None]
"""``write(panel, modes (r, rows), mean (rows,) or None)``: called in the worker, once per panel."""


@dataclass(frozen=True)
class Lift:
    """What is lifted for one field, ``Phi = S T``, how its errors are measured, and where its modes go."""

    source: FieldSource
    transform: Array
    """(m, r)."""
    predicted: Array | None
    """(r, m): the coefficients that the factor predicts, where the residual is to be formed; None where Pythagoras does."""
    write: Write


def lift_graph(lifts: Sequence[Lift], token: str, device: str = "cpu") -> TaskGraph:
    """The graph of one pass over all fields; its roots, named by `lift_root`, are `leaves.LiftPartial` values."""
    return build([_tree(lift) for lift in lifts], token, leaf_annotations(device))


def lift_root(field: str) -> str:
    """Name of a field's root."""
    return f"lift-{field}"


def _tree(lift: Lift) -> Tree:
    shared: Mapping[str, object] = {
        "source": without_array(lift.source),
        "write": lift.write,
        "transform": lift.transform,
        "predicted": lift.predicted,
    }
    return Tree(
        method="lift",
        field=lift.source.name,
        leaf=lift_leaf,
        blocks=lift.source.panels,
        merge=merge_lift_partials,
        close=close_lift,
        shared=shared,
        array=lift.source.array,
        read=ship_block,
        in_turn=sums_in_turn(lift.source.snapshots, lift.transform.shape[1]),
    )
