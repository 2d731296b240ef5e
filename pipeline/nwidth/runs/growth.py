"""Whether a store only grew since the last run of a study, so that the last model can be updated; reads metadata only.

last model + store's runs ──> Growth: which simulations are new        or a sentence that says why there is none
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from nwidth.config import ReduceSection
from nwidth.errors import NwidthError
from nwidth.models.model import Model, open_model
from nwidth.stages.parents import stored_factor

if TYPE_CHECKING:
    from nwidth.stores.protocol import RunEntry, StoreSchema


@dataclass(frozen=True)
class Growth:
    """The last model of a study, and what the store has beyond it."""

    parent: Model
    old: int
    """Snapshots of the last model, which are the first of the store."""
    simulations: tuple[str, ...]
    """New simulations, in the order of their snapshots."""
    snapshots: int
    """New snapshots."""


def runs_key(runs: Sequence[RunEntry]) -> str:
    """A key of the runs that a model was made of: names, contents, and where their snapshots lie."""
    digest = hashlib.blake2b(digest_size=8)
    for run in runs:
        digest.update(f"{run.simulation}\0{run.source_key}\0{run.start}\0{run.stop}\n".encode())
    return digest.hexdigest()


def growth_since(model: Path, schema: StoreSchema, request: ReduceSection) -> Growth | str:
    """What the store has beyond the last model, which may be nothing; a sentence where that is not all that changed."""
    if not (model / "manifest.json").is_file():
        return "there is no last model to update"
    try:
        parent = open_model(model)
        last = ReduceSection.model_validate(parent.manifest["reduce"])
        store = parent.manifest["store"]
    except (NwidthError, KeyError, TypeError, ValidationError):
        return "the last model was written by another version of nwidth"
    if request.simulations:
        return "simulations were named, and these do not grow"
    if last.model_copy(update={"update": request.update}) != request:
        return "the settings of [reduce] changed since the last run"
    runs = [run for run in schema.runs if run.stop <= store["snapshots"]]
    if store["url"] != schema.url or store.get("runs_key") != runs_key(runs):
        return "the store is not the one of the last run with simulations added"
    new = schema.runs[len(runs) :]
    return Growth(parent, store["snapshots"], tuple(run.simulation for run in new), schema.n_snapshots - store["snapshots"])


def why_not(growth: Growth, request: ReduceSection) -> str | None:
    """Why the last model cannot be updated as asked, so that a full run is due; None where it can."""
    missing = getattr(request, "missing", "refuse")
    if missing == "gappy":
        return 'missing = "gappy" fills gaps from all snapshots'
    if request.update == "fast":
        return 'a centred basis is updated with update = "exact" only' if request.centre else None
    return _why_not_exact(growth)


def _why_not_exact(growth: Growth) -> str | None:
    factors = [stored_factor(growth.parent, field) for basis in growth.parent.bases.values() for field in basis.fields]
    if any(factor is None for factor in factors):
        return "the last model keeps no factor of its snapshots"
    if any(factor is not None and factor[0] != "gram" for factor in factors):
        return "the factor R of the last run has no border that could be added without its Q"
    # Lifting the border costs two products per new column, a Gram matrix one per column of all.
    if 2 * growth.snapshots > growth.old:
        return "so many snapshots are new that a Gram matrix of all costs no more"
    return None
