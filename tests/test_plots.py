"""`nw.plots` draws what an atlas says: the numbers in the figures are those of the model, for every kind of snapshots."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth import plots
from nwidth.errors import ConfigError, StoreError
from nwidth.mesh import mesh_from_cells
from nwidth.models.atlas import Atlas
from nwidth.report.atlas.choices import modes_column
from nwidth.report.atlas.clusters import cluster_colours, pairs_of, sides_of
from nwidth.report.atlas.medoids import reproduced
from nwidth.report.saving import save_picture
from tests.atlas.bumps import bumps

OF_AN_ATLAS = (
    "partition",
    "medoids",
    "silhouette",
    "errors",
    "transitions",
    "spectra",
    "widths",
    "comparison",
    "loss_curve",
    "gain_map",
)
SNAPSHOTS = bumps()


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    """Bumps in the number of clusters that gains most, of a few that are tried."""
    return nw.partition(SNAPSHOTS, clusters=(2, 4, 6), rank=4)


@pytest.fixture(scope="module")
def single() -> Atlas:
    """One cluster, where nothing was tried."""
    return nw.partition(SNAPSHOTS.isel(snapshot=slice(0, 30)), clusters=1, rank=3)


def lines(axes: Any) -> dict[str, Any]:
    """Label -> heights of the curves that have one."""
    return {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in axes.lines}


def point(line: Any) -> list[float]:
    """Place of a mark that stands alone."""
    return [float(value) for values in line.get_data() for value in values]


@pytest.mark.parametrize("name", OF_AN_ATLAS)
def test_every_plot_is_a_figure_that_a_notebook_shows(atlas: Atlas, name: str) -> None:
    """Each function returns a figure of its own with something drawn in it, and the figure shows itself as SVG."""
    figure = getattr(plots, name)(atlas)
    assert figure.get_axes()
    assert figure._repr_svg_().startswith("<svg")


def test_the_map_has_a_dot_for_every_item(atlas: Atlas) -> None:
    """Dots of all clusters together are the snapshots at their own times and simulations; discs stand at the representatives."""
    ((across, up),) = [pair for pair in pairs_of(sides_of(atlas), atlas) if pair[0].label == "time"][:1]
    axes = plots.partition(atlas).axes[0]
    dots = np.concatenate([np.stack(line.get_data(), axis=1) for line in axes.lines[: atlas.count]])
    expected = np.stack([across.values, up.values], axis=1)
    np.testing.assert_array_equal(dots[np.lexsort(dots.T)], expected[np.lexsort(expected.T)])
    for cluster, line in enumerate(axes.lines[: atlas.count]):
        assert len(line.get_xdata()) == atlas.sizes[cluster]  # type: ignore[arg-type]
    discs = [point(line) for line in axes.lines[atlas.count :]]
    np.testing.assert_array_equal(discs, expected[atlas.medoids])


def test_bars_are_the_sizes(atlas: Atlas) -> None:
    """The bars beside the map are as long as the clusters are large."""
    sizes = plots.partition(atlas).axes[-1]
    assert [bar.get_width() for bar in sizes.patches] == atlas.sizes.tolist()  # type: ignore[attr-defined]


def test_axes_of_the_map_follow_the_items() -> None:
    """Snapshots are drawn over time and parameter, simulations over their parameters alone, and without either in their order."""
    of_snapshots = nw.partition(SNAPSHOTS, clusters=2, rank=3)
    assert [side.label for side in sides_of(of_snapshots)] == ["time", "place"]
    of_simulations = nw.partition(SNAPSHOTS, clusters=2, of="simulations", rank=3, minimum_size=2)
    assert [side.label for side in sides_of(of_simulations)] == ["place"]
    ((across, up),) = pairs_of(sides_of(of_simulations), of_simulations)
    assert (len(across.values), up.label) == (12, "cluster")
    bare = nw.partition(SNAPSHOTS.drop_vars(("simulation", "time", "place")), clusters=2, rank=3)
    ((across, up),) = pairs_of(sides_of(bare), bare)
    assert (across.label, up.label) == ("snapshot, in order", "cluster")
    timed = nw.partition(SNAPSHOTS.drop_vars("place"), clusters=2, rank=3)
    ((across, up),) = pairs_of(sides_of(timed), timed)
    assert (across.label, up.label, len(up.names)) == ("time", "simulation", 12)


def test_words_along_an_axis_are_named() -> None:
    """A parameter of words becomes categories with their names."""
    named = SNAPSHOTS.assign_coords(alloy=("snapshot", np.repeat(["soft", "hard"], 60)))
    found = {side.label: side for side in sides_of(nw.partition(named, clusters=2, rank=3))}
    assert found["alloy"].names == ("hard", "soft")
    assert set(found["alloy"].values) == {0, 1}


def test_colours_tell_all_clusters_apart() -> None:
    """Up to six clusters have the colour-blind safe palette; more have that many different colours."""
    assert len(set(cluster_colours(6))) == 6
    assert len({tuple(colour) for colour in cluster_colours(20)}) == 20


def test_silhouettes_fall_within_their_cluster(atlas: Atlas) -> None:
    """Every cluster's bars are its silhouettes in descending order, and the line is their mean."""
    axes = plots.silhouette(atlas).axes[0]
    for cluster, stairs in enumerate(axes.patches[: atlas.count]):
        values = stairs.get_data().values  # type: ignore[attr-defined]
        np.testing.assert_array_equal(values, np.sort(atlas.silhouettes[atlas.item_labels == cluster])[::-1])
    assert lines(axes)[f"mean {atlas.silhouettes.mean():.2f}"].size == 2


