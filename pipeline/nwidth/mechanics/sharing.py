"""One set of points for all bodies of a dictionary, with weights of each body's own.

    cluster 1   all points                          -> rule 1
    cluster 2   points of rule 1 before all others  -> rule 2          a weight of 0 where a body does not need a point
    ...
    points = of all rules, and of all dual fields        every dual field is masked at the points of all rules

Internal variables live at the points: with one set of them a history may be handed from one body to another as it is. The
price is that every body evaluates the law at more points than it needs alone.

Source     rule of the local empirical cubature method (J. Hernandez and co-workers), as `kernels.shared_cubature`
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.training import ChosenPoints, Training, body_at, check_training, chosen_points, finished_body

Indices = NDArray[np.int64]


def bodies_on_shared_points(trainings: Sequence[Training]) -> tuple[ReducedBody, ...]:
    """A body for each training, all at the same points; errors as `nwidth.mechanics.training.train_body`.

    The body of most displacement modes chooses first: others then find its points.
    """
    for training in trainings:
        check_training(training)
    chosen: dict[int, ChosenPoints] = {}
    rules = np.zeros(0, np.int64)
    for number in richest_first(trainings):
        chosen[number] = chosen_points(trainings[number], rules)
        rules = _joined(rules, chosen[number].found.rule.points)
    points = rules
    for number in chosen:
        points = _joined(points, chosen[number].points)
    return tuple(
        finished_body(training, body_at(training, chosen[number], rules, points)) for number, training in enumerate(trainings)
    )


def richest_first(trainings: Sequence[Training]) -> list[int]:
    """Their numbers, most displacement modes first."""
    ranks = [training.named[training.options.displacement].rank for training in trainings]
    return sorted(range(len(trainings)), key=lambda number: (-ranks[number], number))


def _joined(points: Indices, more: Indices) -> Indices:
    """The points, and then those of the others that are new."""
    return np.concatenate([points, more[~np.isin(more, points)]])
