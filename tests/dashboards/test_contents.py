"""A finished run as arrays: those of its model, read slice-wise; and models that are not what they should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.dashboards.contents import read_cluster_map, read_model_view, shown_snapshots
from nwidth.dashboards.costs import costs_of
from nwidth.dashboards.indicators import read_indicators
from nwidth.errors import LayoutError, StoreError
from tests.dashboards.folders import calibrated, finished
from tests.report.samples import RTOL, line, plate


def test_the_view_has_the_models_numbers(tmp_path: Path) -> None:
    """Spectrum, rank, errors, fields and coordinates are those that `open_model` gives."""
    folder = finished(tmp_path / "s", plate())
    view, basis = read_model_view(folder), nw.open_model(folder).basis
    seen = view.main
    np.testing.assert_array_equal(seen.spectrum.singular_values, basis.spectrum.singular_values)
    np.testing.assert_array_equal(seen.errors, basis.certificate.relative_errors)
    assert (seen.rank, seen.fields) == (basis.rank, basis.fields)
    assert seen.certificate["frobenius_error"] == basis.certificate.frobenius_error
    assert view.snapshots.count == 120
    assert set(view.snapshots.numbers) == {"time in s", "speed in m/s"}
    assert not view.has_atlas
    assert not view.has_indicator


def test_the_cluster_map_is_the_atlas(atlas_run: Path) -> None:
    """Labels, errors and medoids are those of the atlas, and the axes are rows of the global coefficients."""
    view = read_model_view(atlas_run)
    found, model = read_cluster_map(view), nw.open_model(atlas_run)
    atlas = model.atlas
    np.testing.assert_array_equal(found.labels, atlas.labels)
    np.testing.assert_array_equal(found.own_error, atlas.own_errors)
    np.testing.assert_array_equal(np.flatnonzero(found.medoid), np.sort(atlas.medoid_snapshots))
    first = found.axes["coordinate 1 on the global basis"]
    np.testing.assert_array_equal(first, np.asarray(model.bases["global"].coefficients)[0])
    assert view.main.name == "global"


def test_of_many_snapshots_the_worst_are_shown() -> None:
    """The points are spread over all snapshots, one of each stretch, and the worst one is among them."""
    errors = np.random.default_rng(0).uniform(size=10_001)
    errors[7321], errors[3] = 2.0, np.nan
    shown = shown_snapshots(errors, most=100)
    assert len(shown) == 100
    assert 7321 in shown
    assert (np.diff(shown) > 0).all()
    assert np.diff(shown).max() < 2 * 10_001 / 100 + 1
    np.testing.assert_array_equal(shown_snapshots(errors[:50], most=100), np.arange(50))


def test_an_indicator_is_read_with_its_pairs(tmp_path: Path) -> None:
    """The indicator of every pair is the calibration's upper estimate, beside the true errors; a body without is left out."""
    model = finished(tmp_path / "s", line()) / "model.zarr"
    fitted = calibrated(model)
    assert read_model_view(tmp_path / "s").has_indicator
    (found,) = read_indicators(model)
    np.testing.assert_array_equal(found.errors, fitted.errors)
    np.testing.assert_array_equal(found.indicator, fitted.evaluate(fitted.residuals).upper)
    assert found.covered >= 0.9
    assert found.correlation == pytest.approx(fitted.correlation)
    (model / "mechanics" / "zarr.json").write_text('{"attributes": {"mechanics": {"bodies": [{"calibration": 3}]}}}')
    with pytest.raises(LayoutError, match="cannot be read"):
        read_indicators(model)


def test_models_that_cannot_be_shown_say_why(tmp_path: Path) -> None:
    """A model of a newer version, one that lacks an array, and none at all: each is one sentence."""
    folder = finished(tmp_path / "s", line())
    manifest = folder / "model.zarr" / "manifest.json"
    good = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(good) | {"nwidth_model": 99}))
    with pytest.raises(LayoutError, match="newer than this nwidth"):
        read_model_view(folder)
    manifest.write_text(good)
    shutil.rmtree(folder / "model.zarr" / "bases" / "concentration" / "singular_values")
    with pytest.raises(LayoutError, match="damaged"):
        read_model_view(folder)
    manifest.unlink()
    with pytest.raises(StoreError, match="not a model"):
        read_model_view(folder)


def test_costs_stand_pass_by_pass(tmp_path: Path) -> None:
    """What the plan called factor stands beside what was measured as gram; a record without numbers has no costs."""
    view = read_model_view(finished(tmp_path / "s", line()))
    found = costs_of(view.record)
    assert [entry.name for entry in found.passes] == ["gram", "lift"]
    assert found.passes[0].planned_bytes == view.record["plan"]["passes"][0]["bytes_to_read"]
    assert found.passes[0].measured_bytes == view.record["measured"]["passes"][0]["bytes_read"]
    assert found.measured_seconds == 2.6
    assert (
        costs_of({"plan": 3, "measured": {"passes": [7, {"name": "x", "bytes_read": "many"}]}}).passes[0].measured_bytes is None
    )
    assert costs_of({}).passes == ()
    assert view.rtol is None
    assert RTOL > 0
