"""Fields on a mesh as one matplotlib figure, for a notebook: pictures by `nwidth.report.scene.paint`, with their colour bars."""

from __future__ import annotations

import io
from dataclasses import replace
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.image import imread

from nwidth.errors import ConfigError
from nwidth.report.pictures import owning_cells, painted_on, shown_values
from nwidth.report.scene import Painting, paint
from nwidth.report.styling import WIDTH, Plot, plain, styled
from nwidth.report.surface import best_view

if TYPE_CHECKING:
    from nwidth.mesh import Mesh
    from nwidth.report.modes import FieldModes


# That fit above a picture, by columns: the panel of a tall picture is as narrow as the picture.
LETTERS = {2: 44, 3: 20}


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
    # Tall pictures stand three in a row; of its column a picture takes four fifths, and its height follows, within reason.
    columns = 3 if view.half_height > view.half_width else 2
    rows = -(-len(parts) // columns)
    high = float(np.clip(0.8 * WIDTH / columns * view.half_height / view.half_width, 0.6, 3.2)) + 0.6
    figure = Plot(figsize=(WIDTH, rows * high), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for panel, (title, part) in zip(axes.flat, parts, strict=False):
        part = replace(part, values=shown_values(part.values, owner, mesh))
        low, top = part.limits
        picture = paint(mesh, Painting(part.values, painted_on(modes), low, top, part.colours), view)
        panel.imshow(imread(io.BytesIO(picture)))
        panel.set_title(fill(plain(f"{title}: {part.name}" if part.name else title, 48), LETTERS[columns]))
        bar = figure.colorbar(ScalarMappable(Normalize(low, top), colormaps[part.colours]), ax=panel, fraction=0.05, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)
        bar.ax.set_title(plain(modes.place.units), fontsize=8.5, loc="left")
    return figure
