"""Interpolation points of a basis that is larger than memory: a tournament in one pass, or the exact choice in some passes.

    tournament   U (n, r) ──blocks──> <= r rows each ──merge of 8: pivots among their rows──> r rows           one pass
    exact        U (n, r) ──blocks──> the farthest rows from Q, and how far the next one is ──> pivots, Q      a pass for each
    round

A tournament proposes what each block holds for its best, and plays the proposals against each other: as many synchronisations as
the tree has levels, whatever r is. Its points have full rank (see `kernels.interpolation.proposal_floor`), and amplify somewhat
more than those of Q-DEIM; how much is measured, since the rows chosen are at hand. The exact choice takes pivots from what the
blocks sent for as long as no row that was not sent can be farther; with a `pool` of 1 that is one pass for each point, the
step-synchronous Q-DEIM.

Blocks are those of a `FieldSource` whose "snapshots" are the modes, (rows, r). Rows are numbered as in the field's own order, C
order of its space dimensions. The inner product of the source plays no part: interpolation is Euclidean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nwidth_graphs.budget import PROCESS_BYTES, SCIPY_BYTES, PassCost
from nwidth_graphs.kernels.interpolation import (
    POOL,
    Floats,
    Indices,
    Proposal,
    amplification_of,
    choose_from_pool,
    lowered,
    merge_proposals,
    proposal_floor,
    propose,
    row_squares,
)
from nwidth_graphs.kernels.panels import PANEL_ROWS, Array
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import MAX_BAD_VALUES, BadValue, Tally, find_bad_values, read_block, ship_block, tally_of
from nwidth_graphs.reduction import FLOAT
from nwidth_graphs.source import FieldSource, Reading, without_array
from nwidth_graphs.trees import FAN_IN, SHARED_TASKS, TaskGraph, Tree, build, tree_tasks

Execute = Callable[[TaskGraph], Mapping[str, Any]]
"""Runs a graph and gives root name -> value."""


@dataclass(frozen=True)
class Proposed:
    """What some blocks propose, what they cost, and the bad values met."""

    proposal: Proposal
    tally: Tally
    bad: tuple[BadValue, ...] = ()

    @property
    def amplification(self) -> float:
        """``||(P^T U)^+||_2`` of the points, for an orthonormal basis."""
        return amplification_of(self.proposal.rows)


@dataclass(frozen=True)
class Farthest:
    """The rows of some blocks that are farthest from the directions so far."""

    candidates: Proposal
    """The farthest first."""
    distances: Floats
    """(p,): squared."""
    outside: float
    """Largest squared distance of a row that is not among them."""
    tally: Tally
    bad: tuple[BadValue, ...] = ()


@dataclass(frozen=True)
class ExactPoints:
    """Q-DEIM points of the whole basis."""

    proposal: Proposal
    rounds: int
    """Passes over the basis."""
    tally: Tally
    bad: tuple[BadValue, ...] = ()


def tournament_graph(sources: Sequence[FieldSource], token: str, *, orthonormal: bool = True) -> TaskGraph:
    """The graph of one pass over some bases; its roots, named by `tournament_root`, are `Proposed` values.

    Parameters
    ----------
    orthonormal : bool
        Whether ``U^T U = I``, by which blocks know what they need not propose; of a basis that is orthonormal in another inner
        product, or of none, every block proposes all r rows.
    """
    return build([_tournament(source, orthonormal) for source in sources], token)


def tournament_root(field: str) -> str:
    """Name of a field's root."""
    return f"qdeim-{field}"


def _tournament(source: FieldSource, orthonormal: bool) -> Tree:
    floor = proposal_floor(source.rows) if orthonormal else 0.0
    return Tree(
        method="qdeim",
        field=source.name,
        leaf=propose_leaf,
        blocks=source.panels,
        merge=partial(merge_proposed, source.snapshots),
        close=close_proposed,
        shared={"source": without_array(source), "space": space_of(source.panels), "floor": floor},
        array=source.array,
        read=ship_block,
    )


def propose_leaf(
    panel: Panel, *, source: FieldSource, space: tuple[int, ...], floor: float, reading: Array | Reading | None = None
) -> Proposed:
    """The rows that one block proposes."""
    started = time.perf_counter()
    found = read_block(source, panel, reading)
    read_done = time.perf_counter()
    block, norms, bad = _checked(source, panel, found.values)
    proposal = propose(block, row_numbers(panel, space)[: len(block)], source.snapshots, floor, norms)
    return Proposed(proposal, tally_of(found, started, read_done), bad)


def merge_proposed(count: int, parts: Sequence[Proposed]) -> Proposed:
    """One match of the tournament: at most `count` rows go on."""
    return Proposed(
        proposal=merge_proposals([part.proposal for part in parts], count),
        tally=Tally.merge([part.tally for part in parts]),
        bad=tuple(bad for part in parts for bad in part.bad)[:MAX_BAD_VALUES],
    )


def close_proposed(proposed: Proposed, *, source: FieldSource, **_: Any) -> Proposed:
    """At the root: the order of pivoting, also where one block alone played and chose by its own relaxed rule."""
    return merge_proposed(source.snapshots, [proposed])


