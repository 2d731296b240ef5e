"""The march itself: reduced steps, each judged, and the changes of bodies between them.

    step l ──> Attempt ──decide──> accept or stop ──> take
                          └─enrich──> Updater ──> new body, states of its points at t_{l-1} ──> step l again ──decide──> take

Only one body is known at a time; bases are nested, so that earlier coordinates stay what they are, with zeros below.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import NwidthError
from nwidth.mechanics.adaptive_ledger import AdaptiveLedger
from nwidth.mechanics.adaptive_states import Material, PointStates
from nwidth.mechanics.adaptive_update import Missed, Updated, Updater
from nwidth.mechanics.body import DualField, ReducedBody, Solved
from nwidth.mechanics.case import load_series, temperatures
from nwidth.mechanics.training import Training, strains_of
from nwidth_graphs.kernels.enrichment import Action, Decision, decide, padded
from nwidth_graphs.kernels.reduced_newton import solve_reduced
from nwidth_graphs.kernels.reduced_problem import FLUX, NewtonSettings, PointSet

Floats = NDArray[np.float64]
States = Mapping[str, Floats]


@dataclass(frozen=True)
class Driven:
    """A body with the loads and temperatures of one case at its own modes and points."""

    body: ReducedBody
    material: Material

    @cached_property
    def forces(self) -> Floats:
        """(T, N)."""
        case, inputs = self.material.case, self.material.inputs
        return np.asarray(load_series(case, inputs, self.body.load_names)[0] @ self.body.loads)

    @cached_property
    def temperatures(self) -> Floats:
        """(T, n)."""
        case, inputs = self.material.case, self.material.inputs
        return np.asarray(self.body.interpolation(temperatures(case, inputs, self.body.interpolation.nodes))[0])

    @property
    def indicating(self) -> DualField:
        """The dual field whose residual is the indicator's."""
        return next(dual for dual in self.body.duals if dual.name == self.body.indicating)

    def at_rest(self) -> States:
        """The law at the body's points, at the first time: states of one draw (1, n, ...)."""
        law = self.material.law
        return law.initial_state(np.zeros((1, len(self.body.points), law.size)), self.temperatures[None, 0])

    def step(self, number: int, q: Floats, states: States) -> Attempt:
        """One reduced step, to the time `number`, from coordinates (N,) and states (1, n, ...)."""
        both = slice(number - 1, number + 1)
        history = solve_reduced(
            [PointSet(self.body.strains, self.body.weights, self.material.law)],
            self.material.case.times[both],
            self.forces[None, both],
            temperatures=[self.temperatures[None, both]],
            initial=q[None],
            initial_states=[states],
            settings=NewtonSettings(tolerance=self.body.tolerance),
        )
        return Attempt(self.body.judged(history), self.indicating)


@dataclass(frozen=True)
class Attempt:
    """One reduced step, judged."""

    solved: Solved
    """One draw at two times."""
    indicating: DualField

    @property
    def failure(self) -> str:
        """Why there is no step; empty where there is one."""
        return next(iter(self.solved.failures.values()), "").partition(": ")[2]

    @property
    def residual(self) -> float:
        """rho."""
        return float(self.solved.residuals[self.indicating.name][0, 1])

    @property
    def indicator(self) -> float:
        """eta."""
        return float(self.solved.indicator[0, 1])

    @property
    def norm(self) -> float:
        """Of the indicating field."""
        return float(np.linalg.norm(self.solved.coefficients[self.indicating.name][0, 1]))

    @property
    def coefficients(self) -> dict[str, Floats]:
        """Field -> (N,)."""
        return {name: values[0, 1] for name, values in self.solved.coefficients.items()}

    @property
    def states(self) -> dict[str, Floats]:
        """Internal variables at the body's points, (1, n, ...)."""
        history = self.solved.history
        return {name: history.duals[0][name][:, 1] for name in history.duals[0] if name != FLUX}


