"""The dictionary ROM-net on a family of cubes: ``python -m tests.benchmarks.romnet [--cells 6] [--folder DIR]``.

    60 runs of the full-order model -> store -> nwidth run (bases, clusters, classifier, bodies) -> nwidth predict --draws 1008
    40 other runs                                                                -> true errors of the same reduced model

Amplitude, centre and width of the hot spot, pressure and speed vary, each by `spread` about the tabulated run. Everything between
the store and the draws goes through the command line. Full-order runs are kept in the folder and not done twice.

Two speed-ups, both against the cube's own vectorised solver (`tests/cube/solver.py`, one thread, sparse direct solution):

    core-hours   processor seconds of one full run * draws / processor seconds of the draws        online alone
    with all     the same, the 60 runs and all that was trained counted as well

Processor seconds, because they mean the same on a machine that others use.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.cube import CubeGrid, CubeParameters, CubeRecords, draw_parameters, solve_cube
from tests.cube.case import INPUTS, CubeCase, cube_law, inputs_of, reference_fields, run_of, snapshots_of
from tests.cube.solver import TIMES, Floats
from tests.repository import REPOSITORY

TRAINING, TEST = 60, 40
SEEDS = {"train": 1, "test": 2}
SMALLEST = 1e-3
"""Norm of the plastic strain on 6 cells per side above which it has a relative error; it grows as the root of the points."""
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class FamilyCase(CubeCase):
    """The cube's loads on a mesh of any number of cells: a study names a case without arguments."""

    def load_vectors(self, nodes: Floats) -> dict[str, Floats]:
        return CubeCase(round(len(nodes) ** (1 / 3)) - 1).load_vectors(nodes)


# What a study names as `reference`.
full_order_3 = partial(reference_fields, 3)
full_order_4 = partial(reference_fields, 4)
full_order_6 = partial(reference_fields, 6)
full_order_12 = partial(reference_fields, 12)
full_order_24 = partial(reference_fields, 24)


@dataclass(frozen=True)
class Settings:
    """One benchmark."""

    cells: int = 6
    training: int = TRAINING
    test: int = TEST
    spread: float = 0.25
    clusters: int = 2
    atlas_rank: int = 10
    """Of the displacement's bases that the clusters are told apart by."""
    rtol: float = 2e-4
    """Of the bodies' bases of displacement."""
    dual_rtol: float = 3e-3
    """Of their bases of dual fields."""
    sampled: int = 300
    """Reduced runs that bases learn from beside the full ones."""
    tolerance: float = 1e-2
    """Of the cubature."""
    draws: int = 1008
    verify: int = 4
    batch: int = 63
    workers: int = 1


@dataclass(frozen=True)
class Result:
    """What one benchmark found."""

    settings: Settings
    unknowns: int
    points: int
    full_seconds: float
    """Processor seconds of one full run, mean."""
    bodies: list[dict[str, Any]]
    errors: dict[str, dict[str, float]]
    """Field -> mean, median, ninth decile and largest relative error over the test runs, all times together."""
    within: float
    """Share of test runs whose indicator is not below the true error of its field."""
    offline_seconds: float
    """Processor seconds of `nwidth run`."""
    draws_seconds: float
    """Processor seconds of the draws."""
    predict_seconds: float
    """Of the clock, all of `nwidth predict`."""
    verified: dict[str, Any]

    @property
    def speed_up(self) -> float:
        """In core-hours, online alone."""
        return self.full_seconds * self.settings.draws / self.draws_seconds

    @property
    def speed_up_with_all(self) -> float:
        """In core-hours, the training counted, too."""
        all_of_it = self.full_seconds * self.settings.training + self.offline_seconds + self.draws_seconds
        return self.full_seconds * self.settings.draws / all_of_it


