"""The benchmarks at a tiny size: they run, every line is there, and the answers agree. Nothing is timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.data import Matrix
from tests.benchmarks.methods import METHODS
from tests.benchmarks.runner import Record, data_of, run_case
from tests.benchmarks.scoring import score
from tests.benchmarks.suites import Case, cases
from tests.benchmarks.table import COLUMNS, case_table

EPS = {"float32": float(np.finfo(np.float32).eps), "float64": float(np.finfo(np.float64).eps)}


def test_data_have_the_spectrum_they_claim() -> None:
    """The generated matrix has the singular values and right vectors that answers are compared with."""
    matrix = Matrix(500, 12, "float64", 1e-6)
    left, values, right = np.linalg.svd(matrix.snapshot_rows().T, full_matrices=False)
    np.testing.assert_allclose(values, matrix.singular_values, rtol=0, atol=10 * 500 * EPS["float64"] * values[0])
    overlaps = np.abs(np.sum(right.T * matrix.right_vectors, axis=0))
    np.testing.assert_allclose(overlaps, 1.0, atol=1e-6)
    np.testing.assert_allclose(np.abs(matrix.overlaps(left[:, 2])[2]), 1.0, atol=1e-6)


def test_scoring_sees_errors_of_known_size() -> None:
    """Values off by 1e-3, a mode that is missed and modes that are not orthonormal each show with their size."""
    matrix = Matrix(500, 12, "float64", 1e-3)
    exact = matrix.singular_values
    modes = np.linalg.svd(matrix.snapshot_rows().T, full_matrices=False)[0].T
    good = score(matrix, 3, exact, modes)
    assert good.excess is not None
    assert good.defect is not None
    assert max(good.singular_values, good.all_values, abs(good.excess), good.defect) < 1e-9
    assert score(matrix, 3, exact * (1 + 1e-3), modes).singular_values == pytest.approx(1e-3)
    missed = score(matrix, 3, exact, modes[[0, 1, 3]])
    tail = np.sum(exact[3:] ** 2)
    assert missed.excess == pytest.approx(np.sqrt((tail + exact[2] ** 2 - exact[3] ** 2) / tail) - 1)
    assert score(matrix, 3, exact, modes * 1.01).defect == pytest.approx(1.01**2 - 1)


@pytest.mark.parametrize("on_store", [True, False])
def test_data_are_made_once_and_whole(on_store: bool, tmp_path: Path) -> None:
    """Data that lie in a folder are taken as they are; what an interrupted call left there is made anew."""
    case = Case("kept", Matrix(64, 8, "float32"), (), on_store=on_store)
    begun = tmp_path / "begun.zarr"
    begun.mkdir()
    (begun / "left").touch()
    said: list[str] = []
    places = [Path(data_of(case, tmp_path, said.append)) for _ in range(2)]
    assert places[0] == places[1]
    assert len(said) == 1
    assert begun.exists() != on_store
    if on_store:
        assert not (places[0] / "left").exists()
    else:
        np.testing.assert_array_equal(np.load(places[0]), case.matrix.snapshot_rows())


def test_every_method_of_every_suite_exists() -> None:
    """No suite names a method that nobody wrote."""
    named = {method for scale in ("tiny", "small", "full") for case in cases("all", scale) for method in case.methods}
    assert named <= set(METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["in-memory", "out-of-core"])
def test_tiny_suite(suite: str, tmp_path: Path) -> None:
    """Every method of the tiny suites runs in a process of its own, is measured, and gives the leading values and modes.

    Values are right to the rounding of the data, modes miss nothing that rank-k modes can catch, and ours fetch every stored
    byte exactly once in each of two passes.
    """
    for case in cases(suite, "tiny"):
        floor, records = run_case(case, tmp_path, print)
        assert [record.method for record in records] == list(case.methods)
        table = case_table(case, floor, records)
        for record in records:
            assert record.outcome == "done", record
            assert record.method in table
            assert record.seconds is not None
            assert record.peak_bytes is not None
            assert record.peak_bytes >= (record.peak_process_bytes or 0) // 2 > 0
            _check_answer(record, case.matrix, case.rank)
            if record.counted_bytes is not None:
                assert record.counted_bytes == 2 * floor.stored_bytes
                assert record.spilled_bytes == 0
        assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1, COLUMNS


def _check_answer(record: Record, matrix: Matrix, rank: int) -> None:
    exact = matrix.singular_values
    # A perturbation of relative size eps sqrt(n m) of X moves every singular value by that times s_1, absolutely.
    rounding = EPS[matrix.dtype] * np.sqrt(matrix.unknowns * matrix.snapshots) * exact[0] / exact[rank - 1]
    assert record.singular_values is not None
    assert record.singular_values <= rounding
    assert record.excess is not None
    assert abs(record.excess) <= rounding
