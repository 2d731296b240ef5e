"""Solver files -> snapshot store, one commit per run.

    input path ──find_reader──> Run ──batches, each checked for gaps and infinity──> store.append ──commit
         │                                                                             │
         └─ name, parameters, content key: all settled before anything is written ─────┘

A run is visible only when its last snapshot has been checked and written. Runs before a failing one stay; a run that is in the
store already is recognised by the content of its files, and skipped or refused, never doubled. Memory holds one batch.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, DuplicateRunError, FieldError, FormatError, NwidthError
from nwidth.readers import find_reader, list_readers, missing_package, runs_below
from nwidth.readers.protocol import FieldSpec, Reader, Run
from nwidth.stages.calendar import in_time_units_of
from nwidth.stages.identity import files_of, source_key
from nwidth.stages.parameters import ParameterTable, read_parameters
from nwidth.stores.gaps import FieldMask
from nwidth.stores.protocol import FieldInfo, SnapshotStore, StoreKind

# What one batch of snapshots may hold. The store's writer gathers batches until a shard is full, so that they may be small:
# large enough only for a batch of tiny snapshots to be worth a call.
BATCH_BYTES = 16 << 20

OnDuplicate = Literal["skip", "refuse"]
Missing = Literal["refuse", "keep"]


@dataclass(frozen=True)
class IngestProgress:
    """Where an ingestion stands; given to `progress` after every batch."""

    simulation: str
    run: int
    n_runs: int
    snapshot: int
    n_snapshots: int


@dataclass(frozen=True)
class IngestReport:
    """What an ingestion did."""

    url: str
    added: tuple[str, ...]
    skipped: tuple[str, ...]
    """Runs that were in the store already."""
    snapshots: int
    read_bytes: int
    """Size of the files of the added runs."""
    field_bytes: int
    """Values handed to the store, before compression."""
    seconds: float
    layout: Mapping[str, str]
    """Field -> shape, chunks, shards and codec, in words."""


@dataclass(frozen=True)
class PlannedRun:
    """One input, with everything settled that can be before it is read."""

    path: Path
    reader: Reader
    files: tuple[Path, ...]
    simulation: str
    parameters: Mapping[str, float | str]
    parameter_units: Mapping[str, str]


def ingest(
    files: Sequence[str | Path],
    into: str | Path,
    *,
    kind: StoreKind | None = None,
    reader: str | Reader | None = None,
    parameters: str | Path | None = None,
    simulation: str | None = None,
    fields: Sequence[str] | None = None,
    on_duplicate: OnDuplicate = "skip",
    progress: Callable[[IngestProgress], None] | None = None,
    options: Mapping[str, Any] | None = None,
    store_options: Mapping[str, Any] | None = None,
    missing: Missing = "refuse",
) -> IngestReport:
    """Append the runs in `files` to the snapshot store `into`, which is made where it does not exist.

    Parameters
    ----------
    files
        One path per run: a file, or a folder that holds one run.
    kind
        ``"icechunk"`` or ``"zarr"``, for a store that is made now.
    reader
        The reader, or its name; the one that claims the file otherwise.
    parameters
        CSV with one row per run, see `nwidth.stages.parameters`.
    simulation
        Name of the run, for a single input. Otherwise the folder's name, or the file's stem; the name of the file's folder where
        several inputs have the same stem, or where only that has a row in `parameters`.
    fields
        Names of the fields to store; all of them otherwise.
    on_duplicate
        ``"skip"`` or ``"refuse"`` a run whose files, by content, are in the store already.
    progress
        Called after every batch.
    options
        Further arguments of the reader, such as ``{"snapshot_dim": "run"}``.
    store_options
        Settings of the store, such as ``{"codec": "lz4", "expected_snapshots": 400}``, see `nwidth.stores.StoreOptions`.
    missing
        ``"refuse"`` NaN that are not at the same places in every snapshot (those are a mask), or ``"keep"`` them as gaps, which
        only a reduction with ``missing = "gappy"`` takes. Infinities are never stored, nor is a snapshot that is NaN throughout.

    Raises
    ------
    ConfigError
        Contradictory arguments, or parameters without a row for a run. Nothing has been written.
    FormatError, MeshError, FieldError
        A file is unreadable or does not fit the store, or holds infinity, or NaN that are no mask (named by field, time and
        place). Runs before it have been added, and the text says which.
    DuplicateRunError
        With ``on_duplicate="refuse"``. Nothing has been written.
    """
    from nwidth.stores import open_or_create_store

    started = time.perf_counter()
    runs = plan_runs(files, reader=reader, parameters=parameters, simulation=simulation)
    _check_options(runs, options or {})
    keys = [source_key(run.files, run.reader.name) for run in runs]
    store: SnapshotStore = open_or_create_store(into, kind, store_options)
    if kind is not None and store.kind != kind:
        raise ConfigError(f"{into} is a store of kind {store.kind!r}, not {kind!r}; leave kind out, or choose another place")
    new, known = _sort_out(store, runs, keys, on_duplicate)
    added: list[str] = []
    n_snapshots = field_bytes = 0
    for number, (planned, key) in enumerate(new, start=1):
        try:
            run = replace(in_time_units_of(store, _open(planned, fields, options or {})), gaps=missing == "keep")
            n_snapshots += len(run.times)
            field_bytes += _append(store, planned, run, key, _announce(progress, planned, number, len(new), len(run.times)))
            _store_inner_products(store, run)
        except NwidthError as error:
            raise _with_what_was_done(error, planned, added) from error
        added.append(planned.simulation)
    return IngestReport(
        url=str(into),
        added=tuple(added),
        skipped=tuple(run.simulation for run in known),
        snapshots=n_snapshots,
        read_bytes=sum(file.stat().st_size for run, _ in new for file in run.files),
        field_bytes=field_bytes,
        seconds=time.perf_counter() - started,
        layout={name: describe_layout(info) for name, info in store.schema().fields.items()},
    )


# ------------------------------------------------------------------------------------------------------- before reading


def plan_runs(
    files: Sequence[str | Path],
    *,
    reader: str | Reader | None = None,
    parameters: str | Path | None = None,
    simulation: str | None = None,
) -> list[PlannedRun]:
    """Settle reader, files, name and parameters of every input; reads nothing but names and the CSV.

    Raises
    ------
    ConfigError, FormatError
        No input, an input that is absent or of no known format, two runs of one name, or a run without a row of parameters.
    """
    if not files:
        raise ConfigError("there is nothing to ingest: the list of files is empty; give at least one file or folder")
    if simulation is not None and len(files) > 1:
        raise ConfigError(f"simulation={simulation!r} names one run, but there are {len(files)} inputs; ingest them one by one")
    table = read_parameters(Path(parameters)) if parameters is not None else None
    inputs = [Path(file) for file in files]
    found = [_find_run(path, reader) for path in inputs]
    stems = [path.stem if path.is_file() else path.resolve().name for path in inputs]
    planned = []
    for path, (file, its_reader), stem in zip(inputs, found, stems, strict=True):
        names = [simulation] if simulation is not None else _names(path, stem, stems.count(stem) > 1)
        name, values = _parameters_of(names, table, path)
        planned.append(PlannedRun(file, its_reader, files_of(file, its_reader), name, values, table.units if table else {}))
    _refuse_one_name(planned, table)
    return planned


def _find_run(path: Path, name: str | Reader | None) -> tuple[Path, Reader]:
    if not path.exists():
        raise FormatError(f"{path} does not exist; check the path")
    if path.is_file():
        return path, find_reader(path, name)
    readers = [find_reader(path, name)] if name is not None else list(list_readers().values())
    claiming = [reader for reader in readers if reader.claims(path)]
    return (path, claiming[0]) if claiming else _run_in_folder(path, name)


def _run_in_folder(folder: Path, name: str | Reader | None) -> tuple[Path, Reader]:
    """The one run in a folder: what a reader claims, less the files that belong to another one's run."""
    claimed = list(runs_below(folder, name))
    # An index names its files by resolved paths, and the folder may be given by a relative one.
    companions = {file.resolve() for path in claimed for file in files_of(path, find_reader(path, name)) if file != path}
    runs = [path for path in claimed if path.resolve() not in companions]
    if len(runs) != 1:
        listed = ", ".join(path.name for path in runs[:5]) or "none that a reader knows"
        raise FormatError(
            f"the folder {folder} should hold one run, found {len(runs)} ({listed}); name each run's file or folder"
        )
    return runs[0], find_reader(runs[0], name)


