"""A Monte Carlo run of a model that has learnt: its statistics, its resumption, its verification, its refusals."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.config import AtlasSection
from nwidth.errors import ConfigError, RunError, StoreError
from nwidth.runs import run
from nwidth.uncertainty.asking import LearnedSurrogate, learned_surrogate
from nwidth.uncertainty.distributions import Constant, Normal, Uniform
from nwidth.uncertainty.draws import draws_of
from nwidth.uncertainty.ensemble import open_ensemble
from nwidth.uncertainty.monte_carlo import MonteCarlo, Place, run_monte_carlo
from nwidth.uncertainty.quantities import Quantity
from nwidth.workers import ThreadExecutor
from tests.learning.families import TIMES, design, field, fields, store_of
from tests.runs.studies import study_of

pytest.importorskip("sklearn", reason="training takes scikit-learn")

DRAWS = 50
INPUTS: dict[str, Any] = {"speed": Uniform(0.05, 0.95), "heat": Normal(0.5, 0.1, low=0.1, high=0.9)}
WANTED = MonteCarlo(
    draws=DRAWS,
    sequence=draws_of(INPUTS, 3),
    fields=("T",),
    quantities=(Quantity("peak", "T"), Quantity("mean heat", "T", "mean", "largest")),
    batch=8,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """A model of two clusters that predicts."""
    folder = tmp_path_factory.mktemp("draws")
    values = np.array([fields(speed, heat) for speed, heat in design()])
    study = study_of(folder, store_of(folder, values), scheduler, reduce={"rank": 4})
    atlas = AtlasSection(of="simulations", clusters=2, rtol=1e-3, minimum_size=2)
    path = run(study.model_copy(update={"atlas": atlas})).model
    nw.learn(path)
    return path


def place(model: Path, folder: Path) -> Place:
    """Where a run of the tests works."""
    return Place(model, folder / "work", folder / "draws.zarr", "key")


def surrogate(model: Path) -> LearnedSurrogate:
    """What the model has learnt."""
    return learned_surrogate(nw.open_model(model))


def truth(inputs: Any) -> dict[str, Any]:
    """The full-order model of the family."""
    return {"T": np.array([field(inputs["speed"], inputs["heat"], time) for time in TIMES])}


def test_statistics_are_those_of_all_predicted_fields(model: Path, tmp_path: Path) -> None:
    """Mean, spread and quantiles equal NumPy's on the fields that `Model.predict` gives, draw by draw."""
    found = run_monte_carlo(WANTED, surrogate(model), place(model, tmp_path), ThreadExecutor(2))
    opened, draws = nw.open_model(model), WANTED.sequence(0, DRAWS)
    one_by_one = [
        opened.predict(speed=speed, heat=heat, outside="answer")["T"].values
        for speed, heat in zip(draws["speed"], draws["heat"], strict=True)
    ]
    said = found.fields["T"].compute()
    np.testing.assert_allclose(said["mean"], np.mean(one_by_one, axis=0), atol=1e-12)
    np.testing.assert_allclose(said["std"], np.std(one_by_one, axis=0, ddof=1), atol=1e-12)
    np.testing.assert_allclose(said["quantiles"], np.quantile(one_by_one, WANTED.levels, axis=0), atol=1e-12)
    np.testing.assert_allclose(said["time"], TIMES)
    peaks = np.max(np.array(one_by_one)[:, -1], axis=1)
    np.testing.assert_allclose(found.draws["peak"], peaks, atol=1e-12)
    told = found.estimates["peak"]
    np.testing.assert_allclose(told["standard_error"], peaks.std(ddof=1) / np.sqrt(DRAWS), rtol=1e-9)
    assert sum(told["counts"]) == DRAWS
    assert not (tmp_path / "work").exists()
    shown = found._repr_html_()
    assert f"{told['mean']:.4g}" in shown
    assert "mean heat" in shown


def test_a_killed_run_goes_on_and_gives_the_same_bits(model: Path, tmp_path: Path) -> None:
    """Batches that were answered before a kill are not asked again, and the result is that of an undisturbed run."""
    whole = run_monte_carlo(WANTED, surrogate(model), place(model, tmp_path / "whole"), ThreadExecutor(1))
    torn = place(model, tmp_path / "torn")
    stopping = replace(WANTED, sequence=replace(WANTED.sequence))
    with pytest.raises(KeyboardInterrupt):
        run_monte_carlo(stopping, surrogate(model), torn, ThreadExecutor(1), progress=_stop_after(3))
    again = run_monte_carlo(WANTED, surrogate(model), torn, ThreadExecutor(1))
    assert again.document["draws_reused"] >= 3 * WANTED.batch
    for name in ("mean", "std", "quantiles"):
        assert (again.fields["T"][name].values == whole.fields["T"][name].values).all()
    assert (again.draws["peak"].values == whole.draws["peak"].values).all()


def _stop_after(batches: int) -> Any:
    def progress(name: str, done: int, total: int) -> None:
        if done >= batches:
            raise KeyboardInterrupt

    return progress


def test_workers_and_batches_change_nothing(model: Path, tmp_path: Path, scheduler: str) -> None:
    """Processes of a real cluster give the bits of threads."""
    from distributed import Client

    from nwidth.workers import connected_cluster

    with Client(scheduler), connected_cluster(scheduler) as executor:
        there = run_monte_carlo(WANTED, surrogate(model), place(model, tmp_path / "there"), executor)
    here = run_monte_carlo(WANTED, surrogate(model), place(model, tmp_path / "here"), ThreadExecutor(2))
    assert (there.fields["T"]["mean"].values == here.fields["T"]["mean"].values).all()


