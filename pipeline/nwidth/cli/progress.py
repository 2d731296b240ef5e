"""Progress of long work: bars on a terminal, plain lines at most every few seconds without one, nothing with ``--json``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], None]
LINE_SECONDS = 5.0


@contextmanager
def reporting(*, quiet: bool = False) -> Iterator[Report]:
    """Yield ``report(name, done, total)``."""
    if quiet:
        yield lambda name, done, total: None
    elif sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _Lines()


@contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        known: dict[str, int] = {}

        def report(name: str, done: int, total: int) -> None:
            task = known.setdefault(name, -1)
            if task < 0:
                task = known[name] = int(bars.add_task(name, total=total))
            bars.update(known[name], completed=done, total=total)  # type: ignore[arg-type]

        yield report


class _Lines:
    """Plain lines: the first, the last, and one every few seconds of each name."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self.last.get(name, -LINE_SECONDS) < LINE_SECONDS:
            return
        self.last[name] = now
        sys.stderr.write(f"{name}: {done} of {total}\n")
