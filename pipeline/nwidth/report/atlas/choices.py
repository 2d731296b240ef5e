"""Why so many clusters: what was tried, as matplotlib figures.

    e1    mean error of held-out items on one global basis      alpha*   break-even: accuracy below which that one is better
    G     expected gain ``e1 / e(alpha)`` with the accuracy that a classifier may be guessed to have

See `nwidth_graphs.kernels.gain` for the formulas. Both functions take an `Atlas`, or the `GainMap` of a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.models.atlas import Atlas, GainMap
from nwidth.report.atlas.matrices import Shading, draw_matrix, outline
from nwidth.report.styling import CATEGORIES, INK, SHADE, WIDTH, Plot, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

CURVES_HIGH = 4.3
"""Inches of the four curves."""
# Beyond these, all is one colour: a gain of 4, and accuracies that differ by a half.
LOG_ENDS, MARGIN_ENDS = float(np.log(4.0)), 0.5


def tried(atlas: Atlas | GainMap) -> GainMap:
    """The map, where anything was tried.

    Raises
    ------
    ConfigError
        Nothing was: one cluster was asked for, or there are too few items.
    """
    gain = atlas.gain if isinstance(atlas, Atlas) else atlas
    if gain.expected_gain.size == 0:
        raise ConfigError('no number of clusters was tried, so there is no gain to plot; ask for clusters = "auto" or several')
    return gain


def modes_column(atlas: Atlas | GainMap) -> int:
    """Place in ``gain.ranks`` of the number of modes that curves are drawn for: the atlas's own, or that of the largest gain."""
    gain = tried(atlas)
    if isinstance(atlas, Atlas) and len(atlas.ranks):
        return int(np.argmin(np.abs(gain.ranks - np.median(atlas.ranks))))
    best = gain.best()
    return 0 if best is None else best[1]


@styled
def loss_curve(atlas: Atlas | GainMap) -> Plot:
    """Loss, silhouette, gain and the smallest cluster against the number of clusters, for every dissimilarity that was tried."""
    figure = Plot(figsize=(WIDTH, CURVES_HIGH), layout="constrained")
    _draw_curves(figure, atlas)
    return figure


def _draw_curves(figure: FigureBase, atlas: Atlas | GainMap) -> None:
    gain, column = tried(atlas), modes_column(atlas)
    chosen = atlas.count if isinstance(atlas, Atlas) else None
    panels = figure.subplots(2, 2, sharex=True)
    modes = int(gain.ranks[column])
    series: tuple[tuple[str, Floats], ...] = (
        ("mean dissimilarity to the medoid", gain.loss),
        ("mean silhouette", gain.silhouette),
        (f"expected gain, {modes} {'mode' if modes == 1 else 'modes'} each", gain.expected_gain[:, column]),
        ("smallest cluster", gain.smallest.astype(float)),
    )
    for axes, (title, values) in zip(panels.flat, series, strict=True):
        for number, (name, rows) in enumerate(_by_dissimilarity(gain)):
            colour = CATEGORIES[number % len(CATEGORIES)]
            axes.plot(gain.clusters[rows], values[rows], "o-", ms=4, color=colour, label=plain(name))
        axes.set_title(title)
        if chosen is not None and chosen > 1:
            axes.axvline(chosen, color=INK, lw=0.9, ls=(0, (4, 2)), label=f"{chosen} clusters")
    _finish(panels, gain, column)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=min(5, len(labels)))


def _finish(panels: Any, gain: GainMap, column: int) -> None:
    """Scales and ticks: whole numbers of clusters, the line where nothing is gained, losses from zero."""
    from matplotlib.ticker import MaxNLocator

    loss, _, gained, smallest = panels.flat
    loss.set_ylim(bottom=0)
    smallest.set_ylim(bottom=0)
    gained.axhline(1.0, color=SHADE, lw=0.9)
    found = gain.expected_gain[:, column]
    found = found[np.isfinite(found) & (found > 0)]
    if found.size and found.max() > 20 * found.min():
        gained.set_yscale("log")
    for axes in panels[1]:
        axes.set_xlabel("clusters")
    for axes in panels.flat:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.set_xlim(gain.clusters.min() - 0.6, gain.clusters.max() + 0.6)
    smallest.yaxis.set_major_locator(MaxNLocator(integer=True))


