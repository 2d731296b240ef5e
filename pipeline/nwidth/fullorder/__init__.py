"""Full-order solvers: what makes the snapshots. Plug-ins of the entry-point group ``nwidth.solvers``, one file each.

    protocol     what a plug-in is            templates   inputs with named places
    design       rows of parameters           attempts    one point: prepare, run, check, again
    guard        the process around a solver  folder      what there is of a production
    harvest      finished points, in order    calculix, command    the plug-ins of this package

The stage that joins them is `nwidth.stages.production`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nwidth.errors import ConfigError
from nwidth.fullorder.protocol import Limits, Outcome, Point, Solver, Verdict

__all__ = ["Limits", "Outcome", "Point", "Solver", "Verdict", "list_solvers", "make_solver"]

GROUP = "nwidth.solvers"
BUILT_IN = {"calculix": "nwidth.fullorder.calculix:CalculixSolver", "command": "nwidth.fullorder.command:command_solver"}
_OURS = ("template", "files", "executable", "text")


def list_solvers() -> dict[str, str]:
    """Name -> ``module:attribute`` of all solvers; a plug-in of another package goes before ours of the same name."""
    return {**BUILT_IN, **{point.name: point.value for point in entry_points(group=GROUP)}}


def make_solver(
    name: str, template: Path, files: Sequence[Path] = (), executable: str = "", options: Mapping[str, Any] | None = None
) -> Solver:
    """The solver called `name`, on a template and the files beside it.

    Raises
    ------
    nwidth.errors.ConfigError
        No solver has this name, it cannot be loaded, it has no such option, or the template does not suit it.
    """
    known = list_solvers()
    if name not in known:
        raise ConfigError(f"no solver is called {name!r}; the solvers are {', '.join(known)}")
    make = _load(name, known[name])
    takes = set(inspect.signature(make).parameters) - set(_OURS)
    for option in options or {}:
        if option not in takes:
            listed = f"it takes {', '.join(sorted(takes))}" if takes else "it takes none"
            raise ConfigError(f"the solver {name} has no option {option!r}; {listed}")
    solver = make(template, tuple(files), executable=executable, **(options or {}))
    if not isinstance(solver, Solver):
        raise ConfigError(f"the solver plug-in {name} ({known[name]}) lacks a part of `nwidth.fullorder.protocol.Solver`")
    return solver


def _load(name: str, target: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    try:
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the solver plug-in {name} ({target}) cannot be loaded ({error}); mend its package") from error
    return loaded