@dataclass
class March:
    """One load case, time after time."""

    updater: Updater
    ledger: AdaptiveLedger
    tolerance: float
    most_updates: int
    body: ReducedBody
    training: Training
    tried: int = field(default=0, init=False)
    """Full-order steps, found or not."""
    folder: Path | None = field(default=None, init=False)
    """Of the modes of `body`, where they are enriched."""

    def __post_init__(self) -> None:
        self.driven = Driven(self.body, self.updater.material)
        self.states = self.driven.at_rest()
        self.known: PointStates | None = None
        """All points at the last time that was enriched from."""
        names = (self.body.displacement, *(dual.name for dual in self.body.duals))
        self.path: list[dict[str, Floats]] = [dict.fromkeys(names, np.zeros(0))]
        count = len(self.updater.material.case.times)
        self.residuals, self.indicator = np.full(count, np.nan), np.full(count, np.nan)

    def run(self) -> str:
        """March to the last time; why it ended before, or nothing."""
        times = self.updater.material.case.times
        for step in range(1, len(times)):
            found = self._judged_step(step)
            if found.failure:
                return f"ended before t = {times[step]:g}: {found.failure}"
            self.path.append(found.coefficients)
            self.states = found.states
            self.residuals[step], self.indicator[step] = found.residual, found.indicator
        return ""

    def coefficients(self) -> dict[str, Floats]:
        """Field -> (T, N) in the modes of the last body; NaN at times that were not reached."""
        ranks = {self.body.displacement: self.body.rank, **{dual.name: dual.masked.modes for dual in self.body.duals}}
        found = {name: np.full((len(self.residuals), rank), np.nan) for name, rank in ranks.items()}
        for time, values in enumerate(self.path):
            for name, q in values.items():
                found[name][time] = padded(q, ranks[name])
        return found

    def _judged_step(self, step: int) -> Attempt:
        found = self._attempt(step)
        decision = self._decision(step, found)
        if decision.action is not Action.ENRICH:
            self._log(decision)
            return found
        before = (self.body, self.training, self.driven, self.states)
        try:
            updated = self._enrich(step, found)
        except NwidthError as error:
            self.tried += 1
            self._log(replace(decision, action=Action.STOP, reason=f"{decision.reason}, and {error}"))
            return found
        self._log(decision)
        self.tried += 1
        again = self._attempt(step)
        if again.failure and not found.failure:
            self.body, self.training, self.driven, self.states = before
            self._log(replace(self._decision(step, again, retried=True), reason=f"{again.failure}; the step before it is kept"))
            return found
        self._settle(before[1], updated, again)
        self._log(self._decision(step, again, retried=True))
        return again

    def _attempt(self, step: int) -> Attempt:
        return self.driven.step(step, padded(self.path[-1][self.body.displacement], self.body.rank), self.states)

    def _decision(self, step: int, found: Attempt, *, retried: bool = False) -> Decision:
        # A field of zeros has no residual, whatever the smallest norm.
        smallest = max(found.indicating.smallest_norm, np.finfo(np.float64).tiny)
        decision = decide(
            step,
            found.residual,
            found.indicator,
            tolerance=self.tolerance,
            updates=self.tried,
            most_updates=self.most_updates,
            extrapolated=bool(found.solved.extrapolated[0, 1]),
            norm=math.inf if found.failure else found.norm,
            smallest_norm=smallest,
            retried=retried,
        )
        return replace(decision, reason=f"the reduced step failed: {found.failure}") if found.failure else decision

    def _log(self, decision: Decision) -> None:
        self.ledger.decide(decision, float(self.updater.material.case.times[decision.step]))

    def _enrich(self, step: int, found: Attempt) -> Updated:
        """Take one full-order step, and put the body that knows it in the place of this one."""
        q = padded(self.path[-1][self.body.displacement], self.body.rank)
        states = self._all_points(step - 1)
        missed = Missed(step, q, states, found.residual, {} if found.failure else found.coefficients)
        updated = self.updater.update(self.body, self.training, missed)
        self.body, self.training = updated.body, updated.training
        self.driven = Driven(self.body, self.updater.material)
        self.states, self.known = states.at(self.body.points), states
        return updated

    def _all_points(self, step: int) -> PointStates:
        """The law at all points at a time, along the path since the last time that was enriched from."""
        first = 0 if self.known is None else self.known.step
        rank, name = self.body.rank, self.body.displacement
        path = np.array([padded(values[name], rank) for values in self.path[first + 1 : step + 1]]).reshape(-1, rank)
        return self.updater.material.along(strains_of(self.training), path, self.known)

    def _settle(self, old: Training, updated: Updated, again: Attempt) -> None:
        """Tell the update, and forget the modes that it has replaced, unless they are a model's."""
        remaining = math.nan if again.failure else updated.error_of(again.coefficients[self.body.indicating])
        self.ledger.update(replace(updated.told, remaining=remaining))
        if self.folder is not None and old.added is not None:
            shutil.rmtree(old.added.folder, ignore_errors=True)
        self.folder = None if updated.training.added is None else updated.training.added.folder
