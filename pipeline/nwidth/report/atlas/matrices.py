"""A table of numbers in colours, with the numbers in it where there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from nwidth.report.styling import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

# Inches that a number of up to four letters needs, at its smallest size.
WIDEST_TEXT, HIGHEST_TEXT = 0.27, 0.14
# On a coloured ground: not the page's ink, which follows the reader's scheme.
DARK, LIGHT = "#14171a", "#ffffff"


@dataclass(frozen=True)
class Shading:
    """How numbers become colours."""

    colours: str
    low: float
    high: float

    def __call__(self, values: Floats) -> Floats:
        """(..., 4)."""
        normal = np.asarray(Normalize(self.low, self.high, clip=True)(np.nan_to_num(values, nan=self.low)))
        return np.asarray(colormaps[self.colours](normal))


def draw_matrix(
    axes: Axes,
    values: Floats,
    shading: Shading,
    *,
    text: Callable[[Any], str] | None = None,
    shown: NDArray[Any] | None = None,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> None:
    """Colour the cells of `values` (rows, columns), and write `shown` (the same values by default) into them by `text`.

    Cells that are not finite stay empty of colour. Where the cells of the figure are too small for numbers, there are none.
    """
    finite = np.isfinite(values)
    painted = shading(np.where(finite, values, shading.low))
    painted[~finite] = 0.0
    axes.imshow(painted, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _name(axes, rows, columns)
    size = room(axes, values.shape)
    if text is None or size is None:
        return
    # A mean of the three channels, weighed as eyes do: the text is what the ground is not.
    bright = painted[..., :3] @ np.array([0.299, 0.587, 0.114]) > 0.55
    for (row, column), value in np.ndenumerate(values if shown is None else shown):
        colour = MUTED if not finite[row, column] else DARK if bright[row, column] else LIGHT
        axes.text(column, row, text(value), ha="center", va="center", fontsize=size, color=colour)


def room(axes: Axes, shape: tuple[int, ...]) -> float | None:
    """Font size of numbers in the cells, or None where they do not fit; the axes as they are before labels take their room."""
    figure = axes.get_figure(root=True)
    if figure is None:
        return None
    inches = axes.get_position().transformed((axes.get_figure(root=False) or figure).transSubfigure)
    wide, high = inches.width / figure.dpi / shape[1], inches.height / figure.dpi / shape[0]
    if wide < WIDEST_TEXT or high < HIGHEST_TEXT:
        return None
    return float(np.clip(22 * min(wide, 1.8 * high), 6, 8.5))


def _name(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Names of rows and columns; every n-th where there are too many."""
    for axis, names, most in ((axes.yaxis, rows, 24), (axes.xaxis, columns, 16)):
        step = -(-len(names) // most) if names else 1
        axis.set_ticks(range(0, len(names), step), list(names)[::step])


def outline(axes: Axes, row: int, column: int) -> None:
    """A frame around one cell, dark with a light line in it: seen on any colour."""
    from matplotlib.patches import Rectangle

    for colour, width in ((DARK, 3.0), (LIGHT, 1.0)):
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, lw=width, zorder=3, clip_on=False)
        )
