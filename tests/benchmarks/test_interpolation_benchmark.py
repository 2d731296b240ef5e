"""The benchmark of interpolation points at a tiny size: it runs, and its answers are those it claims. Nothing is timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nwidth_graphs.kernels.interpolation import amplification, qdeim
from tests.benchmarks.interpolation import BASES, main, measure, orthonormal_modes, table


@pytest.mark.parametrize("kind", BASES)
def test_points_of_every_basis_are_measured(kind: str) -> None:
    """Bases are orthonormal; the exact rounds amplify as Q-DEIM does, the tournament less than the bound."""
    values = orthonormal_modes(kind, 3000, 8)
    np.testing.assert_allclose(values @ values.T, np.eye(8), atol=1e-12)
    found = measure(kind, 3000, 8, blocks=5, repeats=1)
    assert found.exact_amplification == pytest.approx(amplification(values.T, qdeim(values.T)), rel=1e-6)
    assert 1.0 <= found.tournament_amplification <= 10.0**found.log10_bound
    assert found.ratio > 0.0
    assert table([found]).count("|") == 21


def test_the_command_writes_records(tmp_path: Path) -> None:
    """One command measures all bases and writes what it found."""
    assert main(["--rows", "2000", "--modes", "6", "--out", str(tmp_path / "found.json")]) == 0
    assert '"ratio"' in (tmp_path / "found.json").read_text()
