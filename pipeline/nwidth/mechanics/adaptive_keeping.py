"""``nw.keep_enriched``: an enriched body takes the place of the one in the model, with a record of where it comes from.

    model.zarr/mechanics/enriched-<k>/        displacement, dual fields, states, origin.json
    model.zarr/mechanics/zarr.json            attribute ``enrichments``: inputs, and every update, version by version

The key of the training is kept, so that a study that runs again does not train the enrichment away.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nwidth.errors import InputError, StoreError
from nwidth.mechanics.adaptive_origin import origin_of
from nwidth.mechanics.adaptive_solution import AdaptiveSolution
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.files import FOLDER, LEARNT, aside, mechanics_key, read_enrichments, read_mechanics, write_mechanics
from nwidth.mechanics.model import MechanicsModel
from nwidth.mechanics.train import content_key_of, fresh

PREFIX = "enriched-"


def keep_enriched(solution: AdaptiveSolution) -> MechanicsModel:
    """Put the enriched body of a solution in the place of the one that the march began with, and open the model anew.

    The model has a version more: `MechanicsModel.enrichments` lists them. Other training settings give a body without them.

    Raises
    ------
    InputError
        Nothing was enriched, or its modes are gone.
    StoreError
        The body in the model is not the one that the march began with any more: somebody has trained or enriched meanwhile.
    """
    if solution.folder is None or not solution.folder.is_dir():
        raise InputError("the solution has no enriched modes, so there is nothing to keep; solve with a smaller tolerance")
    opened, path, cluster = solution.model.model, solution.model.model.path, solution.cluster
    content = content_key_of(opened)
    current, enrichments = read_mechanics(path, content), read_enrichments(path)
    if len(current.bodies) <= cluster or not _same(current.bodies[cluster], solution.model.bodies[cluster]):
        raise StoreError(f"the mechanics of {path} have changed since the march began; open them again, and solve again")
    name = f"{PREFIX}{len(enrichments) + 1}"
    body = _placed(solution.body, f"{FOLDER}/{name}")
    bodies = (*current.bodies[:cluster], body, *current.bodies[cluster + 1 :])
    note = f"body {cluster}: enriched by {len(solution.updates)} full-order steps, {name}"
    mechanics = replace(current, bodies=bodies, notes=(*current.notes, note))
    with fresh(aside(path)) as place:
        for folder in _still_used(path, current.bodies[cluster]):
            shutil.copytree(folder, place / folder.name, copy_function=_linked)
        shutil.copytree(solution.folder, place / name)
        versions = [*enrichments, _record(solution, name)]
        write_mechanics(path, mechanics, of=content, key=mechanics_key(path) or "", enrichments=versions)
    return MechanicsModel(opened, mechanics, solution.model.case)


def _same(now: ReducedBody, then: ReducedBody) -> bool:
    return (now.modes, now.points.tolist(), now.weights.tolist()) == (then.modes, then.points.tolist(), then.weights.tolist())


def _still_used(path: Path, replaced: ReducedBody) -> list[Path]:
    """Bases of clusters, and enriched modes of other bodies; an enriched body holds all that its earlier version held."""
    earlier = (path / replaced.modes).parent
    kept = [*(path / FOLDER).glob("cluster-*"), *(path / FOLDER).glob(LEARNT), *(path / FOLDER).glob(f"{PREFIX}*")]
    return [folder for folder in sorted(kept) if not (folder == earlier and folder.name.startswith(PREFIX))]


def _linked(source: str, target: str) -> str:
    """A second name of the same file where the disk knows such, a copy where it does not: modes of clusters are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _placed(body: ReducedBody, folder: str) -> ReducedBody:
    """The body with its modes where they lie in the model."""
    duals = tuple(replace(dual, modes=f"{folder}/{dual.name}") for dual in body.duals)
    return replace(body, modes=f"{folder}/{body.displacement}", duals=duals)


def _record(solution: AdaptiveSolution, name: str) -> dict[str, Any]:
    """Where the version comes from, in JSON."""
    path, before, after = solution.model.model.path, solution.model.bodies[solution.cluster], solution.body
    return {
        "folder": name,
        "body": solution.cluster,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "inputs": dict(solution.inputs),
        "states": origin_of(path, after).states,
        "from": {"modes": before.rank, "points": before.rule.points, "folder": before.modes},
        "to": {"modes": after.rank, "points": after.rule.points},
        "updates": [{key: _number(value) for key, value in asdict(update).items()} for update in solution.updates],
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
