"""What a model has learnt from its training simulations, and its files: arrays and JSON, never a pickle.

    model.zarr/learning/
      zarr.json         attribute ``learned``: the records, with the names of their arrays
      0, 1, 2, ...      the arrays

A model without this folder reconstructs and projects; one with it predicts. What was learnt belongs to the bases that it was
learnt on: the attribute ``of`` has their content key, and a folder that came beside other bases is refused.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import LayoutError, StoreError
from nwidth.models import classifiers, inputs, regressors
from nwidth.models.record_files import attributes_of, read_records, write_records

Floats = NDArray[np.float64]

LEARNING_SCHEMA = 1
FOLDER = "learning"


@dataclass(frozen=True)
class Evaluation:
    """How good the choice of the cluster is, measured on simulations that its training did not see."""

    confusion: NDArray[np.int64]
    """(K, K): rows are true clusters, columns the predicted ones; counts of samples."""
    accuracy: float | None
    """Share of right labels; None where there are too few simulations to hold any out."""
    standard_error: float | None
    """Of the accuracy, over simulations: samples of one simulation are not independent."""
    error_right: float | None
    """Mean relative projection error where the label was right."""
    error_wrong: float | None
    """Mean relative projection error, on the basis that was chosen, where the label was wrong; None where none was."""
    error_global: float | None
    """Mean relative error on the global basis."""
    break_even: float | None
    """Accuracy above which the dictionary is better than the global basis; see `nwidth_graphs.kernels.gain`."""
    folds: int
    """Folds of the cross-validation, by simulation; 0 where there was none."""
    rejected: float | None
    """Share of the training inputs that would be answered with "none of them", each without its own simulation."""

    @property
    def pays(self) -> bool | None:
        """Whether the accuracy lies above break-even; None where one of them is unknown."""
        return None if self.accuracy is None or self.break_even is None else self.accuracy > self.break_even


@dataclass(frozen=True)
class ClusterRegression:
    """The regressions of one cluster: one for each of its bases."""

    bases: tuple[str, ...]
    regressions: tuple[regressors.GaussianProcess | regressors.RadialBasis, ...]
    regression_errors: tuple[float | None, ...]
    """Relative Frobenius error of the regressed coordinates, each simulation left out once; None where there is only one."""
    samples: int
    """Snapshots that it was fitted to."""


@dataclass(frozen=True)
class Learned:
    """All that is needed to predict, and what was measured of it."""

    features: inputs.Parameters | inputs.FieldModes | inputs.FieldNodes
    classifier: classifiers.Classifier
    novelty: inputs.Novelty
    clusters: tuple[ClusterRegression, ...]
    evaluation: Evaluation
    labels_by_time: bool
    """Whether the classifier takes the time as its last feature: the clusters are of snapshots, and not of simulations."""
    timed: bool
    """Whether the regressions take the time as their last input."""
    times: Floats
    """(T,): times of the training snapshots, if all simulations share them; else empty."""
    time_span: Floats
    """(2,): first and last time of training; empty where the model has no time."""
    notes: tuple[str, ...]
    """What was done otherwise than asked, in words."""

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import learned_html

        return learned_html(self)


KINDS = (
    Learned,
    Evaluation,
    ClusterRegression,
    inputs.Parameters,
    inputs.FieldModes,
    inputs.FieldNodes,
    inputs.Novelty,
    classifiers.Scaling,
    classifiers.Constant,
    classifiers.Logistic,
    classifiers.Perceptron,
    classifiers.Stacking,
    classifiers.Calibration,
    classifiers.Classifier,
    regressors.GaussianProcess,
    regressors.RadialBasis,
)


def write_learned(model: Path, learned: Learned, *, of: str | None = None, key: str = "") -> None:
    """Write what was learnt into a model, aside first, in place of what was learnt before.

    Parameters
    ----------
    of : str, optional
        Content key of the bases that it was learnt on; those of the model by default.
    key : str
        Content key of bases and settings together: who asks for the same again finds it.

    Raises
    ------
    StoreError
        The model was replaced by another one meanwhile.
    """
    found = _content_key(model)
    if of not in (None, found):
        raise StoreError(f"{model} was replaced by another run while it was taught; train it again")
    aside = model / f"{FOLDER}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    write_records(aside, "learned", LEARNING_SCHEMA, learned, {"of": found, "key": key})
    shutil.rmtree(model / FOLDER, ignore_errors=True)
    aside.rename(model / FOLDER)


def read_learned(model: Path) -> Learned:
    """Read what a model has learnt.

    Raises
    ------
    StoreError
        It has learnt nothing.
    LayoutError
        It is damaged, too large, or from a newer nwidth.
    """
    folder = model / FOLDER
    if not has_learned(model):
        raise StoreError(f"{model} has not learnt to predict; train it with nw.learn({str(model)!r}) and ask again")
    if attributes_of(folder).get("of", "") not in ("", _content_key(model)):
        raise LayoutError(f"what {model} has learnt is of other bases than it holds; train it again")
    found = read_records(folder, "learned", LEARNING_SCHEMA, KINDS)
    if not isinstance(found, Learned):
        raise LayoutError(f"{folder} does not hold what a model learns; train the model again")
    return found


def has_learned(model: Path) -> bool:
    """Whether a model has learnt anything; nothing but the file's presence is looked at."""
    return (model / FOLDER / "zarr.json").is_file()


def learned_key(model: Path) -> str:
    """The key that `write_learned` was given; empty where nothing was learnt, or what was learnt is damaged."""
    try:
        return str(attributes_of(model / FOLDER).get("key", "")) if has_learned(model) else ""
    except LayoutError:
        return ""


def _content_key(model: Path) -> str:
    """Content key of a model's bases; empty for a basis that was saved by itself."""
    from nwidth.models.files import read_manifest

    return str(read_manifest(model).get("provenance", {}).get("content_key", ""))
