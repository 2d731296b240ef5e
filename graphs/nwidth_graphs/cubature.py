"""Empirical cubature over chunks of points that are never gathered: the graphs of its passes, and what runs in their tasks.

    integrals   b_d of every chunk ──add──> b
    local       own rule of every chunk, to the tolerance on its own b_d ──> its points, with their columns    first of two levels
    price       residual down; every chunk's best points, with their columns, up                               a pass of one level
    error       both integrals of every chunk: with all of its points, and with those of a rule

A block comes from a reader, as strains and stresses where integrands are work (`kernels.integrands`): G is never stored. Builders
compute nothing; `cubature_search` runs them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from nwidth_graphs.kernels.angles import Floats
from nwidth_graphs.kernels.cubature import CLASSIC_ENTRIES, POOL
from nwidth_graphs.kernels.integrands import Integrands, WithConstant, best_points, visiting
from nwidth_graphs.kernels.nnls import Pool, search, worth_of
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.rule import IntegrationError
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import Tally, peak_process_bytes
from nwidth_graphs.trees import TaskGraph, Tree, build


@dataclass(frozen=True)
class PointBlock:
    """What a reader gives of one panel of points."""

    integrands: Integrands
    weights: Floats
    """(points,) of the full rule."""
    bytes_read: int = 0


@dataclass(frozen=True)
class IntegrandSource:
    """Integrands over chunks of points; panels have one space dimension, the numbers of the points."""

    name: str
    panels: tuple[Panel, ...]
    read: Callable[[Panel], PointBlock]


@dataclass(frozen=True)
class Integrals:
    """Sums over points: what no search can do without."""

    values: Floats
    """b (R,)"""
    volume: float
    norms: float
    """Sum of the norms of the chunks' own integrals; beside the norm of `values` it says how much cancels between chunks."""
    tally: Tally


@dataclass(frozen=True)
class Candidates:
    """Points that chunks found promising, with their columns."""

    numbers: Indices
    """(c,) among all points"""
    scores: Floats
    """(c,) what they are worth; ones where a local rule chose them"""
    columns: Floats
    """(R, c)"""
    tally: Tally


@dataclass(frozen=True)
class LocalRules:
    """The first of two levels: integrals, and the points of all local rules."""

    integrals: Integrals
    candidates: Candidates
    counts: tuple[int, ...]
    """Points of every chunk, in their order."""
    unmet: int
    """Chunks whose local rule missed the tolerance: their best points came all the same."""


@dataclass(frozen=True)
class Visit:
    """What a pass takes down to the chunks."""

    residual: Floats
    taken: Indices
    """Points that are in use, ascending: nobody proposes them."""
    pool: int
    """Points that are wanted of all chunks together."""
    normalised: bool = False
    constant: float | None = None
    """The row of the volume, the last of the residual's."""


def integrals_graph(source: IntegrandSource, token: str) -> TaskGraph:
    """One pass for ``b = G w``; its root is `Integrals`."""
    return build([_tree("integrals", source, integrals_leaf, merge_integrals, {})], token)


