"""A finished run as plain arrays: what the pictures are made of, read slice by slice, never a mode and never a field.

    model.zarr/bases/<basis>/singular_values  (k,)     whole
    model.zarr/bases/<basis>/relative_errors  (m,)     whole: eight bytes a snapshot
    model.zarr/bases/<basis>/coefficients     (N, m)   the first rows, at the snapshots that are shown

Of very many snapshots, `MOST_POINTS` are shown: evenly spread ones, and always the worst.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.dashboards.runs import RECORD, model_folder
from nwidth.errors import LayoutError
from nwidth.models.atlas import GLOBAL, Atlas
from nwidth.models.atlas_files import read_atlas
from nwidth.models.basis import Spectrum
from nwidth.models.files import read_manifest, read_snapshots
from nwidth.report.record import read_json

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MOST_POINTS = 4000
"""Points of a scatter plot: a browser draws and hovers them at once."""
MOST_MODES = 4
"""Coordinates of the global basis that the map offers as axes."""


@dataclass(frozen=True)
class BasisView:
    """One basis, without its modes."""

    name: str
    rank: int
    fields: tuple[str, ...]
    spectrum: Spectrum
    certificate: Mapping[str, Any]
    """The manifest's scalars."""
    errors: Floats
    """(m,): relative error of every snapshot."""
    truncation: str
    members: Indices | None
    """(m,): snapshots of the model that the errors are of; None for all."""


@dataclass(frozen=True)
class SnapshotLabels:
    """Who the snapshots are."""

    count: int
    simulation: NDArray[Any]
    """(m,) names; empty texts where the model has none."""
    numbers: Mapping[str, Floats]
    """Name with unit -> (m,): time and those parameters that are numbers."""


@dataclass(frozen=True)
class ClusterMap:
    """The snapshots of an atlas as points of a plane, for axes of one's choice."""

    index: Indices
    """(p,): snapshots that are shown."""
    axes: Mapping[str, Floats]
    """Name -> (p,): coordinates on the global basis, parameters, time, errors."""
    labels: Indices
    """(p,)."""
    own_error: Floats
    """(p,): on the basis of the cluster."""
    global_error: Floats
    """(p,)."""
    simulation: NDArray[Any]
    """(p,)."""
    medoid: NDArray[np.bool_]
    """(p,): whether it represents its cluster."""
    atlas: Atlas
    """Without its bases."""


@dataclass(frozen=True)
class ModelView:
    """Everything that the page of a finished run shows, but for its pictures of fields."""

    folder: Path
    model: Path
    study: str
    manifest: Mapping[str, Any]
    record: Mapping[str, Any]
    """``run.json``; empty where there is none."""
    bases: Mapping[str, BasisView]
    snapshots: SnapshotLabels
    has_atlas: bool
    has_indicator: bool

    @property
    def rtol(self) -> float | None:
        """The relative error that the study asked for."""
        reduce = self.manifest.get("reduce")
        value = reduce.get("rtol") if isinstance(reduce, Mapping) else None
        return float(value) if isinstance(value, int | float) else None

    @property
    def main(self) -> BasisView:
        """The basis that is shown first: the global one of an atlas."""
        return self.bases.get(GLOBAL) or next(iter(self.bases.values()))


def read_model_view(folder: Path) -> ModelView:
    """Read what the page of a run shows.

    Raises
    ------
    StoreError
        There is no model.
    LayoutError
        The model is from a newer nwidth, or parts of it are missing or damaged.
    FormatError
        ``run.json`` is not a JSON object.
    """
    model = model_folder(folder)
    manifest = read_manifest(model)
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    try:
        snapshots = _snapshot_labels(model)
        bases = {name: _basis_view(model, name, entry) for name, entry in manifest["bases"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise LayoutError(f"{model} is damaged ({error}); run the study again, or restore it from a copy") from None
    study = str(record.get("study") or manifest.get("study") or folder.resolve().name)
    has_atlas, has_mechanics = manifest.get("atlas") is not None, (model / "mechanics" / "zarr.json").is_file()
    return ModelView(folder, model, study, manifest, record, bases, snapshots, has_atlas, has_mechanics)


def shown_snapshots(errors: Floats, most: int = MOST_POINTS) -> Indices:
    """Snapshots that a plot shows: all, or evenly spread ones, each stretch by its worst. Pure."""
    count = len(errors)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, most + 1).astype(np.int64)
    finite = np.nan_to_num(errors)
    return np.array([start + int(np.argmax(finite[start:stop])) for start, stop in itertools.pairwise(edges)])


def _basis_view(model: Path, name: str, entry: Mapping[str, Any]) -> BasisView:
    import zarr

    group: Any = zarr.open_group(str(model / "bases" / name), mode="r")
    values = np.asarray(group["singular_values"][...], float)
    return BasisView(
        name=name,
        rank=int(entry["rank"]),
        fields=tuple(str(field) for field in entry["fields"]),
        spectrum=Spectrum(values, float(entry["floor"]), entry["route"], entry["reason"], entry.get("missed_energy", 0.0)),
        certificate=dict(entry["certificate"]),
        errors=np.asarray(group["relative_errors"][...], float),
        truncation=str(entry.get("truncation", "")),
        members=np.asarray(group["members"][...], np.int64) if "members" in group else None,
    )


def _snapshot_labels(model: Path) -> SnapshotLabels:
    """Names and numbers of the snapshots."""
    coordinates = read_snapshots(model)
    count = int(coordinates.sizes.get("snapshot", 0))
    names, numbers = np.full(count, "", object), {}
    for name, value in coordinates.variables.items():
        if name == "simulation":
            names = np.asarray(value.values, object)
        elif value.dtype.kind in "iuf" and name != "snapshot":
            unit = str(value.attrs.get("units", ""))
            numbers[f"{name} in {unit}" if unit and unit != "1" else str(name)] = np.asarray(value.values, float)
    return SnapshotLabels(count, names, numbers)


def read_cluster_map(view: ModelView) -> ClusterMap:
    """The snapshots of a model's atlas as points.

    Raises
    ------
    StoreError, LayoutError
        The model has no atlas, or it is damaged.
    """
    import zarr

    model, manifest, snapshots = view.model, view.manifest, view.snapshots
    atlas = read_atlas(model, manifest, {})
    index = shown_snapshots(atlas.own_errors)
    index = np.union1d(index, atlas.medoid_snapshots[atlas.medoid_snapshots >= 0])
    axes: dict[str, Floats] = {}
    if GLOBAL in manifest["bases"]:
        group: Any = zarr.open_group(str(model / "bases" / GLOBAL), mode="r")
        coefficients = group["coefficients"]
        for mode in range(min(MOST_MODES, coefficients.shape[0])):
            axes[f"coordinate {mode + 1} on the global basis"] = np.asarray(coefficients[mode, :], float)[index]
    axes |= {name: values[index] for name, values in snapshots.numbers.items()}
    medoids = np.isin(index, atlas.medoid_snapshots)
    own, one = atlas.own_errors[index], atlas.global_errors[index]
    axes |= {"error on its own basis": own, "error on the global basis": one}
    return ClusterMap(index, axes, atlas.labels[index], own, one, snapshots.simulation[index], medoids, atlas)
