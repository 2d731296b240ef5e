"""``nwidth compare``: what a dictionary of local bases would gain, before one is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nwidth.cli.output import amount, emit_json, rows, say, table
from nwidth.cli.progress import reporting
from nwidth.report.saving import check_picture

if TYPE_CHECKING:
    from nwidth.models.atlas import GainMap
    from nwidth.runs.comparing import Comparison


def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    dissimilarity: Annotated[
        list[str] | None, typer.Option(help="Dissimilarity to compare; repeat for several. That of the study by default.")
    ] = None,
    modes: Annotated[int | None, typer.Option(help="Show this number of modes only, as far as it was tried.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw what was tried into this file, .png, .svg or .pdf.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")] = False,
) -> None:
    """Compare dictionaries of local bases before one is made. Reads the fields once, or not at all."""
    from nwidth.config import load_study
    from nwidth.runs.comparing import compare as compare_study

    if plot is not None:
        check_picture(plot)
    with reporting(quiet=json) as report:
        found = compare_study(load_study(study), dissimilarity or (), progress=report)
    if json:
        emit_json(found.as_dict())
    else:
        say(*_lines(found, modes))
    if plot is not None:
        _draw(found, plot)
        if not json:
            say("", f"  drawn in {plot}")


def _draw(found: Comparison, into: Path) -> None:
    from nwidth.plots import comparison
    from nwidth.report.saving import save_picture

    save_picture(comparison(found.gain), into)


def _lines(found: Comparison, modes: int | None) -> list[str]:
    gain = found.gain
    read = f" ({amount(found.bytes_read)} read)" if found.bytes_read else ""
    return [
        *rows(
            [
                ("factor", f"{found.factor}{read}"),
                ("errors of", gain.held_out),
                ("accuracy", f"of a classifier, as guessed: {gain.accuracy_of}"),
            ]
        ),
        "",
        *(_table(gain, modes) if len(gain.clusters) else ["  nothing to compare: too few items to be parted"]),
        *_footnote(gain, modes),
        "",
        *(f"  {name}: {choice.reason}" for name, choice in found.choices.items()),
    ]


def _footnote(gain: GainMap, modes: int | None) -> list[str]:
    below = any(record["below_floor"] for record in gain.rows() if modes is None or record["modes"] == modes)
    words = f'  <: below {gain.floor:.1e} this factor is rounding, and gains by such errors say nothing; route "tsqr" tells them'
    return ["", words] if below else []


def _table(gain: GainMap, modes: int | None) -> list[str]:
    header = [
        "dissimilarity", "clusters", "modes", "smallest", "loss", "silhouette", "error of one", "of own", "gain: best", "medoid",
        "mean", "break-even", "accuracy", "expected gain",
    ]  # fmt: skip
    body = [_row(record, gain.floor) for record in gain.rows() if modes is None or record["modes"] == modes]
    return table(header, body)


def _row(record: dict[str, Any], floor: float) -> list[str]:
    return [
        record["dissimilarity"],
        str(record["clusters"]),
        str(record["modes"]),
        str(record["smallest"]),
        f"{record['loss']:.3g}",
        _number(record["silhouette"], ".3f"),
        _error(record["global_error"], floor),
        _error(record["own_error"], floor),
        _number(record["oracle_gain"], ".2f"),
        _number(record["medoid_gain"], ".2f"),
        _number(record["mean_gain"], ".2f"),
        _number(record["break_even"], ".2f"),
        f"{record['accuracy']:.2f}",
        _number(record["expected_gain"], ".2f"),
    ]


def _error(value: float, floor: float) -> str:
    """An error, or that it is less than what the factor tells from rounding."""
    return f"< {floor:.1e}" if value < floor else f"{value:.2e}"


def _number(value: float | None, form: str) -> str:
    """A number, or a dash for one that is not finite: an error of zero, an accuracy out of reach."""
    return "-" if value is None else format(value, form)
