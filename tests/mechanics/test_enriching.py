"""Draws that enrich the model of a study before they are counted, from the command line; killed and taken up; refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nwidth.config import Study, load_study
from nwidth.errors import ConfigError
from nwidth.fullorder.small_strain import SmallStrainSolver
from nwidth.mechanics.model import open_mechanics
from nwidth.runs.enriching import stepper_named
from nwidth.runs.ensembles import predict_study
from nwidth_graphs.kernels.materials import law_record
from tests.benchmarks.romnet import _toml_table
from tests.cube import CubeParameters
from tests.cube.case import cube_law, inputs_of, store_of
from tests.cube.stepper import cube_stepper
from tests.mechanics.cubes import PLASTIC
from tests.mechanics.test_romnet import nwidth

LIMIT = 0.05


def stepper() -> SmallStrainSolver:
    """What the study names."""
    return cube_stepper(3)


def silent() -> str:
    """No full-order model."""
    return "nothing"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the cube at the amplitude 380 alone, whose model is trained; it is asked about 420 to 450."""
    folder = tmp_path_factory.mktemp("enriching")
    store = store_of(folder, [CubeParameters()], 3)
    certain = {name: {"distribution": "constant", "value": value} for name, value in inputs_of(CubeParameters()).items()}
    tables: dict[str, dict[str, Any]] = {
        "study": {"name": "hot", "store": str(store), "output": str(folder / "runs")},
        "reduce": {"fields": ["displacement", "p"], "basis": "each", "rtol": 1e-4, "inner_product": {"displacement": "mass"}},
        "mechanics": {
            "case": "tests.benchmarks.romnet:FamilyCase", "law": law_record(cube_law()), "duals": {"p": "p"}, "tolerance": 1e-4,
            "smallest_norm": PLASTIC,
        },
        "uncertainty": {
            "parameters": {**certain, "amplitude": {"distribution": "uniform", "low": 420.0, "high": 450.0}}, "draws": 6,
            "batch": 2, "verify": 6, "reference": "tests.benchmarks.romnet:full_order_3",
            "stepper": "tests.mechanics.test_enriching:stepper",
        },
        "workers": {"count": 1, "memory": "2 GiB"},
        "report": {"enabled": False},
    }  # fmt: skip
    file = folder / "hot.toml"
    file.write_text("\n".join(_toml_table(name, table) for name, table in tables.items()), encoding="utf-8")
    done = nwidth("run", str(file), "--json")
    assert done.returncode == 0, done.stderr
    return file


def study_at(trained: Path, folder: Path, **changes: Any) -> Study:
    """The study with a copy of its results, and other settings of its draws."""
    study = load_study(trained)
    shutil.copytree(study.run_folder, folder / study.run_folder.name)
    section = study.uncertainty
    assert section is not None
    return study.model_copy(
        update={
            "study": study.study.model_copy(update={"output": str(folder)}),
            "uncertainty": section.model_copy(update=changes),
        }
    )


def events(study: Study, *names: str) -> list[dict[str, Any]]:
    """Lines of the ledger with these events."""
    lines = [json.loads(line) for line in (study.run_folder / "ledger.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] in names]


def test_draws_enrich_the_model_until_the_indicator_is_within_the_limit(trained: Path, tmp_path: Path) -> None:
    """Before, draws err by more than the limit; after, by less, with few full-order steps, each of them in the ledger."""
    plain = predict_study(study_at(trained, tmp_path / "plain"))
    assert plain.document["verified"]["errors"]["p"]["median"] > LIMIT
    assert plain.document["indicator"]["largest"] > LIMIT
    study = study_at(trained, tmp_path / "enriched", enrich_above=LIMIT)
    found = predict_study(study)
    versions = found.document["enrichments"]
    assert 1 <= len(versions) <= 3
    assert found.document["indicator"]["largest"] <= LIMIT
    assert found.document["verified"]["errors"]["p"]["largest"] < LIMIT < plain.document["verified"]["errors"]["p"]["median"]
    assert len(events(study, "enriched")) == len(versions)
    assert len(events(study, "adaptive update")) == sum(len(version["updates"]) for version in versions)
    opened = open_mechanics(study.run_folder)
    assert len(opened.enrichments) == len(versions)
    again = predict_study(study)
    assert again.document["enrichments"] == versions
    assert again.estimates == found.estimates


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_with_its_versions(trained: Path, tmp_path: Path) -> None:
    """Stopped when a version was kept, the same command takes it up: no march is done twice."""
    study = study_at(trained, tmp_path, enrich_above=LIMIT)

    def stop_after_a_version(name: str, done: int, total: int) -> None:
        if events(study, "enriched"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_study(study, progress=stop_after_a_version)
    assert not (study.run_folder / "draws.zarr").exists()
    found = predict_study(study)
    assert len(events(study, "adaptive march")) == len(found.document["enrichments"])


@pytest.mark.slow
def test_no_more_versions_than_allowed_are_made(trained: Path, tmp_path: Path) -> None:
    """A limit that cannot be met ends after one version, says so in the ledger, and the draws are answered all the same."""
    study = study_at(trained, tmp_path, enrich_above=1e-6, most_enrichments=1, verify=0)
    found = predict_study(study)
    assert len(found.document["enrichments"]) == 1
    assert "all 1 versions are made" in events(study, "not enriched")[-1]["reason"]
    assert not found.failures


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stepper": ""}, "name module:object of a full-order step"),
        ({"stepper": "tests.mechanics.test_enriching:nowhere"}, "cannot be loaded"),
        ({"stepper": "tests.mechanics.test_enriching:silent"}, "has no initial and no step"),
    ],
)
def test_what_cannot_enrich_is_refused_before_a_draw(trained: Path, changes: dict[str, Any], words: str) -> None:
    """A full-order step that is not there, or is none, is named, and no draw is asked."""
    study = load_study(trained)
    assert study.uncertainty is not None
    section = study.uncertainty.model_copy(update={"enrich_above": LIMIT, **changes})
    with pytest.raises(ConfigError, match=words):
        predict_study(study.model_copy(update={"uncertainty": section}))
    assert not list(study.run_folder.glob(".draws*/partials/*"))


def test_without_mechanics_nothing_is_enriched(trained: Path) -> None:
    """The limit is of reduced mechanics; an object that takes steps is taken as it is."""
    from nwidth.runs.enriching import enriching_of

    study = load_study(trained)
    assert study.uncertainty is not None
    section = study.uncertainty.model_copy(update={"enrich_above": LIMIT})
    with pytest.raises(ConfigError, match=r"no table \[mechanics\]"):
        enriching_of(study.model_copy(update={"mechanics": None}), section, None)
    assert stepper_named("tests.mechanics.test_enriching:stepper").initial(inputs_of(CubeParameters())).time == 0.0
