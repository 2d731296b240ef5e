"""Splits by experiment: what is held out is held out with all of its snapshots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError

Indices = NDArray[np.int64]
Split = tuple[Indices, Indices]
"""Rows for training, rows for validation."""


def splits_by_group(labels: Indices, groups: Indices, folds: int, seed: int = 0) -> list[Split]:
    """Stratified splits: the groups of every class (the commonest label of a group) are shuffled and dealt out in turn.

    At most as many folds as groups; empty where there is one group only.
    """
    if folds < 2:
        raise ConfigError(f"{folds} folds are asked for, expected at least 2")
    names, codes = np.unique(groups, return_inverse=True)
    folds = min(folds, len(names))
    if folds < 2:
        return []
    common = [int(np.bincount(labels[codes == code]).argmax()) for code in range(len(names))]
    # Shuffled within the classes, then dealt through all of them, so that folds differ by one group at most.
    order = np.lexsort((np.random.default_rng(seed).permutation(len(names)), np.array(common)))
    fold_of = np.empty(len(names), np.int64)
    fold_of[order] = np.arange(len(names)) % folds
    return [_split(codes, fold_of == fold) for fold in range(folds)]


def splits_by_name(groups: Indices, names: Sequence[str], folds: Sequence[Sequence[str]]) -> list[Split]:
    """Splits that hold out the experiments that a user names; what is in no fold is always in training.

    Raises
    ------
    InputError
        A name is unknown, or stands in two folds.
    """
    place = {name: number for number, name in enumerate(names)}
    unknown = [name for fold in folds for name in fold if name not in place]
    if unknown:
        raise InputError(f"there is no simulation {unknown[0]!r} to hold out; the model has {', '.join(names[:10])}")
    everyone = [name for fold in folds for name in fold]
    twice = [name for number, name in enumerate(everyone) if name in everyone[:number]]
    if twice:
        raise InputError(f"the simulation {twice[0]!r} is held out twice; name each in one fold only")
    split = [_split(groups, np.isin(np.arange(len(names)), [place[name] for name in fold])) for fold in folds]
    for number, (training, validation) in enumerate(split):
        if not training.size or not validation.size:
            raise InputError(f"fold {number} leaves nothing to train or to validate with; name some simulations, and not all")
    return split


def check_split(training: Indices, validation: Indices, groups: Indices, names: Sequence[str]) -> None:
    """Refuse a split (rows, rows) that has snapshots of one experiment on both sides.

    Raises
    ------
    InputError
        With the name of the experiment.
    """
    both = np.intersect1d(groups[training], groups[validation])
    if both.size:
        raise InputError(
            f"the simulation {names[int(both[0])]!r} is in training and in validation, where its snapshots would vouch for each "
            f"other; put all of it on one side"
        )


def _split(codes: Indices, held: NDArray[np.bool_]) -> Split:
    out = held[codes]
    return np.flatnonzero(~out), np.flatnonzero(out)
