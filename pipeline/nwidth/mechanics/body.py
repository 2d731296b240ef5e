"""A reduced body: everything that an online step needs, in plain arrays whose size is that of the reduced points.

    case ──loads, temperature──> reduced Newton ──q, dual values at points──> gappy reconstruction ──> coefficients of dual fields
                                                                                └──residual rho──> indicator eta

    q (N)              of the displacement basis Phi
    points (n)         integration points of the cubature rule, and, with weight 0, more at which dual fields are needed
    strains (n, 6, N)  strain of the modes at these points; nothing of the mesh is left

Fields of full size are `Phi q` and `Psi z`, formed only where somebody asks for them.

Source  F. Casenave et al., Int. J. Numer. Methods Eng. 121 (2020) 32-53; indicator: F. Casenave, N. Akkari, MCA 24 (2019) 41
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nwidth.mechanics.case import Case, load_series, temperatures
from nwidth.models.dual_regressors import DualRegression
from nwidth_graphs.kernels.gappy_reconstruction import MaskedBasis
from nwidth_graphs.kernels.indicator import Calibration
from nwidth_graphs.kernels.materials import Law, law_from_record
from nwidth_graphs.kernels.reduced_newton import solve_reduced
from nwidth_graphs.kernels.reduced_problem import NewtonSettings, PointSet, ReducedHistory

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class DualField:
    """A field at the integration points that is reconstructed from its values at the reduced ones."""

    name: str
    modes: str
    """Folder of its modes inside of the model."""
    variable: str
    """What the law calls it: an internal variable, or ``flux`` for the stress."""
    places: Indices
    """(|I|,) where the mask's rows stand among the variable's values at the body's points, flattened."""
    masked: MaskedBasis
    smallest_norm: float
    """p_min: norm of the whole field below which a residual means nothing."""
    regression: DualRegression | None = None
    """What gives the coefficients in place of the reconstruction, where one was trained; see `mechanics.regressing`."""
    held_out: float | None = None
    """Its relative error in cross-validation by simulation."""

    def values(self, history: ReducedHistory) -> Floats:
        """(D, T, |I|)."""
        found = history.duals[0][self.variable]
        return np.asarray(found.reshape(*found.shape[:2], -1)[..., self.places])

    def regressed(self, values: Floats) -> Floats:
        """Coefficients (D, T, N_p) of values (D, T, |I|) by the regression."""
        if self.regression is None:
            raise TypeError(f"the dual field {self.name!r} has no regression")
        mean, _ = self.regression.predict(values.reshape(-1, values.shape[-1]))
        return np.asarray(mean.reshape(*values.shape[:-1], -1))


@dataclass(frozen=True)
class Interpolation:
    """Nodal values at the body's points: ``v(x_k) = sum_a N_ka v_(corners_ka)``."""

    nodes: Floats
    """(u, 3) coordinates of the nodes of the cells that hold the points."""
    corners: Indices
    """(n, a)."""
    shape: Floats
    """(n, a); zero where a cell has fewer nodes."""

    def __call__(self, nodal: Floats) -> Floats:
        """(..., u) to (..., n)."""
        return np.asarray(np.einsum("...ka,ka->...k", nodal[..., self.corners], self.shape))


@dataclass(frozen=True)
class RuleErrors:
    """What the cubature rule is worth."""

    search: str
    asked: float
    points: int
    """With a weight."""
    training: float
    """``||G omega - b|| / ||b||`` over the training states."""
    held_out: float | None
    """The same over simulations that the rule has not seen; None where none was held out."""
    volume_ratio: float
    """Sum of the weights over the volume."""
    ended: str
    """Why the search ended; "tolerance" is what was asked for."""
    proposed: int
    """Points that the chunks proposed in the first of two levels."""
    cancellation: float
    """Sum of the norms of the chunks' own integrals over the norm of all: how much cancels between chunks."""


@dataclass(frozen=True)
class Unseen:
    """What the body is worth on simulations that neither its bases, nor its rule, nor its calibration have seen."""

    simulations: tuple[str, ...]
    """S of them."""
    fields: tuple[str, ...]
    """F: displacement, and every dual field."""
    errors: Floats
    """(S, F) relative, all times together; NaN where the march failed."""
    failures: tuple[str, ...]
    """Why the march of each ended before its last time; empty where it did not."""


