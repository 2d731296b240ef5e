"""Many predictions at once: `nwidth learn`, `nwidth predict`, and the store that they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.cli import main
from nwidth.config import AtlasSection
from nwidth.errors import InputError, StoreError
from nwidth.models.designs import answer, write_answers
from nwidth.runs import run
from tests.learning.families import TIMES, design, fields, store_of
from tests.runs.studies import study_of

pytest.importorskip("sklearn", reason="training takes scikit-learn")

ASKED = ({"speed": 0.2, "heat": 0.35}, {"speed": 3.0, "heat": 0.5}, {"speed": 0.8, "heat": 0.6})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """A model of two clusters, taught from the command line."""
    folder = tmp_path_factory.mktemp("designs")
    values = np.array([fields(speed, heat) for speed, heat in design()])
    study = study_of(folder, store_of(folder, values), scheduler, reduce={"rank": 4})
    atlas = AtlasSection(of="simulations", clusters=2, rtol=1e-3, minimum_size=2)
    path = run(study.model_copy(update={"atlas": atlas})).model
    assert main(["learn", str(path), "--json"]) == 0
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A design of three rows, the second of them unlike all of training."""
    lines = ["run,speed [m/s],heat", *(f"p{number},{row['speed']},{row['heat']}" for number, row in enumerate(ASKED))]
    (tmp_path / "design.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "design.csv"


def test_a_design_is_written_as_one_by_one_predictions(model: Path, table: Path, capsys: Any) -> None:
    """Every row of the store equals `Model.predict` of it, to rounding; a row like none of training is empty, and named."""
    capsys.readouterr()
    out = table.with_name("answers.zarr")
    assert main(["predict", str(model), "--design", str(table), "--out", str(out), "--json"]) == 4
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [row["status"] for row in document["rows"]] == ["answered", "outside", "answered"]
    assert "standard deviations from the nearest training input" in document["rows"][1]["reason"]
    assert document["outside"] == 1
    opened = nw.open_model(model)
    with xr.open_zarr(out, consolidated=False) as written:
        assert written["T"].dims == ("row", "time", "node")
        assert written["T"].attrs["units"] == "K"
        assert written["row"].values.tolist() == ["p0", "p1", "p2"]
        assert written["speed"].values.tolist() == [0.2, 3.0, 0.8]
        assert "speed" in written.coords
        assert (written["label"][1] == -1).all()
        assert np.isnan(written["T"][1].values).all()
        for place in (0, 2):
            alone = opened.predict(ASKED[place])
            for name in ("T", "T_std"):
                scale = float(np.abs(alone[name]).max())
                np.testing.assert_allclose(written[name][place], alone[name], atol=1e-12 * scale)
            assert (written["label"][place].values == alone["cluster"].values).all()
            np.testing.assert_allclose(written["probability"][place], alone["probability"], rtol=1e-12)
            for name in ("projection_error", "regression_error"):
                np.testing.assert_allclose(written[name][place], alone[name][:, 0], rtol=1e-12)


def test_an_answer_is_right_and_extrapolates_where_that_is_asked_for(model: Path, tmp_path: Path) -> None:
    """Fields at new parameters are right to what is stated; with "answer" a row outside has the field of its nearest cluster."""
    opened = nw.open_model(model)
    answers = answer(opened, ASKED, time=[0.125, 0.5])
    write_answers(opened, answers, tmp_path / "a.zarr", outside="answer")
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as written:
        exact = np.array([(1 + 0.35 * t) * fields(0.2, 0.35)[0] for t in (0.125, 0.5)])
        stated = float(np.hypot(answers.projection_errors[0, 0], answers.regression_errors[0, 0]))
        assert np.linalg.norm(written["T"][0] - exact) < stated * np.linalg.norm(exact)
        assert np.isfinite(written["T"].values).all()
        assert written["outside"].values.tolist() == [False, True, False]
        marked = opened.predict(ASKED[1], time=[0.125, 0.5], outside="answer")
        np.testing.assert_allclose(written["T"][1], marked["T"], atol=1e-12 * float(np.abs(marked["T"]).max()))


def test_what_is_refused_writes_nothing(model: Path, tmp_path: Path) -> None:
    """A row outside with "refuse", a NaN, an unknown name, a store that is there already: named, and no store is left."""
    opened = nw.open_model(model)
    with pytest.raises(InputError, match=r"row '1' belongs to no cluster: it is .* standard deviations"):
        write_answers(opened, answer(opened, ASKED), tmp_path / "a.zarr", outside="refuse")
    with pytest.raises(InputError, match=r"row 'b': the input 'heat' is nan, expected a finite number"):
        answer(opened, [ASKED[0], {"speed": 0.3, "heat": float("nan")}], names=["a", "b"])
    with pytest.raises(InputError, match=r"row '0': the parameters given are colour, heat, but the model was trained with heat"):
        answer(opened, [{"colour": 1.0, "heat": 0.5}])
    with pytest.raises(InputError, match="the design has no row"):
        answer(opened, [])
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(StoreError, match=r"exists already"):
        write_answers(opened, answer(opened, ASKED[:1]), tmp_path / "a.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--parameters", "speed=0.2,heat=0.35"], 0, "none written; --out writes them"),
        (["--parameters", "speed=3,heat=0.5"], 4, "row 0: none of them, because it is"),
        (["--parameters", "speed=3,heat=0.5", "--outside", "answer"], 0, "1 of them unlike all of training"),
        (["--parameters", "speed=3,heat=0.5", "--outside", "refuse"], 1, "belongs to no cluster"),
        (["--parameters", "speed=0.2,heat=0.3", "--time", "7"], 4, "the time 7 lies outside of those of training"),
        (["--parameters", "speed=nan,heat=0.5"], 1, "'speed' is nan, expected a finite number"),
        (["--parameters", "speed=fast,heat=0.5"], 1, "speed = 'fast' is not a number"),
        (["--parameters", "speed=0.2,colour=3"], 1, "the parameters given are colour, speed"),
        (["--parameters", "speed"], 1, "'speed' is not NAME=VALUE"),
        (["--parameters", "speed=1,speed=2"], 1, "'speed' is given twice"),
        ([], 1, "give either --parameters NAME=VALUE,... or --design FILE.csv"),
        (["--design", "nowhere.csv"], 1, "the design nowhere.csv cannot be read"),
        (["--parameters", "speed=0.2,heat=0.3", "--outside", "perhaps"], 1, "--outside 'perhaps' is not known"),
    ],
)
def test_words_and_statuses(model: Path, words: list[str], status: int, told: str, capsys: Any) -> None:
    """Answered is 0, refused is 1 with one sentence, and 4 says that some row belongs to no cluster."""
    capsys.readouterr()
    assert main(["predict", str(model), *words]) == status
    found = capsys.readouterr()
    assert told in (found.err if status == 1 else found.out)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("speed,heat\n", "has no row below its header"),
        ("speed,heat,speed\n1,2,3\n", "has the column 'speed' twice"),
        ("speed,heat\n0.2\n", "row 1: 1 entries in 2 columns"),
        ("speed,heat\n0.2,0.3\n0.2,\n", "row 2: heat = '' is not a number"),
        ("", "has no row below its header"),
    ],
)
def test_a_design_that_is_none_is_named(model: Path, tmp_path: Path, text: str, told: str, capsys: Any) -> None:
    """What is wrong with a table is said with its row, and nothing is predicted."""
    (tmp_path / "d.csv").write_text(text)
    assert main(["predict", str(model), "--design", str(tmp_path / "d.csv")]) == 1
    assert told in capsys.readouterr().err


