"""Small stores with known contents, and the studies that reduce them.

A field is given as an array (m, n) or (m, n, components) at the nodes; a store holds one or several simulations of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth.config import Study, check_study
from nwidth.mesh import Mesh
from nwidth.readers.protocol import Fields, FieldSpec, Run
from nwidth.runs.run import RunResult
from nwidth.stores import open_or_create_store
from nwidth.stores.base import BaseStore
from tests.oracles.pod import matrix_with_spectrum

Arrays = Mapping[str, NDArray[Any]]
COMPONENTS = ("x", "y", "z")


def add_run(
    url: Path,
    simulation: str,
    fields: Arrays,
    *,
    mesh: Mesh | None = None,
    weights: Arrays | None = None,
    kind: Any = "zarr",
    **options: Any,
) -> BaseStore:
    """Append one simulation, at times 0, 0.5, 1, ...; the store is made where there is none."""
    store = open_or_create_store(url, kind, options)
    count = len(next(iter(fields.values())))

    def snapshots() -> Iterator[Fields]:
        return ({name: values[index] for name, values in fields.items()} for index in range(count))

    run = Run(
        {name: _spec(values) for name, values in fields.items()},
        np.linspace(0, 0.5 * (count - 1), count),
        snapshots,
        mesh,
        weights=weights or {},
    )
    with store.append(run, simulation=simulation, source_key=f"key of {simulation}") as writer:
        writer.write(0, fields)
    return store


def _spec(values: NDArray[Any]) -> FieldSpec:
    vector = values.ndim == 3
    dims = ("node", "component") if vector else ("node",)
    return FieldSpec("node", dims, values.shape[1:], values.dtype, COMPONENTS[: values.shape[2]] if vector else (), "m")


def snapshots_of(n: int, m: int, seed: int = 0, decades: float = 6.0, dtype: Any = np.float64) -> NDArray[Any]:
    """(m, n) snapshots whose singular values fall by `decades` decades."""
    return np.ascontiguousarray(matrix_with_spectrum(n, m, np.logspace(0, -decades, min(n, m)), seed).T).astype(dtype)


def study_of(folder: Path, store: Path, address: str | None = None, **tables: Mapping[str, Any]) -> Study:
    """The study ``s`` in `folder`: keywords are the tables ``reduce``, ``workers`` and ``study`` of a study file."""
    workers = {"count": 1, **({"address": address} if address else {}), **tables.get("workers", {})}
    table: dict[str, Any] = {
        "study": {"name": "s", "store": str(store), **tables.get("study", {})},
        "reduce": dict(tables.get("reduce", {})),
        "workers": workers,
        "report": {"enabled": False},
    }
    return check_study(table, folder=folder)


def store_of_24_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch, nodes: int = 24_000, snapshots: int = 64) -> Path:
    """A store of one field in float32, each block of which is one column of chunks."""
    monkeypatch.setattr("nwidth.stores.layout.CHUNK_TARGET", 8 * 1000 * 4)
    monkeypatch.setattr("nwidth.stores.layout.SHARD_TARGET", 0)
    monkeypatch.setattr("nwidth_graphs.budget.MIN_BLOCK_BYTES", 0)
    monkeypatch.setattr("nwidth_graphs.budget.BLOCKS_OF_A_SMALL_FIELD", 24)
    add_run(folder / "store.zarr", "alpha", {"T": snapshots_of(nodes, snapshots, decades=3, dtype=np.float32)})
    return folder / "store.zarr"


def contents(result: RunResult) -> dict[str, bytes]:
    """All files of a model but the manifest, with its dates."""
    files = (path for path in result.model.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(result.model)): path.read_bytes() for path in files}


def left_in(folder: Path) -> set[str]:
    """Names in a folder of results."""
    return {path.name for path in folder.iterdir()}
