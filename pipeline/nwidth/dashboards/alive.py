"""Whether a run is at work in a folder, found out without disturbing it.

Taking the run's lock, if only for a moment, could refuse a run that begins in that moment. The kernel lists who holds which lock,
by device and inode; for a run on another host, whose locks are not listed here, what it writes has changed lately.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

LOCKS = Path("/proc/locks")
FRESH_SECONDS = 30.0
"""A run that has written nothing for so long, and holds no lock on this host, is taken for dead."""


def at_work(folder: Path, now: float | None = None) -> bool:
    """Whether the run of a folder is alive: its lock is held on this host, or its attempt has changed lately."""
    return lock_is_held(folder / ".lock") or (time.time() if now is None else now) - last_change(folder) < FRESH_SECONDS


def lock_is_held(file: Path, locks: Path = LOCKS) -> bool:
    """Whether somebody on this host holds the lock of a file, by the kernel's own list."""
    try:
        status = file.stat()
        listed = locks.read_text("ascii", errors="replace")
    except OSError:
        return False
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(" FLOCK " in f" {line} " and place in line.split() and "->" not in line for line in listed.splitlines())


def last_change(folder: Path) -> float:
    """Time of the last change of an attempt's folders (seconds since 1970); 0 where there is no attempt."""
    return max((_changed(path) for path in _folders(folder)), default=0.0)


def _folders(folder: Path) -> Iterator[Path]:
    """Folders of attempts in which files appear while a run is at work; not below: a pass may keep a hundred thousand files."""
    for attempt in folder.glob(".attempt-*"):
        yield from (attempt, attempt / "partials", attempt / "model.zarr", attempt / "model.zarr" / "bases")
        yield from attempt.glob("partials/*/")


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
