"""Whether a run can do its work here: the installation, the machine, and, where they are named, a study's store and workers.

    diagnose(study=..., address=...) -> [Check(name, status, found, advice), ...]

    installation    packages, extras, rendering, GPU, readers, a small cluster
    machine         BLAS, rates of a core, cores, memory, disks
    store           reads of the study's store, small ones and whole chunks; room for its results
    cluster         scheduler and workers: versions, limits, disks, clocks, their way to the store

Every check is a function that really tries the thing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nwidth.doctor.checks import Check, Status, guarded
from nwidth.doctor.installation import (
    check_cluster,
    check_extras,
    check_gpu,
    check_packages,
    check_python,
    check_readers,
    check_rendering,
)
from nwidth.doctor.machine import check_blas, check_cores, check_disk, check_memory, check_rates

if TYPE_CHECKING:
    from nwidth.config import Study

__all__ = ["Check", "Status", "diagnose"]


def diagnose(
    folder: str | os.PathLike[str] | None = None, *, study: Study | None = None, address: str | None = None
) -> list[Check]:
    """Try everything.

    Never raises: a check that fails in an unforeseen way is reported as failed, with the error in its words.

    Parameters
    ----------
    folder : where the speed of the disk is measured; that of the study's results, or the working folder, by default
    study : its store is read, the room for its results measured, and its workers asked, where it names an address
    address : of a scheduler whose workers are asked; that of the study by default
    """
    place = Path(folder) if folder is not None else _results(study) if study is not None else Path.cwd()
    tries: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", lambda: [check_python()]),
        ("packages", check_packages),
        ("blas", lambda: [check_blas()]),
        ("rates", lambda: [check_rates()]),
        ("extras", check_extras),
        ("rendering", lambda: [check_rendering()]),
        ("gpu", lambda: [check_gpu()]),
        ("cores", lambda: [check_cores()]),
        ("memory", lambda: [check_memory()]),
        ("disk", lambda: [check_disk(place)]),
        ("readers", check_readers),
        ("cluster", lambda: [check_cluster()]),
        *_of_study(study),
        *_of_workers(study, address),
    ]
    return [check for name, attempt in tries for check in guarded(name, attempt)]


def _results(study: Study) -> Path:
    """The folder of the study's results, or the nearest above it that is there."""
    return next((folder for folder in (study.run_folder, *study.run_folder.parents) if folder.is_dir()), Path.cwd())


def _of_study(study: Study | None) -> list[tuple[str, Callable[[], list[Check]]]]:
    if study is None:
        return []
    from nwidth.doctor.store import check_room, check_store

    return [("store", lambda: check_store(study)), ("room", lambda: [check_room(study, _results(study))])]


def _of_workers(study: Study | None, address: str | None) -> list[tuple[str, Callable[[], list[Check]]]]:
    if address is None and (study is None or study.workers.address is None):
        return []
    from nwidth.doctor.cluster import check_workers

    return [("workers", lambda: check_workers(address, study))]
