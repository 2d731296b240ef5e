"""Sampled runs: reduced runs between those of training, whose fields the bases of bodies know; tolerances by field."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import nwidth as nw
from nwidth.config import AtlasSection
from nwidth.errors import ConfigError, InputError
from nwidth.mechanics.files import mechanics_key
from nwidth.mechanics.options import MechanicsOptions
from nwidth.mechanics.train import content_key_of, train_mechanics
from nwidth.models.files import read_basis
from nwidth.models.model import Model, open_model
from tests.cube import CubeParameters, cube_run
from tests.cube.case import CubeCase, cube_law, store_of
from tests.mechanics.cubes import PLASTIC, field, inputs, reduced

CELLS = 3
RUNS = [
    CubeParameters(amplitude=amplitude, centre=(x, 0.5, 0.5), pressure=100.0)
    for amplitude in (300.0, 460.0)
    for x in (0.3, 0.5, 0.7)
]
UNSEEN = CubeParameters(amplitude=340.0, centre=(0.6, 0.5, 0.5))
DUALS = {"p": "p", "stress": "flux"}
FINE = {"displacement": 1e-4, "p": 1e-3, "stress": 1e-2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Model:
    """Six runs whose hot spot moves along a line: few for the plastic strain, enough for the displacement."""
    folder = tmp_path_factory.mktemp("sampling")
    fields = ("displacement", "p", "stress")
    return reduced(folder, store_of(folder, RUNS, CELLS), scheduler, "cubes", fields=fields, rtol=1e-4)


def options(**more: Any) -> MechanicsOptions:
    """Displacement finer than the dual fields."""
    return MechanicsOptions(duals=DUALS, tolerance=1e-4, smallest_norm=PLASTIC, **{"rtol": FINE, **more})


def trained(model: Model, into: Path, **more: Any) -> Path:
    """A copy of the model with mechanics."""
    path = Path(shutil.copytree(model.path, into))
    train_mechanics(path, CubeCase(CELLS), cube_law(), options=options(**more))
    return path


@pytest.fixture(scope="module")
def sampled(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sixteen sampled runs."""
    return trained(model, tmp_path_factory.mktemp("sampled") / "model.zarr", sampled_runs=16)


def body_of(path: Path) -> Any:
    """The one body."""
    (body,) = nw.open_mechanics(path, CubeCase(CELLS)).bodies
    return body


def errors_of(path: Path) -> dict[str, float]:
    """Relative errors over all times of the unseen run: of the body's own answer, and of the best that its basis of p can do."""
    body, truth = body_of(path), cube_run(UNSEEN, CELLS)
    solved = body.solve(CubeCase(CELLS), inputs([UNSEEN]))
    found = {}
    for dual, true in zip(body.duals, (truth.p, truth.sigma), strict=True):
        answer = field(path, dual.modes, solved.coefficients[dual.name][0])
        found[dual.name] = float(np.linalg.norm(answer - true) / np.linalg.norm(true))
    stored: Any = zarr.open_array(str(path / body.duals[0].modes / "modes"), mode="r")
    modes = np.asarray(stored[...])
    away = truth.p - truth.p @ modes.T @ modes
    return {**found, "best p": float(np.linalg.norm(away) / np.linalg.norm(truth.p))}


def test_dual_bases_know_runs_that_no_solver_has_made(model: Model, sampled: Path, tmp_path: Path) -> None:
    """Though it is coarser, a basis of p leaves out half as much of an unseen run, and the answer is better for it."""
    plain = errors_of(trained(model, tmp_path / "model.zarr"))
    found = errors_of(sampled)
    assert found["best p"] < plain["best p"] / 2
    assert found["p"] < plain["p"]


def test_what_a_basis_keeps_is_of_the_store_alone(sampled: Path) -> None:
    """Coefficients, norms and errors are those of the store's 66 snapshots, and the calibration has no other pairs."""
    body = body_of(sampled)
    folder = (sampled / body.duals[0].modes).parents[2]
    basis = read_basis(folder, "p")
    truth = np.concatenate([cube_run(run, CELLS).p for run in RUNS])
    assert basis.coefficients.shape == (body.duals[0].masked.modes, len(truth))
    stored: Any = zarr.open_array(str(sampled / body.duals[0].modes / "modes"), mode="r")
    np.testing.assert_allclose(basis.coefficients.values, np.asarray(stored[...]) @ truth.T, atol=1e-12 * np.linalg.norm(truth))
    np.testing.assert_allclose(basis.certificate.snapshot_norms, np.linalg.norm(truth, axis=1), rtol=1e-10)
    assert len(body.calibration.errors) <= 3 * len(truth)
    assert not list((sampled / "mechanics").glob("sampling*"))


