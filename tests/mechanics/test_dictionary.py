"""A dictionary of reduced cubes: clusters of simulations, a body for each, a classifier, Monte Carlo with true errors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.config import AtlasSection, ReduceSection
from nwidth.errors import ConfigError, InputError, RunError
from nwidth.mechanics.model import MechanicsModel, open_mechanics
from nwidth.mechanics.train import content_key_of
from nwidth.taught import mechanics_lines, taught
from nwidth.uncertainty.distributions import Choice, Constant, Uniform
from nwidth.uncertainty.quantities import Quantity
from tests.cube import CubeParameters
from tests.cube.case import CubeCase, cube_law, reference_fields, store_of
from tests.mechanics.cubes import inputs, plastic_options, reduced

pytest.importorskip("sklearn", reason="training of the classifier takes scikit-learn")

CELLS = 3
# Two families: a hot spot near one end, and near the other.
RUNS = [
    CubeParameters(amplitude=300.0 + 20.0 * k, centre=(0.2 + 0.6 * (k % 2), 0.5, 0.5), pressure=90.0 + 2.0 * k) for k in range(12)
]
UNCERTAIN: dict[str, Any] = {
    "amplitude": Uniform(320.0, 500.0),
    "x": Choice((0.2, 0.8)),
    "pressure": Uniform(92.0, 110.0),
    **{name: Constant(value) for name, value in {"y": 0.5, "z": 0.5, "width": 4.0, "omega": 1.5e4}.items()},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> MechanicsModel:
    """Two bodies and what chooses between them."""
    folder = tmp_path_factory.mktemp("dictionary")
    store = store_of(folder, RUNS, CELLS)
    atlas = AtlasSection(of="simulations", clusters=2, minimum_size=2, rank=6)
    model = reduced(
        folder, store, scheduler, "cubes", atlas, fields=("displacement",), rtol=1e-4, inner_product={"displacement": "mass"}
    )
    nw.learn(model.path)
    bases = ReduceSection(rtol=1e-3, route="tsqr", inner_product={"displacement": "mass"})
    nw.train_mechanics(model.path, CubeCase(CELLS), cube_law(), options=plastic_options(1e-4), reduce=bases)
    return open_mechanics(model.path, CubeCase(CELLS))


def test_clusters_are_the_two_families_and_each_has_its_body(trained: MechanicsModel) -> None:
    """Simulations are parted by where the heat is, and bodies lie in the model with bases of their own."""
    labels = trained.model.atlas.item_labels
    assert len(trained.bodies) == 2
    assert (labels[::2] == labels[0]).all()
    assert (labels[1::2] == labels[1]).all()
    assert labels[0] != labels[1]
    for cluster, body in enumerate(trained.bodies):
        assert body.modes == f"mechanics/cluster-{cluster}/bases/displacement/displacement"
        assert (trained.model.path / body.modes / "modes").is_dir()
        assert body.calibration is not None
        assert body.rule.training <= 1e-4
    shown = trained._repr_html_()
    assert "Reduced mechanics of CubeCase" in shown
    assert shown.count("<tr") == 3


def test_a_load_case_is_predicted(trained: MechanicsModel) -> None:
    """Displacement and plastic strain of a case between the training ones are within some per cent of the full-order model's."""
    new = {"amplitude": 410.0, "x": 0.2, "y": 0.5, "z": 0.5, "width": 4.0, "pressure": 101.0, "omega": 1.5e4}
    answer, truth = trained.predict(**new).compute(), reference_fields(CELLS, new)
    assert answer["cluster"] == trained.model.atlas.item_labels[0]
    for name in ("displacement", "p"):
        error = np.linalg.norm(answer[name].values - truth[name]) / np.linalg.norm(truth[name])
        assert error < 0.02, name
    assert float(answer["indicator"][-1]) >= 0.3 * _last_error(answer, truth)


def _last_error(answer: Any, truth: Any) -> float:
    missed = np.linalg.norm(answer["p"].values[-1] - truth["p"][-1])
    return float(missed / np.linalg.norm(truth["p"][-1]))


def test_monte_carlo_of_a_dictionary(trained: MechanicsModel, tmp_path: Path) -> None:
    """Draws are shared out between the bodies, statistics cover all of them, and verified errors are small."""
    found = nw.monte_carlo(
        trained.model,
        UNCERTAIN,
        draws=24,
        seed=4,
        surrogate=trained.surrogate,
        quantities=(Quantity("peak", "p"), Quantity("mean p", "p", "mean")),
        verify=3,
        reference=partial(reference_fields, CELLS),
        out=tmp_path / "draws.zarr",
    )
    labels = found.draws["label"].values[:, 0]
    assert set(labels) == {0.0, 1.0}
    assert not found.failures
    assert found.fields["p"]["mean"].shape == (11, 8 * CELLS**3)
    assert (found.fields["p"]["quantiles"][0] <= found.fields["p"]["quantiles"][2]).all()
    assert found.document["verified"]["errors"]["p"]["median"] < 0.1
    peaks = found.draws["peak"].values
    assert found.estimates["peak"]["mean"] == pytest.approx(peaks.mean())


