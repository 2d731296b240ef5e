"""From a model to its predictions: trained, written as arrays and JSON, read back, asked without scikit-learn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.config import AtlasSection
from nwidth.errors import ConfigError, InputError, LayoutError, StoreError
from nwidth.models.inputs import Parameters
from nwidth.models.learned import read_learned, write_learned
from nwidth.models.records import restore
from nwidth.runs import run
from tests.learning.families import SIMULATIONS, TIMES, X, design, field, store_of
from tests.runs.studies import study_of

pytest.importorskip("sklearn", reason="training takes scikit-learn")


def reduced(folder: Path, address: str, values: Any, atlas: AtlasSection) -> Path:
    """The model of a study with an atlas; values (simulations, times, places)."""
    study = study_of(folder, store_of(folder, values), address, reduce={"rank": 4})
    return run(study.model_copy(update={"atlas": atlas})).model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """A model with an atlas of two clusters, trained by simulation."""
    values = np.array([[field(speed, heat, time) for time in TIMES] for speed, heat in design()])
    atlas = AtlasSection(of="simulations", clusters=2, rtol=1e-3, minimum_size=2)
    path = reduced(tmp_path_factory.mktemp("predicting"), scheduler, values, atlas)
    nw.learn(path)
    return path


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A model of one's own, to train or to damage."""
    return Path(shutil.copytree(model, tmp_path / "model.zarr"))


def test_a_held_out_field_is_predicted_within_what_the_answer_says(model: Path) -> None:
    """The error at new parameters of both families is within the two errors that the answer states together."""
    opened = nw.open_model(model)
    for speed, heat in ((0.2, 0.35), (0.8, 0.6)):
        answer = opened.predict(speed=speed, heat=heat).compute()
        exact = np.array([field(speed, heat, time) for time in TIMES])
        error = np.linalg.norm(answer["T"].values - exact) / np.linalg.norm(exact)
        stated = float(np.hypot(answer["projection_error"][0, 0], answer["regression_error"][0, 0]))
        # The corners of the design are left out, too, and weigh most: inside of it an answer is better than stated.
        assert error < stated < 0.1
        assert answer["T"].dims == ("time", "node")
        assert answer["T"].attrs["units"] == answer["T_std"].attrs["units"] == "K"
        assert answer["time"].values.tolist() == TIMES.tolist()
    labels = [int(opened.predict(speed=speed, heat=0.5)["cluster"][0]) for speed in (0.2, 0.8)]
    assert labels[0] != labels[1]


def test_the_evaluation_stands_in_the_model(model: Path) -> None:
    """Families that parameters tell apart are told apart out of fold, right labels err little, and the dictionary pays."""
    learned = nw.open_model(model).learned
    found = learned.evaluation
    assert not learned.labels_by_time
    assert found.confusion.sum() == SIMULATIONS
    assert found.accuracy is not None
    assert found.accuracy > 0.9
    assert found.folds == 5
    assert found.error_right is not None
    assert found.error_right < 2e-3
    assert found.pays
    assert all("not calibrated" not in note for note in learned.notes)


def test_the_deviation_is_the_sum_over_modes(model: Path) -> None:
    """The field's standard deviation is the square root of the modes' squares times the coordinates' variances."""
    opened = nw.open_model(model)
    answer = opened.predict(speed=0.2, heat=0.35, time=0.3)
    cluster = opened.learned.clusters[int(answer["cluster"])]
    basis = opened.bases[cluster.bases[0]]
    mean, variance = cluster.regressions[0].predict(np.array([[0.35, 0.2, 0.3]]))  # heat, speed, time
    modes = basis.modes.values
    np.testing.assert_allclose(answer["T_std"].values, np.sqrt(variance[0] @ modes**2), rtol=1e-12)
    np.testing.assert_allclose(answer["T"].values, mean[0] @ modes, rtol=1e-12, atol=1e-14)
    assert answer["T"].dims == ("node",)
    assert answer["T"].chunks is not None  # the modes stay on disk until somebody looks


def test_inputs_unlike_all_of_training_are_refused_or_marked(model: Path) -> None:
    """Far parameters and times belong to no cluster, with a reason; asked to answer all the same, the answer is marked."""
    opened = nw.open_model(model)
    choice = opened.choose(speed=5.0, heat=0.5)
    assert choice.label is None
    assert "standard deviations from the nearest training input, run-" in str(choice.reason)
    with pytest.raises(InputError, match="belongs to no cluster"):
        opened.predict(speed=5.0, heat=0.5)
    with pytest.raises(InputError, match="time 3 lies outside of those of training, 0 to 1"):
        opened.predict(speed=0.2, heat=0.5, time=[0.5, 3.0])
    answer = opened.predict(speed=0.2, heat=0.5, time=[0.5, 3.0], outside="answer")
    assert answer["outside"].values.tolist() == [False, True]
    assert opened.choose(speed=0.2, heat=0.5).label is not None


