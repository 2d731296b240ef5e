"""Classifiers: equal to scikit-learn's to rounding, judged by experiment, calibrated, honest about what they have not seen."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from nwidth.errors import ConfigError, InputError
from nwidth.learning import classifier as making
from nwidth.learning.calibration import LARGEST_FACTOR, fit_calibration
from nwidth.learning.classifier import Options, cross_validate, fit_classifier
from nwidth.learning.evaluation import ErrorsOfSamples, evaluate
from nwidth.learning.splitting import check_split, splits_by_group, splits_by_name
from nwidth.models.classifiers import Constant

pytest.importorskip("sklearn", reason="training takes scikit-learn")

EXPERIMENTS, TIMES = 48, 3


def drawn(count: int, seed: int = 0, noise: float = 0.4) -> tuple[Any, Any, Any]:
    """Features (144, 3), labels and experiments: classes by the first feature, with noise."""
    rng = np.random.default_rng(seed)
    Z = np.repeat(rng.standard_normal((EXPERIMENTS, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 100.0], TIMES, axis=0)
    Z[:, 1] += rng.standard_normal(len(Z))
    score = Z[:, 0] + noise * rng.standard_normal(len(Z))
    labels = np.searchsorted(np.quantile(score, np.arange(1, count) / count), score)
    return Z, labels, np.repeat(np.arange(EXPERIMENTS), TIMES)


@pytest.mark.parametrize("count", [2, 4])
def test_logistic_regression_is_that_of_scikit_learn(count: int) -> None:
    """Probabilities and labels are those of StandardScaler and LogisticRegression in a pipeline, but for rounding."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, labels, groups = drawn(count)
    mine, _ = fit_classifier(X, labels, groups, count, Options())
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000)).fit(X, labels)
    asked = drawn(count, seed=9)[0]
    # The two scalings differ by rounding, which L-BFGS may amplify to its gradient tolerance of 1e-4; same inputs give 1e-12.
    np.testing.assert_allclose(mine.probabilities(asked), pipeline.predict_proba(asked), atol=1e-9)
    assert np.array_equal(mine.labels(asked), pipeline.predict(asked))


