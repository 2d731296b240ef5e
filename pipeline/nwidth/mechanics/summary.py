"""What was trained of reduced mechanics, as scalars and words: for a record, a table, a ledger, an inspection."""

from __future__ import annotations

from typing import Any

import numpy as np

from nwidth.mechanics.body import Unseen
from nwidth.mechanics.files import ReducedMechanics


def summary(mechanics: ReducedMechanics) -> dict[str, Any]:
    """All bodies: modes, points, what the cubature and the indicator are worth, errors on what was held out."""
    return {
        "case": mechanics.case,
        "shared_points": mechanics.shared_points,
        "bodies": [
            {
                "modes": body.rank,
                "points": len(body.points),
                "cubature": vars(body.rule),
                "duals": {
                    dual.name: {"modes": dual.masked.modes, "amplification": dual.masked.amplification} for dual in body.duals
                },
                "indicator": body.indicating,
                "correlation": None if body.calibration is None else body.calibration.correlation,
                "unseen": None if body.unseen is None else _unseen(body.unseen),
            }
            for body in mechanics.bodies
        ],
        "notes": list(mechanics.notes),
    }


def _unseen(found: Unseen) -> dict[str, Any]:
    """Errors on simulations that were held out; a field has None where all of them failed."""
    errors = {name: of[np.isfinite(of)] for name, of in zip(found.fields, found.errors.T, strict=True)}
    return {
        "simulations": list(found.simulations),
        "errors": {
            name: {"median": float(np.median(of)), "largest": float(of.max())} if of.size else None for name, of in errors.items()
        },
        "failures": {name: why for name, why in zip(found.simulations, found.failures, strict=True) if why},
    }
