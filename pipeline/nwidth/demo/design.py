"""The design of experiments: a Latin hypercube over three parameters, and its CSV file with units in the header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """One column of the design."""

    name: str
    units: str
    low: float
    high: float


PARAMETERS = (
    Parameter("conductivity", "W/(m K)", 15.0, 45.0),
    Parameter("speed", "mm/s", 8.0, 20.0),
    Parameter("power", "W", 200.0, 600.0),
)


def latin_hypercube(runs: int, seed: int) -> list[dict[str, float]]:
    """One dictionary of parameters per run: each range is cut into `runs` equal slices, and every slice is used once."""
    generator = np.random.default_rng(seed)
    columns = {}
    for parameter in PARAMETERS:
        places = (generator.permutation(runs) + generator.uniform(size=runs)) / runs
        # Six digits are what the file holds; the solver gets the same numbers as a reader of the file.
        columns[parameter.name] = [float(f"{value:.6g}") for value in parameter.low + places * (parameter.high - parameter.low)]
    return [{name: values[run] for name, values in columns.items()} for run in range(runs)]


def write_design(path: Path, design: list[dict[str, float]]) -> None:
    """Write ``run,conductivity [W/(m K)],...`` with one row per run."""
    header = ",".join(["run", *(f"{parameter.name} [{parameter.units}]" for parameter in PARAMETERS)])
    rows = [[run, *(values[parameter.name] for parameter in PARAMETERS)] for run, values in enumerate(design)]
    lines = [header, *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
