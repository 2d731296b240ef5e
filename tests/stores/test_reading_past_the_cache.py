"""Large arrays are read past the system's cache: the same values and bytes, whatever the file system and the disk are."""

from __future__ import annotations

import errno
import fcntl
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from nwidth import disks
from nwidth.disks import JUDGED_BYTES, SLOWEST, Devices
from nwidth.stores import fetching
from nwidth.stores.ahead import AHEAD_DIRECTLY, ahead
from nwidth.stores.direct import read_direct
from nwidth.stores.fetching import LocalFile, NotDirectError
from nwidth.stores.overlay import counting
from nwidth.stores.protocol import Coming
from nwidth_graphs.kernels.memory import PAGE_BYTES, page_aligned
from nwidth_graphs.sequence import in_sequence

SHAPE = (40, 3000)
VALUES = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
needs_direct_reads = pytest.mark.skipif(not disks.DIRECT_FLAG, reason="this system has no direct reads")


@pytest.fixture(params=[(8, 500), (8, 1500)], ids=["sharded", "sharded by columns"])
def array(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An array that counts as large, and a process that knows nothing of its disk."""
    monkeypatch.setattr(fetching, "DIRECT_ARRAY_BYTES", 0)
    monkeypatch.setattr(disks, "reads", Devices())
    made = zarr.create_array(
        tmp_path / "a.zarr", shape=SHAPE, chunks=(8, 250), shards=request.param, dtype="f4", compressors=[BloscCodec()]
    )
    made[...] = VALUES
    return zarr.open_array(tmp_path / "a.zarr", mode="r")


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of what is read directly."""
    lengths: list[int] = []
    real = LocalFile._filled

    def noting(self: LocalFile, buffer: Any, offset: int) -> int:
        lengths.append(len(buffer))
        assert offset % PAGE_BYTES == len(buffer) % PAGE_BYTES == buffer.ctypes.data % PAGE_BYTES == 0
        return real(self, buffer, offset)

    monkeypatch.setattr(LocalFile, "_filled", noting)
    return lengths


def panels(array: Any, width: int) -> Iterator[tuple[slice, slice]]:
    return ((slice(0, SHAPE[0]), slice(start, min(start + width, SHAPE[1]))) for start in range(0, SHAPE[1], width))


@needs_direct_reads
@pytest.mark.parametrize("width", [250, 700, 3000])
def test_values_are_those_that_were_written(array: Any, direct: list[int], width: int) -> None:
    """Panels of chunks, panels across chunks, and all at once; every one of them past the cache."""
    for rows, columns in panels(array, width):
        out = np.empty((SHAPE[0], columns.stop - columns.start), np.float32)
        assert read_direct(array, (rows, columns), out)
        np.testing.assert_array_equal(out, VALUES[rows, columns])
    assert direct


def test_small_arrays_stay_in_the_cache(array: Any, direct: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there already, or cost little."""
    monkeypatch.setattr(fetching, "DIRECT_ARRAY_BYTES", VALUES.nbytes + 1)
    assert read_direct(array, (slice(0, 40), slice(0, 3000)), np.empty(SHAPE, np.float32))
    assert not direct


@needs_direct_reads
def test_a_file_system_without_direct_reads_is_asked_once(array: Any, direct: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is read through the cache, and is right."""
    asked = []
    real = fcntl.fcntl

    def refuse(descriptor: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL:
            asked.append(flags)
            raise OSError(errno.EINVAL, "no direct reads here")
        return real(descriptor, command, flags)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    for _ in range(2):
        out = np.empty(SHAPE, np.float32)
        assert read_direct(array, (slice(0, 40), slice(0, 3000)), out)
        np.testing.assert_array_equal(out, VALUES)
    assert not direct
    assert len(asked) == 1


@needs_direct_reads
def test_a_disk_that_wants_other_pages_is_read_through_the_cache(array: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses the first read, which Zarr then does; the next goes through the cache, and is right."""

    def refuse(*_: Any) -> int:
        raise OSError(errno.EINVAL, "pages of 64 KiB, please")

    everything, out = (slice(0, 40), slice(0, 3000)), np.empty(SHAPE, np.float32)
    with monkeypatch.context() as patch:
        patch.setattr("os.preadv", refuse)
        assert not read_direct(array, everything, out)
    assert not disks.reads.fit(Path(array.store.root).stat().st_dev)
    assert read_direct(array, everything, out)
    np.testing.assert_array_equal(out, VALUES)


@needs_direct_reads
def test_a_truncated_file_is_left_to_zarr(array: Any) -> None:
    """And the thread that read ahead has ended: the next array is read as ever."""
    shard = sorted(Path(array.store.root).rglob("c/*/*"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[4096:])
    everything = (slice(0, 40), slice(0, 3000))
    assert not read_direct(array, everything, np.empty(SHAPE, np.float32))
    shard.write_bytes(content)
    out = np.empty(SHAPE, np.float32)
    assert read_direct(array, everything, out)
    np.testing.assert_array_equal(out, VALUES)


def test_items_come_in_order_and_few_are_made_ahead() -> None:
    """One is with whoever asked, one waits, one is being made: the ring has a buffer for each."""
    made: list[int] = []

    def items() -> Generator[int]:
        for number in range(20):
            made.append(number)
            yield number

    for number in ahead(items()):
        assert len(made) <= number + AHEAD_DIRECTLY + 1
    assert made == list(range(20))


def test_trouble_ahead_is_raised_where_it_is_met() -> None:
    """After what came before it."""

    def items() -> Generator[int]:
        yield 1
        raise NotDirectError

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(NotDirectError):
        next(found)


def test_whoever_stops_early_stops_the_thread() -> None:
    """What it had opened is closed before the next line runs."""
    closed = threading.Event()

    def items() -> Generator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    for item in ahead(items()):
        if item == 3:
            break
    # The generator ends with the last reference to it, which the loop held.
    assert closed.wait(5)


@needs_direct_reads
def test_bytes_are_counted_for_whoever_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though another thread reads them: the spans of the chunks, and not the pages around them."""
    from nwidth.stores import open_store
    from tests.runs.studies import add_run

    monkeypatch.setattr(fetching, "DIRECT_ARRAY_BYTES", 0)
    monkeypatch.setattr(disks, "reads", Devices())
    add_run(tmp_path / "store", "alpha", {"T": VALUES})
    reference = open_store(tmp_path / "store").reference()
    array = reference.array("fields/T")
    out = np.empty(SHAPE, np.float32)
    with counting() as fetched:
        reference.read_block("fields/T", (slice(0, 40), slice(0, 3000)), out=out)
    np.testing.assert_array_equal(out, VALUES)
    assert 0.9 * array.nbytes_stored() <= fetched.total <= array.nbytes_stored()


def test_a_slow_device_is_left_to_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged by what all threads together transfer while any does, after enough bytes, and no other device with it."""
    clock = [0.0]
    monkeypatch.setattr("nwidth.disks.time.perf_counter", lambda: clock[0])

    def transfer(devices: Devices, device: int, nbytes: int, seconds: float) -> None:
        with devices.busy(device, nbytes):
            clock[0] += seconds

    devices = Devices()
    transfer(devices, 1, JUDGED_BYTES // 2, 60.0)
    assert devices.fit(1)  # too early to say
    transfer(devices, 1, JUDGED_BYTES // 2, 0.0)
    assert not devices.fit(1)
    transfer(devices, 2, 4 * JUDGED_BYTES, 3 * JUDGED_BYTES / SLOWEST)
    assert devices.fit(2)
    with devices.busy(3, JUDGED_BYTES):  # eight threads, each at a fifth of the limit
        for _ in range(7):
            with devices.busy(3, JUDGED_BYTES):
                pass
        clock[0] += 5 * JUDGED_BYTES / SLOWEST
    assert devices.fit(3)


def test_memory_that_begins_with_a_page() -> None:
    """Of any length."""
    for nbytes in (1, 4096, 10_000):
        found = page_aligned((nbytes,), np.uint8)
        assert found.nbytes == nbytes
        assert found.ctypes.data % PAGE_BYTES == 0


def selections_of(array: Any, width: int) -> list[Any]:
    return list(panels(array, width))


@needs_direct_reads
@pytest.mark.parametrize("width", [250, 700])
def test_a_sequence_of_blocks_is_read_ahead(array: Any, direct: list[int], width: int) -> None:
    """Each block has its values; the first chunks of the next one come while this one is reduced; each byte is read once."""
    wanted, alone, reads = selections_of(array, width), [], []
    for selection in wanted:
        with counting() as count:
            assert read_direct(array, selection, np.empty(block_shape(selection), np.float32))
        alone.append(count.total)
        reads.append(len(direct))
    direct.clear()

    def leaf(place: int) -> int:
        selection, out = wanted[place], np.empty(block_shape(wanted[place]), np.float32)
        with counting() as count:
            assert read_direct(array, selection, out, Coming(wanted[place + 1 :], 3))
        np.testing.assert_array_equal(out, VALUES[selection])
        if place + 1 < len(wanted):
            wait_until(lambda: len(direct) > reads[place])
        return int(count.total)

    counted = list(in_sequence(leaf, range(len(wanted))))
    assert sum(counted) == sum(alone)
    if width == 250:  # whole chunks: what was read ahead counts for the block that it belongs to
        assert counted == alone


@needs_direct_reads
def test_a_stream_is_not_used_for_anything_else(array: Any, direct: list[int]) -> None:
    """A selection that was not announced, and a block that was left unfinished, are read for themselves, and rightly."""
    wanted = selections_of(array, 250)

    def leaf(place: int) -> None:
        out = np.empty(block_shape(wanted[place]), np.float32)
        assert read_direct(array, wanted[place], out, Coming(wanted[place + 1 :], 3))
        np.testing.assert_array_equal(out, VALUES[wanted[place]])
        if place == 3:
            everything = np.empty(SHAPE, np.float32)
            assert read_direct(array, (slice(0, 40), slice(0, 3000)), everything)
            np.testing.assert_array_equal(everything, VALUES)

    list(in_sequence(leaf, [0, 1, 3, 2, 4, 5]))  # 2 was to come after 1


@needs_direct_reads
def test_a_damaged_chunk_in_a_stream_spoils_no_other_block(array: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block that has it is left to Zarr in the middle; what was fetched of it is never taken for the next one's."""
    from nwidth.stores import direct as module

    wanted, real, calls = selections_of(array, 250), module._decompress, []

    def failing(fetched: Any, target: Any) -> None:
        calls.append(1)
        if len(calls) == 7:  # the second of the second block's five chunks
            raise NotDirectError
        real(fetched, target)

    monkeypatch.setattr(module, "_decompress", failing)

    def leaf(place: int) -> bool:
        out = np.empty(block_shape(wanted[place]), np.float32)
        done = read_direct(array, wanted[place], out, Coming(wanted[place + 1 :], 3))
        if done:
            np.testing.assert_array_equal(out, VALUES[wanted[place]])
        return done

    assert list(in_sequence(leaf, range(5))) == [True, False, True, True, True]


@needs_direct_reads
def test_threads_that_share_blocks_all_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each announces no more blocks than it gets, and every block but a thread's first comes from its stream."""
    from nwidth.sources import StoreReader
    from nwidth.stores import ahead as module
    from nwidth.stores import open_store
    from nwidth_graphs.layout import panels as panels_of
    from nwidth_graphs.source import FieldSource
    from nwidth_graphs.threads import reduce_on_threads
    from nwidth_graphs.trees import Tree, build
    from tests.runs.studies import add_run

    monkeypatch.setattr(fetching, "DIRECT_ARRAY_BYTES", 0)
    monkeypatch.setattr(disks, "reads", Devices())
    answers: list[bool] = []
    expects = module.Stream.expects

    def noting(self: Any, key: Any) -> bool:
        answers.append(expects(self, key))
        return answers[-1]

    monkeypatch.setattr(module.Stream, "expects", noting)
    add_run(tmp_path / "store", "alpha", {"T": VALUES})
    reader = StoreReader(open_store(tmp_path / "store").reference(), "T", ((0, 40),), ahead=1)
    cut = panels_of((SHAPE[1],), (50,))
    source = FieldSource("T", cut, 40, 4, read=reader)
    blocks_of: dict[int, list[int]] = {}
    together = threading.Barrier(3)

    def leaf(panel: Any, source: Any) -> list[float]:
        mine = blocks_of.setdefault(threading.get_ident(), [])
        mine.append(panel.index)
        if len(mine) in (1, 10):
            together.wait(10)
        values = source.read(panel).values
        np.testing.assert_array_equal(values, VALUES[:, panel.selection[0]].T)
        return [float(values[0, 0])]

    tree = Tree("read", "T", leaf, cut, lambda parts: sum(parts[1:], parts[0]), lambda found, source: found, {"source": source})
    found = reduce_on_threads(build([tree], "token"), 3)
    assert found["read-T"] == [float(value) for value in VALUES[0, ::50]]
    assert sorted(block for blocks in blocks_of.values() for block in blocks) == list(range(60))
    assert answers == [True] * 57


def block_shape(selection: Any) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in selection)


def wait_until(ready: Any) -> None:
    """Whatever the reader's thread does, it does soon."""
    for _ in range(1000):
        if ready():
            return
        time.sleep(0.002)
    raise AssertionError("nothing was read ahead")
