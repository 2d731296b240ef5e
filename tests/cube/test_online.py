"""The measurement of online steps runs, at a tiny size."""

from __future__ import annotations

from tests.cube.online import measure, table


def test_the_measurement_of_online_steps_runs() -> None:
    """A coarse cube is solved, reduced and solved again to a few per mille, on two meshes."""
    row = measure(3, draws=2)
    assert (row.unknowns, row.full_points) == (192, 216)
    assert row.points < 80
    assert row.error < 5e-3
    assert row.batch_seconds > 0
    finer = measure(6, draws=2)
    assert (finer.unknowns, finer.full_points) == (1029, 1728)
    assert finer.full_seconds > row.full_seconds
    assert finer.error < 5e-3
    lines = table([row, finer]).splitlines()
    assert lines[2].startswith("| 3 | 192 | 216 | ")
    assert lines[3].startswith("| 6 | 1029 | 1728 | ")
