"""Train a model to predict: a classifier from inputs to clusters, and a regression of coordinates in each of them.

    snapshots' parameters, times -> samples -> features -> classifier, novelty
                                                        -> cluster by cluster: regression of the coordinates of its members

It runs on what the model keeps (coordinates, labels, errors of the certificate): no field is read but the user's inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, LayoutError
from nwidth.learning import features as making
from nwidth.learning.classifier import Options, cross_validate, fit_classifier
from nwidth.learning.evaluation import ErrorsOfSamples, evaluate
from nwidth.learning.novelty import QUANTILE, fit_novelty
from nwidth.learning.regression import REGRESSIONS, fit_regression
from nwidth.learning.samples import Samples, refuse_indistinct, samples_of
from nwidth.learning.splitting import splits_by_group, splits_by_name
from nwidth.models.atlas import cluster_name
from nwidth.models.atlas_files import FOLDER as ATLAS
from nwidth.models.atlas_files import read_atlas
from nwidth.models.basis import Basis
from nwidth.models.classifiers import Classifier
from nwidth.models.inputs import FieldModes, FieldNodes, Parameters
from nwidth.models.learned import ClusterRegression, Evaluation, Learned, write_learned
from nwidth.models.model import Model, open_model

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Clusters:
    """What is to be told apart: which bases each cluster has, and which snapshots are its own."""

    bases: tuple[tuple[str, ...], ...]
    """K times names."""
    labels: Indices
    """(m,)."""
    errors: ErrorsOfSamples | None

    @property
    def count(self) -> int:
        return len(self.bases)


def learn(
    model: str | Path | Model,
    *,
    parameters: Sequence[str] | None = None,
    inputs: Any = None,
    features: str = "auto",
    count: int | None = None,
    points: Floats | None = None,
    classifier: str = "logistic",
    augmentation: float = 0.0,
    regression: str = "gaussian-process",
    novelty: str = "neighbour",
    quantile: float = QUANTILE,
    folds: int | Sequence[Sequence[str]] = 5,
    seed: int = 0,
) -> Learned:
    """Train a model and write what it learns into it: ``model.zarr/learning/``, arrays and JSON.

    Parameters
    ----------
    model : path or Model
        A model, or a run's folder; with an atlas or without (then there is one cluster).
    parameters : sequence of str, optional
        Coordinates of the snapshots that are the inputs; by default all numbers that vary, but for the time.
    inputs : DataArray or mapping, optional
        An input field for each simulation instead of parameters: (simulation, ...), or simulation -> array.
    features : {"auto", "parameters", "modes", "nodes"}
        Of an input field its coefficients on a POD of the inputs (the default for fields), or values at places chosen by mRMR.
    count : int, optional
        Number of features of an input field.
    points : (n, 3) array, optional
        Where the values of an input field are: mRMR then takes redundancies from a fitted correlogram.
    classifier : {"logistic", "stacking"}
    augmentation : float
        New inputs inside the classes for training, as a multiple of those that there are.
    regression : {"gaussian-process", "rbf"}
    novelty : {"neighbour", "mahalanobis"}
        Distance by which inputs unlike all of training are known; beyond the `quantile` of training they belong to no cluster.
    folds : int or sequences of simulation names
        Of the cross-validation, always by simulation.
    seed : int

    Returns
    -------
    Learned
        With ``.evaluation`` and ``.notes``; `nwidth.open_model(model).predict(...)` uses it.

    Raises
    ------
    ConfigError
        A setting is out of range, or scikit-learn is not installed (the extra ``learn``).
    InputError
        Inputs are missing, not finite, or cannot tell the snapshots apart.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    learned = train(
        opened,
        parameters=parameters,
        inputs=inputs,
        features=features,
        count=count,
        points=points,
        options=Options(classifier, augmentation, seed),
        regression=regression,
        novelty=(novelty, quantile),
        folds=folds,
    )
    write_learned(opened.path, learned, of=content_key_of(opened))
    return learned


def train(
    model: Model,
    *,
    options: Options,
    parameters: Sequence[str] | None = None,
    inputs: Any = None,
    features: str = "auto",
    count: int | None = None,
    points: Floats | None = None,
    regression: str = "gaussian-process",
    novelty: tuple[str, float] = ("neighbour", QUANTILE),
    folds: int | Sequence[Sequence[str]] = 5,
) -> Learned:
    """What `learn` writes, not yet written; settings and errors are the same, `novelty` is (method, quantile)."""
    if regression not in REGRESSIONS:
        raise ConfigError(f"regression is {regression!r}, expected one of {', '.join(REGRESSIONS)}")
    clusters = clusters_of(model)
    samples = samples_of(model.snapshots, () if inputs is not None else parameters)
    if inputs is None:
        refuse_indistinct(samples)
    made, Z = _features(samples, clusters, inputs, features, count, points, options.seed)
    known, distances = fit_novelty(Z, samples.names, method=novelty[0], quantile=novelty[1])
    rejected = float((distances > known.limit).mean())
    chooser, evaluation, by_time, notes = _choice(Z, samples, clusters, options, folds, rejected)
    regressions, more = _regressions(model, Z, samples, clusters, regression, options.seed)
    times = samples.times
    return Learned(
        features=made,
        classifier=chooser,
        novelty=known,
        clusters=regressions,
        evaluation=evaluation,
        labels_by_time=by_time,
        timed=times is not None,
        times=samples.common_times,
        time_span=np.empty(0) if times is None else np.array([times.min(), times.max()]),
        notes=(*notes, *more),
    )


def content_key_of(model: Model) -> str:
    """Content key of a model's bases; empty for a basis that was saved by itself."""
    return str(model.manifest.get("provenance", {}).get("content_key", ""))


