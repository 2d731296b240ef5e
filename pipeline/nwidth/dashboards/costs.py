"""Predicted beside measured cost, pass by pass: the plan of a run and what it measured of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PassCosts:
    """One pass; None where the plan or the measurement has no number."""

    name: str
    planned_bytes: float | None
    measured_bytes: float | None
    planned_peak: float | None
    """Bytes of a worker's resident size: an upper bound."""
    measured_peak: float | None
    planned_tasks: float | None
    measured_tasks: float | None
    seconds: float | None
    read_seconds: float | None
    """Of all workers together."""


@dataclass(frozen=True)
class Costs:
    """A whole run."""

    passes: tuple[PassCosts, ...]
    planned_seconds: float | None
    measured_seconds: float | None


def costs_of(record: Mapping[str, Any]) -> Costs:
    """The costs of a run from its record; empty where the record has none."""
    plan, measured = _table(record, "plan"), _table(record, "measured")
    planned = {str(entry.get("name")): entry for entry in _list(plan, "passes")}
    factor = planned.get("factor", {})
    passes = []
    for entry in _list(measured, "passes"):
        name = str(entry.get("name"))
        # A pass is planned as "factor" and measured by the name of its reduction.
        asked = planned.get(name, factor if name in ("gram", "tsqr") else {})
        passes.append(
            PassCosts(
                name,
                _number(asked, "bytes_to_read"), _number(entry, "bytes_read"),
                _number(asked, "peak_bytes"), _number(entry, "peak_bytes"),
                _number(asked, "tasks"), _number(entry, "tasks"),
                _number(entry, "seconds"), _number(entry, "read_seconds"),
            )
        )  # fmt: skip
    return Costs(tuple(passes), _number(plan, "seconds") or None, _number(measured, "seconds"))


def _table(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(table: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = table.get(name)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list | tuple) else []


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