def test_a_random_subset_is_verified(model: Path, tmp_path: Path) -> None:
    """True errors of the verified draws are those of the predictions, and both speed-ups are stated."""
    wanted = replace(WANTED, verify=6)
    found = run_monte_carlo(wanted, surrogate(model), place(model, tmp_path), ThreadExecutor(2), reference=truth)
    verified = found.document["verified"]
    draws, opened = WANTED.sequence(0, DRAWS), nw.open_model(model)
    errors = []
    for draw in verified["draws"]:
        inputs = {name: float(values[draw]) for name, values in draws.items()}
        exact = truth(inputs)["T"]
        errors.append(np.linalg.norm(opened.predict(inputs, outside="answer")["T"].values - exact) / np.linalg.norm(exact))
    assert len(set(verified["draws"])) == 6
    np.testing.assert_allclose(verified["errors"]["T"]["largest"], max(errors), rtol=1e-9)
    assert verified["speed_up_core_hours"] > 0
    assert verified["speed_up_wall_clock"] > 0


def test_a_full_order_model_that_fails_is_told_and_stops_nothing(model: Path, tmp_path: Path) -> None:
    """The failure of the full-order model on a draw is in the document; the others are verified."""
    tried: list[float] = []

    def sometimes(inputs: Any) -> Any:
        tried.append(inputs["heat"])
        if len(tried) == 2:
            raise ZeroDivisionError("no convergence")
        return truth(inputs)

    found = run_monte_carlo(
        replace(WANTED, verify=4), surrogate(model), place(model, tmp_path), ThreadExecutor(1), reference=sometimes
    )
    (words,) = found.document["verified"]["failures"].values()
    assert words == "ZeroDivisionError: no convergence"
    assert np.isfinite(found.document["verified"]["errors"]["T"]["largest"])


def test_a_full_order_model_of_some_fields_or_of_a_wrong_shape(model: Path, tmp_path: Path) -> None:
    """A field that it does not give is not compared; one of another shape fails that verification with a reason."""

    def nothing(inputs: Any) -> dict[str, Any]:
        return {}

    def short(inputs: Any) -> dict[str, Any]:
        return {"T": truth(inputs)["T"][1:]}

    wanted, executor = replace(WANTED, verify=2), ThreadExecutor(2)
    silent = run_monte_carlo(wanted, surrogate(model), place(model, tmp_path), executor, reference=nothing)
    assert silent.document["verified"]["errors"] == {"T": None}
    assert not silent.document["verified"]["failures"]
    wrong = run_monte_carlo(wanted, surrogate(model), place(model, tmp_path), executor, reference=short)
    assert wrong.document["verified"]["errors"] == {"T": None}
    assert all("of shape (" in words for words in wrong.document["verified"]["failures"].values())
    assert len(wrong.document["verified"]["failures"]) == 2


def test_a_draw_unlike_training_is_answered_and_told(model: Path, tmp_path: Path) -> None:
    """Inputs far outside of training have an answer and a remark, and are no failure."""
    far = replace(WANTED, sequence=draws_of({"speed": Constant(0.3), "heat": Uniform(5.0, 6.0)}, 0), draws=3)
    found = run_monte_carlo(far, surrogate(model), place(model, tmp_path), ThreadExecutor(1))
    assert not found.failures
    assert set(found.document["remarks"]) == {"0", "1", "2"}
    assert "unlike all of training" in found.document["remarks"]["0"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sequence": draws_of({"speed": Constant(0.3)}, 0)}, "lacks heat"),
        ({"sequence": draws_of({**INPUTS, "spin": Constant(0.3)}, 0)}, "has spin"),
        ({"fields": ("stress",)}, "no field 'stress'; it answers T"),
        ({"quantities": (Quantity("speed", "T"),)}, "'speed' is taken"),
        ({"verify": 3}, "no full-order model"),
        ({"verify": 51}, "verify at most all"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(model: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """Inputs, fields, names and verification are checked first, and nothing is left behind."""
    with pytest.raises(ConfigError, match=words):
        run_monte_carlo(replace(WANTED, **change), surrogate(model), place(model, tmp_path), ThreadExecutor(1))
    assert not any(os.scandir(tmp_path))


def test_draws_that_all_fail_are_an_error(model: Path, tmp_path: Path) -> None:
    """A run without any answer says why, and an earlier result stays."""
    run_monte_carlo(replace(WANTED, draws=4), surrogate(model), place(model, tmp_path), ThreadExecutor(1))
    broken = replace(WANTED, draws=4, sequence=draws_of({"speed": _Nan(), "heat": Constant(0.5)}, 0))
    with pytest.raises(RunError, match="all 4 draws failed, the first because: the input 'speed' is nan"):
        run_monte_carlo(broken, surrogate(model), replace(place(model, tmp_path), key="other"), ThreadExecutor(1))
    assert open_ensemble(tmp_path).document["draws"] == 4


class _Nan:
    def quantile(self, u: Any) -> Any:
        return np.full_like(u, np.nan)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    """Opening a folder without a finished run says how to make one."""
    with pytest.raises(StoreError, match="nwidth predict --draws"):
        open_ensemble(tmp_path)