def clusters_of(model: Model) -> Clusters:
    """The clusters of a model's atlas; of a model without one a single cluster that has all its bases."""
    if ATLAS not in model.manifest:
        count = next(iter(model.bases.values())).coefficients.shape[1]
        return Clusters((tuple(model.manifest["bases"]),), np.zeros(count, np.int64), None)
    atlas = read_atlas(model.path, model.manifest, model.bases)
    bases = tuple((cluster_name(cluster),) for cluster in range(atlas.count))
    return Clusters(bases, atlas.labels, ErrorsOfSamples(atlas.errors, atlas.global_errors))


def _features(
    samples: Samples, clusters: Clusters, inputs: Any, kind: str, count: int | None, points: Floats | None, seed: int
) -> tuple[Parameters | FieldModes | FieldNodes, Floats]:
    """The features, and their values (S, d) for the training experiments."""
    if kind not in {"auto", *making.FEATURES}:
        raise ConfigError(f'features is {kind!r}, expected "auto", {", ".join(making.FEATURES)}')
    wanted = ("auto", "parameters") if inputs is None else ("auto", "modes", "nodes")
    if kind not in wanted:
        what = "parameters" if inputs is None else "an input field"
        raise ConfigError(f"features = {kind!r} does not go with {what} as input; choose one of {', '.join(wanted)}")
    if inputs is None:
        return Parameters(samples.parameters), samples.values
    fields = making.input_fields(inputs, samples.simulations)
    if kind == "nodes":
        first = np.array([clusters.labels[samples.experiment == number][0] for number in range(len(samples.names))])
        made: FieldModes | FieldNodes = making.field_nodes(fields, first, count=count or 10, points=points, seed=seed)
    else:
        made = making.field_modes(fields, count=count)
    return made, np.array([made(field) for field in fields])


def _choice(
    Z: Floats,
    samples: Samples,
    clusters: Clusters,
    options: Options,
    folds: int | Sequence[Sequence[str]],
    rejected: float,
) -> tuple[Classifier, Evaluation, bool, tuple[str, ...]]:
    """The classifier and its evaluation; one sample for each experiment where all of its snapshots are in one cluster."""
    X, labels, groups, by_time = Z[samples.experiment], clusters.labels, samples.experiment, False
    errors = clusters.errors
    mixed = any(len(np.unique(labels[groups == number])) > 1 for number in range(len(samples.names)))
    if mixed and samples.times is not None:
        X, by_time = np.column_stack([X, samples.times]), True
    else:
        X, labels, groups, errors = _by_experiment(Z, samples, clusters)
    if isinstance(folds, int):
        splits = splits_by_group(labels, groups, folds, options.seed)
    else:
        splits = splits_by_name(groups, samples.names, folds)
    validation = cross_validate(X, labels, groups, options, splits if clusters.count > 1 else [])
    fitted, notes = fit_classifier(X, labels, groups, clusters.count, options, validation)
    evaluation = evaluate(
        labels,
        validation.rows,
        validation.predicted,
        groups,
        clusters.count,
        folds=validation.folds,
        errors=errors,
        rejected=rejected,
    )
    return fitted, evaluation, by_time, notes


def _by_experiment(Z: Floats, samples: Samples, clusters: Clusters) -> tuple[Floats, Indices, Indices, ErrorsOfSamples | None]:
    """One sample for each experiment, with the means of its errors."""
    everyone = np.arange(len(samples.names))
    member = np.equal.outer(everyone, samples.experiment) / np.bincount(samples.experiment)[:, None]
    labels = np.array([np.bincount(clusters.labels[samples.experiment == number]).argmax() for number in everyone])
    errors = clusters.errors
    mean = None if errors is None else ErrorsOfSamples(errors.local @ member.T, member @ errors.whole)
    return Z, labels, everyone, mean


def _regressions(
    model: Model, Z: Floats, samples: Samples, clusters: Clusters, method: str, seed: int
) -> tuple[tuple[ClusterRegression, ...], tuple[str, ...]]:
    """For each cluster the regressions of its bases' coordinates, on its own snapshots."""
    inputs = Z[samples.experiment]
    X = inputs if samples.times is None else np.column_stack([inputs, samples.times])
    found, notes = [], []
    for cluster, names in enumerate(clusters.bases):
        members = np.flatnonzero(clusters.labels == cluster)
        regressions, errors = [], []
        for name in names:
            basis = model.bases[name]
            q, norms = _coordinates(basis, members, len(X))
            fitted = fit_regression(X[members], q, samples.experiment[members], method=method, seed=seed)
            regressions.append(fitted.regression)
            errors.append(relative_error(fitted.residuals, norms))
            notes += [f"basis {name}: {note}" for note in fitted.notes]
        found.append(ClusterRegression(names, tuple(regressions), tuple(errors), len(members)))
    return tuple(found), tuple(notes)


def _coordinates(basis: Basis, members: Indices, count: int) -> tuple[Floats, Floats]:
    """Coordinates (members, N) and norms (members,) of a cluster's snapshots: a basis keeps those of all, or of its members."""
    q, norms = basis.coefficients.values.T, basis.certificate.snapshot_norms
    if len(q) == count:
        return q[members], norms[members]
    if len(q) != len(members):
        raise LayoutError(
            f"basis {basis.name!r} keeps {len(q)} snapshots, but its cluster has {len(members)}; run the study again"
        )
    return q, norms


def relative_error(residuals: Floats | None, norms: Floats) -> float | None:
    """``sqrt(sum |residual|^2 / sum |snapshot|^2)`` over the snapshots that could be left out; None where none could."""
    if residuals is None:
        return None
    known = np.isfinite(residuals).all(axis=1)
    total = float((norms[known] ** 2).sum())
    return float(np.sqrt((residuals[known] ** 2).sum() / total)) if total > 0.0 else None
