"""Which values of an input field to look at: minimum redundancy, maximum relevance (mRMR).

    rel_j   what feature j says of the label: one-way F statistic, or the information -1/2 ln(1 - eta_j^2) with eta_j^2 the
            share of its variance that lies between the classes
    red_js  what feature j repeats of the chosen feature s: |rho_js|, or the information -1/2 ln(1 - rho_js^2)

Start with the most relevant feature, then always take the next by

    difference   rel_j - mean over chosen s of red_js
    quotient     rel_j / mean over chosen s of max(red_js, 1e-5)

Only the redundancy with the feature chosen last is new, so each step reads the features once. The spatial shortcut reads them not
at all: redundancy follows from the distance d between two places by a fitted correlogram, ``|rho| = c + (1 - c) exp(-d / l)``.

Sources  C. Ding, H. Peng, Minimum redundancy feature selection from microarray gene expression data, J. Bioinform.
         Comput. Biol. 3 (2005); Z. Zhao, R. Anand, M. Wang (2019), arXiv:1908.05376, for F and correlation;
         T. Daniel et al., Math. Comput. Appl. 26(1):17 (2021), for the idea to let space stand for redundancy
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from nwidth.errors import ConfigError, InputError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FLOOR = 1e-5
"""Redundancy of the quotient form is never taken as smaller: two independent features must not win by a division by nothing."""
LARGEST_CORRELATION = 1.0 - 1e-12
"""Beyond, information is infinite: copies of one feature differ by rounding only."""
BLOCK_BYTES = 64 << 20
FIT_PLACES = 400
"""Places of a correlogram's fit: 80 000 pairs for two numbers."""


@dataclass(frozen=True)
class Selection:
    """Chosen features and why."""

    features: Indices
    """(count,), in the order of choice."""
    scores: Floats
    """(count,): the criterion when each was chosen; of the first its relevance."""
    relevance: Floats
    """(n,)."""


@dataclass(frozen=True)
class Correlogram:
    """``|rho|(d) = plateau + (1 - plateau) exp(-d / length)``."""

    length: float
    plateau: float

    def __call__(self, distance: Floats) -> Floats:
        return np.asarray(self.plateau + (1.0 - self.plateau) * np.exp(-distance / self.length))


def mrmr(
    X: Any,
    labels: Indices,
    count: int,
    *,
    form: str = "difference",
    measure: str = "information",
    correlogram: Correlogram | None = None,
    points: Floats | None = None,
) -> Selection:
    """Choose features.

    Parameters
    ----------
    X : (m, n) array, or anything that gives columns by ``X[:, start:stop]``: Dask, Zarr
        One row per sample; read in blocks of columns, once for the relevance and once for each feature that is chosen.
    labels : (m,) array of int
        Classes; at least two.
    count : int
        How many features.
    form : {"difference", "quotient"}
    measure : {"information", "F"}
        Of relevance and redundancy: Gaussian information for both, or F statistic and absolute correlation. The difference form
        wants numbers of one kind, and so information.
    correlogram, points : Correlogram and (n, 3) array, optional
        Redundancy by distance: no read after the first. See `fit_correlogram`.

    Raises
    ------
    ConfigError
        An option is none of the above, or more features are wanted than there are.
    InputError
        A value is not finite, or there are fewer than two classes.
    """
    if form not in {"difference", "quotient"}:
        raise ConfigError(f'form is {form!r}, expected "difference" or "quotient"')
    if not 1 <= count <= X.shape[1]:
        raise ConfigError(f"{count} features are wanted of {X.shape[1]}; choose a number between")
    rel = relevance(X, labels, measure)
    redundancy = _redundancy(X, measure, correlogram, points)
    chosen, scores = [int(np.argmax(rel))], [float(np.max(rel))]
    total = np.zeros(len(rel))
    while len(chosen) < count:
        new = redundancy(chosen[-1])
        total += np.maximum(new, FLOOR) if form == "quotient" else new
        mean = total / len(chosen)
        score = rel / mean if form == "quotient" else rel - mean
        score[chosen] = -np.inf
        chosen.append(int(np.argmax(score)))
        scores.append(float(score[chosen[-1]]))
    return Selection(np.array(chosen), np.array(scores), rel)