def price_graph(source: IntegrandSource, visit: Visit, token: str) -> TaskGraph:
    """One pass for the most promising points; its root is `Candidates`."""
    share = -(-visit.pool // len(source.panels))
    merge = partial(merge_candidates, keep=max(visit.pool, 1) if visit.pool == 1 else share * len(source.panels))
    return build([_tree("price", source, price_leaf, merge, {"visit": visit, "share": share})], token)


def local_graph(
    source: IntegrandSource,
    tolerance: float,
    token: str,
    *,
    normalised: bool = False,
    volume: bool = False,
    pool: int = POOL,
    initial: Indices | None = None,
) -> TaskGraph:
    """One pass for the rules of all chunks, which try the points `initial` (ascending) first; its root is `LocalRules`."""
    first = np.zeros(0, np.int64) if initial is None else initial
    shared = {"tolerance": tolerance, "normalised": normalised, "volume": volume, "pool": pool, "initial": first}
    return build([_tree("local", source, local_leaf, merge_local, shared)], token)


def error_graph(source: IntegrandSource, points: Indices, weights: Floats, token: str) -> TaskGraph:
    """One pass for the error of a rule; its root is `IntegrationError`."""
    shared = {"points": np.asarray(points, np.int64), "reduced": weights}
    return build([_tree("check", source, error_leaf, merge_errors, shared)], token)


def integrals_root(name: str) -> str:
    """Name of the root of `integrals_graph`."""
    return f"integrals-{name}"


def price_root(name: str) -> str:
    """Name of the root of `price_graph`."""
    return f"price-{name}"


def local_root(name: str) -> str:
    """Name of the root of `local_graph`."""
    return f"local-{name}"


def error_root(name: str) -> str:
    """Name of the root of `error_graph`."""
    return f"check-{name}"


def _tree(
    method: str,
    source: IntegrandSource,
    leaf: Callable[..., Any],
    merge: Callable[[Sequence[Any]], Any],
    shared: Mapping[str, Any],
) -> Tree:
    # Every task brings its own panel, so the list of all of them stays behind.
    sent = {"integrands": replace(source, panels=()), **shared}
    return Tree(method, source.name, leaf, source.panels, merge, _close, sent)


def _close(result: Any, **_: Any) -> Any:
    return result


# --- what runs inside a task ---------------------------------------------------------------------------------------------------


def integrals_leaf(panel: Panel, *, integrands: IntegrandSource) -> Integrals:
    """The integrals over one chunk."""
    block, read = _read(integrands, panel)
    return _integrals_of(block, read.done)


def price_leaf(panel: Panel, *, integrands: IntegrandSource, visit: Visit, share: int) -> Candidates:
    """The most promising points of one chunk."""
    block, read = _read(integrands, panel)
    seen = block.integrands if visit.constant is None else WithConstant(block.integrands, visit.constant)
    start, stop = _range(panel)
    taken = visit.taken[(visit.taken >= start) & (visit.taken < stop)] - start
    places, scores = best_points(seen, visit.residual, taken, share, seen.norms() if visit.normalised else None)
    return Candidates(places + start, scores, seen.columns(places), read.done())


def local_leaf(
    panel: Panel, *, integrands: IntegrandSource, tolerance: float, normalised: bool, volume: bool, pool: int, initial: Indices
) -> LocalRules:
    """The rule of one chunk, of which the points are of use, and the chunk's share of the initial points."""
    block, read = _read(integrands, panel)
    own = _integrals_of(block, read.done)
    seen: Integrands = block.integrands
    target = own.values
    if volume and own.volume:
        constant = constant_row(own.values, own.volume)
        seen, target = WithConstant(seen, constant), np.append(target, constant * own.volume)
    many = pool if block.integrands.rows * block.integrands.points > CLASSIC_ENTRIES else 1
    price = visiting(seen, pool=many, normalised=normalised)
    start, stop = _range(panel)
    first = initial[(initial >= start) & (initial < stop)] - start
    pool_first = Pool(first, seen.columns(first))
    fit = search(target, price, tolerance, normalised=normalised, worth=worth_of(many), initial=pool_first)
    # The last search begins with all initial points, also with those that this chunk alone had no use for.
    proposed = np.concatenate([fit.numbers, np.setdiff1d(first, fit.numbers)])
    candidates = Candidates(proposed + start, np.ones(len(proposed)), block.integrands.columns(proposed), read.done())
    return LocalRules(own, candidates, (len(proposed),), int(fit.ended != "tolerance"))


def error_leaf(panel: Panel, *, integrands: IntegrandSource, points: Indices, reduced: Floats) -> IntegrationError:
    """Both integrals over one chunk, and their difference."""
    block, _ = _read(integrands, panel)
    start, stop = _range(panel)
    here = (points >= start) & (points < stop)
    full = block.integrands.integrals(block.weights)
    return IntegrationError(full, block.integrands.columns(points[here] - start) @ reduced[here] - full)


def merge_integrals(parts: Sequence[Integrals]) -> Integrals:
    """Sums over chunks."""
    return Integrals(
        values=np.sum([part.values for part in parts], axis=0),
        volume=sum(part.volume for part in parts),
        norms=sum(part.norms for part in parts),
        tally=Tally.merge([part.tally for part in parts]),
    )


def merge_candidates(parts: Sequence[Candidates], *, keep: int | None = None) -> Candidates:
    """All of them, or the `keep` best, in ascending order; at equal scores the lowest numbers, whatever the tree."""
    numbers, scores = np.concatenate([part.numbers for part in parts]), np.concatenate([part.scores for part in parts])
    best = np.lexsort((numbers, -scores))[:keep]
    chosen = best[np.argsort(numbers[best])]
    columns = np.concatenate([part.columns for part in parts], axis=1)[:, chosen]
    return Candidates(numbers[chosen], scores[chosen], columns, Tally.merge([part.tally for part in parts]))


def merge_local(parts: Sequence[LocalRules]) -> LocalRules:
    """Integrals add up, points come together."""
    return LocalRules(
        integrals=merge_integrals([part.integrals for part in parts]),
        candidates=merge_candidates([part.candidates for part in parts]),
        counts=tuple(count for part in parts for count in part.counts),
        unmet=sum(part.unmet for part in parts),
    )


def merge_errors(parts: Sequence[IntegrationError]) -> IntegrationError:
    """Both integrals add up."""
    return IntegrationError(np.sum([part.integrals for part in parts], axis=0), np.sum([part.errors for part in parts], axis=0))


@dataclass(frozen=True)
class _Reading:
    """When a block was asked for, when it was there, and what it weighed."""

    started: float
    there: float
    bytes_read: int

    def done(self) -> Tally:
        """What it cost until now."""
        return Tally(
            bytes_read=self.bytes_read,
            read_seconds=self.there - self.started,
            compute_seconds=time.perf_counter() - self.there,
            blocks=1,
            peak_process_bytes=peak_process_bytes(),
        )


def _read(source: IntegrandSource, panel: Panel) -> tuple[PointBlock, _Reading]:
    started = time.perf_counter()
    block = source.read(panel)
    if block.weights.shape != (block.integrands.points,) or block.integrands.points != panel.rows:
        found = f"a block of {block.integrands.points} points with weights of shape {block.weights.shape} was read"
        raise ValueError(f"{found} for a panel of {panel.rows} points; the reader must give the points of the panel")
    return block, _Reading(started, time.perf_counter(), block.bytes_read)


def _integrals_of(block: PointBlock, done: Callable[[], Tally]) -> Integrals:
    values = block.integrands.integrals(block.weights)
    return Integrals(values, float(block.weights.sum()), float(np.linalg.norm(values)), done())


def _range(panel: Panel) -> tuple[int, int]:
    return panel.selection[0].start, panel.selection[0].stop


def constant_row(b: Floats, volume: float) -> float:
    """The value of a constant whose integral is ``||b||``, or 1 where b is zero.

    Raises
    ------
    ValueError
        The volume is zero.
    """
    if volume == 0.0:
        raise ValueError("the quadrature weights add up to zero, so that there is no volume to keep; leave the volume out")
    return (float(np.linalg.norm(b)) or abs(volume)) / volume
