"""Runs a command and samples its process tree: memory, bytes read, processor time, and what others took meanwhile.

Memory of a tree is the sum of what is private to each process plus the largest share of mapped files (libraries): shared pages
count once. Bytes read are those that went through ``read`` and ``pread`` (``rchar`` of ``/proc/<pid>/io``), from disk or from the
page cache; sockets are not in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PERIOD = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
RAISED_PRIORITY = -10


@dataclass(frozen=True)
class Sample:
    """One look at the tree."""

    clock: float
    memory: int
    largest_child: int
    """Resident bytes of the largest process below the first one (a worker); of the first one where it is alone."""
    read: Mapping[int, int]
    cpu: Mapping[int, float]
    machine_cpu: float


@dataclass(frozen=True)
class Usage:
    """What a tree took between two moments."""

    peak_bytes: int
    peak_process_bytes: int
    read_bytes: int
    cpu_seconds: float
    others: float
    """Share of all cores that other processes used."""


@dataclass(frozen=True)
class Watched:
    """A finished command."""

    status: int | None
    """None: it was stopped at its time limit."""
    errors: str
    samples: tuple[Sample, ...]

    def usage(self, start: float, stop: float) -> Usage:
        """Between two values of ``time.monotonic()``; samples just outside close the interval."""
        inside = [sample for sample in self.samples if start - PERIOD <= sample.clock <= stop + 2 * PERIOD]
        first, last = inside[0], inside[-1]
        tree = _growth(first.cpu, last.cpu)
        span = (last.clock - first.clock) * (os.cpu_count() or 1)
        return Usage(
            peak_bytes=max(sample.memory for sample in inside),
            peak_process_bytes=max(sample.largest_child for sample in inside),
            read_bytes=int(_growth(first.read, last.read)),
            cpu_seconds=tree,
            others=max(0.0, (last.machine_cpu - first.machine_cpu - tree) / span) if span else 0.0,
        )


def watch(command: Sequence[str], seconds: float, environment: Mapping[str, str]) -> Watched:
    """Run `command` at raised priority where that is allowed, sample it, and end its whole tree after `seconds`."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _raise_priority(process.pid)
    samples: list[Sample] = []
    done = threading.Event()
    sampler = threading.Thread(target=_sample_until, args=(process.pid, done, samples), daemon=True)
    sampler.start()
    status: int | None
    try:
        errors = process.communicate(timeout=seconds)[1]
        status = process.returncode
    except subprocess.TimeoutExpired:
        status, errors = None, ""
        _end(process)
    finally:
        done.set()
        sampler.join()
    return Watched(status, errors, tuple(samples))


def _end(process: subprocess.Popen[str]) -> None:
    tree = process_tree(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for pid in tree:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


def _raise_priority(pid: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, pid, RAISED_PRIORITY)
    except PermissionError:
        return


def process_tree(root: int) -> list[int]:
    """`root` and everything below it that is alive."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                queue += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _sample_until(root: int, done: threading.Event, samples: list[Sample]) -> None:
    while not done.wait(PERIOD):
        samples.append(_sample(root))


def _sample(root: int) -> Sample:
    private, shared, resident = 0, 0, {}
    read, cpu = {}, {}
    for pid in process_tree(root):
        try:
            pages, mapped = (int(text) * PAGE for text in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
            read[pid] = int(Path(f"/proc/{pid}/io").read_text().split()[1])
            times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        except (OSError, IndexError):
            continue
        cpu[pid] = sum(map(int, times)) / TICK
        resident[pid] = pages
        private += pages - mapped
        shared = max(shared, mapped)
    below = [size for pid, size in resident.items() if pid != root]
    return Sample(time.monotonic(), private + shared, max(below or list(resident.values()) or [0]), read, cpu, _machine_cpu())


def _machine_cpu() -> float:
    user, nice, system, _, _, interrupts, soft = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + interrupts + soft) / TICK


def _growth(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Growth of a counter over all processes of the later look; one that is younger than the first look counts from zero."""
    return sum(value - before.get(pid, 0) for pid, value in after.items())
