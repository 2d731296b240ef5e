"""Energy-conserving sampling and weighting: few elements with non-negative weights that give the work of all.

    G[(i, s), e] = phi_{i, e} . f_e(u_s)      work of mode i against the force of element e in state s
    d = G 1                                   all elements, each with weight one
    find few xi_e > 0 with  ||G xi - d|| <= tolerance ||d||

The same mathematics as cubature, with elements for points and ones for weights. Whole elements with non-negative weights keep the
symmetry and positivity of the full problem and, in dynamics, its energy. Forces are evaluated at the *projected* states
``Phi Phi^T u_s``. Rows are states times modes, often more than there are elements: they come in blocks, and are compressed as
they come.

Source     C. Farhat, T. Chapman, P. Avery, Int. J. Numer. Meth. Engng 102 (2015); T. Chapman et al., ibid. 109 (2017)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.row_compression import CompressedRows, compress_rows
from nwidth_graphs.kernels.rule import Rule


@dataclass(frozen=True)
class ElementRule:
    """Elements and their weights, and what the compression of rows may hide."""

    rule: Rule
    """Its points are numbers of elements, its full weights are ones."""
    bound: float
    """Upper bound of ``||G xi - d|| / ||d||`` over all rows that were seen, with those that the compression dropped."""
    rows: CompressedRows


def element_rows(modes: Matrix, forces: Matrix) -> Floats:
    """``G[(i, s), e] = sum_d modes[e, d, i] forces[e, d, s]``: a block of rows (N * states, E), state s fastest.

    Parameters
    ----------
    modes : (E, d, N) array
        Every mode at the d unknowns of every element.
    forces : (E, d, states) array
        Element forces at the projected states.
    """
    if modes.ndim != 3 or forces.ndim != 3 or modes.shape[:2] != forces.shape[:2]:
        found = f"modes of shape {modes.shape} and forces of shape {forces.shape} were given"
        raise ValueError(f"{found}; give (elements, unknowns, modes) and (elements, unknowns, states)")
    work = np.matmul(np.swapaxes(np.asarray(modes, np.float64), 1, 2), forces)
    return np.ascontiguousarray(work.reshape(len(modes), -1).T)


def ecsw(
    blocks: Iterable[Matrix], tolerance: float, *, rtol: float = 0.0, normalised: bool = True, max_elements: int | None = None
) -> ElementRule:
    """Elements and weights for blocks of rows (rows, E), which are read one after another and not kept.

    Parameters
    ----------
    tolerance : float
        On ``||G xi - d|| / ||d||``; around 1e-2 in the literature.
    rtol : float
        Of the compression of rows; 0 drops rounding alone.
    normalised : bool
        Choose by columns of norm one ("column scaling"): fewer steps, less equal weights.
    max_elements : int, optional
        At most so many.

    Raises
    ------
    ValueError
        There is no block, blocks do not fit, a value is not finite, or all elements together do no work.
    """
    rows = compress_rows(blocks, rtol=rtol)
    if not len(rows.rows):
        raise ValueError("all rows are zero, for which no elements are exact; give states that load the structure")
    return element_rule(rows, tolerance, normalised=normalised, max_elements=max_elements)


def element_rule(
    rows: CompressedRows, tolerance: float, *, normalised: bool = True, max_elements: int | None = None
) -> ElementRule:
    """The same of rows that have been compressed, in a tree perhaps."""
    ones = np.ones(rows.rows.shape[1])
    rule = nnomp(rows.rows, ones, tolerance, normalised=normalised, max_points=max_elements)
    away = ones.copy()
    away[rule.points] -= rule.weights
    size = float(np.linalg.norm(rows.rows @ ones))
    return ElementRule(rule, float(np.hypot(rule.error, rows.dropped * np.linalg.norm(away) / size)), rows)
