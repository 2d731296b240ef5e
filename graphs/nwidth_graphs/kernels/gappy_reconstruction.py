"""Dual fields from their values at few points: gappy reconstruction, what it may amplify, and the residual that it leaves.

    offline   mask I = reduced integration points, and the Q-DEIM points of Psi that are not among them
              B = Psi[I, :]  (|I|, N_p),   B^+ (N_p, |I|),   amplification || B^+ ||
    online    z = argmin || B z - p_I || = B^+ p_I      rho = || B z - p_I || / || p_I ||      p ~ Psi z, where it is
    wanted

Psi (Q, N_p) is a Euclidean basis of a scalar at the integration points, the accumulated plastic strain say, or one stress
component; a reduced model evaluates the scalar at its own points anyway. With ``p = Psi a + e`` and values that are off by d on
the mask,

    || p - Psi z || <= || e || + || B^+ || ( || e_I || + || d || )

and ``B z - p_I`` is what of ``e_I + d`` is orthogonal to range(B): rho says nothing of what lies inside, and nothing at all where
there are as many points as modes. Keep |I| well above N_p.

Online cost |I| N_p for a draw or a time, whatever Q; all draws and times are columns of one product. This is not `gappy`, which
fills holes in the snapshots that a basis is made of.

Source  Everson, Sirovich, J. Opt. Soc. Am. A 12 (1995); of dual quantities: Ryckelynck, Lampoh, Quilicy, Meccanica 51 (2016)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.interpolation import DEPENDENT, Floats, Indices, Matrix


@dataclass(frozen=True)
class Reconstruction:
    """What the values at the points say of some fields: one for each column."""

    coefficients: Floats
    """z (N_p, ...)."""
    residuals: Floats
    """rho (...): 0 for values of zero, which every basis holds."""
    norms: Floats
    """``|| p_I ||`` (...)."""


@dataclass(frozen=True)
class MaskedBasis:
    """The offline half: plain arrays of |I| rows, none of Q."""

    points: Indices
    """I (|I|,): the reduced integration points first, in their own order."""
    values: Floats
    """B (|I|, N_p)."""
    inverse: Floats
    """B^+ (N_p, |I|)."""
    amplification: float
    """``|| B^+ ||``: by how much errors at the points may grow."""

    @property
    def modes(self) -> int:
        """N_p."""
        return int(self.values.shape[1])

    @property
    def blind(self) -> bool:
        """Whether there are as many points as modes, so that the residual is always zero and warns of nothing."""
        return len(self.points) == self.modes

    def reconstruct(self, values: Matrix) -> Reconstruction:
        """Fit values (|I|,) or (|I|, ...), a field in each column, in the order of `points`.

        Raises
        ------
        ValueError
            The number of values is not that of the points.
        """
        given = np.asarray(values, np.float64)
        if given.shape[:1] != self.points.shape:
            raise ValueError(
                f"values of shape {given.shape} were given for {len(self.points)} points; evaluate the field at the mask's "
                "points, in their order"
            )
        p = given.reshape(len(given), -1)
        z = self.inverse @ p
        missed = np.linalg.norm(p - self.values @ z, axis=0)
        norms = np.linalg.norm(p, axis=0)
        residuals = missed / np.where(norms > 0.0, norms, 1.0)
        if self.blind:
            residuals = np.zeros_like(residuals)
        shape = given.shape[1:]
        return Reconstruction(z.reshape(self.modes, *shape), residuals.reshape(shape), norms.reshape(shape))


def mask_of(reduced: Indices, interpolation: Indices) -> Indices:
    """The union of both, the reduced points first, as they are, and then those that are new, in their own order.

    Raises
    ------
    ValueError
        A reduced point is named twice.
    """
    reduced = np.asarray(reduced, np.int64)
    if len(np.unique(reduced)) < len(reduced):
        raise ValueError("a reduced integration point is named twice; give every point once, with its whole weight")
    more = np.asarray(interpolation, np.int64)
    _, first = np.unique(more, return_index=True)
    more = more[np.sort(first)]
    return np.concatenate([reduced, more[~np.isin(more, reduced)]])


def masked_basis(rows: Matrix, points: Indices) -> MaskedBasis:
    """The offline half from the rows of Psi at the mask, (|I|, N_p), and the points' numbers (|I|,).

    Raises
    ------
    ValueError
        There are fewer points than modes, or the points do not determine all modes.
    """
    B = np.asarray(rows, np.float64)
    count, modes = B.shape
    if count != len(points):
        raise ValueError(f"{count} rows of the dual basis were given for {len(points)} points; give the rows at the points")
    if count < modes:
        raise ValueError(
            f"the mask has {count} points for {modes} dual modes; add the interpolation points of the dual basis to it "
            f"(`mask_of`), or keep at most {count} modes"
        )
    left, s, right = np.linalg.svd(B, full_matrices=False)
    if not s.min(initial=math.inf) > DEPENDENT * s.max(initial=0.0):
        raise ValueError(
            f"the {count} points of the mask do not determine {modes} dual modes: their rows are dependent; add the "
            "interpolation points of the dual basis to it (`mask_of`)"
        )
    amplification = float(1.0 / s.min(initial=math.inf))
    return MaskedBasis(np.asarray(points, np.int64), B, (right.T / s) @ left.T, amplification)


def field_values(basis: Matrix, coefficients: Floats) -> Floats:
    """``Psi z``: any rows of the basis, (k, N_p), and the coefficients (N_p, ...) of some fields -> (k, ...).

    Rows are what is wanted: all of a chunk, or the few points whose stress somebody asked for.
    """
    return np.asarray(np.tensordot(np.asarray(basis, np.float64), coefficients, axes=1))


def error_bound(masked: MaskedBasis, missed: Floats, missed_at_points: Floats, off: Floats) -> Floats:
    """``|| e || + || B^+ || (|| e_I || + || d ||)``: an upper bound of ``|| p - Psi z ||`` from the three norms."""
    return np.asarray(missed + masked.amplification * (missed_at_points + off))


def relative_errors(found: Matrix, truth: Matrix, negligible: float = 0.0) -> NDArray[np.float64]:
    """``|| found - truth || / || truth ||`` of every column (Q, ...); the absolute error where the truth's norm is `negligible`.

    A field that has hardly begun, the plastic strain of a first step of 1e-12 say, has no relative error that means anything.
    """
    norms = np.linalg.norm(truth, axis=0)
    return np.asarray(np.linalg.norm(np.asarray(found) - truth, axis=0) / np.where(norms > negligible, norms, 1.0))
