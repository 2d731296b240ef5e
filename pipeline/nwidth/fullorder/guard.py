"""A process that stands between us and a solver, and takes the solver along when it goes. Standard library only, run as a file.

    driver or worker ──pipe──> guard ──new session──> solver and its children

    the solver ends      its status is reported
    too long             the whole process group is killed
    too much on disk     the same
    the pipe closes      whoever started the guard is dead, even by SIGKILL: the group is killed, nothing is left running
    the session changes  the production was stopped, or taken up by another driver: the same

One JSON document comes in as the argument, one goes out on standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
LONGEST_POLL = 0.5
LOOK_SECONDS = 1.0
"""Between two looks at the disk and the session: both may be slow on a network file system."""


def guard(order: dict[str, Any]) -> dict[str, Any]:
    """Run ``order["command"]`` to its end, or to one of ours; ``{"ended": why, "status": exit status, "seconds": ...}``."""
    folder, started = Path(order["folder"]), time.monotonic()
    with open(folder / order["stdout"], "wb") as out, open(folder / order["stderr"], "wb") as err:
        try:
            # A new session is a process group of its own. The guard has one thread, so that code between fork and exec is safe.
            solver = subprocess.Popen(  # noqa: S603 - the command is the study's, and no shell sees it
                order["command"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **order["environment"]},
                start_new_session=True,
                preexec_fn=_limits(order),
            )
        except (FileNotFoundError, PermissionError) as error:
            return {"ended": "missing", "status": 0, "seconds": 0.0, "words": error.strerror}
        try:
            why = _wait(solver, order, folder, started)
        finally:
            _kill_group(solver)
    return {"ended": why, "status": solver.returncode, "seconds": time.monotonic() - started}


def _limits(order: dict[str, Any]) -> Callable[[], None]:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def set_limits() -> None:
        if libc is not None:  # the guard itself may be killed
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _lower(resource.RLIMIT_FSIZE, order["disk_bytes"])
        if order["memory_bytes"]:
            _lower(resource.RLIMIT_AS, order["memory_bytes"])

    return set_limits


def _lower(what: int, limit: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (limit, hard) if hard == resource.RLIM_INFINITY else (min(limit, hard), hard))


def _wait(solver: subprocess.Popen[bytes], order: dict[str, Any], folder: Path, started: float) -> str:
    pause, looked = 0.005, started
    while True:
        # The pipe is readable only when it is closed: nobody writes into it.
        if select.select([sys.stdin], [], [], pause)[0]:
            return "orphaned"
        if solver.poll() is not None:
            return "exited"
        now = time.monotonic()
        if now - started > order["seconds"]:
            return "hung"
        if now - looked > LOOK_SECONDS:
            looked = now
            if _size(folder) > order["disk_bytes"]:
                return "overflowed"
            if not _same_session(order):
                return "orphaned"
        pause = min(2 * pause, LONGEST_POLL)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:  # it was there a moment ago
            continue
    return total


def _same_session(order: dict[str, Any]) -> bool:
    try:
        found = Path(order["session_file"]).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    except OSError:  # a network file system that hiccups is no reason to kill a solver
        return True
    return bool(found == order["session"])


def _kill_group(solver: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the solver's group: children may outlive the process that was asked to end."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
        os.killpg(solver.pid, signal.SIGKILL)
    solver.wait()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(guard(json.loads(sys.argv[1]))))
