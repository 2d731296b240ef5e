"""Running a study: plan -> execute -> certify -> publish -> report; predicted beside measured."""

from __future__ import annotations

import errno
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth import __version__
from nwidth.config import Study
from nwidth.errors import RunError
from nwidth.models import files
from nwidth.models.atlas_files import write_atlas
from nwidth.models.derived import FIELD_NORMS, write_per_field
from nwidth.operations.observing import observed
from nwidth.runs.budgets import with_memory
from nwidth.runs.executing import Workers, execution_of_all
from nwidth.runs.folder import MODEL, PARTIALS, REPORT, RunFolder
from nwidth.runs.growth import runs_key
from nwidth.runs.learning import FORGOTTEN, forgets, refuse_before_work, taught
from nwidth.runs.mechanics import mechanised, refuse_mechanics
from nwidth.runs.plan import Plan
from nwidth.runs.resume import Guarded, kept_passes, on_shelf
from nwidth.runs.updating import Offer, Prepared, offer_of, prepared
from nwidth.stages.problem import PodResult, Problem
from nwidth.stages.sinks import FolderSink
from nwidth.stores import open_store
from nwidth.stores.coordinates import read_coordinates
from nwidth.workers import Progress

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore


@dataclass(frozen=True)
class RunResult:
    """What a run did."""

    status: str
    """``done``; ``learnt`` or ``trained`` where only that was done; ``nothing to do`` where all was there."""
    folder: Path
    bases: Mapping[str, Mapping[str, Any]]
    """The manifest's entry of every basis."""
    plan: Mapping[str, Any]
    measured: Mapping[str, Any]
    words: str = ""
    """What there is to say about a store that grew since the last run, or about what the last model had learnt."""
    learned: Mapping[str, Any] | None = None
    """What the model has learnt, as `nwidth.stages.learning.summary`; None without a table ``[learn]``."""
    mechanics: Mapping[str, Any] | None = None
    """What was trained, as `nwidth.mechanics.summary.summary`; None without a table ``[mechanics]``."""

    @property
    def model(self) -> Path:
        """The model's folder."""
        return self.folder / MODEL

    @property
    def report(self) -> Path | None:
        """The report, where one was written."""
        return self.folder / REPORT if (self.folder / REPORT).is_file() else None

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import result_html

        return result_html(self)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": self.status,
            "folder": str(self.folder),
            "model": str(self.model),
            "report": str(self.report) if self.report else None,
            "bases": dict(self.bases),
            "plan": dict(self.plan),
            "measured": dict(self.measured),
            "words": self.words,
            "learned": None if self.learned is None else dict(self.learned),
            "mechanics": None if self.mechanics is None else dict(self.mechanics),
        }


def run(
    study: Study,
    *,
    force: bool = False,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_resume: Callable[[Mapping[str, tuple[int, int]]], None] | None = None,
) -> RunResult:
    """Run a study, publish its model and write its report.

    The same study on the same version of the store is recognised and not run again, unless `force` is set. One that was cut off
    goes on where it was: `on_resume` is told, pass by pass, how many blocks are there, and of how many.

    Raises
    ------
    PlanError, ConfigError, StoreError
        Before any work: what was asked cannot be done.
    FieldError, RunError, CertificateError
        During the work; results of an earlier run stay in place.
    """
    with observed(study) as seen:
        result = _run(study, force=force, progress=progress, on_plan=on_plan, on_resume=on_resume)
        seen.ended(result.status, result.bases)
    return result