def test_bad_questions_are_refused(model: Path) -> None:
    """NaN, missing and unknown parameters, NaN times, both kinds of inputs and an unknown option are refused in one sentence."""
    opened = nw.open_model(model)
    with pytest.raises(InputError, match="'heat' is nan"):
        opened.predict(speed=0.2, heat=np.nan)
    with pytest.raises(InputError, match="trained with"):
        opened.predict(speed=0.2)
    with pytest.raises(InputError, match="expected a finite number"):
        opened.predict(speed=0.2, heat=0.5, time=np.nan)
    with pytest.raises(ConfigError, match="both parameters and an input field"):
        opened.predict({"speed": 0.2}, inputs=X)
    with pytest.raises(ConfigError, match="refuse"):
        opened.predict(speed=0.2, heat=0.5, outside="maybe")


ASK = """
import sys
sys.modules["sklearn"] = None
import nwidth as nw
answer = nw.open_model(sys.argv[1]).predict(speed=0.2, heat=0.35)
assert not any(name.startswith("sklearn.") for name in sys.modules)
answer["T"].compute().values.tofile(sys.argv[2])
"""


def test_predicting_needs_no_scikit_learn(model: Path, tmp_path: Path) -> None:
    """A process that cannot import scikit-learn gives the same bits."""
    target = tmp_path / "field.bin"
    subprocess.run([sys.executable, "-c", ASK, str(model), str(target)], check=True)
    again = nw.open_model(model).predict(speed=0.2, heat=0.35)["T"].values
    assert np.array_equal(np.fromfile(target).reshape(again.shape), again)


def test_nothing_is_pickled_and_everything_comes_back(model: Path, copy: Path) -> None:
    """What is on disk is Zarr metadata and plain chunks; read and written again it is the same, NaN and infinity included."""
    files = [path for path in (model / "learning").rglob("*") if path.is_file()]
    assert {path.name for path in files if path.parent.name != "c" and "c" not in path.parts[-4:-1]} == {"zarr.json"}
    assert all(not path.read_bytes().startswith((b"\x80\x04", b"\x80\x05")) for path in files)
    learned = read_learned(model)
    changed = replace(learned, novelty=replace(learned.novelty, limit=float("inf")))
    write_learned(copy, changed)
    again = read_learned(copy)
    assert again.novelty.limit == float("inf")
    assert np.array_equal(again.clusters[0].regressions[0].weights, learned.clusters[0].regressions[0].weights)
    assert again.evaluation.accuracy == learned.evaluation.accuracy


def test_training_is_repeatable(model: Path, copy: Path) -> None:
    """The same seed learns the same numbers."""
    again, asked = nw.learn(copy), design()[:, ::-1]
    assert isinstance(again.features, Parameters)
    assert again.features.names == ("heat", "speed")
    assert np.array_equal(again.classifier.probabilities(asked), nw.open_model(model).learned.classifier.probabilities(asked))


def test_damage_is_refused(copy: Path, model: Path) -> None:
    """A foreign record, a lost array, a newer schema, torn JSON and modes of another rank are refused; nothing is executed."""
    place = copy / "learning" / "zarr.json"
    good = json.loads(place.read_text())
    with pytest.raises(LayoutError, match="'Popen'"):
        restore({"record": "Popen", "args": ["true"]}, {}, ())
    shutil.rmtree(copy / "learning" / "0")
    with pytest.raises(LayoutError, match="lacks its array"):
        read_learned(copy)
    place.write_text(json.dumps(good | {"attributes": good["attributes"] | {"nwidth_learned": 99}}))
    with pytest.raises(LayoutError, match="schema 99"):
        read_learned(copy)
    place.write_text("{")
    with pytest.raises(LayoutError, match="damaged"):
        read_learned(copy)
    shutil.rmtree(copy / "learning")
    with pytest.raises(StoreError, match=r"nw\.learn"):
        nw.open_model(copy).predict(speed=0.2, heat=0.5)


