"""One update of a reduced body by one full-order step: bases, cubature, dual fields, calibration.

    u = Phi q, internal variables of all points   at t_{l-1}  ──full-order step──>  u, sigma, p   at t_l
    Phi <- [Phi, what u has beyond]      Psi <- [Psi, what p has beyond]      old modes stay, bit for bit
    integrands of all training states and of sigma  ──search, previous points first──>  rule  ──> points, masks, strains, loads
    (rho, e), e the error of the step that was not good enough  ──> calibration

The work is that of a training on stress states of the store and of full-order steps so far: one read of the stress, on the
workers. Modes of one body are in this process's memory meanwhile, as the full-order state is.

Source  F. Casenave, N. Akkari, MCA 24 (2019) 41, in its intent
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import RunError
from nwidth.fullorder.small_strain import FullState, Stepper
from nwidth.mechanics.adaptive_origin import STATES, Origin
from nwidth.mechanics.adaptive_states import Material, PointStates
from nwidth.mechanics.adaptive_stepping import check_flux, stepped
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.training import Added, Training, assembled_body, dual_basis, strains_of, tensor_order
from nwidth.models.files import create_array
from nwidth_graphs.kernels.enrichment import Enriched, Product, enriched
from nwidth_graphs.kernels.indicator import Calibration

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Missed:
    """The step that was not good enough."""

    step: int
    """l."""
    q: Floats
    """(N,) at t_{l-1}."""
    states: PointStates
    """At t_{l-1}."""
    residual: float
    """rho at t_l; NaN where the reduced step failed."""
    coefficients: Mapping[str, Floats]
    """Dual field -> z (N_p,) at t_l."""


@dataclass(frozen=True)
class Update:
    """What one full-order step has changed: a line of the ledger."""

    step: int
    time: float
    missed: float
    """``|h|_M / |u|_M``: what the old basis missed of the new displacement."""
    missed_dual: float
    """The same of the indicating field, Euclidean."""
    error: float
    """True relative error of the indicating field before, against the full-order step; NaN where the reduced step failed."""
    remaining: float
    """The same of the step when it was done again; NaN where it failed."""
    modes: int
    dual_modes: int
    points: int
    """With a weight."""
    rule_error: float
    """On all training states and all those of full-order steps."""
    step_seconds: float
    """Of the full-order step."""
    seconds: float
    """Of the whole update."""


@dataclass(frozen=True)
class Updated:
    """A body after an update."""

    body: ReducedBody
    training: Training
    told: Update
    truth: Floats
    """(N_p,) of the indicating field at t_l, by the full-order step."""
    norm: float
    """Of the whole field."""

    def error_of(self, coefficients: Floats) -> float:
        """True relative error of the indicating field, given z (N_p,): its truth is in the span of the new modes."""
        return float(np.linalg.norm(coefficients - self.truth)) / self.norm if self.norm > 0.0 else math.nan


@dataclass(frozen=True)
class Updater:
    """Where full-order steps come from, and where enriched modes go."""

    stepper: Stepper
    parameters: Mapping[str, float]
    material: Material
    origin: Origin
    product: Product | None
    work: Path

    def update(self, body: ReducedBody, training: Training, missed: Missed) -> Updated:
        """One full-order step, and the body that knows it.

        Raises
        ------
        RunError
            The full-order step was not found, or is not one of this body.
        InputError
            No rule, or no mask, was found on what is known now.
        """
        clock = time.perf_counter()
        after = self._full_step(training, missed)
        step_seconds = time.perf_counter() - clock
        done = 0 if training.added is None else training.added.states
        into = self.work / f"update-{done + 1}"
        shutil.rmtree(into, ignore_errors=True)
        displacement = _enriched(training, body.displacement, after.displacement, self.product, into)
        added = Added(into, done + 1, body.points[body.weights > 0.0])
        new = replace(training, added=added, token=f"{training.token}-{done + 1}")
        self._check(new, missed, displacement, after)
        duals = {dual.name: self._dual(training, dual.name, dual.variable, after, into) for dual in body.duals}
        self._write_states(training, after.flux, added)
        indicated, size = duals[body.indicating]
        known = indicated.coordinates
        error = _error(missed.coefficients.get(body.indicating), known, size)
        trained = assembled_body(new)
        trained = replace(trained, calibration=_with_pair(body.calibration, missed.residual, error))
        told = Update(
            step=missed.step,
            time=float(self.material.case.times[missed.step]),
            missed=displacement.missed,
            missed_dual=indicated.missed,
            error=error,
            remaining=math.nan,
            modes=trained.rank,
            dual_modes=len(known),
            points=trained.rule.points,
            rule_error=trained.rule.training,
            step_seconds=step_seconds,
            seconds=time.perf_counter() - clock,
        )
        return Updated(trained, new, told, known, size)

    def _full_step(self, training: Training, missed: Missed) -> FullState:
        times = self.material.case.times
        modes = _modes(training, training.options.displacement)
        u = np.tensordot(missed.q, modes, axes=1)
        u = np.pad(u, ((0, 0), (0, 3 - u.shape[1])))
        before = FullState(float(times[missed.step - 1]), u, missed.states.flux, missed.states.internal)
        return stepped(self.stepper, before, self.parameters, float(times[missed.step] - times[missed.step - 1]))

    def _check(self, training: Training, missed: Missed, displacement: Enriched, after: FullState) -> None:
        """The new displacement is in the span of the new modes: the body's law along it must give the stress of the step."""
        own = self.material.along(strains_of(training), displacement.coordinates[None], missed.states)
        check_flux(after.flux, own.flux)

    def _dual(self, training: Training, name: str, variable: str, after: FullState, into: Path) -> tuple[Enriched, float]:
        """The enriched modes of one dual field, and the norm of the new state."""
        values = after.flux if variable == "flux" else after.internal[variable]
        order = dual_basis(training, name, variable).order
        stored = values[:, order] if values.ndim > 1 else values
        return _enriched(training, name, stored, None, into), float(np.linalg.norm(stored))

    def _write_states(self, training: Training, flux: Floats, added: Added) -> None:
        """All stress states of full-order steps, in the store's order of components."""
        import zarr

        info = training.store.schema().fields[training.options.stress]
        states = flux[None][:, :, np.argsort(tensor_order(info))]
        if training.added is not None:
            earlier: Any = zarr.open_array(str(training.added.folder / STATES / "modes"), mode="r")
            states = np.concatenate([np.asarray(earlier[...]), states])
        group = zarr.open_group(str(added.folder / STATES), mode="a")
        chunks = (len(states), info.chunks[1], states.shape[2])
        create_array(group, "modes", states.shape, chunks, ("mode", "point", "component"))[...] = states
        replace(self.origin, states=len(states)).write(added.folder)


