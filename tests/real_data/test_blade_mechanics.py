"""A foreign solver's blades through reduced mechanics: a cubature, dual fields from few points, and the reduced Newton method.

Nothing here was computed by us: displacement, stress and plastic strain are CalculiX's, and what is held out was never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nwidth as nw
from nwidth.mechanics.body import ReducedBody, Solved
from nwidth.mechanics.options import MechanicsOptions, Reconstruction
from nwidth.mechanics.training import Training, train_body
from nwidth.models.model import Model, open_model
from nwidth.readers.calculix import FrdReader
from nwidth.readers.protocol import Run
from nwidth.runs import run
from nwidth.stores import open_store
from nwidth.workers import ThreadExecutor
from nwidth_graphs.kernels.gappy_reconstruction import error_bound, relative_errors
from nwidth_graphs.kernels.materials import Law
from nwidth_graphs.kernels.reduced_newton import solve_reduced
from nwidth_graphs.kernels.reduced_problem import PointSet
from nwidth_graphs.kernels.strains import point_groups, rules_by_count, strain_operator, voigt_order
from tests.real_data.blade_case import BladeCase, deck_law, solvers_law, temperature_of
from tests.real_data.references import ingested
from tests.runs.studies import study_of
from tests.shared_data import shared_data

Floats = NDArray[np.float64]

TOLERANCE = 1e-4
"""Of bases and cubature."""


@dataclass(frozen=True)
class Split:
    """Design points to learn from and to hold out, and what was found on the latter, rounded up.

    Errors are the largest over all snapshots, relative, in percent.
    """

    name: str
    learnt: tuple[int, ...]
    held_out: tuple[int, ...]
    points: int
    """Of the rule, within a tenth."""
    rule: float
    """Error of the rule."""
    reconstructed: dict[str, float]
    """Error of a field from its own values at the mask."""
    solved: dict[str, float]
    """Error from loads and temperature alone."""


SPLITS = [
    Split("three", (1, 17), (0,), 71, 1.5, {"S": 0.8, "PEEQ": 0.3}, {"DISP": 1.0, "PEEQ": 3.5, "S": 4.0}),
    Split("all", tuple(range(16)), (16, 17, 18, 19), 252, 0.05, {"S": 0.15, "PEEQ": 0.1}, {"DISP": 0.6, "PEEQ": 2.0, "S": 3.5}),
]


@dataclass(frozen=True)
class Blades:
    """A store of design points, and bases of some of them."""

    split: Split
    store: Path
    model: Model

    @cached_property
    def snapshots(self) -> Any:
        """Of all design points."""
        return nw.open_snapshots(self.store)

    @property
    def case(self) -> BladeCase:
        return BladeCase(self.store)

    @cached_property
    def body(self) -> ReducedBody:
        """Trained with the law of the deck."""
        return self.trained({"PEEQ": "p", "S": "flux"}, "gappy")

    def trained(self, duals: dict[str, str], reconstruction: Reconstruction) -> ReducedBody:
        """Its rule is measured on simulations that its bases have not seen either."""
        options = MechanicsOptions(
            displacement="DISP",
            stress="S",
            duals=duals,
            tolerance=TOLERANCE,
            held_out=tuple(map(point_name, self.split.held_out)),
            reconstruction=reconstruction,
        )
        training = Training(
            store=open_store(str(self.store)),
            model=self.model.path,
            bases=self.model.path / "bases",
            named={basis.fields[0]: basis for basis in self.model.bases.values()},
            simulations=tuple(map(point_name, (*self.split.learnt, *self.split.held_out))),
            case=self.case,
            law=deck_law(),
            options=options,
            executor=ThreadExecutor(2),
            token=self.split.name,
        )
        return train_body(training)

    def of(self, points: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which snapshots are those of some design points."""
        return np.isin(self.snapshots["simulation"].values, list(map(point_name, points)))

    def field(self, name: str, points: tuple[int, ...]) -> Floats:
        """One column for each snapshot, in the order of the points."""
        values = self.snapshots[name].values[self.of(points)].astype(np.float64)
        return np.asarray(values.reshape(len(values), -1).T)

    def modes(self, folder: str) -> Floats:
        """Psi (rows, N_p)."""
        import zarr

        stored: Any = zarr.open_array(str(self.model.path / folder / "modes"), mode="r")
        return np.asarray(stored[:]).reshape(stored.shape[0], -1).T

    def inputs(self, points: tuple[int, ...]) -> dict[str, Floats]:
        """(D,) by name."""
        first = np.flatnonzero(self.of(points))[:: len(self.stored)]
        return {name: self.snapshots[name].values[first] for name in self.case.inputs}

    @property
    def stored(self) -> Floats:
        """Times of a design point's snapshots."""
        return np.asarray(self.snapshots["time"].values[self.of(self.split.held_out[:1])])

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps of the case that the solver wrote."""
        return np.abs(self.stored[:, None] - self.case.times).argmin(axis=1)

    def found(self, solved: Solved, name: str) -> Floats:
        """A field of solved draws, one column for each snapshot."""
        folders = {"DISP": self.body.modes, **{dual.name: dual.modes for dual in self.body.duals}}
        coefficients = solved.coefficients[name][:, self.steps]
        return self.modes(folders[name]) @ coefficients.reshape(-1, coefficients.shape[-1]).T

    def errors(self, solved: Solved, name: str, points: tuple[int, ...]) -> Floats:
        """Relative errors of solved draws, the simulations one behind the other."""
        return relative_errors(self.found(solved, name), self.field(name, points))


def point_name(number: int) -> str:
    """Of its folder, and so of its simulation."""
    return f"point-{number:02d}"


@pytest.fixture(scope="module", params=[SPLITS[0], pytest.param(SPLITS[1], marks=pytest.mark.slow)], ids=lambda split: split.name)
def blades(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Blades:
    """A few design points, or all of them."""
    split: Split = request.param
    folder, root = tmp_path_factory.mktemp("blades"), shared_data("blade-ensemble")
    points = (*split.learnt, *split.held_out)
    ingested(folder, [root / point_name(number) for number in points], parameters=root / "design.csv")
    reduce = {
        "fields": ["DISP", "S", "PEEQ"],
        "basis": "each",
        "rtol": TOLERANCE,
        "simulations": list(map(point_name, split.learnt)),
        "inner_product": {"DISP": "mass"},
    }
    return Blades(split, folder / "store", open_model(run(study_of(folder, folder / "store", scheduler, reduce=reduce)).model))


def test_a_rule_for_unseen_blades(blades: Blades) -> None:
    """A few in a hundred of 6 380 points integrate the work of learnt stresses to 1e-4, and that of unseen ones as stated."""
    rule, split = blades.body.rule, blades.split
    assert rule.ended == "tolerance"
    assert rule.points == pytest.approx(split.points, rel=0.1)
    assert rule.held_out is not None
    assert rule.training <= TOLERANCE < rule.held_out <= split.rule / 100


@pytest.mark.parametrize("name", ["S", "PEEQ"])
def test_dual_fields_of_unseen_blades(blades: Blades, name: str) -> None:
    """Fields come back from their own values at the mask: within the bound, and half as wrong again at most as the basis is."""
    (dual,) = (dual for dual in blades.body.duals if dual.name == name)
    fields, psi = blades.field(name, blades.split.held_out), blades.modes(dual.modes)
    found = psi @ dual.masked.reconstruct(fields[dual.masked.points]).coefficients
    missed = fields - psi @ (psi.T @ fields)
    best = np.linalg.norm(missed, axis=0)
    bound = error_bound(dual.masked, best, np.linalg.norm(missed[dual.masked.points], axis=0), np.zeros_like(best))
    # The modes are orthonormal to 1e-10, as their certificate says.
    error, rounding = np.linalg.norm(found - fields, axis=0), 1e-9 * np.linalg.norm(fields, axis=0)
    assert (best <= error + rounding).all()
    assert (error <= bound + rounding).all()
    assert dual.masked.amplification < 10
    assert not dual.masked.blind
    assert (error <= 1.5 * best).all()
    assert relative_errors(found, fields).max() <= blades.split.reconstructed[name] / 100


def marched(blades: Blades, law: Law, points: tuple[int, ...]) -> Solved:
    """The body's reduced Newton method with any law, from loads and temperature alone."""
    body, case, inputs = blades.body, blades.case, blades.inputs(points)
    factors = case.load_factors(inputs)
    forces = np.stack([factors[name] for name in body.load_names], axis=2) @ body.loads
    temperature = body.interpolation(case.temperature(inputs, body.interpolation.nodes))
    sets, keep = [PointSet(body.strains, body.weights, law)], sorted({dual.variable for dual in body.duals})
    return body.judged(solve_reduced(sets, case.times, forces, temperatures=[temperature], keep=keep))


