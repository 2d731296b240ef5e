"""A Monte Carlo run on disk: plain Zarr, which xarray opens, and one JSON document, written last.

draws.zarr/
  ensemble.json                     what was asked of what, failures, estimates, verification, what it cost
  draws/<input>                     (draw,) the inputs
  draws/label                       (draw, time) cluster that answered; -1 where the draw failed
  draws/indicator                   (draw, time) the error that the model expects of itself, relative
  draws/seconds                     (draw,) processor seconds
  draws/<quantity>                  (draw,) NaN where the draw failed
  coefficients/<field>              (draw, time, mode)
  fields/<field>/mean, std          (time, *space[, component])
  fields/<field>/quantiles          (level, time, *space[, component])
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import LayoutError, StoreError
from nwidth.models.files import create_array

if TYPE_CHECKING:
    import xarray as xr

    from nwidth_graphs.draws import Answers

Floats = NDArray[np.float64]

ENSEMBLE_SCHEMA = 1
DOCUMENT = "ensemble.json"


@dataclass(frozen=True)
class Ensemble:
    """All draws of a run, and their statistics; arrays stay on disk until they are used."""

    path: Path
    document: Mapping[str, Any]

    @property
    def draws(self) -> xr.Dataset:
        """Inputs, labels, indicator, quantities and cost of every draw."""
        return _opened(self.path, "draws").load()

    @cached_property
    def fields(self) -> dict[str, xr.Dataset]:
        """Field -> mean, std and quantiles over the draws that did not fail; lazy."""
        return {name: _opened(self.path, f"fields/{name}") for name in self.document["fields"]}

    @property
    def estimates(self) -> Mapping[str, Any]:
        """Quantity -> mean, std, standard error, quantiles, histogram."""
        found: Mapping[str, Any] = self.document["estimates"]
        return found

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import ensemble_html

        return ensemble_html(self)

    @property
    def failures(self) -> Mapping[str, str]:
        """Number of a draw that failed -> why."""
        found: Mapping[str, str] = self.document["failures"]
        return found


def open_ensemble(path: str | Path) -> Ensemble:
    """Open a Monte Carlo run: its folder, or that of the study's results.

    Raises
    ------
    StoreError
        There is none at `path`.
    LayoutError
        It is damaged, or from a newer nwidth.
    """
    place = Path(path)
    if not (place / DOCUMENT).is_file() and (place / "draws.zarr").is_dir():
        place = place / "draws.zarr"
    try:
        document = json.loads((place / DOCUMENT).read_text(encoding="utf-8"))
        version = int(document["nwidth_ensemble"])
    except FileNotFoundError:
        raise StoreError(f"there is no finished Monte Carlo run at {path}; make one with nwidth predict --draws") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise LayoutError(f"{place / DOCUMENT} is damaged; run nwidth predict --draws again") from None
    if version > ENSEMBLE_SCHEMA:
        raise LayoutError(f"{place} has schema {version}, newer than this nwidth's {ENSEMBLE_SCHEMA}; upgrade nwidth")
    return Ensemble(place, document)


def write_draws(path: Path, inputs: Mapping[str, Floats], answers: Answers, times: Floats, values: Mapping[str, Floats]) -> None:
    """Write what is known of every draw; statistics of fields are written by those who form them."""
    import zarr

    group = zarr.open_group(str(path / "draws"), mode="w")
    along_time = {"label": answers.labels.astype(float), "indicator": answers.indicator}
    for name, of_draw in {**inputs, "seconds": answers.seconds, **values}.items():
        create_array(group, name, of_draw.shape, of_draw.shape, ("draw",))[...] = of_draw
    for name, of_time in along_time.items():
        create_array(group, name, of_time.shape, of_time.shape, ("draw", "time"))[...] = of_time
    create_array(group, "time", times.shape, times.shape, ("time",))[...] = times
    kept = zarr.open_group(str(path / "coefficients"), mode="w")
    for name, coefficients in answers.coefficients.items():
        create_array(kept, name, coefficients.shape, coefficients.shape, ("draw", "time", "mode"))[...] = coefficients


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """The last step, which makes the folder an ensemble."""
    import zarr

    for folder in (path, path / "fields"):
        zarr.open_group(str(folder), mode="a")
    partial = path / f"{DOCUMENT}.partial"
    partial.write_text(json.dumps({"nwidth_ensemble": ENSEMBLE_SCHEMA, **document}, indent=2), encoding="utf-8")
    os.replace(partial, path / DOCUMENT)


def _opened(path: Path, group: str) -> xr.Dataset:
    import xarray as xr

    return xr.open_dataset(str(path), engine="zarr", group=group, consolidated=False, chunks={})
