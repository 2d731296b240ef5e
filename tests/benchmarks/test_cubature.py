"""The benchmark of cubature at a tiny size: every method runs, and its rule holds. Nothing is timed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.cubature import CHUNKED, IN_MEMORY, TOLERANCE, Outcome, System, solve, systems, table


def test_any_chunk_is_a_part_of_the_matrix() -> None:
    """Integrands made chunk by chunk are those made at once, and they do not cancel to nothing."""
    system = System(3, 5, 200)
    G = system.matrix()
    assert G.shape == (15, 200)
    np.testing.assert_allclose(system.block(50, 120, np.float64).columns(np.arange(70)), G[:, 50:120], rtol=1e-12)
    single = system.block(50, 120).columns(np.arange(70))
    np.testing.assert_allclose(single, G[:, 50:120], atol=1e-4 * np.abs(G).max())


@pytest.mark.parametrize("method", [*IN_MEMORY, *CHUNKED])
def test_every_method_meets_the_tolerance(method: str) -> None:
    """On a hundredth of the points each method finds a rule within the tolerance, as recomputed; a line of the table tells it."""
    system = System(4, 10, 2000)
    found = solve(method, system)
    # Chunks are made in single precision; the error is measured on the same numbers.
    assert found["error"] <= 1.001 * TOLERANCE
    assert found["points"] <= system.rows
    line = table("tiny", system, [Outcome(method, **found)]).splitlines()
    assert method in line[-1]
    assert len({row.count("|") for row in line if row.startswith("|")}) == 1


def test_every_case_names_methods() -> None:
    """The scales have both cases, the full one at the sizes that are promised."""
    full = {name: (system.rows, system.points) for name, (system, _) in systems("full").items()}
    assert full == {"in memory": (2000, 50_000), "chunked": (2000, 2_000_000)}