def _modes(training: Training, field: str) -> Floats:
    """All of a field's modes, (N, *space[, components])."""
    import zarr

    stored: Any = zarr.open_array(str(training.folder(field) / "modes"), mode="r")
    return np.asarray(stored[...], np.float64)


def _enriched(training: Training, field: str, state: Floats, product: Product | None, into: Path) -> Enriched:
    """Modes of a field that hold a new state (*space[, components]), written under `into` as the old ones are."""
    import zarr

    old = _modes(training, field)
    state = state[..., : old.shape[2]] if old.ndim > 2 else state
    try:
        found = enriched(old.reshape(len(old), -1).T, state.ravel(), product)
    except ValueError as error:
        raise RunError(f"{field!r} of the full-order step: {error}") from None
    source: Any = zarr.open_group(str(training.folder(field)), mode="r")
    group = zarr.open_group(str(into / field), mode="a")
    group.attrs.update(source.attrs.asdict())
    modes = found.modes.T.reshape(-1, *old.shape[1:])
    stored = source["modes"]
    create_array(group, "modes", modes.shape, stored.chunks, stored.metadata.dimension_names)[...] = modes
    return found


def _error(found: Floats | None, truth: Floats, norm: float) -> float:
    """``|Psi z - p| / |p|`` of a z in the old modes, p in the span of the new ones."""
    if found is None or not norm > 0.0 or not np.isfinite(found).all():
        return math.nan
    return float(np.linalg.norm(np.pad(found, (0, len(truth) - len(found))) - truth)) / norm


def _with_pair(calibration: Calibration | None, residual: float, error: float) -> Calibration | None:
    """The calibration with one pair more, where it is one."""
    if calibration is None or not (residual > 0.0 and error > 0.0):
        return calibration
    return calibration.with_pairs(np.array([residual]), np.array([error]))
