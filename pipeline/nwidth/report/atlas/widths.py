"""Whether a dictionary can pay: what any basis of N modes can do at best, for the whole set and for its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nwidth.models.atlas import GLOBAL
from nwidth.report.atlas.clusters import cluster_colours
from nwidth.report.figures import integer_axis
from nwidth.report.styling import BLUE, INK, ORANGE, SHADE, WIDTH, Plot, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nwidth.models.atlas import Atlas
    from nwidth.models.basis import Basis

Floats = NDArray[np.float64]


@styled
def widths(atlas: Atlas) -> Plot:
    """Brackets of the normalised Kolmogorov width against the number of modes: of all snapshots, and of the clusters.

    Whole set: upper bounds by POD and by the strong greedy, lower bound. Clusters: their upper bounds, and the bracket of the
    worst. Where the bracket of the worst cluster lies below the lower bound of the whole set, a dictionary does what no single
    basis of as many modes can.
    """
    curves = atlas.widths
    figure = Plot(figsize=(WIDTH, 3.3), layout="constrained")
    axes = figure.add_subplot()
    upper = np.minimum(curves.pod, curves.greedy)
    _bracket(axes, curves.ranks, curves.lower, upper, BLUE)
    axes.plot(curves.ranks, _shown(curves.pod), "o-", ms=4, color=BLUE, label="all: POD")
    axes.plot(curves.ranks, _shown(curves.greedy), "s--", ms=4, mfc="none", color=BLUE, label="all: greedy")
    axes.plot(curves.ranks, _shown(curves.lower), ":", color=BLUE, label="all: lower bound")
    if atlas.count > 1:
        for own in curves.parts_upper:
            axes.plot(curves.ranks, _shown(own), "-", lw=0.7, color=SHADE)
        worst = curves.parts_upper.max(axis=0)
        _bracket(axes, curves.ranks, curves.parts_lower.max(axis=0), worst, ORANGE)
        axes.plot(curves.ranks, _shown(worst), "D-", ms=4, color=ORANGE, label="worst cluster")
        axes.plot(curves.ranks, _shown(curves.parts_lower.max(axis=0)), ":", color=ORANGE, label="worst cluster: lower bound")
        axes.plot([], [], "-", lw=0.7, color=SHADE, label="each cluster")
    axes.set_yscale("log")
    axes.set_xscale("log")
    axes.set_xticks(curves.ranks, [str(int(rank)) for rank in curves.ranks])
    axes.minorticks_off()
    axes.set(xlabel="modes", ylabel="normalised width")
    figure.legend(loc="outside right upper")
    return figure


def _bracket(axes: Axes, ranks: NDArray[np.int64], low: Floats, high: Floats, colour: str) -> None:
    known = (low > 0) & (high > 0)
    axes.fill_between(ranks, low, high, where=known.tolist(), color=colour, alpha=0.13, lw=0)


def _shown(values: Floats) -> Floats:
    """Zeros are not on a logarithmic axis."""
    return np.where(values > 0, values, np.nan)


@styled
def spectra(atlas: Atlas) -> Plot:
    """Relative projection error of the first k modes, from the spectra: of the global basis, and of every cluster's own.

    A local spectrum is of what its basis is made of: the members, and those that are borrowed from neighbouring clusters.
    """
    figure = Plot(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.add_subplot()
    last = int(2 * max(atlas.bases[GLOBAL].rank, *atlas.ranks, 3))
    _decay(axes, atlas.bases[GLOBAL], last, INK, "global", 1.8)
    for cluster, (basis, colour) in enumerate(zip(atlas.local_bases, cluster_colours(atlas.count), strict=True)):
        _decay(axes, basis, last, colour, f"cluster {cluster}", 1.2)
    axes.set_yscale("log")
    integer_axis(axes)
    axes.set(xlabel="modes k", ylabel="relative projection error")
    figure.legend(loc="outside right upper", ncols=1 if atlas.count <= 12 else 2)
    return figure


def _decay(axes: Axes, basis: Basis, last: int, colour: str, label: str, width: float) -> None:
    """One curve down to its floor, with a ring at the rank that was kept."""
    curve = _shown(np.asarray(basis.spectrum.projection_error)[: last + 1])
    axes.plot(np.arange(len(curve)), curve, "-", lw=width, color=colour, label=label)
    if basis.rank < len(curve):
        axes.plot([basis.rank], [curve[basis.rank]], "o", ms=5, mfc="none", mec=colour)
