"""What this machine has, and how fast it is: BLAS, rates of a core, cores, memory, disks."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nwidth.doctor.checks import Check

DISK_BYTES = 32 * 2**20
SLOW_DISK = 50e6
"""Bytes per second below which a run waits for its disk most of the time."""
SMALL_MEMORY = 2 * 2**30
LITTLE_ROOM = 2**30
SLOW_SHARE = 1 / 3
"""Of the rates that plans predict with: a core that is slower than this makes predicted seconds useless."""
TRIES = 3


def check_blas() -> Check:
    """Which library multiplies matrices, and on how many threads."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    pools = [pool for pool in threadpool_info() if pool.get("user_api") == "blas"]
    if not pools:
        return Check("blas", "warn", "no BLAS library was recognised", "install NumPy from a wheel: it brings OpenBLAS")
    found = "; ".join(f"{pool['internal_api']} {pool.get('version') or ''}, {pool['num_threads']} threads" for pool in pools)
    return Check("blas", "ok", f"{found} (workers set one thread per task)")


def check_rates() -> Check:
    """What one core decodes and multiplies in a second, beside what plans predict with."""
    from nwidth.stages.route import DECODED_BYTES_PER_SECOND, FLOPS_PER_SECOND

    decoded, flops = decoding_rate(), multiplying_rate()
    found = (
        f"one core decodes {decoded / 1e9:.2g} GB/s and multiplies {flops / 1e9:.3g} Gflop/s; plans count on "
        f"{DECODED_BYTES_PER_SECOND / 1e9:.2g} GB/s and {FLOPS_PER_SECOND / 1e9:.3g} Gflop/s"
    )
    if decoded < SLOW_SHARE * DECODED_BYTES_PER_SECOND or flops < SLOW_SHARE * FLOPS_PER_SECOND:
        return Check("rates", "warn", found, "expect longer runs than predicted; see whether others compute on these cores, too")
    return Check("rates", "ok", found)


def decoding_rate(n_bytes: int = 2**24) -> float:
    """Decoded bytes per second of one thread, of a smooth float32 field in the store's own codec."""
    import numpy as np
    from numcodecs import blosc

    rng = np.random.default_rng(0)
    values = np.cumsum(rng.standard_normal(n_bytes // 4), dtype=np.float32)
    threads = blosc.set_nthreads(1)
    try:
        encoded = blosc.Blosc(cname="zstd", clevel=3, shuffle=blosc.SHUFFLE).encode(values)
        return values.nbytes / _fastest(lambda: blosc.decompress(encoded))
    finally:
        blosc.set_nthreads(threads)


def multiplying_rate(rows: int = 4096, columns: int = 384) -> float:
    """Floating-point operations per second of one core, in the Gram matrix of a float64 block (counted as a full product)."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    block = np.random.default_rng(0).standard_normal((rows, columns))
    with threadpool_limits(1):
        return 2.0 * rows * columns**2 / _fastest(lambda: block.T @ block)


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some tries: others who use the machine only make it slower."""
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def check_cores() -> Check:
    """Cores that this process may use, and the share that a container allows."""
    usable, there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, os.cpu_count() or 1
    quota = cgroup_cores()
    found = f"{usable} of {there} usable" + (f", limited to {quota:g} by the container" if quota is not None else "")
    if quota is not None and quota < usable:
        return Check("cores", "warn", found, f"set workers.count to {max(1, int(quota))}: more workers only wait for each other")
    return Check("cores", "ok", found)


def cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores that the control group allows (version 2), or None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def cgroup_memory(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that the control group allows (version 2, then 1), or None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (root / name).read_text(encoding="ascii").strip()
            # Version 1 writes "no limit" as a number close to 2^63.
            return int(text) if text != "max" and int(text) < 2**60 else None
        except (OSError, ValueError):
            continue
    return None


def check_memory() -> Check:
    """Memory that is free, and the limit of the container."""
    import psutil  # type: ignore[import-untyped]

    memory, limit = psutil.virtual_memory(), cgroup_memory()
    found = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if limit is not None:
        found += f", limited to {limit / 2**30:.1f} GiB by the container"
    usable = min(memory.available, limit or memory.available)
    if usable < SMALL_MEMORY:
        return Check("memory", "warn", found, "set workers.memory so that all workers together stay below what is free")
    return Check("memory", "ok", found)


def check_disk(folder: Path, name: str = "disk") -> Check:
    """Speed of writing 32 MiB to `folder`, through to the disk, and of reading them from there; the room that is left."""
    try:
        written, read = disk_rates(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Check(
                name, "fail", f"{folder} is full: {DISK_BYTES >> 20} MiB find no room", "make room, or work in another folder"
            )
        return Check(name, "fail", f"{folder} cannot be written: {error.strerror}", "work in another folder, or make room")
    free = shutil.disk_usage(folder).free
    found = f"{folder}: writes {written / 1e6:.0f} MB/s, reads {read / 1e6:.0f} MB/s, {free / 1e9:.3g} GB free"
    if free < LITTLE_ROOM:
        return Check(name, "warn", found, "make room before a run needs it, or work in another folder")
    if min(written, read) < SLOW_DISK:
        return Check(name, "warn", found, "put stores and runs on a faster disk: reading will be slow as well")
    return Check(name, "ok", found)


def disk_rates(folder: Path, n_bytes: int = DISK_BYTES) -> tuple[float, float]:
    """(written, read) bytes per second of a temporary file in `folder`: through to the disk, and from it, not from memory.

    Raises
    ------
    OSError
        The file cannot be written whole.
    """
    block = os.urandom(2**20)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".nwidth-doctor-") as file:
        start = time.perf_counter()
        for _ in range(n_bytes // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = n_bytes / (time.perf_counter() - start)
        forget(file.fileno())
        file.seek(0)
        start = time.perf_counter()
        while file.read(len(block)):
            pass
        return written, n_bytes / (time.perf_counter() - start)


def forget(descriptor: int) -> None:
    """Have the system drop what it holds in memory of a file, so that the next read comes from the disk; where it can."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