@pytest.mark.parametrize("which", ["learnt", "held_out"])
def test_blades_from_their_loads(blades: Blades, which: str) -> None:
    """With the solver's law, loads and temperature alone give what it computed, of learnt and of held-out blades alike."""
    points: tuple[int, ...] = getattr(blades.split, which)
    solved = marched(blades, solvers_law(), points)
    assert not solved.failures
    # One of the two from which the small model learns is as far from what both have in common as blades come.
    allowance = 1.5 if blades.split.name == "three" and which == "learnt" else 1.0
    for name, percent in blades.split.solved.items():
        assert blades.errors(solved, name, points).max() <= allowance * percent / 100, name


def test_the_indicator_knows_of_a_wrong_law(blades: Blades) -> None:
    """The deck's own law is off by 3 to 5 % in plastic strain; the indicator, calibrated with it, says so of unseen blades."""
    points = blades.split.held_out
    solved = blades.body.solve(blades.case, blades.inputs(points))
    assert blades.body.calibration is not None
    errors = blades.errors(solved, "PEEQ", points)
    assert 0.02 < np.median(errors) < errors.max() <= 0.05
    # An upper estimate of two standard deviations.
    indicated = solved.indicator[:, blades.steps].ravel()
    assert (indicated >= errors).mean() >= 0.95
    assert (indicated <= 2.5 * errors).all()