def test_errors_are_the_measured_ones(atlas: Atlas) -> None:
    """Own, second and global errors are those of the atlas, cluster by cluster."""
    drawn = lines(plots.errors(atlas).axes[0])
    order = np.argsort(atlas.labels, kind="stable")
    np.testing.assert_array_equal(drawn["own cluster"], atlas.own_errors[order])
    np.testing.assert_array_equal(drawn["global basis"], atlas.global_errors[order])
    np.testing.assert_array_equal(drawn["second nearest"], atlas.errors[atlas.second, np.arange(120)][order])


def test_curves_and_maps_are_the_trials(atlas: Atlas) -> None:
    """Loss, silhouette, gain and smallest cluster are those of the trials at the atlas's number of modes; maps show the gains."""
    gain, column = atlas.gain, modes_column(atlas)
    assert gain.ranks[column] == 4
    loss, silhouette, gained, smallest = plots.loss_curve(atlas).axes
    np.testing.assert_array_equal(lines(loss)["sine"], gain.loss)
    np.testing.assert_array_equal(lines(silhouette)["sine"], gain.silhouette)
    np.testing.assert_array_equal(lines(gained)["sine"], gain.expected_gain[:, column])
    np.testing.assert_array_equal(lines(smallest)["sine"], gain.smallest)
    left, right = plots.gain_map(atlas).axes
    assert len(left.texts) == gain.expected_gain.size
    assert float(left.texts[0].get_text()) == pytest.approx(
        gain.expected_gain[0, 0], abs=0.05 if gain.expected_gain[0, 0] < 10 else 0.5
    )
    assert float(right.texts[0].get_text()) == pytest.approx(gain.break_even[0, 0], abs=0.005)
    row = list(gain.clusters).index(atlas.count)
    assert left.patches[0].get_xy() == (column - 0.5, row - 0.5)  # type: ignore[attr-defined]


def test_a_comparison_has_maps_for_every_dissimilarity(atlas: Atlas) -> None:
    """Two dissimilarities give two rows of maps and two curves; an infinite gain is as blue as can be, an unknown one blank."""
    gain = atlas.gain
    infinite = gain.expected_gain.copy()
    infinite[0, 0], infinite[0, 1] = np.inf, np.nan
    tables = {name: values for name, values in vars(gain).items() if isinstance(values, np.ndarray) and name != "ranks"}
    twice: dict[str, Any] = {name: np.concatenate([values, values]) for name, values in tables.items()}
    twice["expected_gain"] = np.concatenate([gain.expected_gain, infinite])
    joined = replace(gain, dissimilarities=gain.dissimilarities + ("euclidean",) * 3, **twice)
    figure = plots.gain_map(joined)
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == ["sine: expected gain", "euclidean: expected gain"]
    assert [text.get_text() for text in figure.axes[2].texts[:2]] == ["∞", "–"]
    painted = np.asarray(figure.axes[2].images[0].get_array())
    assert painted[0, 1, 3] == 0.0
    assert np.count_nonzero(painted[..., 3]) == painted[..., 3].size - 1
    np.testing.assert_array_equal(painted[0, 0], painted[..., :][infinite > 4][0])
    assert set(lines(plots.loss_curve(joined).axes[0])) == {"sine", "euclidean"}


def test_width_brackets_are_the_atlas_s(atlas: Atlas) -> None:
    """Curves of the whole set and of the worst cluster are the bounds of the atlas, upper above lower."""
    drawn = lines(plots.widths(atlas).axes[0])
    np.testing.assert_array_equal(drawn["all: POD"], atlas.widths.pod)
    np.testing.assert_array_equal(drawn["worst cluster"], atlas.widths.parts_upper.max(axis=0))
    assert (drawn["all: lower bound"] <= np.minimum(drawn["all: POD"], drawn["all: greedy"]) * (1 + 1e-12)).all()


