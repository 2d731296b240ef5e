"""A dictionary of reduced bodies as a surrogate of Monte Carlo: inputs -> cluster -> reduced Newton -> dual fields -> indicator.

The cluster is chosen once for a draw: internal variables live at the points of one body, and a change of bodies would lose them.

Source  T. Daniel, F. Casenave, N. Akkari, D. Ryckelynck, C. Rey, Mechanics & Industry 23 (2022) 3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import NwidthError
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.case import Case
from nwidth.models.learned import Learned
from nwidth.models.predicting import choose
from nwidth.uncertainty.asking import empty_answers
from nwidth_graphs.draws import Answers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MechanicsSurrogate:
    """K reduced bodies and what chooses among them; travels to the workers."""

    case: Case
    bodies: tuple[ReducedBody, ...]
    learned: Learned | None = None
    """Classifier and novelty; None where there is one body."""

    def __post_init__(self) -> None:
        if self.learned is not None:
            # Regressions of coordinates are megabytes, nobody asks them here, and the surrogate travels with every pass.
            object.__setattr__(self, "learned", replace(self.learned, clusters=()))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of the case."""
        return self.case.inputs

    @property
    def times(self) -> Floats:
        """Those of the case."""
        return np.asarray(self.case.times, np.float64)

    @property
    def modes(self) -> Mapping[str, tuple[str, ...]]:
        """Displacement and dual fields, cluster by cluster."""
        first = self.bodies[0]
        found = {first.displacement: tuple(body.modes for body in self.bodies)}
        for number, dual in enumerate(first.duals):
            found[dual.name] = tuple(body.duals[number].modes for body in self.bodies)
        return found

    def ask(self, inputs: Mapping[str, Floats]) -> Answers:
        """All draws of one cluster advance together."""
        draws = len(next(iter(inputs.values())))
        answers = empty_answers(draws, len(self.times), self._ranks())
        labels, words = self._choose(inputs, draws)
        for label in np.unique(labels[labels >= 0]):
            there = np.flatnonzero(labels == label)
            self._solve(answers, words, int(label), there, {name: values[there] for name, values in inputs.items()})
        return replace(answers, words=tuple(words))

    def _ranks(self) -> dict[str, tuple[int, ...]]:
        ranks = {self.bodies[0].displacement: tuple(body.rank for body in self.bodies)}
        for number, dual in enumerate(self.bodies[0].duals):
            ranks[dual.name] = tuple(body.duals[number].masked.modes for body in self.bodies)
        return ranks

    def _choose(self, inputs: Mapping[str, Floats], draws: int) -> tuple[NDArray[np.int64], list[str]]:
        """The cluster of every draw, and what is to be said of the choice; -1 where an input is refused."""
        labels, words = np.zeros(draws, np.int64), [""] * draws
        if self.learned is None:
            return labels, words
        # Inputs that training did not vary tell no clusters apart; whether a new value of them matters, the indicator has to say.
        known = getattr(self.learned.features, "names", self.inputs)
        for draw in range(draws):
            given = {name: float(inputs[name][draw]) for name in known}
            try:
                choice = choose(self.learned, given)
            except NwidthError as error:
                labels[draw], words[draw] = -1, str(error)
                continue
            labels[draw] = choice.nearest
            words[draw] = f"unlike all of training: {choice.reason}" if choice.reason else ""
        return labels, words

    def _solve(
        self, answers: Answers, words: list[str], label: int, there: NDArray[np.intp], inputs: Mapping[str, Floats]
    ) -> None:
        try:
            solved = self.bodies[label].solve(self.case, inputs)
        except NwidthError as error:
            for draw in there:
                words[draw] = str(error)
            return
        failed = np.isin(np.arange(len(there)), list(solved.failures))
        for place, why in solved.failures.items():
            words[there[place]] = why
        good = there[~failed]
        answers.labels[good] = label
        answers.indicator[good] = solved.indicator[~failed]
        for name, values in solved.coefficients.items():
            answers.coefficients[name][good, :, : values.shape[2]] = values[~failed]
        beyond = solved.extrapolated[~failed].any(axis=1)
        for draw in good[beyond]:
            words[draw] = words[draw] or "its residual lies outside of those that the indicator was calibrated with"
