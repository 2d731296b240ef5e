"""Whether the words of a container's command are a command that exists, with options that it has: asked of the real programs."""

from __future__ import annotations

from typing import Any


def accepted(words: list[str]) -> str:
    """What is wrong with a command of ``nwidth`` or ``dask``; empty where nothing is. Nothing is run."""
    program, *rest = words
    groups: dict[str, Any] = {"nwidth": _nwidth, "dask": _dask}
    if program not in groups:
        return f"{program!r} is neither nwidth nor dask"
    group = groups[program]()
    try:
        command = group.commands.get(rest[0])
        if command is None:
            return f"{program} has no command {rest[0]!r}"
        context: Any = command.make_context(rest[0], rest[1:])
        # Dask hands options that it does not know to preloaded scripts; we have none.
        unknown = context.params.get("preload_argv") or ()
        context.close()
    except Exception as error:
        # Of click itself, or of the copy that newer Typers carry: both can say it.
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return f"unknown: {' '.join(unknown)}" if unknown else ""


def _nwidth() -> Any:
    import typer.main

    from nwidth.cli.app import app

    return typer.main.get_command(app)


def _dask() -> Any:
    import click
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    return click.Group(commands={"scheduler": scheduler, "worker": worker})
