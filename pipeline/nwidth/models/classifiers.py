"""Classifiers as arrays that answer: NumPy only, so that a model predicts where scikit-learn is not installed.

    probabilities(X (n, d)) -> (n, c)         for the c classes that training has seen
    decision(X) -> (n, c), or (n, 1) for two classes: what goes into the softmax or the logistic function

They are fitted in `nwidth.learning`, and equal scikit-learn's own predictions to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Scaling:
    """``(x - mean) / scale``, feature by feature; a feature that did not vary in training has the scale 1."""

    mean: Floats
    """(d,)."""
    scale: Floats
    """(d,)."""

    def __call__(self, X: Floats) -> Floats:
        return (X - self.mean) / self.scale


def scaling_of(X: Floats) -> Scaling:
    """Mean and standard deviation (divisor n) of the rows of X (n, d)."""
    spread = X.std(axis=0)
    # As scikit-learn's scaler: what varies by rounding only does not vary.
    constant = spread <= 10.0 * np.finfo(np.float64).eps * np.abs(X).max(axis=0, initial=0.0)
    return Scaling(X.mean(axis=0), np.where(constant, 1.0, spread))


@dataclass(frozen=True)
class Constant:
    """One class, whatever is asked."""

    features: int

    def decision(self, X: Floats) -> Floats:
        return np.zeros((len(X), 1))

    def probabilities(self, X: Floats) -> Floats:
        return np.ones((len(X), 1))


@dataclass(frozen=True)
class Logistic:
    """``softmax(X C^T + b)``; with two classes ``C (1, d)`` and the logistic function."""

    coefficients: Floats
    """C (c, d), or (1, d)."""
    intercepts: Floats
    """b (c,), or (1,)."""

    def decision(self, X: Floats) -> Floats:
        return np.asarray(X @ self.coefficients.T + self.intercepts)

    def probabilities(self, X: Floats) -> Floats:
        return _probabilities(self.decision(X))


@dataclass(frozen=True)
class Perceptron:
    """A multilayer perceptron: rectified linear hidden layers, softmax (or, for two classes, logistic) on top."""

    weights: tuple[Floats, ...]
    """W_l (inputs of layer l, outputs)."""
    biases: tuple[Floats, ...]

    def decision(self, X: Floats) -> Floats:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            X = np.maximum(X @ weight + bias, 0.0)
        return np.asarray(X @ self.weights[-1] + self.biases[-1])

    def probabilities(self, X: Floats) -> Floats:
        return _probabilities(self.decision(X))


@dataclass(frozen=True)
class Stacking:
    """Perceptrons side by side, and a logistic regression of their probabilities."""

    members: tuple[Perceptron, ...]
    final: Logistic

    def decision(self, X: Floats) -> Floats:
        parts = [member.probabilities(X) for member in self.members]
        # The two probabilities of two classes say the same thing: the second is enough.
        return self.final.decision(np.hstack([part[:, 1:] if part.shape[1] == 2 else part for part in parts]))

    def probabilities(self, X: Floats) -> Floats:
        return _probabilities(self.decision(X))


@dataclass(frozen=True)
class Calibration:
    """Temperature scaling: ``softmax(beta f)``, or the logistic function of ``beta f`` for two classes."""

    beta: float

    def probabilities(self, decision: Floats) -> Floats:
        return _probabilities(self.beta * decision)


@dataclass(frozen=True)
class Classifier:
    """From features to the probability of every cluster."""

    scaling: Scaling
    estimator: Constant | Logistic | Stacking
    calibration: Calibration | None
    """None where there were too few data to calibrate."""
    classes: Indices
    """(c,): clusters that training has seen, ascending."""
    count: int
    """K clusters in all; one that training has never seen has the probability 0."""

    def probabilities(self, X: Floats) -> Floats:
        """Probabilities (n, K) for features X (n, d)."""
        scaled = self.scaling(X)
        if self.calibration is None:
            seen = self.estimator.probabilities(scaled)
        else:
            seen = self.calibration.probabilities(self.estimator.decision(scaled))
        everything = np.zeros((len(X), self.count))
        everything[:, self.classes] = seen
        return everything

    def labels(self, X: Floats) -> Indices:
        """The most probable cluster (n,), which calibration does not change; the lowest of several."""
        return np.asarray(np.argmax(self.probabilities(X), axis=1))


def _probabilities(decision: Floats) -> Floats:
    if decision.shape[1] == 1:
        positive = scipy.special.expit(decision)
        return np.hstack([1.0 - positive, positive])
    return np.asarray(scipy.special.softmax(decision, axis=1))
