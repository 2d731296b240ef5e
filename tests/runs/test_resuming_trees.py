"""Route "hapod", stopped again and again: nodes that are done are not computed again, and the result has the same bits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nwidth.problems.stored
from nwidth.errors import StoreError
from nwidth.runs import RunResult, run
from nwidth.stores.layout import Layout
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading
from tests.chaos.processes import reads
from tests.runs.studies import add_run, contents, left_in, snapshots_of, study_of
from tests.runs.test_resuming import PUBLISHED, interrupted

ROWS, SNAPSHOTS, GROUP = 400, 32, 4
GROUPS, WORKERS = SNAPSHOTS // GROUP, 2
# Nodes of one field are one task each, and those of a joint basis two passes over panels.
WAYS: dict[str, dict[str, Any]] = {
    "tree": {"fields": ["T"]},
    "chain": {"fields": ["T"], "tree": "incremental"},
    "panels": {"basis": "joint"},
    "chain of panels": {"basis": "joint", "tree": "incremental", "field_scaling": {"T": 2.0}},
}


@dataclass(frozen=True)
class Stumbling:
    """Reads as `read` does and logs it, until there are as many as a file beside the log says; then it fails."""

    read: Any
    log: str

    def __call__(self, panel: Panel) -> Reading:
        stop = Path(f"{self.log}.stop")
        if stop.exists() and len(reads(Path(self.log))) >= int(stop.read_text()):
            raise StoreError("the file server went away")
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{panel.index}\n".encode())
        os.close(descriptor)
        return self.read(panel)  # type: ignore[no-any-return]

    def part(self, start: int, stop: int) -> Stumbling:
        """The same of some snapshots."""
        return Stumbling(self.read.part(start, stop), self.log)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two fields in chunks of as many snapshots as a group takes; trees have three levels."""
    chunks = Layout((GROUP, ROWS // 2), None, "snapshot-major")
    for name, value in {
        "nwidth.stores.arrays.choose_layout": lambda *_, **__: chunks,
        "nwidth.problems.comparing.GROUP_SNAPSHOTS": GROUP,
        "nwidth_graphs.kernels.hapod.STAR_NODES": 4,
        "nwidth_graphs.budget.MIN_BLOCK_BYTES": 0,
        "nwidth_graphs.budget.BLOCKS_OF_A_SMALL_FIELD": 2,
    }.items():
        monkeypatch.setattr(name, value)
    fields = {name: snapshots_of(ROWS, SNAPSHOTS, seed, decades=5) for seed, name in enumerate(("T", "u"))}
    add_run(tmp_path / "store.zarr", "alpha", fields, codec="none")
    return tmp_path / "store.zarr"


@pytest.fixture
def run_logged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunResult]:
    """Runs a study with `Stumbling` around its readers; its log lies in the study's folder."""
    reader = nwidth.problems.stored.StoreReader  # type: ignore[attr-defined]

    def run_it(study: Any, stop: int | None = None) -> RunResult:
        log = study.folder / "log"
        Path(f"{log}.stop").unlink(missing_ok=True)
        if stop is not None:
            Path(f"{log}.stop").write_text(str(stop))
        monkeypatch.setattr(nwidth.problems.stored, "StoreReader", lambda *given: Stumbling(reader(*given), str(log)))
        return run(study)

    return run_it


def tree_study(folder: Path, store: Path, scheduler: str, way: str) -> Any:
    """A study whose partials are kept although it is small."""
    folder.mkdir(exist_ok=True)
    reduce = {"route": "hapod", "rtol": 1e-3, **WAYS[way]}
    return study_of(folder, store, scheduler, study={"keep": "always"}, reduce=reduce)


def nodes_of(result: RunResult) -> tuple[int, int]:
    """(blocks, blocks reused) of all passes over nodes."""
    measures = [measure for measure in result.measured["passes"] if measure["name"] == "nodes"]
    return sum(measure["blocks"] for measure in measures), sum(measure["blocks_reused"] for measure in measures)


@pytest.mark.parametrize("way", WAYS)
def test_a_tree_that_is_stopped_often_reads_nothing_twice(
    tmp_path: Path, store: Path, scheduler: str, run_logged: Callable[..., RunResult], way: str
) -> None:
    """Stopped in four passes: the bits of an undisturbed run, each block read once a pass but for those in flight, no rests."""
    undisturbed = tree_study(tmp_path / "undisturbed", store, scheduler, way)
    expected = run_logged(undisturbed)
    whole = len(reads(undisturbed.folder / "log"))
    study = tree_study(tmp_path / "stopped", store, scheduler, way)
    stops = [round(share * whole) for share in (0.2, 0.4, 0.6, 0.9)]
    for stop in stops:
        with pytest.raises(StoreError, match="the file server went away"):
            run_logged(study, stop)
        assert not (study.run_folder / "model.zarr").exists()
    result = run_logged(study)
    assert contents(result) == contents(expected)
    assert whole <= len(reads(study.folder / "log")) <= whole + WORKERS * len(stops)
    assert left_in(study.run_folder) == PUBLISHED


def scratch_of(attempt: Path) -> Path:
    """Where the modes of nodes lie."""
    return attempt / ".model.zarr.scratch"


def test_a_node_is_as_good_as_its_modes(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Damage below the root costs the subtrees that it struck and nothing beside them; what a finished parent took up is gone."""
    expected = run(tree_study(tmp_path / "undisturbed", store, scheduler, "tree"))
    study = tree_study(tmp_path / "stopped", store, scheduler, "tree")
    attempt = interrupted(study, "lift")
    # Groups 0-7, parents 8 (0-2), 9 (3-5), 10 (6, 7), and the root, which takes these.
    assert left_in(scratch_of(attempt)) == {"T-T-8", "T-T-9", "T-T-10"}
    (records,) = attempt.glob("partials/node-T-*")
    chunk = scratch_of(attempt) / "T-T-8" / "c" / "0" / "0"
    chunk.write_bytes(bytes(chunk.stat().st_size))
    torn = records / "0000006x1.part"
    torn.write_bytes(torn.read_bytes()[:-1])
    result = run(study)
    per_group = expected.measured["passes"][0]["bytes_read"] / GROUPS
    # Parent 8 with its three groups; of parent 10 all, because it was made of modes that nobody has any more.
    assert nodes_of(result)[1] == 4
    assert sum(m["bytes_read"] for m in result.measured["passes"] if m["name"] == "nodes") == pytest.approx(5 * per_group)
    assert contents(result) == contents(expected)


def test_what_a_finished_parent_took_up_is_not_missed(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Stopped when all nodes are done, nothing is read again for them; a chain whose last modes are lost begins anew."""
    expected = contents(run(tree_study(tmp_path / "undisturbed", store, scheduler, "chain")))
    study = tree_study(tmp_path / "stopped", store, scheduler, "chain")
    attempt = interrupted(study, "root")
    assert left_in(scratch_of(attempt)) == {f"T-T-{GROUPS - 1}"}
    result = run(study)
    assert nodes_of(result) == (GROUPS, GROUPS)
    assert [m["bytes_read"] for m in result.measured["passes"] if m["name"] == "nodes"] == [0]
    assert contents(result) == expected
    again = tree_study(tmp_path / "lost", store, scheduler, "chain")
    shutil.rmtree(scratch_of(interrupted(again, "root")))
    result = run(again)
    assert nodes_of(result) == (GROUPS, 0)
    assert contents(result) == expected
