"""Peers on a matrix in memory. Each gets the layout that it likes best before the clock starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from tests.benchmarks.job import AbsentError, Answer, Job, Method, Work

Factor = Callable[[Any, Job], Answer]


def need(*packages: str) -> None:
    """Raise `AbsentError` where a peer is not installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise AbsentError(f"{', '.join(missing)} is not installed")


@contextmanager
def on_columns(job: Job, factor: Factor) -> Iterator[Work]:
    """X (n, m) as the transpose of what is stored: column by column, as LAPACK works."""
    matrix = np.load(job.source).T
    yield lambda: factor(matrix, job)


@contextmanager
def on_rows(job: Job, factor: Factor) -> Iterator[Work]:
    """X (n, m) row by row: samples of m features each, as scikit-learn works."""
    matrix = np.ascontiguousarray(np.load(job.source).T)
    yield lambda: factor(matrix, job)


def numpy_svd(matrix: Any, job: Job) -> Answer:
    """`numpy.linalg.svd`: gesdd."""
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return Answer(values, left.T[: job.rank])


def scipy_svd(matrix: Any, job: Job) -> Answer:
    """`scipy.linalg.svd`: gesdd, without a check and with its input overwritten only if it owns it."""
    import scipy.linalg

    left, values, _ = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
    return Answer(values, left.T[: job.rank])


def blas_gram(matrix: Any, job: Job) -> Answer:
    """The method of snapshots in four lines of NumPy, in the type of the data."""
    squares, vectors = np.linalg.eigh(matrix.T @ matrix)
    values = np.sqrt(squares[::-1].clip(0))
    return Answer(values, (matrix @ (vectors[:, ::-1][:, : job.rank] / values[: job.rank])).T)


def sklearn_covariance(matrix: Any, job: Job) -> Answer:
    """`sklearn.decomposition.PCA(svd_solver="covariance_eigh")`: the Gram matrix of the features."""
    need("sklearn")
    from sklearn.decomposition import PCA

    pca = PCA(job.rank, svd_solver="covariance_eigh", copy=False)
    scores = pca.fit_transform(matrix)
    return Answer(pca.singular_values_, (scores / pca.singular_values_).T)


def sklearn_randomized(matrix: Any, job: Job) -> Answer:
    """`sklearn.utils.extmath.randomized_svd` with its default number of power steps."""
    need("sklearn")
    from sklearn.utils.extmath import randomized_svd

    left, values, _ = randomized_svd(matrix, job.rank, random_state=0)
    return Answer(values, left.T)


def pymor_snapshots(matrix: Any, job: Job) -> Answer:
    """pyMOR's `pod(method="method_of_snapshots")`."""
    need("pymor")
    from pymor.algorithms.pod import pod
    from pymor.core.logger import set_log_levels
    from pymor.vectorarrays.numpy import NumpyVectorSpace

    set_log_levels({"pymor": "ERROR"})
    vectors = NumpyVectorSpace.from_numpy(matrix)
    modes, values = pod(vectors, modes=job.rank, method="method_of_snapshots", rtol=0.0, atol=0.0, orth_tol=1e-5)[:2]
    return Answer(values, modes.to_numpy().T)


def xeofs_eof(matrix: Any, job: Job) -> Answer:
    """xeofs' EOF as its timings call it, but for centring, which would be another question."""
    need("xeofs")
    import xarray as xr
    from xeofs.single import EOF

    model = EOF(n_modes=job.rank, center=False, random_state=0)
    coordinates = {"time": np.arange(matrix.shape[1]), "x": np.arange(matrix.shape[0])}
    model.fit(xr.DataArray(matrix.T, dims=("time", "x"), coords=coordinates), dim="time")
    return Answer(model.singular_values().values, model.components(normalized=True).transpose("mode", "x").values)


@contextmanager
def dask_tsqr(job: Job) -> Iterator[Work]:
    """`dask.array.linalg.svd` on threads, BLAS at one thread, two row blocks per thread."""
    need("dask")
    import dask.array as da
    from dask.base import compute
    from threadpoolctl import threadpool_limits

    matrix = np.load(job.source).T
    blocks = da.from_array(matrix, chunks=(-(-matrix.shape[0] // (2 * job.workers)), matrix.shape[1]))

    def work() -> Answer:
        left, values, _ = da.linalg.svd(blocks)
        modes, computed = compute(left[:, : job.rank], values, scheduler="threads", num_workers=job.workers)
        return Answer(computed, modes.T)

    with threadpool_limits(1):
        yield work


METHODS: dict[str, Method] = {
    "numpy svd": partial(on_columns, factor=numpy_svd),
    "scipy svd": partial(on_columns, factor=scipy_svd),
    "numpy Gram": partial(on_columns, factor=blas_gram),
    "sklearn PCA covariance_eigh": partial(on_rows, factor=sklearn_covariance),
    "sklearn randomized_svd": partial(on_columns, factor=sklearn_randomized),
    "pyMOR method of snapshots": partial(on_columns, factor=pymor_snapshots),
    "xeofs EOF in memory": partial(on_columns, factor=xeofs_eof),
    "dask tsqr": dask_tsqr,
}