@pytest.mark.parametrize("features", ["modes", "nodes"])
def test_input_fields_choose_the_cluster(copy: Path, features: str) -> None:
    """Trained with an input field for each simulation, by POD or at places chosen by mRMR, a new input field is answered."""

    def given(speed: float, heat: float) -> Any:
        return 300.0 + 100.0 * speed * np.sin(np.pi * X) + 50.0 * heat * np.cos(np.pi * X)

    names = [f"run-{number}" for number in range(SIMULATIONS)]
    inputs = xr.DataArray(np.array([given(*row) for row in design()]), dims=("simulation", "place"), coords={"simulation": names})
    learned = nw.learn(copy, inputs=inputs, features=features, count=2)
    assert learned.evaluation.accuracy is not None
    assert learned.evaluation.accuracy > 0.9
    answer = nw.open_model(copy).predict(inputs=given(0.2, 0.35))
    exact = np.array([field(0.2, 0.35, time) for time in TIMES])
    assert np.linalg.norm(answer["T"].values - exact) < 0.05 * np.linalg.norm(exact)
    with pytest.raises(InputError, match="59 values"):
        nw.open_model(copy).predict(inputs=given(0.2, 0.35)[:-1])
    with pytest.raises(InputError, match="'run-3'"):
        nw.learn(copy, inputs=inputs.drop_sel(simulation="run-3"))


def test_clusters_of_snapshots_are_chosen_by_time(tmp_path: Path, scheduler: str) -> None:
    """Where a field changes its family in the course of every simulation, an answer changes its basis with the time."""

    def halves(speed: float, heat: float) -> Any:
        return np.array([field(0.2 if time < 0.5 else 0.8, 0.1 * heat + 0.1 * speed, time) for time in TIMES])

    values = np.array([halves(*row) for row in design()])
    path = reduced(tmp_path, scheduler, values, AtlasSection(of="snapshots", clusters=2, rtol=1e-3, minimum_size=2))
    learned = nw.learn(path)
    assert learned.labels_by_time
    assert learned.evaluation.accuracy is not None
    assert learned.evaluation.accuracy > 0.9
    assert learned.evaluation.confusion.sum() == SIMULATIONS * len(TIMES)
    opened = nw.open_model(path)
    answer = opened.predict(speed=0.3, heat=0.45, time=TIMES[::-1])
    labels = answer["cluster"].values
    assert (labels[:3] == labels[0]).all()
    assert (labels[3:] == labels[4]).all()
    assert labels[0] != labels[4]
    exact = halves(0.3, 0.45)[::-1]
    assert answer["time"].values.tolist() == TIMES[::-1].tolist()
    assert np.linalg.norm(answer["T"].values - exact) < 0.02 * np.linalg.norm(exact)
    with pytest.raises(InputError, match="give the time"):
        opened.choose(speed=0.3, heat=0.45)


def test_a_model_without_an_atlas_is_one_cluster(tmp_path: Path) -> None:
    """A model of one basis and no atlas is one cluster; its answer needs no classifier and states both errors."""
    values = np.array([field(speed / 2, heat, time) for speed, heat in design() for time in TIMES])
    along = {
        "simulation": ("snapshot", [f"run-{number}" for number in range(SIMULATIONS) for _ in TIMES]),
        "time": ("snapshot", np.tile(TIMES, SIMULATIONS)),
        "speed": ("snapshot", np.repeat(design()[:, 0] / 2, len(TIMES))),
        "heat": ("snapshot", np.repeat(design()[:, 1], len(TIMES))),
    }
    nw.pod(xr.DataArray(values, dims=("snapshot", "node"), coords=along, name="T"), rtol=1e-3).save(tmp_path / "one.zarr")
    learned = nw.learn(tmp_path / "one.zarr", regression="rbf")
    assert learned.evaluation.accuracy is None
    assert learned.evaluation.confusion.shape == (1, 1)
    answer = nw.open_model(tmp_path / "one.zarr").predict(speed=0.22, heat=0.4)
    exact = np.array([field(0.22, 0.4, time) for time in TIMES])
    assert np.linalg.norm(answer["T"].values - exact) < 0.1 * np.linalg.norm(exact)
    assert (answer["probability"] == 1.0).all()
    assert float(answer["regression_error"][0, 0]) > 0


def test_settings_that_do_not_go_together_are_refused(copy: Path) -> None:
    """Features of fields without fields, unknown parameters and regressions are refused before anything is trained."""
    with pytest.raises(ConfigError, match="does not go with parameters"):
        nw.learn(copy, features="nodes")
    with pytest.raises(ConfigError, match="no parameter 'colour'"):
        nw.learn(copy, parameters=["colour"])
    with pytest.raises(ConfigError, match="gaussian-process, rbf"):
        nw.learn(copy, regression="tree")
    with pytest.raises(InputError, match="'run-1' is held out twice"):
        nw.learn(copy, folds=[["run-1"], ["run-2", "run-1"]])