@pytest.mark.parametrize("count", [2, 3])
def test_stacking_is_that_of_scikit_learn(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Perceptrons, their out-of-fold probabilities and the regression on top give StackingClassifier's probabilities."""
    from sklearn.ensemble import StackingClassifier
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(making, "HIDDEN", ((4,), (6, 3)))
    X, labels, groups = drawn(count)
    mine, _ = fit_classifier(X, labels, groups, count, Options("stacking", seed=3))
    x = mine.scaling(X)
    members = [(str(n), making.perceptron(hidden, 3 + n)) for n, hidden in enumerate(making.HIDDEN)]
    theirs = StackingClassifier(members, LogisticRegression(max_iter=10_000), cv=splits_by_group(labels, groups, 5, 3))
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        theirs.fit(x, labels)
    np.testing.assert_allclose(mine.probabilities(X), theirs.predict_proba(x), atol=1e-9)


@pytest.mark.parametrize("count", [2, 3])
def test_calibration_is_that_of_scikit_learn(count: int) -> None:
    """The temperature fitted to out-of-fold decisions gives the probabilities of CalibratedClassifierCV with one estimator."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, labels, groups = drawn(count)
    splits = splits_by_group(labels, groups, 5)
    mine, notes = fit_classifier(X, labels, groups, count, Options(), cross_validate(X, labels, groups, Options(), splits))
    assert mine.calibration is not None
    assert not notes
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    theirs = CalibratedClassifierCV(pipeline, method="temperature", cv=splits, ensemble=False).fit(X, labels)
    # A minimum found by comparing values is right to the square root of their rounding, 1e-8, in both.
    np.testing.assert_allclose(mine.probabilities(X), theirs.predict_proba(X), atol=1e-6)
    assert np.array_equal(mine.labels(X), replace(mine, calibration=None).labels(X))


def test_calibration_maximises_its_likelihood_within_reason() -> None:
    """No temperature nearby is more likely, and decisions without a fault are not taken for certainty."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 3, 200)
    f = 2.0 * np.eye(3)[places] + rng.standard_normal((200, 3))

    def loss(beta: float) -> float:
        p = np.exp(beta * f) / np.exp(beta * f).sum(axis=1, keepdims=True)
        return float(-np.log(p[np.arange(200), places]).mean())

    beta = fit_calibration(f, places).beta
    assert all(loss(beta) <= loss(beta * factor) for factor in (0.99, 1.01))
    # At the limit the loss is 2 exp(-10), which still falls.
    assert fit_calibration(np.eye(3)[places], places).beta == pytest.approx(LARGEST_FACTOR, rel=1e-6)


def test_calibrated_probabilities_mean_what_they_say() -> None:
    """Of new samples with a probability of about p, about p have the label: within three standard errors in every third."""
    X, labels, groups = drawn(2, noise=1.0)
    splits = splits_by_group(labels, groups, 5)
    mine, _ = fit_classifier(X, labels, groups, 2, Options(), cross_validate(X, labels, groups, Options(), splits))
    rng = np.random.default_rng(5)
    asked = np.tile(X, (40, 1))
    # The same law as `drawn`: the label is a noisy threshold of the first feature, between the means of the two classes.
    cut = X[labels == 1, 0].mean() / 2 + X[labels == 0, 0].mean() / 2
    truth = asked[:, 0] + rng.standard_normal(len(asked)) > cut
    p = mine.probabilities(asked)[:, 1]
    for low, high in ((0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.0)):
        inside = (p >= low) & (p < high)
        # Forty-eight experiments gave the curve: its own error is about sqrt(1/4/48) = 0.07, far above that of the 5 760 samples.
        assert abs(truth[inside].mean() - p[inside].mean()) < 3 * 0.07


def test_too_few_experiments_are_not_calibrated_and_it_is_said() -> None:
    """With fewer than twenty experiments probabilities stay those of the regression, and a sentence says why."""
    X, labels, groups = drawn(2)
    few = groups < 12
    X, labels, groups = X[few], labels[few], groups[few]
    splits = splits_by_group(labels, groups, 3)
    fitted, notes = fit_classifier(X, labels, groups, 2, Options(), cross_validate(X, labels, groups, Options(), splits))
    assert fitted.calibration is None
    assert "not calibrated: there are 12 simulations" in notes[0]


def test_one_cluster_needs_no_classifier_and_an_unseen_one_has_no_probability() -> None:
    """A single label gives a constant; a cluster without a training sample has the probability 0, and that is said."""
    X, labels, groups = drawn(2)
    constant, _ = fit_classifier(X, np.zeros_like(labels), groups, 1, Options())
    assert isinstance(constant.estimator, Constant)
    assert (constant.probabilities(X) == 1.0).all()
    fitted, notes = fit_classifier(X, 2 * labels, groups, 4, Options())
    probabilities = fitted.probabilities(X)
    assert probabilities.shape == (len(X), 4)
    assert (probabilities[:, [1, 3]] == 0.0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert set(fitted.labels(X)) == {0, 2}
    assert [note for note in notes if "cluster 1 has no training sample" in note]


def test_splits_hold_out_whole_experiments() -> None:
    """No experiment is on both sides, every row is held out once, classes are spread, and the seed decides."""
    _, labels, groups = drawn(3)
    splits = splits_by_group(labels, groups, 4, seed=1)
    names = [f"run-{number}" for number in range(EXPERIMENTS)]
    for training, held in splits:
        check_split(training, held, groups, names)
        assert set(labels[training]) == {0, 1, 2}
    assert np.array_equal(np.sort(np.concatenate([held for _, held in splits])), np.arange(len(labels)))
    assert [len(held) for _, held in splits] == [EXPERIMENTS // 4 * TIMES] * 4
    assert splits_by_group(labels[:3], groups[:3], 4) == []


def test_a_simulation_on_both_sides_is_refused() -> None:
    """A split by rows that has snapshots of one simulation on both sides is refused by its name; so are folds that overlap."""
    _, _, groups = drawn(2)
    names = [f"run-{number}" for number in range(EXPERIMENTS)]
    with pytest.raises(InputError, match="'run-1' is in training and in validation"):
        check_split(np.arange(0, 4), np.arange(4, 9), groups, names)
    with pytest.raises(InputError, match="'run-3' is held out twice"):
        splits_by_name(groups, names, [["run-3"], ["run-4", "run-3"]])
    with pytest.raises(InputError, match="no simulation 'run-99'"):
        splits_by_name(groups, names, [["run-99"]])
    training, held = splits_by_name(groups, names, [["run-3"]])[0]
    assert np.array_equal(held, [9, 10, 11])
    assert len(training) + len(held) == len(groups)


def test_a_fold_without_a_class_counts_against_it() -> None:
    """A class of one experiment is never predicted when that is held out: its samples are wrong, and nothing fails."""
    X, labels, groups = drawn(2)
    labels = np.where(groups == 7, 2, labels)
    validation = cross_validate(X, labels, groups, Options(), splits_by_group(labels, groups, 4))
    assert validation.decisions is None
    lonely = labels[validation.rows] == 2
    assert lonely.sum() == TIMES
    assert (validation.predicted[lonely] != 2).all()


def test_the_evaluation_by_hand() -> None:
    """Confusion, accuracy, its error by experiment, conditional errors and break-even are those of their formulas."""
    labels, groups = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 1, 1, 1, 1, 1])
    local = np.array([[0.1, 0.2, 0.9, 0.8, 0.7, 0.1], [0.5, 0.6, 0.2, 0.1, 0.3, 0.9]])
    whole = np.full(6, 0.4)
    found = evaluate(labels, np.arange(6), predicted, groups, 2, folds=3, errors=ErrorsOfSamples(local, whole))
    assert found.confusion.tolist() == [[1, 2], [0, 3]]
    assert found.accuracy == pytest.approx(4 / 6)
    # Right: 1 of 2, 2 of 2, 1 of 2; deviations from 2/3 of 2: -1/3, 2/3, -1/3.
    assert found.standard_error == pytest.approx(np.sqrt(3 / 2 * 6 / 9) / 6)
    assert found.error_right == pytest.approx(np.mean([0.1, 0.2, 0.1, 0.3]))
    assert found.error_wrong == pytest.approx(np.mean([0.6, 0.9]))
    own, wrong = np.mean([0.1, 0.2, 0.2, 0.1, 0.3, 0.1]), np.mean([0.5, 0.6, 0.9, 0.8, 0.7, 0.9])
    assert found.break_even == pytest.approx((wrong - 0.4) / (wrong - own))
    assert found.pays is bool((wrong - 0.4) / (wrong - own) < 4 / 6)


def test_augmentation_trains_on_more_and_only_on_its_side() -> None:
    """Augmented training is seeded and never worse by more than its standard error on classes that are convex."""
    X, labels, groups = drawn(3, noise=0.1)
    splits = splits_by_group(labels, groups, 4)
    plain, more = (cross_validate(X, labels, groups, Options(augmentation=a), splits) for a in (0.0, 2.0))
    again = cross_validate(X, labels, groups, Options(augmentation=2.0), splits)
    assert np.array_equal(more.predicted, again.predicted)
    assert more.decisions is not None
    assert plain.decisions is not None
    assert not np.array_equal(more.decisions, plain.decisions)
    accuracy = [np.mean(v.predicted == labels[v.rows]) for v in (plain, more)]
    assert accuracy[1] > accuracy[0] - np.sqrt(accuracy[0] * (1 - accuracy[0]) / EXPERIMENTS)


def test_bad_settings_and_nan_are_refused() -> None:
    """An unknown classifier, a negative augmentation and features that are not finite are refused in words."""
    X, labels, groups = drawn(2)
    with pytest.raises(ConfigError, match="logistic, stacking"):
        Options("forest")
    with pytest.raises(ConfigError, match="augmentation"):
        Options(augmentation=-1.0)
    X[5, 1] = np.nan
    with pytest.raises(InputError, match="sample 5 are not finite"):
        fit_classifier(X, labels, groups, 2, Options())


def test_without_scikit_learn_training_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scikit-learn is missing the refusal names the extra that brings it."""
    X, labels, groups = drawn(2)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr("nwidth.learning.extra.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"nwidth\[learn\]"):
        fit_classifier(X, labels, groups, 2, Options())
