"""Heat conduction through the door of constitutive laws: ``c(T) dT/dt - div(k(T) grad T) = r``, backward Euler.

The generalised strain of a point is ``(grad T, T)``, four components (`strains.conduction_operator`); its flux is what the
test function's ``(grad v, v)`` is multiplied by:

    flux = (k(T) grad T,  c(T) (T - T_old) / dt)
    tangent = [[ k 1,  k' grad T ],  [ 0,  c / dt + c' (T - T_old) / dt ]]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.properties import Property, common_range, require, slope_at, value_at
from nwidth_graphs.kernels.materials.protocol import Response, State


@dataclass(frozen=True)
class HeatConduction:
    """Fourier's law with heat capacity; both may be curves over the temperature that is solved for.

    Raises ValueError for a conductivity that is not positive, or a negative capacity.
    """

    conductivity: Property
    """k, in power / (length temperature)."""
    capacity: Property = 0.0
    """c = rho c_p, in energy / (volume temperature); zero is the steady state."""

    def __post_init__(self) -> None:
        require("the conductivity", self.conductivity, above=0.0)
        require("the heat capacity", self.capacity, above=0.0, equal=True)

    @property
    def size(self) -> int:
        return 4

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {"temperature": ()}

    @property
    def temperature_range(self) -> tuple[float, float]:
        """Unbounded: the temperature is what is solved for, so that leaving a curve's range gives NaN in the answer instead."""
        return -np.inf, np.inf

    @property
    def known_range(self) -> tuple[float, float]:
        """The temperatures at which both curves are known."""
        return common_range(self)

    def initial_state(self, strain: Floats, temperature: Floats) -> State:
        """The temperature that the initial coordinates say."""
        return {"temperature": np.array(strain[..., 3], np.float64)}

    def __call__(self, strain: Floats, state: State, temperature: Floats, dt: float | Floats) -> Response:
        """Heat flux and heat stored per time; the prescribed `temperature` plays no part."""
        gradient, T = strain[..., :3], strain[..., 3]
        k, c = value_at(self.conductivity, T), value_at(self.capacity, T)
        rate = (T - state["temperature"]) / np.asarray(dt, np.float64)
        flux = np.concatenate([k[..., None] * gradient, (c * rate)[..., None]], axis=-1)
        tangent = np.zeros((*T.shape, 4, 4))
        for axis in range(3):
            tangent[..., axis, axis] = k
        tangent[..., :3, 3] = slope_at(self.conductivity, T)[..., None] * gradient
        tangent[..., 3, 3] = c / np.asarray(dt, np.float64) + slope_at(self.capacity, T) * rate
        return Response(flux, tangent, {"temperature": np.array(T)})