def _names(path: Path, stem: str, shared: bool) -> list[str]:
    """Names that a run may go by, the best first: a folder's; a file's stem, then its folder (only that where stems repeat)."""
    if not path.is_file():
        return [stem]
    folder = path.resolve().parent.name
    return [folder] if shared else [stem, folder]


def _parameters_of(names: Sequence[str], table: ParameterTable | None, path: Path) -> tuple[str, Mapping[str, float | str]]:
    if table is None:
        return names[0], {}
    match = table.row_of(names)
    if match is None:
        raise ConfigError(
            f"{table.path} has no row for {path}: no {table.id_column} is {' or '.join(map(repr, names))}, or the number "
            "at its end; add the row, or leave the run out"
        )
    name, identifier = match
    return name, table.rows[identifier]


def _refuse_one_name(planned: Sequence[PlannedRun], table: ParameterTable | None) -> None:
    by_name: dict[str, PlannedRun] = {}
    by_row: dict[str, PlannedRun] = {}
    for run in planned:
        if run.simulation in by_name:
            raise ConfigError(
                f"{by_name[run.simulation].path} and {run.path} are both called {run.simulation!r}; "
                "ingest them one by one, each with simulation=..."
            )
        by_name[run.simulation] = run
        match = table.row_of([run.simulation]) if table is not None else None
        if table is not None and match is not None:
            if match[1] in by_row:
                raise ConfigError(
                    f"{by_row[match[1]].path} and {run.path} both take row {match[1]} of {table.path}; name them apart"
                )
            by_row[match[1]] = run


