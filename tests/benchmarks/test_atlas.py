"""The atlas's benchmarks at a tiny size: every line is there, and peers agree. Nothing is timed."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.atlas import SCALES, bumps, matrices, measure, medoids, table


def test_the_data_are_as_large_as_they_say() -> None:
    """The bumps of a scale have its snapshots and unknowns, in float32, with parameters of their own for each simulation."""
    scale = SCALES["tiny"]
    made = list(bumps(scale))
    assert sum(len(values) for *_, values in made) == scale.snapshots
    assert {values.shape[1] for *_, values in made} == {scale.unknowns}
    assert {str(values.dtype) for *_, values in made} == {"float32"}
    assert len({place for _, place, _, _ in made}) == len(made)


def test_kernels_and_peers_have_their_lines() -> None:
    """Matrices and medoids: a line for ours and for every peer, one that is not installed says so; losses are as good."""
    lines = [*matrices(SCALES["tiny"]), *medoids(SCALES["tiny"])]
    assert all(line.seconds > 0 or line.note == "not installed" for line in lines)
    losses = [float(line.note.removeprefix("loss ")) for line in lines if line.note.startswith("loss")]
    assert max(losses) < 1.05 * min(losses)
    assert len(table(lines).splitlines()) == 2 + len(lines)


@pytest.mark.slow
def test_an_atlas_beside_its_two_passes() -> None:
    """The whole command at a tiny size: a study without an atlas, one with, and one of a finished basis."""
    lines = {line.what: line for line in measure("tiny")}
    assert lines["two passes"].processor > 0
    assert "partitions tried" in lines["with atlas"].note
    assert "x by processors" in lines["with atlas"].note
    assert "peak" in lines["atlas of 400 coefficients (10 modes)"].note
    assert not any(math.isnan(line.seconds) and not line.note for line in lines.values())
