"""Hooke's law with thermal strain: ``sigma = C (eps - alpha (T - T_0) 1)``, isotropic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.properties import Property, common_range, require, value_at
from nwidth_graphs.kernels.materials.protocol import Response, State
from nwidth_graphs.kernels.materials.tensors import IDENTITY, stiffness


@dataclass(frozen=True)
class LinearElastic:
    """Isotropic linear elasticity; parameters may be curves over temperature.

    Raises ValueError for a Young's modulus that is not positive, or a Poisson's ratio outside of (-1, 1/2).
    """

    young: Property
    """E, in stress."""
    poisson: Property
    """nu."""
    expansion: Property = 0.0
    """alpha, in 1 / temperature: the secant coefficient from `reference_temperature`."""
    reference_temperature: float = 0.0
    """T_0, where the thermal strain is zero."""

    def __post_init__(self) -> None:
        require("Young's modulus", self.young, above=0.0)
        require("Poisson's ratio", self.poisson, above=-1.0, below=0.5)
        require("the coefficient of expansion", self.expansion)
        require("the reference temperature", self.reference_temperature)

    @property
    def size(self) -> int:
        return 6

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {}

    @property
    def temperature_range(self) -> tuple[float, float]:
        return common_range(self)

    def initial_state(self, strain: Floats, temperature: Floats) -> State:
        """There is none."""
        return {}

    def __call__(self, strain: Floats, state: State, temperature: Floats, dt: float | Floats) -> Response:
        """Stress of the mechanical strain; time plays no part."""
        mechanical = self.mechanical_strain(strain, temperature)
        tangent = stiffness(*self.moduli(temperature))
        # One stiffness for all points where the moduli are numbers: a product with a matrix, not one per point.
        stress = mechanical @ tangent if tangent.ndim == 2 else np.einsum("...ij,...j->...i", tangent, mechanical)
        return Response(stress, np.broadcast_to(tangent, (*strain.shape, 6)), {})

    def moduli(self, temperature: Floats) -> tuple[Floats, Floats]:
        """Shear and bulk modulus, (..., Q) or ()."""
        young, poisson = value_at(self.young, temperature), value_at(self.poisson, temperature)
        return np.asarray(young / (2 * (1 + poisson))), np.asarray(young / (3 * (1 - 2 * poisson)))

    def mechanical_strain(self, strain: Floats, temperature: Floats) -> Floats:
        """``eps - alpha (T - T_0) 1``; NaN where the temperature is outside of the range of any curve."""
        thermal = value_at(self.expansion, temperature) * (temperature - self.reference_temperature)
        return np.asarray(strain - thermal[..., None] * IDENTITY)
