"""A run folder as data: the model's bases with their fields' places and units, the mesh, and ``run.json``.

    runs/<study>/
      model.zarr/    read through `nwidth.models.files`
      run.json       configuration, store, plan, measurements, provenance: every key may be missing

Nothing here knows HTML, and no mode is loaded before it is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FormatError
from nwidth.mechanics.files import FOLDER as MECHANICS
from nwidth.mechanics.files import ReducedMechanics, read_mechanics
from nwidth.mesh import Mesh
from nwidth.models.atlas import GLOBAL, Atlas
from nwidth.models.atlas_files import FOLDER as ATLAS
from nwidth.models.atlas_files import read_atlas
from nwidth.models.basis import Basis
from nwidth.models.files import read_basis, read_manifest, read_mesh
from nwidth.models.learned import FOLDER as LEARNING
from nwidth.models.learned import Learned, read_learned
from nwidth.report import words
from nwidth.uncertainty.ensemble import DOCUMENT, Ensemble, open_ensemble

MODEL = "model.zarr"
RUN = "run.json"
DRAWS = "draws.zarr"
# A record of a run is text that people read: more than this is not one.
LARGEST_JSON = 64 * 2**20


@dataclass(frozen=True)
class FieldPlace:
    """Where the values of one field live, and what they are measured in."""

    location: str = "node"
    components: tuple[str, ...] = ()
    units: str = ""


@dataclass(frozen=True)
class RunRecord:
    """Everything that the report says of a run."""

    folder: Path
    manifest: Mapping[str, Any]
    run: Mapping[str, Any]
    bases: Mapping[str, Basis]
    places: Mapping[tuple[str, str], FieldPlace]
    """(basis, field) -> where it lives."""
    mesh: Mesh | None = None
    point_cell: NDArray[np.int64] | None = None
    """(n_points,): owning cell of every integration point, where the model has it."""
    atlas: Atlas | None = None
    """The partition, where the model has one."""
    learned: Learned | None = None
    """What it has learnt, where it has."""
    mechanics: ReducedMechanics | None = None
    """Its reduced bodies, where it was trained."""
    ensemble: Ensemble | None = None
    """The Monte Carlo run beside it, where there is one."""

    @property
    def study(self) -> str:
        """Name of the study."""
        return str(self.run.get("study") or self.manifest.get("study") or self.folder.resolve().name)

    def section(self, name: str) -> dict[str, Any]:
        """One table of ``run.json``, or of the manifest's own record; empty where neither has it."""
        for source in (self.run, self.manifest):
            if isinstance(source.get(name), Mapping):
                return dict(source[name])
        return {}

    def entry(self, basis: str) -> Mapping[str, Any]:
        """What the manifest says of one basis."""
        bases = self.manifest.get("bases")
        found = bases.get(basis) if isinstance(bases, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    @property
    def rtol(self) -> float | None:
        """The relative projection error that was asked for, where one was."""
        reduce = self.section("configuration").get("reduce")
        value = reduce.get("rtol") if isinstance(reduce, Mapping) else self.section("configuration").get("rtol")
        return float(value) if isinstance(value, int | float) else None

    def asked(self, basis: str) -> float | None:
        """The tolerance that was asked of one basis: local ones have their own, or the global one's, or a rank and none."""
        local = self.section("configuration").get(ATLAS)
        if self.atlas is None or basis == GLOBAL or not isinstance(local, Mapping):
            return self.rtol
        if local.get("rank") is None and local.get("rtol") is None:
            return self.rtol
        value = local.get("rtol")
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class SnapshotTable:
    """The snapshots' coordinates, column by column."""

    simulation: NDArray[Any]
    """(m,) names; empty strings where the model has none."""
    time: NDArray[Any] | None
    """(m,) numbers or dates."""
    time_units: str
    parameters: Mapping[str, NDArray[Any]]
    parameter_units: Mapping[str, str] = field(default_factory=dict)

    def where(self, index: int) -> str:
        """One snapshot in words: ``simulation run-07, t = 0.35 s``."""
        parts = [f"simulation {self.simulation[index]}"] if self.simulation[index] else [f"snapshot {index}"]
        if self.time is not None:
            parts.append(f"t = {words.moment(self.time[index], self.time_units)}")
        return ", ".join(parts)

    @property
    def simulations(self) -> list[str]:
        """Names in the order of the store, each once."""
        return list(dict.fromkeys(str(name) for name in self.simulation))


def snapshot_table(basis: Basis) -> SnapshotTable:
    """The coordinates of a basis's snapshots; everything but ``simulation`` and ``time`` is a parameter."""
    columns = {str(name): value for name, value in basis.coefficients.coords.items() if value.dims == ("snapshot",)}
    n_snapshots = int(basis.coefficients.sizes["snapshot"])
    simulation, time = columns.pop("simulation", None), columns.pop("time", None)
    return SnapshotTable(
        simulation=np.full(n_snapshots, "", object) if simulation is None else np.asarray(simulation.values, object),
        time=None if time is None else np.asarray(time.values),
        time_units="" if time is None else str(time.attrs.get("units", "")),
        parameters={name: np.asarray(value.values) for name, value in columns.items() if name != "snapshot"},
        parameter_units={name: str(value.attrs.get("units", "")) for name, value in columns.items()},
    )


def read_run(folder: str | Path) -> RunRecord:
    """Read a run folder, or a model by itself.

    Raises
    ------
    nwidth.errors.StoreError
        There is no model in the folder.
    nwidth.errors.LayoutError
        Its atlas, or what it has learnt, is damaged.
    nwidth.errors.FormatError
        ``run.json`` is not a JSON object.
    """
    root = Path(folder)
    model = root / MODEL if (root / MODEL).is_dir() else root
    manifest = read_manifest(model)
    bases = {name: read_basis(model, name) for name in manifest.get("bases", {})}
    return RunRecord(
        folder=root,
        manifest=manifest,
        run=read_json(root / RUN) if (root / RUN).is_file() else {},
        bases=bases,
        places={(name, item): field_place(model, name, item) for name, basis in bases.items() for item in basis.fields},
        mesh=read_mesh(model),
        point_cell=read_point_cell(model),
        atlas=read_atlas(model, manifest, bases) if ATLAS in manifest else None,
        learned=read_learned(model) if (model / LEARNING).is_dir() else None,
        mechanics=_mechanics(model, manifest),
        ensemble=open_ensemble(root) if (root / DRAWS / DOCUMENT).is_file() else None,
    )


def _mechanics(model: Path, manifest: Mapping[str, Any]) -> ReducedMechanics | None:
    if not (model / MECHANICS / "zarr.json").is_file():
        return None
    return read_mechanics(model, str(manifest.get("provenance", {}).get("content_key", "")))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours.

    Raises
    ------
    nwidth.errors.FormatError
        The file is too large, is not JSON, or holds something else than an object.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise FormatError(
            f"{path} has {words.amount(path.stat().st_size)}, more than any record of a run; give the file that nwidth wrote"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON ({error}); run the study again, or remove the file") from None
    if not isinstance(value, dict):
        raise FormatError(
            f"{path} holds a {type(value).__name__}, expected a JSON object; run the study again, or remove the file"
        )
    return value


def field_place(model: Path, basis: str, name: str) -> FieldPlace:
    """Location, components and units of one field, from the attributes beside its modes."""
    import zarr

    attributes = zarr.open_group(str(model / "bases" / basis / name), mode="r").attrs
    components = attributes.get("components")
    return FieldPlace(
        location=str(attributes.get("location", "node")),
        components=tuple(str(item) for item in components) if isinstance(components, list | tuple) else (),
        units=str(attributes.get("units", "")),
    )


def read_point_cell(model: Path) -> NDArray[np.int64] | None:
    """Owning cell of every integration point (``mesh/point_cell``), or None where the model does not say."""
    import zarr

    if not (model / "mesh" / "point_cell").is_dir():
        return None
    return np.asarray(zarr.open_group(str(model / "mesh"), mode="r")["point_cell"], np.int64)
