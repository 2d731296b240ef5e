"""How many clusters, and whether any: the criterion turned into a number and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nwidth.config import AtlasSection
from nwidth.stages.atlas.parts import least_size
from nwidth.stages.atlas.trials import Trial
from nwidth_graphs.kernels.gain import Candidate, Criterion, choose

Floats = NDArray[np.float64]

PAYS = 1.1
"""Least expected gain that is worth a dictionary: below, what a classifier costs and errs eats it."""


@dataclass(frozen=True)
class Choice:
    """The number of clusters, and why."""

    count: int
    pays: bool
    reason: str
    gain: float = 0.0
    """The largest expected gain that was found for it; 0 where none was tried or none exceeds 1."""


def decide(trials: Sequence[Trial], ranks: Sequence[int], rank: int | None, request: AtlasSection, items: int) -> Choice:
    """The number of clusters for a request that leaves it open; how it pays, for one that does not.

    Parameters
    ----------
    rank : modes that local bases are to have, where that is known; otherwise the best of `ranks` is looked for
    items : how many there are
    """
    asked = trials[0].candidate.count if follows(request) and trials else request.clusters
    if asked == 1 or (follows(request) and not trials):
        one = f"one anchor keeps all within the sine {request.tolerance:g}" if follows(request) else "one cluster was asked for"
        return Choice(1, pays=False, reason=one)
    if not trials:
        few = f"one cluster: {items} {request.of} are too few to be parted"
        return Choice(asked, pays=False, reason=f"{asked} clusters were asked for") if isinstance(asked, int) else _one(few)
    columns = [ranks.index(rank)] if rank is not None and rank in ranks else list(range(len(ranks)))
    candidates = [_columns(trial.candidate, columns) for trial in trials]
    tried = [ranks[column] for column in columns]
    smallest = 1 if isinstance(asked, int) else least_size(request, items)
    best = choose(candidates, tried, smallest=smallest)
    if isinstance(asked, int):
        return _as_asked(asked, candidates, tried, best, request)
    if best is None:
        return _one(f"one cluster: a dictionary does not pay, because {_why_not(candidates, tried, smallest)}")
    found, words = candidates[best[0]], _numbers(candidates[best[0]], best[1], tried)
    gain = float(found.criterion.expected_gain(found.accuracy)[best[1]])
    if gain < PAYS:
        return _one(f"one cluster: a dictionary does not pay, because at best, with {found.count} clusters, {words}", gain)
    return Choice(
        found.count, True, f"{found.count} clusters: {words}, the best of {len(trials)} numbers of clusters tried", gain
    )


def decide_among(
    trials: Sequence[Trial], names: Sequence[str], ranks: Sequence[int], rank: int | None, request: AtlasSection, items: int
) -> tuple[int, Choice]:
    """The dissimilarity (its place in `names`) of largest expected gain, the first of several, and its number of clusters.

    Parameters as of `decide`.
    """
    each = [decide([one for one in trials if one.dissimilarity == name], ranks, rank, request, items) for name in names]
    best = max(range(len(each)), key=lambda place: (each[place].gain, -place))
    if len(names) == 1:
        return 0, each[0]
    beside = ", ".join(f"{name} {choice.gain:.2f}" for name, choice in zip(names, each, strict=True))
    return best, replace(each[best], reason=f"{each[best].reason}; dissimilarity {names[best]}, of expected gains {beside}")


def _one(reason: str, gain: float = 0.0) -> Choice:
    return Choice(1, pays=False, reason=reason, gain=gain)


def follows(request: AtlasSection) -> bool:
    """Whether the number of clusters follows from the tree's tolerance."""
    return request.method == "tree" and request.clusters == "auto"


def _as_asked(
    asked: int, candidates: Sequence[Candidate], ranks: Sequence[int], best: tuple[int, int] | None, request: AtlasSection
) -> Choice:
    why = f"keep everybody within the sine {request.tolerance:g} of an anchor" if follows(request) else "were asked for"
    if best is None:
        return Choice(asked, False, f"{asked} clusters {why}; they do not pay, because {_why_not(candidates, ranks, 1)}")
    found = candidates[best[0]]
    gain = float(found.criterion.expected_gain(found.accuracy)[best[1]])
    verdict = "" if gain >= PAYS else ", which does not pay"
    return Choice(asked, gain >= PAYS, f"{asked} clusters {why}: {_numbers(found, best[1], ranks)}{verdict}", gain)


def _numbers(candidate: Candidate, column: int, ranks: Sequence[int]) -> str:
    """``with 5 modes each the expected gain over one basis of as many is 2.1 (...)``."""
    measured = candidate.criterion
    even = measured.break_even[column]
    modes = "mode" if ranks[column] == 1 else "modes"
    return (
        f"with {ranks[column]} {modes} each the expected gain over one basis of as many is "
        f"{measured.expected_gain(candidate.accuracy)[column]:.2f} "
        f"(accuracy of a classifier {candidate.accuracy:.2f}, break-even {_in_words(even)})"
    )


def _in_words(even: float) -> str:
    return f"{even:.2f}" if np.isfinite(even) else "out of reach"


def _why_not(candidates: Sequence[Candidate], ranks: Sequence[int], smallest: int) -> str:
    large = [candidate for candidate in candidates if candidate.smallest >= smallest]
    if not large:
        return f"every partition that was tried has a cluster of fewer than {smallest}"
    gains = np.array([candidate.criterion.expected_gain(candidate.accuracy) for candidate in large])
    row, column = np.unravel_index(int(np.argmax(gains)), gains.shape)
    return f"at best, with {large[row].count} clusters, {_numbers(large[row], int(column), ranks)}"


def _columns(candidate: Candidate, columns: Sequence[int]) -> Candidate:
    measured = candidate.criterion
    return replace(candidate, criterion=Criterion(measured.global_error[columns], measured.own[columns], measured.wrong[columns]))
