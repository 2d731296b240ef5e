"""Empirical cubature: few integration points with non-negative weights that integrate given integrands.

    integrands G (R, Q): row (i, j) is the work of mode i against stress state j, at all Q points
    integrals  b = G w                           find few omega_k > 0, all others zero, with  ||G omega - b|| <= tolerance ||b||

Two ways there, both greedy:

    nnomp   the point whose column is best aligned with the residual enters; non-negative least squares on those chosen
    ecm     first the rows become an orthonormal basis of what they span; what turns negative is a candidate again (`ecm.py`)

`nnomp` is for a tolerance on the integrals themselves. `ecm` with tolerance zero gives as many points as the integrands have
rank, and is exact for all of their span. Greedy counts depend on the last bits of G: compare them by windows.

Sources    J. Hernandez, M. Caicedo, A. Ferrer, Comput. Methods Appl. Mech. Engrg. 313 (2017); J. Hernandez, ibid. 369 (2020)
           (discrete form); F. Daim et al. for orthogonal matching pursuit with non-negative weights as nonintrusive ROMs use it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.nnls import Fit, Pool, Price, in_memory, search, worth_of
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.rule import Rule, check_integrals, check_integrands, integrals

# A visit of so many entries takes some 10 ms: below, the classic method with one point for each visit is fast enough.
CLASSIC_ENTRIES = 2**24
# Points of a pool above: the visits then cost less than the steps.
POOL = 1000


def nnomp(
    G: Matrix,
    weights: Floats,
    tolerance: float,
    *,
    normalised: bool = False,
    volume: bool = False,
    initial: Sequence[int] | Indices = (),
    imposed: Sequence[int] | Indices = (),
    candidates: Indices | None = None,
    pool: int | None = None,
    trim: bool = False,
    max_points: int | None = None,
    random_points: int = 0,
    seed: int = 0,
) -> Rule:
    """Non-negative orthogonal matching pursuit on integrands G (R, Q).

    Parameters
    ----------
    weights : (Q,) array
        Of the full rule.
    tolerance : float
        On ``||G omega - b|| / ||b||``; 0 asks for the best non-negative rule that there is.
    normalised : bool
        Choose by ``G_k . r / ||G_k||``, as textbooks do, in place of ``G_k . r``.
    volume : bool
        Integrate a constant, too, as if its integral were as large as all others together; the error counts it, then.
    initial : numbers of points
        Tried before all others: the points of a rule that is to be enriched.
    imposed : numbers of points
        Added at the end with weight 0 where they were not chosen: points at which fields are needed.
    candidates : (c,) array, optional
        The only points that may be chosen.
    pool : int, optional
        Points that one visit of G proposes; 1 is the classic method, and the default for small G.
    trim : bool
        Search beyond the tolerance, then drop points while it holds: 5 to 15 % fewer points for about as much time.
    max_points : int, optional
        At most so many points with a weight.
    random_points, seed : int
        So many random points are tried beside the best one, as the reference library does; for comparison.

    Raises
    ------
    ValueError
        Shapes do not fit, an integral is not finite, all integrals are zero, or a point does not exist.
    """
    check_integrands(G, weights)
    for given in (initial, imposed, () if candidates is None else candidates):
        check_points(given, G.shape[1])
    rows = with_volume_row(G, weights) if volume else G
    b = integrals(rows, weights)
    check_integrals(b)
    many = (1 if G.size <= CLASSIC_ENTRIES else POOL) if pool is None else pool
    price = in_memory(rows, pool=many, normalised=normalised, candidates=candidates)
    if random_points:
        price = _with_random_points(price, rows, random_points, seed)
    start = Pool(np.asarray(initial, np.int64), rows[:, np.asarray(initial, np.int64)].astype(np.float64))
    # A random point is there to be tried, whatever it is worth beside the best one.
    worth = 0.0 if random_points else worth_of(many)
    found = search(b, price, tolerance, normalised=normalised, worth=worth, initial=start, trim=trim, max_columns=max_points)
    return with_imposed(rule_of(found, weights), imposed)


def nonnegative_exact(G: Matrix, weights: Floats) -> Rule:
    """The minimum of ``||G omega - b||`` over ``omega >= 0`` by SciPy's solver, which cannot stop early: about rank-many points.

    Raises
    ------
    ValueError
        As `nnomp`.
    """
    from scipy.optimize import nnls

    check_integrands(G, weights)
    b = integrals(G, weights)
    check_integrals(b)
    values, residual = nnls(np.asarray(G, np.float64), b)
    points = np.flatnonzero(values)
    error = float(residual / np.linalg.norm(b))
    return Rule(points, values[points], error, np.array([error]), "optimum", float(weights.sum()), visits=1)


def with_volume_row(G: Matrix, weights: Floats) -> Matrix:
    """The integrands with a constant as their last row, scaled so that its integral is as large as ``||b||``, or as G if b is 0.

    Raises
    ------
    ValueError
        The weights add up to zero, so that there is no volume to keep.
    """
    total = float(weights.sum())
    if total == 0.0:
        raise ValueError("the quadrature weights add up to zero, so that there is no volume to keep; leave the volume out")
    size = float(np.linalg.norm(integrals(G, weights))) or float(np.abs(G).max()) * abs(total) or 1.0
    return np.concatenate([G, np.full((1, G.shape[1]), size / total, G.dtype)])


def rule_of(fit: Fit, weights: Floats, numbers: Indices | None = None) -> Rule:
    """The rule of a finished search; `numbers` (Q,) of its columns among all points, where it saw some of them only."""
    points = fit.numbers if numbers is None else numbers[fit.numbers]
    return Rule(
        points=points,
        weights=fit.values,
        error=fit.error,
        history=fit.history,
        ended=fit.ended,
        volume=float(weights.sum()),
        unique=fit.unique,
        condition=fit.condition,
        visits=fit.visits,
    )


def with_imposed(rule: Rule, imposed: Sequence[int] | Indices) -> Rule:
    """The rule with further points, each once, of weight 0 where they were not chosen."""
    new = np.array([point for point in dict.fromkeys(map(int, imposed)) if point not in set(rule.points.tolist())], np.int64)
    return replace(rule, points=np.concatenate([rule.points, new]), weights=np.concatenate([rule.weights, np.zeros(len(new))]))


def check_points(points: Sequence[int] | Indices, count: int) -> None:
    """Refuse numbers of points that do not exist.

    Raises
    ------
    ValueError
        One is negative or not below `count`.
    """
    numbers = np.asarray(points, np.int64)
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if len(wrong):
        raise ValueError(f"point {wrong[0]} was given, and there are {count} points; give numbers from 0 to {count - 1}")


def _with_random_points(price: Price, G: Matrix, count: int, seed: int) -> Price:
    draw = np.random.default_rng(seed)

    def with_random(residual: Floats, taken: Sequence[int]) -> Pool:
        pool = price(residual, taken)
        free = np.setdiff1d(np.arange(G.shape[1]), [*taken, *pool.numbers.tolist()])
        drawn = draw.choice(free, min(count, len(free)), replace=False)
        columns = np.concatenate([pool.columns, G[:, drawn].astype(np.float64)], axis=1)
        return Pool(np.concatenate([pool.numbers, drawn]), columns)

    return with_random
