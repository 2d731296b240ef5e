"""The memory contract: what the plan says of a worker is at least what the kernel measures, and at most twice as much.

Every cell is a run of its own, on workers that did nothing else before: the largest resident size of a process only grows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.runs import plan, run
from nwidth.runs.run import RunResult
from nwidth.stores import arrays
from nwidth.stores.layout import Layout
from tests.clusters import WORKER_BYTES
from tests.oracles.pod import projection_errors
from tests.runs.studies import add_run, snapshots_of, study_of

SHAPES = {"tall": (400_000, 60), "square": (60_000, 500), "many": (40_000, 1200), "more": (20_000, 3000), "wide": (150, 9000)}
ROUTES: dict[str, dict[str, Any]] = {
    "gram": {"route": "gram", "rank": 12},
    "tsqr": {"route": "tsqr", "rank": 12},
    "sketch": {"route": "sketch", "rank": 12},
    "nystrom": {"route": "nystrom", "rank": 12},
    "hapod": {"route": "hapod", "rtol": 1e-2},
    "chain": {"route": "hapod", "rtol": 1e-2, "tree": "incremental"},
    "wide": {"route": "wide", "rank": 12},
}


def own_layout(shape: tuple[int, ...], snapshots: int) -> Layout | None:
    """What the store chooses by itself: both ways, in shards."""
    return None


def by_snapshots(shape: tuple[int, ...], snapshots: int) -> Layout:
    """Whole snapshots in a chunk, a few where these are short."""
    return Layout((max(1, 20_000 // shape[0]), *shape), None, "snapshot-major")


def by_space(shape: tuple[int, ...], snapshots: int) -> Layout:
    """All snapshots of a strip of the space in a chunk."""
    return Layout((snapshots, -(-shape[0] // 20)), None, "space-major")


PEAKS = """
import json, sys
from pathlib import Path
from nwidth.config import load_study
from nwidth.runs import run

