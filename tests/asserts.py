"""Assertions on factorizations, with tolerances that come from eps, the size and the first singular value.

A backward-stable factorization of an ``(n, m)`` matrix is exact for a matrix that differs by at most ``c sqrt(n m) eps s[0]``;
the square root is how independent roundings add up, and ``c`` covers the handful of such steps in a pipeline.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 10.0
"""How many roundings of full size one result may collect: leaf, a few merges, the small factor, the lift."""


def backward_error(shape: tuple[int, ...], dtype: Any = np.float64) -> float:
    """The relative size ``STEPS sqrt(n m) eps`` of the matrix perturbation that rounding may cause."""
    return STEPS * float(np.sqrt(np.prod(shape, dtype=float))) * float(np.finfo(dtype).eps)


def half_unit(text: str) -> float:
    """Half a unit of the last printed digit, plus a hair: how far a value may lie from the one that was printed."""
    mantissa, _, exponent = text.partition("e")
    return 0.51 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def assert_printed(actual: float, text: str) -> None:
    """`actual`, rounded to the digits of `text`, is `text`."""
    assert abs(actual - float(text)) <= half_unit(text), f"{actual!r} was printed as {text}"


def assert_orthonormal(modes: Any, M: Any = None, weights: Any = None, *, tolerance: float | None = None) -> None:
    """``|modes' M modes - I|`` is below ``STEPS sqrt(n N) eps`` of the modes' dtype in every entry."""
    modes = np.asarray(modes)
    tolerance = backward_error(modes.shape, modes.dtype) if tolerance is None else tolerance
    defect = float(np.abs(_gram(modes.astype(np.float64), M, weights) - np.eye(modes.shape[1])).max(initial=0.0))
    assert defect <= tolerance, f"orthogonality defect {defect:.2e} above {tolerance:.2e}"


def assert_spectrum_close(
    actual: Any, expected: Any, shape: tuple[int, int], *, dtype: Any = np.float64, floor: float = 0.0
) -> None:
    """Singular values agree to ``STEPS sqrt(n m) eps s[0]``, absolutely (Weyl); those below ``floor * s[0]`` are not compared.

    A spectrum may be shorter or longer than the other where the missing values are within the tolerance of zero.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    length = max(len(actual), len(expected))
    actual, expected = (np.pad(values, (0, length - len(values))) for values in (actual, expected))
    first = expected[0] if length else 0.0
    tolerance = backward_error(shape, dtype) * first
    compared = np.maximum(actual, expected) > floor * first
    difference = np.where(compared, np.abs(actual - expected), 0.0)
    worst = int(difference.argmax()) if length else 0
    assert difference.max(initial=0.0) <= tolerance, (
        f"singular value {worst} is {actual[worst]:.6e}, expected {expected[worst]:.6e} to {tolerance:.1e}"
    )


def assert_same_subspace(
    actual: Any,
    expected: Any,
    singular_values: Any,
    shape: tuple[int, int],
    M: Any = None,
    weights: Any = None,
    *,
    dtype: Any = np.float64,
) -> None:
    """Two orthonormal bases of N modes span the same space, as well as the gap after mode N determines it (Wedin).

    The sine of the largest angle is at most ``STEPS sqrt(n m) eps s[0] / (s[N-1] - s[N])``; `singular_values` are
    all of the matrix. A gap that rounding closes (a bound above 1/2) cannot be judged and is refused: choose another N.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"bases of shapes {actual.shape} and {expected.shape}"
    s = np.append(np.asarray(singular_values, np.float64), 0.0)
    rank = actual.shape[1]
    tolerance = backward_error(shape, dtype) * s[0] / max(s[rank - 1] - s[min(rank, len(s) - 1)], np.finfo(float).tiny)
    assert tolerance < 0.5, f"no gap after mode {rank}: the subspace is not determined by the data"
    sine = largest_sine(actual, expected, M, weights)
    assert sine <= tolerance, f"sine of the largest angle {sine:.2e} above {tolerance:.2e}"


def largest_sine(actual: NDArray[Any], expected: NDArray[Any], M: Any = None, weights: Any = None) -> float:
    """Sine of the largest principal angle between two M-orthonormal bases, by the residual (a cosine has a floor at 1e-8)."""
    residual = actual - expected @ _gram(expected, M, weights, actual)
    squared = np.linalg.eigvalsh(_gram(residual, M, weights))
    return float(np.sqrt(max(squared.max(initial=0.0), 0.0)))


def _gram(left: NDArray[Any], M: Any, weights: Any, right: NDArray[Any] | None = None) -> NDArray[Any]:
    right = left if right is None else right
    if M is not None:
        return np.asarray(left.T @ (M @ right))
    return np.asarray(left.T @ (right if weights is None else np.asarray(weights)[:, None] * right))
