"""The plots as data: what they hold is what was given, texts are harmless, and the slider's numbers are those of the spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.dashboards import texts
from nwidth.dashboards.contents import read_cluster_map, read_model_view
from nwidth.dashboards.costs import Costs, costs_of
from nwidth.dashboards.figures import clusters, costs, errors, spectrum
from nwidth.dashboards.figures.theme import label
from nwidth.dashboards.indicators import read_indicators
from nwidth.dashboards.ledger import Event, Ledger
from nwidth.dashboards.runs import RunState
from nwidth.dashboards.scheduler import groups_of
from tests.dashboards.folders import calibrated, finished
from tests.oracles.pod import matrix_with_spectrum
from tests.report.samples import line

HOSTILE = "<img src=x onerror=alert(1)>"


def data_of(model: Any, name: str) -> dict[str, Any]:
    """The columns of the data source of that name."""
    return dict(model.select_one({"name": name}).data)


def test_the_sliders_errors_are_those_of_the_truncated_matrix() -> None:
    """For every rank, the error is the relative Frobenius error of the best approximation of that rank."""
    values = np.logspace(0, -6, 12)
    matrix = matrix_with_spectrum(60, 12, values, seed=1)
    found = spectrum.truncations(values, 1e-5, 4)
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    measured = [
        np.linalg.norm(matrix - (left[:, :rank] * singular[:rank]) @ right[:rank]) / np.linalg.norm(matrix) for rank in range(13)
    ]
    # The rounding of the dense factorisation, relative to the whole matrix.
    np.testing.assert_allclose(found.errors, measured, atol=60 * np.finfo(float).eps)
    np.testing.assert_allclose(found.energies, 1 - found.errors**2, atol=12 * np.finfo(float).eps)
    assert spectrum.smallest_rank(found.errors, 1e-3) == next(rank for rank, error in enumerate(measured) if error <= 1e-3)
    assert spectrum.smallest_rank(found.errors, -1.0) is None


def test_the_spectrum_panel_holds_every_truncation() -> None:
    """The slider goes from no mode to all, starts at the model's rank, and its callback has the errors and both lines."""
    panel = spectrum.spectrum_panel(spectrum.truncations(np.logspace(0, -6, 12), 1e-5, 4), rtol=1e-3)
    slider = panel.select_one({"name": "truncation-slider"})
    assert (slider.start, slider.end, slider.value) == (0, 12, 4)
    (callback,) = slider.js_property_callbacks["change:value"]
    assert {"source", "dot", "sentence", "above", "below", "values", "chosen"} <= set(callback.args)
    assert len(data_of(panel, "truncations")["error"]) == 13
    assert "as it is" in panel.select_one({"name": "truncation"}).text


@pytest.mark.parametrize("values", [np.empty(0), np.zeros(3), np.array([1.0])])
def test_odd_spectra_are_drawn(values: Any) -> None:
    """No singular value, only zeros, and a single one make a panel, too."""
    found = spectrum.truncations(values, 0.0, min(1, len(values)))
    assert spectrum.spectrum_panel(found, None) is not None


def test_many_ranks_are_cut_behind_the_models_own() -> None:
    """The slider has so many ranks at most, but always those of the model."""
    values = np.logspace(0, -6, 500)
    assert len(spectrum.truncations(values, 0.0, 4, most=50).values) == 50
    assert len(spectrum.truncations(values, 0.0, 80, most=50).values) == 80


def test_the_map_has_every_snapshot_once_and_all_axes(atlas_run: Path) -> None:
    """The points of all clusters together are the snapshots; choosing an axis finds its column in each."""
    found = read_cluster_map(read_model_view(atlas_run))
    made = clusters.cluster_map(found)
    sources = [renderer.data_source for renderer in made.children[1].renderers]
    assert sorted(index for source in sources for index in source.data["index"]) == sorted(found.index)
    for select in made.children[0].children:
        assert {key for key, _ in select.options} <= set(sources[0].data)
    for drawn in (clusters.error_bars(found.atlas), clusters.gain_plot(found.atlas), clusters.switch_map(found.atlas)):
        assert drawn is not None


def test_error_indicator_and_cost_plots_hold_their_numbers(tmp_path: Path) -> None:
    """Errors of all snapshots with the worst marked, indicator beside error, planned beside measured bytes."""
    folder = finished(tmp_path / "s", line())
    view = read_model_view(folder)
    shown = np.arange(len(view.main.errors))
    made = errors.error_plot(shown, view.main.errors, view.snapshots.simulation, 1e-3)
    assert list(made.renderers[1].data_source.data["error"]) == [view.main.errors.max()]
    fitted = calibrated(folder / "model.zarr")
    drawn = errors.indicator_plot(read_indicators(folder / "model.zarr"))
    np.testing.assert_array_equal(drawn.renderers[0].data_source.data["error"], fitted.errors)
    plots = costs.cost_plots(costs_of(view.record))
    assert plots is not None
    bars = plots.children[0].renderers
    assert bars[0].data_source.data["value"][0] * 1e3 == view.record["plan"]["passes"][0]["bytes_to_read"]
    assert costs.cost_plots(Costs((), None, None)) is None
    assert "all errors are zero" in errors.error_plot(shown, 0 * view.main.errors, view.snapshots.simulation, None).title.text


def test_texts_from_elsewhere_are_harmless() -> None:
    """Markup in names, errors and events is shown, not obeyed; mathematics of Bokeh and control characters are taken out."""
    ledger = Ledger((Event(None, HOSTILE, {HOSTILE: HOSTILE}),), damaged=1)
    run = RunState(
        Path("x"), HOSTILE, "failed", None, None, HOSTILE, (), ledger, scheduler="", dask_dashboard="javascript:alert(1)",
        model_key="",
    )  # fmt: skip
    for markup in (
        texts.runs_table([run], HOSTILE),
        texts.ledger_table(ledger),
        texts.alert(HOSTILE),
        texts.runs_table([], HOSTILE),
    ):
        assert "<img" not in markup
        assert "&lt;img" in markup
    assert texts.dask_link(run) == ""
    assert label("$$x$$ \\(y\\)\x00\n") == "$ $x$ $ \\ (y\\)  "
    assert len(label("x" * 500)) == 48


def test_task_groups_at_work_come_first() -> None:
    """Counts of a scheduler become groups: those at work before those that wait, and released tasks count as done."""
    states = {
        "lift-leaf": {"waiting": 8, "processing": 0, "memory": 0, "released": 0, "erred": 0},
        "gram-leaf": {"waiting": 1, "processing": 2, "memory": 3, "released": 4, "erred": 1},
    }
    found = groups_of(states)
    assert [group.name for group in found] == ["gram-leaf", "lift-leaf"]
    assert (found[0].done, found[0].erred) == (7, 1)