def _check_options(runs: Sequence[PlannedRun], options: Mapping[str, Any]) -> None:
    for run in runs:
        known = set(inspect.signature(run.reader.open).parameters) - {"path", "fields"}
        for key in options:
            if key not in known:
                takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
                raise ConfigError(f"the reader {run.reader.name} has no option {key!r}; {takes}")


def _sort_out(
    store: SnapshotStore, runs: Sequence[PlannedRun], keys: Sequence[str], on_duplicate: OnDuplicate
) -> tuple[list[tuple[PlannedRun, str]], list[PlannedRun]]:
    """Split into runs to add and runs that are there already, by content."""
    if on_duplicate not in ("skip", "refuse"):
        raise ConfigError(f"on_duplicate={on_duplicate!r} is not known; expected 'skip' or 'refuse'")
    entries = store.schema().runs
    present = {entry.source_key: entry.simulation for entry in entries}
    taken = {entry.simulation for entry in entries}
    new: list[tuple[PlannedRun, str]] = []
    known: list[PlannedRun] = []
    for run, key in zip(runs, keys, strict=True):
        if key in present:
            if on_duplicate == "refuse":
                raise DuplicateRunError(
                    f"{run.path} is in the store already, as {present[key]!r}; leave it out, or skip duplicates"
                )
            known.append(run)
            continue
        if run.simulation in taken:
            raise DuplicateRunError(
                f"the store has a run {run.simulation!r} with other contents than {run.path}; name this one with simulation=..."
            )
        present[key] = run.simulation
        new.append((run, key))
    return new, known


# ------------------------------------------------------------------------------------------------------------- reading


def _open(planned: PlannedRun, fields: Sequence[str] | None, options: Mapping[str, Any]) -> Run:
    arguments = dict(options)
    if fields is not None and "fields" in inspect.signature(planned.reader.open).parameters:
        arguments["fields"] = tuple(fields)
    try:
        run = planned.reader.open(planned.path, **arguments)
    except ImportError as error:
        raise missing_package(error) from error
    if fields is not None:
        run = _only(run, fields, planned.path)
    _check_run(run, planned.path)
    units = {f"units:{name}": unit for name, unit in planned.parameter_units.items() if unit}
    return replace(run, attributes={**run.attributes, **units})


