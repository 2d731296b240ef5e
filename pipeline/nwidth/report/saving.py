"""A figure as a file: refused before work where it cannot be written, and put in its place in one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nwidth.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
PIXELS_PER_INCH = 160


def check_picture(path: Path) -> None:
    """Refuse a place where no picture can be written, before anything is computed for it.

    Raises
    ------
    ConfigError
        The suffix is none of ``.png .svg .pdf``, or the folder does not exist.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path} has the suffix {path.suffix!r}; give a picture one of {', '.join(FORMATS)}")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"the folder of {path} does not exist; make it, or give another place")


def save_picture(figure: Figure, path: Path) -> Path:
    """Write the figure on white ground, in the format that the suffix says.

    Raises
    ------
    ConfigError
        As `check_picture`.
    StoreError
        The folder cannot be written.
    """
    import matplotlib as mpl

    from nwidth.report.styling import STYLE

    check_picture(path)
    aside = path.with_name(f".{path.name}.partial")
    try:
        with mpl.rc_context(STYLE):
            figure.savefig(aside, format=path.suffix[1:].lower(), dpi=PIXELS_PER_INCH, facecolor="white")
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(f"the picture cannot be written to {path} ({error.strerror}); give another place") from None
    return path
