"""What drives a structure: loads and temperature of a draw, in the form that a reduced model can take without seeing the mesh.

    external forces   f(mu, t) = sum_l theta_l(mu, t) F_l         F_l (nodes, 3) projected once:  g_l = Phi^T F_l
    temperature       T(mu, t) at nodes                           asked for only at the nodes of the cells with reduced points

So an online step costs the same on every mesh. A case is a plug-in: an object with these members, given to `nw.train_mechanics`,
named in a study as ``case = "module:object"``, or registered under the entry-point group ``nwidth.cases``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError

Floats = NDArray[np.float64]

GROUP = "nwidth.cases"


@runtime_checkable
class Case(Protocol):
    """Loads and temperature of a family of simulations. Must be picklable: it travels to the workers."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs mu."""
        ...

    @property
    def times(self) -> Floats:
        """(T,) ascending, the first of the initial state; those of the training simulations are among them."""
        ...

    def load_vectors(self, nodes: Floats) -> Mapping[str, Floats]:
        """Nodal forces F_l (nodes, components) by name, for the whole mesh with coordinates (nodes, 3)."""
        ...

    def load_factors(self, inputs: Mapping[str, Floats]) -> Mapping[str, Floats]:
        """theta_l (D, T) by name, of D draws."""
        ...

    def temperature(self, inputs: Mapping[str, Floats], nodes: Floats) -> Floats:
        """(D, T, u) at some nodes with coordinates (u, 3), of D draws."""
        ...


def case_named(name: str) -> Case:
    """The case of that name: an entry point, or an importable ``module:object`` (a class is made without arguments).

    Raises
    ------
    ConfigError
        There is none, or it is not a case; the members that it lacks are named.
    """
    registered = {point.name: point for point in entry_points(group=GROUP)}
    try:
        found = registered[name].load() if name in registered else _imported(name)
    except (ImportError, AttributeError) as error:
        known = f" known: {', '.join(sorted(registered))};" if registered else ""
        raise ConfigError(
            f"the case {name!r} cannot be loaded ({error});{known} give module:object of an installed module"
        ) from None
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Case):
        members = ("inputs", "times", "load_vectors", "load_factors", "temperature")
        lacking = [member for member in members if not hasattr(made, member)]
        raise ConfigError(f"{name!r} is not a case: it has no {', '.join(lacking)}; see how to describe a load case")
    return made


def _imported(name: str) -> object:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ImportError("no entry point of that name, and it is not of the form module:object")
    return getattr(import_module(module), attribute)


def load_series(case: Case, inputs: Mapping[str, Floats], names: tuple[str, ...]) -> Floats:
    """theta (D, T, L) of D draws, in the order of `names`.

    Raises
    ------
    InputError
        The case gives other loads than were projected, or another shape.
    """
    factors = case.load_factors(inputs)
    if set(factors) != set(names):
        raise InputError(
            f"the case gives factors of the loads {', '.join(factors)}, and the model was trained with {', '.join(names)}"
        )
    draws = len(next(iter(inputs.values())))
    expected = (draws, len(case.times))
    series = [np.asarray(factors[name], np.float64) for name in names]
    for name, values in zip(names, series, strict=True):
        _check(f"the factors of load {name!r}", values, expected)
    return np.stack(series, axis=2) if series else np.zeros((*expected, 0))


def temperatures(case: Case, inputs: Mapping[str, Floats], nodes: Floats) -> Floats:
    """Temperature (D, T, u) of D draws, checked.

    Raises
    ------
    InputError
        The case gives another shape.
    """
    draws = len(next(iter(inputs.values())))
    values = np.asarray(case.temperature(inputs, nodes), np.float64)
    _check("the temperature", values, (draws, len(case.times), len(nodes)))
    return values


def _check(what: str, values: Floats, expected: tuple[int, ...]) -> None:
    # Values that are not finite end the draws that have them, and no others.
    if values.shape != expected:
        raise InputError(f"{what} of the case has the shape {values.shape}, expected {expected}; mend the case")
