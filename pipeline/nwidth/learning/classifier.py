"""From features to clusters: logistic regression, or perceptrons with a logistic regression on top; both judged out of fold.

    logistic    softmax(C z + b), ridge penalty                                              the sound default
    stacking    six perceptrons; a ridge logistic regression of their probabilities, which it sees out of fold

Everything that is held out is held out by experiment: in the cross-validation, in the stacking, in the calibration. New inputs
(`augmentation`) are made of what a fold trains with, and of nothing else.

Source  T. Daniel et al., Data augmentation and feature selection for automatic model recommendation in computational physics,
        Math. Comput. Appl. 26(1):17 (2021), for the stacking
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nwidth.errors import ConfigError, InputError
from nwidth.learning.augmentation import augment
from nwidth.learning.calibration import FEWEST, fit_calibration
from nwidth.learning.extra import scikit_learn
from nwidth.learning.splitting import Split, splits_by_group
from nwidth.models.classifiers import Classifier, Constant, Logistic, Perceptron, Stacking, scaling_of

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

KINDS = ("logistic", "stacking")
HIDDEN: tuple[tuple[int, ...], ...] = ((10,), (20,), (40,), (10, 10), (20, 20), (40, 20))
"""Hidden layers of the six perceptrons: they differ, so that their errors do."""
STACKING_FOLDS = 5


@dataclass(frozen=True)
class Options:
    """How a classifier is made."""

    kind: str = "logistic"
    augmentation: float = 0.0
    """New inputs, as a multiple of those that there are."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"classifier is {self.kind!r}, expected one of {', '.join(KINDS)}")
        if not 0.0 <= self.augmentation <= 100.0:
            raise ConfigError(f"augmentation is {self.augmentation}, expected a number of new inputs for each between 0 and 100")


@dataclass(frozen=True)
class Validation:
    """What a classifier says of rows that it was not trained with."""

    rows: Indices
    """(v,): rows that were held out once."""
    predicted: Indices
    """(v,)."""
    decisions: Floats | None
    """(v, c) or (v, 1); None where a fold had not all classes, so that decisions cannot be put side by side."""
    folds: int


def fit_classifier(
    X: Floats, labels: Indices, groups: Indices, count: int, options: Options, validation: Validation | None = None
) -> tuple[Classifier, tuple[str, ...]]:
    """Train.

    Parameters
    ----------
    X : (m, d) array
        Features.
    labels : (m,) array of int
        Clusters, 0 to `count` - 1; some may not occur.
    groups : (m,) array of int
        Experiments.
    count : int
        K.
    validation : Validation, optional
        Of the same data: where it suffices, probabilities are calibrated with it.

    Returns
    -------
    The classifier, and what is to be said of it, in sentences.

    Raises
    ------
    InputError
        A feature is not finite.
    ConfigError
        scikit-learn is not installed.
    """
    if not np.isfinite(X).all():
        row = int(np.argmin(np.isfinite(X).all(axis=1)))
        raise InputError(f"the features of training sample {row} are not finite; mend the inputs, or drop the simulation")
    scaling = scaling_of(X)
    classes = np.unique(labels)
    estimator = fit_estimator(scaling(X), labels, groups, options)
    notes = [f"cluster {k} has no training sample, and is never chosen" for k in range(count) if k not in classes]
    calibration = None
    if len(classes) > 1:
        why = _why_not_calibrated(groups, validation)
        if why:
            notes.append(f"probabilities are not calibrated: {why}")
        elif validation is not None and validation.decisions is not None:
            calibration = fit_calibration(validation.decisions, np.searchsorted(classes, labels[validation.rows]))
    return Classifier(scaling, estimator, calibration, classes, count), tuple(notes)


def _why_not_calibrated(groups: Indices, validation: Validation | None) -> str | None:
    count = len(np.unique(groups))
    if count < FEWEST:
        return f"there are {count} simulations, and {FEWEST} are needed"
    if validation is None or validation.decisions is None:
        return "there was no validation in which every fold had all classes"
    return None


