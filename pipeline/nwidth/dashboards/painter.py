"""The second process that draws: requests on standard input, markup on standard output, then it ends.

    [{"model": ..., "basis": ..., "field": ..., "what": "modes", "first": 0, "count": 6}]  ->  [{"html": ..., "error": ""}]

A mode is one slice of the model, a snapshot one slice of the store: each is read when it is drawn, one at a time.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import NwidthError, StoreError
from nwidth.models.files import read_basis, read_manifest, read_mesh
from nwidth.report import words
from nwidth.report.markup import Html, figure, join, png, png_size, tag
from nwidth.report.modes import FieldModes
from nwidth.report.page import colour_bar
from nwidth.report.pictures import FieldPictures, draw_field
from nwidth.report.record import field_place, read_point_cell
from nwidth.report.scene import Rendered, Scene
from nwidth.report.styling import inline_svg


@dataclass(frozen=True)
class ChosenModes(FieldModes):
    """Modes from `first` on; the mean with the first of them."""

    first: int = 0

    def items(self) -> Iterator[tuple[str, NDArray[np.float64], bool]]:
        """As of the first modes, without those before `first`."""
        if self.first == 0:
            yield from super().items()
            return
        modes, shares = self.basis.modes_by_field[self.name], np.diff(self.basis.spectrum.energy, prepend=0.0)
        for mode in range(self.first, min(self.first + self.n_modes, self.basis.rank)):
            typical = float(np.sqrt(np.mean(np.asarray(self.basis.coefficients[mode]) ** 2)))
            title = f"mode {mode + 1}, {words.share(shares[mode])} of the energy"
            yield title, typical * np.asarray(modes[mode], float), True


@dataclass(frozen=True)
class ChosenSnapshots(FieldModes):
    """Snapshots of the store, from `first` on, where the modes' own place is drawn."""

    first: int = 0
    array: Any = None
    """``fields/<name>`` of the store, (snapshots, *space[, component])."""
    rows: tuple[tuple[int, str], ...] = ()
    """Row in the store, and the words, of every snapshot that is drawn."""

    def items(self) -> Iterator[tuple[str, NDArray[np.float64], bool]]:
        """The snapshots, one read each."""
        for row, title in self.rows:
            values = np.asarray(self.array[row], float)
            low = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
            yield title, values, low < 0


def paint(request: Mapping[str, Any]) -> Html:
    """The markup of one request.

    Raises
    ------
    StoreError
        The model, or the store of a snapshot, is not there, or is not what it was.
    """
    model = Path(request["model"])
    # A short name, so that the ids of several drawings on one page differ.
    prefix = "p" + hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=6).hexdigest()
    basis = read_basis(model, request["basis"])
    name, place = str(request["field"]), field_place(model, request["basis"], request["field"])
    chosen: FieldModes
    if request["what"] == "snapshots":
        array, rows = _stored(model, name, int(request["first"]), int(request["count"]), dict(request.get("options", ())))
        chosen = ChosenSnapshots(basis, name, place, len(rows), first=int(request["first"]), array=array, rows=rows)
    else:
        chosen = ChosenModes(basis, name, place, int(request["count"]), first=int(request["first"]))
    mesh, point_cell = read_mesh(model), read_point_cell(model)
    with tempfile.TemporaryDirectory(prefix="nwidth-dashboard-") as folder:
        scene = Scene(mesh, Path(folder)) if mesh is not None and mesh.n_points else None
        drawn = draw_field(chosen, mesh, point_cell, scene)
        rendered = scene.render() if scene is not None else Rendered(())
    return _markup(drawn, rendered, prefix, scaled=request["what"] == "modes")


def _stored(
    model: Path, name: str, first: int, count: int, options: Mapping[str, str]
) -> tuple[Any, tuple[tuple[int, str], ...]]:
    """The field's array in the store, and the rows and words of the model's snapshots."""
    from nwidth.config import ReduceSection
    from nwidth.problems import snapshot_ranges
    from nwidth.stores import open_store

    manifest = read_manifest(model)
    store, reduce = manifest.get("store"), manifest.get("reduce")
    if not isinstance(store, Mapping) or not isinstance(reduce, Mapping):
        raise StoreError(f"{model} does not say which store its snapshots lie in; it was made of arrays, or of other models")
    opened = open_store(store["url"], options=options)
    schema = opened.schema()
    if name not in schema.fields:
        raise StoreError(f"{store['url']} has no field {name!r} any more; it has {', '.join(schema.fields)}")
    ranges = snapshot_ranges(schema, ReduceSection.model_validate(reduce))
    rows = np.concatenate([np.arange(start, stop) for start, stop in ranges])[first : first + count]
    labels = [_label(schema, int(row)) for row in rows]
    return opened.reference().open()[f"fields/{name}"], tuple(zip((int(row) for row in rows), labels, strict=True))


def _label(schema: Any, row: int) -> str:
    """A snapshot in words: which of which simulation."""
    run = next((run for run in schema.runs if run.start <= row < run.stop), None)
    if run is None:
        return f"snapshot {row}"
    return f"simulation {run.simulation}, snapshot {row - run.start + 1} of {run.stop - run.start}"


def _markup(drawn: FieldPictures, rendered: Rendered, prefix: str, *, scaled: bool) -> Html:
    """Tiles with their colour bars, or one figure; and what is to be known of them."""
    parts = []
    unit = drawn.units or "the field's own unit"
    scale = f"Each mode is scaled to its coefficient's root mean square, in {unit}." if scaled else f"As stored, in {unit}."
    if drawn.figure is not None:
        parts.append(figure(Html(inline_svg(drawn.figure, drawn.alt, prefix)), scale))
    if drawn.tiles:
        tiles = []
        for tile in drawn.tiles:
            width, height = png_size(rendered.pictures[tile.number])
            picture = png(rendered.pictures[tile.number], tile.alt, width // 2, height // 2)
            tiles.append(tag("figure", tag("figcaption", tile.title), picture, colour_bar(tile.part, drawn.units), class_="tile"))
        parts += [tag("div", *tiles, class_="tiles"), tag("p", scale, class_="note")]
    remarks = " ".join(remark for remark in (drawn.remark, rendered.remark if drawn.tiles else "") if remark)
    return join([*parts, tag("p", remarks, class_="note") if remarks else Html("")])


def main() -> None:
    """Answer the requests on standard input."""
    sys.stdout.write(json.dumps([answer_to(request) for request in json.loads(sys.stdin.read())]))


def answer_to(request: Mapping[str, Any]) -> dict[str, str]:
    """``html``, and ``error``: one of them empty."""
    try:
        return {"html": paint(request), "error": ""}
    except (NwidthError, OSError) as error:
        return {"html": "", "error": str(error)}
    except (KeyError, ValueError, TypeError) as error:
        damaged = f"the model or its store is damaged ({error}); run the study again, or restore it from a copy"
        return {"html": "", "error": damaged}


if __name__ == "__main__":
    main()
