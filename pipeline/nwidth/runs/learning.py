"""What a run does about learning: refused before the passes, done after the publication, or said to be gone.

run ──> published model ──[learn]──> the same model, which predicts          a kill in between costs the training alone
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nwidth.config import Study
from nwidth.errors import NwidthError
from nwidth.models.learned import has_learned
from nwidth.runs.folder import MODEL, RunFolder
from nwidth.stages.learning import refuse_unlearnable, summary, teach
from nwidth.stores.coordinates import read_coordinates

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore

FORGOTTEN = (
    "what the last model had learnt is gone with its bases: this model does not predict; teach it with `nwidth learn`, or put a "
    "table [learn] into the study"
)


def refuse_before_work(study: Study, store: SnapshotStore, ranges: tuple[tuple[int, int], ...]) -> None:
    """Refuse a study whose model could not be taught, before anything is read.

    Raises
    ------
    ConfigError, InputError
        As `nwidth.stages.learning.refuse_unlearnable`.
    """
    if study.learn is not None:
        refuse_unlearnable(study.learn, read_coordinates(store, ranges))


def forgets(study: Study, folder: RunFolder) -> bool:
    """Whether the model that is about to be replaced has learnt something that the new one will not."""
    return study.learn is None and has_learned(folder.path / MODEL)


def taught(study: Study, folder: RunFolder) -> tuple[dict[str, Any] | None, bool]:
    """Teach the published model what the study asks for; (what it has learnt, whether it was trained just now).

    Raises
    ------
    ConfigError, InputError
        The training cannot be done; the model stays as it is, and reduces and reconstructs.
    """
    if study.learn is None:
        return None, False
    clock = time.perf_counter()
    try:
        learned, trained = teach(folder.path / MODEL, study.learn)
    except NwidthError as error:
        folder.note("not learnt", error=f"{type(error).__name__}: {error}")
        raise
    told = summary(learned)
    if trained:
        folder.note("learnt", seconds=time.perf_counter() - clock, accuracy=told["accuracy"], pays=told["pays"])
    return told, trained