def test_spectra_are_ringed_at_the_ranks(atlas: Atlas) -> None:
    """The ring of every curve stands at the rank that was kept, and at the error of the spectrum there."""
    axes = plots.spectra(atlas).axes[0]
    rings = [point(line) for line in axes.lines if len(np.atleast_1d(line.get_xdata())) == 1]
    bases = (atlas.bases["global"], *atlas.local_bases)
    np.testing.assert_array_equal(rings, [(basis.rank, basis.spectrum.projection_error[basis.rank]) for basis in bases])


def test_representatives_are_within_their_error(atlas: Atlas) -> None:
    """The field drawn for a cluster is its representative to the error that the atlas measured for it."""
    for cluster, snapshot in enumerate(atlas.medoid_snapshots):
        true = SNAPSHOTS.values[snapshot]
        missed = np.linalg.norm(reproduced(atlas, cluster, "u") - true) / np.linalg.norm(true)
        # A residual against a difference of norms: they agree to the square root of rounding.
        assert missed == pytest.approx(atlas.errors[cluster, snapshot], abs=1e-7)
    assert len([axes for axes in plots.medoids(atlas).axes if axes.get_visible()]) == atlas.count


def test_representatives_on_grids_and_meshes() -> None:
    """A grid of two dimensions gives images, a mesh pictures with its bar, and a mesh of another field is refused."""
    values = SNAPSHOTS.values[:, :150].reshape(120, 10, 15)
    grid = nw.partition(xr.DataArray(values, dims=("snapshot", "y", "x"), name="u"), clusters=2, rank=3)
    assert len([axes for axes in plots.medoids(grid).axes if axes.get_visible() and axes.get_title(loc="left")]) == 2
    across, up = np.meshgrid(np.arange(15.0), np.arange(10.0))
    points = np.stack([across.ravel(), up.ravel()], axis=1)
    corner = (np.arange(9)[:, None] * 15 + np.arange(14)).ravel()
    mesh = mesh_from_cells(points, [(9, np.stack([corner, corner + 1, corner + 16, corner + 15], axis=1))], "m")
    flat = nw.partition(xr.DataArray(values.reshape(120, 150), dims=("snapshot", "node"), name="u"), clusters=2, rank=3)
    assert [len(axes.images) for axes in plots.medoids(flat, mesh=mesh).axes[:2]] == [1, 1]
    with pytest.raises(ConfigError, match="give the mesh of its model"):
        plots.medoids(nw.partition(SNAPSHOTS, clusters=2, rank=3), mesh=mesh)
    with pytest.raises(ConfigError, match="has no field 'v'; it has u"):
        plots.medoids(flat, "v")


def test_one_cluster_is_drawn_as_far_as_it_goes(single: Atlas) -> None:
    """What one cluster has is drawn; what it has not is refused in a sentence."""
    for name in ("partition", "medoids", "errors", "transitions", "spectra", "widths"):
        assert getattr(plots, name)(single)._repr_svg_()
    with pytest.raises(ConfigError, match="no silhouettes"):
        plots.silhouette(single)
    for name in ("loss_curve", "gain_map", "comparison"):
        with pytest.raises(ConfigError, match="no number of clusters was tried"):
            getattr(plots, name)(single)


def test_very_many_items_stay_one_picture(atlas: Atlas) -> None:
    """Dots of thousands of snapshots are one picture inside the SVG, which stays small."""
    times = 100
    many = replace(
        atlas,
        items=atlas.items * times,
        item_of=np.arange(120 * times),
        labels=np.tile(atlas.labels, times),
        item_labels=np.tile(atlas.item_labels, times),
        second=np.tile(atlas.second, times),
        errors=np.tile(atlas.errors, times),
        global_errors=np.tile(atlas.global_errors, times),
    )
    assert len(plots.errors(many)._repr_svg_()) < 400_000


def test_pictures_are_saved_or_refused(atlas: Atlas, tmp_path: Path) -> None:
    """PNG, SVG and PDF are written whole; other suffixes, missing folders and places that are taken are refused in words."""
    figure = plots.widths(atlas)
    heads = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    for suffix, head in heads.items():
        assert save_picture(figure, tmp_path / f"widths{suffix}").read_bytes().startswith(head)
    assert {path.name for path in tmp_path.iterdir()} == {f"widths{suffix}" for suffix in heads}
    with pytest.raises(ConfigError, match=r"give a picture one of \.png, \.svg, \.pdf"):
        save_picture(figure, tmp_path / "widths.gif")
    with pytest.raises(ConfigError, match="does not exist"):
        save_picture(figure, tmp_path / "no" / "widths.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        save_picture(figure, tmp_path / "taken.png")
    assert not list(tmp_path.glob(".*"))


def test_plots_are_imported_when_they_are_used() -> None:
    """``import nwidth`` does not import Matplotlib, and ``nw.plots`` is the module of the plots."""
    code = "import sys, nwidth as nw; assert 'matplotlib' not in sys.modules; print(nw.plots.__name__, len(nw.plots.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nwidth.plots", str(len(plots.__all__))]
