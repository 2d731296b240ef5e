"""The measurement of online steps runs, at a tiny size."""

from __future__ import annotations

from tests.cube.online import measure, table


def test_the_measurement_of_online_steps_runs() -> None:
    """A coarse cube is solved, reduced and solved again to a few per mille, and its line of the table is complete."""
    row = measure(3, draws=2)
    assert (row.unknowns, row.full_points) == (192, 216)
    assert row.points < 80
    assert row.error < 5e-3
    assert row.batch_seconds > 0
    assert table([row]).splitlines()[2].startswith("| 3 | 192 | 216 | ")
