"""What is partitioned: snapshots, or whole simulations; and who may be held out together.

snapshots of simulations  a a a b b b c c       items "snapshots": 8, items "simulations": 3
                                                a split never divides a simulation, whatever the items are
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.models.files import Labelled

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


# Times that are equal to so much of a simulation's span are the same: solvers end their steps by sums of increments.
SAME_TIME = 1e-3


@dataclass(frozen=True)
class SnapshotTable:
    """What is known of the snapshots beside their fields."""

    simulations: tuple[str, ...]
    """(m,): simulation of every snapshot; empty names where there are none."""
    times: Floats
    """(m,): NaN where there are none."""
    parameters: Floats
    """(m, p)."""
    parameter_names: tuple[str, ...] = ()

    @property
    def groups(self) -> Indices:
        """(m,): number of the simulation of every snapshot; snapshots without one are each for themselves."""
        seen: dict[str, int] = {}
        return np.array(
            [seen.setdefault(name or f"\0{place}", len(seen)) for place, name in enumerate(self.simulations)], np.int64
        )


def table_of(coordinates: Mapping[Any, Labelled], count: int) -> SnapshotTable:
    """The table of `count` snapshots: the coordinates that run along them. Every number but the time is a parameter."""
    along = {str(name): found for name, found in coordinates.items() if len(found.dims) == 1 and len(found.values) == count}
    along = {name: found for name, found in along.items() if name not in found.dims}
    simulations = along["simulation"].values if "simulation" in along else [""] * count
    times = np.asarray(along["time"].values, np.float64) if _is_number(along.get("time")) else np.full(count, np.nan)
    names = [name for name, found in along.items() if name not in ("simulation", "time") and _is_number(found)]
    columns = [np.asarray(along[name].values, np.float64) for name in names]
    finite = [place for place, column in enumerate(columns) if np.isfinite(column).all()]
    parameters = np.stack([columns[place] for place in finite], axis=1) if finite else np.zeros((count, 0))
    return SnapshotTable(tuple(map(str, simulations)), times, parameters, tuple(names[place] for place in finite))


def _is_number(found: Labelled | None) -> bool:
    return found is not None and found.values.dtype.kind in "iuf"


@dataclass(frozen=True)
class Items:
    """The items, their snapshots, and the simulations that they belong to."""

    of: str
    names: tuple[str, ...]
    snapshots: tuple[Indices, ...]
    """Snapshots of every item, in the order of their times."""
    item_of: Indices
    """(m,)."""
    groups: Indices
    """(I,): simulation of every item."""
    inputs: Floats
    """(I, p): what distinguishes the items before they are solved: parameters, and the time where items are snapshots."""
    clock: Floats
    """(m,): time of every snapshot; NaN where there is none."""

    @property
    def count(self) -> int:
        """I."""
        return len(self.names)

    def columns(self, items: Sequence[int] | Indices) -> Indices:
        """Snapshots of some items, ascending."""
        return np.sort(np.concatenate([self.snapshots[int(item)] for item in items])) if len(items) else np.zeros(0, np.int64)

    def at(self, time: float) -> Indices:
        """(I,): the snapshot of every item at one time; the last of each for an infinite one.

        Raises
        ------
        ConfigError
            An item has no snapshot at that time, to a thousandth of its own span.
        """
        if math.isinf(time):
            return np.array([int(found[-1]) for found in self.snapshots])
        nearest = np.array([int(found[np.argmin(np.abs(self.clock[found] - time))]) for found in self.snapshots])
        for name, found, chosen in zip(self.names, self.snapshots, nearest, strict=True):
            if not abs(self.clock[chosen] - time) <= SAME_TIME * np.ptp(self.clock[found]):
                raise ConfigError(
                    f"atlas.time = {time:g}: simulation {name} has no snapshot at that time, the nearest is at "
                    f"{self.clock[chosen]:g}; name a time that all simulations have"
                )
        return nearest

    def times(self, chosen: str) -> Indices:
        """(I, T): snapshots of every item, all of equally many times.

        Raises
        ------
        ConfigError
            The simulations have different numbers of snapshots.
        """
        lengths = sorted({len(found) for found in self.snapshots})
        if len(lengths) > 1:
            raise ConfigError(
                f"simulations of {lengths[0]} to {lengths[-1]} snapshots cannot be compared time by time, as atlas.time = "
                f'"{chosen}" does; set atlas.time to "last", a time, or "subspaces"'
            )
        return np.stack(self.snapshots)


def items_of(table: SnapshotTable, of: str) -> Items:
    """Snapshots one by one, or grouped by their simulations.

    Raises
    ------
    ConfigError
        Simulations are asked for, and the snapshots do not say to which they belong.
    """
    groups, count = table.groups, len(table.simulations)
    if of == "snapshots":
        names = tuple(_label(table, place) for place in range(count))
        each = tuple(np.array([place]) for place in range(count))
        return Items(of, names, each, np.arange(count), groups, _inputs(table, groups), table.times)
    if not any(table.simulations):
        raise ConfigError('atlas.of = "simulations": the snapshots have no coordinate "simulation"; use of = "snapshots"')
    order = np.lexsort((np.where(np.isnan(table.times), 0.0, table.times), groups))
    members = tuple(np.split(order, np.flatnonzero(np.diff(groups[order])) + 1))
    first = [int(found[0]) for found in members]
    names = tuple(table.simulations[place] for place in first)
    return Items(of, names, members, groups, np.arange(len(members)), table.parameters[first], table.times)


def _inputs(table: SnapshotTable, groups: Indices) -> Floats:
    """Parameters and time of the snapshots; none where several simulations have no parameters to tell them apart."""
    differs = table.parameters.size and np.ptp(table.parameters, axis=0).any()
    if not differs and len(np.unique(groups)) > 1:
        return np.zeros((len(groups), 0))
    return np.column_stack([table.parameters, table.times]) if np.isfinite(table.times).all() else table.parameters


def _label(table: SnapshotTable, place: int) -> str:
    name, time = table.simulations[place], table.times[place]
    parts = [name] if name else [f"snapshot {place}"]
    return ", ".join([*parts, f"t = {time:g}"] if np.isfinite(time) else parts)
