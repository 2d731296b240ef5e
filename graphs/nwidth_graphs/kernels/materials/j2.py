"""Rate-independent von Mises plasticity with isotropic (linear and Voce) and kinematic hardening; see `return_mapping`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.elastic import LinearElastic
from nwidth_graphs.kernels.materials.properties import require
from nwidth_graphs.kernels.materials.protocol import Response, State
from nwidth_graphs.kernels.materials.return_mapping import (
    IsotropicHardening,
    KinematicHardening,
    ReturnMapped,
    backward_euler,
    constants_at,
)


@dataclass(frozen=True)
class J2Plasticity(ReturnMapped):
    """``J(s - X) <= R(p)``: the stress returns to the yield surface.

    Raises ValueError for a yield stress that is not positive.
    """

    elastic: LinearElastic
    isotropic: IsotropicHardening
    kinematic: KinematicHardening = field(default_factory=KinematicHardening)

    def __post_init__(self) -> None:
        require("the yield stress", self.isotropic.yield_stress, above=0.0)

    def __call__(self, strain: Floats, state: State, temperature: Floats, dt: float | Floats) -> Response:
        """One backward Euler step; its length plays no part."""
        moduli = self.elastic.moduli(temperature)
        constants = constants_at(moduli, self.isotropic, self.kinematic, (0.0, 1.0), temperature)
        return backward_euler(self.elastic.mechanical_strain(strain, temperature), state, constants, 1.0)
