"""The figures show the data that they are given, and a notebook can show them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nwidth.models.basis import Basis
from nwidth.models.files import read_basis
from nwidth.report import figures, words
from nwidth.report.plots import thinned
from nwidth.report.styling import inline_svg
from tests.report.samples import N_SIMULATIONS, RTOL, line, write_run


@pytest.fixture(scope="module")
def basis(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    """The basis of the line sample, as a notebook would open it."""
    folder = write_run(tmp_path_factory.mktemp("line"), line())
    return read_basis(folder / "model.zarr", "concentration")


def test_spectrum_shows_all_values_and_the_floor(basis: Basis) -> None:
    """Kept and left-out singular values together are the model's positive ones, and the floor's shade ends at the floor."""
    (axes,) = figures.spectrum(basis).axes
    kept, rest = axes.lines[0], axes.lines[1]
    values = np.concatenate([np.asarray(kept.get_ydata(), float), np.asarray(rest.get_ydata(), float)])
    expected = basis.spectrum.singular_values[basis.spectrum.singular_values > 0]
    np.testing.assert_array_equal(values, expected)
    assert len(kept.get_xdata()) == basis.rank  # type: ignore[arg-type]
    (shade,) = axes.patches
    assert shade.get_extents().transformed(axes.transData.inverted()).y1 == pytest.approx(basis.spectrum.floor)


def test_error_curves_carry_the_tolerance(basis: Basis) -> None:
    """The error curve is the spectrum's own, and lines mark the measured error and the tolerance."""
    _, right = figures.error_curves(basis, RTOL).axes
    np.testing.assert_array_equal(right.lines[0].get_ydata(), basis.spectrum.projection_error[: 2 * basis.rank + 1])
    assert np.asarray(right.lines[1].get_ydata(), float).tolist() == [basis.certificate.frobenius_error]
    assert np.asarray(right.lines[2].get_ydata(), float).tolist() == [RTOL, RTOL]


def test_every_snapshot_has_its_error(basis: Basis) -> None:
    """Errors are drawn grouped by simulation, whatever the order of the snapshots, and the worst is marked."""
    shuffled = np.random.default_rng(5).permutation(120)
    mixed = replace(
        basis,
        coefficients=basis.coefficients.isel(snapshot=shuffled),
        certificate=replace(basis.certificate, relative_errors=basis.certificate.relative_errors[shuffled]),
    )
    (axes,) = figures.snapshot_errors(mixed).axes
    dots = np.asarray(axes.lines[0].get_ydata(), float)
    assert sorted(dots) == sorted(basis.certificate.relative_errors)
    names = [str(name) for name in mixed.coefficients.simulation.values]
    first = next(iter(dict.fromkeys(names)))
    expected = mixed.certificate.relative_errors[[name == first for name in names]]
    np.testing.assert_array_equal(dots[: len(expected)], expected)
    assert np.asarray(axes.lines[1].get_ydata(), float).tolist() == [basis.certificate.worst_error]


def test_coefficients_are_drawn_by_simulation_and_parameter(basis: Basis) -> None:
    """Every simulation has a line of its own colour in time, and every parameter a row of dots."""
    panel = figures.coefficients_in_time(basis).axes[0]
    assert len(panel.lines) == len({str(line.get_color()) for line in panel.lines}) == N_SIMULATIONS
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), basis.coefficients[0, :20])
    dots = figures.coefficients_by_parameter(basis).axes[0].lines[0]
    np.testing.assert_array_equal(dots.get_xdata(), basis.coefficients.speed)
    np.testing.assert_array_equal(dots.get_ydata(), basis.coefficients[0])


def test_nothing_to_plot_against_is_said(basis: Basis) -> None:
    """Without a parameter that varies there is no such figure, and the error says why."""
    with pytest.raises(ValueError, match="no parameter of basis 'concentration' varies"):
        figures.coefficients_by_parameter(replace(basis, coefficients=basis.coefficients.drop_vars("speed")))


