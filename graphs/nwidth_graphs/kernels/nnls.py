"""Non-negative least squares, one column after another: few columns of G, with positive coefficients, that reproduce b.

    min ||G x - b||  over x >= 0,  left as soon as  ||G x - b|| <= tolerance ||b||

    price     scores G^T r of all columns -> a pool: the most promising ones          one visit of G
    enter     the best of the pool joins the columns in use; Q R gains a column
    step      unconstrained solution on them; where it is not positive, back along the segment, and what is zero leaves
              ... until the pool is worth little beside what it was, or r is small; then the next visit
    trim      on demand: go on to half of the tolerance, then drop what costs least while the tolerance holds

An exact solver ends at the minimum, with as many columns as G has rank. Whoever stops at a tolerance needs half of them, and that
is most of the speed; the rest is that the factorization of the columns in use is updated and never made anew, and that one visit
of all columns serves several steps. A pool of one column is the classic method.

How columns are visited is the caller's: an array in memory here (`in_memory`), chunks on workers in `nwidth_graphs.cubature`.

Cost       2 R Q for a visit of G (R, Q); 4 R a to enter a column beside a others; 2 R a^2 at most to drop some
Sources    C. Lawson, R. Hanson, Solving least squares problems (1974), chapter 23; T. Chapman et al., Int. J. Numer. Meth.
           Engng 109 (2017) for the early end
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.linalg import solve_triangular

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.partition import Indices

# Below this share of its norm, what a column adds to the span of those in use is rounding: two weights would share one task.
DEPENDENT = 1e-12
# A pool is left for the next visit when its best score has fallen to this share of what it was. On 2000 x 50000 integrands any
# share from 0.1 to 0.5 gives the points of the classic method to 2 %, in 27 to 72 visits in place of 1271.
WORTH = 0.3
# How far beyond the tolerance a search goes that is trimmed: columns exchanged there make room for dropping one in ten.
OVERSHOOT = 0.5
# Steps without a smaller residual after which there is no use in going on.
PATIENCE = 100

Ended = Literal["tolerance", "optimum", "stalled", "limit"]
"""Why a search ended: the tolerance is met; no column lowers the residual any more (the minimum over all x >= 0); the residual
did not fall for `PATIENCE` steps; the largest number of steps or of columns."""


@dataclass(frozen=True)
class Pool:
    """Columns that one visit of G found promising."""

    numbers: Indices
    """(c,): which columns of G."""
    columns: Floats
    """(R, c) in float64."""


Price = Callable[[Floats, Sequence[int]], Pool]
"""``price(residual (R,), taken)``: one visit of all columns but those in `taken`; an empty pool where no score is positive."""


@dataclass(frozen=True)
class Fit:
    """Columns in use when a search ended, in the order in which they entered."""

    numbers: Indices
    """(a,)"""
    values: Floats
    """(a,) positive"""
    residual: Floats
    """(R,) b - G x"""
    error: float
    """||r|| / ||b|| at the end; 0 where b is zero."""
    history: Floats
    """||r|| / ||b|| after every step, trimming not among them"""
    ended: Ended
    unique: bool
    """False where a column that was tried lies in the span of those in use: it could take a part of their values."""
    condition: float
    """Of the columns in use, each scaled to norm one; 1 where there is none."""
    visits: int
    """Of all columns of G."""


class ActiveColumns:
    """Q R of the columns in use and the projection of b on them, updated as they come and go."""

    def __init__(self, target: Floats) -> None:
        self.residual = target.copy()
        self.count = 0
        self._target = target
        self._Q = np.empty((16, len(target)))
        self._R = np.zeros((16, 16))
        self._along = np.empty(16)

    def append(self, column: Floats) -> bool:
        """Add a column; False, and nothing is changed, where it lies in the span of those that are there."""
        if self.count == len(self._along):
            self._grow()
        Q, norm = self._Q[: self.count], np.linalg.norm(column)
        along = Q @ column
        rest = column - along @ Q
        again = Q @ rest  # twice is enough
        rest -= again @ Q
        length = float(np.linalg.norm(rest))
        if not length > DEPENDENT * norm:
            return False
        a = self.count
        self._Q[a] = rest / length
        self._R[:a, a], self._R[a, : a + 1] = along + again, 0.0
        self._R[a, a] = length
        self._along[a] = self._Q[a] @ self.residual
        self.residual = self.residual - self._along[a] * self._Q[a]
        self.count += 1
        return True

    def remove(self, places: Indices) -> None:
        """Drop the columns at these places; what was left of the first of them keeps its part of Q R."""
        first, a = int(places.min()), self.count
        keep = np.setdiff1d(np.arange(first, a), places)
        # The last column alone, the commonest case but one, needs no rotation.
        if len(keep):
            rotation, corner = np.linalg.qr(self._R[first:a, keep])
            kept = len(keep)
            self._R[:first, first : first + kept] = self._R[:first, keep]
            self._R[first : first + kept, first : first + kept] = corner
            self._Q[first : first + kept] = rotation.T @ self._Q[first:a]
            self._along[first : first + kept] = rotation.T @ self._along[first:a]
        self.count = first + len(keep)
        self.residual = self._target - self._along[: self.count] @ self._Q[: self.count]

    def solution(self) -> Floats:
        """Coefficients (count,) of the least squares problem on the columns in use, of either sign."""
        a = self.count
        return np.asarray(solve_triangular(self._R[:a, :a], self._along[:a], check_finite=False))

    def cost_of_dropping(self, values: Floats) -> tuple[Floats, Floats]:
        """By how much ``||r||^2`` grows without each column, ``x_j^2 / N_jj`` with ``N = R^-1 R^-T``; and R^-1."""
        a = self.count
        inverse = solve_triangular(self._R[:a, :a], np.eye(a), check_finite=False)
        return values**2 / np.sum(inverse**2, axis=1), inverse

    def condition(self) -> float:
        """Condition number of the columns, each scaled to norm one; 1 where there is none."""
        if not self.count:
            return 1.0
        R = self._R[: self.count, : self.count]
        values = np.linalg.svd(R / np.linalg.norm(R, axis=0), compute_uv=False)
        return float(values[0] / values[-1]) if values[-1] > 0.0 else float("inf")

    def _grow(self) -> None:
        old, size = self.count, 2 * self.count
        Q, R, along = np.empty((size, self._Q.shape[1])), np.zeros((size, size)), np.empty(size)
        Q[:old], R[:old, :old], along[:old] = self._Q, self._R, self._along
        self._Q, self._R, self._along = Q, R, along

    def spans(self, columns: Floats) -> bool:
        """Whether one of the columns (R, c) lies in the span of those in use."""
        Q = self._Q[: self.count]
        rest = columns - Q.T @ (Q @ columns)
        rest -= Q.T @ (Q @ rest)
        return bool(np.any(np.linalg.norm(rest, axis=0) <= DEPENDENT * np.linalg.norm(columns, axis=0)))


@dataclass
class ActiveSet:
    """The state of a search: columns in use with positive coefficients that are optimal on them."""

    target: Floats
    numbers: list[int] = field(default_factory=list)
    unique: bool = True

    def __post_init__(self) -> None:
        self.columns = ActiveColumns(self.target)
        self.values = np.zeros(0)

    @property
    def residual(self) -> Floats:
        """b - G x."""
        return self.columns.residual

    def enter(self, number: int, column: Floats) -> list[int] | None:
        """Let a column with a positive score in; the numbers of those that leave, or None where it lowers no residual."""
        if not self.columns.append(column):
            self.unique = False
            return None
        wanted = self.columns.solution()
        if not wanted[-1] > 0.0:  # its score was rounding
            self.columns.remove(np.array([self.columns.count - 1]))
            return None
        self.numbers.append(number)
        self.values = np.append(self.values, 0.0)
        left: list[int] = []
        while len(wanted) and wanted.min() <= 0.0:
            left += self._step_back(wanted)
            wanted = self.columns.solution()
        self.values = wanted
        return left

    def _step_back(self, wanted: Floats) -> list[int]:
        """Go towards `wanted` as far as all stay non-negative, and drop what is zero there."""
        falling = np.flatnonzero(wanted <= 0.0)
        shares = self.values[falling] / (self.values[falling] - wanted[falling])
        share = shares.min()
        self.values = self.values + share * (wanted - self.values)
        out = falling[shares <= share]
        return self.drop(out)

    def trim(self, limit: float) -> None:
        """Drop columns, those that cost least first, while ``||r|| <= limit`` and all others stay positive."""
        while self.numbers:
            costs, inverse = self.columns.cost_of_dropping(self.values)
            square = limit**2 - float(self.residual @ self.residual)
            affordable = [int(place) for place in np.argsort(costs, kind="stable") if costs[place] <= square]
            for place in affordable:
                change = inverse @ inverse[place]
                left = np.delete(self.values - self.values[place] / change[place] * change, place)
                if not len(left) or left.min() > 0.0:
                    self.drop(np.array([place]))
                    self.values = self.columns.solution()
                    break
            else:
                return

    def drop(self, places: Indices) -> list[int]:
        """Drop the columns at these places; their numbers."""
        left = [self.numbers[place] for place in places]
        self.columns.remove(places)
        self.values = np.delete(self.values, places)
        gone = set(places.tolist())
        self.numbers = [number for place, number in enumerate(self.numbers) if place not in gone]
        return left


def search(
    target: Floats,
    price: Price,
    tolerance: float,
    *,
    normalised: bool = False,
    worth: float = WORTH,
    initial: Pool | None = None,
    trim: bool = False,
    max_columns: int | None = None,
    max_steps: int | None = None,
    patience: int = PATIENCE,
) -> Fit:
    """Columns and positive coefficients with ``||G x - b|| <= tolerance ||b||``, or the reason why there are none.

    Parameters
    ----------
    target : (R,) array
        b.
    price : callable
        Visits the columns.
    tolerance : float
        Relative; 0 asks for the minimum.
    normalised : bool
        Scores are ``G_k . r / ||G_k||`` in place of ``G_k . r``.
    worth : float
        A pool is left when its best score has fallen to this share of what it was; 1 takes one column of each pool.
    initial : Pool, optional
        Columns that are tried before any other.
    trim : bool
        Go on to `OVERSHOOT` of the tolerance, and drop columns until the tolerance is just met: fewer columns.
    max_columns, max_steps : int, optional
        Ends; 3 R + 100 steps where nothing is said.
    patience : int
        Steps without a smaller residual until the search is given up.
    """
    size = float(np.linalg.norm(target))
    goal = OVERSHOOT * tolerance if trim else tolerance
    state = _Search(ActiveSet(target), size, goal, normalised, max_columns, max_steps or 3 * len(target) + 100, patience)
    if size == 0.0:
        return state.fit("tolerance", 0)
    if initial is not None and len(initial.numbers):
        state.exhaust(initial, 0.0)
        # Those that were not needed could have been: they count as tried.
        state.left = {int(number): initial.columns[:, place] for place, number in enumerate(initial.numbers)}
    visits = 0
    while state.ended is None:
        pool = price(state.active.residual, [*state.active.numbers, *state.refused])
        visits += 1
        if not len(pool.numbers):
            state.ended = "optimum"
        else:
            steps = len(state.history)
            state.exhaust(pool, worth)
            # What seemed to have a positive score in the precision of the visit has none in ours.
            if state.ended is None and len(state.history) == steps:
                state.ended = "optimum"
    if trim and state.error <= tolerance:
        state.ended = "tolerance"
        state.active.trim(tolerance * size)
    return state.fit(state.ended, visits)


class _Search:
    """What a search carries from step to step."""

    def __init__(
        self,
        active: ActiveSet,
        size: float,
        tolerance: float,
        normalised: bool,
        max_columns: int | None,
        max_steps: int,
        patience: int,
    ) -> None:
        self.active, self.size, self.tolerance, self.normalised = active, size, tolerance, normalised
        self.max_columns, self.max_steps, self.patience = max_columns, max_steps, patience
        self.refused: set[int] = set()
        self.left: dict[int, Floats] = {}
        self.history: list[float] = []
        self.best, self.idle = np.inf, 0
        self.ended: Ended | None = None

    @property
    def error(self) -> float:
        """||r|| / ||b||."""
        return float(np.linalg.norm(self.active.residual)) / self.size if self.size else 0.0

    def exhaust(self, pool: Pool, worth: float) -> None:
        """Take columns of a pool, best first, until it is worth little, or the search has ended."""
        norms = np.linalg.norm(pool.columns, axis=0)
        floor = noise(norms, self.size)
        scale = np.where(norms > 0.0, norms, 1.0) if self.normalised else np.ones_like(norms)
        places = {int(number): place for place, number in enumerate(pool.numbers)}
        first = None
        while self.ended is None:
            scores = self.active.residual @ pool.columns
            scores[scores <= floor] = -np.inf
            scores /= scale
            busy = [places[number] for number in (*self.active.numbers, *self.refused) if number in places]
            scores[busy] = -np.inf
            best = int(np.argmax(scores))
            if not scores[best] > (-np.inf if first is None else worth * first):
                return
            first = scores[best] if first is None else first
            left = self._take(int(pool.numbers[best]), pool.columns[:, best])
            self.left |= {number: pool.columns[:, places[number]].copy() for number in left if number in places}
            if worth >= 1.0:
                return

    def _take(self, number: int, column: Floats) -> list[int]:
        """One step; the numbers of those that left."""
        left = self.active.enter(number, column)
        if left is None:
            self.refused.add(number)
        error = self.error
        if error < self.best:
            self.best, self.idle = error, 0
            if left is not None:
                self.refused.clear()
        else:
            self.idle += 1
        self.history.append(error)
        if error <= self.tolerance:
            self.ended = "tolerance"
        elif len(self.history) >= self.max_steps or len(self.active.numbers) == self.max_columns:
            self.ended = "limit"
        elif self.idle >= self.patience:
            self.ended = "stalled"
        return left or []

    def fit(self, ended: Ended, visits: int) -> Fit:
        """What was found."""
        active = self.active
        numbers = np.array(active.numbers, np.int64)
        idle = [column for number, column in self.left.items() if number not in set(active.numbers)]
        unique = active.unique and not (idle and active.columns.spans(np.column_stack(idle)))
        return Fit(
            numbers=numbers,
            values=active.values,
            residual=active.residual,
            error=self.error,
            history=np.array(self.history),
            ended=ended,
            unique=unique,
            condition=active.columns.condition(),
            visits=visits,
        )


def in_memory(G: Matrix, *, pool: int = 1, normalised: bool = False, candidates: Indices | None = None) -> Price:
    """Visits of an array G (R, Q) in memory, in its own precision: `pool` stretches of neighbouring columns, the best of each.

    Neighbours are alike, so that the best of all stretches are not copies of one another. Ties go to the lowest number.
    """
    norms = np.sqrt(np.einsum("rq,rq->q", G, G, dtype=np.float64)) if normalised else np.ones(1)
    allowed = np.full(G.shape[1], candidates is None)
    if candidates is not None:
        allowed[candidates] = True

    def price(residual: Floats, taken: Sequence[int]) -> Pool:
        scores = residual.astype(G.dtype) @ G
        scores = scores / np.where(norms > 0.0, norms, 1.0)
        scores[~allowed] = -np.inf
        scores[list(taken)] = -np.inf
        best = best_of_stretches(scores, pool)
        return Pool(best, G[:, best].astype(np.float64))

    return price


def best_of_stretches(scores: Floats, pool: int) -> Indices:
    """Numbers of the largest positive score in each of at most `pool` stretches of equal length; the lowest at a tie."""
    length = -(-len(scores) // max(pool, 1))
    padded = np.full(-(-len(scores) // length) * length, -np.inf) if length else np.zeros(0)
    padded[: len(scores)] = scores
    parts = padded.reshape(-1, length) if length else padded.reshape(0, 1)
    best = parts.argmax(axis=1) + length * np.arange(len(parts))
    return np.asarray(best[padded[best] > 0.0])


def worth_of(pool: int) -> float:
    """When to leave pools of that size: at once for a pool of one column, the classic method."""
    return 1.0 if pool == 1 else WORTH


def noise(norms: Floats, size: float) -> Floats:
    """Scores below this are rounding of the product of a column of that norm with a residual of a target of that size."""
    return np.asarray(10.0 * np.finfo(np.float64).eps * norms * size)