def benchmark(folder: Path, settings: Settings) -> Result:
    """Run it all in a folder; full-order runs that lie there already are taken."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = list(full_runs(folder, "train", settings.training, settings))
    tested = list(full_runs(folder, "test", settings.test, settings))
    store = write_store(folder, trained, settings)
    study = write_study(folder, store, settings)
    told, offline = _command("run", str(study), "--json")
    found, _ = _command("predict", str(study), "--draws", str(settings.draws), "--json")
    errors, within = errors_of(Path(told["model"]), tested, settings)
    grid = CubeGrid(settings.cells)
    return Result(
        settings=settings,
        unknowns=3 * len(grid.nodes),
        points=8 * settings.cells**3,
        full_seconds=float(np.mean([run.seconds for run in (*trained, *tested)])),
        bodies=told["mechanics"]["bodies"],
        errors=errors,
        within=within,
        offline_seconds=offline,
        draws_seconds=found["processor_seconds"],
        predict_seconds=found["seconds"]["all"],
        verified=found.get("verified", {}),
    )


# --- full-order runs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FullRun:
    """One run on disk."""

    parameters: CubeParameters
    file: Path
    seconds: float

    def records(self, cells: int) -> CubeRecords:
        """As the solver gave it, without what no store takes."""
        from nwidth.mesh import mesh_from_cells

        grid, none = CubeGrid(cells), np.empty(0)
        with np.load(self.file) as kept:
            u, sigma, p = kept["u"], kept["sigma"], kept["p"]
        mesh = mesh_from_cells(grid.nodes, [(12, grid.hexahedra)], length_unit="mm")
        points, weights = grid.at_points(grid.nodes), np.full(p.shape[1], grid.weight)
        return CubeRecords(TIMES, u, sigma, p, none, none, none, none, np.zeros(0, np.int64), mesh, points, weights, grid.mass())


def full_runs(folder: Path, part: str, count: int, settings: Settings) -> Iterator[FullRun]:
    """The training or the test runs, solved where they are not there yet."""
    place = folder / f"runs-{settings.cells}-{settings.spread:g}"
    place.mkdir(exist_ok=True)
    for number, parameters in enumerate(draw_parameters(count, SEEDS[part], settings.spread)):
        file = place / f"{part}-{number:03d}.npz"
        if not file.exists():
            _solve(parameters, settings.cells, file)
        with np.load(file) as kept:
            yield FullRun(parameters, file, float(kept["seconds"]))


def _solve(parameters: CubeParameters, cells: int, file: Path) -> None:
    begun = time.process_time()
    records = solve_cube(parameters, cells)
    seconds = time.process_time() - begun
    partial_file = file.with_suffix(".partial.npz")
    np.savez(partial_file, u=records.u, sigma=records.sigma, p=records.p, seconds=seconds)
    partial_file.rename(file)


def write_store(folder: Path, runs: Sequence[FullRun], settings: Settings) -> Path:
    """The store of the training runs, one after the other."""
    from nwidth.stores import open_or_create_store

    url = folder / f"family-{settings.cells}-{settings.spread:g}-{len(runs)}.zarr"
    if url.exists():
        return url
    store = open_or_create_store(url.with_suffix(".partial"), "zarr", {})
    for number, run in enumerate(runs):
        name, records = f"cube-{number:03d}", run.records(settings.cells)
        with store.append(run_of(records), simulation=name, source_key=name, parameters=inputs_of(run.parameters)) as writer:
            for step, snapshot in enumerate(snapshots_of(records)):
                writer.write(step, {field: values[None] for field, values in snapshot.items()})
    url.with_suffix(".partial").rename(url)
    return url


# --- the study --------------------------------------------------------------------------------------------------------


def write_study(folder: Path, store: Path, settings: Settings) -> Path:
    """The study's file: one displacement basis and its clusters, a classifier, bodies, draws over the family's own box."""
    from nwidth_graphs.kernels.materials import law_record

    file = folder / f"romnet-{settings.cells}-{settings.spread:g}.toml"
    smallest = SMALLEST * (settings.cells / 6) ** 1.5
    tables: dict[str, dict[str, Any]] = {
        "study": {"name": file.stem, "store": str(store), "output": str(folder / "runs")},
        "reduce": {
            "fields": ["displacement"], "basis": "each", "rtol": 1e-4, "route": "tsqr", "inner_product": {"displacement": "mass"},
        },
        "atlas": {
            "of": "simulations", "clusters": settings.clusters, "rank": settings.atlas_rank, "holdout": 0.0,
            "minimum_size": min(5, settings.training // 4),
        },
        # Bodies take the classifier only: the regressions are the cheap ones.
        "learn": {"regression": "rbf"},
        "mechanics": {
            "case": "tests.benchmarks.romnet:FamilyCase", "law": law_record(cube_law()), "duals": {"p": "p", "stress": "flux"},
            "tolerance": settings.tolerance, "smallest_norm": smallest, "sampled_runs": settings.sampled,
            "rtol": {"displacement": settings.rtol, "p": settings.dual_rtol, "stress": settings.dual_rtol},
        },
        "uncertainty": {
            "parameters": uncertain(settings.spread), "seed": 3, "batch": settings.batch, "verify": settings.verify,
            "reference": f"tests.benchmarks.romnet:full_order_{settings.cells}",
            "quantities": {
                "largest p": {"field": "p"}, "mean p": {"field": "p", "of": "mean"},
                "largest displacement": {"field": "displacement", "at": "largest"},
            },
        },
        "workers": {"count": settings.workers, "memory": "4 GiB"},
    }  # fmt: skip
    file.write_text("\n".join(_toml_table(name, table) for name, table in tables.items()), encoding="utf-8")
    return file


def uncertain(spread: float) -> dict[str, dict[str, Any]]:
    """Uniform over the box that the family is drawn from."""
    middle = inputs_of(CubeParameters())
    ends = {
        name: (value - spread, value + spread) if name in "xyz" else (value * (1 - spread), value * (1 + spread))
        for name, value in middle.items()
    }
    return {name: {"distribution": "uniform", "low": ends[name][0], "high": ends[name][1]} for name in INPUTS}


def _toml_table(name: str, table: Mapping[str, Any]) -> str:
    lines = [f"[{name}]", *(f"{json.dumps(key)} = {_toml(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(of)}" for key, of in value.items()) + "}"
    return f"[{', '.join(_toml(of) for of in value)}]" if isinstance(value, list) else json.dumps(value)


def _command(*words: str) -> tuple[dict[str, Any], float]:
    """What ``nwidth`` prints as JSON, and its processor seconds, with those of its workers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "nwidth", *words],
        cwd=REPOSITORY,
        env={**os.environ, **THREADS},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"nwidth {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = json.loads(done.stdout)
    return found, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- true errors ------------------------------------------------------------------------------------------------------


