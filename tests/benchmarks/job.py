"""What a child process is told, and what a method answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tests.benchmarks.data import Matrix

MIB = 2**20


@dataclass(frozen=True)
class Job:
    """One method on one matrix."""

    method: str
    matrix: Matrix
    rank: int
    source: str
    """A snapshot store, or an ``.npy`` file of shape (snapshots, unknowns)."""
    scratch: str
    """A folder of its own: modes, spill, models."""
    workers: int = 2
    memory: int = 512 * MIB
    """Bytes of each worker, where there are workers."""
    repeats: int = 1


@dataclass(frozen=True)
class Answer:
    """Leading singular values, modes (k, unknowns), and what only the method itself can know."""

    singular_values: NDArray[Any]
    modes: Any
    """Anything that gives one mode for an integer: an array in memory, or a stored one.
    None where only singular values were asked for."""
    spilled_bytes: int | None = None
    """None where there is no cluster that could spill."""
    counted_bytes: int | None = None
    """Bytes that our own tally says were fetched from the store."""
    note: str = ""


Work = Callable[[], Answer]
Method = Callable[[Job], AbstractContextManager[Work]]
"""Entering prepares without being timed (imports, a cluster, the layout that the method likes best); the work is timed."""


class AbsentError(ImportError):
    """A peer is not installed."""
