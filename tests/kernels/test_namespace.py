"""The functions that go with an array: NumPy's own for its arrays, and whatever the standard finds for others."""

from __future__ import annotations

import subprocess
import sys

import array_api_strict
import numpy as np
import pytest

from nwidth_graphs.kernels.namespace import array_namespace, is_numpy_array


def test_numpy_is_its_own_namespace() -> None:
    """Subclasses, too: memory maps are what large arrays come as."""
    assert array_namespace(np.ones(2), np.ones(2, np.float32)) is np
    assert is_numpy_array(np.ones(2).view(np.memmap))


def test_others_have_theirs() -> None:
    """A library of the standard is found, and two of them at once are refused."""
    strict = array_api_strict.ones(2)
    assert array_namespace(strict).__name__ == "array_api_strict"
    assert not is_numpy_array(strict)
    with pytest.raises(TypeError, match="Multiple namespaces"):
        array_namespace(strict, np.ones(2))


def test_numpy_is_not_wrapped() -> None:
    """A Gram matrix of NumPy's numbers loads neither the wrapper of NumPy nor SciPy's linear algebra."""
    code = (
        "import sys, numpy as np\nfrom nwidth_graphs.kernels.gram import gram\ngram(np.ones((50, 3), np.float32))\n"
        "print(sorted({'array_api_compat.numpy', 'numpy.f2py', 'scipy.linalg'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
