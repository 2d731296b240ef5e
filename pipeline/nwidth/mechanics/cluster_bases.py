"""Bases of one cluster of simulations, field by field: a small model of its own, inside of the model that has the clusters.

    store, simulations of the cluster ──two reads of these──> model.zarr/mechanics/cluster-<k>/bases/<field>/...

Every simulation belongs to one cluster, and a few are borrowed by a neighbour: all clusters together read the store little more
than twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nwidth.config import ReduceSection
from nwidth.models import files
from nwidth.models.basis import Basis
from nwidth.problems import Memory, problem_from_store
from nwidth.stages.pod import reduce_problem
from nwidth.stages.sinks import FolderSink
from nwidth.stores.coordinates import read_coordinates
from nwidth.workers import Executor, Progress

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore


def reduced_to(
    folder: Path,
    store: SnapshotStore,
    request: ReduceSection,
    memory: Memory,
    executor: Executor,
    progress: Progress | None = None,
) -> Mapping[str, Basis]:
    """Reduce the request's simulations and fields, one basis each, into a model at `folder`; field -> basis.

    Raises
    ------
    ConfigError, PlanError
        Before any work: the request does not fit the store, or the memory.
    FieldError, CertificateError
        A field holds NaN or infinite values, or the modes cannot be made orthonormal.
    """
    problem, _, ranges = problem_from_store(store, request, memory, folder.with_name(f"{folder.name}.patches"))
    result = reduce_problem(problem, request, executor, FolderSink(folder), progress=progress)
    files.write_snapshots(folder, read_coordinates(store, ranges))
    entries = {}
    for parts in result.bases:
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
    files.write_manifest(folder, {"reduce": request.model_dump(mode="json"), "factor": result.route, "bases": entries})
    return {name: files.read_basis(folder, name) for name in entries}


def _inner_product(request: ReduceSection, field: str) -> str:
    asked = request.inner_product
    return asked if isinstance(asked, str) else asked.get(field, "identity")
