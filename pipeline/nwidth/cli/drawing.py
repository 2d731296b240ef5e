"""What a person reads of reduced mechanics, and of a Monte Carlo run: ``nwidth predict STUDY.toml --draws``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.cli.output import count, emit_json, rows, say, table
from nwidth.cli.progress import reporting

if TYPE_CHECKING:
    from nwidth.uncertainty.ensemble import Ensemble

SHOWN = 10


def predict_draws(study: Path, *, draws: int | None, seed: int | None, verify: int | None, out: Path | None, json: bool) -> None:
    """Run the draws of a study and print what they say."""
    from nwidth.config import load_study
    from nwidth.runs.ensembles import predict_study

    with reporting(quiet=json) as report:
        found = predict_study(load_study(study), draws=draws, seed=seed, verify=verify, out=out, progress=report)
    if json:
        emit_json({"ensemble": str(found.path), **found.document})
    else:
        say(*ensemble_lines(found))


def ensemble_lines(found: Ensemble) -> list[str]:
    """Estimates with their standard errors, failures, the indicator, true errors, and what it cost."""
    document = found.document
    names = [f"{level:.0%}" for level in document["levels"]]
    body = [
        [name, f"{e['mean']:.4g} +- {e['standard_error']:.1g}", f"{e['std']:.3g}", *(f"{q:.4g}" for q in e["quantiles"])]
        for name, e in document["estimates"].items()
    ]
    lines = table(["quantity", "mean and standard error", "std", *names], body) if body else []
    failed = document["failures"]
    told = [("draws", f"{document['draws']}, {len(failed)} failed; seed {document['seed']}")]
    if document["remarks"]:
        first = next(iter(document["remarks"].values()))
        told.append(("remarks", f"on {count(len(document['remarks']), 'draw')}, such as: {first}"))
    if document["indicator"] is not None:
        said = document["indicator"]
        told.append(("indicator", f"median {said['median']:.1e}, 95 % below {said['q95']:.1e}, largest {said['largest']:.1e}"))
    told += _enriched_rows(document.get("enrichments", ()))
    told += _verified_rows(document.get("verified"))
    told.append(("cost", f"{document['seconds']['all']:.1f} s, {document['processor_seconds']:.1f} processor seconds of draws"))
    told.append(("ensemble", str(found.path)))
    return [*lines, *rows(told), *(f"  draw {draw}: {why}" for draw, why in list(failed.items())[:SHOWN])]


def _enriched_rows(versions: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """How many full-order steps the model has learnt from since its training."""
    if not versions:
        return []
    steps = sum(len(version["updates"]) for version in versions)
    modes = f"{versions[0]['from']['modes']} to {versions[-1]['to']['modes']} modes" if len(versions) == 1 else ""
    return [("enriched", f"by {count(steps, 'full-order step')} in {count(len(versions), 'version')}{modes and ': ' + modes}")]


def _verified_rows(verified: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if verified is None:
        return []
    errors = ", ".join(
        f"{name} {of['median']:.1e} (at most {of['largest']:.1e})" for name, of in verified["errors"].items() if of is not None
    )
    return [
        ("true errors", f"{errors or 'none'}; median over {count(len(verified['draws']), 'draw')} of the full-order model"),
        (
            "speed-up",
            f"{verified['speed_up_core_hours']:.0f} in core-hours, {verified['speed_up_wall_clock']:.0f} in wall-clock "
            "beside as many full-order runs at once as there are workers",
        ),
    ]


def mechanics_lines(told: Mapping[str, Any]) -> list[str]:
    """What was trained of reduced mechanics, in words."""
    shared = f": {len(told['bodies'])} bodies at the same points" if told["shared_points"] else ""
    lines = [f"reduced mechanics of {told['case']}{shared}"]
    for number, body in enumerate(told["bodies"]):
        rule = body["cubature"]
        held = "" if rule["held_out"] is None else f", {rule['held_out']:.1e} held out"
        listed = [
            ("modes", str(body["modes"])),
            ("cubature", f"{count(rule['points'], 'point')}: {rule['training']:.1e} of {rule['asked']:.1e} asked{held}"),
            ("points", f"{body['points']} with those of the dual fields"),
        ]
        listed += [
            (name, f"{count(of['modes'], 'mode')}, errors grow at most {of['amplification']:.1f} times")
            for name, of in body["duals"].items()
        ]
        if body["correlation"] is not None:
            listed.append(("indicator", f"of {body['indicator']}, correlation with the true error {body['correlation']:.3f}"))
        if body["unseen"] is not None:
            listed.append(("held out", _unseen_words(body["unseen"])))
        lines += [f"body {number}", *rows(listed)] if len(told["bodies"]) > 1 else rows(listed)
    return [*lines, *told["notes"]]


def _unseen_words(found: Mapping[str, Any]) -> str:
    """Errors on simulations that no part of the body has seen."""
    errors = ", ".join(
        f"{name} {of['median']:.1e} (at most {of['largest']:.1e})" for name, of in found["errors"].items() if of is not None
    )
    failed = f"; {count(len(found['failures']), 'march')} failed" if found["failures"] else ""
    return f"errors of {errors or 'none'} on {count(len(found['simulations']), 'simulation')}{failed}"
