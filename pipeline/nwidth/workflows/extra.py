"""The extra ``dagster``: asked for where it is needed first, in words."""

from __future__ import annotations

from importlib.util import find_spec

from nwidth.errors import ConfigError


def need_dagster() -> None:
    """Refuse to go on without Dagster.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    if find_spec("dagster") is None:
        raise ConfigError('assets need Dagster, which is not installed here; install the extra: pip install "nwidth[dagster]"')
