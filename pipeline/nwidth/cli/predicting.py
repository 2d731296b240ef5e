"""``nwidth predict``: labels, errors and fields at new parameters."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nwidth.cli.output import count, emit_json, rows, say, table
from nwidth.errors import ConfigError, InputError

if TYPE_CHECKING:
    from nwidth.models.designs import Answers

SOME_OUTSIDE = 4
"""Exit status where all was done, and some rows belong to no cluster."""
SHOWN = 20
NAMES = ("row", "run", "name")
"""Columns of a design that name its rows."""


def predict(
    model: Annotated[Path, typer.Argument(help="A model that predicts, the folder of a run, or a study with [uncertainty].")],
    parameters: Annotated[str | None, typer.Option(help="One input, as speed=1.1,temperature=980.")] = None,
    design: Annotated[Path | None, typer.Option(help="CSV with a column for each parameter, and a row for each input.")] = None,
    time: Annotated[str | None, typer.Option(help="Times, as 0.5,1.0; those of training by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Zarr store for the fields; without it, labels and errors only.")] = None,
    outside: Annotated[
        str, typer.Option(help="Rows unlike all of training: mark (leave them empty), answer (extrapolate) or refuse.")
    ] = "mark",
    draws: Annotated[int | None, typer.Option(min=1, help="Monte Carlo: so many draws of the study's uncertain inputs.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the draws, instead of uncertainty.seed.")] = None,
    verify: Annotated[int | None, typer.Option(min=0, help="Draws that the full-order model answers, too.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")] = False,
) -> None:
    """Predict fields at new parameters, with labels, both errors and standard deviations; or statistics over many draws.

    A study, `nwidth predict STUDY.toml --draws 1008`, is asked about its [uncertainty]; the draws resume where they were cut off.
    """
    if model.suffix == ".toml":
        from nwidth.cli.drawing import predict_draws

        if parameters is not None or design is not None or time is not None:
            raise ConfigError("a study is asked about its uncertain inputs; give --parameters, --design and --time to its model")
        predict_draws(model, draws=draws, seed=seed, verify=verify, out=out, json=json)
        return
    if draws is not None or seed is not None or verify is not None:
        raise ConfigError(
            "--draws, --seed and --verify are of a study with a table [uncertainty]; give its file instead of the model"
        )
    from nwidth.cli.ingesting import one_of
    from nwidth.models.designs import answer, refuse_outside, write_answers
    from nwidth.models.model import open_model

    one_of("--outside", outside, ("mark", "answer", "refuse"))
    opened = open_model(model)
    names, asked = _asked(parameters, design)
    answers = answer(opened, asked, names=names, time=None if time is None else _times(time))
    if outside == "refuse":
        refuse_outside(answers)
    if out is not None:
        write_answers(opened, answers, out, outside=outside)  # type: ignore[arg-type]
    lost = int(answers.outside.sum())
    if json:
        emit_json({"model": str(opened.path), "out": None if out is None else str(out), "outside": lost, "rows": answers.rows()})
    else:
        say(*_lines(answers, out))
    if lost and outside == "mark":
        raise typer.Exit(SOME_OUTSIDE)


def _asked(parameters: str | None, design: Path | None) -> tuple[tuple[str, ...], list[Mapping[str, Any]]]:
    """Names of the rows, and their parameters."""
    if parameters is not None and design is None:
        return ("0",), [parse_parameters(parameters)]
    if design is not None and parameters is None:
        return read_design(design)
    raise ConfigError("give either --parameters NAME=VALUE,... or --design FILE.csv")


def parse_parameters(text: str) -> dict[str, float]:
    """``"speed=1.1, heat=0.4"`` as a mapping.

    Raises
    ------
    ConfigError
        A part is not NAME=NUMBER, or a name comes twice.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals):
            raise ConfigError(f"--parameters: {part.strip()!r} is not NAME=VALUE; write for example speed=1.1,heat=0.4")
        if name in found:
            raise ConfigError(f"--parameters: {name!r} is given twice; give each parameter once")
        found[name] = _number(value, f"--parameters: {name} = {value!r}")
    return found


def read_design(file: Path) -> tuple[tuple[str, ...], list[Mapping[str, Any]]]:
    """Names and parameters of the rows of a CSV; a first column called row, run or name names them.

    Units in the header, ``speed [m/s]``, are left out, as when runs are ingested.

    Raises
    ------
    ConfigError
        The file cannot be read, a column comes twice, or an entry is no number: the line is named.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header, *lines = [line for line in csv.reader(stream) if line] or [[]]
    except OSError as error:
        raise ConfigError(f"the design {file} cannot be read: {error.strerror}; give a CSV that you may read") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file} is not a CSV: {error}") from None
    columns = [name.partition("[")[0].strip() for name in header]
    twice = next((name for place, name in enumerate(columns) if name in columns[:place]), None)
    if twice is not None or not lines:
        found = f"has the column {twice!r} twice" if twice is not None else "has no row below its header"
        raise ConfigError(f"{file} {found}; give one column for each parameter, and one row for each input")
    named = columns[0].lower() in NAMES
    names: list[str] = []
    asked: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines):
        if len(line) != len(columns):
            raise ConfigError(f"{file}, row {number + 1}: {len(line)} entries in {len(columns)} columns; give one for each")
        cells = dict(zip(columns[named:], line[named:], strict=True))
        names.append(line[0].strip() if named else str(number))
        asked.append({name: _number(cell, f"{file}, row {number + 1}: {name} = {cell!r}") for name, cell in cells.items()})
    return tuple(names), asked


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where} is not a number; give one") from None


def _times(text: str) -> list[float]:
    return [_number(part.strip(), f"--time: {part.strip()!r}") for part in text.split(",")]


def _lines(answers: Answers, out: Path | None) -> list[str]:
    header = ["row", *answers.parameters, "cluster", "probability", "distance", "projection", "regression"]
    body = [_row(answers, place) for place in range(min(len(answers.names), SHOWN))]
    more = [f"  and {count(len(answers.names) - SHOWN, 'row')} more; --json has all"] if len(answers.names) > SHOWN else []
    reasons = [
        f"  row {name}: none of them, because {reason}"
        for name, reason in zip(answers.names, answers.reasons, strict=True)
        if reason
    ]
    left = [f"  and {count(len(reasons) - SHOWN, 'row')} more of this kind"] if len(reasons) > SHOWN else []
    told = [("rows", f"{len(answers.names)}, {int(answers.outside.sum())} of them unlike all of training")]
    return [
        *table(header, body),
        *more,
        *reasons[:SHOWN],
        *left,
        *rows([*told, ("fields", str(out) if out is not None else "none written; --out writes them")]),
    ]


def _row(answers: Answers, place: int) -> list[str]:
    labels = [str(label) if label >= 0 else "none" for label in answers.labels[place]]
    return [
        answers.names[place],
        *(f"{value:g}" for value in answers.values[place]),
        ", ".join(dict.fromkeys(labels)),
        f"{answers.probabilities[place].min():.2f}",
        f"{answers.distances[place]:.2f}",
        f"{_worst(answers.projection_errors[place]):.1e}",
        f"{_worst(answers.regression_errors[place]):.1e}",
    ]


def _worst(values: Sequence[float]) -> float:
    return float(max(values))
