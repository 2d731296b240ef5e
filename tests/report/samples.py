"""Small finished runs, written through the model's own file format: a plane mesh, a blade, a latitude-longitude grid, a line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh, mesh_from_cells
from nwidth.models.basis import Spectrum
from nwidth.models.certificate import Certificate
from nwidth.models.files import (
    FieldShape,
    basis_entry,
    write_basis,
    write_grid,
    write_manifest,
    write_mesh,
    write_snapshots,
)
from nwidth.models.modes import create_modes
from nwidth.readers.protocol import IntegrationPoints

RTOL = 1e-3
N_SIMULATIONS, N_TIMES = 6, 20


@dataclass(frozen=True)
class Sample:
    """One field over a design of experiments: everything that a run folder is made from."""

    name: str
    values: NDArray[np.float64]
    """(snapshot, *space[, component])."""
    dims: tuple[str, ...]
    location: str
    units: str
    components: tuple[str, ...] = ()
    mesh: Mesh | None = None
    points: IntegrationPoints | None = None
    grid: dict[str, tuple[NDArray[np.float64], str]] = field(default_factory=dict)
    """Dimension -> (coordinates, unit)."""
    centred: bool = False
    basis: str = ""
    study: str = "sample"
    parameters: dict[str, NDArray[Any]] = field(default_factory=dict)
    simulations: tuple[str, ...] = ()


def design(n_snapshots: int = N_SIMULATIONS * N_TIMES) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(time, parameter) of every snapshot."""
    time = np.tile(np.linspace(0.05, 1.0, N_TIMES), N_SIMULATIONS)[:n_snapshots]
    return time, np.repeat(np.linspace(0.8, 1.3, N_SIMULATIONS), N_TIMES)[:n_snapshots]


def travelling(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """A pulse that moves with time and widens with the parameter: (snapshot, place) in 0..1 over places in 0..1."""
    time, parameter = design()
    return np.exp(-(((places[None] - 0.9 * time[:, None]) / (0.25 * parameter[:, None])) ** 2))


def plate() -> Sample:
    """Temperature on the triangles of a square with a hole."""
    angle, radius = np.meshgrid(np.linspace(0, 2 * np.pi, 61)[:-1], np.linspace(0.2, 1.0, 16))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 2)
    row, column = np.divmod(np.arange(15 * 60), 60)
    a, b = row * 60 + column, row * 60 + (column + 1) % 60
    triangles = np.concatenate([np.stack([a, a + 60, b], 1), np.stack([b, a + 60, b + 60], 1)])
    values = 300 + 80 * travelling((points[:, 0] + 1) / 2) * (1 + 0.3 * points[:, 1])
    return Sample(
        "temperature", values, ("node",), "node", "K", mesh=mesh_from_cells(points, [(5, triangles)], "m"), centred=True
    )


