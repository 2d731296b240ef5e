"""A small full-order solver in this process: quasi-static small strains on a mesh, one step at a time.

    state at t, parameters  ──step(dt)──>  state at t + dt      displacement, flux and internal variables at all points

Each step is Newton's method on ``integral of sigma(eps(u)) : eps(v) = f(t) . v`` for all v that vanish where u is prescribed:

    B_k (6, 3a)      strain of a cell's nodal displacements at integration point k
    K = sum_k w_k B_k^T (d sigma / d eps) B_k        r = f - sum_k w_k B_k^T sigma_k        K du = r

It serves enrichment, which asks for single steps from a given state, and tests; a solver for large meshes is a plug-in of its
own. The law, the strain operators and the order of components (11, 22, 33, 12, 23, 13, engineering shear in strains) are those
of the reduced model, so that both see the same material. Unknowns are numbered ``3 * node + component``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import RunError
from nwidth.mesh import Mesh
from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.protocol import Law, State
from nwidth_graphs.kernels.strains import PointGroup, all_points, point_groups, point_weights, strain_operator, values_at

Parameters = Mapping[str, float]


@dataclass(frozen=True)
class Conditions:
    """What acts on a body at one time."""

    force: Floats
    """(3 nodes,) external nodal forces."""
    temperature: Floats
    """(nodes,)."""
    prescribed: Floats | None = None
    """(3 nodes,) displacement where it is prescribed; zero by default, and not read elsewhere."""


@dataclass(frozen=True)
class FullState:
    """A body at one time."""

    time: float
    displacement: Floats
    """(nodes, 3)."""
    flux: Floats
    """(Q, 6) stress at the integration points."""
    internal: State
    """Internal variables of the law, each (Q, ...)."""
    iterations: int = 0
    """Of the step that led here."""


class Stepper(Protocol):
    """A full-order model that can be asked for one step: what adaptive enrichment needs."""

    def initial(self, parameters: Parameters) -> FullState:
        """The state at the first time."""
        ...

    def step(self, state: FullState, parameters: Parameters, dt: float) -> FullState:
        """The state `dt` later; `nwidth.errors.RunError` where it cannot be found."""
        ...


@dataclass(frozen=True)
class SmallStrainSolver:
    """Quasi-static small strains with internal variables, by Newton's method with the consistent tangent.

    Parameters
    ----------
    mesh : cells of solids: any Lagrange cells that `nwidth_graphs.kernels.strains` knows
    law : with six components, see `nwidth_graphs.kernels.materials.protocol`
    fixed : (3 nodes,) of bool, where displacement is prescribed
    conditions : ``conditions(parameters, time)``, what acts
    start : the first time
    tolerance : of ``|residual| / |external force|`` over free unknowns
    absolute_tolerance : of ``|residual|`` where no external force acts, in units of force
    iterations : updates of one step at most
    """

    mesh: Mesh
    law: Law
    fixed: NDArray[np.bool_]
    conditions: Callable[[Parameters, float], Conditions]
    start: float = 0.0
    tolerance: float = 1e-8
    absolute_tolerance: float = 1e-8
    iterations: int = 50
    _groups: tuple[PointGroup, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.law.size != 6 or self.fixed.shape != (3 * self.mesh.n_points,):
            raise ValueError(
                f"a law of size {self.law.size} and {self.fixed.shape} fixed unknowns were given; expected a law of size 6 and "
                f"({3 * self.mesh.n_points},)"
            )
        object.__setattr__(self, "_groups", point_groups(self.mesh, *all_points(self.mesh)))

    @cached_property
    def weights(self) -> Floats:
        """(Q,) quadrature weights; their sum is the volume."""
        return point_weights(self._groups)

    @cached_property
    def free(self) -> NDArray[np.int64]:
        """Numbers of the unknowns that are solved for."""
        return np.flatnonzero(~self.fixed)

    def initial(self, parameters: Parameters) -> FullState:
        """The unloaded body: no displacement, no stress, the law's initial state at the temperature of the first time."""
        temperature = values_at(self._groups, self.conditions(parameters, self.start).temperature)
        strain = np.zeros((len(self.weights), 6))
        return FullState(
            self.start, np.zeros((self.mesh.n_points, 3)), strain.copy(), self.law.initial_state(strain, temperature)
        )

    def step(self, state: FullState, parameters: Parameters, dt: float) -> FullState:
        """One backward Euler step; the stress that is returned belongs to the displacement that is returned.

        Raises
        ------
        RunError
            Newton's method did not converge, or left what the law is defined for; take a smaller step.
        """
        time = state.time + dt
        acting = self.conditions(parameters, time)
        temperature = values_at(self._groups, acting.temperature)
        u = np.array(state.displacement, np.float64).ravel()
        u[self.fixed] = 0.0 if acting.prescribed is None else acting.prescribed[self.fixed]
        scale = float(np.linalg.norm(acting.force[self.free]))
        enough = self.tolerance * scale if scale > 0 else self.absolute_tolerance
        for iteration in range(self.iterations + 1):
            flux, tangent, internal = self.law(self.strain(u), state.internal, temperature, dt)
            residual = (acting.force - self.internal_force(flux))[self.free]
            size = float(np.linalg.norm(residual))
            if not np.isfinite(size):
                break
            if size <= enough:
                return FullState(time, u.reshape(-1, 3), flux, internal, iteration)
            if iteration < self.iterations:
                u[self.free] += self._solve(tangent, residual)
        raise RunError(
            f"the full-order step to t = {time:g} did not converge (residual {size:.1e} after {iteration} updates, "
            f"{enough:.1e} is asked for); take a smaller step, or look at the parameters {dict(parameters)}"
        )

    def strain(self, u: Floats) -> Floats:
        """(3 nodes,) -> (Q, 6)."""
        return np.asarray(strain_operator(self._groups, u.reshape(-1, 3)[:, :, None])[:, :, 0])

    def internal_force(self, flux: Floats) -> Floats:
        """(Q, 6) -> (3 nodes,): ``sum_k w_k B_k^T sigma_k``."""
        force = np.zeros(3 * self.mesh.n_points)
        for group, B in zip(self._groups, self._operators, strict=True):
            local = np.einsum("kip,ki->kp", B, flux[group.rows] * group.weights[:, None])
            force += np.bincount(_unknowns(group).ravel(), local.ravel(), minlength=len(force))
        return force

    def stiffness(self, tangent: Floats) -> Any:
        """(Q, 6, 6) -> sparse (3 nodes, 3 nodes): ``sum_k w_k B_k^T C_k B_k``; points of a cell are summed before assembly."""
        import scipy.sparse as sp

        size = 3 * self.mesh.n_points
        total = sp.csc_array((size, size))
        for group, B in zip(self._groups, self._operators, strict=True):
            per_cell = _points_per_cell(group)
            weighted = np.matmul(tangent[group.rows] * group.weights[:, None, None], B)
            stacked = B.reshape(-1, per_cell * 6, B.shape[2])
            local = np.matmul(stacked.transpose(0, 2, 1), weighted.reshape(stacked.shape))
            numbers = _unknowns(group)[::per_cell]
            rows, columns = (np.broadcast_to(n, local.shape).ravel() for n in (numbers[:, :, None], numbers[:, None, :]))
            total = total + sp.coo_array((local.ravel(), (rows, columns)), shape=(size, size)).tocsc()
        return total

    @cached_property
    def _operators(self) -> tuple[Floats, ...]:
        return tuple(_strain_matrices(group) for group in self._groups)

    def _solve(self, tangent: Floats, residual: Floats) -> Floats:
        from scipy.sparse.linalg import splu

        matrix = self.stiffness(tangent)[self.free][:, self.free].tocsc()
        try:
            # The pattern is symmetric: such an ordering halves the time, and small pivots are refused.
            factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options={"SymmetricMode": True})
        except RuntimeError as error:
            raise RunError(
                f"the tangent of the full-order model is singular ({error}); hold the body against rigid motion"
            ) from None
        return np.asarray(factors.solve(residual))


def _strain_matrices(group: PointGroup) -> Floats:
    """``B`` (k, 6, 3a) of the points of a group, columns ``3 * node + component`` within the cell."""
    gradient = group.gradient
    B = np.zeros((len(gradient), 6, gradient.shape[1], 3))
    for i in range(3):
        B[:, i, :, i] = gradient[:, :, i]
    for row, (i, j) in enumerate([(0, 1), (1, 2), (0, 2)], start=3):
        B[:, row, :, i], B[:, row, :, j] = gradient[:, :, j], gradient[:, :, i]
    return B.reshape(len(B), 6, -1)


def _unknowns(group: PointGroup) -> NDArray[np.int64]:
    """(k, 3a) numbers of the unknowns of each point's cell."""
    return np.asarray((3 * group.nodes[:, :, None] + np.arange(3)).reshape(len(group.nodes), -1))


def _points_per_cell(group: PointGroup) -> int:
    """Points come cell by cell, equally many in each cell of a type: as many as there are until the nodes change."""
    changes = np.flatnonzero((group.nodes[1:] != group.nodes[:-1]).any(axis=1))
    return int(changes[0]) + 1 if changes.size else len(group.nodes)
