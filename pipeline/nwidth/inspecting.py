"""What something is that nwidth wrote, as data and in words: a store, a model, a run's folder, a record, a study file.

    describe_path(path or URL) -> dict with "kind" and plain values (JSON can hold it)
    render(description)        -> the same in words, ready to print

No field is read: descriptions come from metadata, manifests and the small arrays of a model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nwidth.errors import FormatError, LayoutError, StoreError
from nwidth.report import words
from nwidth.taught import learned_lines, mechanics_lines, taught

Description = dict[str, Any]
_UNDERSTOOD = "give a snapshot store, a model.zarr, a folder under runs/, or a study (.toml)"


def describe_path(path: str | os.PathLike[str]) -> Description:
    """Describe anything that nwidth writes: ``{"kind": "store" | "model" | "run" | "study", "path": ..., ...}``.

    Raises
    ------
    nwidth.errors.StoreError
        Nothing is there, or it cannot be reached.
    nwidth.errors.FormatError
        A file is damaged, or nwidth did not write it.
    nwidth.errors.LayoutError
        A folder is not of our making, or was written by a newer nwidth.
    """
    text = os.fspath(path)
    if "://" in text and not text.startswith("file://"):
        return _store(text)
    place = Path(text.removeprefix("file://"))
    try:
        if place.is_file():
            return _file(place)
        if place.is_dir():
            return _folder(place)
    except PermissionError as error:
        raise StoreError(f"{place} cannot be read: {error.strerror}; ask its owner, or run as another user") from None
    raise StoreError(f"there is nothing at {text}; check the path")


def _folder(place: Path) -> Description:
    if (place / "manifest.json").is_file():
        return _model(place)
    if (place / "model.zarr" / "manifest.json").is_file() or (place / "run.json").is_file():
        return _run(place)
    from nwidth.stores.opening import detect

    try:
        kind = detect(str(place))
    except LayoutError as error:
        raise LayoutError(f"{error} ({_UNDERSTOOD})") from None
    if kind is None:
        raise LayoutError(f"{place} is an empty folder; {_UNDERSTOOD}")
    return _store(str(place))


def _file(place: Path) -> Description:
    if place.suffix == ".toml":
        return _study(place)
    if place.name == "manifest.json":
        return _model(place.parent)
    if place.name in ("run.json", "report.html"):
        return _run(place.parent)
    raise FormatError(f"{place} is no file that nwidth describes; {_UNDERSTOOD}; result files are read by nwidth ingest")


def _store(url: str) -> Description:
    from nwidth.stores import describe, open_store

    found = describe(open_store(url))
    return {**found, "kind": "store", "path": url, "layout": found["kind"]}


def _model(place: Path) -> Description:
    from nwidth.models.files import read_manifest, read_mesh

    manifest, mesh = read_manifest(place), read_mesh(place)
    return {
        "kind": "model",
        "path": str(place),
        "study": manifest.get("study"),
        "bases": manifest.get("bases", {}),
        "store": manifest.get("store"),
        "mesh": {"points": mesh.n_points, "cells": mesh.n_cells, "length_unit": mesh.length_unit} if mesh else None,
        "provenance": manifest.get("provenance", {}),
        **taught(place, str(manifest.get("provenance", {}).get("content_key", ""))),
        "stored_bytes": _folder_bytes(place),
    }


def _folder_bytes(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def _run(place: Path) -> Description:
    from nwidth.report.record import read_json

    record = read_json(place / "run.json") if (place / "run.json").is_file() else {}
    model = _model(place / "model.zarr") if (place / "model.zarr" / "manifest.json").is_file() else None
    return {
        "kind": "run",
        "path": str(place),
        "study": record.get("study"),
        "finished": _table(record, "provenance").get("finished"),
        "report": str(place / "report.html") if (place / "report.html").is_file() else None,
        "model": model,
        "plan": _table(record, "plan"),
        "measured": _table(record, "measured"),
        "store": _table(record, "store"),
        "provenance": _table(record, "provenance"),
    }


def _table(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict(record[name]) if isinstance(record.get(name), Mapping) else {}


def _study(place: Path) -> Description:
    from nwidth.config import load_study

    study = load_study(place)
    return {
        "kind": "study",
        "path": str(place),
        "study": study.study.name,
        "store": study.store_url,
        "output": str(study.run_folder),
        "configuration": study.model_dump(mode="json"),
    }


# --- in words -------------------------------------------------------------------------------------------------------------


def render(description: Mapping[str, Any]) -> str:
    """The description in words, as lines of text."""
    return "\n".join(_RENDER[description["kind"]](description)) + "\n"


def _render_store(found: Mapping[str, Any]) -> list[str]:
    runs, fields = found["runs"], found["fields"]
    lines = [
        f"{found['path']}: {found['layout']} store, version {found['version']}",
        f"  {words.count(found['snapshots'], 'snapshot')} of {words.count(len(runs), 'simulation')}{_times(found)}",
    ]
    lines += _mesh_line(found["mesh"])
    lines += [f"  parameter {name}: {_span(span)}" for name, span in found["parameters"].items()]
    lines += [f"  inner product {name}: {kind}" for name, kind in found["inner_products"].items()]
    if fields:
        lines += [
            "",
            *columns(
                ("field", "shape", "dtype", "on", "unit", "chunks", "shards", "size", "stored"), map(_field_row, fields.items())
            ),
        ]
    return lines


def _field_row(item: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    name, field = item
    shapes = [" x ".join(map(str, field[key])) if field[key] else "-" for key in ("shape", "chunks", "shards")]
    sizes = [words.amount(field[key]) for key in ("logical_bytes", "stored_bytes")]
    return name, shapes[0], field["dtype"], field["location"], field["units"] or "-", shapes[1], shapes[2], *sizes


def _times(found: Mapping[str, Any]) -> str:
    return f", times {_span(found['times'])}" if found.get("times") else ""


def _span(span: Mapping[str, Any]) -> str:
    if "values" in span:
        shown = span["values"][:6]
        return ", ".join(shown) + (f" and {len(span['values']) - 6} more" if len(span["values"]) > 6 else "")
    if not span:
        return "none"
    low, high = (words.number(float(span[key]), 4) for key in ("min", "max"))
    return low if low == high else f"{low} to {high}"


def _mesh_line(mesh: Mapping[str, Any] | None) -> list[str]:
    if mesh is None:
        return []
    unit = f", lengths in {mesh['length_unit']}" if mesh.get("length_unit") else ""
    return [f"  mesh: {words.count(mesh['points'], 'point')}, {words.count(mesh['cells'], 'cell')}{unit}"]


def _render_model(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{found['path']}: model of study {found['study']!r}, {words.amount(found['stored_bytes'])}"]
    store = found.get("store") or {}
    if store:
        snapshots = f", {words.count(store['snapshots'], 'snapshot')}" if "snapshots" in store else ""
        lines.append(f"  made from {store.get('url')}, version {store.get('version')}{snapshots}")
    lines += _parent_lines(found["provenance"])
    lines += _mesh_line(found["mesh"])
    for name, entry in found["bases"].items():
        lines += ["", *_basis_lines(name, entry)]
    teachings = [*learned_lines(found["learned"]), *mechanics_lines(found["mechanics"])]
    return [*lines, *([""] if teachings else []), *teachings]


def _parent_lines(provenance: Mapping[str, Any]) -> list[str]:
    """The models that a model was made of."""
    return [
        f"  {provenance.get('made_by', 'made')} of model {parent['content_key']}: {words.count(parent['snapshots'], 'snapshot')}"
        + (f" of {parent['store']}, version {parent['version']}" if parent.get("store") else f", {parent['path']}")
        for parent in provenance.get("parents", [])
    ]


def _basis_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    proof = entry["certificate"]
    products = words.listing(dict.fromkeys(entry["inner_products"].values()))
    bound = " (an upper bound)" if proof.get("bound") else ""
    trusted = words.count(entry["trusted"], "singular value")
    return [
        f"  basis {name}: {words.count(entry['rank'], 'mode')} of {words.listing(entry['fields'])}, inner product {products}",
        f"    projection error {words.error(proof['frobenius_error'], 3)} over all snapshots, "
        f"at worst {words.error(proof['worst_error'], 3)} (snapshot {proof['worst_snapshot']}){bound}",
        f"    orthogonality defect {words.number(proof['orthogonality_defect'])}{', repaired' if proof['repaired'] else ''}",
        f"    {trusted} above the floor {words.number(entry['floor'])} of the {entry['route']} route",
        *(f"    {line}" for line in words.missing(proof)),
    ]


def _render_run(found: Mapping[str, Any]) -> list[str]:
    finished = f", finished {found['finished']}" if found["finished"] else ""
    lines = [f"{found['path']}: run of study {found['study']!r}{finished}"]
    measured = found["measured"]
    if measured:
        asked = found["plan"]
        lines += [
            f"  {words.amount(measured.get('bytes_read'))} read in {words.count(len(measured.get('passes', [])), 'pass')}, "
            f"{words.seconds(measured.get('seconds'))}, peak memory of a worker "
            f"{words.memory(measured.get('peak_bytes_per_worker'))} (planned {words.memory(asked.get('peak_bytes_per_worker'))})"
        ]
    lines.append(f"  report: {found['report']}" if found["report"] else "  no report: nwidth report writes it")
    return [*lines, "", *(_render_model(found["model"]) if found["model"] else ["  no model: the run did not finish"])]


def _render_study(found: Mapping[str, Any]) -> list[str]:
    reduce = found["configuration"]["reduce"]
    wanted = words.listing(f"{name} = {reduce[name]:g}" for name in ("rtol", "rank") if reduce.get(name) is not None)
    fields = words.listing(reduce["fields"]) or "every field"
    return [
        f"{found['path']}: study {found['study']!r}",
        f"  reduces {fields} of {found['store']} to {wanted}, inner product {reduce['inner_product']}, route {reduce['route']}",
        f"  results go to {found['output']}",
    ]


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, every column as wide as its widest cell."""
    listed = [tuple(header), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in listed) for column in range(len(header))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in listed]


_RENDER: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "store": _render_store,
    "model": _render_model,
    "run": _render_run,
    "study": _render_study,
}
