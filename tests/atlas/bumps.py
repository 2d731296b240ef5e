"""A bump that moves over the unit interval: what local bases are for; and what they must be equal to, from dense algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from nwidth.models.atlas import cluster_name
from nwidth.models.basis import Basis

Floats = NDArray[np.float64]


def bumps(simulations: int = 12, times: int = 10, places: int = 161, seed: int = 0) -> xr.DataArray:
    """Snapshots of a bump whose place is the parameter of its simulation, drifting in time; amplitudes over two decades."""
    start = np.linspace(0.1, 0.8, simulations)
    centres = (start[:, None] + np.linspace(0.0, 0.08, times)).ravel()
    amplitudes = 10.0 ** np.random.default_rng(seed).uniform(-1.0, 1.0, centres.size)
    x = np.linspace(0.0, 1.0, places)
    values = amplitudes[:, None] * np.exp(-(((x - centres[:, None]) / 0.06) ** 2))
    coordinates = {
        "simulation": ("snapshot", np.repeat([f"s{number:02d}" for number in range(simulations)], times)),
        "time": ("snapshot", np.tile(np.arange(times, dtype=float), simulations)),
        "place": ("snapshot", np.repeat(start, times)),
    }
    return xr.DataArray(values, dims=("snapshot", "x"), coords=coordinates, name="u")


def dense_errors(values: Any, modes: Any, weights: Any = None) -> Floats:
    """Relative projection errors (m,) of snapshots (m, n) on the span of modes (r, n), by a dense least-squares fit."""
    scale = np.ones(np.shape(values)[1]) if weights is None else np.sqrt(weights)
    X, Q = np.asarray(values) * scale, np.linalg.qr((np.asarray(modes) * scale).T)[0]
    missed = X - (X @ Q) @ Q.T
    norms = np.linalg.norm(X, axis=1)
    return np.asarray(np.linalg.norm(missed, axis=1) / np.where(norms > 0.0, norms, 1.0))


def flat(basis: Basis, field: str) -> Floats:
    """Modes of one field as a matrix (r, n)."""
    values = np.asarray(basis.modes_by_field[field].values)
    return values.reshape(len(values), -1)


def clusters_of(count: int) -> list[str]:
    """Names of the bases of so many clusters."""
    return [cluster_name(cluster) for cluster in range(count)]
