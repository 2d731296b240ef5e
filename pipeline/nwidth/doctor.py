"""Whether this installation can do its work: versions, extras, rendering, memory, disk, readers and a small cluster.

    diagnose() -> [Check(name, status, found, advice), ...]

Every check is a function that really tries the thing. What may crash or hang runs in a process of its own with a time limit.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warn", "fail"]

RENDER_SECONDS = 60.0
CLUSTER_SECONDS = 60.0
WRITE_BYTES = 32 * 2**20
SLOW_DISK = 50e6
"""Bytes per second below which a run waits for its disk most of the time."""
SMALL_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    name: str
    status: Status
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


def diagnose(folder: str | os.PathLike[str] | None = None) -> list[Check]:
    """Try everything; `folder` is where the speed of writing is measured (the working folder by default).

    Never raises: a check that fails in an unforeseen way is reported as failed, with the error in its words.
    """
    place = Path(folder) if folder is not None else Path.cwd()
    tries: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", lambda: [check_python()]),
        ("packages", check_packages),
        ("blas", lambda: [check_blas()]),
        ("extras", check_extras),
        ("rendering", lambda: [check_rendering()]),
        ("gpu", lambda: [check_gpu()]),
        ("cores", lambda: [check_cores()]),
        ("memory", lambda: [check_memory()]),
        ("disk", lambda: [check_disk(place)]),
        ("readers", check_readers),
        ("cluster", lambda: [check_cluster()]),
    ]
    return [check for name, attempt in tries for check in _guarded(name, attempt)]


def _guarded(name: str, attempt: Callable[[], list[Check]]) -> list[Check]:
    try:
        return attempt()
    except Exception as error:
        # The doctor must not die of the illness: any other failure of a check is its finding.
        return [Check(name, "fail", f"{type(error).__name__}: {error}", "mend this first; other checks may follow from it")]


def check_python() -> Check:
    """Which Python this is; an installer refuses one that is too old."""
    found = f"{platform.python_version()} ({sys.implementation.name}) on {platform.system()} {platform.machine()}"
    return Check("python", "ok", found)


NEEDED = ("numpy", "scipy", "dask", "distributed", "zarr", "xarray", "icechunk", "obstore", "matplotlib", "pydantic")
# (package, version, what it breaks, what to do)
KNOWN_BAD = (
    ("zfpy", "1.0.1.post0", "zarr cannot be imported beside it", 'pip install "zfpy==1.0.1", or remove zfpy'),
    ("icechunk", "2.2.1", "it is a withdrawn release", 'pip install "icechunk>=2.2.2"'),
)


def installed(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_packages() -> list[Check]:
    """All that nwidth needs is there, in versions that work together."""
    versions = {name: installed(name) for name in NEEDED}
    missing = [name for name, number in versions.items() if number is None]
    found = ", ".join(f"{name} {number}" for name, number in versions.items() if number is not None)
    checks = [
        Check("packages", "fail", f"not installed: {', '.join(missing)}", "install nwidth again: pip install nwidth")
        if missing
        else Check("packages", "ok", found)
    ]
    checks += [
        Check(name, "fail", f"{name} {bad}: {harm}", advice) for name, bad, harm, advice in KNOWN_BAD if installed(name) == bad
    ]
    dask, distributed = versions["dask"], versions["distributed"]
    if dask != distributed:
        advice = f'pip install "distributed=={dask}": the two are released together'
        checks.append(Check("dask", "warn", f"dask {dask} beside distributed {distributed}", advice))
    return checks


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


# Distribution, what it is for, the extra that brings it.
EXTRAS = (
    ("pyvista", "VTK, XDMF, EnSight, OpenFOAM, Exodus files; pictures of modes", "mesh"),
    ("netCDF4", "NetCDF files", "netcdf"),
    ("h5py", "HDF5 files", "netcdf"),
    ("virtualizarr", "NetCDF and HDF5 by reference", "virtual"),
    ("scikit-fem", "the demo's finite elements", "demo"),
)


def check_extras() -> list[Check]:
    """Optional packages: there, or how to get them."""
    return [
        Check(package, "ok", number, "")
        if (number := installed(package))
        else Check(package, "warn", f"not installed; it serves {purpose}", f'pip install "nwidth[{extra}]", if that is wanted')
        for package, purpose, extra in EXTRAS
    ]


def check_rendering(timeout: float = RENDER_SECONDS) -> Check:
    """PyVista draws off-screen: tried with one tetrahedron, in the process that reports use."""
    import numpy as np

    from nwidth.mesh import mesh_from_cells
    from nwidth.report.scene import Painting, Scene

    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    with tempfile.TemporaryDirectory(prefix="nwidth-doctor-") as folder:
        scene = Scene(mesh_from_cells(points, [(10, [[0, 1, 2, 3]])]), Path(folder))
        scene.add(Painting(points[:, 0], "point", 0.0, 1.0, "viridis"))
        failure = scene.draw_with_pyvista(timeout)
    if failure is None:
        return Check("rendering", "ok", "PyVista draws off-screen")
    advice = 'pip install "nwidth[mesh]"; on a machine without a display, vtk needs EGL or OSMesa (Debian: libegl1, libosmesa6)'
    return Check("rendering", "warn", f"PyVista does not draw: {failure}; reports fall back to matplotlib", advice)


_TRY_GPU = (
    "import cupy; n = cupy.cuda.runtime.getDeviceCount(); d = cupy.cuda.Device(0); print(n, cupy.ones(3).sum(), d.mem_info[1])"
)


def check_gpu(timeout: float = 60.0) -> Check:
    """CuPy and a device, tried in a process of its own: a broken driver may hang."""
    names = [name for name in ("cupy-cuda12x", "cupy-cuda13x", "cupy") if installed(name)]
    if not names:
        return Check("gpu", "ok", "CuPy is not installed: reductions run on CPUs", "")
    code, output = _python("-c", _TRY_GPU, timeout=timeout)
    if code == 0:
        devices, _, memory = output.split()[-3:]
        return Check(
            "gpu", "ok", f"{devices} device(s), the first with {int(memory) / 2**30:.0f} GiB, {names[0]} {installed(names[0])}"
        )
    advice = "check the driver with nvidia-smi; without a device, uninstall CuPy or ignore this"
    return Check("gpu", "warn", f"CuPy does not work: {_last_line(output)}", advice)


def _python(*arguments: str, timeout: float, folder: Path | None = None) -> tuple[int, str]:
    """(exit code, output) of another process of this interpreter; the code is -9 where the time ran out."""
    try:
        # Our own interpreter and our own program text: nothing here comes from a user.
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-P", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        return -9, f"no answer within {timeout:g} s"
    return done.returncode, done.stdout + done.stderr


def _last_line(output: str) -> str:
    return (output.strip().splitlines() or ["no message"])[-1][:200]


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


def check_disk(folder: Path) -> Check:
    """Speed of writing 32 MiB to `folder`, through to the disk, and the room that is left."""
    import shutil

    block = os.urandom(2**20)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".nwidth-doctor-") as file:
            start = time.perf_counter()
            for _ in range(WRITE_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            speed = WRITE_BYTES / (time.perf_counter() - start)
    except OSError as error:
        return Check("disk", "fail", f"{folder} cannot be written: {error.strerror}", "work in another folder, or make room")
    found = f"{folder}: writes {speed / 1e6:.0f} MB/s, {shutil.disk_usage(folder).free / 1e9:.0f} GB free"
    if speed < SLOW_DISK:
        return Check("disk", "warn", found, "put stores and runs on a faster disk: reading will be slow as well")
    return Check("disk", "ok", found)


def check_readers() -> list[Check]:
    """Reader plug-ins: found, and loadable."""
    from importlib.metadata import entry_points

    from nwidth.readers import BUILT_IN, GROUP, list_readers

    checks = []
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            # A plug-in is anybody's code: whatever it raises is what the user must hear.
            found = f"{point.value} does not load: {type(error).__name__}: {error}"
            checks.append(Check(f"reader {point.name}", "fail", found, "reinstall or remove the package that brings it"))
    if not checks:
        names = list_readers()
        foreign = [name for name in names if name not in BUILT_IN]
        checks.append(Check("readers", "ok", ", ".join(names) + (f" ({len(foreign)} from other packages)" if foreign else "")))
    return checks


_TRY_CLUSTER = """
from distributed import Client, LocalCluster

if __name__ == "__main__":
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, **here) as cluster:
        with Client(cluster) as client:
            answers = client.gather(client.map(abs, range(-8, 0), pure=False), errors="raise")
            assert answers == list(range(8, 0, -1)), answers
            print("workers", len(client.scheduler_info()["workers"]))
"""


def check_cluster(timeout: float = CLUSTER_SECONDS) -> Check:
    """Two local workers come up, answer, and go, in time."""
    with tempfile.TemporaryDirectory(prefix="nwidth-doctor-") as folder:
        # A file, because workers are spawned, and a spawned process imports the main program anew.
        program = Path(folder) / "cluster_round_trip.py"
        program.write_text(_TRY_CLUSTER, encoding="utf-8")
        start = time.perf_counter()
        code, output = _python(str(program), timeout=timeout, folder=Path(folder))
        elapsed = time.perf_counter() - start
    if code == 0 and "workers 2" in output:
        return Check("cluster", "ok", f"2 local workers answered, {elapsed:.1f} s from start to end")
    advice = "loopback connections must be allowed (firewall, sandbox); try: dask scheduler --host 127.0.0.1"
    return Check("cluster", "fail", f"the local cluster did not answer: {_last_line(output)}", advice)
