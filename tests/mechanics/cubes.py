"""Reduced cubes, from a store to a trained model, as a user would make them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.config import AtlasSection
from nwidth.mechanics.body import Solved
from nwidth.mechanics.options import MechanicsOptions
from nwidth.models.model import Model, open_model
from nwidth.runs import run
from tests.cube import CubeParameters
from tests.cube.case import INPUTS, inputs_of
from tests.runs.studies import study_of

PLASTIC = 1e-3
"""Norm of the plastic strain above which it has a relative error, as in the tabulated runs."""


def reduced(folder: Path, store: Path, scheduler: str, name: str, atlas: AtlasSection | None = None, **reduce: Any) -> Model:
    """The model of displacement and plastic strain, each with a basis of its own."""
    settings = {"fields": ("displacement", "p"), "basis": "each", "route": "tsqr", "inner_product": {"displacement": "mass"}}
    study = study_of(folder, store, scheduler, study={"name": name}, reduce={**settings, **reduce})
    return open_model(run(study.model_copy(update={"atlas": atlas})).model)


def plastic_options(tolerance: float, **more: Any) -> MechanicsOptions:
    """Cubature to a tolerance, and the plastic strain as dual field and indicator."""
    return MechanicsOptions(duals={"p": "p"}, tolerance=tolerance, smallest_norm=PLASTIC, **more)


def inputs(runs: Sequence[CubeParameters]) -> dict[str, Any]:
    """Inputs (D,) by name."""
    rows = [inputs_of(parameters) for parameters in runs]
    return {name: np.array([row[name] for row in rows]) for name in INPUTS}


def field(model: Path, folder: str, coefficients: Any) -> Any:
    """A field (T, ...) of coefficients (T, N)."""
    import zarr

    modes: Any = zarr.open_array(str(model / folder / "modes"), mode="r")
    return np.tensordot(coefficients, modes[: coefficients.shape[1]], axes=1)


def relative(found: Any, truth: Any, smallest: float = 0.0) -> Any:
    """Relative errors over time, Euclidean, where the truth is larger than `smallest`."""
    size = np.linalg.norm(truth.reshape(len(truth), -1), axis=1)
    missed = np.linalg.norm((found - truth).reshape(len(truth), -1), axis=1)
    return missed[size > smallest] / size[size > smallest]


def failed(solved: Solved) -> Any:
    """Draws that failed."""
    return sorted(solved.failures)
