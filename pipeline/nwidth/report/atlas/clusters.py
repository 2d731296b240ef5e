"""Who belongs where, and how well: a partition as matplotlib figures.

Colours are those of `cluster_colours` in all of them; a cluster's number stands beside its colour, so that none rests on colour
alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.models.atlas import GLOBAL
from nwidth.report import words
from nwidth.report.atlas.matrices import DARK, LIGHT, Shading, draw_matrix
from nwidth.report.figures import RASTERISE_BEYOND, axis_of
from nwidth.report.record import SnapshotTable, snapshot_table
from nwidth.report.styling import BLUE, CATEGORIES, INK, ORANGE, SEQUENCE, SHADE, WIDTH, Plot, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nwidth.models.atlas import Atlas
    from nwidth.models.learned import Learned

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MOST_PANELS = 4
# Simulations whose rows are still told apart in a strip.
MOST_STRIPS = 200


def cluster_colours(count: int) -> list[Any]:
    """A colour for every cluster: the palette for up to six, the ordered map for more."""
    if count <= len(CATEGORIES):
        return list(CATEGORIES[:count])
    return list(colormaps[SEQUENCE](np.linspace(0.0, 0.92, count)))


# --- the map ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One coordinate of the items, as an axis."""

    label: str
    values: NDArray[Any]
    names: tuple[str, ...] = ()
    """Of categories, whose values count from 0."""


