"""Many predictions at once, into a Zarr store: one read of the modes, whatever the number of rows.

    rows of a design  ──choose──>  label, probability, distance, "none of them"
                      ──regress──> q (rows, times, N), variances
    modes, box by box ──────────>  field[row] = mean + q Phi        deviation[row] = sqrt(variance Phi^2)

A box of the modes is read once for all rows of its cluster, and what is written of it lies in chunks of its own: memory is that
of one box and one row, however many rows there are. Another axis of samples per row, draws from the variances, would stand beside
the times in `_Asked`; nothing else knows how many values a row has.

The store is plain Zarr v3, opened by ``xarray.open_zarr(path, consolidated=False)``:

    <field>, <field>_std     (row[, time], *space[, component])       NaN where the row belongs to no cluster
    label, nearest           (row[, time])                            -1 for "none of them"
    probability, distance, outside, projection_error, regression_error, and the parameters and `row` as coordinates
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError, StoreError
from nwidth.models.basis import Basis
from nwidth.models.learned import Learned
from nwidth.models.predicting import asked_times, outside_of_time

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.models.model import Model

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Outside = Literal["mark", "answer", "refuse"]

PREDICTION_SCHEMA = 1
# Inputs that are regressed at once: a Gaussian process holds a number for each of them and each training sample.
BATCH = 4096
# A box of modes in memory: where the modes are one array, it is cut along its first axis.
BOX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Answers:
    """What a model says of the rows of a design, but for the fields."""

    names: tuple[str, ...]
    """(n,): of the rows."""
    parameters: tuple[str, ...]
    values: Floats
    """(n, d)."""
    times: Floats | None
    """(T,); None where the model has no time: then T = 1 below."""
    labels: Indices
    """(n, T): cluster, -1 for "none of them"."""
    nearest: Indices
    """(n, T): the most probable cluster, whatever the distance."""
    probabilities: Floats
    """(n, T): of the nearest cluster."""
    distances: Floats
    """(n,): from the training inputs, in their standard deviations."""
    reasons: tuple[str, ...]
    """(n,): why a row belongs to no cluster; empty where it does."""
    projection_errors: Floats
    """(n, T): of the certificate of the cluster's basis; the largest where it has several."""
    regression_errors: Floats
    """(n, T): of its coordinates, each simulation left out once; NaN where there was only one."""

    @property
    def outside(self) -> NDArray[np.bool_]:
        """(n,): whether a row is unlike all of training."""
        return np.array([bool(reason) for reason in self.reasons])

    def rows(self) -> list[dict[str, Any]]:
        """One record for each row, for JSON; lists along time where the model has a time."""
        along = {
            "label": self.labels,
            "nearest": self.nearest,
            "probability": self.probabilities,
            "projection_error": self.projection_errors,
            "regression_error": self.regression_errors,
        }
        return [
            {
                "row": name,
                "parameters": dict(zip(self.parameters, self.values[place].tolist(), strict=True)),
                "status": "outside" if self.reasons[place] else "answered",
                "reason": self.reasons[place] or None,
                "distance": _number(self.distances[place]),
                **{key: self._along(values[place]) for key, values in along.items()},
            }
            for place, name in enumerate(self.names)
        ]

    def _along(self, values: NDArray[Any]) -> Any:
        listed = [_number(value) for value in values]
        return listed[0] if self.times is None else listed


def answer(model: Model, design: Sequence[Mapping[str, Any]], *, names: Sequence[str] = (), time: Any = None) -> Answers:
    """Labels, probabilities and errors for all rows of a design; no mode is read.

    Parameters
    ----------
    model : Model
        That has learnt from parameters.
    design : sequence of mappings
        Parameter -> number, as `Model.predict` takes them.
    names : sequence of str, optional
        Of the rows; their numbers by default.
    time : float or (T,) array, optional
        As for `Model.predict`.

    Raises
    ------
    InputError
        A parameter is missing, unknown or not a finite number; the row is named.
    """
    learned = model.learned
    if not design:
        raise InputError("the design has no row; give at least one")
    called = tuple(names) or tuple(str(number) for number in range(len(design)))
    Z = np.array([_features(learned, name, row) for name, row in zip(called, design, strict=True)])
    times = asked_times(learned, time)
    labels, chance = _labels(learned, Z, times)
    reasons = tuple(_reason(learned, z, times) for z in Z)
    kept = np.where(np.array([bool(reason) for reason in reasons])[:, None], -1, labels)
    bases = [[model.bases[name] for name in cluster.bases] for cluster in learned.clusters]
    projection = np.array([max(basis.certificate.frobenius_error for basis in own) for own in bases])
    regression = np.array([_largest(cluster.regression_errors) for cluster in learned.clusters])
    return Answers(
        names=called,
        parameters=tuple(getattr(learned.features, "names", ())),
        values=Z,
        times=times if learned.timed else None,
        labels=kept,
        nearest=labels,
        probabilities=chance,
        distances=learned.novelty.distances(Z),
        reasons=reasons,
        projection_errors=projection[labels],
        regression_errors=regression[labels],
    )


