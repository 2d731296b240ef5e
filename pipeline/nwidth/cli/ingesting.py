"""``nwidth ingest``: from the words of the command line to the ingest stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nwidth.errors import ConfigError


def ingest_command(
    files: Sequence[Path],
    into: str,
    *,
    kind: str | None,
    reader: str | None,
    parameters: Path | None,
    simulation: str | None,
    fields: Sequence[str] | None,
    on_duplicate: str,
    missing: str,
    by_reference: bool,
    options: Sequence[str],
    report: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Ingest, or refer; returns what was done, for people and for JSON."""
    one_of("--kind", kind, (None, "icechunk", "zarr"))
    one_of("--on-duplicate", on_duplicate, ("skip", "refuse"))
    one_of("--missing", missing, ("refuse", "keep"))
    if by_reference:
        given = [("--parameters", parameters), ("--simulation", simulation), ("--reader", reader), ("--kind", kind)]
        useless = next((option for option, value in given if value is not None), None)
        if useless is not None:
            raise ConfigError(f"{useless} has no meaning with --by-reference, which takes files as they are; leave it out")
        return _refer(files, into, fields, reader_options(options))
    from nwidth.stages.ingest import ingest

    result = ingest(
        files,
        into,
        kind=kind,  # type: ignore[arg-type]
        reader=reader,
        parameters=parameters,
        simulation=simulation,
        fields=list(fields) if fields else None,
        on_duplicate=on_duplicate,  # type: ignore[arg-type]
        progress=lambda at: report(at.simulation, at.snapshot, at.n_snapshots),
        options=reader_options(options),
        missing=missing,  # type: ignore[arg-type]
    )
    return asdict(result)


def _refer(files: Sequence[Path], into: str, fields: Sequence[str] | None, options: dict[str, Any]) -> dict[str, Any]:
    from nwidth.stages.reference import reference_netcdf

    schema = reference_netcdf(list(files), into, fields=list(fields) if fields else None, **options)
    return {
        "url": schema.url,
        "added": [run.simulation for run in schema.runs],
        "skipped": [],
        "snapshots": schema.n_snapshots,
        "field_bytes": sum(field.nbytes for field in schema.fields.values()),
    }


def one_of(option: str, value: str | None, known: Sequence[str | None]) -> None:
    """Refuse a value that is not among the known ones."""
    if value not in known:
        raise ConfigError(f"{option} {value!r} is not known; choose {' or '.join(word for word in known if word)}")


def reader_options(words: Sequence[str]) -> dict[str, Any]:
    """``["snapshot_dim=run", "axis=1"]`` -> ``{"snapshot_dim": "run", "axis": 1}``."""
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ConfigError(f"--option {word!r} is not NAME=VALUE")
        options[name] = int(value) if value.lstrip("-").isdigit() else value
    return options
