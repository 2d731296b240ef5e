"""One point of a design, from an empty folder to an outcome: this is the task that runs on a thread or on a worker.

    prepare ──> guard: the solver's process ──> check what it says ──> open what it wrote ──> outcome.json
       ^                                                                                          │
       └────────── a fresh folder, as often as the limits allow, where that may help <──── not good ┘

Every attempt has a folder of its own, so that a worker that was given up for lost and still writes disturbs nobody. An attempt
that is good has an ``outcome.json`` that says so, and only then.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nwidth.errors import InputError, NwidthError
from nwidth.fullorder import guard
from nwidth.fullorder.protocol import STDERR, STDOUT, Limits, Outcome, Point, Solver, Verdict
from nwidth.readers import find_reader

OUTCOME, PARAMETERS = "outcome.json", "parameters.json"
# What is kept of a failed attempt is for a person to read: the inputs, the messages, no results.
KEPT_BYTES = 1 << 20
_TAIL_BYTES = 2000
# The pause before a second attempt doubles: what passes by itself (a licence, a network file system) takes a while.
FIRST_PAUSE_SECONDS = 0.5
_NO_SPACE = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True)
class Job:
    """A point and everything that it takes to run it; travels to a worker."""

    point: Point
    folder: Path
    """Of the point."""
    key: str
    """Content key of its inputs."""
    solver: Solver
    limits: Limits
    session_file: Path
    session: str
    """The production that asks; when the file says another, nobody waits any more."""


def run_point(job: Job) -> Outcome:
    """Run one point to its end; a failure is an outcome, and never an exception."""
    outcome = Outcome(job.point.name, "failed", host=platform.node())
    pause = FIRST_PAUSE_SECONDS
    for number in range(1, job.limits.attempts + 1):
        try:
            outcome, again = _attempt(job, number)
        except NwidthError as error:
            outcome, again = _failed(job, number, str(error)), False
        except OSError as error:
            outcome, again = _refused_by_the_system(job, number, error), False
        if outcome.status != "failed" or not again:
            break
        if number < job.limits.attempts:
            time.sleep(pause)
            pause *= 2
    return outcome


def _failed(job: Job, number: int, words: str, status: str = "failed") -> Outcome:
    return Outcome(job.point.name, status, words, number, host=platform.node())


def _refused_by_the_system(job: Job, number: int, error: OSError) -> Outcome:
    if not job.session_file.exists():
        return _failed(job, number, _not_shared(job), "hopeless")
    words = f"{error.filename or job.folder}: {error.strerror or error}"
    full = str(error.strerror).lower() in _NO_SPACE
    return _failed(job, number, f"{words}; make room, then produce again" if full else words, "hopeless" if full else "failed")


def _not_shared(job: Job) -> str:
    return (
        f"{platform.node()} does not see the folder {job.folder}, or nobody waits for it any more; "
        "put full_order.folder on a file system that all workers share"
    )


def _attempt(job: Job, number: int) -> tuple[Outcome, bool]:
    """One attempt, and whether another one may do better."""
    if not _awaited(job):
        return _failed(job, number, _not_shared(job), "stopped"), False
    folder = _fresh_folder(job.folder)
    job.solver.prepare(job.point.parameters, folder)
    inputs = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    write_json(folder / PARAMETERS, {"key": job.key, "parameters": dict(job.point.parameters), "inputs": inputs})
    ended = _run_guarded(job, folder)
    verdict = _judge(job, folder, ended)
    status = "done" if verdict.good else _status(ended, verdict)
    outcome = Outcome(job.point.name, status, verdict.words, number, ended.get("seconds", 0.0), folder.name, platform.node())
    if not verdict.good:
        lighten(folder)
    write_json(folder / OUTCOME, {**asdict(outcome), "key": job.key})
    return outcome, verdict.again


def _awaited(job: Job) -> bool:
    try:
        return job.session_file.read_text(encoding="utf-8") == job.session
    except OSError:
        return False


def _fresh_folder(parent: Path) -> Path:
    """The next ``attempt-<n>``; made by us alone, even where another worker tries at the same moment."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((attempt_number(path) for path in parent.glob("attempt-*")), default=0)
    while True:
        folder = parent / f"attempt-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def attempt_number(folder: Path) -> int:
    """The number at the end of the name of an attempt's folder; 0 where there is none."""
    digits = folder.name.removeprefix("attempt-")
    return int(digits) if digits.isdigit() else 0


# ------------------------------------------------------------------------------------------------------------ running


