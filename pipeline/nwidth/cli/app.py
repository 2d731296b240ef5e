"""The commands. Each reads its arguments, calls one function of the package, and prints the result; imports are made inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nwidth import __version__
from nwidth.cli.comparing import compare
from nwidth.cli.dashboard import dashboard
from nwidth.cli.drawing import mechanics_lines
from nwidth.cli.learning import learn, learned_lines
from nwidth.cli.logs import LogJson, logs_to_stderr, with_log
from nwidth.cli.output import amount, basis_lines, count, emit_json, measured_lines, plan_lines, say
from nwidth.cli.predicting import predict
from nwidth.cli.producing import produce
from nwidth.cli.progress import reporting
from nwidth.cli.statuses import NOTHING_TO_DO
from nwidth.cli.updating import add_commands

if TYPE_CHECKING:
    from nwidth.runs import RunResult

app = typer.Typer(
    name="nwidth",
    help="Certified model reduction of simulation snapshots larger than memory.",
    epilog="--debug, with any command, shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"nwidth {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(help="Result files, or folders that hold one run each.")],
    into: Annotated[str, typer.Option("--into", help="Path or URL of the snapshot store; it is made where it does not exist.")],
    kind: Annotated[str | None, typer.Option(help="icechunk (default) or zarr, for a new store.")] = None,
    reader: Annotated[str | None, typer.Option(help="Name of the reader; found by the file otherwise.")] = None,
    parameters: Annotated[Path | None, typer.Option(help="CSV with one row of parameters per run.")] = None,
    simulation: Annotated[str | None, typer.Option(help="Name of the run, for a single input.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="Field to store; repeat for several. All by default.")] = None,
    on_duplicate: Annotated[str, typer.Option(help="skip or refuse a run that is in the store already.")] = "skip",
    missing: Annotated[
        str, typer.Option(help="refuse or keep NaN that are not at the same places in every snapshot.")
    ] = "refuse",
    by_reference: Annotated[bool, typer.Option(help="Refer to NetCDF-4 or HDF5 files without copying them.")] = False,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE passed to the reader.")] = None,
    json: Json = False,
) -> None:
    """Append runs of solver output to a snapshot store."""
    from nwidth.cli.ingesting import ingest_command

    with reporting(quiet=json) as report:
        result = ingest_command(
            files,
            into,
            kind=kind,
            reader=reader,
            parameters=parameters,
            simulation=simulation,
            fields=field,
            on_duplicate=on_duplicate,
            missing=missing,
            by_reference=by_reference,
            options=option or [],
            report=report,
        )
    if json:
        emit_json(result)
        return
    speed = f" in {result['seconds']:.1f} s" if result.get("seconds") else ""
    say(f"{result['url']}: {count(len(result['added']), 'run')} added, {len(result['skipped'])} there already{speed}")
    say(f"  {count(result['snapshots'], 'snapshot')}, {amount(result['field_bytes'])} of fields")
    for name, words in result.get("layout", {}).items():
        say(f"  {name}: {words}")


@app.command()
def plan(study: StudyFile, json: Json = False) -> None:
    """Say what a study will cost: passes, bytes, work, tasks, memory. Reads no field."""
    from nwidth.config import load_study
    from nwidth.runs import plan as make_plan

    made = make_plan(load_study(study)).as_dict()
    if json:
        emit_json(made)
    else:
        say(*plan_lines(made))


@app.command()
def run(
    study: StudyFile,
    force: Annotated[bool, typer.Option(help="Run again, though nothing has changed.")] = False,
    update: Annotated[str | None, typer.Option(help="full, exact or fast, instead of reduce.update.")] = None,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit status 3, not 0, where there is nothing to do.")
    ] = False,
    log_json: LogJson = None,
    json: Json = False,
) -> None:
    """Reduce the snapshots, certify the bases, publish the model, write the report."""
    from nwidth.config import load_study
    from nwidth.runs import run as run_study
    from nwidth.updating import with_update

    loaded = with_log(with_update(load_study(study), update), log_json)
    with reporting(quiet=json or logs_to_stderr(loaded)) as report:
        told: dict[str, Any] = {} if json else {"on_plan": _say_plan, "on_resume": _say_resumed}
        result = run_study(loaded, force=force, progress=report, **told)
    if json:
        emit_json(result.as_dict())
    else:
        _say_run(result)
    if exit_status and result.status == "nothing to do":
        raise typer.Exit(NOTHING_TO_DO)


def _say_run(result: RunResult) -> None:
    if result.status == "nothing to do":
        say("nothing to do: this study was run on this version of the store; --force runs it again")
    if result.status in ("learnt", "trained"):
        say("the bases were there: this study was run on this version of the store; the model was taught by other settings")
    if result.words:
        say(result.words)
    for name, entry in result.bases.items():
        say("", *basis_lines(name, entry))
    say("", *measured_lines(result.plan, result.measured))
    if result.learned is not None:
        say("", *learned_lines(result.learned))
    if result.mechanics is not None:
        say("", *mechanics_lines(result.mechanics))
    if result.status == "done" and result.measured.get("blocks_unkept"):
        say(f"no room to keep the partials of {count(result.measured['blocks_unkept'], 'block')}: a kill would have cost them")
    say("", f"model   {result.model}")
    if result.report:
        say(f"report  {result.report}")


def _say_plan(made: Any) -> None:
    say(*plan_lines(made.as_dict()), "")


def _say_resumed(there: Mapping[str, tuple[int, int]]) -> None:
    say(*(f"resumes: {done} of {count(total, 'block')} of pass {name} are there" for name, (done, total) in there.items()), "")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run's results.")],
    modes: Annotated[int, typer.Option(help="Modes that are drawn.")] = 6,
    json: Json = False,
) -> None:
    """Write the HTML report of a run again."""
    from nwidth.report import write_report

    path = write_report(folder, n_modes=modes)
    if json:
        emit_json({"report": str(path)})
    else:
        say(f"report  {path}")


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="A store, a model, a run's folder, or a study file.")], json: Json = False
) -> None:
    """Say in words what something is that nwidth has written."""
    from nwidth.inspecting import describe_path, render

    description = describe_path(path)
    if json:
        emit_json(description)
    else:
        say(render(description).rstrip("\n"))


@app.command()
def doctor(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.toml]", help="A study, whose store, room and workers are tried, too.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Address of a scheduler whose workers are asked.")] = None,
    json: Json = False,
) -> None:
    """Check what a run needs: versions, rates, memory, disks, store, workers; say what to change."""
    from dataclasses import asdict

    from nwidth.config import load_study
    from nwidth.doctor import diagnose

    checks = diagnose(study=None if study is None else load_study(study), address=address)
    if json:
        emit_json([asdict(check) for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            say(f"  {check.status:<4}  {check.name:<{width}}  {check.found}")
            if check.advice:
                say(f"        {'':<{width}}  -> {check.advice}")
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Folder to work in.")] = Path("demo"), json: Json = False) -> None:
    """Solve a small parametrized problem, ingest it, plan, run, and say where the report lies."""
    from nwidth.demo.__main__ import run_demo

    result = run_demo(folder, quiet=json)
    if json:
        emit_json(result)


add_commands(app)
for _command in (compare, learn, predict, produce, dashboard):
    app.command()(_command)
