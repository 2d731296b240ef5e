"""Where a run may be NaN: at the same places in all of its snapshots (a mask), or wherever it was asked to keep gaps.

snapshot ──finite?──────────────────────────────> stored
         ├─infinity, or NaN throughout──────────> refused, always: NaN throughout is what was never written
         └─NaN where the first snapshot was not, or the other way round ──> refused, unless gaps are kept
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Refused:
    """A value that may not be stored, and what it is measured against."""

    snapshot: int
    """Index in the batch."""
    place: tuple[int, ...]
    value: float
    masked: bool
    """Whether the snapshots before are NaN at this place, and this one is not."""


class FieldMask:
    """The mask of one field of one run: what its first snapshot, or an older run, says.

    Parameters
    ----------
    gaps : bool
        NaN may come and go.
    known : callable, optional
        Gives the mask of an older run; called once, when a NaN is met. None from it says that there is no older run.
    """

    def __init__(self, gaps: bool = False, known: Callable[[], Bools | None] | None = None) -> None:
        self._gaps = gaps
        self._known = known
        self._first: Bools | None = None
        self._whole = False
        """The first snapshot had no NaN at all."""

    def refused(self, snapshots: NDArray[Any]) -> Refused | None:
        """The first value of (k, *space) snapshots that may not be stored; None where all may."""
        finite = np.isfinite(snapshots)
        if finite.all() and self._first is None:
            self._whole = True
            return None
        return next((found for k in range(len(snapshots)) if (found := self._check(k, snapshots[k], finite[k]))), None)

    def _check(self, index: int, values: NDArray[Any], finite: Bools) -> Refused | None:
        missing = np.isnan(values)
        bad = ~(finite | missing)
        if missing.all():
            bad = missing
        elif not self._gaps:
            bad |= missing != self._expected(missing)
        if not bad.any():
            return None
        place = tuple(int(k) for k in np.unravel_index(int(np.argmax(bad)), values.shape))
        return Refused(index, place, float(values[place].real), bool(finite[place]))

    def _expected(self, missing: Bools) -> Bools:
        if self._first is None:
            older = self._known() if self._known is not None and not self._whole else None
            self._first = np.zeros_like(missing) if self._whole else missing if older is None else older
        return self._first