def write_answers(model: Model, answers: Answers, into: str | Path, *, outside: Outside = "mark") -> Path:
    """Write the fields of all rows, with their deviations and all that `answers` says.

    Parameters
    ----------
    into : path
        Nothing may be there.
    outside : {"mark", "answer", "refuse"}
        Of rows that belong to no cluster: leave their fields NaN, extrapolate by the nearest cluster, or refuse all.

    Raises
    ------
    InputError
        A row belongs to no cluster, and `outside` is "refuse".
    StoreError
        Something is at `into`, or it cannot be written.
    """
    import zarr

    if outside not in ("mark", "answer", "refuse"):
        raise ConfigError(f'outside is {outside!r}, expected "mark", "answer" or "refuse"')
    if outside == "refuse":
        refuse_outside(answers)
    target = Path(into)
    if target.exists():
        raise StoreError(f"{target} exists already; remove it, or choose another path")
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        root: Any = zarr.open_group(str(aside), mode="w")
        _write_table(root, model, answers)
        asked = _Asked.of(model, answers, answers.nearest if outside == "answer" else answers.labels)
        for field in asked.fields:
            _write_field(root, field, asked)
        aside.rename(target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}; choose a writable folder with room") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def refuse_outside(answers: Answers) -> None:
    """Refuse rows that belong to no cluster, the first of them by name and reason."""
    places = np.flatnonzero(answers.outside)
    if places.size:
        name, reason = answers.names[places[0]], answers.reasons[places[0]]
        others = f", and {len(places) - 1} others" if len(places) > 1 else ""
        raise InputError(f'row {name!r} belongs to no cluster: {reason}{others}; outside = "mark" leaves such rows empty')


def _features(learned: Learned, name: str, row: Mapping[str, Any]) -> Floats:
    try:
        return np.asarray(learned.features(row))
    except InputError as error:
        raise InputError(f"row {name!r}: {error}") from None


def _labels(learned: Learned, Z: Floats, times: Floats) -> tuple[Indices, Floats]:
    """The most probable cluster and its probability (n, T)."""
    n, T = len(Z), len(times)
    X = np.column_stack([np.repeat(Z, T, axis=0), np.tile(times, n)]) if learned.labels_by_time else Z
    chances = learned.classifier.probabilities(X)
    best = np.argmax(chances, axis=1)
    chance = chances[np.arange(len(X)), best]
    if learned.labels_by_time:
        return best.reshape(n, T), chance.reshape(n, T)
    return np.repeat(best[:, None], T, axis=1), np.repeat(chance[:, None], T, axis=1)


def _reason(learned: Learned, z: Floats, times: Floats) -> str:
    late = (outside_of_time(learned, float(time)) for time in (times if learned.timed else ()))
    return learned.novelty.reason(z) or next((reason for reason in late if reason), "")


def _largest(errors: Sequence[float | None]) -> float:
    return max((np.nan if error is None else error for error in errors), default=np.nan)


def _number(value: Any) -> float | int | None:
    """A number as JSON knows it."""
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not np.isfinite(number) else number


def _write_table(root: Any, model: Model, answers: Answers) -> None:
    """All that is small: one number or word for each row, or each row and time."""
    dims = ("row",) if answers.times is None else ("row", "time")
    root.attrs.update(
        {
            "nwidth_prediction": PREDICTION_SCHEMA,
            "model": str(model.path),
            "content_key": model.manifest.get("provenance", {}).get("content_key", ""),
            "coordinates": " ".join(answers.parameters),
        }
    )
    along = {
        "label": answers.labels,
        "nearest": answers.nearest,
        "probability": answers.probabilities,
        "projection_error": answers.projection_errors,
        "regression_error": answers.regression_errors,
    }
    for name, values in along.items():
        root.create_array(name, data=values if answers.times is not None else values[:, 0].copy(), dimension_names=dims)
    for name, column in zip(answers.parameters, answers.values.T, strict=True):
        root.create_array(name, data=column.copy(), dimension_names=("row",))
    root.create_array("distance", data=answers.distances, dimension_names=("row",))
    root.create_array("outside", data=answers.outside, dimension_names=("row",))
    for name, words in (("row", answers.names), ("reason", answers.reasons)):
        array = root.create_array(name, shape=(len(words),), dtype=str, dimension_names=("row",))
        array[...] = np.array(words, object)
    if answers.times is not None:
        root.create_array("time", data=answers.times, dimension_names=("time",))


