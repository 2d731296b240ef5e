"""Files of plain numbers, written whole or not at all, and past the system's cache where that pays (`nwidth.disks`).

Through the cache, gigabytes of modes cost their copying, a tenth of the processor time of a whole run over 256 snapshots, and the
memory that reading would have used.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nwidth import disks
from nwidth_graphs.kernels.memory import PAGE_BYTES

# Smaller files would mostly wait.
DIRECT_BYTES = 2**20
_CRC_BYTES = 2**18
_REFUSED = {errno.EINVAL, errno.EOPNOTSUPP}


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
    if content.nbytes < DIRECT_BYTES or content.nbytes % PAGE_BYTES or content.ctypes.data % PAGE_BYTES:
        return False
    device = partial.parent.stat().st_dev
    if not disks.writes.fit(device):
        return False
    try:
        descriptor = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | disks.DIRECT_FLAG, 0o666)
        try:
            with disks.writes.busy(device, content.nbytes):
                _write_all(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        disks.writes.refuse(device)
        return False
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
