"""What an adaptive march gives: coefficients in the modes of the body that it ended with, and everything that was decided."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nwidth.mechanics.adaptive_update import Update
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.model import MechanicsModel, side_by_side
from nwidth.models.files import read_array
from nwidth_graphs.kernels.enrichment import Action, Decision

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]


class WorkFolder:
    """Where enriched modes lie; a temporary one is removed when nobody holds this any more."""

    def __init__(self, given: str | Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="nwidth-") if given is None else given).absolute()
        if given is None:
            weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class AdaptiveSolution:
    """One load case, and the body that it ended with."""

    model: MechanicsModel
    cluster: int
    """Which of the model's bodies it began with."""
    inputs: Mapping[str, float]
    body: ReducedBody
    """Enriched; its folders are absolute where they are not in the model yet."""
    coefficients: Mapping[str, Floats]
    """Field -> (T, N) in the modes of `body`; NaN at times that were not reached."""
    residuals: Floats
    """rho (T,)."""
    indicator: Floats
    """eta (T,), of the step as it was accepted."""
    decisions: tuple[Decision, ...]
    updates: tuple[Update, ...]
    failure: str
    """Why it ended before its last time; empty where it did not."""
    folder: Path | None
    """Enriched modes; None where nothing was enriched."""
    work: WorkFolder | None = None
    """Holds `folder`."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be known of steps that were accepted although they are not within the tolerance."""
        times = self.model.case.times
        stopped = [decision for decision in self.decisions if decision.action is Action.STOP]
        told = tuple(f"t = {times[decision.step]:g}: {decision.reason}" for decision in stopped)
        return (*told, self.failure) if self.failure else told

    def fields(self) -> xr.Dataset:
        """Displacement and dual fields, (time, *space[, component]): lazy; with ``indicator`` and ``residual``."""
        import xarray as xr

        found = xr.Dataset(coords={"time": np.asarray(self.model.case.times, np.float64)})
        found["indicator"], found["residual"] = ("time", self.indicator), ("time", self.residuals)
        modes = {self.body.displacement: self.body.modes, **{dual.name: dual.modes for dual in self.body.duals}}
        fields = {}
        for name, place in modes.items():
            folder = self.model.model.path / place
            basis = read_array(folder.parent, folder.name)
            q = xr.DataArray(self.coefficients[name], dims=("time", "mode"))
            fields[name] = xr.dot(q, basis, dim="mode").assign_attrs(basis.attrs)
        return found.assign(side_by_side(fields))
