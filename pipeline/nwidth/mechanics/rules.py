"""Find a cubature rule on the workers, chunk by chunk of the points, and measure it on what it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import InputError
from nwidth.mechanics.options import MechanicsOptions
from nwidth_graphs.cubature import IntegrandSource
from nwidth_graphs.cubature_search import DistributedRule, measured_error, one_level_rule, two_level_rule
from nwidth_graphs.trees import TaskGraph

Run = Callable[[TaskGraph, str], Mapping[str, Any]]
"""Executes a graph under a name for people."""

_SEARCHES = {"two-level": two_level_rule, "one-level": one_level_rule}


@dataclass(frozen=True)
class CubatureData:
    """Integrands of the training simulations, and of those that are held out."""

    seen: IntegrandSource
    held_out: IntegrandSource | None


def found_rule(
    data: CubatureData, options: MechanicsOptions, run: Run, first: NDArray[np.int64]
) -> tuple[DistributedRule, float | None]:
    """The rule, and its relative error on what was held out, one read of that more.

    Points `first` are tried before all others, which takes the search in two levels.

    Raises
    ------
    InputError
        The integrals are all zero or not finite, or a cell is inverted.
    """
    search = partial(two_level_rule, initial=first) if len(first) else _SEARCHES[options.search]
    try:
        found = search(
            data.seen,
            options.tolerance,
            lambda graph: run(graph, "cubature"),
            normalised=options.normalised,
            volume=options.volume,
        )
        if data.held_out is None:
            return found, None
        rule = found.rule
        error = measured_error(
            replace(data.held_out, name="held-out"), rule.points, rule.weights, lambda graph: run(graph, "check of the cubature")
        )
    except ValueError as error_of_values:
        raise InputError(f"mechanics: no cubature rule was found: {error_of_values}") from None
    return found, error.relative
