"""Dissimilarities that are no angles: Euclidean between fields or parameters; and simulations as one vector each.

    |u_i - u_j|^2 = |u_i|^2 + |u_j|^2 - 2 <u_i, u_j>

The product form cancels for close pairs, which are formed anew from their difference, as in `angles`. Simulations of several
times: the space-time vector stacks the coordinates of all times, so that every dissimilarity of snapshots is one of simulations,

    <U_a, U_b> = sum_t w_t <u_{a,t}, u_{b,t}>        U_a = (sqrt(w_t) u_{a,t})_t     (N T,)

and one chosen time is a column of each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.angles import Floats, Matrix, _parts

# The product form has an error of a few u |u|^2; at distances below 1e-5 |u| fewer than five digits of the square are left.
CLOSE_RATIO = 1e-5


def euclidean(X: Matrix) -> Floats:
    """Distances (m, m) of the columns of X (N, m), symmetric to the bit, with a zero diagonal."""
    D = np.triu(euclidean_between(X, X), 1)
    return np.asarray(D + D.T)


def euclidean_between(X: Matrix, Y: Matrix) -> Floats:
    """Distances (m, k) of the columns of X (N, m) to those of Y (N, k); close pairs from their difference.

    Raises
    ------
    ValueError
        A coordinate is not finite.
    """
    X, Y = np.asarray(X, np.float64), np.asarray(Y, np.float64)
    x, y = np.einsum("ij,ij->j", X, X), np.einsum("ij,ij->j", Y, Y)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("the coordinates hold a value that is not finite; leave that snapshot out")
    squares = x[:, None] + y - 2.0 * (X.T @ Y)
    i, j = np.nonzero(squares < CLOSE_RATIO**2 * np.maximum(x[:, None], y))
    for part in _parts(len(i), X.shape[0]):
        squares[i[part], j[part]] = np.sum((X[:, i[part]] - Y[:, j[part]]) ** 2, axis=0)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def standardised(parameters: Matrix) -> Floats:
    """Parameters (m, p), one row a simulation, as coordinates (p, m): minus their mean, over their standard deviation.

    A parameter that never changes becomes zero. Euclidean distances of the result are parameter-space dissimilarities.
    """
    values = np.asarray(parameters, np.float64)
    spread = values.std(axis=0)
    # A constant column has a spread of rounding only: up to m u times its size.
    constant = spread <= len(values) * np.finfo(np.float64).eps * np.abs(values).max(axis=0, initial=0.0)
    return np.ascontiguousarray(((values - values.mean(axis=0)) / np.where(constant, 1.0, spread) * ~constant).T)


def space_time(X: Matrix, simulations: NDArray[np.int64], weights: Matrix | None = None) -> Floats:
    """Coordinates (N T, S) of whole simulations.

    Parameters
    ----------
    X : (N, m) array
    simulations : (S, T) array of int
        Columns of X that are the times of each simulation, the same times in the same order.
    weights : (T,) array, optional
        Of the times, e.g. of a quadrature; 1 without.

    Raises
    ------
    ValueError
        The weights are negative, or not as many as the times.
    """
    simulations = np.asarray(simulations)
    roots = _roots(weights, simulations.shape[1])
    stacked = np.asarray(X, np.float64)[:, simulations] * roots  # (N, S, T)
    return np.ascontiguousarray(stacked.transpose(2, 0, 1).reshape(-1, len(simulations)))


def space_time_gram(G: Matrix, simulations: NDArray[np.int64], weights: Matrix | None = None) -> Floats:
    """Gram matrix (S, S) of whole simulations from that of their snapshots (m, m): a weighted sum over the times."""
    simulations = np.asarray(simulations)
    squares = _roots(weights, simulations.shape[1]) ** 2
    total = np.zeros((len(simulations), len(simulations)))
    for time, weight in zip(simulations.T, squares, strict=True):
        total += weight * np.asarray(G)[np.ix_(time, time)]
    return total


def _roots(weights: Matrix | None, times: int) -> Floats:
    if weights is None:
        return np.ones(times)
    values = np.asarray(weights, np.float64)
    if values.shape != (times,) or not (values >= 0.0).all():
        raise ValueError(f"the times have weights of shape {values.shape}; give {times} weights, none of them negative")
    return np.asarray(np.sqrt(values))