def _only(run: Run, fields: Sequence[str], path: Path) -> Run:
    for name in fields:
        if name not in run.fields:
            raise ConfigError(f"{path} has no field {name!r}; its fields are {', '.join(run.fields)}")
    if not fields:
        raise ConfigError("fields=[] selects nothing; leave fields out to store all of them")
    chosen = {name: run.fields[name] for name in fields}
    points = run.integration_points if any(spec.location == "point" for spec in chosen.values()) else None

    def snapshots() -> Iterator[Mapping[str, NDArray[Any]]]:
        for snapshot in run.snapshots():
            yield {name: snapshot[name] for name in chosen}

    return replace(run, fields=chosen, snapshots=snapshots, integration_points=points)


def _check_run(run: Run, path: Path) -> None:
    if not len(run.times):
        raise FormatError(f"{path} holds no snapshot; let the solver write at least one output time")
    if not np.isfinite(run.times).all():
        raise FieldError(
            f"{path}: time {int(np.argmin(np.isfinite(run.times)))} is {run.times[~np.isfinite(run.times)][0]}; mend the file"
        )
    for name in run.fields:
        if not name or "/" in name or name.startswith("."):
            raise FieldError(f"{path}: {name!r} cannot name a field in a store; rename it in the solver's output")


def _append(store: SnapshotStore, planned: PlannedRun, run: Run, key: str, tell: Callable[[int], None]) -> int:
    """Write one run batch by batch; it becomes visible when the block ends. Returns the bytes of its values."""
    written = 0
    with store.append(
        run,
        simulation=planned.simulation,
        source_key=key,
        parameters=planned.parameters,
        files=tuple(str(file) for file in planned.files),
        reader=planned.reader.name,
    ) as writer:
        for first, batch in batches(run, snapshots_per_batch(run), planned.path, store):
            writer.write(first, batch)
            written += sum(values.nbytes for values in batch.values())
            tell(first + len(next(iter(batch.values()))))
    return written


