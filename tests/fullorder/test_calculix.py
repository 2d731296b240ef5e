"""CalculiX itself: a bar over a few loads, the ways in which a deck goes wrong, and a point of a real ensemble produced again."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.config import Study
from nwidth.errors import ConfigError
from nwidth.fullorder.calculix import CalculixSolver
from nwidth.fullorder.protocol import STDOUT
from nwidth.readers.calculix import FrdReader
from nwidth.stages.production import produce, settle
from tests.fullorder.cases import bar_deck, failures, need_ccx, stored_runs, study_of, told, write_bar
from tests.shared_data import shared_data


@pytest.fixture(autouse=True)
def _ccx(request: pytest.FixtureRequest) -> None:
    if "without_ccx" not in request.keywords:
        need_ccx()


def test_a_bar_over_loads(tmp_path: Path) -> None:
    """Three loads are three runs; the elastic ones are in proportion, the last one has yielded, the stress balances the load."""
    study = write_bar(tmp_path)
    assert told(produce(study)) == (3, 3, 0)
    stored = nw.open_snapshots(study.store_url)
    names = stored["simulation"].values
    last = stored.isel(snapshot=[int(np.flatnonzero(names == name)[-1]) for name in stored_runs(study)])
    load, top = last["load"].values, last["DISP"].values[:, -4:, 2].mean(axis=1)
    assert load == pytest.approx([10.0, 20.0, 55.0])
    # .frd has six digits.
    assert top[1] / top[0] == pytest.approx(2.0, rel=1e-5)
    assert top[2] / top[0] > 5.5
    # Over the upper cube the mean axial stress is the load on four nodes over an area of one: to seven digits where the bar is
    # elastic, to CalculiX's own criterion (a residual of half a percent of the mean force) where it has yielded.
    axial = last["S"].values[:, 8:, 2].mean(axis=1)
    assert axial[:2] == pytest.approx(4 * load[:2], rel=1e-6)
    assert axial[2] == pytest.approx(4 * load[2], rel=5e-3)
    assert (last["PEEQ"].values.max(axis=1) > 0).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("deck", "words"),
    [
        (
            bar_deck().replace("ELSET=Eall,MATERIAL=STEEL", "ELSET=Eall,MATERIAL=IRON"),
            r"\*ERROR reading \*SOLID SECTION: nonexistent",
        ),
        (bar_deck().replace("INC=100", "INC=2").replace("0.25,1.", "0.01,1.,1e-5,0.02"), r"max\. # of increments reached"),
        (bar_deck(extra="*DLOAD\nNOWHERE,P1,1.\n"), r"\*ERROR reading \*DLOAD: element set"),
        (bar_deck("${load}e300"), r"too many cutbacks"),
        (bar_deck().replace("*NODE FILE\nU\n*EL PRINT,ELSET=Eall\nS,PEEQ\n", ""), r"no results|no snapshot|cannot be read"),
    ],
    ids=["material", "increments", "set", "divergence", "no output"],
)
def test_the_words_of_the_solver_are_the_failure(tmp_path: Path, deck: str, words: str) -> None:
    """A deck that cannot be read or does not converge fails with CalculiX's own message, tried once, whatever its exit status."""
    import re

    study = write_bar(tmp_path, "1.5", deck, attempts=3)
    found = failures(study)["point-0000"]
    assert re.search(words, found), found


def test_status_zero_is_not_success(tmp_path: Path) -> None:
    """A deck under a wrong name makes ccx print an error and end with 0: the point fails all the same."""
    study = write_bar(tmp_path, "1.5")
    wrapper = tmp_path / "wrapper"
    wrapper.write_text("#!/bin/sh\nexec ccx -i elsewhere\n", "utf-8")
    wrapper.chmod(0o755)
    assert study.full_order is not None
    full_order = study.full_order.model_copy(update={"executable": str(wrapper)})
    found = failures(study.model_copy(update={"full_order": full_order}))["point-0000"]
    assert "cannot open file elsewhere.inp" in found


