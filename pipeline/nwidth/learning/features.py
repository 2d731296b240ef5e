"""Features of an experiment: its parameters, or its input field by POD coefficients or by the values at chosen places.

    parameters      z = p
    modes           z = Psi^T (g - mean g)       POD of the training inputs g, the fewest modes that leave at most `rtol`
    nodes           z = g at the places that mRMR chose

Standardisation belongs to what uses the features: classifier, regression and novelty each keep their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError
from nwidth.learning.mrmr import Correlogram, fit_correlogram, mrmr
from nwidth.models.inputs import FieldModes, FieldNodes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FEATURES = ("parameters", "modes", "nodes")
RTOL = 1e-2
MOST_FEATURES = 20
"""More would need more simulations than a design of experiments has."""


def input_fields(inputs: Any, simulations: Sequence[str]) -> Floats:
    """Input fields (S, n) in the order of the experiments.

    Parameters
    ----------
    inputs : DataArray or mapping
        (simulation, ...) with a coordinate ``simulation``, or simulation -> array.
    simulations : sequence of str

    Raises
    ------
    InputError
        An input is missing, of another size, or not finite.
    """
    given = dict(_by_name(inputs))
    missing = [name for name in simulations if name not in given]
    if missing:
        raise InputError(f"there is no input field for the simulation {missing[0]!r}; give one for each simulation of the model")
    rows = [np.asarray(given[name], np.float64).ravel() for name in simulations]
    if len({row.size for row in rows}) > 1:
        raise InputError(f"input fields have sizes {sorted({row.size for row in rows})}; put them on one mesh")
    fields = np.array(rows)
    if not np.isfinite(fields).all():
        name = simulations[int(np.argmin(np.isfinite(fields).all(axis=1)))]
        raise InputError(f"the input field of the simulation {name!r} is not finite; mend it, or drop the simulation")
    return fields


def _by_name(inputs: Any) -> Any:
    if hasattr(inputs, "dims"):
        if "simulation" not in inputs.coords or inputs.dims[0] not in inputs["simulation"].dims:
            raise InputError("the input fields have no coordinate 'simulation' along their first dimension; add one")
        return zip(map(str, inputs["simulation"].values), inputs.values, strict=True)
    return inputs.items()


def field_modes(fields: Floats, *, count: int | None = None, rtol: float = RTOL) -> FieldModes:
    """POD of input fields (S, n) about their mean: `count` modes, or the fewest that leave at most `rtol`, at most 20."""
    mean = fields.mean(axis=0)
    _, s, modes = np.linalg.svd(fields - mean, full_matrices=False)
    # Below the rounding of the centring there is nothing to learn from.
    trusted = int(np.count_nonzero(s > max(fields.shape) * np.finfo(np.float64).eps * np.linalg.norm(fields)))
    tails = np.sqrt(np.cumsum((s**2)[::-1])[::-1])
    wanted = min(int(np.count_nonzero(tails > rtol * tails[:1].sum())), MOST_FEATURES) if count is None else count
    if trusted == 0:
        raise InputError("all input fields are equal, and nothing can be learnt from them; give the inputs that differ")
    return FieldModes(mean, modes[: max(1, min(wanted, trusted))])


def field_nodes(
    fields: Floats, labels: Indices, *, count: int = 10, points: Floats | None = None, form: str = "difference", seed: int = 0
) -> FieldNodes:
    """Places of input fields (S, n) chosen by mRMR for the labels (S,); with `points` (n, 3) by the spatial shortcut."""
    if fields.shape[1] < count:
        raise ConfigError(f"{count} places are wanted of {fields.shape[1]}; choose fewer with count=")
    fitted: Correlogram | None = None if points is None else fit_correlogram(fields, points, seed=seed)
    return FieldNodes(mrmr(fields, labels, count, form=form, correlogram=fitted, points=points).features, fields.shape[1])
