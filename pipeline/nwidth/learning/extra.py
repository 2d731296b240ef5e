"""The extra ``learn``: scikit-learn, which only training needs."""

from __future__ import annotations

from importlib.util import find_spec

from nwidth.errors import ConfigError


def scikit_learn() -> None:
    """Refuse in words where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise ConfigError('training takes scikit-learn, which is not installed; run: pip install "nwidth[learn]"')
