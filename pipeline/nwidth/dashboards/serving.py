"""The server of ``nwidth dashboard``: Panel on the loopback interface, every script from this host, nothing written.

folder ──> Scanner, Painter (shared) ──> a Dashboard for every session ──> Bokeh server behind the gate
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh.settings import settings
from panel.io.server import get_server

from nwidth.dashboards.gate import LOOPBACK, Gate, token_for
from nwidth.dashboards.libraries import pn
from nwidth.dashboards.painting import Painter
from nwidth.dashboards.view import Scanner, make_dashboard
from nwidth.errors import ConfigError, StoreError

TITLE = "nwidth"
LOGGERS = ("bokeh", "tornado.access", "tornado.application")


def make_server(folder: Path, *, port: int, address: str, token: str | None, loop: Any = None) -> tuple[Any, str]:
    """A server that does not run yet, and the address to open.

    `port` 0 takes a free one. Without a `token`, one is made where `address` is not on the loopback interface.

    Raises
    ------
    StoreError
        `folder` is not a folder.
    ConfigError
        The token is too short, or the address or port cannot be had.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder} is not a folder; give the folder that studies write their results to")
    secret = token_for(address, token)
    settings.resources.set_value("server")  # no script from elsewhere
    pn.config.template = None
    session = make_dashboard(folder, Scanner(folder), Painter())
    # The gate compares origins with the host that was asked for, whatever port a tunnel comes in by; Bokeh knows only fixed ones.
    _refuse_taken(address, port)
    server = get_server(
        {"/": session}, port=port, address=address, websocket_origin=["*"], title=TITLE, loop=loop,
        check_unused_sessions_milliseconds=5_000, unused_session_lifetime_milliseconds=10_000,
    )  # fmt: skip
    # Bokeh has no public place for a rule before its own; Panel reaches for the same attribute.
    server._tornado.wildcard_router.rules.insert(0, Gate(address, secret).rule())
    shown = "127.0.0.1" if address in LOOPBACK or address in ("0.0.0.0", "::", "") else address  # noqa: S104 - compared
    return server, f"http://{shown}:{server.port}/" + (f"?token={secret}" if secret is not None else "")


def _refuse_taken(address: str, port: int) -> None:
    """Try the address and port, and give them back: a server that cannot have them leaves its sockets open."""
    try:
        places = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with socket.socket(places[0][0], socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(places[0][4])
    except OSError as error:
        taken = "the port is taken" if error.errno == errno.EADDRINUSE else (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot listen at {address}:{port}: {taken}; give another --port or --address") from None


def serve(folder: Path, *, port: int, address: str, token: str | None, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `on_ready` is told the address to open.

    Raises
    ------
    StoreError, ConfigError
        As of `make_server`.
    """
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    server, url = make_server(folder, port=port, address=address, token=token)
    on_ready(url)
    server.start()
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
