"""The indicator on a reduced model of the cube that leaves its training: the residual orders the errors, and eta bounds them.

trained on the amplitude 380 alone   ->   N = 7 modes of u, cubature, 9 modes of p, mask      ->   run at 380, 400, 430, 480
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.gappy_reconstruction import MaskedBasis, field_values, mask_of, masked_basis, relative_errors
from nwidth_graphs.kernels.indicator import Calibration
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
AMPLITUDES = (380.0, 400.0, 430.0, 480.0)
TESTED = slice(3, 11)
"""Times 0.6 to 2.0, where p has begun."""
PUBLISHED = {
    380.0: ((8e-5, 1.1e-3), (1.2e-4, 1.3e-3)),
    400.0: ((0.0143, 0.0317), (0.0325, 0.0650)),
    430.0: ((0.0329, 0.0696), (0.0727, 0.133)),
    480.0: ((0.0591, 0.116), (0.124, 0.204)),
}
"""Ranges of rho and of the true error of p over the eight times."""


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


def pairs(model: Reduced, run: CubeRecords) -> tuple[Floats, Floats, Floats]:
    """rho, the true relative error of p, and that of u, at the times that are tested."""
    temperature = CubeGrid().at_points(run.temperature.T).T[:, model.masked.points]
    history = solve_reduced(
        [model.points], run.times, project_loads(model.modes, run.force)[None], temperatures=[temperature[None]]
    )
    assert not history.failures
    found = model.masked.reconstruct(history.duals[0]["p"][0].T)
    u = history.q[0] @ model.modes.T
    return (
        found.residuals[TESTED],
        relative_errors(field_values(model.dual, found.coefficients), run.p.T, 1e-6)[TESTED],
        relative_errors(u.T, run.u.T)[TESTED],
    )


@pytest.mark.slow
def test_the_residual_orders_the_errors() -> None:
    """The published table: ranges of rho and e at four amplitudes, e about 2 rho, correlation of the logarithms above 0.98."""
    model = trained()
    assert model.modes.shape[1] == 7
    assert 51 <= model.n_points <= 63
    assert model.dual.shape[1] == 9
    found = {amplitude: pairs(model, truth(amplitude)) for amplitude in AMPLITUDES}
    for amplitude, (rho, e, _) in found.items():
        # Near the training run both are what the cubature left, whose points depend on the last digits; beyond, they are the loads'.
        rtol = 0.5 if amplitude == AMPLITUDES[0] else 0.02
        for values, (low, high) in zip((rho, e), PUBLISHED[amplitude], strict=True):
            assert values.min() == pytest.approx(low, rel=rtol), amplitude
            assert values.max() == pytest.approx(high, rel=rtol), amplitude
    rho, e = (np.concatenate([found[amplitude][part] for amplitude in AMPLITUDES]) for part in (0, 1))
    assert len(rho) == 32
    assert np.corrcoef(np.log(rho), np.log(e))[0, 1] > 0.98
    assert np.median(e / rho) == pytest.approx(2.0, rel=0.25)


@pytest.mark.slow
def test_an_indicator_of_the_training_run_bounds_unseen_errors() -> None:
    """Calibrated with 7, 5 and 4 modes on the training run alone, eta is above all 24 errors elsewhere, at most five times."""
    training = [pairs(trained(modes), truth(AMPLITUDES[0])) for modes in (None, 5, 4)]
    calibration = Calibration.fit(*(np.concatenate([run[part] for run in training]) for part in (0, 1)))
    assert calibration.is_process
    assert calibration.correlation > 0.9
    for amplitude in AMPLITUDES[1:]:
        rho, e, _ = pairs(trained(), truth(amplitude))
        found = calibration.evaluate(rho)
        assert np.all(e <= found.upper)
        assert np.all(found.upper <= 5 * e)
        np.testing.assert_array_equal(found.extrapolated, rho > calibration.residuals[-1])
    nearest = calibration.with_pairs(*pairs(trained(), truth(AMPLITUDES[1]))[:2])
    rho, e, _ = pairs(trained(), truth(AMPLITUDES[2]))
    assert np.all(e <= nearest.evaluate(rho).upper)
    assert nearest.evaluate(rho).upper.max() < calibration.evaluate(rho).upper.max()
