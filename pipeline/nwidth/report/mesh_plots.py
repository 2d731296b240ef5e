"""Fields on a mesh as one matplotlib figure, for a notebook: pictures by `nwidth.report.scene.paint`, with their colour bars."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.image import imread

from nwidth.errors import ConfigError
from nwidth.report.pictures import owning_cells, shown_values
from nwidth.report.scene import Painting, paint
from nwidth.report.styling import WIDTH, Plot, plain, styled
from nwidth.report.surface import best_view

if TYPE_CHECKING:
    from nwidth.mesh import Mesh
    from nwidth.report.modes import FieldModes


@styled
def mesh_modes(modes: FieldModes, mesh: Mesh) -> Plot:
    """The scalar parts of some modes or fields on their mesh, two beside one another.

    Raises
    ------
    ConfigError
        The field does not fit the mesh.
    """
    owner, remark = owning_cells(modes, mesh, None) if modes.place.location == "point" else (None, "")
    expected = {"node": mesh.n_points, "cell": mesh.n_cells}.get(modes.place.location, 0 if owner is None else len(owner))
    count = int(modes.basis.modes_by_field[modes.name].sizes[modes.dims[0]])
    if expected != count:
        raise ConfigError(
            remark or f"the field {modes.name!r} has {count} values and the mesh {expected}; give the mesh of its model"
        )
    view = best_view(mesh.points)
    parts = [(title, part) for title, values, signed in modes.items() for part in modes.parts(values, signed=signed)]
    rows = -(-len(parts) // 2)
    # A picture takes two fifths of the width; its height follows, within reason.
    high = float(np.clip(0.4 * WIDTH * view.half_height / view.half_width, 0.6, 3.2)) + 0.45
    figure = Plot(figsize=(WIDTH, rows * high), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for panel, (title, part) in zip(axes.flat, parts, strict=False):
        low, top = part.limits
        shown = shown_values(part.values, owner, mesh)
        picture = paint(
            mesh, Painting(shown, "point" if modes.place.location == "node" else "cell", low, top, part.colours), view
        )
        panel.imshow(imread(io.BytesIO(picture)))
        panel.set_title(plain(f"{title}: {part.name}" if part.name else title, 48))
        bar = figure.colorbar(ScalarMappable(Normalize(low, top), colormaps[part.colours]), ax=panel, fraction=0.05, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
        bar.ax.set_title(plain(modes.place.units), fontsize=8.5, loc="left")
    return figure
