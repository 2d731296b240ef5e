"""``nwidth produce``: a solver over a design of experiments, into the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nwidth.cli.output import count, emit_json, rows, say
from nwidth.cli.progress import reporting

if TYPE_CHECKING:
    from nwidth.fullorder.protocol import Outcome

LISTED = 20
"""Points that are named one by one; a design may have thousands."""


def produce(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run; a drawn design is written, no solver starts.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")] = False,
) -> None:
    """Run the study's solver at every point of its design that is missing, and store the results. Exit status 1 if one failed."""
    from nwidth.config import load_study
    from nwidth.runs.producing import produce as run_production

    loaded = load_study(study)
    if dry_run:
        _say_plan(loaded, json=json)
        return
    with reporting(quiet=json) as report:
        done = run_production(loaded, progress=report, on_failure=None if json else _say_failure)
    if json:
        emit_json(done.as_dict())
    else:
        say(
            f"{done.store}: {count(len(done.added), 'run')} added, {done.there} there already, {len(done.failed)} failed "
            f"in {done.seconds:.1f} s"
        )
        if done.failed:
            say(f"the folders of the failed points are in {done.folder}; produce again to try them again")
    if done.failed:
        raise typer.Exit(1)


def _say_failure(outcome: Outcome) -> None:
    sys.stderr.write(f"{outcome.point} failed: {outcome.words}\n")


def _say_plan(study: Any, *, json: bool) -> None:
    from nwidth.stages.production import settle

    production = settle(study)
    done = production.standing(production.stored())
    missing = [point.name for point in production.points if point.name not in done]
    plan = {
        "solver": production.solver.name,
        "command": list(production.solver.command()),
        "design": str(production.design_file),
        "folder": str(production.folder.path),
        "store": study.store_url,
        "points": len(production.points),
        "missing": missing,
    }
    if json:
        emit_json(plan)
        return
    named = ", ".join(missing[:LISTED]) + (f" and {len(missing) - LISTED} more" if len(missing) > LISTED else "")
    say(
        f"{count(len(production.points), 'point')}, {len(missing)} to run",
        *rows(
            [
                ("command", " ".join(plan["command"])),
                ("design", plan["design"]),
                ("folder", plan["folder"]),
                ("store", plan["store"]),
                *([("to run", named)] if missing else []),
            ]
        ),
    )
