"""Threads of BLAS for the small problems between two passes."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nwidth_graphs import cores
from nwidth_graphs.cores import all_cores
from nwidth_graphs.kernels.svd import LARGE


def blas_threads() -> set[int]:
    """Threads that the BLAS libraries of this process are set to."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize(("columns", "threads"), [(LARGE - 1, 1), (LARGE, 2)])
def test_large_problems_take_all_cores(columns: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones keep the single thread of a pass; either way it is as before afterwards."""
    monkeypatch.setattr(cores, "_cores", lambda: 2)
    with threadpool_limits(1):
        with all_cores(columns):
            assert blas_threads() == {threads}
        assert blas_threads() == {1}