def test_a_truncated_result_is_seen(tmp_path: Path) -> None:
    """A run that says "Job finished" over a cut .frd fails at its own point, and the harvest never sees it."""
    study = write_bar(tmp_path, "1.5")
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nccx "$@" && truncate -s 2000 bar.frd\n', "utf-8")
    wrapper.chmod(0o755)
    assert study.full_order is not None
    full_order = study.full_order.model_copy(update={"executable": str(wrapper)})
    found = failures(study.model_copy(update={"full_order": full_order}))["point-0000"]
    assert "wrote what cannot be read" in found
    assert "bar.frd" in found


@pytest.mark.parametrize(
    ("sta", "good"),
    [
        ("     1          2     1     2  0.1E+01  0.1E+01  0.1E+01", True),
        ("     1          2     5U    4  0.5E+00  0.5E+00  0.1E-05", False),
    ],
)
def test_the_last_increment_decides(tmp_path: Path, sta: str, good: bool) -> None:
    """An attempt marked U at the end of the status file did not converge, whatever was printed."""
    (tmp_path / "bar.inp").write_text(bar_deck("1."), "utf-8")
    (tmp_path / STDOUT).write_text(" Job finished\n", "utf-8")
    (tmp_path / "bar.sta").write_text("SUMMARY OF JOB INFORMATION\n  STEP      INC ...\n" + sta + "\n", "utf-8")
    verdict = CalculixSolver(tmp_path / "bar.inp").check(tmp_path)
    assert verdict.good is good
    assert good or verdict.words == "increment 2 of step 1 did not converge"


@pytest.mark.parametrize("include", ["*INCLUDE,INPUT=mesh.inp", "*include, input=../mesh.inp", '*INCLUDE,INPUT="/data/mesh.inp"'])
def test_an_include_is_a_named_file(tmp_path: Path, include: str) -> None:
    """What a deck includes has to be among the files that go into the run's folder; nothing outside is read."""
    study = write_bar(tmp_path, "1.5", include + "\n" + bar_deck())
    with pytest.raises(ConfigError, match=r"includes .*mesh\.inp.* not among full_order\.files"):
        settle(study)


def ensemble_study(folder: Path, point: str) -> tuple[Study, Path]:
    """One point of the blade ensemble as a study of its own: the stored deck with its three parameters as places."""
    source = shared_data("blade-ensemble")
    with (source / "design.csv").open() as file:
        header, *rows = list(csv.reader(file))
    row = next(row for row in rows if row[0] == str(int(point)))
    deck = (source / f"point-{point}" / "blade.inp").read_text("utf-8")
    for value, name in zip(row[1:], ("omega_squared", "peak_temperature", "hold_end"), strict=True):
        assert value in deck
        deck = deck.replace(value, f"${{{name}}}")
    (folder / "blade.inp").write_text(deck, "utf-8")
    shutil.copyfile(source / "mesh.inp", folder / "mesh.inp")
    (folder / "design.csv").write_text("\n".join([",".join(header), ",".join(row)]) + "\n", "utf-8")
    full_order = {"deck": "blade.inp", "files": ["mesh.inp"], "design": "design.csv", "timeout": 280.0, "attempts": 1}
    return study_of(folder, full_order), source / f"point-{point}" / "blade.frd"


@pytest.mark.slow
def test_a_point_of_the_blade_ensemble_is_produced_again(tmp_path: Path) -> None:
    """From deck and design alone, displacement, temperature, stress and plastic strain are the stored ones to their digits."""
    study, original = ensemble_study(tmp_path, "00")
    assert told(produce(study)) == (1, 1, 0)
    assert stored_runs(study) == ["point-0000"]
    stored, run = nw.open_snapshots(study.store_url), FrdReader().open(original)
    for number, expected in enumerate(run.snapshots()):
        for name, values in expected.items():
            found = stored[name].values[number]
            # The files have seven digits (.dat), or are float32 (.frd); the solver's increments are steered by convergence, so
            # that a library of another build may differ by what Newton's method leaves: 1e-6 of the field's largest value.
            assert np.abs(found - values).max() <= 1e-6 * np.abs(values).max(), name
