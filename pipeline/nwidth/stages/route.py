"""Which way to the small factor, and why: said in one sentence, before and after the pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nwidth.config import ReduceSection
from nwidth_graphs.budget import PassCost
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


GRAM_ONLY = (
    "a sparse matrix that is not factorized has a Gram matrix and no R; its floor is 4.5e-8 s_1, and modes that are not "
    "orthonormal to 1e-10 are orthonormalized again"
)
"""Why the Gram route is the only one, and what that means."""


def choose_route(request: ReduceSection, *, gram_only: bool = False) -> Route:
    """Pick the reduction by the tolerance asked for; a rank alone is tried by Gram first, and its measured floor decides.

    `gram_only` says that an inner product among those asked for has no factor.
    """
    if gram_only:
        return Route(GRAM, GRAM_ONLY)
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


# Rates of one core, for predicted seconds: decoding of chunks and products of panels as `nwidth doctor` finds them on a server
# of 2024 within a factor of two, and what a scheduler takes for a task. They decide between routes only where these differ much.
DECODED_BYTES_PER_SECOND = 1.0e9
FLOPS_PER_SECOND = 2.0e10
TASK_SECONDS = 2.0e-3


@dataclass(frozen=True)
class RouteCost:
    """What a route would take, before it is run; upper bounds, but for the seconds."""

    route: str
    feasible: bool = True
    why_not: str = ""
    """Why it is not feasible, and what would make it so."""
    warning: str = ""
    """Why its result would fall short of the request."""
    passes: tuple[PassCost, ...] = ()
    floor: float = 0.0
    """Smallest singular value that it resolves, relative to the largest."""
    guarantee: str = ""
    """How the error is known: exact (by the spectrum, and measured), bound and measured, or estimated."""

    @classmethod
    def of(cls, route: str, passes: Sequence[PassCost], *, floor: float, guarantee: str, warning: str = "") -> RouteCost:
        """A feasible route."""
        return cls(route, passes=tuple(passes), floor=floor, guarantee=guarantee, warning=warning)

    @property
    def reads(self) -> float:
        """How often the selection is decoded."""
        return sum(cost.reads for cost in self.passes)

    @property
    def bytes_to_read(self) -> int:
        """Of all passes."""
        return sum(cost.bytes_to_read for cost in self.passes)

    @property
    def flops(self) -> float:
        """Of all passes."""
        return sum(cost.flops for cost in self.passes)

    @property
    def tasks(self) -> int:
        """Of all passes."""
        return sum(cost.tasks for cost in self.passes)

    @property
    def peak_bytes(self) -> int:
        """Of one worker, in its worst pass."""
        return max((cost.peak_bytes for cost in self.passes), default=0)

    @property
    def core_seconds(self) -> float:
        """Seconds of one core, with what the scheduler takes."""
        return self.seconds(1)

    def seconds(self, cores: int) -> float:
        """Predicted wall time on so many cores: they share decoding and products, and wait for one scheduler."""
        work = self.bytes_to_read / DECODED_BYTES_PER_SECOND + self.flops / FLOPS_PER_SECOND
        return work / cores + self.tasks * TASK_SECONDS

    def as_dict(self, cores: int, compression: float = 1.0) -> dict[str, Any]:
        """For JSON and for the table of `nwidth plan`; `compression` is stored bytes per logical byte."""
        return {
            "route": self.route,
            "feasible": self.feasible,
            "why_not": self.why_not or self.warning,
            "reads": self.reads,
            "bytes_to_read": round(self.bytes_to_read * compression),
            "flops": self.flops,
            "tasks": self.tasks,
            "peak_bytes": self.peak_bytes,
            "seconds": self.seconds(cores),
            "floor": self.floor,
            "guarantee": self.guarantee,
        }
