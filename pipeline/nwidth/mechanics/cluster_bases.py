"""Bases of one cluster of simulations, field by field: a small model of its own, inside of the model that has the clusters.

    store, simulations of the cluster ──two reads of these──> model.zarr/mechanics/cluster-<k>/bases/<field>/...

Every simulation belongs to one cluster, and a few are borrowed by a neighbour: all clusters together read the store little more
than twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.config import ReduceSection
from nwidth.mechanics.sampling import SampledRuns, room_for, with_runs, without_runs
from nwidth.models import files
from nwidth.models.basis import Basis
from nwidth.problems import Memory, problem_from_store
from nwidth.problems.stored import snapshot_ranges
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import PodResult
from nwidth.stages.sinks import FolderSink
from nwidth.stores.coordinates import read_coordinates
from nwidth.workers import Executor, Progress

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore


def reduced_to(
    folder: Path,
    store: SnapshotStore,
    requests: Sequence[ReduceSection],
    memory: Memory,
    executor: Executor,
    progress: Progress | None = None,
    runs: SampledRuns | None = None,
) -> Mapping[str, Basis]:
    """Reduce the simulations and fields of some requests, one basis each, into a model at `folder`; field -> basis.

    Parameters
    ----------
    requests : of the same simulations, and of different fields: what these have a tolerance of their own for
    runs : sampled runs, whose fields join the snapshots of the simulations

    Raises
    ------
    ConfigError, PlanError
        Before any work: a request does not fit the store, or the memory.
    FieldError, CertificateError
        A field holds NaN or infinite values, or the modes cannot be made orthonormal.
    """
    schema = store.schema()
    ranges = snapshot_ranges(schema, requests[0])
    snapshots = sum(stop - start for start, stop in ranges)
    scratch, sink = folder.with_name(f"{folder.name}.patches"), FolderSink(folder)
    entries: dict[str, Any] = {}
    for request in requests:
        room = memory
        if runs is not None:
            request, room = room_for(runs, request, snapshots, memory)
        problem, _, _ = problem_from_store(store, request, room, scratch)
        whole = problem if runs is None else with_runs(problem, runs)
        result = reduce_problem(whole, request, executor, sink, progress=progress)
        entries |= _written(folder, result, request, snapshots)
    shutil.rmtree(scratch, ignore_errors=True)
    files.write_snapshots(folder, read_coordinates(store, ranges))
    asked = [request.model_dump(mode="json") for request in requests]
    files.write_manifest(folder, {"reduce": asked[0] if len(asked) == 1 else asked, "factor": result.route, "bases": entries})
    return {name: files.read_basis(folder, name) for name in entries}


def _written(folder: Path, result: PodResult, request: ReduceSection, snapshots: int) -> dict[str, Any]:
    """Entries of the manifest for the bases of one request, whose small arrays are written."""
    entries = {}
    for parts in (without_runs(parts, snapshots) for parts in result.bases):
        files.write_basis(folder, parts.name, parts.spectrum, parts.coefficients, parts.certificate)
        entries[parts.name] = files.basis_entry(
            rank=len(parts.coefficients),
            spectrum=parts.spectrum,
            certificate=parts.certificate,
            truncation=parts.truncation,
            inner_products={field: _inner_product(request, field) for field in parts.fields},
            field_scaling=parts.field_scaling,
            snapshot_scaling=request.snapshot_scaling,
            centred=request.centre,
        )
    return entries


def _inner_product(request: ReduceSection, field: str) -> str:
    asked = request.inner_product
    return asked if isinstance(asked, str) else asked.get(field, "identity")
