"""Options that are checked against the data: tables by field, inner products, weights; and the key of a content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError

COMPONENT = "component"
"""The last space dimension of a vector or tensor field."""

_PLAIN = (str, int, float, type(None))


def check_tables(names: Sequence[str], request: ReduceSection, prefix: str = "") -> None:
    """Refuse options by field that name a field which is not reduced."""
    for option in ("inner_product", "field_scaling"):
        table = getattr(request, option)
        unknown = [name for name in table if name not in names] if isinstance(table, dict) else []
        if unknown:
            raise ConfigError(f"{prefix}{option}: {unknown[0]!r} is not among the fields that are reduced: {', '.join(names)}")


def inner_product_of(field: str, request: ReduceSection) -> str:
    """Name of the inner product of one field."""
    wanted = request.inner_product
    return wanted.get(field, "identity") if isinstance(wanted, dict) else wanted


def check_weights(name: str, weights: NDArray[np.float64], space: Sequence[int]) -> NDArray[np.float64]:
    """Refuse weights of a wrong shape, or that are not positive and finite.

    Raises
    ------
    ConfigError
        Says what was found, where, and what was expected.
    """
    if weights.shape != tuple(space):
        raise ConfigError(
            f"weights {name!r} have shape {weights.shape}, and the field's space has {tuple(space)}; give one weight per place"
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ConfigError(f"weight {weights[place]} of {name!r} at {place} is not allowed; weights are finite and not negative")
    if not (weights > 0).any():
        raise ConfigError(f"all weights of {name!r} are zero; at least one must be positive")
    return weights


def content_token(*parts: Any) -> str:
    """A short key of the content of `parts`, with the code's version.

    Text and numbers stand for themselves, and arrays for Dask's tokens of them: a study of stored fields has none, and is planned
    without Dask, which takes 6 MB and a quarter of a second to import.
    """
    from nwidth import __version__

    described = repr(parts) if all(isinstance(part, _PLAIN) for part in parts) else _tokens(parts)
    return hashlib.blake2b(f"{__version__}:{described}".encode(), digest_size=8).hexdigest()


def _tokens(parts: tuple[Any, ...]) -> str:
    from dask.base import tokenize

    return str(tokenize(*parts))
