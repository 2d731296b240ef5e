"""The report of a run: one HTML file that needs nothing else, and the figures it is made of.

    record.py    a run folder as data          figures.py, styling.py   plots as matplotlib figures
    words.py     numbers in words              pictures.py              modes on their mesh, grid or line
    page.py      sections -> HTML              scene.py, surface.py     PyVista in a process of its own, and what replaces it

`write_report` makes the file; `nwidth.report.figures` gives the same plots to a notebook.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nwidth.report import figures

__all__ = ["write_report", "figures"]


def write_report(run_folder: str | Path, *, n_modes: int = 6, into: str | Path | None = None) -> Path:
    """Write ``report.html`` for a finished run and return its path.

    The file refers to nothing outside itself, opens from disk without a network, and is replaced atomically.

    Parameters
    ----------
    run_folder
        What `nwidth run` made: ``model.zarr/`` and, where the run was measured, ``run.json``.
    n_modes
        Modes that are drawn for each field of each basis.
    into
        Where the file goes; ``<run_folder>/report.html`` by default.

    Raises
    ------
    nwidth.errors.StoreError
        The folder has no model.
    nwidth.errors.FormatError
        ``run.json`` is not a JSON object.
    """
    from nwidth.report.page import write_page
    from nwidth.report.record import read_run

    folder = Path(run_folder)
    return write_page(read_run(folder), n_modes=n_modes, into=Path(into) if into else folder / "report.html")


def __getattr__(name: str) -> Any:
    # matplotlib takes half a second to import: only who plots waits for it.
    if name == "figures":
        from importlib import import_module

        return import_module("nwidth.report.figures")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
