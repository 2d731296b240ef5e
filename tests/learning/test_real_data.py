"""Real data: a blade predicted at held-out loads, clusters of thermo-mechanical simulations chosen from their first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.learning.classifier import Options, cross_validate, fit_classifier
from nwidth.learning.splitting import splits_by_group
from nwidth.models.inputs import Parameters
from nwidth_graphs.kernels.angles import sine, sine_between
from nwidth_graphs.kernels.gain import criterion
from nwidth_graphs.kernels.kmedoids import k_medoids
from nwidth_graphs.kernels.local_bases import local_basis
from tests.real_data.references import ingested
from tests.shared_data import shared_data

pytest.importorskip("sklearn", reason="training takes scikit-learn")

HELD_OUT = [f"point-{number}" for number in range(16, 20)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "largest"), [("DISP", 0.03), ("PEEQ", 0.01)])
def test_a_blade_at_held_out_loads(tmp_path: Path, name: str, largest: float) -> None:
    """Trained at 16 points, displacement at 4 others errs by 0.9 to 2.1 %, plastic strain by 0.4 to 0.7 %, as was stated."""
    root = shared_data("blade-ensemble")
    dataset = ingested(tmp_path, sorted(root.glob("point-*")), parameters=root / "design.csv")
    runs = np.array([str(run) for run in dataset["simulation"].values])
    field = dataset[name].load()
    nw.pod(field[~np.isin(runs, HELD_OUT)], rtol=1e-3).save(tmp_path / "model.zarr")
    learned = nw.learn(tmp_path / "model.zarr")
    model = nw.open_model(tmp_path / "model.zarr")
    assert isinstance(learned.features, Parameters)
    assert learned.features.names == ("hold_end", "omega_squared", "peak_temperature")
    errors = []
    for run in HELD_OUT:
        rows = runs == run
        exact = field.values[rows].astype(np.float64)
        answer = model.predict({axis: float(dataset[axis].values[rows][0]) for axis in learned.features.names})
        errors.append(float(np.linalg.norm(answer[name].values - exact) / np.linalg.norm(exact)))
    stated = learned.clusters[0].regression_errors[0]
    assert stated is not None
    assert max(errors) < largest
    # Four simulations against the root mean square of sixteen: a factor of two and a half either way.
    assert stated / 2.5 < np.sqrt(np.mean(np.square(errors))) < 2.5 * stated


def beginnings(clusters: int) -> tuple[Any, Any, Any, Any, float]:
    """First columns of training and test simulations, their clusters, and the break-even accuracy of two modes.

    The set holds results and no input fields. The first of 27 columns stands for an input: what a run of one step would tell.
    """
    data = np.load(shared_data("romnet-thermomechanical") / "romnet_reduced_coordinates.npz")
    train, test = data["train"], data["test"]
    X, Y = train.reshape(len(train), -1).T, test.reshape(len(test), -1).T
    found = k_medoids(sine(X), clusters)
    labels = found.partition.labels
    truth = np.argmin(sine_between(Y, X[:, found.medoids]), axis=1)
    columns = [np.moveaxis(train[labels == k], 1, 0).reshape(23, -1) for k in range(clusters)]
    bases = [local_basis(part, rank=2, normalise=False).modes for part in columns]
    whole = local_basis(np.moveaxis(train, 1, 0).reshape(23, -1), rank=2, normalise=False).modes
    errors = np.array([[frobenius(simulation, T) for simulation in test] for T in [whole, *bases]])
    even = criterion(errors[:1], errors[1:, None, :], truth).break_even[0]
    return train[:, :, 0], labels, test[:, :, 0], truth, float(even)


def frobenius(simulation: Any, T: Any) -> float:
    """Relative projection error of one simulation (23, 27)."""
    return float(np.linalg.norm(simulation - T @ (T.T @ simulation)) / np.linalg.norm(simulation))


@pytest.mark.parametrize(("clusters", "least"), [(2, 0.90), (5, 0.82)])
def test_clusters_are_chosen_from_the_first_step(clusters: int, least: float) -> None:
    """Logistic regression of the first step is right for 92 % (2 clusters) and 86 % (5) of 200 test runs: above break-even."""
    Z, labels, asked, truth, even = beginnings(clusters)
    groups = np.arange(len(Z))
    validation = cross_validate(Z, labels, groups, Options(), splits_by_group(labels, groups, 5))
    fitted, notes = fit_classifier(Z, labels, groups, clusters, Options(), validation)
    assert notes == ()
    accuracy = np.mean(fitted.labels(asked) == truth)
    held_out = np.mean(validation.predicted == labels[validation.rows])
    assert accuracy > max(least, even)
    # Two independent estimates of one number, of 200 and of 800 simulations.
    assert abs(accuracy - held_out) < 3 * np.sqrt(held_out * (1 - held_out) * (1 / 200 + 1 / 800))
    before, after = (
        -np.mean(np.log(some[np.arange(len(asked)), truth]))
        for some in (fitted.estimator.probabilities(fitted.scaling(asked)), fitted.probabilities(asked))
    )
    assert after < before


@pytest.mark.slow
def test_stacking_reaches_the_published_accuracy() -> None:
    """Six perceptrons and a regression on top are right for 91 % of the test runs with 5 clusters, where papers say 90 %."""
    Z, labels, asked, truth, even = beginnings(5)
    fitted, _ = fit_classifier(Z, labels, np.arange(len(Z)), 5, Options("stacking"))
    accuracy = np.mean(fitted.labels(asked) == truth)
    # The accuracy of 200 runs has a standard error of 2 %.
    assert accuracy > 0.90 - 2 * 0.02
    assert accuracy > even
