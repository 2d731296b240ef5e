"""Parameters of a law: a number, or a curve over temperature, and the checks that a law makes of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from nwidth_graphs.kernels.elements import Floats


@dataclass(frozen=True)
class Curve:
    """A property known at some temperatures, linear between them; NaN outside, where nobody measured it.

    Raises ValueError where the two lists differ in length, or temperatures do not increase, or a number is not finite.
    """

    temperatures: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("temperatures", "values"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if len(self.temperatures) != len(self.values) or len(self.values) < 2:
            raise ValueError(
                f"a curve has {len(self.temperatures)} temperatures and {len(self.values)} values; give two or more, one for each"
            )
        if not np.isfinite([*self.temperatures, *self.values]).all() or (np.diff(self.temperatures) <= 0).any():
            raise ValueError(f"the temperatures {self.temperatures} of a curve are to increase, and its values to be finite")

    def at(self, temperature: Floats) -> Floats:
        """Values at temperatures of any shape."""
        return np.asarray(np.interp(temperature, self.temperatures, self.values, left=np.nan, right=np.nan))


Property = float | Curve


def value_at(value: Property, temperature: Floats) -> Floats:
    """A property at temperatures (..., Q): of shape () where it is one number."""
    return value.at(temperature) if isinstance(value, Curve) else np.asarray(value, np.float64)


def slope_at(value: Property, temperature: Floats) -> Floats:
    """Derivative of a property with respect to temperature, of the piece above a kink; zero where it is one number."""
    if not isinstance(value, Curve):
        return np.asarray(0.0)
    nodes, values = np.array(value.temperatures), np.array(value.values)
    piece = np.clip(np.searchsorted(nodes, temperature, side="right") - 1, 0, len(nodes) - 2)
    return np.asarray((np.diff(values) / np.diff(nodes))[piece])


def extremes(value: Property) -> tuple[float, float]:
    """Smallest and largest value of a property."""
    values = value.values if isinstance(value, Curve) else (float(value),)
    return min(values), max(values)


def require(what: str, value: Property, *, above: float = -np.inf, below: float = np.inf, equal: bool = False) -> None:
    """Refuse a property that is not finite or leaves its bounds (ValueError); with `equal`, the lower bound itself is allowed."""
    low, high = extremes(value)
    enough = low >= above if equal else low > above
    if not (np.isfinite([low, high]).all() and enough and high < below):
        sign = ">=" if equal else ">"
        bounds = [f"{sign} {above:g}"] * bool(np.isfinite(above)) + [f"< {below:g}"] * bool(np.isfinite(below))
        raise ValueError(
            f"{what} is {_words(low, high)}; it has to be {' and '.join(bounds) or 'finite'}: mend the law's parameters"
        )


def _words(low: float, high: float) -> str:
    return f"{low:g}" if f"{low:g}" == f"{high:g}" else f"between {low:g} and {high:g}"


def common_range(record: Any) -> tuple[float, float]:
    """The temperatures at which all curves of a record (and of the records in it) are known."""
    low, high = -np.inf, np.inf
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Curve):
            inner: tuple[float, float] = (value.temperatures[0], value.temperatures[-1])
        elif is_dataclass(value):
            inner = common_range(value)
        else:
            continue
        low, high = max(low, inner[0]), min(high, inner[1])
    return low, high
