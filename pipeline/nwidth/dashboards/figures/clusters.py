"""The snapshots of an atlas as points, coloured by their cluster; the axes are chosen in the browser.

Coordinates on the global basis, parameters, time and errors are all axes: what parts the snapshots, and where it hurts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.transform import transform

from nwidth.dashboards.contents import ClusterMap
from nwidth.dashboards.figures.theme import BLUE, ORANGE, SHADE, cluster_colour, hover, label, legend_above, plot
from nwidth.dashboards.libraries import bk, layouts
from nwidth.models.atlas import Atlas

MOST_LEGENDS = 8
"""Clusters that the legend names; beyond, the pointer says which."""


def cluster_map(found: ClusterMap) -> Any:
    """Two choices of axes and the map; medoids are large and ringed."""
    names = list(found.axes)
    # Columns have plain names: those of parameters come from a store.
    columns = {f"axis{number}": values for number, values in enumerate(found.axes.values())}
    shown = [label(name) for name in names]
    x, y = 0, min(1, len(names) - 1)
    made = plot("Snapshots by cluster", shown[x], shown[y], height=430)
    drawn, sources = [], []
    for cluster in range(found.atlas.count):
        source = _source(found, columns, found.labels == cluster, x, y)
        sources.append(source)
        named = {"legend_label": f"cluster {cluster}"} if cluster < MOST_LEGENDS else {}
        drawn.append(made.scatter("x", "y", source=source, size="size", color=cluster_colour(cluster), alpha=0.75,
                                  line_color="ring", line_width=1.6, **named))  # fmt: skip
    hover(
        made, drawn, ("snapshot", "@index"), ("simulation", "@name"), ("cluster", "@cluster"),
        ("own error", "@own{0.00e}"), ("global error", "@one{0.00e}"),
    )  # fmt: skip
    legend_above(made)
    made.legend[0].click_policy = "hide"
    options = [(f"axis{number}", name) for number, name in enumerate(shown)]
    axes = [
        bk.Select(title=title, value=f"axis{start}", options=options, width=260, name=f"cluster-{title[0]}")
        for title, start in (("x axis", x), ("y axis", y))
    ]
    code = bk.CustomJS(
        args={"x": axes[0], "y": axes[1], "sources": sources, "xaxis": made.xaxis[0], "yaxis": made.yaxis[0]}, code=AXES
    )
    for select in axes:
        select.js_on_change("value", code)
    return layouts.column(layouts.row(*axes), made, sizing_mode="stretch_width")


AXES = """
const named = (select) => select.options.find(([key]) => key === select.value)[1]
for (const source of sources) {
  source.data = {...source.data, x: source.data[x.value], y: source.data[y.value]}
}
xaxis.axis_label = named(x)
yaxis.axis_label = named(y)
"""


def _source(found: ClusterMap, columns: dict[str, Any], mask: Any, x: int, y: int) -> Any:
    medoid = found.medoid[mask]
    data = {name: values[mask] for name, values in columns.items()}
    return bk.ColumnDataSource(
        data
        | {
            "x": data[f"axis{x}"],
            "y": data[f"axis{y}"],
            "index": found.index[mask],
            "name": [str(name) for name in found.simulation[mask]],
            "cluster": found.labels[mask],
            "own": found.own_error[mask],
            "one": found.global_error[mask],
            "size": np.where(medoid, 15, 6),
            "ring": np.where(medoid, "#1b1f24", "rgba(0,0,0,0)"),
        }
    )


def gain_plot(atlas: Atlas) -> Any | None:
    """Expected gain over one basis of as many modes, against the number of clusters; None where nothing was tried."""
    gain = atlas.gain
    if gain.expected_gain.size == 0 or not np.isfinite(gain.expected_gain).any():
        return None
    made = plot("Expected gain of a dictionary with N modes each", "clusters", "gain", height=300)
    drawn = []
    chosen = range(0, len(gain.ranks), max(1, len(gain.ranks) // 4))
    for place, column_ in enumerate(list(chosen)[:4]):
        order = np.argsort(gain.clusters, kind="stable")
        values = gain.expected_gain[order, column_]
        keep = np.isfinite(values)
        source = bk.ColumnDataSource({"clusters": gain.clusters[order][keep], "gain": values[keep]})
        name = f"N = {int(gain.ranks[column_])}"
        made.line("clusters", "gain", source=source, color=cluster_colour(place), line_width=1.5, legend_label=name)
        drawn.append(made.scatter("clusters", "gain", source=source, color=cluster_colour(place), size=6, legend_label=name))
    made.line([int(gain.clusters.min()), int(gain.clusters.max())], [1, 1], color=SHADE, line_dash="dashed")
    hover(made, drawn, ("clusters", "@clusters"), ("gain", "@gain{0.00}"))
    legend_above(made)
    return made


def error_bars(atlas: Atlas) -> Any:
    """Median error of the members of each cluster, on their own basis and on the global one."""
    own, one = atlas.own_errors, atlas.global_errors
    clusters = [cluster for cluster in range(atlas.count) if (atlas.labels == cluster).any()]
    names = [str(cluster) for cluster in clusters]
    medians = [[float(np.median(errors[atlas.labels == cluster])) for cluster in clusters] for errors in (own, one)]
    least = min((value for line in medians for value in line if value > 0), default=1e-16)
    made = plot("Median error of the members", "cluster", "relative error", height=300, x_range=names, y_axis_type="log")
    drawn = []
    for values, colour, name in zip(medians, (BLUE, ORANGE), ("own basis", "global basis"), strict=True):
        source = bk.ColumnDataSource({"cluster": names, "error": [max(value, least / 10) for value in values]})
        drawn.append(made.scatter("cluster", "error", source=source, size=10, color=colour, legend_label=name))
    hover(made, drawn, ("cluster", "@cluster"), ("median error", "@error{0.00e}"))
    legend_above(made)
    return made


def switch_map(atlas: Atlas) -> Any:
    """What is lost on changing from one basis to another, as a table of colours."""
    count = atlas.count
    start, to = (grid.ravel() for grid in np.meshgrid(np.arange(count), np.arange(count)))
    losses = np.asarray(atlas.switch_losses, float)[to, start]
    made = plot("Loss on changing the basis", "from cluster", "to cluster", height=300,
                x_range=[str(k) for k in range(count)], y_range=[str(k) for k in reversed(range(count))])  # fmt: skip
    source = bk.ColumnDataSource({"start": [str(k) for k in start], "to": [str(k) for k in to], "loss": losses})
    finite = losses[np.isfinite(losses)]
    colours = bk.LinearColorMapper("Cividis256", low=0.0, high=max(float(finite.max(initial=0.0)), 1e-12))
    cells: Any = made.rect("start", "to", 1, 1, source=source, fill_color=transform("loss", colours), line_color="white")
    made.grid.grid_line_color = None
    hover(made, [cells], ("from", "@start"), ("to", "@to"), ("relative loss", "@loss{0.00e}"))
    bar = cells.construct_color_bar(width=10, label_standoff=6, border_line_color=None)
    made.add_layout(bar, "right")
    return made
