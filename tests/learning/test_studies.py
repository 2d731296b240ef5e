"""A study with ``[learn]``: its model predicts; nothing is trained twice; what cannot be learnt is refused before the passes."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.cli import main
from nwidth.config import Study, check_study
from nwidth.errors import ConfigError, InputError, LayoutError, StoreError
from nwidth.models.learned import read_learned, write_learned
from nwidth.runs import run
from tests.learning.families import SIMULATIONS, TIMES, add_simulation, design, fields, store_of
from tests.runs.studies import study_of

pytest.importorskip("sklearn", reason="training takes scikit-learn")

VALUES = np.array([fields(speed, heat) for speed, heat in design()])
ATLAS = {"of": "simulations", "clusters": 2, "rtol": 1e-3, "minimum_size": 2}


def learning(folder: Path, store: Path, address: str | None = None, learn: Any = (), **reduce: Any) -> Study:
    """The study ``s`` with ``[atlas]`` and ``[learn]``; without the latter for None."""
    table = study_of(folder, store, address, reduce={"rank": 4, **reduce}).model_dump(exclude={"folder"}) | {"atlas": ATLAS}
    return check_study(table | {"learn": None if learn is None else dict(learn)}, folder=folder)


def ledger(folder: Path) -> list[str]:
    """Events of the study ``s``, in order."""
    lines = (folder / "runs/s/ledger.jsonl").read_text().splitlines()
    return [name for name in (json.loads(line)["event"] for line in lines) if name != "workers"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """A folder with a store, and the results of a study that learns."""
    place = tmp_path_factory.mktemp("studies")
    result = run(learning(place, store_of(place, VALUES), scheduler))
    assert result.status == "done"
    assert result.learned is not None
    assert result.learned["inputs"] == ["heat", "speed"]
    assert result.learned["accuracy"] > 0.9
    assert result.learned["pays"]
    return place


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A folder of one's own."""
    shutil.copytree(folder, tmp_path / "own")
    return tmp_path / "own"


def test_the_run_ends_with_a_model_that_predicts(folder: Path) -> None:
    """The published model answers at new parameters within what it states, and the ledger has the training's own line."""
    answer = nw.open_model(folder / "runs/s").predict(speed=0.21, heat=0.37)
    exact = fields(0.21, 0.37)
    stated = float(np.hypot(answer["projection_error"][0, 0], answer["regression_error"][0, 0]))
    assert np.linalg.norm(answer["T"].values - exact) < stated * np.linalg.norm(exact)
    assert ledger(folder)[:3] == ["started", "finished", "learnt"]


def test_nothing_is_learnt_twice_and_other_settings_read_nothing(copy: Path, scheduler: str) -> None:
    """The same study again does nothing; other settings train again, on the bases that are there; no pass is run."""
    store, kept = copy / "store.zarr", copy / "runs/s/model.zarr/learning/zarr.json"
    assert run(learning(copy, store, scheduler)).status == "done"  # the store is at another place
    written = kept.stat().st_mtime_ns
    assert run(learning(copy, store, scheduler)).status == "nothing to do"
    assert kept.stat().st_mtime_ns == written
    other = run(learning(copy, store, scheduler, {"regression": "rbf"}))
    assert other.status == "learnt"
    assert kept.stat().st_mtime_ns > written
    same = run(learning(copy, store, scheduler, {"regression": "rbf"}))
    assert same.status == "nothing to do"
    assert same.learned == other.learned


def test_a_run_that_is_cut_off_before_learning_learns_later(tmp_path: Path, scheduler: str, monkeypatch: Any) -> None:
    """Killed between publication and training, the model stands; the next run reads no field and trains it."""
    module: Any = import_module("nwidth.runs.learning")
    study = learning(tmp_path, store_of(tmp_path, VALUES), scheduler)
    teach = module.teach

    def killed(*_: Any) -> None:
        raise RuntimeError("the machine was switched off")

    monkeypatch.setattr(module, "teach", killed)
    with pytest.raises(RuntimeError, match="switched off"):
        run(study)
    with pytest.raises(StoreError, match="has not learnt to predict"):
        nw.open_model(tmp_path / "runs/s").predict(speed=0.2, heat=0.3)
    monkeypatch.setattr(module, "teach", teach)
    assert run(study).status == "learnt"
    assert ledger(tmp_path) == ["started", "finished", "nothing to do", "learnt"]
    assert run(study).status == "nothing to do"


