"""Reduced bodies on disk, inside of the model whose bases they use: arrays and JSON, never a pickle.

model.zarr/mechanics/
  zarr.json                  attribute ``mechanics``: the records, with the names of their arrays
  0, 1, 2, ...               the arrays
  cluster-<k>/bases/...      bases of the clusters, where there is a dictionary
  learnt/bases/...           bases of one body from which simulations are held out, which the model's own bases have seen
  enriched-<k>/...           modes and stress states of a body that full-order steps have enriched
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.errors import LayoutError, StoreError
from nwidth.mechanics.body import DualField, Interpolation, ReducedBody, RuleErrors, Unseen
from nwidth.models.classifiers import Scaling
from nwidth.models.dual_regressors import MaternProcess, SparseLinear
from nwidth.models.record_files import attributes_of, read_records, write_records
from nwidth_graphs.kernels.gappy_reconstruction import MaskedBasis
from nwidth_graphs.kernels.indicator import Calibration

MECHANICS_SCHEMA = 1
FOLDER = "mechanics"
LEARNT = "learnt"
"""Folder of the bases of one body, made without what is held out."""


@dataclass(frozen=True)
class ReducedMechanics:
    """All that training gives: one body, or one for each cluster."""

    bodies: tuple[ReducedBody, ...]
    case: str
    """Name of the case that it was trained with, where it has one."""
    notes: tuple[str, ...]
    """What was done otherwise than asked, in words."""

    @property
    def shared_points(self) -> bool:
        """Whether several bodies have the same points, so that a history may be handed from one to another."""
        first = self.bodies[0].points
        return len(self.bodies) > 1 and all(np.array_equal(body.points, first) for body in self.bodies)


KINDS = (
    ReducedMechanics,
    ReducedBody,
    DualField,
    Interpolation,
    RuleErrors,
    Unseen,
    MaskedBasis,
    Calibration,
    Scaling,
    SparseLinear,
    MaternProcess,
)


def aside(model: Path) -> Path:
    """Where training works: beside what was trained before."""
    return model / f"{FOLDER}.partial"


def write_mechanics(
    model: Path, mechanics: ReducedMechanics, *, of: str, key: str, enrichments: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write what was trained, and put it, with the bases that lie aside already, in place of what there was.

    Parameters
    ----------
    of : content key of the model's bases
    key : content key of bases and settings together: who asks for the same again finds it
    enrichments : what full-order steps have changed since the training, in JSON
    """
    about = {"of": of, "key": key, "enrichments": [dict(entry) for entry in enrichments]}
    write_records(aside(model), FOLDER, MECHANICS_SCHEMA, mechanics, about)
    shutil.rmtree(model / FOLDER, ignore_errors=True)
    aside(model).rename(model / FOLDER)


def mechanics_key(model: Path) -> str | None:
    """The key that a model's mechanics were written with; None where it has none, or they are damaged."""
    try:
        return str(attributes_of(model / FOLDER)["key"])
    except (LayoutError, KeyError):
        return None


def read_enrichments(model: Path) -> tuple[dict[str, Any], ...]:
    """What full-order steps have changed since the training, the oldest first; see `nwidth.mechanics.adaptive_keeping`."""
    return tuple(attributes_of(model / FOLDER).get("enrichments", ()))


def read_mechanics(model: Path, of: str) -> ReducedMechanics:
    """Read what was trained; `of` is the content key of the model's bases.

    Raises
    ------
    StoreError
        Nothing was.
    LayoutError
        It is damaged, too large, of other bases, or from a newer nwidth.
    """
    folder = model / FOLDER
    if not (folder / "zarr.json").is_file():
        raise StoreError(f"{model} has no reduced mechanics; train them with nw.train_mechanics")
    if attributes_of(folder).get("of", "") != of:
        raise LayoutError(f"the mechanics of {model} were trained on other bases than it holds; train them again")
    found = read_records(folder, FOLDER, MECHANICS_SCHEMA, KINDS)
    if not isinstance(found, ReducedMechanics):
        raise LayoutError(f"{folder} does not hold reduced mechanics; train them again")
    return found
