"""A study as Dagster assets: materialised in process on a real store, twice, and followed by a sensor."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.config import Study, check_study
from nwidth.errors import ConfigError
from nwidth.mechanics.model import open_mechanics
from nwidth.models.model import open_model
from nwidth.runs.folder import RunFolder
from nwidth.uncertainty.ensemble import open_ensemble
from nwidth.workflows import dagster_definitions
from nwidth_graphs.kernels.materials import law_record
from tests.cube import CubeParameters
from tests.cube.case import cube_law
from tests.cube.case import store_of as store_of_cubes
from tests.learning.families import design, fields, store_of
from tests.runs.studies import add_run, snapshots_of

dg = pytest.importorskip("dagster", reason="Dagster is not installed: pip install 'nwidth[dagster]'")

SNAPSHOTS = snapshots_of(300, 12)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Dagster gives SIGTERM what SIGINT has: in a background job of a shell nothing, and later processes would not end."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def study_in(folder: Path, scheduler: str, tables: Mapping[str, Any] | None = None, **reduce: Any) -> Study:
    """A study without a report, unless `tables` say so; its store is `store.zarr`."""
    return check_study(
        {
            "study": {"name": "blade-1", "store": "store.zarr"},
            "reduce": reduce or {"rtol": 1e-3},
            "workers": {"address": scheduler},
            "report": {"enabled": False},
            **(tables or {}),
        },
        folder=folder,
    )


@pytest.fixture
def instance() -> Iterator[Any]:
    """Dagster's records, in memory."""
    with dg.DagsterInstance.ephemeral() as fresh:
        yield fresh


def assets_of(study: Study) -> list[Any]:
    """The assets without retries, which would wait."""
    return list(dagster_definitions(study, retries=0).assets)


def materialised(study: Study, instance: Any) -> dict[str, Any]:
    """Materialise everything that can be; asset -> its materialisation."""
    done = dg.materialize(assets_of(study), instance=instance, raise_on_error=False)
    assert done.success, [event.message for event in done.all_events if event.is_failure]
    events = done.get_asset_materialization_events()
    return {event.asset_key.path[-1]: event.step_materialization_data.materialization for event in events}


def value_of(materialisation: Any, name: str) -> Any:
    """One entry of the metadata as plain Python."""
    return materialisation.metadata[name].value


def test_a_study_is_materialised_once_and_then_has_nothing_to_do(tmp_path: Path, scheduler: str, instance: Any) -> None:
    """Rank, error and report are metadata; a second materialisation computes nothing, says so, and keeps the data versions."""
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS})
    study = study_in(tmp_path, scheduler, {"report": {"modes": 1}})
    first = materialised(study, instance)
    assert set(first) == {"bases", "report"}
    assert value_of(first["bases"], "status") == "done"
    assert value_of(first["bases"], "T/rank") == 6  # twelve values over six decades: the seventh is below 1e-3
    assert value_of(first["bases"], "T/error") < 1e-3
    assert Path(value_of(first["report"], "path")).read_text("utf-8").startswith("<!DOCTYPE html>")
    modified = (study.run_folder / "run.json").stat().st_mtime_ns

    again = materialised(study, instance)
    assert value_of(again["bases"], "status") == "nothing to do"
    assert "bytes read" not in again["bases"].metadata
    assert (study.run_folder / "run.json").stat().st_mtime_ns == modified
    assert again["bases"].tags["dagster/data_version"] == first["bases"].tags["dagster/data_version"] != ""


def test_the_assets_are_those_that_the_study_asks_for(tmp_path: Path, scheduler: str) -> None:
    """Tables of the study become assets below one another; with a solver the snapshots are materialised, not observed."""
    uncertain = {"parameters": {"speed": {"distribution": "uniform", "low": 0.0, "high": 1.0}}}
    tables = {"full_order": {"deck": "a.inp", "design": "a.csv"}, "learn": {}, "uncertainty": uncertain, "report": {}}
    graph = dagster_definitions(study_in(tmp_path, scheduler, tables)).resolve_asset_graph()
    parents = {key.path[-1]: {parent.path[-1] for parent in graph.get(key).parent_keys} for key in graph.get_all_asset_keys()}
    assert parents == {
        "snapshots": set(),
        "bases": {"snapshots"},
        "learned": {"bases"},
        "report": {"bases"},
        "draws": {"learned"},
    }
    assert {key.path[-1] for key in graph.materializable_asset_keys} == set(parents)
    plain = dagster_definitions(study_in(tmp_path, scheduler)).resolve_asset_graph()
    assert {key.path[-1] for key in plain.materializable_asset_keys} == {"bases"}


def test_what_a_model_learns_and_draws_is_materialised(tmp_path: Path, scheduler: str, instance: Any) -> None:
    """Classifier and draws follow the bases in one materialisation, and the second one trains and draws the same."""
    pytest.importorskip("sklearn", reason="training of the classifier takes scikit-learn")
    store_of(tmp_path, np.array([fields(speed, heat) for speed, heat in design()]))
    uniform = {"distribution": "uniform", "low": 0.1, "high": 0.4}
    tables = {
        "atlas": {"of": "simulations", "clusters": 2, "minimum_size": 2, "rank": 4},
        "learn": {"regression": "rbf"},
        "uncertainty": {"parameters": {"speed": uniform, "heat": uniform}, "draws": 8},
    }
    study = study_in(tmp_path, scheduler, tables, rank=4)
    first = materialised(study, instance)
    assert set(first) == {"bases", "learned", "draws"}
    assert open_model(study.run_folder).learned.clusters
    drawn = open_ensemble(study.run_folder)
    assert len(drawn.draws["speed"]) == 8
    again = materialised(study, instance)
    for asset in first:
        assert again[asset].tags["dagster/data_version"] == first[asset].tags["dagster/data_version"] != ""


