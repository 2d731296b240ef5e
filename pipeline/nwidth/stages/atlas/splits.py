"""Who the gain is measured on: simulations that no basis has seen, held out whole.

share 0.2, few snapshots     5 splits, everybody is held out once
share 0.2, many snapshots    1 split
names                        1 split: these simulations
one simulation only          its snapshots are drawn: neighbours in time stay behind, and it is said that this flatters
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.stages.atlas.items import Items

Indices = NDArray[np.int64]
Split = tuple[Indices, Indices]
"""(training items, held-out items)."""

# Below this many snapshots a single split would decide by a handful of them, and all splits cost little.
ALL_SPLITS_UP_TO = 600


@dataclass(frozen=True)
class Splits:
    """Pairs of training and held-out items, and what to say of them."""

    pairs: tuple[Split, ...]
    words: str


def splits_of(items: Items, active: Indices, holdout: float | Sequence[str] | NDArray[np.bool_], seed: int) -> Splits:
    """Split the active items; no simulation is ever on both sides.

    Parameters
    ----------
    holdout : share of the simulations, their names, or a mask (m,) of snapshots

    Raises
    ------
    ConfigError
        An unknown simulation, nothing or everything held out, or a mask that divides a simulation.
    """
    if isinstance(holdout, np.ndarray):
        return _checked(_by_mask(items, holdout), active, "the snapshots that were given as held out")
    if not isinstance(holdout, float | int):
        chosen = _named(items, holdout)
        return _checked(chosen, active, f"{len(holdout)} held-out simulations: {', '.join(holdout[:5])}")
    groups = np.unique(items.groups[active])
    if holdout == 0.0 or len(active) < 2:
        return Splits(((active, active),), "the items that made the bases: nothing was held out")
    shares = groups if len(groups) > 1 else active
    words = (
        "simulations" if len(groups) > 1 else "snapshots, drawn one by one from a single simulation, which flatters a dictionary"
    )
    drawn = np.random.default_rng(seed).permutation(shares)
    count = int(min(len(shares), max(2, round(1.0 / holdout))))
    parts = np.array_split(drawn, count)
    if len(items.item_of) > ALL_SPLITS_UP_TO:
        parts = parts[:1]
    pairs = []
    for part in parts:
        held = np.isin(items.groups[active] if len(groups) > 1 else active, part)
        pairs.append((active[~held], active[held]))
    if len(parts) > 1:
        return Splits(tuple(pairs), f"all {len(shares)} {words}, held out in {len(parts)} splits")
    return Splits(tuple(pairs), f"{len(parts[0])} held-out {words}")


def _by_mask(items: Items, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Items whose snapshots are all held out."""
    if mask.shape != items.item_of.shape:
        raise ConfigError(f"holdout: a mask of shape {mask.shape} was given for {len(items.item_of)} snapshots")
    held = np.array([bool(mask[found].all()) for found in items.snapshots])
    touched = np.array([bool(mask[found].any()) for found in items.snapshots])
    # A simulation may be several items; whole items may then still divide it.
    divided = np.intersect1d(items.groups[touched], items.groups[~held])
    if len(divided):
        name = items.names[int(np.flatnonzero(items.groups == divided[0])[0])].partition(",")[0]
        raise ConfigError(
            f"holdout divides simulation {name!r} between training and validation, whose errors would then say nothing of new "
            "simulations; hold out whole simulations"
        )
    return held


def _named(items: Items, names: Sequence[str]) -> NDArray[np.bool_]:
    simulations = np.array([name.partition(",")[0] for name in items.names])
    for name in names:
        if name not in simulations:
            raise ConfigError(f"atlas.holdout: {name!r} is not among the simulations: {', '.join(sorted(set(simulations))[:20])}")
    return np.isin(simulations, names)


def _checked(held: NDArray[np.bool_], active: Indices, words: str) -> Splits:
    train, test = active[~held[active]], active[held[active]]
    if not len(train) or not len(test):
        side = "no simulation is held out" if not len(test) else "all simulations are held out"
        raise ConfigError(f"atlas.holdout: {side}; leave some on either side, or give a share such as 0.2")
    return Splits(((train, test),), words)
