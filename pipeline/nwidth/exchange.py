"""Swapping two folders in one step, where the system can: a model is then replaced without a moment in which there is none."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(first: Path, second: Path) -> bool:
    """Swap `first` and `second` atomically; False, with both as they were, where the system or the file system cannot.

    Python has no call for it. Linux has ``renameat2`` (kernel 3.15, glibc 2.28), but not on every network file system.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
