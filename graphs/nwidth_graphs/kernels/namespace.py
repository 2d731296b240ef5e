"""The functions that go with an array, by the array API standard.

NumPy 2 follows the standard itself. `array_api_compat` would wrap it, and for that import all of NumPy's parts, its test helpers
and the Fortran compiler's front end among them: 8 MB and an eighth of a second, for a process that reduces NumPy blocks alone.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np


def array_namespace(*arrays: Any) -> Any:
    """NumPy for NumPy's arrays, and what `array_api_compat` finds for others (CuPy, `array_api_strict`).

    Raises
    ------
    TypeError
        The arrays are of several libraries, or of one that does not follow the standard.
    """
    if all(is_numpy_array(array) for array in arrays):
        return np
    return array_api_compat.array_namespace(*arrays)


def is_numpy_array(array: Any) -> bool:
    """Whether the array is NumPy's own."""
    return isinstance(array, np.ndarray)
