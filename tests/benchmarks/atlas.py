"""Atlases beside what they stand on: ``python -m tests.benchmarks.atlas [--scale tiny|small|medium|full] [--scratch DIR]``.

    store -> finished atlas (K = 2..20, three dissimilarities, ten numbers of modes)      beside the bare two passes
    dissimilarity matrix of very many snapshots from coordinates                          beside the bare product
    k-medoids of a ready matrix                                                           beside kmedoids, scikit-learn, SciPy
    an atlas of the coefficients of a finished basis                                      its peak memory

Seconds are those of the clock and of all processors together: on a machine that others use, only the latter compare. `kmedoids`
runs in a process of its own, and every peer is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tests.benchmarks.__main__ import machine

DISSIMILARITIES = ["sine", "euclidean", "parameters"]
MODES = 40
"""Ten numbers of modes: 1, 2, 3, 5, 7, 10, 14, 20, 28, 40."""
TIMES = 10


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    unknowns: int
    snapshots: int
    matrix: int
    """Snapshots of the dissimilarity matrix, with `frame` coordinates."""
    frame: int
    points: int
    """Of the ready matrix that peers part."""
    many: int
    """Snapshots of a finished basis."""


SCALES = {
    "tiny": Scale(400, 60, 120, 10, 80, 400),
    "small": Scale(100_000, 600, 4000, 100, 1000, 20_000),
    "medium": Scale(300_000, 1000, 10_000, 200, 4000, 100_000),
    "full": Scale(1_000_000, 1000, 10_000, 200, 4000, 100_000),
}


@dataclass(frozen=True)
class Line:
    """One thing that was timed."""

    what: str
    seconds: float
    processor: float
    note: str = ""


def bumps(scale: Scale) -> Any:
    """(m, n) float32: a bump whose place and width follow the parameters of its simulation and the time, with some noise."""
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 1.0, scale.unknowns, dtype=np.float32)
    noise = 1e-4 * rng.standard_normal((TIMES, scale.unknowns), dtype=np.float32)
    place, width = rng.uniform(0.1, 0.8, scale.snapshots // TIMES), rng.uniform(0.03, 0.08, scale.snapshots // TIMES)
    for simulation in range(scale.snapshots // TIMES):
        drift = place[simulation] + 0.1 * np.arange(TIMES)[:, None] / TIMES
        clean = np.exp(-(((x - drift.astype(np.float32)) / np.float32(width[simulation])) ** 2))
        shifted = np.roll(noise, int(rng.integers(scale.unknowns)), axis=1)
        yield simulation, place[simulation], width[simulation], clean + shifted


def store_of(folder: Path, scale: Scale) -> Path:
    """The bumps as a store of simulations with two parameters."""
    from nwidth.readers.protocol import FieldSpec, Run
    from nwidth.stores import open_or_create_store

    url = folder / "bumps.zarr"
    store = open_or_create_store(url, "zarr", {})
    for number, place, width, values in bumps(scale):
        spec = FieldSpec("node", ("node",), (scale.unknowns,), values.dtype, (), "")
        run = Run({"u": spec}, np.arange(TIMES, dtype=float), partial(_rows, values))
        name = f"s{number:04d}"
        with store.append(run, simulation=name, source_key=name, parameters={"place": place, "width": width}) as writer:
            writer.write(0, {"u": values})
    return url


def _rows(values: Any) -> Iterator[dict[str, Any]]:
    return ({"u": row} for row in values)


def passes(folder: Path, scale: Scale) -> list[Line]:
    """A study without an atlas, and one with; from plan to published model, on workers that are up."""
    from nwidth.config import check_study
    from nwidth.runs.run import run
    from nwidth.workers import local_cluster

    url = store_of(folder, scale)
    # Before the cluster, so that its start is in nobody's time: what a run imports.
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    lines, own = [], 1.0
    with local_cluster(2, 1, 2 << 30) as executor:
        atlas = {"clusters": "auto", "dissimilarity": DISSIMILARITIES, "max_rank": MODES, "rank": 10, "overlap": 0.1}
        for name, more in (("warm up", {}), ("two passes", {}), ("with atlas", {"atlas": atlas})):
            table: dict[str, Any] = {
                "study": {"name": name.replace(" ", "-"), "store": str(url), "output": str(folder / "runs"), "keep": "never"},
                "reduce": {"rank": 40, "route": "gram"},
                "workers": {"count": 2, "memory": "2 GiB", "address": executor.client.scheduler.address},
                "report": {"enabled": False},
            }
            study = check_study(table | more, folder=folder)
            with _timed(name, executor.client) as line:
                result = run(study, force=True)
            tried = len(_manifest(result.model).get("atlas", {})) and _trials(result.model)
            lines.append(
                _with(line, f"{tried} partitions tried, {_manifest(result.model)['atlas']['clusters']} clusters" if tried else "")
            )
            own = sum(float(spent["seconds"]) for spent in result.measured["passes"])
    bare, made = lines[1], lines[2]
    ratio = (
        f"{made.seconds / own:.2f} x its own two passes, which lift all clusters' modes, too; "
        f"{made.seconds / bare.seconds:.2f} x a run without an atlas by the clock, "
        f"{made.processor / bare.processor:.2f} x by processors"
    )
    return [bare, _with(made, f"{made.note}; {ratio}")]


def _manifest(model: Path) -> Any:
    return json.loads((model / "manifest.json").read_text())


def _trials(model: Path) -> int:
    import nwidth

    return len(nwidth.open_model(model).atlas.gain.clusters)


def matrices(scale: Scale) -> list[Line]:
    """D of very many snapshots from coordinates, on one thread: beside one product in double precision, and beside SciPy."""
    from nwidth_graphs.kernels.angles import sine

    X = np.random.default_rng(0).standard_normal((scale.frame, scale.matrix))
    with threadpool_limits(1):
        # numpy turns X'X into half a product: the bare one is of two matrices.
        Y = X.copy()
        bare = _best("product X'Y, float64", lambda: X.T @ Y)
        lines = [bare]
        for dtype in ("float32", "float64"):
            line = _best(f"sine, {dtype}", partial(sine, X, dtype=dtype))
            lines.append(_with(line, f"{line.processor / bare.processor:.2f} x the product"))
        lines += _scipy(X, bare)
    return lines


def _scipy(X: Any, bare: Line) -> Iterator[Line]:
    from scipy.spatial.distance import pdist

    line = _best("SciPy pdist, cosine", lambda: pdist(X.T, "cosine"))
    yield _with(line, f"{line.processor / bare.processor:.2f} x the product; cancels below 1e-8, and knows no sign")


def medoids(scale: Scale) -> list[Line]:
    """k-medoids of a ready matrix of clear and unclear clusters, K = 10."""
    from nwidth_graphs.kernels.angles import sine
    from nwidth_graphs.kernels.kmedoids import Start, k_medoids

    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((20, 10)), scale.points // 10, axis=1) + rng.standard_normal((20, scale.points))
    D = sine(X, dtype=np.float32)
    with threadpool_limits(1):
        lines = []
        starts: tuple[Start, ...] = ("build", "farthest")
        for start in starts:
            ours = _best(f"FasterPAM from {start}", partial(k_medoids, D, 10, start=start))
            lines.append(_with(ours, f"loss {k_medoids(D, 10, start=start).loss:.3f}"))
        lines += _package(D)
        lines += _means(X)
    return lines


KMEDOIDS = """
import json, sys, time
import kmedoids, numpy as np
D = np.load(sys.argv[1])
rows = []
for _ in range(3):
    clock, processor = time.perf_counter(), time.process_time()
    found = kmedoids.fasterpam(D, 10, init="build", random_state=0, n_cpu=1)
    rows.append((time.perf_counter() - clock, time.process_time() - processor, float(found.loss)))
