"""The study's store as a run would find it: how long a small read takes, how fast whole chunks come, and room for the results."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.doctor.checks import Check
from nwidth.doctor.machine import SLOW_DISK, forget

if TYPE_CHECKING:
    from nwidth.config import Study
    from nwidth.stores.protocol import FieldInfo, StoreSchema

SMALL_READS = 8
SMALL_PATH = "runs/stop"
"""An array that every store has, of one small chunk."""
CHUNK_READS = 16
CHUNK_BYTES = 64 * 2**20
TELLING_BYTES = 8 * 2**20
"""A smaller store is read before its disk matters."""
SLOW_LATENCY = 0.1
"""Seconds of a small read, above which small chunks cost more time to ask for than to fetch."""
FORGOTTEN_FILES = 20_000


@dataclass(frozen=True)
class Reads:
    """What some reads of a store took."""

    latency: float
    """Seconds of a small read, the median."""
    chunks: int
    decoded: int
    fetched: int
    seconds: float

    @property
    def rate(self) -> float:
        """Decoded bytes per second of one thread."""
        return self.decoded / self.seconds

    @property
    def words(self) -> str:
        """For people."""
        size, stored = self.decoded / self.chunks, self.fetched / self.seconds
        return (
            f"small reads take {1e3 * self.latency:.2g} ms; {self.chunks} chunks of {size / 1e6:.3g} MB come with "
            f"{self.rate / 1e6:.0f} MB/s to one thread ({stored / 1e6:.0f} MB/s as stored)"
        )


def check_store(study: Study) -> list[Check]:
    """Open the study's store, and time small reads and reads of whole chunks, not from memory where its files are here."""
    from nwidth.stores import open_store
    from nwidth.stores.objectstore import location

    start = time.perf_counter()
    store = open_store(study.store_url, options=study.store_options)
    schema, reference = store.schema(), store.reference()
    opened = time.perf_counter() - start
    place = location(study.store_url)
    if place.path is not None:
        forget_files(place.path)
    found = f"{study.store_url}: opened in {opened:.2g} s, {schema.n_snapshots} snapshots"
    if not schema.n_snapshots:
        return [Check("store", "warn", found, "nwidth ingest brings snapshots in")]
    reads = timed_reads(reference, largest_field(study, schema))
    found = f"{found}; {reads.words}"
    if reads.latency > SLOW_LATENCY:
        return [Check("store", "warn", found, "run near the store: in the same site or region, or copy it to a disk here")]
    if reads.decoded >= TELLING_BYTES and reads.rate < SLOW_DISK:
        return [Check("store", "warn", found, "raise workers.count or threads, which read side by side, or use a faster disk")]
    return [Check("store", "ok", found)]


def largest_field(study: Study, schema: StoreSchema) -> FieldInfo:
    """The largest of the fields that the study reduces."""
    fields = [schema.fields[name] for name in study.reduce.fields or schema.fields if name in schema.fields]
    return max(fields or list(schema.fields.values()), key=lambda field: field.nbytes)


def timed_reads(reference: Any, field: FieldInfo) -> Reads:
    """Time small reads and whole chunks of one field, as its readers read them; a function for workers, too."""
    from nwidth.stores.overlay import counting

    small = sorted(_seconds(lambda: reference.read_block(SMALL_PATH, ())) for _ in range(SMALL_READS))
    path, decoded, chunks = f"fields/{field.name}", 0, 0
    reference.array(path)  # its metadata, which a run reads once
    with counting() as fetched:
        start = time.perf_counter()
        for selection in some_chunks(field):
            decoded += reference.read_block(path, selection).nbytes
            chunks += 1
        seconds = time.perf_counter() - start
    return Reads(small[len(small) // 2], chunks, decoded, fetched.total, seconds)


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def some_chunks(field: FieldInfo) -> Iterator[tuple[slice, ...]]:
    """Selections of whole chunks, spread over the field, so many that they are worth timing, and not more. Pure."""
    starts = [range(0, size, chunk) for size, chunk in zip(field.shape, field.chunks, strict=True)]
    total = 1
    for axis in starts:
        total *= len(axis)
    chunk_bytes = field.dtype.itemsize
    for chunk in field.chunks:
        chunk_bytes *= chunk
    wanted = max(1, min(CHUNK_READS, total, CHUNK_BYTES // max(chunk_bytes, 1)))
    for corner in islice(product(*starts), 0, total, -(-total // wanted)):
        yield tuple(
            slice(start, min(start + chunk, size)) for start, chunk, size in zip(corner, field.chunks, field.shape, strict=True)
        )


def forget_files(folder: Path) -> None:
    """Drop a store's files from the memory of this machine, as far as the system does so."""
    for path in islice((path for path in folder.rglob("*") if path.is_file()), FORGOTTEN_FILES):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:  # the reads will tell
            continue
        try:
            forget(descriptor)
        finally:
            os.close(descriptor)


def check_room(study: Study, folder: Path) -> Check:
    """Whether the results find room: modes of the old model and of the new one lie side by side until they are exchanged."""
    from nwidth.stores import open_store

    schema = open_store(study.store_url, options=study.store_options).schema()
    free = shutil.disk_usage(folder).free
    rows = sum(
        field.nbytes // field.dtype.itemsize // max(schema.n_snapshots, 1)
        for name, field in schema.fields.items()
        if not study.reduce.fields or name in study.reduce.fields
    )
    if not rows:
        return Check("room", "ok", f"{folder}: {free / 1e9:.3g} GB free")
    modes = free // (8 * rows)
    wanted = study.reduce.rank or min(schema.n_snapshots, 100)
    found = f"{folder}: {free / 1e9:.3g} GB free, room for {modes} modes of {8 * rows / 1e6:.3g} MB"
    if modes < wanted:
        return Check("room", "fail", f"{found}; the study may make {wanted}", "set study.output to a folder with more room")
    if modes < 2 * wanted:
        return Check(
            "room",
            "warn",
            found,
            "while a run publishes, the last model lies beside the new one: make room, or move study.output",
        )
    return Check("room", "ok", found)
