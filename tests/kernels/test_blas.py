"""Products in place: whatever order a panel has in memory, the threads that they leave free, and where they are found."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nwidth_graphs.kernels import blas

Floats = NDArray[np.float64]
pytestmark = pytest.mark.usefixtures("native_library")
RANDOM = np.random.default_rng(0)
VALUES = RANDOM.standard_normal((40, 7))


def panels() -> dict[str, Floats]:
    """The same numbers, by rows, by columns, as parts of something larger, and scattered."""
    rows, columns = np.zeros((40, 20)), np.zeros((100, 7), order="F")
    scattered = np.zeros((80, 14))
    rows[:, 5:12], columns[30:70], scattered[::2, ::2] = VALUES, VALUES, VALUES
    return {
        "rows": np.ascontiguousarray(VALUES),
        "columns": np.asfortranarray(VALUES),
        "part of rows": rows[:, 5:12],
        "part of columns": columns[30:70],
        "scattered": scattered[::2, ::2],
    }


@pytest.mark.parametrize("order", panels())
def test_a_gram_matrix_is_added_in_place(order: str) -> None:
    """The lower triangle grows by ``X^T X``, in the memory that was given, and the panel is left alone."""
    panel, total = panels()[order], np.asfortranarray(np.ones((7, 7)))
    added = blas.add_gram(panel, total)
    assert added is total or np.shares_memory(added, total)
    np.testing.assert_allclose(np.tril(added), np.tril(1.0 + VALUES.T @ VALUES), rtol=1e-13)
    np.testing.assert_array_equal(panel, VALUES)


@pytest.mark.parametrize("shape", [(0, 7), (1, 7), (5, 1), (1, 1)])
def test_thin_panels(shape: tuple[int, int]) -> None:
    """No rows, one row, one snapshot."""
    panel = VALUES[: shape[0], : shape[1]]
    added = blas.add_gram(panel, np.zeros((shape[1], shape[1]), order="F"))
    np.testing.assert_allclose(np.tril(added), np.tril(panel.T @ panel), rtol=1e-13)


@pytest.mark.parametrize("order", panels())
def test_a_triangle_is_solved_from_the_right(order: str) -> None:
    """``(X R^-1) R = X``, and the panel is left alone."""
    factor = np.triu(RANDOM.standard_normal((7, 7))) + 5.0 * np.eye(7)
    panel = panels()[order]
    np.testing.assert_allclose(blas.solve_right(panel, factor) @ factor, VALUES, atol=1e-13)
    np.testing.assert_array_equal(panel, VALUES)


def test_other_threads_go_on() -> None:
    """A product by address leaves the interpreter to other threads: one that only counts is never shut out for long."""
    panel, total = np.asfortranarray(RANDOM.standard_normal((60_000, 300))), np.zeros((300, 300), order="F")
    done, longest = threading.Event(), 0.0

    def work() -> None:
        with threadpool_limits(1):
            started = time.perf_counter()
            for _ in range(3):
                blas.add_gram(panel, total)
            taken.append((time.perf_counter() - started) / 3)
        done.set()

    taken: list[float] = []
    worker = threading.Thread(target=work)
    worker.start()
    last, gaps = time.perf_counter(), []
    while not done.is_set():
        time.sleep(0.0005)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
    worker.join()
    longest = float(np.median(gaps))
    # Held, this thread would wake once for each product.
    assert len(gaps) > 6
    assert longest < taken[0] / 2
