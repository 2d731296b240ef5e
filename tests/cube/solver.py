"""The high-fidelity solver of the cube: mechanical snapshots with known values, in plain NumPy and SciPy.

Quasi-static small strains on the unit cube, ``cells**3`` trilinear hexahedra with 2x2x2 Gauss points, backward Euler in time:

    heating, pressure and rotation  ->  Newton on  integral of sigma(eps(u)) : eps(v) = f(t) . v  ->  u, sigma, p, alpha

The material is a Norton-type viscoplastic flow, ``pdot = <(J(s - X) - R0) / 300>**30``, with nonlinear kinematic hardening
(Armstrong-Frederick) ``X = 2/3 C alpha``, ``alphadot = epsdot_p - D alpha pdot``; the thermal strain is ``2e-5 (T - 20) I``.
Units are mm, N, MPa, s and degrees Celsius.

Six-component arrays are in the order 11, 22, 33, 12, 23, 13; strains that enter a stiffness carry engineering shear, stresses and
the internal variables tensor shear. Degrees of freedom are node by node, ``3 * node + component``; integration points are
cell by cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nwidth.mesh import Mesh, mesh_from_cells
from tests.cube.grid import CubeGrid
from tests.cube.linear import LinearSolver, Name, free_dofs, linear_solver

Floats = NDArray[np.float64]

TIMES = np.linspace(0.0, 2.0, 11)
YOUNG, POISSON, EXPANSION = 2e5, 0.3, 2e-5
YIELD, DRAG, EXPONENT = 10.0, 300.0, 30.0
HARDENING, RECALL = 1e5, 1000.0  # C and D of the kinematic hardening
DENSITY = 1e-8
NEWTON_TOLERANCE, NEWTON_LIMIT = 1e-8, 50
INCREMENT_TOLERANCE, INCREMENT_LIMIT = 1e-10, 200  # of log dp; the next step of Newton's method would be rounding

SHEAR = YOUNG / (2 * (1 + POISSON))
BULK = YOUNG / (3 * (1 - 2 * POISSON))
IDENTITY = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
CONTRACTION = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
# Takes a strain with engineering shear to its deviator with tensor shear.
DEVIATOR = np.diag(1 / CONTRACTION) - np.outer(IDENTITY, IDENTITY) / 3
ELASTIC = BULK * np.outer(IDENTITY, IDENTITY) + 2 * SHEAR * DEVIATOR


@dataclass(frozen=True)
class CubeParameters:
    """What may vary from run to run; the defaults are the run whose values are tabulated.

    The temperature is ``20 + amplitude * exp(-width |x - centre|^2) * h(t)`` with the hat ``h`` that peaks at t = 1, `pressure`
    scales the load on the face x = 1, and `omega` (rad/s) is the rotation speed from t = 1 on.
    """

    amplitude: float = 380.0
    centre: tuple[float, float, float] = (0.5, 0.5, 0.5)
    width: float = 4.0
    pressure: float = 100.0
    omega: float = 1.5e4


@dataclass(frozen=True)
class CubeRecords:
    """Everything of one run: 11 states, ``n = 3 * nodes`` unknowns, ``Q = 8 * cells**3`` integration points."""

    times: Floats  # (11,) s
    u: Floats  # (11, n) mm
    sigma: Floats  # (11, Q, 6) MPa
    p: Floats  # (11, Q) accumulated plastic strain
    plastic_strain: Floats  # (11, Q, 6) tensor shear
    alpha: Floats  # (11, Q, 6) kinematic variable, tensor shear
    force: Floats  # (11, n) N, external
    temperature: Floats  # (11, nodes) degrees Celsius
    iterations: NDArray[np.int64]  # (11,) Newton iterations
    mesh: Mesh
    points: Floats  # (Q, 3) places of the integration points
    weights: Floats  # (Q,) quadrature weights, their sum is the volume
    mass: sp.csr_array  # (n, n) consistent, of unit density


@dataclass(frozen=True)
class Material:
    """Internal variables of all integration points at one time."""

    plastic_strain: Floats  # (Q, 6)
    alpha: Floats  # (Q, 6)
    p: Floats  # (Q,)

    @classmethod
    def virgin(cls, n_points: int) -> Material:
        return cls(np.zeros((n_points, 6)), np.zeros((n_points, 6)), np.zeros(n_points))


@cache
def cube_run(parameters: CubeParameters | None = None, cells: int = 6) -> CubeRecords:
    """One run, solved once per process (the tabulated one by default); its arrays are shared and cannot be written into."""
    run = solve_cube(CubeParameters() if parameters is None else parameters, cells)
    for array in (run.times, run.u, run.sigma, run.p, run.plastic_strain, run.alpha, run.force, run.temperature, run.iterations):
        array.flags.writeable = False
    return run


def reference_run() -> CubeRecords:
    """The tabulated run."""
    return cube_run()


def solve_cube(parameters: CubeParameters, cells: int = 6, linear: Name | None = None) -> CubeRecords:
    """Run the cube through its 10 time steps: half a second for the tabulated 6x6x6 mesh, a minute for 24x24x24.

    Parameters
    ----------
    parameters : of the run
    cells : per side
    linear : the solver of `tests.cube.linear`; the fastest by default

    Raises
    ------
    ArithmeticError
        Newton's method did not reach a relative residual of 1e-8 in 50 iterations.
    """
    grid, solve = CubeGrid(cells), linear_solver(cells, linear)
    temperature, force = drive(grid, parameters)
    n_points = 8 * len(grid.hexahedra)
    u, state, free = np.zeros(force.shape[1]), Material.virgin(n_points), free_dofs(grid.nodes)
    records = [(u, np.zeros((n_points, 6)), state, 0)]
    for step in range(1, len(TIMES)):
        thermal = EXPANSION * (grid.at_points(temperature[step]) - 20.0)
        u, sigma, state, count = _newton(grid, u, state, thermal, force[step], free, TIMES[step] - TIMES[step - 1], solve)
        records.append((u, sigma, state, count))
    return CubeRecords(
        times=TIMES.copy(),
        u=np.array([record[0] for record in records]),
        sigma=np.array([record[1] for record in records]),
        p=np.array([record[2].p for record in records]),
        plastic_strain=np.array([record[2].plastic_strain for record in records]),
        alpha=np.array([record[2].alpha for record in records]),
        force=force,
        temperature=temperature,
        iterations=np.array([record[3] for record in records]),
        mesh=mesh_from_cells(grid.nodes, [(12, grid.hexahedra)], length_unit="mm"),
        points=grid.at_points(grid.nodes),
        weights=np.full(n_points, grid.weight),
        mass=grid.mass(),
    )


def drive(grid: CubeGrid, parameters: CubeParameters) -> tuple[Floats, Floats]:
    """Nodal temperature (11, nodes) and external force (11, n) of a run, which need no solution."""
    temperature = np.array([_temperature(grid.nodes, parameters, t) for t in TIMES])
    return temperature, np.array([_external_force(grid, parameters, t) for t in TIMES])


def _newton(
    grid: CubeGrid,
    u: Floats,
    old: Material,
    thermal: Floats,
    force: Floats,
    free: NDArray[np.int64],
    dt: float,
    solve: LinearSolver,
) -> tuple[Floats, Floats, Material, int]:
    """Solve one time step; the last update is always followed by a stress evaluation, so all returned fields belong together."""
    for iteration in range(NEWTON_LIMIT + 1):
        sigma, tangent, new = constitutive_update(grid.strains(u) - thermal[:, None] * IDENTITY, old, dt)
        residual = (force - grid.forces(sigma))[free]
        if np.linalg.norm(residual) <= NEWTON_TOLERANCE * np.linalg.norm(force[free]):
            return u, sigma, new, iteration
        u = u.copy()
        u[free] += solve(tangent, residual)
    raise ArithmeticError(f"Newton's method stalled after {NEWTON_LIMIT} iterations; reduce the loads of this run")


def constitutive_update(strain: Floats, old: Material, dt: float) -> tuple[Floats, Floats, Material]:
    """Backward Euler step of the material: (mechanical strain (Q, 6), state) -> stress (Q, 6), tangent (Q, 6, 6), state.

    With ``h = 1 / (1 + D dp)`` and ``beta = s_trial - 2/3 C alpha h`` the whole step is the scalar equation
    ``J(beta) - dp (3 mu + C h) - R0 - 300 (dp / dt)**(1/30) = 0``; plastic flow goes along ``3 beta / (2 J(beta))``.
    """
    trial = 2 * SHEAR * (strain @ DEVIATOR - old.plastic_strain)
    pressure = BULK * strain[:, :3].sum(axis=1)
    tangent = np.broadcast_to(ELASTIC, (len(strain), 6, 6)).copy()
    flow, dp, h = np.zeros_like(trial), np.zeros(len(trial)), np.ones(len(trial))
    active = np.flatnonzero(_equivalent(trial - HARDENING / 1.5 * old.alpha) > YIELD)
    if active.size:
        dp[active] = _plastic_increment(trial[active], old.alpha[active], dt)
        h[active] = 1 / (1 + RECALL * dp[active])
        flow[active], tangent[active] = _flow_and_tangent(trial[active], old.alpha[active], dp[active], h[active], dt)
    increment = dp[:, None] * flow
    sigma = trial - 2 * SHEAR * increment + pressure[:, None] * IDENTITY
    return sigma, tangent, Material(old.plastic_strain + increment, (old.alpha + increment) * h[:, None], old.p + dp)


def _plastic_increment(trial: Floats, alpha: Floats, dt: float) -> Floats:
    """Newton's method in x = log dp, between bounds that hold for every state; the exponent 30 makes dp span hundreds of decades.

    Of the tensors it needs three products only: ``J(beta)^2 = tt - 2 h ta + h^2 aa`` with ``a = 2/3 C alpha`` and 3/2 of each
    double contraction. Below the yield stress the equation is negative whatever J is, so that 1 MPa is a harmless floor.
    """
    back = HARDENING / 1.5 * alpha
    tt, ta, aa = (1.5 * (left * right) @ CONTRACTION for left, right in ((trial, trial), (trial, back), (back, back)))
    excess = _equivalent(trial - back) - YIELD  # to the bit what the caller has found positive
    # Below: neither the linear nor the viscous part can use up half of the excess. Above: J(beta) <= J(trial) + J(X).
    low = np.minimum(
        np.log(excess / 2 / (3 * SHEAR + HARDENING + RECALL * np.sqrt(aa))), np.log(dt) + EXPONENT * np.log(excess / (2 * DRAG))
    )
    high = np.log((np.sqrt(tt) + np.sqrt(aa)) / (3 * SHEAR))
    x = high
    for _ in range(INCREMENT_LIMIT):
        dp, viscous = np.exp(x), DRAG * np.exp((x - np.log(dt)) / EXPONENT)
        h = 1 / (1 + RECALL * dp)
        stress = np.sqrt(np.maximum(tt - 2 * h * ta + h**2 * aa, 1.0))
        value = stress - dp * (3 * SHEAR + HARDENING * h) - YIELD - viscous
        slope = (ta - h * aa) / stress * RECALL * h**2 * dp - dp * (3 * SHEAR + HARDENING * h**2) - viscous / EXPONENT
        low, high = np.where(value > 0, x, low), np.where(value > 0, high, x)
        step = x - value / slope
        step = np.where((slope < 0) & (low <= step) & (step <= high), step, (low + high) / 2)
        moved, x = float(np.abs(step - x).max()), step
        if moved <= INCREMENT_TOLERANCE:
            return np.asarray(np.exp(x))
    raise ArithmeticError(f"the plastic increment was not found in {INCREMENT_LIMIT} iterations; reduce the loads of this run")


def _flow_and_tangent(trial: Floats, alpha: Floats, dp: Floats, h: Floats, dt: float) -> tuple[Floats, Floats]:
    """Flow direction and the derivative of the backward Euler stress with respect to the strain (unsymmetric).

    With ``n = beta / J(beta)``, ``ddp = g n . dstrain`` and ``k = C D h^2``, beta changes by
    ``(2 mu DEV + 2/3 k g alpha n^T) dstrain`` and its size by ``(3 mu + k g (n : alpha)) n . dstrain``: to be elastic, it lacks a
    multiple of DEV and a product of two vectors.
    """
    beta = trial - HARDENING / 1.5 * alpha * h[:, None]
    size = _equivalent(beta)
    normal = beta / size[:, None]
    k, inner = HARDENING * RECALL * h**2, (normal * alpha) @ CONTRACTION
    # Multiplied through by dp because the viscous term divides by it and dp may underflow to zero.
    slope = 3 * SHEAR + HARDENING * h**2 - k * inner
    g = 3 * SHEAR * dp / (dp * slope + DRAG / EXPONENT * (dp / dt) ** (1 / EXPONENT))
    turn = 1.5 * dp / size
    left = (1.5 * g - turn * (3 * SHEAR + k * g * inner))[:, None] * normal + (2 / 3 * turn * k * g)[:, None] * alpha
    lacking = (2 * SHEAR * left)[:, :, None] * normal[:, None, :]
    lacking += ((2 * SHEAR) ** 2 * turn)[:, None, None] * DEVIATOR
    return 1.5 * normal, np.subtract(ELASTIC, lacking, out=lacking)


def _equivalent(stress: Floats) -> Floats:
    """Von Mises norm ``sqrt(3/2 s:s)`` of deviators (Q, 6)."""
    return np.asarray(np.sqrt(1.5 * (stress**2 @ CONTRACTION)))


def von_mises(sigma: Floats) -> Floats:
    """Von Mises stress of stresses (..., 6)."""
    return _equivalent(sigma - sigma[..., :3].mean(axis=-1, keepdims=True) * IDENTITY)


def _temperature(nodes: Floats, parameters: CubeParameters, t: float) -> Floats:
    hat = t if t <= 1 else 2 - t
    distance = ((nodes - np.array(parameters.centre)) ** 2).sum(axis=1)
    return np.asarray(20.0 + parameters.amplitude * np.exp(-parameters.width * distance) * hat)


def _external_force(grid: CubeGrid, parameters: CubeParameters, t: float) -> Floats:
    """Centrifugal body force (consistent, by the 2x2x2 rule) and the pressure on x = 1 (constant on each face cell)."""
    axis = DENSITY * (parameters.omega * min(t, 1.0)) ** 2
    body = axis * (grid.at_points(grid.nodes) * [1, 1, 0] - [3.5, -20.0, 0]).reshape(-1, 8, 3)
    local = np.einsum("gn,egi->eni", grid.shape, body).reshape(-1, 24) * grid.weight
    force = np.bincount(grid.dofs.ravel(), local.ravel(), minlength=3 * len(grid.nodes))
    faces = grid.hexahedra[grid.nodes[grid.hexahedra[:, 1], 0] == 1.0][:, [1, 2, 5, 6]]
    y, z = grid.nodes[faces].mean(axis=1)[:, 1:].T
    profile = 0.07377945777 * np.exp(2 * y + 2 * z - y**2 - z**2)
    load = -parameters.pressure * min(t / 0.1, 1.0) * profile * grid.spacing**2 / 4
    np.add.at(force, 3 * faces, load[:, None])
    return force
