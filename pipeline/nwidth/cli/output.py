"""What people and programs read: JSON on request, aligned words otherwise."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def say(*lines: str) -> None:
    """Lines on stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def rows(pairs: Iterable[tuple[str, str]], indent: int = 2) -> list[str]:
    """``name  value`` lines, values aligned."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    return [f"{' ' * indent}{name:<{width}}  {value}" for name, value in listed]


def table(header: Sequence[str], body: Sequence[Sequence[str]], indent: int = 2) -> list[str]:
    """Columns: the first aligned left, the others right."""
    widths = [max(len(line[column]) for line in (header, *body)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = f"{cells[0]:<{widths[0]}}"
        return " " * indent + "  ".join([first, *(f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True))])

    return [line(header), *(line(cells) for cells in body)]


def amount(nbytes: float) -> str:
    """Bytes in words: ``3.87 GB``."""
    return _scaled(nbytes, "B")


def operations(flops: float) -> str:
    """Floating-point operations in words: ``27.4 Gflop``."""
    return _scaled(flops, "flop")


def memory(nbytes: float) -> str:
    """Memory in binary units: ``512 MiB``."""
    return f"{nbytes / 2**20:.0f} MiB" if nbytes < 10 * 2**30 else f"{nbytes / 2**30:.1f} GiB"


def _scaled(value: float, unit: str) -> str:
    prefixes = ["", "k", "M", "G", "T", "P"]
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value /= 1000
        prefixes.pop(0)
    return f"{value:.3g} {prefixes[0]}{unit}"


def count(number: int, noun: str) -> str:
    """``1 mode``, ``12 modes``, ``2 passes``."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}".replace(",", " ")


def _each(workers: str) -> str:
    """After an amount of memory: nothing where there is one process alone."""
    return "" if workers.endswith("of one process") else " each"


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """A plan, in words."""
    fields = [
        [
            name,
            f"{field['unknowns']}",
            field["dtype"],
            f"{field['blocks']} x {amount(field['block_bytes'])}",
            amount(field["bytes"]),
            amount(field["stored_bytes"]),
            field["inner_product"],
        ]
        for name, field in plan["fields"].items()
    ]
    passes = [
        [
            cost["name"],
            f"{cost['reads']:.3g}",
            amount(cost["bytes_to_read"]),
            operations(cost["flops"]),
            str(cost["tasks"]),
            memory(cost["peak_bytes"]),
        ]
        for cost in plan["passes"]
    ]
    return [
        f"plan of study {plan['study']!r}: {count(plan['snapshots'], 'snapshot')} of {plan['store']}",
        *rows(
            [
                ("route", f"{plan['route']}: {plan['reason']}"),
                ("floor", plan["floor"]),
                ("truncation", plan["truncation"]),
                ("workers", f"{plan['workers']}, {memory(plan['memory_bytes'])}{_each(plan['workers'])}"),
                ("kept", plan.get("kept") or "nothing"),
                *plan.get("beyond", {}).items(),
            ]
        ),
        "",
        *table(["field", "unknowns", "dtype", "blocks", "bytes", "stored", "inner product"], fields),
        "",
        *table(["pass", "reads", "to read", "work", "tasks", "peak per worker"], passes),
        *_comparison_lines(plan.get("comparison", ())),
    ]


def _comparison_lines(routes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The routes beside each other, and why those that cannot be taken cannot."""
    body = [
        [
            cost["route"],
            f"{cost['reads']:.3g}",
            amount(cost["bytes_to_read"]),
            operations(cost["flops"]),
            str(cost["tasks"]),
            memory(cost["peak_bytes"]),
            f"{cost['seconds']:.2g} s",
            cost["guarantee"],
        ]
        for cost in routes
        if cost["feasible"]
    ]
    refused = [(cost["route"], cost["why_not"]) for cost in routes if cost["why_not"]]
    if not body:
        return []
    return [
        "",
        *table(["route", "reads", "to read", "work", "tasks", "peak per worker", "about", "error"], body),
        *(f"  not {name}: {why}" for name, why in refused),
    ]


def measured_lines(plan: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Predicted beside measured, pass by pass."""
    predicted = {cost["name"]: cost for cost in plan["passes"]}
    body = []
    for done in measured["passes"]:
        asked = predicted.get(done["name"], predicted.get("factor", {}) if done["name"] in ("gram", "tsqr") else {})
        body.append(
            [
                done["name"],
                _beside(asked.get("bytes_to_read"), done["bytes_read"], amount),
                _beside(asked.get("tasks"), done["tasks"], str),
                _beside(asked.get("peak_bytes"), done["peak_bytes"], memory),
                f"{done['seconds']:.1f} s",
            ]
        )
    return table(["pass", "read (plan)", "tasks (plan)", "peak per worker (plan)", "time"], body)


def _beside(predicted: Any, measured: Any, words: Any) -> str:
    return words(measured) if predicted is None else f"{words(measured)} ({words(predicted)})"


def basis_lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    """One basis and its certificate, in words."""
    from nwidth.report.words import missing

    certificate = entry["certificate"]
    measured = "an upper bound" if certificate.get("bound") else "measured"
    repaired = f", repaired from {certificate['measured_defect']:.1e}" if certificate["repaired"] else ""
    return [
        f"basis {name!r}: {count(entry['rank'], 'mode')} of {', '.join(entry['fields'])}",
        *rows(
            [
                ("error", f"{certificate['frobenius_error']:.3e} relative, all snapshots ({measured})"),
                ("worst", f"{certificate['worst_error']:.3e} in snapshot {certificate['worst_snapshot']}"),
                ("defect", f"{certificate['orthogonality_defect']:.1e} of orthonormality{repaired}"),
                ("floor", f"{entry['floor']:.2e}: {count(entry['trusted'], 'singular value')} above it ({entry['route']})"),
                ("rank", entry["truncation"]),
                *(("missing", line) for line in missing(certificate)),
            ]
        ),
    ]