@styled
def partition(atlas: Atlas) -> Plot:
    """Clusters over time and the parameters that vary, representatives as numbered discs; beside it, the clusters' sizes."""
    sides = sides_of(atlas)
    pairs = pairs_of(sides, atlas)
    columns = min(2, len(pairs))
    rows = -(-len(pairs) // columns)
    height = max(2.3 * rows, 0.9 + 0.19 * atlas.count, 2.6)
    figure = Plot(figsize=(WIDTH, height), layout="constrained")
    # One row of two: matplotlib's types do not know that this makes an array.
    halves: Any = figure.subfigures(1, 2, width_ratios=(3.1, 1))
    left, right = halves
    maps = left.subplots(rows, columns, squeeze=False)
    for panel in maps.flat[len(pairs) :]:
        panel.set_visible(False)
    for panel, (across, up) in zip(maps.flat, pairs, strict=False):
        _scatter(panel, atlas, across, up)
    _sizes(right.subplots(), atlas)
    return figure


def sides_of(atlas: Atlas) -> list[Side]:
    """Time and the parameters that vary over the items, as axes; of simulations without time."""
    table, chosen = snapshot_table(atlas.bases[GLOBAL]), _one_each(atlas)
    sides = []
    if table.time is not None and atlas.of == "snapshots" and len(np.unique(table.time)) > 1:
        sides.append(Side(words.in_unit("time", plain(table.time_units)), table.time))
    for name, values in table.parameters.items():
        if len({str(value) for value in values[chosen]}) > 1:
            unit, (places, names) = table.parameter_units.get(name, ""), axis_of(values[chosen])
            sides.append(Side(words.in_unit(plain(name), plain(unit)), places, tuple(names)))
    return sides


def _one_each(atlas: Atlas) -> Indices:
    """A snapshot of every item, by whose coordinates it is drawn."""
    return np.unique(atlas.item_of, return_index=True)[1]


def pairs_of(sides: list[Side], atlas: Atlas) -> list[tuple[Side, Side]]:
    """Which axes are drawn against which: time against everything, or parameters against one another."""
    table = snapshot_table(atlas.bases[GLOBAL])
    cluster = Side("cluster", atlas.item_labels, tuple(str(number) for number in range(atlas.count)))
    if not sides:
        return [(Side(f"{atlas.of.removesuffix('s')}, in order", np.arange(len(atlas.items))), cluster)]
    if len(sides) > 1:
        first_is_time = sides[0].label.startswith("time") and atlas.of == "snapshots"
        pairs = [(sides[0], other) for other in sides[1:]] if first_is_time else list(itertools.combinations(sides, 2))
        return pairs[:MOST_PANELS]
    strips = _strips(table) if atlas.of == "snapshots" and table.time is not None else None
    return [(sides[0], cluster if strips is None else strips)]


def _strips(table: SnapshotTable) -> Side | None:
    """Simulations as rows, where there are several and they can be told apart."""
    names = table.simulations
    if not 1 < len(names) <= MOST_STRIPS or len(names) == len(table.simulation):
        return None
    place = {name: number for number, name in enumerate(names)}
    shown = tuple(plain(name, 16) for name in names) if len(names) <= 24 else ()
    label = "simulation" if shown else "simulation, in order"
    return Side(label, np.array([place[str(name)] for name in table.simulation]), shown)


def _scatter(axes: Axes, atlas: Atlas, across: Side, up: Side) -> None:
    """A dot per item in its cluster's colour, the representatives as numbered discs."""
    colours = cluster_colours(atlas.count)
    raster = len(atlas.items) > RASTERISE_BEYOND
    for cluster, colour in enumerate(colours):
        own = np.flatnonzero(atlas.item_labels == cluster)
        axes.plot(across.values[own], up.values[own], "o", ms=4, mew=0, color=colour, rasterized=raster)
    for cluster, item in enumerate(atlas.medoids):
        axes.plot(across.values[[item]], up.values[[item]], "o", ms=10, mfc=LIGHT, mec=DARK, mew=1.2)
        place = (across.values[item], up.values[item])
        axes.annotate(str(cluster), place, ha="center", va="center_baseline", fontsize=7, color=DARK)
    for side, axis in ((across, axes.xaxis), (up, axes.yaxis)):
        axis.set_label_text(side.label)
        if side.names:
            axis.set_ticks(range(len(side.names)), list(side.names))
    axes.margins(0.06, 0.1)


def _sizes(axes: Axes, atlas: Atlas) -> None:
    """Bars of the clusters' sizes, each with its number of modes."""
    sizes, colours = atlas.sizes, cluster_colours(atlas.count)
    axes.barh(range(atlas.count), sizes, color=colours, height=0.75)
    for cluster, size in enumerate(sizes):
        rank = words.count(int(atlas.ranks[cluster]), "mode")
        axes.annotate(
            f"{size}, {rank}" if atlas.count <= 12 else f"{size}",
            (float(size), cluster), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(atlas.count))
    axes.locator_params(axis="x", nbins=3)
    axes.invert_yaxis()
    # Room for the words beside the longest bar.
    axes.set(xlabel=f"{atlas.of} in each cluster", ylabel="cluster", xlim=(0, 1.9 * float(sizes.max())))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


# --- how well ---------------------------------------------------------------------------------------------------------


@styled
def silhouette(atlas: Atlas) -> Plot:
    """Silhouettes of the items, cluster by cluster and descending, with their mean; below 0, another cluster is nearer.

    Raises
    ------
    ConfigError
        They were not computed: there are too many items, or there is one cluster.
    """
    if atlas.count < 2 or not np.isfinite(atlas.silhouettes).all():
        raise ConfigError("the atlas has no silhouettes: it has one cluster, or too many items; plot its loss_curve instead")
    figure = Plot(figsize=(WIDTH, max(2.4, 0.9 + 0.24 * atlas.count)), layout="constrained")
    axes = figure.add_subplot()
    colours, start, centres = cluster_colours(atlas.count), 0, []
    gap = max(1, len(atlas.items) // 60)
    for cluster, colour in enumerate(colours):
        own = np.sort(atlas.silhouettes[atlas.item_labels == cluster])[::-1]
        edges = start + np.arange(len(own) + 1)
        axes.stairs(own, edges, orientation="horizontal", fill=True, color=colour, lw=0)
        centres.append(start + len(own) / 2)
        start += len(own) + gap
    mean = float(atlas.silhouettes.mean())
    axes.axvline(mean, color=ORANGE, lw=1.1, label=f"mean {mean:.2f}")
    axes.axvline(0.0, color=SHADE, lw=0.7)
    axes.set_yticks(centres, [str(cluster) for cluster in range(atlas.count)])
    axes.set(xlabel="silhouette", ylabel="cluster", ylim=(start - gap, 0), xlim=(min(-0.02, float(atlas.silhouettes.min())), 1))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right")
    return figure


@styled
def errors(atlas: Atlas) -> Plot:
    """Relative error of every snapshot on the basis of its cluster, on that of the second nearest one, and on the global one."""
    order = np.lexsort((np.arange(len(atlas.labels)), atlas.labels))
    raster = len(order) > RASTERISE_BEYOND / 3
    figure = Plot(figsize=(WIDTH, 3.1), layout="constrained")
    axes = figure.add_subplot()
    centres = _bands(axes, atlas.labels[order])
    second = atlas.second[atlas.item_of]
    curves = [
        ("global basis", atlas.global_errors, "_", SHADE, 5),
        ("second nearest", np.where(second >= 0, atlas.errors[second, np.arange(len(second))], np.nan), "x", ORANGE, 3.5),
        ("own cluster", atlas.own_errors, "o", BLUE, 3),
    ]
    for label, values, marker, colour, size in curves:
        shown = np.where(values > 0, values, np.nan)[order]
        if np.isfinite(shown).any():
            axes.semilogy(shown, marker, ms=size, mew=0 if marker == "o" else 0.9, color=colour, label=label, rasterized=raster)
    axes.set_xticks(centres, [str(cluster) for cluster in range(atlas.count)])
    axes.set(xlabel="snapshots, cluster by cluster", ylabel="relative error", xlim=(-1, len(order)))
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", ncols=3, reverse=True)
    return figure


def _bands(axes: Axes, sorted_labels: Indices) -> list[float]:
    """Shade every second cluster; the middles of all of them."""
    clusters, starts = np.unique(sorted_labels, return_index=True)
    stops = [*starts[1:], len(sorted_labels)]
    for cluster, start, stop in zip(clusters, starts, stops, strict=True):
        if cluster % 2:
            axes.axvspan(start - 0.5, stop - 0.5, color=SHADE, alpha=0.12, lw=0)
    return [float(start + stop - 1) / 2 for start, stop in zip(starts, stops, strict=True)]


@styled
def transitions(atlas: Atlas) -> Plot:
    """Relative loss of changing from the basis of one cluster (column) to that of another (row), over the column's members."""
    losses = np.asarray(atlas.switch_losses, np.float64)
    side = min(WIDTH * 0.75, 1.6 + 0.42 * atlas.count)
    figure = Plot(figsize=(side, 0.85 * side), layout="constrained")
    axes = figure.add_subplot()
    names = [str(cluster) for cluster in range(atlas.count)]
    top = float(np.nanmax(losses, initial=0.0)) or 1.0
    draw_matrix(axes, losses, Shading("cividis", 0.0, top), text=_loss, rows=names, columns=names)
    axes.set(xlabel="from the basis of cluster", ylabel="to that of cluster")
    return figure


def _loss(value: float) -> str:
    return "0" if value < 1e-9 else f"{value:.2f}" if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-")


@styled
def confusion(learned: Learned) -> Plot:
    """Which cluster a classifier chose (columns) for inputs of which (rows): counts, coloured by their share of the row."""
    counts = learned.evaluation.confusion
    side = min(WIDTH * 0.75, 1.6 + 0.42 * len(counts))
    figure = Plot(figsize=(side, 0.85 * side), layout="constrained")
    axes = figure.add_subplot()
    names = [str(cluster) for cluster in range(len(counts))]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    draw_matrix(axes, shares, Shading("Blues", 0.0, 1.1), text=str, shown=counts, rows=names, columns=names)
    axes.set(xlabel="cluster that was chosen", ylabel="true cluster")
    return figure
