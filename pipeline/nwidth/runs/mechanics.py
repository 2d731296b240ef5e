"""What a run does about mechanics: refused before the passes, trained after the publication, on the run's own workers.

run ──> published model ──[mechanics]──> the same model, which solves load cases      a kill in between costs the training alone
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nwidth.config import Study
from nwidth.errors import ConfigError, NwidthError
from nwidth.runs.executing import Workers
from nwidth.runs.folder import MODEL, RunFolder
from nwidth.workers import Progress

if TYPE_CHECKING:
    from nwidth.mechanics.options import MechanicsOptions
    from nwidth.sections import MechanicsSection
    from nwidth.stores.protocol import SnapshotStore
    from nwidth_graphs.kernels.materials import Law


def refuse_mechanics(study: Study, store: SnapshotStore) -> None:
    """Refuse a table [mechanics] that names no case or no law, or does not fit the store, before a field is read.

    Raises
    ------
    ConfigError
        Names the key.
    """
    if study.mechanics is None:
        return
    from nwidth.mechanics.case import case_named
    from nwidth.mechanics.train import check_held_out
    from nwidth.mechanics.training import check_store

    case_named(study.mechanics.case)
    law, options = law_of(study.mechanics), options_of(study.mechanics)
    check_store(store, law, options)
    check_held_out(options, [run.simulation for run in store.schema().runs], str(store.schema().url))


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

    return MechanicsOptions(**section.model_dump(exclude={"case", "law"}))


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
    from nwidth.mechanics.summary import summary
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
        reduce=study.reduce,
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
