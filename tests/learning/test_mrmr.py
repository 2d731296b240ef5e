"""mRMR chooses what brute force over its definitions chooses, and the correlogram stands for redundancies where it may."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest

from nwidth.errors import ConfigError, InputError
from nwidth.learning.mrmr import Correlogram, correlations, fit_correlogram, mrmr, relevance

SAMPLES, FEATURES = 60, 25


@pytest.fixture
def data() -> tuple[Any, Any]:
    """Features of which some follow the label, some copy one another with noise, one is constant and one a copy."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, SAMPLES)
    X = rng.standard_normal((SAMPLES, FEATURES))
    X[:, :6] += labels[:, None] * np.array([2.0, 1.5, 1.2, 0.8, 0.5, 0.3])
    X[:, 6:9] = X[:, [0]] + 0.1 * rng.standard_normal((SAMPLES, 3))
    X[:, 9] = 7.0
    X[:, 10] = X[:, 1]
    return X, labels


def brute_force(X: Any, labels: Any, count: int, form: str, measure: str) -> list[int]:
    """The definitions, feature by feature and pair by pair, with NumPy's own correlation."""

    def information(square: float) -> float:
        return float(-0.5 * np.log(1.0 - min(square, 1.0 - 1e-12)))

    def rel(j: int) -> float:
        x = X[:, j]
        if np.ptp(x) == 0:
            return 0.0
        parts = [x[labels == k] for k in np.unique(labels)]
        between = sum(len(part) * (part.mean() - x.mean()) ** 2 for part in parts)
        if measure == "information":
            return information(between / ((x - x.mean()) ** 2).sum())
        within = sum(((part - part.mean()) ** 2).sum() for part in parts)
        return float((between / (len(parts) - 1)) / (within / (len(x) - len(parts))))

    def red(j: int, s: int) -> float:
        rho = 0.0 if np.ptp(X[:, j]) == 0 or np.ptp(X[:, s]) == 0 else np.corrcoef(X[:, j], X[:, s])[0, 1]
        return abs(rho) if measure == "F" else information(rho**2)

    chosen = [max(range(X.shape[1]), key=rel)]
    while len(chosen) < count:
        rest = [j for j in range(X.shape[1]) if j not in chosen]
        if form == "difference":
            best = max(rest, key=lambda j: rel(j) - np.mean([red(j, s) for s in chosen]))
        else:
            best = max(rest, key=lambda j: rel(j) / np.mean([max(red(j, s), 1e-5) for s in chosen]))
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("form", ["difference", "quotient"])
@pytest.mark.parametrize("measure", ["information", "F"])
def test_the_choice_is_that_of_brute_force(data: tuple[Any, Any], form: str, measure: str) -> None:
    """Both forms with both measures choose the same eight features as loops over the definitions, in the same order."""
    X, labels = data
    assert mrmr(X, labels, 8, form=form, measure=measure).features.tolist() == brute_force(X, labels, 8, form, measure)


def test_relevance_is_the_f_statistic_of_scikit_learn(data: tuple[Any, Any]) -> None:
    """The F statistic agrees with scikit-learn's to rounding, and a constant feature says nothing."""
    feature_selection = pytest.importorskip("sklearn.feature_selection", reason="scikit-learn is not installed")
    X, labels = data
    varied = np.arange(FEATURES) != 9
    found = relevance(X, labels, "F")
    np.testing.assert_allclose(found[varied], feature_selection.f_classif(X[:, varied], labels)[0], rtol=1e-10)
    assert found[9] == 0.0


def test_a_dask_array_is_read_once_and_once_per_choice(data: tuple[Any, Any]) -> None:
    """Features that lie in chunks give the same choice, and count + 1 reads at most of every block."""
    X, labels = data
    reads = []

    class Counted:
        shape = X.shape

        def __getitem__(self, place: Any) -> Any:
            reads.append(place[1].stop - place[1].start)
            return da.from_array(X, chunks=(SAMPLES, 7))[place]

    assert mrmr(Counted(), labels, 5).features.tolist() == mrmr(X, labels, 5).features.tolist()
    assert sum(width == FEATURES for width in reads) == 5
    assert sum(width == 1 for width in reads) == 4


def line(places: int = 80, samples: int = 4000, length: float = 0.2) -> tuple[Any, Any]:
    """A Gaussian process on a line whose correlation is exponential, and its points."""
    points = np.zeros((places, 3))
    points[:, 0] = np.linspace(0.0, 1.0, places)
    distance = np.abs(points[:, :1] - points[:, 0])
    L = np.linalg.cholesky(np.exp(-distance / length) + 1e-12 * np.eye(places))
    return np.random.default_rng(0).standard_normal((samples, places)) @ L.T, points


def test_the_correlogram_of_an_exponential_process_is_found() -> None:
    """The fitted length is that of the process: a correlation of 4 000 samples scatters by 1/sqrt(4000) = 1.6 %."""
    X, points = line()
    fitted = fit_correlogram(X, points, places=40)
    assert fitted.length == pytest.approx(0.2, rel=0.1)
    assert fitted.plateau < 0.05


def test_the_shortcut_reads_features_once_and_spreads_the_places() -> None:
    """With the correlogram the choice is near that of the exact correlations, and no feature is read after the first."""
    X, points = line()
    labels = (X[:, 40] > 0).astype(np.int64) + (X[:, 10] > 0)
    exact = mrmr(X, labels, 4).features
    reads = []

    class Counted:
        shape = X.shape

        def __getitem__(self, place: Any) -> Any:
            reads.append(place)
            return X[place]

    short = mrmr(Counted(), labels, 4, correlogram=fit_correlogram(X, points), points=points).features
    assert len(reads) == 1
    # Correlation length 0.2 of 80 places: two places nearer than 4 share more than 0.77 of their variation.
    assert np.abs(np.sort(short) - np.sort(exact)).max() <= 4


def test_what_cannot_be_chosen_from_is_refused(data: tuple[Any, Any]) -> None:
    """One class, NaN, an unknown form, too many features and half a shortcut are refused, each in one sentence."""
    X, labels = data
    spoilt = X.copy()
    spoilt[4, 17] = np.nan
    with pytest.raises(InputError, match="two classes"):
        mrmr(X, np.zeros(SAMPLES, np.int64), 3)
    with pytest.raises(InputError, match="feature 17 is not finite"):
        mrmr(spoilt, labels, 3)
    with pytest.raises(ConfigError, match="difference"):
        mrmr(X, labels, 3, form="ratio")
    with pytest.raises(ConfigError, match="26 features are wanted of 25"):
        mrmr(X, labels, 26)
    with pytest.raises(ConfigError, match="give both"):
        mrmr(X, labels, 3, correlogram=Correlogram(1.0, 0.0))


def test_correlations_are_those_of_numpy(data: tuple[Any, Any]) -> None:
    """Correlations with one feature are NumPy's, 1 with a copy, 0 with a constant."""
    X, _ = data
    found = correlations(X, 1)
    varied = np.arange(FEATURES) != 9
    np.testing.assert_allclose(found[varied], np.corrcoef(X[:, varied].T)[1], atol=1e-13)
    assert found[10] == pytest.approx(1.0)
    assert found[9] == 0.0
