"""``nwidth dashboard``: runs as they go, and what they have found, in a browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nwidth.cli.output import emit_json, say


def dashboard(
    folder: Annotated[Path, typer.Argument(help="Folder of a study's results, or one that holds several.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 5010,
    address: Annotated[
        str, typer.Option(help="Address to listen at; one that others can reach asks everybody for the token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(help="Token that a browser must show; made and printed where one is needed.", envvar="NWIDTH_TOKEN"),
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write the page to this file instead, and end.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")] = False,
) -> None:
    """Show runs and their results in a browser. Reads stores and ledgers, writes nothing."""
    from nwidth.dashboards.extra import need_panel

    need_panel()
    if export is not None:
        from nwidth.dashboards.exporting import export as write_page

        written = write_page(folder, export)
        emit_json({"page": str(written)}) if json else say(f"page  {written}")
        return
    from nwidth.dashboards.serving import serve

    def ready(url: str) -> None:
        if json:
            emit_json({"url": url})
        else:
            say(f"dashboard of {folder}: {url}", "Ctrl-C ends it")
        sys.stdout.flush()  # into a pipe, too: who starts this reads the address

    serve(folder, port=port, address=address, token=token, on_ready=ready)