def snapshots_per_batch(run: Run) -> int:
    """As many snapshots as `BATCH_BYTES` hold, and at least one. Pure."""
    snapshot_bytes = sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in run.fields.values())
    return min(len(run.times), max(1, BATCH_BYTES // max(1, snapshot_bytes)))


def batches(run: Run, size: int, path: Path, store: SnapshotStore | None = None) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """Gather snapshots into batches of `size`, each value checked: (number of the first, field -> (k, *shape)).

    A mask is compared with that of the snapshots in `store`, where it is given and has some.

    Raises
    ------
    FieldError
        A snapshot has the wrong fields or shapes, or a value is infinite, or NaN where the field has no mask.
    FormatError
        The reader gives more or fewer snapshots than it announced.
    """
    buffers: dict[str, NDArray[Any]] = {}
    masks = {name: FieldMask(run.gaps, partial(_stored_mask, store, name)) for name in run.fields}
    count = 0
    for snapshot in run.snapshots():
        if count == len(run.times):
            raise FormatError(f"{path} gives more snapshots than its {len(run.times)} times; mend the reader or the file")
        _check_snapshot(run, snapshot, count, path)
        _check_values(run, snapshot, masks, count, path)
        if not buffers:
            buffers = {name: np.empty((size, *spec.shape), spec.dtype) for name, spec in run.fields.items()}
        for name, buffer in buffers.items():
            buffer[count % size] = snapshot[name]
        count += 1
        if count % size == 0:
            yield count - size, buffers
            # The writer may keep what it was given: the next batch gets memory of its own.
            buffers = {}
    if count != len(run.times):
        raise FormatError(f"{path} gives {count} snapshots for {len(run.times)} times; it is truncated: copy it again")
    if count % size:
        yield count - count % size, {name: buffer[: count % size] for name, buffer in buffers.items()}


def _check_snapshot(run: Run, snapshot: Mapping[str, NDArray[Any]], number: int, path: Path) -> None:
    if set(snapshot) != set(run.fields):
        odd = sorted(set(snapshot) ^ set(run.fields))[0]
        raise FieldError(
            f"{path}: field {odd} is not there in every snapshot (see number {number}); write the same fields at all times"
        )
    for name, spec in run.fields.items():
        values = snapshot[name]
        if values.shape != spec.shape:
            raise FieldError(
                f"{path}: field {name} has shape {values.shape} in snapshot {number}, expected {spec.shape}; write one mesh"
            )


def _check_values(
    run: Run, snapshot: Mapping[str, NDArray[Any]], masks: Mapping[str, FieldMask], number: int, path: Path
) -> None:
    for name, spec in run.fields.items():
        found = masks[name].refused(snapshot[name][None])
        if found is None:
            continue
        values = snapshot[name]
        remedy = "mend the run"
        if found.masked:
            what = "where snapshots before it are nan"
        else:
            what = f"and {int((~np.isfinite(values)).sum())} of its {values.size} values are not finite"
        if not np.isinf(found.value):
            remedy = 'a mask is NaN at the same places in every snapshot: mend the run, keep its gaps with missing="keep"'
        raise FieldError(
            f"{path}: field {name} is {found.value} at {_place(spec, found.place)} of snapshot {number} "
            f"(time {run.times[number]:g}), {what}; {remedy}, or leave the field out with fields=..."
        )


def _stored_mask(store: SnapshotStore | None, name: str) -> NDArray[np.bool_] | None:
    """Where the first snapshot of a store is NaN; None where there is none."""
    if store is None or name not in store.schema().fields or store.schema().n_snapshots == 0:
        return None
    first: NDArray[np.bool_] = np.isnan(store.reference().read_block(f"fields/{name}", (slice(0, 1),))[0])
    return first


def _place(spec: FieldSpec, place: tuple[int, ...]) -> str:
    """``node 17, component sxy`` or ``lat 3, lon 5``."""
    names = [f"{dim} {k}" for dim, k in zip(spec.dims, place, strict=True)]
    if spec.components:
        names[-1] = f"component {spec.components[place[-1]]}"
    return ", ".join(names)


# --------------------------------------------------------------------------------------------------------------- around


def _store_inner_products(store: SnapshotStore, run: Run) -> None:
    """Store weights that the reader knows and the store does not have yet (the first run's come with the store itself).

    The mass of a mesh needs no storing: it is built from the mesh, panel by panel, when it is asked for.
    """
    known = store.schema().inner_products
    for name, weights in run.weights.items():
        if name not in known:
            fields = [field for field, spec in run.fields.items() if spec.shape[: weights.ndim] == weights.shape]
            dims = run.fields[fields[0]].dims[: weights.ndim] if fields else ()
            store.write_inner_product(name, "diagonal", {"weights": weights}, {"dims": list(dims)})


def _announce(
    progress: Callable[[IngestProgress], None] | None, planned: PlannedRun, number: int, n_runs: int, n_snapshots: int
) -> Callable[[int], None]:
    def tell(snapshot: int) -> None:
        if progress is not None:
            progress(IngestProgress(planned.simulation, number, n_runs, snapshot, n_snapshots))

    return tell


def _with_what_was_done(error: NwidthError, planned: PlannedRun, added: Sequence[str]) -> NwidthError:
    """The same refusal, with what has become of the other runs."""
    before = f"the {len(added)} runs before it were added" if added else "nothing was added"
    return type(error)(f"run {planned.simulation}: {error} ({before}; the store holds whole runs only)")


def describe_layout(info: FieldInfo) -> str:
    """One field's layout in words: ``60 x 5154 x 3 float32, chunks 32 x 5154 x 3 (1.9 MiB) in shards ...``."""
    chunk_bytes = math.prod(info.chunks) * info.dtype.itemsize
    text = f"{_by(info.shape)} {info.dtype}, chunks {_by(info.chunks)} ({_mebibytes(chunk_bytes)})"
    if info.shards is not None:
        shard_bytes = math.prod(info.shards) * info.dtype.itemsize
        text += f" in shards {_by(info.shards)} ({_mebibytes(shard_bytes)})"
    return f"{text}, {info.codec}"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _mebibytes(n: int) -> str:
    return f"{n / (1 << 20):.3g} MiB"