@pytest.mark.slow
def test_a_regression_mends_a_wrong_law(blades: Blades) -> None:
    """Over all snapshots of held-out blades, a Lasso on 16 blades leaves a third of the deck law's error in plastic strain."""
    points = blades.split.held_out
    if len(blades.split.learnt) < 16:
        pytest.skip("two simulations are too few to learn from")
    plain = blades.body.solve(blades.case, blades.inputs(points))
    mended = blades.trained({"PEEQ": "p"}, "lasso").solve(blades.case, blades.inputs(points))
    truth = blades.field("PEEQ", points)
    biased, left = (np.linalg.norm(blades.found(solved, "PEEQ") - truth) for solved in (plain, mended))
    assert left <= biased / 3


def test_the_solvers_law_at_every_point() -> None:
    """Strain of the written displacement, through the law of `SolversLaw`, is the printed stress and plastic strain to 2 %.

    After the ramp to 0.8 %; with the sign of the deck's hardening it is at least three times as wrong then.
    """
    run = FrdReader().open(shared_data("blade-ensemble") / "point-00" / "blade.frd")
    given, reversed_ = through_the_law(run, deck_law()), through_the_law(run, solvers_law())
    assert reversed_.max() <= 0.02
    after = np.asarray(run.times) > 15.0
    assert reversed_[after].max() <= 0.008
    assert (given[after] >= 3 * reversed_[after]).all()


def through_the_law(run: Run, law: Law) -> Floats:
    """Relative errors of stress and plastic strain (T, 2) of a law that is given the strain, ten steps between two snapshots."""
    mesh, points = run.mesh, run.integration_points
    assert mesh is not None
    assert points is not None
    groups = point_groups(mesh, points.cell, points.local, rules_by_count(mesh.cell_types, points.cell))
    order = voigt_order(run.fields["S"].components)
    old, state, time = np.zeros((len(points.cell), 6)), law.initial_state(np.zeros((len(points.cell), 6)), np.zeros(0)), 0.0
    errors = []
    for fields, stop in zip(run.snapshots(), np.asarray(run.times), strict=True):
        new = strain_operator(groups, np.asarray(fields["DISP"], np.float64)[:, :, None])[..., 0]
        for share in np.arange(1, 11) / 10:
            # Of design point 0.
            at = temperature_of(1012.4, 44.86, np.array([time + share * (stop - time)]))
            response = law(old + share * (new - old), state, np.broadcast_to(at, len(old)), (stop - time) / 10)
            state = response.state
        old, time = new, float(stop)
        pairs = ((response.flux, fields["S"][:, order]), (state["p"], fields["PEEQ"]))
        errors.append([np.linalg.norm(found - truth) / np.linalg.norm(truth) for found, truth in pairs])
    return np.array(errors)


def test_the_single_blade_has_nothing_at_integration_points() -> None:
    """The single blade comes without its solver's table of integration points: no cubature can be made of its stress at nodes."""
    run = FrdReader().open(shared_data("blade-calculix") / "blade3.frd")
    assert run.integration_points is None
    assert {run.fields[name].location for name in ("STRESS", "PE")} == {"node"}
