"""The plan is arithmetic that a person can check by hand, and what is measured afterwards keeps to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.runs import plan, run
from nwidth.stores import layout
from nwidth_graphs.budget import PROCESS_BYTES
from tests.contracts.store_examples import small_layouts
from tests.runs.studies import add_run, snapshots_of, study_of

MIB = 2**20
SHARED_TASKS = (1, 1)
"""Tasks that carry what all leaves of a field share, in the factor pass and in the lifting pass."""


def bytes_on_disk(store: Path, field: str) -> int:
    """Sizes of the files of a field's chunks."""
    return sum(path.stat().st_size for path in (store / "fields" / field / "c").rglob("*") if path.is_file())


def test_a_small_plan_by_hand(tmp_path: Path) -> None:
    """One block of 1000 x 10 float64: bytes, flops and tasks are those of the formulas, worked out by hand."""
    add_run(tmp_path / "store.zarr", "alpha", {"T": snapshots_of(1000, 10, decades=2)})
    made = plan(study_of(tmp_path, tmp_path / "store.zarr", reduce={"rank": 4}, workers={"memory": "1 GiB", "count": 3}))
    field = made.fields["T"]
    assert (made.snapshots, field.unknowns, field.dtype, field.blocks) == (10, 1000, "float64", 1)
    assert field.block_bytes == field.bytes == 80_000
    stored = bytes_on_disk(tmp_path / "store.zarr", "T")
    factor, lift = made.passes
    assert [(cost.reads, cost.bytes_to_read) for cost in made.passes] == [(1, stored), (1, stored)]
    assert [cost.tasks for cost in made.passes] == [1 + 1 + shared for shared in SHARED_TASKS]  # a leaf and the root
    assert made.bytes_to_read == 2 * stored
    # A Gram matrix of ten columns, one half of it: n m (m + 1). Modes, coefficients and residual: three products of 2 n m N each.
    assert factor.flops == pytest.approx(1000 * 10 * 11, rel=0.1)
    assert lift.flops == 6 * 1000 * 10 * 4
    assert made.peak_bytes_per_worker == max(factor.peak_bytes, lift.peak_bytes)
    assert PROCESS_BYTES < made.peak_bytes_per_worker < PROCESS_BYTES + 20 * MIB
    assert (made.route, made.truncation, made.workers) == ("gram", "rank = 4", "3 local workers x 1 threads")


