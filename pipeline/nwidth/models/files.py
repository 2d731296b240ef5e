"""A model on disk: a plain Zarr v3 group and one JSON manifest, readable without nwidth.

    model.zarr/
      manifest.json                       what it is, in words and scalars: bases, routes, floors, certificates, provenance
      snapshots/                          simulation, time and parameters of the snapshots (dimension ``snapshot``)
      mesh/                               the mesh of the store, where it has one, and the owning cells of integration points
      grid/<dim>                          coordinates of the grid dimensions, where the store has them
      factors/<field>                     (m, m) small factor of the pass: merging and other spectra need no read of fields
      bases/<basis>/singular_values       (m,) the whole spectrum
      bases/<basis>/coefficients          (mode, snapshot)
      bases/<basis>/relative_errors       (snapshot,) the certificate, snapshot by snapshot
      bases/<basis>/snapshot_norms        (snapshot,)
      bases/<basis>/<field>/modes         (mode, *space[, component]) float64
      bases/<basis>/<field>/mean          (*space[, component]), where the basis is centred

Modes are written by the workers that make them (`ModesWriter`), panel by panel; a panel never shares a chunk with another.
The manifest is written last, so a folder without one is not a model. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import CertificateError, LayoutError, StoreError
from nwidth.mesh import Mesh
from nwidth.models.basis import Basis, Spectrum
from nwidth.models.certificate import MAX_DEFECT, Certificate
from nwidth.readers.protocol import IntegrationPoints

if TYPE_CHECKING:
    import xarray as xr


MODEL_SCHEMA = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FieldShape:
    """What a model must know of a field to hold its modes."""

    name: str
    dims: tuple[str, ...]
    """Space dimensions, the component last where there is one."""
    shape: tuple[int, ...]
    panel: tuple[int, ...]
    """Box that one task writes."""
    location: str = "node"
    components: tuple[str, ...] = ()
    units: str = ""


def create_array(group: Any, name: str, shape: Sequence[int], chunks: Sequence[int], dims: Sequence[str]) -> Any:
    """Create an array of float64 as all arrays of a model are: uncompressed, NaN until written."""
    return group.create_array(
        name,
        shape=tuple(shape),
        chunks=tuple(max(1, c) for c in chunks),
        dtype="float64",
        dimension_names=tuple(dims),
        # The digits of modes are dense: LZ4 took a fifth off the bytes, and trebled the processor time of writing them.
        compressors=None,
        # NaN marks what was never written, and a chunk that happens to be constant is still written.
        fill_value=np.nan,
        config={"write_empty_chunks": True},
        overwrite=True,
    )


def write_array(group: Any, name: str, values: Any, dims: Sequence[str]) -> None:
    """Write one small array whole."""
    data = np.asarray(values, np.float64)
    create_array(group, name, data.shape, data.shape, dims)[...] = data


def write_basis(
    model: Path,
    name: str,
    spectrum: Spectrum,
    coefficients: NDArray[np.float64],
    certificate: Certificate | None,
) -> None:
    """Write the small arrays of a basis whose modes are in place.

    Raises
    ------
    CertificateError
        No certificate, one that holds NaN, or an orthogonality defect that was not repaired: such a basis is not written.
    """
    import zarr

    certificate = checked(name, certificate)
    group = zarr.open_group(str(model / "bases" / name), mode="a")
    write_array(group, "singular_values", spectrum.singular_values, ("index",))
    write_array(group, "coefficients", coefficients, ("mode", "snapshot"))
    write_array(group, "relative_errors", certificate.relative_errors, ("snapshot",))
    write_array(group, "snapshot_norms", certificate.snapshot_norms, ("snapshot",))


def checked(name: str, certificate: Certificate | None) -> Certificate:
    """The certificate itself, if it is one that a basis may be published with."""
    if certificate is None:
        raise CertificateError(f"basis {name!r} has no certificate and is not written; run the lifting pass first")
    if not np.isfinite(certificate.relative_errors).all() or not np.isfinite(certificate.frobenius_error):
        raise CertificateError(f"basis {name!r} has a certificate with non-finite errors and is not written; look at its input")
    if not certificate.orthogonality_defect <= MAX_DEFECT:
        raise CertificateError(
            f"basis {name!r} has an orthogonality defect of {certificate.orthogonality_defect:.1e} (limit {MAX_DEFECT:.0e}) and "
            f'is not written; ask for a lower rank, or for route = "tsqr"'
        )
    return certificate


def basis_entry(
    *,
    rank: int,
    spectrum: Spectrum,
    certificate: Certificate,
    truncation: str,
    inner_products: Mapping[str, str],
    field_scaling: Mapping[str, float],
    snapshot_scaling: str,
    centred: bool,
) -> dict[str, Any]:
    """What the manifest says of one basis."""
    return {
        "fields": list(field_scaling),
        "rank": rank,
        "route": spectrum.route,
        "reason": spectrum.reason,
        "floor": spectrum.floor,
        "missed_energy": spectrum.missed_energy,
        "trusted": spectrum.trusted,
        "truncation": truncation,
        "inner_products": dict(inner_products),
        "field_scaling": dict(field_scaling),
        "snapshot_scaling": snapshot_scaling,
        "centred": centred,
        "certificate": certificate.summary(),
    }


class Labelled(Protocol):
    """Values with named dimensions: an `xarray.DataArray`, or what a store reads without xarray."""

    @property
    def dims(self) -> tuple[Any, ...]:
        """Names of the dimensions."""
        ...

    @property
    def values(self) -> Any:
        """A NumPy array."""
        ...

    @property
    def attrs(self) -> Mapping[Any, Any]:
        """Units, and whatever else is said of it."""
        ...


def write_snapshots(model: Path, coordinates: Mapping[Any, Labelled]) -> None:
    """Write the snapshots' own coordinates (simulation, time, parameters); others are left out."""
    import zarr

    group = zarr.open_group(str(model / "snapshots"), mode="w")
    for name, coordinate in coordinates.items():
        if coordinate.dims != ("snapshot",):
            continue
        values = coordinate.values
        text = values.dtype.kind in "OUST"
        array = group.create_array(
            str(name), shape=values.shape, dtype=str if text else values.dtype, dimension_names=("snapshot",)
        )
        array[...] = np.asarray(values, object if text else None)
        array.attrs.update({key: str(value) for key, value in coordinate.attrs.items()})


