"""What a constitutive law is: the one door between the reduced Newton method and any physics.

    law(strain (..., Q, s), state, temperature (..., Q), dt)  ->  flux (..., Q, s), tangent (..., Q, s, s), new state

Q are integration points, leading dimensions are draws that advance together, s is the size of the generalised strain: 6 in solid
mechanics (strain -> stress), 4 in heat conduction ((grad T, T) -> (heat flux, heat stored per time)). A law is a pure function:
it changes none of its arguments, points do not know of each other, and the state that it returns is the only memory.

A law never raises for values: where a strain is not finite, or the temperature lies outside of `temperature_range`, flux and
tangent are NaN at these points, and whoever called it drops that draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from nwidth_graphs.kernels.elements import Floats

State = Mapping[str, Floats]
"""Internal variables by name, each (..., Q, *shape)."""


class Response(NamedTuple):
    """What a law answers."""

    flux: Floats
    """(..., Q, s): stress, or what is work-conjugate to the generalised strain."""
    tangent: Floats
    """(..., Q, s, s): exact derivative of `flux`, as it was computed over the step, with respect to the strain."""
    state: State


@runtime_checkable
class Law(Protocol):
    """A constitutive law with its parameters."""

    @property
    def size(self) -> int:
        """s."""
        ...

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Internal variables: name -> shape at one point, ``()`` for a scalar; what a model has to keep."""
        ...

    @property
    def temperature_range(self) -> tuple[float, float]:
        """Where its parameters are known; infinite where none depends on temperature."""
        ...

    def initial_state(self, strain: Floats, temperature: Floats) -> State:
        """The state before the first step, for a strain (..., Q, s) and a temperature (..., Q)."""
        ...

    def __call__(self, strain: Floats, state: State, temperature: Floats, dt: float | Floats) -> Response:
        """One step of length `dt` (one number, or an array that broadcasts against (..., Q)); see the module's docstring."""
        ...


def zero_state(shapes: Mapping[str, tuple[int, ...]], points: tuple[int, ...]) -> dict[str, Floats]:
    """All internal variables zero: the virgin material. `points` is (..., Q)."""
    return {name: np.zeros((*points, *shape)) for name, shape in shapes.items()}
