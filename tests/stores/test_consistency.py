"""What keeps two writers apart, and a reader from mixing two versions of one shard; each on S3 as on disk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from nwidth.errors import StoreError
from nwidth.stores import locks
from nwidth.stores.locks import LOCK, Lease
from nwidth.stores.objectstore import chunk_store, location, objects
from nwidth.stores.options import parse_options
from nwidth.stores.overlay import ByteCount, Pinned, ReplacedError
from tests.contracts.s3_server import BUCKET, s3_server

KEY = "fields/u/c/0/0"
PROTOTYPE = default_buffer_prototype()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    with s3_server() as options:
        yield options


def pinned(url: str, options: dict[str, Any]) -> tuple[Any, Pinned]:
    """The bare objects of a place, and a reader to whom every chunk is one that an append may replace."""
    place, settings = location(url), parse_options(options)
    raw = objects(place, settings, create=True)
    return raw, Pinned(chunk_store(place, settings, read_only=True), ByteCount(), url, {}, lambda key: True)


async def index_then_chunk(raw: Any, reader: Pinned) -> bytes:
    """Read the last two bytes, replace the object, read the first two: as one task that meets an append."""
    raw.put(KEY, b"old-index")
    index = await reader.get(KEY, PROTOTYPE, SuffixByteRequest(2))
    assert index is not None
    assert index.to_bytes() == b"ex"
    raw.put(KEY, b"new-shard")
    chunk = await reader.get(KEY, PROTOTYPE, RangeByteRequest(0, 2))
    assert chunk is not None
    return chunk.to_bytes()


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    """On a disk, a shard that is replaced while it is read goes on being read from the old file; a new task sees the new one."""
    raw, reader = pinned(str(tmp_path / "a.zarr"), {})
    assert asyncio.run(index_then_chunk(raw, reader)) == b"ol"
    fresh = asyncio.run(reader.get(KEY, PROTOTYPE, RangeByteRequest(0, 2)))
    assert fresh is not None
    assert fresh.to_bytes() == b"ne"


def test_a_replaced_object_is_noticed(s3: dict[str, Any]) -> None:
    """On S3, where the old object is gone, the read fails by name instead of mixing two versions."""
    raw, reader = pinned(f"s3://{BUCKET}/pins", s3)
    with pytest.raises(ReplacedError, match="was replaced by an append while it was read; read it again"):
        asyncio.run(index_then_chunk(raw, reader))


def lease(s3: dict[str, Any], name: str) -> tuple[Any, Lease]:
    raw = objects(location(f"s3://{BUCKET}/{name}"), parse_options(s3))
    return raw, Lease(raw, name)


def held_elsewhere(raw: Any, expires: float) -> None:
    content = {"owner": "x", "holder": "process 7 on another", "host": "another", "pid": 7, "expires": expires}
    raw.put(LOCK, json.dumps(content).encode())


def test_a_lease_elsewhere_is_respected_until_it_runs_out(s3: dict[str, Any]) -> None:
    """A living lease of another host is refused with its holder's name; one that ran out is taken over, and given back."""
    raw, mine = lease(s3, "expiry")
    held_elsewhere(raw, time.time() + 60)
    with pytest.raises(StoreError, match="process 7 on another is appending"):
        mine.acquire(0.0)
    held_elsewhere(raw, time.time() - 1)
    mine.acquire(0.0)
    mine.release()
    with pytest.raises(FileNotFoundError):
        raw.head(LOCK)


def test_a_lost_lease_stops_its_writer(s3: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose lease another one took is stopped at its next batch, and does not remove the other's lease."""
    raw, mine = lease(s3, "lost")
    mine.acquire(0.0)
    held_elsewhere(raw, time.time() + 60)
    mine.renew()  # not yet due: nothing is asked of the store
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.0)
    with pytest.raises(StoreError, match="another writer took over lost"):
        mine.renew()
    mine.release()
    assert raw.head(LOCK)["size"] > 0