def write_mesh(model: Path, mesh: Mesh, points: IntegrationPoints | None = None) -> None:
    """Write the mesh and its integration points, as the store has them."""
    import zarr

    group = zarr.open_group(str(model / "mesh"), mode="w")
    group.attrs.update({"length_unit": mesh.length_unit})
    dims = {"points": ("node", "axis"), "connectivity": ("corner",), "offsets": ("cell_edge",), "cell_types": ("cell",)}
    for name, names in dims.items():
        group.create_array(name, data=getattr(mesh, name), dimension_names=names)
    if points is not None:
        group.create_array("point_cell", data=points.cell, dimension_names=("point",))
        group.create_array("point_local", data=points.local, dimension_names=("point",))


def write_grid(model: Path, coordinates: Mapping[Any, Labelled]) -> None:
    """Write the coordinates of the grid dimensions (``lat``, ``lon``, ...): the numbers that are named as their dimension."""
    import zarr

    axes = {str(name): axis for name, axis in coordinates.items() if axis.dims == (name,) and axis.values.dtype.kind in "iuf"}
    if not axes:
        return
    group = zarr.open_group(str(model / "grid"), mode="w")
    for name, axis in axes.items():
        array = group.create_array(name, data=np.asarray(axis.values), dimension_names=(name,))
        array.attrs.update({key: str(value) for key, value in axis.attrs.items()})


