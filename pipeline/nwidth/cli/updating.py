"""The commands that make models of models: merge, drop, watch. `nwidth run --update` is with `run`."""

from __future__ import annotations

import json as json_module
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nwidth.cli.logs import LogJson, logs_to_stderr, with_log
from nwidth.cli.output import basis_lines, count, emit_json, say
from nwidth.cli.progress import reporting
from nwidth.cli.statuses import BUSY, FAILED, NOTHING_TO_DO
from nwidth.errors import ConfigError

if TYPE_CHECKING:
    from nwidth.models.model import Model
    from nwidth.runs.watching import Event

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")]
Into = Annotated[Path, typer.Option("--into", help="Folder of the new model; nothing may be there.")]
Rtol = Annotated[float | None, typer.Option(help="Relative error of the truncation; that of the models by default.")]
Rank = Annotated[int | None, typer.Option(help="Largest number of modes.")]
Memory = Annotated[str, typer.Option(help="Memory that this process may use.")]


def add_commands(app: typer.Typer) -> None:
    """Register the commands of this file."""
    for command in (merge, drop, watch):
        app.command()(command)


def merge(
    first: Annotated[Path, typer.Argument(help="A model, or the folder of a run.")],
    second: Annotated[Path, typer.Argument(help="Another, of the same mesh, fields and inner product.")],
    into: Into,
    rtol: Rtol = None,
    rank: Rank = None,
    memory: Memory = "2 GiB",
    json: Json = False,
) -> None:
    """Merge two models of one mesh that differ in their snapshots. Reads no field."""
    from nwidth.updating import merge as merge_models

    with reporting(quiet=json) as report:
        model = merge_models(first, second, into=into, rtol=rtol, rank=rank, memory=memory, progress=report)
    _say_model(model, json=json)


def drop(
    model: Annotated[Path, typer.Argument(help="A model, or the folder of a run.")],
    into: Into,
    simulation: Annotated[list[str] | None, typer.Option(help="Simulation to drop; repeat for several.")] = None,
    snapshot: Annotated[list[int] | None, typer.Option(help="Number of a snapshot to drop, from 0; repeat for several.")] = None,
    rtol: Rtol = None,
    rank: Rank = None,
    memory: Memory = "2 GiB",
    json: Json = False,
) -> None:
    """Drop simulations or snapshots from a model. Reads no field."""
    from nwidth.updating import drop as drop_snapshots

    with reporting(quiet=json) as report:
        made = drop_snapshots(
            model,
            into=into,
            simulations=simulation or (),
            snapshots=snapshot or (),
            rtol=rtol,
            rank=rank,
            memory=memory,
            progress=report,
        )
    _say_model(made, json=json)


def _say_model(model: Model, *, json: bool) -> None:
    entries, provenance = model.manifest["bases"], model.manifest["provenance"]
    taught = _taught(provenance["parents"])
    if json:
        emit_json({"model": str(model.path), "bases": entries, "parents": provenance["parents"], "taught_parents": taught})
        return
    for name, entry in entries.items():
        say("", *basis_lines(name, entry))
        if "optimal_error" in entry:
            say(f"  best    {entry['optimal_error']:.3e} is the error of the best basis of this rank for these snapshots")
    say("", f"model   {model.path}")
    if taught:
        told = f"  what {' and '.join(taught)} had learnt is of other bases"
        say(f"{told}: this model does not predict until `nwidth learn` teaches it")


def _taught(parents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of the models that a model was made of which predict."""
    from nwidth.models.learned import has_learned

    return [str(parent["path"]) for parent in parents if parent.get("path") and has_learned(Path(parent["path"]))]


def watch(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    every: Annotated[str, typer.Option(help="Time between two looks at the store, as in 30s, 5min, 1h.")] = "30s",
    once: Annotated[bool, typer.Option("--once", help="Look once; exit status 3 where there is nothing to do.")] = False,
    log_json: LogJson = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document per event, each on a line.")] = False,
) -> None:
    """Run a study whenever its store has changed, until interrupted."""
    from nwidth.config import load_study
    from nwidth.runs.watching import note_stop
    from nwidth.runs.watching import watch as watch_store

    seconds, loaded = parse_seconds(every), with_log(load_study(study), log_json)
    try:
        with _stoppable(), reporting(quiet=json or logs_to_stderr(loaded)) as report:
            last = watch_store(
                loaded,
                every=seconds,
                once=once,
                on_event=lambda event: _say_event(event, json=json),
                progress=report,
                wait=_wait,
            )
    except KeyboardInterrupt:
        note_stop(loaded)
        _say_stopped(json=json)
        return
    status = {"failed": FAILED, "waiting": FAILED, "busy": BUSY, "nothing to do": NOTHING_TO_DO}.get(last.name)
    if status is not None:
        raise typer.Exit(status)


def parse_seconds(text: str) -> float:
    """``"30s"``, ``"5 min"``, ``"1h"`` or a number of seconds, as seconds.

    Raises
    ------
    ConfigError
        The text is no positive time.
    """
    from nwidth.config import parse_seconds as seconds_of

    try:
        return seconds_of(text)
    except ValueError as error:
        raise ConfigError(f"--every {error}") from None


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def _say_event(event: Event, *, json: bool) -> None:
    if json:
        _line(json_module.dumps(event.as_dict(), default=str))
        return
    bases = ", ".join(
        f"{name}: {count(entry['rank'], 'mode')}, error {entry['error']:.3e}{' at most' if entry['bound'] else ''}"
        for name, entry in event.details.get("bases", {}).items()
    )
    snapshots = count(event.details["snapshots"], "snapshot") if "snapshots" in event.details else ""
    told = "; ".join(part for part in (event.words, snapshots, bases) if part)
    _line(f"{event.name}{f' (version {event.version})' if event.version else ''}{f': {told}' if told else ''}")


def _say_stopped(*, json: bool) -> None:
    words = "stopped; what was published stays, a run that was at work left nothing half done"
    _line(json_module.dumps({"event": "stopped", "words": words}) if json else words)


def _line(text: str) -> None:
    say(text)
    sys.stdout.flush()  # somebody follows a pipe


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends the block as an interrupt from the keyboard does; a second one ends the process."""
    before: Any = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
