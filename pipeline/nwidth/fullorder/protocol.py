"""What a full-order plug-in is: it writes inputs, names a command, and says in words what became of it.

    class MySolver:
        name = "my-solver"
        reader = "pyvista"                                  # reads what `outputs` names; see nwidth.readers
        package = "my-solver from https://..."              # where the executable comes from, for the sentence that misses it
        parameters = frozenset({"speed"})                   # names of the design that the inputs use
        def key(self) -> str: ...                           # content of everything that is not a parameter
        def command(self) -> tuple[str, ...]: ...           # run in the point's folder; never through a shell
        def prepare(self, parameters, folder) -> None: ...  # write the inputs into the empty folder
        def check(self, folder) -> Verdict: ...             # what the solver's own files say; exit status 0 is not enough
        def outputs(self, folder) -> tuple[Path, ...]: ...  # the run, as `nwidth ingest` takes it

A plug-in is a class in the entry-point group ``nwidth.solvers``; it is called with the template, the files beside it, the
executable and the study's options, ``MySolver(template, files, executable=..., **options)``. Its instances travel to workers,
so that they hold plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

Parameters = Mapping[str, float | str]
"""Name -> value of one design point."""

STDOUT, STDERR = "stdout.txt", "stderr.txt"
"""Files of an attempt's folder that hold what the solver printed; `Solver.check` may read them."""


@dataclass(frozen=True)
class Verdict:
    """What a solver's own output says of an attempt."""

    good: bool
    words: str = ""
    """Why it is not good."""
    again: bool = True
    """Whether another attempt with the same inputs may do better: a licence may come free, a bad card stays bad."""


@runtime_checkable
class Solver(Protocol):
    """The whole interface of a full-order plug-in."""

    @property
    def name(self) -> str:
        """What a study knows it by."""
        ...

    @property
    def reader(self) -> str:
        """Name of the reader of its outputs."""
        ...

    @property
    def package(self) -> str:
        """What to install where its executable is missing."""
        ...

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the parameters that its inputs use."""
        ...

    def key(self) -> str:
        """Content key of all inputs but the parameters: templates, files, options."""
        ...

    def command(self) -> tuple[str, ...]:
        """Executable and arguments, run in the folder of an attempt without a shell."""
        ...

    def prepare(self, parameters: Parameters, folder: Path) -> None:
        """Write the inputs into `folder`, which is empty; raises `nwidth.errors.ConfigError` where they do not fit."""
        ...

    def check(self, folder: Path) -> Verdict:
        """Say whether the attempt in `folder`, whose command ended with status 0, did what it should."""
        ...

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """The run that a good attempt left: what the reader opens first, then further files of it."""
        ...


@dataclass(frozen=True)
class Limits:
    """What one attempt may take."""

    seconds: float
    attempts: int = 1
    disk_bytes: int = 2 << 30
    memory_bytes: int = 0
    """Address space; 0: no limit."""
    threads: int = 1
    """``OMP_NUM_THREADS`` of the solver."""


@dataclass(frozen=True)
class Point:
    """One row of a design."""

    name: str
    """Of its folder, and of the simulation in the store."""
    parameters: Parameters


@dataclass(frozen=True)
class Outcome:
    """What became of one point."""

    point: str
    status: str
    """``done``, ``failed``, ``stopped`` (nobody waits for it any more) or ``hopeless`` (the other points would fail the same)."""
    words: str = ""
    attempts: int = 0
    seconds: float = 0.0
    """Of the last attempt."""
    folder: str = ""
    """Of the last attempt, relative to the point's."""
    host: str = ""