def write_manifest(model: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest: the last step, which makes the folder a model (and one Zarr hierarchy, from its root down)."""
    import zarr

    for folder in (model, model / "bases"):
        zarr.open_group(str(folder), mode="a")
    partial = model / f"{MANIFEST}.partial"
    partial.write_text(json.dumps({"nwidth_model": MODEL_SCHEMA, **manifest}, indent=2, sort_keys=False), encoding="utf-8")
    os.replace(partial, model / MANIFEST)


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest of a model.

    Raises
    ------
    StoreError
        There is no model at `path`.
    LayoutError
        The model was written by a newer nwidth, or its manifest is damaged.
    """
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise StoreError(f"{path} is not a model: it has no {MANIFEST}; give the folder that `nwidth run` printed")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("it holds no table")
    except ValueError as error:
        raise LayoutError(f"{file} is damaged ({error}); run the study again, or restore it from a copy") from None
    if manifest.get("nwidth_model", 0) > MODEL_SCHEMA:
        raise LayoutError(
            f"{path} has model schema {manifest['nwidth_model']}, newer than this nwidth's {MODEL_SCHEMA}; upgrade nwidth"
        )
    return manifest


def read_mesh(path: str | Path) -> Mesh | None:
    """The mesh of a model, or None."""
    import zarr

    if not (Path(path) / "mesh").is_dir():
        return None
    group = zarr.open_group(str(Path(path) / "mesh"), mode="r")
    arrays = {name: np.asarray(group[name]) for name in ("points", "connectivity", "offsets", "cell_types")}
    return Mesh(**arrays, length_unit=str(group.attrs.get("length_unit", "")))


def read_basis(path: str | Path, name: str) -> Basis:
    """One basis of a model; its modes and means stay on disk until they are used.

    Raises
    ------
    StoreError
        The model has no basis of that name.
    """

    model, manifest = Path(path), read_manifest(path)
    if name not in manifest["bases"]:
        raise StoreError(f"{path} has no basis {name!r}; it has {', '.join(manifest['bases'])}")
    entry, summary = manifest["bases"][name], manifest["bases"][name]["certificate"]
    small = _open(model, f"bases/{name}")
    coordinates = read_snapshots(model)
    if "members" in small:  # a local basis: its coefficients and its certificate are those of its cluster
        coordinates = coordinates.isel(snapshot=small["members"].values)
    fields = {field: _open(model, f"bases/{name}/{field}") for field in entry["fields"]}
    grid = dict(_open(model, "grid").coords) if (model / "grid").is_dir() else {}
    coefficients: xr.DataArray = (
        small["coefficients"]
        .load()
        .assign_coords({key: ("snapshot", value.values, value.attrs) for key, value in coordinates.variables.items()})
    )
    return Basis(
        name=name,
        spectrum=Spectrum(
            small["singular_values"].values, entry["floor"], entry["route"], entry["reason"], entry.get("missed_energy", 0.0)
        ),
        certificate=Certificate(
            relative_errors=small["relative_errors"].values,
            snapshot_norms=small["snapshot_norms"].values,
            frobenius_error=summary["frobenius_error"],
            expected_error=summary["expected_error"],
            field_errors=summary["field_errors"],
            orthogonality_defect=summary["orthogonality_defect"],
            measured_defect=summary["measured_defect"],
            # Models that were written before there were masks have no word of them.
            masked_unknowns=summary.get("masked_unknowns", {}),
            filled_fraction=summary.get("filled_fraction"),
            fill_error=summary.get("fill_error"),
            bound=summary.get("bound", False),
        ),
        # With location and units, which the field had: what is made of modes is of the same kind.
        modes_by_field={
            field: _on_grid(data["modes"], grid).rename(field).assign_attrs(data.attrs) for field, data in fields.items()
        },
        mean_by_field={field: _on_grid(data["mean"], grid).rename(field) for field, data in fields.items() if entry["centred"]},
        coefficients=coefficients,
        inner_products=entry["inner_products"],
        field_scaling=entry["field_scaling"],
        snapshot_scaling=entry["snapshot_scaling"],
        truncation=entry["truncation"],
    )


def read_array(path: str | Path, folder: str) -> xr.DataArray:
    """Modes (mode, *space[, component]) in a folder inside of a model, lazy, with location and units of their field."""
    data = _open(Path(path), folder)
    return data["modes"].assign_attrs(data.attrs)


def read_snapshots(path: str | Path) -> xr.Dataset:
    """Simulation, time and parameters of a model's snapshots, as coordinates."""
    dataset = _open(Path(path), "snapshots").load()
    return dataset.set_coords(list(dataset.data_vars))


def _on_grid(array: xr.DataArray, grid: Mapping[Any, xr.DataArray]) -> xr.DataArray:
    """The array with the coordinates of those grid dimensions that it has."""
    return array.assign_coords({dim: grid[dim] for dim in array.dims if dim in grid and grid[dim].size == array.sizes[dim]})


def _open(model: Path, group: str) -> xr.Dataset:
    import xarray as xr

    return xr.open_dataset(str(model), engine="zarr", group=group, consolidated=False, chunks={})
