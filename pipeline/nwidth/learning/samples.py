"""The training set as the model has it: which snapshots belong together, what they were made with, and when they are.

What is held out together is an *experiment*: a simulation, or, where a parameter varies along a simulation (a sweep that was
stored as one run), its snapshots with equal parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NOT_PARAMETERS = frozenset({"simulation", "time", "snapshot", "step", "cycle"})
"""Coordinates of snapshots that say where in a simulation one is, and not with what it was made."""


@dataclass(frozen=True)
class Samples:
    """S experiments of m snapshots in all, with d parameters."""

    experiment: Indices
    """(m,): which experiment each snapshot belongs to."""
    names: tuple[str, ...]
    """(S,): for people."""
    simulations: tuple[str, ...]
    """(S,): name of the simulation in the store."""
    parameters: tuple[str, ...]
    values: Floats
    """(S, d)."""
    times: Floats | None
    """(m,); None where time distinguishes nothing."""

    @property
    def common_times(self) -> Floats:
        """Times (T,) that all experiments have; empty where they differ, or where there is no time."""
        if self.times is None:
            return np.empty(0)
        each = [np.sort(self.times[self.experiment == number]) for number in range(len(self.names))]
        return each[0] if all(np.array_equal(each[0], other) for other in each) else np.empty(0)


def samples_of(snapshots: xr.Dataset, parameters: Sequence[str] | None = None) -> Samples:
    """Read the coordinates of a model's snapshots.

    Parameters
    ----------
    snapshots : Dataset
        `nwidth.models.model.Model.snapshots`.
    parameters : sequence of str, optional
        What the inputs are; all numeric coordinates that vary by default, but for `NOT_PARAMETERS`.

    Raises
    ------
    ConfigError
        A parameter is named that the snapshots do not have.
    InputError
        A parameter is not a finite number, or snapshots of one experiment cannot be told apart.
    """
    if "snapshot" not in snapshots.sizes:
        raise InputError(
            "the model knows neither parameters nor times of its snapshots; give them as coordinates along the snapshots when it "
            "is made"
        )
    count = snapshots.sizes["snapshot"]
    runs = [str(run) for run in snapshots["simulation"].values] if "simulation" in snapshots.coords else ["simulation"] * count
    names = _names(snapshots) if parameters is None else tuple(parameters)
    values = np.column_stack([_column(snapshots, name) for name in names]) if names else np.empty((count, 0))
    ids = np.unique(runs, return_inverse=True)[1].astype(np.float64)
    _, first, experiment = np.unique(np.column_stack([ids, values]), axis=0, return_index=True, return_inverse=True)
    # In the order of the store, and not of the alphabet.
    rank = np.argsort(np.argsort(first))
    experiment, first = rank[experiment.ravel()], np.sort(first)
    split = len(first) > len(np.unique(ids))
    labels = [f"{runs[row]}, snapshot {row}" if split else runs[row] for row in first]
    times = _times(snapshots, experiment, labels)
    return Samples(experiment, tuple(labels), tuple(runs[row] for row in first), names, values[first], times)


def refuse_indistinct(samples: Samples) -> None:
    """Refuse samples that no input tells apart: before anything is trained, and before a run that would train at its end.

    Raises
    ------
    InputError
        There is no parameter, and more than one simulation or no time.
    """
    if samples.parameters or (len(samples.names) == 1 and samples.times is not None):
        return
    raise InputError(
        f"no parameter varies among the {len(samples.experiment)} snapshots, so that nothing says which of them is asked for; "
        "give parameters when runs are ingested, or input fields when the model is taught"
    )


def _names(snapshots: xr.Dataset) -> tuple[str, ...]:
    numeric = [str(name) for name, axis in snapshots.coords.items() if axis.dims == ("snapshot",) and axis.dtype.kind in "iuf"]
    candidates = [name for name in numeric if name not in NOT_PARAMETERS]
    # Sorted: the order in which a folder lists its arrays is not the same everywhere.
    return tuple(sorted(name for name in candidates if len(np.unique(snapshots[name].values)) > 1))


def _column(snapshots: xr.Dataset, name: str) -> Floats:
    if name not in snapshots.coords:
        have = ", ".join(map(str, snapshots.coords)) or "none"
        raise ConfigError(f"the snapshots have no parameter {name!r}, only {have}; choose among them")
    axis = snapshots[name].values
    if axis.dtype.kind not in "iuf":
        raise InputError(f"the parameter {name!r} is not made of numbers; leave it out with parameters=[...]")
    values = axis.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise InputError(f"the parameter {name!r} of snapshot {row} is {values[row]}; give it in the store, or leave it out")
    return np.asarray(values)


def _times(snapshots: xr.Dataset, experiment: Indices, names: Sequence[str]) -> Floats | None:
    """Times, if they tell snapshots of an experiment apart."""
    sizes = np.bincount(experiment)
    if sizes.max(initial=0) <= 1:
        return None
    times = snapshots["time"].values.astype(np.float64) if "time" in snapshots.coords else np.full(len(experiment), np.nan)
    for number in np.flatnonzero(sizes > 1).tolist():
        own = times[experiment == number]
        if not np.isfinite(own).all() or len(np.unique(own)) < len(own):
            raise InputError(
                f"snapshots of {names[number]} have the same parameters and cannot be told apart by their times; name the "
                f"parameter that does, or give times in the store"
            )
    if not np.isfinite(times).all():
        raise InputError("some snapshots have no time, while others are told apart by it; give all times in the store")
    return np.asarray(times)