def errors_of(model: Path, runs: Sequence[FullRun], settings: Settings) -> tuple[dict[str, dict[str, float]], float]:
    """Errors on runs that training has not seen, by the model as Monte Carlo asks it.

    Returns
    -------
    field -> statistics of ``||x - x~|| / ||x||`` over all times of a run, Euclidean
    share of the runs whose largest indicator is not below the largest error of ``p`` at any time
    """
    from nwidth.mechanics.model import open_mechanics

    opened = open_mechanics(model)
    rows = [inputs_of(run.parameters) for run in runs]
    answers = opened.surrogate.ask({name: np.array([row[name] for row in rows]) for name in INPUTS})
    if answers.failed.any():
        raise SystemExit(f"{int(answers.failed.sum())} test runs failed, the first because: {next(filter(None, answers.words))}")
    errors: dict[str, list[float]] = {name: [] for name in opened.surrogate.modes}
    covered = []
    for number, run in enumerate(runs):
        label, truth = int(answers.labels[number, 0]), _truth(run, settings.cells)
        at_times = {}
        for name, folders in opened.surrogate.modes.items():
            missed = _formed(model / folders[label], answers.coefficients[name][number]) - truth[name]
            errors[name].append(float(np.linalg.norm(missed) / np.linalg.norm(truth[name])))
            at_times[name] = np.linalg.norm(missed, axis=1) / np.maximum(np.linalg.norm(truth[name], axis=1), 1e-300)
        known = np.isfinite(answers.indicator[number])
        covered.append(answers.indicator[number][known].max() >= at_times["p"][known].max())
    told = {
        name: {
            "mean": float(np.mean(of)),
            "median": float(np.median(of)),
            "90 %": float(np.quantile(of, 0.9)),
            "largest": float(np.max(of)),
        }
        for name, of in errors.items()
    }
    return told, float(np.mean(covered))


def _truth(run: FullRun, cells: int) -> dict[str, Floats]:
    with np.load(run.file) as kept:
        return {"displacement": kept["u"], "stress": kept["sigma"].reshape(len(TIMES), -1), "p": kept["p"]}


def _formed(folder: Path, coefficients: Floats) -> Floats:
    import zarr

    stored: Any = zarr.open_array(str(folder / "modes"), mode="r")
    modes = np.asarray(stored[...]).reshape(stored.shape[0], -1)
    return np.asarray(coefficients[:, : len(modes)] @ modes)


# --- what people read -------------------------------------------------------------------------------------------------


def lines(found: Result) -> list[str]:
    """The result as Markdown."""
    s = found.settings
    rows = [
        ("cells per side, unknowns, integration points", f"{s.cells}, {found.unknowns}, {found.points}"),
        ("training and test runs, spread", f"{s.training} and {s.test}, {s.spread:.0%}"),
        ("bodies: modes of displacement, points, modes of dual fields", "; ".join(_body(body) for body in found.bodies)),
        *(
            (f"error of {name}: {', '.join(of)}", ", ".join(f"{value:.2%}" for value in of.values()))
            for name, of in found.errors.items()
        ),
        ("test runs whose indicator covers the error of p", f"{found.within:.0%}"),
        ("one full run, processor seconds", f"{found.full_seconds:.2f}"),
        ("`nwidth run`, processor seconds", f"{found.offline_seconds:.0f}"),
        (f"{s.draws} draws, processor seconds", f"{found.draws_seconds:.1f}"),
        (f"`nwidth predict --draws {s.draws}`, seconds of the clock", f"{found.predict_seconds:.0f}"),
        ("speed-up in core-hours, online", f"{found.speed_up:.0f}"),
        ("speed-up in core-hours, training counted", f"{found.speed_up_with_all:.1f}"),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _body(body: Mapping[str, Any]) -> str:
    duals = ", ".join(f"{of['modes']} of {name}" for name, of in body["duals"].items())
    return f"{body['modes']}, {body['points']}, {duals}"


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--folder", type=Path, help="where all is kept; a temporary one by default")
    given = vars(parser.parse_args(words))
    folder = given.pop("folder")
    with tempfile.TemporaryDirectory(prefix="romnet-") as scratch:
        found = benchmark(Path(scratch) if folder is None else folder, Settings(**given))
    print("\n".join(lines(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
