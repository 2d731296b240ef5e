"""Which methods meet which case, at which scale."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.data import Matrix
from tests.benchmarks.job import MIB

FULL_ACCURACY = ("nwidth pod tsqr", "numpy svd", "scipy svd", "dask tsqr")
LEADING = (
    "nwidth pod gram",
    "nwidth pod sketch",
    "numpy Gram",
    "pyMOR method of snapshots",
    "sklearn PCA covariance_eigh",
    "sklearn randomized_svd",
)
ON_STORE = (
    "nwidth run gram",
    "nwidth run gram, one process",
    "nwidth run gram, threads",
    "nwidth run tsqr",
    "nwidth run sketch",
    "nwidth run sketch, one process",
    "nwidth run nystrom",
    "nwidth run nystrom, threads",
    "dask Gram",
    "dask Gram in float64",
    "dask linalg.svd (tsqr)",
    "dask svd_compressed q 0",
    "dask svd_compressed q 1",
    "dask svd_compressed q 2",
    "xeofs EOF",
    "load, numpy Gram",
    "load, sklearn randomized_svd",
    "load, pyMOR method of snapshots",
)
TIMING_GRID = ("nwidth pod auto", "nwidth pod sketch", "xeofs EOF in memory")
DISTRIBUTED_OPINF = (
    "nwidth spectrum",
    "plain NumPy, processes",
    "nwidth run gram",
    "nwidth run gram, threads",
    "dask Gram",
    "load, numpy Gram",
)
MANY_SNAPSHOTS = (
    "nwidth run gram, threads",
    "nwidth run sketch q 4",
    "nwidth run sketch q 4, one process",
    "nwidth run sketch",
    "nwidth run sketch, one process",
    "nwidth run sketch, threads",
    "nwidth run nystrom",
    "nwidth run nystrom, threads",
    "dask svd_compressed q 0",
    "dask svd_compressed q 2",
    "dask svd_compressed q 4",
    "xeofs EOF",
    "xeofs EOF q 0",
)


@dataclass(frozen=True)
class Case:
    """One matrix, where it lies, and who meets it."""

    name: str
    matrix: Matrix
    methods: tuple[str, ...]
    rank: int = 50
    on_store: bool = False
    memory: int = 512 * MIB
    """Bytes of each worker."""
    repeats: int = 1
    limit_seconds: float = 240.0


def cases(suite: str, scale: str) -> tuple[Case, ...]:
    """The cases of a suite (``in-memory``, ``out-of-core`` or ``all``) at a scale (``tiny``, ``small`` or ``full``)."""
    chosen: tuple[Case, ...] = ()
    if suite in ("in-memory", "all"):
        chosen += _in_memory(scale)
    if suite in ("out-of-core", "all"):
        chosen += _out_of_core(scale)
    return chosen


def _in_memory(scale: str) -> tuple[Case, ...]:
    if scale == "tiny":
        methods = ("nwidth pod gram", "nwidth pod tsqr", "numpy svd", "dask tsqr")
        return (Case("in memory, float64", Matrix(4096, 32, "float64", 1e-9), methods, rank=5, repeats=2),)
    unknowns, snapshots = (1_000_000, 256) if scale == "full" else (200_000, 128)
    # Two corners of the grid of xeofs' own timings: (features, samples), two modes, one type.
    corners = ((100_000, 10_000), (100_000, 1_000)) if scale == "full" else ((20_000, 1_000),)
    return (
        *(
            Case(f"in memory, {dtype}", Matrix(unknowns, snapshots, dtype), LEADING + FULL_ACCURACY, repeats=3)
            for dtype in ("float32", "float64")
        ),
        *(
            Case(
                f"xeofs' timings, {samples} samples",
                Matrix(features, samples, "float32", decay="harmonic"),
                TIMING_GRID,
                rank=2,
                limit_seconds=600.0,
            )
            for features, samples in corners
        ),
    )


def _out_of_core(scale: str) -> tuple[Case, ...]:
    if scale == "tiny":
        methods = ("nwidth run gram", "nwidth run sketch", "dask Gram in float64")
        return (Case("out of core", Matrix(2**15, 32, "float32", 1e-5), methods, rank=5, on_store=True),)
    large = Matrix(2**22 if scale == "full" else 2**20, 256, "float32")
    # As many bytes with more snapshots: the products grow, everything that goes with the bytes does not.
    by_snapshots = [Matrix(large.unknowns // times, times * large.snapshots, "float32") for times in (1, 4, 8)]
    # The shape of the published distributed operator inference runs (dOpInf), whose data are not public.
    published = Matrix(292_678 if scale == "full" else 73_000, 600, "float64")
    # The shape of the example in xeofs' documentation (5000 x 720 x 360), space as one axis.
    many = Matrix(259_200, 5_000 if scale == "full" else 500, "float64", decay="harmonic")
    return (
        *(
            Case(f"out of core, {matrix.snapshots} snapshots", matrix, ON_STORE, on_store=True, limit_seconds=600.0)
            for matrix in by_snapshots
        ),
        Case("shape of dOpInf's tables", published, DISTRIBUTED_OPINF, on_store=True, memory=1024 * MIB),
        Case("shape of xeofs' example", many, MANY_SNAPSHOTS, rank=5, on_store=True, memory=3072 * MIB, limit_seconds=600.0),
    )
