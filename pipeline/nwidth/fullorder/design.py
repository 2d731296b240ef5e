"""A design of experiments: rows of parameters, one solver run each. Pure but for the one file that a drawn design is kept in.

A row called 7 is the point ``point-0007``, any other name stands for itself. Rows that differ in nothing but their name are
refused: they would be one run paid for twice.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.fullorder.protocol import Parameters, Point

LARGEST_DESIGN = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")


def points_of(rows: Mapping[str, Parameters], label: str) -> tuple[Point, ...]:
    """The points of a design, in its order; names fit for folders.

    Raises
    ------
    nwidth.errors.ConfigError
        Two rows have the same name or the same values, or a name is not fit for a folder.
    """
    points: dict[str, Point] = {}
    values: dict[tuple[tuple[str, float | str], ...], str] = {}
    for identifier, parameters in rows.items():
        name = point_name(identifier, label)
        content = tuple(sorted(parameters.items()))
        if name in points:
            raise ConfigError(f"{label}: two rows are called {name}; give every row its own name")
        if content in values:
            raise ConfigError(
                f"{label}: rows {values[content]} and {identifier} have the same parameters; remove one: it would be the same run"
            )
        points[name], values[content] = Point(name, dict(parameters)), identifier
    return tuple(points.values())


def point_name(identifier: str, label: str) -> str:
    """``"7"`` -> ``"point-0007"``; a name stands for itself."""
    if identifier.isascii() and identifier.isdigit():
        return f"point-{int(identifier):04d}"
    if not _NAME.fullmatch(identifier):
        raise ConfigError(f"{label}: the row {identifier!r} cannot name a folder; use letters, digits, - and _")
    return identifier


# ----------------------------------------------------------------------------------------------------------- drawing


@dataclass(frozen=True)
class Axis:
    """One parameter of a design that is drawn."""

    name: str
    low: float
    high: float
    logarithmic: bool = False
    levels: int = 2
    """Of a full factorial."""

    def __post_init__(self) -> None:
        if not np.isfinite([self.low, self.high]).all() or self.low >= self.high:
            raise ConfigError(
                f"the range of {self.name} is {self.low} to {self.high}; give two finite numbers, the smaller first"
            )
        if self.logarithmic and self.low <= 0:
            raise ConfigError(f"{self.name} is drawn on a logarithmic scale, and its range starts at {self.low}; start above 0")

    def at(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at `shares` of the range, 0 to 1."""
        if self.logarithmic:
            return np.asarray(self.low * (self.high / self.low) ** shares)
        return np.asarray(self.low + (self.high - self.low) * shares)


def draw(axes: Sequence[Axis], method: str, n_points: int, seed: int) -> NDArray[np.float64]:
    """Draw a design, ``(n_points, n_axes)``.

    ``latin-hypercube``: every axis in `n_points` equal strata, one point in each (McKay, Beckman, Conover 1979).
    ``sobol``: scrambled Sobol' points (Owen 1998); the first points stay the same when more are asked for.
    ``factorial``: every combination of the axes' levels, the last axis fastest; `n_points` and `seed` play no role.

    Raises
    ------
    nwidth.errors.ConfigError
        Nothing to draw, too many points, or an unknown method.
    """
    if not axes:
        raise ConfigError("a design without a parameter has one point, which needs no design; give ranges")
    if method == "factorial":
        return _factorial(axes)
    if not 1 <= n_points <= LARGEST_DESIGN:
        raise ConfigError(f"a design of {n_points} points was asked for; give between 1 and {LARGEST_DESIGN}")
    shares = _shares(method, len(axes), n_points, seed)
    return np.stack([axis.at(shares[:, k]) for k, axis in enumerate(axes)], axis=1)


def _shares(method: str, n_axes: int, n_points: int, seed: int) -> NDArray[np.float64]:
    from scipy.stats import qmc

    if method == "latin-hypercube":
        return np.asarray(qmc.LatinHypercube(n_axes, seed=np.random.default_rng(seed)).random(n_points))
    if method == "sobol":
        # A power of two, of which the first are taken: those are what a larger design begins with.
        power = max(n_points - 1, 1).bit_length()
        return np.asarray(qmc.Sobol(n_axes, seed=np.random.default_rng(seed)).random_base2(power)[:n_points])
    raise ConfigError(f"no design is drawn by the method {method!r}; known are latin-hypercube, sobol, factorial")


def _factorial(axes: Sequence[Axis]) -> NDArray[np.float64]:
    sizes = [axis.levels for axis in axes]
    total = 1
    for size in sizes:
        total *= size
    if total > LARGEST_DESIGN:
        raise ConfigError(f"the full factorial has {total} points, more than {LARGEST_DESIGN}; take fewer levels, or draw sobol")
    levels = [axis.at(np.linspace(0.0, 1.0, axis.levels)) for axis in axes]
    return np.stack([grid.ravel() for grid in np.meshgrid(*levels, indexing="ij")], axis=1)


def design_text(axes: Sequence[Axis], values: NDArray[np.float64], units: Mapping[str, str]) -> str:
    """A drawn design as the CSV that `nwidth.stages.parameters` reads; numbers in the digits that give them back."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["point", *(f"{a.name} [{units[a.name]}]" if units.get(a.name) else a.name for a in axes)])
    writer.writerows([str(number), *map(repr, row)] for number, row in enumerate(values.tolist()))
    return stream.getvalue()


def keep_design(text: str, file: Path) -> None:
    """Write a drawn design where it is not yet; one that only grew replaces the one that is there.

    Raises
    ------
    nwidth.errors.ConfigError
        Another design lies there: its points have been run, and belong to it.
    """
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if not text.startswith(before):
        raise ConfigError(
            f"{file} was drawn with other settings than the study has now; give full_order another folder, or take the file "
            "as the design: design = ..."
        )
    if text != before:
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