def twisted_beam(n: tuple[int, int, int] = (4, 10, 24)) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points and hexahedra of a twisted blade standing on its root."""
    x, y, z = np.meshgrid(
        np.linspace(-0.1, 0.1, n[0] + 1), np.linspace(-0.5, 0.5, n[1] + 1), np.linspace(0, 2, n[2] + 1), indexing="ij"
    )
    bow, twist = x + 0.15 * (1 - 4 * y**2), 0.35 * z
    points = np.stack([bow * np.cos(twist) - y * np.sin(twist), bow * np.sin(twist) + y * np.cos(twist), z], axis=-1).reshape(
        -1, 3
    )
    index = np.arange(len(points)).reshape(x.shape)
    ring = ((0, 0), (1, 0), (1, 1), (0, 1))
    corners = [index[i : i - 1 or None, j : j - 1 or None, k : k - 1 or None] for k in (0, 1) for i, j in ring]
    return points, np.stack([corner.ravel() for corner in corners], axis=1)


def blade() -> Sample:
    """Displacement of a twisted blade of hexahedra."""
    points, cells = twisted_beam()
    bend = travelling(points[:, 2] / 2) * points[:, 2] ** 2
    values = 1e-3 * np.stack([bend, 0.4 * bend * points[:, 1], 0.1 * bend], axis=-1)
    return Sample(
        "displacement",
        values,
        ("node", "component"),
        "node",
        "m",
        ("x", "y", "z"),
        mesh=mesh_from_cells(points, [(12, cells)], "m"),
    )


def blade_strain() -> Sample:
    """Plastic strain at the eight integration points of every hexahedron of the blade."""
    points, cells = twisted_beam()
    height = np.repeat(points[cells].mean(axis=1)[:, 2], 8)
    values = 1e-3 * travelling(height / 2) * (1 + 0.1 * np.tile(np.linspace(-1, 1, 8), len(cells)))
    owners = IntegrationPoints(np.repeat(np.arange(len(cells)), 8), np.tile(np.arange(8), len(cells)))
    return Sample(
        "plastic_strain", values, ("point",), "point", "1", mesh=mesh_from_cells(points, [(12, cells)], "m"), points=owners
    )


def earth() -> Sample:
    """Surface temperature on a latitude-longitude grid."""
    lat, lon = np.meshgrid(np.linspace(-88, 88, 45), np.linspace(0, 356, 90), indexing="ij")
    values = (
        288
        - 40 * np.sin(np.radians(lat)) ** 2
        + 12 * travelling(lon.ravel() / 360).reshape(-1, *lat.shape) * np.cos(np.radians(lat))
    )
    grid = {"lat": (lat[:, 0], "degrees_north"), "lon": (lon[0], "degrees_east")}
    return Sample("TREFHT", values, ("lat", "lon"), "grid", "K", centred=True, grid=grid)


def box() -> Sample:
    """Pressure on a grid of three dimensions."""
    z, y, x = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 18), np.linspace(0, 1, 30), indexing="ij")
    return Sample(
        "pressure", travelling(x.ravel()).reshape(-1, *x.shape) * (1 + z) * np.sin(np.pi * y), ("z", "y", "x"), "grid", "Pa"
    )


def line() -> Sample:
    """Concentration along a line without any mesh."""
    return Sample("concentration", travelling(np.linspace(0, 1, 200)), ("x",), "grid", "mol/m3")


SAMPLES = {"plate": plate, "blade": blade, "strain": blade_strain, "earth": earth, "box": box, "line": line}


def write_run(folder: Path, sample: Sample, *, n_modes: int | None = None, run: dict[str, Any] | None = None) -> Path:
    """Write ``model.zarr`` and ``run.json`` for one sample, reduced by a dense SVD, and return the folder."""
    model = folder / "model.zarr"
    name = sample.basis or sample.name
    flat = sample.values.reshape(len(sample.values), -1)
    mean = flat.mean(axis=0) if sample.centred else np.zeros(flat.shape[1])
    left, singular, right = np.linalg.svd((flat - mean).T, full_matrices=False)
    spectrum = Spectrum(
        singular, 1e-8 * float(singular[0]), "gram", "the Gram route's floor of 1e-8 lies below the rtol that was asked"
    )
    rank = n_modes or int(np.argmax(spectrum.projection_error <= RTOL))
    coefficients = singular[:rank, None] * right[:rank]
    residual = np.linalg.norm((flat - mean).T - left[:, :rank] @ coefficients, axis=0)
    norms = np.linalg.norm(flat - mean, axis=1)
    error = float(np.sqrt(np.sum(residual**2) / np.sum(norms**2)))
    defect = float(np.abs(left[:, :rank].T @ left[:, :rank] - np.eye(rank)).max())
    proof = Certificate(
        residual / norms, norms, error, float(spectrum.projection_error[rank]), {sample.name: error}, defect, defect
    )
    space = sample.values.shape[1:]
    shape = FieldShape(sample.name, sample.dims, space, space, sample.location, sample.components, sample.units)
    write_field(model, name, shape, left[:, :rank], mean if sample.centred else None)
    write_basis(model, name, spectrum, coefficients, proof)
    write_snapshots(model, coordinates(sample).coords)
    if sample.mesh is not None:
        write_mesh(model, sample.mesh, sample.points)
    write_grid(model, axes(sample))
    write_manifest(model, {"study": sample.study, "bases": {name: _entry(sample, spectrum, proof, rank)}})
    (folder / "run.json").write_text(json.dumps(run if run is not None else run_record(sample)), encoding="utf-8")
    return folder


def write_field(model: Path, basis: str, shape: FieldShape, modes: NDArray[np.float64], mean: NDArray[np.float64] | None) -> None:
    """Write the modes (and mean) of one field in one piece."""
    import zarr

    writer = create_modes(model, basis, shape, modes.shape[1], centred=mean is not None)
    group: Any = zarr.open_group(writer.folder, mode="r+")
    group["modes"][...] = modes.T.reshape(-1, *shape.shape)
    if mean is not None:
        group["mean"][...] = mean.reshape(shape.shape)


def axes(sample: Sample) -> dict[Any, Any]:
    """Coordinates of the grid dimensions."""
    import xarray as xr

    return {dim: xr.DataArray(values, dims=dim, attrs={"units": unit}) for dim, (values, unit) in sample.grid.items()}


def coordinates(sample: Sample) -> Any:
    """Simulation, time and parameters of the snapshots."""
    import xarray as xr

    time, speed = design()
    names = sample.simulations or tuple(f"run-{number:02}" for number in range(N_SIMULATIONS))
    columns = sample.parameters or {"speed": speed}
    return xr.Dataset(
        coords={
            "simulation": ("snapshot", np.repeat(np.array(names, object), N_TIMES)),
            "time": ("snapshot", time, {"units": "s"}),
            **{name: ("snapshot", values, {"units": "m/s"} if name == "speed" else {}) for name, values in columns.items()},
        }
    )


def _entry(sample: Sample, spectrum: Spectrum, proof: Certificate, rank: int) -> dict[str, Any]:
    return basis_entry(
        rank=rank,
        spectrum=spectrum,
        certificate=proof,
        truncation=f"the smallest rank with a projection error of at most {RTOL:g}",
        inner_products={sample.name: "identity"},
        field_scaling={sample.name: 1.0},
        snapshot_scaling="none",
        centred=sample.centred,
    )


def run_record(sample: Sample) -> dict[str, Any]:
    """What a runner writes beside the model."""
    n_bytes = int(sample.values.nbytes)
    return {
        "study": sample.study,
        "configuration": {"study": {"name": sample.study}, "reduce": {"rtol": RTOL, "fields": [sample.name]}},
        "store": {
            "url": f"{sample.study}.icechunk", "kind": "icechunk", "version": "8Q2Z0K5J", "n_snapshots": len(sample.values),
            "fields": {sample.name: {"shape": list(sample.values.shape), "dtype": "float64", "chunks": [8], "codec": "zstd"}},
        },
        "plan": {
            "passes": [{"name": name, "reads": 1, "bytes_to_read": n_bytes, "flops": 4.2e9, "tasks": 24, "peak_bytes": 2**28}
                       for name in ("factor", "lift")],
            "bytes_to_read": 2 * n_bytes, "tasks": 48, "flops": 8.4e9, "reads": 2, "peak_bytes_per_worker": 2**28,
            "route": "gram", "reason": "its floor of 1e-8 lies well below the rtol of 1e-3",
        },
        "measured": {
            "passes": [{"name": name, "bytes_read": n_bytes - 4096, "seconds": 1.2, "tasks": 24, "peak_bytes": 3 * 2**26,
                        "read_seconds": 0.8, "compute_seconds": 0.9} for name in ("gram", "lift")],
            "bytes_read": 2 * n_bytes - 8192, "tasks": 48, "peak_bytes_per_worker": 3 * 2**26, "seconds": 2.6,
        },
        "provenance": {
            "nwidth": "0.1.0", "python": "3.13.1", "numpy": "2.5.5", "dask": "2026.8.0", "zarr": "3.4.2", "host_cores": 2,
            "started": "2026-11-20T10:00:00Z", "finished": "2026-11-20T10:00:03Z", "content_key": "5f0c1e", "seed": 0,
        },
    }  # fmt: skip
