"""The ensemble's blade as a case: what its decks state of material, loads and temperature, and what its solver made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nwidth.stores import open_store
from nwidth_graphs.kernels.materials import Curve, IsotropicHardening, KinematicHardening, NortonKinematic, Response, State
from nwidth_graphs.kernels.materials.return_mapping import backward_euler, constants_at
from nwidth_graphs.kernels.strains import point_groups, rules_by_count
from tests.real_data.test_blade_strains import NICKEL

Floats = NDArray[np.float64]

# *DENSITY; the axis of *DLOAD CENTRIF is x through (0, 0, -300); *AMPLITUDE CYC.
DENSITY = 8.2e-9
AXIS_Z = -300.0
LAST = 60.0
# *AMPLITUDE TMP: to 50 K below the peak in ten seconds, to the peak at the end of the hold, and down to 450 K.
RAMP_END, BELOW_PEAK, COLD, LAST_TEMPERATURE = 10.0, 50.0, 293.0, 450.0


def deck_law() -> NortonKinematic:
    """``*PLASTIC,HARDENING=KINEMATIC`` to its second point, and ``*CREEP,LAW=NORTON`` of the stress above yield.

    The deck interpolates A and n of ``A sigma^n`` between two temperatures; the drag stress ``A^(-1/n)`` is no straight line
    between them, and its curve has a node every ten kelvin.
    """
    temperatures = np.linspace(293.0, 1173.0, 89)
    share = (temperatures - 293.0) / 880.0
    exponent, rate = 8.0 - 2.0 * share, 1e-26 + (1e-19 - 1e-26) * share
    return NortonKinematic(
        NICKEL,
        Curve(tuple(temperatures), tuple(rate ** (-1.0 / exponent))),
        Curve((293.0, 1173.0), (8.0, 6.0)),
        IsotropicHardening(Curve((293.0, 1173.0), (750.0, 420.0))),
        KinematicHardening(Curve((293.0, 1173.0), ((900.0 - 750.0) / 0.05, (500.0 - 420.0) / 0.05))),
    )


@dataclass(frozen=True)
class SolversLaw(NortonKinematic):
    """The deck's law as CalculiX 2.20 carries it out: its results follow a yield surface that moves against the flow.

    In the hold, where the rate fixes the stress above yield, what is printed is ``R - C p + K (dp/dt)^(1/m)``. No material does
    that, and `KinematicHardening` refuses a negative modulus: this is to reproduce a solver, not to be used.
    """

    def __call__(self, strain: Floats, state: State, temperature: Floats, dt: float | Floats) -> Response:
        moduli = self.elastic.moduli(temperature)
        constants = constants_at(moduli, self.isotropic, self.kinematic, (self.drag, self.exponent), temperature)
        reversed_ = replace(constants, modulus=-constants.modulus)
        return backward_euler(self.elastic.mechanical_strain(strain, temperature), state, reversed_, dt)


def solvers_law() -> SolversLaw:
    """The parameters of the deck, the sign of its solver."""
    law = deck_law()
    return SolversLaw(law.elastic, law.drag, law.exponent, law.isotropic, law.kinematic)


def temperature_of(peak: float, hold_end: float, times: Floats) -> Floats:
    """Temperature of the whole blade (T,)."""
    return np.interp(times, [0.0, RAMP_END, hold_end, LAST], [COLD, peak - BELOW_PEAK, peak, LAST_TEMPERATURE])


@dataclass(frozen=True)
class BladeCase:
    """Centrifugal force by the square of the angular velocity, and a temperature that is the same everywhere."""

    store: Path
    step: float = 1.0
    """Seconds; output is every five."""
    inputs: tuple[str, ...] = ("omega_squared", "peak_temperature", "hold_end")

    @property
    def times(self) -> Floats:
        return np.linspace(0.0, LAST, round(LAST / self.step) + 1)

    def load_vectors(self, nodes: Floats) -> dict[str, Floats]:
        """Of a unit square of the angular velocity, by the integration points of the solver."""
        store = open_store(str(self.store))
        mesh, points = store.mesh(), store.integration_points()
        assert mesh is not None
        assert points is not None
        force = np.zeros((len(nodes), 3))
        for group in point_groups(mesh, points.cell, points.local, rules_by_count(mesh.cell_types, points.cell)):
            arm = np.einsum("ka,kai->ki", group.shape, nodes[group.nodes]) - [0.0, 0.0, AXIS_Z]
            arm[:, 0] = 0.0
            np.add.at(force, group.nodes, DENSITY * (group.weights[:, None] * group.shape)[:, :, None] * arm[:, None, :])
        return {"centrifugal": force}

    def load_factors(self, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        cycles = [np.interp(self.times, [0.0, RAMP_END, end, LAST], [0.0, 1.0, 1.0, 0.1]) for end in inputs["hold_end"]]
        return {"centrifugal": np.asarray(inputs["omega_squared"])[:, None] * np.array(cycles)}

    def temperature(self, inputs: Mapping[str, Floats], nodes: Floats) -> Floats:
        draws = zip(inputs["peak_temperature"], inputs["hold_end"], strict=True)
        found = np.array([temperature_of(peak, end, self.times) for peak, end in draws])
        return np.broadcast_to(found[:, :, None], (*found.shape, len(nodes)))