print(json.dumps(min(rows)))
"""


def _package(D: Any) -> Iterator[Line]:
    """The `kmedoids` package in a process of its own: its licence is not ours."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/D.npy", D)
        done = subprocess.run([sys.executable, "-c", KMEDOIDS, f"{folder}/D.npy"], capture_output=True, text=True, check=False)
    if done.returncode:
        yield Line("kmedoids package, FasterPAM from BUILD", float("nan"), float("nan"), "not installed")
        return
    seconds, processor, loss = json.loads(done.stdout)
    yield Line("kmedoids package, FasterPAM from BUILD", seconds, processor, f"loss {loss:.3f}")


def _means(X: Any) -> Iterator[Line]:
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        yield Line("scikit-learn KMeans", float("nan"), float("nan"), "not installed")
        return
    yield _best("scikit-learn KMeans, 10 clusters", lambda: KMeans(10, n_init=1, random_state=0).fit(X.T))


MANY = """
import json, resource, sys, time
import nwidth as nw
from tests.atlas.test_finished import large_basis
basis = large_basis(int(sys.argv[1]), int(sys.argv[2]))
nw.partition(large_basis(300, 20), clusters=3, rank=4)
clock, processor = time.perf_counter(), time.process_time()
atlas = nw.partition(basis, clusters="auto", rank=10)
times = time.perf_counter() - clock, time.process_time() - processor
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
note = next((note for note in atlas.notes if "samples of" in note), "a matrix of all pairs")
print(json.dumps([*times, peak, atlas.count, note]))
"""


