"""Calibrate the indicator: the body repeats its own training runs, with all its modes and with fewer, and its errors are known.

    e^2 = || p - Psi z ||^2 / || p ||^2 = (certificate's error)^2 + || a - z ||^2 / || p ||^2          Psi orthonormal

`a` are the coefficients that the model keeps of the training snapshots, and the first term is its certificate: so the true error
of every pair is known, to rounding, without a read of any field.

Source  F. Casenave, N. Akkari, MCA 24 (2019) 41, in its intent; the identity is ours
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import InputError
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.case import Case
from nwidth.mechanics.options import MechanicsOptions
from nwidth.models.basis import Basis
from nwidth_graphs.kernels.indicator import Calibration

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def calibrated(body: ReducedBody, case: Case, basis: Basis, options: MechanicsOptions) -> Calibration | None:
    """The calibration on the simulations of the basis; None where too few pairs are left to fit.

    Raises
    ------
    InputError
        The training snapshots lack an input of the case, or a time of theirs is not among the case's.
    """
    inputs, columns, steps = training_inputs(basis, case)
    truth = basis.coefficients.values[:, columns]  # (N_p, S, T)
    norms, missed = basis.certificate.snapshot_norms[columns], basis.certificate.relative_errors[columns]
    residuals, errors, sizes = [], [], []
    for count in sorted({max(1, round(share * body.rank)) for share in options.shares}, reverse=True):
        solved = body.with_modes(count).solve(case, inputs)
        z = np.moveaxis(solved.coefficients[options.indicator][:, steps], 2, 0)
        residual = solved.residuals[options.indicator][:, steps]
        away = np.linalg.norm(z - truth, axis=0)
        relative = np.sqrt(missed**2 + (away / np.where(norms > 0, norms, 1.0)) ** 2)
        good = np.isfinite(residual) & np.isfinite(relative) & (norms > options.smallest_norm)
        good[list(solved.failures)] = False
        residuals.append(residual[good])
        errors.append(relative[good])
        sizes.append(norms[good])
    try:
        return Calibration.fit(np.concatenate(residuals), np.concatenate(errors))
    except ValueError:
        return None


def training_inputs(basis: Basis, case: Case) -> tuple[dict[str, Floats], Indices, Indices]:
    """Inputs (S,) by name of the S simulations, their snapshots (S, T), and which steps of the case (T,) these are of.

    A case may march in smaller steps than a solver wrote, and starts from a state that many do not write at all; errors as
    `calibrated`.
    """
    return inputs_in({str(name): values for name, values in basis.coefficients.coords.items()}, case)


def inputs_in(coordinates: Mapping[str, Any], case: Case) -> tuple[dict[str, Floats], Indices, Indices]:
    """As `training_inputs`, of snapshots whose coordinates are given by name."""
    lacking = [name for name in case.inputs if name not in coordinates]
    if lacking:
        known = ", ".join(str(name) for name in coordinates)
        raise InputError(f"the snapshots have no {', '.join(lacking)}, which the case takes; they have {known}")
    simulations, times = coordinates["simulation"].values, coordinates["time"].values
    rows: list[Indices] = []
    found: list[Indices] = []
    for name in dict.fromkeys(simulations):
        own = np.flatnonzero(simulations == name)
        own = own[np.argsort(times[own], kind="stable")]
        steps = np.abs(times[own][:, None] - case.times).argmin(axis=1)
        known_times = np.allclose(times[own], case.times[steps]) and len(np.unique(steps)) == len(steps)
        if not known_times or (found and not np.array_equal(steps, found[0])):
            raise InputError(
                f"simulation {name} has {len(own)} times up to {times[own].max():g}, and the case {len(case.times)} up to "
                f"{case.times[-1]:g}; give the case the times of the training simulations, the same for all, and others between "
                "them if you like"
            )
        rows.append(own)
        found.append(steps)
    columns = np.array(rows)
    inputs = {name: np.asarray(coordinates[name].values, np.float64)[columns[:, 0]] for name in case.inputs}
    return inputs, columns, found[0]
