"""The demo's solver: mesh, operators and time stepping against exact solutions."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth.demo.heat import HeatOperators, Medium, heat_operators, march
from nwidth.demo.plate import BLOCK, HOLES, plate_area, plate_mesh

pytest.importorskip("skfem", reason="the demo's solver is scikit-fem: pip install 'nwidth[demo]'")

Floats = NDArray[np.float64]
MEDIUM = Medium(capacity=2.0, conductivity=0.5, loss=0.3)


def distorted_square(cells: int) -> tuple[Floats, NDArray[np.int64]]:
    """The unit square in ``cells x cells`` quadrilaterals, inner lines bent smoothly."""
    ticks = np.linspace(0, 1, cells + 1)
    x, y = (axis.ravel() for axis in np.meshgrid(ticks, ticks))
    bend = 0.08 * np.sin(np.pi * x) * np.sin(np.pi * y)
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    return np.column_stack([x + bend, y - bend]), first[:, None] + np.array([0, 1, cells + 2, cells + 1])


def manufactured_error(cells: int, steps: int) -> float:
    """L2 error at t = 1 for the exact ``T = cos(pi x) cos(2 pi y) (1 + sin(3 t))``, which has no flux through the outline."""
    points, quads = distorted_square(cells)
    shape = np.cos(np.pi * points[:, 0]) * np.cos(2 * np.pi * points[:, 1])

    def source(t: float) -> Floats:
        rate = MEDIUM.capacity * 3 * np.cos(3 * t)
        return np.asarray((rate + (MEDIUM.conductivity * 5 * np.pi**2 + MEDIUM.loss) * (1 + np.sin(3 * t))) * shape)

    operators = heat_operators(points, quads)
    *_, last = islice(march(operators, MEDIUM, source, shape.copy(), 1 / steps), steps)
    error = last - shape * (1 + np.sin(3.0))
    return float(np.sqrt(error @ (operators.mass @ error)))


def test_solver_converges_with_second_order_in_space() -> None:
    """Halving the cells (time step far finer) quarters the error of a manufactured solution."""
    errors = [manufactured_error(cells, 400) for cells in (8, 16, 32)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(orders - 2) < 0.15), f"orders {orders}"


def decay_error(operators: HeatOperators, shape: Floats, rate: float, steps: int) -> float:
    """Error at t = 1 of a discrete eigenvector that decays at `rate`: space adds nothing, so only the time rule is seen."""
    *_, last = islice(march(operators, MEDIUM, lambda _: np.zeros_like(shape), shape, 1 / steps), steps)
    return float(np.abs(last - np.exp(-rate) * shape).max() / np.abs(shape).max())


def test_solver_converges_with_second_order_in_time() -> None:
    """Halving the time step quarters the error of a decaying discrete eigenvector."""
    import scipy.linalg

    operators = heat_operators(*distorted_square(4))
    values, vectors = scipy.linalg.eigh(operators.stiffness.toarray(), operators.mass.toarray())
    rate = (MEDIUM.conductivity * values[2] + MEDIUM.loss) / MEDIUM.capacity
    errors = [decay_error(operators, vectors[:, 2], rate, steps) for steps in (10, 20, 40)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(orders - 2) < 0.05), f"orders {orders}"


def test_heat_is_conserved() -> None:
    """Without loss, the heat in the plate is what the source put in, to rounding."""
    points, quads = plate_mesh(4)
    operators = heat_operators(points, quads)
    medium, heat = Medium(3.6e-3, 0.03), np.exp(-((points - 30.0) ** 2).sum(axis=1) / 50)
    *_, last = islice(march(operators, medium, lambda _: heat, np.zeros(len(points)), 0.5), 10)
    put_in = 5.0 * (operators.mass @ heat).sum()
    assert medium.capacity * (operators.mass @ last).sum() == pytest.approx(put_in, rel=1e-12)


@pytest.mark.parametrize("resolution", [2, 5, 8])
def test_plate_mesh_is_conforming(resolution: int) -> None:
    """Every edge has one or two cells, cells are counter-clockwise, and Euler's formula counts the six holes."""
    points, quads = plate_mesh(resolution)
    assert np.array_equal(np.unique(quads), np.arange(len(points)))
    corners = points[quads]
    for i in range(4):
        before, after = corners[:, i] - corners[:, i - 1], corners[:, (i + 1) % 4] - corners[:, i]
        assert np.all(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] > 0)
    edges = np.sort(np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert set(counts) == {1, 2}
    assert len(points) - len(counts) + len(quads) == 1 - len(HOLES)


def test_plate_area_converges() -> None:
    """The area by the mass matrix exceeds that of the exact plate by what the chords cut off the round holes.

    A circle cut into 4k chords lacks (2 pi / 4k)^2 / 6 of its area, so the meshed plate is larger by that part of the holes.
    """
    resolution = 12
    operators = heat_operators(*plate_mesh(resolution))
    holes = float(np.pi * sum(radius**2 for radius in HOLES.values()))
    excess = holes * (np.pi / (2 * resolution)) ** 2 / 6
    assert operators.mass.sum() - plate_area() == pytest.approx(excess, rel=1e-2)
    assert np.ptp(plate_mesh(2)[0], axis=0).tolist() == [5 * BLOCK, 3 * BLOCK]
