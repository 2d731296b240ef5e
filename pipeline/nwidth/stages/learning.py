"""The learning stage: a finished model is taught to predict, as a study's table ``[learn]`` asks.

    model.zarr (bases, coefficients, atlas)  ──train──>  model.zarr/learning/          no field is read

What is learnt has a content key, of the bases and of the settings: the same is never trained twice, and other settings train
again without another pass over the fields. Whether it can be learnt at all is asked before the passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.config import LearnSection
from nwidth.models.files import Labelled
from nwidth.models.learned import LEARNING_SCHEMA, Learned, learned_key, read_learned, write_learned
from nwidth.models.model import open_model
from nwidth.problems.options import content_token

if TYPE_CHECKING:
    from nwidth.learning.classifier import Options


def refuse_unlearnable(section: LearnSection, coordinates: Mapping[str, Labelled]) -> None:
    """Refuse what could not be learnt, from the coordinates of the snapshots alone.

    Raises
    ------
    ConfigError
        scikit-learn is not installed, a setting is out of range, or a parameter is named that the snapshots do not have.
    InputError
        A parameter is not a finite number, or nothing tells the snapshots apart.
    """
    import numpy as np
    import xarray as xr

    from nwidth.learning.extra import scikit_learn
    from nwidth.learning.samples import refuse_indistinct, samples_of

    scikit_learn()
    _options(section)
    along = {name: found for name, found in coordinates.items() if found.dims == ("snapshot",)}
    table = xr.Dataset(coords={name: ("snapshot", np.asarray(found.values)) for name, found in along.items()})
    refuse_indistinct(samples_of(table, section.parameters or None))


def learning_key(content_key: str, section: LearnSection) -> str:
    """Content key of what is learnt: of the bases, the settings, and the form that it is kept in."""
    return content_token("learn", content_key, section.model_dump_json(), LEARNING_SCHEMA)


def teach(model: Path, section: LearnSection) -> tuple[Learned, bool]:
    """Teach a model what a study asks for, and write it; what it has learnt already is found again.

    Returns
    -------
    What the model has learnt, and whether it was trained just now.

    Raises
    ------
    ConfigError, InputError
        As `refuse_unlearnable`, and where a method does not suit so few samples.
    """
    opened = open_model(model)
    of = str(opened.manifest.get("provenance", {}).get("content_key", ""))
    key = learning_key(of, section)
    if learned_key(opened.path) == key:
        return read_learned(opened.path), False
    from nwidth.learning.training import train

    learned = train(
        opened,
        parameters=section.parameters or None,
        options=_options(section),
        regression=section.regression,
        novelty=(section.novelty, section.quantile),
        folds=section.folds,
    )
    write_learned(opened.path, learned, of=of, key=key)
    return learned, True


def summary(learned: Learned) -> dict[str, Any]:
    """What was learnt, and how good it is, as scalars and words: for a record, a table, a ledger."""
    found = learned.evaluation
    return {
        "inputs": list(getattr(learned.features, "names", ())),
        "clusters": len(learned.clusters),
        "accuracy": found.accuracy,
        "standard_error": found.standard_error,
        "break_even": found.break_even,
        "pays": found.pays,
        "rejected": found.rejected,
        "regression_errors": [list(cluster.regression_errors) for cluster in learned.clusters],
        "notes": list(learned.notes),
    }


def _options(section: LearnSection) -> Options:
    from nwidth.learning.classifier import Options

    return Options(section.classifier, section.augmentation, section.seed)
