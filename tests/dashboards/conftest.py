"""A model with an atlas, made once by a real run."""

from __future__ import annotations

from pathlib import Path

import pytest

from nwidth.config import check_study
from nwidth.runs import run
from tests.atlas.bumps import bumps
from tests.runs.studies import add_run, study_of


@pytest.fixture(scope="session")
def atlas_run(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """The folder of a finished run with three clusters; its store lies beside it."""
    place, values = tmp_path_factory.mktemp("dashboard-atlas"), bumps().values
    for number in range(12):
        add_run(place / "store", f"s{number:02d}", {"u": values[10 * number : 10 * number + 10]})
    study = study_of(place, place / "store", scheduler, reduce={"rank": 4})
    table = study.model_dump(exclude={"folder"}) | {"atlas": {"clusters": 3}}
    return run(check_study(table, folder=place)).folder
