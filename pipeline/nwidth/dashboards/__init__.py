"""The dashboard: runs and their state, live from their ledgers; what a finished run has found, as pictures that answer.

    data       ledger.py, alive.py, runs.py     a folder of runs as records: states, progress, events
               contents.py, costs.py            a model and its record as plain arrays, read slice-wise
               scheduler.py                     what a Dask scheduler says of its tasks
    pictures   figures/                         arrays -> Bokeh models, one file per picture; texts.py: records -> markup
               painting.py, painter.py          modes and snapshots on mesh or grid, by a second process, kept
    people     page.py, view.py                 a run's tabs; all runs, polled
               serving.py, gate.py              the server, and who may speak to it
               exporting.py                     the same page as one file

Only records and small arrays are read here, and nothing is written. Fields are read and drawn by a process of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["dashboard"]


def dashboard(folder: str | Path = "runs") -> Any:
    """The dashboard of a folder, as a Panel object: a notebook shows it, ``.servable()`` puts it into an application.

    Parameters
    ----------
    folder
        The folder of a study's results, a model, or a folder that holds several of them.

    Raises
    ------
    nwidth.errors.ConfigError
        Panel is not installed: the extra ``dashboard``.
    """
    from nwidth.dashboards.extra import need_panel

    need_panel()
    from nwidth.dashboards.view import Dashboard

    return Dashboard(Path(folder))
