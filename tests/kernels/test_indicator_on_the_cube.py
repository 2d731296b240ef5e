"""The indicator on a reduced model of the cube that leaves its training: the residual orders the errors, and eta bounds them.

trained on the amplitude 380 alone   ->   N = 7 modes of u, cubature, 9 modes of p, mask      ->   run at 380, 400, 430, 480
"""

from __future__ import annotations

import numpy as np
import pytest

from nwidth_graphs.kernels.indicator import Calibration
from tests.kernels.reduced_cube import pairs, trained, truth

AMPLITUDES = (380.0, 400.0, 430.0, 480.0)
PUBLISHED = {
    380.0: ((8e-5, 1.1e-3), (1.2e-4, 1.3e-3)),
    400.0: ((0.0143, 0.0317), (0.0325, 0.0650)),
    430.0: ((0.0329, 0.0696), (0.0727, 0.133)),
    480.0: ((0.0591, 0.116), (0.124, 0.204)),
}
"""Ranges of rho and of the true error of p over the eight times."""


@pytest.mark.slow
def test_the_residual_orders_the_errors() -> None:
    """The published table: ranges of rho and e at four amplitudes, e about 2 rho, correlation of the logarithms above 0.98."""
    model = trained()
    assert model.modes.shape[1] == 7
    assert 51 <= model.n_points <= 63
    assert model.dual.shape[1] == 9
    found = {amplitude: pairs(model, truth(amplitude)) for amplitude in AMPLITUDES}
    for amplitude, (rho, e) in found.items():
        # Near the training run both are what the cubature left, whose points depend on the last digits; beyond, the loads decide.
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
        rho, e = pairs(trained(), truth(amplitude))
        found = calibration.evaluate(rho)
        assert np.all(e <= found.upper)
        assert np.all(found.upper <= 5 * e)
        np.testing.assert_array_equal(found.extrapolated, rho > calibration.residuals[-1])
    nearest = calibration.with_pairs(*pairs(trained(), truth(AMPLITUDES[1])))
    rho, e = pairs(trained(), truth(AMPLITUDES[2]))
    assert np.all(e <= nearest.evaluate(rho).upper)
    assert nearest.evaluate(rho).upper.max() < calibration.evaluate(rho).upper.max()
