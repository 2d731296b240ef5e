"""A model as people open it: its bases, its snapshots' coordinates, its mesh; everything large stays on disk until used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.errors import ConfigError, StoreError
from nwidth.mesh import Mesh
from nwidth.models import files
from nwidth.models.atlas import Atlas, cluster_name
from nwidth.models.atlas_files import read_atlas
from nwidth.models.basis import Basis
from nwidth.models.learned import Learned, read_learned
from nwidth.models.modes import CHUNK_BYTES, create_modes
from nwidth.models.predicting import Choice, choose, predict

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.projecting import Assignment, Projected


@dataclass(frozen=True)
class Model:
    """One model on disk."""

    path: Path
    manifest: Mapping[str, Any]

    @cached_property
    def bases(self) -> dict[str, Basis]:
        """Name -> basis; one per field, or one named ``joint``."""
        return {name: files.read_basis(self.path, name) for name in self.manifest["bases"]}

    @property
    def basis(self) -> Basis:
        """The basis of a model that has one.

        Raises
        ------
        StoreError
            It has several: choose one of `bases`.
        """
        if len(self.bases) > 1:
            raise StoreError(f"{self.path} has several bases; choose one of model.bases: {', '.join(self.bases)}")
        return next(iter(self.bases.values()))

    @cached_property
    def mesh(self) -> Mesh | None:
        """The mesh that the modes live on, or None."""
        return files.read_mesh(self.path)

    @property
    def snapshots(self) -> xr.Dataset:
        """Simulation, time and parameters of the snapshots that were reduced."""
        return files.read_snapshots(self.path)

    def reconstruct(self, basis: str | None = None, coefficients: Any = None, *, cluster: int | None = None) -> Any:
        """Fields of coefficients (mode[, ...]) on a basis, or on that of a cluster; the training snapshots by default. Lazy."""
        name = basis if cluster is None else cluster_name(cluster)
        return (self.basis if name is None else self.bases[name]).reconstruct(coefficients)

    @cached_property
    def atlas(self) -> Atlas:
        """The partition of the snapshots, with its local bases.

        Raises
        ------
        StoreError
            The model has none.
        """
        return read_atlas(self.path, self.manifest, self.bases)

    def project(self, fields: Any, cluster: int | None = None, **options: Any) -> Projected:
        """New fields on the basis of a cluster, or on all bases; options as of `nwidth.projecting.project`.

        Raises
        ------
        ConfigError
            The fields are not those of the model.
        """
        # What reads fields knows executors and inner products, which a finished model does not: it is imported when it is used.
        from nwidth.projecting import metric_of, project

        bases = list(self.bases.values()) if cluster is None else [self.bases[cluster_name(cluster)]]
        return project(bases, fields, **{**metric_of(self), **options})

    def assign(self, fields: Any, *, tolerance: float | None = None, by: Any = None, **options: Any) -> Assignment:
        """Which cluster new fields belong to, -1 where none does; see `nwidth.projecting.assign`."""
        from nwidth.projecting import assign

        return assign(self.atlas, self.project(fields, **options), tolerance=tolerance, by=by)

    @cached_property
    def learned(self) -> Learned:
        """What `nwidth.learn` has taught it.

        Raises
        ------
        StoreError
            Nothing yet.
        """
        return read_learned(self.path)

    def choose(self, parameters: Any = None, *, time: float | None = None, inputs: Any = None, **named: float) -> Choice:
        """Which cluster an input belongs to; see `nwidth.models.predicting.choose`."""
        return choose(self.learned, _input(parameters, inputs, named), time)

    def predict(
        self, parameters: Any = None, *, time: Any = None, inputs: Any = None, outside: str = "refuse", **named: float
    ) -> xr.Dataset:
        """Fields for parameters, ``predict({"speed": 1.1})`` or ``predict(speed=1.1)``, or for an input field, ``inputs=``.

        Lazy, with standard deviations and both errors; see `nwidth.models.predicting.predict`.
        """
        given = _input(parameters, inputs, named)
        return predict(self.learned, self.bases.__getitem__, given, time, outside=outside)


def _input(parameters: Any, inputs: Any, named: Mapping[str, float]) -> Any:
    """What was given: an input field, or parameters by name."""
    if inputs is None:
        return {**({} if parameters is None else dict(parameters)), **named}
    if parameters is not None or named:
        raise ConfigError("both parameters and an input field are given; give what the model was trained with")
    return inputs


def open_model(path: str | Path) -> Model:
    """Open a model, or the model in a run's folder.

    Raises
    ------
    StoreError
        There is no model at `path`.
    LayoutError
        It was written by a newer nwidth.
    """
    place = Path(path)
    if not (place / files.MANIFEST).is_file() and (place / "model.zarr").is_dir():
        place = place / "model.zarr"
    return Model(place, files.read_manifest(place))


def save_basis(basis: Basis, path: str | Path) -> Path:
    """Write one basis as a model of its own, readable by `open_model` and by plain Zarr.

    Raises
    ------
    StoreError
        Something is at `path` already.
    CertificateError
        The basis has no valid certificate.
    """
    model = Path(path)
    if model.exists():
        raise StoreError(f"{model} exists already; remove it, or choose another path")
    files.checked(basis.name, basis.certificate)
    for name, modes in basis.modes_by_field.items():
        shape = _shape(name, modes)
        mean = basis.mean_by_field.get(name)
        write = create_modes(model, basis.name, shape, basis.rank, centred=mean is not None)
        for panel in _panels(shape):
            selection = panel.selection
            part = np.asarray(modes.values[(slice(None), *selection)]).reshape(basis.rank, -1)
            write(panel, part, None if mean is None else np.asarray(mean.values[selection]).ravel())
    files.write_snapshots(model, _along_snapshots(basis.coefficients).coords)
    files.write_basis(model, basis.name, basis.spectrum, basis.coefficients.values, basis.certificate)
    entry = files.basis_entry(
        rank=basis.rank,
        spectrum=basis.spectrum,
        certificate=basis.certificate,
        truncation=basis.truncation,
        inner_products=basis.inner_products,
        field_scaling=basis.field_scaling,
        snapshot_scaling=basis.snapshot_scaling,
        centred=basis.centred,
    )
    files.write_manifest(model, {"bases": {basis.name: entry}})
    return model


def _shape(name: str, modes: xr.DataArray) -> files.FieldShape:
    space, dims = modes.shape[1:], tuple(str(dim) for dim in modes.dims[1:])
    rows = max(1, CHUNK_BYTES // (8 * max(1, int(np.prod(space[1:])))))
    return files.FieldShape(
        name=name,
        dims=dims,
        shape=space,
        panel=(min(rows, space[0]), *space[1:]),
        location=str(modes.attrs.get("location", "node")),
        components=_components(modes),
        units=str(modes.attrs.get("units", "")),
    )


def _components(modes: xr.DataArray) -> tuple[str, ...]:
    last = str(modes.dims[-1])
    if not last.endswith("component"):
        return ()
    labels = modes[last].values if last in modes.coords else range(modes.shape[-1])
    return tuple(str(label) for label in labels)


def _panels(shape: files.FieldShape) -> Any:
    from nwidth_graphs.layout import panels

    return panels(shape.shape, shape.panel)


def _along_snapshots(coefficients: xr.DataArray) -> xr.Dataset:
    dim = str(coefficients.dims[1])
    named = {str(name): ("snapshot", coord.values) for name, coord in coefficients.coords.items() if coord.dims == (dim,)}
    import xarray as xr

    return xr.Dataset(coords=named)
