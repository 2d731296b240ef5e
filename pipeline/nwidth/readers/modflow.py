"""MODFLOW 6 heads (``.hds``): one record per layer and time, as a reader in one short file.

record: kstp i4, kper i4, pertim f8, totim f8, text 16 bytes, ncol i4, nrow i4, ilay i4, then nrow x ncol float64
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.errors import FormatError
from nwidth.readers.protocol import Fields, FieldSpec, Run

HEADER = np.dtype("<i4, <i4, <f8, <f8, S16, <i4, <i4, <i4")
# MODFLOW writes 1e30 for inactive cells and -1e30 for dry ones; both are no heads.
NO_HEAD = 1e30


class ModflowReader:
    """Reads the heads of a structured or layered MODFLOW 6 model."""

    name = "modflow"
    suffixes = (".hds",)

    def claims(self, path: Path) -> bool:
        """Whether the name ends in .hds."""
        return path.suffix.lower() == ".hds"

    def open(self, path: Path) -> Run:
        """Check the whole file against its first record; heads come as field ``head`` of dims (layer, row, column)."""
        records = _records(path)
        n_layers = int(records["layer"].max())
        if len(records) % n_layers or (records["layer"].reshape(-1, n_layers) != np.arange(1, n_layers + 1)).any():
            raise FormatError(
                f"{path} does not repeat its layers 1 to {n_layers} at every time; it is truncated, or of another model"
            )
        steps = records.reshape(-1, n_layers)
        shape = steps["heads"].shape[1:]
        return Run(
            fields={
                "head": FieldSpec("grid", ("layer", "row", "column"), shape, np.dtype(np.float64), long_name="hydraulic head")
            },
            times=np.array(steps["time"][:, 0]),
            snapshots=lambda: _heads(steps),
            coordinates={"layer": np.arange(1, n_layers + 1)},
            time_units="d",
        )


def _records(path: Path) -> Any:
    size = path.stat().st_size
    head = np.fromfile(path, HEADER, count=1)
    if len(head) == 0 or not head[0]["f4"].strip().startswith(b"HEAD"):
        raise FormatError(f"{path} does not begin with a MODFLOW 6 head record; expected the text HEAD at byte 24")
    n_columns, n_rows = int(head[0]["f5"]), int(head[0]["f6"])
    if min(n_columns, n_rows) < 1 or size % (HEADER.itemsize + 8 * n_columns * n_rows):
        raise FormatError(f"{path} has {size} bytes, which no number of {n_rows} x {n_columns} records fills; it is truncated")
    names = ("step", "period", "period_time", "time", "text", "columns", "rows", "layer")
    kinds = [HEADER[k] for k in range(len(names))]
    record = np.dtype([*zip(names, kinds, strict=True), ("heads", "<f8", (n_rows, n_columns))])
    return np.memmap(path, record, mode="r")


def _heads(steps: Any) -> Iterator[Fields]:
    for step in steps:
        heads = np.array(step["heads"], np.float64)
        heads[np.abs(heads) >= NO_HEAD] = np.nan
        yield {"head": heads}