result = run(load_study(Path(sys.argv[1])))
print(json.dumps([part["peak_bytes_per_worker"] for part in (result.measured, result.plan)]))
"""
CHUNKS = {"own": own_layout, "snapshots": by_snapshots, "space": by_space}


def write_low_rank(url: Path, n: int, m: int, dtype: Any, chunks: str = "own", **options: Any) -> Any:
    """Ten directions and noise of a hundred-thousandth, not compressed; (m, n)."""
    random = np.random.default_rng(0)
    values = (random.standard_normal((m, 10)) @ random.standard_normal((10, n))).astype(dtype)
    values += 1e-5 * random.standard_normal(values.shape, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        chosen = CHUNKS[chunks]((n,), m)
        if chosen is not None:
            patch.setattr(arrays, "choose_layout", lambda *_, **__: chosen)
        add_run(url, "alpha", {"T": values}, codec="none", **options)
    return values


def check(result: RunResult, limit: int) -> None:
    """Measured <= predicted <= both the limit and twice the measured."""
    predicted, measured = result.plan["peak_bytes_per_worker"], result.measured["peak_bytes_per_worker"]
    told = f"{result.plan['route']}: predicted {predicted / 2**20:.0f} MiB, measured {measured / 2**20:.0f} MiB"
    assert measured <= predicted <= limit, told
    assert predicted <= 2 * measured, told


@pytest.mark.slow
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "route"), [
    *((shape, route) for shape in ("tall", "square") for route in ("gram", "tsqr", "sketch", "nystrom", "hapod", "chain")),
    ("many", "gram"), ("more", "gram"),  # whose Gram matrices grow over strips of panels, and are merged in turn
    ("wide", "wide"), ("wide", "sketch"), ("wide", "hapod"),
])  # fmt: skip
def test_the_matrix(tmp_path: Path, shape: str, route: str, dtype: str, chunks: str) -> None:
    """Routes, shapes, precisions and chunkings: the contract holds in every cell."""
    write_low_rank(tmp_path / "store", *SHAPES[shape], dtype, chunks)
    limit = 2**30
    result = run(study_of(tmp_path, tmp_path / "store", reduce=ROUTES[route], workers={"memory": limit}))
    check(result, limit)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["tall", "square", "many", "more"])
@pytest.mark.parametrize("keep", ["never", "always"])
def test_threads_of_a_process_of_their_own(tmp_path: Path, shape: str, keep: str) -> None:
    """Without workers the process that drives is the one that holds blocks; results that are kept wait for who writes them."""
    write_low_rank(tmp_path / "store", *SHAPES[shape], "float32")
    study = tmp_path / "study.toml"
    study.write_text(
        f'[study]\nname = "s"\nstore = "{tmp_path / "store"}"\nkeep = "{keep}"\n[reduce]\nrank = 12\nroute = "gram"\n'
        '[workers]\nkind = "threads"\nthreads = 2\nmemory = "1 GiB"\n[report]\nenabled = false\n'
    )
    told = subprocess.run([sys.executable, "-c", PEAKS, study], capture_output=True, text=True, check=True).stdout
    measured, predicted = json.loads(told)
    assert measured <= predicted <= min(2**30, 2 * measured), f"{predicted / 2**20:.0f}, {measured / 2**20:.0f} MiB"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_chain_that_carries_nearly_all_is_within_its_plan(tmp_path: Path, dtype: str) -> None:
    """Noise has no low rank: each node of the chain hands on as many modes as it has columns."""
    n, m = SHAPES["square"]
    values = np.random.default_rng(0).standard_normal((m, n), dtype=np.float32).astype(dtype)
    add_run(tmp_path / "store", "alpha", {"T": values}, codec="none")
    limit = 2**30
    result = run(study_of(tmp_path, tmp_path / "store", reduce=ROUTES["chain"], workers={"memory": limit}))
    basis = nw.open_model(result.model).basis
    assert basis.rank > 0.9 * m
    assert result.measured["peak_bytes_per_worker"] <= result.plan["peak_bytes_per_worker"] <= limit


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("route", ["gram", "tsqr"])
def test_a_tight_budget_is_kept(tmp_path: Path, route: str, threads: int) -> None:
    """Blocks shrink with the memory of a worker: what would take more fits a third of a GiB, with several threads, too."""
    write_low_rank(tmp_path / "store", 600_000, 100, "float32", kind="icechunk")
    limit = 360 * 2**20
    workers = {"memory": limit, "threads": threads}
    result = run(study_of(tmp_path, tmp_path / "store", reduce={"route": route, "rank": 8}, workers=workers))
    assert result.measured["peak_bytes_per_worker"] <= result.plan["peak_bytes_per_worker"] <= limit


@pytest.mark.parametrize("route", ["gram", "hapod"])
def test_a_cell_of_the_matrix(tmp_path: Path, route: str) -> None:
    """A field of 80 MB in float32: the contract holds for a factor of all snapshots and for a tree of groups."""
    write_low_rank(tmp_path / "store", 200_000, 100, np.float32)
    limit = 2**30
    check(run(study_of(tmp_path, tmp_path / "store", reduce=ROUTES[route], workers={"memory": limit})), limit)


def test_memory_is_taken_from_the_cluster(tmp_path: Path, scheduler: str) -> None:
    """``workers.memory = "auto"`` is the smallest limit of the cluster's workers, and a share of this machine without one."""
    add_run(tmp_path / "store", "alpha", {"T": snapshots_of(500, 10)})
    made = plan(study_of(tmp_path, tmp_path / "store", scheduler, reduce={"rank": 3}, workers={"memory": "auto"}))
    assert made.memory_bytes == WORKER_BYTES
    alone, shared = (
        plan(study_of(tmp_path, tmp_path / "store", reduce={"rank": 3}, workers={"memory": "auto", "count": count}))
        for count in (1, 4)
    )
    assert 4 * shared.memory_bytes == pytest.approx(alone.memory_bytes, abs=4)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("route", ["gram", "hapod", "sketch"])
def test_no_store_asks_for_a_rechunk(tmp_path: Path, scheduler: str, route: str, chunks: str) -> None:
    """Snapshot-major, space-major or both ways: the basis is right, and as many bytes are read as the plan says."""
    values = write_low_rank(tmp_path / "store", 40_000, 60, np.float32, chunks)
    result = run(study_of(tmp_path, tmp_path / "store", scheduler, reduce=ROUTES[route]))
    basis = nw.open_model(result.model).basis
    error, _ = projection_errors(values.T, basis.modes.values.T)
    assert basis.certificate.frobenius_error == pytest.approx(error, rel=1e-3)
    assert error < 1e-2
    planned, measured = (sum(cost[key] for cost in passes) for key, passes in (
        ("bytes_to_read", result.plan["passes"]), ("bytes_read", result.measured["passes"])
    ))  # fmt: skip
    assert measured == pytest.approx(planned, rel=0.01)


def test_panels_that_cut_through_chunks_read_them_again(tmp_path: Path) -> None:
    """Whole snapshots in chunks, and not all of them fit: the plan says how often chunks are read, and the run reads that."""
    values = write_low_rank(tmp_path / "store", 200_000, 80, np.float32, "snapshots")
    workers = {"memory": "230 MiB"}
    result = run(study_of(tmp_path, tmp_path / "store", reduce={"route": "gram", "rank": 12}, workers=workers))
    blocks = result.plan["fields"]["T"]["blocks"]
    assert blocks > 1
    assert [cost["reads"] for cost in result.plan["passes"]] == [blocks, blocks]
    assert result.measured["bytes_read"] == pytest.approx(2 * blocks * values.nbytes, rel=0.01)
