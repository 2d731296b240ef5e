"""Two families of a field that share no modes, told apart by a parameter; as a store and as the table of its runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.readers.protocol import FieldSpec, Run
from nwidth.stores import open_or_create_store

PLACES, TIMES = 60, np.linspace(0.0, 1.0, 5)
X = np.linspace(0.0, 1.0, PLACES)
SIMULATIONS = 24


def field(speed: float, heat: float, time: float) -> Any:
    """A bump to the left for slow speeds and a wave to the right for fast ones."""
    if speed < 0.5:
        return (1 + heat * time) * np.exp(-(((X - 0.25 - 0.1 * speed) / 0.08) ** 2))
    return (1 + heat * time) * np.exp(-(((X - 0.75 + 0.1 * speed) / 0.08) ** 2)) * np.cos(3 * heat)


def fields(speed: float, heat: float) -> Any:
    """The field at all times, (times, places)."""
    return np.array([field(speed, heat, time) for time in TIMES])


def design() -> Any:
    """Speed and heat of the simulations, spread evenly over the square, with none near the border of the families."""
    number = np.arange(SIMULATIONS)
    speed = (number + 0.5) / SIMULATIONS
    return np.column_stack([np.where(speed < 0.5, 0.9 * speed, 0.1 + 0.9 * speed), (number * 0.618) % 1.0])


def store_of(folder: Path, values: Any, *, parameters: bool = True) -> Path:
    """A store of all simulations, values (simulations, times, places), with their parameters or without."""
    for number, (speed, heat) in enumerate(design()):
        given = {"speed": speed, "heat": heat} if parameters else {}
        add_simulation(folder / "store.zarr", f"run-{number}", values[number], **given)
    return folder / "store.zarr"


def add_simulation(url: Path, name: str, values: Any, **parameters: float) -> None:
    """Append one simulation, values (times, places); the store is made where there is none."""
    store = open_or_create_store(url, "zarr", {})
    run = Run({"T": FieldSpec("node", ("node",), (PLACES,), np.dtype(np.float64), (), "K")}, TIMES, partial(rows, values))
    with store.append(run, simulation=name, source_key=name, parameters=parameters) as writer:
        writer.write(0, {"T": values})


def rows(values: Any) -> Iterator[Any]:
    """Snapshots of one simulation, one by one."""
    return ({"T": row} for row in values)
