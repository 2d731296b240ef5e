"""Internal variables of all integration points, where a reduced march keeps those of its own: the law, along the strain path.

    eps_k(t_j) = E_k q_j        j = 0, 1, ..., l-1        at every point k, block by block
    (sigma, a)_k(t_j)  =  law(eps_k(t_j), a_k(t_{j-1}), T_k(t_j), dt)

No equilibrium is solved, so a step costs one call of the law at all points, less than one iteration of a full-order step. What
comes out belongs together (stress, back-stress and plastic strain of one strain path), and needs no basis of any of them. At the
reduced points it is what the march has there, but where the march had to cut a step in two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.mechanics.case import Case, temperatures
from nwidth.mechanics.integrands import Strains
from nwidth_graphs.kernels.materials import Law
from nwidth_graphs.kernels.strains import values_at

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

BLOCK_POINTS = 2**15
"""Points that the law is run at together: their strain operators for 20 modes take 30 MB."""


@dataclass(frozen=True)
class PointStates:
    """All Q integration points at one time."""

    step: int
    """Number of the time."""
    internal: Mapping[str, Floats]
    """Internal variables, each (Q, ...)."""
    flux: Floats
    """(Q, 6)."""

    def at(self, points: Indices) -> dict[str, Floats]:
        """Internal variables at some points, as states of one draw (1, n, ...)."""
        return {name: values[points][None] for name, values in self.internal.items()}


@dataclass(frozen=True)
class Material:
    """What the law is run with."""

    law: Law
    case: Case
    inputs: Mapping[str, Floats]
    """(1,) by name."""
    points: int
    """Q."""

    def along(self, strains: Strains, path: Floats, start: PointStates | None = None) -> PointStates:
        """Where the law is at the end of a path of coordinates.

        Parameters
        ----------
        path : (j, N) coordinates at the times after `start`, in the modes of `strains`
        start : optional
            By default the material at rest, at the first time.
        """
        first = 0 if start is None else start.step
        internal = {name: np.zeros((self.points, *shape)) for name, shape in self.law.state_shapes.items()}
        flux = np.zeros((self.points, self.law.size))
        for begin in range(0, self.points, BLOCK_POINTS):
            part = slice(begin, min(begin + BLOCK_POINTS, self.points))
            old = None if start is None else ({name: values[part] for name, values in start.internal.items()}, start.flux[part])
            state, flux[part] = self._block(strains, part, path, first, old)
            for name, values in state.items():
                internal[name][part] = values
        return PointStates(first + len(path), internal, flux)

    def _block(
        self, strains: Strains, part: slice, path: Floats, first: int, old: tuple[Mapping[str, Floats], Floats] | None
    ) -> tuple[Mapping[str, Floats], Floats]:
        local = strains.points(part)
        operator = strains(local)[:, :, : path.shape[1]]
        temperature = values_at(local.groups, temperatures(self.case, self.inputs, local.coordinates)[0].T)
        rest = np.zeros((len(operator), self.law.size))
        state, flux = (self.law.initial_state(rest, temperature[:, 0]), rest) if old is None else old
        for step, q in enumerate(path, start=first + 1):
            dt = float(self.case.times[step] - self.case.times[step - 1])
            flux, _, state = self.law(operator @ q, state, temperature[:, step], dt)
        return state, flux