def test_mechanics_are_materialised(tmp_path: Path, scheduler: str, instance: Any) -> None:
    """A study with a table of mechanics ends with bodies in its model."""
    store_of_cubes(tmp_path, [CubeParameters()], 3).rename(tmp_path / "store.zarr")
    law = law_record(cube_law())
    section = {"case": "tests.benchmarks.romnet:FamilyCase", "law": law, "duals": {"p": "p"}, "tolerance": 1e-3}
    bases = {"fields": ["displacement", "p"], "basis": "each", "rtol": 1e-3, "route": "tsqr"}
    study = study_in(tmp_path, scheduler, {"mechanics": section}, **bases)
    assert set(materialised(study, instance)) == {"bases", "mechanics"}
    assert open_mechanics(study.run_folder).bodies[0].rule.training <= 1e-3


def test_the_check_tells_a_basis_whose_rank_was_too_small_for_its_tolerance(
    tmp_path: Path, scheduler: str, instance: Any
) -> None:
    """The check passes where the measured error keeps the tolerance, and warns where a bounded rank cut it off."""
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS})
    for reduce, passed in (({"rtol": 1e-3, "rank": 2}, False), ({"rank": 2}, True), ({"rtol": 1e-3}, True)):
        done = dg.materialize(assets_of(study_in(tmp_path, scheduler, **reduce)), instance=instance)
        (check,) = done.get_asset_check_evaluations()
        assert (check.check_name, check.passed) == ("tolerance", passed)
        assert done.success


def test_the_sensor_asks_for_one_run_per_version_of_the_store(tmp_path: Path, scheduler: str, instance: Any) -> None:
    """No store: it waits and says why; a new version: one run request; the same version: none; the next one: another."""
    definitions = dagster_definitions(study_in(tmp_path, scheduler))
    (sensor,) = definitions.sensors
    repository = definitions.get_repository_def()

    def look(cursor: str | None) -> Any:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository)
        return sensor.evaluate_tick(context)

    assert "store.zarr" in look(None).skip_message
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS[:6]})
    first = look(None)
    assert len(first.run_requests) == 1
    (observed,) = first.asset_events
    assert (observed.asset_key.path, observed.data_version) == (["blade_1", "snapshots"], first.cursor)
    still = look(first.cursor)
    assert not still.run_requests
    assert "still at version" in still.skip_message
    add_run(tmp_path / "store.zarr", "b", {"T": SNAPSHOTS[6:]})
    second = look(first.cursor)
    assert len(second.run_requests) == 1
    assert second.run_requests[0].run_key != first.run_requests[0].run_key


def test_a_refusal_is_dagsters_failure_in_our_words_and_is_not_retried(tmp_path: Path, scheduler: str, instance: Any) -> None:
    """A field that is not there fails the step with the command line's sentence, at the first try, though more are allowed."""
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS})
    study = study_in(tmp_path, scheduler, fields=["U"], rtol=1e-3)
    assets = list(dagster_definitions(study, retries=3, wait=1000.0).assets)
    done = dg.materialize(assets, instance=instance, raise_on_error=False)
    assert not done.success
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "'U'" in failure.step_failure_data.user_failure_data.description
    assert not [event for event in done.all_events if event.is_step_restarted]


def test_another_run_at_work_is_tried_again(tmp_path: Path, scheduler: str, instance: Any) -> None:
    """A run that is alive in the folder fails the try and not the step: the step is restarted as often as was allowed."""
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS})
    study = study_in(tmp_path, scheduler)
    with RunFolder(study.run_folder).held():
        assets = list(dagster_definitions(study, retries=1, wait=0.01).assets)
        done = dg.materialize(assets, instance=instance, raise_on_error=False)
    assert not done.success
    assert len([event for event in done.all_events if event.is_step_restarted]) == 1
    assert materialised(study, instance)["bases"]


def test_two_studies_of_one_name_are_refused(tmp_path: Path, scheduler: str) -> None:
    """Names that Dagster cannot tell apart are refused before anything is defined."""
    study = study_in(tmp_path, scheduler)
    with pytest.raises(ConfigError, match="2 studies have assets of the name 'blade_1'"):
        dagster_definitions(study, study)


def test_without_dagster_the_extra_is_named() -> None:
    """Where Dagster is missing, one sentence says which extra to install."""
    program = (
        "import sys; sys.modules['dagster'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'dagster' else found(name, *rest)\n"
        "from nwidth.workflows import dagster_definitions\n"
        "dagster_definitions('study.toml')\n"
    )
    assert importlib.util.find_spec("dagster") is not None
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert 'install the extra: pip install "nwidth[dagster]"' in done.stderr
