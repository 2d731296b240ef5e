"""What a prediction is asked with, as arrays: features of an input, and whether it is like any that training has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import InputError
from nwidth.models.classifiers import Scaling

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    """Features are the parameters themselves."""

    names: tuple[str, ...]

    def __call__(self, given: Any) -> Floats:
        """Features (d,) of a mapping name -> number.

        Raises
        ------
        InputError
            A parameter is missing, unknown, or not a finite number.
        """
        expected = ", ".join(self.names) or "none"
        if not isinstance(given, Mapping):
            raise InputError(f"the input is of type {type(given).__name__}, expected parameters by name: {expected}")
        if set(given) != set(self.names):
            what = ", ".join(sorted(map(str, given))) or "none"
            raise InputError(f"the parameters given are {what}, but the model was trained with {expected}; give exactly those")
        return _finite([given[name] for name in self.names], self.names)


@dataclass(frozen=True)
class FieldModes:
    """Features are the coordinates of an input field on the POD basis of the training inputs: ``modes^T (field - mean)``."""

    mean: Floats
    """(n,)."""
    modes: Floats
    """(d, n), orthonormal rows."""

    def __call__(self, given: Any) -> Floats:
        """Features (d,) of an input field with n values; refused if it has another size or a value that is not finite."""
        return np.asarray(self.modes @ (_field(given, len(self.mean)) - self.mean))


@dataclass(frozen=True)
class FieldNodes:
    """Features are the values of an input field at chosen places."""

    places: NDArray[np.int64]
    """(d,), in the order of their choice."""
    size: int
    """n, values of an input field."""

    def __call__(self, given: Any) -> Floats:
        """Features (d,) of an input field with n values; refused if it has another size or a value that is not finite."""
        return np.asarray(_field(given, self.size)[self.places])


def _field(given: Any, size: int) -> Floats:
    values = np.asarray(getattr(given, "values", given))
    if values.size != size:
        raise InputError(
            f"the input field has {values.size} values, but the model was trained with fields of {size}; give such a one"
        )
    return _finite(values.ravel(), None)


def _finite(values: Any, names: tuple[str, ...] | None) -> Floats:
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"the input {values!r} is not made of numbers; give a number for each of {names}") from None
    if numbers.ndim != 1:
        raise InputError("a parameter is an array, expected one number for each; ask for one input at a time")
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        where = repr(names[wrong[0]]) if names else f"at place {int(wrong[0])}"
        raise InputError(f"the input {where} is {numbers[wrong[0]]}, expected a finite number; mend it before asking the model")
    return numbers


@dataclass(frozen=True)
class Novelty:
    """How far an input is from those of training, in their standard deviations.

    *neighbour*: Euclidean distance to the nearest training input. *mahalanobis*: ``sqrt((x - mean)^T C^-1 (x - mean))``.
    `limit` is a quantile of the same distance among the training inputs, each measured without itself.
    """

    method: str
    scaling: Scaling
    inputs: Floats
    """(n, d), standardised; for *mahalanobis* the one row of their mean."""
    whitening: Floats
    """(d, d): G with ``G^T G = C^-1``; the identity for *neighbour*."""
    varied: NDArray[np.bool_]
    """(d,): whether training varied the feature. Of one that it did not, any other value is new."""
    names: tuple[str, ...]
    """Simulations of the rows of `inputs`."""
    limit: float
    quantile: float

    def distances(self, X: Floats) -> Floats:
        """Distance (q,) of every row of X (q, d); infinite where a feature differs that never varied."""
        x = self.scaling(X)
        # A feature that never varied has the scale 1, so its difference is in its own unit.
        moved = np.abs(x) > 1e-9 * np.maximum(np.abs(self.scaling.mean), 1e-300)
        steps = (x[:, None, :] - self.inputs[None, :, :])[:, :, self.varied] @ self.whitening.T
        with np.errstate(over="ignore"):  # an input beyond all measure is infinitely far
            nearest = np.sqrt((steps**2).sum(axis=2)).min(axis=1)
        return np.asarray(np.where((moved & ~self.varied).any(axis=1), np.inf, nearest))

    def reason(self, x: Floats) -> str | None:
        """Why the input x (d,) belongs to none of the classes, in one clause; None where it may."""
        distance = float(self.distances(x[None])[0])
        if np.isinf(distance):
            return "it changes an input that was the same in all training simulations"
        if not distance > self.limit:
            return None
        to = "the training inputs" if self.method == "mahalanobis" else f"the nearest training input, {self._nearest(x)}"
        return (
            f"it is {distance:.3g} standard deviations from {to}; training inputs are within {self.limit:.3g} of each other "
            f"({self.quantile:.0%} of them)"
        )

    def _nearest(self, x: Floats) -> str:
        return self.names[int(np.argmin(((self.inputs - self.scaling(x)) ** 2).sum(axis=1)))]
