"""The crossover at a tiny size: the host half is measured, what is missing is said, and the formula is the documented one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.crossover import Crossover, draw, measure


def test_it_measures_what_there_is(tmp_path: Path) -> None:
    """Rates are positive, one per number of snapshots, and without a GPU the record says what is missing; a chart is drawn."""
    found = measure(tmp_path, snapshots=(8, 16), block_bytes=2**20)
    assert found.decode > 0
    assert len(found.host_flops) == 2
    assert min(found.host_flops) > 0
    assert bool(found.missing) == (found.copy is None) == (found.device_flops is None)
    draw(found, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1000


def test_the_crossover_is_where_the_products_outweigh_the_way() -> None:
    """With a host of 8 Gflop/s and a copy of 1 GB/s, the products of a byte outweigh its copy from m = 8 x 8 = 64 on."""
    found = Crossover("", (32, 65, 128), 1e9, (8e9,) * 3, 1, "a GPU", 1e9, (1e15,) * 3)
    assert found.pays_from == 65
    assert Crossover("", (32,), 1e9, (8e9,), 1, "a GPU", 1e9, (1e15,)).pays_from is None
    assert Crossover("", (32,), 1e9, (8e9,), 1).pays_from is None
    assert found.host_seconds(128) == pytest.approx(1 + 128 / 8 / 8)
