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
    """A short key of the content of `parts` (Dask's tokens for arrays), with the code's version."""
    from dask.base import tokenize

    from nwidth import __version__

    return hashlib.blake2b(f"{__version__}:{tokenize(*parts)}".encode(), digest_size=8).hexdigest()