def test_learn_says_what_it_has_measured(model: Path, tmp_path: Path, capsys: Any) -> None:
    """The words of `nwidth learn` have accuracy, break-even and errors; a model that cannot be taught is refused in one line."""
    assert main(["learn", str(model), "--folds", "4"]) == 0
    found = capsys.readouterr().out
    assert "2 clusters from heat, speed" in found
    assert "of simulations that were held out, break-even" in found
    assert main(["learn", str(model), "--parameter", "colour"]) == 1
    assert "no parameter 'colour'" in capsys.readouterr().err
    nw.pod(np.random.default_rng(0).standard_normal((12, 20)), rank=2).save(tmp_path / "plain")
    assert main(["learn", str(tmp_path / "plain")]) == 1
    assert "knows neither parameters nor times of its snapshots" in capsys.readouterr().err


def test_times_of_the_store_are_those_of_training(model: Path, tmp_path: Path) -> None:
    """Without --time the answers are at the times of the training simulations."""
    opened = nw.open_model(model)
    write_answers(opened, answer(opened, ASKED[:1]), tmp_path / "a.zarr")
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as written:
        assert written["time"].values.tolist() == TIMES.tolist()


def test_a_model_without_a_time_answers_row_by_row(tmp_path: Path) -> None:
    """One snapshot for each simulation: the store has no time, and a mean comes back."""
    speeds = np.linspace(0.0, 1.0, 12)
    values = np.array([np.sin(np.linspace(0, 3, 40) * (1 + speed)) for speed in speeds])
    along = {"simulation": ("snapshot", [f"r{number}" for number in range(12)]), "speed": ("snapshot", speeds)}
    nw.pod(xr.DataArray(values, dims=("snapshot", "node"), coords=along, name="u"), rank=3, centre=True).save(tmp_path / "m")
    nw.learn(tmp_path / "m", regression="rbf")
    opened = nw.open_model(tmp_path / "m")
    write_answers(opened, answer(opened, [{"speed": 0.31}, {"speed": 0.77}]), tmp_path / "a.zarr")
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as written:
        assert written["u"].dims == ("row", "node")
        np.testing.assert_allclose(written["u"][1], opened.predict(speed=0.77)["u"], atol=1e-13)
