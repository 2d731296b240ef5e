"""What a basis promises, measured: the certificate that every basis carries.

    e_j = || s_j - Phi Phi^T W s_j ||_W / || s_j ||_W           for every snapshot j, measured in the lifting pass
    e   = sqrt( sum_j d_j^2 ||s_j - Phi Phi^T W s_j||^2 / sum_j d_j^2 ||s_j||^2 )      Frobenius: what the request's rtol bounds
    defect = max | Phi^T W Phi - I |

with d the snapshot scaling (1 unless asked otherwise) and s_j centred where the basis is. Norms run over the valid unknowns:
those that are masked (NaN in every snapshot) weigh nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DEFECT = 1e-10
"""A basis whose orthogonality defect is larger is repaired before it is written."""


@dataclass(frozen=True)
class Certificate:
    """Measured errors of one basis; see the module for the formulas."""

    relative_errors: NDArray[np.float64]
    """(m,): e_j; 0 for a snapshot that is zero."""
    snapshot_norms: NDArray[np.float64]
    """(m,): norms in the basis's inner product, centred where the basis is."""
    frobenius_error: float
    """e."""
    expected_error: float
    """What the spectrum promised: ``sqrt(sum_{i>N} s_i^2 / sum_i s_i^2)``."""
    field_errors: dict[str, float]
    """Relative Frobenius error of each field by itself."""
    orthogonality_defect: float
    """The defect of the modes as written."""
    measured_defect: float
    """The defect before a repair; equal to `orthogonality_defect` where none was needed."""
    masked_unknowns: Mapping[str, int] = field(default_factory=dict)
    """Field -> unknowns that are NaN in every snapshot: outside of the domain, and NaN in the modes."""
    filled_fraction: float | None = None
    """Share of the valid values that were missing, and filled from the modes; None where ``missing = "gappy"`` found none."""
    fill_error: float | None = None
    """Relative error of that filling, measured on observed values that were hidden from it; see `nwidth.stages.gappy`."""
    bound: bool = False
    """Whether the errors are upper bounds and not measured: of a model made of models, whose snapshots were not read."""

    @property
    def repaired(self) -> bool:
        """Whether the modes had to be orthonormalised again."""
        return self.measured_defect > MAX_DEFECT

    @property
    def worst_snapshot(self) -> int:
        """Index of the snapshot with the largest relative error."""
        return int(np.argmax(self.relative_errors))

    @property
    def worst_error(self) -> float:
        """The largest relative error of a single snapshot."""
        return float(self.relative_errors[self.worst_snapshot])

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import certificate_html

        return certificate_html(self)

    def summary(self) -> dict[str, Any]:
        """The scalars, for a manifest or a table."""
        return {
            "frobenius_error": self.frobenius_error,
            "expected_error": self.expected_error,
            "worst_error": self.worst_error,
            "worst_snapshot": self.worst_snapshot,
            "field_errors": dict(self.field_errors),
            "orthogonality_defect": self.orthogonality_defect,
            "measured_defect": self.measured_defect,
            "repaired": self.repaired,
            "masked_unknowns": dict(self.masked_unknowns),
            "filled_fraction": self.filled_fraction,
            "fill_error": self.fill_error,
            "bound": self.bound,
        }
