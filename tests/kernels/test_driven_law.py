"""The law along known strains: the same values as of the march that found them, block by block of points."""

from __future__ import annotations

import numpy as np
import pytest

from nwidth_graphs.kernels.driven_law import values_along
from nwidth_graphs.kernels.reduced_newton import project_loads, solve_reduced
from nwidth_graphs.kernels.reduced_problem import FLUX, PointSet, ReducedHistory
from tests.cube.case import cube_law
from tests.cube.grid import CubeGrid
from tests.cube.solver import TIMES, CubeParameters, Floats, cube_run, drive

CELLS, RANK = 2, 4


def marched() -> tuple[ReducedHistory, Floats, Floats]:
    """Two draws of a coarse cube at all of its points, with their strains and temperatures."""
    grid = CubeGrid(CELLS)
    runs = [CubeParameters(), CubeParameters(amplitude=420.0, pressure=90.0)]
    modes = np.linalg.svd(cube_run(runs[0], CELLS).u.T, full_matrices=False)[0][:, :RANK]
    driven = [drive(grid, run) for run in runs]
    forces = np.stack([project_loads(modes, force) for _, force in driven])
    temperatures = np.stack([grid.at_points(temperature.T).T for temperature, _ in driven])
    operator = grid.mode_strains(modes)
    points = PointSet(operator, np.full(len(operator), grid.weight), cube_law())
    history = solve_reduced([points], TIMES, forces, temperatures=[temperatures])
    assert history.finished.all()
    assert not history.halvings.any()
    return history, np.einsum("qsn,dtn->dtqs", operator, history.q), temperatures


@pytest.mark.parametrize("name", [FLUX, "p", "plastic_strain"])
def test_the_values_are_those_of_the_march(name: str) -> None:
    """Driven along the strains of a march, flux and internal variables are the march's own, at points taken alone, too."""
    history, strain, temperature = marched()
    expected = history.duals[0][name]
    # The march stops where its residual is 1e-8 of the load, and evaluates the law at that very state: only rounding is left.
    atol = 1e-12 * float(np.abs(expected).max())
    np.testing.assert_allclose(values_along(cube_law(), TIMES, strain, temperature, name), expected, rtol=1e-9, atol=atol)
    some = np.array([5, 17, 60])
    alone = values_along(cube_law(), TIMES, strain[:, :, some], temperature[:, :, some], name)
    np.testing.assert_allclose(alone, expected[:, :, some], rtol=1e-9, atol=atol)


def test_what_does_not_fit_is_refused() -> None:
    """A variable that the law does not have, and temperatures of other points, are named."""
    strain, temperature = np.zeros((1, len(TIMES), 3, 6)), np.zeros((1, len(TIMES), 3))
    with pytest.raises(ValueError, match="the law has no 'damage'; it has"):
        values_along(cube_law(), TIMES, strain, temperature, "damage")
    with pytest.raises(ValueError, match=r"temperatures \(1, 11, 2\)"):
        values_along(cube_law(), TIMES, strain, temperature[:, :, :2], "p")