def exact_points(
    source: FieldSource, execute: Execute, token: str, *, count: int | None = None, pool: int | None = None
) -> ExactPoints:
    """Q-DEIM points of one basis, in rounds.

    Parameters
    ----------
    count : int, optional
        Points wanted, all r by default. Fewer are returned where the basis has a smaller rank.
    pool : int, optional
        Rows that a block sends, and that a merge hands on: ``4 r`` by default; 1 is one round for each point.
    """
    wanted = min(count or source.snapshots, source.snapshots)
    size = POOL * source.snapshots if pool is None else pool
    chosen = Proposal(np.empty(0, np.int64), np.empty((0, source.snapshots)))
    Q, tallies, rounds = np.empty((source.snapshots, 0)), list[Tally](), 0
    while Q.shape[1] < wanted:
        found: Farthest = execute(distances_graph(source, Q, size, token))[distances_root(source.name)]
        rounds += 1
        tallies.append(found.tally)
        if found.bad:
            return ExactPoints(chosen, rounds, Tally.merge(tallies), found.bad)
        places, Q = choose_from_pool(found.candidates.rows, Q, wanted, found.outside)
        if len(places) == 0:
            break
        new = found.candidates
        chosen = Proposal(np.concatenate([chosen.numbers, new.numbers[places]]), np.concatenate([chosen.rows, new.rows[places]]))
    return ExactPoints(chosen, rounds, Tally.merge(tallies))


def distances_graph(source: FieldSource, directions: Floats, pool: int, token: str) -> TaskGraph:
    """The graph of one round; its root, named by `distances_root`, is a `Farthest` value.

    Parameters
    ----------
    directions : (r, k), orthonormal
    pool : rows that a block sends, and that a merge hands on
    """
    tree = Tree(
        method="qdeim-round",
        field=source.name,
        leaf=farthest_leaf,
        blocks=source.panels,
        merge=partial(merge_farthest, pool),
        close=_as_it_is,
        shared={
            "source": without_array(source), "space": space_of(source.panels), "directions": directions, "pool": pool,
        },
        array=source.array,
        read=ship_block,
    )  # fmt: skip
    return build([tree], token)


def distances_root(field: str) -> str:
    """Name of a field's root."""
    return f"qdeim-round-{field}"


def farthest_leaf(
    panel: Panel,
    *,
    source: FieldSource,
    space: tuple[int, ...],
    directions: Floats,
    pool: int,
    reading: Array | Reading | None = None,
) -> Farthest:
    """The rows of one block that are farthest from the directions."""
    started = time.perf_counter()
    found = read_block(source, panel, reading)
    read_done = time.perf_counter()
    block, norms, bad = _checked(source, panel, found.values)
    distances = lowered(norms, norms, block, directions, 0) if directions.shape[1] else norms
    order = np.argsort(-distances, kind="stable")
    sent = order[:pool]
    candidates = Proposal(row_numbers(panel, space)[sent], np.asarray(block[sent], np.float64))
    outside = float(distances[order[pool]]) if len(order) > pool else 0.0
    return Farthest(candidates, distances[sent], outside, tally_of(found, started, read_done), bad)


def merge_farthest(pool: int, parts: Sequence[Farthest]) -> Farthest:
    """The `pool` farthest rows of all; the first that is left behind is a bound for the others."""
    numbers = np.concatenate([part.candidates.numbers for part in parts])
    rows = np.concatenate([part.candidates.rows for part in parts])
    distances = np.concatenate([part.distances for part in parts])
    order = np.argsort(-distances, kind="stable")
    kept, left = order[:pool], order[pool:]
    return Farthest(
        candidates=Proposal(numbers[kept], rows[kept]),
        distances=distances[kept],
        outside=max(*(part.outside for part in parts), float(distances[left].max(initial=0.0))),
        tally=Tally.merge([part.tally for part in parts]),
        bad=tuple(bad for part in parts for bad in part.bad)[:MAX_BAD_VALUES],
    )


def _as_it_is(found: Farthest, **_: Any) -> Farthest:
    return found


def _checked(source: FieldSource, panel: Panel, block: Array) -> tuple[Array, Floats, tuple[BadValue, ...]]:
    """The block and the squares of its rows; no rows, and what is wrong with them, where they are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # said in words by the edge
        norms = row_squares(block)
        finite = bool(np.isfinite(np.sum(norms)))
    if finite:
        return block, norms, ()
    return np.empty((0, source.snapshots)), np.empty(0), find_bad_values(source.name, panel, np.asarray(block))


def space_of(panels: Sequence[Panel]) -> tuple[int, ...]:
    """Shape of the field that the panels cover."""
    return tuple(max(part.stop for part in parts) for parts in zip(*(panel.selection for panel in panels), strict=True))


def row_numbers(panel: Panel, space: tuple[int, ...]) -> Indices:
    """Numbers (rows,) of a panel's rows in the whole field, both in C order."""
    number = np.zeros((), np.int64)
    for axis, part in enumerate(panel.selection):
        number = number[..., None] + np.arange(part.start, part.stop, dtype=np.int64) * math.prod(space[axis + 1 :])
    return number.ravel()


# --- what it costs: pure arithmetic, as in `budget` -----------------------------------------------------------------------------


def tournament_cost(sources: Sequence[FieldSource], *, stored_bytes: int, decode_bytes: int, threads: int) -> PassCost:
    """The one pass of a tournament: a product ``U Q`` of all blocks at most.

    Parameters
    ----------
    stored_bytes, decode_bytes, threads : as in `nwidth_graphs.budget`
    """
    block = max(source.largest_panel * (source.snapshots * source.itemsize + 6 * FLOAT) for source in sources)
    modes = max(source.snapshots for source in sources)
    # The pool, its residuals and what projecting it takes; one panel and its product.
    scratch = FLOAT * modes * (5 * 2 * POOL * modes + 3 * PANEL_ROWS)
    return PassCost(
        name="interpolation points",
        reads=1,
        bytes_to_read=stored_bytes,
        flops=sum(2.0 * source.rows * source.snapshots**2 for source in sources),
        tasks=sum(tree_tasks(len(source.panels)) + SHARED_TASKS for source in sources),
        peak_bytes=PROCESS_BYTES + SCIPY_BYTES + threads * (block + decode_bytes + scratch) + 2 * (FAN_IN + 2) * FLOAT * modes**2,
    )