@dataclass(frozen=True)
class ReducedBody:
    """One basis with its points, its law and its dual fields."""

    displacement: str
    """Name of the field."""
    modes: str
    """Folder of its modes inside of the model."""
    points: Indices
    """(n,) numbers of integration points, as the store counts them."""
    weights: Floats
    """(n,); zero at points that equilibrium does not need."""
    strains: Floats
    """(n, 6, N)."""
    interpolation: Interpolation
    load_names: tuple[str, ...]
    loads: Floats
    """(L, N): ``Phi^T F_l``."""
    law_record: str
    """The law as JSON."""
    duals: tuple[DualField, ...]
    indicating: str
    """Name of the dual field whose residual is the indicator's; empty where there is none."""
    calibration: Calibration | None
    rule: RuleErrors
    tolerance: float
    """Of Newton's method."""
    unseen: Unseen | None = None
    """Its errors on simulations that were held out; None where there were none."""

    @property
    def rank(self) -> int:
        """N."""
        return int(self.strains.shape[2])

    @cached_property
    def law(self) -> Law:
        """The constitutive law."""
        return law_from_record(json.loads(self.law_record))

    def with_modes(self, count: int) -> ReducedBody:
        """The same body with its first modes only: a worse one, whose errors are larger."""
        return replace(self, strains=self.strains[:, :, :count], loads=self.loads[:, :count])

    def solve(self, case: Case, inputs: Mapping[str, Floats]) -> Solved:
        """March D draws through the case's times.

        Raises
        ------
        InputError
            The case gives loads or temperatures that do not fit. A draw that fails is no error: `Solved.failures` has its reason.
        """
        series = load_series(case, inputs, self.load_names)
        forces = series @ self.loads
        at_points = self.interpolation(temperatures(case, inputs, self.interpolation.nodes))
        points = PointSet(self.strains, self.weights, self.law)
        kept = sorted({dual.variable for dual in self.duals})
        history = solve_reduced(
            [points],
            case.times,
            forces,
            temperatures=[at_points],
            settings=NewtonSettings(tolerance=self.tolerance),
            keep=kept,
        )
        return self.judged(history)

    def judged(self, history: ReducedHistory) -> Solved:
        """Dual fields, residuals and indicator of any march of this body whose dual values were kept."""
        coefficients: dict[str, Floats] = {self.displacement: history.q}
        residuals: dict[str, Floats] = {}
        for dual in self.duals:
            values = np.nan_to_num(dual.values(history))
            fit = dual.masked.reconstruct(np.moveaxis(values, 2, 0))
            coefficients[dual.name] = np.moveaxis(fit.coefficients, 0, 2) if dual.regression is None else dual.regressed(values)
            # Psi is orthonormal: the norm of z is that of the whole field.
            size = np.linalg.norm(fit.coefficients, axis=0)
            residuals[dual.name] = np.where(size > dual.smallest_norm, fit.residuals, np.nan)
        indicator = np.full(history.q.shape[:2], np.nan)
        outside = np.zeros(history.q.shape[:2], bool)
        if self.calibration is not None:
            estimate = self.calibration.evaluate(residuals[self.indicating])
            known = np.isfinite(residuals[self.indicating])
            indicator, outside = np.where(known, estimate.upper, np.nan), known & estimate.extrapolated
        failures = {failure.draw: str(failure) for failure in history.failures}
        return Solved(history, coefficients, residuals, indicator, outside, failures)


@dataclass(frozen=True)
class Solved:
    """D draws at T times."""

    history: ReducedHistory
    coefficients: Mapping[str, Floats]
    """Field -> (D, T, N): displacement, and every dual field."""
    residuals: Mapping[str, Floats]
    """Dual field -> rho (D, T); NaN where the field has hardly begun."""
    indicator: Floats
    """eta (D, T): upper estimate of the relative error of the indicating field; NaN where nothing is estimated."""
    extrapolated: NDArray[np.bool_]
    """(D, T): whether a residual is larger or smaller than all of the calibration."""
    failures: Mapping[int, str]
    """Draw -> why it ended before its last time."""