def cross_validate(X: Floats, labels: Indices, groups: Indices, options: Options, splits: Sequence[Split]) -> Validation:
    """Train on each split's first rows, and label its others."""
    classes = np.unique(labels)
    rows, predicted, decisions, whole = [], [], [], True
    for training, held in splits:
        scaling = scaling_of(X[training])
        estimator = fit_estimator(scaling(X[training]), labels[training], groups[training], options)
        seen = np.unique(labels[training])
        asked = scaling(X[held])
        rows.append(held)
        predicted.append(seen[np.argmax(estimator.probabilities(asked), axis=1)])
        decisions.append(estimator.decision(asked))
        whole &= np.array_equal(seen, classes)
    if not rows:
        return Validation(np.empty(0, np.int64), np.empty(0, np.int64), None, 0)
    return Validation(np.concatenate(rows), np.concatenate(predicted), np.concatenate(decisions) if whole else None, len(splits))


def fit_estimator(x: Floats, labels: Indices, groups: Indices, options: Options) -> Constant | Logistic | Stacking:
    """Train on standardised features (m, d)."""
    if len(np.unique(labels)) == 1:
        return Constant(x.shape[1])
    if x.shape[1] == 0:
        raise InputError("the experiments have no parameter to tell clusters by; give parameters or input fields")
    scikit_learn()
    # Features are few and samples a few thousand: several threads only wait for one another.
    with threadpool_limits(1):
        if options.kind == "logistic":
            return _logistic(*_enlarged(x, labels, options))
        return _stacking(x, labels, groups, options)


def _enlarged(x: Floats, labels: Indices, options: Options) -> tuple[Floats, Indices]:
    new = augment(x, labels, round(options.augmentation * len(x)), seed=options.seed)
    return np.vstack([x, new.features]), np.concatenate([labels, new.labels])


def _logistic(x: Floats, labels: Indices) -> Logistic:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=10_000).fit(x, labels)
    return Logistic(fitted.coef_, fitted.intercept_)


def _stacking(x: Floats, labels: Indices, groups: Indices, options: Options) -> Constant | Logistic | Stacking:
    """Perceptrons, and a logistic regression of what they say of samples that they have not seen."""
    classes = np.unique(labels)
    splits = splits_by_group(labels, groups, STACKING_FOLDS, options.seed)
    if not splits or any(len(np.unique(labels[training])) < len(classes) for training, _ in splits):
        # Without a fold that has all classes there is nothing to stack on.
        return _logistic(*_enlarged(x, labels, options))
    members, said = [], []
    for number, hidden in enumerate(HIDDEN):
        members.append(_perceptron(*_enlarged(x, labels, options), hidden, options.seed + number))
        unseen = np.empty((len(x), len(classes)))
        for training, held in splits:
            part = _perceptron(*_enlarged(x[training], labels[training], options), hidden, options.seed + number)
            unseen[held] = part.probabilities(x[held])
        said.append(unseen[:, 1:] if len(classes) == 2 else unseen)
    return Stacking(tuple(members), _logistic(np.hstack(said), labels))


def _perceptron(x: Floats, labels: Indices, hidden: tuple[int, ...], seed: int) -> Perceptron:
    fitted = perceptron(hidden, seed)
    with warnings.catch_warnings():
        # Stopping early is a regularisation here, and no failure; the accuracy is measured.
        warnings.simplefilter("ignore")
        fitted.fit(x, labels)
    return Perceptron(tuple(fitted.coefs_), tuple(fitted.intercepts_))


def perceptron(hidden: tuple[int, ...], seed: int) -> Any:
    """The perceptron that is trained, as scikit-learn's estimator: few data, so all of them in every step."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(hidden, solver="lbfgs", alpha=1e-2, max_iter=500, random_state=seed)
