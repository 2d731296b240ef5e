"""What is uncertain: one distribution for every input, as its quantile function.

    x = F^-1(u),  u uniform on (0, 1)

so that a draw is a point of the unit cube, whatever the distributions are (`draws.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError

Floats = NDArray[np.float64]


class Distribution(Protocol):
    """One uncertain input."""

    def quantile(self, u: Floats) -> Floats:
        """``F^-1(u)`` for u in (0, 1), of any shape."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Between `low` and `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"a uniform distribution goes from low = {self.low:g} to high = {self.high:g}; low must be smaller")

    def quantile(self, u: Floats) -> Floats:
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class Normal:
    """With `mean` and standard deviation `std`, cut off below `low` and above `high` where they are given."""

    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ConfigError(f"a normal distribution has std = {self.std:g}; it must be positive")
        if not self.low < self.high:
            raise ConfigError(
                f"a normal distribution is cut off at low = {self.low:g} and high = {self.high:g}; low must be smaller"
            )
        if not self._ends()[0] < self._ends()[1]:
            raise ConfigError(
                f"between low = {self.low:g} and high = {self.high:g} lies nothing of a normal distribution of mean "
                f"{self.mean:g} and std {self.std:g}; widen them, or use a uniform distribution"
            )

    def _ends(self) -> tuple[float, float]:
        from scipy.special import ndtr

        return float(ndtr((self.low - self.mean) / self.std)), float(ndtr((self.high - self.mean) / self.std))

    def quantile(self, u: Floats) -> Floats:
        from scipy.special import ndtri

        first, last = self._ends()
        values = self.mean + self.std * ndtri(first + (last - first) * u)
        return np.asarray(np.clip(values, self.low, self.high))


@dataclass(frozen=True)
class LogNormal:
    """Whose logarithm is normal: of `median`, and standard deviation `sigma` of the logarithm."""

    median: float
    sigma: float

    def __post_init__(self) -> None:
        if not (self.median > 0 and self.sigma > 0):
            raise ConfigError(
                f"a log-normal distribution has median = {self.median:g} and sigma = {self.sigma:g}; both must be positive"
            )

    def quantile(self, u: Floats) -> Floats:
        from scipy.special import ndtri

        return np.asarray(self.median * np.exp(self.sigma * ndtri(u)))


@dataclass(frozen=True)
class Choice:
    """One of some values, each as probable as the others."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("a choice has no values; name at least one")

    def quantile(self, u: Floats) -> Floats:
        places = np.minimum((u * len(self.values)).astype(np.int64), len(self.values) - 1)
        return np.asarray(self.values, np.float64)[places]


@dataclass(frozen=True)
class Constant:
    """An input that is certain."""

    value: float

    def quantile(self, u: Floats) -> Floats:
        return np.full_like(u, self.value)


KINDS = {"uniform": Uniform, "normal": Normal, "log-normal": LogNormal, "choice": Choice, "constant": Constant}


def distribution(name: str, table: Mapping[str, Any]) -> Distribution:
    """The distribution of the input `name`, from a table such as ``{distribution = "uniform", low = 0, high = 1}``.

    Raises
    ------
    ConfigError
        An unknown distribution, an unknown, missing or non-finite number, or one that does not fit the others.
    """
    given = dict(table)
    kind = given.pop("distribution", None)
    if kind not in KINDS:
        raise ConfigError(f"uncertainty.parameters.{name}: distribution = {kind!r}; known: {', '.join(KINDS)}")
    known = {field.name: field for field in fields(KINDS[kind])}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"uncertainty.parameters.{name}: a {kind} distribution has no {key!r}; it has {', '.join(known)}")
        if not all(_is_number(part) for part in (value if key == "values" and isinstance(value, list | tuple) else [value])):
            raise ConfigError(f"uncertainty.parameters.{name}.{key} = {value!r}, expected a finite number")
    try:
        made: Distribution = KINDS[kind](
            **{key: tuple(map(float, value)) if key == "values" else float(value) for key, value in given.items()}
        )
    except TypeError:
        needed = [key for key in known if key not in ("low", "high") or kind == "uniform"]
        raise ConfigError(f"uncertainty.parameters.{name}: a {kind} distribution needs {', '.join(needed)}") from None
    except ConfigError as error:
        raise ConfigError(f"uncertainty.parameters.{name}: {error}") from None
    return made


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
