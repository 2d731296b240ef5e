"""A full-order plug-in, asked for one step and not believed: its order of points, its internal variables, its stress.

Source  the protocol is `nwidth.fullorder.small_strain.Stepper`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, NwidthError, RunError
from nwidth.fullorder.small_strain import FullState, Parameters, Stepper
from nwidth.stores.protocol import SnapshotStore
from nwidth_graphs.kernels.materials import Law

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

OFF = 0.1
"""Another integration of the same law over a step differs by some per cent; another order of points, or another law, by more."""


@dataclass(frozen=True)
class InStoreOrder:
    """A stepper that counts integration points cell by cell, as `SmallStrainSolver` does, seen in the order of a store."""

    stepper: Stepper
    order: Indices
    """(Q,): the store's number of each of the stepper's points."""

    def initial(self, parameters: Parameters) -> FullState:
        """The state at the first time."""
        return self._in_store(self.stepper.initial(parameters))

    def step(self, state: FullState, parameters: Parameters, dt: float) -> FullState:
        """The state `dt` later."""
        return self._in_store(self.stepper.step(_taken(state, self.order), parameters, dt))

    def _in_store(self, state: FullState) -> FullState:
        return _taken(state, np.argsort(self.order))


def in_store_order(stepper: Stepper, store: SnapshotStore) -> InStoreOrder:
    """A stepper whose points are those of the store, but cell by cell and in each cell by the number of the rule.

    Raises
    ------
    ConfigError
        The store has no integration points.
    """
    points = store.integration_points()
    if points is None:
        raise ConfigError(f"the store {store.schema().url} has no integration points; ingest the solver's own files with them")
    return InStoreOrder(stepper, np.lexsort((points.local, points.cell)).astype(np.int64))


def _taken(state: FullState, order: Indices) -> FullState:
    internal = {name: values[order] for name, values in state.internal.items()}
    return replace(state, flux=state.flux[order], internal=internal)


def check_stepper(stepper: Stepper, parameters: Parameters, law: Law, nodes: int, points: int) -> None:
    """See that a stepper speaks of the same mesh and material; one initial state is made for it.

    Raises
    ------
    ConfigError
        Numbers of nodes or points, or internal variables, are not those of the store and the law.
    """
    state = stepper.initial(parameters)
    found = {"displacement": state.displacement.shape[:1], "flux": state.flux.shape, **_shapes(state.internal)}
    shapes = {name: (points, *shape) for name, shape in law.state_shapes.items()}
    expected = {"displacement": (nodes,), "flux": (points, law.size), **shapes}
    if found != expected:
        raise ConfigError(
            f"the full-order model has {_words(found)}, and the reduced one needs {_words(expected)}; give it the mesh of the "
            "store and the law of the model"
        )


def _shapes(internal: Mapping[str, Floats]) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in internal.items()}


def _words(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items()))


def stepped(stepper: Stepper, state: FullState, parameters: Parameters, dt: float) -> FullState:
    """One step, whatever the plug-in raises.

    Raises
    ------
    RunError
        There is none, or it holds values that are not finite.
    """
    try:
        found = stepper.step(state, parameters, dt)
    except NwidthError:
        raise
    # A plug-in is somebody's own code: what it may raise where it finds no step is not known here.
    except (ArithmeticError, ValueError, RuntimeError, OSError) as error:
        raise RunError(f"{type(error).__name__}: {error}") from error
    if not all(np.isfinite(values).all() for values in (found.displacement, found.flux, *found.internal.values())):
        raise RunError(f"the full-order step to t = {state.time + dt:g} holds values that are not finite")
    return found


def check_flux(found: Floats, own: Floats) -> None:
    """Hold the stress of a full-order step against that of the body's law at the same displacement, (Q, 6) each.

    Raises
    ------
    RunError
        They differ by more than `OFF`.
    """
    off = float(np.linalg.norm(found - own) / max(float(np.linalg.norm(own)), np.finfo(np.float64).tiny))
    if off > OFF:
        raise RunError(
            f"the stress of the full-order step differs by {100 * off:.0f} % from that of the body's law at its displacement; "
            "give it the same law and temperature, and its points in the order of the store (see in_store_order)"
        )
