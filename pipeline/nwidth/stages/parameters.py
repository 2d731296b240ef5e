"""Parameters of runs from a CSV: one row per run, units in the header.

    point,omega_squared [rad^2/s^2],peak_temperature [K]
    7,2.13159e+06,1128.12

The first column identifies the run. A run called ``point-07`` takes the row whose identifier is

1. the same text (``point-07``), or else
2. the number at the end of its name (``7``, ``07`` or ``7.0``).

Two rows with one identifier, or two runs that take one row, are refused.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nwidth.errors import ConfigError

# A design of experiments has one short line per run; anything larger is not such a table.
LARGEST_TABLE_BYTES = 256 << 20


@dataclass(frozen=True)
class ParameterTable:
    """The rows of a parameter CSV by identifier, and the unit of each column."""

    path: Path
    id_column: str
    units: dict[str, str]
    """Parameter -> unit ("" where the header has none)."""
    rows: dict[str, dict[str, float | str]]

    def row_of(self, names: Sequence[str]) -> tuple[str, str] | None:
        """The first of `names` that has a row, with the identifier of that row."""
        for name in names:
            identifier = self._match(name)
            if identifier is not None:
                return name, identifier
        return None

    def _match(self, name: str) -> str | None:
        if name in self.rows:
            return name
        digits = re.search(r"(\d+)$", name)
        if digits is None:
            return None
        found = [identifier for identifier in self.rows if _as_integer(identifier) == int(digits[1])]
        if len(found) > 1:
            raise ConfigError(
                f"{self.path}: rows {' and '.join(found)} of {self.id_column} both fit the run {name!r}; make them distinct"
            )
        return found[0] if found else None


def read_parameters(path: Path) -> ParameterTable:
    """Read a parameter CSV; a column is numeric where all of its entries are.

    Raises
    ------
    nwidth.errors.ConfigError
        The file is absent or empty, a row has too few or too many entries, an identifier or a column comes twice, or an entry
        is empty, NaN or infinite.
    """
    header, *rows = _lines(path)
    names, units = zip(*(_name_and_unit(title, path) for title in header), strict=True)
    _refuse_twice([*names], f"{path}: column", "rename one")
    _refuse_twice([row[0].strip() for row in rows], f"{path}: identifier", "every run needs one row")
    columns = {name: _column([row[k] for row in rows], name, path) for k, name in enumerate(names) if k}
    by_id = {row[0].strip(): {name: column[k] for name, column in columns.items()} for k, row in enumerate(rows)}
    return ParameterTable(path, names[0], dict(zip(names[1:], units[1:], strict=True)), by_id)


def _lines(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes, too many for a table of parameters; give one row per run")
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [row for row in csv.reader(file) if any(entry.strip() for entry in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the parameters {path} cannot be read ({error}); give a UTF-8 CSV file") from None
    if len(lines) < 2 or len(lines[0]) < 2:
        raise ConfigError(f"{path} has no parameters; expected a header 'run,name [unit],...' and one row per run")
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != len(lines[0]):
            raise ConfigError(f"{path}: row {number} has {len(row)} entries, the header {len(lines[0])}; complete it")
    return lines


def _name_and_unit(title: str, path: Path) -> tuple[str, str]:
    match = re.fullmatch(r"\s*([^\[\]]*?)\s*(?:\[([^\[\]]*)\])?\s*", title)
    if match is None or not match[1]:
        raise ConfigError(f"{path}: the column title {title!r} is not of the form 'name' or 'name [unit]'")
    return match[1], (match[2] or "").strip()


def _refuse_twice(names: list[str], what: str, way_out: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{what} {name!r} comes twice; {way_out}")
        seen.add(name)


def _column(entries: list[str], name: str, path: Path) -> list[float] | list[str]:
    texts = [entry.strip() for entry in entries]
    for number, text in enumerate(texts, start=2):
        if not text:
            raise ConfigError(f"{path}: row {number} has no {name}; every run needs all parameters")
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return texts
    for number, value in enumerate(numbers, start=2):
        if not math.isfinite(value):
            raise ConfigError(f"{path}: {name} in row {number} is {value}; parameters must be finite")
    return numbers


def _as_integer(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None
