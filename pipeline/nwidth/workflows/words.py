"""What a workflow program is told of a run: flat scalars, which it can plot over time. Nothing here imports such a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nwidth.runs import RunResult
    from nwidth.stages.production import ProductionReport

Scalars = dict[str, str | int | float | bool]


def run_scalars(result: RunResult) -> Scalars:
    """Status, model, and rank, error and defect of every basis; what was read, where it was read now."""
    told: Scalars = {"status": result.status, "words": result.words, "model": str(result.model)}
    told["snapshots"] = int(result.plan["snapshots"])
    for name, entry in result.bases.items():
        certificate = entry["certificate"]
        told[f"{name}/rank"] = int(entry["rank"])
        told[f"{name}/error"] = float(certificate["frobenius_error"])
        told[f"{name}/error is a bound"] = bool(certificate["bound"])
    if result.status == "done":
        told["seconds"], told["bytes read"] = float(result.measured["seconds"]), int(result.measured["bytes_read"])
    return told


def production_scalars(report: ProductionReport) -> Scalars:
    """Points of the design: all, run now, there before, failed."""
    return {
        "store": report.store,
        "points": report.points,
        "produced": len(report.produced),
        "there before": report.there,
        "failed": len(report.failed),
        "seconds": report.seconds,
    }


def scalars_of(record: Mapping[str, object]) -> Scalars:
    """The scalars among the values of a record."""
    return {name: value for name, value in record.items() if isinstance(value, str | int | float | bool)}


def missed(result: RunResult, rtol: float | None) -> dict[str, float]:
    """Basis -> error, for those whose error exceeds the tolerance that was asked for: their rank was bounded."""
    errors = {name: float(entry["certificate"]["frobenius_error"]) for name, entry in result.bases.items()}
    return {} if rtol is None else {name: error for name, error in errors.items() if error > rtol}