@dataclass(frozen=True)
class _Part:
    """One basis of one cluster, and the answers that it gives."""

    basis: Basis
    rows: Indices
    """(p,): rows, with their `places` among the times."""
    places: Indices
    mean: Floats
    """(p, N)."""
    variance: Floats


@dataclass(frozen=True)
class _Asked:
    """Coordinates of all answers, basis by basis."""

    parts: tuple[_Part, ...]
    shape: tuple[int, ...]
    """(n[, T]) before the axes of space."""

    @classmethod
    def of(cls, model: Model, answers: Answers, labels: Indices) -> _Asked:
        parts = []
        for number, cluster in enumerate(model.learned.clusters):
            rows, places = np.nonzero(labels == number)
            X = answers.values[rows]
            if answers.times is not None:
                X = np.column_stack([X, answers.times[places]])
            for name, regression in zip(cluster.bases, cluster.regressions, strict=True):
                both = [regression.predict(X[start : start + BATCH]) for start in range(0, len(X), BATCH)]
                empty = np.empty((0, model.bases[name].rank))
                mean, variance = (np.concatenate([empty, *(one[side] for one in both)]) for side in range(2))
                parts.append(_Part(model.bases[name], rows, places, mean, variance))
        n, T = labels.shape
        return cls(tuple(parts), (n,) if answers.times is None else (n, T))

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(field for part in self.parts for field in part.basis.fields))


def _write_field(root: Any, field: str, asked: _Asked) -> None:
    parts = [part for part in asked.parts if field in part.basis.fields]
    modes = parts[0].basis.modes_by_field[field]
    dims = ("row", "time")[: len(asked.shape)] + tuple(map(str, modes.dims[1:]))
    boxes = list(_boxes(modes))
    size = tuple(side.stop - side.start for side in boxes[0])
    targets = []
    for name in (field, f"{field}_std"):
        array = root.create_array(
            name,
            shape=(*asked.shape, *modes.shape[1:]),
            chunks=(1, *(_times_of_chunk(times, size) for times in asked.shape[1:]), *size),
            dtype="float64",
            dimension_names=dims,
            fill_value=np.nan,
        )
        array.attrs.update({key: str(value) for key, value in modes.attrs.items()})
        targets.append(array)
    for dim in modes.dims[1:]:
        if str(dim) in modes.coords and modes[dim].dtype.kind in "iuf" and str(dim) not in root:
            root.create_array(str(dim), data=np.asarray(modes[dim].values), dimension_names=(str(dim),))
    for part in parts:
        if len(part.rows):
            _write_part(targets, field, part, boxes, timed=len(asked.shape) == 2)


def _write_part(targets: Sequence[Any], field: str, part: _Part, boxes: Sequence[tuple[slice, ...]], *, timed: bool) -> None:
    lazy, centre = part.basis.modes_by_field[field], part.basis.mean_by_field.get(field)
    rows, starts = np.unique(part.rows, return_index=True)
    for box in boxes:
        modes = np.asarray(lazy[(slice(None), *box)].values, np.float64)
        flat, squares = modes.reshape(len(modes), -1), modes.reshape(len(modes), -1) ** 2
        offset = 0.0 if centre is None else np.asarray(centre[box].values).ravel()
        for row, own in zip(rows, np.split(np.arange(len(part.rows)), starts[1:]), strict=True):
            space = modes.shape[1:]
            values = (part.mean[own] @ flat + offset).reshape(-1, *space)
            spread = np.sqrt(part.variance[own] @ squares).reshape(-1, *space)
            for target, found in zip(targets, (values, spread), strict=True):
                if timed:
                    target.oindex[(int(row), part.places[own], *box)] = found
                else:
                    target[(int(row), *box)] = found[0]


def _times_of_chunk(times: int, box: tuple[int, ...]) -> int:
    """All times of a row in one chunk, as long as that is not too large: one write for each row and box."""
    return max(1, min(times, BOX_BYTES // (8 * int(np.prod(box)))))


def _boxes(modes: xr.DataArray) -> Iterator[tuple[slice, ...]]:
    """Boxes of space: the chunks that the modes lie in, or pieces along the first axis."""
    from nwidth_graphs.layout import panels

    space = modes.shape[1:]
    chunks = None if modes.chunks is None else tuple(max(sides) for sides in modes.chunks[1:])
    rows = max(1, BOX_BYTES // (8 * max(1, modes.shape[0] * int(np.prod(space[1:])))))
    for panel in panels(space, chunks or (min(rows, space[0]), *space[1:])):
        yield panel.selection
