"""The blocks of a CalculiX ``.frd`` file: indexed once by seeking, read one at a time.

    header lines   "    1U...", "    1P..."                      skipped
    "    2C"       nodes: number, x, y, z                        all of them read on opening
    "    3C"       elements: number, type, group, material, nodes
    "  100C"       one nodal field at one time                   only its place is kept; values are read when asked for
    " 9999"        end of the file

Every block says its format: 0 and 1 are ascii (node numbers 5 or 10 columns wide), 2 is binary float32, 3 binary float64.
Every ascii record of a block has the same width, so both kinds are found by arithmetic: position = start + record * width,
and a block that does not fit into the file is refused before a byte of it is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FormatError

# A header line has at most 80 characters by the format's definition; CalculiX pads some beyond it.
LONGEST_HEADER_LINE = 512
# Bounds what is read again where element types alternate.
ELEMENTS_AT_ONCE = 65_536
VALUE_WIDTH = 12
VALUES_PER_LINE = 6
BINARY_FLOATS: dict[int, np.dtype[Any]] = {2: np.dtype("<f4"), 3: np.dtype("<f8")}
NODE_WIDTHS = {0: 5, 1: 10}

# frd element type -> (VTK cell type, number of nodes, VTK position -> frd position). Quadratic bricks and wedges list their
# vertical edges before the top ones in .frd, after them in VTK.
ELEMENTS: dict[int, tuple[int, int, tuple[int, ...]]] = {
    1: (12, 8, tuple(range(8))),
    2: (13, 6, tuple(range(6))),
    3: (10, 4, tuple(range(4))),
    4: (25, 20, (*range(12), *range(16, 20), *range(12, 16))),
    5: (26, 15, (*range(9), *range(12, 15), *range(9, 12))),
    6: (24, 10, tuple(range(10))),
    7: (5, 3, tuple(range(3))),
    8: (22, 6, tuple(range(6))),
    9: (9, 4, tuple(range(4))),
    10: (23, 8, tuple(range(8))),
    11: (3, 2, tuple(range(2))),
    12: (21, 3, tuple(range(3))),
}


@dataclass(frozen=True)
class RecordLayout:
    """How the records of one node or result block lie in the file."""

    start: int
    count: int
    n_values: int
    binary: np.dtype[Any] | None
    node_width: int
    newline: int

    @property
    def line_widths(self) -> tuple[int, ...]:
        """Bytes of the ascii lines that make up one record."""
        lines = [min(VALUES_PER_LINE, self.n_values - first) for first in range(0, self.n_values, VALUES_PER_LINE)]
        return tuple(3 + self.node_width + VALUE_WIDTH * values + self.newline for values in lines)

    @property
    def record_bytes(self) -> int:
        if self.binary is not None:
            return 4 + self.n_values * self.binary.itemsize
        return sum(self.line_widths)

    @property
    def stop(self) -> int:
        return self.start + self.count * self.record_bytes


@dataclass(frozen=True)
class ResultBlock:
    """One nodal field at one time, not yet read."""

    name: str
    time: float
    step: int
    components: tuple[str, ...]
    layout: RecordLayout

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 only where the solver wrote it: ascii has six digits, which float32 holds."""
        return np.dtype("<f8") if self.layout.binary == np.dtype("<f8") else np.dtype("<f4")


@dataclass(frozen=True)
class FrdIndex:
    """What a ``.frd`` holds: nodes, elements, and where the results lie."""

    nodes: NDArray[np.int64]
    points: NDArray[np.float64]
    elements: NDArray[np.int64]
    element_types: NDArray[np.int64]
    element_nodes: NDArray[np.int64]
    """Node numbers of all elements in frd order, one element after the other."""
    results: tuple[ResultBlock, ...]


def index_frd(path: Path) -> FrdIndex:
    """Read nodes and elements of `path` and find its result blocks, without reading their values.

    Raises
    ------
    nwidth.errors.FormatError
        The file is truncated, misses its end mark, or is not a CalculiX result file.
    """
    with path.open("rb") as file:
        return _Indexer(file, path).run()