def _run_guarded(job: Job, folder: Path) -> dict[str, Any]:
    """Run the solver under its guard (see `guard`), and give the guard's report."""
    order = {
        "command": list(job.solver.command()),
        "folder": str(folder),
        "stdout": STDOUT,
        "stderr": STDERR,
        "environment": {"OMP_NUM_THREADS": str(job.limits.threads), "CCX_NPROC_EQUATION_SOLVER": str(job.limits.threads)},
        "seconds": job.limits.seconds,
        "disk_bytes": job.limits.disk_bytes,
        "memory_bytes": job.limits.memory_bytes,
        "session_file": str(job.session_file),
        "session": job.session,
    }
    # Its own session: an interrupt from the keyboard is ours to answer. The pipe stays open until the guard has ended.
    with subprocess.Popen(  # noqa: S603 - our own interpreter and file
        [sys.executable, "-I", "-S", guard.__file__, json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        pipes = [pipe.read() for pipe in (process.stdout, process.stderr) if pipe is not None]
    try:
        ended: dict[str, Any] = json.loads(pipes[0])
    except ValueError:
        last = pipes[1].decode(errors="replace").strip().splitlines()[-1:]
        return {"ended": "unguarded", "words": " ".join(last) or f"exit status {process.returncode}"}
    return ended


def _status(ended: Mapping[str, Any], verdict: Verdict) -> str:
    if ended["ended"] == "orphaned":
        return "stopped"
    hopeless = ended["ended"] == "missing" or any(words in verdict.words.lower() for words in _NO_SPACE)
    return "hopeless" if hopeless else "failed"


# ------------------------------------------------------------------------------------------------------------- judging


def _judge(job: Job, folder: Path, ended: Mapping[str, Any]) -> Verdict:
    trouble = _trouble(job, folder, ended)
    if trouble is not None:
        return trouble
    verdict = job.solver.check(folder)
    if not verdict.good:
        return verdict
    return _readable(job.solver, folder)


def _trouble(job: Job, folder: Path, ended: Mapping[str, Any]) -> Verdict | None:
    """What the end of the process says, in words; None where it ended by itself with status 0."""
    executable, status = job.solver.command()[0], int(ended.get("status") or 0)
    match ended["ended"]:
        case "missing":
            return Verdict(False, missing_executable(job.solver), again=False)
        case "hung":
            return Verdict(False, f"{executable} was killed after {job.limits.seconds:g} s (timeout){last_words(folder)}")
        case "overflowed":
            return _overflowed(job, folder)
        case "orphaned":
            return Verdict(False, "the production was stopped", again=False)
        case "unguarded":
            return Verdict(False, f"the guard of {executable} ended before it did: {ended['words']}")
    if status == 0:
        return None
    # The system refuses a file beyond the limit: most programs die of the signal, some catch it and see "File too large".
    if status == -signal.SIGXFSZ or any(path.stat().st_size >= job.limits.disk_bytes for path in folder.iterdir()):
        return _overflowed(job, folder)
    # The solver's own explanation is better than a number, where it has one.
    own = job.solver.check(folder) if status > 0 else Verdict(True)
    how = f"was killed by {signal_name(-status)}" if status < 0 else f"ended with status {status}"
    explained = f": {own.words}" if own.words else last_words(folder)
    return Verdict(False, f"{executable} {how}{explained}", again=own.again)


def missing_executable(solver: Solver, where: str = "") -> str:
    """The sentence for an executable that is not there."""
    return (
        f"the executable {solver.command()[0]!r} of the solver {solver.name} was not found on {where or platform.node()}; "
        f"install {solver.package}, or name it with full_order.executable"
    )


def _overflowed(job: Job, folder: Path) -> Verdict:
    limit = job.limits.disk_bytes / 2**20
    return Verdict(
        False,
        f"{job.solver.command()[0]} wrote more than {limit:.0f} MiB; raise full_order.disk, or write less{last_words(folder)}",
    )


def signal_name(number: int) -> str:
    """``11`` -> ``SIGSEGV``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _readable(solver: Solver, folder: Path) -> Verdict:
    """Open what the solver wrote, headers only: a truncated file is the attempt's failure, and not that of the harvest."""
    files = solver.outputs(folder)
    if not files:
        return Verdict(False, f"{solver.command()[0]} left no output{last_words(folder)}")
    try:
        for file in files:
            if not file.exists():
                return Verdict(False, f"{solver.command()[0]} did not write {file.name}{last_words(folder)}")
        run = find_reader(files[0], solver.reader).open(files[0])
        if not len(run.times):
            return Verdict(False, f"{files[0].name} holds no snapshot")
    except ImportError as error:
        return Verdict(False, f"{files[0].name} cannot be read: {error}", again=False)
    except (InputError, OSError, ValueError) as error:
        return Verdict(False, f"{solver.command()[0]} wrote what cannot be read: {error}")
    return Verdict(True)


def last_words(folder: Path) -> str:
    """The last lines that the solver printed, for a message."""
    for file in (folder / STDERR, folder / STDOUT):
        lines = [line.strip() for line in tail(file).splitlines() if line.strip(" _*-\t")]
        if lines:
            return f"; its last words: {' | '.join(lines[-3:])[-300:]}"
    return "; it printed nothing"


def tail(file: Path, size: int = _TAIL_BYTES) -> str:
    """The end of a text file; empty where there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - size))
            return stream.read(size).decode(errors="replace")
    except OSError:
        return ""


# ------------------------------------------------------------------------------------------------------------ tidying


def lighten(folder: Path, keep_bytes: int = KEPT_BYTES) -> None:
    """Keep of a folder what a person reads: files of at most `keep_bytes`, and the ends of what was printed."""
    for path in [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]:
        if path.lstat().st_size <= keep_bytes:
            continue
        if path.name in (STDOUT, STDERR):
            path.write_text(tail(path, keep_bytes // 16), encoding="utf-8")
        else:
            path.unlink()


def remove_results(folder: Path) -> None:
    """Remove from a good attempt what is in the store by now: everything but its inputs and what was printed."""
    kept = {STDOUT, STDERR, OUTCOME, PARAMETERS, *json.loads((folder / PARAMETERS).read_text(encoding="utf-8"))["inputs"]}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in kept:
            path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove an attempt; a worker that still writes into it fails alone."""
    shutil.rmtree(folder, ignore_errors=True)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a small file that is there whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