def test_a_notebook_shows_a_figure(basis: Basis) -> None:
    """A figure represents itself as SVG without metadata, and its text stays text."""
    text = figures.spectrum(basis)._repr_svg_()
    assert text.startswith("<svg")
    assert "<metadata>" not in text
    assert "singular value" in text


def test_an_inline_figure_follows_the_page(basis: Basis) -> None:
    """In the page a figure has no colour of its own for ink and lines, ids of its own, and a description."""
    text = inline_svg(figures.energy(basis), 'energy "of" <it>', "p7")
    assert 'aria-label="energy &quot;of&quot; &lt;it&gt;"' in text
    assert "#1b1f24" not in text
    assert "var(--ink)" in text or "var(--muted)" in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids)) > 0
    assert all(name.startswith("p7-") for name in ids)
    assert {name.strip("#") for name in re.findall(r"#p7-[\w-]+", text)} <= set(ids)
    assert "width: 50%" in text


def test_thinning_keeps_the_peaks() -> None:
    """A line of a million values becomes a short one with the same least and largest value, its places in order."""
    values = np.random.default_rng(7).standard_normal(1_000_000)
    x, shown = thinned(np.arange(values.size), values)
    assert len(shown) <= 1502
    assert (shown.min(), shown.max()) == (values.min(), values.max())
    assert (np.diff(x) >= 0).all()
    np.testing.assert_array_equal(shown, values[x])


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.number(8.72e-5), "8.7e-5"),
        (words.number(1e-10), "1e-10"),
        (words.number(0.35), "0.35"),
        (words.number(1200.4), "1200"),
        (words.number(2.5e7), "2.5e7"),
        (words.number(0.0), "0"),
        (words.number(float("nan")), "nan"),
        (words.number(None), "–"),
        (words.number(1234567), "1\u202f234\u202f567"),
        (words.error(1e-3), "1e-3"),
        (words.share(0.5), "50 %"),
        (words.share(4.1e-7), "4.1e-5 %"),
        (words.share(0.99999998), "99.9999980 %"),
        (words.share(1.0), "100 %"),
        (words.amount(1_400_000_000), "1.4 GB"),
        (words.amount(999.7), "1 kB"),
        (words.memory(512 * 2**20), "512 MiB"),
        (words.seconds(0.0352), "35.2 ms"),
        (words.seconds(200), "3 min 20 s"),
        (words.seconds(7500), "2 h 5 min"),
        (words.count(1, "mode"), "1 mode"),
        (words.count(2, "basis"), "2 bases"),
        (words.count(3, "pass"), "3 passes"),
        (words.listing(["a", "b", "c"]), "a, b and c"),
        (words.moment(np.datetime64("2026-01-02T00:00:00", "ns")), "2026-01-02"),
        (words.moment(0.35, "s"), "0.35 s"),
    ],
)
def test_numbers_in_words(shown: str, expected: str) -> None:
    """Numbers, shares, sizes, durations and plurals are written in one way."""
    assert shown == expected


def test_dates_and_text_parameters_are_plotted(basis: Basis, tmp_path: Path) -> None:
    """Times that are dates, and parameters that are words, have plots as well."""
    dates = np.datetime64("2026-01-01") + np.tile(np.arange(20), 6) * np.timedelta64(1, "D")
    dated = basis.coefficients.assign_coords(
        time=("snapshot", dates.astype("datetime64[ns]")), alloy=("snapshot", np.repeat(np.array(["a", "b"], object), 60))
    )
    changed = replace(basis, coefficients=dated)
    assert figures.varying_parameters(changed) == ["speed", "alloy"]
    assert figures.has_histories(changed)
    for figure in (figures.coefficients_in_time(changed), figures.coefficients_by_parameter(changed)):
        assert figure._repr_svg_().startswith("<svg")
