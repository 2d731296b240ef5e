"""Norton flow with a threshold and nonlinear kinematic hardening: ``dp/dt = <(J(s - X) - R(p)) / K>^m``; see `return_mapping`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.elastic import LinearElastic
from nwidth_graphs.kernels.materials.properties import Property, require
from nwidth_graphs.kernels.materials.protocol import Response, State
from nwidth_graphs.kernels.materials.return_mapping import (
    IsotropicHardening,
    KinematicHardening,
    ReturnMapped,
    backward_euler,
    constants_at,
)


@dataclass(frozen=True)
class NortonKinematic(ReturnMapped):
    """Viscoplasticity of Norton type; with a threshold of zero, Norton's creep law.

    Raises ValueError for a drag stress that is not positive, or an exponent below 1.
    """

    elastic: LinearElastic
    drag: Property
    """K, in stress * time^(1/m)."""
    exponent: Property
    """m."""
    isotropic: IsotropicHardening = field(default_factory=lambda: IsotropicHardening(0.0))
    kinematic: KinematicHardening = field(default_factory=KinematicHardening)

    def __post_init__(self) -> None:
        require("the drag stress", self.drag, above=0.0)
        require("Norton's exponent", self.exponent, above=1.0, equal=True)

    def __call__(self, strain: Floats, state: State, temperature: Floats, dt: float | Floats) -> Response:
        """One backward Euler step of length `dt`."""
        moduli = self.elastic.moduli(temperature)
        constants = constants_at(moduli, self.isotropic, self.kinematic, (self.drag, self.exponent), temperature)
        return backward_euler(self.elastic.mechanical_strain(strain, temperature), state, constants, dt)