def _run(
    study: Study,
    *,
    force: bool,
    progress: Progress | None,
    on_plan: Callable[[Plan], None] | None,
    on_resume: Callable[[Mapping[str, tuple[int, int]]], None] | None,
) -> RunResult:
    study = with_memory(study)
    folder = RunFolder(study.run_folder)
    store = open_store(study.store_url, options=study.store_options)
    with _room_on_disk(study), folder.held() as scratch, execution_of_all(study, progress) as workers:
        planned = store.reference()
        record, status = folder.record(), "nothing to do"
        offer = offer_of(study, store.schema(), folder.path / MODEL) if record is not None and not force else Offer()
        words = [offer.words] if offer.words else []
        ready = prepared(study, store, offer, scratch / "patches")
        refuse_before_work(study, store, ready.ranges)
        refuse_mechanics(study, store)
        if record is not None and (offer.how == "none" or _is_of(record, ready.problem)) and not force:
            folder.sweep()
            folder.note(status, key=record["provenance"]["content_key"])
        else:
            if offer.words:
                folder.note("grown", words=offer.words)
            if on_plan is not None:
                on_plan(ready.plan)
            if forgets(study, folder):
                folder.note("forgotten", words=FORGOTTEN)
                words.append(FORGOTTEN)
            work = _Work(study, store, planned, ready, folder, workers)
            record, status = work.done(progress, on_resume), "done"
        try:
            learned, trained = taught(study, folder)
            if trained and status != "done":
                status = "learnt"
            mechanics, trained = mechanised(study, folder, workers, progress)
            if trained and status == "nothing to do":
                status = "trained"
        finally:
            # A run that was killed after it had published is done, but for its report.
            if study.report.enabled and folder.report_is_stale():
                from nwidth.report import write_report

                write_report(folder.path, n_modes=study.report.modes)
    told = (record["bases"], record["plan"], record["measured"])
    return RunResult(status, folder.path, *told, "; ".join(words), learned, mechanics)


def _is_of(record: Mapping[str, Any], problem: Problem) -> bool:
    return bool(record["provenance"]["content_key"] == problem.token)


