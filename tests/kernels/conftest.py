"""The libraries that kernels run on.

xp               every array library, NumPy arrays that must not be written among them
native_library   BLAS and LAPACK that routines are called of by address
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth_graphs.kernels import native


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


@pytest.fixture(params=["NumPy's", "SciPy's"])
def native_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both libraries, whose integers may be of different sizes: the second is for a NumPy with none of the known names."""
    native._routine.cache_clear()
    if request.param == "SciPy's":
        monkeypatch.setattr(native, "_SPELLINGS", ())
    elif native._address_in_numpy("dsytrd") is None:
        pytest.skip("this NumPy's library has none of the names that are known; SciPy's takes its place")
    yield
    native._routine.cache_clear()
