"""Dual fields by regression instead of plain reconstruction: what the reduced model gets wrong on its way there is learnt, too.

    body, run on its own training inputs ──> values at the mask X ──┐
    coefficients that the model keeps of the same snapshots Y ──────┴──fit──> coefficients of new draws

The indicator stays that of the plain reconstruction: a regression is at its best on its own training, which would flatter it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nwidth.errors import InputError
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.calibrating import training_inputs
from nwidth.mechanics.case import Case
from nwidth.models.basis import Basis


def regressed(body: ReducedBody, case: Case, named: Mapping[str, Basis], method: str) -> ReducedBody:
    """The body with a regression for each dual field.

    Raises
    ------
    ConfigError
        scikit-learn is not installed (the extra ``learn``).
    InputError
        There is one training simulation, or all of its reduced runs fail.
    PlanError
        The factor of a process would be too large.
    """
    from nwidth.learning.dual import fit_dual

    duals = []
    for dual in body.duals:
        inputs, columns, steps = training_inputs(named[dual.name], case)
        solved = body.solve(case, inputs)
        good = np.ones(columns.shape, np.bool_)
        good[list(solved.failures)] = False
        if not good.any():
            raise InputError(f"dual field {dual.name!r}: all reduced runs of the training failed, so nothing can be learnt")
        simulations = np.repeat(np.arange(len(columns)), columns.shape[1]).reshape(columns.shape)
        truth = np.moveaxis(named[dual.name].coefficients.values[:, columns], 0, 2)
        fitted = fit_dual(dual.values(solved.history)[:, steps][good], truth[good], method=method, simulations=simulations[good])
        duals.append(replace(dual, regression=fitted.regression, held_out=fitted.held_out_error))
    return replace(body, duals=tuple(duals))
