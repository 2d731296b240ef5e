"""Two ways to a rule over chunks of points: in two levels, or in passes.

    two levels     chunk d:  own integrals b_d, own rule to the tolerance  ──> its points' columns     one read of the integrands
                   driver:   b = sum of b_d, one search on the union of all columns

    one level      visit:    residual down ──> best points of every eighth chunk, their columns up      a read for eight visits
                   driver:   non-negative least squares on what came; the next visit, of the next chunks

A local rule meets ``||r_d|| <= tolerance ||b_d||``, and the ||b_d|| add up to more than ||b||, because what cancels between
chunks does not cancel within one. So the local rules together have too many points and are not accurate enough; only their points
are taken, and the second level weighs them anew: about as many points as a search that sees everything. Where the union does
not do, passes of the one-level form bring what is missing.

With one point for each visit the one-level form is the classic method, and waits for messages and for a read at every point. A
pool of points needs a tenth of the visits for as many points. Most of its points are never used, because the residual soon is
another, so that nothing is lost where a visit sees some of the chunks only, in turn: partial pricing, as linear programs have
it. That no point is left that helps is known only when all chunks say so, one visit after the other.
The one-level form is the one for very many points, and for integrands that are cheaper to make again than to keep. Whoever
executes graphs gives `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nwidth_graphs.cubature import (
    Candidates,
    Integrals,
    IntegrandSource,
    LocalRules,
    Visit,
    constant_row,
    error_graph,
    error_root,
    integrals_graph,
    integrals_root,
    local_graph,
    local_root,
    price_graph,
    price_root,
)
from nwidth_graphs.kernels.angles import Floats
from nwidth_graphs.kernels.cubature import CLASSIC_ENTRIES, POOL, rule_of
from nwidth_graphs.kernels.nnls import Fit, Pool, in_memory, noise, search, worth_of
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.rule import IntegrationError, Rule, check_integrals
from nwidth_graphs.leaves import Tally
from nwidth_graphs.trees import TaskGraph

Run = Callable[[TaskGraph], Mapping[str, Any]]
"""Executes a graph: root name -> value."""

# A visit sees every eighth chunk. On 2000 x 200 000 integrands in 40 chunks (one of each eight, four, two; all): 2.9, 7.3, 15.5
# and 38 reads for 136, 133, 137 and 128 points; with chunks that are compact in space 4.5, 6, 11 and 23 for 133, 133, 134, 134.
PARTS = 8
# Chunks of a visit at least: they keep workers busy, and lie all over the structure.
CHUNKS_OF_A_VISIT = 8


@dataclass(frozen=True)
class DistributedRule:
    """A rule, and what it cost."""

    rule: Rule
    integrals: Integrals
    counts: tuple[int, ...]
    """Points that every chunk proposed in the first of two levels; empty in the one-level form."""
    passes: int
    """Reads of all integrands, rounded up; `Rule.visits` counts every visit of some of them."""
    bytes_read: int
    peak_process_bytes: int
    """The largest of the workers that read them."""


def two_level_rule(
    source: IntegrandSource,
    tolerance: float,
    run: Run,
    *,
    normalised: bool = False,
    volume: bool = False,
    trim: bool = False,
    pool: int = POOL,
    initial: Sequence[int] | Indices = (),
) -> DistributedRule:
    """A rule in one read: local rules on the workers, then one search on the union of their points.

    Parameters
    ----------
    tolerance : float
        On ``||G omega - b|| / ||b||``, of the local rules, too, on their own integrals.
    run : callable
        Executes a graph.
    normalised, volume, trim
        As for `kernels.cubature.nnomp`.
    pool : int
        Points that a visit of a chunk proposes to its local search, and a further pass to the driver.
    initial : numbers of points
        Tried before all others, by the local searches and by the last one: the points of a rule that is to be enriched.

    Raises
    ------
    ValueError
        An integral is not finite, or all are zero and the volume is not kept.
    """
    first = np.unique(np.asarray(initial, np.int64))
    graph = local_graph(source, tolerance, source.name, normalised=normalised, volume=volume, pool=pool, initial=first)
    local: LocalRules = run(graph)[local_root(source.name)]
    state = _Passes(source, local.integrals, run, normalised, volume, trim, pool)
    state.count(local.candidates.tally)
    columns = state.with_constant(local.candidates.columns)
    many = 1 if columns.size <= CLASSIC_ENTRIES else pool
    price = in_memory(columns, pool=many, normalised=normalised)
    places = np.flatnonzero(np.isin(local.candidates.numbers, first))
    start = Pool(places, columns[:, places])
    fit = search(state.target, price, tolerance, normalised=normalised, worth=worth_of(many), initial=start, trim=trim)
    union = replace(fit, numbers=local.candidates.numbers[fit.numbers])
    if fit.ended != "tolerance" and tolerance > 0.0:
        union = state.search(tolerance, Pool(union.numbers, columns[:, fit.numbers]))
    return state.result(union, local.counts)


def one_level_rule(
    source: IntegrandSource,
    tolerance: float,
    run: Run,
    *,
    normalised: bool = False,
    volume: bool = False,
    trim: bool = False,
    pool: int = POOL,
) -> DistributedRule:
    """A rule by visits of the chunks: a read of all for the integrals, then one of some, in turn, for every pool of points.

    Parameters and errors are those of `two_level_rule`; `pool` of 1 is the classic method, a read of all for every point.
    """
    found: Integrals = run(integrals_graph(source, source.name))[integrals_root(source.name)]
    state = _Passes(source, found, run, normalised, volume, trim, pool)
    state.count(found.tally)
    return state.result(state.search(tolerance, None), ())


def measured_error(source: IntegrandSource, points: Indices, weights: Floats, run: Run) -> IntegrationError:
    """The error of a rule on integrands that it may never have seen, in one read of them."""
    found: IntegrationError = run(error_graph(source, points, weights, source.name))[error_root(source.name)]
    return found


class _Passes:
    """What a search on the driver carries from pass to pass."""

    def __init__(
        self, source: IntegrandSource, found: Integrals, run: Run, normalised: bool, volume: bool, trim: bool, pool: int
    ) -> None:
        self.source, self.found, self.run = source, found, run
        self.normalised, self.trim, self.pool = normalised, trim, pool
        self.constant = constant_row(found.values, found.volume) if volume else None
        self.target = found.values if self.constant is None else np.append(found.values, self.constant * found.volume)
        check_integrals(self.target)
        self.size = float(np.linalg.norm(self.target))
        self.parts = 1 if pool == 1 else min(PARTS, max(1, len(source.panels) // CHUNKS_OF_A_VISIT))
        self.turn = 0
        self.tallies: list[Tally] = []

    def count(self, tally: Tally) -> None:
        """One more visit."""
        self.tallies.append(tally)

    def with_constant(self, columns: Floats) -> Floats:
        """Columns with the row of the volume, where it is kept."""
        if self.constant is None:
            return columns
        return np.concatenate([columns, np.full((1, columns.shape[1]), self.constant)])

    def price(self, residual: Floats, taken: Sequence[int]) -> Pool:
        """A visit of the chunks whose turn it is, and of the next where these know no point that helps; empty where none does."""
        visit = Visit(residual, np.sort(np.asarray(taken, np.int64)), self.pool, self.normalised, self.constant)
        for _ in range(self.parts):
            chunks = replace(self.source, panels=self.source.panels[self.turn :: self.parts])
            self.turn = (self.turn + 1) % self.parts
            found: Candidates = self.run(price_graph(chunks, visit, chunks.name))[price_root(chunks.name)]
            self.count(found.tally)
            norms = np.linalg.norm(found.columns, axis=0)
            if np.any(residual @ found.columns > noise(norms, self.size)):
                return Pool(found.numbers, found.columns)
        return Pool(np.zeros(0, np.int64), np.zeros((len(residual), 0)))

    def search(self, tolerance: float, initial: Pool | None) -> Fit:
        """Visits until the tolerance is met, or no point is left that helps."""
        worth, normalised = worth_of(self.pool), self.normalised
        return search(self.target, self.price, tolerance, normalised=normalised, worth=worth, initial=initial, trim=self.trim)

    def result(self, fit: Fit, counts: tuple[int, ...]) -> DistributedRule:
        """The rule and what it cost."""
        rule = replace(rule_of(fit, np.array([self.found.volume])), visits=len(self.tallies))
        total = Tally.merge(self.tallies)
        passes = -(-total.blocks // len(self.source.panels))
        return DistributedRule(rule, self.found, counts, passes, total.bytes_read, total.peak_process_bytes)
