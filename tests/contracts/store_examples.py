"""A small study for store tests: a run's values are a formula of (simulation, snapshot), so that any mix-up is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh, mesh_from_cells
from nwidth.readers.protocol import Fields, FieldSpec, IntegrationPoints, Run
from nwidth.stores import layout
from nwidth.stores.base import BaseStore

N_POINTS = 2000
N_CELLS = 300


@dataclass(frozen=True)
class Place:
    """Where a test puts its store."""

    url: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


def small_layouts() -> dict[str, int]:
    """Targets with which a snapshot of some kilobytes is cut as one of gigabytes is: several shards along both axes."""
    return {"CHUNK_TARGET": 32 << 10, "CHUNK_LIMIT": 64 << 10, "SHARD_TARGET": 128 << 10, "LEAST_EXPECTED": 16}


def use_small_layouts() -> None:
    """Set `small_layouts` for the rest of this process."""
    for name, value in small_layouts().items():
        setattr(layout, name, value)


def example_mesh() -> Mesh:
    rng = np.random.default_rng(0)
    return mesh_from_cells(rng.random((N_POINTS, 3)), [(10, rng.integers(0, N_POINTS, (N_CELLS, 4)))], length_unit="m")


def values(simulation: int, snapshot: int) -> Fields:
    """One snapshot: displacement (node, component) float32 and plastic strain at integration points, float64."""
    place = np.arange(N_POINTS * 3, dtype=np.float64)
    wave = np.sin(place * 0.01 + simulation + 0.1 * snapshot).reshape(N_POINTS, 3)
    strain = np.cos(np.arange(N_CELLS * 2) * 0.1 + 10 * simulation + snapshot)
    return {"displacement": wave.astype(np.float32), "strain": strain}


def example_run(simulation: int, n_snapshots: int) -> Run:
    fields = {
        "displacement": FieldSpec(
            "node", ("node", "component"), (N_POINTS, 3), np.dtype("f4"), ("x", "y", "z"), "m", "displacement"
        ),
        "strain": FieldSpec("point", ("point",), (N_CELLS * 2,), np.dtype("f8"), (), "1"),
    }

    def snapshots() -> Iterator[Fields]:
        return (values(simulation, snapshot) for snapshot in range(n_snapshots))

    return Run(
        fields=fields,
        times=np.arange(n_snapshots, dtype=np.float64) / 2,
        snapshots=snapshots,
        mesh=example_mesh(),
        integration_points=IntegrationPoints(np.repeat(np.arange(N_CELLS), 2), np.tile(np.arange(2), N_CELLS)),
        weights={"volume": np.linspace(1.0, 2.0, N_CELLS * 2)},
        attributes={"units:speed": "rad/s"},
    )


def other_mesh(run: Run) -> Run:
    """The run on a mesh of which one point moved by a tenth."""
    assert run.mesh is not None
    points = run.mesh.points.copy()
    points[17, 1] += 0.1
    return replace(run, mesh=replace(run.mesh, points=points))


def batch(simulation: int, first: int, count: int) -> dict[str, NDArray[Any]]:
    snapshots = [values(simulation, first + k) for k in range(count)]
    return {name: np.stack([snapshot[name] for snapshot in snapshots]) for name in snapshots[0]}


def parameters(simulation: int) -> dict[str, float | str]:
    return {"speed": 100.0 + simulation, "material": f"alloy {simulation}"}


def append(store: BaseStore, simulation: int, n_snapshots: int, batch_size: int = 2) -> None:
    """Append one run as ingestion does."""
    run = example_run(simulation, n_snapshots)
    names = {"simulation": f"run-{simulation}", "source_key": f"key-{simulation}"}
    with store.append(run, parameters=parameters(simulation), files=("a.frd",), reader="frd", **names) as writer:
        for first in range(0, n_snapshots, batch_size):
            writer.write(first, batch(simulation, first, min(batch_size, n_snapshots - first)))


def expected(runs: list[tuple[int, int]]) -> dict[str, NDArray[Any]]:
    """All values of a store of these (simulation, number of snapshots)."""
    parts = [batch(simulation, 0, count) for simulation, count in runs]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def assert_holds(store: BaseStore, runs: list[tuple[int, int]]) -> None:
    """The store holds exactly these runs, bit for bit, with their coordinates."""
    schema, reference, wanted = store.schema(), store.reference(), expected(runs)
    assert [(run.simulation, run.stop - run.start) for run in schema.runs] == [(f"run-{s}", count) for s, count in runs]
    assert schema.n_snapshots == sum(count for _, count in runs)
    for name, array in wanted.items():
        read = reference.read_block(f"fields/{name}", (slice(None),))
        np.testing.assert_array_equal(read, array, strict=True)
    times = np.concatenate([0.5 * np.arange(count) for _, count in runs])
    np.testing.assert_array_equal(reference.read_block("fields/time", (slice(None),)), times)