@pytest.mark.parametrize(
    ("parameters", "learn", "error", "words"),
    [
        (False, {}, InputError, "no parameter varies among the 120 snapshots"),
        (True, {"parameters": ["colour"]}, ConfigError, "the snapshots have no parameter 'colour'"),
        (True, {"augmentation": 1000.0}, ConfigError, "augmentation is 1000.0"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_work(
    tmp_path: Path, parameters: bool, learn: Any, error: type[Exception], words: str
) -> None:
    """No pass is begun for a study whose training would fail at its end."""
    study = learning(tmp_path, store_of(tmp_path, VALUES, parameters=parameters), learn=learn)
    with pytest.raises(error, match=words):
        run(study)
    assert not (tmp_path / "runs/s/ledger.jsonl").exists()
    assert not (tmp_path / "runs/s/model.zarr").exists()


def test_keys_of_the_table_are_checked() -> None:
    """An unknown key, a fold too few and a method that there is not are named."""
    base: dict[str, Any] = {"study": {"name": "a", "store": "b"}}
    with pytest.raises(ConfigError, match=r"unknown key 'learn.classifer'; did you mean 'classifier'"):
        check_study({**base, "learn": {"classifer": "logistic"}})
    with pytest.raises(ConfigError, match=r"learn.folds = 1"):
        check_study({**base, "learn": {"folds": 1}})


def test_bases_that_are_made_again_do_not_forget_silently(copy: Path, scheduler: str) -> None:
    """A run without [learn] that replaces a model which predicts says so, in its words and in the ledger."""
    result = run(learning(copy, copy / "store.zarr", scheduler, None, rank=3))
    assert "what the last model had learnt is gone with its bases" in result.words
    assert "forgotten" in ledger(copy)
    again = run(learning(copy, copy / "store.zarr", scheduler, None, rank=3))
    assert again.words == ""
    learnt = run(learning(copy, copy / "store.zarr", scheduler, {}, rank=3))
    assert (learnt.status, learnt.words) == ("learnt", "")


def test_what_is_of_other_bases_is_refused(copy: Path, scheduler: str) -> None:
    """A learning folder that was copied beside other bases does not answer; nor is it written there."""
    model, kept = copy / "runs/s/model.zarr", copy / "kept"
    learned = read_learned(model)
    shutil.copytree(model / "learning", kept)
    run(learning(copy, copy / "store.zarr", scheduler, None, rank=3))
    shutil.copytree(kept, model / "learning")
    with pytest.raises(LayoutError, match="is of other bases than it holds; train it again"):
        nw.open_model(model).predict(speed=0.2, heat=0.3)
    with pytest.raises(StoreError, match="was replaced by another run while it was taught"):
        write_learned(model, learned, of="another")


def test_the_cross_validation_counts_simulations(folder: Path) -> None:
    """Every simulation is judged once, out of its own fold."""
    assert read_learned(folder / "runs/s/model.zarr").evaluation.confusion.sum() == SIMULATIONS


def test_a_store_that_grew_is_learnt_again(tmp_path: Path, scheduler: str) -> None:
    """An update by new simulations alone ends with a model that was taught with them, too."""
    store = store_of(tmp_path, VALUES)
    study = study_of(tmp_path, store, scheduler, reduce={"rtol": 1e-3, "update": "fast"})
    study = check_study(study.model_dump(exclude={"folder"}) | {"learn": {"regression": "rbf"}}, folder=tmp_path)
    run(study)
    before = nw.open_model(tmp_path / "runs/s").learned.clusters[0].samples
    add_simulation(store, "late", fields(0.3, 0.5), speed=0.3, heat=0.5)
    again = run(study)
    assert again.status == "done"
    assert "(fast)" in again.words
    assert nw.open_model(tmp_path / "runs/s").learned.clusters[0].samples == before + len(TIMES)


def test_models_of_models_say_that_they_do_not_predict(tmp_path: Path, scheduler: str, capsys: Any) -> None:
    """`nwidth drop` of a model that predicts says that the new one does not; the old one still does."""
    study = study_of(tmp_path, store_of(tmp_path, VALUES), scheduler, reduce={"rtol": 1e-3})
    model = run(check_study(study.model_dump(exclude={"folder"}) | {"learn": {"regression": "rbf"}}, folder=tmp_path)).model
    assert main(["drop", str(model), "--into", str(tmp_path / "less"), "--simulation", "run-3"]) == 0
    assert f"what {model} had learnt is of other bases" in capsys.readouterr().out
    with pytest.raises(StoreError, match="has not learnt to predict"):
        nw.open_model(tmp_path / "less").predict(speed=0.2, heat=0.3)
    assert np.isfinite(nw.open_model(model).predict(speed=0.2, heat=0.3)["T"].values).all()
