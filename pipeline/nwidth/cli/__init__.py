"""The command line: thin words around the functions of the package.

Errors are one sentence on stderr and exit status 1, or 75 where another run of the study is at work; a traceback only with
``--debug``. Wrong usage exits with 2. All statuses: `nwidth.cli.statuses`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nwidth.cli.statuses import BUSY, FAILED, INTERRUPTED
from nwidth.errors import BusyError, NwidthError

DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    from nwidth.cli.app import app

    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    try:
        status = app([word for word in given if word != DEBUG], standalone_mode=False)
    except NwidthError as error:
        if debug:
            raise
        return _fail(str(error), BUSY if isinstance(error, BusyError) else FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing that was published has changed", INTERRUPTED)
    except Exception as error:
        ended = _ended_by_typer(error)
        if ended is not None:
            return ended
        if debug:
            raise
        return _fail(f"{type(error).__name__}: {error} (a defect of nwidth, please report it; {DEBUG} shows where)")
    return int(status or 0)


def _ended_by_typer(error: Exception) -> int | None:
    """Exit status of an exception with which Typer ends a command, its words said; None for any other exception."""
    import typer

    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    # Wrong usage is a ClickException: of click itself, or of the copy that newer Typers carry. Both can show themselves.
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        return code
    return None


def _fail(message: str, status: int = FAILED) -> int:
    sys.stderr.write(f"nwidth: {message}\n")
    return status