@dataclass(frozen=True)
class _Work:
    """One run at work in its folder."""

    study: Study
    store: SnapshotStore
    planned: Any
    """The store's reference when the run was planned."""
    ready: Prepared
    folder: RunFolder
    workers: Workers

    def done(
        self, progress: Progress | None, on_resume: Callable[[Mapping[str, tuple[int, int]]], None] | None
    ) -> dict[str, Any]:
        """Do it, publish it, and return its record."""
        key, note = self.ready.problem.token, self.folder.note
        with self.folder.attempt(key) as attempt:
            blocks = {name: len(source.panels) for name, source in self.ready.problem.sources.items()}
            note("started", key=key, store=self.ready.plan.store, version=self.ready.plan.store_version, blocks=blocks)
            problem, shelf = on_shelf(self.study, self.ready.problem, attempt / PARTIALS)
            there = kept_passes(shelf, problem)
            if there:
                note("resumed", key=key, blocks={name: blocks for name, (blocks, _) in there.items()})
            if there and on_resume is not None:
                on_resume(there)
            try:
                record = self._execute(problem, attempt, progress)
            except BaseException as error:
                note("failed", key=key, error=f"{type(error).__name__}: {error}")
                raise
            if record["measured"]["blocks_unkept"]:
                note("not kept", key=key, blocks=record["measured"]["blocks_unkept"])
            self.folder.publish(attempt, record)
            note("finished", key=key, seconds=record["measured"]["seconds"])
        return record

    def _execute(self, problem: Problem, attempt: Path, progress: Progress | None) -> dict[str, Any]:
        study, store, model = self.study, self.store, attempt / MODEL
        started, clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.perf_counter()
        with self.workers() as executor:
            self.folder.note("workers", key=problem.token, workers=executor.description, **executor.addresses())
            guarded = Guarded(executor, store, self.planned)
            result = self.ready.reduce(problem, study.reduce, guarded, FolderSink(model), study.workers.device, progress)
            workers = executor.description
        provenance = {
            "nwidth": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in ("numpy", "scipy", "dask", "distributed", "zarr", "xarray", "icechunk")},
            "host_cores": len(os.sched_getaffinity(0)),
            "platform": platform.platform(),
            "workers": workers,
            "started": started,
            "content_key": problem.token,
            "run": uuid.uuid4().hex,
            **(self.ready.provenance or {}),
        }
        bases = _write_model(model, study, store, self.ready.plan, result, self.ready.ranges, provenance)
        return {
            "study": study.study.name,
            "configuration": study.model_dump(mode="json"),
            "store": _store_summary(store),
            "plan": self.ready.plan.as_dict(),
            "measured": {**_measured(result), "seconds": time.perf_counter() - clock},
            "bases": bases,
            "provenance": {**provenance, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
        }


def _measured(result: PodResult) -> dict[str, Any]:
    """What the passes of this very run cost; blocks that an interrupted run had done cost it no reading."""
    return {
        "passes": [asdict(measure) for measure in result.passes],
        "bytes_read": sum(measure.bytes_read for measure in result.passes),
        "blocks_reused": sum(measure.blocks_reused for measure in result.passes),
        "blocks_unkept": sum(measure.blocks_unkept for measure in result.passes),
        "tasks": sum(measure.tasks for measure in result.passes),
        "peak_bytes_per_worker": max(measure.peak_bytes for measure in result.passes),
    }


@contextmanager
def _room_on_disk(study: Study) -> Iterator[None]:
    """Turn a full disk or a lost permission, wherever it struck, into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = "no room is left"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "writing is not allowed"
        else:
            raise
        raise RunError(
            f"{reason} under {study.run_folder}; set study.output to another folder (earlier results are untouched)"
        ) from error


def _write_model(
    model: Path,
    study: Study,
    store: SnapshotStore,
    made: Plan,
    result: PodResult,
    ranges: tuple[tuple[int, int], ...],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    import zarr

    coordinates = read_coordinates(store, ranges)
    files.write_snapshots(model, coordinates)
    mesh = store.mesh()
    if mesh is not None:
        files.write_mesh(model, mesh, store.integration_points())
    files.write_grid(model, coordinates)
    factors = zarr.open_group(str(model / "factors"), mode="w")
    for name, factor in result.factors.items():
        files.write_array(factors, name, factor, ("snapshot", "snapshot_"))
    entries: dict[str, Any] = {}
    for parts in result.bases:
        files.write_basis(model, parts.name, parts.spectrum, parts.coefficients, parts.certificate)
        entries[parts.name] = files.basis_entry(
            rank=len(parts.coefficients),
            spectrum=parts.spectrum,
            certificate=parts.certificate,
            truncation=parts.truncation,
            inner_products={field: made.fields[field].inner_product for field in parts.fields},
            field_scaling=parts.field_scaling,
            snapshot_scaling=study.reduce.snapshot_scaling,
            centred=study.reduce.centre,
        ) | dict(result.notes.get(parts.name, {}))
    if result.field_norms:
        write_per_field(model, FIELD_NORMS, result.field_norms, ("snapshot",))
    runs = [run for run in store.schema().runs if run.stop <= made.snapshots]
    manifest: dict[str, Any] = {
        "study": study.study.name,
        "store": {"url": made.store, "version": made.store_version, "snapshots": made.snapshots, "runs_key": runs_key(runs)},
        "reduce": study.reduce.model_dump(mode="json"),
        "factor": result.route,
        "bases": entries,
        "provenance": dict(provenance),
    }
    if result.atlas is not None:
        manifest["atlas"] = write_atlas(model, result.atlas)
    files.write_manifest(model, manifest)
    return entries


def _store_summary(store: SnapshotStore) -> dict[str, Any]:
    schema = store.schema()
    fields = {
        name: {"shape": info.shape, "dtype": str(info.dtype), "chunks": info.chunks, "shards": info.shards, "codec": info.codec}
        for name, info in schema.fields.items()
    }
    return {
        "url": schema.url,
        "kind": schema.kind,
        "version": schema.version,
        "n_snapshots": schema.n_snapshots,
        "fields": fields,
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
