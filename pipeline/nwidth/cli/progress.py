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
    """Plain lines: the first, the last, and one every few seconds of each name; none twice."""

    def __init__(self) -> None:
        self.written: dict[str, float] = {}
        self.lines: set[tuple[str, int]] = set()

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        soon = now - self.written.get(name, -LINE_SECONDS) < LINE_SECONDS
        if (name, done) in self.lines or (done < total and soon):
            return
        self.written[name] = now
        self.lines.add((name, done))
        sys.stderr.write(f"{name}: {done} of {total}\n")
