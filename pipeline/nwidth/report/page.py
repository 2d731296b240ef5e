"""The report as one HTML file: sections in reading order, pictures inside, nothing fetched from anywhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Self

import numpy as np

from nwidth.errors import StoreError
from nwidth.models.basis import Basis
from nwidth.report import engine, sections, words
from nwidth.report.atlas.medoids import medoids_of
from nwidth.report.atlas.section import atlas_section
from nwidth.report.draws import ensemble_section, spread_of
from nwidth.report.markup import Html, figure, join, png, png_size, tag, text
from nwidth.report.modes import FieldModes, Part
from nwidth.report.pictures import FieldPictures, Tile, draw_field
from nwidth.report.record import RunRecord
from nwidth.report.reduced import mechanics_section
from nwidth.report.scene import Rendered, Scene
from nwidth.report.styling import inline_svg

# Pictures of about 60 KiB each: so many keep the file below 5 MB. A run with more bases shows fewer modes of each.
MOST_TILES = 48
FEWEST_MODES = 1
# Of a cluster's basis; all that local modes have to show is how they differ from one another.
LOCAL_MODES = 2
MEDOIDS, DRAWS = "representatives", "draws"


def write_page(record: RunRecord, *, n_modes: int, into: Path) -> Path:
    """Render the page aside and put it in place in one step.

    Raises
    ------
    nwidth.errors.StoreError
        The folder cannot be written.
    """
    content = render_page(record, n_modes=n_modes)
    partial = into.with_name(f".{into.name}.partial")
    try:
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, into)
    except OSError as error:
        raise StoreError(f"the report cannot be written to {into} ({error.strerror}); give another place with into=") from None
    return into


def render_page(record: RunRecord, *, n_modes: int = 6) -> str:
    """The whole HTML document: plots are drawn here while a second process draws what lies on the mesh."""
    with Pictures(record, n_modes) as pictures:
        content = _document(record, pictures.places)
        return pictures.put_into(content)


def _document(record: RunRecord, pictures: Mapping[tuple[str, str], Html]) -> str:
    """The document with a mark wherever a picture is to stand."""
    chapters = [*_chapters(record, pictures), *_mechanics(record, pictures)]
    tail = [
        ("plan", "Plan and measurement", sections.plan(record)),
        ("provenance", "Provenance", sections.provenance(record)),
        ("use", "Use this model", sections.loading(record)),
    ]
    source = files("nwidth.report")
    return Template(source.joinpath("page.html").read_text("utf-8")).substitute(
        style=source.joinpath("page.css").read_text("utf-8"),
        title=text(record.study),
        date=text(_date(record)),
        results=sections.results(record),
        summary=sections.summary(record),
        contents=join(tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in (*chapters, *tail)),
        body=join(tag("section", tag("h2", title), content, id=anchor) for anchor, title, content in (*chapters, *tail)),
    )


def _date(record: RunRecord) -> str:
    origin = record.section("provenance")
    finished, version = origin.get("finished"), origin.get("nwidth")
    return ", ".join(
        part for part in (f"finished {finished}" if finished else "", f"nwidth {version}" if version else "") if part
    )


def _chapters(record: RunRecord, pictures: Mapping[tuple[str, str], Html]) -> list[tuple[str, str, Html]]:
    """(anchor, title, content) of what a model holds: its bases, or its atlas, the global basis and the local ones, shorter."""
    bases = list(record.bases.values())
    if record.atlas is None:
        return [
            (f"b{number}", f"Basis {basis.name}", _basis(record, basis, number, pictures)) for number, basis in enumerate(bases)
        ]
    one, *others = bases
    medoids = [markup for name in one.fields if (markup := pictures.get((MEDOIDS, name)))]
    local = [
        tag("div", tag("h3", basis.name), _local_basis(record, basis, pictures), id=f"b{number}")
        for number, basis in enumerate(others, 1)
    ]
    return [
        ("atlas", "Atlas", atlas_section(record.atlas, medoids, record.learned)),
        ("b0", f"Basis {one.name}", _basis(record, one, 0, pictures)),
        ("local", "Local bases", join([sections.overview(record), *local])),
    ]


def _mechanics(record: RunRecord, pictures: Mapping[tuple[str, str], Html]) -> list[tuple[str, str, Html]]:
    """Reduced mechanics and the Monte Carlo run, where there are any."""
    found = []
    if record.mechanics is not None:
        found.append(("mechanics", "Reduced mechanics", mechanics_section(record.mechanics, record.mesh)))
    if record.ensemble is not None:
        fields = [pictures[DRAWS, name] for name in record.ensemble.fields if (DRAWS, name) in pictures]
        found.append(("draws", "Monte Carlo", ensemble_section(record.ensemble, fields)))
    return found


def _basis(record: RunRecord, basis: Basis, number: int, pictures: Mapping[tuple[str, str], Html]) -> Html:
    """All parts of one basis."""
    prefix = f"b{number}"
    modes = _modes(basis, pictures)
    return join([
        sections.certificate(record, basis),
        sections.how_it_was_made(basis),
        engine.remainder(record.entry(basis.name)),
        tag("h3", "Spectrum"), sections.spectrum(record, basis, prefix),
        tag("h3", "Errors, snapshot by snapshot"), sections.errors(record, basis, prefix),
        *((tag("h3", "Modes"), modes) if modes else ()),
        tag("h3", "Coefficients"), sections.coefficients(basis, prefix),
    ])  # fmt: skip


def _local_basis(record: RunRecord, basis: Basis, pictures: Mapping[tuple[str, str], Html]) -> Html:
    """A local basis: certificate, provenance, modes. Its errors and its spectrum are among those of all parts."""
    return join([sections.certificate(record, basis), sections.how_it_was_made(basis), _modes(basis, pictures)])


def _modes(basis: Basis, pictures: Mapping[tuple[str, str], Html]) -> Html:
    """Pictures of the first modes of every field; field names stand above them where there are several."""
    drawn = [(name, pictures.get((basis.name, name))) for name in basis.fields]
    parts = [part for name, markup in drawn if markup for part in (tag("h4", name) if len(drawn) > 1 else Html(""), markup)]
    return join(parts) if parts else Html("")


# --- pictures ---------------------------------------------------------------------------------------------------------


class Pictures:
    """Pictures of modes and representatives, begun when it is entered; everything on the mesh is drawn by one second process."""

    def __init__(self, record: RunRecord, n_modes: int) -> None:
        self._record, self._wanted = record, _wanted(record, n_modes)
        self._drawn: dict[tuple[str, str], FieldPictures] = {}
        self._scene: Scene | None = None
        self._open = ExitStack()
        # The letter SUB is in no text of the page: `markup.text` lets no control character through.
        self.places = {key: Html(f"\x1apicture {number}\x1a") for number, key in enumerate(self._wanted)}

    def __enter__(self) -> Self:
        mesh = self._record.mesh
        with ExitStack() as stack:
            if self._wanted and mesh is not None and mesh.n_points:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nwidth-report-")))
                self._scene = Scene(mesh, folder)
                stack.callback(self._scene.close)
            for key, modes in self._wanted.items():
                drawn = draw_field(modes, mesh, self._record.point_cell, self._scene)
                self._drawn[key] = replace(drawn, note=modes.note)
            if self._scene is not None and any(drawn.tiles for drawn in self._drawn.values()):
                # Where no process can be started, `render` finds that out again, and draws otherwise.
                with suppress(OSError):
                    self._scene.start()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def put_into(self, page: str) -> str:
        """The page with the pictures at their places."""
        rendered = Rendered(()) if self._scene is None else self._scene.render()
        for number, (key, drawn) in enumerate(self._drawn.items()):
            page = page.replace(self.places[key], _field_markup(key, drawn, rendered, f"m{number}"))
        return page


def _wanted(record: RunRecord, n_modes: int) -> dict[tuple[str, str], FieldModes]:
    """What is drawn, by (basis, field): representatives first, modes of the main bases, then as many local ones as are left."""
    if n_modes <= 0:
        return {}
    names = list(record.bases)
    main = names[:1] if record.atlas is not None else names
    wanted: dict[tuple[str, str], FieldModes] = {}
    if record.atlas is not None:
        own = {field: place for (name, field), place in record.places.items() if name in main}
        wanted |= {(MEDOIDS, field): medoids_of(record.atlas, field, place) for field, place in own.items()}
    first = _each(record, main, n_modes, MOST_TILES // 2 if record.atlas is not None else MOST_TILES)
    others = _each(record, names[len(main) :], min(n_modes, LOCAL_MODES), MOST_TILES // 2)
    for (name, field), place in record.places.items():
        # The mean of local bases is that of the global one.
        count = first if name in main else others
        wanted[name, field] = FieldModes(record.bases[name], field, place, count, with_mean=name in main)
    if record.ensemble is not None:
        wanted |= {(DRAWS, name): spread_of(record.ensemble, name) for name in record.ensemble.fields}
    return wanted


def _each(record: RunRecord, names: Sequence[str], n_modes: int, most: int) -> int:
    """Modes to draw of every field of some bases, so that their pictures are at most `most`, but one each."""
    per_mode = sum(2 if place.components else 1 for (name, _), place in record.places.items() if name in names)
    return max(FEWEST_MODES, min(n_modes, most // max(per_mode, 1)))


def _field_markup(key: tuple[str, str], drawn: FieldPictures, rendered: Rendered, prefix: str) -> Html:
    """One field's figure, or its tiles with their colour bars."""
    parts = []
    if drawn.figure is not None:
        parts.append(figure(Html(inline_svg(drawn.figure, drawn.alt, prefix)), drawn.note))
    if drawn.tiles:
        tiles = [_tile(tile, rendered.pictures[tile.number], drawn.units) for tile in drawn.tiles]
        parts += [
            tag("div", *tiles, class_="tiles pairs" if any(tile.part.name == "size" for tile in drawn.tiles) else "tiles"),
            tag("p", drawn.note, class_="note"),
        ]
    remarks = " ".join(remark for remark in (drawn.remark, rendered.remark if drawn.tiles else "") if remark)
    return join([*parts, tag("p", f"{key[1]}: {remarks}", class_="note") if remarks else Html("")])


def _tile(tile: Tile, picture: bytes, unit: str) -> Html:
    width, height = png_size(picture)
    return tag(
        "figure",
        tag("figcaption", tile.title),
        png(picture, tile.alt, width // 2, height // 2),
        colour_bar(tile.part, unit),
        class_="tile",
    )


def colour_bar(part: Part, unit: str) -> Html:
    """A colour bar in CSS, so that its numbers are text in the page's own colours."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    low, high = part.limits
    stops = ", ".join(to_hex(colour) for colour in colormaps[part.colours](np.linspace(0, 1, 9)))
    middle = "0" if part.signed else ""
    return tag(
        "div",
        tag("span", words.number(low, 3)),
        tag(
            "span",
            tag("i", style=f"background: linear-gradient(to right, {stops})"),
            tag("small", middle) if middle else "",
            class_="ramp",
        ),
        tag("span", words.with_unit(words.number(high, 3), unit)),
        class_="bar",
    )