def test_bodies_may_share_their_points(trained: MechanicsModel, tmp_path: Path) -> None:
    """One set of points, fewer than both bodies have apart, weights of each body's own, to the same tolerance."""
    copy = Path(shutil.copytree(trained.model.path, tmp_path / "model.zarr"))
    bases = ReduceSection(rtol=1e-3, route="tsqr", inner_product={"displacement": "mass"})
    nw.train_mechanics(copy, CubeCase(CELLS), cube_law(), options=plastic_options(1e-4, points="shared"), reduce=bases)
    opened = open_mechanics(copy, CubeCase(CELLS))
    assert (opened.mechanics.shared_points, trained.mechanics.shared_points) == (True, False)
    first, second = opened.bodies
    np.testing.assert_array_equal(first.points, second.points)
    assert len(np.unique(first.points)) == len(first.points) < sum(len(body.points) for body in trained.bodies)
    for body, apart in zip(opened.bodies, trained.bodies, strict=True):
        assert body.rule.training <= 1e-4
        assert np.count_nonzero(body.weights) == body.rule.points <= 1.3 * apart.rule.points
        # The same modes: displacement at a training run is that of the body apart, within what two rules of that tolerance do.
        given = inputs(RUNS[:2])
        here, there = (found.solve(CubeCase(CELLS), given).history.q for found in (body, apart))
        assert np.linalg.norm(here - there) <= 5e-3 * np.linalg.norm(there)
    assert "at the same points" in "".join(mechanics_lines(taught(copy, content_key_of(opened.model))["mechanics"]))


def test_a_regression_corrects_dual_fields(trained: MechanicsModel, tmp_path: Path) -> None:
    """Trained on the bodies' own runs it comes with its error by cross-validation, is read back, and is asked like any other."""
    copy = Path(shutil.copytree(trained.model.path, tmp_path / "model.zarr"))
    bases = ReduceSection(rtol=1e-3, route="tsqr", inner_product={"displacement": "mass"})
    options = plastic_options(1e-4, reconstruction="gaussian-process")
    nw.train_mechanics(copy, CubeCase(CELLS), cube_law(), options=options, reduce=bases)
    opened = open_mechanics(copy, CubeCase(CELLS))
    assert all((body.duals[0].held_out or 0.0) > 0.0 for body in opened.bodies)
    # Of a run that it was trained on: seven simulations of a cluster teach no regression of new ones.
    given = {name: float(values[0]) for name, values in inputs(RUNS[4:5]).items()}
    truth = reference_fields(CELLS, given)["p"]
    error = np.linalg.norm(opened.predict(**given)["p"].values - truth) / np.linalg.norm(truth)
    assert error < 0.05


def test_a_draw_far_from_training_is_told(trained: MechanicsModel, tmp_path: Path) -> None:
    """An amplitude that training never came near is answered with a remark; NaN is a failure of that draw alone."""
    hot = {**UNCERTAIN, "amplitude": Constant(900.0)}
    found = nw.monte_carlo(trained.model, hot, draws=4, surrogate=trained.surrogate, out=tmp_path / "hot.zarr")
    assert len(found.document["remarks"]) == 4
    assert "unlike all of training" in found.document["remarks"]["0"]
    ordinary = found.document["indicator"]["median"]
    usual = nw.monte_carlo(trained.model, UNCERTAIN, draws=4, surrogate=trained.surrogate, out=tmp_path / "usual.zarr")
    assert ordinary > 2.0 * usual.document["indicator"]["median"]


def test_wrong_inputs_are_named(trained: MechanicsModel) -> None:
    """Inputs that are missing, and a case that cannot be solved."""
    with pytest.raises(InputError, match="the case takes amplitude, x"):
        trained.predict(amplitude=380.0)
    given = {name: float(values[0]) for name, values in inputs(RUNS[:1]).items()}
    with pytest.raises(RunError, match="could not be solved"):
        trained.predict(**{**given, "pressure": 1e300})


def test_an_atlas_of_snapshots_is_refused(trained: MechanicsModel) -> None:
    """Internal variables follow a simulation, so clusters of single snapshots have no body."""
    atlas = replace(trained.model.atlas, of="snapshots")
    trained.model.__dict__["atlas"] = atlas
    try:
        with pytest.raises(ConfigError, match="internal variables follow a whole simulation"):
            nw.train_mechanics(trained.model, CubeCase(CELLS), cube_law(), options=plastic_options(1e-2))
    finally:
        del trained.model.__dict__["atlas"]
    assert Path(trained.model.path / "mechanics").is_dir()
