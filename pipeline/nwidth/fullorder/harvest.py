"""Finished points into the store, in the order of the design, each as soon as all before it are settled.

    finished:    p3      p1      p2(failed)      p4
    harvested:           p1      p3              p4          p2 is listed, and keeps nobody waiting

The order does not depend on who was faster: the same design gives the same store on any number of solvers. A point that the
store refuses (a NaN among its values, say) is a failed point, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nwidth.errors import InputError
from nwidth.fullorder.protocol import Outcome, Point

Add = Callable[[Point, Path], bool]
"""Adds the results in the folder of an attempt to the store, under the name of the point; False where they are there already."""


@dataclass
class Harvest:
    """Takes outcomes in any order, and adds runs in the order of `points`."""

    points: Sequence[Point]
    folder_of: Callable[[Point], Path]
    add: Add
    on_settled: Callable[[Point, Outcome], None] = lambda point, outcome: None
    added: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _waiting: int = 0

    def settle(self, outcome: Outcome) -> None:
        """Take the outcome of a point, and add what need not wait any longer.

        Raises
        ------
        nwidth.errors.StoreError
            The store cannot be written; what was added stays, and what was produced, too.
        """
        self.outcomes[outcome.point] = outcome
        while self._waiting < len(self.points) and (point := self.points[self._waiting]).name in self.outcomes:
            self._waiting += 1
            settled = self._add(point, self.outcomes[point.name])
            self.outcomes[point.name] = settled
            self.on_settled(point, settled)

    def _add(self, point: Point, outcome: Outcome) -> Outcome:
        if outcome.status != "done":
            return outcome
        try:
            if self.add(point, self.folder_of(point) / outcome.folder):
                self.added.append(point.name)
        except InputError as error:
            return replace(outcome, status="failed", words=f"the store refuses its results: {error}")
        return outcome
