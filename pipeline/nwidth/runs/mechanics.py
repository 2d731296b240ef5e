"""What a run does about mechanics: refused before the passes, trained after the publication, on the run's own workers.

run ──> published model ──[mechanics]──> the same model, which solves load cases      a kill in between costs the training alone
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.config import ReduceSection, Study
from nwidth.errors import ConfigError, NwidthError
from nwidth.runs.executing import Workers
from nwidth.runs.folder import MODEL, RunFolder
from nwidth.workers import Progress

if TYPE_CHECKING:
    from nwidth.mechanics.body import Unseen
    from nwidth.mechanics.files import ReducedMechanics
    from nwidth.mechanics.options import MechanicsOptions
    from nwidth.sections import MechanicsSection
    from nwidth_graphs.kernels.materials import Law


def refuse_mechanics(study: Study) -> None:
    """Refuse a table [mechanics] that names no case or no law, before anything is read.

    Raises
    ------
    ConfigError
        Names the key.
    """
    if study.mechanics is None:
        return
    from nwidth.mechanics.case import case_named

    case_named(study.mechanics.case)
    law_of(study.mechanics)
    options_of(study.mechanics)


def law_of(section: MechanicsSection) -> Law:
    """The material of the table.

    Raises
    ------
    ConfigError
        An unknown kind, or parameters that the kind refuses.
    """
    from nwidth_graphs.kernels.materials import law_from_record

    try:
        return law_from_record(section.law)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"mechanics.law: {error}") from None


def options_of(section: MechanicsSection) -> MechanicsOptions:
    """The options of the training."""
    from nwidth.mechanics.options import MechanicsOptions

    return MechanicsOptions(**section.model_dump(exclude={"case", "law", "rtol", "rank"}))


def mechanised(
    study: Study, folder: RunFolder, workers: Workers, progress: Progress | None
) -> tuple[dict[str, Any] | None, bool]:
    """Train the published model's mechanics as the study asks; (what they are, whether they were trained just now).

    Raises
    ------
    ConfigError, InputError
        The training cannot be done; the model stays as it is.
    """
    section = study.mechanics
    if section is None:
        return None, False
    from nwidth.mechanics.files import mechanics_key
    from nwidth.mechanics.train import Trainer
    from nwidth.models.model import open_model
    from nwidth.stores import open_store

    clock, model = time.perf_counter(), open_model(folder.path / MODEL)
    trainer = Trainer(
        model=model,
        store=open_store(study.store_url, options=study.store_options),
        case=section.case,
        law=law_of(section),
        options=options_of(section),
        reduce=_reduce(study),
        memory=study.workers.memory,
    )
    if mechanics_key(model.path) == trainer.key:
        return summary(trainer.known()), False
    try:
        with workers() as executor:
            mechanics, addresses = trainer.train(executor, progress), executor.addresses()
    except NwidthError as error:
        folder.note("mechanics not trained", error=f"{type(error).__name__}: {error}")
        raise
    told = summary(mechanics)
    folder.note("mechanics trained", seconds=time.perf_counter() - clock, bodies=len(mechanics.bodies), **addresses)
    return told, True


def _reduce(study: Study) -> ReduceSection:
    section = study.mechanics
    if section is None or (section.rtol is None and section.rank is None):
        return study.reduce
    return study.reduce.model_copy(update={"rtol": section.rtol, "rank": section.rank})


def summary(mechanics: ReducedMechanics) -> dict[str, Any]:
    """What was trained, and how good it is, as scalars and words: for a record, a table, a ledger."""
    return {
        "case": mechanics.case,
        "bodies": [
            {
                "modes": body.rank,
                "points": len(body.points),
                "cubature": vars(body.rule),
                "duals": {
                    dual.name: {"modes": dual.masked.modes, "amplification": dual.masked.amplification} for dual in body.duals
                },
                "indicator": body.indicating,
                "correlation": None if body.calibration is None else body.calibration.correlation,
                "unseen": None if body.unseen is None else _unseen(body.unseen),
            }
            for body in mechanics.bodies
        ],
        "notes": list(mechanics.notes),
    }


def _unseen(found: Unseen) -> dict[str, Any]:
    """Errors on simulations that were held out; a field has None where all of them failed."""
    errors = {name: of[np.isfinite(of)] for name, of in zip(found.fields, found.errors.T, strict=True)}
    return {
        "simulations": list(found.simulations),
        "errors": {
            name: {"median": float(np.median(of)), "largest": float(of.max())} if of.size else None for name, of in errors.items()
        },
        "failures": {name: why for name, why in zip(found.simulations, found.failures, strict=True) if why},
    }
