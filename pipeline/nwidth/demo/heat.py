"""Transient heat conduction in a plane by bilinear finite elements (scikit-fem) and the Crank-Nicolson rule.

    c dT/dt = div(k grad T) - a T + q(x, t),     no flux through the outline

T (K) is the rise above the surroundings, c the heat capacity per volume, k the conductivity, a the loss through the two faces,
q the heat that is put in. One time step of size dt, with ``A = k K + a M``, stiffness K and consistent mass M, is

    (c/dt M + A/2) T_new = (c/dt M - A/2) T_old + M (q_old + q_new)/2

The matrix does not change with time: it is factorized once per run. Errors are of second order in the cell size and in dt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nwidth.demo.plate import Floats, Quads


@dataclass(frozen=True)
class HeatOperators:
    """Sparse ``(n, n)`` matrices of the mesh, of unit coefficients."""

    mass: Any
    stiffness: Any


@dataclass(frozen=True)
class Medium:
    """Coefficients of the heat equation, in mm, s, W, J, K."""

    capacity: float  # J/(mm^3 K)
    conductivity: float  # W/(mm K)
    loss: float = 0.0  # W/(mm^3 K)


def heat_operators(points: Floats, quads: Quads) -> HeatOperators:
    """Assemble mass and stiffness for points ``(n, 2)`` and quadrilaterals ``(cells, 4)``; unknown i is the value at point i."""
    from skfem import Basis, ElementQuad1, MeshQuad
    from skfem.models.poisson import laplace, mass

    basis = Basis(MeshQuad(np.ascontiguousarray(points.T), np.ascontiguousarray(quads.T)), ElementQuad1())
    return HeatOperators(mass=mass.assemble(basis).tocsc(), stiffness=laplace.assemble(basis).tocsc())


def march(
    operators: HeatOperators, medium: Medium, source: Callable[[float], Floats], initial: Floats, dt: float
) -> Iterator[Floats]:
    """Yield the temperatures ``(n,)`` at ``dt, 2 dt, ...`` without end; ``source(t)`` gives q at the points, in W/mm^3."""
    from scipy.sparse.linalg import splu

    inertia = operators.mass * (medium.capacity / dt)
    conduction = (operators.stiffness * medium.conductivity + operators.mass * medium.loss) / 2
    # The matrix is symmetric positive definite: a symmetric ordering without pivoting has far less fill-in.
    implicit = (inertia + conduction).tocsc()
    factor = splu(implicit, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    explicit = (inertia - conduction).tocsr()
    mass = operators.mass.tocsr()
    temperature, heat, step = initial, source(0.0), 0
    while True:
        step += 1
        next_heat = source(step * dt)
        temperature = factor.solve(explicit @ temperature + mass @ ((heat + next_heat) / 2))
        heat = next_heat
        yield temperature
