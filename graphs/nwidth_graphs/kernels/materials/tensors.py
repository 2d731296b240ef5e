"""Six components of symmetric tensors: 11, 22, 33, 12, 23, 13.

Strains that come in carry engineering shear (``gamma_12 = 2 eps_12``), so that ``stress . strain`` is the double contraction.
Stresses, deviators and internal variables carry tensor shear; their contraction counts shear twice.
"""

from __future__ import annotations

import numpy as np

from nwidth_graphs.kernels.elements import Floats

IDENTITY = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
CONTRACTION = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
"""``a : b = sum CONTRACTION a b`` for two tensors with tensor shear."""
DEVIATOR = np.diag(1 / CONTRACTION) - np.outer(IDENTITY, IDENTITY) / 3
"""Strain with engineering shear -> its deviator with tensor shear."""
_ISOTROPIC = np.stack([np.outer(IDENTITY, IDENTITY), DEVIATOR]).reshape(2, 36)


def stiffness(shear: Floats, bulk: Floats) -> Floats:
    """``K 1 x 1 + 2 mu dev``, (..., 6, 6) from moduli (...,): strain with engineering shear -> stress."""
    # One product of matrices: half the time of two outer products and their sum.
    moduli = np.stack([bulk, 2 * shear], axis=-1)
    return np.asarray((moduli @ _ISOTROPIC).reshape(*moduli.shape[:-1], 6, 6))


def equivalent(deviator: Floats) -> Floats:
    """``J = sqrt(3/2 s : s)`` of deviators (..., 6) with tensor shear."""
    return np.asarray(np.sqrt(1.5 * (deviator**2 @ CONTRACTION)))


def von_mises(stress: Floats) -> Floats:
    """Von Mises stress (...,) of stresses (..., 6)."""
    return equivalent(stress - stress[..., :3].mean(axis=-1, keepdims=True) * IDENTITY)
