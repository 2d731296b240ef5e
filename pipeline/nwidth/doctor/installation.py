"""Whether what is installed works: Python, packages, extras, rendering, GPU, readers, and a small cluster of this machine.

What may crash or hang runs in a process of its own with a time limit.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nwidth.doctor.checks import Check

RENDER_SECONDS = 60.0
CLUSTER_SECONDS = 60.0


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


# Distribution, what it is for, the extra that brings it.
EXTRAS = (
    ("pyvista", "VTK, XDMF, EnSight, OpenFOAM, Exodus files; pictures of modes", "mesh"),
    ("netCDF4", "NetCDF files", "netcdf"),
    ("h5py", "HDF5 files", "netcdf"),
    ("virtualizarr", "NetCDF and HDF5 by reference", "virtual"),
    ("scikit-fem", "the demo's finite elements", "demo"),
    ("prometheus-client", "metrics of runs and workers", "metrics"),
    ("opentelemetry-sdk", "spans of runs and passes", "telemetry"),
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
