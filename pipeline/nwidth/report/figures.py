"""Plots of one basis as matplotlib figures: for the report, and for a notebook (``nwidth.report.figures.spectrum(basis)``).

Every function is pure: a `Basis` in, a new figure out; pyplot's global state is not touched.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from nwidth.report import words
from nwidth.report.record import SnapshotTable, snapshot_table
from nwidth.report.styling import BLUE, CATEGORIES, INK, MUTED, ORANGE, SEQUENCE, SHADE, WIDTH, Plot, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nwidth.models.basis import Basis, Spectrum

# An SVG marker costs about 100 bytes: beyond this many the points become one picture inside the SVG.
RASTERISE_BEYOND = 4000
MAX_PARAMETERS = 4
# Letters that fit below a plot.
MAX_NAME_LETTERS = 100


@styled
def spectrum(basis: Basis) -> Plot:
    """Singular values on a log scale, with the untrustworthy range shaded and the chosen rank marked."""
    figure = Plot(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.add_subplot()
    values = basis.spectrum.singular_values
    index = np.arange(1, len(values) + 1)
    shown = values > 0
    kept, rest = shown & (index <= basis.rank), shown & (index > basis.rank)
    raster = len(values) > RASTERISE_BEYOND
    axes.semilogy(
        index[kept], values[kept], "o", ms=4, color=BLUE, label=f"{words.count(basis.rank, 'mode')} kept", rasterized=raster
    )
    axes.semilogy(index[rest], values[rest], "o", ms=3, color=SHADE, mfc="none", mew=0.8, label="left out", rasterized=raster)
    _shade_floor(axes, basis.spectrum)
    axes.axvline(basis.rank + 0.5, color=ORANGE, lw=1.1)
    axes.annotate(
        f"rank {basis.rank}", (basis.rank + 0.5, 1), xycoords=("data", "axes fraction"),
        xytext=(4, 0), textcoords="offset points", va="top", color=ORANGE, fontsize=8.5,
    )  # fmt: skip
    axes.set(xlabel="index i", ylabel="singular value σᵢ", xlim=(0, len(values) + 1))
    axes.legend(loc="upper right")
    return figure


def _shade_floor(axes: Axes, spectrum: Spectrum) -> None:
    """Shade the singular values that are rounding, and say where they begin."""
    positive = spectrum.singular_values[spectrum.singular_values > 0]
    top = float(positive.max()) if positive.size else 1.0
    below = float(positive.min()) if positive.size else 1e-16
    if spectrum.floor > 0:
        # The words stand where the values do not cross the floor.
        late = spectrum.trusted > len(spectrum.singular_values) / 2
        # Far below the floor there is nothing to be seen but rounding.
        low = max(min(below, spectrum.floor) / 10, spectrum.floor * 1e-4)
        axes.axhspan(low, spectrum.floor, color=SHADE, alpha=0.22, lw=0)
        axes.annotate(
            f"not trustworthy below {words.number(spectrum.floor)} ({spectrum.route} route)",
            (0.01 if late else 0.99, spectrum.floor), xycoords=("axes fraction", "data"),
            xytext=(0, -3), textcoords="offset points",
            va="top", ha="left" if late else "right", color=MUTED, fontsize=8.5,
        )  # fmt: skip
        axes.set_ylim(low, top * 3)
    else:
        axes.set_ylim(below / 3, top * 3)


@styled
def energy(basis: Basis) -> Plot:
    """Cumulative energy ``E(k)`` against the number of modes."""
    figure = Plot(figsize=(WIDTH / 2, 2.6), layout="constrained")
    _energy(figure.add_subplot(), basis)
    return figure


@styled
def projection_error(basis: Basis, rtol: float | None = None) -> Plot:
    """Relative projection error of the first k modes, with the tolerance that was asked for and the measured error."""
    figure = Plot(figsize=(WIDTH / 2, 2.6), layout="constrained")
    _projection_error(figure.add_subplot(), basis, rtol)
    return figure


@styled
def error_curves(basis: Basis, rtol: float | None = None) -> Plot:
    """Cumulative energy and projection error side by side."""
    figure = Plot(figsize=(WIDTH, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    _energy(left, basis)
    _projection_error(right, basis, rtol)
    left.set_title("Cumulative energy")
    right.set_title("Projection error")
    return figure


def _range(basis: Basis) -> int:
    """How many modes a curve shows: the kept ones and as many again, because the rest is the tail of the spectrum plot."""
    return int(min(len(basis.spectrum.singular_values), max(2 * basis.rank, basis.rank + 5)))


def integer_axis(axes: Axes) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _energy(axes: Axes, basis: Basis) -> None:
    last = _range(basis)
    k = np.arange(1, last + 1)
    values = 100 * basis.spectrum.energy[:last]
    axes.plot(k, values, "-", color=BLUE, marker="o", ms=3)
    axes.axvline(basis.rank, color=ORANGE, lw=1.1)
    low = min(float(values.min()), 99.9)
    axes.set(xlabel="modes k", ylabel="E(k) in %", ylim=(low - 0.08 * (100 - low), 100 + 0.04 * (100 - low)))
    axes.ticklabel_format(axis="y", useOffset=False)
    integer_axis(axes)


def _projection_error(axes: Axes, basis: Basis, rtol: float | None) -> None:
    errors = basis.spectrum.projection_error[: _range(basis) + 1]
    shown = errors > 0
    axes.semilogy(np.arange(len(errors))[shown], errors[shown], "-", color=BLUE, marker="o", ms=3, label="from the spectrum")
    measured = basis.certificate.frobenius_error
    if measured > 0:
        axes.semilogy([basis.rank], [measured], "D", ms=6, mfc="none", mew=1.4, color=ORANGE, label="measured")
    if rtol is not None:
        axes.axhline(rtol, color=INK, lw=0.9, ls=(0, (4, 2)), label=f"asked {words.error(rtol)}")
    axes.set(xlabel="modes k", ylabel="relative error")
    integer_axis(axes)
    axes.legend(loc="upper right")


def simulation_colours(names: list[str]) -> dict[str, Any]:
    """A colour for every simulation: the palette for few, the ordered map for many."""
    if len(names) <= len(CATEGORIES):
        return dict(zip(names, CATEGORIES, strict=False))
    # The yellow end of the map is invisible on white, and the violet one on black.
    return dict(zip(names, colormaps[SEQUENCE](np.linspace(0.25, 0.88, len(names))), strict=True))


@styled
def snapshot_errors(basis: Basis, rtol: float | None = None) -> Plot:
    """Relative projection error of every snapshot, grouped by simulation, the worst one marked."""
    table, certificate = snapshot_table(basis), basis.certificate
    names = table.simulations
    place = {name: number for number, name in enumerate(names)}
    order = np.argsort([place[str(name)] for name in table.simulation], kind="stable")
    errors, position = certificate.relative_errors[order], np.arange(len(order))
    figure = Plot(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.add_subplot()
    groups = (
        [(name, position[table.simulation[order] == name]) for name in names] if len(names) < len(order) else [("", position)]
    )
    _bands(axes, groups)
    shown = errors > 0
    axes.semilogy(position[shown], errors[shown], "o", ms=3, mew=0, color=BLUE, rasterized=len(order) > RASTERISE_BEYOND)
    worst = int(np.argmax(errors))
    if errors[worst] > 0:
        axes.semilogy(
            [worst], [errors[worst]], "D", ms=7, mfc="none", mew=1.4, color=ORANGE, label=f"worst {words.error(errors[worst])}"
        )
    if rtol is not None:
        axes.axhline(rtol, color=INK, lw=0.9, ls=(0, (4, 2)), label=f"asked of all together {words.error(rtol)}")
    axes.set(ylabel="relative error", xlim=(-1, len(order)))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure


def _bands(axes: Axes, groups: list[tuple[str, NDArray[np.int64]]]) -> None:
    """Shade every second simulation, and name them where there is room."""
    for _, members in groups[1::2]:
        axes.axvspan(members[0] - 0.5, members[-1] + 0.5, color=SHADE, alpha=0.12, lw=0)
    if len(groups) > 1 and sum(len(name) + 2 for name, _ in groups) <= MAX_NAME_LETTERS:
        axes.set_xticks([float(members.mean()) for _, members in groups], [plain(name) for name, _ in groups])
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("simulation")
    else:
        axes.set_xlabel(f"snapshot, ordered by simulation ({len(groups)} simulations)" if len(groups) > 1 else "snapshot")


def has_histories(basis: Basis) -> bool:
    """Whether any simulation has several times, so that a plot against time means something."""
    table = snapshot_table(basis)
    return table.time is not None and len(table.simulations) < len(table.simulation) and len(np.unique(table.time)) > 1


@styled
def coefficients_in_time(basis: Basis, n_modes: int = 4) -> Plot:
    """Coefficients of the first modes against time, one line per simulation."""
    table = snapshot_table(basis)
    shown = min(n_modes, basis.rank)
    columns = min(2, shown)
    rows = -(-shown // columns)
    figure = Plot(figsize=(WIDTH, 0.5 + 1.75 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    values = np.asarray(basis.coefficients[:shown])
    time = np.arange(values.shape[1]) if table.time is None else table.time
    colours = simulation_colours(table.simulations)
    lines = 0
    for name in table.simulations:
        members = np.flatnonzero(table.simulation == name)
        members = members[np.argsort(time[members], kind="stable")]
        lines += len(members) * shown
        for mode in range(shown):
            axes.flat[mode].plot(
                time[members],
                values[mode, members],
                color=colours[name],
                lw=1,
                label=plain(name),
                rasterized=lines > RASTERISE_BEYOND,
            )
    for mode, panel in enumerate(axes.flat):
        panel.set_visible(mode < shown)
        panel.set_title(f"q{_subscript(mode + 1)}")
        panel.tick_params(labelbottom=mode + columns >= shown)
    for panel in axes.flat[max(0, shown - columns) : shown]:
        panel.set_xlabel(words.in_unit("time", plain(table.time_units)))
    _name_simulations(figure, axes.flat[0], table, colours)
    return figure


def _name_simulations(figure: Plot, axes: Axes, table: SnapshotTable, colours: dict[str, Any]) -> None:
    """A legend for few simulations, first and last for many."""
    from matplotlib.lines import Line2D

    names = table.simulations
    if len(names) < 2:
        return
    shown = names if len(names) <= len(CATEGORIES) else [names[0], names[len(names) // 2], names[-1]]
    handles = [Line2D([], [], color=colours[name], lw=1.6) for name in shown]
    labels = [plain(name) for name in shown]
    title = None if len(shown) == len(names) else f"{len(names)} simulations, coloured in order: first, middle, last"
    figure.legend(handles, labels, loc="outside upper center", ncols=len(shown), title=title, title_fontsize=8.5)


def _subscript(index: int) -> str:
    return str(index).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def varying_parameters(basis: Basis) -> list[str]:
    """Names of the parameters that take more than one value."""
    return [name for name, values in snapshot_table(basis).parameters.items() if len({str(value) for value in values}) > 1]


@styled
def coefficients_by_parameter(basis: Basis, n_modes: int = 3) -> Plot:
    """Coefficients of the first modes against each parameter that varies (the first four)."""
    table, names = snapshot_table(basis), varying_parameters(basis)[:MAX_PARAMETERS]
    if not names:
        raise ValueError(f"no parameter of basis {basis.name!r} varies: there is nothing to plot against")
    shown = min(n_modes, basis.rank)
    figure = Plot(figsize=(WIDTH * shown / n_modes, 0.2 + 1.9 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), shown, sharex="row", sharey="col", squeeze=False)
    values = np.asarray(basis.coefficients[:shown])
    raster = values.size * len(names) > RASTERISE_BEYOND
    for (row, name), mode in itertools.product(enumerate(names), range(shown)):
        panel, (place, labels) = axes[row, mode], axis_of(table.parameters[name])
        panel.plot(place, values[mode], "o", ms=3, mew=0, alpha=0.55, color=BLUE, rasterized=raster)
        if labels:
            panel.set_xticks(range(len(labels)), [plain(label) for label in labels])
        if row == 0:
            panel.set_title(f"q{_subscript(mode + 1)}")
        unit = table.parameter_units.get(name, "")
        panel.set_xlabel(words.in_unit(plain(name), plain(unit)))
    return figure


def axis_of(values: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Places along an axis: numbers as they are, words as numbered categories with their labels."""
    if values.dtype.kind in "iufM":
        return values, []
    labels = sorted({str(value) for value in values})
    return np.array([labels.index(str(value)) for value in values]), labels[:12]
