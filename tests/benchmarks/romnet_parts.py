"""Which part of the dictionary ROM-net errs: ``python -m tests.benchmarks.romnet_parts [--cells 6] [--folder DIR]``.

    displacement    what the first N modes of the training runs leave out of the test runs, and of their strains
    march           the reduced model of these modes at all integration points: no cubature, no dual basis
    cubature        the same at the points of a rule: errors at these points
    dual basis      what N_p modes of p leave out of the test runs, of the full runs alone and with sampled ones

All of it with arrays in memory, on one basis of all training runs: what a body adds to these is its cluster and its mask. The
runs are those of `tests.benchmarks.romnet`, kept in the same folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.reduced_newton import solve_reduced
from nwidth_graphs.kernels.reduced_problem import PointSet
from tests.benchmarks.romnet import FullRun, Settings, full_runs
from tests.cube import CubeGrid
from tests.cube.case import INPUTS, CubeCase, cube_law, inputs_of
from tests.cube.solver import TIMES, Floats

Indices = NDArray[np.int64]

TOGETHER = 8
"""Draws that march at all points together."""


@dataclass(frozen=True)
class Runs:
    """Full runs in memory."""

    inputs: Mapping[str, Floats]
    u: Floats  # (S, T, n)
    stress: Floats  # (S, T, Q, 6)
    p: Floats  # (S, T, Q)


@dataclass(frozen=True)
class March:
    """Reduced runs in memory."""

    q: Floats  # (S, T, N)
    p: Floats  # (S, T, points)
    stress: Floats  # (S, T, points, 6)


def loaded(runs: Sequence[FullRun]) -> Runs:
    """Runs as arrays."""
    rows = [inputs_of(run.parameters) for run in runs]
    fields = {name: np.stack([np.load(run.file)[name] for run in runs]) for name in ("u", "sigma", "p")}
    return Runs({name: np.array([row[name] for row in rows]) for name in INPUTS}, fields["u"], fields["sigma"], fields["p"])


@dataclass(frozen=True)
class Family:
    """Training and test runs on one mesh."""

    cells: int
    training: Runs
    test: Runs

    @cached_property
    def grid(self) -> CubeGrid:
        """The mesh."""
        return CubeGrid(self.cells)

    @cached_property
    def weights(self) -> Floats:
        """(Q,)."""
        return np.full(8 * self.cells**3, self.grid.weight)

    def modes(self, rank: int) -> Floats:
        """(n, rank) of all training displacements, in the mass inner product."""
        snapshots = self.training.u[:, 1:].reshape(-1, self.training.u.shape[2])
        values, vectors = np.linalg.eigh(snapshots @ (self.grid.mass() @ snapshots.T))
        largest = np.argsort(values)[::-1][:rank]
        return np.asarray(snapshots.T @ vectors[:, largest] / np.sqrt(values[largest]))

    def march(
        self, modes: Floats, inputs: Mapping[str, Floats], points: Indices | None = None, weights: Floats | None = None
    ) -> March:
        """Reduced runs at all points, or at those of a rule."""
        case, grid = CubeCase(self.cells), self.grid
        chosen = np.arange(len(self.weights)) if points is None else points
        part = PointSet(grid.mode_strains(modes)[chosen], self.weights if weights is None else weights, cube_law())
        vectors = case.load_vectors(grid.nodes)
        projected = np.stack([vector.ravel() @ modes for vector in vectors.values()])
        parts = []
        for start in range(0, len(inputs["x"]), TOGETHER):
            some = {name: values[start : start + TOGETHER] for name, values in inputs.items()}
            factors = case.load_factors(some)
            series = np.stack([factors[name] for name in vectors], axis=2)
            nodal = np.moveaxis(case.temperature(some, grid.nodes), 2, 0)
            temperature = np.moveaxis(grid.at_points(nodal), 0, 2)[:, :, chosen]
            found = solve_reduced([part], TIMES, series @ projected, temperatures=[temperature], keep=["p", "flux"])
            if found.failures:
                raise SystemExit(f"{found.failures[0]}")
            parts.append((found.q, found.duals[0]["p"], found.duals[0]["flux"]))
        q, p, stress = (np.concatenate(values) for values in zip(*parts, strict=True))
        return March(q, p, stress)

    def rule(self, modes: Floats, tolerance: float) -> tuple[Indices, Floats]:
        """Points and weights: of the integrands' R factor, for the search sees only products of columns with one another."""
        strains = self.grid.mode_strains(modes).reshape(-1, modes.shape[1])
        stress = np.moveaxis(self.training.stress[:, 1:].reshape(-1, len(self.weights), 6), 0, 2).reshape(len(strains), -1)
        gram = np.concatenate(list(_gram_rows(strains, stress)))
        values, vectors = np.linalg.eigh(gram)
        kept = values > 1e-14 * values[-1]
        found = nnomp(np.sqrt(values[kept])[:, None] * vectors[:, kept].T, self.weights, tolerance)
        return found.points, found.weights


