"""Ask a model about an input: which cluster, with which probability, which field, and how wrong it may be.

    features z of the input -> cluster k -> coordinates q(z, t) with variances -> field = mean_k + Phi_k q
    standard deviation of the field = sqrt( sum_i Phi_k,i^2 var_i )          coordinates taken as independent

Two errors stand beside every answer, each relative, over the training snapshots of the cluster: the *projection* error, which
the certificate of the basis measured, and the *regression* error of the coordinates, each simulation left out once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError, LayoutError
from nwidth.models.basis import Basis
from nwidth.models.learned import ClusterRegression, Learned

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """The answer of the classifier to one input at one time."""

    label: int | None
    """The cluster; None for "none of them"."""
    nearest: int
    """The cluster that the classifier decides for, whether or not the input is like any of training."""
    probability: float
    """Of that cluster."""
    probabilities: Floats
    """(K,)."""
    distance: float
    """From the training inputs, in their standard deviations."""
    reason: str | None
    """Why the label is None."""


def choose(learned: Learned, given: Any, time: float | None = None) -> Choice:
    """Which cluster an input belongs to: parameters by name, or an input field.

    Raises
    ------
    InputError
        The input is not one that the model was trained with, or it has a value that is not finite.
    """
    z = learned.features(given)
    asked = z[None]
    if learned.labels_by_time:
        if time is None:
            raise InputError("the clusters of this model are clusters of snapshots; give the time for which to choose one")
        asked = np.append(z, time)[None]
    probabilities = learned.classifier.probabilities(asked)[0]
    nearest = int(learned.classifier.labels(asked)[0])
    reason = learned.novelty.reason(z) or outside_of_time(learned, time)
    distance = float(learned.novelty.distances(z[None])[0])
    return Choice(None if reason else nearest, nearest, float(probabilities[nearest]), probabilities, distance, reason)


def outside_of_time(learned: Learned, time: float | None) -> str | None:
    """Why a time is unlike those of training, in one clause; None where it is not."""
    if time is None or not learned.timed:
        return None
    first, last = learned.time_span
    # A time that was computed (n * dt) may miss the last one by rounding.
    slack = 1e-9 * (last - first)
    if first - slack <= time <= last + slack:
        return None
    return f"the time {time:g} lies outside of those of training, {first:g} to {last:g}"


def predict(
    learned: Learned, bases: Callable[[str], Basis], given: Any, time: Any = None, *, outside: str = "refuse"
) -> xr.Dataset:
    """Fields on the whole mesh for one input.

    Parameters
    ----------
    learned : Learned
    bases : callable
        Name -> basis, whose modes may lie on disk: what is returned is then lazy, too.
    given : mapping, or array
        Parameters by name, or an input field, as in training.
    time : float or (T,) array, optional
        By default the times of the training simulations, where they share them. Not given for models without a time.
    outside : {"refuse", "answer"}
        What to do with an input unlike all of training: refuse, or answer with the most probable cluster and say so.

    Returns
    -------
    Dataset with, for every field f, ``f`` and ``f_std`` ([time,] *space[, component]); ``cluster``, ``probability``,
    ``outside`` and, by basis, ``projection_error`` and ``regression_error``, each ([time]).

    Raises
    ------
    InputError
        The input is none of those above, or it is unlike all of training and `outside` is "refuse".
    ConfigError
        `outside` is neither.
    """
    if outside not in {"refuse", "answer"}:
        raise ConfigError(f'outside is {outside!r}, expected "refuse" or "answer"')
    times = asked_times(learned, time)
    choices = [choose(learned, given, when if learned.timed else None) for when in times]
    reason = next((choice.reason for choice in choices if choice.reason), None)
    if reason and outside == "refuse":
        raise InputError(f'the input belongs to no cluster: {reason}; outside="answer" extrapolates nevertheless')
    import xarray as xr

    z = learned.features(given)
    labels = np.array([choice.nearest for choice in choices])
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    pieces = [_of_cluster(learned, bases, z, times, place, choices) for place in places]
    whole = pieces[0]
    if len(pieces) > 1:
        whole = xr.concat(pieces, "time", data_vars="all", coords="minimal", compat="override", join="override")
    answer = whole.isel(time=np.argsort(np.concatenate(places)))
    return answer if learned.timed and (time is None or np.ndim(time)) else answer.isel(time=0, drop=not learned.timed)


def asked_times(learned: Learned, time: Any) -> Floats:
    """Times (T,) of the answer; one that counts for nothing where the model has no time."""
    if not learned.timed:
        if time is not None:
            raise InputError("a time was given, but this model was trained without one; ask without time=")
        return np.zeros(1)
    if time is None and not learned.times.size:
        raise InputError("the training simulations have no times in common; say for which time to predict, with time=")
    times = np.atleast_1d(np.asarray(learned.times if time is None else time, np.float64))
    if times.ndim != 1 or not times.size or not np.isfinite(times).all():
        raise InputError(f"the time is {time!r}, expected a finite number or a list of them")
    return times


def _of_cluster(
    learned: Learned, bases: Callable[[str], Basis], z: Floats, times: Floats, places: NDArray[np.intp], choices: Sequence[Choice]
) -> xr.Dataset:
    """The answer at those times whose cluster is one and the same."""
    import xarray as xr

    label = choices[places[0]].nearest
    cluster = learned.clusters[label]
    asked = np.column_stack([np.tile(z, (len(places), 1)), times[places]]) if learned.timed else z[None]
    answer = xr.Dataset(coords={"time": times[places]})
    for name, value in _said_of(cluster, [choices[place] for place in places], [bases(name) for name in cluster.bases]).items():
        answer[name] = value
    for number, name in enumerate(cluster.bases):
        answer.update(_fields(bases(name), cluster, number, asked))
    return answer


def _said_of(cluster: ClusterRegression, choices: Sequence[Choice], bases: Sequence[Basis]) -> dict[str, Any]:
    """Cluster, probability and errors, along time."""
    import xarray as xr

    along = {
        "cluster": [choice.nearest for choice in choices],
        "probability": [choice.probability for choice in choices],
        "outside": [choice.label is None for choice in choices],
    }
    said: dict[str, Any] = {name: ("time", np.array(values)) for name, values in along.items()}
    errors = {
        "projection_error": [basis.certificate.frobenius_error for basis in bases],
        "regression_error": [np.nan if error is None else error for error in cluster.regression_errors],
    }
    fields = [",".join(basis.fields) for basis in bases]
    for name, values in errors.items():
        by_time = np.tile(values, (len(choices), 1))
        said[name] = xr.DataArray(by_time, dims=("time", "fields"), coords={"fields": fields})
    return said


def _fields(basis: Basis, cluster: ClusterRegression, number: int, asked: Floats) -> dict[str, xr.DataArray]:
    """The fields of one basis with their standard deviations, (time, *space[, component])."""
    import xarray as xr

    mean, variance = cluster.regressions[number].predict(asked)
    if mean.shape[1] != basis.rank:
        raise LayoutError(
            f"basis {basis.name!r} has {basis.rank} modes, but what was learnt is of {mean.shape[1]}; train the model again"
        )
    found = {}
    for name, modes in basis.modes_by_field.items():
        field = xr.dot(xr.DataArray(mean, dims=("time", "mode")), modes, dim="mode")
        if name in basis.mean_by_field:
            field = field + basis.mean_by_field[name]
        spread = xr.dot(xr.DataArray(variance, dims=("time", "mode")), modes**2, dim="mode") ** 0.5
        found[name] = field.rename(name).assign_attrs(modes.attrs)
        found[f"{name}_std"] = spread.rename(f"{name}_std").assign_attrs(modes.attrs)
    return found
