"""The windows of a pass on a cluster: submit one, keep a few in flight, gather what has landed, and tell how far it is.

    graph.windows ──submit──> in flight, at most IN_FLIGHT ──gather──> the tops of its pieces, small
                     ^                   │
                     └── one has landed ─┘

So the scheduler holds a few thousand tasks and the driver a few small results, however many blocks a pass has. What has been
gathered is forgotten by the cluster: a worker that dies takes results of the windows in flight with it, no more, and Dask runs
their tasks again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nwidth_graphs.topology import FAN_IN

if TYPE_CHECKING:
    from nwidth_graphs.trees import Window

POLL_SECONDS = 0.25
# How often the driver looks whether a window has landed, while others fly on.
LOOK_SECONDS = 0.02
# One window ends, one runs, and one waits: while the last blocks of a window are computed, all other threads have work.
IN_FLIGHT = 3
# A window that does not end (a worker ten times slower than the rest has its last block) is overtaken by so many others at most,
# because their results wait in the driver.
MAX_LEAD = FAN_IN


@dataclass(frozen=True)
class Flight:
    """A window that has been submitted."""

    number: int
    window: Window
    futures: list[Any]

    @property
    def landed(self) -> bool:
        """Whether all its results are there, or an error is."""
        states = [future.status for future in self.futures]
        return "pending" not in states or not {"error", "cancelled", "lost"}.isdisjoint(states)

    def release(self) -> None:
        """Let the cluster forget it; what has not started will not."""
        for future in self.futures:
            future.release()


@dataclass
class Flights:
    """The windows in flight of one pass, in the order of submission, and the blocks of those that have landed."""

    flying: list[Flight] = field(default_factory=list)
    landed_leaves: int = 0
    at_once: int = IN_FLIGHT

    def gathered(self, client: Any, windows: Iterator[Window]) -> Iterator[tuple[Window, list[Any]]]:
        """Run windows on the cluster and yield each with the values of its keys, in the order in which they land.

        Whatever ends the iteration, an error or the caller, what is in flight is released.
        """
        submitted = 0
        try:
            while True:
                while self._room(submitted) and (window := next(windows, None)) is not None:
                    self.flying.append(Flight(submitted, window, _submit(client, window)))
                    submitted += 1
                if not self.flying:
                    return
                flight = self._next_to_land()
                values = _gather(client, flight)
                self.flying.remove(flight)
                self.landed_leaves += flight.window.n_leaves
                flight.release()
                yield flight.window, values
        finally:
            for flight in self.flying:
                flight.release()

    def leaf_names(self) -> dict[str, int]:
        """First parts of the keys of all leaves in flight, and the blocks that one such task has."""
        return {name: flight.window.per_task for flight in list(self.flying) for name in flight.window.leaf_names}

    def _room(self, submitted: int) -> bool:
        return len(self.flying) < self.at_once and (not self.flying or submitted - self.flying[0].number < MAX_LEAD)

    def _next_to_land(self) -> Flight:
        if len(self.flying) == 1:
            return self.flying[0]  # gathering waits for it
        # Looking at the states of a few futures costs nothing; `distributed.wait` does not survive the closing of its client.
        while True:
            for flight in self.flying:
                if flight.landed:
                    return flight
            time.sleep(LOOK_SECONDS)


def _submit(client: Any, window: Window) -> list[Any]:
    # A timeout of zero gives each window a priority of its own, below the windows before it: their merges come first.
    futures: list[Any] = client.get(window.graph, list(window.keys), sync=False, fifo_timeout="0 s")
    return futures


def _gather(client: Any, flight: Flight) -> list[Any]:
    """Values of a window; what a block raised is raised as it is, and a scheduler that does not answer as a closed connection.

    Raises
    ------
    CommClosedError
        The scheduler went away while results were on their way.
    """
    from distributed.comm.core import CommClosedError

    try:
        values: list[Any] = client.gather(flight.futures)
    except OSError as error:
        if any(future.status == "error" for future in flight.futures):
            raise  # a block's own: a disk that is full, say
        raise CommClosedError(str(error)) from error
    return values


@contextmanager
def watching(client: Any, flights: Flights, report: Callable[[int], None] | None) -> Iterator[None]:
    """Ask the scheduler for finished leaves while windows fly, and ``report(leaves)``; never counts backwards.

    Results of leaves are released at once, so futures tell nothing. What is asked for are the groups of the windows in flight, by
    their names: a poll costs the same whatever the pass, and whatever else the cluster does.
    """
    if report is None:
        yield
        return
    stop = threading.Event()

    def poll() -> None:
        most = 0
        while not stop.wait(POLL_SECONDS):
            landed = flights.landed_leaves  # before the names: what lands in between is counted late, and never twice
            try:
                most = max(most, landed + client.run_on_scheduler(_finished, names=flights.leaf_names()))
            except (OSError, RuntimeError):  # the cluster is going away: the result, or its error, will tell
                return
            report(most)

    thread = threading.Thread(target=poll, daemon=True, name="nwidth-progress")
    report(0)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


def _finished(dask_scheduler: Any, names: dict[str, int]) -> int:
    groups = {name: dask_scheduler.task_groups[name] for name in names if name in dask_scheduler.task_groups}
    return sum(
        names[name] * group.states[state] for name, group in groups.items() for state in ("memory", "released", "forgotten")
    )
