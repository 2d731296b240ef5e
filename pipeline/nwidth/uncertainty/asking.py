"""Who answers a draw: the protocol of a reduced model in a Monte Carlo run, and the model that `nw.learn` has taught.

inputs (D,) of a batch ──Surrogate.ask──> Answers: cluster, coefficients of every field at every time, indicator, words
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, NwidthError
from nwidth.models.basis import Basis
from nwidth.models.inputs import Parameters
from nwidth.models.learned import ClusterRegression, Learned
from nwidth.models.model import Model
from nwidth.models.predicting import Choice, choose
from nwidth.uncertainty.draws import Draws
from nwidth_graphs.draws import Answers

Floats = NDArray[np.float64]


class Surrogate(Protocol):
    """A reduced model that answers batches of draws; travels to the workers."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that it needs."""
        ...

    @property
    def times(self) -> Floats:
        """(T,) times of its answers; one NaN where it knows no time."""
        ...

    @property
    def modes(self) -> Mapping[str, tuple[str, ...]]:
        """Field -> folder of its modes inside of the model, cluster by cluster."""
        ...

    def ask(self, inputs: Mapping[str, Floats]) -> Answers:
        """The answers to D draws. A draw that cannot be answered is a label -1 and a sentence, never an exception."""
        ...


@dataclass(frozen=True)
class AskDraws:
    """``ask(start, stop)`` of `nwidth_graphs.draws`: makes the draws where they are answered."""

    surrogate: Surrogate
    draws: Draws

    def __call__(self, start: int, stop: int) -> Answers:
        return self.surrogate.ask(self.draws(start, stop))


@dataclass(frozen=True)
class LearnedSurrogate:
    """The classifier and the regressions of a model; its indicator is the certificate's projection error and the regression's."""

    learned: Learned
    bases: Mapping[str, tuple[str, ...]]
    """Field -> name of its basis, cluster by cluster."""
    ranks: Mapping[str, tuple[int, ...]]
    """Field -> rank of its basis, cluster by cluster."""
    errors: tuple[float, ...]
    """By cluster: projection and regression error together, relative, the worst of its bases."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The parameters that it was trained with."""
        return self.learned.features.names  # type: ignore[union-attr]  # checked by `learned_surrogate`

    @property
    def modes(self) -> Mapping[str, tuple[str, ...]]:
        """As every model has them."""
        return {field: tuple(f"bases/{name}/{field}" for name in names) for field, names in self.bases.items()}

    @property
    def times(self) -> Floats:
        """The times of the training simulations."""
        return self.learned.times if self.learned.timed else np.array([np.nan])

    def ask(self, inputs: Mapping[str, Floats]) -> Answers:
        """One draw after the other: a choice and a regression are microseconds beside what a field would cost."""
        draws = len(next(iter(inputs.values())))
        answers = empty_answers(draws, len(self.times), self.ranks)
        words = [self._answer(answers, d, {name: float(inputs[name][d]) for name in self.inputs}) for d in range(draws)]
        return Answers(answers.labels, answers.coefficients, answers.indicator, tuple(words), answers.seconds)

    def _answer(self, answers: Answers, draw: int, given: Mapping[str, float]) -> str:
        """Fill in the answer of one draw; what is to be said of it."""
        try:
            choices = [choose(self.learned, given, float(t) if self.learned.timed else None) for t in self.times]
            z = self.learned.features(given)
        except NwidthError as error:
            return str(error)
        for time, choice in enumerate(choices):
            self._at_time(answers, draw, time, choice, z)
        reason = next((choice.reason for choice in choices if choice.reason), None)
        return f"unlike all of training: {reason}" if reason else ""

    def _at_time(self, answers: Answers, draw: int, time: int, choice: Choice, z: Floats) -> None:
        cluster = self.learned.clusters[choice.nearest]
        answers.labels[draw, time] = choice.nearest
        asked = np.append(z, self.times[time])[None] if self.learned.timed else z[None]
        for name, regression in zip(cluster.bases, cluster.regressions, strict=True):
            values = regression.predict(asked)[0][0]
            for field, names in self.bases.items():
                if names[choice.nearest] == name:
                    answers.coefficients[field][draw, time, : len(values)] = values
        answers.indicator[draw, time] = self.errors[choice.nearest]


def empty_answers(draws: int, times: int, ranks: Mapping[str, tuple[int, ...]]) -> Answers:
    """Answers of draws that have all failed, to be filled in."""
    return Answers(
        labels=np.full((draws, times), -1, np.int64),
        coefficients={name: np.zeros((draws, times, max(of))) for name, of in ranks.items()},
        indicator=np.full((draws, times), np.nan),
        words=("",) * draws,
        seconds=np.zeros(draws),
    )


def check_inputs(surrogate: Surrogate, draws: Draws) -> None:
    """Refuse draws of other inputs than the model needs.

    Raises
    ------
    ConfigError
        Names what is missing, and what is not known.
    """
    missing = [name for name in surrogate.inputs if name not in draws.names]
    unknown = [name for name in draws.names if name not in surrogate.inputs]
    if missing or unknown:
        what = " and ".join(
            text for text, names in ((f"lacks {', '.join(missing)}", missing), (f"has {', '.join(unknown)}", unknown)) if names
        )
        raise ConfigError(
            f"uncertainty.parameters {what}, and the model takes exactly {', '.join(surrogate.inputs)}; an input that is certain "
            'is {distribution = "constant", value = ...}'
        )


def learned_surrogate(model: Model) -> LearnedSurrogate:
    """What `nw.learn` has taught a model, as a surrogate.

    Raises
    ------
    StoreError
        The model has learnt nothing.
    ConfigError
        It answers input fields, of which no distribution is known.
    """
    learned = model.learned
    if not isinstance(learned.features, Parameters):
        raise ConfigError("the model was trained with input fields, and draws are of parameters; train it with parameters")
    by_cluster = [[model.bases[name] for name in cluster.bases] for cluster in learned.clusters]
    fields = dict.fromkeys(field for bases in by_cluster for basis in bases for field in basis.fields)
    found = {field: [next(basis for basis in bases if field in basis.fields) for bases in by_cluster] for field in fields}
    return LearnedSurrogate(
        learned=learned,
        bases={field: tuple(basis.name for basis in bases) for field, bases in found.items()},
        ranks={field: tuple(basis.rank for basis in bases) for field, bases in found.items()},
        errors=tuple(_worst_error(cluster, bases) for cluster, bases in zip(learned.clusters, by_cluster, strict=True)),
    )


def _worst_error(cluster: ClusterRegression, bases: Sequence[Basis]) -> float:
    """Projection and regression error are orthogonal: their squares add up."""
    return max(
        math.hypot(basis.certificate.frobenius_error, math.nan if error is None else error)
        for basis, error in zip(bases, cluster.regression_errors, strict=True)
    )
