"""Integration-point tables of a CalculiX ``.dat`` (or ``.dat.gz``): ``*EL PRINT`` output, one table per field and time.

     stresses (elem, integ.pnt.,sxx,syy,szz,sxy,sxz,syz) for set EALL and time  0.5000000E+01
     <blank>
             1   1  1.762340E-01 -2.196990E-02  8.903420E+00 -3.686264E-02 -3.494357E-02  9.295175E-03

Tables are found in one pass over the text, and read again in the same order, one time at a time: a compressed file is
only ever read forwards, and one time's tables are all that is held. Tables of nodes and totals are not fields, and are
passed over.
"""

from __future__ import annotations

import gzip
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FormatError

NAMES = {
    "stresses": "S",
    "viscous stresses": "SV",
    "strains": "E",
    "mechanical strains": "ME",
    "equivalent plastic strain": "PEEQ",
    "internal energy density": "ENER",
    "internal state variables": "SDV",
    "heat flux": "HFL",
    "global coordinates": "COORD",
}
"""Title of a table -> the name by which the deck asked for it."""

# The header of PEEQ has no blank between ")" and "for"; "[^)]" keeps the match on one header line.
_HEADER = re.compile(rb"^ ([a-z][a-z ]*?)\s*\(elem, integ\.pnt\.,([^)\n]*)\)\s*for set\s*(\S*)\s+and time\s+(\S+)[ \r]*$", re.M)
_ANY_HEADER = re.compile(rb"^ [A-Za-z][^\n]*\btime\s+\S+[ \r]*$|^ +S T E P[^\n]*$", re.M)
# Fortran drops the E of a three-digit exponent: 1.234567-101.
_BARE_EXPONENT = re.compile(rb"(?<=\d)([+-]\d{3})(?!\d)")
_PIECE = 1 << 22
_OVERLAP = 4096


@dataclass(frozen=True)
class Table:
    """One printed table: which field, when, and the bytes of its rows in the (uncompressed) text."""

    name: str
    components: tuple[str, ...]
    element_set: str
    time: float
    start: int
    stop: int


def open_dat(path: Path) -> BinaryIO:
    """Open the text of a ``.dat`` or ``.dat.gz``."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def index_dat(path: Path) -> tuple[Table, ...]:
    """Find the integration-point tables of `path`, in file order.

    Raises
    ------
    nwidth.errors.FormatError
        The compressed file is truncated, or a time cannot be read.
    """
    headers: list[tuple[int, int, re.Match[bytes] | None]] = []
    end = 0
    for place, text, last in _pieces(path):
        end = place + len(text)
        # A header that the piece may have cut in two is found whole in the next one, which begins with the overlap.
        whole = (found for found in _ANY_HEADER.finditer(text) if last or found.end() < len(text) - 1)
        headers += [(place + found.start(), place + found.end(), _HEADER.match(found.group())) for found in whole]
    headers = sorted({start: (start, stop, match) for start, stop, match in headers}.values(), key=lambda header: header[0])
    stops = [start for start, _, _ in headers[1:]] + [end]
    return tuple(_table(match, begin, stop, path) for (_, begin, match), stop in zip(headers, stops, strict=True) if match)


def read_times(path: Path, tables: tuple[Table, ...]) -> Iterator[list[tuple[Table, NDArray[np.float64]]]]:
    """Yield, time after time, the tables of that time and their rows ``(n_points, 2 + n_components)``: element, point, values."""
    groups: list[list[Table]] = []
    for table in tables:
        if not groups or groups[-1][0].time != table.time:
            groups.append([])
        groups[-1].append(table)
    with open_dat(path) as file:
        for group in groups:
            yield [(table, _rows(file, table, path)) for table in group]


def _pieces(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Overlapping pieces of the text: (position, text, is it the last one)."""
    place, tail = 0, b""
    with open_dat(path) as file:
        while True:
            try:
                read = file.read(_PIECE)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise FormatError(f"{path} is truncated or damaged ({error}); copy it again") from None
            text = tail + read
            yield place, text, not read
            if not read:
                return
            tail = text[-_OVERLAP:]
            place += len(text) - len(tail)


def _table(match: re.Match[bytes], start: int, stop: int, path: Path) -> Table:
    title, components, element_set, time = (part.decode("latin-1") for part in match.groups())
    try:
        when = float(time)
    except ValueError:
        raise FormatError(f"{path} has a table of {title!r} at the unreadable time {time!r}; the file is damaged") from None
    name = NAMES.get(title, title.replace(" ", "_"))
    names = tuple(component.strip() for component in components.split(","))
    return Table(name, () if len(names) == 1 else names, element_set, when, start, stop)


def _rows(file: BinaryIO, table: Table, path: Path) -> NDArray[np.float64]:
    try:
        file.seek(table.start)
        text = file.read(table.stop - table.start)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"{path} is truncated or damaged ({error}); copy it again") from None
    lines = text.strip(b"\r\n ").count(b"\n") + 1
    width = len(_with_exponents(text.lstrip(b"\r\n").split(b"\n", 1)[0]).split())
    values = _numbers(text)
    if values is None or values.size != lines * width:
        # Looked for only here: searching every table for 1.234567-101 would take as long as reading it.
        values = _numbers(_with_exponents(text))
    if values is None:
        raise FormatError(
            f"{path} has text where numbers should be in table {table.name} at time {table.time:g}; the file is damaged"
        )
    if width < 3 or values.size != lines * width or text.rstrip(b" \r")[-1:] != b"\n":
        raise FormatError(
            f"{path} is truncated in table {table.name} at time {table.time:g}: {values.size} numbers "
            f"do not fill rows of {max(width, 3)}; copy it again or let the solver finish"
        )
    return values.reshape(-1, width)


def _with_exponents(text: bytes) -> bytes:
    return _BARE_EXPONENT.sub(rb"E\1", text)


def _numbers(text: bytes) -> NDArray[np.float64] | None:
    """All numbers of a table, or None where something else stands among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text.decode("ascii"), np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            return None
