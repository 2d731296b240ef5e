"""Integrands with known rules: polynomials, the toy of the reference library, and the elastoviscoplastic cube."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tests import cube

Floats = NDArray[np.float64]


def lagrange(nodes: int, x: Floats) -> Floats:
    """(nodes, Q): the Lagrange polynomials of equispaced nodes of [-1, 1]."""
    at = np.linspace(-1.0, 1.0, nodes)
    others = [[j for j in range(nodes) if j != i] for i in range(nodes)]
    return np.array([np.prod([(x - at[j]) / (at[i] - at[j]) for j in rest], axis=0) for i, rest in enumerate(others)])


def gauss(elements: int, points: int) -> tuple[Floats, Floats]:
    """Places and weights of the Gauss rule on equal elements of [-1, 1]."""
    at, weights = np.polynomial.legendre.leggauss(points)
    edges, size = np.linspace(-1.0, 1.0, elements + 1), 2.0 / elements
    return ((edges[:-1, None] + edges[1:, None]) / 2 + size / 2 * at).ravel(), np.tile(weights * size / 2, elements)


def toy() -> tuple[Floats, Floats]:
    """The toy of the reference library: 10 integrands of rank 2 on 20 points, total weight 190, first moment 2470."""
    return np.arange(200.0).reshape(10, 20), np.arange(20.0)


def mixtures(rows: int, points: int, seed: int, *, rank: int = 30, decay: float = 0.7) -> tuple[Floats, Floats]:
    """Smooth integrands in one variable whose singular values decay, on random points with random weights."""
    random = np.random.default_rng(seed)
    x = np.sort(random.random(points))
    waves = np.cos(np.pi * np.arange(rank)[:, None] * x) * decay ** np.arange(rank)[:, None]
    return random.standard_normal((rows, rank)) @ waves, random.uniform(0.5, 1.5, points) / points


@cache
def cube_integrands(modes: int) -> tuple[Floats, Floats]:
    """The tabulated cube: strains of POD modes (L2 inner product) against the stresses of the ten loaded states."""
    run = cube.reference_run()
    values, vectors = np.linalg.eigh(run.u @ (run.mass @ run.u.T))
    leading = np.argsort(-values)[:modes]
    basis = run.u.T @ vectors[:, leading] / np.sqrt(values[leading])
    strains = cube.CubeGrid(6).mode_strains(basis)
    G = np.einsum("kci,jkc->ijk", strains, run.sigma[1:]).reshape(modes * 10, -1)
    G.flags.writeable = False
    return G, run.weights


def slabs(count: int) -> list[NDArray[np.int64]]:
    """Points of the cube by slabs of whole elements, 8 points each."""
    return [(part[:, None] * 8 + np.arange(8)).ravel() for part in np.array_split(np.arange(216), count)]
