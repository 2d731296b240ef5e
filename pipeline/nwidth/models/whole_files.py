"""Files of plain numbers, written whole or not at all, and past the system's cache where the disk keeps up.

Through the cache, gigabytes of modes cost their copying, a tenth of the processor time of a whole run over 256 snapshots, and the
memory that reading would have used. A direct write costs a wait, which is short on a disk of today. On a slow disk, or across
a network, the wait would be long and the cache, which writes behind, serves better: so the first direct writes of a process to a
device are timed, and where they are slow, or refused, all others go through the cache.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# What direct writes are aligned to, in memory and on disk.
PAGE_BYTES = 4096
# Smaller files would mostly wait.
DIRECT_BYTES = 2**20
# Bytes per second of one thread below which the cache is the better way: copying into it runs at about a GiB per second.
SLOWEST = 2**29
# Bytes after which a device is judged.
JUDGED_BYTES = 2**25
_CRC_BYTES = 2**18
_REFUSED = {errno.EINVAL, errno.EOPNOTSUPP}


class Devices:
    """What this process knows of direct writes to each device."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, float]] = {}
        self._unfit: set[int] = set()

    def fit(self, device: int) -> bool:
        """Whether direct writes to a device pay, as far as is known."""
        return device not in self._unfit

    def tell(self, device: int, nbytes: int, seconds: float) -> None:
        """What one write took."""
        before_bytes, before_seconds = self._told.get(device, (0, 0.0))
        told, taken = before_bytes + nbytes, before_seconds + seconds
        self._told[device] = (told, taken)
        if told >= JUDGED_BYTES and told < SLOWEST * taken:
            self._unfit.add(device)

    def refuse(self, device: int) -> None:
        """The file system has no direct writes."""
        self._unfit.add(device)


_devices = Devices()


def write_whole(file: Path, values: NDArray[np.float64], *, direct: bool = False) -> str:
    """Write one chunk whole or not at all, as Zarr's default codec has it (little-endian, C order); give its CRC-32C.

    `direct` is for files that nobody reads soon: past the cache, where that can be done and pays.

    Raises
    ------
    OSError
        As the system says it; the file is then as it was.
    """
    content = np.ascontiguousarray(values, "<f8").reshape(-1).view(np.uint8)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    if not (direct and _written_directly(partial, content)):
        with partial.open("wb", buffering=0) as stream:
            _write_all(stream.fileno(), content)
    os.replace(partial, file)
    return crc_of(content)


def read_whole(file: Path, out: NDArray[np.float64]) -> None:
    """Fill `out`, in C order, with a file of as many bytes.

    Raises
    ------
    OSError
        It is not there, or not as long.
    """
    rest = memoryview(out).cast("B")
    with file.open("rb", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size != out.nbytes:
            raise OSError(errno.EIO, f"{file} does not hold {out.nbytes} bytes")
        while rest:
            count = stream.readinto(rest)
            if not count:
                raise OSError(errno.EIO, f"{file} became shorter")
            rest = rest[count:]


def _written_directly(partial: Path, content: NDArray[np.uint8]) -> bool:
    flag = getattr(os, "O_DIRECT", 0)
    if not flag or content.nbytes < DIRECT_BYTES or content.nbytes % PAGE_BYTES or content.ctypes.data % PAGE_BYTES:
        return False
    device = partial.parent.stat().st_dev
    if not _devices.fit(device):
        return False
    started = time.perf_counter()
    try:
        descriptor = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | flag, 0o666)
        try:
            _write_all(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        _devices.refuse(device)
        return False
    _devices.tell(device, content.nbytes, time.perf_counter() - started)
    return True


def _write_all(descriptor: int, content: NDArray[np.uint8]) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def crc_of_file(file: Path) -> str:
    """CRC-32C of a file; "0" for one that is not there, or empty."""
    try:
        return crc_of(np.memmap(file, np.uint8, "r"))
    except (FileNotFoundError, ValueError):  # an empty file, which a power cut may leave, cannot be mapped
        return "0"


def crc_of(content: NDArray[np.uint8]) -> str:
    """CRC-32C, in pieces."""
    from google_crc32c import extend

    total = 0
    for start in range(0, len(content), _CRC_BYTES):
        total = extend(total, content[start : start + _CRC_BYTES].tobytes())
    return f"{total:08x}"