def _gram_rows(strains: Floats, stress: Floats) -> Iterator[Floats]:
    """``G^T G`` (Q, Q) in blocks of rows: ``sum over components of (E E^T) * (S S^T)``, with G never formed."""
    block, count = 6 * 128, len(strains) // 6
    for start in range(0, len(strains), block):
        part = slice(start, start + block)
        products = (strains[part] @ strains.T) * (stress[part] @ stress.T)
        yield products.reshape(-1, 6, count, 6).sum(axis=(1, 3))


def family(folder: Path, settings: Settings) -> Family:
    """The runs of a benchmark, solved where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"train": settings.training, "test": settings.test}
    training, test = (loaded(list(full_runs(folder, part, count, settings))) for part, count in counts.items())
    return Family(settings.cells, training, test)


def relative(found: Floats, truth: Floats) -> Floats:
    """(S,) relative errors over all times of a run."""
    missed = (found - truth).reshape(len(truth), -1)
    return np.asarray(np.linalg.norm(missed, axis=1) / np.linalg.norm(truth.reshape(len(truth), -1), axis=1))


def words(errors: Floats) -> str:
    """Mean, ninth decile, maximum."""
    return f"{errors.mean():.2%}, {np.quantile(errors, 0.9):.2%}, {errors.max():.2%}"


def displacement_rows(of: Family, ranks: Sequence[int], tolerance: float) -> Iterator[str]:
    """A row for each number of modes: projection, march, cubature."""
    grid, test = of.grid, of.test
    everything = of.modes(max(ranks))
    for rank in ranks:
        modes = everything[:, :rank]
        best = (test.u @ (grid.mass() @ modes)) @ modes.T
        strains = relative(_strains(grid, best), _strains(grid, test.u))
        march = of.march(modes, test.inputs)
        points, weights = of.rule(modes, tolerance)
        ruled = of.march(modes, test.inputs, points, weights)
        yield (
            f"| {rank} | {words(relative(best, test.u))} | {words(strains)} | {words(relative(march.p, test.p))} "
            f"| {words(relative(march.stress, test.stress))} | {len(points)} | {words(relative(ruled.p, test.p[:, :, points]))} |"
        )


def _strains(grid: CubeGrid, u: Floats) -> Floats:
    return np.moveaxis(grid.mode_strains(u.reshape(-1, u.shape[2]).T), 2, 0).reshape(len(u), -1)


def dual_rows(of: Family, rank: int, ranks: Sequence[int], sampled: Sequence[int]) -> Iterator[str]:
    """A row for each number of sampled runs: what bases of p leave out of the test runs."""
    generator = np.random.default_rng(0)
    known = of.training.inputs
    inputs = {name: generator.uniform(values.min(), values.max(), max(sampled)) for name, values in known.items()}
    more = of.march(of.modes(rank), inputs).p if max(sampled) else of.training.p[:0]
    truth = of.test.p.reshape(-1, of.test.p.shape[2])
    for count in sampled:
        states = np.concatenate([of.training.p, more[:count]]).reshape(-1, truth.shape[1])
        basis = np.linalg.svd(states.T, full_matrices=False)[0]
        found = [relative((truth @ basis[:, :n] @ basis[:, :n].T).reshape(of.test.p.shape), of.test.p) for n in ranks]
        yield f"| {count} | {' | '.join(words(errors) for errors in found)} |"


def main(given: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name in ("cells", "spread", "training", "test", "tolerance"):
        default = getattr(Settings, name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--ranks", type=int, nargs="+", default=[40, 80, 150], help="modes of displacement")
    parser.add_argument("--dual-ranks", type=int, nargs="+", default=[60, 120, 200, 300], help="modes of p")
    parser.add_argument("--sampled", type=int, nargs="+", default=[0, 100, 300], help="sampled runs in the basis of p")
    parser.add_argument("--folder", type=Path, help="where runs are kept; a temporary one by default")
    asked = vars(parser.parse_args(given))
    settings = Settings(**{name: asked[name] for name in ("cells", "spread", "training", "test", "tolerance")})
    with tempfile.TemporaryDirectory(prefix="romnet-") as scratch:
        of = family(asked["folder"] or Path(scratch), settings)
    print("Mean, ninth decile and maximum over the test runs.\n")
    print(
        "| modes | displacement left out | strain left out | p, all points | stress, all points | points of a rule | p at these |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in displacement_rows(of, asked["ranks"], settings.tolerance):
        print(row, flush=True)
    print(f"\n| sampled runs | {' | '.join(f'{rank} modes of p' for rank in asked['dual_ranks'])} |")
    print("|---" * (1 + len(asked["dual_ranks"])) + "|")
    for row in dual_rows(of, max(asked["ranks"]), asked["dual_ranks"], asked["sampled"]):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
