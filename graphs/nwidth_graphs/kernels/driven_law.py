"""A law along known strains: what reduced coordinates say about points that took no part in finding them.

    strain (D, T, Q, s), temperature (D, T, Q)  ──law, step by step──>  flux or one internal variable (D, T, Q, ...)

No equilibrium is solved: points do not know of each other, any block of them can be done alone, and the cost is one call of the
law per step, where Newton's method makes several. Where a march has cut its steps in two, the law is called for whole steps here.
"""

from __future__ import annotations

import numpy as np

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.protocol import Law
from nwidth_graphs.kernels.reduced_problem import FLUX


def values_along(law: Law, times: Floats, strain: Floats, temperature: Floats, name: str) -> Floats:
    """Values of the flux, or of an internal variable, of D draws at T times.

    Parameters
    ----------
    times : (T,) ascending, the first of the initial state
    strain : (D, T, Q, s)
    temperature : (D, T, Q)
    name : `FLUX`, or one of ``law.state_shapes``

    Returns
    -------
    (D, T, Q, ...) array
        At the first time the law's initial state, and no flux: as of `reduced_newton.solve_reduced`.

    Raises
    ------
    ValueError
        Shapes do not fit together, or the law has no such variable.
    """
    if strain.ndim != 4 or strain.shape[1] != len(times) or strain.shape[3] != law.size or temperature.shape != strain.shape[:3]:
        raise ValueError(
            f"strains have the shape {strain.shape} and temperatures {temperature.shape}; give (D, {len(times)}, Q, {law.size}) "
            f"and (D, {len(times)}, Q)"
        )
    shapes = {FLUX: (law.size,), **law.state_shapes}
    if name not in shapes:
        raise ValueError(f"the law has no {name!r}; it has {', '.join(sorted(shapes))}")
    values = np.zeros((*strain.shape[:3], *shapes[name]))
    state = law.initial_state(strain[:, 0], temperature[:, 0])
    if name != FLUX:
        values[:, 0] = state[name]
    for step in range(1, len(times)):
        response = law(strain[:, step], state, temperature[:, step], float(times[step] - times[step - 1]))
        state = response.state
        values[:, step] = response.flux if name == FLUX else state[name]
    return values
