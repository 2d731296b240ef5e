"""Adapters to programs that schedule workflows: the stages as their tasks, without a second copy of any logic.

    nwidth run, nw.run ── idempotent ──▶ any scheduler may call them again and again: timers, Snakemake, Prefect need no code
    dagster.py                           assets, checks and a sensor, for those who look at lineage in Dagster
    words.py                             what such a program is told of a run

Everything here stands on `nwidth.runs`, and nothing of nwidth stands on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nwidth.config import Study

__all__ = ["dagster_definitions"]


def dagster_definitions(*studies: str | Path | Study, **options: Any) -> Any:
    """The assets and sensors of some studies, for a code location of Dagster: `nwidth.workflows.dagster.study_definitions`.

    Parameters
    ----------
    studies : study files, or studies
    options : ``every``, ``retries``, ``wait``

    Returns
    -------
    dagster.Definitions

    Raises
    ------
    ConfigError
        Dagster is not installed, a study file cannot be read, or two studies share a name.
    """
    from nwidth.workflows.extra import need_dagster

    need_dagster()
    from nwidth.workflows.dagster import study_definitions

    return study_definitions(*studies, **options)
