"""A family of cubes: parameters drawn about the tabulated run, for dictionaries of local bases and Monte Carlo."""

from __future__ import annotations

import numpy as np

from tests.cube.solver import CubeParameters


def draw_parameters(count: int, seed: int, spread: float = 0.25) -> list[CubeParameters]:
    """`count` parameters, uniform and independent, the same for the same seed.

    Amplitude, width, pressure and speed lie within a share `spread` of the tabulated values; the hot spot's centre lies within
    `spread` of the cube's, along each side.
    """
    generator = np.random.default_rng(seed)
    return [_parameters(row) for row in spread * generator.uniform(-1.0, 1.0, (count, 7))]


def _parameters(row: np.ndarray[tuple[int], np.dtype[np.float64]]) -> CubeParameters:
    standard = CubeParameters()
    amplitude, width, pressure, omega, *shift = (float(value) for value in row)
    return CubeParameters(
        amplitude=standard.amplitude * (1.0 + amplitude),
        centre=(0.5 + shift[0], 0.5 + shift[1], 0.5 + shift[2]),
        width=standard.width * (1.0 + width),
        pressure=standard.pressure * (1.0 + pressure),
        omega=standard.omega * (1.0 + omega),
    )