def relevance(X: Any, labels: Indices, measure: str = "information") -> Floats:
    """What every feature says of the label, (n,); 0 for a feature that does not vary."""
    if measure not in {"information", "F"}:
        raise ConfigError(f'measure is {measure!r}, expected "information" or "F"')
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError("all samples have one label, and no feature can tell anything of it; mRMR needs two classes")
    member = np.equal.outer(np.arange(len(classes)), codes).astype(np.float64)
    sizes, found = member.sum(axis=1), np.empty(X.shape[1])
    for place, part in _blocks(X):
        centred = part - part.mean(axis=0)
        total = (centred**2).sum(axis=0)
        between = ((member @ centred) ** 2 / sizes[:, None]).sum(axis=0)
        # A constant column is not zero after centring, but rounding of its mean.
        flat = total <= len(codes) * (np.finfo(np.float64).eps * np.abs(part).max(axis=0)) ** 2
        share = np.where(flat, 0.0, between / np.where(flat, 1.0, total))
        found[place] = _relevance_of_share(share, len(codes), len(classes), measure)
    return found


def _relevance_of_share(share: Floats, samples: int, classes: int, measure: str) -> Floats:
    """From ``eta^2``; F = (eta^2 / (K - 1)) / ((1 - eta^2) / (m - K))."""
    share = np.minimum(share, LARGEST_CORRELATION)
    if measure == "information":
        return -0.5 * np.log1p(-share)
    return (share / (classes - 1)) / ((1.0 - share) / max(samples - classes, 1))


def correlations(X: Any, feature: int) -> Floats:
    """``rho_js`` (n,) of all features with one; 0 where one of the two does not vary. One read."""
    one = _unit(np.asarray(X[:, feature : feature + 1], np.float64))
    return np.concatenate([np.clip(_unit(part).T @ one[:, 0], -1.0, 1.0) for _, part in _blocks(X)])


def fit_correlogram(X: Any, points: Floats, *, places: int = FIT_PLACES, seed: int = 0) -> Correlogram:
    """Fit ``|rho|`` against distance over the pairs of a random sample of features, by least squares.

    Parameters
    ----------
    X : (m, n) array
    points : (n, 3) array
        Where the features are; the length of the correlogram has their unit.
    """
    if len(points) != X.shape[1]:
        raise InputError(f"{len(points)} points are given for {X.shape[1]} features; give one point for each feature")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(points))[:places])
    unit = _unit(np.column_stack([np.asarray(X[:, place], np.float64) for place in chosen]))
    upper = np.triu_indices(len(chosen), 1)
    rho = np.abs(unit.T @ unit)[upper]
    distance = np.linalg.norm(points[chosen][:, None] - points[chosen][None], axis=2)[upper]
    scale = float(np.median(distance)) or 1.0
    fitted = least_squares(
        lambda p: p[1] + (1.0 - p[1]) * np.exp(-distance / (p[0] * scale)) - rho, x0=(1.0, 0.1), bounds=((1e-3, 0.0), (1e3, 1.0))
    )
    return Correlogram(float(fitted.x[0]) * scale, float(fitted.x[1]))


def _redundancy(X: Any, measure: str, correlogram: Correlogram | None, points: Floats | None) -> Callable[[int], Floats]:
    """``feature s -> red_js`` (n,)."""
    if (correlogram is None) != (points is None):
        raise ConfigError("the spatial shortcut takes a correlogram and points; give both, or none of them")

    def of(feature: int) -> Floats:
        if correlogram is None or points is None:
            rho = np.abs(correlations(X, feature))
        else:
            rho = correlogram(np.linalg.norm(points - points[feature], axis=1))
        return rho if measure == "F" else -0.5 * np.log1p(-(np.minimum(rho, LARGEST_CORRELATION) ** 2))

    return of


def _unit(part: Floats) -> Floats:
    """Columns centred and of norm 1; zero where they do not vary."""
    centred = part - part.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    flat = norms <= np.sqrt(len(part)) * np.finfo(np.float64).eps * np.abs(part).max(axis=0)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, norms))


def _blocks(X: Any) -> Iterator[tuple[slice, Floats]]:
    """Blocks of columns in float64, refused if a value is not finite."""
    width = max(1, BLOCK_BYTES // (8 * max(1, X.shape[0])))
    for start in range(0, X.shape[1], width):
        place = slice(start, min(start + width, X.shape[1]))
        part = np.asarray(X[:, place], np.float64)
        if not np.isfinite(part).all():
            raise InputError(f"feature {start + int(np.argmin(np.isfinite(part).all(axis=0)))} is not finite; mend the inputs")
        yield place, part
