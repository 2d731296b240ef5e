"""Modes as matplotlib figures: images on a 2-D grid, slices of a 3-D one, lines along one dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.report import words
from nwidth.report.styling import CATEGORIES, WIDTH, Plot, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nwidth.report.modes import FieldModes, Part

LONGITUDE, LATITUDE = {"lon", "longitude", "x_lon"}, {"lat", "latitude", "y_lat"}
# More points than this are not seen in a panel of the column.
FINEST_IMAGE, FINEST_LINE = 480, 1500


@styled
def grid_modes(modes: FieldModes) -> Plot:
    """The mean and the first modes on a grid: an image each for two dimensions, three middle slices for more."""
    panels = [
        (f"{title}: {part.name}" if part.name else title, part)
        for title, values, signed in modes.items()
        for part in modes.parts(values, signed=signed)
    ]
    images = [(title, part, slices(modes, part)) for title, part in panels]
    columns = 2 if len(modes.dims) == 2 else 3
    n_rows = -(-len(images) // columns) if columns == 2 else len(images)
    figure = Plot(figsize=(WIDTH, (2.1 if columns == 2 else 2.15) * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_visible(False)
    for number, (title, part, cuts) in enumerate(images):
        row = [axes.flat[number]] if columns == 2 else list(axes[number])
        for panel, (horizontal, vertical, values, place) in zip(row, cuts, strict=False):
            image = _image(panel, modes, horizontal, vertical, values, part)
            panel.set_title(plain(title if panel is row[0] else "", 48) + (f"\n{plain(place)}" if place else ""))
        # Inset, because it then has the height of a picture whose aspect is fixed.
        bar = figure.colorbar(image, cax=row[-1].inset_axes((1.03, 0, 0.035, 1)))
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
        bar.ax.set_title(plain(modes.place.units), fontsize=8.5, loc="left")
    return figure


def slices(modes: FieldModes, part: Part) -> list[tuple[str, str, NDArray[np.float64], str]]:
    """(horizontal dim, vertical dim, image (vertical, horizontal), where it was cut) of one part."""
    values, dims = part.values, modes.dims
    while values.ndim > 3:
        values, dims = values[values.shape[0] // 2], dims[1:]
    if values.ndim == 2:
        return [(dims[1], dims[0], values, "")]
    cuts = []
    for cut in range(3):
        middle = values.shape[cut] // 2
        vertical, horizontal = (dim for number, dim in enumerate(dims) if number != cut)
        place = f"at {_label(modes, dims[cut], words.number(modes.axis(dims[cut])[middle], 4))}"
        cuts.append((horizontal, vertical, np.take(values, middle, axis=cut), place))
    return cuts


def _image(axes: Axes, modes: FieldModes, horizontal: str, vertical: str, values: NDArray[np.float64], part: Part) -> Any:
    low, high = part.limits
    down, across = (max(1, -(-size // FINEST_IMAGE)) for size in values.shape)
    x, y = modes.axis(horizontal)[::across], modes.axis(vertical)[::down]
    axes.set_visible(True)
    image = axes.pcolormesh(
        x,
        y,
        np.ma.masked_invalid(values[::down, ::across]),
        cmap=part.colours,
        vmin=low,
        vmax=high,
        shading="nearest",
        rasterized=True,
    )
    axes.grid(visible=False)
    axes.set(xlabel=plain(_label(modes, horizontal)), ylabel=plain(_label(modes, vertical)))
    if horizontal.lower() in LONGITUDE and vertical.lower() in LATITUDE:
        axes.set_aspect("equal")
    return image


def _label(modes: FieldModes, dim: str, value: str = "") -> str:
    """Name of an axis with its unit, or that it counts; with `value`, a place on it."""
    coordinates = modes.basis.modes_by_field[modes.name].coords
    if dim not in coordinates:
        return f"{dim} index {value}" if value else f"{dim} (index)"
    unit = str(coordinates[dim].attrs.get("units", ""))
    if value:
        return f"{dim} = {words.with_unit(value, unit)}"
    return f"{dim} in {unit}" if unit else dim


@styled
def line_modes(modes: FieldModes, places: NDArray[np.float64], label: str, unit: str) -> Plot:
    """The mean and the first modes as lines, one panel each; the components of a vector in one panel."""
    panels = list(modes.items())
    columns = min(2, len(panels))
    n_rows = -(-len(panels) // columns)
    figure = Plot(figsize=(WIDTH, 0.4 + 1.7 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, columns, sharex=True, squeeze=False)
    order = np.argsort(places, kind="stable")
    for number, panel in enumerate(axes.flat):
        panel.set_visible(number < len(panels))
        if number >= len(panels):
            continue
        title, values, _ = panels[number]
        for component, line in enumerate(np.atleast_2d(values.T if modes.has_components else values)):
            name = modes.component(component) if modes.has_components else None
            panel.plot(
                *thinned(places[order], line[order]),
                color=CATEGORIES[component % len(CATEGORIES)],
                lw=1.2,
                label=name and plain(name),
            )
        panel.set_title(title)
        panel.set_ylabel(plain(modes.place.units))
        panel.tick_params(labelbottom=number + columns >= len(panels))
        if number + columns >= len(panels):
            panel.set_xlabel(plain(label + (f" in {unit}" if unit else "")))
    if modes.has_components:
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(6, len(labels)))
    return figure


def thinned(x: NDArray[Any], values: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A line of at most `FINEST_LINE` points that keeps every peak: the least and the largest value of each stretch."""
    if len(values) <= FINEST_LINE:
        return x, values
    stretch = -(-2 * len(values) // FINEST_LINE)
    whole = len(values) // stretch * stretch
    blocks = values[:whole].reshape(-1, stretch)
    picked = (
        np.sort(np.stack([blocks.argmin(axis=1), blocks.argmax(axis=1)], axis=1), axis=1)
        + np.arange(len(blocks))[:, None] * stretch
    )
    index = np.append(picked.ravel(), len(values) - 1)
    return x[index], values[index]