def test_tasks_and_peak_follow_the_blocks(tmp_path: Path) -> None:
    """n blocks are n leaves, their merges by eight, and a root, in both passes; the peak does not grow with the field."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_TARGET", 2**18)
        for count, name in ((1, "short"), (2, "long")):
            add_run(tmp_path / f"{name}.zarr", "alpha", {"T": np.ones((40, count * 150_000), np.float32)})
    plans = {name: plan(study_of(tmp_path, tmp_path / f"{name}.zarr", reduce={"rank": 4})) for name in ("short", "long")}
    for made in plans.values():
        blocks = made.fields["T"].blocks
        merges = 0 if blocks == 1 else 1 if blocks <= 8 else blocks // 8 + (blocks % 8 > 1) + 1
        assert [cost.tasks for cost in made.passes] == [blocks + merges + 1 + shared for shared in SHARED_TASKS]
    assert plans["long"].fields["T"].blocks > plans["short"].fields["T"].blocks
    # The chunks of the two fields differ by a few rows.
    assert plans["long"].peak_bytes_per_worker == pytest.approx(plans["short"].peak_bytes_per_worker, rel=1e-4)


def test_a_plan_reads_no_field(tmp_path: Path) -> None:
    """Planning works on metadata: it gives the same when every chunk of the field is overwritten with rubbish of its size."""
    add_run(tmp_path / "store.zarr", "alpha", {"T": snapshots_of(1000, 10)})
    study = study_of(tmp_path, tmp_path / "store.zarr")
    before = plan(study).as_dict()
    for path in (tmp_path / "store.zarr" / "fields" / "T" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(b"x" * path.stat().st_size)
    assert plan(study).as_dict() == before


def test_a_plan_of_some_simulations_counts_their_share(tmp_path: Path) -> None:
    """Half of the snapshots are half of the bytes, in memory and, to the rounding of compression, in the store."""
    for seed, name in enumerate("ab"):
        add_run(tmp_path / "store.zarr", name, {"T": snapshots_of(1000, 10, seed)})
    both, one = (plan(study_of(tmp_path, tmp_path / "store.zarr", reduce={"simulations": names})) for names in ([], ["b"]))
    assert one.snapshots * 2 == both.snapshots == 20
    assert one.fields["T"].bytes * 2 == both.fields["T"].bytes
    assert one.bytes_to_read == pytest.approx(both.bytes_to_read / 2, abs=2)


@pytest.mark.parametrize("small", [False, True], ids=["part of a shard", "many shards"])
@pytest.mark.parametrize("kind", ["zarr", "icechunk"])
def test_every_byte_is_read_once_per_pass(tmp_path: Path, scheduler: str, kind: str, small: bool) -> None:
    """The workers fetch what the store holds of the field, once in each pass, and the plan says so to the byte.

    Indexes of shards that several blocks share are the exception: each block reads the index, some hundred bytes, for itself.
    """
    store = tmp_path / "store"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (small_layouts() if small else {}).items():
            patch.setattr(layout, name, value)
        values = np.random.default_rng(0).standard_normal((40, 100_000)).astype(np.float32)
        info = add_run(store, "alpha", {"T": values}, kind=kind).schema().fields["T"]
    assert info.shards is not None
    result = run(study_of(tmp_path, store, scheduler, reduce={"rank": 12}))
    passes = result.measured["passes"]
    assert [measure["name"] for measure in passes] == ["gram", "lift"]
    assert [measure["bytes_read"] for measure in passes] == [cost["bytes_to_read"] for cost in result.plan["passes"]]
    assert [measure["tasks"] for measure in passes] == [cost["tasks"] for cost in result.plan["passes"]]
    if kind == "zarr":
        stored = bytes_on_disk(store, "T")
        index = 16 * int(np.prod(np.array(info.shards) // np.array(info.chunks))) + 4
        again = 0 if small else (result.plan["fields"]["T"]["blocks"] - 1) * index
        assert passes[0]["bytes_read"] == stored + again
        assert again < 1e-3 * stored


def write_waves(url: Path, n: int, m: int, **options: Any) -> None:
    """A large field of a few smooth waves, written without holding more than a snapshot's worth of temporaries."""
    place = np.linspace(0, 1, n)
    values = np.empty((m, n), np.float32)
    for index in range(m):
        values[index] = np.sin((index + 1) * place + 0.3 * index)
    add_run(url, "alpha", {"T": values}, codec="none", **options)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["gram", "tsqr"])
@pytest.mark.parametrize(("memory", "threads"), [(600, 1), (700, 2)])
def test_workers_keep_to_the_planned_memory(tmp_path: Path, route: str, memory: int, threads: int) -> None:
    """The largest resident size of a worker, measured by the kernel, is below the plan's figure, and that below the limit."""
    write_waves(tmp_path / "store.zarr", 1_500_000, 100)  # 600 MB: more than a worker may hold
    workers = {"memory": f"{memory} MiB", "threads": threads}
    result = run(study_of(tmp_path, tmp_path / "store.zarr", reduce={"rank": 20, "route": route}, workers=workers))
    predicted = result.plan["peak_bytes_per_worker"]
    assert result.measured["peak_bytes_per_worker"] <= predicted <= memory * MIB
    # A prediction that promises nothing would pass as well: it must be of the right size.
    assert result.measured["peak_bytes_per_worker"] > 0.4 * predicted


DRIVER = """
import sys
from pathlib import Path
from nwidth.runs import run
from nwidth_graphs.leaves import peak_process_bytes
from tests.runs.studies import study_of
run(study_of(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], reduce={"rank": 20}))
print(peak_process_bytes())
"""


@pytest.mark.slow
def test_the_driver_never_holds_a_field(tmp_path: Path, scheduler: str) -> None:
    """The driver's largest resident size stays below half of the field, and within a fixed sum of what its imports take."""
    write_waves(tmp_path / "store.zarr", 1_500_000, 100)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), str(tmp_path / "store.zarr"), scheduler], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300 * MIB
