"""A trained mechanical model as people open it: solve a load case, get fields with their indicator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.errors import InputError, RunError
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.case import Case, case_named
from nwidth.mechanics.files import ReducedMechanics, read_enrichments, read_mechanics
from nwidth.mechanics.surrogate import MechanicsSurrogate
from nwidth.mechanics.train import content_key_of
from nwidth.models.files import read_array
from nwidth.models.model import Model, open_model

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class MechanicsModel:
    """Reduced bodies on disk, with the case that drives them."""

    model: Model
    mechanics: ReducedMechanics
    case: Case

    @property
    def bodies(self) -> tuple[ReducedBody, ...]:
        """One, or one for each cluster."""
        return self.mechanics.bodies

    @property
    def surrogate(self) -> MechanicsSurrogate:
        """What Monte Carlo asks.

        Raises
        ------
        StoreError
            There are several bodies, and the model has learnt nothing that chooses among them.
        """
        return MechanicsSurrogate(self.case, self.bodies, self.model.learned if len(self.bodies) > 1 else None)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import mechanics_html

        return mechanics_html(self)

    @property
    def enrichments(self) -> tuple[dict[str, Any], ...]:
        """What full-order steps have changed since the training, the oldest first; see `nwidth.keep_enriched`."""
        return read_enrichments(self.model.path)

    def predict(self, **inputs: float) -> xr.Dataset:
        """Displacement and dual fields of one load case, (time, *space[, component]): lazy; with ``cluster`` and ``indicator``.

        Raises
        ------
        InputError
            An input is missing or unknown.
        RunError
            The reduced Newton method failed; the reason is given.
        """
        import xarray as xr

        surrogate = self.surrogate
        if set(inputs) != set(surrogate.inputs):
            raise InputError(
                f"the inputs given are {', '.join(sorted(inputs)) or 'none'}, and the case takes {', '.join(surrogate.inputs)}; "
                "give exactly those"
            )
        answers = surrogate.ask({name: np.array([float(value)]) for name, value in inputs.items()})
        if answers.failed[0]:
            raise RunError(f"the load case could not be solved: {answers.words[0]}")
        label = int(answers.labels[0, 0])
        found = xr.Dataset(coords={"time": surrogate.times}, attrs={"remark": answers.words[0]})
        found["cluster"] = ((), label)
        found["indicator"] = ("time", answers.indicator[0])
        fields = {}
        for name, folders in surrogate.modes.items():
            modes = read_array(self.model.path, folders[label])
            q = xr.DataArray(answers.coefficients[name][0, :, : modes.sizes["mode"]], dims=("time", "mode"))
            fields[name] = xr.dot(q, modes, dim="mode").assign_attrs(modes.attrs)
        return found.assign(side_by_side(fields))


def side_by_side(fields: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Fields as one dataset can hold them: ``stress_component`` and so on, where they have different numbers of components."""
    counts = {field.sizes["component"] for field in fields.values() if "component" in field.dims}
    if len(counts) < 2:
        return dict(fields)
    return {
        name: field.rename(component=f"{name}_component") if "component" in field.dims else field
        for name, field in fields.items()
    }


def open_mechanics(model: str | Path | Model, case: Case | str | None = None) -> MechanicsModel:
    """Open the reduced mechanics of a model, or of a run's folder.

    Parameters
    ----------
    case : Case or str, optional
        By default the one that it was trained with, by its name.

    Raises
    ------
    StoreError, LayoutError
        There are none, or they are damaged, or of other bases.
    ConfigError
        The case cannot be loaded.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    mechanics = read_mechanics(opened.path, content_key_of(opened))
    driving: Any = case if case is not None else mechanics.case
    return MechanicsModel(opened, mechanics, case_named(driving) if isinstance(driving, str) else driving)
