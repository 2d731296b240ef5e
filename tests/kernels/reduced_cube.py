"""A reduced model of the cube for tests: trained on one run by mass POD, NNOMP and gappy p, run at any other load.

snapshots of u, sigma, p  ->  modes of u, cubature, modes of p, mask  ->  reduced Newton  ->  p at the points
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.gappy_reconstruction import MaskedBasis, field_values, mask_of, masked_basis, relative_errors
from nwidth_graphs.kernels.interpolation import qdeim
from nwidth_graphs.kernels.materials import LinearElastic, NortonKinematic
from nwidth_graphs.kernels.materials.return_mapping import IsotropicHardening, KinematicHardening
from nwidth_graphs.kernels.reduced_newton import project_loads, solve_reduced
from nwidth_graphs.kernels.reduced_problem import PointSet
from tests.cube.grid import CubeGrid
from tests.cube.solver import CubeParameters, CubeRecords, solve_cube

Floats = NDArray[np.float64]

RTOL = 1e-4
"""Of the POD of u, of the cubature, and of the POD of p."""
TESTED = slice(3, 11)
"""Times 0.6 to 2.0, where p has begun."""


@dataclass(frozen=True)
class Reduced:
    """The reduced model of one training run."""

    modes: Floats
    """(n, N), orthonormal in the mass."""
    points: PointSet
    masked: MaskedBasis
    dual: Floats
    """Psi (Q, N_p)."""
    n_points: int
    """Of the cubature, without those of Q-DEIM."""


def pod(snapshots: Floats, rtol: float) -> Floats:
    """The fewest left singular vectors with a relative tail of at most `rtol`."""
    left, s, _ = np.linalg.svd(snapshots, full_matrices=False)
    tails = np.append(np.sqrt(np.cumsum(s[::-1] ** 2)[::-1] / np.sum(s**2)), 0.0)
    return np.asarray(left[:, : int(np.argmax(tails <= rtol))])


@cache
def trained(modes: int | None = None) -> Reduced:
    """The model of the tabulated run; `modes` takes fewer modes of u than the tolerance asks for."""
    run, grid = solve_cube(CubeParameters()), CubeGrid()
    root = np.linalg.cholesky(run.mass.toarray())
    Phi = np.linalg.solve(root.T, pod(root.T @ run.u.T, RTOL))[:, :modes]
    strains = np.stack([grid.strains(mode) for mode in Phi.T], axis=2)
    # Stress . strain is the double contraction where strains carry engineering shear.
    G = np.einsum("qsi,tqs->itq", strains, run.sigma[1:]).reshape(-1, len(run.weights))
    rule = nnomp(G, run.weights, RTOL)
    Psi = pod(run.p.T, RTOL)
    mask = mask_of(rule.points, qdeim(Psi))
    weights = np.concatenate([rule.weights, np.zeros(len(mask) - len(rule.points))])
    elastic = LinearElastic(2e5, 0.3, 2e-5, 20.0)
    law = NortonKinematic(elastic, 300.0, 30.0, IsotropicHardening(10.0), KinematicHardening(1e5, 1000.0))
    return Reduced(Phi, PointSet(strains[mask], weights, law), masked_basis(Psi[mask], mask), Psi, len(rule.points))


@cache
def truth(amplitude: float) -> CubeRecords:
    """The full-order run at one amplitude."""
    return solve_cube(CubeParameters(amplitude=amplitude))


def values_at_points(model: Reduced, run: CubeRecords) -> tuple[Floats, Floats]:
    """p at the mask (times, |I|) and q (times, N), as the reduced model gives them for the loads of a full-order run."""
    temperature = CubeGrid().at_points(run.temperature.T).T[:, model.masked.points]
    history = solve_reduced(
        [model.points], run.times, project_loads(model.modes, run.force)[None], temperatures=[temperature[None]]
    )
    assert not history.failures
    return history.duals[0]["p"][0], history.q[0]


def pairs(model: Reduced, run: CubeRecords) -> tuple[Floats, Floats]:
    """rho and the true relative error of p at the times that are tested."""
    found = model.masked.reconstruct(values_at_points(model, run)[0].T)
    errors = relative_errors(field_values(model.dual, found.coefficients), run.p.T, 1e-6)
    return found.residuals[TESTED], errors[TESTED]
