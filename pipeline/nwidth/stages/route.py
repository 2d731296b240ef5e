"""Which way to the small factor, and why: said in one sentence, before and after the pass."""

from __future__ import annotations

from dataclasses import dataclass

from nwidth.config import ReduceSection
from nwidth_graphs.reduction import GRAM, TSQR, Reduction, reduction_named

# Ten times the square root of the unit roundoff: below, a Gram matrix can hardly resolve what the tolerance asks for. Above, it
# mostly can, and where it cannot, its measured floor says so.
GRAM_MIN_RTOL = 1e-7


REDUCTIONS = ("gram", "tsqr")
"""Routes that are a reduction of blocks with all snapshots; the other routes have passes of their own."""


@dataclass(frozen=True)
class Route:
    """A reduction, the reason for it, and what may replace it."""

    reduction: Reduction
    reason: str
    fallback: Reduction | None = None
    """Run instead where the measured floor cuts off modes that were asked for."""


def choose_route(request: ReduceSection) -> Route:
    """Pick the reduction by the tolerance asked for; a rank alone is tried by Gram first, and its measured floor decides."""
    if request.route in REDUCTIONS:
        return Route(reduction_named(request.route), f'route = "{request.route}" was asked for')
    if request.rtol is not None and request.rtol < GRAM_MIN_RTOL:
        return Route(TSQR, f"rtol = {request.rtol:g} is below {GRAM_MIN_RTOL:g}, where a Gram matrix sees rounding only")
    if request.rtol is not None:
        return Route(GRAM, f"rtol = {request.rtol:g} lies above the Gram floor of 4.5e-8 s_1, and Gram is fastest", fallback=TSQR)
    return Route(GRAM, f"{request.rank} modes were asked for; Gram is fastest, and its floor is checked", fallback=TSQR)


def fallback_reason(request: ReduceSection, floor: float, trusted: int, asked: int) -> str:
    """Why the fallback was run."""
    if trusted >= asked:
        return (
            f"the Gram floor of {floor:.2e} leaves open how many modes reach rtol = {request.rtol:g}, so the data were read once "
            f"more by TSQR, which has no such floor"
        )
    return (
        f"the Gram floor of {floor:.2e} left {trusted} trustworthy modes where {asked} were asked for, so the data were read "
        f"once more by TSQR, which has no such floor"
    )