def _by_dissimilarity(gain: GainMap) -> list[tuple[str, Indices]]:
    """(name, rows ascending in K) of every dissimilarity, in the order in which they were tried."""
    names = np.array(gain.dissimilarities)
    found = []
    for name in dict.fromkeys(gain.dissimilarities):
        rows = np.flatnonzero(names == name)
        found.append((name, rows[np.argsort(gain.clusters[rows], kind="stable")]))
    return found


@styled
def gain_map(atlas: Atlas | GainMap) -> Plot:
    """Expected gain and break-even accuracy over (clusters, modes), a row of maps per dissimilarity.

    Framed is what the atlas has; of a comparison, or where the atlas is one cluster, the largest expected gain. Gains above 1 are
    blue, below 1 red. A break-even accuracy is blue where the guessed accuracy of a classifier lies above it.
    """
    figure = Plot(figsize=(WIDTH, sum(_heights(tried(atlas)))), layout="constrained")
    _draw_maps(figure, atlas)
    return figure


@styled
def comparison(atlas: Atlas | GainMap) -> Plot:
    """`loss_curve` above `gain_map`: all that was tried, in one figure."""
    high = sum(_heights(tried(atlas)))
    figure = Plot(figsize=(WIDTH, CURVES_HIGH + high), layout="constrained")
    # One column of two: matplotlib's types do not know that this makes an array.
    halves: Any = figure.subfigures(2, 1, height_ratios=(CURVES_HIGH, high))
    _draw_curves(halves[0], atlas)
    _draw_maps(halves[1], atlas)
    return figure


def _heights(gain: GainMap) -> list[float]:
    """Inches of the map of every dissimilarity: a line of numbers for every number of clusters."""
    return [max(1.5, 0.75 + 0.19 * len(rows)) for _, rows in _by_dissimilarity(gain)]


def _draw_maps(figure: FigureBase, atlas: Atlas | GainMap) -> None:
    gain = tried(atlas)
    groups, heights = _by_dissimilarity(gain), _heights(gain)
    grid = figure.subplots(len(groups), 2, squeeze=False, height_ratios=heights)
    framed = _framed(atlas)
    for (left, right), (name, rows) in zip(grid, groups, strict=True):
        _map(left, gain, rows, (_logarithms(gain.expected_gain[rows]), LOG_ENDS), gain.expected_gain[rows], _gain_text)
        margin = gain.accuracy[rows, None] - gain.break_even[rows]
        _map(right, gain, rows, (margin, MARGIN_ENDS), gain.break_even[rows], _share_text)
        left.set_title(f"{plain(name)}: expected gain")
        right.set_title("break-even accuracy")
        right.set_ylabel("")
        if framed is not None and framed[0] in rows:
            for axes in (left, right):
                outline(axes, int(np.flatnonzero(rows == framed[0])[0]), framed[1])


def _framed(atlas: Atlas | GainMap) -> tuple[int, int] | None:
    """(candidate, place in `ranks`) that the reader should look at."""
    gain = tried(atlas)
    if isinstance(atlas, Atlas) and atlas.count > 1:
        made = np.flatnonzero((gain.clusters == atlas.count) & (np.array(gain.dissimilarities) == atlas.dissimilarity))
        if made.size:
            return int(made[0]), modes_column(atlas)
    return gain.best()


def _map(
    axes: Axes, gain: GainMap, rows: Indices, painted: tuple[Floats, float], shown: Floats, text: Callable[[float], str]
) -> None:
    """One map: colours are values within ends to both sides of 0, and a little beyond, where blue and red become black."""
    values, end = painted
    clipped = np.where(np.isnan(values), np.nan, np.clip(values, -end, end))
    draw_matrix(
        axes, clipped, Shading("RdBu", -1.15 * end, 1.15 * end), text=text, shown=shown,
        rows=_words(gain.clusters[rows]), columns=_words(gain.ranks),
    )  # fmt: skip
    axes.set(xlabel="modes", ylabel="clusters")


def _logarithms(values: Floats) -> Floats:
    """Gains as distances from 1: a half is as far as 2 is; infinite where the error is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(values))


def _words(numbers: Sequence[int] | Indices) -> list[str]:
    return [str(int(number)) for number in numbers]


def _gain_text(value: float) -> str:
    if not np.isfinite(value):
        return "∞" if value > 0 else "–"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def _share_text(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
