"""Chunks that are decoded straight into the caller's buffer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, ZstdCodec

from nwidth.readers.protocol import FieldSpec, Run
from nwidth.stores import create_store, open_store
from nwidth.stores.direct import chunk_format, following, read_direct
from nwidth.stores.fetching import LocalFile

SHAPE = (21, 50, 3)
VALUES = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
BLOSC = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4)


def stored(folder: Path, **options: Any) -> Any:
    """`VALUES` as an array on a disk."""
    array = zarr.create_array(str(folder / "a.zarr"), shape=SHAPE, dtype="float32", overwrite=True, **options)
    array[...] = VALUES
    return array


@pytest.mark.parametrize("compressors", [[BLOSC], []], ids=["blosc", "none"])
@pytest.mark.parametrize("shards", [None, (8, 40, 3)], ids=["chunks", "shards"])
def test_any_selection_reads_as_written(tmp_path: Path, shards: Any, compressors: Any) -> None:
    """Every box of an array, aligned with chunks or not, at its ragged end or not, is filled with what was written."""
    array = stored(tmp_path, chunks=(4, 20, 3), shards=shards, compressors=compressors)

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def check(data: Any) -> None:
        bounds = [
            sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)).filter(lambda b: b[0] != b[1]))) for n in SHAPE
        ]
        selection = tuple(slice(start, stop) for start, stop in bounds)
        out = np.full([stop - start for start, stop in bounds], np.nan, np.float32)
        assert read_direct(array, selection, out)
        np.testing.assert_array_equal(out, VALUES[selection])

    check()


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": [ZstdCodec()]},
        {"compressors": [BLOSC], "serializer": BytesCodec(endian="big")},
        {"compressors": [BLOSC], "filters": [zarr.codecs.TransposeCodec(order=(2, 1, 0))]},
    ],
    ids=["zstd", "big-endian", "transposed"],
)
def test_other_codecs_are_left_to_zarr(tmp_path: Path, options: Any) -> None:
    """A codec that is not decoded here is recognised from the metadata, before anything is read."""
    array = stored(tmp_path, chunks=(4, 20, 3), **options)
    assert chunk_format(array) is None
    assert not read_direct(array, tuple(slice(0, n) for n in SHAPE), np.empty(SHAPE, np.float32))


@pytest.mark.parametrize("shards", [None, (8, 40, 3)], ids=["chunks", "shards"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "index", "header", "missing"])
def test_damage_is_left_to_zarr(tmp_path: Path, shards: Any, damage: str) -> None:
    """A file that is cut, overwritten or gone is never decoded: the answer is no, and Zarr says what is wrong."""
    array = stored(tmp_path, chunks=(4, 20, 3), shards=shards, compressors=[BLOSC])
    file = tmp_path / "a.zarr" / "c" / "0" / "0" / "0"
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "header":
        file.write_bytes(b"\xff" * 16 + content[16:])
    else:
        cut = {"truncated": content[: len(content) // 2], "emptied": b"", "index": content[:-30] + b"\x07" * 30}
        file.write_bytes(cut[damage])
    if damage == "index" and shards is None:
        pytest.skip("without shards there is no index")
    assert not read_direct(array, tuple(slice(0, n) for n in SHAPE), np.empty(SHAPE, np.float32))


def test_a_tail_shard_does_not_make_the_others_read_twice(tmp_path: Path) -> None:
    """A plain Zarr store whose last shard has room for more is read by Zarr from the start: every stored byte is fetched once."""
    values = np.random.default_rng(0).standard_normal((200, 5000))
    store = create_store(tmp_path / "growing.zarr", options={"expected_snapshots": 64})
    spec = FieldSpec("grid", ("x",), (5000,), np.dtype("f8"))
    run = Run(fields={"u": spec}, times=np.arange(100, dtype=np.float64), snapshots=lambda: iter([]))
    for name, part in (("first", values[:100]), ("second", values[100:])):
        with store.append(run, simulation=name, source_key=name) as writer:
            writer.write(0, {"u": part})
    reference = open_store(tmp_path / "growing.zarr").reference()
    array = reference.array("fields/u")
    assert array.shards is not None
    assert 200 % array.shards[0] != 0
    assert array.shards[0] < 200
    before, out = reference.bytes_read, np.empty_like(values)
    reference.read_block("fields/u", (slice(0, 200), slice(0, 5000)), out=out)
    assert np.array_equal(out, values)
    assert reference.bytes_read - before <= array.nbytes_stored()


def test_what_is_wanted_next_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of panels has told the system of the next panel's bytes before it asks for them, and of its own first."""
    array = stored(tmp_path, chunks=(4, 10, 3), shards=(8, 50, 3), compressors=[BLOSC])
    announced: list[tuple[int, int]] = []
    monkeypatch.setattr(LocalFile, "announce", lambda file, spans: announced.extend(spans))

    def panel(start: int) -> list[tuple[int, int]]:
        announced.clear()
        out = np.empty((21, 10, 3), np.float32)
        assert read_direct(array, (slice(0, 21), slice(start, start + 10), slice(0, 3)), out)
        return list(announced)

    first, second = panel(0), panel(10)
    # Each of the three shards announces two chunks, and then reads them.
    assert set(second[-2:]) < set(first)
    assert first[:2] == first[6:8]


@given(st.data())
def test_what_follows_lies_beyond(data: Any) -> None:
    """What follows a selection begins where it ends, along one axis, and stays within the field; a whole field has no next."""
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)).filter(lambda b: b[0] != b[1]))) for n in SHAPE]
    selection = tuple(slice(start, stop) for start, stop in bounds)
    after = following(selection, SHAPE)
    changed = [axis for axis in range(3) if after[axis] != selection[axis]]
    assert len(changed) <= 1
    assert bool(changed) == (selection != tuple(slice(0, n) for n in SHAPE))
    for axis in changed:
        assert selection[axis].stop == after[axis].start <= after[axis].stop <= SHAPE[axis]
