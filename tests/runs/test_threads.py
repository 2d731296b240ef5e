"""A study on threads of its own process: the bits of workers, their resumption, and no cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nwidth.config import check_study
from nwidth.errors import ConfigError
from nwidth.runs import run
from tests.runs.studies import contents, store_of_24_blocks, study_of

RANK = 5
THREADS = {"kind": "threads", "count": 1, "threads": 2, "memory": "1 GiB"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A field of 24 blocks."""
    return store_of_24_blocks(tmp_path, monkeypatch)


@pytest.mark.parametrize("route", ["gram", "tsqr", "sketch", "nystrom", "hapod"])
def test_threads_give_the_bits_of_workers(tmp_path: Path, store: Path, scheduler: str, route: str) -> None:
    """Blocks and trees are fixed by memory and threads of a worker, wherever these are."""
    reduce = {"route": route, "rtol": 1e-2} if route == "hapod" else {"route": route, "rank": RANK}
    there = run(study_of(tmp_path / "workers", store, scheduler, reduce=reduce, workers={"threads": 2, "memory": "1 GiB"}))
    here = run(study_of(tmp_path / "threads", store, reduce=reduce, workers=THREADS))
    assert contents(here) == contents(there)
    manifest = json.loads((here.model / "manifest.json").read_text())
    assert manifest["provenance"]["workers"] == "2 threads of one process"
    assert here.measured["peak_bytes_per_worker"] > 0


def test_progress_counts_every_block(tmp_path: Path, store: Path) -> None:
    """Of both passes, to the last."""
    told: dict[str, list[int]] = {}
    run(
        study_of(tmp_path, store, reduce={"rank": RANK, "route": "gram"}, workers=THREADS),
        progress=lambda name, done, total: told.setdefault(name, []).append(done) if total == 24 else None,
    )
    assert {name: (sorted(counts) == counts, counts[-1]) for name, counts in told.items()} == {
        "gram": (True, 24),
        "lift": (True, 24),
    }


SCRIPT = """
import json, sys
from pathlib import Path
heavy = {"dask", "distributed", "tornado", "bokeh", "xarray", "pandas", "scipy.linalg", "numpy.f2py"}
from nwidth.config import load_study
from nwidth.runs import run
from nwidth_graphs import budget

budget.MIN_BLOCK_BYTES, budget.BLOCKS_OF_A_SMALL_FIELD = 0, 24
result = run(load_study(Path(sys.argv[1])))
passes = [(measure["blocks"], measure["blocks_reused"]) for measure in result.measured["passes"]]
peaks = [part["peak_bytes_per_worker"] for part in (result.measured, result.plan)]
print(json.dumps({"model": str(result.model), "passes": passes, "peaks": peaks, "imported": sorted(heavy & set(sys.modules))}))
"""


def in_a_process(study: Path) -> subprocess.Popen[str]:
    """The study, run by a process of its own."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT, study], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("nodes", "snapshots"), [(24_000, 64), (4_800, 760)], ids=["panels", "strips of panels"])
def test_a_killed_process_is_resumed_and_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: int, snapshots: int
) -> None:
    """``kill -9`` in the middle: the next run takes what lies on the shelf, and gives the bits of an undisturbed one. Nothing of
    Dask, pandas or SciPy's linear algebra is ever imported (each takes more memory than a block), and the process takes at most
    what was planned."""
    store = store_of_24_blocks(tmp_path, monkeypatch, nodes, snapshots)
    told = {name: study_file(tmp_path / f"{name}.toml", store, name) for name in ("killed", "left_alone")}
    with in_a_process(told["killed"]) as victim:
        while not list(tmp_path.glob("runs/killed/.attempt-*/partials/gram-*/[0-9]*")):
            assert victim.poll() is None, "the run ended before it could be killed"
            time.sleep(0.001)
        os.kill(victim.pid, signal.SIGKILL)
    results: dict[str, Any] = {}
    for name, file in told.items():
        with in_a_process(file) as process:
            results[name] = json.loads(process.communicate()[0])
    blocks, reused = results["killed"]["passes"][0]
    assert 0 < reused <= blocks
    assert results["left_alone"]["passes"][0] == [blocks, 0]
    assert arrays_of(results["killed"]) == arrays_of(results["left_alone"])
    assert results["killed"]["imported"] == []
    measured, predicted = results["killed"]["peaks"]
    assert measured <= predicted
    if snapshots == 64:  # of 760, plans allow for panels that are longer than this field
        assert predicted <= 2 * measured


def study_file(file: Path, store: Path, name: str) -> Path:
    """A study of this name, all of whose partials are kept."""
    file.write_text(
        f'[study]\nname = "{name}"\nstore = "{store}"\nkeep = "always"\n[reduce]\nrank = {RANK}\nroute = "gram"\n'
        '[workers]\nkind = "threads"\nmemory = "1 GiB"\n[report]\nenabled = false\n'
    )
    return file


def arrays_of(told: Mapping[str, Any]) -> dict[str, bytes]:
    """All files of a model but the manifest, with its dates and names."""
    model = Path(told["model"])
    files = (path for path in model.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(model)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        ({"count": 2}, "is this process alone; remove count, and set threads"),
        ({"address": "tcp://head:8786"}, "computes in this process, and address names a cluster"),
        ({"device": "cuda"}, 'device = "cuda" needs a worker that is a process'),
    ],
)
def test_what_one_process_cannot_be_is_refused(tmp_path: Path, workers: dict[str, Any], sentence: str) -> None:
    """In one sentence, before any work."""
    table = {"study": {"name": "s", "store": "x"}, "reduce": {"rank": 1}, "workers": {"kind": "threads", **workers}}
    with pytest.raises(ConfigError, match=sentence):
        check_study(table, folder=tmp_path)


def test_a_plan_says_who_computes(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One process has one amount of memory."""
    from nwidth.cli import main

    file = tmp_path / "study.toml"
    file.write_text(
        f'[study]\nname = "s"\nstore = "{store}"\n[reduce]\nrank = 3\n[workers]\nkind = "threads"\nmemory = "1 GiB"\n'
    )
    assert main(["plan", str(file)]) in (0, None)
    assert "workers     2 threads of one process, 1024 MiB\n" in capsys.readouterr().out


def test_threads_by_default_are_as_many_as_workers() -> None:
    """Two, as there would be two processes."""
    table = {"study": {"name": "s", "store": "x"}, "reduce": {"rank": 1}, "workers": {"kind": "threads"}}
    workers = check_study(table, folder=Path()).workers
    assert (workers.count, workers.threads, workers.description) == (1, 2, "2 threads of one process")
