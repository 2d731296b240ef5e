"""Drivers in sessions of their own, whoever belongs to one, and killing them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 90


@dataclass
class Driver:
    """A process that runs `tests.chaos.slow`, and whatever it starts: all in one session, which has its number."""

    process: subprocess.Popen[str]
    log: Path

    @classmethod
    def ready(cls, folder: Path, store: Path, log: Path, address: str = "") -> Driver:
        """One that has imported everything, and waits."""
        command = [sys.executable, "-m", "tests.chaos.slow", str(folder), str(store), str(log), *([address] if address else [])]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return cls(process, log)

    def begin(self) -> None:
        """Let it run."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self.process.poll() is None

    def wait_while(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is false, or the driver has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.alive and condition():
            assert time.monotonic() < deadline, "a driver does nothing for too long"
            time.sleep(0.005)

    def wait_for_reads(self, count: int) -> None:
        """Wait until the log tells of so many reads."""
        self.wait_while(lambda: len(reads(self.log)) < count)

    def kill(self) -> bool:
        """SIGKILL the driver alone; False where it had ended."""
        self.process.kill()
        return self._reap()

    def kill_tree(self) -> bool:
        """SIGKILL everything in the session at once; False where the driver had ended."""
        for pid in members(self.process.pid):
            _kill(pid)
        return self._reap()

    def kill_worker(self, choose: Callable[[int], int]) -> bool:
        """SIGKILL one of its workers; False where it has none."""
        workers = [pid for pid in members(self.process.pid) if b"spawn_main" in command_line(pid)]
        return bool(workers) and _kill(workers[choose(len(workers))])

    def finish(self) -> str:
        """Wait for its end; its stderr where it failed, else nothing."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return errors if self.process.returncode else ""

    def close(self) -> None:
        """Close the pipes to it; it has ended."""
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _reap(self) -> bool:
        self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode == -signal.SIGKILL


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def members(session: int) -> list[int]:
    """The living processes of a session, zombies not counted."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(of) == session and state != "Z":
            found.append(int(folder.name))
    return found


def command_line(pid: int) -> bytes:
    """How a process was called."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_until_gone(session: int, seconds: float) -> None:
    """Everybody in a session ends by himself within some seconds."""
    deadline = time.monotonic() + seconds
    while left := members(session):
        assert time.monotonic() < deadline, f"these outlive their driver: {[command_line(pid) for pid in left]}"
        time.sleep(0.05)


def reads(log: Path) -> list[int]:
    """Blocks that were read so far, in order."""
    try:
        return [int(line) for line in log.read_text().split()]
    except FileNotFoundError:
        return []