def read_result(file: BinaryIO, block: ResultBlock, path: Path) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Read one result block: node numbers ``(count,)`` and values ``(count, n_components)``."""
    nodes, values = _read_records(file, block.layout, path)
    return nodes, values.astype(block.dtype, copy=False)


class _Indexer:
    """Walks through the headers once, jumping over the values."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.size = os.fstat(file.fileno()).st_size
        self.nodes: NDArray[np.int64] = np.empty(0, np.int64)
        self.points: NDArray[np.float64] = np.empty((0, 3))
        self.elements: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None
        self.results: list[ResultBlock] = []

    def run(self) -> FrdIndex:
        while True:
            line = self._line("the next block header")
            if line.startswith(" 9999"):
                break
            self._block(line)
        if not self.nodes.size:
            raise FormatError(f"{self.path} has no node block ('2C'); ask CalculiX for *NODE FILE output")
        numbers, types, element_nodes = self.elements or (np.empty(0, np.int64),) * 3
        return FrdIndex(self.nodes, self.points, numbers, types, element_nodes, tuple(self.results))

    def _block(self, line: str) -> None:
        key = line[:6]
        if key == "    2C":
            layout = self._records(line, int_field(line, 24, 36, self.path), 3, line_format(line))
            self.nodes, self.points = _read_records(self.file, layout, self.path)
        elif key == "    3C":
            self.elements = self._elements(int_field(line, 24, 36, self.path), line_format(line))
        elif key == "  100C":
            self._result(line)
        elif not line.startswith((" -3", "    1")) and line.strip():
            raise FormatError(
                f"{self.path} has an unknown block {line[:20]!r} at byte {self.file.tell()}; it is damaged or not a .frd file"
            )

    def _result(self, header: str) -> None:
        time = _float_field(header, 12, 24, self.path)
        count, step = int_field(header, 24, 36, self.path), int_field(header, 58, 63, self.path)
        name_line = self._line("a field name")
        if not name_line.startswith(" -4"):
            raise FormatError(
                f"{self.path} has a result header without a field name at byte {self.file.tell()}; the file is damaged"
            )
        name = name_line[5:13].strip()
        lines = [self._line(f"the components of {name}") for _ in range(int_field(name_line, 13, 18, self.path))]
        # IEXIST = 1 marks a component that the viewer computes (ALL, the magnitude): it is named but not stored.
        components = tuple(line[5:13].strip() for line in lines if line[33:38].strip() != "1")
        layout = self._records(header, count, len(components), line_format(header))
        self.results.append(ResultBlock(name, time, step, components, layout))
        self.file.seek(layout.stop)

    def _records(self, header: str, count: int, n_values: int, kind: int) -> RecordLayout:
        newline = 2 if header.endswith("\r") else 1
        if kind not in BINARY_FLOATS and kind not in NODE_WIDTHS:
            raise FormatError(f"{self.path} has a block of unknown format {kind}; known are 0, 1 (ascii), 2 and 3 (binary)")
        # Node coordinates are float32 in format 2 and float64 in format 3, as results are.
        layout = RecordLayout(self.file.tell(), count, n_values, BINARY_FLOATS.get(kind), NODE_WIDTHS.get(kind, 0), newline)
        if count < 0 or layout.stop > self.size:
            raise FormatError(
                f"{self.path} is truncated: the block {header[:36].strip()!r} needs {layout.stop} bytes, "
                f"the file has {self.size}; copy it again or let the solver finish"
            )
        return layout

    def _elements(self, count: int, kind: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        if kind in BINARY_FLOATS:
            return _binary_elements(self.file, count, self.path, self.size)
        return _ascii_elements(self.file, count, NODE_WIDTHS.get(kind, 10), self.path, self.size)

    def _line(self, what: str) -> str:
        line = self.file.readline(LONGEST_HEADER_LINE)
        if not line:
            raise FormatError(
                f"{self.path} is truncated: it ends before {what}, without the end mark 9999; "
                "copy it again or let the solver finish"
            )
        if not line.endswith(b"\n") and len(line) == LONGEST_HEADER_LINE:
            raise FormatError(f"{self.path} is damaged before byte {self.file.tell()}: expected {what}, found no line")
        return line.decode("latin-1").removesuffix("\n")


def line_format(line: str) -> int:
    """The format digit at the end of a block header."""
    digit = line.split()[-1]
    return int(digit) if digit.isdigit() else -1


def int_field(line: str, first: int, last: int, path: Path) -> int:
    """The integer in the given columns of a header line."""
    try:
        return int(line[first:last])
    except ValueError:
        raise FormatError(f"{path} has no number in columns {first + 1}-{last} of {line[:80]!r}; the file is damaged") from None


def _float_field(line: str, first: int, last: int, path: Path) -> float:
    try:
        return float(line[first:last])
    except ValueError:
        raise FormatError(f"{path} has no time in columns {first + 1}-{last} of {line[:80]!r}; the file is damaged") from None


def _read_records(file: BinaryIO, layout: RecordLayout, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    file.seek(layout.start)
    raw = file.read(layout.stop - layout.start)
    if len(raw) != layout.stop - layout.start:
        raise FormatError(f"{path} became shorter while it was read; wait for the solver or copy to finish")
    if layout.binary is not None:
        records = np.frombuffer(raw, np.dtype([("node", "<i4"), ("values", layout.binary, (layout.n_values,))]))
        return records["node"].astype(np.int64), records["values"]
    return _ascii_records(raw, layout, path)


def _ascii_records(raw: bytes, layout: RecordLayout, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    table = np.frombuffer(raw, np.uint8).reshape(layout.count, layout.record_bytes)
    ends = np.cumsum(layout.line_widths)
    if not (table[:, ends - 1] == ord("\n")).all():
        bad = int(np.argmin((table[:, ends - 1] == ord("\n")).all(axis=1)))
        raise FormatError(
            f"{path} has lines of uneven width near byte {layout.start + bad * layout.record_bytes}; it is damaged or was edited"
        )
    begin = 3 + layout.node_width
    nodes = _column(table, 3, layout.node_width, np.int64, path)
    values = np.empty((layout.count, layout.n_values))
    for column in range(layout.n_values):
        line, place = divmod(column, VALUES_PER_LINE)
        offset = int(ends[line] - layout.line_widths[line]) + begin + place * VALUE_WIDTH
        values[:, column] = _column(table, offset, VALUE_WIDTH, np.float64, path)
    return nodes, values


def _column(table: NDArray[np.uint8], first: int, width: int, dtype: Any, path: Path) -> NDArray[Any]:
    text = np.ascontiguousarray(table[:, first : first + width]).view(f"S{width}")[:, 0]
    try:
        return text.astype(dtype)
    except ValueError as error:
        raise FormatError(f"{path} has text where a number should be ({error}); it is damaged") from None


def _binary_elements(
    file: BinaryIO, count: int, path: Path, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Element records vary in length with their type: walk over runs of one type, each read in one go."""
    numbers, types, nodes = [], [], []
    done = 0
    while done < count:
        place = file.tell()
        head = np.frombuffer(_exactly(file, 16, path), "<i4")
        width = 4 + _n_nodes(int(head[1]), path)
        file.seek(place)
        n = min(count - done, (size - place) // (4 * width), ELEMENTS_AT_ONCE)
        block = np.frombuffer(_exactly(file, 4 * width * n, path), "<i4").reshape(-1, width)
        other = block[:, 1] != head[1]
        same = int(np.argmax(other)) if other.any() else len(block)
        if same == 0:
            raise FormatError(f"{path} is truncated: {done} of {count} elements are there; copy it again")
        file.seek(place + same * width * 4)
        numbers.append(block[:same, 0])
        types.append(block[:same, 1])
        nodes.append(block[:same, 4:].ravel())
        done += same
    return _joined(numbers), _joined(types), _joined(nodes)


def _joined(parts: list[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)


def _exactly(file: BinaryIO, n: int, path: Path) -> bytes:
    raw = file.read(n)
    if len(raw) != n or n == 0:
        raise FormatError(f"{path} is truncated inside its elements; copy it again or let the solver finish")
    return raw


def _n_nodes(kind: int, path: Path) -> int:
    if kind not in ELEMENTS:
        raise FormatError(f"{path} has an element of type {kind}; the frd format knows 1 to 12, so the file is damaged")
    return ELEMENTS[kind][1]


def _ascii_elements(
    file: BinaryIO, count: int, width: int, path: Path, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Lines " -1 number type group material", each followed by " -2" lines of nodes."""
    text = _until_end_of_block(file, path, size)
    heads, bodies = _lines_by_key(text)
    if len(heads) != count:
        raise FormatError(f"{path} announces {count} elements and has {len(heads)}; it is truncated or was edited")
    numbers = _numbers([line[: 3 + width] for line in heads], 3, width, path)[:, 0]
    types = _numbers([line[: 3 + width + 5] for line in heads], 3 + width, 5, path)[:, 0]
    nodes = _all_numbers(bodies, 3, width, path)
    expected = sum(int(n) * _n_nodes(int(kind), path) for kind, n in zip(*np.unique(types, return_counts=True), strict=True))
    if nodes.size != expected:
        raise FormatError(f"{path} lists {nodes.size} element nodes where its element types need {expected}; it is damaged")
    return numbers, types, nodes


def _until_end_of_block(file: BinaryIO, path: Path, size: int) -> bytes:
    """All bytes up to the line " -3", read in pieces; the file is left behind that line."""
    start, pieces = file.tell(), b""
    while (end := pieces.find(b"\n -3")) < 0:
        piece = file.read(1 << 24)
        if not piece:
            raise FormatError(f"{path} is truncated inside its elements at byte {size}; copy it again or let the solver finish")
        pieces += piece
    file.seek(start + end + 1)
    file.readline(LONGEST_HEADER_LINE)
    return pieces[: end + 1]


def _lines_by_key(text: bytes) -> tuple[list[bytes], list[bytes]]:
    lines = text.split(b"\n")
    return [s for s in lines if s.startswith(b" -1")], [s.rstrip(b"\r") for s in lines if s.startswith(b" -2")]


def _all_numbers(lines: list[bytes], first: int, width: int, path: Path) -> NDArray[np.int64]:
    """The integers of all lines, in order; lines of one length are converted together."""
    counts = np.array([(len(line) - first) // width for line in lines], np.int64)
    places = np.cumsum(counts) - counts
    numbers = np.empty(int(counts.sum()), np.int64)
    for count in np.unique(counts):
        which = np.flatnonzero(counts == count)
        numbers[places[which][:, None] + np.arange(count)] = _numbers([lines[i] for i in which], first, width, path)
    return numbers


def _numbers(lines: list[bytes], first: int, width: int, path: Path) -> NDArray[np.int64]:
    """Fixed-width integers from column `first` on, of lines that are equally long (shortest counts)."""
    columns = min((len(line) - first) // width for line in lines) if lines else 0
    table = np.array([line[first : first + columns * width] for line in lines], f"S{max(columns * width, 1)}")
    try:
        return table.view(f"S{width}").reshape(len(lines), columns).astype(np.int64)
    except ValueError as error:
        raise FormatError(f"{path} has text where a number should be ({error}); it is damaged") from None
