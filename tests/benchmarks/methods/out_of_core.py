"""Peers on a store: Dask's own factorizations on the same cluster as ours, and libraries that load the whole array.

Every method starts from the stored Zarr array and ends with its modes in another one, uncompressed and in the type of the data.
Blocks are columns of whole chunks with all snapshots, 64 MiB or so, as ours are; spilling is allowed, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.job import Answer, Job, Method, Work
from tests.benchmarks.methods import in_memory
from tests.benchmarks.methods.in_memory import Factor, need

Tall = Callable[[Any, Job], tuple[Any, Any]]
"""Dask array (n, m) -> modes (n, k) and singular values, both still lazy, or values already computed."""


@contextmanager
def on_cluster(job: Job, factor: Tall) -> Iterator[Work]:
    """A LocalCluster with one thread and one BLAS thread per worker, as ours."""
    need("dask", "distributed")
    import dask
    import dask.array as da
    from dask.base import compute
    from distributed import Client, LocalCluster

    settings = {"temporary-directory": job.scratch, "distributed.worker.memory.terminate": 0.98}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=job.workers, threads_per_worker=1, memory_limit=job.memory, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(_one_blas_thread)

        def work() -> Answer:
            stored = _stored(job)
            matrix = da.from_zarr(stored, chunks=(stored.shape[0], stored.chunks[1]), inline_array=True).T
            modes, values = factor(matrix, job)
            target = _target(job, stored)
            _, computed = compute(da.store(modes.T.astype(stored.dtype), target, lock=False, compute=False), values)
            return Answer(np.asarray(computed), target, spilled_bytes=_spilled(client))

        yield work


@contextmanager
def loading(job: Job, factor: Factor) -> Iterator[Work]:
    """Read all of the array into the memory of one process, then do as in memory; no limit is set."""

    def work() -> Answer:
        stored = _stored(job)
        answer = factor(stored[...].T, job)
        target = _target(job, stored)
        target[...] = answer.modes
        return Answer(answer.singular_values, target)

    yield work


def tsqr(matrix: Any, job: Job) -> tuple[Any, Any]:
    """`dask.array.linalg.svd`: tall-skinny QR of the row blocks."""
    import dask.array as da

    left, values, _ = da.linalg.svd(matrix)
    return left[:, : job.rank], values[: job.rank]


def compressed(matrix: Any, job: Job, power: int) -> tuple[Any, Any]:
    """`dask.array.linalg.svd_compressed`; QR between power steps where there are several, for without it they lose everything."""
    import dask.array as da

    iterator = "QR" if power > 1 else "power"
    left, values, _ = da.linalg.svd_compressed(matrix, job.rank, n_power_iter=power, iterator=iterator, seed=0)
    return left, values


def gram(matrix: Any, job: Job, dtype: str) -> tuple[Any, Any]:
    """Six lines: ``x.T @ x``, eigh, ``x @ V``."""
    x = matrix.astype(dtype)
    squares, vectors = np.linalg.eigh((x.T @ x).compute())
    values = np.sqrt(squares[::-1].clip(0))
    return x @ (vectors[:, ::-1][:, : job.rank] / values[: job.rank]), values[: job.rank]


def xeofs(matrix: Any, job: Job, **solver: Any) -> tuple[Any, Any]:
    """xeofs' EOF, lean: nothing centred, no search for missing values; four power iterations, unless `solver` says otherwise."""
    need("xeofs")
    import dask.array as da
    import xarray as xr
    from xeofs.single import EOF

    model = EOF(n_modes=job.rank, center=False, check_nans=False, random_state=0, solver_kwargs=solver)
    # Without coordinates it fails to find its own dimensions again.
    coordinates = {"time": np.arange(matrix.shape[1]), "x": np.arange(matrix.shape[0])}
    model.fit(xr.DataArray(matrix.T, dims=("time", "x"), coords=coordinates), dim="time")
    components = model.components(normalized=True).transpose("x", "mode").data
    return da.asarray(components), model.singular_values().values


def _stored(job: Job) -> Any:
    import zarr

    return zarr.open_array(str(Path(job.source) / "fields" / "u"), mode="r")


def _target(job: Job, stored: Any) -> Any:
    import zarr

    return zarr.create_array(
        str(Path(job.scratch) / "modes.zarr"),
        shape=(job.rank, stored.shape[1]),
        chunks=(job.rank, stored.chunks[1]),
        dtype=stored.dtype,
        compressors=None,
        overwrite=True,
    )


def _one_blas_thread(dask_worker: Any) -> None:
    # What reading and multiplying need is imported before the clock starts, as in our workers.
    from importlib import import_module

    from threadpoolctl import threadpool_limits

    for module in ("dask.array", "numcodecs.blosc", "zarr"):
        import_module(module)

    dask_worker.benchmark_limits = threadpool_limits(1)


def _spilled(client: Any) -> int:
    return sum(client.run(_spilled_here).values())


def _spilled_here(dask_worker: Any) -> int:
    metrics = getattr(dask_worker.data, "cumulative_metrics", {})
    return int(sum(value for key, value in metrics.items() if key[0] == "disk-write" and key[-1] == "bytes"))


METHODS: dict[str, Method] = {
    "dask Gram": partial(on_cluster, factor=partial(gram, dtype="float32")),
    "dask Gram in float64": partial(on_cluster, factor=partial(gram, dtype="float64")),
    "dask linalg.svd (tsqr)": partial(on_cluster, factor=tsqr),
    **{f"dask svd_compressed q {power}": partial(on_cluster, factor=partial(compressed, power=power)) for power in (0, 1, 2, 4)},
    "xeofs EOF": partial(on_cluster, factor=xeofs),
    "xeofs EOF q 0": partial(on_cluster, factor=partial(xeofs, n_power_iter=0)),
    "load, numpy Gram": partial(loading, factor=in_memory.blas_gram),
    "load, sklearn randomized_svd": partial(loading, factor=in_memory.sklearn_randomized),
    "load, pyMOR method of snapshots": partial(loading, factor=in_memory.pymor_snapshots),
    "load, numpy svd": partial(loading, factor=in_memory.numpy_svd),
}
