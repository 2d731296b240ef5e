"""Writes tiny ascii ``.frd`` files by the format's columns, independently of the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_frd(
    path: Path,
    nodes: Sequence[int],
    points: Any,
    elements: Sequence[tuple[int, int, Sequence[int]]],
    steps: Sequence[tuple[float, Mapping[str, tuple[Sequence[str], Any]]]],
    end: bool = True,
) -> None:
    """Write nodes, elements (number, frd type, node numbers) and steps (time, field -> (component names, values))."""
    lines = ["    1C", "    1UUSER", f"    2C{'':18}{len(nodes):12d}{'':37}1"]
    lines += [f" -1{node:10d}" + "".join(f"{x:12.5E}" for x in xyz) for node, xyz in zip(nodes, points, strict=True)] + [" -3"]
    lines.append(f"    3C{'':18}{len(elements):12d}{'':37}1")
    for number, kind, members in elements:
        lines.append(f" -1{number:10d}{kind:5d}{0:5d}{1:5d}")
        lines += [" -2" + "".join(f"{node:10d}" for node in members[k : k + 10]) for k in range(0, len(members), 10)]
    lines.append(" -3")
    for step, (time, fields) in enumerate(steps, start=1):
        for name, (components, values) in fields.items():
            lines += _result(step, time, name, components, np.asarray(values, float).reshape(len(nodes), -1), nodes)
    path.write_text("\n".join([*lines, *([" 9999"] if end else []), ""]))


def _result(step: int, time: float, name: str, components: Sequence[str], values: Any, nodes: Sequence[int]) -> list[str]:
    names = list(components) or [name]
    lines = [
        f"  100CL{100 + step:5d}{time:12.5E}{len(nodes):12d}{'':20}{0:2d}{step:5d}{'':10}{1:2d}",
        f" -4  {name:8}{len(names):5d}{1:5d}",
    ]
    lines += [f" -5  {component:8}{1:5d}{2:5d}{k:5d}{0:5d}" for k, component in enumerate(names, start=1)]
    for node, row in zip(nodes, values, strict=True):
        for k in range(0, len(row), 6):
            head = f" -1{node:10d}" if k == 0 else f" -2{'':10}"
            lines.append(head + "".join(f"{value:12.5E}" for value in row[k : k + 6]))
    return [*lines, " -3"]
