"""What a model has learnt from its training simulations, and its files: arrays and JSON, never a pickle.

    model.zarr/learning/
      zarr.json         attribute ``learned``: the records, with the names of their arrays
      0, 1, 2, ...      the arrays

A model without this folder reconstructs and projects; one with it predicts. What was learnt belongs to the bases that it was
learnt on: the attribute ``of`` has their content key, and a folder that came beside other bases is refused.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import LayoutError, StoreError
from nwidth.models import classifiers, inputs, regressors
from nwidth.models.records import Arrays, flatten, restore

Floats = NDArray[np.float64]

LEARNING_SCHEMA = 1
FOLDER = "learning"
LARGEST_BYTES = 8 << 30
"""Of all arrays together: more is not what training writes, and is refused before it is read."""


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
    import zarr

    found = _content_key(model)
    if of not in (None, found):
        raise StoreError(f"{model} was replaced by another run while it was taught; train it again")
    aside = model / f"{FOLDER}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    arrays: Arrays = {}
    tree = flatten(learned, arrays)
    group = zarr.open_group(str(aside), mode="w")
    for name, values in arrays.items():
        dims = [f"axis_{axis}" for axis in range(values.ndim)]
        group.create_array(name, data=np.ascontiguousarray(values), compressors=None, dimension_names=dims)
    group.attrs.update({"nwidth_learning": LEARNING_SCHEMA, "arrays": len(arrays), "of": found, "key": key, "learned": tree})
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
    attributes = _attributes(folder)
    try:
        version, count, tree = (attributes[key] for key in ("nwidth_learning", "arrays", "learned"))
    except KeyError:
        raise LayoutError(f"{folder / 'zarr.json'} is damaged; train the model again") from None
    if version != LEARNING_SCHEMA:
        raise LayoutError(f"{folder} has schema {version}, expected {LEARNING_SCHEMA}; upgrade nwidth, or train again")
    if attributes.get("of", "") not in ("", _content_key(model)):
        raise LayoutError(f"what {model} has learnt is of other bases than it holds; train it again")
    found = restore(tree, _read_arrays(folder, int(count)), KINDS)
    if not isinstance(found, Learned):
        raise LayoutError(f"{folder} does not hold what a model learns; train the model again")
    return found


def has_learned(model: Path) -> bool:
    """Whether a model has learnt anything; nothing but the file's presence is looked at."""
    return (model / FOLDER / "zarr.json").is_file()


def learned_key(model: Path) -> str:
    """The key that `write_learned` was given; empty where nothing was learnt, or what was learnt is damaged."""
    try:
        return str(_attributes(model / FOLDER).get("key", "")) if has_learned(model) else ""
    except LayoutError:
        return ""


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"])
    except (ValueError, KeyError, TypeError):
        raise LayoutError(f"{folder / 'zarr.json'} is damaged; train the model again") from None


def _content_key(model: Path) -> str:
    """Content key of a model's bases; empty for a basis that was saved by itself."""
    from nwidth.models.files import read_manifest

    return str(read_manifest(model).get("provenance", {}).get("content_key", ""))


def _read_arrays(folder: Path, count: int) -> Arrays:
    import zarr

    group = zarr.open_group(str(folder), mode="r")
    try:
        arrays: dict[str, Any] = {str(number): group[str(number)] for number in range(count)}
    except KeyError as error:
        raise LayoutError(f"{folder} lacks its array {error}; train the model again") from None
    size = sum(int(array.nbytes) for array in arrays.values())
    if size > LARGEST_BYTES:
        raise LayoutError(f"{folder} says that it holds {size} bytes, and at most {LARGEST_BYTES} are read; train again")
    return {name: np.asarray(array[...]) for name, array in arrays.items()}
