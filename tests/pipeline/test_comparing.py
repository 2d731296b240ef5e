"""The comparison of routes: arithmetic on shapes, a reason for every route that cannot be taken, and a choice that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.config import ReduceSection
from nwidth.errors import FieldError, PlanError
from nwidth.problems.comparing import Candidate, FieldLayout, choose, compare_routes
from nwidth.problems.cutting import MAX_READS, Memory
from nwidth.runs import plan
from nwidth_graphs.layout import groups, panel_reads, panels
from tests.runs.studies import add_run, snapshots_of, study_of

GIB = 2**30


def field(n: int, m: int, chunks: tuple[int, int], itemsize: int = 4) -> FieldLayout:
    """A field of a store over one space dimension."""
    return FieldLayout("u", (m, n), itemsize, chunks)


def compared(layout: FieldLayout, memory: int = 2 * GIB, **request: Any) -> tuple[dict[str, Candidate], str]:
    """Route -> candidate, and what is chosen."""
    asked = ReduceSection(**request)
    candidates = compare_routes([layout], asked, Memory(memory))
    chosen, _ = choose(candidates, [layout], asked)
    return {candidate.cost.route: candidate for candidate in candidates}, chosen.cost.route


@pytest.mark.parametrize(
    ("shape", "request_", "route"),
    [
        ((10**6, 200), {"rtol": 1e-3}, "gram"),
        ((10**6, 200), {"rtol": 1e-9}, "tsqr"),
        ((500, 10**5), {"rtol": 1e-3}, "wide"),
        ((500, 10**5), {"rtol": 1e-9}, "wide"),
        ((10**6, 3000), {"rank": 20}, "sketch"),
        ((10**6, 3000), {"rank": 2000}, "gram"),
    ],
)
def test_auto_follows_the_shape(shape: tuple[int, int], request_: dict[str, Any], route: str) -> None:
    """Tall: Gram or, for small tolerances, TSQR; wide and short: the transpose; many snapshots and few modes: samples."""
    n, m = shape
    assert compared(field(n, m, (m if n > m else 1000, 2000 if n > m else n)), memory=8 * GIB, **request_)[1] == route


def test_what_does_not_fit_gives_way() -> None:
    """Where the m x m factor does not fit, another route is taken; where none fits, the refusal says how much memory would."""
    candidates, chosen = compared(field(200_000, 20_000, (50, 200_000)), rtol=1e-2)
    assert not candidates["gram"].cost.feasible
    assert "workers.memory to at least" in candidates["gram"].cost.why_not
    assert chosen in ("hapod", "sketch")
    with pytest.raises(PlanError, match=r"workers\.memory to at least \d+ MiB"):
        compared(field(200_000, 20_000, (50, 200_000)), memory=2**27, rtol=1e-2)


def test_snapshot_major_stores_cost_more_reads_by_panels_and_none_by_groups() -> None:
    """Chunks of whole snapshots: panels cut through them and the plan counts it; groups of snapshots read each once per pass."""
    candidates, _ = compared(field(10**6, 300, (1, 10**6)), rtol=1e-3)
    gram, tree = candidates["gram"], candidates["hapod"]
    blocks = len(gram.cuts["u"].panels)
    assert blocks > 2
    assert gram.cost.reads == pytest.approx(2 * blocks)
    assert tree.grouping is not None
    assert tree.grouping.whole
    assert tree.cost.reads == 2.0
    assert gram.cost.reads <= 2 * MAX_READS


@pytest.mark.parametrize(
    ("snapshots", "chunk", "sizes"), [(500, 1, [250, 250]), (600, 32, [320, 280]), (2000, 100, [300] * 6 + [200])]
)
def test_groups_are_as_even_as_whole_chunks_allow(snapshots: int, chunk: int, sizes: list[int]) -> None:
    """What a node takes is decided by the largest group, so none is larger than it must be."""
    candidates, _ = compared(field(60_000, snapshots, (chunk, 60_000)), memory=GIB, rtol=1e-2, tree="incremental")
    grouping = candidates["hapod"].grouping
    assert grouping is not None
    assert grouping.whole
    assert [group.size for group in grouping.groups] == sizes


@pytest.mark.parametrize("n", [100, 97])
@pytest.mark.parametrize("chunk", [7, 10, 200])
@pytest.mark.parametrize("step", [3, 10, 14, 25, 100])
def test_reads_are_counted_exactly(n: int, chunk: int, step: int) -> None:
    """How often a pass decodes the average value: the values of all chunks that each panel touches, over the values there are."""
    touched = 0
    for panel in panels([n], [step]):
        part = panel.selection[0]
        first, last = part.start // chunk, -(-part.stop // chunk)
        touched += min(last * chunk, n) - first * chunk
    assert panel_reads((n,), (step,), (chunk,)) == pytest.approx(touched / n)


def test_groups_cover_the_snapshots() -> None:
    """Ranges follow each other from the first snapshot to the last."""
    parts = groups(10, 4)
    assert [(part.start, part.stop) for part in parts] == [(0, 4), (4, 8), (8, 10)]
    assert [part.index for part in parts] == [0, 1, 2]


def test_the_choice_is_for_a_worker_and_not_for_how_many_there_are() -> None:
    """Predicted seconds fall with the cores and never below what the scheduler takes; the choice is made without them."""
    cost = compared(field(10**6, 200, (200, 2000)), rtol=1e-3)[0]["gram"].cost
    assert cost.seconds(1) > cost.seconds(8) > cost.tasks * 1e-3
    assert cost.core_seconds == cost.seconds(1)


def test_the_plan_shows_all_routes(tmp_path: Path) -> None:
    """Every route with reads, bytes, work, tasks, memory and seconds; those that cannot be taken with the reason."""
    add_run(tmp_path / "store", "alpha", {"T": snapshots_of(2000, 30)})
    made = plan(study_of(tmp_path, tmp_path / "store", reduce={"rank": 5})).as_dict()
    routes = {cost["route"]: cost for cost in made["comparison"]}
    assert set(routes) == {"gram", "tsqr", "wide", "hapod", "sketch", "nystrom"}
    assert "set rtol" in routes["hapod"]["why_not"]
    assert routes["gram"]["feasible"]
    assert routes["gram"]["bytes_to_read"] == made["bytes_to_read"]
    assert routes["nystrom"]["reads"] == 1


@pytest.mark.parametrize("route", ["gram", "tsqr", "wide"])
def test_large_numbers(route: Any) -> None:
    """float32 up to 1e30, whose squares overflow float32, are reduced; float64 of 1e200, whose squares overflow, are refused."""
    values = snapshots_of(40, 12).astype(np.float32)
    scaled = values * np.float32(1e30 / np.abs(values).max())
    small, large = (nw.pod(array, rtol=1e-3, route=route) for array in (values, scaled))
    assert small.rank == large.rank
    assert large.certificate.frobenius_error == pytest.approx(small.certificate.frobenius_error, rel=1e-3)
    with pytest.raises(FieldError, match="squares overflow; rescale it"):
        nw.pod(np.full((12, 40), 1e200), rtol=1e-3, route=route)
