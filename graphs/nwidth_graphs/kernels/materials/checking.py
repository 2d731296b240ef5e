"""Is the tangent of a law the derivative of its stress? Newton's method converges quadratically only then."""

from __future__ import annotations

import numpy as np

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.protocol import Law, State

# Central differences err by step^2 and by eps / step: the cube root of eps balances them.
RELATIVE_STEP = float(np.finfo(np.float64).eps) ** (1 / 3)


def tangent_defect(
    law: Law, strain: Floats, state: State, temperature: Floats, dt: float, *, scale: float | None = None
) -> Floats:
    """``max_ij |D - D_fd| / max_ij |D|`` of every point (..., Q), with central differences of the flux.

    About 1e-9 for a right tangent of a smooth law, and 1e-2 or more for one that lacks a term. A point where the law has a
    kink (the onset of flow) within a step has no derivative and is to be left out.

    Parameters
    ----------
    strain, state, temperature, dt
        As the law is called.
    scale : float, optional
        Size of strain that the step is measured by; the largest entry of `strain` by default.
    """
    size = float(np.abs(strain).max()) if scale is None else scale
    step = RELATIVE_STEP * (size or 1.0)
    tangent = law(strain, state, temperature, dt).tangent
    difference = np.empty(tangent.shape)
    for column in range(law.size):
        shift = step * np.eye(law.size)[column]
        forward, backward = (law(strain + sign * shift, state, temperature, dt).flux for sign in (1.0, -1.0))
        difference[..., column] = (forward - backward) / (2 * step)
    return np.asarray(np.abs(tangent - difference).max(axis=(-2, -1)) / np.abs(tangent).max(axis=(-2, -1)))
