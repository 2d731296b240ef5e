"""The `xp` fixture: every array library that a kernel must run on, NumPy arrays that must not be written among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Namespace:
    """How to make an array of one library, and how to bring it back."""

    name: str
    array: Callable[[Any], Any]
    numpy: Callable[[Any], NDArray[Any]]


def _read_only(values: Any) -> NDArray[Any]:
    array = np.array(values, order="K")
    array.flags.writeable = False
    return array


def _namespace(name: str) -> Namespace:
    if name == "numpy":
        return Namespace(name, lambda values: np.array(values, order="K"), np.asarray)
    if name == "read-only numpy":
        return Namespace(name, _read_only, np.asarray)
    if name == "array_api_strict":
        import array_api_strict

        return Namespace(name, array_api_strict.asarray, np.asarray)
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("there is no CUDA device")
    return Namespace(name, cupy.asarray, cupy.asnumpy)


@pytest.fixture(params=["numpy", "read-only numpy", "array_api_strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def xp(request: pytest.FixtureRequest) -> Namespace:
    """An array library; CuPy is skipped with its reason where there is no GPU."""
    return _namespace(request.param)