def many(scale: Scale) -> list[Line]:
    """A finished basis of very many snapshots, in a process of its own: its peak memory is that of the atlas."""
    modes = min(scale.frame, 200)
    asked = [sys.executable, "-c", MANY, str(scale.many), str(modes)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    seconds, processor, peak, count, note = json.loads(done.stdout)
    what = f"atlas of {scale.many} coefficients ({modes} modes)"
    return [Line(what, seconds, processor, f"peak {peak:.0f} MiB, {count} clusters; {note}")]


class _Timed:
    line: Line


@contextmanager
def _timed(what: str, client: Any) -> Iterator[Any]:
    """Wall and processor seconds of this process and of a client's workers."""
    found = _Timed()
    clock, before = time.perf_counter(), _processor(client)
    yield found
    found.line = Line(what, time.perf_counter() - clock, _processor(client) - before)


def _processor(client: Any) -> float:
    return _own_seconds() + float(sum(client.run(_own_seconds).values()))


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _best(what: str, work: Callable[[], Any], repeats: int = 3) -> Line:
    """The least of a few."""
    found = []
    for _ in range(repeats):
        clock, before = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - clock, time.process_time() - before))
    return Line(what, min(seconds for seconds, _ in found), min(processor for _, processor in found))


def _with(line: Any, note: str) -> Line:
    made = line.line if isinstance(line, _Timed) else line
    return Line(made.what, made.seconds, made.processor, note)


def table(lines: list[Line]) -> str:
    """As Markdown."""
    head = ["| what | seconds | processor seconds | |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {one.what} | {one.seconds:.2f} | {one.processor:.2f} | {one.note} |" for one in lines)])


def measure(name: str, scratch: Path | None = None, only: str = "") -> list[Line]:
    """All lines at a scale, or those of the parts whose name contains `only`."""
    scale, lines = SCALES[name], []
    if only in "passes":
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            lines += passes(Path(folder), scale)
    for part in (matrices, medoids, many):
        if only in part.__name__:
            lines += part(scale)
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.atlas", description=__doc__)
    parser.add_argument("--scale", choices=tuple(SCALES), default="small")
    parser.add_argument("--scratch", type=Path, help="folder for the store (default: the temporary one)")
    parser.add_argument("--only", default="", help="passes, matrices, medoids or many")
    parser.add_argument("--table", type=Path, help="write the table as Markdown")
    asked = parser.parse_args(arguments)
    head = f"{time.strftime('%Y-%m-%d')}, `python -m tests.benchmarks.atlas --scale {asked.scale}`, {machine()}.\n"
    text = f"{head}\n{table(measure(asked.scale, asked.scratch, asked.only))}\n"
    print(text)
    if asked.table:
        asked.table.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