def test_every_field_has_its_own_tolerance(model: Model, sampled: Path, tmp_path: Path) -> None:
    """Errors of the bases are those asked for by field; a change of one is seen, and the same settings find nothing to do."""
    for name, rtol in FINE.items():
        basis = read_basis((sampled / body_of(sampled).modes).parents[2], name)
        assert rtol / 10 < basis.certificate.frobenius_error <= rtol, name
    key = mechanics_key(sampled)
    train_mechanics(sampled, CubeCase(CELLS), cube_law(), options=options(sampled_runs=16))
    assert mechanics_key(sampled) == key
    other = trained(model, tmp_path / "model.zarr", sampled_runs=1, rtol=None, rank={"p": 3})
    assert body_of(other).duals[0].masked.modes == 3
    assert mechanics_key(other) != key


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"rtol": {"temperature": 1e-3}},
            r"mechanics.rtol: 'temperature' is no field of the bodies; they have displacement, p, stress",
        ),
        ({"rtol": {"p": 2.0}}, r"mechanics.rtol: 2 was found, expected a number in \(0, 1\)"),
        ({"rank": {"p": 0}}, "mechanics.rank: 0 was found, expected a positive number of modes"),
        ({"sampled_runs": -1}, "-1 sampled runs were asked for"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    """A field that no body has, a tolerance or a rank out of range, and a negative number of runs are named."""
    with pytest.raises(ConfigError, match=words):
        options(**settings)


class Unsolvable(CubeCase):
    """Loads that are not numbers, from the first step on."""

    def load_factors(self, inputs: Any) -> dict[str, Any]:
        return {name: np.nan * factors for name, factors in super().load_factors(inputs).items()}


def test_sampled_runs_that_all_fail_are_an_error(model: Model, tmp_path: Path) -> None:
    """Where no sampled run reaches its end, training says so with the first reason, and leaves nothing behind."""
    path = Path(shutil.copytree(model.path, tmp_path / "model.zarr"))
    with pytest.raises(InputError, match="none of the 2 sampled runs reached its end, the first because"):
        train_mechanics(path, Unsolvable(CELLS), cube_law(), options=options(sampled_runs=2))
    assert not list(path.glob("mechanics*"))


class PartlyUnsolvable(CubeCase):
    """Loads that are not numbers where it is hot."""

    def load_factors(self, inputs: Any) -> dict[str, Any]:
        hot = np.where(inputs["amplitude"] > 380.0, np.nan, 1.0)[:, None]
        return {name: hot * factors for name, factors in super().load_factors(inputs).items()}


def test_sampled_runs_that_fail_are_counted_and_left_out(model: Model, tmp_path: Path) -> None:
    """The others are learnt from, and a note says how many did not reach their end."""
    path = Path(shutil.copytree(model.path, tmp_path / "model.zarr"))
    trained = train_mechanics(path, PartlyUnsolvable(CELLS), cube_law(), options=options(sampled_runs=6))
    drawn = np.random.default_rng(0).uniform(300.0, 460.0, 6)
    assert 0 < (drawn > 380.0).sum() < 6
    assert f"{(drawn > 380.0).sum()} of 6 sampled runs failed and are left out" in trained.notes


def test_a_dictionary_gives_every_sampled_run_to_the_cluster_that_answers_it(
    model: Model, tmp_path: Path, scheduler: str
) -> None:
    """Without a classifier nobody knows where a sampled run belongs, and that is said; with one, all bodies learn of theirs."""
    pytest.importorskip("sklearn", reason="training of the classifier takes scikit-learn")
    atlas = AtlasSection(of="simulations", clusters=2, minimum_size=2, rank=4)
    store = Path(model.manifest["store"]["url"])
    parted = reduced(tmp_path, store, scheduler, "parted", atlas, fields=("displacement",), rtol=1e-4)
    with pytest.raises(ConfigError, match="has learnt no classifier"):
        train_mechanics(parted, CubeCase(CELLS), cube_law(), options=options(sampled_runs=12))
    nw.learn(parted.path, regression="rbf")
    opened = open_model(parted.path)
    train_mechanics(opened, CubeCase(CELLS), cube_law(), options=options(sampled_runs=12))
    assert content_key_of(opened)
    for number, body in enumerate(nw.open_mechanics(parted.path, CubeCase(CELLS)).bodies):
        basis = read_basis(parted.path / "mechanics" / f"cluster-{number}", "p")
        # A basis of its store's snapshots alone would have no more modes than these.
        assert basis.coefficients.shape[1] < 66
        assert body.calibration is not None
    assert replace(options(), sampled_runs=12) == options(sampled_runs=12)
