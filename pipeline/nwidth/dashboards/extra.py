"""The extra ``dashboard``: asked for where it is needed first, in words."""

from __future__ import annotations

from importlib.util import find_spec

from nwidth.errors import ConfigError


def need_panel() -> None:
    """Refuse to go on without Panel.

    Raises
    ------
    ConfigError
        Panel or Bokeh is not installed.
    """
    missing = [name for name in ("panel", "bokeh") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'the dashboard needs {" and ".join(missing)}, not installed here; install the extra: pip install "nwidth[dashboard]"'
        )
