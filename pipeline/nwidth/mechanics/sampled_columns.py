"""Fields of reduced runs as columns beside those of a store, formed block by block where they are reduced, and never stored.

    displacement at nodes       Phi q                                   modes of these nodes
    dual field at points        law along E q, step by step             modes at the nodes of the points' cells

A block costs its worker one call of the law for every point, run and step; nothing is solved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.mechanics.case import Case, temperatures
from nwidth.mechanics.integrands import Strains
from nwidth.mechanics.training import interpolation_of
from nwidth.stages.scratch import ReadScratch
from nwidth_graphs.kernels.driven_law import values_along
from nwidth_graphs.kernels.materials import Law
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LAW_BYTES = 32 * 2**20
"""Of the tangents of one call of the law: runs advance together as far as they fit."""


@dataclass(frozen=True)
class NodalColumns:
    """``read(panel)``: displacement ``Phi q`` of all runs and times."""

    modes: str
    """Folder of the modes Phi."""
    q: Floats
    """(D, T, N)."""

    def __call__(self, panel: Panel) -> Reading:
        reading = ReadScratch(f"{self.modes}/modes")(panel)
        return Reading(np.asarray(reading.values, np.float64) @ self.q.reshape(-1, self.q.shape[2]).T, reading.bytes_read)


@dataclass(frozen=True)
class DualColumns:
    """``read(panel)``: the flux or an internal variable of all runs, at all times but the first, which tells nothing."""

    strains: Strains
    law: Law
    case: Case
    inputs: Mapping[str, Floats]
    """(D,) by name."""
    q: Floats
    """(D, T, N)."""
    variable: str
    """What the law calls it."""
    order: Indices
    """(c,): place of each stored component among those of the variable."""

    def __call__(self, panel: Panel) -> Reading:
        points = panel.selection[0]
        local = self.strains.points(points)
        operator = self.strains(local)
        count, size, rank = operator.shape
        at_points = interpolation_of(local, count)
        draws, steps = self.q.shape[0], self.q.shape[1] - 1
        columns = np.empty((draws, steps, panel.rows))
        together = max(1, LAW_BYTES // (8 * count * size**2))
        for start in range(0, draws, together):
            batch = slice(start, start + together)
            strain = self.q[batch] @ operator.reshape(-1, rank).T
            inputs = {name: values[batch] for name, values in self.inputs.items()}
            temperature = at_points(temperatures(self.case, inputs, local.coordinates))
            strain = strain.reshape(*strain.shape[:2], count, size)
            values = values_along(self.law, self.case.times, strain, temperature, self.variable)[:, 1:]
            if values.ndim == 4:
                values = values[..., self.order[panel.selection[1]]]
            columns[batch] = values.reshape(len(values), steps, panel.rows)
        return Reading(columns.reshape(-1, panel.rows).T, lent=True)
