"""The address of a scheduler, which may be known only where the run is started: ``$DASK_SCHEDULER_ADDRESS``.

A batch job writes the variable, and so does Dask's operator on Kubernetes; the study stays the same everywhere.
"""

from __future__ import annotations

import os
import string

from nwidth.errors import ConfigError


def resolved(address: str) -> str:
    """The address with environment variables put in: ``$NAME`` or ``${NAME}``.

    Raises
    ------
    ConfigError
        A variable is not set.
    """
    try:
        return string.Template(address).substitute(os.environ)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"workers.address = {address!r} names an environment variable that is not set ({error}); set it, or "
            "give the address itself"
        ) from None
