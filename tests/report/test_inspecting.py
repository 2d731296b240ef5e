"""Everything that nwidth writes is described in words, and anything else is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nwidth.errors import ConfigError, FormatError, LayoutError, NwidthError, StoreError
from nwidth.inspecting import describe_path, render
from nwidth.models.files import read_basis
from nwidth.report import words, write_report
from tests.report.samples import line, plate, write_run


def test_a_run_is_described(tmp_path: Path) -> None:
    """Folder, run.json and report lead to the same description, with the model's rank and errors in words."""
    folder = write_run(tmp_path, plate())
    write_report(folder, n_modes=0)
    found = describe_path(folder)
    assert describe_path(folder / "run.json") == describe_path(folder / "report.html") == found
    assert found["kind"] == "run"
    text, basis = render(found), read_basis(folder / "model.zarr", "temperature")
    assert "run of study 'sample', finished 2026-11-20T10:00:03Z" in text
    assert f"basis temperature: {basis.rank} modes of temperature, inner product identity" in text
    assert f"projection error {words.error(basis.certificate.frobenius_error, 3)}" in text
    assert "in 2 passes" in text
    assert "960 points, 1\u202f800 cells, lengths in m" in text
    assert json.loads(json.dumps(found)) == found


def test_a_model_is_described(tmp_path: Path) -> None:
    """A model, or its manifest, is described without a run around it."""
    folder = write_run(tmp_path, line())
    found = describe_path(folder / "model.zarr")
    assert found["kind"] == "model"
    assert describe_path(folder / "model.zarr" / "manifest.json") == found
    assert "model of study 'sample'" in render(found)


@pytest.mark.parametrize("kind", ["zarr", "icechunk"])
def test_a_store_is_described(tmp_path: Path, kind: str) -> None:
    """A store of either kind tells its snapshots, simulations, parameters and the layout of its fields."""
    from nwidth.stages.ingest import ingest

    for number in range(2):
        np.savez(tmp_path / f"run-{number}.npz", u=np.random.default_rng(number).random((5, 40)), time=np.arange(5.0))
    (tmp_path / "design.csv").write_text("simulation,speed\nrun-0,1.5\nrun-1,2.5\n", encoding="utf-8")
    url = tmp_path / f"store.{kind}"
    ingest(sorted(tmp_path.glob("*.npz")), str(url), kind=kind, parameters=tmp_path / "design.csv")  # type: ignore[arg-type]
    found = describe_path(url)
    assert (found["kind"], found["layout"], found["snapshots"]) == ("store", kind, 10)
    text = render(found)
    assert "10 snapshots of 2 simulations" in text
    assert "parameter speed: 1.5 to 2.5" in text
    assert "10 x 40" in text
    json.dumps(found)


def test_a_study_is_described(tmp_path: Path) -> None:
    """A study file says what it reduces, how well, and where results go; a bad key is refused by name."""
    file = tmp_path / "study.toml"
    file.write_text('[study]\nname = "blade"\nstore = "blade.icechunk"\n[reduce]\nrtol = 1e-5\n', encoding="utf-8")
    text = render(describe_path(file))
    assert "study 'blade'" in text
    assert "reduces every field" in text
    assert "rtol = 1e-05" in text
    file.write_text('[study]\nname = "blade"\nstor = "blade.icechunk"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'store'"):
        describe_path(file)


def test_unknown_things_are_refused_in_one_sentence(tmp_path: Path) -> None:
    """Nothing, an empty folder, a folder of other things, a foreign file and a torn record each get one line that helps."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{", encoding="utf-8")
    cases: list[tuple[str, type[NwidthError], str]] = [
        ("missing", StoreError, "there is nothing at"),
        ("empty", LayoutError, "empty folder"),
        ("other", LayoutError, "give a snapshot store"),
        ("other/notes.txt", FormatError, "is no file that nwidth describes"),
        ("torn", FormatError, "is not JSON"),
    ]
    for name, kind, words_of_it in cases:
        with pytest.raises(kind, match=words_of_it) as refusal:
            describe_path(tmp_path / name)
        assert "\n" not in str(refusal.value)
